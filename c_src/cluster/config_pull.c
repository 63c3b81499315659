/*
 * config_pull.c: one service's pull, a state machine per service:
 *
 *   IDLE -> VERSION -> CONFIGS -> MODULES -> STORING -> IDLE
 *
 * VERSION is left out when the service has no version function, and ends the round when the version is the stored one.
 * A call that fails goes to the service's next node; when all have failed, the round has. Every module that the configs
 * name is checked once (S-057), many at a time. Storing takes a few configs per turn of the loop.
 *
 * Invariants: in IDLE the timer runs for the next round; a call in flight belongs to the current round, since whatever
 * ends a round cancels its calls first, so no result is ever stale.
 *
 * A round has no limit of its own, only its calls have (want of S-052). A failed round takes nothing away: the
 * functions of a service whose nodes are down stay.
 */
#include "config_pull.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "log.h"
#include "telemetry.h"

enum {
    LIST_MAX = 32 * 1024 * 1024, /* bytes of one service's configs */
    VERSION_MAX = 4096,
    MODULES_MAX = 4096,
    MODULES_AT_ONCE = 32,
    STORE_AT_ONCE = 256,
    BUSY_RETRY_MS = 100,
    INSPECT_MAX = 120
};

static void ask_version(struct pulled_service *s);
static void ask_configs(struct pulled_service *s);
static void check_modules(struct pulled_service *s);

/* ---- texts ---- */

static uint32_t node_index(const struct pulled_service *s)
{
    return (s->first + s->failed_nodes) % s->config.nodes_count;
}

static struct slice node_now(const struct pulled_service *s)
{
    return s->config.nodes[node_index(s)];
}

/* Appends Elixir's inspect of an atom. */
static void inspect_atom(struct slice name, struct buf *out)
{
    struct buf term;
    buf_init(&term, 2048);
    term_put_atom_slice(&term, name);
    if (buf_ok(&term))
        term_inspect(buf_slice(&term), out, INSPECT_MAX);
    buf_fini(&term);
}

/* Why a call failed, as the library prints the reason of a badrpc. */
static void inspect_outcome(enum call_outcome outcome, struct slice value, struct buf *out)
{
    static const char *const constant[] = {
        [CALL_TIMEOUT] = ":timeout", [CALL_NODEDOWN] = ":nodedown", [CALL_BUSY] = ":busy"};
    if ((size_t)outcome < ARRAY_SIZE(constant) && constant[outcome]) {
        buf_puts(out, constant[outcome]);
        return;
    }
    if (outcome == CALL_EXIT)
        buf_puts(out, "{:EXIT, ");
    if (value.len > 0)
        term_inspect(value, out, INSPECT_MAX);
    if (outcome == CALL_EXIT)
        buf_putc(out, '}');
}

static void set_error(struct pulled_service *s, const char *what, enum call_outcome outcome, struct slice value)
{
    struct buf b;
    buf_init(&b, PULL_ERROR_MAX - 1);
    buf_printf(&b, "%.*s: %s", (int)node_now(s).len, node_now(s).ptr, what);
    inspect_outcome(outcome, value, &b);
    slice_cstr(buf_slice(&b), s->error, sizeof(s->error));
    buf_fini(&b);
    s->error_kind = outcome;
}

/* What the operator can do about it. */
static const char *hint(enum call_outcome outcome)
{
    switch (outcome) {
    case CALL_RETURN:
        return "the function must return {:ok, list of FunConfig}, and not too many";
    case CALL_EXIT:
        return "the function does not exist or raised: check module, function and args, and the node's own log";
    case CALL_TIMEOUT:
        return "the function took longer than the pull timeout";
    case CALL_NODEDOWN:
        return "start the node or correct its name; it is asked at once when it comes up";
    default:
        return "the node answered with an error of its own";
    }
}

/* ---- the end of a round ---- */

/* Lists can be large and pulls are rare: nothing is kept between rounds. */
static void release_round(struct pulled_service *s)
{
    for (uint32_t i = 0; i < s->modules_count; i++)
        free(s->modules[i].reason);
    free(s->modules);
    s->modules = NULL;
    s->modules_count = s->modules_asked = s->modules_waiting = 0;
    map_fini(&s->module_by_name);
    buf_shrink(&s->list, 0);
}

/* After this no callback comes, so the memory that tags and owners point to may go. */
static void cancel_calls(struct pulled_service *s)
{
    const struct call_ops *call = &s->o->call;
    if (s->call != HANDLE_NONE)
        call->cancel(call->ctx, s->call);
    s->call = HANDLE_NONE;
    for (uint32_t i = 0; i < s->modules_asked; i++)
        if (s->modules[i].call != HANDLE_NONE)
            call->cancel(call->ctx, s->modules[i].call);
}

/* The next step, or the next round, by the timer. */
static void step_in(struct pulled_service *s, uint64_t ms)
{
    /* Without memory for a timer the service would never be pulled again, and say nothing. */
    int rc = timer_arm_in(s->o->timers, &s->timer, ms * 1000);
    assert_always(rc == BG_OK);
}

/* S-050: doubles with each failed round in a row. */
static uint64_t next_pull_ms(const struct pulled_service *s)
{
    uint64_t ms = s->o->pull_interval_ms;
    if (s->failures == 0)
        return ms;
    for (uint32_t k = 0; k < s->failures && ms < PULL_BACKOFF_MAX_MS; k++)
        ms *= 2;
    return ms < PULL_BACKOFF_MAX_MS ? ms : PULL_BACKOFF_MAX_MS;
}

/* The only way back to IDLE. */
static void end_round(struct pulled_service *s, bool failed)
{
    bool again = s->again || (failed && s->node_came_up);
    cancel_calls(s);
    release_round(s);
    s->state = PULL_IDLE;
    s->tried_once = true;
    s->again = s->node_came_up = false;
    /* Also a next round that is due now goes by the timer, so that rounds do not pile up on the stack. */
    step_in(s, again ? 0 : next_pull_ms(s));
}

/* O-022, O-023: of each round, be it good or not. count: functions stored. */
static void tell_began(struct pulled_service *s)
{
    struct telemetry *t = s->o->telemetry;
    struct buf *b = telemetry_begin(t, TELEMETRY_PULL_START);
    s->began_us = telemetry_wants(t, TELEMETRY_PULL_STOP) ? clock_now_us() : 0;
    if (!b)
        return;
    telemetry_put_system_time(b);
    term_put_map(b, 1);
    telemetry_put_text(b, "service", s->config.service);
    telemetry_end(t);
}

static void tell_ended(const struct pulled_service *s, uint32_t count, bool failed)
{
    struct telemetry *t = s->o->telemetry;
    struct buf *b = s->began_us ? telemetry_begin(t, TELEMETRY_PULL_STOP) : NULL;
    if (!b)
        return;
    uint64_t now = clock_now_us();
    term_put_map(b, 2);
    term_put_atom(b, "duration_us");
    term_put_uint(b, now - s->began_us);
    term_put_atom(b, "count");
    term_put_uint(b, count);
    term_put_map(b, 2);
    telemetry_put_text(b, "service", s->config.service);
    term_put_atom(b, "version");
    struct slice version = buf_slice(s->new_version.len ? &s->new_version : &s->version);
    if (failed || version.len == 0)
        term_put_atom(b, "nil");
    else
        term_put_raw(b, version);
    telemetry_end(t);
}

static void fail_round(struct pulled_service *s)
{
    s->failures++;
    metric_inc(s->o->metrics, METRIC_PULL_FAILURES);
    memcpy(s->last_error, s->error, sizeof(s->last_error));
    log_warning("config", "functions not pulled",
                "service=%s reason=%s failures=%u kept=%zu retry_in_ms=%llu hint=\"%s\"", log_text(s->config.service),
                log_text(slice_str(s->error)), s->failures, config_db_source_count(s->o->db, s->config.service),
                (unsigned long long)next_pull_ms(s), hint(s->error_kind));
    tell_ended(s, 0, true);
    end_round(s, true);
}

static void succeed(struct pulled_service *s, uint32_t stored)
{
    tell_ended(s, stored, false);
    s->failures = 0;
    s->last_error[0] = '\0';
    s->pulled_at_us = s->o->timers->now_us;
    end_round(s, false);
}

/* At debug level: this is what nearly every round comes to. */
static void unchanged(struct pulled_service *s, const char *by)
{
    log_debug("config", "functions unchanged", "service=%s node=%s by=%s", log_text(s->config.service),
              log_text(node_now(s)), by);
    succeed(s, 0);
}

/* ---- calls to the node whose turn it is ---- */

/* False when it cannot be sent, with the error set. */
static bool send_call(struct pulled_service *s, struct slice module, struct slice function,
                      const struct call_args *args, call_done_fn *done)
{
    const struct call_ops *call = &s->o->call;
    enum call_outcome why = CALL_NODEDOWN;
    struct buf *b = call->begin(call->ctx, node_now(s), module, function, args->count, &why);
    if (b) {
        why = CALL_BUSY;
        buf_add_slice(b, args->terms);
        s->call = call->commit(call->ctx, (uint64_t)s->o->pull_timeout_ms * 1000, done, s, 0);
    }
    if (s->call == HANDLE_NONE)
        set_error(s, "", why, SLICE_NONE);
    return s->call != HANDLE_NONE;
}

/* What the last full pull stored is all there still. */
static bool store_intact(const struct pulled_service *s)
{
    return !s->forced && config_db_source_count(s->o->db, s->config.service) == s->held;
}

static void on_version(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct pulled_service *s = owner;
    (void)tag;
    s->call = HANDLE_NONE;
    if (outcome != CALL_RETURN) {
        set_error(s, "version: ", outcome, value);
        s->failed_nodes++;
        ask_version(s);
        return;
    }
    if (s->version.len > 0 && term_equal(value, buf_slice(&s->version)) && store_intact(s)) {
        unchanged(s, "version");
        return;
    }
    if (value.len <= VERSION_MAX)
        buf_add_slice(&s->new_version, value);
    /* The node that told its version is the one to ask for the configs of that version. */
    s->first = node_index(s);
    s->failed_nodes = 0;
    ask_configs(s);
}

/* S-055: when no node tells its version, a full pull is tried all the same. */
static void ask_version(struct pulled_service *s)
{
    s->state = PULL_VERSION;
    for (; s->failed_nodes < s->config.nodes_count; s->failed_nodes++)
        if (send_call(s, s->config.version_module, s->config.version_function, &s->version_args, on_version))
            return;
    s->failed_nodes = 0;
    ask_configs(s);
}

/* ---- the list ---- */

/* The List of {ok, List}. */
static bool ok_list(struct slice value, struct slice *list)
{
    struct term_reader r = term_reader(value);
    uint32_t arity;
    if (term_read_tagged(&r, "ok", &arity) != BG_OK || arity != 2 || term_skip(&r, list) != BG_OK)
        return false;
    r = term_reader(*list);
    enum term_kind kind = term_peek(&r);
    return kind == TERM_LIST || kind == TERM_NIL;
}

/* False, with the error set, when the answer is no list that can be taken. */
static bool accept_list(struct pulled_service *s, struct slice value)
{
    struct slice list;
    if (!ok_list(value, &list)) {
        set_error(s, "unexpected result: ", CALL_RETURN, value);
        return false;
    }
    buf_reset(&s->list);
    buf_add_slice(&s->list, list);
    if (!buf_ok(&s->list))
        set_error(s, "more than 32 MiB of configs", CALL_RETURN, SLICE_NONE);
    return buf_ok(&s->list);
}

/* Notes every distinct module that the list names. 0, BG_ELIMIT, BG_ENOMEM. */
static int collect_modules(struct pulled_service *s)
{
    struct term_reader r = term_reader(buf_slice(&s->list));
    uint32_t n;
    struct slice item, module;
    if (term_read_list(&r, &n) != BG_OK)
        return BG_EINVAL;
    s->modules = calloc(n < MODULES_MAX ? n + 1 : MODULES_MAX, sizeof(*s->modules));
    if (!s->modules)
        return BG_ENOMEM;
    for (uint32_t i = 0; i < n && term_skip(&r, &item) == BG_OK; i++) {
        if (!config_offer_module(item, &module) || map_get(&s->module_by_name, module))
            continue;
        if (s->modules_count == MODULES_MAX)
            return BG_ELIMIT;
        struct pull_module *m = &s->modules[s->modules_count++];
        m->name = module;
        if (map_put(&s->module_by_name, module, m) != BG_OK)
            return BG_ENOMEM;
    }
    return BG_OK;
}

/* 0 is kept for "unknown". */
static uint64_t list_hash(const struct pulled_service *s)
{
    uint64_t h = hash_bytes(s->list.data, s->list.len);
    return h ? h : 1;
}

/* Only once what it stands for is in the store. */
static void keep_version(struct pulled_service *s)
{
    if (s->new_version.len == 0)
        return;
    buf_reset(&s->version);
    buf_add_slice(&s->version, buf_slice(&s->new_version));
}

/* A service without a version function sends the same list each time: comparing is cheaper than compiling. */
static void take_list(struct pulled_service *s)
{
    if (list_hash(s) == s->list_hash && store_intact(s)) {
        keep_version(s);
        unchanged(s, "content");
        return;
    }
    int rc = collect_modules(s);
    if (rc == BG_OK) {
        s->state = PULL_MODULES;
        check_modules(s);
        return;
    }
    set_error(s, rc == BG_ELIMIT ? "more than 4096 modules" : "out of memory", CALL_RETURN, SLICE_NONE);
    fail_round(s);
}

static void on_configs(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct pulled_service *s = owner;
    (void)tag;
    s->call = HANDLE_NONE;
    if (outcome == CALL_RETURN && accept_list(s, value)) {
        take_list(s);
        return;
    }
    if (outcome != CALL_RETURN)
        set_error(s, "", outcome, value);
    s->failed_nodes++;
    ask_configs(s);
}

static void ask_configs(struct pulled_service *s)
{
    s->state = PULL_CONFIGS;
    for (; s->failed_nodes < s->config.nodes_count; s->failed_nodes++)
        if (send_call(s, s->config.module, s->config.function, &s->args, on_configs))
            return;
    /* Shown with the node that failed last. */
    s->failed_nodes = s->config.nodes_count - 1;
    fail_round(s);
}

/* ---- modules ---- */

/* The texts of S-057. verdict: the reason why the module could not be verified, or NULL: it is not loaded. */
static void refuse_module(struct pulled_service *s, struct pull_module *m, const struct buf *verdict)
{
    struct buf b;
    buf_init(&b, FUN_CONFIG_REASON_MAX);
    buf_puts(&b, verdict ? "cannot verify module " : "module ");
    inspect_atom(m->name, &b);
    buf_puts(&b, verdict ? " on node " : " not loaded on node ");
    inspect_atom(node_now(s), &b);
    if (verdict) {
        buf_puts(&b, ": ");
        buf_add_slice(&b, buf_slice(verdict));
    }
    m->reason = slice_dup(buf_slice(&b));
    buf_fini(&b);
}

static void cannot_verify(struct pulled_service *s, struct pull_module *m, enum call_outcome outcome,
                          struct slice value)
{
    struct buf why;
    buf_init(&why, FUN_CONFIG_REASON_MAX);
    inspect_outcome(outcome, value, &why);
    refuse_module(s, m, &why);
    buf_fini(&why);
}

/* The node went away in the midst of the checks: the next one is asked for its own list. */
static void node_lost(struct pulled_service *s)
{
    set_error(s, "", CALL_NODEDOWN, SLICE_NONE);
    cancel_calls(s);
    release_round(s);
    s->failed_nodes++;
    ask_configs(s);
}

static void on_module(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct pulled_service *s = owner;
    struct pull_module *m = &s->modules[tag];
    m->call = HANDLE_NONE;
    s->modules_waiting--;
    if (outcome == CALL_NODEDOWN) {
        node_lost(s);
        return;
    }
    m->loaded = outcome == CALL_RETURN && term_is_atom(value, "true");
    if (outcome != CALL_RETURN)
        cannot_verify(s, m, outcome, value);
    else if (!m->loaded)
        refuse_module(s, m, NULL);
    check_modules(s);
}

/* CALL_RETURN when sent. */
static enum call_outcome ask_module(struct pulled_service *s, uint32_t index)
{
    const struct call_ops *call = &s->o->call;
    struct pull_module *m = &s->modules[index];
    enum call_outcome why = CALL_NODEDOWN;
    struct buf *b = call->begin(call->ctx, node_now(s), SLICE_LIT("Elixir.Code"), SLICE_LIT("ensure_loaded?"), 1, &why);
    if (!b)
        return why;
    term_put_atom_slice(b, m->name);
    m->call = call->commit(call->ctx, (uint64_t)s->o->pull_timeout_ms * 1000, on_module, s, index);
    return m->call != HANDLE_NONE ? CALL_RETURN : CALL_BUSY;
}

/* ---- storing ---- */

static bool module_good(void *ctx, struct slice module, struct fun_config_reasons *why)
{
    const struct pulled_service *s = ctx;
    const struct pull_module *m = map_get(&s->module_by_name, module);
    if (m && m->loaded)
        return true;
    fun_config_reason(why, "%s", m && m->reason ? m->reason : "the module was not verified");
    return false;
}

/* Otherwise a module that is loaded later would wait for the next version. */
static bool all_loaded(const struct pulled_service *s)
{
    for (uint32_t i = 0; i < s->modules_count; i++)
        if (!s->modules[i].loaded)
            return false;
    return true;
}

static void log_pulled(struct pulled_service *s, bool changed)
{
    const struct config_offer *o = &s->offer;
    enum log_level level = changed ? LOG_INFO : LOG_DEBUG;
    log_write(level, "config", "functions pulled", "service=%s node=%s count=%u refused=%u removed=%u",
              log_text(s->config.service), log_text(node_now(s)), o->stored, o->refused, o->removed);
    if (o->refused == 0 || o->refused_hash == s->refused_hash)
        return;
    /* Once per change: a service offers the same again at every pull. */
    log_warning("config", "functions refused", "service=%s node=%s refused=%u first=%s reason=%s hint=\"%s\"",
                log_text(s->config.service), log_text(node_now(s)), o->refused, log_text(slice_str(o->first_type)),
                log_text(slice_str(o->first_reason)),
                "all of them and their reasons: ConfigFailed; the last good config of each goes on working");
}

/* What is refused for its module alone may be good at the next pull, so then neither version nor list is taken as
 * known. */
static void offer_done(struct pulled_service *s)
{
    const struct config_offer *o = &s->offer;
    uint64_t hash = list_hash(s);
    bool changed = s->delivered_by == 0 || s->stored != o->stored || s->refused != o->refused || o->removed > 0 ||
                   (s->list_hash != 0 && s->list_hash != hash);
    log_pulled(s, changed);
    s->list_hash = o->refused == 0 ? hash : 0;
    s->refused_hash = o->refused_hash;
    s->stored = o->stored;
    s->refused = o->refused;
    s->held = config_db_source_count(s->o->db, s->config.service);
    s->delivered_by = node_index(s) + 1;
    if (all_loaded(s))
        keep_version(s);
    else
        buf_reset(&s->version);
    telemetry_tell_stored(s->o->telemetry, o->stored, s->config.service);
    succeed(s, o->stored);
}

/* STORE_AT_ONCE configs take about 2 ms: a service with thousands must not hold up the clients. */
static void store_some(struct pulled_service *s)
{
    if (config_offer_step(&s->offer, STORE_AT_ONCE))
        offer_done(s);
    else
        step_in(s, 0);
}

/* Every module has its verdict: the list can go into the store. */
static void begin_store(struct pulled_service *s)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    s->offer = (struct config_offer){
        .db = s->o->db,
        .failed = s->o->failed,
        .metrics = s->o->metrics,
        .rules = s->o->rules,
        .service = s->config.service,
        .source_key = s->config.service,
        .source = CONFIG_PULL,
        .node = node_now(s),
        .now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000,
        .module_good = module_good,
        .ctx = s,
    };
    if (config_offer_begin(&s->offer, buf_slice(&s->list)) != BG_OK) {
        set_error(s, "more than 65536 configs", CALL_RETURN, SLICE_NONE);
        fail_round(s);
        return;
    }
    s->state = PULL_STORING;
    store_some(s);
}

/* Keeps some checks under way; goes on when all are answered. */
static void check_modules(struct pulled_service *s)
{
    while (s->modules_waiting < MODULES_AT_ONCE && s->modules_asked < s->modules_count) {
        enum call_outcome sent = ask_module(s, s->modules_asked);
        if (sent == CALL_BUSY && s->modules_waiting == 0)
            step_in(s, BUSY_RETRY_MS);
        if (sent == CALL_BUSY)
            return;
        if (sent != CALL_RETURN) {
            node_lost(s);
            return;
        }
        s->modules_asked++;
        s->modules_waiting++;
    }
    if (s->modules_waiting == 0)
        begin_store(s);
}

/* ---- life ---- */

static void start_round(struct pulled_service *s)
{
    metric_inc(s->o->metrics, METRIC_PULL_ROUNDS);
    tell_began(s);
    s->first = s->failed_nodes = 0;
    s->forced = s->again_forced;
    s->again_forced = false;
    s->error[0] = '\0';
    buf_reset(&s->new_version);
    if (s->forced)
        buf_reset(&s->version);
    if (s->config.version_module.len > 0 && s->config.version_function.len > 0)
        ask_version(s);
    else
        ask_configs(s);
}

/* What the timer means depends on the state that it was armed in. */
static void on_timer(struct timer *t)
{
    struct pulled_service *s = container_of(t, struct pulled_service, timer);
    if (s->state == PULL_MODULES)
        check_modules(s);
    else if (s->state == PULL_STORING)
        store_some(s);
    else
        start_round(s);
}

void pulled_service_pull(struct pulled_service *s, bool force)
{
    s->again_forced = s->again_forced || force;
    if (s->state != PULL_IDLE) {
        s->again = true;
        return;
    }
    timer_disarm(s->o->timers, &s->timer);
    start_round(s);
}

void pulled_service_pull_in(struct pulled_service *s, uint64_t ms)
{
    assert_always(s->state == PULL_IDLE);
    step_in(s, ms);
}

/* Copied whole, so that status can show the list, and taken apart once for the calls. */
static bool copy_args(struct arena *a, struct slice list, struct slice *copy, struct call_args *args)
{
    *copy = arena_copy(a, list.len > 0 ? list : SLICE_LIT("\x6a")); /* NIL_EXT */
    return copy->ptr && fun_config_args(a, *copy, &args->terms, &args->count) == BG_OK;
}

static bool copy_config(struct pulled_service *s, const struct service_config *from)
{
    struct service_config *to = &s->config;
    struct arena *a = &s->memory;
    to->nodes = arena_array(a, from->nodes_count, sizeof(*to->nodes));
    if (!to->nodes)
        return false;
    for (to->nodes_count = 0; to->nodes_count < from->nodes_count; to->nodes_count++) {
        to->nodes[to->nodes_count] = arena_copy(a, from->nodes[to->nodes_count]);
        if (!to->nodes[to->nodes_count].ptr)
            return false;
    }
    to->start = from->start;
    to->service = arena_copy(a, from->service);
    to->module = arena_copy(a, from->module);
    to->function = arena_copy(a, from->function);
    to->version_module = arena_copy(a, from->version_module);
    to->version_function = arena_copy(a, from->version_function);
    return to->service.ptr && to->module.ptr && to->function.ptr && to->version_module.ptr &&
           to->version_function.ptr && copy_args(a, from->args, &to->args, &s->args) &&
           copy_args(a, from->version_args, &to->version_args, &s->version_args);
}

struct pulled_service *pulled_service_new(const struct config_puller_options *o, const struct service_config *config)
{
    struct pulled_service *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->o = o;
    s->timer.fn = on_timer;
    arena_init(&s->memory);
    map_init(&s->module_by_name);
    buf_init(&s->new_version, VERSION_MAX);
    buf_init(&s->version, VERSION_MAX);
    buf_init(&s->list, LIST_MAX);
    if (copy_config(s, config))
        return s;
    pulled_service_free(s);
    return NULL;
}

void pulled_service_free(struct pulled_service *s)
{
    if (!s)
        return;
    timer_disarm(s->o->timers, &s->timer);
    cancel_calls(s);
    release_round(s);
    buf_fini(&s->new_version);
    buf_fini(&s->version);
    buf_fini(&s->list);
    arena_fini(&s->memory);
    free(s);
}
