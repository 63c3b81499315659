/*
 * cluster.c: who is connected to whom. Listens and accepts, drives each connection, whoever began it, through its
 * handshake, and keeps the one link per node in a table. Whom we call, and when again, is cluster_peers.c's affair.
 *
 * Invariants:
 * - A node has at most one listed link. Another connection of it takes its place only after it proved the cookie, so a
 *   stranger can neither take a link down nor hold one up by lying about its name.
 * - Of two simultaneous connects the one begun by the greater name survives, on both sides (dist_handshake_decide).
 * - link_up and link_down alternate for a node; nothing is delivered before or after.
 *
 * A stranger holds a place among max_pending for handshake_timeout_s at most; when all are taken the oldest that has
 * not even said its name goes, since a node says it at once (D-02).
 */
#include "cluster_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "dist_tls.h"
#include "log.h"

enum {
    LINKS_MAX = 4096,
    BACKLOG = 512,
    DRAIN_US = 1500 * 1000,
    OUTPUT_BYTES_MAX = 1 << 30
};

static void check_stopped(struct cluster *c);

/* Listed links */

/* From here on l is the connection to its node: found by name and handle, ticking, delivering packets. */
static int list_link(struct cluster *c, struct dist_link *l)
{
    struct dist_handshake *hs = l->hs;
    handle_t h = slots_add(&c->links, l);
    if (h == HANDLE_NONE)
        return BG_ELIMIT;
    dist_link_up(l, hs->peer, hs->flags, hs->peer_creation, h);
    if (map_put(&c->by_node, slice_str(l->node), l) != BG_OK) {
        slots_remove(&c->links, h);
        return BG_ENOMEM;
    }
    l->listed = true;
    l->hs = NULL;
    free(hs);
    metric_inc(c->o.metrics, METRIC_LINKS_UP);
    metric_inc(c->o.metrics, METRIC_LINK_UPS);
    log_info("cluster", "link up", "node=%s direction=%s address=%s tls=%s flags=0x%llx",
             log_text(slice_str(l->node)), l->outgoing ? "out" : "in", l->stats.address, dist_tls_version(l),
             (unsigned long long)l->flags);
    return BG_OK;
}

/* Takes l out of the tables and tells about it; the socket's end is another matter. Harmless when done before. */
static void unlist_link(struct cluster *c, struct dist_link *l, const char *reason)
{
    if (!l->listed)
        return;
    uint64_t up_us = cluster_now_us(c) - l->stats.up_since_us;
    struct peer *p = cluster_find_peer(c, l->node);
    l->listed = false;
    map_del(&c->by_node, slice_str(l->node));
    slots_remove(&c->links, l->handle);
    metric_dec(c->o.metrics, METRIC_LINKS_UP);
    metric_inc(c->o.metrics, METRIC_LINK_DOWNS);
    log_write(p && !c->stopping ? LOG_WARNING : LOG_INFO, "cluster", "link down", "node=%s reason=\"%s\" up_s=%llu",
              log_text(slice_str(l->node)), reason, (unsigned long long)(up_us / 1000000u));
    c->o.events.link_down(c->o.events.ctx, l, reason);
    if (p)
        peer_down(p, up_us);
}

/* Both proved the cookie. Which of the two is the connection that the other side keeps, too? */
static bool supersedes(const struct cluster *c, const struct dist_link *l, const struct dist_link *old)
{
    if (l->hs->was_alive || l->outgoing == old->outgoing)
        return true; /* whoever began both has lost the older one */
    bool ours_wins = strcmp(c->o.self->name, l->hs->peer) > 0;
    return l->outgoing == ours_wins;
}

/* Links that were dialled are never in the list: their number is bounded by that of the peers. */
static void leave_pending(struct cluster *c, struct dist_link *l)
{
    if (!list_linked(&l->pending))
        return;
    list_remove(&l->pending);
    c->pending_count--;
}

/* The peer has proved the cookie, and we have. An older link to it goes first, so that whoever hears of link_up has
 * already let go of the pids and calls of the peer's former life. */
static void handshake_done(struct cluster *c, struct dist_link *l)
{
    struct dist_link *old = map_get(&c->by_node, slice_str(l->hs->peer));
    leave_pending(c, l);
    if (old && !supersedes(c, l, old)) {
        if (l->peer)
            peer_attempt_abandon(l->peer);
        dist_link_close(l, "the node has another connection to us");
        return;
    }
    if (old) {
        dist_link_close(old, "replaced by a newer connection of the node");
        unlist_link(c, old, "replaced by a newer connection of the node");
    }
    if (list_link(c, l) != BG_OK) {
        log_limited(LOG_ERROR, "cluster", "no room for another link", "limit=%d", LINKS_MAX);
        dist_link_close(l, "no room for another link");
        return;
    }
    struct peer *p = cluster_find_peer(c, l->node);
    if (p)
        peer_up(p, l);
    l->peer = NULL;
    c->o.events.link_up(c->o.events.ctx, l);
}

/* Handshakes */

/* Two nodes that connect to each other at once are no failure: one of the connections gives way. */
static void handshake_gave_way(struct cluster *c, struct dist_link *l, const char *why)
{
    struct peer *p = l->peer;
    l->peer = NULL;
    leave_pending(c, l);
    log_debug("cluster", "connection gave way to another", "address=%s node=%s reason=\"%s\"", l->stats.address,
              log_text(slice_str(l->hs->peer)), why);
    dist_link_close(l, "gave way to another connection");
    if (p)
        peer_attempt_failed(p, NULL, NULL);
}

/* Anybody who reaches the port can cause this at will for accepted connections: counted, and logged with a limit. For
 * our own attempts the peer's report (report_failure) says it, once per reason. */
static void handshake_failed(struct cluster *c, struct dist_link *l, const char *why, const char *hint)
{
    struct peer *p = l->peer;
    l->peer = NULL;
    leave_pending(c, l);
    metric_inc(c->o.metrics, METRIC_LINK_HANDSHAKES_REFUSED);
    if (!l->outgoing)
        log_limited(LOG_WARNING, "cluster", "handshake failed", "address=%s node=%s reason=\"%s\"%s", l->stats.address,
                    log_text(slice_str(l->hs ? l->hs->peer : "")), why, cluster_hint(hint).text);
    dist_link_close(l, "handshake failed");
    if (p)
        peer_attempt_failed(p, why, hint);
    else if (l->hs && (p = cluster_find_peer(c, l->hs->peer)))
        peer_hasten(p);
}

/* The caller's name is known, and only that: nothing may be taken down on its word. */
static enum handshake_result decide(struct cluster *c, struct dist_link *l, struct err *e)
{
    struct peer *p = cluster_find_peer(c, l->hs->peer);
    bool up = map_get(&c->by_node, slice_str(l->hs->peer)) != NULL;
    bool dialling = peer_is_dialling(p) || (p && p->dial && !peer_attempt_yield(p));
    enum handshake_status status = dist_handshake_decide(c->o.self->name, l->hs->peer, up, dialling);
    return dist_handshake_status(l->hs, status, dist_link_raw(l), e);
}

/* Runs the state machine over what has come. It stops asking at HS_NAMED and HS_ALIVE, because only this table knows
 * the other connections. What remains after HS_DONE is the peer's first packets: dist_link takes them up from `at`
 * (D-05). */
static size_t on_handshake(void *ctx, struct dist_link *l, struct slice in)
{
    struct cluster *c = ctx;
    struct err e = {0};
    size_t at = 0;
    while (at < in.len && l->state == LINK_HANDSHAKE) {
        size_t used = 0;
        enum handshake_result r =
            dist_handshake_feed(l->hs, slice_make(in.ptr + at, in.len - at), &used, dist_link_raw(l), &e);
        at += used;
        if (r == HS_NAMED)
            r = decide(c, l, &e);
        else if (r == HS_ALIVE) /* wanted as long as it exists: a link that comes up ends our attempts (peer_up) */
            r = dist_handshake_go_on(l->hs, true, dist_link_raw(l), &e);
        if (r == HS_DONE)
            handshake_done(c, l);
        else if (r == HS_FAILED && e.code == BG_EEXIST)
            handshake_gave_way(c, l, e.text);
        else if (r == HS_FAILED)
            handshake_failed(c, l, e.text, "");
    }
    return at;
}

/* The deadline covers the whole handshake: a peer that sends a byte now and then gains nothing (D-02). */
static int begin_handshake(struct cluster *c, struct dist_link *l, struct slice peer)
{
    l->hs = malloc(sizeof(*l->hs));
    if (!l->hs)
        return BG_ENOMEM;
    dist_handshake_init(l->hs, l->outgoing ? HS_DIALLING : HS_ACCEPTING, c->o.tls ? HS_HEAD_TLS : HS_HEAD_TCP,
                        c->o.self, peer, dist_link_raw(l));
    dist_link_deadline(l, cluster_patience_us(c));
    return BG_OK;
}

/* The handshake, or the TCP connect before it, took too long. */
static void on_late(void *ctx, struct dist_link *l)
{
    struct cluster *c = ctx;
    if (l->hs) {
        handshake_failed(c, l, "handshake is not done in time", dist_link_hint(l));
        return;
    }
    struct peer *p = l->peer;
    l->peer = NULL;
    dist_link_close(l, "not connected in time");
    if (p)
        peer_try_next_address(p, "its address does not answer in time");
}

static void on_packet(void *ctx, struct dist_link *l, struct slice packet)
{
    struct cluster *c = ctx;
    c->o.events.packet(c->o.events.ctx, l, packet);
}

/* The end of every link, whatever state it was in. What had been settled before (listed, peer, pending cleared) needs
 * nothing more. */
static void on_lost(void *ctx, struct dist_link *l, const char *reason)
{
    struct cluster *c = ctx;
    if (l->listed)
        unlist_link(c, l, reason);
    else if (l->hs && (l->peer || list_linked(&l->pending)))
        handshake_failed(c, l, reason, dist_link_hint(l));
    else if (l->peer)
        peer_attempt_failed(l->peer, reason, "");
}

static void on_freed(void *ctx)
{
    check_stopped(ctx);
}

/* Accepting */

/* The list is in order of arrival. A node says its name in its first packet; a port scan or a held connection does
 * not. */
static void drop_a_pending(struct cluster *c)
{
    struct dist_link *victim = container_of(c->pending.next, struct dist_link, pending);
    for (struct list *it = c->pending.next; it != &c->pending; it = it->next) {
        struct dist_link *l = container_of(it, struct dist_link, pending);
        if (l->hs->step == HS_WAIT_NAME) {
            victim = l;
            break;
        }
    }
    handshake_failed(c, victim, "too many handshakes in progress",
                     "many connections without a handshake: a port scan?");
}

static void on_connection(uv_stream_t *server, int status)
{
    struct cluster *c = server->data;
    link_host_wake(&c->host);
    struct dist_link *l = status == 0 ? dist_link_new(&c->host, false) : NULL;
    if (!l) {
        /* libuv calls again only after uv_accept, which needs the memory that is missing now. */
        log_limited(LOG_ERROR, "cluster", "cannot accept a connection", "reason=\"%s\"",
                    status ? uv_strerror(status) : "out of memory");
        if (status == 0 && timer_arm_in(c->o.timers, &c->accept_again, 100 * 1000) != BG_OK)
            log_error("cluster", "no connection will be accepted any more", "reason=\"out of memory\"");
        return;
    }
    if (c->pending_count >= c->o.max_pending)
        drop_a_pending(c);
    int rc = dist_link_accept(l, server);
    if (rc != 0 || begin_handshake(c, l, SLICE_NONE) != BG_OK) {
        dist_link_close(l, "not accepted");
        return;
    }
    list_append(&c->pending, &l->pending);
    c->pending_count++;
}

/* The connection that could not be accepted for want of memory still waits inside libuv. */
static void on_accept_again(struct timer *t)
{
    struct cluster *c = container_of(t, struct cluster, accept_again);
    if (!c->stopping)
        on_connection((uv_stream_t *)&c->listener, 0);
}

/* Connecting */

/* TCP stands, or not: a BEAM that listens on one of the host's addresses refuses on the others. */
static void on_connected(void *ctx, struct dist_link *l, int status)
{
    struct cluster *c = ctx;
    struct peer *p = l->peer;
    if (status == 0 && p && begin_handshake(c, l, slice_str(p->name)) == BG_OK)
        return;
    l->peer = NULL;
    dist_link_close(l, "not connected");
    if (p)
        peer_try_next_address(p, status ? uv_strerror(status) : "out of memory");
}

/* Beginning and end */

void cluster_options_default(struct cluster_options *o)
{
    o->listen_address = NULL;
    o->listen_port = 0;
    o->epmd = true;
    o->tick_interval_s = 15;
    o->handshake_timeout_s = 7;
    o->reconnect_min_ms = 100;
    o->reconnect_max_ms = 10000;
    o->max_packet_bytes = (size_t)64 << 20;
    o->max_output_bytes = (size_t)64 << 20;
    o->max_pending = 256;
    o->tls = NULL;
    o->tls_check_host = true;
}

/* A listening socket, or a negative errno. */
static int open_listener(const char *address, uint16_t port)
{
    struct sockaddr_storage a = {0};
    int on = 1, off = 0;
    if (uv_ip6_addr(address, port, (struct sockaddr_in6 *)&a) != 0 &&
        uv_ip4_addr(address, port, (struct sockaddr_in *)&a) != 0)
        return -EINVAL;
    socklen_t len = a.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, (struct sockaddr *)&a, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof(a);
    getsockname(fd, (struct sockaddr *)&a, &len);
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static int listen_on(struct cluster *c, struct err *e)
{
    const char *address = c->o.listen_address;
    int fd = open_listener(address ? address : "::", c->o.listen_port);
    if (fd < 0 && !address)
        fd = open_listener("0.0.0.0", c->o.listen_port); /* a host without IPv6 */
    if (fd < 0)
        return err_set(e, fd == -EINVAL ? BG_EINVAL : BG_ESYS, 0, "cannot listen for nodes at %s port %u: %s",
                       address ? address : "any address", (unsigned)c->o.listen_port, strerror(-fd));
    c->port = port_of(fd);
    c->listener.data = c;
    /* On a socket that listens already none of these can fail. */
    assert_always(uv_tcp_init(c->o.loop, &c->listener) == 0);
    assert_always(uv_tcp_open(&c->listener, fd) == 0);
    assert_always(uv_listen((uv_stream_t *)&c->listener, BACKLOG, on_connection) == 0);
    c->listening = true;
    return BG_OK;
}

static void host_setup(struct cluster *c)
{
    c->host.loop = c->o.loop;
    c->host.timers = c->o.timers;
    c->host.metrics = c->o.metrics;
    c->host.tls = c->o.tls;
    c->host.tls_check_host = c->o.tls_check_host;
    c->host.max_packet_bytes = c->o.max_packet_bytes;
    c->host.max_output_bytes = c->o.max_output_bytes < OUTPUT_BYTES_MAX ? c->o.max_output_bytes : OUTPUT_BYTES_MAX;
    c->host.tick_us = (uint64_t)c->o.tick_interval_s * 1000000u;
    c->host.owner = (struct link_owner){
        .connected = on_connected,
        .handshake = on_handshake,
        .packet = on_packet,
        .late = on_late,
        .lost = on_lost,
        .freed = on_freed,
        .ctx = c,
    };
}

struct cluster *cluster_new(const struct cluster_options *o, struct err *e)
{
    struct cluster *c = calloc(1, sizeof(*c));
    if (!c) {
        err_set(e, BG_ENOMEM, 0, "no memory");
        return NULL;
    }
    c->o = *o;
    c->accept_again.fn = on_accept_again;
    host_setup(c);
    slots_init(&c->links, LINKS_MAX);
    map_init(&c->by_node);
    map_init(&c->peers);
    list_init(&c->pending);
    if (link_host_init(&c->host) != BG_OK)
        err_set(e, BG_ENOMEM, 0, "no memory");
    else if (listen_on(c, e) == BG_OK)
        goto listening;
    cluster_free(c);
    return NULL;
listening:
    log_info("cluster", "listening for nodes", "node=%s port=%u", c->o.self->name, (unsigned)c->port);
    if (c->o.epmd)
        c->registration = epmd_registration_new(c->o.loop, c->o.timers, c->o.metrics, c->o.self, c->port);
    if (c->o.epmd && !c->registration) /* seen as a node that never becomes ready */
        log_error("cluster", "no memory to register with epmd", "hint=\"no node will find this one; restart it\"");
    return c;
}

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    assert_always(!c->listening);
    size_t pos = 0;
    struct peer *p;
    while ((p = map_next(&c->peers, &pos, NULL)))
        free(p);
    map_fini(&c->peers);
    map_fini(&c->by_node);
    slots_fini(&c->links);
    link_host_fini(&c->host);
    free(c);
}

/* Last in every callback that calls it: done() may free the cluster. */
static void check_stopped(struct cluster *c)
{
    if (c->stopping && !c->listening && c->host.open == 0)
        c->stopped(c->stopped_ctx);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct cluster *c = handle->data;
    c->listening = false;
    check_stopped(c);
}

/* Handshakes just end. Links are told as down while they drain: nothing more is to be sent on them. */
static void stop_links(struct cluster *c)
{
    struct list *node;
    uint32_t pos = 0;
    struct dist_link *l;
    while ((node = list_pop(&c->pending)))
        dist_link_close(container_of(node, struct dist_link, pending), "stopping");
    c->pending_count = 0;
    while ((l = slots_next(&c->links, &pos, NULL))) {
        dist_link_drain(l, DRAIN_US);
        unlist_link(c, l, "this node stops");
    }
}

void cluster_stop(struct cluster *c, void (*done)(void *ctx), void *ctx)
{
    bool again = c->stopping;
    c->stopping = true;
    c->stopped = done;
    c->stopped_ctx = ctx;
    if (again)
        return;
    timer_disarm(c->o.timers, &c->accept_again);
    epmd_registration_free(c->registration);
    c->registration = NULL;
    uv_close((uv_handle_t *)&c->listener, on_listener_closed);
    size_t pos = 0;
    struct peer *p;
    while ((p = map_next(&c->peers, &pos, NULL)))
        peer_attempt_abandon(p);
    stop_links(c);
}

/* Answers for others */

/* Once per request: one hash of the name. A link that was closed in this turn is still listed, hence the state. */
struct dist_link *cluster_link(const struct cluster *c, struct slice node)
{
    struct dist_link *l = map_get(&c->by_node, node);
    return l && l->state == LINK_UP ? l : NULL;
}

struct dist_link *cluster_link_by_handle(const struct cluster *c, handle_t h)
{
    struct dist_link *l = slots_get(&c->links, h);
    return l && l->state == LINK_UP ? l : NULL;
}

struct dist_link *cluster_next_link(const struct cluster *c, uint32_t *pos)
{
    struct dist_link *l;
    do
        l = slots_next(&c->links, pos, NULL);
    while (l && l->state != LINK_UP);
    return l;
}

void cluster_flush(struct cluster *c)
{
    dist_links_flush(&c->host);
}

uint16_t cluster_port(const struct cluster *c)
{
    return c->port;
}

bool cluster_registered(const struct cluster *c)
{
    return !c->o.epmd || (c->registration && epmd_registered(c->registration));
}

bool cluster_failed(const struct cluster *c, struct err *e)
{
    return c->registration && epmd_registration_failed(c->registration, e);
}
