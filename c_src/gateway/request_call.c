/*
 * request_call.c: the call of a request: its nodes in order, retry with growing pauses, and the queue in which async
 * requests wait for their turn.
 *
 * A function that may have run is run again only when the config's retry says so, or the operator chose the
 * library's way (E-182 want). A node that is not connected is passed over: nothing ran there.
 */
#include "request_internal.h"

#include "breaker.h"
#include "log.h"

enum {
    BACKOFF_FIRST_MS = 100, /* E-192 with its want: the pause grows from round to round */
    BACKOFF_MAX_MS = 5000,
    BACKOFF_SHIFT_MAX = 6
};

static const char unavailable[] = "Service temporarily unavailable";

static void call_next(struct request *r, struct slice last_reason);

struct slice call_node_name(const struct request *r, uint32_t i)
{
    uint32_t count;
    const struct slice *nodes = request_nodes(r, &count);
    return nodes[r->candidate[i]];
}

/* -- results ----------------------------------------------------------------------------------- */

/* {tag, second} or {tag, second, ...}. */
static bool tuple_element(struct slice value, struct slice tag, uint32_t *arity, struct slice *second)
{
    struct term_reader t = term_reader(value);
    if (term_read_tagged_slice(&t, tag, arity) != BG_OK || *arity < 2)
        return false;
    return (*arity == 2 ? term_read_last(&t, second) : term_skip(&t, second)) == BG_OK;
}

static void finish_result(struct request *r, struct slice value)
{
    if (r->fc->response_type == RESPONSE_STREAM)
        stream_called(r, value);
    else
        finish_value(r, value);
}

/* Pauses before the next round. False when no round is left; a stream has none, since its producer may be at work. */
static bool retry_later(struct request *r)
{
    if (r->fc->retry_mode == RETRY_NONE || r->round >= r->fc->retry_count || r->stream != HANDLE_NONE)
        return false;
    uint32_t shift = r->round < BACKOFF_SHIFT_MAX ? r->round : BACKOFF_SHIFT_MAX;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << shift;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    uint64_t pause_us = ms * 500 + random_u64() % (ms * 1000);
    if (r->told)
        tell_retry(r, pause_us / 1000);
    r->round++;
    metric_inc(r->gw->o.metrics, METRIC_CALLS_RETRIED);
    return timer_arm_in(r->gw->o.timers, &r->timer, pause_us) == BG_OK;
}

/* The round's nodes have failed: another round, or the end. */
static void round_failed(struct request *r, struct slice reason)
{
    if (retry_later(r))
        return;
    if (r->told)
        tell_exhausted(r, reason);
    finish_failure(r, reason, false);
}

/* E-190 want: an error that the function itself returned is retried only where the operator opted in. */
static void returned_error(struct request *r, struct slice value, struct slice reason)
{
    request_log(r, "function returned an error", value);
    if (r->gw->o.retry_on_error && retry_later(r))
        return;
    if (r->told && r->gw->o.retry_on_error)
        tell_exhausted(r, reason);
    finish_failure(r, reason, true);
}

/* E-200..E-202: a tuple is {ok, X}, {error, R}, {error, A, B} (E-193), or nothing that a client could use. */
static void returned(struct request *r, struct slice value)
{
    uint32_t arity;
    struct slice second;
    struct term_reader t = term_reader(value);
    if (tuple_element(value, SLICE_LIT("ok"), &arity, &second) && arity == 2) {
        finish_result(r, second);
    } else if (term_peek(&t) != TERM_TUPLE) {
        finish_result(r, value);
    } else if (tuple_element(value, SLICE_LIT("error"), &arity, &second) && arity <= 3) {
        returned_error(r, value, second);
    } else {
        request_log(r, "function returned a tuple that is neither ok nor error", value);
        finish_error(r, SLICE_LIT("Unexpected execution result"), false);
    }
}

static const char *const outcome_text[] = {
    [CALL_RETURN] = "ok",
    [CALL_EXIT] = "function failed on the service node",
    [CALL_BADRPC] = "call failed on the service node",
    [CALL_TIMEOUT] = "call timed out",
    [CALL_NODEDOWN] = "connection to the service node was lost",
    [CALL_BUSY] = "too much waits for the service node",
};

/* The node of the call that was sent last. */
static struct slice current_node(const struct request *r)
{
    return call_node_name(r, r->candidate_next - 1u);
}

/* Tells the breaker how the call went: an answer of any kind closes it, a time-out counts. A lost connection does not:
 * it shows in node_up() at once, and one loss ends many calls. */
static void report(const struct request *r, enum call_outcome outcome)
{
    struct gateway *gw = r->gw;
    struct slice node = current_node(r);
    if (outcome == CALL_NODEDOWN) {
        breaker_forgotten(gw->breakers, r->fc->service, node, r->self);
        return;
    }
    bool opened = false;
    if (outcome == CALL_TIMEOUT)
        opened = breaker_failed(gw->breakers, r->fc->service, node, r->self, gw->o.timers->now_us);
    else if (breaker_succeeded(gw->breakers, r->fc->service, node))
        tell_breaker(r, node, false);
    gw->o.metrics->value[METRIC_BREAKERS_OPEN] = breakers_open(gw->breakers);
    if (!opened)
        return;
    tell_breaker(r, node, true);
    metric_inc(gw->o.metrics, METRIC_BREAKERS_OPENED);
    log_warning("request", "circuit breaker opened: the service is passed over on this node for a while",
                "service=%s node=%s failures=%u cooldown_ms=%u hint=\"calls there time out: is the node overloaded or stopped?\"",
                log_text(r->fc->service), log_text(node), gw->o.breaker_threshold, gw->o.breaker_cooldown_ms);
}

void call_cancel(struct request *r)
{
    if (r->call == HANDLE_NONE)
        return;
    r->gw->o.call.cancel(r->gw->o.call.ctx, r->call);
    r->call = HANDLE_NONE;
    if (r->candidate_next > 0)
        breaker_forgotten(r->gw->breakers, r->fc->service, current_node(r), r->self);
}

/* The owner and tag of a call are the gateway and the request's handle. */
static void on_call_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct request *r = request_find(owner, tag);
    if (!r)
        return;
    r->call = HANDLE_NONE;
    if (r->traced)
        trace_result(r, current_node(r), outcome, value.len);
    report(r, outcome);
    if (outcome != CALL_RETURN) {
        request_log(r, outcome_text[outcome], value);
        if (outcome == CALL_NODEDOWN || r->gw->o.fallback_on_exit)
            call_next(r, value);
        else
            round_failed(r, value);
        return;
    }
    returned(r, value);
}

/* -- nodes and rounds ---------------------------------------------------------------------------- */

/* Sends the call to one node. False when that node cannot take it: nothing was sent. */
static bool call_node(struct request *r, struct slice node, enum call_outcome *why)
{
    const struct call_ops *call = &r->gw->o.call;
    const struct fun_config *fc = r->fc;
    *why = CALL_BUSY;
    if (!breaker_allows(r->gw->breakers, fc->service, node, r->self, r->gw->o.timers->now_us))
        return false;
    stream_calling(r);
    struct buf *out = call->begin(call->ctx, node, fc->mfa.module, fc->mfa.function, r->args_count, why);
    if (!out) {
        breaker_forgotten(r->gw->breakers, fc->service, node, r->self);
        return false;
    }
    buf_add_slice(out, buf_slice(&r->args));
    uint32_t timeout_ms = fc->timeout_ms ? fc->timeout_ms : TIMEOUT_INFINITY_MS;
    r->call = call->commit(call->ctx, (uint64_t)timeout_ms * 1000, on_call_done, r->gw, r->self);
    *why = CALL_BUSY;
    if (r->call == HANDLE_NONE)
        breaker_forgotten(r->gw->breakers, fc->service, node, r->self);
    else if (r->traced)
        trace_call(r, node);
    return r->call != HANDLE_NONE;
}

/* Tries the candidates that are left, in order; with none left the round has failed. */
static void call_next(struct request *r, struct slice last_reason)
{
    enum call_outcome why;
    bool busy = false; /* a node is there, and cannot take more: then to say that none is would be untrue */
    while (r->candidate_next < r->candidate_count) {
        bool again = r->candidate_next > 0;
        if (!call_node(r, call_node_name(r, r->candidate_next++), &why)) {
            busy = busy || why == CALL_BUSY;
            continue;
        }
        if (again)
            metric_inc(r->gw->o.metrics, METRIC_CALLS_FALLOVER);
        return;
    }
    if (busy) {
        metric_inc(r->gw->o.metrics, METRIC_REQUESTS_REFUSED);
        finish_error(r, SLICE_LIT(unavailable), true);
        return;
    }
    log_limited(LOG_WARNING, "request", "no service node could be reached",
                "service=%s request_type=%s nodes=%u hint=\"is the service node up, and its name in the FunConfig right?\"",
                log_text(r->fc->service), log_text(r->fc->request_type), r->fc->nodes_count);
    round_failed(r, last_reason);
}

/* E-191: same_node begins with the same node again, all_nodes with the one after it. */
static void next_round(struct request *r)
{
    r->candidate_next = 0;
    if (r->fc->retry_mode == RETRY_ALL_NODES && r->candidate_count > 1) {
        uint16_t first = r->candidate[0];
        memmove(r->candidate, r->candidate + 1, (r->candidate_count - 1) * sizeof(r->candidate[0]));
        r->candidate[r->candidate_count - 1] = first;
    }
    call_next(r, SLICE_NONE);
}

static void on_pause_over(struct timer *t)
{
    next_round(container_of(t, struct request, timer));
}

/* -- the places of async requests ---------------------------------------------------------------- */

/* Starts queued requests while there are places. One that ends at once gives its place back from within: the flag
 * keeps that from running the queue a second time, level by level. */
static void run_queue(struct gateway *gw)
{
    if (gw->held)
        return;
    gw->held = true;
    while (gw->async_running < gw->o.async_limit && !list_empty(&gw->async_queue)) {
        struct request *r = container_of(list_pop(&gw->async_queue), struct request, in_queue);
        gw->async_queued--;
        gw->async_running++;
        gw->pools[r->pool].queued--;
        gw->pools[r->pool].running++;
        r->runs = true;
        if (r->told)
            tell_task_start(r);
        call_next(r, SLICE_NONE);
    }
    gw->held = false;
}

void call_queue_hold(struct gateway *gw)
{
    gw->held = true;
}

void call_queue_go(struct gateway *gw)
{
    gw->held = false;
    run_queue(gw);
}

/* E-138, E-210: async, stream and none requests run so many at a time; more wait, in a queue that is bounded. */
void call_start(struct request *r)
{
    struct gateway *gw = r->gw;
    if (r->fc->response_type != RESPONSE_STREAM)
        r->timer.fn = on_pause_over;
    if (r->fc->response_type == RESPONSE_SYNC) {
        call_next(r, SLICE_NONE);
        return;
    }
    list_append(&gw->async_queue, &r->in_queue);
    gw->async_queued++;
    r->pool = r->stream != HANDLE_NONE;
    gw->pools[r->pool].queued++;
    run_queue(gw);
}

struct gateway_pool gateway_pool(const struct gateway *gw, bool stream, uint32_t *idle)
{
    *idle = gw->o.async_limit > gw->async_running ? gw->o.async_limit - gw->async_running : 0;
    return gw->pools[stream];
}

void call_release(struct request *r)
{
    struct gateway *gw = r->gw;
    if (list_linked(&r->in_queue)) {
        list_remove(&r->in_queue);
        gw->async_queued--;
        gw->pools[r->pool].queued--;
    }
    if (!r->runs)
        return;
    r->runs = false;
    gw->async_running--;
    gw->pools[r->pool].running--;
    gw->pools[r->pool].executed++;
    gw->pools[r->pool].failed += r->failed;
    if (r->told)
        tell_task_end(r);
    run_queue(gw);
}
