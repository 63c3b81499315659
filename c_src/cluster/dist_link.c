/*
 * dist_link.c: a distribution connection on a uv_tcp_t: packets in, packets out, ticks, closing. See dist_link.h for
 * what others may do with it and dist_link_internal.h for its states.
 *
 * Reading: all links read into one scratch buffer and packets are handed up from there, uncopied. Only the beginning
 * of an incomplete packet is kept in the link's own buffer, which then is read into directly and grows as bytes come
 * (not as the peer announces), so an idle link holds no buffer and a boastful peer gets none.
 *
 * Writing: packets are appended to `out`. At the end of the turn uv_try_write takes what the kernel has room
 * for; if something remains, `out` becomes `writing` as it is and a fresh `out` begins, so large queues are never
 * moved. At most two buffers exist, together bounded by max_output_bytes (twice for what the protocol owes). A turn
 * writes WRITE_A_TURN bytes to a link, so that a packet of megabytes does not hold up everybody else.
 * Over TLS (dist_tls.c) bytes pass through it on both ways; byte counts are then those of the distribution, not TLS's, so
 * that ticks mean the same.
 *
 * Invariants: reading stops for longer than a turn only when the link ends (D-09); only this file writes to the socket, so packets and ticks
 * never interleave; a link is told to its owner as lost exactly once.
 */
#include "dist_link_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "dist_tls.h"

enum {
    PACKET_HEAD = 4,
    PASS_THROUGH = 112,      /* 'p': the only first byte without DIST_HDR_ATOM_CACHE and FRAGMENTS (08 §2.1) */
    READ_CHUNK = 64 * 1024,  /* read at once */
    READ_A_TURN = 256 * 1024,
    WRITE_A_TURN = 256 * 1024,
    KEEP_BYTES = 256 * 1024, /* a buffer larger than this is given back when empty */
    TICKS_TO_DEATH = 4,      /* net_tickintensity's default: 4 ticks make a net_ticktime */
    ANSWER_GAP_US = 100 * 1000
};

static const char over_bound[] = "peer does not read: output queue is over twice its bound";

static void write_out(struct dist_link *l);
static void say_goodbye(struct dist_link *l);

int link_host_init(struct link_host *host)
{
    list_init(&host->dirty);
    list_init(&host->doomed);
    list_init(&host->resting);
    host->open = 0;
    buf_init(&host->sealed, 0);
    host->scratch = malloc(READ_CHUNK);
    host->cipher = host->tls ? malloc(READ_CHUNK) : NULL;
    return host->scratch && (host->cipher || !host->tls) ? BG_OK : BG_ENOMEM;
}

void link_host_fini(struct link_host *host)
{
    assert_always(host->open == 0);
    free(host->scratch);
    free(host->cipher);
    buf_fini(&host->sealed);
    host->scratch = host->cipher = NULL;
}

void link_host_wake(struct link_host *host)
{
    uint64_t now = clock_now_us();
    if (now > host->timers->now_us)
        host->timers->now_us = now;
}

/* What others see */

struct slice dist_link_node(const struct dist_link *l)
{
    return slice_str(l->node);
}

uint64_t dist_link_flags(const struct dist_link *l)
{
    return l->flags;
}

handle_t dist_link_handle(const struct dist_link *l)
{
    return l->handle;
}

uint32_t dist_link_creation(const struct dist_link *l)
{
    return l->creation;
}

size_t dist_link_queued(const struct dist_link *l)
{
    return l->out.len - dist_tls_at(l) + l->writing.len;
}

void dist_link_stats(const struct dist_link *l, struct dist_link_stats *s)
{
    *s = l->stats;
    s->outgoing = l->outgoing;
    s->queued_bytes = dist_link_queued(l);
}

/* Closing */

void dist_link_close(struct dist_link *l, const char *reason)
{
    if (l->state == LINK_CLOSED)
        return;
    l->state = LINK_CLOSED;
    l->reason = reason;
    uv_read_stop((uv_stream_t *)&l->tcp);
    list_remove(&l->resting);
    timer_disarm(l->host->timers, &l->timer);
    list_append(&l->host->doomed, &l->doomed);
}

static void on_closed(uv_handle_t *handle)
{
    struct dist_link *l = handle->data;
    struct link_owner *owner = &l->host->owner;
    l->host->open--;
    list_remove(&l->dirty);
    buf_fini(&l->in);
    buf_fini(&l->out);
    buf_fini(&l->writing);
    dist_tls_free(l);
    free(l->hs);
    free(l);
    owner->freed(owner->ctx);
}

/* The owner's callback may close further links: dist_links_flush() goes on until none is left. */
static void bury(struct dist_link *l)
{
    if (l->hs)
        write_out(l); /* a refusal should still be heard */
    list_remove(&l->dirty);
    l->host->owner.lost(l->host->owner.ctx, l, l->reason);
    uv_close((uv_handle_t *)&l->tcp, on_closed);
}

/* Output */

/* Written at the end of the turn, however many packets are added until then. */
void dist_link_dirty(struct dist_link *l)
{
    if (!list_linked(&l->dirty))
        list_append(&l->host->dirty, &l->dirty);
}

static void wrote(struct dist_link *l, size_t n)
{
    l->stats.bytes_out += n;
    l->wrote_us = l->host->timers->now_us;
    metric_add(l->host->metrics, METRIC_LINK_BYTES_OUT, n);
}

static void on_written(uv_write_t *req, int status);

/* The next piece of `writing` to libuv. */
static void write_piece(struct dist_link *l)
{
    l->piece = l->writing.len < WRITE_A_TURN ? l->writing.len : WRITE_A_TURN;
    uv_buf_t b = uv_buf_init((char *)l->writing.data + l->written, (unsigned)l->piece);
    l->write.data = l;
    int rc = uv_write(&l->write, (uv_stream_t *)&l->tcp, &b, 1, on_written);
    if (rc < 0) {
        buf_reset(&l->writing);
        dist_link_close(l, uv_strerror(rc));
    } else {
        l->writing_now = true;
    }
}

/* Only now the bytes count as written for the tick: a peer that does not read is not being talked to. */
static void on_written(uv_write_t *req, int status)
{
    struct dist_link *l = req->data;
    link_host_wake(l->host);
    l->writing_now = false;
    if (status == 0) {
        l->written += l->piece;
        l->writing.len -= l->piece;
        wrote(l, !l->tls ? l->piece : l->writing.len ? 0 : dist_tls_sealed(l));
        if (l->writing.len && l->state != LINK_CLOSED) {
            dist_link_dirty(l);
            return;
        }
    }
    buf_shrink(&l->writing, KEEP_BYTES);
    if (status < 0)
        dist_link_close(l, uv_strerror(status));
    else if (l->state == LINK_DRAINING)
        say_goodbye(l);
    else if ((l->out.len || l->tls) && l->state != LINK_CLOSED)
        dist_link_dirty(l);
}

/* What the kernel did not take of *from goes to `writing` and piece by piece to libuv; *from is empty then. done: how
 * much of it was taken already. */
static void write_rest(struct dist_link *l, struct buf *from, size_t done)
{
    struct buf empty = l->writing;
    l->writing = *from;
    *from = empty;
    l->written = done;
    l->writing.len -= done; /* as a count: the bytes stay where they are until they are written */
    write_piece(l);
}

/* Writes *from, as much as the kernel has room for; returns how much that was. UV_EAGAIN: the socket is full; libuv then
 * writes when it has room. */
static size_t write_now(struct dist_link *l, struct buf *from)
{
    uv_buf_t b = uv_buf_init((char *)from->data, (unsigned)from->len);
    int n = uv_try_write((uv_stream_t *)&l->tcp, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        buf_reset(from);
        dist_link_close(l, uv_strerror(n));
        return 0;
    }
    return n > 0 ? (size_t)n : 0;
}

/* Piece by piece: what the kernel does not take waits encrypted in `writing`, what comes after it as it is in `out`. */
static void write_sealed(struct dist_link *l)
{
    struct buf *sealed = &l->host->sealed;
    for (size_t size, taken = 0; !l->writing_now && dist_tls_seal(l, sealed); taken += size) {
        size = sealed->len;
        size_t done = taken < WRITE_A_TURN ? write_now(l, sealed) : 0;
        if (done == size)
            wrote(l, dist_tls_sealed(l));
        else if (sealed->len && l->state != LINK_CLOSED)
            write_rest(l, sealed, done);
        buf_shrink(sealed, KEEP_BYTES);
        if (done < size)
            return;
    }
}

static void write_out(struct dist_link *l)
{
    if (l->writing_now)
        return;
    if (l->writing.len) {
        write_piece(l);
        return;
    }
    if (l->tls) {
        write_sealed(l);
        return;
    }
    if (l->out.len == 0)
        return;
    size_t size = l->out.len, done = size <= WRITE_A_TURN ? write_now(l, &l->out) : 0;
    if (done)
        wrote(l, done);
    if (done == size)
        buf_shrink(&l->out, KEEP_BYTES);
    else if (l->state != LINK_CLOSED)
        write_rest(l, &l->out, done);
}

static void go_on_reading(struct dist_link *l);

void dist_links_flush(struct link_host *host)
{
    struct list *node;
    host->turn++;
    while ((node = list_pop(&host->resting)))
        go_on_reading(container_of(node, struct dist_link, resting));
    do {
        while ((node = list_pop(&host->doomed)))
            bury(container_of(node, struct dist_link, doomed));
        while ((node = list_pop(&host->dirty)))
            write_out(container_of(node, struct dist_link, dirty));
    } while (!list_empty(&host->doomed));
}

struct buf *dist_link_raw(struct dist_link *l)
{
    dist_link_dirty(l);
    return &l->out;
}

/* False when the bound forbids the packet. */
static bool may_queue(struct dist_link *l, enum link_urgency urgency)
{
    size_t queued = dist_link_queued(l), bound = l->host->max_output_bytes;
    if (queued < bound)
        return true;
    if (urgency == LINK_DATA)
        return false;
    if (queued / 2 < bound)
        return true;
    dist_link_close(l, over_bound);
    return false;
}

struct buf *dist_link_begin(struct dist_link *l, enum link_urgency urgency)
{
    assert_always(!l->packet_open);
    if (l->state != LINK_UP || !may_queue(l, urgency))
        return NULL;
    l->packet_at = l->out.len;
    uint8_t *head = buf_room(&l->out, PACKET_HEAD + 1);
    if (!head) {
        buf_truncate(&l->out, l->packet_at);
        return NULL;
    }
    head[PACKET_HEAD] = PASS_THROUGH;
    l->out.len += PACKET_HEAD + 1;
    l->packet_open = true;
    l->urgency = urgency;
    return &l->out;
}

void dist_link_abort(struct dist_link *l)
{
    assert_always(l->packet_open);
    l->packet_open = false;
    buf_truncate(&l->out, l->packet_at);
}

int dist_link_commit(struct dist_link *l)
{
    assert_always(l->packet_open);
    size_t len = l->out.len - l->packet_at - PACKET_HEAD;
    if (l->state != LINK_UP) {
        dist_link_abort(l);
        return BG_EGONE;
    }
    if (!buf_ok(&l->out) || len > UINT32_MAX) {
        dist_link_abort(l);
        if (l->urgency == LINK_PROTOCOL)
            dist_link_close(l, over_bound);
        return BG_ENOMEM;
    }
    l->packet_open = false;
    put_be32(l->out.data + l->packet_at, (uint32_t)len);
    l->stats.packets_out++;
    metric_inc(l->host->metrics, METRIC_LINK_PACKETS_OUT);
    dist_link_dirty(l);
    return BG_OK;
}

/* Ticks */

static bool queue_empty(const struct dist_link *l)
{
    return l->out.len == 0 && l->writing.len == 0;
}

static void put_tick(struct dist_link *l)
{
    static const uint8_t tick[PACKET_HEAD];
    buf_add(&l->out, tick, sizeof(tick));
    dist_link_dirty(l);
}

/* The peer ticked: it wants to hear something. A hidden node is judged by its answers (08 §1.9), and net_ticktime over
 * there may be shorter than ours; but two nodes that answer each other would play ping-pong for ever: hence the gap. */
static void answer_tick(struct dist_link *l)
{
    if (queue_empty(l) && l->host->timers->now_us - l->wrote_us >= ANSWER_GAP_US)
        put_tick(l);
}

/* Every quarter of net_ticktime, as dist_util:send_tick/2 does it; counted in intervals, not by the clock, so that a
 * gateway that was stopped for a while does not blame its peers. */
static void on_tick(struct dist_link *l)
{
    l->silent = l->stats.bytes_in == l->ticked_in ? l->silent + 1 : 0;
    if (l->silent >= TICKS_TO_DEATH) {
        dist_link_close(l, "net_tick_timeout");
        return;
    }
    bool quiet = l->stats.bytes_out == l->ticked_out && queue_empty(l);
    l->ticked_in = l->stats.bytes_in;
    l->ticked_out = l->stats.bytes_out + (quiet ? PACKET_HEAD : 0); /* our own tick is no traffic */
    if (quiet)
        put_tick(l);
    if (l->in.len == 0)
        buf_fini(&l->in);
    if (timer_arm_in(l->host->timers, &l->timer, l->host->tick_us) != BG_OK)
        dist_link_close(l, "out of memory");
}

/* One timer serves all stages of a link, since each needs just one. */
static void on_timer(struct timer *t)
{
    struct dist_link *l = container_of(t, struct dist_link, timer);
    if (l->state == LINK_UP)
        on_tick(l);
    else if (l->state == LINK_DRAINING)
        dist_link_close(l, "peer did not close in time");
    else
        l->host->owner.late(l->host->owner.ctx, l);
}

void dist_link_deadline(struct dist_link *l, uint64_t delay_us)
{
    if (timer_arm_in(l->host->timers, &l->timer, delay_us) != BG_OK)
        dist_link_close(l, "out of memory");
}

/* Input */

/* The owner may close the link, or any other, in its callback; take_packets() looks at the state each time. */
static void on_packet(struct dist_link *l, struct slice packet)
{
    l->stats.packets_in++;
    metric_inc(l->host->metrics, METRIC_LINK_PACKETS_IN);
    if ((uint8_t)packet.ptr[0] == PASS_THROUGH) {
        l->host->owner.packet(l->host->owner.ctx, l, packet);
        return;
    }
    metric_inc(l->host->metrics, METRIC_LINK_MALFORMED);
    dist_link_close(l, "packet is not pass-through: the peer uses a flag we did not offer");
}

/* Hands up every whole packet; returns how many bytes were used. */
static size_t take_packets(struct dist_link *l, struct slice in)
{
    size_t at = 0;
    while (l->state == LINK_UP && in.len - at >= PACKET_HEAD) {
        size_t len = get_be32((const uint8_t *)in.ptr + at);
        if (len > l->host->max_packet_bytes) {
            metric_inc(l->host->metrics, METRIC_LINK_MALFORMED);
            dist_link_close(l, "packet is larger than max_packet_bytes");
            break;
        }
        if (in.len - at - PACKET_HEAD < len)
            break;
        at += PACKET_HEAD + len;
        if (len)
            on_packet(l, slice_make(in.ptr + at - len, len));
        else
            answer_tick(l);
    }
    return at;
}

/* Handshake and packets may arrive in one read (D-05). A link that has ended swallows the rest. */
static size_t take(struct dist_link *l, struct slice in)
{
    size_t at = 0;
    if (l->state == LINK_HANDSHAKE)
        at = l->host->owner.handshake(l->host->owner.ctx, l, in);
    if (l->state == LINK_UP)
        at += take_packets(l, slice_make(in.ptr + at, in.len - at));
    return l->state == LINK_UP ? at : in.len;
}

/* The next read goes behind an incomplete packet, or into the shared buffer when there is none. */
size_t dist_link_room(struct dist_link *l, uint8_t **dst)
{
    *dst = l->host->scratch;
    if (l->in.len == 0)
        return READ_CHUNK;
    size_t room = READ_CHUNK;
    if (l->in.len >= PACKET_HEAD) {
        /* Doubling keeps the copies of a growing buffer linear; the packet's own length bounds it. */
        size_t missing = PACKET_HEAD + get_be32(l->in.data) - l->in.len;
        size_t twice = missing < l->in.len ? missing : l->in.len;
        room = twice > room ? twice : room;
        room = room > READ_A_TURN ? READ_A_TURN : room;
    }
    *dst = buf_reserve(&l->in, room);
    return *dst ? room : 0;
}

/* The rest is the beginning of one packet and at most READ_CHUNK long unless that packet is large. */
static void keep_rest(struct dist_link *l, struct slice in, size_t used)
{
    struct slice rest = slice_make(in.ptr + used, in.len - used);
    if (l->in.len && (used == 0 || l->in.cap <= KEEP_BYTES)) {
        buf_consume(&l->in, used);
        return;
    }
    struct buf old = l->in; /* empty, or grown by a large packet that is done with */
    buf_init(&l->in, 0);
    buf_add_slice(&l->in, rest);
    if (!buf_ok(&l->in))
        dist_link_close(l, "out of memory");
    buf_fini(&old);
}

/* n bytes have come into the room that dist_link_room() gave. */
void dist_link_received(struct dist_link *l, uint8_t *room, size_t n)
{
    l->stats.bytes_in += n;
    metric_add(l->host->metrics, METRIC_LINK_BYTES_IN, n);
    struct slice in = slice_make(room, n);
    if (l->in.len) {
        l->in.len += n;
        in = buf_slice(&l->in);
    }
    size_t used = take(l, in);
    if (l->state == LINK_UP || l->state == LINK_HANDSHAKE)
        keep_rest(l, in, used);
    else
        buf_reset(&l->in);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
    struct dist_link *l = handle->data;
    uint8_t *room = l->host->cipher;
    (void)suggested;
    size_t size = l->tls ? READ_CHUNK : dist_link_room(l, &room);
    *b = uv_buf_init((char *)room, (unsigned)size); /* 0: libuv reports UV_ENOBUFS */
}

/* Without this libuv would read on as long as the peer fills what it is given: a few megabytes in one turn. */
static void count_read(struct dist_link *l, size_t n)
{
    bool first = l->turn != l->host->turn;
    l->turn = l->host->turn;
    l->turn_bytes = first ? n : l->turn_bytes + n;
    if (l->turn_bytes < READ_A_TURN || list_linked(&l->resting))
        return;
    uv_read_stop((uv_stream_t *)&l->tcp);
    list_append(&l->host->resting, &l->resting);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct dist_link *l = stream->data;
    link_host_wake(l->host);
    if (n > 0)
        count_read(l, (size_t)n);
    if (n < 0)
        dist_link_close(l, n == UV_EOF ? "closed by peer" : uv_strerror((int)n));
    else if (l->tls)
        dist_tls_received(l, slice_make(b->base, (size_t)n));
    else
        dist_link_received(l, (uint8_t *)b->base, (size_t)n);
}

static void go_on_reading(struct dist_link *l)
{
    int rc = uv_read_start((uv_stream_t *)&l->tcp, on_alloc, on_read);
    if (rc != 0)
        dist_link_close(l, uv_strerror(rc));
}

const char *dist_link_hint(const struct dist_link *l)
{
    if (dist_tls_to_blame(l))
        return "does the node run with -proto_dist inet_tls, and do both trust the other's certificate?";
    return l->hs ? dist_handshake_hint(l->hs) : "";
}

/* Beginning */

static void put_address(struct dist_link *l)
{
    struct sockaddr_storage a;
    int len = sizeof(a);
    char host[INET6_ADDRSTRLEN] = "?";
    if (uv_tcp_getpeername(&l->tcp, (struct sockaddr *)&a, &len) != 0)
        return;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&a;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a;
    bool is_v6 = a.ss_family == AF_INET6;
    bool is_mapped = is_v6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr); /* what a socket for both families sees */
    if (is_mapped)
        inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host, sizeof(host));
    else
        inet_ntop(a.ss_family, is_v6 ? (const void *)&in6->sin6_addr : &in4->sin_addr, host, sizeof(host));
    snprintf(l->stats.address, sizeof(l->stats.address), is_v6 && !is_mapped ? "[%s]:%u" : "%s:%u", host,
             ntohs(is_v6 ? in6->sin6_port : in4->sin_port));
}

struct dist_link *dist_link_new(struct link_host *host, bool outgoing)
{
    struct dist_link *l = calloc(1, sizeof(*l));
    if (!l || uv_tcp_init(host->loop, &l->tcp) != 0) {
        free(l);
        return NULL;
    }
    l->host = host;
    l->outgoing = outgoing;
    l->tcp.data = l;
    l->timer.fn = on_timer;
    l->wrote_us = host->timers->now_us;
    list_init(&l->dirty);
    list_init(&l->doomed);
    list_init(&l->resting);
    list_init(&l->pending);
    buf_init(&l->in, 0); /* bounded by max_packet_bytes in take_packets() */
    buf_init(&l->out, host->max_output_bytes * 2);
    buf_init(&l->writing, host->max_output_bytes * 2);
    host->open++;
    return l;
}

/* From here to the end of the link reading never stops (D-09). Small packets must not wait for Nagle's timer. */
static int start_reading(struct dist_link *l)
{
    put_address(l);
    uv_tcp_nodelay(&l->tcp, 1);
    l->state = LINK_HANDSHAKE;
    if (l->host->tls && (dist_tls_start(l) != BG_OK || l->state == LINK_CLOSED))
        return UV_ENOMEM;
    return uv_read_start((uv_stream_t *)&l->tcp, on_alloc, on_read);
}

int dist_link_accept(struct dist_link *l, uv_stream_t *server)
{
    int rc = uv_accept(server, (uv_stream_t *)&l->tcp);
    return rc == 0 ? start_reading(l) : rc;
}

static void on_connected(uv_connect_t *req, int status)
{
    struct dist_link *l = req->data;
    link_host_wake(l->host);
    if (l->state == LINK_CLOSED)
        return;
    if (status == 0)
        status = start_reading(l);
    l->host->owner.connected(l->host->owner.ctx, l, status);
}

int dist_link_connect(struct dist_link *l, const char *node, const struct sockaddr *addr)
{
    slice_cstr(slice_str(node), l->node, sizeof(l->node));
    l->connect.data = l;
    return uv_tcp_connect(&l->connect, &l->tcp, addr, on_connected);
}

void dist_link_up(struct dist_link *l, const char *node, uint64_t flags, uint32_t creation, handle_t handle)
{
    slice_cstr(slice_str(node), l->node, sizeof(l->node));
    l->state = LINK_UP;
    l->flags = flags;
    l->creation = creation;
    l->handle = handle;
    l->stats.up_since_us = l->host->timers->now_us;
    dist_link_deadline(l, l->host->tick_us);
}

/* Our FIN is out. The end comes as EOF from the peer, or by the deadline. */
static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct dist_link *l = req->data;
    link_host_wake(l->host);
    if (status < 0 && status != UV_ECANCELED)
        dist_link_close(l, uv_strerror(status));
}

/* Once everything is written: FIN. */
static void say_goodbye(struct dist_link *l)
{
    write_out(l);
    if (l->state == LINK_CLOSED || l->writing_now)
        return;
    if (l->tls && dist_tls_goodbye(l)) {
        write_out(l);
        if (l->state == LINK_CLOSED || l->writing_now)
            return;
    }
    l->shutdown.data = l;
    if (uv_shutdown(&l->shutdown, (uv_stream_t *)&l->tcp, on_shutdown) != 0)
        dist_link_close(l, "stopping");
}

/* A plain close with unread bytes would make the kernel send RST, which can cost the peer our last packets; so: FIN,
 * read on (discarding) until the peer closes too. */
void dist_link_drain(struct dist_link *l, uint64_t delay_us)
{
    if (l->state != LINK_UP) {
        dist_link_close(l, "stopping");
        return;
    }
    l->state = LINK_DRAINING;
    dist_link_deadline(l, delay_us);
    say_goodbye(l);
}
