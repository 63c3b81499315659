/*
 * config_receiver_internal.h: what config_receiver.c (the services that were pushed, and what is asked about them) and
 * config_push.c (how a push is taken) share. Private to the two.
 */
#ifndef BEAMGATE_CONFIG_RECEIVER_INTERNAL_H
#define BEAMGATE_CONFIG_RECEIVER_INTERNAL_H

#include "config_receiver.h"
#include "list.h"
#include "push_config.h"

enum { PUSH_SOURCE_MAX = 5 + FUN_CONFIG_NAME_MAX };

/* One service that was pushed. */
struct pushed {
    struct buf term;           /* the PushConfig, token unreadable */
    struct push_config config; /* its fields, in term */
    char *node_text;           /* who pushed it */
    struct slice node;
    bool pulled;               /* its functions are in the store as the puller's: see pushed_source_key() */
    bool taking;               /* in its place, but the push is not accepted yet: to others it is not there */
};

struct config_receiver {
    struct config_receiver_options o;
    char *token; /* NULL: none asked for */
    struct map services;
    size_t kept_bytes;
    /* pushes that are taken piece by piece, in the order in which they came */
    struct list jobs;
    uint32_t jobs_count;
    size_t jobs_bytes;
    struct timer step;
};

/* NULL is fine. */
void pushed_free(struct pushed *p);
/* A service that is pulled because it was pushed offers one and the same set both ways, so it has one source; what it
 * pushes beside a pull of the operator's is a set of its own. */
struct slice pushed_source_key(struct slice service, bool pulled, char out[PUSH_SOURCE_MAX]);
/* Returns how many. */
uint32_t pushed_remove_functions(struct config_receiver *r, struct slice service, bool pulled);
/* The config names the function to pull by, and no operator has said otherwise. */
bool pushed_may_pull(const struct config_receiver *r, const struct push_config *pc);
/* Begins to pull what was pushed, or ends it. */
void pushed_follow_pull(struct config_receiver *r, const struct pushed *now);
/* p's nodes are wanted from now on, or no more; NULL is fine. */
void pushed_connect(struct config_receiver *r, const struct pushed *p);
void pushed_release(struct config_receiver *r, const struct pushed *p);
/* Calls each() with the text of every node of a config without problems; false as soon as it says so. */
bool pushed_each_node(struct slice nodes, bool (*each)(void *ctx, struct slice node), void *ctx);

/* Tells whoever writes it down. */
void config_receiver_changed(const struct config_receiver *r);
/* Appends {a, b}. */
void push_put_pair(struct buf *out, const char *a, const char *b);

/* config_push.c: finishes what has been begun, whoever waits for it, and drops it, unanswered. */
void config_push_finish(struct config_receiver *r);
void config_push_drop(struct config_receiver *r);

#endif
