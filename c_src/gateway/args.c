/*
 * args.c: see args.h. A table of checks by type; each appends the converted value to the output or writes the
 * text that the library's clients know into the message (E-101..E-127, F-060..F-066).
 *
 * Two texts differ from the library's on purpose: where it lets an Erlang error through ("1st argument: not a
 * bitstring") the type is named as for the other types (E-110 want).
 */
#include "args.h"

#include <stdlib.h>

#include "iso8601.h"
#include "transcode.h"

enum {
    ARGS_MAX = 255,    /* declared arguments of one function; fun_config refuses more */
    NAMES_LISTED = 50, /* names shown in an error, as Elixir's inspect does */
    NAMES_MAX = 1024,  /* names collected for one error */
    INSPECT_MAX = 2048,
    /* E-116, E-127: values inside lists and checked maps have the library's fixed bounds. */
    INNER_STRING_MAX = 3000,
    INNER_LIST_MAX = 1000
};

/* One argument list being built. */
struct build {
    const struct fun_config *fc;
    const struct args_limits *lim;
    struct buf *out;
    struct buf *message;
};

/* -- texts ------------------------------------------------------------------------------------- */

static void put_inspected_text(struct buf *out, struct slice text)
{
    struct buf term;
    buf_init(&term, 0);
    term_put_binary(&term, text);
    term_inspect(buf_slice(&term), out, INSPECT_MAX);
    buf_fini(&term);
}

/* A client's value as Elixir would show it. */
static void put_inspected_value(const struct build *b, struct slice raw)
{
    struct buf term;
    buf_init(&term, 0);
    if (json_to_term(raw, &term, &b->lim->json, NULL) == BG_OK && buf_ok(&term))
        term_inspect(buf_slice(&term), b->message, INSPECT_MAX);
    buf_fini(&term);
}

/* Fails with head "name" tail. */
static int fail_named(const struct build *b, const char *head, struct slice name, const char *tail)
{
    buf_puts(b->message, head);
    put_inspected_text(b->message, name);
    buf_puts(b->message, tail);
    return BG_EINVAL;
}

static int fail_value(const struct build *b, const char *head, struct slice raw, const char *tail)
{
    buf_puts(b->message, head);
    put_inspected_value(b, raw);
    buf_puts(b->message, tail);
    return BG_EINVAL;
}

static int fail(const struct build *b, const char *text)
{
    buf_puts(b->message, text);
    return BG_EINVAL;
}

/* … in "request_type" */
static int fail_in_request(const struct build *b, const char *head, struct slice name, const char *middle)
{
    fail_named(b, head, name, middle);
    put_inspected_text(b->message, b->fc->request_type);
    return BG_EINVAL;
}

static int fail_type(const struct build *b, const struct arg_spec *spec, struct slice raw, const char *note)
{
    fail_named(b, "invalid argument type for ", spec->name, ", expected :");
    buf_puts(b->message, arg_type_name(spec->type));
    buf_puts(b->message, note);
    return fail_value(b, ", got ", raw, "");
}

static int fail_items(const struct build *b, const struct arg_spec *spec, uint64_t max)
{
    fail_in_request(b, "invalid argument size for ", spec->name, " in ");
    buf_printf(b->message, ", max %llu items", (unsigned long long)max);
    return BG_EINVAL;
}

/* A growing list of names for one error: sorted, without repeats, in the shape of Elixir's inspect. */
struct names {
    struct slice name[NAMES_MAX];
    size_t count;
};

static int compare_names(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static void put_names(struct buf *out, struct names *n)
{
    qsort(n->name, n->count, sizeof(n->name[0]), compare_names);
    buf_putc(out, '[');
    size_t shown = 0;
    for (size_t i = 0; i < n->count; i++) {
        if (i > 0 && slice_eq(n->name[i], n->name[i - 1]))
            continue;
        buf_puts(out, shown ? ", " : "");
        if (shown++ == NAMES_LISTED) {
            buf_puts(out, "...");
            break;
        }
        put_inspected_text(out, n->name[i]);
    }
    buf_putc(out, ']');
}

/* -- strings ----------------------------------------------------------------------------------- */

/* A raw string's text; room holds it when it had escapes. The caller finishes room. */
static struct slice string_text(struct slice raw, struct buf *room)
{
    buf_init(room, 0);
    return json_string_in(raw, room);
}

/* Whether a raw string has more than max bytes once unescaped, which never makes it longer. */
static bool string_over(struct slice raw, uint64_t max)
{
    struct buf room;
    if (raw.len - 2 <= max)
        return false;
    bool over = string_text(raw, &room).len > max;
    buf_fini(&room);
    return over;
}

static int put_value(const struct build *b, struct slice raw)
{
    return json_to_term(raw, b->out, &b->lim->json, NULL);
}

static uint64_t limit_of(uint64_t own, uint32_t otherwise)
{
    return own ? own : otherwise;
}

/* E-110 */
static int check_string(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    if (json_kind(raw) != JSON_STRING)
        return fail_type(b, spec, raw, "");
    uint64_t max = limit_of(spec->max_bytes, b->lim->string_max_bytes);
    if (string_over(raw, max)) {
        fail_named(b, "invalid argument size for ", spec->name, ", max ");
        buf_printf(b->message, "%llu bytes", (unsigned long long)max);
        return BG_EINVAL;
    }
    return put_value(b, raw);
}

/* E-111 */
static int check_num(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    return json_kind(raw) == JSON_NUMBER ? put_value(b, raw) : fail_type(b, spec, raw, "");
}

/* E-112 */
static int check_boolean(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    enum json_kind kind = json_kind(raw);
    return kind == JSON_TRUE || kind == JSON_FALSE ? put_value(b, raw) : fail_type(b, spec, raw, "");
}

/* What a character may be part of. */
enum { HEX = 1, BASE64URL = 2 };
static const uint8_t char_class[256] = {
    ['0' ... '9'] = HEX | BASE64URL,
    ['a' ... 'f'] = HEX | BASE64URL,
    ['A' ... 'F'] = HEX | BASE64URL,
    ['g' ... 'z'] = BASE64URL,
    ['G' ... 'Z'] = BASE64URL,
    ['-'] = BASE64URL,
    ['_'] = BASE64URL,
};

/* Whether n characters are all of a class. */
static inline bool all_are(const char *p, size_t n, uint8_t class)
{
    uint8_t common = class;
    for (size_t i = 0; i < n; i++)
        common &= char_class[(uint8_t)p[i]];
    return common != 0;
}

static bool is_canonical_uuid(struct slice s)
{
    const char *p = s.ptr;
    return s.len == 36 && p[8] == '-' && p[13] == '-' && p[18] == '-' && p[23] == '-' && all_are(p, 8, HEX) &&
           all_are(p + 9, 4, HEX) && all_are(p + 14, 4, HEX) && all_are(p + 19, 4, HEX) && all_are(p + 24, 12, HEX);
}

/* E-113: canonical, 32 hex digits, urn:uuid:…, 22-character slug, or 16 raw bytes. */
static bool is_uuid(struct slice s)
{
    static const char urn[] = "urn:uuid:";
    if (s.len > sizeof(urn) - 1 && memcmp(s.ptr, urn, sizeof(urn) - 1) == 0)
        return is_canonical_uuid(slice_make(s.ptr + sizeof(urn) - 1, s.len - (sizeof(urn) - 1)));
    return is_canonical_uuid(s) || (s.len == 32 && all_are(s.ptr, 32, HEX)) ||
           (s.len == 22 && all_are(s.ptr, 22, BASE64URL)) || s.len == 16;
}

static bool raw_is_uuid(struct slice raw)
{
    struct buf room;
    if (json_kind(raw) != JSON_STRING)
        return false;
    bool yes = is_uuid(string_text(raw, &room));
    buf_fini(&room);
    return yes;
}

static int check_uuid(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    if (!raw_is_uuid(raw))
        return fail_named(b, "invalid argument value for ", spec->name, ", require a UUID format string");
    return put_value(b, raw);
}

/* E-114 with its want: any offset is accepted. */
static int check_datetime(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    struct date_time dt;
    struct buf room;
    if (json_kind(raw) != JSON_STRING)
        return fail_type(b, spec, raw, " (ISO 8601 string)");
    const char *why = iso8601_parse(string_text(raw, &room), &dt);
    buf_fini(&room);
    if (!why && !dt.has_offset)
        why = "missing_offset";
    if (!why && !date_time_to_utc(&dt))
        why = "invalid_date";
    if (why) {
        fail_named(b, "invalid datetime format for ", spec->name, ": ");
        return fail(b, why);
    }
    term_put_datetime(b->out, &dt);
    return BG_OK;
}

/* E-115 */
static int check_naive_datetime(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    struct date_time dt;
    struct buf room;
    if (json_kind(raw) != JSON_STRING)
        return fail_type(b, spec, raw, " (ISO 8601 string)");
    const char *why = iso8601_parse(string_text(raw, &room), &dt);
    buf_fini(&room);
    if (why) {
        fail_named(b, "invalid naive_datetime format for ", spec->name, ": ");
        return fail(b, why);
    }
    term_put_naive_datetime(b->out, &dt);
    return BG_OK;
}

/* -- lists and maps ------------------------------------------------------------------------------ */

static uint64_t count_items(struct slice raw)
{
    struct json_iter it;
    struct slice key, value;
    uint64_t n = 0;
    json_iter_init(&it, raw);
    while (json_iter_next(&it, &key, &value))
        n++;
    return n;
}

/* E-116: why an untyped list may not hold the item, or NULL. */
static const char *item_refusal(struct slice item)
{
    switch (json_kind(item)) {
    case JSON_ARRAY:
        return "nested list is not supported yet";
    case JSON_OBJECT:
        return "nested map is not supported yet";
    case JSON_NULL:
        return "unsupported type nil";
    case JSON_STRING:
        return string_over(item, INNER_STRING_MAX) ? "string item in list exceeds max byte size" : NULL;
    default:
        return NULL;
    }
}

/* E-117: what a typed list may hold. */
static bool typed_item_fits(const struct build *b, const struct arg_spec *spec, struct slice item)
{
    switch (spec->type) {
    case ARG_LIST_STRING:
        return json_kind(item) == JSON_STRING &&
               !string_over(item, limit_of(spec->max_item_bytes, b->lim->string_max_bytes));
    case ARG_LIST_NUM:
        return json_kind(item) == JSON_NUMBER;
    case ARG_LIST_UUID:
        return raw_is_uuid(item);
    default:
        return json_kind(item) == JSON_OBJECT;
    }
}

/* A list that is too long is refused for that, whatever it holds: so the first bad item waits for the last one. */
static int check_list(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    struct json_iter it;
    struct slice key, item, bad = SLICE_NONE;
    uint64_t max = limit_of(spec->max_items, b->lim->list_max_items), n = 0;
    bool untyped = spec->type == ARG_LIST;
    if (json_kind(raw) != JSON_ARRAY)
        return fail_type(b, spec, raw, "");
    json_iter_init(&it, raw);
    while (json_iter_next(&it, &key, &item)) {
        if (n++ == max)
            return fail_items(b, spec, max);
        if (!bad.ptr && (untyped ? item_refusal(item) != NULL : !typed_item_fits(b, spec, item)))
            bad = item;
    }
    if (!bad.ptr)
        return put_value(b, raw);
    return untyped ? fail(b, item_refusal(bad)) : fail_value(b, "unsupported type of ", bad, " in list");
}

static bool object_has(struct slice raw, struct slice name)
{
    struct json_iter it;
    struct slice key, value;
    json_iter_init(&it, raw);
    while (json_iter_next(&it, &key, &value))
        if (json_string_is(key, name))
            return true;
    return false;
}

static bool listed(struct slice key_raw, const struct slice *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (json_string_is(key_raw, names[i]))
            return true;
    return false;
}

static int fail_map_keys(const struct build *b, const struct arg_spec *spec, const char *what, struct names *n)
{
    fail_named(b, "map argument ", spec->name, what);
    put_names(b->message, n);
    buf_puts(b->message, " in ");
    put_inspected_text(b->message, b->fc->request_type);
    return BG_EINVAL;
}

static int check_required_keys(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    struct names missing;
    missing.count = 0;
    for (uint32_t i = 0; i < spec->required_count && missing.count < NAMES_MAX; i++)
        if (!object_has(raw, spec->required[i]))
            missing.name[missing.count++] = spec->required[i];
    return missing.count ? fail_map_keys(b, spec, " missing required keys: ", &missing) : BG_OK;
}

/* Adds a key to the names; those with escapes are kept in room, which the caller sized so that it does not move. */
static void add_name(struct names *n, struct slice raw_key, struct buf *room)
{
    struct slice text;
    if (n->count == NAMES_MAX)
        return;
    if (!json_string_plain(raw_key, &text)) {
        size_t at = room->len;
        json_string_text(raw_key, room);
        text = slice_make(room->data + at, room->len - at);
    }
    n->name[n->count++] = text;
}

static int check_accepted_keys(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    struct json_iter it;
    struct slice key, value;
    struct names rejected;
    struct buf room;
    int rc = BG_OK;
    if (spec->accept_count == 0)
        return BG_OK;
    rejected.count = 0;
    buf_init(&room, 0);
    (void)buf_reserve(&room, raw.len);
    json_iter_init(&it, raw);
    while (json_iter_next(&it, &key, &value))
        if (!listed(key, spec->accept, spec->accept_count))
            add_name(&rejected, key, &room);
    if (rejected.count)
        rc = fail_map_keys(b, spec, " contains rejected keys: ", &rejected);
    buf_fini(&room);
    return rc;
}

static int fail_key(const struct build *b, const char *head, struct slice raw_key)
{
    struct buf room;
    int rc = fail_named(b, head, string_text(raw_key, &room), "");
    buf_fini(&room);
    return rc;
}

/* E-127: what a checked map may hold. */
static int check_map_value(const struct build *b, struct slice key, struct slice value)
{
    struct json_iter it;
    struct slice none, item;
    switch (json_kind(value)) {
    case JSON_OBJECT:
        return fail(b, "nested map is not supported yet");
    case JSON_NULL:
        return fail_key(b, "unsupported type nil in map for key ", key);
    case JSON_STRING:
        if (string_over(value, INNER_STRING_MAX))
            return fail_key(b, "nested map string value exceeds max byte size for key ", key);
        return BG_OK;
    case JSON_ARRAY:
        if (count_items(value) > INNER_LIST_MAX)
            return fail_key(b, "nested map list value exceeds max items for key ", key);
        json_iter_init(&it, value);
        while (json_iter_next(&it, &none, &item)) {
            if (item_refusal(item))
                return fail(b, item_refusal(item));
        }
        return BG_OK;
    default:
        return BG_OK;
    }
}

static int check_map_values(const struct build *b, struct slice raw)
{
    struct json_iter it;
    struct slice key, value;
    int rc = BG_OK;
    json_iter_init(&it, raw);
    while (rc == BG_OK && json_iter_next(&it, &key, &value))
        rc = check_map_value(b, key, value);
    return rc;
}

/* E-118, E-127 */
static int check_map(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    if (json_kind(raw) != JSON_OBJECT)
        return fail_value(b, "expected a map, got: ", raw, "");
    uint64_t max = limit_of(spec->max_items, b->lim->map_max_items);
    if (count_items(raw) > max)
        return fail_items(b, spec, max);
    if (spec->checked_map) {
        int rc = check_required_keys(b, spec, raw);
        rc = rc == BG_OK ? check_accepted_keys(b, spec, raw) : rc;
        rc = rc == BG_OK ? check_map_values(b, raw) : rc;
        if (rc != BG_OK)
            return rc;
    }
    return put_value(b, raw);
}

/* F-062 want: passed through unchanged. */
static int check_any(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    (void)spec;
    return put_value(b, raw);
}

static int (*const check_type[])(const struct build *, const struct arg_spec *, struct slice raw) = {
    [ARG_STRING] = check_string,  [ARG_NUM] = check_num,           [ARG_BOOLEAN] = check_boolean,
    [ARG_UUID] = check_uuid,      [ARG_DATETIME] = check_datetime, [ARG_NAIVE_DATETIME] = check_naive_datetime,
    [ARG_LIST] = check_list,      [ARG_LIST_STRING] = check_list,  [ARG_LIST_NUM] = check_list,
    [ARG_LIST_UUID] = check_list, [ARG_LIST_MAP] = check_list,     [ARG_MAP] = check_map,
    [ARG_ANY] = check_any,
};

/* -- the list ------------------------------------------------------------------------------------ */

/* Which raw value belongs to which declared argument; ptr NULL where the key is absent. */
struct given {
    struct slice value[ARGS_MAX];
};

static int fail_extra(const struct build *b, struct slice args)
{
    struct json_iter it;
    struct slice key, value;
    struct names extra;
    struct buf room;
    uint32_t index;
    extra.count = 0;
    buf_init(&room, 0);
    (void)buf_reserve(&room, args.len);
    json_iter_init(&it, args);
    while (json_iter_next(&it, &key, &value)) {
        if (!fun_config_arg_of_key(b->fc, key, &index))
            add_name(&extra, key, &room);
    }
    fail_named(b, "extra arguments for ", b->fc->request_type, ", extra: ");
    put_names(b->message, &extra);
    buf_fini(&room);
    return BG_EINVAL;
}

/* E-101: finds each declared argument's value; the first of duplicate keys counts (E-234). */
static int collect(const struct build *b, struct slice args, struct given *g)
{
    struct json_iter it;
    struct slice key, value;
    uint32_t index;
    memset(g, 0, sizeof(g->value[0]) * b->fc->args_count);
    json_iter_init(&it, args);
    while (json_iter_next(&it, &key, &value)) {
        if (!fun_config_arg_of_key(b->fc, key, &index))
            return fail_extra(b, args);
        if (!g->value[index].ptr)
            g->value[index] = value;
    }
    return BG_OK;
}

/* E-102, E-103: one argument's term. */
static int put_arg(const struct build *b, const struct arg_spec *spec, struct slice raw)
{
    if (!raw.ptr && spec->default_term.ptr) {
        term_put_raw(b->out, spec->default_term);
        return BG_OK;
    }
    if (raw.ptr && json_kind(raw) != JSON_NULL)
        return check_type[spec->type](b, spec, raw);
    if (!spec->allow_nil)
        return fail_in_request(b, "missing or nil argument ", spec->name, " in ");
    term_put_atom(b->out, "nil");
    return BG_OK;
}

/* Arguments are checked in the order of their names, so that the first error is the library's; when the call
 * wants another order they are put in it afterwards. */
static int reorder(const struct build *b, size_t start, const size_t *at)
{
    const struct fun_config *fc = b->fc;
    size_t end = b->out->len;
    if (!buf_ok(b->out))
        return BG_ENOMEM;
    for (uint32_t i = 0; i < fc->order_count; i++) {
        size_t from = at[fc->order[i]], to = at[fc->order[i] + 1];
        if (!buf_reserve(b->out, to - from))
            return BG_ENOMEM;
        memcpy(b->out->data + b->out->len, b->out->data + from, to - from);
        b->out->len += to - from;
    }
    size_t ordered = b->out->len - end;
    memmove(b->out->data + start, b->out->data + end, ordered);
    buf_truncate(b->out, start + ordered);
    return BG_OK;
}

/* E-104 */
static int put_list(const struct build *b, const struct given *g, uint32_t *count)
{
    const struct fun_config *fc = b->fc;
    size_t at[ARGS_MAX + 1], start = b->out->len;
    for (uint32_t i = 0; i < fc->args_count; i++) {
        at[i] = b->out->len;
        int rc = put_arg(b, &fc->args[i], g->value[i]);
        if (rc != BG_OK)
            return rc;
    }
    at[fc->args_count] = b->out->len;
    *count = fc->args_count == 1 ? 1 : fc->order_count;
    return fc->args_count == 1 ? BG_OK : reorder(b, start, at);
}

static int put_map_argument(const struct build *b, const struct given *g, uint32_t *count)
{
    const struct fun_config *fc = b->fc;
    term_put_map(b->out, fc->args_count);
    for (uint32_t i = 0; i < fc->args_count; i++) {
        term_put_binary(b->out, fc->args[i].name);
        int rc = put_arg(b, &fc->args[i], g->value[i]);
        if (rc != BG_OK)
            return rc;
    }
    *count = 1;
    return BG_OK;
}

int args_build(const struct fun_config *fc, struct slice args, const struct args_limits *lim, struct buf *out,
               uint32_t *count, struct buf *message)
{
    struct build b = {fc, lim, out, message};
    struct given g;
    *count = 0;
    if (fc->args_count == 0)
        return BG_OK;
    assert_always(fc->args_count <= ARGS_MAX);
    if (args.len == 0 || json_kind(args) == JSON_NULL)
        args = SLICE_LIT("{}");
    if (json_kind(args) != JSON_OBJECT)
        return fail_value(&b, "expected a map, got: ", args, "");
    int rc = collect(&b, args, &g);
    if (rc == BG_OK)
        rc = fc->order_map ? put_map_argument(&b, &g, count) : put_list(&b, &g, count);
    if (rc == BG_OK && !buf_ok(out))
        rc = BG_ENOMEM;
    return rc;
}
