/* test_server.c: the whole server in this process, without epmd: start, two at a time, the ways to end. */
#define _GNU_SOURCE /* memmem */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../c_src/server/server_state.h"
#include "term_text.h"

/* A configuration that listens on a port of the kernel's choice, or on the given one. more: further lines of it. */
static struct server_config *config_with(const char *name, unsigned port, unsigned drain_ms, const char *epmd,
                                         const char *more)
{
    char text[768];
    struct config_report report;
    config_report_init(&report);
    int n = snprintf(text, sizeof(text),
                     "node: {name: %s@127.0.0.1, listen_address: 127.0.0.1, epmd: %s}\nlisten: {port: %u}\n"
                     "sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\n"
                     "limits: {max_connections: 100}\ndrain: {timeout_ms: %u}\nlog: {level: error}\n%s",
                     name, epmd, port, drain_ms, more);
    struct server_config *c = config_parse("test", slice_make(text, (size_t)n), &report);
    assert_non_null(c);
    config_report_fini(&report);
    log_set_level(LOG_ERROR);
    return c;
}

static struct server_config *config(const char *name, unsigned port, unsigned drain_ms)
{
    return config_with(name, port, drain_ms, "false", "");
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

/* ---- what stays behind --------------------------------------------------------------------------------- */

static void call(struct server *s, const char *module, const char *function, const char *args)
{
    struct buf term, out;
    bool known;
    struct rpc_call c = {.module = slice_str(module), .function = slice_str(function)};
    buf_init(&term, 0);
    buf_init(&out, 0);
    assert_int_equal(rpc_run(&s->rpc, &c, term_of(&term, args), &out, &known), RPC_RETURN);
    assert_true(term_is_atom(buf_slice(&out), "ok"));
    buf_fini(&term);
    buf_fini(&out);
}

/* Every release brings nodes with new names; those of the releases before must not be looked for, for ever. */
static void a_service_that_is_added_again_with_other_nodes_lets_the_former_ones_go(void **state)
{
    (void)state;
    char args[256];
    setenv("ERL_EPMD_PORT", "1", 1); /* nobody is there */
    struct server_config *c = config_with("one", 0, 5000, "true", "");
    struct server *s = start(c);
    for (unsigned i = 0; i < 1100; i++) { /* more than the cluster has places for */
        snprintf(args, sizeof(args),
                 "[[%%{__struct__: PhoenixGenApi.Structs.ServiceConfig, service: :chat, nodes: [:\"chat@host%u\"], "
                 "module: M, function: :f, args: []}]]",
                 i);
        call(s, "Elixir.PhoenixGenApi.ConfigPuller", "add", args);
    }
    assert_int_equal(cluster_add_peer(s->cluster, SLICE_LIT("other@host")), BG_OK);
    server_free(s);
    config_free(c);
    unsetenv("ERL_EPMD_PORT");
}

/* Stops once there is the file, or fails. */
struct file_watch {
    struct timer timer;
    struct server *server;
    const char *path;
    unsigned changes;
};

static void on_file_watch(struct timer *t)
{
    enum { EVERY_US = 200 * 1000, CHANGES_MAX = 20 };
    struct file_watch *w = container_of(t, struct file_watch, timer);
    bool there = access(w->path, F_OK) == 0;
    server_pushes_changed(w->server);
    if (there || ++w->changes == CHANGES_MAX)
        server_stop(w->server);
    else
        assert_int_equal(timer_arm_in(&w->server->timers, t, EVERY_US), BG_OK);
}

/* A crash must not cost all that was pushed since the last quiet second. */
static void pushes_are_written_although_they_never_pause(void **state)
{
    (void)state;
    char path[] = "/tmp/beamgate-snapshot-XXXXXX", more[128];
    close(mkstemp(path));
    unlink(path);
    snprintf(more, sizeof(more), "push: {snapshot_file: %s}\n", path);
    struct server_config *c = config_with("one", 0, 5000, "false", more);
    struct server *s = start(c);
    struct file_watch w = {.timer = {.fn = on_file_watch}, .server = s, .path = path};
    s->timers.now_us = clock_now_us();
    assert_int_equal(timer_arm_in(&s->timers, &w.timer, 0), BG_OK);
    assert_int_equal(server_run(s), EXIT_STOPPED);
    assert_true(w.changes < 20);
    server_free(s);
    assert_int_equal(unlink(path), 0);
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
        cmocka_unit_test(a_service_that_is_added_again_with_other_nodes_lets_the_former_ones_go),
        cmocka_unit_test(pushes_are_written_although_they_never_pause),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
