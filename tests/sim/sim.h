/*
 * sim.h: the simulator of the request pipeline: one process, one thread, a clock of its own, and everything that
 * happens chosen by a seed. Around the real c_src/gateway/request*.c stand
 *   sim_cluster.c  nodes and calls: either calls of its own, or the real remote_call.c on links that only exist here
 *   sim_client.c   channels that come, leave and read slowly
 *   sim_oracle.c   what may be answered to a request, and what must hold after every event
 *   sim_load.c     functions, requests, answers and stream messages, valid and not
 *   sim.c          a run: events in an order chosen by chance, the end, the report
 *
 * The oracle knows the rules from docs (E-, F- numbers), not from the pipeline's code. It looks into the pipeline's
 * records only to see whose request waits (whom a record belongs to, what it waits for).
 */
#ifndef BEAMGATE_SIM_H
#define BEAMGATE_SIM_H

#include "call.h"
#include "cluster.h"
#include "config_db.h"
#include "remote_call.h"
#include "request.h"
#include "slots.h"

enum { SIM_NODES = 4, SIM_CLIENTS = 5, SIM_FUNS = 8, SIM_FIFO = 64, SIM_ROLES = 1 };

/* The way calls take: the simulator's own, or remote_call.c over rex or SPAWN_REQUEST. */
enum sim_way { WAY_OWN, WAY_REX, WAY_SPAWN, WAY_COUNT };

/* What a call asks for. MAIN, BEFORE, PERMIT and NODES hold their request up; AFTER and USER belong to nobody. */
enum sim_asks { ASKS_MAIN, ASKS_BEFORE, ASKS_AFTER, ASKS_PERMIT, ASKS_NODES, ASKS_USER };

enum sim_call_state { CALL_OPEN, CALL_ENDED, CALL_CANCELLED };

struct sim_request;

struct sim_call {
    struct timer timer; /* WAY_OWN only */
    struct sim *sim;
    uint32_t index;
    uint32_t node;
    enum sim_asks asks;
    enum sim_call_state state;
    handle_t handle;
    int64_t wire_tag; /* as it stands in the packet */
    bool spawned;     /* sent as SPAWN_REQUEST */
    bool started;     /* its SPAWN_REPLY was delivered */
    call_done_fn *done;
    void *owner;
    uint64_t tag;
    struct sim_request *q; /* NULL for AFTER and USER */
    /* What the answer that is under way means to the client. */
    bool ok;          /* a value that can be sent; of a hook or permission: the request may go on */
    bool unexpected;  /* a tuple that means nothing (E-202) */
    uint32_t serial;  /* the value; 0: any */
    int new_type;     /* of a hook's FunConfig; -1: as it was */
};

/* A word of a stream's producer. */
enum sim_word { WORD_RESULT, WORD_LAST, WORD_COMPLETE, WORD_ERROR, WORD_UNSENDABLE, WORD_COUNT };

struct sim_request {
    uint32_t number; /* from 1: request id and ref are made of it */
    uint32_t client;
    handle_t channel;
    char type_name[16];
    bool anonymous; /* its frames bear "unknown" */
    int type;       /* enum response_type; -1: must be refused */
    bool lost;      /* its client has left */
    bool replied;
    bool over;      /* had its last frame (none: had its reply, which is all it gets) */
    bool success;   /* of the last frame */
    bool refused;   /* an error was pushed and its reply is due */
    bool acked;     /* async, stream: the acknowledgement was pushed */
    bool nested;    /* stream: the frame of the initial call was pushed (E-146) */
    bool stopping;  /* stream: the client has stopped it */
    bool producer_gone;
    bool must_end;  /* stream: it was sent too much */
    bool denied;    /* by its hook, its permission callback, or for want of nodes */
    bool unexpected; /* its function has returned a tuple that means nothing */
    uint32_t node;  /* of the newest call of its function */
    bool returned;  /* the function has returned... */
    bool ok;        /* ...a value that can be sent... */
    uint32_t serial;
    uint32_t stamp;       /* the step in which it was last seen in flight */
    uint32_t calls_open;  /* in that step */
    struct {
        enum sim_word word;
        uint32_t serial;
    } fifo[SIM_FIFO]; /* what the stream owes to the client */
    uint32_t fifo_count;
};

struct sim_stream {
    struct sim_request *q;
    uint64_t tag;
    bool open;
};

/* Freed as soon as the channel has ended, so that whoever still uses it is caught. */
struct sim_channel {
    struct request_list waiting;
};

struct sim_client {
    struct sim_channel *channel; /* NULL: not joined */
    handle_t handle;
    uint32_t generation;
    bool gone;                 /* takes nothing any more; its end is yet to be told to the gateway */
    uint32_t frames_until_gone; /* 0: stays */
    size_t room;               /* bytes that one frame may have; 0: no bound */
    struct session session;
    struct slice roles[SIM_ROLES];
    struct channel_rules rules;
    struct buf push;
    bool pushing;
    struct sim_request *owes_reply; /* a frame was pushed whose reply must be the next */
    bool closing;
};

struct dist_link {
    struct sim *sim;
    uint32_t node;
    handle_t handle;
    bool up;
    bool closed; /* no longer up, which is yet to be told */
    bool busy;
    bool writing;
    struct buf out;
};

struct cluster {
    struct dist_link link[SIM_NODES];
};

struct sim {
    uint64_t seed;
    uint64_t random;  /* of the simulator's choices */
    enum sim_way way;
    struct buf trace;
    bool tell; /* print the trace as it grows */
    uint32_t step;

    struct metrics metrics;
    struct timers timers;
    struct config_db *db;
    struct gateway *gw;
    struct gateway_options o;

    struct cluster cluster;
    struct node_identity self;
    struct rate_limiter *limiter;
    struct remote_calls *rc;
    struct call_ops real; /* of rc */
    struct slots own_calls;
    struct sim_call **call;
    uint32_t calls;
    struct sim_call *opened; /* between begin and commit */
    struct buf own_out;
    uint32_t own_nargs;

    struct sim_client client[SIM_CLIENTS];
    struct sim_request **request;
    uint32_t requests;
    struct sim_request *current; /* whose frame or answer is being worked on */
    struct sim_stream *stream;
    uint32_t streams;
    uint32_t streams_open;
    uint32_t serial;

    struct fun_config **config; /* every one ever stored, with a reference of our own */
    uint32_t configs;
    struct buf term; /* the term under way */
    uint64_t answered_ok, answered_error;
};

/* sim.c */
uint32_t sim_random(struct sim *s, uint32_t below);
bool sim_chance(struct sim *s, uint32_t percent);
/* One line of the trace. */
void sim_trace(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A rule is broken: prints seed, trace and rule, and ends the process. */
_Noreturn void sim_violation(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
#define sim_rule(s, cond, ...) ((cond) ? (void)0 : sim_violation(s, __VA_ARGS__))
/* Grows an array of pointers or structs by one and returns its new size. */
void *sim_grow(void *array, uint32_t count, size_t size);

/* sim_cluster.c */
void sim_cluster_init(struct sim *s);
struct call_ops sim_call_ops(struct sim *s);
struct stream_ops sim_stream_ops(struct sim *s);
const char *sim_node_name(uint32_t node);
/* Its link closes: nothing passes any more, but only sim_node_down() tells. */
void sim_node_close(struct sim *s, uint32_t node);
void sim_node_down(struct sim *s, uint32_t node);
void sim_node_up(struct sim *s, uint32_t node);
/* Delivers an answer to a call as its node sends it: found by handle, or not (a late or second one). value: a term. */
void sim_call_answer(struct sim *s, struct sim_call *call, enum call_outcome outcome, struct slice value);
/* The SPAWN_REPLY of a call that was spawned; started false: the node refused. */
void sim_call_started(struct sim *s, struct sim_call *call, bool started);
struct sim_call *sim_call_pick(struct sim *s, bool open);
/* Forgets calls without answering them, as a server that ends. */
void sim_cluster_fini(struct sim *s);

/* sim_client.c */
struct client_ops sim_client_ops(struct sim *s);
void sim_client_join(struct sim *s, uint32_t client);
void sim_client_leave(struct sim *s, uint32_t client);
struct sim_client *sim_client_pick(struct sim *s);
void sim_clients_fini(struct sim *s);

/* sim_oracle.c */
struct sim_request *sim_request_new(struct sim *s, uint32_t client);
/* A frame that the client got; taken_back: it was begun, and did not fit. */
void oracle_push(struct sim *s, struct sim_client *c, struct slice json, bool taken_back);
void oracle_reply(struct sim *s, struct sim_client *c, struct slice ref, const char *status, struct slice response);
/* The client is no longer there: nothing is owed to it. */
void oracle_client_gone(struct sim *s, struct sim_client *c);
/* A call of q begins or ends. */
void oracle_call_begun(struct sim *s, const struct sim_call *call);
void oracle_call_ended(struct sim *s, const struct sim_call *call, enum call_outcome outcome);
/* The node is lost, and its calls have been told. */
void oracle_node_down(struct sim *s, uint32_t node);
/* More than a stream may keep back was sent to it. */
void oracle_stream_overflow(struct sim_stream *st);
void oracle_stream_word(struct sim *s, struct sim_stream *st, enum sim_word word, uint32_t serial);
/* What must hold between two events. */
void oracle_step(struct sim *s);
/* Nothing is left in flight. */
void oracle_nothing_left(struct sim *s);

/* sim_load.c */
void load_config(struct sim *s, uint32_t fun);
void load_config_event(struct sim *s);
void load_request(struct sim *s);
/* A valid answer of the kind that the call's asker expects, or not. */
void load_answer(struct sim *s, struct sim_call *call);
void load_stream_message(struct sim *s);
void load_stream_stop(struct sim *s);
void load_stream_down(struct sim *s);
void load_producer_down(struct sim *s, struct sim_stream *st);
struct sim_stream *load_stream_pick(struct sim *s, bool open);

#endif
