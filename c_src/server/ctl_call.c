/*
 * ctl_call.c: `beamgate ctl call`: a request through the same pipeline as a client's, by way of executor.h, and its
 * Responses as they come. Who asks is what --user and --roles say: whoever may use the socket may be anybody.
 *
 * Invariant: the request is cancelled when the command line goes; Responses are kept up to KEPT_MAX bytes for one that
 * reads slowly, then it ends with an error.
 */
#include "ctl.h"

#include <stdlib.h>

#include "executor.h"
#include "json.h"
#include "response.h"

enum { KEPT_MAX = 8 * 1024 * 1024, ROLES_MOST = 64, TIMEOUT_MAX_MS = 86400000 };

struct ctl_call {
    struct ctl_job *job;
    handle_t run; /* HANDLE_NONE: over, or not begun */
    struct timer timer;
    struct buf rows;
    bool done;
};

/* ---- what the pipeline says ---------------------------------------------------------------------------- */

static void wake(const struct ctl_call *c)
{
    ctl_wake(c->job->server->ctl, c->job->self);
}

static void fail(struct ctl_call *c, const char *text)
{
    if (!c->job->error.text[0])
        err_set(&c->job->error, BG_EINVAL, 0, "%s", text);
    c->done = true;
}

/* A result that has no JSON is what a client would be told, too (E-010). */
static void on_response(void *owner, struct slice request_id, const struct response *resp)
{
    struct ctl_call *c = owner;
    struct err e = {.text = ""};
    size_t start = c->rows.len;
    buf_puts(&c->rows, "{\"row\":");
    int rc = response_put(&c->rows, request_id, resp, &e);
    if (rc != BG_OK) {
        buf_truncate(&c->rows, start);
        fail(c, rc == BG_ELIMIT ? "too much came for one who reads so slowly" : e.text);
    } else {
        buf_puts(&c->rows, "}\n");
    }
    if (!buf_ok(&c->rows))
        fail(c, "too much came for one who reads so slowly");
    wake(c);
}

static void on_reply(void *owner, bool ok, struct slice text)
{
    struct buf reason;
    if (ok)
        return;
    buf_init(&reason, sizeof(((struct err *)0)->text));
    if (json_kind(text) == JSON_STRING)
        json_string_text(text, &reason);
    else
        buf_add_slice(&reason, text);
    buf_putc(&reason, '\0');
    fail(owner, buf_ok(&reason) ? (const char *)reason.data : "the request was refused");
    buf_fini(&reason);
    wake(owner);
}

static void on_done(void *owner)
{
    struct ctl_call *c = owner;
    c->run = HANDLE_NONE;
    c->done = true;
    wake(c);
}

static void on_timeout(struct timer *t)
{
    struct ctl_call *c = container_of(t, struct ctl_call, timer);
    fail(c, "no answer within the time given");
    wake(c);
}

static const struct executor_ops call_ops = {on_response, on_reply, on_done};

/* ---- the request --------------------------------------------------------------------------------------- */

static void put_member(struct buf *b, const char *key, struct slice text)
{
    buf_printf(b, ",\"%s\":", key);
    json_put_text(b, text);
}

/* {"request_id":...,"service":...,"request_type":...,"args":...} */
static bool put_payload(const struct ctl_job *job, struct buf *b)
{
    const struct ctl_request *r = &job->request;
    struct slice args = r->argc > 2 ? r->args[2] : SLICE_LIT("{}"), raw, version = ctl_request_option(r, "version");
    struct json_limits limits = {job->server->config->requests.max_depth, job->server->config->requests.max_keys};
    struct json_reader reader = json_reader(args);
    if (json_value(&reader, &limits, &raw, NULL) != BG_OK || json_finish(&reader, NULL) != BG_OK ||
        json_kind(raw) != JSON_OBJECT)
        return false;
    buf_printf(b, "{\"request_id\":\"ctl-%016llx\"", (unsigned long long)random_u64());
    put_member(b, "service", r->args[0]);
    put_member(b, "request_type", r->args[1]);
    if (version.ptr)
        put_member(b, "version", version);
    buf_puts(b, ",\"args\":");
    buf_add_slice(b, raw);
    buf_putc(b, '}');
    return buf_ok(b);
}

/* Names with commas between; empty ones are none. */
static uint32_t split_roles(struct slice text, struct slice roles[ROLES_MOST])
{
    uint32_t n = 0;
    while (text.len > 0 && n < ROLES_MOST) {
        const char *comma = memchr(text.ptr, ',', text.len);
        size_t len = comma ? (size_t)(comma - text.ptr) : text.len, step = len + (comma != NULL);
        if (len > 0)
            roles[n++] = slice_make(text.ptr, len);
        text = slice_make(text.ptr + step, text.len - step);
    }
    return n;
}

static bool run(struct ctl_call *c, struct slice payload)
{
    static const struct channel_rules rules = {.override_user_id = true, .require_verified_user_id = false};
    struct slice roles[ROLES_MOST];
    const struct ctl_request *r = &c->job->request;
    struct session who = {.user_id = ctl_request_option(r, "user"), .roles = roles, .ip_address = SLICE_LIT("ctl")};
    who.roles_count = split_roles(ctl_request_option(r, "roles"), roles);
    c->run = executor_run(c->job->server, payload, &who, &rules, &call_ops, c);
    return c->run != HANDLE_NONE;
}

static void end(struct ctl_job *job)
{
    struct ctl_call *c = job->state;
    executor_cancel(job->server, c->run);
    timer_disarm(&job->server->timers, &c->timer);
    buf_fini(&c->rows);
    free(c);
    job->state = NULL;
}

static enum ctl_step begin(struct ctl_job *job)
{
    struct buf payload;
    uint64_t ms;
    struct ctl_call *c = calloc(1, sizeof(*c));
    if (!c)
        return CTL_FAILED;
    c->job = job;
    c->timer.fn = on_timeout;
    buf_init(&c->rows, KEPT_MAX);
    job->state = c;
    job->end = end;
    buf_init(&payload, 0);
    if (!put_payload(job, &payload))
        fail(c, "the third argument must be a JSON object");
    else if (ctl_request_number(&job->request, "timeout", 0, TIMEOUT_MAX_MS, &ms) != BG_OK)
        fail(c, "--timeout is a number of milliseconds, at most a day");
    else if (!run(c, buf_slice(&payload)))
        fail(c, "no room for one more request");
    else if (ms && timer_arm_in(&job->server->timers, &c->timer, ms * 1000) != BG_OK)
        fail(c, "no memory");
    buf_fini(&payload);
    return CTL_WAIT;
}

enum ctl_step ctl_step_call(struct ctl_job *job, struct buf *out)
{
    if (!job->state && begin(job) == CTL_FAILED) {
        err_set(&job->error, BG_ENOMEM, 0, "no memory");
        return CTL_FAILED;
    }
    struct ctl_call *c = job->state;
    buf_add_slice(out, buf_slice(&c->rows));
    buf_shrink(&c->rows, 0);
    if (!c->done)
        return CTL_WAIT;
    return job->error.text[0] ? CTL_FAILED : CTL_DONE;
}
