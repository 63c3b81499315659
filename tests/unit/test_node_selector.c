/* test_node_selector.c: on which node to call (E-160..E-169). */
#include "unit.h"

#include "map.h"
#include "node_selector.h"
#include "phash2.h"
#include "term_text.h"

enum { MAX = 8 };

struct fixture {
    struct node_selector *s;
    struct fun_config *fc;
    struct node_choice choice;
    const char *down; /* a node that is down, or NULL */
    uint64_t next_random;
    uint16_t order[MAX];
    uint32_t count;
};

static uint64_t counting_random(void *ctx)
{
    return ((struct fixture *)ctx)->next_random++;
}

static bool node_up(void *ctx, struct slice node)
{
    const struct fixture *f = ctx;
    return !f->down || !slice_is(node, f->down);
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    f.s = node_selector_new();
    node_selector_set_random(f.s, counting_random, &f);
    f.choice.node_up = node_up;
    f.choice.ctx = &f;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    node_selector_free(f->s);
    fun_config_unref(f->fc);
    return 0;
}

static void use(struct fixture *f, const char *mode, const char *nodes, const char *type)
{
    static struct fun_config_reasons why;
    struct buf b;
    char request_type[64];
    buf_init(&b, 0);
    snprintf(request_type, sizeof(request_type), "\"%s\"", type);
    fun_config_unref(f->fc);
    f->fc = fun_config_from_term(
        config_term(&b, "choose_node_mode", mode, "nodes", nodes, "request_type", request_type, NULL), SLICE_NONE,
        &why);
    assert_non_null(f->fc);
    buf_fini(&b);
}

static const char three[] = "[:a@h, :b@h, :c@h]";

/* The order as letters, "abc". */
static const char *choose(struct fixture *f, const char *request_id, const char *args)
{
    static char letters[MAX + 1];
    f->choice.request_id = request_id ? slice_str(request_id) : SLICE_NONE;
    f->choice.args = args ? slice_str(args) : SLICE_NONE;
    f->count = node_selector_choose(f->s, f->fc, &f->choice, f->order, MAX);
    for (uint32_t i = 0; i < f->count; i++)
        letters[i] = (char)('a' + f->order[i]);
    letters[f->count] = '\0';
    return letters;
}

/* E-164: the chosen one of three, then the others as listed. */
static const char *by_hash(uint32_t hash)
{
    static const char *const orders[] = {"abc", "bac", "cab"};
    return orders[hash % 3];
}

/* splitmix64, for a test of evenness that always runs the same. */
static uint64_t even_random(void *ctx)
{
    uint64_t z = ((struct fixture *)ctx)->next_random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* E-163. */
static void random_gives_every_order_alike(void **state)
{
    struct fixture *f = *state;
    use(f, ":random", three, "t");
    node_selector_set_random(f->s, even_random, f);
    unsigned seen[26 * 26 * 26] = {0}, orders = 0;
    for (int i = 0; i < 6000; i++) {
        const char *o = choose(f, "\"r\"", "{}");
        assert_int_equal(f->count, 3);
        assert_true(o[0] != o[1] && o[1] != o[2] && o[0] != o[2]);
        orders += seen[(o[0] - 'a') * 676 + (o[1] - 'a') * 26 + o[2] - 'a']++ == 0;
    }
    assert_int_equal(orders, 6);
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
        assert_true(seen[i] == 0 || (seen[i] > 800 && seen[i] < 1200));
}

/* E-164, E-169: phash2(request_id, 3). */
static void hash_of_the_request_id_then_list_order(void **state)
{
    struct fixture *f = *state;
    use(f, ":hash", three, "t");
    assert_string_equal(choose(f, "\"\"", NULL), "bac");
    assert_string_equal(choose(f, "\"a\"", NULL), "abc");
    assert_string_equal(choose(f, "\"user_1\"", NULL), "cab");
    assert_string_equal(choose(f, "\"user\\u005f1\"", NULL), "cab");
    assert_string_equal(choose(f, "42", NULL), by_hash(701417368));
}

/* E-165, E-169: any JSON value is hashed as the term it becomes. */
static void hash_of_an_argument(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *value;
        uint32_t hash;
    } values[] = {{"\"user_2\"", 2935089883},
                  {"1", 539485162},
                  {"1.0", 3029937084},
                  {"1.5", 2023646235},
                  {"true", 506293},
                  {"false", 7111573},
                  {"[]", 3468870702},
                  {"[1]", 2768963718},
                  {"[\"a\",\"b\"]", 3761191278},
                  {"{}", 844985373},
                  {"{\"b\":2, \"a\":1}", 3023248076},
                  {"123456789012345678901234567890", 3353369072}};
    use(f, "{:hash, \"key\"}", three, "t");
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        char args[128];
        snprintf(args, sizeof(args), "{\"x\":0,\"key\":%s,\"key\":7}", values[i].value);
        assert_string_equal(choose(f, "\"r\"", args), by_hash(values[i].hash));
    }
    /* nil: random */
    bool seen[3] = {false};
    for (int i = 0; i < 60; i++)
        seen[choose(f, "\"r\"", i % 2 ? "{\"key\":null}" : "{}")[0] - 'a'] = true;
    assert_true(seen[0] && seen[1] && seen[2]);
}

/* E-166: one counter for all functions; a single node does not count. */
static void round_robin_rotates_over_all_functions(void **state)
{
    struct fixture *f = *state;
    use(f, ":round_robin", three, "t");
    assert_string_equal(choose(f, "1", NULL), "abc");
    assert_string_equal(choose(f, "1", NULL), "bca");
    use(f, ":round_robin", three, "other");
    assert_string_equal(choose(f, "1", NULL), "cab");
    use(f, ":round_robin", "[:a@h]", "single");
    assert_string_equal(choose(f, "1", NULL), "a");
    use(f, ":round_robin", "[:a@h, :b@h]", "two");
    assert_string_equal(choose(f, "1", NULL), "ba");
}

/* E-167. */
static void sticky_keeps_its_node_for_an_hour(void **state)
{
    struct fixture *f = *state;
    use(f, "{:sticky, \"user\"}", three, "t");
    f->next_random = 1;
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "bca");
    f->next_random = 2;
    assert_string_equal(choose(f, "1", "{\"user\":\"u2\"}"), "cab");
    for (int i = 0; i < 5; i++)
        assert_string_equal(choose(f, "1", "{\"user\":\"\\u0075\\u0031\"}"), "bca");
    assert_int_equal(node_selector_sticky_count(f->s), 2);
    /* the number 1 and the string "1" are two */
    f->next_random = 0;
    assert_string_equal(choose(f, "1", "{\"user\":1}"), "abc");
    f->next_random = 1;
    assert_string_equal(choose(f, "1", "{\"user\":\"1\"}"), "bca");
    f->choice.now_us = (uint64_t)NODE_STICKY_AGE_MS * 1000 - 1;
    f->next_random = 0;
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "bca");
    f->choice.now_us++;
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "abc");
    /* the new entry took two dead ones with it */
    assert_int_equal(node_selector_sticky_count(f->s), 2);
    assert_int_equal(node_selector_cleanup(f->s, f->choice.now_us), 1);
    assert_int_equal(node_selector_sticky_count(f->s), 1);
}

static void sticky_choices_can_be_walked(void **state)
{
    struct fixture *f = *state;
    struct node_sticky_view v;
    size_t pos = 0, n = 0;
    use(f, "{:sticky, \"user_id\"}", three, "t");
    f->choice.now_us = 7000;
    choose(f, NULL, "{\"user_id\":\"u1\"}");
    choose(f, NULL, "{\"user_id\":\"u2\"}");
    for (; node_selector_next_sticky(f->s, &pos, &v); n++) {
        assert_int_equal(v.created_us, 7000);
        assert_true(v.node == hash_bytes("a@h", 3) || v.node == hash_bytes("b@h", 3) || v.node == hash_bytes("c@h", 3));
    }
    assert_int_equal(n, 2);
}

/* E-167 want: one function's choice says nothing about another's. */
static void sticky_is_per_function(void **state)
{
    struct fixture *f = *state;
    use(f, "{:sticky, \"user\"}", three, "t");
    f->next_random = 1;
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "bca");
    use(f, "{:sticky, \"user\"}", three, "other");
    f->next_random = 2;
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "cab");
    use(f, "{:sticky, \"user\"}", three, "t");
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "bca");
}

/* E-167: a node that has left the list is chosen anew. */
static void sticky_follows_the_list_of_nodes(void **state)
{
    struct fixture *f = *state;
    use(f, "{:sticky, \"user\"}", three, "t");
    f->next_random = 2;
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "cab");
    use(f, "{:sticky, \"user\"}", "[:c@h, :a@h]", "t");
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "ab"); /* c@h is first now */
    use(f, "{:sticky, \"user\"}", "[:a@h, :b@h]", "t");
    f->next_random = 1;
    assert_string_equal(choose(f, "1", "{\"user\":\"u1\"}"), "ba");
    assert_int_equal(node_selector_sticky_count(f->s), 1);
}

/* E-167, E-002: fields of the request serve too, the user of the session before the payload's. */
static void sticky_by_a_field_of_the_request(void **state)
{
    struct fixture *f = *state;
    use(f, "{:sticky, \"user_id\"}", three, "t");
    f->choice.user_id = SLICE_LIT("\"u1\"");
    f->next_random = 2;
    assert_string_equal(choose(f, "1", "{}"), "cab");
    f->choice.user_id = SLICE_LIT("\"somebody\"");
    f->choice.session_user = SLICE_LIT("u1");
    f->next_random = 0;
    assert_string_equal(choose(f, "1", NULL), "cab");
    assert_string_equal(choose(f, "1", "{\"user_id\":\"u1\"}"), "cab");
    assert_int_equal(node_selector_sticky_count(f->s), 1);
    f->choice.session_user = f->choice.user_id = SLICE_NONE;
    choose(f, "1", "{}"); /* nothing to stick to: random, nothing stored */
    assert_int_equal(node_selector_sticky_count(f->s), 1);
}

static void oldest_sticky_choice_makes_room(void **state)
{
    struct fixture *f = *state;
    use(f, "{:sticky, \"user\"}", three, "t");
    node_selector_set_sticky_max(f->s, 3);
    f->next_random = 1;
    choose(f, "1", "{\"user\":0}");
    for (int i = 1; i < 4; i++) {
        char args[32];
        snprintf(args, sizeof(args), "{\"user\":%d}", i);
        f->next_random = 2;
        choose(f, "1", args);
    }
    assert_int_equal(node_selector_sticky_count(f->s), 3);
    f->next_random = 0;
    assert_string_equal(choose(f, "1", "{\"user\":3}"), "cab");
    assert_string_equal(choose(f, "1", "{\"user\":0}"), "abc");
}

/* Nodes known to be down are tried last, the others keep their order; a fresh sticky choice avoids them. */
static void nodes_that_are_down_go_last(void **state)
{
    struct fixture *f = *state;
    use(f, ":hash", three, "t");
    f->down = "c@h";
    assert_string_equal(choose(f, "\"user_1\"", NULL), "abc"); /* "cab" while it is up */
    f->down = "a@h";
    assert_string_equal(choose(f, "\"user_1\"", NULL), "cba");
    use(f, "{:sticky, \"user\"}", three, "t");
    for (int i = 0; i < 20; i++) {
        char args[32];
        snprintf(args, sizeof(args), "{\"user\":%d}", i);
        assert_true(choose(f, "1", args)[0] != 'a');
    }
    f->down = "b@h";
    f->next_random = 0;
    assert_string_equal(choose(f, "1", "{\"user\":99}"), "acb");
    f->down = "a@h"; /* it keeps its node, and has another while that is away */
    assert_string_equal(choose(f, "1", "{\"user\":99}"), "bca");
    f->down = NULL;
    assert_string_equal(choose(f, "1", "{\"user\":99}"), "abc");
}

/* E-160: nodes that an MFA gave; E-161: none at all; and the caller's bound. */
static void dynamic_nodes_and_bounds(void **state)
{
    struct fixture *f = *state;
    struct slice nodes[2] = {SLICE_LIT("x@h"), SLICE_LIT("y@h")};
    use(f, ":round_robin", "{ClusterHelper, :get_nodes, [:user]}", "t");
    assert_string_equal(choose(f, "1", NULL), "");
    f->choice.nodes = nodes;
    f->choice.nodes_count = 2;
    assert_string_equal(choose(f, "1", NULL), "ab");
    assert_string_equal(choose(f, "1", NULL), "ba");
    uint16_t order[2];
    assert_int_equal(node_selector_choose(f->s, f->fc, &f->choice, order, 1), 1);
    assert_int_equal(order[0], 0);
    assert_int_equal(node_selector_choose(f->s, f->fc, &f->choice, order, 0), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(random_gives_every_order_alike),
        TEST(hash_of_the_request_id_then_list_order),
        TEST(hash_of_an_argument),
        TEST(round_robin_rotates_over_all_functions),
        TEST(sticky_keeps_its_node_for_an_hour),
        TEST(sticky_choices_can_be_walked),
        TEST(sticky_is_per_function),
        TEST(sticky_follows_the_list_of_nodes),
        TEST(sticky_by_a_field_of_the_request),
        TEST(oldest_sticky_choice_makes_room),
        TEST(nodes_that_are_down_go_last),
        TEST(dynamic_nodes_and_bounds),
    };
    return cmocka_run_group_tests_name("node_selector", tests, NULL, NULL);
}
