/*
 * gen_call.h: OTP's call protocol as the called one sees it: {'$gen_call', {Pid, Tag}, Request} and the reply to it.
 * The tag is opaque and copied byte for byte; when it carries an alias the reply goes to that, so that nothing arrives
 * after the caller gave up (08 §3.3, D-14).
 */
#ifndef BEAMGATE_GEN_CALL_H
#define BEAMGATE_GEN_CALL_H

#include "dist_link.h"
#include "term.h"

struct gen_call {
    struct slice pid;     /* of the caller */
    struct slice tag;     /* any term */
    struct slice request; /* any term */
    bool system;          /* of OTP's module sys */
};

/* True when msg is {'$gen_call', {Pid, Tag}, Request} or {system, {Pid, Tag}, Request}. */
bool gen_call_read(struct slice msg, struct gen_call *c);
/* {'$gen_cast', Request}. */
bool gen_cast_read(struct slice msg, struct slice *request);
/* Sends {Tag, Reply} from self_pid (a pid term). 0, BG_EGONE or BG_ENOMEM. */
int gen_reply(struct dist_link *l, struct slice self_pid, const struct gen_call *c, struct slice reply);
/* {error, notsup}: what a call gets that nobody understands. */
int gen_reply_notsup(struct dist_link *l, struct slice self_pid, const struct gen_call *c);

#endif
