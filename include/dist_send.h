/*
 * dist_send.h: one control message out, in one call: opens the packet on the link, writes it, closes it.
 * For whatever is built from terms that are at hand; hot paths write into dist_link_begin() themselves.
 */
#ifndef BEAMGATE_DIST_SEND_H
#define BEAMGATE_DIST_SEND_H

#include "dist_link.h"
#include "dist_message.h"

/* {op, terms...} without a message. l may be NULL. Returns 0, BG_EGONE when the link takes nothing (down, closing,
 * or too much waits there), BG_ENOMEM. */
int dist_send_control(struct dist_link *l, enum link_urgency urgency, enum dist_op op, const struct slice *terms,
                      unsigned n);

/* A message term to a pid or a registered name (an atom's text). Same results. */
int dist_send_pid(struct dist_link *l, enum link_urgency urgency, struct slice to, struct slice msg);
int dist_send_name(struct dist_link *l, enum link_urgency urgency, struct slice from, struct slice name,
                   struct slice msg);

#endif
