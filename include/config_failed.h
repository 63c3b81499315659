/*
 * config_failed.h: FunConfigs that were refused, kept 24 h for display (S-090..S-093), with a cap and without
 * repeating an entry that only failed again (want of S-093).
 */
#ifndef BEAMGATE_CONFIG_FAILED_H
#define BEAMGATE_CONFIG_FAILED_H

#include "fun_config.h"

struct config_failed;

enum config_source { CONFIG_PULL, CONFIG_PUSH };

struct config_failed_entry {
    uint64_t id;
    struct slice service;
    struct slice request_type;
    struct slice version; /* ptr NULL: nil */
    enum config_source source;
    struct slice node; /* ptr NULL: nil */
    const char *const *reasons;
    uint32_t reasons_count;
    struct slice term;      /* as received; empty when it was too large to keep */
    int64_t inserted_at_ms; /* wall clock; the latest time it failed */
    int64_t expires_at_ms;
    uint64_t times;
};

/* The oldest entry makes room when max_entries is reached. */
struct config_failed *config_failed_new(size_t max_entries) MUST_CHECK;
void config_failed_free(struct config_failed *f);
/* One entry per {source, service, request_type, version}: one that failed before is refreshed, counted in `times` and
 * becomes the newest. service, when given (ptr not NULL), stands for the config's own. Out of memory: not recorded. */
void config_failed_record(struct config_failed *f, struct slice term, struct slice service,
                          const struct fun_config_reasons *why, enum config_source source, struct slice node,
                          int64_t now_ms);
/* Removes what has expired and tells how many; call it before listing (S-091). */
size_t config_failed_cleanup(struct config_failed *f, int64_t now_ms);
size_t config_failed_count(const struct config_failed *f);
void config_failed_clear(struct config_failed *f);
/* Newest first: start with *pos = 0. False at the end. The entry's slices are borrowed until the next change. */
bool config_failed_next(const struct config_failed *f, size_t *pos, struct config_failed_entry *entry);

#endif
