/*
 * request_decode.h: from a client's payload to the fields of a request (E-020..E-026): which are there, which
 * must be, and what is wrong with them in the words that clients know.
 */
#ifndef BEAMGATE_REQUEST_DECODE_H
#define BEAMGATE_REQUEST_DECODE_H

#include "json.h"

/* The payload's fields as raw JSON; ptr NULL where absent or null. */
struct request_fields {
    struct slice request_type;
    struct slice request_id;
    struct slice service;
    struct slice version;
    struct slice user_id;
    struct slice device_id;
    struct slice args;
};

/* Reads a checked raw JSON object. The first of duplicate keys wins (E-234); unknown keys are ignored (E-026). */
void request_fields_read(struct slice payload, struct request_fields *f);

/* The same from the object's members, which must be whole. */
void request_fields_take(const struct json_members *m, struct request_fields *f);

/* True when request_id can be echoed: a non-empty string or a number. */
bool request_id_usable(struct slice request_id);

/* E-021, E-022 want: 0, or BG_EINVAL with the text for the client in message: the missing fields in the recorded order, or the
 * first field of a wrong type. A number is let through as request_id, since deployed clients use it, and as
 * service or version, where it finds no function, as recorded. */
int request_fields_check(const struct request_fields *f, struct buf *message) MUST_CHECK;

/* E-020: 0, or BG_ELIMIT with the text in message when the external term size of the payload, with user_id
 * overridden by user (empty: not), is over max bytes. */
int request_size_check(struct slice payload, const struct request_fields *f, struct slice user, size_t max,
                       const struct json_limits *lim, struct buf *message) MUST_CHECK;

#endif
