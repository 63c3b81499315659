/*
 * tracer.c: see tracer.h. Each trace is a process of this node, which is whom its messages come from and which
 * watches the one who gets them.
 *
 * Invariants: a trace sends at most max_per_second messages a second, counts what it drops and tells how many, and
 * never outlives its time, so that one that was forgotten costs nothing for long. It stops itself from its timer only,
 * never while the pipeline is telling.
 */
#include "tracer.h"

#include <stdlib.h>

#include "rpc_functions.h"
#include "trace_message.h"

struct trace {
    bool on;
    unsigned number; /* the pipeline's; also the place in the table */
    uint32_t id;
    struct tracer *tracer;
    struct trace_wanted wanted; /* its texts are in text */
    struct buf text;
    struct buf pid; /* of the receiver */
    handle_t link;
    handle_t process;
    struct timer timer;
    bool over;       /* all its messages are sent */
    uint64_t second; /* the one that is being counted */
    uint32_t in_second;
    uint32_t dropped_in_second;
    uint32_t messages;
    uint32_t dropped;
};

struct tracer {
    struct server *server;
    uint32_t last_id;
    struct buf msg;
    struct trace trace[TRACES_MAX];
};

static const char *const end_texts[] = {
    [TRACE_STOPPED] = "stopped",           [TRACE_EXPIRED] = "expired",   [TRACE_MESSAGES_OVER] = "max_messages",
    [TRACE_RECEIVER_GONE] = "tracer_gone", [TRACE_SHUTDOWN] = "shutdown",
};

const char *trace_end_text(enum trace_end why)
{
    return end_texts[why];
}

/* ---- passing on ---------------------------------------------------------------------------------------- */

/* False when the connection is gone or takes no more: the message is lost. */
static bool send_message(struct trace *t)
{
    struct server *s = t->tracer->server;
    struct dist_link *l = cluster_link_by_handle(s->cluster, t->link);
    return l && buf_ok(&t->tracer->msg) &&
           process_send_pid(s->processes, t->process, l, buf_slice(&t->pid), buf_slice(&t->tracer->msg)) == BG_OK;
}

/* Counted three ways: for the trace, for the {drop, N} of this second, for the operator. */
static void count_drop(struct trace *t)
{
    t->dropped++;
    t->dropped_in_second++;
    metric_inc(&t->tracer->server->metrics, METRIC_TRACE_DROPPED);
}

static void tell_receiver(struct trace *t, const struct trace_event *e)
{
    struct buf *b = &t->tracer->msg;
    buf_reset(b);
    trace_put_term(&t->tracer->server->self, e, t->wanted.timestamps, b);
    if (!send_message(t))
        count_drop(t);
}

static void tell_listener(struct trace *t, const struct trace_event *e)
{
    struct buf *b = &t->tracer->msg;
    buf_reset(b);
    trace_put_json(e, t->id, b);
    if (buf_ok(b))
        t->wanted.listener.message(t->wanted.listener.ctx, t->id, buf_slice(b));
}

/* {drop, N}, as trace ports on a BEAM tell it. */
static void tell_drops(struct trace *t)
{
    struct buf *b = &t->tracer->msg;
    uint32_t n = t->dropped_in_second;
    t->dropped_in_second = 0;
    if (t->wanted.to_log)
        log_info("trace", "messages dropped", "trace=%u messages=%u", t->id, n);
    if (!t->pid.len)
        return;
    buf_reset(b);
    term_put_tuple(b, 2);
    term_put_atom(b, "drop");
    term_put_uint(b, n);
    (void)send_message(t);
}

/* Counts one message in its second. False when it is one too many. */
static bool may_tell(struct trace *t)
{
    uint64_t second = t->tracer->server->timers.now_us / 1000000;
    if (second != t->second) {
        t->second = second;
        t->in_second = 0;
        if (t->dropped_in_second)
            tell_drops(t);
    }
    if (t->in_second < t->wanted.max_per_second) {
        t->in_second++;
        return true;
    }
    count_drop(t);
    return false;
}

/* calls: what goes to service nodes and comes back; frames: what clients send and get. */
static bool is_wanted(const struct trace *t, enum trace_kind kind)
{
    bool call = kind == TRACE_CALL || kind == TRACE_RETURN || kind == TRACE_EXCEPTION;
    return call ? t->wanted.calls : t->wanted.frames;
}

/* The last message is followed by the end, from the timer: the pipeline is in the middle of something. */
static void count_message(struct trace *t)
{
    struct server *s = t->tracer->server;
    metric_inc(&s->metrics, METRIC_TRACE_MESSAGES);
    t->over = ++t->messages >= t->wanted.max_messages;
    if (t->over)
        (void)timer_arm_in(&s->timers, &t->timer, 0); /* it is armed already, so this cannot fail */
}

static void on_event(void *ctx, unsigned number, const struct trace_event *e)
{
    struct tracer *tracer = ctx;
    struct trace *t = &tracer->trace[number];
    if (!t->on || t->over || !is_wanted(t, e->kind) || !may_tell(t))
        return;
    if (t->pid.len)
        tell_receiver(t, e);
    if (t->wanted.to_log)
        trace_log(e, t->id);
    if (t->wanted.listener.message)
        tell_listener(t, e);
    count_message(t);
}

struct trace_ops tracer_ops(struct tracer *t)
{
    return (struct trace_ops){t, on_event};
}

/* ---- ending -------------------------------------------------------------------------------------------- */

/* {trace_ended, Id, Reason}: ours, so that silence has a reason. */
static void tell_end(struct trace *t, enum trace_end why)
{
    struct buf *b = &t->tracer->msg;
    log_info("trace", "trace ended", "trace=%u reason=%s messages=%u dropped=%u", t->id, end_texts[why], t->messages,
             t->dropped);
    if (t->wanted.listener.ended)
        t->wanted.listener.ended(t->wanted.listener.ctx, t->id, why);
    if (!t->pid.len || why == TRACE_RECEIVER_GONE)
        return;
    if (t->dropped_in_second)
        tell_drops(t);
    buf_reset(b);
    term_put_tuple(b, 3);
    term_put_atom(b, "trace_ended");
    term_put_uint(b, t->id);
    term_put_atom(b, end_texts[why]);
    (void)send_message(t);
}

/* What a trace holds, or one that did not come to be. */
static void give_back(struct trace *t)
{
    struct server *s = t->tracer->server;
    timer_disarm(&s->timers, &t->timer);
    process_end_atom(s->processes, t->process, "normal");
    t->process = HANDLE_NONE;
    buf_fini(&t->text);
    buf_fini(&t->pid);
}

static void end(struct trace *t, enum trace_end why)
{
    struct server *s = t->tracer->server;
    gateway_trace_stop(s->gateway, t->number);
    t->on = false;
    tell_end(t, why);
    give_back(t);
    metric_dec(&s->metrics, METRIC_TRACES);
}

static void on_time_over(struct timer *timer)
{
    struct trace *t = container_of(timer, struct trace, timer);
    end(t, t->over ? TRACE_MESSAGES_OVER : TRACE_EXPIRED);
}

static void on_down(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    (void)self;
    (void)monitor;
    (void)reason;
    end(owner, TRACE_RECEIVER_GONE);
}

static void on_exit_signal(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    (void)self;
    (void)from_pid;
    if (kill || !term_is_atom(reason, "normal"))
        end(owner, TRACE_STOPPED);
}

static const struct process_ops trace_process = {.kind = "trace", .exit = on_exit_signal, .down = on_down};

/* ---- starting ------------------------------------------------------------------------------------------ */

void trace_wanted_init(struct trace_wanted *w)
{
    *w = (struct trace_wanted){.filter = {.arity = -1}, .calls = true, .frames = true, .to_log = true};
}

/* ptr NULL stays: it stands for any text, an empty one does not. */
static void keep_text(struct buf *text, struct slice *s)
{
    size_t at = text->len;
    if (!s->ptr)
        return;
    buf_add_slice(text, *s);
    if (buf_ok(text))
        *s = slice_make(text->data + at, s->len);
}

/* The room is made before, so that no text moves once it is pointed to. */
static int keep_texts(struct trace *t)
{
    struct trace_filter *f = &t->wanted.filter;
    struct slice *const texts[] = {&f->request_id,   &f->user_id, &f->topic,   &f->service,
                                   &f->request_type, &f->module,  &f->function};
    buf_init(&t->text, TRACE_TEXTS_MAX);
    buf_init(&t->pid, 0);
    if (!buf_reserve(&t->text, TRACE_TEXTS_MAX))
        return BG_ENOMEM;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        keep_text(&t->text, texts[i]);
    buf_add_slice(&t->pid, t->wanted.receiver);
    if (!buf_ok(&t->text))
        return BG_ELIMIT;
    return buf_ok(&t->pid) ? BG_OK : BG_ENOMEM;
}

static uint32_t bounded(uint32_t wanted, uint32_t fallback, uint32_t most)
{
    return wanted == 0 ? fallback : wanted < most ? wanted : most;
}

static int watch_receiver(struct trace *t)
{
    struct server *s = t->tracer->server;
    t->process = process_start(s->processes, &trace_process, t);
    if (t->process == HANDLE_NONE)
        return BG_ELIMIT;
    if (!t->pid.len)
        return BG_OK;
    t->link = dist_link_handle(t->wanted.link);
    t->wanted.receiver = buf_slice(&t->pid);
    return process_monitor(s->processes, t->process, t->wanted.link, buf_slice(&t->pid)) == HANDLE_NONE ? BG_EGONE
                                                                                                        : BG_OK;
}

static int begin(struct trace *t)
{
    struct server *s = t->tracer->server;
    struct trace_wanted *w = &t->wanted;
    w->max_messages = bounded(w->max_messages, TRACE_MESSAGES_DEFAULT, TRACE_MESSAGES_MAX);
    w->max_per_second = bounded(w->max_per_second, TRACE_PER_SECOND_DEFAULT, TRACE_PER_SECOND_MAX);
    w->expires_ms = bounded(w->expires_ms, TRACE_EXPIRES_MS_DEFAULT, TRACE_EXPIRES_MS_MAX);
    t->timer.fn = on_time_over;
    int rc = keep_texts(t);
    if (rc == BG_OK)
        rc = watch_receiver(t);
    if (rc == BG_OK)
        rc = timer_arm_in(&s->timers, &t->timer, (uint64_t)w->expires_ms * 1000);
    w->link = NULL; /* it may go; the handle stays */
    return rc;
}

static struct trace *free_place(struct tracer *tr)
{
    for (unsigned i = 0; i < TRACES_MAX; i++)
        if (!tr->trace[i].on)
            return &tr->trace[i];
    return NULL;
}

/* The places here and the pipeline's numbers are taken and given back together, so the first free ones agree. */
int tracer_start(struct tracer *tr, const struct trace_wanted *w, uint32_t *id, struct err *e)
{
    struct server *s = tr->server;
    struct trace *t = free_place(tr);
    if (!t || !s->gateway)
        return err_set(e, BG_ELIMIT, 0, "%d traces are on already", TRACES_MAX);
    *t = (struct trace){.number = (unsigned)(t - tr->trace), .id = ++tr->last_id, .tracer = tr, .wanted = *w};
    int rc = begin(t);
    if (rc != BG_OK) {
        give_back(t);
        return err_set(e, rc, 0, "%s",
                       rc == BG_EGONE ? "the tracer is no process that can be watched" : "no room for a trace");
    }
    assert_always(gateway_trace_start(s->gateway, &t->wanted.filter) == (int)t->number);
    t->on = true;
    metric_inc(&s->metrics, METRIC_TRACES);
    log_info("trace", "trace started", "trace=%u expires_ms=%u max_messages=%u max_per_second=%u", t->id,
             t->wanted.expires_ms, t->wanted.max_messages, t->wanted.max_per_second);
    *id = t->id;
    return BG_OK;
}

bool tracer_stop(struct tracer *tr, uint32_t id)
{
    for (unsigned i = 0; i < TRACES_MAX; i++) {
        if (!tr->trace[i].on || tr->trace[i].id != id)
            continue;
        end(&tr->trace[i], TRACE_STOPPED);
        return true;
    }
    return false;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

struct tracer *tracer_new(struct server *s)
{
    struct tracer *t = calloc(1, sizeof(*t));
    if (t)
        t->server = s;
    return t;
}

void tracer_free(struct tracer *t)
{
    for (unsigned i = 0; t && i < TRACES_MAX; i++)
        if (t->trace[i].on)
            end(&t->trace[i], TRACE_SHUTDOWN);
    if (t)
        buf_fini(&t->msg);
    free(t);
}

bool tracer_next(const struct tracer *t, unsigned *pos, struct trace_info *info)
{
    while (*pos < TRACES_MAX) {
        const struct trace *x = &t->trace[(*pos)++];
        uint64_t now = t->server->timers.now_us;
        if (!x->on)
            continue;
        *info = (struct trace_info){
            .id = x->id,
            .filter = &x->wanted.filter,
            .messages = x->messages,
            .dropped = x->dropped,
            .expires_in_ms = x->timer.deadline_us > now ? (x->timer.deadline_us - now) / 1000 : 0,
            .receiver = buf_slice(&x->pid),
            .to_log = x->wanted.to_log,
        };
        return true;
    }
    return false;
}
