/*
 * text_scan.h: the inner loops over text that the JSON scanner, the JSON writer and the transcoder
 * share. Private to the codec layer.
 */
#ifndef BEAMGATE_TEXT_SCAN_H
#define BEAMGATE_TEXT_SCAN_H

#include <endian.h>

#include "base.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* 1 for bytes that end a run of plain string text: control characters, quote, backslash, not ASCII. */
extern const uint8_t text_stop[256];

static inline uint64_t text_load8(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

/* Sets the high bit of each byte of w that text_stop[] marks. Bytes after the first marked one may
 * be marked falsely (borrows of the subtractions), so only the lowest mark counts. */
static inline uint64_t text_stop_word(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    uint64_t control = w - ones * 0x20;
    return (w | ((control | (quote - ones) | (slash - ones)) & ~w)) & high;
}

#ifdef __SSE2__
/* Of 16 bytes those that are a quote or a backslash. */
static inline __m128i text_quote_bytes(__m128i w)
{
    return _mm_or_si128(_mm_cmpeq_epi8(w, _mm_set1_epi8('"')), _mm_cmpeq_epi8(w, _mm_set1_epi8('\\')));
}

/* Bit i tells whether p[i] is one of these. */
static inline unsigned text_quote_mask(const char *p)
{
    return (unsigned)_mm_movemask_epi8(text_quote_bytes(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* Bit i tells whether text_stop[] marks p[i]: as a signed number what is not ASCII is below a blank too. */
static inline unsigned text_stop_mask(const char *p)
{
    __m128i w = _mm_loadu_si128((const __m128i *)(const void *)p), low = _mm_cmplt_epi8(w, _mm_set1_epi8(' '));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(text_quote_bytes(w), low));
}
#endif

/* text_run() and text_quote() without the looks at 16 bytes: for the rest of a text, or all of it. */
const char *text_run_rest(const char *p, const char *end);
const char *text_quote_rest(const char *p, const char *end);

/* The first byte of [p, end) that text_stop[] marks, or end. Most strings are short ASCII without escapes, and most
 * have more of the message behind them: one look at 16 bytes finds their end. */
static inline const char *text_run(const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        unsigned stop = text_stop_mask(p);
        if (stop)
            return p + (unsigned)__builtin_ctz(stop);
    }
#endif
    return text_run_rest(p, end);
}

/* The first quote or backslash of [p, end), or end. */
static inline const char *text_quote(const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        unsigned stop = text_quote_mask(p);
        if (stop)
            return p + (unsigned)__builtin_ctz(stop);
    }
#endif
    return text_quote_rest(p, end);
}

/* Four bytes twice, possibly overlapping: a word of all bytes of a text of 4..7. */
static inline uint64_t text_load4x2(const char *p, const char *q)
{
    uint32_t a, b;
    memcpy(&a, p, sizeof(a));
    memcpy(&b, q, sizeof(b));
    return (uint64_t)b << 32 | a;
}

/* True when all n bytes are ASCII. */
static inline bool text_is_ascii(const char *p, size_t n)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    uint64_t seen = 0;
    if (n >= 8) {
        for (size_t i = 0; i + 8 <= n; i += 8)
            seen |= text_load8(p + i);
        return !((seen | text_load8(p + n - 8)) & high);
    }
    if (n >= 4)
        return !(text_load4x2(p, p + n - 4) & high);
    for (size_t i = 0; i < n; i++)
        seen |= (uint8_t)p[i];
    return !(seen & 0x80);
}

/* memcpy() for the short strings that names and values mostly are: no call below 17 bytes. */
static inline void text_copy(uint8_t *dst, const char *src, size_t n)
{
    if (n > 16) {
        memcpy(dst, src, n);
    } else if (n >= 8) {
        memcpy(dst, src, 8);
        memcpy(dst + n - 8, src + n - 8, 8);
    } else if (n >= 4) {
        memcpy(dst, src, 4);
        memcpy(dst + n - 4, src + n - 4, 4);
    } else {
        for (size_t i = 0; i < n; i++)
            dst[i] = (uint8_t)src[i];
    }
}

/* Copies text and tells whether it was plain throughout (see text_stop[]); if not, dst holds rubbish. */
static inline bool text_copy_plain(uint8_t *dst, const char *src, size_t n)
{
    uint64_t stop = 0;
#ifdef __SSE2__
    if (n >= 16) {
        for (size_t i = 0; i + 16 <= n; i += 16) {
            stop |= text_stop_mask(src + i);
            memcpy(dst + i, src + i, 16);
        }
        memcpy(dst + n - 16, src + n - 16, 16);
        return !(stop | text_stop_mask(src + n - 16));
    }
#endif
    if (n >= 8) {
        for (size_t i = 0; i + 8 <= n; i += 8) {
            uint64_t w = text_load8(src + i);
            stop |= text_stop_word(w);
            memcpy(dst + i, &w, sizeof(w));
        }
        memcpy(dst + n - 8, src + n - 8, 8);
        return !(stop | text_stop_word(text_load8(src + n - 8)));
    }
    if (n >= 4) {
        memcpy(dst, src, 4);
        memcpy(dst + n - 4, src + n - 4, 4);
        return !text_stop_word(text_load4x2(src, src + n - 4));
    }
    for (size_t i = 0; i < n; i++) {
        dst[i] = (uint8_t)src[i];
        stop |= text_stop[dst[i]];
    }
    return !stop;
}

enum { TEXT_SLACK = 15 };

/* The same where TEXT_SLACK bytes behind text may be read, and as many behind its place at dst written. */
static inline bool text_copy_plain_slack(uint8_t *dst, const char *src, size_t n)
{
#ifdef __SSE2__
    unsigned stop = 0;
    for (; n > 16; n -= 16, dst += 16, src += 16) {
        memcpy(dst, src, 16);
        stop |= text_stop_mask(src);
    }
    memcpy(dst, src, 16);
    return !(stop | (text_stop_mask(src) & ((1u << n) - 1)));
#else
    return text_copy_plain(dst, src, n);
#endif
}

/* Length (2..4) of the well-formed UTF-8 sequence of more than one byte at p, or 0 (Unicode table 3-7:
 * no overlong forms, no surrogates, nothing above U+10FFFF). */
static inline size_t utf8_sequence(const char *at, size_t left)
{
    const uint8_t *p = (const uint8_t *)at;
    if (left < 2 || p[0] < 0xc2 || p[0] > 0xf4 || (p[1] & 0xc0) != 0x80)
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if (left < 3 || (p[2] & 0xc0) != 0x80)
        return 0;
    if (p[0] < 0xf0)
        return (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ? 0 : 3;
    if (left < 4 || (p[3] & 0xc0) != 0x80)
        return 0;
    return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

#endif
