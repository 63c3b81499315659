/* test_rpc_table.c: what the functions of the table answer, as a remote caller's rpc gets it (04 §5-§8). */
#include "unit.h"

#include "../../c_src/server/server_state.h"
#include "term_text.h"

static struct server server;
static struct buf term, out, want;

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
    return server.db && server.failed ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
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
    struct rpc_table table = {.entries = rpc_entries, .count = rpc_entries_count, .server = &server};
    struct rpc_call call = {.module = slice_str(module), .function = slice_str(function)};
    buf_reset(&out);
    buf_reset(&term);
    return rpc_run(&table, &call, term_of(&term, args), &out, known);
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

#define CONFIG_DB "Elixir.PhoenixGenApi.ConfigDb"

static void the_node_says_who_it_is(void **state)
{
    (void)state;
    expect("erlang", "node", "[]", ":\"gw@127.0.0.1\"");
    expect("erlang", "is_alive", "[]", "true");
}

/* S-008. */
static void no_module_is_ever_loaded(void **state)
{
    (void)state;
    expect("Elixir.Code", "ensure_loaded?", "[:lists]", "false");
    expect("Elixir.Code", "ensure_loaded", "[:lists]", "{:error, :nofile}");
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
        TEST(no_module_is_ever_loaded),
        TEST(an_empty_store_has_no_functions),
        TEST(functions_are_listed_by_service_type_and_version),
        TEST(a_service_named_by_atom_and_by_text_is_one_group),
        TEST(whereis_wants_an_atom),
        TEST(what_is_not_in_the_table_is_undef),
    };
    return cmocka_run_group_tests_name("rpc_table", tests, NULL, NULL);
}
