/*
 * rpc_server.h: calls that other nodes make into this one, by one const table of {module, function,
 * arity}: erpc over SPAWN_REQUEST (S-001..S-005, 08 §3.2), rex gen_calls, spawn, and the library's
 * own names. The table is the server's; this module only finds the entry and shapes the answer.
 */
#ifndef BEAMGATE_RPC_SERVER_H
#define BEAMGATE_RPC_SERVER_H

#include "term.h"

/* How a function ended. What it appended to out is the value, or the reason for the others. */
enum rpc_outcome {
    RPC_RETURN,
    RPC_ERROR, /* error:Reason; out may stay empty for function_clause */
    RPC_EXIT,
    RPC_THROW
};

struct rpc_call {
    struct slice module;
    struct slice function;
    const struct slice *argv; /* one term each */
    unsigned argc;
    struct slice caller_node;
    struct slice group_leader; /* pid term of the caller's group leader, or empty */
};

typedef enum rpc_outcome rpc_fn(void *server, const struct rpc_call *call, struct buf *out);

struct rpc_entry {
    const char *module; /* as on the wire: 'Elixir.PhoenixGenApi.ConfigDb', erlang */
    const char *function;
    int arity;
    rpc_fn *fn;
};

struct rpc_table {
    const struct rpc_entry *entries;
    size_t count;
    void *server; /* handed to each rpc_fn */
};

/* Runs module:function(args): args is a proper list term (LIST, STRING or NIL). An MFA that is not
 * in the table gives RPC_ERROR with undef in out and *known false. */
enum rpc_outcome rpc_run(const struct rpc_table *t, struct rpc_call *call, struct slice args, struct buf *out, bool *known);

#endif
