/*
 * observer.h: what the files behind Observer share: observer.c (facts of the node), observer_processes.c,
 * observer_ports.c, observer_tables.c (one tab each), observer_workers.c (what is sent piece by piece),
 * observer_parts.c (the gateway's parts and the links as processes), observer_shell.c (what people ask by rpc).
 */
#ifndef BEAMGATE_OBSERVER_H
#define BEAMGATE_OBSERVER_H

#include "server_state.h"

/* Bounds: Observer draws what it is given, and whoever asks must not hold the loop. */
enum {
    PROCESSES_A_TURN = 250,     /* rows of one chunk; the next chunk goes a millisecond later */
    PROCESSES_SHOWN = 100000,   /* rows of one refresh of the Processes tab */
    PROCESSES_ETOP = 20000,     /* etop takes one message only, which is gathered in as many chunks */
    TREE_NODES = 500,           /* processes drawn in the application's tree */
    PORTS_A_TURN = 100,         /* clients' sockets gathered at once for the Ports tab */
    PORTS_SHOWN = 1000,        /* and shown: its grid is filled cell by cell, which takes Observer seconds */
    PORT_LISTS = 8,             /* lists of ports that are being gathered or handed out */
    TABLE_ROWS_SHOWN = 5000,    /* objects of one table */
    TABLE_ROWS_A_MESSAGE = 100, /* and a turn */
    OBSERVER_WORKERS = 256      /* fetch_stats, chunked answers and application views at once */
};

/* Lists of unknown length: write the head, then elements, then call list_close(), which fills the count in. */
struct list_mark {
    size_t at;
    uint32_t count;
};
struct list_mark list_open(struct buf *b);
void list_close(struct buf *b, const struct list_mark *m);

/* A list of character codes, which is what Erlang calls a string, from UTF-8. What is not UTF-8 goes byte by byte; cut
 * at 65535 bytes. */
void put_string(struct buf *b, const char *text);
/* {key, as the head of a pair whose value follows. */
void put_key(struct buf *b, const char *key);
void put_pair_uint(struct buf *b, const char *key, uint64_t v);
void put_pair_atom(struct buf *b, const char *key, const char *v);
void put_pair_nil(struct buf *b, const char *key); /* {key, []} */
/* {Module, Function, Arity} of this program's own parts: there are no such modules. */
void put_mfa(struct buf *b, const char *function, unsigned arity);

/* Processor time of the loop's thread and time since the start, in microseconds; the first never exceeds the second. */
struct busy {
    uint64_t active_us;
    uint64_t total_us;
};
struct busy observer_busy(const struct server *s);
/* [{total, Bytes}, ...] as erlang:memory(). */
void observer_put_memory(const struct server *s, struct buf *b);
/* The same as a map, and the first of them. */
void observer_put_memory_map(const struct server *s, struct buf *b);
uint64_t observer_memory_total(const struct server *s);
/* {{input, Bytes}, {output, Bytes}}: of clients and of other nodes. */
void observer_put_io(const struct server *s, struct buf *b);

/* observer_processes.c. A row of the list of processes, and who reads it: Observer shows in the last column what a
 * process is about, etop insists on a function there. */
enum observer_reader { READER_OBSERVER, READER_ETOP };
/* Appends up to max rows {etop_proc_info, ...} from *pos on, without a list's head or tail; returns how many: fewer
 * than max when those were all. */
uint32_t observer_put_rows_of_processes(const struct server *s, struct buf *b, uint32_t *pos, uint32_t max,
                                        enum observer_reader reader);
/* The same as a whole list; true when there may be more. */
bool observer_put_processes(const struct server *s, struct buf *b, uint32_t *pos, uint32_t max);
/* {etop_info, Now, Processes, {WallClock, _}, {Runtime, _}, RunQueue, AllocAreas, Memory, without the rows. */
void observer_put_etop_head(const struct server *s, struct buf *b);
/* {RootName, [{Pid, Name}], [{Parent, Child}], []}: the tree of the application; one box more says how many processes
 * are not in it. */
void observer_put_tree(const struct server *s, struct buf *b);
/* Bytes of one process, as far as it knows them; 0 on a stale handle. */
uint64_t observer_process_bytes(const struct server *s, handle_t p);
/* An estimate of the bytes of all processes. */
uint64_t observer_processes_bytes(const struct server *s);
/* The root of the tree. */
handle_t observer_root(const struct server *s);

/* observer_workers.c. Ends all workers, before the process table goes. */
void observer_end_workers(struct server *s);

/* observer_parts.c. The process of a link that is up, or HANDLE_NONE. */
handle_t observer_link_process(const struct server *s, const struct dist_link *l);

/* observer_ports.c. Listeners, links to other nodes and clients' sockets. */
uint32_t observer_port_count(const struct server *s);
/* Forgets the lists that are being made, without a word to those who asked; before s->later goes. */
void observer_end_ports(struct server *s);

/* observer_tables.c. */
struct observer_table;
/* The table of this name that exists now, or NULL. */
const struct observer_table *observer_table_of(const struct server *s, struct slice name);
/* ets:info/1 of the table as a map with exists: true, or #{exists => false}. */
void observer_put_table_map(const struct server *s, const char *name, struct buf *b);
uint64_t observer_tables_bytes(const struct server *s);
/* How many exist. */
uint32_t observer_table_count(const struct server *s);
/* Appends up to TABLE_ROWS_A_MESSAGE objects, [[Object], ...], from *pos on; returns how many. */
uint32_t observer_put_rows(const struct server *s, const struct observer_table *t, uint64_t *pos, struct buf *b);

/* The error of a BEAM for an argument that it does not take. */
enum rpc_outcome observer_badarg(struct buf *out);

/* The functions, one array per file; rpc_table.c joins them. */
#define OBSERVER_FN(name) enum rpc_outcome name(void *server, const struct rpc_call *call, struct buf *out)
OBSERVER_FN(observer_etop_collect);
OBSERVER_FN(observer_process_info);
OBSERVER_FN(observer_process_item);
OBSERVER_FN(observer_collect_garbage);
OBSERVER_FN(observer_is_alive);
OBSERVER_FN(observer_initial_call);
OBSERVER_FN(observer_label);
OBSERVER_FN(observer_get_state);
OBSERVER_FN(observer_get_status);
OBSERVER_FN(observer_process_list);
OBSERVER_FN(observer_registered);
OBSERVER_FN(observer_port_list);
OBSERVER_FN(observer_socket_list);
OBSERVER_FN(observer_socket_info);
OBSERVER_FN(observer_table_list);
OBSERVER_FN(observer_ets_info);
OBSERVER_FN(observer_ets_item);
OBSERVER_FN(observer_ets_all);
OBSERVER_FN(observer_ets_whereis);
OBSERVER_FN(observer_ets_list);
OBSERVER_FN(observer_ets_lookup);
OBSERVER_FN(observer_ets_member);
OBSERVER_FN(observer_get_table);
OBSERVER_FN(observer_fetch_stats);
OBSERVER_FN(observer_procs_info);
OBSERVER_FN(observer_start_appmon);

#endif
