/*
 * origin.c: see origin.h. Pure: bytes in, a verdict out.
 *
 * Browsers send Origin as scheme://host[:port] and nothing else, so nothing else is read: a parser that understands
 * more (user info, paths, escapes) is a parser that can be talked into seeing another host than the browser meant.
 *
 * Invariant: a host that was read holds only letters, digits, "-", "_" and dots, or is an address in brackets; so
 * comparing it byte by byte, without case, is the whole comparison.
 */
#include "origin.h"

#include <strings.h>

static bool host_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.';
}

static bool address_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.';
}

static struct slice drop(struct slice s, size_t n)
{
    return slice_make(s.ptr + n, s.len - n);
}

static size_t span(struct slice s, bool (*is)(char c))
{
    size_t n = 0;
    while (n < s.len && is(s.ptr[n]))
        n++;
    return n;
}

static bool same_text(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

/* ":" and 1 to 5 digits up to the end; an empty text is no port. */
static int take_port(struct slice rest, uint16_t *port)
{
    uint32_t v = 0;
    if (rest.len == 0)
        return BG_OK;
    if (rest.ptr[0] != ':' || rest.len < 2 || rest.len > 6)
        return BG_EINVAL;
    for (size_t i = 1; i < rest.len; i++) {
        if (rest.ptr[i] < '0' || rest.ptr[i] > '9')
            return BG_EINVAL;
        v = v * 10 + (uint32_t)(rest.ptr[i] - '0');
    }
    if (v == 0 || v > UINT16_MAX)
        return BG_EINVAL;
    *port = (uint16_t)v;
    return BG_OK;
}

/* host[:port] or [address][:port]. */
static int take_authority(struct slice text, struct origin *o)
{
    if (text.len && text.ptr[0] == '[') {
        struct slice rest = drop(text, 1);
        size_t n = span(rest, address_char);
        if (n == 0 || n == rest.len || rest.ptr[n] != ']')
            return BG_EINVAL;
        o->host = slice_make(rest.ptr, n);
        return take_port(drop(rest, n + 1), &o->port);
    }
    size_t n = span(text, host_char);
    o->host = slice_make(text.ptr, n);
    return n ? take_port(drop(text, n), &o->port) : BG_EINVAL;
}

static uint16_t port_of_scheme(struct slice scheme)
{
    static const struct {
        const char *scheme;
        uint16_t port;
    } known[] = {{"http", 80}, {"ws", 80}, {"https", 443}, {"wss", 443}};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (same_text(scheme, slice_str(known[i].scheme)))
            return known[i].port;
    return 0;
}

static bool scheme_char(char c)
{
    return host_char(c) ? c != '_' : c == '+';
}

int origin_parse(struct slice text, struct origin *o)
{
    *o = (struct origin){0};
    if (text.len > ORIGIN_MAX)
        return BG_EINVAL;
    size_t n = span(text, scheme_char);
    struct slice rest = drop(text, n);
    if (n == 0 || rest.len < 3 || memcmp(rest.ptr, "://", 3) != 0)
        return BG_EINVAL;
    o->scheme = slice_make(text.ptr, n);
    int rc = take_authority(drop(rest, 3), o);
    if (rc == BG_OK && !o->port)
        o->port = port_of_scheme(o->scheme);
    return rc;
}

int origin_parse_host(struct slice text, struct origin *o)
{
    *o = (struct origin){0};
    return text.len > ORIGIN_MAX ? BG_EINVAL : take_authority(text, o);
}

/* The star and its dot are taken off for reading and put back as a host that begins with the dot. */
int origin_parse_pattern(struct slice text, struct origin *o)
{
    struct slice scheme = SLICE_NONE, rest = text;
    *o = (struct origin){0};
    size_t n = span(text, scheme_char);
    if (n && n < text.len && text.ptr[n] == ':') {
        scheme = slice_make(text.ptr, n);
        rest = drop(text, n + 1);
    }
    if (text.len > ORIGIN_MAX || rest.len < 3 || memcmp(rest.ptr, "//", 2) != 0)
        return BG_EINVAL;
    rest = drop(rest, 2);
    bool below = rest.len > 2 && rest.ptr[0] == '*' && rest.ptr[1] == '.';
    if (below)
        rest = drop(rest, 1);
    if ((rest.ptr[0] == '.') != below || (below && (rest.len < 2 || rest.ptr[1] == '.')))
        return BG_EINVAL;
    int rc = take_authority(rest, o);
    o->scheme = scheme;
    if (rc == BG_OK && !o->port)
        o->port = port_of_scheme(scheme);
    return rc == BG_OK && below && o->host.len < 2 ? BG_EINVAL : rc;
}

bool origin_same_host(const struct origin *a, const struct origin *b)
{
    return a->host.len && same_text(a->host, b->host);
}

/* A pattern's host that begins with a dot stands for what ends in it. */
static bool host_matches(struct slice host, struct slice pattern)
{
    if (pattern.ptr[0] != '.')
        return same_text(host, pattern);
    return host.len > pattern.len && same_text(drop(host, host.len - pattern.len), pattern);
}

bool origin_matches(const struct origin *o, const struct origin *pattern)
{
    return pattern->host.len && host_matches(o->host, pattern->host) &&
           (!pattern->scheme.len || same_text(o->scheme, pattern->scheme)) &&
           (!pattern->port || o->port == pattern->port);
}

bool origin_matches_connection(const struct origin *o, const struct origin *host, bool tls)
{
    struct slice scheme = tls ? SLICE_LIT("https") : SLICE_LIT("http");
    return origin_same_host(o, host) && same_text(o->scheme, scheme) &&
           o->port == (host->port ? host->port : port_of_scheme(scheme));
}
