/*
 * config_pull.h: one service that is pulled, and the round that pulls it. Private to config_puller and config_pull.
 */
#ifndef BEAMGATE_CONFIG_PULL_H
#define BEAMGATE_CONFIG_PULL_H

#include "config_offer.h"
#include "config_puller.h"

enum {
    PULL_FIRST_MS = 1000,         /* S-050: when no link has come up by then */
    PULL_BACKOFF_MAX_MS = 300000, /* S-050 */
    PULL_ERROR_MAX = 320
};

enum pull_state { PULL_IDLE, PULL_VERSION, PULL_CONFIGS, PULL_MODULES, PULL_STORING };

/* One distinct module of a round's configs. */
struct pull_module {
    struct slice name; /* in the round's list */
    handle_t call;     /* HANDLE_NONE unless its check is under way */
    bool loaded;
    char *reason; /* why not, for ConfigFailed; NULL: none */
};

/* Argument terms as a call wants them. */
struct call_args {
    struct slice terms;
    uint32_t count;
};

struct pulled_service {
    const struct config_puller_options *o;
    struct service_config config; /* slices in memory */
    struct call_args args;
    struct call_args version_args;
    struct arena memory;
    struct timer timer; /* IDLE: the next round; else the round's own next step */
    enum pull_state state;

    /* this round */
    uint32_t first; /* index of the node tried first, and how many have failed since */
    uint32_t failed_nodes;
    uint64_t began_us; /* while somebody wants to be told only */
    bool forced;
    handle_t call;
    struct buf new_version; /* term; empty: not asked, or not answered */
    struct buf list;        /* the configs as they came */
    struct pull_module *modules;
    struct map module_by_name;
    uint32_t modules_count;
    uint32_t modules_asked;
    uint32_t modules_waiting;
    struct config_offer offer;
    enum call_outcome error_kind; /* of the node that failed last, with its text */
    char error[PULL_ERROR_MAX];

    /* kept over rounds */
    struct buf version; /* term; empty: none stored */
    uint64_t list_hash; /* of the list stored last; 0: whatever comes next is processed */
    uint64_t refused_hash;
    size_t held; /* functions in the store after the last full pull */
    uint32_t stored;
    uint32_t refused;
    uint32_t failures;     /* rounds in a row */
    uint32_t delivered_by; /* node index + 1; 0: nobody yet */
    uint64_t pulled_at_us;
    char last_error[PULL_ERROR_MAX];
    bool tried_once;
    bool again; /* another round was asked for during this one */
    bool again_forced;
    bool node_came_up; /* during this round: worth another one should it fail */
};

/* config has been checked and is copied. NULL when memory is out, or an argument list is none. */
struct pulled_service *pulled_service_new(const struct config_puller_options *o,
                                          const struct service_config *config) MUST_CHECK;
/* Cancels its calls. */
void pulled_service_free(struct pulled_service *s);
/* Begins a round, or, during one, asks for another. */
void pulled_service_pull(struct pulled_service *s, bool force);
/* Makes the timer begin the next round in so many milliseconds. IDLE only. */
void pulled_service_pull_in(struct pulled_service *s, uint64_t ms);

#endif
