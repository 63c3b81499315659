/*
 * connect.c: see connect.h.
 *
 * Invariants: a question is in `waiting` exactly while its call is; each ends in one done() or is forgotten, since the
 * call always ends (remote_call.h). Only a plain {ok, Assigns} lets a client in. The cache's key is everything that the
 * function should have looked at to be cached: parameters and token.
 */
#include "connect.h"

#include <stdlib.h>

#include "log.h"
#include "query_term.h"
#include "remote_ask.h"
#include "slots.h"
#include "yes_cache.h"

enum { WAITING_MAX = 100000, KEY_MAX = 64, REASON_MAX = 200 };

struct question {
    struct upgrade up;
    char key[KEY_MAX]; /* up.key points here: the request head has gone */
    handle_t call;
    handle_t client;
    struct buf about; /* the cache's key; empty: not to be kept */
};

struct connects {
    struct connect_options o;
    struct slots waiting;
    uint32_t turn;
    struct yes_cache known; /* with the assigns */
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

static void question_free(struct question *q)
{
    identity_fini(&q->up.who);
    buf_fini(&q->about);
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
    else if (q->about.len)
        yes_cache_keep(&cs->known, &q->about, assigns,
                       cs->o.timers->now_us + (uint64_t)q->up.who.ask->remote.cache_ms * 1000);
    return !why;
}

static void on_answer(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct connects *cs = owner;
    struct question *q = slots_remove(&cs->waiting, tag);
    bool accepted = false;
    if (!q)
        return;
    if (outcome == CALL_RETURN) {
        accepted = judge(cs, q, value);
    } else {
        char reason[96];
        metric_inc(cs->o.metrics, METRIC_CONNECT_FAILURES);
        snprintf(reason, sizeof(reason), "the connect function %s", remote_outcome_text(outcome));
        refuse(cs, &q->up, reason);
    }
    cs->o.done(cs->o.ctx, q->client, &q->up, accepted);
    if (accepted)
        identity_init(&q->up.who); /* taken over */
    question_free(q);
}

/* Takes up over. NULL without memory or room. */
static struct question *question_new(struct connects *cs, struct upgrade *up, uint64_t *tag)
{
    struct question *q = up->key.len <= KEY_MAX ? calloc(1, sizeof(*q)) : NULL;
    if (!q)
        return NULL;
    *tag = slots_add(&cs->waiting, q);
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

/* function(Params, ConnectInfo). HANDLE_NONE when it could not be sent; *why tells. */
static handle_t send_question(struct connects *cs, const struct question *q, const struct http_head *h,
                              const struct client_source *from, uint64_t tag, const char **why)
{
    const struct call_ops *call = &cs->o.call;
    const struct remote_function *fn = &q->up.who.ask->remote;
    enum call_outcome outcome;
    struct buf *out = remote_ask_begin(call, fn, &cs->turn, 2, &outcome);
    if (!out) {
        *why = remote_outcome_text(outcome);
        return HANDLE_NONE;
    }
    *why = "got parameters that are not acceptable";
    if (query_to_term(h->query, out) != BG_OK) {
        call->abort(call->ctx);
        return HANDLE_NONE;
    }
    remote_put_connect_info(out, h, from, buf_slice(&q->up.who.token));
    return call->commit(call->ctx, (uint64_t)fn->timeout_ms * 1000, on_answer, cs, tag);
}

static bool accept_known(struct connects *cs, struct upgrade *up, const struct buf *about)
{
    struct slice assigns;
    return about->len && yes_cache_find(&cs->known, buf_slice(about), cs->o.timers->now_us, &assigns) &&
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
        q->about = about;
        q->call = send_question(cs, q, h, from, *tag, &why);
        if (q->call != HANDLE_NONE)
            return BG_EMORE;
        slots_remove(&cs->waiting, *tag);
    } else {
        buf_fini(&about);
    }
    if (known)
        return BG_OK;
    metric_inc(cs->o.metrics, METRIC_CONNECT_FAILURES);
    snprintf(reason, sizeof(reason), "the connect function %s", why);
    refuse(cs, q ? &q->up : up, reason);
    if (q)
        question_free(q);
    return BG_EINVAL;
}

void connects_hold(struct connects *cs, uint64_t tag, handle_t client)
{
    struct question *q = slots_get(&cs->waiting, tag);
    if (q && client == HANDLE_NONE)
        connects_forget(cs, tag);
    else if (q)
        q->client = client;
}

void connects_forget(struct connects *cs, uint64_t tag)
{
    struct question *q = slots_remove(&cs->waiting, tag);
    if (!q)
        return;
    cs->o.call.cancel(cs->o.call.ctx, q->call);
    question_free(q);
}

struct connects *connects_new(const struct connect_options *o)
{
    struct connects *cs = calloc(1, sizeof(*cs));
    if (!cs)
        return NULL;
    cs->o = *o;
    slots_init(&cs->waiting, WAITING_MAX);
    yes_cache_init(&cs->known);
    return cs;
}

void connects_free(struct connects *cs)
{
    uint32_t pos = 0;
    handle_t h;
    if (!cs)
        return;
    while (slots_next(&cs->waiting, &pos, &h))
        connects_forget(cs, h);
    slots_fini(&cs->waiting);
    yes_cache_fini(&cs->known);
    free(cs);
}
