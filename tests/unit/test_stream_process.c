/*
 * test_stream_process.c: who feeds a stream, and what the ends of producers mean (E-150 want), on links without sockets.
 */
#include "dist_world.h"

#include "stream_process.h"

#define A "<svc@h:5.1>"
#define B "<svc@h:6.1>"
#define CALLER "<svc@h:9.1>"

enum { TAG = 77, GRACE_MS = 100 };

struct heard {
    unsigned messages, orphaned;
    const char *why;
};

static struct stream_processes streams;
static struct heard heard;
static handle_t stream;

static void on_message(void *ctx, uint64_t tag, struct slice msg)
{
    assert_ptr_equal(ctx, &heard);
    assert_int_equal(tag, TAG);
    assert_true(msg.len > 0);
    heard.messages++;
}

static void on_orphaned(void *ctx, uint64_t tag, const char *why)
{
    assert_ptr_equal(ctx, &heard);
    assert_int_equal(tag, TAG);
    heard.orphaned++;
    heard.why = why;
}

static int setup(void **state)
{
    int rc = world_setup(state);
    memset(&heard, 0, sizeof(heard));
    streams = (struct stream_processes){
        world.pt, &world.timers, {&heard, on_message, on_orphaned, NULL, NULL}, GRACE_MS * 1000};
    stream = stream_process_open(&streams, TAG);
    stream_process_calling(&streams, stream);
    return rc == 0 && stream != HANDLE_NONE ? 0 : -1;
}

static int teardown(void **state)
{
    stream_process_close(&streams, stream);
    assert_int_equal(process_relations(world.pt), 0);
    assert_int_equal(timers_next(&world.timers), UINT64_MAX);
    return world_teardown(state);
}

static void send_from(const char *sender)
{
    feed(textf("{22,%s,%s}", sender, pid_text(stream)), "{result,1}");
}

/* A message of a producer that we do not know yet: returns the reference of the monitor that is set on it. */
static const char *first_from(const char *sender)
{
    send_from(sender);
    char *control = fake_sent(world.l);
    const char *head = textf("{19,%s,%s,", pid_text(stream), sender);
    assert_non_null(control);
    if (strncmp(control, head, strlen(head)) != 0)
        fail_msg("expected a monitor on %s, got %s", sender, control);
    const char *rest = control + strlen(head);
    const char *ref = textf("%.*s", (int)strcspn(rest, "}"), rest);
    free(control);
    return ref;
}

static void goes_down(const char *producer, const char *ref, const char *reason)
{
    feed(textf("{21,%s,%s,%s,%s}", producer, pid_text(stream), ref, reason), NULL);
}

static void called_by(const char *pid)
{
    struct buf b;
    buf_init(&b, 0);
    if (pid)
        put_text(&b, pid);
    stream_process_called(&streams, stream, buf_slice(&b));
    buf_fini(&b);
}

static void pass_ms(uint64_t ms)
{
    timers_run(&world.timers, world.timers.now_us + ms * 1000, 0);
}

static void E_150_a_producer_that_crashes_ends_the_stream_at_once(void **state)
{
    (void)state;
    called_by(CALLER);
    const char *ref = first_from(A);
    send_from(A); /* watched once only */
    expect_nothing(world.l);
    assert_int_equal(heard.messages, 2);
    goes_down(A, ref, "{badmatch,1}");
    assert_int_equal(heard.orphaned, 1);
    assert_string_equal(heard.why, "the stream's producer died");
}

static void E_150_a_producer_that_is_killed_or_shut_down_ends_the_stream_at_once(void **state)
{
    static const char *const reasons[] = {"killed", "shutdown", "{shutdown,x}", "noconnection"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        stream_process_calling(&streams, stream);
        const char *ref = first_from(A);
        called_by(NULL);
        goes_down(A, ref, reasons[i]);
        assert_int_equal(heard.orphaned, i + 1);
    }
}

static void E_150_a_producer_that_ends_in_good_order_leaves_time_for_another(void **state)
{
    static const char *const reasons[] = {"normal", "noproc"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        stream_process_calling(&streams, stream);
        called_by(CALLER);
        goes_down(A, first_from(A), reasons[i]);
        pass_ms(GRACE_MS - 1);
        const char *ref = first_from(B); /* the next of a chain of tasks */
        pass_ms(GRACE_MS * 2);
        assert_int_equal(heard.orphaned, i);
        goes_down(B, ref, reasons[i]);
        pass_ms(GRACE_MS);
        assert_int_equal(heard.orphaned, i + 1);
        assert_string_equal(heard.why, "the stream's producer ended without a last word");
    }
}

static void a_stream_goes_on_while_one_of_its_producers_lives(void **state)
{
    (void)state;
    called_by(CALLER);
    const char *a = first_from(A), *b = first_from(B);
    goes_down(A, a, "boom");
    pass_ms(GRACE_MS * 2);
    assert_int_equal(heard.orphaned, 0);
    goes_down(B, b, "normal");
    assert_int_equal(heard.orphaned, 1); /* one crashed: nothing is to be hoped for */
}

static void the_process_that_runs_the_function_is_no_producer(void **state)
{
    (void)state;
    const char *ref = first_from(CALLER);
    called_by(CALLER);
    expect_sent(world.l, textf("{20,%s," CALLER ",%s}", pid_text(stream), ref)); /* no longer watched */
    goes_down(CALLER, ref, "boom");
    pass_ms(GRACE_MS * 2);
    assert_int_equal(heard.orphaned, 0);
    const char *a = first_from(A);
    goes_down(A, a, "boom");
    assert_int_equal(heard.orphaned, 1);
}

/* Over SPAWN_REQUEST both monitors on it fire, in any order, and the reason is its report. */
static void the_report_of_the_process_that_ran_the_function_is_no_crash(void **state)
{
    (void)state;
    const char *ref = first_from(CALLER);
    goes_down(CALLER, ref, "{5,return,ok}");
    called_by(CALLER);
    pass_ms(GRACE_MS * 2);
    assert_int_equal(heard.orphaned, 0);
}

static void what_ends_while_the_call_runs_counts_when_it_returns(void **state)
{
    (void)state;
    goes_down(A, first_from(A), "boom");
    assert_int_equal(heard.orphaned, 0);
    called_by(CALLER);
    assert_int_equal(heard.orphaned, 1);
}

static void producers_of_an_earlier_node_are_forgotten(void **state)
{
    (void)state;
    const char *ref = first_from(A);
    stream_process_calling(&streams, stream);
    expect_sent(world.l, textf("{20,%s," A ",%s}", pid_text(stream), ref));
    called_by(CALLER);
    goes_down(A, ref, "boom");
    assert_int_equal(heard.orphaned, 0);
}

static void a_node_that_is_lost_takes_its_producers_along(void **state)
{
    (void)state;
    called_by(CALLER);
    (void)first_from(A);
    link_down(world.l);
    assert_int_equal(heard.orphaned, 1);
}

static void a_sender_that_cannot_be_watched_keeps_the_stream_alive(void **state)
{
    (void)state;
    called_by(CALLER);
    goes_down(A, first_from(A), "normal");
    feed(textf("{2,'',%s}", pid_text(stream)), "{result,1}"); /* a node that names no senders */
    pass_ms(GRACE_MS * 2);
    assert_int_equal(heard.orphaned, 0);
}

static void more_producers_than_can_be_watched_keep_the_stream_alive(void **state)
{
    char ref[STREAM_PRODUCERS_MAX][64];
    (void)state;
    called_by(CALLER);
    for (int i = 0; i < STREAM_PRODUCERS_MAX; i++)
        snprintf(ref[i], sizeof(ref[i]), "%s", first_from(textf("<svc@h:%d.1>", 20 + i)));
    send_from(textf("<svc@h:%d.1>", 20 + STREAM_PRODUCERS_MAX));
    expect_nothing(world.l);
    for (int i = 0; i < STREAM_PRODUCERS_MAX; i++)
        goes_down(textf("<svc@h:%d.1>", 20 + i), ref[i], "boom");
    assert_int_equal(heard.orphaned, 0);
}

static void an_exit_signal_ends_the_stream_once(void **state)
{
    (void)state;
    called_by(CALLER);
    feed(textf("{8," A ",%s,normal}", pid_text(stream)), NULL);
    assert_int_equal(heard.orphaned, 0);
    feed(textf("{8," A ",%s,kill}", pid_text(stream)), NULL);
    feed(textf("{8," A ",%s,kill}", pid_text(stream)), NULL);
    assert_int_equal(heard.orphaned, 1);
}

static void a_closed_stream_takes_nothing_and_watches_nobody(void **state)
{
    (void)state;
    called_by(CALLER);
    const char *ref = first_from(A);
    stream_process_close(&streams, stream);
    expect_sent(world.l, textf("{20,%s," A ",%s}", pid_text(stream), ref));
    send_from(A);
    goes_down(A, ref, "boom");
    stream_process_close(&streams, stream);
    stream_process_called(&streams, stream, SLICE_NONE);
    assert_int_equal(heard.messages, 1);
    assert_int_equal(heard.orphaned, 0);
}

#define WITH_WORLD(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(E_150_a_producer_that_crashes_ends_the_stream_at_once),
        WITH_WORLD(E_150_a_producer_that_is_killed_or_shut_down_ends_the_stream_at_once),
        WITH_WORLD(E_150_a_producer_that_ends_in_good_order_leaves_time_for_another),
        WITH_WORLD(a_stream_goes_on_while_one_of_its_producers_lives),
        WITH_WORLD(the_process_that_runs_the_function_is_no_producer),
        WITH_WORLD(the_report_of_the_process_that_ran_the_function_is_no_crash),
        WITH_WORLD(what_ends_while_the_call_runs_counts_when_it_returns),
        WITH_WORLD(producers_of_an_earlier_node_are_forgotten),
        WITH_WORLD(a_node_that_is_lost_takes_its_producers_along),
        WITH_WORLD(a_sender_that_cannot_be_watched_keeps_the_stream_alive),
        WITH_WORLD(more_producers_than_can_be_watched_keep_the_stream_alive),
        WITH_WORLD(an_exit_signal_ends_the_stream_once),
        WITH_WORLD(a_closed_stream_takes_nothing_and_watches_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
