/* test_iso8601.c: dates and times as Elixir reads them, by what Elixir said (E-114, E-115, E-130). */
#include "unit.h"

#include <stdio.h>

#include "iso8601.h"
#include "term.h"

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

/* One struct by the writers of term.h, which know every size of integer. */
static void put_by_parts(struct buf *out, const struct date_time *dt, bool naive)
{
    const struct {
        const char *key;
        int64_t value;
    } fields[] = {{"year", dt->year}, {"month", dt->month},   {"day", dt->day},
                  {"hour", dt->hour}, {"minute", dt->minute}, {"second", dt->second}};
    term_put_map(out, naive ? 9 : 13);
    term_put_atom(out, "__struct__");
    term_put_atom(out, naive ? "Elixir.NaiveDateTime" : "Elixir.DateTime");
    term_put_atom(out, "calendar");
    term_put_atom(out, "Elixir.Calendar.ISO");
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        term_put_atom(out, fields[i].key);
        term_put_int(out, fields[i].value);
    }
    term_put_atom(out, "microsecond");
    term_put_tuple(out, 2);
    term_put_int(out, dt->microsecond);
    term_put_int(out, dt->precision);
    if (naive)
        return;
    term_put_atom(out, "time_zone");
    term_put_text(out, "Etc/UTC");
    term_put_atom(out, "zone_abbr");
    term_put_text(out, "UTC");
    term_put_atom(out, "utc_offset");
    term_put_int(out, 0);
    term_put_atom(out, "std_offset");
    term_put_int(out, 0);
}

static void structs_are_the_terms_that_their_parts_make(void **state)
{
    (void)state;
    static const int64_t years[] = {-9999, -256, -1, 0, 1, 255, 256, 2026, 9999};
    static const int microseconds[] = {0, 1, 255, 256, 999999};
    struct buf got, want;
    buf_init(&got, 0);
    buf_init(&want, 0);
    for (size_t y = 0; y < ARRAY_SIZE(years); y++)
        for (size_t m = 0; m < ARRAY_SIZE(microseconds); m++)
            for (int naive = 0; naive < 2; naive++) {
                struct date_time dt = {.year = years[y],
                                       .month = 12,
                                       .day = 31,
                                       .hour = 23,
                                       .minute = 59,
                                       .second = 7,
                                       .microsecond = microseconds[m],
                                       .precision = 6};
                buf_reset(&got);
                buf_reset(&want);
                (naive ? term_put_naive_datetime : term_put_datetime)(&got, &dt);
                put_by_parts(&want, &dt, naive);
                assert_true(slice_eq(buf_slice(&got), buf_slice(&want)));
            }
    buf_fini(&got);
    buf_fini(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_are_read_as_elixir_reads_them),
                                       cmocka_unit_test(structs_are_the_terms_that_their_parts_make)};
    return cmocka_run_group_tests_name("iso8601", tests, NULL, NULL);
}
