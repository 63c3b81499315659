/*
 * breaker.h: circuit breakers, one per service and node: after so many calls in a row that were not answered in time,
 * calls of that service pass the node over; when the cooldown is over one call is let through to try, and its outcome
 * opens or closes the breaker again. A function that raises has answered; a node that is not connected needs no
 * breaker.
 */
#ifndef BEAMGATE_BREAKER_H
#define BEAMGATE_BREAKER_H

#include "base.h"

struct breakers;

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_TRYING };

/* threshold: failures in a row that open one, 0: never; cooldown_us: how long it stays open. NULL without memory. */
struct breakers *breakers_new(uint32_t threshold, uint64_t cooldown_us) MUST_CHECK;
void breakers_free(struct breakers *b);

/* May a call of this caller, who has one at a time, go there now? True takes the one try of a breaker whose cooldown is
 * over, so the caller must report how it went. Until then only he can open it again, or give the try back. */
bool breaker_allows(struct breakers *b, struct slice service, struct slice node, handle_t caller, uint64_t now_us);
/* The call reached the node and was answered. True when this closed a breaker that was open. */
bool breaker_succeeded(struct breakers *b, struct slice service, struct slice node);
/* It was not answered. True when this opened the breaker. */
bool breaker_failed(struct breakers *b, struct slice service, struct slice node, handle_t caller, uint64_t now_us);
/* The call was given up without an outcome: if it was the try, the next caller has it. */
void breaker_forgotten(struct breakers *b, struct slice service, struct slice node, handle_t caller);

/* How many are open, or trying. */
uint32_t breakers_open(const struct breakers *b);

/* Every breaker that has counted a failure, in no order: start with *pos = 0. False at the end. */
struct breaker_info {
    struct slice service;
    struct slice node;
    enum breaker_state state;
    uint32_t failures;      /* in a row */
    uint64_t open_until_us; /* open: when a call is tried */
};
bool breakers_next(const struct breakers *b, size_t *pos, struct breaker_info *info);

#endif
