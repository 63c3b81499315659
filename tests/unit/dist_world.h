/*
 * dist_world.h: dispatch, process table and calls on fake links, with a small rpc table: what the tests of the
 * distribution's meaning start from.
 */
#ifndef BEAMGATE_DIST_WORLD_H
#define BEAMGATE_DIST_WORLD_H

#include "dist_dispatch.h"
#include "fake_link.h"
#include "rpc_later.h"

enum { WORLD_PROCESSES = 64, WORLD_CALLS = 32, WORLD_WAITERS = 2 };

struct world {
    struct metrics metrics;
    struct timers timers;
    struct process_table *pt;
    struct remote_calls *rc;
    struct dist_dispatch *d;
    struct dist_link *l; /* up, to "svc@h" */
    unsigned ran;        /* functions of the rpc table that ran */
    handle_t adopt;      /* set by m:adopt/0 */
    struct rpc_later *later;
    handle_t waiter; /* set by m:wait/1 */
    unsigned gone;   /* waiters that were ended from outside */
    char heard[64];  /* the last message to one */
};

static struct world world;

static enum rpc_outcome world_echo(void *server, const struct rpc_call *call, struct buf *out)
{
    ((struct world *)server)->ran++;
    term_put_raw(out, call->argv[0]);
    return RPC_RETURN;
}

static enum rpc_outcome world_raise(void *server, const struct rpc_call *call, struct buf *out)
{
    ((struct world *)server)->ran++;
    term_put_raw(out, call->argv[0]);
    return RPC_ERROR;
}

static enum rpc_outcome world_node(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    ((struct world *)server)->ran++;
    term_put_atom(out, GW);
    return RPC_RETURN;
}

static const struct process_ops adopted_ops = {.kind = "adopted"};

static enum rpc_outcome world_adopt(void *server, const struct rpc_call *call, struct buf *out)
{
    struct world *w = server;
    (void)out;
    w->adopt = call->self;
    process_adopt(w->pt, call->self, &adopted_ops, w);
    return RPC_RETURN;
}

static void world_heard(void *owner, handle_t waiter, struct dist_link *from, struct slice msg)
{
    struct term_reader r = term_reader(msg);
    struct slice word;
    (void)owner;
    (void)from;
    assert_true(waiter == world.waiter);
    if (term_read_atom(&r, &word) == BG_OK)
        slice_cstr(word, world.heard, sizeof(world.heard));
}

static void world_gone(void *owner, handle_t waiter)
{
    assert_true(waiter == world.waiter);
    ((struct world *)owner)->gone++;
}

/* Answers later; not at all when it cannot. */
static enum rpc_outcome world_wait(void *server, const struct rpc_call *call, struct buf *out)
{
    static const struct rpc_waiter_ops ops = {world_heard, NULL, world_gone};
    struct world *w = server;
    w->ran++;
    w->waiter = rpc_later_begin(w->later, call, &ops, w);
    if (w->waiter != HANDLE_NONE)
        return RPC_LATER;
    term_put_atom(out, "cannot_wait");
    return RPC_EXIT;
}

static const struct rpc_entry world_entries[] = {
    {"m", "wait", 1, world_wait},
    {"m", "echo", 1, world_echo},
    {"m", "raise", 1, world_raise},
    {"erlang", "node", 0, world_node},
    {"m", "adopt", 0, world_adopt},
};

static inline int world_setup(void **state)
{
    const struct rpc_table table = {.entries = world_entries, .count = ARRAY_SIZE(world_entries), .server = &world};
    (void)state;
    memset(&world, 0, sizeof(world));
    fake_self_init();
    timers_init(&world.timers, 1000);
    world.l = fake_link_up(0, "svc@h");
    world.pt = process_table_new(&fake_self, &fake_cluster, &world.metrics, WORLD_PROCESSES);
    world.rc = remote_calls_new(&fake_self, &fake_cluster, &world.timers, &world.metrics, WORLD_CALLS);
    world.d = dist_dispatch_new(&fake_self, world.pt, world.rc, &table, &world.metrics);
    world.later = rpc_later_new(world.pt, &fake_cluster, WORLD_WAITERS);
    return world.pt && world.rc && world.d && world.later ? 0 : -1;
}

static inline int world_teardown(void **state)
{
    (void)state;
    rpc_later_free(world.later);
    dist_dispatch_free(world.d);
    remote_calls_free(world.rc);
    process_table_free(world.pt);
    timers_fini(&world.timers);
    fake_cleanup();
    return 0;
}

/* A packet from l, as if read from its socket: a copy of exact size, so that a sanitizer sees any step past its end. */
static inline void feed_bytes(struct dist_link *l, struct slice packet)
{
    char *copy = malloc(packet.len ? packet.len : 1);
    assert_non_null(copy);
    if (packet.len)
        memcpy(copy, packet.ptr, packet.len);
    dist_dispatch_packet(world.d, l, slice_make(copy, packet.len));
    free(copy);
}

static inline void feed_from(struct dist_link *l, const char *control, const char *message)
{
    struct buf b;
    buf_init(&b, 0);
    fake_packet(&b, control, message);
    assert_true(buf_ok(&b));
    feed_bytes(l, buf_slice(&b));
    buf_fini(&b);
}

static inline void feed(const char *control, const char *message)
{
    feed_from(world.l, control, message);
}

static inline void link_down(struct dist_link *l)
{
    l->up = false;
    dist_dispatch_link_down(world.d, l);
}

/* "<gw@127.0.0.1:1.1>" of a local process. */
static inline const char *pid_text(handle_t p)
{
    static char text[4][64];
    static unsigned next;
    char *out = text[next++ % 4];
    snprintf(out, 64, "<" GW ":%u.%u>", handle_index(p), handle_generation(p));
    return out;
}

/* The pid of our own calls to other nodes. */
static inline const char *calls_pid(void)
{
    static char text[64];
    uint32_t pos = 0;
    handle_t p;
    while ((p = process_next(world.pt, &pos)) != HANDLE_NONE)
        if (strcmp(process_info(world.pt, p).kind, "remote_calls") == 0)
            snprintf(text, sizeof(text), "%s", pid_text(p));
    return text;
}

/* printf into one of a few static buffers. */
static inline const char *textf(const char *fmt, ...) PRINTF_LIKE(1, 2);
static inline const char *textf(const char *fmt, ...)
{
    static char text[8][512];
    static unsigned next;
    char *out = text[next++ % 8];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out, sizeof(text[0]), fmt, ap);
    va_end(ap);
    return out;
}

#endif
