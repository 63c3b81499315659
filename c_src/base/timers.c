/*
 * timers.c: a binary heap of pointers, 1-based, each timer knowing its place so that disarming is
 * O(log n). Invariant: heap[i]->heap_pos == i, and no child is due before its parent.
 *
 * A heap and not a wheel: most timers here are disarmed long before they are due (every call has one), and their
 * times lie anywhere from milliseconds to a day. Among equals the order is not defined.
 */
#include "timers.h"

#include <stdlib.h>

void timers_init(struct timers *ts, uint64_t now_us)
{
    *ts = (struct timers){.now_us = now_us};
}

void timers_fini(struct timers *ts)
{
    free(ts->heap);
    timers_init(ts, ts->now_us);
}

static void heap_set(struct timers *ts, uint32_t pos, struct timer *t)
{
    ts->heap[pos] = t;
    t->heap_pos = pos;
}

static void sift_up(struct timers *ts, uint32_t pos)
{
    struct timer *t = ts->heap[pos];
    while (pos > 1 && ts->heap[pos / 2]->deadline_us > t->deadline_us) {
        heap_set(ts, pos, ts->heap[pos / 2]);
        pos /= 2;
    }
    heap_set(ts, pos, t);
}

static void sift_down(struct timers *ts, uint32_t pos)
{
    struct timer *t = ts->heap[pos];
    for (;;) {
        uint32_t child = pos * 2;
        if (child > ts->count)
            break;
        if (child < ts->count && ts->heap[child + 1]->deadline_us < ts->heap[child]->deadline_us)
            child++;
        if (ts->heap[child]->deadline_us >= t->deadline_us)
            break;
        heap_set(ts, pos, ts->heap[child]);
        pos = child;
    }
    heap_set(ts, pos, t);
}

int timer_arm(struct timers *ts, struct timer *t, uint64_t deadline_us)
{
    if (t->heap_pos == 0) {
        if (ts->count + 1 >= ts->cap) {
            uint32_t cap = ts->cap ? ts->cap * 2 : 64;
            struct timer **heap = realloc(ts->heap, cap * sizeof(struct timer *));
            if (!heap)
                return BG_ENOMEM;
            ts->heap = heap;
            ts->cap = cap;
        }
        heap_set(ts, ++ts->count, t);
    }
    /* Work in pieces arms its timer for now from within it: the next piece is the next turn's. */
    bool again_now = ts->running && deadline_us <= ts->now_us;
    /* Re-arming may move it either way; one of the two finds nothing to do. */
    t->deadline_us = again_now ? ts->now_us + 1 : deadline_us;
    sift_up(ts, t->heap_pos);
    sift_down(ts, t->heap_pos);
    return BG_OK;
}

int timer_arm_in(struct timers *ts, struct timer *t, uint64_t delay_us)
{
    return timer_arm(ts, t, ts->now_us + delay_us);
}

void timer_disarm(struct timers *ts, struct timer *t)
{
    uint32_t pos = t->heap_pos;
    if (pos == 0)
        return;
    struct timer *last = ts->heap[ts->count--];
    t->heap_pos = 0;
    if (last == t)
        return;
    /* The last one fills the gap, and may be due before the gap's parent: it comes from another branch. */
    heap_set(ts, pos, last);
    sift_up(ts, pos);
    sift_down(ts, last->heap_pos);
}

uint64_t timers_next(const struct timers *ts)
{
    return ts->count ? ts->heap[1]->deadline_us : UINT64_MAX;
}

unsigned timers_run(struct timers *ts, uint64_t now_us, unsigned max)
{
    unsigned ran = 0;
    ts->now_us = now_us;
    ts->running = true;
    while (ts->count && ts->heap[1]->deadline_us <= now_us && (max == 0 || ran < max)) {
        struct timer *t = ts->heap[1];
        timer_disarm(ts, t); /* before the call: it may arm itself again, or free its owner */
        ran++;
        t->fn(t);
    }
    ts->running = false;
    return ran;
}
