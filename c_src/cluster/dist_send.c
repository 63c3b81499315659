/*
 * dist_send.c: see dist_send.h. Invariant: a packet that was opened is committed or aborted before the call
 * returns, so no half-written packet is ever left on a link.
 */
#include "dist_send.h"

int dist_send_control(struct dist_link *l, enum link_urgency urgency, enum dist_op op, const struct slice *terms,
                      unsigned n)
{
    struct buf *b = l ? dist_link_begin(l, urgency) : NULL;
    if (!b)
        return BG_EGONE;
    dist_put_control(b, op, terms, n);
    return dist_link_commit(l);
}

int dist_send_pid(struct dist_link *l, enum link_urgency urgency, struct slice to, struct slice msg)
{
    struct buf *b = l ? dist_link_begin(l, urgency) : NULL;
    if (!b)
        return BG_EGONE;
    dist_put_send(b, to);
    term_put_raw(b, msg);
    return dist_link_commit(l);
}

int dist_send_name(struct dist_link *l, enum link_urgency urgency, struct slice from, struct slice name,
                   struct slice msg)
{
    struct buf *b = l ? dist_link_begin(l, urgency) : NULL;
    if (!b)
        return BG_EGONE;
    dist_put_reg_send(b, from, name);
    term_put_raw(b, msg);
    return dist_link_commit(l);
}
