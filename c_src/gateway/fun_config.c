/*
 * fun_config.c: see fun_config.h. A FunConfig term is first rewritten into a copy of our own that has every key
 * (F-020) with service and version normalised (S-057); then one rule per field compiles that copy. So every slice
 * of a config points into memory it owns, and hooks see the config that really holds.
 *
 * Invariant: a config that leaves this file has passed every rule; whoever reads it need not check again.
 *
 * It does not say whether a node, module or function exists, and does not log: the caller gets every reason.
 */
#include "fun_config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "arg_spec.h"
#include "json.h"

/* The keys in the order in which they are written. `disabled` comes last: fun_config_put_term() replaces it. */
#define FIELDS(X)                                                                                                      \
    X(REQUEST_TYPE, "request_type", NIL)                                                                               \
    X(SERVICE, "service", NIL)                                                                                         \
    X(NODES, "nodes", NIL)                                                                                             \
    X(CHOOSE_NODE_MODE, "choose_node_mode", RANDOM)                                                                    \
    X(TIMEOUT, "timeout", T5000)                                                                                       \
    X(MFA, "mfa", NIL)                                                                                                 \
    X(ARG_TYPES, "arg_types", NIL)                                                                                     \
    X(ARG_ORDERS, "arg_orders", NIL)                                                                                   \
    X(RESPONSE_TYPE, "response_type", SYNC)                                                                            \
    X(REQUEST_INFO, "request_info", FALSE)                                                                             \
    X(CHECK_PERMISSION, "check_permission", FALSE)                                                                     \
    X(PERMISSION_CALLBACK, "permission_callback", NIL)                                                                 \
    X(VERSION, "version", NIL)                                                                                         \
    X(RETRY, "retry", NIL)                                                                                             \
    X(BEFORE_EXECUTE, "before_execute", NIL)                                                                           \
    X(AFTER_EXECUTE, "after_execute", NIL)                                                                             \
    X(HOOK_TIMEOUT, "hook_timeout", T5000)                                                                             \
    X(DISABLED, "disabled", FALSE)

enum field {
#define X(id, name, def) FIELD_##id,
    FIELDS(X)
#undef X
        FIELD_COUNT
};

enum field_default { DEFAULT_NIL, DEFAULT_FALSE, DEFAULT_RANDOM, DEFAULT_SYNC, DEFAULT_T5000 };

static const struct {
    const char *name;
    enum field_default def; /* for a missing key, and for nil where nil would be refused (F-019 want) */
} fields[FIELD_COUNT] = {
#define X(id, name, def) [FIELD_##id] = {name, DEFAULT_##def},
    FIELDS(X)
#undef X
};

static const char struct_name[] = "Elixir.PhoenixGenApi.Structs.FunConfig";
enum { DEFAULT_TIMEOUT_MS = 5000, UNKNOWN_KEYS_MAX = 64 };

/* One compilation: the field values, first in the input, then in the copy. */
struct compiler {
    struct fun_config *fc;
    struct slice field[FIELD_COUNT];
    struct buf detail; /* what a rule says besides its message */
    bool out_of_memory;
};

enum verdict {
    RULE_KEPT,
    RULE_BROKEN, /* the rule's message, followed by the detail if there is one */
    RULE_REFUSED /* the detail alone */
};

void fun_config_reason(struct fun_config_reasons *why, const char *fmt, ...)
{
    if (why->count >= FUN_CONFIG_REASONS)
        return;
    char *text = why->text[why->count++];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, FUN_CONFIG_REASON_MAX, fmt, ap);
    va_end(ap);
    /* A cut must not leave half a character: these texts travel as Elixir strings. */
    if (n >= FUN_CONFIG_REASON_MAX)
        text[utf8_valid_prefix(text, FUN_CONFIG_REASON_MAX - 1)] = '\0';
}

/* ---- reading the input ---- */

/* Both spellings count: a struct has atoms for keys, a map that came through JSON has strings. */
static int field_index(struct slice key)
{
    struct slice text;
    if (term_text(key, &text))
        for (int i = 0; i < FIELD_COUNT; i++)
            if (slice_is(text, fields[i].name))
                return i;
    return -1;
}

/* `__struct__` is no field, and no unknown key either: the copy has its own. */
static bool is_struct_key(struct slice key)
{
    struct slice text;
    return term_text(key, &text) && slice_is(text, "__struct__");
}

bool fun_config_field(struct slice term, const char *key, struct slice *value)
{
    struct term_reader r = term_reader(term);
    uint32_t n;
    if (term_read_map(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct slice k, text;
        if (term_skip(&r, &k) != BG_OK || term_skip(&r, value) != BG_OK)
            return false;
        if (term_text(k, &text) && slice_is(text, key))
            return true;
    }
    return false;
}

struct slice fun_config_field_text(struct slice term, const char *key)
{
    struct slice value, text;
    bool found = fun_config_field(term, key, &value) && !term_is_nil(value) && term_text(value, &text);
    return found ? text : SLICE_NONE;
}

/* Finds every known field in a map, the first of a name counting, and appends the pairs of unknown atom keys to
 * unknown. False when it is no map or another struct. */
static bool collect_fields(struct compiler *c, struct slice term, struct buf *unknown, uint32_t *unknown_pairs)
{
    struct term_reader r = term_reader(term);
    uint32_t n;
    if (term_read_map(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct slice key, value;
        if (term_skip(&r, &key) != BG_OK || term_skip(&r, &value) != BG_OK)
            return false;
        struct term_reader kr = term_reader(key);
        int at = field_index(key);
        if (at >= 0) {
            if (!c->field[at].ptr)
                c->field[at] = value;
        } else if (is_struct_key(key)) {
            if (!term_is_atom(value, struct_name))
                return false;
        } else if (term_peek(&kr) == TERM_ATOM && *unknown_pairs < UNKNOWN_KEYS_MAX) {
            term_put_raw(unknown, key);
            term_put_raw(unknown, value);
            ++*unknown_pairs;
        }
    }
    return true;
}

/* ---- the copy ---- */

/* The value that stands in the copy, so that hooks see what is in force rather than nil (F-019). */
static void put_default(struct buf *b, enum field_default def)
{
    static const char *const atoms[] = {
        [DEFAULT_NIL] = "nil", [DEFAULT_FALSE] = "false", [DEFAULT_RANDOM] = "random", [DEFAULT_SYNC] = "sync"};
    if (def == DEFAULT_T5000)
        term_put_int(b, DEFAULT_TIMEOUT_MS);
    else
        term_put_atom(b, atoms[def]);
}

/* F-046, F-150: these three all mean "no version". */
static bool version_is_none(struct slice term)
{
    struct term_reader r = term_reader(term);
    struct slice text;
    return term_is_nil(term) || (term_read_binary(&r, &text) == BG_OK && (text.len == 0 || slice_is(text, "0.0.0")));
}

/* nil where nil means the default; check_permission is not among them: what guards access is never guessed. */
static bool takes_default(enum field at, struct slice value)
{
    if (!value.ptr)
        return true;
    if (at == FIELD_VERSION)
        return version_is_none(value);
    return at != FIELD_CHECK_PERMISSION && term_is_nil(value);
}

/* S-024, S-057: the offering service's name holds; an atom of the same text stays an atom. */
static void put_service(struct buf *b, struct slice value, struct slice service)
{
    struct slice text;
    if (service.ptr && !(value.ptr && term_text(value, &text) && slice_eq(text, service)))
        term_put_binary(b, service);
    else if (value.ptr)
        term_put_raw(b, value);
    else
        put_default(b, DEFAULT_NIL);
}

/* Writes the copy and points the fields into it. False when memory or the bound is reached. */
static bool rewrite(struct compiler *c, struct slice service, struct slice unknown, uint32_t unknown_pairs)
{
    struct buf b;
    size_t start[FIELD_COUNT], end[FIELD_COUNT];
    buf_init(&b, FUN_CONFIG_TERM_MAX + 4096);
    term_put_map(&b, FIELD_COUNT + 1 + unknown_pairs);
    term_put_atom(&b, "__struct__");
    term_put_atom(&b, struct_name);
    buf_add_slice(&b, unknown);
    for (int i = 0; i < FIELD_COUNT; i++) {
        term_put_atom(&b, fields[i].name);
        start[i] = b.len;
        if (i == FIELD_SERVICE)
            put_service(&b, c->field[i], service);
        else if (takes_default(i, c->field[i]))
            put_default(&b, fields[i].def);
        else
            term_put_raw(&b, c->field[i]);
        end[i] = b.len;
    }
    struct fun_config *fc = c->fc;
    fc->term = buf_ok(&b) ? arena_copy(&fc->memory, buf_slice(&b)) : SLICE_NONE;
    buf_fini(&b);
    if (!fc->term.ptr)
        return false;
    for (int i = 0; i < FIELD_COUNT; i++)
        c->field[i] = slice_make(fc->term.ptr + start[i], end[i] - start[i]);
    fc->term_head = slice_make(fc->term.ptr, start[FIELD_DISABLED]);
    fc->unknown_keys = unknown_pairs;
    return true;
}

/* ---- helpers of the rules ---- */

/* For what the library has no message for, because it does not refuse it. */
static enum verdict refuse(struct compiler *c, const char *text)
{
    buf_reset(&c->detail);
    buf_puts(&c->detail, text);
    return RULE_REFUSED;
}

static enum verdict broken_unless(bool kept)
{
    return kept ? RULE_KEPT : RULE_BROKEN;
}

/* From the config's own memory; running out is remembered, since rules can only say yes or no. */
static void *take(struct compiler *c, size_t count, size_t size)
{
    void *p = arena_array(&c->fc->memory, count, size);
    if (!p)
        c->out_of_memory = true;
    return p;
}

/* A list that arrives as STRING_EXT holds small integers: each becomes two bytes, SMALL_INTEGER_EXT and itself. */
static int args_from_string(struct arena *a, struct slice bytes, struct slice *args, uint32_t *count)
{
    enum { SMALL_INTEGER_EXT = 97 };
    if (bytes.len > FUN_CONFIG_ARGS_MAX)
        return BG_EINVAL;
    uint8_t *p = arena_array(a, bytes.len, 2);
    if (!p)
        return BG_ENOMEM;
    for (size_t i = 0; i < bytes.len; i++) {
        p[2 * i] = SMALL_INTEGER_EXT;
        p[2 * i + 1] = (uint8_t)bytes.ptr[i];
    }
    *args = slice_make(p, bytes.len * 2);
    *count = (uint32_t)bytes.len;
    return BG_OK;
}

int fun_config_args(struct arena *a, struct slice list, struct slice *args, uint32_t *count)
{
    struct term_reader r = term_reader(list);
    struct slice bytes, item;
    if (term_read_string(&r, &bytes) == BG_OK)
        return args_from_string(a, bytes, args, count);
    if (term_read_list(&r, count) != BG_OK || *count > FUN_CONFIG_ARGS_MAX)
        return BG_EINVAL;
    const uint8_t *start = r.p;
    for (uint32_t i = 0; i < *count; i++)
        if (term_skip(&r, &item) != BG_OK)
            return BG_EINVAL;
    *args = slice_make(start, (size_t)(r.p - start));
    return *count == 0 ? BG_OK : term_read_tail(&r);
}

static bool read_mfa_args(struct compiler *c, struct term_reader *r, struct mfa *out)
{
    struct slice list;
    if (term_skip(r, &list) != BG_OK)
        return false;
    int rc = fun_config_args(&c->fc->memory, list, &out->args, &out->args_count);
    if (rc == BG_ENOMEM)
        c->out_of_memory = true;
    return rc == BG_OK;
}

/* {Mod, Fun, Args}, or {Mod, Fun} where pair_ok. */
static bool read_mfa(struct compiler *c, struct slice term, bool pair_ok, struct mfa *out)
{
    struct term_reader r = term_reader(term);
    struct mfa m = {.present = true, .args = SLICE_LIT("")};
    uint32_t arity;
    if (term_read_tuple(&r, &arity) != BG_OK || (arity != 3 && !(pair_ok && arity == 2)) ||
        term_read_atom(&r, &m.module) != BG_OK || term_read_atom(&r, &m.function) != BG_OK)
        return false;
    if (arity == 3 && !read_mfa_args(c, &r, &m))
        return false;
    *out = m;
    return true;
}

/* nil, {Mod, Fun} or {Mod, Fun, Args}: hooks and callbacks (F-012, F-016; E-060 want: the pair means no arguments). */
static bool read_optional_mfa(struct compiler *c, struct slice term, struct mfa *out)
{
    return term_is_nil(term) || read_mfa(c, term, true, out);
}

/* {tag, Value} with one value. */
static bool read_pair(struct slice term, const char *tag, struct slice *value)
{
    struct term_reader r = term_reader(term);
    uint32_t arity;
    return term_read_tagged(&r, tag, &arity) == BG_OK && arity == 2 && term_skip(&r, value) == BG_OK;
}

static bool read_pair_binary(struct slice term, const char *tag, struct slice *bytes)
{
    struct slice value;
    if (!read_pair(term, tag, &value))
        return false;
    struct term_reader r = term_reader(value);
    return term_read_binary(&r, bytes) == BG_OK;
}

/* The texts of a proper list's atoms and binaries. Other elements: BG_EINVAL when strict, else left out. */
static int read_texts(struct compiler *c, struct slice term, bool strict, struct slice **texts, uint32_t *count)
{
    struct term_reader r = term_reader(term);
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK || n > FUN_CONFIG_LIST_MAX)
        return BG_EINVAL;
    struct slice *out = take(c, n, sizeof(*out));
    if (!out)
        return BG_ENOMEM;
    uint32_t used = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct slice item;
        if (term_skip(&r, &item) != BG_OK)
            return BG_EINVAL;
        if (term_text(item, &out[used]))
            used++;
        else if (strict)
            return BG_EINVAL;
    }
    if (n > 0 && term_read_tail(&r) != BG_OK)
        return BG_EINVAL;
    *texts = out;
    *count = used;
    return BG_OK;
}

/* ---- the rules, F-030..F-045 ---- */

/* A name that is not UTF-8 could never be asked for by a client. */
static enum verdict rule_request_type(struct compiler *c, struct slice v)
{
    struct term_reader r = term_reader(v);
    struct slice *name = &c->fc->request_type;
    if (term_read_binary(&r, name) != BG_OK || name->len == 0 || utf8_valid_prefix(name->ptr, name->len) != name->len)
        return RULE_BROKEN;
    return name->len <= FUN_CONFIG_NAME_MAX ? RULE_KEPT : refuse(c, "request_type is longer than 512 bytes");
}

/* F-002 says anything but nil; a lookup is by text (E-036), so only what has a text can ever be found. */
static enum verdict rule_service(struct compiler *c, struct slice v)
{
    struct slice *name = &c->fc->service;
    if (term_is_nil(v))
        return RULE_BROKEN;
    if (!term_text(v, name) || utf8_valid_prefix(name->ptr, name->len) != name->len)
        return refuse(c, "service must be an atom or a string");
    if (name->len == 0 || name->len > FUN_CONFIG_NAME_MAX)
        return refuse(c, "service must have 1 to 512 bytes");
    return RULE_KEPT;
}

/* F-003. `local` is valid there, and refused here with a reason of its own (E-180 want): nothing runs on this node. */
static enum verdict rule_nodes(struct compiler *c, struct slice v)
{
    struct fun_config *fc = c->fc;
    if (term_is_atom(v, "local")) {
        fc->nodes_kind = NODES_LOCAL;
        return refuse(c, "nodes :local cannot run on a native gateway");
    }
    if (read_mfa(c, v, false, &fc->nodes_mfa)) {
        fc->nodes_kind = NODES_MFA;
        return RULE_KEPT;
    }
    fc->nodes_kind = NODES_LIST;
    return broken_unless(read_texts(c, v, true, &fc->nodes, &fc->nodes_count) == BG_OK && fc->nodes_count > 0);
}

/* F-004. The sticky or hash key is a text and stays one: no atom is made of it (E-235). */
static enum verdict rule_choose_node_mode(struct compiler *c, struct slice v)
{
    static const struct {
        const char *name;
        enum choose_node_mode mode;
    } plain[] = {{"random", CHOOSE_RANDOM}, {"hash", CHOOSE_HASH}, {"round_robin", CHOOSE_ROUND_ROBIN}};
    struct fun_config *fc = c->fc;
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        if (term_is_atom(v, plain[i].name)) {
            fc->choose_node_mode = plain[i].mode;
            return RULE_KEPT;
        }
    }
    bool hash = read_pair_binary(v, "hash", &fc->choose_key);
    fc->choose_node_mode = hash ? CHOOSE_HASH_KEY : CHOOSE_STICKY;
    return broken_unless(hash || read_pair_binary(v, "sticky", &fc->choose_key));
}

/* F-005. 0 stands for infinity from here on. */
static enum verdict rule_timeout(struct compiler *c, struct slice v)
{
    struct term_reader r = term_reader(v);
    int64_t ms = 0;
    if (!term_is_atom(v, "infinity") && (term_read_int(&r, &ms) != BG_OK || ms < 100 || ms > 300000))
        return RULE_BROKEN;
    c->fc->timeout_ms = (uint32_t)ms;
    return RULE_KEPT;
}

static enum verdict rule_mfa(struct compiler *c, struct slice v)
{
    return broken_unless(read_mfa(c, v, false, &c->fc->mfa));
}

/* F-007 and F-008 together, under one message (F-036); the detail says which of the two and why. */
static enum verdict rule_args(struct compiler *c, struct slice v)
{
    int rc = arg_specs_compile(c->fc, v, c->field[FIELD_ARG_ORDERS], &c->detail);
    if (rc == BG_ENOMEM)
        c->out_of_memory = true;
    return broken_unless(rc == BG_OK);
}

static const char *const response_names[] = {
    [RESPONSE_SYNC] = "sync", [RESPONSE_ASYNC] = "async", [RESPONSE_STREAM] = "stream", [RESPONSE_NONE] = "none"};

const char *response_type_name(enum response_type type)
{
    return response_names[type];
}

static enum verdict rule_response_type(struct compiler *c, struct slice v)
{
    for (size_t i = 0; i < ARRAY_SIZE(response_names); i++) {
        if (term_is_atom(v, response_names[i])) {
            c->fc->response_type = (enum response_type)i;
            return RULE_KEPT;
        }
    }
    return RULE_BROKEN;
}

/* A list of small integers is a list of roles too, though nobody has such a role. */
static bool read_roles(struct compiler *c, struct slice list)
{
    struct term_reader r = term_reader(list);
    return term_peek(&r) == TERM_STRING || read_texts(c, list, false, &c->fc->roles, &c->fc->roles_count) == BG_OK;
}

static enum verdict rule_check_permission(struct compiler *c, struct slice v)
{
    struct fun_config *fc = c->fc;
    struct slice value;
    fc->permission = PERMIT_ALL;
    if (term_is_atom(v, "false"))
        return RULE_KEPT;
    if (read_pair(v, "callback", &value)) /* AshPhoenixGenApi (K-031 want) */
        return broken_unless(read_mfa(c, value, true, &fc->permission_callback));
    if (term_is_atom(v, "any_authenticated")) {
        fc->permission = PERMIT_AUTHENTICATED;
        return RULE_KEPT;
    }
    if (read_pair_binary(v, "arg", &fc->permission_arg)) {
        fc->permission = PERMIT_ARG;
        return RULE_KEPT;
    }
    fc->permission = PERMIT_ROLE;
    return broken_unless(read_pair(v, "role", &value) && read_roles(c, value));
}

/* F-012. nil leaves what check_permission may have set. */
static enum verdict rule_permission_callback(struct compiler *c, struct slice v)
{
    return broken_unless(read_optional_mfa(c, v, &c->fc->permission_callback));
}

static enum verdict rule_request_info(struct compiler *c, struct slice v)
{
    c->fc->request_info = term_is_atom(v, "true");
    return broken_unless(c->fc->request_info || term_is_atom(v, "false"));
}

/* F-013. What means "none" is nil in the copy already (F-046). */
static enum verdict rule_version(struct compiler *c, struct slice v)
{
    struct term_reader r = term_reader(v);
    struct slice *text = &c->fc->version;
    if (term_is_nil(v))
        return RULE_KEPT;
    if (term_read_binary(&r, text) != BG_OK || utf8_valid_prefix(text->ptr, text->len) != text->len)
        return RULE_BROKEN;
    return text->len <= FUN_CONFIG_NAME_MAX ? RULE_KEPT : refuse(c, "version is longer than 512 bytes");
}

/* F-047: truncated towards zero, so 0.5 means no retry. */
static bool read_retry_count(struct slice v, uint32_t *count)
{
    struct term_reader r = term_reader(v);
    int64_t n;
    double d;
    if (term_read_int(&r, &n) == BG_OK)
        d = (double)n;
    else if (term_read_float(&r, &d) != BG_OK)
        return false;
    *count = d >= UINT32_MAX ? UINT32_MAX : d > 0 ? (uint32_t)d : 0;
    return d > 0;
}

static enum verdict rule_retry(struct compiler *c, struct slice v)
{
    struct fun_config *fc = c->fc;
    struct slice n;
    if (term_is_nil(v))
        return RULE_KEPT;
    bool same_node = read_pair(v, "same_node", &n);
    fc->retry_mode = same_node ? RETRY_SAME_NODE : RETRY_ALL_NODES;
    if (!same_node && !read_pair(v, "all_nodes", &n))
        n = v;
    if (!read_retry_count(n, &fc->retry_count))
        return RULE_BROKEN;
    if (fc->retry_count == 0)
        fc->retry_mode = RETRY_NONE;
    return RULE_KEPT;
}

static enum verdict rule_before_execute(struct compiler *c, struct slice v)
{
    return broken_unless(read_optional_mfa(c, v, &c->fc->before_execute));
}

static enum verdict rule_after_execute(struct compiler *c, struct slice v)
{
    return broken_unless(read_optional_mfa(c, v, &c->fc->after_execute));
}

/* F-018; E-041 want: it is honoured. */
static enum verdict rule_hook_timeout(struct compiler *c, struct slice v)
{
    struct term_reader r = term_reader(v);
    int64_t ms;
    if (term_read_int(&r, &ms) != BG_OK || ms <= 0)
        return RULE_BROKEN;
    c->fc->hook_timeout_ms = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
    return RULE_KEPT;
}

/* F-014: not validated. Whatever is neither nil nor false disables. */
static enum verdict rule_disabled(struct compiler *c, struct slice v)
{
    c->fc->disabled = !term_is_nil(v) && !term_is_atom(v, "false");
    return RULE_KEPT;
}

static const struct {
    enum field field;
    enum verdict (*compile)(struct compiler *c, struct slice value);
    const char *message;
} rules[] = {
    {FIELD_REQUEST_TYPE, rule_request_type, "request_type must be a non-empty string"},
    {FIELD_SERVICE, rule_service, "service must not be nil"},
    {FIELD_NODES, rule_nodes, "nodes must be a valid list, MFA tuple, or :local"},
    {FIELD_CHOOSE_NODE_MODE, rule_choose_node_mode,
     "choose_node_mode must be :random, :hash, {:hash, key}, :round_robin, or {:sticky, key}"},
    {FIELD_TIMEOUT, rule_timeout, "timeout must be a positive integer between 100 and 300000, or :infinity"},
    {FIELD_MFA, rule_mfa, "mfa must be a valid {module, function, args} tuple"},
    {FIELD_ARG_TYPES, rule_args, "argument validation failed"},
    {FIELD_RESPONSE_TYPE, rule_response_type, "response_type must be :sync, :async, :stream, or :none"},
    {FIELD_CHECK_PERMISSION, rule_check_permission,
     "check_permission must be false, :any_authenticated, {:arg, arg_name}, or {:role, roles}"},
    {FIELD_PERMISSION_CALLBACK, rule_permission_callback,
     "permission_callback must be nil or a valid {module, function, args} tuple"},
    {FIELD_REQUEST_INFO, rule_request_info, "request_info must be a boolean"},
    {FIELD_VERSION, rule_version, "version must be a valid version string (e.g., '1.0.0')"},
    {FIELD_RETRY, rule_retry, "retry must be nil, a positive number, {:same_node, number}, or {:all_nodes, number}"},
    {FIELD_BEFORE_EXECUTE, rule_before_execute,
     "before_execute must be nil or a valid {module, function} or {module, function, args} tuple"},
    {FIELD_AFTER_EXECUTE, rule_after_execute,
     "after_execute must be nil or a valid {module, function} or {module, function, args} tuple"},
    {FIELD_HOOK_TIMEOUT, rule_hook_timeout, "hook_timeout must be a positive integer"},
    {FIELD_DISABLED, rule_disabled, "disabled must be a boolean"},
};

/* Every rule runs: all failures are collected (F-030..F-045), in the order of the table. */
static void run_rules(struct compiler *c, struct fun_config_reasons *why)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules) && !c->out_of_memory; i++) {
        buf_reset(&c->detail);
        enum verdict v = rules[i].compile(c, c->field[rules[i].field]);
        if (v == RULE_BROKEN) {
            fun_config_reason(why, "%s", rules[i].message);
            why->broken++;
        }
        if (v != RULE_KEPT && c->detail.len > 0)
            fun_config_reason(why, "%.*s", (int)c->detail.len, (const char *)c->detail.data);
    }
}

/* The size is checked first: what follows takes memory in proportion to it. */
static void compile(struct compiler *c, struct slice term, struct slice service, struct fun_config_reasons *why)
{
    struct buf unknown;
    uint32_t unknown_pairs = 0;
    if (term.len > FUN_CONFIG_TERM_MAX) {
        fun_config_reason(why, "the config is larger than %d bytes", FUN_CONFIG_TERM_MAX);
        return;
    }
    buf_init(&unknown, FUN_CONFIG_TERM_MAX);
    if (!collect_fields(c, term, &unknown, &unknown_pairs))
        fun_config_reason(why, "not a FunConfig struct");
    else if (buf_ok(&unknown) && rewrite(c, service, buf_slice(&unknown), unknown_pairs))
        run_rules(c, why);
    else
        c->out_of_memory = true;
    buf_fini(&unknown);
}

struct fun_config *fun_config_from_term(struct slice term, struct slice service, struct fun_config_reasons *why)
{
    why->count = why->broken = 0;
    struct compiler c = {.fc = calloc(1, sizeof(*c.fc))};
    if (!c.fc) {
        fun_config_reason(why, "out of memory");
        return NULL;
    }
    c.fc->refs = 1;
    arena_init(&c.fc->memory);
    buf_init(&c.detail, FUN_CONFIG_REASON_MAX);
    compile(&c, term, service, why);
    buf_fini(&c.detail);
    if (c.out_of_memory || c.fc->memory.failed) {
        why->count = why->broken = 0; /* what was not read for want of memory breaks no rule */
        fun_config_reason(why, "out of memory");
    }
    if (why->count == 0)
        return c.fc;
    fun_config_unref(c.fc);
    return NULL;
}

/* ---- life ---- */

struct fun_config *fun_config_ref(struct fun_config *fc)
{
    assert_always(fc->refs > 0 && fc->refs < UINT32_MAX);
    fc->refs++;
    return fc;
}

int fun_config_set_origin(struct fun_config *fc, struct slice node)
{
    fc->origin = arena_copy(&fc->memory, node);
    return fc->origin.ptr ? BG_OK : BG_ENOMEM;
}

void fun_config_unref(struct fun_config *fc)
{
    if (!fc)
        return;
    assert_always(fc->refs > 0);
    if (--fc->refs > 0)
        return;
    arena_fini(&fc->memory);
    free(fc);
}

void fun_config_put_term(const struct fun_config *fc, struct buf *out)
{
    buf_add_slice(out, fc->term_head);
    term_put_atom(out, fc->disabled ? "true" : "false");
}
