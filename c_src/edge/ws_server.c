/*
 * ws_server.c: see ws_server.h. The only file that knows libwebsockets.
 *
 * What Debian's 4.1.6 does well is kept: parsing and unmasking of frames, control frames, the TCP plumbing on libuv.
 * What it does badly is kept away from it:
 *  - HTTP from strangers never reaches it. It is given a request head that this file writes itself, so its HTTP/2
 *    code, its RAW fallback for CONNECT, its 128-byte limit for Sec-WebSocket-Protocol and its stale pointer after an
 *    unknown Upgrade are out of reach; every callback that would mean such a thing closes the connection all the same.
 *  - A WRITEABLE request per message costs four epoll_ctl calls. Frames are built here, complete with their header, and
 *    handed down as raw bytes (LWS_WRITE_HTTP on a ws connection ends in lws_issue_raw) once per loop turn, always
 * whole frames. What the kernel does not take is kept by lws in front of its own pongs and closes, so frames never mix;
 *    until that is gone (lws_partial_buffered) nothing more is handed down, and lws itself asks for WRITEABLE.
 *  - Its UTF-8 check also judges the payload of pongs, so it is off: the JSON scanner checks every text message.
 *  - It takes unmasked frames, and tells nobody. Where a frame's header lies in front of its payload in the buffer that
 *    lws reads into, it is looked at (is_unmasked).
 *  - Its timeouts only run after I/O on the loop; the deadlines here are ours.
 *
 * Invariants: a connection is on `pending` exactly while it has bytes to hand down or a close to finish; `out` and `in`
 * are attached only while they hold something; handlers are called message* ended release, each of the last two once.
 *
 * Known deviations from RFC 6455 that 4.1.6 forces on us:
 *   an unmasked frame is accepted when its header came in an   see above
 *     earlier read than its payload, or when it is a control
 *     frame (P-077)
 *   a peer's close gets FIN but no close frame while it        lws closes at once when it holds a partial write
 *     leaves frames of ours unread
 *   of several pings in one read only the first is answered    lws keeps one pong (allowed by RFC 6455 5.5.3)
 *   after an error that lws finds itself FIN follows the       lws tells nobody when its close frame has left
 *     close frame 50 ms later
 */
#include "ws_server.h"

#include <errno.h>
#include <libwebsockets.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gather.h"
#include "json.h"
#include "log.h"
#include "tcp_bytes.h"

enum ws_state { WS_NEW, WS_OPEN, WS_CLOSING, WS_BROKEN };

enum {
    SERV_BUF = 4096,             /* what lws reads into, for all connections together */
    RX_BUFFER = 1024,            /* per connection, allocated by lws; also the size of one read */
    WRITE_CHUNK = 64 * 1024,     /* bytes of whole frames handed to lws at once: what it copies on a partial write */
    TX_PACKET = 1 << 24,         /* most bytes of one send(): more than any chunk, so that each is one call */
    FLUSH_EARLY = WRITE_CHUNK,   /* a connection with so much to send does not wait for the end of the turn */
    FRAME_HEADER = 4,            /* room left in front of a payload; right for 126..65535 bytes */
    POOL_MAX = 256,              /* free buffers kept */
    POOL_KEEP_BYTES = 16 * 1024, /* and the most memory one of them keeps */
    SPARE_FDS = 1024,            /* descriptors that are not ours: links, files, listeners */
    MESSAGE_CEILING = 1 << 30, /* the largest max_frame_bytes that can be configured */
    FREE_TURNS = 100
};
#define HOLD_STEP_US UINT64_C(10000)   /* how exactly a hold ends */
#define FLOOD_REST_US UINT64_C(1000000) /* half a burst: who needs no more has rested */
#define CLOSE_TIMEOUT_US UINT64_C(3000000)
#define LWS_CLOSES_US UINT64_C(50000)

/* A buffer while it is attached to a connection as out or in. For out: bytes [0, sent) have gone to lws and are whole
 * frames, the open frame begins at open. */
struct ws_buf {
    struct buf b;
    size_t sent;
    size_t open;
    bool frame_open;
    size_t in_lws;  /* upper bound of what lws holds of us */
    struct timer unread; /* out: armed while in_lws > 0 */
    uint64_t acked;      /* what the peer had taken when it was armed */
    struct ws_conn *conn;
    size_t counted; /* what of it is in ws_server.held_bytes */
    struct ws_buf *next;
};

struct ws_server {
    struct ws_options o;
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct list pending;
    struct list all;
    struct list to_hold; /* from the next ws_flush() on */
    struct list held;
    struct timer hold_timer; /* armed while somebody is held */
    uint32_t count;
    uint32_t next_id;
    struct ws_conn *adopting; /* the connection whose upgrade lws is working on right now */
    const char *subprotocol;  /* what it is answered with, or NULL */
    struct ws_buf *pool;
    uint32_t pool_count;
    size_t held_bytes; /* in all attached buffers */
    uint8_t *serv_buf; /* where lws reads into; NULL until known */
};

/* The client's TCP socket, which knows how far the client has come; -1 when it is gone. */
static int tcp_of(const struct ws_conn *c)
{
    return c->transport == HANDLE_NONE ? lws_get_socket_fd(c->wsi) : c->server->o.tcp(c->server->o.ctx, c->transport);
}

/* --- buffers ------------------------------------------------------------------------------------------------------ */

static struct ws_buf *ws_buf_get(struct ws_server *ws, size_t limit)
{
    struct ws_buf *wb = ws->pool;
    if (wb) {
        ws->pool = wb->next;
        ws->pool_count--;
    } else {
        wb = calloc(1, sizeof(*wb));
        if (!wb)
            return NULL;
    }
    wb->b.limit = limit;
    return wb;
}

/* Brings the sum of what all connections hold up to date with this buffer. */
static void ws_buf_count(struct ws_server *ws, struct ws_buf *wb)
{
    ws->held_bytes += wb->b.len - wb->counted;
    wb->counted = wb->b.len;
    ws->o.metrics->value[METRIC_CLIENT_BUFFERED_BYTES] = ws->held_bytes;
}

static void ws_buf_put(struct ws_server *ws, struct ws_buf **slot)
{
    struct ws_buf *wb = *slot;
    *slot = NULL;
    if (!wb)
        return;
    timer_disarm(ws->o.timers, &wb->unread);
    buf_reset(&wb->b);
    ws_buf_count(ws, wb);
    if (ws->pool_count >= POOL_MAX) {
        buf_fini(&wb->b);
        free(wb);
        return;
    }
    buf_shrink(&wb->b, POOL_KEEP_BYTES);
    wb->sent = wb->open = wb->in_lws = 0;
    wb->frame_open = false;
    wb->next = ws->pool;
    ws->pool = wb;
    ws->pool_count++;
}

static void ws_pool_fini(struct ws_server *ws)
{
    while (ws->pool) {
        struct ws_buf *wb = ws->pool;
        ws->pool = wb->next;
        buf_fini(&wb->b);
        free(wb);
    }
}

/* --- holding back ------------------------------------------------------------------------------------------------- */

/* Lets a connection be read again, or forgets that it was to be held. */
static void let_go(struct ws_conn *c)
{
    if (!list_linked(&c->held))
        return;
    list_remove(&c->held);
    c->let_go_us = c->last_rx_us = c->server->o.timers->now_us; /* it could not be heard: the idle time begins again */
    if (c->wsi)
        lws_rx_flow_control(c->wsi, 1);
}

static bool in_debt(const struct ws_conn *c, uint64_t now_us)
{
    const struct client_limits *l = c->server->o.limits;
    return token_bucket_debt_us(&c->messages, &l->rate[LIMIT_MESSAGES], now_us) > 0 ||
           token_bucket_debt_us(&c->bytes, &l->rate[LIMIT_BYTES], now_us) > 0;
}

static void on_hold_timer(struct timer *t)
{
    struct ws_server *ws = container_of(t, struct ws_server, hold_timer);
    struct list *node, *next;
    list_each_safe (node, next, &ws->held) {
        struct ws_conn *c = container_of(node, struct ws_conn, held);
        if (!in_debt(c, ws->o.timers->now_us))
            let_go(c);
    }
    if (!list_empty(&ws->held))
        timer_arm_in(ws->o.timers, t, HOLD_STEP_US);
}

/* Between two reads, so that lws has nothing of theirs in hand, which it would have to keep. */
static void hold_back(struct ws_server *ws)
{
    struct list *node;
    while ((node = list_pop(&ws->to_hold)) != NULL) {
        struct ws_conn *c = container_of(node, struct ws_conn, held);
        lws_rx_flow_control(c->wsi, 0);
        list_append(&ws->held, &c->held);
        if (!timer_armed(&ws->hold_timer))
            timer_arm_in(ws->o.timers, &ws->hold_timer, HOLD_STEP_US);
    }
}

static bool refused(const struct ws_conn *c, enum limit which)
{
    return limit_refuse(c->server->o.limits, which, c->id, SLICE_NONE);
}

/* True when the connection has been held so often for so long, without a rest worth the name, that it must go. */
static bool is_flood(struct ws_conn *c)
{
    struct ws_server *ws = c->server;
    uint64_t now = ws->o.timers->now_us;
    if (!c->flood_since_us || now > c->let_go_us + FLOOD_REST_US)
        c->flood_since_us = now;
    if (now - c->flood_since_us < (uint64_t)ws->o.limits->value[LIMIT_FLOOD] * 1000)
        return false;
    c->flood_since_us = now;
    return refused(c, LIMIT_FLOOD);
}

/* Counts what came. The soft step: who owes is not read from until it has been made up for, and the kernel lets the peer
 * wait. The hard step: who goes on like this is closed. False when it is. */
static bool count_input(struct ws_conn *c, enum limit which, struct token_bucket *b, uint32_t n)
{
    struct ws_server *ws = c->server;
    if (token_bucket_take(b, &ws->o.limits->rate[which], ws->o.timers->now_us, n) == 0 || list_linked(&c->held))
        return true;
    if (!refused(c, which))
        return true;
    if (is_flood(c))
        return false;
    list_append(&ws->to_hold, &c->held);
    return true;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void want_flush(struct ws_conn *c)
{
    if (!list_linked(&c->pending))
        list_append(&c->server->pending, &c->pending);
}

/* The bytes that the peer has not taken yet, as far as we know. */
static size_t unsent(const struct ws_buf *out)
{
    return out->b.len - out->sent + out->in_lws;
}

/* Size of the whole frame at p, one of our own. */
static size_t frame_size(const uint8_t *p)
{
    if (p[1] < 126)
        return 2 + (size_t)p[1];
    return p[1] == 126 ? 4 + (size_t)get_be16(p + 2) : 10 + (size_t)get_be64(p + 2);
}

/* How much to hand to lws at once: whole frames, since lws puts its own pongs and closes between any two writes. At
 * least one, and as many as fit into WRITE_CHUNK. */
static size_t next_write(const struct ws_buf *out)
{
    size_t rest = out->b.len - out->sent, n;
    if (rest <= WRITE_CHUNK)
        return rest;
    n = frame_size(out->b.data + out->sent);
    while (n < rest && n + frame_size(out->b.data + out->sent + n) <= WRITE_CHUNK)
        n += frame_size(out->b.data + out->sent + n);
    return n;
}

/* Gives back the room of what has been sent when that is most of it. */
static void compact(struct ws_server *ws, struct ws_buf *out)
{
    if (out->sent < WRITE_CHUNK || out->sent < out->b.len / 2)
        return;
    buf_consume(&out->b, out->sent);
    out->sent = 0;
    ws_buf_count(ws, out);
}

static void on_unread(struct timer *t);

static void tell_ended(struct ws_conn *c)
{
    if (c->told_ended)
        return;
    c->told_ended = true;
    c->server->o.handlers.ended(c);
}

/* The socket is of no use any more: forget what waits. The rest (ended, and the close in lws) waits for ws_flush() and
 * the timer, since this may run deep inside somebody's ws_frame_end(). */
static void conn_break(struct ws_conn *c)
{
    c->state = WS_BROKEN;
    ws_buf_put(c->server, &c->out);
    want_flush(c);
    timer_arm_in(c->server->o.timers, &c->timer, 0);
}

/* After the close frame has left: FIN, so that the peer sees the end while its own last bytes still find a reader. */
static void finish_close(struct ws_conn *c)
{
    if (c->state != WS_CLOSING || c->half_closed)
        return;
    c->half_closed = true;
    shutdown(lws_get_socket_fd(c->wsi), SHUT_WR);
}

/* The kernel took only a part: from now on the peer has max_unread_ms for the next WRITE_CHUNK bytes. */
static void expect_progress(struct ws_conn *c, struct ws_buf *out)
{
    if (out->in_lws == 0 || timer_armed(&out->unread))
        return;
    out->conn = c;
    out->unread.fn = on_unread;
    out->acked = tcp_bytes(tcp_of(c)).acknowledged;
    timer_arm_in(c->server->o.timers, &out->unread, c->server->o.max_unread_us);
}

static void conn_flush(struct ws_conn *c)
{
    struct ws_buf *out = c->out;
    list_remove(&c->pending);
    if (c->state != WS_OPEN)
        tell_ended(c);
    while (out && out->sent < out->b.len && !lws_partial_buffered(c->wsi)) {
        size_t n = next_write(out);
        if (lws_write(c->wsi, out->b.data + out->sent, n, LWS_WRITE_HTTP) < 0) {
            conn_break(c);
            return;
        }
        out->sent += n;
        out->in_lws = lws_partial_buffered(c->wsi) ? n : 0;
        metric_add(c->server->o.metrics, METRIC_CLIENT_BYTES_OUT, n);
    }
    if (out && out->in_lws == 0 && out->sent == out->b.len) {
        ws_buf_put(c->server, &c->out);
    } else if (out) {
        compact(c->server, out);
        expect_progress(c, out);
    }
    if (!c->out)
        finish_close(c);
}

/* SERVER_WRITEABLE: what lws held is gone. */
static void on_writeable(struct ws_conn *c)
{
    if (!lws_partial_buffered(c->wsi)) {
        c->out->in_lws = 0;
        timer_disarm(c->server->o.timers, &c->out->unread);
    }
    conn_flush(c);
}

void ws_flush(struct ws_server *ws)
{
    struct list *node;
    hold_back(ws);
    while ((node = list_pop(&ws->pending)) != NULL)
        conn_flush(container_of(node, struct ws_conn, pending));
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

/* In a dry run the largest value that can be configured holds. */
static size_t buffer_bound(const struct ws_conn *c)
{
    return c->server->o.limits->dry_run[LIMIT_BUFFERED] ? MESSAGE_CEILING : c->server->o.max_buffered_bytes;
}

static struct ws_buf *out_attach(struct ws_conn *c)
{
    if (!c->out)
        c->out = ws_buf_get(c->server, buffer_bound(c) + FLUSH_EARLY);
    return c->out;
}

static void put_close_frame(struct ws_conn *c, enum ws_close_code code)
{
    const uint8_t frame[] = {0x80 | WS_CLOSE, 2, (uint8_t)(code >> 8), (uint8_t)code};
    struct ws_buf *out = out_attach(c);
    if (!out)
        return;
    out->b.failed = false;
    out->b.limit = 0; /* four bytes more, whatever the bound says */
    buf_add(&out->b, frame, sizeof(frame));
}

/* The caller tells ended() at once when nobody upstairs is in the middle of something; else ws_flush() does. */
static void close_begin(struct ws_conn *c, enum ws_close_code code)
{
    c->state = WS_CLOSING;
    let_go(c);
    ws_buf_put(c->server, &c->in);
    put_close_frame(c, code);
    want_flush(c);
    timer_arm_in(c->server->o.timers, &c->timer, CLOSE_TIMEOUT_US);
}

void ws_close(struct ws_conn *c, enum ws_close_code code)
{
    if (c->state != WS_OPEN)
        return;
    close_begin(c, code);
    tell_ended(c);
}

/* The peer does not read: the frames that lws has not been given yet are dropped. */
static void close_slow(struct ws_conn *c)
{
    metric_inc(c->server->o.metrics, METRIC_CLIENT_SLOW_CLOSED);
    log_limited(LOG_WARNING, "edge", "client reads too slowly, closing", "conn=%u unsent_bytes=%zu", c->id,
                unsent(c->out));
    buf_truncate(&c->out->b, c->out->sent);
    close_begin(c, WS_CLOSE_POLICY);
}

/* A peer that takes a whole chunk in its time is slow, but reads; one frame may be many chunks long. */
static void on_unread(struct timer *t)
{
    struct ws_buf *out = container_of(t, struct ws_buf, unread);
    struct ws_conn *c = out->conn;
    if (c->state != WS_OPEN)
        return;
    uint64_t acked = tcp_bytes(tcp_of(c)).acknowledged;
    if (acked - out->acked >= WRITE_CHUNK || !refused(c, LIMIT_UNREAD))
        expect_progress(c, out);
    else
        close_slow(c);
}

struct buf *ws_frame_begin(struct ws_conn *c)
{
    if (c->state != WS_OPEN)
        return NULL;
    struct ws_buf *out = out_attach(c);
    if (!out) { /* no memory: who waits for this frame must not wait for ever */
        log_limited(LOG_WARNING, "edge", "no memory for a frame, closing", "conn=%u", c->id);
        close_begin(c, WS_CLOSE_SERVER_ERROR);
        return NULL;
    }
    assert_always(!out->frame_open);
    out->frame_open = true;
    out->open = out->b.len;
    if (buf_reserve(&out->b, FRAME_HEADER))
        out->b.len += FRAME_HEADER;
    return &out->b;
}

struct buf *ws_frame_buf(struct ws_conn *c)
{
    assert_always(c->out && c->out->frame_open);
    return &c->out->b;
}

/* Writes the header of the frame that began at `open`, moving the payload when it is not of the usual size. */
static void put_header(struct ws_buf *out, enum ws_opcode op)
{
    size_t len = out->b.len - out->open - FRAME_HEADER;
    size_t header = len < 126 ? 2 : len < 65536 ? 4 : 10;
    if (header > FRAME_HEADER && !buf_reserve(&out->b, header - FRAME_HEADER))
        return;
    uint8_t *p = out->b.data + out->open;
    if (header != FRAME_HEADER)
        memmove(p + header, p + FRAME_HEADER, len);
    out->b.len = out->open + header + len;
    p[0] = (uint8_t)(0x80 | op);
    p[1] = header == 2 ? (uint8_t)len : header == 4 ? 126 : 127;
    if (header == 4)
        put_be16(p + 2, (uint16_t)len);
    else if (header == 10)
        put_be64(p + 2, len);
}

/* A frame did not fit into the room for it: what that means does not depend on a dry run. */
static void close_full(struct ws_conn *c)
{
    bool counted = refused(c, LIMIT_BUFFERED);
    (void)counted;
    close_slow(c);
}

/* Is the connection over its bound, with the frame of that size that has just been added? A dry run counts only the frame
 * that crosses it. */
static bool over_buffer(const struct ws_conn *c, size_t frame)
{
    const struct ws_server *ws = c->server;
    size_t max = ws->o.max_buffered_bytes, now = unsent(c->out);
    if (now <= max)
        return false;
    bool crossed = now <= max + frame;
    return (crossed || !ws->o.limits->dry_run[LIMIT_BUFFERED]) && refused(c, LIMIT_BUFFERED);
}

/* Over its own bound; or all together over theirs, and this one is among those who do not keep up. */
static bool too_slow(const struct ws_conn *c, size_t frame)
{
    const struct ws_server *ws = c->server;
    return over_buffer(c, frame) ||
           (ws->held_bytes > ws->o.max_held_bytes && c->out->in_lws > 0 && unsent(c->out) > FLUSH_EARLY);
}

void ws_frame_end(struct ws_conn *c, enum ws_opcode op)
{
    struct ws_buf *out = c->out;
    assert_always(out && out->frame_open);
    out->frame_open = false;
    if (buf_ok(&out->b))
        put_header(out, op);
    if (!buf_ok(&out->b)) {
        buf_truncate(&out->b, out->open);
        close_full(c);
    }
    metric_inc(c->server->o.metrics, METRIC_CLIENT_FRAMES_OUT);
    if (c->state != WS_OPEN)
        return;
    size_t frame = out->b.len - out->open;
    if (out->b.len - out->sent >= FLUSH_EARLY)
        conn_flush(c);
    if (!c->out)
        return;
    ws_buf_count(c->server, c->out);
    if (too_slow(c, frame))
        close_slow(c);
    else if (c->out->in_lws == 0)
        want_flush(c);
}

void ws_frame_cancel(struct ws_conn *c)
{
    struct ws_buf *out = c->out;
    assert_always(out && out->frame_open);
    out->frame_open = false;
    /* Did not fit: the frame's own size, unless most of the room is taken by what the client has not read. */
    bool slow = !buf_ok(&out->b) && (out->open - out->sent) * 2 >= out->b.limit;
    buf_truncate(&out->b, out->open);
    if (slow)
        close_full(c);
    else if (out->b.len == 0)
        ws_buf_put(c->server, &c->out);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void deliver(struct ws_conn *c, bool binary, struct slice message)
{
    struct metrics *m = c->server->o.metrics;
    metric_inc(m, METRIC_CLIENT_FRAMES_IN);
    metric_add(m, METRIC_CLIENT_BYTES_IN, message.len);
    if (c->server->o.gather)
        gather_asked(c->server->o.gather, c->id);
    c->server->o.handlers.message(c, binary, message);
}

/* In a dry run the largest size that can be configured holds from now on, for this connection. */
static bool refuse_long(struct ws_conn *c, size_t len)
{
    if (c->max_message_bytes == MESSAGE_CEILING || refused(c, LIMIT_MESSAGE_BYTES))
        return true;
    c->max_message_bytes = MESSAGE_CEILING;
    if (c->in)
        c->in->b.limit = MESSAGE_CEILING;
    return len > MESSAGE_CEILING;
}

/* Keeps a piece of a message. Returns 0 or the code to close with. */
static int keep_piece(struct ws_conn *c, struct slice piece, size_t frame_rest)
{
    size_t have = c->in ? c->in->b.len : 0, len = have + piece.len + frame_rest;
    if (len > c->max_message_bytes && refuse_long(c, len))
        return WS_CLOSE_TOO_BIG;
    if (!c->in)
        c->in = ws_buf_get(c->server, c->max_message_bytes);
    if (!c->in || c->server->held_bytes + piece.len > c->server->o.max_held_bytes)
        return WS_CLOSE_TRY_LATER;
    buf_add_slice(&c->in->b, piece);
    ws_buf_count(c->server, c->in);
    return buf_ok(&c->in->b) ? 0 : WS_CLOSE_TRY_LATER;
}

/* lws reads into one buffer for all connections. It shows while it writes a 101 into it, behind what args says is left
 * of it. Only the release that this was read in is trusted to do so; from 5.0 on lws refuses unmasked frames itself. */
static void learn_serv_buf(struct ws_server *ws, const struct lws_process_html_args *args)
{
#if LWS_LIBRARY_VERSION_MAJOR == 4 && LWS_LIBRARY_VERSION_MINOR == 1
    ws->serv_buf = (uint8_t *)args->p + args->max_len - SERV_BUF;
#else
    (void)ws;
    (void)args;
#endif
}

/* True when a length of len ends at end, in any of the three encodings that fit into room; mask_bit: 0x80 or 0. */
static bool length_before(const uint8_t *end, size_t room, uint64_t len, int mask_bit)
{
    if (room >= 1 && len < 126 && end[-1] == (mask_bit | (int)len))
        return true;
    if (room >= 3 && end[-3] == (mask_bit | 126) && get_be16(end - 2) == len)
        return true;
    return room >= 9 && end[-9] == (mask_bit | 127) && get_be64(end - 8) == len;
}

/* True when there is no mask in front of the first piece of a frame of len bytes. Only what lies in the buffer is
 * looked at: a header that came with an earlier read, or partly, gets the benefit of the doubt. */
static bool is_unmasked(const struct ws_server *ws, const uint8_t *payload, uint64_t len, uint8_t opcode)
{
    enum { MASK = 4, OPCODE = 0x7f };
    if (!ws->serv_buf || payload < ws->serv_buf || payload >= ws->serv_buf + SERV_BUF)
        return false;
    size_t before = (size_t)(payload - ws->serv_buf), header = len < 126 ? 2 : len < 65536 ? 4 : 10;
    if (before > header + MASK)
        return !length_before(payload - MASK, before - MASK, len, 0x80);
    /* The read begins with this frame. */
    return before == header && (ws->serv_buf[0] & OPCODE) == opcode && length_before(payload, before, len, 0);
}

/* Looks at one piece of a message, as lws read it, and keeps it unless it is all there is. *final: the message is
 * complete. Returns 0 or the code to close with. */
static int take_piece(struct ws_conn *c, struct lws *wsi, struct slice piece, bool binary, bool *final)
{
    size_t rest = lws_remaining_packet_payload(wsi);
    bool first = lws_is_first_fragment(wsi) != 0, frame_begins = !c->mid_frame;
    uint8_t opcode = !first ? 0 : binary ? WS_BINARY : WS_TEXT;
    *final = lws_is_final_fragment(wsi) != 0;
    c->mid_frame = rest > 0;
    if (frame_begins && piece.len && is_unmasked(c->server, (const uint8_t *)piece.ptr, piece.len + rest, opcode))
        return WS_CLOSE_PROTOCOL;
    /* Endless empty fragments cost the peer nothing and us a callback each (P-078). */
    if (piece.len == 0 && rest == 0 && !*final && !first)
        return WS_CLOSE_POLICY;
    if (!*final || c->in || piece.len > c->max_message_bytes)
        return keep_piece(c, piece, rest);
    return 0;
}

/* What a piece of a frame, or a control frame, costs beside its bytes: many small ones are no cheaper than large ones. */
static bool count_frame(struct ws_conn *c, size_t len, bool whole)
{
    enum { FRAME_COST = 32 };
    return count_input(c, LIMIT_BYTES, &c->bytes, (uint32_t)len + FRAME_COST) &&
           (!whole || count_input(c, LIMIT_MESSAGES, &c->messages, 1));
}

/* A ping or a pong came. lws answers the first ping of a read and keeps the others to itself: a read's worth is counted. */
static void on_control(struct ws_conn *c)
{
    if (c->state == WS_OPEN && !count_frame(c, RX_BUFFER, true))
        ws_close(c, WS_CLOSE_POLICY);
}

/* Most messages are one piece and are handed up where they lie. */
static void on_receive(struct ws_conn *c, struct lws *wsi, struct slice piece)
{
    bool final;
    c->last_rx_us = c->server->o.timers->now_us;
    if (c->state != WS_OPEN)
        return;
    bool binary = lws_frame_is_binary(wsi) != 0;
    int code = take_piece(c, wsi, piece, binary, &final);
    if (code == 0 && !count_frame(c, piece.len, final))
        code = WS_CLOSE_POLICY;
    if (code) {
        metric_inc(c->server->o.metrics, METRIC_CLIENT_BAD_FRAMES);
        log_limited(LOG_INFO, "edge", "message refused, closing", "conn=%u code=%d", c->id, code);
        ws_close(c, (enum ws_close_code)code);
        return;
    }
    if (!final)
        return;
    struct ws_buf *whole = c->in;
    c->in = NULL;
    deliver(c, binary, whole ? buf_slice(&whole->b) : piece);
    if (whole)
        ws_buf_put(c->server, &whole);
}

/* --- closing ------------------------------------------------------------------------------------------------------ */

/* What a peer's close frame is answered with (P-080). lws has already put 1002 in place of most codes that must not be
 * sent. */
static enum ws_close_code close_answer(struct slice body)
{
    if (body.len == 0)
        return WS_CLOSE_NORMAL;
    if (body.len == 1)
        return WS_CLOSE_PROTOCOL;
    unsigned code = get_be16((const uint8_t *)body.ptr);
    if (utf8_valid_prefix(body.ptr + 2, body.len - 2) != body.len - 2)
        return WS_CLOSE_BAD_UTF8;
    bool valid = (code >= 1000 && code <= 1011 && code != 1002 && (code < 1004 || code > 1006)) ||
                 (code >= 3000 && code <= 4999);
    return valid ? WS_CLOSE_NORMAL : WS_CLOSE_PROTOCOL;
}

/* The peer closes: answer at once, then let lws end the connection without a word of its own (returns -1). */
static int on_peer_close(struct ws_conn *c, struct slice body)
{
    if (c->state == WS_OPEN) {
        close_begin(c, close_answer(body));
        conn_flush(c); /* tells ended() too */
    }
    return -1;
}

/* True when the peer has ended the stream or reset it, so that a close frame would find no reader. */
static bool peer_is_gone(struct lws *wsi)
{
    char byte;
    ssize_t n = recv(lws_get_socket_fd(wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* lws begins to close by itself: the peer went away, or broke the protocol. lws has a close code only for some of the
 * latter (none for an over-long control frame), and adds texts of its own; P-077 has 1002 for all, without text. */
static void on_lws_closes(struct ws_conn *c, struct lws *wsi)
{
    if (c->state != WS_OPEN)
        return;
    conn_flush(c);
    if (c->state != WS_OPEN)
        return;
    unsigned code = WS_CLOSE_PROTOCOL;
    if (lws_get_close_length(wsi) >= 2)
        code = get_be16(lws_get_close_payload(wsi));
    else if (peer_is_gone(wsi))
        code = 0;
    c->state = WS_CLOSING;
    tell_ended(c);
    if (!code)
        return;
    /* lws sends the frame when the socket is writeable, and does not tell: FIN follows a moment later. */
    timer_arm_in(c->server->o.timers, &c->timer, LWS_CLOSES_US);
    metric_inc(c->server->o.metrics, METRIC_CLIENT_BAD_FRAMES);
    log_limited(LOG_INFO, "edge", "WebSocket protocol broken, closing", "conn=%u code=%u", c->id, code);
    lws_close_reason(wsi, (enum lws_close_status)code, NULL, 0);
}

/* lws lets go of the connection. */
static void conn_gone(struct ws_conn *c)
{
    struct ws_server *ws = c->server;
    c->state = WS_BROKEN;
    c->wsi = NULL;
    tell_ended(c);
    timer_disarm(ws->o.timers, &c->timer);
    list_remove(&c->pending);
    list_remove(&c->held);
    list_remove(&c->all);
    ws_buf_put(ws, &c->out);
    ws_buf_put(ws, &c->in);
    ws->count--;
    ws->o.metrics->value[METRIC_CLIENT_CONNECTED] = ws->count;
    ws->o.handlers.release(c);
}

/* When data last came in, also such that lws keeps to itself (pings): asked only when the messages look idle. */
static uint64_t kernel_last_rx_us(const struct ws_conn *c, uint64_t now_us)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    if (getsockopt(tcp_of(c), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return c->last_rx_us;
    uint64_t ago_us = (uint64_t)info.tcpi_last_data_recv * 1000;
    return ago_us < now_us ? now_us - ago_us : c->last_rx_us;
}

/* The idle timer runs out: re-armed for the rest of the time when something came in since (no re-arming per message).
 */
static void on_idle_timer(struct ws_conn *c)
{
    struct timers *ts = c->server->o.timers;
    uint64_t idle_us = (uint64_t)c->idle_timeout_ms * 1000;
    if (ts->now_us >= c->last_rx_us + idle_us)
        c->last_rx_us = kernel_last_rx_us(c, ts->now_us);
    if (list_linked(&c->held) || (ts->now_us >= c->last_rx_us + idle_us && !refused(c, LIMIT_IDLE)))
        c->last_rx_us = ts->now_us;
    if (ts->now_us < c->last_rx_us + idle_us) {
        timer_arm(ts, &c->timer, c->last_rx_us + idle_us);
        return;
    }
    metric_inc(c->server->o.metrics, METRIC_CLIENT_IDLE_CLOSED);
    log_debug("edge", "client is silent, closing", "conn=%u idle_ms=%u", c->id, c->idle_timeout_ms);
    ws_close(c, WS_CLOSE_PROTOCOL);
}

/* The close took too long, or the socket is broken. With a partial write in hand lws would go on trying; after a
 * shutdown its next try fails, and it lets go. The reset frees what the kernel holds for a peer that does not read. */
static void conn_kill(struct ws_conn *c)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int fd = lws_get_socket_fd(c->wsi);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    shutdown(fd, SHUT_RDWR);
    timer_arm_in(c->server->o.timers, &c->timer, CLOSE_TIMEOUT_US);        /* should it need another push */
    lws_set_timeout(c->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_SYNC); /* c may be gone now */
}

static void on_timer(struct timer *t)
{
    struct ws_conn *c = container_of(t, struct ws_conn, timer);
    if (c->state == WS_OPEN) {
        on_idle_timer(c);
    } else if (c->state == WS_CLOSING && !c->out && !c->half_closed) {
        finish_close(c);
        timer_arm_in(c->server->o.timers, t, CLOSE_TIMEOUT_US);
    } else if (c->wsi) {
        conn_kill(c);
    }
}

uint32_t ws_close_some(struct ws_server *ws, uint32_t max, enum ws_close_code code)
{
    uint32_t closed = 0;
    struct list *node, *next;
    list_each_safe (node, next, &ws->all) {
        struct ws_conn *c = container_of(node, struct ws_conn, all);
        if (closed == max)
            break;
        if (c->state == WS_OPEN) {
            ws_close(c, code);
            closed++;
        }
    }
    return closed;
}

/* Ids are given in the order of the list. */
void ws_each_after(const struct ws_server *ws, uint32_t after, uint32_t max, ws_seen_fn *fn, void *ctx)
{
    for (const struct list *it = ws->all.next; it != &ws->all && max; it = it->next) {
        const struct ws_conn *c = container_of(it, const struct ws_conn, all);
        if (!c->wsi || c->id <= after)
            continue;
        fn(ctx, c, tcp_of(c), ws_unsent(c));
        max--;
    }
}

size_t ws_unsent(const struct ws_conn *c)
{
    return c->out ? unsent(c->out) : 0;
}

uint32_t ws_count(const struct ws_server *ws)
{
    return ws->count;
}

/* --- libwebsockets ------------------------------------------------------------------------------------------------ */

static void on_established(struct ws_conn *c, struct lws *wsi)
{
    struct ws_server *ws = c->server;
    ws->adopting = NULL;
    c->wsi = wsi;
    c->state = WS_OPEN;
    c->last_rx_us = ws->o.timers->now_us;
    c->timer.fn = on_timer;
    list_append(&ws->all, &c->all);
    ws->count++;
    ws->o.metrics->value[METRIC_CLIENT_CONNECTED] = ws->count;
    if (c->idle_timeout_ms)
        timer_arm_in(ws->o.timers, &c->timer, (uint64_t)c->idle_timeout_ms * 1000);
}

/* Into the 101. lws itself would answer only with the name of one of its protocols, and ours has none. */
static int add_subprotocol(const struct ws_server *ws, struct lws_process_html_args *args)
{
    if (!ws->adopting || !ws->subprotocol)
        return 0;
    int n = snprintf(args->p, (size_t)args->max_len, "Sec-WebSocket-Protocol: %s\r\n", ws->subprotocol);
    if (n < 0 || n >= args->max_len)
        return -1;
    args->p += n;
    return 0;
}

/* In place of lws's own, which the dynamic linker lets a program do: its messages of every level are compiled in, some
 * fifteen on the way of one WebSocket message, and switched off (context_new()) each still costs a look at the level
 * behind two calls with variable arguments. NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c): the name is lws's */
void _lws_log(int filter, const char *format, ...)
{
    (void)filter;
    (void)format;
}

/* lws calls this for everything. Only what an adopted, upgrading connection can rightly do is let through. */
static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct ws_conn *c = user;
    switch ((int)reason) {
    case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED: {
        struct ws_server *ws = lws_context_user(lws_get_context(wsi));
        lws_set_wsi_user(wsi, ws->adopting);
        return 0;
    }
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        /* h2c above all: never anything but a WebSocket. */
        return in && strcasecmp(in, "websocket") == 0 ? 0 : -1;
    case LWS_CALLBACK_ADD_HEADERS:
        learn_serv_buf(lws_context_user(lws_get_context(wsi)), in);
        return add_subprotocol(lws_context_user(lws_get_context(wsi)), in);
    case LWS_CALLBACK_ESTABLISHED:
        on_established(c, wsi);
        return 0;
    case LWS_CALLBACK_RECEIVE:
        on_receive(c, wsi, slice_make(in, len));
        return 0;
    case LWS_CALLBACK_RECEIVE_PONG:
        c->last_rx_us = c->server->o.timers->now_us;
        on_control(c);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        /* Asked for by us, or by lws for its pong. */
        if (c->out)
            on_writeable(c);
        else
            on_control(c);
        return 0;
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        return on_peer_close(c, slice_make(in, len));
    case LWS_CALLBACK_WS_SERVER_DROP_PROTOCOL:
        if (c && c->wsi)
            on_lws_closes(c, wsi);
        return 0;
    case LWS_CALLBACK_CLOSED:
        if (c && c->wsi)
            conn_gone(c);
        return 0;
    case LWS_CALLBACK_HTTP:
    case LWS_CALLBACK_HTTP_BODY:
    case LWS_CALLBACK_RAW_ADOPT:
    case LWS_CALLBACK_RAW_RX:
    case LWS_CALLBACK_FILTER_HTTP_CONNECTION:
        return -1;
    default:
        return 0;
    }
}

static const struct lws_protocols protocols[] = {
    {.name = "", .callback = on_lws, .rx_buffer_size = RX_BUFFER, .tx_packet_size = TX_PACKET},
    {.name = NULL},
};

/* The request that lws gets to see. Its answer, the 101, goes to the client. */
static void put_head(struct buf *b, struct slice key)
{
    buf_puts(b, "GET / HTTP/1.1\r\nHost: beamgate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    buf_add_slice(b, key);
    buf_puts(b, "\r\n\r\n");
}

/* base64 of 16 bytes (RFC 6455 4.2.1): nothing that could break out of its header line. */
static bool key_is_sane(struct slice key)
{
    enum { KEY_MAX = 64 };
    if (key.len == 0 || key.len > KEY_MAX)
        return false;
    for (size_t i = 0; i < key.len; i++) {
        unsigned char ch = (unsigned char)key.ptr[i];
        if (ch <= ' ' || ch >= 0x7f)
            return false;
    }
    return true;
}

int ws_adopt(struct ws_server *ws, struct ws_conn *c, int fd, struct slice key, const char *subprotocol)
{
    struct buf head;
    if (!key_is_sane(key)) {
        close(fd);
        return BG_EINVAL;
    }
    buf_init(&head, 0);
    put_head(&head, key);
    c->server = ws;
    c->id = ++ws->next_id;
    c->state = WS_NEW;
    list_init(&c->pending);
    list_init(&c->held);
    list_init(&c->all);
    ws->adopting = c;
    ws->subprotocol = subprotocol;
    struct lws *wsi = NULL;
    if (buf_ok(&head))
        wsi = lws_adopt_socket_vhost_readbuf(ws->vhost, fd, (const char *)head.data, head.len);
    else
        close(fd);
    buf_fini(&head);
    bool opened = ws->adopting == NULL;
    ws->adopting = NULL;
    if (!opened && wsi) /* stuck half-way: it must not keep a pointer to c */
        lws_set_timeout(wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_SYNC);
    return opened ? BG_OK : BG_ESYS;
}

/* lws makes tables for as many descriptors as the process may open, and clears them: 16 MB at a limit of a million.
 * It gets to see only what it can need. Returns the limit to restore. */
static struct rlimit limit_fds(uint32_t max_descriptors)
{
    struct rlimit was, now;
    getrlimit(RLIMIT_NOFILE, &was);
    now = was;
    if (now.rlim_cur > (rlim_t)max_descriptors + SPARE_FDS)
        now.rlim_cur = (rlim_t)max_descriptors + SPARE_FDS;
    setrlimit(RLIMIT_NOFILE, &now);
    return was;
}

static struct lws_context *context_new(struct ws_server *ws)
{
    /* All zero: lws sends no pings of its own; the idle timer is ours. */
    static const lws_retry_bo_t no_keepalive;
    void *loops[] = {ws->o.loop};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .foreign_loops = loops,
        .alpn = "http/1.1",
        .timeout_secs = 10,
        .keepalive_timeout = 5,
        .max_http_header_data = 1024,
        .pt_serv_buf_size = SERV_BUF,
        .retry_and_idle_policy = &no_keepalive,
        .vhost_name = "beamgate",
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .user = ws,
    };
    lws_set_log_level(0, NULL);
    struct rlimit was = limit_fds(ws->o.max_descriptors);
    struct lws_context *context = lws_create_context(&info);
    if (context)
        ws->vhost = lws_create_vhost(context, &info);
    setrlimit(RLIMIT_NOFILE, &was);
    return context;
}

struct ws_server *ws_server_new(const struct ws_options *o, struct err *e)
{
    struct ws_server *ws = calloc(1, sizeof(*ws));
    if (!ws) {
        err_set(e, BG_ENOMEM, 0, "no memory");
        return NULL;
    }
    ws->o = *o;
    list_init(&ws->pending);
    list_init(&ws->all);
    list_init(&ws->to_hold);
    list_init(&ws->held);
    ws->hold_timer.fn = on_hold_timer;
    ws->context = context_new(ws);
    if (!ws->context || !ws->vhost) {
        err_set(e, BG_ESYS, 0, "libwebsockets did not start");
        ws_server_free(ws);
        return NULL;
    }
    return ws;
}

void ws_server_free(struct ws_server *ws)
{
    if (!ws)
        return;
    if (ws->context) {
        /* The first call begins to close the connections and lws's own libuv handles, which takes turns of the loop;
         * with a foreign loop lws frees its context only when it is called again after that. */
        lws_context_destroy(ws->context);
        for (int i = 0; i < FREE_TURNS; i++)
            uv_run(ws->o.loop, UV_RUN_NOWAIT);
        lws_context_destroy(ws->context);
    }
    timer_disarm(ws->o.timers, &ws->hold_timer);
    ws_pool_fini(ws);
    free(ws);
}
