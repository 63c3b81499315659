/*
 * metrics.h: every counter and gauge of the process in one table. A counter that is not in the
 * table does not exist; docs/operations.md lists them by these names.
 */
#ifndef BEAMGATE_METRICS_H
#define BEAMGATE_METRICS_H

#include "base.h"

/* X(enum suffix, name, help) */
#define METRICS(X)                                                                                      \
    X(CLIENT_ACCEPTED, "client_accepted_total", "TCP connections accepted from clients")                \
    X(CLIENT_REFUSED, "client_refused_total", "connections refused because a limit was reached")        \
    X(CLIENT_ORIGIN_REFUSED, "client_origin_refused_total", "upgrades refused because of their Origin")  \
    X(ORIGIN_CALLS, "origin_calls_total", "functions of services asked about an Origin") \
    X(ORIGIN_FAILURES, "origin_failures_total", "functions asked about an Origin that gave no answer") \
    X(CLIENT_AUTH_REFUSED, "client_auth_refused_total", "upgrades refused because of who asks")           \
    X(CONNECT_CALLS, "connect_calls_total", "connect functions of services asked about a client") \
    X(CONNECT_FAILURES, "connect_failures_total", "connect functions that gave no answer") \
    X(KEY_FILE_FAILURES, "key_file_failures_total", "files with JWT keys that changed and could not be used") \
    X(PROXY_REFUSED, "proxy_refused_total", "connections refused on ports for proxies")                  \
    X(TLS_HANDSHAKES, "tls_handshakes_total", "TLS handshakes with clients done")                       \
    X(TLS_REFUSED, "tls_refused_total", "TLS handshakes with clients that failed")                       \
    X(TLS_CERTIFICATE_DAYS, "tls_certificate_days", "days until the first of our certificates ends")     \
    X(CLIENT_ADDRESSES, "client_addresses", "addresses of clients remembered now")                         \
    X(CLIENT_USERS, "client_users", "users with a socket now")                                             \
    X(LIMIT_CONNECTIONS, "limit_connections_total", "clients refused: too many connections")               \
    X(LIMIT_ADDRESS_CONNECTIONS, "limit_address_connections_total", "clients refused: too many of one address") \
    X(LIMIT_ADDRESS_CONNECTS, "limit_address_connects_total", "clients refused: one address connects too often") \
    X(LIMIT_CONNECTS, "limit_connects_total", "times accepting clients waited: too many a second")          \
    X(LIMIT_PENDING, "limit_pending_total", "clients dropped: too many have not sent their request yet")    \
    X(LIMIT_HANDSHAKE, "limit_handshake_total", "clients dropped: their request took too long")             \
    X(LIMIT_HEAD_BYTES, "limit_head_bytes_total", "requests refused: head too long")                        \
    X(LIMIT_HEADERS, "limit_headers_total", "requests refused: too many headers")                           \
    X(LIMIT_USER_CONNECTIONS, "limit_user_connections_total", "upgrades refused: too many sockets of one user") \
    X(LIMIT_MESSAGES, "limit_messages_total", "times a client was not read from: too many messages")        \
    X(LIMIT_BYTES, "limit_bytes_total", "times a client was not read from: too many bytes")                 \
    X(LIMIT_FLOOD, "limit_flood_total", "sockets closed: too many messages or bytes for too long")          \
    X(LIMIT_JOINS, "limit_joins_total", "joins refused: too many a second")                                 \
    X(LIMIT_CHANNELS, "limit_channels_total", "joins refused: too many topics on the socket")               \
    X(LIMIT_TOPIC_BYTES, "limit_topic_bytes_total", "joins refused: topic or ref too long")                 \
    X(LIMIT_MESSAGE_BYTES, "limit_message_bytes_total", "sockets closed: message too long")                 \
    X(LIMIT_DEPTH, "limit_depth_total", "sockets closed: message nested too deep")                          \
    X(LIMIT_KEYS, "limit_keys_total", "sockets closed: object with too many keys")                          \
    X(LIMIT_IDLE, "limit_idle_total", "sockets closed: silent for too long")                                \
    X(LIMIT_IN_FLIGHT, "limit_in_flight_total", "requests refused: too many of all clients") \
    X(LIMIT_CHANNEL_IN_FLIGHT, "limit_channel_in_flight_total", "requests refused: too many of one channel") \
    X(LIMIT_SOCKET_IN_FLIGHT, "limit_socket_in_flight_total", "requests refused: too many of one socket")   \
    X(LIMIT_USER_IN_FLIGHT, "limit_user_in_flight_total", "requests refused: too many of one user")         \
    X(LIMIT_BUFFERED, "limit_buffered_total", "sockets closed: too many bytes unsent")                      \
    X(LIMIT_UNREAD, "limit_unread_total", "sockets closed: the client read too little for too long")        \
    X(HTTP_REQUESTS, "http_requests_total", "HTTP requests read, upgrades included")                    \
    X(CLIENT_CONNECTED, "client_connected", "WebSocket connections open now")                           \
    X(CLIENT_FRAMES_IN, "client_frames_in_total", "messages received from clients")                     \
    X(CLIENT_FRAMES_OUT, "client_frames_out_total", "messages sent to clients")                         \
    X(CLIENT_BYTES_IN, "client_bytes_in_total", "payload bytes received from clients")                  \
    X(CLIENT_BYTES_OUT, "client_bytes_out_total", "bytes sent to clients")                              \
    X(CLIENT_BAD_FRAMES, "client_bad_frames_total", "messages that closed a socket (P-070)")            \
    X(CLIENT_BUFFERED_BYTES, "client_buffered_bytes", "unsent bytes and unfinished messages held now")  \
    X(CLIENT_SLOW_CLOSED, "client_slow_closed_total", "sockets closed because they did not read")       \
    X(CLIENT_IDLE_CLOSED, "client_idle_closed_total", "sockets closed by the idle timeout")             \
    X(CHANNEL_JOINED, "channel_joined", "channels joined now")                                          \
    X(CHANNEL_JOINS, "channel_joins_total", "joins accepted")                                           \
    X(CHANNEL_JOIN_ERRORS, "channel_join_errors_total", "joins refused")                                \
    X(JOIN_CALLS, "join_calls_total", "join functions of services asked about a topic") \
    X(JOIN_FAILURES, "join_failures_total", "join functions that gave no answer") \
    X(CHANNEL_UNKNOWN_MESSAGES, "channel_unknown_messages_total", "messages to channels that mean nothing") \
    X(REQUESTS, "requests_total", "requests accepted into the pipeline")                                \
    X(REQUESTS_IN_FLIGHT, "requests_in_flight", "requests waiting for their answer now")                \
    X(REQUESTS_OK, "requests_ok_total", "requests answered with success true")                          \
    X(REQUESTS_ERROR, "requests_error_total", "requests answered with success false")                   \
    X(REQUESTS_DROPPED, "requests_dropped_total", "requests whose client left before the answer")       \
    X(REQUESTS_REFUSED, "requests_refused_total", "requests refused because a limit was reached")       \
    X(REQUESTS_RATE_LIMITED, "requests_rate_limited_total", "requests refused by a rate limit")         \
    X(REQUESTS_RATE_DRY_RUN, "requests_rate_dry_run_total", "requests that a dry-run rate limit would have refused") \
    X(RATE_LIMIT_VALUES, "rate_limit_values", "values that rate limits count now")                      \
    X(RATE_LIMIT_EVICTED, "rate_limit_evicted_total", "values forgotten before their window was over, for want of room") \
    X(RATE_LIMIT_FAILURES, "rate_limit_failures_total", "times a rate limit could not count a request") \
    X(CALLS, "calls_total", "remote calls sent")                                                        \
    X(CALLS_TIMEOUT, "calls_timeout_total", "remote calls that timed out")                              \
    X(CALLS_NODEDOWN, "calls_nodedown_total", "remote calls that failed because the node was down")     \
    X(CALLS_EXIT, "calls_exit_total", "remote calls whose function raised or exited")                   \
    X(CALLS_FALLOVER, "calls_fallover_total", "calls repeated on another node")                         \
    X(CALLS_RETRIED, "calls_retried_total", "rounds of calls begun again by a config's retry")                \
    X(BREAKERS_OPENED, "breakers_opened_total", "times a circuit breaker opened for a service on a node")   \
    X(BREAKERS_OPEN, "breakers_open", "circuit breakers that pass a node over now")                         \
    X(CALLS_STALE, "calls_stale_total", "answers that arrived after their call had ended")              \
    X(LINKS_UP, "links_up", "distribution links up now")                                                \
    X(LINK_UPS, "link_ups_total", "distribution links established")                                     \
    X(LINK_DOWNS, "link_downs_total", "distribution links lost")                                        \
    X(LINK_HANDSHAKES_REFUSED, "link_handshakes_refused_total", "distribution handshakes that failed")  \
    X(LINK_PACKETS_IN, "link_packets_in_total", "distribution packets received")                        \
    X(LINK_PACKETS_OUT, "link_packets_out_total", "distribution packets sent")                          \
    X(LINK_BYTES_IN, "link_bytes_in_total", "distribution bytes received")                              \
    X(LINK_BYTES_OUT, "link_bytes_out_total", "distribution bytes sent")                                \
    X(LINK_MALFORMED, "link_malformed_total", "distribution packets that could not be read")            \
    X(LINK_UNKNOWN_CONTROL, "link_unknown_control_total", "control messages that are not understood")   \
    X(LINK_UNKNOWN_NAME, "link_unknown_name_total", "messages for a name or pid that does not exist")   \
    X(RPC_IN, "rpc_in_total", "calls received from other nodes")                                        \
    X(RPC_IN_UNDEF, "rpc_in_undef_total", "calls received for a function that does not exist here")     \
    X(EPMD_REGISTRATIONS, "epmd_registrations_total", "times the node name was registered")             \
    X(PULL_ROUNDS, "pull_rounds_total", "pulls of one service begun")                                   \
    X(PULL_FAILURES, "pull_failures_total", "pulls of one service that failed")                         \
    X(PUSHES, "pushes_total", "pushes of a service's functions accepted")                               \
    X(PUSHES_SKIPPED, "pushes_skipped_total", "pushes of a version that is here already")               \
    X(PUSHES_REFUSED, "pushes_refused_total", "pushes refused")                                         \
    X(TRACES, "traces", "traces of requests on now")                                                    \
    X(TRACE_MESSAGES, "trace_messages_total", "messages about traced requests")                         \
    X(TRACE_DROPPED, "trace_dropped_total", "such messages dropped because they were too many")         \
    X(TELEMETRY_HANDLERS, "telemetry_handlers", "handlers of telemetry events attached now")            \
    X(TELEMETRY_EVENTS, "telemetry_events_total", "telemetry events sent to a handler")                 \
    X(TELEMETRY_DROPPED, "telemetry_dropped_total", "telemetry events dropped because they were too many") \
    X(CONFIGS, "configs", "functions known now")                                                        \
    X(CONFIGS_FAILED, "configs_failed_total", "FunConfigs refused")

enum metric {
#define X(id, name, help) METRIC_##id,
    METRICS(X)
#undef X
        METRIC_COUNT
};

struct metrics {
    uint64_t value[METRIC_COUNT];
};

extern const char *const metric_name[METRIC_COUNT];
extern const char *const metric_help[METRIC_COUNT];

/* A gauge is set in value[] itself, or counted up and down; what is named _total only grows. */
static inline void metric_add(struct metrics *m, enum metric which, uint64_t n)
{
    m->value[which] += n;
}

static inline void metric_inc(struct metrics *m, enum metric which)
{
    m->value[which]++;
}

static inline void metric_dec(struct metrics *m, enum metric which)
{
    m->value[which]--;
}

#endif
