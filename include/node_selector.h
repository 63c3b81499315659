/*
 * node_selector.h: on which nodes to try a call, in which order (E-160..E-169). Choices by hash, round robin and
 * stickiness fall as on an Elixir gateway with the same list of nodes.
 */
#ifndef BEAMGATE_NODE_SELECTOR_H
#define BEAMGATE_NODE_SELECTOR_H

#include "fun_config.h"

struct node_selector;

enum {
    NODE_STICKY_MAX = 100000, /* E-167 */
    NODE_STICKY_AGE_MS = 3600000
};

/* What a choice may depend on. The request's fields are raw, checked JSON; ptr NULL where they are missing. */
struct node_choice {
    struct slice request_id;
    struct slice user_id;
    struct slice device_id;
    struct slice service;
    struct slice request_type;
    struct slice version;
    struct slice args;         /* the object */
    struct slice session_user; /* text; when ptr is not NULL it stands for user_id (E-002) */
    const struct slice *nodes; /* the nodes that a nodes MFA gave; NULL: those of the config */
    uint32_t nodes_count;
    uint64_t now_us;
    /* Nodes for which it says false are tried last. NULL: all are taken to be up. */
    bool (*node_up)(void *ctx, struct slice node);
    void *ctx;
};

/* NULL without memory. */
struct node_selector *node_selector_new(void) MUST_CHECK;
void node_selector_free(struct node_selector *s);

/* Writes up to max indices into the list of nodes to order, the first to try first, each once. Returns how many; 0 when
 * there is no node (E-161). */
uint32_t node_selector_choose(struct node_selector *s, const struct fun_config *fc, const struct node_choice *choice,
                              uint16_t *order, uint32_t max);

/* The next round robin begins at the first node again. */
void node_selector_reset_turn(struct node_selector *s);
/* Remembered sticky choices. */
size_t node_selector_sticky_count(const struct node_selector *s);
/* One of them, for people. Who sticks is kept as hashes (hash_bytes()), and so is the node's name. */
struct node_sticky_view {
    uint64_t service;
    uint64_t request_type;
    uint64_t value;
    uint64_t node;
    uint64_t created_us;
};
/* Walks them: start with *pos = 0; false at the end. When choices change between two steps, one may be shown twice or not
 * at all. */
bool node_selector_next_sticky(const struct node_selector *s, size_t *pos, struct node_sticky_view *v);
/* Forgets those that are too old (S-062) and returns how many. Nobody must call it: new choices push old ones out. */
size_t node_selector_cleanup(struct node_selector *s, uint64_t now_us);
/* Replaces random_u64(): tests and the simulator choose the chances. */
void node_selector_set_random(struct node_selector *s, uint64_t (*next)(void *ctx), void *ctx);
/* Lowers the bound of remembered choices, for tests; 1..NODE_STICKY_MAX. */
void node_selector_set_sticky_max(struct node_selector *s, size_t max);

#endif
