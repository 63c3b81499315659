/*
 * gather.h: when the loop should let calls of other nodes gather before it looks for them. Being woken costs more than a cheap
 * call does. Where many processes call at the same time, a node sends their calls one by one and each two or three
 * of them wake us; a moment later there are ten, for the price of one.
 *
 * It knows no clock and waits for nothing: the server tells it what each turn brought, and does the waiting. Callers that
 * are few would only be kept waiting, so it asks for company twice: before it begins, and all the time it goes on.
 */
#ifndef BEAMGATE_GATHER_H
#define BEAMGATE_GATHER_H

#include "base.h"

enum {
    GATHER_ROUND = 16,  /* turns that are judged together */
    GATHER_BEGIN = 2,   /* calls a turn, on average, above which it is tried */
    GATHER_WORTH = 8,   /* calls a turn, on average, below which it was of no use */
    GATHER_REST = 64,   /* rounds until it is tried again then */
    GATHER_PAUSE_US = 50 /* how long to wait; the kernel may add its timer slack, which is 50 us */
};

/* All zero to begin with. */
struct gather {
    uint32_t turns; /* of this round */
    uint32_t calls; /* in them */
    uint32_t rest;  /* rounds left */
    bool on;
};

/* A turn is done that served so many calls of other nodes. True when the loop should wait before it looks for more. */
bool gather_turn(struct gather *g, uint32_t calls);

#endif
