/*
 * streams.c: gives the request pipeline its streams: joins request_stream.c, which knows what the messages mean, to
 * stream_process.c, which receives them and watches who sends. Nothing is decided here.
 */
#include "process_state.h"
#include "server_state.h"

static void on_message(void *ctx, uint64_t tag, struct slice msg)
{
    const struct server *s = ctx;
    gateway_stream_message(s->gateway, tag, msg);
}

static void on_orphaned(void *ctx, uint64_t tag, const char *why)
{
    const struct server *s = ctx;
    gateway_stream_down(s->gateway, tag, why);
}

static void stream_row(void *ctx, uint64_t tag, struct process_row *row)
{
    const struct server *s = ctx;
    struct stream_view v;
    if (!s->gateway || !gateway_stream_view(s->gateway, tag, &v))
        return;
    row->parent = v.channel;
    row->group = v.service;
    process_row_about(row, v.request_type);
    process_row_about(row, SLICE_LIT(" "));
    process_row_about(row, v.request_id);
}

static void stream_state(void *ctx, uint64_t tag, struct process_state *st)
{
    const struct server *s = ctx;
    struct stream_view v;
    if (!s->gateway || !gateway_stream_view(s->gateway, tag, &v))
        return;
    process_state_text(st, "service", v.service);
    process_state_text(st, "request_type", v.request_type);
    process_state_text(st, "request_id", v.request_id);
    process_state_atom(st, "started", v.started ? "true" : "false");
    process_state_pid(st, "channel", v.channel);
}

static handle_t stream_open(void *ctx, uint64_t tag)
{
    struct server *s = ctx;
    return stream_process_open(&s->streams, tag);
}

static void stream_put_pid(void *ctx, handle_t stream, struct buf *out)
{
    const struct server *s = ctx;
    node_put_pid(&s->self, out, stream);
}

static void stream_calling(void *ctx, handle_t stream)
{
    struct server *s = ctx;
    stream_process_calling(&s->streams, stream);
}

static void stream_called(void *ctx, handle_t stream)
{
    struct server *s = ctx;
    stream_process_called(&s->streams, stream, remote_call_ran_by(s->calls));
}

static void stream_close(void *ctx, handle_t stream)
{
    struct server *s = ctx;
    stream_process_close(&s->streams, stream);
}

struct stream_ops server_stream_ops(struct server *s)
{
    s->streams = (struct stream_processes){
        .processes = s->processes,
        .timers = &s->timers,
        .sink = {s, on_message, on_orphaned, stream_row, stream_state},
        .grace_us = (uint64_t)s->config->requests.stream_grace_ms * 1000,
    };
    return (struct stream_ops){s, stream_open, stream_put_pid, stream_calling, stream_called, stream_close};
}
