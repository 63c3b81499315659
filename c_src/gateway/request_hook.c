/*
 * request_hook.c: what the service node is asked about a request: before_execute (E-040..E-046), permission_callback
 * (E-055..E-060), and what it is told: after_execute (E-044).
 *
 * The library runs these on the gateway node; a native gateway cannot, so they run by rpc on the node that will
 * run the call (E-046, E-057 wants), hooks perhaps on a node of their own, with hook_timeout honoured. A node that
 * cannot be asked says no, and so does an answer that cannot be gone on with.
 */
#include "request_internal.h"

#include "fun_config.h"
#include "mfa_rules.h"
#include "transcode.h"

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

/* The same for hooks, which an operator may have put on one node (E-046 want): when that cannot be reached they do not
 * run elsewhere, where their module may be another one. */
static struct buf *hook_begin(const struct request *r, const struct mfa *hook, uint32_t own)
{
    const struct call_ops *call = &r->gw->o.call;
    enum call_outcome why;
    if (r->gw->o.hook_node.len == 0)
        return ask_begin(r, hook, own);
    return call->begin(call->ctx, r->gw->o.hook_node, hook->module, hook->function, own + hook->args_count, &why);
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

/* Appends ,"key":value of a field of the hook's Request as JSON; nil is left out. False when it cannot be JSON. */
static bool put_json_field(struct buf *out, struct slice request, const char *key)
{
    struct slice value;
    if (!term_map_get(request, key, &value) || term_is_nil(value))
        return true;
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", key);
    return term_to_json(value, out, NULL, NULL) == BG_OK;
}

/* Why a hook's {ok, Request, FunConfig} cannot be gone on with. The originals are no way out: the hook may have meant to
 * allow less than they do. */
static const char request_not_valid[] = "before_execute returned a Request that is not valid";
static const char config_not_valid[] = "before_execute returned a FunConfig that is not valid";
static const char config_not_allowed[] = "before_execute returned a FunConfig that is not allowed";

/* The hook's Request takes the payload's place, as the payload that would have made it; its user and its roles are the
 * hook's word, which may be believed: it runs on the service's side and was shown the session's. Without a key
 * user_roles (no %Request{}) the session's stay. NULL, or why not. */
static const char *take_request(struct request *r, struct slice request)
{
    static const char *const keys[] = {"request_type", "request_id", "service", "version", "user_id", "device_id", "args"};
    struct term_reader t = term_reader(request);
    struct slice roles;
    if (term_peek(&t) != TERM_MAP)
        return request_not_valid;
    struct buf payload;
    bool good = true;
    buf_init(&payload, 0);
    buf_putc(&payload, '{');
    for (size_t i = 0; good && i < ARRAY_SIZE(keys); i++)
        good = put_json_field(&payload, request, keys[i]);
    buf_putc(&payload, '}');
    good = good && buf_ok(&payload);
    if (good) {
        r->payload = request_keep(r, buf_slice(&payload));
        r->hooked = true;
        r->roles_given = term_map_get(request, "user_roles", &roles);
        if (r->roles_given)
            r->roles = request_keep(r, roles);
    }
    buf_fini(&payload);
    return good ? NULL : request_not_valid;
}

/* The candidates are indices into the old list of nodes, so they hold only while the lists are the same. */
static bool same_nodes(const struct request *r, const struct fun_config *fc)
{
    bool same = !r->nodes && fc->nodes_kind == NODES_LIST && fc->nodes_count == r->fc->nodes_count;
    for (uint32_t i = 0; same && i < fc->nodes_count; i++)
        same = slice_eq(fc->nodes[i], r->fc->nodes[i]);
    return same;
}

/* What is wrong with a hook's FunConfig; the rules that hold for configs that arrive hold for it too (E-045 want). */
static const char *judge_config(const struct request *r, struct fun_config *fc)
{
    if (!fc || fun_config_set_origin(fc, r->fc->origin) != BG_OK)
        return config_not_valid;
    return mfa_rules_refused(r->gw->o.rules, fc) ? config_not_allowed : NULL;
}

/* NULL, or why not. */
static const char *take_fun_config(struct request *r, struct slice term)
{
    struct fun_config_reasons why = {0};
    if (term_equal(term, r->fc->term))
        return NULL;
    struct fun_config *fc = fun_config_from_term(term, SLICE_NONE, &why);
    const char *refused = judge_config(r, fc);
    if (refused) {
        fun_config_unref(fc);
        return refused;
    }
    if (!same_nodes(r, fc)) {
        r->candidate_count = 0;
        node_list_unref(r->nodes);
        r->nodes = NULL;
    }
    fun_config_unref(r->fc);
    r->fc = fc;
    return NULL;
}

/* True when both were taken; else the request has been answered. */
static bool take_both(struct request *r, struct slice request, struct slice config)
{
    struct buf text;
    const char *refused = take_request(r, request);
    if (!refused)
        refused = take_fun_config(r, config);
    if (!refused)
        return true;
    request_log(r, refused, SLICE_NONE);
    buf_init(&text, 0);
    buf_printf(&text, "\"%s\"", refused);
    finish_rejected(r, buf_slice(&text));
    buf_fini(&text);
    return false;
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
    if (r->told)
        tell_hook_end(r, outcome, value);
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
        if (!take_both(r, request, config))
            return;
    }
    request_resume(r);
}

bool hook_before(struct request *r, const struct asked *a)
{
    const struct mfa *hook = &r->fc->before_execute;
    struct buf *out = may_ask(r) ? hook_begin(r, hook, 2) : NULL;
    if (out) {
        put_request(out, a, &r->gw->o.json);
        fun_config_put_term(r->fc, out);
        if (ask_commit(r, out, hook, r->fc->hook_timeout_ms, on_before_done)) {
            if (r->told)
                tell_hook_start(r);
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
    const struct session *who = request_session(r);
    struct asked a;
    request_recall(r, who ? who : &none, &a);
    struct buf *out = hook_begin(r, hook, 3);
    if (!out)
        return;
    put_request(out, &a, &r->gw->o.json);
    fun_config_put_term(r->fc, out);
    put_response(out, r, resp);
    buf_add_slice(out, hook->args);
    struct told_hook *told = r->told ? tell_after_start(r) : NULL;
    uint64_t timeout_us = (uint64_t)r->fc->hook_timeout_ms * 1000;
    if (call->commit(call->ctx, timeout_us, told ? tell_after_end : on_after_done, told, 0) == HANDLE_NONE)
        told_hook_free(told);
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
