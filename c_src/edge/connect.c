/*
 * connect.c: see connect.h.
 *
 * Invariants: each question ends in one done() or is forgotten. Only a plain {ok, Assigns} lets a client in. The
 * cache's key is everything that the function should have looked at to be cached: parameters and token.
 */
#include "connect.h"

#include <stdlib.h>

#include "client_question.h"
#include "log.h"
#include "query_term.h"
#include "remote_ask.h"

enum { KEY_MAX = 64, REASON_MAX = 200 };

struct question {
    struct client_question base; /* about, empty: not to be kept; what is kept are the assigns */
    struct upgrade up;
    char key[KEY_MAX]; /* up.key points here: the request head has gone */
};

struct connects {
    struct connect_options o;
    struct client_questions questions;
};

/* ---- the cache ---- */

/* Which method it is, the parameters as they came, and the token. Left empty when that is too much. */
static void put_about(struct buf *about, const struct upgrade *up, const struct http_head *h)
{
    const struct auth_method *method = up->who.ask;
    buf_init(about, YES_ABOUT_MAX);
    if (!method->remote.cache_ms)
        return;
    buf_add(about, &method, sizeof(method));
    term_put_binary(about, h->query);
    term_put_binary(about, buf_slice(&up->who.token));
    if (!buf_ok(about))
        buf_reset(about);
}

/* ---- questions ---- */

static void question_free(struct client_question *base)
{
    struct question *q = container_of(base, struct question, base);
    identity_fini(&q->up.who);
    buf_fini(&base->about);
    free(q);
}

static void refuse(const struct connects *cs, const struct upgrade *up, const char *reason)
{
    edge_refused(up->config, cs->o.metrics, reason);
}

/* The answer that the configuration has for {error, Reason}; NULL where it has none. */
static const struct refusal *refusal_for(const struct socket_config *config, struct slice value)
{
    struct term_reader r = term_reader(value);
    struct slice reason, text;
    uint32_t arity;
    if (term_read_tagged(&r, "error", &arity) != BG_OK || term_skip(&r, &reason) != BG_OK || !term_text(reason, &text))
        return NULL;
    for (uint32_t i = 0; i < config->refusals_count; i++)
        if (slice_is(text, config->refusals[i].reason))
            return &config->refusals[i];
    return NULL;
}

/* :error | {error, Reason}: the reason is for the log, as Phoenix' default handler has it for nobody (P-007). */
static void refuse_term(const struct connects *cs, struct upgrade *up, struct slice value)
{
    struct buf text;
    up->refusal = refusal_for(up->config, value);
    buf_init(&text, 0);
    buf_puts(&text, "the connect function says ");
    term_inspect(value, &text, REASON_MAX);
    buf_putc(&text, '\0');
    refuse(cs, up, buf_ok(&text) ? (const char *)text.data : "the connect function says no");
    buf_fini(&text);
}

/* What the function has returned: true when the client may come in. */
static bool judge(struct connects *cs, struct question *q, struct slice value)
{
    struct term_reader r = term_reader(value);
    struct slice assigns;
    uint32_t arity;
    bool error = term_is_atom(value, "error") ||
                 (term_read_tagged(&(struct term_reader){r.p, r.end}, "error", &arity) == BG_OK && arity == 2);
    if (error) {
        refuse_term(cs, &q->up, value);
        return false;
    }
    if (term_read_tagged(&r, "ok", &arity) != BG_OK || arity != 2 || term_skip(&r, &assigns) != BG_OK) {
        refuse(cs, &q->up, "the connect function returned neither {:ok, assigns} nor an error");
        return false;
    }
    const char *why = identity_take_assigns(q->up.who.ask, assigns, &q->up.who);
    if (why)
        refuse(cs, &q->up, why);
    else if (q->base.about.len)
        client_question_keep(&cs->questions, &q->up.who.ask->remote, &q->base, assigns);
    return !why;
}

static void on_answer(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct connects *cs = owner;
    struct client_question *base = client_question_take(&cs->questions, tag);
    bool accepted = false;
    if (!base)
        return;
    struct question *q = container_of(base, struct question, base);
    if (outcome == CALL_RETURN) {
        accepted = judge(cs, q, value);
    } else {
        char reason[96];
        metric_inc(cs->o.metrics, METRIC_CONNECT_FAILURES);
        snprintf(reason, sizeof(reason), "the connect function %s", remote_outcome_text(outcome));
        refuse(cs, &q->up, reason);
    }
    cs->o.done(cs->o.ctx, base->client, &q->up, accepted);
    if (accepted)
        identity_init(&q->up.who); /* taken over */
    question_free(base);
}

/* Takes up over. NULL without memory or room. */
static struct question *question_new(struct connects *cs, struct upgrade *up, uint64_t *tag)
{
    struct question *q = up->key.len <= KEY_MAX ? calloc(1, sizeof(*q)) : NULL;
    if (!q)
        return NULL;
    *tag = client_question_add(&cs->questions, &q->base);
    if (*tag == HANDLE_NONE) {
        free(q);
        return NULL;
    }
    q->up = *up;
    memcpy(q->key, up->key.ptr, up->key.len);
    q->up.key = slice_make(q->key, up->key.len);
    identity_init(&up->who);
    return q;
}

/* function(Params, ConnectInfo). False when it could not be sent; *why tells. */
static bool send_question(struct connects *cs, struct question *q, const struct http_head *h,
                          const struct client_source *from, uint64_t tag, const char **why)
{
    const struct remote_function *fn = &q->up.who.ask->remote;
    struct buf *out = client_question_begin(&cs->questions, fn, 2, why);
    if (!out)
        return false;
    *why = "got parameters that are not acceptable";
    if (query_to_term(h->query, out) != BG_OK) {
        cs->o.call.abort(cs->o.call.ctx);
        return false;
    }
    remote_put_connect_info(out, h, from, buf_slice(&q->up.who.token));
    return client_question_commit(&cs->questions, fn, &q->base, on_answer, cs, tag);
}

static bool accept_known(struct connects *cs, struct upgrade *up, const struct buf *about)
{
    struct slice assigns;
    return about->len && client_question_known(&cs->questions, about, &assigns) &&
           !identity_take_assigns(up->who.ask, assigns, &up->who);
}

int connects_ask(struct connects *cs, const struct http_head *h, const struct client_source *from, struct upgrade *up,
                 uint64_t *tag)
{
    struct buf about;
    const char *why = "finds no room";
    char reason[96];
    put_about(&about, up, h);
    bool known = accept_known(cs, up, &about);
    struct question *q = known ? NULL : question_new(cs, up, tag);
    if (q) {
        metric_inc(cs->o.metrics, METRIC_CONNECT_CALLS);
        q->base.about = about;
        if (send_question(cs, q, h, from, *tag, &why))
            return BG_EMORE;
        client_question_take(&cs->questions, *tag);
    } else {
        buf_fini(&about);
    }
    if (known)
        return BG_OK;
    metric_inc(cs->o.metrics, METRIC_CONNECT_FAILURES);
    snprintf(reason, sizeof(reason), "the connect function %s", why);
    refuse(cs, q ? &q->up : up, reason);
    if (q)
        question_free(&q->base);
    return BG_EINVAL;
}

void connects_hold(struct connects *cs, uint64_t tag, handle_t client)
{
    client_question_hold(&cs->questions, tag, client);
}

void connects_forget(struct connects *cs, uint64_t tag)
{
    client_question_forget(&cs->questions, tag);
}

struct connects *connects_new(const struct connect_options *o)
{
    struct connects *cs = calloc(1, sizeof(*cs));
    if (!cs)
        return NULL;
    cs->o = *o;
    client_questions_init(&cs->questions, &o->call, o->timers, question_free);
    return cs;
}

void connects_free(struct connects *cs)
{
    if (!cs)
        return;
    client_questions_fini(&cs->questions);
    free(cs);
}
