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
#include "topic.h"

/* Lengths of texts that stand one behind another. */
struct person {
    uint16_t user_len, roles_len, device_len, assigns_len;
};

/* Sockets that a broadcast of "disconnect" on this topic closes. */
struct socket_id {
    struct list members;
    uint32_t len;
    char text[];
};

/* What only some configurations have for a socket. */
struct extra {
    struct phoenix_socket *socket;
    struct join_list joining;
    struct socket_id *id; /* NULL: it has none */
    struct list by_id;
};

struct phoenix_socket {
    struct ws_conn ws;
    struct phoenix *px;
    const struct socket_config *config;
    handle_t process; /* stands for the client: whoever ends it closes the connection */
    struct channel *channels;
    uint32_t channels_count;
    uint32_t messages; /* from the client */
    struct gate_address *at;
    struct gate_user *user; /* NULL: nobody in particular */
    struct token_bucket joins;
    struct request_quota in_flight;
    struct extra *extra; /* NULL: nothing of it is configured */
    uint8_t serializer;
    uint8_t ip_len;
    bool ended;
    struct person person;
    char text[]; /* ip address, and of the person: user id, roles, device id, assigns */
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
    bool null_join_ref : 1;
    bool has_person : 1; /* the join has made another of the socket's */
    char text[]; /* topic, join_ref: raw JSON; with has_person a struct person and its texts */
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
    return slice_make(s->text + s->ip_len, s->person.user_len);
}

static struct slice ip_of(const struct phoenix_socket *s)
{
    return slice_make(s->text, s->ip_len);
}

/* A topic without its quotes; escapes stay as they are. */
static struct slice topic_text(const struct channel *ch)
{
    struct slice t = channel_topic(ch);
    return t.len >= 2 ? slice_make(t.ptr + 1, t.len - 2) : t;
}

static void about_user(const struct phoenix_socket *s, struct process_row *row)
{
    if (!s->person.user_len)
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
    process_state_text(st, "user_id", s->person.user_len ? user_of(s) : SLICE_NONE);
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
    row->bytes = sizeof(*s) + s->ip_len + s->person.user_len + s->person.roles_len + unsent;
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
    return process_owned(px->processes, h, &channel_ops);
}

/* P-050: the first that is declared wins. topic: a raw JSON value. *match: whether it is also this user's. */
static const struct channel_config *config_for(const struct phoenix_socket *s, struct slice topic, enum topic_match *match)
{
    const struct socket_config *config = s->config;
    struct buf user;
    uint32_t i = 0;
    if (json_kind(topic) != JSON_STRING)
        return NULL;
    struct slice text = slice_make(topic.ptr + 1, topic.len - 2), name = SLICE_NONE;
    buf_init(&user, 0);
    if (s->person.user_len) {
        json_put_text(&user, user_of(s)); /* as it stands in a topic */
        name = buf_ok(&user) ? slice_make(user.data + 1, user.len - 2) : SLICE_NONE;
    }
    while (i < config->channels_count && (*match = topic_match(config->channels[i].topic, text, name)) == TOPIC_DIFFERENT)
        i++;
    buf_fini(&user);
    return i < config->channels_count ? &config->channels[i] : NULL;
}

static char *put_text(char *at, struct slice part)
{
    if (part.len)
        memcpy(at, part.ptr, part.len);
    return at + part.len;
}

/* A channel with its process, not yet in its socket. NULL when memory or the process table is exhausted. */
static struct channel *channel_new(struct phoenix_socket *s, const struct channel_config *config,
                                   const struct channel_frame *f, struct slice person)
{
    bool null_ref = json_kind(f->join_ref) == JSON_NULL;
    struct slice join_ref = null_ref ? f->ref : f->join_ref;
    struct channel *ch = malloc(sizeof(*ch) + f->topic.len + join_ref.len + person.len);
    if (!ch)
        return NULL;
    *ch = (struct channel){.socket = s,
                           .config = config,
                           .topic_len = (uint32_t)f->topic.len,
                           .join_ref_len = (uint32_t)join_ref.len,
                           .null_join_ref = null_ref,
                           .has_person = person.len > 0};
    put_text(put_text(put_text(ch->text, f->topic), join_ref), person);
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

/* Who is behind the channel, or where there is none yet behind the socket, until the next call of this function. */
static const struct session *session_of(const struct phoenix_socket *s, const struct channel *ch)
{
    struct person p = s->person;
    const char *user = s->text + s->ip_len;
    if (ch && ch->has_person) {
        user = ch->text + ch->topic_len + ch->join_ref_len;
        memcpy(&p, user, sizeof(p)); /* not aligned */
        user += sizeof(p);
    }
    const char *role = user + p.user_len, *end = role + p.roles_len;
    uint32_t n = 0;
    for (; role < end; role += s->px->roles[n++].len + 1)
        s->px->roles[n] = slice_str(role);
    s->px->session = (struct session){
        .user_id = slice_make(user, p.user_len),
        .roles = s->px->roles,
        .roles_count = n,
        .ip_address = ip_of(s),
        .device_id = slice_make(end, p.device_len),
    };
    return &s->px->session;
}

/* Appends what a channel keeps of who; what that does not name stays as the socket has it. */
static void put_person(struct buf *out, const struct phoenix_socket *s, const struct identity *who)
{
    const struct session *was = session_of(s, NULL);
    const char *roles_text = s->text + s->ip_len + s->person.user_len;
    struct slice user = who->user_id.len ? buf_slice(&who->user_id) : was->user_id;
    struct slice roles = who->roles.len ? buf_slice(&who->roles) : slice_make(roles_text, s->person.roles_len);
    struct slice device = who->device_id.len ? buf_slice(&who->device_id) : was->device_id;
    const struct person p = {(uint16_t)user.len, (uint16_t)roles.len, (uint16_t)device.len, 0};
    buf_add(out, &p, sizeof(p));
    buf_add_slice(out, user);
    buf_add_slice(out, roles);
    buf_add_slice(out, device);
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
    return limit_refuse(s->px->limits, which, s->ws.id, slice_make(s->text, s->ip_len));
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

static uint32_t pending_joins(const struct phoenix_socket *s)
{
    return s->extra ? join_count(&s->extra->joining) : 0;
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
    if (!again && s->channels_count + pending_joins(s) >= s->config->max_channels && refused(s, LIMIT_CHANNELS))
        return SLICE_LIT("{\"reason\":\"too many channels joined\"}");
    return SLICE_NONE;
}

static const struct slice join_crashed = SLICE_LIT("{\"reason\":\"join crashed\"}"); /* P-048 */
static const struct slice unauthorized = SLICE_LIT("{\"reason\":\"unauthorized\"}");

static bool has_role(const struct phoenix_socket *s, const struct channel_config *config)
{
    const char *role = s->text + s->ip_len + s->person.user_len, *end = role + s->person.roles_len;
    for (; role < end; role += strlen(role) + 1)
        for (uint32_t i = 0; i < config->roles_count; i++)
            if (strcmp(role, config->roles[i]) == 0)
                return true;
    return config->roles_count == 0;
}

/* What the configuration says about who may join. */
static bool may_join(const struct phoenix_socket *s, const struct channel_frame *f, const struct channel_config *config,
                     enum topic_match match)
{
    const char *why = match == TOPIC_FOREIGN                        ? "the topic is another user's"
                      : config->require_user && !s->person.user_len ? "the socket has no user"
                      : !has_role(s, config)                        ? "the user has none of the roles"
                                                                    : NULL;
    if (why)
        log_limited(LOG_INFO, "edge", "join refused", "conn=%u topic=%s reason=\"%s\"", s->ws.id, log_text(f->topic), why);
    return !why;
}

static void refuse_join(struct phoenix_socket *s, struct slice join_ref, const struct channel_frame *f,
                        struct slice response)
{
    metric_inc(s->px->metrics, METRIC_CHANNEL_JOIN_ERRORS);
    send_error(s, join_ref, f, response);
}

/* ch: the channel that has the topic already; it ends after the new one's reply (P-051). person: as put_person() makes it, or empty. */
static void accept_join(struct phoenix_socket *s, struct channel *ch, const struct channel_config *config,
                        const struct channel_frame *f, struct slice response, struct slice person)
{
    struct channel *joined = channel_new(s, config, f, person);
    if (!joined) {
        refuse_join(s, f->join_ref, f, SLICE_LIT("{\"reason\":\"gateway is full\"}"));
        return;
    }
    metric_inc(s->px->metrics, METRIC_CHANNEL_JOINS);
    metric_inc(s->px->metrics, METRIC_CHANNEL_JOINED);
    joined->next = s->channels;
    s->channels = joined;
    s->channels_count++;
    send_reply(s, f->join_ref, f->ref, f->topic, "ok", response);
    if (ch)
        channel_end(ch, EXIT_DUPLICATE);
}

/* What connecting has left, for join functions. */
static struct slice socket_assigns(const struct phoenix_socket *s)
{
    const struct person *p = &s->person;
    return slice_make(s->text + s->ip_len + p->user_len + p->roles_len + p->device_len, p->assigns_len);
}

static int ask_join(struct phoenix_socket *s, const struct channel_config *config, const struct channel_frame *f)
{
    const struct join_asker who = {
        .socket = s,
        .session = session_of(s, NULL),
        .assigns = socket_assigns(s),
        .id = s->extra->id ? slice_make(s->extra->id->text, s->extra->id->len) : SLICE_NONE,
    };
    return joins_ask(s->px->joins, &s->extra->joining, &who, config, f);
}

/* P-045..P-052. */
static void on_join(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f)
{
    enum topic_match match = TOPIC_DIFFERENT;
    const struct channel_config *config = config_for(s, f->topic, &match);
    struct slice join_ref;
    struct slice refusal = join_refusal(s, f, config, ch != NULL, &join_ref);
    if (!refusal.ptr && !may_join(s, f, config, match))
        refusal = unauthorized;
    if (refusal.ptr)
        refuse_join(s, join_ref, f, refusal);
    else if (!config->join.module)
        accept_join(s, ch, config, f, json_empty, SLICE_NONE);
    else if (ask_join(s, config, f) != BG_OK)
        refuse_join(s, join_ref, f, join_crashed);
}

/* Appends the person that a join's assigns make of the socket's, if it is another. False: they are not acceptable. */
static bool take_assigns(const struct phoenix_socket *s, struct slice assigns, struct buf *person)
{
    static const struct auth_method paths = {
        .user_id_path = "user_id", .roles_path = "roles", .device_id_path = "device_id"};
    struct identity who;
    identity_init(&who);
    const char *why = assigns.len ? identity_take_assigns(&paths, assigns, &who) : NULL;
    bool same = !who.user_id.len && !who.roles.len && !who.device_id.len;
    if (!why && !same)
        put_person(person, s, &who);
    if (!buf_ok(person))
        why = "there is no memory";
    if (why)
        log_limited(LOG_WARNING, "edge", "the assigns of a join function cannot be taken", "conn=%u reason=\"%s\"", s->ws.id,
                    why);
    identity_fini(&who);
    return !why;
}

/* A function of the services has decided. */
static void on_join_decided(void *socket, const struct channel_config *config, const struct channel_frame *f,
                            const struct join_verdict *v)
{
    struct phoenix_socket *s = socket;
    struct channel *ch = channel_find(s, f->topic);
    struct buf person;
    buf_init(&person, 0);
    bool fits = take_assigns(s, v->assigns, &person);
    if (v->accepted && fits) {
        accept_join(s, ch, config, f, v->response, buf_slice(&person));
    } else {
        refuse_join(s, f->join_ref, f, v->accepted ? join_crashed : v->response);
        if (ch)
            channel_end(ch, EXIT_DUPLICATE); /* Phoenix has stopped it before it asked */
    }
    buf_fini(&person);
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

static void request(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f)
{
    if (!s->px->gateway) {
        send_reply(s, channel_join_ref(ch), f->ref, f->topic, "error",
                   SLICE_LIT("\"Service temporarily unavailable\""));
        return;
    }
    const struct session *who = session_of(s, ch);
    s->px->session.topic = channel_topic(ch);
    gateway_request(s->px->gateway, ch->process, &ch->waiting, who, &ch->config->rules, f->ref,
                    f->binary ? SLICE_NONE : f->payload, &f->members);
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
static bool is_own_event(const struct channel *ch, struct slice event, struct slice suffix)
{
    struct slice own = slice_str(ch->config->event);
    return event.len == own.len + suffix.len && slice_eq(slice_make(event.ptr, own.len), own) &&
           slice_eq(slice_make(event.ptr + own.len, suffix.len), suffix);
}

/* Any other event: the channel's own, or one that it has no clause for, which ends it (P-057). event: its text. */
static void on_event(struct phoenix_socket *s, struct channel *ch, const struct channel_frame *f, struct slice event)
{
    if (!ch) {
        send_error(s, json_null, f, unmatched_topic);
        return;
    }
    if (!join_ref_matches(ch, f->join_ref))
        return;
    ch->messages++;
    if (is_own_event(ch, event, SLICE_NONE)) {
        request(s, ch, f);
        return;
    }
    if (is_own_event(ch, event, SLICE_LIT(":stop"))) {
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
    bool named = json_kind(f->event) == JSON_STRING;
    struct slice event = named ? json_string_in(f->event, &s->px->event) : SLICE_NONE;
    for (size_t i = 0; i < ARRAY_SIZE(protocol_events); i++) {
        if (slice_eq(event, protocol_events[i].event)) {
            protocol_events[i].fn(s, ch, f);
            return;
        }
    }
    on_event(s, ch, f, event);
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

/* The topic without needless escapes. Neither its text nor that in quotes again is longer than it came: what has to be
 * escaped came escaped. */
static int normalize_topic(struct buf *scratch, struct slice *topic)
{
    if (!buf_reserve(scratch, 2 * topic->len))
        return BG_ENOMEM;
    json_string_text(*topic, scratch);
    *topic = buf_slice(scratch);
    quote_name(scratch, topic);
    return BG_OK;
}

/* The names of a binary frame as JSON. */
static int normalize_binary(struct buf *scratch, struct channel_frame *f)
{
    enum { QUOTED_MAX = 6 }; /* bytes that one byte becomes at worst: \u00XX */
    struct slice *const names[] = {&f->join_ref, &f->ref, &f->topic, &f->event};
    size_t need = 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        need += QUOTED_MAX * names[i]->len + 2;
    if (!buf_reserve(scratch, need))
        return BG_ENOMEM;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        quote_name(scratch, names[i]);
    return BG_OK;
}

/* Brings the names into one form: raw JSON, and the topic without needless escapes, so that comparing bytes compares
 * topics. Only binary frames and topics with escapes need any work. What one client's name has taken is not kept. */
static int normalize(struct phoenix *px, struct channel_frame *f)
{
    enum { KEEP_BYTES = 16 * 1024 };
    struct slice plain;
    buf_shrink(&px->scratch, KEEP_BYTES);
    if (f->binary)
        return normalize_binary(&px->scratch, f);
    if (json_kind(f->topic) != JSON_STRING || json_string_plain(f->topic, &plain))
        return BG_OK;
    return normalize_topic(&px->scratch, &f->topic);
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

/* Which bound a message is beyond; LIMIT_COUNT: one that is not configured (the digits of a number). */
static enum limit bound_broken(const struct err *e)
{
    if (strcmp(e->text, json_too_deep) == 0)
        return LIMIT_DEPTH;
    return strcmp(e->text, json_too_many_keys) == 0 ? LIMIT_KEYS : LIMIT_COUNT;
}

/* Where a bound runs dry the message is read again with the largest that can be configured, which then holds. */
static int parse(struct phoenix_socket *s, bool binary, struct slice message, struct channel_frame *f, struct err *e)
{
    struct json_limits lim = *s->px->json;
    bool deeper = false, wider = false;
    int rc;
    while ((rc = channel_frame_parse(serializer_of(s), binary, message, &lim, f, e)) == BG_ELIMIT) {
        enum limit which = bound_broken(e);
        bool *again = which == LIMIT_DEPTH ? &deeper : &wider;
        if (which == LIMIT_COUNT || *again || refused(s, which))
            break;
        *again = true;
        lim.max_depth = deeper ? DEPTH_CEILING : lim.max_depth;
        lim.max_keys = wider ? KEYS_CEILING : lim.max_keys;
    }
    return rc;
}

static void on_message(struct ws_conn *c, bool binary, struct slice message)
{
    struct phoenix_socket *s = socket_of(c);
    struct channel_frame f;
    struct err e; /* set only where it is needed: it is long */
    s->messages++;
    if (parse(s, binary, message, &f, &e) != BG_OK ||
        (normalize(s->px, &f) != BG_OK && err_set(&e, BG_ENOMEM, 0, "no memory")))
        close_bad(s, binary, message, &e);
    else if (is_heartbeat(&f))
        send_reply(s, json_null, f.ref, f.topic, "ok", json_empty);
    else if (!s->extra || !join_waits(&s->extra->joining, f.topic))
        dispatch(s, &f);
    else if (join_queue(&s->extra->joining, f.topic, binary, message) != BG_OK)
        send_error(s, json_null, &f, SLICE_LIT("{\"reason\":\"too many messages wait for the join\"}"));
}

/* A message that waited for the join of its topic. */
static bool on_late_message(void *socket, bool binary, struct slice message)
{
    struct phoenix_socket *s = socket;
    if (!s->ended)
        on_message(&s->ws, binary, message);
    return !s->ended;
}

/* --- ids (P-010) -------------------------------------------------------------------------------------------------- */

static void id_drop_if_empty(struct phoenix *px, struct socket_id *id)
{
    if (!list_empty(&id->members))
        return;
    map_del(&px->ids, slice_make(id->text, id->len));
    free(id);
}

/* The template with the user in it. */
static void put_id(struct buf *out, const char *template, struct slice user)
{
    const char *at = strstr(template, TOPIC_USER_ID);
    buf_add(out, template, (size_t)(at - template));
    buf_add_slice(out, user);
    buf_puts(out, at + sizeof(TOPIC_USER_ID) - 1);
}

static struct socket_id *id_new(struct phoenix *px, struct slice text)
{
    struct socket_id *id = calloc(1, sizeof(*id) + text.len);
    if (!id)
        return NULL;
    list_init(&id->members);
    id->len = (uint32_t)text.len;
    memcpy(id->text, text.ptr, text.len);
    if (map_put(&px->ids, slice_make(id->text, id->len), id) == BG_OK)
        return id;
    free(id);
    return NULL;
}

/* A socket without a user has no id, as one whose id/1 returns nil. BG_ENOMEM: it could not be disconnected later. */
static int id_enter(struct phoenix_socket *s)
{
    struct buf text;
    if (!s->config->id || !s->person.user_len)
        return BG_OK;
    buf_init(&text, 0);
    put_id(&text, s->config->id, user_of(s));
    struct socket_id *id = buf_ok(&text) ? map_get(&s->px->ids, buf_slice(&text)) : NULL;
    if (!id && buf_ok(&text))
        id = id_new(s->px, buf_slice(&text));
    buf_fini(&text);
    if (!id)
        return BG_ENOMEM;
    s->extra->id = id;
    list_append(&id->members, &s->extra->by_id);
    return BG_OK;
}

static bool asks_about_joins(const struct socket_config *config)
{
    for (uint32_t i = 0; i < config->channels_count; i++)
        if (config->channels[i].join.module)
            return true;
    return false;
}

static int extra_begin(struct phoenix_socket *s)
{
    if (!s->config->id && !asks_about_joins(s->config))
        return BG_OK;
    s->extra = calloc(1, sizeof(*s->extra));
    if (!s->extra)
        return BG_ENOMEM;
    s->extra->socket = s;
    list_init(&s->extra->by_id);
    return id_enter(s);
}

static void extra_end(struct phoenix_socket *s)
{
    struct extra *x = s->extra;
    if (!x)
        return;
    s->extra = NULL;
    joins_forget(s->px->joins, &x->joining);
    list_remove(&x->by_id);
    if (x->id)
        id_drop_if_empty(s->px, x->id);
    free(x);
}

uint32_t phoenix_disconnect(struct phoenix *px, struct slice text)
{
    uint32_t closed = 0;
    struct socket_id *id;
    /* Closing takes the socket off the list, and the last one the list away. */
    while ((id = map_get(&px->ids, text)) != NULL) {
        struct phoenix_socket *s = container_of(id->members.next, struct extra, by_id)->socket;
        ws_close(&s->ws, WS_CLOSE_GOING_AWAY);
        extra_end(s); /* also of one that was closing already */
        closed++;
    }
    return closed;
}

/* C-76: the transport is gone, its channels end. */
static void on_ended(struct ws_conn *c)
{
    struct phoenix_socket *s = socket_of(c);
    log_debug("edge", "client gone", "conn=%u channels=%u", c->id, s->channels_count);
    s->ended = true;
    extra_end(s);
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
    extra_end(s); /* never adopted */
    free(s);
}

void phoenix_socket_show(const struct ws_conn *c, struct edge_client *to)
{
    const struct phoenix_socket *s = container_of(c, const struct phoenix_socket, ws);
    to->user_id = user_of(s);
    to->ip_address = ip_of(s);
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

struct ws_conn *phoenix_socket_new(struct phoenix *px, const struct socket_config *config, enum serializer v,
                                   const struct identity *who, struct slice ip)
{
    struct slice user_id = buf_slice(&who->user_id), roles = buf_slice(&who->roles), device = buf_slice(&who->device_id);
    struct slice assigns = asks_about_joins(config) ? buf_slice(&who->assigns) : SLICE_NONE;
    assert_always(ip.len <= IP_MAX && user_id.len <= UINT16_MAX && roles.len <= ROLES_BYTES_MAX &&
                  device.len <= UINT16_MAX && assigns.len <= ASSIGNS_MAX);
    struct phoenix_socket *s = calloc(1, sizeof(*s) + user_id.len + ip.len + roles.len + device.len + assigns.len);
    if (!s)
        return NULL;
    s->px = px;
    s->config = config;
    s->serializer = (uint8_t)v;
    s->ip_len = (uint8_t)ip.len;
    s->person = (struct person){(uint16_t)user_id.len, (uint16_t)roles.len, (uint16_t)device.len, (uint16_t)assigns.len};
    put_text(put_text(put_text(put_text(put_text(s->text, ip), user_id), roles), device), assigns);
    s->in_flight.limit = LIMIT_SOCKET_IN_FLIGHT;
    if (extra_begin(s) != BG_OK) {
        extra_end(s);
        free(s);
        return NULL;
    }
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
    return ch ? session_of(ch->socket, ch) : NULL;
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

int phoenix_init(struct phoenix *px, struct process_table *processes, const struct call_ops *call, struct metrics *m)
{
    const struct join_options o = {.call = *call, .metrics = m, .done = on_join_decided, .message = on_late_message};
    *px = (struct phoenix){.processes = processes, .metrics = m, .json = &json_limits_default, .joins = joins_new(&o)};
    buf_init(&px->scratch, 0);
    buf_init(&px->event, 0);
    map_init(&px->ids);
    return px->joins ? BG_OK : BG_ENOMEM;
}

void phoenix_fini(struct phoenix *px)
{
    buf_fini(&px->scratch);
    buf_fini(&px->event);
    map_fini(&px->ids);
    joins_free(px->joins);
}
