/* test_pg_scope.c: what is said to pg, and nothing else, since pg dies of anything else (K-026, D-24). */
#include "dist_world.h"

#include "pg_scope.h"

#define PEER "<svc@h:9.1>"

static unsigned heard;
static const struct slice groups[] = {SLICE_LIT("Elixir.A.Adapter"), SLICE_LIT("Elixir.A.Adapter_2")};

static void on_message(void *ctx, struct slice msg)
{
    (void)ctx;
    (void)msg;
    heard++;
}

static struct pg_scope *join_scope(void)
{
    struct err e = {0};
    const struct pg_options o = {&fake_self, &fake_cluster, world.pt, &world.timers, "Elixir.P", groups, 2, on_message, NULL};
    struct pg_scope *pg = pg_scope_new(&o, &e);
    if (!pg)
        fail_msg("%s", e.text);
    pg_scope_link_up(pg, world.l);
    return pg;
}

/* The same with what goes out at once; scope: the pid that others know. */
static struct pg_scope *join(char scope[64])
{
    struct pg_scope *pg = join_scope();
    char *sent = fake_sent(world.l);
    assert_non_null(sent);
    assert_non_null(strstr(sent, "{19,")); /* a monitor on its name */
    assert_non_null(strstr(sent, "Elixir.P"));
    free(sent);
    sent = fake_sent(world.l);
    assert_non_null(sent);
    char *at = strstr(sent, "{discover,");
    assert_non_null(at);
    slice_cstr(slice_make(at + 10, strcspn(at + 10, "}")), scope, 64);
    free(sent);
    heard = 0;
    return pg;
}

static void a_discover_is_answered_with_our_groups(void **state)
{
    (void)state;
    static const char *const asked[] = {"{discover," PEER "}", "{discover," PEER ",1}"};
    char scope[64];
    struct pg_scope *pg = join(scope);
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
        feed(textf("{2,'',%s}", scope), asked[i]);
        char *sent = fake_sent(world.l);
        assert_non_null(sent);
        assert_non_null(strstr(sent, "{'$gen_cast',{sync,"));
        assert_non_null(strstr(sent, "{'Elixir.A.Adapter',["));
        assert_non_null(strstr(sent, "{'Elixir.A.Adapter_2',["));
        free(sent);
    }
    pg_scope_free(pg);
}

static void nothing_else_is_ever_answered(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "bogus", "{discover}", "{discover,17}", "{discover," PEER ",1,2}", "{'$gen_cast',{sync," PEER ",[{g,[" PEER "]}]}}",
        "{'$gen_cast',{sync,x}}", "{join," PEER ",g," PEER "}", "{leave," PEER "," PEER ",[g]}", "[]", "#{}", "{}"};
    char scope[64];
    struct pg_scope *pg = join(scope);
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        feed(textf("{2,'',%s}", scope), odd[i]);
        char *sent = fake_sent(world.l);
        if (sent)
            fail_msg("%s was answered with %s", odd[i], sent);
    }
    assert_int_equal(heard, 0);
    feed("{6," PEER ",'','Elixir.A.Adapter_2'}", "{forward_to_local,<<\"t\">>,m,d}"); /* direct_broadcast */
    assert_int_equal(heard, 1);
    pg_scope_free(pg);
}

static void a_node_that_goes_is_forgotten(void **state)
{
    (void)state;
    char scope[64];
    struct pg_scope *pg = join(scope);
    assert_int_equal(pg_scope_peers(pg), 1);
    link_down(world.l);
    assert_int_equal(pg_scope_peers(pg), 0);
    pg_scope_free(pg);
}

/* The scope there has ended, or was never there: our monitor fires, by the reference with which it was set. */
static void scope_ends(struct dist_link *l, const char *monitor, const char *reason)
{
    const char *pid = strchr(monitor, '<'), *ref = strrchr(monitor, '&');
    char to[64], what[96];
    assert_true(pid && ref);
    slice_cstr(slice_make(pid, strcspn(pid, ">") + 1), to, sizeof(to));
    slice_cstr(slice_make(ref, strcspn(ref, "}")), what, sizeof(what));
    feed_from(l, textf("{21,'Elixir.P',%s,%s,%s}", to, what, reason), NULL);
}

/* What it takes to join: {19, Us, Scope, Ref}, which the caller frees, and {discover, Us}. */
static char *expect_join(struct dist_link *l)
{
    char *monitor = fake_sent(l), *discover = fake_sent(l);
    assert_true(monitor && discover);
    assert_non_null(strstr(monitor, "{19,"));
    assert_non_null(strstr(discover, "{discover,"));
    free(discover);
    expect_nothing(l);
    return monitor;
}

static void wait_us(uint64_t us)
{
    timers_run(&world.timers, world.timers.now_us + us, 0);
}

static void a_scope_that_is_not_there_is_asked_ever_more_rarely(void **state)
{
    (void)state;
    struct pg_scope *pg = join_scope();
    for (uint64_t us = 500000, all = 0; all < 120000000; all += us, us = us * 2 < 30000000 ? us * 2 : 30000000) {
        char *monitor = expect_join(world.l);
        scope_ends(world.l, monitor, "noproc");
        free(monitor);
        wait_us(us - 1);
        expect_nothing(world.l);
        wait_us(1);
    }
    free(expect_join(world.l));
    pg_scope_free(pg);
}

/* Else a node without the scope whose link comes and goes would be asked once more at each of its returns, for ever. */
static void a_node_that_is_back_before_it_was_asked_again_is_known_once(void **state)
{
    (void)state;
    struct pg_scope *pg = join_scope();
    for (int i = 0; i < 3; i++) {
        char *monitor = expect_join(world.l);
        scope_ends(world.l, monitor, "noproc");
        free(monitor);
        link_down(world.l);
        world.l = fake_link_up(0, "svc@h");
        pg_scope_link_up(pg, world.l);
        assert_int_equal(pg_scope_peers(pg), 1);
    }
    free(expect_join(world.l));
    wait_us(120000000);
    expect_nothing(world.l);
    pg_scope_free(pg);
}

static void a_node_that_is_gone_when_it_is_to_be_asked_again_is_forgotten(void **state)
{
    (void)state;
    struct pg_scope *pg = join_scope();
    char *monitor = expect_join(world.l);
    scope_ends(world.l, monitor, "noproc");
    free(monitor);
    link_down(world.l);
    assert_int_equal(pg_scope_peers(pg), 1);
    wait_us(500000);
    assert_int_equal(pg_scope_peers(pg), 0);
    pg_scope_free(pg);
}

/* The wait that grew while there was no scope is not held against the one that came. */
static void a_scope_that_answered_and_ended_is_asked_again_soon(void **state)
{
    (void)state;
    struct pg_scope *pg = join_scope();
    char *monitor = expect_join(world.l);
    for (int i = 0; i < 5; i++) {
        scope_ends(world.l, monitor, "noproc");
        free(monitor);
        wait_us(30000000);
        monitor = expect_join(world.l);
    }
    char us[64];
    slice_cstr(slice_make(strchr(monitor, '<'), strcspn(strchr(monitor, '<'), ">") + 1), us, sizeof(us));
    feed(textf("{2,'',%s}", us), "{discover," PEER "}");
    free(fake_sent(world.l)); /* the sync */
    scope_ends(world.l, monitor, "shutdown");
    free(monitor);
    wait_us(500000);
    free(expect_join(world.l));
    pg_scope_free(pg);
}

static void a_link_that_takes_no_more_is_tried_again(void **state)
{
    (void)state;
    world.l->refuse = true;
    struct pg_scope *pg = join_scope();
    expect_nothing(world.l);
    world.l->refuse = false;
    wait_us(500000);
    free(expect_join(world.l));
    pg_scope_free(pg);
}

static void a_group_whose_name_is_taken_is_an_error_with_a_text(void **state)
{
    (void)state;
    static const struct slice twice[] = {SLICE_LIT("Elixir.A.Adapter"), SLICE_LIT("Elixir.A.Adapter")};
    const struct pg_options o = {&fake_self, &fake_cluster, world.pt, &world.timers, "Elixir.P", twice, 2, on_message, NULL};
    uint32_t before = process_count(world.pt);
    struct err e = {0};
    assert_null(pg_scope_new(&o, &e));
    assert_int_equal(e.code, BG_EEXIST);
    assert_non_null(strstr(e.text, "Elixir.P"));
    assert_int_equal(process_count(world.pt), before);
}

static void an_exit_signal_ends_neither_scope_nor_member(void **state)
{
    (void)state;
    char scope[64];
    struct pg_scope *pg = join(scope);
    uint32_t before = process_count(world.pt);
    feed(textf("{8," PEER ",%s,kill}", scope), NULL);
    assert_int_equal(process_count(world.pt), before);
    pg_scope_free(pg);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_discover_is_answered_with_our_groups),
        TEST(nothing_else_is_ever_answered),
        TEST(a_node_that_goes_is_forgotten),
        TEST(a_scope_that_is_not_there_is_asked_ever_more_rarely),
        TEST(a_node_that_is_back_before_it_was_asked_again_is_known_once),
        TEST(a_node_that_is_gone_when_it_is_to_be_asked_again_is_forgotten),
        TEST(a_scope_that_answered_and_ended_is_asked_again_soon),
        TEST(a_link_that_takes_no_more_is_tried_again),
        TEST(a_group_whose_name_is_taken_is_an_error_with_a_text),
        TEST(an_exit_signal_ends_neither_scope_nor_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
