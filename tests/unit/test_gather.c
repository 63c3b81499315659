/* test_gather.c: when the loop lets requests gather, by a clock of the test's own. */
#include "unit.h"

#include "gather.h"

enum { TURN_US = 1000, TURNS = GATHER_PERIOD_US / TURN_US };

struct rig {
    struct gather g;
    uint64_t now_us;
};

/* Periods of turns that bring, in all, so many calls where the loop does not wait and where it does; in how many it did. */
static unsigned periods(struct rig *r, unsigned n, uint32_t without, uint32_t with)
{
    unsigned waited = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t calls = r->g.state == GATHER_WAITS ? with : without;
        bool waits = false;
        for (unsigned t = 1; t <= TURNS; t++) {
            r->now_us += TURN_US;
            waits = gather_turn(&r->g, r->now_us, calls * t / TURNS - calls * (t - 1) / TURNS);
        }
        waited += waits;
    }
    return waited;
}

static void callers_that_come_one_by_one_are_never_kept_waiting(void **state)
{
    (void)state;
    struct rig r = {0};
    assert_int_equal(periods(&r, 1000, 0, 0), 0);
    assert_int_equal(periods(&r, 1000, GATHER_BEGIN - 1, 0), 0);
}

static void many_callers_are_waited_for_as_long_as_none_of_them_loses(void **state)
{
    (void)state;
    struct rig r = {0};
    periods(&r, 1, 1000, 1000);
    assert_int_equal(periods(&r, GATHER_HOLD - 1, 1000, 1000), GATHER_HOLD - 1);
    assert_int_equal(periods(&r, 1, 1000, 1000), 0); /* measured again */
    assert_int_equal(periods(&r, GATHER_HOLD, 1000, 1000), GATHER_HOLD);
}

static void callers_that_lose_by_it_wait_one_period_and_are_left_alone(void **state)
{
    (void)state;
    struct rig r = {0};
    const uint32_t too_few = 10 * GATHER_WORTH - 1;
    /* One measured, one waited, and a rest of 1, 2, 4, ... periods. */
    assert_int_equal(periods(&r, 3, 1000, too_few), 1);
    assert_int_equal(periods(&r, 4, 1000, too_few), 1);
    assert_int_equal(periods(&r, 6, 1000, too_few), 1);
    assert_int_equal(periods(&r, 10, 1000, too_few), 1);
    assert_int_equal(periods(&r, 18, 1000, too_few), 1);
    assert_int_equal(periods(&r, 1000 * (GATHER_HOLD + 2), 1000, too_few), 1000);
}

static void one_bad_period_costs_one_more(void **state)
{
    (void)state;
    struct rig r = {0};
    periods(&r, 1, 1000, 1000);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(periods(&r, GATHER_HOLD, 1000, 1000), GATHER_HOLD - 1);
        assert_int_equal(periods(&r, 1, 1000, 1000), 1);       /* measured */
        assert_int_equal(periods(&r, 1, 1000, 100), 0);        /* a bad one */
        assert_int_equal(periods(&r, 2, 1000, 1000), 1);       /* a rest, and measured */
    }
}

static void as_many_as_are_worth_it_are_enough(void **state)
{
    (void)state;
    struct rig r = {0};
    assert_int_equal(periods(&r, GATHER_HOLD, 1000, 10 * GATHER_WORTH), GATHER_HOLD);
}

static void when_the_calls_end_so_does_the_waiting(void **state)
{
    (void)state;
    struct rig r = {0};
    periods(&r, 2, 1000, 1000);
    assert_int_equal(periods(&r, 1000, 0, 0), 0);
}

static void after_a_long_sleep_nothing_is_waited_for(void **state)
{
    (void)state;
    struct rig r = {0};
    periods(&r, 2, 1000, 1000);
    r.now_us += UINT64_C(3600) * 1000000;
    assert_false(gather_turn(&r.g, r.now_us, 2 * GATHER_BEGIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_that_come_one_by_one_are_never_kept_waiting),
        cmocka_unit_test(many_callers_are_waited_for_as_long_as_none_of_them_loses),
        cmocka_unit_test(callers_that_lose_by_it_wait_one_period_and_are_left_alone),
        cmocka_unit_test(one_bad_period_costs_one_more),
        cmocka_unit_test(as_many_as_are_worth_it_are_enough),
        cmocka_unit_test(when_the_calls_end_so_does_the_waiting),
        cmocka_unit_test(after_a_long_sleep_nothing_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
