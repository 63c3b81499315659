/* test_edge_http.c: what the client port answers before there is a WebSocket: routes, upgrades, heads that are none (C-). */
#define _GNU_SOURCE 1 /* strcasestr */
#include "edge_harness.h"

#define BAD_REQUEST_LINE "HTTP/1.0 400 Bad Request\r\nconnection: close\r\n\r\n"

static const struct exchange {
    const char *name;
    const char *request;
    const char *status; /* how the answer begins */
    const char *body;   /* how it ends, behind the empty line; NULL: empty */
} exchanges[] = {
    {"C-03 vsn 3.0.0", GET_WS("?vsn=3.0.0", HOST UPGRADE), "HTTP/1.1 403 Forbidden\r\n", NULL},
    {"C-03 vsn 123.1.1", GET_WS("?vsn=123.1.1", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn 2.0", GET_WS("?vsn=2.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn 2.1.0", GET_WS("?vsn=2.1.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn[]=2", GET_WS("?vsn[]=2", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn%5b%5d=2", GET_WS("?vsn%5b%5d=2", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"transcript: vsn abc", GET_WS("?vsn=abc", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"vsn 02.0.0 is no version", GET_WS("?vsn=02.0.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"vsn 2.0.0-rc.1 comes before 2.0.0", GET_WS("?vsn=2.0.0-rc.1", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"vsn empty", GET_WS("?vsn=", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"the last of two vsn counts", GET_WS("?vsn=2.0.0&vsn=3.0.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"user id that is not UTF-8", GET_WS("?vsn=2.0.0&user_id=%ff", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"user id with a NUL", GET_WS("?vsn=2.0.0&user_id=a%00", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"broken percent sign", GET_WS("?vsn=2.0.0&user_id=%4", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"upgrade in HTTP/1.0, which has none (RFC 6455 4.2.1)",
     "GET /socket/websocket?vsn=2.0.0 HTTP/1.0\r\n" HOST UPGRADE "\r\n", "HTTP/1.1 400 ", "HTTP version HTTP/1.0 unsupported"},
    {"two keys (RFC 6455 11.3.1)", GET_WS("?vsn=2.0.0", HOST UPGRADE "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
     "HTTP/1.1 400 ", "'sec-websocket-key' header must come once"},
    {"C-17 plain GET", GET_WS("?vsn=2.0.0", "Host: x\r\n"), "HTTP/1.1 400 Bad Request\r\n",
     "'connection' header must contain 'upgrade', got []"},
    {"connection without upgrade", GET_WS("?vsn=2.0.0", "Host: x\r\nConnection: keep-alive\r\nConnection: a\"b\r\n"),
     "HTTP/1.1 400 ", "'connection' header must contain 'upgrade', got [\"keep-alive\", \"a\\\"b\"]"},
    {"h2c is refused",
     GET_WS("?vsn=2.0.0", "Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                          "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
     "HTTP/1.1 400 ", "'upgrade' header must contain 'websocket', got [\"h2c\"]"},
    {"transcript: no key", GET_WS("?vsn=2.0.0", "Host: x\r\n" UPGRADE_WITHOUT_KEY), "HTTP/1.1 400 ",
     "'sec-websocket-key' header is absent"},
    {"transcript: version 8",
     GET_WS("?vsn=2.0.0", "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
     "HTTP/1.1 400 ", "'sec-websocket-version' header must equal '13', got [\"8\"]"},
    {"P-008 vsn is judged before the headers", GET_WS("?vsn=3.0.0", "Host: x\r\n"), "HTTP/1.1 403 ", NULL},
    {"C-18 POST", "POST /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ",
     NULL},
    {"P-008 the method is judged before vsn", "PUT /socket/websocket?vsn=9 HTTP/1.1\r\nHost: x\r\n\r\n",
     "HTTP/1.1 400 ", NULL},
    {"POST with a body", "POST /socket/websocket HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
     "HTTP/1.1 400 ", NULL},
    {"transcript: wrong path", "GET /socket/websocketx?vsn=2.0.0 HTTP/1.1\r\n" HOST UPGRADE "\r\n",
     "HTTP/1.1 404 Not Found\r\n", "not found"},
    {"P-002 bare socket path", "GET /socket HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 ", "not found"},
    {"transcript: longpoll", "GET /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ",
     "not found"},
    {"transcript: no Host", GET_WS("?vsn=2.0.0", UPGRADE), BAD_REQUEST_LINE, NULL},
    {"two Hosts", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"transcript: not HTTP at all", "hello\r\n", BAD_REQUEST_LINE, NULL},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"folded header", "GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"blank before the colon", "GET /health HTTP/1.1\r\nHost : x\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"bare line feeds", "GET /health HTTP/1.1\nHost: x\n\n", BAD_REQUEST_LINE, NULL},
    {"C-07 another host", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: https://example.com\r\n" UPGRADE), "HTTP/1.1 403 ",
     NULL},
    {"C-13 Origin null", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: null\r\n" UPGRADE), "HTTP/1.1 403 ", NULL},
    {"Origin twice", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: http://x\r\nOrigin: http://x\r\n" UPGRADE),
     "HTTP/1.1 403 ", NULL},
    {"P-008 a bad Origin wins over bad upgrade headers", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: http://y\r\n"),
     "HTTP/1.1 403 ", NULL},
    {"C-08 the Origin passes, the missing headers do not", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: http://x:81\r\n"),
     "HTTP/1.1 400 ", "'connection' header must contain 'upgrade', got []"},
    {"P-008 the method is judged before the Origin",
     "POST /socket/websocket HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ", NULL},
    {"health", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "{\"status\":\"ok\"}"},
    {"health of a probe that speaks 1.0", "GET /health HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "{\"status\":\"ok\"}"},
    {"health asked with HEAD", "HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", NULL},
    {"health asked with DELETE", "DELETE /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", NULL},
    {"absolute form", "GET http://x/health?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "{\"status\":\"ok\"}"},
    {"no console, no page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "not found"},
    {"no console, no functions", "GET /functions.json HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "not found"},
    {"path traversal", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "not found"},
    {"path traversal, encoded", "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ",
     "not found"},
};

static void check_exchange(struct rig *r, const struct exchange *x)
{
    char answer[4096];
    if (getenv("SHOW_CASES"))
        print_message("  %s\n", x->name);
    http_exchange(r, x->request, answer, sizeof(answer));
    const char *body = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, x->status, strlen(x->status)) != 0 || !body || strcmp(body + 4, x->body ? x->body : "") != 0)
        fail_msg("%s: got\n%s", x->name, answer);
}

static void http_answers_as_recorded(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    for (size_t i = 0; i < ARRAY_SIZE(exchanges); i++)
        check_exchange(&r, &exchanges[i]);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_CONNECTED], 0);
    rig_stop(&r);
}

static void upgrade_answer_offers_nothing_that_was_not_meant(void **state)
{
    (void)state;
    static const char request[] =
        "GET /socket/websocket/?vsn=2.0.0 HTTP/1.1\r\n" HOST UPGRADE
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        /* P-017: any subprotocol is accepted and none is answered; tokens are longer than lws could take */
        "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx." X130 X130 "\r\n\r\n";
    struct rig r;
    char answer[1024];
    rig_init(&r);
    rig_start(&r);
    int fd = tcp_open(&r);
    tcp_send(&r, fd, request, strlen(request));
    http_read_head(&r, fd, answer, sizeof(answer));
    assert_int_equal(strncmp(answer, "HTTP/1.1 101 Switching Protocols\r\n", 34), 0);
    /* The accept value of RFC 6455 section 1.3. */
    assert_non_null(strstr(answer, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_null(strcasestr(answer, "extensions"));
    assert_null(strcasestr(answer, "protocol:"));
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

static void frames_right_behind_the_request_are_read(void **state)
{
    (void)state;
    struct rig r;
    char bytes[1024], answer[512];
    static const char beat[] = "[null,\"1\",\"phoenix\",\"heartbeat\",{}]";
    rig_init(&r);
    rig_start(&r);
    int fd = tcp_open(&r);
    size_t n = (size_t)snprintf(bytes, sizeof(bytes), "%s", GET_WS("?vsn=2.0.0", HOST UPGRADE));
    n += frame_make((uint8_t *)bytes + n, 0x81, beat, strlen(beat));
    tcp_send(&r, fd, bytes, n);
    http_read_head(&r, fd, answer, sizeof(answer));
    expect_text(&r, fd, "[null,\"1\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    close(fd);
    rig_stop(&r);
}

static void request_head_may_come_byte_by_byte(void **state)
{
    (void)state;
    static const char request[] = GET_WS("?vsn=2.0.0", HOST UPGRADE);
    struct rig r;
    char answer[512];
    rig_init(&r);
    rig_start(&r);
    int fd = tcp_open(&r);
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        tcp_send(&r, fd, request + i, 1);
        rig_turn(&r);
    }
    http_read_head(&r, fd, answer, sizeof(answer));
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

static void endless_head_is_refused(void **state)
{
    (void)state;
    struct rig r;
    char answer[256];
    static char request[64 * 1024];
    rig_init(&r);
    rig_start(&r);
    size_t n = (size_t)snprintf(request, sizeof(request), "GET /health HTTP/1.1\r\nHost: x\r\nA: ");
    memset(request + n, 'a', sizeof(request) - 1 - n);
    http_exchange(&r, request, answer, sizeof(answer));
    assert_int_equal(strncmp(answer, "HTTP/1.1 431 ", 13), 0);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_HEAD_BYTES], 1);
    rig_stop(&r);
}

static bool is_ready(void *ctx, char *reason, size_t size)
{
    const bool *ready = ctx;
    if (!*ready)
        snprintf(reason, size, "no link to \"svc@host\"");
    return *ready;
}

static void readiness_says_why_not(void **state)
{
    (void)state;
    static const char ask[] = "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n";
    struct rig r;
    bool ready = false;
    rig_init(&r);
    r.options.ready = is_ready;
    r.options.ready_ctx = &ready;
    rig_start(&r);
    check_exchange(&r, &(struct exchange){"not ready", ask, "HTTP/1.1 503 Service Unavailable\r\n",
                                          "{\"status\":\"not ready\",\"reason\":\"no link to \\\"svc@host\\\"\"}"});
    ready = true;
    check_exchange(&r, &(struct exchange){"ready", ask, "HTTP/1.1 200 ", "{\"status\":\"ready\"}"});
    rig_stop(&r);
}

static void console_lists_the_functions(void **state)
{
    (void)state;
    static const char want[] = "{\"sockets\":[{\"path\":\"/socket\",\"user_id_param\":\"user_id\",\"channels\":["
                               "{\"topic\":\"room:*\",\"event\":\"api\"},{\"topic\":\"lobby\",\"event\":\"api\"}]}],"
                               "\"functions\":[{\"service\":\"user_service\",\"request_type\":\"add\",\"version\":null,"
                               "\"response_type\":\"async\","
                               "\"args\":[{\"name\":\"a\",\"type\":\"num\",\"required\":true},{\"name\":\"note\","
                               "\"type\":\"string\",\"required\":false}]}]}";
    struct arg_spec args[] = {{.name = SLICE_LIT("a"), .type = ARG_NUM},
                              {.name = SLICE_LIT("note"), .type = ARG_STRING, .allow_nil = true}};
    struct fun_config add = {.service = SLICE_LIT("user_service"),
                             .request_type = SLICE_LIT("add"),
                             .args = args,
                             .args_count = 2,
                             .response_type = RESPONSE_ASYNC};
    struct fun_config off = add;
    off.disabled = true;
    struct fun_config *const list[] = {&off, &add, NULL};
    struct rig r;
    static char answer[65536];
    rig_init(&r);
    r.options.console = true;
    r.options.db = (void *)(uintptr_t)list;
    rig_start(&r);
    check_exchange(
        &r, &(struct exchange){"functions", "GET /functions.json HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", want});
    http_exchange(&r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, "content-type: text/html; charset=utf-8\r\n"));
    assert_non_null(strstr(answer, "data-testid=\"frames\""));
    assert_non_null(strstr(answer, "</html>\n"));
    http_exchange(&r, "GET /phoenix.js HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, "content-type: text/javascript"));
    assert_non_null(strstr(answer, "var Phoenix"));
    rig_stop(&r);
}

static void phoenix_js_is_the_file_that_was_named(void **state)
{
    (void)state;
    struct rig r;
    char path[] = "/tmp/beamgate-test-XXXXXX";
    int file = mkstemp(path);
    assert_int_equal(write(file, "var Phoenix = 7;", 16), 16);
    close(file);
    rig_init(&r);
    r.options.console = true;
    r.options.console_phoenix_js = path;
    rig_start(&r);
    unlink(path); /* read at start, never again */
    check_exchange(&r, &(struct exchange){"phoenix.js", "GET /phoenix.js HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ",
                                          "var Phoenix = 7;"});
    rig_stop(&r);
    struct err e;
    rig_init(&r);
    r.options.console = true;
    r.options.console_phoenix_js = path;
    assert_null(edge_new(&r.options, &e));
    assert_non_null(strstr(e.text, path));
    rig_stop(&r);
}

static void address_that_cannot_be_had_is_told(void **state)
{
    (void)state;
    struct rig r, second;
    struct err e;
    rig_init(&r);
    rig_start(&r);
    rig_init(&second);
    struct listener_config listener = {.address = "127.0.0.1", .port = edge_port(r.edge, 0)};
    second.options.listeners = &listener;
    assert_null(edge_new(&second.options, &e));
    assert_non_null(strstr(e.text, "Address already in use"));
    listener.address = "nowhere";
    assert_null(edge_new(&second.options, &e));
    assert_string_equal(e.text, "\"nowhere\" is no IP address");
    rig_stop(&second);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_answers_as_recorded),
        cmocka_unit_test(upgrade_answer_offers_nothing_that_was_not_meant),
        cmocka_unit_test(frames_right_behind_the_request_are_read),
        cmocka_unit_test(request_head_may_come_byte_by_byte),
        cmocka_unit_test(endless_head_is_refused),
        cmocka_unit_test(readiness_says_why_not),
        cmocka_unit_test(console_lists_the_functions),
        cmocka_unit_test(phoenix_js_is_the_file_that_was_named),
        cmocka_unit_test(address_that_cannot_be_had_is_told),
    };
    return cmocka_run_group_tests_name("edge_http", tests, rig_quiet, NULL);
}
