/*
 * lws_echo.c: the ceiling that the gateway is compared with. A bare libwebsockets echo on libuv, set up as the
 * gateway's edge is (rx buffer of 2048 bytes, no extension, direct writes), doing nothing else.
 *
 * Usage: lws_echo PORT. Each text message comes back as it came, in one write made from within the receive
 * callback. Prints "listening" when it does. Not hardened: for benchmarks only.
 */
#include <libwebsockets.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MESSAGE = 65536, RX_BUFFER = 2048 };

/* A message that came in pieces, until its last piece. */
struct session {
    unsigned char *part;
    size_t len;
};

static unsigned char out[LWS_PRE + MAX_MESSAGE];

/* Answers with the len bytes that stand at out + LWS_PRE. libwebsockets keeps what the socket does not take. */
static int answer(struct lws *wsi, size_t len)
{
    return lws_write(wsi, out + LWS_PRE, len, LWS_WRITE_TEXT) < 0 ? -1 : 0;
}

static int received(struct lws *wsi, struct session *s, const void *in, size_t len)
{
    bool last = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;
    if (last && s->len == 0 && len <= MAX_MESSAGE) { /* the usual case: whole at once */
        memcpy(out + LWS_PRE, in, len);
        return answer(wsi, len);
    }
    if (s->len + len > MAX_MESSAGE)
        return -1;
    unsigned char *grown = realloc(s->part, s->len + len);
    if (!grown)
        return -1;
    s->part = grown;
    memcpy(s->part + s->len, in, len);
    s->len += len;
    if (!last)
        return 0;
    memcpy(out + LWS_PRE, s->part, s->len);
    size_t whole = s->len;
    s->len = 0;
    return answer(wsi, whole);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct session *s = user;
    switch (reason) {
    case LWS_CALLBACK_RECEIVE:
        return received(wsi, s, in, len);
    case LWS_CALLBACK_CLOSED:
        free(s->part);
        s->part = NULL;
        return 0;
    default:
        return 0;
    }
}

static struct lws_context *start(int port)
{
    static const struct lws_protocols protocols[] = {
        {.name = "echo", .callback = on_event, .per_session_data_size = sizeof(struct session), .rx_buffer_size = RX_BUFFER},
        {0},
    };
    struct lws_context_creation_info info = {0};
    info.port = port;
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DISABLE_IPV6 | LWS_SERVER_OPTION_VALIDATE_UTF8;
    info.pt_serv_buf_size = 4096;
    return lws_create_context(&info);
}

int main(int argc, char **argv)
{
    lws_set_log_level(LLL_ERR, NULL);
    int port = argc > 1 ? atoi(argv[1]) : 0;
    struct lws_context *context = port > 0 ? start(port) : NULL;
    if (!context) {
        fprintf(stderr, "usage: lws_echo PORT (a free one)\n");
        return 1;
    }
    signal(SIGTERM, SIG_DFL); /* libwebsockets' own handler stops the loop, and lws_service() spins from then on */
    signal(SIGINT, SIG_DFL);
    puts("listening");
    fflush(stdout);
    while (lws_service(context, 0) >= 0)
        ;
    lws_context_destroy(context);
    return 0;
}
