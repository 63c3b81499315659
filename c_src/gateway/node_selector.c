/*
 * node_selector.c: see node_selector.h. A mode gives one order of all nodes; then the nodes known to be down go to
 * the end, without changing the order among the others. The first choice is never skipped for load or taste: clients
 * with state rely on hash and sticky choices.
 *
 * Invariants: what is written to order is a part of a permutation of 0..n-1; sticky entries are in the table and in
 * the list, the oldest first, and never more than the bound.
 *
 * It knows nothing of links; one counter serves all functions in turn (E-166), as in the library.
 */
#include "node_selector.h"

#include <stdlib.h>

#include "json.h"
#include "list.h"
#include "map.h"
#include "phash2.h"
#include "transcode.h"

/* Who sticks: hashes of the service, the function and the value (want of E-167: not the value alone). 64 keyed bits
 * each: if two ever met, two clients would share a node. So an entry's size does not depend on what clients send. */
struct sticky_key {
    uint64_t service;
    uint64_t request_type;
    uint64_t value;
    uint64_t kind; /* enum json_kind: 5 and "5" are two */
};

struct sticky {
    struct list by_age;
    struct sticky_key key;
    uint64_t node; /* hash of its name */
    uint64_t created_us;
};

struct node_selector {
    uint64_t (*random)(void *ctx);
    void *random_ctx;
    uint64_t turn;
    struct map sticky;
    struct list by_age;
    size_t sticky_max;
    struct buf scratch;
};

/* One choice under way. */
struct chooser {
    struct node_selector *s;
    const struct fun_config *fc;
    const struct node_choice *c;
    const struct slice *nodes;
    uint32_t n;
    uint16_t order[FUN_CONFIG_LIST_MAX];
};

static uint64_t random_default(void *ctx)
{
    (void)ctx;
    return random_u64();
}

struct node_selector *node_selector_new(void)
{
    struct node_selector *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->random = random_default;
    s->sticky_max = NODE_STICKY_MAX;
    map_init(&s->sticky);
    list_init(&s->by_age);
    buf_init(&s->scratch, 0);
    return s;
}

static void sticky_drop(struct node_selector *s, struct sticky *e)
{
    map_del(&s->sticky, slice_make(&e->key, sizeof(e->key)));
    list_remove(&e->by_age);
    free(e);
}

void node_selector_free(struct node_selector *s)
{
    if (!s)
        return;
    while (!list_empty(&s->by_age))
        sticky_drop(s, container_of(s->by_age.next, struct sticky, by_age));
    map_fini(&s->sticky);
    buf_fini(&s->scratch);
    free(s);
}

void node_selector_set_random(struct node_selector *s, uint64_t (*next)(void *ctx), void *ctx)
{
    s->random = next;
    s->random_ctx = ctx;
}

void node_selector_set_sticky_max(struct node_selector *s, size_t max)
{
    assert_always(max >= 1 && max <= NODE_STICKY_MAX);
    s->sticky_max = max;
}

void node_selector_reset_turn(struct node_selector *s)
{
    s->turn = 0;
}

size_t node_selector_sticky_count(const struct node_selector *s)
{
    return s->sticky.count;
}

bool node_selector_next_sticky(const struct node_selector *s, size_t *pos, struct node_sticky_view *v)
{
    const struct sticky *e = map_next(&s->sticky, pos, NULL);
    if (!e)
        return false;
    *v = (struct node_sticky_view){e->key.service, e->key.request_type, e->key.value, e->node, e->created_us};
    return true;
}

/* n is at most 1024: the bias of the remainder is below 2^-53. */
static uint32_t pick(struct node_selector *s, uint32_t n)
{
    return (uint32_t)(s->random(s->random_ctx) % n);
}

/* ---- orders ---- */

/* As configured: clients of hash and sticky modes rely on the order of the list (E-168). */
static void order_listed(struct chooser *ch)
{
    for (uint32_t i = 0; i < ch->n; i++)
        ch->order[i] = (uint16_t)i;
}

/* E-163: uniform, the rest shuffled. */
static void order_random(struct chooser *ch)
{
    order_listed(ch);
    for (uint32_t i = 0; i + 1 < ch->n; i++) {
        uint32_t j = i + pick(ch->s, ch->n - i);
        uint16_t swap = ch->order[i];
        ch->order[i] = ch->order[j];
        ch->order[j] = swap;
    }
}

/* E-164: the chosen one, then the others as listed. */
static void order_from_choice(struct chooser *ch, uint32_t first)
{
    order_listed(ch);
    memmove(&ch->order[1], &ch->order[0], first * sizeof(ch->order[0]));
    ch->order[0] = (uint16_t)first;
}

/* E-166: each other node has its turn as the first fallback too. */
static void order_rotated(struct chooser *ch, uint32_t first)
{
    for (uint32_t i = 0; i < ch->n; i++)
        ch->order[i] = (uint16_t)((first + i) % ch->n);
}

/* ---- values of the request ---- */

/* null and missing are the same to the library: both read as nil. */
static bool has_value(struct slice raw)
{
    return raw.ptr && json_kind(raw) != JSON_NULL;
}

/* args[name], the first of a repeated key. */
static struct slice arg_value(const struct node_choice *c, struct slice name)
{
    struct json_iter it;
    struct slice key, value;
    if (!c->args.ptr || c->args.len == 0 || json_kind(c->args) != JSON_OBJECT)
        return SLICE_NONE;
    json_iter_init(&it, c->args);
    while (json_iter_next(&it, &key, &value))
        if (json_string_is(key, name))
            return value;
    return SLICE_NONE;
}

/* phash2 of the value as the BEAM would hold it (E-169). What cannot be converted is hashed as its text: any choice
 * will do, if only it is always the same. */
static uint32_t value_hash(struct chooser *ch, struct slice raw)
{
    uint32_t hash;
    struct buf *b = &ch->s->scratch;
    if (json_kind(raw) == JSON_STRING)
        return phash2_binary(json_string_in(raw, &ch->s->scratch));
    buf_shrink(b, JSON_ROOM_KEEP);
    if (json_to_term(raw, b, &json_limits_checked, NULL) == BG_OK && buf_ok(b) &&
        phash2_term(buf_slice(b), &hash) == BG_OK)
        return hash;
    return phash2_binary(raw);
}

/* ---- sticky ---- */

/* A field of the Request struct by its name (E-167); user_id is handled by the caller. */
static struct slice request_field(const struct node_choice *c, struct slice name)
{
    const struct {
        const char *name;
        struct slice value;
    } fields[] = {{"user_id", c->user_id},           {"device_id", c->device_id}, {"request_id", c->request_id},
                  {"request_type", c->request_type}, {"service", c->service},     {"version", c->version}};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (slice_is(name, fields[i].name))
            return fields[i].value;
    return SLICE_NONE;
}

/* False when the request has no value to stick to. */
static bool sticky_key(struct chooser *ch, struct sticky_key *key)
{
    struct slice name = ch->fc->choose_key, raw = arg_value(ch->c, name), text;
    key->kind = JSON_STRING;
    if (!has_value(raw) && slice_is(name, "user_id") && ch->c->session_user.ptr) {
        text = ch->c->session_user;
    } else {
        if (!has_value(raw))
            raw = request_field(ch->c, name);
        if (!has_value(raw))
            return false;
        key->kind = json_kind(raw);
        text = key->kind == JSON_STRING ? json_string_in(raw, &ch->s->scratch) : raw;
    }
    key->service = hash_bytes(ch->fc->service.ptr, ch->fc->service.len);
    key->request_type = hash_bytes(ch->fc->request_type.ptr, ch->fc->request_type.len);
    key->value = hash_bytes(text.ptr, text.len);
    return true;
}

/* Only when there is one. */
static struct sticky *oldest(const struct node_selector *s)
{
    return container_of(s->by_age.next, struct sticky, by_age);
}

/* Since it was made: use does not prolong it (E-167). */
static bool too_old(const struct sticky *e, uint64_t now_us)
{
    return now_us - e->created_us >= (uint64_t)NODE_STICKY_AGE_MS * 1000;
}

/* The listed node that the entry names, or n. */
static uint32_t sticky_index(const struct chooser *ch, const struct sticky *e)
{
    for (uint32_t i = 0; i < ch->n; i++)
        if (hash_bytes(ch->nodes[i].ptr, ch->nodes[i].len) == e->node)
            return i;
    return ch->n;
}

static bool is_up(const struct chooser *ch, uint32_t i)
{
    return !ch->c->node_up || ch->c->node_up(ch->c->ctx, ch->nodes[i]);
}

/* A random node among those that are up, or among all when none is. */
static uint32_t pick_up(struct chooser *ch)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < ch->n; i++)
        if (is_up(ch, i))
            ch->order[up++] = (uint16_t)i;
    return up ? ch->order[pick(ch->s, up)] : pick(ch->s, ch->n);
}

/* Remembers; the oldest entry makes room. Out of memory: this client does not stick. */
static void sticky_store(struct chooser *ch, const struct sticky_key *key, uint32_t node)
{
    struct node_selector *s = ch->s;
    if (s->sticky.count >= s->sticky_max)
        sticky_drop(s, oldest(s));
    /* Each new entry takes up to two dead ones with it, so the table shrinks without a timer. */
    for (int i = 0; i < 2 && s->sticky.count > 0 && too_old(oldest(s), ch->c->now_us); i++)
        sticky_drop(s, oldest(s));
    struct sticky *e = calloc(1, sizeof(*e));
    if (!e)
        return;
    e->key = *key;
    e->node = hash_bytes(ch->nodes[node].ptr, ch->nodes[node].len);
    e->created_us = ch->c->now_us;
    list_init(&e->by_age);
    if (map_put(&s->sticky, slice_make(&e->key, sizeof(e->key)), e) != BG_OK)
        free(e);
    else
        list_append(&s->by_age, &e->by_age);
}

static void order_sticky(struct chooser *ch)
{
    struct sticky_key key;
    if (!sticky_key(ch, &key)) {
        order_random(ch);
        return;
    }
    struct sticky *e = map_get(&ch->s->sticky, slice_make(&key, sizeof(key)));
    uint32_t at = e && !too_old(e, ch->c->now_us) ? sticky_index(ch, e) : ch->n;
    if (at == ch->n) {
        if (e)
            sticky_drop(ch->s, e);
        at = pick_up(ch);
        sticky_store(ch, &key, at);
    }
    /* Rotated, so that the clients of a node that goes down spread over the others and each still has its own. */
    order_rotated(ch, at);
}

size_t node_selector_cleanup(struct node_selector *s, uint64_t now_us)
{
    size_t before = s->sticky.count;
    while (!list_empty(&s->by_age)) {
        if (!too_old(oldest(s), now_us))
            break;
        sticky_drop(s, oldest(s));
    }
    return before - s->sticky.count;
}

/* ---- the choice ---- */

/* E-164, E-165. */
static void order_hash(struct chooser *ch, struct slice raw)
{
    if (has_value(raw))
        order_from_choice(ch, value_hash(ch, raw) % ch->n);
    else
        order_random(ch); /* E-165 */
}

static void order_by_mode(struct chooser *ch)
{
    switch (ch->fc->choose_node_mode) {
    case CHOOSE_RANDOM:
        order_random(ch);
        break;
    case CHOOSE_HASH:
        order_hash(ch, ch->c->request_id);
        break;
    case CHOOSE_HASH_KEY:
        order_hash(ch, arg_value(ch->c, ch->fc->choose_key));
        break;
    case CHOOSE_ROUND_ROBIN:
        order_rotated(ch, (uint32_t)(ch->s->turn++ % ch->n));
        break;
    case CHOOSE_STICKY:
        order_sticky(ch);
        break;
    }
}

/* Copies the order with the nodes that are down after the others. */
static uint32_t write_up_first(const struct chooser *ch, uint16_t *order, uint32_t max)
{
    bool down[FUN_CONFIG_LIST_MAX];
    uint32_t written = 0;
    for (uint32_t i = 0; i < ch->n; i++) {
        down[i] = !is_up(ch, ch->order[i]);
        if (!down[i] && written < max)
            order[written++] = ch->order[i];
    }
    for (uint32_t i = 0; i < ch->n && written < max; i++)
        if (down[i])
            order[written++] = ch->order[i];
    return written;
}

uint32_t node_selector_choose(struct node_selector *s, const struct fun_config *fc, const struct node_choice *choice,
                              uint16_t *order, uint32_t max)
{
    struct chooser ch;
    ch.s = s;
    ch.fc = fc;
    ch.c = choice;
    ch.nodes = choice->nodes ? choice->nodes : fc->nodes;
    ch.n = choice->nodes ? choice->nodes_count : fc->nodes_count;
    if (ch.n > FUN_CONFIG_LIST_MAX)
        ch.n = FUN_CONFIG_LIST_MAX;
    if (ch.n == 0 || max == 0)
        return 0;
    if (ch.n == 1) { /* E-166: does not count */
        order[0] = 0;
        return 1;
    }
    order_by_mode(&ch);
    return write_up_first(&ch, order, max);
}
