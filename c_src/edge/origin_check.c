/*
 * origin_check.c: see origin_check.h.
 *
 * Invariants: each question ends in one done() or is forgotten. Only the atom true allows: Phoenix takes whatever is
 * neither false nor nil for a yes, also {:error, _}, where its documentation wants a boolean. The cache's key is the
 * socket and the Origin as it came: all that the function is told.
 *
 * Whether the client itself is still there, and what becomes of its request, is for edge.c.
 */
#include "origin_check.h"

#include <stdlib.h>

#include "authenticate.h"
#include "client_question.h"
#include "origin.h"
#include "remote_ask.h"

enum { WHY_MAX = 96 };

struct question {
    struct client_question base; /* about: the pointer `config`, and the Origin */
    const struct socket_config *config;
};

struct origin_checks {
    struct origin_check_options o;
    struct client_questions questions;
};

static struct slice origin_of(const struct question *q)
{
    return slice_make(q->base.about.data + sizeof(q->config), q->base.about.len - sizeof(q->config));
}

static void question_free(struct client_question *base)
{
    buf_fini(&base->about);
    free(container_of(base, struct question, base));
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
            client_question_keep(&oc->questions, fn, &q->base, SLICE_NONE);
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
    struct client_question *q = client_question_take(&oc->questions, tag);
    if (!q)
        return;
    bool allowed = judge(oc, container_of(q, struct question, base), outcome, value);
    handle_t client = q->client;
    question_free(q);
    oc->o.done(oc->o.ctx, client, allowed);
}

/* Function(URI, ...Args). False when it could not be sent; *why tells. */
static bool send_question(struct origin_checks *oc, struct question *q, uint64_t tag, const char **why)
{
    const struct socket_config *config = q->config;
    const struct remote_function *fn = &config->origin_function;
    struct buf *out = client_question_begin(&oc->questions, fn, 1 + config->origin_args_count, why);
    if (!out)
        return false;
    remote_put_origin(out, origin_of(q));
    term_put_raw(out, config->origin_args);
    return client_question_commit(&oc->questions, fn, &q->base, on_answer, oc, tag);
}

/* NULL without memory. */
static struct question *question_new(const struct socket_config *config, struct slice origin)
{
    struct question *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->config = config;
    buf_init(&q->base.about, YES_ABOUT_MAX);
    buf_add(&q->base.about, &config, sizeof(config));
    buf_add_slice(&q->base.about, origin);
    if (buf_ok(&q->base.about))
        return q;
    question_free(&q->base);
    return NULL;
}

/* As origin_checks_ask(), of which it does all but the question's end. */
static int ask(struct origin_checks *oc, struct question *q, uint64_t *tag)
{
    const char *why = "finds no room";
    if (client_question_known(&oc->questions, &q->base.about, NULL))
        return BG_OK;
    *tag = client_question_add(&oc->questions, &q->base);
    if (*tag != HANDLE_NONE) {
        metric_inc(oc->o.metrics, METRIC_ORIGIN_CALLS);
        if (send_question(oc, q, *tag, &why))
            return BG_EMORE;
        client_question_take(&oc->questions, *tag);
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
        question_free(&q->base);
    return rc;
}

void origin_checks_hold(struct origin_checks *oc, uint64_t tag, handle_t client)
{
    client_question_hold(&oc->questions, tag, client);
}

void origin_checks_forget(struct origin_checks *oc, uint64_t tag)
{
    client_question_forget(&oc->questions, tag);
}

struct origin_checks *origin_checks_new(const struct origin_check_options *o)
{
    struct origin_checks *oc = calloc(1, sizeof(*oc));
    if (!oc)
        return NULL;
    oc->o = *o;
    client_questions_init(&oc->questions, &o->call, o->timers, question_free);
    return oc;
}

void origin_checks_free(struct origin_checks *oc)
{
    if (!oc)
        return;
    client_questions_fini(&oc->questions);
    free(oc);
}
