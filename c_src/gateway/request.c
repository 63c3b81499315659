/*
 * request.c: one request of one client from its frame to its call: the record's life and the stages in their
 * order (E-037). See request.h for the whole way and request_internal.h for the other files.
 *
 * Invariants: a request that was taken (request_take) leaves through request_finish(), once; whatever ends it,
 * the client gets exactly one terminal answer, or none when its channel has gone. An answer of the cluster
 * finds its request by handle, so a late one finds nothing.
 *
 * What it does not do: it neither reads sockets nor knows links; calls and frames go through the operations
 * given to gateway_new().
 */
#include "request.h"

#include <stdlib.h>

#include "args.h"
#include "breaker.h"
#include "permission.h"
#include "request_internal.h"
#include "transcode.h"

enum {
    KEEP_BYTES = 1024, /* memory a pooled request keeps in each buffer */
    POOL_MAX = 1024    /* pooled requests */
};

void gateway_options_default(struct gateway_options *o)
{
    *o = (struct gateway_options){
        .json = json_limits_default,
        .max_in_flight = 100000,
        .max_in_flight_per_channel = 1000,
        .max_payload_bytes = 1000000,
        .breaker_threshold = 5,
        .breaker_cooldown_ms = 5000,
        .nodes_cache_ms = 7000,
        .async_limit = 1000,
        .async_queue = 10000,
        .string_max_bytes = 3000,
        .list_max_items = 1000,
        .map_max_items = 1000,
    };
}

struct gateway *gateway_new(const struct gateway_options *o)
{
    struct gateway *gw = calloc(1, sizeof(*gw));
    struct node_selector *selector = node_selector_new();
    struct breakers *breakers = breakers_new(o->breaker_threshold, (uint64_t)o->breaker_cooldown_ms * 1000);
    if (!gw || !selector || !breakers) {
        node_selector_free(selector);
        breakers_free(breakers);
        free(gw);
        return NULL;
    }
    gw->breakers = breakers;
    gw->o = *o;
    gw->selector = selector;
    gw->telemetry = o->telemetry ? o->telemetry : &gw->nobody;
    list_init(&gw->told_hooks);
    slots_init(&gw->requests, GATEWAY_IN_FLIGHT_MAX);
    list_init(&gw->async_queue);
    list_init(&gw->spare.in_channel);
    list_init(&gw->spare.in_queue);
    gw->spare.gw = gw;
    return gw;
}

static void request_fini(struct request *r)
{
    timer_disarm(r->gw->o.timers, &r->timer);
    fun_config_unref(r->fc);
    r->fc = NULL;
    node_list_unref(r->nodes);
    r->nodes = NULL;
    buf_fini(&r->text);
    buf_fini(&r->args);
    buf_fini(&r->early);
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
    while (!list_empty(&gw->told_hooks))
        told_hook_free(container_of(gw->told_hooks.next, struct told_hook, all));
    request_fini(&gw->spare);
    node_lists_forget(gw);
    slots_fini(&gw->requests);
    node_selector_free(gw->selector);
    breakers_free(gw->breakers);
    struct buf *const texts[] = {&gw->service, &gw->type, &gw->version, &gw->user, &gw->message};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        buf_fini(texts[i]);
    free(gw);
}

const struct breakers *gateway_breakers(const struct gateway *gw)
{
    return gw->breakers;
}

const struct node_selector *gateway_node_selector(const struct gateway *gw)
{
    return gw->selector;
}

struct node_selector *gateway_selector(struct gateway *gw)
{
    return gw->selector;
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
        if (!r)
            return NULL;
        list_init(&r->in_channel);
        list_init(&r->in_queue);
        r->gw = gw;
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

/* True when a limit says no; without limits the bounds of all and of the channel are all there is. */
static bool refuse_at(const struct gateway *gw, enum limit which, const struct session *who)
{
    return !gw->o.limits || limit_refuse(gw->o.limits, which, 0, who->ip_address);
}

/* Whether all together, the channel, its socket and its user may have one more in flight. */
static bool has_room(const struct gateway *gw, const struct request_list *waiting, const struct session *who)
{
    if (gw->requests.count >= gw->o.max_in_flight && refuse_at(gw, LIMIT_IN_FLIGHT, who))
        return false;
    if (waiting->count >= gw->o.max_in_flight_per_channel && refuse_at(gw, LIMIT_CHANNEL_IN_FLIGHT, who))
        return false;
    for (unsigned i = 0; i < REQUEST_QUOTAS && gw->o.limits; i++) {
        const struct request_quota *q = waiting->quota[i];
        if (q && q->count >= gw->o.limits->value[q->limit] && refuse_at(gw, q->limit, who))
            return false;
    }
    return true;
}

static void count_in_flight(struct request_list *waiting, int by)
{
    waiting->count += (uint32_t)by;
    for (unsigned i = 0; i < REQUEST_QUOTAS; i++)
        if (waiting->quota[i])
            waiting->quota[i]->count += (uint32_t)by;
}

/* A record for a new request; the spare, which has no handle, when a bound is reached. */
static struct request *request_take(struct gateway *gw, handle_t channel, const struct request_list *waiting,
                                    const struct session *who)
{
    struct request *r = has_room(gw, waiting, who) ? pool_take(gw) : NULL;
    handle_t self = r ? slots_add(&gw->requests, r) : HANDLE_NONE;
    if (r && self == HANDLE_NONE)
        pool_give(gw, r);
    if (self == HANDLE_NONE)
        r = &gw->spare;
    r->self = self;
    r->channel = channel;
    r->call = r->stream = HANDLE_NONE;
    r->stage = 0;
    r->traced = 0;
    r->told = false;
    r->dispatched = r->hooked = r->roles_given = r->failed = false;
    r->round = r->args_count = 0;
    r->payload = (struct span){0, 0};
    r->candidate_count = r->candidate_next = 0;
    buf_reset(&r->text);
    buf_reset(&r->args);
    return r;
}

struct request *request_find(const struct gateway *gw, uint64_t tag)
{
    return slots_get(&gw->requests, tag);
}

static void leave_channel(struct request *r)
{
    if (!list_linked(&r->in_channel))
        return;
    list_remove(&r->in_channel);
    count_in_flight(r->waiting, -1);
    metric_dec(r->gw->o.metrics, METRIC_REQUESTS_IN_FLIGHT);
}

void request_finish(struct request *r)
{
    struct gateway *gw = r->gw;
    if (r->traced)
        trace_end(r);
    timer_disarm(gw->o.timers, &r->timer);
    /* A stream may end, and a client leave, while a call is on its way. */
    call_cancel(r);
    leave_channel(r);
    if (r->stream != HANDLE_NONE)
        stream_release(r);
    fun_config_unref(r->fc);
    r->fc = NULL;
    node_list_unref(r->nodes);
    r->nodes = NULL;
    buf_shrink(&r->text, KEEP_BYTES);
    buf_shrink(&r->args, KEEP_BYTES);
    if (r->self == HANDLE_NONE)
        return;
    slots_remove(&gw->requests, r->self);
    r->self = HANDLE_NONE;
    call_release(r); /* may start other requests: the record is out of the way by now */
    pool_give(gw, r);
}

struct span request_keep(struct request *r, struct slice raw)
{
    struct span s = {(uint32_t)r->text.len, (uint32_t)raw.len};
    buf_add_slice(&r->text, raw);
    return s;
}

struct slice request_text(const struct request *r, struct span s)
{
    if (!buf_ok(&r->text))
        return SLICE_LIT("null");
    return slice_make(r->text.data + s.at, s.len);
}

/* -- stages: true to go on, false when the request waits or has been answered ------------------- */

/* Text of a raw string, escapes resolved into room; anything else gives its raw text. */
static struct slice raw_text(struct slice raw, struct buf *room)
{
    return json_kind(raw) == JSON_STRING ? json_string_in(raw, room) : raw;
}

struct slice request_user(struct gateway *gw, const struct asked *a)
{
    if (a->overridden)
        return a->who->user_id;
    if (!a->f.user_id.ptr || json_kind(a->f.user_id) != JSON_STRING)
        return SLICE_NONE;
    return raw_text(a->f.user_id, &gw->user);
}

/* E-034. */
static void finish_no_function(struct request *r, const char *what, struct slice type, struct slice version)
{
    struct buf text;
    buf_init(&text, 0);
    buf_printf(&text, "%s function: ", what);
    buf_add_slice(&text, type);
    buf_puts(&text, " version ");
    buf_add_slice(&text, version.ptr ? version : SLICE_LIT("latest"));
    finish_error(r, buf_slice(&text), false);
    buf_fini(&text);
}

/* E-030..E-034. */
static bool stage_config(struct request *r, struct asked *a)
{
    struct gateway *gw = r->gw;
    struct slice service = raw_text(a->f.service, &gw->service);
    struct slice type = raw_text(a->f.request_type, &gw->type);
    struct slice version = raw_text(a->f.version, &gw->version);
    struct fun_config *fc = NULL;
    bool named = json_kind(a->f.service) == JSON_STRING && (!a->f.version.ptr || json_kind(a->f.version) == JSON_STRING);
    enum config_lookup found = named ? config_db_find(gw->o.db, service, type, version, &fc) : CONFIG_NOT_FOUND;
    if (found == CONFIG_FOUND)
        r->fc = fun_config_ref(fc);
    if (gw->traces_on && r->fc)
        trace_found(r, a);
    if (found != CONFIG_FOUND) {
        finish_no_function(r, found == CONFIG_DISABLED ? "disabled" : "unsupported", type, version);
        return false;
    }
    if (fc->after_execute.present)
        r->payload = request_keep(r, a->payload);
    return true;
}

static bool node_up(void *ctx, struct slice node)
{
    const struct gateway *gw = ctx;
    return gw->o.call.node_up(gw->o.call.ctx, node);
}

static uint16_t choose_nodes(struct request *r, const struct asked *a)
{
    struct gateway *gw = r->gw;
    uint32_t count;
    const struct slice *nodes = request_nodes(r, &count);
    if (count == 1) { /* nothing to choose, and no turn of anybody's (E-166) */
        r->candidate[0] = 0;
        return 1;
    }
    const struct node_choice choice = {
        .request_id = a->f.request_id,
        .user_id = a->f.user_id,
        .device_id = a->f.device_id,
        .service = a->f.service,
        .request_type = a->f.request_type,
        .version = a->f.version,
        .args = a->f.args,
        .session_user = a->overridden ? a->who->user_id : SLICE_NONE,
        .nodes = r->nodes ? nodes : NULL,
        .nodes_count = r->nodes ? count : 0,
        .now_us = gw->o.timers->now_us,
        .node_up = node_up,
        .ctx = gw,
    };
    return (uint16_t)node_selector_choose(gw->selector, r->fc, &choice, r->candidate, CANDIDATES_MAX);
}

/* E-160..E-169. Before the hooks, which run on the node of the call (E-057 want). */
static bool stage_nodes(struct request *r, struct asked *a)
{
    if (r->fc->nodes_kind == NODES_MFA && !nodes_resolve(r, a))
        return false;
    if (r->candidate_count == 0)
        r->candidate_count = choose_nodes(r, a);
    return true;
}

static bool stage_before_hook(struct request *r, struct asked *a)
{
    return !r->fc->before_execute.present || hook_before(r, a);
}

static bool stage_permission(struct request *r, struct asked *a)
{
    if (permission_is_free(r->fc))
        return true;
    switch (permission_check(r->fc, request_user(r->gw, a), a->who->roles, a->who->roles_count, a->f.args)) {
    case PERMISSION_ALLOWED:
        return true;
    case PERMISSION_ASK:
        return permission_ask(r, a);
    default:
        finish_error(r, SLICE_LIT("Permission denied"), false);
        return false;
    }
}

static bool stage_rate_limit(struct request *r, struct asked *a)
{
    const struct rate_limiter *limiter = r->gw->o.limiter;
    return !limiter || (!r->told && rate_limiter_is_idle(limiter)) || limit_rate(r, a);
}

/* E-138: no room for another request, or for another that runs beside the channel. */
static bool stage_room(struct request *r, struct asked *a)
{
    struct gateway *gw = r->gw;
    (void)a;
    bool queue_full = r->fc->response_type != RESPONSE_SYNC && gw->async_queued >= gw->o.async_queue &&
                      gw->async_running >= gw->o.async_limit;
    if (r->self != HANDLE_NONE && !queue_full)
        return true;
    metric_inc(gw->o.metrics, METRIC_REQUESTS_REFUSED);
    finish_error(r, SLICE_LIT("Service temporarily unavailable"), true);
    return false;
}

/* The request is accepted and waits from now on. async, stream and none are answered before the work is done
 * (E-136, E-137, E-145). */
static bool stage_dispatch(struct request *r, struct asked *a)
{
    static const struct response async = {.async = true};
    static const struct response stream = {.async = true, .has_more = true, .result_json = {"\"init\"", 6}};
    enum response_type type = r->fc->response_type;
    const struct response *ack = type == RESPONSE_ASYNC ? &async : type == RESPONSE_STREAM ? &stream : NULL;
    if (type == RESPONSE_STREAM && !stream_open(r))
        return false;
    if (ack) {
        request_push(r, ack, NULL);
        hook_after(r, ack);
    }
    if (type != RESPONSE_SYNC) {
        request_reply_ok(r);
        r->dispatched = true;
    }
    request_wait(r, NULL);
    (void)a;
    return true;
}

/* E-132. */
static void put_request_info(struct request *r, const struct asked *a)
{
    const struct gateway *gw = r->gw;
    struct buf *out = &r->args;
    term_put_map(out, r->stream != HANDLE_NONE ? 4 : 3);
    term_put_atom(out, "request_id");
    put_raw_or_nil(out, a->f.request_id, &gw->o.json);
    term_put_atom(out, "user_id");
    if (a->overridden)
        term_put_binary(out, a->who->user_id);
    else
        put_raw_or_nil(out, a->f.user_id, &gw->o.json);
    term_put_atom(out, "device_id");
    put_raw_or_nil(out, a->f.device_id, &gw->o.json);
    if (r->stream == HANDLE_NONE)
        return;
    term_put_atom(out, "stream_pid");
    gw->o.stream.put_pid(gw->o.stream.ctx, r->stream, out);
}

/* E-131: the MFA's own arguments, the client's, request_info. On BG_EINVAL the text for the client is in gw->message. */
static int build_args(struct request *r, const struct asked *a)
{
    struct gateway *gw = r->gw;
    const struct fun_config *fc = r->fc;
    const struct args_limits lim = {gw->o.string_max_bytes, gw->o.list_max_items, gw->o.map_max_items, gw->o.json};
    uint32_t count = 0;
    buf_add_slice(&r->args, fc->mfa.args);
    buf_reset(&gw->message);
    int rc = args_build(fc, a->f.args, &lim, &r->args, &count, &gw->message);
    if (rc != BG_OK)
        return rc;
    if (fc->request_info)
        put_request_info(r, a);
    r->args_count = fc->mfa.args_count + count + (fc->request_info ? 1 : 0);
    return buf_ok(&r->args) ? BG_OK : BG_ENOMEM;
}

/* Bad arguments: sync tells in the reply (E-008), the others in a push after the acknowledgement (E-140 want). */
static bool stage_arguments(struct request *r, struct asked *a)
{
    int rc = build_args(r, a);
    if (rc == BG_OK)
        return true;
    struct slice text = rc == BG_EINVAL ? buf_slice(&r->gw->message) : SLICE_LIT("the arguments are too large");
    if (r->fc->response_type == RESPONSE_SYNC)
        finish_not_run(r, SLICE_LIT("Request processing failed"), text);
    else
        finish_error(r, text, false);
    return false;
}

static bool stage_call(struct request *r, struct asked *a)
{
    (void)a;
    call_start(r);
    return false;
}

static bool (*const stages[])(struct request *r, struct asked *a) = {
    stage_config, stage_nodes, stage_before_hook, stage_nodes /* again, if the hook gave other nodes */,
    stage_permission, stage_rate_limit, stage_room, stage_dispatch, stage_arguments, stage_call,
};

/* Every way out has answered or waits. */
static void advance(struct request *r, struct asked *a)
{
    while (stages[r->stage++](r, a))
        assert_always(r->stage < ARRAY_SIZE(stages));
}

void request_wait(struct request *r, const struct asked *a)
{
    if (a && r->payload.len == 0)
        r->payload = request_keep(r, a->payload);
    if (list_linked(&r->in_channel))
        return;
    list_append(&r->waiting->head, &r->in_channel);
    count_in_flight(r->waiting, 1);
    metric_inc(r->gw->o.metrics, METRIC_REQUESTS_IN_FLIGHT);
}

/* What a hook put in the place of the payload keeps the hook's user; else E-002 holds as before. */
static bool overrides(const struct request *r, const struct session *who)
{
    return r->override && !r->hooked && who->user_id.len > 0;
}

/* What the session knows stands in for what the payload says: the user (E-002), and likewise the device. */
static void take_session(const struct request *r, struct asked *a)
{
    a->overridden = overrides(r, a->who);
    if (r->override && !r->hooked && a->who->device_id.len > 0)
        a->f.device_id = a->who->device_id;
}

/* The client has left: nobody is there to be answered. */
static void request_drop(struct request *r)
{
    metric_inc(r->gw->o.metrics, METRIC_REQUESTS_DROPPED);
    request_finish(r);
}

/* Roles of a hook's Request: as of a payload in the library, only non-empty strings count (E-024). */
static uint32_t read_roles(struct slice term, struct slice *roles)
{
    struct term_reader t = term_reader(term);
    struct slice item;
    uint32_t n, count = 0;
    if (term_peek(&t) != TERM_LIST || term_read_list(&t, &n) != BG_OK)
        return 0;
    for (; n > 0 && count < HOOK_ROLES_MAX && term_skip(&t, &item) == BG_OK; n--) {
        struct term_reader role = term_reader(item);
        if (term_peek(&role) == TERM_BINARY && term_text(item, &roles[count]) && roles[count].len > 0)
            count++;
    }
    return count;
}

const struct session *request_session(const struct request *r)
{
    struct gateway *gw = r->gw;
    const struct session *who = gw->o.client.session(gw->o.client.ctx, r->channel);
    if (!who || !r->roles_given)
        return who;
    gw->hook_session = *who;
    gw->hook_session.roles = gw->hook_roles;
    gw->hook_session.roles_count = buf_ok(&r->text) ? read_roles(request_text(r, r->roles), gw->hook_roles) : 0;
    return &gw->hook_session;
}

void request_recall(const struct request *r, const struct session *who, struct asked *a)
{
    *a = (struct asked){.payload = request_text(r, r->payload), .who = who};
    request_fields_read(a->payload, &a->f);
    take_session(r, a);
}

void request_resume(struct request *r)
{
    struct asked a;
    const struct session *who = request_session(r);
    if (!who) {
        request_drop(r);
        return;
    }
    if (!buf_ok(&r->text)) {
        finish_error(r, SLICE_LIT("Internal Server Error"), false);
        return;
    }
    request_recall(r, who, &a);
    advance(r, &a);
}

/* -- entry --------------------------------------------------------------------------------------- */

/* E-003, E-007, E-009, E-020..E-022: what is refused before a config is looked up. True when it was. */
static bool refuse_undecodable(struct request *r, const struct asked *a, const struct channel_rules *rules)
{
    struct gateway *gw = r->gw;
    struct slice user = a->overridden ? a->who->user_id : SLICE_NONE;
    if (rules->require_verified_user_id && a->who->user_id.len == 0) {
        finish_not_run(r, SLICE_LIT("Authentication required"), SLICE_LIT("Authentication required"));
        return true;
    }
    if (!a->payload.ptr || json_kind(a->payload) != JSON_OBJECT) {
        finish_invalid(r, SLICE_LIT("the payload must be a JSON object"));
        return true;
    }
    if (request_size_check(a->payload, &a->f, user, gw->o.max_payload_bytes, &gw->o.json, &gw->message) == BG_OK &&
        request_fields_check(&a->f, &gw->message) == BG_OK)
        return false;
    finish_invalid(r, buf_slice(&gw->message));
    return true;
}

void gateway_request(struct gateway *gw, handle_t channel, struct request_list *waiting, const struct session *who,
                     const struct channel_rules *rules, struct slice ref, struct slice payload,
                     const struct json_members *members)
{
    struct asked a; /* all of it is set below, and once: it is long */
    struct request *r = request_take(gw, channel, waiting, who);
    metric_inc(gw->o.metrics, METRIC_REQUESTS);
    a.who = who;
    a.payload = payload;
    if (members && members->whole)
        request_fields_take(members, &a.f);
    else if (payload.ptr && json_kind(payload) == JSON_OBJECT)
        request_fields_read(payload, &a.f);
    else
        a.f = (struct request_fields){0};
    r->waiting = waiting;
    r->override = rules->override_user_id;
    take_session(r, &a);
    r->ref = request_keep(r, ref);
    r->request_id = request_keep(r, request_id_usable(a.f.request_id) ? a.f.request_id : SLICE_LIT("\"unknown\""));
    r->request_type = request_keep(r, a.f.request_type.ptr ? a.f.request_type : SLICE_LIT("null"));
    if (gw->traces_on)
        trace_match(r, &a);
    if (refuse_undecodable(r, &a, rules))
        return;
    if (gw->telemetry->wanted)
        tell_start(r, &a);
    advance(r, &a);
}

void gateway_channel_closed(struct gateway *gw, struct request_list *waiting)
{
    struct list *first;
    /* Each that ends gives its place to another, which may be of the same client: nothing is begun for who has left. */
    call_queue_hold(gw);
    while ((first = waiting->head.next) != &waiting->head) {
        struct request *r = container_of(first, struct request, in_channel);
        request_drop(r);
        assert_always(waiting->head.next != first); /* it has left the list */
    }
    call_queue_go(gw);
}
