/*
 * remote_call.c: see remote_call.h. A call is a record behind a handle; the handle travels as the gen_call tag (rex)
 * or in the request's reference (SPAWN_REQUEST) and comes back with the answer, so that finding the call costs one
 * array access and an answer that is late finds nothing. What does not change from call to call stands ready as bytes.
 *
 * Invariants: a committed call ends once, in finish(), and is out of every table before its callback runs; a call is
 * in its link's list from commit to end, so a lost link ends exactly its own calls. At most one call is open (begun and
 * not yet committed) at a time.
 *
 * Over SPAWN_REQUEST we ask for [monitor] only. A link would bring the result a second time, as the reason of an exit
 * signal, and stopping the worker needs no link: exit/2 with kill does it.
 */
#include "remote_call.h"

#include <stdlib.h>

#include "dist_send.h"
#include "list.h"
#include "peer_table.h"
#include "slots.h"

#define DFLAG_SPAWN (UINT64_C(1) << 32)

enum {
    POOL_CHUNK = 128,
    ARGS_WHOLE = UINT32_MAX, /* the caller appends one list term instead of elements */
    USER_TIMEOUT_US = 10 * 1000 * 1000
};

/* One call. Taken from a pool that only grows to the most that were ever in flight: the steady state allocates nothing.
 */
struct call {
    struct timeout timeout;
    struct list by_link;
    struct call *next_free; /* in the pool */
    struct remote_calls *calls;
    struct callee *callee;
    handle_t self;
    call_done_fn *fn;
    void *owner;
    uint64_t tag;
    struct term_pid worker; /* SPAWN: who runs it, once the reply came; node is not kept */
    bool spawned;           /* sent as SPAWN_REQUEST */
    bool process;           /* of the function itself, not of erpc: it ends without a report */
    bool has_worker;
};

struct pool_chunk {
    struct pool_chunk *next;
    struct call call[POOL_CHUNK];
};

/* What is known of the callee's user process. ASKED lasts one round trip; NONE lasts as long as the link. */
enum user_state { USER_UNKNOWN, USER_ASKED, USER_KNOWN, USER_NONE };

/* The node at the other end of a link, as far as it is called. */
struct callee {
    handle_t link;
    struct list calls;
    enum user_state user_state;
    char *user; /* pid term of the node's user process, the group leader of what we run there */
    size_t user_len;
    bool down;
};

struct way_ctx {
    struct remote_calls *calls;
    enum call_way way;
};

struct remote_calls {
    const struct node_identity *self;
    struct cluster *cluster;
    struct timers *timers;
    struct metrics *metrics;
    struct slots slots;
    struct call *free;
    struct pool_chunk *chunks;
    struct peer_table callees;
    struct way_ctx ways[2];
    bool spawn_wanted; /* somebody has asked for CALL_SPAWN: ask each new link for its user process at once */

    struct buf pid;       /* our pid */
    struct buf rex_head;  /* control message and message up to the tag */
    struct buf spawn_mfa; /* from {erpc, execute_call, 4} to the head of the argument list */
    struct buf scratch;
    struct buf worker;   /* holds ran_by over SPAWN_REQUEST */
    struct slice ran_by; /* see remote_call_ran_by() */

    /* The call between begin and commit. */
    struct call *open;
    struct dist_link *open_link;
    struct buf *open_buf;
    uint32_t open_nargs;
};

/* ---- the calls ---- */

struct remote_calls *remote_calls_new(const struct node_identity *self, struct cluster *c, struct timers *timers,
                                      struct metrics *m, uint32_t max_calls)
{
    struct remote_calls *rc = calloc(1, sizeof(*rc));
    if (!rc)
        return NULL;
    *rc = (struct remote_calls){.self = self, .cluster = c, .timers = timers, .metrics = m};
    slots_init(&rc->slots, max_calls);
    rc->ways[CALL_REX] = (struct way_ctx){rc, CALL_REX};
    rc->ways[CALL_SPAWN] = (struct way_ctx){rc, CALL_SPAWN};
    buf_init(&rc->pid, 0);
    buf_init(&rc->rex_head, 0);
    buf_init(&rc->spawn_mfa, 0);
    buf_init(&rc->scratch, 0);
    buf_init(&rc->worker, 0);
    return rc;
}

static void callee_free(struct callee *callee)
{
    free(callee->user);
    free(callee);
}

void remote_calls_free(struct remote_calls *rc)
{
    if (!rc)
        return;
    uint32_t pos = 0;
    struct call *call;
    while ((call = slots_next(&rc->slots, &pos, NULL)))
        timer_disarm(rc->timers, &call->timeout.timer);
    struct callee *callee;
    for (pos = 0; (callee = peer_next(&rc->callees, &pos));)
        callee_free(callee);
    while (rc->chunks) {
        struct pool_chunk *chunk = rc->chunks;
        rc->chunks = chunk->next;
        free(chunk);
    }
    peer_table_fini(&rc->callees);
    slots_fini(&rc->slots);
    buf_fini(&rc->pid);
    buf_fini(&rc->rex_head);
    buf_fini(&rc->spawn_mfa);
    buf_fini(&rc->scratch);
    buf_fini(&rc->worker);
    free(rc);
}

/* Everything of a request that does not depend on the call is encoded here, once: sending one is then mostly memcpy. */
void remote_calls_set_pid(struct remote_calls *rc, handle_t self_pid)
{
    buf_reset(&rc->pid);
    node_put_pid(rc->self, &rc->pid, self_pid);

    buf_reset(&rc->rex_head);
    dist_put_reg_send(&rc->rex_head, buf_slice(&rc->pid), SLICE_LIT("rex"));
    term_put_tuple(&rc->rex_head, 3);
    term_put_atom(&rc->rex_head, "$gen_call");
    term_put_tuple(&rc->rex_head, 2);
    term_put_raw(&rc->rex_head, buf_slice(&rc->pid));

    buf_reset(&rc->spawn_mfa);
    term_put_tuple(&rc->spawn_mfa, 3);
    term_put_atom(&rc->spawn_mfa, "erpc");
    term_put_atom(&rc->spawn_mfa, "execute_call");
    term_put_int(&rc->spawn_mfa, 4);
    term_put_list(&rc->spawn_mfa, 1);
    term_put_atom(&rc->spawn_mfa, "monitor");
    term_put_nil(&rc->spawn_mfa);
    term_put_version(&rc->spawn_mfa);
    term_put_list(&rc->spawn_mfa, 4);
    /* Made once at start: without memory for a hundred bytes there is no start. */
    assert_always(buf_ok(&rc->pid) && buf_ok(&rc->rex_head) && buf_ok(&rc->spawn_mfa));
}

/* Records come in chunks and go back to a list; chunks are freed at the end only. */
static struct call *pool_take(struct remote_calls *rc)
{
    if (!rc->free) {
        struct pool_chunk *chunk = calloc(1, sizeof(*chunk));
        if (!chunk)
            return NULL;
        chunk->next = rc->chunks;
        rc->chunks = chunk;
        for (unsigned i = 0; i < POOL_CHUNK; i++) {
            chunk->call[i].next_free = rc->free;
            rc->free = &chunk->call[i];
        }
    }
    struct call *call = rc->free;
    rc->free = call->next_free;
    return call;
}

static void pool_give(struct remote_calls *rc, struct call *call)
{
    call->next_free = rc->free;
    rc->free = call;
}

static void on_timeout(struct timer *t);

/* NULL when as many calls are in flight as may be, or without memory: both are CALL_BUSY to the caller. */
static struct call *call_new(struct remote_calls *rc, struct callee *callee, bool spawned)
{
    struct call *call = pool_take(rc);
    if (!call)
        return NULL;
    *call = (struct call){.timeout.timer.fn = on_timeout, .calls = rc, .callee = callee, .spawned = spawned};
    list_init(&call->by_link);
    call->self = slots_add(&rc->slots, call);
    if (call->self != HANDLE_NONE)
        return call;
    pool_give(rc, call);
    return NULL;
}

/* Undoes call_new() at any stage: an unarmed timer and an unlinked node are left alone. */
static void call_free(struct remote_calls *rc, struct call *call)
{
    timer_disarm(rc->timers, &call->timeout.timer);
    list_remove(&call->by_link);
    slots_remove(&rc->slots, call->self);
    pool_give(rc, call);
}

/* The one way a committed call ends with its callback. */
static void finish(struct remote_calls *rc, struct call *call, enum call_outcome outcome, struct slice value)
{
    static const int counters[] = {[CALL_TIMEOUT] = METRIC_CALLS_TIMEOUT,
                                   [CALL_NODEDOWN] = METRIC_CALLS_NODEDOWN,
                                   [CALL_EXIT] = METRIC_CALLS_EXIT,
                                   [CALL_RETURN] = -1,
                                   [CALL_BADRPC] = -1,
                                   [CALL_BUSY] = -1};
    call_done_fn *fn = call->fn;
    void *owner = call->owner;
    uint64_t tag = call->tag;
    call_free(rc, call);
    if (counters[outcome] >= 0)
        metric_inc(rc->metrics, (enum metric)counters[outcome]);
    fn(owner, tag, outcome, value);
}

/* ---- tags ---- */

/* The handle as a non-negative 63-bit integer: one bit of the generation is lost, two billion calls of the same slot
 * remain between a call and its double. */
static int64_t tag_of(handle_t h)
{
    return (int64_t)(h & INT64_MAX);
}

static struct call *call_by_tag(const struct remote_calls *rc, int64_t tag)
{
    uint32_t index = handle_index((handle_t)tag);
    if (tag < 0 || index >= rc->slots.cap)
        return NULL;
    struct call *call = rc->slots.slot[index].object;
    return call && tag_of(call->self) == tag ? call : NULL;
}

/* ---- stopping the work behind a call ---- */

/* {20, Me, Worker, Ref} and {8, Me, Worker, kill}. */
static void kill_worker(struct remote_calls *rc, struct dist_link *l, struct slice worker, handle_t call)
{
    static const char kill[] = "w\4kill";
    struct buf ref;
    buf_init(&ref, 0);
    node_put_ref(rc->self, &ref, call);
    if (buf_ok(&ref)) {
        const struct slice demonitor[] = {buf_slice(&rc->pid), worker, buf_slice(&ref)};
        const struct slice exit2[] = {buf_slice(&rc->pid), worker, slice_make(kill, sizeof(kill) - 1)};
        dist_send_control(l, LINK_PROTOCOL, DIST_DEMONITOR_P, demonitor, ARRAY_SIZE(demonitor));
        dist_send_control(l, LINK_PROTOCOL, DIST_EXIT2, exit2, ARRAY_SIZE(exit2));
    }
    buf_fini(&ref);
}

/* Before the worker is known there is nothing to do: its SPAWN_REPLY will find no call, and that stops it. */
static void stop_work(struct remote_calls *rc, const struct call *call)
{
    struct dist_link *l = cluster_link_by_handle(rc->cluster, call->callee->link);
    if (!call->has_worker || !l)
        return;
    struct term_pid worker = call->worker;
    struct buf pid;
    worker.node = dist_link_node(l);
    buf_init(&pid, 0);
    term_put_pid(&pid, &worker);
    if (buf_ok(&pid))
        kill_worker(rc, l, buf_slice(&pid), call->self);
    buf_fini(&pid);
}

/* The work is stopped before the callback, which may well call the same node again. */
static void on_timeout(struct timer *t)
{
    struct call *call = container_of(t, struct call, timeout.timer);
    stop_work(call->calls, call);
    finish(call->calls, call, CALL_TIMEOUT, SLICE_NONE);
}

/* Over rex there is no way to stop the work; its answer will be counted as stale. */
void remote_call_cancel(struct remote_calls *rc, handle_t h)
{
    struct call *call = slots_get(&rc->slots, h);
    if (!call || call == rc->open)
        return;
    stop_work(rc, call);
    call_free(rc, call);
}

/* ---- sending ---- */

static struct callee *callee_of(struct remote_calls *rc, handle_t link)
{
    bool made;
    struct callee *callee = peer_need(&rc->callees, link, sizeof(*callee), &made);
    if (made) {
        callee->link = link;
        list_init(&callee->calls);
    }
    return callee;
}

/* {6, Me, '', rex} | {'$gen_call', {Me, Tag}, {call, M, F, Args, user}}, up to M. */
static void put_rex_head(struct remote_calls *rc, struct buf *b, const struct call *call)
{
    term_put_raw(b, buf_slice(&rc->rex_head));
    term_put_int(b, tag_of(call->self));
    buf_puts(b, "h\5w\4call");
}

/* {29, Ref, Me, User, {erpc, execute_call, 4}, [monitor]} | [Tag, M, F, Args], up to M. */
static void put_spawn_head(struct remote_calls *rc, struct buf *b, const struct call *call)
{
    dist_put_head(b, DIST_SPAWN_REQUEST, 5);
    node_put_ref(rc->self, b, call->self);
    term_put_raw(b, buf_slice(&rc->pid));
    term_put_raw(b, slice_make(call->callee->user, call->callee->user_len));
    term_put_raw(b, buf_slice(&rc->spawn_mfa));
    term_put_int(b, tag_of(call->self));
}

/* The record exists before the packet is opened, since its handle is the tag; if the link refuses, it is given back. */
static struct buf *open_packet(struct remote_calls *rc, struct dist_link *l, struct callee *callee, bool spawned,
                               uint32_t nargs)
{
    struct call *call = call_new(rc, callee, spawned);
    if (!call)
        return NULL;
    struct buf *b = dist_link_begin(l, LINK_DATA);
    if (!b) {
        call_free(rc, call);
        return NULL;
    }
    rc->open = call;
    rc->open_link = l;
    rc->open_buf = b;
    rc->open_nargs = nargs;
    return b;
}

static struct buf *open_call(struct remote_calls *rc, struct dist_link *l, struct callee *callee, bool spawned,
                             struct slice module, struct slice function, uint32_t nargs)
{
    struct buf *b = open_packet(rc, l, callee, spawned, nargs);
    if (!b)
        return NULL;
    if (spawned)
        put_spawn_head(rc, b, rc->open);
    else
        put_rex_head(rc, b, rc->open);
    term_put_atom_slice(b, module);
    term_put_atom_slice(b, function);
    if (nargs != ARGS_WHOLE)
        term_put_list(b, nargs);
    return b;
}

static void ask_user(struct remote_calls *rc, struct dist_link *l, struct callee *callee);

/* True when a SPAWN_REQUEST can go to that link now: the node knows it, and its user process, which must be the group
 * leader (08 §4.1 C: it has to be a pid), is known. */
static bool can_spawn(struct remote_calls *rc, struct dist_link *l, struct callee *callee)
{
    if (!(dist_link_flags(l) & DFLAG_SPAWN))
        return false;
    if (callee->user_state == USER_UNKNOWN) {
        rc->spawn_wanted = true;
        ask_user(rc, l, callee);
    }
    return callee->user_state == USER_KNOWN;
}

/* All that can go wrong is found before a byte is written: no link, a link on its way down, too much waiting. */
static struct callee *callee_for_call(struct remote_calls *rc, struct dist_link *l, enum call_outcome *why)
{
    assert_always(rc->open == NULL && rc->pid.len > 0);
    *why = CALL_NODEDOWN;
    if (!l)
        return NULL;
    struct callee *callee = callee_of(rc, dist_link_handle(l));
    if (callee && callee->down)
        return NULL;
    *why = CALL_BUSY;
    return callee;
}

static struct buf *begin(struct remote_calls *rc, struct slice node, enum call_way way, struct slice module,
                         struct slice function, uint32_t nargs, enum call_outcome *why)
{
    struct dist_link *l = cluster_link(rc->cluster, node);
    struct callee *callee = callee_for_call(rc, l, why);
    if (!callee)
        return NULL;
    bool spawned = way == CALL_SPAWN && can_spawn(rc, l, callee);
    return open_call(rc, l, callee, spawned, module, function, nargs);
}

struct buf *remote_call_begin(struct remote_calls *rc, struct slice node, enum call_way way, struct slice module,
                              struct slice function, uint32_t nargs, enum call_outcome *why)
{
    assert_always(nargs != ARGS_WHOLE);
    return begin(rc, node, way, module, function, nargs, why);
}

/* Ends the argument list and, over rex, names the group leader: the atom user, which rex resolves on its own node. */
static void put_tail(struct buf *b, const struct call *call, uint32_t nargs)
{
    if (call->process)
        return;
    if (nargs != ARGS_WHOLE && nargs > 0)
        term_put_nil(b);
    if (call->spawned)
        term_put_nil(b);
    else
        buf_puts(b, "w\4user");
}

/* The timer comes first: once the packet is closed there is no taking it back, and a call without deadline is a leak.
 */
handle_t remote_call_commit(struct remote_calls *rc, uint64_t timeout_us, call_done_fn *fn, void *owner, uint64_t tag)
{
    struct call *call = rc->open;
    struct dist_link *l = rc->open_link;
    assert_always(call != NULL);
    rc->open = NULL;
    put_tail(rc->open_buf, call, rc->open_nargs);
    if (timeout_arm_in(rc->timers, &call->timeout, timeout_us) != BG_OK) {
        dist_link_abort(l);
        call_free(rc, call);
        return HANDLE_NONE;
    }
    if (dist_link_commit(l) != BG_OK) {
        call_free(rc, call);
        return HANDLE_NONE;
    }
    call->fn = fn;
    call->owner = owner;
    call->tag = tag;
    list_append(&call->callee->calls, &call->by_link);
    metric_inc(rc->metrics, METRIC_CALLS);
    return call->self;
}

void remote_call_abort(struct remote_calls *rc)
{
    struct call *call = rc->open;
    assert_always(call != NULL);
    rc->open = NULL;
    dist_link_abort(rc->open_link);
    call_free(rc, call);
}

handle_t remote_call(struct remote_calls *rc, struct slice node, enum call_way way, const char *module,
                     const char *function, struct slice args, uint64_t timeout_us, call_done_fn *fn, void *owner,
                     uint64_t tag)
{
    enum call_outcome why;
    struct buf *b = begin(rc, node, way, slice_str(module), slice_str(function), ARGS_WHOLE, &why);
    if (!b)
        return HANDLE_NONE;
    term_put_raw(b, args);
    return remote_call_commit(rc, timeout_us, fn, owner, tag);
}

/* {29, Ref, Me, Leader, {M, F, Arity}, [monitor]}, up to the message. */
static void put_process_head(struct remote_calls *rc, struct buf *b, struct slice leader, const char *module,
                             const char *function, uint32_t arity)
{
    dist_put_head(b, DIST_SPAWN_REQUEST, 5);
    node_put_ref(rc->self, b, rc->open->self);
    term_put_raw(b, buf_slice(&rc->pid));
    term_put_raw(b, leader);
    term_put_tuple(b, 3);
    term_put_atom(b, module);
    term_put_atom(b, function);
    term_put_uint(b, arity);
    term_put_list(b, 1);
    term_put_atom(b, "monitor");
    term_put_nil(b);
    term_put_version(b);
}

handle_t remote_spawn(struct remote_calls *rc, handle_t link, struct slice leader, const char *module,
                      const char *function, uint32_t arity, struct slice args, uint64_t timeout_us, call_done_fn *fn,
                      void *owner, uint64_t tag)
{
    enum call_outcome why;
    struct dist_link *l = cluster_link_by_handle(rc->cluster, link);
    struct callee *callee = callee_for_call(rc, l, &why);
    if (!callee || !(dist_link_flags(l) & DFLAG_SPAWN) || (leader.len == 0 && !can_spawn(rc, l, callee)))
        return HANDLE_NONE;
    struct buf *b = open_packet(rc, l, callee, true, ARGS_WHOLE);
    if (!b)
        return HANDLE_NONE;
    rc->open->process = true;
    put_process_head(rc, b, leader.len ? leader : slice_make(callee->user, callee->user_len), module, function, arity);
    term_put_raw(b, args);
    return remote_call_commit(rc, timeout_us, fn, owner, tag);
}

/* ---- the group leader of what we run on a node ---- */

static void on_user(void *owner, uint64_t link, enum call_outcome outcome, struct slice value)
{
    struct remote_calls *rc = owner;
    struct callee *callee = peer_get(&rc->callees, link);
    struct dist_link *l = cluster_link_by_handle(rc->cluster, link);
    struct term_reader r = term_reader(value);
    struct term_pid pid;
    if (!callee || !l)
        return;
    callee->user_state = USER_NONE;
    if (outcome != CALL_RETURN || term_read_pid(&r, &pid) != BG_OK || !slice_eq(pid.node, dist_link_node(l)))
        return;
    callee->user = slice_dup(value);
    callee->user_len = value.len;
    if (callee->user)
        callee->user_state = USER_KNOWN;
}

/* erlang:whereis(user) over rex, once a link. */
static void ask_user(struct remote_calls *rc, struct dist_link *l, struct callee *callee)
{
    struct buf *b = open_call(rc, l, callee, false, SLICE_LIT("erlang"), SLICE_LIT("whereis"), 1);
    if (!b)
        return;
    term_put_atom_slice(b, SLICE_LIT("user"));
    if (remote_call_commit(rc, USER_TIMEOUT_US, on_user, rc, callee->link) != HANDLE_NONE)
        callee->user_state = USER_ASKED;
}

void remote_call_on_link_up(struct remote_calls *rc, struct dist_link *l)
{
    struct callee *callee = rc->spawn_wanted ? callee_of(rc, dist_link_handle(l)) : NULL;
    if (callee)
        (void)can_spawn(rc, l, callee);
}

/* Only this link's list is walked; what a callback starts elsewhere is not touched. */
void remote_call_on_link_down(struct remote_calls *rc, struct dist_link *l)
{
    struct callee *callee = peer_get(&rc->callees, dist_link_handle(l));
    if (!callee)
        return;
    callee->down = true; /* a callback that calls again must not come back here */
    while (!list_empty(&callee->calls))
        finish(rc, container_of(callee->calls.next, struct call, by_link), CALL_NODEDOWN, SLICE_NONE);
    peer_take(&rc->callees, dist_link_handle(l));
    callee_free(callee);
}

/* ---- answers ---- */

/* {badrpc, {'EXIT', R}} is an exit, {badrpc, nodedown} a lost node, {badrpc, R} what it says, anything else a value:
 * rpc:call itself cannot tell a function that returns such a tuple from one that failed (E-182). */
static enum call_outcome classify(struct slice result, struct slice *value)
{
    struct term_reader r = term_reader(result);
    uint32_t n;
    *value = result;
    if (term_read_tagged(&r, "badrpc", &n) != BG_OK || n != 2)
        return CALL_RETURN;
    if (term_read_last(&r, value) != BG_OK)
        return CALL_RETURN;
    if (term_is_atom(*value, "nodedown")) {
        *value = SLICE_NONE;
        return CALL_NODEDOWN;
    }
    r = term_reader(*value);
    if (term_read_tagged(&r, "EXIT", &n) != BG_OK || n != 2)
        return CALL_BADRPC;
    return term_read_last(&r, value) == BG_OK ? CALL_EXIT : CALL_BADRPC;
}

/* The call over rex that a tag stands for, if its answer may come over l; otherwise the answer is counted as stale. */
static struct call *call_of_answer(struct remote_calls *rc, struct dist_link *l, int64_t tag)
{
    struct call *call = call_by_tag(rc, tag);
    if (call && call != rc->open && !call->spawned && call->callee->link == dist_link_handle(l))
        return call;
    metric_inc(rc->metrics, METRIC_CALLS_STALE);
    return NULL;
}

/* {Tag, ...: leaves the reader before the result. */
static bool read_tag(struct term_reader *r, int64_t *tag)
{
    uint32_t n;
    return term_read_tuple(r, &n) == BG_OK && n == 2 && term_read_int(r, tag) == BG_OK;
}

void remote_call_on_answer(struct remote_calls *rc, struct dist_link *l, const struct dist_answer *a)
{
    struct slice value;
    struct call *call = call_of_answer(rc, l, a->tag);
    if (!call)
        return;
    enum call_outcome outcome = classify(a->result, &value);
    rc->ran_by = a->from; /* rex answers from the process that ran the function (OTP 23: rpc:handle_call/3) */
    finish(rc, call, outcome, value);
    rc->ran_by = SLICE_NONE;
}

bool remote_call_on_message(struct remote_calls *rc, struct dist_link *l, struct slice sender, struct slice msg)
{
    struct term_reader r = term_reader(msg);
    struct dist_answer a = {.from = sender};
    if (!read_tag(&r, &a.tag) || term_read_last(&r, &a.result) != BG_OK)
        return false;
    remote_call_on_answer(rc, l, &a);
    return true;
}

bool remote_call_on_unread(struct remote_calls *rc, struct dist_link *l, struct slice unread)
{
    /* The readers check their bounds themselves, so a look at unchecked bytes is safe. */
    struct term_reader r = term_reader(unread);
    int64_t tag;
    if (!read_tag(&r, &tag))
        return false;
    struct call *call = call_of_answer(rc, l, tag);
    if (call)
        finish(rc, call, CALL_BADRPC, SLICE_LIT("w\14system_limit"));
    return true;
}

/* The call that a reference of ours stands for: *h is HANDLE_NONE when it is none of ours, and NULL comes back when the
 * call has ended or belongs to another link. */
static struct call *call_by_ref(const struct remote_calls *rc, struct dist_link *l, const struct term_ref *ref,
                                handle_t *h)
{
    *h = node_ref_handle(rc->self, ref);
    struct call *call = slots_get(&rc->slots, *h);
    if (!call || call == rc->open || !call->spawned || call->callee->link != dist_link_handle(l))
        return NULL;
    return call;
}

/* A reply for a call that is gone means that somebody gave up before the worker was known: now it can be stopped. */
bool remote_call_on_spawn_reply(struct remote_calls *rc, struct dist_link *l, const struct term_ref *ref,
                                struct slice result)
{
    handle_t h;
    struct call *call = call_by_ref(rc, l, ref, &h);
    struct term_reader r = term_reader(result);
    struct term_pid pid;
    if (h == HANDLE_NONE)
        return false;
    bool started = term_read_pid(&r, &pid) == BG_OK;
    if (call && started) {
        call->worker = pid;
        call->worker.node = SLICE_NONE;
        call->has_worker = true;
    } else if (call) {
        /* system_limit, badopt...: what rpc:call shows as {badrpc, {'EXIT', Reason}}; notsup stays bare there. */
        finish(rc, call, term_is_atom(result, "notsup") ? CALL_BADRPC : CALL_EXIT, result);
    } else {
        metric_inc(rc->metrics, METRIC_CALLS_STALE);
        if (started)
            kill_worker(rc, l, result, h);
    }
    return true;
}

/* {Res, error, Reason, Stack} as {Reason, Stack}: the two stand side by side already. */
static enum call_outcome error_with_stack(struct remote_calls *rc, struct term_reader *r, struct slice *value)
{
    buf_reset(&rc->scratch);
    term_put_tuple(&rc->scratch, 2);
    buf_add(&rc->scratch, r->p, (size_t)(r->end - r->p));
    *value = buf_ok(&rc->scratch) ? buf_slice(&rc->scratch) : SLICE_LIT("w\6enomem");
    return CALL_EXIT;
}

/* {Res, error, {erpc, R}}: erpc's own complaints. rpc:call shows them as {'EXIT', R}. */
static enum call_outcome erpc_error(struct slice reason, struct slice *value)
{
    struct term_reader r = term_reader(reason);
    uint32_t n;
    *value = reason;
    if (term_read_tagged(&r, "erpc", &n) == BG_OK && n == 2 && term_read_last(&r, value) != BG_OK)
        *value = reason;
    return CALL_EXIT;
}

/* The reason with which an erpc worker ended (08 §4.1 C). Anything but its own report is the reason of a crash. */
static enum call_outcome read_report(struct remote_calls *rc, const struct call *call, struct slice reason,
                                     struct slice *value)
{
    struct term_reader r = term_reader(reason);
    struct slice class, what;
    uint32_t n;
    int64_t tag;
    *value = reason;
    if (term_is_atom(reason, "noconnection")) {
        *value = SLICE_NONE;
        return CALL_NODEDOWN;
    }
    if (call->process && term_is_atom(reason, "normal")) {
        *value = SLICE_NONE;
        return CALL_RETURN;
    }
    if (call->process)
        return CALL_EXIT;
    if (term_read_tuple(&r, &n) != BG_OK || n < 3 || n > 4 || term_read_int(&r, &tag) != BG_OK ||
        tag != tag_of(call->self) || term_read_atom(&r, &class) != BG_OK)
        return CALL_EXIT;
    if (n == 4)
        return slice_is(class, "error") ? error_with_stack(rc, &r, value) : CALL_EXIT;
    if (term_read_last(&r, &what) != BG_OK)
        return CALL_EXIT;
    if (slice_is(class, "return") || slice_is(class, "throw"))
        return classify(what, value);
    if (slice_is(class, "error"))
        return erpc_error(what, value);
    *value = what;
    return CALL_EXIT;
}

/* The worker ended: with its report, or because somebody killed it. Either way the call is over. */
bool remote_call_on_monitor_exit(struct remote_calls *rc, struct dist_link *l, const struct term_ref *ref,
                                 struct slice reason)
{
    handle_t h;
    struct call *call = call_by_ref(rc, l, ref, &h);
    struct slice value;
    if (h == HANDLE_NONE)
        return false;
    if (!call) {
        metric_inc(rc->metrics, METRIC_CALLS_STALE);
        return true;
    }
    enum call_outcome outcome = read_report(rc, call, reason, &value);
    if (call->has_worker) {
        struct term_pid worker = call->worker;
        worker.node = dist_link_node(l);
        buf_reset(&rc->worker);
        term_put_pid(&rc->worker, &worker);
        rc->ran_by = buf_slice(&rc->worker);
    }
    finish(rc, call, outcome, value);
    rc->ran_by = SLICE_NONE;
    return true;
}

struct slice remote_call_ran_by(const struct remote_calls *rc)
{
    return rc->ran_by;
}

uint32_t remote_calls_in_flight(const struct remote_calls *rc)
{
    return rc->slots.count;
}

/* ---- for the rules ---- */

static uint32_t op_nodes(void *ctx, struct buf *out)
{
    const struct way_ctx *w = ctx;
    uint32_t n = 0;
    struct dist_link *l;
    for (uint32_t pos = 0; (l = cluster_next_link(w->calls->cluster, &pos)) != NULL; n++)
        term_put_atom_slice(out, dist_link_node(l));
    return n;
}

static bool op_node_up(void *ctx, struct slice node)
{
    struct way_ctx *w = ctx;
    return cluster_link(w->calls->cluster, node) != NULL;
}

static struct buf *op_begin(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                            enum call_outcome *why)
{
    struct way_ctx *w = ctx;
    return remote_call_begin(w->calls, node, w->way, module, function, nargs, why);
}

static handle_t op_commit(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag)
{
    return remote_call_commit(((struct way_ctx *)ctx)->calls, timeout_us, done, owner, tag);
}

static void op_abort(void *ctx)
{
    remote_call_abort(((struct way_ctx *)ctx)->calls);
}

static void op_cancel(void *ctx, handle_t call)
{
    remote_call_cancel(((struct way_ctx *)ctx)->calls, call);
}

struct call_ops remote_calls_ops(struct remote_calls *rc, enum call_way way)
{
    return (struct call_ops){&rc->ways[way], op_node_up, op_begin, op_commit, op_abort, op_cancel, op_nodes};
}
