/*
 * tls_server.h: takes TLS off clients' connections. It does the handshake and hands on a stream socket on which the
 * client speaks plaintext; between the two sockets it carries the bytes until both sides have ended. Whoever gets the
 * plaintext socket need not know that there was TLS.
 */
#ifndef BEAMGATE_TLS_SERVER_H
#define BEAMGATE_TLS_SERVER_H

#include <uv.h>

#include "gate.h"
#include "metrics.h"
#include "timers.h"
#include "tls.h"

struct tls_server;

struct tls_server_options {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    struct client_limits *limits; /* LIMIT_HANDSHAKE: from accept to the end of the handshake; LIMIT_PENDING */
    struct gate *gate;
    /* The handshake is done: fd is the callee's, non-blocking. So is from->at. */
    void (*ready)(void *ctx, int fd, const struct client_source *from);
    void *ctx;
};

/* The options are copied, what they point to is borrowed. NULL without memory. */
struct tls_server *tls_server_new(const struct tls_server_options *o) MUST_CHECK;
/* Drops everybody; runs the loop until its handles are closed. Not from a callback. NULL is allowed. */
void tls_server_free(struct tls_server *s);
/* Begins the handshake on fd, which is the server's from now on, as is from->at. t must live as long as the connection.
 */
void tls_server_adopt(struct tls_server *s, int fd, struct tls_context *t, const struct client_source *from);
/* Connections in their handshake, and those whose plaintext side has ended, but not yet theirs. */
uint32_t tls_server_count(const struct tls_server *s);
/* The TCP socket behind from->transport, for asking the kernel about it and nothing else; -1 when it is gone. */
int tls_server_tcp(const struct tls_server *s, handle_t transport);

#endif
