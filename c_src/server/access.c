/*
 * access.c: what the configuration says about who may push and which functions a FunConfig may name, in the form in
 * which receiver and puller want it. Built at start and at each reload; texts stay the configuration's where they can.
 *
 * It decides nothing: mfa_rules.c and config_receiver.c do.
 */
#include "reload.h"

#include <stdlib.h>

/* One entry, which has passed its check. */
static bool make_rule(struct mfa_rule *rule, const char *entry)
{
    char module[CONFIG_ATOM_SIZE], function[CONFIG_ATOM_SIZE];
    if (config_mfa_rule(slice_str(entry), module, function) != BG_OK)
        return false;
    char *m = slice_dup(slice_str(module)), *f = slice_dup(slice_str(function));
    if (m && f) {
        *rule = (struct mfa_rule){slice_str(m), slice_str(f)};
        return true;
    }
    free(m);
    free(f);
    return false;
}

static bool make_rules(struct access *a, const struct security_settings *s)
{
    if (s->mfa_allowlist_count == 0)
        return true;
    a->mfa_rules_memory = calloc(s->mfa_allowlist_count, sizeof(*a->mfa_rules_memory));
    if (!a->mfa_rules_memory)
        return false;
    a->rules = (struct mfa_rules){.restricted = true, .allow = a->mfa_rules_memory};
    for (; a->rules.allow_count < s->mfa_allowlist_count; a->rules.allow_count++)
        if (!make_rule(&a->mfa_rules_memory[a->rules.allow_count], s->mfa_allowlist[a->rules.allow_count]))
            return false;
    return true;
}

static bool make_push_rule(struct push_rule *rule, const struct allow_settings *from)
{
    struct slice *nodes = calloc(from->nodes_count, sizeof(*nodes));
    if (!nodes)
        return false;
    for (uint32_t i = 0; i < from->nodes_count; i++)
        nodes[i] = slice_str(from->nodes[i]);
    *rule = (struct push_rule){slice_str(from->service), nodes, from->nodes_count};
    return true;
}

static bool make_push_rules(struct access *a, const struct push_settings *s)
{
    if (s->allow_count == 0)
        return true;
    a->push_rules = calloc(s->allow_count, sizeof(*a->push_rules));
    if (!a->push_rules)
        return false;
    for (; a->push_rules_count < s->allow_count; a->push_rules_count++)
        if (!make_push_rule(&a->push_rules[a->push_rules_count], &s->allow[a->push_rules_count]))
            return false;
    return true;
}

int access_init(struct access *a, const struct server_config *c, struct err *e)
{
    return make_rules(a, &c->security) && make_push_rules(a, &c->push)
               ? BG_OK
               : err_set(e, BG_ENOMEM, 0, "no memory for the rules of access");
}

bool admin_allows(const struct server *s, const char *action)
{
    const struct security_settings *c = s->config ? &s->config->security : NULL;
    for (uint32_t i = 0; c && i < c->admin_actions_count; i++)
        if (strcmp(c->admin_actions[i], action) == 0)
            return true;
    return false;
}

static void free_rule(struct mfa_rule *rule)
{
    free((void *)(uintptr_t)rule->module.ptr);
    free((void *)(uintptr_t)rule->function.ptr);
}

void access_fini(struct access *a)
{
    for (size_t i = 0; i < a->rules.allow_count; i++)
        free_rule(&a->mfa_rules_memory[i]);
    for (uint32_t i = 0; i < a->push_rules_count; i++)
        free((void *)(uintptr_t)a->push_rules[i].nodes);
    free(a->mfa_rules_memory);
    free(a->push_rules);
}

/* ---- reload -------------------------------------------------------------------------------------------- */

int access_reload_prepare(struct server *s, const struct server_config *now, struct config_report *report)
{
    struct err e;
    int rc = access_init(&s->next_access, now, &e);
    if (rc != BG_OK)
        config_note(report, true, "reload", e.text);
    return rc;
}

void access_reload_drop(struct server *s)
{
    access_fini(&s->next_access);
    s->next_access = (struct access){0};
}

static bool is_refused(void *ctx, const struct fun_config *fc)
{
    return mfa_rules_refused(ctx, fc) != NULL;
}

/* The pointers to the rules that others hold stay good: what they point to is exchanged. */
void access_reload_apply(struct server *s, const struct server_config *before, const struct server_config *now)
{
    struct access old = s->access;
    const struct push_settings *p = &now->push;
    (void)before;
    s->access = s->next_access;
    s->next_access = (struct access){0};
    int rc = config_receiver_set_rules(s->receiver, p->token ? slice_str(p->token) : SLICE_NONE, s->access.push_rules,
                                       s->access.push_rules_count, p->max_services);
    assert_always(rc == BG_OK); /* a few bytes; without them the old token would go on being good */
    access_fini(&old);
    /* A rule made stricter must not wait for the next pull. */
    size_t removed = config_db_remove_if(s->db, is_refused, &s->access.rules);
    if (removed)
        log_warning("config", "functions removed: security.mfa_allowlist has no place for them", "removed=%zu", removed);
}
