/* test_gate.c: who counts as one, what is refused, and that strangers without number cost no more than the bound. */
#include "unit.h"

#include <malloc.h>
#include <stdio.h>

#include "gate.h"

static struct metrics metrics;
static struct client_limits limits;
static struct gate *gate;
static uint64_t now = 1000000;

static int setup(void **state)
{
    (void)state;
    memset(&metrics, 0, sizeof(metrics));
    limit_init(&limits, &metrics);
    log_set_level(LOG_ERROR);
    gate = gate_new(&limits);
    return gate ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    gate_free(gate);
    return 0;
}

static void set(enum limit which, uint32_t value)
{
    limits.value[which] = value;
    limit_ready(&limits);
}

static struct client_source from_text(const char *text)
{
    struct client_source from = {.tls = false};
    struct ip_address a;
    assert_int_equal(ip_parse(slice_str(text), &a), BG_OK);
    client_source_set(&from, &a);
    return from;
}

static bool enter(struct client_source *from, const char *text)
{
    *from = from_text(text);
    return gate_enter(gate, from, now);
}

static void an_address_has_so_many_connections_and_no_more(void **state)
{
    (void)state;
    struct client_source a, b, c, other;
    set(LIMIT_ADDRESS_CONNECTIONS, 2);
    assert_true(enter(&a, "192.0.2.1"));
    assert_true(enter(&b, "::ffff:192.0.2.1")); /* the same, in IPv6's clothes */
    assert_false(enter(&c, "192.0.2.1"));
    assert_null(c.at);
    assert_int_equal(metrics.value[METRIC_LIMIT_ADDRESS_CONNECTIONS], 1);
    assert_true(enter(&other, "192.0.2.2"));
    gate_leave(gate, &a, now);
    assert_true(enter(&c, "192.0.2.1"));
    gate_leave(gate, &b, now);
    gate_leave(gate, &c, now);
    gate_leave(gate, &c, now); /* harmless */
    gate_leave(gate, &other, now);
}

static void an_ipv6_network_counts_as_one(void **state)
{
    (void)state;
    struct client_source a, b, c;
    set(LIMIT_ADDRESS_CONNECTIONS, 1);
    assert_true(enter(&a, "2001:db8:0:1::1"));
    assert_false(enter(&b, "2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_true(enter(&c, "2001:db8:0:2::1"));
    gate_leave(gate, &a, now);
    gate_leave(gate, &c, now);
}

static void an_address_that_connects_too_often_waits(void **state)
{
    (void)state;
    struct client_source from;
    set(LIMIT_ADDRESS_CONNECTS, 10);
    for (unsigned i = 0; i < 10 * LIMIT_ADDRESS_BURST_S; i++) {
        assert_true(enter(&from, "192.0.2.1"));
        gate_leave(gate, &from, now);
    }
    assert_false(enter(&from, "192.0.2.1"));
    assert_int_equal(metrics.value[METRIC_LIMIT_ADDRESS_CONNECTS], 1);
    assert_true(enter(&from, "192.0.2.2"));
    gate_leave(gate, &from, now);
    now += 100000;
    assert_true(enter(&from, "192.0.2.1"));
    gate_leave(gate, &from, now);
    assert_false(enter(&from, "192.0.2.1"));
}

static void a_dry_run_counts_and_lets_in(void **state)
{
    (void)state;
    struct client_source a, b;
    set(LIMIT_ADDRESS_CONNECTIONS, 1);
    limits.dry_run[LIMIT_ADDRESS_CONNECTIONS] = true;
    assert_true(enter(&a, "192.0.2.1"));
    assert_true(enter(&b, "192.0.2.1"));
    assert_int_equal(metrics.value[METRIC_LIMIT_ADDRESS_CONNECTIONS], 1);
    gate_leave(gate, &a, now);
    gate_leave(gate, &b, now);
}

static void accepting_pauses_for_as_long_as_the_rate_says(void **state)
{
    (void)state;
    set(LIMIT_CONNECTS, 100);
    for (unsigned i = 0; i < 100 * LIMIT_BURST_S; i++)
        assert_int_equal(gate_pause_us(gate, now), 0);
    assert_int_equal(gate_pause_us(gate, now), 10000);
    assert_int_equal(metrics.value[METRIC_LIMIT_CONNECTS], 1);
    limits.dry_run[LIMIT_CONNECTS] = true;
    assert_int_equal(gate_pause_us(gate, now), 0);
}

static void an_address_is_forgotten_once_its_bucket_is_full_again(void **state)
{
    (void)state;
    struct client_source from;
    char text[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "10.0.%d.%d", i / 250, i % 250);
        assert_true(enter(&from, text));
        gate_leave(gate, &from, now);
    }
    assert_int_equal(metrics.value[METRIC_CLIENT_ADDRESSES], 1000);
    now += 3600000000;
    for (int i = 0; i < 600; i++) {
        snprintf(text, sizeof(text), "10.1.%d.%d", i / 250, i % 250);
        assert_true(enter(&from, text));
        gate_leave(gate, &from, now);
    }
    assert_int_equal(metrics.value[METRIC_CLIENT_ADDRESSES], 600);
}

static void strangers_without_number_cost_no_more_than_the_bound(void **state)
{
    (void)state;
    enum { STRANGERS = 300000, BOUND = 65536 + 1, BYTES = 20 * 1024 * 1024 };
    struct client_source from;
    char text[48];
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (int i = 0; i < STRANGERS; i++) {
        snprintf(text, sizeof(text), "2001:db8:%x:%x::1", i >> 16, i & 0xffff);
        assert_true(enter(&from, text));
        gate_leave(gate, &from, now);
    }
    assert_in_range(metrics.value[METRIC_CLIENT_ADDRESSES], 1000, BOUND);
    if (!getenv("UNDER_VALGRIND"))
        assert_in_range(mallinfo2().uordblks + mallinfo2().hblkhd - before, 0, BYTES);
}

static void a_user_has_so_many_sockets_and_is_forgotten_with_the_last(void **state)
{
    (void)state;
    set(LIMIT_USER_CONNECTIONS, 2);
    struct gate_user *a = gate_user_enter(gate, SLICE_LIT("u1"), SLICE_LIT("192.0.2.1"));
    struct gate_user *b = gate_user_enter(gate, SLICE_LIT("u1"), SLICE_LIT("192.0.2.2"));
    struct gate_user *c = gate_user_enter(gate, SLICE_LIT("u2"), SLICE_LIT("192.0.2.1"));
    assert_ptr_equal(a, b);
    assert_non_null(c);
    assert_null(gate_user_enter(gate, SLICE_LIT("u1"), SLICE_LIT("192.0.2.1")));
    assert_int_equal(metrics.value[METRIC_LIMIT_USER_CONNECTIONS], 1);
    assert_int_equal(metrics.value[METRIC_CLIENT_USERS], 2);
    gate_user_leave(gate, a);
    a = gate_user_enter(gate, SLICE_LIT("u1"), SLICE_LIT("192.0.2.1"));
    assert_non_null(a);
    gate_user_leave(gate, a);
    gate_user_leave(gate, b);
    gate_user_leave(gate, c);
    gate_user_leave(gate, NULL);
    assert_int_equal(metrics.value[METRIC_CLIENT_USERS], 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_address_has_so_many_connections_and_no_more),
        TEST(an_ipv6_network_counts_as_one),
        TEST(an_address_that_connects_too_often_waits),
        TEST(a_dry_run_counts_and_lets_in),
        TEST(accepting_pauses_for_as_long_as_the_rate_says),
        TEST(an_address_is_forgotten_once_its_bucket_is_full_again),
        TEST(strangers_without_number_cost_no_more_than_the_bound),
        TEST(a_user_has_so_many_sockets_and_is_forgotten_with_the_last),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
