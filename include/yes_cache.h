/*
 * yes_cache.h: what functions of the services have said yes to, for a while. Only yeses are kept, so that a service
 * that says no, or nothing, is asked again, and strangers who are refused drive nobody's yes out.
 */
#ifndef BEAMGATE_YES_CACHE_H
#define BEAMGATE_YES_CACHE_H

#include "buf.h"
#include "list.h"
#include "map.h"

enum { YES_CACHE_MAX = 1000, YES_ABOUT_MAX = 4096 };

/* Zero is no cache: yes_cache_init() first. */
struct yes_cache {
    struct map known;
    struct list order; /* the oldest first */
};

void yes_cache_init(struct yes_cache *c);
void yes_cache_fini(struct yes_cache *c);
/* Whether there is a yes about these bytes that holds at now_us; *answer (may be NULL) is what came with it, the
 * cache's until the next call. */
bool yes_cache_find(struct yes_cache *c, struct slice about, uint64_t now_us, struct slice *answer) MUST_CHECK;
/* Keeps a yes until until_us, and forgets the oldest of YES_CACHE_MAX for it. Takes over about, which is empty
 * afterwards; answer is copied. Without memory nothing is kept. */
void yes_cache_keep(struct yes_cache *c, struct buf *about, struct slice answer, uint64_t until_us);

#endif
