/*
 * request.c: one request of one client from its frame to its answer. See request.h for the way.
 *
 * Invariants: a request that was taken (request_take) leaves through request_finish(), once; whatever ends it,
 * the client gets exactly one terminal answer, or none when its channel has gone. An answer of the cluster
 * finds its request by handle, so a late one finds nothing. The push goes before the reply (E-001).
 *
 * What it does not do: it neither reads sockets nor knows links; calls and frames go through the operations
 * given to gateway_new().
 */
#include "request.h"

#include <stdlib.h>

#include "args.h"
#include "log.h"
#include "node_selector.h"
#include "permission.h"
#include "request_decode.h"
#include "response.h"
#include "slots.h"
#include "transcode.h"

enum {
    CANDIDATES_MAX = 32,         /* nodes tried for one request */
    KEEP_BYTES = 1024,           /* memory a pooled request keeps in each buffer */
    POOL_MAX = 1024,             /* pooled requests */
    TIMEOUT_INFINITY_MS = 25000, /* E-181 */
    INSPECT_MAX = 2048           /* bytes of an inspected reason */
};

/* Bytes of a request's text buffer. */
struct span {
    uint32_t at;
    uint32_t len;
};

struct request {
    struct list in_channel;
    struct request_list *waiting; /* NULL while the request has not been dispatched */
    struct request *next_free;
    handle_t self; /* HANDLE_NONE for the spare, which only carries a refusal */
    handle_t channel;
    handle_t call;
    struct fun_config *fc;
    struct buf text; /* the raw JSON of ref, request_id and request_type */
    struct span ref;
    struct span request_id;
    struct span request_type;
    struct buf args; /* the call's argument terms, kept for the next node */
    uint32_t args_count;
    uint16_t candidate_count;
    uint16_t candidate_next;
    uint16_t candidate[CANDIDATES_MAX]; /* indices into fc->nodes, in the order to try */
};

struct gateway {
    struct gateway_options o;
    struct node_selector *selector;
    struct slots requests;
    struct request *pool;
    uint32_t pooled;
    struct request spare; /* for the answer to a request that found no place */
    /* Texts of the request being decoded, escapes resolved, and the text of its error. */
    struct buf service;
    struct buf type;
    struct buf version;
    struct buf user;
    struct buf message;
};

/* A request while it is being decoded: what the record does not keep. */
struct asked {
    struct request_fields f;
    const struct session *who;
    bool overridden; /* E-002: the session's user id takes the place of the payload's */
};

static const char internal_error[] = "Internal Server Error";
static const char unavailable[] = "Service temporarily unavailable";

void gateway_options_default(struct gateway_options *o)
{
    *o = (struct gateway_options){
        .json = json_limits_default,
        .max_in_flight = 100000,
        .max_in_flight_per_channel = 1000,
        .max_payload_bytes = 1000000,
        .string_max_bytes = 3000,
        .list_max_items = 1000,
        .map_max_items = 1000,
    };
}

struct gateway *gateway_new(const struct gateway_options *o)
{
    struct gateway *gw = calloc(1, sizeof(*gw));
    struct node_selector *selector = node_selector_new();
    if (!gw || !selector) {
        node_selector_free(selector);
        free(gw);
        return NULL;
    }
    gw->o = *o;
    gw->selector = selector;
    slots_init(&gw->requests, o->max_in_flight);
    list_init(&gw->spare.in_channel);
    return gw;
}

static void request_fini(struct request *r)
{
    fun_config_unref(r->fc);
    r->fc = NULL;
    buf_fini(&r->text);
    buf_fini(&r->args);
}

void gateway_free(struct gateway *gw)
{
    if (!gw)
        return;
    struct request *r;
    for (uint32_t pos = 0; (r = slots_next(&gw->requests, &pos, NULL)) != NULL; free(r)) {
        list_remove(&r->in_channel);
        request_fini(r);
    }
    while ((r = gw->pool) != NULL) {
        gw->pool = r->next_free;
        request_fini(r);
        free(r);
    }
    request_fini(&gw->spare);
    slots_fini(&gw->requests);
    node_selector_free(gw->selector);
    struct buf *const texts[] = {&gw->service, &gw->type, &gw->version, &gw->user, &gw->message};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        buf_fini(texts[i]);
    free(gw);
}

uint32_t gateway_in_flight(const struct gateway *gw)
{
    return gw->requests.count;
}

/* -- the life of a request record ------------------------------------------------------------- */

static struct request *pool_take(struct gateway *gw)
{
    struct request *r = gw->pool;
    if (!r) {
        r = calloc(1, sizeof(*r));
        if (r)
            list_init(&r->in_channel);
        return r;
    }
    gw->pool = r->next_free;
    gw->pooled--;
    return r;
}

static void pool_give(struct gateway *gw, struct request *r)
{
    if (gw->pooled >= POOL_MAX) {
        request_fini(r);
        free(r);
        return;
    }
    r->next_free = gw->pool;
    gw->pool = r;
    gw->pooled++;
}

/* A record for a new request; the spare, which has no handle, when a bound is reached. */
static struct request *request_take(struct gateway *gw, handle_t channel, const struct request_list *waiting)
{
    struct request *r = waiting->count < gw->o.max_in_flight_per_channel ? pool_take(gw) : NULL;
    handle_t self = r ? slots_add(&gw->requests, r) : HANDLE_NONE;
    if (r && self == HANDLE_NONE)
        pool_give(gw, r);
    if (self == HANDLE_NONE)
        r = &gw->spare;
    r->self = self;
    r->channel = channel;
    r->call = HANDLE_NONE;
    r->candidate_count = r->candidate_next = 0;
    buf_reset(&r->text);
    buf_reset(&r->args);
    return r;
}

/* The one exit: whoever ends a request has sent its terminal answer, or knows that nobody is there to get it. */
static void request_finish(struct gateway *gw, struct request *r)
{
    if (r->waiting) {
        list_remove(&r->in_channel);
        r->waiting->count--;
        r->waiting = NULL;
        metric_dec(gw->o.metrics, METRIC_REQUESTS_IN_FLIGHT);
    }
    fun_config_unref(r->fc);
    r->fc = NULL;
    buf_shrink(&r->text, KEEP_BYTES);
    buf_shrink(&r->args, KEEP_BYTES);
    if (r->self == HANDLE_NONE)
        return;
    slots_remove(&gw->requests, r->self);
    r->self = HANDLE_NONE;
    pool_give(gw, r);
}

static struct span text_keep(struct request *r, struct slice raw)
{
    struct span s = {(uint32_t)r->text.len, (uint32_t)raw.len};
    buf_add_slice(&r->text, raw);
    return s;
}

static struct slice text_get(const struct request *r, struct span s)
{
    if (!buf_ok(&r->text))
        return SLICE_LIT("null");
    return slice_make(r->text.data + s.at, s.len);
}

/* -- frames ----------------------------------------------------------------------------------- */

/* Pushes one Response. Not 0: it cannot be sent, and nothing was. */
static int push_response(struct gateway *gw, const struct request *r, const struct response *resp, struct err *e)
{
    const struct client_ops *client = &gw->o.client;
    struct buf *out = client->push_begin(client->ctx, r->channel);
    if (!out)
        return BG_OK;
    int rc = response_put(out, text_get(r, r->request_id), resp, e);
    client->push_end(client->ctx, r->channel, rc == BG_OK);
    return rc;
}

static void push_error(struct gateway *gw, const struct request *r, struct slice text, bool can_retry)
{
    struct response resp = {.error = text, .can_retry = can_retry};
    (void)push_response(gw, r, &resp, NULL);
}

static void reply_ok(struct gateway *gw, const struct request *r)
{
    gw->o.client.reply(gw->o.client.ctx, r->channel, text_get(r, r->ref), "ok", text_get(r, r->request_type));
}

static void reply_error(struct gateway *gw, const struct request *r, struct slice text)
{
    struct buf json;
    buf_init(&json, 0);
    json_put_text(&json, text);
    gw->o.client.reply(gw->o.client.ctx, r->channel, text_get(r, r->ref), "error",
                       buf_ok(&json) ? buf_slice(&json) : SLICE_LIT("null"));
    buf_fini(&json);
}

/* -- terminal answers -------------------------------------------------------------------------- */

/* Not run at all: an error push, and a reply with status error and the reason (E-003, E-007, E-008). */
static void finish_not_run(struct gateway *gw, struct request *r, struct slice pushed, struct slice reason)
{
    metric_inc(gw->o.metrics, METRIC_REQUESTS_ERROR);
    push_error(gw, r, pushed, false);
    reply_error(gw, r, reason);
    request_finish(gw, r);
}

/* E-007. */
static void finish_invalid(struct gateway *gw, struct request *r, struct slice reason)
{
    struct buf text;
    buf_init(&text, 0);
    buf_puts(&text, "Invalid request: ");
    buf_add_slice(&text, reason);
    finish_not_run(gw, r, buf_slice(&text), reason);
    buf_fini(&text);
}

/* async, stream and none have had their reply when they were dispatched. */
static bool owes_reply(const struct request *r)
{
    return !r->waiting || r->fc->response_type == RESPONSE_SYNC;
}

/* An error Response, and the reply with status ok where it is still owed (E-005). Once none has been
 * dispatched nobody listens (E-137). */
static void finish_error(struct gateway *gw, struct request *r, struct slice text, bool can_retry)
{
    bool owed = owes_reply(r);
    metric_inc(gw->o.metrics, METRIC_REQUESTS_ERROR);
    if (owed || r->fc->response_type != RESPONSE_NONE)
        push_error(gw, r, text, can_retry);
    if (owed)
        reply_ok(gw, r);
    request_finish(gw, r);
}

static void log_problem(const struct request *r, const char *msg, struct slice value)
{
    struct buf text;
    buf_init(&text, INSPECT_MAX);
    if (value.len)
        term_inspect(value, &text, INSPECT_MAX / 2);
    log_limited(LOG_WARNING, "request", msg, "service=%s request_type=%s reason=%s", log_text(r->fc->service),
                log_text(r->fc->request_type), log_text(buf_slice(&text)));
    buf_fini(&text);
}

/* E-200: a value. One that cannot be sent becomes an error (E-010 want). */
static void finish_value(struct gateway *gw, struct request *r, struct slice value)
{
    struct err e;
    struct response resp = {.result_term = value};
    if (r->fc->response_type != RESPONSE_NONE && push_response(gw, r, &resp, &e) != BG_OK) {
        log_limited(LOG_WARNING, "request", "result cannot be sent", "service=%s request_type=%s reason=\"%s\"",
                    log_text(r->fc->service), log_text(r->fc->request_type), e.text);
        finish_error(gw, r, SLICE_LIT(internal_error), false);
        return;
    }
    metric_inc(gw->o.metrics, METRIC_REQUESTS_OK);
    if (owes_reply(r))
        reply_ok(gw, r);
    request_finish(gw, r);
}

/* {error, Reason} (E-201); a text the service gave may reach the client where the operator allows it (E-204). */
static void finish_failure(struct gateway *gw, struct request *r, struct slice reason, bool from_service)
{
    struct slice given;
    if (from_service && gw->o.pass_error_reason && term_text(reason, &given)) {
        finish_error(gw, r, given, false);
        return;
    }
    struct buf text;
    buf_init(&text, 0);
    buf_puts(&text, internal_error);
    if (gw->o.detail_error) {
        buf_puts(&text, ": {:error, ");
        if (reason.len)
            term_inspect(reason, &text, INSPECT_MAX);
        else
            buf_puts(&text, ":retry_exhausted");
        buf_putc(&text, '}');
    }
    finish_error(gw, r, buf_slice(&text), false);
    buf_fini(&text);
}

/* {tag, second} or {tag, second, ...}. */
static bool tuple_element(struct slice value, const char *tag, uint32_t *arity, struct slice *second)
{
    struct term_reader t = term_reader(value);
    if (term_read_tagged(&t, tag, arity) != BG_OK || *arity < 2)
        return false;
    return (*arity == 2 ? term_read_last(&t, second) : term_skip(&t, second)) == BG_OK;
}

/* E-200..E-202: a tuple is {ok, X}, {error, R}, {error, A, B} (E-193), or nothing that a client could use. */
static void finish_tuple(struct gateway *gw, struct request *r, struct slice value)
{
    uint32_t arity;
    struct slice second;
    if (tuple_element(value, "ok", &arity, &second) && arity == 2) {
        finish_value(gw, r, second);
    } else if (tuple_element(value, "error", &arity, &second) && arity <= 3) {
        log_problem(r, "function returned an error", value);
        finish_failure(gw, r, second, true);
    } else {
        log_problem(r, "function returned a tuple that is neither ok nor error", value);
        finish_error(gw, r, SLICE_LIT("Unexpected execution result"), false);
    }
}

/* -- the call ---------------------------------------------------------------------------------- */

static void call_next(struct gateway *gw, struct request *r, struct slice last_reason);

static const char *const outcome_text[] = {
    [CALL_RETURN] = "ok",
    [CALL_EXIT] = "function failed on the service node",
    [CALL_BADRPC] = "call failed on the service node",
    [CALL_TIMEOUT] = "call timed out",
    [CALL_NODEDOWN] = "connection to the service node was lost",
    [CALL_BUSY] = "too much waits for the service node",
};

/* The owner and tag of a call are the gateway and the request's handle. A function that may have run is not run
 * again on another node unless the operator chose the library's way (E-182). */
static void on_call_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct gateway *gw = owner;
    struct request *r = slots_get(&gw->requests, tag);
    if (!r)
        return;
    r->call = HANDLE_NONE;
    if (outcome != CALL_RETURN) {
        log_problem(r, outcome_text[outcome], value);
        if (outcome == CALL_NODEDOWN || gw->o.fallback_on_exit)
            call_next(gw, r, value);
        else
            finish_failure(gw, r, value, false);
        return;
    }
    struct term_reader t = term_reader(value);
    if (term_peek(&t) == TERM_TUPLE)
        finish_tuple(gw, r, value);
    else
        finish_value(gw, r, value);
}

/* Sends the call to one node. False when that node cannot take it: nothing was sent. */
static bool call_node(struct gateway *gw, struct request *r, struct slice node, enum call_outcome *why)
{
    const struct call_ops *call = &gw->o.call;
    const struct fun_config *fc = r->fc;
    struct buf *out = call->begin(call->ctx, node, fc->mfa.module, fc->mfa.function, r->args_count, why);
    if (!out)
        return false;
    buf_add_slice(out, buf_slice(&r->args));
    uint32_t timeout_ms = fc->timeout_ms ? fc->timeout_ms : TIMEOUT_INFINITY_MS;
    r->call = call->commit(call->ctx, (uint64_t)timeout_ms * 1000, on_call_done, gw, r->self);
    *why = CALL_BUSY;
    return r->call != HANDLE_NONE;
}

/* Tries the candidates that are left, in order; with none left the request ends. */
static void call_next(struct gateway *gw, struct request *r, struct slice last_reason)
{
    enum call_outcome why = CALL_NODEDOWN;
    while (r->candidate_next < r->candidate_count) {
        bool again = r->candidate_next > 0;
        struct slice node = r->fc->nodes[r->candidate[r->candidate_next++]];
        if (!call_node(gw, r, node, &why))
            continue;
        if (again)
            metric_inc(gw->o.metrics, METRIC_CALLS_FALLOVER);
        return;
    }
    if (why == CALL_BUSY) {
        metric_inc(gw->o.metrics, METRIC_REQUESTS_REFUSED);
        finish_error(gw, r, SLICE_LIT(unavailable), true);
        return;
    }
    log_limited(LOG_WARNING, "request", "no service node could be reached",
                "service=%s request_type=%s nodes=%u hint=\"is the service node up, and its name in the FunConfig right?\"",
                log_text(r->fc->service), log_text(r->fc->request_type), r->fc->nodes_count);
    finish_failure(gw, r, last_reason, false);
}

/* -- stages ------------------------------------------------------------------------------------ */

/* Text of a raw string, escapes resolved into room; anything else gives its raw text. */
static struct slice raw_text(struct slice raw, struct buf *room)
{
    struct slice text;
    if (!raw.ptr || json_kind(raw) != JSON_STRING)
        return raw;
    if (json_string_plain(raw, &text))
        return text;
    buf_reset(room);
    json_string_text(raw, room);
    return buf_slice(room);
}

/* E-034. */
static void finish_no_function(struct gateway *gw, struct request *r, const char *what, struct slice type, struct slice version)
{
    struct buf text;
    buf_init(&text, 0);
    buf_printf(&text, "%s function: ", what);
    buf_add_slice(&text, type);
    buf_puts(&text, " version ");
    buf_add_slice(&text, version.ptr ? version : SLICE_LIT("latest"));
    finish_error(gw, r, buf_slice(&text), false);
    buf_fini(&text);
}

/* E-030..E-034: finds the config, or ends the request. */
static bool find_config(struct gateway *gw, struct request *r, const struct request_fields *f)
{
    struct slice service = raw_text(f->service, &gw->service);
    struct slice type = raw_text(f->request_type, &gw->type);
    struct slice version = raw_text(f->version, &gw->version);
    struct fun_config *fc = NULL;
    bool named = json_kind(f->service) == JSON_STRING && (!f->version.ptr || json_kind(f->version) == JSON_STRING);
    enum config_lookup found = named ? config_db_find(gw->o.db, service, type, version, &fc) : CONFIG_NOT_FOUND;
    if (found == CONFIG_FOUND) {
        r->fc = fun_config_ref(fc);
        return true;
    }
    finish_no_function(gw, r, found == CONFIG_DISABLED ? "disabled" : "unsupported", type, version);
    return false;
}

/* What this version cannot do for a config is refused, never skipped: a hook or a callback may be what guards
 * the function. NULL when there is nothing of the kind. */
static const char *not_built(const struct fun_config *fc)
{
    if (fc->before_execute.present || fc->after_execute.present)
        return "before_execute or after_execute";
    if (fc->permission_callback.present)
        return "permission_callback";
    if (fc->nodes_kind != NODES_LIST)
        return "nodes as {M, F, A}";
    if (fc->response_type == RESPONSE_STREAM)
        return "response_type :stream";
    return NULL;
}

static bool refuse_not_built(struct gateway *gw, struct request *r)
{
    const char *what = not_built(r->fc);
    if (!what)
        return false;
    log_limited(LOG_WARNING, "request", "function needs what this version does not do yet",
                "service=%s request_type=%s needs=\"%s\"", log_text(r->fc->service), log_text(r->fc->request_type), what);
    finish_error(gw, r, SLICE_LIT(internal_error), false);
    return true;
}

static void put_raw_or_nil(struct buf *out, struct slice raw, const struct json_limits *lim)
{
    if (!raw.ptr || json_to_term(raw, out, lim, NULL) != BG_OK)
        term_put_atom(out, "nil");
}

/* E-132. */
static void put_request_info(struct gateway *gw, struct buf *out, const struct asked *a)
{
    term_put_map(out, 3);
    term_put_atom(out, "request_id");
    put_raw_or_nil(out, a->f.request_id, &gw->o.json);
    term_put_atom(out, "user_id");
    if (a->overridden)
        term_put_binary(out, a->who->user_id);
    else
        put_raw_or_nil(out, a->f.user_id, &gw->o.json);
    term_put_atom(out, "device_id");
    put_raw_or_nil(out, a->f.device_id, &gw->o.json);
}

/* E-131: the MFA's own arguments, the client's, request_info. On BG_EINVAL the text for the client is in gw->message. */
static int build_args(struct gateway *gw, struct request *r, const struct asked *a)
{
    const struct fun_config *fc = r->fc;
    const struct args_limits lim = {gw->o.string_max_bytes, gw->o.list_max_items, gw->o.map_max_items, gw->o.json};
    uint32_t count = 0;
    buf_add_slice(&r->args, fc->mfa.args);
    buf_reset(&gw->message);
    int rc = args_build(fc, a->f.args, &lim, &r->args, &count, &gw->message);
    if (rc != BG_OK)
        return rc;
    if (fc->request_info)
        put_request_info(gw, &r->args, a);
    r->args_count = fc->mfa.args_count + count + (fc->request_info ? 1 : 0);
    return buf_ok(&r->args) ? BG_OK : BG_ENOMEM;
}

/* Bad arguments: sync tells in the reply (E-008), the others in a push after the acknowledgement (E-140 want). */
static void finish_bad_args(struct gateway *gw, struct request *r, int rc)
{
    struct slice text = rc == BG_EINVAL ? buf_slice(&gw->message) : SLICE_LIT("the arguments are too large");
    if (r->fc->response_type == RESPONSE_SYNC)
        finish_not_run(gw, r, SLICE_LIT("Request processing failed"), text);
    else
        finish_error(gw, r, text, false);
}

/* The request is accepted: it waits from now on. async and none are answered before the work is done (E-136, E-137). */
static void dispatch(struct gateway *gw, struct request *r, struct request_list *waiting)
{
    struct response ack = {.async = true};
    if (r->fc->response_type == RESPONSE_ASYNC)
        (void)push_response(gw, r, &ack, NULL);
    if (r->fc->response_type != RESPONSE_SYNC)
        reply_ok(gw, r);
    list_append(&waiting->head, &r->in_channel);
    waiting->count++;
    r->waiting = waiting;
    metric_inc(gw->o.metrics, METRIC_REQUESTS_IN_FLIGHT);
}

static bool node_up(void *ctx, struct slice node)
{
    const struct gateway *gw = ctx;
    return gw->o.call.node_up(gw->o.call.ctx, node);
}

/* E-160..E-169. */
static void choose_nodes(struct gateway *gw, struct request *r, const struct asked *a)
{
    const struct node_choice choice = {
        .request_id = a->f.request_id,
        .user_id = a->f.user_id,
        .device_id = a->f.device_id,
        .service = a->f.service,
        .request_type = a->f.request_type,
        .version = a->f.version,
        .args = a->f.args,
        .session_user = a->overridden ? a->who->user_id : SLICE_NONE,
        .now_us = gw->o.timers->now_us,
        .node_up = node_up,
        .ctx = gw,
    };
    r->candidate_count = (uint16_t)node_selector_choose(gw->selector, r->fc, &choice, r->candidate, CANDIDATES_MAX);
}

/* The user id as permissions see it: text, empty when there is none or it is no string (E-051). */
static struct slice effective_user(struct gateway *gw, const struct asked *a)
{
    if (a->overridden)
        return a->who->user_id;
    if (!a->f.user_id.ptr || json_kind(a->f.user_id) != JSON_STRING)
        return SLICE_NONE;
    return raw_text(a->f.user_id, &gw->user);
}

/* From a decoded request to its call. Every way out has answered or waits for the call. */
static void request_run(struct gateway *gw, struct request *r, struct request_list *waiting, const struct asked *a)
{
    if (!find_config(gw, r, &a->f) || refuse_not_built(gw, r))
        return;
    if (!permission_allows(r->fc, effective_user(gw, a), a->who->roles, a->who->roles_count, a->f.args)) {
        finish_error(gw, r, SLICE_LIT("Permission denied"), false);
        return;
    }
    if (r->self == HANDLE_NONE) {
        metric_inc(gw->o.metrics, METRIC_REQUESTS_REFUSED);
        finish_error(gw, r, SLICE_LIT(unavailable), true);
        return;
    }
    dispatch(gw, r, waiting);
    int rc = build_args(gw, r, a);
    if (rc != BG_OK) {
        finish_bad_args(gw, r, rc);
        return;
    }
    choose_nodes(gw, r, a);
    call_next(gw, r, SLICE_NONE);
}

/* E-003, E-007, E-009, E-020..E-022: what is refused before a config is looked up. True when it was. */
static bool refuse_undecodable(struct gateway *gw, struct request *r, struct slice payload, const struct asked *a,
                               const struct channel_rules *rules)
{
    struct slice user = a->overridden ? a->who->user_id : SLICE_NONE;
    if (rules->require_verified_user_id && a->who->user_id.len == 0) {
        finish_not_run(gw, r, SLICE_LIT("Authentication required"), SLICE_LIT("Authentication required"));
        return true;
    }
    if (!payload.ptr || json_kind(payload) != JSON_OBJECT) {
        finish_invalid(gw, r, SLICE_LIT("the payload must be a JSON object"));
        return true;
    }
    if (request_size_check(payload, &a->f, user, gw->o.max_payload_bytes, &gw->o.json, &gw->message) == BG_OK &&
        request_fields_check(&a->f, &gw->message) == BG_OK)
        return false;
    finish_invalid(gw, r, buf_slice(&gw->message));
    return true;
}

void gateway_request(struct gateway *gw, handle_t channel, struct request_list *waiting, const struct session *who,
                     const struct channel_rules *rules, struct slice ref, struct slice payload)
{
    struct asked a = {.who = who, .overridden = rules->override_user_id && who->user_id.len > 0};
    struct request *r = request_take(gw, channel, waiting);
    metric_inc(gw->o.metrics, METRIC_REQUESTS);
    if (payload.ptr && json_kind(payload) == JSON_OBJECT)
        request_fields_read(payload, &a.f);
    r->ref = text_keep(r, ref);
    r->request_id = text_keep(r, request_id_usable(a.f.request_id) ? a.f.request_id : SLICE_LIT("\"unknown\""));
    r->request_type = text_keep(r, a.f.request_type.ptr ? a.f.request_type : SLICE_LIT("null"));
    if (!refuse_undecodable(gw, r, payload, &a, rules))
        request_run(gw, r, waiting, &a);
}

void gateway_channel_closed(struct gateway *gw, struct request_list *waiting)
{
    struct list *it, *next;
    list_each_safe(it, next, &waiting->head)
    {
        struct request *r = container_of(it, struct request, in_channel);
        gw->o.call.cancel(gw->o.call.ctx, r->call);
        metric_inc(gw->o.metrics, METRIC_REQUESTS_DROPPED);
        request_finish(gw, r);
    }
}
