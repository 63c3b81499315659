/*
 * call.h: how the rules see a call of a function on another node: how it may end, and the operations they
 * are given to make one. remote_call.c implements them; tests and the simulator bring their own.
 */
#ifndef BEAMGATE_CALL_H
#define BEAMGATE_CALL_H

#include "buf.h"

enum call_outcome {
    CALL_RETURN,   /* value: what the function returned (or threw, over rex: E-183) */
    CALL_EXIT,     /* raised, exited, undef, killed: value is the reason as in {badrpc,{'EXIT',R}} */
    CALL_BADRPC,   /* another {badrpc, R} from the node: value is R */
    CALL_TIMEOUT,  /* value empty */
    CALL_NODEDOWN, /* value empty */
    CALL_BUSY      /* only from begin(): too much waits for that node already */
};

/* value: an encoded term, valid during the call. */
typedef void call_done_fn(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value);

struct call_ops {
    void *ctx;
    bool (*node_up)(void *ctx, struct slice node);
    /* Opens a call of module:function on node, writing straight into the link's output: the caller appends exactly
     * nargs argument terms to the returned buffer, then commits or aborts before it does anything else.
     * NULL when the node is not connected (*why = CALL_NODEDOWN), or too much waits there or in all
     * already (*why = CALL_BUSY); then no callback follows. */
    struct buf *(*begin)(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                         enum call_outcome *why);
    /* Sends it. done(owner, tag, ...) is called once, never before this returns. Returns the call's handle, or
     * HANDLE_NONE when the buffer failed (then done is not called). */
    handle_t (*commit)(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag);
    void (*abort)(void *ctx);
    /* Forgets the call: done is not called. Harmless on a stale handle. */
    void (*cancel)(void *ctx, handle_t call);
    /* Appends the names of the connected nodes as atoms; returns how many. */
    uint32_t (*nodes)(void *ctx, struct buf *out);
};

#endif
