/*
 * fuzz_link.h: a cluster of one link, to svc@h, without sockets: what is sent on it must be well-formed and whole, and is
 * dropped. Stands in for cluster.c and dist_link.c.
 */
#ifndef BEAMGATE_FUZZ_LINK_H
#define BEAMGATE_FUZZ_LINK_H

#include "cluster.h"
#include "dist_message.h"

struct dist_link {
    handle_t handle;
    bool up, closed, writing;
    struct buf out;
};

struct cluster {
    struct dist_link link;
};

static struct cluster cluster;

struct slice dist_link_node(const struct dist_link *l)
{
    (void)l;
    return SLICE_LIT("svc@h");
}

uint64_t dist_link_flags(const struct dist_link *l)
{
    (void)l;
    return DIST_FLAGS_DEFAULT;
}

handle_t dist_link_handle(const struct dist_link *l)
{
    return l->handle;
}

struct buf *dist_link_begin(struct dist_link *l, enum link_urgency urgency)
{
    (void)urgency;
    assert_always(!l->writing);
    if (!l->up || l->closed)
        return NULL;
    l->writing = true;
    buf_reset(&l->out);
    buf_putc(&l->out, DIST_PASS_THROUGH);
    return &l->out;
}

/* What we send must be as readable as what we demand. */
int dist_link_commit(struct dist_link *l)
{
    struct dist_message m;
    struct err e;
    assert_always(l->writing);
    l->writing = false;
    assert_always(buf_ok(&l->out));
    int rc = dist_message_parse(buf_slice(&l->out), &m, &e);
    /* Wrapping a term that was just nested shallow enough may make it too deep for ourselves. */
    assert_always((rc == BG_OK || rc == BG_ELIMIT) && m.kind != DIST_UNKNOWN);
    return BG_OK;
}

void dist_link_abort(struct dist_link *l)
{
    assert_always(l->writing);
    l->writing = false;
}

void dist_link_close(struct dist_link *l, const char *reason)
{
    assert_always(reason != NULL);
    l->closed = true;
}

struct dist_link *cluster_link(const struct cluster *c, struct slice node)
{
    return c->link.up && slice_is(node, "svc@h") ? &cluster.link : NULL;
}

struct dist_link *cluster_link_by_handle(const struct cluster *c, handle_t h)
{
    return c->link.up && c->link.handle == h ? &cluster.link : NULL;
}

struct dist_link *cluster_next_link(const struct cluster *c, uint32_t *pos)
{
    return c->link.up && (*pos)++ == 0 ? &cluster.link : NULL;
}

#endif
