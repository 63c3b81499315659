/*
 * gather.c: see gather.h. Askers are counted in a bitmap by their hash, which needs no memory for each: of few all are
 * seen, of hundreds too few, which errs on the side of shorter waits.
 *
 * What is served in a moment tells few askers from many no better than requests a turn do: a machine that is shared
 * serves half as much in one moment as in the next, with the waiting or without.
 */
#include "gather.h"

static uint32_t askers(const struct gather *g)
{
    int n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(g->seats); i++)
        n += __builtin_popcountll(g->seats[i]);
    return (uint32_t)n;
}

/* took_us: what the period was in the end. */
static uint32_t turn_us(const struct gather *g, uint64_t took_us)
{
    uint32_t n = askers(g);
    if (n < GATHER_ASKERS || (uint64_t)g->requests * GATHER_PERIOD_US < GATHER_REQUESTS * took_us)
        return 0;
    uint64_t us = n * took_us / g->requests / GATHER_SHARE;
    return us < GATHER_TURN_MAX_US ? (uint32_t)us : GATHER_TURN_MAX_US;
}

uint32_t gather_turn_us(struct gather *g, uint64_t now_us)
{
    uint64_t took_us = now_us - g->since_us;
    if (took_us >= GATHER_PERIOD_US)
        *g = (struct gather){.since_us = now_us, .turn_us = turn_us(g, took_us)};
    return g->turn_us;
}
