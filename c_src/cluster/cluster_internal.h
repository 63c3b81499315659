/*
 * cluster_internal.h: what cluster.c (links: listed, accepted, in their handshake) and cluster_peers.c (the nodes that
 * we want to be connected to, and the attempts to reach them) share. Private to the two.
 */
#ifndef BEAMGATE_CLUSTER_INTERNAL_H
#define BEAMGATE_CLUSTER_INTERNAL_H

#include <stdio.h>

#include "cluster.h"
#include "dist_dial.h"
#include "dist_link_internal.h"
#include "epmd.h"
#include "map.h"
#include "slots.h"

/* A node we want to be connected to. At most one of these is the case: a link to it is up (is_up); an attempt is under
 * way (dial, and opening once an address is found); its timer runs towards the next attempt. */
struct peer {
    struct cluster *c;
    char name[NODE_NAME_MAX + 1];
    struct slice alive; /* within name */
    struct slice host;
    uint16_t port;      /* 0: ask epmd */
    struct timer timer; /* next attempt, or end of patience with this one's step */
    uint32_t backoff_ms;
    uint64_t due_us; /* when the attempt under way or next was or is to begin */
    struct dist_dial *dial;
    struct dist_link *opening;
    bool is_up;
    uint64_t reported_us; /* 0: not since it was last up */
    char reported[sizeof(((struct err *)0)->text)]; /* the reason, whole: a cut one would never equal the next */
};

struct cluster {
    struct cluster_options o;
    struct link_host host;
    struct slots links;
    struct map by_node; /* name -> listed link */
    struct map peers;   /* name -> peer */
    struct list pending;
    uint32_t pending_count;
    uv_tcp_t listener;
    bool listening;
    uint16_t port;
    struct timer accept_again;
    struct epmd_registration *registration;
    bool stopping;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

static inline uint64_t cluster_now_us(const struct cluster *c)
{
    return c->o.timers->now_us;
}

static inline uint64_t cluster_patience_us(const struct cluster *c)
{
    return (uint64_t)c->o.handshake_timeout_s * 1000000u;
}

static inline struct peer *cluster_find_peer(const struct cluster *c, const char *node)
{
    return map_get(&c->peers, slice_str(node));
}

/* ` hint="..."`, or nothing. */
struct hint_field {
    char text[160];
};

static inline struct hint_field cluster_hint(const char *hint)
{
    struct hint_field f = {""};
    if (hint[0])
        snprintf(f.text, sizeof(f.text), " hint=\"%s\"", hint);
    return f;
}

/* ---- cluster_peers.c ---- */

/* l, whoever began it, is the connection to p; or the connection, which was up for so long, has gone. */
void peer_up(struct peer *p, struct dist_link *l);
void peer_down(struct peer *p, uint64_t up_us);
/* Our name has been sent: from now on the other side takes us for its simultaneous connect, too. p may be NULL. */
bool peer_is_dialling(const struct peer *p);
/* The attempt under way came to nothing: the next one is scheduled. why, a text for the log; NULL: nothing to
 * report. */
void peer_attempt_failed(struct peer *p, const char *why, const char *hint);
/* Ends the attempt under way, and the timer, whatever stage they are in. Says nothing to anybody: the caller goes
 * on. */
void peer_attempt_abandon(struct peer *p);
/* The node calls us while we look for it: true when our own attempt waits for how that ends. */
bool peer_attempt_yield(struct peer *p);
/* The address under way did not do: the attempt goes on with the next one, or fails with why. */
void peer_try_next_address(struct peer *p, const char *why);
/* What an attempt has waited for came to nothing: it begins soon. */
void peer_hasten(struct peer *p);

#endif
