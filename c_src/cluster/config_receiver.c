/*
 * config_receiver.c: see config_receiver.h. One record per pushed service: the PushConfig as it is shown, with the
 * version that a verify asks for, and whether the service is pulled since. How a push becomes one: config_push.c.
 *
 * Invariants: no token is ever kept, shown or logged; a record that is `taking` is known to config_push.c alone.
 */
#include "config_receiver_internal.h"

#include <stdlib.h>

#include "log.h"

enum { SERVICES_DEFAULT = 1000 };

/* Wiped, not just freed: a core dump or a later allocation must not show it. */
static void forget_token(struct config_receiver *r)
{
    if (r->token)
        explicit_bzero(r->token, r->o.token.len);
    free(r->token);
    r->token = NULL;
    r->o.token = SLICE_NONE;
}

/* The new token is copied before the old one goes: without memory nothing has changed. */
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
    list_init(&r->jobs);
    if (config_receiver_set_rules(r, o->token, o->allow, o->allow_count, o->max_services) == BG_OK)
        return r;
    free(r);
    return NULL;
}

void pushed_free(struct pushed *p)
{
    if (!p)
        return;
    buf_fini(&p->term);
    free(p->node_text);
    free(p);
}

void config_receiver_free(struct config_receiver *r)
{
    size_t pos = 0;
    struct pushed *p;
    if (!r)
        return;
    config_push_drop(r);
    while ((p = map_next(&r->services, &pos, NULL)))
        pushed_free(p);
    map_fini(&r->services);
    forget_token(r);
    free(r);
}

/* ---- pulling what was pushed ---- */

bool pushed_each_node(struct slice nodes, bool (*each)(void *ctx, struct slice node), void *ctx)
{
    struct term_reader r = term_reader(nodes);
    struct slice item, text;
    uint32_t n = 0;
    bool go_on = term_read_list(&r, &n) == BG_OK;
    for (uint32_t i = 0; go_on && i < n; i++)
        go_on = term_skip(&r, &item) == BG_OK && term_text(item, &text) && each(ctx, text);
    return go_on;
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

bool pushed_may_pull(const struct config_receiver *r, const struct push_config *pc)
{
    return wants_pull(pc) && is_pushers(r, pc->service, true);
}

struct slice pushed_source_key(struct slice service, bool pulled, char out[PUSH_SOURCE_MAX])
{
    if (pulled)
        return service;
    const struct slice prefix = SLICE_LIT("push:");
    memcpy(out, prefix.ptr, prefix.len);
    memcpy(out + prefix.len, service.ptr, service.len);
    return slice_make(out, prefix.len + service.len);
}

/* By its source, so that functions of the same service from elsewhere stay. */
uint32_t pushed_remove_functions(struct config_receiver *r, struct slice service, bool pulled)
{
    char bytes[PUSH_SOURCE_MAX];
    struct slice source = pushed_source_key(service, pulled, bytes);
    config_db_mark(r->o.db, source);
    return (uint32_t)config_db_sweep(r->o.db, source);
}

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
static int start_pull(struct config_receiver *r, const struct push_config *pc, struct err *e)
{
    struct nodes nodes = {.at = calloc(FUN_CONFIG_LIST_MAX, sizeof(*nodes.at))};
    if (!nodes.at)
        return err_set(e, BG_ENOMEM, 0, "no memory for its nodes");
    pushed_each_node(pc->field[PUSH_NODES], add_node, &nodes);
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
    int rc = config_puller_add(r->o.puller, &s, e); /* it copies */
    free(nodes.at);
    return rc;
}

/* A pull that an operator has set up is not the push's to end. */
static void stop_pull(struct config_receiver *r, struct slice service)
{
    if (is_pushers(r, service, false))
        config_puller_delete(r->o.puller, service);
}

/* The push stands even if pulling cannot begin: the functions are there. */
void pushed_follow_pull(struct config_receiver *r, const struct pushed *now)
{
    struct err e = {0};
    if (!now->pulled)
        stop_pull(r, now->config.service);
    else if (start_pull(r, &now->config, &e) != BG_OK)
        log_warning("config", "a pushed service will not be pulled", "service=%s reason=%s",
                    log_text(now->config.service), log_text(slice_str(e.text)));
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

void pushed_connect(struct config_receiver *r, const struct pushed *p)
{
    if (r->o.connect)
        pushed_each_node(p->config.field[PUSH_NODES], connect_node, &r->o);
}

void pushed_release(struct config_receiver *r, const struct pushed *p)
{
    if (p && r->o.release)
        pushed_each_node(p->config.field[PUSH_NODES], release_node, &r->o);
}

/* Goes on as long as it is not the wanted one: stopping early means that it was found. */
static bool is_other_node(void *ctx, struct slice node)
{
    const struct slice *wanted = ctx;
    return !slice_eq(*wanted, node);
}

bool config_receiver_names_node(const struct config_receiver *r, struct slice node)
{
    const struct pushed *p;
    for (size_t pos = 0; (p = map_next(&r->services, &pos, NULL));)
        if (!p->taking && !pushed_each_node(p->config.field[PUSH_NODES], is_other_node, &node))
            return true;
    return false;
}

/* ---- what is asked ---- */

void push_put_pair(struct buf *out, const char *a, const char *b)
{
    term_put_tuple(out, 2);
    term_put_atom(out, a);
    term_put_atom(out, b);
}

/* The accepted push of a service named by an atom or a text; anything else finds nothing. */
static struct pushed *find(const struct config_receiver *r, struct slice service)
{
    struct slice text;
    struct pushed *p = term_text(service, &text) ? map_get(&r->services, text) : NULL;
    return p && !p->taking ? p : NULL;
}

/* The next that is accepted, or NULL. */
static const struct pushed *next(const struct config_receiver *r, size_t *pos)
{
    const struct pushed *p = map_next(&r->services, pos, NULL);
    while (p && p->taking)
        p = map_next(&r->services, pos, NULL);
    return p;
}

static uint32_t count(const struct config_receiver *r)
{
    uint32_t n = 0;
    for (size_t pos = 0; next(r, &pos);)
        n++;
    return n;
}

/* S-014: a mismatch tells the version that is here. */
void config_receiver_verify(const struct config_receiver *r, struct slice service, struct slice version,
                            struct buf *out)
{
    const struct pushed *p = find(r, service);
    if (!p) {
        push_put_pair(out, "error", "not_found");
    } else if (term_equal(p->config.field[PUSH_CONFIG_VERSION], version)) {
        push_put_pair(out, "ok", "matched");
    } else {
        term_put_tuple(out, 3);
        term_put_atom(out, "ok");
        term_put_atom(out, "mismatch");
        term_put_raw(out, p->config.field[PUSH_CONFIG_VERSION]);
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
    term_put_map(out, count(r));
    for (size_t pos = 0; (p = next(r, &pos));) {
        term_put_raw(out, p->config.field[PUSH_SERVICE]);
        term_put_raw(out, p->config.field[PUSH_CONFIG_VERSION]);
    }
}

/* Out of the map before its nodes are let go: that asks who else names them. */
void config_receiver_delete(struct config_receiver *r, struct slice service)
{
    config_push_finish(r); /* those that came before */
    struct pushed *p = find(r, service);
    if (!p)
        return;
    map_del(&r->services, p->config.service);
    r->kept_bytes -= p->term.len;
    stop_pull(r, p->config.service);
    uint32_t removed = pushed_remove_functions(r, p->config.service, p->pulled);
    log_info("config", "pushed service deleted", "service=%s removed=%u", log_text(p->config.service), removed);
    config_receiver_changed(r);
    pushed_release(r, p);
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
    term_put_map(out, count(r));
    for (size_t pos = 0; (p = next(r, &pos));) {
        term_put_raw(out, p->config.field[PUSH_SERVICE]);
        term_put_raw(out, buf_slice(&p->term));
    }
}

void config_receiver_changed(const struct config_receiver *r)
{
    if (r->o.changed)
        r->o.changed(r->o.ctx);
}

bool config_receiver_next_stored(const struct config_receiver *r, size_t *pos, struct slice *node, struct slice *term)
{
    const struct pushed *p = next(r, pos);
    if (!p)
        return false;
    *node = p->node;
    *term = buf_slice(&p->term);
    return true;
}

bool config_receiver_next(const struct config_receiver *r, size_t *pos, struct config_receiver_status *status)
{
    char bytes[PUSH_SOURCE_MAX];
    const struct pushed *p = next(r, pos);
    if (!p)
        return false;
    *status = (struct config_receiver_status){
        .service = p->config.service, .version = p->config.version, .pulled = p->pulled};
    status->functions = config_db_source_count(r->o.db, pushed_source_key(p->config.service, p->pulled, bytes));
    return true;
}
