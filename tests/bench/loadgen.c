/*
 * loadgen.c: beamgate's load generator. Drives Phoenix-channel connections over raw sockets and epoll, checks every
 * answer, and accounts what the gateway spent on them.
 *
 * A run has phases: connect and join everybody; warm up; measure. CPU time and memory of the watched processes are
 * read at the two ends of the measured window and nowhere else, so connecting and warming up cost nothing in the
 * figures. The load is a closed loop: each connection keeps --inflight requests outstanding and sends the next one
 * when an answer is complete. Latency is therefore that of a client who waits, not of an arrival rate.
 *
 * It ends by itself: every phase has a time limit, and the exit status is 0 only when no answer was wrong, no
 * connection was lost and something was measured.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loadgen.h"

enum { CONNECT_WINDOW = 128, EVENTS = 256, RETRY_NS = 1000000, NS_PER_MS = 1000000 };

struct window {
    uint64_t begin_ns;
    uint64_t end_ns;
    struct proc_sample before[MAX_PROCS];
    struct proc_sample after[MAX_PROCS];
    struct proc_sample own_before;
    struct proc_sample own_after;
    uint64_t busy_ms; /* what all processes of the machine worked in the window */
};

void run_error(struct run *r, const char *what, const char *text, size_t len)
{
    if (r->first_error[0] == '\0')
        snprintf(r->first_error, sizeof(r->first_error), "%s: %.*s", what, (int)(len < 400 ? len : 400), text);
}

static uint64_t after_seconds(double s)
{
    return now_ns() + (uint64_t)(s * 1e9);
}

/* --- the loop --- */

/* One wait of at most until deadline_ns, and what it brought. */
static void turn(struct run *r, uint64_t deadline_ns)
{
    struct epoll_event ev[EVENTS];
    uint64_t now = now_ns();
    uint64_t left_ms = now >= deadline_ns ? 0 : (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    int n = epoll_wait(r->epoll_fd, ev, EVENTS, left_ms > 1000 ? 1000 : (int)left_ms);
    for (int i = 0; i < n; i++)
        conn_event(r, ev[i].data.ptr, ev[i].events);
}

static bool broken(const struct run *r)
{
    return r->count.wrong + r->count.closed > 0;
}

static void loop_until(struct run *r, uint64_t deadline_ns)
{
    while (now_ns() < deadline_ns && !(broken(r) && r->ready + r->connecting == 0))
        turn(r, deadline_ns);
}

/* Connects everybody, a window at a time so that no listen queue overflows. */
static bool connect_all(struct run *r)
{
    uint64_t deadline = after_seconds(r->opt.setup_seconds);
    while (r->ready < r->opt.connections && !broken(r) && now_ns() < deadline) {
        while (r->next < r->opt.connections && r->connecting < CONNECT_WINDOW)
            conn_open(r, &r->conns[r->next++]);
        turn(r, deadline);
    }
    if (r->ready < r->opt.connections)
        run_error(r, "not all connected in time", "", 0);
    return r->ready == r->opt.connections;
}

static void start_all(struct run *r)
{
    r->sending = true;
    for (unsigned i = 0; i < r->opt.connections; i++)
        if (r->conns[i].state == CONN_READY)
            conn_start(r, &r->conns[i]);
}

static void sample(const struct run *r, struct proc_sample *procs, struct proc_sample *own)
{
    for (unsigned i = 0; i < r->opt.procs_count; i++)
        proc_sample(r->opt.procs[i].pid, &procs[i]);
    proc_sample(getpid(), own);
}

static void measure(struct run *r, struct window *w)
{
    memset(&r->latency, 0, sizeof(r->latency));
    r->count.completed = 0;
    w->busy_ms = machine_busy_ms();
    sample(r, w->before, &w->own_before);
    w->begin_ns = now_ns();
    loop_until(r, after_seconds(r->opt.seconds));
    w->end_ns = now_ns();
    sample(r, w->after, &w->own_after);
    w->busy_ms = machine_busy_ms() - w->busy_ms;
}

/* --- reports --- */

static double per_request_us(const struct run *r, const struct proc_sample *a, const struct proc_sample *b)
{
    return r->count.completed ? (double)(b->cpu_ns - a->cpu_ns) / 1e3 / (double)r->count.completed : NAN;
}

static double share_percent(const struct window *w, const struct proc_sample *a, const struct proc_sample *b)
{
    return (double)(b->cpu_ns - a->cpu_ns) * 100 / (double)(w->end_ns - w->begin_ns);
}

/* How much of a core everybody else took: what makes a run on a shared machine worth less. */
static double others_percent(const struct run *r, const struct window *w)
{
    double ms = (double)w->busy_ms - (double)(w->own_after.cpu_ns - w->own_before.cpu_ns) / 1e6;
    for (unsigned i = 0; i < r->opt.procs_count; i++)
        ms -= (double)(w->after[i].cpu_ns - w->before[i].cpu_ns) / 1e6;
    return ms <= 0 ? 0 : ms * 1e8 / (double)(w->end_ns - w->begin_ns);
}

static double user_percent(const struct proc_sample *a, const struct proc_sample *b)
{
    uint64_t user = b->user_ms - a->user_ms, system = b->system_ms - a->system_ms;
    return user + system ? (double)user * 100 / (double)(user + system) : NAN;
}

static double quantile_us(const struct run *r, double q)
{
    return (double)histogram_quantile(&r->latency, q) / 1e3;
}

static void print_human(const struct run *r, const struct window *w)
{
    double s = (double)(w->end_ns - w->begin_ns) / 1e9;
    printf("%s%s%s c=%u inflight=%u %.2fs: %.0f/s  p50 %.0f us  p99 %.0f us  max %.0f us\n", r->opt.label,
           *r->opt.label ? " " : "", mode_name(r->opt.mode), r->opt.connections, r->opt.inflight, s,
           (double)r->count.completed / s, quantile_us(r, 0.5), quantile_us(r, 0.99), (double)r->latency.max / 1e3);
    for (unsigned i = 0; i < r->opt.procs_count; i++)
        printf("  %-10s %6.2f us/request, %5.1f %% of a core (%.0f %% of it in user space), rss %.1f MB\n",
               r->opt.procs[i].name, per_request_us(r, &w->before[i], &w->after[i]),
               share_percent(w, &w->before[i], &w->after[i]), user_percent(&w->before[i], &w->after[i]),
               (double)w->after[i].rss_kb / 1024);
    printf("  %-10s %6.2f us/request, %5.1f %% of a core; others %.0f %%\n", "loadgen", per_request_us(r, &w->own_before, &w->own_after),
           share_percent(w, &w->own_before, &w->own_after), others_percent(r, w));
}

static void json_number(const char *key, double v)
{
    if (isfinite(v))
        printf(",\"%s\":%.3f", key, v);
    else
        printf(",\"%s\":null", key);
}

static void json_proc(const struct run *r, const struct window *w, const char *name, const struct proc_sample *a,
                      const struct proc_sample *b)
{
    printf(",\"%s\":{\"rss_kb\":%llu", name, (unsigned long long)b->rss_kb);
    json_number("us_per_request", per_request_us(r, a, b));
    json_number("cpu_percent", share_percent(w, a, b));
    json_number("user_percent", user_percent(a, b));
    printf("}");
}

static void print_json(const struct run *r, const struct window *w)
{
    double s = (double)(w->end_ns - w->begin_ns) / 1e9;
    printf("{\"label\":\"%s\",\"mode\":\"%s\",\"connections\":%u,\"inflight\":%u,\"completed\":%llu,\"wrong\":%llu,"
           "\"closed\":%llu", r->opt.label, mode_name(r->opt.mode), r->opt.connections, r->opt.inflight,
           (unsigned long long)r->count.completed, (unsigned long long)r->count.wrong,
           (unsigned long long)r->count.closed);
    json_number("seconds", s);
    json_number("per_second", (double)r->count.completed / s);
    json_number("p50_us", quantile_us(r, 0.5));
    json_number("p99_us", quantile_us(r, 0.99));
    json_number("max_us", (double)r->latency.max / 1e3);
    json_number("others_percent", others_percent(r, w));
    for (unsigned i = 0; i < r->opt.procs_count; i++)
        json_proc(r, w, r->opt.procs[i].name, &w->before[i], &w->after[i]);
    json_proc(r, w, "loadgen", &w->own_before, &w->own_after);
    printf("}\n");
}

/* --- the kinds of run --- */

static bool run_load(struct run *r, struct window *w)
{
    if (r->opt.mode == MODE_JOIN) {
        while (r->next < r->opt.connections)
            conn_open(r, &r->conns[r->next++]);
    } else if (!connect_all(r)) {
        return false;
    }
    start_all(r);
    loop_until(r, after_seconds(r->opt.warmup));
    if (broken(r))
        return false;
    measure(r, w);
    if (r->opt.json)
        print_json(r, w);
    else
        print_human(r, w);
    return r->count.completed > 0;
}

static void print_idle(const struct run *r, const struct window *w, const struct proc_sample *empty, double took)
{
    uint64_t rest_kb = empty->rss_kb, full_kb = w->after[0].rss_kb;
    double bytes = ((double)full_kb - (double)rest_kb) * 1024 / r->opt.connections;
    double cpu = share_percent(w, &w->before[0], &w->after[0]);
    double join_us = (double)(w->before[0].cpu_ns - empty->cpu_ns) / 1e3 / r->opt.connections;
    if (r->opt.json)
        printf("{\"label\":\"%s\",\"mode\":\"idle\",\"connections\":%u,\"seconds_to_join_all\":%.3f,"
               "\"bytes_per_connection\":%.0f,\"rss_before_kb\":%llu,\"rss_after_kb\":%llu,"
               "\"idle_cpu_percent\":%.3f,\"us_per_join\":%.2f}\n",
               r->opt.label, r->opt.connections, took, bytes, (unsigned long long)rest_kb,
               (unsigned long long)full_kb, cpu, join_us);
    else
        printf("%s idle: %u connections joined in %.2f s, %.0f bytes of resident memory each (%llu kB -> %llu kB), "
               "%.2f %% of a core while idle, %.1f us to connect and join one\n",
               r->opt.label, r->opt.connections, took, bytes, (unsigned long long)rest_kb,
               (unsigned long long)full_kb, cpu, join_us);
}

/* Memory per connection: resident size when all have joined and sat through the window, less what it was before. */
static bool run_idle(struct run *r, struct window *w)
{
    struct proc_sample empty[MAX_PROCS], own;
    sample(r, empty, &own);
    uint64_t begun = now_ns();
    if (!connect_all(r))
        return false;
    double took = (double)(now_ns() - begun) / 1e9;
    loop_until(r, after_seconds(r->opt.warmup));
    measure(r, w);
    print_idle(r, w, &empty[0], took);
    return r->ready == r->opt.connections;
}

static pid_t spawn(char **command)
{
    pid_t pid = fork();
    if (pid == 0) {
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    return pid;
}

/* SIGTERM, and SIGKILL after five seconds. */
static void end_child(pid_t pid)
{
    kill(pid, SIGTERM);
    for (int i = 0; i < 500; i++) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return;
        usleep(10000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Asks again after each refusal or wrong answer, one millisecond later, until one is right. *child becomes 0 when
 * it ended by itself. */
static bool ask_until_right(struct run *r, pid_t *child, uint64_t deadline)
{
    struct conn *c = &r->conns[0];
    uint64_t next = 0;
    r->sending = true;
    while (r->count.completed == 0 && now_ns() < deadline) {
        if (c->fd < 0 && now_ns() >= next) {
            next = now_ns() + RETRY_NS;
            r->first_error[0] = '\0';
            conn_open(r, c);
        }
        turn(r, c->fd < 0 ? next : deadline);
        if (waitpid(*child, NULL, WNOHANG) == *child) {
            *child = 0;
            r->first_error[0] = '\0';
            run_error(r, "the command ended", "", 0);
            return false;
        }
    }
    return r->count.completed > 0;
}

static double since_ms(uint64_t begun, uint64_t then)
{
    return then > begun ? (double)(then - begun) / 1e6 : NAN;
}

static void print_start(const struct run *r, uint64_t begun, double answered_ms, const struct proc_sample *s)
{
    double listening = since_ms(begun, r->first_connect_ns), joined = since_ms(begun, r->first_join_ns);
    double cpu = (double)s->cpu_ns / 1e6;
    if (r->opt.json)
        printf("{\"label\":\"%s\",\"mode\":\"start\",\"listening_ms\":%.2f,\"joined_ms\":%.2f,"
               "\"answered_ms\":%.2f,\"cpu_ms\":%.2f,\"rss_kb\":%llu}\n",
               r->opt.label, listening, joined, answered_ms, cpu, (unsigned long long)s->rss_kb);
    else
        printf("%s start: listening after %.1f ms, first join after %.1f ms, first right answer after %.1f ms, "
               "%.1f ms of CPU, %llu kB resident\n",
               r->opt.label, listening, joined, answered_ms, cpu, (unsigned long long)s->rss_kb);
}

static bool run_start(struct run *r)
{
    uint64_t begun = now_ns();
    pid_t child = spawn(r->opt.command);
    if (child < 0)
        return false;
    bool right = ask_until_right(r, &child, begun + (uint64_t)r->opt.setup_seconds * 1000 * NS_PER_MS);
    if (right) {
        struct proc_sample s;
        double answered_ms = since_ms(begun, now_ns());
        proc_sample(child, &s);
        print_start(r, begun, answered_ms, &s);
        memset(&r->count, 0, sizeof(r->count)); /* refusals while it starts are expected */
    }
    if (child > 0)
        end_child(child);
    return right;
}

/* --- setup --- */

static int raise_descriptor_limit(unsigned need)
{
    struct rlimit lim;
    getrlimit(RLIMIT_NOFILE, &lim);
    if (lim.rlim_cur >= need)
        return 0;
    lim.rlim_cur = need < lim.rlim_max ? need : lim.rlim_max;
    if (lim.rlim_cur < need || setrlimit(RLIMIT_NOFILE, &lim) != 0) {
        fprintf(stderr, "loadgen: needs %u file descriptors, may have %llu\n", need, (unsigned long long)lim.rlim_max);
        return -1;
    }
    return 0;
}

static int prepare(struct run *r)
{
    size_t n = r->opt.connections;
    if (raise_descriptor_limit(r->opt.connections + 32) != 0)
        return -1;
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    r->conns = calloc(n, sizeof(*r->conns));
    r->slots = calloc(n * r->opt.inflight, sizeof(*r->slots));
    r->rbuf = malloc(RBUF_SIZE);
    r->sbuf = malloc(SBUF_SIZE);
    if (r->epoll_fd < 0 || !r->conns || !r->slots || !r->rbuf || !r->sbuf)
        return -1;
    for (unsigned i = 0; i < n; i++)
        r->conns[i] = (struct conn){.fd = -1, .index = i, .slots = r->slots + (size_t)i * r->opt.inflight};
    return answers_prepare(r);
}

int main(int argc, char **argv)
{
    static struct run r;
    static struct window w;
    if (options_parse(&r.opt, argc, argv) != 0)
        return 2;
    if (r.opt.mode == MODE_START)
        r.opt.connections = r.opt.inflight = 1;
    if (prepare(&r) != 0) {
        fprintf(stderr, "loadgen: cannot prepare the run: %s\n", strerror(errno));
        return 2;
    }
    bool ok = r.opt.mode == MODE_START ? run_start(&r) : r.opt.mode == MODE_IDLE ? run_idle(&r, &w) : run_load(&r, &w);
    if (!ok || broken(&r)) {
        fprintf(stderr, "loadgen: FAILED: %llu wrong answers, %llu connections lost. First: %s\n",
                (unsigned long long)r.count.wrong, (unsigned long long)r.count.closed,
                r.first_error[0] ? r.first_error : "nothing was measured");
        return 1;
    }
    return 0;
}
