/*
 * term_tags.h: the tags of the external term format and how each is laid out. Private to the codec layer.
 * Source: erts/doc, "External Term Format"; the same tags as erl_interface's ei.h.
 */
#ifndef BEAMGATE_TERM_TAGS_H
#define BEAMGATE_TERM_TAGS_H

#include "term.h"

enum term_tag {
    TAG_NEW_FLOAT = 70,
    TAG_BIT_BINARY = 77,
    TAG_COMPRESSED = 80,
    TAG_NEW_PID = 88,
    TAG_NEW_PORT = 89,
    TAG_NEWER_REF = 90,
    TAG_SMALL_INT = 97,
    TAG_INT = 98,
    TAG_FLOAT = 99,
    TAG_ATOM = 100,
    TAG_REF = 101,
    TAG_PORT = 102,
    TAG_PID = 103,
    TAG_SMALL_TUPLE = 104,
    TAG_LARGE_TUPLE = 105,
    TAG_NIL = 106,
    TAG_STRING = 107,
    TAG_LIST = 108,
    TAG_BINARY = 109,
    TAG_SMALL_BIG = 110,
    TAG_LARGE_BIG = 111,
    TAG_NEW_FUN = 112,
    TAG_EXPORT = 113,
    TAG_NEW_REF = 114,
    TAG_SMALL_ATOM = 115,
    TAG_MAP = 116,
    TAG_ATOM_UTF8 = 118,
    TAG_SMALL_ATOM_UTF8 = 119,
    TAG_V4_PORT = 120
};

/* How the bytes behind a tag tell the term's length. */
enum term_shape {
    SHAPE_BAD,
    SHAPE_FIXED,  /* `extra` bytes */
    SHAPE_BYTES8, /* a length of 1, 2 or 4 bytes, `extra` bytes, as many bytes as the length says */
    SHAPE_BYTES16,
    SHAPE_BYTES32,
    SHAPE_TUPLE8, /* a count of 1 or 4 bytes, as many terms */
    SHAPE_TUPLE32,
    SHAPE_LIST, /* a count of 4 bytes, as many terms and a tail */
    SHAPE_MAP,  /* a count of 4 bytes, twice as many terms */
    SHAPE_NODE, /* an atom and `extra` bytes: pids and ports */
    SHAPE_REF,  /* 2 bytes n, an atom, `extra` bytes of creation, n words */
    SHAPE_EXPORT,
    SHAPE_FUN
};

struct term_rule {
    uint8_t kind;  /* enum term_kind; integers of any width are TERM_INT here */
    uint8_t shape; /* enum term_shape */
    uint8_t extra;
};

extern const struct term_rule term_rules[256];

/* Reads the term at p as far as it goes without its children: a whole leaf, or the head of a container.
 * Returns what follows and the number of terms that belong to it, or NULL when it does not fit before
 * end, its tag is unknown, or it has more children than bytes are left. */
const uint8_t *term_head(const uint8_t *p, const uint8_t *end, uint64_t *children);

/* The same in place for containers of the encodings that nearly all have: NULL for all else, and for what term_head()
 * refuses. */
static inline const uint8_t *term_open(const uint8_t *p, const uint8_t *end, uint64_t *children)
{
    size_t left = (size_t)(end - p);
    if (left < 2)
        return NULL;
    if (*p == TAG_SMALL_TUPLE) {
        *children = p[1];
        return *children <= left - 2 ? p + 2 : NULL;
    }
    if (left < 5 || (*p != TAG_MAP && *p != TAG_LIST))
        return NULL;
    uint64_t n = get_be32(p + 1);
    if (*p == TAG_LIST && n == 0)
        return NULL;
    *children = *p == TAG_MAP ? n * 2 : n + 1;
    return *children <= left - 5 ? p + 5 : NULL;
}

/* The text of the atom at p, whose encoding may be any; NULL when it is none. Returns what follows. */
const uint8_t *term_atom_text(const uint8_t *p, const uint8_t *end, struct slice *text);

/* The value of the float term (either encoding) that lies wholly at p. False when it is not finite. */
bool term_float_value(const uint8_t *p, double *v);

/* An integer of any size that does not fit int64_t: its sign and magnitude, least byte first. */
struct term_big {
    const uint8_t *bytes;
    size_t len;
    bool negative;
};
bool term_read_big(struct term_reader *r, struct term_big *big);

#endif
