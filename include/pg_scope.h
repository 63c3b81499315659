/*
 * pg_scope.h: membership in groups of OTP's pg on every node that is connected: enough to be sent what is sent to the
 * groups' members. It names no other member.
 */
#ifndef BEAMGATE_PG_SCOPE_H
#define BEAMGATE_PG_SCOPE_H

#include "process_table.h"
#include "timers.h"

struct pg_scope;

struct pg_options {
    const struct node_identity *self;
    struct cluster *cluster;
    struct process_table *processes;
    struct timers *timers;
    const char *scope; /* the atom that is the scope's registered name */
    const struct slice *groups; /* atoms; borrowed, as all texts are */
    uint32_t groups_count;
    /* A message to the member, which is also registered under the groups' names. Valid during the call. */
    void (*message)(void *ctx, struct slice msg);
    void *ctx;
};

/* Starts the two processes: BG_ELIMIT when there is no room, BG_EEXIST when a group's name is taken, BG_ENOMEM:
 * NULL. */
struct pg_scope *pg_scope_new(const struct pg_options *o, struct err *e) MUST_CHECK;
/* The processes go with the table. NULL is allowed. */
void pg_scope_free(struct pg_scope *pg);
/* A node is connected: joins there, now or once its pg is there. */
void pg_scope_link_up(struct pg_scope *pg, struct dist_link *l);
/* Nodes that are looked after. */
uint32_t pg_scope_peers(const struct pg_scope *pg);

#endif
