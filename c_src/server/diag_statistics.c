/*
 * diag_statistics.c: statistics (O-050..O-052) and debug_report (O-060). What a part says of itself comes from the
 * function that it offers by rpc, so that the two cannot differ.
 */
#define _GNU_SOURCE
#include "diag.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "breaker.h"
#include "observer.h"

#define LIBRARY "Elixir.PhoenixGenApi."

/* ---- vm ------------------------------------------------------------------------------------------------ */

struct totals {
    uint64_t uptime_ms;
    uint64_t runtime_ms;
    uint64_t reductions; /* messages of clients and nodes that were worked on */
};

static struct totals totals_now(const struct server *s)
{
    struct busy busy = observer_busy(s);
    return (struct totals){
        .uptime_ms = busy.total_us / 1000,
        .runtime_ms = busy.active_us / 1000,
        .reductions = s->metrics.value[METRIC_LINK_PACKETS_IN] + s->metrics.value[METRIC_CLIENT_FRAMES_IN],
    };
}

/* Of the whole process: the loop's thread and libuv's. */
static uint64_t context_switches(void)
{
    struct rusage u = {0};
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)u.ru_nvcsw + (uint64_t)u.ru_nivcsw;
}

static void put_pairs(struct server *s, struct buf *out)
{
    const struct diag_last was = s->diag_last;
    struct totals now = totals_now(s);
    diag_put_since(out, "context_switches", context_switches(), 0);
    diag_put_since(out, "reductions", now.reductions, now.reductions - was.reductions);
    diag_put_since(out, "exact_reductions", now.reductions, now.reductions - was.reductions);
    diag_put_since(out, "runtime", now.runtime_ms, now.runtime_ms - was.runtime_ms);
    diag_put_since(out, "uptime", now.uptime_ms, now.uptime_ms - was.uptime_ms);
    s->diag_last = (struct diag_last){now.uptime_ms, now.runtime_ms, now.reductions};
}

/* [{1, Active, Total}]: one scheduler, the loop's thread. */
static void put_scheduler(const struct server *s, struct buf *out)
{
    struct busy busy = observer_busy(s);
    diag_key(out, "scheduler_wall_time");
    term_put_list(out, 1);
    term_put_tuple(out, 3);
    term_put_uint(out, 1);
    term_put_uint(out, busy.active_us);
    term_put_uint(out, busy.total_us);
    term_put_nil(out);
}

static void put_vm(struct server *s, struct buf *out)
{
    term_put_map(out, 14);
    diag_put_uint(out, "process_count", process_count(s->processes));
    diag_put_uint(out, "process_limit", s->config ? s->config->limits.max_processes : process_count(s->processes));
    diag_put_uint(out, "port_count", observer_port_count(s));
    diag_put_uint(out, "ets_count", observer_table_count(s));
    diag_put_uint(out, "schedulers", 1);
    diag_put_uint(out, "schedulers_online", 1);
    diag_key(out, "memory");
    observer_put_memory_map(s, out);
    diag_key(out, "garbage_collection"); /* there is no collector */
    term_put_tuple(out, 3);
    for (unsigned i = 0; i < 3; i++)
        term_put_uint(out, 0);
    put_pairs(s, out);
    put_scheduler(s, out);
}

/* ---- parts --------------------------------------------------------------------------------------------- */

/* {status: ok, data: What}, or as the library says it of a part that does not run (O-051). */
static void put_part(struct server *s, const char *key, const char *module, struct buf *out)
{
    size_t before = out->len;
    diag_key(out, key);
    term_put_map(out, 2);
    diag_put_word(out, "status", "ok");
    diag_key(out, "data");
    if (diag_put_answer(s, module, "status", out) || !buf_ok(out))
        return;
    buf_truncate(out, before);
    diag_key(out, key);
    term_put_map(out, 2);
    diag_put_word(out, "status", "error");
    diag_put_word(out, "reason", "not_started");
}

static void put_config_db(struct server *s, struct buf *out)
{
    diag_key(out, "config_db");
    term_put_map(out, 4);
    diag_put_word(out, "status", "ok");
    diag_put_uint(out, "count", config_db_count(s->db));
    diag_key(out, "services");
    if (!diag_put_answer(s, LIBRARY "ConfigDb", "get_all_services", out))
        term_put_nil(out);
    diag_key(out, "ets");
    observer_put_table_map(s, LIBRARY "ConfigDb", out);
}

static bool any_breaker_open(const struct server *s)
{
    struct breaker_info b;
    for (size_t pos = 0; breakers_next(gateway_breakers(s->gateway), &pos, &b);)
        if (b.state != BREAKER_CLOSED)
            return true;
    return false;
}

void diag_put_pool(const struct server *s, bool stream, struct buf *out)
{
    uint32_t idle = 0;
    struct gateway_pool p = {0};
    if (s->gateway)
        p = gateway_pool(s->gateway, stream, &idle);
    term_put_map(out, 6);
    diag_put_uint(out, "idle_workers", idle);
    diag_put_uint(out, "busy_workers", p.running);
    diag_put_uint(out, "queued_tasks", p.queued);
    diag_put_flag(out, "circuit_open", s->gateway && any_breaker_open(s));
    diag_put_uint(out, "total_tasks_executed", p.executed);
    diag_put_uint(out, "total_tasks_failed", p.failed);
}

static void put_pools(const struct server *s, struct buf *out)
{
    diag_key(out, "worker_pool");
    term_put_map(out, 2);
    for (int stream = 0; stream < 2; stream++) {
        diag_key(out, stream ? "stream_pool" : "async_pool");
        term_put_map(out, 2);
        diag_put_word(out, "status", "ok");
        diag_key(out, "data");
        diag_put_pool(s, stream, out);
    }
}

/* As many as Telemetry.list_events names. */
static uint32_t telemetry_events(struct server *s)
{
    struct buf list;
    uint32_t n = 0;
    buf_init(&list, 0);
    if (diag_put_answer(s, LIBRARY "Telemetry", "list_events", &list) && buf_ok(&list)) {
        struct term_reader r = term_reader(buf_slice(&list));
        if (term_read_list(&r, &n) != BG_OK)
            n = 0;
    }
    buf_fini(&list);
    return n;
}

static void put_own(const struct server *s, struct buf *out)
{
    diag_key(out, "beamgate");
    term_put_map(out, 7);
    diag_put_string(out, "version", BEAMGATE_VERSION);
    diag_put_uint(out, "connections", s->edge ? edge_connections(s->edge) : 0);
    diag_put_uint(out, "requests_in_flight", s->gateway ? gateway_in_flight(s->gateway) : 0);
    diag_put_uint(out, "calls_in_flight", s->calls ? remote_calls_in_flight(s->calls) : 0);
    diag_key(out, "loop");
    diag_put_loop(s, out);
    diag_key(out, "malloc");
    diag_put_malloc(out);
    diag_key(out, "metrics");
    diag_put_metrics(s, out);
}

void diag_put_statistics(struct server *s, struct buf *out)
{
    term_put_map(out, 5);
    diag_put_word(out, "node", s->self.name);
    diag_key(out, "collected_at_ms");
    term_put_int(out, rpc_now_ms());
    diag_key(out, "vm");
    put_vm(s, out);
    diag_key(out, "phoenix_gen_api");
    term_put_map(out, 8);
    diag_put_flag(out, "client_mode", false);
    diag_put_uint(out, "telemetry_events", telemetry_events(s));
    put_config_db(s, out);
    put_part(s, "config_puller", LIBRARY "ConfigPuller", out);
    put_part(s, "config_receiver", LIBRARY "ConfigReceiver", out);
    put_part(s, "rate_limiter", LIBRARY "RateLimiter", out);
    put_pools(s, out);
    put_part(s, "relay", LIBRARY "RelayServer", out);
    put_own(s, out);
}

/* ---- debug_report -------------------------------------------------------------------------------------- */

struct sized {
    handle_t process;
    uint64_t bytes;
};

static int by_size(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

/* Puts one in the place of the smallest of a heap whose smallest is the first. */
static void replace_smallest(struct sized *heap, uint32_t n, struct sized one)
{
    uint32_t at = 0, child;
    while ((child = 2 * at + 1) < n) {
        if (child + 1 < n && heap[child + 1].bytes < heap[child].bytes)
            child++;
        if (one.bytes <= heap[child].bytes)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = one;
}

/* Puts the largest of the first DIAG_PROCESSES_READ into heap, which holds limit zeros, and sorts it: they come first.
 * Returns how many there are. */
static uint32_t largest(const struct server *s, struct sized *heap, uint32_t limit)
{
    uint32_t read = 0, pos = 0;
    handle_t p;
    for (; limit && read < DIAG_PROCESSES_READ && (p = process_next(s->processes, &pos)) != HANDLE_NONE; read++) {
        struct sized one = {p, observer_process_bytes(s, p)};
        if (one.bytes > heap[0].bytes)
            replace_smallest(heap, limit, one);
    }
    if (limit > 0)
        qsort(heap, limit, sizeof(*heap), by_size);
    return read < limit ? read : limit;
}

static void put_processes(const struct server *s, uint32_t limit, bool stacktraces, struct buf *out)
{
    limit = limit < DIAG_PROCESSES_MAX ? limit : DIAG_PROCESSES_MAX;
    struct sized *kept = calloc(limit + 1u, sizeof(*kept));
    uint32_t n = kept ? largest(s, kept, limit) : 0;
    struct list_mark m = list_open(out);
    for (; m.count < n; m.count++)
        diag_put_process(s, kept[m.count].process, stacktraces, out);
    list_close(out, &m);
    free(kept);
}

void diag_put_debug_report(const struct server *s, uint32_t process_limit, bool stacktraces, struct buf *out)
{
    static const struct {
        const char *key;
        const char *table;
    } tables[] = {
        {"PhoenixGenApi.ConfigDb", LIBRARY "ConfigDb"},
        {":rate_limiter_global", "rate_limiter_global"},
        {":rate_limiter_api", "rate_limiter_api"},
        {"PhoenixGenApi.RelayRegistry", LIBRARY "RelayRegistry"},
        {":phoenix_gen_api_relay_groups", "phoenix_gen_api_relay_groups"},
    };
    term_put_map(out, 5);
    diag_put_word(out, "node", s->self.name);
    diag_key(out, "collected_at_ms");
    term_put_int(out, rpc_now_ms());
    diag_key(out, "processes");
    put_processes(s, process_limit, stacktraces, out);
    diag_key(out, "ets_tables");
    term_put_map(out, ARRAY_SIZE(tables));
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        term_put_text(out, tables[i].key);
        observer_put_table_map(s, tables[i].table, out);
    }
    diag_key(out, "trace");
    diag_put_trace_status(s, out);
}
