/*
 * proxy_server.h: connections that a proxy forwards, until it has said who the client is (PROXY protocol). Only for
 * listeners that are for such proxies, and for peers that are trusted: who that is is the caller's to check.
 */
#ifndef BEAMGATE_PROXY_SERVER_H
#define BEAMGATE_PROXY_SERVER_H

#include <uv.h>

#include "client_source.h"
#include "limit.h"
#include "timers.h"

struct proxy_server;

struct proxy_server_options {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    struct client_limits *limits; /* LIMIT_HANDSHAKE: from accept to the end of the header; LIMIT_PENDING */
    /* The client is known: fd is the callee's; behind the header nothing has been read. way: as given to adopt. */
    void (*ready)(void *way, int fd, struct client_source *from);
};

/* The options are copied, what they point to is borrowed. NULL without memory. */
struct proxy_server *proxy_server_new(const struct proxy_server_options *o) MUST_CHECK;
/* Drops everybody; runs the loop until its handles are closed. Not from a callback. NULL is allowed. */
void proxy_server_free(struct proxy_server *s);
/* Reads the header from fd, which is the server's from now on. */
void proxy_server_adopt(struct proxy_server *s, int fd, const struct client_source *from, void *way);
/* Connections whose header is not complete. */
uint32_t proxy_server_count(const struct proxy_server *s);

#endif
