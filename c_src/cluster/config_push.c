/*
 * config_push.c: how a push is taken: read, checked, stored. A large one is taken some functions at a time, in later
 * turns of the loop, one push after the other in the order in which they came; a small one at once unless one is under
 * way.
 *
 * Invariants: a push ends in one of three answers, whatever came (S-012), and has exactly one; until it is accepted,
 * all that is asked about its service is answered as before it, and if it is not accepted nothing has changed. Between,
 * the store holds a mixture of old and new functions, each whole; requests go on meanwhile. The one who pushes may go:
 * what it has sent is taken all the same, as by a process that had read the message.
 */
#include "config_receiver_internal.h"

#include <stdlib.h>
#include <time.h>

#include "config_offer.h"
#include "log.h"
#include "telemetry.h"

enum {
    INVALID_SHOWN_MAX = 100,
    AT_ONCE_BYTES = 32 * 1024,  /* of a push that is taken without waiting: some 0.5 ms */
    STEP_FUNCTIONS = 100,       /* in one turn: under a millisecond */
    JOBS_MAX = 64,              /* pushes that wait */
    JOBS_BYTES_MAX = 128 * 1024 * 1024
};

/* ---- who may push ---- */

/* * stands for any characters. Each * need only be tried at its first place that fits: no recursion, and the time is
 * bounded by the product of the lengths. */
static bool fits(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, retry = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            retry = t;
        } else if (p < pattern.len && pattern.ptr[p] == text.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++retry;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

static bool node_fits(const struct push_rule *rule, struct slice node)
{
    for (uint32_t i = 0; i < rule->nodes_count; i++)
        if (fits(rule->nodes[i], node))
            return true;
    return false;
}

static bool rule_allows_node(void *ctx, struct slice node)
{
    const struct push_rule *rule = ctx;
    return node_fits(rule, node);
}

/* Several rows may name one service: one that allows is enough. */
static bool is_allowed(const struct config_receiver *r, const struct push_config *pc, struct slice node)
{
    for (uint32_t i = 0; i < r->o.allow_count; i++) {
        struct push_rule rule = r->o.allow[i];
        if (fits(rule.service, pc->service) && node_fits(&rule, node) && pushed_each_node(pc->field[PUSH_NODES], rule_allows_node, &rule))
            return true;
    }
    return !r->o.allow;
}

/* S-022. */
static bool token_is_good(const struct config_receiver *r, struct slice token)
{
    struct term_reader reader = term_reader(token);
    struct slice bytes;
    bool binary = term_read_binary(&reader, &bytes) == BG_OK;
    if (!r->token)
        return binary || term_is_nil(token);
    return binary && slice_eq_secret(bytes, r->o.token);
}

/* ---- answers ---- */

static void put_skipped(struct buf *out)
{
    term_put_tuple(out, 3);
    term_put_atom(out, "ok");
    term_put_atom(out, "skipped");
    term_put_atom(out, "version_matches");
}

/* {error, {Tag, ...: the list follows. */
static void put_error_list(struct buf *out, const char *tag, uint32_t n)
{
    term_put_tuple(out, 2);
    term_put_atom(out, "error");
    term_put_tuple(out, 2);
    term_put_atom(out, tag);
    term_put_list(out, n);
}

static void put_problems(struct buf *out, const char *const *problems, uint32_t n)
{
    put_error_list(out, "validation_failed", n);
    for (uint32_t i = 0; i < n; i++)
        term_put_text(out, problems[i]);
    term_put_nil(out);
}

/* Every config is invalid, or this would not be the answer. */
static void put_all_invalid(struct buf *out, struct slice list)
{
    struct term_reader r = term_reader(list);
    struct slice item;
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK)
        n = 0;
    n = n < INVALID_SHOWN_MAX ? n : INVALID_SHOWN_MAX;
    put_error_list(out, "all_invalid", n);
    for (uint32_t i = 0; i < n && term_skip(&r, &item) == BG_OK; i++)
        push_config_put_invalid(item, out);
    if (n > 0)
        term_put_nil(out);
}

/* ---- one push ---- */

enum push_state { PUSH_CHECKING, PUSH_STORING, PUSH_DONE };

struct push {
    struct list all; /* in the receiver's jobs; unlinked while it is taken at once */
    struct config_receiver *r;
    enum push_state state;
    struct push_config config; /* what is shown in the log; of now->term once that is there */
    struct slice node;
    char *node_text;
    bool force;
    bool token_good;
    struct pushed *now; /* what stands for it once it is accepted */
    struct push_check check;
    struct config_offer offer;
    char source[PUSH_SOURCE_MAX];
    struct buf answer;
    config_push_done_fn *done; /* NULL: nobody waits, the caller reads answer */
    void *ctx;
    uint64_t tag;
    size_t bytes; /* as it came */
};

/* What is not the keyword list [{force, true}] forces nothing. */
static bool reads_force(struct slice options)
{
    struct term_reader r = term_reader(options);
    uint32_t n = 0, arity;
    struct slice item;
    if (term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n && term_skip(&r, &item) == BG_OK; i++) {
        struct term_reader pair = term_reader(item);
        if (term_read_tagged(&pair, "force", &arity) == BG_OK && arity == 2)
            return term_read_is_atom(&pair, "true");
    }
    return false;
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static size_t kept_without(const struct push *p, const struct pushed *old)
{
    return p->r->kept_bytes - (old ? old->term.len : 0);
}

/* What the service pushed before, or NULL. */
static struct pushed *old_of(const struct push *p)
{
    struct pushed *old = map_get(&p->r->services, p->config.service);
    return old != p->now ? old : NULL;
}

static void log_accepted(const struct push *p)
{
    const struct config_offer *o = &p->offer;
    log_info("config", "functions pushed", "service=%s node=%s version=%s count=%u refused=%u removed=%u",
             log_text(p->config.service), log_text(p->node), log_text(p->config.version), o->stored, o->refused,
             o->removed);
    if (o->refused > 0)
        log_limited(LOG_WARNING, "config", "functions refused",
                    "service=%s node=%s refused=%u first=%s reason=%s hint=\"all of them and their reasons: "
                    "ConfigFailed; the service was told that its push is accepted\"",
                    log_text(p->config.service), log_text(p->node), o->refused, log_text(slice_str(o->first_type)),
                    log_text(slice_str(o->first_reason)));
}

/* O-024. */
static void tell_accepted(const struct push *p)
{
    struct telemetry *t = p->r->o.telemetry;
    struct buf *b;
    telemetry_tell_stored(t, p->offer.stored, p->config.service);
    if ((b = telemetry_begin(t, TELEMETRY_PUSH)) == NULL)
        return;
    telemetry_put_number(b, "count", p->offer.stored);
    term_put_map(b, 2);
    telemetry_put_text(b, "service", p->config.service);
    telemetry_put_text(b, "version", p->config.version);
    telemetry_end(t);
}

static void refuse(struct push *p, const char *reason, bool answered)
{
    if (!answered)
        push_put_pair(&p->answer, "error", reason);
    metric_inc(p->r->o.metrics, METRIC_PUSHES_REFUSED);
    log_limited(LOG_WARNING, "config", "push refused", "service=%s node=%s reason=%s first=%s first_reason=%s",
                log_text(p->config.service), log_text(p->node), reason, log_text(slice_str(p->offer.first_type)),
                log_text(slice_str(p->offer.first_reason)));
    p->state = PUSH_DONE;
}

/* ---- storing ---- */

/* The record takes its place, or has it: once the functions are in the store, nothing can fail. */
static bool reserve_place(struct push *p, const struct pushed *old)
{
    p->now->taking = true;
    return old || map_put(&p->r->services, p->now->config.service, p->now) == BG_OK;
}

static void give_up_place(struct push *p)
{
    if (map_get(&p->r->services, p->config.service) == p->now)
        map_del(&p->r->services, p->config.service);
}

/* S-024, S-025. */
static void begin_store(struct push *p)
{
    const struct config_receiver_options *o = &p->r->o;
    p->now->pulled = pushed_may_pull(p->r, &p->config);
    p->offer = (struct config_offer){
        .db = o->db,
        .failed = o->failed,
        .metrics = o->metrics,
        .rules = o->rules,
        .service = p->config.service,
        .source_key = pushed_source_key(p->config.service, p->now->pulled, p->source),
        .source = CONFIG_PUSH,
        .now_ms = wall_ms(),
        .keep_if_none = true,
    };
    p->state = PUSH_STORING;
    if (config_offer_begin(&p->offer, p->config.field[PUSH_FUN_CONFIGS]) != BG_OK) {
        give_up_place(p);
        refuse(p, "validation_failed", false);
    }
}

/* Nothing could be stored: as if there had been no push. */
static void none_stored(struct push *p)
{
    give_up_place(p);
    if (p->offer.denied > 0) {
        refuse(p, "batch_add_failed", false);
        return;
    }
    put_all_invalid(&p->answer, p->config.field[PUSH_FUN_CONFIGS]);
    refuse(p, "all_invalid", true);
}

/* S-026, S-027. The functions are in the store; the new record stands in the place of the old one. */
static void accepted(struct push *p)
{
    struct config_receiver *r = p->r;
    struct pushed *old = old_of(p), *now = p->now;
    now->taking = false;
    now->node_text = p->node_text;
    now->node = p->node;
    p->node_text = NULL;
    if (old) { /* one goes before the other comes: takes no memory */
        map_del(&r->services, old->config.service);
        int rc = map_put(&r->services, now->config.service, now);
        assert_always(rc == BG_OK);
    }
    r->kept_bytes = kept_without(p, old) + now->term.len;
    if (old && old->pulled != now->pulled)
        p->offer.removed += pushed_remove_functions(r, now->config.service, old->pulled);
    pushed_follow_pull(r, now);
    pushed_connect(r, now);
    pushed_release(r, old);
    config_receiver_changed(r);
    metric_inc(r->o.metrics, METRIC_PUSHES);
    log_accepted(p);
    tell_accepted(p);
    push_put_pair(&p->answer, "ok", "accepted");
    pushed_free(old);
    p->now = NULL;
    p->state = PUSH_DONE;
}

/* Token before version, so that whoever has none learns nothing of what is here. */
static void judge(struct push *p)
{
    struct config_receiver *r = p->r;
    const struct pushed *old = old_of(p);
    if (!p->token_good) {
        refuse(p, "invalid_push_token", false);
    } else if (!is_allowed(r, &p->config, p->node)) {
        refuse(p, "push_not_allowed", false);
    } else if (old && !p->force && slice_eq(old->config.version, p->config.version)) {
        metric_inc(r->o.metrics, METRIC_PUSHES_SKIPPED);
        put_skipped(&p->answer);
        p->state = PUSH_DONE;
    } else if (!old && r->services.count >= r->o.max_services) {
        refuse(p, "too_many_services", false);
    } else if (kept_without(p, old) + p->now->term.len > PUSH_KEPT_BYTES_MAX) {
        refuse(p, "too_many_pushed_bytes", false);
    } else if (!reserve_place(p, old)) {
        refuse(p, "out_of_memory", false);
    } else {
        begin_store(p);
    }
}

/* F-091. */
static void check_done(struct push *p)
{
    if (p->check.count == 0) {
        judge(p);
        return;
    }
    put_problems(&p->answer, p->check.problems, p->check.count);
    slice_cstr(slice_str(p->check.problems[0]), p->offer.first_reason, sizeof(p->offer.first_reason));
    refuse(p, "validation_failed", true);
}

/* Some functions further. */
static void step(struct push *p, uint32_t max)
{
    if (p->state == PUSH_CHECKING && push_check_step(&p->check, max))
        check_done(p);
    else if (p->state == PUSH_STORING && config_offer_step(&p->offer, max)) {
        if (p->offer.stored > 0)
            accepted(p);
        else
            none_stored(p);
    }
}

/* ---- life of a push ---- */

static void push_free(struct push *p)
{
    pushed_free(p->now);
    buf_fini(&p->answer);
    free(p->node_text);
    free(p);
}

/* Everything that it needs later is copied. NULL without memory. */
static struct push *push_new(struct config_receiver *r, const struct push_config *from, struct slice node)
{
    struct push *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->r = r;
    list_init(&p->all);
    buf_init(&p->answer, 0);
    p->now = calloc(1, sizeof(*p->now));
    p->node_text = slice_dup(node);
    if (p->now) {
        buf_init(&p->now->term, 0);
        push_config_put(from, &p->now->term, &p->now->config);
    }
    if (!p->now || !p->node_text || !buf_ok(&p->now->term)) {
        push_free(p);
        return NULL;
    }
    p->node = slice_make(p->node_text, node.len);
    return p;
}

/* NULL when the answer is in out already. */
static struct push *begin(struct config_receiver *r, struct slice config, struct slice options, struct slice node,
                          struct buf *out)
{
    struct push refused = {.r = r, .node = node};
    struct push_config from;
    const char *reason = "invalid_push_config_data";
    struct push *p = NULL;
    if (push_config_read(&from, config)) {
        reason = "out_of_memory";
        p = push_new(r, &from, node);
    }
    if (!p) {
        push_put_pair(out, "error", reason);
        refuse(&refused, reason, true);
        return NULL;
    }
    p->force = reads_force(options);
    p->token_good = token_is_good(r, from.field[PUSH_PUSH_TOKEN]);
    push_check_begin(&p->check, &p->now->config);
    p->config = p->now->config;
    return p;
}

static void run_to_end(struct push *p)
{
    while (p->state != PUSH_DONE)
        step(p, UINT32_MAX);
}

/* ---- several ---- */

static void take_off(struct push *p)
{
    list_remove(&p->all);
    p->r->jobs_count--;
    p->r->jobs_bytes -= p->bytes;
}

static struct push *first_job(const struct config_receiver *r)
{
    return list_empty(&r->jobs) ? NULL : container_of(r->jobs.next, struct push, all);
}

/* The answer goes out when the push is off the list: whoever hears it may push again. */
static void job_done(struct push *p)
{
    take_off(p);
    p->done(p->ctx, p->tag, buf_slice(&p->answer));
    push_free(p);
}

static void next_step(struct config_receiver *r)
{
    /* Without memory for a timer the pushes would wait for ever: then they are taken now. */
    if (first_job(r) && timer_arm_in(r->o.timers, &r->step, 0) != BG_OK)
        config_push_finish(r);
}

static void on_step(struct timer *t)
{
    struct config_receiver *r = container_of(t, struct config_receiver, step);
    struct push *p = first_job(r); /* NULL when all have been finished meanwhile */
    if (p)
        step(p, STEP_FUNCTIONS);
    if (p && p->state == PUSH_DONE)
        job_done(p);
    next_step(r);
}

void config_push_finish(struct config_receiver *r)
{
    for (struct push *p; (p = first_job(r));) {
        run_to_end(p);
        job_done(p);
    }
}

void config_push_drop(struct config_receiver *r)
{
    for (struct push *p; (p = first_job(r));) {
        if (p->state == PUSH_STORING)
            give_up_place(p);
        take_off(p);
        push_free(p);
    }
    if (r->o.timers)
        timer_disarm(r->o.timers, &r->step);
}

void config_receiver_push(struct config_receiver *r, struct slice config, struct slice options, struct slice node,
                          struct buf *out)
{
    config_push_finish(r);
    struct push *p = begin(r, config, options, node, out);
    if (!p)
        return;
    run_to_end(p);
    buf_add_slice(out, buf_slice(&p->answer));
    push_free(p);
}

/* Its token was good when it was accepted; what else is asked of a push is asked again. */
bool config_receiver_restore(struct config_receiver *r, struct slice config, struct slice node)
{
    struct buf out;
    struct slice ok = SLICE_LIT("h\2w\2okw\10accepted"); /* {ok, accepted} */
    buf_init(&out, 0);
    struct push *p = begin(r, config, SLICE_NONE, node, &out);
    if (p) {
        p->token_good = true;
        run_to_end(p);
        buf_add_slice(&out, buf_slice(&p->answer));
        push_free(p);
    }
    bool accepted_it = buf_ok(&out) && term_equal(buf_slice(&out), ok);
    buf_fini(&out);
    return accepted_it;
}

bool config_receiver_waits(const struct config_receiver *r, struct slice config)
{
    return r->o.timers && (config.len > AT_ONCE_BYTES || r->jobs_count > 0);
}

bool config_receiver_push_later(struct config_receiver *r, struct slice config, struct slice options, struct slice node,
                                struct buf *out, config_push_done_fn *done, void *ctx, uint64_t tag)
{
    struct push refused = {.r = r, .node = node};
    if (r->jobs_count >= JOBS_MAX || r->jobs_bytes + config.len > JOBS_BYTES_MAX) {
        push_put_pair(out, "error", "too_many_pushes");
        refuse(&refused, "too_many_pushes", true);
        return false;
    }
    struct push *p = begin(r, config, options, node, out);
    if (!p)
        return false;
    p->done = done;
    p->ctx = ctx;
    p->tag = tag;
    p->bytes = config.len;
    list_append(&r->jobs, &p->all);
    r->jobs_count++;
    r->jobs_bytes += p->bytes;
    r->step.fn = on_step;
    next_step(r);
    return true;
}
