/*
 * dist_message.h: distribution packets as values: which control message it is, and its fields as
 * terms (08 §2.2). Pure reading and writing; what a message means is dist_dispatch's affair, and
 * sending is dist_send's.
 */
#ifndef BEAMGATE_DIST_MESSAGE_H
#define BEAMGATE_DIST_MESSAGE_H

#include "term.h"

/* Operation numbers of the protocol (08 §2.2). Those with a trace token or a payload are folded into
 * the plain one by the parser: see dist_message.kind. */
enum dist_op {
    DIST_UNKNOWN = 0, /* no number of the protocol: a well-formed control tuple that we do not know */
    DIST_LINK = 1,
    DIST_SEND = 2,
    DIST_EXIT = 3,
    DIST_UNLINK = 4,
    DIST_REG_SEND = 6,
    DIST_GROUP_LEADER = 7,
    DIST_EXIT2 = 8,
    DIST_SEND_TT = 12,
    DIST_EXIT_TT = 13,
    DIST_REG_SEND_TT = 16,
    DIST_EXIT2_TT = 18,
    DIST_MONITOR_P = 19,
    DIST_DEMONITOR_P = 20,
    DIST_MONITOR_P_EXIT = 21,
    DIST_SEND_SENDER = 22,
    DIST_SEND_SENDER_TT = 23,
    DIST_PAYLOAD_EXIT = 24,
    DIST_PAYLOAD_EXIT_TT = 25,
    DIST_PAYLOAD_EXIT2 = 26,
    DIST_PAYLOAD_EXIT2_TT = 27,
    DIST_PAYLOAD_MONITOR_P_EXIT = 28,
    DIST_SPAWN_REQUEST = 29,
    DIST_SPAWN_REQUEST_TT = 30,
    DIST_SPAWN_REPLY = 31,
    DIST_SPAWN_REPLY_TT = 32,
    DIST_ALIAS_SEND = 33,
    DIST_ALIAS_SEND_TT = 34,
    DIST_UNLINK_ID = 35,
    DIST_UNLINK_ID_ACK = 36,
    DIST_OP_COUNT
};

enum { DIST_PASS_THROUGH = 112, DIST_SPAWN_FLAG_LINK = 1, DIST_SPAWN_FLAG_MONITOR = 2 };

/* Every field is an encoded term, empty where the message has none. Which are set, by kind:
 *   SEND                   from (the sender, of any kind; empty for op 2), to, payload
 *   ALIAS_SEND             from (as above), ref, payload
 *   REG_SEND               from, to (atom), payload           EXIT, EXIT2  from, to, reason
 *   LINK, UNLINK           from, to                UNLINK_ID(_ACK)        id, from, to
 *   GROUP_LEADER           from (the leader), to   MONITOR_P, DEMONITOR_P from, to (pid or atom), ref
 *   MONITOR_P_EXIT         from (pid or atom), to, ref, reason
 *   SPAWN_REQUEST          ref, from, group_leader, mfa, options, payload (the argument list)
 *   SPAWN_REPLY            ref, to, flags, result (pid, or an atom that says why not) */
struct dist_message {
    enum dist_op kind; /* SEND for 2, 12, 22, 23; EXIT for 3, 13, 24, 25; and so on */
    uint32_t op;       /* as it stood on the wire */
    struct slice from;
    struct slice to;
    struct slice ref;
    struct slice reason;
    struct slice id;
    struct slice flags;
    struct slice result;
    struct slice group_leader;
    struct slice mfa;
    struct slice options;
    struct slice payload;
    struct slice unread; /* bytes of a message that is nested too deep, not checked; see dist_message_parse() */
};

/* Reads a whole packet ('p', 131, control tuple [, 131, message]) after checking every byte of it; the
 * slices point into packet. Returns 0 (kind DIST_UNKNOWN for an operation that is not ours), BG_EINVAL when it is
 * malformed, BG_ELIMIT when only the message is nested deeper than we read: then the control fields are set,
 * the payload is empty, and unread holds the message's bytes for whoever wants a look at its head. *e says what was
 * wrong. */
int dist_message_parse(struct slice packet, struct dist_message *m, struct err *e) MUST_CHECK;

/* What nearly all packets of a busy gateway are: {22, From, To} and {Tag, Result}, Tag being an integer. */
struct dist_answer {
    struct slice from;
    int64_t tag;
    struct slice result;
};

/* Reads such a packet if its To is encoded as `to` is, after checking every byte of it. False: it is another, or
 * malformed; dist_message_parse() knows. */
bool dist_message_answer(struct slice packet, struct slice to, struct dist_answer *a) MUST_CHECK;

/* Takes apart the {M, F, Arity} of a SPAWN_REQUEST: text of the atoms. */
int dist_message_mfa(struct slice mfa, struct slice *module, struct slice *function, uint32_t *arity) MUST_CHECK;

/* Appends 131 and the control tuple {op, terms...}. A message, if any, follows: term_put_version() and the term. */
void dist_put_control(struct buf *b, enum dist_op op, const struct slice *terms, unsigned n);

/* The same up to the operation: n terms must follow. */
void dist_put_head(struct buf *b, enum dist_op op, unsigned n);

/* Control tuples whose fields are not all at hand as terms. The version byte of the message that follows is
 * written too.
 *   reg_send: {6, From, '', Name}; send: {2, '', To}; alias_send: {33, From, Ref}. */
void dist_put_reg_send(struct buf *b, struct slice from, struct slice name);
void dist_put_send(struct buf *b, struct slice to);
void dist_put_alias_send(struct buf *b, struct slice from, struct slice ref);

#endif
