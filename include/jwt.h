/*
 * jwt.h: verifies JSON Web Tokens (RFC 7519) in their signed form, HEADER.CLAIMS.SIGNATURE (RFC 7515), with keys that
 * the operator has chosen, each for one algorithm. What a token says about its algorithm and its key only selects among
 * those; it brings nothing of its own (RFC 8725 sections 3.1, 3.10).
 */
#ifndef BEAMGATE_JWT_H
#define BEAMGATE_JWT_H

#include "token.h"

enum { JWKS_BYTES_MAX = 256 * 1024, JWKS_KEYS_MAX = 100, JWT_KID_MAX = 255 };

struct jwt_keys;

/* What the claims have to say besides the user. Texts are borrowed. */
struct jwt_rules {
    const char *issuer;   /* NULL: any */
    const char *audience; /* has to be aud, or one of a list; NULL: any */
    uint32_t leeway_s;    /* how far the clocks may differ */
    uint32_t max_age_s;   /* since iat; 0: exp alone decides, and has to be there */
};

/* True for HS256 HS384 HS512 RS256 PS256 ES256 EdDSA. */
bool jwt_algorithm_known(const char *alg);
/* True for those whose key is a secret, not a PEM file. */
bool jwt_algorithm_has_secret(const char *alg);
/* One key, whatever kid a token names. key: the secret's bytes, of at least as many as the digest has; or the text of a
 * PEM file with the public key, RSA of 2048 to 8192 bits, P-256 or Ed25519. NULL with a text for the operator that
 * holds nothing of the key. */
struct jwt_keys *jwt_keys_new(const char *alg, struct slice key, struct err *e) MUST_CHECK;
/* The keys of a JSON Web Key Set (RFC 7517). alg: only those for this algorithm, for which keys count that name
 * none and fit; NULL: all, RSA keys without one are for RS256. Keys for other uses and of other kinds are passed over;
 * NULL when none is left, when two have the same kid and algorithm, or when the text is none or over a bound. */
struct jwt_keys *jwt_keys_parse(struct slice jwks, const char *alg, struct err *e) MUST_CHECK;
/* Wipes them. NULL is allowed. */
void jwt_keys_free(struct jwt_keys *keys);
uint32_t jwt_keys_count(const struct jwt_keys *keys);

/* A token that names a kid is verified with the key of that kid and its algorithm; one that names none with the only
 * key for its algorithm, if there is exactly one. now_ms: Unix time. *scratch (the caller's, initialised) takes the
 * claims as a term, a map with binary keys, and *data is that map. */
enum token_verdict jwt_verify(const struct jwt_keys *keys, const struct jwt_rules *rules, struct slice token,
                              uint64_t now_ms, struct buf *scratch, struct slice *data) MUST_CHECK;

#endif
