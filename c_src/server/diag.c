/*
 * diag.c: what the parts of Diagnostics share: pairs of a map, processes, nodes, the loop, malloc, counters.
 *
 * Rule: a number is measured, or it is 0 because there is nothing of its kind (docs/diagnostics.md says which); it is
 * never made up to look like a BEAM's.
 */
#include "diag.h"

#include <malloc.h>

#include "observer.h"
#include "process_state.h"

void diag_key(struct buf *out, const char *key)
{
    term_put_atom(out, key);
}

void diag_put_uint(struct buf *out, const char *key, uint64_t v)
{
    diag_key(out, key);
    term_put_uint(out, v);
}

void diag_put_word(struct buf *out, const char *key, const char *atom)
{
    diag_key(out, key);
    term_put_atom(out, atom);
}

void diag_put_flag(struct buf *out, const char *key, bool v)
{
    diag_put_word(out, key, v ? "true" : "false");
}

void diag_put_string(struct buf *out, const char *key, const char *text)
{
    diag_key(out, key);
    term_put_text(out, text);
}

void diag_put_since(struct buf *out, const char *key, uint64_t total, uint64_t since)
{
    diag_key(out, key);
    term_put_tuple(out, 2);
    term_put_uint(out, total);
    term_put_uint(out, since);
}

void diag_put_nodes(const struct server *s, struct buf *out)
{
    struct list_mark m = list_open(out);
    struct dist_link *l;
    for (uint32_t pos = 0; s->cluster && m.count < DIAG_NODES_MAX && (l = cluster_next_link(s->cluster, &pos)) != NULL;
         m.count++)
        term_put_atom_slice(out, dist_link_node(l));
    list_close(out, &m);
}

void diag_put_process(const struct server *s, handle_t p, bool stacktrace, struct buf *out)
{
    struct process_info info = process_info(s->processes, p);
    term_put_map(out, stacktrace ? 10 : 9);
    diag_key(out, "pid");
    node_put_pid(&s->self, out, p);
    diag_key(out, "registered_name");
    if (info.name.len)
        term_put_atom_slice(out, info.name);
    else
        term_put_nil(out);
    diag_put_word(out, "node", s->self.name);
    diag_put_word(out, "status", "waiting"); /* the one that runs is the loop's, which is none of them */
    struct process_row row = process_row(s->processes, p);
    diag_put_uint(out, "memory", observer_process_bytes(s, p));
    diag_put_uint(out, "message_queue_len", row.waiting);
    diag_put_uint(out, "reductions", (uint64_t)info.messages + row.work);
    diag_put_uint(out, "total_heap_size", 0);
    diag_key(out, "current_function");
    put_mfa(out, info.kind ? info.kind : "undefined", 1);
    if (!stacktrace)
        return;
    diag_key(out, "current_stacktrace");
    term_put_nil(out);
}

static void put_load(const struct server *s, const char *key, unsigned seconds, struct buf *out)
{
    struct loop_load l = loop_meter_load(&s->loop_meter, clock_now_us(), seconds);
    diag_key(out, key);
    term_put_map(out, 5);
    diag_put_uint(out, "elapsed_us", l.elapsed_us);
    diag_put_uint(out, "busy_us", l.busy_us);
    diag_put_uint(out, "turns", l.turns);
    diag_put_uint(out, "longest_turn_us", l.longest_turn_us);
    diag_put_uint(out, "timer_lag_us", l.latest_timer_us);
}

void diag_put_loop(const struct server *s, struct buf *out)
{
    struct busy cpu = observer_busy(s);
    term_put_map(out, 7);
    put_load(s, "last_1s", 1, out);
    put_load(s, "last_10s", 10, out);
    put_load(s, "last_60s", 60, out);
    diag_put_uint(out, "busy_us", s->loop_meter.busy_us);
    diag_put_uint(out, "turns", s->loop_meter.turns);
    diag_put_uint(out, "longest_turn_us", s->loop_meter.longest_turn_us);
    diag_put_uint(out, "cpu_us", cpu.active_us);
}

void diag_put_malloc(struct buf *out)
{
    struct mallinfo2 m = mallinfo2();
    term_put_map(out, 6);
    diag_put_uint(out, "heap_bytes", m.arena);
    diag_put_uint(out, "heap_used_bytes", m.uordblks);
    diag_put_uint(out, "heap_free_bytes", m.fordblks);
    diag_put_uint(out, "heap_free_blocks", m.ordblks);
    diag_put_uint(out, "mapped_bytes", m.hblkhd);
    diag_put_uint(out, "mapped_blocks", m.hblks);
}

void diag_put_metrics(const struct server *s, struct buf *out)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        n += s->metrics.value[i] != 0;
    term_put_map(out, n);
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        if (s->metrics.value[i])
            diag_put_uint(out, metric_name[i], s->metrics.value[i]);
}

bool diag_put_answer(struct server *s, const char *module, const char *function, struct buf *out)
{
    struct rpc_call call = {.module = slice_str(module), .function = slice_str(function)};
    const struct rpc_entry *e = rpc_find(&s->rpc, call.module, call.function, 0);
    size_t before = out->len;
    if (!e)
        return false;
    if (e->fn(s, &call, out) == RPC_RETURN)
        return true;
    buf_truncate(out, before);
    return false;
}
