/*
 * gate.h: who is here: connections counted by address and by user, and how often an address connects. What it counts
 * it finds again by hash, in tables with a bound, so that a million addresses cost no more than the bound.
 *
 * An IPv4 address counts by itself, an IPv6 address with its whole /64: that is what one customer has.
 */
#ifndef BEAMGATE_GATE_H
#define BEAMGATE_GATE_H

#include "client_source.h"
#include "limit.h"
#include "request.h"

struct gate;

/* A user with at least one socket. */
struct gate_user {
    uint32_t sockets;
    struct request_quota in_flight;
    uint32_t len;
    char id[];
};

/* limits is borrowed; so is what they are logged to. NULL without memory. */
struct gate *gate_new(struct client_limits *limits) MUST_CHECK;
/* Everybody must have left. */
void gate_free(struct gate *g);

/* One has been accepted. Returns how long accepting has to pause, in microseconds; 0: not at all. */
uint64_t gate_pause_us(struct gate *g, uint64_t now_us);
/* A client comes in from from->address, and gets from->at. False: refused, counted and logged. */
bool gate_enter(struct gate *g, struct client_source *from, uint64_t now_us) MUST_CHECK;
/* It leaves. Harmless when it is not in. */
void gate_leave(struct gate *g, struct client_source *from, uint64_t now_us);

/* A socket of a user opens; ip is for the log. The user lives until as many gate_user_leave(). NULL: refused, counted
 * and logged. */
struct gate_user *gate_user_enter(struct gate *g, struct slice id, struct slice ip) MUST_CHECK;
/* NULL is fine. */
void gate_user_leave(struct gate *g, struct gate_user *u);

#endif
