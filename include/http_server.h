/*
 * http_server.h: clients until they are answered or become WebSockets: reading one request head against a deadline,
 * writing one response, closing in order. Who comes here is the entrance's affair.
 */
#ifndef BEAMGATE_HTTP_SERVER_H
#define BEAMGATE_HTTP_SERVER_H

#include <uv.h>

#include "gate.h"
#include "http_head.h"
#include "metrics.h"
#include "timers.h"

struct http_server;

struct http_response {
    unsigned status;
    const char *content_type; /* NULL: none */
    struct buf body;          /* emptied and freed by the server */
};

struct http_handlers {
    void *ctx;
    /* A request has been read: from may be changed to what it tells of the client. 0, or the status to refuse it
     * with. */
    unsigned (*identify)(void *ctx, const struct http_head *h, struct client_source *from);
    /* Fills res; or returns true when the client is to become a WebSocket: then upgrade() follows at once. Or it takes
     * http_server_hold(), and what it returns does not matter. again: the request was held, and http_server_resume()
     * has let it go on. */
    bool (*request)(void *ctx, const struct http_head *h, const struct client_source *from, bool again,
                    struct http_response *res);
    /* fd is the callee's, non-blocking; nothing behind the request head has been read from it. So is from->at. */
    void (*upgrade)(void *ctx, int fd, const struct http_head *h, struct client_source *from);
};

/* A held client has gone, or has waited until its deadline. ctx: that of the handlers. */
typedef void http_gone_fn(void *ctx, uint64_t tag);

struct http_options {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    struct client_limits *limits; /* LIMIT_HANDSHAKE: from accept to the end of the request head, and again for the response */
    struct gate *gate;
    struct http_handlers handlers;
};

/* The options are copied, what they point to is borrowed. NULL without memory. */
struct http_server *http_server_new(const struct http_options *o) MUST_CHECK;
/* Drops everybody; runs the loop until its handles are closed. Not from a callback. NULL is allowed. */
void http_server_free(struct http_server *s);
/* Serves a new client on the stream socket fd, which is the server's from now on, as is from->at: one request. */
void http_server_adopt(struct http_server *s, int fd, const struct client_source *from);
/* From within request(): the client waits for http_server_release() or http_server_resume(), as long as its deadline
 * allows. tag is what gone() is called with; the server's handlers hear no more of the client once it has been.
 * HANDLE_NONE without memory. */
handle_t http_server_hold(struct http_server *s, http_gone_fn *gone, uint64_t tag) MUST_CHECK;
/* Ends the waiting: request() is called again for the same request head. Harmless on a stale handle. */
void http_server_resume(struct http_server *s, handle_t held);
/* Ends the waiting: res NULL makes it a WebSocket (upgrade() is called, with h NULL), else it is answered with *res,
 * whose body stays the caller's. Harmless on a stale handle. */
void http_server_release(struct http_server *s, handle_t held, const struct http_response *res);
/* Clients that are being read from or answered. */
uint32_t http_server_count(const struct http_server *s);
/* Answers whoever is at fd with a status and no more, without reading, and closes it. */
void http_refuse(int fd, unsigned status);

#endif
