/*
 * key_watch.h: reads the keys of jwt methods again when their file changes. Looking and reading happen in libuv's
 * threads, putting the keys in place between two turns of the loop.
 */
#ifndef BEAMGATE_KEY_WATCH_H
#define BEAMGATE_KEY_WATCH_H

#include <uv.h>

#include "auth_setup.h"
#include "metrics.h"

struct key_watch;

/* Watches the file that to's keys come from, every interval_ms. from and to must outlive it. NULL without memory. */
struct key_watch *key_watch_new(uv_loop_t *loop, struct metrics *m, const struct auth_settings *from,
                                struct auth_method *to, uint32_t interval_ms) MUST_CHECK;
/* Reads the file now, changed or not. */
void key_watch_now(struct key_watch *w);
/* Waits for what is being read, by turning the loop; not from a callback. NULL is allowed. */
void key_watch_free(struct key_watch *w);

#endif
