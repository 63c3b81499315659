/*
 * config_receiver.c: see config_receiver.h. One record per pushed service: the version that a verify asks for, the
 * PushConfig as it is shown, and whether the service is pulled since.
 *
 * Invariants: a push ends in one of three answers, whatever came (S-012); it changes nothing before its list has been
 * stored; no token is ever kept, shown or logged.
 *
 * A push is taken within one callback, 8 us a function: PUSH_FUNCTIONS_MAX bounds how long clients wait for it.
 */
#include "config_receiver.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "config_offer.h"
#include "log.h"
#include "push_config.h"

enum { SERVICES_DEFAULT = 1000, INVALID_SHOWN_MAX = 100, SOURCE_MAX = 5 + FUN_CONFIG_NAME_MAX };

/* One service that was pushed. Slices point into term. */
struct pushed {
    struct buf term;      /* the PushConfig, token unreadable */
    struct slice service; /* term: the atom or binary as it came */
    struct slice version; /* term */
    struct slice key;     /* text of service */
    bool pulled;          /* its functions are in the store as the puller's: see source_key() */
};

struct config_receiver {
    struct config_receiver_options o;
    char *token; /* NULL: none asked for */
    struct map services;
    size_t kept_bytes;
};

static void forget_token(struct config_receiver *r)
{
    if (r->token)
        explicit_bzero(r->token, r->o.token.len);
    free(r->token);
    r->token = NULL;
    r->o.token = SLICE_NONE;
}

int config_receiver_set_rules(struct config_receiver *r, struct slice token, const struct push_rule *allow,
                              uint32_t allow_count, uint32_t max_services)
{
    char *copy = token.ptr ? slice_dup(token) : NULL;
    if (token.ptr && !copy)
        return BG_ENOMEM;
    forget_token(r);
    r->token = copy;
    r->o.token = copy ? slice_str(copy) : SLICE_NONE;
    r->o.allow = allow;
    r->o.allow_count = allow_count;
    r->o.max_services = max_services ? max_services : SERVICES_DEFAULT;
    return BG_OK;
}

struct config_receiver *config_receiver_new(const struct config_receiver_options *o)
{
    struct config_receiver *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->o = *o;
    r->o.token = SLICE_NONE;
    map_init(&r->services);
    if (config_receiver_set_rules(r, o->token, o->allow, o->allow_count, o->max_services) == BG_OK)
        return r;
    free(r);
    return NULL;
}

static void pushed_free(struct pushed *p)
{
    if (!p)
        return;
    buf_fini(&p->term);
    free(p);
}

void config_receiver_free(struct config_receiver *r)
{
    size_t pos = 0;
    struct pushed *p;
    if (!r)
        return;
    while ((p = map_next(&r->services, &pos, NULL)))
        pushed_free(p);
    map_fini(&r->services);
    forget_token(r);
    free(r);
}

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

/* Calls each() with the text of every node of a config without problems; false as soon as it says so. */
static bool each_node(struct slice nodes, bool (*each)(void *ctx, struct slice node), void *ctx)
{
    struct term_reader r = term_reader(nodes);
    struct slice item, text;
    uint32_t n = 0;
    bool go_on = term_read_list(&r, &n) == BG_OK;
    for (uint32_t i = 0; go_on && i < n; i++)
        go_on = term_skip(&r, &item) == BG_OK && term_text(item, &text) && each(ctx, text);
    return go_on;
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
        if (fits(rule.service, pc->service) && node_fits(&rule, node) && each_node(pc->field[PUSH_NODES], rule_allows_node, &rule))
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

static void put_pair(struct buf *out, const char *a, const char *b)
{
    term_put_tuple(out, 2);
    term_put_atom(out, a);
    term_put_atom(out, b);
}

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

struct push {
    struct config_receiver *r;
    struct push_config config;
    struct slice node;
    bool force;
    struct pushed *old; /* what the service pushed before, or NULL */
    struct config_offer offer;
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

/* Either both name one, or there is nothing to pull by. */
static bool wants_pull(const struct push_config *pc)
{
    struct slice text;
    return !term_is_nil(pc->field[PUSH_MODULE]) && !term_is_nil(pc->field[PUSH_FUNCTION]) &&
           term_text(pc->field[PUSH_MODULE], &text) && term_text(pc->field[PUSH_FUNCTION], &text);
}

/* Whom the puller has the service from: what the configuration file, or an operator by rpc, has told it stands above
 * what a push says. */
static bool is_pushers(const struct config_receiver *r, struct slice service, bool or_nobodys)
{
    struct config_puller_status s;
    for (size_t pos = 0; config_puller_next(r->o.puller, &pos, &s);)
        if (slice_eq(s.config->service, service))
            return s.config->start == PULL_PUSHED;
    return or_nobodys;
}

static bool may_pull(const struct push *p)
{
    return wants_pull(&p->config) && is_pushers(p->r, p->config.service, true);
}

/* A service that is pulled because it was pushed offers one and the same set both ways, so it has one source; what it
 * pushes beside a pull of the operator's is a set of its own. */
static struct slice source_key(struct slice service, bool pulled, char out[SOURCE_MAX])
{
    if (pulled)
        return service;
    const struct slice prefix = SLICE_LIT("push:");
    memcpy(out, prefix.ptr, prefix.len);
    memcpy(out + prefix.len, service.ptr, service.len);
    return slice_make(out, prefix.len + service.len);
}

static uint32_t remove_functions(struct config_receiver *r, struct slice source)
{
    config_db_mark(r->o.db, source);
    return (uint32_t)config_db_sweep(r->o.db, source);
}

static struct pushed *pushed_new(const struct push *p)
{
    struct pushed *made = calloc(1, sizeof(*made));
    if (!made)
        return NULL;
    buf_init(&made->term, 0);
    push_config_put(&p->config, &made->term, &made->service, &made->version);
    made->pulled = may_pull(p);
    if (buf_ok(&made->term) && term_text(made->service, &made->key))
        return made;
    pushed_free(made);
    return NULL;
}

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* S-024, S-025: false when none of the list could be stored; then nothing has changed. */
static bool store(struct push *p, bool pulled)
{
    char bytes[SOURCE_MAX];
    const struct config_receiver_options *o = &p->r->o;
    p->offer = (struct config_offer){
        .db = o->db,
        .failed = o->failed,
        .metrics = o->metrics,
        .rules = o->rules,
        .service = p->config.service,
        .source_key = source_key(p->config.service, pulled, bytes),
        .source = CONFIG_PUSH,
        .now_ms = wall_ms(),
        .keep_if_none = true,
    };
    if (config_offer_begin(&p->offer, p->config.field[PUSH_FUN_CONFIGS]) != BG_OK)
        return false;
    while (!config_offer_step(&p->offer, UINT32_MAX))
        ;
    return p->offer.stored > 0;
}

/* ---- pulling what was pushed ---- */

struct nodes {
    struct slice *at;
    uint32_t count;
};

static bool add_node(void *ctx, struct slice node)
{
    struct nodes *nodes = ctx;
    nodes->at[nodes->count++] = node;
    return true;
}

/* An optional name: nil and what has no text give nothing. */
static struct slice name_of(struct slice term)
{
    struct slice text;
    return !term_is_nil(term) && term_text(term, &text) ? text : SLICE_NONE;
}

/* S-026, S-064. args nil is []. */
static int start_pull(const struct push *p, struct err *e)
{
    const struct push_config *pc = &p->config;
    struct nodes nodes = {.at = calloc(FUN_CONFIG_LIST_MAX, sizeof(*nodes.at))};
    if (!nodes.at)
        return err_set(e, BG_ENOMEM, 0, "no memory for its nodes");
    each_node(pc->field[PUSH_NODES], add_node, &nodes);
    struct service_config s = {
        .service = pc->service,
        .nodes = nodes.at,
        .nodes_count = nodes.count,
        .module = name_of(pc->field[PUSH_MODULE]),
        .function = name_of(pc->field[PUSH_FUNCTION]),
        .args = term_is_nil(pc->field[PUSH_ARGS]) ? SLICE_NONE : pc->field[PUSH_ARGS],
        .version_module = name_of(pc->field[PUSH_VERSION_MODULE]),
        .version_function = name_of(pc->field[PUSH_VERSION_FUNCTION]),
        .version_args = term_is_nil(pc->field[PUSH_VERSION_ARGS]) ? SLICE_NONE : pc->field[PUSH_VERSION_ARGS],
        .start = PULL_PUSHED,
    };
    int rc = config_puller_add(p->r->o.puller, &s, e); /* it copies */
    free(nodes.at);
    return rc;
}

static void stop_pull(struct config_receiver *r, struct slice service)
{
    if (is_pushers(r, service, false))
        config_puller_delete(r->o.puller, service);
}

/* The push stands even if pulling cannot begin: the functions are there. */
static void follow_pull(struct push *p, const struct pushed *now)
{
    struct err e = {0};
    if (!now->pulled)
        stop_pull(p->r, p->config.service);
    else if (start_pull(p, &e) != BG_OK)
        log_warning("config", "a pushed service will not be pulled", "service=%s reason=\"%s\"",
                    log_text(p->config.service), e.text);
}

/* ---- connections ---- */

static bool connect_node(void *ctx, struct slice node)
{
    const struct config_receiver_options *o = ctx;
    o->connect(o->ctx, node);
    return true;
}

static bool release_node(void *ctx, struct slice node)
{
    const struct config_receiver_options *o = ctx;
    o->release(o->ctx, node);
    return true;
}

static struct slice nodes_of(const struct pushed *p)
{
    struct slice nodes;
    return term_map_get(buf_slice(&p->term), "nodes", &nodes) ? nodes : SLICE_NONE;
}

/* p is listed no more; NULL: there was none. */
static void release_nodes(struct config_receiver *r, const struct pushed *p)
{
    if (p && r->o.release)
        each_node(nodes_of(p), release_node, &r->o);
}

static bool is_other_node(void *ctx, struct slice node)
{
    const struct slice *wanted = ctx;
    return !slice_eq(*wanted, node);
}

bool config_receiver_names_node(const struct config_receiver *r, struct slice node)
{
    const struct pushed *p;
    for (size_t pos = 0; (p = map_next(&r->services, &pos, NULL));)
        if (!each_node(nodes_of(p), is_other_node, &node))
            return true;
    return false;
}

/* ---- the steps ---- */

/* What the old push left under another source key than the new one's. */
static void drop_other_source(struct push *p, bool pulled)
{
    char bytes[SOURCE_MAX];
    if (p->old && p->old->pulled != pulled)
        p->offer.removed += remove_functions(p->r, source_key(p->config.service, p->old->pulled, bytes));
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

/* Undoes what put the new record in the place of the old one. */
static void restore(struct push *p, struct pushed *now)
{
    struct map *services = &p->r->services;
    if (p->old)
        assert_always(map_put(services, p->old->key, p->old) == BG_OK); /* in the same place: takes no memory */
    else
        map_del(services, now->key);
}

static void refuse(struct push *p, const char *reason, struct buf *out)
{
    if (out)
        put_pair(out, "error", reason);
    metric_inc(p->r->o.metrics, METRIC_PUSHES_REFUSED);
    log_limited(LOG_WARNING, "config", "push refused", "service=%s node=%s reason=%s first=%s first_reason=%s",
                log_text(p->config.service), log_text(p->node), reason, log_text(slice_str(p->offer.first_type)),
                log_text(slice_str(p->offer.first_reason)));
}

/* Nothing could be stored. */
static void answer_none_stored(struct push *p, struct buf *out)
{
    if (p->offer.denied > 0) {
        refuse(p, "batch_add_failed", out);
        return;
    }
    put_all_invalid(out, p->config.field[PUSH_FUN_CONFIGS]);
    refuse(p, "all_invalid", NULL);
}

/* The functions are in the store; now stands in the place of the old record. */
static void accepted(struct push *p, struct pushed *now, struct buf *out)
{
    struct config_receiver *r = p->r;
    r->kept_bytes += now->term.len - (p->old ? p->old->term.len : 0);
    drop_other_source(p, now->pulled);
    follow_pull(p, now);
    if (r->o.connect)
        each_node(p->config.field[PUSH_NODES], connect_node, &r->o);
    release_nodes(r, p->old);
    metric_inc(r->o.metrics, METRIC_PUSHES);
    log_accepted(p);
    put_pair(out, "ok", "accepted");
    pushed_free(p->old);
}

/* S-024..S-027. The record comes first: once the functions are in the store, nothing can fail. */
static void accept(struct push *p, struct buf *out)
{
    struct config_receiver *r = p->r;
    struct pushed *now = pushed_new(p);
    size_t kept = r->kept_bytes - (p->old ? p->old->term.len : 0);
    if (now && kept + now->term.len > PUSH_KEPT_BYTES_MAX) {
        refuse(p, "too_many_pushed_bytes", out);
    } else if (!now || map_put(&r->services, now->key, now) != BG_OK) {
        refuse(p, "out_of_memory", out);
    } else if (store(p, now->pulled)) {
        accepted(p, now, out);
        return;
    } else {
        restore(p, now);
        answer_none_stored(p, out);
    }
    pushed_free(now);
}

static struct pushed *find(const struct config_receiver *r, struct slice service)
{
    struct slice text;
    return term_text(service, &text) ? map_get(&r->services, text) : NULL;
}

/* Token before version, so that whoever has none learns nothing of what is here. */
static void take(struct push *p, struct buf *out)
{
    struct config_receiver *r = p->r;
    struct term_reader stored;
    struct slice version;
    p->old = map_get(&r->services, p->config.service);
    if (!token_is_good(r, p->config.field[PUSH_PUSH_TOKEN])) {
        refuse(p, "invalid_push_token", out);
        return;
    }
    if (!is_allowed(r, &p->config, p->node)) {
        refuse(p, "push_not_allowed", out);
        return;
    }
    stored = term_reader(p->old ? p->old->version : SLICE_NONE);
    if (p->old && !p->force && term_read_binary(&stored, &version) == BG_OK && slice_eq(version, p->config.version)) {
        metric_inc(r->o.metrics, METRIC_PUSHES_SKIPPED);
        put_skipped(out);
    } else if (!p->old && r->services.count >= r->o.max_services) {
        refuse(p, "too_many_services", out);
    } else {
        accept(p, out);
    }
}

void config_receiver_push(struct config_receiver *r, struct slice config, struct slice options, struct slice node,
                          struct buf *out)
{
    const char *problems[PUSH_PROBLEMS_MAX];
    struct push p = {.r = r, .node = node, .force = reads_force(options)};
    if (!push_config_read(&p.config, config)) {
        refuse(&p, "invalid_push_config_data", out);
        return;
    }
    uint32_t n = push_config_problems(&p.config, problems);
    if (n == 0) {
        take(&p, out);
        return;
    }
    put_problems(out, problems, n);
    slice_cstr(slice_str(problems[0]), p.offer.first_reason, sizeof(p.offer.first_reason));
    refuse(&p, "validation_failed", NULL);
}

/* ---- the other functions ---- */

void config_receiver_verify(const struct config_receiver *r, struct slice service, struct slice version,
                            struct buf *out)
{
    const struct pushed *p = find(r, service);
    if (!p) {
        put_pair(out, "error", "not_found");
    } else if (term_equal(p->version, version)) {
        put_pair(out, "ok", "matched");
    } else {
        term_put_tuple(out, 3);
        term_put_atom(out, "ok");
        term_put_atom(out, "mismatch");
        term_put_raw(out, p->version);
    }
}

void config_receiver_put_config(const struct config_receiver *r, struct slice service, struct buf *out)
{
    const struct pushed *p = find(r, service);
    if (p)
        term_put_raw(out, buf_slice(&p->term));
    else
        term_put_atom(out, "nil");
}

void config_receiver_put_services(const struct config_receiver *r, struct buf *out)
{
    const struct pushed *p;
    term_put_map(out, (uint32_t)r->services.count);
    for (size_t pos = 0; (p = map_next(&r->services, &pos, NULL));) {
        term_put_raw(out, p->service);
        term_put_raw(out, p->version);
    }
}

void config_receiver_delete(struct config_receiver *r, struct slice service)
{
    char bytes[SOURCE_MAX];
    struct pushed *p = find(r, service);
    if (!p)
        return;
    map_del(&r->services, p->key);
    r->kept_bytes -= p->term.len;
    stop_pull(r, p->key);
    uint32_t removed = remove_functions(r, source_key(p->key, p->pulled, bytes));
    log_info("config", "pushed service deleted", "service=%s removed=%u", log_text(p->key), removed);
    release_nodes(r, p);
    pushed_free(p);
}

void config_receiver_put_status(const struct config_receiver *r, struct buf *out)
{
    const struct pushed *p;
    term_put_map(out, 3);
    term_put_atom(out, "status");
    term_put_atom(out, "ok");
    term_put_atom(out, "pushed_services");
    config_receiver_put_services(r, out);
    term_put_atom(out, "pushed_configs");
    term_put_map(out, (uint32_t)r->services.count);
    for (size_t pos = 0; (p = map_next(&r->services, &pos, NULL));) {
        term_put_raw(out, p->service);
        term_put_raw(out, buf_slice(&p->term));
    }
}

bool config_receiver_next(const struct config_receiver *r, size_t *pos, struct config_receiver_status *status)
{
    char bytes[SOURCE_MAX];
    const struct pushed *p = map_next(&r->services, pos, NULL);
    if (!p)
        return false;
    *status = (struct config_receiver_status){.service = p->key, .pulled = p->pulled};
    if (!term_text(p->version, &status->version))
        status->version = SLICE_NONE;
    status->functions = config_db_source_count(r->o.db, source_key(p->key, p->pulled, bytes));
    return true;
}
