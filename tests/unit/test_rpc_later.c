/* test_rpc_later.c: calls of other nodes that are answered later, in each of the shapes that callers know (S-002,
 * S-003, S-005; 08 §3.2, §4.1). */
#include "dist_world.h"

#define A "<svc@h:5.1>"
#define REF "&svc@h:1.2.3"
#define RES "&svc@h:7"

static void answer(enum rpc_outcome outcome, const char *atom)
{
    struct buf b;
    buf_init(&b, 0);
    term_put_atom(&b, atom);
    rpc_later_answer(world.later, world.waiter, outcome, buf_slice(&b));
    buf_fini(&b);
}

static void call_by_erpc(void)
{
    feed("{29," REF "," A "," A ",{erpc,execute_call,4},[monitor]}", "[" RES ",m,wait,[x]]");
    expect_sent(world.l, textf("{31," REF "," A ",2,%s}", pid_text(world.waiter)));
    expect_nothing(world.l);
}

static void erpc_call_ends_its_process_with_the_outcome_when_it_is_there(void **state)
{
    (void)state;
    static const struct {
        enum rpc_outcome outcome;
        const char *reason;
    } cases[] = {
        {RPC_RETURN, "{" RES ",return,it}"},
        {RPC_ERROR, "{" RES ",error,it,[{m,wait,1,[]}]}"},
        {RPC_EXIT, "{" RES ",exit,it}"},
        {RPC_THROW, "{" RES ",throw,it}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        call_by_erpc();
        assert_int_equal(rpc_later_count(world.later), 1);
        answer(cases[i].outcome, "it");
        expect_sent(world.l, textf("{21,%s," A "," REF ",%s}", pid_text(world.waiter), cases[i].reason));
        assert_false(process_alive(world.pt, world.waiter));
        assert_int_equal(rpc_later_count(world.later), 0);
    }
    assert_int_equal(world.gone, 0);
    assert_int_equal(process_relations(world.pt), 0);
}

static void rex_call_is_answered_with_its_tag(void **state)
{
    (void)state;
    feed("{6," A ",'',rex}", "{'$gen_call',{" A ",[alias|" REF "]},{call,m,wait,[x],user}}");
    expect_nothing(world.l);
    handle_t w = world.waiter;
    answer(RPC_RETURN, "it");
    expect_sent(world.l, textf("{33,%s," REF "} | {[alias|" REF "],it}", pid_text(w)));
    feed("{6," A ",'',rex}", "{'$gen_call',{" A "," REF "},{call,m,wait,[x],user}}");
    answer(RPC_ERROR, "it");
    expect_sent(world.l, "{2,''," A "} | {" REF ",{badrpc,{'EXIT',{it,[{m,wait,1,[]}]}}}}");
    expect_nothing(world.l);
    assert_int_equal(rpc_later_count(world.later), 0);
}

static void spawned_function_ends_normally_when_it_is_done(void **state)
{
    (void)state;
    feed("{29," REF "," A "," A ",{m,wait,1},[monitor]}", "[x]");
    expect_sent(world.l, textf("{31," REF "," A ",2,%s}", pid_text(world.waiter)));
    answer(RPC_RETURN, "it");
    expect_sent(world.l, textf("{21,%s," A "," REF ",normal}", pid_text(world.waiter)));
}

static void cast_runs_to_its_end_and_says_nothing(void **state)
{
    (void)state;
    feed("{6," A ",'',rex}", "{'$gen_cast',{cast,m,wait,[x],user}}");
    assert_int_equal(rpc_later_count(world.later), 1);
    answer(RPC_RETURN, "it");
    expect_nothing(world.l);
    assert_int_equal(rpc_later_count(world.later), 0);
}

/* The request of old code carries nothing by which an answer could be told from others. */
static void caller_that_cannot_wait_is_not_left_hanging(void **state)
{
    (void)state;
    feed("{6," A ",'',rex}", "{" A ",{call,m,wait,[x],user}}");
    expect_sent(world.l, "{2,''," A "} | {rex,{badrpc,{'EXIT',cannot_wait}}}");
    assert_int_equal(rpc_later_count(world.later), 0);
}

static void more_than_the_limit_are_told_at_once(void **state)
{
    (void)state;
    call_by_erpc();
    feed("{6," A ",'',rex}", "{'$gen_cast',{cast,m,wait,[x],user}}");
    feed("{29,&svc@h:9," A "," A ",{erpc,execute_call,4},[monitor]}", "[" RES ",m,wait,[x]]");
    char *reply = fake_sent(world.l);
    free(reply);
    char *end = fake_sent(world.l);
    assert_non_null(end);
    assert_non_null(strstr(end, "{" RES ",exit,cannot_wait}"));
    free(end);
    assert_int_equal(rpc_later_count(world.later), WORLD_WAITERS);
}

static void messages_reach_the_one_who_works_on_it(void **state)
{
    (void)state;
    call_by_erpc();
    feed(textf("{22," A ",%s}", pid_text(world.waiter)), "hello");
    assert_string_equal(world.heard, "hello");
}

/* S-005 and its kin: a caller that dies takes its monitor back, then nothing is sent; exit/2 ends the work. */
static void caller_that_gives_up_gets_nothing(void **state)
{
    (void)state;
    call_by_erpc();
    feed(textf("{20," A ",%s," REF "}", pid_text(world.waiter)), NULL);
    answer(RPC_RETURN, "it");
    expect_nothing(world.l);
    feed("{29,&svc@h:9," A "," A ",{m,wait,1},[monitor]}", "[x]");
    expect_sent(world.l, textf("{31,&svc@h:9," A ",2,%s}", pid_text(world.waiter)));
    feed(textf("{26," A ",%s}", pid_text(world.waiter)), "normal");
    assert_int_equal(world.gone, 0);
    feed(textf("{26," A ",%s}", pid_text(world.waiter)), "stop");
    expect_sent(world.l, textf("{21,%s," A ",&svc@h:9,stop}", pid_text(world.waiter)));
    assert_int_equal(world.gone, 1);
    answer(RPC_RETURN, "it");
    expect_nothing(world.l);
}

static void answer_after_the_link_is_lost_goes_nowhere(void **state)
{
    (void)state;
    feed("{6," A ",'',rex}", "{'$gen_call',{" A "," REF "},{call,m,wait,[x],user}}");
    link_down(world.l);
    answer(RPC_RETURN, "it");
    assert_int_equal(rpc_later_count(world.later), 0);
    expect_nothing(world.l);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(erpc_call_ends_its_process_with_the_outcome_when_it_is_there),
        TEST(rex_call_is_answered_with_its_tag),
        TEST(spawned_function_ends_normally_when_it_is_done),
        TEST(cast_runs_to_its_end_and_says_nothing),
        TEST(caller_that_cannot_wait_is_not_left_hanging),
        TEST(more_than_the_limit_are_told_at_once),
        TEST(messages_reach_the_one_who_works_on_it),
        TEST(caller_that_gives_up_gets_nothing),
        TEST(answer_after_the_link_is_lost_goes_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
