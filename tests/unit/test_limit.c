/* test_limit.c: the table of limits, and that the options and the documents agree with it. */
#include "unit.h"

#include <stdio.h>

#include "config.h"
#include "limit.h"

static struct metrics metrics;
static struct client_limits limits;

static int setup(void **state)
{
    (void)state;
    memset(&metrics, 0, sizeof(metrics));
    limit_init(&limits, &metrics);
    log_set_level(LOG_ERROR);
    return 0;
}

static const char *file_text(const char *path)
{
    static char text[262144];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    return text;
}

static bool find_option(const char *path, struct config_option *o)
{
    for (size_t pos = 0; config_next_option(&pos, o);)
        if (strcmp(o->path, path) == 0)
            return true;
    return false;
}

static void every_limit_is_an_option_with_the_same_default(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        struct config_option o;
        if (!find_option(limit_rows[i].option, &o))
            fail_msg("no option %s", limit_rows[i].option);
        assert_string_equal(o.kind, "number");
        if (limits.value[i] && strtoul(o.fallback, NULL, 10) != limits.value[i])
            fail_msg("%s: default %s, in the table %u", o.path, o.fallback, limits.value[i]);
    }
}

/* | `OPTION` | what happens | `COUNTER` | */
static void every_limit_has_its_row_in_the_operations_manual(void **state)
{
    (void)state;
    const char *text = file_text("docs/operations.md");
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        char begin[128], end[128];
        snprintf(begin, sizeof(begin), "\n| `%s` |", limit_rows[i].option);
        snprintf(end, sizeof(end), "| `%s` |\n", metric_name[limit_rows[i].counter]);
        const char *row = strstr(text, begin), *tail = row ? strstr(row + 1, end) : NULL;
        if (!row || !tail || memchr(row + 1, '\n', (size_t)(tail - row - 1)))
            fail_msg("docs/operations.md lacks a row \"| `%s` | ... | `%s` |\"", limit_rows[i].option,
                     metric_name[limit_rows[i].counter]);
    }
}

static void every_limit_is_found_by_its_option_and_by_its_last_part(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        assert_int_equal(limit_by_option(slice_str(limit_rows[i].option)), i);
        assert_int_equal(limit_by_option(slice_str(strrchr(limit_rows[i].option, '.') + 1)), i);
    }
    assert_int_equal(limit_by_option(SLICE_LIT("")), LIMIT_COUNT);
    assert_int_equal(limit_by_option(SLICE_LIT("max_")), LIMIT_COUNT);
}

static void every_limit_counts_for_itself_and_refuses_unless_it_runs_dry(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LIMIT_COUNT; i++) {
        struct metrics before = metrics;
        assert_true(limit_refuse(&limits, (enum limit)i, 7, SLICE_LIT("10.0.0.1")));
        limits.dry_run[i] = true;
        assert_false(limit_refuse(&limits, (enum limit)i, 7, SLICE_LIT("10.0.0.1")));
        before.value[limit_rows[i].counter] += 2;
        assert_memory_equal(&before, &metrics, sizeof(before));
    }
}

static void rates_follow_their_values(void **state)
{
    (void)state;
    struct token_bucket b = {0};
    limits.value[LIMIT_JOINS] = 1;
    limit_ready(&limits);
    for (int i = 0; i < LIMIT_BURST_S; i++)
        assert_true(token_bucket_try(&b, &limits.rate[LIMIT_JOINS], 1));
    assert_false(token_bucket_try(&b, &limits.rate[LIMIT_JOINS], 1));
    limits.value[LIMIT_JOINS] = 10;
    limit_ready(&limits);
    assert_true(token_bucket_try(&b, &limits.rate[LIMIT_JOINS], 100001));
    assert_false(token_bucket_try(&b, &limits.rate[LIMIT_JOINS], 100001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_limit_is_an_option_with_the_same_default, setup),
        cmocka_unit_test_setup(every_limit_has_its_row_in_the_operations_manual, setup),
        cmocka_unit_test_setup(every_limit_is_found_by_its_option_and_by_its_last_part, setup),
        cmocka_unit_test_setup(every_limit_counts_for_itself_and_refuses_unless_it_runs_dry, setup),
        cmocka_unit_test_setup(rates_follow_their_values, setup),
    };
    return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
