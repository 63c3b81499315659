/*
 * proxy_server.c: see proxy_server.h. A connection without a right header is closed without a word: who sends none is
 * no client of ours, and the proxy would not understand an answer.
 *
 * Invariants: a connection is on `waiting`, oldest first, until its end, with its deadline armed; not a byte behind the
 * header is taken out of the socket, since it is the client's (TLS, or a request).
 */
#include "proxy_server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "list.h"
#include "proxy_header.h"

enum { READ_STEP = 536, FREE_TURNS = 10000 };

struct conn {
    struct proxy_server *server;
    struct list node;
    uv_poll_t poll;
    struct timer deadline;
    struct client_source from;
    struct buf in; /* the header, as far as it has come */
    void *way;
    int fd;
    bool late; /* beyond its time in a dry run */
};

struct proxy_server {
    struct proxy_server_options o;
    struct list waiting;
    uint32_t count;   /* on waiting */
    uint32_t handles; /* whose close callback has not run yet */
};

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    c->server->handles--;
    free(c);
}

/* Lets go of it. Returns its socket, which nobody watches any more. */
static int release(struct conn *c)
{
    int fd = c->fd;
    list_remove(&c->node);
    c->server->count--;
    timer_disarm(c->server->o.timers, &c->deadline);
    buf_fini(&c->in);
    uv_poll_stop(&c->poll);
    uv_close((uv_handle_t *)&c->poll, on_closed);
    return fd;
}

static void refuse(struct conn *c, const char *why)
{
    metric_inc(c->server->o.metrics, METRIC_PROXY_REFUSED);
    log_limited(LOG_WARNING, "edge", "proxy refused", "peer=%s reason=\"%s\"", c->from.text, why);
    close(release(c));
}

static bool limited(const struct conn *c, enum limit which)
{
    return limit_refuse(c->server->o.limits, which, 0, slice_str(c->from.text));
}

/* In a dry run the header gets the longest time that can be configured, once. */
static void on_deadline(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, deadline);
    if (!c->late && !limited(c, LIMIT_HANDSHAKE)) {
        c->late = true;
        timer_arm_in(c->server->o.timers, t, LIMIT_HANDSHAKE_DRY_US);
        return;
    }
    refuse(c, "its header does not come in time");
}

static void known(struct conn *c, const struct proxy_header *h)
{
    struct client_source from = c->from;
    void (*ready)(void *way, int fd, struct client_source *from) = c->server->o.ready;
    void *way = c->way;
    if (h->has_address)
        client_source_set(&from, &h->address);
    from.tls = h->tls;
    ready(way, release(c), &from);
}

/* Takes n bytes that were peeked at out of the socket. */
static bool take(struct conn *c, size_t n)
{
    uint8_t *dst = buf_reserve(&c->in, n);
    if (!dst || recv(c->fd, dst, n, 0) != (ssize_t)n)
        return false;
    c->in.len += n;
    return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct conn *c = poll->data;
    struct proxy_header h;
    size_t had = c->in.len, used = 0;
    uint8_t *dst = buf_reserve(&c->in, READ_STEP);
    (void)events;
    ssize_t n = dst && status == 0 ? recv(c->fd, dst, READ_STEP, MSG_PEEK) : -1;
    if (n < 0 && dst && status == 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        refuse(c, "it ends before its header does");
        return;
    }
    int rc = proxy_header_parse(slice_make(c->in.data, had + (size_t)n), &h, &used);
    if (rc != BG_OK && rc != BG_EMORE)
        refuse(c, rc == BG_ELIMIT ? "its header is too long" : "no header of the PROXY protocol");
    else if (!take(c, rc == BG_OK ? used - had : (size_t)n))
        refuse(c, "it cannot be read from");
    else if (rc == BG_OK)
        known(c, &h);
}

/* Too many whose header is not complete: the one that has taken longest makes room. */
static void drop_oldest(struct proxy_server *s)
{
    if (s->count <= s->o.limits->value[LIMIT_PENDING])
        return;
    struct conn *oldest = container_of(s->waiting.next, struct conn, node);
    if (limited(oldest, LIMIT_PENDING))
        refuse(oldest, "too many are waiting for theirs");
}

void proxy_server_adopt(struct proxy_server *s, int fd, const struct client_source *from, void *way)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c || uv_poll_init(s->o.loop, &c->poll, fd) != 0) {
        close(fd);
        free(c);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->way = way;
    c->from = *from;
    c->poll.data = c;
    c->deadline.fn = on_deadline;
    buf_init(&c->in, PROXY_HEADER_MAX + READ_STEP);
    list_append(&s->waiting, &c->node);
    s->count++;
    s->handles++;
    timer_arm(s->o.timers, &c->deadline, from->accepted_us + (uint64_t)s->o.limits->value[LIMIT_HANDSHAKE] * 1000);
    uv_poll_start(&c->poll, UV_READABLE, on_readable);
    drop_oldest(s);
}

struct proxy_server *proxy_server_new(const struct proxy_server_options *o)
{
    struct proxy_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->o = *o;
    list_init(&s->waiting);
    return s;
}

void proxy_server_free(struct proxy_server *s)
{
    struct list *node, *next;
    if (!s)
        return;
    list_each_safe (node, next, &s->waiting)
        close(release(container_of(node, struct conn, node)));
    for (int i = 0; s->handles && i < FREE_TURNS; i++)
        uv_run(s->o.loop, UV_RUN_NOWAIT);
    free(s);
}

uint32_t proxy_server_count(const struct proxy_server *s)
{
    return s->count;
}
