/*
 * observer_tables.c: what the gateway keeps, as ets tables under the names that the library's have: the Table Viewer
 * (08 §5), ets:info, ets:lookup. A table is a walk over objects: functions known and refused, sticky nodes, counters of
 * rate limits. They can be read, not changed: whoever tries gets undef.
 *
 * Invariant: one answer walks over a bounded number of objects; whoever wants more gets them piece by piece.
 */
#include "observer.h"

#include <stdlib.h>
#include <time.h>

#include "map.h"
#include "node_selector.h"

/* The object that a walk stands on; which of it is filled depends on the table. */
struct object {
    const struct fun_config *config;
    struct config_failed_entry failed;
    struct rate_value_view value;
    struct node_sticky_view sticky;
};

struct observer_table {
    const char *name;
    bool (*exists)(const struct server *s);
    uint64_t (*size)(const struct server *s);
    uint64_t (*bytes)(const struct server *s);
    /* Steps to the next object: start with *pos = 0; false at the end. */
    bool (*next)(const struct server *s, uint64_t *pos, struct object *o);
    /* Its key, and what follows that in the tuple of `arity`. */
    void (*put_key)(const struct server *s, const struct object *o, struct buf *b);
    void (*put_rest)(const struct server *s, const struct object *o, struct buf *b);
    uint32_t arity;
};

static void put_text_or_nil(struct buf *b, struct slice text)
{
    if (text.ptr)
        term_put_binary(b, text);
    else
        term_put_atom(b, "nil");
}

/* ---- functions: {{Service, Type, Version}, Config} -------------------------------------------------------- */

static bool stores_exist(const struct server *s)
{
    return s->db && s->failed;
}

static uint64_t configs_size(const struct server *s)
{
    return config_db_count(s->db);
}

/* The configs as they came and their records; what is compiled from them is about as large again. */
static uint64_t configs_bytes(const struct server *s)
{
    const struct fun_config *fc;
    uint64_t sum = 0;
    for (size_t pos = 0; (fc = config_db_next(s->db, &pos)) != NULL;)
        sum += sizeof(*fc) + 2 * fc->term.len;
    return sum;
}

static bool configs_next(const struct server *s, uint64_t *pos, struct object *o)
{
    size_t at = (size_t)*pos;
    o->config = config_db_next(s->db, &at);
    *pos = at;
    return o->config != NULL;
}

static void configs_key(const struct server *s, const struct object *o, struct buf *b)
{
    (void)s;
    term_put_tuple(b, 3);
    term_put_binary(b, o->config->service);
    term_put_binary(b, o->config->request_type);
    put_text_or_nil(b, o->config->version);
}

static void configs_rest(const struct server *s, const struct object *o, struct buf *b)
{
    (void)s;
    term_put_raw(b, o->config->term);
}

/* ---- refused ones: {Id, Service, Type, Version, [Reason], Config} ------------------------------------------- */

static uint64_t failed_size(const struct server *s)
{
    return config_failed_count(s->failed);
}

static uint64_t failed_bytes(const struct server *s)
{
    struct config_failed_entry e;
    uint64_t sum = 0;
    for (size_t pos = 0; config_failed_next(s->failed, &pos, &e);)
        sum += sizeof(e) + e.term.len;
    return sum;
}

static bool failed_next(const struct server *s, uint64_t *pos, struct object *o)
{
    size_t at = (size_t)*pos;
    bool more = config_failed_next(s->failed, &at, &o->failed);
    *pos = at;
    return more;
}

static void failed_key(const struct server *s, const struct object *o, struct buf *b)
{
    (void)s;
    term_put_uint(b, o->failed.id);
}

static void failed_rest(const struct server *s, const struct object *o, struct buf *b)
{
    const struct config_failed_entry *e = &o->failed;
    (void)s;
    put_text_or_nil(b, e->service);
    put_text_or_nil(b, e->request_type);
    put_text_or_nil(b, e->version);
    term_put_list(b, e->reasons_count);
    for (uint32_t i = 0; i < e->reasons_count; i++)
        term_put_text(b, e->reasons[i]);
    if (e->reasons_count)
        term_put_nil(b);
    if (e->term.len)
        term_put_raw(b, e->term);
    else
        term_put_atom(b, "nil");
}

/* ---- rate limits: {{Key, Value}, Requests, Max, WindowMs, AgeMs}, of functions {{Service, Type, Key, Value}, ... --
 */

static bool limiter_exists(const struct server *s)
{
    return s->limiter != NULL;
}

/* Counters of both kinds lie in one table; what is counted is only how many of each there are. */
static uint64_t values_of(const struct server *s, bool global)
{
    struct rate_limit_view v;
    uint64_t sum = 0;
    for (size_t pos = 0; rate_limiter_next_limit(s->limiter, &pos, &v);)
        if ((v.limit->scope.service.len == 0) == global)
            sum += v.values;
    return sum;
}

static uint64_t global_size(const struct server *s)
{
    return values_of(s, true);
}

static uint64_t api_size(const struct server *s)
{
    return values_of(s, false);
}

/* The share of the memory that belongs to so many of all values. */
static uint64_t share_of(const struct server *s, uint64_t values)
{
    uint64_t all = rate_limiter_values(s->limiter);
    return all ? rate_limiter_bytes(s->limiter) * values / all : 0;
}

static uint64_t global_bytes(const struct server *s)
{
    return share_of(s, global_size(s));
}

static uint64_t api_bytes(const struct server *s)
{
    return share_of(s, api_size(s));
}

static bool values_next(const struct server *s, uint64_t *pos, struct object *o, bool global)
{
    while (rate_limiter_next_value(s->limiter, s->timers.now_us, pos, &o->value))
        if ((o->value.limit->scope.service.len == 0) == global)
            return true;
    return false;
}

static bool global_next(const struct server *s, uint64_t *pos, struct object *o)
{
    return values_next(s, pos, o, true);
}

static bool api_next(const struct server *s, uint64_t *pos, struct object *o)
{
    return values_next(s, pos, o, false);
}

static void put_value_of(const struct object *o, struct buf *b)
{
    char key[RATE_KEY_TEXT_MAX];
    rate_key_print(&o->value.limit->key, key, sizeof(key));
    term_put_text(b, key);
    term_put_binary(b, o->value.value);
}

static void global_key(const struct server *s, const struct object *o, struct buf *b)
{
    (void)s;
    term_put_tuple(b, 2);
    put_value_of(o, b);
}

static void api_key(const struct server *s, const struct object *o, struct buf *b)
{
    (void)s;
    term_put_tuple(b, 4);
    term_put_binary(b, o->value.limit->scope.service);
    term_put_binary(b, o->value.limit->scope.request_type);
    put_value_of(o, b);
}

static void value_rest(const struct server *s, const struct object *o, struct buf *b)
{
    (void)s;
    term_put_uint(b, o->value.requests);
    term_put_uint(b, o->value.limit->max_requests);
    term_put_uint(b, o->value.limit->window_ms);
    term_put_uint(b, o->value.age_ms);
}

/* ---- sticky nodes: {{Service, Type, Value}, Node, AgeMs}: who sticks is kept as hashes ----------------------------
 */

static bool gateway_exists(const struct server *s)
{
    return s->gateway != NULL;
}

static uint64_t sticky_size(const struct server *s)
{
    return node_selector_sticky_count(gateway_node_selector(s->gateway));
}

static uint64_t sticky_bytes(const struct server *s)
{
    enum { STICKY_BYTES = 112 }; /* node_selector.c: its record and its place in the map */
    return sticky_size(s) * STICKY_BYTES;
}

static bool sticky_next(const struct server *s, uint64_t *pos, struct object *o)
{
    size_t at = (size_t)*pos;
    bool more = node_selector_next_sticky(gateway_node_selector(s->gateway), &at, &o->sticky);
    *pos = at;
    return more;
}

static void sticky_key(const struct server *s, const struct object *o, struct buf *b)
{
    (void)s;
    term_put_tuple(b, 3);
    term_put_uint(b, o->sticky.service);
    term_put_uint(b, o->sticky.request_type);
    term_put_uint(b, o->sticky.value);
}

/* The name of the node when it is connected; only the hash is kept. */
static void put_sticky_node(const struct server *s, uint64_t hash, struct buf *b)
{
    struct dist_link *l;
    for (uint32_t pos = 0; s->cluster && (l = cluster_next_link(s->cluster, &pos)) != NULL;) {
        struct slice node = dist_link_node(l);
        if (hash_bytes(node.ptr, node.len) != hash)
            continue;
        term_put_atom_slice(b, node);
        return;
    }
    term_put_uint(b, hash);
}

static void sticky_rest(const struct server *s, const struct object *o, struct buf *b)
{
    uint64_t now = s->timers.now_us;
    put_sticky_node(s, o->sticky.node, b);
    term_put_uint(b, now > o->sticky.created_us ? (now - o->sticky.created_us) / 1000 : 0);
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

static const struct observer_table tables[] = {
    {"Elixir.PhoenixGenApi.ConfigDb", stores_exist, configs_size, configs_bytes, configs_next, configs_key,
     configs_rest, 2},
    {"Elixir.PhoenixGenApi.ConfigFailed", stores_exist, failed_size, failed_bytes, failed_next, failed_key, failed_rest,
     6},
    {"phoenix_gen_api_sticky_nodes", gateway_exists, sticky_size, sticky_bytes, sticky_next, sticky_key, sticky_rest,
     3},
    {"rate_limiter_global", limiter_exists, global_size, global_bytes, global_next, global_key, value_rest, 5},
    {"rate_limiter_api", limiter_exists, api_size, api_bytes, api_next, api_key, value_rest, 5},
};

uint32_t observer_table_count(const struct server *s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        n += tables[i].exists(s);
    return n;
}

const struct observer_table *observer_table_of(const struct server *s, struct slice name)
{
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (term_is_atom(name, tables[i].name))
            return tables[i].exists(s) ? &tables[i] : NULL;
    return NULL;
}

uint64_t observer_tables_bytes(const struct server *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        sum += tables[i].exists(s) ? tables[i].bytes(s) : 0;
    return sum;
}

/* ---- one table ----------------------------------------------------------------------------------------- */

static void put_id(const struct server *s, const struct observer_table *t, struct buf *b)
{
    (void)s;
    term_put_atom(b, t->name);
}

static void put_owner(const struct server *s, const struct observer_table *t, struct buf *b)
{
    (void)t;
    node_put_pid(&s->self, b, observer_root(s));
}

static void put_keypos(const struct server *s, const struct observer_table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_uint(b, 1);
}

static void put_node(const struct server *s, const struct observer_table *t, struct buf *b)
{
    (void)t;
    term_put_atom(b, s->self.name);
}

static void put_size(const struct server *s, const struct observer_table *t, struct buf *b)
{
    term_put_uint(b, t->size(s));
}

static void put_bytes(const struct server *s, const struct observer_table *t, struct buf *b)
{
    term_put_uint(b, t->bytes(s));
}

/* ets counts in words. */
static void put_words(const struct server *s, const struct observer_table *t, struct buf *b)
{
    term_put_uint(b, t->bytes(s) / sizeof(void *));
}

/* The value is the atom, or what put writes. */
struct property {
    const char *name;
    const char *atom;
    void (*put)(const struct server *s, const struct observer_table *t, struct buf *b);
};

/* A row of the Table Viewer. */
static const struct property columns[] = {
    {"name", .put = put_id},
    {"id", .atom = "ignore"},
    {"protection", .atom = "protected"},
    {"owner", .put = put_owner},
    {"size", .put = put_size},
    {"reg_name", .atom = "beamgate"},
    {"type", .atom = "set"},
    {"keypos", .put = put_keypos},
    {"heir", .atom = "none"},
    {"memory", .put = put_bytes},
    {"compressed", .atom = "false"},
    {"fixed", .atom = "false"},
};

/* ets:info/1. */
static const struct property properties[] = {
    {"id", .put = put_id},
    {"name", .put = put_id},
    {"size", .put = put_size},
    {"memory", .put = put_words},
    {"owner", .put = put_owner},
    {"heir", .atom = "none"},
    {"type", .atom = "set"},
    {"keypos", .put = put_keypos},
    {"protection", .atom = "protected"},
    {"node", .put = put_node},
    {"named_table", .atom = "true"},
    {"compressed", .atom = "false"},
    {"read_concurrency", .atom = "false"},
    {"write_concurrency", .atom = "false"},
    {"decentralized_counters", .atom = "false"},
};

static void put_property(const struct server *s, const struct observer_table *t, const struct property *p, struct buf *b)
{
    if (p->atom)
        term_put_atom(b, p->atom);
    else
        p->put(s, t, b);
}

static void put_properties(const struct server *s, const struct observer_table *t, const struct property *p, size_t n,
                           struct buf *b)
{
    term_put_list(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_key(b, p[i].name);
        put_property(s, t, &p[i], b);
    }
    term_put_nil(b);
}

void observer_put_table_map(const struct server *s, const char *name, struct buf *b)
{
    const struct observer_table *t = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (strcmp(tables[i].name, name) == 0 && tables[i].exists(s))
            t = &tables[i];
    term_put_map(b, t ? ARRAY_SIZE(properties) + 1 : 1);
    for (size_t i = 0; t && i < ARRAY_SIZE(properties); i++) {
        term_put_atom(b, properties[i].name);
        put_property(s, t, &properties[i], b);
    }
    term_put_atom(b, "exists");
    term_put_atom(b, t ? "true" : "false");
}

/* get_table_list(ets, Options): the options hide what this node has none of. No other kind of table exists. */
OBSERVER_FN(observer_table_list)
{
    struct list_mark m = list_open(out);
    for (size_t i = 0; i < ARRAY_SIZE(tables) && term_is_atom(call->argv[0], "ets"); i++) {
        if (!tables[i].exists(server))
            continue;
        put_properties(server, &tables[i], columns, ARRAY_SIZE(columns), out);
        m.count++;
    }
    list_close(out, &m);
    return RPC_RETURN;
}

OBSERVER_FN(observer_ets_info)
{
    const struct observer_table *t = observer_table_of(server, call->argv[0]);
    if (t)
        put_properties(server, t, properties, ARRAY_SIZE(properties), out);
    else
        term_put_atom(out, "undefined");
    return RPC_RETURN;
}

OBSERVER_FN(observer_ets_item)
{
    const struct observer_table *t = observer_table_of(server, call->argv[0]);
    for (size_t i = 0; t && i < ARRAY_SIZE(properties); i++) {
        if (!term_is_atom(call->argv[1], properties[i].name))
            continue;
        put_property(server, t, &properties[i], out);
        return RPC_RETURN;
    }
    term_put_atom(out, t ? "badarg" : "undefined");
    return t ? RPC_ERROR : RPC_RETURN;
}

OBSERVER_FN(observer_ets_all)
{
    struct list_mark m = list_open(out);
    (void)call;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        if (!tables[i].exists(server))
            continue;
        term_put_atom(out, tables[i].name);
        m.count++;
    }
    list_close(out, &m);
    return RPC_RETURN;
}

/* A table has no other identifier than its name. */
OBSERVER_FN(observer_ets_whereis)
{
    const struct observer_table *t = observer_table_of(server, call->argv[0]);
    term_put_atom(out, t ? t->name : "undefined");
    return RPC_RETURN;
}

/* ---- objects ------------------------------------------------------------------------------------------- */

enum { SCANNED_MAX = 20000, LISTED_BYTES_MAX = 4 << 20 };

static void put_object(const struct server *s, const struct observer_table *t, const struct object *o, struct buf *b)
{
    term_put_tuple(b, t->arity);
    t->put_key(s, o, b);
    t->put_rest(s, o, b);
}

uint32_t observer_put_rows(const struct server *s, const struct observer_table *t, uint64_t *pos, struct buf *b)
{
    struct list_mark m = list_open(b);
    struct object o;
    for (; m.count < TABLE_ROWS_A_MESSAGE && t->next(s, pos, &o); m.count++) {
        term_put_list(b, 1);
        put_object(s, t, &o, b);
        term_put_nil(b);
    }
    list_close(b, &m);
    return m.count;
}

/* A part of a table would be taken for the whole, so one that is too large for one answer is not given at all. */
static enum rpc_outcome too_large(struct buf *out, size_t at)
{
    buf_truncate(out, at);
    term_put_atom(out, "system_limit");
    return RPC_EXIT;
}

OBSERVER_FN(observer_ets_list)
{
    const struct observer_table *t = observer_table_of(server, call->argv[0]);
    size_t at = out->len;
    uint64_t pos = 0;
    struct object o;
    if (!t)
        return observer_badarg(out);
    struct list_mark m = list_open(out);
    for (; t->next(server, &pos, &o); m.count++) {
        if (m.count == TABLE_ROWS_SHOWN || out->len - at > LISTED_BYTES_MAX)
            return too_large(out, at);
        put_object(server, t, &o, out);
    }
    list_close(out, &m);
    return RPC_RETURN;
}

/* Finds by looking at each: 1 found, 0 not there, BG_ELIMIT when there are too many for one turn of the loop. */
static int find_object(const struct server *s, const struct observer_table *t, struct slice key, struct object *o)
{
    struct buf b;
    uint64_t pos = 0;
    int found = t->size(s) > SCANNED_MAX ? BG_ELIMIT : 0;
    buf_init(&b, 0);
    for (unsigned n = 0; found == 0 && n <= SCANNED_MAX && t->next(s, &pos, o); n++) {
        buf_reset(&b);
        t->put_key(s, o, &b);
        found = term_equal(buf_slice(&b), key);
    }
    buf_fini(&b);
    return found;
}

OBSERVER_FN(observer_ets_lookup)
{
    const struct observer_table *t = observer_table_of(server, call->argv[0]);
    struct object o;
    if (!t)
        return observer_badarg(out);
    int found = find_object(server, t, call->argv[1], &o);
    if (found < 0)
        return too_large(out, out->len);
    if (found) {
        term_put_list(out, 1);
        put_object(server, t, &o, out);
    }
    term_put_nil(out);
    return RPC_RETURN;
}

OBSERVER_FN(observer_ets_member)
{
    const struct observer_table *t = observer_table_of(server, call->argv[0]);
    struct object o;
    if (!t)
        return observer_badarg(out);
    int found = find_object(server, t, call->argv[1], &o);
    if (found < 0)
        return too_large(out, out->len);
    term_put_atom(out, found ? "true" : "false");
    return RPC_RETURN;
}
