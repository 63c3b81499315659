/*
 * term_to_json.c: results of service nodes to JSON text, in one pass over the term (E-220..E-233). The way in is in
 * transcode.c.
 *
 * Invariant: the term has passed term_check(). What JSON cannot express is an error that says what it is and where
 * it stands (`at result.items[3].pos`), never a guess; the caller drops what was written.
 *
 * Structs are maps whose key __struct__ may stand anywhere among the others, and what becomes of the map depends on
 * when the term contains that word at all, one walk before finds all structs; most results have none and pay only
 * for the search. Both walks are linear whatever the nesting.
 */
#include "transcode.h"

#include <stdio.h>
#include <stdlib.h>

#include "bigint.h"
#include "struct_json.h"
#include "term_tags.h"
#include "text_scan.h"

enum frame_kind {
    FRAME_LIST,
    FRAME_MAP,
    FRAME_STRUCT,  /* a map without its keys __struct__ and __meta__ */
    FRAME_SET,     /* a map whose keys are the elements */
    FRAME_RESPONSE /* fields in an order of our own */
};

/* Offsets are from the start of the whole term. */
struct frame {
    uint8_t kind;
    bool some;                       /* an element has been written: a comma comes before the next */
    uint32_t left;                   /* elements, pairs or fields still to come */
    uint32_t count;                  /* of them in all, for error positions */
    uint32_t key;                    /* of the element at hand: maps only */
    uint32_t after;                  /* FRAME_SET, FRAME_RESPONSE: where the walk goes on when it is done */
    uint32_t field[RESPONSE_FIELDS]; /* 0: absent */
};

/* One struct in the term. */
struct mark {
    uint32_t map;    /* where its map begins */
    uint32_t module; /* where the atom under __struct__ begins */
};

enum { MARKS_INLINE = 64 };

struct decoder {
    struct term_reader r;
    const uint8_t *start;
    struct buf *out;
    struct err *e;
    struct mark *marks; /* in the order of the maps */
    uint32_t mark_count;
    uint32_t mark_next;
    uint32_t mark_cap;
    unsigned depth;
    unsigned max_depth;
    struct mark marks_inline[MARKS_INLINE];
    struct frame frame[TERM_DEPTH_DEFAULT];
};

/* Offsets instead of pointers keep a frame at 48 bytes. */
static uint32_t offset(const struct decoder *d, const void *p)
{
    return (uint32_t)((const uint8_t *)p - d->start);
}

/* The term at an offset, with whatever follows it. */
static struct slice rest_from(const struct decoder *d, uint32_t at)
{
    return slice_make(d->start + at, (size_t)(d->r.end - d->start) - at);
}

/* ---- errors ---- */

/* One step of the way: .name, [3], or [?] for what cannot be shown. */
static void path_key(const struct decoder *d, const struct frame *f, struct buf *path)
{
    struct slice text;
    if (f->kind == FRAME_RESPONSE)
        buf_printf(path, ".%s", response_fields[f->count - f->left - 1].key);
    else if (f->kind == FRAME_LIST || f->kind == FRAME_SET)
        buf_printf(path, "[%u]", f->count - f->left - 1);
    else if (term_text(rest_from(d, f->key), &text) && text.len <= 64 &&
             utf8_valid_prefix(text.ptr, text.len) == text.len)
        buf_printf(path, ".%.*s", (int)text.len, text.ptr);
    else
        buf_puts(path, "[?]");
}

/* `what` with the way to it; a way too long for the text loses its end. */
static int fail(struct decoder *d, const char *what)
{
    struct buf path;
    buf_init(&path, 160);
    for (unsigned i = 0; i < d->depth; i++)
        path_key(d, &d->frame[i], &path);
    int rc = err_set(d->e, BG_EINVAL, offset(d, d->r.p), "cannot encode %s as JSON%s%.*s%s", what,
                     path.len ? " at result" : "", (int)path.len, path.len ? (const char *)path.data : "",
                     path.failed ? "..." : "");
    buf_fini(&path);
    return rc;
}

/* The buffer turned `failed`: its bound when it has one, else memory. */
static int fail_room(struct decoder *d)
{
    bool bound = d->out->limit != 0;
    return err_set(d->e, bound ? BG_ELIMIT : BG_ENOMEM, 0, bound ? "JSON is larger than the bound" : "no memory");
}

/* ---- finding structs ---- */

/* Results of up to MARKS_INLINE structs need no heap. */
static int add_mark(struct decoder *d, uint32_t map, uint32_t module)
{
    if (d->mark_count == d->mark_cap) {
        bool inside = d->marks == d->marks_inline;
        struct mark *marks = realloc(inside ? NULL : d->marks, 2 * (size_t)d->mark_cap * sizeof(*marks));
        if (!marks)
            return fail_room(d);
        if (inside)
            memcpy(marks, d->marks_inline, sizeof(d->marks_inline));
        d->marks = marks;
        d->mark_cap *= 2;
    }
    d->marks[d->mark_count++] = (struct mark){map, module};
    return BG_OK;
}

static int by_map(const void *a, const void *b)
{
    uint32_t x = ((const struct mark *)a)->map, y = ((const struct mark *)b)->map;
    return x < y ? -1 : x > y;
}

/* A container of the walk below; map is its offset + 1, or 0 for other containers. */
struct level {
    uint64_t pending;
    uint32_t map;
};

/* Before each key of a map an even number of terms is pending. */
static bool at_struct_key(const struct level *l, const uint8_t *p, const uint8_t *end, const uint8_t **value)
{
    struct term_reader r = {p, end};
    if (!l->map || l->pending % 2 != 0 || !term_read_is_atom(&r, "__struct__"))
        return false;
    *value = r.p;
    return !term_at_end(&r) && term_rules[*r.p].kind == TERM_ATOM;
}

/* The walk of term_check() once more, knowing which terms are keys. */
static int find_structs(struct decoder *d)
{
    struct level level[TERM_DEPTH_MAX + 1];
    unsigned depth = 0;
    const uint8_t *p = d->r.p, *value;
    level[0] = (struct level){1, 0};
    for (;;) {
        while (level[depth].pending == 0)
            if (depth-- == 0)
                return BG_OK;
        if (at_struct_key(&level[depth], p, d->r.end, &value)) {
            int rc = add_mark(d, level[depth].map - 1, offset(d, value));
            if (rc)
                return rc;
        }
        level[depth].pending--;
        uint64_t children;
        const uint8_t *next = term_head(p, d->r.end, &children);
        if (!next)
            return fail(d, "a malformed term");
        if (children > 0) {
            if (depth == TERM_DEPTH_MAX)
                return err_set(d->e, BG_ELIMIT, offset(d, p), "term is nested too deep");
            level[++depth] = (struct level){children, *p == TAG_MAP ? offset(d, p) + 1 : 0};
        }
        p = next;
    }
}

/* What memmem() would tell, at several times its speed: underscores are rare in results, and memchr() is fast. */
static bool has_struct_word(const uint8_t *p, const uint8_t *end)
{
    static const char word[] = "__struct__";
    enum { LEN = sizeof(word) - 1 };
    for (; end - p >= LEN; p++) {
        p = memchr(p, word[0], (size_t)(end - p) - LEN + 1);
        if (!p)
            return false;
        if (memcmp(p, word, LEN) == 0)
            return true;
    }
    return false;
}

/* A map is entered before the maps within it, but its __struct__ may come after them: hence the sort. */
static int prepare_structs(struct decoder *d)
{
    if (!has_struct_word(d->r.p, d->r.end))
        return BG_OK;
    int rc = find_structs(d);
    if (rc == 0)
        qsort(d->marks, d->mark_count, sizeof(*d->marks), by_map);
    return rc;
}

/* The module of the map at `at`, if it is a struct. Maps are asked for in rising order, except that those of a Response
 * are visited in the order of its fields. */
static bool struct_module(struct decoder *d, uint32_t at, struct slice *module)
{
    struct mark key = {.map = at}, *found;
    if (d->mark_count == 0)
        return false;
    if (d->mark_next < d->mark_count && d->marks[d->mark_next].map == at)
        found = &d->marks[d->mark_next];
    else
        found = bsearch(&key, d->marks, d->mark_count, sizeof(key), by_map);
    if (!found)
        return false;
    d->mark_next = (uint32_t)(found - d->marks) + 1;
    return term_text(rest_from(d, found->module), module);
}

/* ---- leaves ---- */

/* Magnitudes beyond BIG_BYTES_MAX are refused: converting costs the square. */
static int put_big(struct decoder *d)
{
    struct term_big big;
    char text[BIG_DIGITS_MAX];
    if (!term_read_big(&d->r, &big) || big.len > BIG_BYTES_MAX)
        return fail(d, "an integer of more than 2048 bytes");
    size_t n = big_to_decimal(big.bytes, big.len, text);
    if (big.negative)
        buf_putc(d->out, '-');
    buf_add(d->out, text, n);
    return BG_OK;
}

static int put_int(struct decoder *d)
{
    int64_t v;
    if (term_read_int(&d->r, &v))
        return put_big(d);
    json_put_int(d->out, v);
    return BG_OK;
}

static int put_float(struct decoder *d)
{
    double v;
    if (term_read_float(&d->r, &v))
        return fail(d, "a float that is not finite");
    json_put_float(d->out, v);
    return BG_OK;
}

/* Steps over a binary or an atom. Small atoms and binaries, the names and values of almost every result, are read in
 * place. */
static inline bool take_text(struct term_reader *r, struct slice *text)
{
    const uint8_t *p = r->p;
    size_t left = (size_t)(r->end - p), head = 5, n = 0;
    if (left >= 5 && *p == TAG_BINARY) {
        n = get_be32(p + 1);
    } else if (left >= 2 && *p == TAG_SMALL_ATOM_UTF8) {
        head = 2;
        n = p[1];
    } else {
        return term_read_atom(r, text) == BG_OK;
    }
    if (n > left - head)
        return false;
    *text = slice_make(p + head, n);
    r->p = p + head + n;
    return true;
}

/* On failure the cursor goes back, so that the error says where the text began. */
static int put_text(struct decoder *d)
{
    const uint8_t *at = d->r.p;
    struct slice text;
    if (take_text(&d->r, &text) && json_put_string(d->out, text) == BG_OK)
        return BG_OK;
    d->r.p = at;
    return fail(d, *at == TAG_BINARY ? "a binary that is not UTF-8" : "an atom that is not UTF-8");
}

static int put_atom(struct decoder *d)
{
    static const struct {
        struct slice name;
        struct slice json;
    } words[] = {{SLICE_LIT("nil"), SLICE_LIT("null")},
                 {SLICE_LIT("true"), SLICE_LIT("true")},
                 {SLICE_LIT("false"), SLICE_LIT("false")}};
    struct term_reader at = d->r;
    struct slice text;
    if (!take_text(&at, &text))
        return put_text(d);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (slice_eq(text, words[i].name)) {
            d->r = at;
            buf_add_slice(d->out, words[i].json);
            return BG_OK;
        }
    }
    return put_text(d);
}

/* A charlist is an array of integers like any other list (E-226). */
static int put_byte_list(struct decoder *d)
{
    struct slice bytes;
    if (term_read_string(&d->r, &bytes))
        return fail(d, "a malformed list");
    for (size_t i = 0; i < bytes.len; i++) {
        buf_putc(d->out, i ? ',' : '[');
        json_put_int(d->out, (uint8_t)bytes.ptr[i]);
    }
    buf_puts(d->out, bytes.len ? "]" : "[]");
    return BG_OK;
}

static int put_empty_list(struct decoder *d)
{
    d->r.p++;
    buf_puts(d->out, "[]");
    return BG_OK;
}

/* BIT_BINARY_EXT with 8 bits in its last byte would be a binary, but no node writes it. */
static int refuse_bitstring(struct decoder *d)
{
    return fail(d, "a bitstring");
}

static int refuse_tuple(struct decoder *d)
{
    return fail(d, "a tuple");
}

static int refuse_pid(struct decoder *d)
{
    return fail(d, "a pid");
}

static int refuse_port(struct decoder *d)
{
    return fail(d, "a port");
}

static int refuse_ref(struct decoder *d)
{
    return fail(d, "a reference");
}

static int refuse_fun(struct decoder *d)
{
    return fail(d, "a function");
}

/* ---- containers ---- */

/* Enters a container whose first element the cursor stands on. */
static int push(struct decoder *d, enum frame_kind kind, uint32_t count)
{
    if (d->depth >= d->max_depth)
        return err_set(d->e, BG_ELIMIT, offset(d, d->r.p), "result is nested too deep for JSON");
    struct frame *f = &d->frame[d->depth++];
    f->kind = (uint8_t)kind;
    f->some = false;
    f->left = f->count = count;
    buf_putc(d->out, kind == FRAME_LIST || kind == FRAME_SET ? '[' : '{');
    return BG_OK;
}

static int open_list(struct decoder *d)
{
    uint32_t n;
    if (term_read_list(&d->r, &n))
        return fail(d, "a malformed list");
    return push(d, FRAME_LIST, n);
}

/* One field of a Response, if `key` is one. */
static void note_field(struct decoder *d, struct frame *f, struct slice key)
{
    for (size_t i = 0; i < RESPONSE_FIELDS; i++)
        if (term_is_atom(key, response_fields[i].key))
            f->field[i] = offset(d, d->r.p);
}

/* Notes where the fields stand and jumps over the struct; the frame then visits them in its own order. */
static int open_response(struct decoder *d, uint32_t pairs)
{
    struct slice key, value;
    int rc = push(d, FRAME_RESPONSE, RESPONSE_FIELDS);
    if (rc)
        return rc;
    struct frame *f = &d->frame[d->depth - 1];
    memset(f->field, 0, sizeof(f->field));
    for (; pairs > 0; pairs--) {
        if (term_skip(&d->r, &key))
            return fail(d, "a malformed Response");
        note_field(d, f, key);
        if (term_skip(&d->r, &value))
            return fail(d, "a malformed Response");
    }
    f->after = offset(d, d->r.p);
    return BG_OK;
}

/* Both forms of MapSet keep their elements as the keys of `map`; what the values are does not matter. */
static int open_set(struct decoder *d, struct slice whole)
{
    struct slice elements;
    uint32_t n;
    if (!term_map_get(whole, "map", &elements))
        return fail(d, "a MapSet without elements");
    d->r.p = (const uint8_t *)elements.ptr;
    if (term_read_map(&d->r, &n))
        return fail(d, "a MapSet of an unknown form");
    int rc = push(d, FRAME_SET, n);
    if (rc == 0)
        d->frame[d->depth - 1].after = offset(d, whole.ptr + whole.len);
    return rc;
}

/* A Date that no Elixir function would build is an error that says so. */
static int put_text_struct(struct decoder *d, struct slice module, struct slice whole)
{
    char what[80], name[48];
    if (struct_put_text(module, whole, d->out) == BG_OK)
        return BG_OK;
    d->r.p = (const uint8_t *)whole.ptr;
    slice_cstr(slice_make(module.ptr + 7, module.len - 7), name, sizeof(name)); /* without "Elixir." */
    snprintf(what, sizeof(what), "a malformed %s", name);
    return fail(d, what);
}

/* What becomes of it is struct_json's table to say. */
static int open_struct(struct decoder *d, struct slice module)
{
    enum struct_form form = struct_form(module);
    struct slice whole;
    uint32_t n;
    if (form == STRUCT_TEXT || form == STRUCT_SET) {
        if (term_skip(&d->r, &whole))
            return fail(d, "a malformed map");
        return form == STRUCT_SET ? open_set(d, whole) : put_text_struct(d, module, whole);
    }
    if (term_read_map(&d->r, &n))
        return fail(d, "a malformed map");
    return form == STRUCT_RESPONSE ? open_response(d, n) : push(d, FRAME_STRUCT, n);
}

static int open_map(struct decoder *d)
{
    struct slice module;
    uint64_t children;
    if (struct_module(d, offset(d, d->r.p), &module))
        return open_struct(d, module);
    const uint8_t *next = term_open(d->r.p, d->r.end, &children);
    if (!next)
        return fail(d, "a malformed map");
    d->r.p = next;
    return push(d, FRAME_MAP, (uint32_t)(children / 2));
}

/* A scalar is written whole; of a container only the opening, its elements come by next_element(). */
static int put_value(struct decoder *d)
{
    static int (*const put[])(struct decoder *) = {
        [TERM_INT] = put_int,
        [TERM_FLOAT] = put_float,
        [TERM_ATOM] = put_atom,
        [TERM_BINARY] = put_text,
        [TERM_BITSTRING] = refuse_bitstring,
        [TERM_NIL] = put_empty_list,
        [TERM_STRING] = put_byte_list,
        [TERM_LIST] = open_list,
        [TERM_TUPLE] = refuse_tuple,
        [TERM_MAP] = open_map,
        [TERM_PID] = refuse_pid,
        [TERM_PORT] = refuse_port,
        [TERM_REF] = refuse_ref,
        [TERM_FUN] = refuse_fun,
        [TERM_EXPORT] = refuse_fun,
    };
    if (term_at_end(&d->r) || term_rules[*d->r.p].kind == TERM_INVALID)
        return fail(d, "a malformed term");
    return put[term_rules[*d->r.p].kind](d);
}

/* ---- elements ---- */

/* Keys that are numbers become strings (E-227). */
static int put_number_key(struct decoder *d, bool comma)
{
    enum term_kind kind = (enum term_kind)term_rules[*d->r.p].kind;
    if (kind != TERM_INT && kind != TERM_FLOAT)
        return fail(d, "a map key that is neither text nor number");
    buf_puts(d->out, comma ? ",\"" : "\"");
    int rc = kind == TERM_INT ? put_int(d) : put_float(d);
    buf_puts(d->out, "\":");
    return rc;
}

static int put_key(struct decoder *d, bool comma)
{
    struct term_reader at = d->r;
    struct slice text;
    if (!take_text(&at, &text))
        return put_number_key(d, comma);
    if (json_put_key(d->out, text, comma))
        return fail(d, "a map key that is not UTF-8");
    d->r = at;
    return BG_OK;
}

/* Steps over the texts that nearly all keys and most values are, atoms only where they are keys: a value may be nil. */
static inline const uint8_t *plain_text(const uint8_t *p, const uint8_t *end, bool key, struct slice *text)
{
    size_t left = (size_t)(end - p), head, n;
    if (left >= 5 && *p == TAG_BINARY)
        head = 5, n = get_be32(p + 1);
    else if (left >= 2 && *p == TAG_SMALL_ATOM_UTF8 && key)
        head = 2, n = p[1];
    else
        return NULL;
    if (n > left - head)
        return NULL;
    *text = slice_make(p + head, n);
    return p + head + n;
}

/* Pairs of plain text, as many as come, each in one step. What is anything else, or near the end of the term or of the
 * room, is left to next_pair(). */
static void put_plain_pairs(struct decoder *d, struct frame *f)
{
    struct slice key, value;
    const uint8_t *p = d->r.p, *end = d->r.end, *next;
    if (!buf_ok(d->out))
        return;
    size_t room = d->out->cap - d->out->len;
    uint8_t *o = d->out->data + d->out->len;
    for (; f->left > 0; f->left--, f->some = true) {
        next = plain_text(p, end, true, &key);
        if (next)
            next = plain_text(next, end, false, &value);
        if (!next || end - next < TEXT_SLACK)
            break;
        size_t n = key.len + value.len + strlen("\"\":\"\"") + f->some;
        if (room < n + TEXT_SLACK)
            break;
        uint8_t *k = o + f->some + 1, *v = k + key.len + 3;
        if (!text_copy_plain_slack(k, key.ptr, key.len) || !text_copy_plain_slack(v, value.ptr, value.len))
            break;
        o[0] = ',';
        k[-1] = k[key.len] = v[-1] = v[value.len] = '"';
        k[key.len + 1] = ':';
        o += n;
        room -= n;
        p = next;
    }
    d->out->len = (size_t)(o - d->out->data);
    d->r.p = p;
}

/* Moves behind the key of the next pair, or over the whole pair when a struct does not show it. */
static int next_pair(struct decoder *d, struct frame *f, bool *skipped)
{
    struct slice dropped;
    f->key = offset(d, d->r.p);
    if (term_at_end(&d->r))
        return fail(d, "a malformed map");
    *skipped =
        f->kind == FRAME_STRUCT && (term_read_is_atom(&d->r, "__struct__") || term_read_is_atom(&d->r, "__meta__"));
    if (*skipped)
        return term_skip(&d->r, &dropped) ? fail(d, "a malformed map") : BG_OK;
    bool comma = f->some;
    f->some = true;
    return put_key(d, comma);
}

/* Jumps to the field; one that an older library does not send has its default. */
static int next_field(struct decoder *d, struct frame *f, bool *skipped)
{
    uint32_t i = f->count - f->left - 1;
    buf_printf(d->out, "%s\"%s\":", i ? "," : "", response_fields[i].key);
    *skipped = f->field[i] == 0;
    if (*skipped)
        buf_puts(d->out, response_fields[i].absent);
    else
        d->r.p = d->start + f->field[i];
    return BG_OK;
}

/* In a set the value of the pair before is still to be stepped over. */
static int next_member(struct decoder *d, struct frame *f)
{
    struct slice value;
    if (f->some && f->kind == FRAME_SET && term_skip(&d->r, &value))
        return fail(d, "a malformed map");
    if (f->some)
        buf_putc(d->out, ',');
    f->some = true;
    return BG_OK;
}

/* Writes what comes before the next element. *skipped: the element is done already. */
static int next_element(struct decoder *d, struct frame *f, bool *skipped)
{
    f->left--;
    *skipped = false;
    if (f->kind == FRAME_MAP || f->kind == FRAME_STRUCT)
        return next_pair(d, f, skipped);
    return f->kind == FRAME_RESPONSE ? next_field(d, f, skipped) : next_member(d, f);
}

/* Sets and Responses were walked out of order: the cursor jumps behind them. */
static int close_frame(struct decoder *d)
{
    struct frame *f = &d->frame[--d->depth];
    buf_putc(d->out, f->kind == FRAME_LIST || f->kind == FRAME_SET ? ']' : '}');
    if (f->kind == FRAME_SET || f->kind == FRAME_RESPONSE)
        d->r.p = d->start + f->after;
    if (f->kind == FRAME_LIST && term_read_tail(&d->r))
        return fail(d, "an improper list");
    return BG_OK;
}

static int decode(struct decoder *d)
{
    int rc = put_value(d);
    while (rc == 0 && d->depth > 0) {
        struct frame *f = &d->frame[d->depth - 1];
        bool skipped = true;
        if (f->kind == FRAME_MAP)
            put_plain_pairs(d, f);
        rc = f->left == 0 ? close_frame(d) : next_element(d, f, &skipped);
        if (rc == 0 && !skipped)
            rc = put_value(d);
    }
    return rc;
}

static int put_term(struct slice term, struct buf *out, const struct term_to_json_options *opt, struct err *e)
{
    struct decoder d;
    unsigned depth = opt && opt->max_depth ? opt->max_depth : TERM_DEPTH_DEFAULT;
    d.r = term_reader(term);
    d.start = d.r.p;
    d.out = out;
    d.e = e;
    d.marks = d.marks_inline;
    d.mark_count = d.mark_next = 0;
    d.mark_cap = MARKS_INLINE;
    d.depth = 0;
    d.max_depth = depth < TERM_DEPTH_DEFAULT ? depth : TERM_DEPTH_DEFAULT;
    int rc = prepare_structs(&d);
    if (rc == 0)
        rc = decode(&d);
    if (rc == 0 && !buf_ok(out))
        rc = fail_room(&d);
    if (d.marks != d.marks_inline)
        free(d.marks);
    return rc;
}

/* A result that is one plain text and nothing else needs no decoder. */
static bool put_lone_text(struct slice term, struct buf *out)
{
    const uint8_t *p = (const uint8_t *)term.ptr;
    if (term.len < 5 || *p != TAG_BINARY || get_be32(p + 1) != term.len - 5)
        return false;
    size_t n = term.len - 5;
    uint8_t *o = buf_room(out, n + 2);
    if (!o || !text_copy_plain(o + 1, term.ptr + 5, n))
        return false;
    o[0] = o[n + 1] = '"';
    out->len += n + 2;
    return true;
}

int term_to_json(struct slice term, struct buf *out, const struct term_to_json_options *opt, struct err *e)
{
    if (term.len >= UINT32_MAX)
        return err_set(e, BG_ELIMIT, 0, "term too large");
    return put_lone_text(term, out) ? BG_OK : put_term(term, out, opt, e);
}
