/*
 * micro_rate.c: the rate limiter's half of micro.c: one request checked and counted, with 0 and 2 limits, where two
 * limits know one user, a thousand and a million. Users come in random order, so that with a million none of their
 * counters is in a cache.
 */
#include "micro.h"

#include <stdio.h>

#include "rate_limiter.h"

enum { MANY = 1000000, SOME = 1000, WINDOW_MS = 60000, STEP_US = 200 /* 5,000 requests a second */ };

static struct metrics metrics;
static struct rate_limiter *none, *small, *large;
static uint64_t now_us = 1000000;

static struct rate_limiter *limiter_new(size_t max_bytes, bool limited)
{
    static const struct rate_key user = {RATE_KEY_USER_ID, {NULL, 0}};
    const struct rate_limit global = {RATE_GLOBAL, user, 1000, WINDOW_MS, false};
    const struct rate_limit api = {{{"svc", 3}, {"echo", 4}}, user, 1000, WINDOW_MS, false};
    const struct rate_limiter_options o = {&metrics, max_bytes, true};
    struct rate_limiter *rl = rate_limiter_new(&o);
    assert_always(rl);
    assert_always(rate_limiter_set_global(rl, &global, limited, NULL) == BG_OK);
    assert_always(rate_limiter_set_api(rl, &api, limited, NULL) == BG_OK);
    return rl;
}

static void check(struct rate_limiter *rl, uint32_t user)
{
    struct rate_result res;
    struct rate_subject s = {.function = {SLICE_LIT("svc"), SLICE_LIT("echo")}};
    char text[8] = "u0000000";
    for (int i = 7; i > 0; i--, user /= 10)
        text[i] = (char)('0' + user % 10);
    s.user_id = slice_make(text, sizeof(text));
    now_us += STEP_US;
    assert_always(rate_limiter_check(rl, now_us, &s, &res) == RATE_ALLOWED);
}

static uint32_t random_user(uint32_t users)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 20) % users;
}

void rate_prepare(void)
{
    none = limiter_new(RATE_BYTES_MIN, false);
    small = limiter_new(64 << 20, true);
    large = limiter_new(512 << 20, true);
    for (uint32_t i = 0; i < MANY; i++)
        check(large, i);
}

void rate_forget(void)
{
    rate_limiter_free(none);
    rate_limiter_free(small);
    rate_limiter_free(large);
}

void run_rate_none(void)
{
    check(none, 1);
}

void run_rate_thousand(void)
{
    check(small, random_user(SOME));
}

void run_rate_million(void)
{
    check(large, random_user(MANY));
}

void run_rate_refuse(void)
{
    static const struct rate_subject s = {.function = {{"svc", 3}, {"echo", 4}}, .user_id = {"one", 3}};
    struct rate_result res;
    now_us += STEP_US;
    rate_limiter_check(small, now_us, &s, &res);
}
