/*
 * timers.c: a binary heap of pointers, 1-based, each timer knowing its place so that disarming is
 * O(log n); and beside it a few lanes for time-outs, which every call has and hardly any lives to see: those of one delay
 * come and go in a list, in the order of their deadlines as the clock only goes forward.
 *
 * Invariants: heap[i]->place == i, and no child is due before its parent; a lane holds timers of one delay only, and none
 * is due before the one in front of it. A delay that finds no lane goes into the heap.
 *
 * A heap and not a wheel: the times lie anywhere from milliseconds to a day. Among equals the order is not defined.
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
    t->place = pos;
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
        if (child > ts->heap_count)
            break;
        if (child < ts->heap_count && ts->heap[child + 1]->deadline_us < ts->heap[child]->deadline_us)
            child++;
        if (ts->heap[child]->deadline_us >= t->deadline_us)
            break;
        heap_set(ts, pos, ts->heap[child]);
        pos = child;
    }
    heap_set(ts, pos, t);
}

/* ---- lanes ---- */

/* The place of a timer is its index in the heap, or a lane, counted down from here. */
#define LANE_PLACE UINT32_MAX

static bool in_lane(const struct timer *t)
{
    return t->place > LANE_PLACE - TIMER_LANES;
}

/* The lane of that delay, or a free one; NULL when each serves another delay. */
static struct timer_lane *lane_for(struct timers *ts, uint64_t delay_us)
{
    struct timer_lane *unused = NULL;
    for (struct timer_lane *l = ts->lane; l < ts->lane + TIMER_LANES; l++) {
        if (l->first && l->delay_us == delay_us)
            return l;
        if (!l->first && !unused)
            unused = l;
    }
    return unused;
}

static void lane_append(struct timers *ts, struct timer_lane *l, struct timeout *t)
{
    t->timer.place = LANE_PLACE - (uint32_t)(l - ts->lane);
    t->prev = l->last;
    t->next = NULL;
    *(l->last ? &l->last->next : &l->first) = t;
    l->last = t;
    ts->count++;
}

static void lane_remove(struct timers *ts, struct timer *timer)
{
    struct timeout *t = container_of(timer, struct timeout, timer);
    struct timer_lane *l = &ts->lane[LANE_PLACE - timer->place];
    *(t->prev ? &t->prev->next : &l->first) = t->next;
    *(t->next ? &t->next->prev : &l->last) = t->prev;
    timer->place = 0;
    ts->count--;
}

int timeout_arm_in(struct timers *ts, struct timeout *t, uint64_t delay_us)
{
    uint64_t deadline_us = ts->now_us + delay_us;
    struct timer_lane *l = delay_us && !t->timer.place ? lane_for(ts, delay_us) : NULL;
    /* The order of a lane must not depend on a clock that has gone back, or a sum that has wrapped. */
    if (!l || (l->last && l->last->timer.deadline_us > deadline_us))
        return timer_arm(ts, &t->timer, deadline_us);
    l->delay_us = delay_us;
    t->timer.deadline_us = deadline_us;
    lane_append(ts, l, t);
    return BG_OK;
}

/* ---- all ---- */

static int heap_append(struct timers *ts, struct timer *t)
{
    if (ts->heap_count + 1 >= ts->cap) {
        uint32_t cap = ts->cap ? ts->cap * 2 : 64;
        struct timer **heap = realloc(ts->heap, cap * sizeof(struct timer *));
        if (!heap)
            return BG_ENOMEM;
        ts->heap = heap;
        ts->cap = cap;
    }
    if (in_lane(t))
        lane_remove(ts, t);
    heap_set(ts, ++ts->heap_count, t);
    ts->count++;
    return BG_OK;
}

int timer_arm(struct timers *ts, struct timer *t, uint64_t deadline_us)
{
    if ((t->place == 0 || in_lane(t)) && heap_append(ts, t) != BG_OK)
        return BG_ENOMEM;
    /* Work in pieces arms its timer for now from within it: the next piece is the next turn's. */
    bool again_now = ts->running && deadline_us <= ts->now_us;
    /* Re-arming may move it either way; one of the two finds nothing to do. */
    t->deadline_us = again_now ? ts->now_us + 1 : deadline_us;
    sift_up(ts, t->place);
    sift_down(ts, t->place);
    return BG_OK;
}

int timer_arm_in(struct timers *ts, struct timer *t, uint64_t delay_us)
{
    return timer_arm(ts, t, ts->now_us + delay_us);
}

static void heap_remove(struct timers *ts, struct timer *t)
{
    uint32_t pos = t->place;
    struct timer *last = ts->heap[ts->heap_count--];
    ts->count--;
    t->place = 0;
    if (last == t)
        return;
    /* The last one fills the gap, and may be due before the gap's parent: it comes from another branch. */
    heap_set(ts, pos, last);
    sift_up(ts, pos);
    sift_down(ts, last->place);
}

void timer_disarm(struct timers *ts, struct timer *t)
{
    if (in_lane(t))
        lane_remove(ts, t);
    else if (t->place)
        heap_remove(ts, t);
}

/* The one that is due first, or NULL. */
static struct timer *first_due(const struct timers *ts)
{
    struct timer *first = ts->heap_count ? ts->heap[1] : NULL;
    for (unsigned i = 0; i < TIMER_LANES; i++) {
        struct timeout *t = ts->lane[i].first;
        if (t && (!first || t->timer.deadline_us < first->deadline_us))
            first = &t->timer;
    }
    return first;
}

uint64_t timers_next(const struct timers *ts)
{
    const struct timer *t = first_due(ts);
    return t ? t->deadline_us : UINT64_MAX;
}

unsigned timers_run(struct timers *ts, uint64_t now_us, unsigned max)
{
    unsigned ran = 0;
    struct timer *t;
    ts->now_us = now_us;
    ts->running = true;
    while ((max == 0 || ran < max) && (t = first_due(ts)) && t->deadline_us <= now_us) {
        timer_disarm(ts, t); /* before the call: it may arm itself again, or free its owner */
        ran++;
        t->fn(t);
    }
    ts->running = false;
    return ran;
}
