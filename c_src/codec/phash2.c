/*
 * phash2.c: see phash2.h. The hash of a term is a running 32-bit state into which each part is mixed in the order
 * in which the external format holds the parts, so one walk over the bytes does it. The two exceptions are maps,
 * whose pairs are hashed each from zero and combined without order, and lists, which take runs of bytes together.
 *
 * The function was designed by the Erlang/OTP team (erts, erl_term_hashing.c, make_hash2) on Bob Jenkins' mix
 * (lookup2, 1996); the constants below are theirs and may never change. Vectors: E-169 and tests/data/phash2.
 *
 * Recursion is replaced by an explicit stack; it does not allocate.
 */
#include "phash2.h"

#include "term_tags.h"

/* Multiples of the golden ratio tell the kinds apart. */
#define KIND(n) ((uint32_t)(UINT64_C(0x9e3779b9) * (n)))
enum {
    HASH_INT = 1,
    HASH_NIL = 2,
    HASH_ATOM = 3,
    HASH_BYTES_OF_LIST = 4,
    HASH_TUPLE = 9,
    HASH_NEGATIVE = 10,
    HASH_POSITIVE = 11,
    HASH_FLOAT = 12,
    HASH_BINARY = 13,
    HASH_MAP = 16,
    HASH_MAP_END = 19
};

static const uint32_t nil_alone = 3468870702u; /* [] hashed from zero */
static const uint32_t nil_value = 2;           /* what else is mixed in for [] */

struct frame {
    enum term_kind kind;
    uint64_t left;  /* terms still to come */
    bool started;   /* maps: a first term has been hashed */
    uint32_t hash;  /* maps: the state around the map */
    uint32_t pairs; /* maps: the combined pairs of the map around it */
};

struct hasher {
    struct term_reader r;
    uint32_t hash;
    uint32_t pairs;
    unsigned depth;
    struct frame stack[TERM_DEPTH_DEFAULT];
};

struct mix {
    uint32_t a, b, c;
};

/* Jenkins' lookup2: three words, nine steps, each shift as given. */
static void mix(struct mix *m)
{
    static const uint8_t shift[9] = {13, 8, 13, 12, 16, 5, 3, 10, 15};
    for (unsigned i = 0; i < 9; i += 3) {
        m->a = (m->a - m->b - m->c) ^ (m->c >> shift[i]);
        m->b = (m->b - m->c - m->a) ^ (m->a << shift[i + 1]);
        m->c = (m->c - m->a - m->b) ^ (m->b >> shift[i + 2]);
    }
}

static uint32_t mix_two(uint32_t hash, uint32_t x, uint32_t y, unsigned kind)
{
    struct mix m = {KIND(kind) + x, KIND(kind) + y, hash};
    mix(&m);
    return m.c;
}

static uint32_t mix_one(uint32_t hash, uint32_t x, unsigned kind)
{
    return mix_two(hash, x, 0, kind);
}

/* Up to four bytes, the first in the lowest place. */
static uint32_t word_le(const uint8_t *p, size_t n)
{
    uint32_t w = 0;
    for (size_t i = 0; i < n; i++)
        w |= (uint32_t)p[i] << (8 * i);
    return w;
}

/* How many of n bytes lie in the window of `width` bytes that begins at `from`. */
static size_t clamp(size_t n, size_t from, size_t width)
{
    return n <= from ? 0 : n - from < width ? n - from : width;
}

/* Twelve bytes at a time; the low byte of the last third is the length's. */
static uint32_t hash_block(const uint8_t *p, size_t len, uint32_t start)
{
    struct mix m = {KIND(1), KIND(1), start};
    size_t n = len;
    for (; n >= 12; n -= 12, p += 12) {
        m.a += word_le(p, 4);
        m.b += word_le(p + 4, 4);
        m.c += word_le(p + 8, 4);
        mix(&m);
    }
    m.a += word_le(p, clamp(n, 0, 4));
    m.b += word_le(p + 4, clamp(n, 4, 4));
    m.c += (uint32_t)len + (word_le(p + 8, clamp(n, 8, 3)) << 8);
    mix(&m);
    return m.c;
}

static uint32_t hash_bytes_of_binary(struct slice bytes, uint32_t hash)
{
    uint32_t start = KIND(HASH_BINARY) + hash;
    return bytes.len ? hash_block((const uint8_t *)bytes.ptr, bytes.len, start) : start;
}

uint32_t phash2_binary(struct slice bytes)
{
    return hash_bytes_of_binary(bytes, 0);
}

/* hashpjw from the Dragon Book. Characters up to U+00FF count as one byte, as when atoms were Latin-1. */
static uint32_t hash_atom_text(struct slice text)
{
    const uint8_t *p = (const uint8_t *)text.ptr;
    uint32_t h = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint32_t v = p[i];
        if (i + 1 < text.len && (v & 0xfe) == 0xc2 && (p[i + 1] & 0xc0) == 0x80)
            v = (v << 6 | (p[++i] & 0x3f)) & 0xff;
        h = (h << 4) + v;
        uint32_t high = h & 0xf0000000u;
        h ^= high >> 24;
        h ^= high;
    }
    return h;
}

/* Integers within 28 bits are mixed as one word, negative ones twice; larger ones by 64-bit digits. */
static uint32_t hash_int(uint32_t hash, int64_t v)
{
    if (v >= -(INT64_C(1) << 27) && v < INT64_C(1) << 27) {
        if (v < 0)
            hash = mix_one(hash, (uint32_t)-v, HASH_INT);
        return mix_one(hash, (uint32_t)v, HASH_INT);
    }
    uint64_t m = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    return mix_two(hash, (uint32_t)m, (uint32_t)(m >> 32), v < 0 ? HASH_NEGATIVE : HASH_POSITIVE);
}

/* Digits of 64 bits, the lowest first, the last filled up with zeros. */
static uint32_t hash_big(uint32_t hash, const struct term_big *big)
{
    for (size_t i = 0; i < big->len; i += 8)
        hash = mix_two(hash, word_le(big->bytes + i, clamp(big->len, i, 4)),
                       word_le(big->bytes + i + 4, clamp(big->len, i + 4, 4)),
                       big->negative ? HASH_NEGATIVE : HASH_POSITIVE);
    return hash;
}

static uint32_t hash_float(uint32_t hash, double v)
{
    uint64_t bits = 0;
    if (v != 0) /* 0.0 and -0.0 are the same here */
        memcpy(&bits, &v, sizeof(bits));
    return mix_two(hash, (uint32_t)(bits >> 32), (uint32_t)bits, HASH_FLOAT);
}

/* [] as a whole term is a constant; behind other parts a small number is mixed in for it. */
static uint32_t hash_nil(uint32_t hash)
{
    return hash ? mix_one(hash, nil_value, HASH_NIL) : nil_alone;
}

/* Up to four bytes of a list, packed into one word. */
struct packed {
    uint32_t word;
    unsigned count;
};

/* The fourth byte completes a word, which is mixed in. */
static void pack_byte(struct hasher *h, struct packed *p, uint8_t byte)
{
    p->word = p->word << 8 | byte;
    if (++p->count < 4)
        return;
    h->hash = mix_one(h->hash, p->word, HASH_BYTES_OF_LIST);
    *p = (struct packed){0};
}

static void pack_end(struct hasher *h, struct packed *p)
{
    if (p->count > 0)
        h->hash = mix_one(h->hash, p->word, HASH_BYTES_OF_LIST);
}

static bool next_is_byte(struct hasher *h, uint8_t *byte)
{
    struct term_reader r = h->r;
    int64_t v;
    if (term_read_int(&r, &v) != BG_OK || v < 0 || v > 255)
        return false;
    *byte = (uint8_t)v;
    h->r = r;
    return true;
}

/* A container whose terms are still to come. */
static int push(struct hasher *h, enum term_kind kind, uint64_t left)
{
    if (h->depth == TERM_DEPTH_DEFAULT)
        return BG_ELIMIT;
    h->stack[h->depth++] = (struct frame){.kind = kind, .left = left, .hash = h->hash, .pairs = h->pairs};
    return BG_OK;
}

static int open_list(struct hasher *h)
{
    uint32_t n;
    if (term_read_list(&h->r, &n) != BG_OK)
        return BG_EINVAL;
    return push(h, TERM_LIST, n);
}

static int open_tuple(struct hasher *h)
{
    uint32_t n;
    if (term_read_tuple(&h->r, &n) != BG_OK)
        return BG_EINVAL;
    h->hash = mix_one(h->hash, n, HASH_TUPLE);
    return push(h, TERM_TUPLE, n);
}

/* Inside, hashing starts from zero; what was there before waits in the frame. */
static int open_map(struct hasher *h)
{
    uint32_t n;
    if (term_read_map(&h->r, &n) != BG_OK)
        return BG_EINVAL;
    h->hash = mix_one(h->hash, n, HASH_MAP);
    if (n == 0)
        return BG_OK;
    int rc = push(h, TERM_MAP, 2 * (uint64_t)n);
    h->hash = h->pairs = 0;
    return rc;
}

static int hash_string(struct hasher *h)
{
    struct slice bytes;
    struct packed p = {0};
    if (term_read_string(&h->r, &bytes) != BG_OK)
        return BG_EINVAL;
    for (size_t i = 0; i < bytes.len; i++)
        pack_byte(h, &p, (uint8_t)bytes.ptr[i]);
    pack_end(h, &p);
    h->hash = hash_nil(h->hash);
    return BG_OK;
}

static int hash_integer(struct hasher *h)
{
    int64_t v;
    struct term_big big;
    if (term_read_int(&h->r, &v) == BG_OK)
        h->hash = hash_int(h->hash, v);
    else if (term_read_big(&h->r, &big))
        h->hash = hash_big(h->hash, &big);
    else
        return BG_EINVAL;
    return BG_OK;
}

static int hash_leaf(struct hasher *h, enum term_kind kind)
{
    struct slice s;
    double d;
    switch (kind) {
    case TERM_FLOAT:
        if (term_read_float(&h->r, &d) != BG_OK)
            return BG_EINVAL;
        h->hash = hash_float(h->hash, d);
        return BG_OK;
    case TERM_ATOM:
        if (term_read_atom(&h->r, &s) != BG_OK)
            return BG_EINVAL;
        h->hash = h->hash ? mix_one(h->hash, hash_atom_text(s), HASH_ATOM) : hash_atom_text(s);
        return BG_OK;
    case TERM_BINARY:
        if (term_read_binary(&h->r, &s) != BG_OK)
            return BG_EINVAL;
        h->hash = hash_bytes_of_binary(s, h->hash);
        return BG_OK;
    case TERM_NIL:
        h->hash = hash_nil(h->hash);
        return term_skip(&h->r, &s);
    default:
        return BG_EINVAL;
    }
}

/* The next term: wholly, or its head. */
static int hash_next(struct hasher *h)
{
    enum term_kind kind = term_peek(&h->r);
    switch (kind) {
    case TERM_INT:
    case TERM_BIG:
        return hash_integer(h);
    case TERM_STRING:
        return hash_string(h);
    case TERM_LIST:
        return open_list(h);
    case TERM_TUPLE:
        return open_tuple(h);
    case TERM_MAP:
        return open_map(h);
    default:
        return hash_leaf(h, kind);
    }
}

/* Goes on with a list: its bytes, then one other element, or its tail. */
static int resume_list(struct hasher *h, struct frame *f)
{
    struct packed p = {0};
    uint8_t byte;
    while (f->left > 0 && next_is_byte(h, &byte)) {
        pack_byte(h, &p, byte);
        f->left--;
    }
    pack_end(h, &p);
    if (f->left > 0)
        f->left--;
    else
        h->depth--;
    return hash_next(h);
}

/* The size has been mixed in; the elements follow one after another. */
static int resume_tuple(struct hasher *h, struct frame *f)
{
    if (f->left == 0) {
        h->depth--;
        return BG_OK;
    }
    f->left--;
    return hash_next(h);
}

/* Key and value form one hash; pairs are combined by exclusive or, so their order does not matter. */
static int resume_map(struct hasher *h, struct frame *f)
{
    if (f->started && f->left % 2 == 0) {
        h->pairs ^= h->hash;
        h->hash = 0;
    }
    f->started = true;
    if (f->left == 0) {
        h->hash = mix_one(f->hash, h->pairs, HASH_MAP_END);
        h->pairs = f->pairs;
        h->depth--;
        return BG_OK;
    }
    f->left--;
    return hash_next(h);
}

int phash2_term(struct slice term, uint32_t *hash)
{
    struct hasher h;
    h.r = term_reader(term);
    h.hash = h.pairs = 0;
    h.depth = 0;
    int rc = hash_next(&h);
    while (rc == BG_OK && h.depth > 0) {
        struct frame *f = &h.stack[h.depth - 1];
        rc = f->kind == TERM_LIST    ? resume_list(&h, f)
             : f->kind == TERM_TUPLE ? resume_tuple(&h, f)
                                     : resume_map(&h, f);
    }
    *hash = h.hash;
    return rc;
}
