/* test_server.c: the whole server in this process, without epmd: start, two at a time, the ways to end. */
#define _GNU_SOURCE /* memmem */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../c_src/server/server_state.h"

/* A configuration that listens on a port of the kernel's choice, or on the given one. */
static struct server_config *config(const char *name, unsigned port, unsigned drain_ms)
{
    char text[512];
    struct config_report report;
    config_report_init(&report);
    int n = snprintf(text, sizeof(text),
                     "node: {name: %s@127.0.0.1, listen_address: 127.0.0.1, epmd: false}\nlisten: {port: %u}\n"
                     "sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\n"
                     "limits: {max_connections: 100}\ndrain: {timeout_ms: %u}\nlog: {level: error}\n",
                     name, port, drain_ms);
    struct server_config *c = config_parse("test", slice_make(text, (size_t)n), &report);
    assert_non_null(c);
    config_report_fini(&report);
    log_set_level(LOG_ERROR);
    return c;
}

static struct server *start(const struct server_config *c)
{
    struct err e = {0};
    struct server *s = server_new(c, "cookie", false, &e);
    if (!s)
        fail_msg("%s", e.text);
    return s;
}

/* What happens to a server after a while: times calls to server_stop(). */
struct stopper {
    struct timer timer;
    struct server *server;
    unsigned times;
};

static void on_stopper(struct timer *t)
{
    struct stopper *st = container_of(t, struct stopper, timer);
    for (unsigned i = 0; i < st->times; i++)
        server_stop(st->server);
}

static int run_and_stop(struct server *s, uint64_t delay_us, unsigned times)
{
    struct stopper st = {.timer = {.fn = on_stopper}, .server = s, .times = times};
    s->timers.now_us = clock_now_us();
    assert_int_equal(timer_arm_in(&s->timers, &st.timer, delay_us), BG_OK);
    return server_run(s);
}

/* A client that asks for a WebSocket and then neither reads nor writes. */
static int silent_client(uint16_t port)
{
    static const char request[] = "GET /s/websocket?vsn=2.0.0&u=x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                                  "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
    return fd;
}

static void a_server_that_is_told_to_stop_ends_with_0(void **state)
{
    (void)state;
    struct server_config *c = config("one", 0, 5000);
    struct server *s = start(c);
    assert_true(server_port(s) > 0);
    assert_int_equal(run_and_stop(s, 20000, 1), EXIT_STOPPED);
    server_free(s);
    config_free(c);
}

static void two_servers_live_in_one_process(void **state)
{
    (void)state;
    struct server_config *c1 = config("one", 0, 5000), *c2 = config("two", 0, 5000);
    struct server *s1 = start(c1), *s2 = start(c2);
    assert_int_not_equal(server_port(s1), server_port(s2));
    assert_int_equal(run_and_stop(s1, 1000, 1), EXIT_STOPPED);
    assert_int_equal(run_and_stop(s2, 1000, 1), EXIT_STOPPED);
    server_free(s1);
    server_free(s2);
    config_free(c1);
    config_free(c2);
}

static void a_port_that_is_taken_is_told_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct err e = {0};
    char port[8];
    struct server_config *c1 = config("one", 0, 5000);
    struct server *s = start(c1);
    struct server_config *c2 = config("two", server_port(s), 5000);
    snprintf(port, sizeof(port), "%u", server_port(s));
    assert_null(server_new(c2, "cookie", false, &e));
    assert_non_null(strstr(e.text, port));
    server_free(s);
    config_free(c1);
    config_free(c2);
}

static void a_server_that_never_ran_can_be_freed(void **state)
{
    (void)state;
    struct server_config *c = config("one", 0, 5000);
    server_free(start(c));
    config_free(c);
    server_free(NULL);
}

static void asked_a_second_time_it_stops_at_once(void **state)
{
    (void)state;
    struct server_config *c = config("one", 0, 60000);
    struct server *s = start(c);
    int fd = silent_client(server_port(s));
    uint64_t before = clock_now_us();
    assert_int_equal(run_and_stop(s, 50000, 2), EXIT_FORCED);
    assert_true(clock_now_us() - before < 2000000);
    server_free(s);
    close(fd);
    config_free(c);
}

/* P-074 want: the client is sent 1012; one that never answers does not hold the stop up for longer than said. */
static void a_client_that_does_not_answer_is_dropped_after_the_drain_timeout(void **state)
{
    (void)state;
    char got[512];
    struct server_config *c = config("one", 0, 300);
    struct server *s = start(c);
    int fd = silent_client(server_port(s));
    assert_int_equal(run_and_stop(s, 50000, 1), EXIT_FORCED);
    ssize_t n = read(fd, got, sizeof(got));
    assert_true(n > 4);
    assert_non_null(memmem(got, (size_t)n, "\x03\xf4", 2)); /* 1012 */
    server_free(s);
    close(fd);
    config_free(c);
}

static void it_is_ready_when_it_is_registered_and_has_no_services_to_wait_for(void **state)
{
    (void)state;
    char reason[64];
    struct server_config *c = config("one", 0, 5000);
    struct server *s = start(c);
    assert_true(server_ready(s, reason, sizeof(reason)));
    s->draining = true;
    assert_false(server_ready(s, reason, sizeof(reason)));
    assert_string_equal(reason, "draining");
    s->draining = false;
    server_free(s);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_is_told_to_stop_ends_with_0),
        cmocka_unit_test(two_servers_live_in_one_process),
        cmocka_unit_test(a_port_that_is_taken_is_told_and_leaves_nothing_behind),
        cmocka_unit_test(a_server_that_never_ran_can_be_freed),
        cmocka_unit_test(asked_a_second_time_it_stops_at_once),
        cmocka_unit_test(a_client_that_does_not_answer_is_dropped_after_the_drain_timeout),
        cmocka_unit_test(it_is_ready_when_it_is_registered_and_has_no_services_to_wait_for),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
