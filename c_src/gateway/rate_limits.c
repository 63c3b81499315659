/*
 * rate_limits.c: the two lists of limits (E-070) and their changes at run time (E-081).
 *
 * A list is replaced as a whole: everything that can fail is done before anything changes. A limit that stays
 * (same scope, key and window) keeps its object, and with it what it has counted. One that goes leaves its counters,
 * which may be a million, to rate_limiter_cleanup(), so that no change holds the loop up.
 *
 * It does not count and does not decide: see rate_limiter.c.
 */
#include "rate_limiter_internal.h"

#include <stdlib.h>

/* -- keys ------------------------------------------------------------------------------------------------ */

static const char *const key_words[] = {
    [RATE_KEY_USER_ID] = "user_id",
    [RATE_KEY_DEVICE_ID] = "device_id",
    [RATE_KEY_IP_ADDRESS] = "ip_address",
    [RATE_KEY_ARG] = "args.",
    [RATE_KEY_NEVER] = "",
};

static bool has_name(const struct rate_key *key)
{
    return key->kind == RATE_KEY_ARG || key->kind == RATE_KEY_NEVER;
}

int rate_key_parse(struct slice text, struct rate_key *key)
{
    size_t prefix = strlen(key_words[RATE_KEY_ARG]);
    *key = (struct rate_key){RATE_KEY_ARG, SLICE_NONE};
    for (unsigned kind = 0; kind < RATE_KEY_ARG; kind++)
        if (slice_is(text, key_words[kind])) {
            key->kind = kind;
            return BG_OK;
        }
    if (text.len <= prefix || text.len > prefix + RATE_TEXT_MAX ||
        memcmp(text.ptr, key_words[RATE_KEY_ARG], prefix) != 0)
        return BG_EINVAL;
    key->name = slice_make(text.ptr + prefix, text.len - prefix);
    return BG_OK;
}

void rate_key_print(const struct rate_key *key, char *dst, size_t size)
{
    size_t n = strlen(slice_cstr(slice_str(key_words[key->kind]), dst, size));
    if (has_name(key))
        slice_cstr(key->name, dst + n, size - n);
}

/* -- one limit ------------------------------------------------------------------------------------------- */

static bool same_key(const struct rate_key *a, const struct rate_key *b)
{
    return a->kind == b->kind && (!has_name(a) || slice_eq(a->name, b->name));
}

static int compare_text(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return a.len ? memcmp(a.ptr, b.ptr, a.len) : 0;
}

/* Any order will do as long as equal scopes are neighbours. */
static int compare_scope(const struct rate_scope *a, const struct rate_scope *b)
{
    int c = compare_text(a->request_type, b->request_type);
    return c ? c : compare_text(a->service, b->service);
}

static bool same_limit(const struct rate_limit *a, const struct rate_limit *b)
{
    return a->window_ms == b->window_ms && same_key(&a->key, &b->key) && compare_scope(&a->scope, &b->scope) == 0;
}

static bool text_ok(struct slice text)
{
    return text.len > 0 && text.len <= RATE_TEXT_MAX;
}

static int check_limit(const struct rate_limit *l, bool global, size_t i, struct err *e)
{
    if (l->max_requests > RATE_REQUESTS_MAX)
        return err_set(e, BG_EINVAL, i, "max_requests %u is above %u", l->max_requests, RATE_REQUESTS_MAX);
    if (l->window_ms == 0 || l->window_ms > RATE_WINDOW_MAX_MS)
        return err_set(e, BG_EINVAL, i, "window_ms %u is not 1 to %u", l->window_ms, RATE_WINDOW_MAX_MS);
    if (has_name(&l->key) && !text_ok(l->key.name))
        return err_set(e, BG_EINVAL, i, "the key's name must have 1 to %d bytes", RATE_TEXT_MAX);
    if (!global && (!text_ok(l->scope.service) || !text_ok(l->scope.request_type)))
        return err_set(e, BG_EINVAL, i, "service and request_type must have 1 to %d bytes", RATE_TEXT_MAX);
    return BG_OK;
}

static struct limit *limit_new(struct rate_limiter *rl, const struct rate_limit *from, bool global, size_t position)
{
    struct rate_limit set = *from;
    if (global)
        set.scope = RATE_GLOBAL;
    if (!has_name(&set.key))
        set.key.name = SLICE_NONE;
    struct limit *l = calloc(1, sizeof(*l) + set.scope.service.len + set.scope.request_type.len + set.key.name.len);
    if (!l)
        return NULL;
    char *to = l->text;
    l->set = set;
    l->set.scope.service = slice_keep(&to, set.scope.service);
    l->set.scope.request_type = slice_keep(&to, set.scope.request_type);
    l->set.key.name = slice_keep(&to, set.key.name);
    l->position = (uint32_t)position;
    l->id = ++rl->last_id;
    list_init(&l->counters);
    list_init(&l->in_dead);
    return l;
}

static void limit_retire(struct rate_limiter *rl, struct limit *l)
{
    if (l->count == 0)
        free(l);
    else
        list_append(&rl->dead, &l->in_dead);
}

/* -- a list ---------------------------------------------------------------------------------------------- */

/* A list that is to come into force, with all the memory that this takes. */
struct change {
    struct limit_list list;
    struct limit **by_scope; /* NULL for the global list */
    struct hit *hits;
};

static void change_drop(struct change *ch)
{
    for (size_t i = 0; ch->list.at && i < ch->list.count; i++)
        free(ch->list.at[i]);
    free(ch->list.at);
    free(ch->by_scope);
    free(ch->hits);
}

static int change_prepare(struct rate_limiter *rl, bool global, const struct rate_limit *wanted, size_t count,
                          struct change *ch)
{
    size_t others = global ? rl->api.count : rl->global.count;
    ch->list.count = count;
    ch->list.at = calloc(count + 1, sizeof(struct limit *)); /* + 1: never of size 0, whose NULL would mean failure */
    ch->hits = calloc(count + others + 1, sizeof(*ch->hits));
    ch->by_scope = global ? NULL : calloc(count + 1, sizeof(struct limit *));
    if (!ch->list.at || !ch->hits || (!global && !ch->by_scope))
        return BG_ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (!(ch->list.at[i] = limit_new(rl, &wanted[i], global, i)))
            return BG_ENOMEM;
    return BG_OK;
}

/* Takes the limit that is the same off the old list, or gives NULL. The search goes on where the last one ended, since
 * lists mostly keep their order. */
static struct limit *take_same(struct limit_list *old, const struct rate_limit *wanted, size_t *from)
{
    for (size_t n = 0; n < old->count; n++) {
        size_t i = (*from + n) % old->count;
        struct limit *l = old->at[i];
        if (!l || !same_limit(&l->set, wanted))
            continue;
        old->at[i] = NULL;
        *from = i + 1;
        return l;
    }
    return NULL;
}

static void keep_known(struct limit_list *old, struct limit_list *list)
{
    size_t from = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct limit *fresh = list->at[i], *known = take_same(old, &fresh->set, &from);
        if (!known)
            continue;
        known->set.max_requests = fresh->set.max_requests;
        known->set.dry_run = fresh->set.dry_run;
        known->position = fresh->position;
        list->at[i] = known;
        free(fresh);
    }
}

static int by_scope_and_position(const void *a, const void *b)
{
    const struct limit *x = *(struct limit *const *)a, *y = *(struct limit *const *)b;
    int c = compare_scope(&x->set.scope, &y->set.scope);
    return c ? c : x->position < y->position ? -1 : 1;
}

static void change_commit(struct rate_limiter *rl, bool global, struct change *ch)
{
    struct limit_list *old = global ? &rl->global : &rl->api;
    keep_known(old, &ch->list);
    for (size_t i = 0; i < old->count; i++)
        if (old->at[i])
            limit_retire(rl, old->at[i]);
    free(old->at);
    *old = ch->list;
    free(rl->hits);
    rl->hits = ch->hits;
    if (global)
        return;
    free(rl->by_scope);
    rl->by_scope = ch->by_scope;
    if (old->count)
        memcpy(rl->by_scope, old->at, old->count * sizeof(struct limit *));
    qsort(rl->by_scope, old->count, sizeof(struct limit *), by_scope_and_position);
}

static int replace(struct rate_limiter *rl, bool global, const struct rate_limit *wanted, size_t count, struct err *e)
{
    struct change ch = {0};
    int rc = BG_OK;
    if (count > RATE_LIMITS_MAX)
        return err_set(e, BG_ELIMIT, count, "more than %d limits", RATE_LIMITS_MAX);
    for (size_t i = 0; i < count && rc == BG_OK; i++)
        rc = check_limit(&wanted[i], global, i, e);
    if (rc != BG_OK)
        return rc;
    if (change_prepare(rl, global, wanted, count, &ch) != BG_OK) {
        change_drop(&ch);
        return err_set(e, BG_ENOMEM, 0, "no memory for the rate limits");
    }
    change_commit(rl, global, &ch);
    return BG_OK;
}

int rate_limiter_set_global(struct rate_limiter *rl, const struct rate_limit *limits, size_t count, struct err *e)
{
    return replace(rl, true, limits, count, e);
}

int rate_limiter_set_api(struct rate_limiter *rl, const struct rate_limit *limits, size_t count, struct err *e)
{
    return replace(rl, false, limits, count, e);
}

/* The global list without the limits of that key, and with one more where there is one. */
static int edit_global(struct rate_limiter *rl, struct rate_key without, const struct rate_limit *more, struct err *e)
{
    size_t n = 0;
    struct rate_limit *wanted = calloc(rl->global.count + 1, sizeof(*wanted));
    if (!wanted)
        return err_set(e, BG_ENOMEM, 0, "no memory for the rate limits");
    for (size_t i = 0; i < rl->global.count; i++)
        if (!same_key(&rl->global.at[i]->set.key, &without))
            wanted[n++] = rl->global.at[i]->set;
    if (more)
        wanted[n++] = *more;
    int rc = replace(rl, true, wanted, n, e);
    free(wanted);
    return rc;
}

int rate_limiter_add_global(struct rate_limiter *rl, const struct rate_limit *limit, struct err *e)
{
    return edit_global(rl, limit->key, limit, e);
}

int rate_limiter_remove_global(struct rate_limiter *rl, struct rate_key key, struct err *e)
{
    return edit_global(rl, key, NULL, e);
}

/* -- finding limits -------------------------------------------------------------------------------------- */

struct limit *rate_limit_at(const struct rate_limiter *rl, size_t i)
{
    if (i < rl->global.count)
        return rl->global.at[i];
    i -= rl->global.count;
    return i < rl->api.count ? rl->api.at[i] : NULL;
}

struct limit *const *rate_limits_of(const struct rate_limiter *rl, const struct rate_scope *scope, size_t *count)
{
    size_t low = 0, high = rl->api.count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare_scope(&rl->by_scope[mid]->set.scope, scope) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (high = low; high < rl->api.count && compare_scope(&rl->by_scope[high]->set.scope, scope) == 0;)
        high++;
    *count = high - low;
    return *count ? rl->by_scope + low : NULL;
}

struct limit *rate_limit_next_of(const struct rate_limiter *rl, struct rate_scope scope, struct rate_key key,
                                 size_t *pos)
{
    struct limit *l;
    while ((l = rate_limit_at(rl, *pos)) != NULL) {
        ++*pos;
        if (compare_scope(&l->set.scope, &scope) == 0 && same_key(&l->set.key, &key))
            return l;
    }
    return NULL;
}

bool rate_limiter_next_limit(const struct rate_limiter *rl, size_t *pos, struct rate_limit_view *v)
{
    const struct limit *l = rate_limit_at(rl, *pos);
    if (!l)
        return false;
    ++*pos;
    *v = (struct rate_limit_view){&l->set, l->count, l->refused};
    return true;
}

void rate_limits_free(struct rate_limiter *rl)
{
    struct limit *l;
    struct list *dead;
    for (size_t i = 0; (l = rate_limit_at(rl, i)) != NULL; i++)
        list_append(&rl->dead, &l->in_dead);
    while ((dead = list_pop(&rl->dead)) != NULL) {
        unsigned all = UINT32_MAX;
        l = container_of(dead, struct limit, in_dead);
        rate_counters_free(rl, l, &all);
        free(l);
    }
    free(rl->global.at);
    free(rl->api.at);
    free(rl->by_scope);
    free(rl->hits);
}
