/*
 * remote_ask.c: see remote_ask.h. What a service sees of a client is built here and nowhere else: texts of the client
 * are binaries, and the atoms are ours, so that nobody fills a node's atom table by connecting (E-235).
 */
#include "remote_ask.h"

#include <strings.h>

#include "origin.h"
#include "term.h"

struct buf *remote_ask_begin(const struct call_ops *call, const struct remote_function *fn, uint32_t *turn, uint32_t nargs,
                             enum call_outcome *why)
{
    *why = CALL_NODEDOWN;
    for (uint32_t i = 0; i < fn->nodes_count; i++) {
        struct slice node = fn->nodes[(*turn)++ % fn->nodes_count];
        struct buf *out = call->begin(call->ctx, node, slice_str(fn->module), slice_str(fn->function), nargs, why);
        if (out)
            return out;
    }
    return NULL;
}

const char *remote_outcome_text(enum call_outcome outcome)
{
    static const char *const text[] = {
        [CALL_RETURN] = "returned something else",    [CALL_EXIT] = "raised or exited",
        [CALL_BADRPC] = "cannot be called",           [CALL_TIMEOUT] = "did not answer in time",
        [CALL_NODEDOWN] = "none of its nodes is up", [CALL_BUSY] = "its nodes have too much to do",
    };
    return text[outcome];
}

/* ---- connect_info ---- */

/* IPv4 as {A,B,C,D}, else the eight groups, as in inet:ip_address(). */
static void put_address(struct buf *out, const struct ip_address *a)
{
    bool v4 = ip_is_v4(a);
    term_put_tuple(out, v4 ? 4 : 8);
    for (unsigned i = 0; i < (v4 ? 4u : 8u); i++)
        term_put_int(out, v4 ? a->bytes[12 + i] : get_be16(a->bytes + 2 * i));
}

/* The client's own address, as limits and logs know it; its port is not kept, and there are no client certificates. */
static void put_peer_data(struct buf *out, const struct client_source *from)
{
    term_put_map(out, 3);
    term_put_atom(out, "address");
    put_address(out, &from->address);
    term_put_atom(out, "port");
    term_put_int(out, 0);
    term_put_atom(out, "ssl_cert");
    term_put_atom(out, "nil");
}

static bool begins_with(struct slice name, const char *prefix)
{
    size_t n = strlen(prefix);
    return name.len >= n && strncasecmp(name.ptr, prefix, n) == 0;
}

/* In lower case, as Plug has names of headers and Elixir schemes; room has to hold it. */
static struct slice lower(struct slice name, char *room)
{
    for (size_t i = 0; i < name.len; i++)
        room[i] = (char)(name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? name.ptr[i] | 0x20 : name.ptr[i]);
    return slice_make(room, name.len);
}

/* The headers whose name begins with one of two prefixes, as a list of pairs. */
static void put_headers(struct buf *out, const char *key, const struct http_head *h, const char *prefix, const char *other)
{
    char name[HTTP_HEAD_MAX];
    uint32_t n = 0;
    term_put_atom(out, key);
    for (uint32_t i = 0; i < h->headers_count; i++)
        n += begins_with(h->headers[i].name, prefix) || begins_with(h->headers[i].name, other);
    term_put_list(out, n);
    for (uint32_t i = 0; i < h->headers_count; i++) {
        if (!begins_with(h->headers[i].name, prefix) && !begins_with(h->headers[i].name, other))
            continue;
        term_put_tuple(out, 2);
        term_put_binary(out, lower(h->headers[i].name, name));
        term_put_binary(out, h->headers[i].value);
    }
    if (n)
        term_put_nil(out);
}

static void put_text_or_nil(struct buf *out, const char *key, struct slice text)
{
    term_put_atom(out, key);
    if (text.len)
        term_put_binary(out, text);
    else
        term_put_atom(out, "nil");
}

static struct slice first_value(const struct http_head *h, const char *name)
{
    uint32_t pos = 0;
    struct slice value;
    return http_header_next(h, name, &pos, &value) ? value : SLICE_NONE;
}

/* Host without its port, which *port becomes when there is one. */
static struct slice split_host(struct slice host, int64_t *port)
{
    size_t n = host.len;
    while (n && host.ptr[n - 1] >= '0' && host.ptr[n - 1] <= '9')
        n--;
    if (n == 0 || n == host.len || host.ptr[n - 1] != ':' || host.len - n > 5)
        return host;
    *port = 0;
    for (size_t i = n; i < host.len; i++)
        *port = *port * 10 + (host.ptr[i] - '0');
    return slice_make(host.ptr, n - 1);
}

/* A %URI{} up to its path. Port 0: nil. */
static void put_uri_head(struct buf *out, struct slice scheme, struct slice host, struct slice authority, int64_t port)
{
    term_put_map(out, 9);
    term_put_atom(out, "__struct__");
    term_put_atom(out, "Elixir.URI");
    put_text_or_nil(out, "scheme", scheme);
    put_text_or_nil(out, "userinfo", SLICE_NONE);
    put_text_or_nil(out, "host", host);
    put_text_or_nil(out, "authority", authority);
    put_text_or_nil(out, "fragment", SLICE_NONE);
    term_put_atom(out, "port");
    if (port)
        term_put_int(out, port);
    else
        term_put_atom(out, "nil");
}

static void put_uri(struct buf *out, const struct http_head *h, const struct client_source *from)
{
    int64_t port = from->tls ? 443 : 80;
    struct slice host = split_host(first_value(h, "host"), &port);
    put_uri_head(out, slice_str(from->tls ? "https" : "http"), host, host, port);
    put_text_or_nil(out, "path", h->path);
    term_put_atom(out, "query");
    term_put_binary(out, h->query);
}

void remote_put_origin(struct buf *out, struct slice text)
{
    struct origin o;
    char scheme[ORIGIN_MAX];
    assert_always(origin_parse(text, &o) == BG_OK);
    const char *authority = o.scheme.ptr + o.scheme.len + strlen("://");
    put_uri_head(out, lower(o.scheme, scheme), o.host, slice_make(authority, (size_t)(slice_end(text) - authority)), o.port);
    put_text_or_nil(out, "path", SLICE_NONE);
    put_text_or_nil(out, "query", SLICE_NONE);
}

void remote_put_connect_info(struct buf *out, const struct http_head *h, const struct client_source *from,
                             struct slice token)
{
    term_put_map(out, 7);
    term_put_atom(out, "peer_data");
    put_peer_data(out, from);
    put_headers(out, "x_headers", h, "x-", "x-");
    put_headers(out, "trace_context_headers", h, "traceparent", "tracestate");
    term_put_atom(out, "uri");
    put_uri(out, h, from);
    put_text_or_nil(out, "user_agent", first_value(h, "user-agent"));
    put_headers(out, "sec_websocket_headers", h, "sec-websocket-", "sec-websocket-");
    put_text_or_nil(out, "auth_token", token);
}
