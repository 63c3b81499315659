/* test_fun_config.c: FunConfig terms of every age, shape and defect (F-001..F-067). */
#include "unit.h"

#include "fun_config.h"
#include "term_text.h"

static struct buf scratch;
static struct fun_config_reasons why;

static int setup(void **state)
{
    (void)state;
    buf_init(&scratch, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&scratch);
    return 0;
}

/* A config that must be accepted; the scratch is overwritten so that a slice into the input would show. */
static struct fun_config *compiled(struct slice term)
{
    struct fun_config *fc = fun_config_from_term(term, SLICE_NONE, &why);
    if (!fc)
        fail_msg("refused: %s", why.text[0]);
    memset(scratch.data, 0xff, scratch.len);
    return fc;
}

#define ACCEPT(...) compiled(config_term(&scratch, __VA_ARGS__, NULL))

/* A config that must be refused for exactly one reason. */
#define REFUSE(want_, ...)                                                                                             \
    do {                                                                                                               \
        assert_null(fun_config_from_term(config_term(&scratch, __VA_ARGS__, NULL), SLICE_NONE, &why));                 \
        assert_int_equal(why.count, 1);                                                                                \
        assert_string_equal(why.text[0], want_);                                                                       \
    } while (0)

/* The same where a second text says more than the first. */
#define REFUSE_ARGS(want_, types, orders)                                                                              \
    do {                                                                                                               \
        assert_null(fun_config_from_term(config_term(&scratch, "arg_types", types, "arg_orders", orders, NULL),        \
                                         SLICE_NONE, &why));                                                           \
        assert_int_equal(why.count, 2);                                                                                \
        assert_string_equal(why.text[0], "argument validation failed");                                                \
        assert_string_equal(why.text[1], want_);                                                                       \
    } while (0)

static struct slice from_hex(const char *hex)
{
    buf_reset(&scratch);
    for (; hex[0] && hex[1]; hex += 2) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        buf_putc(&scratch, (int)byte);
    }
    struct slice t = buf_slice(&scratch);
    assert_int_equal((uint8_t)t.ptr[0], TERM_VERSION);
    return slice_make(t.ptr + 1, t.len - 1);
}

/* V-02: the struct as PhoenixGenApi 2.22 sends it. */
static const char realistic[] =
    "837400000013770a5f5f7374727563745f5f7726456c697869722e50686f656e697847656e4170692e53747275637473"
    "2e46756e436f6e666967770d61667465725f6578656375746577036e696c770a6172675f6f72646572736c000000026d"
    "00000007757365725f69646d000000016e6a77096172675f747970657374000000026d000000016e6c00000002680277"
    "047479706577036e756d6802770d64656661756c745f76616c756561036a6d00000007757365725f6964770673747269"
    "6e67770e6265666f72655f6578656375746577036e696c7710636865636b5f7065726d697373696f6e68027703617267"
    "6d00000007757365725f6964771063686f6f73655f6e6f64655f6d6f646568027704686173686d00000007757365725f"
    "6964770864697361626c6564770566616c7365770c686f6f6b5f74696d656f7574620000138877036d66616803771245"
    "6c697869722e4d794170702e557365727377036765746a77056e6f6465736c00000001770d737663406c6f63616c686f"
    "73746a77137065726d697373696f6e5f63616c6c6261636b77036e696c770c726571756573745f696e666f770566616c"
    "7365770c726571756573745f747970656d000000086765745f75736572770d726573706f6e73655f7479706577047379"
    "6e63770572657472796802770973616d655f6e6f646561027707736572766963656d0000000475736572770774696d65"
    "6f75746200001388770776657273696f6e6d00000005312e302e30";

/* V-01: all fields at the struct's own defaults. */
static const char defaults[] =
    "837400000013770a5f5f7374727563745f5f7726456c697869722e50686f656e697847656e4170692e53747275637473"
    "2e46756e436f6e666967770d61667465725f6578656375746577036e696c770a6172675f6f726465727377036e696c77"
    "096172675f747970657377036e696c770e6265666f72655f6578656375746577036e696c7710636865636b5f7065726d"
    "697373696f6e770566616c7365771063686f6f73655f6e6f64655f6d6f646577036e696c770864697361626c65647705"
    "66616c7365770c686f6f6b5f74696d656f7574620000138877036d666177036e696c77056e6f64657377036e696c7713"
    "7065726d697373696f6e5f63616c6c6261636b77036e696c770c726571756573745f696e666f770566616c7365770c72"
    "6571756573745f7479706577036e696c770d726573706f6e73655f7479706577036e696c7705726574727977036e696c"
    "77077365727669636577036e696c770774696d656f757477036e696c770776657273696f6e77036e696c";

/* V-02, F-001..F-018. */
static void realistic_struct_compiles_field_by_field(void **state)
{
    (void)state;
    struct fun_config *fc = compiled(from_hex(realistic));
    assert_slice_is(fc->request_type, "get_user");
    assert_slice_is(fc->service, "user");
    assert_slice_is(fc->version, "1.0.0");
    assert_int_equal(fc->nodes_kind, NODES_LIST);
    assert_int_equal(fc->nodes_count, 1);
    assert_slice_is(fc->nodes[0], "svc@localhost");
    assert_int_equal(fc->choose_node_mode, CHOOSE_HASH_KEY);
    assert_slice_is(fc->choose_key, "user_id");
    assert_int_equal(fc->timeout_ms, 5000);
    assert_slice_is(fc->mfa.module, "Elixir.MyApp.Users");
    assert_slice_is(fc->mfa.function, "get");
    assert_int_equal(fc->mfa.args_count, 0);
    assert_int_equal(fc->args_count, 2);
    assert_slice_is(fc->args[0].name, "n");
    assert_int_equal(fc->args[0].type, ARG_NUM);
    assert_int_equal(fc->args[0].default_term.len, 2);
    assert_slice_is(fc->args[1].name, "user_id");
    assert_int_equal(fc->args[1].type, ARG_STRING);
    assert_null(fc->args[1].default_term.ptr);
    assert_int_equal(fc->order_count, 2);
    assert_int_equal(fc->order[0], 1);
    assert_int_equal(fc->order[1], 0);
    assert_int_equal(fc->response_type, RESPONSE_SYNC);
    assert_int_equal(fc->permission, PERMIT_ARG);
    assert_slice_is(fc->permission_arg, "user_id");
    assert_int_equal(fc->retry_mode, RETRY_SAME_NODE);
    assert_int_equal(fc->retry_count, 2);
    assert_int_equal(fc->hook_timeout_ms, 5000);
    assert_false(fc->disabled);
    assert_false(fc->request_info);
    assert_false(fc->permission_callback.present);
    assert_false(fc->before_execute.present);
    fun_config_unref(fc);
}

/* The copy that hooks see equals the struct sent: nothing is lost or added. */
static void kept_term_equals_the_struct_that_was_sent(void **state)
{
    (void)state;
    struct fun_config *fc = compiled(from_hex(realistic));
    assert_true(term_equal(fc->term, from_hex(realistic)));
    struct buf out;
    buf_init(&out, 0);
    fun_config_put_term(fc, &out);
    assert_true(term_equal(buf_slice(&out), from_hex(realistic)));
    fc->disabled = true;
    buf_reset(&out);
    fun_config_put_term(fc, &out);
    struct slice v;
    size_t used = 0;
    assert_int_equal(term_check(out.data, out.len, 64, &used, NULL), BG_OK);
    assert_true(term_map_get(buf_slice(&out), "disabled", &v) && term_is_atom(v, "true"));
    buf_fini(&out);
    fun_config_unref(fc);
}

/* V-01: every broken field is told, in the order of F-030..F-045; F-019: mode, timeout and type are not among them. */
static void every_failing_rule_is_told_in_order(void **state)
{
    (void)state;
    static const char *const want[] = {"request_type must be a non-empty string", "service must not be nil",
                                       "nodes must be a valid list, MFA tuple, or :local",
                                       "mfa must be a valid {module, function, args} tuple"};
    assert_null(fun_config_from_term(from_hex(defaults), SLICE_NONE, &why));
    assert_int_equal(why.count, ARRAY_SIZE(want));
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_string_equal(why.text[i], want[i]);
}

/* F-030..F-045 all at once. */
static void all_sixteen_messages_appear_in_order(void **state)
{
    (void)state;
    static const char *const want[] = {
        "request_type must be a non-empty string",
        "service must not be nil",
        "nodes must be a valid list, MFA tuple, or :local",
        "choose_node_mode must be :random, :hash, {:hash, key}, :round_robin, or {:sticky, key}",
        "timeout must be a positive integer between 100 and 300000, or :infinity",
        "mfa must be a valid {module, function, args} tuple",
        "argument validation failed",
        "arg_types must be nil or a map, not 5",
        "response_type must be :sync, :async, :stream, or :none",
        "check_permission must be false, :any_authenticated, {:arg, arg_name}, or {:role, roles}",
        "permission_callback must be nil or a valid {module, function, args} tuple",
        "request_info must be a boolean",
        "version must be a valid version string (e.g., '1.0.0')",
        "retry must be nil, a positive number, {:same_node, number}, or {:all_nodes, number}",
        "before_execute must be nil or a valid {module, function} or {module, function, args} tuple",
        "after_execute must be nil or a valid {module, function} or {module, function, args} tuple",
        "hook_timeout must be a positive integer"};
    struct slice t =
        config_term(&scratch, "request_type", "\"\"", "service", "nil", "nodes", "[]", "choose_node_mode",
                    "{:hash, :atom}", "timeout", "99", "mfa", "{:a, :b}", "arg_types", "5", "response_type", ":x",
                    "check_permission", "{:arg, :atom}", "permission_callback", ":x", "request_info", "1", "version",
                    ":v1", "retry", "0", "before_execute", "1", "after_execute", "{:a}", "hook_timeout", "0", NULL);
    assert_null(fun_config_from_term(t, SLICE_NONE, &why));
    assert_int_equal(why.count, ARRAY_SIZE(want));
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_string_equal(why.text[i], want[i]);
}

/* One row a rule: what the field may hold, and what it may not, with the message alone. */
static void every_field_has_its_values_and_its_message(void **state)
{
    (void)state;
    static const struct {
        const char *field; /* of the facts behind it: what is accepted, and the message */
        const char *message;
        const char *good[6];
        const char *bad[8];
    } rows[] = {
        /* F-001, F-030 */
        {"request_type", "request_type must be a non-empty string", {"\"t\"", "\"é\""}, {"\"\"", ":t", "1", "nil", "[]"}},
        /* F-002, F-031 */
        {"service", "service must not be nil", {":chat", "\"chat\""}, {"nil"}},
        /* F-003, F-032 */
        {"nodes", "nodes must be a valid list, MFA tuple, or :local", {"[:a@h]", "[\"a@h\", :b@h]", "{M, :f, []}"},
         {"[]", "nil", "\"a@h\"", ":a@h", "[1]", "{M, :f}", "[{:a, 1}]"}},
        /* F-004, F-033 */
        {"choose_node_mode", "choose_node_mode must be :random, :hash, {:hash, key}, :round_robin, or {:sticky, key}",
         {":random", ":hash", "{:hash, \"k\"}", ":round_robin", "{:sticky, \"k\"}"}, {"{:hash, :k}", ":sticky", "\"random\"", "1"}},
        /* F-005, F-034 */
        {"timeout", "timeout must be a positive integer between 100 and 300000, or :infinity", {"100", "300000", ":infinity"},
         {"99", "300001", "500.0", "-1", ":never", "9999999999"}},
        /* F-006, F-035 */
        {"mfa", "mfa must be a valid {module, function, args} tuple", {"{M, :f, []}", "{:m, :f, [1, :a]}"},
         {"nil", "{M, :f}", "{\"M\", :f, []}", "{M, \"f\", []}", "{M, :f, :a}", "{M, :f, [1 | 2]}", "{M, :f, [], 1}"}},
        /* F-009, F-037, E-139 */
        {"response_type", "response_type must be :sync, :async, :stream, or :none", {":sync", ":async", ":stream", ":none"},
         {":other", "\"sync\"", "1", "true"}},
        /* F-010, F-040 */
        {"request_info", "request_info must be a boolean", {"true", "false"}, {"1", ":yes", "\"true\""}},
        /* F-011, F-038 */
        {"check_permission", "check_permission must be false, :any_authenticated, {:arg, arg_name}, or {:role, roles}",
         {"false", ":any_authenticated", "{:arg, \"a\"}", "{:role, [\"r\"]}", "{:role, []}"},
         {"nil", "true", ":all", "{:arg, :a}", "{:role, \"r\"}", "{:arg, \"a\", 1}", "{:callback, M}"}},
        /* F-012, F-039 */
        {"permission_callback", "permission_callback must be nil or a valid {module, function, args} tuple",
         {"nil", "{M, :f, [1]}", "{M, :f}"}, {":x", "{M}", "{M, \"f\"}", "{M, :f, 1}"}},
        /* F-013, F-041 */
        {"version", "version must be a valid version string (e.g., '1.0.0')", {"nil", "\"1.0.0\"", "\"abc\"", "\"\""},
         {":v1", "1", "1.0"}},
        /* F-015, F-042 */
        {"retry", "retry must be nil, a positive number, {:same_node, number}, or {:all_nodes, number}",
         {"nil", "1", "0.5", "{:same_node, 2}", "{:all_nodes, 2}"}, {"0", "-1", ":x", "{:same_node, 0}", "{:other, 1}"}},
        /* F-016, F-043 */
        {"before_execute", "before_execute must be nil or a valid {module, function} or {module, function, args} tuple",
         {"nil", "{M, :f}", "{M, :f, []}"}, {"1", "{M}", "{M, :f, :a}", "[:f]"}},
        /* F-017, F-044 */
        {"after_execute", "after_execute must be nil or a valid {module, function} or {module, function, args} tuple",
         {"nil", "{M, :f}", "{M, :f, []}"}, {"1", "{M}", "{M, :f, :a}", "[:f]"}},
        /* F-018, F-045 */
        {"hook_timeout", "hook_timeout must be a positive integer", {"1", "5000", "nil"}, {"0", "-1", "1.5", ":infinity"}},
        /* F-014: whatever it is, nothing is refused */
        {"disabled", "", {"true", "false", "nil", "1", "\"x\""}, {NULL}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(rows[i].good) && rows[i].good[k]; k++)
            fun_config_unref(ACCEPT(rows[i].field, rows[i].good[k]));
        for (size_t k = 0; k < ARRAY_SIZE(rows[i].bad) && rows[i].bad[k]; k++)
            REFUSE(rows[i].message, rows[i].field, rows[i].bad[k]);
    }
}

/* F-021: nothing but its keys tells an old struct from a new one, so both forms of one config compile to the same. */
static void the_age_of_a_struct_does_not_matter(void **state)
{
    (void)state;
    static const char *const old = "%{__struct__: PhoenixGenApi.Structs.FunConfig, request_type: \"t\", service: \"s\", nodes: [:a@h], "
                                   "choose_node_mode: :hash, timeout: 200, mfa: {M, :f, []}, arg_types: nil, arg_orders: nil, "
                                   "response_type: :async, request_info: true, check_permission: false, version: \"0.0.0\"}";
    struct fun_config *a = compiled(term_of(&scratch, old));
    struct fun_config *b = ACCEPT("request_type", "\"t\"", "service", "\"s\"", "nodes", "[:a@h]", "choose_node_mode", ":hash", "timeout", "200",
                                  "mfa", "{M, :f, []}", "response_type", ":async", "request_info", "true");
    assert_true(term_equal(a->term, b->term));
    fun_config_unref(a);
    fun_config_unref(b);
}

/* F-019, F-020, S-123: an older library's struct has fewer keys. */
static void missing_and_nil_fields_take_the_documented_defaults(void **state)
{
    (void)state;
    struct fun_config *fc = compiled(
        term_of(&scratch, "%{__struct__: PhoenixGenApi.Structs.FunConfig, request_type: \"t\", service: :chat, "
                          "nodes: [\"a@h\", :b@h], mfa: {M, :f, []}, version: \"0.0.0\"}"));
    assert_int_equal(fc->choose_node_mode, CHOOSE_RANDOM);
    assert_int_equal(fc->timeout_ms, 5000);
    assert_int_equal(fc->response_type, RESPONSE_SYNC);
    assert_int_equal(fc->hook_timeout_ms, 5000);
    assert_int_equal(fc->permission, PERMIT_ALL);
    assert_null(fc->version.ptr);
    assert_slice_is(fc->service, "chat"); /* E-036: text of the atom */
    assert_slice_is(fc->nodes[0], "a@h"); /* E-162: strings are node names too */
    assert_slice_is(fc->nodes[1], "b@h");
    struct slice v;
    static const char *const keys[] = {"hook_timeout", "permission_callback", "after_execute", "disabled", "retry"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_true(term_map_get(fc->term, keys[i], &v));
    assert_true(term_map_get(fc->term, "version", &v) && term_is_nil(v));
    assert_true(term_map_get(fc->term, "choose_node_mode", &v) && term_is_atom(v, "random"));
    fun_config_unref(fc);
    fc = ACCEPT("choose_node_mode", "nil", "timeout", "nil", "response_type", "nil", "hook_timeout", "nil",
                "request_info", "nil");
    assert_int_equal(fc->timeout_ms, 5000);
    fun_config_unref(fc);
}

/* What guards access is never guessed: nil is no permission mode (F-038). */
static void nil_permission_is_refused(void **state)
{
    (void)state;
    REFUSE("check_permission must be false, :any_authenticated, {:arg, arg_name}, or {:role, roles}",
           "check_permission", "nil");
}

static void plain_map_with_string_keys_compiles_to_a_struct(void **state)
{
    (void)state;
    struct fun_config *fc = compiled(term_of(
        &scratch, "%{\"request_type\" => \"t\", \"service\" => \"s\", \"nodes\" => [:a@h], \"mfa\" => {M, :f, [1]}}"));
    struct slice v;
    assert_true(term_map_get(fc->term, "__struct__", &v));
    assert_true(term_is_atom(v, "Elixir.PhoenixGenApi.Structs.FunConfig"));
    assert_int_equal(fc->mfa.args_count, 1);
    fun_config_unref(fc);
    assert_null(
        fun_config_from_term(term_of(&scratch, "%{__struct__: Other.Struct, service: \"s\"}"), SLICE_NONE, &why));
    assert_string_equal(why.text[0], "not a FunConfig struct");
    assert_null(fun_config_from_term(term_of(&scratch, "[1, 2]"), SLICE_NONE, &why));
    assert_string_equal(why.text[0], "not a FunConfig struct");
}

/* F-020: ignored, counted, and still there for the hooks of a newer library. */
static void unknown_keys_are_ignored_but_kept_in_the_term(void **state)
{
    (void)state;
    struct fun_config *fc = ACCEPT("cache_ttl", "60", "tags", "[:a]");
    assert_int_equal(fc->unknown_keys, 2);
    struct slice v;
    assert_true(term_map_get(fc->term, "cache_ttl", &v));
    fun_config_unref(fc);
}

/* F-046, F-150, F-013. */
static void version_texts(void **state)
{
    (void)state;
    static const char *const none[] = {"nil", "\"\"", "\"0.0.0\""};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        struct fun_config *fc = ACCEPT("version", none[i]);
        assert_null(fc->version.ptr);
        fun_config_unref(fc);
    }
    struct fun_config *fc = ACCEPT("version", "\"abc\"");
    assert_slice_is(fc->version, "abc");
    fun_config_unref(fc);
    REFUSE("version must be a valid version string (e.g., '1.0.0')", "version", "1");
}

/* S-057: the service's own name holds, and an atom of the same text stays as it is. */
static void offering_service_gives_the_name(void **state)
{
    (void)state;
    struct slice v, t = config_term(&scratch, "service", "\"other\"", NULL);
    struct fun_config *fc = fun_config_from_term(t, SLICE_LIT("user"), &why);
    assert_slice_is(fc->service, "user");
    assert_true(term_map_get(fc->term, "service", &v));
    struct term_reader r = term_reader(v);
    assert_int_equal(term_peek(&r), TERM_BINARY);
    fun_config_unref(fc);
    fc = fun_config_from_term(config_term(&scratch, "service", ":user", NULL), SLICE_LIT("user"), &why);
    assert_true(term_map_get(fc->term, "service", &v) && term_is_atom(v, "user"));
    fun_config_unref(fc);
    fc = fun_config_from_term(config_term(&scratch, "service", "nil", NULL), SLICE_LIT("user"), &why);
    assert_slice_is(fc->service, "user");
    fun_config_unref(fc);
}

/* F-003, F-032, E-180 want. */
static void node_lists(void **state)
{
    (void)state;
    struct fun_config *fc = ACCEPT("nodes", "{ClusterHelper, :get_nodes, [:user]}");
    assert_int_equal(fc->nodes_kind, NODES_MFA);
    assert_slice_is(fc->nodes_mfa.module, "Elixir.ClusterHelper");
    assert_int_equal(fc->nodes_mfa.args_count, 1);
    fun_config_unref(fc);
    fc = ACCEPT("nodes", "[nil]");
    assert_slice_is(fc->nodes[0], "nil");
    fun_config_unref(fc);
    static const char *const bad[] = {"[]",      "'ab'",    "[1]",        "[:a@h | :b@h]",
                                      ":remote", "{M, :f}", "{M, :f, 1}", "\"a@h\""};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        REFUSE("nodes must be a valid list, MFA tuple, or :local", "nodes", bad[i]);
    REFUSE("nodes :local cannot run on a native gateway", "nodes", ":local");
}

/* F-004, F-033. */
static void node_modes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum choose_node_mode mode;
        const char *key;
    } good[] = {{":random", CHOOSE_RANDOM, NULL},
                {":hash", CHOOSE_HASH, NULL},
                {":round_robin", CHOOSE_ROUND_ROBIN, NULL},
                {"{:hash, \"k\"}", CHOOSE_HASH_KEY, "k"},
                {"{:sticky, \"u\"}", CHOOSE_STICKY, "u"}};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct fun_config *fc = ACCEPT("choose_node_mode", good[i].text);
        assert_int_equal(fc->choose_node_mode, good[i].mode);
        if (good[i].key)
            assert_slice_is(fc->choose_key, good[i].key);
        fun_config_unref(fc);
    }
    static const char *const bad[] = {":sticky", "{:hash, :k}", "{:sticky, 1}", "{:hash, \"k\", 1}", "\"random\""};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        REFUSE("choose_node_mode must be :random, :hash, {:hash, key}, :round_robin, or {:sticky, key}",
               "choose_node_mode", bad[i]);
}

/* F-005, F-034. */
static void timeouts(void **state)
{
    (void)state;
    struct fun_config *fc = ACCEPT("timeout", ":infinity");
    assert_int_equal(fc->timeout_ms, 0);
    fun_config_unref(fc);
    fc = ACCEPT("timeout", "300000");
    assert_int_equal(fc->timeout_ms, 300000);
    fun_config_unref(fc);
    static const char *const bad[] = {"99", "300001", "100.0", "-1", ":forever"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        REFUSE("timeout must be a positive integer between 100 and 300000, or :infinity", "timeout", bad[i]);
}

/* F-006: MFA arguments are kept as they came, a list of small integers too. */
static void mfa_arguments(void **state)
{
    (void)state;
    struct fun_config *fc = ACCEPT("mfa", "{M, :f, [:a, \"b\", {1, 2}]}");
    assert_int_equal(fc->mfa.args_count, 3);
    struct term_reader r = term_reader(fc->mfa.args);
    assert_true(term_read_is_atom(&r, "a"));
    fun_config_unref(fc);
    fc = ACCEPT("mfa", "{M, :f, 'xy'}");
    assert_int_equal(fc->mfa.args_count, 2);
    int64_t x = 0, y = 0;
    r = term_reader(fc->mfa.args);
    assert_int_equal(term_read_int(&r, &x), BG_OK);
    assert_int_equal(term_read_int(&r, &y), BG_OK);
    assert_true(term_at_end(&r) && x == 'x' && y == 'y');
    fun_config_unref(fc);
    static const char *const bad[] = {"nil",         "{M, :f}",         "{M, \"f\", []}", "{\"M\", :f, []}",
                                      "{M, :f, :a}", "{M, :f, [1 | 2]}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        REFUSE("mfa must be a valid {module, function, args} tuple", "mfa", bad[i]);
}

/* F-007, F-008, F-036, and their combinations F-050, F-051, F-052, F-053, F-054, F-055, F-056, F-057 want, F-058 want, F-059. */
static void argument_orders(void **state)
{
    (void)state;
    static const struct {
        const char *types, *orders;
        uint32_t args, order;
        bool map;
    } good[] = {{"nil", "nil", 0, 0, false},
                {"nil", "[]", 0, 0, false},
                {"%{}", "nil", 0, 0, false},
                {"%{}", "[]", 0, 0, false},
                {"%{\"a\" => :num, \"b\" => :num}", "[]", 2, 0, false},
                {"%{\"a\" => :num, \"b\" => :num}", ":map", 2, 0, true},
                {"%{\"a\" => :num, \"b\" => :num}", "[\"b\", \"a\"]", 2, 2, false},
                {"%{\"a\" => :num}", "nil", 1, 1, false},
                {"%{}", ":map", 0, 0, true},
                {"nil", ":map", 0, 0, true}};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct fun_config *fc = ACCEPT("arg_types", good[i].types, "arg_orders", good[i].orders);
        assert_int_equal(fc->args_count, good[i].args);
        assert_int_equal(fc->order_count, good[i].order);
        assert_int_equal(fc->order_map, good[i].map);
        fun_config_unref(fc);
    }
    REFUSE_ARGS("arg_orders is missing: with several arguments it must list their names in call order, or be :map",
                "%{\"a\" => :num, \"b\" => :num}", "nil");
    REFUSE_ARGS("arg_orders must name every argument of arg_types once, not [\"a\", \"a\"]",
                "%{\"a\" => :num, \"b\" => :num}", "[\"a\", \"a\"]");
    REFUSE_ARGS("arg_orders must name every argument of arg_types once, not [\"a\"]", "%{\"a\" => :num, \"b\" => :num}",
                "[\"a\"]");
    REFUSE_ARGS("arg_orders must name every argument of arg_types once, not [\"a\", \"c\"]",
                "%{\"a\" => :num, \"b\" => :num}", "[\"a\", \"c\"]");
    REFUSE_ARGS("arg_orders must be nil, :map or a list of names, not :list", "%{\"a\" => :num}", ":list");
}

/* One argument of the given spec. */
static struct fun_config *one_arg(const char *spec)
{
    char types[1024];
    snprintf(types, sizeof(types), "%%{\"x\" => %s}", spec);
    return ACCEPT("arg_types", types);
}

/* F-060, F-061 want, F-062 want. */
static void every_plain_type_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum arg_type type;
    } types[] = {{"string", ARG_STRING},
                 {"num", ARG_NUM},
                 {"boolean", ARG_BOOLEAN},
                 {"uuid", ARG_UUID},
                 {"datetime", ARG_DATETIME},
                 {"naive_datetime", ARG_NAIVE_DATETIME},
                 {"list", ARG_LIST},
                 {"list_string", ARG_LIST_STRING},
                 {"list_num", ARG_LIST_NUM},
                 {"list_uuid", ARG_LIST_UUID},
                 {"list_map", ARG_LIST_MAP},
                 {"map", ARG_MAP},
                 {"any", ARG_ANY}};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        char spec[64];
        snprintf(spec, sizeof(spec), ":%s", types[i].name);
        struct fun_config *fc = one_arg(spec);
        assert_int_equal(fc->args[0].type, types[i].type);
        assert_false(fc->args[0].checked_map);
        fun_config_unref(fc);
        snprintf(spec, sizeof(spec), "[type: :%s]", types[i].name);
        fc = one_arg(spec);
        assert_int_equal(fc->args[0].type, types[i].type);
        assert_false(fc->args[0].checked_map); /* F-0651 */
        fun_config_unref(fc);
    }
}

/* F-063 with the want for list_uuid, F-064. */
static void tuple_specs_give_limits(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        uint64_t bytes, items, item_bytes;
        bool checked;
    } specs[] = {{"{:string, 8}", 8, 0, 0, false},
                 {"{:list, 9}", 0, 9, 0, false},
                 {"{:list_uuid, 3}", 0, 3, 0, false},
                 {"{:map, 4}", 0, 4, 0, true},
                 {"{:num, 5}", 0, 0, 0, false},
                 {"{:list_string, 7, 6}", 0, 7, 6, false},
                 {"{:string, [max_bytes: 2]}", 2, 0, 0, false},
                 {"{:map, [max_items: 2]}", 0, 2, 0, true},
                 {"{:map, []}", 0, 0, 0, false}};
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        struct fun_config *fc = one_arg(specs[i].spec);
        assert_int_equal(fc->args[0].max_bytes, specs[i].bytes);
        assert_int_equal(fc->args[0].max_items, specs[i].items);
        assert_int_equal(fc->args[0].max_item_bytes, specs[i].item_bytes);
        assert_int_equal(fc->args[0].checked_map, specs[i].checked);
        fun_config_unref(fc);
    }
}

/* F-065. */
static void keyword_specs_give_options(void **state)
{
    (void)state;
    struct fun_config *fc =
        one_arg("[allow_nil?: true, type: :list_string, max_items: 2, max_item_bytes: 4, default_value: []]");
    const struct arg_spec *a = &fc->args[0];
    assert_int_equal(a->type, ARG_LIST_STRING);
    assert_true(a->allow_nil);
    assert_int_equal(a->max_items, 2);
    assert_int_equal(a->max_item_bytes, 4);
    assert_int_equal(a->default_term.len, 1);
    fun_config_unref(fc);
    fc = one_arg("[type: :map, required: [\"name\"], accept: [\"name\", :age], max_items: 3, max_items: 9]");
    a = &fc->args[0];
    assert_true(a->checked_map);
    assert_int_equal(a->max_items, 3); /* the first of a name counts */
    assert_int_equal(a->required_count, 1);
    assert_int_equal(a->accept_count, 2);
    assert_slice_is(a->accept[1], "age");
    fun_config_unref(fc);
    fc = one_arg("[type: :uuid, x: 1, max_bytes: 5]"); /* F-0651: options it does not take are ignored */
    assert_int_equal(fc->args[0].max_bytes, 0);
    fun_config_unref(fc);
}

/* E-128, F-036: the second text says which argument and what. */
static void bad_specs_are_told_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *more;
    } bad[] = {
        {":text", "argument \"x\": unknown type :text"},
        {"nil", "argument \"x\": unknown type nil"},
        {"[max_bytes: 1]", "argument \"x\": no type in [max_bytes: 1]"},
        {"[]", "argument \"x\": no type in []"},
        {"\"string\"", "argument \"x\": no type, tuple or keyword list: \"string\""},
        {"{:string, -1}", "argument \"x\": a limit must be a positive integer, not -1"},
        {"{:string, 1, 2}", "argument \"x\": only list_string takes a third element: {:string, 1, 2}"},
        {"[type: :map, required: \"a\"]", "argument \"x\": required and accept must be lists of keys, not \"a\""},
        {"[1, 2]", NULL}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char types[256];
        snprintf(types, sizeof(types), "%%{\"x\" => %s}", bad[i].spec);
        assert_null(fun_config_from_term(config_term(&scratch, "arg_types", types, NULL), SLICE_NONE, &why));
        assert_string_equal(why.text[0], "argument validation failed");
        assert_int_equal(why.count, 2);
        if (bad[i].more)
            assert_string_equal(why.text[1], bad[i].more);
    }
    REFUSE_ARGS("an argument name must be a string, not :a", "%{a: :num}", "nil");
}

/* E-102: declared arguments are found by binary search, in byte order. */
static void arguments_are_sorted_and_found(void **state)
{
    (void)state;
    struct fun_config *fc =
        ACCEPT("arg_types", "%{\"b\" => :num, \"ab\" => :string, \"a\" => :num, \"B\" => :num}", "arg_orders", ":map");
    static const char *const order[] = {"B", "a", "ab", "b"};
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t at;
        assert_slice_is(fc->args[i].name, order[i]);
        assert_ptr_equal(fun_config_arg(fc, slice_str(order[i]), &at), &fc->args[i]);
        assert_int_equal(at, i);
    }
    assert_null(fun_config_arg(fc, SLICE_LIT("c"), NULL));
    assert_null(fun_config_arg(fc, SLICE_LIT(""), NULL));
    fun_config_unref(fc);
}

/* F-011, F-012, E-053 want, E-060 want, K-031 want. */
static void permissions(void **state)
{
    (void)state;
    struct fun_config *fc = ACCEPT("check_permission", ":any_authenticated");
    assert_int_equal(fc->permission, PERMIT_AUTHENTICATED);
    fun_config_unref(fc);
    fc = ACCEPT("check_permission", "{:role, [:admin, \"editor\", 5]}");
    assert_int_equal(fc->permission, PERMIT_ROLE);
    assert_int_equal(fc->roles_count, 2);
    assert_slice_is(fc->roles[0], "admin");
    assert_slice_is(fc->roles[1], "editor");
    fun_config_unref(fc);
    fc = ACCEPT("check_permission", "{:role, []}");
    assert_int_equal(fc->permission, PERMIT_ROLE);
    assert_int_equal(fc->roles_count, 0);
    fun_config_unref(fc);
    fc = ACCEPT("permission_callback", "{M, :check}");
    assert_true(fc->permission_callback.present);
    assert_int_equal(fc->permission_callback.args_count, 0);
    fun_config_unref(fc);
    fc = ACCEPT("check_permission", "{:callback, {Ash.Check, :ok?, [1]}}");
    assert_true(fc->permission_callback.present);
    assert_slice_is(fc->permission_callback.function, "ok?");
    fun_config_unref(fc);
    static const char *const bad[] = {"true", "{:role, :admin}", "{:arg, :user_id}", ":admin", "{:role, [:a | :b]}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        REFUSE("check_permission must be false, :any_authenticated, {:arg, arg_name}, or {:role, roles}",
               "check_permission", bad[i]);
}

/* F-015, F-042, F-047. */
static void retries(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum retry_mode mode;
        uint32_t count;
    } good[] = {{"nil", RETRY_NONE, 0},
                {"2", RETRY_ALL_NODES, 2},
                {"2.9", RETRY_ALL_NODES, 2},
                {"0.5", RETRY_NONE, 0},
                {"{:same_node, 3}", RETRY_SAME_NODE, 3},
                {"{:all_nodes, 1.5}", RETRY_ALL_NODES, 1},
                {"1.0e300", RETRY_ALL_NODES, UINT32_MAX}};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct fun_config *fc = ACCEPT("retry", good[i].text);
        assert_int_equal(fc->retry_mode, good[i].mode);
        assert_int_equal(fc->retry_count, good[i].count);
        fun_config_unref(fc);
    }
    static const char *const bad[] = {"0", "-1", "-0.5", "{:same_node, 0}", "{:other, 1}", ":many", "\"2\""};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        REFUSE("retry must be nil, a positive number, {:same_node, number}, or {:all_nodes, number}", "retry", bad[i]);
}

/* F-016..F-018, F-014, F-010. */
static void hooks_and_flags(void **state)
{
    (void)state;
    struct fun_config *fc =
        ACCEPT("before_execute", "{M, :before}", "after_execute", "{M, :after, [1, 2]}", "hook_timeout", "250",
               "disabled", "true", "request_info", "true", "response_type", ":stream");
    assert_true(fc->before_execute.present && fc->after_execute.present && fc->disabled && fc->request_info);
    assert_int_equal(fc->before_execute.args_count, 0);
    assert_int_equal(fc->after_execute.args_count, 2);
    assert_int_equal(fc->hook_timeout_ms, 250);
    assert_int_equal(fc->response_type, RESPONSE_STREAM);
    fun_config_unref(fc);
}

/* Bounds on what a service may send. */
static void oversized_parts_are_refused(void **state)
{
    (void)state;
    struct buf big;
    buf_init(&big, 0);
    buf_puts(&big, "\"");
    while (big.len < 600)
        buf_puts(&big, "longname");
    buf_puts(&big, "\"");
    buf_putc(&big, '\0');
    const char *name = (const char *)big.data;
    REFUSE("request_type is longer than 512 bytes", "request_type", name);
    REFUSE("service must have 1 to 512 bytes", "service", name);
    REFUSE("version is longer than 512 bytes", "version", name);
    buf_reset(&big);
    buf_puts(&big, "{M, :f, [");
    for (int i = 0; i < 256; i++)
        buf_puts(&big, ":a, ");
    buf_puts(&big, "]}");
    buf_putc(&big, '\0');
    REFUSE("mfa must be a valid {module, function, args} tuple", "mfa", (const char *)big.data);
    buf_reset(&big);
    term_put_map(&big, 1);
    term_put_atom(&big, "service");
    char *blob = calloc(1, FUN_CONFIG_TERM_MAX);
    term_put_binary(&big, slice_make(blob, FUN_CONFIG_TERM_MAX));
    free(blob);
    assert_null(fun_config_from_term(buf_slice(&big), SLICE_NONE, &why));
    assert_string_equal(why.text[0], "the config is larger than 262144 bytes");
    buf_fini(&big);
}

static void references_keep_a_config_alive(void **state)
{
    (void)state;
    struct fun_config *fc = ACCEPT("version", "\"1.2.3\"");
    assert_ptr_equal(fun_config_ref(fc), fc);
    fun_config_unref(fc);
    assert_slice_is(fc->version, "1.2.3");
    fun_config_unref(fc);
    fun_config_unref(NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(realistic_struct_compiles_field_by_field),
        TEST(kept_term_equals_the_struct_that_was_sent),
        TEST(every_failing_rule_is_told_in_order),
        TEST(all_sixteen_messages_appear_in_order),
        TEST(every_field_has_its_values_and_its_message),
        TEST(the_age_of_a_struct_does_not_matter),
        TEST(missing_and_nil_fields_take_the_documented_defaults),
        TEST(nil_permission_is_refused),
        TEST(plain_map_with_string_keys_compiles_to_a_struct),
        TEST(unknown_keys_are_ignored_but_kept_in_the_term),
        TEST(version_texts),
        TEST(offering_service_gives_the_name),
        TEST(node_lists),
        TEST(node_modes),
        TEST(timeouts),
        TEST(mfa_arguments),
        TEST(argument_orders),
        TEST(every_plain_type_is_known),
        TEST(tuple_specs_give_limits),
        TEST(keyword_specs_give_options),
        TEST(bad_specs_are_told_by_name),
        TEST(arguments_are_sorted_and_found),
        TEST(permissions),
        TEST(retries),
        TEST(hooks_and_flags),
        TEST(oversized_parts_are_refused),
        TEST(references_keep_a_config_alive),
    };
    return cmocka_run_group_tests_name("fun_config", tests, NULL, NULL);
}
