/*
 * fuzz_dist_message.c: any packets of a peer against dispatch, process table and calls, on links without sockets. The
 * input is a sequence of packets, each behind two bytes of length.
 *
 * Properties: whatever comes, every packet that leaves is well-formed and whole; no packet is left open; calls end
 * once; and when the link is gone, nothing of it is remembered.
 */
#include "dist_dispatch.h"
#include "fuzz.h"
#include "fuzz_link.h"
#include "gen_call.h"
#include "log.h"

enum { MAX_CALLS = 8, MAX_PROCESSES = 32, CREATION = 77 };

static struct node_identity self = {.name = "gw@127.0.0.1", .creation = CREATION, .flags = DIST_FLAGS_DEFAULT};
static unsigned answered[MAX_CALLS];

/* ---- who lives here ---- */

struct world {
    struct metrics metrics;
    struct timers timers;
    struct process_table *pt;
    struct remote_calls *rc;
    struct dist_dispatch *d;
};

static void look_at(struct slice term)
{
    size_t used;
    assert_always(term_check(term.ptr, term.len, TERM_DEPTH_MAX, &used, NULL) == BG_OK && used == term.len);
}

static void on_message(void *owner, handle_t p, struct dist_link *from, struct slice msg)
{
    (void)owner;
    (void)p;
    (void)from;
    look_at(msg);
}

static void on_call(void *owner, handle_t p, struct dist_link *from, const struct gen_call *call)
{
    struct world *w = owner;
    uint8_t pid[PROCESS_PID_MAX];
    look_at(call->request);
    (void)gen_reply(from, process_pid(w->pt, p, pid), call, call->request);
}

static void on_exit(void *owner, handle_t p, struct slice from, struct slice reason, bool kill)
{
    struct world *w = owner;
    look_at(from);
    look_at(reason);
    if (kill)
        process_end(w->pt, p, reason);
}

static void on_down(void *owner, handle_t p, handle_t monitor, struct slice reason)
{
    (void)owner;
    (void)p;
    assert_always(monitor != HANDLE_NONE);
    look_at(reason);
}

static const struct process_ops actor_ops = {
    .kind = "actor", .message = on_message, .exit = on_exit, .down = on_down, .call = on_call};
static const struct process_ops plain_ops = {.kind = "plain"};

static enum rpc_outcome fn_echo(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    look_at(call->argv[0]);
    term_put_raw(out, call->argv[0]);
    return (enum rpc_outcome)(call->argv[0].len % 4);
}

static enum rpc_outcome fn_live(void *server, const struct rpc_call *call, struct buf *out)
{
    struct world *w = server;
    (void)out;
    process_adopt(w->pt, call->self, &actor_ops, w);
    return RPC_RETURN;
}

static const struct rpc_entry entries[] = {{"m", "echo", 1, fn_echo}, {"m", "live", 0, fn_live}};

static void on_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    (void)owner;
    assert_always(tag < MAX_CALLS && answered[tag] == 0 && outcome != CALL_BUSY);
    answered[tag]++;
    if (value.len)
        look_at(value);
}

static void start_calls(struct world *w)
{
    enum call_outcome why;
    for (unsigned i = 0; i < MAX_CALLS; i++) {
        answered[i] = 0;
        enum call_way way = i % 2 ? CALL_SPAWN : CALL_REX;
        struct buf *b = remote_call_begin(w->rc, SLICE_LIT("svc@h"), way, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why);
        if (b)
            assert_always(remote_call_commit(w->rc, 1000, on_done, NULL, i) != HANDLE_NONE);
        else
            answered[i] = 1;
    }
}

/* Makes the peer's user process known, so that half of the calls go over SPAWN_REQUEST. The first call over that way
 * asks for it under the handle 0.1. */
static void learn_user(struct world *w)
{
    struct buf b;
    uint32_t pos = 0;
    handle_t p, pid = HANDLE_NONE;
    while ((p = process_next(w->pt, &pos)) != HANDLE_NONE)
        if (strcmp(process_info(w->pt, p).kind, "remote_calls") == 0)
            pid = p;
    enum call_outcome why;
    assert_always(remote_call_begin(w->rc, SLICE_LIT("svc@h"), CALL_SPAWN, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    remote_call_abort(w->rc);
    buf_init(&b, 0);
    buf_putc(&b, DIST_PASS_THROUGH);
    dist_put_head(&b, DIST_SEND, 2);
    term_put_nil(&b);
    node_put_pid(&self, &b, pid);
    term_put_version(&b);
    term_put_tuple(&b, 2);
    term_put_int(&b, (int64_t)handle_make(0, 1));
    term_put_pid(&b, &(struct term_pid){SLICE_LIT("svc@h"), 50, 0, 99});
    dist_dispatch_packet(w->d, &cluster.link, buf_slice(&b));
    assert_always(remote_calls_in_flight(w->rc) == 0 && !cluster.link.closed);
    buf_fini(&b);
}

static void start(struct world *w)
{
    const struct rpc_table table = {.entries = entries, .count = ARRAY_SIZE(entries), .server = w};
    log_set_level(LOG_ERROR);
    timers_init(&w->timers, 1);
    cluster.link.up = true;
    cluster.link.closed = false;
    cluster.link.handle = handle_make(0, handle_generation(cluster.link.handle) + 1);
    w->pt = process_table_new(&self, &cluster, &w->metrics, MAX_PROCESSES);
    w->rc = remote_calls_new(&self, &cluster, &w->timers, &w->metrics, MAX_CALLS);
    w->d = dist_dispatch_new(&self, w->pt, w->rc, &table, &w->metrics);
    assert_always(w->pt && w->rc && w->d);
    handle_t actor = process_start(w->pt, &actor_ops, w), plain = process_start(w->pt, &plain_ops, w);
    assert_always(process_register(w->pt, actor, SLICE_LIT("actor")) == BG_OK);
    assert_always(process_register(w->pt, plain, SLICE_LIT("plain")) == BG_OK);
    assert_always(process_monitor(w->pt, actor, &cluster.link, SLICE_LIT("w\4room")) != HANDLE_NONE);
    struct buf alias;
    buf_init(&alias, 0);
    process_put_alias(w->pt, actor, &alias);
    buf_fini(&alias);
    learn_user(w);
    start_calls(w);
}

static void finish(struct world *w)
{
    timers_run(&w->timers, 2, 0);
    cluster.link.up = false;
    dist_dispatch_link_down(w->d, &cluster.link);
    assert_always(process_relations(w->pt) == 0);
    assert_always(remote_calls_in_flight(w->rc) == 0 && w->timers.count == 0);
    for (unsigned i = 0; i < MAX_CALLS; i++)
        assert_always(answered[i] == 1);
    assert_always(process_whereis(w->pt, SLICE_LIT("rex")) != HANDLE_NONE);
    process_end_all(w->pt, "shutdown");
    assert_always(process_count(w->pt) == 0);
    dist_dispatch_free(w->d);
    remote_calls_free(w->rc);
    process_table_free(w->pt);
    timers_fini(&w->timers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};
    start(&w);
    while (size >= 2) {
        size_t len = get_be16(data);
        if (len > size - 2)
            len = size - 2;
        dist_dispatch_packet(w.d, &cluster.link, slice_make(data + 2, len));
        assert_always(!cluster.link.writing);
        data += 2 + len;
        size -= 2 + len;
        if (cluster.link.closed)
            cluster.link.closed = false; /* what a slow close lets through must do no harm either */
    }
    finish(&w);
    return 0;
}
