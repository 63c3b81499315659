/*
 * process_table.h: local actors as Erlang processes: pids, registered names, monitors and links set
 * on them from other nodes, and the monitors and links they hold on remote processes. Everything
 * here is addressed by handle; remote ends are remembered per dist_link and vanish with it (D-11).
 */
#ifndef BEAMGATE_PROCESS_TABLE_H
#define BEAMGATE_PROCESS_TABLE_H

#include "cluster.h"
#include "slots.h"

struct process_table;

/* What an actor does with what reaches it. Any callback may be NULL: then the event is ignored,
 * except exit, whose default is to end the process with that reason. */
struct process_ops {
    const char *kind; /* "channel", "stream", "service"...: for logs and Observer */
    /* An ordinary message (SEND, REG_SEND, ALIAS_SEND). The term is valid during the call. */
    void (*message)(void *owner, handle_t self, struct dist_link *from, struct slice msg);
    /* exit/2 or a broken link. kill: the reason was the atom kill sent by exit/2. The owner is expected to call
     * process_end() when it obeys. */
    void (*exit)(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill);
    /* A monitor of ours fired: the remote process ended, or its node went (reason noconnection). */
    void (*down)(void *owner, handle_t self, handle_t monitor, struct slice reason);
};

struct process_table *process_table_new(const struct node_identity *self, struct cluster *cluster, struct metrics *m,
                                        uint32_t max_processes) MUST_CHECK;
void process_table_free(struct process_table *pt);

/* HANDLE_NONE when the table is full. */
handle_t process_start(struct process_table *pt, const struct process_ops *ops, void *owner) MUST_CHECK;
/* Ends it: monitors fire with reason, links get exit signals, names are free. reason: an encoded term. */
void process_end(struct process_table *pt, handle_t p, struct slice reason);
/* Same with an atom. */
void process_end_atom(struct process_table *pt, handle_t p, const char *reason);
bool process_alive(const struct process_table *pt, handle_t p);

int process_register(struct process_table *pt, handle_t p, struct slice name) MUST_CHECK; /* BG_EEXIST */
handle_t process_whereis(const struct process_table *pt, struct slice name);

/* Monitors a remote process: pid or, with by_name, {name, node}. Returns a monitor handle, given to ops->down once,
 * or HANDLE_NONE when the node is not connected. */
handle_t process_monitor(struct process_table *pt, handle_t p, struct dist_link *l, struct slice remote_pid_or_name);
void process_demonitor(struct process_table *pt, handle_t monitor);

/* Sends a message term from local process p; to a pid term, or to a registered name on the link's node.
 * BG_EGONE or BG_ELIMIT when the link refuses. */
int process_send_pid(struct process_table *pt, handle_t p, struct dist_link *l, struct slice pid, struct slice msg) MUST_CHECK;
int process_send_name(struct process_table *pt, handle_t p, struct dist_link *l, struct slice name, struct slice msg) MUST_CHECK;

/* Called by dist_dispatch. */
void process_deliver(struct process_table *pt, struct dist_link *from, handle_t to, struct slice msg);
void process_link_down(struct process_table *pt, struct dist_link *l);

uint32_t process_count(const struct process_table *pt);

#endif
