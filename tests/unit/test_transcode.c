/* test_transcode.c: JSON to terms and back, against what a real node encodes (tests/data/gen_terms.exs). */
#include "vectors.h"

#include "json.h"
#include "transcode.h"

#define TERMS "tests/data/terms"

/* ---- helpers ---- */

static struct slice checked(const char *text)
{
    struct json_limits lim = {.max_depth = JSON_DEPTH_MAX};
    struct json_reader r = json_reader(slice_str(text));
    struct slice raw;
    struct err e;
    if (json_value(&r, &lim, &raw, &e) || json_finish(&r, &e))
        fail_msg("%s: %s", text, e.text);
    return raw;
}

/* The term of a JSON text, which must pass the check. */
static void encode(const char *text, struct buf *out)
{
    struct json_limits lim = {.max_depth = JSON_DEPTH_MAX};
    struct err e;
    size_t used = 0;
    buf_init(out, 0);
    if (json_to_term(checked(text), out, &lim, &e))
        fail_msg("%s: %s", text, e.text);
    assert_int_equal(term_check(out->data, out->len, TERM_DEPTH_MAX, &used, &e), 0);
    assert_int_equal(used, out->len);
}

static void assert_encodes(const char *text, const void *want, size_t n)
{
    struct buf b;
    encode(text, &b);
    if (b.len != n || memcmp(b.data, want, n) != 0)
        fail_msg("%s is encoded otherwise", text);
    buf_fini(&b);
}
#define assert_term(text, ...)                                                                                         \
    assert_encodes(text, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void assert_decodes(struct slice term, const char *want)
{
    struct buf b;
    struct err e;
    buf_init(&b, 0);
    if (term_to_json(term, &b, NULL, &e))
        fail_msg("want %s, got error %s", want, e.text);
    assert_slice_is(buf_slice(&b), want);
    buf_fini(&b);
}

static void assert_round_trip(const char *text, const char *want)
{
    struct buf b;
    encode(text, &b);
    assert_decodes(buf_slice(&b), want);
    buf_fini(&b);
}

/* ---- JSON to terms ---- */

/* E-234, E-2341. */
static void json_scalars_become_the_terms_elixir_would_make(void **state)
{
    (void)state;
    assert_term("null", 119, 3, 'n', 'i', 'l');
    assert_term("true", 119, 4, 't', 'r', 'u', 'e');
    assert_term("false", 119, 5, 'f', 'a', 'l', 's', 'e');
    assert_term("0", 97, 0);
    assert_term("-0", 97, 0);
    assert_term("255", 97, 255);
    assert_term("256", 98, 0, 0, 1, 0);
    assert_term("-1", 98, 255, 255, 255, 255);
    assert_term("2147483647", 98, 0x7f, 255, 255, 255);
    assert_term("-2147483648", 98, 0x80, 0, 0, 0);
    assert_term("2147483648", 110, 4, 0, 0, 0, 0, 0x80);
    assert_term("-2147483649", 110, 4, 1, 1, 0, 0, 0x80);
    assert_term("9999999999999999999", 110, 8, 0, 0xff, 0xff, 0xe7, 0x89, 0x04, 0x23, 0xc7, 0x8a);
    assert_term("18446744073709551616", 110, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
    assert_term("-0.0", 70, 0x80, 0, 0, 0, 0, 0, 0, 0);
    assert_term("1E2", 70, 0x40, 0x59, 0, 0, 0, 0, 0, 0);
    assert_term("\"\"", 109, 0, 0, 0, 0);
    assert_term("\"a\\ud83d\\ude00\\n\"", 109, 0, 0, 0, 6, 'a', 0xf0, 0x9f, 0x98, 0x80, '\n');
    assert_term("[]", 106);
    assert_term("{ }", 116, 0, 0, 0, 0);
    assert_term(" [ 1 , [ ] ] ", 108, 0, 0, 0, 2, 97, 1, 106, 106);
    assert_term("{\"a\" : {\"b\":null}}", 116, 0, 0, 0, 1, 109, 0, 0, 0, 1, 'a', 116, 0, 0, 0, 1, 109, 0, 0, 0, 1, 'b',
                119, 3, 'n', 'i', 'l');
}

/* E-235: texts and keys stay binaries, whatever they say; the only atoms are those of null, true and false. */
static void no_atom_is_made_of_what_a_client_sends(void **state)
{
    (void)state;
    assert_term("\"nil\"", 109, 0, 0, 0, 3, 'n', 'i', 'l');
    assert_term("{\"true\":\"ok\"}", 116, 0, 0, 0, 1, 109, 0, 0, 0, 4, 't', 'r', 'u', 'e', 109, 0, 0, 0, 2, 'o', 'k');
    assert_term("{\"__struct__\":null}", 116, 0, 0, 0, 1, 109, 0, 0, 0, 10, '_', '_', 's', 't', 'r', 'u', 'c', 't', '_', '_', 119, 3,
                'n', 'i', 'l');
    assert_term("\":a\"", 109, 0, 0, 0, 2, ':', 'a');
}

/* E-234. */
static void of_duplicate_keys_the_first_wins(void **state)
{
    (void)state;
    assert_round_trip("{\"a\":1,\"a\":2}", "{\"a\":1}");
    assert_round_trip("{\"a\":1,\"\\u0061\":[{\"x\":\"}\"}],\"b\":3,\"a\":null}", "{\"a\":1,\"b\":3}");
    assert_round_trip("{\"\":1,\"\":2,\"x\":1,\"xy\":2,\"x\":3,\"xy\":4}", "{\"\":1,\"x\":1,\"xy\":2}");
    assert_round_trip("{\"a\":{\"a\":1,\"a\":2},\"b\":{\"a\":3},\"a\":4}", "{\"a\":{\"a\":1},\"b\":{\"a\":3}}");
    assert_round_trip("[{\"ab\":1},{\"ab\":1,\"bb\":2,\"ab\":3}]", "[{\"ab\":1},{\"ab\":1,\"bb\":2}]");
    assert_round_trip("{\"prefix_one\":1,\"prefix_two\":2,\"other_prefix_one\":3,\"prefix_one\":4}",
                      "{\"prefix_one\":1,\"prefix_two\":2,\"other_prefix_one\":3}");
}

/* Writes an object of n keys, each written `times` times, nested in one of its own kind. */
static char *object_text(unsigned n, unsigned times)
{
    char *text = malloc((size_t)n * times * 24 + 64), *p = text;
    *p++ = '{';
    for (unsigned t = 0; t < times; t++)
        for (unsigned i = 0; i < n; i++)
            p += sprintf(p, "%s\"key%u\":%u", t + i ? "," : "", i, t);
    strcpy(p, "}");
    return text;
}

static void large_objects_find_their_duplicates_too(void **state)
{
    (void)state;
    static const unsigned sizes[] = {15, 16, 17, 31, 32, 33, 49, 100, 5000};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char *once = object_text(sizes[i], 1), *thrice = object_text(sizes[i], 3);
        assert_round_trip(thrice, once);
        char *nested = malloc(strlen(thrice) * 2 + 64), *want = malloc(strlen(once) * 2 + 64);
        sprintf(nested, "{\"a\":%s,\"b\":%s,\"a\":0}", thrice, thrice);
        sprintf(want, "{\"a\":%s,\"b\":%s}", once, once);
        assert_round_trip(nested, want);
        free(nested), free(want), free(once), free(thrice);
    }
}

static void bounds_of_the_output_and_of_nesting_hold(void **state)
{
    (void)state;
    struct json_limits lim = {.max_depth = 2};
    struct buf b;
    struct err e;
    static const char text[] = "{\"key\":[1,2,3,\"text text text\"],\"k2\":1.5}";
    struct buf whole;
    encode(text, &whole);
    /* Numbers ask for 16 bytes before they know what they need. */
    for (size_t limit = 1; limit <= whole.len + 16; limit++) {
        buf_init(&b, limit);
        int rc = json_to_term(checked(text), &b, &lim, &e);
        assert_true(b.len <= limit);
        if (limit < whole.len || limit == whole.len + 16)
            assert_int_equal(rc, limit < whole.len ? BG_ELIMIT : BG_OK);
        buf_fini(&b);
    }
    buf_init(&b, 0);
    assert_int_equal(json_to_term(checked("[[[]]]"), &b, &lim, &e), BG_ELIMIT);
    assert_string_equal(e.text, "nesting too deep");
    buf_fini(&b);
    buf_fini(&whole);
}

static void integers_of_any_size_keep_their_digits(void **state)
{
    (void)state;
    static char text[JSON_NUMBER_MAX + 1];
    static const size_t lengths[] = {18, 19, 20, 21, 36, 37, 38, 39, 100, 616, 617, 1000, JSON_NUMBER_MAX - 1};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        for (size_t k = 0; k < lengths[i]; k++)
            text[k] = (char)('1' + (k * 7 + i) % 9);
        text[lengths[i]] = '\0';
        assert_round_trip(text, text);
        text[0] = '-';
        assert_round_trip(text, text);
        memset(text + 1, '0', lengths[i] - 1);
        text[1] = '1';
        assert_round_trip(text, text);
        memset(text + 1, '9', lengths[i] - 1);
        assert_round_trip(text, text);
    }
}

/* E-020: the recorded request of 1100123 bytes was counted as 1100138 with the user_id that the socket had put in. */
static void size_is_counted_as_the_elixir_gateway_counts_it(void **state)
{
    (void)state;
    enum { MSG = 1100000 };
    static const char head[] = "{\"service\":\"user_service\",\"request_type\":\"echo_big\",\"request_id\":\"req_182\","
                               "\"user_id\":\"u1\",\"args\":{\"msg\":\"";
    char *text = malloc(sizeof(head) + MSG + 8);
    strcpy(text, head);
    memset(text + sizeof(head) - 1, 'x', MSG);
    strcpy(text + sizeof(head) - 1 + MSG, "\"}}");
    assert_int_equal(json_term_size(checked(text), &json_limits_default), 1100138);
    free(text);
    assert_int_equal(json_term_size(checked("[1,1,1]"), &json_limits_default), 7);
    assert_int_equal(json_term_size(checked("[1,300]"), &json_limits_default), 14);
    assert_int_equal(json_term_size(checked("[]"), &json_limits_default), 2);
    assert_int_equal(json_term_size(checked("{\"a\":[],\"a\":[1,2]}"), &json_limits_default), 13);
    assert_int_equal(json_term_size(checked("[null,[1]]"), &json_limits_default), 1 + 5 + 5 + 4 + 1);
}

static void long_lists_of_bytes_count_as_strings_up_to_65535(void **state)
{
    (void)state;
    for (size_t n = 65534; n <= 65536; n++) {
        char *text = malloc(2 * n + 2);
        for (size_t i = 0; i < n; i++)
            memcpy(text + 2 * i + 1, "7,", 2);
        text[0] = '[';
        strcpy(text + 2 * n, "]");
        assert_int_equal(json_term_size(checked(text), &json_limits_default), n <= 65535 ? n + 4 : 2 * n + 7);
        free(text);
    }
}

/* ---- terms to JSON ---- */

static void check_vector(const char *dir, const char *name)
{
    size_t len, used = 0;
    uint8_t *bytes = vector_hex(dir, name, &len);
    char *json = vector_text(dir, name, ".json"), *error = vector_text(dir, name, ".error");
    struct err e;
    struct slice term = slice_make(bytes + 1, len - 1);
    assert_int_equal(bytes[0], TERM_VERSION);
    if (term_check(term.ptr, term.len, TERM_DEPTH_DEFAULT, &used, &e) || used != term.len)
        fail_msg("%s: %s", name, e.text);
    struct buf b;
    buf_init(&b, 0);
    int rc = term_to_json(term, &b, NULL, &e);
    if (json && rc)
        fail_msg("%s: %s", name, e.text);
    if (error && rc != BG_EINVAL)
        fail_msg("%s was encoded: %.*s", name, (int)b.len, b.data);
    if (json)
        assert_slice_is(buf_slice(&b), json);
    if (error)
        assert_string_equal(e.text, error);
    buf_fini(&b);
    free(json), free(error), free(bytes);
}

/* E-220..E-233 and V-01..V-14. */
static void terms_of_a_real_node_become_the_json_of_the_contract(void **state)
{
    (void)state;
    assert_true(vector_each(TERMS, check_vector) > 80);
}

static void lists_in_both_encodings_are_arrays(void **state)
{
    (void)state;
    assert_decodes(SLICE_LIT("\x6b\x00\x03\x00\x0a\xff"), "[0,10,255]");
    assert_decodes(SLICE_LIT("\x6b\x00\x00"), "[]");
    assert_decodes(SLICE_LIT("\x6c\x00\x00\x00\x01\x61\x05\x6a"), "[5]");
}

/* E-231, E-232: __struct__ last, as a map of more than 32 keys or another encoder may have it, with structs inside; what a
 * module derives for itself is not known here. */
static void structs_are_known_wherever_their_key_stands(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    term_put_map(&b, 4);
    term_put_atom(&b, "__meta__");
    term_put_tuple(&b, 0);
    term_put_atom(&b, "inner");
    term_put_map(&b, 2);
    term_put_atom(&b, "map");
    term_put_map(&b, 1);
    term_put_int(&b, 7);
    term_put_nil(&b);
    term_put_atom(&b, "__struct__");
    term_put_atom(&b, "Elixir.MapSet");
    term_put_atom(&b, "plain");
    term_put_map(&b, 1);
    term_put_atom(&b, "__meta__");
    term_put_int(&b, 1);
    term_put_atom(&b, "__struct__");
    term_put_atom(&b, "Elixir.Shop.Order");
    assert_decodes(buf_slice(&b), "{\"inner\":[7],\"plain\":{\"__meta__\":1}}");
    buf_fini(&b);
}

static void many_structs_take_no_more_than_memory(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct buf term, want;
    buf_init(&term, 0);
    buf_init(&want, 0);
    size_t len;
    uint8_t *date = vector_hex(TERMS, "date", &len);
    term_put_list(&term, N);
    for (size_t i = 0; i < N; i++) {
        term_put_raw(&term, slice_make(date + 1, len - 1));
        buf_puts(&want, i ? ",\"2024-01-02\"" : "[\"2024-01-02\"");
    }
    term_put_nil(&term);
    buf_puts(&want, "]");
    buf_putc(&want, '\0');
    assert_decodes(buf_slice(&term), (const char *)want.data);
    free(date);
    buf_fini(&term);
    buf_fini(&want);
}

static void nesting_and_size_of_results_are_bounded(void **state)
{
    (void)state;
    struct term_to_json_options opt = {.max_depth = 2};
    struct buf term, out;
    struct err e;
    buf_init(&term, 0);
    encode("[[1,\"abc\"]]", &term);
    buf_init(&out, 11);
    assert_int_equal(term_to_json(buf_slice(&term), &out, &opt, &e), BG_OK);
    buf_fini(&out);
    buf_init(&out, 10);
    assert_int_equal(term_to_json(buf_slice(&term), &out, &opt, &e), BG_ELIMIT);
    buf_fini(&out);
    buf_fini(&term);
    encode("[[[]]]", &term);
    buf_init(&out, 0);
    assert_int_equal(term_to_json(buf_slice(&term), &out, &opt, &e), BG_OK);
    buf_fini(&term);
    encode("[[[1]]]", &term);
    assert_int_equal(term_to_json(buf_slice(&term), &out, &opt, &e), BG_ELIMIT);
    buf_fini(&term);
    buf_fini(&out);
}

static struct slice text_of_length(char *text, size_t n, size_t odd_at, const char *odd)
{
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i % 26);
    if (odd_at + strlen(odd) <= n)
        memcpy(text + odd_at, odd, strlen(odd));
    return slice_make(text, n);
}

/* One map in a list, with so much behind it, written into so much room, from and to memory of exact size. */
static void assert_pair(struct slice key, struct slice value, bool atom, size_t behind, bool tight)
{
    static const char filler[64];
    struct buf term, want, out;
    struct err e;
    buf_init(&term, 0);
    buf_init(&want, 0);
    term_put_list(&term, 2);
    term_put_map(&term, 3);
    buf_puts(&want, "[{");
    int rc = json_put_key(&want, key, false) | json_put_string(&want, value);
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            term_put_text(&term, "plain");
        else if (atom)
            term_put_atom_slice(&term, key);
        else
            term_put_binary(&term, key);
        if (i == 2)
            term_put_atom(&term, "nil");
        else
            term_put_binary(&term, value);
    }
    buf_puts(&want, ",\"plain\":");
    rc |= json_put_string(&want, value);
    rc |= json_put_key(&want, key, true);
    buf_puts(&want, "null},[");
    for (size_t i = 0; i < behind; i++)
        buf_puts(&want, i ? ",0" : "0");
    buf_puts(&want, "]]");
    if (behind > 0) {
        buf_putc(&term, 107); /* STRING_EXT */
        buf_putc(&term, 0);
        buf_putc(&term, (int)behind);
        buf_add(&term, filler, behind);
    } else {
        term_put_nil(&term);
    }
    term_put_nil(&term);
    uint8_t *exact = malloc(term.len);
    assert_non_null(exact);
    memcpy(exact, term.data, term.len);
    buf_init(&out, tight ? want.len : 0);
    assert_int_equal(term_to_json(slice_make(exact, term.len), &out, NULL, &e), rc ? BG_EINVAL : BG_OK);
    assert_true(rc || slice_eq(buf_slice(&out), buf_slice(&want)));
    buf_fini(&out);
    if (!rc) {
        buf_init(&out, want.len - 1);
        assert_int_equal(term_to_json(slice_make(exact, term.len), &out, NULL, &e), BG_ELIMIT);
        buf_fini(&out);
    }
    free(exact);
    buf_fini(&term);
    buf_fini(&want);
}

/* Plain pairs are written in a way of their own, and so is a text that is the whole result. */
static void pairs_of_any_text_are_written_as_keys_and_values_are(void **state)
{
    (void)state;
    static const char *const odd[] = {"", "\"", "\\", "\x1f", "\xc3\xa9", "\xff"};
    char key[64], value[64];
    struct buf term, out, want;
    struct err e;
    for (size_t n = 0; n <= 35; n++) {
        for (size_t o = 0; o < ARRAY_SIZE(odd); o++) {
            for (size_t at = 0; at <= (o ? n : 0); at++) {
                struct slice v = text_of_length(value, n, at, odd[o]), k = text_of_length(key, (n + 19) % 36, at % 36, odd[o]);
                assert_pair(k, text_of_length(value, n, 0, ""), at % 2, at, n % 2);
                assert_pair(text_of_length(key, (n + 19) % 36, 0, ""), text_of_length(value, n, at, odd[o]), at % 2, at, n % 2);
                buf_init(&term, 0);
                buf_init(&out, 0);
                buf_init(&want, 0);
                term_put_binary(&term, v);
                int rc = json_put_string(&want, v);
                assert_int_equal(term_to_json(buf_slice(&term), &out, NULL, &e), rc);
                assert_true(rc || slice_eq(buf_slice(&out), buf_slice(&want)));
                buf_fini(&term);
                buf_fini(&out);
                buf_fini(&want);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_scalars_become_the_terms_elixir_would_make),
        cmocka_unit_test(no_atom_is_made_of_what_a_client_sends),
        cmocka_unit_test(of_duplicate_keys_the_first_wins),
        cmocka_unit_test(large_objects_find_their_duplicates_too),
        cmocka_unit_test(pairs_of_any_text_are_written_as_keys_and_values_are),
        cmocka_unit_test(bounds_of_the_output_and_of_nesting_hold),
        cmocka_unit_test(integers_of_any_size_keep_their_digits),
        cmocka_unit_test(size_is_counted_as_the_elixir_gateway_counts_it),
        cmocka_unit_test(long_lists_of_bytes_count_as_strings_up_to_65535),
        cmocka_unit_test(terms_of_a_real_node_become_the_json_of_the_contract),
        cmocka_unit_test(lists_in_both_encodings_are_arrays),
        cmocka_unit_test(structs_are_known_wherever_their_key_stands),
        cmocka_unit_test(many_structs_take_no_more_than_memory),
        cmocka_unit_test(nesting_and_size_of_results_are_bounded),
    };
    return cmocka_run_group_tests_name("transcode", tests, NULL, NULL);
}
