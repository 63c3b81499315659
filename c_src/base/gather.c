/*
 * gather.c: see gather.h. Turns are judged in rounds, since single ones tell nothing: a burst of ten calls now and then
 * is no reason to wait, and ten turns a second that find nothing else are no harm.
 *
 * Invariant: at most GATHER_ROUND turns wait in vain before a rest.
 */
#include "gather.h"

static void judge(struct gather *g)
{
    if (g->rest) {
        g->rest--;
    } else if (!g->on) {
        g->on = g->calls > GATHER_ROUND * GATHER_BEGIN;
    } else if (g->calls < GATHER_ROUND * GATHER_WORTH) {
        g->on = false;
        g->rest = GATHER_REST;
    }
}

bool gather_turn(struct gather *g, uint32_t calls)
{
    g->calls += calls;
    if (++g->turns == GATHER_ROUND) {
        judge(g);
        g->turns = g->calls = 0;
    }
    return g->on;
}
