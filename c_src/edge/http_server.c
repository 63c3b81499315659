/*
 * http_server.c: see http_server.h. One request per connection: `connection: close` always. The clients that matter
 * become WebSockets with their first request; for probes and the console page a new connection each is cheap enough,
 * and it saves everything that can go wrong with pipelining and bodies.
 *
 * Invariants: a client lives on the list `clients` from accept to its close callback; its deadline is armed all that
 * time, so nobody who says nothing (or reads nothing) stays longer than timeout_ms per step. Bytes behind the head are
 * left in the socket, since they may be the first WebSocket frames.
 *
 * Out of descriptors: the spare one is given up to accept and close the client at the head of the queue, then accepting
 * pauses for a moment. So the loop does not spin on a listening socket that stays readable.
 */
#define _GNU_SOURCE 1 /* accept4 */
#include "http_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "list.h"
#include "log.h"

enum {
    BACKLOG = 4096,
    ACCEPT_BATCH = 64, /* clients taken per loop turn, so that the others are served meanwhile */
    READ_STEP = 2048,
    LINGER_BYTES = 256 * 1024, /* of an unread body, swallowed so that the answer is not lost to a reset */
    FREE_TURNS = 10000
};
#define ACCEPT_PAUSE_US UINT64_C(100000)

enum client_state { READING, WRITING, LINGERING, GONE };

struct http_client {
    struct http_server *server;
    struct list node;
    uv_poll_t poll;
    struct timer deadline;
    enum client_state state;
    int fd;
    struct buf in;
    struct buf out;
    size_t sent;
    size_t swallowed;
    struct client_source source;
};

struct http_server {
    struct http_options o;
    int fd;
    int spare_fd;
    bool stopped;
    bool poll_open;
    uint16_t port;
    uv_poll_t poll;
    struct timer retry;
    struct list clients;
    uint32_t count;   /* not GONE */
    uint32_t handles; /* uv handles whose close callback has not run yet, the listener's included */
};

/* --- one client --------------------------------------------------------------------------------------------------- */

static void client_closed(uv_handle_t *handle)
{
    struct http_client *c = handle->data;
    c->server->handles--;
    list_remove(&c->node);
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
}

/* Lets go of the client. keep_fd: the descriptor now belongs to somebody else. */
static void client_end(struct http_client *c, bool keep_fd)
{
    if (c->state == GONE)
        return;
    c->state = GONE;
    c->server->count--;
    timer_disarm(c->server->o.timers, &c->deadline);
    uv_poll_stop(&c->poll);
    if (!keep_fd)
        close(c->fd);
    c->fd = -1;
    uv_close((uv_handle_t *)&c->poll, client_closed);
}

static void on_deadline(struct timer *t)
{
    client_end(container_of(t, struct http_client, deadline), false);
}

static void arm_deadline(struct http_client *c)
{
    timer_arm_in(c->server->o.timers, &c->deadline, (uint64_t)c->server->o.timeout_ms * 1000);
}

/* The answer is out: FIN, then what the client still sends is swallowed until it closes too. Closing with unread bytes
 * would send a reset, which may overtake the answer. */
static void linger(struct http_client *c)
{
    char bin[READ_STEP];
    ssize_t n = 1;
    if (c->state != LINGERING) {
        c->state = LINGERING;
        shutdown(c->fd, SHUT_WR);
    }
    while (n > 0 && c->swallowed < LINGER_BYTES) {
        n = recv(c->fd, bin, sizeof(bin), 0);
        if (n > 0)
            c->swallowed += (size_t)n;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    client_end(c, false);
}

static void on_client(uv_poll_t *poll, int status, int events);

static void client_write(struct http_client *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            uv_poll_start(&c->poll, UV_WRITABLE, on_client);
            return;
        }
        if (n < 0) {
            client_end(c, false);
            return;
        }
        c->sent += (size_t)n;
        arm_deadline(c);
    }
    uv_poll_start(&c->poll, UV_READABLE, on_client);
    linger(c);
}

static const char *reason_phrase(unsigned status)
{
    static const struct {
        unsigned status;
        const char *phrase;
    } phrases[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++) {
        if (phrases[i].status == status)
            return phrases[i].phrase;
    }
    return "Unknown";
}

static void put_response(struct buf *out, const struct http_response *res, bool head_only)
{
    char date[40];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    buf_printf(out, "HTTP/1.1 %u %s\r\ndate: %s\r\ncontent-length: %zu\r\n", res->status, reason_phrase(res->status),
               date, res->body.len);
    if (res->content_type)
        buf_printf(out, "content-type: %s\r\nx-content-type-options: nosniff\r\n", res->content_type);
    if (res->status == 405)
        buf_puts(out, "allow: GET, HEAD\r\n");
    buf_puts(out, "cache-control: max-age=0, private, must-revalidate\r\nconnection: close\r\n\r\n");
    if (!head_only)
        buf_add_slice(out, buf_slice(&res->body));
}

static void client_answer(struct http_client *c, const struct http_head *h, struct http_response *res)
{
    put_response(&c->out, res, slice_is(h->method, "HEAD"));
    c->state = WRITING;
    arm_deadline(c);
    client_write(c);
}

/* What is not HTTP gets the answer that the recorded server gives. */
static void client_refuse(struct http_client *c)
{
    buf_puts(&c->out, "HTTP/1.0 400 Bad Request\r\nconnection: close\r\n\r\n");
    c->state = WRITING;
    client_write(c);
}

static void client_request(struct http_client *c, const struct http_head *h)
{
    const struct http_handlers *on = &c->server->o.handlers;
    struct http_response res = {.status = 500};
    buf_init(&res.body, 0);
    metric_inc(c->server->o.metrics, METRIC_HTTP_REQUESTS);
    if (on->request(on->ctx, h, &c->source, &res)) {
        /* The watcher must be off the descriptor before somebody else watches it. */
        int fd = c->fd;
        client_end(c, true);
        on->upgrade(on->ctx, fd, h, &c->source);
    } else {
        client_answer(c, h, &res);
    }
    buf_fini(&res.body);
}

/* Takes n bytes that were peeked at out of the socket. */
static bool take(struct http_client *c, size_t n)
{
    uint8_t *dst = buf_reserve(&c->in, n);
    if (!dst || recv(c->fd, dst, n, 0) != (ssize_t)n)
        return false;
    c->in.len += n;
    return true;
}

/* Reads as much of the head as is there, and not a byte more: bytes are peeked at first. */
static void client_read(struct http_client *c)
{
    struct http_head h;
    struct err e;
    size_t had = c->in.len, used = 0;
    uint8_t *dst = buf_reserve(&c->in, READ_STEP);
    ssize_t n = dst ? recv(c->fd, dst, READ_STEP, MSG_PEEK) : -1;
    if (n < 0 && dst && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_end(c, false);
        return;
    }
    int rc = http_head_parse(slice_make(c->in.data, had + (size_t)n), &h, &used, &e);
    if (rc == BG_OK && used <= had) /* the empty line was there before: cannot be, it would have been answered */
        rc = BG_EINVAL;
    if (!take(c, rc == BG_OK ? used - had : (size_t)n)) {
        client_end(c, false);
        return;
    }
    if (rc == BG_OK)
        client_request(c, &h);
    else if (rc != BG_EMORE)
        client_refuse(c);
}

static void on_client(uv_poll_t *poll, int status, int events)
{
    struct http_client *c = poll->data;
    (void)events;
    if (status < 0)
        client_end(c, false);
    else if (c->state == READING)
        client_read(c);
    else if (c->state == WRITING)
        client_write(c);
    else if (c->state == LINGERING)
        linger(c);
}

static void client_new(struct http_server *s, int fd, const struct sockaddr_storage *peer)
{
    static const int on = 1;
    struct http_client *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->deadline.fn = on_deadline;
    buf_init(&c->in, HTTP_HEAD_MAX + READ_STEP);
    buf_init(&c->out, 0);
    client_source_init(&c->source, (const struct sockaddr *)peer);
    /* Frames are written whole: there is nothing for Nagle to collect. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (uv_poll_init(s->o.loop, &c->poll, fd) != 0) {
        close(fd);
        free(c);
        return;
    }
    c->poll.data = c;
    list_append(&s->clients, &c->node);
    s->count++;
    s->handles++;
    arm_deadline(c);
    uv_poll_start(&c->poll, UV_READABLE, on_client);
}

/* --- the listener ------------------------------------------------------------------------------------------------- */

static void on_listener(uv_poll_t *poll, int status, int events);

static void on_retry(struct timer *t)
{
    struct http_server *s = container_of(t, struct http_server, retry);
    if (s->spare_fd < 0)
        s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!s->stopped)
        uv_poll_start(&s->poll, UV_READABLE, on_listener);
}

static void pause_accept(struct http_server *s)
{
    uv_poll_stop(&s->poll);
    timer_arm_in(s->o.timers, &s->retry, ACCEPT_PAUSE_US);
}

static void refuse_full(struct http_server *s, int fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 5\r\n"
                               "connection: close\r\n\r\n";
    char bin[READ_STEP];
    ssize_t ignored = send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    ignored = recv(fd, bin, sizeof(bin), 0);
    (void)ignored;
    close(fd);
    metric_inc(s->o.metrics, METRIC_CLIENT_REFUSED);
    log_limited(LOG_WARNING, "edge", "client refused, too many connections",
                "max_connections=%u hint=\"raise max_connections or add a gateway\"", s->o.max_connections);
}

/* No descriptor is left: use the spare one to turn the first client away, so that it does not hang until we have one.
 */
static void refuse_emfile(struct http_server *s)
{
    log_limited(LOG_ERROR, "edge", "out of file descriptors, accepting pauses",
                "hint=\"raise the limit of open files\"");
    if (s->spare_fd >= 0) {
        close(s->spare_fd);
        s->spare_fd = -1;
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            refuse_full(s, fd);
        s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    pause_accept(s);
}

static void on_listener(uv_poll_t *poll, int status, int events)
{
    struct http_server *s = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(s->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0) {
            refuse_emfile(s);
            return;
        }
        metric_inc(s->o.metrics, METRIC_CLIENT_ACCEPTED);
        if (s->count + s->o.handlers.others(s->o.handlers.ctx) >= s->o.max_connections)
            refuse_full(s, fd);
        else
            client_new(s, fd, &peer);
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

static int set_options(const struct http_options *o, int fd)
{
    static const int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
        return -1;
    return o->reuse_port ? setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) : 0;
}

static int listener_open(struct http_server *s, struct err *e)
{
    struct sockaddr_storage ss;
    socklen_t len;
    if (address_parse(s->o.address, s->o.port, &ss, &len) != BG_OK)
        return err_set(e, BG_EINVAL, 0, "\"%s\" is no IP address", s->o.address);
    s->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || set_options(&s->o, s->fd) != 0 || bind(s->fd, (struct sockaddr *)&ss, len) != 0 ||
        listen(s->fd, BACKLOG) != 0 || getsockname(s->fd, (struct sockaddr *)&ss, &len) != 0)
        return err_set(e, BG_ESYS, 0, "cannot listen on %s port %u: %s", s->o.address, s->o.port, strerror(errno));
    /* The port is at the same place in both kinds of address. */
    s->port = ntohs(((struct sockaddr_in *)(void *)&ss)->sin_port);
    if (uv_poll_init(s->o.loop, &s->poll, s->fd) != 0)
        return err_set(e, BG_ESYS, 0, "cannot watch the listening socket");
    s->poll.data = s;
    s->poll_open = true;
    s->handles++;
    uv_poll_start(&s->poll, UV_READABLE, on_listener);
    return BG_OK;
}

struct http_server *http_server_new(const struct http_options *o, struct err *e)
{
    struct http_server *s = calloc(1, sizeof(*s));
    if (!s) {
        err_set(e, BG_ENOMEM, 0, "no memory");
        return NULL;
    }
    s->o = *o;
    s->fd = -1;
    s->retry.fn = on_retry;
    list_init(&s->clients);
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (listener_open(s, e) != BG_OK) {
        http_server_free(s);
        return NULL;
    }
    return s;
}

static void listener_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    s->handles--;
}

void http_server_stop(struct http_server *s)
{
    if (s->stopped)
        return;
    s->stopped = true;
    timer_disarm(s->o.timers, &s->retry);
    if (s->poll_open) {
        uv_poll_stop(&s->poll);
        uv_close((uv_handle_t *)&s->poll, listener_closed);
    }
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void http_server_free(struct http_server *s)
{
    struct list *node, *next;
    if (!s)
        return;
    http_server_stop(s);
    list_each_safe (node, next, &s->clients)
        client_end(container_of(node, struct http_client, node), false);
    for (int i = 0; s->handles && i < FREE_TURNS; i++)
        uv_run(s->o.loop, UV_RUN_NOWAIT);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    free(s);
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

uint32_t http_server_count(const struct http_server *s)
{
    return s->count;
}
