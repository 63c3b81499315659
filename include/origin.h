/*
 * origin.h: does the Origin of a request (RFC 6454 section 7) come from where a socket allows it? The rules of
 * Phoenix's check_origin (P-009), stricter in one thing: an Origin that is more than scheme, host and port is refused.
 */
#ifndef BEAMGATE_ORIGIN_H
#define BEAMGATE_ORIGIN_H

#include "base.h"

/* Where something is. Slices of the text it was read from. */
struct origin {
    struct slice scheme; /* empty: not given */
    struct slice host;   /* of an IPv6 address without the brackets */
    uint16_t port;       /* 0: not given, and the scheme has none of its own */
};

enum { ORIGIN_MAX = 512 };

/* Reads the value of an Origin header, scheme://host[:port]. 0, or BG_EINVAL: `null`, user info, a path, anything that
 * is not a host. */
int origin_parse(struct slice text, struct origin *o) MUST_CHECK;
/* Reads host[:port], the value of a Host header. 0 or BG_EINVAL. */
int origin_parse_host(struct slice text, struct origin *o) MUST_CHECK;
/* Reads what an operator allows: //host, //host:port, scheme://host[:port]; the host may begin with "*." and then
 * stands for every name below it, but not for the bare name. 0 or BG_EINVAL. */
int origin_parse_pattern(struct slice text, struct origin *o) MUST_CHECK;

/* True when both name the same host; case does not count. */
bool origin_same_host(const struct origin *a, const struct origin *b);
/* True when o has everything that the pattern has: parts that the pattern does not hold are not compared. */
bool origin_matches(const struct origin *o, const struct origin *pattern);
/* check_origin: conn: the same scheme, host and port as the request, which came to `host`, by TLS or not. */
bool origin_matches_connection(const struct origin *o, const struct origin *host, bool tls);

#endif
