/*
 * version.c: see version.h. Numbers are compared as digit strings, so none is too long; nothing is copied.
 *
 * It accepts what Elixir's Version.parse accepts: three numbers without leading zeros, optional pre-release and build.
 */
#include "version.h"

struct version {
    struct slice number[3];
    struct slice pre; /* without the '-'; empty: none */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_ident(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

/* Takes the longest run of digits or identifier characters off the front. */
static struct slice take_run(struct slice *rest, bool (*belongs)(char c))
{
    size_t n = 0;
    while (n < rest->len && belongs(rest->ptr[n]))
        n++;
    struct slice run = slice_make(rest->ptr, n);
    *rest = slice_make(rest->ptr + n, rest->len - n);
    return run;
}

/* Steps over c if it comes next. */
static bool take_char(struct slice *rest, char c)
{
    if (rest->len == 0 || rest->ptr[0] != c)
        return false;
    *rest = slice_make(rest->ptr + 1, rest->len - 1);
    return true;
}

static bool is_number(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.ptr[i]))
            return false;
    return s.len > 0;
}

static bool leading_zero(struct slice s)
{
    return s.len > 1 && s.ptr[0] == '0';
}

/* Identifiers separated by dots; those of a pre-release that are numbers have no leading zeros. */
static bool take_idents(struct slice *rest, bool pre)
{
    do {
        struct slice ident = take_run(rest, is_ident);
        if (ident.len == 0 || (pre && is_number(ident) && leading_zero(ident)))
            return false;
    } while (take_char(rest, '.'));
    return true;
}

/* False for what Version.parse refuses; *v is undefined then. */
static bool version_parse(struct slice text, struct version *v)
{
    for (int i = 0; i < 3; i++) {
        if (i > 0 && !take_char(&text, '.'))
            return false;
        v->number[i] = take_run(&text, is_digit);
        if (v->number[i].len == 0 || leading_zero(v->number[i]))
            return false;
    }
    v->pre = SLICE_NONE;
    if (take_char(&text, '-')) {
        const char *start = text.ptr;
        if (!take_idents(&text, true))
            return false;
        v->pre = slice_make(start, (size_t)(text.ptr - start));
    }
    if (take_char(&text, '+') && !take_idents(&text, false))
        return false;
    return text.len == 0;
}

/* Without leading zeros the longer one is greater. */
static int compare_numbers(struct slice a, struct slice b)
{
    return a.len != b.len ? (a.len > b.len) - (a.len < b.len) : slice_compare(a, b);
}

/* Numbers go below text. */
static int compare_idents(struct slice a, struct slice b)
{
    bool na = is_number(a), nb = is_number(b);
    if (na != nb)
        return na ? -1 : 1;
    return na ? compare_numbers(a, b) : slice_compare(a, b);
}

/* Identifier by identifier; of two that agree as far as they go, the longer is greater (§11.4.4). */
static int compare_pre(struct slice a, struct slice b)
{
    if (a.len == 0 || b.len == 0)
        return (a.len == 0) - (b.len == 0);
    for (;;) {
        int c = compare_idents(take_run(&a, is_ident), take_run(&b, is_ident));
        if (c)
            return c;
        bool more_a = take_char(&a, '.'), more_b = take_char(&b, '.');
        if (!more_a || !more_b)
            return more_a - more_b;
    }
}

int version_compare(struct slice a, struct slice b)
{
    struct version va, vb;
    bool ok_a = version_parse(a, &va), ok_b = version_parse(b, &vb);
    if (!ok_a || !ok_b)
        return ok_a - ok_b;
    for (int i = 0; i < 3; i++) {
        int c = compare_numbers(va.number[i], vb.number[i]);
        if (c)
            return c;
    }
    return compare_pre(va.pre, vb.pre);
}
