/*
 * channel_frame.h: the Phoenix channel serializers V1 and V2 (P-020..P-039), text and binary, as
 * slices in and bytes out. Knows no socket and no policy.
 */
#ifndef BEAMGATE_CHANNEL_FRAME_H
#define BEAMGATE_CHANNEL_FRAME_H

#include "json.h"

enum serializer { SERIALIZER_V1, SERIALIZER_V2 };

/* One message from a client. For text frames every field is the raw JSON of that element (strings
 * with their quotes; refs may be any JSON value, P-025). For binary frames (P-030) the four names are
 * bare bytes and payload is the data. A missing V1 join_ref is the raw text null. */
struct channel_frame {
    bool binary;
    struct slice join_ref;
    struct slice ref;
    struct slice topic;
    struct slice event;
    struct slice payload;
    struct json_members members; /* of the payload; whole only where a V2 text frame has an object of not too many */
};

/* Parses one whole message. BG_EINVAL: the socket closes with 1011 (P-070); BG_ELIMIT likewise. */
int channel_frame_parse(enum serializer v, bool binary_opcode, struct slice message, const struct json_limits *lim,
                        struct channel_frame *f, struct err *e) MUST_CHECK;

/* Writers. join_ref, ref and topic are raw JSON; event is bare text. frame_put_push_head writes
 * everything up to the payload, the caller appends one JSON value, and frame_put_push_tail closes.
 * join_ref of raw text null with ref null makes a broadcast (P-023, P-024). */
void frame_put_push_head(struct buf *out, enum serializer v, struct slice join_ref, struct slice ref, struct slice topic,
                         struct slice event);
void frame_put_push_tail(struct buf *out, enum serializer v, struct slice topic);
/* A whole phx_reply; response is raw JSON (P-023, P-024). */
void frame_put_reply(struct buf *out, enum serializer v, struct slice join_ref, struct slice ref, struct slice topic,
                     const char *status, struct slice response);
/* Binary frames (P-031..P-033); names are bare bytes. BG_ELIMIT when a name is over 255 bytes (C-57): nothing is written. */
int frame_put_binary_push(struct buf *out, struct slice join_ref, struct slice topic, struct slice event,
                          struct slice data) MUST_CHECK;
int frame_put_binary_reply(struct buf *out, struct slice join_ref, struct slice ref, struct slice topic,
                           struct slice status, struct slice data) MUST_CHECK;
int frame_put_binary_broadcast(struct buf *out, struct slice topic, struct slice event, struct slice data) MUST_CHECK;

#endif
