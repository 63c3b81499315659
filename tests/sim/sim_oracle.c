/*
 * sim_oracle.c: what clients may be told. For each request one small machine of the frames that it may get:
 *
 *   refused, any type     push error, reply                                        (E-003..E-008)
 *   sync                  push, reply                                              (E-004, E-135)
 *   none                  reply                                                    (E-006, E-137)
 *   async                 push acknowledgement, reply, ..., push async false       (E-136)
 *   stream                push "init", reply, ..., push nested, push chunk ..., push has_more false   (E-145..E-148)
 *
 * A reply follows its push with nothing between on that channel. After its last frame a request gets nothing; a client
 * that has left is owed nothing. A success says what the function returned to this very request.
 *
 * Between two events these hold:
 *   requests_total == requests_ok_total + requests_error_total + requests_dropped_total + requests in flight
 *   requests_in_flight == gateway_in_flight() == what the channels' lists hold
 * and each request in flight waits for exactly one thing: its call, its turn, its pause, or its stream's producer.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../c_src/gateway/request_internal.h"
#include "breaker.h"
#include "sim.h"

static const char *const type_names[] = {"sync", "async", "stream", "none"};

static const char *type_name(const struct sim_request *q)
{
    return q->type < 0 ? "refused" : type_names[q->type];
}

struct sim_request *sim_request_new(struct sim *s, uint32_t client)
{
    struct sim_request *q = calloc(1, sizeof(*q));
    s->request = sim_grow(s->request, s->requests, sizeof(*s->request));
    s->request[s->requests++] = q;
    q->number = s->requests;
    q->client = client;
    q->channel = s->client[client].handle;
    return q;
}

/* The request whose number stands in raw JSON such as "r12" or 12. */
static struct sim_request *request_by_raw(const struct sim *s, struct slice raw)
{
    char text[32];
    slice_cstr(raw, text, sizeof(text));
    unsigned long n = strtoul(text + strcspn(text, "0123456789"), NULL, 10);
    return n > 0 && n <= s->requests ? s->request[n - 1] : NULL;
}

/* ---- frames ---- */

struct frame {
    struct slice error, result, request_id;
    bool success, async, has_more, can_retry;
};

static bool is_true(struct slice raw)
{
    return json_kind(raw) == JSON_TRUE;
}

/* F-110: all seven keys, in the recorded order. */
static struct frame read_frame(struct sim *s, struct slice json)
{
    static const char *const keys[] = {"error", "async", "success", "result", "request_id", "can_retry", "has_more"};
    struct slice value[ARRAY_SIZE(keys)], key, raw;
    struct json_reader r = json_reader(json);
    struct json_iter it;
    size_t n = 0;
    sim_rule(s, json_value(&r, &json_limits_default, &raw, NULL) == BG_OK && json_finish(&r, NULL) == BG_OK,
             "a frame that is no JSON: %.*s", (int)json.len, json.ptr);
    json_iter_init(&it, raw);
    for (; n < ARRAY_SIZE(keys) && json_iter_next(&it, &key, &value[n]); n++)
        sim_rule(s, json_string_is(key, slice_str(keys[n])), "key %zu of a frame is %.*s", n, (int)key.len, key.ptr);
    sim_rule(s, n == ARRAY_SIZE(keys) && !json_iter_next(&it, &key, &raw), "a frame has not its seven keys");
    struct frame f = {.error = value[0], .result = value[3], .request_id = value[4]};
    f.async = is_true(value[1]);
    f.success = is_true(value[2]);
    f.can_retry = is_true(value[5]);
    f.has_more = is_true(value[6]);
    sim_rule(s, f.success == (json_kind(f.error) == JSON_NULL), "success and error of a frame disagree");
    sim_rule(s, f.success || (!f.async && !f.has_more && json_kind(f.result) == JSON_NULL), "an error that is not final");
    return f;
}

static void rule_frame(struct sim *s, const struct sim_request *q, bool cond, const char *what)
{
    sim_rule(s, cond, "request %u (%s): %s", q->number, type_name(q), what);
}

static void last_frame(struct sim *s, struct sim_request *q, bool success)
{
    q->over = true;
    q->success = success;
    *(success ? &s->answered_ok : &s->answered_error) += 1;
}

/* The value that the function returned to this request, and to no other. */
static void check_result(struct sim *s, const struct sim_request *q, struct slice result)
{
    rule_frame(s, q, q->returned && q->ok, "success, but its function returned none");
    if (q->serial && (uint32_t)json_number_double(result) != q->serial)
        sim_violation(s, "request %u: got %.*s, its function returned %u", q->number, (int)result.len, result.ptr, q->serial);
}

static bool result_is(const struct frame *f, const char *json)
{
    return slice_is(f->result, json);
}

/* An error must have its cause. */
static void check_error(struct sim *s, const struct sim_request *q, const struct frame *f)
{
    bool gone = slice_is(f->error, "\"Stream producer is gone\"");
    rule_frame(s, q, !gone || q->producer_gone, "its producer is said to be gone, and is not");
    bool unexpected = slice_is(f->error, "\"Unexpected execution result\"");
    rule_frame(s, q, unexpected == (q->returned && q->unexpected), "E-202 is broken");
}

/* The first push of a request, whose reply must follow. */
static void first_push(struct sim *s, struct sim_request *q, const struct frame *f)
{
    if (!f->success) {
        check_error(s, q, f);
        q->refused = true;
        return;
    }
    rule_frame(s, q, q->type >= 0 && q->type != RESPONSE_NONE, "a push where only a reply or an error may come");
    if (q->type == RESPONSE_SYNC) {
        rule_frame(s, q, !f->async && !f->has_more, "the answer is not final");
        check_result(s, q, f->result);
        return;
    }
    rule_frame(s, q, f->async && f->has_more == (q->type == RESPONSE_STREAM), "the first frame is no acknowledgement");
    rule_frame(s, q, result_is(f, q->type == RESPONSE_STREAM ? "\"init\"" : "null"), "the acknowledgement has a result");
    q->acked = true;
}

static void fifo_pop(struct sim_request *q)
{
    memmove(q->fifo, q->fifo + 1, --q->fifo_count * sizeof(q->fifo[0]));
}

static bool fifo_is(const struct sim_request *q, enum sim_word word)
{
    return q->fifo_count > 0 && q->fifo[0].word == word;
}

static void check_chunk(struct sim *s, const struct sim_request *q, struct slice result)
{
    if ((uint32_t)json_number_double(result) != q->fifo[0].serial)
        sim_violation(s, "request %u: the stream's frame has %.*s, the next word of its producer is %u", q->number,
                      (int)result.len, result.ptr, q->fifo[0].serial);
}

static void stream_push(struct sim *s, struct sim_request *q, const struct frame *f)
{
    if (!f->success) {
        check_error(s, q, f);
        last_frame(s, q, false);
        return;
    }
    rule_frame(s, q, f->async, "a stream's frame that is not async");
    if (!f->has_more) {
        bool word = q->nested && (fifo_is(q, WORD_LAST) || fifo_is(q, WORD_COMPLETE));
        rule_frame(s, q, word || q->stopping, "the stream ends although nobody has ended it");
        if (word && fifo_is(q, WORD_LAST))
            check_chunk(s, q, f->result);
        last_frame(s, q, true);
    } else if (!q->nested) {
        rule_frame(s, q, q->returned && q->ok, "a stream goes on before its function has returned");
        rule_frame(s, q, json_kind(f->result) == JSON_OBJECT, "the first chunk is not nested (E-146)");
        q->nested = true;
    } else {
        rule_frame(s, q, fifo_is(q, WORD_RESULT), "a chunk that its producer has not sent");
        check_chunk(s, q, f->result);
        fifo_pop(q);
    }
}

/* A push after the reply. */
static void later_push(struct sim *s, struct sim_request *q, const struct frame *f)
{
    rule_frame(s, q, q->type == RESPONSE_ASYNC || q->type == RESPONSE_STREAM, "a push after the reply");
    if (q->type == RESPONSE_STREAM) {
        stream_push(s, q, f);
        return;
    }
    rule_frame(s, q, !f->async && !f->has_more, "the result is not final");
    if (f->success)
        check_result(s, q, f->result);
    else
        check_error(s, q, f);
    last_frame(s, q, f->success);
}

/* A frame that did not fit. Only a value may be taken back, and must be followed by an error (check_owed() sees to it). */
static void push_taken_back(struct sim *s, struct sim_client *c, struct slice json)
{
    static const char value[] = "{\"error\":null";
    sim_trace(s, "  (a frame to client %u did not fit)", (unsigned)(c - s->client));
    sim_rule(s, json.len >= sizeof(value) - 1 && memcmp(json.ptr, value, sizeof(value) - 1) == 0,
             "an error that did not fit was taken back");
}

static struct sim_request *request_of_frame(struct sim *s, const struct sim_client *c, struct slice raw_id)
{
    struct sim_request *q = slice_is(raw_id, "\"unknown\"") ? s->current : request_by_raw(s, raw_id);
    sim_rule(s, q, "a frame for a request that nobody made: %.*s", (int)raw_id.len, raw_id.ptr);
    rule_frame(s, q, q->channel == c->handle, "a frame on another's channel");
    rule_frame(s, q, q->anonymous == slice_is(raw_id, "\"unknown\""), "its frame has not its request id");
    return q;
}

void oracle_push(struct sim *s, struct sim_client *c, struct slice json, bool taken_back)
{
    if (taken_back) {
        push_taken_back(s, c, json);
        return;
    }
    sim_trace(s, "  push to client %u: %.*s", (unsigned)(c - s->client), json.len > 220 ? 220 : (int)json.len, json.ptr);
    struct frame f = read_frame(s, json);
    struct sim_request *q = request_of_frame(s, c, f.request_id);
    sim_rule(s, !c->owes_reply, "a push for request %u between push and reply of request %u", q->number,
             c->owes_reply ? c->owes_reply->number : 0);
    rule_frame(s, q, !q->over, "a push after its last frame");
    if (q->replied) {
        later_push(s, q, &f);
        return;
    }
    first_push(s, q, &f);
    c->owes_reply = q;
}

/* E-005: ok with the request type, except where nothing was run (E-003, E-007, E-008). */
static void check_reply(struct sim *s, const struct sim_request *q, const char *status, struct slice response)
{
    bool ok = strcmp(status, "ok") == 0;
    rule_frame(s, q, ok || q->refused, "an error reply without an error push");
    rule_frame(s, q, ok || json_kind(response) == JSON_STRING, "an error reply without its reason");
    rule_frame(s, q, !ok || json_string_is(response, slice_str(q->type_name)), "the reply has not its request type");
}

void oracle_reply(struct sim *s, struct sim_client *c, struct slice ref, const char *status, struct slice response)
{
    sim_trace(s, "  reply to client %u, ref %.*s: %s %.*s", (unsigned)(c - s->client), (int)ref.len, ref.ptr, status,
              (int)response.len, response.ptr);
    struct sim_request *q = request_by_raw(s, ref);
    sim_rule(s, q, "a reply to nobody: %.*s", (int)ref.len, ref.ptr);
    rule_frame(s, q, q->channel == c->handle, "a reply on another's channel");
    rule_frame(s, q, !q->replied && !q->over, "a second reply");
    sim_rule(s, !c->owes_reply || c->owes_reply == q, "request %u: a reply between push and reply of request %u", q->number,
             c->owes_reply ? c->owes_reply->number : 0);
    bool none = q->type == RESPONSE_NONE && !q->refused;
    rule_frame(s, q, c->owes_reply == q || none, "a reply without its push");
    check_reply(s, q, status, response);
    c->owes_reply = NULL;
    q->replied = true;
    if (q->refused || q->type < 0 || q->type == RESPONSE_SYNC)
        last_frame(s, q, !q->refused);
    else if (none)
        q->over = true;
}

void oracle_client_gone(struct sim *s, struct sim_client *c)
{
    c->owes_reply = NULL;
    for (uint32_t i = 0; i < s->requests; i++)
        if (s->request[i]->channel == c->handle)
            s->request[i]->lost = true;
}

/* ---- calls and streams ---- */

/* Attribution only: the handle of a call is that of its request. */
static struct sim_request *request_by_tag(const struct sim *s, uint64_t tag)
{
    const struct request *r = request_find(s->gw, tag);
    return r ? request_by_raw(s, request_text(r, r->ref)) : NULL;
}

void oracle_call_begun(struct sim *s, const struct sim_call *call)
{
    if (call->asks == ASKS_AFTER)
        return;
    struct sim_request *q = request_by_tag(s, call->tag);
    sim_rule(s, q, "a call for a request that has ended");
    ((struct sim_call *)(uintptr_t)call)->q = q;
    const struct sim_client *c = &s->client[q->client];
    rule_frame(s, q, q->type == RESPONSE_NONE || !q->over, "a call after its last frame");
    rule_frame(s, q, !c->closing || c->handle != q->channel, "a call for a client that is leaving");
    rule_frame(s, q, call->asks != ASKS_MAIN || q->type == RESPONSE_SYNC || q->replied || q->lost,
               "a call before its dispatch");
    rule_frame(s, q, !q->denied, "a call after it was denied");
    if (call->asks == ASKS_MAIN)
        q->node = call->node;
    q->returned = false;
    q->fifo_count = 0; /* what another producer has sent before is not this one's */
    q->producer_gone = false;
}

void oracle_call_ended(struct sim *s, const struct sim_call *call, enum call_outcome outcome)
{
    struct sim_request *q = call->q;
    (void)s;
    if (!q)
        return;
    if (call->asks == ASKS_BEFORE && outcome == CALL_RETURN && call->new_type >= 0)
        q->type = call->new_type;
    if (call->asks != ASKS_MAIN)
        q->denied = outcome != CALL_RETURN || !call->ok;
    if (call->asks != ASKS_MAIN || outcome != CALL_RETURN)
        return;
    q->unexpected = call->unexpected;
    q->returned = true;
    q->ok = call->ok;
    q->serial = call->serial;
}

void oracle_node_down(struct sim *s, uint32_t node)
{
    for (uint32_t i = 0; i < s->streams; i++)
        if (s->stream[i].open && s->stream[i].q->returned && s->stream[i].q->node == node)
            s->stream[i].q->producer_gone = true;
}

void oracle_stream_overflow(struct sim_stream *st)
{
    if (st->open && !st->q->nested && !st->q->over)
        st->q->must_end = true;
}

void oracle_stream_word(struct sim *s, struct sim_stream *st, enum sim_word word, uint32_t serial)
{
    struct sim_request *q = st->q;
    if (!st->open || q->over || q->lost)
        return;
    enum sim_word last = q->fifo_count ? q->fifo[q->fifo_count - 1].word : WORD_RESULT;
    if (last != WORD_RESULT)
        return; /* it has said its last word */
    sim_rule(s, q->fifo_count < SIM_FIFO, "the simulator sends too much");
    q->fifo[q->fifo_count].word = word;
    q->fifo[q->fifo_count++].serial = serial;
}

/* ---- between two events ---- */

/* What one request in flight waits for, and whether the client is still owed something. */
static void check_record(struct sim *s, const struct request *r, bool gone)
{
    struct sim_request *q = request_by_raw(s, request_text(r, r->ref));
    sim_rule(s, q, "a record of nobody is in flight");
    q->stamp = s->step;
    q->calls_open = 0;
    if (!gone)
        rule_frame(s, q, !q->over || q->type == RESPONSE_NONE, "in flight after its last frame");
    bool queued = list_linked(&r->in_queue);
    bool pause = timer_armed(&r->timer) && r->stream == HANDLE_NONE;
    int reasons = (r->call != HANDLE_NONE) + queued + pause + r->streaming;
    sim_rule(s, reasons == 1, "request %u (%s) waits for %d things: call=%d queue=%d pause=%d stream=%d", q->number,
             type_name(q), reasons, r->call != HANDLE_NONE, queued, pause, r->streaming);
    sim_rule(s, r->stream == HANDLE_NONE || !r->fc->timeout_ms || timer_armed(&r->timer), "request %u: no end in sight (E-149)",
             q->number);
    sim_rule(s, !r->streaming || !q->producer_gone, "request %u: its stream goes on without a producer", q->number);
    sim_rule(s, !r->streaming || gone || q->fifo_count == 0, "request %u: a word of its stream was not passed on", q->number);
}

static uint32_t check_client(struct sim *s, const struct sim_client *c)
{
    uint32_t n = 0;
    if (!c->channel)
        return 0;
    sim_rule(s, !c->owes_reply, "request %u: a push without its reply", c->owes_reply ? c->owes_reply->number : 0);
    for (struct list *it = c->channel->waiting.head.next; it != &c->channel->waiting.head; it = it->next, n++)
        check_record(s, container_of(it, struct request, in_channel), c->gone);
    sim_rule(s, n == c->channel->waiting.count, "a channel's list has %u requests and counts %u", n, c->channel->waiting.count);
    return n;
}

static void check_calls(struct sim *s)
{
    uint32_t first = s->calls > 400 ? s->calls - 400 : 0;
    for (uint32_t i = first; i < s->calls; i++) {
        struct sim_call *call = s->call[i];
        if (call->state != CALL_OPEN || !call->q)
            continue;
        rule_frame(s, call->q, call->q->stamp == s->step, "a call outlives its request");
        rule_frame(s, call->q, ++call->q->calls_open == 1, "two calls at a time");
    }
}

/* Whoever is owed an answer is still being worked on. */
static void check_owed(struct sim *s)
{
    uint32_t first = s->requests > 400 ? s->requests - 400 : 0;
    for (uint32_t i = first; i < s->requests; i++) {
        const struct sim_request *q = s->request[i];
        rule_frame(s, q, !q->must_end || q->over || q->lost, "it keeps back more than it may");
        rule_frame(s, q, q->over || q->lost || q->stamp == s->step, "forgotten without its last frame");
    }
    for (uint32_t i = 0; i < s->streams; i++)
        if (s->stream[i].open)
            rule_frame(s, s->stream[i].q, s->stream[i].q->stamp == s->step, "its stream outlives it");
}

static void check_async(struct sim *s)
{
    const struct gateway *gw = s->gw;
    sim_rule(s, gw->async_running <= gw->o.async_limit, "%u async requests run", gw->async_running);
    sim_rule(s, gw->async_queued <= gw->o.async_queue, "%u async requests wait for their turn", gw->async_queued);
    sim_rule(s, gw->async_running == gw->o.async_limit || list_empty(&gw->async_queue),
             "async requests wait although there is a place");
    uint32_t n = 0;
    for (struct list *it = gw->async_queue.next; it != &gw->async_queue; it = it->next)
        n++;
    sim_rule(s, n == gw->async_queued, "the queue has %u requests and counts %u", n, gw->async_queued);
}

/* A breaker that tries waits for the outcome of a call: without one it would pass the node over for ever. */
static void check_breakers(struct sim *s)
{
    struct breaker_info info;
    for (size_t pos = 0; breakers_next(gateway_breakers(s->gw), &pos, &info);) {
        bool tries = info.state == BREAKER_TRYING, found = false;
        for (uint32_t i = s->calls; tries && !found && i-- > 0;)
            found = s->call[i]->state == CALL_OPEN && s->call[i]->asks == ASKS_MAIN &&
                    slice_is(info.node, sim_node_name(s->call[i]->node));
        sim_rule(s, !tries || found, "the breaker of %.*s tries, but no call is on its way", (int)info.node.len, info.node.ptr);
    }
}

void oracle_step(struct sim *s)
{
    const uint64_t *m = s->metrics.value;
    uint32_t in_flight = 0;
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        in_flight += check_client(s, &s->client[i]);
    check_calls(s);
    check_owed(s);
    check_async(s);
    check_breakers(s);
    sim_rule(s, in_flight == gateway_in_flight(s->gw), "%u requests in flight, the channels know %u", gateway_in_flight(s->gw),
             in_flight);
    sim_rule(s, in_flight == m[METRIC_REQUESTS_IN_FLIGHT], "%u requests in flight, the metric says %llu", in_flight,
             (unsigned long long)m[METRIC_REQUESTS_IN_FLIGHT]);
    uint64_t ended = m[METRIC_REQUESTS_OK] + m[METRIC_REQUESTS_ERROR] + m[METRIC_REQUESTS_DROPPED];
    sim_rule(s, m[METRIC_REQUESTS] == ended + in_flight, "%llu requests: %llu ok + %llu error + %llu dropped + %u in flight",
             (unsigned long long)m[METRIC_REQUESTS], (unsigned long long)m[METRIC_REQUESTS_OK],
             (unsigned long long)m[METRIC_REQUESTS_ERROR], (unsigned long long)m[METRIC_REQUESTS_DROPPED], in_flight);
    sim_rule(s, m[METRIC_REQUESTS_OK] >= s->answered_ok, "more successes were pushed than counted");
    sim_rule(s, m[METRIC_REQUESTS_ERROR] >= s->answered_error, "more errors were pushed than counted");
}

void oracle_nothing_left(struct sim *s)
{
    const struct gateway *gw = s->gw;
    sim_rule(s, gateway_in_flight(gw) == 0, "%u requests are left in flight", gateway_in_flight(gw));
    sim_rule(s, gw->async_running == 0 && gw->async_queued == 0, "places of async requests are not given back");
    sim_rule(s, s->streams_open == 0, "%u streams are left open", s->streams_open);
}
