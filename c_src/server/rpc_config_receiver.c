/*
 * rpc_config_receiver.c: PhoenixGenApi.ConfigReceiver (S-020..S-044) over rpc. What ConfigPusher calls takes any terms:
 * its callers know no failure but {error, Reason} (S-012).
 */
#include "rpc_functions.h"

/* The tag is the waiting call's handle; if the caller has gone, nobody hears it. */
static void push_done(void *ctx, uint64_t waiter, struct slice answer)
{
    struct server *s = ctx;
    rpc_later_answer(s->later, waiter, RPC_RETURN, answer);
}

/* Many functions are taken in later turns of the loop, and the answer comes when they are in the store. */
static enum rpc_outcome push_large(struct server *s, const struct rpc_call *call, struct slice options, handle_t waiter,
                                   struct buf *out)
{
    if (config_receiver_push_later(s->receiver, call->argv[0], options, call->caller_node, out, push_done, s, waiter))
        return RPC_LATER;
    rpc_later_answer(s->later, waiter, RPC_RETURN, buf_slice(out));
    return RPC_LATER;
}

/* push/1 and push/2. A caller that cannot wait gets its answer now. */
enum rpc_outcome rpc_receiver_push(void *server, const struct rpc_call *call, struct buf *out)
{
    static const struct rpc_waiter_ops waits = {NULL, NULL, NULL};
    struct server *s = server;
    struct slice options = call->argc > 1 ? call->argv[1] : SLICE_NONE;
    handle_t waiter = HANDLE_NONE;
    if (config_receiver_waits(s->receiver, call->argv[0]))
        waiter = rpc_later_begin(s->later, call, &waits, s);
    if (waiter != HANDLE_NONE)
        return push_large(s, call, options, waiter, out);
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
