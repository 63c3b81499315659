/*
 * spawn_server.c: see spawn_server.h. Every request makes a real process, so that pid, monitor, link and their end come
 * from the one place that knows how (process_table). erpc's own entry functions are known here; any other M:F is looked
 * up in the rpc table.
 *
 * Invariant: each well-formed request gets exactly one SPAWN_REPLY, before any other signal of that process.
 */
#include "spawn_server.h"

#include "dist_send.h"

enum { KEEP_BYTES = 64 * 1024 };

/* What runs between start and end of a spawned process. NULL ops everywhere: messages are dropped, calls refused. */
static const struct process_ops spawned_ops = {.kind = "spawned"};

void spawn_server_init(struct spawn_server *s, struct process_table *pt, const struct rpc_table *rpc, struct metrics *m)
{
    *s = (struct spawn_server){.processes = pt, .rpc = rpc, .metrics = m};
    buf_init(&s->value, 0);
    buf_init(&s->reason, 0);
}

void spawn_server_fini(struct spawn_server *s)
{
    buf_fini(&s->value);
    buf_fini(&s->reason);
}

/* ---- the request ---- */

/* Options that mean something to a BEAM's memory and scheduling only; erts_parse_spawn_opts() knows no others. */
static bool is_tuning(struct slice name)
{
    static const char *const names[] = {"priority",      "message_queue_data", "min_heap_size", "min_bin_vheap_size",
                                        "max_heap_size", "fullsweep_after",    "scheduler",     "async_dist"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (slice_is(name, names[i]))
            return true;
    return false;
}

/* One option: an atom or a pair. {monitor, Options} asks for a monitor like the bare atom does. */
static bool read_option(struct term_reader *r, int64_t *flags)
{
    struct slice name, value;
    uint32_t n;
    if (term_read_atom(r, &name) == BG_OK)
        n = 0;
    else if (term_read_tuple(r, &n) != BG_OK || n != 2 || term_read_atom(r, &name) != BG_OK ||
             term_skip(r, &value) != BG_OK)
        return false;
    if (slice_is(name, "monitor"))
        *flags |= DIST_SPAWN_FLAG_MONITOR;
    else if (slice_is(name, "link") && n == 0)
        *flags |= DIST_SPAWN_FLAG_LINK;
    else
        return n == 2 && is_tuning(name);
    return true;
}

/* False for an option that a BEAM would answer with badopt. */
static bool read_options(struct slice options, int64_t *flags)
{
    struct term_reader r = term_reader(options);
    uint32_t n;
    *flags = 0;
    if (term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!read_option(&r, flags))
            return false;
    return n == 0 || term_read_tail(&r) == BG_OK;
}

/* {31, Ref, From, Flags, PidOrReason} */
static void send_reply(struct dist_link *l, const struct dist_message *m, int64_t flags, struct slice result)
{
    struct buf *b = dist_link_begin(l, LINK_PROTOCOL);
    if (!b)
        return;
    dist_put_head(b, DIST_SPAWN_REPLY, 4);
    term_put_raw(b, m->ref);
    term_put_raw(b, m->from);
    term_put_int(b, flags);
    term_put_raw(b, result);
    dist_link_commit(l);
}

/* No process was made: flags 0 and a reason instead of a pid. */
static void refuse(struct dist_link *l, const struct dist_message *m, const char *why)
{
    struct buf atom;
    buf_init(&atom, 0);
    term_put_atom(&atom, why);
    if (buf_ok(&atom))
        send_reply(l, m, 0, buf_slice(&atom));
    buf_fini(&atom);
}

/* Sets up what was asked for, or nothing. */
static int add_relations(struct spawn_server *s, struct dist_link *l, const struct dist_message *m, handle_t p,
                         int64_t flags, struct slice pid)
{
    int rc = BG_OK;
    if (flags & DIST_SPAWN_FLAG_MONITOR)
        rc = process_add_monitor(s->processes, p, l, m->from, pid, m->ref);
    if (rc == BG_OK && (flags & DIST_SPAWN_FLAG_LINK)) {
        rc = process_add_link(s->processes, p, l, m->from);
        /* The caller must not hear of a process that it was told does not exist. */
        if (rc != BG_OK && (flags & DIST_SPAWN_FLAG_MONITOR))
            process_on_demonitor(s->processes, l, m->ref);
    }
    return rc;
}

/* ---- running ---- */

/* Counts, and leaves the value in s->value; what a large one took is given back at the next call. */
static enum rpc_outcome run(struct spawn_server *s, struct rpc_call *call, struct slice args)
{
    bool known;
    metric_inc(s->metrics, METRIC_RPC_IN);
    buf_shrink(&s->value, KEEP_BYTES);
    buf_shrink(&s->reason, KEEP_BYTES);
    enum rpc_outcome outcome = rpc_run(s->rpc, call, args, &s->value, &known);
    if (!known)
        metric_inc(s->metrics, METRIC_RPC_IN_UNDEF);
    return outcome;
}

/* [M, F, A] of erpc's entry functions, behind their own first argument if any. Leaves *call alone when it is not that.
 */
static bool read_mfa_args(struct term_reader *r, struct rpc_call *call, struct slice *args)
{
    struct slice module, function;
    if (term_read_atom(r, &module) != BG_OK || term_read_atom(r, &function) != BG_OK || term_skip(r, args) != BG_OK ||
        term_read_tail(r) != BG_OK)
        return false;
    call->module = module;
    call->function = function;
    return true;
}

/* erpc:execute_call(Res, M, F, A): the process ends with {Res, return, V} and so on. */
static bool execute_call(struct spawn_server *s, struct rpc_call *call, struct slice payload)
{
    struct term_reader r = term_reader(payload);
    struct slice res, args;
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK || n != 4 || term_skip(&r, &res) != BG_OK || !read_mfa_args(&r, call, &args))
        return false;
    call->self = HANDLE_NONE;
    call->shape = RPC_SHAPE_ERPC;
    call->ref = res;
    enum rpc_outcome outcome = run(s, call, args);
    if (outcome != RPC_LATER)
        rpc_put_erpc(&s->reason, res, call, outcome, buf_slice(&s->value));
    return true;
}

/* erpc:execute_cast(M, F, A): nobody waits for how it ends. */
static bool execute_cast(struct spawn_server *s, struct rpc_call *call, struct slice payload)
{
    struct term_reader r = term_reader(payload);
    struct slice args;
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK || n != 3 || !read_mfa_args(&r, call, &args))
        return false;
    call->self = HANDLE_NONE;
    enum rpc_outcome outcome = run(s, call, args);
    if (outcome != RPC_LATER)
        rpc_put_exit_reason(&s->reason, call, outcome, buf_slice(&s->value));
    return true;
}

/* spawn/4 and its kin: the payload is the argument list itself, and nobody reads a result. */
static bool execute_any(struct spawn_server *s, struct rpc_call *call, struct slice payload)
{
    enum rpc_outcome outcome = run(s, call, payload);
    if (outcome != RPC_LATER)
        rpc_put_exit_reason(&s->reason, call, outcome, buf_slice(&s->value));
    return true;
}

/* erpc's entry functions are no entries of the table: they are protocol. Given arguments that they do not have, they
 * are looked up there like any function, and are undef. */
static void execute(struct spawn_server *s, struct rpc_call *call, uint32_t arity, struct slice payload)
{
    bool erpc = slice_is(call->module, "erpc");
    bool done = false;
    if (erpc && arity == 4 && slice_is(call->function, "execute_call"))
        done = execute_call(s, call, payload);
    else if (erpc && arity == 3 && slice_is(call->function, "execute_cast"))
        done = execute_cast(s, call, payload);
    if (!done)
        execute_any(s, call, payload);
}

int spawn_server_request(struct spawn_server *s, struct dist_link *l, const struct dist_message *m)
{
    struct rpc_call call = {
        .caller_node = dist_link_node(l), .group_leader = m->group_leader, .caller = m->from, .link = l, .shape = RPC_SHAPE_SPAWN};
    uint8_t pid_bytes[PROCESS_PID_MAX];
    uint32_t arity;
    int64_t flags;
    if (dist_message_mfa(m->mfa, &call.module, &call.function, &arity) != BG_OK)
        return BG_EINVAL;
    if (!read_options(m->options, &flags)) {
        refuse(l, m, "badopt");
        return BG_OK;
    }
    handle_t p = m->payload.len ? process_start(s->processes, &spawned_ops, NULL) : HANDLE_NONE;
    struct slice pid = process_pid(s->processes, p, pid_bytes);
    int rc = p == HANDLE_NONE ? BG_ELIMIT : add_relations(s, l, m, p, flags, pid);
    if (rc != BG_OK) {
        process_end_atom(s->processes, p, "normal");
        if (rc != BG_EINVAL)
            refuse(l, m, "system_limit");
        return rc == BG_EINVAL ? BG_EINVAL : BG_OK;
    }
    send_reply(l, m, flags, pid);
    call.self = call.process = p;
    execute(s, &call, arity, m->payload);
    if (process_ops(s->processes, p) != &spawned_ops)
        return BG_OK; /* the function's owner took it over, or has ended it; or the answer comes later */
    if (buf_ok(&s->reason))
        process_end(s->processes, p, buf_slice(&s->reason));
    else
        process_end_atom(s->processes, p, "system_limit");
    return BG_OK;
}
