/*
 * edge.c: see edge.h. Puts the parts together: entrance lets clients in, http_server reads requests, http_routes says
 * what they get, ws_server holds the WebSockets, phoenix_socket speaks the channel protocol on them.
 *
 * It holds no client itself; what it owns is the order in which the parts come up and go down.
 */
#include "edge.h"

#include <stdlib.h>
#include <unistd.h>

#include "authenticate.h"
#include "connect.h"
#include "entrance.h"
#include "gate.h"
#include "http_routes.h"
#include "http_server.h"
#include "log.h"
#include "origin_check.h"
#include "phoenix_socket.h"
#include "ws_server.h"

struct edge {
    struct edge_options o;
    struct http_routes routes;
    struct phoenix phoenix;
    struct entrance *entrance;
    struct http_server *http;
    struct ws_server *ws;
    struct gate *gate;
    struct connects *connects;
    struct origin_checks *origins;
    struct upgrade upgrade; /* between on_request() and on_upgrade(), which follows at once */
    struct timer drain;
    uint32_t drain_batch;
    uint32_t drain_interval_ms;
    void (*drain_done)(void *ctx);
    void *drain_ctx;
};

void channel_config_default(struct channel_config *c)
{
    *c = (struct channel_config){
        .topic = "*",
        .event = "phoenix_gen_api",
        .rules = {.override_user_id = true, .require_verified_user_id = true},
    };
}

void socket_config_default(struct socket_config *c)
{
    *c = (struct socket_config){
        .path = "/socket",
        .timeout_ms = 60000,
        .max_channels = 100,
        .max_frame_bytes = 10000000,
        .max_topic_bytes = 1024,
    };
}

static const struct listener_config default_listener = {.address = "127.0.0.1"};

void edge_options_default(struct edge_options *o)
{
    *o = (struct edge_options){
        .listeners = &default_listener,
        .listeners_count = 1,
        .max_buffered_bytes = 8 * 1024 * 1024,
        .max_unread_ms = 30000,
        .max_held_bytes = (size_t)512 * 1024 * 1024,
        .json = json_limits_default,
    };
}

static void on_connect_gone(void *ctx, uint64_t tag)
{
    struct edge *ed = ctx;
    connects_forget(ed->connects, tag);
}

/* True when the service has said yes before; else the client waits, or res is its answer. */
static bool ask_service(struct edge *ed, const struct http_head *h, const struct client_source *from,
                        struct http_response *res)
{
    uint64_t tag;
    int rc = connects_ask(ed->connects, h, from, &ed->upgrade, &tag);
    if (rc == BG_OK)
        return true;
    res->status = 403;
    if (rc == BG_EMORE) {
        handle_t client = http_server_hold(ed->http, on_connect_gone, tag);
        connects_hold(ed->connects, tag, client);
        res->status = 503; /* when it could not be held */
    }
    return false;
}

static void refuse_client(struct edge *ed, handle_t client, const struct refusal *how)
{
    struct http_response res = {.status = how ? how->status : 403};
    buf_init(&res.body, 0);
    if (how && how->body) {
        res.content_type = "text/plain; charset=utf-8";
        buf_puts(&res.body, how->body);
    }
    http_server_release(ed->http, client, &res);
    buf_fini(&res.body);
}

/* The service's answer for a client that waited. */
static void on_connect(void *ctx, handle_t client, struct upgrade *up, bool accepted)
{
    struct edge *ed = ctx;
    if (!accepted) {
        refuse_client(ed, client, up->refusal);
        return;
    }
    ed->upgrade = *up; /* for on_upgrade(), which is called now */
    http_server_release(ed->http, client, NULL);
}

static void on_origin_gone(void *ctx, uint64_t tag)
{
    struct edge *ed = ctx;
    origin_checks_forget(ed->origins, tag);
}

/* As ask_service(), about the Origin. */
static bool ask_origin(struct edge *ed, struct http_response *res)
{
    uint64_t tag;
    int rc = origin_checks_ask(ed->origins, ed->upgrade.config, ed->upgrade.ask_origin, &tag);
    if (rc == BG_OK)
        return true;
    res->status = 403;
    if (rc == BG_EMORE) {
        handle_t client = http_server_hold(ed->http, on_origin_gone, tag);
        origin_checks_hold(ed->origins, tag, client);
        res->status = 503;
    }
    return false;
}

/* Everything behind the Origin is still to be looked at: on_request() is called again. */
static void on_origin(void *ctx, handle_t client, bool allowed)
{
    struct edge *ed = ctx;
    if (allowed)
        http_server_resume(ed->http, client);
    else
        refuse_client(ed, client, NULL);
}

static unsigned on_identify(void *ctx, const struct http_head *h, struct client_source *from)
{
    const struct edge *ed = ctx;
    return entrance_identify(ed->entrance, h, from) ? 0 : 429;
}

/* What is to become of a request, as http_handlers.request(). */
static bool judge_request(struct edge *ed, const struct http_head *h, const struct client_source *from,
                          bool origin_allowed, struct http_response *res)
{
    ed->upgrade = (struct upgrade){.tls = from->tls, .origin_allowed = origin_allowed};
    identity_init(&ed->upgrade.who);
    bool upgrade = http_routes_answer(&ed->routes, h, res, &ed->upgrade);
    if (upgrade && ed->upgrade.who.ask)
        upgrade = ask_service(ed, h, from, res);
    if (!upgrade)
        identity_fini(&ed->upgrade.who);
    return upgrade;
}

static bool on_request(void *ctx, const struct http_head *h, const struct client_source *from, bool again,
                       struct http_response *res)
{
    struct edge *ed = ctx;
    bool upgrade = judge_request(ed, h, from, again, res);
    if (!upgrade || !ed->upgrade.ask_origin.len)
        return upgrade;
    return ask_origin(ed, res) && judge_request(ed, h, from, true, res);
}

/* Who is somebody counts as such. False: he has sockets enough. */
static bool seat_user(struct edge *ed, struct ws_conn *c, struct client_source *from)
{
    struct slice id = buf_slice(&ed->upgrade.who.user_id);
    struct gate_user *user = id.len ? gate_user_enter(ed->gate, id, slice_str(from->text)) : NULL;
    phoenix_socket_seat(c, from, user);
    return user || !id.len;
}

static void on_upgrade(void *ctx, int fd, const struct http_head *h, struct client_source *from)
{
    struct edge *ed = ctx;
    struct upgrade *up = &ed->upgrade;
    (void)h;
    struct ws_conn *c =
        phoenix_socket_new(&ed->phoenix, up->config, up->serializer, &up->who, slice_str(from->text));
    if (c)
        c->transport = from->transport;
    if (!c) {
        gate_leave(ed->gate, from, ed->o.timers->now_us);
        close(fd);
    } else if (!seat_user(ed, c, from)) {
        phoenix_socket_free(c);
        http_refuse(fd, 429);
    } else if (ws_adopt(ed->ws, c, fd, up->key, up->who.phoenix_subprotocol ? "phoenix" : NULL) != BG_OK) {
        log_limited(LOG_WARNING, "edge", "upgrade failed", "peer=%s", from->text);
        phoenix_socket_free(c);
    } else {
        log_debug("edge", "client connected", "conn=%u peer=%s user=%s", c->id, from->text,
                  log_text(buf_slice(&up->who.user_id)));
    }
    identity_fini(&up->who);
}

static uint32_t others(void *ctx)
{
    const struct edge *ed = ctx;
    return ws_count(ed->ws);
}

static int client_tcp(void *ctx, handle_t transport)
{
    const struct edge *ed = ctx;
    return ed->entrance ? entrance_tcp(ed->entrance, transport) : -1;
}

/* libwebsockets makes tables by descriptor; of a TLS client it gets one in three (tls_server.h). */
static uint32_t max_descriptors(const struct edge_options *o)
{
    for (uint32_t i = 0; i < o->listeners_count; i++)
        if (o->listeners[i].tls)
            return o->limits->value[LIMIT_CONNECTIONS] * FILES_PER_TLS_CLIENT;
    return o->limits->value[LIMIT_CONNECTIONS];
}

static int start_ws(struct edge *ed, struct err *e)
{
    const struct ws_options o = {
        .loop = ed->o.loop,
        .timers = ed->o.timers,
        .metrics = ed->o.metrics,
        .gather = ed->o.gather,
        .limits = ed->o.limits,
        .max_descriptors = max_descriptors(&ed->o),
        .max_buffered_bytes = ed->o.max_buffered_bytes,
        .max_unread_us = (uint64_t)ed->o.max_unread_ms * 1000,
        .max_held_bytes = ed->o.max_held_bytes,
        .handlers = phoenix_handlers(),
        .tcp = client_tcp,
        .ctx = ed,
    };
    ed->ws = ws_server_new(&o, e);
    return ed->ws ? BG_OK : BG_ESYS;
}

static int start_http(struct edge *ed, struct err *e)
{
    const struct http_options o = {
        .loop = ed->o.loop,
        .timers = ed->o.timers,
        .metrics = ed->o.metrics,
        .limits = ed->o.limits,
        .gate = ed->gate,
        .handlers = {.ctx = ed, .identify = on_identify,
                     .request = on_request,
                     .upgrade = on_upgrade},
    };
    ed->http = http_server_new(&o);
    return ed->http ? BG_OK : err_set(e, BG_ENOMEM, 0, "no memory");
}

static int start_questions(struct edge *ed, struct err *e)
{
    const struct connect_options o = {
        .call = ed->o.call, .timers = ed->o.timers, .metrics = ed->o.metrics, .done = on_connect, .ctx = ed};
    const struct origin_check_options origins = {
        .call = ed->o.call, .timers = ed->o.timers, .metrics = ed->o.metrics, .done = on_origin, .ctx = ed};
    ed->connects = connects_new(&o);
    ed->origins = origin_checks_new(&origins);
    return ed->connects && ed->origins ? BG_OK : err_set(e, BG_ENOMEM, 0, "no memory");
}

static int open_entrance(struct edge *ed, struct err *e)
{
    const struct entrance_options o = {
        .loop = ed->o.loop,
        .timers = ed->o.timers,
        .metrics = ed->o.metrics,
        .listeners = ed->o.listeners,
        .listeners_count = ed->o.listeners_count,
        .trusted = ed->o.trusted,
        .trusted_count = ed->o.trusted_count,
        .limits = ed->o.limits,
        .gate = ed->gate,
        .http = ed->http,
        .others = others,
        .ctx = ed,
    };
    ed->entrance = entrance_new(&o, e);
    return ed->entrance ? BG_OK : BG_ESYS;
}

struct edge *edge_new(const struct edge_options *o, struct err *e)
{
    struct edge *ed = calloc(1, sizeof(*ed));
    if (!ed) {
        err_set(e, BG_ENOMEM, 0, "no memory");
        return NULL;
    }
    ed->o = *o;
    ed->gate = gate_new(o->limits);
    if (!ed->gate) {
        err_set(e, BG_ENOMEM, 0, "no memory");
        free(ed);
        return NULL;
    }
    int rc = phoenix_init(&ed->phoenix, o->processes, &ed->o.call, o->metrics);
    ed->phoenix.limits = o->limits;
    ed->phoenix.gate = ed->gate;
    ed->phoenix.timers = o->timers;
    ed->phoenix.gateway = o->gateway;
    ed->phoenix.json = &ed->o.json;
    if (rc != BG_OK)
        err_set(e, rc, 0, "no memory");
    if (rc != BG_OK || http_routes_init(&ed->routes, &ed->o, e) != BG_OK || start_ws(ed, e) != BG_OK ||
        start_http(ed, e) != BG_OK || start_questions(ed, e) != BG_OK || open_entrance(ed, e) != BG_OK) {
        edge_free(ed);
        return NULL;
    }
    return ed;
}

void edge_free(struct edge *ed)
{
    if (!ed)
        return;
    timer_disarm(ed->o.timers, &ed->drain);
    entrance_free(ed->entrance);
    ed->entrance = NULL; /* client_tcp() may still be asked */
    http_server_free(ed->http);
    connects_free(ed->connects);
    origin_checks_free(ed->origins);
    ws_server_free(ed->ws);
    phoenix_fini(&ed->phoenix);
    gate_free(ed->gate);
    http_routes_fini(&ed->routes);
    free(ed);
}

void edge_set_gateway(struct edge *ed, struct gateway *gw)
{
    ed->phoenix.gateway = gw;
}

struct client_ops edge_client_ops(struct edge *ed)
{
    return phoenix_client_ops(&ed->phoenix);
}

void edge_flush(struct edge *ed)
{
    ws_flush(ed->ws);
}

/* One batch; the last look is only for connections to be gone. */
static void on_drain(struct timer *t)
{
    enum { LOOK_MS = 50 };
    struct edge *ed = container_of(t, struct edge, drain);
    uint32_t closed = ws_close_some(ed->ws, ed->drain_batch, WS_CLOSE_RESTART);
    if (edge_connections(ed) == 0) {
        ed->drain_done(ed->drain_ctx);
        return;
    }
    timer_arm_in(ed->o.timers, t, (uint64_t)(closed == ed->drain_batch ? ed->drain_interval_ms : LOOK_MS) * 1000);
}

void edge_drain(struct edge *ed, uint32_t batch, uint32_t interval_ms, void (*done)(void *ctx), void *ctx)
{
    entrance_stop(ed->entrance);
    ed->drain.fn = on_drain;
    ed->drain_batch = batch ? batch : 1;
    ed->drain_interval_ms = interval_ms;
    ed->drain_done = done;
    ed->drain_ctx = ctx;
    timer_arm_in(ed->o.timers, &ed->drain, 0);
}

struct each_client {
    void (*fn)(void *ctx, uint32_t id, handle_t process, int fd, size_t unsent_bytes);
    void *ctx;
    uint32_t count;
};

static void seen(void *ctx, const struct ws_conn *c, int fd, size_t unsent_bytes)
{
    struct each_client *e = ctx;
    e->fn(e->ctx, c->id, phoenix_socket_process(c), fd, unsent_bytes);
    e->count++;
}

uint32_t edge_each_client(const struct edge *ed, uint32_t after, uint32_t max,
                          void (*fn)(void *ctx, uint32_t id, handle_t process, int fd, size_t unsent_bytes), void *ctx)
{
    struct each_client e = {fn, ctx, 0};
    ws_each_after(ed->ws, after, max, seen, &e);
    return e.count;
}

struct next_clients {
    void (*fn)(void *ctx, const struct edge_client *c);
    void *ctx;
    uint32_t count;
};

static void shown(void *ctx, const struct ws_conn *c, int fd, size_t unsent_bytes)
{
    struct next_clients *n = ctx;
    struct edge_client client = {.id = c->id, .unsent_bytes = unsent_bytes};
    (void)fd;
    phoenix_socket_show(c, &client);
    n->fn(n->ctx, &client);
    n->count++;
}

uint32_t edge_next_clients(const struct edge *ed, uint32_t after, uint32_t max,
                           void (*fn)(void *ctx, const struct edge_client *c), void *ctx)
{
    struct next_clients n = {fn, ctx, 0};
    ws_each_after(ed->ws, after, max, shown, &n);
    return n.count;
}

uint32_t edge_disconnect(struct edge *ed, struct slice id)
{
    return phoenix_disconnect(&ed->phoenix, id);
}

uint32_t edge_connections(const struct edge *ed)
{
    return ws_count(ed->ws) + http_server_count(ed->http) + entrance_count(ed->entrance);
}

uint16_t edge_port(const struct edge *ed, uint32_t i)
{
    return entrance_port(ed->entrance, i);
}
