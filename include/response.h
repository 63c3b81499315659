/*
 * response.h: the Response that every request is answered with, as JSON (F-110..F-120): all seven keys,
 * always, in the order that was recorded from the library.
 */
#ifndef BEAMGATE_RESPONSE_H
#define BEAMGATE_RESPONSE_H

#include "buf.h"

/* What a Response says beside its request_id. All zero: success with result null. */
struct response {
    struct slice error;       /* ptr NULL: success */
    struct slice result_json; /* raw JSON; used when result_term is empty */
    struct slice result_term; /* an encoded term */
    struct slice nested_term; /* beside result_json, which is then a whole Response: the result in that one (E-146) */
    bool async;
    bool has_more;
    bool can_retry;
};

/* Appends the object. request_id: raw JSON. Returns 0; BG_EINVAL when the result term cannot be JSON (E-010); BG_ELIMIT when
 * it nests too deep or out is full; BG_ENOMEM; *e says which. On failure the caller truncates out. */
int response_put(struct buf *out, struct slice request_id, const struct response *resp, struct err *e) MUST_CHECK;

#endif
