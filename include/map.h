/*
 * map.h: hash map from bytes to pointers. Keyed by SipHash-1-3 with a random seed, since keys may
 * come from clients. Open addressing; deletion shifts back, so there are no tombstones.
 */
#ifndef BEAMGATE_MAP_H
#define BEAMGATE_MAP_H

#include "base.h"

struct map_slot {
    struct slice key; /* borrowed: lives at least as long as the entry, usually inside the value */
    void *value;      /* NULL marks a free slot */
    uint64_t hash;
};

struct map {
    struct map_slot *slots;
    size_t cap; /* power of two or 0 */
    size_t count;
};

void map_init(struct map *m);
/* Frees the table, not the values. */
void map_fini(struct map *m);
/* The value under key, or NULL. */
void *map_get(const struct map *m, struct slice key);
/* Adds or replaces; value must not be NULL. The key's bytes are borrowed, and on replacement the
 * new key takes the old one's place. Returns 0 or BG_ENOMEM. */
int map_put(struct map *m, struct slice key, void *value) MUST_CHECK;
/* Removes and returns the value, or NULL. */
void *map_del(struct map *m, struct slice key);
/* Iterates: start with *pos = 0; returns the next value and sets *key (may be NULL), or NULL at the
 * end. The map must not change during the walk. */
void *map_next(const struct map *m, size_t *pos, struct slice *key);

/* SipHash-1-3 under the process's random key. */
uint64_t hash_bytes(const void *data, size_t len);
/* The same under a given key. */
uint64_t hash_keyed(const uint64_t key[2], const void *data, size_t len);

#endif
