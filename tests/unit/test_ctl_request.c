/* test_ctl_request.c: what may come over the command line's socket, terms as JSON, and the socket itself. */
#include "unit.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../c_src/server/ctl.h"
#include "json.h"
#include "term.h"

/* ---- requests ------------------------------------------------------------------------------------------ */

static void a_request_is_taken_apart(void **state)
{
    (void)state;
    struct ctl_request r;
    struct err e;
    uint64_t n;
    const struct slice line = SLICE_LIT("{\"command\":\"c\\u00e4ll\",\"args\":[\"a\\\"b\",\"\"],"
                                        "\"options\":{\"timeout\":\"50\",\"all\":\"\",\"bad\":\"5x\"}}");
    assert_int_equal(ctl_request_parse(line, &r, &e), BG_OK);
    assert_true(slice_is(r.command, "c\xc3\xa4ll"));
    assert_int_equal(r.argc, 2);
    assert_true(slice_is(r.args[0], "a\"b"));
    assert_true(slice_is(r.args[1], ""));
    assert_non_null(ctl_request_option(&r, "all").ptr);
    assert_null(ctl_request_option(&r, "none").ptr);
    assert_int_equal(ctl_request_number(&r, "timeout", 1, 100, &n), BG_OK);
    assert_int_equal(n, 50);
    assert_int_equal(ctl_request_number(&r, "timeout", 1, 49, &n), BG_EINVAL);
    assert_int_equal(ctl_request_number(&r, "bad", 1, 100, &n), BG_EINVAL);
    assert_int_equal(ctl_request_number(&r, "all", 1, 100, &n), BG_EINVAL);
    assert_int_equal(ctl_request_number(&r, "none", 7, 100, &n), BG_OK);
    assert_int_equal(n, 7);
    ctl_request_fini(&r);
}

static void what_is_no_request_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "[]", "{}", "{\"command\":1}", "{\"command\":\"a\"} x",
                                      "{\"command\":\"a\",\"args\":{}}", "{\"command\":\"a\",\"args\":[1]}",
                                      "{\"command\":\"a\",\"options\":[]}", "{\"command\":\"a\",\"options\":{\"a\":1}}",
                                      "{\"command\":\"a\",\"more\":1}", "{\"command\":\"a\",\"args\":[[[[1]]]]}",
                                      "{\"command\":\"a\",\"args\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]}",
                                      "{\"command\":\"\xff\"}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct ctl_request r;
        struct err e = {.text = ""};
        if (ctl_request_parse(slice_str(bad[i]), &r, &e) == BG_OK)
            fail_msg("taken: %s", bad[i]);
        assert_true(e.text[0] != '\0');
        ctl_request_fini(&r);
    }
}

/* ---- terms --------------------------------------------------------------------------------------------- */

static void expect_json(struct buf *term, const char *want)
{
    struct buf out;
    buf_init(&out, 0);
    ctl_put_term(buf_slice(term), &out);
    buf_putc(&out, '\0');
    assert_string_equal((char *)out.data, want);
    buf_fini(&out);
    buf_fini(term);
}

/* An integer is shown whole up to a thousand digits; of a longer one the beginning, as text: cut digits are no number. */
static void an_integer_of_any_length_has_a_form_in_json(void **state)
{
    (void)state;
    static const uint8_t large_head[] = {111, 0, 0, 4, 0, 0}; /* LARGE_BIG_EXT of 1024 bytes: 2,467 digits */
    struct json_reader reader;
    struct slice raw;
    struct buf b, out;
    buf_init(&b, 0);
    buf_init(&out, 0);
    buf_add(&b, large_head, sizeof(large_head));
    for (int i = 0; i < 1024; i++)
        buf_putc(&b, 0xff);
    ctl_put_term(buf_slice(&b), &out);
    reader = json_reader(buf_slice(&out));
    assert_int_equal(json_value(&reader, &json_limits_default, &raw, NULL), BG_OK);
    assert_int_equal(json_finish(&reader, NULL), BG_OK);
    assert_true(json_kind(raw) == JSON_STRING);
    buf_fini(&out);
    buf_fini(&b);
}

static void every_term_has_a_form_in_json(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    term_put_map(&b, 3);
    term_put_atom(&b, "nodes");
    term_put_list(&b, 2);
    term_put_atom(&b, "a@h");
    term_put_tuple(&b, 2);
    term_put_int(&b, -1);
    term_put_float(&b, 1.5);
    term_put_nil(&b);
    term_put_text(&b, "k\n");
    term_put_atom(&b, "nil");
    term_put_tuple(&b, 0);
    term_put_atom(&b, "true");
    expect_json(&b, "{\"nodes\":[\"a@h\",[-1,1.5]],\"k\\n\":null,\"{}\":true}");
    buf_init(&b, 0);
    term_put_list(&b, 1);
    term_put_int(&b, 1);
    term_put_int(&b, 2);
    expect_json(&b, "[1,\"2\"]"); /* [1 | 2] */
    buf_init(&b, 0);
    term_put_tuple(&b, 0);
    expect_json(&b, "[]");
    buf_init(&b, 0);
    term_put_map(&b, 0);
    expect_json(&b, "{}");
}

/* ---- the socket ---------------------------------------------------------------------------------------- */

static char path[108];

static struct server_config *config(void)
{
    char text[512];
    struct config_report report;
    config_report_init(&report);
    snprintf(path, sizeof(path), "/tmp/beamgate-test-%d.sock", (int)getpid());
    int n = snprintf(text, sizeof(text),
                     "node: {name: ctl@127.0.0.1, listen_address: 127.0.0.1, epmd: false}\nlisten: {port: 0}\n"
                     "sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\ncontrol: {socket: %s, "
                     "max_clients: 2}\n", path);
    struct server_config *c = config_parse("test", slice_make(text, (size_t)n), &report);
    assert_non_null(c);
    config_report_fini(&report);
    log_set_level(LOG_ERROR);
    return c;
}

static int client(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void turn(struct server *s)
{
    s->timers.now_us = clock_now_us();
    timers_run(&s->timers, s->timers.now_us, 0);
    uv_run(&s->loop, UV_RUN_NOWAIT);
}

/* What comes until the gateway closes, or for a while. */
static const char *answer(struct server *s, int fd)
{
    static char got[65536];
    size_t n = 0;
    for (int i = 0; i < 2000; i++) {
        turn(s);
        ssize_t r = recv(fd, got + n, sizeof(got) - 1 - n, MSG_DONTWAIT);
        if (r == 0)
            break;
        n += r > 0 ? (size_t)r : 0;
        if (r < 0)
            usleep(500);
    }
    got[n] = '\0';
    close(fd);
    return got;
}

static const char *ask(struct server *s, const char *line)
{
    int fd = client();
    assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
    return answer(s, fd);
}

static struct server *start(const struct server_config *c)
{
    struct err e = {.text = ""};
    struct server *s = server_new(c, "cookie", false, &e);
    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static void the_socket_answers_line_by_line_and_is_private(void **state)
{
    (void)state;
    struct server_config *c = config();
    struct server *s = start(c);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_string_equal(ask(s, "{\"command\":\"log-level\"}\n"), "{\"value\":\"error\"}\n{\"end\":true}\n");
    assert_string_equal(ask(s, "{\"command\":\"flows\"}\n"), "{\"end\":true}\n");
    assert_string_equal(ask(s, "{\"command\":\"nope\"}\n"), "{\"error\":\"unknown command \\\"nope\\\"\"}\n");
    assert_string_equal(ask(s, "{\"command\":\"flows\",\"args\":[\"a\",\"b\"]}\n"), "{\"error\":\"usage: flows [SERVICE]\"}\n");
    assert_non_null(strstr(ask(s, "rubbish\n"), "{\"error\":"));
    server_free(s);
    assert_int_not_equal(stat(path, &st), 0);
    config_free(c);
}

static void too_many_and_too_much_are_refused(void **state)
{
    (void)state;
    struct server_config *c = config();
    struct server *s = start(c);
    int one = client(), two = client(), three = client();
    assert_non_null(strstr(answer(s, three), "too many command lines"));
    close(one);
    static char big[256 * 1024];
    memset(big, 'x', sizeof(big));
    for (int i = 0; i < 20; i++) {
        turn(s);
        if (send(two, big, sizeof(big), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            usleep(100);
    }
    assert_non_null(strstr(answer(s, two), "the request is too long"));
    server_free(s);
    config_free(c);
}

static void a_socket_left_behind_is_replaced_and_a_living_one_is_not(void **state)
{
    (void)state;
    struct err e = {.text = ""};
    struct server_config *c = config();
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    close(fd); /* as after kill -9: the file stays, nobody listens */
    struct server *s = start(c);
    assert_null(server_new(c, "cookie", false, &e));
    assert_non_null(strstr(e.text, "another gateway answers there"));
    server_free(s);
    FILE *f = fopen(path, "w");
    fclose(f);
    assert_null(server_new(c, "cookie", false, &e));
    assert_non_null(strstr(e.text, "is no socket"));
    unlink(path);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(what_is_no_request_is_refused_with_a_reason),
        cmocka_unit_test(every_term_has_a_form_in_json),
        cmocka_unit_test(an_integer_of_any_length_has_a_form_in_json),
        cmocka_unit_test(the_socket_answers_line_by_line_and_is_private),
        cmocka_unit_test(too_many_and_too_much_are_refused),
        cmocka_unit_test(a_socket_left_behind_is_replaced_and_a_living_one_is_not),
    };
    return cmocka_run_group_tests_name("ctl_request", tests, NULL, NULL);
}
