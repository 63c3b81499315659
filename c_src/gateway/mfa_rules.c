/*
 * mfa_rules.c: see mfa_rules.h. A config decides what clients make a service node run, so modules with which a
 * node is taken over are out of reach whoever sends the config. The rules hold for every function a config names,
 * not for its main one alone.
 */
#include "mfa_rules.h"

static const char *const never[] = {"os", "file", "code", "erlang", "net", "rpc", "global", "inet"};

static bool never_allowed(struct slice module)
{
    for (size_t i = 0; i < ARRAY_SIZE(never); i++)
        if (slice_is(module, never[i]))
            return true;
    return false;
}

bool mfa_rules_allow(const struct mfa_rules *rules, struct slice module, struct slice function)
{
    if (never_allowed(module))
        return false;
    if (!rules || !rules->restricted)
        return true;
    for (size_t i = 0; i < rules->allow_count; i++) {
        const struct mfa_rule *r = &rules->allow[i];
        if (slice_eq(r->module, module) && (r->function.len == 0 || slice_eq(r->function, function)))
            return true;
    }
    return false;
}

static bool gives_names_only(const struct mfa *m)
{
    return slice_is(m->module, "erlang") && slice_is(m->function, "nodes");
}

const struct mfa *mfa_rules_refused(const struct mfa_rules *rules, const struct fun_config *fc)
{
    const struct mfa *const named[] = {&fc->mfa, &fc->permission_callback, &fc->before_execute, &fc->after_execute};
    for (size_t i = 0; i < ARRAY_SIZE(named); i++)
        if (named[i]->present && !mfa_rules_allow(rules, named[i]->module, named[i]->function))
            return named[i];
    const struct mfa *nodes = &fc->nodes_mfa;
    if (nodes->present && !gives_names_only(nodes) && !mfa_rules_allow(rules, nodes->module, nodes->function))
        return nodes;
    return NULL;
}
