/* test_json.c: the JSON scanner and writer. */
#include "unit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "json.h"

static int check(const char *text, struct slice *raw)
{
    struct json_reader r = json_reader(slice_str(text));
    struct err e;
    int rc = json_value(&r, &json_limits_default, raw, &e);
    return rc ? rc : json_finish(&r, &e);
}

static void well_formed_values_pass_and_give_their_raw_text(void **state)
{
    (void)state;
    static const char *const good[][2] = {
        {" null ", "null"},
        {"true", "true"},
        {"\tfalse\r\n", "false"},
        {"0", "0"},
        {"-0", "-0"},
        {"-12.5e+10", "-12.5e+10"},
        {"1E2", "1E2"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"1.7976931348623157e308", "1.7976931348623157e308"},
        {"0e999", "0e999"},
        {"1e-999", "1e-999"},
        {"\"\"", "\"\""},
        {"\"a\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\\"\\\\\"",
         "\"a\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\\"\\\\\""},
        {"\"h\xc3\xa9llo \xf0\x9f\x98\x80 \x7f\"", "\"h\xc3\xa9llo \xf0\x9f\x98\x80 \x7f\""},
        {"[]", "[]"},
        {" [ ] ", "[ ]"},
        {"{ }", "{ }"},
        {"[1 , [ ] ,{\"a\" : {\"b\":[null]} , \"c\":2}]", "[1 , [ ] ,{\"a\" : {\"b\":[null]} , \"c\":2}]"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct slice raw;
        if (check(good[i][0], &raw) != 0)
            fail_msg("refused: %s", good[i][0]);
        assert_slice_is(raw, good[i][1]);
    }
}

/* E-2341 and E-234 first, then RFC 8259. */
static void malformed_values_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "1e400",
        "-1e400",
        "1.8e308",
        "01",
        "[1,]",
        "\"a\nb\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\u0041\"",
        "1 1",
        "[] x",
        "",
        " ",
        "nul",
        "nulll",
        "tru",
        "TRUE",
        "+1",
        "-",
        ".5",
        "1.",
        "1.e3",
        "1e",
        "1e+",
        "-01",
        "0x10",
        "NaN",
        "Infinity",
        "[",
        "]",
        "[1",
        "[1 2]",
        "[,1]",
        "[1,,2]",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{,}",
        "[1}",
        "{\"a\":1]",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "'a'",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xe2\x82\"",
        "\"\xc3\"",
        "\"\x01\"",
        "\"\t\"",
        "\"abcdefgh\x1f\"",
        "/*c*/1",
        "[1]]",
        "\xef\xbb\xbf[]",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct slice raw;
        if (check(bad[i], &raw) != BG_EINVAL)
            fail_msg("not refused as invalid: %s", bad[i]);
    }
}

static void every_prefix_of_a_message_is_refused(void **state)
{
    (void)state;
    static const char text[] = "[\"1\",{\"a\\u00e9\":[1.5e3,true,null,\"\xc3\xa9\"]},{}]";
    for (size_t n = 0; n + 1 < sizeof(text) - 1; n++) {
        char *copy = malloc(n + 1); /* exact size, so that reading beyond shows */
        memcpy(copy, text, n);
        struct json_reader r = json_reader(slice_make(copy, n));
        struct slice raw;
        assert_int_equal(json_value(&r, &json_limits_default, &raw, NULL), BG_EINVAL);
        free(copy);
    }
}

static void bounds_on_depth_keys_and_digits_hold(void **state)
{
    (void)state;
    struct json_limits lim = {.max_depth = 3, .max_keys = 2};
    struct slice raw;
    struct err e;
    struct json_reader r = json_reader(SLICE_LIT("[[{}]]"));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_OK);
    r = json_reader(SLICE_LIT("[[{\"a\":[]}]]"));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_ELIMIT);
    assert_string_equal(e.text, "nesting too deep");
    assert_int_equal(e.pos, 7);
    r = json_reader(SLICE_LIT("{\"a\":1,\"b\":{\"x\":1,\"y\":2}}"));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_OK);
    r = json_reader(SLICE_LIT("{\"a\":1,\"b\":2,\"c\":3}"));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_ELIMIT);

    static char text[JSON_DEPTH_MAX * 2 + 3];
    memset(text, '[', JSON_DEPTH_MAX + 1);
    memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    lim = (struct json_limits){.max_depth = 1000000};
    r = json_reader(slice_make(text, JSON_DEPTH_MAX * 2 + 2));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_ELIMIT);
    r = json_reader(slice_make(text + 1, JSON_DEPTH_MAX * 2));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_OK);

    static char number[JSON_NUMBER_MAX + 1];
    memset(number, '9', sizeof(number));
    r = json_reader(slice_make(number, JSON_NUMBER_MAX));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_OK);
    r = json_reader(slice_make(number, JSON_NUMBER_MAX + 1));
    assert_int_equal(json_value(&r, &lim, &raw, &e), BG_ELIMIT);
}

static void reader_goes_on_after_each_value(void **state)
{
    (void)state;
    struct json_reader r = json_reader(SLICE_LIT(" 1 [2] \"x\" "));
    struct slice raw;
    struct err e;
    assert_int_equal(json_peek(&r), JSON_NUMBER);
    assert_int_equal(json_value(&r, &json_limits_default, &raw, &e), BG_OK);
    assert_slice_is(raw, "1");
    assert_int_equal(json_peek(&r), JSON_ARRAY);
    assert_int_equal(json_value(&r, &json_limits_default, &raw, &e), BG_OK);
    assert_int_equal(json_kind(raw), JSON_ARRAY);
    assert_int_equal(json_finish(&r, &e), BG_EINVAL);
    assert_int_equal(json_value(&r, &json_limits_default, &raw, &e), BG_OK);
    assert_int_equal(json_peek(&r), JSON_END);
    assert_int_equal(json_finish(&r, &e), BG_OK);
    r = json_reader(SLICE_LIT("x"));
    assert_int_equal(json_peek(&r), JSON_BAD);
}

/* What json_value() makes of one byte of a string, by the rules of RFC 8259 section 7: NULL when it is plain. */
static const char *refusal_of(uint8_t c)
{
    if (c < ' ')
        return "control character in a string";
    if (c == '\\') /* an x or a ] follows */
        return "invalid escape in a string";
    return c < 0x80 ? NULL : "invalid UTF-8 in a string";
}

/* ["xxxCxxx"] with C at pos of len, followed by blanks; in memory of its own, so that tools see a read behind its end.
 */
static struct slice one_string(size_t len, size_t pos, uint8_t c, size_t blanks)
{
    size_t n = len + 4 + blanks;
    char *text = malloc(n);
    memset(text, 'x', n);
    memcpy(text, "[\"", 2);
    text[2 + pos] = (char)c;
    text[2 + len] = '"';
    memset(text + 3 + len, ' ', blanks);
    text[n - 1] = ']';
    return slice_make(text, n);
}

/* Strings are looked through in pieces of 16 and 8 bytes and the rest one by one. */
static void each_byte_is_judged_alike_wherever_it_stands(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 42; len++)
        for (size_t at = 0; at < len * 512; at++) {
            size_t pos = at / 512, blanks = at & 1 ? 20 : 0;
            uint8_t c = (uint8_t)(at / 2);
            struct slice text = one_string(len, pos, c, blanks), raw, key, value;
            struct json_reader r = json_reader(text);
            struct err e;
            int rc = json_value(&r, &json_limits_default, &raw, &e);
            const char *want = refusal_of(c);
            struct json_iter it;
            if (c == '"') { /* the string ends here, and another or an x follows */
                assert_int_equal(rc, BG_EINVAL);
                assert_string_equal(e.text, "expected ',' or ']'");
            } else if (c == '\\' && pos == len - 1) {
                assert_int_equal(rc, BG_EINVAL);
                assert_string_equal(e.text, "unterminated string");
            } else if (want) {
                assert_int_equal(rc, BG_EINVAL);
                assert_string_equal(e.text, want);
                assert_int_equal(e.pos, pos + 2);
            } else {
                assert_int_equal(rc, BG_OK);
                assert_int_equal(raw.len, text.len);
                json_iter_init(&it, raw);
                assert_true(json_iter_next(&it, &key, &value));
                assert_int_equal(value.len, len + 2);
                assert_false(json_iter_next(&it, &key, &value));
            }
            free((char *)(uintptr_t)text.ptr);
        }
}

/* An escape, a character of two bytes and one of four, at any place of strings of any length. */
static void walks_find_the_end_behind_what_is_not_plain(void **state)
{
    (void)state;
    static const char *const special[] = {"\\\"", "\\\\", "\\u0022", "\xc3\xa9", "\xf0\x9f\x98\x80", "}", "]"};
    for (size_t len = 0; len <= 42; len++)
        for (size_t pos = 0; pos <= len; pos++)
            for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
                char text[128];
                struct slice raw, key, value;
                struct json_iter it;
                int n = snprintf(text, sizeof(text), "{\"%.*s%s%.*s\":[\"%.*s%s%.*s\"]}", (int)pos,
                                 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", special[i], (int)(len - pos),
                                 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", (int)pos,
                                 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", special[i], (int)(len - pos),
                                 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
                assert_int_equal(check(text, &raw), BG_OK);
                assert_int_equal(raw.len, n);
                json_iter_init(&it, raw);
                assert_true(json_iter_next(&it, &key, &value));
                assert_int_equal(key.len, len + strlen(special[i]) + 2);
                assert_int_equal(value.len, key.len + 2);
                assert_false(json_iter_next(&it, &key, &value));
            }
}

static void containers_are_walked_key_by_key(void **state)
{
    (void)state;
    static const char *const want[][2] = {{"\"a\"", "1"},
                                          {"\"b]}\"", "{\"x\":[1,{\"y\":\"}\\\"\"}]}"},
                                          {"\"\"", "\"s,\\\\\""},
                                          {"\"d\"", "[]"},
                                          {"\"e\"", "null"}};
    struct slice raw, key, value;
    assert_int_equal(
        check("{ \"a\" : 1 , \"b]}\":{\"x\":[1,{\"y\":\"}\\\"\"}]},\"\":\"s,\\\\\",\"d\":[],\"e\":null }", &raw),
        BG_OK);
    struct json_iter it;
    size_t n = 0;
    for (json_iter_init(&it, raw); json_iter_next(&it, &key, &value); n++) {
        assert_slice_is(key, want[n][0]);
        assert_slice_is(value, want[n][1]);
    }
    assert_int_equal(n, ARRAY_SIZE(want));
    assert_int_equal(check("[ 1 ,-2.5e1,[3, 4],\"x\" ]", &raw), BG_OK);
    static const char *const elements[] = {"1", "-2.5e1", "[3, 4]", "\"x\""};
    for (n = 0, json_iter_init(&it, raw); json_iter_next(&it, &key, &value); n++) {
        assert_int_equal(key.len, 0);
        assert_slice_is(value, elements[n]);
    }
    assert_int_equal(n, ARRAY_SIZE(elements));
    json_iter_init(&it, SLICE_LIT("{ }"));
    assert_false(json_iter_next(&it, &key, &value));
    json_iter_init(&it, SLICE_LIT("\"no container\""));
    assert_false(json_iter_next(&it, &key, &value));
}

/* They are what the walk finds. */
static void members_are_remembered_as_they_are_checked(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"a\":1}",
        "{ \"a\" : {} , \"b\":[{\"c\":{\"d\":1},\"e\":[]}],\"\\u0066\":\"g\\\"\" , \"a\" : null , \"h\":-1.5e1 }",
        "{\"a\":{\"b\":{}},\"c\":[]}",
        "{\"0\":0,\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct json_reader r = json_reader(slice_str(texts[i]));
        struct json_members m;
        struct json_iter it;
        struct slice raw, key, value;
        unsigned n = 0;
        assert_int_equal(json_value_members(&r, &json_limits_default, &raw, &m, NULL), BG_OK);
        assert_true(m.whole);
        for (json_iter_init(&it, raw); json_iter_next(&it, &key, &value); n++) {
            assert_true(n < m.count && m.at[n].key.ptr == key.ptr && m.at[n].key.len == key.len);
            assert_true(m.at[n].value.ptr == value.ptr && m.at[n].value.len == value.len);
        }
        assert_int_equal(m.count, n);
    }
}

static void members_of_what_has_none_or_too_many_are_not_whole(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[]", "[{\"a\":1}]", "1", "\"a\"", "{ }",
        "{\"0\":0,\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"g\":0}",
        "{\"a\":1,}", "{\"a\"", "", "{\"a\":1",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct json_reader r = json_reader(slice_str(texts[i]));
        struct json_members m;
        struct slice raw;
        assert_int_equal(json_value_members(&r, &json_limits_default, &raw, &m, NULL), i < 6 ? BG_OK : BG_EINVAL);
        assert_false(m.whole);
    }
}

static void string_text_resolves_escapes(void **state)
{
    (void)state;
    struct buf b;
    struct slice text;
    buf_init(&b, 0);
    struct slice raw = SLICE_LIT("\"\\u00e9\\ud83d\\ude00 \\/ \\b\\f\\n\\r\\t\\u0041 \xe2\x82\xac\"");
    json_string_text(raw, &b);
    assert_slice_is(buf_slice(&b), "\xc3\xa9\xf0\x9f\x98\x80 / \b\f\n\r\tA \xe2\x82\xac");
    assert_false(json_string_plain(raw, &text));
    assert_true(json_string_plain(SLICE_LIT("\"abc\""), &text));
    assert_slice_is(text, "abc");
    assert_true(json_string_is(raw, buf_slice(&b)));
    assert_true(json_string_is(SLICE_LIT("\"\\u0061bc\""), SLICE_LIT("abc")));
    assert_false(json_string_is(SLICE_LIT("\"\\u0061bc\""), SLICE_LIT("ab")));
    assert_false(json_string_is(SLICE_LIT("\"ab\""), SLICE_LIT("abc")));
    assert_false(json_string_is(SLICE_LIT("\"a\\u0062\""), SLICE_LIT("a")));
    assert_true(json_string_is(SLICE_LIT("\"\""), SLICE_NONE));
    assert_false(json_string_is(SLICE_LIT("\"a\""), SLICE_NONE));
    assert_false(json_string_is(SLICE_LIT("\"\""), SLICE_LIT("a")));
    assert_false(json_string_is(SLICE_LIT("\"a\\\\\""), SLICE_LIT("a\\\\"))); /* the raw text is not the text */
    assert_true(json_string_is(SLICE_LIT("\"a\\\\\""), SLICE_LIT("a\\")));
    buf_fini(&b);
}

static void a_backslash_is_found_wherever_it_stands(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 40; len++) {
        char *raw = malloc(len + 2);
        struct slice text;
        memset(raw, 'x', len + 2);
        raw[0] = raw[len + 1] = '"';
        for (size_t pos = 0; pos < len; pos++) {
            for (int c = 1; c < 256; c++) {
                raw[1 + pos] = (char)c;
                assert_int_equal(json_string_plain(slice_make(raw, len + 2), &text), c != '\\');
            }
            raw[1 + pos] = 'x';
        }
        free(raw);
    }
}

static const char *put(struct buf *b, struct slice text)
{
    buf_reset(b);
    int rc = json_put_string(b, text);
    buf_putc(b, '\0');
    return rc ? NULL : (const char *)b->data;
}

/* E-222: escapes only the quote, the backslash and control characters. */
static void a_text_is_copied_only_where_it_has_escapes(void **state)
{
    (void)state;
    static char big[8 * JSON_ROOM_KEEP];
    struct buf room;
    buf_init(&room, 0);
    struct slice plain = SLICE_LIT("\"plain\"");
    assert_ptr_equal(json_string_in(plain, &room).ptr, plain.ptr + 1);
    assert_int_equal(room.cap, 0);
    assert_slice_is(json_string_in(SLICE_LIT("\"a\\nb\""), &room), "a\nb");
    assert_slice_is(json_string_in(SLICE_LIT("\"\\u00e9\""), &room), "\xc3\xa9");
    assert_int_equal(json_string_in(SLICE_LIT("\"\""), &room).len, 0);
    memset(big, '\\', sizeof(big));
    big[0] = big[sizeof(big) - 1] = '"';
    assert_int_equal(json_string_in(slice_make(big, sizeof(big)), &room).len, sizeof(big) / 2 - 1);
    assert_slice_is(json_string_in(SLICE_LIT("\"\\t\""), &room), "\t");
    assert_true(room.cap <= JSON_ROOM_KEEP); /* one long text does not keep its memory */
    buf_fini(&room);
}

static void strings_are_written_with_the_escapes_of_the_elixir_gateway(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_string_equal(put(&b, SLICE_LIT("")), "\"\"");
    assert_string_equal(put(&b, SLICE_LIT("\b\t\n\f\r\x00\x01\x1f\x7f\"\\")),
                        "\"\\b\\t\\n\\f\\r\\u0000\\u0001\\u001f\x7f\\\"\\\\\"");
    assert_string_equal(put(&b, SLICE_LIT("/<>&' \xe2\x80\xa8 h\xc3\xa9 \xf0\x9f\x98\x80 long enough for a word")),
                        "\"/<>&' \xe2\x80\xa8 h\xc3\xa9 \xf0\x9f\x98\x80 long enough for a word\"");
    assert_null(put(&b, SLICE_LIT("abc\xff")));
    assert_null(put(&b, SLICE_LIT("abc\xe2\x82")));
    assert_null(put(&b, SLICE_LIT("\xed\xa0\x80")));
    buf_reset(&b);
    json_put_text(&b, SLICE_LIT("a\xff\"\xc3\xa9\xe2\x82"));
    assert_slice_is(buf_slice(&b), "\"a\xef\xbf\xbd\\\"\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"");
    buf_fini(&b);
}

/* The writer works in pieces of 64 bytes; what is special must be found on any side of their ends. */
static void special_characters_are_found_wherever_they_stand(void **state)
{
    (void)state;
    static const char *const special[][2] = {{"\n", "\\n"},
                                             {"\x01", "\\u0001"},
                                             {"\"", "\\\""},
                                             {"\xc3\xa9", "\xc3\xa9"},
                                             {"\xe2\x82\xac", "\xe2\x82\xac"},
                                             {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}};
    struct buf b;
    char text[160], want[200];
    buf_init(&b, 0);
    for (int n = 0; n < 140; n++) {
        for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
            sprintf(text, "%0*d%sz", n + 1, 0, special[i][0]);
            sprintf(want, "\"%0*d%sz\"", n + 1, 0, special[i][1]);
            assert_string_equal(put(&b, slice_str(text)), want);
        }
        sprintf(text, "%0*d\xffz", n + 1, 0);
        assert_null(put(&b, slice_str(text)));
        buf_reset(&b);
        json_put_text(&b, slice_str(text));
        sprintf(want, "\"%0*d\xef\xbf\xbdz\"", n + 1, 0);
        assert_slice_is(buf_slice(&b), want);
    }
    buf_fini(&b);
}

static void keys_come_with_comma_and_colon(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    assert_int_equal(json_put_key(&b, SLICE_LIT("a"), false), 0);
    assert_int_equal(json_put_key(&b, SLICE_LIT(""), true), 0);
    assert_int_equal(json_put_key(&b, SLICE_LIT("\xc3\xa9"), true), 0);
    assert_slice_is(buf_slice(&b), "\"a\":,\"\":,\"\xc3\xa9\":");
    assert_int_equal(json_put_key(&b, SLICE_LIT("\xc3"), true), BG_EINVAL);
    buf_fini(&b);
}

static void integers_are_written_with_all_their_digits(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    json_put_int(&b, 0);
    buf_putc(&b, ' ');
    json_put_int(&b, INT64_MIN);
    buf_putc(&b, ' ');
    json_put_int(&b, INT64_MAX);
    assert_slice_is(buf_slice(&b), "0 -9223372036854775808 9223372036854775807");
    buf_fini(&b);
}

/* E-225 and the "values" transcript. */
static void floats_are_written_as_erlang_writes_them(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } want[] = {
        {1.0, "1.0"},
        {0.1, "0.1"},
        {1.5e300, "1.5e300"},
        {1.0e-7, "1.0e-7"},
        {1.0e20, "1.0e20"},
        {1.0e15, "1.0e15"},
        {-0.0, "-0.0"},
        {0.0, "0.0"},
        {100.0, "100.0"},
        {1000.0, "1.0e3"},
        {1200.0, "1.2e3"},
        {12345.0, "12345.0"},
        {0.0001, "0.0001"},
        {1.0e-5, "1.0e-5"},
        {2.5e-8, "2.5e-8"},
        {9007199254740992.0, "9.007199254740992e15"},
        {1.7976931348623157e308, "1.7976931348623157e308"},
        {5.0e-324, "5.0e-324"},
        {1.0e-10, "1.0e-10"},
        {1.0e22, "1.0e22"},
        {1.0e23, "1.0e23"},
        {1.5, "1.5"},
        {-2.75, "-2.75"},
        {0.1 + 0.2, "0.30000000000000004"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {5.684341886080802e-14, "5.684341886080802e-14"},
        {9007199254740991.0, "9007199254740991.0"},
        {2251799813685249.5, "2251799813685249.5"},
    };
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        buf_reset(&b);
        json_put_float(&b, want[i].v);
        assert_slice_is(buf_slice(&b), want[i].text);
    }
    buf_fini(&b);
}

/* E-225. FLOATS names another file of gen_floats.escript, e.g. one of a million numbers. */
static void floats_are_written_as_a_real_node_wrote_them(void **state)
{
    (void)state;
    const char *path = getenv("FLOATS") ? getenv("FLOATS") : "tests/data/floats.txt";
    FILE *f = fopen(path, "r");
    struct buf b;
    char want[64];
    uint64_t bits;
    size_t n = 0;
    assert_non_null(f);
    buf_init(&b, 0);
    for (double v; fscanf(f, "%" SCNx64 " %63s", &bits, want) == 2; n++) {
        memcpy(&v, &bits, sizeof(v));
        buf_reset(&b);
        json_put_float(&b, v);
        assert_slice_is(buf_slice(&b), want);
        double back = json_number_double(buf_slice(&b));
        assert_memory_equal(&back, &v, sizeof(v));
    }
    assert_true(n > 1000);
    buf_fini(&b);
    fclose(f);
}

static void numbers_become_the_nearest_double(void **state)
{
    (void)state;
    static const char *const text[] = {
        "1.5",
        "-0.0",
        "1E2",
        "0.1",
        "123456789.125",
        "1e22",
        "1e23",
        "9007199254740993.0",
        "0.30000000000000004",
        "1.7976931348623157e308",
        "5e-324",
        "2.4703282292062327e-324",
        "1e-999",
        "1000000000000000000000.0",
        "179769313486231580793728971405301e276",
    };
    for (size_t i = 0; i < ARRAY_SIZE(text); i++) {
        double want = strtod(text[i], NULL), got = json_number_double(slice_str(text[i]));
        assert_memory_equal(&got, &want, sizeof(want));
    }
}

static void utf8_prefix_ends_at_the_first_bad_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t good;
    } want[] = {
        {"", 0},
        {"abc", 3},
        {"0123456789\xc3\xa9", 12},
        {"01234567\xff", 8},
        {"\xc0\xaf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf\xed\xa0\x80", 3},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
        {"a\x80", 1},
        {"\xe2\x82", 0},
        {"\xf0\x9f\x98", 0},
        {"\xc3(", 0},
        {"\xe2\x28\xa1", 0},
        {"\xf0\x28\x8c\xbc", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_int_equal(utf8_valid_prefix(want[i].text, strlen(want[i].text)), want[i].good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_values_pass_and_give_their_raw_text),
        cmocka_unit_test(malformed_values_are_refused),
        cmocka_unit_test(every_prefix_of_a_message_is_refused),
        cmocka_unit_test(bounds_on_depth_keys_and_digits_hold),
        cmocka_unit_test(reader_goes_on_after_each_value),
        cmocka_unit_test(each_byte_is_judged_alike_wherever_it_stands),
        cmocka_unit_test(walks_find_the_end_behind_what_is_not_plain),
        cmocka_unit_test(containers_are_walked_key_by_key),
        cmocka_unit_test(members_are_remembered_as_they_are_checked),
        cmocka_unit_test(members_of_what_has_none_or_too_many_are_not_whole),
        cmocka_unit_test(string_text_resolves_escapes),
        cmocka_unit_test(a_backslash_is_found_wherever_it_stands),
        cmocka_unit_test(a_text_is_copied_only_where_it_has_escapes),
        cmocka_unit_test(strings_are_written_with_the_escapes_of_the_elixir_gateway),
        cmocka_unit_test(special_characters_are_found_wherever_they_stand),
        cmocka_unit_test(keys_come_with_comma_and_colon),
        cmocka_unit_test(integers_are_written_with_all_their_digits),
        cmocka_unit_test(floats_are_written_as_erlang_writes_them),
        cmocka_unit_test(floats_are_written_as_a_real_node_wrote_them),
        cmocka_unit_test(numbers_become_the_nearest_double),
        cmocka_unit_test(utf8_prefix_ends_at_the_first_bad_byte),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
