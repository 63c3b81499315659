/*
 * cluster_rig.h: clusters in a test process: one loop, one set of timers, any number of nodes, each recording what
 * reaches it. rig_until() turns the loop until a condition holds, and fails the test when it does not in time.
 */
#ifndef BEAMGATE_CLUSTER_RIG_H
#define BEAMGATE_CLUSTER_RIG_H

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "cluster.h"
#include "dist_handshake.h"
#include "log.h"
#include "unit.h"

enum { RIG_NODES = 4, RIG_TEXT = 256 };

struct rig_node {
    struct node_identity id;
    struct metrics metrics;
    struct cluster *cluster;
    unsigned ups;
    unsigned downs;
    unsigned packets;
    uint64_t packet_bytes;
    uint64_t packet_sum; /* of all bytes */
    char last_packet[RIG_TEXT];
    char last_reason[RIG_TEXT];
    bool up_down_alternate;
    bool stopped;
    struct dist_link *last_link;
    void (*on_packet)(struct rig_node *n, struct dist_link *l, struct slice packet);
};

struct rig {
    uv_loop_t loop;
    struct timers timers;
    uv_timer_t wake;
    uv_prepare_t before_wait;
    struct rig_node node[RIG_NODES];
    unsigned count;
};

static void rig_packet(void *ctx, struct dist_link *l, struct slice p)
{
    struct rig_node *n = ctx;
    n->packets++;
    n->packet_bytes += p.len;
    for (size_t i = 0; i < p.len; i++)
        n->packet_sum += (uint8_t)p.ptr[i];
    slice_cstr(p, n->last_packet, sizeof(n->last_packet));
    if (n->on_packet)
        n->on_packet(n, l, p);
}

static void rig_up(void *ctx, struct dist_link *l)
{
    struct rig_node *n = ctx;
    if (n->ups != n->downs && n->last_link && slice_eq(dist_link_node(n->last_link), dist_link_node(l)))
        n->up_down_alternate = false;
    n->ups++;
    n->last_link = l;
}

static void rig_down(void *ctx, struct dist_link *l, const char *reason)
{
    struct rig_node *n = ctx;
    n->downs++;
    snprintf(n->last_reason, sizeof(n->last_reason), "%s", reason);
    assert_null(dist_link_begin(l, LINK_PROTOCOL));
    if (n->last_link == l)
        n->last_link = NULL;
}

static void rig_wake(uv_timer_t *t)
{
    struct rig *r = t->data;
    timers_run(&r->timers, clock_now_us(), 0);
}

static void rig_before_wait(uv_prepare_t *p)
{
    struct rig *r = p->data;
    for (unsigned i = 0; i < r->count; i++)
        if (r->node[i].cluster)
            cluster_flush(r->node[i].cluster);
}

static inline void rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    signal(SIGPIPE, SIG_IGN);
    log_set_level(getenv("RIG_LOG") ? LOG_DEBUG : LOG_ERROR);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    timers_init(&r->timers, clock_now_us());
    uv_timer_init(&r->loop, &r->wake);
    uv_prepare_init(&r->loop, &r->before_wait);
    r->wake.data = r->before_wait.data = r;
    uv_timer_start(&r->wake, rig_wake, 1, 2);
    uv_prepare_start(&r->before_wait, rig_before_wait);
}

static inline struct cluster_options rig_options(struct rig *r, struct rig_node *n, const char *name,
                                                 const char *cookie)
{
    struct cluster_options o = {.loop = &r->loop, .timers = &r->timers, .metrics = &n->metrics, .self = &n->id};
    struct err e = {0};
    if (node_identity_init(&n->id, slice_str(name), slice_str(cookie), &e) != BG_OK)
        fail_msg("%s", e.text);
    cluster_options_default(&o);
    o.events = (struct cluster_events){rig_packet, rig_up, rig_down, n};
    o.listen_address = "127.0.0.1";
    o.epmd = false;
    o.reconnect_min_ms = 20;
    o.reconnect_max_ms = 200;
    n->up_down_alternate = true;
    return o;
}

static inline struct rig_node *rig_start_with(struct rig_node *n, const struct cluster_options *o)
{
    struct err e = {0};
    n->cluster = cluster_new(o, &e);
    if (!n->cluster)
        fail_msg("%s", e.text);
    return n;
}

static inline struct rig_node *rig_new_node(struct rig *r)
{
    assert_true(r->count < RIG_NODES);
    return &r->node[r->count++];
}

static inline struct rig_node *rig_start(struct rig *r, const char *name, const char *cookie)
{
    struct rig_node *n = rig_new_node(r);
    struct cluster_options o = rig_options(r, n, name, cookie);
    return rig_start_with(n, &o);
}

static inline void rig_add_peer(struct rig_node *n, const struct rig_node *to)
{
    char peer[NODE_NAME_MAX + 16];
    snprintf(peer, sizeof(peer), "%s:%u", to->id.name, (unsigned)cluster_port(to->cluster));
    assert_int_equal(cluster_add_peer(n->cluster, slice_str(peer)), BG_OK);
}

#define rig_until(r, ms, cond)                                                                                         \
    do {                                                                                                               \
        uint64_t until_ = clock_now_us() + (uint64_t)(ms)*1000u;                                                       \
        while (!(cond)) {                                                                                              \
            if (clock_now_us() > until_)                                                                               \
                fail_msg("not within %d ms: %s", (int)(ms), #cond);                                                    \
            uv_run(&(r)->loop, UV_RUN_ONCE);                                                                           \
        }                                                                                                              \
    } while (0)

static inline void rig_run(struct rig *r, unsigned ms)
{
    uint64_t until = clock_now_us() + ms * 1000u;
    while (clock_now_us() < until)
        uv_run(&r->loop, UV_RUN_ONCE);
}

static inline struct dist_link *rig_link(const struct rig_node *n, const struct rig_node *to)
{
    return cluster_link(n->cluster, slice_str(to->id.name));
}

/* Connects a to b and waits until both have the link. */
static inline void rig_connect(struct rig *r, struct rig_node *a, const struct rig_node *b)
{
    rig_add_peer(a, b);
    rig_until(r, 2000, rig_link(a, b) && rig_link(b, a));
}

/* A packet with this text as its whole content. */
static inline int rig_send(struct dist_link *l, const char *text)
{
    struct buf *b = l ? dist_link_begin(l, LINK_DATA) : NULL;
    if (!b)
        return BG_ELIMIT;
    buf_puts(b, text);
    return dist_link_commit(l);
}

static void rig_stopped(void *ctx)
{
    struct rig_node *n = ctx;
    n->stopped = true;
    cluster_free(n->cluster);
    n->cluster = NULL;
}

static inline void rig_stop(struct rig *r, struct rig_node *n)
{
    if (n->cluster && !n->stopped) {
        cluster_stop(n->cluster, rig_stopped, n);
        rig_until(r, 4000, n->stopped);
    }
    node_identity_fini(&n->id);
    n->stopped = false;
}

static inline void rig_fini(struct rig *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        assert_true(r->node[i].up_down_alternate);
        rig_stop(r, &r->node[i]);
        assert_int_equal(r->node[i].ups, r->node[i].downs);
        assert_int_equal(r->node[i].metrics.value[METRIC_LINKS_UP], 0);
    }
    uv_close((uv_handle_t *)&r->wake, NULL);
    uv_close((uv_handle_t *)&r->before_wait, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    assert_int_equal(r->timers.count, 0);
    timers_fini(&r->timers);
}

/* ---- one rig a test, for those that need no more ---- */

static struct rig rig;

static inline int rig_setup(void **state)
{
    (void)state;
    rig_init(&rig);
    return 0;
}

static inline int rig_teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

#endif
