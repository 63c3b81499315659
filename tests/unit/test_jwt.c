/* test_jwt.c: tokens signed by OpenSSL (tests/data/tokens/gen_jwt.js), and the known ways to get around a verifier. */
#include "unit.h"

#include <stdio.h>

#include "jwt.h"

#define DIR "tests/data/tokens/"
#define AT_MS 1700000060000ull

static const struct jwt_rules rules = {.issuer = "iss", .audience = "gw", .leeway_s = 5};

static struct slice file_text(const char *name)
{
    static char text[16384];
    char path[128];
    snprintf(path, sizeof(path), DIR "%s", name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    return slice_make(text, n);
}

static enum token_verdict verify(const char *alg, const char *file, const struct jwt_rules *with, const char *token,
                                 char *user, size_t size)
{
    struct err e = {0};
    struct buf scratch, id;
    struct slice data, at;
    struct jwt_keys *k = strcmp(alg, "jwks") == 0 ? jwt_keys_parse(file_text(file), NULL, &e)
                                                   : jwt_keys_new(alg, file_text(file), &e);
    if (!k)
        fail_msg("%s: %s", alg, e.text);
    buf_init(&scratch, 0);
    buf_init(&id, 0);
    enum token_verdict v = jwt_verify(k, with, slice_str(token), AT_MS, &scratch, &data);
    bool found = v == TOKEN_OK && token_find(data, "sub", &at) && token_put_id(at, &id) == BG_OK;
    slice_cstr(found ? buf_slice(&id) : SLICE_LIT("-"), user, size);
    buf_fini(&scratch);
    buf_fini(&id);
    jwt_keys_free(k);
    return v;
}

static void tokens_of_openssl_are_judged_as_the_generator_says(void **state)
{
    (void)state;
    static const char *const names[] = {"ok",      "malformed", "signature", "content", "expired",
                                        "no memory", "key",      "early",     "issuer",  "audience"};
    char want[16], alg[16], file[32], user[64], token[TOKEN_MAX], got[64];
    unsigned rows = 0;
    FILE *f = fopen(DIR "jwt.txt", "r");
    assert_non_null(f);
    while (fscanf(f, "%15s %15s %31s %63s %8191s", want, alg, file, user, token) == 5) {
        enum token_verdict v = verify(alg, file, &rules, token, got, sizeof(got));
        rows++;
        if (v >= ARRAY_SIZE(names) || strcmp(names[v], want) != 0 || strcmp(got, user) != 0)
            fail_msg("line %u: got %s, user %s; want %s, %s", rows, token_verdict_text(v), got, want, user);
    }
    fclose(f);
    assert_int_equal(rows, 89);
}

static void an_age_may_stand_for_the_expiry(void **state)
{
    (void)state;
    char token[TOKEN_MAX], user[64];
    struct jwt_rules with = {.max_age_s = 1};
    FILE *f = fopen(DIR "jwt.txt", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %*s %*s %*s %8191s", token), 1); /* issued at AT_MS */
    fclose(f);
    assert_int_equal(verify("HS256", "secret.txt", &with, token, user, sizeof(user)), TOKEN_OK);
}

static void a_key_of_another_kind_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {{"RS256", "ec.pem"}, {"ES256", "rsa.pem"},     {"EdDSA", "ec.pem"},
                                           {"PS256", "ed.pem"}, {"RS256", "secret.txt"}, {"ES256", "jwt.txt"}};
    struct err e;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_null(jwt_keys_new(wrong[i][0], file_text(wrong[i][1]), &e));
    assert_null(jwt_keys_new("HS256", SLICE_LIT("too short"), &e));
    assert_string_equal(e.text, "the secret has 9 bytes; HS256 wants 32 to 4096");
    assert_false(jwt_algorithm_known("none"));
    assert_false(jwt_algorithm_known(""));
}

static void a_set_passes_over_what_it_cannot_use(void **state)
{
    (void)state;
    static const struct {
        const char *alg;
        uint32_t count;
    } kept[] = {{NULL, 5}, {"RS256", 1}, {"PS256", 1}, {"ES256", 1}, {"EdDSA", 1}, {"HS256", 2}, {"HS512", 1}};
    struct err e = {0};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
        struct jwt_keys *keys = jwt_keys_parse(file_text("jwks.json"), kept[i].alg, &e);
        assert_non_null(keys);
        assert_int_equal(jwt_keys_count(keys), kept[i].count);
        jwt_keys_free(keys);
    }
}

#define OCT "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\""

static void what_is_no_set_or_an_ambiguous_one_is_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "is no JSON Web Key Set of at most 262144 bytes"},
        {"[]", "is no JSON Web Key Set of at most 262144 bytes"},
        {"{\"keys\":{}}", "is no JSON Web Key Set of at most 262144 bytes"},
        {"{\"keys\":[],\"keys\":[]}", "is no JSON Web Key Set of at most 262144 bytes"},
        {"{\"keys\":[" OCT "}]} x", "is no JSON Web Key Set of at most 262144 bytes"},
        {"{\"keys\":[]}", "none of its keys can be used"},
        {"{\"keys\":[" OCT ",\"kid\":\"a\"}," OCT ",\"kid\":\"a\"}]}", "two of its keys have the same kid"},
    };
    struct err e;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_null(jwt_keys_parse(slice_str(bad[i][0]), NULL, &e));
        assert_string_equal(e.text, bad[i][1]);
    }
    struct jwt_keys *keys = jwt_keys_parse(slice_str("{\"keys\":[" OCT "}," OCT "}]}"), NULL, &e);
    assert_non_null(keys); /* without a kid only ambiguous for tokens that name none */
    assert_int_equal(jwt_keys_count(keys), 2);
    jwt_keys_free(keys);
}

static void a_set_is_bounded(void **state)
{
    (void)state;
    struct buf text;
    struct err e;
    buf_init(&text, 0);
    buf_puts(&text, "{\"keys\":[" OCT "}");
    for (int i = 0; i < JWKS_KEYS_MAX; i++)
        buf_puts(&text, "," OCT "}");
    buf_puts(&text, "]}");
    assert_null(jwt_keys_parse(buf_slice(&text), NULL, &e));
    assert_string_equal(e.text, "holds 101 keys; allowed are 100");
    while (text.len <= JWKS_BYTES_MAX)
        buf_putc(&text, ' ');
    assert_null(jwt_keys_parse(buf_slice(&text), NULL, &e));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_openssl_are_judged_as_the_generator_says),
        cmocka_unit_test(an_age_may_stand_for_the_expiry),
        cmocka_unit_test(a_key_of_another_kind_is_refused),
        cmocka_unit_test(a_set_passes_over_what_it_cannot_use),
        cmocka_unit_test(what_is_no_set_or_an_ambiguous_one_is_refused),
        cmocka_unit_test(a_set_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
