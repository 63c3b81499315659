/*
 * dist_dispatch.h: the meaning of distribution packets: control messages to the process table, the
 * rpc server, and answers owed by the protocol (08 §2.2). A packet that cannot be read closes the
 * link; a control message that is not understood is counted, logged and skipped (D-10).
 */
#ifndef BEAMGATE_DIST_DISPATCH_H
#define BEAMGATE_DIST_DISPATCH_H

#include "process_table.h"
#include "remote_call.h"
#include "rpc_server.h"

struct dist_dispatch;

/* Starts the processes that every node has (net_kernel, rex, user, logger_proxy) and the calls' own, and tells rc its
 * pid. rpc is copied, its entries stay the caller's. NULL without memory or without room for the five processes.
 * Everything given must outlive it. */
struct dist_dispatch *dist_dispatch_new(const struct node_identity *self, struct process_table *pt,
                                        struct remote_calls *rc, const struct rpc_table *rpc,
                                        struct metrics *m) MUST_CHECK;
/* After it no packet may come. The processes stay in the table: end them before (process_end_all), or free the table
 * after this. */
void dist_dispatch_free(struct dist_dispatch *d);
/* As cluster_events.packet, .link_up and .link_down expect. */
void dist_dispatch_packet(struct dist_dispatch *d, struct dist_link *l, struct slice packet);
void dist_dispatch_link_up(struct dist_dispatch *d, struct dist_link *l);
/* Ends the calls on that link first, then breaks monitors and links. */
void dist_dispatch_link_down(struct dist_dispatch *d, struct dist_link *l);

#endif
