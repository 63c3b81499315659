/*
 * base64.h: base64 as tokens come in (RFC 4648): with the standard or the URL alphabet, padded or not.
 */
#ifndef BEAMGATE_BASE64_H
#define BEAMGATE_BASE64_H

#include "buf.h"

/* Appends the bytes. Both alphabets are read, since phoenix.js sends the standard one under the name of the other
 * (P-013). 0; BG_EINVAL: a character of neither, a length that cannot be, bits left over; BG_ENOMEM. */
int base64_decode(struct slice text, struct buf *out) MUST_CHECK;

#endif
