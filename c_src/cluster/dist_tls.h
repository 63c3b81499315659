/*
 * dist_tls.h: TLS under a distribution link, as inet_tls_dist has it: between the socket and the bytes that dist_link.c
 * knows. Only for dist_link.c and cluster.c.
 */
#ifndef BEAMGATE_DIST_TLS_H
#define BEAMGATE_DIST_TLS_H

#include "dist_link_internal.h"
#include "tls.h"

/* TCP stands: begins TLS with the host's context. Outgoing: the peer's certificate must be for the host part of its
 * name. BG_ENOMEM. */
int dist_tls_start(struct dist_link *l) MUST_CHECK;
/* NULL tls is fine. */
void dist_tls_free(struct dist_link *l);
/* Bytes from the socket. Closes the link when they are no good. */
void dist_tls_received(struct dist_link *l, struct slice in);
/* Appends to sealed what is to be written next: what TLS itself has to say, and a piece of l->out. False: nothing. */
bool dist_tls_seal(struct dist_link *l, struct buf *sealed);
/* How many bytes of l->out the piece that was sealed last was made of. */
size_t dist_tls_sealed(const struct dist_link *l);
/* How many bytes of l->out have been sealed; 0 without TLS. */
size_t dist_tls_at(const struct dist_link *l);
/* Nothing more will be written: true when that is still to be told (close_notify). */
bool dist_tls_goodbye(struct dist_link *l);
/* True while the handshake of TLS is under way, and when TLS was what went wrong. */
bool dist_tls_to_blame(const struct dist_link *l);
/* "TLSv1.3", or "no". */
const char *dist_tls_version(const struct dist_link *l);

#endif
