/*
 * request_trace.c: see request_trace.h. A request is matched when it comes in, and by traces of a function once its
 * config is found; the numbers of the traces that want it are a word in its record, and each place that has something
 * to tell tests that word.
 */
#include "request_internal.h"

/* Text of a raw JSON value: a string without its quotes, with escapes as they are; anything else as it is. */
static struct slice bare(struct slice raw)
{
    bool quoted = raw.len >= 2 && raw.ptr[0] == '"';
    return quoted ? slice_make(raw.ptr + 1, raw.len - 2) : raw;
}

static bool holds(struct slice wanted, struct slice got)
{
    return !wanted.ptr || slice_eq(wanted, got);
}

static bool of_function(const struct trace_filter *f)
{
    return f->module.ptr != NULL;
}

static struct slice user_of(const struct asked *a)
{
    return a->who->user_id.len ? a->who->user_id : bare(a->f.user_id);
}

static bool matches(const struct trace_filter *f, const struct request *r, const struct asked *a)
{
    return (f->channel == HANDLE_NONE || f->channel == r->channel) &&
           holds(f->request_id, bare(request_text(r, r->request_id))) && holds(f->user_id, user_of(a)) &&
           holds(f->topic, bare(a->who->topic)) && holds(f->service, bare(a->f.service)) &&
           holds(f->request_type, bare(a->f.request_type));
}

static uint32_t arity_of(const struct request *r)
{
    return r->args_count ? r->args_count : r->fc->mfa.args_count + r->fc->args_count + r->fc->request_info;
}

static bool calls(const struct trace_filter *f, const struct request *r)
{
    const struct mfa *m = &r->fc->mfa;
    return slice_eq(f->module, m->module) && holds(f->function, m->function) &&
           (f->arity < 0 || (uint32_t)f->arity == arity_of(r));
}

static void tell(const struct request *r, uint32_t traces, const struct trace_event *e)
{
    const struct trace_ops *ops = &r->gw->o.trace;
    for (unsigned i = 0; ops->event && traces >> i; i++)
        if (traces >> i & 1)
            ops->event(ops->ctx, i, e);
}

static struct trace_event event_of(const struct request *r, enum trace_kind kind)
{
    struct trace_event e = {
        .kind = kind,
        .channel = r->channel,
        .request_id = request_text(r, r->request_id),
        .request_type = request_text(r, r->request_type),
    };
    if (r->fc) {
        e.service = r->fc->service;
        e.module = r->fc->mfa.module;
        e.function = r->fc->mfa.function;
        e.arity = arity_of(r);
    }
    return e;
}

static void tell_receive(const struct request *r, const struct asked *a, uint32_t traces)
{
    struct trace_event e = event_of(r, TRACE_RECEIVE);
    e.service = bare(a->f.service);
    e.user_id = user_of(a);
    e.topic = bare(a->who->topic);
    e.bytes = a->payload.len;
    tell(r, traces, &e);
}

/* The traces among those of a function, or among the others, that want the request. */
static uint32_t wanted_by(const struct request *r, const struct asked *a, bool of_functions)
{
    const struct gateway *gw = r->gw;
    uint32_t traces = 0;
    for (unsigned i = 0; i < TRACES_MAX; i++) {
        const struct trace_filter *f = &gw->traces[i];
        if ((gw->traces_on >> i & 1) && of_function(f) == of_functions && matches(f, r, a) &&
            (!of_functions || calls(f, r)))
            traces |= UINT32_C(1) << i;
    }
    return traces;
}

void trace_match(struct request *r, const struct asked *a)
{
    r->traced = wanted_by(r, a, false);
    tell_receive(r, a, r->traced);
}

void trace_found(struct request *r, const struct asked *a)
{
    uint32_t more = wanted_by(r, a, true);
    r->traced |= more;
    tell_receive(r, a, more);
}

void trace_call(const struct request *r, struct slice node)
{
    struct trace_event e = event_of(r, TRACE_CALL);
    e.node = node;
    e.bytes = r->args.len;
    tell(r, r->traced, &e);
}

void trace_result(const struct request *r, struct slice node, enum call_outcome outcome, size_t bytes)
{
    struct trace_event e = event_of(r, outcome == CALL_RETURN ? TRACE_RETURN : TRACE_EXCEPTION);
    e.node = node;
    e.outcome = outcome;
    e.bytes = bytes;
    tell(r, r->traced, &e);
}

void trace_send(const struct request *r, const struct response *resp, size_t bytes)
{
    struct trace_event e = event_of(r, TRACE_SEND);
    e.error = resp->error;
    e.bytes = bytes;
    e.more = resp->has_more || (resp->async && !r->dispatched);
    tell(r, r->traced, &e);
}

void trace_end(const struct request *r)
{
    struct trace_event e = event_of(r, TRACE_END);
    tell(r, r->traced, &e);
}

/* -- on and off ------------------------------------------------------------------------------------ */

int gateway_trace_start(struct gateway *gw, const struct trace_filter *f)
{
    for (unsigned i = 0; i < TRACES_MAX; i++) {
        if (gw->traces_on >> i & 1)
            continue;
        gw->traces[i] = *f;
        gw->traces_on |= UINT32_C(1) << i;
        return (int)i;
    }
    return BG_ELIMIT;
}

void gateway_trace_stop(struct gateway *gw, unsigned trace)
{
    uint32_t others = ~(UINT32_C(1) << trace);
    struct request *r;
    assert_always(trace < TRACES_MAX);
    gw->traces_on &= others;
    for (uint32_t pos = 0; (r = slots_next(&gw->requests, &pos, NULL)) != NULL;)
        r->traced &= others;
}
