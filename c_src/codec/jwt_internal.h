/*
 * jwt_internal.h: what jwt.c (tokens) and jwks.c (where keys come from) share. Nobody else includes it.
 */
#ifndef BEAMGATE_JWT_INTERNAL_H
#define BEAMGATE_JWT_INTERNAL_H

#include <openssl/evp.h>

#include "jwt.h"

struct jwt_algorithm {
    const char *name;
    const EVP_MD *(*digest)(void); /* NULL: the key has its own */
    int key_type;                  /* EVP_PKEY_..., or EVP_PKEY_HMAC for a secret */
    bool pss;
};

struct jwt_key {
    const struct jwt_algorithm *alg;
    EVP_PKEY *pkey; /* NULL for a secret */
    char *kid;      /* NULL: it has none */
    uint8_t *secret;
    size_t secret_len;
};

struct jwt_keys {
    bool any_kid; /* a single key of the operator's, for every token */
    uint32_t count;
    struct jwt_key key[];
};

/* NULL for a name that is not in the table. */
const struct jwt_algorithm *jwt_algorithm(const char *name);
/* Whether no object in a JSON text names a member twice, at whatever depth: two readers of a token must not see two
 * users in it, and RFC 7519 section 4 allows to refuse it. The text is checked and not deep. */
bool jwt_names_unique(struct slice text);

#endif
