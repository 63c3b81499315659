/*
 * http_server.c: see http_server.h. One request per connection: `connection: close` always. The clients that matter
 * become WebSockets with their first request; for probes and the console page a new connection each is cheap enough,
 * and it saves everything that can go wrong with pipelining and bodies.
 *
 * Invariants: a client lives on one of two lists from http_server_adopt() to its close callback: `reading` while its
 * request head is not complete, then `answering`. Its deadline is armed all that time, so nobody who says nothing (or
 * reads nothing) stays longer than the handshake's time per step. It keeps its place at the gate until it ends or
 * becomes a WebSocket, which takes the place over. Bytes behind the head are left in the socket, since they may be the
 * first WebSocket frames.
 */
#include "http_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "list.h"
#include "log.h"
#include "slots.h"

enum {
    READ_STEP = 2048,
    LINGER_BYTES = 256 * 1024, /* of an unread body, swallowed so that the answer is not lost to a reset */
    HELD_MAX = 1 << 20,
    FREE_TURNS = 10000
};

enum client_state { READING, HELD, WRITING, LINGERING, GONE };

struct http_client {
    struct http_server *server;
    struct list node;
    uv_poll_t poll;
    struct timer deadline;
    enum client_state state;
    bool late; /* beyond its time in a dry run */
    int fd;
    struct buf in;
    struct buf out;
    size_t sent;
    size_t swallowed;
    struct client_source source;
    handle_t held; /* while HELD */
    http_gone_fn *gone;
    uint64_t tag;
};

struct http_server {
    struct http_options o;
    struct list reading;   /* oldest first */
    struct list answering; /* and such as are HELD or GONE */
    uint32_t pending;      /* on reading */
    uint32_t count;        /* not GONE */
    struct slots held;
    struct http_client *asking; /* whose request() is running */
    uint32_t handles; /* uv handles whose close callback has not run yet */
};

/* --- one client --------------------------------------------------------------------------------------------------- */

static bool client_refused(const struct http_client *c, enum limit which)
{
    return limit_refuse(c->server->o.limits, which, 0, slice_str(c->source.text));
}

static void client_closed(uv_handle_t *handle)
{
    struct http_client *c = handle->data;
    c->server->handles--;
    list_remove(&c->node);
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
}

/* The only way from one state to another. */
static void client_enter(struct http_client *c, enum client_state state)
{
    if (c->state == READING) {
        list_remove(&c->node);
        list_append(&c->server->answering, &c->node);
        c->server->pending--;
    }
    c->state = state;
}

/* Lets go of the client. keep_fd: the descriptor, and the place at the gate, now belong to somebody else. */
static void client_end(struct http_client *c, bool keep_fd)
{
    if (c->state == GONE)
        return;
    if (slots_remove(&c->server->held, c->held))
        c->gone(c->server->o.handlers.ctx, c->tag);
    client_enter(c, GONE);
    c->server->count--;
    if (!keep_fd)
        gate_leave(c->server->o.gate, &c->source, c->server->o.timers->now_us);
    timer_disarm(c->server->o.timers, &c->deadline);
    uv_poll_stop(&c->poll);
    if (!keep_fd)
        close(c->fd);
    c->fd = -1;
    uv_close((uv_handle_t *)&c->poll, client_closed);
}

/* In a dry run the client gets the longest time that can be configured, once. */
static void on_deadline(struct timer *t)
{
    struct http_client *c = container_of(t, struct http_client, deadline);
    if (c->state == READING && !c->late && !client_refused(c, LIMIT_HANDSHAKE)) {
        c->late = true;
        timer_arm_in(c->server->o.timers, t, LIMIT_HANDSHAKE_DRY_US);
        return;
    }
    client_end(c, false);
}

static void arm_deadline(struct http_client *c)
{
    uint64_t ms = c->server->o.limits->value[LIMIT_HANDSHAKE];
    timer_arm_in(c->server->o.timers, &c->deadline, ms * 1000);
}

/* The answer is out: FIN, then what the client still sends is swallowed until it closes too. Closing with unread bytes
 * would send a reset, which may overtake the answer. */
static void linger(struct http_client *c)
{
    char bin[READ_STEP];
    ssize_t n = 1;
    if (c->state != LINGERING) {
        client_enter(c, LINGERING);
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
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
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

static void client_answer(struct http_client *c, const struct http_response *res, bool head_only)
{
    put_response(&c->out, res, head_only);
    client_enter(c, WRITING);
    arm_deadline(c);
    client_write(c);
}

static void client_refuse(struct http_client *c, const char *answer)
{
    buf_puts(&c->out, answer);
    client_enter(c, WRITING);
    client_write(c);
}

/* What is not HTTP gets the answer that the recorded server gives. */
static const char bad_request[] = "HTTP/1.0 400 Bad Request\r\nconnection: close\r\n\r\n";
static const char head_too_large[] = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n"
                                     "connection: close\r\n\r\n";

/* Whether the head is within its limits. len: bytes of it that are here; rc: what the parser said, whose own bounds are
 * the largest values that can be configured, so that beyond them there is no room for a dry run. */
static bool head_is_sane(const struct http_client *c, size_t len, int rc, uint32_t headers)
{
    const struct client_limits *l = c->server->o.limits;
    if (rc == BG_ELIMIT) {
        bool refused = client_refused(c, len >= HTTP_HEAD_MAX ? LIMIT_HEAD_BYTES : LIMIT_HEADERS);
        (void)refused;
        return false;
    }
    if (len > l->value[LIMIT_HEAD_BYTES] && client_refused(c, LIMIT_HEAD_BYTES))
        return false;
    return rc != BG_OK || headers <= l->value[LIMIT_HEADERS] || !client_refused(c, LIMIT_HEADERS);
}

/* The watcher must be off the descriptor before somebody else watches it. */
static void client_upgrade(struct http_client *c, const struct http_head *h)
{
    const struct http_handlers *on = &c->server->o.handlers;
    int fd = c->fd;
    client_end(c, true);
    on->upgrade(on->ctx, fd, h, &c->source);
}

/* Asks what is to become of the client, and does it, unless it is held. refused: the status that has been decided. */
static void client_handle(struct http_client *c, const struct http_head *h, unsigned refused, bool again)
{
    const struct http_handlers *on = &c->server->o.handlers;
    struct http_response res = {.status = 500};
    buf_init(&res.body, 0);
    c->server->asking = c;
    bool upgrade = !refused && on->request(on->ctx, h, &c->source, again, &res);
    c->server->asking = NULL;
    if (refused)
        res.status = refused;
    if (c->held == HANDLE_NONE && upgrade)
        client_upgrade(c, h);
    else if (c->held == HANDLE_NONE)
        client_answer(c, &res, slice_is(h->method, "HEAD"));
    buf_fini(&res.body);
}

static void client_request(struct http_client *c, const struct http_head *h)
{
    const struct http_handlers *on = &c->server->o.handlers;
    metric_inc(c->server->o.metrics, METRIC_HTTP_REQUESTS);
    client_handle(c, h, on->identify(on->ctx, h, &c->source), false);
}

handle_t http_server_hold(struct http_server *s, http_gone_fn *gone, uint64_t tag)
{
    struct http_client *c = s->asking;
    assert_always(c && c->held == HANDLE_NONE);
    c->held = slots_add(&s->held, c);
    if (c->held == HANDLE_NONE)
        return HANDLE_NONE;
    client_enter(c, HELD);
    c->gone = gone;
    c->tag = tag;
    uv_poll_start(&c->poll, UV_DISCONNECT, on_client); /* what it may send already is left where it is */
    return c->held;
}

/* The held client, which is held no longer; NULL when it has gone. */
static struct http_client *let_go(struct http_server *s, handle_t held)
{
    struct http_client *c = slots_remove(&s->held, held);
    if (c)
        c->held = HANDLE_NONE;
    return c;
}

void http_server_resume(struct http_server *s, handle_t held)
{
    struct http_client *c = let_go(s, held);
    struct http_head h;
    struct err e;
    size_t used;
    if (!c)
        return;
    assert_always(http_head_parse(buf_slice(&c->in), &h, &used, &e) == BG_OK); /* as it was the first time */
    client_handle(c, &h, 0, true);
}

void http_server_release(struct http_server *s, handle_t held, const struct http_response *res)
{
    struct http_client *c = let_go(s, held);
    if (!c)
        return;
    if (res)
        client_answer(c, res, false);
    else
        client_upgrade(c, NULL);
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
    if (!head_is_sane(c, c->in.len, rc, rc == BG_OK ? h.headers_count : 0))
        client_refuse(c, head_too_large);
    else if (rc == BG_OK)
        client_request(c, &h);
    else if (rc != BG_EMORE)
        client_refuse(c, bad_request);
}

static void on_client(uv_poll_t *poll, int status, int events)
{
    struct http_client *c = poll->data;
    (void)events;
    if (status < 0 || c->state == HELD)
        client_end(c, false);
    else if (c->state == READING)
        client_read(c);
    else if (c->state == WRITING)
        client_write(c);
    else if (c->state == LINGERING)
        linger(c);
}

/* --- the server --------------------------------------------------------------------------------------------------- */

/* Too many who have not said what they want: the one that has taken longest makes room. So whoever only opens
 * connections drives out his own, and whoever sends his request at once has it read. */
static void drop_oldest(struct http_server *s)
{
    if (s->pending <= s->o.limits->value[LIMIT_PENDING])
        return;
    struct http_client *oldest = container_of(s->reading.next, struct http_client, node);
    if (client_refused(oldest, LIMIT_PENDING))
        client_end(oldest, false);
}

void http_server_adopt(struct http_server *s, int fd, const struct client_source *from)
{
    struct http_client *c = calloc(1, sizeof(*c));
    if (!c || uv_poll_init(s->o.loop, &c->poll, fd) != 0) {
        struct client_source gone = *from;
        gate_leave(s->o.gate, &gone, s->o.timers->now_us);
        close(fd);
        free(c);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->deadline.fn = on_deadline;
    c->source = *from;
    buf_init(&c->in, HTTP_HEAD_MAX + READ_STEP);
    buf_init(&c->out, 0);
    c->poll.data = c;
    list_append(&s->reading, &c->node);
    s->pending++;
    s->count++;
    s->handles++;
    timer_arm(s->o.timers, &c->deadline,
              from->accepted_us + (uint64_t)s->o.limits->value[LIMIT_HANDSHAKE] * 1000);
    uv_poll_start(&c->poll, UV_READABLE, on_client);
    drop_oldest(s);
}

void http_refuse(int fd, unsigned status)
{
    char bin[READ_STEP], text[160];
    int len = snprintf(text, sizeof(text), "HTTP/1.1 %u %s\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n",
                       status, reason_phrase(status));
    ssize_t ignored = send(fd, text, (size_t)len, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    ignored = recv(fd, bin, sizeof(bin), 0);
    (void)ignored;
    close(fd);
}

struct http_server *http_server_new(const struct http_options *o)
{
    struct http_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->o = *o;
    list_init(&s->reading);
    list_init(&s->answering);
    slots_init(&s->held, HELD_MAX);
    return s;
}

void http_server_free(struct http_server *s)
{
    struct list *node, *next;
    if (!s)
        return;
    list_each_safe (node, next, &s->reading)
        client_end(container_of(node, struct http_client, node), false);
    list_each_safe (node, next, &s->answering)
        client_end(container_of(node, struct http_client, node), false);
    for (int i = 0; s->handles && i < FREE_TURNS; i++)
        uv_run(s->o.loop, UV_RUN_NOWAIT);
    slots_fini(&s->held);
    free(s);
}

uint32_t http_server_count(const struct http_server *s)
{
    return s->count;
}
