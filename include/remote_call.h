/*
 * remote_call.h: calls of functions on other nodes: over rex (gen_call to the registered name rex,
 * 08 §4.1 A) or SPAWN_REQUEST of erpc:execute_call/4 with a monitor (C). Every call that was
 * committed ends with exactly one done callback: value, exit, timeout or nodedown; what arrives
 * later is recognised by its handle and dropped.
 *
 * CALL_SPAWN falls back to rex, call by call, while the node's user process is not known (asked for once a link, by the
 * first such call), and for good when the node has none or its flags lack SPAWN.
 */
#ifndef BEAMGATE_REMOTE_CALL_H
#define BEAMGATE_REMOTE_CALL_H

#include "call.h"
#include "cluster.h"
#include "dist_message.h"

struct remote_calls;

enum call_way { CALL_REX, CALL_SPAWN };

/* At most max_calls at a time; all else is borrowed and must outlive it. Nothing can be called before
 * remote_calls_set_pid(). NULL without memory. */
struct remote_calls *remote_calls_new(const struct node_identity *self, struct cluster *c, struct timers *timers,
                                      struct metrics *m, uint32_t max_calls) MUST_CHECK;
/* Ends what is in flight without callbacks. */
void remote_calls_free(struct remote_calls *rc);

/* Opens a call of module:function on node, writing straight into the link's output: the caller appends exactly
 * nargs argument terms to the returned buffer, then commits or aborts before anything else is sent.
 * NULL when the node is not connected (*why = CALL_NODEDOWN) or too much waits there already
 * (*why = CALL_BUSY); then no callback follows. */
struct buf *remote_call_begin(struct remote_calls *rc, struct slice node, enum call_way way, struct slice module,
                              struct slice function, uint32_t nargs, enum call_outcome *why);
/* Sends it. timeout_us from now. fn(owner, tag, ...) is called once, never before this returns. Returns the
 * call's handle, or HANDLE_NONE when the buffer failed (then fn is not called). */
handle_t remote_call_commit(struct remote_calls *rc, uint64_t timeout_us, call_done_fn *fn, void *owner, uint64_t tag);
/* Takes back what was begun: nothing is sent. */
void remote_call_abort(struct remote_calls *rc);
/* Forgets the call: no callback; over SPAWN the remote work is stopped. Harmless on a stale handle. */
void remote_call_cancel(struct remote_calls *rc, handle_t call);

/* The same in one step for a whole argument list: args is a list term. HANDLE_NONE when the call could not be begun or
 * committed; then fn is not called. */
handle_t remote_call(struct remote_calls *rc, struct slice node, enum call_way way, const char *module,
                     const char *function, struct slice args, uint64_t timeout_us, call_done_fn *fn, void *owner,
                     uint64_t tag);

/* Runs module:function in a process of its own on the link's node, args being a list term of arity elements, with that
 * group leader (a pid term; empty: the node's user process). done tells how the process ended: CALL_RETURN without a
 * value when it was normal, since what the function returns is not sent. Else as remote_call(); HANDLE_NONE also when
 * the node knows no SPAWN_REQUEST, or its user process is wanted and not known yet. */
handle_t remote_spawn(struct remote_calls *rc, handle_t link, struct slice leader, const char *module,
                      const char *function, uint32_t arity, struct slice args, uint64_t timeout_us, call_done_fn *fn,
                      void *owner, uint64_t tag);

/* The operations the rules use, over one way. */
struct call_ops remote_calls_ops(struct remote_calls *rc, enum call_way way);

/* Inside a done callback with CALL_RETURN: the pid term of the process that ran the function. Empty when its node does
 * not tell (OTP older than 21). */
struct slice remote_call_ran_by(const struct remote_calls *rc);

/* Calls begun and not yet ended. */
uint32_t remote_calls_in_flight(const struct remote_calls *rc);

/* Called by dist_dispatch: a message to the calls' pid and who sent it (empty: not known); below, a SPAWN_REPLY, and a
 * MONITOR_P_EXIT for a call's reference. Each returns false when no call was meant. */
bool remote_call_on_message(struct remote_calls *rc, struct dist_link *l, struct slice sender, struct slice msg);
/* The same for what dist_message_answer() has read. */
void remote_call_on_answer(struct remote_calls *rc, struct dist_link *l, const struct dist_answer *a);
/* The same for an answer that is nested deeper than we read, as unchecked bytes: ends its call with CALL_BADRPC,
 * system_limit, instead of leaving it to its timeout. */
bool remote_call_on_unread(struct remote_calls *rc, struct dist_link *l, struct slice unread);
bool remote_call_on_spawn_reply(struct remote_calls *rc, struct dist_link *l, const struct term_ref *ref,
                                struct slice pid_or_error);
bool remote_call_on_monitor_exit(struct remote_calls *rc, struct dist_link *l, const struct term_ref *ref,
                                 struct slice reason);
/* Asks the node for its user process, once somebody has wanted CALL_SPAWN. */
void remote_call_on_link_up(struct remote_calls *rc, struct dist_link *l);
/* Ends every call on that link with CALL_NODEDOWN, at once. */
void remote_call_on_link_down(struct remote_calls *rc, struct dist_link *l);
/* The handle under which the calls' pid is known (node_put_pid): dist_dispatch_new() starts that process and sets it.
 */
void remote_calls_set_pid(struct remote_calls *rc, handle_t self_pid);

#endif
