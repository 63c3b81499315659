/*
 * diag_flow.c: call_flow, list_call_flows and inspect_request (O-070..O-080, O-090): what becomes of a request to one
 * function, from its config and the state of the cluster now. Nothing is called.
 *
 * The phases are the library's, by name and order; their texts say what this gateway does. Lists are bounded as diag.h
 * says, so that an answer takes milliseconds.
 */
#include "diag.h"

#include <stdlib.h>

#include "observer.h"

enum {
    TEXT_MAX = 2000,   /* bytes of one description */
    NODES_TEXT = 20,   /* nodes named in one */
    LIMITS_SHOWN = 100 /* rate limits of one function, of each kind */
};

/* Every rate limit, once for any number of flows: the global ones, and the others by function. */
struct limits {
    const struct rate_limit **all;
    size_t global;
    size_t count;
};

struct flow {
    const struct server *s;
    const struct fun_config *fc;
    const struct limits *limits;
    const struct slice *nodes;
    uint32_t nodes_count;
    uint32_t reachable;
    struct buf text; /* of the description at hand */
    struct buf *out;
};

/* ---- rate limits --------------------------------------------------------------------------------------- */

static int compare_scopes(struct rate_scope a, struct rate_scope b)
{
    int c = slice_compare(a.service, b.service);
    return c ? c : slice_compare(a.request_type, b.request_type);
}

static int by_scope(const void *a, const void *b)
{
    const struct rate_limit *x = *(const struct rate_limit *const *)a, *y = *(const struct rate_limit *const *)b;
    return compare_scopes(x->scope, y->scope);
}

/* Without memory, or without a limiter, there are none to show. */
static void limits_init(struct limits *l, const struct server *s)
{
    struct rate_limit_view v;
    size_t n = 0;
    memset(l, 0, sizeof(*l));
    for (size_t pos = 0; s->limiter && rate_limiter_next_limit(s->limiter, &pos, &v);)
        n++;
    l->all = n ? calloc(n, sizeof(*l->all)) : NULL;
    for (size_t pos = 0; l->all && l->count < n && rate_limiter_next_limit(s->limiter, &pos, &v); l->count++) {
        l->all[l->count] = v.limit;
        l->global += v.limit->scope.service.len == 0;
    }
    if (l->count > l->global)
        qsort(l->all + l->global, l->count - l->global, sizeof(*l->all), by_scope);
}

static void put_limit(const struct rate_limit *l, const char *scope, struct buf *out)
{
    char name[RATE_KEY_TEXT_MAX];
    term_put_map(out, 4);
    diag_put_word(out, "scope", scope);
    diag_key(out, "key");
    rate_key_print(&l->key, name, sizeof(name));
    if (l->key.kind == RATE_KEY_ARG)
        term_put_binary(out, l->key.name);
    else
        term_put_atom(out, name);
    diag_put_uint(out, "max_requests", l->max_requests);
    diag_put_uint(out, "window_ms", l->window_ms);
}

static void put_global_limits(const struct flow *f)
{
    struct list_mark m = list_open(f->out);
    for (; m.count < f->limits->global && m.count < LIMITS_SHOWN; m.count++)
        put_limit(f->limits->all[m.count], "global", f->out);
    list_close(f->out, &m);
}

/* Where the limits of a scope begin, or would. */
static size_t first_of(const struct limits *l, struct rate_scope scope)
{
    size_t lo = l->global, hi = l->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (compare_scopes(l->all[mid]->scope, scope) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void put_api_limits(const struct flow *f)
{
    const struct limits *l = f->limits;
    struct rate_scope scope = {f->fc->service, f->fc->request_type};
    struct list_mark m = list_open(f->out);
    for (size_t i = first_of(l, scope);
         i < l->count && m.count < LIMITS_SHOWN && compare_scopes(l->all[i]->scope, scope) == 0; i++, m.count++)
        put_limit(l->all[i], "api", f->out);
    list_close(f->out, &m);
}

static void put_rate_limit(const struct flow *f)
{
    diag_key(f->out, "rate_limit");
    term_put_map(f->out, 2);
    diag_key(f->out, "global");
    put_global_limits(f);
    diag_key(f->out, "api");
    put_api_limits(f);
}

/* ---- texts --------------------------------------------------------------------------------------------- */

static struct buf *text_begin(struct flow *f)
{
    buf_reset(&f->text);
    return &f->text;
}

/* A text that grew over its bound ends where that is. */
static void put_text(struct flow *f, const char *key)
{
    diag_key(f->out, key);
    term_put_binary(f->out, buf_slice(&f->text));
}

static void add_mfa(struct buf *text, const struct mfa *m, uint32_t more)
{
    buf_add_slice(text, m->module);
    buf_putc(text, '.');
    buf_add_slice(text, m->function);
    buf_printf(text, "/%u", m->args_count + more);
}

/* The config's own value under key, nil when it has none. */
static void put_field(const struct flow *f, const char *key)
{
    struct slice value;
    diag_key(f->out, key);
    if (fun_config_field(f->fc->term, key, &value))
        term_put_raw(f->out, value);
    else
        term_put_atom(f->out, "nil");
}

static void put_pair(struct buf *out, const char *key, const struct mfa *m)
{
    diag_key(out, key);
    term_put_tuple(out, 2);
    term_put_atom_slice(out, m->module);
    term_put_atom_slice(out, m->function);
}

/* ---- permission, hooks, retry -------------------------------------------------------------------------- */

/* O-071 want: the callback decides, so it is what is shown. */
static void put_callback(struct flow *f)
{
    term_put_map(f->out, 3);
    diag_put_word(f->out, "strategy", "custom_mfa");
    put_pair(f->out, "mfa", &f->fc->permission_callback);
    buf_puts(text_begin(f), "Custom permission check: ");
    add_mfa(&f->text, &f->fc->permission_callback, 1);
    put_text(f, "description");
}

static void put_role_check(struct flow *f)
{
    struct slice check, roles = SLICE_NONE;
    struct term_reader r;
    uint32_t arity;
    bool pair = fun_config_field(f->fc->term, "check_permission", &check);
    r = term_reader(check);
    pair = pair && term_read_tagged(&r, "role", &arity) == BG_OK && arity == 2 && term_skip(&r, &roles) == BG_OK;
    term_put_map(f->out, 3);
    diag_put_word(f->out, "strategy", "role_based");
    diag_key(f->out, "roles");
    if (pair)
        term_put_raw(f->out, roles);
    else
        term_put_nil(f->out);
    buf_puts(text_begin(f), "Requires one of roles: ");
    if (pair)
        term_inspect(roles, &f->text, TEXT_MAX / 2);
    put_text(f, "description");
}

static void put_permission(struct flow *f)
{
    diag_key(f->out, "permission");
    if (f->fc->permission_callback.present) {
        put_callback(f);
        return;
    }
    switch (f->fc->permission) {
    case PERMIT_ALL:
        term_put_map(f->out, 2);
        diag_put_word(f->out, "strategy", "none");
        diag_put_string(f->out, "description", "No permission check");
        return;
    case PERMIT_AUTHENTICATED: /* the library knows it by no name of its own (O-071, quirk) */
        term_put_map(f->out, 3);
        diag_put_word(f->out, "strategy", "unknown");
        diag_put_word(f->out, "raw", "any_authenticated");
        diag_put_string(f->out, "description", "Unknown permission config: :any_authenticated");
        return;
    case PERMIT_ARG:
        term_put_map(f->out, 3);
        diag_put_word(f->out, "strategy", "arg_based");
        diag_key(f->out, "field");
        term_put_binary(f->out, f->fc->permission_arg);
        buf_puts(text_begin(f), "Checks permission via request arg '");
        buf_add_slice(&f->text, f->fc->permission_arg);
        buf_putc(&f->text, '\'');
        put_text(f, "description");
        return;
    case PERMIT_ROLE:
        put_role_check(f);
        return;
    }
}

/* O-072. before is asked with request and config, after with the result as well (E-044). */
static void put_hook(struct flow *f, const char *key, const struct mfa *hook, uint32_t args)
{
    struct slice field;
    struct term_reader r;
    uint32_t arity = 0;
    diag_key(f->out, key);
    term_put_map(f->out, hook->present ? 4 : 2);
    diag_put_flag(f->out, "configured", hook->present);
    if (!hook->present) {
        diag_put_string(f->out, "description", "No hook configured");
        return;
    }
    put_pair(f->out, "mfa", hook);
    diag_put_uint(f->out, "args", args + hook->args_count);
    if (fun_config_field(f->fc->term, key, &field)) {
        r = term_reader(field);
        if (term_read_tuple(&r, &arity) != BG_OK)
            arity = 0;
    }
    add_mfa(text_begin(f), hook, args);
    buf_puts(&f->text, arity == 2 ? "(request, fun_config)" : "(request, fun_config, ...)");
    put_text(f, "description");
}

enum { HOOK_ARGS = 2 };

static void put_hooks(struct flow *f)
{
    diag_key(f->out, "hooks");
    term_put_map(f->out, 2);
    put_hook(f, "before_execute", &f->fc->before_execute, HOOK_ARGS);
    put_hook(f, "after_execute", &f->fc->after_execute, HOOK_ARGS);
}

/* O-073. */
static void put_retry(struct flow *f)
{
    const struct fun_config *fc = f->fc;
    bool same = fc->retry_mode == RETRY_SAME_NODE;
    diag_key(f->out, "retry");
    term_put_map(f->out, fc->retry_mode == RETRY_NONE ? 2 : 4);
    diag_put_flag(f->out, "configured", fc->retry_mode != RETRY_NONE);
    if (fc->retry_mode == RETRY_NONE) {
        diag_put_string(f->out, "description", "No retry");
        return;
    }
    diag_put_word(f->out, "mode", same ? "same_node" : "all_nodes");
    diag_put_uint(f->out, "attempts", fc->retry_count);
    buf_printf(text_begin(f), "Retry up to %u times %s", fc->retry_count,
               same ? "on the same node" : "across all nodes");
    put_text(f, "description");
}

/* ---- phases -------------------------------------------------------------------------------------------- */

static void say_channel(struct flow *f)
{
    buf_puts(&f->text, "The event arrives on the client's channel");
}

static void say_decode(struct flow *f)
{
    buf_puts(&f->text, "The payload's fields are read and checked");
}

static void say_lookup(struct flow *f)
{
    buf_puts(&f->text, "ConfigDb: one look-up by service, request_type and version");
}

static void say_hook(struct flow *f, const char *name, const struct mfa *hook)
{
    buf_printf(&f->text, "%s hook", name);
    buf_puts(&f->text, hook->present ? ": " : "s (none configured)");
    if (!hook->present)
        return;
    add_mfa(&f->text, hook, HOOK_ARGS);
    buf_puts(&f->text, ", asked on the service node");
}

static void say_before(struct flow *f)
{
    say_hook(f, "before_execute", &f->fc->before_execute);
}

static void say_after(struct flow *f)
{
    say_hook(f, "after_execute", &f->fc->after_execute);
}

static void say_permission(struct flow *f)
{
    buf_puts(&f->text, "Permission: by the session's user and roles");
}

static void say_rate_limit(struct flow *f)
{
    buf_puts(&f->text, f->s->limiter ? "RateLimiter: sliding window check" : "RateLimiter: switched off");
}

static void say_arguments(struct flow *f)
{
    bool later = f->fc->response_type == RESPONSE_ASYNC || f->fc->response_type == RESPONSE_NONE;
    buf_puts(&f->text, "Arguments are checked and converted to terms");
    buf_puts(&f->text, later ? " (after the client had its acknowledgement)" : "");
}

static void say_nodes(struct flow *f)
{
    struct slice mode;
    buf_puts(&f->text, "NodeSelector picks ");
    if (fun_config_field(f->fc->term, "choose_node_mode", &mode))
        term_inspect(mode, &f->text, 200);
    buf_puts(&f->text, " from [");
    for (uint32_t i = 0; i < f->nodes_count && i < NODES_TEXT; i++) {
        buf_puts(&f->text, i ? ", " : "");
        buf_add_slice(&f->text, f->nodes[i]);
    }
    buf_puts(&f->text, f->nodes_count > NODES_TEXT ? ", ...]" : "]");
    buf_puts(&f->text, f->nodes ? "; before the hooks, which run there" : "; its function is asked first");
}

static void say_execution(struct flow *f)
{
    buf_printf(&f->text, "RPC to target node(s): %u/%u reachable", f->reachable, f->nodes_count);
}

static void say_retry(struct flow *f)
{
    buf_printf(&f->text, "Retry on failure: %u attempts (%s)", f->fc->retry_count,
               f->fc->retry_mode == RETRY_SAME_NODE ? "same node" : "all nodes");
}

static void say_response(struct flow *f)
{
    static const char *const texts[] = {
        [RESPONSE_SYNC] = "Sync result pushed back to client via WebSocket",
        [RESPONSE_ASYNC] = "Async result pushed to client when ready",
        [RESPONSE_STREAM] = "Stream chunks pushed to client until complete",
        [RESPONSE_NONE] = "Fire-and-forget (no response to client)",
    };
    buf_puts(&f->text, texts[f->fc->response_type]);
}

static bool retries(const struct fun_config *fc)
{
    return fc->retry_mode != RETRY_NONE;
}

/* O-074. when NULL: always. */
static const struct phase {
    const char *name;
    void (*say)(struct flow *f);
    bool (*when)(const struct fun_config *fc);
} phases[] = {
    {"channel", say_channel, NULL},
    {"decode", say_decode, NULL},
    {"config_lookup", say_lookup, NULL},
    {"hooks_before", say_before, NULL},
    {"permission", say_permission, NULL},
    {"rate_limit", say_rate_limit, NULL},
    {"argument_validation", say_arguments, NULL},
    {"node_selection", say_nodes, NULL},
    {"execution", say_execution, NULL},
    {"retry", say_retry, retries},
    {"hooks_after", say_after, NULL},
    {"response", say_response, NULL},
};

static void put_steps(struct flow *f)
{
    diag_key(f->out, "steps");
    struct list_mark m = list_open(f->out);
    for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
        if (phases[i].when && !phases[i].when(f->fc))
            continue;
        term_put_map(f->out, 2);
        diag_put_word(f->out, "phase", phases[i].name);
        text_begin(f);
        phases[i].say(f);
        put_text(f, "desc");
        m.count++;
    }
    list_close(f->out, &m);
}

/* ---- one flow ------------------------------------------------------------------------------------------ */

/* O-077: this node, or a connected one. */
static bool is_reachable(const struct server *s, struct slice node)
{
    return slice_is(node, s->self.name) || (s->cluster && cluster_link(s->cluster, node));
}

enum which_nodes { NODES_ALL, NODES_REACHABLE, NODES_UNREACHABLE };

static uint32_t put_nodes(const struct flow *f, const char *key, enum which_nodes which)
{
    diag_key(f->out, key);
    struct list_mark m = list_open(f->out);
    for (uint32_t i = 0; i < f->nodes_count; i++) {
        if (which != NODES_ALL && is_reachable(f->s, f->nodes[i]) != (which == NODES_REACHABLE))
            continue;
        term_put_atom_slice(f->out, f->nodes[i]);
        m.count++;
    }
    list_close(f->out, &m);
    return m.count;
}

static void put_version(struct buf *out, struct slice version)
{
    diag_key(out, "version");
    if (version.ptr)
        term_put_binary(out, version);
    else
        term_put_atom(out, "nil");
}

enum { FLOW_KEYS = 17, ERROR_KEYS = 5, REQUEST_KEYS = 6 };

/* The 17 pairs of a flow, behind the head of their map. service and type: terms. */
static void put_pairs(struct flow *f, struct slice service, struct slice type)
{
    struct buf *out = f->out;
    f->nodes = gateway_known_nodes(f->s->gateway, f->fc, &f->nodes_count);
    buf_init(&f->text, TEXT_MAX);
    diag_key(out, "service");
    term_put_raw(out, service);
    diag_key(out, "request_type");
    term_put_raw(out, type);
    put_version(out, f->fc->version);
    diag_key(out, "config");
    fun_config_put_term(f->fc, out);
    diag_put_flag(out, "local?", false); /* nothing runs on this node */
    put_nodes(f, "nodes", NODES_ALL);
    f->reachable = put_nodes(f, "reachable_nodes", NODES_REACHABLE);
    put_nodes(f, "unreachable_nodes", NODES_UNREACHABLE);
    put_field(f, "response_type");
    put_field(f, "choose_node_mode");
    put_field(f, "timeout");
    put_field(f, "mfa");
    put_rate_limit(f);
    put_permission(f);
    put_hooks(f);
    put_retry(f);
    put_steps(f);
    buf_fini(&f->text);
}

/* O-075: the 5 pairs of a flow that does not get beyond the look-up. */
static void put_error_pairs(const struct diag_function *f, const char *error, struct buf *out)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    diag_key(out, "service");
    term_put_raw(out, f->service_term);
    diag_key(out, "request_type");
    term_put_raw(out, f->type_term);
    diag_put_word(out, "config", "nil");
    diag_put_word(out, "error", error);
    diag_key(out, "steps");
    term_put_list(out, 1);
    term_put_map(out, 2);
    diag_put_word(out, "phase", "config_lookup");
    buf_puts(&text, "ConfigDb.get(");
    term_inspect(f->service_term, &text, TEXT_MAX / 4);
    buf_puts(&text, ", ");
    term_inspect(f->type_term, &text, TEXT_MAX / 4);
    buf_printf(&text, ") → :%s", error);
    diag_key(out, "desc");
    term_put_binary(out, buf_slice(&text));
    term_put_nil(out);
    buf_fini(&text);
}

/* As a request would find it; a version that is not there shows the latest (O-076, quirk). */
static enum config_lookup find_function(const struct server *s, const struct diag_function *f, struct fun_config **fc)
{
    if (!f->service.ptr || !f->request_type.ptr)
        return CONFIG_NOT_FOUND;
    enum config_lookup found = config_db_find(s->db, f->service, f->request_type, f->version, fc);
    if (found == CONFIG_NOT_FOUND && f->version.ptr)
        found = config_db_find(s->db, f->service, f->request_type, SLICE_NONE, fc);
    return found;
}

/* A flow's map with room for so many more pairs, which the caller appends. */
static void put_flow(const struct server *s, const struct diag_function *f, uint32_t more, struct buf *out)
{
    struct fun_config *fc = NULL;
    enum config_lookup found = find_function(s, f, &fc);
    if (found != CONFIG_FOUND || !s->gateway) {
        term_put_map(out, ERROR_KEYS + more);
        put_error_pairs(f, found == CONFIG_DISABLED ? "disabled" : "not_found", out);
        return;
    }
    struct limits limits;
    limits_init(&limits, s);
    struct flow flow = {.s = s, .fc = fc, .limits = &limits, .out = out};
    term_put_map(out, FLOW_KEYS + more);
    put_pairs(&flow, f->service_term, f->type_term);
    free(limits.all);
}

void diag_put_call_flow(const struct server *s, const struct diag_function *f, struct buf *out)
{
    put_flow(s, f, 0, out);
}

static struct slice text_of(struct slice term)
{
    struct slice text;
    return term.ptr && !term_is_nil(term) && term_text(term, &text) ? text : SLICE_NONE;
}

void diag_function_read(struct diag_function *f, struct slice service, struct slice request_type, struct slice version)
{
    *f = (struct diag_function){service, request_type, text_of(service), text_of(request_type), text_of(version)};
    if (slice_is(f->version, "0.0.0"))
        f->version = SLICE_NONE;
}

/* ---- inspect_request ----------------------------------------------------------------------------------- */

/* Under the atom, else under the text; nil when it is under neither. */
static struct slice request_field(struct slice request, const char *key)
{
    static const char nil_atom[] = "\x77\x03nil"; /* SMALL_ATOM_UTF8_EXT */
    struct slice value;
    if (fun_config_field(request, key, &value))
        return value;
    return slice_make(nil_atom, sizeof(nil_atom) - 1);
}

void diag_put_request(const struct server *s, struct slice request, struct buf *out)
{
    static const char *const keys[REQUEST_KEYS] = {"service", "request_type", "version",
                                                   "user_id", "device_id",    "request_id"};
    struct diag_function f;
    diag_function_read(&f, request_field(request, "service"), request_field(request, "request_type"),
                       request_field(request, "version"));
    put_flow(s, &f, 1, out);
    diag_key(out, "request");
    term_put_map(out, REQUEST_KEYS);
    for (size_t i = 0; i < REQUEST_KEYS; i++) {
        diag_key(out, keys[i]);
        term_put_raw(out, request_field(request, keys[i]));
    }
}

/* ---- list_call_flows ----------------------------------------------------------------------------------- */

/* The service as it came, an atom or a binary. */
static void put_disabled(const struct fun_config *fc, struct slice service, struct slice type, struct buf *out)
{
    term_put_map(out, 5);
    diag_key(out, "service");
    term_put_raw(out, service);
    diag_key(out, "request_type");
    term_put_raw(out, type);
    put_version(out, fc->version);
    diag_put_word(out, "status", "disabled");
    diag_put_flag(out, "disabled", true);
}

static bool put_one_of_list(const struct server *s, const struct fun_config *fc, const struct limits *limits,
                            struct buf *out)
{
    struct slice service, type;
    if (!fun_config_field(fc->term, "service", &service) || !fun_config_field(fc->term, "request_type", &type))
        return false;
    if (fc->disabled) {
        put_disabled(fc, service, type, out);
        return true;
    }
    struct flow flow = {.s = s, .fc = fc, .limits = limits, .out = out};
    term_put_map(out, FLOW_KEYS + 1);
    put_pairs(&flow, service, type);
    diag_put_flag(out, "disabled", false);
    return true;
}

void diag_put_call_flows(const struct server *s, bool include_disabled, uint32_t offset, struct buf *out)
{
    struct limits limits;
    size_t count = 0, passed = 0;
    struct fun_config **all = s->gateway ? rpc_sorted_configs(s, SLICE_NONE, &count) : NULL;
    struct list_mark m = list_open(out);
    limits_init(&limits, s);
    for (size_t i = 0; i < count && m.count < DIAG_FLOWS_MAX; i++)
        if ((!all[i]->disabled || include_disabled) && passed++ >= offset)
            m.count += put_one_of_list(s, all[i], &limits, out);
    list_close(out, &m);
    free(limits.all);
    free(all);
}
