/*
 * http_head.c: see http_head.h. Lines end in CRLF, names are tokens, there is no folding and no control character;
 * anything else is BG_EINVAL. So no two readers of the same bytes can disagree about what they say.
 *
 * It does not decode the path: routes are compared as sent, and no file name is ever made of one.
 */
#include "http_head.h"

#include <strings.h>

#include "json.h"

enum { METHOD_MAX = 16, TARGET_MAX = 8 * 1024 };

/* RFC 9110 section 5.6.2. */
static bool is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_token_char((unsigned char)s.ptr[i]))
            return false;
    }
    return s.len > 0;
}

struct slice http_trim(struct slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s.ptr++, s.len--;
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool same_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

/* Cuts s at the first c: returns what is before and leaves what is behind in *rest. False when there is none. */
static bool cut(struct slice s, char c, struct slice *before, struct slice *rest)
{
    const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
    if (!at)
        return false;
    *before = slice_make(s.ptr, (size_t)(at - s.ptr));
    *rest = slice_make(at + 1, s.len - before->len - 1);
    return true;
}

/* http://host/path as sent to proxies is the same as /path (RFC 9112 section 3.2.2). */
static struct slice origin_form(struct slice target)
{
    static const char scheme[] = "http://";
    size_t n = sizeof(scheme) - 1;
    if (target.len <= n || strncasecmp(target.ptr, scheme, n) != 0)
        return target;
    const char *slash = memchr(target.ptr + n, '/', target.len - n);
    return slash ? slice_make(slash, (size_t)(target.ptr + target.len - slash)) : SLICE_LIT("/");
}

static bool target_parse(struct slice target, struct http_head *h)
{
    target = origin_form(target);
    if (target.len == 0 || target.len > TARGET_MAX || target.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.ptr[i];
        if (c <= ' ' || c == 0x7f || c == '#')
            return false;
    }
    h->query = SLICE_NONE;
    if (!cut(target, '?', &h->path, &h->query))
        h->path = target;
    return true;
}

static bool request_line_parse(struct slice line, struct http_head *h)
{
    struct slice target, version, rest;
    if (!cut(line, ' ', &h->method, &rest) || !cut(rest, ' ', &target, &version))
        return false;
    if (!is_token(h->method) || h->method.len > METHOD_MAX || !target_parse(target, h))
        return false;
    h->minor = slice_is(version, "HTTP/1.1");
    return h->minor || slice_is(version, "HTTP/1.0");
}

static bool header_parse(struct slice line, struct http_header *out)
{
    if (!cut(line, ':', &out->name, &out->value) || !is_token(out->name))
        return false;
    out->value = http_trim(out->value);
    for (size_t i = 0; i < out->value.len; i++) {
        unsigned char c = (unsigned char)out->value.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* The line that begins at pos, without its CRLF; *next is where the one after it begins. */
static bool line_at(struct slice bytes, size_t pos, struct slice *line, size_t *next)
{
    const char *lf = pos < bytes.len ? memchr(bytes.ptr + pos, '\n', bytes.len - pos) : NULL;
    if (!lf)
        return false;
    *next = (size_t)(lf - bytes.ptr) + 1;
    *line = slice_make(bytes.ptr + pos, *next - pos - 1);
    return true;
}

static bool chop_cr(struct slice *line)
{
    if (line->len == 0 || line->ptr[line->len - 1] != '\r')
        return false;
    line->len--;
    return true;
}

/* RFC 9112 section 3.2: a 1.1 request has one Host, an older one at most one. */
static bool host_is_right(const struct http_head *h)
{
    uint32_t pos = 0, hosts = 0;
    struct slice value;
    while (http_header_next(h, "host", &pos, &value))
        hosts++;
    return hosts == 1 || (hosts == 0 && h->minor == 0);
}

/* Short of input: more may come, unless there is too much already. */
static int need_more(struct slice bytes, struct err *e)
{
    return bytes.len < HTTP_HEAD_MAX ? BG_EMORE : err_set(e, BG_ELIMIT, bytes.len, "head too long");
}

int http_head_parse(struct slice bytes, struct http_head *h, size_t *used, struct err *e)
{
    struct slice line;
    size_t pos = 0, next;
    h->headers_count = 0;
    if (bytes.len > HTTP_HEAD_MAX)
        bytes.len = HTTP_HEAD_MAX;
    if (!line_at(bytes, pos, &line, &next))
        return need_more(bytes, e);
    /* Judged before the rest has come: what does not even begin like HTTP is not waited for. */
    if (!chop_cr(&line) || !request_line_parse(line, h))
        return err_set(e, BG_EINVAL, pos, "no HTTP/1.x request line");
    for (pos = next; line_at(bytes, pos, &line, &next); pos = next) {
        if (!chop_cr(&line))
            return err_set(e, BG_EINVAL, pos, "bare line feed");
        if (line.len == 0) {
            *used = next;
            return host_is_right(h) ? BG_OK : err_set(e, BG_EINVAL, pos, "Host is missing or repeated");
        }
        if (h->headers_count == HTTP_HEADERS_MAX)
            return err_set(e, BG_ELIMIT, pos, "too many headers");
        if (!header_parse(line, &h->headers[h->headers_count++]))
            return err_set(e, BG_EINVAL, pos, "malformed header");
    }
    return need_more(bytes, e);
}

bool http_header_next(const struct http_head *h, const char *name, uint32_t *pos, struct slice *value)
{
    while (*pos < h->headers_count) {
        const struct http_header *header = &h->headers[(*pos)++];
        if (!same_word(header->name, name))
            continue;
        *value = header->value;
        return true;
    }
    return false;
}

static bool list_has(struct slice list, const char *token)
{
    struct slice element, rest;
    while (cut(list, ',', &element, &rest)) {
        if (same_word(http_trim(element), token))
            return true;
        list = rest;
    }
    return same_word(http_trim(list), token);
}

bool http_header_has(const struct http_head *h, const char *name, const char *token)
{
    uint32_t pos = 0;
    struct slice value;
    while (http_header_next(h, name, &pos, &value)) {
        if (list_has(value, token))
            return true;
    }
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int http_url_decode(struct slice s, struct buf *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '%') {
            buf_putc(out, s.ptr[i] == '+' ? ' ' : s.ptr[i]);
            continue;
        }
        int high = i + 1 < s.len ? hex_digit(s.ptr[i + 1]) : -1;
        int low = i + 2 < s.len ? hex_digit(s.ptr[i + 2]) : -1;
        if (high < 0 || low < 0)
            return BG_EINVAL;
        buf_putc(out, high << 4 | low);
        i += 2;
    }
    if (!buf_ok(out)) /* half a value must not pass for the value */
        return BG_ENOMEM;
    size_t len = out->len - start;
    return len == 0 || utf8_valid_prefix(out->data + start, len) == len ? BG_OK : BG_EINVAL;
}

/* How a parameter's name relates to the wanted one: 1 the same, 0 another, BG_EINVAL the wanted one with brackets, or a
 * name that cannot be decoded; BG_ENOMEM. */
static int name_matches(struct slice raw, const char *name, struct buf *scratch)
{
    size_t n = strlen(name), start = scratch->len;
    int rc = http_url_decode(raw, scratch);
    if (rc != BG_OK)
        return rc;
    struct slice got = slice_make(scratch->data ? scratch->data + start : NULL, scratch->len - start);
    rc = slice_is(got, name);
    if (!rc && got.len > n && memcmp(got.ptr, name, n) == 0 && got.ptr[n] == '[')
        rc = BG_EINVAL;
    buf_truncate(scratch, start);
    return rc;
}

int http_query_get(struct slice query, const char *name, struct buf *out)
{
    size_t start = out->len;
    int found = BG_EGONE;
    while (query.len) {
        struct slice pair = query, key, value;
        if (!cut(query, '&', &pair, &query))
            query = SLICE_NONE;
        if (!cut(pair, '=', &key, &value))
            key = pair, value = SLICE_NONE;
        int same = name_matches(key, name, out);
        if (same < 0)
            return same;
        if (!same)
            continue;
        buf_truncate(out, start);
        found = http_url_decode(value, out);
        if (found != BG_OK)
            return found;
    }
    return found;
}
