/*
 * json.c: the JSON scanner: one pass that checks a value entirely and gives its raw text, and the
 * fast walks over text that has passed it.
 *
 * Invariant: whatever json_value() returns is well-formed JSON whose strings are valid UTF-8 without
 * lone surrogates, whose numbers are at most JSON_NUMBER_MAX characters and, where they have a fraction
 * or exponent, finite as a double. json_iter, json_string_text, json_to_term and the rest rely on
 * it and check nothing again.
 *
 * Nesting is kept in an array, never in the C stack. No tree is built and nothing is allocated.
 */
#include "json.h"

#include <stdlib.h>

#include "text_scan.h"

const struct json_limits json_limits_default = {.max_depth = 64, .max_keys = 0};
const struct json_limits json_limits_checked = {.max_depth = JSON_DEPTH_MAX, .max_keys = 0};

const char json_too_deep[] = "nesting too deep";
const char json_too_many_keys[] = "too many keys in an object";

/* The walk of one json_value(). Its steps take the place they stand at and return what follows, or NULL when they have
 * failed with rc. */
struct scan {
    const char *end;
    const char *start;
    struct err *e;
    int rc;
    size_t max_keys;
    unsigned max_depth;
    unsigned depth;
    char close;                    /* what the innermost container ends with; 0: there is none */
    char outer[JSON_DEPTH_MAX];    /* the same of those around it */
    uint32_t keys[JSON_DEPTH_MAX]; /* by depth */
};

/* Malformed text, with its position in the text of the reader (not of the value). */
static const char *fail(struct scan *s, const char *at, const char *what)
{
    s->rc = err_set(s->e, BG_EINVAL, (size_t)(at - s->start), "%s", what);
    return NULL;
}

/* Well-formed as far as read, but more than we take. */
static const char *fail_limit(struct scan *s, const char *at, const char *what)
{
    s->rc = err_set(s->e, BG_ELIMIT, (size_t)(at - s->start), "%s", what);
    return NULL;
}

/* ---- strings ---- */

/* Value of a hexadecimal digit of either case, or -1. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The code unit of four hex digits, or -1. */
static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* What a one-character escape stands for; 0 for those that do not exist and for \u. */
static const char escape_value[128] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
};

/* Length of the escape at p (a backslash), a surrogate pair counting as one, or 0 when malformed. */
static size_t escape_length(const char *p, const char *end)
{
    if (end - p < 2)
        return 0;
    if (p[1] != 'u')
        return !(p[1] & 0x80) && escape_value[(uint8_t)p[1]] ? 2 : 0;
    int unit = hex4(p + 2, end);
    if (unit < 0 || (unit & 0xfc00) == 0xdc00)
        return 0;
    if ((unit & 0xfc00) != 0xd800)
        return 6;
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return 0;
    int low = hex4(p + 8, end);
    return low >= 0 && (low & 0xfc00) == 0xdc00 ? 12 : 0;
}

/* An escape, or characters outside ASCII: whatever stands in a string and is neither plain nor its end. */
static const char *check_special(struct scan *s, const char *p)
{
    size_t n;
    if (*p == '\\') {
        n = escape_length(p, s->end);
        return n ? p + n : fail(s, p, "invalid escape in a string");
    }
    do {
        n = utf8_sequence(p, (size_t)(s->end - p));
        if (!n)
            return fail(s, p, *p & 0x80 ? "invalid UTF-8 in a string" : "control character in a string");
        p += n;
    } while (p < s->end && *p & 0x80);
    return p;
}

/* p stands behind the opening quote. */
static inline const char *check_string(struct scan *s, const char *p)
{
    while ((p = text_run(p, s->end)) < s->end && *p != '"') {
        p = check_special(s, p);
        if (!p)
            return NULL;
    }
    return p < s->end ? p + 1 : fail(s, p, "unterminated string");
}

/* The UTF-8 form of a code point that is no surrogate; dst has room for 4 bytes. */
static size_t put_utf8(uint8_t *dst, uint32_t c)
{
    if (c < 0x80) {
        dst[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        dst[0] = (uint8_t)(0xc0 | c >> 6);
        dst[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        dst[0] = (uint8_t)(0xe0 | c >> 12);
        dst[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        dst[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    dst[0] = (uint8_t)(0xf0 | c >> 18);
    dst[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    dst[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    dst[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/* Writes the text of the checked escape at *p to dst (at most 4 bytes) and steps over it. */
static size_t take_escape(const char **p, const char *end, uint8_t *dst)
{
    const char *at = *p;
    if (at[1] != 'u') {
        *p = at + 2;
        dst[0] = (uint8_t)escape_value[at[1] & 0x7f];
        return 1;
    }
    uint32_t unit = (uint32_t)hex4(at + 2, end);
    *p = at + 6;
    if ((unit & 0xfc00) == 0xd800) {
        uint32_t low = (uint32_t)hex4(at + 8, end);
        *p = at + 12;
        unit = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
    }
    return put_utf8(dst, unit);
}

size_t json_unescape(const char *p, const char *end, uint8_t *dst)
{
    uint8_t *out = dst;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((slash ? slash : end) - p);
        memcpy(out, p, run);
        out += run;
        p += run;
        if (slash)
            out += take_escape(&p, end, out);
    }
    return (size_t)(out - dst);
}

/* memchr() is the fastest search there is, and most strings have no backslash to find. */
bool json_string_plain(struct slice raw, struct slice *text)
{
    *text = slice_make(raw.ptr + 1, raw.len - 2);
    return memchr(text->ptr, '\\', text->len) == NULL;
}

void json_string_text(struct slice raw, struct buf *out)
{
    uint8_t *dst = raw.len > 2 ? buf_reserve(out, raw.len - 2) : NULL;
    if (dst)
        out->len += json_unescape(raw.ptr + 1, raw.ptr + raw.len - 1, dst);
}

struct slice json_string_in(struct slice raw, struct buf *room)
{
    struct slice text;
    if (json_string_plain(raw, &text))
        return text;
    buf_shrink(room, JSON_ROOM_KEEP);
    json_string_text(raw, room);
    return buf_slice(room);
}

/* True and steps *text on when it begins with the n bytes at p. */
static bool eat(struct slice *text, const void *p, size_t n)
{
    if (text->len < n || memcmp(text->ptr, p, n) != 0)
        return false;
    *text = slice_make(text->ptr + n, text->len - n);
    return true;
}

/* The text of p..end, which may have escapes. Run by run, so that nothing is copied. */
static bool unescaped_is(const char *p, const char *end, struct slice text)
{
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((slash ? slash : end) - p);
        uint8_t c[4];
        if (run && !eat(&text, p, run))
            return false;
        p += run;
        if (slash && !eat(&text, c, take_escape(&p, end, c)))
            return false;
    }
    return text.len == 0;
}

/* Most comparisons are of a key with a name that it is not, and its length or first character says so: an escape is
 * longer than what it stands for. */
bool json_string_is(struct slice raw, struct slice text)
{
    const char *p = raw.ptr + 1;
    size_t n = raw.len - 2;
    if (n < text.len || (n > 0 && *p != '\\' && (text.len == 0 || *p != *text.ptr)))
        return false;
    return unescaped_is(p, p + n, text);
}

/* ---- numbers ---- */

/* Steps over digits, of which there may be none. */
static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* Powers of ten that a double holds exactly. */
static const double exact_power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* A decimal number taken apart: digits * 10^exponent, with what is needed to know its range. */
struct decimal {
    uint64_t digits; /* valid when count <= 19 */
    long exponent;
    int count; /* significant digits, leading zeros not counted */
};

/* Exponents beyond this mean overflow or zero whatever the digits, which JSON_NUMBER_MAX bounds. */
enum { EXPONENT_CLAMP = 100000 };

/* The number behind e or E, clamped so that a million digits of exponent cannot overflow. */
static long read_exponent(const char *p, const char *end)
{
    bool negative = *p == '-';
    long v = 0;
    if (*p == '-' || *p == '+')
        p++;
    for (; p < end; p++)
        v = v < EXPONENT_CLAMP ? v * 10 + (*p - '0') : v;
    return negative ? -v : v;
}

/* Reads a checked number. Digits beyond 19 overflow d.digits, which is then not used. */
static struct decimal take_apart(struct slice raw)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    struct decimal d = {0};
    bool fraction = false;
    if (*p == '-')
        p++;
    for (; p < end && (*p | 0x20) != 'e'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (d.count || *p != '0') {
            d.count++;
            d.digits = d.digits * 10 + (uint64_t)(*p - '0');
        }
        d.exponent -= fraction;
    }
    if (p < end)
        d.exponent += read_exponent(p + 1, end);
    return d;
}

/* strtod() needs a terminated copy; JSON_NUMBER_MAX is what makes one on the stack possible. */
double json_number_double(struct slice raw)
{
    struct decimal d = take_apart(raw);
    /* Clinger's fast path: both numbers are exact, so one operation rounds correctly. */
    if (d.count <= 19 && d.digits <= UINT64_C(1) << 53 && d.exponent >= -22 && d.exponent <= 22) {
        double v = (double)d.digits;
        v = d.exponent < 0 ? v / exact_power[-d.exponent] : v * exact_power[d.exponent];
        return raw.ptr[0] == '-' ? -v : v;
    }
    char text[JSON_NUMBER_MAX + 1];
    return strtod(slice_cstr(raw, text, sizeof(text)), NULL);
}

/* Whether a number with fraction or exponent is too large for a double. Its first digit stands for
 * 10^(count + exponent - 1); only near 1e308 the conversion itself must decide. */
static bool overflows(struct slice raw)
{
    struct decimal d = take_apart(raw);
    long top = d.count + d.exponent;
    if (d.count == 0 || top <= 308)
        return false;
    return top > 309 || json_number_double(raw) - json_number_double(raw) != 0;
}

/* At least one digit must stand at *p; steps over them. */
static bool digits(const char **p, const char *end)
{
    const char *from = *p;
    *p = skip_digits(from, end);
    return *p > from;
}

/* -? (0 | [1-9] digits) (. digits)? ([eE] [+-]? digits)? and the bounds of JSON_NUMBER_MAX and of a double. */
static const char *check_number(struct scan *s, const char *p)
{
    const char *start = p, *end = s->end;
    bool is_float = false;
    if (*p == '-')
        p++;
    const char *whole = p;
    if (!digits(&p, end) || (*whole == '0' && p - whole > 1))
        return fail(s, start, "invalid number");
    if (p < end && *p == '.') {
        p++;
        is_float = true;
        if (!digits(&p, end))
            return fail(s, start, "invalid number");
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        is_float = true;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        if (!digits(&p, end))
            return fail(s, start, "invalid number");
    }
    if (p - start > JSON_NUMBER_MAX)
        return fail_limit(s, start, "number with too many digits");
    if (is_float && overflows(slice_make(start, (size_t)(p - start))))
        return fail(s, start, "number out of range");
    return p;
}

/* ---- values ---- */

/* true, false or null: no prefix and no other case. */
static const char *check_word(struct scan *s, const char *p, const char *word, size_t n)
{
    return (size_t)(s->end - p) >= n && memcmp(p, word, n) == 0 ? p + n : fail(s, p, "invalid value");
}

/* Neither string nor container. */
static const char *check_scalar(struct scan *s, const char *p)
{
    switch (*p) {
    case 't':
        return check_word(s, p, "true", 4);
    case 'f':
        return check_word(s, p, "false", 5);
    case 'n':
        return check_word(s, p, "null", 4);
    default:
        return check_number(s, p);
    }
}

/* "key" : up to where the value begins. */
static inline const char *check_key(struct scan *s, const char *p)
{
    p = json_skip_space(p, s->end);
    if (p == s->end || *p != '"')
        return fail(s, p, "expected a key");
    if (s->max_keys && s->keys[s->depth - 1]++ >= s->max_keys)
        return fail_limit(s, p, json_too_many_keys);
    p = check_string(s, p + 1);
    if (!p)
        return NULL;
    p = json_skip_space(p, s->end);
    return p < s->end && *p == ':' ? p + 1 : fail(s, p, "expected ':'");
}

/* Enters the container at p. *more tells that a first element must follow. */
static inline const char *check_open(struct scan *s, const char *p, bool *more)
{
    char close = *p == '{' ? '}' : ']';
    if (s->depth >= s->max_depth)
        return fail_limit(s, p, json_too_deep);
    s->outer[s->depth] = s->close;
    s->keys[s->depth] = 0;
    s->depth++;
    s->close = close;
    p = json_skip_space(p + 1, s->end);
    *more = p == s->end || *p != close;
    return p;
}

/* One scalar, or the beginning of a container, with the key that an object has before it. *more tells that a first
 * element must follow. */
static inline const char *check_start(struct scan *s, const char *p, bool *more)
{
    *more = false;
    if (s->close == '}' && !(p = check_key(s, p)))
        return NULL;
    p = json_skip_space(p, s->end);
    if (p == s->end)
        return fail(s, p, "unexpected end");
    if (*p == '"')
        return check_string(s, p + 1);
    return *p == '{' || *p == '[' ? check_open(s, p, more) : check_scalar(s, p);
}

/* After a value: closes what ends here. *more tells that another element must follow. */
static inline const char *check_after(struct scan *s, const char *p, bool *more)
{
    *more = false;
    for (; s->depth > 0; p++) {
        p = json_skip_space(p, s->end);
        if (p < s->end && *p == ',') {
            *more = true;
            return p + 1;
        }
        if (p == s->end || *p != s->close)
            return fail(s, p, s->close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        s->depth--;
        s->close = s->outer[s->depth];
    }
    return p;
}

/* p has been found to begin a value, which ends at end. */
static inline int value_found(struct json_reader *r, const char *p, const char *end, struct slice *raw)
{
    *raw = slice_make(p, (size_t)(end - p));
    r->p = end;
    return BG_OK;
}

/* Any value at from. Starts and ends by turns: each start leaves either an opened container, whose first element
 * follows, or a whole value, behind which some containers may close. */
static int check_value(struct json_reader *r, const struct json_limits *lim, const char *from, struct slice *raw,
                       struct err *e)
{
    struct scan s;
    const char *p = from;
    s.end = r->end;
    s.start = r->start;
    s.e = e;
    s.rc = BG_OK;
    s.max_keys = lim->max_keys;
    s.max_depth = lim->max_depth < JSON_DEPTH_MAX ? lim->max_depth : JSON_DEPTH_MAX;
    s.depth = 0;
    s.close = '\0';
    for (bool more = true; more;) {
        p = check_start(&s, p, &more);
        if (p && !more)
            p = check_after(&s, p, &more);
        if (!p)
            return s.rc;
    }
    return value_found(r, from, p, raw);
}

/* The end of the string at p when it is plain, as most are, and so needs no walk; else NULL. */
static inline const char *plain_string(const char *p, const char *end)
{
    if (p == end || *p != '"')
        return NULL;
    p = text_run(p + 1, end);
    return p < end && *p == '"' ? p + 1 : NULL;
}

int json_value(struct json_reader *r, const struct json_limits *lim, struct slice *raw, struct err *e)
{
    const char *from = json_skip_space(r->p, r->end), *p = plain_string(from, r->end);
    return p ? value_found(r, from, p, raw) : check_value(r, lim, from, raw, e);
}

/* A whole value at p to *raw; returns what follows it and white space, or NULL. */
static inline const char *member_part(struct json_reader *r, const struct json_limits *lim, const char *p,
                                      struct slice *raw)
{
    const char *end = plain_string(p, r->end);
    if (end)
        *raw = slice_make(p, (size_t)(end - p));
    else if (check_value(r, lim, p, raw, NULL) == BG_OK)
        end = r->p;
    return end ? json_skip_space(end, r->end) : NULL;
}

/* The members of the object at p. What follows it; or NULL when it is more than fits or anything is wrong, which
 * check_value() then says. */
static const char *read_members(struct json_reader r, const struct json_limits *lim, const char *p,
                                struct json_members *m)
{
    unsigned depth = lim->max_depth < JSON_DEPTH_MAX ? lim->max_depth : JSON_DEPTH_MAX;
    const struct json_limits inner = {depth - 1, lim->max_keys};
    size_t most = lim->max_keys && lim->max_keys < JSON_MEMBERS_MAX ? lim->max_keys : JSON_MEMBERS_MAX;
    do {
        p = json_skip_space(p + 1, r.end);
        if (depth == 0 || m->count == most || p == r.end || *p != '"')
            return NULL;
        p = member_part(&r, &inner, p, &m->at[m->count].key);
        if (!p || p == r.end || *p != ':')
            return NULL;
        p = member_part(&r, &inner, json_skip_space(p + 1, r.end), &m->at[m->count].value);
        if (!p || p == r.end)
            return NULL;
        m->count++;
    } while (*p == ',');
    return *p == '}' ? p + 1 : NULL;
}

int json_value_members(struct json_reader *r, const struct json_limits *lim, struct slice *raw, struct json_members *m,
                       struct err *e)
{
    const char *from = json_skip_space(r->p, r->end), *p = NULL;
    m->count = 0;
    if (from < r->end && *from == '{')
        p = read_members(*r, lim, from, m);
    m->whole = p != NULL;
    return p ? value_found(r, from, p, raw) : check_value(r, lim, from, raw, e);
}

int json_finish(struct json_reader *r, struct err *e)
{
    r->p = json_skip_space(r->p, r->end);
    if (r->p == r->end)
        return BG_OK;
    return err_set(e, BG_EINVAL, (size_t)(r->p - r->start), "trailing characters");
}

const uint8_t json_kinds[256] = {
    ['"'] = JSON_STRING, ['{'] = JSON_OBJECT, ['['] = JSON_ARRAY,  ['t'] = JSON_TRUE,   ['f'] = JSON_FALSE,
    ['n'] = JSON_NULL,   ['-'] = JSON_NUMBER, ['0'] = JSON_NUMBER, ['1'] = JSON_NUMBER, ['2'] = JSON_NUMBER,
    ['3'] = JSON_NUMBER, ['4'] = JSON_NUMBER, ['5'] = JSON_NUMBER, ['6'] = JSON_NUMBER, ['7'] = JSON_NUMBER,
    ['8'] = JSON_NUMBER, ['9'] = JSON_NUMBER,
};

enum json_kind json_peek(struct json_reader *r)
{
    r->p = json_skip_space(r->p, r->end);
    return json_kind(slice_make(r->p, (size_t)(r->end - r->p)));
}

/* ---- walking checked text ---- */

/* p stands behind the opening quote; returns behind the closing one. */
static inline const char *skip_string(const char *p, const char *end)
{
    while ((p = text_quote(p, end)) < end && *p == '\\')
        p += 2;
    return p < end ? p + 1 : end;
}

/* Counts brackets of both kinds alike: checked text closes each with its own. */
static const char *skip_container(const char *p, const char *end)
{
    size_t depth = 0;
    while (p < end) {
        char c = *p++;
        if (c == '"')
            p = skip_string(p, end);
        else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            break;
    }
    return p;
}

/* What may follow a number or word in checked text. */
static inline bool ends_word(char c)
{
    return c <= ' ' || c == ',' || c == ']' || c == '}';
}

/* Whatever is not a string. */
static const char *skip_other(const char *p, const char *end)
{
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    while (p < end && !ends_word(*p))
        p++;
    return p;
}

static inline const char *skip_value(const char *p, const char *end)
{
    return *p == '"' ? skip_string(p + 1, end) : skip_other(p, end);
}

const char *json_skip(const char *p, const char *end)
{
    return skip_value(p, end);
}

void json_iter_init(struct json_iter *it, struct slice raw_container)
{
    bool container = raw_container.len >= 2 && (raw_container.ptr[0] == '{' || raw_container.ptr[0] == '[');
    *it = (struct json_iter){raw_container.ptr, raw_container.ptr, false};
    if (container) {
        it->object = raw_container.ptr[0] == '{';
        it->p = raw_container.ptr + 1;
        it->end = raw_container.ptr + raw_container.len - 1;
    }
}

/* White space and the one comma or colon that may stand between two pieces. */
static inline const char *skip_gap(const char *p, const char *end, char between)
{
    p = json_skip_space(p, end);
    return p < end && *p == between ? json_skip_space(p + 1, end) : p;
}

bool json_iter_next(struct json_iter *it, struct slice *raw_key, struct slice *raw_value)
{
    const char *end = it->end, *from = skip_gap(it->p, end, ','), *p = from;
    *raw_key = SLICE_NONE;
    if (it->object && from < end) {
        p = skip_string(from + 1, end);
        *raw_key = slice_make(from, (size_t)(p - from));
        from = p = skip_gap(p, end, ':');
    }
    if (from < end) {
        p = skip_value(from, end);
        *raw_value = slice_make(from, (size_t)(p - from));
    }
    it->p = p;
    return from < end;
}
