/*
 * dist_link.h: one distribution connection to one other node after its handshake: framing, output
 * queue, ticks. What packets mean is dist_dispatch's affair; who connects to whom is cluster's.
 *
 * Invariant: reading never stops while a link is up, whatever the rest of the process does (D-09).
 */
#ifndef BEAMGATE_DIST_LINK_H
#define BEAMGATE_DIST_LINK_H

#include "buf.h"

struct dist_link;

enum link_urgency {
    LINK_DATA,    /* refused when the output queue is over its bound */
    LINK_PROTOCOL /* answers that the protocol owes; over twice the bound the link is closed instead */
};

/* For diagnostics: a link as Observer shows a port. */
struct dist_link_stats {
    uint64_t bytes_in;
    uint64_t bytes_out; /* handed to the kernel */
    uint64_t packets_in;
    uint64_t packets_out;
    size_t queued_bytes; /* not yet taken by the kernel */
    uint64_t up_since_us;
    bool outgoing;    /* we connected to it */
    char address[64]; /* the peer's, "127.0.0.1:4711" or "[::1]:4711" */
};

/* The peer's node name; lives as long as the link. */
struct slice dist_link_node(const struct dist_link *l);
/* The flags both sides have. */
uint64_t dist_link_flags(const struct dist_link *l);
/* Stable while the link lives; find it again with cluster_link_by_handle(). */
handle_t dist_link_handle(const struct dist_link *l);
/* What the peer's pids and references bear as creation; differs after it restarted. */
uint32_t dist_link_creation(const struct dist_link *l);
void dist_link_stats(const struct dist_link *l, struct dist_link_stats *s);

/* Opens a packet in the link's output buffer: writes room for the length and the 'p' byte; the caller
 * appends version byte, control term and, where there is one, version byte and message. NULL when
 * the link is closing or its queue is over the bound. Between begin and commit/abort nothing else may
 * write to this link. */
struct buf *dist_link_begin(struct dist_link *l, enum link_urgency urgency);
/* Closes the packet; it leaves at the end of this loop turn (cluster_flush). When the buffer failed
 * the packet is dropped and BG_ENOMEM returned (and the link closed if the packet was LINK_PROTOCOL: a lost answer
 * would leave the peer waiting). BG_EGONE when the link was closed meanwhile. */
int dist_link_commit(struct dist_link *l);
void dist_link_abort(struct dist_link *l);
/* Bytes that wait in this link's queue; together with the bound this tells how far behind the peer is. */
size_t dist_link_queued(const struct dist_link *l);
/* Closes the link at the end of this loop turn, when link_down is called; from now on nothing is delivered from it and
 * nothing can be sent on it. Allowed in every callback, and more than once. reason is a constant for the log. */
void dist_link_close(struct dist_link *l, const char *reason);

#endif
