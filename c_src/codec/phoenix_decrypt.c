/*
 * phoenix_decrypt.c: the encrypted half of phoenix_token.h, as Plug.Crypto.MessageEncryptor writes it.
 *
 *   XCP.base64url(nonce 24 | tag 16 | ciphertext)                   XChaCha20-Poly1305, Plug.Crypto 2.0 and later
 *   QTEyOEdDTQ.KEY.IV.CIPHERTEXT.TAG, each base64url                AES-128-GCM under a random key, before; KEY is that
 *     KEY: wrapped 16, 24 or 32 | tag 16 | iv 12                    key, wrapped by AES-GCM with ours
 *
 * Both carry A128GCM as additional data, and the wrapped key none. Invariant: what comes out has passed its tag; not a
 * byte of it is looked at before. Pure but for OpenSSL.
 */
#include "phoenix_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base64.h"

enum { TAG = 16, GCM_IV = 12, XCHACHA_NONCE = 24, HCHACHA_NONCE = 16, CHACHA_KEY = 32, CEK_MAX = 32, GCM_PARTS = 4 };

static const char xcp_prefix[] = "XCP.";
static const char gcm_prefix[] = "QTEyOEdDTQ."; /* base64url of "A128GCM" */
#define ASSOCIATED SLICE_LIT("A128GCM")

/* ---- one box ---- */

struct box {
    const EVP_CIPHER *cipher;
    const uint8_t *key;
    const uint8_t *iv; /* GCM_IV bytes, for both ciphers */
    struct slice associated;
    struct slice sealed;
    const uint8_t *tag;
};

/* Opens it into out, which has room for the sealed bytes. False: the tag is wrong, or OpenSSL refuses. */
static bool box_open(const struct box *b, uint8_t *out)
{
    int n = 0, rest = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    void *tag = (void *)(uintptr_t)b->tag; /* only read */
    bool ok = ctx && EVP_DecryptInit_ex(ctx, b->cipher, NULL, b->key, b->iv) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1;
    if (ok && b->associated.len)
        ok = EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)b->associated.ptr, (int)b->associated.len) == 1;
    n = 0;
    if (ok && b->sealed.len)
        ok = EVP_DecryptUpdate(ctx, out, &n, (const uint8_t *)b->sealed.ptr, (int)b->sealed.len) == 1;
    ok = ok && EVP_DecryptFinal_ex(ctx, out + n, &rest) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static const EVP_CIPHER *gcm_for(size_t key_len)
{
    return key_len == 16 ? EVP_aes_128_gcm() : key_len == 24 ? EVP_aes_192_gcm() : key_len == 32 ? EVP_aes_256_gcm() : NULL;
}

/* ---- XChaCha20 (draft-irtf-cfrg-xchacha, section 2.2) ---- */

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static void quarter_round(uint32_t *s, unsigned a, unsigned b, unsigned c, unsigned d)
{
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 7);
}

static uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* HChaCha20: the key of the inner ChaCha20. OpenSSL has no name for it. */
static void hchacha20(const uint8_t key[CHACHA_KEY], const uint8_t nonce[HCHACHA_NONCE], uint8_t out[CHACHA_KEY])
{
    static const uint8_t rounds[8][4] = {{0, 4, 8, 12},  {1, 5, 9, 13},  {2, 6, 10, 14}, {3, 7, 11, 15},
                                         {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13},  {3, 4, 9, 14}};
    uint32_t s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* "expand 32-byte k" */
    for (unsigned i = 0; i < 8; i++)
        s[4 + i] = get_le32(key + 4 * i);
    for (unsigned i = 0; i < 4; i++)
        s[12 + i] = get_le32(nonce + 4 * i);
    for (unsigned round = 0; round < 10; round++)
        for (unsigned i = 0; i < 8; i++)
            quarter_round(s, rounds[i][0], rounds[i][1], rounds[i][2], rounds[i][3]);
    for (unsigned i = 0; i < 4; i++) {
        put_le32(out + 4 * i, s[i]);
        put_le32(out + 16 + 4 * i, s[12 + i]);
    }
    OPENSSL_cleanse(s, sizeof(s));
}

static enum token_verdict open_xcp(const struct phoenix_key *key, struct slice text, struct buf *scratch)
{
    uint8_t subkey[CHACHA_KEY], iv[GCM_IV] = {0};
    struct buf sealed;
    enum token_verdict v = TOKEN_MALFORMED;
    buf_init(&sealed, TOKEN_MAX);
    if (base64_decode(text, &sealed) != BG_OK || sealed.len < XCHACHA_NONCE + TAG || key->len != CHACHA_KEY)
        goto out;
    hchacha20(key->bytes, sealed.data, subkey);
    memcpy(iv + 4, sealed.data + HCHACHA_NONCE, XCHACHA_NONCE - HCHACHA_NONCE);
    struct slice body = slice_make(sealed.data + XCHACHA_NONCE + TAG, sealed.len - XCHACHA_NONCE - TAG);
    const struct box b = {EVP_chacha20_poly1305(), subkey, iv, ASSOCIATED, body, sealed.data + XCHACHA_NONCE};
    uint8_t *dst = buf_reserve(scratch, body.len + 1);
    v = !dst ? TOKEN_NO_MEMORY : box_open(&b, dst) ? TOKEN_OK : TOKEN_BAD_SIGNATURE;
    scratch->len += v == TOKEN_OK ? body.len : 0;
    OPENSSL_cleanse(subkey, sizeof(subkey));
out:
    buf_fini(&sealed);
    return v;
}

/* ---- A128GCM ---- */

/* The four parts behind the prefix, decoded one after another into *all. */
static bool split_gcm(struct slice text, struct buf *all, struct slice part[GCM_PARTS])
{
    size_t end[GCM_PARTS];
    for (int i = 0; i < GCM_PARTS; i++) {
        const char *dot = text.len ? memchr(text.ptr, '.', text.len) : NULL;
        if (!dot != (i == GCM_PARTS - 1))
            return false;
        struct slice one = slice_make(text.ptr, dot ? (size_t)(dot - text.ptr) : text.len);
        text = dot ? slice_make(dot + 1, text.len - one.len - 1) : SLICE_NONE;
        if (base64_decode(one, all) != BG_OK)
            return false;
        end[i] = all->len;
    }
    if (all->len == 0) /* nothing in any of them, and no memory to point into */
        return false;
    for (int i = 0; i < GCM_PARTS; i++) {
        size_t from = i ? end[i - 1] : 0;
        part[i] = slice_make(all->data + from, end[i] - from);
    }
    return true;
}

/* The key that the token was encrypted with. Returns its length, 0 when ours does not open it. */
static size_t unwrap(const struct phoenix_key *key, struct slice wrapped, uint8_t cek[CEK_MAX])
{
    size_t n = wrapped.len > TAG + GCM_IV ? wrapped.len - TAG - GCM_IV : 0;
    const uint8_t *p = (const uint8_t *)wrapped.ptr;
    if (!gcm_for(n) || !gcm_for(key->len))
        return 0;
    const struct box b = {gcm_for(key->len), key->bytes, p + n + TAG, SLICE_NONE, slice_make(p, n), p + n};
    return box_open(&b, cek) ? n : 0;
}

static enum token_verdict open_gcm(const struct phoenix_key *key, struct slice text, struct buf *scratch)
{
    enum { WRAPPED, IV, SEALED, SEAL };
    struct slice part[GCM_PARTS];
    uint8_t cek[CEK_MAX];
    struct buf all;
    size_t n;
    enum token_verdict v = TOKEN_MALFORMED;
    buf_init(&all, TOKEN_MAX);
    if (!split_gcm(text, &all, part) || part[IV].len != GCM_IV || part[SEAL].len != TAG)
        goto out;
    v = TOKEN_BAD_SIGNATURE;
    if ((n = unwrap(key, part[WRAPPED], cek)) == 0)
        goto out;
    const struct box b = {gcm_for(n), cek, (const uint8_t *)part[IV].ptr, ASSOCIATED, part[SEALED],
                          (const uint8_t *)part[SEAL].ptr};
    uint8_t *dst = buf_reserve(scratch, part[SEALED].len + 1);
    v = !dst ? TOKEN_NO_MEMORY : box_open(&b, dst) ? TOKEN_OK : TOKEN_BAD_SIGNATURE;
    scratch->len += v == TOKEN_OK ? part[SEALED].len : 0;
out:
    OPENSSL_cleanse(cek, sizeof(cek));
    buf_fini(&all);
    return v;
}

static bool take_prefix(struct slice *token, const char *prefix)
{
    size_t n = strlen(prefix);
    if (token->len < n || memcmp(token->ptr, prefix, n) != 0)
        return false;
    *token = slice_make(token->ptr + n, token->len - n);
    return true;
}

enum token_verdict phoenix_token_decrypt(const struct phoenix_key *key, struct slice token, uint64_t now_ms,
                                         uint32_t max_age_s, struct buf *scratch, struct slice *data)
{
    enum token_verdict v = TOKEN_MALFORMED;
    buf_reset(scratch);
    if (token.len > TOKEN_MAX)
        return TOKEN_MALFORMED;
    if (take_prefix(&token, xcp_prefix))
        v = open_xcp(key, token, scratch);
    else if (take_prefix(&token, gcm_prefix))
        v = open_gcm(key, token, scratch);
    return v == TOKEN_OK ? phoenix_token_payload(buf_slice(scratch), now_ms, max_age_s, data) : v;
}
