/*
 * ctl_print.c: see ctl_print.h. Works on what jansson has read, at the client's side only: nothing here runs in a
 * gateway.
 *
 * Invariant: all text goes through ctl_put_safe(), since names of services, users and errors are other people's.
 */
#define _GNU_SOURCE /* wcwidth */
#include "ctl_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

enum { GAP = 2, TREE_DEPTH_MAX = 40, COLUMNS_MAX = 12 };
static const struct slice ellipsis = SLICE_LIT("\xe2\x80\xa6");

/* ---- characters ---------------------------------------------------------------------------------------- */

/* The next character of UTF-8 (RFC 3629); its length. Anything else counts as one byte that is no character. json.h,
 * which has the like, cannot be included beside jansson's header. */
static size_t next_char(struct slice s, wchar_t *c)
{
    static const uint8_t mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t *p = (const uint8_t *)s.ptr;
    size_t n = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
    *c = (wchar_t)-1;
    if (n > s.len || (n > 1 && *p < 0xc2) || *p > 0xf4)
        return 1;
    uint32_t v = *p & mask[n];
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 1;
        v = v << 6 | (p[i] & 0x3f);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return 1;
    *c = (wchar_t)v;
    return n;
}

/* Marks and overrides of the writing direction, with which a name could pass for another one. */
static bool turns_direction(wchar_t c)
{
    return c == 0x61c || (c >= 0x200e && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Columns of a character, or -1 when it must not be sent. wcwidth() knows only what the locale knows. */
static int char_width(wchar_t c)
{
    if (c == (wchar_t)-1 || c < 0x20 || (c >= 0x7f && c < 0xa0) || turns_direction(c))
        return -1;
    int w = wcwidth(c);
    return w < 0 ? 1 : w;
}

void ctl_put_safe(struct slice text, struct buf *out)
{
    wchar_t c;
    for (size_t n; text.len > 0; text = slice_make(text.ptr + n, text.len - n)) {
        n = next_char(text, &c);
        if (char_width(c) >= 0)
            buf_add(out, text.ptr, n);
        else if (c == '\n')
            buf_puts(out, "\\n");
        else if (c == '\t')
            buf_puts(out, "\\t");
        else if (n == 1)
            buf_printf(out, "\\x%02x", (uint8_t)*text.ptr);
        else
            buf_printf(out, "\\u{%x}", (unsigned)c);
    }
}

size_t ctl_width(struct slice text)
{
    size_t width = 0;
    wchar_t c;
    for (size_t n; text.len > 0; text = slice_make(text.ptr + n, text.len - n)) {
        n = next_char(text, &c);
        int w = char_width(c);
        width += w > 0 ? (size_t)w : 0;
    }
    return width;
}

void ctl_put_cut(struct slice text, size_t width, struct buf *out)
{
    size_t used = 0;
    wchar_t c;
    if (ctl_width(text) <= width) {
        buf_add_slice(out, text);
        return;
    }
    for (size_t n; text.len > 0; text = slice_make(text.ptr + n, text.len - n)) {
        n = next_char(text, &c);
        int w = char_width(c);
        if (used + (w > 0 ? (size_t)w : 0) + 1 > width)
            break;
        used += w > 0 ? (size_t)w : 0;
        buf_add(out, text.ptr, n);
    }
    buf_add_slice(out, ellipsis);
}

/* ---- values -------------------------------------------------------------------------------------------- */

static struct slice string_of(const json_t *v)
{
    return slice_make(json_string_value(v), json_string_length(v));
}

static void put_duration(uint64_t ms, struct buf *out)
{
    uint64_t s = ms / 1000;
    if (ms < 1000)
        buf_printf(out, "%llums", (unsigned long long)ms);
    else if (s < 60)
        buf_printf(out, "%llus", (unsigned long long)s);
    else if (s < 3600)
        buf_printf(out, "%llum%02llus", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
    else
        buf_printf(out, "%lluh%02llum", (unsigned long long)(s / 3600), (unsigned long long)(s / 60 % 60));
}

static void put_bytes(uint64_t n, struct buf *out)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    unsigned i = 0;
    for (; v >= 1024 && i + 1 < ARRAY_SIZE(unit); i++)
        v /= 1024;
    buf_printf(out, i ? "%.1f %s" : "%.0f %s", v, unit[i]);
}

static void put_scalar(const json_t *v, struct buf *out)
{
    switch (json_typeof(v)) {
    case JSON_STRING: ctl_put_safe(string_of(v), out); break;
    case JSON_INTEGER: buf_printf(out, "%lld", (long long)json_integer_value(v)); break;
    case JSON_REAL: buf_printf(out, "%.17g", json_real_value(v)); break;
    case JSON_TRUE: buf_puts(out, "yes"); break;
    case JSON_FALSE: buf_puts(out, "no"); break;
    default: buf_puts(out, "-"); break;
    }
}

static void put_cell(const json_t *v, enum ctl_cell cell, struct buf *out)
{
    if (json_is_integer(v) && cell == CELL_BYTES)
        put_bytes((uint64_t)json_integer_value(v), out);
    else if (json_is_integer(v) && cell == CELL_DURATION_MS)
        put_duration((uint64_t)json_integer_value(v), out);
    else if (v && !(json_is_string(v) && json_string_length(v) == 0))
        put_scalar(v, out);
    else
        buf_putc(out, '-');
}

/* ---- tables -------------------------------------------------------------------------------------------- */

struct table {
    const struct ctl_command *cmd;
    json_t **rows;
    size_t count;
    size_t width[COLUMNS_MAX];
    struct buf cell;
};

static struct slice cell_text(struct table *t, const json_t *row, unsigned column)
{
    const struct ctl_column *c = &t->cmd->columns[column];
    buf_reset(&t->cell);
    put_cell(json_object_get(row, c->key), c->cell, &t->cell);
    return buf_slice(&t->cell);
}

static int compare_values(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return (json_integer_value(a) > json_integer_value(b)) - (json_integer_value(a) < json_integer_value(b));
    const char *x = json_string_value(a), *y = json_string_value(b);
    return strcmp(x ? x : "", y ? y : "");
}

static int compare_rows(const void *a, const void *b, void *cmd)
{
    const struct ctl_command *c = cmd;
    int order = 0;
    for (unsigned i = 0; i < c->sort_columns && order == 0; i++)
        order = compare_values(json_object_get(*(json_t *const *)a, c->columns[i].key),
                               json_object_get(*(json_t *const *)b, c->columns[i].key));
    return order;
}

static void measure(struct table *t)
{
    for (unsigned i = 0; i < t->cmd->columns_count; i++) {
        t->width[i] = strlen(t->cmd->columns[i].title);
        for (size_t k = 0; k < t->count; k++) {
            size_t w = ctl_width(cell_text(t, t->rows[k], i));
            t->width[i] = w > t->width[i] ? w : t->width[i];
        }
    }
}

/* Takes from the widest column that may be cut, one by one, until the table fits or none can give more. */
static void fit(struct table *t, size_t width)
{
    size_t total = 0;
    for (unsigned i = 0; i < t->cmd->columns_count; i++)
        total += t->width[i] + (i ? GAP : 0);
    while (width > 0 && total > width) {
        unsigned widest = COLUMNS_MAX;
        for (unsigned i = 0; i < t->cmd->columns_count; i++)
            if (t->cmd->columns[i].wide && t->width[i] > strlen(t->cmd->columns[i].title) &&
                (widest == COLUMNS_MAX || t->width[i] > t->width[widest]))
                widest = i;
        if (widest == COLUMNS_MAX)
            return;
        t->width[widest]--;
        total--;
    }
}

/* Numbers stand at the right; the last column gets no blanks behind it. */
static void put_padded(const struct table *t, unsigned column, struct slice text, struct buf *out)
{
    bool right = t->cmd->columns[column].cell != CELL_TEXT, last = column + 1 == t->cmd->columns_count;
    size_t w = ctl_width(text), width = t->width[column], pad = w < width ? width - w : 0;
    for (size_t i = 0; right && i < pad; i++)
        buf_putc(out, ' ');
    ctl_put_cut(text, width, out);
    for (size_t i = 0; !right && !last && i < pad; i++)
        buf_putc(out, ' ');
    buf_puts(out, last ? "\n" : "  ");
}

void ctl_print_table(const struct ctl_command *cmd, json_t *rows, size_t width, struct buf *out)
{
    struct table t = {.cmd = cmd, .count = json_array_size(rows)};
    assert_always(cmd->columns_count <= COLUMNS_MAX);
    t.rows = calloc(t.count + 1, sizeof(json_t *));
    assert_always(t.rows); /* a command line: nobody is served by it */
    buf_init(&t.cell, 0);
    for (size_t i = 0; i < t.count; i++)
        t.rows[i] = json_array_get(rows, i);
    void *context = (void *)(uintptr_t)cmd; /* qsort_r takes no const; the comparison reads only */
    qsort_r(t.rows, t.count, sizeof(json_t *), compare_rows, context);
    measure(&t);
    fit(&t, width);
    for (unsigned i = 0; i < cmd->columns_count; i++)
        put_padded(&t, i, slice_str(cmd->columns[i].title), out);
    for (size_t k = 0; k < t.count; k++)
        for (unsigned i = 0; i < cmd->columns_count; i++)
            put_padded(&t, i, cell_text(&t, t.rows[k], i), out);
    buf_fini(&t.cell);
    free(t.rows);
}

/* ---- trees --------------------------------------------------------------------------------------------- */

static void indent(unsigned depth, struct buf *out)
{
    for (unsigned i = 0; i < depth; i++)
        buf_puts(out, "  ");
}

static bool is_leaf(const json_t *v)
{
    return !json_is_object(v) && !json_is_array(v);
}

/* A list of names reads better in one line. */
static bool is_short_list(const json_t *v)
{
    size_t i, length = 0;
    const json_t *item;
    json_array_foreach (v, i, item) {
        if (!is_leaf(item))
            return false;
        length += json_is_string(item) ? json_string_length(item) + 2 : 8;
    }
    return length <= 60;
}

static void put_short_list(const json_t *v, struct buf *out)
{
    size_t i;
    const json_t *item;
    if (json_array_size(v) == 0)
        buf_puts(out, "(none)");
    json_array_foreach (v, i, item) {
        buf_puts(out, i ? ", " : "");
        put_scalar(item, out);
    }
}

static void put_tree(const json_t *v, unsigned depth, struct buf *out);

/* What stands behind a key or a dash. */
static void put_branch(const json_t *v, unsigned depth, struct buf *out)
{
    if (is_leaf(v) || (json_is_array(v) && is_short_list(v)) || depth >= TREE_DEPTH_MAX) {
        buf_putc(out, ' ');
        put_tree(v, depth, out);
    } else {
        buf_putc(out, '\n');
        put_tree(v, depth + 1, out);
    }
}

static size_t widest_key(const json_t *object)
{
    size_t widest = 0;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
        size_t n = strlen(key);
        if ((is_leaf(value) || (json_is_array(value) && is_short_list(value))) && n > widest && n <= 40)
            widest = n;
    }
    return widest;
}

static void put_object(const json_t *object, unsigned depth, struct buf *out)
{
    size_t widest = widest_key(object);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
        bool leaf = is_leaf(value) || (json_is_array(value) && is_short_list(value));
        indent(depth, out);
        ctl_put_safe(slice_str(key), out);
        buf_putc(out, ':');
        for (size_t n = strlen(key); leaf && n < widest; n++)
            buf_putc(out, ' ');
        put_branch(value, depth, out);
    }
}

static void put_list(const json_t *list, unsigned depth, struct buf *out)
{
    size_t i;
    const json_t *item;
    json_array_foreach (list, i, item) {
        indent(depth, out);
        buf_putc(out, '-');
        put_branch(item, depth, out);
    }
}

/* The depth of an answer is bounded: by jansson's own limit at reading, by TREE_DEPTH_MAX here, where the rest is shown
 * as JSON. */
static void put_tree(const json_t *v, unsigned depth, struct buf *out)
{
    if (depth >= TREE_DEPTH_MAX && !is_leaf(v)) {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        ctl_put_safe(slice_str(text ? text : "?"), out);
        free(text);
        buf_putc(out, '\n');
    } else if (json_is_object(v)) {
        put_object(v, depth, out);
    } else if (json_is_array(v) && !is_short_list(v)) {
        put_list(v, depth, out);
    } else {
        if (json_is_array(v))
            put_short_list(v, out);
        else
            put_scalar(v, out);
        buf_putc(out, '\n');
    }
}

void ctl_print_tree(const json_t *value, struct buf *out)
{
    put_tree(value, 0, out);
}

void ctl_print_line(const json_t *row, struct buf *out)
{
    const char *key;
    json_t *value;
    bool first = true;
    json_object_foreach ((json_t *)(uintptr_t)row, key, value) {
        buf_puts(out, first ? "" : "  ");
        first = false;
        ctl_put_safe(slice_str(key), out);
        buf_putc(out, '=');
        if (is_leaf(value)) {
            put_scalar(value, out);
        } else {
            char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
            ctl_put_safe(slice_str(text ? text : "?"), out);
            free(text);
        }
    }
    buf_putc(out, '\n');
}
