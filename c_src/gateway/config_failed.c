/*
 * config_failed.c: see config_failed.h. A service with a bad config offers it again at every pull; so an entry is
 * found by what it stands for and refreshed, and the number of entries has a cap (wants of S-093).
 *
 * Invariant: entries[] is ordered from the oldest to the newest failure, and by_key holds exactly its members.
 *
 * It knows no clock: the caller brings the wall time.
 */
#include "config_failed.h"

#include <stdio.h>
#include <stdlib.h>

#include "map.h"

enum {
    LIFETIME_MS = 86400000, /* S-090 */
    TERM_KEPT_MAX = 16 * 1024,
    SHOWN_MAX = 128 /* bytes of a name as kept here: an invalid config may bear any */
};

/* All slices and texts point into memory. */
struct failed {
    struct config_failed_entry entry;
    struct slice key;
    struct arena memory;
};

struct config_failed {
    struct failed **entries;
    size_t count;
    size_t max;
    uint64_t last_id;
    struct map by_key;
};

struct config_failed *config_failed_new(size_t max_entries)
{
    struct config_failed *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->max = max_entries > 0 ? max_entries : 1;
    f->entries = calloc(f->max, sizeof(struct failed *));
    map_init(&f->by_key);
    if (f->entries)
        return f;
    free(f);
    return NULL;
}

/* The entry and everything that it shows. */
static void failed_free(struct failed *e)
{
    if (!e)
        return;
    arena_fini(&e->memory);
    free(e);
}

static void remove_at(struct config_failed *f, size_t at)
{
    struct failed *e = f->entries[at];
    map_del(&f->by_key, e->key);
    f->count--;
    memmove(&f->entries[at], &f->entries[at + 1], (f->count - at) * sizeof(struct failed *));
    failed_free(e);
}

void config_failed_clear(struct config_failed *f)
{
    while (f->count > 0)
        remove_at(f, f->count - 1);
}

void config_failed_free(struct config_failed *f)
{
    if (!f)
        return;
    config_failed_clear(f);
    map_fini(&f->by_key);
    free(f->entries);
    free(f);
}

/* As much of a name as is kept: whole characters, where it has any. */
static struct slice cut(struct slice name)
{
    size_t n = name.len < SHOWN_MAX ? name.len : SHOWN_MAX;
    for (int back = 0; back < 3 && n < name.len && ((uint8_t)name.ptr[n] & 0xc0) == 0x80; back++)
        n--;
    return slice_make(name.ptr, n);
}

/* The text under a key of what may be anything, cut; ptr NULL when there is none. */
static struct slice shown(struct slice term, const char *key)
{
    return cut(fun_config_field_text(term, key));
}

/* Only as many texts as there are: struct fun_config_reasons has room for all, 5 KB of it. */
static bool fill_reasons(struct failed *e, const struct fun_config_reasons *why)
{
    const char **texts = arena_array(&e->memory, why->count, sizeof(*texts));
    if (!texts)
        return false;
    for (uint32_t i = 0; i < why->count; i++) {
        /* With its terminator, which arena_copy() takes as one byte more of the text. */
        struct slice s = arena_copy(&e->memory, slice_make(why->text[i], strlen(why->text[i]) + 1));
        if (!s.ptr)
            return false;
        texts[i] = s.ptr;
    }
    e->entry.reasons = texts;
    e->entry.reasons_count = why->count;
    return true;
}

/* Copies s if it is there. */
static bool fill(struct failed *e, struct slice s, struct slice *out)
{
    *out = s.ptr ? arena_copy(&e->memory, s) : SLICE_NONE;
    return out->ptr || !s.ptr;
}

/* What has no request type is told apart by its bytes. */
static bool fill_key(struct failed *e, struct slice term)
{
    const struct config_failed_entry *x = &e->entry;
    char key[4 * SHOWN_MAX];
    unsigned long long hash = x->request_type.ptr ? 0 : (unsigned long long)hash_bytes(term.ptr, term.len);
    int n = snprintf(key, sizeof(key), "%d:%zu:%zu:%d:%016llx:", (int)x->source, x->service.len, x->request_type.len,
                     x->version.ptr != NULL, hash);
    const struct slice parts[] = {x->service, x->request_type, x->version};
    size_t len = (size_t)n;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (parts[i].len > 0)
            memcpy(key + len, parts[i].ptr, parts[i].len);
        len += parts[i].len;
    }
    return fill(e, slice_make(key, len), &e->key);
}

/* Out of memory at any point: no entry, and the config is refused all the same. */
static struct failed *failed_new(struct slice term, struct slice service, const struct fun_config_reasons *why,
                                 enum config_source source, struct slice node)
{
    struct failed *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    arena_init(&e->memory);
    e->entry.source = source;
    struct slice name = service.ptr ? cut(service) : shown(term, "service");
    struct slice kept = term.len <= TERM_KEPT_MAX ? term : SLICE_NONE;
    if (fill(e, name, &e->entry.service) && fill(e, shown(term, "request_type"), &e->entry.request_type) &&
        fill(e, shown(term, "version"), &e->entry.version) && fill(e, node, &e->entry.node) &&
        fill(e, kept, &e->entry.term) && fill_reasons(e, why) && fill_key(e, term))
        return e;
    failed_free(e);
    return NULL;
}

/* From the newest: what fails again has mostly failed a moment ago. */
static size_t position(const struct config_failed *f, const struct failed *e)
{
    size_t at = f->count - 1;
    while (f->entries[at] != e)
        at--;
    return at;
}

void config_failed_record(struct config_failed *f, struct slice term, struct slice service,
                          const struct fun_config_reasons *why, enum config_source source, struct slice node,
                          int64_t now_ms)
{
    struct failed *e = failed_new(term, service, why, source, node);
    if (!e)
        return;
    e->entry.inserted_at_ms = now_ms;
    e->entry.expires_at_ms = now_ms + LIFETIME_MS;
    e->entry.times = 1;
    const struct failed *before = map_get(&f->by_key, e->key);
    if (before) {
        e->entry.id = before->entry.id;
        e->entry.times = before->entry.times + 1;
        remove_at(f, position(f, before));
    } else {
        e->entry.id = ++f->last_id;
        if (f->count == f->max)
            remove_at(f, 0);
    }
    if (map_put(&f->by_key, e->key, e) != BG_OK) {
        failed_free(e);
        return;
    }
    f->entries[f->count++] = e;
}

size_t config_failed_cleanup(struct config_failed *f, int64_t now_ms)
{
    size_t before = f->count;
    for (size_t i = f->count; i-- > 0;)
        if (f->entries[i]->entry.expires_at_ms <= now_ms)
            remove_at(f, i);
    return before - f->count;
}

size_t config_failed_count(const struct config_failed *f)
{
    return f->count;
}

bool config_failed_next(const struct config_failed *f, size_t *pos, struct config_failed_entry *entry)
{
    if (*pos >= f->count)
        return false;
    *entry = f->entries[f->count - 1 - (*pos)++]->entry;
    return true;
}
