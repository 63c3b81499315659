/*
 * dist_tls.c: see dist_tls.h. The distribution's own handshake begins at once and waits in l->out until TLS's is done,
 * so nobody above knows two handshakes, and one deadline holds for both.
 *
 * As OTP does it: whoever connects checks that the certificate is for the host part of the node's name; whoever accepts
 * checks that an authority it trusts has signed the caller's. That the caller may use its name is the cookie's affair.
 *
 * Invariants: bytes are encrypted in the order in which they stand in l->out, once; nothing of l->out is encrypted
 * before the peer's certificate has been found right; at most OWED_MAX bytes wait that a peer which does not read has
 * caused.
 */
#include "dist_tls.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PIECE = 256 * 1024, /* encrypted at once: the most that is held twice */
    OWED_MAX = 64 * 1024
};

struct dist_tls {
    struct tls_session *session;
    bool shaken;
    bool closed;
    struct buf owed; /* what TLS itself has to say */
    size_t at;       /* how far l->out is sealed */
    size_t piece;    /* of the piece sealed last */
    char reason[TLS_REASON_MAX];
};

/* The part behind the @, or NULL where anybody will do. */
static const char *expected_host(const struct dist_link *l)
{
    const char *at = l->outgoing && l->host->tls_check_host ? strchr(l->node, '@') : NULL;
    return at ? at + 1 : NULL;
}

int dist_tls_start(struct dist_link *l)
{
    struct dist_tls *t = calloc(1, sizeof(*t));
    if (!t)
        return BG_ENOMEM;
    l->tls = t;
    buf_init(&t->owed, OWED_MAX);
    t->session = tls_session_new(l->host->tls, l->outgoing ? TLS_CONNECTING : TLS_ACCEPTING, expected_host(l));
    if (!t->session)
        return BG_ENOMEM;
    if (l->outgoing)
        dist_tls_received(l, SLICE_NONE); /* the first word is ours */
    return BG_OK;
}

void dist_tls_free(struct dist_link *l)
{
    if (!l->tls)
        return;
    tls_session_free(l->tls->session);
    buf_fini(&l->tls->owed);
    free(l->tls);
    l->tls = NULL;
}

static void fail(struct dist_link *l, const struct err *e)
{
    struct dist_tls *t = l->tls;
    slice_cstr(slice_str(e->text), t->reason, sizeof(t->reason));
    dist_link_dirty(l); /* the alert should still be heard */
    dist_link_close(l, t->reason);
}

/* False while there is nothing to read yet. */
static bool shake(struct dist_link *l, struct slice *in)
{
    struct dist_tls *t = l->tls;
    struct err e = {0};
    int rc = tls_handshake(t->session, in, &t->owed, &e);
    if (rc != BG_OK && rc != BG_EMORE)
        fail(l, &e);
    t->shaken = rc == BG_OK;
    dist_link_dirty(l); /* an answer of TLS, or what has waited */
    return t->shaken;
}

/* One record after the other, for as long as somebody wants to know. */
void dist_tls_received(struct dist_link *l, struct slice in)
{
    struct dist_tls *t = l->tls;
    struct err e = {0};
    if (!t->shaken && !shake(l, &in))
        return;
    while (l->state != LINK_CLOSED) {
        uint8_t *room = NULL;
        size_t size = dist_link_room(l, &room);
        long n = size ? tls_read(t->session, &in, &t->owed, room, size, &e) : BG_ENOMEM;
        if (n == BG_EGONE)
            dist_link_close(l, "closed by peer");
        else if (n == BG_ENOMEM)
            dist_link_close(l, "out of memory");
        else if (n < 0)
            fail(l, &e);
        if (n <= 0)
            break;
        dist_link_received(l, room, (size_t)n);
    }
    if (t->owed.len || !buf_ok(&t->owed))
        dist_link_dirty(l);
}

bool dist_tls_seal(struct dist_link *l, struct buf *sealed)
{
    struct dist_tls *t = l->tls;
    size_t rest = l->out.len - t->at;
    if (!buf_ok(&t->owed))
        dist_link_close(l, "peer does not read what TLS owes it");
    buf_reset(sealed);
    buf_add_slice(sealed, buf_slice(&t->owed));
    buf_fini(&t->owed);
    t->piece = t->shaken ? (rest < PIECE ? rest : PIECE) : 0;
    if (t->piece && tls_write(t->session, slice_make(l->out.data + t->at, t->piece), sealed) != BG_OK) {
        dist_link_close(l, "cannot encrypt: out of memory, or broken before");
        t->piece = 0;
        return false;
    }
    t->at += t->piece;
    if (t->at == l->out.len) {
        buf_shrink(&l->out, PIECE);
        t->at = 0;
    } else if (t->at >= l->out.len / 2 && !l->packet_open) {
        buf_consume(&l->out, t->at);
        t->at = 0;
    }
    return sealed->len > 0;
}

size_t dist_tls_sealed(const struct dist_link *l)
{
    return l->tls->piece;
}

size_t dist_tls_at(const struct dist_link *l)
{
    return l->tls ? l->tls->at : 0;
}

bool dist_tls_goodbye(struct dist_link *l)
{
    struct dist_tls *t = l->tls;
    if (t->closed)
        return false;
    t->closed = true;
    tls_close(t->session, &t->owed);
    return t->owed.len > 0;
}

bool dist_tls_to_blame(const struct dist_link *l)
{
    return l->tls && (!l->tls->shaken || l->tls->reason[0]);
}

const char *dist_tls_version(const struct dist_link *l)
{
    return l->tls ? tls_version(l->tls->session) : "no";
}
