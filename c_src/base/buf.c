/*
 * buf.c: see buf.h. Invariant: len <= cap, and cap <= limit where a limit is set.
 *
 * The failure is sticky so that a writer of a whole message can append without looking and whoever sends it looks
 * once; a buffer that failed holds a part of a message and must not be sent. Appends that fit are made in place, in
 * the header: what is here is the slower half.
 */
#include "buf.h"

#include <stdio.h>
#include <stdlib.h>

enum { BUF_FIRST = 256 }; /* most frames and calls fit */

static void buf_sane(const struct buf *b)
{
    assert_always(b->len <= b->cap);
    assert_always(b->limit == 0 || b->cap <= b->limit);
}

void buf_init(struct buf *b, size_t limit)
{
    *b = (struct buf){.limit = limit};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.limit = b->limit};
}

void buf_shrink(struct buf *b, size_t keep)
{
    buf_reset(b);
    if (b->cap > keep)
        buf_fini(b);
}

/* Taking back what made it fail makes it whole again: the failed append wrote nothing. */
void buf_truncate(struct buf *b, size_t len)
{
    assert_always(len <= b->len);
    b->len = len;
    b->failed = false;
}

void buf_consume(struct buf *b, size_t n)
{
    assert_always(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

/* By a half, not by two: a link's output may be tens of megabytes, and its old and new block live side by side. */
static bool buf_grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : BUF_FIRST;
    while (cap < need)
        cap += cap / 2 + 16;
    if (b->limit && cap > b->limit)
        cap = b->limit;
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return NULL;
    size_t need = b->len + n;
    bool over = need < n || /* the sum has wrapped */
                (b->limit && need > b->limit);
    if (over || (need > b->cap && !buf_grow(b, need))) {
        b->failed = true;
        return NULL;
    }
    buf_sane(b);
    return b->data + b->len;
}

void buf_add_slow(struct buf *b, const void *src, size_t n)
{
    if (n == 0)
        return;
    uint8_t *dst = buf_reserve(b, n);
    if (!dst)
        return;
    memcpy(dst, src, n);
    b->len += n;
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    uint8_t *dst = n >= 0 ? buf_reserve(b, (size_t)n + 1) : NULL; /* 1: vsnprintf ends with a NUL that does not count */
    if (n < 0)
        b->failed = true;
    if (dst) {
        vsnprintf((char *)dst, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}
