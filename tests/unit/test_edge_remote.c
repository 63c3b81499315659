/*
 * test_edge_remote.c: functions of the services that decide about pages, who comes in and who joins (P-007..P-011, P-045..P-051),
 * and what configuration alone decides about joins. The service is this file: a call waits until the test answers it.
 */
#include "edge_harness.h"
#include "term_text.h"

#include "authenticate.h"
#include "log.h"

#define PLAIN "vsn=2.0.0"

/* --- the service -------------------------------------------------------------------------------------------------- */

enum { CALLS_MAX = 16 };

struct fake_call {
    struct buf args;
    call_done_fn *done;
    void *owner;
    uint64_t tag;
    uint64_t timeout_us;
    bool open;
};

static struct fake_call calls[CALLS_MAX];
static uint32_t calls_made, calls_cancelled;
static bool node_is_down;
static char called[256]; /* module:function@node/nargs of the last call */

static struct buf *fake_begin(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                              enum call_outcome *why)
{
    (void)ctx;
    *why = CALL_NODEDOWN;
    if (node_is_down || slice_is(node, "down@h"))
        return NULL;
    assert_true(calls_made < CALLS_MAX);
    snprintf(called, sizeof(called), "%.*s:%.*s@%.*s/%u", (int)module.len, module.ptr, (int)function.len, function.ptr,
             (int)node.len, node.ptr, nargs);
    buf_fini(&calls[calls_made].args);
    buf_init(&calls[calls_made].args, 0);
    return &calls[calls_made].args;
}

static handle_t fake_commit(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag)
{
    (void)ctx;
    struct fake_call *c = &calls[calls_made++];
    c->done = done;
    c->owner = owner;
    c->tag = tag;
    c->timeout_us = timeout_us;
    c->open = true;
    return calls_made;
}

static void fake_abort(void *ctx)
{
    (void)ctx;
}

static void fake_cancel(void *ctx, handle_t call)
{
    (void)ctx;
    calls_cancelled += calls[call - 1].open;
    calls[call - 1].open = false;
}

static void answer_call(uint32_t i, enum call_outcome outcome, const char *term)
{
    struct buf value;
    buf_init(&value, 0);
    if (term)
        term_of(&value, term);
    assert_true(calls[i].open);
    calls[i].open = false;
    calls[i].done(calls[i].owner, calls[i].tag, outcome, buf_slice(&value));
    buf_fini(&value);
}

/* Argument i (from 0) of a call as Elixir prints it. */
static const char *argument(uint32_t call, uint32_t i)
{
    static char text[4096];
    struct term_reader r = term_reader(buf_slice(&calls[call].args));
    struct slice term = SLICE_NONE;
    struct buf out;
    for (uint32_t k = 0; k <= i; k++)
        assert_int_equal(term_skip(&r, &term), BG_OK);
    buf_init(&out, 0);
    term_inspect(term, &out, sizeof(text) - 1);
    slice_cstr(buf_slice(&out), text, sizeof(text));
    buf_fini(&out);
    return text;
}

/* --- the rig ------------------------------------------------------------------------------------------------------ */

static const struct slice nodes[] = {SLICE_LIT("down@h"), SLICE_LIT("up@h")};
static struct auth_method method;
static struct rig r;

static int begin(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CALLS_MAX; i++)
        buf_fini(&calls[i].args);
    memset(calls, 0, sizeof(calls));
    calls_made = calls_cancelled = 0;
    node_is_down = false;
    log_set_level(LOG_ERROR);
    rig_init(&r);
    r.options.call = (struct call_ops){
        .begin = fake_begin, .commit = fake_commit, .abort = fake_abort, .cancel = fake_cancel};
    method = (struct auth_method){
        .type = AUTH_REMOTE,
        .user_id_path = "user_id",
        .roles_path = "roles",
        .device_id_path = "device_id",
        .remote = {"Elixir.MyApp.Auth", "connect", nodes, ARRAY_SIZE(nodes), 4000, 0},
    };
    return 0;
}

static void ask_to_connect(void)
{
    r.socket.user_id_param = NULL;
    r.socket.auth = &method;
    r.socket.auth_count = 1;
}

static void ask_to_join(void)
{
    r.channels[0].join = (struct remote_function){"Elixir.MyApp.Auth", "join", nodes, ARRAY_SIZE(nodes), 3000, 0};
}

static int end(void **state)
{
    (void)state;
    rig_stop(&r);
    for (uint32_t i = 0; i < calls_made; i++)
        assert_false(calls[i].open); /* answered or cancelled */
    return 0;
}

/* Sends an upgrade request and waits until the service has been asked. */
static int ask(const char *query, const char *headers)
{
    char head[1024];
    uint32_t before = calls_made;
    int fd = tcp_open(&r);
    snprintf(head, sizeof(head),
             "GET /socket/websocket?%s HTTP/1.1\r\nHost: gw.example.com:4000\r\nConnection: Upgrade\r\n"
             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
             query, headers);
    tcp_send(&r, fd, head, strlen(head));
    WAIT_FOR(&r, calls_made > before);
    return fd;
}

static void expect_status(int fd, const char *want)
{
    char answer[512];
    http_read_head(&r, fd, answer, sizeof(answer));
    if (strncmp(answer + 9, want, 3) != 0)
        fail_msg("want %s, got %s", want, answer);
}

static void expect_session(int fd, const char *user)
{
    char want[256];
    ws_text(&r, fd, "[\"1\",\"1\",\"lobby\",\"phx_join\",{}]");
    expect_text(&r, fd, "[\"1\",\"1\",\"lobby\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    ws_text(&r, fd, "[\"1\",\"2\",\"lobby\",\"api\",1]");
    snprintf(want, sizeof(want), "[\"1\",null,\"lobby\",\"api\",{\"got\":1,\"user\":\"%s\"}]", user);
    expect_text(&r, fd, want);
    expect_text(&r, fd, "[\"1\",\"2\",\"lobby\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
}

/* --- connect ------------------------------------------------------------------------------------------------------ */

static void a_client_waits_until_the_service_says_who_it_is(void **state)
{
    (void)state;
    ask_to_connect();
    rig_start(&r);
    int fd = ask("token=t&a[b]=c&vsn=2.0.0", "");
    assert_string_equal(called, "Elixir.MyApp.Auth:connect@up@h/2"); /* the node that is up */
    assert_int_equal(calls[0].timeout_us, 4000000);
    assert_string_equal(argument(0, 0), "%{\"token\" => \"t\", \"a\" => %{\"b\" => \"c\"}, \"vsn\" => \"2.0.0\"}");
    answer_call(0, CALL_RETURN, "{:ok, %{user_id: \"u1\", other: 1}}");
    expect_status(fd, "101");
    expect_session(fd, "u1");
    close(fd);
}

/* P-011 */
static void the_service_sees_the_connection_as_phoenix_shows_it(void **state)
{
    (void)state;
    ask_to_connect();
    rig_start(&r);
    int fd = ask(PLAIN, "X-Forwarded-Host: h\r\nX-A: 1\r\nUser-Agent: ua/1\r\nTraceparent: 00-1\r\n"
                     "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.dG9r\r\n");
    const char *info = argument(0, 1);
    static const char *const parts[] = {
        "peer_data: %{address: {127, 0, 0, 1}, port: 0, ssl_cert: nil}",
        "x_headers: [{\"x-forwarded-host\", \"h\"}, {\"x-a\", \"1\"}]",
        "trace_context_headers: [{\"traceparent\", \"00-1\"}]",
        "user_agent: \"ua/1\"",
        "auth_token: \"tok\"",
        "host: \"gw.example.com\"",
        "port: 4000",
        "scheme: \"http\"",
        "path: \"/socket/websocket\"",
        "query: \"vsn=2.0.0\"",
        "{\"sec-websocket-version\", \"13\"}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!strstr(info, parts[i]))
            fail_msg("%s\nis not in %s", parts[i], info);
    answer_call(0, CALL_RETURN, "{:ok, %{}}");
    expect_status(fd, "101");
    expect_session(fd, "");
    close(fd);
}

static void whatever_is_no_clear_yes_is_a_no(void **state)
{
    (void)state;
    static const struct {
        enum call_outcome outcome;
        const char *term;
    } rows[] = {
        {CALL_RETURN, ":error"},
        {CALL_RETURN, "{:error, :expired}"},
        {CALL_RETURN, "{:error, %{reason: \"no\"}}"},
        {CALL_RETURN, ":ok"},
        {CALL_RETURN, "{:ok, :assigns}"},
        {CALL_RETURN, "{:ok, %{}, 1}"},
        {CALL_RETURN, "{:ok, %{user_id: \"\"}}"},
        {CALL_RETURN, "{:ok, %{user_id: :atom}}"},
        {CALL_RETURN, "{:ok, %{user_id: \"u\", roles: %{}}}"},
        {CALL_RETURN, "nil"},
        {CALL_EXIT, ":boom"},
        {CALL_BADRPC, ":nope"},
        {CALL_TIMEOUT, NULL},
        {CALL_NODEDOWN, NULL},
    };
    ask_to_connect();
    rig_start(&r);
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = ask(PLAIN, "");
        answer_call(i, rows[i].outcome, rows[i].term);
        expect_status(fd, "403");
        close(fd);
    }
    assert_int_equal(r.metrics.value[METRIC_CLIENT_AUTH_REFUSED], ARRAY_SIZE(rows));
    assert_int_equal(r.metrics.value[METRIC_CONNECT_FAILURES], 4);
}

/* P-007, C-06: only what the configuration holds is told. */
static void reasons_may_have_a_status_and_a_body_of_their_own(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {{"rate_limit", 429, "Too many requests"}, {"banned", 410, NULL}};
    static const struct {
        const char *term, *status, *body;
    } rows[] = {
        {"{:error, :rate_limit}", "429", "\r\n\r\nToo many requests"},
        {"{:error, \"rate_limit\"}", "429", "\r\n\r\nToo many requests"},
        {"{:error, \"banned\"}", "410", "\r\n\r\n"},
        {"{:error, :rate_limits}", "403", "\r\n\r\n"},
        {"{:error, {:rate_limit, 1}}", "403", "\r\n\r\n"},
        {":error", "403", "\r\n\r\n"},
        {":rate_limit", "403", "\r\n\r\n"},
    };
    ask_to_connect();
    r.socket.refusals = refusals;
    r.socket.refusals_count = ARRAY_SIZE(refusals);
    rig_start(&r);
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char answer[512] = "";
        int fd = ask(PLAIN, "");
        answer_call(i, CALL_RETURN, rows[i].term);
        for (size_t n = 0; n + 1 < sizeof(answer) && tcp_recv(&r, fd, answer + n, 1); n++)
            ;
        if (strncmp(answer + 9, rows[i].status, 3) != 0 || strcmp(strstr(answer, "\r\n\r\n"), rows[i].body) != 0)
            fail_msg("%s: %s", rows[i].term, answer);
        close(fd);
    }
    assert_int_equal(r.metrics.value[METRIC_CLIENT_AUTH_REFUSED], ARRAY_SIZE(rows));
}

static void without_a_node_nobody_comes_in(void **state)
{
    (void)state;
    char answer[512];
    node_is_down = true;
    ask_to_connect();
    rig_start(&r);
    http_exchange(&r,
                  "GET /socket/websocket?" PLAIN " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                  answer, sizeof(answer));
    assert_memory_equal(answer + 9, "403", 3);
    assert_int_equal(calls_made, 0);
}

static void a_request_that_is_no_upgrade_is_not_asked_about(void **state)
{
    (void)state;
    char answer[512];
    ask_to_connect();
    rig_start(&r);
    http_exchange(&r, "GET /socket/websocket?" PLAIN " HTTP/1.1\r\nHost: h\r\n\r\n", answer, sizeof(answer));
    assert_memory_equal(answer + 9, "400", 3);
    assert_int_equal(calls_made, 0);
}

static void a_client_that_leaves_meanwhile_is_forgotten(void **state)
{
    (void)state;
    ask_to_connect();
    rig_start(&r);
    close(ask(PLAIN, ""));
    WAIT_FOR(&r, calls_cancelled == 1);
    assert_int_equal(edge_connections(r.edge), 0);
}

static void a_client_waits_no_longer_than_its_handshake_may_take(void **state)
{
    (void)state;
    ask_to_connect();
    rig_start(&r);
    int fd = ask(PLAIN, "");
    char byte;
    r.skew_us = (uint64_t)r.limits.value[LIMIT_HANDSHAKE] * 1000 + 1000;
    assert_false(tcp_recv(&r, fd, &byte, 1));
    assert_int_equal(calls_cancelled, 1);
    close(fd);
}

static void who_waits_goes_with_the_edge(void **state)
{
    (void)state;
    ask_to_connect();
    rig_start(&r);
    close(ask(PLAIN, ""));
    int fd = ask(PLAIN, "");
    close(fd);
}

static void a_yes_holds_for_a_while_for_the_same_client(void **state)
{
    (void)state;
    ask_to_connect();
    method.remote.cache_ms = 1000;
    rig_start(&r);
    int fd = ask("token=a&" PLAIN, "");
    answer_call(0, CALL_RETURN, "{:ok, %{user_id: \"u1\"}}");
    expect_status(fd, "101");
    close(fd);
    fd = ws_open(&r, "token=a&" PLAIN);
    expect_session(fd, "u1");
    close(fd);
    assert_int_equal(calls_made, 1);
    fd = ask("token=b&" PLAIN, ""); /* another client */
    answer_call(1, CALL_RETURN, ":error");
    close(fd);
    fd = ask("token=b&" PLAIN, ""); /* a no is not kept */
    answer_call(2, CALL_RETURN, ":error");
    close(fd);
    r.skew_us = 1100000;
    rig_turn(&r);
    fd = ask("token=a&" PLAIN, "");
    answer_call(3, CALL_RETURN, ":error");
    expect_status(fd, "403");
    close(fd);
}

static void with_a_parameter_only_who_shows_it_is_asked_about(void **state)
{
    (void)state;
    static struct auth_method both[2];
    ask_to_connect();
    method.param = "token";
    both[0] = method;
    both[1] = (struct auth_method){.type = AUTH_NONE};
    r.socket.auth = both;
    r.socket.auth_count = 2;
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    expect_session(fd, "");
    close(fd);
    fd = ask("token=x&" PLAIN, "");
    answer_call(0, CALL_RETURN, ":error");
    expect_status(fd, "403");
    close(fd);
}

/* --- origin (P-009) ------------------------------------------------------------------------------------------------- */

#define ORIGIN "Origin: https://Shop.example:8443\r\n"

static struct buf origin_args;

static void ask_about_origins(void)
{
    buf_fini(&origin_args);
    buf_init(&origin_args, 0);
    term_put_atom(&origin_args, "my_app");
    term_put_int(&origin_args, 7);
    r.socket.origin_check = ORIGIN_FUNCTION;
    r.socket.origin_function =
        (struct remote_function){"Elixir.MyApp.Auth", "origin_allowed?", nodes, ARRAY_SIZE(nodes), 2000, 0};
    r.socket.origin_args = buf_slice(&origin_args);
    r.socket.origin_args_count = 2;
    rig_start(&r);
}

static int end_origins(void **state)
{
    buf_fini(&origin_args);
    return end(state);
}

static void a_page_waits_until_the_service_has_allowed_its_origin(void **state)
{
    (void)state;
    ask_about_origins();
    int fd = ask("user_id=u1&" PLAIN, ORIGIN);
    assert_string_equal(called, "Elixir.MyApp.Auth:origin_allowed?@up@h/3");
    assert_int_equal(calls[0].timeout_us, 2000000);
    assert_string_equal(argument(0, 1), ":my_app");
    assert_string_equal(argument(0, 2), "7");
    ws_text(&r, fd, "[\"1\",\"1\",\"lobby\",\"phx_join\",{}]"); /* too early, and yet not lost */
    answer_call(0, CALL_RETURN, "true");
    expect_status(fd, "101");
    expect_text(&r, fd, "[\"1\",\"1\",\"lobby\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    assert_int_equal(r.metrics.value[METRIC_ORIGIN_CALLS], 1);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_ORIGIN_REFUSED], 0);
    close(fd);
}

/* As URI.parse/1 of Elixir 1.14 has them. */
static void the_function_gets_the_origin_as_a_uri(void **state)
{
    (void)state;
    static const struct {
        const char *origin, *scheme, *host, *authority, *port;
    } rows[] = {
        {"https://Shop.example:8443", "https", "Shop.example", "Shop.example:8443", "8443"},
        {"HTTP://a.ex", "http", "a.ex", "a.ex", "80"},
        {"wss://[::1]", "wss", "::1", "[::1]", "443"},
        {"capacitor://localhost", "capacitor", "localhost", "localhost", "nil"},
    };
    char headers[128], part[4][64];
    ask_about_origins();
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(headers, sizeof(headers), "Origin: %s\r\n", rows[i].origin);
        int fd = ask(PLAIN, headers);
        const char *uri = argument(i, 0);
        snprintf(part[0], sizeof(part[0]), "scheme: \"%s\"", rows[i].scheme);
        snprintf(part[1], sizeof(part[1]), " host: \"%s\"", rows[i].host);
        snprintf(part[2], sizeof(part[2]), "authority: \"%s\"", rows[i].authority);
        snprintf(part[3], sizeof(part[3]), "port: %s", rows[i].port);
        for (uint32_t k = 0; k < 4; k++)
            if (!strstr(uri, part[k]))
                fail_msg("%s is not in %s", part[k], uri);
        assert_non_null(strstr(uri, "path: nil"));
        assert_non_null(strstr(uri, "query: nil"));
        assert_memory_equal(uri, "%URI{", 5);
        answer_call(i, CALL_RETURN, "false");
        close(fd);
    }
}

static void an_origin_that_is_not_plainly_allowed_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum call_outcome outcome;
        const char *term;
    } rows[] = {
        {CALL_RETURN, "false"},       {CALL_RETURN, "nil"}, {CALL_RETURN, "{:error, :no}"}, {CALL_RETURN, ":ok"},
        {CALL_RETURN, "\"true\""},     {CALL_RETURN, "1"},   {CALL_EXIT, ":boom"},           {CALL_BADRPC, ":nope"},
        {CALL_TIMEOUT, NULL},          {CALL_NODEDOWN, NULL},
    };
    ask_about_origins();
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = ask(PLAIN, ORIGIN);
        answer_call(i, rows[i].outcome, rows[i].term);
        expect_status(fd, "403");
        close(fd);
    }
    assert_int_equal(r.metrics.value[METRIC_CLIENT_ORIGIN_REFUSED], ARRAY_SIZE(rows));
    assert_int_equal(r.metrics.value[METRIC_ORIGIN_FAILURES], 4);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_AUTH_REFUSED], 0);
    node_is_down = true;
    int fd = tcp_open(&r);
    const char head[] = "GET /socket/websocket?" PLAIN " HTTP/1.1\r\nHost: h\r\n" ORIGIN "\r\n";
    tcp_send(&r, fd, head, strlen(head));
    expect_status(fd, "403");
    close(fd);
    assert_int_equal(r.metrics.value[METRIC_ORIGIN_FAILURES], 5);
}

/* P-008 */
static void the_origin_is_decided_before_vsn_user_and_upgrade_headers(void **state)
{
    (void)state;
    static const char head[] = "GET /socket/websocket?%s HTTP/1.1\r\nHost: h\r\n" ORIGIN "\r\n";
    static const struct {
        const char *query, *verdict, *status;
    } rows[] = {
        {"vsn=9.9.9", "false", "403"}, {"vsn=9.9.9", "true", "403"}, /* vsn */
        {PLAIN, "false", "403"},          {PLAIN, "true", "400"},          /* no upgrade */
        {"user_id[]=x&" PLAIN, "true", "403"},
    };
    char text[256];
    ask_about_origins();
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = tcp_open(&r);
        snprintf(text, sizeof(text), head, rows[i].query);
        tcp_send(&r, fd, text, strlen(text));
        WAIT_FOR(&r, calls_made > i);
        assert_int_equal(r.metrics.value[METRIC_CLIENT_AUTH_REFUSED], 0); /* nobody has looked at the user yet */
        answer_call(i, CALL_RETURN, rows[i].verdict);
        expect_status(fd, rows[i].status);
        close(fd);
    }
    assert_int_equal(r.metrics.value[METRIC_CLIENT_ORIGIN_REFUSED], 2);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_AUTH_REFUSED], 1);
}

static void who_sends_no_origin_or_none_that_is_one_is_not_asked_about(void **state)
{
    (void)state;
    static const char *const bad[] = {"null", "", "http://u@shop.example", "https://shop.example/path", "shop.example",
                                      "https://shop.example\r\nOrigin: https://shop.example"};
    char head[512], answer[512];
    ask_about_origins();
    int fd = ws_open(&r, PLAIN);
    close(fd);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        snprintf(head, sizeof(head), "GET /socket/websocket?" PLAIN " HTTP/1.1\r\nHost: h\r\nOrigin: %s\r\n\r\n", bad[i]);
        http_exchange(&r, head, answer, sizeof(answer));
        if (strncmp(answer + 9, "403", 3) != 0)
            fail_msg("%s: %s", bad[i], answer);
    }
    assert_int_equal(calls_made, 0);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_ORIGIN_REFUSED], ARRAY_SIZE(bad));
}

static void a_page_that_leaves_or_waits_too_long_is_forgotten(void **state)
{
    (void)state;
    char byte;
    ask_about_origins();
    close(ask(PLAIN, ORIGIN));
    WAIT_FOR(&r, calls_cancelled == 1);
    int fd = ask(PLAIN, ORIGIN);
    r.skew_us = (uint64_t)r.limits.value[LIMIT_HANDSHAKE] * 1000 + 1000;
    assert_false(tcp_recv(&r, fd, &byte, 1));
    close(fd);
    assert_int_equal(calls_cancelled, 2);
    close(ask(PLAIN, ORIGIN)); /* goes with the edge */
}

static void an_allowed_origin_is_remembered_and_a_refused_one_is_not(void **state)
{
    (void)state;
    ask_about_origins();
    r.socket.origin_function.cache_ms = 1000;
    int fd = ask(PLAIN, ORIGIN);
    answer_call(0, CALL_RETURN, "true");
    expect_status(fd, "101");
    close(fd);
    fd = tcp_open(&r);
    const char again[] = "GET /socket/websocket?" PLAIN " HTTP/1.1\r\nHost: h\r\n" ORIGIN "\r\n";
    tcp_send(&r, fd, again, strlen(again));
    expect_status(fd, "400"); /* at once: it only fails for want of the other headers */
    close(fd);
    assert_int_equal(calls_made, 1);
    for (uint32_t i = 1; i < 3; i++) {
        fd = ask(PLAIN, "Origin: https://evil.example\r\n");
        answer_call(i, CALL_RETURN, "false");
        expect_status(fd, "403");
        close(fd);
    }
    r.skew_us = 1100000;
    rig_turn(&r);
    fd = ask(PLAIN, ORIGIN);
    answer_call(3, CALL_RETURN, "false");
    expect_status(fd, "403");
    close(fd);
}

static void origin_and_user_may_both_be_asked_about_one_after_the_other(void **state)
{
    (void)state;
    ask_to_connect();
    ask_about_origins();
    int fd = ask(PLAIN, ORIGIN);
    assert_non_null(strstr(called, ":origin_allowed?@"));
    answer_call(0, CALL_RETURN, "true");
    WAIT_FOR(&r, calls_made == 2);
    assert_non_null(strstr(called, ":connect@"));
    answer_call(1, CALL_RETURN, "{:ok, %{user_id: \"u1\"}}");
    expect_status(fd, "101");
    expect_session(fd, "u1");
    close(fd);
    fd = ask(PLAIN, ORIGIN);
    answer_call(2, CALL_RETURN, "true");
    WAIT_FOR(&r, calls_made == 4);
    close(fd); /* while the second is asked */
    WAIT_FOR(&r, calls_cancelled == 1);
}

/* --- join --------------------------------------------------------------------------------------------------------- */

static void join(int fd, const char *ref, const char *topic)
{
    char text[256];
    uint32_t before = calls_made;
    snprintf(text, sizeof(text), "[\"%s\",\"%s\",\"%s\",\"phx_join\",{\"k\":[1]}]", ref, ref, topic);
    ws_text(&r, fd, text);
    WAIT_FOR(&r, calls_made > before);
}

static void a_join_waits_until_the_service_has_decided(void **state)
{
    (void)state;
    ask_to_join();
    rig_start(&r);
    int fd = ws_open(&r, "user_id=u1&" PLAIN);
    join(fd, "1", "room:a");
    assert_string_equal(called, "Elixir.MyApp.Auth:join@up@h/3");
    assert_int_equal(calls[0].timeout_us, 3000000);
    assert_string_equal(argument(0, 0), "\"room:a\"");
    assert_string_equal(argument(0, 1), "%{\"k\" => [1]}");
    assert_string_equal(argument(0, 2),
                        "%{id: nil, user_id: \"u1\", roles: [], ip_address: \"127.0.0.1\", assigns: %{}}");
    expect_heartbeat(&r, fd, false); /* everything else goes on */
    ws_text(&r, fd, "[\"9\",\"9\",\"lobby\",\"phx_join\",{}]");
    expect_text(&r, fd, "[\"9\",\"9\",\"lobby\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    answer_call(0, CALL_RETURN, "{:ok, %{welcome: \"hi\"}, %{}}");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{\"welcome\":\"hi\"}}]");
    close(fd);
}

static void answers_of_join_functions_become_replies(void **state)
{
    (void)state;
#define OK_EMPTY "{\"status\":\"ok\",\"response\":{}}"
#define CRASHED "{\"status\":\"error\",\"response\":{\"reason\":\"join crashed\"}}"
    static const struct {
        enum call_outcome outcome;
        const char *term, *reply;
    } rows[] = {
        {CALL_RETURN, "{:ok, %{}}", OK_EMPTY},
        {CALL_RETURN, "{:ok, %{n: 1}, %{user_id: \"u2\"}}", "{\"status\":\"ok\",\"response\":{\"n\":1}}"},
        {CALL_RETURN, "{:error, %{reason: \"full\"}}", "{\"status\":\"error\",\"response\":{\"reason\":\"full\"}}"},
        {CALL_RETURN, "{:error, :banned}", "{\"status\":\"error\",\"response\":\"banned\"}"},
        {CALL_RETURN, "{:error, %{a: {1, 2}}}", CRASHED}, /* no JSON */
        {CALL_RETURN, "{:ok, %{a: {1, 2}}, %{}}", CRASHED},
        {CALL_RETURN, "{:ok, :assigns}", CRASHED},
        {CALL_RETURN, "{:ok, %{}, %{user_id: \"\"}}", CRASHED},
        {CALL_RETURN, ":ok", CRASHED},
        {CALL_RETURN, "{:error, 1, 2}", CRASHED},
        {CALL_EXIT, ":boom", CRASHED},
        {CALL_TIMEOUT, NULL, CRASHED},
        {CALL_NODEDOWN, NULL, CRASHED},
    };
    char topic[32], want[256];
    ask_to_join();
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(topic, sizeof(topic), "room:%u", i);
        join(fd, "1", topic);
        answer_call(i, rows[i].outcome, rows[i].term);
        snprintf(want, sizeof(want), "[\"1\",\"1\",\"%s\",\"phx_reply\",%s]", topic, rows[i].reply);
        expect_text(&r, fd, want);
    }
    node_is_down = true;
    ws_text(&r, fd, "[\"1\",\"1\",\"room:x\",\"phx_join\",{}]");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:x\",\"phx_reply\"," CRASHED "]");
    close(fd);
}

/* What requests.max_depth lets in can be asked about, too. */
static void a_payload_as_deep_as_messages_may_be_is_asked_about(void **state)
{
    (void)state;
    enum { DEEP = 100 };
    char deep[2 * DEEP + 1] = "", text[2 * DEEP + 64];
    memset(deep, '[', DEEP);
    memset(deep + DEEP, ']', DEEP);
    ask_to_join();
    r.options.json.max_depth = 2 * DEEP;
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    snprintf(text, sizeof(text), "[\"1\",\"1\",\"room:a\",\"phx_join\",%s]", deep);
    ws_text(&r, fd, text);
    WAIT_FOR(&r, calls_made == 1);
    answer_call(0, CALL_RETURN, "{:ok, %{}}");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_reply\"," OK_EMPTY "]");
    close(fd);
}

/* As Phoenix: in the order in which they came, after the reply. */
static void messages_to_a_pending_channel_wait_for_it(void **state)
{
    (void)state;
    ask_to_join();
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    join(fd, "1", "room:a");
    ws_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"api\",7]");
    ws_text(&r, fd, "[\"1\",\"3\",\"room:a\",\"phx_leave\",{}]");
    ws_text(&r, fd, "[\"1\",\"4\",\"room:a\",\"api\",8]");
    expect_heartbeat(&r, fd, false);
    answer_call(0, CALL_RETURN, "{:ok, %{}, %{user_id: \"u9\"}}");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_reply\"," OK_EMPTY "]");
    expect_text(&r, fd, "[\"1\",null,\"room:a\",\"api\",{\"got\":7,\"user\":\"u9\"}]"); /* whom the join made of nobody */
    expect_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
    expect_text(&r, fd, "[\"1\",\"3\",\"room:a\",\"phx_reply\"," OK_EMPTY "]");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]");
    expect_text(&r, fd, "[null,\"4\",\"room:a\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}]");
    close(fd);
}

static void a_second_join_of_the_topic_is_asked_about_after_the_first(void **state)
{
    (void)state; /* P-051 */
    ask_to_join();
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    join(fd, "1", "room:a");
    ws_text(&r, fd, "[\"2\",\"2\",\"room:a\",\"phx_join\",{}]");
    ws_text(&r, fd, "[\"2\",\"3\",\"room:a\",\"api\",7]");
    expect_heartbeat(&r, fd, false);
    assert_int_equal(calls_made, 1);
    answer_call(0, CALL_RETURN, "{:ok, %{}}");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_reply\"," OK_EMPTY "]");
    assert_int_equal(calls_made, 2);
    answer_call(1, CALL_RETURN, "{:ok, %{}}");
    expect_text(&r, fd, "[\"2\",\"2\",\"room:a\",\"phx_reply\"," OK_EMPTY "]");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]");
    expect_text(&r, fd, "[\"2\",null,\"room:a\",\"api\",{\"got\":7,\"user\":\"\"}]");
    expect_text(&r, fd, "[\"2\",\"3\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
    join(fd, "4", "room:a"); /* and one that is refused ends the one that was there */
    answer_call(2, CALL_RETURN, "{:error, %{}}");
    expect_text(&r, fd, "[\"4\",\"4\",\"room:a\",\"phx_reply\",{\"status\":\"error\",\"response\":{}}]");
    expect_text(&r, fd, "[\"2\",\"2\",\"room:a\",\"phx_close\",{}]");
    close(fd);
}

static void what_waits_for_a_join_is_bounded(void **state)
{
    (void)state;
    enum { KEPT = 64 };
    ask_to_join();
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    join(fd, "1", "room:a");
    for (int i = 0; i < KEPT; i++)
        ws_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"phx_leave\",{}]");
    ws_text(&r, fd, "[\"1\",\"x\",\"room:a\",\"api\",1]");
    expect_text(&r, fd, "[null,\"x\",\"room:a\",\"phx_reply\",{\"status\":\"error\",\"response\":"
                        "{\"reason\":\"too many messages wait for the join\"}}]");
    answer_call(0, CALL_TIMEOUT, NULL);
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_reply\"," CRASHED "]");
    for (int i = 0; i < KEPT; i++)
        expect_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"phx_reply\"," OK_EMPTY "]");
    expect_heartbeat(&r, fd, false);
    close(fd);
}

static void a_pending_join_counts_as_a_channel(void **state)
{
    (void)state; /* P-058 */
    ask_to_join();
    r.socket.max_channels = 1;
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    join(fd, "1", "room:a");
    ws_text(&r, fd, "[\"2\",\"2\",\"room:b\",\"phx_join\",{}]");
    expect_text(&r, fd, "[\"2\",\"2\",\"room:b\",\"phx_reply\",{\"status\":\"error\",\"response\":"
                        "{\"reason\":\"too many channels joined\"}}]");
    close(fd);
    WAIT_FOR(&r, calls_cancelled == 1); /* the client has left */
}

/* A message that waited closes the socket: what is behind it is nobody's any more. */
static void a_socket_that_ends_takes_what_waits_with_it(void **state)
{
    (void)state;
    ask_to_join();
    rig_start(&r);
    int fd = ws_open(&r, PLAIN);
    join(fd, "1", "room:a");
    join(fd, "2", "room:b");
    ws_text(&r, fd, "{bad");
    expect_close(&r, fd, 1011);
    assert_int_equal(calls_cancelled, 2);
    close(fd);
}

/* --- rules without a function ------------------------------------------------------------------------------------- */

static void the_configuration_says_who_may_join(void **state)
{
    (void)state;
    static char admin[] = "admin", editor[] = "editor";
    static char *const roles[] = {admin, editor};
    static struct auth_method believe = {.type = AUTH_PARAM, .param = "user_id"};
    static struct channel_config channels[5];
    static const struct {
        const char *query, *topic, *reason;
    } rows[] = {
        {"user_id=7&" PLAIN, "user:7", NULL},
        {"user_id=7&" PLAIN, "user:8", "unauthorized"},
        {"user_id=7&" PLAIN, "user:77", "unauthorized"},
        {"user_id=a%22b&" PLAIN, "user:a\\\"b", NULL},
        {PLAIN, "user:7", "unauthorized"},
        {"user_id=7&" PLAIN, "user:7:notes", NULL},
        {"user_id=7&" PLAIN, "user:8:notes", "unauthorized"},
        {PLAIN, "staff", "unauthorized"},
        {"user_id=7&" PLAIN, "staff", "unauthorized"},
        {"user_id=7&" PLAIN, "members", NULL},
        {PLAIN, "members", "unauthorized"},
        {PLAIN, "open", NULL},
    };
    char text[256], want[256];
    for (size_t i = 0; i < ARRAY_SIZE(channels); i++)
        channel_config_default(&channels[i]);
    channels[0].topic = "user:{user_id}:notes";
    channels[1].topic = "user:{user_id}";
    channels[2].topic = "staff";
    channels[2].roles = roles;
    channels[2].roles_count = 2;
    channels[3].topic = "members";
    channels[3].require_user = true;
    r.socket.user_id_param = NULL;
    r.socket.auth = (const struct auth_method[]){believe, {.type = AUTH_NONE}};
    r.socket.auth_count = 2;
    r.socket.channels = channels;
    r.socket.channels_count = ARRAY_SIZE(channels);
    rig_start(&r);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int fd = ws_open(&r, rows[i].query);
        snprintf(text, sizeof(text), "[\"1\",\"1\",\"%s\",\"phx_join\",{}]", rows[i].topic);
        ws_text(&r, fd, text);
        if (rows[i].reason)
            snprintf(want, sizeof(want),
                     "[\"1\",\"1\",\"%s\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"%s\"}}]",
                     rows[i].topic, rows[i].reason);
        else
            snprintf(want, sizeof(want), "[\"1\",\"1\",\"%s\",\"phx_reply\"," OK_EMPTY "]", rows[i].topic);
        expect_text(&r, fd, want);
        close(fd);
    }
}

static void roles_of_connecting_let_join(void **state)
{
    (void)state;
    static char editor[] = "editor";
    static char *const roles[] = {editor};
    ask_to_connect();
    r.channels[1].roles = roles;
    r.channels[1].roles_count = 1;
    rig_start(&r);
    int fd = ask(PLAIN, "");
    answer_call(0, CALL_RETURN, "{:ok, %{user_id: 5, roles: [:viewer, \"editor\"]}}");
    expect_status(fd, "101");
    expect_session(fd, "5");
    close(fd);
}

/* --- disconnect --------------------------------------------------------------------------------------------------- */

static void sockets_of_an_id_can_be_closed(void **state)
{
    (void)state; /* P-010, P-072, C-75 */
    r.socket.id = "users_socket:{user_id}";
    rig_start(&r);
    int first = ws_open(&r, "user_id=7&" PLAIN), second = ws_open(&r, "user_id=7&" PLAIN);
    int other = ws_open(&r, "user_id=77&" PLAIN), nobody = ws_open(&r, PLAIN);
    expect_session(first, "7");
    assert_int_equal(edge_disconnect(r.edge, SLICE_LIT("users_socket:8")), 0);
    assert_int_equal(edge_disconnect(r.edge, SLICE_LIT("users_socket:")), 0);
    assert_int_equal(edge_disconnect(r.edge, SLICE_LIT("users_socket:7")), 2);
    expect_close(&r, first, 1001);
    expect_close(&r, second, 1001);
    expect_heartbeat(&r, other, false);
    expect_heartbeat(&r, nobody, false);
    assert_int_equal(edge_disconnect(r.edge, SLICE_LIT("users_socket:7")), 0);
    close(first);
    close(second);
    close(other);
    close(nobody);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
#define ORIGIN_TEST(f) cmocka_unit_test_setup_teardown(f, begin, end_origins)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_waits_until_the_service_says_who_it_is),
        TEST(the_service_sees_the_connection_as_phoenix_shows_it),
        TEST(whatever_is_no_clear_yes_is_a_no),
        TEST(reasons_may_have_a_status_and_a_body_of_their_own),
        TEST(without_a_node_nobody_comes_in),
        TEST(a_request_that_is_no_upgrade_is_not_asked_about),
        TEST(a_client_that_leaves_meanwhile_is_forgotten),
        TEST(a_client_waits_no_longer_than_its_handshake_may_take),
        TEST(who_waits_goes_with_the_edge),
        TEST(a_yes_holds_for_a_while_for_the_same_client),
        TEST(with_a_parameter_only_who_shows_it_is_asked_about),
        ORIGIN_TEST(a_page_waits_until_the_service_has_allowed_its_origin),
        ORIGIN_TEST(the_function_gets_the_origin_as_a_uri),
        ORIGIN_TEST(an_origin_that_is_not_plainly_allowed_is_refused),
        ORIGIN_TEST(the_origin_is_decided_before_vsn_user_and_upgrade_headers),
        ORIGIN_TEST(who_sends_no_origin_or_none_that_is_one_is_not_asked_about),
        ORIGIN_TEST(a_page_that_leaves_or_waits_too_long_is_forgotten),
        ORIGIN_TEST(an_allowed_origin_is_remembered_and_a_refused_one_is_not),
        ORIGIN_TEST(origin_and_user_may_both_be_asked_about_one_after_the_other),
        TEST(a_join_waits_until_the_service_has_decided),
        TEST(answers_of_join_functions_become_replies),
        TEST(a_payload_as_deep_as_messages_may_be_is_asked_about),
        TEST(messages_to_a_pending_channel_wait_for_it),
        TEST(a_second_join_of_the_topic_is_asked_about_after_the_first),
        TEST(what_waits_for_a_join_is_bounded),
        TEST(a_pending_join_counts_as_a_channel),
        TEST(a_socket_that_ends_takes_what_waits_with_it),
        TEST(the_configuration_says_who_may_join),
        TEST(roles_of_connecting_let_join),
        TEST(sockets_of_an_id_can_be_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
