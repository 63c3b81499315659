/*
 * rpc_server.h: calls that other nodes make into this one, by one const table of {module, function,
 * arity}: erpc over SPAWN_REQUEST (S-001..S-005, 08 §3.2), rex gen_calls, spawn, and the library's
 * own names. The table is the server's; this module only finds the entry and shapes the answer.
 */
#ifndef BEAMGATE_RPC_SERVER_H
#define BEAMGATE_RPC_SERVER_H

#include "term.h"

struct dist_link;
struct gather;

/* How a function ended. What it appended to out is the value, or the reason for the others. */
enum rpc_outcome {
    RPC_RETURN,
    RPC_ERROR, /* error:Reason; out may stay empty for function_clause */
    RPC_EXIT,
    RPC_THROW,
    RPC_LATER /* the function has called rpc_later_begin(), and answers with rpc_later_answer() */
};

/* In which shape a caller waits for the outcome: what rpc_later.c must know to give it later. */
enum rpc_shape {
    RPC_SHAPE_NOW,   /* it cannot be given later */
    RPC_SHAPE_ERPC,  /* the process ends with {Ref, return, V} and so on */
    RPC_SHAPE_SPAWN, /* the process ends, nobody waits for a value */
    RPC_SHAPE_REX,   /* {Tag, V} to the caller */
    RPC_SHAPE_CAST   /* nobody waits, and there is no process yet */
};

enum { RPC_ARITY_MAX = 255 };

struct rpc_call {
    struct slice module;      /* text of the atom */
    struct slice function;    /* text of the atom */
    const struct slice *argv; /* one term each */
    unsigned argc;
    struct slice args; /* the same as one list term */
    struct slice caller_node;
    struct slice group_leader; /* pid term of the caller's group leader, or empty */
    struct slice caller;       /* pid term of the calling process, or empty */
    struct dist_link *link;    /* to the caller's node; valid during the call. NULL for local callers */
    handle_t self;             /* spawn only: the process that runs this. Whoever wants it to go on living takes it with
                                * process_adopt(); otherwise it ends when the function returns. HANDLE_NONE for calls */
    enum rpc_shape shape;
    struct slice ref; /* RPC_SHAPE_ERPC: Ref; RPC_SHAPE_REX: Tag */
    handle_t process; /* RPC_SHAPE_ERPC, RPC_SHAPE_SPAWN: the process that the caller watches */
};

typedef enum rpc_outcome rpc_fn(void *server, const struct rpc_call *call, struct buf *out);

/* The module of rows that hold for every module of the table: module_info/0 and its kin. */
#define RPC_ANY_MODULE "*"

struct rpc_entry {
    const char *module; /* as on the wire: 'Elixir.PhoenixGenApi.ConfigDb', erlang; or RPC_ANY_MODULE */
    const char *function;
    int arity;
    rpc_fn *fn;
};

struct rpc_table {
    const struct rpc_entry *entries;
    size_t count;
    void *server; /* handed to each rpc_fn */
    struct gather *gather; /* is told of each call from another node; NULL: nobody is */
    /* Positions of the entries in the order of their names, made by rpc_table_index(). NULL: entries are searched
     * one by one. */
    uint16_t *order;
};

/* Sorts once, so that a lookup is a binary search. Two entries of the same name and arity are our own mistake and
 * asserted. Returns 0 or BG_ENOMEM; undo with rpc_table_fini(). */
int rpc_table_index(struct rpc_table *t) MUST_CHECK;
void rpc_table_fini(struct rpc_table *t);
/* True when the table has a function of that module, RPC_ANY_MODULE excepted: to callers, such a module exists. */
bool rpc_has_module(const struct rpc_table *t, struct slice module);
/* The entry, or NULL. */
const struct rpc_entry *rpc_find(const struct rpc_table *t, struct slice module, struct slice function, unsigned arity);

/* Runs module:function(args): args is a proper list term (LIST, STRING or NIL). An MFA that is not
 * in the table gives RPC_ERROR with undef in out and *known false; so do funs, which only a BEAM can run.
 * erlang:apply/3, and apply/2 of an external fun, run what they name. Arguments that are no proper list, or more than
 * RPC_ARITY_MAX, give RPC_ERROR with badarg. Fills argv, argc and args of *call; argv is good for the function only. */
enum rpc_outcome rpc_run(const struct rpc_table *t, struct rpc_call *call, struct slice args, struct buf *out,
                         bool *known);

/* Shapes of an outcome, which is not RPC_LATER; call as rpc_run left it, value what it left in out. Where args is empty
 * a stack shows the arity only. */
/* {Ref, return, V} | {Ref, throw, T} | {Ref, exit, R} | {Ref, error, R, Stack}: erpc:execute_call/4 (08 §3.2). */
void rpc_put_erpc(struct buf *b, struct slice ref, const struct rpc_call *call, enum rpc_outcome outcome,
                  struct slice value);
/* V | {badrpc, {'EXIT', R}} | {badrpc, {'EXIT', {R, Stack}}}: rex (08 §4.1). */
void rpc_put_rex(struct buf *b, const struct rpc_call *call, enum rpc_outcome outcome, struct slice value);
/* normal | R | {R, Stack} | {{nocatch, T}, Stack}: the reason with which a spawned process ends. */
void rpc_put_exit_reason(struct buf *b, const struct rpc_call *call, enum rpc_outcome outcome, struct slice value);

#endif
