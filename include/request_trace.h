/*
 * request_trace.h: looking at requests while they are worked on (O-095): which requests an operator wants to see, and
 * what is told about them. The pipeline only matches and tells; who gets to see it, how often and how long is the
 * server's affair (tracer.h).
 *
 * What a client or a service sent is never told, since it may be a secret: kinds, sizes, names and outcomes are. With
 * no trace on, a request costs one test of one word.
 */
#ifndef BEAMGATE_REQUEST_TRACE_H
#define BEAMGATE_REQUEST_TRACE_H

#include "call.h"
#include "fun_config.h"

struct gateway;

enum { TRACES_MAX = 16 };

/* Which requests: those for which everything holds that is given. Texts with ptr NULL, and HANDLE_NONE, hold always. */
struct trace_filter {
    struct slice request_id; /* text */
    struct slice user_id;    /* of the session; where it has none, of the payload */
    struct slice topic;
    struct slice service;
    struct slice request_type;
    struct slice module; /* what is called on the service node */
    struct slice function;
    int arity; /* -1: any */
    handle_t channel;
};

enum trace_kind {
    TRACE_RECEIVE,   /* the request has come in */
    TRACE_CALL,      /* it is called on a node */
    TRACE_RETURN,    /* the function has returned */
    TRACE_EXCEPTION, /* the call has ended otherwise: see outcome */
    TRACE_SEND,      /* a frame goes to the client */
    TRACE_END        /* the record is given back; outcome, bytes and so on mean nothing */
};

/* Slices are valid during the callback. Those that are not known yet are empty. */
struct trace_event {
    enum trace_kind kind;
    handle_t channel;
    struct slice request_id;   /* raw JSON */
    struct slice request_type; /* raw JSON */
    struct slice service;      /* text; not before the look-up found one, except with TRACE_RECEIVE */
    struct slice user_id;      /* TRACE_RECEIVE */
    struct slice topic;        /* TRACE_RECEIVE */
    struct slice node;         /* TRACE_CALL, TRACE_RETURN, TRACE_EXCEPTION */
    struct slice module, function;
    uint32_t arity;
    enum call_outcome outcome;
    size_t bytes;       /* of the payload, of the result as a term, of the Response's JSON */
    struct slice error; /* TRACE_SEND: the error as the client reads it; ptr NULL: success */
    bool more;          /* TRACE_SEND: more frames of this request follow */
};

struct trace_ops {
    void *ctx;
    /* Must not start or stop a trace, nor end a channel. */
    void (*event)(void *ctx, unsigned trace, const struct trace_event *e);
};

/* Requests that come in from now on are matched. What the filter's texts point to must stay until the trace is stopped.
 * The trace's number, 0..TRACES_MAX - 1, or BG_ELIMIT. */
int gateway_trace_start(struct gateway *gw, const struct trace_filter *f) MUST_CHECK;
/* No event of it comes any more, nor is a request in flight taken for one of a later trace's. Not from an event. */
void gateway_trace_stop(struct gateway *gw, unsigned trace);

#endif
