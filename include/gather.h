/*
 * gather.h: how long the loop should let requests gather before it looks for them. Being woken costs more than a cheap
 * request does. Where many ask at the same time, from this side or from that, each wake-up finds two or three of them;
 * a moment later there are ten, for the price of one, and the nodes that are called get theirs in one piece as well.
 *
 * Who waits for an answer before he asks again has a round: so many askers, by what they ask in a second. Turns of the
 * loop are one part in GATHER_SHARE of that apart at most, so that nobody's round grows by more; few askers have short
 * rounds and are not kept waiting at all, nor are those who ask little.
 *
 * It waits for nothing itself: those who take requests tell it who asked, the server asks it and does the waiting.
 */
#ifndef BEAMGATE_GATHER_H
#define BEAMGATE_GATHER_H

#include "base.h"

enum {
    GATHER_PERIOD_US = 10000, /* what is counted together */
    GATHER_REQUESTS = 200,    /* of such a period, from which on it is worth the while */
    GATHER_ASKERS = 32,       /* and from so many of them on */
    GATHER_SHARE = 6,         /* that part of a round is spent waiting at most */
    GATHER_TURN_MAX_US = 400, /* from one turn to the next; the kernel may add its timer slack, which is 50 us */
    GATHER_SEATS = 512        /* a power of two; askers that share one count once */
};

/* All zero to begin with. */
struct gather {
    uint64_t since_us;                 /* when this period began */
    uint64_t seats[GATHER_SEATS / 64]; /* a bit for each of those who asked in it, by their hash */
    uint32_t requests;                 /* in it */
    uint32_t turn_us;                  /* what the last period came to */
};

/* A request came. asker tells whoever asked from others: any number that he keeps. */
static inline void gather_asked(struct gather *g, uint64_t asker)
{
    uint64_t seat = (asker * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (GATHER_SEATS - 1);
    g->seats[seat / 64] |= UINT64_C(1) << (seat % 64);
    g->requests++;
}

/* Before the loop waits: how many microseconds should lie between the end of one such wait and that of the next,
 * whatever has come meanwhile. 0: none. */
uint32_t gather_turn_us(struct gather *g, uint64_t now_us);

#endif
