/*
 * request_stream.c: requests that are answered in pieces (E-145..E-155). The service sends plain messages to the stream's
 * pid, a process that stands for the request; each becomes a push, in the order they came.
 *
 * A stream ends with exactly one frame whose has_more is false: the producer's last word, its error, the timeout of the
 * config, or the loss of its node. A client that leaves ends it in silence, and the producer's messages are
 * dropped with the process.
 */
#include "request_internal.h"

#include "log.h"

enum { EARLY_MAX_BYTES = 1024 * 1024 };

static void finish_stream_error(struct request *r, const char *text)
{
    finish_error(r, slice_str(text), false);
}

static void finish_producer_gone(struct request *r)
{
    finish_stream_error(r, "Stream producer is gone");
}

/* A chunk (F-116..F-118). False: it cannot be sent and the stream has ended with an error. */
static bool push_chunk(struct request *r, const struct response *chunk)
{
    struct err e;
    if (request_push(r, chunk, &e) == BG_OK)
        return true;
    log_limited(LOG_WARNING, "request", "part of a stream cannot be sent", "service=%s request_type=%s reason=%s",
                log_text(r->fc->service), log_text(r->fc->request_type), log_text(slice_str(e.text)));
    finish_stream_error(r, "Internal Server Error");
    return false;
}

static void finish_stream(struct request *r, struct slice last)
{
    const struct response chunk = {.result_term = last, .async = true};
    if (!push_chunk(r, &chunk))
        return;
    metric_inc(r->gw->o.metrics, METRIC_REQUESTS_OK);
    request_finish(r);
}

enum stream_word { STREAM_RESULT, STREAM_LAST_RESULT, STREAM_ERROR, STREAM_OTHER };

/* {result, X}, {last_result, X}, {error, E}; other terms are ignored (E-148). */
static enum stream_word read_message(struct slice msg, struct slice *value)
{
    static const char *const tags[] = {[STREAM_RESULT] = "result", [STREAM_LAST_RESULT] = "last_result", [STREAM_ERROR] = "error"};
    for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
        struct term_reader t = term_reader(msg);
        uint32_t arity;
        if (term_read_tagged(&t, tags[i], &arity) == BG_OK && arity == 2 && term_skip(&t, value) == BG_OK)
            return (enum stream_word)i;
    }
    return STREAM_OTHER;
}

/* GenServer.cast(stream, :stop): what StreamCall.stop does on an Elixir gateway (E-152). */
static bool is_stop(struct slice msg)
{
    struct term_reader t = term_reader(msg);
    uint32_t arity;
    return term_read_tagged(&t, "$gen_cast", &arity) == BG_OK && arity == 2 && term_read_is_atom(&t, "stop");
}

/* Acts on what the producer sent. False when the stream has ended. */
static bool take_message(struct request *r, struct slice msg)
{
    struct slice value;
    if (term_is_atom(msg, "complete") || is_stop(msg)) {
        finish_stream(r, SLICE_NONE);
        return false;
    }
    switch (read_message(msg, &value)) {
    case STREAM_RESULT: {
        const struct response chunk = {.result_term = value, .async = true, .has_more = true};
        return push_chunk(r, &chunk);
    }
    case STREAM_LAST_RESULT:
        finish_stream(r, value);
        return false;
    case STREAM_ERROR:
        request_log(r, "stream ended with an error", value);
        finish_stream_failure(r, value);
        return false;
    default:
        return true;
    }
}

/* E-154: what came before the initial call returned waits, as length and term. */
static void keep_early(struct request *r, struct slice msg)
{
    uint8_t head[4];
    if (r->early.limit == 0)
        buf_init(&r->early, EARLY_MAX_BYTES);
    put_be32(head, (uint32_t)msg.len);
    buf_add(&r->early, head, sizeof(head));
    buf_add_slice(&r->early, msg);
    if (!buf_ok(&r->early)) {
        request_log(r, "stream sent too much before its call returned", SLICE_NONE);
        finish_stream_error(r, "Internal Server Error");
    }
}

void stream_calling(struct request *r)
{
    const struct stream_ops *ops = &r->gw->o.stream;
    if (r->stream == HANDLE_NONE)
        return;
    buf_reset(&r->early);
    r->producer_gone = false;
    ops->calling(ops->ctx, r->stream);
}

static void take_early(struct request *r)
{
    handle_t self = r->self;
    struct gateway *gw = r->gw;
    struct buf early = r->early;
    buf_init(&r->early, EARLY_MAX_BYTES);
    for (size_t at = 0; at < early.len && request_find(gw, self);) {
        size_t len = get_be32(early.data + at);
        at += 4;
        if (!take_message(r, slice_make(early.data + at, len)))
            break;
        at += len;
    }
    buf_fini(&early);
}

void gateway_stream_message(struct gateway *gw, uint64_t tag, struct slice msg)
{
    struct request *r = request_find(gw, tag);
    if (!r || r->stream == HANDLE_NONE)
        return;
    if (r->streaming)
        (void)take_message(r, msg);
    else
        keep_early(r, msg);
}

void gateway_stream_down(struct gateway *gw, uint64_t tag, const char *why)
{
    struct request *r = request_find(gw, tag);
    if (!r || r->stream == HANDLE_NONE)
        return;
    request_log(r, why, SLICE_NONE);
    if (r->streaming)
        finish_producer_gone(r);
    else
        r->producer_gone = true; /* what its call returns, and what it had sent, goes first (E-154) */
}

void gateway_node_down(struct gateway *gw, struct slice node)
{
    struct request *r;
    for (uint32_t pos = 0; (r = slots_next(&gw->requests, &pos, NULL)) != NULL;)
        if (r->streaming && r->candidate_next > 0 && slice_eq(call_node_name(r, r->candidate_next - 1u), node))
            gateway_stream_down(gw, r->self, "the stream's node went down");
}

bool gateway_stream_stop(struct request_list *waiting, struct slice request_id)
{
    struct list *it, *next;
    list_each_safe(it, next, &waiting->head)
    {
        struct request *r = container_of(it, struct request, in_channel);
        if (r->stream == HANDLE_NONE || !slice_eq(request_text(r, r->request_id), request_id))
            continue;
        finish_stream(r, SLICE_NONE);
        return true;
    }
    return false;
}

bool gateway_stream_view(const struct gateway *gw, uint64_t tag, struct stream_view *v)
{
    const struct request *r = request_find(gw, tag);
    if (!r || !r->fc)
        return false;
    *v = (struct stream_view){.channel = r->channel,
                              .service = r->fc->service,
                              .request_type = r->fc->request_type,
                              .request_id = request_text(r, r->request_id),
                              .started = r->streaming};
    return true;
}

/* E-149 want: the client is told. */
static void on_stream_timeout(struct timer *t)
{
    finish_stream_error(container_of(t, struct request, timer), "Stream timed out");
}

bool stream_open(struct request *r)
{
    struct gateway *gw = r->gw;
    const struct stream_ops *ops = &gw->o.stream;
    r->stream = ops->open ? ops->open(ops->ctx, r->self) : HANDLE_NONE;
    if (r->stream == HANDLE_NONE) {
        metric_inc(gw->o.metrics, METRIC_REQUESTS_REFUSED);
        finish_error(r, SLICE_LIT("Service temporarily unavailable"), true);
        return false;
    }
    r->timer.fn = on_stream_timeout;
    if (r->fc->timeout_ms)
        (void)timer_arm_in(gw->o.timers, &r->timer, (uint64_t)r->fc->timeout_ms * 1000);
    return true;
}

/* Appends the nested Response of the initial call (E-146), success with the value as its result. */
static int put_nested(struct request *r, struct slice value, struct buf *out, struct err *e)
{
    const struct response nested = {.result_term = value};
    return response_put(out, request_text(r, r->request_id), &nested, e);
}

void stream_called(struct request *r, struct slice value)
{
    const struct stream_ops *ops = &r->gw->o.stream;
    struct buf nested;
    struct err e = {0};
    ops->called(ops->ctx, r->stream);
    buf_init(&nested, 0);
    bool sendable = put_nested(r, value, &nested, &e) == BG_OK;
    const struct response first = {
        .result_json = buf_slice(&nested), .nested_term = value, .async = true, .has_more = true};
    if (!sendable) {
        request_log(r, e.text, SLICE_NONE);
        finish_stream_error(r, "Internal Server Error");
    } else if (push_chunk(r, &first)) {
        struct gateway *gw = r->gw;
        handle_t self = r->self;
        r->streaming = true;
        take_early(r);
        if (request_find(gw, self) && r->producer_gone)
            finish_producer_gone(r);
    }
    buf_fini(&nested);
}

void stream_release(struct request *r)
{
    const struct stream_ops *ops = &r->gw->o.stream;
    ops->close(ops->ctx, r->stream);
    r->stream = HANDLE_NONE;
    r->streaming = r->producer_gone = false;
    buf_fini(&r->early);
}
