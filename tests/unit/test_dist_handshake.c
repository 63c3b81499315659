/* test_dist_handshake.c: the handshake's state machine: both roles, every status, hostile input. No sockets. */
#include "unit.h"

#include <stdio.h>

#include "dist_handshake.h"

static struct node_identity alice, bob, mallory;

static int make_identities(void **state)
{
    (void)state;
    struct err e = {0};
    int rc = node_identity_init(&alice, SLICE_LIT("alice@127.0.0.1"), SLICE_LIT("secret"), &e) |
             node_identity_init(&bob, SLICE_LIT("bob@127.0.0.1"), SLICE_LIT("secret"), &e) |
             node_identity_init(&mallory, SLICE_LIT("mallory@127.0.0.1"), SLICE_LIT("Secret"), &e);
    if (rc != BG_OK)
        print_error("%s\n", e.text);
    return rc;
}

static int drop_identities(void **state)
{
    (void)state;
    node_identity_fini(&alice);
    node_identity_fini(&bob);
    node_identity_fini(&mallory);
    return 0;
}

/* One side: what it says collects in out. */
struct side {
    struct dist_handshake h;
    struct buf out;
    struct err e;
    enum handshake_result last;
    enum handshake_status answer; /* to HS_NAMED */
    bool go_on;                   /* to HS_ALIVE */
};

static enum handshake_head framing = HS_HEAD_TCP;

static void side_init(struct side *s, enum handshake_role role, const struct node_identity *self, const char *peer)
{
    *s = (struct side){.answer = HS_STATUS_OK, .go_on = true, .last = HS_MORE};
    buf_init(&s->out, 4096);
    dist_handshake_init(&s->h, role, framing, self, slice_str(peer), &s->out);
}

static enum handshake_result feed(struct side *s, const void *data, size_t len)
{
    size_t at = 0, used = 0;
    while (at < len && s->last == HS_MORE) {
        s->last = dist_handshake_feed(&s->h, slice_make((const char *)data + at, len - at), &used, &s->out, &s->e);
        at += used;
        if (s->last == HS_NAMED)
            s->last = dist_handshake_status(&s->h, s->answer, &s->out, &s->e);
        else if (s->last == HS_ALIVE)
            s->last = dist_handshake_go_on(&s->h, s->go_on, &s->out, &s->e);
    }
    return s->last;
}

/* Carries what `from` said to `to`, at most chunk bytes a call. True if something moved. */
static bool carry(struct side *from, struct side *to, size_t chunk)
{
    size_t n = from->out.len < chunk ? from->out.len : chunk;
    if (n == 0 || to->last != HS_MORE)
        return false;
    feed(to, from->out.data, n);
    buf_consume(&from->out, n);
    return true;
}

static void converse(struct side *a, struct side *b, size_t chunk)
{
    while (carry(a, b, chunk) || carry(b, a, chunk))
        ;
}

static void sides_fini(struct side *a, struct side *b)
{
    buf_fini(&a->out);
    buf_fini(&b->out);
}

/* A packet of the handshake: length and content. */
static size_t packet(uint8_t *dst, const void *content, size_t len)
{
    put_be16(dst, (uint16_t)len);
    memcpy(dst + 2, content, len);
    return len + 2;
}

static enum handshake_result feed_text(struct side *s, const char *text)
{
    uint8_t p[600];
    return feed(s, p, packet(p, text, strlen(text)));
}

static size_t name_packet(uint8_t *dst, uint64_t flags, const char *name)
{
    uint8_t c[600];
    c[0] = 'N';
    put_be64(c + 1, flags);
    put_be32(c + 9, 77);
    put_be16(c + 13, (uint16_t)strlen(name));
    memcpy(c + 15, name, strlen(name));
    return packet(dst, c, 15 + strlen(name));
}

static void both_roles_agree_whatever_the_pieces(void **state) /* D-01 */
{
    (void)state;
    for (size_t chunk = 1; chunk < 120; chunk++) {
        struct side a, b;
        side_init(&a, HS_DIALLING, &alice, bob.name);
        side_init(&b, HS_ACCEPTING, &bob, "");
        converse(&a, &b, chunk);
        assert_int_equal(a.last, HS_DONE);
        assert_int_equal(b.last, HS_DONE);
        assert_string_equal(b.h.peer, alice.name);
        assert_int_equal(b.h.peer_creation, alice.creation);
        assert_int_equal(a.h.peer_creation, bob.creation);
        assert_int_equal(a.h.flags, DIST_FLAGS_DEFAULT);
        assert_int_equal(b.h.flags, DIST_FLAGS_DEFAULT);
        sides_fini(&a, &b);
    }
}

static void over_tls_each_packet_has_a_longer_length(void **state)
{
    static const uint8_t too_long[] = {0, 1, 0, 0}; /* 65536, of which 16 bits alone would be none */
    struct side a;
    framing = HS_HEAD_TLS;
    both_roles_agree_whatever_the_pieces(state);
    side_init(&a, HS_DIALLING, &alice, bob.name);
    assert_int_equal(get_be32(a.out.data), a.out.len - 4);
    assert_int_equal(a.out.data[4], 'N');
    assert_int_equal(feed(&a, too_long, sizeof(too_long)), HS_FAILED);
    buf_fini(&a.out);
    framing = HS_HEAD_TCP;
}

static void digest_is_that_of_erlang_md5(void **state)
{
    (void)state;
    /* erlang:md5(["secret", "3405691582"]) */
    static const uint8_t proof[16] = {0x52, 0xd4, 0x4e, 0xcb, 0x24, 0x9c, 0xb4, 0xaf,
                                      0x56, 0x80, 0x12, 0x1f, 0xfb, 0x96, 0xe9, 0x58};
    /* erlang:md5(["secret", "7"]) */
    static const uint8_t answer[16] = {0xfc, 0xfc, 0xda, 0x07, 0xb8, 0xfb, 0x7d, 0xff,
                                       0x78, 0x8a, 0xf1, 0x66, 0xb6, 0xa7, 0x8f, 0x3e};
    struct side b;
    uint8_t p[600], r[21] = {'r', 0, 0, 0, 7};
    side_init(&b, HS_ACCEPTING, &bob, "");
    b.h.challenge = 0xcafebabe;
    feed(&b, p, name_packet(p, DIST_FLAGS_DEFAULT, alice.name));
    buf_reset(&b.out);
    memcpy(r + 5, proof, 16);
    assert_int_equal(feed(&b, p, packet(p, r, sizeof(r))), HS_DONE);
    assert_int_equal(b.out.len, 19);
    assert_int_equal(b.out.data[2], 'a');
    assert_memory_equal(b.out.data + 3, answer, 16);
    buf_fini(&b.out);
}

static void wrong_cookie_fails_on_both_sides(void **state) /* D-04 */
{
    (void)state;
    struct side a, b;
    side_init(&a, HS_DIALLING, &mallory, bob.name);
    side_init(&b, HS_ACCEPTING, &bob, "");
    converse(&a, &b, 1000);
    assert_int_equal(b.last, HS_FAILED);
    assert_non_null(strstr(b.e.text, "another cookie"));
    assert_int_equal(b.out.len, 0); /* no ack */
    assert_int_equal(a.last, HS_MORE);
    assert_int_equal(a.h.step, HS_WAIT_ACK);
    assert_non_null(strstr(dist_handshake_hint(&a.h), "cookie"));
    /* An acceptor that does not know the cookie either cannot pretend. */
    uint8_t p[32], ack[17] = {'a'};
    assert_int_equal(feed(&a, p, packet(p, ack, sizeof(ack))), HS_FAILED);
    assert_non_null(strstr(a.e.text, "another cookie"));
    sides_fini(&a, &b);
}

static void challenges_differ_each_time(void **state) /* D-04 */
{
    (void)state;
    uint32_t seen[64];
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++) {
        struct side b;
        side_init(&b, HS_ACCEPTING, &bob, "");
        seen[i] = b.h.challenge;
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(seen[i], seen[j]);
    }
}

static void bytes_after_the_last_packet_are_left(void **state) /* D-05 */
{
    (void)state;
    struct side a, b;
    side_init(&a, HS_DIALLING, &alice, bob.name);
    side_init(&b, HS_ACCEPTING, &bob, "");
    while (b.last == HS_MORE && (carry(&a, &b, 1000), b.last == HS_MORE))
        carry(&b, &a, 1000);
    assert_int_equal(b.last, HS_DONE);
    buf_puts(&b.out, "early packet");
    size_t used = 0;
    assert_int_equal(dist_handshake_feed(&a.h, buf_slice(&b.out), &used, &a.out, &a.e), HS_DONE);
    buf_consume(&b.out, used);
    assert_slice_is(buf_slice(&b.out), "early packet");
    sides_fini(&a, &b);
}

static void statuses_mean_what_dist_util_says(void **state) /* D-03 */
{
    (void)state;
    static const struct {
        const char *packet;
        enum handshake_result result;
        const char *says;
    } table[] = {
        {"sok", HS_MORE, NULL},
        {"sok_simultaneous", HS_MORE, NULL},
        {"snok", HS_FAILED, "prefers its own"},
        {"snot_allowed", HS_FAILED, "does not allow"},
        {"snamed:xx", HS_FAILED, "did not ask"},
        {"sokay", HS_FAILED, "not understood"},
        {"s", HS_FAILED, "not understood"},
        {"x", HS_FAILED, "not understood"},
        {"strue", HS_FAILED, "not understood"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct side a;
        side_init(&a, HS_DIALLING, &alice, bob.name);
        assert_int_equal(feed_text(&a, table[i].packet), table[i].result);
        if (table[i].says && !strstr(a.e.text, table[i].says))
            fail_msg("%s: %s", table[i].packet, a.e.text);
        buf_fini(&a.out);
    }
}

static void alive_is_answered_and_goes_on_only_when_wanted(void **state) /* D-03 */
{
    (void)state;
    for (int want = 0; want < 2; want++) {
        struct side a, b;
        side_init(&a, HS_DIALLING, &alice, bob.name);
        side_init(&b, HS_ACCEPTING, &bob, "");
        b.answer = HS_STATUS_ALIVE;
        a.go_on = want;
        converse(&a, &b, 7);
        if (a.last == HS_FAILED) /* converse() stops carrying from a side that failed only when it has nothing left */
            carry(&a, &b, 1000);
        assert_int_equal(a.last, want ? HS_DONE : HS_FAILED);
        assert_int_equal(b.last, want ? HS_DONE : HS_FAILED);
        assert_true(a.h.was_alive && b.h.was_alive);
        sides_fini(&a, &b);
    }
    struct side b;
    side_init(&b, HS_ACCEPTING, &bob, "");
    b.answer = HS_STATUS_ALIVE;
    uint8_t p[600];
    feed(&b, p, name_packet(p, DIST_FLAGS_DEFAULT, alice.name));
    assert_int_equal(feed_text(&b, "sperhaps"), HS_FAILED);
    buf_fini(&b.out);
}

static void refusals_are_said_before_the_end(void **state) /* D-03 */
{
    (void)state;
    static const struct {
        enum handshake_status answer;
        const char *said;
    } table[] = {{HS_STATUS_NOK, "snok"}, {HS_STATUS_NOT_ALLOWED, "snot_allowed"}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct side b;
        uint8_t p[600];
        side_init(&b, HS_ACCEPTING, &bob, "");
        b.answer = table[i].answer;
        assert_int_equal(feed(&b, p, name_packet(p, DIST_FLAGS_DEFAULT, alice.name)), HS_FAILED);
        assert_int_equal(b.out.len, 2 + strlen(table[i].said));
        assert_memory_equal(b.out.data + 2, table[i].said, strlen(table[i].said));
        buf_fini(&b.out);
    }
}

static void a_node_with_our_own_name_is_refused(void **state)
{
    (void)state;
    struct side b;
    uint8_t p[600];
    side_init(&b, HS_ACCEPTING, &bob, "");
    assert_int_equal(feed(&b, p, name_packet(p, DIST_FLAGS_DEFAULT, bob.name)), HS_FAILED);
    assert_memory_equal(b.out.data + 2, "snot_allowed", 12);
    assert_string_equal(b.e.text, "peer bears our own node name");
    buf_fini(&b.out);
}

static void illegal_names_are_refused(void **state)
{
    (void)state;
    static char long_name[300];
    memset(long_name, 'x', 256);
    long_name[10] = '@';
    const char *const bad[] = {"",      "alice", "@host",      "alice@", "a@b@c",
                               "a b@c", "a@b\n", "a@\xc3\xa4", "\x7f@x", long_name};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct side b;
        uint8_t p[600];
        side_init(&b, HS_ACCEPTING, &bob, "");
        if (feed(&b, p, name_packet(p, DIST_FLAGS_DEFAULT, bad[i])) != HS_FAILED)
            fail_msg("accepted \"%s\"", bad[i]);
        assert_int_equal(b.out.len, 0);
        buf_fini(&b.out);
    }
}

static void missing_mandatory_flags_are_refused_by_name(void **state) /* 08 §1.2 */
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t flag = UINT64_C(1) << bit;
        uint64_t flags = DIST_FLAGS_DEFAULT & ~DIST_FLAG_MANDATORY_25_DIGEST & ~flag;
        struct side b;
        uint8_t p[600];
        side_init(&b, HS_ACCEPTING, &bob, "");
        bool mandatory = (DIST_FLAGS_MANDATORY & flag) != 0;
        assert_int_equal(feed(&b, p, name_packet(p, flags, alice.name)), mandatory ? HS_FAILED : HS_MORE);
        if (mandatory)
            assert_memory_equal(b.out.data + 2, "snot_allowed", 12);
        if (flag == 0x20000)
            assert_string_equal(b.e.text, "peer is older than OTP 25: it lacks MAP_TAG");
        buf_fini(&b.out);
    }
    /* The digest bit stands for all of OTP 25's. */
    struct side b;
    uint8_t p[600];
    uint64_t flags = DIST_FLAG_MANDATORY_25_DIGEST | DIST_FLAG_V4_NC | DIST_FLAG_UNLINK_ID;
    side_init(&b, HS_ACCEPTING, &bob, "");
    assert_int_equal(feed(&b, p, name_packet(p, flags, alice.name)), HS_MORE);
    assert_int_equal(b.h.step, HS_WAIT_REPLY);
    buf_fini(&b.out);
}

/* OTP 23 and 24 send the old form when they found us without epmd (08 §1.1). */
static void old_name_with_complement_is_understood(void **state)
{
    (void)state;
    uint8_t c[64] = {'n', 0, 5}, p[600], complement[9] = {'c'};
    put_be32(c + 3, (uint32_t)DIST_FLAGS_DEFAULT);
    memcpy(c + 7, alice.name, strlen(alice.name));
    for (int whole = 0; whole < 2; whole++) {
        struct side b;
        side_init(&b, HS_ACCEPTING, &bob, "");
        assert_int_equal(feed(&b, p, packet(p, c, 7 + strlen(alice.name))), HS_MORE);
        put_be32(complement + 1, whole ? (uint32_t)(DIST_FLAGS_DEFAULT >> 32) : 0);
        put_be32(complement + 5, 4711);
        assert_int_equal(feed(&b, p, packet(p, complement, sizeof(complement))), whole ? HS_MORE : HS_FAILED);
        assert_int_equal(b.h.peer_creation, 4711);
        if (whole)
            assert_int_equal(b.h.peer_flags & ~DIST_FLAGS_MANDATORY_25, DIST_FLAGS_DEFAULT & ~DIST_FLAGS_MANDATORY_25);
        buf_fini(&b.out);
    }
    struct side b;
    side_init(&b, HS_ACCEPTING, &bob, "");
    put_be32(c + 3, 0x10);
    assert_int_equal(feed(&b, p, packet(p, c, 7 + strlen(alice.name))), HS_FAILED);
    assert_memory_equal(b.out.data + 2, "snot_allowed", 12);
    buf_fini(&b.out);
}

static void a_nameless_node_gets_a_name(void **state) /* erl -sname undefined; D-03 named: */
{
    (void)state;
    struct side b;
    uint8_t p[600];
    side_init(&b, HS_ACCEPTING, &bob, "");
    assert_int_equal(feed(&b, p, name_packet(p, DIST_FLAGS_DEFAULT | DIST_FLAG_NAME_ME, "127.0.0.1")), HS_MORE);
    assert_memory_equal(b.out.data + 2, "snamed:", 7);
    size_t len = get_be16(b.out.data + 9);
    assert_slice_is(slice_make(b.out.data + 11, len), b.h.peer);
    assert_non_null(strstr(b.h.peer, "@127.0.0.1"));
    assert_int_equal(get_be32(b.out.data + 11 + len), b.h.peer_creation);
    assert_true(b.h.peer_creation >= 4);
    const uint8_t *challenge = b.out.data + 11 + len + 4; /* its flags say NAME_ME, too */
    assert_int_equal(get_be64(challenge + 3), DIST_FLAGS_DEFAULT | DIST_FLAG_NAME_ME);
    buf_fini(&b.out);
    side_init(&b, HS_ACCEPTING, &bob, "");
    assert_int_equal(feed(&b, p, name_packet(p, DIST_FLAGS_DEFAULT | DIST_FLAG_NAME_ME, "a@127.0.0.1")), HS_FAILED);
    buf_fini(&b.out);
}

static void another_node_at_the_address_is_noticed(void **state)
{
    (void)state;
    struct side a, b;
    side_init(&a, HS_DIALLING, &alice, "carol@127.0.0.1");
    side_init(&b, HS_ACCEPTING, &bob, "");
    converse(&a, &b, 1000);
    assert_int_equal(a.last, HS_FAILED);
    assert_non_null(strstr(a.e.text, "another node"));
    assert_int_equal(b.last, HS_MORE); /* it was told nothing that proves our cookie */
    assert_int_equal(b.h.step, HS_WAIT_REPLY);
    sides_fini(&a, &b);
}

static void lengths_are_checked_before_anything_else(void **state) /* D-10 */
{
    (void)state;
    static const uint16_t bad[] = {0, 513, 4096, 65535};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct side b;
        uint8_t head[2];
        put_be16(head, bad[i]);
        side_init(&b, HS_ACCEPTING, &bob, "");
        assert_int_equal(feed(&b, head, 2), HS_FAILED);
        buf_fini(&b.out);
    }
    /* A name that claims to be longer than its packet. */
    struct side b;
    uint8_t p[600];
    size_t n = name_packet(p, DIST_FLAGS_DEFAULT, alice.name);
    put_be16(p + 2 + 13, (uint16_t)(strlen(alice.name) + 1));
    side_init(&b, HS_ACCEPTING, &bob, "");
    assert_int_equal(feed(&b, p, n), HS_FAILED);
    buf_fini(&b.out);
}

static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                      "\x16\x03\x01\x02\x00\x01\x00",
                                      "SSH-2.0-x\r\n",
                                      "\x01N",
                                      "\x01\x01N",
                                      "\x01\x01n",
                                      "\x01\x01r",
                                      "\x01\x01s"};

static void garbage_never_passes(void **state) /* D-02 */
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
        for (int role = HS_ACCEPTING; role <= HS_DIALLING; role++) {
            struct side s;
            side_init(&s, role, &bob, alice.name);
            assert_int_not_equal(feed(&s, garbage[i], strlen(garbage[i])), HS_DONE);
            buf_fini(&s.out);
        }
    }
}

/* Records what a good dialler says (name and reply), then changes each byte in each of its bits. */
static void no_changed_bit_of_the_proof_passes(void **state) /* D-04 */
{
    (void)state;
    struct side a, b;
    side_init(&a, HS_DIALLING, &alice, bob.name);
    side_init(&b, HS_ACCEPTING, &bob, "");
    uint8_t said[600];
    size_t name_len = a.out.len, len = name_len;
    memcpy(said, a.out.data, name_len);
    uint32_t challenge = b.h.challenge;
    carry(&a, &b, 1000);
    carry(&b, &a, 1000);
    memcpy(said + len, a.out.data, a.out.len);
    len += a.out.len;
    sides_fini(&a, &b);
    for (size_t bit = 0; bit <= len * 8; bit++) {
        uint8_t changed[600];
        memcpy(changed, said, len);
        if (bit < len * 8)
            changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        side_init(&b, HS_ACCEPTING, &bob, "");
        b.h.challenge = challenge;
        feed(&b, changed, len);
        /* The dialler's challenge (4 bytes after 'r') is its own affair; all else of the reply is proof. */
        size_t at = bit / 8, reply = name_len + 2;
        bool proof = at >= name_len && at < len && !(at > reply && at <= reply + 4);
        if (proof)
            assert_int_not_equal(b.last, HS_DONE);
        if (bit == len * 8)
            assert_int_equal(b.last, HS_DONE);
        buf_fini(&b.out);
    }
}

static void names_order_decides_who_wins(void **state) /* D-03 */
{
    (void)state;
    assert_int_equal(dist_handshake_decide("b@h", "a@h", false, true), HS_STATUS_NOK);
    assert_int_equal(dist_handshake_decide("a@h", "b@h", false, true), HS_STATUS_OK_SIMULTANEOUS);
    assert_int_equal(dist_handshake_decide("a@h", "a@h2", false, true), HS_STATUS_OK_SIMULTANEOUS);
    assert_int_equal(dist_handshake_decide("b@h", "a@h", false, false), HS_STATUS_OK);
    assert_int_equal(dist_handshake_decide("a@h", "b@h", true, true), HS_STATUS_ALIVE);
}

/* Two nodes dial each other in the same moment; their bytes cross in every order that chance makes. */
struct duel {
    struct side dial[2];   /* by node 0 (alice), 1 (bob) */
    struct side accept[2]; /* accept[i] runs on node i and talks to dial[1 - i] */
    bool started[2];
    bool up[2];
};

static void duel_step(struct duel *d, unsigned node, bool dialler, size_t chunk)
{
    struct side *s = dialler ? &d->dial[node] : &d->accept[node];
    struct side *other = dialler ? &d->accept[1 - node] : &d->dial[1 - node];
    bool dialling = d->started[node] && d->dial[node].last == HS_MORE;
    const char *names[] = {alice.name, bob.name};
    s->answer = dist_handshake_decide(names[node], names[1 - node], d->up[node], dialling);
    s->go_on = !d->up[node];
    enum handshake_result before = s->last;
    if (carry(other, s, chunk) && before == HS_MORE && s->last == HS_DONE) {
        assert_false(d->up[node]);
        d->up[node] = true;
    }
}

static void a_thousand_simultaneous_connects_give_one_link_each(void **state) /* D-03 */
{
    (void)state;
    const struct node_identity *id[] = {&alice, &bob};
    for (int round = 0; round < 1000; round++) {
        struct duel d = {0};
        for (unsigned i = 0; i < 2; i++) {
            side_init(&d.accept[i], HS_ACCEPTING, id[i], "");
            side_init(&d.dial[i], HS_DIALLING, id[i], id[1 - i]->name);
            d.started[i] = true;
        }
        for (int step = 0; step < 4000 && !(d.up[0] && d.up[1]); step++) {
            uint64_t dice = random_u64();
            duel_step(&d, dice & 1, dice & 2, 1 + (dice >> 8) % 40);
        }
        assert_true(d.up[0] && d.up[1]);
        /* Bob has the greater name: his connection is the one, at both ends. */
        assert_int_equal(d.dial[1].last, HS_DONE);
        assert_int_equal(d.accept[0].last, HS_DONE);
        assert_int_not_equal(d.dial[0].last, HS_DONE);
        assert_int_not_equal(d.accept[1].last, HS_DONE);
        sides_fini(&d.dial[0], &d.dial[1]);
        sides_fini(&d.accept[0], &d.accept[1]);
    }
}

static void own_names_and_cookies_are_checked(void **state)
{
    (void)state;
    static char longer[600];
    memset(longer, 'c', sizeof(longer) - 1);
    struct node_identity id;
    struct err e;
    const char *const bad[] = {"", "gw", "gw@", "@h", "g w@h", "gw.x@h", "gw@h@h", "gw@h h"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(node_identity_init(&id, slice_str(bad[i]), SLICE_LIT("c"), &e), BG_EINVAL);
    assert_int_equal(node_identity_init(&id, SLICE_LIT("gw@h"), SLICE_LIT(""), &e), BG_EINVAL);
    assert_int_equal(node_identity_init(&id, SLICE_LIT("gw@h"), slice_make("a\0b", 3), &e), BG_EINVAL);
    assert_int_equal(node_identity_init(&id, SLICE_LIT("gw@h"), slice_make(longer, 513), &e), BG_EINVAL);
    assert_int_equal(node_identity_init(&id, SLICE_LIT("gw@h.example.org"), slice_make(longer, 512), &e), BG_OK);
    assert_true(id.long_names);
    assert_true(id.creation >= 4);
    assert_string_equal(id.alive, "gw");
    assert_string_equal(id.host, "h.example.org");
    node_identity_fini(&id);
    assert_int_equal(id.cookie[0], 0);
}

static void pids_and_references_carry_handles(void **state)
{
    (void)state;
    struct buf b;
    struct term_pid pid;
    struct term_ref ref;
    handle_t h = UINT64_C(0x89abcdef01234567);
    buf_init(&b, 0);
    node_put_pid(&alice, &b, h);
    struct term_reader r = term_reader(buf_slice(&b));
    assert_int_equal(term_read_pid(&r, &pid), BG_OK);
    assert_true(node_pid_handle(&alice, &pid) == h);
    assert_true(node_pid_handle(&bob, &pid) == HANDLE_NONE);
    pid.creation++; /* one of an earlier life: D-08 */
    assert_true(node_pid_handle(&alice, &pid) == HANDLE_NONE);
    buf_reset(&b);
    node_put_ref(&alice, &b, h);
    r = term_reader(buf_slice(&b));
    assert_int_equal(term_read_ref(&r, &ref), BG_OK);
    assert_true(node_ref_handle(&alice, &ref) == h);
    ref.words = 2;
    assert_true(node_ref_handle(&alice, &ref) == HANDLE_NONE);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_roles_agree_whatever_the_pieces),
        cmocka_unit_test(over_tls_each_packet_has_a_longer_length),
        cmocka_unit_test(digest_is_that_of_erlang_md5),
        cmocka_unit_test(wrong_cookie_fails_on_both_sides),
        cmocka_unit_test(challenges_differ_each_time),
        cmocka_unit_test(bytes_after_the_last_packet_are_left),
        cmocka_unit_test(statuses_mean_what_dist_util_says),
        cmocka_unit_test(alive_is_answered_and_goes_on_only_when_wanted),
        cmocka_unit_test(refusals_are_said_before_the_end),
        cmocka_unit_test(a_node_with_our_own_name_is_refused),
        cmocka_unit_test(illegal_names_are_refused),
        cmocka_unit_test(missing_mandatory_flags_are_refused_by_name),
        cmocka_unit_test(old_name_with_complement_is_understood),
        cmocka_unit_test(a_nameless_node_gets_a_name),
        cmocka_unit_test(another_node_at_the_address_is_noticed),
        cmocka_unit_test(lengths_are_checked_before_anything_else),
        cmocka_unit_test(garbage_never_passes),
        cmocka_unit_test(no_changed_bit_of_the_proof_passes),
        cmocka_unit_test(names_order_decides_who_wins),
        cmocka_unit_test(a_thousand_simultaneous_connects_give_one_link_each),
        cmocka_unit_test(own_names_and_cookies_are_checked),
        cmocka_unit_test(pids_and_references_carry_handles),
    };
    return cmocka_run_group_tests(tests, make_identities, drop_identities);
}
