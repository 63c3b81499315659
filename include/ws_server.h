/*
 * ws_server.h: open WebSocket connections. The box around libwebsockets: nobody else includes it.
 *
 * A connection begins with ws_adopt() of a socket whose HTTP request somebody else has read and found worth a
 * WebSocket. From then on whole messages come up through ws_handlers, and frames go out through ws_frame_begin() and
 * ws_frame_end(): they are collected per connection and written once per loop turn by ws_flush().
 */
#ifndef BEAMGATE_WS_SERVER_H
#define BEAMGATE_WS_SERVER_H

#include <uv.h>

#include "buf.h"
#include "limit.h"
#include "list.h"
#include "metrics.h"
#include "timers.h"

struct gather;

struct ws_server;
struct ws_buf;

enum ws_opcode { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8 };

/* RFC 6455 section 7.4.1; which cause gets which code: P-070..P-080. */
enum ws_close_code {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_BAD_UTF8 = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_SERVER_ERROR = 1011,
    WS_CLOSE_RESTART = 1012,
    WS_CLOSE_TRY_LATER = 1013
};

/* Embedded in the owner's struct, zeroed by it. Everything but the three settings is private. */
struct ws_conn {
    uint32_t max_message_bytes; /* a longer message closes with 1009, P-075 */
    uint32_t idle_timeout_ms;   /* no data for so long closes with 1002, P-079; 0: never */
    handle_t transport;         /* HANDLE_NONE: the socket is the client's; else ws_options.tcp knows which is */
    uint32_t id;                /* for log lines; given by ws_adopt() */

    uint8_t state; /* enum ws_state */
    bool half_closed;
    bool told_ended;
    bool mid_frame; /* the next piece belongs to a frame that has begun */
    void *wsi;      /* struct lws; NULL once lws has let go */
    struct ws_server *server;
    struct ws_buf *out; /* frames not yet written; NULL when there are none */
    struct ws_buf *in;  /* a message that came in pieces; NULL between messages */
    struct list pending;
    struct list all;
    struct list held;   /* on ws_server.to_hold or held: sends too much, is not read from */
    struct timer timer; /* idle, and once closing the deadline of the close */
    uint64_t last_rx_us;
    struct token_bucket messages;
    struct token_bucket bytes;
    uint64_t flood_since_us; /* it has been held again and again since then; 0: never */
    uint64_t let_go_us;      /* the last hold ended */
};

struct ws_handlers {
    /* One whole message, valid during the call. The bytes of a text message are not checked for UTF-8. */
    void (*message)(struct ws_conn *c, bool binary, struct slice message);
    /* The conversation is over, whoever ended it: no message follows and nothing can be sent. Called once, and never
     * from within ws_frame_begin() or ws_frame_end(). */
    void (*ended)(struct ws_conn *c);
    /* The last call for c: its memory may go. */
    void (*release)(struct ws_conn *c);
};

struct ws_options {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    struct gather *gather; /* is told of each message; NULL: nobody is */
    struct client_limits *limits;
    uint32_t max_descriptors; /* that clients may take, those included that are not given to ws_adopt() */
    size_t max_buffered_bytes; /* unsent bytes of one connection before it is closed as too slow */
    uint64_t max_unread_us;    /* time for it to take 64 KiB of them */
    size_t
        max_held_bytes; /* unsent bytes and unfinished messages of all: beyond it slow ones and long ones are closed */
    struct ws_handlers handlers;
    /* The TCP socket of a client whose transport is not HANDLE_NONE, for asking the kernel about it; -1: it is gone. */
    int (*tcp)(void *ctx, handle_t transport);
    void *ctx;
};

/* The options are copied, what they point to is borrowed. NULL with a text for the operator when libwebsockets does not
 * start. */
struct ws_server *ws_server_new(const struct ws_options *o, struct err *e) MUST_CHECK;
/* Drops every connection, and runs the loop until libwebsockets has closed its handles. Not from a callback. */
void ws_server_free(struct ws_server *ws);

/* Takes the socket fd (also on failure) and answers 101 with the Sec-WebSocket-Accept of key, and with subprotocol (a
 * token) unless that is NULL. c lives until
 * release(); on failure no handler is called and c is the caller's again. BG_ESYS, BG_EINVAL. */
int ws_adopt(struct ws_server *ws, struct ws_conn *c, int fd, struct slice key, const char *subprotocol) MUST_CHECK;

/* The buffer that takes the payload of the next frame, or NULL when nothing can be sent any more. One frame at a
 * time: end or cancel it before anything else happens to the connection. */
struct buf *ws_frame_begin(struct ws_conn *c);
/* The buffer of the frame that is open. */
struct buf *ws_frame_buf(struct ws_conn *c);
void ws_frame_end(struct ws_conn *c, enum ws_opcode op);
void ws_frame_cancel(struct ws_conn *c);
/* Sends what is queued, then a close frame with code and no text, then FIN; calls ended() before it returns. */
void ws_close(struct ws_conn *c, enum ws_close_code code);
/* Writes out what the connections hold, one call each. Called once per loop turn, before it waits. */
void ws_flush(struct ws_server *ws);
/* Closes up to max connections that are still open with code. Returns how many that were. */
uint32_t ws_close_some(struct ws_server *ws, uint32_t max, enum ws_close_code code);
/* Calls fn for up to max connections that came after the one with this id (0: from the first), oldest first, each with its
 * socket and the bytes that it has not taken yet; fn must change nothing. For diagnostics. */
typedef void ws_seen_fn(void *ctx, const struct ws_conn *c, int fd, size_t unsent_bytes);
void ws_each_after(const struct ws_server *ws, uint32_t after, uint32_t max, ws_seen_fn *fn, void *ctx);
/* Bytes of frames that the kernel has not taken yet. */
size_t ws_unsent(const struct ws_conn *c);
/* Connections that lws still holds, the closing ones included. */
uint32_t ws_count(const struct ws_server *ws);

#endif
