/*
 * tls_server.c: see tls_server.h. One connection is two sockets, `net` to the client and `plain`, one end of a pair
 * whose other end the HTTP server and then libwebsockets have.
 *
 * Why a pair: libwebsockets can only do TLS itself, from the first byte on, and then its HTTP code would meet strangers
 * (see ws_server.c). The price is one more receive and send for each batch of messages, and two descriptors
 * (docs/performance.md has it measured).
 *
 * Back-pressure: what one socket does not take waits here, and then the other one is not read. So at most one read
 * of plaintext and what became of one read of ciphertext wait; TLS's own answers may wait up to OWED_MAX, then the
 * client is not read either.
 *
 * Closing: the end of one direction is passed on as the end of that direction (close_notify and FIN there, FIN here).
 * When the plaintext side has ended, the client has LINGER_US without progress and OVER_US in all.
 *
 * Invariants: a connection is on a list from tls_server_adopt() until both its uv handles are closed; its timer is
 * armed during the handshake and once the plaintext side has ended; nobody reads a socket while the way out is blocked.
 */
#include "tls_server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "list.h"
#include "log.h"
#include "slots.h"

enum {
    STEP = TLS_RECORD_MAX, /* most bytes of one read, either way */
    OWED_MAX = 32 * 1024,
    PAIR_BUFFER = 32 * 1024, /* of the plaintext sockets: what a client does not read should wait where it is counted */
    OPEN_MAX = 1 << 20,      /* more than there are descriptors; the bound is LIMIT_CONNECTIONS */
    FREE_TURNS = 10000
};
#define LINGER_US UINT64_C(5000000)
#define OVER_US UINT64_C(30000000)

enum conn_state { SHAKING, OPEN, OVER, GONE };

/* One of the two sockets of a connection. */
struct side {
    int fd;
    int events; /* what is watched now */
    uv_poll_t poll;
    bool eof;       /* it will say nothing more */
    bool fin;       /* it has been told so by us */
    struct buf out; /* what it did not take yet */
};

struct conn {
    struct tls_server *server;
    struct list node;
    struct tls_session *session;
    struct side net;
    struct side plain; /* fd -1 before the handshake is done */
    struct timer timer;
    struct client_source from;
    enum conn_state state;
    uint64_t over_us; /* when the plaintext side ended */
    unsigned handles;
    handle_t id; /* from->transport of whoever has the plaintext socket */
    bool late;   /* beyond its time in a dry run */
};

struct tls_server {
    struct tls_server_options o;
    struct list shaking; /* oldest first */
    struct list others;
    struct slots open; /* those whose plaintext socket somebody has got */
    uint32_t shaking_count;
    uint32_t waiting; /* see tls_server_count() */
    uint32_t handles;
    struct buf scratch;   /* what is to be written now */
    uint8_t cipher[STEP]; /* what was just read */
    uint8_t plaintext[STEP];
};

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    c->server->handles--;
    if (--c->handles)
        return;
    list_remove(&c->node);
    buf_fini(&c->net.out);
    buf_fini(&c->plain.out);
    tls_session_free(c->session);
    free(c);
}

static void side_close(struct side *s)
{
    if (s->fd < 0)
        return;
    uv_poll_stop(&s->poll);
    close(s->fd);
    s->fd = -1;
    uv_close((uv_handle_t *)&s->poll, on_closed);
}

/* The only way from one state to another. */
static void conn_enter(struct conn *c, enum conn_state state)
{
    struct tls_server *s = c->server;
    if (c->state == SHAKING) {
        list_remove(&c->node);
        list_append(&s->others, &c->node);
        s->shaking_count--;
    }
    s->waiting += (state == OVER) - (c->state == SHAKING || c->state == OVER);
    c->state = state;
}

static void conn_end(struct conn *c)
{
    struct tls_server *s = c->server;
    if (c->state == GONE)
        return;
    if (c->state == SHAKING)
        gate_leave(s->o.gate, &c->from, s->o.timers->now_us);
    conn_enter(c, GONE);
    slots_remove(&s->open, c->id);
    timer_disarm(s->o.timers, &c->timer);
    side_close(&c->net);
    side_close(&c->plain);
}

/* Frees what the kernel holds for a client that does not read. */
static void conn_reset(struct conn *c)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->net.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    conn_end(c);
}

static bool refused(const struct conn *c, enum limit which)
{
    return limit_refuse(c->server->o.limits, which, 0, slice_str(c->from.text));
}

/* In a dry run a handshake gets the longest time that can be configured, once. */
static void on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    if (c->state == SHAKING && !c->late && !refused(c, LIMIT_HANDSHAKE)) {
        c->late = true;
        timer_arm_in(c->server->o.timers, t, LIMIT_HANDSHAKE_DRY_US);
        return;
    }
    if (c->state == SHAKING)
        metric_inc(c->server->o.metrics, METRIC_TLS_REFUSED);
    conn_reset(c);
}

static void linger(struct conn *c)
{
    uint64_t now = c->server->o.timers->now_us, last = c->over_us + OVER_US;
    timer_arm(c->server->o.timers, &c->timer, now + LINGER_US < last ? now + LINGER_US : last);
}

/* Nothing more comes from the plaintext side, or nobody is there any more. */
static void plain_over(struct conn *c)
{
    if (c->state != OPEN)
        return;
    conn_enter(c, OVER);
    c->over_us = c->server->o.timers->now_us;
    linger(c);
}

/* --- moving bytes ------------------------------------------------------------------------------------------------- */

/* Sends what waits, then bytes; what is not taken waits. False: the socket is of no use any more. */
static bool side_send(struct side *s, struct slice bytes)
{
    if (s->out.len == 0 && bytes.len) {
        ssize_t n = send(s->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        size_t sent = n > 0 ? (size_t)n : 0;
        bytes = slice_make(bytes.ptr + sent, bytes.len - sent);
    }
    buf_add_slice(&s->out, bytes);
    return buf_ok(&s->out);
}

static bool side_flush(struct side *s)
{
    if (s->out.len == 0)
        return true;
    ssize_t n = send(s->fd, s->out.data, s->out.len, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    buf_consume(&s->out, (size_t)n);
    if (s->out.len == 0)
        buf_fini(&s->out);
    return true;
}

/* When everything is out: FIN. */
static void side_fin(struct side *s)
{
    if (s->fd < 0 || s->fin || s->out.len)
        return;
    s->fin = true;
    shutdown(s->fd, SHUT_WR);
}

/* To the client: what TLS has put into scratch. */
static void net_send(struct conn *c)
{
    struct buf *scratch = &c->server->scratch;
    bool ok = buf_ok(scratch) && side_send(&c->net, buf_slice(scratch));
    buf_reset(scratch);
    if (!ok)
        conn_end(c);
}

/* Nobody listens to the client any more: its bytes go nowhere, until it ends too. */
static void plain_send(struct conn *c, struct slice bytes)
{
    if (!c->plain.fin && side_send(&c->plain, bytes))
        return;
    buf_fini(&c->plain.out);
    c->plain.fin = true;
    plain_over(c);
}

static int side_watch(struct conn *c, struct side *s, int fd)
{
    if (uv_poll_init(c->server->o.loop, &s->poll, fd) != 0)
        return BG_ESYS;
    s->fd = fd;
    s->poll.data = c;
    c->handles++;
    c->server->handles++;
    return BG_OK;
}

static void on_net(uv_poll_t *poll, int status, int events);
static void on_plain(uv_poll_t *poll, int status, int events);

static void watch(struct side *s, int events, uv_poll_cb fn)
{
    if (s->fd < 0 || events == s->events)
        return;
    s->events = events;
    if (events)
        uv_poll_start(&s->poll, events, fn);
    else
        uv_poll_stop(&s->poll);
}

/* After everything that happens: passes ends on, and watches for what can be done next. While the plaintext side may
 * not be read, its end must still be seen: UV_DISCONNECT. */
static void settle(struct conn *c)
{
    if (c->state == GONE)
        return;
    if (c->net.eof)
        side_fin(&c->plain);
    if (c->plain.eof)
        side_fin(&c->net);
    if (c->net.fin && c->net.eof) {
        conn_end(c);
        return;
    }
    bool read_net = !c->net.eof && c->plain.out.len == 0 && c->net.out.len < OWED_MAX;
    bool read_plain = !c->plain.eof && c->net.out.len == 0;
    int disconnect = c->state == OPEN && !read_plain ? UV_DISCONNECT : 0;
    watch(&c->net, (read_net ? UV_READABLE : 0) | (c->net.out.len ? UV_WRITABLE : 0), on_net);
    watch(&c->plain, (read_plain ? UV_READABLE : disconnect) | (c->plain.out.len ? UV_WRITABLE : 0), on_plain);
}

static void broken(struct conn *c, const struct err *e)
{
    if (c->state == SHAKING) {
        metric_inc(c->server->o.metrics, METRIC_TLS_REFUSED);
        log_limited(LOG_INFO, "edge", "TLS handshake failed", "peer=%s reason=%s", c->from.text,
                    log_text(slice_str(e->text)));
    } else {
        log_debug("edge", "TLS broken", "peer=%s reason=%s", c->from.text, log_text(slice_str(e->text)));
    }
    conn_end(c);
}

/* Everything that the bytes hold is decrypted at once: they lie in a buffer for all. */
static void decrypt(struct conn *c, struct slice in)
{
    struct tls_server *s = c->server;
    struct err e;
    long n = 0;
    while (c->state != GONE && !c->net.eof &&
           (n = tls_read(c->session, &in, &s->scratch, s->plaintext, sizeof(s->plaintext), &e)) != 0) {
        if (n > 0)
            plain_send(c, slice_make(s->plaintext, (size_t)n));
        else if (n == BG_EGONE)
            c->net.eof = true;
        else
            break;
    }
    net_send(c);
    if (c->state != GONE && !c->net.eof && n < 0)
        broken(c, &e);
}

static int pair_open(struct conn *c, int *other)
{
    static const int size = PAIR_BUFFER;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return BG_ESYS;
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (side_watch(c, &c->plain, fds[0]) != BG_OK) {
        close(fds[0]);
        close(fds[1]);
        return BG_ESYS;
    }
    *other = fds[1];
    return BG_OK;
}

static void no_room(struct conn *c)
{
    metric_inc(c->server->o.metrics, METRIC_TLS_REFUSED);
    log_limited(LOG_ERROR, "edge", "no sockets for a TLS client", "hint=\"raise the limit of open files\"");
    conn_end(c);
}

/* The handshake is done: from here on the client, and its place at the gate, are whoever's has the plaintext socket. */
static void conn_open(struct conn *c)
{
    struct tls_server *s = c->server;
    int fd;
    c->id = slots_add(&s->open, c);
    if (c->id == HANDLE_NONE || pair_open(c, &fd) != BG_OK) {
        no_room(c);
        return;
    }
    timer_disarm(s->o.timers, &c->timer);
    conn_enter(c, OPEN);
    metric_inc(s->o.metrics, METRIC_TLS_HANDSHAKES);
    log_debug("edge", "TLS handshake done", "peer=%s version=%s cipher=%s", c->from.text, tls_version(c->session),
              tls_cipher(c->session));
    struct client_source from = c->from;
    c->from.at = NULL;
    from.transport = c->id;
    s->o.ready(s->o.ctx, fd, &from);
}

static void shake(struct conn *c, struct slice in)
{
    struct err e;
    int rc = tls_handshake(c->session, &in, &c->server->scratch, &e);
    net_send(c);
    if (c->state == GONE || rc == BG_EMORE)
        return;
    if (rc != BG_OK) {
        broken(c, &e);
        return;
    }
    conn_open(c);
    if (c->state != GONE)
        decrypt(c, in);
}

static void net_read(struct conn *c)
{
    struct tls_server *s = c->server;
    ssize_t n = recv(c->net.fd, s->cipher, sizeof(s->cipher), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0 || (n == 0 && c->state == SHAKING)) {
        conn_end(c);
        return;
    }
    if (n == 0)
        c->net.eof = true;
    else if (c->state == SHAKING)
        shake(c, slice_make(s->cipher, (size_t)n));
    else
        decrypt(c, slice_make(s->cipher, (size_t)n));
}

static void plain_read(struct conn *c)
{
    struct tls_server *s = c->server;
    ssize_t n = recv(c->plain.fd, s->plaintext, sizeof(s->plaintext), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        if (tls_write(c->session, slice_make(s->plaintext, (size_t)n), &s->scratch) != BG_OK) {
            buf_reset(&s->scratch);
            conn_end(c);
            return;
        }
    } else {
        c->plain.eof = true;
        plain_over(c);
        tls_close(c->session, &s->scratch);
    }
    net_send(c);
}

static void on_net(uv_poll_t *poll, int status, int events)
{
    struct conn *c = poll->data;
    if (status < 0 || (events & UV_WRITABLE && !side_flush(&c->net))) {
        conn_end(c);
        return;
    }
    if (events & UV_WRITABLE && c->state == OVER)
        linger(c);
    if (events & UV_READABLE && c->net.events & UV_READABLE)
        net_read(c);
    settle(c);
}

static void on_plain(uv_poll_t *poll, int status, int events)
{
    struct conn *c = poll->data;
    if (status < 0) {
        conn_end(c);
        return;
    }
    if (events & UV_WRITABLE && !side_flush(&c->plain)) {
        buf_fini(&c->plain.out);
        c->plain.fin = true;
    }
    if (events & UV_DISCONNECT)
        plain_over(c);
    if (events & UV_READABLE && c->plain.events & UV_READABLE)
        plain_read(c);
    settle(c);
}

/* --- the server --------------------------------------------------------------------------------------------------- */

static struct conn *conn_new(struct tls_server *s, int fd, struct tls_context *t)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->server = s;
    c->plain.fd = -1;
    c->timer.fn = on_timer;
    c->session = tls_session_new(t, TLS_ACCEPTING, NULL);
    if (c->session && side_watch(c, &c->net, fd) == BG_OK)
        return c;
    tls_session_free(c->session);
    free(c);
    return NULL;
}

/* Too many in their handshake: the one that has taken longest makes room. */
static void drop_oldest(struct tls_server *s)
{
    if (s->shaking_count <= s->o.limits->value[LIMIT_PENDING])
        return;
    struct conn *oldest = container_of(s->shaking.next, struct conn, node);
    if (refused(oldest, LIMIT_PENDING))
        conn_reset(oldest);
}

void tls_server_adopt(struct tls_server *s, int fd, struct tls_context *t, const struct client_source *from)
{
    struct conn *c = conn_new(s, fd, t);
    if (!c) {
        struct client_source gone = *from;
        gate_leave(s->o.gate, &gone, s->o.timers->now_us);
        close(fd);
        return;
    }
    c->from = *from;
    c->from.tls = true;
    list_append(&s->shaking, &c->node);
    s->shaking_count++;
    s->waiting++;
    timer_arm(s->o.timers, &c->timer, from->accepted_us + (uint64_t)s->o.limits->value[LIMIT_HANDSHAKE] * 1000);
    settle(c);
    drop_oldest(s);
}

int tls_server_tcp(const struct tls_server *s, handle_t transport)
{
    const struct conn *c = slots_get(&s->open, transport);
    return c ? c->net.fd : -1;
}

struct tls_server *tls_server_new(const struct tls_server_options *o)
{
    struct tls_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->o = *o;
    list_init(&s->shaking);
    list_init(&s->others);
    slots_init(&s->open, OPEN_MAX);
    buf_init(&s->scratch, 0);
    return s;
}

void tls_server_free(struct tls_server *s)
{
    struct list *node, *next;
    if (!s)
        return;
    list_each_safe (node, next, &s->shaking)
        conn_end(container_of(node, struct conn, node));
    list_each_safe (node, next, &s->others)
        conn_end(container_of(node, struct conn, node));
    for (int i = 0; s->handles && i < FREE_TURNS; i++)
        uv_run(s->o.loop, UV_RUN_NOWAIT);
    buf_fini(&s->scratch);
    slots_fini(&s->open);
    free(s);
}

uint32_t tls_server_count(const struct tls_server *s)
{
    return s->waiting;
}
