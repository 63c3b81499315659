/*
 * config_auth.c: which keys an entry of sockets[].auth needs and takes, by its type: one table, so that a key that
 * would do nothing is an error instead of a false comfort. Likewise what belongs to the functions that are asked about
 * joins and Origins.
 */
#include "config_schema.h"

#include <stdio.h>

#include "jwt.h"
#include "mfa_rules.h"
#include "phoenix_token.h"

enum key {
    KEY_PARAM = 1 << 0,
    KEY_SECRET = 1 << 1,
    KEY_SALT = 1 << 2,
    KEY_DERIVATION = 1 << 3,
    KEY_ALGORITHM = 1 << 4,
    KEY_KEYS = 1 << 5,
    KEY_CLAIMS = 1 << 6,
    KEY_USER = 1 << 7,
    KEY_MAX_AGE = 1 << 8,
    KEY_REMOTE = 1 << 9
};

enum { WHERE_SIZE = 48, KEYS_PHOENIX = KEY_PARAM | KEY_SECRET | KEY_SALT | KEY_DERIVATION | KEY_USER | KEY_MAX_AGE };

static const struct auth_kind {
    const char *type;
    unsigned takes;
    const char *all; /* what takes stands for, for the message */
} kinds[] = {
    {"phoenix_token", KEYS_PHOENIX, NULL},
    {"phoenix_encrypted", KEYS_PHOENIX, NULL},
    {"jwt", KEY_PARAM | KEY_SECRET | KEY_ALGORITHM | KEY_KEYS | KEY_CLAIMS | KEY_USER | KEY_MAX_AGE, NULL},
    {"remote", KEY_PARAM | KEY_REMOTE | KEY_USER, NULL},
    {"param", KEY_PARAM, "no key but param"},
    {"none", 0, "no key"},
};

/* ---- functions that are asked -------------------------------------------------------------------------- */

/* As access.c makes the rules, one at a time. */
static bool may_be_called(const struct security_settings *s, const char *module, const char *function)
{
    char m[CONFIG_ATOM_SIZE], f[CONFIG_ATOM_SIZE];
    bool allowed = s->mfa_allowlist_count == 0 && mfa_rules_allow(NULL, slice_str(module), slice_str(function));
    for (uint32_t i = 0; i < s->mfa_allowlist_count && !allowed; i++) {
        if (config_mfa_rule(slice_str(s->mfa_allowlist[i]), m, f) != BG_OK)
            continue; /* told already */
        const struct mfa_rule rule = {slice_str(m), slice_str(f)};
        const struct mfa_rules rules = {.restricted = true, .allow = &rule, .allow_count = 1};
        allowed = mfa_rules_allow(&rules, slice_str(module), slice_str(function));
    }
    return allowed;
}

/* where: as in messages. */
static void check_function(const struct server_config *c, const char *where, const char *module, const char *function,
                           const char *name, size_t line, struct config_report *r)
{
    if (!may_be_called(&c->security, module, function))
        config_error(r, name, line, "%s: %s:%s is not among the functions that may be called", where, module, function);
}

/* ---- ways to tell who a client is ---------------------------------------------------------------------- */

static const struct auth_kind *kind_of(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return &kinds[i];
    return NULL;
}

bool config_auth_type_known(const char *text)
{
    return kind_of(text) != NULL;
}

/* The first key that is given and not among those taken; NULL when there is none. */
static const char *stray_key(const struct auth_settings *a, unsigned takes)
{
    const struct {
        const char *key;
        enum key what;
        bool given;
    } keys[] = {
        {"param", KEY_PARAM, a->param != NULL},
        {"secret", KEY_SECRET, a->secret != NULL},
        {"secret_file", KEY_SECRET, a->secret_file != NULL},
        {"salt", KEY_SALT, a->salt != NULL},
        {"key_digest", KEY_DERIVATION, a->key_digest != NULL},
        {"key_iterations", KEY_DERIVATION, a->key_iterations != 0},
        {"key_length", KEY_DERIVATION, a->key_length != 0},
        {"algorithm", KEY_ALGORITHM, a->algorithm != NULL},
        {"key_file", KEY_KEYS, a->key_file != NULL},
        {"jwks_file", KEY_KEYS, a->jwks_file != NULL},
        {"issuer", KEY_CLAIMS, a->issuer != NULL},
        {"audience", KEY_CLAIMS, a->audience != NULL},
        {"leeway_s", KEY_CLAIMS, a->leeway_s != 0},
        {"user_id_path", KEY_USER, a->user_id_path != NULL},
        {"roles_path", KEY_USER, a->roles_path != NULL},
        {"device_id_path", KEY_USER, a->device_id_path != NULL},
        {"max_age_s", KEY_MAX_AGE, a->max_age_s != 0},
        {"module", KEY_REMOTE, a->module != NULL},
        {"function", KEY_REMOTE, a->function != NULL},
        {"nodes", KEY_REMOTE, a->nodes_count != 0},
        {"cache_ms", KEY_REMOTE, a->cache_ms != 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (keys[i].given && !(takes & keys[i].what))
            return keys[i].key;
    return NULL;
}

/* A signed token's key may have any length; encryption wants 32 bytes, before Plug.Crypto 2.0 also 16 or 24. */
static const char *phoenix_problem(const struct auth_settings *a)
{
    uint32_t length = a->key_length ? a->key_length : PHOENIX_TOKEN_KEY;
    if (!a->secret == !a->secret_file)
        return "needs secret_file, or else secret: the application's secret_key_base";
    if (!a->salt)
        return "needs salt: the second argument of Phoenix.Token.sign or encrypt";
    if (strcmp(a->type, "phoenix_encrypted") == 0 && length != 16 && length != 24 && length != 32)
        return "needs a key_length of 32, 24 or 16";
    return NULL;
}

static const char *jwt_problem(const struct auth_settings *a)
{
    bool has_secret = a->secret || a->secret_file;
    if (!!a->secret + !!a->secret_file + !!a->key_file + !!a->jwks_file != 1)
        return "needs one of secret_file, secret, key_file and jwks_file";
    if (!a->jwks_file && !a->algorithm)
        return "needs algorithm beside its key";
    if (a->algorithm && !a->jwks_file && jwt_algorithm_has_secret(a->algorithm) != has_secret)
        return has_secret ? "has a secret, which is for HS256, HS384 and HS512; other algorithms have key_file"
                          : "has key_file, which is not for HS256, HS384 and HS512; these have secret_file";
    return NULL;
}

static const char *problem_of(const struct auth_settings *a)
{
    if (strncmp(a->type, "phoenix_", 8) == 0)
        return phoenix_problem(a);
    if (strcmp(a->type, "jwt") == 0)
        return jwt_problem(a);
    if (strcmp(a->type, "remote") == 0 && (!a->module || !a->function || !a->nodes_count))
        return "needs module, function and nodes: whom to ask";
    if (strcmp(a->type, "param") == 0 && !a->param)
        return "needs param: the connect parameter that names the user";
    return NULL;
}

void config_check_auth(const struct server_config *c, uint32_t socket, uint32_t method, const char *name, size_t line,
                       struct config_report *r)
{
    const struct auth_settings *a = &c->sockets[socket].auth[method];
    const struct auth_kind *kind = kind_of(a->type);
    const char *stray = stray_key(a, kind->takes), *problem = stray ? NULL : problem_of(a);
    if (stray && kind->all)
        config_error(r, name, line, "sockets[%u].auth[%u]: %s takes %s", socket, method, a->type, kind->all);
    else if (stray)
        config_error(r, name, line, "sockets[%u].auth[%u]: %s takes no %s", socket, method, a->type, stray);
    else if (problem)
        config_error(r, name, line, "sockets[%u].auth[%u]: %s %s", socket, method, a->type, problem);
    else if (a->secret)
        config_warning(r, name, line,
                       "sockets[%u].auth[%u].secret: whoever reads this file can sign tokens; secret_file keeps it apart",
                       socket, method);
    else if (a->module) {
        char where[WHERE_SIZE];
        snprintf(where, sizeof(where), "sockets[%u].auth[%u]", socket, method);
        check_function(c, where, a->module, a->function, name, line, r);
    }
}

/* ---- joins, refusals, Origins -------------------------------------------------------------------------- */

void config_check_join(const struct server_config *c, uint32_t socket, uint32_t channel, const char *name, size_t line,
                       struct config_report *r)
{
    const struct channel_settings *ch = &c->sockets[socket].channels[channel];
    char where[WHERE_SIZE];
    bool any = ch->join_module || ch->join_function || ch->join_nodes_count;
    snprintf(where, sizeof(where), "sockets[%u].channels[%u]", socket, channel);
    if (any && !(ch->join_module && ch->join_function && ch->join_nodes_count))
        config_error(r, name, line, "%s: join_module, join_function and join_nodes go together", where);
    else if (any)
        check_function(c, where, ch->join_module, ch->join_function, name, line, r);
}

/* Only a connect function gives reasons that an operator knows. */
void config_check_refusals(const struct server_config *c, uint32_t socket, const char *name, size_t line,
                           struct config_report *r)
{
    const struct socket_settings *s = &c->sockets[socket];
    bool remote = s->refusals_count == 0;
    for (uint32_t i = 0; i < s->auth_count; i++)
        remote = remote || strcmp(s->auth[i].type, "remote") == 0;
    if (!remote)
        config_error(r, name, line, "sockets[%u]: refusals is for auth of type remote, and there is none", socket);
    for (uint32_t i = 0; i < s->refusals_count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(s->refusals[i].reason, s->refusals[k].reason) == 0)
                config_error(r, name, line, "sockets[%u].refusals[%u]: the reason %s is listed twice", socket, i,
                             log_text(slice_str(s->refusals[i].reason)));
}

void config_check_origin(const struct server_config *c, uint32_t socket, const char *name, size_t line,
                         struct config_report *r)
{
    const struct socket_settings *s = &c->sockets[socket];
    char where[WHERE_SIZE];
    bool remote = strcmp(s->check_origin, "remote") == 0;
    snprintf(where, sizeof(where), "sockets[%u]", socket);
    bool any = s->origin_module || s->origin_function || s->origin_nodes_count || s->origin_args.len ||
               s->origin_cache_ms;
    if (s->origins_count && strcmp(s->check_origin, "true") != 0)
        config_error(r, name, line, "%s: origins is for check_origin true; it says %s", where, s->check_origin);
    else if (any && !remote)
        config_error(r, name, line, "%s: origin_module and the like are for check_origin remote; it says %s", where,
                     s->check_origin);
    else if (remote && !(s->origin_module && s->origin_function && s->origin_nodes_count))
        config_error(r, name, line,
                     "%s: check_origin remote needs origin_module, origin_function and origin_nodes: whom to ask",
                     where);
    else if (remote)
        check_function(c, where, s->origin_module, s->origin_function, name, line, r);
}
