/*
 * arg_spec.c: see arg_spec.h. Argument types come as an atom, a tuple or a keyword list; all three end in the
 * same struct arg_spec. What the library's documents promise and its validation refuses is accepted (F-057 for
 * one argument, F-058, F-061, F-064 wants).
 *
 * Invariant: after success fc->args is sorted by name without repetition, and every index in fc->order is below
 * fc->args_count and occurs once.
 *
 * It does not check default values against their type (F-066).
 */
#include "arg_spec.h"

#include <stdlib.h>

#include "json.h"

enum {
    TAKES_BYTES = 1,      /* max_bytes, and N of {type, N} */
    TAKES_ITEMS = 2,      /* max_items, and N of {type, N} */
    TAKES_ITEM_BYTES = 4, /* max_item_bytes, and M of {type, N, M} */
    TAKES_KEYS = 8        /* required, accept */
};

/* F-060, F-061 want. */
static const struct {
    const char *name;
    unsigned takes;
} type_rows[] = {
    [ARG_STRING] = {"string", TAKES_BYTES},
    [ARG_NUM] = {"num", 0},
    [ARG_BOOLEAN] = {"boolean", 0},
    [ARG_UUID] = {"uuid", 0},
    [ARG_DATETIME] = {"datetime", 0},
    [ARG_NAIVE_DATETIME] = {"naive_datetime", 0},
    [ARG_LIST] = {"list", TAKES_ITEMS},
    [ARG_LIST_STRING] = {"list_string", TAKES_ITEMS | TAKES_ITEM_BYTES},
    [ARG_LIST_NUM] = {"list_num", TAKES_ITEMS},
    [ARG_LIST_UUID] = {"list_uuid", TAKES_ITEMS},
    [ARG_LIST_MAP] = {"list_map", TAKES_ITEMS},
    [ARG_MAP] = {"map", TAKES_ITEMS | TAKES_KEYS},
    [ARG_ANY] = {"any", 0},
};

const char *arg_type_name(enum arg_type type)
{
    return type_rows[type].name;
}

/* What one spec is read with. */
struct spec_reader {
    struct arena *arena;
    struct arg_spec *spec;
    unsigned takes;
    struct buf *detail;
};

/* "argument "name": what", or with a term: "...: what :term". */
static int spec_bad(struct spec_reader *sr, const char *what, struct slice term)
{
    struct slice name = sr->spec->name;
    size_t shown = utf8_valid_prefix(name.ptr, name.len < 60 ? name.len : 60);
    buf_reset(sr->detail);
    buf_printf(sr->detail, "argument \"%.*s\": %s", (int)shown, name.ptr, what);
    if (term.ptr) {
        buf_putc(sr->detail, ' ');
        term_inspect(term, sr->detail, 60);
    }
    return BG_EINVAL;
}

/* What the type takes decides which limits mean anything for it (F-065). */
static int spec_type(struct spec_reader *sr, struct slice term)
{
    for (size_t i = 0; i < ARRAY_SIZE(type_rows); i++) {
        if (term_is_atom(term, type_rows[i].name)) {
            sr->spec->type = (enum arg_type)i;
            sr->takes = type_rows[i].takes;
            return BG_OK;
        }
    }
    return spec_bad(sr, "unknown type", term);
}

/* Zero would mean "the default" in struct arg_spec, and a negative limit means nothing. */
static int spec_limit(struct spec_reader *sr, struct slice term, uint64_t *limit)
{
    struct term_reader r = term_reader(term);
    int64_t n;
    if (term_read_int(&r, &n) != BG_OK || n <= 0)
        return spec_bad(sr, "a limit must be a positive integer, not", term);
    *limit = (uint64_t)n;
    return BG_OK;
}

/* A list of names, atoms or binaries, into the arena. */
static int spec_names(struct spec_reader *sr, struct slice term, struct slice **names, uint32_t *count)
{
    struct term_reader r = term_reader(term);
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK || n > FUN_CONFIG_LIST_MAX)
        return spec_bad(sr, "required and accept must be lists of keys, not", term);
    *names = arena_array(sr->arena, n, sizeof(**names));
    if (!*names)
        return BG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        struct slice item = SLICE_NONE;
        if (term_skip(&r, &item) != BG_OK || !term_text(item, &(*names)[i]))
            return spec_bad(sr, "a key must be a string, not", item);
    }
    if (n > 0 && term_read_tail(&r) != BG_OK)
        return spec_bad(sr, "required and accept must be proper lists, not", term);
    *count = n;
    return BG_OK;
}

/* The options of F-065. An option that the type does not take is ignored (want of F-0651). */
static int option_max_bytes(struct spec_reader *sr, struct slice value)
{
    return sr->takes & TAKES_BYTES ? spec_limit(sr, value, &sr->spec->max_bytes) : BG_OK;
}

static int option_max_items(struct spec_reader *sr, struct slice value)
{
    return sr->takes & TAKES_ITEMS ? spec_limit(sr, value, &sr->spec->max_items) : BG_OK;
}

static int option_max_item_bytes(struct spec_reader *sr, struct slice value)
{
    return sr->takes & TAKES_ITEM_BYTES ? spec_limit(sr, value, &sr->spec->max_item_bytes) : BG_OK;
}

static int option_allow_nil(struct spec_reader *sr, struct slice value)
{
    sr->spec->allow_nil = term_is_atom(value, "true");
    return BG_OK;
}

static int option_default(struct spec_reader *sr, struct slice value)
{
    sr->spec->default_term = value;
    return BG_OK;
}

static int option_required(struct spec_reader *sr, struct slice value)
{
    return sr->takes & TAKES_KEYS ? spec_names(sr, value, &sr->spec->required, &sr->spec->required_count) : BG_OK;
}

static int option_accept(struct spec_reader *sr, struct slice value)
{
    return sr->takes & TAKES_KEYS ? spec_names(sr, value, &sr->spec->accept, &sr->spec->accept_count) : BG_OK;
}

static const struct {
    const char *name;
    int (*apply)(struct spec_reader *sr, struct slice value);
} options[] = {
    {"max_bytes", option_max_bytes},  {"max_items", option_max_items},   {"max_item_bytes", option_max_item_bytes},
    {"allow_nil?", option_allow_nil}, {"default_value", option_default}, {"required", option_required},
    {"accept", option_accept},
};

/* Reads the next {atom, Value} of a keyword list. */
static int keyword_next(struct term_reader *r, struct slice *key, struct slice *value)
{
    uint32_t arity;
    if (term_read_tuple(r, &arity) != BG_OK || arity != 2 || term_read_atom(r, key) != BG_OK)
        return BG_EINVAL;
    return term_skip(r, value);
}

/* The first option of a name counts, as Keyword.get does; unknown ones are ignored. */
static int spec_option(struct spec_reader *sr, struct slice key, struct slice value, unsigned *seen)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        if (!slice_is(key, options[i].name))
            continue;
        if (*seen & 1u << i)
            return BG_OK;
        *seen |= 1u << i;
        return options[i].apply(sr, value);
    }
    return BG_OK;
}

/* One walk over a keyword list: with find_type the key `type` gives the type, else the options are applied. */
static int spec_keywords(struct spec_reader *sr, struct slice list, bool find_type)
{
    struct term_reader r = term_reader(list);
    uint32_t n, others = 0;
    unsigned seen = 0;
    bool typed = false;
    if (term_read_list(&r, &n) != BG_OK)
        return spec_bad(sr, "no type, tuple or keyword list:", list);
    for (uint32_t i = 0; i < n; i++) {
        struct slice key, value;
        if (keyword_next(&r, &key, &value) != BG_OK)
            return spec_bad(sr, "no keyword list:", list);
        bool is_type = slice_is(key, "type");
        others += !is_type;
        if (is_type && find_type && !typed) {
            typed = true;
            if (spec_type(sr, value) != BG_OK)
                return BG_EINVAL;
        } else if (!is_type && !find_type) {
            int rc = spec_option(sr, key, value, &seen);
            if (rc != BG_OK)
                return rc;
        }
    }
    if (n > 0 && term_read_tail(&r) != BG_OK)
        return spec_bad(sr, "no keyword list:", list);
    if (find_type && !typed)
        return spec_bad(sr, "no type in", list);
    /* F-0651, E-127: any option makes a map a checked one. */
    if (sr->spec->type == ARG_MAP && others > 0)
        sr->spec->checked_map = true;
    return BG_OK;
}

/* {type, N}, {type, Keywords} (F-063) and {list_string, N, M} (F-064 want). */
static int spec_tuple(struct spec_reader *sr, struct slice term)
{
    struct term_reader r = term_reader(term);
    struct slice type, second, third = SLICE_NONE;
    uint32_t arity;
    if (term_read_tuple(&r, &arity) != BG_OK || arity < 2 || arity > 3 || term_skip(&r, &type) != BG_OK ||
        term_skip(&r, &second) != BG_OK || (arity == 3 && term_skip(&r, &third) != BG_OK))
        return spec_bad(sr, "no type, tuple or keyword list:", term);
    int rc = spec_type(sr, type);
    if (rc != BG_OK)
        return rc;
    r = term_reader(second);
    enum term_kind kind = term_peek(&r);
    if (arity == 2 && (kind == TERM_LIST || kind == TERM_NIL))
        return spec_keywords(sr, second, false);
    sr->spec->checked_map = sr->spec->type == ARG_MAP;
    if (sr->takes & (TAKES_BYTES | TAKES_ITEMS))
        rc = spec_limit(sr, second, sr->takes & TAKES_BYTES ? &sr->spec->max_bytes : &sr->spec->max_items);
    if (rc != BG_OK || arity == 2)
        return rc;
    if (!(sr->takes & TAKES_ITEM_BYTES))
        return spec_bad(sr, "only list_string takes a third element:", term);
    return spec_limit(sr, third, &sr->spec->max_item_bytes);
}

/* The keyword list is walked twice: its options can stand before its type. */
static int spec_read(struct spec_reader *sr, struct slice term)
{
    struct term_reader r = term_reader(term);
    switch (term_peek(&r)) {
    case TERM_ATOM:
        return spec_type(sr, term);
    case TERM_TUPLE:
        return spec_tuple(sr, term);
    default: {
        int rc = spec_keywords(sr, term, true);
        return rc == BG_OK ? spec_keywords(sr, term, false) : rc;
    }
    }
}

/* Byte order, which is the key order of Elixir's maps up to 32 keys (E-102). */
static int compare_specs(const void *a, const void *b)
{
    return slice_compare(((const struct arg_spec *)a)->name, ((const struct arg_spec *)b)->name);
}

/* The index of the argument called name, or args_count. */
static uint32_t index_by_halving(const struct fun_config *fc, struct slice name)
{
    uint32_t low = 0, high = fc->args_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int c = slice_compare(name, fc->args[mid].name);
        if (c == 0)
            return mid;
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return fc->args_count;
}

/* Of a few names most differ from this one in length, so looking at each costs less than halving. */
const struct arg_spec *fun_config_arg(const struct fun_config *fc, struct slice name, uint32_t *index)
{
    enum { FEW = 8 };
    uint32_t i = 0;
    if (fc->args_count > FEW)
        i = index_by_halving(fc, name);
    else
        while (i < fc->args_count && !slice_eq(name, fc->args[i].name))
            i++;
    if (i == fc->args_count)
        return NULL;
    if (index)
        *index = i;
    return &fc->args[i];
}

/* Escapes are resolved only where there are some. */
const struct arg_spec *fun_config_arg_of_key(const struct fun_config *fc, struct slice raw_key, uint32_t *index)
{
    struct slice text;
    if (json_string_plain(raw_key, &text))
        return fun_config_arg(fc, text, index);
    for (*index = 0; *index < fc->args_count; ++*index)
        if (json_string_is(raw_key, fc->args[*index].name))
            return &fc->args[*index];
    return NULL;
}

/* Like spec_bad(), where no single argument is to blame. */
static int detail_set(struct buf *detail, const char *text, struct slice term)
{
    buf_reset(detail);
    buf_puts(detail, text);
    if (term.ptr)
        term_inspect(term, detail, 80);
    return BG_EINVAL;
}

static int read_one_arg(struct fun_config *fc, struct term_reader *r, struct arg_spec *spec, struct buf *detail)
{
    struct slice key, value;
    if (term_skip(r, &key) != BG_OK || term_skip(r, &value) != BG_OK)
        return detail_set(detail, "arg_types cannot be read", SLICE_NONE);
    struct term_reader kr = term_reader(key);
    if (term_read_binary(&kr, &spec->name) != BG_OK || spec->name.len > FUN_CONFIG_NAME_MAX ||
        utf8_valid_prefix(spec->name.ptr, spec->name.len) != spec->name.len)
        return detail_set(detail, "an argument name must be a string, not ", key);
    struct spec_reader sr = {&fc->memory, spec, 0, detail};
    return spec_read(&sr, value);
}

/* Sorted, so that names are found by halving, and one that occurs twice stands beside itself. */
static int read_types(struct fun_config *fc, struct slice types, struct buf *detail)
{
    struct term_reader r = term_reader(types);
    uint32_t n = 0;
    if (!term_is_nil(types) && term_read_map(&r, &n) != BG_OK)
        return detail_set(detail, "arg_types must be nil or a map, not ", types);
    if (n > FUN_CONFIG_ARGS_MAX)
        return detail_set(detail, "more than 255 arguments", SLICE_NONE);
    fc->args = arena_array(&fc->memory, n, sizeof(*fc->args));
    if (!fc->args)
        return BG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        int rc = read_one_arg(fc, &r, &fc->args[i], detail);
        if (rc != BG_OK)
            return rc;
    }
    if (n > 1)
        qsort(fc->args, n, sizeof(*fc->args), compare_specs);
    for (uint32_t i = 1; i < n; i++)
        if (slice_eq(fc->args[i - 1].name, fc->args[i].name))
            return detail_set(detail, "an argument name occurs twice in arg_types", SLICE_NONE);
    fc->args_count = n;
    return BG_OK;
}

/* F-056, F-059: the list must be a permutation of the names; [] always passes (F-051, F-053, F-054). */
static int read_order_list(struct fun_config *fc, struct slice orders, struct buf *detail)
{
    struct term_reader r = term_reader(orders);
    uint32_t n;
    bool seen[FUN_CONFIG_ARGS_MAX] = {false};
    if (term_read_list(&r, &n) != BG_OK)
        return detail_set(detail, "arg_orders must be nil, :map or a list of names, not ", orders);
    if (n == 0)
        return BG_OK;
    if (n != fc->args_count)
        return detail_set(detail, "arg_orders must name every argument of arg_types once, not ", orders);
    fc->order = arena_array(&fc->memory, n, sizeof(*fc->order));
    if (!fc->order)
        return BG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        struct slice name;
        if (term_read_binary(&r, &name) != BG_OK || !fun_config_arg(fc, name, &fc->order[i]) || seen[fc->order[i]])
            return detail_set(detail, "arg_orders must name every argument of arg_types once, not ", orders);
        seen[fc->order[i]] = true;
    }
    if (term_read_tail(&r) != BG_OK)
        return detail_set(detail, "arg_orders must be a proper list, not ", orders);
    fc->order_count = n;
    return BG_OK;
}

/* F-050..F-059. [] and nil differ only where there are arguments: [] is an order, nil a question. */
static int read_order(struct fun_config *fc, struct slice orders, struct buf *detail)
{
    if (term_is_atom(orders, "map")) {
        fc->order_map = true;
        return BG_OK;
    }
    if (!term_is_nil(orders))
        return read_order_list(fc, orders, detail);
    if (fc->args_count > 1)
        return detail_set(
            detail, "arg_orders is missing: with several arguments it must list their names in call order, or be :map",
            SLICE_NONE);
    if (fc->args_count == 1) {
        /* The only possible order (F-057 want): zeroed memory is index 0. */
        fc->order = arena_array(&fc->memory, 1, sizeof(*fc->order));
        if (!fc->order)
            return BG_ENOMEM;
        fc->order_count = 1;
    }
    return BG_OK;
}

int arg_specs_compile(struct fun_config *fc, struct slice types, struct slice orders, struct buf *detail)
{
    int rc = read_types(fc, types, detail);
    return rc == BG_OK ? read_order(fc, orders, detail) : rc;
}
