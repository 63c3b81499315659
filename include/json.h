/*
 * json.h: a strict JSON scanner and writer without a tree (RFC 8259; what it accepts and refuses is
 * E-234 and E-2341: no lone surrogates, no raw control characters, no leading zeros, no numbers
 * beyond a double's range when they have a fraction or exponent, valid UTF-8 only).
 */
#ifndef BEAMGATE_JSON_H
#define BEAMGATE_JSON_H

#include "buf.h"

enum {
    JSON_DEPTH_MAX = 512,  /* what json_limits.max_depth is cut to */
    JSON_NUMBER_MAX = 4096 /* characters of one number: longer ones are BG_ELIMIT, since converting digits
                              to a binary integer costs their square */
};

enum json_kind {
    JSON_BAD, /* what begins no value */
    JSON_END, /* nothing but white space is left */
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_limits {
    unsigned max_depth; /* containers inside one another, e.g. 64 */
    size_t max_keys;    /* keys of one object, 0: no bound */
};

/* What an error's text says of the first two bounds: by it whoever counts them tells them apart. */
extern const char json_too_deep[], json_too_many_keys[];

/* The default bounds for a client's message. */
extern const struct json_limits json_limits_default;
/* For text that has passed json_value() with bounds of its own, whatever these were. */
extern const struct json_limits json_limits_checked;

struct json_reader {
    const char *p;
    const char *end;
    const char *start; /* for positions in errors */
};

/* A reader at the beginning of text, which is borrowed and need not be checked. */
static inline struct json_reader json_reader(struct slice text)
{
    return (struct json_reader){text.ptr, slice_end(text), text.ptr};
}

/* What a value is, told by its first character alone; JSON_BAD for those that begin none. */
extern const uint8_t json_kinds[256];
/* Kind of a raw value. */
static inline enum json_kind json_kind(struct slice raw)
{
    return raw.len ? (enum json_kind)json_kinds[(uint8_t)raw.ptr[0]] : JSON_END;
}

/* White space is these four characters and no others (RFC 8259 section 2). */
static inline const char *json_skip_space(const char *p, const char *end)
{
    while (p < end && (uint8_t)*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* Skips white space and tells what comes next without consuming it; JSON_BAD for a character that
 * begins no value. */
enum json_kind json_peek(struct json_reader *r);

/* Consumes one whole value, checking it entirely, and returns its raw text (no outer white space).
 * 0, BG_EINVAL, or BG_ELIMIT (depth, keys, digits of a number); *e (may be NULL) says what and at which byte
 * of the reader's text. On failure the reader does not move. Depth is bounded without recursion. */
int json_value(struct json_reader *r, const struct json_limits *lim, struct slice *raw, struct err *e) MUST_CHECK;
/* The members of one object as they were found while it was checked, for who needs them and need not look for them again. */
enum { JSON_MEMBERS_MAX = 16 };
struct json_members {
    bool whole; /* these are all; false for an object of none or more, and for what is no object */
    unsigned count;
    struct {
        struct slice key; /* raw, as value is */
        struct slice value;
    } at[JSON_MEMBERS_MAX];
};
/* json_value() that also remembers the members of the value itself, not of what is inside it. */
int json_value_members(struct json_reader *r, const struct json_limits *lim, struct slice *raw, struct json_members *m,
                       struct err *e) MUST_CHECK;
/* 0 when nothing but white space is left. */
int json_finish(struct json_reader *r, struct err *e) MUST_CHECK;

/* Steps over one value of checked text: p stands on its first character, end may lie beyond it.
 * Returns what follows. */
const char *json_skip(const char *p, const char *end);

/* Walks a container whose raw text has already passed json_value(): no checks, only speed.
 * Usage: struct json_iter it; json_iter_init(&it, raw); while (json_iter_next(&it, &key, &value)) ...
 * key is the raw string with quotes for objects and empty for arrays. Anything but a
 * container has no elements. */
struct json_iter {
    const char *p;
    const char *end;
    bool object;
};
void json_iter_init(struct json_iter *it, struct slice raw_container);
bool json_iter_next(struct json_iter *it, struct slice *raw_key, struct slice *raw_value);

/* True when the raw string (with quotes) has no escapes: its text is raw.ptr + 1, raw.len - 2. */
bool json_string_plain(struct slice raw, struct slice *text);
/* The text of a raw, checked string (with quotes), without a copy where it has no escapes; else it takes the place of
 * what was in room, of which no more than JSON_ROOM_KEEP bytes of memory stay from the last time. Without memory the
 * text is empty and room has failed. */
enum { JSON_ROOM_KEEP = 4096 };
struct slice json_string_in(struct slice raw, struct buf *room);
/* Appends the text of a raw, checked string (with quotes), escapes resolved. */
void json_string_text(struct slice raw, struct buf *out);
/* The same to dst, which has room for end - p bytes; p..end is the text without quotes. Returns the length. */
size_t json_unescape(const char *p, const char *end, uint8_t *dst);
/* Compares a raw string (with quotes, escapes allowed) with text. */
bool json_string_is(struct slice raw, struct slice text);

/* The double nearest to a checked number of at most JSON_NUMBER_MAX characters. */
double json_number_double(struct slice raw);

/* Appends text as a JSON string with quotes; escapes only ", \ and control characters (E-222).
 * BG_EINVAL when text is not valid UTF-8 (then out holds what was written so far). */
int json_put_string(struct buf *out, struct slice text) MUST_CHECK;
/* Appends a key of an object with its colon, and the comma before it unless it is the first. Errors as above. */
int json_put_key(struct buf *out, struct slice key, bool comma) MUST_CHECK;
/* Like json_put_string() for bytes that may be anything: what is not valid UTF-8 becomes U+FFFD. */
void json_put_text(struct buf *out, struct slice text);
/* The shortest form that reads back the same, written as Erlang's float_to_binary(F, [short]) (E-225).
 * v must be finite. */
void json_put_float(struct buf *out, double v);
void json_put_int(struct buf *out, int64_t v);

/* Length of the longest valid UTF-8 prefix; == len when all is valid. Fast on ASCII. */
size_t utf8_valid_prefix(const void *data, size_t len);

#endif
