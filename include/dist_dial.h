/*
 * dist_dial.h: from a node's name to addresses one can connect to: host name (asynchronously, in the thread pool),
 * then for each address the epmd there. It finds; the caller connects.
 */
#ifndef BEAMGATE_DIST_DIAL_H
#define BEAMGATE_DIST_DIAL_H

#include <uv.h>

#include "base.h"

struct dist_dial;

/* rc BG_OK: addr with the node's port. Otherwise there is no (further) address: why and hint, constants, say it for the
 * log, and the dial is gone. */
typedef void dist_dial_fn(void *ctx, int rc, const struct sockaddr *addr, const char *why, const char *hint);

/* alive@host; port 0: ask epmd. fn comes once, never before this returns. NULL when nothing could be begun. */
struct dist_dial *dist_dial_new(uv_loop_t *loop, struct slice alive, struct slice host, uint16_t port, dist_dial_fn *fn,
                                void *ctx) MUST_CHECK;
/* The last address did not do (why): fn comes once more, possibly before this returns. */
void dist_dial_next(struct dist_dial *d, const char *why);
/* The step under way (host name, or one epmd) takes too long: it is given up as by dist_dial_next(). */
void dist_dial_late(struct dist_dial *d);
/* fn will not be called. NULL is allowed. */
void dist_dial_cancel(struct dist_dial *d);

#endif
