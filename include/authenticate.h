/*
 * authenticate.h: who is behind a socket, decided once, from the upgrade request. The one place where tokens will be
 * verified.
 */
#ifndef BEAMGATE_AUTHENTICATE_H
#define BEAMGATE_AUTHENTICATE_H

#include "edge.h"
#include "http_head.h"

enum { USER_ID_MAX = 1024 };

/* What is known about a client after its request was accepted. */
struct identity {
    struct buf user_id; /* empty: nobody in particular */
};

/* Whether the request's Origin may open this socket (P-009). False: counted and logged; the upgrade is refused with
 * 403. Without an Origin header the answer is true: only browsers send one, and only they act for somebody else. */
bool edge_origin_allowed(const struct socket_config *config, const struct http_head *h, struct metrics *m) MUST_CHECK;
/* Fills *who (the caller's, initialised). 0, or BG_EINVAL: the upgrade is refused with 403 (P-007). */
int edge_authenticate(const struct socket_config *config, const struct http_head *h, struct identity *who) MUST_CHECK;

#endif
