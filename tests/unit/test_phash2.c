/* test_phash2.c: bit for bit what erlang:phash2 gives (E-169). */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "phash2.h"
#include "term_text.h"
#include "transcode.h"

static uint32_t hash_of(const char *text)
{
    struct buf b;
    uint32_t hash;
    buf_init(&b, 0);
    assert_int_equal(phash2_term(term_of(&b, text), &hash), BG_OK);
    buf_fini(&b);
    return hash;
}

/* E-169. */
static void vectors_of_the_contract(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t hash;
    } vectors[] = {{"\"\"", 147926629},
                   {"\"a\"", 1589197455},
                   {"\"user_1\"", 376582919},
                   {"\"user_2\"", 2935089883},
                   {"\"req_123\"", 602556477},
                   {"\"0123456789\"", 782318561},
                   {"\"0123456789abcdef0\"", 1226838813},
                   {"\"\xc3\xa9\"", 758303797},
                   {"0", 3175731469},
                   {"1", 539485162},
                   {"-1", 1117813597},
                   {"42", 701417368},
                   {"134217728", 2562491755},
                   {"2147483648", 2832818325},
                   {"4294967296", 2108323275},
                   {"9007199254740993", 1398361409},
                   {"1.0", 3029937084},
                   {"0.0", 423528920},
                   {"-0.0", 423528920},
                   {"1.5", 2023646235},
                   {"true", 506293},
                   {"false", 7111573},
                   {"nil", 29948},
                   {"[]", 3468870702},
                   {"[1]", 2768963718},
                   {"[\"a\", \"b\"]", 3761191278},
                   {"%{}", 844985373},
                   {"%{\"a\" => 1}", 2044784202},
                   {"%{\"a\" => 1, \"b\" => 2}", 3023248076},
                   {"%{\"b\" => 2, \"a\" => 1}", 3023248076}};
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
        if (hash_of(vectors[i].text) != vectors[i].hash)
            fail_msg("%s gives %u", vectors[i].text, hash_of(vectors[i].text));
}

static void binaries_and_ranges(void **state)
{
    (void)state;
    char x[100];
    memset(x, 'x', sizeof(x));
    assert_int_equal(phash2_binary(slice_make(x, 100)), 4292302462);
    assert_int_equal(phash2_binary(SLICE_NONE), 147926629);
    assert_int_equal(phash2_binary(SLICE_LIT("")) & ((1u << 27) - 1), 13708901);
    static const struct {
        const char *text;
        unsigned mod3;
    } checks[] = {{"", 1}, {"a", 0}, {"user_1", 2}, {"user_2", 1}, {"req_123", 0}, {"0123456789", 2}};
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        assert_int_equal(phash2_binary(slice_str(checks[i].text)) % 3, checks[i].mod3);
}

/* 123456789012345678901234567890 and its negative. */
static void big_integers(void **state)
{
    (void)state;
    uint8_t big[] = {110, 13, 0, 0xd2, 0x0a, 0x3f, 0x4e, 0xee, 0xe0, 0x73, 0xc3, 0xf6, 0x0f, 0xe9, 0x8e, 0x01};
    uint32_t hash;
    assert_int_equal(phash2_term(slice_make(big, sizeof(big)), &hash), BG_OK);
    assert_int_equal(hash, 3353369072);
    big[2] = 1;
    assert_int_equal(phash2_term(slice_make(big, sizeof(big)), &hash), BG_OK);
    assert_int_equal(hash, 1643812671);
}

/* Reads a file of vectors, "HASH what" a line: decode() makes the term of what, which must have that hash. At least so
 * many lines; the environment may name another file. */
static void hash_vectors(const char *variable, const char *file, size_t at_least,
                         void (*decode)(const char *what, struct buf *term))
{
    static char line[1 << 20];
    const char *path = getenv(variable);
    FILE *f = fopen(path ? path : file, "r");
    struct buf b;
    size_t n = 0;
    assert_non_null(f);
    buf_init(&b, 0);
    for (; fgets(line, sizeof(line), f); n++) {
        char *what;
        uint32_t hash;
        line[strcspn(line, "\n")] = '\0';
        unsigned long want = strtoul(line, &what, 10);
        buf_reset(&b);
        decode(what + 1, &b);
        int rc = phash2_term(buf_slice(&b), &hash);
        if (rc != BG_OK || hash != want)
            fail_msg("line %zu: %d, got %u, want %s", n + 1, rc, hash, line);
    }
    assert_true(n >= at_least);
    buf_fini(&b);
    fclose(f);
}

static void decode_hex(const char *hex, struct buf *term)
{
    unsigned byte;
    size_t used;
    struct err e = {0};
    for (const char *p = hex; sscanf(p, "%2x", &byte) == 1; p += 2)
        buf_putc(term, (int)byte);
    if (term_check(term->data, term->len, TERM_DEPTH_DEFAULT, &used, &e) != BG_OK)
        fail_msg("%s: %s", e.text, hex);
}

static void decode_json(const char *json, struct buf *term)
{
    struct slice raw;
    struct json_reader r = json_reader(slice_str(json));
    assert_int_equal(json_value(&r, &json_limits_default, &raw, NULL), BG_OK);
    assert_int_equal(json_to_term(raw, term, &json_limits_default, NULL), BG_OK);
}

/* Terms that a BEAM hashed: tests/data/phash2/generate.escript makes them; PHASH2_VECTORS names another file. */
static void thousands_of_terms_hash_as_on_a_beam(void **state)
{
    (void)state;
    hash_vectors("PHASH2_VECTORS", "tests/data/phash2/vectors.txt", 500, decode_hex);
}

/* E-165, E-169: from a client's JSON to the hash of the term that an Elixir gateway would have read from it; made by a BEAM
 * too, by generate_json.escript. */
static void arguments_hash_as_on_an_elixir_gateway(void **state)
{
    (void)state;
    hash_vectors("PHASH2_JSON", "tests/data/phash2/json.txt", 1500, decode_json);
}

static void what_json_cannot_carry_is_refused(void **state)
{
    (void)state;
    struct buf b;
    uint32_t hash;
    buf_init(&b, 0);
    struct term_pid pid = {SLICE_LIT("a@h"), 1, 2, 3};
    term_put_list(&b, 1);
    term_put_pid(&b, &pid);
    term_put_nil(&b);
    assert_int_equal(phash2_term(buf_slice(&b), &hash), BG_EINVAL);
    assert_int_equal(phash2_term(SLICE_LIT(""), &hash), BG_EINVAL);
    buf_reset(&b);
    for (int i = 0; i < TERM_DEPTH_DEFAULT + 1; i++)
        term_put_list(&b, 1);
    for (int i = 0; i < TERM_DEPTH_DEFAULT + 2; i++)
        term_put_nil(&b);
    assert_int_equal(phash2_term(buf_slice(&b), &hash), BG_ELIMIT);
    /* every cut of a term is refused, none is read past */
    struct slice t = term_of(&b, "%{\"a\" => [1, 2, {:x, 1.5, \"text\"}], \"b\" => %{}}");
    for (size_t n = 0; n < t.len; n++) {
        char *cut = malloc(n + 1);
        memcpy(cut, t.ptr, n);
        assert_int_equal(phash2_term(slice_make(cut, n), &hash), BG_EINVAL);
        free(cut);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_the_contract),
        cmocka_unit_test(binaries_and_ranges),
        cmocka_unit_test(big_integers),
        cmocka_unit_test(thousands_of_terms_hash_as_on_a_beam),
        cmocka_unit_test(arguments_hash_as_on_an_elixir_gateway),
        cmocka_unit_test(what_json_cannot_carry_is_refused),
    };
    return cmocka_run_group_tests_name("phash2", tests, NULL, NULL);
}
