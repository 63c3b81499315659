/*
 * telemetry.h: the library's 30 telemetry events (O-001..O-030). Where something happens that one of them tells, it is
 * made here if somebody wants it, and handed on; who gets it, and how, is the server's affair (telemetry_handlers.h).
 *
 * While nobody is attached a place that could tell something costs one test of one word.
 */
#ifndef BEAMGATE_TELEMETRY_H
#define BEAMGATE_TELEMETRY_H

#include "buf.h"
#include "metrics.h"

/* In the library's order. */
enum telemetry_event {
    TELEMETRY_REQUEST_START, /* O-001 */
    TELEMETRY_REQUEST_STOP,
    TELEMETRY_REQUEST_EXCEPTION,
    TELEMETRY_RETRY,
    TELEMETRY_RETRY_EXHAUSTED,
    TELEMETRY_RATE_CHECK, /* O-006 */
    TELEMETRY_RATE_EXCEEDED,
    TELEMETRY_RATE_RESET,
    TELEMETRY_RATE_CLEANUP,
    TELEMETRY_HOOK_BEFORE_START, /* O-010 */
    TELEMETRY_HOOK_BEFORE_STOP,
    TELEMETRY_HOOK_BEFORE_EXCEPTION,
    TELEMETRY_HOOK_AFTER_START, /* O-013 */
    TELEMETRY_HOOK_AFTER_STOP,
    TELEMETRY_HOOK_AFTER_EXCEPTION,
    TELEMETRY_TASK_START, /* O-016 */
    TELEMETRY_TASK_STOP,
    TELEMETRY_TASK_EXCEPTION,
    TELEMETRY_TASK_REJECTED, /* never: requests are not refused by pools whose breaker is open */
    TELEMETRY_BREAKER_OPEN,
    TELEMETRY_BREAKER_CLOSE,
    TELEMETRY_PULL_START, /* O-022 */
    TELEMETRY_PULL_STOP,
    TELEMETRY_PUSH,
    TELEMETRY_CONFIG_ADD, /* O-025 */
    TELEMETRY_CONFIG_BATCH_ADD,
    TELEMETRY_CONFIG_DELETE,
    TELEMETRY_CONFIG_CLEAR,
    TELEMETRY_CONFIG_DISABLE,
    TELEMETRY_CONFIG_ENABLE, /* O-030 */
    TELEMETRY_EVENTS
};

#define TELEMETRY_BIT(event) (UINT32_C(1) << (event))

enum { TELEMETRY_PER_SECOND_MAX = 10000 }; /* events made in one second, in all; more are dropped and counted */

/* All zero: nobody wants anything, ever. */
struct telemetry {
    uint32_t wanted; /* a bit for each event that somebody is attached to */
    struct metrics *metrics;
    /* terms: name, measurements and metadata, one after another; valid during the call. */
    void (*fire)(void *ctx, enum telemetry_event event, struct slice terms);
    void *ctx;
    /* private */
    enum telemetry_event event;
    struct buf terms;
    uint64_t second;
    uint32_t in_second;
};

/* fire and ctx as above; undo with telemetry_fini(). */
void telemetry_init(struct telemetry *t, struct metrics *m,
                    void (*fire)(void *ctx, enum telemetry_event event, struct slice terms), void *ctx);
void telemetry_fini(struct telemetry *t);

/* t may be NULL. */
static inline bool telemetry_wants(const struct telemetry *t, enum telemetry_event event)
{
    return t && (t->wanted & TELEMETRY_BIT(event)) != 0;
}

/* NULL when nobody wants it (t may be NULL), or it is one too many in its second. Else the caller appends the
 * measurements and the metadata, two maps, and calls telemetry_end(). */
struct buf *telemetry_begin(struct telemetry *t, enum telemetry_event event) MUST_CHECK;
void telemetry_end(struct telemetry *t);

/* Measurements: %{}; %{system_time: nanoseconds of the wall clock}; %{duration_us: since that monotonic time}; one
 * number under a key. */
void telemetry_put_nothing(struct buf *b);
void telemetry_put_system_time(struct buf *b);
void telemetry_put_duration(struct buf *b, uint64_t since_us);
void telemetry_put_number(struct buf *b, const char *key, uint64_t n);

/* A pair of a map whose head stands already. */
void telemetry_put_word(struct buf *b, const char *key, const char *atom);
void telemetry_put_text(struct buf *b, const char *key, struct slice text);

/* O-026: so many functions of the service have come into the store. */
void telemetry_tell_stored(struct telemetry *t, uint32_t count, struct slice service);

/* Appends the event's name: [phoenix_gen_api, executor, request, start]. */
void telemetry_put_name(struct buf *b, enum telemetry_event event);
/* The event of that name, any term; TELEMETRY_EVENTS when there is none. */
enum telemetry_event telemetry_event_of(struct slice name);
/* "executor.request.start", for logs. */
const char *telemetry_text(enum telemetry_event event);

#endif
