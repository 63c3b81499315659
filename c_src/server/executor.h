/*
 * executor.h: requests that come from no client: handed over by rpc, or by the command line. They run through the same
 * pipeline as a client's, on a channel of their own that is no WebSocket's: its process in the process table.
 */
#ifndef BEAMGATE_EXECUTOR_H
#define BEAMGATE_EXECUTOR_H

#include "response.h"
#include "server_state.h"

enum { EXECUTOR_RUNS_MAX = 10000 }; /* at once; beside them the pipeline's own limits hold */

/* What the asker hears, in this order, some of it before executor_run() returns. */
struct executor_ops {
    /* One Response: the answer, or the acknowledgement of async and stream and later their parts. request_id: raw
     * JSON. */
    void (*response)(void *owner, struct slice request_id, const struct response *resp);
    /* Once, behind the first Response if there is one (E-004..E-007). ok: the request was accepted or answered, text is
     * its request type; else text is why it was not run. text: raw JSON. */
    void (*reply)(void *owner, bool ok, struct slice text);
    /* Last, in a later turn of the loop: nothing follows, the handle is stale. Not after executor_cancel(). */
    void (*done)(void *owner);
};

/* Runs payload (raw JSON, checked; copied where it must be) as who, whose roles count as authenticated, with rules.
 * Everything of who is copied. Returns the run's handle, a process of this node; HANDLE_NONE without memory or room:
 * then nothing is called. */
handle_t executor_run(struct server *s, struct slice payload, const struct session *who,
                      const struct channel_rules *rules, const struct executor_ops *ops, void *owner) MUST_CHECK;
/* The run ends with the process pid of that link's node: it is dropped, and done is called. False: it cannot be
 * watched. */
bool executor_watch(struct server *s, handle_t run, struct dist_link *l, struct slice pid) MUST_CHECK;
/* Nobody wants it any more: its calls are cancelled, nothing is called from now on. Harmless on a stale handle. */
void executor_cancel(struct server *s, handle_t run);
/* Ends its stream (E-152): false when it has none. request_id: raw JSON. */
bool executor_stop_stream(struct server *s, handle_t run, struct slice request_id);

/* What the gateway is given as its clients: these runs, and behind them the edge's channels. */
struct client_ops executor_client_ops(struct server *s, struct client_ops edge);
/* Drops all runs; done is called for each. Before the gateway goes. */
void executor_end(struct server *s);

#endif
