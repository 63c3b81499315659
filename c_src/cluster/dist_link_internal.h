/*
 * dist_link_internal.h: what cluster.c sees of a connection that dist_link.h hides: its life from the first byte of the
 * handshake to the last of the closing.
 *
 *   LINK_CONNECTING --> LINK_HANDSHAKE --> LINK_UP --> LINK_CLOSED --> (uv close callback) --> freed
 *          |                  |               +--> LINK_DRAINING --+
 *          +------------------+----------------------^
 *
 * LINK_CLOSED is on the host's `doomed` list until dist_links_flush() tells the owner (lost) and closes the socket; so
 * nobody's pointer dies in the middle of a callback.
 */
#ifndef BEAMGATE_DIST_LINK_INTERNAL_H
#define BEAMGATE_DIST_LINK_INTERNAL_H

#include <uv.h>

#include "dist_handshake.h"
#include "dist_link.h"
#include "list.h"
#include "metrics.h"
#include "timers.h"

struct peer;

enum link_state { LINK_CONNECTING, LINK_HANDSHAKE, LINK_UP, LINK_DRAINING, LINK_CLOSED };

struct link_owner {
    /* TCP connected (outgoing), or failed with a libuv error. */
    void (*connected)(void *ctx, struct dist_link *l, int status);
    /* Bytes before the link is up; returns how many were used. The rest is asked for again, or is packets when the
     * owner has called dist_link_up(). */
    size_t (*handshake)(void *ctx, struct dist_link *l, struct slice in);
    void (*packet)(void *ctx, struct dist_link *l, struct slice packet);
    /* The time allowed by dist_link_deadline() is over. */
    void (*late)(void *ctx, struct dist_link *l);
    /* Once for every link, from dist_links_flush(). Nothing reads or writes on it any more; freed later. */
    void (*lost)(void *ctx, struct dist_link *l, const char *reason);
    /* A link was freed: host->open counts those that are left. Neither link nor host is touched afterwards. */
    void (*freed)(void *ctx);
    void *ctx;
};

/* What all links of a cluster share. */
struct link_host {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    struct link_owner owner;
    struct tls_context *tls; /* NULL: links are plain */
    bool tls_check_host;
    size_t max_packet_bytes;
    size_t max_output_bytes;
    uint64_t tick_us;
    struct list dirty;   /* links with bytes to write */
    struct list doomed;  /* links that are LINK_CLOSED and not yet told */
    struct list resting; /* links that have read enough for this turn */
    uint64_t turn;       /* counted by dist_links_flush() */
    uint32_t open;       /* links not yet freed */
    uint8_t *scratch;   /* one read buffer for all: a link owns memory only while a packet is incomplete */
    uint8_t *cipher;    /* the same for what is still encrypted; only with tls */
    struct buf sealed;  /* what has been encrypted and is about to be written */
};

struct dist_link {
    struct link_host *host;
    enum link_state state;
    bool outgoing;
    struct dist_tls *tls; /* NULL: plain */
    bool writing_now; /* a uv_write is under way */
    bool packet_open; /* between begin and commit */
    enum link_urgency urgency;
    size_t packet_at;   /* where the open packet begins in out */
    const char *reason; /* why it was closed */

    struct buf in;      /* an incomplete packet */
    struct buf out;     /* complete packets of this turn */
    struct buf writing; /* what uv_write works on, piece by piece; never touched meanwhile. len: what is left of it */
    size_t written;     /* where in it the piece begins that is being written */
    size_t piece;
    struct list dirty;
    struct list doomed;
    struct list resting;
    uint64_t turn;     /* of the host, when it last read */
    size_t turn_bytes; /* read in it */
    struct timer timer; /* deadline of the handshake or of draining, then the tick */

    uint64_t ticked_in; /* stats.bytes_in at the last tick */
    uint64_t ticked_out;
    unsigned silent;   /* ticks without a byte read */
    uint64_t wrote_us; /* when the kernel last took bytes */
    struct dist_link_stats stats;

    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;

    /* The owner's: */
    struct dist_handshake *hs; /* until the link is up */
    struct list pending;       /* among the handshakes in progress, oldest first */
    struct peer *peer;         /* outgoing: the configured peer this attempt is for, until it is up or given up */
    bool listed;               /* it is the cluster's connection to `node` */
    handle_t handle;
    uint64_t flags;
    uint32_t creation;
    char node[NODE_NAME_MAX + 1]; /* outgoing: whom we want; once it is up: who it is */
};

/* Fills the lists and the buffers; loop, timers, metrics, owner, tls and limits are the caller's. BG_ENOMEM. */
int link_host_init(struct link_host *host) MUST_CHECK;
/* Only when host->open is 0. */
void link_host_fini(struct link_host *host);

/* A link of the host in state LINK_CONNECTING, or NULL. It ends by dist_link_close(). */
struct dist_link *dist_link_new(struct link_host *host, bool outgoing) MUST_CHECK;
/* Takes the next connection of a listening socket and begins to read. */
int dist_link_accept(struct dist_link *l, uv_stream_t *server) MUST_CHECK;
/* Connects to the node, which is at addr; owner.connected follows when this returned 0. */
int dist_link_connect(struct dist_link *l, const char *node, const struct sockaddr *addr) MUST_CHECK;
/* owner.late is called unless the link is up or closed by then. */
void dist_link_deadline(struct dist_link *l, uint64_t delay_us);
/* The output buffer during the handshake. */
struct buf *dist_link_raw(struct dist_link *l);
/* Packets from now on. Starts ticking. */
void dist_link_up(struct dist_link *l, const char *node, uint64_t flags, uint32_t creation, handle_t handle);
/* Writes what waits, says goodbye (FIN) and closes when the peer does too, or after delay_us. */
void dist_link_drain(struct dist_link *l, uint64_t delay_us);
/* End of a turn: tells of closed links, closes them, writes what the others hold. */
void dist_links_flush(struct link_host *host);
/* For dist_tls.c: where the next bytes from the peer go, and that n of them have come there. 0: no memory. */
size_t dist_link_room(struct dist_link *l, uint8_t **dst);
void dist_link_received(struct dist_link *l, uint8_t *room, size_t n);
/* Something is to be written at the end of the turn. */
void dist_link_dirty(struct dist_link *l);
/* What it most likely means for the operator that the peer ended it, or said nothing more, before it was up. */
const char *dist_link_hint(const struct dist_link *l);
/* Brings timers->now_us up to date: the loop's time is that of before it waited. For callbacks of libuv. */
void link_host_wake(struct link_host *host);

#endif
