/*
 * client_question.h: what is asked of a service about a client who waits for the answer: the call, the client, and the
 * yeses that are kept for a while. What is asked, and what an answer means, is for those who ask.
 */
#ifndef BEAMGATE_CLIENT_QUESTION_H
#define BEAMGATE_CLIENT_QUESTION_H

#include "edge.h"
#include "slots.h"
#include "yes_cache.h"

/* Part of the asker's own record, which begins as zero. */
struct client_question {
    handle_t call;
    handle_t client;
    struct buf about; /* all that the function should look at: the cache's key */
};

struct client_questions {
    struct call_ops call;
    struct timers *timers;
    void (*end)(struct client_question *q);
    struct slots waiting;
    uint32_t turn;
    struct yes_cache known;
};

/* call is copied, t borrowed; end frees a record with all that is in it. */
void client_questions_init(struct client_questions *qs, const struct call_ops *call, struct timers *t,
                           void (*end)(struct client_question *q));
/* Forgets who waits. */
void client_questions_fini(struct client_questions *qs);

/* From here on q waits under the tag that is returned; HANDLE_NONE: too many do, q is still the caller's. */
uint64_t client_question_add(struct client_questions *qs, struct client_question *q) MUST_CHECK;
/* Its call has ended, or could not be sent: q is the caller's again. NULL for a stale tag. */
struct client_question *client_question_take(struct client_questions *qs, uint64_t tag);
/* Opens a call of fn for nargs arguments, as call_ops.begin(). NULL: nobody takes it; *why tells, for log lines. */
struct buf *client_question_begin(struct client_questions *qs, const struct remote_function *fn, uint32_t nargs,
                                  const char **why) MUST_CHECK;
/* Sends it; done(owner, tag, ...) hears the end. False when the buffer failed. */
bool client_question_commit(struct client_questions *qs, const struct remote_function *fn, struct client_question *q,
                            call_done_fn *done, void *owner, uint64_t tag) MUST_CHECK;
/* Who waits. HANDLE_NONE forgets the question. Harmless on a stale tag. */
void client_question_hold(struct client_questions *qs, uint64_t tag, handle_t client);
/* The client has gone: nobody waits for the answer any more. Harmless on a stale tag. */
void client_question_forget(struct client_questions *qs, uint64_t tag);

/* As yes_cache_find(), now. */
bool client_question_known(struct client_questions *qs, const struct buf *about, struct slice *answer) MUST_CHECK;
/* Keeps the yes, with what came with it, as long as fn allows. q->about is empty afterwards. */
void client_question_keep(struct client_questions *qs, const struct remote_function *fn, struct client_question *q,
                          struct slice answer);

#endif
