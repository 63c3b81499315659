/*
 * fuzz_token.c: what a stranger shows as a token: base64 in all its forms, the verifiers, and, as if the signature had
 * been right, what is inside and the search for a user in it; and the key sets that an operator's file may hold. The first
 * byte chooses.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base64.h"
#include "fuzz.h"
#include "jwt.h"
#include "origin.h"
#include "phoenix_token.h"

static const struct phoenix_key key = {.len = PHOENIX_TOKEN_KEY};
static const struct jwt_rules rules = {.leeway_s = 1};

static void check_origins(struct slice text)
{
    struct origin o, pattern;
    bool is = origin_parse(text, &o) == BG_OK;
    if (is)
        assert_always(o.host.len > 0 && o.host.ptr >= text.ptr && slice_end(o.host) <= slice_end(text));
    if (origin_parse_pattern(text, &pattern) == BG_OK && is)
        (void)origin_matches(&o, &pattern);
    (void)(origin_parse_host(text, &pattern) == BG_OK);
}

static void look_for_user(struct slice term)
{
    struct buf id;
    struct slice at;
    buf_init(&id, 1024);
    if (token_find(term, "user.id", &at) && token_put_id(at, &id) == BG_OK)
        assert_always(id.len > 0 && !memchr(id.data, '\0', id.len));
    buf_fini(&id);
}

/* As if the signature, or the tag, had been right: the way to the content is open. */
static void check_content(struct slice bytes)
{
    struct slice data;
    if (phoenix_token_payload(bytes, 0, 0, &data) == TOKEN_OK)
        look_for_user(data);
}

static void check_base64(struct slice text)
{
    struct buf out;
    buf_init(&out, TOKEN_MAX);
    (void)(base64_decode(text, &out) == BG_OK);
    buf_fini(&out);
}

static void check_phoenix(struct slice text)
{
    struct buf scratch;
    struct slice found;
    buf_init(&scratch, TOKEN_MAX);
    assert_always(phoenix_token_verify(&key, text, 0, 0, &scratch, &found) != TOKEN_OK);
    assert_always(phoenix_token_decrypt(&key, text, 0, 0, &scratch, &found) != TOKEN_OK);
    buf_fini(&scratch);
}

static const struct jwt_keys *hmac_key(void)
{
    static struct jwt_keys *keys;
    struct err e;
    if (!keys)
        keys = jwt_keys_new("HS256", SLICE_LIT("0123456789abcdef0123456789abcdef"), &e);
    assert_always(keys);
    return keys;
}

static void check_jwt(struct slice token, bool may_pass)
{
    struct buf scratch;
    struct slice claims;
    buf_init(&scratch, TOKEN_MAX);
    enum token_verdict v = jwt_verify(hmac_key(), &rules, token, 0, &scratch, &claims);
    assert_always(may_pass || v != TOKEN_OK);
    if (v == TOKEN_OK)
        look_for_user(claims);
    buf_fini(&scratch);
}

static void put_base64(struct buf *out, struct slice bytes)
{
    uint8_t *dst = buf_reserve(out, bytes.len * 2 + 8);
    int n = EVP_EncodeBlock(dst, (const unsigned char *)bytes.ptr, (int)bytes.len);
    while (n && dst[n - 1] == '=')
        n--;
    out->len += (size_t)n;
}

/* Signs the claims that the fuzzer made up. */
static void check_claims(struct slice claims)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct buf token;
    buf_init(&token, 0);
    put_base64(&token, SLICE_LIT("{\"alg\":\"HS256\"}"));
    buf_putc(&token, '.');
    put_base64(&token, claims);
    HMAC(EVP_sha256(), "0123456789abcdef0123456789abcdef", 32, token.data, token.len, mac, &n);
    buf_putc(&token, '.');
    put_base64(&token, slice_make(mac, n));
    check_jwt(buf_slice(&token), true);
    buf_fini(&token);
}

static void check_jwks(struct slice text)
{
    struct err e;
    struct jwt_keys *keys = jwt_keys_parse(text, NULL, &e);
    assert_always(!keys || (jwt_keys_count(keys) > 0 && jwt_keys_count(keys) <= JWKS_KEYS_MAX));
    jwt_keys_free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice text = slice_make(data + 1, size - 1);
    switch (data[0] % 8) {
    case 0: check_origins(text); break;
    case 1: check_content(text); break;
    case 2: check_base64(text); break;
    case 3: check_phoenix(text); break;
    case 4: check_jwt(text, false); break;
    case 5: check_claims(text); break;
    default: check_jwks(text);
    }
    return 0;
}
