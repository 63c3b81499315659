/*
 * peer_table.c: see peer_table.h. Links come from a slots table, so the index half of a handle is small and dense;
 * the whole handle is compared, so a reused slot never shows its predecessor's value.
 */
#include "peer_table.h"

#include <stdlib.h>

#include "slots.h"

enum { PEERS_FIRST = 8 };

void peer_table_fini(struct peer_table *t)
{
    free(t->entry);
    *t = (struct peer_table){0};
}

void *peer_get(const struct peer_table *t, handle_t link)
{
    uint32_t i = handle_index(link);
    return i < t->cap && t->entry[i].link == link ? t->entry[i].value : NULL;
}

/* Doubles until the index fits; what is new is zero, which no link's handle is. */
static int peers_grow(struct peer_table *t, uint32_t index)
{
    uint32_t cap = t->cap ? t->cap : PEERS_FIRST;
    while (cap <= index)
        cap *= 2;
    struct peer_entry *grown = realloc(t->entry, cap * sizeof(*grown));
    if (!grown)
        return BG_ENOMEM;
    memset(grown + t->cap, 0, (cap - t->cap) * sizeof(*grown));
    t->entry = grown;
    t->cap = cap;
    return BG_OK;
}

/* The bound of the index is that of the links' own table, far below where doubling could overflow. */
int peer_put(struct peer_table *t, handle_t link, void *value)
{
    uint32_t i = handle_index(link);
    assert_always(value != NULL && i < UINT32_MAX / 2);
    if (i >= t->cap && peers_grow(t, i) != BG_OK)
        return BG_ENOMEM;
    t->entry[i] = (struct peer_entry){link, value};
    return BG_OK;
}

void *peer_need(struct peer_table *t, handle_t link, size_t size, bool *made)
{
    void *value = peer_get(t, link);
    *made = false;
    if (value)
        return value;
    value = calloc(1, size);
    if (value && peer_put(t, link, value) == BG_OK) {
        *made = true;
        return value;
    }
    free(value);
    return NULL;
}

void *peer_take(struct peer_table *t, handle_t link)
{
    void *value = peer_get(t, link);
    if (value)
        t->entry[handle_index(link)] = (struct peer_entry){0};
    return value;
}

void *peer_next(const struct peer_table *t, uint32_t *pos)
{
    while (*pos < t->cap) {
        void *value = t->entry[(*pos)++].value;
        if (value)
            return value;
    }
    return NULL;
}
