/*
 * node_identity.h: who this node is: name, cookie, creation, distribution flags. Made once at start
 * through erl_interface (ei_connect_xinit), read by everybody else.
 */
#ifndef BEAMGATE_NODE_IDENTITY_H
#define BEAMGATE_NODE_IDENTITY_H

#include "term.h"

/* 08 "full": plain libei flags plus SPAWN, ALIAS, DIST_MONITOR_NAME, UNICODE_IO, SEND_SENDER,
 * BIG_SEQTRACE_LABELS, EXIT_PAYLOAD. No PUBLISHED: the node is hidden. */
#define DIST_FLAGS_DEFAULT UINT64_C(0xd075f5fbc)

enum { NODE_NAME_MAX = 255, NODE_COOKIE_MAX = 512 };

struct ei_cnode_s;

struct node_identity {
    char name[NODE_NAME_MAX + 1];  /* alive@host */
    char alive[NODE_NAME_MAX + 1]; /* the part before @ */
    char host[NODE_NAME_MAX + 1];  /* the part after @ */
    char cookie[NODE_COOKIE_MAX + 1];
    uint32_t creation; /* random, >= 4, new at each start (D-08) */
    uint64_t flags;
    bool long_names;       /* host has a dot (or is an IPv6 address) */
    struct ei_cnode_s *ei; /* erl_interface's own record, for ei_publish */
};

/* name: "alive@host" with both parts non-empty and of legal characters; cookie: 1..512 bytes, none of them NUL
 * (ei_publish and ei_connect_xinit take C strings). flags start as DIST_FLAGS_DEFAULT.
 * Returns 0, or BG_EINVAL/BG_ESYS with a text for the operator. */
int node_identity_init(struct node_identity *id, struct slice name, struct slice cookie, struct err *e) MUST_CHECK;
/* Also wipes the cookie. */
void node_identity_fini(struct node_identity *id);

/* Splits "alive@host". False unless there is exactly one @ with printable ASCII on both sides and at most
 * NODE_NAME_MAX bytes in all: what a node may call itself, and therefore also what may become a log field. */
bool node_name_split(struct slice name, struct slice *alive, struct slice *host);

/* The pid term of a local process: handle index as id, generation as serial. */
void node_put_pid(const struct node_identity *id, struct buf *b, handle_t h);
/* A reference of ours that carries a handle: words = 3: index, generation, 0. */
void node_put_ref(const struct node_identity *id, struct buf *b, handle_t h);
/* The handle behind a pid or ref of ours, or HANDLE_NONE when node or creation differ. */
handle_t node_pid_handle(const struct node_identity *id, const struct term_pid *pid);
handle_t node_ref_handle(const struct node_identity *id, const struct term_ref *ref);

#endif
