/*
 * term_check.c: the one walk that makes bytes from another node safe: every length and count against
 * what is left, every atom, float and fun header, nesting against a bound.
 *
 * Invariant: after term_check() returned 0, each term of the packet lies wholly inside it and the readers of
 * term.c and ei_decode_* may walk it. Counts are compared with the bytes left before anything is
 * done with them (a term takes at least one byte), so a forged count costs nothing.
 *
 * Not checked: that the keys of a map differ, and that a list's tail is a list.
 */
#include <math.h>
#include <stdlib.h>

#include "json.h"
#include "term_tags.h"
#include "text_scan.h"

enum {
    FUN_FIXED = 4 + 1 + 16 + 4 + 4, /* size, arity, uniq, index, number of free variables */
    PID_NUMBERS = 4 + 4 + 4,        /* id, serial, creation */
    REF_CREATION = 4,
    FLOAT_TEXT = 31,
    ATOM_CHARACTERS = 255
};

const struct term_rule term_rules[256] = {
    [TAG_NEW_FLOAT] = {TERM_FLOAT, SHAPE_FIXED, 8},
    [TAG_BIT_BINARY] = {TERM_BITSTRING, SHAPE_BYTES32, 1},
    [TAG_NEW_PID] = {TERM_PID, SHAPE_NODE, PID_NUMBERS},
    [TAG_NEW_PORT] = {TERM_PORT, SHAPE_NODE, 8},
    [TAG_NEWER_REF] = {TERM_REF, SHAPE_REF, REF_CREATION},
    [TAG_SMALL_INT] = {TERM_INT, SHAPE_FIXED, 1},
    [TAG_INT] = {TERM_INT, SHAPE_FIXED, 4},
    [TAG_FLOAT] = {TERM_FLOAT, SHAPE_FIXED, 31},
    [TAG_ATOM] = {TERM_ATOM, SHAPE_BYTES16, 0},
    [TAG_REF] = {TERM_REF, SHAPE_NODE, 5},
    [TAG_PORT] = {TERM_PORT, SHAPE_NODE, 5},
    [TAG_PID] = {TERM_PID, SHAPE_NODE, 9},
    [TAG_SMALL_TUPLE] = {TERM_TUPLE, SHAPE_TUPLE8, 0},
    [TAG_LARGE_TUPLE] = {TERM_TUPLE, SHAPE_TUPLE32, 0},
    [TAG_NIL] = {TERM_NIL, SHAPE_FIXED, 0},
    [TAG_STRING] = {TERM_STRING, SHAPE_BYTES16, 0},
    [TAG_LIST] = {TERM_LIST, SHAPE_LIST, 0},
    [TAG_BINARY] = {TERM_BINARY, SHAPE_BYTES32, 0},
    [TAG_SMALL_BIG] = {TERM_INT, SHAPE_BYTES8, 1},
    [TAG_LARGE_BIG] = {TERM_INT, SHAPE_BYTES32, 1},
    [TAG_NEW_FUN] = {TERM_FUN, SHAPE_FUN, 0},
    [TAG_EXPORT] = {TERM_EXPORT, SHAPE_EXPORT, 0},
    [TAG_NEW_REF] = {TERM_REF, SHAPE_REF, 1},
    [TAG_SMALL_ATOM] = {TERM_ATOM, SHAPE_BYTES8, 0},
    [TAG_MAP] = {TERM_MAP, SHAPE_MAP, 0},
    [TAG_ATOM_UTF8] = {TERM_ATOM, SHAPE_BYTES16, 0},
    [TAG_SMALL_ATOM_UTF8] = {TERM_ATOM, SHAPE_BYTES8, 0},
    [TAG_V4_PORT] = {TERM_PORT, SHAPE_NODE, 12},
};

/* ---- heads ---- */

/* Steps n bytes, or NULL. p may be NULL, so that steps chain. */
static const uint8_t *step(const uint8_t *p, const uint8_t *end, size_t n)
{
    return p && (size_t)(end - p) >= n ? p + n : NULL;
}

/* A length field of `width` bytes, `extra` bytes, then that many bytes. */
static const uint8_t *head_bytes(const uint8_t *p, const uint8_t *end, size_t width, size_t extra)
{
    if ((size_t)(end - p) < width)
        return NULL;
    size_t n = width == 1 ? *p : width == 2 ? get_be16(p) : get_be32(p);
    return step(p + width, end, n + extra);
}

/* A count of `width` bytes that stands for count * each + plus terms. */
static const uint8_t *head_count(const uint8_t *p, const uint8_t *end, size_t width, uint64_t each, uint64_t plus,
                                 uint64_t *children)
{
    if ((size_t)(end - p) < width)
        return NULL;
    *children = (width == 1 ? *p : get_be32(p)) * each + plus;
    p += width;
    return *children <= (uint64_t)(end - p) ? p : NULL;
}

const uint8_t *term_atom_text(const uint8_t *p, const uint8_t *end, struct slice *text)
{
    if (!p || p == end || term_rules[*p].kind != TERM_ATOM)
        return NULL;
    size_t width = term_rules[*p].shape == SHAPE_BYTES8 ? 1 : 2;
    const uint8_t *next = head_bytes(p + 1, end, width, 0);
    if (next)
        *text = slice_make(p + 1 + width, (size_t)(next - p) - 1 - width);
    return next;
}

/* The number of words comes first but belongs to the end. */
static const uint8_t *head_ref(const uint8_t *p, const uint8_t *end, size_t creation)
{
    struct slice node;
    if (end - p < 2)
        return NULL;
    size_t words = get_be16(p);
    if (words < 1 || words > TERM_REF_WORDS)
        return NULL;
    return step(term_atom_text(p + 2, end, &node), end, creation + 4 * words);
}

/* Steps over a leaf of one kind, or NULL. p may be NULL. */
static const uint8_t *skip_kind(const uint8_t *p, const uint8_t *end, enum term_kind kind)
{
    uint64_t children;
    if (!p || p == end || term_rules[*p].kind != kind || term_rules[*p].shape == SHAPE_BAD)
        return NULL;
    return term_head(p, end, &children);
}

/* Module and function atoms, arity. */
static const uint8_t *head_export(const uint8_t *p, const uint8_t *end)
{
    struct slice name;
    return skip_kind(term_atom_text(term_atom_text(p, end, &name), end, &name), end, TERM_INT);
}

/* The fixed part, module, old index, old uniq, pid; the free variables follow as terms. */
static const uint8_t *head_fun(const uint8_t *p, const uint8_t *end, uint64_t *children)
{
    struct slice module;
    const uint8_t *next = step(p, end, FUN_FIXED);
    if (!next)
        return NULL;
    *children = get_be32(next - 4);
    next = term_atom_text(next, end, &module);
    next = skip_kind(skip_kind(next, end, TERM_INT), end, TERM_INT);
    next = skip_kind(next, end, TERM_PID);
    return next && *children <= (uint64_t)(end - next) ? next : NULL;
}

/* The only place that knows how long terms are. */
const uint8_t *term_head(const uint8_t *p, const uint8_t *end, uint64_t *children)
{
    struct slice node;
    *children = 0;
    if (p >= end)
        return NULL;
    const struct term_rule *rule = &term_rules[*p++];
    switch ((enum term_shape)rule->shape) {
    case SHAPE_FIXED:
        return step(p, end, rule->extra);
    case SHAPE_BYTES8:
        return head_bytes(p, end, 1, rule->extra);
    case SHAPE_BYTES16:
        return head_bytes(p, end, 2, rule->extra);
    case SHAPE_BYTES32:
        return head_bytes(p, end, 4, rule->extra);
    case SHAPE_TUPLE8:
        return head_count(p, end, 1, 1, 0, children);
    case SHAPE_TUPLE32:
        return head_count(p, end, 4, 1, 0, children);
    case SHAPE_LIST:
        /* No encoder writes a list of no elements with a tail; the term would be its tail. */
        p = head_count(p, end, 4, 1, 1, children);
        return *children > 1 ? p : NULL;
    case SHAPE_MAP:
        return head_count(p, end, 4, 2, 0, children);
    case SHAPE_NODE:
        return step(term_atom_text(p, end, &node), end, rule->extra);
    case SHAPE_REF:
        return head_ref(p, end, rule->extra);
    case SHAPE_EXPORT:
        return head_export(p, end);
    case SHAPE_FUN:
        return head_fun(p, end, children);
    case SHAPE_BAD:
        break;
    }
    return NULL;
}

/* ---- contents ---- */

/* UTF-8 characters: all bytes but continuation bytes. */
static size_t characters(struct slice utf8)
{
    size_t n = 0;
    for (size_t i = 0; i < utf8.len; i++)
        n += (utf8.ptr[i] & 0xc0) != 0x80;
    return n;
}

/* p stands on the atom's tag. Latin-1 atoms hold any bytes; whoever reads one decides (term_read_atom refuses). */
static bool atom_ok(const uint8_t *p, const uint8_t *end)
{
    struct slice text;
    if (!term_atom_text(p, end, &text))
        return false;
    if (*p == TAG_ATOM || *p == TAG_SMALL_ATOM)
        return text.len <= ATOM_CHARACTERS;
    return utf8_valid_prefix(text.ptr, text.len) == text.len &&
           (text.len <= ATOM_CHARACTERS || characters(text) <= ATOM_CHARACTERS);
}

/* Module and function; that the arity is an integer the head has seen. */
static bool export_ok(const uint8_t *p, const uint8_t *end)
{
    struct slice module;
    return atom_ok(p, end) && atom_ok(term_atom_text(p, end, &module), end);
}

/* Infinity and NaN have no place in Erlang, and none in JSON. */
static bool float_ok(const uint8_t *p)
{
    double v;
    return term_float_value(p, &v);
}

/* What the head's lengths do not tell. p stands on the tag; the head is known to fit. */
static bool content_ok(const uint8_t *p, const uint8_t *end)
{
    switch (*p) {
    case TAG_ATOM:
    case TAG_SMALL_ATOM:
    case TAG_ATOM_UTF8:
    case TAG_SMALL_ATOM_UTF8:
        return atom_ok(p, end);
    case TAG_FLOAT:
    case TAG_NEW_FLOAT:
        return float_ok(p);
    case TAG_SMALL_BIG:
        return p[2] <= 1;
    case TAG_LARGE_BIG:
        return p[5] <= 1;
    case TAG_BIT_BINARY:
        return p[5] <= 8 && (p[5] > 0) == (get_be32(p + 1) > 0);
    case TAG_NEW_REF:
    case TAG_NEWER_REF:
        return atom_ok(p + 3, end);
    case TAG_REF:
    case TAG_PID:
    case TAG_NEW_PID:
    case TAG_PORT:
    case TAG_NEW_PORT:
    case TAG_V4_PORT:
        return atom_ok(p + 1, end);
    case TAG_EXPORT:
        return export_ok(p + 1, end);
    case TAG_NEW_FUN:
        return atom_ok(p + 1 + FUN_FIXED, end);
    default:
        return true;
    }
}

/* FLOAT_EXT is text as printf wrote it; only very old nodes send it. */
bool term_float_value(const uint8_t *p, double *v)
{
    if (*p == TAG_NEW_FLOAT) {
        uint64_t bits = get_be64(p + 1);
        memcpy(v, &bits, sizeof(bits));
        return isfinite(*v);
    }
    char text[FLOAT_TEXT + 1], *stop;
    memcpy(text, p + 1, FLOAT_TEXT);
    text[FLOAT_TEXT] = '\0';
    *v = strtod(text, &stop);
    return stop > text && *stop == '\0' && isfinite(*v);
}

/* ---- the walk ---- */

/* The node's name, at p, of a pid or reference: ASCII in the encoding that every node of today uses; size bytes of numbers
 * follow it. NULL as below. */
static inline const uint8_t *easy_node(const uint8_t *p, const uint8_t *end, size_t size)
{
    size_t left = (size_t)(end - p);
    if (left < 2 || *p != TAG_SMALL_ATOM_UTF8)
        return NULL;
    size_t n = p[1];
    return n + size <= left - 2 && text_is_ascii((const char *)p + 2, n) ? p + 2 + n + size : NULL;
}

/* Most terms of any packet in one step: returns what follows a leaf that is entirely fine, or NULL when the term is
 * another or needs the closer look. */
static inline const uint8_t *easy_leaf(const uint8_t *p, const uint8_t *end)
{
    size_t left = (size_t)(end - p), n;
    if (left < 2)
        return NULL;
    switch (*p) {
    case TAG_SMALL_INT:
        return p + 2;
    case TAG_INT:
        return left < 5 ? NULL : p + 5;
    case TAG_SMALL_BIG:
        n = p[1];
        return n + 3 <= left && p[2] <= 1 ? p + 3 + n : NULL;
    case TAG_NEW_FLOAT:
        return left >= 9 && float_ok(p) ? p + 9 : NULL;
    case TAG_NIL:
        return p + 1;
    case TAG_SMALL_ATOM_UTF8:
        n = p[1];
        return n <= left - 2 && text_is_ascii((const char *)p + 2, n) ? p + 2 + n : NULL;
    case TAG_BINARY:
        if (left < 5)
            return NULL;
        n = get_be32(p + 1);
        return n <= left - 5 ? p + 5 + n : NULL;
    case TAG_NEW_PID:
        return easy_node(p + 1, end, PID_NUMBERS);
    case TAG_NEWER_REF:
        n = left < 3 ? 0 : get_be16(p + 1);
        return n >= 1 && n <= TERM_REF_WORDS ? easy_node(p + 3, end, REF_CREATION + 4 * n) : NULL;
    default:
        return NULL;
    }
}

const uint8_t *term_check_leaf(const uint8_t *p, const uint8_t *end)
{
    return easy_leaf(p, end);
}

struct level {
    uint64_t pending;       /* terms still to come */
    const uint8_t *fun_end; /* where the size field of a fun says it ends, else NULL */
};

/* Says why the term at p is refused; the walk does not go on. */
static int refuse(const uint8_t *start, const uint8_t *p, const uint8_t *end, struct err *e)
{
    size_t pos = (size_t)(p - start);
    if (p == end)
        return err_set(e, BG_EINVAL, pos, "term is cut short at byte %zu", pos);
    if (*p == TAG_COMPRESSED)
        return err_set(e, BG_EINVAL, pos, "compressed terms are refused");
    if (term_rules[*p].shape == SHAPE_BAD)
        return err_set(e, BG_EINVAL, pos, "unknown term tag %d at byte %zu", *p, pos);
    return err_set(e, BG_EINVAL, pos, "malformed term with tag %d at byte %zu", *p, pos);
}

/* Where the walk stands; the innermost level is kept apart from the others, since every term changes it. */
struct walk {
    const uint8_t *start;
    const uint8_t *p;
    const uint8_t *end;
    struct level now;
    unsigned depth;
    unsigned max_depth;
    struct level outer[TERM_DEPTH_MAX];
};

/* One term that easy_leaf() left: a leaf, or the beginning of a container, whose level is entered. */
static int enter(struct walk *w, struct err *e)
{
    uint64_t children;
    const uint8_t *p = w->p, *next = term_open(p, w->end, &children);
    bool fun = *p == TAG_NEW_FUN;
    if (!next) {
        next = term_head(p, w->end, &children);
        if (!next || !content_ok(p, w->end))
            return refuse(w->start, p, w->end, e);
    }
    w->p = next;
    if (children == 0 && !fun)
        return BG_OK;
    if (w->depth == w->max_depth)
        return err_set(e, BG_ELIMIT, (size_t)(p - w->start), "term is nested too deep");
    w->outer[w->depth++] = w->now;
    /* A fun's size counts itself but not the tag. It is only compared, never walked by. */
    w->now = (struct level){children, fun ? step(p + 1, w->end, get_be32(p + 1)) : NULL};
    return fun && !w->now.fun_end ? refuse(w->start, p, w->end, e) : BG_OK;
}

int term_check(const void *data, size_t len, unsigned max_depth, size_t *used, struct err *e)
{
    struct walk w;
    int rc = BG_OK;
    w.start = w.p = data;
    w.end = (const uint8_t *)slice_end(slice_make(data, len));
    w.now = (struct level){1, NULL};
    w.depth = 0;
    w.max_depth = max_depth < TERM_DEPTH_MAX ? max_depth : TERM_DEPTH_MAX;
    for (;;) {
        const uint8_t *p = w.p, *next;
        uint64_t pending = w.now.pending;
        for (; pending > 0 && (next = easy_leaf(p, w.end)) != NULL; pending--)
            p = next;
        w.p = p;
        w.now.pending = pending;
        if (w.now.pending > 0) {
            if (w.p == w.end)
                return refuse(w.start, w.p, w.end, e);
            w.now.pending--;
            rc = enter(&w, e);
            if (rc)
                return rc;
            continue;
        }
        if (w.now.fun_end && w.now.fun_end != w.p)
            return err_set(e, BG_EINVAL, (size_t)(w.p - w.start), "a function's size is wrong");
        if (w.depth == 0)
            break;
        w.now = w.outer[--w.depth];
    }
    *used = (size_t)(w.p - w.start);
    return BG_OK;
}
