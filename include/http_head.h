/*
 * http_head.h: the head of one HTTP/1.x request, as slices of the bytes it came in (RFC 9112), and its query
 * parameters. Strict: what is not clearly a request is refused, since these bytes come from strangers.
 */
#ifndef BEAMGATE_HTTP_HEAD_H
#define BEAMGATE_HTTP_HEAD_H

#include "buf.h"

enum { HTTP_HEAD_MAX = 16 * 1024, HTTP_HEADERS_MAX = 100 };

struct http_header {
    struct slice name; /* as sent; compare with http_header_is() */
    struct slice value;
};

struct http_head {
    struct slice method;
    struct slice path;  /* begins with '/', not decoded */
    struct slice query; /* behind the '?', not decoded; empty when there is none */
    int minor;          /* HTTP/1.minor: 0 or 1 */
    struct http_header headers[HTTP_HEADERS_MAX];
    uint32_t headers_count;
};

/* Looks at the bytes received so far. 0: *h is filled and *used is the size of the head with its empty line;
 * BG_EMORE: go on reading; BG_EINVAL: no HTTP/1.x request, or HTTP/1.1 without exactly one Host;
 * BG_ELIMIT: longer than HTTP_HEAD_MAX or more than HTTP_HEADERS_MAX headers. */
int http_head_parse(struct slice bytes, struct http_head *h, size_t *used, struct err *e) MUST_CHECK;

/* Without the blanks and tabs around it (OWS, RFC 9110 section 5.6.3). */
struct slice http_trim(struct slice s);
/* The next value of a header that may come several times: start with *pos = 0. False at the end. */
bool http_header_next(const struct http_head *h, const char *name, uint32_t *pos, struct slice *value);
/* True when one of the comma-separated elements of any header `name` is `token`, in any case. */
bool http_header_has(const struct http_head *h, const char *name, const char *token);

/* Appends to out the value of a query parameter, %xx and + decoded. Of several the last counts, as in Plug. 0: found;
 * BG_EGONE: not there; BG_EINVAL: bad %xx, not UTF-8, or the name is used as name[...] (P-005); BG_ENOMEM: out has no
 * room. When it fails out may hold a part of a value. */
int http_query_get(struct slice query, const char *name, struct buf *out) MUST_CHECK;

/* Appends s with %xx and + decoded. BG_EINVAL on a % without two hex digits or when the result is not UTF-8; BG_ENOMEM
 * when out has no room. */
int http_url_decode(struct slice s, struct buf *out) MUST_CHECK;

#endif
