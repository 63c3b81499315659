/*
 * telemetry_handlers.c: see telemetry_handlers.h.
 *
 * Invariants: of one handler at most one batch is under way; the events of a batch and those that wait are bounded in
 * number and bytes, the function, which goes out once for each event, included. s->telemetry.wanted has exactly the
 * bits of the handlers that are attached. A call's end finds its handler by number, so that a handler may go at any
 * time.
 */
#include "telemetry_handlers.h"

#include <stdlib.h>

#include "list.h"
#include "log.h"
#include "remote_call.h"
#include "server_state.h"
#include "term.h"

enum {
    AGAIN_US = 100000, /* when the connection takes no more */
    LOGGED_MAX = 1024  /* bytes of a map in the log */
};

struct handler {
    struct list all;
    struct telemetry_handlers *handlers;
    uint64_t number;
    struct buf kept; /* holds what the next four point to */
    struct slice id, fun, config, leader;
    bool full_names;
    uint32_t events; /* 0: detached, and gone once nothing waits */
    handle_t link;
    struct buf queue; /* lists of arguments, one after another */
    uint32_t queued;
    bool working; /* a batch is under way */
    struct timer timer;
};

struct telemetry_handlers {
    struct server *server;
    struct list all;
    uint32_t count;
    uint64_t last_number;
    struct buf batch;
};

static struct handler *handler_at(struct list *it)
{
    return container_of(it, struct handler, all);
}

/* ---- who is attached to what --------------------------------------------------------------------------- */

static void update_wanted(struct telemetry_handlers *hs)
{
    struct server *s = hs->server;
    uint32_t wanted = 0, attached = 0;
    struct list *it, *next;
    list_each_safe(it, next, &hs->all)
    {
        wanted |= handler_at(it)->events;
        attached += handler_at(it)->events != 0;
    }
    s->telemetry.wanted = wanted;
    s->metrics.value[METRIC_TELEMETRY_HANDLERS] = attached;
}

static void handler_free(struct handler *h)
{
    struct telemetry_handlers *hs = h->handlers;
    timer_disarm(&hs->server->timers, &h->timer);
    if (list_linked(&h->all)) {
        list_remove(&h->all);
        hs->count--;
    }
    buf_fini(&h->kept);
    buf_fini(&h->queue);
    free(h);
}

static void count_dropped(const struct handler *h, uint32_t n)
{
    h->handlers->server->metrics.value[METRIC_TELEMETRY_DROPPED] += n;
}

/* At once, whatever waits. */
static void drop(struct handler *h, const char *why)
{
    struct telemetry_handlers *hs = h->handlers;
    if (h->events)
        log_info("telemetry", "handler detached", "id=%s reason=%s dropped=%u", log_text(h->id), why, h->queued);
    count_dropped(h, h->queued);
    handler_free(h);
    update_wanted(hs);
}

/* ---- sending ------------------------------------------------------------------------------------------- */

/* lists:zipwith(fun erlang:apply/2, Funs, Arguments): calls one after another, and ends with the first that raises. */
static void put_batch(const struct handler *h, struct buf *b)
{
    static const char apply[] = "\x71w\6erlangw\5apply\x61\2"; /* EXPORT_EXT */
    term_put_list(b, 3);
    term_put_raw(b, slice_make(apply, sizeof(apply) - 1));
    term_put_list(b, h->queued);
    for (uint32_t i = 0; i < h->queued; i++)
        term_put_raw(b, h->fun);
    term_put_nil(b);
    term_put_list(b, h->queued);
    term_put_raw(b, buf_slice(&h->queue));
    term_put_nil(b);
    term_put_nil(b);
}

static struct handler *find(struct telemetry_handlers *hs, uint64_t number)
{
    struct list *it, *next;
    list_each_safe(it, next, &hs->all)
        if (handler_at(it)->number == number)
            return handler_at(it);
    return NULL;
}

static void send_soon(struct handler *h, uint64_t delay_us)
{
    if (timer_arm_in(&h->handlers->server->timers, &h->timer, delay_us) != BG_OK)
        drop(h, "no memory");
}

/* After one batch, or when it was detached: the next, or the end. */
static void go_on(struct handler *h)
{
    if (h->queued)
        send_soon(h, 0);
    else if (!h->events)
        handler_free(h);
}

/* The library detaches a handler that raises, and logs it. Which event it was that it raised at is not known here, so
 * it goes from all. */
static void on_batch_done(void *owner, uint64_t number, enum call_outcome outcome, struct slice value)
{
    struct handler *h = find(owner, number);
    struct buf reason;
    if (!h)
        return;
    h->working = false;
    if (outcome == CALL_RETURN) {
        go_on(h);
        return;
    }
    buf_init(&reason, 0);
    if (value.len)
        term_inspect(value, &reason, LOGGED_MAX);
    log_warning("telemetry", "handler has failed", "id=%s outcome=%s reason=%s hint=\"it is detached; attach it again\"",
                log_text(h->id), outcome == CALL_TIMEOUT ? "timeout" : outcome == CALL_NODEDOWN ? "nodedown" : "exit",
                log_text(buf_slice(&reason)));
    buf_fini(&reason);
    drop(h, "failed");
}

static void on_timer(struct timer *t)
{
    struct handler *h = container_of(t, struct handler, timer);
    struct telemetry_handlers *hs = h->handlers;
    struct server *s = hs->server;
    assert_always(h->queued > 0 && !h->working);
    buf_reset(&hs->batch);
    put_batch(h, &hs->batch);
    handle_t call = HANDLE_NONE;
    if (buf_ok(&hs->batch))
        call = remote_spawn(s->calls, h->link, h->leader, "lists", "zipwith", 3, buf_slice(&hs->batch),
                            (uint64_t)HANDLER_TIMEOUT_MS * 1000, on_batch_done, hs, h->number);
    buf_shrink(&hs->batch, HANDLER_TERMS_MAX);
    if (call == HANDLE_NONE) {
        send_soon(h, AGAIN_US);
        return;
    }
    s->metrics.value[METRIC_TELEMETRY_EVENTS] += h->queued;
    h->working = true;
    h->queued = 0;
    buf_shrink(&h->queue, HANDLER_TERMS_MAX);
}

/* ---- events -------------------------------------------------------------------------------------------- */

static bool has_room(const struct handler *h, size_t bytes)
{
    size_t functions = (h->queued + 1u) * h->fun.len;
    return h->queued < HANDLER_BATCH_MAX && h->queue.len + bytes + functions <= HANDLER_QUEUE_MAX;
}

/* [Event, Measurements, Metadata, Config] */
static void enqueue(struct handler *h, struct slice terms)
{
    enum { LIST_BYTES = 5 + 1 };
    if (!has_room(h, terms.len + h->config.len + LIST_BYTES)) {
        count_dropped(h, 1);
        return;
    }
    size_t before = h->queue.len;
    term_put_list(&h->queue, 4);
    term_put_raw(&h->queue, terms);
    term_put_raw(&h->queue, h->config);
    term_put_nil(&h->queue);
    if (!buf_ok(&h->queue)) {
        buf_truncate(&h->queue, before);
        count_dropped(h, 1);
        return;
    }
    h->queued++;
    if (!h->working && !timer_armed(&h->timer))
        send_soon(h, 0);
}

/* What attach_default_logger wants. */
static void log_event(enum telemetry_event event, struct slice terms)
{
    struct term_reader r = term_reader(terms);
    struct slice name, map;
    struct buf text[2];
    if (!log_enabled(LOG_DEBUG) || term_skip(&r, &name) != BG_OK)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(text); i++) {
        buf_init(&text[i], 0);
        if (term_skip(&r, &map) == BG_OK)
            term_inspect(map, &text[i], LOGGED_MAX);
    }
    log_debug("telemetry", "event", "event=%s measurements=%s metadata=%s", telemetry_text(event),
              log_text(buf_slice(&text[0])), log_text(buf_slice(&text[1])));
    for (unsigned i = 0; i < ARRAY_SIZE(text); i++)
        buf_fini(&text[i]);
}

static void on_event(void *ctx, enum telemetry_event event, struct slice terms)
{
    struct telemetry_handlers *hs = ctx;
    struct list *it, *next;
    list_each_safe(it, next, &hs->all)
    {
        struct handler *h = handler_at(it);
        if (!(h->events & TELEMETRY_BIT(event)))
            continue;
        if (h->fun.len)
            enqueue(h, terms);
        else
            log_event(event, terms);
    }
}

/* ---- attaching ----------------------------------------------------------------------------------------- */

static bool is_same(const struct handler *h, struct slice id, bool full_names)
{
    return h->full_names == full_names && slice_eq(h->id, id);
}

static struct slice keep(struct buf *kept, struct slice bytes)
{
    struct slice s = slice_make(buf_ok(kept) ? kept->data + kept->len : NULL, bytes.len);
    buf_add_slice(kept, bytes);
    return s;
}

static struct handler *handler_new(struct telemetry_handlers *hs, const struct handler_wanted *w)
{
    struct handler *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    *h = (struct handler){.handlers = hs, .number = ++hs->last_number, .full_names = w->full_names};
    list_init(&h->all);
    buf_init(&h->kept, 0);
    buf_init(&h->queue, 0);
    h->timer.fn = on_timer;
    h->link = w->link ? dist_link_handle(w->link) : HANDLE_NONE;
    /* The room is made before, so that nothing moves once it is pointed to; some also where all are empty. */
    (void)buf_reserve(&h->kept, 1 + w->id.len + w->fun.len + w->config.len + w->leader.len);
    h->id = keep(&h->kept, w->id);
    h->fun = keep(&h->kept, w->fun);
    h->config = keep(&h->kept, w->config);
    h->leader = keep(&h->kept, w->leader);
    if (buf_ok(&h->kept))
        return h;
    handler_free(h);
    return NULL;
}

int telemetry_attach(struct telemetry_handlers *hs, const struct handler_wanted *w)
{
    uint32_t events = w->events;
    struct list *it, *next;
    list_each_safe(it, next, &hs->all)
        if (is_same(handler_at(it), w->id, w->full_names))
            events &= ~handler_at(it)->events;
    if (!events)
        return BG_OK;
    if (hs->count >= HANDLERS_MAX || w->id.len + w->fun.len + w->config.len > HANDLER_TERMS_MAX)
        return BG_ELIMIT;
    struct handler *h = handler_new(hs, w);
    if (!h)
        return BG_ENOMEM;
    h->events = events;
    list_append(&hs->all, &h->all);
    hs->count++;
    update_wanted(hs);
    log_info("telemetry", "handler attached", "id=%s node=%s events=%d", log_text(h->id),
             w->link ? log_text(dist_link_node(w->link)) : "", __builtin_popcount(events));
    return BG_OK;
}

void telemetry_detach(struct telemetry_handlers *hs, struct slice id, bool full_names, uint32_t events)
{
    struct list *it, *next;
    list_each_safe(it, next, &hs->all)
    {
        struct handler *h = handler_at(it);
        if (!(h->events & events) || !is_same(h, id, full_names))
            continue;
        h->events &= ~events;
        if (h->events)
            continue;
        log_info("telemetry", "handler detached", "id=%s reason=asked", log_text(h->id));
        if (!h->queued && !h->working)
            handler_free(h);
    }
    update_wanted(hs);
}

void telemetry_link_down(struct telemetry_handlers *hs, handle_t link)
{
    struct list *it, *next;
    list_each_safe(it, next, &hs->all)
        if (handler_at(it)->fun.len && handler_at(it)->link == link)
            drop(handler_at(it), "nodedown");
}

struct telemetry_handlers *telemetry_handlers_new(struct server *s)
{
    struct telemetry_handlers *hs = calloc(1, sizeof(*hs));
    if (!hs)
        return NULL;
    hs->server = s;
    list_init(&hs->all);
    buf_init(&hs->batch, 0);
    telemetry_init(&s->telemetry, &s->metrics, on_event, hs);
    return hs;
}

void telemetry_handlers_free(struct telemetry_handlers *hs)
{
    if (!hs)
        return;
    telemetry_fini(&hs->server->telemetry);
    while (!list_empty(&hs->all))
        handler_free(handler_at(hs->all.next));
    buf_fini(&hs->batch);
    free(hs);
}
