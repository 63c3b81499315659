/*
 * args.h: from the client's `args` object to the argument terms of the call (E-100..E-131): which names are
 * required and allowed, what each type accepts, how it is converted, and in which order it is passed.
 */
#ifndef BEAMGATE_ARGS_H
#define BEAMGATE_ARGS_H

#include "fun_config.h"
#include "json.h"

struct args_limits {
    uint32_t string_max_bytes; /* F-067 */
    uint32_t list_max_items;
    uint32_t map_max_items;
    struct json_limits json;
};

/* Appends to out the client's part of the argument list, one term after another, and its length to *count.
 * args: the raw, checked JSON of the request's args; an empty slice or null counts as {} (E-023).
 * Returns 0; BG_EINVAL with the text for the client in message when an argument is not acceptable (out then
 * holds a part: truncate it); BG_ELIMIT or BG_ENOMEM when out failed. */
int args_build(const struct fun_config *fc, struct slice args, const struct args_limits *lim, struct buf *out,
               uint32_t *count, struct buf *message) MUST_CHECK;

#endif
