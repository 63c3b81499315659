/*
 * config_db.c: see config_db.h. One group per {service, request_type} holds its versions and, ready for use, the
 * answer to a lookup without version; so the lookup of nearly every request is one hash probe, with its key built
 * on the stack. Operators' words are kept apart from the entries: they outlive a function that goes and comes back.
 *
 * Invariants: every entry is in exactly one group, in exactly one source's list and at all[entry->at]; a group has
 * at least one entry; group->latest is what E-031 asks for, or NULL when all are disabled; fc->disabled of an
 * entry is what holds.
 *
 * It does not check configs and knows no nodes.
 */
#include "config_db.h"

#include <stdlib.h>

#include "list.h"

/* {service, request_type}: length of the service, service, request type; a word's key may go on with a version. */
enum { KEY_MAX = 2 + 2 * FUN_CONFIG_NAME_MAX, WORD_KEY_MAX = KEY_MAX + 3 + FUN_CONFIG_NAME_MAX };

struct source {
    struct list entries;
    size_t count;
    uint64_t offer; /* counts the marks; an entry with an older number was not offered again */
    struct slice name;
    char name_bytes[];
};

struct group;

struct entry {
    struct list in_source;
    struct list in_group;
    struct fun_config *fc;
    struct group *group;
    struct source *source;
    uint64_t offer;
    size_t at;              /* in all[] */
    bool declared_disabled; /* what the service said; fc->disabled is what holds */
};

struct group {
    struct fun_config *latest;
    struct list entries; /* one per version */
    uint32_t count;
    struct slice key;
    char key_bytes[];
};

/* What an operator said about a function, or about one version of it. */
struct word {
    bool disabled;
    size_t key_len;
    char key_bytes[];
};

struct config_db {
    struct map groups;
    struct map sources;
    struct map words;
    struct entry **all;
    size_t count;
    size_t cap;
    size_t max;
    struct metrics *metrics;
};

/* ---- keys ---- */

/* Names longer than any config may have are not looked up at all: this is what bounds the key on the stack. */
static bool key_make(char key[KEY_MAX], struct slice service, struct slice request_type, struct slice *out)
{
    if (service.len > FUN_CONFIG_NAME_MAX || request_type.len > FUN_CONFIG_NAME_MAX)
        return false;
    key[0] = (char)(service.len >> 8);
    key[1] = (char)service.len;
    if (service.len > 0)
        memcpy(key + 2, service.ptr, service.len);
    if (request_type.len > 0)
        memcpy(key + 2 + service.len, request_type.ptr, request_type.len);
    *out = slice_make(key, 2 + service.len + request_type.len);
    return true;
}

/* A word on one version: the length of the group's key keeps it apart from a longer request type. */
static bool word_key_make(char key[WORD_KEY_MAX], const struct slice group_key, struct slice version, struct slice *out)
{
    if (version.len > FUN_CONFIG_NAME_MAX)
        return false;
    key[0] = version.ptr ? 'v' : 'f';
    key[1] = (char)(group_key.len >> 8);
    key[2] = (char)group_key.len;
    memcpy(key + 3, group_key.ptr, group_key.len);
    if (version.len > 0)
        memcpy(key + 3 + group_key.len, version.ptr, version.len);
    *out = slice_make(key, 3 + group_key.len + version.len);
    return true;
}

/* nil and "" are two: no config has the version "", and a request for it finds nothing (E-030). */
static bool same_version(struct slice a, struct slice b)
{
    return (a.ptr == NULL) == (b.ptr == NULL) && slice_eq(a, b);
}

/* ---- groups ---- */

static struct group *group_find(const struct config_db *db, struct slice service, struct slice request_type)
{
    char bytes[KEY_MAX];
    struct slice key;
    return key_make(bytes, service, request_type, &key) ? map_get(&db->groups, key) : NULL;
}

/* The key's bytes live behind the struct: one piece of memory, one cache line for short names. */
static struct group *group_new(struct config_db *db, struct slice key)
{
    struct group *g = malloc(sizeof(*g) + key.len);
    if (!g)
        return NULL;
    g->latest = NULL;
    g->count = 0;
    list_init(&g->entries);
    memcpy(g->key_bytes, key.ptr, key.len);
    g->key = slice_make(g->key_bytes, key.len);
    if (map_put(&db->groups, g->key, g) != BG_OK) {
        free(g);
        return NULL;
    }
    return g;
}

/* E-031, E-032 want: whatever has a version goes before what has none; equal precedence (they differ in build
 * metadata, or are no versions at all) is decided by the text, so that the choice is stable. */
static bool goes_before(const struct fun_config *a, const struct fun_config *b)
{
    if (!a->version.ptr || !b->version.ptr)
        return a->version.ptr != NULL;
    int c = version_compare(a->version, b->version);
    return (c ? c : slice_compare(a->version, b->version)) > 0;
}

static struct entry *in_group(struct list *node)
{
    return container_of(node, struct entry, in_group);
}

static void group_choose(struct group *g)
{
    g->latest = NULL;
    for (struct list *it = g->entries.next; it != &g->entries; it = it->next) {
        struct fun_config *fc = in_group(it)->fc;
        if (!fc->disabled && (!g->latest || goes_before(fc, g->latest)))
            g->latest = fc;
    }
}

/* A function has few versions, at most CONFIG_DB_VERSIONS: a walk is as good as a table. */
static struct entry *group_entry(const struct group *g, struct slice version)
{
    for (struct list *it = g->entries.next; it != &g->entries; it = it->next)
        if (same_version(in_group(it)->fc->version, version))
            return in_group(it);
    return NULL;
}

/* ---- operators' words ---- */

/* Nearly always there are none, so nothing is hashed then. */
static struct word *word_find(const struct config_db *db, struct slice group_key, struct slice version)
{
    char bytes[WORD_KEY_MAX];
    struct slice key;
    return db->words.count > 0 && word_key_make(bytes, group_key, version, &key) ? map_get(&db->words, key) : NULL;
}

static void word_drop(struct config_db *db, struct slice group_key, struct slice version)
{
    char bytes[WORD_KEY_MAX];
    struct slice key;
    if (word_key_make(bytes, group_key, version, &key))
        free(map_del(&db->words, key));
}

static int word_set(struct config_db *db, struct slice group_key, struct slice version, bool disabled)
{
    char bytes[WORD_KEY_MAX];
    struct slice key;
    struct word *w = word_find(db, group_key, version);
    if (w) {
        w->disabled = disabled;
        return BG_OK;
    }
    if (!word_key_make(bytes, group_key, version, &key) || db->words.count >= db->max)
        return BG_ELIMIT;
    w = malloc(sizeof(*w) + key.len);
    if (!w)
        return BG_ENOMEM;
    w->disabled = disabled;
    w->key_len = key.len;
    memcpy(w->key_bytes, key.ptr, key.len);
    if (map_put(&db->words, slice_make(w->key_bytes, w->key_len), w) == BG_OK)
        return BG_OK;
    free(w);
    return BG_ENOMEM;
}

/* The word on the version goes before the word on the function, and both before the service's own. */
static void entry_apply_words(const struct config_db *db, struct entry *e)
{
    const struct word *w = e->fc->version.ptr ? word_find(db, e->group->key, e->fc->version) : NULL;
    if (!w)
        w = word_find(db, e->group->key, SLICE_NONE);
    e->fc->disabled = w ? w->disabled : e->declared_disabled;
}

/* ---- sources ---- */

/* Made when first offered something, gone with its last entry: sources need no bound of their own. */
static struct source *source_get(struct config_db *db, struct slice name)
{
    struct source *s = map_get(&db->sources, name);
    if (s)
        return s;
    s = malloc(sizeof(*s) + name.len);
    if (!s)
        return NULL;
    list_init(&s->entries);
    s->count = 0;
    s->offer = 0;
    if (name.len > 0)
        memcpy(s->name_bytes, name.ptr, name.len);
    s->name = slice_make(s->name_bytes, name.len);
    if (map_put(&db->sources, s->name, s) != BG_OK) {
        free(s);
        return NULL;
    }
    return s;
}

static void source_leave(struct config_db *db, struct entry *e)
{
    struct source *s = e->source;
    list_remove(&e->in_source);
    if (--s->count == 0) {
        map_del(&db->sources, s->name);
        free(s);
    }
}

static void source_enter(struct source *s, struct entry *e)
{
    e->source = s;
    e->offer = s->offer;
    list_append(&s->entries, &e->in_source);
    s->count++;
}

/* ---- entries ---- */

static int all_grow(struct config_db *db)
{
    if (db->count < db->cap)
        return BG_OK;
    size_t cap = db->cap ? db->cap * 2 : 16;
    struct entry **all = realloc(db->all, cap * sizeof(struct entry *));
    if (!all)
        return BG_ENOMEM;
    db->all = all;
    db->cap = cap;
    return BG_OK;
}

static void group_remove(struct config_db *db, struct group *g, struct entry *e)
{
    list_remove(&e->in_group);
    if (--g->count > 0) {
        group_choose(g);
        return;
    }
    map_del(&db->groups, g->key);
    free(g);
}

/* The last of all[] takes the free place: the order there means nothing. */
static void entry_remove(struct config_db *db, struct entry *e)
{
    struct entry *last = db->all[--db->count];
    db->all[e->at] = last;
    last->at = e->at;
    source_leave(db, e);
    group_remove(db, e->group, e);
    fun_config_unref(e->fc);
    free(e);
    metric_dec(db->metrics, METRIC_CONFIGS);
}

/* Puts a config into its entry; the same one again changes nothing of what the service said. */
static void entry_set(struct config_db *db, struct entry *e, struct fun_config *fc)
{
    if (e->fc != fc)
        e->declared_disabled = fc->disabled;
    fun_config_ref(fc);
    fun_config_unref(e->fc);
    e->fc = fc;
    entry_apply_words(db, e);
    group_choose(e->group);
}

/* The one who offered last owns the entry; so of a pull and a push each keeps only what is its own. */
static int entry_replace(struct config_db *db, struct entry *e, struct fun_config *fc, struct slice source)
{
    struct source *s = source_get(db, source);
    if (!s)
        return BG_ENOMEM;
    s->count++; /* so that leaving the same source does not free it */
    source_leave(db, e);
    source_enter(s, e);
    s->count--;
    entry_set(db, e, fc);
    return BG_OK;
}

/* An entry without its config yet. */
static int entry_add(struct config_db *db, struct group *g, struct slice source, struct entry **added)
{
    if (db->count >= db->max || g->count >= CONFIG_DB_VERSIONS)
        return BG_ELIMIT;
    struct entry *e = all_grow(db) == BG_OK ? calloc(1, sizeof(*e)) : NULL;
    struct source *s = e ? source_get(db, source) : NULL;
    if (!s) {
        free(e);
        return BG_ENOMEM;
    }
    e->group = g;
    e->at = db->count;
    db->all[db->count++] = e;
    list_append(&g->entries, &e->in_group);
    g->count++;
    source_enter(s, e);
    metric_inc(db->metrics, METRIC_CONFIGS);
    *added = e;
    return BG_OK;
}

/* A group made for an entry that then cannot be added must not stay behind empty. */
int config_db_put(struct config_db *db, struct fun_config *fc, struct slice source)
{
    char bytes[KEY_MAX];
    struct slice key;
    if (!key_make(bytes, fc->service, fc->request_type, &key))
        return BG_EINVAL;
    struct group *g = map_get(&db->groups, key);
    struct entry *e = g ? group_entry(g, fc->version) : NULL;
    if (e)
        return entry_replace(db, e, fc, source);
    if (!g && !(g = group_new(db, key)))
        return BG_ENOMEM;
    int rc = entry_add(db, g, source, &e);
    if (rc == BG_OK) {
        entry_set(db, e, fc);
    } else if (g->count == 0) {
        map_del(&db->groups, g->key);
        free(g);
    }
    return rc;
}

/* ---- offers ---- */

void config_db_mark(struct config_db *db, struct slice source)
{
    struct source *s = map_get(&db->sources, source);
    if (s)
        s->offer++;
}

void config_db_keep(struct config_db *db, struct slice source, struct slice service, struct slice request_type,
                    struct slice version)
{
    const struct group *g = group_find(db, service, request_type);
    struct entry *e = g ? group_entry(g, version) : NULL;
    if (e && slice_eq(e->source->name, source))
        e->offer = e->source->offer;
}

size_t config_db_sweep(struct config_db *db, struct slice source)
{
    return config_db_sweep_some(db, source, SIZE_MAX);
}

/* What is offered again goes to the list's end, so that what is to be removed stands in front. */
size_t config_db_sweep_some(struct config_db *db, struct slice source, size_t max)
{
    struct source *s = map_get(&db->sources, source);
    if (!s)
        return 0;
    size_t removed = 0;
    struct list *it, *next;
    s->count++; /* the source must outlive the walk over its list */
    list_each_safe (it, next, &s->entries) {
        struct entry *e = container_of(it, struct entry, in_source);
        if (e->offer == s->offer)
            continue;
        if (removed == max)
            break;
        entry_remove(db, e);
        removed++;
    }
    if (--s->count == 0) {
        map_del(&db->sources, s->name);
        free(s);
    }
    return removed;
}

size_t config_db_source_count(const struct config_db *db, struct slice source)
{
    const struct source *s = map_get(&db->sources, source);
    return s ? s->count : 0;
}

/* ---- lookups ---- */

/* The request path. */
enum config_lookup config_db_find(const struct config_db *db, struct slice service, struct slice request_type,
                                  struct slice version, struct fun_config **fc)
{
    const struct group *g = group_find(db, service, request_type);
    if (!g)
        return CONFIG_NOT_FOUND;
    if (!version.ptr || slice_is(version, "0.0.0")) {
        *fc = g->latest;
        return g->latest ? CONFIG_FOUND : CONFIG_DISABLED;
    }
    const struct entry *e = group_entry(g, version);
    if (!e)
        return CONFIG_NOT_FOUND;
    *fc = e->fc;
    return e->fc->disabled ? CONFIG_DISABLED : CONFIG_FOUND;
}

size_t config_db_count(const struct config_db *db)
{
    return db->count;
}

struct fun_config *config_db_next(const struct config_db *db, size_t *pos)
{
    return *pos < db->count ? db->all[(*pos)++]->fc : NULL;
}

/* ---- operators ---- */

/* A word that only repeats what the service says is none: later the service may change its mind. */
static int set_disabled_one(struct config_db *db, struct entry *e, bool disabled)
{
    bool function_word = word_find(db, e->group->key, SLICE_NONE) != NULL;
    if (disabled == e->declared_disabled && !disabled && !function_word) {
        word_drop(db, e->group->key, e->fc->version);
        return BG_OK;
    }
    return word_set(db, e->group->key, e->fc->version, disabled);
}

/* One word on the function takes the place of those on its versions; enabling needs one only against a service that
 * disables some version itself. */
static int set_disabled_all(struct config_db *db, struct group *g, bool disabled)
{
    bool needed = disabled;
    for (struct list *it = g->entries.next; it != &g->entries; it = it->next) {
        const struct entry *e = in_group(it);
        if (e->fc->version.ptr)
            word_drop(db, g->key, e->fc->version);
        needed = needed || e->declared_disabled;
    }
    if (needed)
        return word_set(db, g->key, SLICE_NONE, disabled);
    word_drop(db, g->key, SLICE_NONE);
    return BG_OK;
}

int config_db_set_disabled(struct config_db *db, struct slice service, struct slice request_type, struct slice version,
                           bool disabled)
{
    struct group *g = group_find(db, service, request_type);
    if (!g)
        return BG_EGONE;
    int rc;
    if (version.ptr) {
        struct entry *e = group_entry(g, version);
        rc = e ? set_disabled_one(db, e, disabled) : BG_EGONE;
    } else {
        rc = set_disabled_all(db, g, disabled);
    }
    for (struct list *it = g->entries.next; it != &g->entries; it = it->next)
        entry_apply_words(db, in_group(it));
    group_choose(g);
    return rc;
}

int config_db_delete(struct config_db *db, struct slice service, struct slice request_type, struct slice version)
{
    struct group *g = group_find(db, service, request_type);
    if (!g)
        return BG_EGONE;
    bool found = false;
    struct list *it, *next;
    list_each_safe (it, next, &g->entries) {
        struct entry *e = in_group(it);
        if (version.ptr && !same_version(e->fc->version, version))
            continue;
        found = true;
        if (e->fc->version.ptr)
            word_drop(db, g->key, e->fc->version);
        bool last = g->count == 1;
        if (last)
            word_drop(db, g->key, SLICE_NONE);
        entry_remove(db, e);
        if (last)
            break; /* the group is gone, and the list's head with it */
    }
    return found ? BG_OK : BG_EGONE;
}

/* From the end: what takes the place of a removed entry has been asked about before. */
size_t config_db_remove_if(struct config_db *db, bool (*fits)(void *ctx, const struct fun_config *fc), void *ctx)
{
    size_t before = db->count;
    for (size_t i = db->count; i-- > 0;)
        if (fits(ctx, db->all[i]->fc))
            entry_remove(db, db->all[i]);
    return before - db->count;
}

void config_db_clear(struct config_db *db)
{
    while (db->count > 0)
        entry_remove(db, db->all[db->count - 1]);
    size_t pos = 0;
    struct word *w;
    while ((w = map_next(&db->words, &pos, NULL)))
        free(w);
    map_fini(&db->words);
}

struct config_db *config_db_new(struct metrics *m, size_t max_configs)
{
    struct config_db *db = calloc(1, sizeof(*db));
    if (!db)
        return NULL;
    map_init(&db->groups);
    map_init(&db->sources);
    map_init(&db->words);
    db->metrics = m;
    db->max = max_configs;
    return db;
}

void config_db_free(struct config_db *db)
{
    if (!db)
        return;
    config_db_clear(db);
    map_fini(&db->groups);
    map_fini(&db->sources);
    free(db->all);
    free(db);
}
