/* test_edge_limits.c: what the edge does at each limit, over real sockets, and that a dry run does nothing. */
#include "edge_harness.h"

#include "gather.h"
#include "log.h"
#include "test_certs.h"

#define BEAT "[null,\"hb\",\"phoenix\",\"heartbeat\",{}]"
#define BEAT_REPLY "[null,\"hb\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"

static void set(struct rig *r, enum limit which, uint32_t value)
{
    r->limits.value[which] = value;
    limit_ready(&r->limits);
}

/* Time stands still but for what a test lets pass, however busy the machine is. */
static void start(struct rig *r)
{
    rig_start(r);
    r->frozen_us = clock_now_us();
}

static uint64_t count(const struct rig *r, enum limit which)
{
    return r->metrics.value[limit_rows[which].counter];
}

/* Sends a request for a WebSocket; the status of the answer. */
static int upgrade_status(struct rig *r, const char *query)
{
    char head[512], answer[512];
    snprintf(head, sizeof(head),
             "GET /socket/websocket?%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
             query);
    http_exchange(r, head, answer, sizeof(answer));
    return atoi(answer + strlen("HTTP/1.1 "));
}

static void beats(struct rig *r, int fd, unsigned n)
{
    static uint8_t frames[64 * 1024];
    size_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += frame_make(frames + len, 0x81, BEAT, strlen(BEAT));
    tcp_send(r, fd, frames, len);
}

/* Lets time pass, a little at a time, until something can be read. */
static void pass_time(struct rig *r, int fd)
{
    char byte;
    for (int i = 0; recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0; i++) {
        if (i > 100)
            r->skew_us += 2000;
        rig_turn(r);
        assert_true(i < 20000);
    }
}

static void turns(struct rig *r, unsigned n)
{
    while (n--) {
        rig_turn(r);
        usleep(200);
    }
}

/* --- coming in ---------------------------------------------------------------------------------------------------- */

static void an_address_with_too_many_connections_gets_429(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_ADDRESS_CONNECTIONS, 2);
    start(&r);
    int a = ws_open(&r, V2), b = tcp_open(&r); /* a handshake counts as well */
    WAIT_FOR(&r, edge_connections(r.edge) == 2);
    assert_int_equal(upgrade_status(&r, V2), 429);
    assert_int_equal(count(&r, LIMIT_ADDRESS_CONNECTIONS), 1);
    expect_heartbeat(&r, a, false);
    close(b);
    WAIT_FOR(&r, edge_connections(r.edge) == 1);
    b = ws_open(&r, V2);
    close(a);
    close(b);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void an_address_that_connects_too_often_gets_429_and_may_come_back(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_ADDRESS_CONNECTS, 1);
    start(&r);
    for (int i = 0; i < LIMIT_ADDRESS_BURST_S; i++)
        close(ws_open(&r, V2));
    assert_int_equal(upgrade_status(&r, V2), 429);
    assert_int_equal(count(&r, LIMIT_ADDRESS_CONNECTS), 1);
    r.skew_us += 1100000;
    close(ws_open(&r, V2));
    rig_stop(&r);
}

static void too_many_connects_a_second_wait_and_are_served(void **state)
{
    (void)state;
    enum { CLIENTS = 8 };
    struct rig r;
    int fd[CLIENTS];
    char answer[CLIENTS][16];
    rig_init(&r);
    set(&r, LIMIT_CONNECTS, 1);
    start(&r);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = tcp_open(&r);
        tcp_send(&r, fd[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 34);
    }
    turns(&r, 50);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_ACCEPTED], LIMIT_BURST_S + 1);
    for (int i = 0; i < CLIENTS; i++) {
        r.skew_us += 1100000;
        assert_true(tcp_recv(&r, fd[i], answer[i], 12));
        assert_memory_equal(answer[i], "HTTP/1.1 200", 12);
        close(fd[i]);
    }
    assert_in_range(count(&r, LIMIT_CONNECTS), 1, CLIENTS);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_REFUSED], 0);
    rig_stop(&r);
}

static void the_oldest_who_has_not_asked_makes_room(void **state)
{
    (void)state;
    struct rig r;
    char byte;
    rig_init(&r);
    set(&r, LIMIT_PENDING, 2);
    start(&r);
    int a = tcp_open(&r);
    WAIT_FOR(&r, edge_connections(r.edge) == 1);
    int b = tcp_open(&r);
    WAIT_FOR(&r, edge_connections(r.edge) == 2);
    int ws = ws_open(&r, V2);
    assert_false(tcp_recv(&r, a, &byte, 1));
    expect_heartbeat(&r, ws, false);
    tcp_send(&r, b, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 34);
    assert_true(tcp_recv(&r, b, &byte, 1));
    assert_int_equal(count(&r, LIMIT_PENDING), 1);
    close(a);
    close(b);
    close(ws);
    rig_stop(&r);
}

static void a_large_head_gets_431_and_passes_in_a_dry_run(void **state)
{
    (void)state;
    static const char request[] = "GET /health HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n";
    static const enum limit which[] = {LIMIT_HEADERS, LIMIT_HEAD_BYTES};
    for (size_t i = 0; i < ARRAY_SIZE(which); i++) {
        struct rig r;
        char answer[512];
        rig_init(&r);
        set(&r, which[i], 5);
        start(&r);
        http_exchange(&r, request, answer, sizeof(answer));
        assert_int_equal(strncmp(answer, "HTTP/1.1 431 ", 13), 0);
        r.limits.dry_run[which[i]] = true;
        http_exchange(&r, request, answer, sizeof(answer));
        assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
        assert_int_equal(count(&r, which[i]), 2);
        rig_stop(&r);
    }
}

static void a_slow_head_is_let_be_in_a_dry_run_but_not_for_ever(void **state)
{
    (void)state;
    struct rig r;
    char byte;
    rig_init(&r);
    r.limits.dry_run[LIMIT_HANDSHAKE] = true;
    start(&r);
    int fd = tcp_open(&r);
    WAIT_FOR(&r, edge_connections(r.edge) == 1);
    r.skew_us += 11000000;
    turns(&r, 3);
    assert_int_equal(count(&r, LIMIT_HANDSHAKE), 1);
    assert_int_equal(edge_connections(r.edge), 1);
    r.skew_us += 601000000;
    assert_false(tcp_recv(&r, fd, &byte, 1));
    assert_int_equal(count(&r, LIMIT_HANDSHAKE), 1);
    close(fd);
    rig_stop(&r);
}

/* The same of who has not come as far as to a request: a PROXY header, a TLS handshake. */
static void a_slow_header_or_handshake_is_let_be_in_a_dry_run_but_not_for_ever(void **state)
{
    (void)state;
    struct test_certs certs;
    struct err e;
    certs_make(&certs);
    const struct tls_options o = {.certificate = certs_path(&certs, "gw.crt"), .key = certs_path(&certs, "gw.key")};
    struct tls_context *tls = tls_context_new(&o, &e);
    assert_non_null(tls);
    struct ip_range loopback;
    assert_int_equal(ip_range_parse(SLICE_LIT("127.0.0.1"), &loopback), BG_OK);
    for (int i = 0; i < 2; i++) {
        struct listener_config listener = {.address = "127.0.0.1", .tls = i ? tls : NULL, .proxy_protocol = !i};
        struct rig r;
        char byte;
        rig_init(&r);
        r.options.listeners = &listener;
        r.options.trusted = &loopback;
        r.options.trusted_count = 1;
        r.limits.dry_run[LIMIT_HANDSHAKE] = r.limits.dry_run[LIMIT_PENDING] = true;
        set(&r, LIMIT_PENDING, 1);
        start(&r);
        int fd = tcp_open(&r), second = tcp_open(&r);
        WAIT_FOR(&r, edge_connections(r.edge) == 2);
        assert_int_equal(count(&r, LIMIT_PENDING), 1);
        r.skew_us += 11000000;
        turns(&r, 3);
        assert_int_equal(count(&r, LIMIT_HANDSHAKE), 2);
        assert_int_equal(edge_connections(r.edge), 2);
        r.skew_us += LIMIT_HANDSHAKE_DRY_US + 1000000;
        assert_false(tcp_recv(&r, fd, &byte, 1));
        assert_false(tcp_recv(&r, second, &byte, 1));
        assert_int_equal(count(&r, LIMIT_HANDSHAKE), 2);
        close(fd);
        close(second);
        rig_stop(&r);
    }
    tls_context_free(tls);
    certs_remove(&certs);
}

static void who_has_not_asked_stays_in_a_dry_run(void **state)
{
    (void)state;
    struct rig r;
    char byte;
    int fd[4];
    rig_init(&r);
    r.limits.dry_run[LIMIT_PENDING] = true;
    set(&r, LIMIT_PENDING, 1);
    start(&r);
    for (uint32_t i = 0; i < ARRAY_SIZE(fd); i++) {
        fd[i] = tcp_open(&r);
        WAIT_FOR(&r, edge_connections(r.edge) == i + 1);
    }
    assert_int_equal(count(&r, LIMIT_PENDING), 3);
    for (uint32_t i = 0; i < ARRAY_SIZE(fd); i++) {
        tcp_send(&r, fd[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 34);
        assert_true(tcp_recv(&r, fd[i], &byte, 1));
        close(fd[i]);
    }
    rig_stop(&r);
}

/* Each at one, and in a dry run; ten sockets of one user, from one address, at one moment. */
static void limits_of_connections_keep_nobody_out_in_a_dry_run(void **state)
{
    (void)state;
    static const enum limit which[] = {LIMIT_CONNECTIONS, LIMIT_ADDRESS_CONNECTIONS, LIMIT_ADDRESS_CONNECTS,
                                       LIMIT_CONNECTS, LIMIT_USER_CONNECTIONS};
    for (size_t i = 0; i < ARRAY_SIZE(which); i++) {
        struct rig r;
        int fd[10];
        rig_init(&r);
        set(&r, which[i], 1);
        r.limits.dry_run[which[i]] = true;
        start(&r);
        for (size_t k = 0; k < ARRAY_SIZE(fd); k++)
            fd[k] = ws_open(&r, V2);
        assert_in_range(count(&r, which[i]), ARRAY_SIZE(fd) - LIMIT_ADDRESS_BURST_S, ARRAY_SIZE(fd) - 1);
        for (size_t k = 0; k < ARRAY_SIZE(fd); k++) {
            expect_heartbeat(&r, fd[k], false);
            close(fd[k]);
        }
        assert_int_equal(r.metrics.value[METRIC_CLIENT_REFUSED], 0);
        rig_stop(&r);
    }
}

static void a_user_with_too_many_sockets_gets_429(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_USER_CONNECTIONS, 1);
    start(&r);
    int a = ws_open(&r, V2), other = ws_open(&r, "vsn=2.0.0&user_id=u2");
    assert_int_equal(upgrade_status(&r, V2), 429);
    assert_int_equal(count(&r, LIMIT_USER_CONNECTIONS), 1);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_USERS], 2);
    int nobody = ws_open(&r, "vsn=2.0.0"), again = ws_open(&r, "vsn=2.0.0"); /* nobody is not a user */
    close(a);
    WAIT_FOR(&r, r.metrics.value[METRIC_CLIENT_USERS] == 1);
    a = ws_open(&r, V2);
    expect_heartbeat(&r, a, false);
    close(a);
    close(other);
    close(nobody);
    close(again);
    WAIT_FOR(&r, r.metrics.value[METRIC_CLIENT_USERS] == 0 && edge_connections(r.edge) == 0);
    rig_stop(&r);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void each_message_is_told_with_who_sent_it(void **state)
{
    (void)state;
    struct rig r;
    struct gather gather = {0};
    rig_init(&r);
    r.options.gather = &gather;
    start(&r);
    int one = ws_open(&r, V2), other = ws_open(&r, V2);
    for (int i = 0; i < 3; i++)
        expect_heartbeat(&r, one, false);
    uint64_t seats[GATHER_SEATS / 64];
    memcpy(seats, gather.seats, sizeof(seats));
    assert_int_equal(gather.requests, 3);
    expect_heartbeat(&r, other, false);
    assert_int_equal(gather.requests, 4);
    assert_memory_not_equal(seats, gather.seats, sizeof(seats));
    close(one);
    close(other);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void who_sends_too_fast_is_delayed_and_loses_nothing(void **state)
{
    (void)state;
    enum { SENT = 400 };
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_MESSAGES, 50);
    set(&r, LIMIT_FLOOD, 3600000);
    start(&r);
    int fd = ws_open(&r, V2), other = ws_open(&r, V2);
    beats(&r, fd, SENT);
    turns(&r, 200);
    /* The burst, and what was read with its last message. */
    assert_in_range(r.metrics.value[METRIC_CLIENT_FRAMES_IN], 100, 150);
    assert_int_equal(count(&r, LIMIT_MESSAGES), 1);
    expect_heartbeat(&r, other, false);
    for (int i = 0; i < SENT; i++) {
        pass_time(&r, fd);
        expect_text(&r, fd, BEAT_REPLY);
    }
    assert_in_range(count(&r, LIMIT_MESSAGES), 2, SENT);
    assert_int_equal(count(&r, LIMIT_FLOOD), 0);
    close(fd);
    close(other);
    rig_stop(&r);
}

static void who_sends_too_many_bytes_is_delayed(void **state)
{
    (void)state;
    enum { SIZE = 40000 };
    static char text[SIZE + 1];
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_BYTES, 10000);
    start(&r);
    int fd = ws_open(&r, V2);
    int n = snprintf(text, sizeof(text), "[null,\"hb\",\"phoenix\",\"heartbeat\",{\"x\":\"");
    memset(text + n, 'x', SIZE - 3 - (size_t)n);
    memcpy(text + SIZE - 3, "\"}]", 4);
    ws_send(&r, fd, 0x81, text, SIZE);
    turns(&r, 200);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_FRAMES_IN], 0); /* half of it waits in the kernel */
    r.skew_us += 3000000;
    for (int i = 0; i < 4; i++) {
        r.skew_us += 1000000;
        turns(&r, 20);
    }
    expect_text(&r, fd, BEAT_REPLY);
    assert_in_range(count(&r, LIMIT_BYTES), 1, SIZE / 1000);
    close(fd);
    rig_stop(&r);
}

static void who_goes_on_sending_too_fast_is_closed_with_1008(void **state)
{
    (void)state;
    struct rig r;
    char got[512];
    size_t len;
    int first = 0, answered = 0;
    rig_init(&r);
    set(&r, LIMIT_MESSAGES, 50);
    set(&r, LIMIT_FLOOD, 2000);
    start(&r);
    int fd = ws_open(&r, V2);
    beats(&r, fd, 600);
    while ((first = ws_recv(&r, fd, got, sizeof(got), &len)) == 0x81) {
        pass_time(&r, fd);
        answered++;
    }
    assert_int_equal(first, 0x88);
    assert_int_equal(get_be16((uint8_t *)got), 1008);
    assert_in_range(answered, 180, 350); /* two seconds' burst and two seconds' rate */
    assert_int_equal(count(&r, LIMIT_FLOOD), 1);
    WAIT_FOR(&r, (r.skew_us += 1000000, edge_connections(r.edge) == 0));
    close(fd);
    rig_stop(&r);
}

static void who_rests_between_bursts_is_not_a_flood(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_MESSAGES, 50);
    set(&r, LIMIT_FLOOD, 2000);
    start(&r);
    int fd = ws_open(&r, V2);
    for (int round = 0; round < 10; round++) {
        beats(&r, fd, 120);
        for (int i = 0; i < 120; i++) {
            pass_time(&r, fd);
            expect_text(&r, fd, BEAT_REPLY);
        }
        for (int i = 0; i < 30; i++, turns(&r, 1))
            r.skew_us += 100000;
    }
    assert_in_range(count(&r, LIMIT_MESSAGES), 10, 100);
    assert_int_equal(count(&r, LIMIT_FLOOD), 0);
    close(fd);
    rig_stop(&r);
}

/* Pings and pongs, which libwebsockets keeps to itself, and fragments of a byte count as well. */
static void control_frames_and_small_fragments_count_too(void **state)
{
    (void)state;
    static const struct {
        enum limit which;
        int first; /* byte of the frame */
    } cases[] = {{LIMIT_MESSAGES, 0x89}, {LIMIT_MESSAGES, 0x8a}, {LIMIT_BYTES, 0x00}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct rig r;
        rig_init(&r);
        set(&r, LIMIT_MESSAGES, 20);
        set(&r, LIMIT_BYTES, 1024);
        if (cases[i].which != LIMIT_BYTES)
            set(&r, LIMIT_BYTES, 1000000);
        set(&r, LIMIT_FLOOD, 3600000);
        start(&r);
        int fd = ws_open(&r, V2);
        if (cases[i].first == 0)
            ws_send(&r, fd, 0x01, "[", 1);
        for (int k = 0; k < 200; k++) {
            ws_send(&r, fd, cases[i].first, "1", 1);
            rig_turn(&r);
            rig_turn(&r);
        }
        assert_in_range(count(&r, cases[i].which), 1, 10);
        close(fd);
        rig_stop(&r);
    }
}

static void a_dry_run_of_the_rates_delays_nobody(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_MESSAGES, 50);
    set(&r, LIMIT_BYTES, 1024);
    r.limits.dry_run[LIMIT_MESSAGES] = r.limits.dry_run[LIMIT_BYTES] = true;
    start(&r);
    int fd = ws_open(&r, V2);
    beats(&r, fd, 300);
    for (int i = 0; i < 300; i++)
        expect_text(&r, fd, BEAT_REPLY);
    assert_in_range(count(&r, LIMIT_MESSAGES), 100, 200);
    assert_in_range(count(&r, LIMIT_BYTES), 200, 300);
    close(fd);
    rig_stop(&r);
}

static void a_flood_is_delayed_and_not_closed_in_a_dry_run(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_MESSAGES, 50);
    set(&r, LIMIT_FLOOD, 2000);
    r.limits.dry_run[LIMIT_FLOOD] = true;
    start(&r);
    int fd = ws_open(&r, V2);
    beats(&r, fd, 600);
    for (int i = 0; i < 600; i++) {
        pass_time(&r, fd);
        expect_text(&r, fd, BEAT_REPLY);
    }
    assert_in_range(count(&r, LIMIT_FLOOD), 1, 10);
    assert_in_range(count(&r, LIMIT_MESSAGES), 2, 600);
    close(fd);
    rig_stop(&r);
}

static void who_is_held_back_is_not_idle_and_can_be_dropped_at_any_moment(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_MESSAGES, 1);
    set(&r, LIMIT_FLOOD, 3600000);
    r.socket.timeout_ms = 1000;
    start(&r);
    int fd = ws_open(&r, V2), leaves = ws_open(&r, V2), stays = ws_open(&r, V2);
    beats(&r, fd, 30);
    beats(&r, leaves, 30);
    beats(&r, stays, 30);
    turns(&r, 50);
    assert_int_equal(count(&r, LIMIT_MESSAGES), 3);
    close(leaves);
    for (int i = 0; i < 10; i++) {
        r.skew_us += 900000;
        turns(&r, 5);
    }
    assert_int_equal(count(&r, LIMIT_IDLE), 0);
    WAIT_FOR(&r, (r.skew_us += 100000, edge_connections(r.edge) == 2));
    close(fd);
    rig_stop(&r); /* drops the one that is still held */
    close(stays);
}

static void a_silent_socket_is_let_be_in_a_dry_run(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.socket.timeout_ms = 1000;
    r.limits.dry_run[LIMIT_IDLE] = true;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    WAIT_FOR(&r, count(&r, LIMIT_IDLE) == 1);
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

/* --- the channel protocol ----------------------------------------------------------------------------------------- */

static void joins_are_limited_in_a_second(void **state)
{
    (void)state;
    static const char join[] = "[\"1\",\"1\",\"room:a\",\"phx_join\",{}]",
                      ok[] = "[\"1\",\"1\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]",
                      no[] = "[\"1\",\"1\",\"room:a\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"too many "
                             "joins\"}}]";
    struct rig r;
    rig_init(&r);
    set(&r, LIMIT_JOINS, 1);
    start(&r);
    int fd = ws_open(&r, V2);
    for (int i = 0; i < LIMIT_BURST_S; i++) {
        ws_text(&r, fd, join);
        expect_text(&r, fd, ok);
        if (i)
            expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]");
    }
    ws_text(&r, fd, join);
    expect_text(&r, fd, no);
    assert_int_equal(count(&r, LIMIT_JOINS), 1);
    r.skew_us += 1100000;
    ws_text(&r, fd, join);
    expect_text(&r, fd, ok);
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]");
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

static void joins_are_let_be_in_a_dry_run(void **state)
{
    (void)state;
    struct rig r;
    char text[128];
    rig_init(&r);
    set(&r, LIMIT_JOINS, 1);
    r.limits.dry_run[LIMIT_JOINS] = true;
    start(&r);
    int fd = ws_open(&r, V2);
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "[\"1\",\"1\",\"room:%d\",\"phx_join\",{}]", i);
        ws_text(&r, fd, text);
        snprintf(text, sizeof(text), "[\"1\",\"1\",\"room:%d\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]", i);
        expect_text(&r, fd, text);
    }
    assert_int_equal(count(&r, LIMIT_JOINS), 10 - LIMIT_BURST_S);
    close(fd);
    rig_stop(&r);
}

/* One limit that is looked at by message: what is sent, what comes back when it holds, and in a dry run. */
static const struct {
    enum limit which;
    const char *message, *refused, *dry;
} shapes[] = {
    {LIMIT_TOPIC_BYTES, "[\"1\",\"1\",\"room:abcdefghijklmnop\",\"phx_join\",{}]",
     "[\"1\",\"1\",\"room:abcdefghijklmnop\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"topic too long\"}}]",
     "[\"1\",\"1\",\"room:abcdefghijklmnop\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"},
    {LIMIT_CHANNELS, "[\"1\",\"1\",\"room:b\",\"phx_join\",{}]",
     "[\"1\",\"1\",\"room:b\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"too many channels joined\"}}]",
     "[\"1\",\"1\",\"room:b\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]"},
    {LIMIT_DEPTH, "[null,\"hb\",\"phoenix\",\"heartbeat\",[[[[[[[[1]]]]]]]]]", "1011", BEAT_REPLY},
    {LIMIT_KEYS, "[null,\"hb\",\"phoenix\",\"heartbeat\",{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}]", "1011", BEAT_REPLY},
    {LIMIT_MESSAGE_BYTES, "[null,\"hb\",\"phoenix\",\"heartbeat\",{\"a\":\"0123456789012345678901234567890\"}]", "1009",
     BEAT_REPLY},
};

static void each_shape_is_refused_and_passes_in_a_dry_run(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(shapes); i++) {
        bool dry = i % 2;
        enum limit which = shapes[i / 2].which;
        struct rig r;
        rig_init(&r);
        r.socket.max_topic_bytes = 20;
        r.socket.max_channels = 1;
        r.socket.max_frame_bytes = 70;
        r.options.json = (struct json_limits){.max_depth = 6, .max_keys = 4};
        r.limits.dry_run[which] = dry;
        start(&r);
        int fd = ws_open(&r, V2);
        if (which == LIMIT_CHANNELS) {
            ws_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_join\",{}]");
            expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
        }
        ws_text(&r, fd, shapes[i / 2].message);
        const char *want = dry ? shapes[i / 2].dry : shapes[i / 2].refused;
        if (want[0] == '1')
            expect_close(&r, fd, (unsigned)atoi(want));
        else
            expect_text(&r, fd, want);
        assert_int_equal(count(&r, which), 1);
        close(fd);
        rig_stop(&r);
    }
}

/* Each ends its socket, and is counted as what it breaks first: deeper than can be configured is still too deep, and a
 * number of too many digits is neither. */
static void a_message_is_counted_at_the_limit_that_it_breaks(void **state)
{
    (void)state;
    enum { DEEP = 300, DIGITS = 5000 };
    static const char beat[] = "[null,\"1\",\"phoenix\",\"heartbeat\",";
    static char deep[2 * DEEP + 1], digits[DIGITS + 1], text[DIGITS + 128];
    memset(deep, '[', DEEP);
    memset(deep + DEEP, ']', DEEP);
    memset(digits, '9', DIGITS);
    const struct {
        const char *query, *head, *payload, *tail;
        uint64_t depth, keys;
    } rows[] = {
        {V2, beat, deep, "]", 1, 0},
        {V2, beat, digits, "]", 0, 0},
        {V2, beat, "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":[[[[[1]]]]]}", "]", 0, 1},
        {"vsn=1.0.0", "{\"topic\":\"\",\"event\":\"\",\"ref\":\"\",\"payload\":", "1,\"a\":1,\"b\":2", "}", 0, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rig r;
        rig_init(&r);
        r.options.json = (struct json_limits){.max_depth = 4, .max_keys = 5};
        start(&r);
        int fd = ws_open(&r, rows[i].query);
        snprintf(text, sizeof(text), "%s%s%s", rows[i].head, rows[i].payload, rows[i].tail);
        ws_text(&r, fd, text);
        expect_close(&r, fd, 1011);
        assert_int_equal(count(&r, LIMIT_DEPTH), rows[i].depth);
        assert_int_equal(count(&r, LIMIT_KEYS), rows[i].keys);
        close(fd);
        rig_stop(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_with_too_many_connections_gets_429),
        cmocka_unit_test(an_address_that_connects_too_often_gets_429_and_may_come_back),
        cmocka_unit_test(too_many_connects_a_second_wait_and_are_served),
        cmocka_unit_test(the_oldest_who_has_not_asked_makes_room),
        cmocka_unit_test(a_large_head_gets_431_and_passes_in_a_dry_run),
        cmocka_unit_test(a_slow_head_is_let_be_in_a_dry_run_but_not_for_ever),
        cmocka_unit_test(a_slow_header_or_handshake_is_let_be_in_a_dry_run_but_not_for_ever),
        cmocka_unit_test(who_has_not_asked_stays_in_a_dry_run),
        cmocka_unit_test(limits_of_connections_keep_nobody_out_in_a_dry_run),
        cmocka_unit_test(a_user_with_too_many_sockets_gets_429),
        cmocka_unit_test(each_message_is_told_with_who_sent_it),
        cmocka_unit_test(who_sends_too_fast_is_delayed_and_loses_nothing),
        cmocka_unit_test(who_sends_too_many_bytes_is_delayed),
        cmocka_unit_test(who_goes_on_sending_too_fast_is_closed_with_1008),
        cmocka_unit_test(who_rests_between_bursts_is_not_a_flood),
        cmocka_unit_test(control_frames_and_small_fragments_count_too),
        cmocka_unit_test(a_dry_run_of_the_rates_delays_nobody),
        cmocka_unit_test(a_flood_is_delayed_and_not_closed_in_a_dry_run),
        cmocka_unit_test(who_is_held_back_is_not_idle_and_can_be_dropped_at_any_moment),
        cmocka_unit_test(a_silent_socket_is_let_be_in_a_dry_run),
        cmocka_unit_test(joins_are_limited_in_a_second),
        cmocka_unit_test(joins_are_let_be_in_a_dry_run),
        cmocka_unit_test(each_shape_is_refused_and_passes_in_a_dry_run),
        cmocka_unit_test(a_message_is_counted_at_the_limit_that_it_breaks),
    };
    return cmocka_run_group_tests_name("edge_limits", tests, rig_quiet, NULL);
}
