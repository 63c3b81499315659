/*
 * fake_world.h: a cluster and clients that exist only in memory, for tests of the request pipeline: calls are
 * kept until the test answers them, frames are kept as text.
 *
 * Frames read like the wire: `push CHANNEL {…}` and `reply CHANNEL REF STATUS {…}`.
 */
#ifndef BEAMGATE_FAKE_WORLD_H
#define BEAMGATE_FAKE_WORLD_H

#include <stdio.h>

#include "request.h"
#include "slots.h"
#include "term_text.h"

enum { FAKE_CALLS = 64, FAKE_FRAMES = 256, FAKE_NODES = 8 };

struct fake_call {
    handle_t handle;
    char node[64];
    char function[128]; /* M:F */
    struct buf terms; /* the arguments as one list term */
    uint32_t nargs;
    call_done_fn *done;
    void *owner;
    uint64_t tag;
    uint64_t timeout_us;
    bool open; /* committed and not yet answered or cancelled */
};

struct fake_world {
    struct metrics metrics;
    struct timers timers;
    struct config_db *db;
    struct gateway *gw;
    struct call_ops call_ops;
    struct fake_call call[FAKE_CALLS];
    uint32_t calls;     /* calls begun so far; the newest is call[calls - 1] */
    uint32_t cancelled;
    const char *up[FAKE_NODES];
    const char *busy; /* a node that refuses data */
    uint64_t stream_tag; /* of the newest stream */
    int streams;         /* open now */
    bool no_streams;
    bool gone;        /* the client has left: push_begin gives NULL */
    struct buf push;
    char *frame[FAKE_FRAMES];
    uint32_t frames;
    struct request_list waiting;
    struct session session;
    struct channel_rules rules;
};

static inline bool fake_node_up(void *ctx, struct slice node)
{
    struct fake_world *w = ctx;
    for (size_t i = 0; i < FAKE_NODES && w->up[i]; i++)
        if (slice_is(node, w->up[i]))
            return true;
    return false;
}

static inline uint32_t fake_nodes(void *ctx, struct buf *out)
{
    struct fake_world *w = ctx;
    uint32_t n = 0;
    for (; n < FAKE_NODES && w->up[n]; n++)
        term_put_atom(out, w->up[n]);
    return n;
}

static inline struct buf *fake_begin(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                                     enum call_outcome *why)
{
    struct fake_world *w = ctx;
    *why = CALL_NODEDOWN;
    if (!fake_node_up(ctx, node))
        return NULL;
    *why = CALL_BUSY;
    if (w->busy && slice_is(node, w->busy))
        return NULL;
    struct fake_call *c = &w->call[w->calls % FAKE_CALLS];
    slice_cstr(node, c->node, sizeof(c->node));
    snprintf(c->function, sizeof(c->function), "%.*s:%.*s", (int)module.len, module.ptr, (int)function.len, function.ptr);
    c->nargs = nargs;
    buf_reset(&c->terms);
    term_put_list(&c->terms, nargs);
    return &c->terms;
}

static inline handle_t fake_commit(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag)
{
    struct fake_world *w = ctx;
    struct fake_call *c = &w->call[w->calls % FAKE_CALLS];
    if (c->nargs)
        term_put_nil(&c->terms);
    c->done = done;
    c->owner = owner;
    c->tag = tag;
    c->timeout_us = timeout_us;
    c->open = true;
    c->handle = handle_make(w->calls % FAKE_CALLS, w->calls + 1);
    w->calls++;
    return c->handle;
}

static inline void fake_abort(void *ctx)
{
    (void)ctx;
}

static inline void fake_cancel(void *ctx, handle_t call)
{
    struct fake_world *w = ctx;
    if (call == HANDLE_NONE)
        return;
    struct fake_call *c = &w->call[handle_index(call)];
    if (c->handle != call || !c->open)
        return;
    c->open = false;
    w->cancelled++;
}

static inline const struct session *fake_session(void *ctx, handle_t channel)
{
    struct fake_world *w = ctx;
    (void)channel;
    return w->gone ? NULL : &w->session;
}

static inline handle_t fake_stream_open(void *ctx, uint64_t tag)
{
    struct fake_world *w = ctx;
    w->stream_tag = tag;
    w->streams++;
    return w->no_streams ? HANDLE_NONE : tag;
}

static inline void fake_stream_put_pid(void *ctx, handle_t stream, struct buf *out)
{
    (void)ctx;
    (void)stream;
    term_put_atom(out, "stream_pid_of_the_test");
}

static inline void fake_stream_close(void *ctx, handle_t stream)
{
    struct fake_world *w = ctx;
    (void)stream;
    w->streams--;
}

static inline void fake_keep_frame(struct fake_world *w, struct buf *text)
{
    assert_true(w->frames < FAKE_FRAMES);
    w->frame[w->frames] = slice_dup(buf_slice(text));
    assert_non_null(w->frame[w->frames++]);
}

static inline struct buf *fake_push_begin(void *ctx, handle_t channel)
{
    struct fake_world *w = ctx;
    if (w->gone)
        return NULL;
    buf_reset(&w->push);
    buf_printf(&w->push, "push %u ", (unsigned)channel);
    return &w->push;
}

static inline void fake_stream_told(void *ctx, handle_t stream)
{
    (void)ctx;
    (void)stream;
}

static inline void fake_push_end(void *ctx, handle_t channel, bool keep)
{
    struct fake_world *w = ctx;
    (void)channel;
    if (keep)
        fake_keep_frame(w, &w->push);
}

static inline void fake_reply(void *ctx, handle_t channel, struct slice ref, const char *status, struct slice response)
{
    struct fake_world *w = ctx;
    struct buf text;
    if (w->gone)
        return;
    buf_init(&text, 0);
    buf_printf(&text, "reply %u %.*s %s %.*s", (unsigned)channel, (int)ref.len, ref.ptr, status, (int)response.len, response.ptr);
    fake_keep_frame(w, &text);
    buf_fini(&text);
}

static inline void fake_world_init(struct fake_world *w, void (*adjust)(struct gateway_options *o))
{
    struct gateway_options o;
    memset(w, 0, sizeof(*w));
    timers_init(&w->timers, 1000000);
    w->db = config_db_new(&w->metrics, 10000);
    gateway_options_default(&o);
    o.db = w->db;
    o.timers = &w->timers;
    o.metrics = &w->metrics;
    o.call = (struct call_ops){w, fake_node_up, fake_begin, fake_commit, fake_abort, fake_cancel, fake_nodes};
    o.client = (struct client_ops){w, fake_session, fake_push_begin, fake_push_end, fake_reply, NULL};
    o.stream = (struct stream_ops){w, fake_stream_open, fake_stream_put_pid, fake_stream_told,
                                   fake_stream_told, fake_stream_close};
    if (adjust)
        adjust(&o);
    w->gw = gateway_new(&o);
    assert_non_null(w->gw);
    request_list_init(&w->waiting);
    w->up[0] = "svc@localhost";
    w->session.user_id = SLICE_LIT("u1");
    w->rules = (struct channel_rules){true, true};
}

static inline void fake_world_fini(struct fake_world *w)
{
    gateway_channel_closed(w->gw, &w->waiting);
    assert_int_equal(gateway_in_flight(w->gw), 0);
    assert_int_equal(w->streams, 0);
    assert_int_equal(timers_next(&w->timers), UINT64_MAX);
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_IN_FLIGHT], 0);
    gateway_free(w->gw);
    config_db_free(w->db);
    timers_fini(&w->timers);
    for (uint32_t i = 0; i < w->frames; i++)
        free(w->frame[i]);
    for (size_t i = 0; i < FAKE_CALLS; i++)
        buf_fini(&w->call[i].terms);
    buf_fini(&w->push);
}

/* Adds a function: fields are added to, or override, a plain sync echo of one string argument. */
static inline void fake_function(struct fake_world *w, const char *request_type, const char *fields)
{
    char text[2048];
    struct buf b;
    struct fun_config_reasons why = {0};
    snprintf(text, sizeof(text),
             "%%{request_type: \"%s\", service: \"svc\"%s%s%s}", request_type,
             strstr(fields, "nodes:") ? "" : ", nodes: [:svc@localhost]", strstr(fields, "mfa:") ? "" : ", mfa: {M, :f, []}",
             fields);
    buf_init(&b, 0);
    struct fun_config *fc = fun_config_from_term(term_of(&b, text), SLICE_NONE, &why);
    if (!fc)
        fail_msg("config refused: %s (%s)", why.text[0], text);
    assert_int_equal(fun_config_set_origin(fc, SLICE_LIT("svc@localhost")), BG_OK);
    assert_int_equal(config_db_put(w->db, fc, SLICE_LIT("svc")), BG_OK);
    fun_config_unref(fc);
    buf_fini(&b);
}

static inline void fake_request(struct fake_world *w, const char *ref, const char *payload)
{
    gateway_request(w->gw, 7, &w->waiting, &w->session, &w->rules, slice_str(ref), payload ? slice_str(payload) : SLICE_NONE, NULL);
}

/* Ends call number n (0 is the first ever begun) with a term written as text. */
static inline void fake_answer(struct fake_world *w, uint32_t n, enum call_outcome outcome, const char *term)
{
    struct fake_call *c = &w->call[n % FAKE_CALLS];
    struct buf b;
    assert_true(n < w->calls && c->open);
    c->open = false;
    buf_init(&b, 0);
    struct slice value = term ? term_of(&b, term) : SLICE_NONE;
    c->done(c->owner, c->tag, outcome, value);
    buf_fini(&b);
}

/* The arguments of call n in Elixir's notation. */
static inline void assert_call_args(struct fake_world *w, uint32_t n, const char *want)
{
    struct buf text;
    buf_init(&text, 0);
    assert_true(n < w->calls);
    term_inspect(buf_slice(&w->call[n % FAKE_CALLS].terms), &text, 4096);
    assert_slice_is(buf_slice(&text), want);
    buf_fini(&text);
}

static inline void assert_frame(struct fake_world *w, uint32_t n, const char *want)
{
    if (n >= w->frames)
        fail_msg("no frame %u, want %s", n, want);
    assert_string_equal(w->frame[n], want);
}

#endif
