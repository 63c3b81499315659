/*
 * request.h: the request pipeline, one state machine with one exit (request_finish): decode → config → before
 * hook → permission → rate limit → arguments → node → call (timeout, fall-over, retry) → after hook → answer.
 *
 * Exactly one terminal answer per accepted request, whatever happens. No I/O: calls go out through
 * call_ops, frames through client_ops, time comes from timers.
 */
#ifndef BEAMGATE_REQUEST_H
#define BEAMGATE_REQUEST_H

#include "call.h"
#include "config_db.h"
#include "json.h"
#include "limit.h"
#include "list.h"
#include "request_trace.h"
#include "timers.h"

struct gateway;
struct response;
struct rate_limiter;
struct breakers;
struct mfa_rules;
struct node_selector;
struct telemetry;

/* Who asks. Filled by the edge from the authenticated socket, never from the payload. */
struct session {
    struct slice user_id; /* empty: none */
    const struct slice *roles;
    uint32_t roles_count;
    struct slice ip_address;
    struct slice device_id; /* raw JSON string; empty: the request's own counts (E-025) */
    struct slice topic; /* of the channel, raw JSON; gateway_request() only, for traces */
};

/* The channel's part of the configuration. */
struct channel_rules {
    bool override_user_id;         /* E-002 */
    bool require_verified_user_id; /* E-003 */
};

/* Frames to a client's channel. A channel that has gone makes push_begin return NULL and reply do nothing. These never
 * end a channel before they return: a client that must go is closed from the loop. */
struct client_ops {
    void *ctx;
    /* Who is behind the channel; NULL when it has gone. Valid during the call. */
    const struct session *(*session)(void *ctx, handle_t channel);
    /* Begins a push under the channel's event; the caller appends one JSON value to the buffer and ends it. */
    struct buf *(*push_begin)(void *ctx, handle_t channel);
    /* keep false takes the push back, as if it had not begun. keep true of a buffer that failed: this client cannot be
     * told any more and must be closed. */
    void (*push_end)(void *ctx, handle_t channel, bool keep);
    /* A phx_reply. ref and response are raw JSON. */
    void (*reply)(void *ctx, handle_t channel, struct slice ref, const char *status, struct slice response);
    /* For channels that are no client's: takes the Response itself instead of a push. False: it is to be pushed. NULL:
     * all are. request_id: raw JSON. */
    bool (*take)(void *ctx, handle_t channel, struct slice request_id, const struct response *resp);
};

/* The process that stands for a stream: its pid goes to the producer, its messages come to gateway_stream_message(). */
struct stream_ops {
    void *ctx;
    /* HANDLE_NONE when there is no room. */
    handle_t (*open)(void *ctx, uint64_t tag);
    void (*put_pid)(void *ctx, handle_t stream, struct buf *out);
    /* The stream's call is about to go to a node, perhaps not for the first time; and it has returned, which is said from
     * within the call's callback. They tell the process whose messages count, and whose end matters (E-150 want). */
    void (*calling)(void *ctx, handle_t stream);
    void (*called)(void *ctx, handle_t stream);
    /* Afterwards messages to the pid are dropped. Harmless on a stale handle. */
    void (*close)(void *ctx, handle_t stream);
};

/* The largest max_in_flight; what holds in its place in a dry run. */
enum { GATEWAY_IN_FLIGHT_MAX = 10000000 };

struct gateway_options {
    struct config_db *db;
    struct timers *timers;
    struct metrics *metrics;
    struct rate_limiter *limiter; /* NULL: nothing is limited */
    struct call_ops call;
    struct client_ops client;
    struct stream_ops stream;
    const struct mfa_rules *rules; /* hold for what hooks return too; NULL: the deny list alone */
    struct slice hook_node;        /* hooks run there and nowhere else (E-046); empty: on the node of the call */
    struct trace_ops trace; /* event NULL: nobody is told */
    struct telemetry *telemetry; /* NULL: no events are made */
    struct json_limits json;
    struct client_limits *limits;              /* quotas and dry runs; NULL: none */
    uint32_t max_in_flight;             /* requests waiting for an answer in all; more are refused (E-138) */
    uint32_t max_in_flight_per_channel; /* the same for one channel */
    size_t max_payload_bytes;           /* E-020: external term size of the payload */
    bool detail_error;                  /* E-201 */
    bool pass_error_reason;             /* E-204: a binary or atom reason of {error, R} reaches the client */
    uint32_t breaker_threshold;         /* time-outs in a row that open a breaker; 0: none does */
    uint32_t breaker_cooldown_ms;       /* how long it stays open before one call is tried */
    uint32_t nodes_cache_ms;            /* E-160: how long the answer of a nodes {M, F, A} holds */
    uint32_t async_limit;               /* E-210: async, stream and none requests run at a time... */
    uint32_t async_queue;               /* ...and wait for their turn; more are refused (E-138) */
    bool retry_on_error;                /* E-190, the library's way: {error, _} of the function itself is retried too */
    bool fallback_on_exit;              /* E-182, the library's way: a function that raised or timed out runs on the next node too */
    uint32_t string_max_bytes;          /* F-067: 3000 */
    uint32_t list_max_items;            /* 1000 */
    uint32_t map_max_items;             /* 1000 */
};

/* Fills every number with its default; db, timers, metrics, call and client stay for the caller. */
void gateway_options_default(struct gateway_options *o);
struct gateway *gateway_new(const struct gateway_options *o) MUST_CHECK;
/* Forgets what is in flight without answering; clients and links must be gone or going. */
void gateway_free(struct gateway *gw);

/* Requests in flight of whoever has a bound of his own: a socket, a user. */
struct request_quota {
    uint32_t count;
    enum limit limit;
};
enum { REQUEST_QUOTAS = 2 };

/* The requests of one channel that wait for their answer: embedded in the channel, filled by the gateway. */
struct request_list {
    struct list head;
    uint32_t count;
    struct request_quota *quota[REQUEST_QUOTAS]; /* that these requests use up, or NULL; they outlive the list */
};

static inline void request_list_init(struct request_list *l)
{
    *l = (struct request_list){.count = 0};
    list_init(&l->head);
}

/* A message with the channel's event. ref and payload are raw JSON, checked; payload may be any kind (E-009); a
 * binary frame comes with payload.ptr NULL. members: of the payload, where they are known, or NULL. The answers come through client_ops, now or later. */
void gateway_request(struct gateway *gw, handle_t channel, struct request_list *waiting, const struct session *who,
                     const struct channel_rules *rules, struct slice ref, struct slice payload,
                     const struct json_members *members);
/* The channel ends: its waiting requests are dropped, their results ignored. Must be called before the
 * list's memory goes. */
void gateway_channel_closed(struct gateway *gw, struct request_list *waiting);
/* A message to the stream's process; tag as given to stream_ops.open. Stale tags are fine. */
void gateway_stream_message(struct gateway *gw, uint64_t tag, struct slice msg);
/* The stream has no producer any more: the client is told (E-150 want). why: a constant for the log. */
void gateway_stream_down(struct gateway *gw, uint64_t tag, const char *why);
/* A node is no longer connected: streams that it feeds end. */
void gateway_node_down(struct gateway *gw, struct slice node);
/* The client wants no more of a stream of its channel (E-152 want): it ends with F-118. request_id: raw JSON. False when
 * the channel has no such stream. */
bool gateway_stream_stop(struct request_list *waiting, struct slice request_id);
/* For showing them; valid as long as the gateway. */
const struct breakers *gateway_breakers(const struct gateway *gw);
const struct node_selector *gateway_node_selector(const struct gateway *gw);
/* What a stream is about, for people; the slices are borrowed until the loop turns. False on a stale tag. */
struct stream_view {
    handle_t channel;
    struct slice service;
    struct slice request_type;
    struct slice request_id; /* raw JSON */
    bool started;            /* its initial call has returned */
};
bool gateway_stream_view(const struct gateway *gw, uint64_t tag, struct stream_view *v);
/* For choosing a node outside a request, with the same counters and memory. Valid as long as the gateway. */
struct node_selector *gateway_selector(struct gateway *gw);
uint32_t gateway_in_flight(const struct gateway *gw);

/* The nodes that requests of this config may go to now, for showing them: its list, or the last answer of its {M, F, A}
 * while that holds. NULL and 0 when they are not known. Valid until the loop turns. */
const struct slice *gateway_known_nodes(struct gateway *gw, const struct fun_config *fc, uint32_t *count);

/* The two kinds of requests that run beside their channel: async and none, or stream. They share their places (E-210).
 * Streams keep theirs until they end. */
struct gateway_pool {
    uint32_t running;
    uint32_t queued;
    uint64_t executed; /* that have ended since the start */
    uint64_t failed;   /* of these */
};
/* idle: places that are free, for either kind. */
struct gateway_pool gateway_pool(const struct gateway *gw, bool stream, uint32_t *idle);

#endif
