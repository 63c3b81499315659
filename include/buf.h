/*
 * buf.h: a growable byte buffer with a bound and a sticky failure flag.
 *
 * Writers append without checking each step; when memory or the bound runs out the buffer turns
 * `failed`, later appends do nothing, and whoever hands the bytes on checks buf_ok() once.
 */
#ifndef BEAMGATE_BUF_H
#define BEAMGATE_BUF_H

#include <stdarg.h>

#include "base.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;   /* never above limit, so that what fits the memory is within the bound */
    size_t limit; /* largest len allowed; 0 means no bound but memory */
    bool failed;
};

/* limit in bytes, 0 for none. No memory is taken until the first byte. */
void buf_init(struct buf *b, size_t limit);
/* Frees the memory and forgets content and failure; the limit stays, so that b may be filled again. */
void buf_fini(struct buf *b);
/* Forgets content and failure, keeps the memory. */
static inline void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}
/* Forgets content and failure and gives back the memory when more than keep bytes are held. */
void buf_shrink(struct buf *b, size_t keep);
/* Cuts back to len bytes (len <= b->len) and clears the failure: undoes what was appended since. */
void buf_truncate(struct buf *b, size_t len);
/* Drops n bytes at the front; O(rest). */
void buf_consume(struct buf *b, size_t n);

/* Makes room for n more bytes and returns where they go, or NULL (then b->failed is set).
 * The caller writes up to n bytes there and adds what it wrote to b->len. */
uint8_t *buf_reserve(struct buf *b, size_t n);
/* Needs room for one byte more than it appends. What cannot be formatted fails the buffer. */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

/* Appends n bytes when they do not fit as things are: buf_add() and nobody else calls it. */
void buf_add_slow(struct buf *b, const void *src, size_t n);

/* Most appends are a few bytes that fit, and a message is made of hundreds of them: hence in place. */
static inline void buf_add(struct buf *b, const void *src, size_t n)
{
    if (n - 1 < b->cap - b->len && !b->failed) { /* n == 0 wraps and is for the slow way too */
        memcpy(b->data + b->len, src, n);
        b->len += n;
    } else {
        buf_add_slow(b, src, n);
    }
}

/* buf_reserve() in place, for writers that ask for room some hundred times a message. n > 0. */
static inline uint8_t *buf_room(struct buf *b, size_t n)
{
    return n <= b->cap - b->len && !b->failed ? b->data + b->len : buf_reserve(b, n);
}

static inline void buf_putc(struct buf *b, int c)
{
    uint8_t byte = (uint8_t)c;
    buf_add(b, &byte, 1);
}

/* In place, so that the length of a literal is known and its copy a few stores. */
static inline void buf_puts(struct buf *b, const char *cstr)
{
    buf_add(b, cstr, strlen(cstr));
}

static inline void buf_add_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.ptr, s.len);
}

/* False once something did not fit: what b holds is a part of a message and must not go out. */
static inline bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

/* What b holds, until its next change. */
static inline struct slice buf_slice(const struct buf *b)
{
    return slice_make(b->data, b->len);
}

/* Big-endian stores, the byte order of the distribution protocol and of WebSocket headers. */
static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)((uint16_t)p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

static inline uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

#endif
