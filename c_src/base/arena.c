/*
 * arena.c: see arena.h. A list of chunks, the newest first; each piece comes from the newest chunk or opens
 * another. Invariant: chunk->used <= chunk->size, and pieces never move.
 *
 * It does not reuse single pieces and knows no bound: the caller bounds what it builds.
 */
#include "arena.h"

#include <stdlib.h>

enum { ARENA_CHUNK = 512, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size;
    size_t used;
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

void arena_fini(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
}

/* Small chunks on purpose: thousands of configs each own an arena. A large piece gets a chunk to its measure. */
static struct arena_chunk *arena_grow(struct arena *a, size_t size)
{
    size_t want = size < ARENA_CHUNK ? ARENA_CHUNK : size;
    struct arena_chunk *c = malloc(sizeof(*c) + want);
    if (!c) {
        a->failed = true;
        return NULL;
    }
    *c = (struct arena_chunk){.next = a->chunks, .size = want};
    a->chunks = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 4) {
        a->failed = true;
        return NULL;
    }
    size = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct arena_chunk *c = a->chunks;
    if (!c || c->size - c->used < size)
        c = arena_grow(a, size);
    if (!c)
        return NULL;
    uint8_t *p = c->data + c->used;
    c->used += size;
    memset(p, 0, size);
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    bool overflows = size != 0 && count > SIZE_MAX / size;
    return arena_alloc(a, overflows ? SIZE_MAX : count * size);
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.len);
    if (!p)
        return SLICE_NONE;
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    return slice_make(p, s.len);
}
