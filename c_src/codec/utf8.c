/*
 * utf8.c: which bytes are text, and where it stops being plain. The table and the sequence check of text_scan.h decide
 * the same for the scanner, the writers and the term checker, so that text accepted on one side never fails on the
 * other.
 */
#include "json.h"
#include "text_scan.h"

#define STOP_4(n) [n] = 1, [(n) + 1] = 1, [(n) + 2] = 1, [(n) + 3] = 1
#define STOP_16(n) STOP_4(n), STOP_4((n) + 4), STOP_4((n) + 8), STOP_4((n) + 12)

const uint8_t text_stop[256] = {
    STOP_16(0x00), STOP_16(0x10), ['"'] = 1,     ['\\'] = 1,    STOP_16(0x80), STOP_16(0x90),
    STOP_16(0xa0), STOP_16(0xb0), STOP_16(0xc0), STOP_16(0xd0), STOP_16(0xe0), STOP_16(0xf0),
};

static const char *skip_ascii(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, p, sizeof(w));
        if (w & UINT64_C(0x8080808080808080))
            break;
    }
    while (p < end && !(*p & 0x80))
        p++;
    return p;
}

size_t utf8_valid_prefix(const void *data, size_t len)
{
    const char *start = data, *p = start, *end = slice_end(slice_make(start, len));
    for (;;) {
        p = skip_ascii(p, end);
        size_t n = p < end ? utf8_sequence(p, (size_t)(end - p)) : 0;
        if (n == 0)
            return (size_t)(p - start);
        p += n;
    }
}

const char *text_run_rest(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t stop = text_stop_word(le64toh(text_load8(p)));
        if (stop)
            return p + ((unsigned)__builtin_ctzll(stop) >> 3);
    }
    while (p < end && !text_stop[(uint8_t)*p])
        p++;
    return p;
}

/* Sets the high bit of each byte of w that is a quote or a backslash; only the lowest mark counts. */
static inline uint64_t text_quote_word(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    return (((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & high;
}

const char *text_quote_rest(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t stop = text_quote_word(le64toh(text_load8(p)));
        if (stop)
            return p + ((unsigned)__builtin_ctzll(stop) >> 3);
    }
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}
