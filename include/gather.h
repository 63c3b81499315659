/*
 * gather.h: when the loop should let requests gather before it looks for them. Being woken costs more than a cheap request
 * does. Where many ask at the same time, from this side or from that, each wake-up finds two or three of them; a moment
 * later there are ten, for the price of one, and the nodes that are called get theirs in one piece as well.
 *
 * Few are only kept waiting: all of them have asked, and none asks again before it is answered. So it is tried, and goes on
 * as long as about as much is served in the same time as without waiting.
 *
 * It waits for nothing itself: the server tells it what each turn brought, and does the waiting.
 */
#ifndef BEAMGATE_GATHER_H
#define BEAMGATE_GATHER_H

#include "base.h"

enum {
    GATHER_PERIOD_US = 50000, /* what is judged together */
    GATHER_BEGIN = 1000,      /* requests of a period from which on it is tried: more than one client can make */
    GATHER_WORTH = 95,        /* percent of the requests without waiting that must be served with it */
    GATHER_HOLD = 20,         /* periods until it is measured again without; and the most until it is tried again */
    GATHER_TURN_US = 200      /* from one wait to the next at least; the kernel may add its timer slack, which is 50 us */
};

enum gather_state { GATHER_MEASURES, GATHER_WAITS, GATHER_RESTS };

/* All zero to begin with. */
struct gather {
    enum gather_state state;
    uint64_t since_us; /* when this period began */
    uint32_t served;   /* in it */
    uint32_t without;  /* served in a period that was measured without waiting */
    uint32_t periods;  /* that the state has lasted */
    uint32_t rest;     /* how many periods it was left alone after it was last found of no use; 0: it was of use */
};

/* A turn is done that served so many messages of clients and calls of other nodes. True when the loop should wait until
 * GATHER_TURN_US after it last did before it looks for more, whatever has come meanwhile. */
bool gather_turn(struct gather *g, uint64_t now_us, uint32_t served);

#endif
