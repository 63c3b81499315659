/* test_config_receiver.c: pushes term for term (S-020..S-044, S-110..S-123), with real store and puller. */
#define _GNU_SOURCE /* memmem */
#include "unit.h"

#include "caught_log.h"
#include "config_receiver.h"
#include "term_text.h"
#include "vectors.h"

struct fixture {
    struct config_receiver_options o;
    struct config_receiver *r;
    struct config_db *db;
    struct config_failed *failed;
    struct config_puller *puller;
    struct metrics metrics;
    struct timers timers;
    struct buf term, configs, item, options, out, want;
    char connected[512]; /* nodes told to stay connected, blank separated */
    char released[512];  /* nodes that no push names any more */
};

static bool no_node_up(void *ctx, struct slice node)
{
    (void)ctx;
    (void)node;
    return false;
}

static void remember_node(void *ctx, struct slice node)
{
    struct fixture *f = ctx;
    size_t n = strlen(f->connected);
    snprintf(f->connected + n, sizeof(f->connected) - n, "%s%.*s", n ? " " : "", (int)node.len, node.ptr);
}

static void forget_node(void *ctx, struct slice node)
{
    struct fixture *f = ctx;
    size_t n = strlen(f->released);
    if (!config_receiver_names_node(f->r, node))
        snprintf(f->released + n, sizeof(f->released) - n, "%s%.*s", n ? " " : "", (int)node.len, node.ptr);
}

static void make_receiver(struct fixture *f)
{
    config_receiver_free(f->r);
    f->r = config_receiver_new(&f->o);
    assert_non_null(f->r);
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    timers_init(&f.timers, 1000);
    f.db = config_db_new(&f.metrics, 1000);
    f.failed = config_failed_new(20);
    struct config_puller_options po = {.call = {.node_up = no_node_up},
                                       .timers = &f.timers,
                                       .metrics = &f.metrics,
                                       .db = f.db,
                                       .failed = f.failed};
    f.puller = config_puller_new(&po);
    f.o = (struct config_receiver_options){.db = f.db,
                                           .failed = f.failed,
                                           .puller = f.puller,
                                           .metrics = &f.metrics,
                                           .connect = remember_node,
                                           .release = forget_node,
                                           .ctx = &f};
    struct buf *all[] = {&f.term, &f.configs, &f.item, &f.options, &f.out, &f.want};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        buf_init(all[i], 0);
    make_receiver(&f);
    log_set_level(LOG_ERROR);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    config_receiver_free(f->r);
    config_puller_free(f->puller);
    config_failed_free(f->failed);
    config_db_free(f->db);
    timers_fini(&f->timers);
    struct buf *all[] = {&f->term, &f->configs, &f->item, &f->options, &f->out, &f->want};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        buf_fini(all[i]);
    return 0;
}

/* ---- building pushes ---- */

/* The configs of the next push: none yet. */
static void no_configs(struct fixture *f)
{
    buf_reset(&f->configs);
}

/* Adds a config: pairs of key and text, ended by NULL, as config_term(). */
static void config(struct fixture *f, ...)
{
    va_list ap;
    va_start(ap, f);
    buf_add_slice(&f->configs, config_term_v(&f->item, ap));
    va_end(ap);
}

/* A PushConfig struct of the configs added, of which there are n: rest are further keys as Elixir writes them. */
static struct slice push_term(struct fixture *f, uint32_t n, const char *rest)
{
    char text[2048];
    snprintf(text, sizeof(text), "%%{__struct__: PhoenixGenApi.Structs.PushConfig, %s}", rest);
    struct slice head = term_of(&f->item, text);
    struct term_reader r = term_reader(head);
    uint32_t pairs;
    assert_int_equal(term_read_map(&r, &pairs), BG_OK);
    buf_reset(&f->term);
    term_put_map(&f->term, pairs + 1);
    buf_add(&f->term, r.p, (size_t)(r.end - r.p));
    term_put_atom(&f->term, "fun_configs");
    term_put_list(&f->term, n);
    buf_add_slice(&f->term, buf_slice(&f->configs));
    if (n > 0)
        term_put_nil(&f->term);
    return buf_slice(&f->term);
}

static void assert_answer(struct fixture *f, const char *expected)
{
    assert_true(buf_ok(&f->out));
    if (term_equal(buf_slice(&f->out), term_of(&f->want, expected)))
        return;
    buf_reset(&f->want);
    term_inspect(buf_slice(&f->out), &f->want, 2000);
    fail_msg("got %.*s, want %s", (int)f->want.len, (char *)f->want.data, expected);
}

static void push_term_from(struct fixture *f, struct slice term, const char *options, const char *node,
                           const char *expected)
{
    buf_reset(&f->out);
    config_receiver_push(f->r, term, options ? term_of(&f->options, options) : SLICE_NONE, slice_str(node), &f->out);
    assert_answer(f, expected);
}

static void push(struct fixture *f, uint32_t n, const char *rest, const char *options, const char *expected)
{
    push_term_from(f, push_term(f, n, rest), options, "svc@localhost", expected);
}

static void verify(struct fixture *f, const char *service, const char *version, const char *expected)
{
    buf_reset(&f->out);
    struct slice s = term_of(&f->term, service);
    config_receiver_verify(f->r, s, term_of(&f->options, version), &f->out);
    assert_answer(f, expected);
}

static bool known(struct fixture *f, const char *type)
{
    struct fun_config *fc;
    return config_db_find(f->db, SLICE_LIT("user"), slice_str(type), SLICE_NONE, &fc) == CONFIG_FOUND;
}

#define USER "service: \"user\", nodes: [:svc@localhost], config_version: "
#define ACCEPTED "{:ok, :accepted}"

static void one(struct fixture *f, const char *type)
{
    char text[64];
    snprintf(text, sizeof(text), "\"%s\"", type);
    config(f, "request_type", text, NULL);
}

/* ---- S-110..S-123 ---- */

/* S-110, S-111, S-112. */
static void a_version_is_taken_once_unless_forced(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1.0.0\"", "[force: false]", ACCEPTED);
    assert_true(known(f, "a"));
    assert_string_equal(f->connected, "svc@localhost");
    push(f, 1, USER "\"1.0.0\"", "[force: false]", "{:ok, :skipped, :version_matches}");
    push(f, 1, USER "\"1.0.0\"", "[force: true]", ACCEPTED);
    push(f, 1, USER "\"1.0.1\"", "[force: false]", ACCEPTED);
    assert_int_equal(f->metrics.value[METRIC_PUSHES], 3);
    assert_int_equal(f->metrics.value[METRIC_PUSHES_SKIPPED], 1);
}

/* S-121. */
static void options_of_any_kind_force_nothing(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1.0.0\"", NULL, ACCEPTED);
    static const char *const odd[] = {"[]", ":force", "[:force]", "[{:force}]", "[force: 1]", "\"x\"", "'abc'", "%{}"};
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        push(f, 1, USER "\"1.0.0\"", odd[i], "{:ok, :skipped, :version_matches}");
    push(f, 1, USER "\"1.0.0\"", "[:other, timeout: 5000, force: true]", ACCEPTED);
}

/* S-113, F-091. */
static void every_rule_that_does_not_hold_is_named_in_order(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"\"", NULL, "{:error, {:validation_failed, [\"config_version must be a non-empty string\"]}}");
    push(f, 1, "service: \"user\", nodes: nil, config_version: \"1\"", NULL,
         "{:error, {:validation_failed, [\"nodes must be a non-empty list of atoms or strings\"]}}"); /* V-12 */
    push(f, 0, "service: nil", NULL,
         "{:error, {:validation_failed, [\"service must not be nil\", "
         "\"nodes must be a non-empty list of atoms or strings\", "
         "\"config_version must be a non-empty string\", "
         "\"fun_configs must be a non-empty list of FunConfig structs\"]}}");
    push(f, 1, "service: {1}, nodes: [1], config_version: :v", NULL,
         "{:error, {:validation_failed, [\"service must be an atom or a string of 1 to 512 bytes\", "
         "\"nodes must be a non-empty list of atoms or strings\", "
         "\"config_version must be a non-empty string\", "
         "\"all fun_configs must have the same service name as the push config\"]}}");
    assert_int_equal(config_db_count(f->db), 0);
    assert_int_equal(f->metrics.value[METRIC_PUSHES_REFUSED], 4);
}

/* S-114. */
static void what_is_no_push_config_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const odd[] = {":x", "[]", "1", "{1, 2}", "%{__struct__: Other, service: \"user\"}", "\"\""};
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        push_term_from(f, term_of(&f->term, odd[i]), NULL, "n@h", "{:error, :invalid_push_config_data}");
}

/* S-115, S-022. */
static void the_token_must_be_the_configured_one(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1\", push_token: :secret", NULL, "{:error, :invalid_push_token}"); /* none configured */
    push(f, 1, USER "\"1\", push_token: \"whatever\"", NULL, ACCEPTED);
    f->o.token = SLICE_LIT("t");
    make_receiver(f);
    static const char *const wrong[] = {"nil", "\"\"", "\"T\"", "\"tt\"", ":t", "'t'", "1"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char rest[200];
        snprintf(rest, sizeof(rest), USER "\"2\", push_token: %s", wrong[i]);
        push(f, 1, rest, "[force: true]", "{:error, :invalid_push_token}");
    }
    push(f, 1, USER "\"2\"", NULL, "{:error, :invalid_push_token}"); /* F-093: the key is missing */
    push(f, 1, USER "\"2\", push_token: \"t\"", NULL, ACCEPTED);
}

/* S-116, S-028. */
static void the_valid_ones_are_taken_and_the_others_recorded(void **state)
{
    struct fixture *f = *state;
    config(f, "request_type", "\"a\"", "version", "\"1.0.0\"", NULL);
    config(f, "request_type", "\"b\"", "version", "\"1.0.0\"", "timeout", "1", NULL);
    push(f, 2, USER "\"1\"", NULL, ACCEPTED);
    assert_true(known(f, "a") && !known(f, "b"));
    struct config_failed_entry e;
    size_t pos = 0;
    assert_int_equal(config_failed_count(f->failed), 1);
    assert_true(config_failed_next(f->failed, &pos, &e));
    assert_int_equal(e.source, CONFIG_PUSH);
    assert_null(e.node.ptr);
}

/* The text of the only item of {error, {all_invalid, [Text]}}. */
static void assert_all_invalid(struct fixture *f, const char *text)
{
    struct term_reader r = term_reader(buf_slice(&f->out));
    struct slice got;
    uint32_t n;
    assert_int_equal(term_read_tagged(&r, "error", &n), BG_OK);
    assert_int_equal(n, 2);
    assert_int_equal(term_read_tagged(&r, "all_invalid", &n), BG_OK);
    assert_int_equal(n, 2);
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(n, 1);
    assert_int_equal(term_read_binary(&r, &got), BG_OK);
    assert_slice_is(got, text);
}

/* S-117, S-024. */
static void when_all_are_invalid_nothing_changes(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1\"", NULL, ACCEPTED);
    no_configs(f);
    config(f, "request_type", "\"b\"", "version", "\"2.0.0\"", "timeout", "1", NULL);
    buf_reset(&f->out);
    config_receiver_push(f->r, push_term(f, 1, USER "\"2\""), SLICE_NONE, SLICE_LIT("n@h"), &f->out);
    assert_all_invalid(f, "invalid FunConfig: request_type=\"b\", service=\"user\", version=\"2.0.0\", nodes: "
                          "[:svc@localhost], mfa: {MyApp.Users, :get, []}, response_type: :sync, "
                          "check_permission: false");
    assert_true(known(f, "a"));
    verify(f, "\"user\"", "\"1\"", "{:ok, :matched}");
}

/* S-118, S-081. */
static void when_no_function_may_be_named_nothing_changes(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1\"", NULL, ACCEPTED);
    no_configs(f);
    config(f, "request_type", "\"b\"", "mfa", "{:os, :cmd, []}", NULL);
    config(f, "request_type", "\"c\"", "mfa", "{:file, :read, []}", NULL);
    push(f, 2, USER "\"2\"", NULL, "{:error, :batch_add_failed}");
    assert_true(known(f, "a"));
    assert_int_equal(config_failed_count(f->failed), 2);
    verify(f, "\"user\"", "\"1\"", "{:ok, :matched}");
    no_configs(f);
    config(f, "service", "\"other\"", "mfa", "{:os, :cmd, []}", NULL);
    push(f, 1, "service: \"other\", nodes: [:n@h], config_version: \"1\"", NULL, "{:error, :batch_add_failed}");
    verify(f, "\"other\"", "\"1\"", "{:error, :not_found}");
}

/* S-082: the allowlist is asked for pushes, too. */
static void an_allowlist_holds_for_pushes(void **state)
{
    struct fixture *f = *state;
    const struct mfa_rule allow[] = {{SLICE_LIT("Elixir.MyApp.Users"), SLICE_LIT("get")}};
    const struct mfa_rules rules = {.restricted = true, .allow = allow, .allow_count = 1};
    f->o.rules = &rules;
    make_receiver(f);
    one(f, "a");
    config(f, "request_type", "\"b\"", "mfa", "{MyApp.Users, :put, []}", NULL);
    push(f, 2, USER "\"1\"", NULL, ACCEPTED);
    assert_true(known(f, "a") && !known(f, "b"));
}

/* S-119, S-014, S-030 want: by text. */
static void verify_tells_whether_a_version_is_here(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1.0.0\"", NULL, ACCEPTED);
    verify(f, "\"user\"", "\"1.0.0\"", "{:ok, :matched}");
    verify(f, ":user", "\"1.0.0\"", "{:ok, :matched}");
    verify(f, "\"user\"", "\"2.0.0\"", "{:ok, :mismatch, \"1.0.0\"}");
    verify(f, "\"user\"", "nil", "{:ok, :mismatch, \"1.0.0\"}");
    verify(f, "\"nobody\"", "\"1.0.0\"", "{:error, :not_found}");
    verify(f, "{1}", "\"1.0.0\"", "{:error, :not_found}");
}

/* S-120: the atom and the text are one service. */
static void configs_of_another_service_are_refused_whole(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    config(f, "service", ":user", "request_type", "\"b\"", NULL);
    push(f, 2, USER "\"1\"", NULL, ACCEPTED);
    config(f, "service", "\"other\"", "request_type", "\"c\"", NULL);
    push(f, 3, USER "\"2\"", NULL,
         "{:error, {:validation_failed, [\"all fun_configs must have the same service name as the push config\"]}}");
}

/* F-091: an invalid config is let in only by a version. What the library itself takes is not held against a push. */
static void an_invalid_config_without_version_refuses_the_push(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    config(f, "request_type", "\"b\"", "nodes", ":local", NULL);
    push(f, 2, USER "\"1\"", NULL, ACCEPTED);
    assert_int_equal(config_failed_count(f->failed), 1);
    config(f, "request_type", "\"c\"", "timeout", "1", NULL);
    push(f, 3, USER "\"2\"", NULL, "{:error, {:validation_failed, [\"all fun_configs must have valid versions\"]}}");
}

/* S-123, F-020, F-150. */
static void configs_of_older_libraries_are_taken(void **state)
{
    struct fixture *f = *state;
    config(f, "request_type", "\"a\"", "permission_callback", NULL, "hook_timeout", NULL, "before_execute", NULL,
           "after_execute", NULL, "retry", NULL, "version", "\"0.0.0\"", NULL);
    push(f, 1, USER "\"1\"", NULL, ACCEPTED);
    assert_true(known(f, "a"));
}

/* S-020: what came through JSON. */
static void a_plain_map_with_texts_for_keys_is_a_push_too(void **state)
{
    struct fixture *f = *state;
    push_term_from(f,
                   term_of(&f->term, "%{\"service\" => \"user\", \"nodes\" => [\"svc@localhost\"], "
                                     "\"config_version\" => \"1\", \"fun_configs\" => [%{\"request_type\" => \"a\", "
                                     "\"service\" => \"user\", \"nodes\" => [\"svc@localhost\"], "
                                     "\"mfa\" => {MyApp.Users, :get, []}}]}"),
                   NULL, "n@h", ACCEPTED);
    assert_true(known(f, "a"));
}

/* ---- what a push replaces ---- */

/* S-029 want. */
static void a_function_that_is_pushed_no_more_disappears(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    one(f, "b");
    push(f, 2, USER "\"1\"", NULL, ACCEPTED);
    no_configs(f);
    one(f, "b");
    one(f, "c");
    push(f, 2, "service: :user, nodes: [:svc@localhost], config_version: \"2\"", NULL, ACCEPTED); /* S-030 want */
    assert_true(!known(f, "a") && known(f, "b") && known(f, "c"));
    buf_reset(&f->out);
    config_receiver_put_services(f->r, &f->out);
    assert_answer(f, "%{user: \"2\"}");
}

/* S-043 want, and the other service stays. */
static void a_deleted_service_takes_its_functions_along(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1\"", NULL, ACCEPTED);
    no_configs(f);
    config(f, "service", ":mail", NULL);
    push(f, 1, "service: :mail, nodes: [:n@h], config_version: \"1\"", NULL, ACCEPTED);
    config_receiver_delete(f->r, term_of(&f->term, "\"nobody\""));
    config_receiver_delete(f->r, term_of(&f->term, "[]"));
    config_receiver_delete(f->r, term_of(&f->term, ":user"));
    assert_int_equal(config_db_count(f->db), 1);
    verify(f, "\"user\"", "\"1\"", "{:error, :not_found}");
    verify(f, "\"mail\"", "\"1\"", "{:ok, :matched}");
}

/* ---- showing ---- */

/* S-041 want, S-044; V-03 is what a real library sends. */
static void a_push_config_is_shown_whole_but_for_its_token(void **state)
{
    struct fixture *f = *state;
    size_t len;
    uint8_t *vector = vector_hex("tests/data/push", "push_config", &len);
    f->o.token = SLICE_LIT("secret");
    make_receiver(f);
    push_term_from(f, slice_make(vector + 1, len - 1), "[force: false]", "svc@localhost", ACCEPTED);
    buf_reset(&f->out);
    config_receiver_put_config(f->r, term_of(&f->term, "\"user\""), &f->out);
    struct slice token, version;
    assert_true(term_map_get(buf_slice(&f->out), "push_token", &token));
    assert_true(term_equal(token, term_of(&f->want, "\"[redacted]\"")));
    assert_true(term_map_get(buf_slice(&f->out), "config_version", &version));
    assert_true(term_equal(version, term_of(&f->want, "\"1.0.0\"")));
    buf_reset(&f->out);
    config_receiver_put_status(f->r, &f->out);
    assert_null(memmem(f->out.data, f->out.len, "secret", 6));
    size_t used;
    assert_int_equal(term_check(f->out.data, f->out.len, TERM_DEPTH_DEFAULT, &used, NULL), BG_OK);
    assert_int_equal(used, f->out.len);
    buf_reset(&f->out);
    config_receiver_put_config(f->r, term_of(&f->term, "\"nobody\""), &f->out);
    assert_answer(f, "nil");
    free(vector);
}

/* V-04: the arguments of a push as a real library sends them, of a struct with nothing but a service. V-12: its answers. */
static void the_librarys_own_terms_are_understood(void **state)
{
    struct fixture *f = *state;
    size_t len;
    uint32_t n;
    struct slice config, options, answer;
    uint8_t *vector = vector_hex("tests/data/push", "push_arguments", &len);
    struct term_reader r = term_reader(slice_make(vector + 1, len - 1));
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(term_skip(&r, &config), BG_OK);
    assert_int_equal(term_skip(&r, &options), BG_OK);
    config_receiver_push(f->r, config, options, SLICE_LIT("n@h"), &f->out);
    assert_answer(f, "{:error, {:validation_failed, [\"nodes must be a non-empty list of atoms or strings\", "
                     "\"config_version must be a non-empty string\", "
                     "\"fun_configs must be a non-empty list of FunConfig structs\"]}}");
    free(vector);
    vector = vector_hex("tests/data/push", "push_answers", &len);
    r = term_reader(slice_make(vector + 1, len - 1));
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(n, 4);
    one(f, "a");
    const char *const rest[] = {USER "\"1\"", USER "\"1\"", "service: \"user\", config_version: \"1\"",
                                USER "\"1\", push_token: :t"};
    for (uint32_t i = 0; i < n; i++) {
        buf_reset(&f->out);
        config_receiver_push(f->r, push_term(f, 1, rest[i]), SLICE_NONE, SLICE_LIT("n@h"), &f->out);
        assert_int_equal(term_skip(&r, &answer), BG_OK);
        assert_true(term_equal(buf_slice(&f->out), answer));
    }
    free(vector);
}

/* ---- who may push ---- */

static void push_as(struct fixture *f, const char *node, const char *service, const char *nodes, const char *expected)
{
    char text[64], rest[256];
    no_configs(f);
    snprintf(text, sizeof(text), "\"%s\"", service);
    config(f, "service", text, NULL);
    snprintf(rest, sizeof(rest), "service: \"%s\", nodes: %s, config_version: \"1\"", service, nodes);
    push_term_from(f, push_term(f, 1, rest), "[force: true]", node, expected);
}

/* S-084 want. */
static void the_allow_list_names_services_and_their_nodes(void **state)
{
    struct fixture *f = *state;
    const char *refused = "{:error, :push_not_allowed}";
    const struct slice chat_nodes[] = {SLICE_LIT("chat*@10.0.*"), SLICE_LIT("spare@h")};
    const struct slice any[] = {SLICE_LIT("*@trusted")};
    const struct push_rule allow[] = {{SLICE_LIT("chat"), chat_nodes, 2}, {SLICE_LIT("*"), any, 1}};
    f->o.allow = allow;
    f->o.allow_count = 2;
    make_receiver(f);
    push_as(f, "chat1@10.0.0.1", "chat", "[:\"chat1@10.0.0.1\", \"spare@h\"]", ACCEPTED);
    push_as(f, "chat1@10.0.0.1", "chat", "[:\"chat1@10.0.0.1\", :evil@h]", refused);
    push_as(f, "mail@10.0.0.1", "chat", "[:\"chat1@10.0.0.1\"]", refused);
    push_as(f, "chat1@10.1.0.1", "chat", "[:\"chat1@10.0.0.1\"]", refused);
    push_as(f, "chat1@10.0.0.1", "mail", "[:\"chat1@10.0.0.1\"]", refused);
    push_as(f, "x@trusted", "mail", "[:y@trusted]", ACCEPTED);
    push_as(f, "x@trustedx", "mail", "[:y@trusted]", refused);
    push_as(f, "", "mail", "[:y@trusted]", refused);
}

static void more_services_than_allowed_are_refused(void **state)
{
    struct fixture *f = *state;
    f->o.max_services = 2;
    make_receiver(f);
    push_as(f, "n@h", "s1", "[:n@h]", ACCEPTED);
    push_as(f, "n@h", "s2", "[:n@h]", ACCEPTED);
    push_as(f, "n@h", "s3", "[:n@h]", "{:error, :too_many_services}");
    push_as(f, "n@h", "s2", "[:n@h]", ACCEPTED);
    config_receiver_delete(f->r, term_of(&f->term, "\"s1\""));
    push_as(f, "n@h", "s3", "[:n@h]", ACCEPTED);
}

static void too_many_functions_in_one_push_are_refused(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i <= PUSH_FUNCTIONS_MAX; i++)
        term_put_nil(&f->configs);
    push(f, PUSH_FUNCTIONS_MAX + 1, USER "\"1\"", NULL,
         "{:error, {:validation_failed, [\"fun_configs must not hold more than 10000 FunConfig structs\"]}}");
}

/* What no push names any more need not be found again. */
static void nodes_that_nobody_names_any_more_are_released(void **state)
{
    struct fixture *f = *state;
    push_as(f, "a@h", "chat", "[:a@h, :b@h]", ACCEPTED);
    push_as(f, "b@h", "mail", "[\"b@h\"]", ACCEPTED);
    assert_string_equal(f->connected, "a@h b@h b@h");
    push_as(f, "a@h", "chat", "[:a@h]", ACCEPTED);
    assert_string_equal(f->released, "");
    push_as(f, "c@h", "chat", "[:c@h]", ACCEPTED);
    assert_string_equal(f->released, "a@h");
    config_receiver_delete(f->r, term_of(&f->term, "\"mail\""));
    assert_string_equal(f->released, "a@h b@h");
}

/* ---- pulling what was pushed ---- */

static const struct service_config *pulled(struct fixture *f, const char *service)
{
    struct config_puller_status s;
    for (size_t pos = 0; config_puller_next(f->puller, &pos, &s);)
        if (slice_is(s.config->service, service))
            return s.config;
    return NULL;
}

#define PULL ", module: MyApp.Supporter, function: :get_config, args: nil"

/* S-026, S-064; F-081: args nil is []; the gateway stays ready meanwhile. */
static void a_push_with_module_and_function_is_pulled_from_then_on(void **state)
{
    struct fixture *f = *state;
    uint32_t loaded, total;
    one(f, "a");
    push(f, 1, USER "\"1\", module: MyApp.Supporter", NULL, ACCEPTED);
    assert_null(pulled(f, "user"));
    push(f, 1, USER "\"2\"" PULL, NULL, ACCEPTED);
    const struct service_config *c = pulled(f, "user");
    assert_non_null(c);
    assert_slice_is(c->module, "Elixir.MyApp.Supporter");
    assert_slice_is(c->function, "get_config");
    assert_slice_is(c->nodes[0], "svc@localhost");
    assert_true(c->args.len == 0 || term_equal(c->args, SLICE_LIT("j")));
    assert_true(config_puller_ready(f->puller, &loaded, &total));
    assert_int_equal(total, 0);
    no_configs(f);
    one(f, "b");
    push(f, 1, USER "\"3\"", NULL, ACCEPTED);
    assert_null(pulled(f, "user"));
    assert_true(!known(f, "a") && known(f, "b"));
}

/* S-043. */
static void a_deleted_service_is_pulled_no_more(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    push(f, 1, USER "\"1\"" PULL, NULL, ACCEPTED);
    config_receiver_delete(f->r, term_of(&f->term, "\"user\""));
    assert_null(pulled(f, "user"));
    assert_int_equal(config_db_count(f->db), 0);
}

static void an_operators_pull_stands_above_a_push(void **state)
{
    struct fixture *f = *state;
    struct slice node = SLICE_LIT("operators@h");
    struct service_config c = {.service = SLICE_LIT("user"),
                               .nodes = &node,
                               .nodes_count = 1,
                               .module = SLICE_LIT("m"),
                               .function = SLICE_LIT("f")};
    assert_int_equal(config_puller_add(f->puller, &c, NULL), BG_OK);
    one(f, "a");
    push(f, 1, USER "\"1\"" PULL, NULL, ACCEPTED);
    assert_slice_is(pulled(f, "user")->module, "m");
    config_receiver_delete(f->r, term_of(&f->term, "\"user\""));
    assert_non_null(pulled(f, "user"));
    assert_int_equal(config_db_count(f->db), 0);
}

/* S-083 want: the push is good, asking os:cmd for configs is not. */
static void what_is_never_called_is_not_pulled_by_either(void **state)
{
    struct fixture *f = *state;
    one(f, "a");
    log_catch(LOG_WARNING);
    push(f, 1, USER "\"1\", module: :os, function: :cmd, args: ['id']", NULL, ACCEPTED);
    log_set_level(LOG_ERROR);
    assert_non_null(strstr(log_caught(), " service=\"user\" reason=\"service \\\"user\\\": a function by which it is "
                                         "pulled may not be called\"\n"));
    assert_null(pulled(f, "user"));
    push(f, 1, USER "\"2\"" PULL ", version_module: :os, version_function: :cmd", NULL, ACCEPTED);
    assert_null(pulled(f, "user"));
    assert_true(known(f, "a"));
}

/* ---- pushes in pieces ---- */

enum { MANY = 250 }; /* three steps of checking, three of storing */

struct answers {
    struct buf text; /* one a line: tag and answer */
};

static void on_answer(void *ctx, uint64_t tag, struct slice answer)
{
    struct answers *a = ctx;
    buf_printf(&a->text, "%llu ", (unsigned long long)tag);
    term_inspect(answer, &a->text, 200);
    buf_putc(&a->text, '\n');
}

static void in_pieces(struct fixture *f)
{
    f->o.timers = &f->timers;
    make_receiver(f);
}

/* The functions "PREFIXfrom".. of the next push. */
static void many(struct fixture *f, const char *prefix, unsigned n)
{
    char type[32];
    no_configs(f);
    for (unsigned i = 0; i < n; i++) {
        snprintf(type, sizeof(type), "\"%s%u\"", prefix, i);
        config(f, "request_type", type, "service", "\"user\"", NULL);
    }
}

static bool push_later(struct fixture *f, struct answers *a, unsigned tag, const char *prefix, unsigned n,
                       const char *rest)
{
    many(f, prefix, n);
    struct slice term = push_term(f, n, rest);
    buf_reset(&f->out);
    assert_true(config_receiver_waits(f->r, term));
    return config_receiver_push_later(f->r, term, SLICE_NONE, SLICE_LIT("svc@localhost"), &f->out, on_answer, a, tag);
}

/* Turns of the loop until nothing is due; how many. */
static unsigned turns(struct fixture *f, unsigned max)
{
    unsigned n = 0;
    while (n < max && timers_run(&f->timers, f->timers.now_us + 1, 0) > 0)
        n++;
    return n;
}

static const char *answers_of(struct answers *a)
{
    static char text[1024];
    slice_cstr(buf_slice(&a->text), text, sizeof(text));
    buf_fini(&a->text);
    return text;
}

static void a_large_push_is_taken_in_turns_and_answered_once(void **state)
{
    struct fixture *f = *state;
    struct answers a = {0};
    in_pieces(f);
    assert_true(push_later(f, &a, 7, "a", MANY, USER "\"1\""));
    assert_int_equal(config_db_count(f->db), 0);
    turns(f, 4);
    assert_in_range(config_db_count(f->db), 1, MANY - 1);
    verify(f, "\"user\"", "\"1\"", "{:error, :not_found}"); /* not accepted yet */
    assert_int_equal(a.text.len, 0);
    assert_in_range(turns(f, 1000), 2, 10);
    assert_int_equal(config_db_count(f->db), MANY);
    verify(f, "\"user\"", "\"1\"", "{:ok, :matched}");
    assert_string_equal(answers_of(&a), "7 {:ok, :accepted}\n");
}

static void pushes_are_taken_in_the_order_in_which_they_come(void **state)
{
    struct fixture *f = *state;
    struct answers a = {0};
    in_pieces(f);
    assert_true(push_later(f, &a, 1, "a", MANY, USER "\"1\""));
    assert_true(push_later(f, &a, 2, "b", 1, USER "\"2\"")); /* small, but another waits */
    assert_true(push_later(f, &a, 3, "b", 1, USER "\"2\""));
    turns(f, 1000);
    assert_int_equal(config_db_count(f->db), 1);
    assert_true(known(f, "b0"));
    assert_string_equal(answers_of(&a), "1 {:ok, :accepted}\n2 {:ok, :accepted}\n3 {:ok, :skipped, :version_matches}\n");
}

static void one_that_cannot_wait_comes_after_those_that_do(void **state)
{
    struct fixture *f = *state;
    struct answers a = {0};
    in_pieces(f);
    assert_true(push_later(f, &a, 1, "a", MANY, USER "\"1\""));
    turns(f, 4);
    no_configs(f);
    one(f, "last");
    push(f, 1, USER "\"2\"", NULL, ACCEPTED);
    assert_int_equal(config_db_count(f->db), 1);
    assert_string_equal(answers_of(&a), "1 {:ok, :accepted}\n");
    assert_int_equal(turns(f, 1000), 1); /* the timer finds nothing to do */
}

static void a_service_deleted_during_its_push_is_gone_after_it(void **state)
{
    struct fixture *f = *state;
    struct answers a = {0};
    in_pieces(f);
    assert_true(push_later(f, &a, 1, "a", MANY, USER "\"1\""));
    turns(f, 4);
    config_receiver_delete(f->r, term_of(&f->term, ":user"));
    assert_int_equal(config_db_count(f->db), 0);
    assert_string_equal(answers_of(&a), "1 {:ok, :accepted}\n");
    turns(f, 1000);
    assert_int_equal(config_db_count(f->db), 0);
}

static void a_large_push_that_is_refused_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct answers a = {0};
    in_pieces(f);
    assert_true(push_later(f, &a, 1, "a", MANY, USER "\"1\""));
    assert_true(push_later(f, &a, 2, "b", MANY, USER "\"\""));
    many(f, "c", MANY);
    config(f, "request_type", "\"x\"", "service", "\"other\"", NULL);
    struct slice term = push_term(f, MANY + 1, USER "\"3\"");
    assert_true(config_receiver_push_later(f->r, term, SLICE_NONE, SLICE_LIT("n@h"), &f->out, on_answer, &a, 3));
    turns(f, 1000);
    assert_int_equal(config_db_count(f->db), MANY);
    assert_true(known(f, "a0"));
    verify(f, "\"user\"", "\"1\"", "{:ok, :matched}");
    const char *text = answers_of(&a);
    assert_non_null(strstr(text, "2 {:error, {:validation_failed, [\"config_version must be a non-empty string\"]}}\n"));
    assert_non_null(strstr(text, "3 {:error, {:validation_failed, [\"all fun_configs must have the same service"));
}

static void too_many_pushes_at_a_time_are_refused(void **state)
{
    struct fixture *f = *state;
    struct answers a = {0};
    in_pieces(f);
    unsigned n = 0;
    while (push_later(f, &a, n, "a", MANY, USER "\"1\""))
        assert_true(++n < 1000);
    assert_int_equal(n, 64);
    assert_answer(f, "{:error, :too_many_pushes}");
    buf_fini(&a.text);
}

static void a_receiver_that_ends_takes_the_rest_with_it(void **state)
{
    struct fixture *f = *state;
    struct answers a = {0};
    in_pieces(f);
    assert_true(push_later(f, &a, 1, "a", MANY, USER "\"1\""));
    assert_true(push_later(f, &a, 2, "b", MANY, USER "\"2\""));
    turns(f, 4);
    make_receiver(f);
    assert_int_equal(turns(f, 1000), 0);
    assert_string_equal(answers_of(&a), "");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_version_is_taken_once_unless_forced),
        TEST(options_of_any_kind_force_nothing),
        TEST(every_rule_that_does_not_hold_is_named_in_order),
        TEST(what_is_no_push_config_is_refused),
        TEST(the_token_must_be_the_configured_one),
        TEST(the_valid_ones_are_taken_and_the_others_recorded),
        TEST(when_all_are_invalid_nothing_changes),
        TEST(when_no_function_may_be_named_nothing_changes),
        TEST(an_allowlist_holds_for_pushes),
        TEST(verify_tells_whether_a_version_is_here),
        TEST(configs_of_another_service_are_refused_whole),
        TEST(an_invalid_config_without_version_refuses_the_push),
        TEST(configs_of_older_libraries_are_taken),
        TEST(a_plain_map_with_texts_for_keys_is_a_push_too),
        TEST(a_function_that_is_pushed_no_more_disappears),
        TEST(a_deleted_service_takes_its_functions_along),
        TEST(a_push_config_is_shown_whole_but_for_its_token),
        TEST(the_librarys_own_terms_are_understood),
        TEST(the_allow_list_names_services_and_their_nodes),
        TEST(nodes_that_nobody_names_any_more_are_released),
        TEST(more_services_than_allowed_are_refused),
        TEST(too_many_functions_in_one_push_are_refused),
        TEST(a_push_with_module_and_function_is_pulled_from_then_on),
        TEST(a_deleted_service_is_pulled_no_more),
        TEST(an_operators_pull_stands_above_a_push),
        TEST(what_is_never_called_is_not_pulled_by_either),
        TEST(a_large_push_is_taken_in_turns_and_answered_once),
        TEST(pushes_are_taken_in_the_order_in_which_they_come),
        TEST(one_that_cannot_wait_comes_after_those_that_do),
        TEST(a_service_deleted_during_its_push_is_gone_after_it),
        TEST(a_large_push_that_is_refused_changes_nothing),
        TEST(too_many_pushes_at_a_time_are_refused),
        TEST(a_receiver_that_ends_takes_the_rest_with_it),
    };
    return cmocka_run_group_tests_name("config_receiver", tests, NULL, NULL);
}
