/*
 * config_puller.h: fetches FunConfigs from the service nodes (S-050..S-061): at once when a link comes up,
 * then every pull_interval with backoff; version check first; bad entries recorded, the others stored; what a
 * service no longer offers is removed.
 */
#ifndef BEAMGATE_CONFIG_PULLER_H
#define BEAMGATE_CONFIG_PULLER_H

#include "config_db.h"
#include "config_failed.h"
#include "remote_call.h"

struct config_puller;

/* One service to pull from (F-080). Strings are copied by config_puller_add(). */
struct service_config {
    struct slice service;
    struct slice *nodes;
    uint32_t nodes_count;
    struct slice module;   /* 'Elixir.MyApp.Supporter' */
    struct slice function;
    struct slice args;     /* list term; empty slice: [] */
    struct slice version_module; /* empty: no version check */
    struct slice version_function;
    struct slice version_args;
};

struct config_puller_options {
    struct remote_calls *calls;
    struct cluster *cluster;
    struct timers *timers;
    struct metrics *metrics;
    struct config_db *db;
    struct config_failed *failed;
    enum call_way way;
    uint32_t pull_timeout_ms;  /* 5000 */
    uint32_t pull_interval_ms; /* 30000 */
};

struct config_puller *config_puller_new(const struct config_puller_options *o) MUST_CHECK;
void config_puller_free(struct config_puller *p);
int config_puller_add(struct config_puller *p, const struct service_config *s, struct err *e) MUST_CHECK;
int config_puller_delete(struct config_puller *p, struct slice service);
/* A link came up: services on that node that wait for one are pulled now. */
void config_puller_link_up(struct config_puller *p, struct slice node);
/* All services now; force forgets the stored versions first (S-053). Resets the timers. */
void config_puller_pull(struct config_puller *p, bool force);
/* True when every configured service has been pulled at least once, or has failed at least once and was given up on for
 * this round: what /ready asks. *loaded: services with at least one successful pull. */
bool config_puller_ready(const struct config_puller *p, uint32_t *loaded, uint32_t *total);

#endif
