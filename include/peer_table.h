/*
 * peer_table.h: what a module remembers about each link, found by the link's handle in one array access. Whoever puts a
 * value in takes it out when the link goes: the table frees none.
 */
#ifndef BEAMGATE_PEER_TABLE_H
#define BEAMGATE_PEER_TABLE_H

#include "base.h"

struct peer_entry {
    handle_t link;
    void *value;
};

struct peer_table {
    struct peer_entry *entry;
    uint32_t cap;
};

/* All zero is a valid, empty table. Frees the array, not the values. */
void peer_table_fini(struct peer_table *t);
/* The value under that link, or NULL. */
void *peer_get(const struct peer_table *t, handle_t link);
/* Stores value (not NULL), which replaces what an earlier link of that slot left. Returns 0 or BG_ENOMEM. */
int peer_put(struct peer_table *t, handle_t link, void *value) MUST_CHECK;
/* The value under that link; where there is none yet, a new one of size bytes, all zero, and *made is true. It is
 * malloc'd and the caller's to free, when it takes it out. NULL without memory. */
void *peer_need(struct peer_table *t, handle_t link, size_t size, bool *made) MUST_CHECK;
/* Removes and returns the value, or NULL. */
void *peer_take(struct peer_table *t, handle_t link);
/* Iterates: start with *pos = 0; NULL at the end. */
void *peer_next(const struct peer_table *t, uint32_t *pos);

#endif
