/* test_phoenix_token.c: tokens signed by Erlang (tests/data/tokens/gen_phoenix.escript), and what is no token. */
#include "unit.h"

#include <stdio.h>

#include "base64.h"
#include "phoenix_token.h"

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define AT_MS 1700000060000ull

static struct phoenix_key key;
static const struct phoenix_key_rule usual;

static int make_key(void **state)
{
    (void)state;
    return phoenix_token_key(SLICE_LIT(SECRET), SLICE_LIT("user socket"), &usual, &key);
}

/* The user of a token in *user, "-" when it has none. */
static enum token_verdict verify(const char *token, const char *path, uint32_t max_age_s, char *user, size_t size)
{
    struct buf scratch, id;
    struct slice data, at;
    buf_init(&scratch, TOKEN_MAX);
    buf_init(&id, 0);
    enum token_verdict v = phoenix_token_verify(&key, slice_str(token), AT_MS, max_age_s, &scratch, &data);
    bool found = v == TOKEN_OK && token_find(data, path, &at) && token_put_id(at, &id) == BG_OK;
    slice_cstr(found ? buf_slice(&id) : SLICE_LIT("-"), user, size);
    buf_fini(&scratch);
    buf_fini(&id);
    return v;
}

static enum token_verdict verdict_named(const char *name)
{
    static const char *const names[] = {"ok", "malformed", "signature", "content", "expired"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(name, names[i]) == 0)
            return (enum token_verdict)i;
    fail_msg("no verdict %s", name);
    return TOKEN_NO_MEMORY;
}

static void tokens_of_erlang_are_judged_as_plug_crypto_does(void **state)
{
    (void)state;
    char want[16], user[64], path[64], token[TOKEN_MAX], got[64];
    unsigned age, rows = 0;
    FILE *f = fopen("tests/data/tokens/phoenix.txt", "r");
    assert_non_null(f);
    while (fscanf(f, "%15s %63s %63s %u %8191s", want, user, path, &age, token) == 5) {
        rows++;
        enum token_verdict v = verify(token, strcmp(path, "-") == 0 ? "" : path, age, got, sizeof(got));
        if (v != verdict_named(want) || strcmp(got, user) != 0)
            fail_msg("row %u: got %s, user %s; want %s, %s", rows, token_verdict_text(v), got, want, user);
    }
    fclose(f);
    assert_int_equal(rows, 39);
}

static enum token_verdict decrypt(const struct phoenix_key *with, const char *token, char *user, size_t size)
{
    struct buf scratch, id;
    struct slice data;
    buf_init(&scratch, TOKEN_MAX);
    buf_init(&id, 0);
    enum token_verdict v = phoenix_token_decrypt(with, slice_str(token), AT_MS, 0, &scratch, &data);
    bool found = v == TOKEN_OK && token_put_id(data, &id) == BG_OK;
    slice_cstr(found ? buf_slice(&id) : SLICE_LIT("-"), user, size);
    buf_fini(&scratch);
    buf_fini(&id);
    return v;
}

/* Both forms of Plug.Crypto.encrypt/4, with keys derived as its options say. */
static void encrypted_tokens_of_erlang_are_judged_as_plug_crypto_does(void **state)
{
    (void)state;
    char want[16], user[64], digest[16], token[TOKEN_MAX], got[64];
    unsigned rows = 0;
    struct phoenix_key_rule rule = {.digest = digest};
    struct phoenix_key with;
    FILE *f = fopen("tests/data/tokens/encrypted.txt", "r");
    assert_non_null(f);
    while (fscanf(f, "%15s %63s %u %u %15s %8191s", want, user, &rule.length, &rule.iterations, digest, token) == 6) {
        rows++;
        assert_int_equal(phoenix_token_key(SLICE_LIT(SECRET), SLICE_LIT("user socket"), &rule, &with), BG_OK);
        enum token_verdict v = decrypt(&with, token, got, sizeof(got));
        if (v != verdict_named(want) || strcmp(got, user) != 0)
            fail_msg("row %u: got %s, user %s; want %s, %s", rows, token_verdict_text(v), got, want, user);
    }
    fclose(f);
    assert_int_equal(rows, 33);
}

static void a_rule_that_cannot_be_gives_no_key(void **state)
{
    (void)state;
    struct phoenix_key k;
    static const struct phoenix_key_rule bad[] = {{.length = PHOENIX_TOKEN_KEY_MAX + 1}, {.digest = "md5"}, {.iterations = UINT32_MAX}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(phoenix_token_key(SLICE_LIT(SECRET), SLICE_LIT("s"), &bad[i], &k), BG_EINVAL);
    assert_true(phoenix_digest_known("sha512"));
    assert_false(phoenix_digest_known("sha1"));
}

/* Every single character counts. */
static void an_encrypted_token_changed_anywhere_is_refused(void **state)
{
    (void)state;
    char token[TOKEN_MAX], user[64];
    FILE *f = fopen("tests/data/tokens/encrypted.txt", "r");
    assert_non_null(f);
    for (int row = 0; row < 2; row++) {
        assert_int_equal(fscanf(f, "%*s %*s %*u %*u %*s %8191s", token), 1);
        assert_int_equal(decrypt(&key, token, user, sizeof(user)), TOKEN_OK);
        for (size_t i = 0; token[i]; i++) {
            char was = token[i];
            token[i] = was == 'B' ? 'C' : 'B';
            assert_int_not_equal(decrypt(&key, token, user, sizeof(user)), TOKEN_OK);
            token[i] = was;
        }
    }
    fclose(f);
}

static void an_encrypted_token_of_nothing_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "XCP", "XCP.", "QTEyOEdDTQ", "QTEyOEdDTQ.", "QTEyOEdDTQ...", "QTEyOEdDTQ....",
                                      "QTEyOEdDTQ.....", "QTEyOEdDTQ.AAAA.AAAA.AAAA.AAAA"};
    char user[64];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (decrypt(&key, bad[i], user, sizeof(user)) != TOKEN_MALFORMED)
            fail_msg("not malformed: \"%s\"", bad[i]);
}

/* Every single character counts. */
static void a_token_changed_anywhere_is_refused(void **state)
{
    (void)state;
    char token[TOKEN_MAX], user[64];
    FILE *f = fopen("tests/data/tokens/phoenix.txt", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %*s %*s %*u %8191s", token), 1);
    fclose(f);
    assert_int_equal(verify(token, "", 0, user, sizeof(user)), TOKEN_OK);
    for (size_t i = 0; token[i]; i++) {
        char was = token[i];
        token[i] = was == 'B' ? 'C' : 'B';
        assert_int_not_equal(verify(token, "", 0, user, sizeof(user)), TOKEN_OK);
        token[i] = was;
    }
    token[strlen(token) - 1] = '\0';
    assert_int_not_equal(verify(token, "", 0, user, sizeof(user)), TOKEN_OK);
}

static void an_endless_token_is_refused_unread(void **state)
{
    (void)state;
    static char token[TOKEN_MAX + 2] = "SFMyNTY.";
    char user[64];
    memset(token + 8, 'A', sizeof(token) - 9);
    assert_int_equal(verify(token, "", 0, user, sizeof(user)), TOKEN_MALFORMED);
}

/* P-013 */
static void base64_is_read_in_both_alphabets_with_or_without_padding(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"", ""}, {"dG9r", "tok"}, {"dG8=", "to"}, {"dG8", "to"}, {"dA", "t"},
                                          {"dA==", "t"}, {"fn5-Pz8_", "~~~???"}, {"fn5+Pz8/", "~~~???"}};
    static const char *const bad[] = {"A", "AAAAA", "dA=", "d===", "====", "dG9r=", "dG!r", "dB", "dG9", "dG9r\n", "d=A="};
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        buf_reset(&out);
        assert_int_equal(base64_decode(slice_str(good[i][0]), &out), BG_OK);
        assert_slice_is(buf_slice(&out), good[i][1]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        buf_reset(&out);
        if (base64_decode(slice_str(bad[i]), &out) != BG_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
    }
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_erlang_are_judged_as_plug_crypto_does),
        cmocka_unit_test(encrypted_tokens_of_erlang_are_judged_as_plug_crypto_does),
        cmocka_unit_test(a_rule_that_cannot_be_gives_no_key),
        cmocka_unit_test(an_encrypted_token_changed_anywhere_is_refused),
        cmocka_unit_test(an_encrypted_token_of_nothing_is_none),
        cmocka_unit_test(a_token_changed_anywhere_is_refused),
        cmocka_unit_test(an_endless_token_is_refused_unread),
        cmocka_unit_test(base64_is_read_in_both_alphabets_with_or_without_padding),
    };
    return cmocka_run_group_tests(tests, make_key, NULL);
}
