/*
 * dist_dispatch.c: see dist_dispatch.h. One table from kind of control message to what is done about it; no handler
 * trusts more than dist_message_parse() has checked.
 *
 * Invariants: a packet that cannot be read closes its link and nothing else; a control message of unknown number, and a
 * message for nobody, cost a counter (D-10). Messages to the calls' own pid, which are nearly all in a busy gateway,
 * take the shortest way.
 */
#include "dist_dispatch.h"

#include <stdlib.h>

#include "dist_message.h"
#include "log.h"
#include "node_services.h"
#include "spawn_server.h"

/* Holds what the handlers need; has no state of its own but the calls' pid. */
struct dist_dispatch {
    const struct node_identity *self;
    struct process_table *processes;
    struct remote_calls *calls;
    struct metrics *metrics;
    struct rpc_table rpc;
    struct spawn_server spawn;
    struct node_services services;
    handle_t calls_pid;
    uint8_t calls_pid_bytes[PROCESS_PID_MAX];
    struct slice calls_pid_term;
};

/* ---- messages ---- */

/* Answers to our calls first, since they are nearly all; then the I/O protocol, which any pid may be asked to speak. */
static void deliver(struct dist_dispatch *d, struct dist_link *l, struct slice sender, handle_t to, struct slice msg)
{
    if (to == d->calls_pid && remote_call_on_message(d->calls, l, sender, msg))
        return;
    if (process_alive(d->processes, to) && node_services_io(l, msg))
        return;
    if (to == HANDLE_NONE)
        log_limited(LOG_DEBUG, "cluster", "message for a process that does not exist", "node=%s",
                    log_text(dist_link_node(l)));
    process_deliver(d->processes, l, sender, to, msg);
}

/* SEND to a pid and REG_SEND to a name: resolve takes either. */
static int on_send(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    deliver(d, l, m->from, process_resolve(d->processes, m->to), m->payload);
    return BG_OK;
}

static int on_alias_send(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    deliver(d, l, m->from, process_resolve_alias(d->processes, m->ref), m->payload);
    return BG_OK;
}

/* ---- links and monitors ---- */

static int on_link(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    return process_on_link(d->processes, l, m->from, m->to);
}

/* UNLINK has no id and is not acknowledged; UNLINK_ID always is. */
static int on_unlink(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    return process_on_unlink(d->processes, l, m->id, m->from, m->to);
}

static int on_exit_signal(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    return process_on_exit(d->processes, l, m->from, m->to, m->reason);
}

/* exit/2 needs no link, and kill means kill here only. */
static int on_exit2(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    (void)l;
    process_on_exit2(d->processes, m->from, m->to, m->reason);
    return BG_OK;
}

static int on_monitor(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    return process_on_monitor(d->processes, l, m->from, m->to, m->ref);
}

static int on_demonitor(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    return process_on_demonitor(d->processes, l, m->ref);
}

/* The reference is a call's or a process's monitor; to whom it is addressed says which. */
static int on_monitor_exit(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    struct term_reader r = term_reader(m->ref);
    struct term_ref ref;
    if (term_read_ref(&r, &ref) != BG_OK)
        return BG_EINVAL;
    if (process_resolve(d->processes, m->to) == d->calls_pid)
        (void)remote_call_on_monitor_exit(d->calls, l, &ref, m->reason);
    else
        process_on_monitor_exit(d->processes, l, m->ref, m->reason);
    return BG_OK;
}

/* ---- spawning ---- */

static int on_spawn_request(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    return spawn_server_request(&d->spawn, l, m);
}

static int on_spawn_reply(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    struct term_reader r = term_reader(m->ref);
    struct term_ref ref;
    if (term_read_ref(&r, &ref) != BG_OK)
        return BG_EINVAL;
    (void)remote_call_on_spawn_reply(d->calls, l, &ref, m->result);
    return BG_OK;
}

/* Group leaders mean nothing to our processes, which print nothing; an unlink is over for us when we ask for it. */
static int on_nothing(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m)
{
    (void)d;
    (void)l;
    (void)m;
    return BG_OK;
}

typedef int handler(struct dist_dispatch *d, struct dist_link *l, const struct dist_message *m);

/* One entry a kind: the parser has folded traced and payload forms into these. */
static handler *const handlers[DIST_OP_COUNT] = {
    [DIST_LINK] = on_link,
    [DIST_SEND] = on_send,
    [DIST_EXIT] = on_exit_signal,
    [DIST_UNLINK] = on_unlink,
    [DIST_REG_SEND] = on_send,
    [DIST_GROUP_LEADER] = on_nothing,
    [DIST_EXIT2] = on_exit2,
    [DIST_MONITOR_P] = on_monitor,
    [DIST_DEMONITOR_P] = on_demonitor,
    [DIST_MONITOR_P_EXIT] = on_monitor_exit,
    [DIST_SPAWN_REQUEST] = on_spawn_request,
    [DIST_SPAWN_REPLY] = on_spawn_reply,
    [DIST_ALIAS_SEND] = on_alias_send,
    [DIST_UNLINK_ID] = on_unlink,
    [DIST_UNLINK_ID_ACK] = on_nothing,
};

/* ---- packets ---- */

/* The peer and we no longer agree on what is on the wire; going on could only make it worse. */
static void malformed(struct dist_dispatch *d, struct dist_link *l, const char *why)
{
    metric_inc(d->metrics, METRIC_LINK_MALFORMED);
    log_limited(LOG_WARNING, "cluster", "malformed distribution packet, closing the link", "node=%s reason=%s",
                log_text(dist_link_node(l)), log_text(slice_str(why)));
    dist_link_close(l, "malformed packet");
}

/* The message of this packet is nested deeper than we read. What matters about signals is that they came, so these go
 * on with a reason of ours; a request is refused by whoever finds it empty; a message is dropped. */
static bool survives_without_payload(struct dist_dispatch *d, struct dist_link *l, struct dist_message *m)
{
    static const char reason[] = "w\14system_limit";
    metric_inc(d->metrics, METRIC_LINK_MALFORMED);
    log_limited(LOG_WARNING, "cluster", "message nested too deep, dropped", "node=%s operation=%u",
                log_text(dist_link_node(l)), m->op);
    if (m->kind == DIST_EXIT || m->kind == DIST_EXIT2 || m->kind == DIST_MONITOR_P_EXIT)
        m->reason = slice_make(reason, sizeof(reason) - 1);
    else if (m->kind == DIST_SEND && process_resolve(d->processes, m->to) == d->calls_pid)
        (void)remote_call_on_unread(d->calls, l, m->unread);
    return m->reason.len || m->kind == DIST_SPAWN_REQUEST;
}

void dist_dispatch_packet(struct dist_dispatch *d, struct dist_link *l, struct slice packet)
{
    struct dist_answer answer;
    struct dist_message m;
    struct err e;
    if (dist_message_answer(packet, d->calls_pid_term, &answer)) {
        remote_call_on_answer(d->calls, l, &answer);
        return;
    }
    int rc = dist_message_parse(packet, &m, &e);
    if (rc == BG_ELIMIT && !survives_without_payload(d, l, &m))
        return;
    if (rc != BG_OK && rc != BG_ELIMIT) {
        malformed(d, l, e.text);
        return;
    }
    if (m.kind == DIST_UNKNOWN) {
        metric_inc(d->metrics, METRIC_LINK_UNKNOWN_CONTROL);
        log_limited(LOG_WARNING, "cluster", "unknown control message, skipped", "node=%s operation=%u",
                    log_text(dist_link_node(l)), m.op);
        return;
    }
    if (handlers[m.kind](d, l, &m) != BG_OK)
        malformed(d, l, "a field is not what the protocol says");
}

void dist_dispatch_link_up(struct dist_dispatch *d, struct dist_link *l)
{
    remote_call_on_link_up(d->calls, l);
}

/* Processes first: a call that ends may be made again elsewhere, and must not be taken for what is lost here. */
void dist_dispatch_link_down(struct dist_dispatch *d, struct dist_link *l)
{
    process_link_down(d->processes, l);
    remote_call_on_link_down(d->calls, l);
}

/* ---- start ---- */

static const struct process_ops calls_ops = {.kind = "remote_calls", .exit = process_stay};

static int start(struct dist_dispatch *d)
{
    int rc = rpc_table_index(&d->rpc);
    if (rc != BG_OK)
        return rc;
    rc = node_services_init(&d->services, d->self, d->processes, &d->rpc, d->metrics);
    if (rc != BG_OK)
        return rc;
    d->calls_pid = process_start(d->processes, &calls_ops, d);
    if (d->calls_pid == HANDLE_NONE)
        return BG_ELIMIT;
    d->calls_pid_term = process_pid(d->processes, d->calls_pid, d->calls_pid_bytes);
    remote_calls_set_pid(d->calls, d->calls_pid);
    return BG_OK;
}

struct dist_dispatch *dist_dispatch_new(const struct node_identity *self, struct process_table *pt,
                                        struct remote_calls *rc, const struct rpc_table *rpc, struct metrics *m)
{
    struct dist_dispatch *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    *d = (struct dist_dispatch){.self = self, .processes = pt, .calls = rc, .metrics = m, .rpc = *rpc};
    d->rpc.order = NULL;
    spawn_server_init(&d->spawn, pt, &d->rpc, m);
    if (start(d) == BG_OK)
        return d;
    dist_dispatch_free(d);
    return NULL;
}

void dist_dispatch_free(struct dist_dispatch *d)
{
    if (!d)
        return;
    rpc_table_fini(&d->rpc);
    spawn_server_fini(&d->spawn);
    node_services_fini(&d->services);
    free(d);
}
