/*
 * entrance.c: see entrance.h. Knows no protocol itself; it says in which order a connection passes through the hands of
 * those that do.
 *
 * Invariant: whoever is not let in has been counted, and the reason is in the log.
 */
#include "entrance.h"

#include <stdlib.h>

#include "listener.h"
#include "log.h"

struct way {
    struct entrance *entrance;
    const struct listener_config *config;
    struct listener *listener;
};

struct entrance {
    struct entrance_options o;
    struct way *ways; /* one per listener */
};

static void refuse(const struct way *w, int fd, unsigned status)
{
    metric_inc(w->entrance->o.metrics, METRIC_CLIENT_REFUSED);
    http_refuse(fd, status);
}

static void on_starved(void *ctx, int fd)
{
    refuse(ctx, fd, 503);
}

/* Whoever is in already keeps his place; accepting only pauses, so nobody is turned away for the others' haste. */
static void pace(struct way *w)
{
    const uint64_t least_us = 10000; /* shorter pauses cost more than they smooth */
    uint64_t us = gate_pause_us(w->entrance->o.gate, w->entrance->o.timers->now_us);
    if (us)
        listener_pause(w->listener, us > least_us ? us : least_us);
}

static void on_accepted(void *ctx, int fd, const struct sockaddr *peer)
{
    struct way *w = ctx;
    struct entrance_options *o = &w->entrance->o;
    struct client_source from;
    metric_inc(o->metrics, METRIC_CLIENT_ACCEPTED);
    pace(w);
    client_source_init(&from, peer);
    if (http_server_count(o->http) + o->others(o->ctx) >= o->limits->value[LIMIT_CONNECTIONS] &&
        limit_refuse(o->limits, LIMIT_CONNECTIONS, 0, slice_str(from.text))) {
        refuse(w, fd, 503);
        return;
    }
    if (!gate_enter(o->gate, &from, o->timers->now_us)) {
        refuse(w, fd, 429);
        return;
    }
    http_server_adopt(o->http, fd, &from);
}

static int way_open(struct way *w, struct err *e)
{
    const struct entrance_options *o = &w->entrance->o;
    const struct listener_options lo = {
        .loop = o->loop,
        .timers = o->timers,
        .address = w->config->address,
        .port = w->config->port,
        .reuse_port = w->config->reuse_port,
        .accepted = on_accepted,
        .starved = on_starved,
        .ctx = w,
    };
    w->listener = listener_new(&lo, e);
    if (!w->listener)
        return BG_ESYS;
    log_info("edge", "listening for clients", "address=%s port=%u max_connections=%u", w->config->address,
             listener_port(w->listener), o->limits->value[LIMIT_CONNECTIONS]);
    return BG_OK;
}

struct entrance *entrance_new(const struct entrance_options *o, struct err *e)
{
    struct entrance *en = calloc(1, sizeof(*en));
    if (en)
        en->ways = calloc(o->listeners_count, sizeof(*en->ways));
    if (!en || !en->ways) {
        free(en);
        err_set(e, BG_ENOMEM, 0, "no memory");
        return NULL;
    }
    en->o = *o;
    for (uint32_t i = 0; i < o->listeners_count; i++) {
        en->ways[i] = (struct way){.entrance = en, .config = &o->listeners[i]};
        if (way_open(&en->ways[i], e) != BG_OK) {
            entrance_free(en);
            return NULL;
        }
    }
    return en;
}

void entrance_stop(struct entrance *en)
{
    for (uint32_t i = 0; i < en->o.listeners_count; i++)
        if (en->ways[i].listener)
            listener_stop(en->ways[i].listener);
}

void entrance_free(struct entrance *en)
{
    if (!en)
        return;
    for (uint32_t i = 0; i < en->o.listeners_count; i++)
        listener_free(en->ways[i].listener);
    free(en->ways);
    free(en);
}

uint16_t entrance_port(const struct entrance *en, uint32_t i)
{
    return listener_port(en->ways[i].listener);
}
