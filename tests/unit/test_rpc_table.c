/* test_rpc_table.c: what the functions of the table answer, as a remote caller's rpc gets it. */
#include "unit.h"

#include <time.h>

#include "../../c_src/server/server_state.h"
#include "log.h"
#include "term_text.h"

static struct server server;
static struct buf term, out, want;

static bool no_node_up(void *ctx, struct slice node)
{
    (void)ctx;
    (void)node;
    return false;
}

static int setup(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    snprintf(server.self.name, sizeof(server.self.name), "gw@127.0.0.1");
    buf_init(&term, 0);
    buf_init(&out, 0);
    buf_init(&want, 0);
    server.db = config_db_new(&server.metrics, 100);
    server.failed = config_failed_new(10);
    timers_init(&server.timers, 1000);
    struct config_puller_options po = {.call = {.node_up = no_node_up},
                                       .timers = &server.timers,
                                       .metrics = &server.metrics,
                                       .db = server.db,
                                       .failed = server.failed};
    server.puller = config_puller_new(&po);
    struct config_receiver_options ro = {
        .db = server.db, .failed = server.failed, .puller = server.puller, .metrics = &server.metrics};
    server.receiver = config_receiver_new(&ro);
    log_set_level(LOG_ERROR);
    assert_int_equal(server_rpc_start(&server), BG_OK);
    return server.db && server.failed && server.puller && server.receiver ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    server_rpc_end(&server);
    config_receiver_free(server.receiver);
    config_puller_free(server.puller);
    timers_fini(&server.timers);
    config_db_free(server.db);
    config_failed_free(server.failed);
    buf_fini(&term);
    buf_fini(&out);
    buf_fini(&want);
    return 0;
}

/* service, type and version as Elixir writes them; version NULL: nil. */
static void put(const char *service, const char *type, const char *version)
{
    static struct fun_config_reasons why;
    struct fun_config *fc =
        fun_config_from_term(config_term(&term, "service", service, "request_type", type, "version",
                                         version ? version : "nil", NULL),
                             SLICE_NONE, &why);
    assert_non_null(fc);
    assert_int_equal(config_db_put(server.db, fc, SLICE_LIT("source")), BG_OK);
    fun_config_unref(fc);
}

static enum rpc_outcome run(const char *module, const char *function, const char *args, bool *known)
{
    struct rpc_call call = {.module = slice_str(module), .function = slice_str(function)};
    buf_reset(&out);
    buf_reset(&term);
    return rpc_run(&server.rpc, &call, term_of(&term, args), &out, known);
}

/* module:function(args) must return the term that Elixir writes as expected. */
static void expect(const char *module, const char *function, const char *args, const char *expected)
{
    bool known;
    assert_int_equal(run(module, function, args, &known), RPC_RETURN);
    assert_true(known);
    assert_true(buf_ok(&out));
    buf_reset(&want);
    struct slice w = term_of(&want, expected);
    if (!term_equal(buf_slice(&out), w)) {
        buf_reset(&term);
        term_inspect(buf_slice(&out), &term, 1000);
        fail_msg("%s:%s gave %.*s, want %s", module, function, (int)term.len, (char *)term.data, expected);
    }
}

/* Arguments of a wrong kind are an error without a word of our own: function_clause. */
static void expect_function_clause(const char *module, const char *function, const char *args)
{
    bool known;
    assert_int_equal(run(module, function, args, &known), RPC_ERROR);
    assert_true(known);
    assert_true(term_is_atom(buf_slice(&out), "function_clause"));
}

/* A field of the map that the last call returned. */
static struct slice field(const char *key)
{
    struct slice value;
    if (!term_map_get(buf_slice(&out), key, &value))
        fail_msg("no key %s", key);
    return value;
}

static void assert_term(struct slice got, const char *expected)
{
    buf_reset(&want);
    if (term_equal(got, term_of(&want, expected)))
        return;
    buf_reset(&want);
    term_inspect(got, &want, 1000);
    fail_msg("got %.*s, want %s", (int)want.len, (char *)want.data, expected);
}

#define CONFIG_DB "Elixir.PhoenixGenApi.ConfigDb"
#define PULLER "Elixir.PhoenixGenApi.ConfigPuller"
#define RECEIVER "Elixir.PhoenixGenApi.ConfigReceiver"
#define FAILED "Elixir.PhoenixGenApi.ConfigFailed"

/* A FunConfig as Elixir writes it, in a list of arguments. */
#define FUN(type, more) \
    "%{__struct__: PhoenixGenApi.Structs.FunConfig, request_type: \"" type "\", service: \"user\", " \
    "nodes: [:svc@localhost]" more "}"
#define GOOD ", mfa: {MyApp.Users, :get, []}"

static void the_node_says_who_it_is(void **state)
{
    (void)state;
    expect("erlang", "node", "[]", ":\"gw@127.0.0.1\"");
    expect("erlang", "is_alive", "[]", "true");
}

/* S-008: a module is here when the table has a function of it. */
static void modules_of_the_table_exist_and_no_others(void **state)
{
    (void)state;
    expect("Elixir.Code", "ensure_loaded?", "[:lists]", "false");
    expect("Elixir.Code", "ensure_loaded?", "[:\"*\"]", "false");
    expect("Elixir.Code", "ensure_loaded?", "[PhoenixGenApi.ConfigDb]", "true");
    expect("Elixir.Code", "loaded?", "[PhoenixGenApi.Config]", "false");
    expect("Elixir.Code", "ensure_loaded", "[:lists]", "{:error, :nofile}");
    expect("Elixir.Code", "ensure_loaded", "[PhoenixGenApi.ConfigDb]", "{:module, PhoenixGenApi.ConfigDb}");
    expect("code", "which", "[:lists]", ":non_existing");
    expect("code", "which", "[PhoenixGenApi.ConfigDb]", ":preloaded");
    expect("code", "is_loaded", "[PhoenixGenApi.ConfigDb]", "{:file, :preloaded}");
    expect("code", "is_loaded", "[:lists]", "false");
    expect("erlang", "module_loaded", "[:zzz]", "false");
}

static void functions_of_the_table_are_exported_and_no_others(void **state)
{
    (void)state;
    expect("erlang", "function_exported", "[PhoenixGenApi.ConfigDb, :get, 3]", "true");
    expect("erlang", "function_exported", "[PhoenixGenApi.ConfigDb, :get, 4]", "false");
    expect("erlang", "function_exported", "[PhoenixGenApi.ConfigDb, :get, 256]", "false");
    expect("erlang", "function_exported", "[PhoenixGenApi.ConfigDb, :module_info, 0]", "true");
    expect("erlang", "function_exported", "[:lists, :module_info, 0]", "false");
    expect("Elixir.Kernel", "function_exported?", "[:erlang, :node, 0]", "true");
    bool known;
    assert_int_equal(run("erlang", "function_exported", "[1, 2, 3]", &known), RPC_ERROR);
    assert_true(term_is_atom(buf_slice(&out), "badarg"));
}

static void a_module_tells_what_it_has(void **state)
{
    (void)state;
    expect("Elixir.PhoenixGenApi.ConfigReceiver", "__info__", "[:functions]",
           "[delete_pushed_service: 1, get_all_pushed_services: 0, get_pushed_config: 1, push: 1, push: 2, status: 0, "
           "verify: 2]");
    expect("Elixir.PhoenixGenApi.ConfigReceiver", "__info__", "[:macros]", "[]");
    expect("Elixir.PhoenixGenApi.ConfigReceiver", "__info__", "[:struct]", "nil");
    expect("Elixir.PhoenixGenApi.ConfigReceiver", "__info__", "[:module]", "PhoenixGenApi.ConfigReceiver");
    expect_function_clause("Elixir.PhoenixGenApi.ConfigReceiver", "__info__", "[:nonsense]");
    expect("code", "module_info", "[]",
           "[module: :code, exports: [__info__: 1, module_info: 0, module_info: 1, all_loaded: 0, ensure_loaded: 1, is_loaded: 1, "
           "which: 1], attributes: [], compile: []]");
    expect("code", "module_info", "[:native]", "false");
    bool known;
    assert_int_equal(run("code", "module_info", "[:nonsense]", &known), RPC_ERROR);
    assert_true(term_is_atom(buf_slice(&out), "badarg"));
    (void)run("lists", "module_info", "[]", &known);
    assert_false(known);
    (void)run("*", "module_info", "[]", &known);
    assert_false(known);
}

/* S-075. */
static void an_empty_store_has_no_functions(void **state)
{
    (void)state;
    expect(CONFIG_DB, "count", "[]", "0");
    expect(CONFIG_DB, "get_all_services", "[]", "[]");
    expect(CONFIG_DB, "get_all_functions", "[]", "%{}");
    expect("Elixir.PhoenixGenApi.ConfigFailed", "count", "[]", "0");
}

/* S-075: services as they came, atom or text; versions as texts or nil. */
static void functions_are_listed_by_service_type_and_version(void **state)
{
    (void)state;
    put("\"chat\"", "\"send\"", "\"1.0.0\"");
    put("\"chat\"", "\"send\"", "\"1.1.0\"");
    put("\"chat\"", "\"send\"", NULL);
    put("\"chat\"", "\"leave\"", "\"1.0.0\"");
    put(":mail", "\"send\"", NULL);
    expect(CONFIG_DB, "count", "[]", "5");
    expect(CONFIG_DB, "get_all_services", "[]", "[\"chat\", :mail]");
    expect(CONFIG_DB, "get_all_functions", "[]",
           "%{\"chat\" => %{\"leave\" => [\"1.0.0\"], \"send\" => [nil, \"1.0.0\", \"1.1.0\"]}, "
           ":mail => %{\"send\" => [nil]}}");
}

/* E-036 want: the atom and the text are one service. */
static void a_service_named_by_atom_and_by_text_is_one_group(void **state)
{
    (void)state;
    put(":chat", "\"a\"", NULL);
    put("\"chat\"", "\"b\"", NULL);
    expect(CONFIG_DB, "get_all_services", "[]", "[:chat]");
}

static void whereis_wants_an_atom(void **state)
{
    (void)state;
    bool known;
    assert_int_equal(run("erlang", "whereis", "[\"text\"]", &known), RPC_ERROR);
    assert_true(known);
}

/* ---- ConfigDb ---- */

/* S-071. */
static void configs_are_added_by_hand(void **state)
{
    (void)state;
    expect(CONFIG_DB, "add", "[" FUN("a", GOOD) "]", ":ok");
    expect(CONFIG_DB, "add", "[" FUN("b", "") "]", "{:error, :invalid_config}");
    expect(CONFIG_DB, "add", "[" FUN("c", ", mfa: {:os, :cmd, ['id']}") "]",
           "{:error, {:mfa_not_allowed, {:os, :cmd, ['id']}}}");
    expect(CONFIG_DB, "update", "[" FUN("c", ", mfa: {:os, :cmd, []}") "]",
           "{:error, {:mfa_not_allowed, {:os, :cmd, []}}}");
    expect(CONFIG_DB, "batch_add", "[[" FUN("d", GOOD) ", " FUN("e", "") ", 1]]", "{:ok, 1}");
    expect(CONFIG_DB, "batch_add", "[[]]", "{:error, :all_invalid}");
    expect(CONFIG_DB, "batch_add", "[[" FUN("e", "") "]]", "{:error, :all_invalid}");
    expect(CONFIG_DB, "count", "[]", "2");
    expect(FAILED, "count", "[]", "4"); /* b, c, e and 1: an entry that fails again is one */
    expect_function_clause(CONFIG_DB, "add", "[:x]");
    expect_function_clause(CONFIG_DB, "batch_add", "[:x]");
}

/* S-073: get is exact, and nil is a version; the others give what a request without version gets. */
static void a_function_is_looked_up_with_and_without_version(void **state)
{
    (void)state;
    /* E-035: get_latest gives what a request without a version gets */
    static const char *const latest[] = {"get_fast", "get_latest"};
    struct term_reader r;
    struct slice config, version;
    uint32_t arity;
    bool known;
    put(":chat", "\"send\"", "\"1.0.0\"");
    put(":chat", "\"send\"", "\"1.10.0\"");
    put(":chat", "\"send\"", "\"1.9.0\"");
    expect(CONFIG_DB, "get", "[\"chat\", \"send\"]", "{:error, :not_found}");
    expect(CONFIG_DB, "get", "[:chat, \"send\", \"2.0.0\"]", "{:error, :not_found}");
    expect(CONFIG_DB, "get_latest", "[:chat, \"nope\"]", "{:error, :not_found}");
    for (size_t i = 0; i < ARRAY_SIZE(latest); i++) {
        assert_int_equal(run(CONFIG_DB, latest[i], "[\"chat\", \"send\"]", &known), RPC_RETURN);
        r = term_reader(buf_slice(&out));
        assert_int_equal(term_read_tagged(&r, "ok", &arity), BG_OK);
        assert_int_equal(term_skip(&r, &config), BG_OK);
        assert_true(term_map_get(config, "version", &version));
        assert_term(version, "\"1.10.0\"");
    }
    expect(CONFIG_DB, "disable", "[:chat, \"send\", \"1.9.0\"]", ":ok");
    expect(CONFIG_DB, "get", "[:chat, \"send\", \"1.9.0\"]", "{:error, :disabled}");
    expect_function_clause(CONFIG_DB, "get", "[:chat, :send]");
    expect_function_clause(CONFIG_DB, "get", "[1, \"send\"]");
    expect_function_clause(CONFIG_DB, "get", "[:chat, \"send\", 1]");
}

/* S-074 want: it stays disabled when it is put again. */
static void what_is_disabled_stays_so(void **state)
{
    (void)state;
    put("\"chat\"", "\"send\"", NULL);
    expect(CONFIG_DB, "disable", "[\"chat\", \"send\"]", ":ok");
    put("\"chat\"", "\"send\"", NULL);
    expect(CONFIG_DB, "get", "[\"chat\", \"send\"]", "{:error, :disabled}");
    expect(CONFIG_DB, "get_latest", "[\"chat\", \"send\"]", "{:error, :disabled}");
    expect(CONFIG_DB, "enable", "[\"chat\", \"send\", nil]", ":ok");
    expect(CONFIG_DB, "disable", "[\"chat\", \"nope\"]", "{:error, :not_found}");
    expect(CONFIG_DB, "enable", "[\"chat\", \"nope\"]", "{:error, :not_found}");
    bool known;
    assert_int_equal(run(CONFIG_DB, "get", "[\"chat\", \"send\"]", &known), RPC_RETURN);
    struct term_reader r = term_reader(buf_slice(&out));
    uint32_t arity;
    assert_int_equal(term_read_tagged(&r, "ok", &arity), BG_OK);
}

/* S-075. */
static void functions_are_deleted(void **state)
{
    (void)state;
    put("\"chat\"", "\"send\"", "\"1.0.0\"");
    put("\"chat\"", "\"send\"", "\"2.0.0\"");
    put("\"chat\"", "\"leave\"", NULL);
    expect(CONFIG_DB, "delete", "[\"chat\", \"send\", \"1.0.0\"]", ":ok");
    expect(CONFIG_DB, "delete", "[\"chat\", \"nope\"]", ":ok");
    expect(CONFIG_DB, "get_all_functions", "[]", "%{\"chat\" => %{\"leave\" => [nil], \"send\" => [\"2.0.0\"]}}");
    expect(CONFIG_DB, "clear", "[]", ":ok");
    expect(CONFIG_DB, "count", "[]", "0");
}

/* S-075, S-076. */
static void functions_of_some_services_and_the_status_are_shown(void **state)
{
    (void)state;
    bool known;
    put("\"chat\"", "\"send\"", NULL);
    put(":mail", "\"send\"", NULL);
    put("\"user\"", "\"get\"", NULL);
    const char *chat = "%{\"chat\" => %{\"send\" => [nil]}}";
    expect(CONFIG_DB, "get_functions_from_services", "[\"chat\"]", chat);
    expect(CONFIG_DB, "get_functions_from_services", "[[:chat, \"nope\", 1]]", chat);
    expect(CONFIG_DB, "get_functions_from_services", "[[\"mail\", \"chat\"]]",
           "%{\"chat\" => %{\"send\" => [nil]}, :mail => %{\"send\" => [nil]}}");
    expect(CONFIG_DB, "get_functions_from_services", "[[]]", "%{}");
    expect_function_clause(CONFIG_DB, "get_functions_from_services", "[:chat]");
    assert_int_equal(run(CONFIG_DB, "status", "[]", &known), RPC_RETURN);
    assert_term(field("status"), ":ok");
    assert_term(field("count"), "3");
    assert_term(field("services"), "[\"chat\", :mail, \"user\"]");
    struct slice exists;
    assert_true(term_map_get(field("ets"), "exists", &exists) && term_is_atom(exists, "true"));
}

/* ---- ConfigReceiver ---- */

#define PUSH(version, configs) \
    "%{__struct__: PhoenixGenApi.Structs.PushConfig, service: \"user\", nodes: [:svc@localhost], " \
    "config_version: \"" version "\", push_token: \"geheim\", fun_configs: " configs "}"

/* S-110, S-111, S-121, S-042, S-043; the rest of the receiver is in test_config_receiver. */
static void a_push_comes_by_rpc(void **state)
{
    (void)state;
    const char *skipped = "{:ok, :skipped, :version_matches}";
    expect(RECEIVER, "push", "[" PUSH("1", "[" FUN("a", GOOD) "]") ", [force: false]]", "{:ok, :accepted}");
    expect(RECEIVER, "push", "[" PUSH("1", "[" FUN("a", GOOD) "]") "]", skipped);
    expect(RECEIVER, "push", "[:x]", "{:error, :invalid_push_config_data}");
    expect(RECEIVER, "verify", "[\"user\", \"1\"]", "{:ok, :matched}");
    expect(RECEIVER, "get_all_pushed_services", "[]", "%{\"user\" => \"1\"}");
    expect(RECEIVER, "get_pushed_config", "[:nobody]", "nil");
    bool known;
    assert_int_equal(run(RECEIVER, "get_pushed_config", "[:user]", &known), RPC_RETURN);
    assert_term(field("__struct__"), "PhoenixGenApi.Structs.PushConfig");
    assert_term(field("push_token"), "\"[redacted]\"");
    assert_term(field("args"), "[]");
    assert_int_equal(run(RECEIVER, "status", "[]", &known), RPC_RETURN);
    assert_term(field("status"), ":ok");
    assert_term(field("pushed_services"), "%{\"user\" => \"1\"}");
    expect(RECEIVER, "delete_pushed_service", "[:user]", ":ok");
    expect(RECEIVER, "delete_pushed_service", "[:user]", ":ok");
    expect(RECEIVER, "status", "[]", "%{status: :ok, pushed_services: %{}, pushed_configs: %{}}");
    expect(CONFIG_DB, "count", "[]", "0");
}

/* ---- ConfigPuller ---- */

#define SERVICE(more) "%{__struct__: PhoenixGenApi.Structs.ServiceConfig, service: :chat, " more "}"
#define SUPPORTER "module: MyApp.Supporter, function: :get_config, args: [:gw], version_module: nil, version_function: nil, version_args: nil"

static void expect_argument_error(const char *function, const char *args, const char *message)
{
    bool known;
    assert_int_equal(run(PULLER, function, args, &known), RPC_ERROR);
    assert_term(field("__struct__"), "ArgumentError");
    assert_term(field("__exception__"), "true");
    struct slice text;
    struct term_reader r = term_reader(field("message"));
    assert_int_equal(term_read_binary(&r, &text), BG_OK);
    assert_slice_is(text, message);
}

/* S-060, S-061; F-082: the version keys are optional, and no arguments are []. The server has no cluster here, so a service is added directly. */
static void services_to_pull_from_are_shown_and_deleted(void **state)
{
    (void)state;
    struct slice nodes[] = {SLICE_LIT("svc@localhost")};
    struct service_config c = {.service = SLICE_LIT("chat"),
                               .nodes = nodes,
                               .nodes_count = 1,
                               .module = SLICE_LIT("Elixir.MyApp.Supporter"),
                               .function = SLICE_LIT("get_config")};
    assert_int_equal(config_puller_add(server.puller, &c, NULL), BG_OK);
    const char *shown = "%{\"chat\" => %{__struct__: PhoenixGenApi.Structs.ServiceConfig, service: \"chat\", "
                        "nodes: [:svc@localhost], module: MyApp.Supporter, function: :get_config, args: [], "
                        "version_module: nil, version_function: nil, version_args: []}}";
    expect(PULLER, "get_services", "[]", shown);
    expect(PULLER, "get_api_list", "[:chat]", "nil"); /* never pulled */
    expect(PULLER, "get_api_list", "[:nobody]", "nil");
    expect(PULLER, "get_service_version", "[\"chat\"]", "nil");
    expect(PULLER, "get_all_versions", "[]", "%{}");
    bool known;
    assert_int_equal(run(PULLER, "status", "[]", &known), RPC_RETURN);
    assert_term(field("services"), shown);
    assert_term(field("failure_count"), "0");
    assert_term(field("api_list"), "%{}");
    /* The server has no cluster to tell that a node is released, so a push goes on naming this one. */
    expect(RECEIVER, "push", "[" PUSH("1", "[" FUN("a", GOOD) "]") "]", "{:ok, :accepted}");
    expect(PULLER, "delete", "[[" SERVICE("nodes: []") "]]", ":ok");
    expect(PULLER, "delete", "[[]]", ":ok");
    expect(PULLER, "get_services", "[]", "%{}");
}

/* S-060; F-081: nodes are a list, nothing is evaluated here; what cannot be pulled is an error and not passed over. */
static void what_is_no_list_of_services_raises(void **state)
{
    (void)state;
    const char *text = "nodes must be a list of ServiceConfig";
    expect_argument_error("add", "[:x]", text);
    expect_argument_error("add", "[[%{service: :chat}]]", text);
    expect_argument_error("delete", "['abc']", text);
    expect_argument_error("add", "[[" SERVICE("nodes: {MyApp, :nodes, []}, " SUPPORTER) "]]",
                          "service \"chat\": nodes must be a list of 1 to 1024 node names");
    expect_argument_error("add", "[[" SERVICE("nodes: [:svc@localhost], module: :os, function: :cmd") "]]",
                          "service \"chat\": a function by which it is pulled may not be called");
    expect(PULLER, "get_services", "[]", "%{}");
}

/* ---- ConfigFailed ---- */

static void fail_one(const char *service, const char *type, enum config_source source)
{
    struct fun_config_reasons why = {.count = 0};
    fun_config_reason(&why, "too bad");
    config_failed_record(server.failed, config_term(&term, "service", service, "request_type", type, NULL), SLICE_NONE,
                         &why, source, source == CONFIG_PULL ? SLICE_LIT("svc@h") : SLICE_NONE,
                         (int64_t)time(NULL) * 1000);
}

/* How many entries list gives for these options, and the request type of the first. */
static uint32_t list_failed(const char *args, struct slice *first)
{
    struct slice entry;
    uint32_t n;
    bool known;
    assert_int_equal(run(FAILED, "list", args, &known), RPC_RETURN);
    struct term_reader r = term_reader(buf_slice(&out));
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    if (n > 0) {
        assert_int_equal(term_skip(&r, &entry), BG_OK);
        assert_true(term_map_get(entry, "request_type", first));
    }
    return n;
}

/* S-090, S-091. */
static void refused_configs_are_listed(void **state)
{
    (void)state;
    struct slice first;
    fail_one(":chat", "\"a\"", CONFIG_PULL);
    fail_one("\"user\"", "\"b\"", CONFIG_PUSH);
    assert_int_equal(list_failed("[]", &first), 2);
    assert_term(first, "\"b\"");
    assert_int_equal(list_failed("[[order: :oldest_first, limit: 1]]", &first), 1);
    assert_term(first, "\"a\"");
    assert_int_equal(list_failed("[[source: :push]]", &first), 1);
    assert_term(first, "\"b\"");
    assert_int_equal(list_failed("[[service: \"chat\", source: nil, unknown: 1]]", &first), 1);
    assert_term(first, "\"a\"");
    assert_int_equal(list_failed("[[limit: 0]]", &first), 0);
    static const char *const odd[] = {"[:x]", "[[:x]]", "[[limit: -1]]", "[[source: :other]]", "[[order: 1]]",
                                      "[[service: 1]]"};
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        expect_function_clause(FAILED, "list", odd[i]);
}

/* S-090: what is recorded by hand comes back as the entry, and is listed. */
static void an_entry_can_be_recorded(void **state)
{
    (void)state;
    bool known;
    struct slice value, first;
    static const char *const odd[] = {"[:x, \"why\", :push]", "[%{}, \"why\", :other]", "[%{}, [\"why\" | 1], :push]",
                                      "[%{}, \"why\", :push, 5]"};
    assert_int_equal(run(FAILED, "record", "[%{service: \"user\", request_type: \"t\"}, [\"one\", 2], :push, :a@h]", &known),
                     RPC_RETURN);
    assert_true(term_map_get(buf_slice(&out), "reason", &value));
    assert_term(value, "[\"one\", \"2\"]");
    assert_true(term_map_get(buf_slice(&out), "source", &value));
    assert_term(value, ":push");
    assert_true(term_map_get(buf_slice(&out), "node", &value));
    assert_term(value, ":a@h");
    assert_int_equal(list_failed("[[source: :push]]", &first), 1);
    assert_term(first, "\"t\"");
    assert_int_equal(run(FAILED, "record", "[%{\"request_type\" => \"u\"}, \"why\", :pull]", &known), RPC_RETURN);
    assert_true(term_map_get(buf_slice(&out), "reason", &value));
    assert_term(value, "[\"why\"]");
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        expect_function_clause(FAILED, "record", odd[i]);
    expect(FAILED, "count", "[]", "2");
}

/* S-090: every key, the config without its struct's name. */
static void an_entry_says_what_was_refused_and_why(void **state)
{
    (void)state;
    bool known;
    struct slice entry;
    uint32_t n;
    fail_one(":chat", "\"a\"", CONFIG_PULL);
    assert_int_equal(run(FAILED, "list", "[]", &known), RPC_RETURN);
    struct term_reader r = term_reader(buf_slice(&out));
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(term_skip(&r, &entry), BG_OK);
    static const char *const expected[][2] = {{"id", "1"}, {"service", ":chat"}, {"request_type", "\"a\""},
                                              {"version", "nil"}, {"source", ":pull"}, {"node", ":svc@h"},
                                              {"reason", "[\"too bad\"]"}, {"times", "1"}};
    struct slice value, at[2];
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        assert_true(term_map_get(entry, expected[i][0], &value));
        assert_term(value, expected[i][1]);
    }
    assert_true(term_map_get(entry, "config", &value));
    assert_false(term_map_get(value, "__struct__", &at[0]));
    assert_true(term_map_get(value, "request_type", &at[0]));
    int64_t from = 0, to = 0;
    assert_true(term_map_get(entry, "inserted_at_ms", &at[0]) && term_map_get(entry, "expires_at_ms", &at[1]));
    struct term_reader a = term_reader(at[0]), b = term_reader(at[1]);
    assert_true(term_read_int(&a, &from) == BG_OK && term_read_int(&b, &to) == BG_OK);
    assert_int_equal(to - from, 86400000);
}

/* S-092, S-091. */
static void refused_configs_are_counted_and_cleared(void **state)
{
    (void)state;
    bool known;
    struct slice entries;
    expect(FAILED, "summary", "[]", "%{total: 0, pull: 0, push: 0, by_service: %{}, oldest: nil, newest: nil}");
    fail_one(":chat", "\"a\"", CONFIG_PULL);
    fail_one("\"user\"", "\"b\"", CONFIG_PUSH);
    fail_one("\"user\"", "\"c\"", CONFIG_PUSH);
    assert_int_equal(run(FAILED, "summary", "[]", &known), RPC_RETURN);
    assert_term(field("total"), "3");
    assert_term(field("pull"), "1");
    assert_term(field("push"), "2");
    assert_true(term_map_get(field("by_service"), "chat", &entries));
    assert_true(term_map_get(field("oldest"), "request_type", &entries));
    assert_term(entries, "\"a\"");
    assert_true(term_map_get(field("newest"), "request_type", &entries));
    assert_term(entries, "\"c\"");
    expect(FAILED, "cleanup", "[]", "0");
    expect(FAILED, "clear", "[]", ":ok");
    expect(FAILED, "count", "[]", "0");
}

/* S-122. */
static void what_is_not_in_the_table_is_undef(void **state)
{
    (void)state;
    bool known;
    assert_int_equal(run(CONFIG_DB, "count", "[1]", &known), RPC_ERROR);
    assert_false(known);
    assert_int_equal(run("os", "cmd", "['id']", &known), RPC_ERROR);
    assert_false(known);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_node_says_who_it_is),
        TEST(modules_of_the_table_exist_and_no_others),
        TEST(functions_of_the_table_are_exported_and_no_others),
        TEST(a_module_tells_what_it_has),
        TEST(an_empty_store_has_no_functions),
        TEST(functions_are_listed_by_service_type_and_version),
        TEST(a_service_named_by_atom_and_by_text_is_one_group),
        TEST(whereis_wants_an_atom),
        TEST(configs_are_added_by_hand),
        TEST(a_function_is_looked_up_with_and_without_version),
        TEST(what_is_disabled_stays_so),
        TEST(functions_are_deleted),
        TEST(functions_of_some_services_and_the_status_are_shown),
        TEST(a_push_comes_by_rpc),
        TEST(services_to_pull_from_are_shown_and_deleted),
        TEST(what_is_no_list_of_services_raises),
        TEST(refused_configs_are_listed),
        TEST(an_entry_can_be_recorded),
        TEST(an_entry_says_what_was_refused_and_why),
        TEST(refused_configs_are_counted_and_cleared),
        TEST(what_is_not_in_the_table_is_undef),
    };
    return cmocka_run_group_tests_name("rpc_table", tests, NULL, NULL);
}
