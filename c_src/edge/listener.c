/*
 * listener.c: see listener.h.
 *
 * Out of descriptors: the spare one is given up to accept and turn away the client at the head of the queue, then
 * accepting pauses for a moment. So the loop does not spin on a listening socket that stays readable.
 *
 * Invariant: the socket is watched exactly while the listener is neither stopped nor pausing (retry armed).
 */
#define _GNU_SOURCE 1 /* accept4 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

enum {
    BACKLOG = 4096,
    ACCEPT_BATCH = 64, /* clients taken per loop turn, so that the others are served meanwhile */
    FREE_TURNS = 10000
};
#define STARVED_PAUSE_US UINT64_C(100000)

struct listener {
    struct listener_options o;
    int fd;
    int spare_fd;
    bool stopped;
    bool poll_open; /* its close callback has not run yet */
    uint16_t port;
    uv_poll_t poll;
    struct timer retry;
};

static void on_readable(uv_poll_t *poll, int status, int events);

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_retry(struct timer *t)
{
    struct listener *l = container_of(t, struct listener, retry);
    if (l->spare_fd < 0)
        l->spare_fd = spare_open();
    if (!l->stopped)
        uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

void listener_pause(struct listener *l, uint64_t delay_us)
{
    if (!l->stopped && timer_arm_in(l->o.timers, &l->retry, delay_us) == BG_OK)
        uv_poll_stop(&l->poll);
}

/* No descriptor is left: use the spare one to turn the first client away, so that it does not hang until we have one.
 */
static void starve(struct listener *l)
{
    log_limited(LOG_ERROR, "edge", "out of file descriptors, accepting pauses",
                "hint=\"raise the limit of open files\"");
    if (l->spare_fd >= 0) {
        close(l->spare_fd);
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            l->o.starved(l->o.ctx, fd);
        l->spare_fd = spare_open();
    }
    listener_pause(l, STARVED_PAUSE_US);
}

/* Frames are written whole: there is nothing for Nagle to collect. */
static void take(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
    static const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    l->o.accepted(l->o.ctx, fd, (const struct sockaddr *)peer);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH && !timer_armed(&l->retry); i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0) {
            starve(l);
            return;
        }
        take(l, fd, &peer);
    }
}

static int address_parse(const char *text, uint16_t port, struct sockaddr_storage *ss, socklen_t *len)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ss;
    *ss = (struct sockaddr_storage){0};
    if (uv_ip4_addr(text, port, in) == 0)
        *len = sizeof(*in);
    else if (uv_ip6_addr(text, port, in6) == 0)
        *len = sizeof(*in6);
    else
        return BG_EINVAL;
    return BG_OK;
}

static int set_options(const struct listener_options *o, int fd)
{
    static const int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
        return -1;
    return o->reuse_port ? setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) : 0;
}

static int start(struct listener *l, struct err *e)
{
    struct sockaddr_storage ss;
    socklen_t len;
    if (address_parse(l->o.address, l->o.port, &ss, &len) != BG_OK)
        return err_set(e, BG_EINVAL, 0, "\"%s\" is no IP address", l->o.address);
    l->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || set_options(&l->o, l->fd) != 0 || bind(l->fd, (struct sockaddr *)&ss, len) != 0 ||
        listen(l->fd, BACKLOG) != 0 || getsockname(l->fd, (struct sockaddr *)&ss, &len) != 0)
        return err_set(e, BG_ESYS, 0, "cannot listen on %s port %u: %s", l->o.address, l->o.port, strerror(errno));
    /* The port is at the same place in both kinds of address. */
    l->port = ntohs(((struct sockaddr_in *)(void *)&ss)->sin_port);
    if (uv_poll_init(l->o.loop, &l->poll, l->fd) != 0)
        return err_set(e, BG_ESYS, 0, "cannot watch the listening socket");
    l->poll.data = l;
    l->poll_open = true;
    uv_poll_start(&l->poll, UV_READABLE, on_readable);
    return BG_OK;
}

struct listener *listener_new(const struct listener_options *o, struct err *e)
{
    struct listener *l = calloc(1, sizeof(*l));
    if (!l) {
        err_set(e, BG_ENOMEM, 0, "no memory");
        return NULL;
    }
    l->o = *o;
    l->fd = -1;
    l->retry.fn = on_retry;
    l->spare_fd = spare_open();
    if (start(l, e) != BG_OK) {
        listener_free(l);
        return NULL;
    }
    return l;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    l->poll_open = false;
}

void listener_stop(struct listener *l)
{
    if (l->stopped)
        return;
    l->stopped = true;
    timer_disarm(l->o.timers, &l->retry);
    if (l->poll_open) {
        uv_poll_stop(&l->poll);
        uv_close((uv_handle_t *)&l->poll, on_closed);
    }
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

void listener_free(struct listener *l)
{
    if (!l)
        return;
    listener_stop(l);
    for (int i = 0; l->poll_open && i < FREE_TURNS; i++)
        uv_run(l->o.loop, UV_RUN_NOWAIT);
    if (l->spare_fd >= 0)
        close(l->spare_fd);
    free(l);
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}
