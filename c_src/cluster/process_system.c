/*
 * process_system.c: what is asked about a process: its row, its state, the messages of OTP's module sys (see
 * process_state.h). Whoever asks (Observer's window, sys:get_state/1, etop) ends up here and is told the same.
 *
 * Invariant: nothing here changes an actor; a request that would (suspend, replace_state, terminate) is refused.
 */
#include "gen_call.h"
#include "process_state.h"

static void put_pid(const struct process_table *pt, handle_t p, struct buf *out)
{
    uint8_t pid[PROCESS_PID_MAX];
    buf_add_slice(out, process_pid(pt, p, pid));
}

struct process_row process_row(const struct process_table *pt, handle_t p)
{
    const struct process_ops *ops = process_ops(pt, p);
    struct process_row row;
    memset(&row, 0, offsetof(struct process_row, about) + 1);
    if (ops && ops->row)
        ops->row(process_owner(pt, p), p, &row);
    return row;
}

static void fill(struct process_state *st, handle_t p)
{
    const struct process_ops *ops = process_ops(st->table, p);
    if (!ops)
        return;
    process_state_atom(st, "kind", ops->kind);
    process_state_uint(st, "messages", process_info(st->table, p).messages);
    if (ops->state)
        ops->state(process_owner(st->table, p), p, st);
}

/* The head of a map, and of a list, counts what is known only behind it: the last four of its five bytes. */
enum { HEAD_COUNT = 1 };

static void set_count(struct buf *b, size_t head, uint32_t n)
{
    if (buf_ok(b))
        put_be32(b->data + head + HEAD_COUNT, n);
}

void process_put_state(const struct process_table *pt, handle_t p, struct buf *out)
{
    struct process_state st = {.table = pt, .out = out};
    size_t head = out->len;
    term_put_map(out, 0);
    fill(&st, p);
    set_count(out, head, st.pairs);
}

/* {"Text", as the head of a pair whose value follows. */
static void put_string_key(struct buf *out, const char *text)
{
    term_put_tuple(out, 2);
    process_state_string(out, text);
}

static void put_atom_key(struct buf *out, const char *key)
{
    term_put_tuple(out, 2);
    term_put_atom(out, key);
}

/* [{"Status", running}, {"Key", Value}, ...] */
static void put_pairs(const struct process_table *pt, handle_t p, struct buf *out)
{
    struct process_state st = {.table = pt, .out = out, .listed = true};
    size_t head = out->len;
    term_put_list(out, 1);
    put_string_key(out, "Status");
    term_put_atom(out, "running");
    fill(&st, p);
    term_put_nil(out);
    set_count(out, head, st.pairs + 1);
}

/* [{header, _}, {data, _}, {data, [{"State", _}]}]: Observer's window matches on just this. */
static void put_status_data(const struct process_table *pt, handle_t p, struct buf *out)
{
    term_put_list(out, 3);
    put_atom_key(out, "header");
    process_state_string(out, "Status of an actor of beamgate");
    put_atom_key(out, "data");
    put_pairs(pt, p, out);
    put_atom_key(out, "data");
    term_put_list(out, 1);
    put_string_key(out, "State");
    process_put_state(pt, p, out);
    term_put_nil(out);
    term_put_nil(out);
}

void process_put_status(const struct process_table *pt, handle_t p, struct buf *out)
{
    struct process_row row = process_row(pt, p);
    term_put_tuple(out, 4);
    term_put_atom(out, "status");
    put_pid(pt, p, out);
    put_atom_key(out, "module");
    term_put_atom(out, "beamgate");
    term_put_list(out, 5);
    term_put_nil(out); /* process dictionary */
    term_put_atom(out, "running");
    put_pid(pt, row.parent != HANDLE_NONE ? row.parent : p, out);
    term_put_nil(out); /* debug options */
    put_status_data(pt, p, out);
    term_put_nil(out);
}

static void put_unknown(const struct gen_call *call, struct buf *out)
{
    put_atom_key(out, "error");
    put_atom_key(out, "unknown_system_msg");
    term_put_raw(out, call->request);
}

void process_answer_system(const struct process_table *pt, handle_t p, struct dist_link *from,
                           const struct gen_call *call)
{
    struct buf reply;
    uint8_t pid[PROCESS_PID_MAX];
    struct slice me = process_pid(pt, p, pid);
    buf_init(&reply, 0);
    if (term_is_atom(call->request, "get_state"))
        process_put_state(pt, p, &reply);
    else if (term_is_atom(call->request, "get_status"))
        process_put_status(pt, p, &reply);
    else
        put_unknown(call, &reply);
    if (buf_ok(&reply))
        gen_reply(from, me, call, buf_slice(&reply));
    else
        gen_reply_notsup(from, me, call);
    buf_fini(&reply);
}
