/*
 * breaker.c: see breaker.h. A breaker exists only while it has counted a failure, so the usual case costs a look at
 * an empty map. How many there may be is bounded; beyond that failures are not counted and nothing is passed over.
 */
#include "breaker.h"

#include <stdlib.h>

#include "buf.h"
#include "map.h"

enum { BREAKERS_MAX = 10000, KEY_MAX = 1024 };

struct breaker {
    enum breaker_state state;
    uint32_t failures;
    uint64_t open_until_us;
    handle_t trier; /* BREAKER_TRYING: whose call is the test */
    size_t service_len;
    size_t len;
    char key[]; /* service, then node */
};

struct breakers {
    struct map map;
    uint32_t threshold;
    uint64_t cooldown_us;
    uint32_t open; /* not closed */
};

struct breakers *breakers_new(uint32_t threshold, uint64_t cooldown_us)
{
    struct breakers *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    map_init(&b->map);
    b->threshold = threshold;
    b->cooldown_us = cooldown_us;
    return b;
}

void breakers_free(struct breakers *b)
{
    if (!b)
        return;
    void *breaker;
    for (size_t pos = 0; (breaker = map_next(&b->map, &pos, NULL)) != NULL;)
        free(breaker);
    map_fini(&b->map);
    free(b);
}

/* Length-prefixed, so that no two pairs share a key. False when the names are too long for one. */
static bool make_key(struct slice service, struct slice node, char key[KEY_MAX], size_t *len)
{
    if (service.len + node.len + sizeof(uint32_t) > KEY_MAX)
        return false;
    put_be32((uint8_t *)key, (uint32_t)service.len);
    memcpy(key + 4, service.ptr, service.len);
    memcpy(key + 4 + service.len, node.ptr, node.len);
    *len = 4 + service.len + node.len;
    return true;
}

static struct breaker *find(const struct breakers *b, struct slice service, struct slice node)
{
    char key[KEY_MAX];
    size_t len;
    if (b->map.count == 0 || !make_key(service, node, key, &len))
        return NULL;
    return map_get(&b->map, slice_make(key, len));
}

static struct breaker *create(struct breakers *b, struct slice service, struct slice node)
{
    char key[KEY_MAX];
    size_t len;
    if (b->map.count >= BREAKERS_MAX || !make_key(service, node, key, &len))
        return NULL;
    struct breaker *k = calloc(1, sizeof(*k) + len);
    if (!k)
        return NULL;
    k->service_len = service.len;
    k->len = len;
    memcpy(k->key, key, len);
    if (map_put(&b->map, slice_make(k->key, len), k) != BG_OK) {
        free(k);
        return NULL;
    }
    return k;
}

/* After the cooldown exactly one caller gets true: its call is the test. Until that has ended the others get false. */
bool breaker_allows(struct breakers *b, struct slice service, struct slice node, handle_t caller, uint64_t now_us)
{
    struct breaker *k = find(b, service, node);
    if (!k || k->state == BREAKER_CLOSED)
        return true;
    if (k->state == BREAKER_TRYING || now_us < k->open_until_us)
        return false;
    k->state = BREAKER_TRYING;
    k->trier = caller;
    return true;
}

/* Closed means forgotten: whoever was answered, the node answers. */
bool breaker_succeeded(struct breakers *b, struct slice service, struct slice node)
{
    struct breaker *k = find(b, service, node);
    if (!k)
        return false;
    bool closed = k->state != BREAKER_CLOSED;
    b->open -= closed;
    free(map_del(&b->map, slice_make(k->key, k->len)));
    return closed;
}

/* Once it is open, only who tries has a say: all other calls were sent before. */
bool breaker_failed(struct breakers *b, struct slice service, struct slice node, handle_t caller, uint64_t now_us)
{
    struct breaker *k = b->threshold ? find(b, service, node) : NULL;
    if (b->threshold && !k)
        k = create(b, service, node);
    if (!k)
        return false;
    bool opened = k->state == BREAKER_CLOSED;
    k->failures++;
    if (opened ? k->failures < b->threshold : k->state == BREAKER_OPEN || k->trier != caller)
        return false;
    b->open += opened;
    k->state = BREAKER_OPEN;
    k->open_until_us = now_us + b->cooldown_us;
    return opened;
}

/* The test was called off (its client left): the next caller may be the test. */
void breaker_forgotten(struct breakers *b, struct slice service, struct slice node, handle_t caller)
{
    struct breaker *k = find(b, service, node);
    if (k && k->state == BREAKER_TRYING && k->trier == caller)
        k->state = BREAKER_OPEN;
}

uint32_t breakers_open(const struct breakers *b)
{
    return b->open;
}

bool breakers_next(const struct breakers *b, size_t *pos, struct breaker_info *info)
{
    const struct breaker *k = map_next(&b->map, pos, NULL);
    if (!k)
        return false;
    *info = (struct breaker_info){
        .service = slice_make(k->key + 4, k->service_len),
        .node = slice_make(k->key + 4 + k->service_len, k->len - 4 - k->service_len),
        .state = k->state,
        .failures = k->failures,
        .open_until_us = k->open_until_us,
    };
    return true;
}
