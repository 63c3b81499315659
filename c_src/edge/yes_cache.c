/*
 * yes_cache.c: see yes_cache.h. Invariant: what is in `known` is in `order` too, YES_CACHE_MAX entries at most; a key's
 * bytes are its entry's own. Who may be asked about, and by which key, is for those who ask: the key must be everything
 * that the function has looked at.
 */
#include "yes_cache.h"

#include <stdlib.h>

struct yes {
    struct list in_order;
    uint64_t until_us;
    struct buf about;
    struct buf answer;
};

static void yes_free(struct yes_cache *c, struct yes *y)
{
    map_del(&c->known, buf_slice(&y->about));
    list_remove(&y->in_order);
    buf_fini(&y->about);
    buf_fini(&y->answer);
    free(y);
}

static struct yes *oldest(const struct yes_cache *c)
{
    return container_of(c->order.next, struct yes, in_order);
}

void yes_cache_init(struct yes_cache *c)
{
    map_init(&c->known);
    list_init(&c->order);
}

void yes_cache_fini(struct yes_cache *c)
{
    while (c->known.count)
        yes_free(c, oldest(c));
    map_fini(&c->known);
}

bool yes_cache_find(struct yes_cache *c, struct slice about, uint64_t now_us, struct slice *answer)
{
    struct yes *y = map_get(&c->known, about);
    if (!y)
        return false;
    if (y->until_us <= now_us) {
        yes_free(c, y);
        return false;
    }
    if (answer)
        *answer = buf_slice(&y->answer);
    return true;
}

void yes_cache_keep(struct yes_cache *c, struct buf *about, struct slice answer, uint64_t until_us)
{
    struct yes *y = map_get(&c->known, buf_slice(about));
    if (y)
        yes_free(c, y);
    while (c->known.count >= YES_CACHE_MAX)
        yes_free(c, oldest(c));
    y = calloc(1, sizeof(*y));
    if (!y) {
        buf_fini(about);
        return;
    }
    y->about = *about;
    buf_init(about, 0);
    buf_init(&y->answer, 0);
    buf_add_slice(&y->answer, answer);
    y->until_us = until_us;
    list_append(&c->order, &y->in_order);
    if (!buf_ok(&y->answer) || map_put(&c->known, buf_slice(&y->about), y) != BG_OK)
        yes_free(c, y);
}
