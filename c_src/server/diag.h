/*
 * diag.h: what PhoenixGenApi.Diagnostics answers, as terms: the one source for rpc, for the io delegates and for the
 * command line. docs/diagnostics.md explains every key.
 *
 * Each function appends one checked term to out, measured now, bounded as said; failure is out's sticky flag. Maps have
 * atom keys in the library's names. They read only, and hold no secret.
 */
#ifndef BEAMGATE_DIAG_H
#define BEAMGATE_DIAG_H

#include "rpc_functions.h"

enum {
    DIAG_PROCESSES_DEFAULT = 20,  /* of a debug report (O-060) */
    DIAG_PROCESSES_MAX = 1000,    /* the most it shows */
    DIAG_PROCESSES_READ = 100000, /* the most among which it looks for the largest */
    DIAG_FLOWS_MAX = 500,         /* call flows in one list */
    DIAG_NODES_MAX = 1000         /* connected nodes in one answer */
};

/* health_check (O-040..O-044). max_memory_bytes 0: memory is not judged. */
void diag_put_health(struct server *s, uint64_t max_memory_bytes, struct buf *out);
/* statistics (O-050). Remembers when it was asked, for the second number of its pairs. */
void diag_put_statistics(struct server *s, struct buf *out);
/* debug_report (O-060). process_limit is cut to DIAG_PROCESSES_MAX. */
void diag_put_debug_report(const struct server *s, uint32_t process_limit, bool stacktraces, struct buf *out);
/* trace_status (O-098), and the traces that are on with what they match, which is ours. */
void diag_put_trace_status(const struct server *s, struct buf *out);
void diag_put_traces(const struct server *s, struct buf *out);
/* What only this program has: the loop, malloc, clients, counters. A part of health and statistics, and on its own for
 * the command line. */
void diag_put_loop(const struct server *s, struct buf *out);
void diag_put_malloc(struct buf *out);
void diag_put_metrics(const struct server *s, struct buf *out); /* #{name => value}, those that are not 0 */
/* WorkerPool.status (POOL of O-050), of async_pool or stream_pool. */
void diag_put_pool(const struct server *s, bool stream, struct buf *out);

/* One function, as a caller names it: the terms come back as they are, the texts are what is looked up. */
struct diag_function {
    struct slice service_term;
    struct slice type_term;
    struct slice service;
    struct slice request_type;
    struct slice version; /* ptr NULL: the latest */
};
/* Fills *f from terms: texts as atoms or binaries, version nil, "0.0.0" or empty for the latest. What has no text finds
 * nothing, as in the library. */
void diag_function_read(struct diag_function *f, struct slice service, struct slice request_type, struct slice version);
/* call_flow (O-070..O-077). */
void diag_put_call_flow(const struct server *s, const struct diag_function *f, struct buf *out);
/* list_call_flows (O-090), sorted by service, type and version, at most DIAG_FLOWS_MAX from the offset-th on. */
void diag_put_call_flows(const struct server *s, bool include_disabled, uint32_t offset, struct buf *out);
/* inspect_request (O-080): request is any map with atom or binary keys. */
void diag_put_request(const struct server *s, struct slice request, struct buf *out);

/* Appends what the row {module, function, 0} of the rpc table answers, so that a part of a report is what the part says
 * of itself. False when there is no such row, or it did not return: nothing is appended. */
bool diag_put_answer(struct server *s, const char *module, const char *function, struct buf *out);

/* The functions of PhoenixGenApi.Diagnostics, and PhoenixGenApi's that only pass on to them. */
extern const struct rpc_entry diagnostics_entries[];
extern const size_t diagnostics_entries_count;

/* cluster_view (O-085) as it is known here; and with the answers of the connected nodes, for which somebody waits. */
void diag_put_cluster_view(const struct server *s, struct buf *out);
rpc_fn rpc_cluster_view;
struct cluster_view;
/* view: a term, valid during the call; empty without memory. Afterwards v is gone. */
typedef void cluster_view_fn(void *owner, struct cluster_view *v, struct slice view);
/* One who will wait. NULL: there is nobody to ask, or too many wait; then diag_put_cluster_view() is all there is. */
struct cluster_view *cluster_view_new(struct server *s, cluster_view_fn *done) MUST_CHECK;
/* Asks. done is called once, with owner, in two seconds at most, perhaps from within. */
void cluster_view_ask(struct cluster_view *v, void *owner);
/* Instead of done: nobody waits any more. */
void cluster_view_cancel(struct cluster_view *v);
/* What waits for answers: before and after there can be any. diag_end() before the calls and the process table go. */
void diag_start(struct server *s);
void diag_end(struct server *s);

/* rpc_trace.c (O-095..O-097). */
rpc_fn rpc_trace_processes, rpc_trace_functions, rpc_stop_trace, rpc_stop_trace_functions;

/* The value of {key, Value} in a keyword list, of several the first as in Keyword.get; ptr NULL when there is none, or
 * no list. False when options is no proper list of pairs with atom keys. */
bool diag_option(struct slice options, const char *key, struct slice *value);

/* Shared by the files behind this header: a map's key and value. */
void diag_key(struct buf *out, const char *key);
void diag_put_uint(struct buf *out, const char *key, uint64_t v);
void diag_put_word(struct buf *out, const char *key, const char *atom);
void diag_put_flag(struct buf *out, const char *key, bool v);
void diag_put_string(struct buf *out, const char *key, const char *text); /* as a binary */
/* {Total, Since} */
void diag_put_since(struct buf *out, const char *key, uint64_t total, uint64_t since);
/* The names of connected nodes, at most DIAG_NODES_MAX. */
void diag_put_nodes(const struct server *s, struct buf *out);
/* The 9 keys of a process, and current_stacktrace when asked for (O-041, O-060). */
void diag_put_process(const struct server *s, handle_t p, bool stacktrace, struct buf *out);

#endif
