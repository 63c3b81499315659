/*
 * micro_token.c: the micro-benchmarks of tokens: what it costs to know who a client is. The tokens are those of the tests,
 * and are told the time at which they were good.
 */
#include <stdio.h>

#include "jwt.h"
#include "micro.h"
#include "phoenix_token.h"

#define DIR "tests/data/tokens/"
#define AT_MS 1700000060000ull
#define SECRET SLICE_LIT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

enum token_kind { SIGNED, XCHACHA, GCM, HS256, RS256, ES256, EDDSA, KINDS };

/* Which word of which file each is: rows of so many words. */
static const struct {
    const char *file;
    unsigned words, row;
    const char *alg, *key_file;
} source[KINDS] = {
    [SIGNED] = {"phoenix.txt", 5, 0, NULL, NULL},        [XCHACHA] = {"encrypted.txt", 6, 0, NULL, NULL},
    [GCM] = {"encrypted.txt", 6, 1, NULL, NULL},         [HS256] = {"jwt.txt", 5, 0, "HS256", "secret.txt"},
    [RS256] = {"jwt.txt", 5, 15, "RS256", "rsa.pem"},    [ES256] = {"jwt.txt", 5, 25, "ES256", "ec.pem"},
    [EDDSA] = {"jwt.txt", 5, 30, "EdDSA", "ed.pem"},
};

static char tokens[KINDS][TOKEN_MAX + 1];
static struct jwt_keys *keys[KINDS];
static struct phoenix_key phoenix;
static struct buf scratch;
static const struct jwt_rules rules = {.issuer = "iss", .audience = "gw", .leeway_s = 5};

static FILE *open_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), DIR "%s", name);
    FILE *f = fopen(path, "r");
    assert_always(f); /* run in the root of the tree */
    return f;
}

static void read_token(enum token_kind k)
{
    FILE *f = open_file(source[k].file);
    for (unsigned i = 0; i < (source[k].row + 1) * source[k].words; i++)
        assert_always(fscanf(f, "%8191s", tokens[k]) == 1);
    fclose(f);
}

static void read_key(enum token_kind k)
{
    char text[4096];
    struct err e;
    FILE *f = open_file(source[k].key_file);
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    keys[k] = jwt_keys_new(source[k].alg, slice_make(text, n), &e);
    assert_always(keys[k]);
}

void token_prepare(void)
{
    static const struct phoenix_key_rule usual;
    assert_always(phoenix_token_key(SECRET, SLICE_LIT("user socket"), &usual, &phoenix) == BG_OK);
    for (int k = 0; k < KINDS; k++) {
        read_token((enum token_kind)k);
        if (source[k].alg)
            read_key((enum token_kind)k);
    }
}

void token_forget(void)
{
    for (int k = 0; k < KINDS; k++)
        jwt_keys_free(keys[k]);
    buf_fini(&scratch);
}

static void verify(enum token_kind k)
{
    struct slice data, token = slice_str(tokens[k]);
    enum token_verdict v = keys[k]        ? jwt_verify(keys[k], &rules, token, AT_MS, &scratch, &data)
                           : k == SIGNED ? phoenix_token_verify(&phoenix, token, AT_MS, 0, &scratch, &data)
                                         : phoenix_token_decrypt(&phoenix, token, AT_MS, 0, &scratch, &data);
    assert_always(v == TOKEN_OK);
}

void run_token_signed(void)
{
    verify(SIGNED);
}

void run_token_xchacha(void)
{
    verify(XCHACHA);
}

void run_token_gcm(void)
{
    verify(GCM);
}

void run_token_hs256(void)
{
    verify(HS256);
}

void run_token_rs256(void)
{
    verify(RS256);
}

void run_token_es256(void)
{
    verify(ES256);
}

void run_token_eddsa(void)
{
    verify(EDDSA);
}
