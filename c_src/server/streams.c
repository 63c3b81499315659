/*
 * streams.c: a process for each stream, so that the producer on a service node can send to it. It knows only whose
 * stream it is; what the messages mean is the gateway's affair (request_stream.c).
 */
#include <stdlib.h>

#include "server_state.h"

struct stream {
    struct server *server;
    uint64_t tag; /* of the request */
    handle_t process;
};

static void on_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    const struct stream *st = owner;
    (void)self;
    (void)from;
    gateway_stream_message(st->server->gateway, st->tag, msg);
}

/* exit/2 by somebody, or a link to the producer that broke. A normal end of a linked producer means nothing. */
static void on_exit_signal(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    const struct stream *st = owner;
    (void)self;
    (void)from_pid;
    if (kill || !term_is_atom(reason, "normal"))
        gateway_stream_down(st->server->gateway, st->tag, "the stream's process got an exit signal");
}

static const struct process_ops stream_process = {.kind = "stream", .message = on_message, .exit = on_exit_signal};

static handle_t stream_open(void *ctx, uint64_t tag)
{
    struct server *s = ctx;
    struct stream *st = calloc(1, sizeof(*st));
    if (!st)
        return HANDLE_NONE;
    *st = (struct stream){.server = s, .tag = tag};
    st->process = process_start(s->processes, &stream_process, st);
    if (st->process == HANDLE_NONE) {
        free(st);
        return HANDLE_NONE;
    }
    return st->process;
}

static void stream_put_pid(void *ctx, handle_t stream, struct buf *out)
{
    const struct server *s = ctx;
    node_put_pid(&s->self, out, stream);
}

static void stream_close(void *ctx, handle_t stream)
{
    struct server *s = ctx;
    struct stream *st = process_owner(s->processes, stream);
    process_end_atom(s->processes, stream, "normal");
    free(st);
}

struct stream_ops server_stream_ops(struct server *s)
{
    return (struct stream_ops){.ctx = s, .open = stream_open, .put_pid = stream_put_pid, .close = stream_close};
}
