/*
 * term.c: readers and writers of the external term format.
 *
 * The readers walk terms that term_check() has passed, and still never step over the end they were given:
 * each goes through term_head(), which knows all lengths. On failure the cursor stays where it was, so a caller
 * may try another kind.
 *
 * The writers store bytes themselves instead of calling ei_encode_*: those write without knowing how
 * much room there is, so each would need a dry run for the size first.
 */
#include "term.h"

#include "term_tags.h"
#include "text_scan.h"

/* ---- reading ---- */

/* Where the term at p ends if it is of the few kinds that most terms are; NULL for the others, and for what is cut short. */
static inline const uint8_t *short_leaf(const uint8_t *p, const uint8_t *end)
{
    size_t left = (size_t)(end - p), n;
    if (left < 2)
        return NULL;
    switch (*p) {
    case TAG_NIL:
        return p + 1;
    case TAG_SMALL_INT:
        return p + 2;
    case TAG_INT:
        n = 5;
        break;
    case TAG_SMALL_BIG:
        n = 3u + p[1];
        break;
    case TAG_SMALL_ATOM_UTF8:
        n = 2u + p[1];
        break;
    case TAG_BINARY:
        n = left < 5 ? SIZE_MAX : (size_t)get_be32(p + 1) + 5;
        break;
    default:
        return NULL;
    }
    return n <= left ? p + n : NULL;
}

/* Steps over the head of a container if the term at the cursor has this kind. */
static bool take_head(struct term_reader *r, enum term_kind kind, uint64_t *children)
{
    if (r->p >= r->end || term_rules[*r->p].kind != kind)
        return false;
    const uint8_t *next = term_open(r->p, r->end, children);
    if (!next)
        next = term_head(r->p, r->end, children);
    if (next)
        r->p = next;
    return next != NULL;
}

/* Steps over a leaf if the term at the cursor has this kind; returns where it began. */
static const uint8_t *take_leaf(struct term_reader *r, enum term_kind kind)
{
    uint64_t children;
    const uint8_t *p = r->p;
    if (p >= r->end || term_rules[*p].kind != kind)
        return NULL;
    const uint8_t *next = short_leaf(p, r->end);
    if (!next)
        next = term_head(p, r->end, &children);
    if (!next)
        return NULL;
    r->p = next;
    return p;
}

/* Sign and magnitude without leading zeros of the big integer wholly at p. */
static struct term_big big_at(const uint8_t *p)
{
    bool small = *p == TAG_SMALL_BIG;
    const uint8_t *sign = p + (small ? 2 : 5);
    struct term_big big = {sign + 1, small ? p[1] : get_be32(p + 1), *sign != 0};
    while (big.len > 0 && big.bytes[big.len - 1] == 0)
        big.len--;
    return big;
}

/* -2^63 fits although its magnitude does not: hence the one more for negative numbers. n <= 8. */
static inline bool magnitude_to_int(const uint8_t *bytes, size_t n, bool negative, int64_t *v)
{
    uint64_t m = 0;
    for (; n > 0; n--)
        m = m << 8 | bytes[n - 1];
    if (m > (uint64_t)INT64_MAX + negative)
        return false;
    *v = negative ? (int64_t)(0 - m) : (int64_t)m;
    return true;
}

static bool big_to_int(const uint8_t *p, int64_t *v)
{
    struct term_big big = big_at(p);
    return big.len <= sizeof(*v) && magnitude_to_int(big.bytes, big.len, big.negative, v);
}

/* The integer wholly at p, of any encoding. False when it does not fit. */
static inline bool int_at(const uint8_t *p, int64_t *v)
{
    switch (*p) {
    case TAG_SMALL_INT:
        *v = p[1];
        return true;
    case TAG_INT:
        *v = (int32_t)get_be32(p + 1);
        return true;
    case TAG_SMALL_BIG:
        if (p[1] <= sizeof(*v))
            return magnitude_to_int(p + 3, p[1], p[2] != 0, v);
        break;
    }
    return big_to_int(p, v);
}

/* Integers are told apart by value, not by encoding: other nodes may write 5 as a big. */
static enum term_kind kind_at(const uint8_t *p)
{
    int64_t v;
    enum term_kind kind = (enum term_kind)term_rules[*p].kind;
    return kind == TERM_INT && !int_at(p, &v) ? TERM_BIG : kind;
}

enum term_kind term_peek(const struct term_reader *r)
{
    uint64_t children;
    return term_head(r->p, r->end, &children) ? kind_at(r->p) : TERM_INVALID;
}

enum term_kind term_kind(struct slice term)
{
    return kind_at((const uint8_t *)term.ptr);
}

/* Counts terms instead of keeping a stack: nesting does not matter for finding the end. */
int term_skip(struct term_reader *r, struct slice *term)
{
    const uint8_t *p = r->p, *next;
    /* Each head promises at most as many children as bytes are left, so the sum cannot overflow. */
    for (uint64_t pending = 1; pending > 0; pending--) {
        uint64_t children = 0;
        next = short_leaf(p, r->end);
        if (!next)
            next = term_open(p, r->end, &children);
        if (!next)
            next = term_head(p, r->end, &children);
        if (!next)
            return BG_EINVAL;
        p = next;
        pending += children;
    }
    *term = slice_make(r->p, (size_t)(p - r->p));
    r->p = p;
    return BG_OK;
}

static int read_int(struct term_reader *r, int64_t *v)
{
    const uint8_t *p = take_leaf(r, TERM_INT);
    if (p && int_at(p, v))
        return BG_OK;
    if (p)
        r->p = p;
    return BG_EINVAL;
}

int term_read_int(struct term_reader *r, int64_t *v)
{
    const uint8_t *p = r->p;
    size_t left = (size_t)(r->end - p);
    if (left < 3 || *p != TAG_SMALL_BIG || p[1] > sizeof(*v) || p[1] > left - 3)
        return read_int(r, v);
    if (!magnitude_to_int(p + 3, p[1], p[2] != 0, v))
        return BG_EINVAL;
    r->p = p + 3 + p[1];
    return BG_OK;
}

/* Takes any integer in one of the two big encodings, also one that would fit int64_t. */
bool term_read_big(struct term_reader *r, struct term_big *big)
{
    if (r->p >= r->end || (*r->p != TAG_SMALL_BIG && *r->p != TAG_LARGE_BIG))
        return false;
    const uint8_t *p = take_leaf(r, TERM_INT);
    if (p)
        *big = big_at(p);
    return p != NULL;
}

int term_read_float(struct term_reader *r, double *v)
{
    struct term_reader at = *r;
    const uint8_t *p = take_leaf(&at, TERM_FLOAT);
    if (!p || !term_float_value(p, v))
        return BG_EINVAL;
    *r = at;
    return BG_OK;
}

/* Latin-1 and UTF-8 agree only here. */
static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] & 0x80)
            return false;
    return true;
}

/* Latin-1 atoms that are not ASCII would need converting; no node that knows UTF-8 atoms sends them. */
static const uint8_t *atom_at(const uint8_t *p, const uint8_t *end, struct slice *text)
{
    const uint8_t *next = term_atom_text(p, end, text);
    bool latin1 = next && (*p == TAG_ATOM || *p == TAG_SMALL_ATOM);
    return latin1 && !is_ascii(*text) ? NULL : next;
}

int term_read_atom(struct term_reader *r, struct slice *text)
{
    const uint8_t *next = atom_at(r->p, r->end, text);
    if (!next)
        return BG_EINVAL;
    r->p = next;
    return BG_OK;
}

int term_read_binary(struct term_reader *r, struct slice *bytes)
{
    const uint8_t *p = take_leaf(r, TERM_BINARY);
    if (!p)
        return BG_EINVAL;
    *bytes = slice_make(p + 5, (size_t)(r->p - p) - 5);
    return BG_OK;
}

int term_read_string(struct term_reader *r, struct slice *bytes)
{
    const uint8_t *p = take_leaf(r, TERM_STRING);
    if (!p)
        return BG_EINVAL;
    *bytes = slice_make(p + 3, (size_t)(r->p - p) - 3);
    return BG_OK;
}

int term_read_tuple(struct term_reader *r, uint32_t *arity)
{
    uint64_t children;
    if (!take_head(r, TERM_TUPLE, &children))
        return BG_EINVAL;
    *arity = (uint32_t)children;
    return BG_OK;
}

/* The count of children includes the tail. */
int term_read_list(struct term_reader *r, uint32_t *n)
{
    uint64_t children;
    if (take_leaf(r, TERM_NIL)) {
        *n = 0;
        return BG_OK;
    }
    if (!take_head(r, TERM_LIST, &children))
        return BG_EINVAL;
    *n = (uint32_t)(children - 1);
    return BG_OK;
}

int term_read_tail(struct term_reader *r)
{
    return take_leaf(r, TERM_NIL) ? BG_OK : BG_EINVAL;
}

int term_read_map(struct term_reader *r, uint32_t *n)
{
    uint64_t children;
    if (!take_head(r, TERM_MAP, &children))
        return BG_EINVAL;
    *n = (uint32_t)(children / 2);
    return BG_OK;
}

/* PID_EXT differs from NEW_PID_EXT only in the width of its creation. */
int term_read_pid(struct term_reader *r, struct term_pid *pid)
{
    struct term_reader at = *r;
    const uint8_t *p = take_leaf(&at, TERM_PID);
    const uint8_t *q = p ? atom_at(p + 1, at.p, &pid->node) : NULL;
    if (!q)
        return BG_EINVAL;
    pid->id = get_be32(q);
    pid->serial = get_be32(q + 4);
    pid->creation = *p == TAG_NEW_PID ? get_be32(q + 8) : q[8];
    *r = at;
    return BG_OK;
}

/* REFERENCE_EXT has its one word before the creation. */
static void ref_old(const uint8_t *q, struct term_ref *ref)
{
    ref->words = 1;
    ref->id[0] = get_be32(q);
    ref->creation = q[4];
}

/* NEW_REFERENCE_EXT and NEWER_REFERENCE_EXT: creation of 1 or 4 bytes, then the words. */
static void ref_new(const uint8_t *p, const uint8_t *q, struct term_ref *ref)
{
    bool wide = *p == TAG_NEWER_REF;
    ref->words = get_be16(p + 1);
    ref->creation = wide ? get_be32(q) : *q;
    q += wide ? 4 : 1;
    for (uint32_t i = 0; i < ref->words; i++)
        ref->id[i] = get_be32(q + 4 * (size_t)i);
}

int term_read_ref(struct term_reader *r, struct term_ref *ref)
{
    struct term_reader at = *r;
    const uint8_t *p = take_leaf(&at, TERM_REF);
    const uint8_t *q = p ? atom_at(p + (*p == TAG_REF ? 1 : 3), at.p, &ref->node) : NULL;
    if (!q)
        return BG_EINVAL;
    memset(ref->id, 0, sizeof(ref->id));
    if (*p == TAG_REF)
        ref_old(q, ref);
    else
        ref_new(p, q, ref);
    *r = at;
    return BG_OK;
}

/* An atom in the encoding of today is compared where it stands. */
static inline bool read_atom(struct term_reader *r, struct slice name)
{
    struct term_reader at = *r;
    size_t left = (size_t)(r->end - r->p);
    struct slice text;
    if (left >= 2 && *r->p == TAG_SMALL_ATOM_UTF8) {
        if (r->p[1] != name.len || name.len > left - 2 || memcmp(r->p + 2, name.ptr, name.len) != 0)
            return false;
        r->p += 2 + name.len;
        return true;
    }
    if (term_read_atom(&at, &text) || !slice_eq(text, name))
        return false;
    *r = at;
    return true;
}

bool term_read_is_atom_slice(struct term_reader *r, struct slice name)
{
    return read_atom(r, name);
}

static int read_tagged(struct term_reader *r, struct slice tag, uint32_t *arity)
{
    struct term_reader at = *r;
    uint32_t n;
    if (term_read_tuple(&at, &n) || n == 0 || !read_atom(&at, tag))
        return BG_EINVAL;
    *arity = n;
    *r = at;
    return BG_OK;
}

int term_read_tagged_slice(struct term_reader *r, struct slice tag, uint32_t *arity)
{
    const uint8_t *p = r->p;
    size_t left = (size_t)(r->end - p);
    if (left == 0 || term_rules[*p].kind != TERM_TUPLE)
        return BG_EINVAL;
    if (left < 4 || *p != TAG_SMALL_TUPLE || p[2] != TAG_SMALL_ATOM_UTF8)
        return read_tagged(r, tag, arity);
    if (p[1] == 0 || p[1] > left - 2 || p[3] != tag.len || tag.len > left - 4 || memcmp(p + 4, tag.ptr, tag.len) != 0)
        return BG_EINVAL;
    *arity = p[1];
    r->p = p + 4 + tag.len;
    return BG_OK;
}

/* ---- whole terms ---- */

/* Linear: maps whose fields are asked for by name are structs and small. */
bool term_map_get(struct slice map, const char *atom_key, struct slice *value)
{
    struct term_reader r = term_reader(map);
    struct slice skipped;
    uint32_t n;
    if (term_read_map(&r, &n))
        return false;
    for (; n > 0; n--) {
        if (term_read_is_atom(&r, atom_key))
            return term_skip(&r, value) == BG_OK;
        if (term_skip(&r, &skipped) || term_skip(&r, &skipped))
            return false;
    }
    return false;
}

bool term_is_atom_slice(struct slice term, struct slice name)
{
    struct term_reader r = term_reader(term);
    return read_atom(&r, name) && term_at_end(&r);
}

bool term_is_nil(struct slice term)
{
    return term_is_atom(term, "nil");
}

bool term_text(struct slice term, struct slice *text)
{
    struct term_reader r = term_reader(term);
    return term_read_atom(&r, text) == BG_OK || term_read_binary(&r, text) == BG_OK;
}

int term_fun_arity(struct slice term)
{
    enum { ARITY_AT = 1 + 4 }; /* of NEW_FUN_EXT, behind its size */
    struct term_reader r = term_reader(term);
    struct slice name;
    int64_t arity;
    if (term_peek(&r) == TERM_FUN)
        return (uint8_t)term.ptr[ARITY_AT];
    if (term_peek(&r) != TERM_EXPORT)
        return -1;
    r.p++;
    if (term_skip(&r, &name) != BG_OK || term_skip(&r, &name) != BG_OK || term_read_int(&r, &arity) != BG_OK)
        return -1;
    return (int)arity;
}

/* ---- writing ---- */

/* Room for a tag and n more bytes; the tag is stored, b->len moved over all. Returns what follows the tag. */
static inline uint8_t *put_tag(struct buf *b, enum term_tag tag, size_t n)
{
    uint8_t *p = buf_room(b, n + 1);
    if (!p)
        return NULL;
    b->len += n + 1;
    *p = (uint8_t)tag;
    return p + 1;
}

/* A tag and a count or length of 32 bits. */
static inline void put_tag32(struct buf *b, enum term_tag tag, uint32_t n)
{
    uint8_t *p = put_tag(b, tag, 4);
    if (p)
        put_be32(p, n);
}

void term_put_version(struct buf *b)
{
    buf_putc(b, TERM_VERSION);
}

/* A magnitude of 1..64 bits, without leading zero bytes. */
static void put_big(struct buf *b, uint64_t magnitude, bool negative)
{
    unsigned n = (64 - (unsigned)__builtin_clzll(magnitude) + 7) / 8;
    uint8_t *p = put_tag(b, TAG_SMALL_BIG, 2u + n);
    if (!p)
        return;
    p[0] = (uint8_t)n;
    p[1] = negative;
    for (p += 2; magnitude; magnitude >>= 8)
        *p++ = (uint8_t)magnitude;
}

/* The smallest encoding, as the BEAM itself writes it. */
void term_put_int(struct buf *b, int64_t v)
{
    if (v >= 0 && v <= 255) {
        uint8_t *p = put_tag(b, TAG_SMALL_INT, 1);
        if (p)
            *p = (uint8_t)v;
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        put_tag32(b, TAG_INT, (uint32_t)v);
    } else {
        put_big(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
    }
}

void term_put_uint(struct buf *b, uint64_t v)
{
    if (v <= INT64_MAX)
        term_put_int(b, (int64_t)v);
    else
        put_big(b, v, false);
}

void term_put_float(struct buf *b, double v)
{
    uint64_t bits;
    uint8_t *p = put_tag(b, TAG_NEW_FLOAT, 8);
    memcpy(&bits, &v, sizeof(bits));
    if (p)
        put_be64(p, bits);
}

static void put_long_atom(struct buf *b, struct slice name)
{
    assert_always(name.len <= UINT16_MAX);
    uint8_t *p = put_tag(b, TAG_ATOM_UTF8, 2 + name.len);
    if (!p)
        return;
    put_be16(p, (uint16_t)name.len);
    memcpy(p + 2, name.ptr, name.len);
}

/* UTF-8 atoms only: every node that a link accepts knows them. */
void term_put_atom_slice(struct buf *b, struct slice name)
{
    if (name.len > UINT8_MAX) {
        put_long_atom(b, name);
        return;
    }
    uint8_t *p = put_tag(b, TAG_SMALL_ATOM_UTF8, 1 + name.len);
    if (!p)
        return;
    *p = (uint8_t)name.len;
    text_copy(p + 1, name.ptr, name.len);
}

void term_put_atom(struct buf *b, const char *name)
{
    term_put_atom_slice(b, slice_str(name));
}

void term_put_binary(struct buf *b, struct slice bytes)
{
    assert_always(bytes.len <= UINT32_MAX);
    uint8_t *p = put_tag(b, TAG_BINARY, 4 + bytes.len);
    if (!p)
        return;
    put_be32(p, (uint32_t)bytes.len);
    if (bytes.len)
        memcpy(p + 4, bytes.ptr, bytes.len);
}

void term_put_text(struct buf *b, const char *cstr)
{
    term_put_binary(b, slice_str(cstr));
}

void term_put_tuple(struct buf *b, uint32_t arity)
{
    if (arity > UINT8_MAX) {
        put_tag32(b, TAG_LARGE_TUPLE, arity);
        return;
    }
    uint8_t *p = put_tag(b, TAG_SMALL_TUPLE, 1);
    if (p)
        *p = (uint8_t)arity;
}

void term_put_nil(struct buf *b)
{
    buf_putc(b, TAG_NIL);
}

void term_put_list(struct buf *b, uint32_t n)
{
    if (n == 0)
        term_put_nil(b);
    else
        put_tag32(b, TAG_LIST, n);
}

void term_put_map(struct buf *b, uint32_t pairs)
{
    put_tag32(b, TAG_MAP, pairs);
}

void term_put_pid(struct buf *b, const struct term_pid *pid)
{
    buf_putc(b, TAG_NEW_PID);
    term_put_atom_slice(b, pid->node);
    uint8_t *p = buf_room(b, 12);
    if (!p)
        return;
    put_be32(p, pid->id);
    put_be32(p + 4, pid->serial);
    put_be32(p + 8, pid->creation);
    b->len += 12;
}

void term_put_ref(struct buf *b, const struct term_ref *ref)
{
    assert_always(ref->words >= 1 && ref->words <= TERM_REF_WORDS);
    uint8_t *p = put_tag(b, TAG_NEWER_REF, 2);
    if (p)
        put_be16(p, (uint16_t)ref->words);
    term_put_atom_slice(b, ref->node);
    p = buf_reserve(b, 4 + 4 * (size_t)ref->words);
    if (!p)
        return;
    put_be32(p, ref->creation);
    for (uint32_t i = 0; i < ref->words; i++)
        put_be32(p + 4 + 4 * (size_t)i, ref->id[i]);
    b->len += 4 + 4 * (size_t)ref->words;
}
