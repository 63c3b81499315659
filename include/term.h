/*
 * term.h: Erlang external term format: check, read, write. Terms are slices of encoded bytes
 * without the leading version byte 131; nothing here builds a tree or recurses.
 *
 * Rule: bytes from another node pass term_check() once, as a whole packet; after that the readers
 * below and ei_decode_* may walk them. The readers check bounds again all the same, since it is
 * cheap and a bug here would be remote.
 */
#ifndef BEAMGATE_TERM_H
#define BEAMGATE_TERM_H

#include "buf.h"

enum {
    TERM_VERSION = 131,
    TERM_DEPTH_DEFAULT = 256, /* containers inside one another */
    TERM_DEPTH_MAX = 1024     /* what any max_depth is cut to */
};

enum term_kind {
    TERM_INVALID,
    TERM_INT, /* fits int64_t: SMALL_INTEGER, INTEGER, SMALL_BIG of up to 63 bits */
    TERM_BIG, /* any other integer */
    TERM_FLOAT,
    TERM_ATOM,
    TERM_BINARY,
    TERM_BITSTRING, /* BIT_BINARY_EXT with unused bits */
    TERM_NIL,
    TERM_STRING, /* STRING_EXT: a list of bytes */
    TERM_LIST,
    TERM_TUPLE,
    TERM_MAP,
    TERM_PID,
    TERM_PORT,
    TERM_REF,
    TERM_FUN,
    TERM_EXPORT
};

/* Walks exactly one term at the start of data without recursion, checking every length against len,
 * nesting against max_depth, that floats are finite and atoms at most 255 characters of valid
 * UTF-8. COMPRESSED (80), atom cache references and unknown tags are refused.
 * Returns 0 and the term's size in *used; BG_EINVAL or BG_ELIMIT (depth) with *e filled. */
int term_check(const void *data, size_t len, unsigned max_depth, size_t *used, struct err *e) MUST_CHECK;
/* What follows the term at p when it is a leaf of the usual kinds that term_check() passes. NULL says nothing: ask
 * term_check(). */
const uint8_t *term_check_leaf(const uint8_t *p, const uint8_t *end) MUST_CHECK;

/* A cursor over checked terms. On failure a read function returns BG_EINVAL and does not move. */
struct term_reader {
    const uint8_t *p;
    const uint8_t *end;
};

struct term_pid {
    struct slice node; /* UTF-8 text of the atom */
    uint32_t id;
    uint32_t serial;
    uint32_t creation;
};

enum { TERM_REF_WORDS = 5 };
struct term_ref {
    struct slice node;
    uint32_t creation;
    uint32_t words; /* 1..5 */
    uint32_t id[TERM_REF_WORDS];
};

/* A cursor at the beginning of a term (without version byte), which is borrowed. */
static inline struct term_reader term_reader(struct slice term)
{
    return (struct term_reader){(const uint8_t *)term.ptr, (const uint8_t *)slice_end(term)};
}

static inline bool term_at_end(const struct term_reader *r)
{
    return r->p >= r->end;
}

/* What comes next, without moving. */
enum term_kind term_peek(const struct term_reader *r);
/* The kind of a whole term, as term_skip() and term_read_last() return it: what term_peek() said before. */
enum term_kind term_kind(struct slice term);
/* Steps over one term and returns it. */
int term_skip(struct term_reader *r, struct slice *term) MUST_CHECK;
/* The last element of a checked term whose bytes end with it: all that is left. Unlike term_skip() it does not walk the
 * element, which matters for results. BG_EINVAL when nothing is left. */
static inline int term_read_last(struct term_reader *r, struct slice *term)
{
    if (term_at_end(r))
        return BG_EINVAL;
    *term = slice_make(r->p, (size_t)(r->end - r->p));
    r->p = r->end;
    return BG_OK;
}
int term_read_int(struct term_reader *r, int64_t *v) MUST_CHECK;
/* TERM_FLOAT only. */
int term_read_float(struct term_reader *r, double *v) MUST_CHECK;
/* Text is UTF-8 (atoms in Latin-1 encodings that hold other than ASCII are refused). */
int term_read_atom(struct term_reader *r, struct slice *text) MUST_CHECK;
int term_read_binary(struct term_reader *r, struct slice *bytes) MUST_CHECK;
int term_read_tuple(struct term_reader *r, uint32_t *arity) MUST_CHECK;
/* LIST_EXT and NIL_EXT. After *n elements the tail follows: see term_read_tail(). NIL gives 0 and no tail. */
int term_read_list(struct term_reader *r, uint32_t *n) MUST_CHECK;
/* After the elements of a list with n > 0: 0 when the tail is [], BG_EINVAL when the list is improper. */
int term_read_tail(struct term_reader *r) MUST_CHECK;
/* Arity in pairs; 2 * n terms follow. */
int term_read_map(struct term_reader *r, uint32_t *n) MUST_CHECK;
int term_read_pid(struct term_reader *r, struct term_pid *pid) MUST_CHECK;
int term_read_ref(struct term_reader *r, struct term_ref *ref) MUST_CHECK;
/* STRING_EXT: the bytes that are the list's elements. */
int term_read_string(struct term_reader *r, struct slice *bytes) MUST_CHECK;
/* The two below with the name as a slice: they are in place so that the length of a literal is known. */
int term_read_tagged_slice(struct term_reader *r, struct slice tag, uint32_t *arity) MUST_CHECK;
bool term_read_is_atom_slice(struct term_reader *r, struct slice name);
/* {atom, ...}: reads a tuple header and its first element if that is the atom `tag`. */
MUST_CHECK static inline int term_read_tagged(struct term_reader *r, const char *tag, uint32_t *arity)
{
    return term_read_tagged_slice(r, slice_str(tag), arity);
}
/* True and moves on if the next term is the atom. */
static inline bool term_read_is_atom(struct term_reader *r, const char *name)
{
    return term_read_is_atom_slice(r, slice_str(name));
}

/* The value under an atom key of a map term, e.g. a struct's field. False when absent or not a map. */
bool term_map_get(struct slice map, const char *atom_key, struct slice *value);
/* A term that is one atom: compares its text. */
bool term_is_atom_slice(struct slice term, struct slice name);
static inline bool term_is_atom(struct slice term, const char *name)
{
    return term_is_atom_slice(term, slice_str(name));
}
bool term_is_nil(struct slice term); /* the atom nil */
/* Same term by value, across encodings (STRING vs LIST, atom encodings, integer widths, old and new pids and
 * references); integers never equal floats. Maps compare independent of key order, but keys that are containers must be
 * encoded alike; a map costs n when the orders agree and n * n otherwise. Ports and functions compare by their bytes.
 * False for terms nested deeper than TERM_DEPTH_DEFAULT. Without recursion. */
bool term_equal(struct slice a, struct slice b);
/* Service names and the like: text of an atom or a binary (E-036 want). False for other kinds. */
bool term_text(struct slice term, struct slice *text);
/* How many arguments a function takes, &Mod.fun/2 or a closure of another node; -1 for any other term. */
int term_fun_arity(struct slice term);
/* Appends Elixir's Kernel.inspect/1 of a term, for error texts and logs, on one line and cut at max bytes ("..." at the
 * end): atoms as :a, nil, module names without "Elixir.", binaries as "..." with escapes (not text: <<1, 2>>),
 * charlists as ~c"abc", keyword lists [a: 1], maps %{...}, structs %Mod{...}, dates and times as sigils. */
void term_inspect(struct slice term, struct buf *out, size_t max);

/* Writers. Each appends one term head or term to b; failure is b's sticky flag. */
void term_put_version(struct buf *b);
void term_put_int(struct buf *b, int64_t v);
void term_put_uint(struct buf *b, uint64_t v);
void term_put_float(struct buf *b, double v);
void term_put_atom(struct buf *b, const char *name);
/* <= 255 characters; for our own and the cluster's names only, never for what a client sent (E-235) */
void term_put_atom_slice(struct buf *b, struct slice name);
void term_put_binary(struct buf *b, struct slice bytes);
void term_put_text(struct buf *b, const char *cstr); /* as a binary */
void term_put_tuple(struct buf *b, uint32_t arity);
void term_put_list(struct buf *b, uint32_t n); /* n > 0: n elements and a tail must follow; n == 0 writes [] */
void term_put_nil(struct buf *b);              /* NIL_EXT: [] and the tail of a list */
void term_put_map(struct buf *b, uint32_t pairs);
void term_put_pid(struct buf *b, const struct term_pid *pid);
void term_put_ref(struct buf *b, const struct term_ref *ref);
static inline void term_put_raw(struct buf *b, struct slice term)
{
    buf_add_slice(b, term);
}

#endif
