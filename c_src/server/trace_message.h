/*
 * trace_message.h: one event of a trace in its three forms: a term in the shape of an Erlang trace message, a JSON
 * object, a line of the log. What was sent by clients and services is in none of them.
 */
#ifndef BEAMGATE_TRACE_MESSAGE_H
#define BEAMGATE_TRACE_MESSAGE_H

#include "node_identity.h"
#include "request_trace.h"

/* {trace, Pid, 'receive', Facts}, {trace, Pid, call, {M, F, Arity}, Facts}, {trace, Pid, return_from, {M, F, Arity},
 * Facts}, {trace, Pid, exception_from, {M, F, Arity}, {exit, Facts}}, {trace, Pid, send, Facts, client}, {trace, Pid,
 * request_end, Facts}; with timestamp {trace_ts, ..., {MegaSecs, Secs, MicroSecs}}. Facts is a map. */
void trace_put_term(const struct node_identity *self, const struct trace_event *e, bool timestamp, struct buf *out);
/* {"trace": Id, "event": "call", ...}: the facts, and M, F, Arity where there are any. */
void trace_put_json(const struct trace_event *e, uint32_t id, struct buf *out);
void trace_log(const struct trace_event *e, uint32_t id);

#endif
