/*
 * erlang_text.h: terms as Erlang text, both ways, so that tests of the distribution read like transcripts.
 *
 *   atom 'quoted atom' 17 -1 "bytes" (STRING_EXT) <<"binary">> {tuple} [list|tail] #{key=>value}
 *   <node@host:id.serial> a pid, &node@host:1.2.3 a reference, fun m:f/1 an external fun
 *
 * Pids and references of the node GW get creation GW_CREATION, others PEER_CREATION. Recursive: for tests only.
 */
#ifndef BEAMGATE_ERLANG_TEXT_H
#define BEAMGATE_ERLANG_TEXT_H

#include <ctype.h>
#include <stdio.h>

#include "term.h"
#include "unit.h"

#define GW "gw@127.0.0.1"
enum { GW_CREATION = 77, PEER_CREATION = 99 };

static inline bool text_next(const char **t, char c)
{
    while (**t == ' ')
        (*t)++;
    if (**t != c)
        return false;
    (*t)++;
    return true;
}

static inline uint32_t text_creation(struct slice node)
{
    return slice_is(node, GW) ? GW_CREATION : PEER_CREATION;
}

/* node@host up to the colon. */
static inline struct slice text_node(const char **t)
{
    const char *colon = strchr(*t, ':');
    assert_non_null(colon);
    struct slice node = slice_make(*t, (size_t)(colon - *t));
    *t = colon + 1;
    return node;
}

static inline uint32_t text_number(const char **t)
{
    char *end;
    uint32_t v = (uint32_t)strtoul(*t, &end, 10);
    assert_ptr_not_equal(end, *t);
    *t = end;
    return v;
}

static inline struct slice text_atom(const char **t)
{
    if (**t == '\'') {
        const char *from = ++*t;
        *t = strchr(from, '\'');
        assert_non_null(*t);
        (*t)++;
        return slice_make(from, (size_t)(*t - 1 - from));
    }
    const char *from = *t;
    while (isalnum((unsigned char)**t) || strchr("_@", **t ? **t : ' '))
        (*t)++;
    if (*t == from)
        fail_msg("no term at \"%s\"", from);
    return slice_make(from, (size_t)(*t - from));
}

static void text_put(struct buf *b, const char **t);

static inline void text_put_pid(struct buf *b, const char **t)
{
    struct term_pid pid = {.node = text_node(t)};
    pid.creation = text_creation(pid.node);
    pid.id = text_number(t);
    assert_true(text_next(t, '.'));
    pid.serial = text_number(t);
    assert_true(text_next(t, '>'));
    term_put_pid(b, &pid);
}

static inline void text_put_ref(struct buf *b, const char **t)
{
    struct term_ref ref = {.node = text_node(t)};
    ref.creation = text_creation(ref.node);
    do
        ref.id[ref.words++] = text_number(t);
    while (ref.words < TERM_REF_WORDS && text_next(t, '.'));
    term_put_ref(b, &ref);
}

/* Elements up to the closing sign into a buffer of their own; returns how many. */
static inline uint32_t text_items(struct buf *items, const char **t, char close, bool pairs)
{
    uint32_t n = 0;
    if (text_next(t, close))
        return 0;
    for (;;) {
        text_put(items, t);
        n++;
        if (pairs) {
            assert_true(text_next(t, '=') && text_next(t, '>'));
            text_put(items, t);
        }
        if (text_next(t, ','))
            continue;
        if (close == ']' && **t == '|')
            return n;
        assert_true(text_next(t, close));
        return n;
    }
}

static inline void text_put_list(struct buf *b, const char **t)
{
    struct buf items;
    buf_init(&items, 0);
    uint32_t n = text_items(&items, t, ']', false);
    term_put_list(b, n);
    buf_add_slice(b, buf_slice(&items));
    if (n && text_next(t, '|')) {
        text_put(b, t);
        assert_true(text_next(t, ']'));
    } else if (n) {
        term_put_nil(b);
    }
    buf_fini(&items);
}

static inline void text_put_many(struct buf *b, const char **t, bool map)
{
    struct buf items;
    buf_init(&items, 0);
    uint32_t n = text_items(&items, t, '}', map);
    if (map)
        term_put_map(b, n);
    else
        term_put_tuple(b, n);
    buf_add_slice(b, buf_slice(&items));
    buf_fini(&items);
}

static inline void text_put_quoted(struct buf *b, const char **t, bool binary)
{
    const char *end = strchr(*t, '"');
    assert_non_null(end);
    size_t n = (size_t)(end - *t);
    if (binary) {
        term_put_binary(b, slice_make(*t, n));
        assert_int_equal(strncmp(end, "\">>", 3), 0);
        *t = end + 3;
        return;
    }
    buf_putc(b, 107);
    buf_putc(b, (int)(n >> 8));
    buf_putc(b, (int)(n & 0xff));
    buf_add(b, *t, n);
    *t = end + 1;
}

static inline void text_put_fun(struct buf *b, const char **t)
{
    buf_putc(b, 113);
    term_put_atom_slice(b, text_atom(t));
    assert_true(text_next(t, ':'));
    term_put_atom_slice(b, text_atom(t));
    assert_true(text_next(t, '/'));
    term_put_int(b, text_number(t));
}

static void text_put(struct buf *b, const char **t)
{
    while (**t == ' ')
        (*t)++;
    char *end;
    if (text_next(t, '{'))
        text_put_many(b, t, false);
    else if (text_next(t, '['))
        text_put_list(b, t);
    else if (text_next(t, '"'))
        text_put_quoted(b, t, false);
    else if (strncmp(*t, "<<\"", 3) == 0 && (*t += 3))
        text_put_quoted(b, t, true);
    else if (text_next(t, '<'))
        text_put_pid(b, t);
    else if (text_next(t, '&'))
        text_put_ref(b, t);
    else if (strncmp(*t, "#{", 2) == 0 && (*t += 2))
        text_put_many(b, t, true);
    else if (strncmp(*t, "fun ", 4) == 0 && (*t += 4))
        text_put_fun(b, t);
    else if (isdigit((unsigned char)**t) || **t == '-') {
        term_put_int(b, strtoll(*t, &end, 10));
        *t = end;
    } else
        term_put_atom_slice(b, text_atom(t));
}

/* Appends the term that text says. */
static inline void put_text(struct buf *b, const char *text)
{
    text_put(b, &text);
    if (*text)
        fail_msg("text goes on after the term: \"%s\"", text);
}

static void text_print(struct buf *out, struct term_reader *r);

static inline void text_print_items(struct buf *out, struct term_reader *r, uint32_t n, bool pairs)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        text_print(out, r);
        if (pairs) {
            buf_puts(out, "=>");
            text_print(out, r);
        }
    }
}

static inline void text_print_atom(struct buf *out, struct slice a)
{
    bool plain = a.len > 0 && islower((unsigned char)a.ptr[0]);
    for (size_t i = 0; i < a.len; i++)
        plain = plain && (isalnum((unsigned char)a.ptr[i]) || a.ptr[i] == '_' || a.ptr[i] == '@');
    buf_printf(out, plain ? "%.*s" : "'%.*s'", (int)a.len, a.ptr);
}

static inline void text_print_id(struct buf *out, struct slice node, uint32_t creation, const uint32_t *id, uint32_t n)
{
    buf_printf(out, "%.*s", (int)node.len, node.ptr);
    if (creation != text_creation(node))
        buf_printf(out, "(creation %u)", creation);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(out, i ? ".%u" : ":%u", id[i]);
}

static void text_print(struct buf *out, struct term_reader *r)
{
    struct slice s;
    struct term_pid pid;
    struct term_ref ref;
    int64_t v;
    uint32_t n;
    switch (term_peek(r)) {
    case TERM_INT:
        assert_int_equal(term_read_int(r, &v), 0);
        buf_printf(out, "%lld", (long long)v);
        break;
    case TERM_ATOM:
        assert_int_equal(term_read_atom(r, &s), 0);
        text_print_atom(out, s);
        break;
    case TERM_BINARY:
        assert_int_equal(term_read_binary(r, &s), 0);
        buf_printf(out, "<<\"%.*s\">>", (int)s.len, s.ptr);
        break;
    case TERM_STRING:
        assert_int_equal(term_read_string(r, &s), 0);
        buf_printf(out, "\"%.*s\"", (int)s.len, s.ptr);
        break;
    case TERM_NIL:
        assert_int_equal(term_skip(r, &s), 0);
        buf_puts(out, "[]");
        break;
    case TERM_LIST:
        assert_int_equal(term_read_list(r, &n), 0);
        buf_putc(out, '[');
        text_print_items(out, r, n, false);
        if (term_read_tail(r) != 0) {
            buf_putc(out, '|');
            text_print(out, r);
        }
        buf_putc(out, ']');
        break;
    case TERM_TUPLE:
        assert_int_equal(term_read_tuple(r, &n), 0);
        buf_putc(out, '{');
        text_print_items(out, r, n, false);
        buf_putc(out, '}');
        break;
    case TERM_MAP:
        assert_int_equal(term_read_map(r, &n), 0);
        buf_puts(out, "#{");
        text_print_items(out, r, n, true);
        buf_putc(out, '}');
        break;
    case TERM_PID:
        assert_int_equal(term_read_pid(r, &pid), 0);
        buf_putc(out, '<');
        text_print_id(out, pid.node, pid.creation, (uint32_t[]){pid.id, pid.serial}, 2);
        buf_putc(out, '>');
        break;
    case TERM_REF:
        assert_int_equal(term_read_ref(r, &ref), 0);
        buf_putc(out, '&');
        text_print_id(out, ref.node, ref.creation, ref.id, ref.words);
        break;
    case TERM_EXPORT:
        buf_puts(out, "fun ");
        r->p++; /* the tag: three terms follow */
        text_print(out, r);
        buf_putc(out, ':');
        text_print(out, r);
        buf_putc(out, '/');
        text_print(out, r);
        break;
    default:
        assert_int_equal(term_skip(r, &s), 0);
        buf_printf(out, "?%u", (unsigned)(uint8_t)s.ptr[0]);
    }
}

#endif
