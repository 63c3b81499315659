/*
 * entrance.h: the ways in: the listening sockets, and what happens to a connection from there until the HTTP server
 * has it. Here is decided whether there is room, and who the client is.
 */
#ifndef BEAMGATE_ENTRANCE_H
#define BEAMGATE_ENTRANCE_H

#include "edge.h"
#include "http_server.h"

struct entrance;

struct entrance_options {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    const struct listener_config *listeners; /* at least one */
    uint32_t listeners_count;
    const struct ip_range *trusted; /* proxies */
    uint32_t trusted_count;
    struct client_limits *limits;
    struct gate *gate;
    struct http_server *http;
    /* Clients that others hold and that count towards LIMIT_CONNECTIONS. */
    uint32_t (*others)(void *ctx);
    void *ctx;
};

/* Listens everywhere, or nowhere: NULL with a text for the operator. */
struct entrance *entrance_new(const struct entrance_options *o, struct err *e) MUST_CHECK;
/* Lets nobody in from now on (the ports are closed). */
void entrance_stop(struct entrance *en);
/* Runs the loop until its handles are closed. Not from a callback. NULL is allowed. */
void entrance_free(struct entrance *en);
/* A request has been read from a client: where it came by way of a trusted proxy, its own address is found, and it is
 * counted at the gate only now. False: it is refused there. */
bool entrance_identify(struct entrance *en, const struct http_head *h, struct client_source *from) MUST_CHECK;
/* Clients on their way to HTTP, and those whose TLS is not yet at its end though HTTP is. */
uint32_t entrance_count(const struct entrance *en);
/* The TCP socket of a client with from->transport, for asking the kernel about it and nothing else; -1: gone. */
int entrance_tcp(const struct entrance *en, handle_t transport);
/* The port of listener i. */
uint16_t entrance_port(const struct entrance *en, uint32_t i);

#endif
