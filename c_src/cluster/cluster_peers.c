/*
 * cluster_peers.c: the nodes that we want to be connected to, and the attempts to reach them: one at a time for each,
 * by way of dist_dial.c, and again with a growing pause whenever it fails or the connection is lost. What happens on a
 * connection once there is one is cluster.c's affair.
 *
 * Invariant: of a peer at most one of these is the case: a link to it is up, an attempt is under way, its timer runs
 * towards the next attempt.
 */
#include "cluster_internal.h"

#include <stdlib.h>

#include "log.h"

enum {
    PEERS_MAX = 1024,
    REPORT_US = 60 * 1000 * 1000 /* a peer that stays away is mentioned this often */
};

/* ---- when the next attempt is --------------------------------------------------------------------------- */

/* due_us is the beginning of the next attempt; peer_attempt_yield() may put it off, measured from there. */
static void schedule(struct peer *p, uint64_t delay_us)
{
    p->due_us = cluster_now_us(p->c) + delay_us;
    if (timer_arm(p->c->o.timers, &p->timer, p->due_us) != BG_OK)
        log_error("cluster", "no memory to connect again", "node=%s", log_text(slice_str(p->name)));
}

/* Half of it fixed, half by lot: many gateways that lost the same node must not come back in step. */
static void schedule_with_backoff(struct peer *p)
{
    uint64_t half_us = (uint64_t)p->backoff_ms * 500u;
    uint32_t max = p->c->o.reconnect_max_ms;
    schedule(p, half_us + random_u64() % (half_us + 1));
    p->backoff_ms = p->backoff_ms < max / 2 ? p->backoff_ms * 2 : max;
}

/* One line when it begins to fail, when the reason changes, and once a minute. */
static void report_failure(struct peer *p, const char *why, const char *hint)
{
    uint64_t now = cluster_now_us(p->c);
    if (p->reported_us && now - p->reported_us < REPORT_US && strcmp(why, p->reported) == 0)
        return;
    p->reported_us = now;
    slice_cstr(slice_str(why), p->reported, sizeof(p->reported));
    log_warning("cluster", "cannot connect", "node=%s reason=\"%s\"%s", log_text(slice_str(p->name)), why,
                cluster_hint(hint).text);
}

/* ---- one attempt ---------------------------------------------------------------------------------------- */

void peer_attempt_abandon(struct peer *p)
{
    struct dist_link *l = p->opening;
    timer_disarm(p->c->o.timers, &p->timer);
    dist_dial_cancel(p->dial);
    p->dial = NULL;
    p->opening = NULL;
    if (l) {
        l->peer = NULL;
        dist_link_close(l, "another connection to the node is made");
    }
}

void peer_attempt_failed(struct peer *p, const char *why, const char *hint)
{
    peer_attempt_abandon(p);
    if (p->is_up || p->c->stopping)
        return;
    if (why)
        report_failure(p, why, hint);
    schedule_with_backoff(p);
}

/* From dist_dial: an address to try, or none is left. */
static void on_address(void *ctx, int rc, const struct sockaddr *addr, const char *why, const char *hint)
{
    struct peer *p = ctx;
    struct cluster *c = p->c;
    timer_disarm(c->o.timers, &p->timer);
    link_host_wake(&c->host);
    if (rc != BG_OK) {
        p->dial = NULL; /* gone */
        peer_attempt_failed(p, why, hint);
        return;
    }
    struct dist_link *l = dist_link_new(&c->host, true);
    if (!l) {
        peer_attempt_failed(p, "out of memory", "");
        return;
    }
    l->peer = p;
    p->opening = l;
    /* Half the time, so that another address gets its turn while the peer may still expect us. */
    dist_link_deadline(l, cluster_patience_us(c) / 2);
    int status = dist_link_connect(l, p->name, addr);
    if (status != 0)
        c->host.owner.connected(c, l, status);
}

void peer_try_next_address(struct peer *p, const char *why)
{
    p->opening = NULL;
    if (timer_arm_in(p->c->o.timers, &p->timer, cluster_patience_us(p->c)) == BG_OK)
        dist_dial_next(p->dial, why);
    else
        peer_attempt_failed(p, "out of memory", "");
}

/* What an attempt waited for came to nothing. due_us stays: it bounds how often this can happen. */
void peer_hasten(struct peer *p)
{
    uint64_t soon = cluster_now_us(p->c) + (uint64_t)p->c->o.reconnect_min_ms * 1000u;
    if (!p->dial && timer_armed(&p->timer) && p->timer.deadline_us > soon)
        timer_arm(p->c->o.timers, &p->timer, soon);
}

bool peer_is_dialling(const struct peer *p)
{
    return p && p->opening && p->opening->state == LINK_HANDSHAKE;
}

/* The node calls us while we look for it. Our own attempt waits for how that ends, but no longer than one handshake may
 * take, else a stranger who takes the node's name in vain could keep us apart. True when it waits. */
bool peer_attempt_yield(struct peer *p)
{
    uint64_t until = p->due_us + cluster_patience_us(p->c);
    if (p->is_up || cluster_now_us(p->c) >= until)
        return false;
    peer_attempt_abandon(p);
    return timer_arm(p->c->o.timers, &p->timer, until) == BG_OK;
}

/* A handshake that the peer began and that is under way. */
static bool peer_is_calling(const struct peer *p)
{
    const struct list *head = &p->c->pending;
    for (const struct list *it = head->next; it != head; it = it->next) {
        const struct dist_link *l = container_of(it, struct dist_link, pending);
        if (strcmp(l->hs->peer, p->name) == 0)
            return true;
    }
    return false;
}

/* Two connections begun at once cost a handshake that is thrown away; so if the peer is just calling, let it. */
static void attempt_begin(struct peer *p)
{
    struct cluster *c = p->c;
    if (peer_is_calling(p) && peer_attempt_yield(p))
        return;
    p->dial = dist_dial_new(c->o.loop, p->alive, p->host, p->port, on_address, p);
    if (!p->dial)
        peer_attempt_failed(p, "its host name cannot be looked up", "check the part behind the @ of its name");
    else if (timer_arm_in(c->o.timers, &p->timer, cluster_patience_us(c)) != BG_OK)
        peer_attempt_failed(p, "out of memory", "");
}

/* Time for an attempt; or the step under way (name, epmd) has used up its time. Connect and handshake have the link's
 * own deadline. */
static void on_peer_timer(struct timer *t)
{
    struct peer *p = container_of(t, struct peer, timer);
    if (!p->dial) {
        attempt_begin(p);
        return;
    }
    if (timer_arm_in(p->c->o.timers, &p->timer, cluster_patience_us(p->c)) == BG_OK)
        dist_dial_late(p->dial);
    else
        peer_attempt_failed(p, "out of memory", "");
}

void peer_up(struct peer *p, struct dist_link *l)
{
    if (p->opening == l)
        p->opening = NULL;
    peer_attempt_abandon(p);
    p->is_up = true;
    p->reported_us = 0;
}

/* The first attempt comes almost at once: within reconnect_min_ms. */
void peer_down(struct peer *p, uint64_t up_us)
{
    p->is_up = false;
    if (p->c->stopping)
        return;
    /* A node that comes up and goes down at once keeps its backoff. */
    if (up_us >= (uint64_t)p->c->o.reconnect_max_ms * 1000u)
        p->backoff_ms = p->c->o.reconnect_min_ms;
    schedule_with_backoff(p);
}

/* ---- who they are --------------------------------------------------------------------------------------- */

/* "alive@host:4711": the port is split off when there is just one colon (an IPv6 address has more). */
static int parse_peer(struct peer *p, struct slice node)
{
    const char *colon = memchr(node.ptr, ':', node.len);
    size_t after = colon ? node.len - (size_t)(colon + 1 - node.ptr) : 0;
    if (colon && !memchr(colon + 1, ':', after)) {
        unsigned port = 0;
        for (const char *d = colon + 1; d < node.ptr + node.len; d++) {
            if (*d < '0' || *d > '9' || port > UINT16_MAX)
                return BG_EINVAL;
            port = port * 10 + (unsigned)(*d - '0');
        }
        if (port == 0 || port > UINT16_MAX)
            return BG_EINVAL;
        p->port = (uint16_t)port;
        node.len = (size_t)(colon - node.ptr);
    }
    if (node.len > NODE_NAME_MAX)
        return BG_EINVAL;
    slice_cstr(node, p->name, sizeof(p->name));
    return node_name_split(slice_str(p->name), &p->alive, &p->host) ? BG_OK : BG_EINVAL;
}

int cluster_add_peer(struct cluster *c, struct slice node)
{
    if (c->peers.count >= PEERS_MAX)
        return BG_ELIMIT;
    struct peer *p = calloc(1, sizeof(*p));
    if (!p)
        return BG_ENOMEM;
    p->c = c;
    p->timer.fn = on_peer_timer;
    p->backoff_ms = c->o.reconnect_min_ms;
    int rc = node.len ? parse_peer(p, node) : BG_EINVAL;
    if (rc == BG_OK && (strcmp(p->name, c->o.self->name) == 0 || (!p->port && !c->o.epmd)))
        rc = BG_EINVAL;
    bool known = rc == BG_OK && cluster_find_peer(c, p->name);
    if (rc == BG_OK && !known)
        rc = map_put(&c->peers, slice_str(p->name), p);
    if (rc != BG_OK || known) {
        free(p);
        return rc;
    }
    p->is_up = cluster_link(c, slice_str(p->name)) != NULL;
    if (!p->is_up)
        schedule(p, 0);
    return BG_OK;
}

/* Only the attempt knows its peer, and it is abandoned: a link that is up finds its peer by name when it goes. */
void cluster_remove_peer(struct cluster *c, struct slice node)
{
    struct peer *p = map_get(&c->peers, node);
    if (!p)
        return;
    peer_attempt_abandon(p);
    map_del(&c->peers, node);
    free(p);
}
