/*
 * cluster.h: the node's place in the cluster: listens, registers with epmd, connects to the configured
 * peers and stays connected, accepts any node with the cookie, and hands packets up. Owns every
 * dist_link. Knows no control message (dist_dispatch) and no call (remote_call).
 */
#ifndef BEAMGATE_CLUSTER_H
#define BEAMGATE_CLUSTER_H

#include <uv.h>

#include "dist_link.h"
#include "metrics.h"
#include "node_identity.h"
#include "timers.h"
#include "tls.h"

struct cluster;

struct cluster_events {
    /* One whole packet without its length: 'p' (112), version byte, control term and so on; never empty
     * (ticks stay below). Valid during the call. */
    void (*packet)(void *ctx, struct dist_link *l, struct slice packet);
    void (*link_up)(void *ctx, struct dist_link *l);
    /* The link is gone: l is valid during the call, and nothing can be sent on it any more. Comes from cluster_flush(),
     * cluster_stop(), or right before the link_up of the same node's newer connection. */
    void (*link_down)(void *ctx, struct dist_link *l, const char *reason);
    void *ctx;
};

struct cluster_options {
    uv_loop_t *loop;
    struct timers *timers; /* now_us is brought up to date before every callback of a socket */
    struct metrics *metrics;
    const struct node_identity *self;
    struct cluster_events events;
    const char *listen_address;   /* NULL: any, IPv6 and IPv4 */
    uint16_t listen_port;         /* 0: the kernel chooses */
    bool epmd;                    /* register and look up; false needs peers given with a port */
    uint32_t tick_interval_s;     /* net_ticktime / 4; default 15 */
    uint32_t handshake_timeout_s; /* default 7 (D-02) */
    uint32_t reconnect_min_ms;    /* default 100, doubles with jitter to */
    uint32_t reconnect_max_ms;    /* default 10000 */
    size_t max_packet_bytes;      /* default 64 MiB: a larger packet closes the link (D-10) */
    size_t max_output_bytes;      /* per link, default 64 MiB (D-09); at most 1 GiB */
    uint32_t max_pending;         /* handshakes in progress on the listening port, default 256. One more, and the
                                   * oldest that has not said its name is dropped (else the oldest) */
    struct tls_context *tls;      /* borrowed; NULL: links are plain. Else all are TLS, as with inet_tls_dist */
    bool tls_check_host;          /* the certificate of a node we connect to must be for its host; default true */
};

/* Fills the defaults named above; loop, timers, metrics, self and events stay for the caller. */
void cluster_options_default(struct cluster_options *o);
/* Listens and begins to register with epmd. NULL with *e when the port cannot be had. The process must ignore SIGPIPE.
 */
struct cluster *cluster_new(const struct cluster_options *o, struct err *e) MUST_CHECK;
/* Frees everything; only after cluster_stop() said done (it may be called from done). */
void cluster_free(struct cluster *c);
/* Stops listening, unregisters, tells link_down for every link, writes out what they hold and closes them. done(ctx)
 * when nothing is left, never before this returns and at most about two seconds later; the loop and cluster_flush()
 * must go on until then. Called again before done, it only changes who is told. */
void cluster_stop(struct cluster *c, void (*done)(void *ctx), void *ctx);

/* Keeps a connection to this node from now on; connects as soon as possible, again whenever it is lost.
 * node: "alive@host", or "alive@host:port" to do without epmd. BG_EINVAL for an illegal name, our own, or one without
 * port when epmd is off; BG_ELIMIT, BG_ENOMEM. A known peer is BG_OK. */
int cluster_add_peer(struct cluster *c, struct slice node) MUST_CHECK;
/* Ends that: an attempt under way is given up, a connection that is up stays, but is not made again. node as given to
 * cluster_add_peer(), without its port; a node that is no peer is fine. Not from within a callback of the cluster that
 * concerns this node's connection. */
void cluster_remove_peer(struct cluster *c, struct slice node);
/* Up links only; NULL otherwise. */
struct dist_link *cluster_link(const struct cluster *c, struct slice node);
/* By dist_link_handle(): for those who remember a link across turns. */
struct dist_link *cluster_link_by_handle(const struct cluster *c, handle_t h);
/* Walks the up links: start with *pos = 0. */
struct dist_link *cluster_next_link(const struct cluster *c, uint32_t *pos);
/* Writes out what the links hold; called once per loop turn by the server, before it waits. */
void cluster_flush(struct cluster *c);
/* The port the node listens on. */
uint16_t cluster_port(const struct cluster *c);
/* True while the name stands in epmd (or epmd is off). */
bool cluster_registered(const struct cluster *c);
/* True when the name could not be registered because another node holds it: fatal, *e (may be NULL) says so (D-07). */
bool cluster_failed(const struct cluster *c, struct err *e);

#endif
