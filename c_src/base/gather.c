/*
 * gather.c: see gather.h. A period without waiting is measured, then the waiting is tried; single turns tell nothing.
 *
 * Invariant: waiting that is of no use, or no longer, lasts one period, and is not tried again for GATHER_HOLD of them.
 */
#include "gather.h"

static void enter(struct gather *g, enum gather_state state)
{
    g->state = state;
    g->periods = 0;
}

/* calls: of a whole period. */
static void judge(struct gather *g, uint32_t calls)
{
    g->periods++;
    if (g->state == GATHER_MEASURES) {
        g->without = calls;
        if (calls >= GATHER_BEGIN)
            enter(g, GATHER_WAITS);
    } else if (g->state == GATHER_WAITS && (uint64_t)calls * 100 < (uint64_t)g->without * GATHER_WORTH) {
        enter(g, GATHER_RESTS);
    } else if (g->periods == GATHER_HOLD) {
        enter(g, GATHER_MEASURES);
    }
}

bool gather_turn(struct gather *g, uint64_t now_us, uint32_t calls)
{
    uint64_t took_us = now_us - g->since_us;
    g->calls += calls;
    if (took_us >= GATHER_PERIOD_US) {
        judge(g, (uint32_t)((uint64_t)g->calls * GATHER_PERIOD_US / took_us));
        g->since_us = now_us;
        g->calls = 0;
    }
    return g->state == GATHER_WAITS;
}
