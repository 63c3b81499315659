/* test_breaker.c: breakers open after failures in a row, let one try through after the cooldown, and are bounded. */
#include "unit.h"

#include <stdio.h>

#include "breaker.h"

#define SVC SLICE_LIT("svc")
#define NODE SLICE_LIT("a@h")
#define ME ((handle_t)7)
#define ANOTHER ((handle_t)8)

static struct breakers *b;

static int setup(void **state)
{
    (void)state;
    b = breakers_new(3, 1000);
    return b ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    breakers_free(b);
    return 0;
}

static void opens_after_failures_in_a_row(void **state)
{
    (void)state;
    assert_false(breaker_failed(b, SVC, NODE, ME, 0));
    assert_false(breaker_failed(b, SVC, NODE, ME, 0));
    breaker_succeeded(b, SVC, NODE);
    assert_false(breaker_failed(b, SVC, NODE, ME, 0));
    assert_false(breaker_failed(b, SVC, NODE, ME, 0));
    assert_true(breaker_allows(b, SVC, NODE, ME, 0));
    assert_true(breaker_failed(b, SVC, NODE, ME, 0));
    assert_false(breaker_allows(b, SVC, NODE, ME, 999));
    assert_true(breaker_allows(b, SVC, SLICE_LIT("b@h"), ME, 0));
    assert_true(breaker_allows(b, SLICE_LIT("svca"), SLICE_LIT("@h"), ME, 0));
}

static void lets_one_try_through_after_the_cooldown(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        breaker_failed(b, SVC, NODE, ME, 0);
    assert_true(breaker_allows(b, SVC, NODE, ME, 1000));
    assert_false(breaker_allows(b, SVC, NODE, ME, 1000));
    assert_false(breaker_failed(b, SVC, NODE, ME, 1000));
    assert_false(breaker_allows(b, SVC, NODE, ME, 1999));
    assert_true(breaker_allows(b, SVC, NODE, ME, 2000));
    breaker_forgotten(b, SVC, NODE, ME);
    assert_true(breaker_allows(b, SVC, NODE, ME, 2000));
    breaker_succeeded(b, SVC, NODE);
    assert_true(breaker_allows(b, SVC, NODE, ME, 2000));
    assert_true(breaker_allows(b, SVC, NODE, ME, 2000));
}

/* Calls that were sent before it opened say nothing about now, except by an answer. */
static void only_who_tries_opens_it_again_or_gives_the_try_back(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        breaker_failed(b, SVC, NODE, ANOTHER, 0);
    assert_true(breaker_allows(b, SVC, NODE, ME, 1000));
    breaker_forgotten(b, SVC, NODE, ANOTHER);
    assert_false(breaker_allows(b, SVC, NODE, ANOTHER, 1000));
    assert_false(breaker_failed(b, SVC, NODE, ANOTHER, 1000));
    assert_false(breaker_allows(b, SVC, NODE, ANOTHER, 5000)); /* still tried: it has not been opened anew */
    breaker_forgotten(b, SVC, NODE, ME);
    assert_true(breaker_allows(b, SVC, NODE, ANOTHER, 5000));
    breaker_forgotten(b, SVC, NODE, ME);
    assert_false(breaker_allows(b, SVC, NODE, ME, 5000));
    assert_true(breaker_succeeded(b, SVC, NODE));
    assert_true(breaker_allows(b, SVC, NODE, ME, 5000));
}

static void calls_that_are_late_do_not_keep_it_open(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        breaker_failed(b, SVC, NODE, ANOTHER, 0);
    for (uint64_t now = 100; now < 1000; now += 100)
        assert_false(breaker_failed(b, SVC, NODE, ANOTHER, now));
    assert_false(breaker_allows(b, SVC, NODE, ME, 999));
    assert_true(breaker_allows(b, SVC, NODE, ME, 1000));
}

static void can_be_seen(void **state)
{
    (void)state;
    struct breaker_info info;
    size_t pos = 0;
    assert_false(breakers_next(b, &pos, &info));
    breaker_failed(b, SVC, NODE, ME, 0);
    pos = 0;
    assert_true(breakers_next(b, &pos, &info));
    assert_slice_is(info.service, "svc");
    assert_slice_is(info.node, "a@h");
    assert_int_equal(info.state, BREAKER_CLOSED);
    assert_int_equal(info.failures, 1);
    assert_int_equal(breakers_open(b), 0);
    breaker_failed(b, SVC, NODE, ME, 5);
    breaker_failed(b, SVC, NODE, ME, 6);
    breaker_failed(b, SVC, SLICE_LIT("b@h"), ME, 6);
    pos = 0;
    while (breakers_next(b, &pos, &info) && info.state != BREAKER_OPEN)
        ;
    assert_slice_is(info.node, "a@h");
    assert_int_equal(info.open_until_us, 1006);
    assert_int_equal(breakers_open(b), 1);
    assert_true(breaker_allows(b, SVC, NODE, ME, 1006));
    assert_int_equal(breakers_open(b), 1); /* trying */
    breaker_succeeded(b, SVC, NODE);
    assert_int_equal(breakers_open(b), 0);
}

static void never_opens_when_turned_off_or_too_many(void **state)
{
    (void)state;
    char name[32];
    struct breakers *off = breakers_new(0, 1000);
    for (int i = 0; i < 100; i++)
        assert_false(breaker_failed(off, SVC, NODE, ME, 0));
    assert_true(breaker_allows(off, SVC, NODE, ME, 0));
    breakers_free(off);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "n%d@h", i);
        breaker_failed(b, SVC, slice_str(name), ME, 0);
    }
    size_t pos = 0, seen = 0;
    struct breaker_info info;
    while (breakers_next(b, &pos, &info))
        seen++;
    assert_int_equal(seen, 10000);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(opens_after_failures_in_a_row),
        T(lets_one_try_through_after_the_cooldown),
        T(only_who_tries_opens_it_again_or_gives_the_try_back),
        T(calls_that_are_late_do_not_keep_it_open),
        T(can_be_seen),
        T(never_opens_when_turned_off_or_too_many),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
