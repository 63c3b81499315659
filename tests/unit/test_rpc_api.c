/*
 * test_rpc_api.c: every function of the rpc table, as the whole server has it, called with valid arguments and with
 * terms of any shape. Valid: it returns what the row says. Anything else: it ends as functions end, with one well-formed
 * term, and the server lives. A function with arguments that no row calls fails the test: add one to `valid`.
 */
#include "unit.h"

#include "../../c_src/server/server_state.h"
#include "log.h"
#include "term_text.h"

#define LIBRARY "Elixir.PhoenixGenApi"
#define FUN \
    "%{__struct__: PhoenixGenApi.Structs.FunConfig, request_type: \"echo\", service: \"user\", " \
    "nodes: [:svc@localhost, :two@localhost], choose_node_mode: :hash, timeout: 5000, " \
    "mfa: {MyApp.Users, :get, []}, response_type: :sync, arg_types: %{\"msg\" => :string}, arg_orders: [\"msg\"]}"
#define REQUEST \
    "%{__struct__: PhoenixGenApi.Structs.Request, request_type: \"echo\", request_id: \"r\", service: \"user\", " \
    "user_id: \"u\", args: %{\"msg\" => \"x\"}}"
#define PUSH \
    "%{service: \"user\", nodes: [:svc@localhost], config_version: \"1\", fun_configs: [" FUN "]}"
#define SERVICE \
    "%{__struct__: PhoenixGenApi.Structs.ServiceConfig, service: \"user\", nodes: [:svc@localhost], " \
    "module: MyApp.Supporter, function: :get_config, args: []}"
#define LIMIT "%{key: :user_id, max_requests: 2, window_ms: 1000}"

/* What a row's call must come to. ANY: what it needs (a process of another node) is not in this test. */
enum expected { RETURNS, FAILS, LATER, ANY };

/* In args :PID stands for a pid of this node, :FUN for a function of four arguments. */
static const struct valid {
    const char *module; /* behind the library's name when it begins with a dot, or is empty */
    const char *function;
    const char *args;
    enum expected expected;
    const char *value; /* what it returns; NULL: any term */
} valid[] = {
    {"", "add_global_limit", "[" LIMIT "]", RETURNS, ":ok"},
    /* Functions run on the node of who attaches them, which is none here. */
    {"", "attach_telemetry", "[\"id\", :FUN]", FAILS, ":badarg"},
    {"", "attach_telemetry", "[\"id\", :FUN, %{}]", FAILS, ":badarg"},
    {"", "detach_telemetry", "[\"id\"]", RETURNS, ":ok"},
    {"", "call_flow", "[\"user\", \"echo\"]", RETURNS, NULL},
    {"", "call_flow", "[:user, \"echo\", \"1.0\"]", RETURNS, NULL},
    {"", "call_flow_print", "[\"user\", \"echo\"]", RETURNS, NULL},
    {"", "call_flow_print", "[\"user\", \"echo\", nil]", RETURNS, NULL},
    {"", "check_rate_limit", "[" REQUEST "]", RETURNS, ":ok"},
    {"", "debug_print", "[[process_limit: 2]]", RETURNS, NULL},
    {"", "debug_report", "[[process_limit: 2]]", RETURNS, NULL},
    {"", "failed_configs", "[[limit: 1]]", RETURNS, "[]"},
    {"", "failed_configs_print", "[[source: :push, limit: 1]]", RETURNS, NULL},
    {"", "flows_print", "[[include_disabled: true]]", RETURNS, NULL},
    {"", "get_rate_limit_status", "[\"u\", :global, :user_id]", RETURNS, NULL},
    {"", "health_check", "[[max_memory_bytes: 1]]", RETURNS, NULL},
    {"", "health_print", "[[]]", RETURNS, NULL},
    {"", "inspect_print", "[%{service: \"user\", request_type: \"echo\"}]", RETURNS, NULL},
    {"", "inspect_request", "[" REQUEST "]", RETURNS, NULL},
    {"", "list_call_flows", "[[]]", RETURNS, NULL},
    {"", "push_config", "[" PUSH "]", RETURNS, "{:ok, :accepted}"},
    {"", "push_config", "[" PUSH ", [force: true]]", RETURNS, "{:ok, :accepted}"},
    {"", "remove_global_limit", "[:device_id]", RETURNS, ":ok"},
    {"", "reset_rate_limit", "[\"u\", :global, :user_id]", RETURNS, ":ok"},
    {"", "rl_global", "[[" LIMIT "]]", RETURNS, NULL},
    {"", "rl_global", "[:add, " LIMIT "]", RETURNS, NULL},
    {"", "rl_status", "[\"u\"]", RETURNS, NULL},
    {"", "set_global_limits", "[[" LIMIT "]]", RETURNS, ":ok"},
    {"", "statistics", "[[]]", RETURNS, NULL},
    {"", "stop_stream", "[\"r\"]", RETURNS, "{:error, :not_found}"},
    {"", "stop_trace", "[:all]", ANY, NULL},
    {"", "stop_trace", "[:all, []]", ANY, NULL},
    {"", "stop_trace_functions", "[:all]", ANY, NULL},
    {"", "trace_functions", "[[{:user, \"echo\", 1}]]", ANY, NULL},
    {"", "trace_functions", "[[{:user, \"echo\", 1}], []]", ANY, NULL},
    {"", "trace_processes", "[:all]", ANY, NULL},
    {"", "trace_processes", "[:all, []]", ANY, NULL},
    {"", "update_rate_limit_config", "[%{global_limits: [" LIMIT "]}]", RETURNS, ":ok"},
    {"", "verify_config", "[\"nobody\", \"1\"]", RETURNS, "{:error, :not_found}"},
    {".ArgumentHandler", "convert_args!", "[" FUN ", " REQUEST "]", RETURNS, "[\"x\"]"},
    {".ArgumentHandler", "validate_args!", "[" FUN ", " REQUEST "]", RETURNS, ":ok"},
    {".ConfigDb", "add", "[" FUN "]", RETURNS, ":ok"},
    {".ConfigDb", "batch_add", "[[" FUN "]]", RETURNS, "{:ok, 1}"},
    {".ConfigDb", "delete", "[\"no\", \"no\"]", RETURNS, ":ok"},
    {".ConfigDb", "delete", "[\"no\", \"no\", \"1\"]", RETURNS, ":ok"},
    {".ConfigDb", "disable", "[\"no\", \"no\"]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "disable", "[\"no\", \"no\", nil]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "enable", "[\"no\", \"no\"]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "enable", "[:no, \"no\", \"1\"]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "get", "[\"no\", \"no\"]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "get", "[\"no\", \"no\", \"1\"]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "get_fast", "[:user, \"no\"]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "get_functions_from_services", "[[:no]]", RETURNS, "%{}"},
    {".ConfigDb", "get_latest", "[\"no\", \"no\"]", RETURNS, "{:error, :not_found}"},
    {".ConfigDb", "update", "[" FUN "]", RETURNS, ":ok"},
    {".ConfigFailed", "list", "[[order: :oldest_first]]", RETURNS, "[]"},
    {".ConfigFailed", "record", "[%{}, [\"why\", :not], :pull]", RETURNS, NULL},
    {".ConfigFailed", "record", "[" FUN ", \"why\", :push, :svc@localhost]", RETURNS, NULL},
    {".ConfigPuller", "add", "[[" SERVICE "]]", RETURNS, ":ok"},
    {".ConfigPuller", "delete", "[[" SERVICE "]]", RETURNS, ":ok"},
    {".ConfigPuller", "get_api_list", "[\"no\"]", RETURNS, "nil"},
    {".ConfigPuller", "get_service_version", "[:no]", RETURNS, "nil"},
    {".ConfigReceiver", "delete_pushed_service", "[:no]", RETURNS, ":ok"},
    {".ConfigReceiver", "get_pushed_config", "[:no]", RETURNS, "nil"},
    {".ConfigReceiver", "push", "[" PUSH "]", RETURNS, NULL},
    {".ConfigReceiver", "push", "[" PUSH ", [force: false]]", RETURNS, "{:ok, :skipped, :version_matches}"},
    {".ConfigReceiver", "verify", "[\"user\", \"1\"]", RETURNS, "{:ok, :matched}"},
    {".Diagnostics", "call_flow", "[\"user\", \"echo\"]", RETURNS, NULL},
    {".Diagnostics", "call_flow", "[\"user\", \"echo\", nil]", RETURNS, NULL},
    {".Diagnostics", "debug_report", "[[include_current_stacktrace: true]]", RETURNS, NULL},
    {".Diagnostics", "health_check", "[[]]", RETURNS, NULL},
    {".Diagnostics", "inspect_request", "[%{\"service\" => \"user\"}]", RETURNS, NULL},
    {".Diagnostics", "list_call_flows", "[[include_disabled: true]]", RETURNS, NULL},
    {".Diagnostics", "statistics", "[[]]", RETURNS, NULL},
    {".Diagnostics", "stop_trace", "[:all]", ANY, NULL},
    {".Diagnostics", "stop_trace", "[:all, []]", ANY, NULL},
    {".Diagnostics", "stop_trace_functions", "[:all]", ANY, NULL},
    {".Diagnostics", "trace_functions", "[[{:user, \"echo\", 1}]]", ANY, NULL},
    {".Diagnostics", "trace_functions", "[[{:user, \"echo\", 1}], []]", ANY, NULL},
    {".Diagnostics", "trace_processes", "[:all]", ANY, NULL},
    {".Diagnostics", "trace_processes", "[:all, []]", ANY, NULL},
    {".Executor", "attach_telemetry", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".Executor", "attach_telemetry", "[\"id\", :FUN, %{}]", FAILS, ":badarg"},
    {".Executor", "detach_telemetry", "[\"id\"]", RETURNS, ":ok"},
    {".Executor", "execute!", "[" REQUEST "]", LATER, NULL},
    {".Executor", "execute_params!", "[%{\"service\" => \"no\", request_type: \"x\", request_id: \"r\"}]", LATER, NULL},
    {".JsonConfig", "export_all", "[[format: :map]]", RETURNS, NULL},
    {".JsonConfig", "export_service", "[:no]", RETURNS, "[]"},
    {".JsonConfig", "export_service", "[\"no\", [format: :map]]", RETURNS, "%{}"},
    {".JsonConfig", "export_single", "[" FUN "]", RETURNS, NULL},
    {".JsonConfig", "export_single", "[" FUN ", [event: \"e\"]]", RETURNS, NULL},
    {".JsonConfig", "generate", "[[\"no\"]]", RETURNS, "[]"},
    {".JsonConfig", "generate", "[\"no\", [format: :json]]", RETURNS, "\"{}\""},
    {".NodeSelector", "calculate_backoff", "[1]", RETURNS, NULL},
    {".NodeSelector", "calculate_backoff", "[3, [jitter: false]]", RETURNS, "400"},
    {".NodeSelector", "choose_node_valid?", "[" FUN "]", RETURNS, "true"},
    {".NodeSelector", "get_node", "[" FUN ", " REQUEST "]", RETURNS, NULL},
    {".NodeSelector", "get_nodes", "[" FUN ", " REQUEST "]", RETURNS, NULL},
    {".NodeSelector", "resolve_nodes", "[" FUN "]", RETURNS, NULL},
    {".NodeSelector", "resolve_nodes_list", "[" FUN "]", RETURNS, "{:ok, [:svc@localhost, :two@localhost]}"},
    {".Permission", "check_permission", "[" REQUEST ", " FUN "]", RETURNS, "true"},
    {".Permission", "check_permission!", "[" REQUEST ", " FUN "]", RETURNS, "nil"},
    {".RateLimiter", "add_global_limit", "[" LIMIT "]", RETURNS, ":ok"},
    {".RateLimiter", "attach_telemetry", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".RateLimiter", "attach_telemetry", "[\"id\", :FUN, %{}]", FAILS, ":badarg"},
    {".RateLimiter", "detach_telemetry", "[\"id\"]", RETURNS, ":ok"},
    {".RateLimiter", "check_rate_limit", "[" REQUEST "]", RETURNS, ":ok"},
    {".RateLimiter", "check_rate_limit", "[\"v\", {:user, \"echo\"}, \"k\"]", RETURNS, ":ok"},
    {".RateLimiter", "get_rate_limit_status", "[\"v\", {:user, \"echo\"}, \"k\"]", RETURNS, "[]"},
    {".RateLimiter", "remove_global_limit", "[\"k\"]", RETURNS, ":ok"},
    {".RateLimiter", "reset_rate_limit", "[\"v\", :global, :user_id]", RETURNS, ":ok"},
    {".RateLimiter", "set_global_limits", "[[]]", RETURNS, ":ok"},
    {".RateLimiter", "update_config", "[%{api_limits: []}]", RETURNS, ":ok"},
    {".Security", "admin_action_allowed?", "[:enable_tracing]", RETURNS, "false"},
    {".Security", "validate_mfa", "[{MyApp, :f, []}]", RETURNS, ":ok"},
    {".StreamCall", "stop", "[:PID]", RETURNS, ":ok"},
    {".Telemetry", "attach_all", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".Telemetry", "attach_all", "[\"id\", :FUN, nil]", FAILS, ":badarg"},
    {".Telemetry", "attach_executor", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".Telemetry", "attach_executor", "[\"id\", :FUN, nil]", FAILS, ":badarg"},
    {".Telemetry", "attach_rate_limiter", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".Telemetry", "attach_rate_limiter", "[\"id\", :FUN, nil]", FAILS, ":badarg"},
    {".Telemetry", "attach_hooks", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".Telemetry", "attach_hooks", "[\"id\", :FUN, nil]", FAILS, ":badarg"},
    {".Telemetry", "attach_worker_pool", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".Telemetry", "attach_worker_pool", "[\"id\", :FUN, nil]", FAILS, ":badarg"},
    {".Telemetry", "attach_config", "[\"id\", :FUN]", FAILS, ":badarg"},
    {".Telemetry", "attach_config", "[\"id\", :FUN, nil]", FAILS, ":badarg"},
    {".Telemetry", "attach_many", "[\"id\", [[:phoenix_gen_api, :config, :push], [:x]], :FUN]", FAILS, ":badarg"},
    {".Telemetry", "attach_many", "[\"id\", [], :FUN, %{}]", FAILS, ":badarg"},
    {".Telemetry", "attach_default_logger", "[\"id\"]", RETURNS, ":ok"},
    {".Telemetry", "attach_default_logger", "[\"\"]", RETURNS, ":ok"},
    {".Telemetry", "detach_all", "[\"id\"]", RETURNS, ":ok"},
    {".Telemetry", "detach_default_logger", "[\"id\"]", RETURNS, ":ok"},
    {".WorkerPool", "status", "[:async_pool]", RETURNS, NULL},
    {"Elixir.Code", "ensure_loaded", "[:lists]", RETURNS, "{:error, :nofile}"},
    {"Elixir.Code", "ensure_loaded?", "[PhoenixGenApi.ConfigDb]", RETURNS, "true"},
    {"Elixir.Code", "loaded?", "[:lists]", RETURNS, "false"},
    {"Elixir.Beamgate", "disconnect", "[\"users:1\"]", RETURNS, "0"},
    {"Elixir.Kernel", "function_exported?", "[:erlang, :node, 0]", RETURNS, "true"},
    {"code", "__info__", "[:functions]", RETURNS, NULL},
    {"code", "module_info", "[:module]", RETURNS, ":code"},
    {"code", "ensure_loaded", "[:erlang]", RETURNS, "{:module, :erlang}"},
    {"code", "is_loaded", "[:lists]", RETURNS, "false"},
    {"code", "which", "[:lists]", RETURNS, ":non_existing"},
    {"application", "which_applications", "[1000]", RETURNS, NULL},
    {"application", "get_all_env", "[:phoenix_gen_api]", RETURNS, NULL},
    {"application", "get_env", "[:phoenix_gen_api, :no]", RETURNS, ":undefined"},
    {"application", "get_env", "[:phoenix_gen_api, :no, 7]", RETURNS, NULL},
    {"appmon_info", "start_link2", "[:PID, :x, []]", ANY, NULL},
    {"beamgate", "module_info", "[:attributes]", ANY, NULL},
    {"erlang", "function_exported", "[:erlang, :node, 1]", RETURNS, "false"},
    {"erlang", "garbage_collect", "[:PID]", RETURNS, NULL},
    {"erlang", "is_process_alive", "[:PID]", RETURNS, "true"},
    {"erlang", "memory", "[:total]", RETURNS, NULL},
    {"erlang", "module_loaded", "[:lists]", RETURNS, "false"},
    {"erlang", "process_info", "[:PID]", RETURNS, NULL},
    {"erlang", "process_info", "[:PID, :registered_name]", RETURNS, NULL},
    {"erlang", "statistics", "[:runtime]", RETURNS, NULL},
    {"erlang", "system_info", "[:otp_release]", RETURNS, NULL},
    {"erlang", "system_time", "[:millisecond]", RETURNS, NULL},
    {"erlang", "whereis", "[:net_kernel]", RETURNS, NULL},
    {"ets", "info", "[PhoenixGenApi.ConfigDb]", RETURNS, NULL},
    {"ets", "info", "[PhoenixGenApi.ConfigDb, :size]", RETURNS, NULL},
    {"ets", "lookup", "[PhoenixGenApi.ConfigDb, {\"no\", \"no\", nil}]", RETURNS, "[]"},
    {"ets", "member", "[PhoenixGenApi.ConfigDb, {\"no\", \"no\", nil}]", RETURNS, "false"},
    {"ets", "tab2list", "[PhoenixGenApi.ConfigDb]", RETURNS, NULL},
    {"ets", "whereis", "[PhoenixGenApi.ConfigDb]", RETURNS, NULL},
    {"observer_backend", "etop_collect", "[:PID]", ANY, NULL},
    {"observer_backend", "fetch_stats", "[:PID, 1000]", ANY, NULL},
    {"observer_backend", "get_table", "[:PID, PhoenixGenApi.ConfigDb, :ets]", ANY, NULL},
    {"observer_backend", "get_table_list", "[:ets, []]", RETURNS, NULL},
    {"observer_backend", "procs_info", "[:PID]", ANY, NULL},
    {"os", "system_time", "[:second]", RETURNS, NULL},
    {"proc_lib", "get_label", "[:PID]", RETURNS, NULL},
    {"proc_lib", "translate_initial_call", "[:PID]", RETURNS, NULL},
    {"sys", "get_state", "[:PID]", ANY, NULL},
    {"sys", "get_state", "[:PID, 1000]", ANY, NULL},
    {"sys", "get_status", "[:PID]", ANY, NULL},
    {"sys", "get_status", "[:PID, 1000]", ANY, NULL},
};

static struct server_config *config;
static struct server *server;
static struct buf term, args, out, want;

static int setup(void **state)
{
    static const char text[] =
        "node: {name: gw@127.0.0.1, listen_address: 127.0.0.1, epmd: false}\nlisten: {port: 0}\n"
        "sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\n"
        "security: {admin_actions: [update_rate_limit_config]}\n"
        "rate_limiter: {global_limits: [{key: user_id, max_requests: 1000, window_ms: 1000}]}\n"
        "limits: {max_connections: 100, max_functions: 200}\nlog: {level: error}\n";
    struct config_report report;
    struct err e = {0};
    (void)state;
    config_report_init(&report);
    config = config_parse("test", SLICE_LIT(text), &report);
    config_report_fini(&report);
    server = config ? server_new(config, "cookie", false, &e) : NULL;
    if (!server)
        fail_msg("no server: %s", e.text);
    log_set_level(LOG_ERROR);
    buf_init(&term, 0);
    buf_init(&args, 0);
    buf_init(&out, 0);
    buf_init(&want, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    server_free(server);
    config_free(config);
    buf_fini(&term);
    buf_fini(&args);
    buf_fini(&out);
    buf_fini(&want);
    return 0;
}

/* ---- calling ---- */

static const char *module_of(const struct valid *v)
{
    static char name[128];
    if (v->module[0] && v->module[0] != '.')
        return v->module;
    snprintf(name, sizeof(name), LIBRARY "%s", v->module);
    return name;
}

static void put_pid(struct buf *b)
{
    node_put_pid(&server->self, b, process_whereis(server->processes, SLICE_LIT("net_kernel")));
}

static void put_fun(struct buf *b)
{
    static const char external[] = "\x71w\1Mw\1f\x61\4"; /* EXPORT_EXT: &M.f/4 */
    term_put_raw(b, slice_make(external, sizeof(external) - 1));
}

/* A copy of exact size, so that a sanitizer sees any step past its end. */
static enum rpc_outcome run(struct slice module, struct slice function, struct slice list, enum rpc_shape shape,
                            bool *known)
{
    struct rpc_call call = {.module = module, .function = function, .shape = shape, .caller_node = SLICE_LIT("svc@h")};
    char *copy = slice_dup(list);
    assert_non_null(copy);
    buf_reset(&out);
    enum rpc_outcome outcome = rpc_run(&server->rpc, &call, slice_make(copy, list.len), &out, known);
    free(copy);
    return outcome;
}

/* The row's argument list, in args. */
static struct slice args_of(const struct valid *v)
{
    struct term_reader r;
    struct slice item;
    uint32_t n;
    buf_reset(&term);
    buf_reset(&args);
    struct slice list = term_of(&term, v->args);
    if (!strstr(v->args, ":PID") && !strstr(v->args, ":FUN"))
        return list;
    r = term_reader(list);
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    term_put_list(&args, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(term_skip(&r, &item), BG_OK);
        if (term_is_atom(item, "PID"))
            put_pid(&args);
        else if (term_is_atom(item, "FUN"))
            put_fun(&args);
        else
            term_put_raw(&args, item);
    }
    term_put_nil(&args);
    return buf_slice(&args);
}

/* How many arguments the row has. */
static uint32_t arity_of(const struct valid *v)
{
    struct term_reader r;
    uint32_t n;
    r = term_reader(args_of(v));
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    return n;
}

/* One whole term that a peer would take. */
static void assert_whole(const char *function)
{
    size_t used = 0;
    struct err e = {0};
    if (!buf_ok(&out) || term_check(out.data, out.len, TERM_DEPTH_MAX, &used, &e) != BG_OK || used != out.len)
        fail_msg("%s left no term: %s", function, e.text);
}

static void assert_value(const struct valid *v)
{
    buf_reset(&want);
    if (!v->value || term_equal(buf_slice(&out), term_of(&want, v->value)))
        return;
    buf_reset(&want);
    term_inspect(buf_slice(&out), &want, 1000);
    fail_msg("%s:%s%s gave %.*s, want %s", v->module, v->function, v->args, (int)want.len, (char *)want.data, v->value);
}

static void call_row(const struct valid *v)
{
    bool known;
    struct slice list = args_of(v);
    enum rpc_shape shape = v->expected == LATER ? RPC_SHAPE_CAST : RPC_SHAPE_NOW;
    enum rpc_outcome outcome = run(slice_str(module_of(v)), slice_str(v->function), list, shape, &known);
    if (!known)
        fail_msg("the table has no %s:%s of %s", module_of(v), v->function, v->args);
    if (outcome != RPC_LATER)
        assert_whole(v->function);
    if (v->expected == LATER)
        assert_int_equal(outcome, RPC_LATER);
    if (v->expected == FAILS) {
        assert_int_equal(outcome, RPC_ERROR);
        assert_value(v);
    }
    if (v->expected != RETURNS)
        return;
    if (outcome != RPC_RETURN) {
        buf_reset(&want);
        term_inspect(buf_slice(&out), &want, 1000);
        fail_msg("%s:%s%s failed: %.*s", module_of(v), v->function, v->args, (int)want.len, (char *)want.data);
    }
    assert_value(v);
}

static void functions_return_what_they_should_for_valid_arguments(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(valid); i++)
        call_row(&valid[i]);
}

/* Without arguments there is one way to call. */
static void functions_without_arguments_return(void **state)
{
    bool known;
    (void)state;
    for (size_t i = 0; i < server->rpc.count; i++) {
        const struct rpc_entry *e = &server->rpc.entries[i];
        bool any = strcmp(e->module, RPC_ANY_MODULE) == 0;
        if (e->arity > 0)
            continue;
        enum rpc_outcome outcome =
            run(slice_str(any ? "code" : e->module), slice_str(e->function), SLICE_LIT("j"), RPC_SHAPE_NOW, &known);
        assert_true(known);
        assert_whole(e->function);
        if (outcome != RPC_RETURN)
            fail_msg("%s:%s/0 did not return", e->module, e->function);
    }
}

static bool has_row(const struct rpc_entry *e)
{
    bool any = strcmp(e->module, RPC_ANY_MODULE) == 0;
    for (size_t i = 0; i < ARRAY_SIZE(valid); i++)
        if (strcmp(valid[i].function, e->function) == 0 && strcmp(module_of(&valid[i]), any ? "code" : e->module) == 0 &&
            (int)arity_of(&valid[i]) == e->arity)
            return true;
    return false;
}

static void every_function_with_arguments_has_a_row(void **state)
{
    unsigned missing = 0;
    (void)state;
    for (size_t i = 0; i < server->rpc.count; i++) {
        const struct rpc_entry *e = &server->rpc.entries[i];
        if (e->arity == 0 || has_row(e))
            continue;
        print_error("no row of valid arguments for %s:%s/%d\n", e->module, e->function, e->arity);
        missing++;
    }
    assert_int_equal(missing, 0);
}

/* ---- terms of any shape ---- */

static void put_deep(struct buf *b)
{
    enum { DEPTH = 250 };
    for (int i = 0; i < DEPTH; i++)
        term_put_list(b, 1);
    term_put_atom(b, "x");
    for (int i = 0; i < DEPTH; i++)
        term_put_nil(b);
}

static void put_long_list(struct buf *b)
{
    enum { LONG = 100000 };
    term_put_list(b, LONG);
    for (int i = 0; i < LONG; i++)
        term_put_int(b, i);
    term_put_nil(b);
}

static void put_wide_map(struct buf *b)
{
    enum { WIDE = 5000 };
    term_put_map(b, WIDE);
    for (int i = 0; i < WIDE; i++) {
        term_put_int(b, i);
        term_put_nil(b);
    }
}

static void put_foreign_pid(struct buf *b)
{
    term_put_pid(b, &(struct term_pid){SLICE_LIT("gone@nowhere"), 7, 7, 7});
}

static void put_dead_pid(struct buf *b)
{
    node_put_pid(&server->self, b, handle_make(3, 77777));
}

static void put_own_pid(struct buf *b)
{
    put_pid(b);
}

static void put_ref(struct buf *b)
{
    node_put_ref(&server->self, b, handle_make(1, 1));
}

static void put_bytes(struct buf *b)
{
    enum { MANY = 1000000 };
    static char bytes[MANY];
    memset(bytes, 0xff, sizeof(bytes)); /* no UTF-8 */
    term_put_binary(b, slice_make(bytes, sizeof(bytes)));
}

/* Structs whose fields are none of what they should be. */
static void put_struct(struct buf *b, const char *name, const char *const *keys, size_t count, const char *value)
{
    struct buf v;
    buf_init(&v, 0);
    struct slice odd = term_of(&v, value);
    term_put_map(b, (uint32_t)count + 1);
    term_put_atom(b, "__struct__");
    term_put_atom(b, name);
    for (size_t i = 0; i < count; i++) {
        term_put_atom(b, keys[i]);
        term_put_raw(b, odd);
    }
    buf_fini(&v);
}

static const char *const request_keys[] = {"request_type", "request_id", "service",    "version",
                                           "user_id",      "device_id",  "user_roles", "args"};
static const char *const config_keys[] = {"request_type", "service",       "nodes",      "choose_node_mode", "timeout",
                                          "mfa",          "arg_types",     "arg_orders", "response_type",    "retry",
                                          "version",      "before_execute"};

static void put_odd_request(struct buf *b)
{
    put_struct(b, LIBRARY ".Structs.Request", request_keys, ARRAY_SIZE(request_keys), "[1 | 2]");
}

static void put_odd_config(struct buf *b)
{
    put_struct(b, LIBRARY ".Structs.FunConfig", config_keys, ARRAY_SIZE(config_keys), "{:a, %{1 => [2 | 3]}}");
}

static void put_nested_request(struct buf *b)
{
    put_struct(b, LIBRARY ".Structs.Request", request_keys, ARRAY_SIZE(request_keys), "%{\"a\" => [%{\"b\" => 1.5}]}");
}

static void (*const made[])(struct buf *b) = {put_deep,     put_long_list,  put_wide_map,    put_foreign_pid,
                                              put_dead_pid, put_own_pid,    put_ref,         put_bytes,
                                              put_odd_request, put_odd_config, put_nested_request, put_fun};

static const char *const written[] = {
    "nil", "true", ":\"\"", ":global", ":all", "0", "-1", "9223372036854775807", "123456789012345678901234567890",
    "1.5", "\"\"", "\"text\"", "'abc'", "[]", "[1 | 2]", "[{:a, 1} | :b]", "[a: 1]", "[limit: -1]", "[limit: :x]",
    "[force: [1 | 2]]", "[format: :json, user_id: {1, 2}]", "[process_limit: 123456789012345678901234567890]",
    "[max_memory_bytes: -5]", "{}", "{1}", "{:user, :echo}", "{:erlang, :node, []}", "%{}", "%{1 => %{2 => 3}}",
    "%{__struct__: 5}", "%{__struct__: Date, year: :x}", "%{service: {1}, request_type: [], version: 5}",
    "%{key: {1}, max_requests: -1, window_ms: 0}", "[%{key: :user_id, max_requests: 1, window_ms: 1} | 3]",
    "%{global_limits: [1 | 2], api_limits: 5}", "[[[[]]]]", "\"0.0.0\"", PUSH, "[" FUN ", 1 | 2]"};

enum { ODD = ARRAY_SIZE(written) + ARRAY_SIZE(made) };

static struct slice odd_term(size_t i)
{
    buf_reset(&term);
    if (i < ARRAY_SIZE(written))
        return term_of(&term, written[i]);
    made[i - ARRAY_SIZE(written)](&term);
    assert_true(buf_ok(&term));
    return buf_slice(&term);
}

static void call_with(const struct rpc_entry *e, enum rpc_shape shape)
{
    bool known;
    bool any = strcmp(e->module, RPC_ANY_MODULE) == 0;
    term_put_nil(&args);
    enum rpc_outcome outcome =
        run(slice_str(any ? "code" : e->module), slice_str(e->function), buf_slice(&args), shape, &known);
    assert_true(known);
    assert_true(outcome <= RPC_LATER);
    if (outcome != RPC_LATER)
        assert_whole(e->function);
    server->timers.now_us += 1000;
    timers_run(&server->timers, server->timers.now_us, 100);
}

/* The same odd term in every place, and in each place alone among texts. */
static void terms_of_any_shape_end_every_function_as_functions_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < ODD; i++) {
        for (size_t k = 0; k < server->rpc.count; k++) {
            const struct rpc_entry *e = &server->rpc.entries[k];
            for (int place = e->arity > 0 ? -1 : 0; place < e->arity; place++) {
                struct slice odd = odd_term(i);
                buf_reset(&args);
                term_put_list(&args, (uint32_t)e->arity);
                for (int a = 0; a < e->arity; a++) {
                    if (place < 0 || place == a)
                        term_put_raw(&args, odd);
                    else
                        term_put_text(&args, "user");
                }
                call_with(e, i % 2 ? RPC_SHAPE_CAST : RPC_SHAPE_NOW);
            }
        }
    }
}

/* Arguments that are no list, an improper one, too many, and a function that is not there with so many. */
static void argument_lists_of_any_shape_are_badarg_or_undef(void **state)
{
    bool known;
    (void)state;
    static const char *const lists[] = {":x", "%{}", "[1 | 2]", "{1, 2}", "\"text\"", "5"};
    for (size_t k = 0; k < server->rpc.count; k++) {
        const struct rpc_entry *e = &server->rpc.entries[k];
        struct slice module = slice_str(e->module), function = slice_str(e->function);
        for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
            buf_reset(&term);
            assert_int_equal(run(module, function, term_of(&term, lists[i]), RPC_SHAPE_NOW, &known), RPC_ERROR);
            assert_true(term_is_atom(buf_slice(&out), "badarg"));
        }
        buf_reset(&term);
        assert_int_equal(run(module, function, term_of(&term, "[1, 2, 3, 4, 5, 6, 7]"), RPC_SHAPE_NOW, &known), RPC_ERROR);
        assert_true(term_is_atom(buf_slice(&out), "undef"));
        assert_false(known);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_function_with_arguments_has_a_row),
        TEST(functions_return_what_they_should_for_valid_arguments),
        TEST(functions_without_arguments_return),
        TEST(terms_of_any_shape_end_every_function_as_functions_end),
        TEST(argument_lists_of_any_shape_are_badarg_or_undef),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
