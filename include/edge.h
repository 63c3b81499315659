/*
 * edge.h: everything that clients reach: the listening sockets, HTTP routes, Phoenix sockets and channels.
 * libwebsockets itself is boxed into ws_server.c; phoenix_socket.c holds the channel protocol (P-).
 */
#ifndef BEAMGATE_EDGE_H
#define BEAMGATE_EDGE_H

#include <uv.h>

#include "jwt.h"
#include "limit.h"
#include "phoenix_token.h"
#include "process_table.h"
#include "request.h"
#include "ip_address.h"
#include "tls.h"

struct edge;
struct gather;

/* A function of the services that decides for us. Borrowed texts. */
struct remote_function {
    const char *module;
    const char *function;
    const struct slice *nodes; /* tried in turn, those that are connected; none is: refused */
    uint32_t nodes_count;
    uint32_t timeout_ms;
    uint32_t cache_ms; /* how long a yes to the same (parameters and token, or Origin) holds; 0: each is asked for */
};

struct channel_config {
    const char *topic; /* a pattern for topic_match() (P-050); first declared wins */
    const char *event; /* default phoenix_gen_api */
    struct channel_rules rules;
    /* Who may join; each refuses with unauthorized. */
    bool require_user;
    char *const *roles; /* one of them; none: whatever the roles are */
    uint32_t roles_count;
    struct remote_function join; /* asked last; module NULL: nobody is */
};

/* What a client gets about whom a connect function has said {error, Reason}, with this Reason (P-007). */
struct refusal {
    const char *reason; /* an atom's text or a string */
    uint32_t status;
    const char *body; /* NULL: none */
};

enum auth_type {
    AUTH_PHOENIX_TOKEN, /* a token that a Phoenix application has signed */
    AUTH_PHOENIX_ENCRYPTED, /* or encrypted */
    AUTH_JWT,
    AUTH_REMOTE, /* a function of the services decides, as UserSocket.connect/3 does */
    AUTH_PARAM,         /* who the connect parameter says: for behind something that has checked it */
    AUTH_NONE           /* nobody in particular */
};

/* One way to tell who a client is, ready for use: files read, keys derived. */
struct auth_method {
    enum auth_type type;
    const char *param;        /* connect parameter with the token, for AUTH_PARAM with the user; NULL: none */
    const char *user_id_path; /* where token_find() finds the user; NULL: the data itself */
    const char *roles_path;   /* where a role or a list of them is; NULL: no roles */
    const char *device_id_path; /* where the device is; NULL: requests say it */
    uint32_t max_age_s;
    struct phoenix_key key;
    struct jwt_keys *jwt_keys; /* the server's, which may put others here between two turns of the loop */
    struct jwt_rules jwt_rules;
    struct remote_function remote;
};

/* P-009. The first is the default. */
enum origin_check {
    ORIGIN_SAME_HOST,  /* the host of Origin is socket_config.host, or where there is none the request's Host */
    ORIGIN_LIST,       /* one of socket_config.origins */
    ORIGIN_CONNECTION, /* scheme, host and port of the request */
    ORIGIN_FUNCTION,   /* socket_config.origin_function says true */
    ORIGIN_ANY
};

struct socket_config {
    const char *path;          /* /socket: serves /socket/websocket (P-002) */
    const char *user_id_param; /* connect parameter that names the user, NULL: no user id; only without auth */
    const struct auth_method *auth; /* tried in this order; none: user_id_param */
    uint32_t auth_count;
    const struct refusal *refusals; /* any other reason: 403, without a body */
    uint32_t refusals_count;
    uint32_t timeout_ms;       /* idle, P-043: 60000 */
    uint32_t max_channels;     /* P-012: 100 */
    uint32_t max_frame_bytes;  /* P-075: 10000000 */
    uint32_t max_topic_bytes;  /* P-151: 1024 */
    const char *id; /* what the sockets of a user are known by (P-010), with {user_id}; NULL: nothing */
    enum origin_check origin_check;
    const char *host;     /* the name under which clients know this gateway; NULL: what they say in Host */
    char *const *origins; /* patterns for origin_parse_pattern() */
    uint32_t origins_count;
    struct remote_function origin_function;
    struct slice origin_args; /* terms, one after another: what it is called with behind the URI */
    uint32_t origin_args_count;
    const struct channel_config *channels;
    uint32_t channels_count;
};

enum { FILES_PER_TLS_CLIENT = 3 }; /* descriptors of one client that speaks TLS to us */

/* One port that clients can reach. */
struct listener_config {
    const char *address;
    uint16_t port;   /* 0: the kernel chooses */
    bool reuse_port; /* SO_REUSEPORT: several workers share the port */
    struct tls_context *tls; /* borrowed; NULL: no TLS */
    bool proxy_protocol;     /* only for trusted proxies, which say who the client is before anything else */
};

struct edge_options {
    uv_loop_t *loop;
    struct call_ops call; /* for remote functions; not needed where there are none */
    struct timers *timers;
    struct metrics *metrics;
    struct gather *gather; /* is told of clients' messages; NULL: nobody is */
    struct gateway *gateway; /* may be set later with edge_set_gateway() */
    struct process_table *processes;
    struct config_db *db;       /* for the function list of the console page */
    const struct listener_config *listeners; /* default: one, 127.0.0.1 and a port that the kernel chooses */
    uint32_t listeners_count;
    const struct ip_range *trusted; /* proxies that are believed what they say about the client */
    uint32_t trusted_count;
    const struct socket_config *sockets;
    uint32_t sockets_count;
    struct client_limits *limits;          /* may change while the edge runs */
    size_t max_buffered_bytes;      /* unsent bytes of one client before it is closed as too slow */
    uint32_t max_unread_ms;         /* time for it to take 64 KiB of them: 30000 */
    struct json_limits json;        /* of a client's message; beyond them the socket closes with 1011 */
    size_t max_held_bytes;          /* the same of all clients, and of messages that are still coming in */
    bool console;                   /* serve the page at / and the function list it needs */
    const char *console_phoenix_js; /* path of the phoenix.js that the page loads, read at start; NULL: a small client
                                       that is built in */
    /* For /ready: fills a short reason when not ready. */
    bool (*ready)(void *ctx, char *reason, size_t size);
    void *ready_ctx;
};

/* Fills the defaults; loop, timers, metrics, limits, processes, db and sockets stay for the caller. */
void edge_options_default(struct edge_options *o);
/* The defaults of one socket (P-150), of one channel. */
void socket_config_default(struct socket_config *c);
void channel_config_default(struct channel_config *c);
/* Listens. The options' arrays and strings are borrowed until edge_free(). NULL with a text for the operator. */
struct edge *edge_new(const struct edge_options *o, struct err *e) MUST_CHECK;
/* Drops every client and runs the loop until all handles are closed; not from a callback. The gateway and the process
 * table must still be there: channels end in both. */
void edge_free(struct edge *ed);
/* Until then requests are answered with an error. NULL takes the gateway away again: its requests must be gone. */
void edge_set_gateway(struct edge *ed, struct gateway *gw);
/* The frames of the rules reach the clients through these. */
struct client_ops edge_client_ops(struct edge *ed);
/* Writes out what the sockets hold; called once per loop turn by the server, before it waits. */
void edge_flush(struct edge *ed);
/* Refuses new clients, closes the others with 1012 in batches of batch every interval_ms (P-083, P-074 want), then
 * calls done(ctx). */
void edge_drain(struct edge *ed, uint32_t batch, uint32_t interval_ms, void (*done)(void *ctx), void *ctx);
/* Calls fn for up to max WebSockets that came after the one called after (0: from the first), in the order in which
 * they came, each with the process that stands for it: for diagnostics. Returns how many these were. fn changes
 * nothing. */
uint32_t edge_each_client(const struct edge *ed, uint32_t after, uint32_t max,
                          void (*fn)(void *ctx, uint32_t id, handle_t process, int fd, size_t unsent_bytes), void *ctx);
/* One WebSocket, for showing it. Slices and path are valid during the call. */
struct edge_client {
    uint32_t id; /* as in the log's conn=N */
    size_t unsent_bytes;
    struct slice user_id; /* empty: none */
    struct slice ip_address;
    const char *path; /* of its socket in the configuration */
    uint32_t channels;
};
/* The same, with what is shown of it to people. */
uint32_t edge_next_clients(const struct edge *ed, uint32_t after, uint32_t max,
                           void (*fn)(void *ctx, const struct edge_client *c), void *ctx);
/* Closes the sockets with that id (socket_config.id) with 1001, as a broadcast of "disconnect" does in Phoenix (P-010).
 * Returns how many that were. */
uint32_t edge_disconnect(struct edge *ed, struct slice id);
/* Clients that hold a socket now: WebSockets, and HTTP requests in progress. */
uint32_t edge_connections(const struct edge *ed);
/* The port of listener i. */
uint16_t edge_port(const struct edge *ed, uint32_t i);

#endif
