/* test_observer.c: what the node says of itself to Observer and etop (08 §5, D-20..D-23): shapes, bounds, and the answers
 * that would crash Observer. Terms are compared as Elixir prints them. */
#include "unit.h"

#include "../../c_src/server/observer.h"
#include "term_text.h"

static struct server server;
static struct server_config config;
static struct buf term, out, text;

static const struct process_ops channel_ops = {.kind = "channel"};

static int setup(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    snprintf(server.self.name, sizeof(server.self.name), "gw@127.0.0.1");
    server.self.creation = 77;
    config.limits.max_processes = 10000;
    server.config = &config;
    server.started_us = clock_now_us() - 5000000;
    timers_init(&server.timers, clock_now_us());
    buf_init(&term, 0);
    buf_init(&out, 0);
    buf_init(&text, 0);
    server.db = config_db_new(&server.metrics, 1000);
    server.failed = config_failed_new(10);
    server.processes = process_table_new(&server.self, NULL, &server.metrics, 10000);
    assert_non_null(server.processes);
    assert_int_equal(server_rpc_start(&server), BG_OK);
    assert_int_equal(observer_start(&server), BG_OK);
    return server.db && server.failed ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    observer_end(&server);
    server_rpc_end(&server);
    process_table_free(server.processes);
    config_db_free(server.db);
    config_failed_free(server.failed);
    timers_fini(&server.timers);
    buf_fini(&term);
    buf_fini(&out);
    buf_fini(&text);
    return 0;
}

static enum rpc_outcome run_raw(const char *module, const char *function, struct slice args)
{
    struct rpc_call call = {.module = slice_str(module), .function = slice_str(function)};
    bool known;
    buf_reset(&out);
    enum rpc_outcome outcome = rpc_run(&server.rpc, &call, args, &out, &known);
    assert_true(known);
    return outcome;
}

/* The answer is one well-formed term; its text. */
static const char *printed(void)
{
    size_t used;
    assert_true(buf_ok(&out));
    assert_int_equal(term_check(out.data, out.len, TERM_DEPTH_DEFAULT, &used, NULL), BG_OK);
    assert_int_equal(used, out.len);
    buf_reset(&text);
    term_inspect(buf_slice(&out), &text, 1 << 20);
    buf_putc(&text, '\0');
    return (const char *)text.data;
}

static const char *answer(const char *module, const char *function, const char *args)
{
    assert_int_equal(run_raw(module, function, term_of(&term, args)), RPC_RETURN);
    return printed();
}

static void expect(const char *module, const char *function, const char *args, const char *want)
{
    assert_string_equal(answer(module, function, args), want);
}

static void expect_badarg(const char *module, const char *function, const char *args)
{
    assert_int_equal(run_raw(module, function, term_of(&term, args)), RPC_ERROR);
    assert_string_equal(printed(), ":badarg");
}

static void expect_part(const char *whole, const char *part)
{
    if (!strstr(whole, part))
        fail_msg("no %s in %s", part, whole);
}

/* [pid(p)] as arguments, and item behind it unless NULL. */
static struct slice pid_args(handle_t p, const char *item)
{
    buf_reset(&term);
    term_put_list(&term, item ? 2 : 1);
    node_put_pid(&server.self, &term, p);
    if (item)
        term_put_atom(&term, item);
    term_put_nil(&term);
    return buf_slice(&term);
}

static handle_t start_channels(unsigned n)
{
    handle_t p = HANDLE_NONE;
    for (unsigned i = 0; i < n; i++)
        p = process_start(server.processes, &channel_ops, NULL);
    assert_int_not_equal(p, HANDLE_NONE);
    return p;
}

static void the_system_tab_gets_its_rows(void **state)
{
    (void)state;
    const char *got = answer("observer_backend", "sys_info", "[]");
    expect_part(got, "schedulers: 1");
    expect_part(got, "process_count: 4");
    expect_part(got, "uptime: 5");
    expect_part(got, "ets: 0");
}

/* The System tab divides each count by its limit: a limit of 0 ends Observer. */
static void no_limit_is_ever_zero(void **state)
{
    (void)state;
    const char *got = answer("observer_backend", "sys_info", "[]");
    expect_part(got, "process_limit: 10000");
    expect_part(got, "_limit: ");
    assert_null(strstr(got, "process_limit: 0"));
    assert_null(strstr(got, "port_limit: 0"));
    assert_null(strstr(got, "ets_limit: 0"));
    assert_null(strstr(got, "atom_limit: "));
}

/* 08 §5: "carriers 0" divides by zero in Observer. */
static void the_allocators_tab_is_never_given_a_zero(void **state)
{
    (void)state;
    const char *got = answer("observer_backend", "sys_info", "[]");
    expect_part(got, "alloc_info: [malloc: [{:instance, 0, [mbcs: [{:blocks, [malloc: [{:size, ");
    expect_part(got, "{:carriers_size, ");
    assert_null(strstr(got, "{:carriers_size, 0,"));
}

static void system_info_knows_what_is_asked_and_refuses_the_rest(void **state)
{
    (void)state;
    expect("erlang", "system_info", "[:wordsize]", "8");
    expect("erlang", "system_info", "[:dirty_cpu_schedulers]", "0");
    expect("erlang", "system_info", "[:creation]", "77");
    expect_badarg("erlang", "system_info", "[:alloc_info]");
    expect_badarg("erlang", "system_info", "[1]");
}

static void memory_is_asked_by_name_or_names(void **state)
{
    (void)state;
    expect("erlang", "memory", "[[:atom, :ets]]", "[atom: 0, ets: 0]");
    expect("erlang", "memory", "[:atom]", "0");
    expect_badarg("erlang", "memory", "[[:atom, :nothing]]");
    expect_badarg("erlang", "memory", "[:nothing]");
}

/* Active never exceeds Total: Observer draws their ratio. */
static void the_loop_is_never_busier_than_time_allows(void **state)
{
    (void)state;
    server.started_us = clock_now_us();
    struct busy b = observer_busy(&server);
    assert_true(b.active_us <= b.total_us);
    expect_part(answer("erlang", "statistics", "[:scheduler_wall_time]"), "[{1, ");
    expect_badarg("erlang", "statistics", "[:microstate_accounting]");
}

static void io_counts_clients_and_nodes(void **state)
{
    (void)state;
    metric_add(&server.metrics, METRIC_CLIENT_BYTES_IN, 3);
    metric_add(&server.metrics, METRIC_LINK_BYTES_IN, 4);
    metric_add(&server.metrics, METRIC_CLIENT_BYTES_OUT, 5);
    metric_add(&server.metrics, METRIC_LINK_BYTES_OUT, 6);
    expect("erlang", "statistics", "[:io]", "{{:input, 7}, {:output, 11}}");
}

static void only_what_is_in_the_table_is_exported(void **state)
{
    (void)state;
    expect("erlang", "function_exported", "[:observer_backend, :get_port_list, 0]", "true");
    expect("erlang", "function_exported", "[:observer_backend, :get_port_list, 1]", "false");
    expect("erlang", "function_exported", "[:observer_backend, :get_port_list, 70000]", "false");
    expect_badarg("erlang", "function_exported", "[:observer_backend, :get_port_list, -1]");
    expect("code", "ensure_loaded", "[:observer_backend]", "{:module, :observer_backend}");
    expect("code", "ensure_loaded", "[:lists]", "{:error, :nofile}");
}

/* D-21: name, else kind; chunks end when there are no more. */
static void processes_come_in_chunks(void **state)
{
    (void)state;
    uint32_t pos = 0;
    start_channels(2 * PROCESSES_A_TURN - SERVER_PARTS + 1);
    assert_true(observer_put_processes(&server, &out, &pos, PROCESSES_A_TURN));
    expect_part(printed(), "80, 0, :beamgate, 0, {:beamgate, :wait, 1}, 0}");
    buf_reset(&out);
    assert_true(observer_put_processes(&server, &out, &pos, PROCESSES_A_TURN));
    expect_part(printed(), "80, 0, {:beamgate, :channel, 1}, 0, {:beamgate, :wait, 1}, 0}");
    buf_reset(&out);
    assert_false(observer_put_processes(&server, &out, &pos, PROCESSES_A_TURN));
    struct term_reader r = term_reader(buf_slice(&out));
    uint32_t n;
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(n, 1);
}

static void a_process_is_shown_as_it_is(void **state)
{
    (void)state;
    handle_t channel = start_channels(1), root = observer_root(&server);
    assert_int_equal(run_raw("erlang", "process_info", pid_args(root, "registered_name")), RPC_RETURN);
    assert_string_equal(printed(), "{:registered_name, :beamgate}");
    assert_int_equal(run_raw("erlang", "process_info", pid_args(channel, "registered_name")), RPC_RETURN);
    assert_string_equal(printed(), "[]");
    assert_int_equal(run_raw("erlang", "process_info", pid_args(channel, "initial_call")), RPC_RETURN);
    assert_string_equal(printed(), "{:initial_call, {:beamgate, :channel, 1}}");
    assert_int_equal(run_raw("erlang", "process_info", pid_args(channel, "no_such_item")), RPC_ERROR);
    assert_int_equal(run_raw("erlang", "process_info", pid_args(channel, NULL)), RPC_RETURN);
    expect_part(printed(), "garbage_collection: [min_heap_size: 0, fullsweep_after: 0]");
}

static void a_process_that_has_ended_is_undefined(void **state)
{
    (void)state;
    handle_t p = start_channels(1);
    process_end_atom(server.processes, p, "normal");
    assert_int_equal(run_raw("erlang", "process_info", pid_args(p, "memory")), RPC_RETURN);
    assert_string_equal(printed(), ":undefined");
    assert_int_equal(run_raw("erlang", "garbage_collect", pid_args(p, NULL)), RPC_RETURN);
    assert_string_equal(printed(), "false");
    expect_badarg("erlang", "process_info", "[:rex, :memory]");
    expect_badarg("erlang", "garbage_collect", "[1]");
}

/* 08 §5: a tree whose root is not among its processes is a function_clause in Observer. */
static void the_tree_holds_its_root_however_many_channels_there_are(void **state)
{
    (void)state;
    start_channels(3 * TREE_NODES);
    observer_put_tree(&server, &out);
    struct term_reader r = term_reader(buf_slice(&out));
    struct slice root, names;
    uint32_t arity, n;
    assert_int_equal(term_read_tuple(&r, &arity), BG_OK);
    assert_int_equal(arity, 4);
    assert_int_equal(term_skip(&r, &root), BG_OK);
    assert_int_equal(term_skip(&r, &names), BG_OK);
    r = term_reader(names);
    assert_int_equal(term_read_list(&r, &n), BG_OK);
    assert_int_equal(n, TREE_NODES + 1);
    struct slice name;
    assert_int_equal(term_read_tuple(&r, &arity), BG_OK);
    assert_int_equal(term_skip(&r, &name), BG_OK);
    assert_int_equal(term_skip(&r, &name), BG_OK);
    assert_true(slice_eq(name, root));
    expect_part(printed(), "{~c\"beamgate_clients\", ~c\"channel <0.5.");
    expect_part(printed(), "{~c\"beamgate_clients\", ~c\"over 1000 processes more\"}");
}

static void put_config(const char *type)
{
    static struct fun_config_reasons why;
    struct fun_config *fc = fun_config_from_term(config_term(&term, "request_type", type, NULL), SLICE_NONE, &why);
    assert_non_null(fc);
    assert_int_equal(config_db_put(server.db, fc, SLICE_LIT("source")), BG_OK);
    fun_config_unref(fc);
}

static void the_stores_are_tables(void **state)
{
    (void)state;
    put_config("\"a\"");
    put_config("\"b\"");
    const char *list = answer("observer_backend", "get_table_list", "[:ets, []]");
    expect_part(list, "name: PhoenixGenApi.ConfigDb, id: :ignore, protection: :protected");
    expect_part(list, "name: PhoenixGenApi.ConfigFailed");
    expect("observer_backend", "get_table_list", "[:mnesia, []]", "[]");
    expect("ets", "info", "[PhoenixGenApi.ConfigDb, :size]", "2");
    expect("ets", "info", "[:other, :size]", ":undefined");
    expect("ets", "info", "[:other]", ":undefined");
    expect_badarg("ets", "info", "[PhoenixGenApi.ConfigDb, :no_such_item]");
}

static void objects_come_a_hundred_at_a_time(void **state)
{
    (void)state;
    uint64_t pos = 0;
    const struct observer_table *configs = observer_table_of(&server, term_of(&term, "PhoenixGenApi.ConfigDb"));
    assert_non_null(configs);
    for (unsigned i = 0; i < TABLE_ROWS_A_MESSAGE + 1; i++) {
        char type[16];
        snprintf(type, sizeof(type), "\"t%u\"", i);
        put_config(type);
    }
    assert_int_equal(observer_put_rows(&server, configs, &pos, &out), TABLE_ROWS_A_MESSAGE);
    expect_part(printed(), "{{\"user\", \"t0\", nil}, %PhoenixGenApi.Structs.FunConfig{");
    buf_reset(&out);
    assert_int_equal(observer_put_rows(&server, configs, &pos, &out), 1);
    buf_reset(&out);
    assert_int_equal(observer_put_rows(&server, configs, &pos, &out), 0);
    assert_string_equal(printed(), "[]");
}

/* A string is a list of characters, not of bytes: Observer shows it as it is. */
static void strings_are_lists_of_characters(void **state)
{
    (void)state;
    put_string(&out, "gr\xc3\xb6\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_string_equal(printed(), "[103, 114, 246, 223, 101, 32, 8364, 32, 128512]");
    buf_reset(&out);
    put_string(&out, "plain");
    assert_string_equal(printed(), "~c\"plain\"");
    buf_reset(&out);
    put_string(&out, "\xff\xfe"); /* no text: its bytes */
    printed();
    buf_reset(&out);
    put_string(&out, "");
    assert_string_equal(printed(), "[]");
}

/* An estimate of nothing is not shown: the tables of rate limits come and go with the limiter. */
static void counters_of_rate_limits_are_tables(void **state)
{
    (void)state;
    const struct rate_limiter_options o = {&server.metrics, RATE_BYTES_MIN, true};
    const struct rate_limit limit = {.key = {.kind = RATE_KEY_USER_ID}, .max_requests = 5, .window_ms = 1000};
    const struct rate_subject s = {.function = {SLICE_LIT("svc"), SLICE_LIT("f")}, .user_id = SLICE_LIT("u1")};
    struct rate_result res;
    struct err e;
    expect("ets", "whereis", "[:rate_limiter_global]", ":undefined");
    uint32_t before = observer_table_count(&server);
    server.limiter = rate_limiter_new(&o);
    assert_int_equal(rate_limiter_set_global(server.limiter, &limit, 1, &e), BG_OK);
    assert_int_equal(rate_limiter_check(server.limiter, server.timers.now_us, &s, &res), RATE_ALLOWED);
    assert_int_equal(observer_table_count(&server), before + 2);
    expect("ets", "tab2list", "[:rate_limiter_global]", "[{{\"user_id\", \"u1\"}, 1, 5, 1000, 0}]");
    expect("ets", "lookup", "[:rate_limiter_global, {\"user_id\", \"u1\"}]", "[{{\"user_id\", \"u1\"}, 1, 5, 1000, 0}]");
    expect("ets", "lookup", "[:rate_limiter_global, {\"user_id\", \"u2\"}]", "[]");
    expect("ets", "member", "[:rate_limiter_api, 1]", "false");
    expect("ets", "info", "[:rate_limiter_api, :size]", "0");
    rate_limiter_free(server.limiter);
    server.limiter = NULL;
}

/* What does not fit one answer is refused, not cut: a part would be taken for the whole. */
static void a_table_that_is_too_large_for_one_answer_is_not_cut(void **state)
{
    (void)state;
    config_db_free(server.db);
    server.db = config_db_new(&server.metrics, TABLE_ROWS_SHOWN + 1);
    for (unsigned i = 0; i < TABLE_ROWS_SHOWN + 1; i++) {
        char type[16];
        snprintf(type, sizeof(type), "\"t%u\"", i);
        put_config(type);
    }
    assert_int_equal(run_raw("ets", "tab2list", term_of(&term, "[PhoenixGenApi.ConfigDb]")), RPC_EXIT);
    assert_string_equal(printed(), ":system_limit");
    expect("ets", "member", "[PhoenixGenApi.ConfigDb, {\"user\", \"t7\", nil}]", "true");
}

static void only_numbers_and_switches_of_the_configuration_are_told(void **state)
{
    (void)state;
    expect_part(answer("application", "get_env", "[:beamgate, :limits]"), "{:ok, [");
    expect_part(answer("application", "get_env", "[:beamgate, :limits]"), "max_processes: 10000");
    expect("application", "get_env", "[:beamgate, :no_such]", ":undefined");
    expect("application", "get_env", "[:other, :limits, 7]", "7");
    expect("application", "get_all_env", "[:other]", "[]");
    assert_null(strstr(answer("application", "get_all_env", "[:beamgate]"), "cookie"));
    expect("os", "type", "[]", "{:unix, :linux}");
    expect_badarg("os", "system_time", "[:fortnight]");
}

/* Without a connection there is nobody to send to; and what is no table cannot be read. */
static void workers_need_somebody_to_work_for(void **state)
{
    (void)state;
    uint32_t before = process_count(server.processes);
    assert_int_equal(run_raw("observer_backend", "fetch_stats", term_of(&term, "[:pid, 500]")), RPC_ERROR);
    assert_int_equal(run_raw("observer_backend", "procs_info", term_of(&term, "[:pid]")), RPC_ERROR);
    assert_int_equal(run_raw("observer_backend", "etop_collect", term_of(&term, "[:pid]")), RPC_ERROR);
    assert_int_equal(run_raw("appmon_info", "start_link2", term_of(&term, "[:pid, :pid, []]")), RPC_EXIT);
    expect_badarg("observer_backend", "get_table", "[:pid, :other, :ets]");
    assert_int_equal(process_count(server.processes), before);
    assert_int_equal(server.observer.worker_count, 0);
}

static void what_it_has_none_of_is_empty(void **state)
{
    (void)state;
    expect("observer_backend", "get_port_list", "[]", "[]");
    expect("observer_backend", "get_socket_list", "[]", "[]");
    expect("observer_backend", "socket_info", "[]", "[num_sockets: 0, num_tstreams: 0, num_ptcp: 0, num_monitors: 0]");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_system_tab_gets_its_rows),
        TEST(no_limit_is_ever_zero),
        TEST(the_allocators_tab_is_never_given_a_zero),
        TEST(system_info_knows_what_is_asked_and_refuses_the_rest),
        TEST(memory_is_asked_by_name_or_names),
        TEST(the_loop_is_never_busier_than_time_allows),
        TEST(io_counts_clients_and_nodes),
        TEST(only_what_is_in_the_table_is_exported),
        TEST(processes_come_in_chunks),
        TEST(a_process_is_shown_as_it_is),
        TEST(a_process_that_has_ended_is_undefined),
        TEST(the_tree_holds_its_root_however_many_channels_there_are),
        TEST(the_stores_are_tables),
        TEST(objects_come_a_hundred_at_a_time),
        TEST(strings_are_lists_of_characters),
        TEST(counters_of_rate_limits_are_tables),
        TEST(a_table_that_is_too_large_for_one_answer_is_not_cut),
        TEST(only_numbers_and_switches_of_the_configuration_are_told),
        TEST(workers_need_somebody_to_work_for),
        TEST(what_it_has_none_of_is_empty),
    };
    return cmocka_run_group_tests_name("observer", tests, NULL, NULL);
}
