/*
 * join.c: see join.h. Phoenix holds a whole socket up while a join runs; here only the topic waits, in the same order:
 * what came for it meanwhile (a leave, another join, events) is handled after the answer, as if it had come then.
 *
 * Invariants: a pending join is in its socket's list exactly while its call runs; it ends in one done() or is forgotten
 * with the socket. What is no clear yes is a no: a function that fails, is late or returns something else is answered
 * with "join crashed" (P-048), and why is for the log.
 */
#include "join.h"

#include <stdlib.h>

#include "log.h"
#include "remote_ask.h"
#include "slots.h"
#include "transcode.h"

enum { PENDING_MAX = 100000, QUEUE_MESSAGES_MAX = 64, QUEUE_BYTES_MAX = 64 * 1024, RESPONSE_MAX = 64 * 1024, HEADER = 5 };

struct pending_join {
    struct joins *joins;
    struct pending_join *next;
    struct join_list *list;
    void *socket;
    const struct channel_config *config;
    handle_t self;
    handle_t call;
    struct buf queue; /* messages: a byte that says whether it is binary, the length, the bytes */
    uint32_t queued;
    uint32_t topic_len, join_ref_len, ref_len;
    char text[]; /* raw JSON: topic, join_ref, ref */
};

struct joins {
    struct join_options o;
    struct slots pending;
    uint32_t turn;
};

static const struct slice crashed = SLICE_LIT("{\"reason\":\"join crashed\"}");

static struct slice topic_of(const struct pending_join *p)
{
    return slice_make(p->text, p->topic_len);
}

static struct pending_join *find(const struct join_list *l, struct slice topic)
{
    struct pending_join *p = l->first;
    while (p && !slice_eq(topic_of(p), topic))
        p = p->next;
    return p;
}

uint32_t join_count(const struct join_list *l)
{
    uint32_t n = 0;
    for (const struct pending_join *p = l->first; p; p = p->next)
        n++;
    return n;
}

bool join_waits(const struct join_list *l, struct slice topic)
{
    return l->first && find(l, topic);
}

static void pending_free(struct pending_join *p)
{
    buf_fini(&p->queue);
    free(p);
}

static void leave_list(struct pending_join *p)
{
    struct pending_join **at = &p->list->first;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
}

/* ---- the answer ---- */

/* A reply as JSON. False when the term cannot be one. */
static bool put_response(struct slice term, struct buf *out)
{
    struct err e;
    if (term_to_json(term, out, NULL, &e) == BG_OK)
        return true;
    log_limited(LOG_WARNING, "edge", "the reply of a join function cannot be sent", "reason=%s", log_text(slice_str(e.text)));
    return false;
}

static bool is_map(struct slice term)
{
    struct term_reader r = term_reader(term);
    return term_peek(&r) == TERM_MAP;
}

/* {ok, Assigns} | {ok, Reply, Assigns} | {error, Reason}. False: something else. */
static bool read_verdict(struct slice value, struct buf *response, struct join_verdict *v)
{
    struct term_reader r = term_reader(value);
    struct slice first, second = SLICE_NONE;
    uint32_t arity;
    if (term_read_tuple(&r, &arity) != BG_OK || (arity != 2 && arity != 3))
        return false;
    bool ok = term_read_is_atom(&r, "ok");
    if ((!ok && !(arity == 2 && term_read_is_atom(&r, "error"))) || term_skip(&r, &first) != BG_OK ||
        (arity == 3 && term_skip(&r, &second) != BG_OK))
        return false;
    v->accepted = ok;
    v->assigns = !ok ? SLICE_NONE : arity == 3 ? second : first;
    if (ok && !is_map(v->assigns))
        return false;
    if (ok && arity == 2)
        buf_puts(response, "{}"); /* P-046 */
    else if (!put_response(first, response))
        return false;
    v->response = buf_slice(response);
    return true;
}

static void judge(struct pending_join *p, enum call_outcome outcome, struct slice value, struct buf *response,
                  struct join_verdict *v)
{
    if (outcome == CALL_RETURN && read_verdict(value, response, v))
        return;
    metric_inc(p->joins->o.metrics, METRIC_JOIN_FAILURES);
    log_limited(LOG_WARNING, "edge", "a join function gave no answer, refusing", "topic=%s reason=\"it %s\"",
                log_text(topic_of(p)), remote_outcome_text(outcome));
    *v = (struct join_verdict){.response = crashed};
}

/* In the order in which they came; each may begin another join, which those behind it then wait for. */
static void replay(struct pending_join *p)
{
    const uint8_t *at = p->queue.data, *end = at ? at + p->queue.len : NULL;
    while (at < end) {
        size_t len = get_be32(at + 1);
        if (!p->joins->o.message(p->socket, at[0] != 0, slice_make(at + HEADER, len)))
            return;
        at += HEADER + len;
    }
}

static void on_answer(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct joins *j = owner;
    struct pending_join *p = slots_remove(&j->pending, tag);
    struct join_verdict v = {.accepted = false};
    struct buf response;
    if (!p)
        return;
    leave_list(p);
    buf_init(&response, RESPONSE_MAX);
    judge(p, outcome, value, &response, &v);
    const struct channel_frame f = {
        .topic = topic_of(p),
        .join_ref = slice_make(p->text + p->topic_len, p->join_ref_len),
        .ref = slice_make(p->text + p->topic_len + p->join_ref_len, p->ref_len),
    };
    j->o.done(p->socket, p->config, &f, &v);
    replay(p);
    buf_fini(&response);
    pending_free(p);
}

/* ---- the question ---- */

static struct pending_join *pending_new(struct joins *j, struct join_list *l, const struct channel_frame *f)
{
    struct pending_join *p = calloc(1, sizeof(*p) + f->topic.len + f->join_ref.len + f->ref.len);
    if (!p)
        return NULL;
    p->joins = j;
    p->topic_len = (uint32_t)f->topic.len;
    p->join_ref_len = (uint32_t)f->join_ref.len;
    p->ref_len = (uint32_t)f->ref.len;
    memcpy(p->text, f->topic.ptr, f->topic.len);
    memcpy(p->text + p->topic_len, f->join_ref.ptr, f->join_ref.len);
    memcpy(p->text + p->topic_len + p->join_ref_len, f->ref.ptr, f->ref.len);
    buf_init(&p->queue, QUEUE_BYTES_MAX);
    p->self = slots_add(&j->pending, p);
    if (p->self == HANDLE_NONE) {
        pending_free(p);
        return NULL;
    }
    p->next = l->first;
    l->first = p;
    p->list = l;
    return p;
}

static void put_text(struct buf *out, const char *key, struct slice text)
{
    term_put_atom(out, key);
    if (text.len)
        term_put_binary(out, text);
    else
        term_put_atom(out, "nil");
}

/* What stands for the socket: who is behind it, and what connecting has left. */
static void put_socket(struct buf *out, const struct join_asker *who)
{
    const struct session *s = who->session;
    term_put_map(out, 5);
    put_text(out, "id", who->id);
    put_text(out, "user_id", s->user_id);
    term_put_atom(out, "roles");
    term_put_list(out, s->roles_count);
    for (uint32_t i = 0; i < s->roles_count; i++)
        term_put_binary(out, s->roles[i]);
    if (s->roles_count)
        term_put_nil(out);
    put_text(out, "ip_address", s->ip_address);
    term_put_atom(out, "assigns");
    if (who->assigns.len)
        term_put_raw(out, who->assigns);
    else
        term_put_map(out, 0);
}

/* P-027: any JSON value, or {binary, Bytes}. */
static int put_payload(struct buf *out, const struct channel_frame *f)
{
    if (!f->binary)
        return json_to_term(f->payload, out, &json_limits_checked, NULL);
    term_put_tuple(out, 2);
    term_put_atom(out, "binary");
    term_put_binary(out, f->payload);
    return BG_OK;
}

static int put_arguments(struct buf *out, const struct join_asker *who, const struct channel_frame *f)
{
    struct buf topic;
    buf_init(&topic, 0);
    json_string_text(f->topic, &topic);
    term_put_binary(out, buf_slice(&topic));
    int rc = buf_ok(&topic) ? put_payload(out, f) : BG_ENOMEM;
    put_socket(out, who);
    buf_fini(&topic);
    return rc;
}

static handle_t send_question(struct joins *j, const struct pending_join *p, const struct join_asker *who,
                              const struct channel_frame *f, enum call_outcome *why)
{
    const struct call_ops *call = &j->o.call;
    const struct remote_function *fn = &p->config->join;
    struct buf *out = remote_ask_begin(call, fn, &j->turn, 3, why);
    if (!out)
        return HANDLE_NONE;
    *why = CALL_BADRPC;
    if (put_arguments(out, who, f) != BG_OK) {
        call->abort(call->ctx);
        return HANDLE_NONE;
    }
    return call->commit(call->ctx, (uint64_t)fn->timeout_ms * 1000, on_answer, j, p->self);
}

int joins_ask(struct joins *j, struct join_list *l, const struct join_asker *who, const struct channel_config *config,
              const struct channel_frame *f)
{
    enum call_outcome why = CALL_BUSY;
    struct pending_join *p = pending_new(j, l, f);
    metric_inc(j->o.metrics, METRIC_JOIN_CALLS);
    if (p) {
        p->socket = who->socket;
        p->config = config;
        p->call = send_question(j, p, who, f, &why);
        if (p->call != HANDLE_NONE)
            return BG_OK;
        slots_remove(&j->pending, p->self);
        leave_list(p);
        pending_free(p);
    }
    metric_inc(j->o.metrics, METRIC_JOIN_FAILURES);
    log_limited(LOG_WARNING, "edge", "a join function could not be asked, refusing", "topic=%s reason=\"it %s\"",
                log_text(f->topic), remote_outcome_text(why));
    return BG_EGONE;
}

int join_queue(struct join_list *l, struct slice topic, bool binary, struct slice message)
{
    struct pending_join *p = find(l, topic);
    uint8_t head[HEADER] = {binary};
    if (p->queued >= QUEUE_MESSAGES_MAX || p->queue.len + HEADER + message.len > QUEUE_BYTES_MAX)
        return BG_ELIMIT;
    size_t before = p->queue.len;
    put_be32(head + 1, (uint32_t)message.len);
    buf_add(&p->queue, head, HEADER);
    buf_add_slice(&p->queue, message);
    if (!buf_ok(&p->queue)) {
        buf_truncate(&p->queue, before);
        return BG_ENOMEM;
    }
    p->queued++;
    return BG_OK;
}

void joins_forget(struct joins *j, struct join_list *l)
{
    struct pending_join *p;
    while ((p = l->first) != NULL) {
        slots_remove(&j->pending, p->self);
        j->o.call.cancel(j->o.call.ctx, p->call);
        leave_list(p);
        pending_free(p);
    }
}

struct joins *joins_new(const struct join_options *o)
{
    struct joins *j = calloc(1, sizeof(*j));
    if (!j)
        return NULL;
    j->o = *o;
    slots_init(&j->pending, PENDING_MAX);
    return j;
}

void joins_free(struct joins *j)
{
    if (!j)
        return;
    slots_fini(&j->pending);
    free(j);
}
