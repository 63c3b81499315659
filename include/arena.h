/*
 * arena.h: memory that is taken piece by piece and given back at once: for objects that are built from
 * input and live and die as a whole.
 */
#ifndef BEAMGATE_ARENA_H
#define BEAMGATE_ARENA_H

#include "base.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    bool failed; /* some piece could not be had: whoever built from input may say so instead of blaming the input */
};

static inline void arena_init(struct arena *a)
{
    a->chunks = NULL;
    a->failed = false;
}

/* Gives back everything that was taken. */
void arena_fini(struct arena *a);
/* size zeroed bytes, aligned for any object, or NULL when memory is out. size 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size) MUST_CHECK;
/* count objects of size bytes; NULL also when the product overflows. */
void *arena_array(struct arena *a, size_t count, size_t size) MUST_CHECK;
/* A copy of s with ptr not NULL, or SLICE_NONE when memory is out. */
struct slice arena_copy(struct arena *a, struct slice s) MUST_CHECK;

#endif
