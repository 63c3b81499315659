/*
 * jwks.c: the keys of jwt.h, from a secret, a PEM file or a JSON Web Key Set. jansson reads the set: that happens at
 * start and when the file changes.
 *
 * Invariant: every key that gets out of here is bound to one algorithm and of the kind and size that this algorithm
 * wants; so jwt.c need not look at a key again. No text that is returned holds a byte of a key.
 */
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdlib.h>

#include "base64.h"
#include "jwt_internal.h"

enum { SECRET_MAX = 4096, RSA_BITS_MIN = 2048, RSA_BITS_MAX = 8192, P256_HALF = 32, ED25519_KEY = 32, KEY_BYTES_MAX = 8192 };

static const struct jwt_algorithm algorithms[] = {
    {"HS256", EVP_sha256, EVP_PKEY_HMAC, false}, {"HS384", EVP_sha384, EVP_PKEY_HMAC, false},
    {"HS512", EVP_sha512, EVP_PKEY_HMAC, false}, {"RS256", EVP_sha256, EVP_PKEY_RSA, false},
    {"PS256", EVP_sha256, EVP_PKEY_RSA, true},   {"ES256", EVP_sha256, EVP_PKEY_EC, false},
    {"EdDSA", NULL, EVP_PKEY_ED25519, false},
};

const struct jwt_algorithm *jwt_algorithm(const char *name)
{
    for (size_t i = 0; name && i < ARRAY_SIZE(algorithms); i++)
        if (strcmp(name, algorithms[i].name) == 0)
            return &algorithms[i];
    return NULL;
}

bool jwt_algorithm_known(const char *alg)
{
    return jwt_algorithm(alg) != NULL;
}

bool jwt_algorithm_has_secret(const char *alg)
{
    const struct jwt_algorithm *a = jwt_algorithm(alg);
    return a && a->key_type == EVP_PKEY_HMAC;
}

/* Here because jansson's names and those of json.h do not go together. */
bool jwt_names_unique(struct slice text)
{
    json_t *tree = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    json_decref(tree);
    return tree != NULL;
}

/* ---- one key ---- */

static void key_fini(struct jwt_key *k)
{
    EVP_PKEY_free(k->pkey);
    if (k->secret)
        OPENSSL_cleanse(k->secret, k->secret_len);
    free(k->secret);
    free(k->kid);
    *k = (struct jwt_key){0};
}

static int take_secret(struct jwt_key *k, struct slice key, struct err *e)
{
    size_t least = (size_t)EVP_MD_get_size(k->alg->digest());
    if (key.len < least || key.len > SECRET_MAX) /* RFC 7518 section 3.2 */
        return err_set(e, BG_EINVAL, 0, "the secret has %zu bytes; %s wants %zu to %d", key.len, k->alg->name, least,
                       SECRET_MAX);
    k->secret = malloc(key.len);
    if (!k->secret)
        return err_set(e, BG_ENOMEM, 0, "no memory for a key");
    memcpy(k->secret, key.ptr, key.len);
    k->secret_len = key.len;
    return BG_OK;
}

static bool is_p256(EVP_PKEY *pkey)
{
    char group[32] = "";
    return EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 && strcmp(group, "prime256v1") == 0;
}

/* That the key is one for its algorithm. */
static int check_pkey(const struct jwt_key *k, struct err *e)
{
    int bits = EVP_PKEY_get_bits(k->pkey);
    if (EVP_PKEY_get_base_id(k->pkey) != k->alg->key_type ||
        (k->alg->key_type == EVP_PKEY_EC && !is_p256(k->pkey)))
        return err_set(e, BG_EINVAL, 0, "its key is not one for %s", k->alg->name);
    if (k->alg->key_type == EVP_PKEY_RSA && (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX))
        return err_set(e, BG_EINVAL, 0, "its key has %d bits; wanted are %d to %d", bits, RSA_BITS_MIN, RSA_BITS_MAX);
    return BG_OK;
}

static int take_pem(struct jwt_key *k, struct slice key, struct err *e)
{
    BIO *bio = key.len <= INT32_MAX ? BIO_new_mem_buf(key.ptr, (int)key.len) : NULL;
    k->pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    return k->pkey ? check_pkey(k, e) : err_set(e, BG_EINVAL, 0, "holds no public key in PEM form (BEGIN PUBLIC KEY)");
}

static struct jwt_keys *keys_alloc(size_t count, struct err *e)
{
    struct jwt_keys *keys = calloc(1, sizeof(*keys) + count * sizeof(keys->key[0]));
    if (!keys)
        err_set(e, BG_ENOMEM, 0, "no memory for keys");
    return keys;
}

struct jwt_keys *jwt_keys_new(const char *alg, struct slice key, struct err *e)
{
    struct jwt_keys *keys = keys_alloc(1, e);
    if (!keys)
        return NULL;
    keys->any_kid = true;
    keys->count = 1;
    keys->key[0].alg = jwt_algorithm(alg);
    assert_always(keys->key[0].alg); /* the configuration was checked */
    int rc = jwt_algorithm_has_secret(alg) ? take_secret(&keys->key[0], key, e) : take_pem(&keys->key[0], key, e);
    if (rc == BG_OK)
        return keys;
    jwt_keys_free(keys);
    return NULL;
}

void jwt_keys_free(struct jwt_keys *keys)
{
    for (uint32_t i = 0; keys && i < keys->count; i++)
        key_fini(&keys->key[i]);
    free(keys);
}

uint32_t jwt_keys_count(const struct jwt_keys *keys)
{
    return keys->count;
}

/* ---- a set ---- */

static const char *text_of(const json_t *jwk, const char *name)
{
    return json_string_value(json_object_get(jwk, name));
}

/* Decodes a member that is base64url. False when it is none. */
static bool bytes_of(const json_t *jwk, const char *name, struct buf *out)
{
    const char *text = text_of(jwk, name);
    buf_reset(out);
    return text && base64_decode(slice_str(text), out) == BG_OK && out->len > 0;
}

/* The public key of a kind OpenSSL knows by name, from params, which are freed. */
static EVP_PKEY *pkey_from(const char *kind, OSSL_PARAM *params)
{
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *ctx = params ? EVP_PKEY_CTX_new_from_name(NULL, kind, NULL) : NULL;
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *rsa_of(const json_t *jwk, struct buf *n, struct buf *e)
{
    OSSL_PARAM *params = NULL;
    if (!bytes_of(jwk, "n", n) || !bytes_of(jwk, "e", e) || n->len > RSA_BITS_MAX / 8 + 1 || e->len > 8)
        return NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *bn = BN_bin2bn(n->data, (int)n->len, NULL), *be = BN_bin2bn(e->data, (int)e->len, NULL);
    if (bld && bn && be && BN_is_odd(be) && !BN_is_one(be) && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1)
        params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY *pkey = pkey_from("RSA", params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    return pkey;
}

/* OpenSSL checks that the point is on the curve. */
static EVP_PKEY *p256_of(const json_t *jwk, struct buf *x, struct buf *y)
{
    uint8_t point[1 + 2 * P256_HALF] = {4};
    OSSL_PARAM *params = NULL;
    if (!bytes_of(jwk, "x", x) || !bytes_of(jwk, "y", y) || x->len != P256_HALF || y->len != P256_HALF)
        return NULL;
    memcpy(point + 1, x->data, P256_HALF);
    memcpy(point + 1 + P256_HALF, y->data, P256_HALF);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1)
        params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY *pkey = pkey_from("EC", params);
    OSSL_PARAM_BLD_free(bld);
    return pkey;
}

static EVP_PKEY *ed25519_of(const json_t *jwk, struct buf *x, struct buf *unused)
{
    (void)unused;
    bool ok = bytes_of(jwk, "x", x) && x->len == ED25519_KEY;
    return ok ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x->data, x->len) : NULL;
}

static const struct kind {
    const char *kty;
    const char *crv; /* NULL: has none */
    int key_type;
    const char *alg; /* when the key does not say; NULL: it must */
    EVP_PKEY *(*make)(const json_t *jwk, struct buf *a, struct buf *b);
} kinds[] = {
    {"RSA", NULL, EVP_PKEY_RSA, "RS256", rsa_of},
    {"EC", "P-256", EVP_PKEY_EC, "ES256", p256_of},
    {"OKP", "Ed25519", EVP_PKEY_ED25519, "EdDSA", ed25519_of},
    {"oct", NULL, EVP_PKEY_HMAC, NULL, NULL},
};

static const struct kind *kind_of(const json_t *jwk)
{
    const char *kty = text_of(jwk, "kty"), *crv = text_of(jwk, "crv");
    for (size_t i = 0; kty && i < ARRAY_SIZE(kinds); i++)
        if (strcmp(kty, kinds[i].kty) == 0 && (!kinds[i].crv || (crv && strcmp(crv, kinds[i].crv) == 0)))
            return &kinds[i];
    return NULL;
}

/* RFC 7517 sections 4.2 and 4.3. */
static bool may_verify(const json_t *jwk)
{
    const json_t *use = json_object_get(jwk, "use"), *ops = json_object_get(jwk, "key_ops");
    bool verify = !ops;
    if (use && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0))
        return false;
    for (size_t i = 0; ops && i < json_array_size(ops); i++) {
        const char *op = json_string_value(json_array_get(ops, i));
        verify = verify || (op && strcmp(op, "verify") == 0);
    }
    return verify;
}

/* The one algorithm the key is for; NULL when it is none of ours. */
static const struct jwt_algorithm *algorithm_of(const json_t *jwk, const struct kind *kind, const char *wanted)
{
    const struct jwt_algorithm *alg, *want = jwt_algorithm(wanted);
    if (json_object_get(jwk, "alg"))
        alg = jwt_algorithm(text_of(jwk, "alg"));
    else
        alg = want && want->key_type == kind->key_type ? want : jwt_algorithm(kind->alg);
    return alg && alg->key_type == kind->key_type && (!want || alg == want) ? alg : NULL;
}

/* False: not a key for us. */
static bool take_jwk(const json_t *jwk, const char *wanted, struct jwt_key *k, struct buf *a, struct buf *b)
{
    const struct kind *kind = kind_of(jwk);
    const char *kid = text_of(jwk, "kid");
    k->alg = kind && may_verify(jwk) ? algorithm_of(jwk, kind, wanted) : NULL;
    if (!k->alg || (kid && strlen(kid) > JWT_KID_MAX) || (json_object_get(jwk, "kid") && !kid))
        return false;
    if (kind->make)
        k->pkey = kind->make(jwk, a, b);
    bool ok = kind->make ? k->pkey && check_pkey(k, NULL) == BG_OK
                         : bytes_of(jwk, "k", a) && take_secret(k, buf_slice(a), NULL) == BG_OK;
    k->kid = ok && kid ? slice_dup(slice_str(kid)) : NULL;
    return ok && (!kid || k->kid);
}

/* Two keys between which a token could not choose. */
static bool is_double(const struct jwt_keys *keys, const struct jwt_key *k)
{
    for (uint32_t i = 0; i < keys->count; i++)
        if (k->kid && keys->key[i].kid && keys->key[i].alg == k->alg && strcmp(keys->key[i].kid, k->kid) == 0)
            return true;
    return false;
}

static int take_all(struct jwt_keys *keys, const json_t *list, const char *alg, struct err *e)
{
    struct buf a, b;
    int rc = BG_OK;
    buf_init(&a, KEY_BYTES_MAX);
    buf_init(&b, KEY_BYTES_MAX);
    for (size_t i = 0; rc == BG_OK && i < json_array_size(list); i++) {
        struct jwt_key k = {0};
        bool ours = take_jwk(json_array_get(list, i), alg, &k, &a, &b);
        if (ours && is_double(keys, &k))
            rc = err_set(e, BG_EINVAL, 0, "two of its keys have the same kid");
        else if (ours)
            keys->key[keys->count++] = k;
        if (!ours || rc != BG_OK)
            key_fini(&k);
    }
    if (a.data)
        OPENSSL_cleanse(a.data, a.cap);
    buf_fini(&a);
    buf_fini(&b);
    ERR_clear_error(); /* keys that OpenSSL would not have */
    return rc == BG_OK && keys->count == 0 ? err_set(e, BG_EINVAL, 0, "none of its keys can be used") : rc;
}

struct jwt_keys *jwt_keys_parse(struct slice jwks, const char *alg, struct err *e)
{
    json_t *root = jwks.len <= JWKS_BYTES_MAX ? json_loadb(jwks.ptr, jwks.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const json_t *list = json_object_get(root, "keys");
    size_t n = json_array_size(list);
    struct jwt_keys *keys = NULL;
    if (!root || !json_is_array(list))
        err_set(e, BG_EINVAL, 0, "is no JSON Web Key Set of at most %d bytes", JWKS_BYTES_MAX);
    else if (n > JWKS_KEYS_MAX)
        err_set(e, BG_ELIMIT, 0, "holds %zu keys; allowed are %d", n, JWKS_KEYS_MAX);
    else
        keys = keys_alloc(n, e);
    if (keys && take_all(keys, list, alg, e) != BG_OK) {
        jwt_keys_free(keys);
        keys = NULL;
    }
    json_decref(root);
    return keys;
}
