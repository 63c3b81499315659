/*
 * term_inspect.c: terms as Elixir's Kernel.inspect/1 shows them (Elixir 1.18: charlists as ~c"abc"), for error texts
 * that clients see and for logs.
 *
 * One line, never wrapped, cut at a bound of bytes: work stops when the bound is passed, so a huge term costs no more
 * than the part that is shown. Walks with a bounded stack of its own.
 *
 * What it cannot know: the order of a struct's fields in its module (shown as they came), and Inspect
 * implementations other than those in the table at the end.
 */
#include <stdio.h>

#include "bigint.h"
#include "json.h"
#include "struct_json.h"
#include "term_tags.h"
#include "text_scan.h"

enum frame_kind {
    FRAME_LIST,
    FRAME_KEYWORD, /* [a: 1] */
    FRAME_TUPLE,
    FRAME_MAP,    /* %{1 => 2}: keys and values are elements by turns */
    FRAME_FIELDS, /* %{a: 1} and %Mod{a: 1} */
    FRAME_SET,    /* MapSet.new([1]): the keys of a map */
    FRAME_TAIL    /* | 3]: the tail of an improper list has been written */
};

struct frame {
    enum frame_kind kind;
    bool some;
    bool is_struct;
    uint64_t left;
    const uint8_t *after; /* FRAME_SET: end of the struct */
};

struct inspector {
    struct term_reader r;
    struct buf *out;
    size_t stop; /* out->len from which on nothing more is shown */
    unsigned depth;
    struct frame frame[TERM_DEPTH_DEFAULT];
};

/* Checked between pieces, so a piece may go over; cut() puts that right. */
static bool full(const struct inspector *in)
{
    return in->out->len >= in->stop || !buf_ok(in->out);
}

/* ---- text ---- */

/* The letter of a short escape, 0 for none. */
static char escape_letter(uint32_t c)
{
    static const char letters[128] = {
        ['\a'] = 'a', ['\b'] = 'b', [0x1b] = 'e', ['\f'] = 'f',  ['\n'] = 'n', ['\r'] = 'r',
        ['\t'] = 't', ['\v'] = 'v', [0x7f] = 'd', ['\\'] = '\\', ['"'] = '"',
    };
    return c < 128 ? letters[c] : 0;
}

/* The character at p; *n is its length, 0 when it is not UTF-8 (then its value is the byte). */
static uint32_t character(const char *p, const char *end, size_t *n)
{
    const uint8_t *u = (const uint8_t *)p;
    if (*u < 0x80) {
        *n = 1;
        return *u;
    }
    *n = utf8_sequence(p, (size_t)(end - p));
    switch (*n) {
    case 2:
        return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    case 3:
        return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    case 4:
        return (u[0] & 0x07u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
    default:
        return *u;
    }
}

/* As Elixir's String.printable?/1 and List.ascii_printable?/1 together see it. */
static bool printable(uint32_t c)
{
    return (c >= 0x20 && c <= 0x7e) || (c >= 0xa0 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd) || c >= 0x10000 ||
           escape_letter(c);
}

enum { PRINTABLE_LOOK = 4096 }; /* characters that are looked at before a binary counts as text */

/* A binary is shown as text when its first characters are all printable, like Elixir's printable_limit. */
static bool is_text(struct slice s)
{
    const char *p = s.ptr, *end = slice_end(s);
    for (size_t i = 0; p < end && i < PRINTABLE_LOOK; i++) {
        size_t n;
        uint32_t c = character(p, end, &n);
        if (n == 0 || !printable(c))
            return false;
        p += n;
    }
    return true;
}

/* Between double quotes, with Elixir's escapes. */
static void put_quoted(struct inspector *in, struct slice s)
{
    const char *p = s.ptr, *end = slice_end(s);
    buf_putc(in->out, '"');
    while (p < end && !full(in)) {
        size_t n;
        uint32_t c = character(p, end, &n);
        if (n && escape_letter(c))
            buf_printf(in->out, "\\%c", escape_letter(c));
        else if (c == 0)
            buf_puts(in->out, "\\0");
        else if (n == 0 || !printable(c))
            buf_printf(in->out, "\\x%02X", c);
        else if (c == '#' && p + 1 < end && p[1] == '{')
            buf_puts(in->out, "\\#");
        else
            buf_add(in->out, p, n);
        p += n ? n : 1;
    }
    buf_putc(in->out, '"');
}

/* `more` is what follows the bytes: the last bits of a bitstring. */
static void put_bytes(struct inspector *in, struct slice s, const char *more)
{
    buf_puts(in->out, "<<");
    for (size_t i = 0; i < s.len && !full(in); i++)
        buf_printf(in->out, "%s%u", i ? ", " : "", (uint8_t)s.ptr[i]);
    buf_printf(in->out, "%s>>", more);
}

/* ---- atoms ---- */

/* Letters of other alphabets as far as ranges tell; what is symbols or unassigned mostly lies outside. */
static bool letter(uint32_t c)
{
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    return c == 0xaa || c == 0xb5 || c == 0xba || (c >= 0xc0 && c < 0x2000 && c != 0xd7 && c != 0xf7) ||
           (c >= 0x3041 && c <= 0xd7ff);
}

/* A name that needs no quotes behind a colon: letters, digits, @, and one ? or ! at the end. */
static bool is_identifier(struct slice s)
{
    const char *p = s.ptr, *end = slice_end(s);
    if (s.len && (end[-1] == '?' || end[-1] == '!'))
        end--;
    for (const char *at = p; at < end;) {
        size_t n;
        uint32_t c = character(at, end, &n);
        bool inner = (c >= '0' && c <= '9') || c == '@';
        if (n == 0 || !(letter(c) || (inner && at > p)))
            return false;
        at += n;
    }
    return p < end;
}

/* Atoms that are operators show without quotes although they are no names. */
static bool is_operator(struct slice s)
{
    static const char *const operators[] = {
        "!",  "!=",  "!==", "%",  "%{}", "&",   "&&",   "&&&", "*",   "**",  "+",   "++",   "+++",
        "-",  "--",  "---", "->", "..",  "...", "..//", "/",   "<",   "<-",  "<<<", "<<>>", "<<~",
        "<=", "<>",  "<|>", "<~", "<~>", "=",   "==",   "===", "=~",  ">",   ">=",  ">>>",  "@",
        "^",  "^^^", "{}",  "|",  "|>",  "||",  "|||",  "~>",  "~>>", "~~~", ".",
    };
    for (size_t i = 0; i < ARRAY_SIZE(operators); i++)
        if (slice_is(s, operators[i]))
            return true;
    return false;
}

/* Foo.Bar behind "Elixir.": words that begin with a capital. */
static bool is_alias(struct slice s)
{
    bool first = true;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool upper = c >= 'A' && c <= 'Z', other = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        if (c == '.' ? first : !(upper || (other && !first)))
            return false;
        first = c == '.';
    }
    return !first;
}

static const char alias_prefix[] = "Elixir.";

/* Module atoms, which keyword syntax never shows. */
static bool begins_as_alias(struct slice s)
{
    return s.len >= sizeof(alias_prefix) - 1 && memcmp(s.ptr, alias_prefix, sizeof(alias_prefix) - 1) == 0;
}

/* The part of a module's name that is shown. */
static bool alias_of(struct slice s, struct slice *name)
{
    if (slice_is(s, "Elixir")) {
        *name = s;
        return true;
    }
    if (!begins_as_alias(s))
        return false;
    *name = slice_make(s.ptr + sizeof(alias_prefix) - 1, s.len - (sizeof(alias_prefix) - 1));
    return is_alias(*name);
}

/* The name without its colon, quoted where it must be. */
static void put_name(struct inspector *in, struct slice s)
{
    struct slice alias;
    if (!alias_of(s, &alias) && (is_identifier(s) || is_operator(s)))
        buf_add_slice(in->out, s);
    else
        put_quoted(in, s);
}

/* nil, true and false have no colon, modules lose their prefix. */
static void put_atom_slice(struct inspector *in, struct slice s)
{
    struct slice alias;
    if (slice_is(s, "nil") || slice_is(s, "true") || slice_is(s, "false")) {
        buf_add_slice(in->out, s);
    } else if (alias_of(s, &alias)) {
        buf_add_slice(in->out, alias);
    } else {
        buf_putc(in->out, ':');
        put_name(in, s);
    }
}

/* Takes any atom, Latin-1 ones too (their other than ASCII characters show as bytes). */
static bool take_atom(struct term_reader *r, struct slice *text)
{
    const uint8_t *next = term_atom_text(r->p, r->end, text);
    if (next)
        r->p = next;
    return next != NULL;
}

/* ---- leaves ---- */

static void put_atom(struct inspector *in)
{
    struct slice s;
    if (take_atom(&in->r, &s))
        put_atom_slice(in, s);
}

/* Integers too large to convert within bounds show as dots. */
static void put_int(struct inspector *in)
{
    struct term_big big;
    int64_t v;
    if (term_read_int(&in->r, &v) == BG_OK) {
        json_put_int(in->out, v);
    } else if (term_read_big(&in->r, &big)) {
        char text[BIG_DIGITS_MAX];
        size_t n = big.len <= BIG_BYTES_MAX ? big_to_decimal(big.bytes, big.len, text) : 0;
        if (big.negative)
            buf_putc(in->out, '-');
        buf_add(in->out, n ? text : "...", n ? n : 3);
    }
}

static void put_float(struct inspector *in)
{
    double v;
    if (term_read_float(&in->r, &v) == BG_OK)
        json_put_float(in->out, v);
}

static void put_binary(struct inspector *in)
{
    struct slice s;
    if (term_read_binary(&in->r, &s))
        return;
    if (is_text(s))
        put_quoted(in, s);
    else
        put_bytes(in, s, "");
}

/* The unused bits of the last byte are its lower ones. */
static void put_bitstring(struct inspector *in)
{
    struct slice whole;
    char last[32];
    if (term_skip(&in->r, &whole) || whole.len < 7)
        return;
    unsigned bits = (uint8_t)whole.ptr[5];
    struct slice bytes = slice_make(whole.ptr + 6, whole.len - 7);
    unsigned value = (uint8_t)whole.ptr[whole.len - 1] >> ((8 - bits) & 7);
    snprintf(last, sizeof(last), "%s%u::size(%u)", bytes.len ? ", " : "", value, bits);
    put_bytes(in, bytes, last);
}

/* ASCII only, as List.ascii_printable?/1 asks. */
static bool charlist(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        if ((uint8_t)bytes.ptr[i] > 0x7f || !printable((uint8_t)bytes.ptr[i]))
            return false;
    return bytes.len > 0;
}

/* STRING_EXT: the BEAM's encoding of any list of bytes, charlist or not. */
static void put_byte_list(struct inspector *in)
{
    struct slice s;
    if (term_read_string(&in->r, &s))
        return;
    if (charlist(s)) {
        buf_puts(in->out, "~c");
        put_quoted(in, s);
        return;
    }
    buf_putc(in->out, '[');
    for (size_t i = 0; i < s.len && !full(in); i++)
        buf_printf(in->out, "%s%u", i ? ", " : "", (uint8_t)s.ptr[i]);
    buf_putc(in->out, ']');
}

static void put_nil(struct inspector *in)
{
    in->r.p++;
    buf_puts(in->out, "[]");
}

/* The first number is a node's index in the one who prints; ours has none. */
static void put_pid(struct inspector *in)
{
    struct term_pid pid;
    if (term_read_pid(&in->r, &pid) == BG_OK)
        buf_printf(in->out, "#PID<0.%u.%u>", pid.id, pid.serial);
}

/* Erlang shows the words last first. */
static void put_ref(struct inspector *in)
{
    struct term_ref ref;
    if (term_read_ref(&in->r, &ref))
        return;
    buf_puts(in->out, "#Reference<0");
    for (uint32_t i = ref.words; i > 0; i--)
        buf_printf(in->out, ".%u", ref.id[i - 1]);
    buf_putc(in->out, '>');
}

/* Terms whose inner parts mean nothing outside their node. */
static void put_opaque(struct inspector *in, const char *text)
{
    struct slice whole;
    if (term_skip(&in->r, &whole) == BG_OK)
        buf_puts(in->out, text);
}

static void put_port(struct inspector *in)
{
    put_opaque(in, "#Port<>");
}

static void put_fun(struct inspector *in)
{
    put_opaque(in, "#Function<>");
}

/* &Mod.fun/2 */
static void put_export(struct inspector *in)
{
    struct slice module, function;
    int64_t arity;
    in->r.p++;
    if (!take_atom(&in->r, &module) || !take_atom(&in->r, &function) || term_read_int(&in->r, &arity))
        return;
    buf_putc(in->out, '&');
    put_atom_slice(in, module);
    buf_putc(in->out, '.');
    put_name(in, function);
    buf_printf(in->out, "/%lld", (long long)arity);
}

/* ---- containers ---- */

/* NULL when nested too deep to show: then the text ends here. */
static struct frame *push(struct inspector *in, enum frame_kind kind, uint64_t left, const char *open)
{
    if (in->depth == TERM_DEPTH_DEFAULT) {
        in->stop = 0;
        return NULL;
    }
    struct frame *f = &in->frame[in->depth++];
    *f = (struct frame){.kind = kind, .left = left};
    buf_puts(in->out, open);
    return f;
}

/* {atom, _} whose atom is no module, at r; steps over it. */
static bool skip_keyword(struct term_reader *r)
{
    struct slice key, value;
    uint32_t arity;
    return term_read_tuple(r, &arity) == BG_OK && arity == 2 && take_atom(r, &key) && !begins_as_alias(key) &&
           term_skip(r, &value) == BG_OK;
}

/* The list's elements, with r behind its head; it is proper too. */
static bool is_keyword(struct term_reader r, uint32_t n)
{
    for (; n > 0; n--)
        if (!skip_keyword(&r))
            return false;
    return term_read_tail(&r) == BG_OK;
}

/* Lists of characters come as LIST_EXT from other encoders than the BEAM's, and when longer than 65535. */
static bool put_charlist(struct inspector *in, struct term_reader r, uint32_t n)
{
    struct buf text;
    buf_init(&text, PRINTABLE_LOOK);
    for (int64_t c; n > 0 && term_read_int(&r, &c) == BG_OK && c >= 0 && c < 128 && printable((uint32_t)c); n--)
        buf_putc(&text, (int)c);
    bool ok = n == 0 && buf_ok(&text) && term_read_tail(&r) == BG_OK;
    if (ok) {
        buf_puts(in->out, "~c");
        put_quoted(in, buf_slice(&text));
        in->r = r;
    }
    buf_fini(&text);
    return ok;
}

static void open_list(struct inspector *in)
{
    uint32_t n;
    if (term_read_list(&in->r, &n) || put_charlist(in, in->r, n))
        return;
    push(in, is_keyword(in->r, n) ? FRAME_KEYWORD : FRAME_LIST, n, "[");
}

static void open_tuple(struct inspector *in)
{
    uint32_t n;
    if (term_read_tuple(&in->r, &n) == BG_OK)
        push(in, FRAME_TUPLE, n, "{");
}

/* The BEAM puts atom keys before binaries in small maps. Looking no further than the first binary key keeps maps
 * made from JSON cheap. */
static bool struct_name(struct term_reader r, uint32_t n, struct slice *module)
{
    struct slice skipped;
    for (; n > 0; n--) {
        if (term_read_is_atom(&r, "__struct__"))
            return take_atom(&r, module);
        if (term_peek(&r) == TERM_BINARY || term_skip(&r, &skipped) || term_skip(&r, &skipped))
            return false;
    }
    return false;
}

/* Then Elixir writes `a: 1` instead of `:a => 1`. */
static bool has_atom_keys(struct term_reader r, uint32_t n)
{
    struct slice key, value;
    for (; n > 0; n--)
        if (!take_atom(&r, &key) || begins_as_alias(key) || term_skip(&r, &value))
            return false;
    return true;
}

/* Jumps to the inner map; close_frame() jumps behind the struct. */
static bool put_set(struct inspector *in, struct slice whole)
{
    struct slice elements;
    uint32_t n;
    if (!term_map_get(whole, "map", &elements))
        return false;
    struct term_reader r = term_reader(elements);
    if (term_read_map(&r, &n))
        return false;
    struct frame *f = push(in, FRAME_SET, n, "MapSet.new([");
    if (!f)
        return false;
    f->after = in->r.p;
    in->r.p = r.p;
    return true;
}

/* Ranges of Elixir before 1.12 have no step. */
static bool put_range(struct inspector *in, struct slice whole)
{
    static const char *const names[] = {"first", "last", "step"};
    int64_t v[3] = {0, 0, 1};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct slice field = SLICE_NONE;
        bool found = term_map_get(whole, names[i], &field);
        struct term_reader r = term_reader(field);
        if (found ? term_read_int(&r, &v[i]) != BG_OK : i < 2)
            return false;
    }
    buf_printf(in->out, "%lld..%lld", (long long)v[0], (long long)v[1]);
    if (v[2] != 1)
        buf_printf(in->out, "//%lld", (long long)v[2]);
    return true;
}

/* The text of a date or time in a sigil: ~N[2024-01-02 03:04:05] */
static bool put_sigil(struct inspector *in, const char *module, struct slice whole, char sigil)
{
    struct buf text;
    buf_init(&text, 0);
    bool ok = struct_put_text(slice_str(module), whole, &text) == BG_OK && text.len > 2;
    ok = ok && (sigil != 'U' || text.data[text.len - 2] == 'Z');
    if (ok) {
        uint8_t *t = memchr(text.data, 'T', text.len);
        if (t)
            *t = ' ';
        buf_printf(in->out, "~%c[%.*s]", sigil, (int)text.len - 2, (const char *)text.data + 1);
    }
    buf_fini(&text);
    return ok;
}

/* Structs that Elixir shows in a form of their own. False: show the fields. */
static bool put_known(struct inspector *in, struct slice module, struct slice whole)
{
    static const struct {
        const char *module;
        char sigil;
    } clocks[] = {{"Elixir.Date", 'D'}, {"Elixir.Time", 'T'}, {"Elixir.NaiveDateTime", 'N'}, {"Elixir.DateTime", 'U'}};
    for (size_t i = 0; i < ARRAY_SIZE(clocks); i++)
        if (slice_is(module, clocks[i].module))
            return put_sigil(in, clocks[i].module, whole, clocks[i].sigil);
    if (slice_is(module, "Elixir.Range"))
        return put_range(in, whole);
    return slice_is(module, "Elixir.MapSet") && put_set(in, whole);
}

/* A struct of a module without a form of its own: its fields. */
static void open_struct(struct inspector *in, struct slice module, uint32_t n)
{
    buf_putc(in->out, '%');
    put_atom_slice(in, module);
    struct frame *f = push(in, FRAME_FIELDS, n, "{");
    if (f)
        f->is_struct = true;
}

/* Struct, %{a: 1} or %{1 => 2}. */
static void open_map(struct inspector *in)
{
    struct term_reader at = in->r;
    struct slice module, whole;
    uint32_t n;
    if (term_read_map(&at, &n))
        return;
    if (struct_name(at, n, &module)) {
        struct term_reader start = in->r;
        if (term_skip(&in->r, &whole) || put_known(in, module, whole))
            return;
        in->r = start;
        in->r.p = at.p;
        open_struct(in, module, n);
        return;
    }
    bool fields = has_atom_keys(at, n);
    in->r = at;
    push(in, fields ? FRAME_FIELDS : FRAME_MAP, fields ? n : 2 * (uint64_t)n, "%{");
}

static void put_value(struct inspector *in)
{
    static void (*const put[])(struct inspector *) = {
        [TERM_INT] = put_int,    [TERM_FLOAT] = put_float,      [TERM_ATOM] = put_atom,
        [TERM_NIL] = put_nil,    [TERM_BINARY] = put_binary,    [TERM_BITSTRING] = put_bitstring,
        [TERM_LIST] = open_list, [TERM_STRING] = put_byte_list, [TERM_TUPLE] = open_tuple,
        [TERM_MAP] = open_map,   [TERM_PID] = put_pid,          [TERM_PORT] = put_port,
        [TERM_REF] = put_ref,    [TERM_FUN] = put_fun,          [TERM_EXPORT] = put_export,
    };
    const uint8_t *before = in->r.p;
    enum term_kind kind = term_at_end(&in->r) ? TERM_INVALID : (enum term_kind)term_rules[*in->r.p].kind;
    if (kind != TERM_INVALID)
        put[kind](in);
    if (in->r.p == before) /* a term that was not checked: show no more */
        in->stop = 0;
}

/* ---- elements ---- */

/* Elements of maps stand by turns: an even number left means a key comes. */
static void put_separator(struct inspector *in, struct frame *f)
{
    if (f->kind == FRAME_MAP && f->left % 2)
        buf_puts(in->out, " => ");
    else if (f->some)
        buf_puts(in->out, ", ");
    f->some = true;
}

/* `key: `; false when the field is not shown. */
static bool put_field_key(struct inspector *in, struct frame *f)
{
    struct slice key, value;
    uint32_t arity;
    if (f->kind == FRAME_KEYWORD && term_read_tuple(&in->r, &arity))
        return false;
    if (f->is_struct && (term_read_is_atom(&in->r, "__struct__") || term_read_is_atom(&in->r, "__exception__")))
        return term_skip(&in->r, &value) != BG_OK;
    put_separator(in, f);
    if (!take_atom(&in->r, &key)) { /* a struct has no other keys */
        in->stop = 0;
        return false;
    }
    put_name(in, key);
    buf_puts(in->out, ": ");
    return true;
}

/* Writes what comes before the next element and the element, or opens it. */
static void next_element(struct inspector *in, struct frame *f)
{
    struct slice value;
    if (f->kind == FRAME_SET && f->some && term_skip(&in->r, &value))
        in->stop = 0;
    if (f->kind == FRAME_FIELDS || f->kind == FRAME_KEYWORD) {
        f->left--;
        if (put_field_key(in, f))
            put_value(in);
        return;
    }
    put_separator(in, f);
    f->left--;
    put_value(in);
}

/* Ends the innermost container; of an improper list first the tail is shown. */
static void close_frame(struct inspector *in, struct frame *f)
{
    static const char *const closing[] = {
        [FRAME_LIST] = "]",   [FRAME_KEYWORD] = "]", [FRAME_TUPLE] = "}", [FRAME_MAP] = "}",
        [FRAME_FIELDS] = "}", [FRAME_SET] = "])",    [FRAME_TAIL] = "]",
    };
    bool list = f->kind == FRAME_LIST || f->kind == FRAME_KEYWORD;
    if (list && term_read_tail(&in->r)) {
        f->kind = FRAME_TAIL;
        buf_puts(in->out, " | ");
        put_value(in);
        return;
    }
    buf_puts(in->out, closing[f->kind]);
    if (f->kind == FRAME_SET)
        in->r.p = f->after;
    in->depth--;
}

/* Cuts what was written since start to max bytes, at the beginning of a character, and shows that it was cut. */
static void cut(struct buf *out, size_t start, size_t max)
{
    static const char dots[] = "...";
    size_t keep = start + (max > sizeof(dots) - 1 ? max - (sizeof(dots) - 1) : 0);
    while (keep > start && keep < out->len && (out->data[keep] & 0xc0) == 0x80)
        keep--;
    buf_truncate(out, keep < out->len ? keep : out->len);
    if (max >= sizeof(dots) - 1)
        buf_puts(out, dots);
}

/* One byte more than max may be written, which tells that there was more. */
void term_inspect(struct slice term, struct buf *out, size_t max)
{
    struct inspector in;
    size_t start = out->len;
    in.r = term_reader(term);
    in.out = out;
    in.depth = 0;
    in.stop = start + max + 1;
    put_value(&in);
    while (in.depth > 0 && !full(&in)) {
        struct frame *f = &in.frame[in.depth - 1];
        if (f->left == 0)
            close_frame(&in, f);
        else
            next_element(&in, f);
    }
    if (out->len - start > max || in.stop == 0)
        cut(out, start, max);
}
