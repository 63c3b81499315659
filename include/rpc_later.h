/*
 * rpc_later.h: calls of other nodes whose answer is not there when the function returns: it waits for a service node,
 * or for a group leader that prints. Each such call is a process, which the caller watches where it asked by erpc.
 */
#ifndef BEAMGATE_RPC_LATER_H
#define BEAMGATE_RPC_LATER_H

#include "process_table.h"
#include "rpc_server.h"

struct rpc_later;

/* What the one who works on the answer hears; each may be NULL. */
struct rpc_waiter_ops {
    /* A message to the call's process, whose handle rpc_later_begin() returned. */
    void (*message)(void *owner, handle_t waiter, struct dist_link *from, struct slice msg);
    /* A monitor that was set for the call's process fired. */
    void (*down)(void *owner, handle_t waiter, struct slice reason);
    /* Somebody has ended the process: nobody waits any more, and the handle is stale. */
    void (*gone)(void *owner, handle_t waiter);
};

/* limit: calls that wait at once. NULL without memory. pt and c must outlive it. */
struct rpc_later *rpc_later_new(struct process_table *pt, struct cluster *c, uint32_t limit) MUST_CHECK;
/* Forgets all without a word to anybody; owners are not called. NULL is fine. */
void rpc_later_free(struct rpc_later *rl);

/* From within a function of the table, which then returns RPC_LATER. Everything needed is copied. HANDLE_NONE when this
 * caller cannot wait, when too many do, or without memory: then the function must answer now. */
handle_t rpc_later_begin(struct rpc_later *rl, const struct rpc_call *call, const struct rpc_waiter_ops *ops,
                         void *owner) MUST_CHECK;
/* The outcome, with its value as one term: the call is over, the handle stale. Harmless on a stale handle. */
void rpc_later_answer(struct rpc_later *rl, handle_t waiter, enum rpc_outcome outcome, struct slice value);
/* Calls that wait now. */
uint32_t rpc_later_count(const struct rpc_later *rl);

#endif
