/* test_tracer.c: traces of requests (O-095): what the pipeline tells, to whom it goes, and that a trace ends. The
 * cluster and its links are in memory. */
#include "dist_world.h"

#include "../../c_src/server/server_state.h"
#include "../../c_src/server/trace_message.h"
#include "fake_world.h"

#define TRACER "<svc@h:5.1>"
#define ASK(type, id, rest) "{\"service\":\"svc\",\"request_type\":\"" type "\",\"request_id\":\"" id "\"" rest "}"
#define ARGS ",\"args\":{\"msg\":\"secret\"}"

static struct server server;
static struct fake_world clients;
static uint32_t id;
static unsigned lines, ended;
static enum trace_end end_reason;
static char last_line[1000], all_lines[8000];

static void with_trace(struct gateway_options *o)
{
    o->trace = tracer_ops(server.tracer);
}

static int start(void **state)
{
    world_setup(state);
    memset(&server, 0, sizeof(server));
    server.self = fake_self;
    server.cluster = &fake_cluster;
    server.processes = world.pt;
    timers_init(&server.timers, 5000000);
    server.tracer = tracer_new(&server);
    fake_world_init(&clients, with_trace);
    server.gateway = clients.gw;
    clients.session.topic = SLICE_LIT("\"api:lobby\"");
    fake_function(&clients, "echo", ", arg_types: %{\"msg\" => :string}, arg_orders: [\"msg\"]");
    fake_function(&clients, "other", ", mfa: {Other, :go, []}");
    fake_function(&clients, "later", ", response_type: :async");
    lines = ended = 0;
    all_lines[0] = '\0';
    log_set_level(LOG_ERROR);
    return 0;
}

static int stop(void **state)
{
    gateway_channel_closed(clients.gw, &clients.waiting);
    tracer_free(server.tracer);
    fake_world_fini(&clients);
    assert_int_equal(timers_next(&server.timers), UINT64_MAX);
    timers_fini(&server.timers);
    return world_teardown(state);
}

static void on_line(void *ctx, uint32_t trace, struct slice json)
{
    (void)ctx;
    assert_int_equal(trace, id);
    lines++;
    slice_cstr(json, last_line, sizeof(last_line));
    strncat(all_lines, last_line, sizeof(all_lines) - strlen(all_lines) - 2);
    strcat(all_lines, "\n");
}

static void on_ended(void *ctx, uint32_t trace, enum trace_end why)
{
    (void)ctx;
    (void)trace;
    ended++;
    end_reason = why;
}

/* A term until the next one. */
static struct slice term(const char *source)
{
    static struct buf b;
    buf_reset(&b);
    put_text(&b, source);
    return buf_slice(&b);
}

static struct trace_wanted local(void)
{
    struct trace_wanted w;
    trace_wanted_init(&w);
    w.to_log = false;
    w.listener = (struct trace_listener){NULL, on_line, on_ended};
    return w;
}

static struct trace_wanted remote(void)
{
    struct trace_wanted w;
    trace_wanted_init(&w);
    w.receiver = term(TRACER);
    w.link = world.l;
    return w;
}

static void begin(const struct trace_wanted *w)
{
    struct err e;
    assert_int_equal(tracer_start(server.tracer, w, &id, &e), BG_OK);
}

static void pass(uint64_t us)
{
    timers_run(&server.timers, server.timers.now_us + us, 0);
}

static void expect_line(const char *part)
{
    if (!strstr(all_lines, part))
        fail_msg("no %s in %s", part, all_lines);
}

static void ask_and_answer(const char *request_id)
{
    char payload[300];
    snprintf(payload, sizeof(payload), ASK("echo", "%s", ARGS), request_id);
    fake_request(&clients, "1", payload);
    fake_answer(&clients, clients.calls - 1, CALL_RETURN, "{:ok, \"secret\"}");
}

/* ---- what is told ---- */

static void a_request_is_told_from_its_frame_to_its_answer(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    begin(&w);
    ask_and_answer("r1");
    assert_int_equal(lines, 5);
    expect_line(
        "{\"trace\":1,\"event\":\"receive\",\"request_id\":\"r1\",\"service\":\"svc\",\"request_type\":\"echo\","
        "\"user_id\":\"u1\",\"topic\":\"api:lobby\",\"bytes\":");
    expect_line("\"event\":\"call\",\"request_id\":\"r1\",\"service\":\"svc\",\"request_type\":\"echo\","
                "\"node\":\"svc@localhost\",\"bytes\":11,\"module\":\"Elixir.M\",\"function\":\"f\",\"arity\":1}");
    expect_line("\"event\":\"return_from\"");
    expect_line("\"outcome\":\"return\"");
    expect_line("\"event\":\"send\",\"request_id\":\"r1\",\"service\":\"svc\",\"request_type\":\"echo\","
                "\"success\":true,\"error\":null,\"more\":false,\"bytes\":");
    expect_line("\"event\":\"request_end\"");
}

/* Payloads may be secrets: neither the client's arguments nor the service's result is told. */
static void what_was_sent_is_never_told(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    begin(&w);
    ask_and_answer("r1");
    assert_null(strstr(all_lines, "secret"));
}

static void an_error_is_told_as_the_client_reads_it(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    begin(&w);
    fake_request(&clients, "1", ASK("nope", "r1", ""));
    expect_line("\"success\":false,\"error\":\"unsupported function: nope version latest\"");
    fake_request(&clients, "1", ASK("echo", "r2", ARGS));
    fake_answer(&clients, 0, CALL_TIMEOUT, NULL);
    expect_line("\"event\":\"exception_from\"");
    expect_line("\"outcome\":\"timeout\"");
}

static void an_async_request_says_that_more_follows(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    begin(&w);
    fake_request(&clients, "1", ASK("later", "r1", ""));
    expect_line("\"more\":true");
    assert_null(strstr(all_lines, "\"more\":false"));
    fake_answer(&clients, 0, CALL_RETURN, "1");
    expect_line("\"more\":false");
}

/* What cannot even be decoded has a request_id at best. */
static void a_request_that_is_refused_at_once_is_told(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    begin(&w);
    fake_request(&clients, "1", "[1]");
    fake_request(&clients, "1", "{\"request_id\":\"r\\u0031\"}");
    expect_line("\"request_id\":\"unknown\"");
    expect_line("\"request_id\":\"r\\u0031\"");
    expect_line("Invalid request: ");
}

/* ---- which requests ---- */

static unsigned lines_with(const struct trace_wanted *w)
{
    begin(w);
    lines = 0;
    ask_and_answer("r1");
    assert_true(tracer_stop(server.tracer, id));
    return lines;
}

static void a_filter_holds_when_everything_that_is_given_holds(void **state)
{
    (void)state;
#define ROW(member, text)                                                                                              \
    {                                                                                                                  \
        offsetof(struct trace_filter, member), text                                                                    \
    }
    static const struct {
        size_t member;
        const char *text;
    } holds[] = {ROW(request_id, "r1"),     ROW(user_id, "u1"),      ROW(topic, "api:lobby"), ROW(service, "svc"),
                 ROW(request_type, "echo"), ROW(module, "Elixir.M"), ROW(function, "f")};
    for (size_t i = 0; i < ARRAY_SIZE(holds); i++) {
        struct trace_wanted w = local();
        struct slice *text = (struct slice *)(void *)((char *)&w.filter + holds[i].member);
        *text = slice_str(holds[i].text);
        if (holds[i].member == offsetof(struct trace_filter, function))
            w.filter.module = SLICE_LIT("Elixir.M");
        assert_int_equal(lines_with(&w), 5);
        *text = SLICE_LIT("else");
        assert_int_equal(lines_with(&w), 0);
    }
}

static void one_channel_can_be_traced_and_one_arity(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    w.filter.channel = 7;
    assert_int_equal(lines_with(&w), 5);
    w.filter.channel = 8;
    assert_int_equal(lines_with(&w), 0);
    w = local();
    w.filter.module = SLICE_LIT("Elixir.M");
    w.filter.arity = 1;
    assert_int_equal(lines_with(&w), 5);
    w.filter.arity = 2;
    assert_int_equal(lines_with(&w), 0);
}

/* Nothing is told of a request before it is known to be one of the function's. */
static void a_trace_of_a_function_sees_nothing_of_other_requests(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    w.filter.module = SLICE_LIT("Elixir.Other");
    begin(&w);
    ask_and_answer("r1");
    fake_request(&clients, "1", ASK("nope", "r1", ""));
    fake_request(&clients, "1", "[1]");
    assert_int_equal(lines, 0);
    fake_request(&clients, "1", ASK("other", "r3", ""));
    assert_int_equal(lines, 2);
    expect_line("\"event\":\"receive\",\"request_id\":\"r3\"");
}

static void calls_and_frames_can_be_had_alone(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    w.frames = false;
    assert_int_equal(lines_with(&w), 2);
    w.frames = true;
    w.calls = false;
    assert_int_equal(lines_with(&w), 3);
}

static void traces_do_not_disturb_one_another(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    uint32_t first;
    w.filter.user_id = SLICE_LIT("somebody else");
    begin(&w);
    first = id;
    w.filter.user_id = SLICE_LIT("u1");
    begin(&w);
    ask_and_answer("r1");
    assert_int_equal(lines, 5);
    assert_true(tracer_stop(server.tracer, first));
    ask_and_answer("r2");
    assert_int_equal(lines, 10);
}

/* A trace takes the place of one that has ended, not its requests. */
static void a_request_in_flight_is_not_taken_for_a_later_trace_s(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    begin(&w);
    fake_request(&clients, "1", ASK("echo", "r1", ARGS));
    assert_true(tracer_stop(server.tracer, id));
    lines = 0;
    w.filter.user_id = SLICE_LIT("somebody else");
    begin(&w);
    fake_answer(&clients, 0, CALL_RETURN, "1");
    assert_int_equal(lines, 0);
}

/* ---- to a process on another node ---- */

static void messages_have_the_shape_of_erlang_s(void **state)
{
    (void)state;
    struct trace_wanted w = remote();
    begin(&w);
    char *monitor = fake_sent(world.l);
    assert_non_null(strstr(monitor, "{19,"));
    free(monitor);
    ask_and_answer("r1");
    static const char *const parts[] = {
        "| {trace,<gw@127.0.0.1:7.0>,'receive',", "| {trace,<gw@127.0.0.1:7.0>,call,{'Elixir.M',f,1},",
        "| {trace,<gw@127.0.0.1:7.0>,return_from,{'Elixir.M',f,1},", "| {trace,<gw@127.0.0.1:7.0>,send,",
        "| {trace,<gw@127.0.0.1:7.0>,request_end,"};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        char *got = fake_sent(world.l);
        assert_non_null(got);
        if (!strstr(got, parts[i]) && !strstr(got, "{trace,<gw@127.0.0.1:7.0>,receive,"))
            fail_msg("%s is not in %s", parts[i], got);
        free(got);
    }
    expect_nothing(world.l);
}

static void a_timestamp_makes_it_trace_ts(void **state)
{
    (void)state;
    struct trace_wanted w = remote();
    w.timestamps = true;
    w.frames = false;
    begin(&w);
    free(fake_sent(world.l));
    ask_and_answer("r1");
    char *got = fake_sent(world.l);
    assert_non_null(strstr(got, "{trace_ts,"));
    free(got);
    free(fake_sent(world.l));
}

static void a_tracer_that_ends_ends_its_trace(void **state)
{
    (void)state;
    struct trace_wanted w = remote();
    w.listener = local().listener;
    begin(&w);
    free(fake_sent(world.l));
    process_link_down(world.pt, world.l);
    assert_int_equal(ended, 1);
    assert_int_equal(end_reason, TRACE_RECEIVER_GONE);
    assert_false(tracer_stop(server.tracer, id));
}

static void a_connection_that_takes_no_more_loses_messages_and_counts_them(void **state)
{
    (void)state;
    struct trace_wanted w = remote();
    struct trace_info info;
    unsigned pos = 0;
    begin(&w);
    free(fake_sent(world.l));
    world.l->refuse = true;
    ask_and_answer("r1");
    world.l->refuse = false;
    assert_true(tracer_next(server.tracer, &pos, &info));
    assert_int_equal(info.dropped, 5);
    pass(1000000);
    fake_request(&clients, "1", ASK("nope", "r1", ""));
    char *got = fake_sent(world.l);
    assert_non_null(strstr(got, "| {drop,5}"));
    free(got);
    for (unsigned i = 0; i < 3; i++)
        free(fake_sent(world.l));
    expect_nothing(world.l);
}

/* ---- bounds ---- */

static void no_more_messages_a_second_than_wanted(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    w.max_per_second = 7;
    begin(&w);
    for (unsigned i = 0; i < 4; i++)
        ask_and_answer("r");
    assert_int_equal(lines, 7);
    assert_int_equal(server.metrics.value[METRIC_TRACE_DROPPED], 13);
    pass(1000000);
    ask_and_answer("r");
    assert_int_equal(lines, 12);
    assert_int_equal(server.metrics.value[METRIC_TRACE_MESSAGES], 12);
}

static void a_trace_ends_with_its_number_of_messages(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    w.max_messages = 3;
    begin(&w);
    ask_and_answer("r1");
    assert_int_equal(lines, 3);
    assert_int_equal(ended, 0);
    pass(1);
    assert_int_equal(ended, 1);
    assert_int_equal(end_reason, TRACE_MESSAGES_OVER);
    ask_and_answer("r2");
    assert_int_equal(lines, 3);
}

static void a_trace_ends_with_its_time(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    begin(&w);
    pass((uint64_t)(TRACE_EXPIRES_MS_DEFAULT - 1) * 1000);
    assert_int_equal(ended, 0);
    pass(1000);
    assert_int_equal(ended, 1);
    assert_int_equal(end_reason, TRACE_EXPIRED);
    assert_int_equal(server.metrics.value[METRIC_TRACES], 0);
}

static void the_receiver_is_told_that_it_ended_and_why(void **state)
{
    (void)state;
    struct trace_wanted w = remote();
    w.expires_ms = 5;
    begin(&w);
    free(fake_sent(world.l));
    pass(5000);
    char *got = fake_sent(world.l);
    assert_non_null(strstr(got, "| {trace_ended,1,expired}"));
    free(got);
    for (char *t; (t = fake_sent(world.l));)
        free(t); /* the monitor is taken back */
}

static void there_are_only_so_many_traces(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    struct err e;
    for (unsigned i = 0; i < TRACES_MAX; i++)
        begin(&w);
    assert_int_equal(tracer_start(server.tracer, &w, &id, &e), BG_ELIMIT);
    assert_true(tracer_stop(server.tracer, 3));
    begin(&w);
    assert_int_equal(id, TRACES_MAX + 1);
    assert_int_equal(server.metrics.value[METRIC_TRACES], TRACES_MAX);
}

static void texts_that_are_too_long_are_refused(void **state)
{
    (void)state;
    static char text[TRACE_TEXTS_MAX + 1];
    struct trace_wanted w = local();
    struct err e;
    memset(text, 'x', sizeof(text));
    w.filter.topic = slice_make(text, sizeof(text));
    assert_int_equal(tracer_start(server.tracer, &w, &id, &e), BG_ELIMIT);
    assert_int_equal(server.metrics.value[METRIC_TRACES], 0);
}

static void what_is_no_process_of_the_node_cannot_be_told(void **state)
{
    (void)state;
    struct trace_wanted w = remote();
    struct err e;
    w.receiver = term("<other@h:5.1>");
    assert_int_equal(tracer_start(server.tracer, &w, &id, &e), BG_EGONE);
    assert_int_equal(process_count(world.pt), 5);
}

static void the_traces_can_be_listed(void **state)
{
    (void)state;
    struct trace_wanted w = local();
    struct trace_info info;
    unsigned pos = 0;
    char service[] = "svc";
    w.filter.service = slice_str(service);
    begin(&w);
    service[0] = 'x'; /* the filter has its own copy */
    ask_and_answer("r1");
    assert_true(tracer_next(server.tracer, &pos, &info));
    assert_int_equal(info.id, id);
    assert_slice_is(info.filter->service, "svc");
    assert_int_equal(info.messages, 5);
    assert_int_equal(info.expires_in_ms, TRACE_EXPIRES_MS_DEFAULT);
    assert_false(tracer_next(server.tracer, &pos, &info));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_told_from_its_frame_to_its_answer),
        TEST(what_was_sent_is_never_told),
        TEST(an_error_is_told_as_the_client_reads_it),
        TEST(an_async_request_says_that_more_follows),
        TEST(a_request_that_is_refused_at_once_is_told),
        TEST(a_filter_holds_when_everything_that_is_given_holds),
        TEST(one_channel_can_be_traced_and_one_arity),
        TEST(a_trace_of_a_function_sees_nothing_of_other_requests),
        TEST(calls_and_frames_can_be_had_alone),
        TEST(traces_do_not_disturb_one_another),
        TEST(a_request_in_flight_is_not_taken_for_a_later_trace_s),
        TEST(messages_have_the_shape_of_erlang_s),
        TEST(a_timestamp_makes_it_trace_ts),
        TEST(a_tracer_that_ends_ends_its_trace),
        TEST(a_connection_that_takes_no_more_loses_messages_and_counts_them),
        TEST(no_more_messages_a_second_than_wanted),
        TEST(a_trace_ends_with_its_number_of_messages),
        TEST(a_trace_ends_with_its_time),
        TEST(the_receiver_is_told_that_it_ended_and_why),
        TEST(there_are_only_so_many_traces),
        TEST(texts_that_are_too_long_are_refused),
        TEST(what_is_no_process_of_the_node_cannot_be_told),
        TEST(the_traces_can_be_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
