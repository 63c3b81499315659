/*
 * entrance.c: see entrance.h. Knows no protocol itself; it says in which order a connection passes through the hands of
 * those that do.
 *
 * Invariant: whoever is not let in has been counted, and the reason is in the log.
 */
#include "entrance.h"

#include <stdlib.h>
#include <unistd.h>

#include "listener.h"
#include "log.h"
#include "proxy_server.h"
#include "tls_server.h"

struct way {
    struct entrance *entrance;
    const struct listener_config *config;
    struct listener *listener;
};

struct entrance {
    struct entrance_options o;
    struct way *ways; /* one per listener */
    struct proxy_server *proxies;
    struct tls_server *tls;
};

static void refuse(const struct way *w, int fd, unsigned status)
{
    metric_inc(w->entrance->o.metrics, METRIC_CLIENT_REFUSED);
    if (w->config->tls)
        close(fd); /* an answer would cost a handshake */
    else
        http_refuse(fd, status);
}

/* From here on it speaks HTTP in plaintext. */
static void to_http(void *ctx, int fd, const struct client_source *from)
{
    const struct entrance *en = ctx;
    http_server_adopt(en->o.http, fd, from);
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

static bool is_trusted(const struct entrance_options *o, const struct client_source *from)
{
    return ip_in_ranges(&from->address, o->trusted, o->trusted_count);
}

/* The client's address is known, as far as the connection tells it. A trusted proxy is not counted itself: its clients
 * are, when their requests have been read (entrance_identify). */
static void let_in(void *ctx, int fd, struct client_source *from)
{
    struct way *w = ctx;
    struct entrance_options *o = &w->entrance->o;
    if (!is_trusted(o, from) && !gate_enter(o->gate, from, o->timers->now_us))
        refuse(w, fd, 429);
    else if (w->config->tls)
        tls_server_adopt(w->entrance->tls, fd, w->config->tls, from);
    else
        to_http(w->entrance, fd, from);
}

static void refuse_stranger(struct way *w, int fd, const struct client_source *from)
{
    metric_inc(w->entrance->o.metrics, METRIC_PROXY_REFUSED);
    log_limited(LOG_WARNING, "edge", "proxy refused",
                "peer=%s reason=\"not a trusted proxy\" hint=\"see listen.trusted_proxies\"", from->text);
    close(fd);
}

static void on_accepted(void *ctx, int fd, const struct sockaddr *peer)
{
    struct way *w = ctx;
    struct entrance_options *o = &w->entrance->o;
    struct client_source from;
    metric_inc(o->metrics, METRIC_CLIENT_ACCEPTED);
    pace(w);
    client_source_init(&from, peer, o->timers->now_us);
    if (entrance_count(w->entrance) + http_server_count(o->http) + o->others(o->ctx) >=
            o->limits->value[LIMIT_CONNECTIONS] &&
        limit_refuse(o->limits, LIMIT_CONNECTIONS, 0, slice_str(from.text))) {
        refuse(w, fd, 503);
        return;
    }
    if (!w->config->proxy_protocol)
        let_in(w, fd, &from);
    else if (is_trusted(o, &from))
        proxy_server_adopt(w->entrance->proxies, fd, &from, w);
    else
        refuse_stranger(w, fd, &from);
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
    log_info("edge", "listening for clients", "address=%s port=%u tls=%s proxy_protocol=%s max_connections=%u",
             w->config->address, listener_port(w->listener), w->config->tls ? "yes" : "no",
             w->config->proxy_protocol ? "yes" : "no", o->limits->value[LIMIT_CONNECTIONS]);
    return BG_OK;
}

static int start_steps(struct entrance *en, const struct entrance_options *o)
{
    const struct tls_server_options to = {
        .loop = o->loop,
        .timers = o->timers,
        .metrics = o->metrics,
        .limits = o->limits,
        .gate = o->gate,
        .ready = to_http,
        .ctx = en,
    };
    en->o = *o;
    const struct proxy_server_options po = {
        .loop = o->loop,
        .timers = o->timers,
        .metrics = o->metrics,
        .limits = o->limits,
        .ready = let_in,
    };
    en->tls = tls_server_new(&to);
    en->proxies = en->tls ? proxy_server_new(&po) : NULL;
    return en->proxies ? BG_OK : BG_ENOMEM;
}

struct entrance *entrance_new(const struct entrance_options *o, struct err *e)
{
    struct entrance *en = calloc(1, sizeof(*en));
    if (en)
        en->ways = calloc(o->listeners_count, sizeof(*en->ways));
    if (!en || !en->ways || start_steps(en, o) != BG_OK) {
        if (en) {
            tls_server_free(en->tls);
            free(en->ways);
        }
        free(en);
        err_set(e, BG_ENOMEM, 0, "no memory");
        return NULL;
    }
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
    proxy_server_free(en->proxies);
    tls_server_free(en->tls);
    free(en->ways);
    free(en);
}

bool entrance_identify(struct entrance *en, const struct http_head *h, struct client_source *from)
{
    const struct entrance_options *o = &en->o;
    if (!is_trusted(o, from))
        return true;
    client_source_forwarded(from, h, o->trusted, o->trusted_count);
    return gate_enter(o->gate, from, o->timers->now_us);
}

uint32_t entrance_count(const struct entrance *en)
{
    return tls_server_count(en->tls) + proxy_server_count(en->proxies);
}

int entrance_tcp(const struct entrance *en, handle_t transport)
{
    return tls_server_tcp(en->tls, transport);
}

uint16_t entrance_port(const struct entrance *en, uint32_t i)
{
    return listener_port(en->ways[i].listener);
}
