/*
 * client_source.h: where a client comes from. The one place where limits, logs and sessions learn a client's address.
 */
#ifndef BEAMGATE_CLIENT_SOURCE_H
#define BEAMGATE_CLIENT_SOURCE_H

#include "http_head.h"
#include "ip_address.h"

struct gate_address;

struct client_source {
    struct ip_address peer;    /* the other end of the TCP connection: a proxy's, where there is one */
    struct ip_address address; /* the client's own: peer, unless a proxy that is trusted names another */
    char text[IP_TEXT_MAX];    /* of address: for logs, the session and rate limits */
    bool tls;                  /* the client speaks TLS, to us or to the trusted proxy */
    handle_t transport;        /* HANDLE_NONE: the socket is the client's; else see entrance_tcp() */
    uint64_t accepted_us;      /* when it came: what it has to say first counts from here */
    struct gate_address *at;   /* its place at the gate, once it is in; whoever has the connection gives it back */
};

/* From the peer's socket address: the client itself, without TLS. */
void client_source_init(struct client_source *from, const struct sockaddr *peer, uint64_t now_us);
/* A trusted proxy says who the client is. */
void client_source_set(struct client_source *from, const struct ip_address *address);
/* Where from->address is one of the trusted proxies': takes the client's address from X-Forwarded-For, the rightmost
 * that is not trusted, and from X-Forwarded-Proto whether it speaks TLS. */
void client_source_forwarded(struct client_source *from, const struct http_head *h, const struct ip_range *trusted,
                             uint32_t count);

#endif
