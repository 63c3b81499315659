/* test_ctl.c: answers as people see them, and that the documents know every
 * command. Requests: test_ctl_request.c. */
#include "unit.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../c_src/server/ctl_print.h"


static char shown[65536];

static const char *text_of(struct buf *b)
{
    assert_true(b->len < sizeof(shown));
    slice_cstr(buf_slice(b), shown, sizeof(shown));
    buf_fini(b);
    return shown;
}

/* ---- characters ---------------------------------------------------------------------------------------- */

static const char *safe(struct slice text)
{
    struct buf b;
    buf_init(&b, 0);
    ctl_put_safe(text, &b);
    return text_of(&b);
}

static void no_byte_that_a_terminal_obeys_gets_through(void **state)
{
    (void)state;
    assert_string_equal(safe(SLICE_LIT("a\x1b[31mb\r\n\t\x7f")), "a\\x1b[31mb\\x0d\\n\\t\\x7f");
    assert_string_equal(safe(SLICE_LIT("\xc2\x9b" "31m")), "\\u{9b}31m");          /* CSI as one character */
    assert_string_equal(safe(SLICE_LIT("\xe2\x80\xae" "gpj")), "\\u{202e}gpj");    /* right-to-left override */
    assert_string_equal(safe(SLICE_LIT("\0")), "\\x00");
}

static void invalid_utf8_is_shown_byte_by_byte(void **state)
{
    (void)state;
    assert_string_equal(safe(SLICE_LIT("\xff\xc3(\xe2\x82")), "\\xff\\xc3(\\xe2\\x82");
    assert_string_equal(safe(SLICE_LIT("\xc0\x80\xed\xa0\x80\xf5")), "\\xc0\\x80\\xed\\xa0\\x80\\xf5");
    assert_string_equal(safe(SLICE_LIT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80")), "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}

static void width_counts_columns_not_bytes(void **state)
{
    (void)state;
    assert_int_equal(ctl_width(SLICE_LIT("abc")), 3);
    assert_int_equal(ctl_width(SLICE_LIT("\xc3\xa4\xc3\xb6")), 2);
    assert_int_equal(ctl_width(SLICE_LIT("\xe6\xbc\xa2\xe5\xad\x97")), 4); /* two wide characters */
    assert_int_equal(ctl_width(SLICE_LIT("e\xcc\x81")), 1);                /* a combining accent */
}

static const char *cut(const char *text, size_t width)
{
    struct buf b;
    buf_init(&b, 0);
    ctl_put_cut(slice_str(text), width, &b);
    return text_of(&b);
}

static void a_cut_never_splits_a_character(void **state)
{
    (void)state;
    assert_string_equal(cut("abcdef", 6), "abcdef");
    assert_string_equal(cut("abcdef", 4), "abc\xe2\x80\xa6");
    assert_string_equal(cut("\xe6\xbc\xa2\xe5\xad\x97", 3), "\xe6\xbc\xa2\xe2\x80\xa6");
    assert_string_equal(cut("\xe6\xbc\xa2\xe5\xad\x97", 2), "\xe2\x80\xa6");
}

/* ---- tables and trees ---------------------------------------------------------------------------------- */

static const char *table(const char *rows, size_t width)
{
    static const struct ctl_column columns[] = {{"NAME", "name", CELL_TEXT, true},
                                                {"SIZE", "size", CELL_BYTES, false},
                                                {"AGE", "age", CELL_DURATION_MS, false},
                                                {"NOTE", "note", CELL_TEXT, true}};
    const struct ctl_command cmd = {.columns = columns, .columns_count = 4, .sort_columns = 1};
    struct buf b;
    json_t *list = json_loads(rows, 0, NULL);
    assert_non_null(list);
    buf_init(&b, 0);
    ctl_print_table(&cmd, list, width, &b);
    json_decref(list);
    return text_of(&b);
}

static const char three_rows[] = "[{\"name\":\"zebra\",\"size\":2048,\"age\":500,\"note\":\"\"},"
                                 "{\"name\":\"ant\\u001b[2J\",\"size\":7,\"age\":3725000,\"note\":\"a long note of words\"},"
                                 "{\"name\":\"\\u6f22\",\"age\":61000}]";

static void a_table_is_sorted_and_aligned(void **state)
{
    (void)state;
    assert_string_equal(table(three_rows, 0), "NAME           SIZE    AGE  NOTE\n"
                                              "ant\\x1b[2J      7 B  1h02m  a long note of words\n"
                                              "zebra       2.0 KiB  500ms  -\n"
                                              "\xe6\xbc\xa2                -  1m01s  -\n");
}

static void a_table_is_cut_to_the_width_where_it_may_be(void **state)
{
    (void)state;
    assert_string_equal(table(three_rows, 36), "NAME          SIZE    AGE  NOTE\n"
                                               "ant\\x1b[\xe2\x80\xa6      7 B  1h02m  a long n\xe2\x80\xa6\n"
                                               "zebra      2.0 KiB  500ms  -\n"
                                               "\xe6\xbc\xa2               -  1m01s  -\n");
    /* What may not be cut stays, however narrow the terminal. */
    assert_non_null(strstr(table(three_rows, 5), "ant\xe2\x80\xa6"));
    assert_non_null(strstr(table(three_rows, 5), "2.0 KiB"));
}

static const char *tree(const char *json)
{
    struct buf b;
    json_t *v = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    buf_init(&b, 0);
    ctl_print_tree(v, &b);
    json_decref(v);
    return text_of(&b);
}

static void a_tree_shows_keys_values_and_lists(void **state)
{
    (void)state;
    assert_string_equal(tree("{\"a\":1,\"long\":{\"x\":true,\"yy\":null},\"list\":[1,2],\"none\":[],\"deep\":[{\"k\":\"v\"}]}"),
                        "a:    1\nlong:\n  x:  yes\n  yy: -\nlist: 1, 2\nnone: (none)\ndeep:\n  -\n    k: v\n");
    assert_string_equal(tree("\"warning\""), "warning\n");
}

static void a_tree_too_deep_to_print_ends_as_json(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < 60; i++)
        buf_puts(&b, "{\"k\":");
    buf_puts(&b, "1");
    for (int i = 0; i < 60; i++)
        buf_putc(&b, '}');
    buf_putc(&b, '\0');
    assert_non_null(strstr(tree((const char *)b.data), "{\"k\":{\"k\":"));
    buf_fini(&b);
}

/* ---- the documents ------------------------------------------------------------------------------------- */

static void expect_in(const char *file, const char *text)
{
    static char content[65536];
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    content[fread(content, 1, sizeof(content) - 1, f)] = '\0';
    fclose(f);
    if (!strstr(content, text))
        fail_msg("%s lacks: %s", file, text);
}

static void every_command_and_option_is_in_page_manual_and_completion(void **state)
{
    (void)state;
    for (size_t i = 0; i < ctl_commands_count; i++) {
        const struct ctl_command *c = &ctl_commands[i];
        char text[128];
        snprintf(text, sizeof(text), "`%s%s%s`", c->name, c->usage[0] ? " " : "", c->usage);
        expect_in("docs/ctl.md", text);
        snprintf(text, sizeof(text), "\n.B %s\n", c->name);
        expect_in("rel/beamgate-ctl.1", text);
        snprintf(text, sizeof(text), " %s ", c->name);
        expect_in("rel/beamgate.bash", text);
        for (size_t k = 0; c->options && c->options[k]; k += 2) {
            snprintf(text, sizeof(text), "--%.*s", (int)strcspn(c->options[k], "="), c->options[k]);
            expect_in("docs/ctl.md", text);
            expect_in("rel/beamgate-ctl.1", text);
            expect_in("rel/beamgate.bash", text);
        }
    }
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_byte_that_a_terminal_obeys_gets_through),
        cmocka_unit_test(invalid_utf8_is_shown_byte_by_byte),
        cmocka_unit_test(width_counts_columns_not_bytes),
        cmocka_unit_test(a_cut_never_splits_a_character),
        cmocka_unit_test(a_table_is_sorted_and_aligned),
        cmocka_unit_test(a_table_is_cut_to_the_width_where_it_may_be),
        cmocka_unit_test(a_tree_shows_keys_values_and_lists),
        cmocka_unit_test(a_tree_too_deep_to_print_ends_as_json),
        cmocka_unit_test(every_command_and_option_is_in_page_manual_and_completion),
    };
    return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
