/*
 * rex_call.c: the other floor under a call, beside lws_echo: calls by way of rex from C and nothing else. libei makes
 * the connection; from then on one blocking socket, packets that are ready but for their tag, one read for what has
 * come, one write a call.
 *
 * Usage: rex_call NODE COOKIE WINDOW SECONDS [LABEL]. Calls bench_service:echo/1, WINDOW of them on their way at any
 * time, each answer followed by the next call. Prints a line like loadgen's. Not hardened: for benchmarks only.
 */
#include <ei.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"

enum { READ_BYTES = 256 * 1024, PACKET_BYTES = 512, WARMUP_US = 300000, TICK_BYTES = 4 };

static const char text[] = "hello from connection 0000";

struct caller {
    int fd;
    uint8_t call[PACKET_BYTES]; /* a packet, ready but for its tag */
    size_t call_len;
    size_t tag_at;
    uint32_t tag;
    uint8_t in[READ_BYTES];
    size_t in_len;
    uint64_t answers;
};

static void die(const char *what)
{
    fprintf(stderr, "rex_call: %s\n", what);
    exit(1);
}

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* {6, Me, '', rex} and {'$gen_call', {Me, Tag}, {call, bench_service, echo, [Text], user}} */
static void make_call(struct caller *c, erlang_pid *me)
{
    ei_x_buff x;
    ei_x_new(&x);
    ei_x_append_buf(&x, "\0\0\0\0p", 5);
    ei_x_append_buf(&x, "\203", 1);
    ei_x_encode_tuple_header(&x, 4);
    ei_x_encode_long(&x, 6);
    ei_x_encode_pid(&x, me);
    ei_x_encode_atom(&x, "");
    ei_x_encode_atom(&x, "rex");
    ei_x_append_buf(&x, "\203", 1);
    ei_x_encode_tuple_header(&x, 3);
    ei_x_encode_atom(&x, "$gen_call");
    ei_x_encode_tuple_header(&x, 2);
    ei_x_encode_pid(&x, me);
    c->tag_at = (size_t)x.index + 1;
    ei_x_encode_long(&x, 1 << 26); /* an INTEGER_EXT of four bytes */
    ei_x_encode_tuple_header(&x, 5);
    ei_x_encode_atom(&x, "call");
    ei_x_encode_atom(&x, "bench_service");
    ei_x_encode_atom(&x, "echo");
    ei_x_encode_list_header(&x, 1);
    ei_x_encode_binary(&x, text, sizeof(text) - 1);
    ei_x_encode_empty_list(&x);
    ei_x_encode_atom(&x, "user");
    c->call_len = (size_t)x.index;
    if (c->call_len > PACKET_BYTES)
        die("the call is too long");
    memcpy(c->call, x.buff, c->call_len);
    put_be32(c->call, (uint32_t)c->call_len - 4);
    ei_x_free(&x);
}

static void send_all(int fd, const uint8_t *at, size_t len)
{
    while (len) {
        ssize_t n = write(fd, at, len);
        if (n <= 0)
            die("the node is gone");
        at += n;
        len -= (size_t)n;
    }
}

static void send_call(struct caller *c)
{
    put_be32(c->call + c->tag_at, 1u << 26 | (c->tag++ & 0xffffff));
    send_all(c->fd, c->call, c->call_len);
}

/* An answer ends with the text that was asked for. */
static void take_answers(struct caller *c)
{
    ssize_t n = read(c->fd, c->in + c->in_len, READ_BYTES - c->in_len);
    if (n <= 0)
        die("the node is gone");
    c->in_len += (size_t)n;
    size_t at = 0;
    while (c->in_len - at >= 4) {
        size_t len = get_be32(c->in + at), end = at + 4 + len;
        if (end > c->in_len)
            break;
        if (len == 0) {
            send_all(c->fd, (const uint8_t[TICK_BYTES]){0}, TICK_BYTES);
        } else if (len < sizeof(text) || memcmp(c->in + end - (sizeof(text) - 1), text, sizeof(text) - 1) != 0) {
            die("a wrong answer");
        } else {
            c->answers++;
            send_call(c);
        }
        at = end;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static void run_for(struct caller *c, uint64_t us)
{
    uint64_t end = clock_now_us() + us;
    while (clock_now_us() < end)
        take_answers(c);
}

int main(int argc, char **argv)
{
    static struct caller c;
    ei_cnode me;
    char alive[32], node[sizeof(alive) + sizeof("@127.0.0.1")];
    struct in_addr local = {.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc < 5)
        die("usage: rex_call NODE COOKIE WINDOW SECONDS [LABEL]");
    int window = atoi(argv[3]);
    snprintf(alive, sizeof(alive), "rex_call_%d", (int)getpid());
    snprintf(node, sizeof(node), "%s@127.0.0.1", alive);
    if (ei_init() != 0 || ei_connect_xinit(&me, "127.0.0.1", alive, node, &local, argv[2], 1) < 0)
        die("libei does not start");
    c.fd = ei_connect(&me, argv[1]);
    if (c.fd < 0)
        die("the node does not answer");
    make_call(&c, ei_self(&me));
    for (int i = 0; i < window; i++)
        send_call(&c);
    run_for(&c, WARMUP_US);
    uint64_t answers = c.answers, began = clock_now_us();
    double us = cpu_us();
    run_for(&c, (uint64_t)(atof(argv[4]) * 1e6));
    answers = c.answers - answers;
    us = cpu_us() - us;
    double seconds = (double)(clock_now_us() - began) / 1e6;
    printf("{\"label\":\"%s\",\"connections\":%d,\"per_second\":%.0f,\"gateway\":{\"us_per_request\":%.3f}}\n",
           argc > 5 ? argv[5] : "rex_call", window, (double)answers / seconds, us / (double)(answers ? answers : 1));
    return 0;
}
