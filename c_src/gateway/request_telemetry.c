/*
 * request_telemetry.c: what becomes of a request, as the library's telemetry events (O-001..O-021), with its keys. A
 * request is told of from its start or not at all, so that whoever counts starts and stops can compare them; only a
 * client that leaves ends one without a stop.
 *
 * What a client or a service sent is in no event: not the arguments, not the results, and not an argument by whose value
 * a rate limit counts. Texts of errors are, as the client reads them.
 */
#include "request_internal.h"

#include <stdlib.h>

enum { FACTS = 4 };

static const char *const pool_names[] = {"async_pool", "stream_pool"};

static struct buf *begin(const struct request *r, enum telemetry_event event)
{
    return buf_ok(&r->text) ? telemetry_begin(r->gw->telemetry, event) : NULL;
}

static void end(const struct request *r)
{
    telemetry_end(r->gw->telemetry);
}

/* ---- executor ------------------------------------------------------------------------------------------ */

/* request_id, request_type, service, user_id: as they came, but for the user, whom the session tells (E-002). */
static void keep_facts(struct request *r, const struct asked *a)
{
    const struct json_limits *lim = &r->gw->o.json;
    struct buf b;
    buf_init(&b, 0);
    term_put_atom(&b, "request_id");
    put_raw_or_nil(&b, a->f.request_id, lim);
    term_put_atom(&b, "request_type");
    put_raw_or_nil(&b, a->f.request_type, lim);
    term_put_atom(&b, "service");
    put_raw_or_nil(&b, a->f.service, lim);
    term_put_atom(&b, "user_id");
    if (a->overridden)
        term_put_binary(&b, a->who->user_id);
    else
        put_raw_or_nil(&b, a->f.user_id, lim);
    r->told = buf_ok(&b);
    r->facts = request_keep(r, buf_slice(&b));
    buf_fini(&b);
}

static void put_facts(const struct request *r, uint32_t more, struct buf *b)
{
    term_put_map(b, FACTS + more);
    buf_add_slice(b, request_text(r, r->facts));
}

void tell_start(struct request *r, const struct asked *a)
{
    r->came_us = clock_now_us();
    keep_facts(r, a);
    struct buf *b = r->told ? begin(r, TELEMETRY_REQUEST_START) : NULL;
    if (!b)
        return;
    telemetry_put_system_time(b);
    put_facts(r, 0, b);
    end(r);
}

/* O-032: none was answered at once, but not by a Response that is async. */
void tell_stop(const struct request *r)
{
    struct buf *b = begin(r, TELEMETRY_REQUEST_STOP);
    if (!b)
        return;
    bool beside = r->fc && (r->fc->response_type == RESPONSE_ASYNC || r->fc->response_type == RESPONSE_STREAM);
    telemetry_put_duration(b, r->came_us);
    put_facts(r, 2, b);
    telemetry_put_word(b, "success", r->failed ? "false" : "true");
    telemetry_put_word(b, "async", beside && !r->failed ? "true" : "false");
    end(r);
}

void tell_exception(const struct request *r, struct slice reason)
{
    struct buf *b = begin(r, TELEMETRY_REQUEST_EXCEPTION);
    if (!b)
        return;
    telemetry_put_duration(b, r->came_us);
    put_facts(r, 3, b);
    telemetry_put_word(b, "kind", "error");
    telemetry_put_text(b, "reason", reason);
    term_put_atom(b, "stacktrace");
    term_put_nil(b);
    end(r);
}

/* ---- retry --------------------------------------------------------------------------------------------- */

static const char *retry_mode(const struct request *r)
{
    return r->fc->retry_mode == RETRY_SAME_NODE ? "same_node" : "all_nodes";
}

void tell_retry(const struct request *r, uint64_t backoff_ms)
{
    struct buf *b = begin(r, TELEMETRY_RETRY);
    if (!b)
        return;
    term_put_map(b, 2);
    term_put_atom(b, "attempt");
    term_put_uint(b, r->fc->retry_count - r->round);
    term_put_atom(b, "backoff_ms");
    term_put_uint(b, backoff_ms);
    term_put_map(b, 3);
    telemetry_put_word(b, "mode", retry_mode(r));
    telemetry_put_word(b, "type", "remote");
    term_put_atom(b, "nodes");
    term_put_list(b, r->candidate_count);
    for (uint32_t i = 0; i < r->candidate_count; i++)
        term_put_atom_slice(b, call_node_name(r, i));
    if (r->candidate_count)
        term_put_nil(b);
    end(r);
}

void tell_exhausted(const struct request *r, struct slice reason)
{
    bool retried = r->fc->retry_mode != RETRY_NONE && r->stream == HANDLE_NONE;
    struct buf *b = retried ? begin(r, TELEMETRY_RETRY_EXHAUSTED) : NULL, text;
    struct term_reader facts = term_reader(request_text(r, r->facts));
    struct slice key, id;
    if (!b || term_skip(&facts, &key) != BG_OK || term_skip(&facts, &id) != BG_OK)
        return;
    telemetry_put_nothing(b);
    term_put_map(b, 3);
    term_put_raw(b, key);
    term_put_raw(b, id);
    term_put_atom(b, "mode");
    term_put_tuple(b, 2);
    term_put_atom(b, retry_mode(r));
    term_put_uint(b, 0);
    buf_init(&text, 0);
    buf_puts(&text, "{:error, ");
    if (reason.len)
        term_inspect(reason, &text, INSPECT_MAX);
    else
        buf_puts(&text, ":nodedown");
    buf_puts(&text, "}");
    telemetry_put_text(b, "last_error", buf_slice(&text));
    buf_fini(&text);
    end(r);
}

/* ---- rate limiter -------------------------------------------------------------------------------------- */

/* The facts whose keys are among the wanted, which stand in their order. */
static void put_some_facts(const struct request *r, const char *const *wanted, struct buf *b)
{
    struct term_reader facts = term_reader(request_text(r, r->facts));
    struct slice key, value;
    for (unsigned i = 0; i < FACTS && term_skip(&facts, &key) == BG_OK && term_skip(&facts, &value) == BG_OK; i++) {
        if (!*wanted || !term_is_atom(key, *wanted))
            continue;
        wanted++;
        term_put_raw(b, key);
        term_put_raw(b, value);
    }
}

static void tell_exceeded(const struct request *r, const struct rate_finding *f, struct slice value)
{
    static const char *const who[] = {"request_id", "user_id", NULL};
    struct buf *b = begin(r, TELEMETRY_RATE_EXCEEDED);
    if (!b)
        return;
    telemetry_put_number(b, "retry_after_ms", f->retry_after_ms);
    term_put_map(b, 6);
    put_some_facts(r, who, b);
    term_put_atom(b, "key");
    rate_put_value(f->limit, value, b);
    term_put_atom(b, "scope");
    rate_put_scope(f->limit, b);
    term_put_atom(b, "max_requests");
    term_put_uint(b, f->limit->max_requests);
    term_put_atom(b, "current_requests");
    term_put_uint(b, f->current_requests);
    end(r);
}

/* The instance is the library's first: one thread counts. */
void tell_limit(const struct request *r, enum rate_verdict verdict, const struct rate_result *res, struct slice value,
                uint64_t since_us)
{
    struct buf *b = begin(r, TELEMETRY_RATE_CHECK);
    if (b) {
        telemetry_put_duration(b, since_us);
        put_facts(r, 2, b);
        telemetry_put_word(b, "instance", "rate_limiter_instance_0");
        term_put_atom(b, "result");
        rate_put_verdict(verdict, res, value, b);
        end(r);
    }
    if (verdict == RATE_LIMITED)
        tell_exceeded(r, &res->refused, value);
}

/* ---- hooks --------------------------------------------------------------------------------------------- */

/* Metadata of a hook's event, of which more pairs may follow. */
static void put_hook(const struct mfa *hook, const char *type, uint32_t more, struct buf *b)
{
    term_put_map(b, 3 + more);
    term_put_atom(b, "module");
    term_put_atom_slice(b, hook->module);
    term_put_atom(b, "function");
    term_put_atom_slice(b, hook->function);
    telemetry_put_word(b, "type", type);
}

/* O-0331's texts: a time-out says so, all else is inspected. */
static void put_hook_failure(const struct fun_config *fc, enum call_outcome outcome, struct slice value, struct buf *b)
{
    struct buf text;
    buf_init(&text, 0);
    if (outcome == CALL_TIMEOUT)
        buf_printf(&text, "hook timed out after %ums", fc->hook_timeout_ms);
    else if (value.len)
        term_inspect(value, &text, INSPECT_MAX);
    else
        buf_puts(&text, ":nodedown");
    telemetry_put_word(b, "kind", outcome == CALL_TIMEOUT ? "timeout" : "error");
    telemetry_put_text(b, "reason", buf_slice(&text));
    telemetry_put_word(b, "stacktrace", "nil");
    buf_fini(&text);
}

/* start, stop and exception of a hook stand in this order after the first. */
static void tell_hook(struct telemetry *t, const struct fun_config *fc, enum telemetry_event first, uint64_t since_us,
                      enum call_outcome outcome, struct slice value)
{
    bool before = first == TELEMETRY_HOOK_BEFORE_START, failed = outcome != CALL_RETURN;
    struct buf *b = telemetry_begin(t, first + (failed ? 2u : 1u));
    if (!b)
        return;
    telemetry_put_duration(b, since_us);
    put_hook(before ? &fc->before_execute : &fc->after_execute, before ? "before" : "after", failed ? 3 : 0, b);
    if (failed)
        put_hook_failure(fc, outcome, value, b);
    telemetry_end(t);
}

void tell_hook_start(struct request *r)
{
    struct buf *b = begin(r, TELEMETRY_HOOK_BEFORE_START);
    r->step_us = clock_now_us();
    if (!b)
        return;
    telemetry_put_system_time(b);
    put_hook(&r->fc->before_execute, "before", 0, b);
    end(r);
}

void tell_hook_end(const struct request *r, enum call_outcome outcome, struct slice value)
{
    tell_hook(r->gw->telemetry, r->fc, TELEMETRY_HOOK_BEFORE_START, r->step_us, outcome, value);
}

struct told_hook *tell_after_start(const struct request *r)
{
    struct gateway *gw = r->gw;
    struct buf *b = begin(r, TELEMETRY_HOOK_AFTER_START);
    if (b) {
        telemetry_put_system_time(b);
        put_hook(&r->fc->after_execute, "after", 0, b);
        end(r);
    }
    struct told_hook *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    *h = (struct told_hook){.gw = gw, .fc = fun_config_ref(r->fc), .since_us = clock_now_us()};
    list_append(&gw->told_hooks, &h->all);
    return h;
}

void told_hook_free(struct told_hook *h)
{
    if (!h)
        return;
    list_remove(&h->all);
    fun_config_unref(h->fc);
    free(h);
}

void tell_after_end(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct told_hook *h = owner;
    (void)tag;
    tell_hook(h->gw->telemetry, h->fc, TELEMETRY_HOOK_AFTER_START, h->since_us, outcome, value);
    told_hook_free(h);
}

/* ---- pools --------------------------------------------------------------------------------------------- */

void tell_task_start(struct request *r)
{
    struct buf *b = begin(r, TELEMETRY_TASK_START);
    r->step_us = clock_now_us();
    if (!b)
        return;
    telemetry_put_system_time(b);
    term_put_map(b, 1);
    telemetry_put_word(b, "pool_name", pool_names[r->pool]);
    end(r);
}

void tell_failed(struct request *r, struct slice text)
{
    r->failure = request_keep(r, text);
}

/* A task raises nothing here: one that ended with an error counts as the exception. */
void tell_task_end(const struct request *r)
{
    struct buf *b = begin(r, r->failed ? TELEMETRY_TASK_EXCEPTION : TELEMETRY_TASK_STOP);
    if (!b)
        return;
    telemetry_put_duration(b, r->step_us);
    term_put_map(b, r->failed ? 4 : 1);
    telemetry_put_word(b, "pool_name", pool_names[r->pool]);
    if (r->failed) {
        telemetry_put_word(b, "kind", "error");
        telemetry_put_text(b, "reason", request_text(r, r->failure));
        telemetry_put_word(b, "stacktrace", "nil");
    }
    end(r);
}

/* Breakers are of a service on a node here, not of a pool: that is where the request was, nil for one in none. */
void tell_breaker(const struct request *r, struct slice node, bool open)
{
    struct telemetry *t = r->gw->telemetry;
    struct buf *b = telemetry_begin(t, open ? TELEMETRY_BREAKER_OPEN : TELEMETRY_BREAKER_CLOSE);
    if (!b)
        return;
    telemetry_put_nothing(b);
    term_put_map(b, open ? 4 : 3);
    telemetry_put_word(b, "pool_name", r->runs ? pool_names[r->pool] : "nil");
    telemetry_put_text(b, "service", r->fc->service);
    term_put_atom(b, "node");
    term_put_atom_slice(b, node);
    if (open) {
        term_put_atom(b, "consecutive_failures");
        term_put_uint(b, r->gw->o.breaker_threshold);
    }
    telemetry_end(t);
}
