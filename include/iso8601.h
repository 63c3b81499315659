/*
 * iso8601.h: date and time texts as Elixir's DateTime.from_iso8601/1 and NaiveDateTime.from_iso8601/1 read them
 * (extended format), and the structs they become (E-114, E-115, E-130).
 */
#ifndef BEAMGATE_ISO8601_H
#define BEAMGATE_ISO8601_H

#include "buf.h"

struct date_time {
    int64_t year;
    int month, day, hour, minute, second;
    int microsecond;
    int precision; /* digits given of the fraction, 0..6 */
    bool has_offset;
    int offset_s; /* seconds east of UTC */
};

/* NULL when text is a date and time, with a sign before the year or without; else Elixir's reason: invalid_format,
 * invalid_date or invalid_time. The offset is optional here. */
const char *iso8601_parse(struct slice text, struct date_time *dt);
/* Moves dt to UTC by its offset. False when that leaves the years -9999 to 9999, the only ones of which Elixir has
 * dates. */
bool date_time_to_utc(struct date_time *dt) MUST_CHECK;
/* Appends %DateTime{} in UTC, or %NaiveDateTime{}. */
void term_put_datetime(struct buf *out, const struct date_time *utc);
void term_put_naive_datetime(struct buf *out, const struct date_time *dt);

#endif
