/*
 * executor.c: see executor.h. A run is what a channel is for a client: who asks, the list of its waiting requests, and
 * a process whose handle the pipeline knows it by.
 *
 * Invariant: a run is in the list, has a live process and is found by its handle, all three or none. It is freed from a
 * timer, by a signal to its process, or when it is cancelled: never under the pipeline's feet, which still holds its
 * list while it answers.
 */
#include "executor.h"

#include <stdlib.h>

enum {
    LOOK_AGAIN_US = 250000 /* none requests say nothing when they end: they are looked at so often */
};

struct run {
    struct list all;
    struct server *server;
    const struct executor_ops *ops;
    void *owner;
    handle_t process;
    struct session who;
    struct slice *roles;
    struct request_list waiting;
    struct timer timer; /* whether it is over */
    bool replied;
    char text[]; /* of who */
};

/* ---- life ---- */

static void run_free(struct run *r)
{
    struct server *s = r->server;
    timer_disarm(&s->timers, &r->timer);
    list_remove(&r->all);
    s->executor.count--;
    process_end_atom(s->processes, r->process, "normal");
    free(r->roles);
    free(r);
}

/* Whatever still works for it is given up; nobody hears of it. */
static void run_drop(struct run *r)
{
    if (r->server->gateway)
        gateway_channel_closed(r->server->gateway, &r->waiting);
    run_free(r);
}

static void run_done(struct run *r)
{
    const struct executor_ops *ops = r->ops;
    void *owner = r->owner;
    run_drop(r);
    ops->done(owner);
}

/* The pipeline is not on the stack here. */
static void on_timer(struct timer *t)
{
    struct run *r = container_of(t, struct run, timer);
    if ((r->replied && list_empty(&r->waiting.head)) ||
        timer_arm_in(&r->server->timers, t, LOOK_AGAIN_US) != BG_OK)
        run_done(r);
}

/* Looks in the next turn whether that was all. */
static void look_soon(struct run *r)
{
    (void)timer_arm_in(&r->server->timers, &r->timer, 0);
}

/* exit/2 by somebody, or the one it works for has ended. */
static void on_exit_signal(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    (void)self;
    (void)from_pid;
    if (kill || !term_is_atom(reason, "normal"))
        run_done(owner);
}

static void on_down(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    (void)self;
    (void)monitor;
    (void)reason;
    run_done(owner);
}

static const struct process_ops run_ops = {.kind = "request", .exit = on_exit_signal, .down = on_down};

/* NULL for channels, and for whatever else bears a handle: then the edge is meant. */
static struct run *run_of(const struct server *s, handle_t h)
{
    return process_owned(s->processes, h, &run_ops);
}

/* ---- as the gateway's client ---- */

static const struct session *ops_session(void *ctx, handle_t channel)
{
    const struct server *s = ctx;
    const struct run *r = run_of(s, channel);
    return r ? &r->who : s->executor.clients.session(s->executor.clients.ctx, channel);
}

/* A run takes Responses as they are, before they become frames; false sends the pipeline to the edge. */
static bool ops_take(void *ctx, handle_t channel, struct slice request_id, const struct response *resp)
{
    struct run *r = run_of(ctx, channel);
    if (!r)
        return false;
    r->ops->response(r->owner, request_id, resp);
    if (r->replied)
        look_soon(r);
    return true;
}

static struct buf *ops_push_begin(void *ctx, handle_t channel)
{
    const struct server *s = ctx;
    return s->executor.clients.push_begin(s->executor.clients.ctx, channel);
}

static void ops_push_end(void *ctx, handle_t channel, bool keep)
{
    const struct server *s = ctx;
    s->executor.clients.push_end(s->executor.clients.ctx, channel, keep);
}

static void ops_reply(void *ctx, handle_t channel, struct slice ref, const char *status, struct slice response)
{
    const struct server *s = ctx;
    struct run *r = run_of(s, channel);
    if (!r) {
        s->executor.clients.reply(s->executor.clients.ctx, channel, ref, status, response);
        return;
    }
    r->replied = true;
    look_soon(r);
    r->ops->reply(r->owner, strcmp(status, "ok") == 0, response);
}

struct client_ops executor_client_ops(struct server *s, struct client_ops edge)
{
    s->executor.clients = edge;
    list_init(&s->executor.runs);
    return (struct client_ops){.ctx = s,
                               .session = ops_session,
                               .push_begin = ops_push_begin,
                               .push_end = ops_push_end,
                               .take = ops_take,
                               .reply = ops_reply};
}

/* ---- running ---- */

/* Who asks is copied: the caller's terms die with its packet, the request may live for minutes. */
static struct run *run_new(struct server *s, const struct session *who)
{
    size_t size = who->user_id.len + who->ip_address.len;
    for (uint32_t i = 0; i < who->roles_count; i++)
        size += who->roles[i].len;
    struct run *r = calloc(1, sizeof(*r) + size);
    struct slice *roles = calloc(who->roles_count + 1u, sizeof(*roles));
    if (!r || !roles) {
        free(r);
        free(roles);
        return NULL;
    }
    char *at = r->text;
    for (uint32_t i = 0; i < who->roles_count; i++)
        roles[i] = slice_keep(&at, who->roles[i]);
    r->who = (struct session){.user_id = slice_keep(&at, who->user_id), .roles = roles, .roles_count = who->roles_count};
    r->who.ip_address = slice_keep(&at, who->ip_address);
    r->server = s;
    r->roles = roles;
    r->timer.fn = on_timer;
    request_list_init(&r->waiting);
    list_append(&s->executor.runs, &r->all);
    s->executor.count++;
    return r;
}

handle_t executor_run(struct server *s, struct slice payload, const struct session *who,
                      const struct channel_rules *rules, const struct executor_ops *ops, void *owner)
{
    struct run *r = s->gateway && s->executor.count < EXECUTOR_RUNS_MAX ? run_new(s, who) : NULL;
    if (!r)
        return HANDLE_NONE;
    r->ops = ops;
    r->owner = owner;
    r->process = process_start(s->processes, &run_ops, r);
    if (r->process == HANDLE_NONE || timer_arm_in(&s->timers, &r->timer, LOOK_AGAIN_US) != BG_OK) {
        run_free(r);
        return HANDLE_NONE;
    }
    handle_t h = r->process;
    gateway_request(s->gateway, h, &r->waiting, &r->who, rules, SLICE_LIT("null"), payload, NULL);
    return h;
}

bool executor_watch(struct server *s, handle_t run, struct dist_link *l, struct slice pid)
{
    return run_of(s, run) && process_monitor(s->processes, run, l, pid) != HANDLE_NONE;
}

/* Without done(): the owner knows, it has asked for it. */
void executor_cancel(struct server *s, handle_t run)
{
    struct run *r = run_of(s, run);
    if (r)
        run_drop(r);
}

bool executor_stop_stream(struct server *s, handle_t run, struct slice request_id)
{
    struct run *r = run_of(s, run);
    return r && gateway_stream_stop(&r->waiting, request_id);
}

void executor_end(struct server *s)
{
    while (s->executor.runs.next && !list_empty(&s->executor.runs))
        run_done(container_of(s->executor.runs.next, struct run, all));
}
