/*
 * push_snapshot.h: the functions that services have pushed, in a file, so that a gateway that starts again serves them
 * at once (S-077 want). The file: 8 bytes "BGSNAP" and a version, 8 bytes length of the body, 32 bytes SHA-256 of it,
 * then for each service the node that pushed it and its PushConfig, each with 4 bytes of length. Numbers are
 * big-endian.
 */
#ifndef BEAMGATE_PUSH_SNAPSHOT_H
#define BEAMGATE_PUSH_SNAPSHOT_H

#include "buf.h"

enum { SNAPSHOT_HEAD = 48, SNAPSHOT_BODY_MAX = 128 * 1024 * 1024 };

/* Appends one record to a body. */
void snapshot_put(struct buf *body, struct slice node, struct slice term);
/* The head that goes before body. Takes 1 ms a MiB or so: for a thread. */
void snapshot_head(struct slice body, uint8_t head[SNAPSHOT_HEAD]);

/* Calls fn for each record; term has passed term_check(). BG_OK, or BG_EINVAL with what is wrong with the file: then fn
 * may have been called for records before, but not when head or checksum are wrong. */
typedef void snapshot_fn(void *ctx, struct slice node, struct slice term);
int snapshot_read(struct slice file, snapshot_fn *fn, void *ctx, struct err *e) MUST_CHECK;

#endif
