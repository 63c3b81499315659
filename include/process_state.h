/*
 * process_state.h: what an actor says of itself to people: a row in a list, its state, and with that the answers to
 * sys:get_state/1 and sys:get_status/1 (08 §5, D-21). Actors fill in what they know; how it looks on the wire is here.
 */
#ifndef BEAMGATE_PROCESS_STATE_H
#define BEAMGATE_PROCESS_STATE_H

#include "process_table.h"

struct gen_call;

enum { PROCESS_ABOUT_MAX = 120 };

/* One row of a list. All zero before the actor fills it in, which must be cheap: there may be tens of thousands. */
struct process_row {
    handle_t parent;    /* what it belongs to and ends with; HANDLE_NONE: the usual place of its kind */
    struct slice group; /* which of its kind: a name from the configuration or of a node, never from a client, since it
                         * becomes an atom on other nodes. Borrowed until the loop turns */
    uint32_t waiting;   /* taken on and not finished: what a BEAM process has in its message queue */
    uint32_t work;      /* messages worked on that did not come over a link */
    size_t bytes;       /* memory beside its record in the process table */
    char about[PROCESS_ABOUT_MAX]; /* what it is about, one line of UTF-8; "": nothing to say */
};

/* Appends text to row->about, cut between two characters when there is no room. What is not valid UTF-8 ends it. */
void process_row_about(struct process_row *row, struct slice text);

/* A state under way: pairs of an atom and a value, as a map; listed: {"Key", Value}, as a list. */
struct process_state {
    const struct process_table *table;
    struct buf *out;
    uint32_t pairs;
    bool listed;
};

/* Adds key => text as a binary; SLICE_NONE becomes nil. Keys are constants, each used once. */
void process_state_text(struct process_state *st, const char *key, struct slice text);
void process_state_uint(struct process_state *st, const char *key, uint64_t v);
void process_state_atom(struct process_state *st, const char *key, const char *atom);
/* The pid of a local process; nil for HANDLE_NONE. */
void process_state_pid(struct process_state *st, const char *key, handle_t p);

/* A list of character codes, from ASCII. */
void process_state_string(struct buf *out, const char *text);

/* What the list shows of p; zero on a stale handle. */
struct process_row process_row(const struct process_table *pt, handle_t p);
/* Appends the state as a map, which always has kind. A stale handle has an empty one. */
void process_put_state(const struct process_table *pt, handle_t p, struct buf *out);
/* {status, Pid, {module, beamgate}, [[], running, Pid, [], [{header, _}, {data, Pairs}, {data, [{"State", State}]}]]}:
 * as sys:get_status/1 of a gen_server, with the pairs of the state among what Observer shows line by line. */
void process_put_status(const struct process_table *pt, handle_t p, struct buf *out);
/* Answers a message of OTP's module sys: get_state, get_status; any other as sys does to what it does not know. */
void process_answer_system(const struct process_table *pt, handle_t p, struct dist_link *from,
                           const struct gen_call *call);

#endif
