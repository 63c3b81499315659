/*
 * base64.c: see base64.h. Strict where it decides what a token is: one text per byte string, so bits that no byte needs
 * must be zero. Lenient in the alphabet only. Pure; not constant in time, since tokens are not secret to their sender.
 */
#include "base64.h"

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-' || c == '+')
        return 62;
    return c == '_' || c == '/' ? 63 : -1;
}

int base64_decode(struct slice text, struct buf *out)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t padding = text.len % 4 == 0 ? 2 : 0;
    for (size_t i = 0; i < padding && text.len && text.ptr[text.len - 1] == '='; i++)
        text.len--;
    if (text.len % 4 == 1)
        return BG_EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        int d = digit(text.ptr[i]);
        if (d < 0)
            return BG_EINVAL;
        bits = bits << 6 | (uint32_t)d;
        held += 6;
        if (held >= 8) {
            held -= 8;
            buf_putc(out, (int)(bits >> held & 0xff));
        }
    }
    if (bits & ((1u << held) - 1))
        return BG_EINVAL;
    return buf_ok(out) ? BG_OK : BG_ENOMEM;
}
