/*
 * query_term.h: the parameters of a request as a Phoenix application gets them: a map with binary keys, in which
 * a[b]=c is a map in a map and a[]=c a list (P-003, P-006).
 */
#ifndef BEAMGATE_QUERY_TERM_H
#define BEAMGATE_QUERY_TERM_H

#include "http_head.h"

enum { QUERY_PAIRS_MAX = 256, QUERY_DEPTH_MAX = 8 };

/* Appends the map. Of several values for one name the last counts, also when it is of another shape; a name whose
 * brackets do not match is taken as it stands. BG_EINVAL: bad %xx, or not UTF-8; BG_ELIMIT: more pairs or deeper than
 * the bounds; BG_ENOMEM. */
int query_to_term(struct slice query, struct buf *out) MUST_CHECK;

#endif
