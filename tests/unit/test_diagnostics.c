/* test_diagnostics.c: PhoenixGenApi.Diagnostics (O-040..O-090): the key sets and types of the library, and that no
 * number is made up. */
#include "diag_rig.h"

#include "../../c_src/server/print_page.h"

#define MEMORY "total processes processes_used system atom atom_used binary code ets"
#define PROCESS "pid registered_name node status memory message_queue_len reductions total_heap_size current_function"
#define TABLE                                                                                                          \
    "id name named_table type keypos protection owner heir node size memory compressed read_concurrency "              \
    "write_concurrency decentralized_counters exists"
#define LOAD "elapsed_us busy_us turns longest_turn_us timer_lag_us"
#define NODE ", nodes: [:\"svc@h\", :\"gw@127.0.0.1\"]"

static const struct process_ops channel_ops = {.kind = "channel"};

/* ---- health_check (O-040..O-044) ---- */

static void health_has_the_keys_of_the_library_and_one_more(void **state)
{
    (void)state;
    struct slice h = rig_answer("health_check", "[]");
    expect_keys(h, "", "status node checked_at_ms checks");
    expect_keys(h, "checks", "vm node phoenix_gen_api beamgate");
    expect_keys(h, "checks.vm", "status process_count process_limit memory schedulers schedulers_online uptime");
    expect_keys(h, "checks.vm.memory", MEMORY);
    expect_keys(h, "checks.node", "status node alive? connected_nodes");
    expect_keys(h, "checks.phoenix_gen_api", "status mode checks");
    expect_keys(h, "checks.phoenix_gen_api.checks",
                "config_db config_puller config_receiver relay_registry relay_server worker_pool_supervisor async_pool "
                "stream_pool rate_limiter_supervisor rate_limiter_instances supervision_tree");
    expect_keys(h, "checks.phoenix_gen_api.checks.config_db", "status registered_name pid process");
    expect_keys(h, "checks.phoenix_gen_api.checks.config_db.process", PROCESS);
    expect_keys(h, "checks.beamgate", "status version ready reason draining loop");
    expect_keys(h, "checks.beamgate.loop", "last_1s last_10s last_60s busy_us turns longest_turn_us cpu_us");
    expect_keys(h, "checks.beamgate.loop.last_10s", LOAD);
}

/* O-041: registered_name is text, pid a pid of this node. */
static void a_part_is_shown_by_its_name_and_process(void **state)
{
    (void)state;
    struct slice h = rig_answer("health_check", "[[]]");
    expect_at(h, "checks.phoenix_gen_api.checks.config_db.registered_name", "\"PhoenixGenApi.ConfigDb\"");
    expect_at(h, "checks.phoenix_gen_api.checks.async_pool.registered_name", "\":async_pool\"");
    expect_at(h, "checks.phoenix_gen_api.checks.config_db.process.registered_name", ":beamgate");
    struct term_reader r = term_reader(at(h, "checks.phoenix_gen_api.checks.config_db.pid"));
    assert_int_equal(term_peek(&r), TERM_PID);
}

/* A process that has the name answers for the part. */
static void a_part_with_a_process_of_its_own_shows_that_one(void **state)
{
    (void)state;
    handle_t p = process_start(server.processes, &channel_ops, NULL);
    assert_int_equal(process_register(server.processes, p, SLICE_LIT("Elixir.PhoenixGenApi.ConfigDb")), BG_OK);
    struct slice h = rig_answer("health_check", "[]");
    expect_at(h, "checks.phoenix_gen_api.checks.config_db.process.registered_name", "PhoenixGenApi.ConfigDb");
    expect_at(h, "checks.phoenix_gen_api.checks.config_puller.process.registered_name", ":beamgate");
}

static void what_is_not_there_is_not_called_well(void **state)
{
    (void)state;
    struct slice h = rig_answer("health_check", "[]");
    expect_at(h, "checks.phoenix_gen_api.checks.relay_server.status", ":not_available");
    expect_at(h, "checks.phoenix_gen_api.checks.relay_server.pid", "nil");
    expect_at(h, "checks.phoenix_gen_api.checks.rate_limiter_supervisor.status", ":not_available");
    expect_at(h, "checks.phoenix_gen_api.checks.rate_limiter_instances.instance_count", "0");
}

/* O-043: without a cluster the node is not distributed, and the worst check is the whole's status. */
static void the_worst_check_is_the_status_of_all(void **state)
{
    (void)state;
    struct slice h = rig_answer("health_check", "[]");
    expect_at(h, "checks.node.status", ":error");
    expect_at(h, "checks.node.alive?", "false");
    expect_at(h, "checks.vm.status", ":ok");
    expect_at(h, "status", ":error");
}

static void memory_over_the_bound_degrades_the_vm_check(void **state)
{
    (void)state;
    expect_at(rig_answer("health_check", "[[max_memory_bytes: 1]]"), "checks.vm.status", ":degraded");
    expect_at(rig_answer("health_check", "[[max_memory_bytes: 1000000000000]]"), "checks.vm.status", ":ok");
    expect_at(rig_answer("health_check", "[[max_memory_bytes: :many]]"), "checks.vm.status", ":ok");
}

static void a_process_table_that_is_nearly_full_degrades_the_vm_check(void **state)
{
    (void)state;
    for (unsigned i = process_count(server.processes); i < 9000; i++)
        assert_int_not_equal(process_start(server.processes, &channel_ops, NULL), HANDLE_NONE);
    expect_at(rig_answer("health_check", "[]"), "checks.vm.status", ":degraded");
}

/* O-044: the pair's second is the time since it was asked last. */
static void uptime_says_how_long_ago_one_asked(void **state)
{
    (void)state;
    struct slice h = rig_answer("health_check", "[]");
    struct term_reader r = term_reader(at(h, "checks.vm.uptime"));
    uint32_t arity;
    int64_t total, since;
    assert_int_equal(term_read_tuple(&r, &arity), BG_OK);
    assert_int_equal(term_read_int(&r, &total), BG_OK);
    assert_int_equal(term_read_int(&r, &since), BG_OK);
    assert_true(total >= 5000);
    assert_int_equal(total, since);
    h = rig_answer("health_check", "[]");
    r = term_reader(at(h, "checks.vm.uptime"));
    assert_int_equal(term_read_tuple(&r, &arity), BG_OK);
    assert_int_equal(term_read_int(&r, &total), BG_OK);
    assert_int_equal(term_read_int(&r, &since), BG_OK);
    assert_true(since < total);
}

/* ---- statistics (O-050..O-052) ---- */

static void statistics_have_the_keys_of_the_library_and_one_more(void **state)
{
    (void)state;
    struct slice s = rig_answer("statistics", "[]");
    expect_keys(s, "", "node collected_at_ms vm phoenix_gen_api beamgate");
    expect_keys(s, "vm",
                "context_switches exact_reductions garbage_collection memory port_count process_count process_limit "
                "reductions runtime scheduler_wall_time schedulers_online schedulers uptime ets_count");
    expect_keys(s, "vm.memory", MEMORY);
    expect_keys(s, "phoenix_gen_api",
                "client_mode telemetry_events config_db config_puller config_receiver rate_limiter worker_pool relay");
    expect_keys(s, "phoenix_gen_api.config_db", "status count services ets");
    expect_keys(s, "phoenix_gen_api.config_db.ets", TABLE);
    expect_keys(s, "phoenix_gen_api.config_puller.data", "status services api_list service_versions failure_count");
    expect_keys(s, "phoenix_gen_api.config_receiver.data", "status pushed_services pushed_configs");
    expect_keys(s, "phoenix_gen_api.worker_pool", "async_pool stream_pool");
    expect_keys(s, "phoenix_gen_api.worker_pool.async_pool.data",
                "idle_workers busy_workers queued_tasks circuit_open total_tasks_executed total_tasks_failed");
    expect_keys(s, "beamgate", "version connections requests_in_flight calls_in_flight loop malloc metrics");
    expect_keys(s, "beamgate.malloc",
                "heap_bytes heap_used_bytes heap_free_bytes heap_free_blocks mapped_bytes mapped_blocks");
}

static void numbers_without_a_meaning_are_zero_and_the_others_are_not(void **state)
{
    (void)state;
    struct slice s = rig_answer("statistics", "[[]]");
    expect_at(s, "vm.garbage_collection", "{0, 0, 0}");
    expect_at(s, "vm.memory.atom", "0");
    expect_at(s, "vm.schedulers", "1");
    expect_at(s, "phoenix_gen_api.client_mode", "false");
    assert_true(number_at(s, "vm.memory.total") > 1000000);
    assert_true(number_at(s, "vm.process_count") == SERVER_PARTS);
#ifndef WITH_ASAN /* like valgrind it brings its own allocator; glibc's then has nothing to tell */
    int64_t used = number_at(s, "beamgate.malloc.heap_used_bytes") + number_at(s, "beamgate.malloc.mapped_bytes");
    assert_true(used > 0 || getenv("UNDER_VALGRIND"));
#endif
}

/* O-051. */
static void a_part_that_is_not_there_is_an_error_in_its_place(void **state)
{
    (void)state;
    struct slice s = rig_answer("statistics", "[]");
    expect_at(s, "phoenix_gen_api.relay", "%{status: :error, reason: :not_started}");
}

static void the_store_is_counted(void **state)
{
    (void)state;
    rig_put(":chat", "\"send\"", "nodes: [:a@h]");
    rig_put("\"mail\"", "\"send\"", "nodes: [:a@h]");
    struct slice s = rig_answer("statistics", "[]");
    expect_at(s, "phoenix_gen_api.config_db.count", "2");
    expect_at(s, "phoenix_gen_api.config_db.services", "[:chat, \"mail\"]");
    expect_at(s, "phoenix_gen_api.config_db.ets.size", "2");
    expect_at(s, "phoenix_gen_api.config_db.ets.exists", "true");
}

static void only_counters_that_count_something_are_shown(void **state)
{
    (void)state;
    metric_add(&server.metrics, METRIC_REQUESTS, 7);
    struct slice s = rig_answer("statistics", "[]");
    expect_at(s, "beamgate.metrics.requests_total", "7");
    struct slice metrics = at(s, "beamgate.metrics"), value;
    assert_false(term_map_get(metrics, "calls_total", &value));
}

static void a_pool_is_asked_by_name(void **state)
{
    (void)state;
    assert_int_equal(rig_run("Elixir.PhoenixGenApi.WorkerPool", "status", "[:stream_pool]"), RPC_RETURN);
    expect_at(buf_slice(&out), "circuit_open", "false");
    assert_int_equal(rig_run("Elixir.PhoenixGenApi.WorkerPool", "status", "[:pool]"), RPC_ERROR);
}

/* ---- debug_report (O-060) ---- */

static void a_debug_report_shows_every_process_when_there_are_few(void **state)
{
    (void)state;
    assert_int_not_equal(process_start(server.processes, &channel_ops, NULL), HANDLE_NONE);
    struct slice d = rig_answer("debug_report", "[]");
    expect_keys(d, "", "node collected_at_ms processes ets_tables trace");
    struct term_reader r = term_reader(at(d, "processes"));
    struct slice first;
    uint32_t n;
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(n, process_count(server.processes));
    assert_int_equal(term_skip(&r, &first), BG_OK);
    expect_keys(first, "", PROCESS);
    const char *all = shown(at(d, "processes"));
    assert_non_null(strstr(all, "{:beamgate, :channel, 1}"));
    assert_non_null(strstr(all, "registered_name: :beamgate,"));
    assert_null(strstr(all, ":undefined"));
}

static uint32_t processes_shown(const char *args)
{
    struct slice d = rig_answer("debug_report", args);
    struct term_reader r = term_reader(at(d, "processes"));
    uint32_t n;
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    return n;
}

static void a_debug_report_is_as_long_as_asked_for_and_no_longer_than_its_bound(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3000; i++)
        assert_int_not_equal(process_start(server.processes, &channel_ops, NULL), HANDLE_NONE);
    assert_int_equal(processes_shown("[]"), DIAG_PROCESSES_DEFAULT);
    assert_int_equal(processes_shown("[[process_limit: 3]]"), 3);
    assert_int_equal(processes_shown("[[process_limit: 0]]"), 0);
    assert_int_equal(processes_shown("[[process_limit: 1000000000000]]"), DIAG_PROCESSES_MAX);
    rig_refuses("debug_report", "[[process_limit: -1]]");
    rig_refuses("debug_report", "[[process_limit: :all]]");
}

static void tables_are_named_as_elixir_shows_them(void **state)
{
    (void)state;
    struct slice d = rig_answer("debug_report", "[[include_current_stacktrace: true]]");
    struct term_reader r = term_reader(at(d, "ets_tables"));
    uint32_t n;
    assert_int_equal(term_read_map(&r, &n), BG_OK);
    assert_int_equal(n, 5);
    const char *got = shown(at(d, "ets_tables"));
    assert_non_null(strstr(got, "\":phoenix_gen_api_relay_groups\" => %{exists: false}"));
    assert_non_null(strstr(got, "\"PhoenixGenApi.ConfigDb\" => %{"));
    assert_non_null(strstr(shown(at(d, "processes")), "current_stacktrace: []"));
}

/* ---- call_flow (O-070..O-077) ---- */

#define FLOW                                                                                                           \
    "service request_type version config local? nodes reachable_nodes unreachable_nodes response_type "                \
    "choose_node_mode timeout mfa rate_limit permission hooks retry steps"

static void a_flow_has_the_keys_of_the_library(void **state)
{
    (void)state;
    rig_put(":chat", "\"send\"", "version: \"1.0.0\"" NODE ", retry: {:same_node, 2}");
    struct slice f = rig_answer("call_flow", "[\"chat\", \"send\"]");
    expect_keys(f, "", FLOW);
    expect_at(f, "service", "\"chat\"");
    expect_at(f, "version", "\"1.0.0\"");
    expect_at(f, "config.__struct__", "PhoenixGenApi.Structs.FunConfig");
    expect_at(f, "local?", "false");
    expect_at(f, "nodes", "[:svc@h, :\"gw@127.0.0.1\"]");
    expect_at(f, "reachable_nodes", "[:\"gw@127.0.0.1\"]");
    expect_at(f, "unreachable_nodes", "[:svc@h]");
    expect_at(f, "response_type", ":sync");
    expect_at(f, "mfa", "{MyApp.Api, :get, []}");
    expect_at(f, "rate_limit", "%{global: [], api: []}");
    expect_at(f, "permission", "%{strategy: :none, description: \"No permission check\"}");
    expect_at(f, "hooks.before_execute", "%{configured: false, description: \"No hook configured\"}");
    expect_keys(f, "retry", "configured mode attempts description");
    expect_at(f, "retry.description", "\"Retry up to 2 times on the same node\"");
}

/* The names of a flow's phases, one after another. */
static const char *phases_of(struct slice flow)
{
    static char names[500];
    struct term_reader r = term_reader(at(flow, "steps"));
    uint32_t n;
    names[0] = '\0';
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    for (struct slice step; n > 0; n--) {
        assert_int_equal(term_skip(&r, &step), BG_OK);
        expect_keys(step, "", "phase desc");
        strcat(names, shown(at(step, "phase")));
    }
    return names;
}

/* O-074. */
static void the_phases_come_in_the_order_of_the_library(void **state)
{
    (void)state;
    rig_put("\"chat\"", "\"send\"", "version: \"1.0.0\"" NODE ", retry: 2");
    rig_put("\"chat\"", "\"once\"", "version: \"1.0.0\"" NODE);
    assert_string_equal(phases_of(rig_answer("call_flow", "[\"chat\", \"send\"]")),
                        ":channel:decode:config_lookup:hooks_before:permission:rate_limit:argument_validation"
                        ":node_selection:execution:retry:hooks_after:response");
    assert_string_equal(phases_of(rig_answer("call_flow", "[\"chat\", \"once\"]")),
                        ":channel:decode:config_lookup:hooks_before:permission:rate_limit:argument_validation"
                        ":node_selection:execution:hooks_after:response");
}

/* O-071. */
static void each_kind_of_permission_has_a_strategy(void **state)
{
    (void)state;
    rig_put("\"p\"", "\"arg\"", "check_permission: {:arg, \"user_id\"}, arg_types: %{\"user_id\" => :string}" NODE);
    rig_put("\"p\"", "\"role\"", "check_permission: {:role, [\"admin\"]}" NODE);
    rig_put("\"p\"", "\"any\"", "check_permission: :any_authenticated" NODE);
    rig_put("\"p\"", "\"own\"", "permission_callback: {MyApp.Auth, :check, []}" NODE);
    expect_at(
        rig_answer("call_flow", "[:p, \"arg\"]"), "permission",
        "%{strategy: :arg_based, field: \"user_id\", description: \"Checks permission via request arg 'user_id'\"}");
    expect_at(rig_answer("call_flow", "[:p, \"role\"]"), "permission",
              "%{strategy: :role_based, roles: [\"admin\"], description: \"Requires one of roles: [\\\"admin\\\"]\"}");
    expect_at(rig_answer("call_flow", "[:p, \"any\"]"), "permission.raw", ":any_authenticated");
    expect_at(rig_answer("call_flow", "[:p, \"own\"]"), "permission.strategy", ":custom_mfa");
    expect_at(rig_answer("call_flow", "[:p, \"own\"]"), "permission.mfa", "{MyApp.Auth, :check}");
}

/* O-072. */
static void hooks_are_shown_with_their_arity(void **state)
{
    (void)state;
    rig_put("\"h\"", "\"a\"", "before_execute: {MyApp.Hook, :before, [1]}, after_execute: {MyApp.Hook, :after}" NODE);
    struct slice f = rig_answer("call_flow", "[:h, \"a\"]");
    expect_at(f, "hooks.before_execute",
              "%{configured: true, mfa: {MyApp.Hook, :before}, args: 3, "
              "description: \"Elixir.MyApp.Hook.before/3(request, fun_config, ...)\"}");
    expect_at(f, "hooks.after_execute.description", "\"Elixir.MyApp.Hook.after/2(request, fun_config)\"");
}

static void put_limits(void)
{
    const struct rate_limiter_options o = {&server.metrics, RATE_BYTES_MIN, true};
    const struct rate_limit global = {RATE_GLOBAL, {RATE_KEY_USER_ID, SLICE_NONE}, 3, 60000, false};
    const struct rate_limit api[] = {
        {{SLICE_LIT("x"), SLICE_LIT("y")}, {RATE_KEY_DEVICE_ID, SLICE_NONE}, 1, 1000, false},
        {{SLICE_LIT("chat"), SLICE_LIT("send")}, {RATE_KEY_ARG, SLICE_LIT("room")}, 5, 1000, false},
    };
    server.limiter = rate_limiter_new(&o);
    assert_int_equal(rate_limiter_set_global(server.limiter, &global, 1, NULL), BG_OK);
    assert_int_equal(rate_limiter_set_api(server.limiter, api, 2, NULL), BG_OK);
}

static void the_rate_limits_of_the_function_are_shown(void **state)
{
    (void)state;
    rig_put("\"chat\"", "\"send\"", "version: nil" NODE);
    rig_put("\"chat\"", "\"read\"", "version: nil" NODE);
    put_limits();
    struct slice f = rig_answer("call_flow", "[\"chat\", \"send\"]");
    expect_at(f, "rate_limit.global", "[%{scope: :global, key: :user_id, max_requests: 3, window_ms: 60000}]");
    expect_at(f, "rate_limit.api", "[%{scope: :api, key: \"room\", max_requests: 5, window_ms: 1000}]");
    f = rig_answer("call_flow", "[\"chat\", \"read\"]");
    expect_at(f, "rate_limit.api", "[]");
}

/* O-075. */
static void a_function_that_is_not_there_says_so(void **state)
{
    (void)state;
    struct slice f = rig_answer("call_flow", "[\"chat\", \"nope\"]");
    expect_keys(f, "", "service request_type config error steps");
    expect_at(f, "error", ":not_found");
    expect_at(f, "steps",
              "[%{phase: :config_lookup, desc: \"ConfigDb.get(\\\"chat\\\", \\\"nope\\\") → :not_found\"}]");
    rig_put("\"chat\"", "\"send\"", "disabled: true" NODE);
    expect_at(rig_answer("call_flow", "[\"chat\", \"send\"]"), "error", ":disabled");
}

/* O-076. */
static void a_version_that_is_not_there_shows_the_latest(void **state)
{
    (void)state;
    rig_put("\"chat\"", "\"send\"", "version: \"1.0.0\"" NODE);
    rig_put("\"chat\"", "\"send\"", "version: \"1.1.0\"" NODE);
    expect_at(rig_answer("call_flow", "[\"chat\", \"send\", \"1.0.0\"]"), "version", "\"1.0.0\"");
    expect_at(rig_answer("call_flow", "[\"chat\", \"send\", \"9.0.0\"]"), "version", "\"1.1.0\"");
    expect_at(rig_answer("call_flow", "[\"chat\", \"send\", \"0.0.0\"]"), "version", "\"1.1.0\"");
    expect_at(rig_answer("call_flow", "[\"chat\", \"send\", nil]"), "version", "\"1.1.0\"");
}

/* O-076 want: {hash, K} is shown, where the library raises. */
static void choosing_nodes_by_a_key_can_be_shown(void **state)
{
    (void)state;
    rig_put("\"chat\"", "\"send\"", "choose_node_mode: {:hash, \"room\"}" NODE);
    struct slice f = rig_answer("call_flow", "[\"chat\", \"send\"]");
    expect_at(f, "choose_node_mode", "{:hash, \"room\"}");
    assert_non_null(
        strstr(shown(at(f, "steps")), "NodeSelector picks {:hash, \\\"room\\\"} from [svc@h, gw@127.0.0.1]"));
}

/* Nodes that are a question are not known before it was asked. */
static void nodes_of_a_function_that_gives_them_are_unknown_at_first(void **state)
{
    (void)state;
    rig_put("\"chat\"", "\"send\"", "nodes: {MyApp.Nodes, :all, []}");
    rig_put("\"chat\"", "\"read\"", "nodes: {:erlang, :nodes, []}");
    expect_at(rig_answer("call_flow", "[\"chat\", \"send\"]"), "nodes", "[]");
    expect_at(rig_answer("call_flow", "[\"chat\", \"read\"]"), "nodes", "[]");
}

static void terms_of_any_kind_find_nothing(void **state)
{
    (void)state;
    static const char *const args[] = {"[1, 2]",           "[[], %{}]",    "[nil, nil, nil]",
                                       "[{}, \"x\", 1.5]", "[\"\", \"\"]", "[:a, [1 | 2]]"};
    for (size_t i = 0; i < ARRAY_SIZE(args); i++)
        expect_at(rig_answer("call_flow", args[i]), "error", ":not_found");
}

/* A description as long as its parts allow is cut, and the answer is a term all the same. */
static void long_names_do_not_break_a_description(void **state)
{
    (void)state;
    char type[600], nodes[1900] = "nodes: [", args[700];
    memset(type, 'x', 512);
    snprintf(type + 510, sizeof(type) - 510, "\"");
    type[0] = '"';
    for (unsigned i = 0; i < 60; i++)
        snprintf(nodes + strlen(nodes), sizeof(nodes) - strlen(nodes), ":node%02u_____________@h,", i);
    strcat(nodes, "]");
    rig_put("\"chat\"", type, nodes);
    snprintf(args, sizeof(args), "[\"chat\", %s]", type);
    assert_non_null(strstr(shown(at(rig_answer("call_flow", args), "steps")), ", ...]"));
}

/* ---- inspect_request (O-080) ---- */

static void a_request_is_inspected_by_atom_or_text_keys(void **state)
{
    (void)state;
    rig_put("\"chat\"", "\"send\"", "version: \"1.0.0\"" NODE);
    struct slice f = rig_answer("inspect_request", "[%{service: \"chat\", request_type: \"send\", user_id: 7}]");
    expect_keys(f, "", FLOW " request");
    expect_keys(f, "request", "service request_type version user_id device_id request_id");
    expect_at(f, "request.user_id", "7");
    expect_at(f, "request.version", "nil");
    f = rig_answer("inspect_request",
                   "[%{\"service\" => \"chat\", \"request_type\" => \"nope\", \"request_id\" => \"r\"}]");
    expect_keys(f, "", "service request_type config error steps request");
    expect_at(f, "request.request_id", "\"r\"");
}

static void what_is_no_map_is_no_request(void **state)
{
    (void)state;
    assert_int_equal(rig_run(DIAG, "inspect_request", "[:x]"), RPC_ERROR);
    assert_string_equal(shown(buf_slice(&out)), "{:badmap, :x}");
    expect_at(rig_answer("inspect_request", "[%{}]"), "error", ":not_found");
}

/* ---- list_call_flows (O-090) ---- */

static uint32_t flows(const char *args)
{
    struct slice list = rig_answer("list_call_flows", args);
    struct term_reader r = term_reader(list);
    uint32_t n;
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    return n;
}

static void flows_are_listed_by_service_and_type_disabled_ones_when_asked_for(void **state)
{
    (void)state;
    rig_put("\"mail\"", "\"a\"", "version: \"1.0.0\"" NODE);
    rig_put(":chat", "\"b\"", "disabled: true" NODE);
    rig_put(":chat", "\"a\"", "version: \"1.0.0\"" NODE);
    assert_int_equal(flows("[]"), 2);
    assert_int_equal(flows("[[include_disabled: true]]"), 3);
    struct term_reader r = term_reader(buf_slice(&out));
    struct slice flow;
    uint32_t n;
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(term_skip(&r, &flow), BG_OK);
    expect_keys(flow, "", FLOW " disabled");
    expect_at(flow, "service", ":chat");
    assert_int_equal(term_skip(&r, &flow), BG_OK);
    expect_keys(flow, "", "service request_type version status disabled");
    expect_at(flow, "status", ":disabled");
    assert_int_equal(flows("[[offset: 1]]"), 1);
    assert_int_equal(flows("[[offset: 5]]"), 0);
    rig_refuses("list_call_flows", "[:x]");
    rig_refuses("list_call_flows", "[[offset: :x]]");
}

static void a_list_of_flows_is_bounded(void **state)
{
    (void)state;
    char type[32];
    for (unsigned i = 0; i < DIAG_FLOWS_MAX + 100; i++) {
        snprintf(type, sizeof(type), "\"t%04u\"", i);
        rig_put("\"many\"", type, "version: nil" NODE);
    }
    put_limits();
    assert_int_equal(flows("[]"), DIAG_FLOWS_MAX);
    assert_int_equal(flows("[[offset: 500]]"), 100);
}

/* ---- cluster_view (O-085) ---- */

static void the_cluster_is_shown_as_seen_from_here(void **state)
{
    (void)state;
    struct slice c = rig_answer("cluster_view", "[]");
    expect_keys(c, "", "self connected connected_count registered_processes phoenix_gen_api_services node_selection");
    expect_at(c, "self", ":\"gw@127.0.0.1\"");
    expect_at(c, "connected_count", "0");
    expect_at(c, "phoenix_gen_api_services", "%{}");
    expect_at(c, "node_selection.strategies", "[:random, :hash, :round_robin, :sticky]");
    assert_non_null(strstr(shown(at(c, "registered_processes")), ":beamgate_clients"));
}

/* ---- arguments of a wrong kind ---- */

static void options_that_are_no_keyword_list_are_refused(void **state)
{
    (void)state;
    static const char *const functions[] = {"health_check", "debug_report", "list_call_flows"};
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
        rig_refuses(functions[i], "[:x]");
        rig_refuses(functions[i], "[%{}]");
        rig_refuses(functions[i], "[[1, 2]]");
        rig_refuses(functions[i], "[[{:a, 1, 2}]]");
        rig_refuses(functions[i], "['text']");
    }
}

/* PhoenixGenApi passes on to Diagnostics. */
static void the_library_s_own_module_has_them_too(void **state)
{
    (void)state;
    assert_int_equal(rig_run("Elixir.PhoenixGenApi", "cluster_view", "[]"), RPC_RETURN);
    assert_int_equal(rig_run("Elixir.PhoenixGenApi", "trace_status", "[]"), RPC_RETURN);
    expect_at(buf_slice(&out), "trace_control_word", "0");
}

/* ---- tracing (O-095..O-098): what is refused; what works needs a node that asks, see diagnostics.test.js ---- */

static void tracing_is_denied_unless_the_configuration_allows_it(void **state)
{
    (void)state;
    expect_term(rig_answer("trace_processes", "[:all]"), "{:error, :admin_action_denied}");
    expect_term(rig_answer("trace_processes", "[1, 2]"), "{:error, :admin_action_denied}");
    expect_term(rig_answer("trace_functions", "[{:a, :b}]"), "{:error, :admin_action_denied}");
    expect_term(rig_answer("stop_trace", "[]"), "{:error, :admin_action_denied}");
    expect_term(rig_answer("stop_trace_functions", "[]"), "{:error, :admin_action_denied}");
}

static char enable[] = "enable_tracing", disable[] = "disable_tracing";
static char *both_actions[] = {enable, disable};

static void allow_tracing(void)
{
    config.security.admin_actions = both_actions;
    config.security.admin_actions_count = 2;
}

/* A caller without a connection, as here, has no process that could be told. */
static void a_tracer_must_be_a_process_of_the_asking_node(void **state)
{
    (void)state;
    allow_tracing();
    expect_term(rig_answer("trace_processes", "[:all]"), "{:error, :invalid_tracer}");
    expect_term(rig_answer("trace_processes", "[:all, [tracer: :x]]"), "{:error, :invalid_tracer}");
    rig_refuses("trace_processes", "[:all, :x]");
    rig_refuses("trace_functions", "[:all, [1]]");
}

static void stopping_what_is_not_on_stops_nothing(void **state)
{
    (void)state;
    allow_tracing();
    expect_term(rig_answer("stop_trace", "[]"),
                "{:ok, %{flags: [:call, :return_to, :procs], targets: [:all], results: %{\":all\" => 0}}}");
    expect_term(rig_answer("stop_trace", "[[], [flags: [:call]]]"),
                "{:ok, %{flags: [:call], targets: [], results: %{}}}");
    expect_term(rig_answer("stop_trace", "[[:all, :all]]"),
                "{:ok, %{flags: [:call, :return_to, :procs], targets: [:all], results: %{\":all\" => 0}}}");
    expect_term(rig_answer("stop_trace", "[:x]"), "{:error, :invalid_trace_target}");
    expect_term(rig_answer("stop_trace", "[[:all | :x]]"), "{:error, :invalid_trace_target}");
    expect_term(rig_answer("stop_trace", "['all']"), "{:error, :invalid_trace_target}");
    expect_term(rig_answer("stop_trace", "[:all, [flags: [:fast]]]"), "{:error, :invalid_trace_flag}");
    expect_term(rig_answer("stop_trace", "[:all, [flags: :call]]"), "{:error, :invalid_trace_flag}");
}

/* Two that are the same to the library are one: they become keys of a map. */
static void functions_to_stop_are_read_and_named_once(void **state)
{
    (void)state;
    allow_tracing();
    expect_term(rig_answer("stop_trace_functions", "[]"),
                "{:ok, %{mfas: [{:_, :_, :_}], results: %{\"{:_, :_, :_}\" => 0}}}");
    expect_term(rig_answer("stop_trace_functions", "[[{:a, :b}, {:a, :b, :_}, {:a, :b, 2}]]"),
                "{:ok, %{mfas: [{:a, :b, :_}, {:a, :b, 2}], results: %{\"{:a, :b, :_}\" => 0, \"{:a, :b, 2}\" => 0}}}");
    static const char *const bad[] = {"[{:a}]", "[{:a, 1}]", "[{:a, :b, -1}]",   "[{:a, :b, :c}]",  "[\"x\"]",
                                      "[[1]]",  "['ab']",    "[{:a, :b, 1, 2}]", "[[{:a, :b} | 1]]"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        expect_term(rig_answer("stop_trace_functions", bad[i]), "{:error, :invalid_mfa}");
}

static void the_traces_that_are_on_are_listed(void **state)
{
    (void)state;
    struct trace_wanted w;
    struct err e;
    uint32_t id;
    expect_term(rig_answer("traces", "[]"), "[]");
    trace_wanted_init(&w);
    w.filter.module = SLICE_LIT("Elixir.MyApp");
    w.filter.function = SLICE_LIT("get");
    w.to_log = false;
    assert_int_equal(tracer_start(server.tracer, &w, &id, &e), BG_OK);
    struct term_reader r = term_reader(rig_answer("traces", "[]"));
    struct slice one;
    uint32_t n;
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(n, 1);
    assert_int_equal(term_skip(&r, &one), BG_OK);
    expect_keys(one, "",
                "id service request_type user_id topic request_id module function channel messages dropped "
                "expires_in_ms tracer log");
    expect_at(one, "function", "\"get\"");
    allow_tracing();
    expect_term(rig_answer("stop_trace_functions", "[{:\"Elixir.MyApp\", :get}]"),
                "{:ok, %{mfas: [{MyApp, :get, :_}], results: %{\"{MyApp, :get, :_}\" => 1}}}");
    expect_term(rig_answer("traces", "[]"), "[]");
}

/* What is left of it would be LeakSanitizer's to tell. */
static void a_page_that_waits_when_the_server_ends_is_let_go(void **state)
{
    (void)state;
    const struct rpc_call call = {.shape = RPC_SHAPE_REX, .group_leader = SLICE_LIT("a leader")};
    struct page_waiter *w = page_wait(&server, &call, NULL, NULL);
    assert_non_null(w);
    w = NULL; /* the server's alone */
    assert_int_equal(rpc_later_count(server.later), 1);
    server_rpc_end(&server);
    assert_null(server.later);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_start, rig_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(health_has_the_keys_of_the_library_and_one_more),
        TEST(a_part_is_shown_by_its_name_and_process),
        TEST(a_part_with_a_process_of_its_own_shows_that_one),
        TEST(what_is_not_there_is_not_called_well),
        TEST(the_worst_check_is_the_status_of_all),
        TEST(memory_over_the_bound_degrades_the_vm_check),
        TEST(a_process_table_that_is_nearly_full_degrades_the_vm_check),
        TEST(uptime_says_how_long_ago_one_asked),
        TEST(statistics_have_the_keys_of_the_library_and_one_more),
        TEST(numbers_without_a_meaning_are_zero_and_the_others_are_not),
        TEST(a_part_that_is_not_there_is_an_error_in_its_place),
        TEST(the_store_is_counted),
        TEST(only_counters_that_count_something_are_shown),
        TEST(a_pool_is_asked_by_name),
        TEST(a_debug_report_shows_every_process_when_there_are_few),
        TEST(a_debug_report_is_as_long_as_asked_for_and_no_longer_than_its_bound),
        TEST(tables_are_named_as_elixir_shows_them),
        TEST(a_flow_has_the_keys_of_the_library),
        TEST(the_phases_come_in_the_order_of_the_library),
        TEST(each_kind_of_permission_has_a_strategy),
        TEST(hooks_are_shown_with_their_arity),
        TEST(the_rate_limits_of_the_function_are_shown),
        TEST(a_function_that_is_not_there_says_so),
        TEST(a_version_that_is_not_there_shows_the_latest),
        TEST(choosing_nodes_by_a_key_can_be_shown),
        TEST(nodes_of_a_function_that_gives_them_are_unknown_at_first),
        TEST(terms_of_any_kind_find_nothing),
        TEST(long_names_do_not_break_a_description),
        TEST(a_request_is_inspected_by_atom_or_text_keys),
        TEST(what_is_no_map_is_no_request),
        TEST(flows_are_listed_by_service_and_type_disabled_ones_when_asked_for),
        TEST(a_list_of_flows_is_bounded),
        TEST(the_cluster_is_shown_as_seen_from_here),
        TEST(options_that_are_no_keyword_list_are_refused),
        TEST(the_library_s_own_module_has_them_too),
        TEST(tracing_is_denied_unless_the_configuration_allows_it),
        TEST(a_tracer_must_be_a_process_of_the_asking_node),
        TEST(stopping_what_is_not_on_stops_nothing),
        TEST(functions_to_stop_are_read_and_named_once),
        TEST(the_traces_that_are_on_are_listed),
        TEST(a_page_that_waits_when_the_server_ends_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
