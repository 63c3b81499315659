/*
 * slots.h: handles. A table of pointers addressed by index + generation, so that a stale handle
 * finds nothing instead of somebody else's object. Handles double as Erlang pids and call tags.
 */
#ifndef BEAMGATE_SLOTS_H
#define BEAMGATE_SLOTS_H

#include "base.h"

/* The halves of a handle, for those who send it as a pid or a tag, and the handle back from them, which has to be looked
 * up like any other. */
static inline uint32_t handle_index(handle_t h)
{
    return (uint32_t)h;
}

static inline uint32_t handle_generation(handle_t h)
{
    return (uint32_t)(h >> 32);
}

static inline handle_t handle_make(uint32_t index, uint32_t generation)
{
    return (handle_t)generation << 32 | index;
}

struct slot {
    void *object;        /* NULL while free */
    uint32_t generation; /* never 0; changes each time the slot is given out */
    uint32_t next_free;
};

struct slots {
    struct slot *slot;
    uint32_t cap;
    uint32_t count;
    uint32_t free_head; /* index + 1, 0 when none */
    uint32_t limit;
};

/* The object, or NULL when the handle is stale or was never given out. */
static inline void *slots_get(const struct slots *s, handle_t h)
{
    uint32_t index = handle_index(h);
    if (index >= s->cap || s->slot[index].generation != handle_generation(h))
        return NULL;
    return s->slot[index].object;
}

/* limit: most objects held at once. */
void slots_init(struct slots *s, uint32_t limit);
void slots_fini(struct slots *s);
/* Stores object (not NULL). Returns its handle, or HANDLE_NONE when the limit or memory is reached. */
handle_t slots_add(struct slots *s, void *object) MUST_CHECK;
/* Forgets the handle; returns the object it stood for, or NULL. */
void *slots_remove(struct slots *s, handle_t h);
/* Iterates in index order: start with *pos = 0; NULL at the end. Removing the current one is allowed. */
void *slots_next(const struct slots *s, uint32_t *pos, handle_t *h);

#endif
