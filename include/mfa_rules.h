/*
 * mfa_rules.h: which functions of other nodes a FunConfig may name (S-081..S-083).
 */
#ifndef BEAMGATE_MFA_RULES_H
#define BEAMGATE_MFA_RULES_H

#include "fun_config.h"

/* One allowed module, or one function of it when function is not empty. */
struct mfa_rule {
    struct slice module;
    struct slice function;
};

struct mfa_rules {
    bool restricted; /* only what allow names; false: everything but the modules that are never allowed */
    const struct mfa_rule *allow;
    size_t allow_count;
};

/* os, file, code, erlang, net, rpc, global, inet are never allowed (S-081). rules NULL: nothing more. */
bool mfa_rules_allow(const struct mfa_rules *rules, struct slice module, struct slice function);
/* Every function that the config names: its own, hooks, permission callback and nodes function (S-083 want); of the
 * last, erlang:nodes/0,1 is allowed, since it gives names only. NULL when all are allowed, else one that is not. */
const struct mfa *mfa_rules_refused(const struct mfa_rules *rules, const struct fun_config *fc);

#endif
