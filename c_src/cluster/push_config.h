/*
 * push_config.h: a PushConfig as it came, taken apart and judged. Private to config_receiver and push_config.
 */
#ifndef BEAMGATE_PUSH_CONFIG_H
#define BEAMGATE_PUSH_CONFIG_H

#include "fun_config.h"

/* The keys in the order of the struct (F-090), with what stands for a missing one. */
#define PUSH_FIELDS(X)                                                                                                 \
    X(SERVICE, "service", NIL)                                                                                         \
    X(NODES, "nodes", NIL)                                                                                             \
    X(CONFIG_VERSION, "config_version", NIL)                                                                           \
    X(FUN_CONFIGS, "fun_configs", NIL)                                                                                 \
    X(MODULE, "module", NIL)                                                                                           \
    X(FUNCTION, "function", NIL)                                                                                       \
    X(ARGS, "args", EMPTY_LIST)                                                                                        \
    X(VERSION_MODULE, "version_module", NIL)                                                                           \
    X(VERSION_FUNCTION, "version_function", NIL)                                                                       \
    X(VERSION_ARGS, "version_args", EMPTY_LIST)                                                                        \
    X(PUSH_TOKEN, "push_token", NIL)

enum push_field {
#define X(id, name, def) PUSH_##id,
    PUSH_FIELDS(X)
#undef X
        PUSH_FIELD_COUNT
};

/* Slices of the pushed term, or of constants. */
struct push_config {
    struct slice field[PUSH_FIELD_COUNT]; /* one term each, never empty */
    struct slice service;                 /* text; with the next, only good after push_config_problems() said 0 */
    struct slice version;                 /* text */
};

/* S-020: a PushConfig struct, or a plain map with atom or binary keys. False for anything else. term has passed
 * term_check(). */
bool push_config_read(struct push_config *p, struct slice term) MUST_CHECK;

/* F-091: the rules, some configs at a time. */
enum { PUSH_PROBLEMS_MAX = 8 };
struct push_check {
    const char *problems[PUSH_PROBLEMS_MAX]; /* in the order of the rules; constants */
    uint32_t count;
    /* private */
    struct push_config *p;
    struct term_reader r;
    uint32_t left;
    const char *wrong_list;
    bool other_service;
    bool bad_version;
};
/* Fills p's service and version. p stays until the end. */
void push_check_begin(struct push_check *c, struct push_config *p);
/* Looks at up to max configs. True when it is done: then problems and count stand. */
bool push_check_step(struct push_check *c, uint32_t max);

/* Appends the PushConfig struct with all keys and an unreadable token (S-041 want). Fills *copy with the fields where
 * they stand in out, unless out has failed. */
void push_config_put(const struct push_config *p, struct buf *out, struct push_config *copy);

/* S-024: what is wrong with a config of a push of which none is valid. */
void push_config_put_invalid(struct slice item, struct buf *out);

#endif
