/*
 * limit.h: the one table of what a client may cost: every limit with its option, its counter and what happens at it.
 * Whoever finds a limit reached asks limit_refuse(), which counts, logs and says whether to act; so all limits have a
 * counter, a log line and a dry run, and nobody decides for himself. docs/operations.md has a row for each
 * (test_limit checks it).
 */
#ifndef BEAMGATE_LIMIT_H
#define BEAMGATE_LIMIT_H

#include "log.h"
#include "metrics.h"
#include "token_bucket.h"

/* X(id and counter, option, default, what happens). A default of 0: the value is kept by whoever enforces it. In a dry
 * run the largest value that the option may have holds instead. */
#define LIMIT_ROWS(X) \
    X(CONNECTIONS, "limits.max_connections", 50000, "503") \
    X(ADDRESS_CONNECTIONS, "limits.max_connections_per_address", 1000, "429") \
    X(ADDRESS_CONNECTS, "limits.connects_per_s_per_address", 100, "429") \
    X(CONNECTS, "limits.connects_per_s", 5000, "accepting waits") \
    X(PENDING, "listen.max_pending", 4096, "the oldest is dropped") \
    X(HANDSHAKE, "listen.handshake_timeout_ms", 10000, "dropped") \
    X(HEAD_BYTES, "listen.max_head_bytes", 16384, "431") \
    X(HEADERS, "listen.max_headers", 100, "431") \
    X(USER_CONNECTIONS, "limits.max_connections_per_user", 100, "429") \
    X(MESSAGES, "limits.messages_per_s", 500, "delayed") \
    X(BYTES, "limits.bytes_per_s", 4194304, "delayed") \
    X(FLOOD, "limits.flood_ms", 10000, "closed with 1008") \
    X(JOINS, "limits.joins_per_s", 100, "join refused") \
    X(CHANNELS, "sockets[].max_channels", 0, "join refused") \
    X(TOPIC_BYTES, "sockets[].max_topic_bytes", 0, "join refused") \
    X(MESSAGE_BYTES, "sockets[].max_frame_bytes", 0, "closed with 1009") \
    X(DEPTH, "requests.max_depth", 0, "closed with 1011") \
    X(KEYS, "requests.max_keys", 0, "closed with 1011") \
    X(IDLE, "sockets[].timeout_ms", 0, "closed with 1002") \
    X(IN_FLIGHT, "requests.max_in_flight", 0, "request refused") \
    X(CHANNEL_IN_FLIGHT, "requests.max_in_flight_per_channel", 0, "request refused") \
    X(SOCKET_IN_FLIGHT, "requests.max_in_flight_per_socket", 1000, "request refused") \
    X(USER_IN_FLIGHT, "requests.max_in_flight_per_user", 2000, "request refused") \
    X(BUFFERED, "limits.max_buffered_bytes", 0, "closed with 1008") \
    X(UNREAD, "limits.max_unread_ms", 0, "closed with 1008")

enum limit {
#define X(id, option, value, answer) LIMIT_##id,
    LIMIT_ROWS(X)
#undef X
        LIMIT_COUNT
};

struct limit_row {
    const char *option;
    uint32_t fallback;
    enum metric counter;
    const char *answer;
};
extern const struct limit_row limit_rows[LIMIT_COUNT];

/* Held by the server, read by all who enforce: a changed value counts from the next time that it is looked at. */
struct client_limits {
    struct metrics *metrics;
    uint32_t value[LIMIT_COUNT];         /* 0 where somebody else keeps it */
    struct token_rate rate[LIMIT_COUNT]; /* of those that are rates: limit_ready() */
    bool dry_run[LIMIT_COUNT];
    struct log_limit log[LIMIT_COUNT];
};

/* In place of LIMIT_HANDSHAKE in a dry run, for who has gone beyond it: the longest that can be configured. */
#define LIMIT_HANDSHAKE_DRY_US UINT64_C(600000000)

/* Seconds' worth of a rate that may come at once. */
enum { LIMIT_BURST_S = 2, LIMIT_ADDRESS_BURST_S = 5 };

/* Every limit at its default, no dry run. metrics is borrowed. */
void limit_init(struct client_limits *l, struct metrics *m);
/* After a change of value: makes the rates of them. */
void limit_ready(struct client_limits *l);
/* The limit that an option's name, as written above, or its last part, stands for; LIMIT_COUNT: none. */
enum limit limit_by_option(struct slice option);
/* A limit is reached, by the connection conn (0: none yet) of the client peer (an address; may be empty). Counts and
 * logs it. True: do what the table says; false in a dry run: let it be. */
bool limit_refuse(struct client_limits *l, enum limit which, uint32_t conn, struct slice peer) MUST_CHECK;

#endif
