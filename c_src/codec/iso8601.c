/*
 * iso8601.c: see iso8601.h. Proleptic Gregorian calendar; years -9999 to 9999 as text, and what an offset makes of
 * them.
 *
 * The parsers eat from the front of a slice and say whether they could; the texts of errors are Elixir's own, because
 * clients read them (E-114, E-115). What is accepted is what Elixir's DateTime.from_iso8601/1 accepts in its
 * extended format; no leap second, as there.
 *
 * The structs are put together on the stack and appended in one step: all but their numbers is constant.
 */
#include "iso8601.h"

#include "term_tags.h"

/* The number of two decimal digits, or below zero. */
static inline int two_digits(const char *p)
{
    unsigned tens = (unsigned)p[0] - '0', ones = (unsigned)p[1] - '0';
    return tens <= 9 && ones <= 9 ? (int)(tens * 10 + ones) : -1;
}

static bool one_of(struct slice *s, char a, char b)
{
    if (s->len == 0 || (s->ptr[0] != a && s->ptr[0] != b))
        return false;
    *s = slice_make(s->ptr + 1, s->len - 1);
    return true;
}

static bool pair(struct slice *s, int *value)
{
    *value = s->len < 2 ? -1 : two_digits(s->ptr);
    if (*value >= 0)
        *s = slice_make(s->ptr + 2, s->len - 2);
    return *value >= 0;
}

/* 2026-01-02T03:04:05, of which each digit and each mark has its place. */
static bool date_and_time(struct slice *s, struct date_time *dt)
{
    enum { LENGTH = 19 };
    const char *p = s->ptr;
    if (s->len < LENGTH || p[4] != '-' || p[7] != '-' || (p[10] != 'T' && p[10] != ' ') || p[13] != ':' || p[16] != ':')
        return false;
    int century = two_digits(p), year = two_digits(p + 2);
    dt->year = century * 100 + year;
    dt->month = two_digits(p + 5);
    dt->day = two_digits(p + 8);
    dt->hour = two_digits(p + 11);
    dt->minute = two_digits(p + 14);
    dt->second = two_digits(p + 17);
    *s = slice_make(p + LENGTH, s->len - LENGTH);
    return (century | year | dt->month | dt->day | dt->hour | dt->minute | dt->second) >= 0;
}

/* .123 or ,123: at least one digit; those after the sixth are dropped. */
static bool fraction(struct slice *s, struct date_time *dt)
{
    enum { PRECISION_MAX = 6 };
    size_t given = 0;
    dt->microsecond = dt->precision = 0;
    if (!one_of(s, '.', ','))
        return true;
    for (; given < s->len && s->ptr[given] >= '0' && s->ptr[given] <= '9'; given++)
        if (given < PRECISION_MAX)
            dt->microsecond = dt->microsecond * 10 + (s->ptr[given] - '0');
    *s = slice_make(s->ptr + given, s->len - given);
    /* The precision is kept beside the value: Elixir prints as many digits as were given (E-130). */
    dt->precision = given < PRECISION_MAX ? (int)given : PRECISION_MAX;
    for (int i = dt->precision; i < PRECISION_MAX; i++)
        dt->microsecond *= 10;
    return given > 0;
}

/* Z, +hh:mm, +hhmm, +hh, or nothing; -00:00 is no offset (ISO 8601, and Elixir refuses it). */
static bool offset(struct slice *s, struct date_time *dt)
{
    int hour, minute = 0;
    dt->has_offset = s->len > 0;
    dt->offset_s = 0;
    if (s->len == 0 || (s->len == 1 && s->ptr[0] == 'Z'))
        return true;
    bool west = s->ptr[0] == '-';
    if (!one_of(s, '+', '-') || !pair(s, &hour))
        return false;
    if (s->len > 0) {
        (void)one_of(s, ':', ':');
        if (!pair(s, &minute))
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
    *dt = (struct date_time){0};
    bool before_zero = s.len > 0 && s.ptr[0] == '-';
    (void)one_of(&s, '+', '-');
    if (!date_and_time(&s, dt) || !fraction(&s, dt) || !offset(&s, dt))
        return "invalid_format";
    if (before_zero)
        dt->year = -dt->year;
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

/* Room for one struct: 196 constant bytes at most, and nine numbers of at most 5 each. */
enum { STRUCT_MAX = 256 };

static inline uint8_t *put_atom(uint8_t *o, const char *text, size_t len)
{
    o[0] = TAG_SMALL_ATOM_UTF8;
    o[1] = (uint8_t)len;
    memcpy(o + 2, text, len);
    return o + 2 + len;
}
#define ATOM(o, text) put_atom(o, text, sizeof(text) - 1)

static inline uint8_t *put_int(uint8_t *o, int64_t value)
{
    if (value >= 0 && value <= UINT8_MAX) {
        o[0] = TAG_SMALL_INT;
        o[1] = (uint8_t)value;
        return o + 2;
    }
    o[0] = TAG_INT;
    put_be32(o + 1, (uint32_t)value);
    return o + 5;
}

static inline uint8_t *put_text(uint8_t *o, const char *text, size_t len)
{
    o[0] = TAG_BINARY;
    put_be32(o + 1, (uint32_t)len);
    memcpy(o + 5, text, len);
    return o + 5 + len;
}
#define TEXT(o, text) put_text(o, text, sizeof(text) - 1)

/* What both structs have, behind __struct__ and its module. The order of a map's keys means nothing on the wire. */
static uint8_t *put_common(uint8_t *o, const struct date_time *dt)
{
    o = ATOM(ATOM(o, "calendar"), "Elixir.Calendar.ISO");
    o = put_int(ATOM(o, "year"), dt->year);
    o = put_int(ATOM(o, "month"), dt->month);
    o = put_int(ATOM(o, "day"), dt->day);
    o = put_int(ATOM(o, "hour"), dt->hour);
    o = put_int(ATOM(o, "minute"), dt->minute);
    o = put_int(ATOM(o, "second"), dt->second);
    o = ATOM(o, "microsecond");
    *o++ = TAG_SMALL_TUPLE;
    *o++ = 2;
    return put_int(put_int(o, dt->microsecond), dt->precision);
}

static inline uint8_t *put_map(uint8_t *o, uint32_t pairs)
{
    o[0] = TAG_MAP;
    put_be32(o + 1, pairs);
    return o + 5;
}

void term_put_datetime(struct buf *out, const struct date_time *utc)
{
    uint8_t term[STRUCT_MAX], *o;
    o = ATOM(ATOM(put_map(term, 13), "__struct__"), "Elixir.DateTime");
    o = put_common(o, utc);
    o = TEXT(ATOM(o, "time_zone"), "Etc/UTC");
    o = TEXT(ATOM(o, "zone_abbr"), "UTC");
    o = put_int(ATOM(o, "utc_offset"), 0);
    o = put_int(ATOM(o, "std_offset"), 0);
    buf_add(out, term, (size_t)(o - term));
}

void term_put_naive_datetime(struct buf *out, const struct date_time *dt)
{
    uint8_t term[STRUCT_MAX], *o;
    o = ATOM(ATOM(put_map(term, 9), "__struct__"), "Elixir.NaiveDateTime");
    o = put_common(o, dt);
    buf_add(out, term, (size_t)(o - term));
}
