/* test_loop_meter.c: how busy the loop is, measured with a clock of the test's own. */
#include "unit.h"

#include "loop_meter.h"

enum { S = 1000000 };
static struct loop_meter m;

static int setup(void **state)
{
    (void)state;
    loop_meter_init(&m, 100 * (uint64_t)S);
    return 0;
}

static void turn(uint64_t from, uint64_t to)
{
    loop_meter_begin(&m, from, UINT64_MAX);
    loop_meter_end(&m, to);
}

static void a_loop_that_only_waits_is_not_busy(void **state)
{
    (void)state;
    struct loop_load l = loop_meter_load(&m, 110 * (uint64_t)S, 5);
    assert_int_equal(l.busy_us, 0);
    assert_int_equal(l.elapsed_us, 5 * S);
    assert_int_equal(l.turns, 0);
}

static void turns_add_up_and_the_longest_is_the_lag(void **state)
{
    (void)state;
    turn(101 * (uint64_t)S, 101 * (uint64_t)S + 300);
    turn(101 * (uint64_t)S + 1000, 101 * (uint64_t)S + 3000);
    turn(102 * (uint64_t)S + 5, 102 * (uint64_t)S + 205);
    struct loop_load l = loop_meter_load(&m, 103 * (uint64_t)S, 10);
    assert_int_equal(l.busy_us, 2500);
    assert_int_equal(l.turns, 3);
    assert_int_equal(l.longest_turn_us, 2000);
    assert_int_equal(l.elapsed_us, 3 * S); /* it has not run longer */
    assert_int_equal(m.busy_us, 2500);
    assert_int_equal(m.longest_turn_us, 2000);
}

static void what_is_long_over_does_not_count(void **state)
{
    (void)state;
    turn(101 * (uint64_t)S, 101 * (uint64_t)S + 300);
    assert_int_equal(loop_meter_load(&m, 120 * (uint64_t)S, 5).busy_us, 0);
    assert_int_equal(loop_meter_load(&m, 120 * (uint64_t)S, 60).busy_us, 300);
    /* the same slot of the ring, a round later */
    assert_int_equal(loop_meter_load(&m, (101 + LOOP_METER_SECONDS) * (uint64_t)S, 5).busy_us, 0);
}

static void a_turn_over_several_seconds_counts_in_each(void **state)
{
    (void)state;
    turn(101 * (uint64_t)S + S / 2, 104 * (uint64_t)S + S / 4);
    struct loop_load l = loop_meter_load(&m, 104 * (uint64_t)S + S / 2, 1);
    assert_int_equal(l.busy_us, S + S / 4);
    assert_int_equal(l.longest_turn_us, 2 * S + 3 * S / 4);
}

static void the_turn_in_which_one_asks_counts_as_well(void **state)
{
    (void)state;
    loop_meter_begin(&m, 105 * (uint64_t)S, UINT64_MAX);
    assert_int_equal(loop_meter_load(&m, 105 * (uint64_t)S + 700, 1).busy_us, 700);
}

static void a_loop_is_never_busier_than_time_allows(void **state)
{
    (void)state;
    turn(50, 200 * (uint64_t)S); /* longer than the ring, and begun before the start */
    for (unsigned seconds = 1; seconds <= 60; seconds++) {
        struct loop_load l = loop_meter_load(&m, 200 * (uint64_t)S, seconds);
        assert_true(l.busy_us <= l.elapsed_us);
        assert_true(l.busy_us > 0);
    }
}

static void a_timer_that_fires_late_is_seen(void **state)
{
    (void)state;
    loop_meter_begin(&m, 101 * (uint64_t)S, 101 * (uint64_t)S - 4000);
    loop_meter_end(&m, 101 * (uint64_t)S + 1);
    loop_meter_begin(&m, 102 * (uint64_t)S, 102 * (uint64_t)S + 4000); /* not due yet */
    loop_meter_end(&m, 102 * (uint64_t)S + 1);
    assert_int_equal(loop_meter_load(&m, 103 * (uint64_t)S, 10).latest_timer_us, 4000);
}

/* A clock that goes back is no reason for numbers beyond all bounds. */
static void an_end_without_a_beginning_is_nothing(void **state)
{
    (void)state;
    loop_meter_end(&m, 101 * (uint64_t)S);
    turn(102 * (uint64_t)S, 101 * (uint64_t)S);
    assert_int_equal(m.busy_us, 0);
    assert_int_equal(m.turns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_loop_that_only_waits_is_not_busy, setup),
        cmocka_unit_test_setup(turns_add_up_and_the_longest_is_the_lag, setup),
        cmocka_unit_test_setup(what_is_long_over_does_not_count, setup),
        cmocka_unit_test_setup(a_turn_over_several_seconds_counts_in_each, setup),
        cmocka_unit_test_setup(the_turn_in_which_one_asks_counts_as_well, setup),
        cmocka_unit_test_setup(a_loop_is_never_busier_than_time_allows, setup),
        cmocka_unit_test_setup(a_timer_that_fires_late_is_seen, setup),
        cmocka_unit_test_setup(an_end_without_a_beginning_is_nothing, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
