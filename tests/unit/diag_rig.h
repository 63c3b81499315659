/*
 * diag_rig.h: a server without sockets, as far as Diagnostics looks at it, and what its functions answer by rpc.
 */
#ifndef BEAMGATE_DIAG_RIG_H
#define BEAMGATE_DIAG_RIG_H

#include "unit.h"

#include <stdio.h>

#include "../../c_src/server/diag.h"
#include "log.h"
#include "term_text.h"

#define DIAG "Elixir.PhoenixGenApi.Diagnostics"

static struct server server;
static struct server_config config;
static struct buf term, out, text;

static bool no_node_up(void *ctx, struct slice node)
{
    (void)ctx;
    (void)node;
    return false;
}

static uint32_t no_nodes(void *ctx, struct buf *names)
{
    (void)ctx;
    (void)names;
    return 0;
}

static int rig_start_configs(void)
{
    server.db = config_db_new(&server.metrics, 20000);
    server.failed = config_failed_new(10);
    struct config_puller_options po = {.call = {.node_up = no_node_up},
                                       .timers = &server.timers,
                                       .metrics = &server.metrics,
                                       .db = server.db,
                                       .failed = server.failed};
    server.puller = config_puller_new(&po);
    struct config_receiver_options ro = {
        .db = server.db, .failed = server.failed, .puller = server.puller, .metrics = &server.metrics};
    server.receiver = config_receiver_new(&ro);
    return server.puller && server.receiver ? 0 : -1;
}

static int rig_start(void **state)
{
    (void)state;
    memset(&server, 0, sizeof(server));
    memset(&config, 0, sizeof(config));
    snprintf(server.self.name, sizeof(server.self.name), "gw@127.0.0.1");
    server.self.creation = 77;
    config.limits.max_processes = 10000;
    server.config = &config;
    server.started_us = clock_now_us() - 5000000;
    loop_meter_init(&server.loop_meter, server.started_us);
    timers_init(&server.timers, clock_now_us());
    buf_init(&term, 0);
    buf_init(&out, 0);
    buf_init(&text, 0);
    server.processes = process_table_new(&server.self, NULL, &server.metrics, 10000);
    assert_int_equal(server_rpc_start(&server), BG_OK);
    assert_int_equal(observer_start(&server), BG_OK);
    struct gateway_options o;
    gateway_options_default(&o);
    o.timers = &server.timers;
    o.metrics = &server.metrics;
    o.call = (struct call_ops){.node_up = no_node_up, .nodes = no_nodes};
    log_set_level(LOG_ERROR);
    if (rig_start_configs() != 0)
        return -1;
    o.db = server.db;
    server.tracer = tracer_new(&server);
    o.trace = tracer_ops(server.tracer);
    server.gateway = gateway_new(&o);
    return server.gateway ? 0 : -1;
}

static int rig_stop(void **state)
{
    (void)state;
    tracer_free(server.tracer);
    gateway_free(server.gateway);
    rate_limiter_free(server.limiter);
    config_receiver_free(server.receiver);
    config_puller_free(server.puller);
    observer_end(&server);
    server_rpc_end(&server);
    process_table_free(server.processes);
    config_failed_free(server.failed);
    config_db_free(server.db);
    timers_fini(&server.timers);
    buf_fini(&term);
    buf_fini(&out);
    buf_fini(&text);
    return 0;
}

/* What module:function(args) gives, in out; args as Elixir writes a list. */
static enum rpc_outcome rig_run(const char *module, const char *function, const char *args)
{
    struct rpc_call call = {.module = slice_str(module), .function = slice_str(function)};
    bool known;
    buf_reset(&out);
    buf_reset(&term);
    enum rpc_outcome outcome = rpc_run(&server.rpc, &call, term_of(&term, args), &out, &known);
    if (!known)
        fail_msg("%s:%s is not there", module, function);
    return outcome;
}

/* Of Diagnostics: one well-formed term, which is returned. */
static inline struct slice rig_answer(const char *function, const char *args)
{
    size_t used;
    assert_int_equal(rig_run(DIAG, function, args), RPC_RETURN);
    assert_true(buf_ok(&out));
    assert_int_equal(term_check(out.data, out.len, TERM_DEPTH_DEFAULT, &used, NULL), BG_OK);
    assert_int_equal(used, out.len);
    return buf_slice(&out);
}

static inline void rig_refuses(const char *function, const char *args)
{
    assert_int_equal(rig_run(DIAG, function, args), RPC_ERROR);
    assert_true(term_is_atom(buf_slice(&out), "function_clause"));
}

/* The value at a path of atom keys, separated by dots. */
static struct slice at(struct slice map, const char *path)
{
    char key[128];
    while (*path) {
        size_t n = strcspn(path, ".");
        assert_true(n < sizeof(key));
        memcpy(key, path, n);
        key[n] = '\0';
        if (!term_map_get(map, key, &map))
            fail_msg("no key %s", key);
        path += path[n] ? n + 1 : n;
    }
    return map;
}

static const char *shown(struct slice value)
{
    buf_reset(&text);
    term_inspect(value, &text, 1 << 20);
    buf_putc(&text, '\0');
    return (const char *)text.data;
}

static inline void expect_at(struct slice map, const char *path, const char *want)
{
    const char *got = shown(at(map, path));
    if (strcmp(got, want) != 0)
        fail_msg("%s is %s, not %s", path, got, want);
}

/* The same term, whatever the order of its maps' keys. */
static inline void expect_term(struct slice got, const char *want)
{
    struct buf b;
    buf_init(&b, 0);
    if (!term_equal(got, term_of(&b, want)))
        fail_msg("got %s, want %s", shown(got), want);
    buf_fini(&b);
}

/* The map at path has exactly these keys, separated by blanks. */
static inline void expect_keys(struct slice map, const char *path, const char *keys)
{
    struct slice m = at(map, path), value;
    struct term_reader r = term_reader(m);
    uint32_t n, found = 0;
    char key[128];
    assert_int_equal(term_read_map(&r, &n), BG_OK);
    for (const char *p = keys; *p; p += strspn(p, " "), found++) {
        size_t len = strcspn(p, " ");
        memcpy(key, p, len);
        key[len] = '\0';
        if (!term_map_get(m, key, &value))
            fail_msg("%s has no key %s: %s", path, key, shown(m));
        p += len;
    }
    if (n != found)
        fail_msg("%s has %u keys, not %u: %s", path, n, found, shown(m));
}

static inline int64_t number_at(struct slice map, const char *path)
{
    struct term_reader r = term_reader(at(map, path));
    int64_t v;
    if (term_read_int(&r, &v) != BG_OK)
        fail_msg("%s is no integer", path);
    return v;
}

/* A function in the store: fields as Elixir writes them, besides service and request_type. */
static inline void rig_put(const char *service, const char *type, const char *more)
{
    static struct fun_config_reasons why;
    char source[4000];
    struct buf t;
    buf_init(&t, 0);
    snprintf(
        source, sizeof(source),
        "%%{__struct__: PhoenixGenApi.Structs.FunConfig, service: %s, request_type: %s, mfa: {MyApp.Api, :get, []}, "
        "%s}",
        service, type, more);
    struct fun_config *fc = fun_config_from_term(term_of(&t, source), SLICE_NONE, &why);
    if (!fc)
        fail_msg("%s: %s", source, why.text[0]);
    assert_int_equal(config_db_put(server.db, fc, SLICE_LIT("source")), BG_OK);
    fun_config_unref(fc);
    buf_fini(&t);
}

#endif
