/*
 * telemetry.c: see telemetry.h. An event is one buffer with three terms, made by whoever has something to tell between
 * telemetry_begin() and telemetry_end(); nothing is made that nobody wants, and no more than a fixed number a second,
 * so that a flood of requests does not become a flood of events.
 */
#include "telemetry.h"

#include <time.h>

#include "term.h"

/* Each behind phoenix_gen_api. */
static const char *const names[TELEMETRY_EVENTS] = {
    [TELEMETRY_REQUEST_START] = "executor.request.start",
    [TELEMETRY_REQUEST_STOP] = "executor.request.stop",
    [TELEMETRY_REQUEST_EXCEPTION] = "executor.request.exception",
    [TELEMETRY_RETRY] = "executor.retry",
    [TELEMETRY_RETRY_EXHAUSTED] = "executor.retry.exhausted",
    [TELEMETRY_RATE_CHECK] = "rate_limiter.check",
    [TELEMETRY_RATE_EXCEEDED] = "rate_limiter.exceeded",
    [TELEMETRY_RATE_RESET] = "rate_limiter.reset",
    [TELEMETRY_RATE_CLEANUP] = "rate_limiter.cleanup",
    [TELEMETRY_HOOK_BEFORE_START] = "hook.before.start",
    [TELEMETRY_HOOK_BEFORE_STOP] = "hook.before.stop",
    [TELEMETRY_HOOK_BEFORE_EXCEPTION] = "hook.before.exception",
    [TELEMETRY_HOOK_AFTER_START] = "hook.after.start",
    [TELEMETRY_HOOK_AFTER_STOP] = "hook.after.stop",
    [TELEMETRY_HOOK_AFTER_EXCEPTION] = "hook.after.exception",
    [TELEMETRY_TASK_START] = "worker_pool.task.start",
    [TELEMETRY_TASK_STOP] = "worker_pool.task.stop",
    [TELEMETRY_TASK_EXCEPTION] = "worker_pool.task.exception",
    [TELEMETRY_TASK_REJECTED] = "worker_pool.task.rejected",
    [TELEMETRY_BREAKER_OPEN] = "worker_pool.circuit_breaker.open",
    [TELEMETRY_BREAKER_CLOSE] = "worker_pool.circuit_breaker.close",
    [TELEMETRY_PULL_START] = "config.pull.start",
    [TELEMETRY_PULL_STOP] = "config.pull.stop",
    [TELEMETRY_PUSH] = "config.push",
    [TELEMETRY_CONFIG_ADD] = "config.add",
    [TELEMETRY_CONFIG_BATCH_ADD] = "config.batch_add",
    [TELEMETRY_CONFIG_DELETE] = "config.delete",
    [TELEMETRY_CONFIG_CLEAR] = "config.clear",
    [TELEMETRY_CONFIG_DISABLE] = "config.disable",
    [TELEMETRY_CONFIG_ENABLE] = "config.enable",
};

void telemetry_init(struct telemetry *t, struct metrics *m,
                    void (*fire)(void *ctx, enum telemetry_event event, struct slice terms), void *ctx)
{
    *t = (struct telemetry){.metrics = m, .fire = fire, .ctx = ctx};
    buf_init(&t->terms, 0);
}

void telemetry_fini(struct telemetry *t)
{
    t->wanted = 0;
    buf_fini(&t->terms);
}

/* ---- names --------------------------------------------------------------------------------------------- */

const char *telemetry_text(enum telemetry_event event)
{
    return names[event];
}

void telemetry_put_name(struct buf *b, enum telemetry_event event)
{
    const char *word = names[event];
    uint32_t words = 2;
    for (const char *p = word; *p; p++)
        words += *p == '.';
    term_put_list(b, words);
    term_put_atom(b, "phoenix_gen_api");
    for (; words > 1; words--) {
        size_t n = strcspn(word, ".");
        term_put_atom_slice(b, slice_make(word, n));
        word += n + 1;
    }
    term_put_nil(b);
}

enum telemetry_event telemetry_event_of(struct slice name)
{
    struct buf mine;
    unsigned e = 0;
    buf_init(&mine, 0);
    for (; e < TELEMETRY_EVENTS; e++) {
        buf_reset(&mine);
        telemetry_put_name(&mine, e);
        if (buf_ok(&mine) && term_equal(name, buf_slice(&mine)))
            break;
    }
    buf_fini(&mine);
    return e;
}

/* ---- making one ---------------------------------------------------------------------------------------- */

/* Counts one in its second. False when it is one too many. */
static bool has_room(struct telemetry *t)
{
    uint64_t second = clock_now_us() / 1000000;
    if (second != t->second) {
        t->second = second;
        t->in_second = 0;
    }
    if (t->in_second >= TELEMETRY_PER_SECOND_MAX) {
        metric_inc(t->metrics, METRIC_TELEMETRY_DROPPED);
        return false;
    }
    t->in_second++;
    return true;
}

struct buf *telemetry_begin(struct telemetry *t, enum telemetry_event event)
{
    if (!telemetry_wants(t, event) || !has_room(t))
        return NULL;
    t->event = event;
    buf_reset(&t->terms);
    telemetry_put_name(&t->terms, event);
    return &t->terms;
}

void telemetry_end(struct telemetry *t)
{
    if (buf_ok(&t->terms))
        t->fire(t->ctx, t->event, buf_slice(&t->terms));
    else
        metric_inc(t->metrics, METRIC_TELEMETRY_DROPPED);
}

/* ---- what they hold ------------------------------------------------------------------------------------ */

void telemetry_put_nothing(struct buf *b)
{
    term_put_map(b, 0);
}

void telemetry_put_number(struct buf *b, const char *key, uint64_t n)
{
    term_put_map(b, 1);
    term_put_atom(b, key);
    term_put_uint(b, n);
}

void telemetry_put_system_time(struct buf *b)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    telemetry_put_number(b, "system_time", (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
}

void telemetry_put_duration(struct buf *b, uint64_t since_us)
{
    uint64_t now = clock_now_us();
    telemetry_put_number(b, "duration_us", now > since_us ? now - since_us : 0);
}

void telemetry_put_word(struct buf *b, const char *key, const char *atom)
{
    term_put_atom(b, key);
    term_put_atom(b, atom);
}

void telemetry_put_text(struct buf *b, const char *key, struct slice text)
{
    term_put_atom(b, key);
    term_put_binary(b, text);
}

void telemetry_tell_stored(struct telemetry *t, uint32_t count, struct slice service)
{
    struct buf *b = count ? telemetry_begin(t, TELEMETRY_CONFIG_BATCH_ADD) : NULL;
    if (!b)
        return;
    telemetry_put_number(b, "count", count);
    term_put_map(b, 1);
    telemetry_put_text(b, "service", service);
    telemetry_end(t);
}
