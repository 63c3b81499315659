/*
 * rpc_config_receiver.c: PhoenixGenApi.ConfigReceiver (04 §3, §4) over rpc. What ConfigPusher calls takes any terms:
 * its callers know no failure but {error, Reason} (S-012).
 */
#include "rpc_functions.h"

/* push/1 and push/2. */
enum rpc_outcome rpc_receiver_push(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct slice options = call->argc > 1 ? call->argv[1] : SLICE_NONE;
    config_receiver_push(s->receiver, call->argv[0], options, call->caller_node, out);
    return RPC_RETURN;
}

enum rpc_outcome rpc_receiver_verify(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    config_receiver_verify(s->receiver, call->argv[0], call->argv[1], out);
    return RPC_RETURN;
}

enum rpc_outcome rpc_receiver_config(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    config_receiver_put_config(s->receiver, call->argv[0], out);
    return RPC_RETURN;
}

enum rpc_outcome rpc_receiver_services(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    config_receiver_put_services(s->receiver, out);
    return RPC_RETURN;
}

/* S-043: ok, whether there was such a service or not. */
enum rpc_outcome rpc_receiver_delete(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    config_receiver_delete(s->receiver, call->argv[0]);
    return rpc_put_atom(out, "ok");
}

enum rpc_outcome rpc_receiver_status(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    config_receiver_put_status(s->receiver, out);
    return RPC_RETURN;
}
