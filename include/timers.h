/*
 * timers.h: the deadlines of the whole process. It knows no clock: the server drives it
 * with timers_run(), tests and the simulator with a time of their own.
 */
#ifndef BEAMGATE_TIMERS_H
#define BEAMGATE_TIMERS_H

#include "base.h"

struct timer;
typedef void timer_fn(struct timer *t);

/* Embedded in its owner; all zero with fn set is a valid, unarmed timer. */
struct timer {
    timer_fn *fn;
    uint64_t deadline_us;
    uint32_t place; /* 0 while unarmed; the rest is private */
};

/* A timer for a time-out: for what is done again and again with few different delays, and is nearly always disarmed before
 * it is due. */
struct timeout {
    struct timer timer;
    struct timeout *prev, *next; /* private: in its lane */
};

/* Time-outs of one delay, in the order in which they were armed, which is that of their deadlines. */
struct timer_lane {
    uint64_t delay_us;
    struct timeout *first, *last;
};
enum { TIMER_LANES = 8 };

struct timers {
    struct timer **heap;
    uint32_t count; /* of all that are armed */
    uint32_t heap_count;
    uint32_t cap;
    bool running;    /* private: inside timers_run() */
    uint64_t now_us; /* the time of the current loop turn; read it instead of the clock */
    struct timer_lane lane[TIMER_LANES];
};

/* No timer; now_us is the time until the first timers_run(). */
void timers_init(struct timers *ts, uint64_t now_us);
/* Frees the heap. Timers that are still armed never fire, and must not be disarmed any more. */
void timers_fini(struct timers *ts);
/* Arms or re-arms t for an absolute time. Returns 0, or BG_ENOMEM (then t stays as it was): who
 * would wait for ever without it has to look. */
int timer_arm(struct timers *ts, struct timer *t, uint64_t deadline_us);
/* Same, delay_us from ts->now_us. */
int timer_arm_in(struct timers *ts, struct timer *t, uint64_t delay_us);
/* The same for a time-out, whose timer is a timer like any other: costs the same however many are armed. */
int timeout_arm_in(struct timers *ts, struct timeout *t, uint64_t delay_us);
/* Harmless on an unarmed timer. Must be called before the owner is freed. */
void timer_disarm(struct timers *ts, struct timer *t);
static inline bool timer_armed(const struct timer *t)
{
    return t->place != 0;
}
/* The earliest deadline, or UINT64_MAX. */
uint64_t timers_next(const struct timers *ts);
/* Sets now_us and calls every timer that is due, each unarmed first; a callback may arm and disarm
 * any timer, including its own: one armed for now or before is run by the next call, so that work which goes on in
 * pieces has a turn of the loop for each. At most max are run (0: all); returns how many. */
unsigned timers_run(struct timers *ts, uint64_t now_us, unsigned max);

#endif
