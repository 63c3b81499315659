/*
 * process_state.c: see process_state.h: what actors write their rows and states with. The questions are in
 * process_system.c.
 *
 * Invariant: texts that clients chose travel as binaries, never as atoms.
 */
#include "process_state.h"

#include "json.h"

void process_row_about(struct process_row *row, struct slice text)
{
    size_t used = strlen(row->about), room = sizeof(row->about) - 1 - used;
    size_t n = utf8_valid_prefix(text.ptr, text.len < room ? text.len : room);
    if (n)
        memcpy(row->about + used, text.ptr, n);
    row->about[used + n] = '\0';
}

void process_state_string(struct buf *out, const char *text)
{
    enum { STRING_EXT = 107 };
    uint8_t head[3] = {STRING_EXT};
    put_be16(head + 1, (uint16_t)strlen(text));
    buf_add(out, head, sizeof(head));
    buf_puts(out, text);
}

static void put_key(struct process_state *st, const char *key)
{
    st->pairs++;
    if (!st->listed) {
        term_put_atom(st->out, key);
        return;
    }
    term_put_tuple(st->out, 2);
    process_state_string(st->out, key);
}

void process_state_text(struct process_state *st, const char *key, struct slice text)
{
    put_key(st, key);
    if (text.ptr)
        term_put_binary(st->out, text);
    else
        term_put_atom(st->out, "nil");
}

void process_state_uint(struct process_state *st, const char *key, uint64_t v)
{
    put_key(st, key);
    term_put_uint(st->out, v);
}

void process_state_atom(struct process_state *st, const char *key, const char *atom)
{
    put_key(st, key);
    term_put_atom(st->out, atom);
}

void process_state_pid(struct process_state *st, const char *key, handle_t p)
{
    uint8_t pid[PROCESS_PID_MAX];
    put_key(st, key);
    if (p == HANDLE_NONE)
        term_put_atom(st->out, "nil");
    else
        buf_add_slice(st->out, process_pid(st->table, p, pid));
}
