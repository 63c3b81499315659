/*
 * jwt.c: see jwt.h; where keys come from is in jwks.c. OpenSSL for the arithmetic, our own JSON reader for header and
 * claims.
 *
 * Invariant: the claims are not parsed before the signature over header and claims has been found right with one of our
 * keys, and a key is only ever used with the algorithm it was loaded for: so `alg: none`, an RSA key taken for an HMAC
 * secret and all of that family have no way in. Keys that a token brings or points at (jwk, jku, x5c, x5u) are not
 * looked at. Pure but for OpenSSL.
 */
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "base64.h"
#include "json.h"
#include "jwt_internal.h"
#include "transcode.h"

enum { P256_HALF = 32 };

/* --- signature ---------------------------------------------------------------------------------------------------- */

static bool right_mac(const struct jwt_key *k, struct slice text, struct slice signature)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    return HMAC(k->alg->digest(), k->secret, (int)k->secret_len, (const unsigned char *)text.ptr, text.len, mac, &n) &&
           signature.len == n && CRYPTO_memcmp(mac, signature.ptr, n) == 0;
}

/* JWS has r and s side by side (RFC 7518 section 3.4), OpenSSL wants DER. The caller frees *der. */
static int ecdsa_der(struct slice raw, unsigned char **der)
{
    const unsigned char *p = (const unsigned char *)raw.ptr;
    ECDSA_SIG *sig = raw.len == 2 * P256_HALF ? ECDSA_SIG_new() : NULL;
    BIGNUM *r = sig ? BN_bin2bn(p, P256_HALF, NULL) : NULL, *s = sig ? BN_bin2bn(p + P256_HALF, P256_HALF, NULL) : NULL;
    int n = -1;
    if (r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        n = i2d_ECDSA_SIG(sig, der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    return n;
}

static bool right_digest(const struct jwt_key *k, struct slice text, const void *signature, size_t len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL;
    bool ok = ctx && EVP_DigestVerifyInit(ctx, &pctx, k->alg->digest ? k->alg->digest() : NULL, NULL, k->pkey) == 1;
    if (ok && k->alg->pss)
        ok = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) > 0 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) > 0;
    ok = ok && EVP_DigestVerify(ctx, signature, len, (const unsigned char *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error(); /* a wrong signature leaves its reasons there */
    return ok;
}

static bool right_signature(const struct jwt_key *k, struct slice text, struct slice signature)
{
    if (!k->pkey)
        return right_mac(k, text, signature);
    if (k->alg->key_type != EVP_PKEY_EC)
        return right_digest(k, text, signature.ptr, signature.len);
    unsigned char *der = NULL;
    int n = ecdsa_der(signature, &der);
    bool ok = n > 0 && right_digest(k, text, der, (size_t)n);
    OPENSSL_free(der);
    return ok;
}

/* --- header and claims -------------------------------------------------------------------------------------------- */

static const struct json_limits bounds = {.max_depth = TOKEN_DEPTH_MAX, .max_keys = 256};

/* Decodes a part that has to be one JSON object. */
static int read_object(struct slice part, struct buf *scratch, struct slice *object)
{
    buf_reset(scratch);
    if (base64_decode(part, scratch) != BG_OK)
        return BG_EINVAL;
    struct json_reader r = json_reader(buf_slice(scratch));
    if (json_peek(&r) != JSON_OBJECT || json_value(&r, &bounds, object, NULL) != BG_OK)
        return BG_EINVAL;
    return json_finish(&r, NULL) == BG_OK && jwt_names_unique(*object) ? BG_OK : BG_EINVAL;
}

static bool member(struct slice object, const char *name, struct slice *value)
{
    struct json_iter it;
    struct slice key;
    json_iter_init(&it, object);
    while (json_iter_next(&it, &key, value))
        if (json_string_is(key, slice_str(name)))
            return true;
    return false;
}

/* Whether the token may be one of this key's. kid.ptr NULL: it names none. */
static bool key_fits(const struct jwt_keys *keys, const struct jwt_key *k, struct slice alg, struct slice kid)
{
    if (!json_string_is(alg, slice_str(k->alg->name)))
        return false;
    return keys->any_kid || !kid.ptr || (k->kid && json_string_is(kid, slice_str(k->kid)));
}

/* The key for a token with this header, and no extension that has to be understood (RFC 7515 section 4.1.11). */
static enum token_verdict choose_key(const struct jwt_keys *keys, struct slice header, const struct jwt_key **key)
{
    struct slice alg, kid, crit;
    unsigned fitting = 0;
    if (!member(header, "kid", &kid))
        kid = SLICE_NONE;
    if (!member(header, "alg", &alg) || json_kind(alg) != JSON_STRING || member(header, "crit", &crit) ||
        (kid.ptr && json_kind(kid) != JSON_STRING))
        return TOKEN_MALFORMED;
    for (uint32_t i = 0; i < keys->count; i++) {
        if (!key_fits(keys, &keys->key[i], alg, kid))
            continue;
        *key = &keys->key[i];
        fitting++;
    }
    return fitting == 1 ? TOKEN_OK : TOKEN_NO_KEY;
}

/* A NumericDate. False when it is there and none; *given tells whether it is there. */
static bool read_date(struct slice claims, const char *name, double *at, bool *given)
{
    struct slice value;
    *given = member(claims, name, &value);
    if (!*given)
        return true;
    if (json_kind(value) != JSON_NUMBER)
        return false;
    *at = json_number_double(value);
    return true;
}

static enum token_verdict check_times(const struct jwt_rules *rules, struct slice claims, uint64_t now_ms)
{
    double exp = 0, nbf = 0, iat = 0, now = (double)now_ms / 1000, leeway = rules->leeway_s;
    bool has_exp, has_nbf, has_iat;
    if (!read_date(claims, "exp", &exp, &has_exp) || !read_date(claims, "nbf", &nbf, &has_nbf) ||
        !read_date(claims, "iat", &iat, &has_iat))
        return TOKEN_BAD_CONTENT;
    if (rules->max_age_s ? !has_iat : !has_exp) /* a token that never ends is none */
        return TOKEN_BAD_CONTENT;
    if ((has_exp && now >= exp + leeway) || (rules->max_age_s && now >= iat + rules->max_age_s + leeway))
        return TOKEN_EXPIRED;
    return has_nbf && now + leeway < nbf ? TOKEN_NOT_YET : TOKEN_OK;
}

static bool is_text(struct slice raw, const char *text)
{
    return json_kind(raw) == JSON_STRING && json_string_is(raw, slice_str(text));
}

static bool names_audience(struct slice claims, const char *audience)
{
    struct json_iter it;
    struct slice aud, key, one;
    if (!member(claims, "aud", &aud))
        return false;
    if (json_kind(aud) != JSON_ARRAY)
        return is_text(aud, audience);
    json_iter_init(&it, aud);
    while (json_iter_next(&it, &key, &one))
        if (is_text(one, audience))
            return true;
    return false;
}

static enum token_verdict check_claims(const struct jwt_rules *rules, struct slice claims, uint64_t now_ms)
{
    struct slice iss;
    if (rules->issuer && (!member(claims, "iss", &iss) || !is_text(iss, rules->issuer)))
        return TOKEN_WRONG_ISSUER;
    if (rules->audience && !names_audience(claims, rules->audience))
        return TOKEN_WRONG_AUDIENCE;
    return check_times(rules, claims, now_ms);
}

/* Three parts with two dots. */
static bool split(struct slice token, struct slice part[3])
{
    const char *end = slice_end(token);
    for (int i = 0; i < 3; i++) {
        const char *dot = token.len ? memchr(token.ptr, '.', token.len) : NULL;
        if (!dot != (i == 2))
            return false;
        part[i] = slice_make(token.ptr, dot ? (size_t)(dot - token.ptr) : token.len);
        token = dot ? slice_make(dot + 1, (size_t)(end - dot - 1)) : SLICE_NONE;
    }
    return true;
}

static enum token_verdict verify_parts(const struct jwt_keys *keys, const struct jwt_rules *rules, struct slice part[3],
                                       uint64_t now_ms, struct buf *work, struct slice *claims)
{
    struct slice object, text = slice_make(part[0].ptr, part[0].len + 1 + part[1].len);
    const struct jwt_key *k = NULL;
    if (read_object(part[0], work, &object) != BG_OK)
        return TOKEN_MALFORMED;
    enum token_verdict v = choose_key(keys, object, &k);
    if (v != TOKEN_OK)
        return v;
    buf_reset(work);
    if (base64_decode(part[2], work) != BG_OK)
        return TOKEN_MALFORMED;
    if (!right_signature(k, text, buf_slice(work)))
        return TOKEN_BAD_SIGNATURE;
    if (read_object(part[1], work, claims) != BG_OK)
        return TOKEN_BAD_CONTENT;
    return check_claims(rules, *claims, now_ms);
}

enum token_verdict jwt_verify(const struct jwt_keys *keys, const struct jwt_rules *rules, struct slice token,
                              uint64_t now_ms, struct buf *scratch, struct slice *data)
{
    struct slice part[3], claims;
    struct buf work;
    if (token.len > TOKEN_MAX || !split(token, part))
        return TOKEN_MALFORMED;
    buf_init(&work, TOKEN_MAX);
    buf_reset(scratch);
    enum token_verdict v = verify_parts(keys, rules, part, now_ms, &work, &claims);
    if (v == TOKEN_OK && json_to_term(claims, scratch, &bounds, NULL) != BG_OK)
        v = TOKEN_BAD_CONTENT;
    *data = buf_slice(scratch);
    buf_fini(&work);
    return v;
}
