/*
 * iso8601.c: see iso8601.h. Proleptic Gregorian calendar; years -9999 to 9999 as text, and what an offset makes of them.
 *
 * The parsers eat from the front of a slice and say whether they could; the texts of errors are Elixir's own, because
 * clients read them (E-114, E-115). What is accepted is what Elixir's DateTime.from_iso8601/1 accepts in its
 * extended format; no leap second, as there.
 */
#include "iso8601.h"

#include "term.h"

static const char invalid_format[] = "invalid_format";

/* Exactly n decimal digits. */
static bool digits(struct slice *s, int n, int *value)
{
    int v = 0;
    if (s->len < (size_t)n)
        return false;
    for (int i = 0; i < n; i++) {
        char c = s->ptr[i];
        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (c - '0');
    }
    *s = slice_make(s->ptr + n, s->len - (size_t)n);
    *value = v;
    return true;
}

static bool one_of(struct slice *s, const char *chars)
{
    if (s->len == 0 || s->ptr[0] == '\0' || !strchr(chars, s->ptr[0]))
        return false;
    *s = slice_make(s->ptr + 1, s->len - 1);
    return true;
}

/* .123 or ,123: at least one digit; those after the sixth are dropped. */
static bool fraction(struct slice *s, struct date_time *dt)
{
    int given = 0;
    dt->microsecond = dt->precision = 0;
    if (!one_of(s, ".,"))
        return true;
    for (int digit; digits(s, 1, &digit); given++)
        if (given < 6)
            dt->microsecond = dt->microsecond * 10 + digit;
    /* The precision is kept beside the value: Elixir prints as many digits as were given (E-130). */
    dt->precision = given < 6 ? given : 6;
    for (int i = dt->precision; i < 6; i++)
        dt->microsecond *= 10;
    return given > 0;
}

/* Z, +hh:mm, +hhmm, +hh, or nothing; -00:00 is no offset (ISO 8601, and Elixir refuses it). */
static bool offset(struct slice *s, struct date_time *dt)
{
    int hour, minute = 0;
    dt->has_offset = s->len > 0;
    dt->offset_s = 0;
    if (s->len == 0)
        return true;
    if (slice_is(*s, "Z"))
        return true;
    bool west = s->ptr[0] == '-';
    if (!one_of(s, "+-") || !digits(s, 2, &hour))
        return false;
    if (s->len > 0) {
        (void)one_of(s, ":");
        if (!digits(s, 2, &minute))
            return false;
    }
    if (s->len > 0 || hour > 23 || minute > 59 || (west && hour == 0 && minute == 0))
        return false;
    dt->offset_s = (hour * 60 + minute) * 60 * (west ? -1 : 1);
    return true;
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* A date and a time that are both impossible are an invalid_date, as in Elixir. */
const char *iso8601_parse(struct slice s, struct date_time *dt)
{
    int year;
    *dt = (struct date_time){0};
    bool before_zero = s.len > 0 && s.ptr[0] == '-';
    (void)one_of(&s, "+-");
    if (!digits(&s, 4, &year) || !one_of(&s, "-") || !digits(&s, 2, &dt->month) || !one_of(&s, "-") ||
        !digits(&s, 2, &dt->day) || !one_of(&s, "T ") || !digits(&s, 2, &dt->hour) || !one_of(&s, ":") ||
        !digits(&s, 2, &dt->minute) || !one_of(&s, ":") || !digits(&s, 2, &dt->second) || !fraction(&s, dt) ||
        !offset(&s, dt))
        return invalid_format;
    dt->year = before_zero ? -year : year;
    if (dt->month < 1 || dt->month > 12 || dt->day < 1 || dt->day > days_in_month(dt->year, dt->month))
        return "invalid_date";
    return dt->hour > 23 || dt->minute > 59 || dt->second > 59 ? "invalid_time" : NULL;
}

/* Moves the date by days (-1, 0 or 1: no offset reaches further). */
static void shift_day(struct date_time *dt, int days)
{
    dt->day += days;
    if (dt->day < 1) {
        if (--dt->month < 1) {
            dt->month = 12;
            dt->year--;
        }
        dt->day = days_in_month(dt->year, dt->month);
    } else if (dt->day > days_in_month(dt->year, dt->month)) {
        dt->day = 1;
        if (++dt->month > 12) {
            dt->month = 1;
            dt->year++;
        }
    }
}

bool date_time_to_utc(struct date_time *dt)
{
    enum { DAY_S = 86400, LAST_YEAR = 9999 };
    int second = (dt->hour * 60 + dt->minute) * 60 + dt->second - dt->offset_s;
    if (second < 0) {
        second += DAY_S;
        shift_day(dt, -1);
    } else if (second >= DAY_S) {
        second -= DAY_S;
        shift_day(dt, 1);
    }
    dt->hour = second / 3600;
    dt->minute = second / 60 % 60;
    dt->second = second % 60;
    dt->offset_s = 0;
    return dt->year >= -LAST_YEAR && dt->year <= LAST_YEAR;
}

static void put_field(struct buf *out, const char *key, int64_t value)
{
    term_put_atom(out, key);
    term_put_int(out, value);
}

/* The struct as a map; the order of its keys means nothing on the wire. */
static void put_common(struct buf *out, const char *module, const struct date_time *dt)
{
    term_put_atom(out, "__struct__");
    term_put_atom(out, module);
    term_put_atom(out, "calendar");
    term_put_atom(out, "Elixir.Calendar.ISO");
    put_field(out, "year", dt->year);
    put_field(out, "month", dt->month);
    put_field(out, "day", dt->day);
    put_field(out, "hour", dt->hour);
    put_field(out, "minute", dt->minute);
    put_field(out, "second", dt->second);
    term_put_atom(out, "microsecond");
    term_put_tuple(out, 2);
    term_put_int(out, dt->microsecond);
    term_put_int(out, dt->precision);
}

void term_put_datetime(struct buf *out, const struct date_time *utc)
{
    term_put_map(out, 13);
    put_common(out, "Elixir.DateTime", utc);
    term_put_atom(out, "time_zone");
    term_put_text(out, "Etc/UTC");
    term_put_atom(out, "zone_abbr");
    term_put_text(out, "UTC");
    put_field(out, "utc_offset", 0);
    put_field(out, "std_offset", 0);
}

void term_put_naive_datetime(struct buf *out, const struct date_time *dt)
{
    term_put_map(out, 9);
    put_common(out, "Elixir.NaiveDateTime", dt);
}
