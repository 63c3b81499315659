/*
 * test_edge_slow.c: clients that take their time: who says nothing, who does not read, who reads slowly, and what waits for
 * them meanwhile.
 */
#include "edge_harness.h"

/* --- time --------------------------------------------------------------------------------------------------------- */

static void silent_strangers_are_dropped(void **state)
{
    (void)state;
    struct rig r;
    char byte;
    rig_init(&r);
    rig_start(&r);
    int quiet = tcp_open(&r), half = tcp_open(&r);
    tcp_send(&r, half, "GET /", 5);
    WAIT_FOR(&r, edge_connections(r.edge) == 2);
    r.skew_us += 9 * UINT64_C(1000000);
    rig_turn(&r);
    assert_int_equal(edge_connections(r.edge), 2);
    r.skew_us += 1100000;
    assert_false(tcp_recv(&r, quiet, &byte, 1));
    assert_false(tcp_recv(&r, half, &byte, 1));
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    close(quiet);
    close(half);
    rig_stop(&r);
}

/* Lets real time pass: the kernel's own record of the last data cannot be skewed. */
static void sleep_turning(struct rig *r, uint64_t ms)
{
    for (uint64_t until = clock_now_us() + ms * 1000; clock_now_us() < until; usleep(1000))
        rig_turn(r);
}

static void idle_sockets_are_closed_but_not_with_1000(void **state)
{
    (void)state; /* C-74, P-043, P-079 */
    struct rig r;
    rig_init(&r);
    r.socket.timeout_ms = 400;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    sleep_turning(&r, 300);
    expect_heartbeat(&r, fd, false); /* resets it */
    sleep_turning(&r, 300);
    /* A ping counts too, though lws tells nobody of it. */
    ws_send(&r, fd, 0x89, "p", 1);
    expect_frame(&r, fd, 0x8a, "p", 1);
    sleep_turning(&r, 300);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_IDLE_CLOSED], 0);
    expect_close(&r, fd, 1002);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_IDLE_CLOSED], 1);
    assert_int_equal(r.processes.slots.count, 0);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void peer_that_ignores_our_close_is_cut_off(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    ws_text(&r, fd, "{bad");
    expect_close(&r, fd, 1011); /* the end of the stream as well: our side sends FIN */
    rig_turn(&r);
    assert_int_equal(edge_connections(r.edge), 1);
    ws_text(&r, fd, "[null,\"1\",\"phoenix\",\"heartbeat\",{}]");
    rig_turn(&r);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_FRAMES_IN], 1); /* the bad one: what follows is not looked at */
    r.skew_us += 4 * UINT64_C(1000000);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    close(fd);
    rig_stop(&r);
}

/* --- slow readers ------------------------------------------------------------------------------------------------- */

static void frames_for_a_stalled_reader_arrive_whole_and_in_order(void **state)
{
    (void)state; /* 400 x 60 KB, pings between: leans on lws keeping raw bytes in order */
    enum { PUSHES = 400, BYTES = 60 * 1024, PING_EVERY = 40 };
    static char got[BYTES + 100];
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 64 * 1024 * 1024;
    rig_start(&r);
    int fd = ws_open_narrow(&r);
    r.gateway.push_bytes = BYTES;
    for (int i = 0; i < PUSHES; i++) {
        if (i % PING_EVERY == 0)
            ws_send(&r, fd, 0x89, "ping", 4);
        ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        rig_turn(&r);
    }
    WAIT_FOR(&r, r.gateway.requests == PUSHES);
    int pushes = 0, replies = 0, pongs = 0;
    while (pushes + replies < 2 * PUSHES) {
        size_t len;
        int first = ws_recv(&r, fd, got, sizeof(got), &len);
        if (first == 0x8a) {
            assert_string_equal(got, "ping");
            pongs++;
        } else if (len > BYTES) {
            assert_int_equal(len, BYTES + strlen("[\"1\",null,\"room:a\",\"api\",\"\"]"));
            assert_int_equal(strspn(got + 26, "x"), BYTES);
            assert_int_equal(pushes++, replies); /* push, then its reply */
        } else {
            assert_string_equal(got,
                                "[\"1\",\"7\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
            assert_int_equal(++replies, pushes);
        }
    }
    assert_true(pongs > 0);
    expect_heartbeat(&r, fd, false);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    close(fd);
    rig_stop(&r);
}

static void push_until_slow(struct rig *r, int fd)
{
    for (int i = 0; i < 400; i++)
        ws_text(r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
    WAIT_FOR(r, r->metrics.value[METRIC_CLIENT_SLOW_CLOSED] == 1);
}

static void reader_that_is_too_slow_is_closed_with_1008(void **state)
{
    (void)state;
    enum { BYTES = 60 * 1024, MAX = 1024 * 1024 };
    static char got[BYTES + 100];
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = MAX;
    rig_start(&r);
    int fd = ws_open_narrow(&r), other = ws_open(&r, V2);
    size_t len;
    r.gateway.push_bytes = BYTES;
    push_until_slow(&r, fd);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_BUFFERED], 1);
    rig_turn(&r);
    assert_null(fake_find(&r.processes, "channel")); /* its channels have ended */
    assert_int_equal(r.processes.slots.count, 1);    /* and so has its own process; this is the other's */
    expect_heartbeat(&r, other, false);
    /* When it reads after all: whole frames, then the close. */
    int first;
    while ((first = ws_recv(&r, fd, got, sizeof(got), &len)) == 0x81)
        ;
    assert_int_equal(first, 0x88);
    assert_int_equal(get_be16((uint8_t *)got), 1008);
    close(fd);
    close(other);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void reader_that_never_reads_is_cut_off(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 1024 * 1024;
    rig_start(&r);
    int fd = ws_open_narrow(&r);
    r.gateway.push_bytes = 60 * 1024;
    push_until_slow(&r, fd);
    r.skew_us += 4 * UINT64_C(1000000);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    close(fd);
    rig_stop(&r);
}

/* Leaves the client with megabytes to read, far below the bound in bytes. */
static int start_unread(struct rig *r)
{
    enum { PUSHES = 300 };
    rig_init(r);
    r->options.max_buffered_bytes = 64 * 1024 * 1024;
    rig_start(r);
    int fd = ws_open_narrow(r);
    r->gateway.push_bytes = 60 * 1024;
    for (int i = 0; i < PUSHES; i++) {
        ws_text(r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        rig_turn(r);
    }
    WAIT_FOR(r, r->gateway.requests == PUSHES);
    return fd;
}

static void pass_seconds(struct rig *r, unsigned seconds)
{
    r->skew_us += seconds * UINT64_C(1000000);
    for (int i = 0; i < 5; i++)
        rig_turn(r);
}

static void reader_that_takes_too_long_is_closed_with_1008(void **state)
{
    static char got[64 * 1024];
    (void)state;
    struct rig r;
    int first, fd = start_unread(&r);
    size_t len;
    pass_seconds(&r, 25);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    pass_seconds(&r, 6); /* no byte was taken in max_unread_ms, 30000 */
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 1);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_UNREAD], 1);
    assert_int_equal(r.processes.slots.count, 0);
    while ((first = ws_recv(&r, fd, got, sizeof(got), &len)) == 0x81)
        ;
    assert_int_equal(first, 0x88);
    assert_int_equal(get_be16((uint8_t *)got), 1008);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void slow_readers_are_counted_and_let_be_in_a_dry_run(void **state)
{
    (void)state;
    enum { BYTES = 60 * 1024, PUSHES = 300 };
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 1024 * 1024;
    r.limits.dry_run[LIMIT_BUFFERED] = r.limits.dry_run[LIMIT_UNREAD] = true;
    rig_start(&r);
    int fd = ws_open_narrow(&r);
    r.gateway.push_bytes = BYTES;
    for (int i = 0; i < PUSHES; i++) {
        ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        rig_turn(&r);
    }
    WAIT_FOR(&r, r.gateway.requests == PUSHES);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_BUFFERED], 1); /* once, not once a frame */
    pass_seconds(&r, 31);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_UNREAD], 1);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    static char got[BYTES + 100];
    size_t len;
    for (int i = 0; i < 2 * PUSHES; i++) /* nothing is lost */
        assert_int_equal(ws_recv(&r, fd, got, sizeof(got), &len), 0x81);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void reader_that_takes_its_share_in_time_stays(void **state)
{
    enum { FRAMES = 16 }; /* of a megabyte, so that the kernel's own buffers do not hide what is read */
    static char got[64 * 1024];
    (void)state;
    struct rig r;
    int fd = start_unread(&r);
    size_t len;
    for (int round = 0; round < 4; round++) {
        pass_seconds(&r, 25);
        ws_text(&r, fd, "[null,\"9\",\"phoenix\",\"heartbeat\",{}]"); /* or it is closed as idle */
        for (int i = 0; i < 2 * FRAMES; i++)
            assert_int_equal(ws_recv(&r, fd, got, sizeof(got), &len), 0x81);
        pass_seconds(&r, 0);
        assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    }
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void result_larger_than_the_bound_closes_and_nothing_else(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 100 * 1024;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    r.gateway.push_bytes = 1024 * 1024;
    ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
    expect_close(&r, fd, 1008);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void lengths_around_the_header_sizes_are_framed_right(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     90,    95,    96,    97,    98,    99,    100,  101,
                                   65500, 65505, 65508, 65509, 65510, 65511, 65512, 70000};
    static char got[80000];
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t len;
        r.gateway.push_bytes = sizes[i];
        ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        assert_int_equal(ws_recv(&r, fd, got, sizeof(got), &len), 0x81);
        assert_int_equal(len, sizes[i] + strlen("[\"1\",null,\"room:a\",\"api\",\"\"]"));
        assert_int_equal(strspn(got + 26, "x"), sizes[i]);
        expect_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
    }
    close(fd);
    rig_stop(&r);
}

static void unfinished_messages_of_all_are_limited(void **state)
{
    (void)state;
    enum { CLIENTS = 4, MAX = 3000200 };
    struct rig r;
    int fd[CLIENTS];
    size_t len;
    char *text = big_heartbeat(1000000, &len);
    rig_init(&r);
    r.options.max_held_bytes = MAX;
    rig_start(&r);
    for (int i = 0; i < CLIENTS; i++)
        fd[i] = ws_open(&r, V2);
    for (int i = 0; i < CLIENTS - 1; i++) {
        ws_send(&r, fd[i], 0x01, text, len);
        WAIT_FOR(&r, r.metrics.value[METRIC_CLIENT_BUFFERED_BYTES] == (size_t)(i + 1) * len);
    }
    ws_send(&r, fd[CLIENTS - 1], 0x01, text, len);
    expect_close(&r, fd[CLIENTS - 1], 1013);
    close(fd[CLIENTS - 1]);
    /* Room again when one is done. */
    ws_send(&r, fd[0], 0x80, "", 0);
    expect_text(&r, fd[0], "[null,\"9\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    assert_int_equal(r.metrics.value[METRIC_CLIENT_BUFFERED_BYTES], 2 * len);
    ws_send(&r, fd[0], 0x81, text, len);
    expect_text(&r, fd[0], "[null,\"9\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    for (int i = 0; i < CLIENTS - 1; i++)
        close(fd[i]);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_BUFFERED_BYTES], 0);
    free(text);
    rig_stop(&r);
}

static void unsent_bytes_of_all_are_limited(void **state)
{
    (void)state; /* the one that does not keep up goes, the one that reads stays */
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 64 * 1024 * 1024;
    r.options.max_held_bytes = 1024 * 1024;
    rig_start(&r);
    int slow = ws_open_narrow(&r), reads = ws_open(&r, V2);
    r.gateway.push_bytes = 60 * 1024;
    push_until_slow(&r, slow);
    r.gateway.push_bytes = 100;
    join_as(&r, reads, "room:a", "1", OK_REPLY);
    expect_heartbeat(&r, reads, false);
    close(slow);
    WAIT_FOR(&r, edge_connections(r.edge) == 1);
    close(reads);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_strangers_are_dropped),
        cmocka_unit_test(idle_sockets_are_closed_but_not_with_1000),
        cmocka_unit_test(peer_that_ignores_our_close_is_cut_off),
        cmocka_unit_test(frames_for_a_stalled_reader_arrive_whole_and_in_order),
        cmocka_unit_test(reader_that_is_too_slow_is_closed_with_1008),
        cmocka_unit_test(reader_that_never_reads_is_cut_off),
        cmocka_unit_test(reader_that_takes_too_long_is_closed_with_1008),
        cmocka_unit_test(slow_readers_are_counted_and_let_be_in_a_dry_run),
        cmocka_unit_test(reader_that_takes_its_share_in_time_stays),
        cmocka_unit_test(result_larger_than_the_bound_closes_and_nothing_else),
        cmocka_unit_test(lengths_around_the_header_sizes_are_framed_right),
        cmocka_unit_test(unfinished_messages_of_all_are_limited),
        cmocka_unit_test(unsent_bytes_of_all_are_limited),
    };
    return cmocka_run_group_tests_name("edge_slow", tests, rig_quiet, NULL);
}
