/*
 * rpc_rate_limiter.c: PhoenixGenApi.RateLimiter (E-081) over rpc, and PhoenixGenApi's functions that pass on to it.
 *
 * Two differences from the library: scope global means the global limits of the named key only, since each limit and
 * value has a counter of its own here (E-074 want); and whatever changes limits or forgets all counts is an admin
 * action, not update_config alone (E-081 quirk). What is changed here lasts until the gateway ends or reloads.
 */
#include "rpc_request.h"

#include <stdlib.h>

#include "log.h"

static const char change_action[] = "update_rate_limit_config";

/* ---- terms of limits ---- */

/* user_id, device_id and ip_address are atoms, an argument's name is a binary (E-071). */
static bool read_key(struct slice term, struct rate_key *key)
{
    static const struct {
        const char *name;
        enum rate_key_kind kind;
    } atoms[] = {
        {"user_id", RATE_KEY_USER_ID}, {"device_id", RATE_KEY_DEVICE_ID}, {"ip_address", RATE_KEY_IP_ADDRESS}};
    struct term_reader r = term_reader(term);
    struct slice name;
    if (term_read_binary(&r, &name) == BG_OK) {
        *key = (struct rate_key){RATE_KEY_ARG, name};
        return true;
    }
    if (term_read_atom(&r, &name) != BG_OK)
        return false;
    *key = (struct rate_key){RATE_KEY_NEVER, name};
    for (size_t i = 0; i < ARRAY_SIZE(atoms); i++)
        if (slice_is(name, atoms[i].name))
            *key = (struct rate_key){atoms[i].kind, SLICE_NONE};
    return true;
}

static void put_key(struct buf *out, const struct rate_key *key)
{
    static const char *const atoms[] = {
        [RATE_KEY_USER_ID] = "user_id", [RATE_KEY_DEVICE_ID] = "device_id", [RATE_KEY_IP_ADDRESS] = "ip_address"};
    if (key->kind == RATE_KEY_ARG)
        term_put_binary(out, key->name);
    else if (key->kind == RATE_KEY_NEVER)
        term_put_atom_slice(out, key->name);
    else
        term_put_atom(out, atoms[key->kind]);
}

/* global | {Service, RequestType} */
static bool read_scope(struct slice term, struct rate_scope *scope)
{
    struct term_reader r = term_reader(term);
    struct slice service, type;
    uint32_t n;
    *scope = RATE_GLOBAL;
    if (term_is_atom(term, "global"))
        return true;
    if (term_read_tuple(&r, &n) != BG_OK || n != 2 || term_skip(&r, &service) != BG_OK ||
        term_skip(&r, &type) != BG_OK)
        return false;
    return term_text(service, &scope->service) && term_text(type, &scope->request_type) && scope->service.len > 0;
}

static bool is_global(const struct rate_limit *l)
{
    return l->scope.service.len == 0;
}

static void put_number(struct buf *out, const char *key, uint64_t v)
{
    term_put_atom(out, key);
    term_put_uint(out, v);
}

/* E-070. dry_run, which the library does not have, is shown where it is on. */
static void put_limit(struct buf *out, const struct rate_limit *l)
{
    term_put_map(out, 3u + (is_global(l) ? 0 : 2) + (l->dry_run ? 1 : 0));
    if (!is_global(l)) {
        term_put_atom(out, "service");
        term_put_binary(out, l->scope.service);
        term_put_atom(out, "request_type");
        term_put_binary(out, l->scope.request_type);
    }
    term_put_atom(out, "key");
    put_key(out, &l->key);
    put_number(out, "max_requests", l->max_requests);
    put_number(out, "window_ms", l->window_ms);
    if (l->dry_run) {
        term_put_atom(out, "dry_run");
        term_put_atom(out, "true");
    }
}

static void put_limits(const struct server *s, bool global, struct buf *out)
{
    struct rate_limit_view v;
    uint32_t n = 0;
    for (size_t pos = 0; s->limiter && rate_limiter_next_limit(s->limiter, &pos, &v);)
        n += is_global(v.limit) == global;
    term_put_list(out, n);
    for (size_t pos = 0; s->limiter && rate_limiter_next_limit(s->limiter, &pos, &v);)
        if (is_global(v.limit) == global)
            put_limit(out, v.limit);
    if (n > 0)
        term_put_nil(out);
}

static bool read_number(struct slice map, const char *key, uint32_t *v)
{
    struct slice term;
    int64_t n;
    if (!term_map_get(map, key, &term))
        return false;
    struct term_reader r = term_reader(term);
    if (term_read_int(&r, &n) != BG_OK || n < 0 || n > UINT32_MAX)
        return false;
    *v = (uint32_t)n;
    return true;
}

static bool read_limit(struct slice map, bool global, struct rate_limit *l)
{
    struct slice key, service, type, dry;
    *l = (struct rate_limit){.scope = RATE_GLOBAL};
    if (!term_map_get(map, "key", &key) || !read_key(key, &l->key) ||
        !read_number(map, "max_requests", &l->max_requests) || !read_number(map, "window_ms", &l->window_ms))
        return false;
    l->dry_run = term_map_get(map, "dry_run", &dry) && term_is_atom(dry, "true");
    return global || (term_map_get(map, "service", &service) && term_text(service, &l->scope.service) &&
                      term_map_get(map, "request_type", &type) && term_text(type, &l->scope.request_type));
}

/* A list of limits, of which the caller frees the array. BG_EINVAL: no list; or e says which is no limit. */
static int read_limits(struct slice term, bool global, struct rate_limit **limits, uint32_t *count, struct err *e)
{
    struct term_reader r = term_reader(term);
    struct slice item;
    uint32_t n;
    *limits = NULL;
    *count = 0;
    if (term_read_list(&r, &n) != BG_OK)
        return BG_EINVAL;
    if (n > RATE_LIMITS_MAX)
        return err_set(e, BG_ELIMIT, 0, "at most %d limits", RATE_LIMITS_MAX);
    *limits = calloc(n + 1u, sizeof(**limits));
    if (!*limits)
        return err_set(e, BG_ENOMEM, 0, "out of memory");
    for (; *count < n; ++*count)
        if (term_skip(&r, &item) != BG_OK || !read_limit(item, global, &(*limits)[*count]))
            return err_set(e, BG_EINVAL, *count,
                           "limit %u must be a map with key, max_requests and window_ms%s", *count + 1,
                           global ? "" : ", service and request_type");
    return n == 0 || term_read_tail(&r) == BG_OK ? BG_OK : BG_EINVAL;
}

/* ---- checking ---- */

static enum rpc_outcome put_verdict(struct buf *out, enum rate_verdict verdict, const struct rate_result *res,
                                    struct slice value)
{
    rate_put_verdict(verdict, res, value, out);
    return RPC_RETURN;
}

/* The value of a string; empty for anything else. */
static void put_text_of(struct slice raw, struct buf *text)
{
    if (raw.ptr && json_kind(raw) == JSON_STRING)
        json_string_text(raw, text);
}

/* The value that a limit counts of this request. */
static void put_value(const struct rpc_request *q, const struct rate_key *key, struct buf *text)
{
    struct json_iter it;
    struct slice name, value;
    switch (key->kind) {
    case RATE_KEY_USER_ID: put_text_of(q->f.user_id, text); break;
    case RATE_KEY_DEVICE_ID: put_text_of(q->f.device_id, text); break;
    case RATE_KEY_ARG:
        json_iter_init(&it, q->f.args);
        while (json_iter_next(&it, &name, &value))
            if (json_string_is(name, key->name)) {
                put_text_of(value, text);
                return;
            }
        break;
    default: break;
    }
}

static enum rpc_outcome check_request(struct server *s, const struct rpc_request *q, struct buf *out)
{
    struct rate_result res;
    struct buf service, type, value;
    buf_init(&service, 0);
    buf_init(&type, 0);
    buf_init(&value, 0);
    put_text_of(q->f.service, &service);
    put_text_of(q->f.request_type, &type);
    bool has_args = q->f.args.ptr && json_kind(q->f.args) == JSON_OBJECT;
    const struct rate_subject subject = {.function = {buf_slice(&service), buf_slice(&type)},
                                         .user_id = q->who.user_id,
                                         .device_id = q->f.device_id,
                                         .args = has_args ? q->f.args : SLICE_NONE};
    enum rate_verdict verdict = rate_limiter_check(s->limiter, s->timers.now_us, &subject, &res);
    if (verdict == RATE_LIMITED && (has_args || res.refused.limit->key.kind != RATE_KEY_ARG))
        put_value(q, &res.refused.limit->key, &value);
    put_verdict(out, verdict, &res, buf_slice(&value));
    buf_fini(&service);
    buf_fini(&type);
    buf_fini(&value);
    return RPC_RETURN;
}

/* check_rate_limit/1: counts the request as if it had been made. */
static enum rpc_outcome rpc_check(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct rpc_request q;
    struct err e = {0};
    if (!rpc_is_struct(call->argv[0], RPC_STRUCT_REQUEST))
        return RPC_ERROR;
    if (!s->limiter)
        return rpc_put_atom(out, "ok");
    int rc = rpc_request_read(&q, call->argv[0], &json_limits_default, &e);
    enum rpc_outcome outcome = rc == BG_OK ? check_request(s, &q, out) : rpc_argument_error(out, slice_str(e.text));
    rpc_request_fini(&q);
    return outcome;
}

/* The three arguments that name one value: Value, Scope, Key. */
struct one_value {
    struct slice value;
    struct rate_scope scope;
    struct rate_key key;
};

static bool read_value(const struct rpc_call *call, struct one_value *v)
{
    struct term_reader r = term_reader(call->argv[0]);
    return term_read_binary(&r, &v->value) == BG_OK && read_scope(call->argv[1], &v->scope) &&
           read_key(call->argv[2], &v->key);
}

static enum rpc_outcome rpc_check_value(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct one_value v;
    struct rate_result res;
    if (!read_value(call, &v))
        return RPC_ERROR;
    if (!s->limiter)
        return rpc_put_atom(out, "ok");
    enum rate_verdict verdict = rate_limiter_check_value(s->limiter, s->timers.now_us, v.scope, v.key, v.value, &res);
    return put_verdict(out, verdict, &res, v.value);
}

/* O-008. */
static void tell_reset(struct server *s, const struct rpc_call *call)
{
    static const char *const keys[] = {"key", "scope", "rate_limit_key"};
    struct buf *b = telemetry_begin(&s->telemetry, TELEMETRY_RATE_RESET);
    if (!b)
        return;
    telemetry_put_nothing(b);
    term_put_map(b, ARRAY_SIZE(keys));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        term_put_atom(b, keys[i]);
        term_put_raw(b, call->argv[i]);
    }
    telemetry_end(&s->telemetry);
}

static enum rpc_outcome rpc_reset(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct one_value v;
    if (!read_value(call, &v))
        return RPC_ERROR;
    if (s->limiter)
        rate_limiter_reset(s->limiter, v.scope, v.key, v.value);
    tell_reset(s, call);
    return rpc_put_atom(out, "ok");
}

static void put_status(struct buf *out, const struct rate_status *st, const struct one_value *v, struct slice scope)
{
    term_put_map(out, 6);
    term_put_atom(out, "key");
    rate_put_value(st->limit, v->value, out);
    put_number(out, "max_requests", st->limit->max_requests);
    put_number(out, "current_requests", st->current_requests);
    put_number(out, "window_ms", st->limit->window_ms);
    put_number(out, "remaining", st->remaining);
    term_put_atom(out, "scope");
    term_put_raw(out, scope);
}

/* A list of maps, one for each limit that applies. */
static enum rpc_outcome rpc_status_of(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct one_value v;
    struct rate_status st;
    uint64_t now = s->timers.now_us;
    uint32_t n = 0;
    if (!read_value(call, &v))
        return RPC_ERROR;
    for (size_t pos = 0; s->limiter && rate_limiter_next_status(s->limiter, now, v.scope, v.key, v.value, &pos, &st);)
        n++;
    term_put_list(out, n);
    for (size_t pos = 0; n && rate_limiter_next_status(s->limiter, now, v.scope, v.key, v.value, &pos, &st);)
        put_status(out, &st, &v, call->argv[1]);
    if (n > 0)
        term_put_nil(out);
    return RPC_RETURN;
}

/* ---- limits ---- */

static enum rpc_outcome rpc_configured(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    term_put_map(out, 2);
    term_put_atom(out, "global");
    put_limits(server, true, out);
    term_put_atom(out, "api");
    put_limits(server, false, out);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_global_limits(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    put_limits(server, true, out);
    return RPC_RETURN;
}

static enum rpc_outcome denied(struct buf *out)
{
    rpc_put_pair(out, "error", "admin_action_denied");
    return RPC_RETURN;
}

static enum rpc_outcome changed(const struct rpc_call *call, int rc, const struct err *e, struct buf *out)
{
    if (rc != BG_OK)
        return rpc_argument_error(out, slice_str(e->text[0] ? e->text : "the rate limiter is switched off"));
    log_info("server", "rate limits changed by another node", "node=%s function=%s", log_text(call->caller_node),
             log_text(call->function));
    return rpc_put_atom(out, "ok");
}

/* One of the two lists. BG_EINVAL with no text in e: the term is no list. */
static int set_list(struct server *s, struct slice term, bool global, struct err *e)
{
    struct rate_limit *limits;
    uint32_t n;
    int rc = read_limits(term, global, &limits, &n, e);
    if (rc == BG_OK && !s->limiter)
        rc = err_set(e, BG_EINVAL, 0, "the rate limiter is switched off");
    if (rc == BG_OK)
        rc = global ? rate_limiter_set_global(s->limiter, limits, n, e) : rate_limiter_set_api(s->limiter, limits, n, e);
    free(limits);
    return rc;
}

static enum rpc_outcome rpc_set_global(void *server, const struct rpc_call *call, struct buf *out)
{
    struct err e = {0};
    if (!admin_allows(server, change_action))
        return denied(out);
    int rc = set_list(server, call->argv[0], true, &e);
    return rc != BG_OK && !e.text[0] ? RPC_ERROR : changed(call, rc, &e, out);
}

static enum rpc_outcome rpc_add_global(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct rate_limit l;
    struct err e = {0};
    struct term_reader r = term_reader(call->argv[0]);
    if (term_peek(&r) != TERM_MAP)
        return RPC_ERROR;
    if (!admin_allows(s, change_action))
        return denied(out);
    if (!read_limit(call->argv[0], true, &l))
        return rpc_argument_error(out, SLICE_LIT("a limit must be a map with key, max_requests and window_ms"));
    return changed(call, s->limiter ? rate_limiter_add_global(s->limiter, &l, &e) : BG_EINVAL, &e, out);
}

static enum rpc_outcome rpc_remove_global(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct rate_key key;
    struct err e = {0};
    if (!read_key(call->argv[0], &key))
        return RPC_ERROR;
    if (!admin_allows(s, change_action))
        return denied(out);
    return changed(call, s->limiter ? rate_limiter_remove_global(s->limiter, key, &e) : BG_OK, &e, out);
}

/* Keys that are not there, or are no lists, change nothing, as in the library. */
static enum rpc_outcome rpc_update_config(void *server, const struct rpc_call *call, struct buf *out)
{
    struct term_reader r = term_reader(call->argv[0]);
    struct slice list;
    struct err e = {0};
    int rc = BG_OK;
    if (term_peek(&r) != TERM_MAP)
        return RPC_ERROR;
    if (!admin_allows(server, change_action) ||
        (term_map_get(call->argv[0], "detail_error", &list) && !admin_allows(server, "change_detail_error")))
        return denied(out);
    if (term_map_get(call->argv[0], "global_limits", &list))
        rc = set_list(server, list, true, &e);
    if (!e.text[0] && term_map_get(call->argv[0], "api_limits", &list))
        rc = set_list(server, list, false, &e);
    return changed(call, e.text[0] ? rc : BG_OK, &e, out);
}

static enum rpc_outcome rpc_clear(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct err e = {0};
    if (!admin_allows(s, change_action))
        return denied(out);
    if (s->limiter)
        rate_limiter_clear(s->limiter);
    return changed(call, BG_OK, &e, out);
}

/* ---- status ---- */

static uint64_t values_of(const struct server *s, bool global)
{
    struct rate_limit_view v;
    uint64_t n = 0;
    for (size_t pos = 0; rate_limiter_next_limit(s->limiter, &pos, &v);)
        n += is_global(v.limit) == global ? v.values : 0;
    return n;
}

/* Of an ETS table's info, what has a meaning: there is none. */
static void put_table(struct buf *out, const char *name, uint64_t size)
{
    term_put_map(out, 4);
    term_put_atom(out, "exists");
    term_put_atom(out, "true");
    term_put_atom(out, "name");
    term_put_atom(out, name);
    term_put_atom(out, "type");
    term_put_atom(out, "set");
    put_number(out, "size", size);
}

/* One instance, since one thread counts. memory_bytes is ours: what all counters take. */
static void put_instance(const struct server *s, struct buf *out)
{
    term_put_map(out, 7);
    term_put_atom(out, "status");
    term_put_atom(out, "ok");
    put_number(out, "instance_index", 0);
    term_put_atom(out, "global_limits");
    put_limits(s, true, out);
    term_put_atom(out, "api_limits");
    put_limits(s, false, out);
    put_number(out, "cleanup_interval", s->config ? s->config->rate_limiter.cleanup_interval_ms : 0);
    put_number(out, "memory_bytes", rate_limiter_bytes(s->limiter));
    term_put_atom(out, "ets");
    term_put_map(out, 2);
    term_put_atom(out, "global");
    put_table(out, "rate_limiter_global", values_of(s, true));
    term_put_atom(out, "api");
    put_table(out, "rate_limiter_api", values_of(s, false));
}

static enum rpc_outcome rpc_instance_count(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    return rpc_put_count(out, s->limiter ? 1 : 0);
}

static enum rpc_outcome rpc_routing_strategy(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    return rpc_put_atom(out, "hash");
}

static enum rpc_outcome rpc_status(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    term_put_map(out, 3);
    term_put_atom(out, "status");
    term_put_atom(out, "ok");
    put_number(out, "instance_count", s->limiter ? 1 : 0);
    term_put_atom(out, "instances");
    term_put_list(out, s->limiter ? 1 : 0);
    if (s->limiter) {
        put_instance(s, out);
        term_put_nil(out);
    }
    return RPC_RETURN;
}

#define LIBRARY "Elixir.PhoenixGenApi"
#define RATE_LIMITER LIBRARY ".RateLimiter"
#define BOTH(function, arity, fn) {RATE_LIMITER, function, arity, fn}, {LIBRARY, function, arity, fn}

const struct rpc_entry rate_limiter_entries[] = {
    BOTH("check_rate_limit", 1, rpc_check),
    {RATE_LIMITER, "check_rate_limit", 3, rpc_check_value},
    BOTH("reset_rate_limit", 3, rpc_reset),
    BOTH("get_rate_limit_status", 3, rpc_status_of),
    {RATE_LIMITER, "get_configured_limits", 0, rpc_configured},
    {LIBRARY, "get_rate_limit_config", 0, rpc_configured},
    BOTH("get_global_limits", 0, rpc_global_limits),
    BOTH("set_global_limits", 1, rpc_set_global),
    BOTH("add_global_limit", 1, rpc_add_global),
    BOTH("remove_global_limit", 1, rpc_remove_global),
    {RATE_LIMITER, "update_config", 1, rpc_update_config},
    {LIBRARY, "update_rate_limit_config", 1, rpc_update_config},
    {RATE_LIMITER, "clear", 0, rpc_clear},
    {RATE_LIMITER, "status", 0, rpc_status},
    {RATE_LIMITER, "instance_count", 0, rpc_instance_count},
    {RATE_LIMITER, "routing_strategy", 0, rpc_routing_strategy},
};
const size_t rate_limiter_entries_count = ARRAY_SIZE(rate_limiter_entries);
