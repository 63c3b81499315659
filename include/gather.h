/*
 * gather.h: when the loop should let calls of other nodes gather before it looks for them. Being woken costs more than
 * a cheap call does. Where many processes call at the same time, a node sends their calls one by one and every second
 * of them wakes us; a moment later there are ten, for the price of one.
 *
 * Callers that are few are only kept waiting: all of them have asked, and none asks again before it is answered. So it
 * is tried, and goes on as long as about as many calls are served in the same time as without waiting.
 *
 * It waits for nothing itself: the server tells it what each turn brought, and does the waiting.
 */
#ifndef BEAMGATE_GATHER_H
#define BEAMGATE_GATHER_H

#include "base.h"

enum {
    GATHER_PERIOD_US = 10000, /* what is judged together */
    GATHER_BEGIN = 200,       /* calls of a period from which on it is tried: more than one caller can make */
    GATHER_WORTH = 85,        /* percent of the calls without waiting that must be served with it */
    GATHER_HOLD = 50,         /* periods until it is measured again without, or tried again */
    GATHER_PAUSE_US = 100     /* how long to wait; the kernel may add its timer slack, which is 50 us */
};

enum gather_state { GATHER_MEASURES, GATHER_WAITS, GATHER_RESTS };

/* All zero to begin with. */
struct gather {
    enum gather_state state;
    uint64_t since_us; /* when this period began */
    uint32_t calls;    /* in it */
    uint32_t without;  /* calls of a period that was measured without waiting */
    uint32_t periods;  /* that the state has lasted */
};

/* A turn is done that served so many calls of other nodes. True when the loop should wait before it looks for more. */
bool gather_turn(struct gather *g, uint64_t now_us, uint32_t calls);

#endif
