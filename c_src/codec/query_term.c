/*
 * query_term.c: see query_term.h. Pairs are put into a tree, one after another, and the tree is written at the end: only
 * then is known how many members a map has.
 *
 * Invariant: nodes are bounded by pairs times depth, and nothing here recurses; names and values stay bytes, so no client
 * can make an atom of one (E-235).
 */
#include "query_term.h"

#include "arena.h"
#include "term.h"

enum shape { LEAF, MAP, LIST };

struct node {
    struct node *parent, *first, *last, *next;
    struct slice key; /* in a map */
    struct slice value;
    uint32_t count;
    enum shape shape;
};

struct tree {
    struct arena memory;
    struct buf scratch;
    struct node root;
};

/* One pair's name: a, [b], [] and so on. */
struct path {
    struct slice part[QUERY_DEPTH_MAX];
    uint32_t count;
};

static struct slice keep(struct tree *t, struct slice raw, int *rc)
{
    buf_reset(&t->scratch);
    if (*rc == BG_OK)
        *rc = http_url_decode(raw, &t->scratch);
    struct slice copy = *rc == BG_OK ? arena_copy(&t->memory, buf_slice(&t->scratch)) : SLICE_NONE;
    if (*rc == BG_OK && !copy.ptr)
        *rc = BG_ENOMEM;
    return copy;
}

/* False when the name is no sequence of brackets behind a name: then it is one part. */
static bool split_brackets(struct slice name, struct path *p, bool *deep)
{
    const char *end = slice_end(name), *at = name.len ? memchr(name.ptr, '[', name.len) : NULL;
    if (!at || at == name.ptr || end[-1] != ']')
        return false;
    p->part[p->count++] = slice_make(name.ptr, (size_t)(at - name.ptr));
    while (at < end) {
        const char *close = *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;
        if (!close)
            return false;
        *deep = *deep || p->count == QUERY_DEPTH_MAX;
        if (!*deep)
            p->part[p->count++] = slice_make(at + 1, (size_t)(close - at - 1));
        at = close + 1;
    }
    return true;
}

static struct node *find(const struct node *map, struct slice key)
{
    struct node *n = map->first;
    while (n && !slice_eq(n->key, key))
        n = n->next;
    return n;
}

static struct node *append(struct tree *t, struct node *to, struct slice key)
{
    struct node *n = arena_alloc(&t->memory, sizeof(*n));
    if (!n)
        return NULL;
    n->parent = to;
    n->key = key;
    *(to->last ? &to->last->next : &to->first) = n;
    to->last = n;
    to->count++;
    return n;
}

/* What was there in another shape is forgotten. */
static void reshape(struct node *n, enum shape shape)
{
    if (n->shape != shape || shape == LEAF)
        n->first = n->last = NULL;
    n->count = n->first ? n->count : 0;
    n->shape = shape;
}

static int insert(struct tree *t, const struct path *p, struct slice value)
{
    struct node *at = &t->root;
    for (uint32_t i = 0; at && i < p->count; i++) {
        bool item = i > 0 && p->part[i].len == 0;
        if (i > 0)
            reshape(at, item ? LIST : MAP);
        struct node *child = item ? NULL : find(at, p->part[i]);
        at = child ? child : append(t, at, p->part[i]);
    }
    if (!at)
        return BG_ENOMEM;
    reshape(at, LEAF);
    at->value = value;
    return BG_OK;
}

static int add_pair(struct tree *t, struct slice pair)
{
    struct path p = {.count = 0};
    bool deep = false;
    int rc = BG_OK;
    const char *equals = memchr(pair.ptr, '=', pair.len);
    struct slice raw = slice_make(pair.ptr, equals ? (size_t)(equals - pair.ptr) : pair.len);
    struct slice value = keep(t, equals ? slice_make(equals + 1, pair.len - raw.len - 1) : SLICE_NONE, &rc);
    struct slice name = keep(t, raw, &rc);
    if (rc != BG_OK)
        return rc;
    if (!split_brackets(name, &p, &deep)) {
        p.part[0] = name;
        p.count = 1;
        deep = false;
    }
    return deep ? BG_ELIMIT : insert(t, &p, value);
}

static void open_node(const struct node *n, struct buf *out)
{
    if (n->parent && n->parent->shape == MAP)
        term_put_binary(out, n->key);
    if (n->shape == MAP)
        term_put_map(out, n->count);
    else if (n->shape == LIST)
        term_put_list(out, n->count);
    else
        term_put_binary(out, n->value);
}

static void put_tree(const struct node *root, struct buf *out)
{
    const struct node *n = root;
    open_node(n, out);
    for (bool down = true;;) {
        if (down && n->first) {
            n = n->first;
        } else {
            if (n == root)
                return;
            if (!n->next) {
                n = n->parent;
                down = false;
                if (n->shape == LIST)
                    term_put_nil(out);
                continue;
            }
            n = n->next;
        }
        down = true;
        open_node(n, out);
    }
}

int query_to_term(struct slice query, struct buf *out)
{
    struct tree t = {.root = {.shape = MAP}};
    uint32_t pairs = 0;
    int rc = BG_OK;
    arena_init(&t.memory);
    buf_init(&t.scratch, HTTP_HEAD_MAX);
    while (query.len && rc == BG_OK) {
        const char *cut = memchr(query.ptr, '&', query.len);
        struct slice pair = slice_make(query.ptr, cut ? (size_t)(cut - query.ptr) : query.len);
        query = cut ? slice_make(cut + 1, query.len - pair.len - 1) : SLICE_NONE;
        if (pair.len)
            rc = ++pairs > QUERY_PAIRS_MAX ? BG_ELIMIT : add_pair(&t, pair);
    }
    if (rc == BG_OK)
        put_tree(&t.root, out);
    arena_fini(&t.memory);
    buf_fini(&t.scratch);
    return rc == BG_OK && !buf_ok(out) ? BG_ENOMEM : rc;
}
