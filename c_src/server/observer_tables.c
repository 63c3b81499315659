/*
 * observer_tables.c: the stores of functions as ets tables, under the names that the library's have: the Table Viewer
 * (08 §5), ets:info. An object is {Key, Config} with the config as it came from its service. They can be read, not
 * changed: whoever tries gets undef.
 */
#include "observer.h"

#include <stdlib.h>
#include <time.h>

static const struct table {
    const char *name;
    const char *type;
    enum observer_table which;
} tables[] = {
    {"Elixir.PhoenixGenApi.ConfigDb", "set", TABLE_CONFIGS},
    {"Elixir.PhoenixGenApi.ConfigFailed", "set", TABLE_FAILED},
};

uint32_t observer_table_count(void)
{
    return ARRAY_SIZE(tables);
}

static const struct table *find_table(struct slice name)
{
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (term_is_atom(name, tables[i].name))
            return &tables[i];
    return NULL;
}

enum observer_table observer_table_of(struct slice name)
{
    const struct table *t = find_table(name);
    return t ? t->which : TABLE_NONE;
}

/* ---- measures ------------------------------------------------------------------------------------------ */

static uint64_t table_size(const struct server *s, enum observer_table t)
{
    return t == TABLE_CONFIGS ? config_db_count(s->db) : config_failed_count(s->failed);
}

/* The configs as they came and their records; what is compiled from them is about as large again. */
static uint64_t table_bytes(const struct server *s, enum observer_table t)
{
    struct config_failed_entry e;
    const struct fun_config *fc;
    uint64_t sum = 0;
    size_t pos = 0;
    if (t == TABLE_CONFIGS)
        while ((fc = config_db_next(s->db, &pos)) != NULL)
            sum += sizeof(*fc) + 2 * fc->term.len;
    else
        while (config_failed_next(s->failed, &pos, &e))
            sum += sizeof(e) + e.term.len;
    return sum;
}

uint64_t observer_tables_bytes(const struct server *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; s->db && s->failed && i < ARRAY_SIZE(tables); i++)
        sum += table_bytes(s, tables[i].which);
    return sum;
}

/* ---- one table ----------------------------------------------------------------------------------------- */

static void put_id(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    term_put_atom(b, t->name);
}

static void put_ignore(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_atom(b, "ignore");
}

static void put_owner(const struct server *s, const struct table *t, struct buf *b)
{
    (void)t;
    node_put_pid(&s->self, b, observer_root(s));
}

static void put_owner_name(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_atom(b, "beamgate");
}

static void put_protected(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_atom(b, "protected");
}

static void put_type(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    term_put_atom(b, t->type);
}

static void put_keypos(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_uint(b, 1);
}

static void put_heir(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_atom(b, "none");
}

static void put_false(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_atom(b, "false");
}

static void put_true(const struct server *s, const struct table *t, struct buf *b)
{
    (void)s;
    (void)t;
    term_put_atom(b, "true");
}

static void put_node(const struct server *s, const struct table *t, struct buf *b)
{
    (void)t;
    term_put_atom(b, s->self.name);
}

static void put_size(const struct server *s, const struct table *t, struct buf *b)
{
    term_put_uint(b, table_size(s, t->which));
}

static void put_bytes(const struct server *s, const struct table *t, struct buf *b)
{
    term_put_uint(b, table_bytes(s, t->which));
}

/* ets counts in words. */
static void put_words(const struct server *s, const struct table *t, struct buf *b)
{
    term_put_uint(b, table_bytes(s, t->which) / sizeof(void *));
}

struct property {
    const char *name;
    void (*put)(const struct server *s, const struct table *t, struct buf *b);
};

/* A row of the Table Viewer. */
static const struct property columns[] = {
    {"name", put_id},       {"id", put_ignore}, {"protection", put_protected}, {"owner", put_owner},
    {"size", put_size},     {"reg_name", put_owner_name}, {"type", put_type}, {"keypos", put_keypos},
    {"heir", put_heir},     {"memory", put_bytes},        {"compressed", put_false}, {"fixed", put_false},
};

/* ets:info/1. */
static const struct property properties[] = {
    {"id", put_id},           {"name", put_id},     {"size", put_size}, {"memory", put_words},
    {"owner", put_owner},     {"heir", put_heir},   {"type", put_type}, {"keypos", put_keypos},
    {"protection", put_protected}, {"node", put_node}, {"named_table", put_true}, {"compressed", put_false},
    {"read_concurrency", put_false}, {"write_concurrency", put_false}, {"decentralized_counters", put_false},
};

static void put_properties(const struct server *s, const struct table *t, const struct property *p, size_t n,
                           struct buf *b)
{
    term_put_list(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_key(b, p[i].name);
        p[i].put(s, t, b);
    }
    term_put_nil(b);
}

void observer_put_table_map(const struct server *s, const char *name, struct buf *b)
{
    const struct table *t = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (strcmp(tables[i].name, name) == 0)
            t = &tables[i];
    term_put_map(b, t ? ARRAY_SIZE(properties) + 1 : 1);
    for (size_t i = 0; t && i < ARRAY_SIZE(properties); i++) {
        term_put_atom(b, properties[i].name);
        properties[i].put(s, t, b);
    }
    term_put_atom(b, "exists");
    term_put_atom(b, t ? "true" : "false");
}

/* get_table_list(ets, Options): the options hide what this node has none of. No other kind of table exists. */
OBSERVER_FN(observer_table_list)
{
    struct list_mark m = list_open(out);
    if (term_is_atom(call->argv[0], "ets"))
        for (; m.count < ARRAY_SIZE(tables); m.count++)
            put_properties(server, &tables[m.count], columns, ARRAY_SIZE(columns), out);
    list_close(out, &m);
    return RPC_RETURN;
}

OBSERVER_FN(observer_ets_info)
{
    const struct table *t = find_table(call->argv[0]);
    if (t)
        put_properties(server, t, properties, ARRAY_SIZE(properties), out);
    else
        term_put_atom(out, "undefined");
    return RPC_RETURN;
}

OBSERVER_FN(observer_ets_item)
{
    const struct table *t = find_table(call->argv[0]);
    for (size_t i = 0; t && i < ARRAY_SIZE(properties); i++) {
        if (!term_is_atom(call->argv[1], properties[i].name))
            continue;
        properties[i].put(server, t, out);
        return RPC_RETURN;
    }
    term_put_atom(out, t ? "badarg" : "undefined");
    return t ? RPC_ERROR : RPC_RETURN;
}

/* ---- objects ------------------------------------------------------------------------------------------- */

static void put_text_or_nil(struct buf *b, struct slice text)
{
    if (text.ptr)
        term_put_binary(b, text);
    else
        term_put_atom(b, "nil");
}

/* {{Service, Type, Version}, Config} */
static bool put_config(const struct server *s, size_t *pos, struct buf *b)
{
    const struct fun_config *fc = config_db_next(s->db, pos);
    if (!fc)
        return false;
    term_put_list(b, 1);
    term_put_tuple(b, 2);
    term_put_tuple(b, 3);
    term_put_binary(b, fc->service);
    term_put_binary(b, fc->request_type);
    put_text_or_nil(b, fc->version);
    term_put_raw(b, fc->term);
    term_put_nil(b);
    return true;
}

/* {Id, Service, Type, Version, [Reason], Config} */
static bool put_failed(const struct server *s, size_t *pos, struct buf *b)
{
    struct config_failed_entry e;
    if (!config_failed_next(s->failed, pos, &e))
        return false;
    term_put_list(b, 1);
    term_put_tuple(b, 6);
    term_put_uint(b, e.id);
    put_text_or_nil(b, e.service);
    put_text_or_nil(b, e.request_type);
    put_text_or_nil(b, e.version);
    term_put_list(b, e.reasons_count);
    for (uint32_t i = 0; i < e.reasons_count; i++)
        term_put_text(b, e.reasons[i]);
    if (e.reasons_count)
        term_put_nil(b);
    if (e.term.len)
        term_put_raw(b, e.term);
    else
        term_put_atom(b, "nil");
    term_put_nil(b);
    return true;
}

uint32_t observer_put_rows(const struct server *s, enum observer_table t, size_t *pos, struct buf *b)
{
    struct list_mark m = list_open(b);
    while (m.count < TABLE_ROWS_A_MESSAGE && (t == TABLE_CONFIGS ? put_config(s, pos, b) : put_failed(s, pos, b)))
        m.count++;
    list_close(b, &m);
    return m.count;
}
