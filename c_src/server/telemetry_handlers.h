/*
 * telemetry_handlers.h: who is attached to the events of telemetry.h. A handler is a function of another node, which
 * only that node can run: it is kept as the term that it is, and called there, on its own node, when an event comes
 * (lists:zipwith(fun erlang:apply/2, [Fun, ...], [[Event, Measurements, Metadata, Config], ...])).
 *
 * Nothing waits for a handler, and nothing is held up by one: the events of a handler that is at work wait in a bounded
 * queue for their turn, those that find no place are dropped and counted. So a handler gets its events in the order in
 * which they happened, one batch at a time. One that raises, or takes longer than HANDLER_TIMEOUT_MS, is detached, as
 * in the library; so is one whose node goes.
 */
#ifndef BEAMGATE_TELEMETRY_HANDLERS_H
#define BEAMGATE_TELEMETRY_HANDLERS_H

#include "dist_link.h"
#include "telemetry.h"

struct server;
struct telemetry_handlers;

enum {
    HANDLERS_MAX = 16,
    HANDLER_TERMS_MAX = 64 * 1024,  /* bytes of one handler's id, function and config */
    HANDLER_QUEUE_MAX = 256 * 1024, /* bytes of events that wait for one handler */
    HANDLER_BATCH_MAX = 500,        /* the same in events */
    HANDLER_TIMEOUT_MS = 30000      /* for a batch */
};

/* Whom to call. In the library each event has a handler of its own, whose id is made of this one and of the event's
 * name: its last word (of Executor and RateLimiter), or all of it (of Telemetry). The two never meet. */
struct handler_wanted {
    struct slice id; /* text */
    bool full_names;
    uint32_t events;        /* TELEMETRY_BITs */
    struct slice fun;       /* a term that is a function; empty: the events go to the log, at debug level */
    struct slice config;    /* term */
    struct slice leader;    /* pid term of a process on the link's node that handlers print to, or empty */
    struct dist_link *link; /* whose node runs it */
};

/* NULL without memory. Begins s->telemetry; s must have its timers, its cluster and its calls. */
struct telemetry_handlers *telemetry_handlers_new(struct server *s) MUST_CHECK;
/* Detaches all without a word. Nothing may call back afterwards: before the calls go, when the loop turns no more. */
void telemetry_handlers_free(struct telemetry_handlers *hs);
/* Attaches to those of the events to which nobody of that id is attached. BG_ELIMIT: HANDLERS_MAX are, or the terms are
 * too large; BG_ENOMEM. */
int telemetry_attach(struct telemetry_handlers *hs, const struct handler_wanted *w) MUST_CHECK;
/* Detaches that id from the events; what has happened before is still delivered. */
void telemetry_detach(struct telemetry_handlers *hs, struct slice id, bool full_names, uint32_t events);
void telemetry_link_down(struct telemetry_handlers *hs, handle_t link);

#endif
