/*
 * remote_ask.h: functions of the services that decide about clients: the arguments that describe one, and the way the
 * question takes.
 */
#ifndef BEAMGATE_REMOTE_ASK_H
#define BEAMGATE_REMOTE_ASK_H

#include "client_source.h"
#include "edge.h"
#include "http_head.h"

/* Opens a call of fn on the next of its nodes that takes it; as call_ops.begin(). *turn goes round among the nodes. */
struct buf *remote_ask_begin(const struct call_ops *call, const struct remote_function *fn, uint32_t *turn, uint32_t nargs,
                             enum call_outcome *why);
/* Appends connect_info as Phoenix gives it (P-011): peer_data, x_headers, trace_context_headers, uri, user_agent,
 * sec_websocket_headers, auth_token. token empty: nil. */
void remote_put_connect_info(struct buf *out, const struct http_head *h, const struct client_source *from,
                             struct slice token);
/* Appends the %URI{} that URI.parse/1 makes of an Origin; text is one for origin_parse(). */
void remote_put_origin(struct buf *out, struct slice text);
/* For log lines: how a question ended that gave no answer. */
const char *remote_outcome_text(enum call_outcome outcome);

#endif
