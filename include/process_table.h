/*
 * process_table.h: local actors as Erlang processes: pids, registered names, aliases, monitors and links set
 * on them from other nodes, and the monitors and links they hold on remote processes. Everything
 * here is addressed by handle; remote ends are remembered per dist_link and vanish with it (D-11). process_table.c has
 * the processes themselves, process_relations.c their monitors and links.
 *
 * A process costs 56 bytes plus its slot; a monitor or link about 250 more while it lasts.
 */
#ifndef BEAMGATE_PROCESS_TABLE_H
#define BEAMGATE_PROCESS_TABLE_H

#include "cluster.h"
#include "slots.h"

struct process_table;
struct gen_call;
struct process_row;
struct process_state;

/* What an actor does with what reaches it. Any callback may be NULL: then the event is ignored, except that
 * exit ends the process as on a BEAM (reason normal is ignored, kill ends it with killed), and call answers
 * {error, notsup}, so that no caller hangs (D-13). */
struct process_ops {
    const char *kind; /* "channel", "stream", "service"...: for logs and Observer */
    /* An ordinary message (SEND, REG_SEND, ALIAS_SEND). The term is valid during the call. gen_server calls do not come
     * here but to call; I/O requests are answered before (08 §4.3). */
    void (*message)(void *owner, handle_t self, struct dist_link *from, struct slice msg);
    /* exit/2 or a broken link. kill: the reason was the atom kill sent by exit/2. The owner is expected to call
     * process_end() when it obeys; reason normal comes here too, and mostly means nothing. */
    void (*exit)(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill);
    /* A monitor of ours fired: the remote process ended, or its node went (reason noconnection). */
    void (*down)(void *owner, handle_t self, handle_t monitor, struct slice reason);
    /* {'$gen_call', From, Request}: answer with gen_reply() now, or later from a copy. The messages of OTP's module sys
     * do not come here: they are answered before, from row and state. */
    void (*call)(void *owner, handle_t self, struct dist_link *from, const struct gen_call *call);
    /* For people, see process_state.h: what a list shows of it, and its state. They change nothing. */
    void (*row)(void *owner, handle_t self, struct process_row *row);
    void (*state)(void *owner, handle_t self, struct process_state *st);
};

/* ops->exit of the gateway's own parts: no exit signal ends them, not even kill. */
void process_stay(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill);

/* A table of at most max_processes; all else is borrowed and must outlive it. NULL without memory. */
struct process_table *process_table_new(const struct node_identity *self, struct cluster *cluster, struct metrics *m,
                                        uint32_t max_processes) MUST_CHECK;
/* Frees everything without a word to anybody; process_end_all() says goodbye. Owners are not called. */
void process_table_free(struct process_table *pt);

/* HANDLE_NONE when the table is full. */
handle_t process_start(struct process_table *pt, const struct process_ops *ops, void *owner) MUST_CHECK;
/* Hands a running process to another owner. False on a stale handle. */
bool process_adopt(struct process_table *pt, handle_t p, const struct process_ops *ops, void *owner);
/* Whose it is now; NULL on a stale handle. */
const struct process_ops *process_ops(const struct process_table *pt, handle_t p);
/* What it was started or adopted with; NULL on a stale handle. */
void *process_owner(const struct process_table *pt, handle_t p);
/* The owner, if it is still that of these operations; else NULL. */
void *process_owned(const struct process_table *pt, handle_t p, const struct process_ops *ops);
/* Ends it: monitors fire with reason, links get exit signals, names are free. reason: an encoded term. Harmless on a
 * stale handle; the owner is not called. */
void process_end(struct process_table *pt, handle_t p, struct slice reason);
/* Same with an atom. */
void process_end_atom(struct process_table *pt, handle_t p, const char *reason);
/* Ends every process, so that each monitor and link on one fires before the node goes (D-17). */
void process_end_all(struct process_table *pt, const char *reason);
/* False on a stale handle and on HANDLE_NONE. */
bool process_alive(const struct process_table *pt, handle_t p);

/* A process may have several names. BG_EEXIST when the name is taken, BG_EGONE on a stale handle, BG_EINVAL for an
 * empty name or one over 255 bytes, BG_ENOMEM. */
int process_register(struct process_table *pt, handle_t p, struct slice name) MUST_CHECK;
/* HANDLE_NONE when nobody has the name. */
handle_t process_whereis(const struct process_table *pt, struct slice name);

/* The pid term of a local process, stale or not, written to out; returns it as a slice of out. */
enum { PROCESS_PID_MAX = 280 };
struct slice process_pid(const struct process_table *pt, handle_t p, uint8_t out[PROCESS_PID_MAX]);
/* Appends a reference that messages can be sent to until process_unalias() or the process's end. One per process. */
void process_put_alias(struct process_table *pt, handle_t p, struct buf *b);
/* What is sent to the alias from now on reaches nobody. Harmless on a stale handle, and without an alias. */
void process_unalias(struct process_table *pt, handle_t p);

/* Monitors a remote process: a pid of that link's node, a name there (atom), or {Name, Node}. Returns a monitor handle,
 * given to ops->down once, or HANDLE_NONE when the link is not up, the term is none of these or a bound is reached. */
handle_t process_monitor(struct process_table *pt, handle_t p, struct dist_link *l, struct slice remote_pid_or_name);
/* Harmless on a stale handle. */
void process_demonitor(struct process_table *pt, handle_t monitor);

/* Links p with a remote pid of that link's node: ops->exit is called when it ends or the node goes. Linking twice is
 * once. 0, BG_EGONE, BG_EINVAL, BG_ELIMIT or BG_ENOMEM. */
int process_link(struct process_table *pt, handle_t p, struct dist_link *l, struct slice remote_pid) MUST_CHECK;
/* Takes the link back, whoever made it: neither end hears of the other's end any more. Harmless when there is none. */
void process_unlink(struct process_table *pt, handle_t p, struct dist_link *l, struct slice remote_pid);

/* Sends a message term from local process p; to a pid term, or to a registered name on the link's node.
 * BG_EGONE when the link refuses, BG_ENOMEM. */
int process_send_pid(struct process_table *pt, handle_t p, struct dist_link *l, struct slice pid,
                     struct slice msg) MUST_CHECK;
int process_send_name(struct process_table *pt, handle_t p, struct dist_link *l, struct slice name,
                      struct slice msg) MUST_CHECK;

/* Processes that live now. */
uint32_t process_count(const struct process_table *pt);
/* Monitors and links held now, of both directions. */
uint32_t process_relations(const struct process_table *pt);
/* Walks the processes: start with *pos = 0; HANDLE_NONE at the end. */
handle_t process_next(const struct process_table *pt, uint32_t *pos);
/* Walks the registered names: start with *pos = 0; HANDLE_NONE at the end. */
handle_t process_next_name(const struct process_table *pt, size_t *pos, struct slice *name);
/* What Observer shows. Zero and NULL on a stale handle; name is empty where there is none. */
struct process_info {
    const char *kind;
    struct slice name; /* the one registered last */
    uint32_t messages; /* delivered so far, modulo 2^32 */
    uint32_t relations;
};
struct process_info process_info(const struct process_table *pt, handle_t p);

/* Appends the remote ends of its relations as one list: pids that it is linked with, pids that monitor it, or
 * {process, PidOrName} for each that it monitors, as process_info/2 on a BEAM. At most max of them. */
enum process_relation { PROCESS_LINKS, PROCESS_MONITORED_BY, PROCESS_MONITORS };
void process_put_relations(const struct process_table *pt, handle_t p, enum process_relation which, uint32_t max,
                           struct buf *out);

/* ---- Called by dist_dispatch: what came over a link. Terms as in dist_message.h. ---- */

/* To a process that process_resolve() found; stale handles are counted and dropped. sender: a term of any kind, or
 * empty when the packet names none. */
void process_deliver(struct process_table *pt, struct dist_link *from, struct slice sender, handle_t to,
                     struct slice msg);
/* Who sent the message that is being delivered: as given to process_deliver(), valid while ops->message runs. */
struct slice process_sender(const struct process_table *pt);
/* The local process meant by a pid or atom term, or by an alias; HANDLE_NONE when there is none. */
handle_t process_resolve(const struct process_table *pt, struct slice pid_or_name);
handle_t process_resolve_alias(const struct process_table *pt, struct slice ref);

/* These return 0, or BG_EINVAL when the message is one that no node may send (then the link is closed). What the
 * protocol owes is answered here: noproc, system_limit when a bound is reached, UNLINK_ID_ACK. */
int process_on_monitor(struct process_table *pt, struct dist_link *l, struct slice from, struct slice to,
                       struct slice ref);
int process_on_demonitor(struct process_table *pt, struct dist_link *l, struct slice ref);
int process_on_link(struct process_table *pt, struct dist_link *l, struct slice from, struct slice to);
int process_on_unlink(struct process_table *pt, struct dist_link *l, struct slice id, struct slice from,
                      struct slice to);
int process_on_exit(struct process_table *pt, struct dist_link *l, struct slice from, struct slice to,
                    struct slice reason);
/* These owe nobody an answer: what means nothing here (a stale pid, a monitor taken back) is passed over. */
void process_on_exit2(struct process_table *pt, struct slice from, struct slice to, struct slice reason);
void process_on_monitor_exit(struct process_table *pt, struct dist_link *l, struct slice ref, struct slice reason);
/* Breaks every relation over l, with reason noconnection for our side; nothing is sent. Callbacks may end processes. */
void process_link_down(struct process_table *pt, struct dist_link *l);

/* Monitor and link of a SPAWN_REQUEST on the process that it started: 0, BG_EINVAL, BG_ELIMIT or BG_ENOMEM. */
int process_add_monitor(struct process_table *pt, handle_t p, struct dist_link *l, struct slice from, struct slice to,
                        struct slice ref) MUST_CHECK;
int process_add_link(struct process_table *pt, handle_t p, struct dist_link *l, struct slice from) MUST_CHECK;

#endif
