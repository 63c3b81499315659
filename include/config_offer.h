/*
 * config_offer.h: takes a service's whole list of FunConfigs into the store, a few at a time: the valid ones are
 * stored, the others recorded, and what the service offered before and no longer offers disappears (S-024, S-029,
 * S-057, S-058 wants). The way of pulled and of pushed lists.
 */
#ifndef BEAMGATE_CONFIG_OFFER_H
#define BEAMGATE_CONFIG_OFFER_H

#include "config_db.h"
#include "config_failed.h"
#include "mfa_rules.h"

struct config_offer {
    /* What to take and where, filled by the caller; everything stays until the end. */
    struct config_db *db;
    struct config_failed *failed;
    struct metrics *metrics;
    const struct mfa_rules *rules; /* NULL: the deny list alone */
    struct slice service;          /* text: holds for every config */
    struct slice source_key;       /* what config_db_mark() and sweep work on */
    enum config_source source;
    struct slice node; /* shown with refused configs; ptr NULL: none */
    bool keep_if_none; /* when none of the list could be stored, nothing that was offered before is removed */
    int64_t now_ms;    /* wall clock */
    /* Asked once per config with the module of its MFA: true, or false with a reason. NULL: all are good. */
    bool (*module_good)(void *ctx, struct slice module, struct fun_config_reasons *why);
    void *ctx;

    /* The result; private until the end. */
    uint32_t stored;
    uint32_t refused;
    uint32_t denied; /* of the refused: valid, but not allowed (S-081), or no room for it */
    uint32_t removed;
    uint64_t refused_hash; /* differs when other configs are refused, or for other reasons */
    char first_type[64];   /* request type of the first refused config */
    char first_reason[FUN_CONFIG_REASON_MAX];

    /* private */
    struct term_reader r;
    uint32_t left;
};

/* list: checked, a proper list of at most CONFIG_OFFER_MAX items, and stays until the end. BG_EINVAL or BG_ELIMIT else.
 */
enum { CONFIG_OFFER_MAX = 65536 };
int config_offer_begin(struct config_offer *o, struct slice list) MUST_CHECK;
/* Takes up to max items, and then removes up to so many that are offered no more. True when none is left: then the
 * offer is complete and the result stands. */
bool config_offer_step(struct config_offer *o, uint32_t max);

/* The module of the {Module, Function, Args} under the key mfa of what need not be a valid config. */
bool config_offer_module(struct slice item, struct slice *module);

#endif
