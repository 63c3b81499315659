/*
 * config_check.c: reads the file once as YAML events, beside the option table, only to say what is wrong
 * with it: every problem at once, each with its line, the path of the key and what would be right.
 *
 * Invariant: a text that passes here loads through libcyaml without an error, so the operator never has to
 * read libcyaml's own messages. No recursion: one frame for each open mapping or list, and as the table
 * has at most five levels, so has the stack; what the table does not know is skipped by counting.
 *
 * It stores nothing but what libcyaml cannot keep: the line of each key, and the values of lists of values
 * with the difference between 5 and "5".
 */
#include "config_schema.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "term.h"

enum { FRAMES_MAX = 8, PROBLEMS_MAX = 20, KEY_MAX = 64, LINES_MAX = 100000, OPTIONS_MAX = 32 };

struct frame {
    const struct section *section; /* of a mapping; NULL in a list */
    const struct option *option;   /* mapping: whose value comes next, NULL while a key is due; list: its option */
    size_t lines[OPTIONS_MAX];     /* where each key was seen, 0: not yet */
    size_t line;                   /* where it began */
    size_t path_len;               /* of the path to it */
    uint32_t index;                /* items seen, lists only */
};

struct check {
    const char *name;
    struct config_report *report;
    struct config_terms *terms;
    struct config_lines *lines;
    yaml_parser_t parser;
    struct frame frames[FRAMES_MAX];
    unsigned depth;     /* open frames */
    unsigned skip;      /* open containers of a value that is being skipped */
    bool skip_next;     /* the value that comes next is skipped */
    bool stop;          /* nothing sensible can be said about the rest */
    bool in_terms;      /* inside a list of values */
    const struct option *list; /* the outermost list */
    uint32_t item;             /* index of its item */
    uint32_t terms_n;   /* values in the open list of values */
    size_t documents;
    char path[96];
};

/* ---- messages ------------------------------------------------------------------------------------------ */

static void PRINTF_LIKE(5, 0) add_line(struct config_report *r, const char *name, size_t line, const char *word,
                                       const char *fmt, va_list ap)
{
    if (line)
        buf_printf(&r->text, "%s:%zu: %s", name, line, word);
    else
        buf_printf(&r->text, "%s: %s", name, word);
    buf_vprintf(&r->text, fmt, ap);
    buf_putc(&r->text, '\n');
}

void config_error(struct config_report *r, const char *name, size_t line, const char *fmt, ...)
{
    va_list ap;
    if (++r->errors > PROBLEMS_MAX)
        return;
    va_start(ap, fmt);
    add_line(r, name, line, "", fmt, ap);
    va_end(ap);
}

void config_warning(struct config_report *r, const char *name, size_t line, const char *fmt, ...)
{
    va_list ap;
    r->warnings++;
    va_start(ap, fmt);
    add_line(r, name, line, "warning: ", fmt, ap);
    va_end(ap);
}

/* Text of the file for a message, cut, and without what would break the line. Never called for a cookie. */
static const char *shown(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (const char *p = text; *p && n + 4 < size; p++)
        out[n++] = (unsigned char)*p < 0x20 ? ' ' : *p;
    out[n] = '\0';
    return out;
}

#define PROBLEM(c, line, ...) config_error((c)->report, (c)->name, (line), __VA_ARGS__)

/* ---- nearest key --------------------------------------------------------------------------------------- */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edits (insert, delete, change, swap of neighbours) that turn a into b. */
static unsigned distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned row[3][KEY_MAX + 1];
    if (la > KEY_MAX || lb > KEY_MAX)
        return UINT32_MAX;
    for (unsigned j = 0; j <= lb; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        unsigned *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            now[j] = min3(up[j] + 1, now[j - 1] + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < now[j])
                now[j] = up2[j - 2] + 1;
        }
    }
    return row[la % 3][lb];
}

static const char *nearest_key(const struct section *s, const char *key)
{
    unsigned best = UINT32_MAX;
    const char *near = NULL;
    for (uint32_t i = 0; i < s->count; i++) {
        unsigned d = distance(key, s->options[i].key);
        if (d < best) {
            best = d;
            near = s->options[i].key;
        }
    }
    size_t len = strlen(key);
    return best <= (len < 6 ? 2 : len / 3) ? near : NULL;
}

/* The section of the file's top level that knows the key: for a key at the wrong place. */
static const char *home_of_key(const char *key)
{
    for (uint32_t i = 0; i < config_section.count; i++) {
        const struct option *o = &config_section.options[i];
        for (uint32_t j = 0; o->child && j < o->child->count; j++)
            if (strcmp(o->child->options[j].key, key) == 0)
                return o->key;
    }
    return NULL;
}

static void known_keys(const struct section *s, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < s->count && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", s->options[i].key);
}

static const char *where(const struct check *c)
{
    return c->path[0] ? c->path : "the top level";
}

static void report_unknown(struct check *c, const struct section *s, const char *key, size_t line)
{
    char text[KEY_MAX + 8], keys[512];
    shown(key, text, sizeof(text));
    const char *near = nearest_key(s, key), *home = near ? NULL : home_of_key(key);
    if (near)
        PROBLEM(c, line, "unknown key \"%s\" in %s; did you mean \"%s\"?", text, where(c), near);
    else if (home)
        PROBLEM(c, line, "unknown key \"%s\" in %s; it belongs in \"%s\"", text, where(c), home);
    else {
        known_keys(s, keys, sizeof(keys));
        PROBLEM(c, line, "unknown key \"%s\" in %s; known are: %s", text, where(c), keys);
    }
}

/* ---- where we are -------------------------------------------------------------------------------------- */

static struct frame *top(struct check *c)
{
    return c->depth ? &c->frames[c->depth - 1] : NULL;
}

/* Opens a mapping (section) or a list (its option); the path so far becomes the frame's. */
static void push(struct check *c, const struct section *s, const struct option *list, size_t line)
{
    assert_always(c->depth < FRAMES_MAX); /* the table is less deep */
    struct frame *f = &c->frames[c->depth++];
    memset(f, 0, sizeof(*f));
    f->section = s;
    f->option = list;
    f->line = line;
    f->path_len = strlen(c->path);
}

static void path_to_key(struct check *c, const char *key)
{
    size_t at = top(c)->path_len;
    snprintf(c->path + at, sizeof(c->path) - at, "%s%s", at ? "." : "", key);
}

static void path_to_item(struct check *c, uint32_t index)
{
    size_t at = top(c)->path_len;
    snprintf(c->path + at, sizeof(c->path) - at, "[%u]", index);
}

/* A value has been dealt with: its mapping waits for a key again. */
static void value_done(struct check *c)
{
    struct frame *f = top(c);
    if (f && f->section)
        f->option = NULL;
    if (f)
        c->path[f->path_len] = '\0';
}

/* For messages that come after the pre-pass; beyond the bound they come without a line. */
static void remember_line(struct check *c, size_t line)
{
    struct config_lines *l = c->lines;
    if (l->count >= LINES_MAX)
        return;
    if ((l->count & (l->count - 1)) == 0) {
        struct config_line *at = realloc(l->at, (l->count ? l->count * 2 : 1) * sizeof(*at));
        assert_always(at); /* at start, out of memory is fatal */
        l->at = at;
    }
    l->at[l->count].line = line;
    snprintf(l->at[l->count++].path, sizeof(l->at->path), "%s", c->path);
}

size_t config_line_of(const struct config_lines *lines, const char *path)
{
    for (uint32_t i = 0; i < lines->count; i++)
        if (strcmp(lines->at[i].path, path) == 0)
            return lines->at[i].line;
    return 0;
}

/* ---- scalars ------------------------------------------------------------------------------------------- */

struct scalar {
    const char *text;
    size_t len;
    bool plain; /* not quoted */
    size_t line;
};

static bool is_null(const struct scalar *s)
{
    return s->plain && (s->len == 0 || strcmp(s->text, "~") == 0 || strcasecmp(s->text, "null") == 0);
}

/* Decimal digits only: libcyaml would read 010 as octal and -1 as a large number. */
static bool parse_number(const char *text, uint64_t *value)
{
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 18 || text[n] != '\0' || (n > 1 && text[0] == '0'))
        return false;
    *value = strtoull(text, NULL, 10);
    return true;
}

static void check_number(struct check *c, const struct option *o, const struct scalar *s)
{
    char text[40];
    uint64_t v;
    if (!parse_number(s->text, &v))
        PROBLEM(c, s->line, "%s: \"%s\" is not a whole number; allowed are %llu to %llu", c->path,
                shown(s->text, text, sizeof(text)), (unsigned long long)o->min, (unsigned long long)o->max);
    else if (v < o->min || v > o->max)
        PROBLEM(c, s->line, "%s: %llu is out of range; allowed are %llu to %llu", c->path, (unsigned long long)v,
                (unsigned long long)o->min, (unsigned long long)o->max);
}

static void check_text(struct check *c, const struct option *o, size_t max, const struct scalar *s)
{
    char text[80];
    if (s->len == 0)
        PROBLEM(c, s->line, "%s: is empty; leave the key out for its default", c->path);
    else if (strlen(s->text) != s->len)
        PROBLEM(c, s->line, "%s: holds a zero byte", c->path);
    else if (s->len > max)
        PROBLEM(c, s->line, "%s: is %zu bytes long; allowed are %zu", c->path, s->len, max);
    else if (o->check && o->check(s->text))
        PROBLEM(c, s->line, "%s: \"%s\" %s", c->path, shown(s->text, text, sizeof(text)), o->check(s->text));
}

static void check_switch(struct check *c, const struct scalar *s)
{
    char text[40];
    if (strcmp(s->text, "true") != 0 && strcmp(s->text, "false") != 0)
        PROBLEM(c, s->line, "%s: \"%s\" is neither true nor false", c->path, shown(s->text, text, sizeof(text)));
}

static void check_word(struct check *c, const struct scalar *s)
{
    char text[40];
    for (unsigned i = 0; i < CONFIG_CALL_WAYS; i++)
        if (strcmp(s->text, config_call_way[i].str) == 0)
            return;
    PROBLEM(c, s->line, "%s: \"%s\" is not known; use %s or %s", c->path, shown(s->text, text, sizeof(text)),
            config_call_way[0].str, config_call_way[1].str);
}

static const char *wanted(enum option_kind kind)
{
    static const char *const name[] = {"a text",          "a number", "true or false",   "a word",
                                       "a group of keys", "a list",   "a list of texts", "a list of values"};
    return name[kind];
}

static void check_scalar(struct check *c, const struct option *o, const struct scalar *s)
{
    if (is_null(s))
        PROBLEM(c, s->line, "%s: has no value; it must be %s (leave the key out for its default)", c->path,
                wanted(o->kind));
    else if (o->kind == OPT_NUMBER)
        check_number(c, o, s);
    else if (o->kind == OPT_TEXT)
        check_text(c, o, (size_t)o->max, s);
    else if (o->kind == OPT_SWITCH)
        check_switch(c, s);
    else if (o->kind == OPT_WORD)
        check_word(c, s);
    else
        PROBLEM(c, s->line, "%s: must be %s", c->path, wanted(o->kind));
}

/* ---- lists of values ----------------------------------------------------------------------------------- */

/* YAML knows more ways to write numbers (hex, underscores, .inf): those stay texts here, as most people expect. */
static bool put_float(struct buf *b, const char *text)
{
    char *end;
    if (!text[strcspn(text, ".")] || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    double v = strtod(text, &end);
    if (*end || !isfinite(v))
        return false;
    term_put_float(b, v);
    return true;
}

static bool put_int(struct buf *b, const char *text)
{
    char *end;
    size_t digits = strspn(text + (text[0] == '-'), "0123456789");
    if (digits == 0 || digits > 18 || text[digits + (text[0] == '-')] != '\0')
        return false;
    term_put_int(b, strtoll(text, &end, 10));
    return true;
}

static bool put_word(struct buf *b, const char *text)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0 && strcmp(text, "nil") != 0)
        return false;
    term_put_atom(b, text);
    return true;
}

/* :name is an atom also when quoted, since YAML lets no plain text begin with a colon inside [ ]. */
static void put_text(struct buf *b, const struct scalar *s)
{
    char atom[256 * 4];
    if (s->len > 1 && s->text[0] == ':' && s->text[1] == ':')
        term_put_binary(b, slice_make(s->text + 1, s->len - 1));
    else if (s->text[0] == ':' && config_atom(slice_make(s->text, s->len), atom, sizeof(atom)) == BG_OK)
        term_put_atom(b, atom);
    else
        term_put_binary(b, slice_make(s->text, s->len));
}

/* A plain 5, 1.5, true, nil is what it looks like, quoted it is a text; :name is an atom, ::name the text :name. */
static void term_value(struct check *c, const struct scalar *s)
{
    struct buf *b = &c->terms->at[c->terms->count - 1].term;
    c->terms_n++;
    if (is_null(s))
        term_put_atom(b, "nil");
    else if (!s->plain || (!put_int(b, s->text) && !put_float(b, s->text) && !put_word(b, s->text)))
        put_text(b, s);
}

static void terms_begin(struct check *c, const struct option *o)
{
    struct config_terms *t = c->terms;
    struct config_term *at = realloc(t->at, (t->count + 1) * sizeof(*at));
    assert_always(at);
    t->at = at;
    at = &t->at[t->count++];
    at->list = c->list;
    at->item = c->item;
    at->offset = o->offset;
    buf_init(&at->term, 65536);
    c->terms_n = 0;
    c->in_terms = true;
}

/* The elements are there; the list's head needs their number. */
static void terms_end(struct check *c, const struct option *o, size_t line)
{
    struct buf *elements = &c->terms->at[c->terms->count - 1].term, list;
    c->in_terms = false;
    if (c->terms_n > o->max || !buf_ok(elements)) {
        PROBLEM(c, line, "%s: holds %u values; allowed are %llu in 64 KiB", c->path, c->terms_n,
                (unsigned long long)o->max);
        return;
    }
    buf_init(&list, 0);
    term_put_list(&list, c->terms_n);
    buf_add_slice(&list, buf_slice(elements));
    if (c->terms_n)
        term_put_nil(&list);
    buf_fini(elements);
    *elements = list;
}

/* ---- events -------------------------------------------------------------------------------------------- */

static void begin_key(struct check *c, struct frame *f, const struct scalar *s)
{
    c->skip_next = true; /* until a usable key says otherwise */
    for (uint32_t i = 0; i < f->section->count; i++) {
        if (strcmp(f->section->options[i].key, s->text) != 0)
            continue;
        path_to_key(c, s->text);
        if (f->lines[i]) {
            PROBLEM(c, s->line, "%s: is given twice; first in line %zu", c->path, f->lines[i]);
            c->path[f->path_len] = '\0';
            return;
        }
        f->lines[i] = s->line;
        f->option = &f->section->options[i];
        c->skip_next = false;
        remember_line(c, s->line);
        return;
    }
    report_unknown(c, f->section, s->text, s->line);
}

/* An item of a list begins: its path ends in [index]. */
static void begin_item(struct check *c, struct frame *f)
{
    path_to_item(c, f->index);
    if (c->depth == 2) {
        c->list = f->option;
        c->item = f->index;
    }
    f->index++;
}

/* What a scalar is depends on where it stands: a key, a value, an item, or a value of an Erlang list. */
static void on_scalar(struct check *c, const struct scalar *s)
{
    struct frame *f = top(c);
    if (!f) {
        PROBLEM(c, s->line, s->len ? "the file must hold keys like \"listen:\"" : "the file is empty");
        c->stop = true;
    } else if (f->section && !f->option) {
        begin_key(c, f, s);
    } else if (f->section) {
        check_scalar(c, f->option, s);
        value_done(c);
    } else if (c->in_terms) {
        term_value(c, s);
    } else {
        begin_item(c, f);
        if (f->option->kind == OPT_TEXTS)
            check_text(c, f->option, 1024, s);
        else
            PROBLEM(c, s->line, "%s: must be a group of keys", c->path);
        value_done(c);
    }
}

/* What belongs here, for a container that does not. */
static const char *wanted_here(const struct frame *f)
{
    if (!f || !f->option)
        return f ? "a key" : "a group of keys";
    if (f->section)
        return wanted(f->option->kind);
    if (f->option->kind == OPT_SECTIONS)
        return "a group of keys";
    return f->option->kind == OPT_TEXTS ? "a text" : "a plain value";
}

static void refuse_container(struct check *c, const char *what, size_t line)
{
    struct frame *f = top(c);
    PROBLEM(c, line, "%s: must be %s, not %s", where(c), wanted_here(f), what);
    c->skip = 1;
    c->stop = !f || !f->option; /* in the place of a key: what follows would be misread */
}

static void on_mapping(struct check *c, size_t line)
{
    struct frame *f = top(c);
    if (!f) {
        push(c, &config_section, NULL, line);
        return;
    }
    if (!f->section && !c->in_terms)
        begin_item(c, f);
    if (f->option && f->option->kind == (f->section ? OPT_SECTION : OPT_SECTIONS))
        push(c, f->option->child, NULL, line);
    else
        refuse_container(c, "a group of keys", line);
}

static void on_sequence(struct check *c, size_t line)
{
    struct frame *f = top(c);
    const struct option *o = f ? f->option : NULL;
    if (f && !f->section && !c->in_terms)
        begin_item(c, f);
    if (!o || !f->section || (o->kind != OPT_SECTIONS && o->kind != OPT_TEXTS && o->kind != OPT_TERMS)) {
        refuse_container(c, "a list", line);
        return;
    }
    push(c, NULL, o, line);
    if (o->kind == OPT_TERMS)
        terms_begin(c, o);
}

/* Only now is it known what is missing. */
static void on_mapping_end(struct check *c)
{
    struct frame *f = top(c);
    c->path[f->path_len] = '\0';
    for (uint32_t i = 0; i < f->section->count; i++)
        if (f->section->options[i].required && !f->lines[i])
            PROBLEM(c, f->line, "%s: the key \"%s\" is missing", where(c), f->section->options[i].key);
    c->depth--;
    value_done(c);
}

static void on_sequence_end(struct check *c)
{
    struct frame *f = top(c);
    c->path[f->path_len] = '\0';
    if (f->option->kind == OPT_TERMS)
        terms_end(c, f->option, f->line);
    else if (f->index < f->option->min)
        PROBLEM(c, f->line, "%s: is an empty list; put something into it or leave the key out", c->path);
    else if (f->index > f->option->max)
        PROBLEM(c, f->line, "%s: holds %u items; allowed are %llu", c->path, f->index,
                (unsigned long long)f->option->max);
    c->depth--;
    value_done(c);
}

/* Inside a value that the table does not know: only its end matters. True when the event was part of one. */
static bool skipping(struct check *c, yaml_event_type_t type)
{
    bool begins = type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT;
    bool ends = type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT;
    if (!c->skip && !c->skip_next)
        return false;
    c->skip_next = false;
    c->skip += begins;
    c->skip -= ends;
    if (!c->skip)
        value_done(c);
    return true;
}

static void on_document(struct check *c, size_t line)
{
    if (++c->documents > 1) {
        PROBLEM(c, line, "a second document (---) begins here; the file must be one");
        c->stop = true;
    }
}

static void on_event(struct check *c, const yaml_event_t *ev)
{
    size_t line = ev->start_mark.line + 1;
    if (ev->type == YAML_ALIAS_EVENT) {
        PROBLEM(c, line, "aliases (*name) are not supported; write the value out");
        c->stop = true;
        return;
    }
    if (skipping(c, ev->type))
        return;
    struct scalar s;
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        s = (struct scalar){(const char *)ev->data.scalar.value, ev->data.scalar.length,
                            ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, line};
        on_scalar(c, &s);
        break;
    case YAML_MAPPING_START_EVENT: on_mapping(c, line); break;
    case YAML_MAPPING_END_EVENT: on_mapping_end(c); break;
    case YAML_SEQUENCE_START_EVENT: on_sequence(c, line); break;
    case YAML_SEQUENCE_END_EVENT: on_sequence_end(c); break;
    case YAML_DOCUMENT_START_EVENT: on_document(c, line); break;
    default: break;
    }
}

/* libyaml stops at the first; nothing can be said about what follows. */
static void report_syntax(struct check *c)
{
    const yaml_parser_t *p = &c->parser;
    const char *why = p->problem ? p->problem : "not readable as YAML";
    bool tab = p->problem && strstr(p->problem, "cannot start any token");
    size_t line = p->error == YAML_READER_ERROR ? 0 : p->problem_mark.line + 1;
    PROBLEM(c, line, "not YAML: %s%s%s%s", p->context ? p->context : "", p->context ? ", " : "", why,
            tab ? " (a tab? indent with blanks)" : "");
    c->stop = true;
}

static void check_events(struct check *c)
{
    yaml_event_t ev;
    for (bool end = false; !end && !c->stop; yaml_event_delete(&ev)) {
        if (!yaml_parser_parse(&c->parser, &ev)) {
            report_syntax(c);
            return;
        }
        end = ev.type == YAML_STREAM_END_EVENT;
        on_event(c, &ev);
    }
    if (!c->stop && c->documents == 0)
        PROBLEM(c, 0, "the file is empty");
}

bool config_check(const char *name, struct slice text, struct config_report *report, struct config_terms *terms,
                  struct config_lines *lines)
{
    struct check *c = calloc(1, sizeof(*c));
    unsigned before = report->errors;
    assert_always(c && yaml_parser_initialize(&c->parser));
    c->name = name;
    c->report = report;
    c->terms = terms;
    c->lines = lines;
    yaml_parser_set_encoding(&c->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&c->parser, (const unsigned char *)text.ptr, text.len);
    check_events(c);
    yaml_parser_delete(&c->parser);
    free(c);
    if (report->errors > PROBLEMS_MAX)
        buf_printf(&report->text, "%s: and %u more\n", name, report->errors - PROBLEMS_MAX);
    return report->errors == before;
}
