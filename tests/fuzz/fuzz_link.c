/*
 * fuzz_link.c: any bytes of a peer to a link that is up, in pieces; a deframer of a few lines over the whole
 * input says which packets must come out. Includes the .c file: the reads are driven without a socket.
 */
#include "../../c_src/cluster/dist_link.c"

#include "fuzz.h"
#include "map.h"

enum { MAX_PACKET = 200 * 1000 };

static uv_loop_t loop;
static struct timers timers;
static struct metrics metrics;
static struct link_host host;
static uint64_t heard; /* hash of the packets that came out */
static unsigned packets;
static unsigned freed;

static void see_packet(void *ctx, struct dist_link *l, struct slice p)
{
    (void)ctx;
    assert_always(l->state == LINK_UP && p.len > 0);
    heard = heard * 31 + hash_bytes(p.ptr, p.len);
    packets++;
}

static void see_lost(void *ctx, struct dist_link *l, const char *reason)
{
    (void)ctx;
    (void)l;
    assert_always(reason != NULL);
}

static void see_freed(void *ctx)
{
    (void)ctx;
    freed++;
}

static void set_up(void)
{
    if (host.loop)
        return;
    uv_loop_init(&loop);
    timers_init(&timers, clock_now_us());
    host = (struct link_host){.loop = &loop, .timers = &timers, .metrics = &metrics, .tick_us = 1000000};
    host.max_packet_bytes = MAX_PACKET;
    host.max_output_bytes = 4096;
    host.owner = (struct link_owner){.packet = see_packet, .lost = see_lost, .freed = see_freed};
    assert_always(link_host_init(&host) == BG_OK);
}

/* What must come out: packets up to the first that is too large or not pass-through. */
static uint64_t expect(const uint8_t *data, size_t size, unsigned *count)
{
    uint64_t hash = 0;
    for (*count = 0; size >= 4;) {
        size_t len = get_be32(data);
        if (len > MAX_PACKET || size - 4 < len || (len && data[4] != 112))
            break;
        if (len) {
            hash = hash * 31 + hash_bytes(data + 4, len);
            ++*count;
        }
        data += 4 + len;
        size -= 4 + len;
    }
    return hash;
}

static void read_piece(struct dist_link *l, const uint8_t *data, size_t n)
{
    uv_buf_t b;
    while (n > 0 && l->state == LINK_UP) {
        on_alloc((uv_handle_t *)&l->tcp, 65536, &b);
        assert_always(b.len > 0);
        size_t take_now = n < b.len ? n : b.len;
        memcpy(b.base, data, take_now);
        on_read((uv_stream_t *)&l->tcp, (ssize_t)take_now, &b);
        data += take_now;
        n -= take_now;
    }
    assert_always(l->in.len <= MAX_PACKET + 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned want_packets, freed_before = freed;
    if (size < 1)
        return 0;
    set_up();
    struct dist_link *l = dist_link_new(&host, true);
    dist_link_up(l, "peer@host", DIST_FLAGS_DEFAULT, 1, 1);
    size_t piece = data[0] == 0xff ? 100000 : (size_t)data[0] * 3 + 1;
    uint64_t want = expect(data + 1, size - 1, &want_packets);
    heard = packets = 0;
    for (size_t at = 1; at < size; at += piece)
        read_piece(l, data + at, size - at < piece ? size - at : piece);
    assert_always(packets == want_packets && heard == want);
    dist_link_close(l, "end");
    dist_links_flush(&host);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_always(freed == freed_before + 1 && host.open == 0 && timers.count == 0);
    return 0;
}
