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

/* The peer's node name; lives as long as the link. */
struct slice dist_link_node(const struct dist_link *l);
/* The flags both sides have. */
uint64_t dist_link_flags(const struct dist_link *l);
/* Stable while the link lives; find it again with cluster_link_by_handle(). */
handle_t dist_link_handle(const struct dist_link *l);

/* Opens a packet in the link's output buffer: writes room for the length and the 'p' byte; the caller
 * appends version byte, control term and, where there is one, version byte and message. NULL when
 * the link is closing or its queue is over the bound. Between begin and commit/abort nothing else may
 * write to this link. */
struct buf *dist_link_begin(struct dist_link *l, enum link_urgency urgency);
/* Closes the packet; it leaves at the end of this loop turn (cluster_flush). When the buffer failed
 * the packet is dropped and BG_ENOMEM returned. */
int dist_link_commit(struct dist_link *l);
void dist_link_abort(struct dist_link *l);
/* Closes the link at the end of this loop turn; reason is a constant for the log. */
void dist_link_close(struct dist_link *l, const char *reason);

#endif
