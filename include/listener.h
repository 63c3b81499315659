/*
 * listener.h: a listening socket. Accepts in batches, and goes on when file descriptors run out. What becomes of a
 * connection is its owner's affair.
 */
#ifndef BEAMGATE_LISTENER_H
#define BEAMGATE_LISTENER_H

#include <uv.h>

#include "base.h"
#include "timers.h"

struct listener;

struct listener_options {
    uv_loop_t *loop;
    struct timers *timers;
    const char *address; /* an IP address */
    uint16_t port;       /* 0: the kernel chooses */
    bool reuse_port;     /* SO_REUSEPORT: several processes share the port */
    /* A new connection: fd is the callee's, non-blocking. */
    void (*accepted)(void *ctx, int fd, const struct sockaddr *peer);
    /* The same, but there is no descriptor for another one: turn it away at once. */
    void (*starved)(void *ctx, int fd);
    void *ctx;
};

/* Listens. NULL with a text for the operator. */
struct listener *listener_new(const struct listener_options *o, struct err *e) MUST_CHECK;
/* Accepts nothing for so long; who comes meanwhile waits in the kernel's queue. Also from `accepted`. */
void listener_pause(struct listener *l, uint64_t delay_us);
/* Refuses connections from now on (the port is closed). */
void listener_stop(struct listener *l);
/* Runs the loop until its handle is closed. Not from a callback. NULL is allowed. */
void listener_free(struct listener *l);
uint16_t listener_port(const struct listener *l);

#endif
