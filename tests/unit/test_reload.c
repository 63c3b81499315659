/* test_reload.c: what differs between two configurations, and a server that takes a new one while it runs. */
#include "unit.h"

#include <stdio.h>

#include "../../c_src/server/server_state.h"

#define HEAD "node: {name: r@127.0.0.1, listen_address: 127.0.0.1, epmd: false}\nlisten: {port: 0}\n" \
             "sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\n"
#define SERVICE(name, node) "{service: " name ", nodes: [\"" node ":9\"], module: M, function: f}"

static struct server_config *parse(const char *text)
{
    struct config_report report;
    config_report_init(&report);
    struct server_config *c = config_parse("FILE", slice_str(text), &report);
    if (!c)
        fail_msg("%.*s", (int)report.text.len, (char *)report.text.data);
    config_report_fini(&report);
    return c;
}

/* ---- differences --------------------------------------------------------------------------------------- */

static void note(void *ctx, const char *path, bool live)
{
    buf_printf(ctx, "%s%s ", path, live ? "*" : "");
}

static void expect_diff(const char *a, const char *b, const char *want)
{
    struct buf got;
    struct server_config *x = parse(a), *y = parse(b);
    buf_init(&got, 0);
    config_diff(x, y, note, &got);
    buf_putc(&got, '\0');
    assert_string_equal((char *)got.data, want);
    buf_fini(&got);
    config_free(x);
    config_free(y);
}

static void equal_files_do_not_differ(void **state)
{
    (void)state;
    expect_diff(HEAD, HEAD "log: {level: info}\n", ""); /* the default, written out */
}

static void each_difference_is_named_with_whether_it_can_be_taken(void **state)
{
    (void)state;
    expect_diff(HEAD, HEAD "log: {level: debug}\ndrain: {batch: 3}\nlimits: {max_functions: 9}\n",
                "limits.max_functions log.level* drain.batch* ");
    expect_diff(HEAD, HEAD "push: {token: a}\n", "push.token* ");
}

static void lists_differ_as_a_whole_by_length_and_else_by_item(void **state)
{
    (void)state;
    expect_diff(HEAD "services: [" SERVICE("a", "x@h") "]", HEAD, "services* ");
    expect_diff(HEAD "services: [" SERVICE("a", "x@h") "]", HEAD "services: [" SERVICE("a", "y@h") "]",
                "services[0].nodes* ");
    expect_diff(HEAD "security: {mfa_allowlist: [A]}", HEAD "security: {mfa_allowlist: [A, B]}",
                "security.mfa_allowlist* ");
    expect_diff(HEAD "services: [{service: a, nodes: [\"x@h:9\"], module: M, function: f, args: [5]}]",
                HEAD "services: [{service: a, nodes: [\"x@h:9\"], module: M, function: f, args: [\"5\"]}]",
                "services[0].args* ");
}

/* ---- a server ------------------------------------------------------------------------------------------ */

struct file {
    const char *text;
};

static struct server_config *load(void *ctx, struct config_report *report)
{
    const struct file *f = ctx;
    return config_parse("FILE", slice_str(f->text), report);
}

struct running {
    struct file file;
    struct server_config *config;
    struct server *server;
    struct reload_report report;
};

static void start(struct running *r, const char *text)
{
    struct err e = {0};
    log_set_level(LOG_ERROR);
    r->file.text = text;
    r->config = parse(text);
    r->server = server_new(r->config, "cookie", false, &e);
    if (!r->server)
        fail_msg("%s", e.text);
    server_set_source(r->server, &(struct settings_source){load, &r->file});
    reload_report_init(&r->report);
}

static int reload(struct running *r, const char *text)
{
    reload_report_fini(&r->report);
    reload_report_init(&r->report);
    r->file.text = text;
    return server_reload(r->server, &r->report);
}

static void end(struct running *r)
{
    reload_report_fini(&r->report);
    server_free(r->server);
    config_free(r->config);
    log_set_level(LOG_ERROR);
}

static unsigned services(const struct server *s)
{
    struct config_puller_status status;
    unsigned n = 0;
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);)
        n++;
    return n;
}

static void what_can_change_is_taken_and_the_rest_is_told(void **state)
{
    (void)state;
    struct running r;
    start(&r, HEAD "log: {level: error}\n");
    assert_int_equal(reload(&r, HEAD "log: {level: warning}\ndrain: {batch: 7}\nlimits: {max_functions: 5}\n"), BG_OK);
    assert_int_equal(log_level_now(), LOG_WARNING);
    assert_int_equal(r.server->live->drain.batch, 7);
    assert_int_equal(r.report.changed_count, 2);
    assert_true(slice_is(buf_slice(&r.report.restart), "limits.max_functions\n"));
    /* What needs a restart is told until then; what was taken is not told again. */
    assert_int_equal(reload(&r, r.file.text), BG_OK);
    assert_int_equal(r.report.changed_count, 0);
    assert_int_equal(r.report.restart_count, 1);
    end(&r);
}

static void a_wrong_file_changes_nothing_and_says_why_line_by_line(void **state)
{
    (void)state;
    struct running r;
    start(&r, HEAD "log: {level: error}\n");
    assert_int_equal(reload(&r, HEAD "log: {level: debug}\npull: {interval_ms: x}\nnope: 1\n"), BG_EINVAL);
    assert_int_equal(log_level_now(), LOG_ERROR);
    assert_ptr_equal(r.server->live, r.config);
    assert_int_equal(r.report.messages.errors, 2);
    buf_putc(&r.report.messages.text, '\0');
    assert_non_null(strstr((char *)r.report.messages.text.data, "FILE:5: pull.interval_ms"));
    assert_non_null(strstr((char *)r.report.messages.text.data, "FILE:6: unknown key"));
    end(&r);
}

static void services_come_change_and_go(void **state)
{
    (void)state;
    struct running r;
    start(&r, HEAD "services: [" SERVICE("a", "x@127.0.0.1") "]\n");
    assert_int_equal(reload(&r, HEAD "services: [" SERVICE("b", "x@127.0.0.1") ", " SERVICE("a", "y@127.0.0.1") "]\n"),
                     BG_OK);
    assert_int_equal(services(r.server), 2);
    assert_int_equal(reload(&r, HEAD), BG_OK);
    assert_int_equal(services(r.server), 0);
    end(&r);
}

/* A function named Mod:f, as pushed by nobody in particular. */
static void put_function(struct server *s, const char *module)
{
    struct buf b;
    struct fun_config_reasons why;
    buf_init(&b, 0);
    term_put_map(&b, 6);
    const char *const texts[][2] = {{"request_type", module}, {"service", "svc"}, {"version", "1.0.0"}};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        term_put_atom(&b, texts[i][0]);
        term_put_text(&b, texts[i][1]);
    }
    term_put_atom(&b, "nodes");
    term_put_list(&b, 1);
    term_put_text(&b, "n@h");
    term_put_nil(&b);
    term_put_atom(&b, "timeout");
    term_put_int(&b, 5000);
    term_put_atom(&b, "mfa");
    term_put_tuple(&b, 3);
    term_put_atom(&b, module);
    term_put_atom(&b, "f");
    term_put_nil(&b);
    struct fun_config *fc = fun_config_from_term(buf_slice(&b), SLICE_NONE, &why);
    if (!fc)
        fail_msg("%s", why.text[0]);
    assert_int_equal(config_db_put(s->db, fc, SLICE_LIT("svc")), BG_OK);
    fun_config_unref(fc);
    buf_fini(&b);
}

/* S-081 */
static void a_stricter_allow_list_removes_functions_at_once(void **state)
{
    (void)state;
    struct running r;
    start(&r, HEAD);
    put_function(r.server, "Elixir.A");
    put_function(r.server, "Elixir.B");
    put_function(r.server, "Elixir.C");
    assert_int_equal(reload(&r, HEAD "security: {mfa_allowlist: [B]}\n"), BG_OK);
    assert_int_equal(config_db_count(r.server->db), 1);
    struct fun_config *fc;
    assert_int_equal(config_db_find(r.server->db, SLICE_LIT("svc"), SLICE_LIT("Elixir.B"), SLICE_NONE, &fc), CONFIG_FOUND);
    end(&r);
}

static void rate_limits_are_replaced(void **state)
{
    (void)state;
    struct running r;
    struct rate_limit_view v;
    size_t pos = 0;
    start(&r, HEAD "rate_limiter: {global_limits: [{key: user_id, max_requests: 5, window_ms: 1000}]}\n");
    assert_int_equal(
        reload(&r, HEAD "rate_limiter: {global_limits: [{key: user_id, max_requests: 6, window_ms: 1000}]}\n"), BG_OK);
    assert_true(rate_limiter_next_limit(r.server->limiter, &pos, &v));
    assert_int_equal(v.limit->max_requests, 6);
    assert_false(rate_limiter_next_limit(r.server->limiter, &pos, &v));
    end(&r);
}

static void a_server_without_a_file_says_so(void **state)
{
    (void)state;
    struct running r;
    start(&r, HEAD);
    server_set_source(r.server, &(struct settings_source){NULL, NULL});
    assert_int_equal(server_reload(r.server, &r.report), BG_EINVAL);
    assert_int_equal(r.report.messages.errors, 1);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_files_do_not_differ),
        cmocka_unit_test(each_difference_is_named_with_whether_it_can_be_taken),
        cmocka_unit_test(lists_differ_as_a_whole_by_length_and_else_by_item),
        cmocka_unit_test(what_can_change_is_taken_and_the_rest_is_told),
        cmocka_unit_test(a_wrong_file_changes_nothing_and_says_why_line_by_line),
        cmocka_unit_test(services_come_change_and_go),
        cmocka_unit_test(a_stricter_allow_list_removes_functions_at_once),
        cmocka_unit_test(rate_limits_are_replaced),
        cmocka_unit_test(a_server_without_a_file_says_so),
    };
    return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
