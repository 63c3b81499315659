/*
 * config_db.h: the functions known now, by {service, request_type, version} with text equality of
 * service names (S-070, E-036 want). Look-up costs the same whatever the number of functions.
 */
#ifndef BEAMGATE_CONFIG_DB_H
#define BEAMGATE_CONFIG_DB_H

#include "fun_config.h"
#include "map.h"
#include "metrics.h"
#include "version.h"

struct config_db;

/* Versions of one function that may stand side by side. */
enum { CONFIG_DB_VERSIONS = 128 };

enum config_lookup { CONFIG_FOUND, CONFIG_NOT_FOUND, CONFIG_DISABLED };

/* metrics is borrowed. NULL without memory. */
struct config_db *config_db_new(struct metrics *m, size_t max_configs) MUST_CHECK;
void config_db_free(struct config_db *db);

/* Stores fc (taking a reference of its own), replacing the entry of the same key. source names who offers it (the
 * pulled service's name): mark and sweep work on it. What an operator disabled stays so (S-074 want): fc->disabled is
 * set to what holds. BG_ELIMIT when max_configs, or CONFIG_DB_VERSIONS of one function, is reached; BG_ENOMEM. */
int config_db_put(struct config_db *db, struct fun_config *fc, struct slice source) MUST_CHECK;
/* Begins a new offer of that source... */
void config_db_mark(struct config_db *db, struct slice source);
/* ...counts the entry as still offered, although its new config was refused: the last good one goes on working... */
void config_db_keep(struct config_db *db, struct slice source, struct slice service, struct slice request_type,
                    struct slice version);
/* ...and removes every entry of the source that was neither put nor kept since the mark: a function that the service
 * no longer offers disappears (S-029, S-058 wants). Returns how many. */
size_t config_db_sweep(struct config_db *db, struct slice source);
/* The same, at most max of them; fewer than max: none is left. No offer of the source may begin between. */
size_t config_db_sweep_some(struct config_db *db, struct slice source, size_t max);
/* How many entries the source holds now. */
size_t config_db_source_count(const struct config_db *db, struct slice source);

/* E-030..E-034. version ptr NULL, or the text "0.0.0": the greatest enabled version by semver precedence, else the one
 * without version. The config is borrowed: valid until the loop turns. */
enum config_lookup config_db_find(const struct config_db *db, struct slice service, struct slice request_type,
                                  struct slice version, struct fun_config **fc);
/* An operator's word (S-074): stands until he says otherwise, also over pulls, pushes and a function that goes and
 * comes back. version ptr NULL: every version of the function, also later ones. BG_EGONE when there is no such
 * function. */
int config_db_set_disabled(struct config_db *db, struct slice service, struct slice request_type, struct slice version,
                           bool disabled);
/* S-075. version ptr NULL: every version. Forgets the operator's word too. BG_EGONE when there was none. */
int config_db_delete(struct config_db *db, struct slice service, struct slice request_type, struct slice version);
/* Removes every entry that fits() says yes to; operators' words stay. Returns how many. fits() changes nothing. */
size_t config_db_remove_if(struct config_db *db, bool (*fits)(void *ctx, const struct fun_config *fc), void *ctx);
/* Removes every entry and every operator's word. */
void config_db_clear(struct config_db *db);
size_t config_db_count(const struct config_db *db);
/* Every entry, disabled ones too, in no order: start with *pos = 0. The store must not change meanwhile. */
struct fun_config *config_db_next(const struct config_db *db, size_t *pos);
#endif
