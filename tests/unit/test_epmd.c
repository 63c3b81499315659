/*
 * test_epmd.c: what epmds answer, and what dialling makes of it: epmds of our own that say what a test wants, on
 * 127.0.0.1. Against the real epmd: test_cluster_erl.c.
 */
#define _GNU_SOURCE
#include "unit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dist_dial.h"
#include "epmd.h"

/* ---- wire forms ---------------------------------------------------------------------------------------- */

#define PORT_OK "\x77\x00\x11\x12\x48\x00\x00\x06\x00\x05" /* port 4370, hidden, TCP, versions 6 to 5 */

static void a_port_is_read_when_it_is_whole_and_means_what_we_can_use(void **state)
{
    (void)state;
    static const struct {
        struct slice in;
        int rc;
    } cases[] = {
        {SLICE_LIT(PORT_OK), BG_OK},
        {SLICE_LIT(PORT_OK "\x00\x01x\x00\x00"), BG_OK},
        {SLICE_LIT("\x77\x01"), BG_EGONE}, /* the name is not known */
        {SLICE_LIT("\x77\xff"), BG_EGONE},
        {SLICE_LIT("\x78"), BG_EINVAL},
        {SLICE_LIT("HTTP/1.1 400"), BG_EINVAL},
        {SLICE_LIT("\x77\x00\x00\x00\x48\x00\x00\x06\x00\x05"), BG_EINVAL}, /* port 0 */
        {SLICE_LIT("\x77\x00\x11\x12\x48\x01\x00\x06\x00\x05"), BG_EINVAL}, /* not TCP */
    };
    struct epmd_answer a;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(epmd_parse_port(cases[i].in, &a), cases[i].rc);
    for (size_t n = 0; n < 10; n++)
        assert_int_equal(epmd_parse_port(slice_make(PORT_OK, n), &a), BG_EMORE);
    assert_int_equal(epmd_parse_port(SLICE_LIT(PORT_OK), &a), BG_OK);
    assert_int_equal(a.port, 4370);
    assert_int_equal(a.highest, 6);
    assert_int_equal(a.lowest, 5);
}

static void both_answers_to_a_registration_are_understood(void **state) /* 08 §1.5 */
{
    (void)state;
    static const struct {
        struct slice in;
        int rc;
    } cases[] = {
        {SLICE_LIT("\x79\x00\x12\x34"), BG_OK},         /* ALIVE2_RESP: a creation of 16 bits */
        {SLICE_LIT("\x76\x00\x12\x34\x56\x78"), BG_OK}, /* ALIVE2_X_RESP: of 32 */
        {SLICE_LIT("\x76\x00\x12\x34"), BG_EMORE},
        {SLICE_LIT("\x79\x00\x12"), BG_EMORE},
        {SLICE_LIT("\x79"), BG_EMORE},
        {SLICE_LIT(""), BG_EMORE},
        {SLICE_LIT("\x79\x01"), BG_EGONE}, /* the name is taken */
        {SLICE_LIT("\x76\x01\x00\x00"), BG_EGONE},
        {SLICE_LIT("x"), BG_EINVAL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(epmd_parse_alive(cases[i].in), cases[i].rc);
}

/* ---- an epmd that says what it is told ----------------------------------------------------------------- */

static uv_loop_t loop;
static int listener;
static unsigned asked;

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    char port[16];
    assert_int_equal(uv_loop_init(&loop), 0);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    snprintf(port, sizeof(port), "%u", ntohs(a.sin_port));
    setenv("ERL_EPMD_PORT", port, 1);
    asked = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (listener >= 0)
        close(listener);
    for (int i = 0; i < 200 && uv_run(&loop, UV_RUN_NOWAIT) != 0; i++)
        usleep(1000);
    assert_int_equal(uv_loop_close(&loop), 0);
    unsetenv("ERL_EPMD_PORT");
    return 0;
}

static struct sockaddr_storage epmd_address(void)
{
    struct sockaddr_storage addr;
    epmd_local_address(&addr);
    return addr;
}

/* Takes the next connection, if there is one, and its request of this name; answers, and closes unless it is to hang. */
static int serve(const char *name, struct slice answer, bool hang)
{
    char request[300];
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -1;
    ssize_t n = -1;
    for (int i = 0; i < 2000 && (n = read(fd, request, sizeof(request))) < 0; i++) {
        uv_run(&loop, UV_RUN_NOWAIT); /* the request is written when the loop hears of the connection */
        usleep(1000);
    }
    assert_int_equal(n, 3 + (ssize_t)strlen(name));
    assert_int_equal(request[2], 122);
    assert_memory_equal(request + 3, name, strlen(name));
    asked++;
    if (answer.len)
        assert_int_equal(write(fd, answer.ptr, answer.len), answer.len);
    if (hang)
        return fd;
    close(fd);
    return -1;
}

/* ---- looking up ---------------------------------------------------------------------------------------- */

struct looked_up {
    bool done;
    int rc;
    uint16_t port;
    char why[96];
};

static void on_looked_up(void *ctx, int rc, const struct epmd_answer *a, const char *why)
{
    struct looked_up *l = ctx;
    assert_false(l->done);
    l->done = true;
    l->rc = rc;
    l->port = a->port;
    snprintf(l->why, sizeof(l->why), "%s", why);
}

static struct looked_up look_up(struct slice answer)
{
    struct looked_up l = {0};
    struct sockaddr_storage addr = epmd_address();
    assert_non_null(epmd_lookup_new(&loop, (struct sockaddr *)&addr, SLICE_LIT("svc"), on_looked_up, &l));
    for (int i = 0; i < 2000 && !l.done; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        if (listener >= 0)
            serve("svc", answer, false);
        usleep(1000);
    }
    assert_true(l.done);
    return l;
}

static void what_an_epmd_answers_is_told_with_the_reason(void **state) /* D-07 */
{
    (void)state;
    static const struct {
        struct slice answer;
        int rc;
        const char *why;
    } cases[] = {
        {SLICE_LIT(PORT_OK), BG_OK, ""},
        {SLICE_LIT("\x77\x01"), BG_EGONE, "the node is not registered with its epmd"},
        {SLICE_LIT("HTTP/1.1 400 Bad Request\r\n\r\n"), BG_EINVAL, "what answers on the epmd port is not an epmd"},
        {SLICE_LIT("\x77\x00\x11"), BG_ESYS, "its epmd cannot be reached"}, /* and closes */
        {SLICE_LIT(""), BG_ESYS, "its epmd cannot be reached"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct looked_up l = look_up(cases[i].answer);
        assert_int_equal(l.rc, cases[i].rc);
        assert_string_equal(l.why, cases[i].why);
        assert_int_equal(l.port, cases[i].rc == BG_OK ? 4370 : 0);
    }
    assert_int_equal(asked, ARRAY_SIZE(cases));
}

static void without_an_epmd_the_lookup_fails(void **state)
{
    (void)state;
    close(listener);
    listener = -1;
    struct looked_up l = look_up(SLICE_NONE);
    assert_int_equal(l.rc, BG_ESYS);
    assert_string_equal(l.why, "no epmd listens there");
}

static void a_lookup_that_was_cancelled_says_nothing(void **state)
{
    (void)state;
    struct looked_up l = {0};
    struct sockaddr_storage addr = epmd_address();
    for (int turns = 0; turns < 3; turns++) {
        struct epmd_lookup *q =
            epmd_lookup_new(&loop, (struct sockaddr *)&addr, SLICE_LIT("svc"), on_looked_up, &l);
        assert_non_null(q);
        for (int i = 0; i < turns; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        epmd_lookup_cancel(q);
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_false(l.done);
    }
    epmd_lookup_cancel(NULL);
}

/* ---- dialling ------------------------------------------------------------------------------------------ */

struct dialled {
    struct dist_dial *d;
    unsigned calls;
    int rc;
    uint16_t port;
    char why[96], hint[96];
};

static void on_address(void *ctx, int rc, const struct sockaddr *addr, const char *why, const char *hint)
{
    struct dialled *x = ctx;
    x->calls++;
    x->rc = rc;
    x->port = rc == BG_OK ? ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port) : 0;
    snprintf(x->why, sizeof(x->why), "%s", why ? why : "");
    snprintf(x->hint, sizeof(x->hint), "%s", hint ? hint : "");
    if (rc != BG_OK)
        x->d = NULL;
}

/* Turns the loop until fn has been called so often; the epmd answers meanwhile. */
static void turn_until(struct dialled *x, unsigned calls, struct slice answer)
{
    for (int i = 0; i < 5000 && x->calls < calls; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        serve("svc", answer, false);
        usleep(1000);
    }
    assert_int_equal(x->calls, calls);
}

static void an_address_comes_with_the_port_that_epmd_knows(void **state)
{
    (void)state;
    struct dialled x = {0};
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), SLICE_LIT("127.0.0.1"), 0, on_address, &x);
    assert_non_null(x.d);
    turn_until(&x, 1, SLICE_LIT(PORT_OK));
    assert_int_equal(x.rc, BG_OK);
    assert_int_equal(x.port, 4370);
    dist_dial_next(x.d, "refused"); /* there is no other address */
    assert_int_equal(x.calls, 2);
    assert_int_equal(x.rc, BG_EGONE);
    assert_string_equal(x.why, "refused");
    assert_non_null(strstr(x.hint, "its epmd reachable"));
}

static void a_given_port_needs_no_epmd(void **state)
{
    (void)state;
    struct dialled x = {0};
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), SLICE_LIT("127.0.0.1"), 4711, on_address, &x);
    assert_non_null(x.d);
    turn_until(&x, 1, SLICE_NONE);
    assert_int_equal(x.port, 4711);
    assert_int_equal(asked, 0);
    dist_dial_next(x.d, "refused");
    assert_non_null(strstr(x.hint, "the port right"));
}

static void a_node_of_another_age_is_no_address(void **state)
{
    (void)state;
    struct dialled x = {0};
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), SLICE_LIT("127.0.0.1"), 0, on_address, &x);
    turn_until(&x, 1, SLICE_LIT("\x77\x00\x11\x12\x48\x00\x00\x05\x00\x05")); /* version 5 at most */
    assert_int_equal(x.rc, BG_EGONE);
    assert_string_equal(x.why, "the node is older than OTP 23");
}

static void an_epmd_that_does_not_answer_is_given_up(void **state)
{
    (void)state;
    struct dialled x = {0};
    int fd = -1;
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), SLICE_LIT("127.0.0.1"), 0, on_address, &x);
    for (int i = 0; i < 5000 && fd < 0; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        fd = serve("svc", SLICE_LIT("\x77\x00"), true);
        usleep(1000);
    }
    assert_true(fd >= 0);
    assert_int_equal(x.calls, 0);
    dist_dial_late(x.d);
    assert_int_equal(x.calls, 1);
    assert_int_equal(x.rc, BG_EGONE);
    assert_string_equal(x.why, "its epmd does not answer in time");
    close(fd);
}

/* The thread that resolves the name cannot be stopped: its end finds nobody. */
static void a_name_that_is_not_resolved_in_time_is_given_up(void **state)
{
    (void)state;
    struct dialled x = {0};
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), SLICE_LIT("localhost"), 0, on_address, &x);
    dist_dial_late(x.d);
    assert_int_equal(x.calls, 1);
    assert_string_equal(x.why, "its host name is not resolved in time");
    assert_non_null(strstr(x.hint, "the part behind the @"));
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(x.calls, 1);
}

static void a_dial_that_was_cancelled_says_nothing(void **state)
{
    (void)state;
    struct dialled x = {0};
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), SLICE_LIT("127.0.0.1"), 0, on_address, &x);
    dist_dial_cancel(x.d); /* while the name is being resolved */
    uv_run(&loop, UV_RUN_DEFAULT);
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), SLICE_LIT("127.0.0.1"), 0, on_address, &x);
    for (int i = 0; i < 5000 && asked == 0; i++) { /* and while epmd is being asked */
        uv_run(&loop, UV_RUN_NOWAIT);
        serve("svc", SLICE_NONE, false);
        usleep(1000);
    }
    dist_dial_cancel(x.d);
    dist_dial_cancel(NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(x.calls, 0);
}

static void a_host_that_does_not_exist_is_said_to(void **state)
{
    (void)state;
    struct dialled x = {0};
    char host[80]; /* a label of more than 63 bytes: no resolver asks anybody about it */
    memset(host, 'x', sizeof(host));
    x.d = dist_dial_new(&loop, SLICE_LIT("svc"), slice_make(host, sizeof(host)), 0, on_address, &x);
    assert_non_null(x.d);
    turn_until(&x, 1, SLICE_NONE);
    assert_int_equal(x.rc, BG_EGONE);
    assert_string_equal(x.why, "host name is not known");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_is_read_when_it_is_whole_and_means_what_we_can_use),
        cmocka_unit_test(both_answers_to_a_registration_are_understood),
        TEST(what_an_epmd_answers_is_told_with_the_reason),
        TEST(without_an_epmd_the_lookup_fails),
        TEST(a_lookup_that_was_cancelled_says_nothing),
        TEST(an_address_comes_with_the_port_that_epmd_knows),
        TEST(a_given_port_needs_no_epmd),
        TEST(a_node_of_another_age_is_no_address),
        TEST(an_epmd_that_does_not_answer_is_given_up),
        TEST(a_name_that_is_not_resolved_in_time_is_given_up),
        TEST(a_dial_that_was_cancelled_says_nothing),
        TEST(a_host_that_does_not_exist_is_said_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
