/*
 * edge_harness.h: a whole edge in the test's own process, with a gateway and a process table that are fakes, and a
 * small WebSocket client over loopback. Everything runs in one thread: waiting for bytes means turning the loop.
 */
#ifndef BEAMGATE_EDGE_HARNESS_H
#define BEAMGATE_EDGE_HARNESS_H

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "edge.h"
#include "log.h"
#include "term.h"

/* --- fake process table: slots, and the last reason -----------------------------------------------------------------
 */

struct process_table {
    struct slots slots;
    char ended[256]; /* the reason of the one that ended last */
    size_t ended_len;
};

struct fake_process {
    const struct process_ops *ops;
    void *owner;
    handle_t self;
};

handle_t process_start(struct process_table *pt, const struct process_ops *ops, void *owner)
{
    struct fake_process *p = calloc(1, sizeof(*p));
    *p = (struct fake_process){ops, owner, HANDLE_NONE};
    p->self = slots_add(&pt->slots, p);
    handle_t h = p->self;
    if (h == HANDLE_NONE)
        free(p);
    return h;
}

void *process_owned(const struct process_table *pt, handle_t h, const struct process_ops *ops)
{
    const struct fake_process *p = slots_get(&pt->slots, h);
    return p && p->ops == ops ? p->owner : NULL;
}

void process_end(struct process_table *pt, handle_t h, struct slice reason)
{
    size_t used;
    struct fake_process *p = slots_remove(&pt->slots, h);
    if (!p)
        return;
    free(p);
    assert_int_equal(term_check(reason.ptr, reason.len, 8, &used, NULL), BG_OK);
    assert_int_equal(used, reason.len);
    assert_true(used <= sizeof(pt->ended));
    memcpy(pt->ended, reason.ptr, used);
    pt->ended_len = used;
}

struct slice process_pid(const struct process_table *pt, handle_t h, uint8_t out[PROCESS_PID_MAX])
{
    (void)pt;
    (void)h;
    return slice_make(out, 0);
}

/* The first process of a kind: "socket" or "channel". */
static inline struct fake_process *fake_find(const struct process_table *pt, const char *kind)
{
    uint32_t pos = 0;
    struct fake_process *p;
    while ((p = slots_next(&pt->slots, &pos, NULL)) != NULL && strcmp(p->ops->kind, kind) != 0)
        ;
    return p;
}

/* True when the process that ended last gave this reason: atom, or {atom, more} when more is not NULL. */
static inline bool fake_ended(const struct process_table *pt, const char *atom, const char *more)
{
    struct slice term = slice_make(pt->ended, pt->ended_len), second;
    struct term_reader rd = term_reader(term);
    uint32_t arity;
    if (!more)
        return term_is_atom(term, atom);
    return term_read_tagged(&rd, atom, &arity) == BG_OK && arity == 2 && term_skip(&rd, &second) == BG_OK &&
           term_is_atom(second, more);
}

/* An exit signal for the process, as exit/2 of another node would send it. */
static inline void fake_exit(struct process_table *pt, struct slice reason, bool kill)
{
    struct fake_process *p = fake_find(pt, "channel");
    assert_non_null(p);
    p->ops->exit(p->owner, p->self, SLICE_NONE, reason, kill);
}

static inline void fake_message(struct process_table *pt, struct slice msg)
{
    struct fake_process *p = fake_find(pt, "channel");
    assert_non_null(p);
    p->ops->message(p->owner, p->self, NULL, msg);
}

/* --- fake gateway: pushes {"got":PAYLOAD,"user":USER} and replies ok "done"; PAYLOAD "later" waits for fake_answer()
 * --- */

struct gateway {
    struct client_ops client;
    handle_t waiting;
    char waiting_ref[64];
    unsigned closed; /* channels that ended */
    unsigned requests;
    size_t push_bytes; /* when not 0: pushes are strings of so many x */
};

static inline void fake_push(struct gateway *gw, handle_t channel, struct slice payload, struct slice user)
{
    struct buf *out = gw->client.push_begin(gw->client.ctx, channel);
    if (!out)
        return;
    if (gw->push_bytes) {
        buf_putc(out, '"');
        uint8_t *dst = buf_reserve(out, gw->push_bytes);
        if (dst) {
            memset(dst, 'x', gw->push_bytes);
            out->len += gw->push_bytes;
        }
        buf_putc(out, '"');
    } else {
        buf_printf(out, "{\"got\":%.*s,\"user\":\"%.*s\"}", (int)payload.len, payload.ptr, (int)user.len, user.ptr);
    }
    gw->client.push_end(gw->client.ctx, channel, true);
}

void gateway_request(struct gateway *gw, handle_t channel, struct request_list *waiting, const struct session *who,
                     const struct channel_rules *rules, struct slice ref, struct slice payload,
                     const struct json_members *members)
{
    (void)waiting;
    (void)members;
    (void)rules;
    gw->requests++;
    if (slice_is(payload, "\"later\"")) {
        gw->waiting = channel;
        slice_cstr(ref, gw->waiting_ref, sizeof(gw->waiting_ref));
        return;
    }
    if (slice_is(payload, "\"taken back\"")) {
        struct buf *out = gw->client.push_begin(gw->client.ctx, channel);
        buf_puts(out, "half a result");
        gw->client.push_end(gw->client.ctx, channel, false);
        return;
    }
    fake_push(gw, channel, payload.ptr ? payload : SLICE_LIT("\"binary\""), who->user_id);
    gw->client.reply(gw->client.ctx, channel, ref, "ok", SLICE_LIT("\"done\""));
}

static inline void fake_answer(struct gateway *gw)
{
    fake_push(gw, gw->waiting, SLICE_LIT("\"late\""), SLICE_NONE);
    gw->client.reply(gw->client.ctx, gw->waiting, slice_str(gw->waiting_ref), "ok", SLICE_LIT("\"done\""));
}

void gateway_channel_closed(struct gateway *gw, struct request_list *waiting)
{
    (void)waiting;
    gw->closed++;
}

/* The fake's only stream is called "s". */
bool gateway_stream_stop(struct request_list *waiting, struct slice request_id)
{
    (void)waiting;
    return slice_is(request_id, "\"s\"");
}

struct fun_config *config_db_next(const struct config_db *db, size_t *pos)
{
    struct fun_config *const *list = (void *)(uintptr_t)db;
    return list[*pos] ? list[(*pos)++] : NULL;
}

/* --- the edge ----------------------------------------------------------------------------------------------------- */

struct rig {
    uv_loop_t loop;
    struct timers timers;
    struct metrics metrics;
    struct client_limits limits;
    struct process_table processes;
    struct gateway gateway;
    struct edge *edge;
    struct edge_options options;
    struct socket_config socket;
    struct channel_config channels[2];
    uint64_t skew_us; /* added to the clock, to let time pass */
    uint64_t frozen_us; /* in place of the clock; 0: the clock */
};

static inline void rig_turn(struct rig *r)
{
    timers_run(&r->timers, (r->frozen_us ? r->frozen_us : clock_now_us()) + r->skew_us, 0);
    edge_flush(r->edge);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    edge_flush(r->edge);
}

/* Fills in the defaults; the test may change r->options and r->socket before rig_start(). */
static inline void rig_init(struct rig *r)
{
    *r = (struct rig){0};
    uv_loop_init(&r->loop);
    timers_init(&r->timers, clock_now_us());
    slots_init(&r->processes.slots, 100000);
    edge_options_default(&r->options);
    socket_config_default(&r->socket);
    channel_config_default(&r->channels[0]);
    channel_config_default(&r->channels[1]);
    r->channels[0].topic = "room:*";
    r->channels[0].event = "api";
    r->channels[1].topic = "lobby";
    r->channels[1].event = "api";
    r->socket.channels = r->channels;
    r->socket.channels_count = 2;
    r->socket.user_id_param = "user_id";
    r->options.loop = &r->loop;
    r->options.timers = &r->timers;
    r->options.metrics = &r->metrics;
    r->options.limits = &r->limits;
    limit_init(&r->limits, &r->metrics);
    r->options.processes = &r->processes;
    r->options.sockets = &r->socket;
    r->options.sockets_count = 1;
    r->options.gateway = &r->gateway;
}

static inline void rig_start(struct rig *r)
{
    struct err e = {0};
    r->edge = edge_new(&r->options, &e);
    if (!r->edge)
        fail_msg("edge_new: %s", e.text);
    r->gateway.client = edge_client_ops(r->edge);
}

/* Everything down again; fails when something of the edge is left on the loop or in the timers. */
static inline void rig_stop(struct rig *r)
{
    edge_free(r->edge);
    assert_int_equal(r->processes.slots.count, 0);
    assert_int_equal(timers_next(&r->timers), UINT64_MAX);
    timers_fini(&r->timers);
    slots_fini(&r->processes.slots);
    for (int i = 0; i < 100; i++)
        uv_run(&r->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

/* --- a client ----------------------------------------------------------------------------------------------------- */

enum { PATIENCE_MS = 5000 };

static inline int tcp_open(struct rig *r)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(edge_port(r->edge, 0))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    assert_true(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* Sends all, turning the loop when the socket is full. */
static inline void tcp_send(struct rig *r, int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* the edge has closed: what it said shows in what can be read */
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else {
            rig_turn(r);
        }
    }
}

/* Receives exactly len bytes. False at the end of the stream; fails the test when nothing comes. */
static inline bool tcp_recv(struct rig *r, int fd, void *dst, size_t len)
{
    uint64_t until = clock_now_us() + PATIENCE_MS * UINT64_C(1000);
    size_t got = 0;
    while (got < len) {
        ssize_t n = recv(fd, (char *)dst + got, len - got, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return false;
        if (n > 0) {
            got += (size_t)n;
            continue;
        }
        rig_turn(r);
        if (clock_now_us() > until)
            fail_msg("nothing came for %d ms", PATIENCE_MS);
        usleep(50);
    }
    return true;
}

/* A whole HTTP exchange, to the end of the stream. */
static inline void http_exchange(struct rig *r, const char *request, char *answer, size_t size)
{
    int fd = tcp_open(r);
    size_t n = 0;
    tcp_send(r, fd, request, strlen(request));
    while (n + 1 < size && tcp_recv(r, fd, answer + n, 1))
        n++;
    answer[n] = '\0';
    close(fd);
}

/* The head of an answer, byte by byte: what follows stays in the socket. */
static inline void http_read_head(struct rig *r, int fd, char *answer, size_t size)
{
    size_t n = 0;
    answer[0] = '\0';
    while (!strstr(answer, "\r\n\r\n") && n + 1 < size && tcp_recv(r, fd, answer + n, 1))
        answer[++n] = '\0';
}

/* An open WebSocket for a query such as "vsn=2.0.0". */
static inline int ws_open(struct rig *r, const char *query)
{
    char head[512], answer[512];
    int fd = tcp_open(r);
    snprintf(head, sizeof(head),
             "GET /socket/websocket%s%s HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n"
             "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
             query[0] ? "?" : "", query);
    tcp_send(r, fd, head, strlen(head));
    http_read_head(r, fd, answer, sizeof(answer));
    if (strncmp(answer, "HTTP/1.1 101 ", 13) != 0)
        fail_msg("no upgrade for ?%s: %s", query, answer);
    return fd;
}

/* Writes one masked frame to dst (len + 14 bytes); first: FIN, RSV and opcode. Returns its size. */
static inline size_t frame_make(uint8_t *dst, int first, const void *data, size_t len)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t n = 2;
    dst[0] = (uint8_t)first;
    dst[1] = (uint8_t)(0x80 | (len < 126 ? len : len < 65536 ? 126 : 127));
    if (len >= 126 && len < 65536) {
        put_be16(dst + 2, (uint16_t)len);
        n = 4;
    } else if (len >= 65536) {
        put_be64(dst + 2, len);
        n = 10;
    }
    memcpy(dst + n, mask, 4);
    n += 4;
    for (size_t i = 0; i < len; i++)
        dst[n + i] = (uint8_t)(((const uint8_t *)data)[i] ^ mask[i & 3]);
    return n + len;
}

static inline void ws_send(struct rig *r, int fd, int first, const void *data, size_t len)
{
    uint8_t *frame = malloc(len + 14);
    tcp_send(r, fd, frame, frame_make(frame, first, data, len));
    free(frame);
}

static inline void ws_text(struct rig *r, int fd, const char *text)
{
    ws_send(r, fd, 0x81, text, strlen(text));
}

/* Receives one frame into dst with a terminating NUL; returns the first byte, -1 at the end of the stream. */
static inline int ws_recv(struct rig *r, int fd, char *dst, size_t size, size_t *len)
{
    uint8_t head[10];
    if (!tcp_recv(r, fd, head, 2))
        return -1;
    assert_int_equal(head[1] & 0x80, 0); /* a server does not mask */
    size_t n = head[1];
    if (n == 126) {
        assert_true(tcp_recv(r, fd, head + 2, 2));
        n = get_be16(head + 2);
        assert_true(n >= 126);
    } else if (n == 127) {
        assert_true(tcp_recv(r, fd, head + 2, 8));
        n = (size_t)get_be64(head + 2);
        assert_true(n >= 65536);
    }
    assert_true(n < size);
    assert_true(n == 0 || tcp_recv(r, fd, dst, n));
    dst[n] = '\0';
    *len = n;
    return head[0];
}

static inline void expect_text(struct rig *r, int fd, const char *want)
{
    char got[4096];
    size_t len;
    int first = ws_recv(r, fd, got, sizeof(got), &len);
    if (first != 0x81 || strcmp(got, want) != 0)
        fail_msg("got  %02x %s\nwant 81 %s", first, first < 0 ? "(end of stream)" : got, want);
}

static inline void expect_close(struct rig *r, int fd, unsigned code)
{
    char got[512];
    size_t len;
    int first = ws_recv(r, fd, got, sizeof(got), &len);
    if (first != 0x88 || len != 2 || get_be16((uint8_t *)got) != code)
        fail_msg("got %02x, %zu bytes, code %u; want close %u", first, len,
                 first == 0x88 && len >= 2 ? get_be16((uint8_t *)got) : 0, code);
    assert_int_equal(ws_recv(r, fd, got, sizeof(got), &len), -1);
}

/* Proves that nothing else has been sent and that the socket is alive. */
static inline void expect_heartbeat(struct rig *r, int fd, bool v1)
{
    if (v1) {
        ws_text(r, fd, "{\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"hb\"}");
        expect_text(r, fd,
                    "{\"ref\":\"hb\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},"
                    "\"topic\":\"phoenix\"}");
        return;
    }
    ws_text(r, fd, "[null,\"hb\",\"phoenix\",\"heartbeat\",{}]");
    expect_text(r, fd, "[null,\"hb\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
}

/* Turns the loop until cond or the patience is over. */
#define WAIT_FOR(r, cond)                                                                                              \
    do {                                                                                                               \
        uint64_t until_ = clock_now_us() + PATIENCE_MS * UINT64_C(1000);                                               \
        while (!(cond)) {                                                                                              \
            rig_turn(r);                                                                                               \
            if (clock_now_us() > until_)                                                                               \
                fail_msg("%s:%d: never came true: %s", __FILE__, __LINE__, #cond);                                     \
            usleep(50);                                                                                                \
        }                                                                                                              \
    } while (0)

#define HOST "Host: 127.0.0.1:4000\r\n"
#define UPGRADE_WITHOUT_KEY "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
#define UPGRADE UPGRADE_WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define GET_WS(query, headers) "GET /socket/websocket" query " HTTP/1.1\r\n" headers "\r\n"
#define X10 "xxxxxxxxxx"
#define X130 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define V2 "vsn=2.0.0&user_id=u1"
#define OK_REPLY "{\"status\":\"ok\",\"response\":{}}"

/* Joins with ref as join_ref too, and expects that the reply is answer. */
static inline void join_as(struct rig *r, int fd, const char *topic, const char *ref, const char *answer)
{
    char text[512];
    snprintf(text, sizeof(text), "[\"%s\",\"%s\",\"%s\",\"phx_join\",{}]", ref, ref, topic);
    ws_text(r, fd, text);
    snprintf(text, sizeof(text), "[\"%s\",\"%s\",\"%s\",\"phx_reply\",%s]", ref, ref, topic, answer);
    expect_text(r, fd, text);
}

/* A joined client with so small a receive buffer that who does not read it is soon noticed. */
static inline int ws_open_narrow(struct rig *r)
{
    int fd = ws_open(r, V2), small = 128 * 1024;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    join_as(r, fd, "room:a", "1", OK_REPLY);
    return fd;
}

/* first: the first byte of the frame that has to come next. */
static inline void expect_frame(struct rig *r, int fd, int first, const char *want, size_t want_len)
{
    char got[4096];
    size_t len;
    int is = ws_recv(r, fd, got, sizeof(got), &len);
    if (is != first || len != want_len || memcmp(got, want, len) != 0)
        fail_msg("got  %02x %s\nwant %02x %s", is, is < 0 ? "(end of stream)" : got, first, want);
}

/* A heartbeat whose payload is a string of n bytes. */
static inline char *big_heartbeat(size_t n, size_t *len)
{
    static const char head[] = "[null,\"9\",\"phoenix\",\"heartbeat\",\"", tail[] = "\"]";
    char *text = malloc(n + sizeof(head) + sizeof(tail));
    *len = n + sizeof(head) + sizeof(tail) - 2;
    memcpy(text, head, sizeof(head) - 1);
    memset(text + sizeof(head) - 1, 'x', n);
    memcpy(text + sizeof(head) - 1 + n, tail, sizeof(tail));
    return text;
}

/* Errors only, unless somebody wants to see the log. For cmocka as a group's setup. */
static inline int rig_quiet(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR + (getenv("SHOW_LOG") ? LOG_DEBUG - LOG_ERROR : 0));
    return 0;
}

#endif
