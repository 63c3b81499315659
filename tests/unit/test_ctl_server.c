/* test_ctl_server.c: the control socket's own affairs: that it listens on when memory runs out. */
#define _GNU_SOURCE
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>

/* How many of the next allocations of ctl_server.c fail. */
static unsigned failing;

static void *calloc_or_not(size_t n, size_t size)
{
    if (failing == 0)
        return calloc(n, size);
    failing--;
    return NULL;
}

#define calloc calloc_or_not
#include "../../c_src/server/ctl_server.c"
#undef calloc

static struct server server;
static struct ctl_server *ctl;
static char dir[] = "/tmp/test_ctl_server.XXXXXX", path[64];

static int setup(void **state)
{
    struct err e = {0};
    (void)state;
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    if (!mkdtemp(dir) || uv_loop_init(&server.loop) != 0)
        return -1;
    snprintf(path, sizeof(path), "%s/ctl.sock", dir);
    timers_init(&server.timers, clock_now_us());
    log_set_level(LOG_ERROR);
    ctl = ctl_server_new(&server, path, 0, &e);
    return ctl ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    ctl_server_free(ctl);
    timers_fini(&server.timers);
    failing = 0;
    return uv_loop_close(&server.loop) == 0 && rmdir(dir) == 0 ? 0 : -1;
}

/* A client that has asked already. */
static int client(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(write(fd, "{}\n", 3), 3);
    return fd;
}

/* What it is told before the connection ends; "" for nothing. */
static const char *answer(int fd)
{
    static char text[4096];
    size_t len = 0;
    ssize_t n = -1;
    for (int turns = 0; turns < 1000 && n != 0 && len < sizeof(text) - 1; turns++) {
        timers_run(&server.timers, clock_now_us(), 0);
        uv_run(&server.loop, UV_RUN_NOWAIT);
        n = read(fd, text + len, sizeof(text) - 1 - len);
        if (n < 0 && errno == ECONNRESET) /* what it had sent was not read */
            n = 0;
        len += n > 0 ? (size_t)n : 0;
    }
    text[len] = '\0';
    close(fd);
    if (n != 0)
        fail_msg("still open after \"%s\"", text);
    return text;
}

static void a_client_is_answered(void **state)
{
    (void)state;
    assert_non_null(strstr(answer(client()), "\"error\""));
}

static void it_listens_on_when_there_was_no_memory_for_a_client(void **state)
{
    (void)state;
    failing = 1;
    assert_string_equal(answer(client()), "");
    assert_non_null(strstr(answer(client()), "\"error\""));
}

static void so_it_does_when_several_come_at_once(void **state)
{
    (void)state;
    int fd[4];
    for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
        fd[i] = client();
    failing = 3;
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(answer(fd[i]), "");
    assert_non_null(strstr(answer(fd[3]), "\"error\""));
    assert_int_equal(failing, 0);
}

static void it_ends_while_clients_are_turned_away(void **state)
{
    (void)state;
    int fd[2] = {client(), client()};
    failing = 2;
    uv_run(&server.loop, UV_RUN_NOWAIT);
    ctl_server_free(ctl);
    ctl = NULL;
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_client_is_answered),
        T(it_listens_on_when_there_was_no_memory_for_a_client),
        T(so_it_does_when_several_come_at_once),
        T(it_ends_while_clients_are_turned_away),
    };
    return cmocka_run_group_tests_name("ctl_server", tests, NULL, NULL);
}
