/* test_rate_limiter.c: the sliding log against a naive model, the limits' rules, and what bounds the memory. */
#include "unit.h"

#include <malloc.h>
#include <stdio.h>

#include "rate_limiter.h"

enum { MiB = 1024 * 1024 };

#define USER {RATE_KEY_USER_ID, {NULL, 0}}
#define DEVICE {RATE_KEY_DEVICE_ID, {NULL, 0}}
#define ADDRESS {RATE_KEY_IP_ADDRESS, {NULL, 0}}
#define ARG(text) {RATE_KEY_ARG, {(text), sizeof(text) - 1}}
#define OF(type) {{"svc", 3}, {(type), sizeof(type) - 1}}
#define EVERY {{NULL, 0}, {NULL, 0}}

static struct metrics metrics;
static struct rate_limiter *rl;
static struct rate_result res;

static struct rate_limiter *limiter_new(size_t max_bytes, bool fail_open)
{
    struct rate_limiter_options o = {&metrics, max_bytes, fail_open};
    memset(&metrics, 0, sizeof(metrics));
    struct rate_limiter *made = rate_limiter_new(&o);
    assert_non_null(made);
    return made;
}

static int setup(void **state)
{
    (void)state;
    rl = limiter_new(MiB, true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rate_limiter_free(rl);
    return 0;
}

static void limiter_again(size_t max_bytes, bool fail_open)
{
    rate_limiter_free(rl);
    rl = limiter_new(max_bytes, fail_open);
}

static void set_global(const struct rate_limit *l, size_t n)
{
    struct err e;
    if (rate_limiter_set_global(rl, l, n, &e) != BG_OK)
        fail_msg("%s", e.text);
}

static void set_api(const struct rate_limit *l, size_t n)
{
    struct err e;
    if (rate_limiter_set_api(rl, l, n, &e) != BG_OK)
        fail_msg("%s", e.text);
}

static enum rate_verdict ask(uint64_t ms, const struct rate_subject *s)
{
    return rate_limiter_check(rl, ms * 1000, s, &res);
}

static enum rate_verdict ask_as(uint64_t ms, const char *user, const char *type)
{
    struct rate_subject s = {.function = {SLICE_LIT("svc"), slice_str(type)}, .user_id = slice_str(user)};
    return ask(ms, &s);
}

static uint32_t current_of(uint64_t ms, struct rate_scope scope, struct rate_key key, const char *value)
{
    struct rate_status st;
    size_t pos = 0;
    assert_true(rate_limiter_next_status(rl, ms * 1000, scope, key, slice_str(value), &pos, &st));
    return st.current_requests;
}

static uint32_t users_count(uint64_t ms, const char *user)
{
    return current_of(ms, RATE_GLOBAL, (struct rate_key)USER, user);
}

/* E-073 */
static void a_call_is_over_exactly_when_the_window_has_passed(void **state)
{
    (void)state;
    set_global(&(struct rate_limit){EVERY, USER, 3, 1000, false}, 1);
    static const struct {
        uint64_t ms;
        enum rate_verdict verdict;
        uint64_t retry_after_ms;
    } rows[] = {{5000, RATE_ALLOWED, 0}, {5100, RATE_ALLOWED, 0}, {5200, RATE_ALLOWED, 0}, {5300, RATE_LIMITED, 700},
                {5999, RATE_LIMITED, 1}, {6000, RATE_ALLOWED, 0}, {6001, RATE_LIMITED, 99}, {6150, RATE_ALLOWED, 0},
                {6199, RATE_LIMITED, 1}, {9000, RATE_ALLOWED, 0}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(ask_as(rows[i].ms, "u", "f"), rows[i].verdict);
        if (rows[i].verdict != RATE_LIMITED)
            continue;
        assert_int_equal(res.refused.retry_after_ms, rows[i].retry_after_ms);
        assert_int_equal(res.refused.current_requests, 3);
        assert_int_equal(res.refused.limit->max_requests, 3);
    }
    assert_int_equal(users_count(9000, "u"), 1);
}

/* What Observer's table shows: every value once, with the calls of the window that ends now. */
static void values_can_be_walked(void **state)
{
    (void)state;
    static const struct rate_limit api = {OF("f"), USER, 3, 1000, false};
    struct rate_value_view v;
    unsigned globals = 0, of_f = 0;
    set_global(&(struct rate_limit){EVERY, USER, 9, 1000, false}, 1);
    set_api(&api, 1);
    for (unsigned i = 0; i < 50; i++) {
        char user[16];
        snprintf(user, sizeof(user), "u%u", i);
        assert_int_equal(ask_as(5000, user, i % 2 ? "f" : "g"), RATE_ALLOWED);
    }
    assert_int_equal(ask_as(5600, "u1", "f"), RATE_ALLOWED);
    for (uint64_t pos = 0; rate_limiter_next_value(rl, 5900 * 1000, &pos, &v);) {
        bool twice = slice_is(v.value, "u1");
        assert_int_equal(v.requests, twice ? 2 : 1);
        assert_int_equal(v.age_ms, twice ? 300 : 900);
        *(v.limit->scope.service.len ? &of_f : &globals) += 1;
    }
    assert_int_equal(globals, 50);
    assert_int_equal(of_f, 25);
    for (uint64_t pos = 0; rate_limiter_next_value(rl, 6100 * 1000, &pos, &v);)
        assert_int_equal(v.requests, slice_is(v.value, "u1") ? 1 : 0);
    set_api(NULL, 0); /* what is removed is no longer shown */
    globals = 0;
    for (uint64_t pos = 0; rate_limiter_next_value(rl, 6100 * 1000, &pos, &v); globals++)
        assert_int_equal(v.limit->scope.service.len, 0);
    assert_int_equal(globals, 50);
}

/* E-070: a limit is a key, a number and a window, for one function or for all; E-078: one counter, exact to the last of
 * many requests; E-079: the finding says which limit it was, what counts now and when to come again */
static void a_counter_is_exact_and_its_finding_tells_all(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    set_global(&(struct rate_limit){EVERY, USER, MANY, 60000, false}, 1);
    set_api(&(struct rate_limit){OF("once"), USER, 1, 10000, false}, 1);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(ask_as(1000 + i, "u", i ? "f" : "once"), RATE_ALLOWED);
    assert_int_equal(ask_as(1000 + MANY, "u", "f"), RATE_LIMITED);
    assert_int_equal(res.refused.limit->scope.service.len, 0);
    assert_int_equal(res.refused.limit->key.kind, RATE_KEY_USER_ID);
    assert_int_equal(res.refused.limit->window_ms, 60000);
    assert_int_equal(res.refused.current_requests, MANY);
    assert_int_equal(res.refused.retry_after_ms, 60000 - MANY);
    assert_int_equal(ask_as(1000 + MANY, "v", "once"), RATE_ALLOWED);
    assert_int_equal(ask_as(1000 + MANY, "v", "once"), RATE_LIMITED);
    assert_slice_is(res.refused.limit->scope.service, "svc");
    assert_slice_is(res.refused.limit->scope.request_type, "once");
    assert_int_equal(res.refused.retry_after_ms, 10000);
}

/* E-082 */
static void two_gateways_count_each_for_itself(void **state)
{
    (void)state;
    const struct rate_limit one = {EVERY, USER, 1, 60000, false};
    struct rate_limiter *here = rl;
    set_global(&one, 1);
    rl = limiter_new(MiB, true);
    set_global(&one, 1);
    assert_int_equal(ask_as(1000, "u", "f"), RATE_ALLOWED);
    assert_int_equal(ask_as(1000, "u", "f"), RATE_LIMITED);
    rate_limiter_free(rl);
    rl = here;
    assert_int_equal(ask_as(1000, "u", "f"), RATE_ALLOWED);
    assert_int_equal(ask_as(1000, "u", "f"), RATE_LIMITED);
}

/* xorshift64: the same requests in every run. */
static uint64_t next_random(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

/* The library's own data structure, E-073 word by word. */
struct model {
    uint64_t at[64];
    size_t count;
};

static bool model_full(struct model *m, uint64_t now, const struct rate_limit *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->at[i] + l->window_ms > now)
            m->at[kept++] = m->at[i];
    m->count = kept;
    return m->count >= l->max_requests;
}

/* One request of user u at function f against every limit of the model. */
static enum rate_verdict model_ask(struct model (*m)[5], const struct rate_limit *limits, size_t n, uint64_t now,
                                   unsigned u, unsigned f, uint64_t *retry)
{
    for (size_t i = 0; i < n; i++) {
        bool applies = i < 2 || i == 2 + f;
        if (applies && model_full(&m[i][u], now, &limits[i])) {
            *retry = m[i][u].at[0] + limits[i].window_ms - now;
            return RATE_LIMITED;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (i < 2 || i == 2 + f)
            m[i][u].at[m[i][u].count++] = now;
    return RATE_ALLOWED;
}

/* E-072, E-073, E-074 want; times cross the 32-bit border, and cleanup runs whenever it likes */
static void it_agrees_with_a_naive_model_over_random_requests(void **state)
{
    (void)state;
    static const struct rate_limit limits[] = {{EVERY, USER, 40, 1000, false}, {EVERY, USER, 13, 150, false},
                                               {OF("f0"), USER, 5, 100, false}, {OF("f1"), USER, 1, 37, false},
                                               {OF("f2"), USER, 31, 3000, false}};
    static struct model m[ARRAY_SIZE(limits)][5];
    memset(m, 0, sizeof(m));
    set_global(limits, 2);
    set_api(limits + 2, 3);
    uint64_t now = (1ull << 32) - 50000, retry = 0;
    unsigned verdicts[2] = {0};
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t r = next_random();
        unsigned u = (unsigned)(r >> 8) % 5, f = (unsigned)(r >> 16) % 4;
        char user[3] = {'u', (char)('0' + u), 0}, type[3] = {'f', (char)('0' + f), 0};
        now += r % 97 == 0 ? r >> 24 & 0xfff : r >> 24 & 7;
        enum rate_verdict want = model_ask(m, limits, ARRAY_SIZE(limits), now, u, f, &retry);
        assert_int_equal(ask_as(now, user, type), want);
        if (want == RATE_LIMITED)
            assert_int_equal(res.refused.retry_after_ms, retry);
        verdicts[want]++;
        if (r % 31 == 0)
            rate_limiter_cleanup(rl, now * 1000, 3);
    }
    assert_true(verdicts[RATE_ALLOWED] > 10000 && verdicts[RATE_LIMITED] > 10000);
    assert_true(now > 1ull << 32);
}

/* E-075 want */
static void a_limit_of_zero_refuses_always(void **state)
{
    (void)state;
    set_api(&(struct rate_limit){OF("f"), USER, 0, 1000, false}, 1);
    for (uint64_t ms = 100; ms < 5000; ms += 700) {
        assert_int_equal(ask_as(ms, "u", "f"), RATE_LIMITED);
        assert_int_equal(res.refused.retry_after_ms, 1000);
        assert_int_equal(res.refused.current_requests, 0);
    }
    assert_int_equal(ask_as(100, "u", "g"), RATE_ALLOWED);
    assert_int_equal(rate_limiter_values(rl), 0);
}

/* E-071 */
static void each_key_counts_its_own_part_of_the_request(void **state)
{
    (void)state;
    static const struct {
        struct rate_key key;
        struct rate_subject with, without[4];
    } rows[] = {
        {USER, {.user_id = {"u", 1}}, {{.device_id = {"\"u\"", 3}}, {.ip_address = {"u", 1}}}},
        {DEVICE, {.device_id = {"\"d\"", 3}},
         {{.device_id = {"5", 1}}, {.device_id = {"\"\"", 2}}, {.device_id = {"[1]", 3}}, {.user_id = {"d", 1}}}},
        {ADDRESS, {.ip_address = {"::1", 3}}, {{.user_id = {"::1", 3}}, {.args = {"{\"ip_address\":\"::1\"}", 20}}}},
        {ARG("a"), {.args = {"{\"b\":1,\"a\":\"x\",\"a\":2}", 21}},
         {{.args = {"{\"a\":5,\"a\":\"x\"}", 15}}, {.args = {"{\"a\":\"\"}", 8}}, {.args = {"[\"a\"]", 5}},
          {.args = {"{\"b\":{\"a\":\"x\"}}", 15}}}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        set_global(&(struct rate_limit){EVERY, rows[i].key, 1, 1000, false}, 1);
        rate_limiter_clear(rl);
        assert_int_equal(ask(100, &rows[i].with), RATE_ALLOWED);
        assert_int_equal(ask(100, &rows[i].with), RATE_LIMITED);
        for (size_t k = 0; k < ARRAY_SIZE(rows[i].without); k++)
            assert_int_equal(ask(100, &rows[i].without[k]), RATE_ALLOWED);
        assert_int_equal(rate_limiter_values(rl), 1);
    }
    struct rate_key never = {RATE_KEY_NEVER, SLICE_LIT("session")};
    set_global(&(struct rate_limit){EVERY, never, 0, 1000, false}, 1);
    assert_int_equal(ask_as(100, "u", "f"), RATE_ALLOWED);
}

static void a_value_is_the_same_however_its_json_spells_it(void **state)
{
    (void)state;
    set_global(&(struct rate_limit){EVERY, ARG("k\"y"), 1, 1000, false}, 1);
    struct rate_subject plain = {.args = SLICE_LIT("{\"k\\\"y\":\"a/b\"}")};
    struct rate_subject escaped = {.args = SLICE_LIT("{\"\\u006b\\u0022y\":\"\\u0061\\/b\"}")};
    assert_int_equal(ask(100, &plain), RATE_ALLOWED);
    assert_int_equal(ask(100, &escaped), RATE_LIMITED);
    assert_int_equal(current_of(100, RATE_GLOBAL, (struct rate_key)ARG("k\"y"), "a/b"), 1);
}

/* E-072 and its want */
static void a_request_counts_only_when_all_limits_let_it_pass(void **state)
{
    (void)state;
    static const struct rate_limit global[] = {{EVERY, USER, 10, 1000, false}, {EVERY, ADDRESS, 2, 1000, false}};
    static const struct rate_limit api[] = {{OF("f"), DEVICE, 1, 1000, false}, {OF("g"), DEVICE, 0, 1000, false}};
    struct rate_subject s = {.function = OF("f"), .user_id = SLICE_LIT("u"), .device_id = SLICE_LIT("\"d\""),
                             .ip_address = SLICE_LIT("1.2.3.4")};
    set_global(global, 2);
    set_api(api, 2);
    assert_int_equal(ask(100, &s), RATE_ALLOWED);
    assert_int_equal(ask(101, &s), RATE_LIMITED);
    assert_slice_is(res.refused.limit->scope.request_type, "f");
    assert_int_equal(users_count(101, "u"), 1);
    s.function = (struct rate_scope)OF("other");
    assert_int_equal(ask(102, &s), RATE_ALLOWED);
    s.function = (struct rate_scope)OF("g");
    assert_int_equal(ask(103, &s), RATE_LIMITED); /* by the first that is exhausted: the global one */
    assert_int_equal(res.refused.limit->key.kind, RATE_KEY_IP_ADDRESS);
    assert_int_equal(users_count(103, "u"), 2);
}

/* E-074 want */
static void two_limits_over_the_same_value_do_not_share_a_counter(void **state)
{
    (void)state;
    static const struct rate_limit global[] = {
        {EVERY, USER, 3, 1000, false}, {EVERY, DEVICE, 3, 1000, false}, {EVERY, USER, 5, 60000, false}};
    struct rate_subject user = {.user_id = SLICE_LIT("x")}, device = {.device_id = SLICE_LIT("\"x\"")};
    set_global(global, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(100, &user), RATE_ALLOWED);
        assert_int_equal(ask(100, &device), RATE_ALLOWED);
    }
    assert_int_equal(ask(100, &user), RATE_LIMITED);
    assert_int_equal(ask(1100, &user), RATE_ALLOWED);
    assert_int_equal(ask(1100, &user), RATE_ALLOWED);
    assert_int_equal(ask(1100, &user), RATE_LIMITED);
    assert_int_equal(res.refused.limit->window_ms, 60000);
    assert_int_equal(rate_limiter_values(rl), 3);
}

/* E-072: those of one function, among many, in list order */
static void limits_of_functions_hold_for_their_function_only(void **state)
{
    (void)state;
    enum { FUNCTIONS = 200 };
    static char names[FUNCTIONS][8];
    struct rate_limit api[FUNCTIONS * 2];
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        unsigned at = i * 37 % FUNCTIONS;
        snprintf(names[i], sizeof(names[i]), "f%u", i);
        struct rate_scope scope = {SLICE_LIT("svc"), slice_str(names[i])};
        api[at] = (struct rate_limit){scope, USER, i % 5 + 1, 1000, false};
        api[FUNCTIONS + at] = (struct rate_limit){scope, USER, i % 5 + 1, 2000, false};
    }
    set_api(api, FUNCTIONS * 2);
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        for (unsigned k = 0; k <= i % 5; k++)
            assert_int_equal(ask_as(100, "u", names[i]), RATE_ALLOWED);
        assert_int_equal(ask_as(100, "u", names[i]), RATE_LIMITED);
        assert_slice_is(res.refused.limit->scope.request_type, names[i]);
        assert_int_equal(res.refused.limit->window_ms, 1000);
    }
    struct rate_subject other = {.function = {SLICE_LIT("svc2"), SLICE_LIT("f0")}, .user_id = SLICE_LIT("u")};
    assert_int_equal(ask(100, &other), RATE_ALLOWED);
    assert_int_equal(ask_as(100, "u", "f"), RATE_ALLOWED);
}

static void a_dry_run_tells_what_it_would_refuse_and_refuses_nothing(void **state)
{
    (void)state;
    static const struct rate_limit global[] = {
        {EVERY, USER, 2, 1000, true}, {EVERY, USER, 0, 5000, true}, {EVERY, USER, 4, 1000, false}};
    struct rate_limit_view v;
    set_global(global, 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask_as(100, "u", "f"), RATE_ALLOWED);
        assert_int_equal(res.dry_count, i < 2 ? 1 : 2);
        assert_null(res.refused.limit);
        assert_int_equal(res.dry.limit->window_ms, i < 2 ? 5000 : 1000);
        assert_int_equal(res.dry.current_requests, i < 2 ? 0 : 2);
    }
    assert_int_equal(ask_as(100, "u", "f"), RATE_LIMITED);
    assert_int_equal(res.refused.current_requests, 4);
    assert_int_equal(users_count(100, "u"), 2);
    size_t pos = 0;
    assert_true(rate_limiter_next_limit(rl, &pos, &v));
    assert_int_equal(v.refused, 3);
    assert_int_equal(v.values, 1);
}

/* -- at run time, E-081 ---------------------------------------------------------------------------------- */

static void a_value_can_be_checked_looked_at_and_reset_by_name(void **state)
{
    (void)state;
    static const struct rate_limit global[] = {{EVERY, USER, 3, 1000, false}, {EVERY, USER, 5, 9000, false},
                                               {EVERY, DEVICE, 1, 1000, false}};
    const struct rate_key user = USER, device = DEVICE, address = ADDRESS;
    const struct slice u = SLICE_LIT("u");
    struct rate_status st;
    set_global(global, 3);
    set_api(&(struct rate_limit){OF("f"), USER, 1, 1000, false}, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rate_limiter_check_value(rl, 100000, RATE_GLOBAL, user, u, &res), RATE_ALLOWED);
    assert_int_equal(rate_limiter_check_value(rl, 100000, RATE_GLOBAL, user, u, &res), RATE_LIMITED);
    assert_int_equal(res.refused.limit->max_requests, 3);
    assert_int_equal(rate_limiter_check_value(rl, 100000, RATE_GLOBAL, device, u, &res), RATE_ALLOWED);
    assert_int_equal(rate_limiter_check_value(rl, 100000, RATE_GLOBAL, address, u, &res), RATE_ALLOWED);
    struct rate_scope f = OF("f"), g = OF("g");
    assert_int_equal(rate_limiter_check_value(rl, 100000, f, user, u, &res), RATE_ALLOWED);
    assert_int_equal(rate_limiter_check_value(rl, 100000, f, user, u, &res), RATE_LIMITED);
    assert_int_equal(rate_limiter_check_value(rl, 100000, g, user, u, &res), RATE_ALLOWED);
    static const uint32_t remaining[] = {0, 2};
    size_t pos = 0;
    for (size_t i = 0; i < 2; i++) {
        assert_true(rate_limiter_next_status(rl, 100000, RATE_GLOBAL, user, u, &pos, &st));
        assert_int_equal(st.current_requests, 3);
        assert_int_equal(st.remaining, remaining[i]);
    }
    assert_false(rate_limiter_next_status(rl, 100000, RATE_GLOBAL, user, u, &pos, &st));
    rate_limiter_reset(rl, RATE_GLOBAL, user, u);
    assert_int_equal(users_count(100, "u"), 0);
    assert_int_equal(current_of(100, f, user, "u"), 1);
    rate_limiter_clear(rl);
    assert_int_equal(current_of(100, f, user, "u"), 0);
    assert_int_equal(rate_limiter_values(rl), 0);
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_VALUES], 0);
}

static void assert_limits(const char *want)
{
    static const char *const kind[] = {"user", "device", "address", "arg", "never"};
    struct rate_limit_view v;
    char got[256] = "";
    for (size_t pos = 0; rate_limiter_next_limit(rl, &pos, &v);) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof(got) - n, "%.*s/%s:%u ", (int)v.limit->scope.request_type.len,
                 v.limit->scope.request_type.len ? v.limit->scope.request_type.ptr : "", kind[v.limit->key.kind],
                 v.limit->max_requests);
    }
    assert_string_equal(got, want);
}

static void limits_change_at_run_time_and_those_that_stay_keep_their_counts(void **state)
{
    (void)state;
    static const struct rate_limit first[] = {{EVERY, USER, 3, 1000, false}, {EVERY, DEVICE, 9, 1000, false}};
    static const struct rate_limit second[] = {{EVERY, ADDRESS, 7, 1000, false}, {EVERY, USER, 2, 1000, false}};
    set_global(first, 2);
    set_api(&(struct rate_limit){OF("f"), USER, 4, 1000, false}, 1);
    for (uint64_t ms = 100; ms <= 300; ms += 100)
        assert_int_equal(ask_as(ms, "u", "f"), RATE_ALLOWED);
    set_global(second, 2);
    assert_limits("/address:7 /user:2 f/user:4 ");
    assert_int_equal(users_count(300, "u"), 3);
    assert_int_equal(ask_as(300, "u", "f"), RATE_LIMITED);
    assert_int_equal(res.refused.retry_after_ms, 900); /* two of three must be over */
    assert_int_equal(ask_as(1199, "u", "f"), RATE_LIMITED);
    assert_int_equal(ask_as(1200, "u", "f"), RATE_ALLOWED);
    assert_int_equal(rate_limiter_add_global(rl, &(struct rate_limit){EVERY, USER, 9, 1000, false}, NULL), BG_OK);
    assert_limits("/address:7 /user:9 f/user:4 ");
    assert_int_equal(users_count(1200, "u"), 2);
    assert_int_equal(rate_limiter_add_global(rl, &(struct rate_limit){OF("x"), ARG("a"), 1, 5, false}, NULL), BG_OK);
    assert_int_equal(rate_limiter_remove_global(rl, (struct rate_key)ADDRESS, NULL), BG_OK);
    assert_int_equal(rate_limiter_remove_global(rl, (struct rate_key)ARG("b"), NULL), BG_OK);
    assert_limits("/user:9 /arg:1 f/user:4 ");
    set_api(NULL, 0);
    set_global(first, 1);
    assert_limits("/user:3 ");
    assert_int_equal(users_count(1200, "u"), 2);
    set_global(NULL, 0);
    assert_limits("");
    assert_int_equal(ask_as(1200, "u", "f"), RATE_ALLOWED);
}

static void a_list_with_a_bad_limit_changes_nothing(void **state)
{
    (void)state;
    static char long_name[RATE_TEXT_MAX + 1];
    memset(long_name, 'a', sizeof(long_name));
    const struct rate_limit good = {OF("f"), USER, 3, 1000, false};
    const struct rate_limit bad[] = {
        {OF("f"), USER, 1, 0, false},
        {OF("f"), USER, 1, RATE_WINDOW_MAX_MS + 1u, false},
        {OF("f"), USER, RATE_REQUESTS_MAX + 1u, 1000, false},
        {OF("f"), ARG(""), 1, 1000, false},
        {OF("f"), {RATE_KEY_ARG, {long_name, sizeof(long_name)}}, 1, 1000, false},
        {EVERY, USER, 1, 1000, false},
        {{{"svc", 3}, {NULL, 0}}, USER, 1, 1000, false},
    };
    struct err e;
    set_api(&good, 1);
    assert_int_equal(ask_as(100, "u", "f"), RATE_ALLOWED);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct rate_limit both[] = {good, bad[i]};
        assert_int_equal(rate_limiter_set_api(rl, both, 2, &e), BG_EINVAL);
        assert_int_equal(e.pos, 1);
        assert_limits("f/user:3 ");
    }
    assert_int_equal(rate_limiter_set_global(rl, &good, RATE_LIMITS_MAX + 1, &e), BG_ELIMIT);
    assert_int_equal(current_of(100, (struct rate_scope)OF("f"), (struct rate_key)USER, "u"), 1);
}

static void keys_are_written_as_the_configuration_writes_them(void **state)
{
    (void)state;
    static const char *const good[] = {"user_id", "device_id", "ip_address", "args.room", "args.user_id", "args.a.b"};
    static const char *const bad[] = {"", "user", "args", "args.", "user_id ", "room"};
    char text[RATE_KEY_TEXT_MAX];
    struct rate_key key;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(rate_key_parse(slice_str(good[i]), &key), BG_OK);
        assert_int_equal(key.kind, i < 3 ? i : RATE_KEY_ARG);
        rate_key_print(&key, text, sizeof(text));
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(rate_key_parse(slice_str(bad[i]), &key), BG_EINVAL);
}

/* -- memory ---------------------------------------------------------------------------------------------- */

static void ask_number(uint64_t ms, unsigned n, enum rate_verdict want)
{
    char user[16];
    snprintf(user, sizeof(user), "user-%u", n);
    assert_int_equal(ask_as(ms, user, "f"), want);
}

/* E-080 want: each limit by its own window */
static void cleanup_keeps_what_is_needed_and_works_in_steps(void **state)
{
    (void)state;
    enum { USERS = 100 };
    static const struct rate_limit global[] = {{EVERY, USER, 9, 1000, false}, {EVERY, USER, 9, 300000, false}};
    size_t empty = rate_limiter_bytes(rl);
    set_global(global, 2);
    for (unsigned i = 0; i < USERS; i++)
        ask_number(1000 + i, i, RATE_ALLOWED);
    assert_false(rate_limiter_cleanup(rl, 1999 * 1000, 1000));
    assert_int_equal(rate_limiter_values(rl), USERS * 2);
    assert_false(rate_limiter_cleanup(rl, 2009 * 1000, 1000));
    assert_int_equal(rate_limiter_values(rl), USERS * 2 - 10);
    assert_true(rate_limiter_cleanup(rl, 60000 * 1000, 30));
    assert_int_equal(rate_limiter_values(rl), USERS * 2 - 40);
    assert_false(rate_limiter_cleanup(rl, 60000 * 1000, 1000));
    assert_int_equal(rate_limiter_values(rl), USERS);
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_VALUES], USERS);
    set_global(global, 1); /* the removed limit leaves its counters to cleanup, too */
    assert_true(rate_limiter_cleanup(rl, 60000 * 1000, 30));
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_VALUES], USERS - 30);
    assert_false(rate_limiter_cleanup(rl, 60000 * 1000, 1000));
    assert_int_equal(rate_limiter_bytes(rl), empty);
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_EVICTED], 0);
}

static void a_known_value_is_checked_without_allocating(void **state)
{
    (void)state;
    static const struct rate_limit global[] = {{EVERY, USER, 50, 1000, false}, {EVERY, ARG("a"), 7, 100, false}};
    struct rate_subject s = {.user_id = SLICE_LIT("u"), .args = SLICE_LIT("{\"a\":\"\\u0061\"}")};
    set_global(global, 2);
    for (uint64_t ms = 0; ms < 2000; ms += 10)
        ask(1000 + ms, &s);
    size_t held = rate_limiter_bytes(rl), blocks = mallinfo2().uordblks;
    for (uint64_t ms = 2000; ms < 100000; ms += 10)
        ask(1000 + ms, &s);
    assert_int_equal(rate_limiter_bytes(rl), held);
    assert_int_equal(mallinfo2().uordblks, blocks);
}

/* The flood: a million values of one limit beside a second limit that must not suffer. Under a sanitizer mallinfo2()
 * gives zeros, and only the limiter's own count is held against the bound. */
static void a_million_distinct_values_stay_inside_the_bound(void **state)
{
    (void)state;
    enum { FLOOD = 1000000, BOUND = 16 * MiB };
    static const struct rate_limit global[] = {{EVERY, USER, 5, 60000, false}, {EVERY, ARG("q"), 5, 60000, false}};
    struct rate_subject known = {.user_id = SLICE_LIT("u")};
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, most = 0;
    limiter_again(BOUND, true);
    set_global(global, 2);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(1000, &known), RATE_ALLOWED);
    for (unsigned i = 0; i < FLOOD; i++) {
        char args[40];
        int n = snprintf(args, sizeof(args), "{\"q\":\"value-%u\"}", i);
        struct rate_subject s = {.args = slice_make(args, (size_t)n)};
        assert_int_equal(ask(1001 + i / 100, &s), RATE_ALLOWED);
        most = rate_limiter_bytes(rl) > most ? rate_limiter_bytes(rl) : most;
    }
    assert_in_range(most, BOUND * 9 / 10, BOUND);
    assert_true(mallinfo2().uordblks + mallinfo2().hblkhd <= before + BOUND + 65536);
    assert_in_range(rate_limiter_values(rl), BOUND / 200, BOUND / 90);
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_EVICTED], FLOOD + 1 - rate_limiter_values(rl));
    assert_int_equal(ask(1001 + FLOOD / 100, &known), RATE_LIMITED); /* the flooded limit drove out its own values only */
    assert_int_equal(current_of(1001 + FLOOD / 100, RATE_GLOBAL, (struct rate_key)ARG("q"), "value-0"), 0);
    assert_int_equal(current_of(1001 + FLOOD / 100, RATE_GLOBAL, (struct rate_key)ARG("q"), "value-999999"), 1);
}

/* Fewer values than the search spares, all counted lately: one of them goes all the same. And a value that is asked for again
 * and again outlives a flood of others. */
static void a_value_that_is_used_outlives_a_flood(void **state)
{
    (void)state;
    enum { FLOOD = 100000 };
    struct rate_subject s = {.function = {SLICE_LIT("svc"), SLICE_LIT("f")}};
    limiter_again(RATE_BYTES_MIN, true);
    set_global(&(struct rate_limit){EVERY, USER, 1000000, 3600000, false}, 1);
    for (unsigned i = 0; i < FLOOD; i++) {
        char user[16];
        s.user_id = slice_make(user, (size_t)snprintf(user, sizeof(user), "u%u", i));
        assert_int_equal(ask(1000 + i, &s), RATE_ALLOWED);
        if (i % 100 == 0)
            assert_int_equal(ask_as(1000 + i, "regular", "f"), RATE_ALLOWED);
    }
    assert_int_equal(users_count(1000 + FLOOD, "regular"), FLOOD / 100);
    char *big = calloc(1, RATE_BYTES_MIN / 8); /* few values: each is a tenth of the room and used twice */
    limiter_again(RATE_BYTES_MIN, true);
    set_global(&(struct rate_limit){EVERY, USER, 1000, 3600000, false}, 1);
    for (unsigned i = 0; i < 40; i++) {
        memset(big, 'a' + (int)i % 26, RATE_BYTES_MIN / 8);
        s.user_id = slice_make(big, RATE_BYTES_MIN / 8);
        assert_int_equal(ask(2000 + i, &s), RATE_ALLOWED);
        assert_int_equal(ask(2000 + i, &s), RATE_ALLOWED);
        assert_in_range(rate_limiter_bytes(rl), 1, RATE_BYTES_MIN);
    }
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_FAILURES], 0);
    free(big);
}

/* E-077 */
static void without_fail_open_a_full_limiter_refuses_new_values_and_keeps_the_known(void **state)
{
    (void)state;
    static const struct rate_limit global[] = {{EVERY, DEVICE, 100, 60000, false}, {EVERY, USER, 2, 60000, false}};
    struct rate_subject stranger = {.user_id = SLICE_LIT("stranger"), .device_id = SLICE_LIT("\"known\"")};
    struct rate_subject known = {.device_id = SLICE_LIT("\"known\"")};
    unsigned n = 0;
    limiter_again(RATE_BYTES_MIN, false);
    set_global(global, 2);
    assert_int_equal(ask(1000, &known), RATE_ALLOWED);
    char user[24];
    do
        snprintf(user, sizeof(user), "user-%u", n++);
    while (ask_as(1000, user, "f") == RATE_ALLOWED);
    assert_in_range(n, RATE_BYTES_MIN / 200, RATE_BYTES_MIN / 80);
    assert_int_equal(ask(1000, &stranger), RATE_UNAVAILABLE);
    assert_int_equal(current_of(1000, RATE_GLOBAL, (struct rate_key)DEVICE, "known"), 1); /* counted nowhere */
    ask_number(1000, 0, RATE_ALLOWED);
    ask_number(1000, 0, RATE_LIMITED);
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_EVICTED], 0);
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_FAILURES], 2);
    assert_int_equal(ask(61000, &stranger), RATE_ALLOWED); /* what has expired makes room at once */
    assert_in_range(rate_limiter_bytes(rl), 1, RATE_BYTES_MIN);
}

static void counters_of_a_removed_limit_make_room_at_once(void **state)
{
    (void)state;
    unsigned n = 0;
    char user[24];
    limiter_again(RATE_BYTES_MIN, false);
    size_t empty = rate_limiter_bytes(rl);
    set_global(&(struct rate_limit){EVERY, USER, 2, 60000, false}, 1);
    do
        snprintf(user, sizeof(user), "user-%u", n++);
    while (ask_as(1000, user, "f") == RATE_ALLOWED);
    set_global(&(struct rate_limit){EVERY, USER, 2, 50000, false}, 1); /* another window: another limit */
    assert_int_equal(rate_limiter_values(rl), 0);
    for (unsigned i = 0; i + 1 < n; i++)
        ask_number(1000, i, RATE_ALLOWED);
    ask_number(1000, n, RATE_UNAVAILABLE); /* by now the new limit's own have filled it */
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_VALUES], n - 1);
    set_global(NULL, 0);
    rate_limiter_clear(rl);
    assert_int_equal(rate_limiter_bytes(rl), empty);
}

static void a_value_that_could_never_fit_is_an_error_of_the_limiter(void **state)
{
    (void)state;
    char *text = malloc(RATE_BYTES_MIN);
    memset(text, 'x', RATE_BYTES_MIN);
    struct rate_subject s = {.user_id = slice_make(text, RATE_BYTES_MIN)};
    set_global(&(struct rate_limit){EVERY, USER, 1, 1000, false}, 1);
    assert_int_equal(ask(100, &s), RATE_ALLOWED);
    assert_int_equal(ask(100, &s), RATE_ALLOWED);
    assert_int_equal(metrics.value[METRIC_RATE_LIMIT_FAILURES], 2);
    limiter_again(RATE_BYTES_MIN, false);
    set_global(&(struct rate_limit){EVERY, USER, 1, 1000, false}, 1);
    assert_int_equal(ask(100, &s), RATE_UNAVAILABLE);
    set_global(&(struct rate_limit){EVERY, USER, 1, 1000, true}, 1);
    assert_int_equal(ask(100, &s), RATE_ALLOWED); /* a dry run refuses nothing, whatever happens */
    free(text);
}

/* Rings that grow while others must go: the request's own counters are never those. */
static void rings_grow_inside_the_bound_too(void **state)
{
    (void)state;
    static const struct rate_limit global[] = {{EVERY, USER, 100000, 60000, false}, {EVERY, ARG("a"), 100000, 60000, false},
                                               {EVERY, DEVICE, 300, 60000, false}};
    set_global(global, 3);
    for (unsigned i = 0; i < 300000; i++) {
        char user[16], args[32];
        snprintf(user, sizeof(user), "u%u", (unsigned)(next_random() % 40));
        int n = snprintf(args, sizeof(args), "{\"a\":\"%u\"}", (unsigned)(next_random() % 7));
        struct rate_subject s = {.user_id = slice_str(user), .args = slice_make(args, (size_t)n)};
        assert_int_equal(ask(1000 + i / 1000, &s), RATE_ALLOWED);
        assert_in_range(rate_limiter_bytes(rl), 1, RATE_BYTES_MIN);
    }
    assert_true(metrics.value[METRIC_RATE_LIMIT_EVICTED] > 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_call_is_over_exactly_when_the_window_has_passed),
        T(values_can_be_walked),
        T(a_counter_is_exact_and_its_finding_tells_all),
        T(two_gateways_count_each_for_itself),
        T(it_agrees_with_a_naive_model_over_random_requests),
        T(a_limit_of_zero_refuses_always),
        T(each_key_counts_its_own_part_of_the_request),
        T(a_value_is_the_same_however_its_json_spells_it),
        T(a_request_counts_only_when_all_limits_let_it_pass),
        T(two_limits_over_the_same_value_do_not_share_a_counter),
        T(limits_of_functions_hold_for_their_function_only),
        T(a_dry_run_tells_what_it_would_refuse_and_refuses_nothing),
        T(a_value_can_be_checked_looked_at_and_reset_by_name),
        T(limits_change_at_run_time_and_those_that_stay_keep_their_counts),
        T(a_list_with_a_bad_limit_changes_nothing),
        T(keys_are_written_as_the_configuration_writes_them),
        T(cleanup_keeps_what_is_needed_and_works_in_steps),
        T(a_known_value_is_checked_without_allocating),
        T(a_million_distinct_values_stay_inside_the_bound),
        T(a_value_that_is_used_outlives_a_flood),
        T(without_fail_open_a_full_limiter_refuses_new_values_and_keeps_the_known),
        T(counters_of_a_removed_limit_make_room_at_once),
        T(a_value_that_could_never_fit_is_an_error_of_the_limiter),
        T(rings_grow_inside_the_bound_too),
    };
    return cmocka_run_group_tests_name("rate_limiter", tests, NULL, NULL);
}
