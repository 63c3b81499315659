/*
 * connect.h: clients about whom a function of the services decides, as Phoenix asks UserSocket.connect/3. Who asks
 * waits without holding anything up, and what is no clear yes is a no.
 */
#ifndef BEAMGATE_CONNECT_H
#define BEAMGATE_CONNECT_H

#include "client_source.h"
#include "http_routes.h"

struct connects;

struct connect_options {
    struct call_ops call;
    struct timers *timers;
    struct metrics *metrics;
    /* The answer for a client that connects_ask() left waiting. up is the callee's to end with identity_fini() when
     * accepted; its key is valid during the call. When not, up->refusal says what the answer is. */
    void (*done)(void *ctx, handle_t client, struct upgrade *up, bool accepted);
    void *ctx;
};

/* The options are copied, what they point to is borrowed. NULL without memory. */
struct connects *connects_new(const struct connect_options *o) MUST_CHECK;
/* Forgets who waits. NULL is allowed. */
void connects_free(struct connects *cs);
/* Asks the function of up->who.ask. 0: accepted at once, since it has said yes to the same before; up->who is filled.
 * BG_EMORE: up has been taken over, *tag is for connects_hold(). BG_EINVAL: refused, counted and logged. */
int connects_ask(struct connects *cs, const struct http_head *h, const struct client_source *from, struct upgrade *up,
                 uint64_t *tag) MUST_CHECK;
/* Who waits: what done() is called with. HANDLE_NONE forgets the question. */
void connects_hold(struct connects *cs, uint64_t tag, handle_t client);
/* The client has gone: nobody waits for the answer any more. Harmless on a stale tag. */
void connects_forget(struct connects *cs, uint64_t tag);

#endif
