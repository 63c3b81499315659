/*
 * reload.c: SIGHUP and `beamgate ctl reload`. Reads the configuration again, checks all of it, and only when nothing is
 * wrong hands it to the parts that can take it while they run: the one place that calls them is parts[] below.
 *
 * Invariants: a configuration that is wrong in any way changes nothing; between two reloads every part has the options
 * of one file, never a mixture; what cannot change at run time is told as such, at each reload until the restart.
 *
 * The file and what it names are read in the loop: they are small and local, and an operator waits for the answer.
 */
#include "reload.h"

#include <stdlib.h>

#include "certificates.h"
#include "log.h"

enum { PATHS_BYTES_MAX = 16 * 1024 };

/* ---- parts that need a line only ----------------------------------------------------------------------- */

static void apply_log(struct server *s, const struct server_config *before, const struct server_config *now)
{
    enum log_level level = LOG_INFO;
    (void)s;
    (void)before;
    if (log_level_parse(slice_str(now->log.level), &level) == BG_OK)
        log_set_level(level);
}

static void apply_pull(struct server *s, const struct server_config *before, const struct server_config *now)
{
    (void)before;
    config_puller_set_times(s->puller, now->pull.timeout_ms, now->pull.interval_ms);
}

/* Applied in this order. drain is read from s->live when it is needed. */
static const struct reload_part parts[] = {
    {"log.", NULL, apply_log, NULL},
    {"pull.", NULL, apply_pull, NULL},
    {NULL, access_reload_prepare, access_reload_apply, access_reload_drop}, /* the token may stand in a file */
    {NULL, certificates_prepare, certificates_apply, certificates_drop},
    {"rate_limiter.", NULL, limiter_reload, NULL},
    {"services", NULL, services_reload, NULL},
    {NULL, NULL, sockets_reload, NULL}, /* keys stand in files */
    {NULL, NULL, limits_reload, NULL}, /* of several sections */
};

/* ---- what has changed ---------------------------------------------------------------------------------- */

void reload_report_init(struct reload_report *r)
{
    memset(r, 0, sizeof(*r));
    config_report_init(&r->messages);
    buf_init(&r->changed, PATHS_BYTES_MAX);
    buf_init(&r->restart, PATHS_BYTES_MAX);
}

void reload_report_fini(struct reload_report *r)
{
    config_report_fini(&r->messages);
    buf_fini(&r->changed);
    buf_fini(&r->restart);
}

struct changes {
    struct reload_report *report;
    bool affected[ARRAY_SIZE(parts)];
};

static bool begins(const char *path, const char *with)
{
    return strncmp(path, with, strlen(with)) == 0;
}

/* What has changed since the last reload, and which parts that concerns. */
static void note_live(void *ctx, const char *path, bool live)
{
    struct changes *c = ctx;
    if (!live)
        return;
    c->report->changed_count++;
    buf_printf(&c->report->changed, "%s\n", path);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        c->affected[i] = c->affected[i] || (parts[i].path && begins(path, parts[i].path));
}

/* What differs from the start: told again at every reload, until the restart has come. */
static void note_restart(void *ctx, const char *path, bool live)
{
    struct changes *c = ctx;
    if (live)
        return;
    c->report->restart_count++;
    buf_printf(&c->report->restart, "%s\n", path);
}

/* ---- taking it ----------------------------------------------------------------------------------------- */

/* Those that were prepared give back what they made; count includes the one that failed. */
static void drop_parts(struct server *s, const struct changes *c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (c->affected[i] && parts[i].drop)
            parts[i].drop(s);
}

/* All or none. */
static int prepare_parts(struct server *s, const struct changes *c, const struct server_config *now)
{
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        int rc = c->affected[i] && parts[i].prepare ? parts[i].prepare(s, now, &c->report->messages) : BG_OK;
        if (rc == BG_OK)
            continue;
        drop_parts(s, c, i + 1);
        return rc;
    }
    return BG_OK;
}

/* There is no way back from here: a part that cannot take all of it says so and keeps what it had. */
static void take(struct server *s, const struct changes *c, struct server_config *now)
{
    const struct server_config *before = s->live;
    struct server_config *old = s->reloaded;
    s->live = s->reloaded = now;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (c->affected[i])
            parts[i].apply(s, before, now);
    config_free(old);
}

/* ---- the log's words ----------------------------------------------------------------------------------- */

typedef void line_fn(struct slice line);

static void each_line(const struct buf *b, line_fn *fn)
{
    const char *p = (const char *)b->data;
    for (size_t left = b->len; left > 0;) {
        const char *nl = memchr(p, '\n', left);
        size_t n = nl ? (size_t)(nl - p) : left;
        fn(slice_make(p, n));
        n += nl != NULL;
        p += n;
        left -= n;
    }
}

static void log_warned(struct slice line)
{
    log_warning("config", "reload", "text=%s", log_text(line));
}

static void log_refused(struct slice line)
{
    log_error("config", "reload", "text=%s", log_text(line));
}

static void log_changed(struct slice line)
{
    log_info("config", "option changed", "option=%s", log_text(line));
}

static void log_restart(struct slice line)
{
    log_warning("config", "option changed in the file only", "option=%s hint=\"takes effect at a restart\"", log_text(line));
}

static int refused(const struct reload_report *r, int rc)
{
    each_line(&r->messages.text, log_refused);
    log_error("config", "configuration not reloaded", "errors=%u hint=\"the one before stays; beamgate --check FILE says "
              "the same\"", r->messages.errors);
    return rc == BG_OK ? BG_EINVAL : rc;
}

int server_reload(struct server *s, struct reload_report *r)
{
    struct changes c = {.report = r};
    if (!s->source.load) {
        config_note(&r->messages, true, "reload", "this gateway was started without a file");
        return refused(r, BG_EINVAL);
    }
    struct server_config *now = s->source.load(s->source.ctx, &r->messages);
    if (!now)
        return refused(r, BG_EINVAL);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        c.affected[i] = !parts[i].path;
    config_diff(s->live, now, note_live, &c);
    config_diff(s->config, now, note_restart, &c);
    int rc = prepare_parts(s, &c, now);
    if (rc != BG_OK) {
        config_free(now);
        return refused(r, rc);
    }
    take(s, &c, now);
    each_line(&r->messages.text, log_warned);
    each_line(&r->changed, log_changed);
    each_line(&r->restart, log_restart);
    log_info("config", "configuration reloaded", "changed=%u needs_restart=%u warnings=%u", r->changed_count,
             r->restart_count, r->messages.warnings);
    return BG_OK;
}

void server_set_source(struct server *s, const struct settings_source *source)
{
    s->source = *source;
}
