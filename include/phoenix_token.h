/*
 * phoenix_token.h: opens what Phoenix.Token.sign/4 and encrypt/4 (Plug.Crypto) make. Signed: SFMyNTY.PAYLOAD.SIGNATURE.
 * Encrypted: XCP.DATA by XChaCha20-Poly1305 since Plug.Crypto 2.0, A128GCM with a wrapped key before. The payload is
 * the external term {data, signed_at_ms, max_age_s} in each.
 */
#ifndef BEAMGATE_PHOENIX_TOKEN_H
#define BEAMGATE_PHOENIX_TOKEN_H

#include "token.h"

enum { PHOENIX_TOKEN_KEY = 32, PHOENIX_TOKEN_KEY_MAX = 64, PHOENIX_TOKEN_ITERATIONS = 1000 };

struct phoenix_key {
    uint8_t bytes[PHOENIX_TOKEN_KEY_MAX];
    uint8_t len;
};

/* How the application derives its keys: key_iterations, key_length, key_digest of Plug.Crypto. Zero and NULL are its
 * defaults: 1000, 32, sha256. */
struct phoenix_key_rule {
    uint32_t iterations;
    uint32_t length; /* at most PHOENIX_TOKEN_KEY_MAX */
    const char *digest; /* sha256, sha384 or sha512 */
};

/* True for the digests that phoenix_token_key() knows. */
bool phoenix_digest_known(const char *digest);
/* Derives the key of a salt from secret_key_base: some hundred microseconds by default, hence once, at start. BG_EINVAL
 * for a rule that cannot be, BG_ESYS. */
int phoenix_token_key(struct slice secret_key_base, struct slice salt, const struct phoenix_key_rule *rule,
                      struct phoenix_key *key) MUST_CHECK;

/* max_age_s: how old a token may be; 0: as old as the token itself says. now_ms: Unix time. *scratch (the caller's,
 * initialised) takes the decoded token, and *data points into it. */
enum token_verdict phoenix_token_verify(const struct phoenix_key *key, struct slice token, uint64_t now_ms,
                                        uint32_t max_age_s, struct buf *scratch, struct slice *data) MUST_CHECK;
/* The same for an encrypted token. The key has 32 bytes, for the older form also 16 or 24. */
enum token_verdict phoenix_token_decrypt(const struct phoenix_key *key, struct slice token, uint64_t now_ms,
                                         uint32_t max_age_s, struct buf *scratch, struct slice *data) MUST_CHECK;

/* What both do once the payload is trusted: checks the term (with its version byte), and its age. For fuzzing too. */
enum token_verdict phoenix_token_payload(struct slice bytes, uint64_t now_ms, uint32_t max_age_s, struct slice *data)
    MUST_CHECK;

#endif
