/*
 * phoenix_token.h: verifies what Phoenix.Token.sign/4 (Plug.Crypto.sign/4) makes, with its defaults: SHA-256, a key of
 * 32 bytes by PBKDF2 with 1000 iterations. A token is SFMyNTY.PAYLOAD.SIGNATURE; the payload is the external term
 * {data, signed_at_ms, max_age_s}. Encrypted tokens are something else and refused.
 */
#ifndef BEAMGATE_PHOENIX_TOKEN_H
#define BEAMGATE_PHOENIX_TOKEN_H

#include "token.h"

enum { PHOENIX_TOKEN_KEY = 32 };

/* Derives the key of a salt from secret_key_base: some hundred microseconds, hence once, at start. BG_ESYS. */
int phoenix_token_key(struct slice secret_key_base, struct slice salt, uint8_t key[PHOENIX_TOKEN_KEY]) MUST_CHECK;

/* max_age_s: how old a token may be; 0: as old as the token itself says. now_ms: Unix time. *scratch (the caller's,
 * initialised) takes the decoded token, and *data points into it. */
enum token_verdict phoenix_token_verify(const uint8_t key[PHOENIX_TOKEN_KEY], struct slice token, uint64_t now_ms,
                                        uint32_t max_age_s, struct buf *scratch, struct slice *data) MUST_CHECK;

#endif
