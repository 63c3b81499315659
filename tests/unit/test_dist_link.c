/* test_dist_link.c: one link against a plain socket: framing, output queue, ticks, closing. No handshake. */
#define _GNU_SOURCE
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../c_src/cluster/dist_link_internal.h"
#include "log.h"
#include "map.h"

/* The link under test, and fd: the peer's end. */
struct bench {
    uv_loop_t loop;
    uv_timer_t wake;
    uv_prepare_t before_wait;
    struct timers timers;
    struct metrics metrics;
    struct link_host host;
    struct dist_link *l;
    int fd;
    bool connected;
    bool lost;
    unsigned freed;
    char reason[128];
    unsigned packets;
    uint64_t bytes;
    uint64_t hash; /* of all packets with their lengths */
    void (*on_packet)(struct bench *b, struct slice p);
};

static void on_connected(void *ctx, struct dist_link *l, int status)
{
    struct bench *b = ctx;
    assert_int_equal(status, 0);
    assert_ptr_equal(l, b->l);
    b->connected = true;
}

static size_t on_handshake(void *ctx, struct dist_link *l, struct slice in)
{
    (void)ctx;
    (void)l;
    return in.len;
}

static void on_packet(void *ctx, struct dist_link *l, struct slice p)
{
    struct bench *b = ctx;
    assert_ptr_equal(l, b->l);
    b->packets++;
    b->bytes += p.len;
    b->hash = b->hash * 31 + hash_bytes(p.ptr, p.len);
    if (b->on_packet)
        b->on_packet(b, p);
}

static void on_late(void *ctx, struct dist_link *l)
{
    (void)ctx;
    dist_link_close(l, "late");
}

static void on_lost(void *ctx, struct dist_link *l, const char *reason)
{
    struct bench *b = ctx;
    assert_false(b->lost);
    assert_null(dist_link_begin(l, LINK_PROTOCOL));
    b->lost = true;
    snprintf(b->reason, sizeof(b->reason), "%s", reason);
}

static void on_freed(void *ctx)
{
    struct bench *b = ctx;
    b->freed++;
    b->l = NULL;
}

static void wake(uv_timer_t *t)
{
    struct bench *b = t->data;
    timers_run(&b->timers, clock_now_us(), 0);
}

static void before_wait(uv_prepare_t *p)
{
    struct bench *b = p->data;
    dist_links_flush(&b->host);
}

#define until(b, ms, cond)                                                                                             \
    do {                                                                                                               \
        uint64_t until_ = clock_now_us() + (uint64_t)(ms)*1000u;                                                       \
        while (!(cond)) {                                                                                              \
            if (clock_now_us() > until_)                                                                               \
                fail_msg("not within %d ms: %s", (int)(ms), #cond);                                                    \
            uv_run(&(b)->loop, UV_RUN_ONCE);                                                                           \
        }                                                                                                              \
    } while (0)

static void run_ms(struct bench *b, unsigned ms)
{
    uint64_t end = clock_now_us() + ms * 1000u;
    while (clock_now_us() < end)
        uv_run(&b->loop, UV_RUN_ONCE);
}

static void bench_loop(struct bench *b, uint64_t tick_us)
{
    memset(b, 0, sizeof(*b));
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&b->loop);
    uv_timer_init(&b->loop, &b->wake);
    uv_prepare_init(&b->loop, &b->before_wait);
    b->wake.data = b->before_wait.data = b;
    uv_timer_start(&b->wake, wake, 1, 1);
    uv_prepare_start(&b->before_wait, before_wait);
    timers_init(&b->timers, clock_now_us());
    b->host = (struct link_host){.loop = &b->loop, .timers = &b->timers, .metrics = &b->metrics, .tick_us = tick_us};
    b->host.max_packet_bytes = 16 << 20;
    b->host.max_output_bytes = 1 << 20;
    b->host.owner = (struct link_owner){on_connected, on_handshake, on_packet, on_late, on_lost, on_freed, b};
    assert_int_equal(link_host_init(&b->host), BG_OK);
}

static void bench_init(struct bench *b, uint64_t tick_us)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    bench_loop(b, tick_us);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&a, len) | listen(server, 1), 0);
    getsockname(server, (struct sockaddr *)&a, &len);
    b->l = dist_link_new(&b->host, true);
    assert_int_equal(dist_link_connect(b->l, "peer@host", (struct sockaddr *)&a), 0);
    until(b, 1000, b->connected);
    b->fd = accept(server, NULL, NULL);
    close(server);
    fcntl(b->fd, F_SETFL, O_NONBLOCK);
    dist_link_up(b->l, "peer@127.0.0.1", DIST_FLAGS_DEFAULT, 5, 7);
}

static void bench_fini(struct bench *b)
{
    if (b->l)
        dist_link_close(b->l, "test over");
    until(b, 1000, b->freed == 1);
    assert_true(b->lost);
    if (b->fd >= 0)
        close(b->fd);
    uv_close((uv_handle_t *)&b->wake, NULL);
    uv_close((uv_handle_t *)&b->before_wait, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    assert_int_equal(b->timers.count, 0);
    link_host_fini(&b->host);
    timers_fini(&b->timers);
}

/* Writes all of it as the peer, turning the loop while the socket is full; pieces of at most `piece`. */
static void say(struct bench *b, const void *data, size_t len, size_t piece)
{
    for (size_t at = 0; at < len && !b->lost;) {
        size_t want = len - at < piece ? len - at : piece;
        ssize_t n = write(b->fd, (const char *)data + at, want);
        if (n > 0)
            at += (size_t)n;
        uv_run(&b->loop, UV_RUN_NOWAIT);
    }
}

static void put_packet(struct buf *b, size_t len, unsigned seed)
{
    uint8_t *p = buf_reserve(b, len + 4);
    put_be32(p, (uint32_t)len);
    for (size_t i = 0; i < len; i++)
        p[4 + i] = i ? (uint8_t)(seed + i * 7) : 112;
    b->len += len + 4;
}

static uint64_t hash_of_packets(const struct buf *b)
{
    uint64_t h = 0;
    for (size_t at = 0; at < b->len;) {
        size_t len = get_be32(b->data + at);
        if (len)
            h = h * 31 + hash_bytes(b->data + at + 4, len);
        at += 4 + len;
    }
    return h;
}

/* What the peer can read now. */
static size_t hear(struct bench *b, void *dst, size_t size)
{
    ssize_t n = read(b->fd, dst, size);
    return n > 0 ? (size_t)n : 0;
}

static void packets_arrive_whole_whatever_the_pieces(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 2, 3, 5, 4096, 65536, 1 << 20};
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        struct bench b;
        struct buf wire;
        bench_init(&b, 60u * 1000000u);
        buf_init(&wire, 0);
        size_t scale = pieces[i] < 100 ? 1 : 100;
        for (unsigned n = 0; n < 40; n++) {
            put_packet(&wire, 1 + n * n * scale, n);
            if (n % 5 == 0)
                buf_add(&wire, "\0\0\0\0", 4); /* ticks between packets are not packets */
        }
        say(&b, wire.data, wire.len, pieces[i]);
        until(&b, 3000, b.packets == 40);
        assert_true(b.hash == hash_of_packets(&wire));
        buf_fini(&wire);
        bench_fini(&b);
    }
}

static void memory_of_a_large_packet_is_given_back(void **state)
{
    (void)state;
    struct bench b;
    struct buf wire;
    bench_init(&b, 60u * 1000000u);
    buf_init(&wire, 0);
    put_packet(&wire, 10 << 20, 1);
    put_packet(&wire, 100, 2);
    say(&b, wire.data, wire.len - 50, 1 << 20); /* the last one stays incomplete */
    until(&b, 3000, b.packets == 1);
    assert_true(b.l->in.cap < 1 << 20);
    say(&b, wire.data + wire.len - 50, 50, 50);
    until(&b, 1000, b.packets == 2);
    assert_true(b.hash == hash_of_packets(&wire));
    buf_fini(&wire);
    bench_fini(&b);
}

enum { READ_A_TURN = 256 * 1024 };

/* The peer writes what there is room for, from wire; the loop reads. Both as long as the link has not had enough for this turn,
 * and once more. Returns how many bytes came. */
static uint64_t flood_a_turn(struct bench *b, const struct buf *wire, size_t *at)
{
    struct dist_link_stats before, now;
    dist_link_stats(b->l, &before);
    for (bool enough = false, last = false; !last;) {
        ssize_t n = *at < wire->len ? write(b->fd, wire->data + *at, wire->len - *at) : 0;
        *at += n > 0 ? (size_t)n : 0;
        uv_run(&b->loop, UV_RUN_NOWAIT);
        dist_link_stats(b->l, &now);
        last = enough || now.bytes_in == wire->len;
        enough = list_linked(&b->l->resting);
    }
    return now.bytes_in - before.bytes_in;
}

/* However fast the peer sends, and whether small packets or a large one: the others have their turn between. */
static void a_flood_is_read_in_pieces_one_a_turn(void **state) /* D-09 */
{
    (void)state;
    enum { BYTES = 4 << 20 };
    const size_t sizes[] = {1000, BYTES - 4};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct bench b;
        struct buf wire;
        bench_init(&b, 60u * 1000000u);
        uv_prepare_stop(&b.before_wait); /* a turn ends when the test says so */
        buf_init(&wire, 0);
        while (wire.len < BYTES)
            put_packet(&wire, sizes[i], 1);
        uint64_t read = 0;
        for (size_t at = 0; read < wire.len;) {
            uint64_t n = flood_a_turn(&b, &wire, &at);
            read += n;
            assert_in_range(n, read < wire.len ? READ_A_TURN : 0, 2 * READ_A_TURN - 1);
            dist_links_flush(&b.host);
        }
        assert_true(b.hash == hash_of_packets(&wire));
        uv_prepare_start(&b.before_wait, before_wait);
        buf_fini(&wire);
        bench_fini(&b);
    }
}

static void a_link_may_be_closed_while_it_rests(void **state) /* D-09 */
{
    (void)state;
    static uint8_t ticks[4 * READ_A_TURN];
    const struct buf wire = {.data = ticks, .len = sizeof(ticks)};
    struct bench b;
    size_t at = 0;
    bench_init(&b, 60u * 1000000u);
    uv_prepare_stop(&b.before_wait);
    flood_a_turn(&b, &wire, &at);
    assert_true(list_linked(&b.l->resting));
    dist_link_close(b.l, "enough");
    uv_prepare_start(&b.before_wait, before_wait);
    until(&b, 1000, b.freed == 1);
    assert_string_equal(b.reason, "enough");
    bench_fini(&b);
}

static void an_announced_length_takes_no_memory(void **state) /* D-10 */
{
    (void)state;
    struct bench b;
    bench_init(&b, 60u * 1000000u);
    say(&b, "\x00\xf0\x00\x00p", 5, 5);
    run_ms(&b, 20);
    say(&b, "more", 4, 4);
    run_ms(&b, 20);
    assert_false(b.lost);
    assert_true(b.l->in.cap <= 256 * 1024);
    bench_fini(&b);
}

static void bad_packets_close_the_link(void **state) /* D-10 */
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *reason;
    } table[] = {
        {"\x01\x00\x00\x01", 4, "packet is larger than max_packet_bytes"},
        {"\xff\xff\xff\xff", 4, "packet is larger than max_packet_bytes"},
        {"\0\0\0\2\x83\x44", 6, "packet is not pass-through: the peer uses a flag we did not offer"},
        {"\0\0\0\1\0", 5, "packet is not pass-through: the peer uses a flag we did not offer"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct bench b;
        bench_init(&b, 60u * 1000000u);
        say(&b, table[i].bytes, table[i].len, 100);
        until(&b, 1000, b.lost);
        assert_string_equal(b.reason, table[i].reason);
        assert_int_equal(b.packets, 0);
        assert_int_equal(b.metrics.value[METRIC_LINK_MALFORMED], 1);
        bench_fini(&b);
    }
}

static void close_at_first(struct bench *b, struct slice p)
{
    (void)p;
    dist_link_close(b->l, "enough");
    dist_link_close(b->l, "again");
}

static void closing_inside_a_callback_stops_delivery(void **state)
{
    (void)state;
    struct bench b;
    struct buf wire;
    bench_init(&b, 60u * 1000000u);
    buf_init(&wire, 0);
    for (unsigned n = 0; n < 10; n++)
        put_packet(&wire, 20, n);
    b.on_packet = close_at_first;
    say(&b, wire.data, wire.len, wire.len);
    until(&b, 1000, b.lost);
    assert_int_equal(b.packets, 1);
    assert_string_equal(b.reason, "enough");
    buf_fini(&wire);
    bench_fini(&b);
}

static void packets_of_a_turn_leave_in_one_write(void **state)
{
    (void)state;
    struct bench b;
    uint8_t got[256];
    bench_init(&b, 60u * 1000000u);
    for (int i = 0; i < 3; i++) {
        buf_puts(dist_link_begin(b.l, LINK_DATA), "x");
        assert_int_equal(dist_link_commit(b.l), BG_OK);
    }
    buf_puts(dist_link_begin(b.l, LINK_DATA), "never sent");
    dist_link_abort(b.l);
    assert_int_equal(hear(&b, got, sizeof(got)), 0);
    uv_run(&b.loop, UV_RUN_NOWAIT);
    assert_int_equal(hear(&b, got, sizeof(got)), 18);
    assert_memory_equal(got, "\0\0\0\2px\0\0\0\2px\0\0\0\2px", 18);
    struct dist_link_stats s;
    dist_link_stats(b.l, &s);
    assert_int_equal(s.packets_out, 3);
    assert_int_equal(s.bytes_out, 18);
    assert_int_equal(s.queued_bytes, 0);
    assert_true(s.outgoing);
    assert_non_null(strstr(s.address, "127.0.0.1:"));
    bench_fini(&b);
}

static int send_block(struct dist_link *l, enum link_urgency urgency, size_t len)
{
    struct buf *out = dist_link_begin(l, urgency);
    if (!out)
        return BG_ELIMIT;
    uint8_t *p = buf_reserve(out, len);
    if (p) {
        memset(p, 'x', len);
        out->len += len;
    }
    return dist_link_commit(l);
}

static void the_output_queue_is_bounded(void **state) /* D-09 */
{
    (void)state;
    struct bench b;
    bench_init(&b, 60u * 1000000u);
    unsigned sent = 0;
    while (sent < 100000 && send_block(b.l, LINK_DATA, 4096) == BG_OK) {
        sent++;
        uv_run(&b.loop, UV_RUN_NOWAIT);
    }
    assert_true(sent > 200);
    assert_true(dist_link_queued(b.l) >= 1 << 20 && dist_link_queued(b.l) < (1 << 20) + 8192);
    assert_false(b.lost); /* data is refused, the link stays */
    assert_int_equal(send_block(b.l, LINK_PROTOCOL, 4096), BG_OK);
    /* The peer reads again: everything arrives, in order and complete. */
    uint64_t heard = 0;
    static uint8_t got[1 << 16];
    uint64_t want = (uint64_t)(sent + 1) * (4096 + 5);
    until(&b, 3000, (heard += hear(&b, got, sizeof(got))) == want);
    assert_int_equal(dist_link_queued(b.l), 0);
    assert_int_equal(send_block(b.l, LINK_DATA, 4096), BG_OK);
    bench_fini(&b);
}

/* So that an answer of megabytes, as etop's, does not hold the loop: a turn writes a piece of it. */
static void a_long_packet_leaves_in_pieces_one_a_turn(void **state)
{
    (void)state;
    enum { BLOCK = 1000000, PIECE = 256 * 1024 };
    static uint8_t got[2 * BLOCK];
    struct dist_link_stats s = {0};
    struct bench b;
    size_t heard = 0;
    unsigned turns = 0;
    bench_init(&b, 60u * 1000000u);
    assert_int_equal(send_block(b.l, LINK_DATA, BLOCK), BG_OK);
    for (uint64_t before = 0; s.bytes_out < BLOCK + 5; before = s.bytes_out, turns++) {
        uv_run(&b.loop, UV_RUN_NOWAIT);
        dist_link_stats(b.l, &s);
        assert_true(s.bytes_out - before <= PIECE);
        assert_int_equal(s.bytes_out + s.queued_bytes, turns < 2 ? BLOCK + 5 : BLOCK + 5 + 6);
        if (turns == 1) { /* what comes meanwhile goes after it */
            buf_puts(dist_link_begin(b.l, LINK_DATA), "y");
            assert_int_equal(dist_link_commit(b.l), BG_OK);
        }
        heard += hear(&b, got + heard, sizeof(got) - heard);
    }
    assert_true(turns >= 4);
    until(&b, 1000, (heard += hear(&b, got + heard, sizeof(got) - heard)) == BLOCK + 5 + 6);
    assert_memory_equal(got + BLOCK, "xxxxx\0\0\0\2py", 11);
    bench_fini(&b);
}

static void a_peer_that_never_reads_is_closed_over_twice_the_bound(void **state) /* D-09 */
{
    (void)state;
    struct bench b;
    bench_init(&b, 60u * 1000000u);
    for (unsigned i = 0; i < 100000 && !b.lost; i++) {
        int rc = send_block(b.l, LINK_PROTOCOL, 4096);
        if (rc != BG_OK)
            until(&b, 100, b.lost);
        else
            uv_run(&b.loop, UV_RUN_NOWAIT);
    }
    assert_true(b.lost);
    assert_non_null(strstr(b.reason, "twice"));
    bench_fini(&b);
}

static void a_packet_that_does_not_fit_is_dropped_alone(void **state)
{
    (void)state;
    struct bench b;
    uint8_t got[64];
    bench_init(&b, 60u * 1000000u);
    assert_int_equal(send_block(b.l, LINK_DATA, 3 << 20), BG_ENOMEM);
    assert_int_equal(send_block(b.l, LINK_DATA, 2), BG_OK);
    uv_run(&b.loop, UV_RUN_NOWAIT);
    assert_int_equal(hear(&b, got, sizeof(got)), 7);
    assert_false(b.lost);
    assert_int_equal(send_block(b.l, LINK_PROTOCOL, 3 << 20), BG_ENOMEM);
    until(&b, 100, b.lost);
    bench_fini(&b);
}

static void an_idle_link_ticks_and_a_silent_peer_is_given_up(void **state) /* D-06 */
{
    (void)state;
    struct bench b;
    uint8_t got[64];
    size_t heard = 0;
    bench_init(&b, 50 * 1000);
    uint64_t began = clock_now_us();
    until(&b, 2000, (heard += hear(&b, got + heard, sizeof(got) - heard), b.lost));
    uint64_t took_ms = (clock_now_us() - began) / 1000;
    assert_string_equal(b.reason, "net_tick_timeout");
    assert_in_range(took_ms, 190, 1900); /* four intervals */
    assert_in_range(heard, 12, 16);     /* a tick each, but not with the last */
    for (size_t i = 0; i < heard; i++)
        assert_int_equal(got[i], 0);
    bench_fini(&b);
}

static void a_peer_that_only_ticks_or_only_talks_stays_up(void **state) /* D-06 */
{
    (void)state;
    struct bench b;
    bench_init(&b, 60 * 1000);
    for (int i = 0; i < 20; i++) {
        say(&b, i % 2 ? "\0\0\0\2px" : "\0\0\0\0", i % 2 ? 6 : 4, 100);
        run_ms(&b, 25);
    }
    until(&b, 1000, b.packets == 10);
    assert_false(b.lost);
    bench_fini(&b);
}

static void no_tick_is_sent_while_packets_are(void **state) /* D-06 */
{
    (void)state;
    struct bench b;
    uint8_t got[512];
    bench_init(&b, 200 * 1000);
    for (int i = 0; i < 30; i++) {
        send_block(b.l, LINK_DATA, 1);
        say(&b, "\0\0\0\2px", 6, 100);
        run_ms(&b, 20);
    }
    assert_int_equal(hear(&b, got, sizeof(got)), 30 * 6);
    bench_fini(&b);
}

static void a_tick_is_answered_but_not_in_a_storm(void **state) /* D-06 */
{
    (void)state;
    struct bench b;
    uint8_t got[512];
    bench_init(&b, 60u * 1000000u);
    run_ms(&b, 120); /* the gap since the last write */
    for (int i = 0; i < 50; i++)
        say(&b, "\0\0\0\0", 4, 4);
    run_ms(&b, 20);
    assert_int_equal(hear(&b, got, sizeof(got)), 4);
    run_ms(&b, 120);
    say(&b, "\0\0\0\0", 4, 4);
    run_ms(&b, 20);
    assert_int_equal(hear(&b, got, sizeof(got)), 4);
    bench_fini(&b);
}

static void draining_delivers_what_was_queued(void **state) /* D-17 */
{
    (void)state;
    struct bench b;
    static uint8_t got[1 << 16];
    bench_init(&b, 60u * 1000000u);
    unsigned sent = 0;
    while (send_block(b.l, LINK_DATA, 60000) == BG_OK) {
        sent++;
        uv_run(&b.loop, UV_RUN_NOWAIT);
    }
    send_block(b.l, LINK_PROTOCOL, 60000);
    sent++;
    dist_link_drain(b.l, 3000 * 1000);
    say(&b, "\0\0\0\2px", 6, 6); /* not delivered any more, and no reason for RST */
    uint64_t heard = 0, want = (uint64_t)sent * 60005;
    until(&b, 3000, (heard += hear(&b, got, sizeof(got))) >= want);
    assert_int_equal(heard, want);
    until(&b, 1000, read(b.fd, got, 1) == 0);
    assert_false(b.lost);
    close(b.fd);
    b.fd = -1;
    until(&b, 1000, b.lost);
    assert_string_equal(b.reason, "closed by peer");
    assert_int_equal(b.packets, 0);
    bench_fini(&b);
}

static void draining_ends_even_if_the_peer_does_not(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 60u * 1000000u);
    dist_link_drain(b.l, 50 * 1000);
    until(&b, 500, b.lost);
    assert_string_equal(b.reason, "peer did not close in time");
    bench_fini(&b);
}

static void an_end_in_mid_packet_is_an_end(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 60u * 1000000u);
    say(&b, "\0\0\0\x10pabc", 8, 8);
    run_ms(&b, 10);
    close(b.fd);
    b.fd = -1;
    until(&b, 1000, b.lost);
    assert_string_equal(b.reason, "closed by peer");
    assert_int_equal(b.packets, 0);
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_arrive_whole_whatever_the_pieces),
        cmocka_unit_test(memory_of_a_large_packet_is_given_back),
        cmocka_unit_test(a_flood_is_read_in_pieces_one_a_turn),
        cmocka_unit_test(a_link_may_be_closed_while_it_rests),
        cmocka_unit_test(an_announced_length_takes_no_memory),
        cmocka_unit_test(bad_packets_close_the_link),
        cmocka_unit_test(closing_inside_a_callback_stops_delivery),
        cmocka_unit_test(packets_of_a_turn_leave_in_one_write),
        cmocka_unit_test(the_output_queue_is_bounded),
        cmocka_unit_test(a_long_packet_leaves_in_pieces_one_a_turn),
        cmocka_unit_test(a_peer_that_never_reads_is_closed_over_twice_the_bound),
        cmocka_unit_test(a_packet_that_does_not_fit_is_dropped_alone),
        cmocka_unit_test(an_idle_link_ticks_and_a_silent_peer_is_given_up),
        cmocka_unit_test(a_peer_that_only_ticks_or_only_talks_stays_up),
        cmocka_unit_test(no_tick_is_sent_while_packets_are),
        cmocka_unit_test(a_tick_is_answered_but_not_in_a_storm),
        cmocka_unit_test(draining_delivers_what_was_queued),
        cmocka_unit_test(draining_ends_even_if_the_peer_does_not),
        cmocka_unit_test(an_end_in_mid_packet_is_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
