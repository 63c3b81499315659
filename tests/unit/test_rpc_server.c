/* test_rpc_server.c: finding functions by their names, taking argument lists apart, and the shapes of answers. */
#include "erlang_text.h"
#include "gather.h"
#include "rpc_server.h"

static enum rpc_outcome fn_sum(void *server, const struct rpc_call *call, struct buf *out)
{
    int64_t sum = 0;
    ++*(int *)server;
    for (unsigned i = 0; i < call->argc; i++) {
        struct term_reader r = term_reader(call->argv[i]);
        int64_t v;
        if (term_read_int(&r, &v) != BG_OK)
            return RPC_ERROR;
        sum += v;
    }
    term_put_int(out, sum);
    return RPC_RETURN;
}

static enum rpc_outcome fn_exit(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    term_put_atom(out, "bye");
    return RPC_EXIT;
}

static enum rpc_outcome fn_throw(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    term_put_atom(out, "ball");
    return RPC_THROW;
}

static enum rpc_outcome fn_silent(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    (void)out;
    return RPC_RETURN;
}

static const struct rpc_entry entries[] = {
    {"math", "sum", 3, fn_sum}, {"math", "sum", 0, fn_sum},  {"math", "sum", 255, fn_sum},  {"calc", "sum", 2, fn_sum},
    {"m", "exit", 0, fn_exit},  {"m", "throw", 0, fn_throw}, {"m", "silent", 0, fn_silent},
};

static int server;
static struct rpc_table table;

static int setup(void **state)
{
    (void)state;
    server = 0;
    table = (struct rpc_table){.entries = entries, .count = ARRAY_SIZE(entries), .server = &server};
    return rpc_table_index(&table);
}

static int teardown(void **state)
{
    (void)state;
    rpc_table_fini(&table);
    return 0;
}

static const char *text_of(struct buf *term)
{
    static char out[512];
    struct buf b;
    struct term_reader r = term_reader(buf_slice(term));
    buf_init(&b, 0);
    text_print(&b, &r);
    assert_true(term_at_end(&r));
    slice_cstr(buf_slice(&b), out, sizeof(out));
    buf_fini(&b);
    return out;
}

/* Runs module:function(args) and returns the answer in one of the three shapes as text. */
static const char *answer(const char *module, const char *function, const char *args, char shape, bool *known)
{
    struct rpc_call call = {.module = slice_str(module), .function = slice_str(function)};
    struct buf in, value, shaped, ref;
    buf_init(&in, 0);
    buf_init(&value, 0);
    buf_init(&shaped, 0);
    buf_init(&ref, 0);
    put_text(&in, args);
    term_put_int(&ref, 5);
    enum rpc_outcome outcome = rpc_run(&table, &call, buf_slice(&in), &value, known);
    if (shape == 'e')
        rpc_put_erpc(&shaped, buf_slice(&ref), &call, outcome, buf_slice(&value));
    else if (shape == 'r')
        rpc_put_rex(&shaped, &call, outcome, buf_slice(&value));
    else
        rpc_put_exit_reason(&shaped, &call, outcome, buf_slice(&value));
    const char *text = text_of(&shaped);
    buf_fini(&in);
    buf_fini(&value);
    buf_fini(&shaped);
    buf_fini(&ref);
    return text;
}

static void entry_is_found_by_module_function_and_arity(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
        assert_ptr_equal(
            rpc_find(&table, slice_str(entries[i].module), slice_str(entries[i].function), (unsigned)entries[i].arity),
            &entries[i]);
    assert_null(rpc_find(&table, SLICE_LIT("math"), SLICE_LIT("sum"), 2));
    assert_null(rpc_find(&table, SLICE_LIT("mat"), SLICE_LIT("sum"), 3));
    assert_null(rpc_find(&table, SLICE_LIT("math"), SLICE_LIT("summe"), 3));
    assert_null(rpc_find(&table, SLICE_NONE, SLICE_NONE, 0));
}

static void lookup_without_index_gives_the_same(void **state)
{
    (void)state;
    struct rpc_table plain = {.entries = entries, .count = ARRAY_SIZE(entries), .server = &server};
    for (unsigned arity = 0; arity < 300; arity++)
        assert_ptr_equal(rpc_find(&plain, SLICE_LIT("math"), SLICE_LIT("sum"), arity),
                         rpc_find(&table, SLICE_LIT("math"), SLICE_LIT("sum"), arity));
}

/* gather.h counts who asks: processes of other nodes, not what asks itself. */
static void each_call_is_told_with_the_process_that_makes_it(void **state)
{
    (void)state;
    int link[2];
    struct gather gather = {0};
    struct rpc_table told = {.entries = entries, .count = ARRAY_SIZE(entries), .server = &server, .gather = &gather};
    for (uint32_t i = 0; i < 120; i++) {
        struct rpc_call call = {.module = SLICE_LIT("math"), .function = SLICE_LIT("sum")};
        struct buf pid, value;
        bool known;
        buf_init(&pid, 0);
        buf_init(&value, 0);
        term_put_pid(&pid, &(struct term_pid){.node = SLICE_LIT("a@b"), .id = 100 + i % 30, .creation = 7});
        call.caller = buf_slice(&pid);
        call.link = i < 90 ? (struct dist_link *)(void *)&link[i / 45] : NULL;
        rpc_run(&told, &call, SLICE_LIT("\152"), &value, &known);
        buf_fini(&pid);
        buf_fini(&value);
    }
    int seats = 0;
    for (size_t i = 0; i < ARRAY_SIZE(gather.seats); i++)
        seats += __builtin_popcountll(gather.seats[i]);
    assert_int_equal(gather.requests, 90);
    assert_in_range(seats, 50, 60); /* 30 processes of each node, but for those that share a seat */
}

/* 08 §2.2: [1,2] arrives as a STRING_EXT. */
static void arguments_come_as_list_string_or_nil(void **state)
{
    (void)state;
    bool known;
    assert_string_equal(answer("math", "sum", "[100000,-1,1]", 'e', &known), "{5,return,100000}");
    assert_true(known);
    assert_string_equal(answer("calc", "sum", "\"ab\"", 'e', &known), "{5,return,195}");
    assert_string_equal(answer("math", "sum", "[]", 'e', &known), "{5,return,0}");
    assert_int_equal(server, 3);
}

static void a_call_of_255_arguments_is_the_largest(void **state)
{
    (void)state;
    bool known;
    char args[400] = "\"";
    const char *want = "{5,return,12495}"; /* 255 times '1' */
    memset(args + 1, '1', 255);
    strcpy(args + 256, "\"");
    assert_string_equal(answer("math", "sum", args, 'e', &known), want);
    memset(args + 1, '1', 256);
    strcpy(args + 257, "\"");
    assert_non_null(strstr(answer("math", "sum", args, 'e', &known), "{5,error,badarg,[{math,sum,"));
    assert_int_equal(server, 1);
}

static void improper_argument_list_is_badarg(void **state)
{
    (void)state;
    bool known;
    assert_string_equal(answer("math", "sum", "[1,2,3|4]", 'r', &known),
                        "{badrpc,{'EXIT',{badarg,[{math,sum,[1,2,3|4],[]}]}}}");
    assert_string_equal(answer("math", "sum", "x", 'e', &known), "{5,error,badarg,[{math,sum,x,[]}]}");
    assert_int_equal(server, 0);
}

/* S-003, S-122, D-15: undef in exact BEAM shape. */
static void unknown_function_is_undef_as_from_a_beam(void **state)
{
    (void)state;
    bool known = true;
    assert_string_equal(answer("math", "sum", "[1,a]", 'e', &known), "{5,error,undef,[{math,sum,[1,a],[]}]}");
    assert_false(known);
    assert_string_equal(answer("nomod", "f", "[]", 'r', &known), "{badrpc,{'EXIT',{undef,[{nomod,f,[],[]}]}}}");
    assert_string_equal(answer("nomod", "f", "[x]", 'x', &known), "{undef,[{nomod,f,[x],[]}]}");
}

static void outcomes_take_the_shape_of_their_caller(void **state)
{
    (void)state;
    bool known;
    assert_string_equal(answer("m", "exit", "[]", 'e', &known), "{5,exit,bye}");
    assert_string_equal(answer("m", "exit", "[]", 'r', &known), "{badrpc,{'EXIT',bye}}");
    assert_string_equal(answer("m", "exit", "[]", 'x', &known), "bye");
    assert_string_equal(answer("m", "throw", "[]", 'e', &known), "{5,throw,ball}");
    assert_string_equal(answer("m", "throw", "[]", 'r', &known), "ball"); /* E-183 */
    assert_string_equal(answer("m", "throw", "[]", 'x', &known), "{{nocatch,ball},[{m,throw,0,[]}]}");
    assert_string_equal(answer("m", "silent", "[]", 'r', &known), "ok");
    assert_string_equal(answer("m", "silent", "[]", 'x', &known), "normal");
    assert_string_equal(answer("math", "sum", "[a,b,c]", 'e', &known),
                        "{5,error,function_clause,[{math,sum,[a,b,c],[]}]}");
}

static void apply_runs_what_it_names_and_refuses_funs(void **state)
{
    (void)state;
    bool known;
    assert_string_equal(answer("erlang", "apply", "[math,sum,[1,2,3]]", 'e', &known), "{5,return,6}");
    assert_string_equal(answer("erlang", "apply", "[fun calc:sum/2,[1,2]]", 'e', &known), "{5,return,3}");
    assert_string_equal(answer("erlang", "apply", "[math,sum,[1]]", 'r', &known),
                        "{badrpc,{'EXIT',{undef,[{math,sum,[1],[]}]}}}");
    assert_string_equal(answer("erlang", "apply", "[math,sum,x]", 'e', &known), "{5,error,badarg,[{math,sum,x,[]}]}");
    assert_string_equal(answer("erlang", "apply", "[notafun,[]]", 'e', &known),
                        "{5,error,undef,[{erlang,apply,[notafun,[]],[]}]}");
    assert_false(known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entry_is_found_by_module_function_and_arity, setup, teardown),
        cmocka_unit_test_setup_teardown(lookup_without_index_gives_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(each_call_is_told_with_the_process_that_makes_it, setup, teardown),
        cmocka_unit_test_setup_teardown(arguments_come_as_list_string_or_nil, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_of_255_arguments_is_the_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(improper_argument_list_is_badarg, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_function_is_undef_as_from_a_beam, setup, teardown),
        cmocka_unit_test_setup_teardown(outcomes_take_the_shape_of_their_caller, setup, teardown),
        cmocka_unit_test_setup_teardown(apply_runs_what_it_names_and_refuses_funs, setup, teardown),
    };
    return cmocka_run_group_tests_name("rpc_server", tests, NULL, NULL);
}
