/*
 * config_diff.c: what differs between two configurations, option by option along the table, and whether a running
 * gateway can take it. Values are compared and never shown: among them are secrets.
 *
 * What a file holds that an option only names (a certificate, a key) is no part of the configuration, so a change of it
 * is no difference here.
 */
#include "config_schema.h"

struct diff {
    config_diff_fn *fn;
    void *ctx;
    struct buf path; /* of the option that is being compared */
};

static bool same_text(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return x && y ? strcmp(x, y) == 0 : x == y;
}

static uint32_t count_at(const struct option *o, const char *object)
{
    return *(const uint32_t *)(const void *)(object + o->count_offset);
}

static bool same_texts(const struct option *o, const char *a, const char *b)
{
    uint32_t n = count_at(o, a);
    char *const *x = *(char **const *)(const void *)(a + o->offset), *const *y = *(char **const *)(const void *)(b + o->offset);
    bool same = n == count_at(o, b);
    for (uint32_t i = 0; same && i < n; i++)
        same = strcmp(x[i], y[i]) == 0;
    return same;
}

static bool same_terms(const void *a, const void *b)
{
    return slice_eq(buf_slice(a), buf_slice(b));
}

/* Options without a section behind them. */
static bool same_value(const struct option *o, const char *a, const char *b)
{
    switch (o->kind) {
    case OPT_TEXT: return same_text(a + o->offset, b + o->offset);
    case OPT_TEXTS: return same_texts(o, a, b);
    case OPT_TERMS: return same_terms(a + o->offset, b + o->offset);
    default: return memcmp(a + o->offset, b + o->offset, o->size) == 0;
    }
}

static void differs(struct diff *d, bool live)
{
    size_t n = d->path.len;
    buf_putc(&d->path, '\0');
    assert_always(buf_ok(&d->path)); /* only at a reload, where it is fatal */
    d->fn(d->ctx, (const char *)d->path.data, live);
    buf_truncate(&d->path, n);
}

static void diff_section(struct diff *d, const struct section *s, const char *a, const char *b, bool live);

static void diff_items(struct diff *d, const struct option *o, const char *a, const char *b, bool live)
{
    uint32_t n = count_at(o, a);
    const char *x = *(char *const *)(const void *)(a + o->offset), *y = *(char *const *)(const void *)(b + o->offset);
    if (n != count_at(o, b)) {
        differs(d, live);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t outer = d->path.len;
        buf_printf(&d->path, "[%u]", i);
        diff_section(d, o->child, x + i * o->size, y + i * o->size, live);
        buf_truncate(&d->path, outer);
    }
}

/* Depth is the table's, not the input's: three levels. */
static void diff_section(struct diff *d, const struct section *s, const char *a, const char *b, bool live)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct option *o = &s->options[i];
        size_t outer = d->path.len;
        bool is_live = live || o->live;
        buf_printf(&d->path, "%s%s", outer ? "." : "", o->key);
        if (o->kind == OPT_SECTION)
            diff_section(d, o->child, a + o->offset, b + o->offset, is_live);
        else if (o->kind == OPT_SECTIONS)
            diff_items(d, o, a, b, is_live);
        else if (!same_value(o, a, b))
            differs(d, is_live);
        buf_truncate(&d->path, outer);
    }
}

static void run(const struct section *s, const void *a, const void *b, config_diff_fn *fn, void *ctx)
{
    struct diff d = {.fn = fn, .ctx = ctx};
    buf_init(&d.path, 0);
    diff_section(&d, s, a, b, false);
    buf_fini(&d.path);
}

void config_diff(const struct server_config *a, const struct server_config *b, config_diff_fn *fn, void *ctx)
{
    run(&config_section, a, b, fn, ctx);
}

static void note_any(void *ctx, const char *path, bool live)
{
    bool *any = ctx;
    (void)path;
    (void)live;
    *any = true;
}

bool config_same_service(const struct service_settings *a, const struct service_settings *b)
{
    bool differ = false;
    const struct option *o = config_section.options;
    while (strcmp(o->key, "services") != 0)
        o++;
    run(o->child, a, b, note_any, &differ);
    return !differ;
}
