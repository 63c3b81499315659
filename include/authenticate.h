/*
 * authenticate.h: who may come in, decided once, from the upgrade request: is the page allowed (Origin), and who is
 * behind the socket (connect parameter, or a verified token). Nothing later asks again.
 */
#ifndef BEAMGATE_AUTHENTICATE_H
#define BEAMGATE_AUTHENTICATE_H

#include "edge.h"
#include "http_head.h"

enum { ASSIGNS_MAX = 8192, USER_ID_MAX = 1024, DEVICE_ID_MAX = 255, ROLES_MAX = 32, ROLES_BYTES_MAX = 2048 };

/* What is known about a client after its request was accepted. */
struct identity {
    struct buf user_id;      /* empty: nobody in particular */
    struct buf roles;        /* each followed by a zero byte */
    struct buf device_id;    /* raw JSON string; empty: requests say it */
    struct buf assigns;      /* the term that told who this is; empty: none did */
    const struct auth_method *ask; /* its function decides, once it has been asked */
    struct buf token;        /* for that function: what came in Authorization or the subprotocol */
    bool phoenix_subprotocol; /* to be answered with sec-websocket-protocol: phoenix (P-015) */
};

/* Whether the request's Origin may open this socket (P-009): 0; BG_EMORE: socket_config.origin_function has to be asked
 * about *origin; or BG_EINVAL: counted and logged, the upgrade is refused with 403. tls: whether the client speaks TLS,
 * which is the scheme of its request. Without an Origin header the answer is 0: only browsers send one, and only they
 * act for somebody else. */
int edge_origin_check(const struct socket_config *config, const struct http_head *h, bool tls, struct metrics *m,
                      struct slice *origin) MUST_CHECK;
/* Counts and logs an Origin that is refused. */
void edge_origin_refused(const struct socket_config *config, struct metrics *m, struct slice origin, const char *reason);
void identity_init(struct identity *who);
void identity_fini(struct identity *who);
/* Fills *who (the caller's, initialised). now_ms: Unix time, by which tokens expire. 0; BG_EMORE: who->ask has to be
 * asked (connect.h); or BG_EINVAL: counted and logged; the upgrade is refused with 403 (P-007). A token that was shown
 * and is not right refuses the client, whatever comes after it: it is never taken for a user that it names, nor for
 * nobody. */
int edge_authenticate(const struct socket_config *config, const struct http_head *h, uint64_t now_ms, struct metrics *m,
                      struct identity *who) MUST_CHECK;
/* Takes user, roles and device from what a function of the services has returned; none of them must be there. NULL, or
 * why it is not acceptable: then *who is empty. */
const char *identity_take_assigns(const struct auth_method *method, struct slice assigns, struct identity *who);
/* Counts and logs a refusal. reason may hold what a service has said. */
void edge_refused(const struct socket_config *config, struct metrics *m, const char *reason);

#endif
