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

static struct pg_scope *join(char scope[64])
{
    struct err e = {0};
    const struct pg_options o = {&fake_self, &fake_cluster, world.pt, &world.timers, "Elixir.P", groups, 2, on_message, NULL};
    struct pg_scope *pg = pg_scope_new(&o, &e);
    if (!pg)
        fail_msg("%s", e.text);
    pg_scope_link_up(pg, world.l);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_discover_is_answered_with_our_groups),
        TEST(nothing_else_is_ever_answered),
        TEST(a_node_that_goes_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
