/*
 * process_internal.h: what process_table.c (who there is: processes, their names, pids and messages) and
 * process_relations.c (who watches whom: monitors, links and the signals that they cause) share. Private to the two.
 */
#ifndef BEAMGATE_PROCESS_INTERNAL_H
#define BEAMGATE_PROCESS_INTERNAL_H

#include "list.h"
#include "map.h"
#include "peer_table.h"
#include "process_table.h"

struct process_name;

/* The record of a process. There may be tens of thousands, nearly all without name, monitor or link, so everything that
 * only some need hangs outside. */
struct process {
    const struct process_ops *ops;
    void *owner;
    handle_t self;
    struct list relations;
    struct process_name *names;
    uint32_t messages;
    bool aliased;
};

_Static_assert(sizeof(struct process) <= 56, "a process fits malloc's 64-byte class: there may be one per channel");

struct process_table {
    const struct node_identity *self;
    struct cluster *cluster;
    struct metrics *metrics;
    struct slots processes;
    struct slots monitors; /* relations of kind WATCHING */
    struct map names;
    struct map relations; /* by key; WATCHED_BY and LINKED */
    struct peer_table peers;
    uint32_t relation_count;
    uint32_t relation_limit;
    uint64_t next_unlink_id;
    struct buf pid_head; /* the part of our pids that never changes */
    struct buf scratch;
    struct slice sender; /* of the message that is being delivered */
};

/* Atoms as they stand on the wire: w, length, text. */
#define TERM_NOPROC SLICE_LIT("w\6noproc")
#define TERM_NOCONNECTION SLICE_LIT("w\14noconnection")
#define TERM_SYSTEM_LIMIT SLICE_LIT("w\14system_limit")
#define TERM_KILLED SLICE_LIT("w\6killed")

static inline struct process *process_find(const struct process_table *pt, handle_t p)
{
    return slots_get(&pt->processes, p);
}

/* ---- process_relations.c ---- */

/* The bounds follow from that of processes. */
void relations_init(struct process_table *pt, uint32_t max_processes);
/* Once every process has dropped its own. */
void relations_fini(struct process_table *pt);
/* All monitors and links of p, which is out of the table already: the other ends are told the reason. */
void relations_end(struct process_table *pt, struct process *p, struct slice reason);
/* The same without a word to anybody. */
void relations_drop(struct process_table *pt, struct process *p);
uint32_t relations_count(const struct process *p);

#endif
