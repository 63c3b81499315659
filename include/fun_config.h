/*
 * fun_config.h: one function that clients may call, compiled from a FunConfig term (F-001..F-067):
 * a C struct for the request path and the term it came as, for hooks and diagnostics. Counted:
 * a request in flight keeps its config alive when a new one takes its place.
 */
#ifndef BEAMGATE_FUN_CONFIG_H
#define BEAMGATE_FUN_CONFIG_H

#include "arena.h"
#include "term.h"

enum response_type { RESPONSE_SYNC, RESPONSE_ASYNC, RESPONSE_STREAM, RESPONSE_NONE };
enum nodes_kind { NODES_LIST, NODES_LOCAL, NODES_MFA };
enum choose_node_mode { CHOOSE_RANDOM, CHOOSE_HASH, CHOOSE_HASH_KEY, CHOOSE_ROUND_ROBIN, CHOOSE_STICKY };
enum permission_kind { PERMIT_ALL, PERMIT_AUTHENTICATED, PERMIT_ARG, PERMIT_ROLE };
enum retry_mode { RETRY_NONE, RETRY_SAME_NODE, RETRY_ALL_NODES };
enum arg_type {
    ARG_STRING,
    ARG_NUM,
    ARG_BOOLEAN,
    ARG_UUID,
    ARG_DATETIME,
    ARG_NAIVE_DATETIME,
    ARG_LIST,
    ARG_LIST_STRING,
    ARG_LIST_NUM,
    ARG_LIST_UUID,
    ARG_LIST_MAP,
    ARG_MAP,
    ARG_ANY
};

/* 0 in a limit: the default of the gateway's configuration (F-067). */
struct arg_spec {
    struct slice name;
    enum arg_type type;
    uint64_t max_bytes;
    uint64_t max_items;
    uint64_t max_item_bytes;
    bool allow_nil;
    bool checked_map;          /* a map spec with options: E-127 applies */
    struct slice default_term; /* ptr NULL: none */
    struct slice *required;    /* keys, map only */
    uint32_t required_count;
    struct slice *accept;
    uint32_t accept_count;
};

struct mfa {
    struct slice module;
    struct slice function;
    struct slice args; /* the encoded elements, one after another, without list head */
    uint32_t args_count;
    bool present;
};

struct fun_config {
    uint32_t refs;
    struct slice request_type;
    struct slice service; /* text of the atom or binary (E-036 want) */
    struct slice version; /* ptr NULL: nil */
    enum nodes_kind nodes_kind;
    struct slice *nodes; /* node names, as configured, NODES_LIST */
    uint32_t nodes_count;
    struct mfa nodes_mfa;
    enum choose_node_mode choose_node_mode;
    struct slice choose_key;
    uint32_t timeout_ms; /* 0: infinity */
    struct mfa mfa;
    struct arg_spec *args; /* in byte order of their names (E-102) */
    uint32_t args_count;
    uint32_t *order; /* indices into args in call order; order_count == 0 with order_map false: see E-104 */
    uint32_t order_count;
    bool order_map;
    enum response_type response_type;
    bool request_info;
    enum permission_kind permission;
    struct slice permission_arg;
    struct slice *roles;
    uint32_t roles_count;
    struct mfa permission_callback;
    bool disabled;
    enum retry_mode retry_mode;
    uint32_t retry_count;
    struct mfa before_execute;
    struct mfa after_execute;
    uint32_t hook_timeout_ms;
    uint32_t unknown_keys;  /* keys of the struct that this version does not know (F-020); they stay in term */
    struct slice term;      /* the struct as received, with all 18 keys, service enforced and version normalised */
    struct slice origin;   /* the node that delivered it; empty: not known */
    struct slice term_head; /* private: term without its last value, which is that of `disabled` */
    struct arena memory;    /* private: owns every slice above */
};

/* Bounds on what a service may send. */
enum {
    FUN_CONFIG_TERM_MAX = 256 * 1024,
    FUN_CONFIG_NAME_MAX = 512, /* bytes of a request type, service or version */
    FUN_CONFIG_ARGS_MAX = 255, /* arguments, and arguments of an MFA */
    FUN_CONFIG_LIST_MAX = 1024 /* nodes, roles, keys of a map argument */
};

/* Most reasons one config can collect: the texts of F-030..F-045, some followed by one that says more. */
enum { FUN_CONFIG_REASONS = 24, FUN_CONFIG_REASON_MAX = 200 };
struct fun_config_reasons {
    uint32_t count;
    uint32_t broken; /* rules of the library itself among them, F-030..F-045; the others are this gateway's bounds */
    char text[FUN_CONFIG_REASONS][FUN_CONFIG_REASON_MAX];
};
/* Adds a text, cut where it is too long; what does not fit any more is dropped. */
void fun_config_reason(struct fun_config_reasons *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Compiles a FunConfig struct or plain map with atom or binary keys; term has passed term_check(). Missing keys take
 * their defaults (F-019, F-020), unknown keys are ignored. service, when given (ptr not NULL), overrides the config's
 * (S-057). Returns a config with one reference, or NULL with every failing rule in *why, in the order of F-030..F-045.
 */
struct fun_config *fun_config_from_term(struct slice term, struct slice service,
                                        struct fun_config_reasons *why) MUST_CHECK;
/* One more reference; returns fc. */
struct fun_config *fun_config_ref(struct fun_config *fc);
/* Remembers the node that delivered it, copied. BG_ENOMEM. */
int fun_config_set_origin(struct fun_config *fc, struct slice node) MUST_CHECK;
/* NULL is fine. */
void fun_config_unref(struct fun_config *fc);
/* Appends the struct as it holds now: fc->term with fc->disabled. */
void fun_config_put_term(const struct fun_config *fc, struct buf *out);
/* The value under one of the 18 keys, as atom or binary, of a map that need not be valid: what to show of a refused
 * one. */
bool fun_config_field(struct slice term, const char *key, struct slice *value);
/* The text of such a value, an atom's or a binary's; ptr NULL when it is missing, nil or no text. */
struct slice fun_config_field_text(struct slice term, const char *key);
/* The elements of a proper list of at most FUN_CONFIG_ARGS_MAX terms, one after another without list head: they stay in
 * the list, or come from a when it is a STRING_EXT. 0, BG_EINVAL, BG_ENOMEM. */
int fun_config_args(struct arena *a, struct slice list, struct slice *args, uint32_t *count) MUST_CHECK;
/* As a FunConfig writes them: "list_string", "async". Constants. */
const char *arg_type_name(enum arg_type type);
const char *response_type_name(enum response_type type);
/* The argument called name, or NULL. *index may be NULL. */
const struct arg_spec *fun_config_arg(const struct fun_config *fc, struct slice name, uint32_t *index);
/* The argument that a raw key of checked JSON names, or NULL. */
const struct arg_spec *fun_config_arg_of_key(const struct fun_config *fc, struct slice raw_key, uint32_t *index);

#endif
