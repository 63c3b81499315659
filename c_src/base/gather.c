/*
 * gather.c: see gather.h. A period without waiting is measured, then the waiting is tried; single turns tell nothing, and even
 * a period may have been bad for other reasons: so a first failure is tried again soon, a second later, and so on.
 *
 * Invariant: waiting that is of no use, or no longer, lasts one period; and when it is of no use each time, it is tried one
 * period in GATHER_HOLD.
 */
#include "gather.h"

static void enter(struct gather *g, enum gather_state state)
{
    g->state = state;
    g->periods = 0;
}

static void of_no_use(struct gather *g)
{
    uint32_t longer = g->rest ? g->rest * 2 : 1;
    g->rest = longer < GATHER_HOLD ? longer : GATHER_HOLD;
    enter(g, GATHER_RESTS);
}

static void of_use(struct gather *g)
{
    g->rest = 0;
    enter(g, GATHER_MEASURES);
}

/* served: in a whole period. */
static void judge(struct gather *g, uint32_t served)
{
    g->periods++;
    switch (g->state) {
    case GATHER_MEASURES:
        g->without = served;
        if (served >= GATHER_BEGIN)
            enter(g, GATHER_WAITS);
        break;
    case GATHER_WAITS:
        if ((uint64_t)served * 100 < (uint64_t)g->without * GATHER_WORTH)
            of_no_use(g);
        else if (g->periods == GATHER_HOLD)
            of_use(g);
        break;
    case GATHER_RESTS:
        if (g->periods >= g->rest)
            enter(g, GATHER_MEASURES);
        break;
    }
}

bool gather_turn(struct gather *g, uint64_t now_us, uint32_t served)
{
    uint64_t took_us = now_us - g->since_us;
    g->served += served;
    if (took_us >= GATHER_PERIOD_US) {
        judge(g, (uint32_t)((uint64_t)g->served * GATHER_PERIOD_US / took_us));
        g->since_us = now_us;
        g->served = 0;
    }
    return g->state == GATHER_WAITS;
}
