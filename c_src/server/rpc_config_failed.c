/*
 * rpc_config_failed.c: PhoenixGenApi.ConfigFailed (S-090..S-094) over rpc. Expired entries are removed before anything
 * is shown or counted (S-091).
 */
#include "rpc_functions.h"

#include <stdlib.h>
#include <time.h>

enum { LIST_DEFAULT = 100 };

int64_t rpc_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Every entry that still holds, newest first; the caller frees it. NULL when there is none, or no memory. */
static struct config_failed_entry *current(const struct server *s, size_t *count)
{
    config_failed_cleanup(s->failed, rpc_now_ms());
    size_t n = config_failed_count(s->failed), pos = 0;
    struct config_failed_entry *all = n ? calloc(n, sizeof(*all)) : NULL;
    *count = 0;
    while (all && *count < n && config_failed_next(s->failed, &pos, &all[*count]))
        ++*count;
    return all;
}

/* ---- one entry ---- */

static void put_key(struct buf *out, const char *key)
{
    term_put_atom(out, key);
}

static void put_text(struct buf *out, const char *key, struct slice text)
{
    put_key(out, key);
    if (text.ptr)
        term_put_binary(out, text);
    else
        term_put_atom(out, "nil");
}

/* The atom or text that the config had, when it is the same. */
static void put_service(struct buf *out, const struct config_failed_entry *e)
{
    struct slice as_it_came, text;
    if (fun_config_field(e->term, "service", &as_it_came) && term_text(as_it_came, &text) &&
        slice_eq(text, e->service))
        term_put_raw(out, as_it_came);
    else if (e->service.ptr)
        term_put_binary(out, e->service);
    else
        term_put_atom(out, "nil");
}

static void put_reasons(struct buf *out, const struct config_failed_entry *e)
{
    term_put_list(out, e->reasons_count);
    for (uint32_t i = 0; i < e->reasons_count; i++)
        term_put_text(out, e->reasons[i]);
    if (e->reasons_count > 0)
        term_put_nil(out);
}

static bool is_struct_key(struct slice key)
{
    struct slice text;
    return term_text(key, &text) && slice_is(text, "__struct__");
}

/* The struct as a plain map. What is no map, or was too large to keep, is shown as an empty one. */
static void put_config(struct buf *out, struct slice term)
{
    struct term_reader r = term_reader(term);
    struct slice key, value;
    uint32_t n = 0, left = 0;
    if (term.len == 0 || term_read_map(&r, &n) != BG_OK)
        n = 0;
    struct term_reader count = r;
    for (uint32_t i = 0; i < n && term_skip(&count, &key) == BG_OK && term_skip(&count, &value) == BG_OK; i++)
        left += !is_struct_key(key);
    term_put_map(out, left);
    for (uint32_t i = 0; i < n && term_skip(&r, &key) == BG_OK && term_skip(&r, &value) == BG_OK; i++) {
        if (is_struct_key(key))
            continue;
        term_put_raw(out, key);
        term_put_raw(out, value);
    }
}

/* S-090, and how often it failed, since an entry that fails again is not repeated (S-093 want). */
static void put_entry(struct buf *out, const struct config_failed_entry *e)
{
    term_put_map(out, 11);
    put_key(out, "id");
    term_put_uint(out, e->id);
    put_key(out, "service");
    put_service(out, e);
    put_text(out, "request_type", e->request_type);
    put_text(out, "version", e->version);
    put_key(out, "source");
    term_put_atom(out, e->source == CONFIG_PUSH ? "push" : "pull");
    put_key(out, "node");
    if (e->node.ptr)
        term_put_atom_slice(out, e->node);
    else
        term_put_atom(out, "nil");
    put_key(out, "reason");
    put_reasons(out, e);
    put_key(out, "config");
    put_config(out, e->term);
    put_key(out, "inserted_at_ms");
    term_put_int(out, e->inserted_at_ms);
    put_key(out, "expires_at_ms");
    term_put_int(out, e->expires_at_ms);
    put_key(out, "times");
    term_put_uint(out, e->times);
}

/* ---- list ---- */

struct filter {
    struct slice service; /* text; ptr NULL: any */
    int source;           /* enum config_source; -1: any */
    int64_t limit;
    bool oldest_first;
};

/* One option {Key, Value}. False for a value of a wrong kind; keys that are not known are passed over. */
static bool read_option(struct filter *f, struct slice option)
{
    struct term_reader r = term_reader(option);
    struct slice key, value, word;
    uint32_t arity;
    if (term_read_tuple(&r, &arity) != BG_OK || arity != 2 || term_read_atom(&r, &key) != BG_OK ||
        term_skip(&r, &value) != BG_OK)
        return false;
    r = term_reader(value);
    if (slice_is(key, "limit"))
        return term_read_int(&r, &f->limit) == BG_OK && f->limit >= 0;
    if (term_is_nil(value))
        return true;
    if (slice_is(key, "service"))
        return term_text(value, &f->service);
    bool atom = term_read_atom(&r, &word) == BG_OK;
    if (slice_is(key, "source")) {
        f->source = atom && slice_is(word, "push") ? CONFIG_PUSH : CONFIG_PULL;
        return f->source == CONFIG_PUSH || (atom && slice_is(word, "pull"));
    }
    if (slice_is(key, "order")) {
        f->oldest_first = atom && slice_is(word, "oldest_first");
        return f->oldest_first || (atom && slice_is(word, "newest_first"));
    }
    return true;
}

static bool read_filter(struct filter *f, struct slice options)
{
    struct term_reader r = term_reader(options);
    struct slice option;
    uint32_t n;
    *f = (struct filter){.source = -1, .limit = LIST_DEFAULT};
    if (options.len == 0)
        return true;
    if (term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (term_skip(&r, &option) != BG_OK || !read_option(f, option))
            return false;
    return true;
}

static bool passes(const struct filter *f, const struct config_failed_entry *e)
{
    return (f->source < 0 || f->source == (int)e->source) && (!f->service.ptr || slice_eq(f->service, e->service));
}

/* Keeps what passes, in the order asked for, up to the limit. Returns how many. */
static size_t select_entries(struct config_failed_entry *all, size_t count, const struct filter *f)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (passes(f, &all[i]))
            all[n++] = all[i];
    for (size_t i = 0; f->oldest_first && i < n / 2; i++) {
        struct config_failed_entry swap = all[i];
        all[i] = all[n - 1 - i];
        all[n - 1 - i] = swap;
    }
    return (int64_t)n > f->limit ? (size_t)f->limit : n;
}

static void put_entries(struct buf *out, const struct config_failed_entry *e, size_t n)
{
    term_put_list(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_entry(out, &e[i]);
    if (n > 0)
        term_put_nil(out);
}

/* list/0 and list/1 (S-091). */
enum rpc_outcome rpc_failed_list(void *server, const struct rpc_call *call, struct buf *out)
{
    struct filter f;
    size_t count;
    if (!read_filter(&f, call->argc > 0 ? call->argv[0] : SLICE_NONE))
        return RPC_ERROR;
    struct config_failed_entry *all = current(server, &count);
    put_entries(out, all, select_entries(all, count, &f));
    free(all);
    return RPC_RETURN;
}

/* ---- counting and clearing ---- */

enum rpc_outcome rpc_failed_count(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    config_failed_cleanup(s->failed, rpc_now_ms());
    return rpc_put_count(out, config_failed_count(s->failed));
}

enum rpc_outcome rpc_failed_cleanup(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    return rpc_put_count(out, config_failed_cleanup(s->failed, rpc_now_ms()));
}

enum rpc_outcome rpc_failed_clear(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    config_failed_clear(s->failed);
    return rpc_put_atom(out, "ok");
}

/* ---- summary ---- */

/* By service; the newest first within one, which the equal ids of one entry cannot disturb. */
static int by_service(const void *a, const void *b)
{
    const struct config_failed_entry *x = a, *y = b;
    int c = slice_compare(x->service, y->service);
    return c ? c : (x->inserted_at_ms < y->inserted_at_ms) - (x->inserted_at_ms > y->inserted_at_ms);
}

static size_t run_of(const struct config_failed_entry *e, size_t left)
{
    size_t n = 0;
    while (n < left && slice_eq(e[n].service, e[0].service))
        n++;
    return n;
}

static void put_by_service(struct buf *out, struct config_failed_entry *all, size_t count)
{
    uint32_t groups = 0;
    if (count > 0)
        qsort(all, count, sizeof(*all), by_service);
    for (size_t i = 0; i < count; i += run_of(all + i, count - i))
        groups++;
    term_put_map(out, groups);
    for (size_t i = 0, n; i < count; i += n) {
        n = run_of(all + i, count - i);
        put_service(out, &all[i]);
        put_entries(out, all + i, n);
    }
}

static void put_one(struct buf *out, const char *key, const struct config_failed_entry *e)
{
    put_key(out, key);
    if (e)
        put_entry(out, e);
    else
        term_put_atom(out, "nil");
}

static size_t count_source(const struct config_failed_entry *all, size_t count, enum config_source source)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += all[i].source == source;
    return n;
}

/* S-092. */
enum rpc_outcome rpc_failed_summary(void *server, const struct rpc_call *call, struct buf *out)
{
    size_t count;
    struct config_failed_entry *all = current(server, &count);
    (void)call;
    term_put_map(out, 6);
    put_key(out, "total");
    term_put_uint(out, count);
    put_key(out, "pull");
    term_put_uint(out, count_source(all, count, CONFIG_PULL));
    put_key(out, "push");
    term_put_uint(out, count_source(all, count, CONFIG_PUSH));
    put_one(out, "oldest", count > 0 ? &all[count - 1] : NULL);
    put_one(out, "newest", count > 0 ? &all[0] : NULL);
    put_key(out, "by_service"); /* last: it puts them into another order */
    put_by_service(out, all, count);
    free(all);
    return RPC_RETURN;
}

/* ---- record ---- */

static void add_reason(struct fun_config_reasons *why, struct slice term)
{
    struct slice text;
    struct buf shown;
    buf_init(&shown, 0);
    if (!term_text(term, &text)) {
        term_inspect(term, &shown, FUN_CONFIG_REASON_MAX);
        text = buf_slice(&shown);
    }
    fun_config_reason(why, "%.*s", (int)text.len, text.len ? text.ptr : "");
    buf_fini(&shown);
}

/* A text, or a list of them, of which the first are kept. False for an improper list. */
static bool read_reasons(struct slice term, struct fun_config_reasons *why)
{
    struct term_reader r = term_reader(term);
    struct slice item;
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK) {
        add_reason(why, term);
        return true;
    }
    bool proper = n == 0;
    for (; n > 0 && term_skip(&r, &item) == BG_OK; n--)
        if (why->count < FUN_CONFIG_REASONS)
            add_reason(why, item);
    return proper || term_read_tail(&r) == BG_OK;
}

/* An atom; nil is none. */
static bool read_node(struct slice term, struct slice *node)
{
    struct term_reader r = term_reader(term);
    return term_is_nil(term) || term_read_atom(&r, node) == BG_OK;
}

/* record/3 and record/4 (S-090): the entry as it is now. One that has failed before is the same entry (S-093 want). */
enum rpc_outcome rpc_failed_record(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct fun_config_reasons why = {.count = 0};
    struct config_failed_entry entry;
    struct term_reader config = term_reader(call->argv[0]);
    struct slice node = SLICE_NONE;
    bool push = term_is_atom(call->argv[2], "push");
    size_t newest = 0;
    if (term_peek(&config) != TERM_MAP || (!push && !term_is_atom(call->argv[2], "pull")) ||
        (call->argc > 3 && !read_node(call->argv[3], &node)) || !read_reasons(call->argv[1], &why))
        return RPC_ERROR;
    config_failed_record(s->failed, call->argv[0], SLICE_NONE, &why, push ? CONFIG_PUSH : CONFIG_PULL, node,
                         rpc_now_ms());
    if (!config_failed_next(s->failed, &newest, &entry)) {
        term_put_atom(out, "system_limit");
        return RPC_ERROR;
    }
    put_entry(out, &entry);
    return RPC_RETURN;
}
