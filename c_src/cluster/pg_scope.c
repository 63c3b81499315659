/*
 * pg_scope.c: see pg_scope.h; K-026 has the protocol, as it was measured.
 *
 * A BEAM's pg does not look for hidden nodes, so the first word is ours: {discover, Us} to the scope's name, and again
 * whenever the scope there ends, which a monitor tells. It then asks back, and is told the member.
 *
 * Invariant: pg dies of any message that it does not know, and all groups of its node with it. What goes out is these
 * two and nothing else: {discover, Pid} and the sync cast, both complete; a leave is never sent, since the end of our
 * scope process says the same.
 */
#include "pg_scope.h"

#include <stdlib.h>

#include "list.h"
#include "log.h"

enum { PEERS_MAX = 1000 };
#define RETRY_MIN_US UINT64_C(500000)
#define RETRY_MAX_US UINT64_C(30000000)

/* A node whose scope we joined, or want to join. One for each node name; it outlives the link only while its retry
 * waits, so that a node which comes back by then is met as the same one. */
struct scope_peer {
    struct list node;
    struct pg_scope *pg;
    handle_t monitor; /* on the scope there, or HANDLE_NONE */
    struct timer retry;
    uint64_t wait_us; /* what the next retry waits for: longer each time, until the scope answers */
    uint32_t name_len;
    char name[];
};

struct pg_scope {
    struct pg_options o;
    handle_t scope;  /* whom other scopes know */
    handle_t member; /* who is in the groups */
    struct list peers;
    uint32_t count;
    struct buf out;
};

/* Its monitor is taken back: a signal that is under way then finds nobody. */
static void peer_free(struct scope_peer *p)
{
    timer_disarm(p->pg->o.timers, &p->retry);
    process_demonitor(p->pg->o.processes, p->monitor);
    list_remove(&p->node);
    p->pg->count--;
    free(p);
}

/* Doubling, since most nodes that lack the scope never get one, and are asked all the same. */
static void retry_later(struct scope_peer *p)
{
    if (timer_arm_in(p->pg->o.timers, &p->retry, p->wait_us) != BG_OK)
        log_limited(LOG_ERROR, "cluster", "no memory for a timer: groups on a node are not joined", "node=%s",
                    log_text(slice_make(p->name, p->name_len)));
    p->wait_us = p->wait_us * 2 < RETRY_MAX_US ? p->wait_us * 2 : RETRY_MAX_US;
}

/* Says hello, and hears when the scope there ends: also when it is not there. */
static void discover(struct scope_peer *p)
{
    struct pg_scope *pg = p->pg;
    struct dist_link *l = cluster_link(pg->o.cluster, slice_make(p->name, p->name_len));
    if (!l) {
        peer_free(p); /* the next link begins anew */
        return;
    }
    buf_reset(&pg->out);
    term_put_atom(&pg->out, pg->o.scope);
    p->monitor = process_monitor(pg->o.processes, pg->scope, l, buf_slice(&pg->out));
    buf_reset(&pg->out);
    term_put_tuple(&pg->out, 2);
    term_put_atom(&pg->out, "discover");
    node_put_pid(pg->o.self, &pg->out, pg->scope);
    if (p->monitor == HANDLE_NONE || !buf_ok(&pg->out) ||
        process_send_name(pg->o.processes, pg->scope, l, slice_str(pg->o.scope), buf_slice(&pg->out)) != BG_OK)
        retry_later(p);
}

/* What was under way is taken back: also the retry, when the node is met again before its time. */
static void discover_anew(struct scope_peer *p)
{
    timer_disarm(p->pg->o.timers, &p->retry);
    process_demonitor(p->pg->o.processes, p->monitor);
    p->monitor = HANDLE_NONE;
    discover(p);
}

static void on_retry(struct timer *t)
{
    discover_anew(container_of(t, struct scope_peer, retry));
}

/* Nodes come and go rarely, so a walk will do. */
static struct scope_peer *peer_of_node(const struct pg_scope *pg, struct slice node)
{
    for (struct list *it = pg->peers.next; it != &pg->peers; it = it->next) {
        struct scope_peer *p = container_of(it, struct scope_peer, node);
        if (slice_eq(slice_make(p->name, p->name_len), node))
            return p;
    }
    return NULL;
}

static struct scope_peer *peer_new(struct pg_scope *pg, struct slice node)
{
    struct scope_peer *p = pg->count < PEERS_MAX ? calloc(1, sizeof(*p) + node.len) : NULL;
    if (!p)
        return NULL;
    p->pg = pg;
    p->retry.fn = on_retry;
    p->name_len = (uint32_t)node.len;
    memcpy(p->name, node.ptr, node.len);
    list_append(&pg->peers, &p->node);
    pg->count++;
    return p;
}

void pg_scope_link_up(struct pg_scope *pg, struct dist_link *l)
{
    struct slice node = dist_link_node(l);
    struct scope_peer *p = peer_of_node(pg, node);
    if (!p)
        p = peer_new(pg, node);
    if (!p) {
        log_limited(LOG_WARNING, "cluster", "no room to join groups on a node",
                    "node=%s nodes=%u hint=\"broadcasts from there do not reach this gateway\"", log_text(node), pg->count);
        return;
    }
    p->wait_us = RETRY_MIN_US;
    discover_anew(p);
}

/* ---- what comes in ---- */

static struct scope_peer *peer_of_monitor(const struct pg_scope *pg, handle_t monitor)
{
    for (struct list *it = pg->peers.next; it != &pg->peers; it = it->next) {
        struct scope_peer *p = container_of(it, struct scope_peer, node);
        if (p->monitor == monitor)
            return p;
    }
    return NULL;
}

/* The scope there has ended, is not there yet, or its node has gone. */
static void on_down(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    struct pg_scope *pg = owner;
    struct scope_peer *p = peer_of_monitor(pg, monitor);
    (void)self;
    if (!p)
        return;
    p->monitor = HANDLE_NONE;
    if (term_is_atom(reason, "noconnection"))
        peer_free(p);
    else
        retry_later(p);
}

/* {'$gen_cast', {sync, Us, [{Group, [Member]}]}} */
static void put_sync(struct pg_scope *pg)
{
    struct buf *b = &pg->out;
    buf_reset(b);
    term_put_tuple(b, 2);
    term_put_atom(b, "$gen_cast");
    term_put_tuple(b, 3);
    term_put_atom(b, "sync");
    node_put_pid(pg->o.self, b, pg->scope);
    term_put_list(b, pg->o.groups_count);
    for (uint32_t i = 0; i < pg->o.groups_count; i++) {
        term_put_tuple(b, 2);
        term_put_atom_slice(b, pg->o.groups[i]);
        term_put_list(b, 1);
        node_put_pid(pg->o.self, b, pg->member);
        term_put_nil(b);
    }
    term_put_nil(b);
}

/* {discover, Pid}, from OTP 28 on perhaps {discover, Pid, Version}, asks for our groups. Syncs, joins and leaves of
 * others are theirs to know. */
static void on_scope_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct pg_scope *pg = owner;
    struct term_reader r = term_reader(msg);
    struct term_pid pid;
    uint32_t arity;
    if (term_read_tagged(&r, "discover", &arity) != BG_OK || (arity != 2 && arity != 3))
        return;
    struct term_reader at = r;
    struct slice peer;
    if (term_read_pid(&at, &pid) != BG_OK || term_skip(&r, &peer) != BG_OK)
        return;
    put_sync(pg);
    if (!buf_ok(&pg->out) || process_send_pid(pg->o.processes, self, from, peer, buf_slice(&pg->out)) != BG_OK)
        return;
    struct scope_peer *p = peer_of_node(pg, dist_link_node(from));
    if (p)
        p->wait_us = RETRY_MIN_US; /* the scope is there: when it ends, it may be back soon */
    log_info("cluster", "joined groups", "node=%s scope=%s groups=%u", log_text(dist_link_node(from)), pg->o.scope,
             pg->o.groups_count);
}

static void on_member_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct pg_scope *pg = owner;
    (void)self;
    (void)from;
    pg->o.message(pg->o.ctx, msg);
}

static const struct process_ops scope_ops = {
    .kind = "pg scope", .message = on_scope_message, .exit = process_stay, .down = on_down};
static const struct process_ops member_ops = {.kind = "pg member", .message = on_member_message, .exit = process_stay};

static int start(struct pg_scope *pg)
{
    pg->scope = process_start(pg->o.processes, &scope_ops, pg);
    pg->member = process_start(pg->o.processes, &member_ops, pg);
    int rc = pg->scope == HANDLE_NONE || pg->member == HANDLE_NONE ? BG_ELIMIT : BG_OK;
    for (uint32_t i = 0; rc == BG_OK && i < pg->o.groups_count; i++)
        rc = process_register(pg->o.processes, pg->member, pg->o.groups[i]);
    return rc;
}

struct pg_scope *pg_scope_new(const struct pg_options *o, struct err *e)
{
    struct pg_scope *pg = calloc(1, sizeof(*pg));
    if (!pg) {
        err_set(e, BG_ENOMEM, 0, "no memory for groups");
        return NULL;
    }
    pg->o = *o;
    list_init(&pg->peers);
    buf_init(&pg->out, 0);
    int rc = start(pg);
    if (rc == BG_OK)
        return pg;
    err_set(e, rc, 0, "cannot start the processes for the groups of %s", o->scope);
    pg_scope_free(pg);
    return NULL;
}

void pg_scope_free(struct pg_scope *pg)
{
    if (!pg)
        return;
    while (!list_empty(&pg->peers))
        peer_free(container_of(pg->peers.next, struct scope_peer, node));
    process_end_atom(pg->o.processes, pg->member, "shutdown");
    process_end_atom(pg->o.processes, pg->scope, "shutdown");
    buf_fini(&pg->out);
    free(pg);
}

uint32_t pg_scope_peers(const struct pg_scope *pg)
{
    return pg->count;
}
