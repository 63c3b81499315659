/* test_telemetry.c: the library's telemetry events (O-001..O-033): their names, their bound, and what the request pipeline
 * tells of requests of every kind. */
#include "unit.h"

#include "fake_world.h"
#include "rate_limiter.h"
#include "telemetry.h"

enum { EVENTS_MAX = 32, TEXT_MAX = 1024 };

#define ASK(type, rest) "{\"service\":\"svc\",\"request_type\":\"" type "\",\"request_id\":\"r\"" rest "}"
#define ONE_STRING ", arg_types: %{\"msg\" => :string}, arg_orders: [\"msg\"]"
#define WHO(type) "request_id: \"r\", request_type: \"" type "\", service: \"svc\", user_id: \"u1\""

static struct fake_world world;
static struct telemetry telemetry;
static char told[EVENTS_MAX][TEXT_MAX]; /* "name measurements metadata", numbers of a measurement as 0 */
static unsigned told_count;

static void zero_numbers(char *text)
{
    char *out = text;
    for (const char *p = text; *p; p++) {
        bool digit = isdigit((unsigned char)*p), again = out > text && out[-1] == '0' && digit;
        if (!again)
            *out++ = digit ? '0' : *p;
    }
    *out = '\0';
}

static void on_event(void *ctx, enum telemetry_event event, struct slice terms)
{
    struct term_reader r = term_reader(terms);
    struct slice name, measurements, metadata;
    struct buf text;
    assert_ptr_equal(ctx, &world);
    assert_true(telemetry.wanted & TELEMETRY_BIT(event));
    assert_int_equal(term_skip(&r, &name), BG_OK);
    assert_int_equal(term_skip(&r, &measurements), BG_OK);
    assert_int_equal(term_skip(&r, &metadata), BG_OK);
    assert_true(term_at_end(&r));
    assert_int_equal(telemetry_event_of(name), event);
    buf_init(&text, 0);
    term_inspect(measurements, &text, TEXT_MAX);
    buf_putc(&text, '\0');
    zero_numbers((char *)text.data);
    assert_true(told_count < EVENTS_MAX);
    size_t at = (size_t)snprintf(told[told_count], TEXT_MAX, "%s %s ", telemetry_text(event), (char *)text.data);
    buf_reset(&text);
    term_inspect(metadata, &text, TEXT_MAX);
    slice_cstr(buf_slice(&text), told[told_count++] + at, TEXT_MAX - at);
    buf_fini(&text);
}

static void adjust(struct gateway_options *o)
{
    telemetry_init(&telemetry, o->metrics, on_event, &world);
    telemetry.wanted = UINT32_MAX >> 2;
    o->telemetry = &telemetry;
}

static int setup(void **state)
{
    *state = &world;
    told_count = 0;
    fake_world_init(&world, adjust);
    fake_function(&world, "echo", ONE_STRING);
    return 0;
}

static int teardown(void **state)
{
    fake_world_fini(*state);
    telemetry_fini(&telemetry);
    return 0;
}

/* The events since the last time, in their order. */
static void assert_told(const char *const *want)
{
    for (unsigned i = 0; want[i]; i++) {
        if (i >= told_count)
            fail_msg("not told: %s", want[i]);
        assert_string_equal(told[i], want[i]);
    }
    for (unsigned i = 0; i < told_count; i++)
        if (!want[i])
            fail_msg("told as well: %s", told[i]);
    told_count = 0;
}
#define TOLD(...) assert_told((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL, NULL})

#define START(type) "executor.request.start %{system_time: 0} %{" WHO(type) "}"
#define STOP(type, success, async) \
    "executor.request.stop %{duration_us: 0} %{" WHO(type) ", success: " success ", async: " async "}"

/* O-033 */
static void the_events_are_the_librarys_thirty(void **state)
{
    static const struct {
        enum telemetry_event event;
        const char *name;
    } some[] = {
        {TELEMETRY_REQUEST_START, "[:phoenix_gen_api, :executor, :request, :start]"},
        {TELEMETRY_RETRY, "[:phoenix_gen_api, :executor, :retry]"},
        {TELEMETRY_HOOK_AFTER_EXCEPTION, "[:phoenix_gen_api, :hook, :after, :exception]"},
        {TELEMETRY_BREAKER_CLOSE, "[:phoenix_gen_api, :worker_pool, :circuit_breaker, :close]"},
        {TELEMETRY_CONFIG_ENABLE, "[:phoenix_gen_api, :config, :enable]"},
    };
    static const char *const others[] = {"[]", ":x", "[:phoenix_gen_api]", "[:phoenix_gen_api, :executor]",
                                         "[:phoenix_gen_api, :executor, :retry | :x]", "\"executor.retry\""};
    struct buf name, text;
    (void)state;
    buf_init(&name, 0);
    buf_init(&text, 0);
    assert_int_equal(TELEMETRY_EVENTS, 30);
    for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
        buf_reset(&name);
        telemetry_put_name(&name, some[i].event);
        buf_reset(&text);
        term_inspect(buf_slice(&name), &text, TEXT_MAX);
        assert_slice_is(buf_slice(&text), some[i].name);
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        buf_reset(&name);
        assert_int_equal(telemetry_event_of(term_of(&name, others[i])), TELEMETRY_EVENTS);
    }
    buf_fini(&name);
    buf_fini(&text);
}

static void what_nobody_wants_is_not_made(void **state)
{
    struct fake_world *w = *state;
    assert_null(telemetry_begin(NULL, TELEMETRY_PUSH));
    telemetry.wanted = TELEMETRY_BIT(TELEMETRY_REQUEST_STOP);
    assert_null(telemetry_begin(&telemetry, TELEMETRY_PUSH));
    fake_request(w, "1", ASK("echo", ",\"args\":{\"msg\":\"x\"}"));
    telemetry.wanted = 0;
    fake_request(w, "2", ASK("echo", ",\"args\":{\"msg\":\"x\"}"));
    telemetry.wanted = TELEMETRY_BIT(TELEMETRY_REQUEST_STOP);
    fake_answer(w, 0, CALL_RETURN, "{:ok, 1}");
    fake_answer(w, 1, CALL_RETURN, "{:ok, 1}");
    TOLD(STOP("echo", "true", "false")); /* the second began unseen, so its end is not told either */
}

static void events_are_bounded_in_a_second(void **state)
{
    struct fake_world *w = *state;
    struct buf *b;
    unsigned made = 0;
    telemetry.wanted = TELEMETRY_BIT(TELEMETRY_PUSH);
    for (unsigned i = 0; i < 3 * TELEMETRY_PER_SECOND_MAX; i++)
        made += (b = telemetry_begin(&telemetry, TELEMETRY_PUSH)) != NULL;
    assert_int_equal(made + w->metrics.value[METRIC_TELEMETRY_DROPPED], 3 * TELEMETRY_PER_SECOND_MAX);
    assert_true(w->metrics.value[METRIC_TELEMETRY_DROPPED] > 0);
}

/* O-001, O-002 */
static void a_request_has_a_start_and_a_stop(void **state)
{
    struct fake_world *w = *state;
    fake_request(w, "1", ASK("echo", ",\"user_id\":\"someone else\",\"args\":{\"msg\":\"a secret\"}"));
    TOLD(START("echo"));
    fake_answer(w, 0, CALL_RETURN, "{:ok, \"a secret\"}");
    TOLD(STOP("echo", "true", "false"));
    fake_request(w, "1", ASK("echo", ",\"args\":{\"msg\":\"x\"}"));
    fake_answer(w, 1, CALL_RETURN, "{:error, :no}");
    TOLD(START("echo"), STOP("echo", "false", "false"));
    fake_request(w, "1", ASK("unknown", ""));
    TOLD(START("unknown"), STOP("unknown", "false", "false"));
}

/* O-003, O-032 */
static void what_is_not_run_raises_or_is_not_told(void **state)
{
    struct fake_world *w = *state;
    fake_request(w, "1", ASK("echo", ",\"args\":{\"msg\":5}"));
    TOLD(START("echo"), "executor.request.exception %{duration_us: 0} %{" WHO("echo") ", kind: :error, reason: "
                        "\"invalid argument type for \\\"msg\\\", expected :string, got 5\", stacktrace: []}");
    fake_request(w, "1", "{\"service\":5}");
    fake_request(w, "1", "[]");
    TOLD();
}

static void a_client_that_leaves_ends_a_request_in_silence(void **state)
{
    struct fake_world *w = *state;
    fake_request(w, "1", ASK("echo", ",\"args\":{\"msg\":\"x\"}"));
    gateway_channel_closed(w->gw, &w->waiting);
    TOLD(START("echo"));
}

/* O-016..O-018, O-031, O-032 */
static void async_none_and_stream_stop_when_they_are_accepted(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "later", ", response_type: :async");
    fake_function(w, "none", ", response_type: :none");
    fake_function(w, "stream", ", response_type: :stream, timeout: :infinity");
    fake_request(w, "1", ASK("later", ""));
    TOLD(START("later"), STOP("later", "true", "true"), "worker_pool.task.start %{system_time: 0} %{pool_name: :async_pool}");
    fake_answer(w, 0, CALL_RETURN, "1");
    TOLD("worker_pool.task.stop %{duration_us: 0} %{pool_name: :async_pool}");
    fake_request(w, "1", ASK("later", ""));
    fake_answer(w, 1, CALL_EXIT, ":boom");
    TOLD(START("later"), STOP("later", "true", "true"), "worker_pool.task.start %{system_time: 0} %{pool_name: :async_pool}",
         "worker_pool.task.exception %{duration_us: 0} %{pool_name: :async_pool, kind: :error, reason: \"Internal Server Error\", "
         "stacktrace: nil}");
    fake_request(w, "1", ASK("none", ""));
    fake_answer(w, 2, CALL_RETURN, "1");
    TOLD(START("none"), STOP("none", "true", "false"), "worker_pool.task.start %{system_time: 0} %{pool_name: :async_pool}",
         "worker_pool.task.stop %{duration_us: 0} %{pool_name: :async_pool}");
    fake_request(w, "1", ASK("stream", ""));
    fake_answer(w, 3, CALL_RETURN, "{:error, :no}");
    TOLD(START("stream"), STOP("stream", "true", "true"), "worker_pool.task.start %{system_time: 0} %{pool_name: :stream_pool}",
         "worker_pool.task.exception %{duration_us: 0} %{pool_name: :stream_pool, kind: :error, reason: \"Internal Server Error\", "
         "stacktrace: nil}");
}

/* O-004, O-005 */
static void retries_are_told_and_their_end(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "again", ", retry: {:same_node, 1}");
    fake_request(w, "1", ASK("again", ""));
    fake_answer(w, 0, CALL_EXIT, ":boom");
    TOLD(START("again"), "executor.retry %{attempt: 0, backoff_ms: 0} %{mode: :same_node, type: :remote, nodes: [:svc@localhost]}");
    timers_run(&w->timers, w->timers.now_us + 150000, 0);
    fake_answer(w, 1, CALL_EXIT, "{:badmatch, 5}");
    TOLD("executor.retry.exhausted %{} %{request_id: \"r\", mode: {:same_node, 0}, last_error: \"{:error, {:badmatch, 5}}\"}",
         STOP("again", "false", "false"));
    fake_request(w, "1", ASK("again", ""));
    fake_answer(w, 2, CALL_NODEDOWN, NULL);
    timers_run(&w->timers, w->timers.now_us + 150000, 0);
    fake_answer(w, 3, CALL_NODEDOWN, NULL);
    assert_string_equal(told[2], "executor.retry.exhausted %{} %{request_id: \"r\", mode: {:same_node, 0}, last_error: \"{:error, :nodedown}\"}");
    told_count = 0;
    fake_request(w, "1", ASK("echo", ",\"args\":{\"msg\":\"x\"}"));
    fake_answer(w, 4, CALL_EXIT, ":boom");
    TOLD(START("echo"), STOP("echo", "false", "false"));
}

#define HOOK(when) "module: H, function: :f, type: :" when

/* O-010..O-015, O-0331 */
static void hooks_are_told(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "hooked", ", before_execute: {H, :f}, after_execute: {H, :f}, hook_timeout: 700");
    fake_request(w, "1", ASK("hooked", ""));
    TOLD(START("hooked"), "hook.before.start %{system_time: 0} %{" HOOK("before") "}");
    fake_answer(w, 0, CALL_RETURN, ":whatever");
    TOLD("hook.before.stop %{duration_us: 0} %{" HOOK("before") "}");
    fake_answer(w, 1, CALL_RETURN, "1");
    TOLD("hook.after.start %{system_time: 0} %{" HOOK("after") "}", STOP("hooked", "true", "false"));
    fake_answer(w, 2, CALL_RETURN, ":ok");
    TOLD("hook.after.stop %{duration_us: 0} %{" HOOK("after") "}");
    fake_request(w, "1", ASK("hooked", ""));
    fake_answer(w, 3, CALL_TIMEOUT, NULL);
    TOLD(START("hooked"), "hook.before.start %{system_time: 0} %{" HOOK("before") "}",
         "hook.before.exception %{duration_us: 0} %{" HOOK("before") ", kind: :timeout, reason: \"hook timed out after 700ms\", stacktrace: nil}",
         "hook.after.start %{system_time: 0} %{" HOOK("after") "}", STOP("hooked", "false", "false"));
    fake_answer(w, 4, CALL_EXIT, "{:badarg, []}");
    TOLD("hook.after.exception %{duration_us: 0} %{" HOOK("after") ", kind: :error, reason: \"{:badarg, []}\", stacktrace: nil}");
    fake_request(w, "1", ASK("hooked", ""));
    fake_answer(w, 5, CALL_NODEDOWN, NULL);
    told_count = 0; /* the after hook is still at work when the gateway goes */
}

/* The breaker is of a service on a node; the library's keys stay */
static void breakers_are_told(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "f", "");
    telemetry.wanted = TELEMETRY_BIT(TELEMETRY_BREAKER_OPEN) | TELEMETRY_BIT(TELEMETRY_BREAKER_CLOSE);
    for (uint32_t i = 0; i < 5; i++) {
        fake_request(w, "1", ASK("f", ""));
        TOLD();
        fake_answer(w, i, CALL_TIMEOUT, NULL);
    }
    TOLD("worker_pool.circuit_breaker.open %{} %{pool_name: nil, service: \"svc\", node: :svc@localhost, consecutive_failures: 5}");
    w->timers.now_us += 5000000;
    fake_request(w, "1", ASK("f", ""));
    fake_answer(w, 5, CALL_RETURN, "1");
    TOLD("worker_pool.circuit_breaker.close %{} %{pool_name: nil, service: \"svc\", node: :svc@localhost}");
}

static struct rate_limiter *limiter;

static void limited(struct gateway_options *o)
{
    static const struct rate_limit global[] = {{RATE_GLOBAL, {RATE_KEY_USER_ID, SLICE_NONE}, 1, 90000, false}};
    static const struct rate_limit api[] = {{{{"svc", 3}, {"echo", 4}}, {RATE_KEY_ARG, {"msg", 3}}, 0, 90000, false}};
    const struct rate_limiter_options lo = {o->metrics, RATE_BYTES_MIN, false};
    limiter = rate_limiter_new(&lo);
    assert_non_null(limiter);
    assert_int_equal(rate_limiter_set_global(limiter, global, 1, NULL), BG_OK);
    assert_int_equal(rate_limiter_set_api(limiter, api, 1, NULL), BG_OK);
    o->limiter = limiter;
    adjust(o);
}

/* O-006, O-007; an argument's value is not told */
static void the_rate_limiter_is_told(void **state)
{
    struct fake_world *w = *state;
    fake_world_fini(w);
    telemetry_fini(&telemetry);
    fake_world_init(w, limited);
    fake_function(w, "echo", ONE_STRING);
    fake_function(w, "f", "");
    fake_request(w, "1", ASK("echo", ",\"args\":{\"msg\":\"a secret\"}"));
    TOLD(START("echo"),
         "rate_limiter.check %{duration_us: 0} %{" WHO("echo") ", instance: :rate_limiter_instance_0, result: {:error, :rate_limited, "
         "%{key: \"svc:echo:(not shown)\", max_requests: 0, current_requests: 0, window_ms: 90000, retry_after_ms: 90000, "
         "scope: {\"svc\", \"echo\"}}}}",
         "rate_limiter.exceeded %{retry_after_ms: 0} %{request_id: \"r\", user_id: \"u1\", key: \"svc:echo:(not shown)\", "
         "scope: {\"svc\", \"echo\"}, max_requests: 0, current_requests: 0}",
         STOP("echo", "false", "false"));
    fake_request(w, "1", ASK("f", ""));
    TOLD(START("f"), "rate_limiter.check %{duration_us: 0} %{" WHO("f") ", instance: :rate_limiter_instance_0, result: :ok}");
    fake_request(w, "1", ASK("f", ""));
    assert_string_equal(told[2], "rate_limiter.exceeded %{retry_after_ms: 0} %{request_id: \"r\", user_id: \"u1\", key: \"u1\", "
                                 "scope: :global, max_requests: 1, current_requests: 1}");
    told_count = 0;
    gateway_channel_closed(w->gw, &w->waiting);
    rate_limiter_free(limiter);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_events_are_the_librarys_thirty),
        TEST(what_nobody_wants_is_not_made),
        TEST(events_are_bounded_in_a_second),
        TEST(a_request_has_a_start_and_a_stop),
        TEST(what_is_not_run_raises_or_is_not_told),
        TEST(a_client_that_leaves_ends_a_request_in_silence),
        TEST(async_none_and_stream_stop_when_they_are_accepted),
        TEST(retries_are_told_and_their_end),
        TEST(hooks_are_told),
        TEST(breakers_are_told),
        TEST(the_rate_limiter_is_told),
    };
    return cmocka_run_group_tests_name("telemetry", tests, NULL, NULL);
}
