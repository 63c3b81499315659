/*
 * config_puller.h: fetches FunConfigs from the service nodes (S-050..S-061): at once when a link comes up,
 * then every pull_interval with backoff; version check first; bad entries recorded, the others stored; what a
 * service no longer offers is removed.
 */
#ifndef BEAMGATE_CONFIG_PULLER_H
#define BEAMGATE_CONFIG_PULLER_H

#include "call.h"
#include "config_db.h"
#include "config_failed.h"
#include "mfa_rules.h"
#include "timers.h"

struct config_puller;
struct telemetry;

/* When a service is pulled first, and whether the gateway is ready without it. */
enum pull_start {
    PULL_CONFIGURED, /* as soon as possible; the gateway is not ready before */
    PULL_ADDED,      /* as soon as possible; it came while the gateway was running, which stays ready */
    PULL_PUSHED      /* after an interval: its functions have just been pushed (S-026) */
};

/* One service to pull from (F-080). Strings are copied by config_puller_add(). */
struct service_config {
    struct slice service;
    struct slice *nodes;
    uint32_t nodes_count;
    struct slice module; /* 'Elixir.MyApp.Supporter' */
    struct slice function;
    struct slice args;           /* list term; empty slice: [] */
    struct slice version_module; /* empty: no version check */
    struct slice version_function;
    struct slice version_args;
    enum pull_start start;
};

struct config_puller_options {
    struct call_ops call; /* remote_calls_ops(): the pulls' way of calling */
    struct timers *timers;
    struct metrics *metrics;
    struct config_db *db;
    struct config_failed *failed;
    const struct mfa_rules *rules; /* NULL: the deny list alone */
    uint32_t pull_timeout_ms;      /* each call; 0: 5000 */
    uint32_t pull_interval_ms;     /* 0: 30000 */
    struct telemetry *telemetry;   /* NULL: no events are made */
};

/* *o is copied, what it points to is borrowed and must outlive the puller. Without services it does nothing. NULL
 * without memory. */
struct config_puller *config_puller_new(const struct config_puller_options *o) MUST_CHECK;
/* Cancels what is in flight; the functions stay in the store. */
void config_puller_free(struct config_puller *p);
/* From the next call and the next round on; 0 as in the options. */
void config_puller_set_times(struct config_puller *p, uint32_t timeout_ms, uint32_t interval_ms);
/* Adds a service, or replaces the one of the same name (then its stored version is forgotten). It is pulled at
 * once when one of its nodes is up, else when a link comes up, or after a second (S-050).
 * BG_EINVAL (no service name, nodes, module or function; args that are no list), BG_ELIMIT, BG_ENOMEM. */
int config_puller_add(struct config_puller *p, const struct service_config *s, struct err *e) MUST_CHECK;
/* S-061: forgets the service; its functions stay in the store. BG_EGONE when there is none of that name. */
int config_puller_delete(struct config_puller *p, struct slice service);

/* What is known of one service, for status and diagnostics (S-060). Borrowed until the loop turns. */
struct config_puller_status {
    const struct service_config *config;
    struct slice version;   /* the term its version function gave; empty: none stored */
    struct slice node;      /* that delivered last; empty: none yet */
    uint32_t failures;      /* failed rounds in a row */
    const char *last_error; /* "" when the last round was good */
    uint32_t stored;        /* functions stored by the last full pull */
    uint32_t refused;       /* functions refused by it */
    uint64_t pulled_at_us;  /* timers' clock; 0: never */
    uint64_t next_pull_us;  /* timers' clock; 0: a pull is under way */
};
/* Every service, in the order they were added: start with *pos = 0. False at the end. */
bool config_puller_next(const struct config_puller *p, size_t *pos, struct config_puller_status *s);
/* A link came up: services on that node that wait for one are pulled now. */
void config_puller_link_up(struct config_puller *p, struct slice node);
/* All services now; force forgets the stored versions first (S-053). Resets the timers. */
void config_puller_pull(struct config_puller *p, bool force);
/* What /ready asks, of the services with PULL_CONFIGURED: true when every one has been pulled at least once, or has
 * failed at least once and was given up on for this round. *loaded: those with at least one successful pull. */
bool config_puller_ready(const struct config_puller *p, uint32_t *loaded, uint32_t *total);

#endif
