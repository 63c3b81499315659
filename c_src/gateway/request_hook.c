/*
 * request_hook.c: what the service node is asked about a request: before_execute (E-040..E-046), permission_callback
 * (E-055..E-060), and what it is told: after_execute (E-044).
 *
 * The library runs these on the gateway node; a native gateway cannot, so they run by rpc on the node that will
 * run the call (E-046, E-057 wants), with hook_timeout honoured. A node that cannot be asked says no.
 */
#include "request_internal.h"

#include "fun_config.h"
#include "transcode.h"

/* -- terms ------------------------------------------------------------------------------------- */

static void put_key(struct buf *out, const char *key)
{
    term_put_atom(out, key);
}

static void put_raw_or_nil(struct buf *out, struct slice raw, const struct json_limits *lim)
{
    if (!raw.ptr || json_to_term(raw, out, lim, NULL) != BG_OK)
        term_put_atom(out, "nil");
}

static void put_field(struct buf *out, const char *key, struct slice raw, const struct json_limits *lim)
{
    put_key(out, key);
    put_raw_or_nil(out, raw, lim);
}

static void put_roles(struct buf *out, const struct session *who)
{
    put_key(out, "user_roles");
    if (who->roles_count == 0) {
        term_put_atom(out, "nil");
        return;
    }
    term_put_list(out, who->roles_count);
    for (uint32_t i = 0; i < who->roles_count; i++)
        term_put_binary(out, who->roles[i]);
    term_put_nil(out);
}

/* %Request{} (F-100), with the user and the roles of the session (E-024 want). */
static void put_request(struct buf *out, const struct asked *a, const struct json_limits *lim)
{
    term_put_map(out, 9);
    put_key(out, "__struct__");
    term_put_atom(out, "Elixir.PhoenixGenApi.Structs.Request");
    put_key(out, "user_id");
    if (a->overridden)
        term_put_binary(out, a->who->user_id);
    else
        put_raw_or_nil(out, a->f.user_id, lim);
    put_field(out, "device_id", a->f.device_id, lim);
    put_field(out, "request_type", a->f.request_type, lim);
    put_field(out, "request_id", a->f.request_id, lim);
    put_field(out, "service", a->f.service, lim);
    put_field(out, "version", a->f.version, lim);
    put_key(out, "args");
    if (a->f.args.ptr)
        put_raw_or_nil(out, a->f.args, lim);
    else
        term_put_map(out, 0);
    put_roles(out, a->who);
}

static void put_flag(struct buf *out, const char *key, bool value)
{
    put_key(out, key);
    term_put_atom(out, value ? "true" : "false");
}

/* %Response{} (F-110). */
static void put_response(struct buf *out, const struct request *r, const struct response *resp)
{
    term_put_map(out, 8);
    put_key(out, "__struct__");
    term_put_atom(out, "Elixir.PhoenixGenApi.Structs.Response");
    put_field(out, "request_id", request_text(r, r->request_id), &r->gw->o.json);
    put_key(out, "result");
    if (resp->result_term.len)
        term_put_raw(out, resp->result_term);
    else
        put_raw_or_nil(out, resp->result_json, &r->gw->o.json);
    put_flag(out, "success", !resp->error.ptr);
    put_key(out, "error");
    if (resp->error.ptr)
        term_put_binary(out, resp->error);
    else
        term_put_atom(out, "nil");
    put_flag(out, "async", resp->async);
    put_flag(out, "has_more", resp->has_more);
    put_flag(out, "can_retry", resp->can_retry);
}

/* -- asking ------------------------------------------------------------------------------------ */

/* Opens a call of mfa with own arguments before its own, on the node that would run the call: the first candidate
 * that takes it. NULL when none does. */
static struct buf *ask_begin(const struct request *r, const struct mfa *mfa, uint32_t own)
{
    const struct call_ops *call = &r->gw->o.call;
    enum call_outcome why;
    struct buf *out = NULL;
    for (uint32_t i = 0; !out && i < r->candidate_count; i++)
        out = call->begin(call->ctx, call_node_name(r, i), mfa->module, mfa->function, own + mfa->args_count, &why);
    return out;
}

static bool ask_commit(struct request *r, struct buf *out, const struct mfa *mfa, uint32_t timeout_ms, call_done_fn *done)
{
    const struct call_ops *call = &r->gw->o.call;
    buf_add_slice(out, mfa->args);
    r->call = call->commit(call->ctx, (uint64_t)timeout_ms * 1000, done, r->gw, r->self);
    return r->call != HANDLE_NONE;
}

/* A request that was refused a record cannot wait for an answer. */
static bool may_ask(const struct request *r)
{
    return r->self != HANDLE_NONE;
}

/* -- before_execute ----------------------------------------------------------------------------- */

static void finish_rejected(struct request *r, struct slice reason)
{
    struct buf text;
    buf_init(&text, 0);
    buf_puts(&text, "hook rejected: ");
    buf_add_slice(&text, reason);
    finish_error(r, buf_slice(&text), false);
    buf_fini(&text);
}

static void finish_rejected_term(struct request *r, struct slice reason)
{
    struct buf text;
    buf_init(&text, 0);
    term_inspect(reason, &text, INSPECT_MAX);
    finish_rejected(r, buf_slice(&text));
    buf_fini(&text);
}

/* The text of an exception struct, or of a bare reason: {Exception, Stack} as a node reports a raise. */
static void put_raised_text(struct slice reason, struct buf *out)
{
    struct term_reader t = term_reader(reason);
    struct slice error, message, text;
    uint32_t arity;
    if (term_read_tuple(&t, &arity) != BG_OK || arity != 2 || term_skip(&t, &error) != BG_OK)
        error = reason;
    if (term_map_get(error, "message", &message) && term_text(message, &text))
        buf_add_slice(out, text);
    else
        term_inspect(error, out, INSPECT_MAX);
}

/* Replaces text by what inspect/1 makes of it. */
static void inspect_text(struct buf *text)
{
    struct buf term;
    buf_init(&term, 0);
    term_put_binary(&term, buf_slice(text));
    buf_reset(text);
    term_inspect(buf_slice(&term), text, INSPECT_MAX);
    buf_fini(&term);
}

/* E-043: a hook that raised; its message is shown inspected twice, as recorded. */
static void finish_raised(struct request *r, struct slice reason)
{
    struct buf text;
    buf_init(&text, 0);
    put_raised_text(reason, &text);
    inspect_text(&text);
    inspect_text(&text);
    finish_rejected(r, buf_slice(&text));
    buf_fini(&text);
}

static void finish_hook_failed(struct request *r, enum call_outcome outcome, struct slice value)
{
    struct buf text;
    request_log(r, "before_execute failed", value);
    if (outcome == CALL_EXIT) {
        finish_raised(r, value);
        return;
    }
    buf_init(&text, 0);
    if (outcome == CALL_TIMEOUT)
        buf_printf(&text, "\"hook timed out after %ums\"", r->fc->hook_timeout_ms);
    else
        buf_puts(&text, "\"hook could not be run\"");
    finish_rejected(r, buf_slice(&text));
    buf_fini(&text);
}

/* Appends ,"key":value of a field of the hook's Request as JSON; a field that is nil or cannot be JSON is left out. */
static void put_json_field(struct buf *out, struct slice request, const char *key)
{
    struct slice value;
    struct err e;
    if (!term_map_get(request, key, &value) || term_is_nil(value))
        return;
    size_t before = out->len;
    buf_printf(out, "%s\"%s\":", before > 1 ? "," : "", key);
    if (term_to_json(value, out, NULL, &e) != BG_OK)
        buf_truncate(out, before);
}

/* The hook's Request takes the payload's place, as the payload that would have made it. */
static void take_request(struct request *r, struct slice request)
{
    static const char *const keys[] = {"request_type", "request_id", "service", "version", "user_id", "device_id", "args"};
    struct buf payload;
    buf_init(&payload, 0);
    buf_putc(&payload, '{');
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        put_json_field(&payload, request, keys[i]);
    buf_putc(&payload, '}');
    if (buf_ok(&payload)) {
        r->payload = request_keep(r, buf_slice(&payload));
        r->hooked = true;
    }
    buf_fini(&payload);
}

static void take_fun_config(struct request *r, struct slice term)
{
    struct fun_config_reasons why = {0};
    struct fun_config *fc;
    if (term_equal(term, r->fc->term))
        return;
    fc = fun_config_from_term(term, SLICE_NONE, &why);
    if (!fc) {
        request_log(r, "before_execute gave a FunConfig that is not valid; the old one stays", SLICE_NONE);
        return;
    }
    /* The candidates are indices into the old list of nodes, so they hold only while the lists are the same. */
    bool same_nodes = !r->nodes && fc->nodes_kind == NODES_LIST && fc->nodes_count == r->fc->nodes_count;
    for (uint32_t i = 0; same_nodes && i < fc->nodes_count; i++)
        same_nodes = slice_eq(fc->nodes[i], r->fc->nodes[i]);
    if (!same_nodes) {
        r->candidate_count = 0;
        node_list_unref(r->nodes);
        r->nodes = NULL;
    }
    if (fun_config_set_origin(fc, r->fc->origin) != BG_OK) {
        fun_config_unref(fc);
        return;
    }
    fun_config_unref(r->fc);
    r->fc = fc;
}

/* E-042: {ok, Request, FunConfig} replaces both, {error, R} rejects, anything else changes nothing. */
static void on_before_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct request *r = request_find(owner, tag);
    struct term_reader t = term_reader(value);
    struct slice request, config;
    uint32_t arity;
    if (!r)
        return;
    r->call = HANDLE_NONE;
    if (outcome != CALL_RETURN) {
        finish_hook_failed(r, outcome, value);
        return;
    }
    if (term_read_tagged(&t, "error", &arity) == BG_OK && arity == 2 && term_skip(&t, &request) == BG_OK) {
        finish_rejected_term(r, request);
        return;
    }
    if (term_read_tagged(&t, "ok", &arity) == BG_OK && arity == 3 && term_skip(&t, &request) == BG_OK &&
        term_skip(&t, &config) == BG_OK) {
        take_request(r, request);
        take_fun_config(r, config);
    }
    request_resume(r);
}

bool hook_before(struct request *r, const struct asked *a)
{
    const struct mfa *hook = &r->fc->before_execute;
    if (!hook->present)
        return true;
    struct buf *out = may_ask(r) ? ask_begin(r, hook, 2) : NULL;
    if (out) {
        put_request(out, a, &r->gw->o.json);
        fun_config_put_term(r->fc, out);
        if (ask_commit(r, out, hook, r->fc->hook_timeout_ms, on_before_done)) {
            request_wait(r, a);
            return false;
        }
    }
    finish_hook_failed(r, CALL_NODEDOWN, SLICE_NONE);
    return false;
}

/* -- after_execute ------------------------------------------------------------------------------- */

static void on_after_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    /* Its value is ignored, as recorded (E-044). */
    (void)owner;
    (void)tag;
    (void)outcome;
    (void)value;
}

void hook_after(const struct request *r, const struct response *resp)
{
    if (!r->fc || !r->fc->after_execute.present || !r->payload.len)
        return;
    /* async and stream: it has seen the acknowledgement, not the result. */
    if (r->dispatched && !resp->async)
        return;
    const struct mfa *hook = &r->fc->after_execute;
    const struct call_ops *call = &r->gw->o.call;
    const struct session none = {0};
    const struct session *who = r->gw->o.client.session(r->gw->o.client.ctx, r->channel);
    struct asked a = {.who = who ? who : &none, .overridden = !r->hooked && who && who->user_id.len > 0};
    request_fields_read(request_text(r, r->payload), &a.f);
    struct buf *out = ask_begin(r, hook, 3);
    if (!out)
        return;
    put_request(out, &a, &r->gw->o.json);
    fun_config_put_term(r->fc, out);
    put_response(out, r, resp);
    buf_add_slice(out, hook->args);
    (void)call->commit(call->ctx, (uint64_t)r->fc->hook_timeout_ms * 1000, on_after_done, NULL, 0);
}

/* -- permission_callback -------------------------------------------------------------------------- */

static void finish_denied(struct request *r)
{
    finish_error(r, SLICE_LIT("Permission denied"), false);
}

/* E-055: only exactly true allows. */
static void on_permission_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct request *r = request_find(owner, tag);
    if (!r)
        return;
    r->call = HANDLE_NONE;
    if (outcome == CALL_RETURN && term_is_atom(value, "true")) {
        request_resume(r);
        return;
    }
    if (outcome != CALL_RETURN)
        request_log(r, "permission_callback failed, the request is denied", value);
    finish_denied(r);
}

bool permission_ask(struct request *r, const struct asked *a)
{
    const struct mfa *callback = &r->fc->permission_callback;
    uint32_t timeout_ms = r->fc->timeout_ms ? r->fc->timeout_ms : TIMEOUT_INFINITY_MS;
    struct buf *out = may_ask(r) ? ask_begin(r, callback, 1) : NULL;
    if (out) {
        put_request(out, a, &r->gw->o.json);
        if (ask_commit(r, out, callback, timeout_ms, on_permission_done)) {
            request_wait(r, a);
            return false;
        }
    }
    request_log(r, "permission_callback cannot be asked, the request is denied", SLICE_NONE);
    finish_denied(r);
    return false;
}
