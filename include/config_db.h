/*
 * config_db.h: the functions known now, by {service, request_type, version} with text equality of
 * service names (S-070, E-036 want). Look-up costs the same whatever the number of functions.
 */
#ifndef BEAMGATE_CONFIG_DB_H
#define BEAMGATE_CONFIG_DB_H

#include "fun_config.h"
#include "map.h"
#include "metrics.h"

struct config_db;

enum config_lookup { CONFIG_FOUND, CONFIG_NOT_FOUND, CONFIG_DISABLED };

struct config_db *config_db_new(struct metrics *m, size_t max_configs) MUST_CHECK;
void config_db_free(struct config_db *db);

/* Stores fc (taking a reference), replacing the entry of the same key. source names who offers it
 * (the pulled service's name): config_db_retain() works on it. BG_ELIMIT when max_configs is reached. */
int config_db_put(struct config_db *db, struct fun_config *fc, struct slice source) MUST_CHECK;
/* Removes every entry of that source that was not put since config_db_mark(): a function that the service no longer offers disappears
 * (S-029, S-058 wants). Returns how many. */
void config_db_mark(struct config_db *db, struct slice source);
size_t config_db_sweep(struct config_db *db, struct slice source);

/* E-030..E-034. version ptr NULL, or the text "0.0.0": the greatest enabled version by semver precedence, else the one
 * without version. The config is borrowed: valid until the loop turns. */
enum config_lookup config_db_find(const struct config_db *db, struct slice service, struct slice request_type,
                                  struct slice version, struct fun_config **fc);
/* S-074, S-075. All versions when version is empty and any is true. */
int config_db_set_disabled(struct config_db *db, struct slice service, struct slice request_type, struct slice version, bool disabled);
int config_db_delete(struct config_db *db, struct slice service, struct slice request_type, struct slice version);
void config_db_clear(struct config_db *db);
size_t config_db_count(const struct config_db *db);
/* Every entry, in no order: start with *pos = 0. */
struct fun_config *config_db_next(const struct config_db *db, size_t *pos);
/* Semver precedence: <0, 0, >0; text that is no version is lower than any that is. */
int version_compare(struct slice a, struct slice b);

#endif
