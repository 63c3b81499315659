/*
 * rate_limiter_internal.h: the rate limiter's own structures, shared by the files it is made of:
 *   rate_limiter.c  counters, their memory, and the check
 *   rate_limits.c   the lists of limits and what may be done to them at run time
 * Nobody else includes it.
 */
#ifndef BEAMGATE_RATE_LIMITER_INTERNAL_H
#define BEAMGATE_RATE_LIMITER_INTERNAL_H

#include "buf.h"
#include "list.h"
#include "rate_limiter.h"

struct limit {
    struct rate_limit set; /* its texts lie in text */
    struct list counters;  /* about the one counted longest ago first: one that was counted since stands too far in front */
    struct list in_dead;   /* linked once removed, until its counters are gone */
    size_t bytes;          /* of its counters */
    uint32_t count;
    uint32_t position; /* in its list */
    uint64_t id;       /* makes equal values of two limits differ in the table */
    uint64_t refused;
    uint32_t ahead_hash;   /* of the value of the check whose serial is ahead_serial */
    uint32_t ahead_serial; /* 0: none */
    char text[];
};

/* In list order: limit->position counts from 0. */
struct limit_list {
    struct limit **at;
    size_t count;
};

/* A limit that let the request at hand pass, and its counter for the request's value. */
struct hit {
    struct limit *limit;
    struct counter *counter; /* NULL: none yet */
    uint32_t hash;
};

struct rate_limiter {
    struct rate_limiter_options o;
    struct limit_list global;
    struct limit_list api;
    struct limit **by_scope; /* api again: those of one function side by side, in list order */
    struct hit *hits;        /* room for every limit */
    struct list dead;
    struct counter **bucket;
    uint32_t mask;
    size_t bytes;
    uint64_t last_id;
    uint64_t now_ms;
    uint32_t serial; /* of the check at hand; counters that it holds bear it and are not evicted */
    struct buf text; /* a value whose escapes had to be resolved */
};

/* rate_limiter.c */
/* Frees one counter. */
void rate_counter_free(struct rate_limiter *rl, struct counter *c);
/* Frees the limit's counters, at most *max of them, and takes their number from *max. True when none is left. */
bool rate_counters_free(struct rate_limiter *rl, struct limit *limit, unsigned *max);

/* rate_limits.c */
/* Limit number i of both lists, global ones first; NULL beyond. */
struct limit *rate_limit_at(const struct rate_limiter *rl, size_t i);
/* The limits of a function as a part of by_scope; NULL and 0 when there are none. */
struct limit *const *rate_limits_of(const struct rate_limiter *rl, const struct rate_scope *scope, size_t *count);
/* The first limit from *pos on with that scope and key; *pos goes behind it. NULL at the end. */
struct limit *rate_limit_next_of(const struct rate_limiter *rl, struct rate_scope scope, struct rate_key key,
                                 size_t *pos);
void rate_limits_free(struct rate_limiter *rl);

#endif
