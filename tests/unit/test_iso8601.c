/* test_iso8601.c: dates and times as Elixir reads them, by what Elixir said (E-114, E-115, E-130). */
#include "unit.h"

#include <stdio.h>

#include "iso8601.h"

static void show(const struct date_time *dt, const char *why, char text[128])
{
    if (why)
        snprintf(text, 128, "%s", why);
    else
        snprintf(text, 128, "%lld %d %d %d %d %d %d %d", (long long)dt->year, dt->month, dt->day, dt->hour, dt->minute,
                 dt->second, dt->microsecond, dt->precision);
}

/* Cuts a line at its tabs. */
static void split(char *line, char *part[3])
{
    line[strcspn(line, "\n")] = '\0';
    for (int i = 0; i < 3; i++) {
        part[i] = line;
        line += strcspn(line, "\t");
        assert_int_equal(*line == '\0', i == 2);
        *line++ = '\0';
    }
}

/* Each text is right, or wrong in one place or two: see generate.exs beside the data. */
static void texts_are_read_as_elixir_reads_them(void **state)
{
    (void)state;
    char line[256], got[128], *part[3];
    unsigned n = 0;
    FILE *f = fopen("tests/data/iso8601/elixir.txt", "r");
    assert_non_null(f);
    for (; fgets(line, sizeof(line), f); n++) {
        struct date_time dt;
        split(line, part);
        const char *why = iso8601_parse(slice_str(part[0]), &dt);
        show(&dt, why, got);
        if (strcmp(got, part[2]) != 0)
            fail_msg("naive \"%s\": got %s, want %s", part[0], got, part[2]);
        if (!why && !dt.has_offset)
            why = "missing_offset";
        else if (!why && !date_time_to_utc(&dt))
            why = "raises";
        show(&dt, why, got);
        if (strcmp(got, part[1]) != 0)
            fail_msg("\"%s\": got %s, want %s", part[0], got, part[1]);
    }
    fclose(f);
    assert_true(n > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_are_read_as_elixir_reads_them)};
    return cmocka_run_group_tests_name("iso8601", tests, NULL, NULL);
}
