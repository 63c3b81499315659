/*
 * ctl_json.c: terms as JSON for operators. What clients get is the affair of term_to_json(), which refuses what JSON
 * has no form for; here everything has one, since a person or a script only reads it.
 *
 * Works without recursion: a stack of open containers as deep as a checked term can be.
 */
#include "ctl.h"

#include "json.h"
#include "term.h"

struct open_container {
    uint32_t left; /* values that still come */
    bool map;
    bool list; /* a tail follows the last value */
    bool first;
};

struct walk {
    struct term_reader r;
    struct buf *out;
    struct open_container open[TERM_DEPTH_DEFAULT + 1];
    unsigned depth;
};

static void put_inspected(struct slice term, struct buf *out)
{
    enum { SHOWN_MAX = 4096 };
    struct buf text;
    buf_init(&text, SHOWN_MAX * 2);
    term_inspect(term, &text, SHOWN_MAX);
    json_put_text(out, buf_slice(&text));
    buf_fini(&text);
}

static void put_string(struct slice bytes, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%s%u", i ? "," : "", (uint8_t)bytes.ptr[i]);
    buf_putc(out, ']');
}

static void put_atom(struct slice name, struct buf *out)
{
    static const char *const words[][2] = {{"nil", "null"}, {"undefined", "null"}, {"true", "true"}, {"false", "false"}};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (slice_is(name, words[i][0])) {
            buf_puts(out, words[i][1]);
            return;
        }
    }
    json_put_text(out, name);
}

/* JSON has numbers of any length, but nobody reads more digits than these; cut ones would be no number. */
static void put_big(struct slice term, struct buf *out)
{
    enum { DIGITS_MAX = 1024 };
    struct buf text;
    buf_init(&text, 0);
    term_inspect(term, &text, DIGITS_MAX);
    bool cut = text.len > 0 && text.data[text.len - 1] == '.';
    if (cut)
        json_put_text(out, buf_slice(&text));
    else
        buf_add_slice(out, buf_slice(&text));
    buf_fini(&text);
}

/* Anything but a container. */
static bool put_scalar(struct walk *w)
{
    struct slice term, text;
    struct term_reader r = w->r;
    int64_t i;
    double d;
    enum term_kind kind = term_peek(&r);
    if (term_skip(&w->r, &term) != BG_OK)
        return false;
    if (kind == TERM_INT && term_read_int(&r, &i) == BG_OK)
        json_put_int(w->out, i);
    else if (kind == TERM_FLOAT && term_read_float(&r, &d) == BG_OK)
        json_put_float(w->out, d);
    else if (kind == TERM_ATOM && term_read_atom(&r, &text) == BG_OK)
        put_atom(text, w->out);
    else if (kind == TERM_BINARY && term_read_binary(&r, &text) == BG_OK)
        json_put_text(w->out, text);
    else if (kind == TERM_STRING && term_read_string(&r, &text) == BG_OK)
        put_string(text, w->out);
    else if (kind == TERM_BIG)
        put_big(term, w->out);
    else if (kind == TERM_NIL)
        buf_puts(w->out, "[]");
    else
        put_inspected(term, w->out);
    return true;
}

static bool open_container(struct walk *w, enum term_kind kind)
{
    struct open_container c = {.first = true, .map = kind == TERM_MAP, .list = kind == TERM_LIST};
    uint32_t n = 0;
    int rc = c.map ? term_read_map(&w->r, &n) : c.list ? term_read_list(&w->r, &n) : term_read_tuple(&w->r, &n);
    if (rc != BG_OK || w->depth == ARRAY_SIZE(w->open))
        return false;
    c.left = n;
    w->open[w->depth++] = c;
    buf_putc(w->out, c.map ? '{' : '[');
    return true;
}

static bool put_key(struct walk *w)
{
    struct slice key, text;
    if (term_skip(&w->r, &key) != BG_OK)
        return false;
    if (term_text(key, &text))
        json_put_text(w->out, text);
    else
        put_inspected(key, w->out);
    buf_putc(w->out, ':');
    return true;
}

/* A proper list's tail is []; another one is shown as its last value. */
static bool close_container(struct walk *w)
{
    struct open_container *c = &w->open[w->depth - 1];
    struct slice tail;
    if (c->list && term_read_tail(&w->r) != BG_OK) {
        if (term_skip(&w->r, &tail) != BG_OK)
            return false;
        buf_putc(w->out, ',');
        put_inspected(tail, w->out);
    }
    buf_putc(w->out, c->map ? '}' : ']');
    w->depth--;
    return true;
}

static bool is_container(enum term_kind kind)
{
    return kind == TERM_MAP || kind == TERM_LIST || kind == TERM_TUPLE;
}

/* One step: a value begins, or a container ends. */
static bool step(struct walk *w)
{
    if (w->depth > 0) {
        struct open_container *c = &w->open[w->depth - 1];
        if (c->left == 0)
            return close_container(w);
        c->left--;
        if (!c->first)
            buf_putc(w->out, ',');
        c->first = false;
        if (c->map && !put_key(w))
            return false;
    }
    enum term_kind kind = term_peek(&w->r);
    return is_container(kind) ? open_container(w, kind) : put_scalar(w);
}

void ctl_put_term(struct slice term, struct buf *out)
{
    struct walk w = {.r = term_reader(term), .out = out};
    size_t start = out->len;
    bool ok = step(&w);
    while (ok && w.depth > 0 && buf_ok(out))
        ok = step(&w);
    if (ok || !buf_ok(out))
        return;
    buf_truncate(out, start);
    put_inspected(term, out);
}
