/*
 * sim.c: a simulator of the request pipeline. One run per seed: a world is made, some hundred events happen in an order
 * chosen by chance, and after each of them the oracle looks. A run ends in one of three ways: nothing is answered any
 * more and time passes beyond every timeout; all clients leave at once; or the gateway is freed as it stands.
 *
 * Usage: sim [SEEDS [FIRST]] | sim -s SEED, which runs one seed and prints its events. The same seed is the same run.
 */
#include "sim.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../asan.h"
#include "log.h"
#include "rate_limiter.h"

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

enum {
    EVENTS_MIN = 60,
    EVENTS_MORE = 240,
    TRACE_TAIL = 16384,  /* bytes of the trace that a report shows */
    SEEDS_PER_CHECK = 512, /* seeds between two searches for leaks */
    ROUNDS_MAX = 4000     /* of passing time at the end */
};

static struct sim *running;
static uint64_t product_random;

/* ---- chance ---- */

static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The program's own chances (linked with --wrap) come from the seed too. */
uint64_t __wrap_random_u64(void);
void __wrap_random_bytes(void *dst, size_t n);

uint64_t __wrap_random_u64(void)
{
    return mix(&product_random);
}

void __wrap_random_bytes(void *dst, size_t n)
{
    memset(dst, 0x5a, n); /* keys of hash tables, made once for all seeds */
}

uint32_t sim_random(struct sim *s, uint32_t below)
{
    return (uint32_t)(mix(&s->random) % below);
}

bool sim_chance(struct sim *s, uint32_t percent)
{
    return sim_random(s, 100) < percent;
}

void *sim_grow(void *array, uint32_t count, size_t size)
{
    if (count & (count - 1))
        return array; /* grows at 0, 1, 2, 4, ... */
    array = realloc(array, (count ? 2 * (size_t)count : 1) * size);
    assert_always(array);
    return array;
}

/* ---- reports ---- */

void sim_trace(struct sim *s, const char *fmt, ...)
{
    size_t from = s->trace.len;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&s->trace, fmt, ap);
    va_end(ap);
    buf_putc(&s->trace, '\n');
    if (s->tell)
        fwrite(s->trace.data + from, 1, s->trace.len - from, stdout);
}

static void report(const struct sim *s)
{
    static const char *const ways[] = {"own calls", "remote_call over rex", "remote_call over SPAWN_REQUEST"};
    size_t from = s->trace.len > TRACE_TAIL ? s->trace.len - TRACE_TAIL : 0;
    if (!s->tell)
        fprintf(stderr, "%s%.*s", from ? "...\n" : "", (int)(s->trace.len - from), (const char *)s->trace.data + from);
    fflush(stdout);
    fprintf(stderr, "sim: seed %llu (%s), step %u; replay with: make sim SEED=%llu\n", (unsigned long long)s->seed, ways[s->way],
            s->step, (unsigned long long)s->seed);
}

void sim_violation(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    report(s);
    fprintf(stderr, "sim: VIOLATION: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    _exit(1);
}

/* A crash has a seed too. */
static void on_crash(void)
{
    if (running)
        report(running);
}

static void on_abort(int sig)
{
    on_crash();
    _exit(128 + sig);
}

/* ---- a run ---- */

static struct rate_limiter *limiter_new(struct sim *s)
{
    const struct rate_limit limits[] = {
        {RATE_GLOBAL, {RATE_KEY_USER_ID, SLICE_NONE}, 1 + sim_random(s, 30), 10000, sim_chance(s, 30)},
        {{SLICE_LIT("svc"), SLICE_LIT("f1")}, {RATE_KEY_ARG, SLICE_LIT("k")}, sim_random(s, 3), 5000, false},
    };
    const struct rate_limiter_options o = {&s->metrics, RATE_BYTES_MIN, sim_chance(s, 50)};
    struct rate_limiter *rl = rate_limiter_new(&o);
    assert_always(rl && rate_limiter_set_global(rl, limits, 1, NULL) == BG_OK);
    assert_always(rate_limiter_set_api(rl, limits + 1, 1, NULL) == BG_OK);
    return rl;
}

static void world_init(struct sim *s, uint64_t seed)
{
    static const uint32_t in_flight[] = {3, 12, 1000, 1000}, running_max[] = {1, 2, 4, 1000}, queued[] = {0, 1, 4, 1000};
    *s = (struct sim){.seed = seed, .random = seed * 0x9e3779b97f4a7c15u + 1};
    product_random = ~seed;
    s->way = (enum sim_way)(seed % WAY_COUNT);
    timers_init(&s->timers, 1000000);
    s->db = config_db_new(&s->metrics, 10000);
    sim_cluster_init(s);
    gateway_options_default(&s->o);
    s->o.db = s->db;
    s->o.timers = &s->timers;
    s->o.metrics = &s->metrics;
    s->o.call = sim_call_ops(s);
    s->o.client = sim_client_ops(s);
    s->o.stream = sim_stream_ops(s);
    s->o.max_in_flight = in_flight[sim_random(s, ARRAY_SIZE(in_flight))];
    s->o.max_in_flight_per_channel = in_flight[sim_random(s, ARRAY_SIZE(in_flight))];
    s->o.async_limit = running_max[sim_random(s, ARRAY_SIZE(running_max))];
    s->o.async_queue = queued[sim_random(s, ARRAY_SIZE(queued))];
    s->o.max_payload_bytes = sim_chance(s, 50) ? 600 : 1000000;
    s->o.nodes_cache_ms = sim_chance(s, 50) ? 0 : 7000;
    s->o.detail_error = sim_chance(s, 30);
    s->o.pass_error_reason = sim_chance(s, 30);
    s->o.retry_on_error = sim_chance(s, 30);
    s->o.fallback_on_exit = sim_chance(s, 30);
    s->o.breaker_threshold = sim_random(s, 4);
    s->o.breaker_cooldown_ms = sim_random(s, 3000);
    s->o.limiter = s->limiter = sim_chance(s, 25) ? limiter_new(s) : NULL;
    s->gw = gateway_new(&s->o);
    sim_trace(s, "in_flight=%u per_channel=%u async=%u queue=%u retry_on_error=%d fallback_on_exit=%d", s->o.max_in_flight,
              s->o.max_in_flight_per_channel, s->o.async_limit, s->o.async_queue, s->o.retry_on_error, s->o.fallback_on_exit);
    for (uint32_t i = 0; i < SIM_FUNS; i++)
        load_config(s, i);
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        sim_client_join(s, i);
}

static void time_passes(struct sim *s, uint64_t us)
{
    uint64_t now = s->timers.now_us + us;
    unsigned at_most = sim_chance(s, 20) ? 1 + sim_random(s, 3) : 0;
    sim_trace(s, "%llu ms pass", (unsigned long long)us / 1000);
    timers_run(&s->timers, now, at_most);
}

static void event_time(struct sim *s)
{
    uint64_t next = timers_next(&s->timers);
    switch (sim_random(s, 4)) {
    case 0:
        time_passes(s, sim_random(s, 1000));
        break;
    case 1:
        time_passes(s, sim_random(s, 400000));
        break;
    case 2:
        time_passes(s, next != UINT64_MAX && next > s->timers.now_us ? next - s->timers.now_us : 0);
        break;
    default:
        time_passes(s, sim_random(s, 8000000));
    }
}

static void event_answer(struct sim *s)
{
    struct sim_call *call = sim_call_pick(s, true);
    if (!call)
        return;
    bool first = call->spawned && !call->started && s->cluster.link[call->node].up;
    if (first && sim_chance(s, 30)) {
        bool started = sim_chance(s, 85);
        sim_trace(s, "call %u: %s", call->index, started ? "its worker has started" : "no worker");
        sim_call_started(s, call, started);
    } else {
        load_answer(s, call);
    }
}

/* An answer of a call that was cancelled, timed out, lost its node, or was answered before. */
static void event_late_answer(struct sim *s)
{
    struct sim_call *call = sim_call_pick(s, false);
    if (call && call->wire_tag)
        load_answer(s, call);
}

static void event_node(struct sim *s)
{
    struct dist_link *l = &s->cluster.link[sim_random(s, SIM_NODES)];
    if (l->closed)
        sim_node_down(s, l->node);
    else if (!l->up)
        sim_node_up(s, l->node);
    else if (sim_chance(s, 25))
        sim_node_down(s, l->node);
    else if (sim_chance(s, 15))
        sim_node_close(s, l->node);
    else
        l->busy = !l->busy;
}

static void event_client(struct sim *s)
{
    uint32_t i = sim_random(s, SIM_CLIENTS);
    if (!s->client[i].channel)
        sim_client_join(s, i);
    else if (s->client[i].gone || sim_chance(s, 20))
        sim_client_leave(s, i);
}

static const struct {
    uint32_t weight;
    void (*happen)(struct sim *s);
} events[] = {
    {30, load_request}, {26, event_answer}, {4, event_late_answer}, {9, event_time},       {5, event_node},
    {7, event_client},  {18, load_stream_message}, {2, load_stream_stop},  {2, load_stream_down}, {3, load_config_event},
};

static void event(struct sim *s)
{
    uint32_t sum = 0, i = 0;
    for (size_t k = 0; k < ARRAY_SIZE(events); k++)
        sum += events[k].weight;
    for (uint32_t at = sim_random(s, sum); at >= events[i].weight; i++)
        at -= events[i].weight;
    s->step++;
    events[i].happen(s);
    oracle_step(s);
}

/* Nothing is answered any more: each request must come to its end by time alone, or, where its stream has none, by the loss
 * of its node. */
static void end_by_time(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        s->cluster.link[i].busy = false;
    for (uint32_t round = 0; gateway_in_flight(s->gw) > 0; round++) {
        sim_rule(s, round < ROUNDS_MAX, "%u requests have no end", gateway_in_flight(s->gw));
        s->step++;
        timers_run(&s->timers, s->timers.now_us + 400000000, 0);
        oracle_step(s);
        for (uint32_t i = 0; i < s->streams; i++) /* not by chance: an old one must come to its turn too */
            if (s->stream[i].open)
                load_producer_down(s, &s->stream[i]);
        oracle_step(s);
    }
}

static void end_by_leaving(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_CLIENTS; i++) {
        s->step++;
        sim_client_leave(s, i);
        oracle_step(s);
    }
}

/* What is left belongs to nobody's request: after hooks, and the cluster's own questions. */
static void end_quietly(struct sim *s)
{
    oracle_nothing_left(s);
    for (uint32_t round = 0; timers_next(&s->timers) != UINT64_MAX; round++) {
        sim_rule(s, round < ROUNDS_MAX, "timers without end");
        timers_run(&s->timers, s->timers.now_us + 400000000, 0);
    }
    sim_rule(s, !s->rc || remote_calls_in_flight(s->rc) == 0, "calls are left in flight");
}

static void world_fini(struct sim *s)
{
    gateway_free(s->gw);
    rate_limiter_free(s->limiter);
    sim_cluster_fini(s);
    sim_rule(s, timers_next(&s->timers) == UINT64_MAX, "a timer is armed after the end");
    sim_clients_fini(s);
    config_db_free(s->db);
    for (uint32_t i = 0; i < s->configs; i++) {
        sim_rule(s, s->config[i]->refs == 1, "a FunConfig has %u references too many", s->config[i]->refs - 1);
        fun_config_unref(s->config[i]);
    }
    for (uint32_t i = 0; i < s->requests; i++)
        free(s->request[i]);
    free(s->request);
    free(s->config);
    timers_fini(&s->timers);
    buf_fini(&s->term);
    buf_fini(&s->trace);
}

static uint64_t run(uint64_t seed, bool tell)
{
    struct sim s;
    world_init(&s, seed);
    running = &s;
    s.tell = tell;
    if (tell)
        fwrite(s.trace.data, 1, s.trace.len, stdout);
    for (uint32_t n = EVENTS_MIN + sim_random(&s, EVENTS_MORE); n > 0; n--)
        event(&s);
    uint32_t how = sim_random(&s, 4);
    sim_trace(&s, "the end: %s", how == 0 ? "the gateway is freed" : how == 1 ? "all leave" : "time passes");
    if (how >= 2)
        end_by_time(&s);
    if (how >= 1) {
        end_by_leaving(&s);
        end_quietly(&s);
    }
    uint64_t requests = s.metrics.value[METRIC_REQUESTS];
    world_fini(&s);
    running = NULL;
    return requests;
}

/* Leaks are searched from time to time, so that a report names some hundred seeds and not all. */
static void check_leaks(uint64_t from, uint64_t to)
{
#ifdef WITH_ASAN
    if (__lsan_do_recoverable_leak_check() == 0)
        return;
    fprintf(stderr, "sim: VIOLATION: memory leaked between seeds %llu and %llu\n", (unsigned long long)from, (unsigned long long)to);
    _exit(1);
#else
    (void)from;
    (void)to;
#endif
}

int main(int argc, char **argv)
{
    bool one = argc == 3 && strcmp(argv[1], "-s") == 0;
    uint64_t seeds = one ? 1 : argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1, requests = 0;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_set_fd(null);
#ifdef WITH_ASAN
    __asan_set_death_callback(on_crash);
#endif
    signal(SIGABRT, on_abort);
    for (uint64_t i = 0; i < seeds; i++) {
        requests += run(first + i, one);
        if (i % SEEDS_PER_CHECK == SEEDS_PER_CHECK - 1 || i == seeds - 1)
            check_leaks(first + i - i % SEEDS_PER_CHECK, first + i);
    }
    printf("sim: %llu seeds, %llu requests, 0 violations\n", (unsigned long long)seeds, (unsigned long long)requests);
    return 0;
}
