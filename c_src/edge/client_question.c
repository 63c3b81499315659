/*
 * client_question.c: see client_question.h.
 *
 * Invariant: a question is in `waiting` exactly while its call is; each is taken once or forgotten, since the call
 * always ends (remote_call.h).
 */
#include "client_question.h"

#include "remote_ask.h"

enum { WAITING_MAX = 100000 };

void client_questions_init(struct client_questions *qs, const struct call_ops *call, struct timers *t,
                           void (*end)(struct client_question *q))
{
    *qs = (struct client_questions){.call = *call, .timers = t, .end = end};
    slots_init(&qs->waiting, WAITING_MAX);
    yes_cache_init(&qs->known);
}

void client_questions_fini(struct client_questions *qs)
{
    uint32_t pos = 0;
    handle_t h;
    while (slots_next(&qs->waiting, &pos, &h))
        client_question_forget(qs, h);
    slots_fini(&qs->waiting);
    yes_cache_fini(&qs->known);
}

uint64_t client_question_add(struct client_questions *qs, struct client_question *q)
{
    return slots_add(&qs->waiting, q);
}

struct client_question *client_question_take(struct client_questions *qs, uint64_t tag)
{
    return slots_remove(&qs->waiting, tag);
}

struct buf *client_question_begin(struct client_questions *qs, const struct remote_function *fn, uint32_t nargs,
                                  const char **why)
{
    enum call_outcome outcome;
    struct buf *out = remote_ask_begin(&qs->call, fn, &qs->turn, nargs, &outcome);
    if (!out)
        *why = remote_outcome_text(outcome);
    return out;
}

bool client_question_commit(struct client_questions *qs, const struct remote_function *fn, struct client_question *q,
                            call_done_fn *done, void *owner, uint64_t tag)
{
    q->call = qs->call.commit(qs->call.ctx, (uint64_t)fn->timeout_ms * 1000, done, owner, tag);
    return q->call != HANDLE_NONE;
}

void client_question_hold(struct client_questions *qs, uint64_t tag, handle_t client)
{
    struct client_question *q = slots_get(&qs->waiting, tag);
    if (q && client == HANDLE_NONE)
        client_question_forget(qs, tag);
    else if (q)
        q->client = client;
}

void client_question_forget(struct client_questions *qs, uint64_t tag)
{
    struct client_question *q = slots_remove(&qs->waiting, tag);
    if (!q)
        return;
    qs->call.cancel(qs->call.ctx, q->call);
    qs->end(q);
}

bool client_question_known(struct client_questions *qs, const struct buf *about, struct slice *answer)
{
    return yes_cache_find(&qs->known, buf_slice(about), qs->timers->now_us, answer);
}

void client_question_keep(struct client_questions *qs, const struct remote_function *fn, struct client_question *q,
                          struct slice answer)
{
    yes_cache_keep(&qs->known, &q->about, answer, qs->timers->now_us + (uint64_t)fn->cache_ms * 1000);
}
