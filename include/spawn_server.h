/*
 * spawn_server.h: SPAWN_REQUEST from other nodes: what rpc:call, erpc:call, spawn/4 and their kin have sent since OTP
 * 23 (S-001..S-005, 08 §3.2, D-15).
 */
#ifndef BEAMGATE_SPAWN_SERVER_H
#define BEAMGATE_SPAWN_SERVER_H

#include "dist_message.h"
#include "process_table.h"
#include "rpc_server.h"

struct spawn_server {
    struct process_table *processes;
    const struct rpc_table *rpc;
    struct metrics *metrics;
    struct buf value;  /* what the function returned */
    struct buf reason; /* the same as the reason with which its process ends */
};

void spawn_server_init(struct spawn_server *s, struct process_table *pt, const struct rpc_table *rpc,
                       struct metrics *m);
void spawn_server_fini(struct spawn_server *s);

/* Starts a process, answers SPAWN_REPLY, runs the function, and ends the process with how that went, which is what
 * fires the monitor and the link that were asked for. An empty payload (nested too deep) is answered system_limit. 0,
 * or BG_EINVAL when no node may send such a request. */
int spawn_server_request(struct spawn_server *s, struct dist_link *l, const struct dist_message *m);

#endif
