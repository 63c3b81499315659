/*
 * request_internal.h: the request pipeline's own structures, shared by the files it is made of:
 *   request.c         the record's life, the stages, and the way from a payload to a call
 *   request_answer.c  frames to the client and the ways to end a request
 *   request_hook.c    questions to the service node: hooks and permission callbacks
 *   request_terms.c   the structs that are shown there
 *   request_nodes.c   nodes that are a question to the service
 *   request_limit.c   the rate limiter's answer
 *   request_call.c    the call: nodes in order, retry, the queue of async requests
 *   request_stream.c  what follows a call that answers in pieces
 *   request_trace.c   telling an operator what becomes of it
 *   request_telemetry.c  the same as telemetry events
 * Nobody else includes it.
 */
#ifndef BEAMGATE_REQUEST_INTERNAL_H
#define BEAMGATE_REQUEST_INTERNAL_H

#include "map.h"
#include "node_selector.h"
#include "rate_limiter.h"
#include "request.h"
#include "request_decode.h"
#include "response.h"
#include "slots.h"
#include "telemetry.h"

enum {
    CANDIDATES_MAX = 32,         /* nodes tried for one request */
    TIMEOUT_INFINITY_MS = 25000, /* E-181 */
    INSPECT_MAX = 2048,          /* bytes of an inspected reason */
    HOOK_ROLES_MAX = 64          /* roles that a hook may give; more are dropped, which only takes rights away */
};

/* Bytes of a request's text buffer. */
struct span {
    uint32_t at;
    uint32_t len;
};

struct breakers;
struct node_list;

struct request {
    struct list in_channel;
    struct list in_queue;         /* linked while an async request waits for its turn */
    struct request_list *waiting; /* the list of its channel, which outlives it */
    struct request *next_free;
    struct gateway *gw;
    handle_t self; /* HANDLE_NONE for the spare, which only carries a refusal */
    handle_t channel;
    handle_t call;
    handle_t stream;
    struct timer timer; /* the pause before a retry, or the end of a stream */
    struct fun_config *fc;
    uint8_t stage;      /* the next to run */
    bool dispatched;    /* async, stream and none have had their reply */
    bool runs;          /* holds one of the places for async requests */
    bool override;      /* E-002, the channel's rule */
    bool hooked;        /* a hook took the place of the payload, and of the session's user */
    bool roles_given;   /* and of its roles */
    bool streaming;     /* the initial call has returned */
    bool producer_gone; /* before it has */
    bool failed;        /* answered with an error */
    bool told;          /* telemetry is told of it */
    uint8_t pool;       /* of gateway.pools, once it waits for a place */
    uint32_t traced;    /* a bit for each trace that wants to see it */
    struct buf text;    /* raw JSON that must outlive the frame */
    struct span ref;
    struct span request_id;
    struct span request_type;
    struct span payload; /* len 0: not kept */
    struct span roles;   /* roles_given: the term that the hook gave */
    struct buf args;     /* the call's argument terms, kept for the next node */
    struct buf early;    /* stream messages that came before the initial call returned */
    uint32_t args_count;
    uint32_t round; /* of retry, from 0 */
    uint16_t candidate_count;
    uint16_t candidate_next;
    uint16_t candidate[CANDIDATES_MAX]; /* indices into request_nodes(), in the order to try */
    struct node_list *nodes;            /* what the config's {M, F, A} gave; NULL: the config's own list */
    uint64_t came_us; /* this and what follows while told only */
    uint64_t step_us;    /* when the hook was asked, or the task has begun */
    struct span facts;   /* pairs of a map: whose request it is, and for what */
    struct span failure; /* the text of the error, once failed */
};

struct gateway {
    struct gateway_options o;
    struct node_selector *selector;
    struct breakers *breakers;
    struct slots requests;
    struct request *pool;
    uint32_t pooled;
    struct request spare;    /* for the answer to a request that found no place */
    struct list async_queue; /* async requests that wait for a place */
    uint32_t async_queued;
    uint32_t async_running;
    struct telemetry *telemetry; /* never NULL */
    struct telemetry nobody;     /* when the options name none */
    struct list told_hooks;      /* after hooks whose end is told */
    uint32_t traces_on; /* a bit for each trace */
    struct trace_filter traces[TRACES_MAX];
    struct gateway_pool pools[2]; /* the same by kind: async and none, stream */
    struct map node_lists; /* answers of {M, F, A}, see request_nodes.c */
    bool held; /* nothing is taken from the queue: it is being run already, or a channel is ending */
    /* Texts of the request being decoded, escapes resolved, and the text of its error. */
    struct buf service;
    struct buf type;
    struct buf version;
    struct buf user;
    struct buf message;
    struct session hook_session; /* what request_session() gives for a request whose hook gave roles */
    struct slice hook_roles[HOOK_ROLES_MAX];
};

/* An after hook that runs, and whose end is told: the request has gone by then. */
struct told_hook {
    struct list all;
    struct gateway *gw;
    struct fun_config *fc;
    uint64_t since_us;
};

/* A request while it is being worked on: what the record does not keep. Slices point into the frame, or into
 * the record's text once the request has waited. */
struct asked {
    struct request_fields f;
    struct slice payload;
    const struct session *who;
    bool overridden; /* E-002: the session's user id takes the place of the payload's */
};

/* request.c */
struct slice request_text(const struct request *r, struct span s);
struct span request_keep(struct request *r, struct slice raw);
/* From now on the request waits: it is in its channel's list, and when a is given the payload is kept. */
void request_wait(struct request *r, const struct asked *a);
/* Whose request it is: the channel's session, with the roles of the before hook if it gave any (E-042). NULL when the
 * channel has gone. Valid until the next call. */
const struct session *request_session(const struct request *r);
/* Fills *a as it was when the request came in, from the payload that is kept (request_wait), or from what a hook put in
 * its place. */
void request_recall(const struct request *r, const struct session *who, struct asked *a);
/* Goes on with the next stage after a wait. */
void request_resume(struct request *r);
/* The one exit: whoever calls it has sent the terminal answer, or knows that nobody is there to get it. */
void request_finish(struct request *r);
/* The request behind a call's or a stream's tag; NULL when it has ended. */
struct request *request_find(const struct gateway *gw, uint64_t tag);
/* The user id as permissions and hooks see it: text, empty when there is none or it is no string (E-051). */
struct slice request_user(struct gateway *gw, const struct asked *a);

/* request_answer.c. Those called finish_… send the terminal answer and end the request. */
/* Pushes one Response. Not 0: it cannot be sent, and nothing was. */
int request_push(const struct request *r, const struct response *resp, struct err *e);
void request_reply_ok(const struct request *r);
/* Not run at all: an error push, and a reply with status error and the reason (E-003, E-007, E-008). */
void finish_not_run(struct request *r, struct slice pushed, struct slice reason);
/* Undecodable (E-007). */
void finish_invalid(struct request *r, struct slice reason);
/* An error Response, and the reply with status ok where it is still owed (E-005). */
void finish_error(struct request *r, struct slice text, bool can_retry);
/* A value; one that cannot be sent becomes an error (E-010 want). */
void finish_value(struct request *r, struct slice value);
/* {error, Reason} (E-201, E-204); from_service: the function returned it, so its text may be meant for the client. */
void finish_failure(struct request *r, struct slice reason, bool from_service);
/* {error, Reason} sent to a stream: the same, with the bare reason as detail (E-148). */
void finish_stream_failure(struct request *r, struct slice reason);
/* One log line about this request; value, when not empty, is the reason. */
void request_log(const struct request *r, const char *msg, struct slice value);

/* request_hook.c */
/* E-040..E-046: asks before_execute, which there is. False: the request waits or has been answered. */
bool hook_before(struct request *r, const struct asked *a);
/* E-044: tells after_execute what was answered; nobody waits for it. */
void hook_after(const struct request *r, const struct response *resp);
/* E-055..E-060: asks permission_callback. False: the request waits or has been answered. */
bool permission_ask(struct request *r, const struct asked *a);

/* request_terms.c */
/* The value as a term, nil when there is none or it cannot be one. */
void put_raw_or_nil(struct buf *out, struct slice raw, const struct json_limits *lim);
/* %Request{} (F-100), with the user and the roles of the session (E-024 want). */
void put_request(struct buf *out, const struct asked *a, const struct json_limits *lim);
/* %Response{} (F-110). */
void put_response(struct buf *out, const struct request *r, const struct response *resp);

/* request_limit.c */
/* E-070..E-077: asks the rate limiter, which there is. False: the request has been answered. */
bool limit_rate(struct request *r, const struct asked *a);

/* request_call.c */
/* Starts the call, or queues it; every way out has answered or waits. */
void call_start(struct request *r);
/* Gives up the call or question that is under way, if there is one. */
void call_cancel(struct request *r);
/* Frees what the call side holds of a request that ends: its place, its turn in the queue. */
void call_release(struct request *r);
/* Between the two, places that become free are not given out. */
void call_queue_hold(struct gateway *gw);
void call_queue_go(struct gateway *gw);
/* Node i of the candidates. */
struct slice call_node_name(const struct request *r, uint32_t i);

/* request_nodes.c */
/* E-160: finds out the nodes of a config that gives them as {M, F, A}. False: the request waits or has been answered. */
bool nodes_resolve(struct request *r, const struct asked *a);
/* The nodes the request may be called on. */
const struct slice *request_nodes(const struct request *r, uint32_t *count);
void node_list_unref(struct node_list *l);
void node_lists_forget(struct gateway *gw);

/* request_stream.c */
/* Opens the stream's process. False: there is no room, the request has been answered. */
bool stream_open(struct request *r);
/* The initial call returned a value (E-146). */
void stream_called(struct request *r, struct slice value);
/* The call goes to a node: what the producer of an earlier one has sent is not this one's. */
void stream_calling(struct request *r);
/* Ends its stream. */
void stream_release(struct request *r);

/* request_trace.c: called only when there is somebody to tell. */
/* A request has come in: which traces want it. */
void trace_match(struct request *r, const struct asked *a);
/* Its config is known. */
void trace_found(struct request *r, const struct asked *a);
/* It is called on node, with the arguments in r->args. */
void trace_call(const struct request *r, struct slice node);
/* That call has ended; bytes: of the value. */
void trace_result(const struct request *r, struct slice node, enum call_outcome outcome, size_t bytes);
/* A Response of so many bytes goes to the client. */
void trace_send(const struct request *r, const struct response *resp, size_t bytes);
void trace_end(const struct request *r);

/* request_telemetry.c: called only for requests that are told of (r->told), but for the first. */
/* A request that can be read: the first event, if anybody wants any. */
void tell_start(struct request *r, const struct asked *a);
/* It has its Response, as the library's executor means it: a result, an acknowledgement or an error. */
void tell_stop(const struct request *r);
/* It was not run because of its arguments, which raises in the library. */
void tell_exception(const struct request *r, struct slice reason);
/* Why it failed, kept for tell_task_end(). */
void tell_failed(struct request *r, struct slice text);
/* Another round begins in so many ms; r->round is that of the one that failed. */
void tell_retry(const struct request *r, uint64_t backoff_ms);
/* No round is left. */
void tell_exhausted(const struct request *r, struct slice reason);
/* What the rate limiter said; value: what the limit that refused has counted. */
void tell_limit(const struct request *r, enum rate_verdict verdict, const struct rate_result *res, struct slice value,
                uint64_t since_us);
/* The before hook is asked, and has answered: value is the reason unless it returned. */
void tell_hook_start(struct request *r);
void tell_hook_end(const struct request *r, enum call_outcome outcome, struct slice value);
/* The after hook is told. Gives what the call's end must be given to, with tell_after_end(); NULL without memory. */
struct told_hook *tell_after_start(const struct request *r);
call_done_fn tell_after_end;
void told_hook_free(struct told_hook *h);
/* It has got a place of those beside the channel, and gives it back. */
void tell_task_start(struct request *r);
void tell_task_end(const struct request *r);
/* The breaker of its service on the node has opened, or is closed again. Also for requests that nobody is told of. */
void tell_breaker(const struct request *r, struct slice node, bool open);

#endif
