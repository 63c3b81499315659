/* test_telemetry_handlers.c: handlers of telemetry events that run on other nodes (O-033): in which order and how many events
 * they get, what becomes of those that raise, hang or go, and of a connection that takes no more. */
#include "dist_world.h"

#include "log.h"

#include "../../c_src/server/server_state.h"
#include "../../c_src/server/telemetry_handlers.h"

#define LEADER "<svc@h:70.0>"
#define WORKER "<svc@h:60.0>"

static struct server server;
static struct telemetry_handlers *hs;
static const char *me; /* the calls' pid */
static uint64_t now_us;

static int setup(void **state)
{
    int rc = world_setup(state);
    memset(&server, 0, sizeof(server));
    timers_init(&server.timers, 1000);
    now_us = 1000;
    server.calls = world.rc;
    server.cluster = &fake_cluster;
    hs = telemetry_handlers_new(&server);
    me = calls_pid();
    log_set_level(LOG_ERROR);
    return rc == 0 && hs ? 0 : -1;
}

static int teardown(void **state)
{
    telemetry_handlers_free(hs);
    assert_int_equal(timers_next(&server.timers), UINT64_MAX);
    timers_fini(&server.timers);
    return world_teardown(state);
}

/* ---- */

static int attach_with(const char *id, uint32_t events, struct slice fun)
{
    struct buf config, leader;
    buf_init(&config, 0);
    buf_init(&leader, 0);
    put_text(&config, "c");
    put_text(&leader, LEADER);
    const struct handler_wanted w = {slice_str(id), false, events, fun, buf_slice(&config), buf_slice(&leader), world.l};
    int rc = telemetry_attach(hs, &w);
    buf_fini(&config);
    buf_fini(&leader);
    return rc;
}

static int attach(const char *id, uint32_t events)
{
    struct buf fun;
    buf_init(&fun, 0);
    put_text(&fun, "fun 'Elixir.M':h/4");
    int rc = attach_with(id, events, buf_slice(&fun));
    buf_fini(&fun);
    return rc;
}

/* An event whose metadata is #{n => N}. */
static void fire(enum telemetry_event event, unsigned n)
{
    struct buf *b = telemetry_begin(&server.telemetry, event);
    if (!b)
        return;
    telemetry_put_nothing(b);
    telemetry_put_number(b, "n", n);
    telemetry_end(&server.telemetry);
}

/* A turn of the loop. */
static void turn(uint64_t later_us)
{
    now_us += later_us;
    timers_run(&server.timers, now_us, 0);
    timers_run(&world.timers, now_us, 0);
}

static const char push_name[] = "[phoenix_gen_api,config,push]";

/* One batch of count events from first on; returns the reference of its call. */
static const char *expect_batch(unsigned first, unsigned count)
{
    static char ref[64];
    struct buf want;
    char *got = fake_sent(world.l);
    if (!got)
        fail_msg("nothing was sent");
    const char *start = strchr(got, '&'), *end = start ? strchr(start, ',') : NULL;
    assert_non_null(end);
    snprintf(ref, sizeof(ref), "%.*s", (int)(end - start), start);
    buf_init(&want, 0);
    buf_printf(&want, "{29,%s,%s," LEADER ",{lists,zipwith,3},[monitor]} | [fun erlang:apply/2,[", ref, me);
    for (unsigned i = 0; i < count; i++)
        buf_printf(&want, "%sfun 'Elixir.M':h/4", i ? "," : "");
    buf_puts(&want, "],[");
    for (unsigned i = 0; i < count; i++)
        buf_printf(&want, "%s[%s,#{},#{n=>%u},c]", i ? "," : "", push_name, first + i);
    buf_puts(&want, "]]");
    buf_putc(&want, '\0');
    assert_string_equal(got, (char *)want.data);
    free(got);
    buf_fini(&want);
    feed(textf("{31,%s,%s,2," WORKER "}", ref, me), NULL);
    return ref;
}

static void ended(const char *ref, const char *reason)
{
    feed(textf("{28," WORKER ",%s,%s}", me, ref), reason);
}

#define PUSH TELEMETRY_BIT(TELEMETRY_PUSH)

/* ---- */

static void a_handler_gets_its_events_in_order_one_batch_at_a_time(void **state)
{
    (void)state;
    assert_int_equal(attach("a", PUSH), BG_OK);
    assert_int_equal(server.telemetry.wanted, PUSH);
    for (unsigned i = 0; i < 3; i++)
        fire(TELEMETRY_PUSH, i);
    fire(TELEMETRY_CONFIG_ADD, 7);
    expect_nothing(world.l);
    turn(0);
    const char *ref = expect_batch(0, 3);
    fire(TELEMETRY_PUSH, 3);
    fire(TELEMETRY_PUSH, 4);
    turn(1000);
    expect_nothing(world.l);
    ended(ref, "normal");
    turn(0);
    ended(expect_batch(3, 2), "normal");
    turn(0);
    expect_nothing(world.l);
    assert_int_equal(server.metrics.value[METRIC_TELEMETRY_EVENTS], 5);
    assert_int_equal(server.metrics.value[METRIC_TELEMETRY_DROPPED], 0);
}

static void a_slow_handler_loses_what_is_too_much(void **state)
{
    (void)state;
    assert_int_equal(attach("a", PUSH), BG_OK);
    fire(TELEMETRY_PUSH, 0);
    turn(0);
    const char *ref = expect_batch(0, 1);
    for (unsigned i = 0; i < HANDLER_BATCH_MAX + 100; i++)
        fire(TELEMETRY_PUSH, i);
    assert_int_equal(server.metrics.value[METRIC_TELEMETRY_DROPPED], 100);
    ended(ref, "normal");
    turn(0);
    (void)expect_batch(0, HANDLER_BATCH_MAX);
}

static void a_large_function_makes_small_batches(void **state)
{
    (void)state;
    static const char zeros[60000];
    struct buf fun;
    buf_init(&fun, 0);
    term_put_binary(&fun, slice_make(zeros, sizeof(zeros))); /* what it is matters to its node only */
    assert_int_equal(attach_with("a", PUSH, buf_slice(&fun)), BG_OK);
    for (unsigned i = 0; i < 10; i++)
        fire(TELEMETRY_PUSH, i);
    assert_int_equal(server.metrics.value[METRIC_TELEMETRY_DROPPED], 6);
    buf_fini(&fun);
}

static void a_handler_that_raises_or_is_killed_is_detached(void **state)
{
    (void)state;
    static const char *const reasons[] = {"{badarg,[{m,f,0,[]}]}", "killed"};
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        assert_int_equal(attach("bad", PUSH), BG_OK);
        assert_int_equal(attach("good", PUSH), BG_OK);
        fire(TELEMETRY_PUSH, 0);
        turn(0);
        const char *ref = expect_batch(0, 1);
        fire(TELEMETRY_PUSH, 1);
        ended(ref, reasons[i]);
        assert_int_equal(server.metrics.value[METRIC_TELEMETRY_HANDLERS], 1);
        ended(expect_batch(0, 1), "normal");
        turn(0);
        ended(expect_batch(1, 1), "normal");
        expect_nothing(world.l);
        telemetry_detach(hs, SLICE_LIT("good"), false, PUSH);
        assert_int_equal(server.telemetry.wanted, 0);
    }
}

static void a_handler_that_hangs_is_killed_and_detached(void **state)
{
    (void)state;
    assert_int_equal(attach("a", PUSH), BG_OK);
    fire(TELEMETRY_PUSH, 0);
    turn(0);
    const char *ref = expect_batch(0, 1);
    turn((uint64_t)HANDLER_TIMEOUT_MS * 1000 + 1);
    expect_sent(world.l, textf("{20,%s," WORKER ",%s}", me, ref));
    expect_sent(world.l, textf("{8,%s," WORKER ",kill}", me));
    assert_int_equal(server.telemetry.wanted, 0);
}

static void a_connection_that_takes_no_more_is_tried_again(void **state)
{
    (void)state;
    assert_int_equal(attach("a", PUSH), BG_OK);
    world.l->refuse = true;
    fire(TELEMETRY_PUSH, 0);
    turn(0);
    fire(TELEMETRY_PUSH, 1);
    turn(50000);
    world.l->refuse = false;
    turn(1000);
    expect_nothing(world.l);
    turn(100000);
    ended(expect_batch(0, 2), "normal");
}

/* As in the library: ok each time, and one handler under one id */
static void an_id_is_attached_once_to_an_event(void **state)
{
    (void)state;
    const uint32_t add = TELEMETRY_BIT(TELEMETRY_CONFIG_ADD);
    assert_int_equal(attach("a", PUSH), BG_OK);
    assert_int_equal(attach("a", PUSH), BG_OK);
    assert_int_equal(server.metrics.value[METRIC_TELEMETRY_HANDLERS], 1);
    assert_int_equal(attach("a", PUSH | add), BG_OK);
    assert_int_equal(server.telemetry.wanted, PUSH | add);
    fire(TELEMETRY_PUSH, 0);
    turn(0);
    ended(expect_batch(0, 1), "normal");
    expect_nothing(world.l);
    telemetry_detach(hs, SLICE_LIT("a"), true, UINT32_MAX); /* Telemetry.attach_all's id */
    telemetry_detach(hs, SLICE_LIT("b"), false, UINT32_MAX);
    assert_int_equal(server.telemetry.wanted, PUSH | add);
    telemetry_detach(hs, SLICE_LIT("a"), false, add);
    assert_int_equal(server.telemetry.wanted, PUSH);
    telemetry_detach(hs, SLICE_LIT("a"), false, UINT32_MAX);
    assert_int_equal(server.telemetry.wanted, 0);
    assert_int_equal(server.metrics.value[METRIC_TELEMETRY_HANDLERS], 0);
}

static void what_happened_before_a_detach_is_still_delivered(void **state)
{
    (void)state;
    assert_int_equal(attach("a", PUSH), BG_OK);
    fire(TELEMETRY_PUSH, 0);
    turn(0);
    const char *ref = expect_batch(0, 1);
    fire(TELEMETRY_PUSH, 1);
    telemetry_detach(hs, SLICE_LIT("a"), false, PUSH);
    fire(TELEMETRY_PUSH, 2);
    assert_int_equal(attach("a", PUSH), BG_OK); /* another one */
    ended(ref, "normal");
    turn(0);
    ended(expect_batch(1, 1), "normal");
    fire(TELEMETRY_PUSH, 3);
    turn(0);
    ended(expect_batch(3, 1), "normal");
    expect_nothing(world.l);
}

static void handlers_go_with_their_node(void **state)
{
    (void)state;
    assert_int_equal(attach("a", PUSH), BG_OK);
    assert_int_equal(attach("b", PUSH), BG_OK);
    fire(TELEMETRY_PUSH, 0);
    turn(0);
    (void)expect_batch(0, 1);
    (void)expect_batch(0, 1);
    fire(TELEMETRY_PUSH, 1);
    handle_t link = dist_link_handle(world.l);
    link_down(world.l);
    telemetry_link_down(hs, link);
    assert_int_equal(server.telemetry.wanted, 0);
    turn(0);
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
}

static void handlers_are_bounded_in_number_and_size(void **state)
{
    (void)state;
    char id[16];
    struct buf fun;
    buf_init(&fun, 0);
    for (unsigned i = 0; i < HANDLERS_MAX; i++) {
        snprintf(id, sizeof(id), "h%u", i);
        assert_int_equal(attach(id, PUSH), BG_OK);
    }
    assert_int_equal(attach("one too many", PUSH), BG_ELIMIT);
    telemetry_detach(hs, SLICE_LIT("h0"), false, PUSH);
    void *room = buf_reserve(&fun, HANDLER_TERMS_MAX);
    assert_non_null(room);
    memset(room, 'j', HANDLER_TERMS_MAX);
    assert_int_equal(attach_with("large", PUSH, slice_make(room, HANDLER_TERMS_MAX)), BG_ELIMIT);
    assert_int_equal(attach("h0", PUSH), BG_OK);
    buf_fini(&fun);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_handler_gets_its_events_in_order_one_batch_at_a_time),
        TEST(a_slow_handler_loses_what_is_too_much),
        TEST(a_large_function_makes_small_batches),
        TEST(a_handler_that_raises_or_is_killed_is_detached),
        TEST(a_handler_that_hangs_is_killed_and_detached),
        TEST(a_connection_that_takes_no_more_is_tried_again),
        TEST(an_id_is_attached_once_to_an_event),
        TEST(what_happened_before_a_detach_is_still_delivered),
        TEST(handlers_go_with_their_node),
        TEST(handlers_are_bounded_in_number_and_size),
    };
    return cmocka_run_group_tests_name("telemetry_handlers", tests, NULL, NULL);
}
