/*
 * origin_check.c: see origin_check.h.
 *
 * Invariants: a question is in `waiting` exactly while its call is; each ends in one done() or is forgotten, since the
 * call always ends (remote_call.h). Only the atom true allows: Phoenix takes whatever is neither false nor nil for a
 * yes, also {:error, _}, where its documentation wants a boolean. The cache's key is the socket and the Origin as it
 * came: all that the function is told.
 *
 * Whether the client itself is still there, and what becomes of its request, is for edge.c.
 */
#include "origin_check.h"

#include <stdlib.h>

#include "authenticate.h"
#include "origin.h"
#include "remote_ask.h"
#include "slots.h"
#include "yes_cache.h"

enum { WAITING_MAX = 100000, WHY_MAX = 96 };

struct question {
    const struct socket_config *config;
    handle_t call;
    handle_t client;
    struct buf about; /* the cache's key: the pointer `config`, and the Origin */
};

struct origin_checks {
    struct origin_check_options o;
    struct slots waiting;
    uint32_t turn;
    struct yes_cache known;
};

static struct slice origin_of(const struct question *q)
{
    return slice_make(q->about.data + sizeof(q->config), q->about.len - sizeof(q->config));
}

static void question_free(struct question *q)
{
    buf_fini(&q->about);
    free(q);
}

static void refuse(const struct origin_checks *oc, const struct question *q, const char *what)
{
    char why[WHY_MAX];
    snprintf(why, sizeof(why), "the function %s", what);
    edge_origin_refused(q->config, oc->o.metrics, origin_of(q), why);
}

static bool judge(struct origin_checks *oc, struct question *q, enum call_outcome outcome, struct slice value)
{
    const struct remote_function *fn = &q->config->origin_function;
    if (outcome == CALL_RETURN && term_is_atom(value, "true")) {
        if (fn->cache_ms)
            yes_cache_keep(&oc->known, &q->about, SLICE_NONE, oc->o.timers->now_us + (uint64_t)fn->cache_ms * 1000);
        return true;
    }
    if (outcome != CALL_RETURN) {
        metric_inc(oc->o.metrics, METRIC_ORIGIN_FAILURES);
        refuse(oc, q, remote_outcome_text(outcome));
    } else {
        bool no = term_is_atom(value, "false") || term_is_nil(value);
        refuse(oc, q, no ? "says no" : "returned neither true nor false");
    }
    return false;
}

static void on_answer(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct origin_checks *oc = owner;
    struct question *q = slots_remove(&oc->waiting, tag);
    if (!q)
        return;
    bool allowed = judge(oc, q, outcome, value);
    handle_t client = q->client;
    question_free(q);
    oc->o.done(oc->o.ctx, client, allowed);
}

/* Function(URI, ...Args). HANDLE_NONE when it could not be sent; *why tells. */
static handle_t send_question(struct origin_checks *oc, const struct question *q, uint64_t tag, const char **why)
{
    const struct socket_config *config = q->config;
    const struct remote_function *fn = &config->origin_function;
    enum call_outcome outcome;
    struct buf *out = remote_ask_begin(&oc->o.call, fn, &oc->turn, 1 + config->origin_args_count, &outcome);
    if (!out) {
        *why = remote_outcome_text(outcome);
        return HANDLE_NONE;
    }
    remote_put_origin(out, origin_of(q));
    term_put_raw(out, config->origin_args);
    return oc->o.call.commit(oc->o.call.ctx, (uint64_t)fn->timeout_ms * 1000, on_answer, oc, tag);
}

/* NULL without memory. */
static struct question *question_new(const struct socket_config *config, struct slice origin)
{
    struct question *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->config = config;
    buf_init(&q->about, YES_ABOUT_MAX);
    buf_add(&q->about, &config, sizeof(config));
    buf_add_slice(&q->about, origin);
    if (buf_ok(&q->about))
        return q;
    question_free(q);
    return NULL;
}

/* As origin_checks_ask(), of which it does all but the question's end. */
static int ask(struct origin_checks *oc, struct question *q, uint64_t *tag)
{
    const char *why = "finds no room";
    if (yes_cache_find(&oc->known, buf_slice(&q->about), oc->o.timers->now_us, NULL))
        return BG_OK;
    *tag = slots_add(&oc->waiting, q);
    if (*tag != HANDLE_NONE) {
        metric_inc(oc->o.metrics, METRIC_ORIGIN_CALLS);
        q->call = send_question(oc, q, *tag, &why);
        if (q->call != HANDLE_NONE)
            return BG_EMORE;
        slots_remove(&oc->waiting, *tag);
    }
    metric_inc(oc->o.metrics, METRIC_ORIGIN_FAILURES);
    refuse(oc, q, why);
    return BG_EINVAL;
}

int origin_checks_ask(struct origin_checks *oc, const struct socket_config *config, struct slice origin, uint64_t *tag)
{
    struct question *q = question_new(config, origin);
    if (!q) {
        edge_origin_refused(config, oc->o.metrics, origin, "no memory to ask the function");
        return BG_EINVAL;
    }
    int rc = ask(oc, q, tag);
    if (rc != BG_EMORE)
        question_free(q);
    return rc;
}

void origin_checks_hold(struct origin_checks *oc, uint64_t tag, handle_t client)
{
    struct question *q = slots_get(&oc->waiting, tag);
    if (q && client == HANDLE_NONE)
        origin_checks_forget(oc, tag);
    else if (q)
        q->client = client;
}

void origin_checks_forget(struct origin_checks *oc, uint64_t tag)
{
    struct question *q = slots_remove(&oc->waiting, tag);
    if (!q)
        return;
    oc->o.call.cancel(oc->o.call.ctx, q->call);
    question_free(q);
}

struct origin_checks *origin_checks_new(const struct origin_check_options *o)
{
    struct origin_checks *oc = calloc(1, sizeof(*oc));
    if (!oc)
        return NULL;
    oc->o = *o;
    slots_init(&oc->waiting, WAITING_MAX);
    yes_cache_init(&oc->known);
    return oc;
}

void origin_checks_free(struct origin_checks *oc)
{
    uint32_t pos = 0;
    handle_t h;
    if (!oc)
        return;
    while (slots_next(&oc->waiting, &pos, &h))
        origin_checks_forget(oc, h);
    slots_fini(&oc->waiting);
    yes_cache_fini(&oc->known);
    free(oc);
}
