/*
 * ctl_trace.c: `beamgate ctl trace`: requests as they happen, until Ctrl-C. What is traced and how much of it is
 * tracer.c's affair; here the messages wait for the command line to read them.
 *
 * Invariant: for one that reads slowly KEPT_MAX bytes are kept; what does not fit is left out and counted.
 */
#include "ctl.h"

#include <stdlib.h>

#include "tracer.h"

enum { KEPT_MAX = 1024 * 1024 };

struct ctl_trace {
    struct ctl_job *job;
    uint32_t id;
    bool on; /* the tracer has it */
    const char *ended;
    uint64_t lost;
    struct buf rows;
};

static void on_message(void *ctx, uint32_t id, struct slice json)
{
    struct ctl_trace *t = ctx;
    (void)id;
    if (t->rows.len + json.len > KEPT_MAX) {
        t->lost++;
        return;
    }
    buf_puts(&t->rows, "{\"row\":");
    buf_add_slice(&t->rows, json);
    buf_puts(&t->rows, "}\n");
    ctl_wake(t->job->server->ctl, t->job->self);
}

static void on_ended(void *ctx, uint32_t id, enum trace_end why)
{
    struct ctl_trace *t = ctx;
    (void)id;
    t->on = false;
    t->ended = trace_end_text(why);
    ctl_wake(t->job->server->ctl, t->job->self);
}

static void end(struct ctl_job *job)
{
    struct ctl_trace *t = job->state;
    if (t->on)
        tracer_stop(job->server->tracer, t->id);
    buf_fini(&t->rows);
    free(t);
    job->state = NULL;
}

/* The trace ends with the command line, so by itself it may go on for long. */
static bool begin(struct ctl_job *job)
{
    struct ctl_trace *t = calloc(1, sizeof(*t));
    struct trace_wanted w;
    const struct ctl_request *r = &job->request;
    if (!t) {
        err_set(&job->error, BG_ENOMEM, 0, "no memory");
        return false;
    }
    t->job = job;
    buf_init(&t->rows, 0);
    job->state = t;
    job->end = end;
    trace_wanted_init(&w);
    w.to_log = false;
    w.filter.user_id = ctl_request_option(r, "user");
    w.filter.topic = ctl_request_option(r, "topic");
    w.filter.service = ctl_request_option(r, "service");
    w.filter.request_type = ctl_request_option(r, "type");
    w.filter.request_id = ctl_request_option(r, "request-id");
    w.listener = (struct trace_listener){t, on_message, on_ended};
    w.max_messages = TRACE_MESSAGES_MAX;
    w.expires_ms = TRACE_EXPIRES_MS_MAX;
    t->on = tracer_start(job->server->tracer, &w, &t->id, &job->error) == BG_OK;
    return t->on;
}

enum ctl_step ctl_step_trace(struct ctl_job *job, struct buf *out)
{
    if (!job->state && !begin(job))
        return CTL_FAILED;
    struct ctl_trace *t = job->state;
    buf_add_slice(out, buf_slice(&t->rows));
    buf_reset(&t->rows);
    if (t->lost) {
        ctl_row_begin(out);
        ctl_row_number(out, "lost", t->lost);
        ctl_row_end(out);
        t->lost = 0;
    }
    if (!t->ended)
        return CTL_WAIT;
    err_set(&job->error, BG_EGONE, 0, "the trace has ended: %s", t->ended);
    return CTL_FAILED;
}
