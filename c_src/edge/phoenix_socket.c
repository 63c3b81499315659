/*
 * phoenix_socket.c: see phoenix_socket.h.
 *
 * Invariants: a topic is joined at most once per socket. A channel is in its socket's list, has a live process, and is
 * found by its process handle, all three or none; channel_end() is the only way out, so nobody holds a pointer to a
 * channel that has ended: the gateway and the cluster have handles, and a stale handle finds nothing.
 *
 * The path of a message allocates nothing: the frame is slices of the bytes that lws read, answers are written into the
 * connection's out buffer. Names are kept and compared as raw JSON text, so that they go back as they came (P-025).
 *
 * It does not decide about requests (gateway_request) nor about who the user is (authenticate.c).
 */
#include "phoenix_socket.h"

#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "process_state.h"
#include "request_decode.h"
#include "term.h"

struct phoenix_socket {
    struct ws_conn ws;
    struct phoenix *px;
    const struct socket_config *config;
    handle_t process; /* stands for the client: whoever ends it closes the connection */
    struct channel *channels;
    uint32_t channels_count;
    struct gate_address *at;
    struct gate_user *user; /* NULL: nobody in particular */
    struct token_bucket joins;
    struct request_quota in_flight;
    uint32_t messages; /* from the client */
    uint8_t serializer;
    uint8_t ip_len;
    uint16_t user_len;
    uint16_t roles_len;
    uint16_t device_len;
    char text[]; /* user id, ip address, roles, device id */
};

struct channel {
    handle_t process;
    struct phoenix_socket *socket;
    struct channel *next;
    const struct channel_config *config;
    struct request_list waiting;
    uint32_t topic_len;
    uint32_t join_ref_len;
    uint32_t messages; /* from the client */
    /* Joined with join_ref null (P-052): join_ref holds the ref of the join, which pushes carry; the close
     * events carry null; any join_ref matches. */
    bool null_join_ref;
    char text[]; /* topic, join_ref: raw JSON */
};

enum channel_exit { EXIT_LEFT, EXIT_DUPLICATE, EXIT_TRANSPORT, EXIT_CLOSED, EXIT_CRASHED };

/* What links and monitors of the channel's process see, as the library's channels end (terms without version byte). */
#define SHUTDOWN_TERM(atom_len, atom) "\x68\x02\x77\x08shutdown\x77" atom_len atom
static const struct slice exit_reasons[] = {
    [EXIT_LEFT] = SLICE_LIT(SHUTDOWN_TERM("\x04", "left")),
    [EXIT_DUPLICATE] = SLICE_LIT(SHUTDOWN_TERM("\x0e", "duplicate_join")),
    [EXIT_TRANSPORT] = SLICE_LIT(SHUTDOWN_TERM("\x06", "closed")),
    [EXIT_CLOSED] = SLICE_LIT("\x77\x08shutdown"),
    [EXIT_CRASHED] = SLICE_LIT("\x77\x0d"
                               "channel_crash"),
};

static const struct slice json_null = SLICE_LIT("null");
static const struct slice json_empty = SLICE_LIT("{}");

/* What holds in a dry run of requests.max_depth and max_keys: the largest values that can be configured. */
enum { IP_MAX = 64, DEPTH_CEILING = 256, KEYS_CEILING = 1000000 };

/* --- frames out --------------------------------------------------------------------------------------------------- */

static enum serializer serializer_of(const struct phoenix_socket *s)
{
    return (enum serializer)s->serializer;
}

static struct slice channel_topic(const struct channel *ch)
{
    return slice_make(ch->text, ch->topic_len);
}

/* As pushes and replies carry it. */
static struct slice channel_join_ref(const struct channel *ch)
{
    return slice_make(ch->text + ch->topic_len, ch->join_ref_len);
}

static void send_reply(struct phoenix_socket *s, struct slice join_ref, struct slice ref, struct slice topic,
                       const char *status, struct slice response)
{
    struct buf *out = ws_frame_begin(&s->ws);
    if (!out)
        return;
    frame_put_reply(out, serializer_of(s), join_ref, ref, topic, status, response);
    ws_frame_end(&s->ws, WS_TEXT);
}

static void send_error(struct phoenix_socket *s, struct slice join_ref, const struct channel_frame *f,
                       struct slice response)
{
    send_reply(s, join_ref, f->ref, f->topic, "error", response);
}

/* phx_close and phx_error carry the join_ref in both places (P-060, P-063), null after a join without one. */
static void send_end(struct channel *ch, struct slice event, struct slice payload)
{
    struct phoenix_socket *s = ch->socket;
    struct slice ref = ch->null_join_ref ? json_null : channel_join_ref(ch);
    struct buf *out = ws_frame_begin(&s->ws);
    if (!out)
        return;
    frame_put_push_head(out, serializer_of(s), ref, ref, channel_topic(ch), event);
    buf_add_slice(out, payload);
    frame_put_push_tail(out, serializer_of(s), channel_topic(ch));
    ws_frame_end(&s->ws, WS_TEXT);
}

/* --- channels ----------------------------------------------------------------------------------------------------- */

static struct channel *channel_find(const struct phoenix_socket *s, struct slice topic)
{
    for (struct channel *ch = s->channels; ch; ch = ch->next) {
        if (slice_eq(channel_topic(ch), topic))
            return ch;
    }
    return NULL;
}

static void channel_unlink(struct channel *ch)
{
    struct phoenix_socket *s = ch->socket;
    struct channel **at = &s->channels;
    while (*at != ch)
        at = &(*at)->next;
    *at = ch->next;
    s->channels_count--;
    metric_dec(s->px->metrics, METRIC_CHANNEL_JOINED);
}

/* The end of a channel, whatever the cause. reason: an encoded term for whoever watches its process. */
static void channel_end_with(struct channel *ch, enum channel_exit how, struct slice reason)
{
    struct phoenix *px = ch->socket->px;
    channel_unlink(ch);
    if (px->gateway)
        gateway_channel_closed(px->gateway, &ch->waiting);
    if (how == EXIT_CRASHED)
        send_end(ch, SLICE_LIT("phx_error"), SLICE_LIT("{\"reason\":\"channel_crash\"}"));
    else if (how != EXIT_TRANSPORT)
        send_end(ch, SLICE_LIT("phx_close"), json_empty);
    process_end(px->processes, ch->process, reason);
    free(ch);
}

static void channel_end(struct channel *ch, enum channel_exit how)
{
    channel_end_with(ch, how, exit_reasons[how]);
}

/* P-063: normal, shutdown and {shutdown, _} close a channel, any other reason is an error. */
static bool reason_is_orderly(struct slice reason)
{
    struct term_reader r = term_reader(reason);
    uint32_t arity;
    if (term_is_atom(reason, "normal") || term_is_atom(reason, "shutdown"))
        return true;
    return term_read_tagged(&r, "shutdown", &arity) == BG_OK && arity == 2;
}

static void channel_on_exit(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    struct channel *ch = owner;
    (void)self;
    (void)from_pid;
    channel_end_with(ch, !kill && reason_is_orderly(reason) ? EXIT_CLOSED : EXIT_CRASHED, reason);
}

static void channel_on_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct channel *ch = owner;
    (void)self;
    (void)from;
    (void)msg;
    metric_inc(ch->socket->px->metrics, METRIC_CHANNEL_UNKNOWN_MESSAGES);
}

/* --- what people see of them --------------------------------------------------------------------------------------- */

static struct slice user_of(const struct phoenix_socket *s)
{
    return slice_make(s->text, s->user_len);
}

static struct slice ip_of(const struct phoenix_socket *s)
{
    return slice_make(s->text + s->user_len, s->ip_len);
}

/* A topic without its quotes; escapes stay as they are. */
static struct slice topic_text(const struct channel *ch)
{
    struct slice t = channel_topic(ch);
    return t.len >= 2 ? slice_make(t.ptr + 1, t.len - 2) : t;
}

static void about_user(const struct phoenix_socket *s, struct process_row *row)
{
    if (!s->user_len)
        return;
    process_row_about(row, SLICE_LIT(" user "));
    process_row_about(row, user_of(s));
}

static void channel_row(void *owner, handle_t self, struct process_row *row)
{
    const struct channel *ch = owner;
    (void)self;
    row->parent = ch->socket->process;
    row->group = slice_str(ch->config->topic);
    row->waiting = ch->waiting.count;
    row->work = ch->messages;
    row->bytes = sizeof(*ch) + ch->topic_len + ch->join_ref_len;
    process_row_about(row, topic_text(ch));
    about_user(ch->socket, row);
}

/* What is the client's, for its socket and for each of its channels. */
static void client_state(const struct phoenix_socket *s, struct process_state *st)
{
    process_state_text(st, "user_id", s->user_len ? user_of(s) : SLICE_NONE);
    process_state_text(st, "address", ip_of(s));
    process_state_text(st, "socket_path", slice_str(s->config->path));
    process_state_uint(st, "connection", s->ws.id);
    process_state_uint(st, "unsent_bytes", ws_unsent(&s->ws));
}

static void channel_state(void *owner, handle_t self, struct process_state *st)
{
    const struct channel *ch = owner;
    (void)self;
    process_state_text(st, "topic", topic_text(ch));
    process_state_text(st, "event", slice_str(ch->config->event));
    process_state_text(st, "topic_pattern", slice_str(ch->config->topic));
    process_state_uint(st, "client_messages", ch->messages);
    process_state_uint(st, "requests_waiting", ch->waiting.count);
    process_state_pid(st, "socket", ch->socket->process);
    client_state(ch->socket, st);
}

/* Of a slow reader it shows as its queue what is not yet sent (D-21), in bytes: frames are not counted. */
static void socket_row(void *owner, handle_t self, struct process_row *row)
{
    const struct phoenix_socket *s = owner;
    size_t unsent = ws_unsent(&s->ws);
    (void)self;
    row->group = slice_str(s->config->path);
    row->waiting = unsent < UINT32_MAX ? (uint32_t)unsent : UINT32_MAX;
    row->work = s->messages;
    row->bytes = sizeof(*s) + s->user_len + s->ip_len + s->roles_len + unsent;
    process_row_about(row, ip_of(s));
    about_user(s, row);
}

static void socket_state(void *owner, handle_t self, struct process_state *st)
{
    const struct phoenix_socket *s = owner;
    (void)self;
    client_state(s, st);
    process_state_text(st, "serializer", s->serializer == SERIALIZER_V1 ? SLICE_LIT("1.0.0") : SLICE_LIT("2.0.0"));
    process_state_uint(st, "client_messages", s->messages);
    process_state_uint(st, "channels", s->channels_count);
    process_state_uint(st, "idle_timeout_ms", s->config->timeout_ms);
}

static const struct process_ops channel_ops = {
    .kind = "channel",
    .message = channel_on_message,
    .exit = channel_on_exit,
    .row = channel_row,
    .state = channel_state,
};

/* Whoever ends the socket's process closes the client's connection: as an error when it is killed, else as going away.
 * Its channels end with it, in on_ended(). */
static void socket_on_exit(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    struct phoenix_socket *s = owner;
    (void)self;
    (void)from_pid;
    if (!kill && term_is_atom(reason, "normal"))
        return;
    log_info("edge", "client closed by an exit signal", "conn=%u kill=%d", s->ws.id, kill);
    ws_close(&s->ws, kill ? WS_CLOSE_SERVER_ERROR : WS_CLOSE_GOING_AWAY);
}

static void socket_on_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct phoenix_socket *s = owner;
    (void)self;
    (void)from;
    (void)msg;
    metric_inc(s->px->metrics, METRIC_CHANNEL_UNKNOWN_MESSAGES);
}

static const struct process_ops socket_ops = {
    .kind = "socket",
    .message = socket_on_message,
    .exit = socket_on_exit,
    .row = socket_row,
    .state = socket_state,
};

/* NULL when the channel has ended, also when another process has its place now. */
static struct channel *channel_by_handle(const struct phoenix *px, handle_t h)
{
    return process_ops(px->processes, h) == &channel_ops ? process_owner(px->processes, h) : NULL;
}

/* P-050: exact, or a prefix with * at its end; the first that is declared wins. topic: a raw JSON value. */
static const struct channel_config *config_for(const struct socket_config *config, struct slice topic)
{
    if (json_kind(topic) != JSON_STRING)
        return NULL;
    struct slice text = slice_make(topic.ptr + 1, topic.len - 2);
    for (uint32_t i = 0; i < config->channels_count; i++) {
        struct slice pattern = slice_str(config->channels[i].topic);
        bool prefix = pattern.len && pattern.ptr[pattern.len - 1] == '*';
        if (prefix ? text.len >= pattern.len - 1 && memcmp(text.ptr, pattern.ptr, pattern.len - 1) == 0
                   : slice_eq(text, pattern))
            return &config->channels[i];
    }
    return NULL;
}

/* A channel with its process, not yet in its socket. NULL when memory or the process table is exhausted. */
static struct channel *channel_new(struct phoenix_socket *s, const struct channel_config *config,
                                   const struct channel_frame *f)
{
    bool null_ref = json_kind(f->join_ref) == JSON_NULL;
    struct slice join_ref = null_ref ? f->ref : f->join_ref;
    struct channel *ch = malloc(sizeof(*ch) + f->topic.len + join_ref.len);
    if (!ch)
        return NULL;
    *ch = (struct channel){.socket = s,
                           .config = config,
                           .topic_len = (uint32_t)f->topic.len,
                           .join_ref_len = (uint32_t)join_ref.len,
                           .null_join_ref = null_ref};
    memcpy(ch->text, f->topic.ptr, f->topic.len);
    memcpy(ch->text + f->topic.len, join_ref.ptr, join_ref.len);
    request_list_init(&ch->waiting);
    ch->waiting.quota[0] = &s->in_flight;
    ch->waiting.quota[1] = s->user ? &s->user->in_flight : NULL;
    ch->process = process_start(s->px->processes, &channel_ops, ch);
    if (ch->process == HANDLE_NONE) {
        free(ch);
        return NULL;
    }
    return ch;
}

/* --- events in ---------------------------------------------------------------------------------------------------- */

static const struct slice unmatched_topic = SLICE_LIT("{\"reason\":\"unmatched topic\"}");

/* P-055, P-056, and P-052's want: null matches on either side. */
static bool join_ref_matches(const struct channel *ch, struct slice join_ref)
{
    return ch->null_join_ref || slice_eq(join_ref, channel_join_ref(ch)) || json_kind(join_ref) == JSON_NULL;
}

static bool refused(const struct phoenix_socket *s, enum limit which)
{
    return limit_refuse(s->px->limits, which, s->ws.id, slice_make(s->text + s->user_len, s->ip_len));
}

static bool is_too_long(const struct phoenix_socket *s, size_t len, size_t most)
{
    return len > most && refused(s, LIMIT_TOPIC_BYTES);
}

static bool joins_too_often(struct phoenix_socket *s)
{
    return !token_bucket_try(&s->joins, &s->px->limits->rate[LIMIT_JOINS], s->px->timers->now_us) &&
           refused(s, LIMIT_JOINS);
}

/* Why a join cannot be; SLICE_NONE when it can. *join_ref is what the refusal carries. */
static struct slice join_refusal(struct phoenix_socket *s, const struct channel_frame *f,
                                 const struct channel_config *config, bool again, struct slice *join_ref)
{
    const size_t quotes = 2;
    *join_ref = f->join_ref;
    if (joins_too_often(s))
        return SLICE_LIT("{\"reason\":\"too many joins\"}");
    if (is_too_long(s, f->topic.len, s->config->max_topic_bytes + quotes))
        return SLICE_LIT("{\"reason\":\"topic too long\"}");
    if (is_too_long(s, f->join_ref.len, s->config->max_topic_bytes) ||
        is_too_long(s, f->ref.len, s->config->max_topic_bytes))
        return SLICE_LIT("{\"reason\":\"join_ref too long\"}");
    if (!config) {
        *join_ref = json_null; /* P-049 */
        return unmatched_topic;
    }
    if (!again && s->channels_count >= s->config->max_channels && refused(s, LIMIT_CHANNELS))
        return SLICE_LIT("{\"reason\":\"too many channels joined\"}");
    return SLICE_NONE;
}

/* P-045..P-052. ch: the channel that has the topic already; it ends after the new one's reply (P-051). */
static void on_join(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f)
{
    const struct channel_config *config = config_for(s->config, f->topic);
    struct slice join_ref;
    struct slice refusal = join_refusal(s, f, config, ch != NULL, &join_ref);
    struct channel *joined = refusal.ptr ? NULL : channel_new(s, config, f);
    if (!joined) {
        metric_inc(s->px->metrics, METRIC_CHANNEL_JOIN_ERRORS);
        send_error(s, join_ref, f, refusal.ptr ? refusal : SLICE_LIT("{\"reason\":\"gateway is full\"}"));
        return;
    }
    metric_inc(s->px->metrics, METRIC_CHANNEL_JOINS);
    metric_inc(s->px->metrics, METRIC_CHANNEL_JOINED);
    joined->next = s->channels;
    s->channels = joined;
    s->channels_count++;
    send_reply(s, f->join_ref, f->ref, f->topic, "ok", json_empty);
    if (ch)
        channel_end(ch, EXIT_DUPLICATE);
}

/* P-060..P-062. */
static void on_leave(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f)
{
    if (!ch) {
        send_reply(s, f->join_ref, f->ref, f->topic, "ok", json_empty);
        return;
    }
    if (!join_ref_matches(ch, f->join_ref))
        return;
    send_reply(s, channel_join_ref(ch), f->ref, f->topic, "ok", json_empty);
    channel_end(ch, EXIT_LEFT);
}

/* Who is behind the socket, until the next call of this function. */
static const struct session *session_of(const struct phoenix_socket *s)
{
    const char *role = s->text + s->user_len + s->ip_len, *end = role + s->roles_len;
    uint32_t n = 0;
    for (; role < end; role += s->px->roles[n++].len + 1)
        s->px->roles[n] = slice_str(role);
    s->px->session = (struct session){
        .user_id = slice_make(s->text, s->user_len),
        .roles = s->px->roles,
        .roles_count = n,
        .ip_address = slice_make(s->text + s->user_len, s->ip_len),
        .device_id = slice_make(end, s->device_len),
    };
    return &s->px->session;
}

static void request(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f)
{
    if (!s->px->gateway) {
        send_reply(s, channel_join_ref(ch), f->ref, f->topic, "error",
                   SLICE_LIT("\"Service temporarily unavailable\""));
        return;
    }
    const struct session *who = session_of(s);
    s->px->session.topic = channel_topic(ch);
    gateway_request(s->px->gateway, ch->process, &ch->waiting, who, &ch->config->rules, f->ref,
                    f->binary ? SLICE_NONE : f->payload);
}

/* Beyond the library (E-152 want): the event EVENT:stop with {"request_id": id} ends a stream of this channel; its last
 * chunk comes before the reply. */
static void stop_stream(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f)
{
    struct request_fields fields = {0};
    if (!f->binary && json_kind(f->payload) == JSON_OBJECT)
        request_fields_read(f->payload, &fields);
    bool stopped = fields.request_id.ptr && gateway_stream_stop(&ch->waiting, fields.request_id);
    send_reply(s, channel_join_ref(ch), f->ref, f->topic, stopped ? "ok" : "error",
               stopped ? json_empty : SLICE_LIT("{\"reason\":\"no such stream\"}"));
}

/* True when the event is the channel's, followed by suffix. */
static bool is_own_event(const struct channel *ch, struct slice raw, const char *suffix)
{
    char name[256];
    int n = snprintf(name, sizeof(name), "%s%s", ch->config->event, suffix);
    return json_kind(raw) == JSON_STRING && n > 0 && (size_t)n < sizeof(name) &&
           json_string_is(raw, slice_make(name, (size_t)n));
}

/* Any other event: the channel's own, or one that it has no clause for, which ends it (P-057). */
static void on_event(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f)
{
    if (!ch) {
        send_error(s, json_null, f, unmatched_topic);
        return;
    }
    if (!join_ref_matches(ch, f->join_ref))
        return;
    ch->messages++;
    if (json_kind(f->event) == JSON_STRING && json_string_is(f->event, slice_str(ch->config->event))) {
        request(s, ch, f);
        return;
    }
    if (is_own_event(ch, f->event, ":stop")) {
        stop_stream(s, ch, f);
        return;
    }
    log_limited(LOG_DEBUG, "edge", "event without a clause, channel ends", "conn=%u topic=%s event=%s", s->ws.id,
                log_text(f->topic), log_text(f->event));
    channel_end(ch, EXIT_CRASHED);
}

static const struct {
    struct slice event;
    void (*fn)(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f);
} protocol_events[] = {
    {SLICE_LIT("phx_join"), on_join},
    {SLICE_LIT("phx_leave"), on_leave},
};

static void dispatch(struct phoenix_socket *s, const struct channel_frame *f)
{
    struct channel *ch = channel_find(s, f->topic);
    for (size_t i = 0; i < ARRAY_SIZE(protocol_events); i++) {
        if (json_kind(f->event) == JSON_STRING && json_string_is(f->event, protocol_events[i].event)) {
            protocol_events[i].fn(s, ch, f);
            return;
        }
    }
    on_event(s, ch, f);
}

/* P-040: join_ref null in the answer, whatever was sent. */
static bool is_heartbeat(const struct channel_frame *f)
{
    return slice_is(f->topic, "\"phoenix\"") && slice_is(f->event, "\"heartbeat\"");
}

/* --- names -------------------------------------------------------------------------------------------------------- */

/* Appends a name as the JSON string it stands for, and points the slice there. The room is reserved: earlier slices
 * into scratch must stay where they are. */
static void quote_name(struct buf *scratch, struct slice *name)
{
    size_t start = scratch->len;
    const uint8_t *base = scratch->data;
    json_put_text(scratch, *name);
    assert_always(scratch->data == base);
    *name = slice_make(scratch->data + start, scratch->len - start);
}

/* Brings the names into one form: raw JSON, and the topic without needless escapes, so that comparing bytes compares
 * topics. Only binary frames and topics with escapes need any work. */
static int normalize(struct phoenix *px, struct channel_frame *f)
{
    enum { QUOTED_MAX = 6 }; /* bytes that one byte becomes at worst: \u00XX */
    struct slice *const names[] = {&f->join_ref, &f->ref, &f->topic, &f->event};
    struct slice plain;
    size_t need = 0;
    buf_reset(&px->scratch);
    if (!f->binary && (json_kind(f->topic) != JSON_STRING || json_string_plain(f->topic, &plain)))
        return BG_OK;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        need += QUOTED_MAX * names[i]->len + 2;
    if (!buf_reserve(&px->scratch, 2 * need))
        return BG_ENOMEM;
    if (!f->binary) {
        json_string_text(f->topic, &px->scratch);
        f->topic = buf_slice(&px->scratch);
        quote_name(&px->scratch, &f->topic);
        return BG_OK;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        quote_name(&px->scratch, names[i]);
    return BG_OK;
}

/* --- the connection ----------------------------------------------------------------------------------------------- */

static struct phoenix_socket *socket_of(struct ws_conn *c)
{
    return container_of(c, struct phoenix_socket, ws);
}

/* P-070, P-071: 1007 when a text message is not UTF-8, else 1011. */
static void close_bad(struct phoenix_socket *s, bool binary, struct slice message, const struct err *e)
{
    bool utf8 = binary || utf8_valid_prefix(message.ptr, message.len) == message.len;
    metric_inc(s->px->metrics, METRIC_CLIENT_BAD_FRAMES);
    log_limited(LOG_INFO, "edge", "malformed message, closing", "conn=%u reason=%s at=%zu message=%s", s->ws.id,
                log_text(slice_str(e->text)), e->pos, log_text(message));
    ws_close(&s->ws, utf8 ? WS_CLOSE_SERVER_ERROR : WS_CLOSE_BAD_UTF8);
}

/* A message beyond requests.max_depth or max_keys, or not a message at all (rc). With the largest depth that can be
 * configured it is either well, and depth was what stopped it, or it has too many keys. */
static int parse_again(struct phoenix_socket *s, bool binary, struct slice message, struct channel_frame *f, struct err *e,
                       int rc)
{
    struct json_limits wide = *s->px->json;
    wide.max_depth = DEPTH_CEILING;
    enum limit which = LIMIT_DEPTH;
    if (channel_frame_parse(serializer_of(s), binary, message, &wide, f, e) == BG_ELIMIT) {
        which = LIMIT_KEYS;
        wide = *s->px->json;
        wide.max_keys = KEYS_CEILING;
    }
    return refused(s, which) ? rc : channel_frame_parse(serializer_of(s), binary, message, &wide, f, e);
}

static int parse(struct phoenix_socket *s, bool binary, struct slice message, struct channel_frame *f, struct err *e)
{
    int rc = channel_frame_parse(serializer_of(s), binary, message, s->px->json, f, e);
    return rc == BG_ELIMIT ? parse_again(s, binary, message, f, e, rc) : rc;
}

static void on_message(struct ws_conn *c, bool binary, struct slice message)
{
    struct phoenix_socket *s = socket_of(c);
    struct channel_frame f;
    struct err e = {.text = "no memory"};
    s->messages++;
    if (parse(s, binary, message, &f, &e) != BG_OK || normalize(s->px, &f) != BG_OK)
        close_bad(s, binary, message, &e);
    else if (is_heartbeat(&f))
        send_reply(s, json_null, f.ref, f.topic, "ok", json_empty);
    else
        dispatch(s, &f);
}

/* C-76: the transport is gone, its channels end. */
static void on_ended(struct ws_conn *c)
{
    struct phoenix_socket *s = socket_of(c);
    log_debug("edge", "client gone", "conn=%u channels=%u", c->id, s->channels_count);
    while (s->channels)
        channel_end(s->channels, EXIT_TRANSPORT);
    process_end(s->px->processes, s->process, exit_reasons[EXIT_TRANSPORT]);
    s->process = HANDLE_NONE;
}

void phoenix_socket_seat(struct ws_conn *c, struct client_source *from, struct gate_user *user)
{
    struct phoenix_socket *s = socket_of(c);
    s->at = from->at;
    s->user = user;
    from->at = NULL;
}

void phoenix_socket_free(struct ws_conn *c)
{
    struct phoenix_socket *s = socket_of(c);
    process_end(s->px->processes, s->process, exit_reasons[EXIT_TRANSPORT]); /* a socket that was never adopted */
    struct client_source from = {.at = s->at};
    gate_leave(s->px->gate, &from, s->px->timers->now_us);
    gate_user_leave(s->px->gate, s->user);
    free(s);
}

void phoenix_socket_show(const struct ws_conn *c, struct edge_client *to)
{
    const struct phoenix_socket *s = container_of(c, const struct phoenix_socket, ws);
    to->user_id = slice_make(s->text, s->user_len);
    to->ip_address = slice_make(s->text + s->user_len, s->ip_len);
    to->path = s->config->path;
    to->channels = s->channels_count;
}

handle_t phoenix_socket_process(const struct ws_conn *c)
{
    return container_of(c, const struct phoenix_socket, ws)->process;
}

struct ws_handlers phoenix_handlers(void)
{
    return (struct ws_handlers){.message = on_message, .ended = on_ended, .release = phoenix_socket_free};
}

/* Appends to the socket's text. */
static char *put_text(char *at, struct slice part)
{
    if (part.len)
        memcpy(at, part.ptr, part.len);
    return at + part.len;
}

struct ws_conn *phoenix_socket_new(struct phoenix *px, const struct socket_config *config, enum serializer v,
                                   const struct identity *who, struct slice ip)
{
    struct slice user_id = buf_slice(&who->user_id), roles = buf_slice(&who->roles), device = buf_slice(&who->device_id);
    assert_always(ip.len <= IP_MAX && user_id.len <= UINT16_MAX && roles.len <= ROLES_BYTES_MAX && device.len <= UINT16_MAX);
    struct phoenix_socket *s = calloc(1, sizeof(*s) + user_id.len + ip.len + roles.len + device.len);
    if (!s)
        return NULL;
    s->px = px;
    s->config = config;
    s->serializer = (uint8_t)v;
    s->user_len = (uint16_t)user_id.len;
    s->ip_len = (uint8_t)ip.len;
    s->roles_len = (uint16_t)roles.len;
    s->device_len = (uint16_t)device.len;
    put_text(put_text(put_text(put_text(s->text, user_id), ip), roles), device);
    s->in_flight.limit = LIMIT_SOCKET_IN_FLIGHT;
    /* Without room for it the client lives, and is seen by its address only; its joins will be refused. */
    s->process = process_start(px->processes, &socket_ops, s);
    s->ws.max_message_bytes = config->max_frame_bytes;
    s->ws.idle_timeout_ms = config->timeout_ms;
    return &s->ws;
}

/* --- what the gateway calls --------------------------------------------------------------------------------------- */

static const struct session *ops_session(void *ctx, handle_t channel)
{
    struct channel *ch = channel_by_handle(ctx, channel);
    return ch ? session_of(ch->socket) : NULL;
}

static struct buf *ops_push_begin(void *ctx, handle_t channel)
{
    struct channel *ch = channel_by_handle(ctx, channel);
    struct buf *out = ch ? ws_frame_begin(&ch->socket->ws) : NULL;
    if (out)
        frame_put_push_head(out, serializer_of(ch->socket), channel_join_ref(ch), json_null, channel_topic(ch),
                            slice_str(ch->config->event));
    return out;
}

static void ops_push_end(void *ctx, handle_t channel, bool keep)
{
    struct channel *ch = channel_by_handle(ctx, channel);
    if (!ch)
        return;
    if (!keep) {
        ws_frame_cancel(&ch->socket->ws);
        return;
    }
    frame_put_push_tail(ws_frame_buf(&ch->socket->ws), serializer_of(ch->socket), channel_topic(ch));
    ws_frame_end(&ch->socket->ws, WS_TEXT);
}

static void ops_reply(void *ctx, handle_t channel, struct slice ref, const char *status, struct slice response)
{
    struct channel *ch = channel_by_handle(ctx, channel);
    if (ch)
        send_reply(ch->socket, channel_join_ref(ch), ref, channel_topic(ch), status, response);
}

struct client_ops phoenix_client_ops(struct phoenix *px)
{
    return (struct client_ops){
        .ctx = px, .session = ops_session, .push_begin = ops_push_begin, .push_end = ops_push_end, .reply = ops_reply};
}

void phoenix_init(struct phoenix *px, struct process_table *processes, struct metrics *m)
{
    *px = (struct phoenix){.processes = processes, .metrics = m, .json = &json_limits_default};
    buf_init(&px->scratch, 0);
}

void phoenix_fini(struct phoenix *px)
{
    buf_fini(&px->scratch);
}
