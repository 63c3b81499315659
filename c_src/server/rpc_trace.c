/*
 * rpc_trace.c: trace_processes, trace_functions, stop_trace and stop_trace_functions of PhoenixGenApi.Diagnostics
 * (O-095..O-098) over rpc. There is no code to trace here; what is traced are requests: all, those of one channel (its
 * pid), or those that call certain functions on service nodes, narrowed by options of our own.
 *
 * Every way in asks the admin actions first (S-080), and answers in the library's terms.
 */
#include "diag.h"

#include "observer.h"

enum { TARGETS_MAX = TRACES_MAX, FLAGS_MAX = 32, INSPECTED_MAX = 16384 };

#define TRACE_FN(name) enum rpc_outcome name(void *server, const struct rpc_call *call, struct buf *out)

/* ---- answers ------------------------------------------------------------------------------------------- */

static enum rpc_outcome refuse(struct buf *out, const char *why)
{
    rpc_put_pair(out, "error", why);
    return RPC_RETURN;
}

static void put_inspected(struct slice term, struct buf *out)
{
    struct buf text;
    buf_init(&text, 0);
    term_inspect(term, &text, INSPECTED_MAX); /* the key of a map: two that differ must not be cut alike */
    term_put_binary(out, buf_slice(&text));
    buf_fini(&text);
}

static void put_terms(const struct slice *terms, uint32_t n, struct buf *out)
{
    term_put_list(out, n);
    for (uint32_t i = 0; i < n; i++)
        term_put_raw(out, terms[i]);
    if (n)
        term_put_nil(out);
}

/* {error, {Why, [Term]}} */
static enum rpc_outcome refuse_terms(struct buf *out, const char *why, const struct slice *terms, uint32_t n)
{
    term_put_tuple(out, 2);
    term_put_atom(out, "error");
    term_put_tuple(out, 2);
    term_put_atom(out, why);
    put_terms(terms, n, out);
    return RPC_RETURN;
}

/* ---- options ------------------------------------------------------------------------------------------- */

/* What the caller wants, and its options as terms for the answer. */
struct asked_trace {
    struct trace_wanted wanted;
    struct slice flags; /* list term; ptr NULL: the default */
    struct slice tracer;
};

/* O-095: all that the library knows; what each means here stands in docs/diagnostics.md. */
static const char *const flag_names[] = {"call",      "return_to",     "return_trace", "procs", "ports",
                                         "timestamp", "cpu_timestamp", "arity",        "silent"};

static bool has_flag(const bool *flags, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++)
        if (strcmp(flag_names[i], name) == 0)
            return flags[i];
    return false;
}

static bool read_flag(struct slice term, bool *flags)
{
    for (size_t i = 0; i < ARRAY_SIZE(flag_names); i++) {
        if (!term_is_atom(term, flag_names[i]))
            continue;
        flags[i] = true;
        return true;
    }
    return false;
}

static bool read_flags(struct asked_trace *a, struct slice options)
{
    bool flags[ARRAY_SIZE(flag_names)] = {false};
    struct slice flag;
    uint32_t n;
    if (!diag_option(options, "flags", &a->flags))
        return false;
    if (!a->flags.ptr)
        return true;
    struct term_reader r = term_reader(a->flags);
    if (term_read_list(&r, &n) != BG_OK || n > FLAGS_MAX)
        return false;
    for (; n > 0; n--)
        if (term_skip(&r, &flag) != BG_OK || !read_flag(flag, flags))
            return false;
    a->wanted.calls = has_flag(flags, "call") && !has_flag(flags, "silent");
    a->wanted.frames = has_flag(flags, "procs");
    a->wanted.timestamps = has_flag(flags, "timestamp") || has_flag(flags, "cpu_timestamp");
    return true;
}

/* [call, return_to, procs] unless given. */
static void put_flags(const struct asked_trace *a, struct buf *out)
{
    diag_key(out, "flags");
    if (a->flags.ptr) {
        term_put_raw(out, a->flags);
        return;
    }
    term_put_list(out, 3);
    term_put_atom(out, "call");
    term_put_atom(out, "return_to");
    term_put_atom(out, "procs");
    term_put_nil(out);
}

/* The caller itself, or another process of its node. */
static bool read_tracer(struct asked_trace *a, const struct rpc_call *call, struct slice options)
{
    struct term_pid pid;
    if (!diag_option(options, "tracer", &a->tracer))
        return false;
    if (!a->tracer.ptr)
        a->tracer = call->caller;
    struct term_reader r = term_reader(a->tracer);
    if (!call->link || !a->tracer.ptr || term_read_pid(&r, &pid) != BG_OK ||
        !slice_eq(pid.node, dist_link_node(call->link)))
        return false;
    a->wanted.receiver = a->tracer;
    a->wanted.link = call->link;
    return true;
}

static bool read_number(struct slice options, const char *key, uint32_t *n)
{
    struct slice value;
    int64_t v;
    if (!diag_option(options, key, &value))
        return false;
    struct term_reader r = term_reader(value);
    if (!value.ptr)
        return true;
    if (term_read_int(&r, &v) != BG_OK || v < 1 || v > UINT32_MAX)
        return false;
    *n = (uint32_t)v;
    return true;
}

static bool read_text(struct slice options, const char *key, struct slice *text)
{
    struct slice value;
    if (!diag_option(options, key, &value))
        return false;
    return !value.ptr || term_is_nil(value) || term_text(value, text);
}

/* Ours: which requests, how many messages, for how long. */
static bool read_narrowing(struct asked_trace *a, struct slice options)
{
    struct trace_filter *f = &a->wanted.filter;
    struct slice log;
    if (!diag_option(options, "log", &log))
        return false;
    a->wanted.to_log = !log.ptr || !term_is_atom(log, "false");
    return read_text(options, "service", &f->service) && read_text(options, "request_type", &f->request_type) &&
           read_text(options, "user_id", &f->user_id) && read_text(options, "topic", &f->topic) &&
           read_text(options, "request_id", &f->request_id) &&
           read_number(options, "max_messages", &a->wanted.max_messages) &&
           read_number(options, "max_per_second", &a->wanted.max_per_second) &&
           read_number(options, "expires_ms", &a->wanted.expires_ms);
}

/* NULL when all is well, else the library's word for what is not; "" for options that are no keyword list. */
static const char *read_options(struct asked_trace *a, const struct rpc_call *call, struct slice options)
{
    struct slice any;
    memset(a, 0, sizeof(*a));
    trace_wanted_init(&a->wanted);
    if (!diag_option(options, "", &any))
        return "";
    if (!read_tracer(a, call, options))
        return "invalid_tracer";
    if (!read_flags(a, options))
        return "invalid_trace_flag";
    return read_narrowing(a, options) ? NULL : "invalid_trace_option";
}

/* ---- lists of targets ---------------------------------------------------------------------------------- */

static bool is_among(const struct slice *items, uint32_t n, struct slice item)
{
    for (uint32_t i = 0; i < n; i++)
        if (term_equal(items[i], item))
            return true;
    return false;
}

/* One target, or a list of at most TARGETS_MAX of them, each once. False for a longer or improper one. */
static bool read_list(struct slice term, struct slice *items, uint32_t *n)
{
    struct term_reader r = term_reader(term);
    *n = 1;
    items[0] = term;
    if (term_peek(&r) == TERM_STRING)
        return false;
    if (term_read_list(&r, n) != BG_OK) {
        *n = 1;
        return true;
    }
    uint32_t left = *n, listed = left;
    if (listed > TARGETS_MAX)
        return false;
    for (*n = 0; left > 0; left--) {
        if (term_skip(&r, &items[*n]) != BG_OK)
            return false;
        *n += !is_among(items, *n, items[*n]);
    }
    return listed == 0 || term_read_tail(&r) == BG_OK;
}

static bool is_target(struct slice t)
{
    static const char *const names[] = {"all",      "processes",          "ports",
                                        "existing", "existing_processes", "existing_ports",
                                        "new",      "new_processes",      "new_ports"};
    struct term_reader r = term_reader(t);
    enum term_kind kind = term_peek(&r);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (term_is_atom(t, names[i]))
            return true;
    return kind == TERM_PID || kind == TERM_PORT;
}

/* The channel behind a pid; HANDLE_NONE for anything else. */
static handle_t channel_of(const struct server *s, struct slice t)
{
    struct term_reader r = term_reader(t);
    struct term_pid pid;
    if (term_read_pid(&r, &pid) != BG_OK || !slice_is(pid.node, s->self.name))
        return HANDLE_NONE;
    handle_t h = node_pid_handle(&s->self, &pid);
    const struct process_ops *ops = process_ops(s->processes, h);
    return ops && strcmp(ops->kind, "channel") == 0 ? h : HANDLE_NONE;
}

/* Reads targets and finds those that cannot be traced: all but channels' pids, and `all` alone. NULL, or the library's
 * word for a target that is none; *bad: how many stand in worse. */
static const char *read_targets(const struct server *s, struct slice term, struct slice *targets, uint32_t *n,
                                struct slice *worse, uint32_t *bad)
{
    *bad = 0;
    if (!read_list(term, targets, n))
        return "invalid_trace_target";
    for (uint32_t i = 0; i < *n; i++)
        if (!is_target(targets[i]))
            return "invalid_trace_target";
    if (*n == 1 && term_is_atom(targets[0], "all"))
        return NULL;
    for (uint32_t i = 0; i < *n; i++)
        if (channel_of(s, targets[i]) == HANDLE_NONE)
            worse[(*bad)++] = targets[i];
    return NULL;
}

/* Starts one trace for each filter; all or none. NULL, or the word for what went wrong. */
static const char *start_all(struct server *s, const struct trace_wanted *w, const struct trace_filter *filters,
                             uint32_t n)
{
    uint32_t ids[TARGETS_MAX];
    struct err e;
    for (uint32_t i = 0; i < n; i++) {
        struct trace_wanted one = *w;
        one.filter = filters[i];
        int rc = tracer_start(s->tracer, &one, &ids[i], &e);
        if (rc == BG_OK)
            continue;
        while (i-- > 0)
            tracer_stop(s->tracer, ids[i]);
        return rc == BG_EGONE ? "invalid_tracer" : "too_many_traces";
    }
    return NULL;
}

static void put_pair_of(const char *key, struct slice term, struct buf *out)
{
    diag_key(out, key);
    term_put_raw(out, term);
}

/* #{tracer, flags, targets, results}: for `all` the number of channels, for a pid 1. */
static void put_process_trace(const struct server *s, const struct asked_trace *a, const struct slice *targets,
                              uint32_t n, struct buf *out)
{
    term_put_map(out, 4);
    put_pair_of("tracer", a->tracer, out);
    put_flags(a, out);
    diag_key(out, "targets");
    put_terms(targets, n, out);
    diag_key(out, "results");
    term_put_map(out, n);
    for (uint32_t i = 0; i < n; i++) {
        put_inspected(targets[i], out);
        term_put_uint(out, term_is_atom(targets[i], "all") ? s->metrics.value[METRIC_CHANNEL_JOINED] : 1);
    }
}

static struct slice options_of(const struct rpc_call *call, unsigned at)
{
    return call->argc > at ? call->argv[at] : SLICE_NONE;
}

TRACE_FN(rpc_trace_processes)
{
    struct server *s = server;
    struct asked_trace a;
    struct slice targets[TARGETS_MAX + 1], worse[TARGETS_MAX + 1];
    struct trace_filter filters[TARGETS_MAX + 1];
    uint32_t n, bad;
    if (!admin_allows(s, "enable_tracing"))
        return refuse(out, "admin_action_denied");
    const char *why = read_options(&a, call, options_of(call, 1));
    if (!why)
        why = read_targets(s, call->argv[0], targets, &n, worse, &bad);
    if (why)
        return *why ? refuse(out, why) : RPC_ERROR;
    if (bad)
        return refuse_terms(out, "invalid_trace_target", worse, bad);
    for (uint32_t i = 0; i < n; i++) {
        filters[i] = a.wanted.filter;
        filters[i].channel = channel_of(s, targets[i]);
    }
    why = start_all(s, &a.wanted, filters, n);
    if (why)
        return refuse(out, why);
    term_put_tuple(out, 2);
    term_put_atom(out, "ok");
    put_process_trace(s, &a, targets, n, out);
    return RPC_RETURN;
}

/* ---- functions ----------------------------------------------------------------------------------------- */

/* {M, F}, {M, F, Arity | '_'} or `all`, as a filter; texts with ptr NULL for '_'. */
static bool read_mfa(struct slice term, struct trace_filter *f)
{
    struct term_reader r = term_reader(term), arg;
    struct slice arity_term;
    uint32_t arity;
    int64_t v;
    f->arity = -1;
    if (term_is_atom(term, "all"))
        return true;
    if (term_read_tuple(&r, &arity) != BG_OK || arity < 2 || arity > 3 || term_read_atom(&r, &f->module) != BG_OK ||
        term_read_atom(&r, &f->function) != BG_OK)
        return false;
    if (slice_is(f->function, "_"))
        f->function = SLICE_NONE;
    if (arity == 2)
        return true;
    if (term_skip(&r, &arity_term) != BG_OK)
        return false;
    if (term_is_atom(arity_term, "_"))
        return true;
    arg = term_reader(arity_term);
    if (term_read_int(&arg, &v) != BG_OK || v < 0 || v > INT32_MAX)
        return false;
    f->arity = (int)v;
    return true;
}

/* {M, F, A} with '_' for what is not given: how the library shows it. */
static void put_mfa_term(const struct trace_filter *f, struct buf *out)
{
    term_put_tuple(out, 3);
    term_put_atom_slice(out, f->module.ptr ? f->module : SLICE_LIT("_"));
    term_put_atom_slice(out, f->function.ptr ? f->function : SLICE_LIT("_"));
    if (f->arity < 0)
        term_put_atom(out, "_");
    else
        term_put_int(out, f->arity);
}

/* How many configs call such a function, or with the module alone any of it. */
static uint32_t count_configs(const struct server *s, const struct trace_filter *f, bool module_alone)
{
    const struct fun_config *fc;
    uint32_t n = 0;
    for (size_t pos = 0; (fc = config_db_next(s->db, &pos)) != NULL;)
        n += (!f->module.ptr || slice_eq(fc->mfa.module, f->module)) &&
             (module_alone || !f->function.ptr || slice_eq(fc->mfa.function, f->function));
    return n;
}

static bool same_text(struct slice a, struct slice b)
{
    return (a.ptr != NULL) == (b.ptr != NULL) && slice_eq(a, b);
}

static bool same_mfa(const struct trace_filter *a, const struct trace_filter *b)
{
    return same_text(a->module, b->module) && same_text(a->function, b->function) && a->arity == b->arity;
}

/* NULL, or the library's word; each once, since they become keys of a map. */
static const char *read_mfas(struct slice term, struct trace_filter *filters, uint32_t *n)
{
    struct slice items[TARGETS_MAX + 1];
    uint32_t count;
    *n = 0;
    if (!read_list(term, items, &count))
        return "invalid_mfa";
    for (uint32_t i = 0; i < count; i++) {
        struct trace_filter *f = &filters[*n];
        bool again = false;
        *f = (struct trace_filter){.arity = -1};
        if (!read_mfa(items[i], f))
            return "invalid_mfa";
        for (uint32_t k = 0; k < *n; k++)
            again = again || same_mfa(&filters[k], f);
        *n += !again;
    }
    return NULL;
}

static void put_mfas(const struct trace_filter *filters, uint32_t n, struct buf *out)
{
    diag_key(out, "mfas");
    term_put_list(out, n);
    for (uint32_t i = 0; i < n; i++)
        put_mfa_term(&filters[i], out);
    if (n)
        term_put_nil(out);
}

static void put_mfa_count(const struct trace_filter *f, uint64_t count, struct buf *out)
{
    struct buf mfa;
    buf_init(&mfa, 0);
    put_mfa_term(f, &mfa);
    put_inspected(buf_slice(&mfa), out);
    buf_fini(&mfa);
    term_put_uint(out, count);
}

/* A module that no config calls is what to the library is a module that cannot be loaded. True when out has the answer.
 */
static bool refuse_unknown(const struct server *s, const struct trace_filter *filters, uint32_t n, struct buf *out)
{
    struct trace_filter unknown[TARGETS_MAX];
    uint32_t bad = 0;
    for (uint32_t i = 0; i < n; i++)
        if (filters[i].module.ptr && count_configs(s, &filters[i], true) == 0)
            unknown[bad++] = filters[i];
    if (bad == 0)
        return false;
    term_put_tuple(out, 2);
    term_put_atom(out, "error");
    term_put_tuple(out, 2);
    term_put_atom(out, "invalid_mfa");
    term_put_list(out, bad);
    for (uint32_t i = 0; i < bad; i++)
        put_mfa_term(&unknown[i], out);
    term_put_nil(out);
    return true;
}

static void put_function_trace(const struct server *s, const struct asked_trace *a, const struct trace_filter *filters,
                               uint32_t n, struct buf *out)
{
    const struct slice target = SLICE_LIT("w\3all");
    term_put_tuple(out, 2);
    term_put_atom(out, "ok");
    term_put_map(out, 6);
    put_pair_of("tracer", a->tracer, out);
    put_flags(a, out);
    diag_put_flag(out, "match_spec", true);
    put_mfas(filters, n, out);
    diag_key(out, "process_trace");
    put_process_trace(s, a, &target, 1, out);
    diag_key(out, "pattern_results");
    term_put_map(out, n);
    for (uint32_t i = 0; i < n; i++)
        put_mfa_count(&filters[i], count_configs(s, &filters[i], false), out);
}

/* Match specifications are programs for the emulator: true, which matches all, is the only one that is known. */
static bool match_spec_is_true(struct slice options)
{
    struct slice spec;
    return diag_option(options, "match_spec", &spec) && (!spec.ptr || term_is_atom(spec, "true"));
}

TRACE_FN(rpc_trace_functions)
{
    struct server *s = server;
    struct asked_trace a;
    struct trace_filter filters[TARGETS_MAX + 1], narrowed[TARGETS_MAX + 1];
    uint32_t n;
    if (!admin_allows(s, "enable_tracing"))
        return refuse(out, "admin_action_denied");
    const char *why = read_options(&a, call, options_of(call, 1));
    if (!why && !match_spec_is_true(options_of(call, 1)))
        why = "invalid_match_spec";
    if (!why)
        why = read_mfas(call->argv[0], filters, &n);
    if (why)
        return *why ? refuse(out, why) : RPC_ERROR;
    if (refuse_unknown(s, filters, n, out))
        return RPC_RETURN;
    for (uint32_t i = 0; i < n; i++) {
        narrowed[i] = a.wanted.filter;
        narrowed[i].module = filters[i].module;
        narrowed[i].function = filters[i].function;
        narrowed[i].arity = filters[i].arity;
    }
    why = start_all(s, &a.wanted, narrowed, n);
    if (why)
        return refuse(out, why);
    put_function_trace(s, &a, filters, n, out);
    return RPC_RETURN;
}

/* ---- stopping ------------------------------------------------------------------------------------------ */

/* Ends the traces that fit, and returns how many. A trace of a module is one of functions. */
static uint32_t stop_where(struct server *s, bool (*fits)(const struct trace_filter *f, const void *what),
                           const void *what)
{
    struct trace_info info;
    uint32_t n = 0;
    for (unsigned pos = 0; tracer_next(s->tracer, &pos, &info);)
        n += fits(info.filter, what) && tracer_stop(s->tracer, info.id);
    return n;
}

static bool any_trace(const struct trace_filter *f, const void *what)
{
    (void)f;
    (void)what;
    return true;
}

static bool of_channel(const struct trace_filter *f, const void *what)
{
    return f->channel == *(const handle_t *)what;
}

static bool of_function(const struct trace_filter *f, const void *what)
{
    const struct trace_filter *w = what;
    if (!w->module.ptr)
        return f->module.ptr != NULL;
    return same_text(f->module, w->module) && (!w->function.ptr || same_text(f->function, w->function)) &&
           (w->arity < 0 || f->arity == w->arity);
}

/* Ends the traces of one target and returns how many. */
static uint32_t stop_target(struct server *s, struct slice target)
{
    handle_t channel = channel_of(s, target);
    if (term_is_atom(target, "all"))
        return stop_where(s, any_trace, NULL);
    return channel != HANDLE_NONE ? stop_where(s, of_channel, &channel) : 0;
}

/* Like trace_processes, but a target that is gone is no error: its traces are as good as stopped. */
TRACE_FN(rpc_stop_trace)
{
    static const struct slice all = SLICE_LIT("w\3all");
    struct server *s = server;
    struct asked_trace a = {.flags = SLICE_NONE};
    struct slice targets[TARGETS_MAX + 1], worse[TARGETS_MAX + 1], any;
    uint32_t n = 1, bad;
    if (!admin_allows(s, "disable_tracing"))
        return refuse(out, "admin_action_denied");
    if (!diag_option(options_of(call, 1), "", &any))
        return RPC_ERROR;
    if (!read_flags(&a, options_of(call, 1)))
        return refuse(out, "invalid_trace_flag");
    const char *why = read_targets(s, call->argc ? call->argv[0] : all, targets, &n, worse, &bad);
    if (why)
        return refuse(out, why);
    term_put_tuple(out, 2);
    term_put_atom(out, "ok");
    term_put_map(out, 3);
    put_flags(&a, out);
    diag_key(out, "targets");
    put_terms(targets, n, out);
    diag_key(out, "results");
    term_put_map(out, n);
    for (uint32_t i = 0; i < n; i++) {
        put_inspected(targets[i], out);
        term_put_uint(out, stop_target(s, targets[i]));
    }
    return RPC_RETURN;
}

TRACE_FN(rpc_stop_trace_functions)
{
    struct server *s = server;
    struct trace_filter filters[TARGETS_MAX + 1] = {{.arity = -1}};
    uint32_t n = 1;
    if (!admin_allows(s, "disable_tracing"))
        return refuse(out, "admin_action_denied");
    const char *why = call->argc ? read_mfas(call->argv[0], filters, &n) : NULL;
    if (why)
        return refuse(out, why);
    term_put_tuple(out, 2);
    term_put_atom(out, "ok");
    term_put_map(out, 2);
    put_mfas(filters, n, out);
    diag_key(out, "results");
    term_put_map(out, n);
    for (uint32_t i = 0; i < n; i++)
        put_mfa_count(&filters[i], stop_where(s, of_function, &filters[i]), out);
    return RPC_RETURN;
}

/* ---- what is on ---------------------------------------------------------------------------------------- */

/* trace_control_word is the emulator's, which is not here. */
void diag_put_trace_status(const struct server *s, struct buf *out)
{
    term_put_map(out, 2);
    diag_put_word(out, "node", s->self.name);
    diag_put_uint(out, "trace_control_word", 0);
}

static void put_filter_text(const char *key, struct slice text, struct buf *out)
{
    diag_key(out, key);
    if (text.ptr)
        term_put_binary(out, text);
    else
        term_put_atom(out, "nil");
}

static void put_trace(const struct trace_info *t, struct buf *out)
{
    const struct trace_filter *f = t->filter;
    term_put_map(out, 14);
    diag_put_uint(out, "id", t->id);
    put_filter_text("service", f->service, out);
    put_filter_text("request_type", f->request_type, out);
    put_filter_text("user_id", f->user_id, out);
    put_filter_text("topic", f->topic, out);
    put_filter_text("request_id", f->request_id, out);
    put_filter_text("module", f->module, out);
    put_filter_text("function", f->function, out);
    diag_put_flag(out, "channel", f->channel != HANDLE_NONE);
    diag_put_uint(out, "messages", t->messages);
    diag_put_uint(out, "dropped", t->dropped);
    diag_put_uint(out, "expires_in_ms", t->expires_in_ms);
    diag_key(out, "tracer");
    if (t->receiver.len)
        term_put_raw(out, t->receiver);
    else
        term_put_atom(out, "nil");
    diag_put_flag(out, "log", t->to_log);
}

void diag_put_traces(const struct server *s, struct buf *out)
{
    struct list_mark m = list_open(out);
    struct trace_info info;
    for (unsigned pos = 0; s->tracer && tracer_next(s->tracer, &pos, &info); m.count++)
        put_trace(&info, out);
    list_close(out, &m);
}
