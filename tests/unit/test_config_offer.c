/* test_config_offer.c: a service's list of functions taken into the store (S-024..S-029, S-057, S-058). */
#include "unit.h"

#include "config_offer.h"
#include "term_text.h"

struct fixture {
    struct config_db *db;
    struct config_failed *failed;
    struct metrics metrics;
    struct buf list;
    struct buf item;
    struct config_offer offer;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    f.db = config_db_new(&f.metrics, 3);
    f.failed = config_failed_new(10);
    buf_init(&f.list, 0);
    buf_init(&f.item, 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    config_db_free(f->db);
    config_failed_free(f->failed);
    buf_fini(&f->list);
    buf_fini(&f->item);
    return 0;
}

/* Takes a list of configs, given as pairs of request type and another key with its value, two items a step. */
static void take(struct fixture *f, const char *(*items)[3], uint32_t n)
{
    buf_reset(&f->list);
    term_put_list(&f->list, n);
    for (uint32_t i = 0; i < n; i++) {
        char type[64];
        snprintf(type, sizeof(type), "\"%s\"", items[i][0]);
        buf_add_slice(&f->list, config_term(&f->item, "request_type", type, items[i][1], items[i][2], NULL));
    }
    if (n > 0)
        term_put_nil(&f->list);
    f->offer = (struct config_offer){.db = f->db,
                                     .failed = f->failed,
                                     .metrics = &f->metrics,
                                     .service = SLICE_LIT("chat"),
                                     .source_key = SLICE_LIT("push:chat"),
                                     .source = CONFIG_PUSH,
                                     .node = SLICE_NONE};
    assert_int_equal(config_offer_begin(&f->offer, buf_slice(&f->list)), BG_OK);
    uint32_t steps = 1;
    while (!config_offer_step(&f->offer, 2))
        steps++;
    assert_in_range(steps, (n + 1) / 2, (n + 1) / 2 + 2); /* removing what is not offered again has steps of its own */
}

static bool known(struct fixture *f, const char *type, const char *version)
{
    struct fun_config *fc;
    return config_db_find(f->db, SLICE_LIT("chat"), slice_str(type), version ? slice_str(version) : SLICE_NONE, &fc) ==
           CONFIG_FOUND;
}

/* S-024, S-028, S-029 want: the set is replaced, the name of the offering service holds. */
static void second_offer_replaces_the_first(void **state)
{
    struct fixture *f = *state;
    take(f, (const char *[][3]){{"a", "version", "\"1.0.0\""}, {"b", "service", "\"other\""}, {"c", "timeout", "1"}},
         3);
    assert_int_equal(f->offer.stored, 2);
    assert_int_equal(f->offer.refused, 1);
    assert_string_equal(f->offer.first_type, "c");
    assert_true(known(f, "a", "1.0.0") && known(f, "b", NULL));
    uint64_t refused = f->offer.refused_hash;
    take(f, (const char *[][3]){{"a", "version", "\"2.0.0\""}, {"c", "timeout", "1"}}, 2);
    assert_int_equal(f->offer.removed, 2); /* a 1.0.0 and b */
    assert_true(known(f, "a", "2.0.0") && !known(f, "a", "1.0.0") && !known(f, "b", NULL));
    assert_true(f->offer.refused_hash == refused); /* the same again */
    take(f, (const char *[][3]){{"c", "timeout", "2"}, {"c", "nodes", "[]"}}, 2);
    assert_true(f->offer.refused_hash != refused);
    assert_int_equal(config_db_count(f->db), 0);
}

/* A broken new config leaves the last good one of the same key working. */
static void refused_config_keeps_its_last_good_one(void **state)
{
    struct fixture *f = *state;
    take(f, (const char *[][3]){{"a", "version", "\"1.0.0\""}, {"b", "version", "\"0.0.0\""}}, 2);
    take(f, (const char *[][3]){{"a", "mfa", "{:os, :cmd, []}"}, {"b", "mfa", "nil"}}, 2);
    assert_int_equal(f->offer.refused, 2);
    assert_false(known(f, "a", "1.0.0")); /* another version was offered */
    assert_true(known(f, "b", NULL));
}

static void full_store_is_told(void **state)
{
    struct fixture *f = *state;
    take(f,
         (const char *[][3]){
             {"a", "timeout", "100"}, {"b", "timeout", "100"}, {"c", "timeout", "100"}, {"d", "timeout", "100"}},
         4);
    assert_int_equal(f->offer.stored, 3);
    assert_string_equal(f->offer.first_reason,
                        "the gateway's limit of functions, or of versions of one function, is reached");
}

static void what_is_no_list_is_refused(void **state)
{
    struct fixture *f = *state;
    f->offer = (struct config_offer){.db = f->db, .failed = f->failed, .metrics = &f->metrics};
    assert_int_equal(config_offer_begin(&f->offer, term_of(&f->list, "%{}")), BG_EINVAL);
    assert_int_equal(config_offer_begin(&f->offer, term_of(&f->list, "'abc'")), BG_EINVAL);
    buf_reset(&f->list);
    term_put_list(&f->list, CONFIG_OFFER_MAX + 1);
    for (int i = 0; i <= CONFIG_OFFER_MAX + 1; i++)
        term_put_nil(&f->list);
    assert_int_equal(config_offer_begin(&f->offer, buf_slice(&f->list)), BG_ELIMIT);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(second_offer_replaces_the_first),
        TEST(refused_config_keeps_its_last_good_one),
        TEST(full_store_is_told),
        TEST(what_is_no_list_is_refused),
    };
    return cmocka_run_group_tests_name("config_offer", tests, NULL, NULL);
}
