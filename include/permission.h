/*
 * permission.h: may this client call this function (E-050..E-055)? Pure: what a callback says is asked elsewhere.
 */
#ifndef BEAMGATE_PERMISSION_H
#define BEAMGATE_PERMISSION_H

#include "fun_config.h"

enum permission {
    PERMISSION_DENIED,
    PERMISSION_ALLOWED,
    PERMISSION_ASK /* fc->permission_callback decides, and only exactly `true` allows (E-055) */
};

/* user_id: of the authenticated session, or what E-002 leaves in force; empty when there is none. roles: of the
 * session, never of the payload (E-024 want). args: the request's arguments as a raw, checked JSON object, or empty for
 * none. */
enum permission permission_check(const struct fun_config *fc, struct slice user_id, const struct slice *roles,
                                 uint32_t roles_count, struct slice args);

/* Anybody may call it: then nobody need be looked at. */
static inline bool permission_is_free(const struct fun_config *fc)
{
    return fc->permission == PERMIT_ALL && !fc->permission_callback.present;
}

/* The same as a yes or no, for configs without a callback: what a callback would decide is denied. */
static inline bool permission_allows(const struct fun_config *fc, struct slice user_id, const struct slice *roles,
                                     uint32_t roles_count, struct slice args)
{
    return permission_check(fc, user_id, roles, roles_count, args) == PERMISSION_ALLOWED;
}

#endif
