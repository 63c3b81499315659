/*
 * rate_limiter.c: counters, one for each value that a limit has seen, and the check of a request against them.
 * See rate_limiter.h for the rules, rate_limits.c for the lists of limits.
 *
 * A counter is a ring of times, oldest first, of at most max_requests. Its first two times lie in the counter itself,
 * which is all that a flood of distinct values ever needs; a ring grows by doubling. Times are the low 32 bits of
 * milliseconds: their distance to the newest, which is kept whole, tells the rest.
 *
 * Invariants: bytes never exceeds max_bytes, whatever clients send. A request is counted in every limit or in none:
 * room is made for all before the first is counted. The table of counters is allocated once, so no request ever waits
 * for it to grow; a request whose values are known allocates nothing unless a ring doubles.
 *
 * It neither logs nor knows what a refusal looks like (request.c), nor when to clean up (the server's timer).
 */
#include "rate_limiter_internal.h"

#include <stdlib.h>

#include "json.h"
#include "map.h"

enum {
    TIMES_INSIDE = 2,
    BYTES_PER_BUCKET = 128,
    CHANCES = 64,       /* values that are spared in the search for one to forget */
    VALUE_MAX = 1 << 30 /* bytes of a value: what len can say */
};

struct counter {
    struct counter *next; /* in its bucket */
    struct list in_limit;
    struct limit *limit;
    uint64_t newest_ms;
    union {
        uint32_t few[TIMES_INSIDE]; /* while cap is TIMES_INSIDE */
        uint32_t *many;
    } times;
    uint32_t hash;
    uint32_t serial; /* of the check that holds it */
    uint32_t cap;
    uint32_t first;
    uint32_t count;
    uint32_t fresh : 1;   /* not counted yet: stands in front, where expired ones are */
    uint32_t touched : 1; /* counted since it was given its place in the list */
    uint32_t len : 30;
    char value[];
};

/* One request on its way through the limits. */
struct pass {
    const struct rate_subject *subject; /* NULL: value is given */
    struct slice value;
    struct rate_result *res;
    size_t hits;
    struct slice hashed; /* the value of the subject's own that was hashed last */
    uint64_t hash;
};

/* -- times ----------------------------------------------------------------------------------------------- */

static uint32_t *times_of(struct counter *c)
{
    return c->cap > TIMES_INSIDE ? c->times.many : c->times.few;
}

static uint32_t place(const struct counter *c, uint32_t i)
{
    uint32_t at = c->first + i;
    return at < c->cap ? at : at - c->cap;
}

/* Milliseconds since call i, counted from the oldest. */
static uint64_t age_ms(const struct rate_limiter *rl, struct counter *c, uint32_t i)
{
    return rl->now_ms - c->newest_ms + (uint32_t)((uint32_t)c->newest_ms - times_of(c)[place(c, i)]);
}

static bool is_expired(const struct rate_limiter *rl, const struct counter *c)
{
    return c->count == 0 || rl->now_ms - c->newest_ms >= c->limit->set.window_ms;
}

/* E-073: a call at t is over when t <= now - window. */
static void drop_expired(const struct rate_limiter *rl, struct counter *c)
{
    if (is_expired(rl, c))
        c->count = 0;
    while (c->count > 0 && age_ms(rl, c, 0) >= c->limit->set.window_ms) {
        c->first = place(c, 1);
        c->count--;
    }
}

/* To the end of those that are counted least lately first. */
static void requeue(struct counter *c)
{
    c->fresh = c->touched = 0;
    list_remove(&c->in_limit);
    list_append(&c->limit->counters, &c->in_limit);
}

static void record(struct rate_limiter *rl, struct counter *c)
{
    assert_always(c->count < c->cap);
    times_of(c)[place(c, c->count++)] = (uint32_t)rl->now_ms;
    c->newest_ms = rl->now_ms;
    if (c->fresh)
        requeue(c);
    else
        c->touched = 1; /* its neighbours in the list are not fetched for this: whoever looks for old ones moves it */
}

/* When the next request would pass: when the oldest call is over, or later when max_requests has been lowered since. */
static uint64_t retry_after_ms(const struct rate_limiter *rl, struct counter *c, const struct rate_limit *l)
{
    if (!c || l->max_requests == 0)
        return l->window_ms;
    return l->window_ms - age_ms(rl, c, c->count - l->max_requests);
}

/* -- counters and their memory --------------------------------------------------------------------------- */

/* What malloc really takes for n bytes (glibc: a word before them, in steps of 16). */
static size_t chunk(size_t n)
{
    size_t whole = (n + sizeof(size_t) + 15) & ~(size_t)15;
    return whole < 32 ? 32 : whole;
}

static size_t ring_bytes(uint32_t cap)
{
    return cap > TIMES_INSIDE ? chunk(cap * sizeof(uint32_t)) : 0;
}

static size_t counter_bytes(size_t value_len)
{
    return chunk(sizeof(struct counter) + value_len);
}

/* From the hash of a value that of a limit's counter for it. */
static uint32_t hash_in(const struct limit *l, uint64_t hash)
{
    uint64_t h = hash + l->id * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return (uint32_t)(h ^ h >> 32);
}

static uint32_t hash_value(const struct limit *l, struct slice value)
{
    return hash_in(l, hash_bytes(value.ptr, value.len));
}

static struct counter *find(const struct rate_limiter *rl, const struct limit *l, struct slice value, uint32_t hash)
{
    struct counter *c = rl->bucket[hash & rl->mask];
    while (c && (c->hash != hash || c->limit != l || !slice_eq(slice_make(c->value, c->len), value)))
        c = c->next;
    return c;
}

static void account(struct rate_limiter *rl, struct limit *l, size_t more, size_t less)
{
    rl->bytes += more - less;
    l->bytes += more - less;
}

void rate_counter_free(struct rate_limiter *rl, struct counter *c)
{
    struct counter **at = &rl->bucket[c->hash & rl->mask];
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    list_remove(&c->in_limit);
    c->limit->count--;
    account(rl, c->limit, 0, counter_bytes(c->len) + ring_bytes(c->cap));
    metric_dec(rl->o.metrics, METRIC_RATE_LIMIT_VALUES);
    if (c->cap > TIMES_INSIDE)
        free(c->times.many);
    free(c);
}

static struct counter *oldest(const struct limit *l)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not see that a freed counter has left the list */
    return list_empty(&l->counters) ? NULL : container_of(l->counters.next, struct counter, in_limit);
}

bool rate_counters_free(struct rate_limiter *rl, struct limit *limit, unsigned *max)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): nor that a freed limit has */
    for (; *max > 0 && limit->count > 0; --*max)
        rate_counter_free(rl, oldest(limit));
    return limit->count == 0;
}

static struct counter *first_free(const struct rate_limiter *rl, const struct limit *l)
{
    for (struct list *it = l->counters.next; it != &l->counters; it = it->next) {
        struct counter *c = container_of(it, struct counter, in_limit);
        if (c->serial != rl->serial)
            return c;
    }
    return NULL;
}

/* The limit's counter to give up first: about the one counted longest ago, as the list is put in order only here and in
 * the cleanup. Those that the check at hand holds are left out. */
static struct counter *oldest_free(const struct rate_limiter *rl, const struct limit *l)
{
    struct counter *c;
    for (unsigned i = 0; (c = first_free(rl, l)) != NULL && c->touched && !is_expired(rl, c) && i < CHANCES; i++)
        requeue(c);
    return c;
}

/* Whose loss costs least: one of a removed limit, an expired one, else (fail_open) the oldest of the limit that holds
 * most: so a flood of values of one limit drives out its own kind. */
static struct counter *choose_victim(const struct rate_limiter *rl)
{
    struct counter *victim = NULL;
    size_t most = 0;
    if (!list_empty(&rl->dead))
        return oldest(container_of(rl->dead.next, struct limit, in_dead));
    for (size_t i = 0; i < rl->global.count + rl->api.count; i++) {
        const struct limit *l = rate_limit_at(rl, i);
        struct counter *c = l->count ? oldest_free(rl, l) : NULL;
        if (c && is_expired(rl, c))
            return c;
        if (c && rl->o.fail_open && l->bytes > most) {
            victim = c;
            most = l->bytes;
        }
    }
    return victim;
}

static void free_dead(struct rate_limiter *rl, unsigned *max)
{
    while (*max > 0 && !list_empty(&rl->dead)) {
        struct limit *l = container_of(rl->dead.next, struct limit, in_dead);
        if (!rate_counters_free(rl, l, max))
            return;
        list_remove(&l->in_dead);
        free(l);
    }
}

static bool evict_one(struct rate_limiter *rl)
{
    struct counter *c = choose_victim(rl);
    unsigned one = 1;
    if (!c)
        return false;
    if (list_linked(&c->limit->in_dead)) {
        free_dead(rl, &one);
        return true;
    }
    if (!is_expired(rl, c))
        metric_inc(rl->o.metrics, METRIC_RATE_LIMIT_EVICTED);
    rate_counter_free(rl, c);
    return true;
}

static bool make_room(struct rate_limiter *rl, size_t bytes)
{
    if (bytes > rl->o.max_bytes)
        return false;
    while (rl->bytes + bytes > rl->o.max_bytes)
        if (!evict_one(rl))
            return false;
    return true;
}

/* Not counted yet, so it goes where expired ones are. */
static struct counter *counter_new(struct rate_limiter *rl, struct limit *l, struct slice value, uint32_t hash)
{
    size_t bytes = counter_bytes(value.len);
    if (value.len >= VALUE_MAX)
        return NULL;
    struct counter *c = make_room(rl, bytes) ? malloc(sizeof(*c) + value.len) : NULL;
    if (!c)
        return NULL;
    struct counter **bucket = &rl->bucket[hash & rl->mask];
    *c = (struct counter){.next = *bucket, .limit = l, .hash = hash, .cap = TIMES_INSIDE, .fresh = 1};
    c->len = (uint32_t)value.len & (VALUE_MAX - 1);
    memcpy(c->value, value.ptr, value.len);
    *bucket = c;
    list_append(l->counters.next, &c->in_limit);
    l->count++;
    account(rl, l, bytes, 0);
    metric_inc(rl->o.metrics, METRIC_RATE_LIMIT_VALUES);
    return c;
}

static bool ring_grow(struct rate_limiter *rl, struct counter *c)
{
    uint32_t max = c->limit->set.max_requests, cap = c->cap > max / 2 ? max : c->cap * 2;
    size_t before = ring_bytes(c->cap), after = ring_bytes(cap);
    uint32_t *ring = make_room(rl, after) ? malloc(cap * sizeof(*ring)) : NULL;
    if (!ring)
        return false;
    for (uint32_t i = 0; i < c->count; i++)
        ring[i] = times_of(c)[place(c, i)];
    if (c->cap > TIMES_INSIDE)
        free(c->times.many);
    c->times.many = ring;
    c->cap = cap;
    c->first = 0;
    account(rl, c->limit, after, before);
    return true;
}

/* -- the check ------------------------------------------------------------------------------------------- */

/* The text of a raw string; escapes are resolved, so that no spelling of a value counts apart. */
static struct slice raw_text(struct rate_limiter *rl, struct slice raw)
{
    if (json_kind(raw) != JSON_STRING)
        return SLICE_NONE;
    struct slice text = json_string_in(raw, &rl->text);
    return text.len > 0 || raw.len == 2 ? text : raw; /* without memory one spelling counts for itself */
}

/* The first of that name, as the JSON decoders of the library choose (E-234). */
static struct slice argument(struct rate_limiter *rl, struct slice args, struct slice name)
{
    struct json_iter it;
    struct slice key, value;
    if (!args.ptr || json_kind(args) != JSON_OBJECT)
        return SLICE_NONE;
    json_iter_init(&it, args);
    while (json_iter_next(&it, &key, &value))
        if (json_string_is(key, name))
            return raw_text(rl, value);
    return SLICE_NONE;
}

/* E-071. Valid until the next call. */
static struct slice value_of(struct rate_limiter *rl, const struct pass *p, const struct rate_key *key)
{
    if (!p->subject)
        return p->value;
    switch (key->kind) {
    case RATE_KEY_USER_ID:
        return p->subject->user_id;
    case RATE_KEY_IP_ADDRESS:
        return p->subject->ip_address;
    case RATE_KEY_DEVICE_ID:
        return raw_text(rl, p->subject->device_id);
    case RATE_KEY_ARG:
        return argument(rl, p->subject->args, key->name);
    case RATE_KEY_NEVER:
        break;
    }
    return SLICE_NONE;
}

/* An exhausted limit. True when the request may go on all the same. */
static bool on_exhausted(const struct rate_limiter *rl, struct limit *l, struct counter *c, struct rate_result *res)
{
    struct rate_finding f = {&l->set, c ? c->count : 0, retry_after_ms(rl, c, &l->set)};
    l->refused++;
    if (!l->set.dry_run)
        res->refused = f;
    else if (res->dry_count++ == 0)
        res->dry = f;
    return l->set.dry_run;
}

/* With a million values each step of a search is a line from memory: the searches of all limits of a request are begun
 * before the first is waited for. Only for keys whose value costs nothing to find. */
static void look_ahead(struct rate_limiter *rl, struct limit *const *at, size_t count, struct pass *p)
{
    for (size_t i = 0; i < count; i++) {
        enum rate_key_kind kind = at[i]->set.key.kind;
        if (kind != RATE_KEY_USER_ID && kind != RATE_KEY_IP_ADDRESS)
            continue;
        struct slice value = kind == RATE_KEY_USER_ID ? p->subject->user_id : p->subject->ip_address;
        if (value.ptr != p->hashed.ptr || value.len != p->hashed.len) { /* most limits are by user */
            p->hashed = value;
            p->hash = hash_bytes(value.ptr, value.len);
        }
        at[i]->ahead_hash = hash_in(at[i], p->hash);
        at[i]->ahead_serial = rl->serial;
        __builtin_prefetch(&rl->bucket[at[i]->ahead_hash & rl->mask]);
    }
}

static void fetch_ahead(const struct rate_limiter *rl, struct limit *const *at, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (at[i]->ahead_serial != rl->serial)
            continue;
        const char *c = (const char *)rl->bucket[at[i]->ahead_hash & rl->mask];
        if (!c)
            continue;
        __builtin_prefetch(c);
        __builtin_prefetch(c + 64);
    }
}

/* False when this limit refuses. */
static bool look_at(struct rate_limiter *rl, struct limit *l, struct pass *p)
{
    struct slice value = value_of(rl, p, &l->set.key);
    if (value.len == 0)
        return true;
    uint32_t hash = l->ahead_serial == rl->serial ? l->ahead_hash : hash_value(l, value);
    struct counter *c = find(rl, l, value, hash);
    if (c)
        drop_expired(rl, c);
    if ((c ? c->count : 0) >= l->set.max_requests)
        return on_exhausted(rl, l, c, p->res);
    if (c)
        c->serial = rl->serial;
    rl->hits[p->hits++] = (struct hit){l, c, hash};
    return true;
}

/* Sees to it that the hit can be counted. */
static bool prepare(struct rate_limiter *rl, struct hit *h, const struct pass *p)
{
    if (!h->counter) {
        struct slice value = value_of(rl, p, &h->limit->set.key);
        h->counter = counter_new(rl, h->limit, value, h->hash);
        if (h->counter)
            h->counter->serial = rl->serial;
    } else if (h->counter->count == h->counter->cap && !ring_grow(rl, h->counter)) {
        h->counter = NULL;
    }
    if (!h->counter)
        metric_inc(rl->o.metrics, METRIC_RATE_LIMIT_FAILURES);
    return h->counter != NULL;
}

/* Every limit let it pass. */
static enum rate_verdict count_hits(struct rate_limiter *rl, const struct pass *p)
{
    for (size_t i = 0; i < p->hits; i++)
        if (!prepare(rl, &rl->hits[i], p) && !rl->o.fail_open && !rl->hits[i].limit->set.dry_run)
            return RATE_UNAVAILABLE;
    for (size_t i = 0; i < p->hits; i++)
        if (rl->hits[i].counter)
            record(rl, rl->hits[i].counter);
    return RATE_ALLOWED;
}

static bool look_at_all(struct rate_limiter *rl, struct limit *const *at, size_t count, struct pass *p)
{
    for (size_t i = 0; i < count; i++)
        if (!look_at(rl, at[i], p))
            return false;
    return true;
}

/* The clock never goes back here, whatever the caller's does. */
static void begin(struct rate_limiter *rl, uint64_t now_us)
{
    uint64_t now_ms = now_us / 1000;
    if (now_ms > rl->now_ms)
        rl->now_ms = now_ms;
    if (++rl->serial == 0)
        rl->serial = 1; /* 0 is what has never been checked */
}

bool rate_limiter_is_idle(const struct rate_limiter *rl)
{
    return rl->global.count + rl->api.count == 0;
}

enum rate_verdict rate_limiter_check(struct rate_limiter *rl, uint64_t now_us, const struct rate_subject *s,
                                     struct rate_result *res)
{
    struct pass p = {.subject = s, .res = res};
    size_t count = 0;
    *res = (struct rate_result){0};
    if (rate_limiter_is_idle(rl))
        return RATE_ALLOWED;
    begin(rl, now_us);
    struct limit *const *own = rate_limits_of(rl, &s->function, &count);
    if (rl->global.count + count > 1) {
        look_ahead(rl, rl->global.at, rl->global.count, &p);
        look_ahead(rl, own, count, &p);
        fetch_ahead(rl, rl->global.at, rl->global.count);
        fetch_ahead(rl, own, count);
    }
    if (!look_at_all(rl, rl->global.at, rl->global.count, &p) || !look_at_all(rl, own, count, &p))
        return RATE_LIMITED;
    return count_hits(rl, &p);
}

/* -- one value, by name ---------------------------------------------------------------------------------- */

enum rate_verdict rate_limiter_check_value(struct rate_limiter *rl, uint64_t now_us, struct rate_scope scope,
                                           struct rate_key key, struct slice value, struct rate_result *res)
{
    struct pass p = {.value = value, .res = res};
    struct limit *l;
    *res = (struct rate_result){0};
    begin(rl, now_us);
    for (size_t pos = 0; (l = rate_limit_next_of(rl, scope, key, &pos)) != NULL;)
        if (!look_at(rl, l, &p))
            return RATE_LIMITED;
    return count_hits(rl, &p);
}

bool rate_limiter_next_status(struct rate_limiter *rl, uint64_t now_us, struct rate_scope scope, struct rate_key key,
                              struct slice value, size_t *pos, struct rate_status *st)
{
    struct limit *l = rate_limit_next_of(rl, scope, key, pos);
    if (!l)
        return false;
    begin(rl, now_us);
    struct counter *c = find(rl, l, value, hash_value(l, value));
    if (c)
        drop_expired(rl, c);
    uint32_t current = c ? c->count : 0, max = l->set.max_requests;
    *st = (struct rate_status){&l->set, current, current < max ? max - current : 0};
    return true;
}

void rate_limiter_reset(struct rate_limiter *rl, struct rate_scope scope, struct rate_key key, struct slice value)
{
    struct limit *l;
    for (size_t pos = 0; (l = rate_limit_next_of(rl, scope, key, &pos)) != NULL;) {
        struct counter *c = find(rl, l, value, hash_value(l, value));
        if (c)
            rate_counter_free(rl, c);
    }
}

void rate_limiter_clear(struct rate_limiter *rl)
{
    struct limit *l;
    unsigned all = UINT32_MAX;
    for (size_t i = 0; (l = rate_limit_at(rl, i)) != NULL; i++)
        rate_counters_free(rl, l, &all);
    free_dead(rl, &all);
}

/* -- upkeep ---------------------------------------------------------------------------------------------- */

bool rate_limiter_cleanup(struct rate_limiter *rl, uint64_t now_us, unsigned max)
{
    struct limit *l;
    struct counter *c;
    begin(rl, now_us);
    free_dead(rl, &max);
    for (size_t i = 0; max > 0 && (l = rate_limit_at(rl, i)) != NULL; i++)
        for (; max > 0 && (c = oldest(l)) != NULL && (c->touched || is_expired(rl, c)); max--)
            is_expired(rl, c) ? rate_counter_free(rl, c) : requeue(c);
    return max == 0;
}

size_t rate_limiter_bytes(const struct rate_limiter *rl)
{
    return rl->bytes;
}

/* How many of the counter's calls are in the window; the times are in order. */
static uint32_t count_in_window(const struct rate_limiter *rl, struct counter *c, uint64_t later_ms)
{
    uint32_t low = 0, high = c->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (age_ms(rl, c, mid) + later_ms >= c->limit->set.window_ms)
            low = mid + 1;
        else
            high = mid;
    }
    return c->count - low;
}

/* *pos: the bucket, and in the low half how many of its chain have been seen. */
bool rate_limiter_next_value(const struct rate_limiter *rl, uint64_t now_us, uint64_t *pos, struct rate_value_view *v)
{
    uint64_t now_ms = now_us / 1000, later_ms = now_ms > rl->now_ms ? now_ms - rl->now_ms : 0;
    for (uint64_t b = *pos >> 32; b <= rl->mask; *pos = ++b << 32) {
        struct counter *c = rl->bucket[b];
        for (uint32_t seen = (uint32_t)*pos; c && seen; seen--)
            c = c->next;
        for (; c; c = c->next) {
            ++*pos;
            if (list_linked(&c->limit->in_dead))
                continue; /* forgotten, its memory not yet given back */
            *v = (struct rate_value_view){.limit = &c->limit->set,
                                          .value = slice_make(c->value, c->len),
                                          .requests = count_in_window(rl, c, later_ms),
                                          .age_ms = rl->now_ms - c->newest_ms + later_ms};
            return true;
        }
    }
    return false;
}

size_t rate_limiter_values(const struct rate_limiter *rl)
{
    size_t n = 0;
    const struct limit *l;
    for (size_t i = 0; (l = rate_limit_at(rl, i)) != NULL; i++)
        n += l->count;
    return n;
}

/* -- life ------------------------------------------------------------------------------------------------ */

struct rate_limiter *rate_limiter_new(const struct rate_limiter_options *o)
{
    struct rate_limiter *rl = calloc(1, sizeof(*rl));
    uint32_t buckets = 1;
    assert_always(o->max_bytes >= RATE_BYTES_MIN);
    while (buckets < UINT32_MAX / 2 && (size_t)buckets * 2 <= o->max_bytes / BYTES_PER_BUCKET)
        buckets *= 2;
    if (!rl || !(rl->bucket = calloc(buckets, sizeof(struct counter *)))) { /* pages that are not used cost nothing */
        free(rl);
        return NULL;
    }
    rl->o = *o;
    rl->mask = buckets - 1;
    rl->bytes = chunk(buckets * sizeof(struct counter *));
    list_init(&rl->dead);
    buf_init(&rl->text, 0);
    return rl;
}

void rate_limiter_free(struct rate_limiter *rl)
{
    if (!rl)
        return;
    rate_limits_free(rl);
    buf_fini(&rl->text);
    free(rl->bucket);
    free(rl);
}
