/*
 * proxy_header.h: what a proxy writes in front of a connection that it forwards, to say who the client is: the PROXY
 * protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt).
 */
#ifndef BEAMGATE_PROXY_HEADER_H
#define BEAMGATE_PROXY_HEADER_H

#include "ip_address.h"

enum { PROXY_HEADER_MAX = 4096 }; /* with all that version 2 may add; version 1 has at most 107 bytes */

struct proxy_header {
    bool has_address; /* false: the proxy speaks for itself (a health check), or does not know */
    struct ip_address address;
    uint16_t port;
    bool tls; /* version 2: the client speaks TLS to the proxy */
};

/* Looks at the bytes received so far. 0: *h is filled, and *used is the header's size; BG_EMORE: go on reading;
 * BG_EINVAL: no such header; BG_ELIMIT: longer than PROXY_HEADER_MAX. */
int proxy_header_parse(struct slice bytes, struct proxy_header *h, size_t *used) MUST_CHECK;

#endif
