/*
 * dist_dial.c: see dist_dial.h. A host may have several addresses and a node listens on some of them: each is tried in
 * turn, IPv4 first, because a BEAM listens on IPv4 unless told otherwise (-proto_dist inet6_tcp).
 *
 * Invariant: fn is called at most once for each dist_dial_new() and dist_dial_next(), and never after a cancel. A name
 * lookup that runs in the thread pool cannot be stopped; then the object outlives its cancelling until that ends.
 * It keeps no time: whoever dials sets the deadline and cancels.
 */
#include "dist_dial.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "epmd.h"

enum { ADDRESSES_MAX = 8, HOST_MAX = NODE_NAME_MAX };

struct dist_dial {
    uv_loop_t *loop;
    dist_dial_fn *fn;
    void *ctx;
    char alive[NODE_NAME_MAX + 1];
    uint16_t port; /* given by the caller, or 0 */
    struct sockaddr_storage address[ADDRESSES_MAX];
    unsigned count;
    unsigned next;
    const char *why; /* of the last address that failed */
    uv_getaddrinfo_t resolve;
    bool resolving;
    bool cancelled;
    struct epmd_lookup *lookup;
};

static void set_port(struct sockaddr_storage *a, uint16_t port)
{
    if (a->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)a)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)a)->sin_port = htons(port);
}

/* The words for an operator, by what went wrong last. */
static const char *hint_for(const struct dist_dial *d)
{
    if (d->count == 0)
        return "check the part behind the @ of its name, and DNS";
    return d->port ? "is the node running, and the port right?" : "is the node running, and its epmd reachable?";
}

static void give_up(struct dist_dial *d)
{
    dist_dial_fn *fn = d->fn;
    void *ctx = d->ctx;
    const char *why = d->why, *hint = hint_for(d);
    dist_dial_cancel(d);
    fn(ctx, BG_EGONE, NULL, why, hint);
}

static void looked_up(void *ctx, int rc, const struct epmd_answer *a, const char *why)
{
    struct dist_dial *d = ctx;
    d->lookup = NULL;
    if (rc == BG_OK && a->highest >= 6) {
        struct sockaddr_storage *addr = &d->address[d->next - 1];
        set_port(addr, a->port);
        d->fn(d->ctx, BG_OK, (struct sockaddr *)addr, NULL, NULL);
        return;
    }
    dist_dial_next(d, rc == BG_OK ? "the node is older than OTP 23" : why);
}

void dist_dial_next(struct dist_dial *d, const char *why)
{
    d->why = why;
    while (d->next < d->count) {
        struct sockaddr_storage *addr = &d->address[d->next++];
        if (d->port) {
            set_port(addr, d->port);
            d->fn(d->ctx, BG_OK, (struct sockaddr *)addr, NULL, NULL);
            return;
        }
        set_port(addr, epmd_port());
        d->lookup = epmd_lookup_new(d->loop, (struct sockaddr *)addr, slice_str(d->alive), looked_up, d);
        if (d->lookup)
            return;
        d->why = "its epmd cannot be reached";
    }
    give_up(d);
}

static void keep_family(struct dist_dial *d, const struct addrinfo *ai, int family)
{
    for (; ai && d->count < ADDRESSES_MAX; ai = ai->ai_next)
        if (ai->ai_family == family && ai->ai_addrlen <= sizeof(d->address[0]))
            memcpy(&d->address[d->count++], ai->ai_addr, ai->ai_addrlen);
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *ai)
{
    struct dist_dial *d = container_of(req, struct dist_dial, resolve);
    d->resolving = false;
    if (status == 0 && !d->cancelled) {
        keep_family(d, ai, AF_INET);
        keep_family(d, ai, AF_INET6);
    }
    uv_freeaddrinfo(ai);
    if (d->cancelled)
        free(d);
    else
        dist_dial_next(d, status == 0 ? "host has no usable address" : "host name is not known");
}

struct dist_dial *dist_dial_new(uv_loop_t *loop, struct slice alive, struct slice host, uint16_t port, dist_dial_fn *fn,
                                void *ctx)
{
    struct dist_dial *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    char name[HOST_MAX + 1];
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM};
    d->loop = loop;
    d->fn = fn;
    d->ctx = ctx;
    d->port = port;
    slice_cstr(alive, d->alive, sizeof(d->alive));
    slice_cstr(host, name, sizeof(name));
    d->resolving = uv_getaddrinfo(loop, &d->resolve, resolved, name, NULL, &wanted) == 0;
    if (d->resolving)
        return d;
    free(d);
    return NULL;
}

void dist_dial_late(struct dist_dial *d)
{
    epmd_lookup_cancel(d->lookup);
    d->lookup = NULL;
    dist_dial_next(d, d->resolving ? "its host name is not resolved in time" : "its epmd does not answer in time");
}

void dist_dial_cancel(struct dist_dial *d)
{
    if (!d)
        return;
    epmd_lookup_cancel(d->lookup);
    d->lookup = NULL;
    d->cancelled = true;
    if (d->resolving)
        uv_cancel((uv_req_t *)&d->resolve); /* the callback comes in any case and frees */
    else
        free(d);
}
