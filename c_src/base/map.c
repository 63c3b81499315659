/*
 * map.c: see map.h. Invariant: load <= 3/4, and every entry is reachable from its home slot
 * without crossing a free one.
 *
 * Open addressing with linear steps: a look-up touches one cache line more often than not. The hash is SipHash-1-3
 * with a key of the process, because keys come from clients and services, who could otherwise choose them to collide.
 *
 * The same few keys are asked for again and again: functions, nodes. So behind its slots a map keeps hints, where a key that
 * falls to the hint was found last. A hint is only ever the first slot to look at: it need not be right, need not be put
 * right when entries move, and who chooses keys to share one gains that the map looks them up by their hash as before.
 */
#include "map.h"

#include <stdlib.h>

enum { MAP_FIRST = 16, HINTS = 64, HINT_KEY = 8 };

static inline uint64_t rotl(uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline struct sip sip_round(struct sip s)
{
    s.v0 += s.v1;
    s.v1 = rotl(s.v1, 13) ^ s.v0;
    s.v0 = rotl(s.v0, 32);
    s.v2 += s.v3;
    s.v3 = rotl(s.v3, 16) ^ s.v2;
    s.v0 += s.v3;
    s.v3 = rotl(s.v3, 21) ^ s.v0;
    s.v2 += s.v1;
    s.v1 = rotl(s.v1, 17) ^ s.v2;
    s.v2 = rotl(s.v2, 32);
    return s;
}

/* Eight bytes, the first one lowest. */
static inline uint64_t word_at(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* One word of what is hashed. */
static inline struct sip sip_word(struct sip s, uint64_t word)
{
    s.v3 ^= word;
    s = sip_round(s);
    s.v0 ^= word;
    return s;
}

/* SipHash-1-3 (Aumasson and Bernstein): the constants are its own, one round a word and three at the end. All of it is in
 * place, so that the state stays in registers: every request looks up keys of a few words. */
uint64_t hash_keyed(const uint64_t k[2], const void *data, size_t len)
{
    struct sip s = {k[0] ^ 0x736f6d6570736575u, k[1] ^ 0x646f72616e646f6du, k[0] ^ 0x6c7967656e657261u,
                    k[1] ^ 0x7465646279746573u};
    const uint8_t *p = data;
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8)
        s = sip_word(s, word_at(p));
    /* The rest of the bytes, with the length on top, so that a text and the same with zeros behind it differ. */
    uint64_t last = (uint64_t)len << 56;
    if (left && len >= 8)
        last |= word_at(p + left - 8) >> (8 * (8 - left));
    else
        for (size_t i = 0; i < left; i++)
            last |= (uint64_t)p[i] << (8 * i);
    s = sip_word(s, last);
    s.v2 ^= 0xff;
    s = sip_round(sip_round(sip_round(s)));
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* Made at first use; a key half of which is 0 by chance is made again, which harms nobody. */
static const uint64_t *hash_key(void)
{
    static uint64_t key[2];
    if (key[0] == 0)
        random_bytes(key, sizeof(key));
    return key;
}

uint64_t hash_bytes(const void *data, size_t len)
{
    return hash_keyed(hash_key(), data, len);
}

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_fini(struct map *m)
{
    free(m->slots);
    map_init(m);
}

/* The slot that holds key, or the free one where it would go. cap > 0. */
static struct map_slot *map_find(const struct map *m, struct slice key, uint64_t hash)
{
    size_t mask = m->cap - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_slot *s = &m->slots[i];
        if (!s->value || (s->hash == hash && slice_eq(s->key, key)))
            return s;
    }
}

/* The hint for a key of at least HINT_KEY bytes, by its beginning, middle and end. A hint is an index below cap. cap > 0. */
static uint32_t *hint_for(const struct map *m, struct slice key)
{
    uint32_t *hints = (uint32_t *)(void *)(m->slots + m->cap);
    const uint8_t *p = (const uint8_t *)key.ptr;
    uint64_t words = word_at(p) ^ rotl(word_at(p + (key.len - HINT_KEY) / 2), 21) ^ rotl(word_at(p + key.len - HINT_KEY), 42);
    return &hints[(words + key.len) * 0x9e3779b97f4a7c15u >> 58];
}

void *map_get(const struct map *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    if (key.len < HINT_KEY)
        return map_find(m, key, hash_bytes(key.ptr, key.len))->value;
    uint32_t *hint = hint_for(m, key);
    const struct map_slot *s = &m->slots[*hint];
    if (!slice_eq(s->key, key)) {
        s = map_find(m, key, hash_bytes(key.ptr, key.len));
        *hint = (uint32_t)(s - m->slots);
    }
    return s->value;
}

/* The new hints are 0, which is a slot like any other. */
static int map_grow(struct map *m)
{
    struct map bigger = {.cap = m->cap ? m->cap * 2 : MAP_FIRST, .count = m->count};
    bigger.slots = calloc(1, bigger.cap * sizeof(*bigger.slots) + HINTS * sizeof(uint32_t));
    if (!bigger.slots)
        return BG_ENOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value)
            *map_find(&bigger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
    free(m->slots);
    *m = bigger;
    return BG_OK;
}

int map_put(struct map *m, struct slice key, void *value)
{
    assert_always(value != NULL);
    if ((m->count + 1) * 4 > m->cap * 3 && map_grow(m) != BG_OK)
        return BG_ENOMEM;
    uint64_t hash = hash_bytes(key.ptr, key.len);
    struct map_slot *s = map_find(m, key, hash);
    if (!s->value)
        m->count++;
    *s = (struct map_slot){key, value, hash};
    return BG_OK;
}

void *map_del(struct map *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    struct map_slot *hole = map_find(m, key, hash_bytes(key.ptr, key.len));
    void *value = hole->value;
    if (!value)
        return NULL;
    /* Entries behind the hole move up into it unless that would put them before their home; so no slot ever needs to
     * be marked as deleted, and a map that lives for months does not slow down. */
    size_t mask = m->cap - 1, at = (size_t)(hole - m->slots);
    for (size_t i = (at + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - at) & mask)) {
            m->slots[at] = m->slots[i];
            at = i;
        }
    }
    m->slots[at] = (struct map_slot){0};
    m->count--;
    return value;
}

void *map_next(const struct map *m, size_t *pos, struct slice *key)
{
    while (*pos < m->cap) {
        struct map_slot *s = &m->slots[(*pos)++];
        if (!s->value)
            continue;
        if (key)
            *key = s->key;
        return s->value;
    }
    return NULL;
}
