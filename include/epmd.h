/*
 * epmd.h: asking an Erlang Port Mapper Daemon where a node listens, and keeping our own name in the local one.
 * erl_dist_protocol, "Protocol between Erlang Nodes and EPMD". Nothing here blocks the loop.
 */
#ifndef BEAMGATE_EPMD_H
#define BEAMGATE_EPMD_H

#include <uv.h>

#include "buf.h"
#include "metrics.h"
#include "node_identity.h"
#include "timers.h"

enum { EPMD_PORT_DEFAULT = 4369, EPMD_ANSWER_MAX = 1024 };

struct epmd_answer {
    uint16_t port;
    uint16_t highest; /* distribution protocol versions the node speaks */
    uint16_t lowest;
};

/* The port of every epmd: ERL_EPMD_PORT, or 4369. */
uint16_t epmd_port(void);
/* Where our own name is registered: the first address of ERL_EPMD_ADDRESS (as epmd itself reads it), or 127.0.0.1. */
void epmd_local_address(struct sockaddr_storage *addr);

/* The wire forms of PORT_PLEASE2 and ALIVE2; alive: the part of a node's name before the @. Parse: BG_OK, BG_EMORE
 * (call again with more), BG_EGONE (epmd does not know the name, or refuses it), or BG_EINVAL. epmd_parse_alive takes
 * ALIVE2_RESP and ALIVE2_X_RESP whole. */
void epmd_put_port_request(struct buf *b, struct slice alive);
void epmd_put_alive_request(struct buf *b, struct slice alive, uint16_t port);
int epmd_parse_port(struct slice in, struct epmd_answer *a) MUST_CHECK;
int epmd_parse_alive(struct slice in) MUST_CHECK;

struct epmd_lookup;
/* rc: BG_OK; BG_EGONE: not registered; BG_ESYS: no epmd could be reached; BG_EINVAL: what answered is no epmd.
 * why: for the log, a constant. */
typedef void epmd_lookup_fn(void *ctx, int rc, const struct epmd_answer *a, const char *why);
/* Asks the epmd at addr (its port is in addr). fn is called once, never before this returns; afterwards the lookup is
 * gone. NULL when it could not even begin. Knows no deadline: the caller cancels. */
struct epmd_lookup *epmd_lookup_new(uv_loop_t *loop, const struct sockaddr *addr, struct slice alive,
                                    epmd_lookup_fn *fn, void *ctx) MUST_CHECK;
/* fn will not be called. */
void epmd_lookup_cancel(struct epmd_lookup *q);

/* The name of this node in the local epmd: registered as soon as possible and again whenever epmd was away (D-07). */
struct epmd_registration;
/* Begins at once, in the thread pool where that blocks; port: where this node listens. NULL without memory. */
struct epmd_registration *epmd_registration_new(uv_loop_t *loop, struct timers *timers, struct metrics *m,
                                                const struct node_identity *self, uint16_t port) MUST_CHECK;
/* Unregisters (by closing the connection) and frees. */
void epmd_registration_free(struct epmd_registration *r);
/* Whether the name stands now. */
bool epmd_registered(const struct epmd_registration *r);
/* True when the name was never ours and is held by another node: *e (may be NULL) says so. Final. */
bool epmd_registration_failed(const struct epmd_registration *r, struct err *e);

#endif
