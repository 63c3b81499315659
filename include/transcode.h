/*
 * transcode.h: JSON to Erlang terms and back, in one pass, without a tree (E-220..E-234). The
 * two directions are the hot path of the gateway; each works with an explicit, bounded stack.
 */
#ifndef BEAMGATE_TRANSCODE_H
#define BEAMGATE_TRANSCODE_H

#include "json.h"
#include "term.h"

/* Appends to out the term of one raw JSON value that json_value() has checked (E-234): objects as
 * maps with binary keys, the first of duplicate keys wins; integers of any size; null as the atom
 * nil. No atom but true, false and nil is ever written. Returns 0, BG_ELIMIT when a nesting or
 * size bound (out's limit) is reached, or BG_ENOMEM; then the caller truncates out to where it was. */
int json_to_term(struct slice raw, struct buf *out, const struct json_limits *lim, struct err *e) MUST_CHECK;

/* Size in bytes of the external term of a checked raw JSON value including the version byte, as
 * erlang:external_size/1 counts it (E-020): arrays of up to 65535 integers 0..255 count as
 * strings. SIZE_MAX when a bound or memory runs out. Never more than 3 * raw.len + 1, and it costs as much
 * as json_to_term(): who only compares with a bound looks at raw.len first. */
size_t json_term_size(struct slice raw, const struct json_limits *lim);

struct term_to_json_options {
    unsigned max_depth; /* 0: TERM_DEPTH_DEFAULT, which is also the most */
};

/* Appends to out the JSON of one checked term (E-220..E-234 with their wants: Date, Time,
 * NaiveDateTime, DateTime, Decimal as strings, MapSet as array, Response as its 7 keys, other structs
 * as objects without __struct__ and __meta__). BG_EINVAL with a text that says what cannot be
 * encoded and where ("cannot encode a tuple as JSON at result.users[3].pos"): tuple, pid, port, reference, function,
 * bitstring, binary that is not UTF-8, improper list, key that is a container. BG_ELIMIT for nesting and for out's
 * bound. On failure the caller truncates out to where it was. opt may be NULL. */
int term_to_json(struct slice term, struct buf *out, const struct term_to_json_options *opt, struct err *e) MUST_CHECK;

#endif
