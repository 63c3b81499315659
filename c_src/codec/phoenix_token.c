/*
 * phoenix_token.c: see phoenix_token.h; the encrypted forms are in phoenix_decrypt.c.
 *
 * Invariant: not a byte of the payload is looked at before its signature has been found right, in constant time; and
 * even then it is checked like a stranger's term, since whoever signs may put user input inside. Pure but for OpenSSL.
 */
#include "phoenix_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base64.h"

enum { MAC_BYTES = 32, DEFAULT_AGE_S = 86400 };

static const char prefix[] = "SFMyNTY."; /* base64url of "HS256" */

static const EVP_MD *digest_named(const char *name)
{
    static const struct {
        const char *name;
        const EVP_MD *(*md)(void);
    } digests[] = {{"sha256", EVP_sha256}, {"sha384", EVP_sha384}, {"sha512", EVP_sha512}};
    for (size_t i = 0; i < ARRAY_SIZE(digests); i++)
        if (!name || strcmp(name, digests[i].name) == 0)
            return digests[i].md();
    return NULL;
}

bool phoenix_digest_known(const char *digest)
{
    return digest && digest_named(digest);
}

int phoenix_token_key(struct slice secret_key_base, struct slice salt, const struct phoenix_key_rule *rule,
                      struct phoenix_key *key)
{
    const EVP_MD *md = digest_named(rule->digest);
    uint32_t iterations = rule->iterations ? rule->iterations : PHOENIX_TOKEN_ITERATIONS;
    uint32_t length = rule->length ? rule->length : PHOENIX_TOKEN_KEY;
    if (!md || length > PHOENIX_TOKEN_KEY_MAX || iterations > INT32_MAX || secret_key_base.len > INT32_MAX ||
        salt.len > INT32_MAX)
        return BG_EINVAL;
    key->len = (uint8_t)length;
    return PKCS5_PBKDF2_HMAC(secret_key_base.ptr, (int)secret_key_base.len, (const unsigned char *)salt.ptr,
                             (int)salt.len, (int)iterations, md, (int)length, key->bytes) == 1
               ? BG_OK
               : BG_ESYS;
}

static enum token_verdict check_signature(const struct phoenix_key *key, struct slice text, struct slice signature,
                                          struct buf *scratch)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int rc = base64_decode(signature, scratch);
    if (rc != BG_OK)
        return rc == BG_ENOMEM ? TOKEN_NO_MEMORY : TOKEN_MALFORMED;
    if (!HMAC(EVP_sha256(), key->bytes, key->len, (const unsigned char *)text.ptr, text.len, mac, &n))
        return TOKEN_NO_MEMORY;
    bool right = scratch->len == MAC_BYTES && n == MAC_BYTES && CRYPTO_memcmp(mac, scratch->data, MAC_BYTES) == 0;
    return right ? TOKEN_OK : TOKEN_BAD_SIGNATURE;
}

/* Seconds, or UINT64_MAX for the atom infinity. */
static int read_age(struct term_reader *r, uint64_t *age_s)
{
    int64_t v;
    double f;
    if (term_read_is_atom(r, "infinity"))
        *age_s = UINT64_MAX;
    else if (term_read_int(r, &v) == BG_OK)
        *age_s = v > 0 ? (uint64_t)v : 0;
    else if (term_read_float(r, &f) == BG_OK && f < 1e15)
        *age_s = f > 0 ? (uint64_t)f : 0;
    else
        return BG_EINVAL;
    return BG_OK;
}

/* {data, signed_at_ms, max_age_s}, or as older versions wrote it {data, signed_at_ms}. */
static int read_payload(struct slice term, struct slice *data, int64_t *signed_ms, uint64_t *age_s)
{
    struct term_reader r = term_reader(term);
    uint32_t arity;
    if (term_read_tuple(&r, &arity) != BG_OK || (arity != 2 && arity != 3) || term_skip(&r, data) != BG_OK ||
        term_read_int(&r, signed_ms) != BG_OK || *signed_ms < 0)
        return BG_EINVAL;
    *age_s = DEFAULT_AGE_S;
    return arity == 3 ? read_age(&r, age_s) : BG_OK;
}

/* As Plug.Crypto: an age of 0 is always over, and the last millisecond still counts. */
static bool expired(int64_t signed_ms, uint64_t age_s, uint64_t now_ms)
{
    if (age_s > UINT32_MAX)
        return false;
    return age_s == 0 || (uint64_t)signed_ms + age_s * 1000 < now_ms;
}

enum token_verdict phoenix_token_payload(struct slice bytes, uint64_t now_ms, uint32_t max_age_s, struct slice *data)
{
    size_t used = 0;
    int64_t signed_ms;
    uint64_t age_s;
    if (bytes.len < 2 || (uint8_t)bytes.ptr[0] != TERM_VERSION)
        return TOKEN_BAD_CONTENT;
    struct slice term = slice_make(bytes.ptr + 1, bytes.len - 1);
    if (term_check(term.ptr, term.len, TOKEN_DEPTH_MAX, &used, NULL) != BG_OK || used != term.len ||
        read_payload(term, data, &signed_ms, &age_s) != BG_OK)
        return TOKEN_BAD_CONTENT;
    return expired(signed_ms, max_age_s ? max_age_s : age_s, now_ms) ? TOKEN_EXPIRED : TOKEN_OK;
}

enum token_verdict phoenix_token_verify(const struct phoenix_key *key, struct slice token, uint64_t now_ms,
                                        uint32_t max_age_s, struct buf *scratch, struct slice *data)
{
    const size_t head = sizeof(prefix) - 1;
    if (token.len > TOKEN_MAX || token.len < head || memcmp(token.ptr, prefix, head) != 0)
        return TOKEN_MALFORMED;
    const char *dot = memchr(token.ptr + head, '.', token.len - head);
    if (!dot)
        return TOKEN_MALFORMED;
    struct slice text = slice_make(token.ptr, (size_t)(dot - token.ptr));
    buf_reset(scratch);
    enum token_verdict v =
        check_signature(key, text, slice_make(dot + 1, (size_t)(slice_end(token) - dot - 1)), scratch);
    if (v != TOKEN_OK)
        return v;
    buf_reset(scratch);
    int rc = base64_decode(slice_make(text.ptr + head, text.len - head), scratch);
    if (rc != BG_OK)
        return rc == BG_ENOMEM ? TOKEN_NO_MEMORY : TOKEN_BAD_CONTENT;
    return phoenix_token_payload(buf_slice(scratch), now_ms, max_age_s, data);
}
