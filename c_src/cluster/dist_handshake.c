/*
 * dist_handshake.c: see dist_handshake.h. The steps, with the packets (each behind a length of h->head bytes):
 *
 *   dialling                                       accepting
 *     'N' flags:64 creation:32 len:16 name     -->
 *                                              <-- 's' ok | ok_simultaneous | nok | not_allowed | alive | named:...
 *    ['s' true | false  after alive]           -->
 *                                              <-- 'N' flags:64 challenge:32 creation:32 len:16 name
 *    ['c' flags_high:32 creation:32 after 'n'] -->
 *     'r' challenge:32 digest:16               -->
 *                                              <-- 'a' digest:16
 *
 * digest = MD5(cookie ++ decimal text of the other's challenge): the protocol's choice, not ours.
 *
 * Invariant: no byte of the peer is believed before its length is checked, nothing but its name is believed before
 * it proved the cookie, and a failed handshake never becomes a good one (HS_ENDED is final).
 * It opens nothing, keeps no time, and knows no other connection: those are cluster.c's.
 */
#include "dist_handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

enum { DIGEST_LEN = 16 };

_Static_assert((DIST_FLAGS_DEFAULT & DIST_FLAGS_MANDATORY) == DIST_FLAGS_MANDATORY, "we offer what we demand");

/* Names for the flags that a peer can lack, for the operator. */
static const struct {
    uint64_t flag;
    const char *name;
} flag_name[] = {
    {0x4, "EXTENDED_REFERENCES"},   {0x10, "FUN_TAGS"},          {0x80, "NEW_FUN_TAGS"},
    {0x100, "EXTENDED_PIDS_PORTS"}, {0x200, "EXPORT_PTR_TAG"},   {0x400, "BIT_BINARIES"},
    {0x800, "NEW_FLOATS"},          {0x10000, "UTF8_ATOMS"},     {0x20000, "MAP_TAG"},
    {0x40000, "BIG_CREATION"},      {0x1000000, "HANDSHAKE_23"}, {0x2000000, "UNLINK_ID"},
    {DIST_FLAG_V4_NC, "V4_NC"},
};

static const char *const status_text[] = {
    [HS_STATUS_OK] = "ok",       [HS_STATUS_OK_SIMULTANEOUS] = "ok_simultaneous",
    [HS_STATUS_NOK] = "nok",     [HS_STATUS_NOT_ALLOWED] = "not_allowed",
    [HS_STATUS_ALIVE] = "alive",
};

static enum handshake_result fail(struct dist_handshake *h, struct err *e, const char *text)
{
    h->step = HS_ENDED;
    err_set(e, BG_EINVAL, 0, "%s", text);
    return HS_FAILED;
}

/* No fault of anybody: there is, or will be, another connection to the same node. */
static enum handshake_result give_way(struct dist_handshake *h, struct err *e, const char *text)
{
    h->step = HS_ENDED;
    err_set(e, BG_EEXIST, 0, "%s", text);
    return HS_FAILED;
}

/* out: what goes to the peer */

static void put_u32(struct buf *out, uint32_t v)
{
    uint8_t b[4];
    put_be32(b, v);
    buf_add(out, b, sizeof(b));
}

static void put_u16(struct buf *out, size_t v)
{
    uint8_t b[2];
    put_be16(b, (uint16_t)v);
    buf_add(out, b, sizeof(b));
}

/* The length of the packet that follows. */
static void put_head(const struct dist_handshake *h, struct buf *out, size_t len)
{
    if (h->head == HS_HEAD_TLS)
        put_u32(out, (uint32_t)len);
    else
        put_u16(out, len);
}

static void put_flags(struct buf *out, uint64_t flags)
{
    put_u32(out, (uint32_t)(flags >> 32));
    put_u32(out, (uint32_t)flags);
}

static void put_name(struct buf *out, const char *name)
{
    put_u16(out, strlen(name));
    buf_puts(out, name);
}

static void send_name(const struct dist_handshake *h, struct buf *out)
{
    const struct node_identity *self = h->self;
    put_head(h, out, 1 + 8 + 4 + 2 + strlen(self->name));
    buf_putc(out, 'N');
    put_flags(out, self->flags);
    put_u32(out, self->creation);
    put_name(out, self->name);
}

/* A node that asked for a name looks for NAME_ME among the flags of both (dist_util:do_setnode/1). */
static void send_challenge(struct dist_handshake *h, struct buf *out)
{
    put_head(h, out, 1 + 8 + 4 + 4 + 2 + strlen(h->self->name));
    buf_putc(out, 'N');
    put_flags(out, h->self->flags | (h->peer_flags & DIST_FLAG_NAME_ME));
    put_u32(out, h->challenge);
    put_u32(out, h->self->creation);
    put_name(out, h->self->name);
    h->step = h->old_name ? HS_WAIT_COMPLEMENT : HS_WAIT_REPLY;
}

static void send_status(const struct dist_handshake *h, const char *text, struct buf *out)
{
    put_head(h, out, 1 + strlen(text));
    buf_putc(out, 's');
    buf_puts(out, text);
}

/* "named:" len:16 name creation:32, for a node that asked us to name it. */
static void send_named(const struct dist_handshake *h, struct buf *out)
{
    put_head(h, out, 1 + strlen("named:") + 2 + strlen(h->peer) + 4);
    buf_puts(out, "snamed:");
    put_name(out, h->peer);
    put_u32(out, h->peer_creation);
}

/* Digests */

/* False when OpenSSL has no MD5 (a FIPS provider): then no handshake can succeed. */
static bool make_digest(const struct node_identity *self, uint32_t challenge, uint8_t digest[DIGEST_LEN])
{
    char text[NODE_COOKIE_MAX + 16];
    int n = snprintf(text, sizeof(text), "%s%u", self->cookie, (unsigned)challenge);
    uint8_t md[EVP_MAX_MD_SIZE];
    unsigned md_len = 0;
    bool ok = EVP_Digest(text, (size_t)n, md, &md_len, EVP_md5(), NULL) == 1 && md_len == DIGEST_LEN;
    OPENSSL_cleanse(text, sizeof(text));
    if (ok)
        memcpy(digest, md, DIGEST_LEN);
    return ok;
}

/* D-04: the comparison takes the same time wherever the two differ. */
static bool digest_proves(const struct dist_handshake *h, const uint8_t *theirs)
{
    uint8_t ours[DIGEST_LEN];
    return make_digest(h->self, h->challenge, ours) && CRYPTO_memcmp(ours, theirs, DIGEST_LEN) == 0;
}

/* Flags */

static uint64_t expand_flags(uint64_t flags)
{
    return flags & DIST_FLAG_MANDATORY_25_DIGEST ? flags | DIST_FLAGS_MANDATORY_25 : flags;
}

/* Returns BG_OK, or names what is missing. */
static int check_flags(uint64_t flags, uint64_t mandatory, struct err *e)
{
    uint64_t missing = mandatory & ~flags;
    if (!missing)
        return BG_OK;
    char names[200] = "";
    for (size_t i = 0, n = 0; i < ARRAY_SIZE(flag_name); i++)
        if (missing & flag_name[i].flag && n < sizeof(names))
            n += (size_t)snprintf(names + n, sizeof(names) - n, " %s", flag_name[i].name);
    return err_set(e, BG_EINVAL, 0, "peer is older than OTP 25: it lacks%s", names);
}

/* Accepting */

/* A node started without a name (erl -sname undefined) sends only its host and the flag NAME_ME. Its name has the form
 * that net_kernel gives: 64 random bits in base 36. */
static bool name_the_nameless(struct dist_handshake *h, struct slice host)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    char alive[16];
    uint64_t n = random_u64();
    size_t at = sizeof(alive);
    for (alive[--at] = '\0'; at > 0 && n; n /= 36)
        alive[--at] = digits[n % 36];
    int len = snprintf(h->peer, sizeof(h->peer), "%s@%.*s", alive + at, (int)host.len, host.ptr);
    struct slice a, b;
    random_bytes(&h->peer_creation, sizeof(h->peer_creation));
    h->peer_creation |= 4; /* 0..3 are reserved */
    return len > 0 && (size_t)len < sizeof(h->peer) && node_name_split(slice_str(h->peer), &a, &b);
}

/* All that can be judged without knowing the other connections; then it is the caller's turn. */
static enum handshake_result named(struct dist_handshake *h, struct slice name, struct buf *out, struct err *e)
{
    struct slice alive, host;
    if (h->peer_flags & DIST_FLAG_NAME_ME) {
        if (name.len > NODE_NAME_MAX || !name_the_nameless(h, name))
            return fail(h, e, "peer asks for a name but its host is not legal");
    } else if (!node_name_split(name, &alive, &host)) {
        return fail(h, e, "peer's node name is not legal");
    } else {
        slice_cstr(name, h->peer, sizeof(h->peer));
    }
    uint64_t mask = h->old_name ? UINT32_MAX : UINT64_MAX;
    if (check_flags(h->peer_flags, DIST_FLAGS_MANDATORY & mask, e) != BG_OK) {
        send_status(h, "not_allowed", out);
        h->step = HS_ENDED;
        return HS_FAILED;
    }
    if (strcmp(h->peer, h->self->name) == 0) {
        send_status(h, "not_allowed", out);
        return fail(h, e, "peer bears our own node name");
    }
    h->step = HS_WAIT_DECISION;
    return HS_NAMED;
}

/* 'N' since OTP 23. 'n' comes from OTP 23 and 24 nodes that found us without epmd (dist_util:recv_name_old/2): its
 * flags are 32 bits, the rest follows as complement. */
static enum handshake_result on_name(struct dist_handshake *h, struct slice p, struct buf *out, struct err *e)
{
    const uint8_t *b = (const uint8_t *)p.ptr;
    enum { NEW_HEAD = 1 + 8 + 4 + 2, OLD_HEAD = 1 + 2 + 4 };
    if (b[0] == 'n' && p.len > OLD_HEAD) {
        h->old_name = true;
        h->peer_flags = expand_flags(get_be32(b + 3)) & ~DIST_FLAG_NAME_ME;
        return named(h, slice_make(b + OLD_HEAD, p.len - OLD_HEAD), out, e);
    }
    if (b[0] != 'N' || p.len < NEW_HEAD)
        return fail(h, e, "first packet is not a node name: a port scan, or another protocol");
    h->peer_flags = expand_flags(get_be64(b + 1));
    h->peer_creation = get_be32(b + 9);
    size_t len = get_be16(b + 13);
    if (len > p.len - NEW_HEAD)
        return fail(h, e, "peer's node name is longer than its packet");
    return named(h, slice_make(b + NEW_HEAD, len), out, e);
}

/* Does the peer still want this connection? The older one falls when the cookie is proved, not before. */
static enum handshake_result on_alive_answer(struct dist_handshake *h, struct slice p, struct buf *out, struct err *e)
{
    if (slice_is(p, "sfalse"))
        return give_way(h, e, "peer gave this connection up for another");
    if (!slice_is(p, "strue"))
        return fail(h, e, "answer to alive is neither true nor false");
    send_challenge(h, out);
    return HS_MORE;
}

static enum handshake_result on_complement(struct dist_handshake *h, struct slice p, struct buf *out, struct err *e)
{
    (void)out;
    const uint8_t *b = (const uint8_t *)p.ptr;
    if (p.len != 1 + 4 + 4 || b[0] != 'c')
        return fail(h, e, "complement expected after the old form of name");
    h->peer_flags |= (uint64_t)get_be32(b + 1) << 32;
    h->peer_creation = get_be32(b + 5);
    if (check_flags(h->peer_flags, DIST_FLAGS_MANDATORY, e) != BG_OK) {
        h->step = HS_ENDED;
        return HS_FAILED;
    }
    h->step = HS_WAIT_REPLY;
    return HS_MORE;
}

static enum handshake_result done(struct dist_handshake *h)
{
    h->flags = h->self->flags & h->peer_flags;
    h->step = HS_ENDED;
    return HS_DONE;
}

/* The acceptor's proof comes second: nothing is said about the cookie to a peer that did not prove it. */
static enum handshake_result on_reply(struct dist_handshake *h, struct slice p, struct buf *out, struct err *e)
{
    const uint8_t *b = (const uint8_t *)p.ptr;
    uint8_t digest[DIGEST_LEN];
    if (p.len != 1 + 4 + DIGEST_LEN || b[0] != 'r')
        return fail(h, e, "challenge reply expected");
    if (!digest_proves(h, b + 5))
        return fail(h, e, "peer has another cookie: it must be the same on both sides");
    if (!make_digest(h->self, get_be32(b + 1), digest))
        return fail(h, e, "OpenSSL offers no MD5");
    put_head(h, out, 1 + DIGEST_LEN);
    buf_putc(out, 'a');
    buf_add(out, digest, DIGEST_LEN);
    return done(h);
}

/* Dialling */

/* `named:` answers only those who sent NAME_ME. */
static enum handshake_result on_status(struct dist_handshake *h, struct slice p, struct buf *out, struct err *e)
{
    (void)out;
    if (slice_is(p, "sok") || slice_is(p, "sok_simultaneous")) {
        h->step = HS_WAIT_CHALLENGE;
        return HS_MORE;
    }
    if (slice_is(p, "salive")) {
        h->was_alive = true;
        h->step = HS_WAIT_GO_ON;
        return HS_ALIVE;
    }
    if (slice_is(p, "snok"))
        return give_way(h, e, "peer prefers its own connection to us");
    if (slice_is(p, "snot_allowed"))
        return fail(h, e, "peer does not allow this node");
    if (p.len >= 7 && memcmp(p.ptr, "snamed:", 7) == 0)
        return fail(h, e, "peer gave us a name we did not ask for");
    return fail(h, e, "status is not understood");
}

/* The name must be the one we dialled: a port that another node has taken meanwhile is not our peer. */
static enum handshake_result on_challenge(struct dist_handshake *h, struct slice p, struct buf *out, struct err *e)
{
    const uint8_t *b = (const uint8_t *)p.ptr;
    enum { HEAD = 1 + 8 + 4 + 4 + 2 };
    uint8_t digest[DIGEST_LEN];
    if (b[0] == 'n')
        return fail(h, e, "peer is older than OTP 23: it sent the old challenge");
    if (b[0] != 'N' || p.len < HEAD)
        return fail(h, e, "challenge expected");
    size_t len = get_be16(b + 17);
    if (len > p.len - HEAD || !slice_is(slice_make(b + HEAD, len), h->peer))
        return fail(h, e, "another node than the wanted one answered at that address");
    h->peer_flags = expand_flags(get_be64(b + 1));
    h->peer_creation = get_be32(b + 13);
    if (check_flags(h->peer_flags, DIST_FLAGS_MANDATORY, e) != BG_OK) {
        h->step = HS_ENDED;
        return HS_FAILED;
    }
    if (!make_digest(h->self, get_be32(b + 9), digest))
        return fail(h, e, "OpenSSL offers no MD5");
    put_head(h, out, 1 + 4 + DIGEST_LEN);
    buf_putc(out, 'r');
    put_u32(out, h->challenge);
    buf_add(out, digest, DIGEST_LEN);
    h->step = HS_WAIT_ACK;
    return HS_MORE;
}

static enum handshake_result on_ack(struct dist_handshake *h, struct slice p, struct buf *out, struct err *e)
{
    (void)out;
    if (p.len != 1 + DIGEST_LEN || p.ptr[0] != 'a')
        return fail(h, e, "challenge acknowledgement expected");
    if (!digest_proves(h, (const uint8_t *)p.ptr + 1))
        return fail(h, e, "peer has another cookie: it must be the same on both sides");
    return done(h);
}

/* One row a step: what takes its packet, and what it means if the peer stops there. */
static const struct {
    enum handshake_result (*packet)(struct dist_handshake *, struct slice, struct buf *, struct err *);
    const char *hint;
} step_table[] = {
    [HS_WAIT_NAME] = {on_name, "a health check or port scan does this"},
    [HS_WAIT_DECISION] = {NULL, ""},
    [HS_WAIT_ALIVE] = {on_alive_answer, "the peer has given this connection up for another"},
    [HS_WAIT_COMPLEMENT] = {on_complement, "the peer speaks an old form of the handshake"},
    [HS_WAIT_REPLY] = {on_reply, "the peer may have refused our challenge"},
    [HS_WAIT_STATUS] = {on_status, "is it an Erlang node that listens there?"},
    [HS_WAIT_GO_ON] = {NULL, ""},
    [HS_WAIT_CHALLENGE] = {on_challenge, "the peer may wait for an older connection of ours to end; it is tried again"},
    [HS_WAIT_ACK] = {on_ack, "is the cookie the same on both sides?"},
    [HS_ENDED] = {NULL, ""},
};

void dist_handshake_init(struct dist_handshake *h, enum handshake_role role, enum handshake_head head,
                         const struct node_identity *self, struct slice peer, struct buf *out)
{
    *h = (struct dist_handshake){.self = self, .role = role, .head = head, .step = HS_WAIT_NAME};
    random_bytes(&h->challenge, sizeof(h->challenge));
    if (role == HS_DIALLING) {
        slice_cstr(peer, h->peer, sizeof(h->peer));
        h->step = HS_WAIT_STATUS;
        send_name(h, out);
    }
}

/* Fills the packet up to n bytes of head and body; true once they are there. */
static bool fill(struct dist_handshake *h, struct slice in, size_t *used, size_t n)
{
    size_t want = n > h->have ? n - h->have : 0, left = in.len - *used;
    size_t take = want < left ? want : left;
    if (take)
        memcpy(h->packet + h->have, in.ptr + *used, take);
    h->have = (uint16_t)(h->have + take);
    *used += take;
    return h->have >= n;
}

enum handshake_result dist_handshake_feed(struct dist_handshake *h, struct slice in, size_t *used, struct buf *out,
                                          struct err *e)
{
    *used = 0;
    while (*used < in.len) {
        assert_always(step_table[h->step].packet != NULL);
        if (!fill(h, in, used, h->head))
            break;
        size_t len = h->head == HS_HEAD_TLS ? get_be32(h->packet) : get_be16(h->packet);
        if (len == 0 || len > HANDSHAKE_PACKET_MAX)
            return fail(h, e, "packet has an impossible length: a port scan, or another protocol");
        if (!fill(h, in, used, h->head + len))
            break;
        h->have = 0;
        enum handshake_result r = step_table[h->step].packet(h, slice_make(h->packet + h->head, len), out, e);
        if (r != HS_MORE)
            return r;
    }
    return HS_MORE;
}

enum handshake_result dist_handshake_status(struct dist_handshake *h, enum handshake_status status, struct buf *out,
                                            struct err *e)
{
    assert_always(h->step == HS_WAIT_DECISION);
    h->status = status;
    if (status == HS_STATUS_OK && h->peer_flags & DIST_FLAG_NAME_ME)
        send_named(h, out);
    else
        send_status(h, status_text[status], out);
    if (status == HS_STATUS_NOK)
        return give_way(h, e, "our own connection to this node is under way");
    if (status == HS_STATUS_NOT_ALLOWED)
        return fail(h, e, "node is not allowed");
    if (status == HS_STATUS_ALIVE) {
        h->was_alive = true;
        h->step = HS_WAIT_ALIVE;
    } else {
        send_challenge(h, out);
    }
    return HS_MORE;
}

enum handshake_result dist_handshake_go_on(struct dist_handshake *h, bool go_on, struct buf *out, struct err *e)
{
    assert_always(h->step == HS_WAIT_GO_ON);
    send_status(h, go_on ? "true" : "false", out);
    if (!go_on)
        return give_way(h, e, "another connection to this node is up");
    h->step = HS_WAIT_CHALLENGE;
    return HS_MORE;
}

const char *dist_handshake_hint(const struct dist_handshake *h)
{
    return step_table[h->step].hint;
}

enum handshake_status dist_handshake_decide(const char *self, const char *peer, bool up, bool dialling)
{
    if (up)
        return HS_STATUS_ALIVE;
    if (!dialling)
        return HS_STATUS_OK;
    /* Atoms compare by their text, and node names are ASCII here. */
    return strcmp(self, peer) > 0 ? HS_STATUS_NOK : HS_STATUS_OK_SIMULTANEOUS;
}
