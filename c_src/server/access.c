/*
 * access.c: what the configuration says about who may push and which functions a FunConfig may name, in the form in
 * which receiver and puller want it. Built once at start; texts stay the configuration's where they can.
 *
 * It decides nothing: mfa_rules.c and config_receiver.c do.
 */
#include "server_state.h"

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
