/*
 * auth_setup.h: from what the file says about authentication to what the edge works with.
 */
#ifndef BEAMGATE_AUTH_SETUP_H
#define BEAMGATE_AUTH_SETUP_H

#include "config.h"
#include "edge.h"

/* Reads the secret and derives the key. from must outlive *to. BG_EINVAL with a text for the operator. */
int auth_setup(const struct auth_settings *from, struct auth_method *to, struct err *e) MUST_CHECK;
/* The file that a jwt method's keys come from, and that may change; NULL when it has a secret. */
const char *auth_keys_file(const struct auth_settings *from);
/* Reads a jwt method's keys; touches nothing but files, so any thread may call it. NULL with a text for the operator;
 * the caller frees them with jwt_keys_free(). */
struct jwt_keys *auth_load_keys(const struct auth_settings *from, struct err *e) MUST_CHECK;
/* Wipes the keys. */
void auth_clear(struct auth_method *methods, uint32_t count);

#endif
