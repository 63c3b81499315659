/*
 * node_services.h: the registered processes that every node is expected to have: net_kernel, rex, user, logger_proxy;
 * and the I/O protocol, which any process may be asked to speak as somebody's group leader.
 */
#ifndef BEAMGATE_NODE_SERVICES_H
#define BEAMGATE_NODE_SERVICES_H

#include "process_table.h"
#include "rpc_server.h"

struct node_services {
    const struct node_identity *self;
    struct process_table *processes;
    const struct rpc_table *rpc;
    struct metrics *metrics;
    struct buf value;
    struct buf reply;
};

/* Starts and registers them. 0, BG_ELIMIT or BG_ENOMEM when the table has no room, BG_EEXIST when a name is taken. */
int node_services_init(struct node_services *s, const struct node_identity *self, struct process_table *pt,
                       const struct rpc_table *rpc, struct metrics *m) MUST_CHECK;
/* The processes stay: they belong to the table, which must not deliver to them any more. */
void node_services_fini(struct node_services *s);

/* Answers {io_request, From, ReplyAs, Request} (08 §4.3): output is taken and logged, input is at its end. False when
 * msg is no such request. */
bool node_services_io(struct dist_link *l, struct slice msg);

#endif
