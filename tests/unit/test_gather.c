/* test_gather.c: how long the loop lets requests gather, by a clock of the test's own. */
#include "unit.h"

#include "gather.h"

struct rig {
    struct gather g;
    uint64_t now_us;
};

/* One period in which so many askers send so many requests by turns; what it came to. */
static uint32_t period(struct rig *r, uint32_t askers, uint32_t requests)
{
    assert_int_equal(gather_turn_us(&r->g, r->now_us), r->g.turn_us);
    for (uint32_t i = 0; i < requests; i++)
        gather_asked(&r->g, 1000 + i % askers);
    r->now_us += GATHER_PERIOD_US;
    return gather_turn_us(&r->g, r->now_us);
}

static struct rig begin(void)
{
    struct rig r = {.now_us = UINT64_C(77) * 1000000};
    assert_int_equal(gather_turn_us(&r.g, r.now_us), 0);
    return r;
}

static void few_askers_are_never_kept_waiting(void **state)
{
    (void)state;
    struct rig r = begin();
    for (uint32_t n = 1; n < GATHER_ASKERS; n++)
        assert_int_equal(period(&r, n, 10 * GATHER_REQUESTS), 0);
    assert_int_equal(period(&r, 1, 1000000), 0);
}

static void those_who_ask_little_are_never_kept_waiting(void **state)
{
    (void)state;
    struct rig r = begin();
    assert_int_equal(period(&r, 1, 0), 0);
    assert_int_equal(period(&r, 100, GATHER_REQUESTS - 1), 0);
    assert_true(period(&r, 100, GATHER_REQUESTS) > 0);
}

/* Seats that are shared make the turns shorter, never longer. */
static void many_askers_wait_a_sixth_of_a_round_and_no_longer(void **state)
{
    (void)state;
    struct rig r = begin();
    for (uint32_t n = 2 * GATHER_ASKERS; n <= 4096; n *= 2) {
        for (uint32_t requests = n > GATHER_REQUESTS ? n : GATHER_REQUESTS; requests <= 20000; requests += 97) {
            uint32_t us = period(&r, n, requests), round_us = n * GATHER_PERIOD_US / requests;
            assert_true(us <= round_us / GATHER_SHARE && us <= GATHER_TURN_MAX_US);
            if (n <= 128)
                assert_true(us >= GATHER_TURN_MAX_US || us >= round_us / GATHER_SHARE * 7 / 10);
        }
    }
}

static void what_a_period_came_to_holds_during_the_next(void **state)
{
    (void)state;
    struct rig r = begin();
    uint32_t us = period(&r, 64, 500);
    assert_in_range(us, 160, 213); /* a round of 1.28 ms */
    r.now_us += GATHER_PERIOD_US - 1;
    assert_int_equal(gather_turn_us(&r.g, r.now_us), us);
    r.now_us += 1;
    assert_int_equal(gather_turn_us(&r.g, r.now_us), 0); /* nobody asked */
}

/* Of a period that took longer the rate counts, not the number. */
static void a_long_sleep_is_no_time_of_many_requests(void **state)
{
    (void)state;
    struct rig r = begin();
    for (uint32_t i = 0; i < 100 * GATHER_REQUESTS; i++)
        gather_asked(&r.g, i);
    r.now_us += UINT64_C(3600) * 1000000;
    assert_int_equal(gather_turn_us(&r.g, r.now_us), 0);
}

/* Numbers that follow each other, addresses and hashes alike find seats of their own for the most part. */
static void askers_spread_over_the_seats_whatever_their_numbers_are(void **state)
{
    (void)state;
    const uint64_t steps[] = {1, 16, 64, 4096, UINT64_C(1) << 32, UINT64_C(0x100000001)};
    for (size_t s = 0; s < ARRAY_SIZE(steps); s++) {
        struct gather g = {0};
        int seats = 0;
        for (uint64_t i = 0; i < 64; i++)
            gather_asked(&g, 12345 + i * steps[s]);
        for (size_t i = 0; i < ARRAY_SIZE(g.seats); i++)
            seats += __builtin_popcountll(g.seats[i]);
        assert_in_range(seats, 45, 64);
        assert_int_equal(g.requests, 64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_askers_are_never_kept_waiting),
        cmocka_unit_test(those_who_ask_little_are_never_kept_waiting),
        cmocka_unit_test(many_askers_wait_a_sixth_of_a_round_and_no_longer),
        cmocka_unit_test(what_a_period_came_to_holds_during_the_next),
        cmocka_unit_test(a_long_sleep_is_no_time_of_many_requests),
        cmocka_unit_test(askers_spread_over_the_seats_whatever_their_numbers_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
