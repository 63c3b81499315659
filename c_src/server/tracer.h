/*
 * tracer.h: who gets to see traced requests: a process on another node, the log, the command line; how many messages a
 * second and in all, and for how long. The pipeline tells (request_trace.h), this passes on.
 *
 * A trace ends by itself when its time or its number of messages is over, when its process ends or its node goes.
 */
#ifndef BEAMGATE_TRACER_H
#define BEAMGATE_TRACER_H

#include "dist_link.h"
#include "request_trace.h"

struct server;
struct tracer;

enum {
    TRACE_MESSAGES_DEFAULT = 10000, /* of one trace, in all */
    TRACE_MESSAGES_MAX = 1000000,
    TRACE_PER_SECOND_DEFAULT = 1000,
    TRACE_PER_SECOND_MAX = 10000,
    TRACE_EXPIRES_MS_DEFAULT = 60000,
    TRACE_EXPIRES_MS_MAX = 3600000,
    TRACE_TEXTS_MAX = 2048 /* bytes of one filter's texts */
};

enum trace_end { TRACE_STOPPED, TRACE_EXPIRED, TRACE_MESSAGES_OVER, TRACE_RECEIVER_GONE, TRACE_SHUTDOWN };

/* Somebody in this program who wants to see a trace. Neither may start or stop a trace. */
struct trace_listener {
    void *ctx;
    /* One message as a JSON object, without a line end. */
    void (*message)(void *ctx, uint32_t id, struct slice json);
    /* No more messages come. */
    void (*ended)(void *ctx, uint32_t id, enum trace_end why);
};

struct trace_wanted {
    struct trace_filter filter; /* its texts are copied */
    bool calls;                 /* tell of calls and what they returned */
    bool frames;                /* tell of requests that come in, frames that go out, and the end */
    bool timestamps;            /* messages to a process are {trace_ts, ...} */
    bool to_log;
    struct slice receiver;          /* pid term of a process on link's node, or empty */
    struct dist_link *link;         /* with receiver only */
    struct trace_listener listener; /* message NULL: none */
    uint32_t max_messages;          /* 0: the defaults above; what is over a maximum is cut to it */
    uint32_t max_per_second;
    uint32_t expires_ms;
};

/* NULL without memory. s must have its process table and timers; the gateway may come later. */
struct tracer *tracer_new(struct server *s) MUST_CHECK;
/* Ends every trace. Before the gateway and the process table go. NULL is fine. */
void tracer_free(struct tracer *t);
/* For gateway_options. */
struct trace_ops tracer_ops(struct tracer *t);

/* Fills calls, frames and to_log with true and the filter so that it holds for every request. */
void trace_wanted_init(struct trace_wanted *w);
/* Starts a trace; *id is its name from now on, never that of another one. BG_ELIMIT: TRACES_MAX are on, texts are too
 * long, or there is no room for the process that watches the receiver; BG_EGONE: the receiver cannot be watched. */
int tracer_start(struct tracer *t, const struct trace_wanted *w, uint32_t *id, struct err *e) MUST_CHECK;
/* False when it has ended already. Not from a listener. */
bool tracer_stop(struct tracer *t, uint32_t id);

struct trace_info {
    uint32_t id;
    const struct trace_filter *filter;
    uint32_t messages; /* passed on */
    uint32_t dropped;  /* over max_per_second, or refused by the connection */
    uint64_t expires_in_ms;
    struct slice receiver; /* pid term, or empty */
    bool to_log;
};
/* The traces that are on: start with *pos = 0; false at the end. Valid until one starts or stops. */
bool tracer_next(const struct tracer *t, unsigned *pos, struct trace_info *info);

/* "stopped", "expired", ... */
const char *trace_end_text(enum trace_end why);

#endif
