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

/* F-091: the messages of all rules that do not hold, in order, and fills service and version. Returns their number;
 * the texts are constants. */
enum { PUSH_PROBLEMS_MAX = 8 };
uint32_t push_config_problems(struct push_config *p, const char *problems[PUSH_PROBLEMS_MAX]);

/* Appends the PushConfig struct with all keys and an unreadable token (S-041 want). Says where service and version
 * stand in it. */
void push_config_put(const struct push_config *p, struct buf *out, struct slice *service, struct slice *version);

/* S-024: what is wrong with a config of a push of which none is valid. */
void push_config_put_invalid(struct slice item, struct buf *out);

#endif
