/* test_yes_cache.c: a yes holds for its time, and strangers without number cost no more than the bound. */
#include "unit.h"

#include <stdio.h>

#include "yes_cache.h"

static struct yes_cache cache;

static int begin(void **state)
{
    (void)state;
    yes_cache_init(&cache);
    return 0;
}

static int end(void **state)
{
    (void)state;
    yes_cache_fini(&cache);
    return 0;
}

static void keep(const char *about, const char *answer, uint64_t until_us)
{
    struct buf b;
    buf_init(&b, YES_ABOUT_MAX);
    buf_puts(&b, about);
    yes_cache_keep(&cache, &b, slice_str(answer), until_us);
    assert_int_equal(b.len, 0); /* taken over */
    buf_fini(&b);
}

static bool knows(const char *about, uint64_t now_us)
{
    return yes_cache_find(&cache, slice_str(about), now_us, NULL);
}

static void a_yes_holds_until_its_time_is_over(void **state)
{
    (void)state;
    struct slice answer;
    keep("a", "one", 100);
    assert_true(yes_cache_find(&cache, SLICE_LIT("a"), 99, &answer));
    assert_slice_is(answer, "one");
    assert_false(knows("b", 99));
    assert_false(knows("a", 100));
    assert_false(knows("a", 0)); /* forgotten */
}

static void a_newer_yes_takes_the_place_of_the_older(void **state)
{
    (void)state;
    struct slice answer;
    keep("a", "one", 100);
    keep("a", "two", 200);
    assert_true(yes_cache_find(&cache, SLICE_LIT("a"), 150, &answer));
    assert_slice_is(answer, "two");
    assert_int_equal(cache.known.count, 1);
}

static void of_too_many_the_oldest_goes(void **state)
{
    (void)state;
    char about[16];
    for (uint32_t i = 0; i < YES_CACHE_MAX + 3; i++) {
        snprintf(about, sizeof(about), "%u", i);
        keep(about, "", 1000);
    }
    assert_int_equal(cache.known.count, YES_CACHE_MAX);
    assert_false(knows("2", 0));
    assert_true(knows("3", 0));
    assert_true(knows(about, 0));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_yes_holds_until_its_time_is_over),
        TEST(a_newer_yes_takes_the_place_of_the_older),
        TEST(of_too_many_the_oldest_goes),
    };
    return cmocka_run_group_tests_name("yes_cache", tests, NULL, NULL);
}
