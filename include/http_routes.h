/*
 * http_routes.h: what each HTTP request gets: probes, the console page and its data, and the WebSocket upgrade with
 * its checks in the recorded order (P-008).
 */
#ifndef BEAMGATE_HTTP_ROUTES_H
#define BEAMGATE_HTTP_ROUTES_H

#include "authenticate.h"
#include "channel_frame.h"
#include "http_server.h"

struct http_routes {
    const struct edge_options *options;
    struct buf phoenix_js; /* the file of console_phoenix_js, or the built-in client */
};

/* What an accepted upgrade needs to know. */
struct upgrade {
    bool tls;            /* given: the client speaks TLS, to us or to a proxy */
    bool origin_allowed; /* given: a function of the services has allowed its Origin */
    struct slice ask_origin; /* set: one has to be asked about this Origin, before anything else is looked at */
    const struct socket_config *config;
    enum serializer serializer;
    struct slice key; /* points into the request head */
    struct identity who;
    const struct refusal *refusal; /* of who is refused by a service: what it is answered with; NULL: 403 */
};

/* Reads the file of console_phoenix_js. BG_ESYS with a text for the operator. */
int http_routes_init(struct http_routes *r, const struct edge_options *o, struct err *e) MUST_CHECK;
void http_routes_fini(struct http_routes *r);
/* True: the client is to become a WebSocket, *up says how; if up->ask_origin is set, only when that has been asked
 * about and http_routes_answer() again; if up->who.ask is set, only when that has been asked. False: *res is the
 * answer. up->who is the caller's. */
bool http_routes_answer(const struct http_routes *r, const struct http_head *h, struct http_response *res,
                        struct upgrade *up);
/* The serializer that ?vsn= asks for (P-004, P-005): 0, or BG_EINVAL. */
int vsn_serializer(struct slice query, enum serializer *v) MUST_CHECK;

#endif
