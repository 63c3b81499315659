/*
 * dist_handshake.h: the distribution handshake, both roles, as a state machine without I/O: bytes of the peer
 * in, bytes for the peer out. erl_dist_protocol "Distribution Handshake", protocol version 6; dist_util.erl is the
 * measure for what a BEAM does with each step.
 *
 * Use: init, then feed what arrives until HS_DONE or HS_FAILED. Twice on the way the caller, who knows the
 * other connections, is asked: HS_NAMED (accepting: who calls? answer with dist_handshake_status) and HS_ALIVE
 * (dialling: the peer believes an older connection of ours is up; answer with dist_handshake_go_on).
 */
#ifndef BEAMGATE_DIST_HANDSHAKE_H
#define BEAMGATE_DIST_HANDSHAKE_H

#include "buf.h"
#include "node_identity.h"

/* The two mandatory sets of 08 §1.2. A peer must offer DIST_FLAGS_MANDATORY: that is OTP 25's set, plus what
 * OTP 26 added and OTP 24 had, because our pids and references need V4_NC. */
#define DIST_FLAGS_MANDATORY_25 UINT64_C(0x1070f94)
#define DIST_FLAG_MANDATORY_25_DIGEST UINT64_C(0x4000000)
#define DIST_FLAG_HANDSHAKE_23 UINT64_C(0x1000000)
#define DIST_FLAG_UNLINK_ID UINT64_C(0x2000000)
#define DIST_FLAG_V4_NC UINT64_C(0x400000000)
#define DIST_FLAG_SPAWN UINT64_C(0x100000000)
#define DIST_FLAG_NAME_ME UINT64_C(0x200000000)
#define DIST_FLAG_PUBLISHED UINT64_C(0x1)
#define DIST_FLAGS_MANDATORY (DIST_FLAGS_MANDATORY_25 | DIST_FLAG_V4_NC | DIST_FLAG_UNLINK_ID)

/* A packet of the handshake is at most this long (the longest that is sent: 16 + 255 bytes of name; peers may append
 * what we do not know). */
enum { HANDSHAKE_PACKET_MAX = 512 };

enum handshake_role { HS_ACCEPTING, HS_DIALLING };

/* Bytes of the length in front of each packet of the handshake: over TLS a BEAM uses those of the packets that follow. */
enum handshake_head { HS_HEAD_TCP = 2, HS_HEAD_TLS = 4 };

enum handshake_result {
    HS_MORE,  /* nothing to decide: come back with more bytes */
    HS_NAMED, /* accepting: h->peer calls; call dist_handshake_status(), then feed the rest */
    HS_ALIVE, /* dialling: call dist_handshake_go_on(), then feed the rest */
    HS_DONE,  /* both sides have proved the cookie; what was not used is the first packet's beginning (D-05) */
    HS_FAILED /* e says why (code BG_EEXIST: it only gave way to another connection of the two nodes); write out what is
               * in out, which may hold a refusal, then close */
};

enum handshake_status {
    HS_STATUS_OK,
    HS_STATUS_OK_SIMULTANEOUS, /* our own connect to it will lose */
    HS_STATUS_NOK,             /* our own connect to it goes on, this one ends */
    HS_STATUS_NOT_ALLOWED,
    HS_STATUS_ALIVE /* a connection to it is up: does it still want this one? */
};

enum handshake_step {
    HS_WAIT_NAME,       /* accepting: 'N' or 'n' */
    HS_WAIT_DECISION,   /* accepting: our caller's turn */
    HS_WAIT_ALIVE,      /* accepting: 's' true | false after alive */
    HS_WAIT_COMPLEMENT, /* accepting: 'c' after an old 'n' */
    HS_WAIT_REPLY,      /* accepting: 'r' */
    HS_WAIT_STATUS,     /* dialling: 's' */
    HS_WAIT_GO_ON,      /* dialling: our caller's turn */
    HS_WAIT_CHALLENGE,  /* dialling: 'N' */
    HS_WAIT_ACK,        /* dialling: 'a' */
    HS_ENDED
};

struct dist_handshake {
    const struct node_identity *self;
    enum handshake_role role;
    enum handshake_head head;
    enum handshake_step step;
    enum handshake_status status; /* accepting: what was answered */
    bool old_name;                /* accepting: the peer sent 'n': high flags and creation come later */
    bool was_alive;               /* the peer (dialling) or we (accepting) believed an older connection up */
    char peer[NODE_NAME_MAX + 1]; /* dialling: whom we want; accepting: who calls, from HS_NAMED on */
    uint64_t peer_flags;
    uint64_t flags; /* ours & theirs, valid at HS_DONE */
    uint32_t peer_creation;
    uint32_t challenge; /* ours */
    uint16_t have;      /* bytes in packet */
    uint8_t packet[4 + HANDSHAKE_PACKET_MAX];
};

/* Accepting: peer is ignored. Dialling: peer is the wanted node's name (valid per node_name_split), and our first
 * packet is appended to out. self must outlive h. */
void dist_handshake_init(struct dist_handshake *h, enum handshake_role role, enum handshake_head head,
                         const struct node_identity *self, struct slice peer, struct buf *out);
/* Takes bytes of the peer up to the end of the packet that needs an answer from the caller or ends the handshake.
 * *used: how many of them were taken; the caller keeps the rest for the next call or, after HS_DONE, as the beginning
 * of the link's packets. Answers are appended to out. Must not be called while a decision is awaited or after the end.
 */
enum handshake_result dist_handshake_feed(struct dist_handshake *h, struct slice in, size_t *used, struct buf *out,
                                          struct err *e) MUST_CHECK;
/* Answers HS_NAMED. Returns HS_MORE, or HS_FAILED for NOK and NOT_ALLOWED (written to out). */
enum handshake_result dist_handshake_status(struct dist_handshake *h, enum handshake_status status, struct buf *out,
                                            struct err *e) MUST_CHECK;
/* Answers HS_ALIVE. Returns HS_MORE, or HS_FAILED when go_on is false. */
enum handshake_result dist_handshake_go_on(struct dist_handshake *h, bool go_on, struct buf *out,
                                           struct err *e) MUST_CHECK;
/* What it most likely means for the operator that the peer closed, or said nothing more, at this step. */
const char *dist_handshake_hint(const struct dist_handshake *h);

/* The rule for a call from `peer` (net_kernel accept_pending): up: a connection to it is up; dialling: we have sent it
 * our name ourselves and wait. Of two simultaneous connects the one of the node with the greater name survives. */
enum handshake_status dist_handshake_decide(const char *self, const char *peer, bool up, bool dialling);

#endif
