/*
 * test_request_rules.c: the pipeline's rules that take several requests, nodes or a passing clock to see: retry, fall-over,
 * breakers, places of async requests, clients that leave, and the shape of every Response.
 */
#define _GNU_SOURCE /* pipe2 */
#include "unit.h"

#include "breaker.h"
#include "caught_log.h"
#include "fake_world.h"

#define ASK(type, id, rest) "{\"service\":\"svc\",\"request_type\":\"" type "\",\"request_id\":\"" id "\"" rest "}"
#define TWO_NODES ", nodes: [:a@h, :b@h], choose_node_mode: {:hash, \"none\"}"
#define UNAVAILABLE "\"error\":\"Service temporarily unavailable\""
#define INTERNAL "\"error\":\"Internal Server Error\""

static struct fake_world world;

static int setup(void **state)
{
    *state = &world;
    fake_world_init(&world, NULL);
    return 0;
}

static int teardown(void **state)
{
    fake_world_fini(*state);
    return 0;
}

static void two_nodes(struct fake_world *w)
{
    w->up[0] = "a@h";
    w->up[1] = "b@h";
}

static void with(struct fake_world *w, void (*adjust)(struct gateway_options *o))
{
    fake_world_fini(w);
    fake_world_init(w, adjust);
}

static void pass_ms(struct fake_world *w, uint64_t ms)
{
    timers_run(&w->timers, w->timers.now_us + ms * 1000, 0);
}

static void stream_say(struct fake_world *w, const char *term)
{
    struct buf b;
    buf_init(&b, 0);
    gateway_stream_message(w->gw, w->stream_tag, term_of(&b, term));
    buf_fini(&b);
}

static void last_frame_has(const struct fake_world *w, const char *what)
{
    assert_true(w->frames > 0);
    if (!strstr(w->frame[w->frames - 1], what))
        fail_msg("the last frame is %s, want %s", w->frame[w->frames - 1], what);
}

/* The push before the reply. */
static void answer_has(const struct fake_world *w, const char *what)
{
    assert_true(w->frames > 1);
    if (!strstr(w->frame[w->frames - 2], what))
        fail_msg("the answer is %s, want %s", w->frame[w->frames - 2], what);
}

/* ---- the shape of a Response ---- */

/* F-101, F-111, F-121, F-122: seven keys always, whatever the payload holds besides; an error is what has success false */
static void every_response_has_its_seven_keys_and_only_those(void **state)
{
    static const char *const answers[] = {"1", "{:error, :x}", "nil", "{:weird, 1, 2}"};
    static const char *const keys[] = {"error", "async", "success", "result", "request_id", "can_retry", "has_more"};
    struct fake_world *w = *state;
    fake_function(w, "f", "");
    for (uint32_t i = 0; i < ARRAY_SIZE(answers); i++) {
        fake_request(w, "1", ASK("f", "r", ",\"unknown\":{\"a\":[1]},\"user_roles\":[\"admin\"],\"args\":{}"));
        fake_answer(w, i, CALL_RETURN, answers[i]);
        struct slice json = slice_str(w->frame[2 * i] + strlen("push 7 ")), key, value, raw;
        struct json_reader r = json_reader(json);
        struct json_iter it;
        bool success = false, error = false;
        uint32_t n = 0;
        assert_int_equal(json_value(&r, &json_limits_default, &raw, NULL), BG_OK);
        for (json_iter_init(&it, raw); json_iter_next(&it, &key, &value); n++) {
            assert_true(n < ARRAY_SIZE(keys) && json_string_is(key, slice_str(keys[n])));
            success |= n == 2 && json_kind(value) == JSON_TRUE;
            error |= n == 0 && json_kind(value) == JSON_STRING;
        }
        assert_int_equal(n, ARRAY_SIZE(keys));
        assert_true(success != error);
    }
}

static void one_place(struct gateway_options *o)
{
    o->async_limit = 1;
    o->async_queue = 1;
}

/* E-153, E-210, E-215, F-120: a stream takes a place as long as it runs; the full queue has the library's text, worth another try */
static void a_stream_takes_a_place_as_long_as_it_runs(void **state)
{
    struct fake_world *w = *state;
    with(w, one_place);
    fake_function(w, "s", ", response_type: :stream");
    fake_function(w, "later", ", response_type: :async");
    fake_request(w, "1", ASK("s", "s", ""));
    fake_answer(w, 0, CALL_RETURN, "1");
    fake_request(w, "2", ASK("later", "queued", ""));
    assert_int_equal(w->calls, 1);
    fake_request(w, "3", ASK("later", "refused", ""));
    answer_has(w, UNAVAILABLE);
    answer_has(w, "\"can_retry\":true");
    stream_say(w, ":complete");
    assert_int_equal(w->calls, 2);
    fake_answer(w, 1, CALL_RETURN, "2");
    last_frame_has(w, "\"request_id\":\"queued\"");
}

/* E-213, E-214: each request that ran counts once, and as failed when it ended with an error; E-212: no breaker stops a pool */
static void what_has_run_is_counted_once(void **state)
{
    struct fake_world *w = *state;
    uint32_t idle;
    fake_function(w, "later", ", response_type: :async");
    for (uint32_t i = 0; i < 20; i++) {
        fake_request(w, "1", ASK("later", "r", ""));
        assert_int_equal(w->calls, i + 1);
        fake_answer(w, i, i % 4 ? CALL_EXIT : CALL_RETURN, "1");
    }
    const struct gateway_pool pool = gateway_pool(w->gw, false, &idle);
    assert_int_equal(pool.executed, 20);
    assert_int_equal(pool.failed, 15);
    assert_int_equal(pool.running + pool.queued, 0);
    assert_int_equal(idle, 1000);
}

/* E-011: what comes after the reply is pushed, and has no reply of its own; E-155: other terms are passed over */
static void later_results_are_pushed_without_a_reply(void **state)
{
    static const char *const ignored[] = {"{:stream_started, 1, 2}", "{:result}", "{:result, 1, 2}", "[:complete]", "%{}"};
    struct fake_world *w = *state;
    fake_function(w, "later", ", response_type: :async");
    fake_function(w, "s", ", response_type: :stream");
    fake_request(w, "1", ASK("later", "r", ""));
    fake_answer(w, 0, CALL_RETURN, "1");
    assert_int_equal(w->frames, 3);
    assert_memory_equal(w->frame[2], "push 7 ", 7);
    fake_request(w, "2", ASK("s", "s", ""));
    fake_answer(w, 1, CALL_RETURN, "1");
    uint32_t before = w->frames;
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        stream_say(w, ignored[i]);
    assert_int_equal(w->frames, before);
    stream_say(w, "{:last_result, 2}");
    assert_int_equal(w->frames, before + 1);
    assert_memory_equal(w->frame[before], "push 7 ", 7);
}

/* F-130, F-131: what StreamHelper is made of is in request_info; without request_info there is nothing to make it of */
static void a_streams_request_info_has_what_stream_helper_needs(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "with", ", response_type: :stream, request_info: true");
    fake_function(w, "without", ", response_type: :stream");
    fake_function(w, "sync", ", request_info: true");
    fake_request(w, "1", ASK("with", "r", ""));
    assert_call_args(w, 0, "[%{request_id: \"r\", user_id: \"u1\", device_id: nil, stream_pid: :stream_pid_of_the_test}]");
    fake_request(w, "2", ASK("without", "r", ""));
    assert_call_args(w, 1, "[]");
    fake_request(w, "3", ASK("sync", "r", ""));
    assert_call_args(w, 2, "[%{request_id: \"r\", user_id: \"u1\", device_id: nil}]");
}

/* ---- fall-over and retry ---- */

/* E-058 */
static void a_callback_that_cannot_be_asked_denies(void **state)
{
    struct fake_world *w = *state;
    w->up[0] = NULL;
    fake_function(w, "guarded", ", permission_callback: {P, :check, []}");
    fake_request(w, "1", ASK("guarded", "r", ""));
    answer_has(w, "\"error\":\"Permission denied\"");
    assert_int_equal(w->calls, 0);
}

static void library_fall_over(struct gateway_options *o)
{
    o->fallback_on_exit = true;
    o->retry_on_error = true;
}

/* E-184: an error that the function returned goes to no other node, not even in the library's way; retry takes the same */
static void a_returned_error_does_not_fall_over(void **state)
{
    struct fake_world *w = *state;
    with(w, library_fall_over);
    two_nodes(w);
    fake_function(w, "f", TWO_NODES);
    fake_request(w, "1", ASK("f", "r", ""));
    fake_answer(w, 0, CALL_RETURN, "{:error, :no}");
    assert_int_equal(w->calls, 1);
    answer_has(w, INTERNAL);
    fake_function(w, "again", TWO_NODES ", retry: {:same_node, 1}");
    fake_request(w, "2", ASK("again", "r", ""));
    fake_answer(w, 1, CALL_RETURN, "{:error, :no}");
    pass_ms(w, 150);
    assert_int_equal(w->calls, 3);
    assert_string_equal(w->call[2].node, w->call[1].node);
    fake_answer(w, 2, CALL_RETURN, "{:ok, 1}");
    answer_has(w, "\"success\":true");
}

/* E-182 want: what raised, exited or ran out of time is not run on another node; E-182: the option gives the library's way */
static void what_may_have_run_is_run_again_only_by_option(void **state)
{
    static const struct {
        enum call_outcome outcome;
        const char *reason;
    } rows[] = {{CALL_EXIT, "{:undef, []}"}, {CALL_EXIT, ":killed"}, {CALL_TIMEOUT, NULL}, {CALL_BADRPC, ":x"}};
    struct fake_world *w = *state;
    for (int library = 0; library < 2; library++) {
        with(w, library ? library_fall_over : NULL);
        two_nodes(w);
        fake_function(w, "f", TWO_NODES);
        for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
            uint32_t before = w->calls;
            fake_request(w, "1", ASK("f", "r", ""));
            fake_answer(w, before, rows[i].outcome, rows[i].reason);
            assert_int_equal(w->calls, before + (library ? 2 : 1));
            if (!library) {
                answer_has(w, INTERNAL);
                continue;
            }
            assert_string_not_equal(w->call[before].node, w->call[before + 1].node);
            fake_answer(w, before + 1, CALL_RETURN, "1");
            answer_has(w, "\"success\":true");
        }
    }
}

/* E-181, E-186: each node and each round has the whole timeout */
static void each_try_has_the_full_timeout(void **state)
{
    struct fake_world *w = *state;
    two_nodes(w);
    fake_function(w, "f", TWO_NODES ", timeout: 1234, retry: {:same_node, 1}");
    fake_request(w, "1", ASK("f", "r", ""));
    pass_ms(w, 1000);
    fake_answer(w, 0, CALL_NODEDOWN, NULL);
    fake_answer(w, 1, CALL_NODEDOWN, NULL);
    pass_ms(w, 150);
    fake_answer(w, 2, CALL_NODEDOWN, NULL);
    fake_answer(w, 3, CALL_RETURN, "1");
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(w->call[i].timeout_us, 1234000);
    fake_function(w, "forever", ", nodes: [:a@h], timeout: :infinity");
    fake_request(w, "2", ASK("forever", "r", ""));
    assert_int_equal(w->call[4].timeout_us, 25000000);
    fake_answer(w, 4, CALL_RETURN, "1");
}

/* E-191: same_node keeps the order, all_nodes begins with the next one */
static void rounds_begin_with_the_same_or_with_the_next_node(void **state)
{
    static const struct {
        const char *retry;
        bool next;
    } rows[] = {{", retry: {:same_node, 3}", false}, {", retry: {:all_nodes, 3}", true}, {", retry: 3", true}};
    struct fake_world *w = *state;
    two_nodes(w);
    for (uint32_t k = 0; k < ARRAY_SIZE(rows); k++) {
        char fields[256];
        uint32_t first = w->calls;
        snprintf(fields, sizeof(fields), TWO_NODES "%s", rows[k].retry);
        fake_function(w, "f", fields);
        fake_request(w, "1", ASK("f", "r", ""));
        for (uint32_t round = 0; round < 4; round++) {
            bool same = strcmp(w->call[first + round].node, w->call[first].node) == 0;
            assert_int_equal(same, !rows[k].next || round % 2 == 0);
            fake_answer(w, first + round, CALL_EXIT, ":boom");
            pass_ms(w, 10000);
        }
        assert_int_equal(w->calls, first + 4); /* no more than it says */
        answer_has(w, INTERNAL);
    }
}

/* E-192 want: 100 ms, doubled from round to round up to 5 s, times 0.5 to 1.5, and not always the same */
static void pauses_grow_and_differ(void **state)
{
    enum { ROUNDS = 9, TIMES = 20 };
    struct fake_world *w = *state;
    uint64_t least[ROUNDS], most[ROUNDS] = {0};
    memset(least, 0xff, sizeof(least));
    fake_function(w, "f", ", retry: {:same_node, 9}");
    for (int t = 0; t < TIMES; t++) {
        fake_request(w, "1", ASK("f", "r", ""));
        for (int k = 0; k < ROUNDS; k++) {
            uint64_t middle_us = 100000u << k > 5000000u ? 5000000u : 100000u << k;
            fake_answer(w, w->calls - 1, CALL_EXIT, ":boom");
            uint64_t pause = timers_next(&w->timers) - w->timers.now_us;
            assert_in_range(pause, middle_us / 2, middle_us + middle_us / 2);
            least[k] = pause < least[k] ? pause : least[k];
            most[k] = pause > most[k] ? pause : most[k];
            timers_run(&w->timers, w->timers.now_us + pause, 0);
        }
        fake_answer(w, w->calls - 1, CALL_EXIT, ":boom");
    }
    for (int k = 0; k < ROUNDS; k++)
        assert_true(most[k] > least[k]);
    assert_int_equal(w->metrics.value[METRIC_CALLS_RETRIED], ROUNDS * TIMES);
}

/* ---- who cannot be answered is not waited for ---- */

static void leave(struct fake_world *w)
{
    w->gone = true;
    gateway_channel_closed(w->gw, &w->waiting);
    w->gone = false;
}

/* E-151 want: whatever a request waits for, it is dropped with its client, and its late answers find nothing */
static void a_client_that_leaves_takes_everything_it_waited_for_along(void **state)
{
    struct fake_world *w = *state;
    with(w, one_place);
    fake_function(w, "pause", ", retry: 3");
    fake_function(w, "later", ", response_type: :async");
    fake_function(w, "hooked", ", before_execute: {H, :before}");
    fake_function(w, "guarded", ", permission_callback: {P, :ask, []}");
    fake_function(w, "dyn", ", nodes: {M, :nodes, []}");
    fake_function(w, "s", ", response_type: :stream");
    fake_request(w, "1", ASK("pause", "a", ""));
    fake_answer(w, 0, CALL_EXIT, ":boom"); /* in its pause */
    fake_request(w, "2", ASK("later", "b", ""));
    fake_request(w, "3", ASK("later", "c", "")); /* in the queue */
    fake_request(w, "4", ASK("hooked", "d", ""));
    fake_request(w, "5", ASK("guarded", "e", ""));
    fake_request(w, "6", ASK("dyn", "f", ""));
    uint32_t calls = w->calls, frames = w->frames;
    assert_int_equal(w->waiting.count, 6);
    leave(w);
    assert_int_equal(gateway_in_flight(w->gw), 0);
    assert_int_equal(w->cancelled, 4);
    pass_ms(w, 60000);
    assert_int_equal(w->calls, calls); /* neither the pause nor the queue began anything */
    assert_int_equal(w->frames, frames);
    fake_request(w, "7", ASK("s", "g", ""));
    fake_answer(w, w->calls - 1, CALL_RETURN, "1");
    leave(w);
    frames = w->frames;
    assert_int_equal(w->streams, 0);
    stream_say(w, "{:result, 1}");
    assert_int_equal(w->frames, frames);
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_DROPPED], 7);
}

/* ---- breakers ---- */

static void quick_breaker(struct gateway_options *o)
{
    o->breaker_threshold = 2;
    o->breaker_cooldown_ms = 1000;
}

static void time_out(struct fake_world *w)
{
    fake_request(w, "1", ASK("f", "r", ""));
    fake_answer(w, w->calls - 1, CALL_TIMEOUT, NULL);
}

static struct breaker_info breaker_of(const struct fake_world *w, const char *node)
{
    struct breaker_info info;
    for (size_t pos = 0; breakers_next(gateway_breakers(w->gw), &pos, &info);)
        if (slice_is(info.node, node))
            return info;
    return (struct breaker_info){.state = BREAKER_CLOSED};
}

/* E-211: time-outs in a row open it; after the cooldown one call tries, whose outcome opens it again or closes it */
static void a_breaker_half_opens_after_its_cooldown(void **state)
{
    struct fake_world *w = *state;
    with(w, quick_breaker);
    fake_function(w, "f", "");
    time_out(w);
    assert_int_equal(breaker_of(w, "svc@localhost").failures, 1);
    time_out(w);
    assert_int_equal(breaker_of(w, "svc@localhost").state, BREAKER_OPEN);
    assert_int_equal(w->metrics.value[METRIC_BREAKERS_OPEN], 1);
    fake_request(w, "1", ASK("f", "r", ""));
    assert_int_equal(w->calls, 2);
    answer_has(w, UNAVAILABLE);
    for (int again = 0; again < 2; again++) {
        pass_ms(w, 1000);
        fake_request(w, "1", ASK("f", "r", ""));
        assert_int_equal(breaker_of(w, "svc@localhost").state, BREAKER_TRYING);
        fake_request(w, "1", ASK("f", "r", "")); /* only one tries */
        answer_has(w, UNAVAILABLE);
        assert_int_equal(w->calls, 3 + (uint32_t)again);
        if (again == 0)
            fake_answer(w, 2, CALL_TIMEOUT, NULL);
    }
    fake_answer(w, 3, CALL_EXIT, ":boom"); /* it has answered */
    assert_int_equal(breaker_of(w, "svc@localhost").state, BREAKER_CLOSED);
    assert_int_equal(w->metrics.value[METRIC_BREAKERS_OPEN], 0);
    assert_int_equal(w->metrics.value[METRIC_BREAKERS_OPENED], 1);
    time_out(w);
    assert_int_equal(breaker_of(w, "svc@localhost").failures, 1); /* counting begins anew */
}

/* E-211: the one try is not given back, nor judged, by calls that were under way before the breaker opened */
static void only_the_try_itself_decides_about_a_half_open_breaker(void **state)
{
    static const enum call_outcome late[] = {CALL_NODEDOWN, CALL_TIMEOUT, CALL_TIMEOUT};
    struct fake_world *w = *state;
    with(w, quick_breaker);
    fake_function(w, "f", "");
    for (int i = 0; i < 4; i++)
        fake_request(w, "1", ASK("f", "r", ""));
    time_out(w);
    time_out(w);
    pass_ms(w, 1000);
    fake_request(w, "2", ASK("f", "r", "")); /* the try: call 6 */
    for (uint32_t i = 0; i < ARRAY_SIZE(late); i++) {
        fake_answer(w, i, late[i], NULL);
        assert_int_equal(breaker_of(w, "svc@localhost").state, BREAKER_TRYING);
    }
    leave(w); /* with call 3 and the try */
    assert_int_equal(breaker_of(w, "svc@localhost").state, BREAKER_OPEN);
    fake_request(w, "1", ASK("f", "r", "")); /* nobody knows yet how the node is: this is the next try */
    assert_int_equal(breaker_of(w, "svc@localhost").state, BREAKER_TRYING);
    fake_answer(w, w->calls - 1, CALL_RETURN, "1");
    assert_int_equal(breaker_of(w, "svc@localhost").state, BREAKER_CLOSED);
}

/* E-182: an open breaker sends the call to the next node */
static void an_open_breaker_is_passed_over_for_the_next_node(void **state)
{
    struct fake_world *w = *state;
    with(w, quick_breaker);
    two_nodes(w);
    fake_function(w, "f", ", nodes: [:a@h, :b@h], choose_node_mode: {:hash, \"k\"}, arg_types: %{\"k\" => :string}, arg_orders: [\"k\"]");
    for (uint32_t i = 0; i < 2; i++) {
        fake_request(w, "1", ASK("f", "r", ",\"args\":{\"k\":\"x\"}"));
        fake_answer(w, i, CALL_TIMEOUT, NULL);
    }
    const char *slow = w->call[0].node;
    fake_request(w, "1", ASK("f", "r", ",\"args\":{\"k\":\"x\"}"));
    assert_string_not_equal(w->call[2].node, slow);
    fake_answer(w, 2, CALL_RETURN, "1");
    answer_has(w, "\"success\":true");
}

/* E-138: a node that has too much waiting, or is passed over, makes the answer, also when the nodes after it are down */
static void a_busy_node_counts_though_the_next_one_is_down(void **state)
{
    struct fake_world *w = *state;
    with(w, quick_breaker);
    w->up[0] = "a@h";
    w->busy = "a@h";
    fake_function(w, "f", TWO_NODES);
    fake_request(w, "1", ASK("f", "r", ""));
    answer_has(w, UNAVAILABLE);
    answer_has(w, "\"can_retry\":true");
    w->busy = NULL;
    for (uint32_t i = 0; i < 2; i++) {
        fake_request(w, "1", ASK("f", "r", ""));
        fake_answer(w, i, CALL_TIMEOUT, NULL);
    }
    fake_request(w, "1", ASK("f", "r", ""));
    answer_has(w, UNAVAILABLE);
    assert_int_equal(w->calls, 2);
}

/* ---- what the service is shown ---- */

#define HOOKED_CONFIG "%%{request_type: \"f\", service: \"svc\", nodes: [:svc@localhost], mfa: {M, :f, []}"

static void expect_sound_arguments(const struct fake_world *w, uint32_t n)
{
    const struct buf *terms = &w->call[n].terms;
    size_t used;
    assert_true(n < w->calls);
    assert_int_equal(term_check(terms->data, terms->len, TERM_DEPTH_MAX, &used, NULL), BG_OK);
    assert_int_equal(used, terms->len);
}

/* What cannot be shown is nil (F-100): half a term in a packet would cost the whole link. */
static void what_a_hook_nests_too_deep_is_shown_as_nil(void **state)
{
    struct fake_world *w = *state;
    char text[1024], deep[256];
    enum { DEPTH = 80 }; /* more than a client's message may have */
    memset(deep, '[', DEPTH);
    memset(deep + DEPTH, ']', DEPTH);
    deep[2 * DEPTH] = '\0';
    fake_function(w, "f", ", before_execute: {H, :before}");
    fake_request(w, "1", ASK("f", "r", ""));
    snprintf(text, sizeof(text),
             "{:ok, %%{request_type: \"f\", request_id: \"r\", service: \"svc\", user_id: \"u1\", args: %%{\"a\" => %s}}, "
             HOOKED_CONFIG ", permission_callback: {P, :ask, []}, after_execute: {H, :after}}}", deep);
    fake_answer(w, 0, CALL_RETURN, text);
    assert_int_equal(w->calls, 2);
    expect_sound_arguments(w, 1);
    assert_call_args(w, 1,
                     "[%PhoenixGenApi.Structs.Request{user_id: \"u1\", device_id: nil, request_type: \"f\", request_id: "
                     "\"r\", service: \"svc\", version: nil, args: nil, user_roles: nil}]");
}

/* E-002, E-025: each hook is shown the same user and device, as the channel's rule has it */
static void the_after_hook_is_shown_what_the_before_hook_was(void **state)
{
    struct fake_world *w = *state;
    static const char *const devices[] = {"device_id: \"known\"", "device_id: \"said\""};
    static const char *const users[] = {"user_id: \"u1\"", "user_id: \"u2\""};
    fake_function(w, "f", ", before_execute: {H, :before}, after_execute: {H, :after}");
    w->session.device_id = SLICE_LIT("\"known\"");
    for (uint32_t i = 0; i < 2; i++) {
        w->rules.override_user_id = i == 0;
        fake_request(w, "1", ASK("f", "r", ",\"user_id\":\"u2\",\"device_id\":\"said\""));
        fake_answer(w, 3 * i, CALL_RETURN, ":go_on");
        fake_answer(w, 3 * i + 1, CALL_RETURN, "1");
        assert_int_equal(w->calls, 3 * i + 3);
        for (uint32_t hook = 3 * i; hook <= 3 * i + 2; hook += 2) {
            struct buf shown;
            buf_init(&shown, 0);
            term_inspect(buf_slice(&w->call[hook].terms), &shown, 4096);
            buf_putc(&shown, '\0');
            assert_non_null(strstr((const char *)shown.data, devices[i]));
            assert_non_null(strstr((const char *)shown.data, users[i]));
            buf_fini(&shown);
        }
    }
}

/* ---- the log ---- */

/* Where a result cannot be JSON the log says at which key, and keys come from services, who have them from anywhere. */
static void a_key_of_a_result_does_not_break_out_of_its_log_line(void **state)
{
    struct fake_world *w = *state;
    log_catch(LOG_INFO);
    fake_function(w, "f", "");
    fake_function(w, "s", ", response_type: :stream");
    fake_request(w, "1", ASK("f", "r", ""));
    fake_answer(w, 0, CALL_RETURN, "%{\"a\nlevel=error msg=\" => {1, 2}}");
    fake_request(w, "2", ASK("s", "r", ""));
    fake_answer(w, 1, CALL_RETURN, "1");
    stream_say(w, "{:result, %{\"a\nlevel=error msg=\" => {1, 2}}}");
    const char *lines = log_caught();
    assert_true(lines[0] != '\0');
    for (const char *at = lines, *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        assert_non_null(end);
        assert_non_null(strstr(at, "\\x0alevel=error"));
        assert_int_equal(strncmp(at, "20", 2), 0); /* each begins with its date */
    }
}

/* ---- traces ---- */

static uint32_t traced_events;

static void count_event(void *ctx, unsigned trace, const struct trace_event *e)
{
    (void)ctx;
    (void)trace;
    (void)e;
    traced_events++;
}

static void with_traces(struct gateway_options *o)
{
    o->trace.event = count_event;
}

/* O-095: records of requests are used again, and what the last one called says nothing of the next */
static void a_trace_of_a_function_goes_by_the_arity_of_this_request(void **state)
{
    struct fake_world *w = *state;
    with(w, with_traces);
    fake_function(w, "long", ", mfa: {M, :f, [1, 2, 3]}");
    fake_function(w, "short", ", mfa: {M, :f, [1]}");
    fake_request(w, "1", ASK("long", "r", ""));
    fake_answer(w, 0, CALL_RETURN, "1");
    const struct trace_filter of_one = {.module = SLICE_LIT("Elixir.M"), .function = SLICE_LIT("f"), .arity = 1};
    assert_int_equal(gateway_trace_start(w->gw, &of_one), 0);
    traced_events = 0;
    fake_request(w, "1", ASK("short", "r", ""));
    fake_answer(w, 1, CALL_RETURN, "1");
    assert_int_equal(traced_events, 5); /* received, called, returned, sent, ended */
    fake_request(w, "1", ASK("long", "r", ""));
    fake_answer(w, 2, CALL_RETURN, "1");
    assert_int_equal(traced_events, 5);
    gateway_trace_stop(w->gw, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_response_has_its_seven_keys_and_only_those),
        T(a_stream_takes_a_place_as_long_as_it_runs),
        T(later_results_are_pushed_without_a_reply),
        T(what_has_run_is_counted_once),
        T(a_streams_request_info_has_what_stream_helper_needs),
        T(a_callback_that_cannot_be_asked_denies),
        T(a_returned_error_does_not_fall_over),
        T(what_may_have_run_is_run_again_only_by_option),
        T(each_try_has_the_full_timeout),
        T(rounds_begin_with_the_same_or_with_the_next_node),
        T(pauses_grow_and_differ),
        T(a_client_that_leaves_takes_everything_it_waited_for_along),
        T(a_breaker_half_opens_after_its_cooldown),
        T(only_the_try_itself_decides_about_a_half_open_breaker),
        T(an_open_breaker_is_passed_over_for_the_next_node),
        T(a_busy_node_counts_though_the_next_one_is_down),
        T(what_a_hook_nests_too_deep_is_shown_as_nil),
        T(the_after_hook_is_shown_what_the_before_hook_was),
        T(a_key_of_a_result_does_not_break_out_of_its_log_line),
        T(a_trace_of_a_function_goes_by_the_arity_of_this_request),
    };
    return cmocka_run_group_tests_name("request_rules", tests, NULL, NULL);
}
