/*
 * struct_json.c: Date, Time, NaiveDateTime, DateTime and Decimal as the strings that Elixir's to_iso8601 and
 * to_string give (E-229, E-230), and which other structs are treated specially.
 *
 * Only what the modules themselves would build is accepted: another calendar, a month 13 or a missing field is
 * an error, not a guess.
 */
#include "struct_json.h"

#include <stdio.h>

#include "bigint.h"
#include "term_tags.h"

const struct response_field response_fields[RESPONSE_FIELDS] = {
    {"error", "null"},      {"async", "false"},     {"success", "false"},  {"result", "null"},
    {"request_id", "null"}, {"can_retry", "false"}, {"has_more", "false"},
};

/* ---- fields ---- */

/* An integer field within bounds; false when absent, of another kind or out of bounds. */
static bool field_int(struct slice map, const char *name, int64_t min, int64_t max, int *v)
{
    struct slice value;
    int64_t n;
    if (!term_map_get(map, name, &value))
        return false;
    struct term_reader r = term_reader(value);
    if (term_read_int(&r, &n) || n < min || n > max)
        return false;
    *v = (int)n;
    return true;
}

/* Used for `calendar`: the others print in ways of their own. */
static bool field_is_atom(struct slice map, const char *name, const char *atom)
{
    struct slice value;
    return term_map_get(map, name, &value) && term_is_atom(value, atom);
}

/* ---- dates and times ---- */

enum { TEXT_MAX = 64, YEAR_MAX = 9999999 };

struct clock_text {
    char text[TEXT_MAX];
    size_t len;
};

/* Years have at least four digits, negative ones too. */
static void add_date(struct clock_text *t, int year, int month, int day)
{
    int n = snprintf(t->text + t->len, TEXT_MAX - t->len, "%s%04d-%02d-%02d", year < 0 ? "-" : "",
                     year < 0 ? -year : year, month, day);
    t->len += (size_t)n;
}

/* That the day exists in its month is not checked: Date.new/3 has done so. */
static bool date_text(struct slice map, struct clock_text *t)
{
    int year, month, day;
    bool ok = field_is_atom(map, "calendar", "Elixir.Calendar.ISO") &&
              field_int(map, "year", -YEAR_MAX, YEAR_MAX, &year) && field_int(map, "month", 1, 12, &month) &&
              field_int(map, "day", 1, 31, &day);
    if (ok)
        add_date(t, year, month, day);
    return ok;
}

/* microsecond: {value, precision}; precision digits are printed. */
static bool fraction_text(struct slice map, struct clock_text *t)
{
    struct slice value;
    int64_t us, precision;
    uint32_t arity;
    if (!term_map_get(map, "microsecond", &value))
        return false;
    struct term_reader r = term_reader(value);
    if (term_read_tuple(&r, &arity) || arity != 2 || term_read_int(&r, &us) || term_read_int(&r, &precision))
        return false;
    if (us < 0 || us > 999999 || precision < 0 || precision > 6)
        return false;
    if (precision > 0) {
        snprintf(t->text + t->len, TEXT_MAX - t->len, ".%06d", (int)us);
        t->len += 1 + (size_t)precision;
    }
    return true;
}

/* 60 is a leap second, which older versions of Elixir let through. */
static bool time_text(struct slice map, struct clock_text *t)
{
    int hour, minute, second;
    if (!field_is_atom(map, "calendar", "Elixir.Calendar.ISO") || !field_int(map, "hour", 0, 23, &hour) ||
        !field_int(map, "minute", 0, 59, &minute) || !field_int(map, "second", 0, 60, &second))
        return false;
    t->len += (size_t)snprintf(t->text + t->len, TEXT_MAX - t->len, "%02d:%02d:%02d", hour, minute, second);
    return fraction_text(map, t);
}

static bool naive_text(struct slice map, struct clock_text *t)
{
    if (!date_text(map, t))
        return false;
    t->text[t->len++] = 'T';
    return time_text(map, t);
}

/* Z only for Etc/UTC itself; any other zone shows its offset, even when that is zero, without seconds. */
static bool datetime_text(struct slice map, struct clock_text *t)
{
    struct slice zone, zone_text;
    int utc, std;
    if (!naive_text(map, t) || !field_int(map, "utc_offset", -86400, 86400, &utc) ||
        !field_int(map, "std_offset", -86400, 86400, &std) || !term_map_get(map, "time_zone", &zone) ||
        !term_text(zone, &zone_text))
        return false;
    if (utc == 0 && std == 0 && slice_is(zone_text, "Etc/UTC")) {
        t->text[t->len++] = 'Z';
        return true;
    }
    int total = utc + std, minutes = (total < 0 ? -total : total) / 60;
    t->len += (size_t)snprintf(t->text + t->len, TEXT_MAX - t->len, "%c%02d:%02d", total < 0 ? '-' : '+', minutes / 60,
                               minutes % 60);
    return true;
}

typedef bool (*clock_fn)(struct slice map, struct clock_text *t);

/* The text goes out whole or not at all. */
static int put_clock(struct slice map, struct buf *out, clock_fn fn)
{
    struct clock_text t = {.len = 0};
    if (!fn(map, &t))
        return BG_EINVAL;
    return json_put_string(out, slice_make(t.text, t.len));
}

/* The table below wants one signature; these give it. */
static int put_date(struct slice map, struct buf *out)
{
    return put_clock(map, out, date_text);
}

static int put_time(struct slice map, struct buf *out)
{
    return put_clock(map, out, time_text);
}

static int put_naive(struct slice map, struct buf *out)
{
    return put_clock(map, out, naive_text);
}

static int put_datetime(struct slice map, struct buf *out)
{
    return put_clock(map, out, datetime_text);
}

/* ---- decimal ---- */

enum { EXPONENT_MAX = 1000000000 };

/* The digits of a non-negative integer term; 0 when it is none or too large. */
static size_t term_digits(struct slice term, char *text)
{
    struct term_reader r = term_reader(term);
    struct term_big big;
    int64_t v;
    if (term_read_int(&r, &v) == BG_OK)
        return v < 0 ? 0 : (size_t)snprintf(text, BIG_DIGITS_MAX, "%lld", (long long)v);
    if (!term_read_big(&r, &big) || big.negative || big.len > BIG_BYTES_MAX)
        return 0;
    return big_to_decimal(big.bytes, big.len, text);
}

/* 0.00123 or 1.23 or 123, all digits shown; exp <= 0. */
static void put_plain(struct buf *out, const char *digits, size_t n, size_t fraction)
{
    size_t whole = n > fraction ? n - fraction : 0;
    if (whole)
        buf_add(out, digits, whole);
    else
        buf_putc(out, '0');
    if (fraction == 0)
        return;
    buf_putc(out, '.');
    for (size_t i = n; i < fraction; i++)
        buf_putc(out, '0');
    buf_add(out, digits + whole, n - whole);
}

/* 1.23E+10 */
static void put_scientific(struct buf *out, const char *digits, size_t n, int exponent)
{
    buf_add(out, digits, 1);
    if (n > 1) {
        buf_putc(out, '.');
        buf_add(out, digits + 1, n - 1);
    }
    buf_printf(out, "E%+d", exponent);
}

/* coef as an atom: NaN, inf, and the kinds of NaN that Decimal 1.x had. */
static const char *decimal_special(struct slice coef)
{
    static const char *const names[][2] = {{"NaN", "NaN"}, {"inf", "Infinity"}, {"qNaN", "NaN"}, {"sNaN", "NaN"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (term_is_atom(coef, names[i][0]))
            return names[i][1];
    return NULL;
}

/* Decimal.to_string/2 in its default form :scientific. */
static int put_decimal(struct slice map, struct buf *out)
{
    struct slice coef;
    char digits[BIG_DIGITS_MAX];
    int sign, exponent = 0;
    if (!field_int(map, "sign", -1, 1, &sign) || sign == 0 || !term_map_get(map, "coef", &coef))
        return BG_EINVAL;
    const char *special = decimal_special(coef);
    size_t n = special ? 0 : term_digits(coef, digits);
    if (!special && (n == 0 || !field_int(map, "exp", -EXPONENT_MAX, EXPONENT_MAX, &exponent)))
        return BG_EINVAL;
    buf_puts(out, sign < 0 ? "\"-" : "\"");
    int adjusted = exponent + (int)n - 1;
    if (special)
        buf_puts(out, special);
    else if (exponent <= 0 && (exponent == 0 || adjusted >= -6))
        put_plain(out, digits, n, (size_t)-exponent);
    else
        put_scientific(out, digits, n, adjusted);
    buf_putc(out, '"');
    return BG_OK;
}

/* ---- which is which ---- */

static const struct known_struct {
    const char *module;
    enum struct_form form;
    int (*put)(struct slice map, struct buf *out);
} known_structs[] = {
    {"Elixir.Date", STRUCT_TEXT, put_date},
    {"Elixir.Time", STRUCT_TEXT, put_time},
    {"Elixir.NaiveDateTime", STRUCT_TEXT, put_naive},
    {"Elixir.DateTime", STRUCT_TEXT, put_datetime},
    {"Elixir.Decimal", STRUCT_TEXT, put_decimal},
    {"Elixir.MapSet", STRUCT_SET, NULL},
    {"Elixir.PhoenixGenApi.Structs.Response", STRUCT_RESPONSE, NULL},
};

/* Seven names: a linear search costs less than hashing. */
static const struct known_struct *known(struct slice module)
{
    for (size_t i = 0; i < ARRAY_SIZE(known_structs); i++)
        if (slice_is(module, known_structs[i].module))
            return &known_structs[i];
    return NULL;
}

enum struct_form struct_form(struct slice module)
{
    const struct known_struct *k = known(module);
    return k ? k->form : STRUCT_OBJECT;
}

/* Only for modules that struct_form() calls STRUCT_TEXT: anything else is our own mistake. */
int struct_put_text(struct slice module, struct slice map, struct buf *out)
{
    const struct known_struct *k = known(module);
    assert_always(k && k->put);
    return k->put(map, out);
}
