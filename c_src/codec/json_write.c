/*
 * json_write.c: JSON text out: strings, integers and floats, byte for byte as the Elixir gateway writes
 * them (E-222, E-224, E-225), so that a client that compares texts sees no difference.
 *
 * Floats have three ways. Numbers of up to 15 significant digits and ordinary size, which is what people
 * store, are found with a few exact multiplications; those of more digits, which is what programs compute, by
 * arithmetic in 128 bits. Very large and very small ones go through the C library, 15 to 17 digits until the text reads
 * back as the same number.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "text_scan.h"

_Static_assert(FLT_EVAL_METHOD == 0, "the float tests below need plain double arithmetic");

/* ---- strings ---- */

static const char hex[] = "0123456789abcdef";

/* The letter after the backslash; 0 stands for the form \u00xx. */
static const char short_escape[0x60] = {
    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\',
};

/* Stores the escape of c at o (room for 6 bytes) and returns what follows. */
static uint8_t *store_escape(uint8_t *o, uint8_t c)
{
    *o++ = '\\';
    if (short_escape[c]) {
        *o++ = (uint8_t)short_escape[c];
        return o;
    }
    const uint8_t text[5] = {'u', '0', '0', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};
    memcpy(o, text, sizeof(text));
    return o + sizeof(text);
}

enum { PIECE = 64, EXPANSION = 6 }; /* input bytes at a time, and what one of them can become */

/* Writes one piece of text from p on; returns where it stopped: behind the piece, or at a byte that is not UTF-8. */
static const char *put_piece(struct buf *out, const char *p, const char *end)
{
    const char *stop = end - p > PIECE ? p + PIECE : end;
    uint8_t piece[(PIECE + 3) * EXPANSION], *o = piece;
    while (p < stop) {
        uint8_t c = (uint8_t)*p;
        if (!text_stop[c]) {
            *o++ = c;
            p++;
        } else if (c < 0x80) {
            o = store_escape(o, c);
            p++;
        } else {
            size_t n = utf8_sequence(p, (size_t)(end - p));
            if (n == 0)
                break;
            memcpy(o, p, n);
            o += n;
            p += n;
        }
    }
    buf_add(out, piece, (size_t)(o - piece));
    return p;
}

/* Text with escapes or other than ASCII characters, without the quotes. */
static int put_special(struct buf *out, struct slice text, bool replace)
{
    const char *p = text.ptr, *end = slice_end(text);
    while (p < end) {
        const char *from = p;
        p = put_piece(out, p, end);
        if (p == end || p - from >= PIECE)
            continue;
        if (!replace)
            return BG_EINVAL;
        buf_puts(out, "\xef\xbf\xbd");
        p++;
    }
    return BG_OK;
}

/* What goes around a string: a comma before it, a colon behind it. Almost every string is plain, and then all goes
 * out in one step. */
static inline int put_text(struct buf *out, struct slice text, bool comma, bool colon, bool replace)
{
    size_t n = text.len + 2 + comma + colon;
    uint8_t *o = buf_room(out, n);
    if (o && text_copy_plain(o + comma + 1, text.ptr, text.len)) {
        o[0] = ',';
        o[n - 1] = ':';
        o[comma] = o[comma + text.len + 1] = '"';
        out->len += n;
        return BG_OK;
    }
    buf_puts(out, comma ? ",\"" : "\"");
    int rc = put_special(out, text, replace);
    if (rc == 0)
        buf_puts(out, colon ? "\":" : "\"");
    return rc;
}

int json_put_string(struct buf *out, struct slice text)
{
    return put_text(out, text, false, false, false);
}

int json_put_key(struct buf *out, struct slice key, bool comma)
{
    return put_text(out, key, comma, true, false);
}

void json_put_text(struct buf *out, struct slice text)
{
    (void)put_text(out, text, false, false, true);
}

/* ---- integers ---- */

/* Writes v's digits so that they end before `end`; returns where they begin. */
static char *format_u64(char *end, uint64_t v)
{
    do {
        *--end = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return end;
}

void json_put_int(struct buf *out, int64_t v)
{
    char text[24], *end = text + sizeof(text);
    char *p = format_u64(end, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    if (v < 0)
        *--p = '-';
    buf_add(out, p, (size_t)(end - p));
}

/* ---- floats ---- */

enum { DIGITS_MAX = 17 };

/* 0.d1d2d3... * 10^point */
struct digits {
    char text[DIGITS_MAX + 1];
    int count;
    int point;
};

static const double power_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* 1200 is 12 and its point. */
static void strip_zeros(struct digits *d)
{
    while (d->count > 1 && d->text[d->count - 1] == '0')
        d->count--;
}

/* n / 10^k */
static void digits_set(struct digits *d, uint64_t n, int k)
{
    char text[24], *end = text + sizeof(text), *p = format_u64(end, n);
    d->count = (int)(end - p);
    d->point = d->count - k;
    memcpy(d->text, p, (size_t)d->count);
    strip_zeros(d);
}

/* Decimals of up to 15 digits map one to one to doubles, and m / 10^k is correctly rounded when both
 * are exact. So the first k at which m / 10^k is v again gives the shortest form. The product's error is
 * far below one half for m < 10^15, hence m is the only candidate. */
static bool digits_easy(double v, struct digits *d)
{
    for (int k = 0; k < (int)ARRAY_SIZE(power_of_ten); k++) {
        double scaled = v * power_of_ten[k];
        if (scaled >= 1e15)
            return false;
        uint64_t m = (uint64_t)(scaled + 0.5);
        if ((double)m / power_of_ten[k] != v)
            continue;
        digits_set(d, m, k);
        return true;
    }
    return false;
}

__extension__ typedef unsigned __int128 wide_t;

/* v = m * 2^-shift. In units of 2^-shift * 10^-k: the number, and how far below and above it other decimals still read
 * back as v, which is half the way to the next doubles, the ends included when m is even. */
struct interval {
    wide_t number;
    wide_t below;
    wide_t above;
    uint64_t units; /* number / 2^shift: the first 17 digits */
    int shift;
    int k;
};

static const uint64_t e16 = UINT64_C(10000000000000000);

/* Picks k so that the number has 17 digits before the point. With m < 2^53 and k <= 22 all fits 128 bits. */
static void find_interval(double v, struct interval *x)
{
    int exponent;
    uint64_t m = (uint64_t)ldexp(frexp(v, &exponent), 53);
    x->shift = 53 - exponent;
    for (x->k = 17 - exponent * 1233 / 4096;; x->k += x->units < e16 ? 1 : -1) { /* 1233 / 4096 = log10(2) */
        wide_t scale = 1;
        for (int i = 0; i < x->k; i++)
            scale *= 10;
        x->number = m * scale;
        x->units = (uint64_t)(x->number >> x->shift);
        x->above = scale / 2 - m % 2;
        /* Doubles below a power of two lie twice as dense. */
        x->below = m == UINT64_C(1) << 52 ? scale / 4 : x->above;
        if (x->units >= e16 && x->units < 10 * e16)
            return;
    }
}

/* For ordinary numbers of more than 15 digits: 16 digits if the nearest such decimal lies in the interval, else
 * the nearest of 17. */
static bool digits_exact(double v, struct digits *d)
{
    struct interval x;
    if (v < 1e-5 || v >= 1e15)
        return false;
    find_interval(v, &x);
    uint64_t n = x.units / 10;
    wide_t step = (wide_t)10 << x.shift, under = x.number - n * step, over = step - under;
    bool lower = under <= x.below, upper = over <= x.above;
    if (lower || upper) {
        bool up = !lower || (upper && (over < under || (over == under && n % 2)));
        digits_set(d, n + up, x.k - 1);
        return true;
    }
    wide_t rest = x.number - ((wide_t)x.units << x.shift), half = (wide_t)1 << (x.shift - 1);
    digits_set(d, x.units + (rest > half || (rest == half && x.units % 2)), x.k);
    return true;
}

/* Takes apart "d.ddde[+-]dd" as printf wrote it. */
static void digits_take(struct digits *d, const char *text)
{
    d->count = 0;
    for (; *text != 'e'; text++)
        if (*text != '.')
            d->text[d->count++] = *text;
    d->point = atoi(text + 1) + 1;
}

/* What the digits read back as. */
static double digits_value(const struct digits *d)
{
    char text[40];
    snprintf(text, sizeof(text), "0.%.*se%d", d->count, d->text, d->point);
    return strtod(text, NULL);
}

/* The next larger number of as many digits. */
static void digits_up(struct digits *d)
{
    int i = d->count - 1;
    while (i >= 0 && d->text[i] == '9')
        d->text[i--] = '0';
    if (i >= 0) {
        d->text[i]++;
        return;
    }
    d->text[0] = '1';
    d->point++;
}

/* At a power of two the numbers below lie twice as dense as those above, so the nearest decimal may be
 * another double's while the next one up still reads back as v (2^-44 is such a one). */
static bool digits_fit(struct digits *d, double v)
{
    int exponent;
    if (digits_value(d) == v)
        return true;
    if (frexp(v, &exponent) != 0.5)
        return false;
    digits_up(d);
    return digits_value(d) == v;
}

/* Tries precisions upward; the first that reads back is the shortest. */
static void digits_hard(double v, struct digits *d)
{
    /* 15 digits always survive the way through a normal double; subnormals hold fewer. */
    int precision = v < DBL_MIN ? 1 : 15;
    for (; precision <= DIGITS_MAX; precision++) {
        char text[40];
        snprintf(text, sizeof(text), "%.*e", precision - 1, v);
        digits_take(d, text);
        if (digits_fit(d, v))
            break;
    }
    strip_zeros(d);
}

/* n may be 0. */
static char *put_zeros(char *p, int n)
{
    memset(p, '0', (size_t)n);
    return p + n;
}

static char *put_digits(char *p, const struct digits *d, int from, int to)
{
    memcpy(p, d->text + from, (size_t)(to - from));
    return p + (to - from);
}

/* 123.45, 1200.0, 0.0012 */
static char *layout_decimal(char *p, const struct digits *d)
{
    if (d->point <= 0) {
        *p++ = '0';
        *p++ = '.';
        return put_digits(put_zeros(p, -d->point), d, 0, d->count);
    }
    int whole = d->point < d->count ? d->point : d->count;
    p = put_zeros(put_digits(p, d, 0, whole), d->point - whole);
    *p++ = '.';
    if (whole == d->count)
        *p++ = '0';
    return put_digits(p, d, whole, d->count);
}

/* 1.0e22, 1.25e-7 */
static char *layout_scientific(char *p, const struct digits *d)
{
    *p++ = d->text[0];
    *p++ = '.';
    if (d->count == 1)
        *p++ = '0';
    p = put_digits(p, d, 1, d->count);
    return p + sprintf(p, "e%d", d->point - 1);
}

/* Lengths without sign, which both forms share. */
static int decimal_length(const struct digits *d)
{
    if (d->point <= 0)
        return 2 - d->point + d->count;
    return d->point >= d->count ? d->point + 2 : d->count + 1;
}

static int scientific_length(const struct digits *d)
{
    int e = d->point - 1, a = e < 0 ? -e : e;
    return 2 + (d->count == 1 ? 1 : d->count - 1) + 1 + (e < 0) + (a >= 100 ? 3 : a >= 10 ? 2 : 1);
}

/* The shorter form wins, the decimal one when both are as long (E-225). */
void json_put_float(struct buf *out, double v)
{
    /* Integers from here on are not exact any more, so Erlang never writes them out (E-225). */
    const double exact_limit = 9007199254740992.0;
    char text[64], *p = text;
    double a = fabs(v);
    struct digits d = {.text = "0", .count = 1, .point = 1};
    if (a != 0 && !digits_easy(a, &d) && !digits_exact(a, &d))
        digits_hard(a, &d);
    if (signbit(v))
        *p++ = '-';
    bool decimal = a < exact_limit && decimal_length(&d) <= scientific_length(&d);
    p = decimal ? layout_decimal(p, &d) : layout_scientific(p, &d);
    buf_add(out, text, (size_t)(p - text));
}
