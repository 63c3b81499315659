/* test_gather.c: when the loop lets calls of other nodes gather, turn by turn. */
#include "unit.h"

#include "gather.h"

/* Turns that bring so many calls each; how many of them were to wait afterwards. */
static unsigned turns(struct gather *g, unsigned n, uint32_t calls)
{
    unsigned waited = 0;
    for (unsigned i = 0; i < n; i++)
        waited += gather_turn(g, calls);
    return waited;
}

static void callers_that_come_one_by_one_are_never_kept_waiting(void **state)
{
    (void)state;
    struct gather g = {0};
    assert_int_equal(turns(&g, 1000, 0), 0);
    assert_int_equal(turns(&g, 1000, 1), 0);
    assert_int_equal(turns(&g, 1000, GATHER_BEGIN), 0);
}

static void a_burst_now_and_then_is_no_reason_to_wait(void **state)
{
    (void)state;
    struct gather g = {0};
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(turns(&g, 1, GATHER_ROUND), 0);
        assert_int_equal(turns(&g, GATHER_ROUND - 1, 1), 0);
    }
}

static void many_callers_at_once_are_waited_for_as_long_as_they_come(void **state)
{
    (void)state;
    struct gather g = {0};
    assert_int_equal(turns(&g, GATHER_ROUND - 1, GATHER_BEGIN + 1), 0);
    assert_int_equal(turns(&g, 1, GATHER_BEGIN + 1), 1);
    assert_int_equal(turns(&g, 1000, GATHER_WORTH), 1000);
}

static void waiting_in_vain_ends_with_its_round_and_is_not_tried_again_soon(void **state)
{
    (void)state;
    struct gather g = {0};
    turns(&g, GATHER_ROUND, GATHER_BEGIN + 1);
    assert_int_equal(turns(&g, GATHER_ROUND, GATHER_WORTH - 1), GATHER_ROUND - 1);
    assert_int_equal(turns(&g, GATHER_ROUND * GATHER_REST, GATHER_BEGIN + 1), 0);
    assert_int_equal(turns(&g, GATHER_ROUND, GATHER_BEGIN + 1), 1);
}

static void when_the_calls_end_so_does_the_waiting(void **state)
{
    (void)state;
    struct gather g = {0};
    turns(&g, 1000, 10);
    assert_in_range(turns(&g, 1000, 0), 0, 2 * GATHER_ROUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(callers_that_come_one_by_one_are_never_kept_waiting),
        cmocka_unit_test(a_burst_now_and_then_is_no_reason_to_wait),
        cmocka_unit_test(many_callers_at_once_are_waited_for_as_long_as_they_come),
        cmocka_unit_test(waiting_in_vain_ends_with_its_round_and_is_not_tried_again_soon),
        cmocka_unit_test(when_the_calls_end_so_does_the_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
