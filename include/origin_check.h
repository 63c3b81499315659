/*
 * origin_check.h: Origins about which a function of the services decides, as Phoenix asks check_origin: {Module,
 * Function, Args} (P-009). Whose request waits for it holds nothing up, and what is no clear yes is a no.
 */
#ifndef BEAMGATE_ORIGIN_CHECK_H
#define BEAMGATE_ORIGIN_CHECK_H

#include "edge.h"

struct origin_checks;

struct origin_check_options {
    struct call_ops call;
    struct timers *timers;
    struct metrics *metrics;
    /* The answer for a client that origin_checks_ask() left waiting. A no has been counted and logged. */
    void (*done)(void *ctx, handle_t client, bool allowed);
    void *ctx;
};

struct origin_checks *origin_checks_new(const struct origin_check_options *o) MUST_CHECK;
/* Forgets who waits. NULL is allowed. */
void origin_checks_free(struct origin_checks *oc);
/* Asks config->origin_function(URI, ...origin_args) about an Origin that origin_parse() takes. 0: allowed at once,
 * since it has said yes to it before; BG_EMORE: *tag is for origin_checks_hold(); BG_EINVAL: nobody could be asked,
 * counted and logged. */
int origin_checks_ask(struct origin_checks *oc, const struct socket_config *config, struct slice origin,
                      uint64_t *tag) MUST_CHECK;
/* Who waits: what done() is called with. HANDLE_NONE forgets the question. */
void origin_checks_hold(struct origin_checks *oc, uint64_t tag, handle_t client);
/* The client has gone: nobody waits for the answer any more. Harmless on a stale tag. */
void origin_checks_forget(struct origin_checks *oc, uint64_t tag);

#endif
