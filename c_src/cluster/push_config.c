/*
 * push_config.c: see push_config.h. The rules are the library's, with its messages in its order; where it would
 * crash on what it does not expect (a service that has no text, a list too long to be meant), there is a message, too.
 *
 * Invariant: what has no problems has a service and a version that are text, at least one node and at least one
 * config, and all configs name that service.
 *
 * It stores nothing and decides nothing: that is config_receiver.c.
 */
#include "push_config.h"

#include <stdio.h>

#include "config_receiver.h"

static const char not_fun_configs[] = "fun_configs must be a non-empty list of FunConfig structs";
static const char struct_name[] = "Elixir.PhoenixGenApi.Structs.PushConfig";
static const char fun_config_name[] = "Elixir.PhoenixGenApi.Structs.FunConfig";

static const struct slice NIL = {"w\3nil", 5};      /* SMALL_ATOM_UTF8_EXT */
static const struct slice EMPTY_LIST = {"\x6a", 1}; /* NIL_EXT */

static const char *const names[PUSH_FIELD_COUNT] = {
#define X(id, name, def) [PUSH_##id] = (name),
    PUSH_FIELDS(X)
#undef X
};

static const struct slice *const defaults[PUSH_FIELD_COUNT] = {
#define X(id, name, def) [PUSH_##id] = &(def),
    PUSH_FIELDS(X)
#undef X
};

/* ---- reading ---- */

/* False for another struct; a map without the key is taken by its other keys. */
static bool struct_is(struct slice map, const char *name)
{
    struct slice value;
    return !fun_config_field(map, "__struct__", &value) || term_is_atom(value, name);
}

/* One walk over the map, whatever else it holds; the first of two equal keys counts, and unknown ones are left out. */
bool push_config_read(struct push_config *p, struct slice term)
{
    struct term_reader r = term_reader(term);
    uint32_t n;
    memset(p, 0, sizeof(*p));
    if (term_read_map(&r, &n) != BG_OK || !struct_is(term, struct_name))
        return false;
    for (uint32_t k = 0; k < n; k++) {
        struct slice key, value, text;
        if (term_skip(&r, &key) != BG_OK || term_skip(&r, &value) != BG_OK)
            return false;
        for (unsigned i = 0; term_text(key, &text) && i < PUSH_FIELD_COUNT; i++)
            if (!p->field[i].ptr && slice_is(text, names[i]))
                p->field[i] = value;
    }
    for (unsigned i = 0; i < PUSH_FIELD_COUNT; i++)
        if (!p->field[i].ptr)
            p->field[i] = *defaults[i];
    return true;
}

/* ---- rules ---- */

/* A proper list of 1..max elements; the reader stands at the first. */
static bool read_items(struct slice list, uint32_t max, struct term_reader *r, uint32_t *n)
{
    struct slice item;
    *r = term_reader(list);
    if (term_read_list(r, n) != BG_OK || *n == 0 || *n > max)
        return false;
    struct term_reader end = *r;
    for (uint32_t i = 0; i < *n; i++)
        if (term_skip(&end, &item) != BG_OK)
            return false;
    return term_read_tail(&end) == BG_OK;
}

static bool is_longer(struct slice list, uint32_t max)
{
    struct term_reader r = term_reader(list);
    uint32_t n;
    return term_read_list(&r, &n) == BG_OK && n > max;
}

static bool nodes_are_good(struct slice nodes)
{
    struct term_reader r;
    struct slice item, text;
    uint32_t n;
    if (!read_items(nodes, FUN_CONFIG_LIST_MAX, &r, &n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (term_skip(&r, &item) != BG_OK || !term_text(item, &text) || text.len == 0)
            return false;
    return true;
}

static bool is_fun_config(struct slice item)
{
    struct term_reader r = term_reader(item);
    return term_peek(&r) == TERM_MAP && struct_is(item, fun_config_name);
}

static bool same_service(const struct push_config *p, struct slice item)
{
    struct slice value, text;
    return fun_config_field(item, "service", &value) && term_text(value, &text) && slice_eq(text, p->service);
}

/* Entirely valid, or a non-empty text as version. What only this gateway refuses is not held against the push: it ends
 * among the failed configs, and the others are taken. */
static bool version_is_good(const struct push_config *p, struct slice item)
{
    struct slice value, text;
    if (fun_config_field(item, "version", &value)) {
        struct term_reader r = term_reader(value);
        if (term_read_binary(&r, &text) == BG_OK && text.len > 0)
            return true;
    }
    struct fun_config_reasons why;
    struct fun_config *fc = fun_config_from_term(item, p->service, &why);
    bool good = fc || why.broken == 0;
    fun_config_unref(fc);
    return good;
}

/* The head of the rule about configs: the list itself. The reader stands at its first item. */
static void begin_list(struct push_check *c)
{
    struct slice list = c->p->field[PUSH_FUN_CONFIGS];
    c->left = 0;
    if (is_longer(list, PUSH_FUNCTIONS_MAX)) {
        c->wrong_list = "fun_configs must not hold more than 10000 FunConfig structs";
        return;
    }
    c->r = term_reader(list);
    if (term_read_list(&c->r, &c->left) != BG_OK || c->left == 0)
        c->wrong_list = not_fun_configs;
}

static void check_item(struct push_check *c, struct slice item)
{
    if (!is_fun_config(item)) {
        c->wrong_list = not_fun_configs;
        return;
    }
    c->other_service = c->other_service || !same_service(c->p, item);
    c->bad_version = c->bad_version || !version_is_good(c->p, item);
}

/* The last two rules are about configs that are there. */
static void end_list(struct push_check *c)
{
    if (!c->wrong_list && term_read_tail(&c->r) != BG_OK)
        c->wrong_list = not_fun_configs;
    if (c->wrong_list)
        c->problems[c->count++] = c->wrong_list;
    if (!c->wrong_list && c->other_service)
        c->problems[c->count++] = "all fun_configs must have the same service name as the push config";
    if (!c->wrong_list && c->bad_version)
        c->problems[c->count++] = "all fun_configs must have valid versions";
}

bool push_check_step(struct push_check *c, uint32_t max)
{
    struct slice item;
    for (; c->left > 0 && max > 0 && !c->wrong_list; c->left--, max--) {
        if (term_skip(&c->r, &item) == BG_OK)
            check_item(c, item);
        else
            c->wrong_list = not_fun_configs;
    }
    if (c->left > 0 && !c->wrong_list)
        return false;
    end_list(c);
    return true;
}

void push_check_begin(struct push_check *c, struct push_config *p)
{
    struct term_reader r = term_reader(p->field[PUSH_CONFIG_VERSION]);
    *c = (struct push_check){.p = p};
    if (term_is_nil(p->field[PUSH_SERVICE]))
        c->problems[c->count++] = "service must not be nil";
    else if (!term_text(p->field[PUSH_SERVICE], &p->service) || p->service.len == 0 ||
             p->service.len > FUN_CONFIG_NAME_MAX)
        c->problems[c->count++] = "service must be an atom or a string of 1 to 512 bytes";
    if (!nodes_are_good(p->field[PUSH_NODES]))
        c->problems[c->count++] = "nodes must be a non-empty list of atoms or strings";
    if (term_read_binary(&r, &p->version) != BG_OK || p->version.len == 0)
        c->problems[c->count++] = "config_version must be a non-empty string";
    else if (p->version.len > FUN_CONFIG_NAME_MAX)
        c->problems[c->count++] = "config_version must not be longer than 512 bytes";
    begin_list(c);
}

/* ---- writing ---- */

static struct slice text_of(struct slice term)
{
    struct slice text;
    return term_text(term, &text) ? text : SLICE_NONE;
}

void push_config_put(const struct push_config *p, struct buf *out, struct push_config *copy)
{
    size_t start[PUSH_FIELD_COUNT], end[PUSH_FIELD_COUNT];
    term_put_map(out, PUSH_FIELD_COUNT + 1);
    term_put_atom(out, "__struct__");
    term_put_atom(out, struct_name);
    for (unsigned i = 0; i < PUSH_FIELD_COUNT; i++) {
        term_put_atom(out, names[i]);
        start[i] = out->len;
        if (i == PUSH_PUSH_TOKEN && !term_is_nil(p->field[i]))
            term_put_text(out, "[redacted]");
        else
            term_put_raw(out, p->field[i]);
        end[i] = out->len;
    }
    if (!buf_ok(out))
        return;
    for (unsigned i = 0; i < PUSH_FIELD_COUNT; i++)
        copy->field[i] = slice_make(out->data + start[i], end[i] - start[i]);
    copy->service = text_of(copy->field[PUSH_SERVICE]);
    copy->version = text_of(copy->field[PUSH_CONFIG_VERSION]);
}

/* As the library words it; nil for a key that is not there. */
void push_config_put_invalid(struct slice item, struct buf *out)
{
    static const char *const shown[][2] = {{"request_type", "request_type="},
                                           {"service", ", service="},
                                           {"version", ", version="},
                                           {"nodes", ", nodes: "},
                                           {"mfa", ", mfa: "},
                                           {"response_type", ", response_type: "},
                                           {"check_permission", ", check_permission: "}};
    enum { VALUE_MAX = 200 };
    struct buf text;
    buf_init(&text, 4096);
    buf_puts(&text, "invalid FunConfig: ");
    for (size_t i = 0; i < ARRAY_SIZE(shown); i++) {
        struct slice value;
        buf_puts(&text, shown[i][1]);
        if (fun_config_field(item, shown[i][0], &value))
            term_inspect(value, &text, VALUE_MAX);
        else
            buf_puts(&text, "nil");
    }
    term_put_binary(out, buf_ok(&text) ? buf_slice(&text) : SLICE_LIT("invalid FunConfig"));
    buf_fini(&text);
}
