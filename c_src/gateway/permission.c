/*
 * permission.c: see permission.h. One function per permission kind. Whatever is not clearly allowed is denied:
 * a missing user, an argument of another type, a mode this version does not know.
 *
 * Invariant: the value compared is the value that the function would get, so of a repeated key the first counts
 * (E-234), and inside nested objects only declared arguments are looked at; a request with others fails anyway.
 */
#include "permission.h"

#include "json.h"

/* The first value under key, as the JSON decoders of the library choose. */
static bool object_get(struct slice object, struct slice key, struct slice *value)
{
    struct json_iter it;
    struct slice k;
    json_iter_init(&it, object);
    while (json_iter_next(&it, &k, value))
        if (json_string_is(k, key))
            return true;
    return false;
}

/* E-052: strictly equal, so only a string can be; 5 is not "5". */
static enum permission same_text(struct slice raw, struct slice user_id)
{
    bool same = json_kind(raw) == JSON_STRING && json_string_is(raw, user_id);
    return same ? PERMISSION_ALLOWED : PERMISSION_DENIED;
}

static bool is_nothing(struct slice raw)
{
    enum json_kind kind = json_kind(raw);
    return kind == JSON_NULL || kind == JSON_FALSE;
}

/* E-052 in map mode: the first value that is not nil under Name inside an object argument, in key order. */
static enum permission search_nested(const struct fun_config *fc, struct slice user_id, struct slice args)
{
    struct slice first[FUN_CONFIG_ARGS_MAX] = {SLICE_NONE};
    struct json_iter it;
    struct slice key, value;
    uint32_t at;
    json_iter_init(&it, args);
    while (json_iter_next(&it, &key, &value))
        if (fun_config_arg_of_key(fc, key, &at) && !first[at].ptr)
            first[at] = value;
    for (at = 0; at < fc->args_count; at++)
        if (first[at].ptr && json_kind(first[at]) == JSON_OBJECT && object_get(first[at], fc->permission_arg, &value) &&
            json_kind(value) != JSON_NULL)
            return same_text(value, user_id);
    return PERMISSION_DENIED;
}

static enum permission check_arg(const struct fun_config *fc, struct slice user_id, struct slice args)
{
    struct slice value;
    if (user_id.len == 0 || args.len == 0 || json_kind(args) != JSON_OBJECT)
        return PERMISSION_DENIED;
    bool found = object_get(args, fc->permission_arg, &value);
    if (found && !is_nothing(value))
        return same_text(value, user_id);
    return fc->order_map ? search_nested(fc, user_id, args) : PERMISSION_DENIED;
}

/* E-053 want: roles of the config are texts, whether they came as atoms or strings. */
static enum permission check_roles(const struct fun_config *fc, const struct slice *roles, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < fc->roles_count; j++)
            if (roles[i].len > 0 && slice_eq(roles[i], fc->roles[j]))
                return PERMISSION_ALLOWED;
    return PERMISSION_DENIED;
}

enum permission permission_check(const struct fun_config *fc, struct slice user_id, const struct slice *roles,
                                 uint32_t roles_count, struct slice args)
{
    if (fc->permission_callback.present)
        return PERMISSION_ASK;
    switch (fc->permission) {
    case PERMIT_ALL:
        return PERMISSION_ALLOWED;
    case PERMIT_AUTHENTICATED:
        return user_id.len > 0 ? PERMISSION_ALLOWED : PERMISSION_DENIED;
    case PERMIT_ARG:
        return check_arg(fc, user_id, args);
    case PERMIT_ROLE:
        return check_roles(fc, roles, roles_count);
    }
    return PERMISSION_DENIED; /* E-054 */
}
