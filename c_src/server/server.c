/*
 * server.c: puts the parts together, runs the loop, and takes everything apart again.
 *
 * One turn of the loop: due timers, then what the turn before has gathered for other nodes and for clients is written
 * out, then wait, then the clock, then whatever libuv has. So a request costs no system call of its own, and
 * every callback sees the present time: libuv has no hook between its wait and its callbacks, hence the wait
 * is here, on libuv's own descriptor, and libuv itself never waits.
 *
 * Invariant: after server_new() every member exists until server_free(); ending begins in exactly one
 * place, begin_drain(). What the parts mean to each other is in their headers; nothing is decided here but order.
 */
#define _GNU_SOURCE
#include "server_state.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "certificates.h"
#include "ctl.h"
#include "diag.h"
#include "executor.h"
#include "telemetry_handlers.h"

/* Descriptors beside the clients': links to other nodes, epmd, the log, libuv's own. */
enum { FILES_BESIDE_CLIENTS = 1024, FAILED_CONFIGS_MAX = 1000, TIMERS_A_TURN = 1000 };

/* ---- between the parts --------------------------------------------------------------------------------- */

/* The cluster exists before what its events go to; no event comes before the loop turns, so all are there by then. */
static void on_packet(void *ctx, struct dist_link *l, struct slice packet)
{
    struct server *s = ctx;
    dist_dispatch_packet(s->dispatch, l, packet);
}

static void on_link_up(void *ctx, struct dist_link *l)
{
    struct server *s = ctx;
    dist_dispatch_link_up(s->dispatch, l);
    observer_link_up(s, l);
    config_puller_link_up(s->puller, dist_link_node(l));
    if (s->pubsub)
        pg_scope_link_up(s->pubsub, l);
}

static void on_link_down(void *ctx, struct dist_link *l, const char *reason)
{
    struct server *s = ctx;
    (void)reason;
    observer_link_down(s, l);
    dist_dispatch_link_down(s->dispatch, l);
    telemetry_link_down(s->telemetry_handlers, dist_link_handle(l));
    if (s->gateway)
        gateway_node_down(s->gateway, dist_link_node(l));
}

/* ---- ending -------------------------------------------------------------------------------------------- */

/* server_run() returns at the end of this turn; the first reason to end is the exit code. */
static void finish(struct server *s, int exit_code)
{
    if (!s->done)
        s->exit_code = exit_code;
    s->done = true;
}

static void on_left_cluster(void *ctx)
{
    struct server *s = ctx;
    s->left_cluster = true;
    finish(s, EXIT_STOPPED);
}

/* Clients first, then the cluster: what is in flight for a client may still be answered while it is being closed. */
static void on_clients_gone(void *ctx)
{
    struct server *s = ctx;
    log_info("server", "all clients closed, leaving the cluster", "");
    process_end_all(s->processes, "shutdown"); /* D-17: monitors fire before the link goes */
    cluster_stop(s->cluster, on_left_cluster, s);
}

static void on_drain_timeout(struct timer *t)
{
    struct server *s = container_of(t, struct server, drain_timer);
    log_warning("server", "stopping before all is closed: drain.timeout_ms is over", "connections=%u",
                edge_connections(s->edge));
    finish(s, EXIT_FORCED);
}

/* The only way to an orderly end. /ready says no from here on, so that a load balancer looks elsewhere. */
static void begin_drain(struct server *s)
{
    const struct drain_settings *d = &s->live->drain;
    s->draining = true;
    log_info("server", "stopping: closing clients with 1012", "connections=%u batch=%u interval_ms=%u",
             edge_connections(s->edge), d->batch, d->interval_ms);
    server_notify("STOPPING=1");
    s->drain_timer.fn = on_drain_timeout;
    if (timer_arm_in(&s->timers, &s->drain_timer, (uint64_t)d->timeout_ms * 1000) != BG_OK)
        finish(s, EXIT_FORCED);
    edge_drain(s->edge, d->batch, d->interval_ms, on_clients_gone, s);
}

void server_stop(struct server *s)
{
    if (!s->draining) {
        begin_drain(s);
    } else if (!s->done) {
        log_warning("server", "stopping at once: asked a second time", "connections=%u", edge_connections(s->edge));
        finish(s, EXIT_FORCED);
    }
}

/* ---- signals ------------------------------------------------------------------------------------------- */

/* What there is to say is said in the log. */
static void reload(struct server *s)
{
    struct reload_report report;
    reload_report_init(&report);
    int rc = server_reload(s, &report);
    (void)rc;
    reload_report_fini(&report);
}

static void on_signal(uv_signal_t *h, int signum)
{
    struct server *s = h->data;
    if (signum == SIGUSR1)
        server_log_state(s);
    else if (signum == SIGHUP)
        reload(s);
    else
        server_stop(s);
}

/* libuv hands signals to the loop: whatever they cause happens between two callbacks, never inside one. */
static void start_signals(struct server *s)
{
    static const int wanted[SERVER_SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    for (unsigned i = 0; i < SERVER_SIGNALS; i++) {
        assert_always(uv_signal_init(&s->loop, &s->signals[i]) == 0);
        s->signals[i].data = s;
        assert_always(uv_signal_start(&s->signals[i], on_signal, wanted[i]) == 0);
    }
    s->has_signals = true;
}

static void stop_signals(struct server *s)
{
    for (unsigned i = 0; s->has_signals && i < SERVER_SIGNALS; i++)
        uv_close((uv_handle_t *)&s->signals[i], NULL);
    s->has_signals = false;
}

/* ---- starting ------------------------------------------------------------------------------------------ */

static bool has_tls(const struct server_config *c)
{
    for (uint32_t i = 0; i <= c->listeners_count; i++)
        if (config_listener(c, i).tls_certificate)
            return true;
    return false;
}

/* Sets the soft limit to what the configuration needs. Returns how many clients fit: more would be an accept() that
 * fails over and over instead of the answer that max_connections gives. */
static uint32_t limit_files(const struct server_config *c)
{
    struct rlimit r;
    rlim_t each = has_tls(c) ? FILES_PER_TLS_CLIENT : 1;
    rlim_t clients = c->limits.max_connections, want = clients * each + FILES_BESIDE_CLIENTS;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return c->limits.max_connections;
    if (r.rlim_max != RLIM_INFINITY && r.rlim_max < want) {
        clients = (r.rlim_max > 2 * FILES_BESIDE_CLIENTS ? r.rlim_max - FILES_BESIDE_CLIENTS : r.rlim_max / 2) / each;
        want = r.rlim_max;
        log_warning("server", "the limit of open files allows fewer clients than limits.max_connections",
                    "max_connections=%llu open_files=%llu hint=\"raise LimitNOFILE in the systemd unit, or ulimit -n\"",
                    (unsigned long long)clients, (unsigned long long)want);
    }
    r.rlim_cur = want;
    if (setrlimit(RLIMIT_NOFILE, &r) < 0)
        log_warning("server", "cannot set the limit of open files", "wanted=%llu", (unsigned long long)want);
    return (uint32_t)clients;
}

/* Each start_x() fills one part of *s and leaves it NULL when it fails: server_free() takes any prefix apart. */
static int start_cluster(struct server *s, const char *cookie, struct err *e)
{
    const struct node_settings *n = &s->config->node;
    struct cluster_options o;
    int rc = node_identity_init(&s->self, slice_str(n->name), slice_str(cookie), e);
    if (rc != BG_OK)
        return rc;
    cluster_options_default(&o);
    o.loop = &s->loop;
    o.timers = &s->timers;
    o.metrics = &s->metrics;
    o.self = &s->self;
    o.events = (struct cluster_events){on_packet, on_link_up, on_link_down, s};
    o.listen_address = n->listen_address;
    o.listen_port = n->listen_port;
    o.epmd = is_on(n->epmd);
    o.tick_interval_s = n->tick_interval_s;
    o.handshake_timeout_s = n->handshake_timeout_s;
    o.reconnect_min_ms = n->reconnect_min_ms;
    o.reconnect_max_ms = n->reconnect_max_ms;
    o.max_packet_bytes = n->max_packet_bytes;
    o.max_output_bytes = n->max_output_bytes;
    o.max_pending = n->max_pending;
    o.tls = s->node_tls;
    o.tls_check_host = is_on(n->tls_check_host);
    s->cluster = cluster_new(&o, e);
    return s->cluster ? BG_OK : BG_ESYS;
}

static enum call_way call_way(const struct server *s)
{
    return s->config->node.call_way == CALL_WAY_SPAWN ? CALL_SPAWN : CALL_REX;
}

/* Calls are bounded by who makes them: a request has one, Origins, connects and joins have bounds of their own, and
 * pulls are few. So this bound is only what can never be meant. */
static int start_processes(struct server *s, struct err *e)
{
    const struct server_config *c = s->config;
    s->processes = process_table_new(&s->self, s->cluster, &s->metrics, c->limits.max_processes);
    s->calls = remote_calls_new(&s->self, s->cluster, &s->timers, &s->metrics, 2 * GATEWAY_IN_FLIGHT_MAX);
    if (!s->processes || !s->calls)
        return err_set(e, BG_ENOMEM, 0, "no memory for the process table");
    if (server_rpc_start(s) != BG_OK)
        return err_set(e, BG_ENOMEM, 0, "no memory for the functions that other nodes may call");
    s->dispatch = dist_dispatch_new(&s->self, s->processes, s->calls, &s->rpc, &s->metrics);
    if (!s->dispatch)
        return err_set(e, BG_ENOMEM, 0, "no memory for the dispatcher");
    int rc = observer_start(s);
    if (rc == BG_OK)
        rc = library_servers_start(s);
    return rc == BG_OK ? BG_OK : err_set(e, rc, 0, "no room for the gateway's own processes");
}

static struct slice optional(const char *text)
{
    return text ? slice_str(text) : SLICE_NONE;
}

static int start_receiver(struct server *s, struct err *e)
{
    const struct push_settings *p = &s->config->push;
    struct config_receiver_options o = {
        .db = s->db,
        .failed = s->failed,
        .puller = s->puller,
        .metrics = &s->metrics,
        .rules = &s->access.rules,
        .token = optional(p->token),
        .allow = s->access.push_rules,
        .allow_count = s->access.push_rules_count,
        .max_services = p->max_services,
        .timers = &s->timers,
        .connect = server_stay_connected,
        .release = server_release_node,
        .changed = server_pushes_changed,
        .telemetry = &s->telemetry,
        .ctx = s,
    };
    s->receiver = config_receiver_new(&o);
    return s->receiver ? BG_OK : err_set(e, BG_ENOMEM, 0, "no memory for the pushed services");
}

static int start_configs(struct server *s, struct err *e)
{
    const struct server_config *c = s->config;
    int rc = access_init(&s->access, c, e);
    if (rc != BG_OK)
        return rc;
    s->db = config_db_new(&s->metrics, c->limits.max_functions);
    s->failed = config_failed_new(FAILED_CONFIGS_MAX);
    struct config_puller_options o = {
        .call = remote_calls_ops(s->calls, call_way(s)),
        .timers = &s->timers,
        .metrics = &s->metrics,
        .db = s->db,
        .failed = s->failed,
        .rules = &s->access.rules,
        .pull_timeout_ms = c->pull.timeout_ms,
        .pull_interval_ms = c->pull.interval_ms,
        .telemetry = &s->telemetry,
    };
    s->puller = s->db && s->failed ? config_puller_new(&o) : NULL;
    return s->puller ? start_receiver(s, e) : err_set(e, BG_ENOMEM, 0, "no memory for the function store");
}

/* The edge checks messages by these; the request pipeline need not be stricter. */
static struct json_limits json_limits(const struct server *s)
{
    return (struct json_limits){.max_depth = s->config->requests.max_depth, .max_keys = s->config->requests.max_keys};
}

static int make_trusted(struct server *s, struct err *e)
{
    const struct listen_settings *l = &s->config->listen;
    s->trusted = calloc(l->trusted_proxies_count + 1, sizeof(*s->trusted));
    if (!s->trusted)
        return err_set(e, BG_ENOMEM, 0, "no memory for the trusted proxies");
    for (uint32_t i = 0; i < l->trusted_proxies_count; i++)
        if (ip_range_parse(slice_str(l->trusted_proxies[i]), &s->trusted[i]) != BG_OK) /* checked by config_load() */
            return err_set(e, BG_EINVAL, 0, "%s is no range of addresses", l->trusted_proxies[i]);
    return BG_OK;
}

static int start_edge(struct server *s, struct err *e)
{
    const struct server_config *c = s->config;
    struct edge_options o;
    int rc = make_trusted(s, e);
    if (rc == BG_OK)
        rc = server_make_sockets(s, e);
    if (rc != BG_OK)
        return rc;
    edge_options_default(&o);
    o.loop = &s->loop;
    o.timers = &s->timers;
    o.metrics = &s->metrics;
    o.gather = &s->gather;
    o.call = remote_calls_ops(s->calls, call_way(s));
    o.processes = s->processes;
    o.db = s->db;
    o.listeners = s->listeners;
    o.listeners_count = s->listeners_count;
    o.trusted = s->trusted;
    o.trusted_count = c->listen.trusted_proxies_count;
    o.sockets = s->sockets;
    o.sockets_count = c->sockets_count;
    o.limits = &s->limits;
    o.max_buffered_bytes = c->limits.max_buffered_bytes;
    o.max_unread_ms = c->limits.max_unread_ms;
    o.json = json_limits(s);
    o.console = is_on(c->console.enabled);
    o.console_phoenix_js = c->console.phoenix_js;
    o.ready = server_ready;
    o.ready_ctx = s;
    s->edge = edge_new(&o, e);
    return s->edge ? BG_OK : BG_ESYS;
}

/* The gateway needs the edge's way to the clients and the edge the gateway: the edge comes first, without it. */
static int start_gateway(struct server *s, struct err *e)
{
    const struct requests_settings *r = &s->config->requests;
    struct gateway_options o;
    gateway_options_default(&o);
    o.db = s->db;
    o.timers = &s->timers;
    o.metrics = &s->metrics;
    o.limiter = s->limiter;
    o.limits = &s->limits;
    o.call = remote_calls_ops(s->calls, call_way(s));
    o.client = executor_client_ops(s, edge_client_ops(s->edge));
    o.stream = server_stream_ops(s);
    o.json = json_limits(s);
    o.max_in_flight = r->max_in_flight;
    o.max_in_flight_per_channel = r->max_in_flight_per_channel;
    o.max_payload_bytes = r->max_payload_bytes;
    o.async_limit = r->async_limit;
    o.async_queue = r->async_queue;
    o.breaker_threshold = r->breaker_threshold;
    o.breaker_cooldown_ms = r->breaker_cooldown_ms;
    o.nodes_cache_ms = r->nodes_cache_ms;
    o.rules = &s->access.rules;
    o.hook_node = r->hook_node ? slice_str(r->hook_node) : SLICE_NONE;
    o.retry_on_error = is_on(r->retry_on_error);
    o.detail_error = is_on(r->detail_error);
    o.pass_error_reason = is_on(r->pass_error_reason);
    o.fallback_on_exit = is_on(r->fallback_on_exit);
    o.string_max_bytes = r->string_max_bytes;
    o.list_max_items = r->list_max_items;
    o.map_max_items = r->map_max_items;
    o.telemetry = &s->telemetry;
    s->tracer = tracer_new(s);
    if (s->tracer)
        o.trace = tracer_ops(s->tracer);
    s->gateway = s->tracer ? gateway_new(&o) : NULL;
    if (!s->gateway)
        return err_set(e, BG_ENOMEM, 0, "no memory for the gateway");
    edge_set_gateway(s->edge, s->gateway);
    if (r->hook_node)
        server_stay_connected(s, o.hook_node);
    return BG_OK;
}

/* After the cluster, in the order in which they need each other. */
static int (*const parts[])(struct server *s, struct err *e) = {
    start_processes, start_configs,      start_edge,          server_start_limiter,
    start_gateway,   server_start_pubsub, server_add_services, server_start_snapshot,
};

static int start(struct server *s, const char *cookie, struct err *e)
{
    int rc = certificates_start(s, e);
    if (rc == BG_OK)
        rc = start_cluster(s, cookie, e);
    for (size_t i = 0; rc == BG_OK && i < ARRAY_SIZE(parts); i++)
        rc = parts[i](s, e);
    return rc;
}

/* Last, so that whoever finds the socket finds everything. */
static int start_ctl(struct server *s, struct err *e)
{
    char path[512];
    if (!ctl_socket_path(s->config, path, sizeof(path)))
        return BG_OK;
    s->ctl = ctl_server_new(s, path, s->config->control.max_clients, e);
    return s->ctl ? BG_OK : BG_ESYS;
}

struct server *server_new(const struct server_config *config, const char *cookie, bool handle_signals, struct err *e)
{
    uint64_t now = clock_now_us();
    struct server *s = calloc(1, sizeof(*s));
    if (!s || uv_loop_init(&s->loop) != 0) {
        free(s);
        err_set(e, BG_ENOMEM, 0, "no memory for the loop");
        return NULL;
    }
    s->config = s->live = config;
    s->started_us = now;
    timers_init(&s->timers, now);
    loop_meter_init(&s->loop_meter, now);
    signal(SIGPIPE, SIG_IGN); /* a peer that goes away is an error code, not the end */
    s->max_connections = limit_files(config);
    limit_init(&s->limits, &s->metrics);
    server_apply_limits(s, config);
    if (handle_signals)
        start_signals(s);
    if (start(s, cookie, e) != BG_OK || start_ctl(s, e) != BG_OK) {
        server_free(s);
        return NULL;
    }
    server_log_start(s);
    return s;
}

uint16_t server_port(const struct server *s)
{
    return edge_port(s->edge, 0);
}

/* ---- the loop ------------------------------------------------------------------------------------------ */

/* Where many ask all the time, the loop is better woken for ten of them than for two: see gather.h. Also when libuv
 * would not wait: libwebsockets asks for one more turn after each that brought something, which then finds the next
 * two or three. */
static void let_gather(struct server *s, uint64_t now_us)
{
    uint64_t turn_us = gather_turn_us(&s->gather, now_us), took_us = now_us - s->waited_us;
    s->waited_us = now_us;
    if (took_us >= turn_us)
        return;
    struct timespec pause = {.tv_nsec = (long)(turn_us - took_us) * 1000};
    nanosleep(&pause, NULL);
    s->waited_us = clock_now_us();
}

/* Until the earliest of libuv's and our own timers, or a descriptor. */
static void wait_for_events(struct server *s)
{
    uv_update_time(&s->loop);
    int uv_ms = uv_backend_timeout(&s->loop);
    uint64_t now = clock_now_us(), next = timers_next(&s->timers);
    loop_meter_end(&s->loop_meter, now);
    uint64_t ours = next == UINT64_MAX ? UINT64_MAX : next > now ? next - now : 0;
    uint64_t theirs = uv_ms < 0 ? UINT64_MAX : (uint64_t)uv_ms * 1000;
    uint64_t wait_us = ours < theirs ? ours : theirs;
    if (ours > GATHER_TURN_MAX_US)
        let_gather(s, now);
    if (wait_us > 0) {
        struct pollfd fd = {.fd = uv_backend_fd(&s->loop), .events = POLLIN};
        struct timespec ts = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
        ppoll(&fd, 1, wait_us == UINT64_MAX ? NULL : &ts, NULL);
    }
    s->timers.now_us = clock_now_us();
    loop_meter_begin(&s->loop_meter, s->timers.now_us, next);
}

/* A name that another node holds is not worth trying again: D-07. */
static void check_cluster(struct server *s)
{
    struct err e;
    if (s->draining || !cluster_failed(s->cluster, &e))
        return;
    log_error("server", "the node cannot join the cluster", "reason=\"%s\"", e.text);
    finish(s, EXIT_FAILED);
}

/* Once: systemd counts a service as started from here on, whatever becomes of its nodes later. */
static void tell_ready(struct server *s)
{
    char reason[128];
    if (s->ready_told || !server_ready(s, reason, sizeof(reason)))
        return;
    s->ready_told = true;
    log_info("server", "ready", "functions=%zu ready_ms=%.1f", config_db_count(s->db),
             (double)(clock_now_us() - s->started_us) / 1000.0);
    server_notify("READY=1");
}

/* Timers are bounded so that a burst of deadlines cannot keep the sockets waiting; the rest comes in the next turn. */
static void turn(struct server *s)
{
    timers_run(&s->timers, s->timers.now_us, TIMERS_A_TURN);
    check_cluster(s);
    tell_ready(s);
    cluster_flush(s->cluster);
    edge_flush(s->edge);
    wait_for_events(s);
    uv_run(&s->loop, UV_RUN_NOWAIT);
}

int server_run(struct server *s)
{
    s->timers.now_us = clock_now_us();
    while (!s->done)
        turn(s);
    log_info("server", "stopped", "exit_code=%d", s->exit_code);
    return s->exit_code;
}

/* ---- taking apart -------------------------------------------------------------------------------------- */

static void on_left_late(void *ctx)
{
    struct server *s = ctx;
    s->left_cluster = true;
}

/* Turns the loop until *until holds or limit_us is over. */
static void turn_until(struct server *s, const bool *until, uint64_t limit_us)
{
    uint64_t end = clock_now_us() + limit_us;
    while (!*until && (s->timers.now_us = clock_now_us()) < end) {
        timers_run(&s->timers, s->timers.now_us, TIMERS_A_TURN);
        cluster_flush(s->cluster);
        if (!*until && uv_run(&s->loop, UV_RUN_NOWAIT) != 0)
            uv_sleep(1);
    }
}

/* Not drained: a start that failed, or a stop at once. The others are told that this node goes, but not waited for. */
static void leave_cluster(struct server *s)
{
    if (!s->cluster || s->left_cluster)
        return;
    if (s->processes)
        process_end_all(s->processes, "shutdown");
    cluster_stop(s->cluster, on_left_late, s);
    turn_until(s, &s->left_cluster, 3000000);
}

/* Lets closing callbacks run; what holds the loop longer than this is a leak of ours. */
static void close_loop(struct server *s)
{
    for (int i = 0; i < 100 && uv_loop_alive(&s->loop); i++)
        uv_run(&s->loop, UV_RUN_NOWAIT);
    if (uv_loop_close(&s->loop) != 0)
        log_error("server", "handles are left in the loop", "");
}

/* Upper parts first: each may still speak to the ones it was built on. */
static void free_parts(struct server *s)
{
    server_end_snapshot(s);
    executor_end(s);
    tracer_free(s->tracer);
    gateway_free(s->gateway);
    server_stop_limiter(s);
    config_receiver_free(s->receiver);
    config_puller_free(s->puller);
    server_stop_pubsub(s);
    observer_end(s);
    diag_end(s);
    dist_dispatch_free(s->dispatch);
    remote_calls_free(s->calls);
    server_rpc_end(s);
    process_table_free(s->processes);
    cluster_free(s->cluster);
    config_failed_free(s->failed);
    config_db_free(s->db);
    access_fini(&s->access);
    node_identity_fini(&s->self);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    timer_disarm(&s->timers, &s->drain_timer);
    ctl_server_free(s->ctl);
    if (s->edge)
        edge_free(s->edge);
    leave_cluster(s);
    free_parts(s);
    server_free_sockets(s);
    stop_signals(s);
    close_loop(s);
    certificates_end(s);
    free(s->trusted);
    timers_fini(&s->timers);
    config_free(s->reloaded);
    free(s);
}
