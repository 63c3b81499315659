/* test_token_bucket.c: buckets against a naive model, and their ends: rates of one and of a billion, debt, overflow. */
#include "unit.h"

#include "token_bucket.h"

#define SECOND UINT64_C(1000000)

static void a_new_bucket_is_full(void **state)
{
    (void)state;
    const struct token_rate r = token_rate_make(10, 20);
    struct token_bucket b = {0};
    for (int i = 0; i < 20; i++)
        assert_true(token_bucket_try(&b, &r, 5 * SECOND));
    assert_false(token_bucket_try(&b, &r, 5 * SECOND));
}

static void tokens_come_back_at_the_rate_and_no_more_than_the_burst(void **state)
{
    (void)state;
    const struct token_rate r = token_rate_make(10, 3);
    struct token_bucket b = {0};
    assert_int_equal(token_bucket_take(&b, &r, SECOND, 3), 0);
    assert_false(token_bucket_try(&b, &r, SECOND + 99999));
    assert_true(token_bucket_try(&b, &r, SECOND + 100000));
    assert_false(token_bucket_try(&b, &r, SECOND + 100000));
    int had = 0;
    while (token_bucket_try(&b, &r, 3600 * SECOND))
        had++;
    assert_int_equal(had, 3);
}

static void what_is_refused_costs_nothing(void **state)
{
    (void)state;
    const struct token_rate r = token_rate_make(1, 1);
    struct token_bucket b = {0};
    assert_true(token_bucket_try(&b, &r, SECOND));
    for (int i = 0; i < 1000; i++)
        assert_false(token_bucket_try(&b, &r, SECOND + 999999));
    assert_true(token_bucket_try(&b, &r, 2 * SECOND));
}

static void what_is_taken_anyway_is_a_debt_of_time(void **state)
{
    (void)state;
    const struct token_rate r = token_rate_make(1000, 1000);
    struct token_bucket b = {0};
    assert_int_equal(token_bucket_take(&b, &r, SECOND, 1500), 500000);
    assert_int_equal(token_bucket_debt_us(&b, &r, SECOND + 499999), 1);
    assert_int_equal(token_bucket_debt_us(&b, &r, SECOND + 500000), 0);
    assert_false(token_bucket_try(&b, &r, SECOND + 500000));
    assert_true(token_bucket_try(&b, &r, SECOND + 501000));
}

static void a_debt_of_more_than_a_minute_is_forgiven(void **state)
{
    (void)state;
    const struct token_rate r = token_rate_make(1, 1);
    struct token_bucket b = {0};
    assert_int_equal(token_bucket_take(&b, &r, SECOND, 1u << 30), 60 * SECOND);
    assert_int_equal(token_bucket_take(&b, &r, SECOND, 1u << 30), 60 * SECOND);
    assert_int_equal(token_bucket_debt_us(&b, &r, 61 * SECOND), 0);
}

static void the_largest_rate_and_burst_do_not_overflow(void **state)
{
    (void)state;
    const struct token_rate fast = token_rate_make(1000000000, UINT64_MAX), slow = token_rate_make(0, UINT64_MAX);
    struct token_bucket b = {0}, c = {0};
    const uint64_t year = UINT64_C(365) * 86400 * SECOND;
    for (int i = 0; i < 100; i++)
        assert_int_equal(token_bucket_take(&b, &fast, 30 * year, 1u << 30), 0);
    assert_true(token_bucket_try(&c, &slow, 30 * year));
}

/* A bucket filled up in floating point at every step. */
static void buckets_agree_with_a_naive_model(void **state)
{
    (void)state;
    for (uint32_t per_s = 1; per_s <= 1000000; per_s *= 7) {
        const double burst = per_s * 2.0;
        const struct token_rate r = token_rate_make(per_s, (uint64_t)per_s * 2);
        struct token_bucket b = {0};
        double tokens = burst;
        uint64_t now = SECOND;
        for (int i = 0; i < 2000; i++) {
            uint64_t step = random_u64() % (2 * SECOND / per_s + 2);
            now += step;
            tokens = tokens + (double)step * per_s / 1e6 > burst ? burst : tokens + (double)step * per_s / 1e6;
            bool near = tokens > 0.99 && tokens < 1.01; /* rounding may go either way */
            bool got = token_bucket_try(&b, &r, now);
            if (!near)
                assert_int_equal(got, tokens >= 1);
            tokens -= got;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_bucket_is_full),
        cmocka_unit_test(tokens_come_back_at_the_rate_and_no_more_than_the_burst),
        cmocka_unit_test(what_is_refused_costs_nothing),
        cmocka_unit_test(what_is_taken_anyway_is_a_debt_of_time),
        cmocka_unit_test(a_debt_of_more_than_a_minute_is_forgiven),
        cmocka_unit_test(the_largest_rate_and_burst_do_not_overflow),
        cmocka_unit_test(buckets_agree_with_a_naive_model),
    };
    return cmocka_run_group_tests_name("token_bucket", tests, NULL, NULL);
}
