/*
 * config_puller.c: see config_puller.h. The services that are pulled and when; how one is pulled is config_pull's
 * affair. Services are independent: one that is slow or broken delays no other (S-051 is about the library's rounds
 * of all services; here each has its own backoff).
 */
#include "config_puller.h"

#include <stdlib.h>

#include "config_pull.h"
#include "log.h"

enum { SERVICES_MAX = 1024, NODES_MAX = 1024, TIMEOUT_DEFAULT_MS = 5000, INTERVAL_DEFAULT_MS = 30000 };

struct config_puller {
    struct config_puller_options o;
    struct pulled_service **services; /* in the order they were added */
    uint32_t count;
};

struct config_puller *config_puller_new(const struct config_puller_options *o)
{
    struct config_puller *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->o = *o;
    config_puller_set_times(p, o->pull_timeout_ms, o->pull_interval_ms);
    return p;
}

/* The services have a pointer to the options, so all of them see it. */
void config_puller_set_times(struct config_puller *p, uint32_t timeout_ms, uint32_t interval_ms)
{
    p->o.pull_timeout_ms = timeout_ms ? timeout_ms : TIMEOUT_DEFAULT_MS;
    p->o.pull_interval_ms = interval_ms ? interval_ms : INTERVAL_DEFAULT_MS;
}

void config_puller_free(struct config_puller *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->count; i++)
        pulled_service_free(p->services[i]);
    free(p->services);
    free(p);
}

/* The index, or count. Services are few and looked up rarely. */
static uint32_t find(const struct config_puller *p, struct slice service)
{
    uint32_t i = 0;
    while (i < p->count && !slice_eq(p->services[i]->config.service, service))
        i++;
    return i;
}

/* ---- adding ---- */

static bool is_name(struct slice s, size_t max)
{
    return s.len > 0 && s.len <= max;
}

/* A checked, proper list, or nothing at all. */
static bool is_args(struct slice list)
{
    struct arena scratch;
    struct slice args;
    uint32_t count;
    if (list.len == 0)
        return true;
    arena_init(&scratch);
    int rc = fun_config_args(&scratch, list, &args, &count);
    arena_fini(&scratch);
    return rc == BG_OK;
}

/* S-083 want: asking for configs must not be a way to run what no config may name. What the operator has written into
 * the configuration needs no allow-list. */
static bool may_call(const struct service_config *s, const struct mfa_rules *rules)
{
    const struct mfa_rules *r = s->start == PULL_CONFIGURED ? NULL : rules;
    return mfa_rules_allow(r, s->module, s->function) &&
           (s->version_module.len == 0 || mfa_rules_allow(r, s->version_module, s->version_function));
}

/* Everything that copying could stumble over, told in words; what is left for it is memory. */
static int check_config(const struct service_config *s, const struct mfa_rules *rules, struct err *e)
{
    enum { ATOM_MAX = 255 };
    const char *service = log_text(s->service);
    if (!is_name(s->service, FUN_CONFIG_NAME_MAX))
        return err_set(e, BG_EINVAL, 0, "a service to pull from needs a name of 1 to %d bytes", FUN_CONFIG_NAME_MAX);
    if (s->nodes_count == 0 || s->nodes_count > NODES_MAX)
        return err_set(e, BG_EINVAL, 0, "service %s needs 1 to %d nodes", service, NODES_MAX);
    for (uint32_t i = 0; i < s->nodes_count; i++)
        if (!is_name(s->nodes[i], ATOM_MAX))
            return err_set(e, BG_EINVAL, 0, "service %s: %s is no node name", service, log_text(s->nodes[i]));
    if (!is_name(s->module, ATOM_MAX) || !is_name(s->function, ATOM_MAX))
        return err_set(e, BG_EINVAL, 0, "service %s needs the module and function that give its configs", service);
    if (s->version_module.len > ATOM_MAX || s->version_function.len > ATOM_MAX)
        return err_set(e, BG_EINVAL, 0, "service %s: the version module or function has too long a name", service);
    if (!may_call(s, rules))
        return err_set(e, BG_EINVAL, 0, "service %s: a function by which it is pulled may not be called", service);
    if (!is_args(s->args) || !is_args(s->version_args))
        return err_set(e, BG_EINVAL, 0, "service %s: args must be a list", service);
    return BG_OK;
}

/* Then there will be no link_up to wait for. */
static bool some_node_up(const struct config_puller *p, const struct pulled_service *s)
{
    for (uint32_t i = 0; i < s->config.nodes_count; i++)
        if (p->o.call.node_up(p->o.call.ctx, s->config.nodes[i]))
            return true;
    return false;
}

static uint64_t first_pull_ms(const struct config_puller *p, const struct pulled_service *s)
{
    if (s->config.start == PULL_PUSHED)
        return p->o.pull_interval_ms;
    return some_node_up(p, s) ? 0 : PULL_FIRST_MS;
}

/* Services come one by one and rarely: growing by one each time is enough. */
static int make_room(struct config_puller *p)
{
    if (p->count >= SERVICES_MAX)
        return BG_ELIMIT;
    struct pulled_service **all = realloc(p->services, (p->count + 1) * sizeof(struct pulled_service *));
    if (!all)
        return BG_ENOMEM;
    p->services = all;
    return BG_OK;
}

/* A service of that name is replaced only when the new one stands: a bad row leaves the old one running. */
int config_puller_add(struct config_puller *p, const struct service_config *config, struct err *e)
{
    int rc = check_config(config, p->o.rules, e);
    if (rc != BG_OK)
        return rc;
    uint32_t at = find(p, config->service);
    if (at == p->count && (rc = make_room(p)) != BG_OK)
        return err_set(e, rc, 0, "no room for the service %s", log_text(config->service));
    struct pulled_service *s = pulled_service_new(&p->o, config);
    if (!s)
        return err_set(e, BG_ENOMEM, 0, "no memory for the service %s", log_text(config->service));
    if (at < p->count)
        pulled_service_free(p->services[at]);
    else
        p->count++;
    p->services[at] = s;
    pulled_service_pull_in(s, first_pull_ms(p, s));
    return BG_OK;
}

/* Its functions stay in the store: whoever deletes a service decides what becomes of them. */
int config_puller_delete(struct config_puller *p, struct slice service)
{
    uint32_t at = find(p, service);
    if (at == p->count)
        return BG_EGONE;
    pulled_service_free(p->services[at]);
    p->count--;
    memmove(&p->services[at], &p->services[at + 1], (p->count - at) * sizeof(struct pulled_service *));
    return BG_OK;
}

/* ---- events ---- */

static bool has_node(const struct pulled_service *s, struct slice node)
{
    for (uint32_t i = 0; i < s->config.nodes_count; i++)
        if (slice_eq(s->config.nodes[i], node))
            return true;
    return false;
}

/* A running round is left alone: the node that came up may be the one it is asking, or not be needed. */
void config_puller_link_up(struct config_puller *p, struct slice node)
{
    for (uint32_t i = 0; i < p->count; i++) {
        struct pulled_service *s = p->services[i];
        if (!has_node(s, node))
            continue;
        if (s->state == PULL_IDLE)
            pulled_service_pull(s, false);
        else
            s->node_came_up = true;
    }
}

/* force: the stored version does not count, every list is taken as new (S-053). */
void config_puller_pull(struct config_puller *p, bool force)
{
    for (uint32_t i = 0; i < p->count; i++)
        pulled_service_pull(p->services[i], force);
}

/* ---- status ---- */

/* A service whose nodes are down must not keep the gateway from being ready for the others for ever. */
bool config_puller_ready(const struct config_puller *p, uint32_t *loaded, uint32_t *total)
{
    bool ready = true;
    *loaded = *total = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct pulled_service *s = p->services[i];
        if (s->config.start != PULL_CONFIGURED)
            continue;
        ready = ready && s->tried_once;
        *loaded += s->delivered_by > 0;
        *total += 1;
    }
    return ready;
}

bool config_puller_next(const struct config_puller *p, size_t *pos, struct config_puller_status *status)
{
    if (*pos >= p->count)
        return false;
    const struct pulled_service *s = p->services[(*pos)++];
    *status = (struct config_puller_status){
        .config = &s->config,
        .version = buf_slice(&s->version),
        .node = s->delivered_by > 0 ? s->config.nodes[s->delivered_by - 1] : SLICE_NONE,
        .failures = s->failures,
        .last_error = s->last_error,
        .stored = s->stored,
        .refused = s->refused,
        .pulled_at_us = s->pulled_at_us,
        .next_pull_us = s->state == PULL_IDLE && timer_armed(&s->timer) ? s->timer.deadline_us : 0,
    };
    return true;
}
