/*
 * transcode.c: checked JSON text to external terms, in one pass and without a tree. The way back is in
 * term_to_json.c.
 *
 * Containers are written with an open count, which is patched when they close. Invariant: json_value() has
 * passed the text, so nothing of its grammar is checked here; what is bounded here is nesting and the output.
 *
 * Of keys that occur twice in an object the first wins (E-234). Each object remembers where its keys
 * stand in the output; up to INDEX_FROM keys they are compared one by one, beyond that through a hash table, so that an
 * object of a hundred thousand keys costs no more per key than a small one.
 *
 * Never writes an atom other than true, false and nil (E-235).
 */
#include "transcode.h"

#include <stdlib.h>

#include "bigint.h"
#include "map.h"
#include "term_tags.h"
#include "text_scan.h"

enum {
    INDEX_FROM = 16,       /* keys of one object from which on a hash table pays */
    KEYS_INLINE = 48,      /* keys of all open objects that need no heap */
    STRING_EXT_MAX = 65535 /* elements up to which erlang:external_size/1 counts a list of bytes as a string */
};

/* A key that stands in the output. */
struct key {
    uint64_t print; /* differs for most different keys */
    uint32_t at;    /* of its text, from the start of the output */
    uint32_t len;
};

/* Keys of one object by hash: numbers of keys in the key array + 1, 0 for free. */
struct key_index {
    uint32_t *slots;
    uint32_t mask;
};

struct frame {
    uint32_t count_at; /* of the 32-bit count, from the start of the output */
    uint32_t count;
    uint32_t first_key;
    bool object;
    bool bytes_only; /* an array of nothing but 0..255 so far */
    struct key_index index;
};

/* What only containers need, on the stack of encode_container(). */
struct nesting {
    struct key keys[KEYS_INLINE];
    struct frame frame[JSON_DEPTH_MAX];
};

struct encoder {
    const char *p; /* in the text */
    const char *end;
    uint8_t *o; /* in the output: out->data + out->len while we write */
    uint8_t *o_end;
    size_t base; /* where in the output we began */
    struct buf *out;
    struct err *e;
    struct frame *frame; /* of the open containers; these and the keys only while there are some */
    struct key *keys;
    uint32_t key_count;
    uint32_t key_cap;
    unsigned depth;
    unsigned max_depth;
    size_t string_saves; /* bytes that STRING_EXT would save: see json_term_size() */
};

/* The buffer refused: its bound when it has one, else memory. */
static int no_room_in(const struct buf *out, struct err *e)
{
    bool bound = out->limit != 0;
    return err_set(e, bound ? BG_ELIMIT : BG_ENOMEM, 0, bound ? "term is larger than the bound" : "no memory");
}

static int no_room(const struct encoder *c)
{
    return no_room_in(c->out, c->e);
}

/* ---- output ---- */

/* Where our output begins; moves when the buffer grows, hence offsets everywhere. */
static uint8_t *output(const struct encoder *c)
{
    return c->out->data + c->base;
}

/* Tells the buffer how far we are, asks it for n bytes and takes its new place over. */
static bool grow(struct encoder *c, size_t n)
{
    struct buf *b = c->out;
    if (c->o)
        b->len = (size_t)(c->o - b->data);
    c->o = buf_room(b, n);
    if (!c->o)
        return false;
    c->o_end = b->data + b->cap;
    return true;
}

/* Makes sure that n bytes can be stored at c->o. */
static inline bool room(struct encoder *c, size_t n)
{
    return (size_t)(c->o_end - c->o) >= n || grow(c, n);
}

/* ---- scalars ---- */

/* A ready-made term for text_len characters of text. */
static int put_word(struct encoder *c, const char *encoded, size_t n, size_t text_len)
{
    if (!room(c, n))
        return no_room(c);
    memcpy(c->o, encoded, n);
    c->o += n;
    c->p += text_len;
    return BG_OK;
}

/* In checked text nothing else is below a blank outside strings. */
static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (uint8_t)*p <= ' ')
        p++;
    return p;
}

/* c->p stands on the opening quote. Tag, length, text. */
static int put_string(struct encoder *c)
{
    const char *from = c->p + 1, *stop = text_quote(from, c->end);
    bool escapes = stop < c->end && *stop == '\\';
    if (escapes)
        stop = json_skip(c->p, c->end) - 1;
    size_t n = (size_t)(stop - from);
    if (!room(c, n + 5))
        return no_room(c);
    if (escapes)
        n = json_unescape(from, stop, c->o + 5);
    else
        text_copy(c->o + 5, from, n);
    c->o[0] = TAG_BINARY;
    put_be32(c->o + 1, (uint32_t)n);
    c->o += n + 5;
    c->p = stop + 1;
    return BG_OK;
}

static void store_float(uint8_t *o, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    *o = TAG_NEW_FLOAT;
    put_be64(o + 1, bits);
}

/* Returns how many bytes were stored, at most 11. */
static size_t store_int(uint8_t *o, uint64_t magnitude, bool negative)
{
    if (magnitude <= UINT8_MAX && !negative) {
        o[0] = TAG_SMALL_INT;
        o[1] = (uint8_t)magnitude;
        return 2;
    }
    if (magnitude <= (uint64_t)INT32_MAX + negative) {
        o[0] = TAG_INT;
        put_be32(o + 1, (uint32_t)(negative ? 0 - magnitude : magnitude));
        return 5;
    }
    uint8_t n = 0;
    for (; magnitude; magnitude >>= 8)
        o[3 + n++] = (uint8_t)magnitude;
    o[0] = TAG_SMALL_BIG;
    o[1] = n;
    o[2] = negative;
    return 3u + n;
}

/* n digits, without the sign. */
static int put_big(struct encoder *c, const char *digits, size_t n, bool negative)
{
    uint8_t bytes[BIG_BYTES_OF_NUMBER];
    if (n > JSON_NUMBER_MAX)
        return err_set(c->e, BG_ELIMIT, 0, "number with too many digits");
    size_t len = big_from_decimal(digits, n, bytes);
    bool is_small = len <= UINT8_MAX;
    if (!room(c, len + 6))
        return no_room(c);
    *c->o++ = is_small ? TAG_SMALL_BIG : TAG_LARGE_BIG;
    if (is_small) {
        *c->o++ = (uint8_t)len;
    } else {
        put_be32(c->o, (uint32_t)len);
        c->o += 4;
    }
    *c->o++ = negative;
    memcpy(c->o, bytes, len);
    c->o += len;
    return BG_OK;
}

/* Whatever has a fraction or exponent is a float, even 1E2 (E-2341); -0 is the integer 0. */
static int put_number(struct encoder *c)
{
    const char *from = c->p, *end = c->end, *p = from;
    bool negative = *p == '-';
    uint64_t v = 0;
    p += negative;
    const char *digits = p;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    if (!room(c, 16))
        return no_room(c);
    if (p < end && (*p == '.' || (*p | 0x20) == 'e')) {
        c->p = json_skip(from, end);
        store_float(c->o, json_number_double(slice_make(from, (size_t)(c->p - from))));
        c->o += 9;
        return BG_OK;
    }
    c->p = p;
    if (p - digits > 19) /* 19 digits always fit 64 bits */
        return put_big(c, digits, (size_t)(p - digits), negative);
    c->o += store_int(c->o, v, negative && v > 0);
    return BG_OK;
}

/* ---- keys ---- */

/* The last 8 bytes of the encoded key, which for short keys include its length. At least the map's
 * head stands before it, so they lie in the output; what precedes the key's own head is shifted out. */
static uint64_t key_print(const uint8_t *text, uint32_t len)
{
    uint64_t w;
    memcpy(&w, text + len - 8, sizeof(w));
    w = le64toh(w);
    return len < 3 ? w >> (3 - len) * 8 : w;
}

/* The print tells most keys apart without looking at their text. */
static bool key_same(const struct encoder *c, const struct key *a, const struct key *b)
{
    return a->print == b->print && a->len == b->len && memcmp(output(c) + a->at, output(c) + b->at, a->len) == 0;
}

/* The slot that holds the key, or the free one where it belongs. The hash is keyed: collisions cannot be made. */
static uint32_t *index_slot(const struct encoder *c, const struct key_index *x, const struct key *key)
{
    uint32_t at = (uint32_t)hash_bytes(output(c) + key->at, key->len) & x->mask;
    while (x->slots[at] && !key_same(c, &c->keys[x->slots[at] - 1], key))
        at = (at + 1) & x->mask;
    return &x->slots[at];
}

/* A table of twice the size (or the first one) with all keys of the object. */
static int index_grow(struct encoder *c, struct frame *f)
{
    struct key_index x = {.mask = f->index.slots ? f->index.mask * 2 + 1 : 4 * INDEX_FROM - 1};
    x.slots = calloc((size_t)x.mask + 1, sizeof(*x.slots));
    if (!x.slots)
        return err_set(c->e, BG_ENOMEM, 0, "no memory");
    free(f->index.slots);
    f->index = x;
    for (uint32_t i = f->first_key; i < c->key_count; i++)
        *index_slot(c, &x, &c->keys[i]) = i + 1;
    return BG_OK;
}

/* Keys of closed objects are gone, so this is the keys on one path of nesting. */
static int keys_grow(struct encoder *c)
{
    uint32_t cap = c->key_cap * 2;
    bool inside = c->key_cap == KEYS_INLINE;
    struct key *keys = realloc(inside ? NULL : c->keys, cap * sizeof(*keys));
    if (!keys)
        return err_set(c->e, BG_ENOMEM, 0, "no memory");
    if (inside)
        memcpy(keys, c->keys, KEYS_INLINE * sizeof(*keys));
    c->keys = keys;
    c->key_cap = cap;
    return BG_OK;
}

/* Whether the object holds the key already; if not it does from now on. */
static int key_seen(struct encoder *c, struct frame *f, const struct key *key, bool *seen)
{
    int rc = BG_OK;
    uint32_t count = c->key_count - f->first_key;
    *seen = false;
    if (count < INDEX_FROM) {
        for (uint32_t i = f->first_key; i < c->key_count && !*seen; i++)
            *seen = key_same(c, &c->keys[i], key);
    } else {
        if (!f->index.slots || count > f->index.mask / 2)
            rc = index_grow(c, f);
        if (rc)
            return rc;
        uint32_t *slot = index_slot(c, &f->index, key);
        *seen = *slot != 0;
        if (!*seen)
            *slot = c->key_count + 1;
    }
    if (!*seen && c->key_count == c->key_cap)
        rc = keys_grow(c);
    if (!*seen && rc == 0)
        c->keys[c->key_count++] = *key;
    return rc;
}

/* "key": up to where the value begins. *seen tells that it is a repeated key, of which nothing was written. */
static int put_key(struct encoder *c, struct frame *f, bool *seen)
{
    size_t before = (size_t)(c->o - output(c));
    int rc = put_string(c);
    if (rc)
        return rc;
    struct key key = {.at = (uint32_t)before + 5};
    key.len = (uint32_t)((size_t)(c->o - output(c)) - key.at);
    key.print = key_print(output(c) + key.at, key.len);
    rc = key_seen(c, f, &key, seen);
    if (*seen)
        c->o = output(c) + before;
    c->p = skip_space(c->p, c->end);
    c->p = skip_space(c->p + 1, c->end); /* the colon */
    return rc;
}

/* ---- containers ---- */

/* Writes the head with room for the count and moves to the first element or the end. */
static int open_container(struct encoder *c, bool object)
{
    if (c->depth == c->max_depth)
        return err_set(c->e, BG_ELIMIT, 0, "nesting too deep");
    if (!room(c, 5))
        return no_room(c);
    struct frame *f = &c->frame[c->depth++];
    *c->o++ = object ? TAG_MAP : TAG_LIST;
    f->count_at = (uint32_t)(c->o - output(c));
    f->count = 0;
    f->first_key = c->key_count;
    f->object = object;
    f->bytes_only = !object;
    f->index = (struct key_index){NULL, 0};
    c->o += 4;
    c->p = skip_space(c->p + 1, c->end);
    return BG_OK;
}

/* Patches the count; an empty array becomes []. */
static int close_container(struct encoder *c)
{
    struct frame *f = &c->frame[--c->depth];
    uint8_t *count = output(c) + f->count_at;
    c->p++;
    c->key_count = f->first_key;
    free(f->index.slots);
    if (!f->object && f->count == 0) {
        count[-1] = TAG_NIL;
        c->o = count;
        return BG_OK;
    }
    put_be32(count, f->count);
    if (f->object)
        return BG_OK;
    if (f->bytes_only && f->count <= STRING_EXT_MAX)
        c->string_saves += (size_t)f->count + 3; /* (1+4 + 2n + 1) - (1+2 + n) */
    if (!room(c, 1))
        return no_room(c);
    *c->o++ = TAG_NIL;
    return BG_OK;
}

/* The words: 'w' is TAG_SMALL_ATOM_UTF8, followed by the length. */
static int put_scalar(struct encoder *c)
{
    switch (*c->p) {
    case '"':
        return put_string(c);
    case 't':
        return put_word(c, "w\4true", 6, 4);
    case 'f':
        return put_word(c, "w\5false", 7, 5);
    case 'n':
        return put_word(c, "w\3nil", 5, 4);
    default:
        return put_number(c);
    }
}

/* The next element of the innermost container: a scalar whole, a container's opening, or nothing for a repeated
 * key. c->p stands on its first character. */
static int put_element(struct encoder *c, struct frame *f)
{
    int rc;
    if (f->object) {
        bool seen = false;
        rc = put_key(c, f, &seen);
        if (rc)
            return rc;
        if (seen) {
            c->p = json_skip(c->p, c->end);
            return BG_OK;
        }
    }
    f->count++;
    if (*c->p == '{' || *c->p == '[') {
        f->bytes_only = false;
        return open_container(c, *c->p == '{');
    }
    size_t at = (size_t)(c->o - output(c));
    rc = put_scalar(c);
    f->bytes_only = f->bytes_only && rc == 0 && output(c)[at] == TAG_SMALL_INT;
    return rc;
}

/* Elements until all that was opened is closed. */
static int put_elements(struct encoder *c)
{
    int rc = open_container(c, *c->p == '{');
    while (rc == 0 && c->depth > 0) {
        c->p = skip_space(c->p, c->end);
        if (c->p >= c->end)
            return err_set(c->e, BG_EINVAL, 0, "the text has not been checked");
        if (*c->p == ',')
            c->p = skip_space(c->p + 1, c->end);
        rc = *c->p == '}' || *c->p == ']' ? close_container(c) : put_element(c, &c->frame[c->depth - 1]);
    }
    return rc;
}

/* Gives back whatever memory was taken, also after a failure half way. */
static int encode_container(struct encoder *c, const struct json_limits *lim)
{
    struct nesting own;
    c->frame = own.frame;
    c->keys = own.keys;
    c->key_count = 0;
    c->key_cap = KEYS_INLINE;
    c->depth = 0;
    c->max_depth = lim->max_depth < JSON_DEPTH_MAX ? lim->max_depth : JSON_DEPTH_MAX;
    int rc = put_elements(c);
    while (c->depth > 0) /* after a failure */
        free(c->frame[--c->depth].index.slots);
    if (c->key_cap > KEYS_INLINE)
        free(c->keys);
    return rc;
}

static int encode(struct encoder *c, struct slice raw, struct buf *out, const struct json_limits *lim, struct err *e)
{
    c->p = raw.ptr;
    c->end = raw.ptr + raw.len;
    c->o = c->o_end = NULL;
    c->base = out->len;
    c->out = out;
    c->e = e;
    c->string_saves = 0;
    if (!grow(c, 1))
        return no_room(c);
    int rc = *c->p == '{' || *c->p == '[' ? encode_container(c, lim) : put_scalar(c);
    if (c->o)
        out->len = (size_t)(c->o - out->data);
    return rc;
}

/* A string without escapes, as most arguments are, is written without an encoder. */
static int put_plain(struct slice text, struct buf *out, struct err *e)
{
    uint8_t *o = buf_room(out, text.len + 5);
    if (!o)
        return no_room_in(out, e);
    o[0] = TAG_BINARY;
    put_be32(o + 1, (uint32_t)text.len);
    text_copy(o + 5, text.ptr, text.len);
    out->len += text.len + 5;
    return BG_OK;
}

int json_to_term(struct slice raw, struct buf *out, const struct json_limits *lim, struct err *e)
{
    struct encoder c;
    struct slice text;
    if (raw.len == 0)
        return err_set(e, BG_EINVAL, 0, "no value");
    if (raw.len > UINT32_MAX / 4) /* the offsets above; a term takes at most three times its text */
        return err_set(e, BG_ELIMIT, 0, "value too large");
    if (*raw.ptr == '"' && json_string_plain(raw, &text))
        return put_plain(text, out, e);
    return encode(&c, raw, out, lim, e);
}

/* Encodes and measures: it is called only near a bound (see the header), and so it cannot differ from what is
 * sent. */
size_t json_term_size(struct slice raw, const struct json_limits *lim)
{
    struct encoder c = {.string_saves = 0};
    struct buf b;
    buf_init(&b, 0);
    int rc = encode(&c, raw, &b, lim, NULL);
    size_t size = rc ? SIZE_MAX : 1 + b.len - c.string_saves;
    buf_fini(&b);
    return size;
}
