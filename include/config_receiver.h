/*
 * config_receiver.h: functions that services push (S-010..S-044): the gateway's half of ConfigPusher. A push replaces
 * what the same service pushed before; services are told apart by the text of their name (S-030 want).
 */
#ifndef BEAMGATE_CONFIG_RECEIVER_H
#define BEAMGATE_CONFIG_RECEIVER_H

#include "config_puller.h"

struct config_receiver;

/* Who may push a service: one row of the allow-list (S-084 want). In each text, * stands for any characters. */
struct push_rule {
    struct slice service;
    const struct slice *nodes; /* the pushing node, and every node of the PushConfig, must fit one of them */
    uint32_t nodes_count;
};

/* What is not copied must outlive the receiver. */
struct config_receiver_options {
    struct config_db *db;
    struct config_failed *failed;
    struct config_puller *puller; /* for services that name the function to pull by (S-026) */
    struct metrics *metrics;
    const struct mfa_rules *rules; /* NULL: the deny list alone */
    struct slice token;            /* what a push must bring (S-022); ptr NULL: nothing */
    const struct push_rule *allow; /* NULL: any node may push any service */
    uint32_t allow_count;
    uint32_t max_services;                         /* 0: 1000 */
    struct timers *timers;                         /* for pushes in pieces; NULL: all are taken at once */
    struct telemetry *telemetry;                   /* NULL: no events are made */
    void (*connect)(void *ctx, struct slice node); /* told every node of an accepted PushConfig; NULL: nobody is */
    void (*release)(void *ctx, struct slice node); /* told every node of one that is replaced or deleted, afterwards */
    void (*changed)(void *ctx);                    /* told after each accepted push and each delete; NULL: nobody is */
    void *ctx;
};

/* Bounds besides max_services: functions of one push, and bytes of all PushConfigs as they are kept for display. */
enum { PUSH_FUNCTIONS_MAX = 10000, PUSH_KEPT_BYTES_MAX = 64 * 1024 * 1024 };

/* NULL when memory is out. */
struct config_receiver *config_receiver_new(const struct config_receiver_options *o) MUST_CHECK;
/* The functions stay in the store. */
void config_receiver_free(struct config_receiver *r);

/* Puts these in place of what the options said, from the next push on. token is copied, allow is not. BG_ENOMEM: then
 * all is as before. */
int config_receiver_set_rules(struct config_receiver *r, struct slice token, const struct push_rule *allow,
                              uint32_t allow_count, uint32_t max_services) MUST_CHECK;

/* S-020..S-027. config: a checked term of any kind; options: the keyword list with force, or anything, or empty; node:
 * who pushes. Appends {ok, accepted}, {ok, skipped, version_matches} or {error, Reason}, and never anything else: other
 * terms crash the caller (S-012). After an error everything is as before. Pushes that wait are taken first. */
void config_receiver_push(struct config_receiver *r, struct slice config, struct slice options, struct slice node,
                          struct buf *out);
/* Whether a push of this size should be taken by the next function: it is large, or others wait before it. */
bool config_receiver_waits(const struct config_receiver *r, struct slice config);
/* The same in pieces, in later turns of the loop, in the order in which pushes come. True: done(ctx, tag, answer) is
 * called once, later; the answer is valid during the call. False: the answer is in out, as above. Everything is
 * copied. */
typedef void config_push_done_fn(void *ctx, uint64_t tag, struct slice answer);
bool config_receiver_push_later(struct config_receiver *r, struct slice config, struct slice options, struct slice node,
                                struct buf *out, config_push_done_fn *done, void *ctx, uint64_t tag);
/* What was accepted before a restart, as config_receiver_next_stored() gave it: taken as a push whose token is good.
 * False when it is refused now. Any checked term. */
bool config_receiver_restore(struct config_receiver *r, struct slice config, struct slice node);
/* Every accepted PushConfig, its token unreadable, and who pushed it: start with *pos = 0; false at the end. Borrowed
 * until the next change. */
bool config_receiver_next_stored(const struct config_receiver *r, size_t *pos, struct slice *node, struct slice *term);
/* S-014: appends {ok, matched}, {ok, mismatch, Stored} or {error, not_found}. Any terms. */
void config_receiver_verify(const struct config_receiver *r, struct slice service, struct slice version,
                            struct buf *out);
/* S-041: appends the PushConfig struct last accepted, its token unreadable (want), or nil. Any term. */
void config_receiver_put_config(const struct config_receiver *r, struct slice service, struct buf *out);
/* S-042: appends #{Service => Version}. */
void config_receiver_put_services(const struct config_receiver *r, struct buf *out);
/* S-043: forgets the service, removes the functions it pushed (want) and what was pulled for it since. Any term; a
 * service that is not there is fine. */
void config_receiver_delete(struct config_receiver *r, struct slice service);
/* True when a PushConfig held now names the node. */
bool config_receiver_names_node(const struct config_receiver *r, struct slice node);
/* One pushed service, for showing it: start with *pos = 0; false at the end. Borrowed until the next change. */
struct config_receiver_status {
    struct slice service;
    struct slice version;
    bool pulled; /* and pulled since: config_puller_next() has it too */
    size_t functions;
};
bool config_receiver_next(const struct config_receiver *r, size_t *pos, struct config_receiver_status *status);
/* S-044: appends #{status, pushed_services, pushed_configs}. */
void config_receiver_put_status(const struct config_receiver *r, struct buf *out);

#endif
