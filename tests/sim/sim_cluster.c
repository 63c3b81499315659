/*
 * sim_cluster.c: the nodes and the calls to them. Over WAY_REX and WAY_SPAWN the real remote_call.c runs on the links
 * below (this file stands in for cluster.c and dist_link.c), so late and repeated answers meet its own check of handles;
 * over WAY_OWN a table of handles does the same, and a call may end in ways that rex does not know.
 *
 * Whoever answers here is wrapped: a callback for a call that was cancelled or has ended is a violation.
 */
#include <stdlib.h>

#include "dist_message.h"
#include "sim.h"

static const char *const node_names[SIM_NODES] = {"n0@h", "n1@h", "n2@h", "n3@h"};
static const handle_t calls_pid = UINT64_C(0x300000001);

const char *sim_node_name(uint32_t node)
{
    return node_names[node];
}

/* ---- links, in the place of dist_link.c and cluster.c ---- */

struct slice dist_link_node(const struct dist_link *l)
{
    return slice_str(node_names[l->node]);
}

uint64_t dist_link_flags(const struct dist_link *l)
{
    (void)l;
    return DIST_FLAGS_DEFAULT;
}

handle_t dist_link_handle(const struct dist_link *l)
{
    return l->handle;
}

struct buf *dist_link_begin(struct dist_link *l, enum link_urgency urgency)
{
    sim_rule(l->sim, !l->writing, "a packet was begun inside another");
    if (!l->up || (l->busy && urgency == LINK_DATA))
        return NULL;
    l->writing = true;
    buf_fini(&l->out);
    buf_init(&l->out, sim_chance(l->sim, 2) ? 40 : 0); /* no memory, halfway */
    return &l->out;
}

/* Steps over one term of a packet, with its version byte. */
static struct slice packet_term(struct sim *s, struct slice *rest)
{
    size_t used = 0;
    struct err e = {0};
    sim_rule(s, rest->len > 1 && (uint8_t)rest->ptr[0] == TERM_VERSION, "a packet without a term was sent");
    if (term_check(rest->ptr + 1, rest->len - 1, TERM_DEPTH_MAX, &used, &e) != BG_OK)
        sim_violation(s, "a malformed term was sent: %s", e.text);
    struct slice term = slice_make(rest->ptr + 1, used);
    *rest = slice_make(rest->ptr + 1 + used, rest->len - 1 - used);
    return term;
}

static struct sim_call *call_new(struct sim *s, uint32_t node, enum sim_asks asks);

/* remote_call.c's own question for a node's user process: the only calls that do not come through our operations. */
static void note_own_question(struct dist_link *l, struct slice message)
{
    struct term_reader r = term_reader(message);
    struct slice from;
    uint32_t n;
    int64_t tag;
    if (message.len == 0 || term_read_tagged(&r, "$gen_call", &n) != BG_OK || term_read_tuple(&r, &n) != BG_OK ||
        term_skip(&r, &from) != BG_OK || term_read_int(&r, &tag) != BG_OK)
        return;
    call_new(l->sim, l->node, ASKS_USER)->wire_tag = tag;
}

int dist_link_commit(struct dist_link *l)
{
    struct sim *s = l->sim;
    sim_rule(s, l->writing, "a packet was sent that was not begun");
    l->writing = false;
    if (!buf_ok(&l->out))
        return BG_ENOMEM;
    struct slice rest = buf_slice(&l->out), message = SLICE_NONE;
    struct slice control = packet_term(s, &rest);
    if (rest.len)
        message = packet_term(s, &rest);
    sim_rule(s, rest.len == 0, "a packet with more than two terms was sent");
    struct term_reader r = term_reader(control);
    uint32_t arity;
    int64_t op = 0;
    if (term_read_tuple(&r, &arity) != BG_OK || term_read_int(&r, &op) != BG_OK)
        sim_violation(s, "a packet without a control message was sent");
    if (s->opened)
        s->opened->spawned = op == DIST_SPAWN_REQUEST;
    else
        note_own_question(l, message);
    return BG_OK;
}

void dist_link_abort(struct dist_link *l)
{
    sim_rule(l->sim, l->writing, "a packet was taken back that was not begun");
    l->writing = false;
}

void dist_link_close(struct dist_link *l, const char *reason)
{
    sim_violation(l->sim, "a link was closed: %s", reason);
}

struct dist_link *cluster_link(const struct cluster *c, struct slice node)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        if (c->link[i].up && slice_is(node, node_names[i]))
            return (struct dist_link *)(uintptr_t)&c->link[i];
    return NULL;
}

struct dist_link *cluster_link_by_handle(const struct cluster *c, handle_t h)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        if (c->link[i].up && c->link[i].handle == h)
            return (struct dist_link *)(uintptr_t)&c->link[i];
    return NULL;
}

struct dist_link *cluster_next_link(const struct cluster *c, uint32_t *pos)
{
    while (*pos < SIM_NODES) {
        const struct dist_link *l = &c->link[(*pos)++];
        if (l->up)
            return (struct dist_link *)(uintptr_t)l;
    }
    return NULL;
}

/* ---- calls ---- */

static struct sim_call *call_new(struct sim *s, uint32_t node, enum sim_asks asks)
{
    struct sim_call *call = calloc(1, sizeof(*call));
    s->call = sim_grow(s->call, s->calls, sizeof(*s->call));
    s->call[s->calls] = call;
    *call = (struct sim_call){.sim = s, .index = s->calls++, .node = node, .asks = asks, .new_type = -1};
    return call;
}

/* Every function of load_config() says by its name what it is. */
static enum sim_asks asks_of(struct slice function)
{
    return slice_is(function, "before") ? ASKS_BEFORE
           : slice_is(function, "after") ? ASKS_AFTER
           : slice_is(function, "check") ? ASKS_PERMIT
           : slice_is(function, "nodes_of") ? ASKS_NODES
                                            : ASKS_MAIN;
}

static bool op_node_up(void *ctx, struct slice node)
{
    const struct sim *s = ctx;
    return cluster_link(&s->cluster, node) != NULL;
}

static uint32_t op_nodes(void *ctx, struct buf *out)
{
    const struct sim *s = ctx;
    uint32_t n = 0;
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        if (!s->cluster.link[i].up)
            continue;
        term_put_atom(out, node_names[i]);
        n++;
    }
    return n;
}

static struct buf *own_begin(struct sim *s, const struct dist_link *l, uint32_t nargs, enum call_outcome *why)
{
    *why = CALL_BUSY;
    if (l->busy)
        return NULL;
    s->own_nargs = nargs;
    buf_reset(&s->own_out);
    return &s->own_out;
}

static struct buf *op_begin(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                            enum call_outcome *why)
{
    struct sim *s = ctx;
    sim_rule(s, !s->opened, "a call was begun inside another");
    const struct dist_link *l = cluster_link(&s->cluster, node);
    *why = CALL_NODEDOWN;
    if (!l)
        return NULL;
    struct buf *out = s->way == WAY_OWN ? own_begin(s, l, nargs, why)
                                        : s->real.begin(s->real.ctx, node, module, function, nargs, why);
    if (out)
        s->opened = call_new(s, l->node, asks_of(function));
    return out;
}

static void on_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct sim *s = owner;
    struct sim_call *call = s->call[tag];
    static const char *const names[] = {"return", "exit", "badrpc", "timeout", "nodedown", "busy"};
    sim_trace(s, "  call %u ends: %s", call->index, names[outcome]);
    sim_rule(s, call->state == CALL_OPEN, "a callback for a call that had ended or was cancelled");
    call->state = CALL_ENDED;
    oracle_call_ended(s, call, outcome);
    struct sim_request *before = s->current;
    s->current = call->q;
    call->done(call->owner, call->tag, outcome, value);
    s->current = before;
}

static void on_own_timeout(struct timer *t)
{
    struct sim_call *call = container_of(t, struct sim_call, timer);
    slots_remove(&call->sim->own_calls, call->handle);
    on_done(call->sim, call->index, CALL_TIMEOUT, SLICE_NONE);
}

/* The argument list must hold what begin() was told. */
static handle_t own_commit(struct sim *s, struct sim_call *call, uint64_t timeout_us)
{
    struct term_reader r = term_reader(buf_slice(&s->own_out));
    struct slice arg;
    for (uint32_t i = 0; i < s->own_nargs; i++)
        sim_rule(s, term_skip(&r, &arg) == BG_OK, "a call has less arguments than it said");
    sim_rule(s, term_at_end(&r), "a call has more arguments than it said");
    if (sim_chance(s, 2))
        return HANDLE_NONE;
    call->timer.fn = on_own_timeout;
    (void)!timer_arm_in(&s->timers, &call->timer, timeout_us);
    return slots_add(&s->own_calls, call);
}

static handle_t op_commit(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag)
{
    static const char *const names[] = {"main", "before", "after", "permission", "nodes", "user"};
    struct sim *s = ctx;
    struct sim_call *call = s->opened;
    sim_rule(s, call, "a call was committed that was not begun");
    call->done = done;
    call->owner = owner;
    call->tag = tag;
    call->handle = s->way == WAY_OWN ? own_commit(s, call, timeout_us)
                                     : s->real.commit(s->real.ctx, timeout_us, on_done, s, call->index);
    s->opened = NULL;
    call->wire_tag = (int64_t)(call->handle & INT64_MAX);
    sim_trace(s, "  call %u to %s: %s, %llu ms%s", call->index, node_names[call->node], names[call->asks],
              (unsigned long long)timeout_us / 1000, call->spawned ? ", spawned" : "");
    if (call->handle == HANDLE_NONE)
        call->state = CALL_CANCELLED;
    else
        oracle_call_begun(s, call);
    return call->handle;
}

static void op_abort(void *ctx)
{
    struct sim *s = ctx;
    sim_rule(s, s->opened, "a call was aborted that was not begun");
    s->opened->state = CALL_CANCELLED;
    s->opened = NULL;
    if (s->way != WAY_OWN)
        s->real.abort(s->real.ctx);
}

static void own_forget(struct sim *s, struct sim_call *call)
{
    timer_disarm(&s->timers, &call->timer);
    slots_remove(&s->own_calls, call->handle);
}

static void op_cancel(void *ctx, handle_t h)
{
    struct sim *s = ctx;
    for (uint32_t i = s->calls; h != HANDLE_NONE && i-- > 0;) {
        struct sim_call *call = s->call[i];
        if (call->handle != h || call->state != CALL_OPEN)
            continue;
        sim_trace(s, "  call %u is cancelled", call->index);
        call->state = CALL_CANCELLED;
        if (s->way == WAY_OWN)
            own_forget(s, call);
        break;
    }
    if (s->way != WAY_OWN)
        s->real.cancel(s->real.ctx, h);
}

struct call_ops sim_call_ops(struct sim *s)
{
    return (struct call_ops){s, op_node_up, op_begin, op_commit, op_abort, op_cancel, op_nodes};
}

struct sim_call *sim_call_pick(struct sim *s, bool open)
{
    for (uint32_t tries = 0; s->calls && tries < 12; tries++) {
        uint32_t back = sim_random(s, s->calls < 60 ? s->calls : 60);
        struct sim_call *call = s->call[s->calls - 1 - back];
        if ((call->state == CALL_OPEN) == open)
            return call;
    }
    return NULL;
}

/* ---- answers ---- */

/* What rex sends: {Tag, Result}. */
static void rex_answer(struct sim *s, const struct sim_call *call, struct dist_link *l, enum call_outcome outcome,
                       struct slice value)
{
    struct buf msg;
    buf_init(&msg, 0);
    term_put_tuple(&msg, 2);
    term_put_int(&msg, call->wire_tag);
    if (outcome != CALL_RETURN) {
        term_put_tuple(&msg, 2);
        term_put_atom(&msg, "badrpc");
    }
    if (outcome == CALL_EXIT) {
        term_put_tuple(&msg, 2);
        term_put_atom(&msg, "EXIT");
    }
    if (outcome == CALL_NODEDOWN)
        term_put_atom(&msg, "nodedown");
    else
        term_put_raw(&msg, value);
    sim_rule(s, remote_call_on_message(s->rc, l, SLICE_NONE, buf_slice(&msg)), "an answer was not recognised");
    buf_fini(&msg);
}

/* Passes the reference of a call as the packet holds it. */
static void spawn_deliver(struct sim *s, const struct sim_call *call, struct dist_link *l, struct slice value,
                          bool (*deliver)(struct remote_calls *, struct dist_link *, const struct term_ref *, struct slice))
{
    struct buf b;
    struct term_ref ref;
    buf_init(&b, 0);
    node_put_ref(&s->self, &b, call->handle);
    struct term_reader r = term_reader(buf_slice(&b));
    sim_rule(s, term_read_ref(&r, &ref) == BG_OK && deliver(s->rc, l, &ref, value), "a reference was not recognised");
    buf_fini(&b);
}

void sim_call_started(struct sim *s, struct sim_call *call, bool started)
{
    struct dist_link *l = &s->cluster.link[call->node];
    struct term_pid pid = {slice_str(node_names[call->node]), 90 + call->index, 0, 7};
    struct buf b;
    buf_init(&b, 0);
    if (started)
        term_put_pid(&b, &pid);
    else
        term_put_atom(&b, "system_limit");
    call->started = true;
    spawn_deliver(s, call, l, buf_slice(&b), remote_call_on_spawn_reply);
    buf_fini(&b);
}

/* What a worker of erpc ends with: {Tag, return, Value}, {Tag, exit, Reason}, {Tag, error, Reason, Stack}. */
static void spawn_answer(struct sim *s, struct sim_call *call, struct dist_link *l, enum call_outcome outcome,
                         struct slice value)
{
    struct buf b;
    if (!call->started)
        sim_call_started(s, call, true);
    buf_init(&b, 0);
    if (outcome == CALL_NODEDOWN) {
        term_put_atom(&b, "noconnection");
    } else {
        bool raised = outcome == CALL_EXIT && sim_chance(s, 50);
        term_put_tuple(&b, raised ? 4 : 3);
        term_put_int(&b, call->wire_tag);
        term_put_atom(&b, outcome == CALL_RETURN ? "return" : raised ? "error" : "exit");
        term_put_raw(&b, value);
        if (raised)
            term_put_nil(&b);
    }
    spawn_deliver(s, call, l, buf_slice(&b), remote_call_on_monitor_exit);
    buf_fini(&b);
}

static void own_answer(struct sim *s, struct sim_call *call, enum call_outcome outcome, struct slice value)
{
    if (slots_get(&s->own_calls, call->handle) != call)
        return;
    own_forget(s, call);
    on_done(s, call->index, outcome, value);
}

void sim_call_answer(struct sim *s, struct sim_call *call, enum call_outcome outcome, struct slice value)
{
    struct dist_link *l = &s->cluster.link[call->node];
    bool question = call->asks == ASKS_USER;
    if (!l->up)
        return;
    if (question)
        call->state = CALL_ENDED;
    if (s->way == WAY_OWN)
        own_answer(s, call, outcome, value);
    else if (call->spawned)
        spawn_answer(s, call, l, outcome, value);
    else
        rex_answer(s, call, l, outcome, value);
}

/* ---- nodes that come and go ---- */

static void own_node_down(struct sim *s, uint32_t node)
{
    for (uint32_t i = 0; i < s->calls; i++) {
        struct sim_call *call = s->call[i];
        if (call->state != CALL_OPEN || call->node != node)
            continue;
        own_forget(s, call);
        on_done(s, i, CALL_NODEDOWN, SLICE_NONE);
    }
}

void sim_node_close(struct sim *s, uint32_t node)
{
    struct dist_link *l = &s->cluster.link[node];
    if (!l->up)
        return;
    sim_trace(s, "the link to %s closes", node_names[node]);
    l->up = false;
    l->closed = true;
}

/* Producers that have linked themselves to their stream. */
static void producers_down(struct sim *s, uint32_t node)
{
    for (uint32_t i = 0; i < s->calls; i++) {
        const struct sim_call *call = s->call[i];
        bool waits = call->state == CALL_OPEN && call->asks == ASKS_MAIN && call->node == node;
        for (uint32_t k = 0; waits && k < s->streams; k++)
            if (s->stream[k].open && s->stream[k].q == call->q && sim_chance(s, 30))
                load_producer_down(s, &s->stream[k]);
    }
}

/* In the server's order. */
void sim_node_down(struct sim *s, uint32_t node)
{
    struct dist_link *l = &s->cluster.link[node];
    if (!l->up && !l->closed)
        return;
    sim_trace(s, "node %s goes down", node_names[node]);
    l->up = l->closed = false;
    producers_down(s, node);
    if (s->way == WAY_OWN)
        own_node_down(s, node);
    else
        remote_call_on_link_down(s->rc, l);
    oracle_node_down(s, node);
    gateway_node_down(s->gw, slice_str(node_names[node]));
    for (uint32_t i = 0; i < s->calls; i++)
        if (s->call[i]->asks == ASKS_USER && s->call[i]->node == node)
            s->call[i]->state = CALL_ENDED;
}

void sim_node_up(struct sim *s, uint32_t node)
{
    struct dist_link *l = &s->cluster.link[node];
    if (l->up || l->closed)
        return;
    sim_trace(s, "node %s comes up", node_names[node]);
    l->up = true;
    l->handle += (handle_t)1 << 32;
    if (s->way != WAY_OWN)
        remote_call_on_link_up(s->rc, l);
}

/* ---- the processes of streams ---- */

static handle_t op_stream_open(void *ctx, uint64_t tag)
{
    struct sim *s = ctx;
    sim_rule(s, s->current, "a stream was opened for nobody");
    if (sim_chance(s, 3))
        return HANDLE_NONE;
    s->stream = sim_grow(s->stream, s->streams, sizeof(*s->stream));
    s->stream[s->streams] = (struct sim_stream){s->current, tag, true};
    s->streams_open++;
    return ++s->streams;
}

static void op_stream_put_pid(void *ctx, handle_t stream, struct buf *out)
{
    const struct sim *s = ctx;
    node_put_pid(&s->self, out, stream);
}

/* The clean end of producers is stream_process.c's affair; here they end by load_stream_down(). */
static void op_stream_told(void *ctx, handle_t stream)
{
    struct sim *s = ctx;
    sim_rule(s, stream > 0 && stream <= s->streams && s->stream[stream - 1].open, "a call of a stream that is not open");
    sim_rule(s, !s->opened, "a stream is told of its call inside another call");
}

static void op_stream_close(void *ctx, handle_t stream)
{
    struct sim *s = ctx;
    sim_rule(s, stream > 0 && stream <= s->streams && s->stream[stream - 1].open, "a stream was closed that is not open");
    s->stream[stream - 1].open = false;
    s->streams_open--;
}

struct stream_ops sim_stream_ops(struct sim *s)
{
    return (struct stream_ops){s, op_stream_open, op_stream_put_pid, op_stream_told, op_stream_told, op_stream_close};
}

/* ---- begin and end ---- */

void sim_cluster_init(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        s->cluster.link[i] = (struct dist_link){.sim = s, .node = i, .handle = handle_make(i, 1), .up = sim_chance(s, 80)};
    slots_init(&s->own_calls, 100000);
    s->self = (struct node_identity){.name = "gw@h", .alive = "gw", .host = "h", .creation = 5, .flags = DIST_FLAGS_DEFAULT};
    if (s->way == WAY_OWN)
        return;
    s->rc = remote_calls_new(&s->self, &s->cluster, &s->timers, &s->metrics, sim_chance(s, 20) ? 3 : 100000);
    remote_calls_set_pid(s->rc, calls_pid);
    s->real = remote_calls_ops(s->rc, s->way == WAY_REX ? CALL_REX : CALL_SPAWN);
}

void sim_cluster_fini(struct sim *s)
{
    for (uint32_t i = 0; i < s->calls; i++) {
        if (s->way == WAY_OWN)
            timer_disarm(&s->timers, &s->call[i]->timer);
        free(s->call[i]);
    }
    free(s->call);
    remote_calls_free(s->rc);
    slots_fini(&s->own_calls);
    buf_fini(&s->own_out);
    for (uint32_t i = 0; i < SIM_NODES; i++)
        buf_fini(&s->cluster.link[i].out);
    free(s->stream);
}
