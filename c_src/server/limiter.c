/*
 * limiter.c: the rate limiter as the configuration wants it, and its cleanup from time to time: a bounded number of
 * counters in a turn of the loop, soon again while there are more. What is counted and refused is decided in
 * rate_limiter.c.
 */
#include "reload.h"

#include <stdlib.h>

#include "term.h"

enum { CLEANUP_STEP = 1000, CLEANUP_AGAIN_US = 10000 };

static uint32_t count_limits(const struct server *s, bool global)
{
    struct rate_limit_view v;
    uint32_t n = 0;
    for (size_t pos = 0; rate_limiter_next_limit(s->limiter, &pos, &v);)
        n += (v.limit->scope.service.len == 0) == global;
    return n;
}

/* O-009: of each piece of a cleanup. */
static void tell_cleanup(struct server *s, uint64_t since_us, size_t before)
{
    struct buf *b = telemetry_begin(&s->telemetry, TELEMETRY_RATE_CLEANUP);
    if (!b)
        return;
    term_put_map(b, 2);
    term_put_atom(b, "duration_us");
    term_put_uint(b, clock_now_us() - since_us);
    term_put_atom(b, "cleaned_entries");
    term_put_uint(b, before - rate_limiter_values(s->limiter));
    term_put_map(b, 2);
    term_put_atom(b, "global_limits_count");
    term_put_uint(b, count_limits(s, true));
    term_put_atom(b, "api_limits_count");
    term_put_uint(b, count_limits(s, false));
    telemetry_end(&s->telemetry);
}

static void on_cleanup(struct timer *t)
{
    struct server *s = container_of(t, struct server, cleanup_timer);
    uint64_t since_us = clock_now_us();
    size_t before = rate_limiter_values(s->limiter);
    bool more = rate_limiter_cleanup(s->limiter, s->timers.now_us, CLEANUP_STEP);
    tell_cleanup(s, since_us, before);
    uint64_t pause_us = more ? CLEANUP_AGAIN_US : (uint64_t)s->live->rate_limiter.cleanup_interval_ms * 1000;
    if (timer_arm_in(&s->timers, t, pause_us) != BG_OK)
        log_error("server", "no memory for a timer: rate limits are cleaned up no more", "");
}

/* config_check() has passed the text. */
static struct rate_key key_of(const char *text)
{
    struct rate_key key;
    assert_always(rate_key_parse(slice_str(text), &key) == BG_OK);
    return key;
}

static int set_global(struct server *s, struct err *e)
{
    const struct rate_limiter_settings *c = &s->live->rate_limiter;
    struct rate_limit *limits = calloc(c->global_limits_count + 1u, sizeof(*limits));
    if (!limits)
        return err_set(e, BG_ENOMEM, 0, "no memory for the rate limits");
    for (uint32_t i = 0; i < c->global_limits_count; i++) {
        const struct global_limit_settings *l = &c->global_limits[i];
        limits[i] = (struct rate_limit){RATE_GLOBAL, key_of(l->key), l->max_requests, l->window_ms, is_on(l->dry_run)};
    }
    int rc = rate_limiter_set_global(s->limiter, limits, c->global_limits_count, e);
    free(limits);
    return rc;
}

static int set_api(struct server *s, struct err *e)
{
    const struct rate_limiter_settings *c = &s->live->rate_limiter;
    struct rate_limit *limits = calloc(c->api_limits_count + 1u, sizeof(*limits));
    if (!limits)
        return err_set(e, BG_ENOMEM, 0, "no memory for the rate limits");
    for (uint32_t i = 0; i < c->api_limits_count; i++) {
        const struct api_limit_settings *l = &c->api_limits[i];
        struct rate_scope scope = {slice_str(l->service), slice_str(l->request_type)};
        limits[i] = (struct rate_limit){scope, key_of(l->key), l->max_requests, l->window_ms, is_on(l->dry_run)};
    }
    int rc = rate_limiter_set_api(s->limiter, limits, c->api_limits_count, e);
    free(limits);
    return rc;
}

int server_start_limiter(struct server *s, struct err *e)
{
    const struct rate_limiter_settings *c = &s->config->rate_limiter;
    const struct rate_limiter_options o = {&s->metrics, c->max_bytes, is_on(c->fail_open)};
    if (!is_on(c->enabled))
        return BG_OK;
    s->limiter = rate_limiter_new(&o);
    s->cleanup_timer.fn = on_cleanup;
    if (!s->limiter || timer_arm_in(&s->timers, &s->cleanup_timer, (uint64_t)c->cleanup_interval_ms * 1000) != BG_OK)
        return err_set(e, BG_ENOMEM, 0, "no memory for the rate limiter");
    int rc = set_global(s, e);
    return rc == BG_OK ? set_api(s, e) : rc;
}

/* Both lists or, when one has no place in memory, what could be taken: it is said, and the old list stays. Limits that
 * are the same as before keep what they have counted. */
void limiter_reload(struct server *s, const struct server_config *before, const struct server_config *now)
{
    struct err e;
    (void)before;
    (void)now;
    if (s->limiter && (set_global(s, &e) != BG_OK || set_api(s, &e) != BG_OK))
        log_error("config", "rate limits not changed", "reason=\"%s\"", e.text);
}

void server_stop_limiter(struct server *s)
{
    timer_disarm(&s->timers, &s->cleanup_timer);
    rate_limiter_free(s->limiter);
    s->limiter = NULL;
}

void server_log_limits(const struct server *s)
{
    enum { SHOWN = 200 };
    struct rate_limit_view v;
    char key[RATE_KEY_TEXT_MAX];
    size_t pos = 0;
    while (s->limiter && pos < SHOWN && rate_limiter_next_limit(s->limiter, &pos, &v)) {
        const struct rate_limit *l = v.limit;
        rate_key_print(&l->key, key, sizeof(key));
        log_info("state", "rate limit",
                 "service=%s request_type=%s key=%s max_requests=%u window_ms=%u dry_run=%s values=%u refused=%llu",
                 l->scope.service.len ? log_text(l->scope.service) : "*",
                 l->scope.service.len ? log_text(l->scope.request_type) : "*", log_text(slice_str(key)),
                 l->max_requests, l->window_ms, l->dry_run ? "true" : "false", v.values, (unsigned long long)v.refused);
    }
}
