/*
 * fuzz_observer.c: what a node may ask of Observer's functions and of those for a shell, and send to the processes that
 * answer. The input is a sequence of deeds: a byte that says which, then its arguments, each a byte that picks one of
 * the pids and names that make sense, or a raw term behind its length.
 *
 * Properties: every answer is one well-formed term; what is sent is well-formed; no deed waits; when the connection is
 * gone no worker is left, and no process but those that were there.
 */
#include "../../c_src/server/observer.h"

#include <stdlib.h>

#include "fuzz.h"
#include "fuzz_link.h"
#include "log.h"
#include "process_state.h"

enum { MAX_DEEDS = 64, ARGS = 4, TURNS = 200 };

static struct server server;

/* ---- the link: what besides is asked of it ---- */

uint32_t dist_link_creation(const struct dist_link *l)
{
    (void)l;
    return 1;
}

void dist_link_stats(const struct dist_link *l, struct dist_link_stats *st)
{
    (void)l;
    *st = (struct dist_link_stats){.bytes_in = 1, .address = "[::1]:4711"};
}

size_t dist_link_queued(const struct dist_link *l)
{
    return l->out.len;
}

uint16_t cluster_port(const struct cluster *c)
{
    (void)c;
    return 4711;
}

bool cluster_registered(const struct cluster *c)
{
    (void)c;
    return true;
}

/* ---- the node ---- */

static const struct process_ops channel_ops = {.kind = "channel"};
static const struct process_ops spawned_ops = {.kind = "spawned"};
static struct rpc_entry *entries;

static void set_limits(void)
{
    static const struct rate_limiter_options o = {&server.metrics, 2 << 20, true};
    static const struct rate_limit limit = {.key = {.kind = RATE_KEY_USER_ID}, .max_requests = 5, .window_ms = 1000};
    struct rate_result res;
    struct err e;
    server.limiter = rate_limiter_new(&o);
    assert_always(server.limiter && rate_limiter_set_global(server.limiter, &limit, 1, &e) == BG_OK);
    struct rate_subject s = {.function = {SLICE_LIT("svc"), SLICE_LIT("f")}, .user_id = SLICE_LIT("u1")};
    (void)rate_limiter_check(server.limiter, 1000000, &s, &res);
}

static void world_new(void)
{
    memset(&server, 0, sizeof(server));
    memcpy(server.self.name, "gw@127.0.0.1", sizeof("gw@127.0.0.1"));
    server.self.creation = 77;
    server.started_us = clock_now_us() - 1000000;
    server.cluster = &cluster;
    cluster.link = (struct dist_link){.handle = handle_make(1, 1), .up = true};
    buf_init(&cluster.link.out, 0);
    timers_init(&server.timers, 2000000);
    server.processes = process_table_new(&server.self, &cluster, &server.metrics, 1000);
    server.db = config_db_new(&server.metrics, 100);
    server.failed = config_failed_new(10);
    assert_always(server.processes && server.db && server.failed);
    set_limits();
    server.rpc = (struct rpc_table){
        .entries = entries, .count = observer_entries_count + shell_entries_count, .server = &server};
    assert_always(rpc_table_index(&server.rpc) == BG_OK && observer_start(&server) == BG_OK);
    for (unsigned i = 0; i < 3; i++)
        assert_always(process_start(server.processes, &channel_ops, NULL) != HANDLE_NONE);
    observer_link_up(&server, &cluster.link);
}

static void world_free(uint32_t processes)
{
    observer_link_down(&server, &cluster.link);
    cluster.link.up = false;
    process_link_down(server.processes, &cluster.link);
    for (unsigned i = 0; i < TURNS; i++)
        timers_run(&server.timers, server.timers.now_us + 1000, 0);
    assert_always(server.observer.worker_count == 0);
    assert_always(process_count(server.processes) == processes - 1); /* the link's own */
    observer_end(&server);
    rpc_table_fini(&server.rpc);
    process_table_free(server.processes);
    rate_limiter_free(server.limiter);
    config_db_free(server.db);
    config_failed_free(server.failed);
    timers_fini(&server.timers);
    buf_fini(&cluster.link.out);
}

/* ---- deeds ---- */

struct input {
    const uint8_t *p, *end;
};

static uint8_t next_byte(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

/* A pid of that node, as whoever asks has one. */
static void put_caller(struct buf *b)
{
    term_put_pid(b, &(struct term_pid){.node = SLICE_LIT("svc@h"), .id = 5, .serial = 1, .creation = 1});
}

static void put_known(struct buf *b, uint8_t which)
{
    static const char *const atoms[] = {"ets",
                                        "Elixir.PhoenixGenApi.ConfigDb",
                                        "rate_limiter_global",
                                        "beamgate",
                                        "memory",
                                        "size",
                                        "attributes",
                                        "second",
                                        "total",
                                        "run_queue",
                                        "true",
                                        "get_state"};
    handle_t root = observer_root(&server);
    if (which < ARRAY_SIZE(atoms)) {
        term_put_atom(b, atoms[which]);
        return;
    }
    switch (which - ARRAY_SIZE(atoms)) {
    case 0:
        put_caller(b);
        break;
    case 1:
        node_put_pid(&server.self, b, root);
        break;
    case 2: /* a channel, or whatever stands there by now */
        node_put_pid(&server.self, b, handle_make(handle_index(root) + 5, 1));
        break;
    case 3:
        node_put_pid(&server.self, b, handle_make(99999, 3));
        break;
    case 4:
        term_put_uint(b, 500);
        break;
    default:
        term_put_nil(b);
    }
}

/* One argument: a known one, or a raw term of the input if that is one. */
static void put_argument(struct buf *b, struct input *in)
{
    uint8_t what = next_byte(in);
    size_t used, len = what & 0x7f;
    if (!(what & 0x80)) {
        put_known(b, what % 20);
        return;
    }
    if (len > (size_t)(in->end - in->p))
        len = (size_t)(in->end - in->p);
    if (term_check(in->p, len, TERM_DEPTH_DEFAULT, &used, NULL) == BG_OK)
        buf_add(b, in->p, used);
    else
        term_put_nil(b);
    in->p += len;
}

static void call_function(struct input *in, const struct rpc_entry *e, bool spawned)
{
    struct buf args, out, caller;
    bool known;
    buf_init(&args, 0);
    buf_init(&out, 0);
    buf_init(&caller, 0);
    put_caller(&caller);
    struct rpc_call call = {.module = slice_str(e->module),
                            .function = slice_str(e->function),
                            .caller_node = SLICE_LIT("svc@h"),
                            .caller = buf_slice(&caller),
                            .link = &cluster.link};
    term_put_list(&args, (uint32_t)e->arity);
    for (int i = 0; i < e->arity; i++)
        put_argument(&args, in);
    if (e->arity)
        term_put_nil(&args);
    if (spawned)
        call.self = process_start(server.processes, &spawned_ops, NULL);
    (void)rpc_run(&server.rpc, &call, buf_slice(&args), &out, &known);
    size_t used;
    assert_always(known && buf_ok(&out));
    assert_always(out.len == 0 ||
                  (term_check(out.data, out.len, TERM_DEPTH_MAX, &used, NULL) == BG_OK && used == out.len));
    if (process_ops(server.processes, call.self) == &spawned_ops)
        process_end_atom(server.processes, call.self, "normal");
    buf_fini(&args);
    buf_fini(&out);
    buf_fini(&caller);
}

/* {'$gen_cast', X}, {system, {Pid, Tag}, X} or X to a process. */
static void send_message(struct input *in, uint8_t how)
{
    struct buf msg, caller;
    handle_t to = handle_make(next_byte(in) % 24, 1u + next_byte(in) % 3);
    buf_init(&msg, 0);
    buf_init(&caller, 0);
    put_caller(&caller);
    if (how % 3 == 0) {
        term_put_tuple(&msg, 2);
        term_put_atom(&msg, "$gen_cast");
        term_put_tuple(&msg, 5);
        put_caller(&msg);
        term_put_atom(&msg, how & 4 ? "app" : "app_ctrl");
        for (unsigned i = 0; i < 3; i++)
            put_argument(&msg, in);
    } else if (how % 3 == 1) {
        term_put_tuple(&msg, 3);
        term_put_atom(&msg, "system");
        term_put_tuple(&msg, 2);
        put_caller(&msg);
        term_put_uint(&msg, 7);
        put_argument(&msg, in);
    } else {
        put_argument(&msg, in);
    }
    if (buf_ok(&msg))
        process_deliver(server.processes, &cluster.link, buf_slice(&caller), to, buf_slice(&msg));
    buf_fini(&msg);
    buf_fini(&caller);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    size_t count = observer_entries_count + shell_entries_count;
    if (!entries) {
        log_set_level(LOG_ERROR);
        entries = calloc(count, sizeof(*entries)); /* lives as long as the fuzzer */
        assert_always(entries != NULL);
        memcpy(entries, observer_entries, observer_entries_count * sizeof(*entries));
        memcpy(entries + observer_entries_count, shell_entries, shell_entries_count * sizeof(*entries));
    }
    world_new();
    uint32_t processes = process_count(server.processes);
    for (unsigned n = 0; n < MAX_DEEDS && in.p < in.end; n++) {
        uint8_t deed = next_byte(&in), how = next_byte(&in);
        cluster.link.closed = false; /* what a slow close lets through must do no harm either */
        if (deed < 200)
            call_function(&in, &entries[deed % count], how & 1);
        else if (deed < 240)
            send_message(&in, how);
        else
            timers_run(&server.timers, server.timers.now_us + how * 10000u, 0);
    }
    world_free(processes);
    return 0;
}
