/*
 * term_compare.c: whether two checked terms are the same value, whatever encoders wrote them. Used where
 * configurations are compared, not on the request path.
 *
 * Walks both terms side by side with a bounded stack. Where a map's keys stand in another order, values are
 * compared as pairs of their own.
 */
#include "term_tags.h"

/* Two sequences of terms that must be equal one by one, or, with `map`, the pairs of one map of which each must
 * be in the other. */
struct frame {
    struct term_reader a;
    struct term_reader b; /* map: where the next key is expected */
    uint64_t left;
    bool map;
    struct term_reader pairs; /* map: the first key of b */
    uint64_t pair_count;
};

struct comparison {
    unsigned depth;
    struct frame frame[TERM_DEPTH_DEFAULT];
};

/* ---- leaves ---- */

/* Magnitudes come without leading zeros. */
static bool same_big(const struct term_big *a, const struct term_big *b)
{
    return a->negative == b->negative && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static bool same_int(struct term_reader a, struct term_reader b)
{
    int64_t x, y;
    struct term_big p, q;
    if (term_read_int(&a, &x) == BG_OK)
        return term_read_int(&b, &y) == BG_OK && x == y;
    return term_read_big(&a, &p) && term_read_big(&b, &q) && same_big(&p, &q);
}

/* 0.0 and -0.0 are the same, as before OTP 27. */
static bool same_float(struct term_reader a, struct term_reader b)
{
    double x, y;
    return term_read_float(&a, &x) == BG_OK && term_read_float(&b, &y) == BG_OK && x == y;
}

static bool same_atom(struct term_reader a, struct term_reader b)
{
    struct slice x, y;
    return term_read_atom(&a, &x) == BG_OK && term_read_atom(&b, &y) == BG_OK && slice_eq(x, y);
}

static bool same_pid(struct term_reader a, struct term_reader b)
{
    struct term_pid x, y;
    return term_read_pid(&a, &x) == BG_OK && term_read_pid(&b, &y) == BG_OK && slice_eq(x.node, y.node) &&
           x.id == y.id && x.serial == y.serial && x.creation == y.creation;
}

static bool same_ref(struct term_reader a, struct term_reader b)
{
    struct term_ref x, y;
    return term_read_ref(&a, &x) == BG_OK && term_read_ref(&b, &y) == BG_OK && slice_eq(x.node, y.node) &&
           x.creation == y.creation && x.words == y.words && memcmp(x.id, y.id, sizeof(x.id)) == 0;
}

/* A STRING_EXT with a LIST_EXT of as many bytes. */
static bool same_string(struct term_reader string, struct term_reader list)
{
    struct slice bytes;
    uint32_t n;
    if (term_read_string(&string, &bytes) || term_read_list(&list, &n) || n != bytes.len)
        return false;
    for (size_t i = 0; i < bytes.len; i++) {
        int64_t v;
        if (term_read_int(&list, &v) || v != (uint8_t)bytes.ptr[i])
            return false;
    }
    return n == 0 || term_read_tail(&list) == BG_OK;
}

/* All integers are TERM_INT here, whatever their width. */
static enum term_kind kind_at(struct term_reader r)
{
    return term_at_end(&r) ? TERM_INVALID : (enum term_kind)term_rules[*r.p].kind;
}

/* Whole terms of any kind but tuples, lists and maps. */
static bool same_leaf(struct slice a, struct slice b)
{
    struct term_reader x = term_reader(a), y = term_reader(b);
    enum term_kind kind = kind_at(x), other = kind_at(y);
    if (slice_eq(a, b))
        return true;
    if (kind == TERM_STRING && other != TERM_STRING)
        return same_string(x, y);
    if (other == TERM_STRING && kind != TERM_STRING)
        return same_string(y, x);
    if (kind != other)
        return false;
    switch (kind) {
    case TERM_INT:
        return same_int(x, y);
    case TERM_FLOAT:
        return same_float(x, y);
    case TERM_ATOM:
        return same_atom(x, y);
    case TERM_PID:
        return same_pid(x, y);
    case TERM_REF:
        return same_ref(x, y);
    default: /* binaries and all that compares by its bytes */
        return false;
    }
}

/* ---- containers ---- */

/* Opens a frame for two containers of one kind; false when they cannot be equal. */
static bool push(struct comparison *c, struct slice a, struct slice b)
{
    uint64_t n, m;
    struct term_reader x = term_reader(a), y = term_reader(b);
    bool map = kind_at(x) == TERM_MAP;
    const uint8_t *p = term_head(x.p, x.end, &n), *q = term_head(y.p, y.end, &m);
    if (!p || !q || n != m || c->depth == TERM_DEPTH_DEFAULT)
        return false;
    x.p = p;
    y.p = q;
    c->frame[c->depth++] = (struct frame){x, y, map ? n / 2 : n, map, y, map ? n / 2 : 0};
    return true;
}

static bool is_container(enum term_kind kind)
{
    return kind == TERM_TUPLE || kind == TERM_LIST || kind == TERM_MAP;
}

/* Decides leaves at once and opens containers. */
static bool compare(struct comparison *c, struct slice a, struct slice b)
{
    enum term_kind kind = kind_at(term_reader(a)), other = kind_at(term_reader(b));
    if (slice_eq(a, b))
        return true;
    if (kind == other && is_container(kind))
        return push(c, a, b);
    return same_leaf(a, b);
}

/* The value under key: first where it is expected, then from the front. */
static bool find_value(struct frame *f, struct slice key, struct slice *value)
{
    struct slice other;
    struct term_reader r = f->b;
    if (!term_at_end(&r) && term_skip(&r, &other) == BG_OK && same_leaf(key, other) && term_skip(&r, value) == BG_OK) {
        f->b = r;
        return true;
    }
    r = f->pairs;
    for (uint64_t i = 0; i < f->pair_count; i++) {
        if (term_skip(&r, &other) || term_skip(&r, value))
            return false;
        if (same_leaf(key, other)) {
            f->b = r;
            return true;
        }
    }
    return false;
}

/* Maps of as many pairs are the same when each key of one is in the other with the same value: keys differ
 * within a map. */
static bool next(struct comparison *c, struct frame *f)
{
    struct slice a, b, key;
    f->left--;
    if (f->map && (term_skip(&f->a, &key) || !find_value(f, key, &b)))
        return false;
    if (term_skip(&f->a, &a) || (!f->map && term_skip(&f->b, &b)))
        return false;
    return compare(c, a, b);
}

bool term_equal(struct slice a, struct slice b)
{
    struct comparison c;
    c.depth = 0;
    bool same = compare(&c, a, b);
    while (same && c.depth > 0) {
        struct frame *f = &c.frame[c.depth - 1];
        if (f->left == 0)
            c.depth--;
        else
            same = next(&c, f);
    }
    return same;
}
