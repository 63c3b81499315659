/*
 * rpc_rules.c: the library's pure functions over rpc: NodeSelector, Permission, ArgumentHandler, the
 * questions of Security (S-080, S-082). They ask the same rules that requests go through, with the Request and
 * FunConfig that the caller hands over.
 *
 * What the library would run on the gateway itself (a permission callback, a nodes {M, F, A}, nodes local) runs nowhere
 * here: such a question ends with an error that says so, and changes nothing.
 */
#include "rpc_request.h"

#include <stdlib.h>

#include "args.h"
#include "node_selector.h"
#include "permission.h"

static enum rpc_outcome put_bool(struct buf *out, bool yes)
{
    return rpc_put_atom(out, yes ? "true" : "false");
}

/* {error, Word} */
static enum rpc_outcome put_error(struct buf *out, const char *word)
{
    rpc_put_pair(out, "error", word);
    return RPC_RETURN;
}

/* ---- a Request and a FunConfig ---- */

struct question {
    struct rpc_request q;
    struct fun_config *fc; /* NULL until read */
};

static void question_fini(struct question *a)
{
    rpc_request_fini(&a->q);
    fun_config_unref(a->fc);
}

/* An ArgumentError with the first reason for which the config is none. */
static enum rpc_outcome not_a_config(const struct fun_config_reasons *why, struct buf *out)
{
    struct buf text;
    buf_init(&text, 0);
    buf_printf(&text, "invalid FunConfig: %s", why->count ? why->text[0] : "no memory");
    enum rpc_outcome outcome = rpc_argument_error(out, buf_slice(&text));
    buf_fini(&text);
    return outcome;
}

/* RPC_RETURN when both are there; else how the function ends. question_fini() follows in any case. */
static enum rpc_outcome question_read(struct question *a, struct slice request, struct slice config, struct buf *out)
{
    struct fun_config_reasons why = {.count = 0};
    struct err e = {0};
    *a = (struct question){.fc = NULL};
    buf_init(&a->q.json, 0);
    if (!rpc_is_struct(request, RPC_STRUCT_REQUEST) || !rpc_is_struct(config, RPC_STRUCT_FUN_CONFIG))
        return RPC_ERROR;
    if (rpc_request_read(&a->q, request, &json_limits_default, &e) != BG_OK)
        return rpc_argument_error(out, slice_str(e.text));
    a->fc = fun_config_from_term(config, SLICE_NONE, &why);
    return a->fc ? RPC_RETURN : not_a_config(&why, out);
}

/* Functions of the form f(One, Other) that need both as question_read() gives them. */
typedef enum rpc_outcome answer_fn(struct server *s, const struct rpc_call *call, struct question *a, struct buf *out);

static enum rpc_outcome ask(struct server *s, const struct rpc_call *call, bool request_first, answer_fn *fn,
                            struct buf *out)
{
    struct question a;
    enum rpc_outcome outcome =
        question_read(&a, call->argv[request_first ? 0 : 1], call->argv[request_first ? 1 : 0], out);
    if (outcome == RPC_RETURN)
        outcome = fn(s, call, &a, out);
    question_fini(&a);
    return outcome;
}

/* ---- Permission ---- */

static enum rpc_outcome answer_permission(struct server *s, const struct rpc_call *call, struct question *a,
                                          struct buf *out)
{
    const struct session *who = &a->q.who;
    (void)s;
    (void)call;
    switch (permission_check(a->fc, who->user_id, who->roles, who->roles_count, a->q.f.args)) {
    case PERMISSION_ALLOWED: return put_bool(out, true);
    case PERMISSION_DENIED: return put_bool(out, false);
    default: return rpc_argument_error(out, SLICE_LIT("a permission_callback runs on its service's node only"));
    }
}

static enum rpc_outcome rpc_check_permission(void *server, const struct rpc_call *call, struct buf *out)
{
    return ask(server, call, true, answer_permission, out);
}

static void put_request_field(struct buf *out, const struct rpc_call *call, const char *key)
{
    struct slice value;
    term_put_atom(out, key);
    if (fun_config_field(call->argv[0], key, &value))
        term_put_raw(out, value);
    else
        term_put_atom(out, "nil");
}

/* nil, or PermissionDenied is raised. */
static enum rpc_outcome rpc_check_permission_or_raise(void *server, const struct rpc_call *call, struct buf *out)
{
    size_t before = out->len;
    struct slice mode;
    enum rpc_outcome outcome = ask(server, call, true, answer_permission, out);
    if (outcome != RPC_RETURN || !buf_ok(out))
        return outcome;
    bool allowed = term_is_atom(slice_make(out->data + before, out->len - before), "true");
    buf_truncate(out, before);
    if (allowed)
        return rpc_put_atom(out, "nil");
    rpc_put_exception(out, "Elixir.PhoenixGenApi.Permission.PermissionDenied", SLICE_LIT("Permission denied"), 4);
    put_request_field(out, call, "user_id");
    put_request_field(out, call, "request_id");
    put_request_field(out, call, "request_type");
    term_put_atom(out, "permission_mode");
    if (fun_config_field(call->argv[1], "check_permission", &mode))
        term_put_raw(out, mode);
    else
        term_put_atom(out, "nil");
    return RPC_ERROR;
}

/* ---- ArgumentHandler ---- */

/* As configured; the library's defaults where there is no configuration. */
static struct args_limits args_limits(const struct server *s)
{
    const struct requests_settings *r = s->config ? &s->config->requests : NULL;
    return (struct args_limits){.string_max_bytes = r ? r->string_max_bytes : 3000,
                                .list_max_items = r ? r->list_max_items : 1000,
                                .map_max_items = r ? r->map_max_items : 1000,
                                .json = json_limits_default};
}

/* The list of converted arguments, or an ArgumentError with the text that a client would get (E-100..E-129). */
static enum rpc_outcome answer_args(struct server *s, const struct rpc_call *call, struct question *a, struct buf *out)
{
    const struct args_limits lim = args_limits(s);
    struct buf args, message;
    uint32_t count = 0;
    (void)call;
    buf_init(&args, 0);
    buf_init(&message, 0);
    int rc = args_build(a->fc, a->q.f.args, &lim, &args, &count, &message);
    enum rpc_outcome outcome = RPC_RETURN;
    if (rc != BG_OK) {
        struct slice text = rc == BG_EINVAL ? buf_slice(&message) : SLICE_LIT("the arguments are too large");
        outcome = rpc_argument_error(out, text);
    } else {
        term_put_list(out, count);
        term_put_raw(out, buf_slice(&args));
        if (count > 0)
            term_put_nil(out);
    }
    buf_fini(&args);
    buf_fini(&message);
    return outcome;
}

static enum rpc_outcome rpc_convert_args(void *server, const struct rpc_call *call, struct buf *out)
{
    return ask(server, call, false, answer_args, out);
}

static enum rpc_outcome rpc_validate_args(void *server, const struct rpc_call *call, struct buf *out)
{
    size_t before = out->len;
    enum rpc_outcome outcome = ask(server, call, false, answer_args, out);
    if (outcome != RPC_RETURN || !buf_ok(out))
        return outcome;
    buf_truncate(out, before);
    return rpc_put_atom(out, "ok");
}

static enum rpc_outcome rpc_string_max(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    return rpc_put_count(out, args_limits(server).string_max_bytes);
}

static enum rpc_outcome rpc_list_max(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    return rpc_put_count(out, args_limits(server).list_max_items);
}

static enum rpc_outcome rpc_map_max(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    return rpc_put_count(out, args_limits(server).map_max_items);
}

/* ---- NodeSelector ---- */

/* {error, {dynamic_node_resolution_failed, not_run_here}} */
static enum rpc_outcome no_dynamic_nodes(struct buf *out)
{
    term_put_tuple(out, 2);
    term_put_atom(out, "error");
    rpc_put_pair(out, "dynamic_node_resolution_failed", "not_run_here");
    return RPC_RETURN;
}

/* {ok, [Node]} in the order in which they would be tried; all: false: {ok, Node}. Liveness does not count (E-161). */
static enum rpc_outcome answer_nodes(struct server *s, struct question *a, bool all, struct buf *out)
{
    uint16_t order[FUN_CONFIG_LIST_MAX] = {0};
    const struct request_fields *f = &a->q.f;
    const struct node_choice choice = {.request_id = f->request_id,
                                       .user_id = f->user_id,
                                       .device_id = f->device_id,
                                       .service = f->service,
                                       .request_type = f->request_type,
                                       .version = f->version,
                                       .args = f->args,
                                       .now_us = s->timers.now_us};
    if (a->fc->nodes_kind == NODES_MFA)
        return no_dynamic_nodes(out);
    uint32_t n = s->gateway ? node_selector_choose(gateway_selector(s->gateway), a->fc, &choice, order,
                                                     ARRAY_SIZE(order))
                              : 0;
    if (n == 0)
        return put_error(out, "no_nodes_available");
    term_put_tuple(out, 2);
    term_put_atom(out, "ok");
    if (all)
        term_put_list(out, n);
    for (uint32_t i = 0; i < (all ? n : 1); i++)
        term_put_atom_slice(out, a->fc->nodes[order[i]]);
    if (all)
        term_put_nil(out);
    return RPC_RETURN;
}

static enum rpc_outcome answer_node(struct server *s, const struct rpc_call *call, struct question *a, struct buf *out)
{
    (void)call;
    return answer_nodes(s, a, false, out);
}

static enum rpc_outcome answer_all_nodes(struct server *s, const struct rpc_call *call, struct question *a,
                                         struct buf *out)
{
    (void)call;
    return answer_nodes(s, a, true, out);
}

static enum rpc_outcome rpc_get_node(void *server, const struct rpc_call *call, struct buf *out)
{
    return ask(server, call, false, answer_node, out);
}

static enum rpc_outcome rpc_get_nodes(void *server, const struct rpc_call *call, struct buf *out)
{
    return ask(server, call, false, answer_all_nodes, out);
}

/* resolve_nodes/1: {ok, Config}; resolve_nodes_list/1: {ok, [Node]}. */
static enum rpc_outcome resolve(struct slice config, bool list, struct buf *out)
{
    struct fun_config_reasons why = {.count = 0};
    if (!rpc_is_struct(config, RPC_STRUCT_FUN_CONFIG))
        return RPC_ERROR;
    struct fun_config *fc = fun_config_from_term(config, SLICE_NONE, &why);
    if (!fc)
        return not_a_config(&why, out);
    uint32_t n = fc->nodes_count;
    if (fc->nodes_kind == NODES_MFA) {
        (void)no_dynamic_nodes(out);
    } else {
        term_put_tuple(out, 2);
        term_put_atom(out, "ok");
        if (!list)
            term_put_raw(out, config);
        else
            term_put_list(out, n);
        for (uint32_t i = 0; list && i < n; i++)
            term_put_atom_slice(out, fc->nodes[i]);
        if (list && n > 0)
            term_put_nil(out);
    }
    fun_config_unref(fc);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_resolve_nodes(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    return resolve(call->argv[0], false, out);
}

static enum rpc_outcome rpc_resolve_nodes_list(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    return resolve(call->argv[0], true, out);
}

/* Only the shape of the mode is looked at. */
static enum rpc_outcome rpc_choose_node_valid(void *server, const struct rpc_call *call, struct buf *out)
{
    struct slice mode;
    uint32_t arity;
    (void)server;
    if (!rpc_is_struct(call->argv[0], RPC_STRUCT_FUN_CONFIG))
        return RPC_ERROR;
    if (!fun_config_field(call->argv[0], "choose_node_mode", &mode))
        return put_bool(out, false);
    struct term_reader hash = term_reader(mode), sticky = hash;
    bool pair = (term_read_tagged(&hash, "hash", &arity) == BG_OK || term_read_tagged(&sticky, "sticky", &arity) == BG_OK) &&
                arity == 2;
    return put_bool(out, pair || term_is_atom(mode, "random") || term_is_atom(mode, "hash") ||
                             term_is_atom(mode, "round_robin"));
}

/* An integer option of at least 0; *v stays where there is none. False for another kind. */
static bool count_option(struct slice options, const char *key, int64_t *v)
{
    struct slice value;
    if (!rpc_option(options, key, &value))
        return true;
    struct term_reader r = term_reader(value);
    return term_read_int(&r, v) == BG_OK && *v >= 0;
}

/* E-192: base * 2^(attempt - 1), at most max, times 0.5 to 1.5. */
static enum rpc_outcome rpc_backoff(void *server, const struct rpc_call *call, struct buf *out)
{
    enum { SHIFT_MAX = 30 };
    struct term_reader r = term_reader(call->argv[0]);
    struct slice options = call->argc > 1 ? call->argv[1] : SLICE_NONE, jitter;
    int64_t attempt, base = 100, max = 5000;
    (void)server;
    if (term_read_int(&r, &attempt) != BG_OK || attempt < 1 || (call->argc > 1 && !rpc_is_options(options)) ||
        !count_option(options, "base_ms", &base) || !count_option(options, "max_ms", &max))
        return RPC_ERROR;
    int64_t shift = attempt - 1 < SHIFT_MAX ? attempt - 1 : SHIFT_MAX;
    int64_t delay = base > max >> shift ? max : base << shift;
    bool exact = rpc_option(options, "jitter", &jitter) && (term_is_atom(jitter, "false") || term_is_nil(jitter));
    if (!exact)
        delay = (int64_t)((double)delay * (0.5 + (double)(random_u64() >> 11) * 0x1p-53));
    return rpc_put_count(out, (size_t)delay);
}

static enum rpc_outcome rpc_reset_turn(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    (void)call;
    if (s->gateway)
        node_selector_reset_turn(gateway_selector(s->gateway));
    return rpc_put_atom(out, "ok");
}

static enum rpc_outcome rpc_cleanup_sticky(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    (void)call;
    if (s->gateway)
        (void)node_selector_cleanup(gateway_selector(s->gateway), s->timers.now_us);
    return rpc_put_atom(out, "ok");
}

/* ---- Security ---- */

static enum rpc_outcome rpc_admin_allowed(void *server, const struct rpc_call *call, struct buf *out)
{
    static const char *const actions[] = {"change_detail_error", "update_rate_limit_config", "push_config",
                                          "enable_tracing", "disable_tracing"};
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (term_is_atom(call->argv[0], actions[i]))
            return put_bool(out, admin_allows(server, actions[i]));
    return RPC_ERROR;
}

/* ok | {error, {mfa_not_allowed, Term}} */
static enum rpc_outcome rpc_validate_mfa(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct term_reader r = term_reader(call->argv[0]);
    struct slice module, function;
    uint32_t arity;
    if (term_read_tuple(&r, &arity) == BG_OK && arity == 3 && term_read_atom(&r, &module) == BG_OK &&
        term_read_atom(&r, &function) == BG_OK && mfa_rules_allow(&s->access.rules, module, function))
        return rpc_put_atom(out, "ok");
    term_put_tuple(out, 2);
    term_put_atom(out, "error");
    term_put_tuple(out, 2);
    term_put_atom(out, "mfa_not_allowed");
    term_put_raw(out, call->argv[0]);
    return RPC_RETURN;
}

#define LIBRARY "Elixir.PhoenixGenApi"
#define SELECTOR LIBRARY ".NodeSelector"
#define PERMISSION LIBRARY ".Permission"
#define ARGUMENTS LIBRARY ".ArgumentHandler"
#define SECURITY LIBRARY ".Security"

const struct rpc_entry rules_entries[] = {
    {PERMISSION, "check_permission", 2, rpc_check_permission},
    {PERMISSION, "check_permission!", 2, rpc_check_permission_or_raise},
    {ARGUMENTS, "convert_args!", 2, rpc_convert_args},
    {ARGUMENTS, "validate_args!", 2, rpc_validate_args},
    {ARGUMENTS, "string_max_bytes", 0, rpc_string_max},
    {ARGUMENTS, "list_max_items", 0, rpc_list_max},
    {ARGUMENTS, "map_max_items", 0, rpc_map_max},
    {SELECTOR, "get_node", 2, rpc_get_node},
    {SELECTOR, "get_nodes", 2, rpc_get_nodes},
    {SELECTOR, "resolve_nodes", 1, rpc_resolve_nodes},
    {SELECTOR, "resolve_nodes_list", 1, rpc_resolve_nodes_list},
    {SELECTOR, "choose_node_valid?", 1, rpc_choose_node_valid},
    {SELECTOR, "calculate_backoff", 1, rpc_backoff},
    {SELECTOR, "calculate_backoff", 2, rpc_backoff},
    {SELECTOR, "reset_round_robin", 0, rpc_reset_turn},
    {SELECTOR, "cleanup_sticky_table", 0, rpc_cleanup_sticky},
    {SECURITY, "admin_action_allowed?", 1, rpc_admin_allowed},
    {SECURITY, "validate_mfa", 1, rpc_validate_mfa},
};
const size_t rules_entries_count = ARRAY_SIZE(rules_entries);
