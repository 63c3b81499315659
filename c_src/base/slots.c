/*
 * slots.c: see slots.h. Free slots form a list through next_free; the generation grows when a slot
 * is given out, and skips 0 so that no live handle equals HANDLE_NONE.
 *
 * A handle is taken for another only after its slot was given out 2^32 times between two uses of it. The slot
 * freed last is given out first, since it is the one in the cache.
 */
#include "slots.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 64 };

void slots_init(struct slots *s, uint32_t limit)
{
    *s = (struct slots){.limit = limit};
}

void slots_fini(struct slots *s)
{
    free(s->slot);
    slots_init(s, s->limit);
}

static int slots_grow(struct slots *s)
{
    uint32_t cap = s->cap ? s->cap + s->cap / 2 : SLOTS_FIRST;
    if (cap > s->limit)
        cap = s->limit;
    if (cap <= s->cap)
        return BG_ELIMIT;
    struct slot *grown = realloc(s->slot, cap * sizeof(*grown));
    if (!grown)
        return BG_ENOMEM;
    /* From the top, so that low slots are given out first. */
    for (uint32_t i = cap; i-- > s->cap;) {
        grown[i] = (struct slot){NULL, 0, s->free_head};
        s->free_head = i + 1;
    }
    s->slot = grown;
    s->cap = cap;
    return BG_OK;
}

handle_t slots_add(struct slots *s, void *object)
{
    assert_always(object != NULL);
    if (s->free_head == 0 && slots_grow(s) != BG_OK)
        return HANDLE_NONE;
    uint32_t index = s->free_head - 1;
    struct slot *slot = &s->slot[index];
    s->free_head = slot->next_free;
    slot->object = object;
    if (++slot->generation == 0)
        slot->generation = 1;
    s->count++;
    return handle_make(index, slot->generation);
}

void *slots_remove(struct slots *s, handle_t h)
{
    void *object = slots_get(s, h);
    if (!object)
        return NULL;
    struct slot *slot = &s->slot[handle_index(h)];
    slot->object = NULL;
    slot->next_free = s->free_head;
    s->free_head = handle_index(h) + 1;
    s->count--;
    return object;
}

void *slots_next(const struct slots *s, uint32_t *pos, handle_t *h)
{
    while (*pos < s->cap) {
        uint32_t index = (*pos)++;
        if (!s->slot[index].object)
            continue;
        if (h)
            *h = handle_make(index, s->slot[index].generation);
        return s->slot[index].object;
    }
    return NULL;
}
