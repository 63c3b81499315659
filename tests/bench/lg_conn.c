/*
 * lg_conn.c: one client connection on raw sockets: connect, HTTP upgrade, WebSocket frames both ways.
 *
 * Writes gather in one send buffer while a batch of answers is read and leave with one send(); reads go through
 * one buffer for all connections, and only an incomplete frame is kept with its connection. In the steady state
 * nothing is allocated. It understands what a Phoenix server sends: whole text frames, ping, close; a fragment, a
 * masked frame or an unknown opcode counts as a wrong answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loadgen.h"



/* The key of RFC 6455 §1.3 and the answer it must get. */
#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum ws_opcode { WS_TEXT = 1, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct frame {
    unsigned opcode;
    bool fin;
    bool masked;
    const uint8_t *payload;
    size_t len;
    size_t size; /* header and payload; 0: incomplete */
};

static void watch(struct run *r, struct conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(r->epoll_fd, op, c->fd, &ev) != 0)
        run_error(r, "epoll_ctl", strerror(errno), strlen(strerror(errno)));
}

void conn_close(struct run *r, struct conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    if (c->state == CONN_READY)
        r->ready--;
    else if (c->state != CONN_NEW && c->state != CONN_DEAD)
        r->connecting--;
    free(c->unsent);
    c->unsent = NULL;
    c->unsent_len = c->rest_len = 0;
    for (unsigned i = 0; i < r->opt.inflight; i++)
        c->slots[i].state = SLOT_FREE;
    c->fd = -1;
    c->state = CONN_DEAD;
}

/* Ends a connection that should have lived. */
static void conn_lost(struct run *r, struct conn *c, const char *why, int error)
{
    const char *text = error ? strerror(error) : "";
    r->count.closed++;
    run_error(r, why, text, strlen(text));
    conn_close(r, c);
}

/* --- connecting --- */

/* 28,000 ports per source address; a source in 127/8 for each further portion (--sources). */
static void bind_source(struct run *r, struct conn *c)
{
    if (r->opt.sources == 0)
        return;
    int one = 1;
    struct sockaddr_in src = {.sin_family = AF_INET};
    src.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + c->index % r->opt.sources);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(c->fd, (struct sockaddr *)&src, sizeof(src)) != 0)
        run_error(r, "bind", strerror(errno), strlen(strerror(errno)));
}

void conn_open(struct run *r, struct conn *c)
{
    struct sockaddr_in dst = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r->opt.port)};
    inet_pton(AF_INET, r->opt.host, &dst.sin_addr);
    c->begun_ns = now_ns();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        conn_lost(r, c, "socket", errno);
        return;
    }
    bind_source(r, c);
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->state = CONN_CONNECTING;
    r->connecting++;
    if (connect(c->fd, (struct sockaddr *)&dst, sizeof(dst)) != 0 && errno != EINPROGRESS) {
        conn_lost(r, c, "connect", errno);
        return;
    }
    watch(r, c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* --- sending --- */

/* Keeps what the kernel did not take; the loop sends it when there is room again. */
static void keep_unsent(struct run *r, struct conn *c, const uint8_t *p, size_t n)
{
    uint8_t *grown = realloc(c->unsent, c->unsent_len + n);
    if (!grown) {
        conn_lost(r, c, "no memory", 0);
        return;
    }
    memcpy(grown + c->unsent_len, p, n);
    if (c->unsent_len == 0)
        watch(r, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    c->unsent = grown;
    c->unsent_len += n;
}

static void send_bytes(struct run *r, struct conn *c, const uint8_t *p, size_t n)
{
    ssize_t sent = 0;
    if (c->unsent_len == 0) {
        sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            conn_lost(r, c, "send", errno);
            return;
        }
        sent = sent < 0 ? 0 : sent;
    }
    if ((size_t)sent < n)
        keep_unsent(r, c, p + sent, n - (size_t)sent);
}

static void send_unsent(struct run *r, struct conn *c)
{
    ssize_t sent = send(c->fd, c->unsent, c->unsent_len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        conn_lost(r, c, "send", errno);
        return;
    }
    if (sent <= 0)
        return;
    c->unsent_len -= (size_t)sent;
    memmove(c->unsent, c->unsent + sent, c->unsent_len);
    if (c->unsent_len == 0)
        watch(r, c, EPOLL_CTL_MOD, EPOLLIN);
}

static void flush(struct run *r, struct conn *c)
{
    size_t n = r->sbuf_len;
    r->sbuf_len = 0;
    if (n > 0 && c->state >= CONN_UPGRADING && c->state != CONN_DEAD)
        send_bytes(r, c, r->sbuf, n);
}

static void queue_frame(struct run *r, struct conn *c, const struct template *t, uint32_t number)
{
    if (r->sbuf_len + t->len > SBUF_SIZE)
        flush(r, c);
    template_put(t, number, r->sbuf + r->sbuf_len);
    r->sbuf_len += t->len;
}

void conn_send_request(struct run *r, struct conn *c, struct slot *s)
{
    bool one_answer = r->opt.mode == MODE_ECHO || r->opt.mode == MODE_HEARTBEAT;
    s->state = one_answer ? SLOT_WAIT_REPLY : SLOT_WAIT_PUSH;
    queue_frame(r, c, &r->request, s->number);
    s->sent_ns = now_ns();
}

void conn_start(struct run *r, struct conn *c)
{
    for (unsigned i = 0; i < r->opt.inflight; i++)
        if (c->slots[i].state == SLOT_FREE)
            conn_send_request(r, c, &c->slots[i]);
    flush(r, c);
}

/* A pong bears the ping's payload (RFC 6455 §5.5.3), at most 125 bytes. */
static void send_pong(struct run *r, struct conn *c, const struct frame *f)
{
    uint8_t pong[2 + 4 + 125] = {0x80 | WS_PONG, (uint8_t)(0x80 | f->len)}; /* masked with four zeros */
    memcpy(pong + 6, f->payload, f->len);
    flush(r, c);
    send_bytes(r, c, pong, 6 + f->len);
}

/* --- the upgrade --- */

static void send_upgrade(struct run *r, struct conn *c)
{
    char path[512], text[1024];
    const char *mark = strstr(r->opt.path, "%d");
    if (mark)
        snprintf(path, sizeof(path), "%.*s%u%s", (int)(mark - r->opt.path), r->opt.path, c->index, mark + 2);
    else
        snprintf(path, sizeof(path), "%s", r->opt.path);
    int n = snprintf(text, sizeof(text),
                     "GET %s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n\r\n",
                     path, r->opt.host, r->opt.port);
    c->state = CONN_UPGRADING;
    watch(r, c, EPOLL_CTL_MOD, EPOLLIN);
    send_bytes(r, c, (uint8_t *)text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

static void conn_is_ready(struct run *r, struct conn *c)
{
    c->state = CONN_READY;
    r->connecting--;
    r->ready++;
    if (r->sending)
        conn_start(r, c);
}

/* Returns how many bytes the response took, 0 when it is not whole yet. */
static size_t take_upgrade(struct run *r, struct conn *c, const char *text, size_t len)
{
    const char *end = memmem(text, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - text) + 4;
    if (strncmp(text, "HTTP/1.1 101 ", 13) != 0 || !memmem(text, head, WS_ACCEPT, sizeof(WS_ACCEPT) - 1)) {
        run_error(r, "upgrade refused", text, head);
        conn_lost(r, c, "upgrade refused", 0);
        return head;
    }
    if (r->opt.mode == MODE_ECHO || r->opt.mode == MODE_HEARTBEAT) {
        conn_is_ready(r, c);
        return head;
    }
    c->state = CONN_JOINING;
    queue_frame(r, c, &r->join, 0);
    return head;
}

/* --- frames from the server --- */

static struct frame frame_parse(const uint8_t *p, size_t len)
{
    struct frame f = {0};
    if (len < 2)
        return f;
    size_t head = 2;
    uint64_t n = p[1] & 0x7f;
    unsigned wide = n == 126 ? 2 : n == 127 ? 8 : 0;
    if (len < head + wide)
        return f;
    if (wide)
        n = 0;
    for (unsigned i = 0; i < wide; i++)
        n = n << 8 | p[head++];
    f.opcode = p[0] & 0x0f;
    f.fin = p[0] >> 7;
    f.masked = p[1] >> 7;
    f.payload = p + head;
    f.len = (size_t)n;
    if (n <= len - head)
        f.size = head + (size_t)n;
    return f;
}

/* The cost of a whole connection has been paid: count it, drop it, begin again. */
static void join_done(struct run *r, struct conn *c)
{
    struct linger drop = {.l_onoff = 1, .l_linger = 0}; /* RST: no port is left in TIME_WAIT */
    histogram_add(&r->latency, now_ns() - c->begun_ns);
    r->count.completed++;
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &drop, sizeof(drop));
    conn_close(r, c);
    conn_open(r, c);
}

/* False when c is no longer the connection whose bytes are being read. */
static bool take_text(struct run *r, struct conn *c, const char *text, size_t len)
{
    if (c->state == CONN_READY) {
        bool right = answer_take(r, c, text, len);
        if (!right)
            conn_close(r, c);
        return right;
    }
    if (!answer_join_ok(r, text, len)) {
        run_error(r, "join refused", text, len);
        conn_lost(r, c, "join refused", 0);
        return false;
    }
    if (r->opt.mode == MODE_JOIN) {
        join_done(r, c);
        return false;
    }
    if (r->first_join_ns == 0)
        r->first_join_ns = now_ns();
    conn_is_ready(r, c);
    return true;
}

static bool take_frame(struct run *r, struct conn *c, const struct frame *f)
{
    if (f->opcode == WS_TEXT && f->fin && !f->masked)
        return take_text(r, c, (const char *)f->payload, f->len);
    if (f->opcode == WS_PING && f->len <= 125) {
        send_pong(r, c, f);
        return c->state != CONN_DEAD;
    }
    if (f->opcode == WS_PONG)
        return true;
    if (f->opcode == WS_CLOSE) {
        conn_lost(r, c, "closed by the server", 0);
        return false;
    }
    r->count.wrong++;
    run_error(r, "unexpected frame", (const char *)f->payload, f->len);
    conn_close(r, c);
    return false;
}

/* Returns how many bytes at p are done with; stops when the connection ended or began anew. */
static size_t take_bytes(struct run *r, struct conn *c, const uint8_t *p, size_t len)
{
    size_t used = 0;
    if (c->state == CONN_UPGRADING) {
        used = take_upgrade(r, c, (const char *)p, len);
        if (used == 0 || c->state == CONN_DEAD)
            return used;
    }
    while (used < len) {
        struct frame f = frame_parse(p + used, len - used);
        if (f.size == 0)
            break;
        if (!take_frame(r, c, &f))
            return len;
        used += f.size;
    }
    return used;
}

static void keep_rest(struct run *r, struct conn *c, const uint8_t *p, size_t n)
{
    if (n > c->rest_cap) {
        uint8_t *grown = n < RBUF_SIZE / 2 ? realloc(c->rest, n + 4096) : NULL;
        if (!grown) {
            conn_lost(r, c, "frame too long", 0);
            return;
        }
        c->rest = grown;
        c->rest_cap = n + 4096;
    }
    memcpy(c->rest, p, n);
    c->rest_len = n;
}

static void conn_readable(struct run *r, struct conn *c)
{
    size_t have = c->rest_len;
    if (have > 0)
        memcpy(r->rbuf, c->rest, have);
    ssize_t n = recv(c->fd, r->rbuf + have, RBUF_SIZE - have, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            conn_lost(r, c, "connection ended", n == 0 ? 0 : errno);
        return;
    }
    c->rest_len = 0;
    have += (size_t)n;
    size_t used = take_bytes(r, c, r->rbuf, have);
    flush(r, c);
    if (used < have && c->state != CONN_DEAD)
        keep_rest(r, c, r->rbuf + used, have - used);
}

/* connect() has an outcome. */
static void conn_connected(struct run *r, struct conn *c)
{
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        conn_lost(r, c, "connect", error);
        return;
    }
    if (r->first_connect_ns == 0)
        r->first_connect_ns = now_ns();
    send_upgrade(r, c);
}

void conn_event(struct run *r, struct conn *c, uint32_t events)
{
    if (c->state == CONN_CONNECTING) {
        conn_connected(r, c);
        return;
    }
    if (events & EPOLLOUT && c->unsent_len > 0)
        send_unsent(r, c);
    if (c->state != CONN_DEAD && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        conn_readable(r, c);
}
