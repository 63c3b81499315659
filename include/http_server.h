/*
 * http_server.h: the listening socket, and clients until they are answered or become WebSockets: accepting within a
 * bound, reading one request head against a deadline, writing one response, closing in order.
 */
#ifndef BEAMGATE_HTTP_SERVER_H
#define BEAMGATE_HTTP_SERVER_H

#include <uv.h>

#include "client_source.h"
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
    /* Fills res; or returns true when the client is to become a WebSocket: then upgrade() follows at once. */
    bool (*request)(void *ctx, const struct http_head *h, const struct client_source *from,
                    struct http_response *res);
    /* fd is the callee's, non-blocking; nothing behind the request head has been read from it. */
    void (*upgrade)(void *ctx, int fd, const struct http_head *h, const struct client_source *from);
    /* Clients that somebody else holds and that count towards max_connections. */
    uint32_t (*others)(void *ctx);
};

struct http_options {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    const char *address;
    uint16_t port;   /* 0: the kernel chooses */
    bool reuse_port; /* SO_REUSEPORT: several processes share the port */
    uint32_t max_connections;
    uint32_t timeout_ms; /* for the whole request head, and again for the response */
    struct http_handlers handlers;
};

struct http_server *http_server_new(const struct http_options *o, struct err *e) MUST_CHECK;
/* Refuses new clients from now on (the port is closed); those already here are answered. */
void http_server_stop(struct http_server *s);
/* Drops everybody; runs the loop until its handles are closed. Not from a callback. */
void http_server_free(struct http_server *s);
uint16_t http_server_port(const struct http_server *s);
/* Clients that are being read from or answered. */
uint32_t http_server_count(const struct http_server *s);

#endif
