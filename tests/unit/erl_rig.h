/*
 * erl_rig.h: real Erlang nodes for unit tests: an epmd on a port of its own and `erl` nodes that evaluate what they are
 * sent. Only processes started here are ever signalled.
 *
 * How long is waited for them is patience, not a measure: a busy machine takes many seconds to start a node.
 */
#ifndef BEAMGATE_ERL_RIG_H
#define BEAMGATE_ERL_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cluster_rig.h"

enum { ERL_NODES = 8, ERL_PATIENCE_S = 60 };

struct erl {
    pid_t pid;
    int in;
    int out;
};

/* Those that run. */
static struct erl erl_running[ERL_NODES];

/* Reads expressions from stdin, answers each with one line that begins with '='. */
#define ERL_LOOP                                                                                                       \
    "F = fun L() -> case io:get_line(\"\") of eof -> halt(0); S -> "                                                   \
    "R = try {ok, T, _} = erl_scan:string(S), {ok, E} = erl_parse:parse_exprs(T), "                                    \
    "{value, V, _} = erl_eval:exprs(E, []), V catch C:X -> {C, X} end, "                                               \
    "io:format(\"=~0p~n\", [R]), L() end end, F()."

static inline unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static inline bool port_answers(unsigned port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    return yes;
}

/* In a child: its complaints are of no interest unless somebody looks. */
static inline void hush(void)
{
    if (!getenv("RIG_LOG"))
        dup2(open("/dev/null", O_WRONLY), 2);
}

/* address: where it listens besides 127.0.0.1. */
static inline pid_t epmd_start(unsigned port, const char *address)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", port);
    pid_t pid = fork();
    if (pid == 0) {
        hush();
        execlp("epmd", "epmd", "-port", text, "-address", address, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    for (int i = 0; i < ERL_PATIENCE_S * 100 && !port_answers(port); i++)
        usleep(10 * 1000);
    assert_true(port_answers(port));
    return pid;
}

static inline void end_process(pid_t pid, int sig)
{
    if (pid > 0) {
        kill(pid, sig);
        waitpid(pid, NULL, 0);
    }
}

/* extra: one more pair of arguments, or NULL. */
static inline struct erl erl_start(const char *name, const char *cookie, const char *flag, const char *value)
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        hush();
        setenv("ERL_CRASH_DUMP", "/dev/null", 1);
        execlp("erl", "erl", "-noshell", "-name", name, "-setcookie", cookie, "-kernel", "logger_level", "critical",
               "-eval", ERL_LOOP, flag ? "-kernel" : "-s", flag ? flag : "lists", flag ? value : "module_info",
               (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    close(in[0]);
    close(out[1]);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    struct erl e = {pid, in[1], out[0]};
    for (size_t i = 0; i < ERL_NODES; i++) {
        if (erl_running[i].pid == 0) {
            erl_running[i] = e;
            return e;
        }
    }
    fail_msg("more than %d nodes", ERL_NODES);
    return e;
}

/* Evaluates text (without the full stop) and returns what it printed, while the loop turns. */
static inline const char *erl_eval(struct rig *r, struct erl *e, const char *text)
{
    static char line[4096];
    size_t n = 0;
    uint64_t until = clock_now_us() + ERL_PATIENCE_S * UINT64_C(1000000);
    assert_true(dprintf(e->in, "%s.\n", text) > 0);
    while (n == 0 || line[n - 1] != '\n') {
        ssize_t got = n < sizeof(line) - 1 ? read(e->out, line + n, 1) : 0;
        if (got == 0 || clock_now_us() > until)
            fail_msg("erl did not answer: %s", text);
        if (got < 0) {
            uv_run(&r->loop, UV_RUN_ONCE);
            continue;
        }
        if (n > 0 || line[0] == '=')
            n++;
    }
    line[n - 1] = '\0';
    return line + 1;
}

/* For what begins with the start of a node, or waits for one to act. */
#define erl_patiently(r, cond) rig_until(r, ERL_PATIENCE_S * 1000, cond)

static inline void erl_stop(struct erl *e, int sig)
{
    for (size_t i = 0; i < ERL_NODES; i++)
        if (&erl_running[i] != e && erl_running[i].pid == e->pid)
            erl_running[i].pid = 0;
    end_process(e->pid, sig);
    close(e->in);
    close(e->out);
    e->pid = 0;
}

/* What a test that failed has left running must not be met by the next. */
static inline void erl_stop_all(void)
{
    for (size_t i = 0; i < ERL_NODES; i++)
        if (erl_running[i].pid)
            erl_stop(&erl_running[i], SIGKILL);
}

#endif
