/*
 * rpc_later.c: see rpc_later.h. Remembers of a call only what its answer needs: to whom, in which shape, and the name
 * of the function for a stack. An erpc call's process is already there and is taken over; a call to rex gets one.
 *
 * Invariant: a waiter is in the list exactly as long as its process lives, and each call is answered once. A caller
 * that gives up has taken its monitor back, or its alias: what is sent then reaches nobody.
 */
#include "rpc_later.h"

#include <stdlib.h>

#include "gen_call.h"
#include "list.h"

struct rpc_later {
    struct process_table *processes;
    struct cluster *cluster;
    struct list waiters;
    uint32_t count;
    uint32_t limit;
};

struct waiter {
    struct list all;
    struct rpc_later *rl;
    const struct rpc_waiter_ops *ops;
    void *owner;
    handle_t process;
    handle_t link;
    enum rpc_shape shape;
    unsigned argc;
    struct slice module; /* these four: bytes */
    struct slice function;
    struct slice caller;
    struct slice ref;
    char bytes[];
};

struct rpc_later *rpc_later_new(struct process_table *pt, struct cluster *c, uint32_t limit)
{
    struct rpc_later *rl = calloc(1, sizeof(*rl));
    if (!rl)
        return NULL;
    *rl = (struct rpc_later){.processes = pt, .cluster = c, .limit = limit};
    list_init(&rl->waiters);
    return rl;
}

/* The record only; its process is ended by whoever calls this. */
static void waiter_free(struct waiter *w)
{
    list_remove(&w->all);
    w->rl->count--;
    free(w);
}

/* At the end of the program: no owner is told. */
void rpc_later_free(struct rpc_later *rl)
{
    while (rl && !list_empty(&rl->waiters))
        waiter_free(container_of(rl->waiters.next, struct waiter, all));
    free(rl);
}

uint32_t rpc_later_count(const struct rpc_later *rl)
{
    return rl->count;
}

/* ---- the process ---- */

static void on_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    const struct waiter *w = owner;
    if (w->ops->message)
        w->ops->message(w->owner, self, from, msg);
}

/* exit/2, or the link of a spawn_link that broke: as on a BEAM, the work ends with the process. */
static void on_exit_signal(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    const struct waiter *w = owner;
    struct process_table *pt = w->rl->processes;
    const struct rpc_waiter_ops *ops = w->ops;
    void *works = w->owner;
    (void)from_pid;
    if (!kill && term_is_atom(reason, "normal"))
        return;
    waiter_free(owner);
    if (kill)
        process_end_atom(pt, self, "killed");
    else
        process_end(pt, self, reason);
    if (ops->gone)
        ops->gone(works, self);
}

static void on_down(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    const struct waiter *w = owner;
    (void)monitor;
    if (w->ops->down)
        w->ops->down(w->owner, self, reason);
}

static const struct process_ops waiter_ops = {
    .kind = "rpc", .message = on_message, .exit = on_exit_signal, .down = on_down};

/* ---- begin ---- */

/* The call dies with its packet, so what the answer needs of it is copied behind the record. */
static struct waiter *waiter_new(struct rpc_later *rl, const struct rpc_call *call)
{
    size_t size = call->module.len + call->function.len + call->caller.len + call->ref.len;
    struct waiter *w = calloc(1, sizeof(*w) + size);
    if (!w)
        return NULL;
    char *at = w->bytes;
    w->rl = rl;
    w->shape = call->shape;
    w->argc = call->argc;
    w->link = call->link ? dist_link_handle(call->link) : HANDLE_NONE;
    w->module = slice_keep(&at, call->module);
    w->function = slice_keep(&at, call->function);
    w->caller = slice_keep(&at, call->caller);
    w->ref = slice_keep(&at, call->ref);
    list_append(&rl->waiters, &w->all);
    rl->count++;
    return w;
}

handle_t rpc_later_begin(struct rpc_later *rl, const struct rpc_call *call, const struct rpc_waiter_ops *ops,
                         void *owner)
{
    bool has_process = call->shape == RPC_SHAPE_ERPC || call->shape == RPC_SHAPE_SPAWN;
    if (!rl || call->shape == RPC_SHAPE_NOW || rl->count >= rl->limit)
        return HANDLE_NONE;
    struct waiter *w = waiter_new(rl, call);
    if (!w)
        return HANDLE_NONE;
    w->ops = ops;
    w->owner = owner;
    w->process = has_process ? call->process : process_start(rl->processes, &waiter_ops, w);
    if (w->process != HANDLE_NONE && process_adopt(rl->processes, w->process, &waiter_ops, w))
        return w->process;
    waiter_free(w);
    return HANDLE_NONE;
}

/* ---- answer ---- */

/* A link that went meanwhile has taken its caller along: then there is nobody to answer. */
static void answer_rex(const struct waiter *w, struct slice reply)
{
    uint8_t pid[PROCESS_PID_MAX];
    struct dist_link *l = cluster_link_by_handle(w->rl->cluster, w->link);
    const struct gen_call c = {.pid = w->caller, .tag = w->ref};
    if (l)
        (void)gen_reply(l, process_pid(w->rl->processes, w->process, pid), &c, reply);
}

/* The three shapes that rpc_server.h knows; a cast ends with an exit reason that nobody reads. */
static void put_answer(const struct waiter *w, enum rpc_outcome outcome, struct slice value, struct buf *b)
{
    const struct rpc_call call = {.module = w->module, .function = w->function, .argc = w->argc};
    if (w->shape == RPC_SHAPE_ERPC)
        rpc_put_erpc(b, w->ref, &call, outcome, value);
    else if (w->shape == RPC_SHAPE_REX)
        rpc_put_rex(b, &call, outcome, value);
    else
        rpc_put_exit_reason(b, &call, outcome, value);
}

void rpc_later_answer(struct rpc_later *rl, handle_t waiter, enum rpc_outcome outcome, struct slice value)
{
    struct waiter *w = process_owned(rl->processes, waiter, &waiter_ops);
    struct buf b;
    if (!w)
        return;
    buf_init(&b, 0);
    put_answer(w, outcome, value, &b);
    if (w->shape == RPC_SHAPE_REX && buf_ok(&b))
        answer_rex(w, buf_slice(&b));
    bool ends_with_it = buf_ok(&b) && (w->shape == RPC_SHAPE_ERPC || w->shape == RPC_SHAPE_SPAWN);
    waiter_free(w);
    if (ends_with_it)
        process_end(rl->processes, waiter, buf_slice(&b));
    else
        process_end_atom(rl->processes, waiter, buf_ok(&b) ? "normal" : "system_limit");
    buf_fini(&b);
}
