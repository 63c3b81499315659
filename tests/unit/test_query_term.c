/* test_query_term.c: connect parameters as the service's connect function gets them (P-003, P-006). */
#include "unit.h"

#include <stdio.h>

#include "query_term.h"
#include "term.h"

/* The term as Elixir prints it; "EINVAL" and so on when there is none. */
static const char *shown(const char *query)
{
    static char text[4096];
    struct buf term, out;
    size_t used;
    buf_init(&term, 0);
    buf_init(&out, sizeof(text) - 1);
    int rc = query_to_term(slice_str(query), &term);
    if (rc == BG_OK) {
        assert_int_equal(term_check(term.data, term.len, QUERY_DEPTH_MAX + 2, &used, NULL), BG_OK);
        assert_int_equal(used, term.len);
        term_inspect(buf_slice(&term), &out, sizeof(text) - 1);
    } else {
        buf_puts(&out, rc == BG_EINVAL ? "EINVAL" : rc == BG_ELIMIT ? "ELIMIT" : "ENOMEM");
    }
    slice_cstr(buf_slice(&out), text, sizeof(text));
    buf_fini(&term);
    buf_fini(&out);
    return text;
}

static void shapes_are_those_of_plug(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "%{}"},
        {"&&", "%{}"},
        {"vsn=2.0.0", "%{\"vsn\" => \"2.0.0\"}"},
        {"token=a%20b+c&vsn=2.0.0", "%{\"token\" => \"a b c\", \"vsn\" => \"2.0.0\"}"},
        {"a", "%{\"a\" => \"\"}"},
        {"a=", "%{\"a\" => \"\"}"},
        {"=b", "%{\"\" => \"b\"}"},
        {"a=b=c", "%{\"a\" => \"b=c\"}"},
        {"a=1&a=2", "%{\"a\" => \"2\"}"},
        {"a[b]=c", "%{\"a\" => %{\"b\" => \"c\"}}"},
        {"a[b]=1&a[c]=2&x=3", "%{\"a\" => %{\"b\" => \"1\", \"c\" => \"2\"}, \"x\" => \"3\"}"},
        {"a%5Bb%5D=c", "%{\"a\" => %{\"b\" => \"c\"}}"},
        {"a[]=1&a[]=2", "%{\"a\" => [\"1\", \"2\"]}"},
        {"a[][b]=1&a[][b]=2", "%{\"a\" => [%{\"b\" => \"1\"}, %{\"b\" => \"2\"}]}"},
        {"a[b][]=1&a[b][]=2&a[c]=3", "%{\"a\" => %{\"b\" => [\"1\", \"2\"], \"c\" => \"3\"}}"},
        {"a=1&a[b]=2", "%{\"a\" => %{\"b\" => \"2\"}}"},
        {"a[b]=2&a=1", "%{\"a\" => \"1\"}"},
        {"a[b]=2&a[]=1", "%{\"a\" => [\"1\"]}"},
        {"a[b", "%{\"a[b\" => \"\"}"},
        {"a]=1", "%{\"a]\" => \"1\"}"},
        {"[a]=1", "%{\"[a]\" => \"1\"}"},
        {"a[b]c=1", "%{\"a[b]c\" => \"1\"}"},
        {"a[b]c[d]=1", "%{\"a[b]c[d]\" => \"1\"}"},
        {"a=%", "EINVAL"},
        {"a%zz=1", "EINVAL"},
        {"a=%ff", "EINVAL"},
        {"a[b][c][d][e][f][g][h]=1",
         "%{\"a\" => %{\"b\" => %{\"c\" => %{\"d\" => %{\"e\" => %{\"f\" => %{\"g\" => %{\"h\" => \"1\"}}}}}}}}"},
        {"a[b][c][d][e][f][g][h][i]=1", "ELIMIT"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(shown(rows[i][0]), rows[i][1]) != 0)
            fail_msg("%s\ngot  %s\nwant %s", rows[i][0], shown(rows[i][0]), rows[i][1]);
}

static void pairs_are_bounded(void **state)
{
    (void)state;
    struct buf query, out;
    buf_init(&query, 0);
    buf_init(&out, 0);
    for (int i = 0; i < QUERY_PAIRS_MAX; i++)
        buf_printf(&query, "a%d=1&", i);
    assert_int_equal(query_to_term(buf_slice(&query), &out), BG_OK);
    buf_puts(&query, "b");
    assert_int_equal(query_to_term(buf_slice(&query), &out), BG_ELIMIT);
    buf_fini(&query);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_those_of_plug),
        cmocka_unit_test(pairs_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
