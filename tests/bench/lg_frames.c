/*
 * lg_frames.c: frames made once and patched, answers learned once and compared.
 *
 * The generator shares two cores with what it measures, so a message must cost it next to nothing: the masked frame
 * of a request is built at start and only the eight digits of its number are written anew; an answer is checked with
 * memcmp against the first one, around the digits. That check is also the strictest there is: any byte that differs
 * between two answers is reported.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loadgen.h"

#define MARK "$ID"
enum { MARK_LEN = sizeof(MARK) - 1 };

static void put_digits(char *dst, uint32_t n)
{
    for (int i = ID_DIGITS - 1; i >= 0; i--, n /= 10)
        dst[i] = (char)('0' + n % 10);
}

static int64_t get_digits(const char *p)
{
    int64_t n = 0;
    for (int i = 0; i < ID_DIGITS; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        n = n * 10 + (p[i] - '0');
    }
    return n;
}

/* RFC 6455 §5.2: FIN and opcode 1; length in 7, 7 + 16 or 7 + 64 bits; mask bit set as for every client. */
static size_t put_header(uint8_t *dst, size_t len, const uint8_t mask[4])
{
    size_t n = 2;
    dst[0] = 0x81;
    if (len < 126) {
        dst[1] = (uint8_t)(0x80 | len);
    } else {
        bool wide = len > 0xffff;
        unsigned bytes = wide ? 8 : 2;
        dst[1] = 0x80 | (wide ? 127 : 126);
        for (unsigned i = 0; i < bytes; i++)
            dst[n++] = (uint8_t)((uint64_t)len >> (8 * (bytes - 1 - i)));
    }
    memcpy(dst + n, mask, 4);
    return n + 4;
}

/* Copies text to dst with room for digits in place of each mark; notes where. Returns the length, or 0. */
static size_t expand(struct template *t, const char *text, char *dst)
{
    size_t len = 0;
    t->holes = 0;
    for (const char *p = text; *p;) {
        if (strncmp(p, MARK, MARK_LEN) != 0) {
            dst[len++] = *p++;
            continue;
        }
        if (t->holes == MAX_HOLES)
            return 0;
        t->hole[t->holes++] = len;
        put_digits(dst + len, 0);
        len += ID_DIGITS;
        p += MARK_LEN;
    }
    return len;
}

int template_make(struct template *t, const char *text)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d}; /* the one of RFC 6455 §5.7; any will do */
    size_t room = strlen(text) + MAX_HOLES * ID_DIGITS;
    char *body = malloc(room + 1);
    t->bytes = malloc(room + 14);
    if (!body || !t->bytes)
        return -1;
    size_t len = expand(t, text, body);
    memcpy(t->mask, mask, sizeof(mask));
    t->body = put_header(t->bytes, len, mask);
    for (size_t i = 0; i < len; i++)
        t->bytes[t->body + i] = (uint8_t)body[i] ^ mask[i & 3];
    t->len = t->body + len;
    free(body);
    return len > 0 ? 0 : -1;
}

void template_put(const struct template *t, uint32_t n, uint8_t *dst)
{
    char digits[ID_DIGITS];
    memcpy(dst, t->bytes, t->len);
    put_digits(digits, n);
    for (unsigned h = 0; h < t->holes; h++)
        for (size_t i = 0; i < ID_DIGITS; i++)
            dst[t->body + t->hole[h] + i] = (uint8_t)digits[i] ^ t->mask[(t->hole[h] + i) & 3];
}

bool pattern_learn(struct pattern *p, const char *text, size_t len, uint32_t n)
{
    char digits[ID_DIGITS];
    if (len > sizeof(p->text))
        return false;
    put_digits(digits, n);
    p->holes = 0;
    for (const char *at = text; p->holes < MAX_HOLES;) {
        at = memmem(at, len - (size_t)(at - text), digits, ID_DIGITS);
        if (!at)
            break;
        p->hole[p->holes++] = (size_t)(at - text);
        at += ID_DIGITS;
    }
    memcpy(p->text, text, len);
    p->len = len;
    p->known = p->holes > 0;
    return p->known;
}

int64_t pattern_match(const struct pattern *p, const char *text, size_t len)
{
    if (!p->known || len != p->len)
        return -1;
    size_t pos = 0;
    int64_t number = get_digits(text + p->hole[0]);
    for (unsigned h = 0; h < p->holes; h++) {
        size_t at = p->hole[h];
        if (memcmp(text + pos, p->text + pos, at - pos) != 0)
            return -1;
        if (memcmp(text + at, text + p->hole[0], ID_DIGITS) != 0)
            return -1;
        pos = at + ID_DIGITS;
    }
    return memcmp(text + pos, p->text + pos, len - pos) == 0 ? number : -1;
}

int64_t find_number(const char *text, size_t len, const char *marker)
{
    const char *p = memmem(text, len, marker, strlen(marker));
    if (!p)
        return -1;
    p += strlen(marker);
    return (size_t)(text + len - p) >= ID_DIGITS ? get_digits(p) : -1;
}

bool text_has(const char *text, size_t len, const char *part, uint32_t n)
{
    char want[1024];
    size_t out = 0;
    for (const char *p = part; *p;) {
        if (out + ID_DIGITS >= sizeof(want))
            return false;
        if (strncmp(p, MARK, MARK_LEN) == 0) {
            put_digits(want + out, n);
            out += ID_DIGITS;
            p += MARK_LEN;
        } else {
            want[out++] = *p++;
        }
    }
    return memmem(text, len, want, out) != NULL;
}
