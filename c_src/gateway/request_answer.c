/*
 * request_answer.c: frames to the client, and the ways in which a request ends. The push goes before the reply
 * (E-001); whoever finishes a request here has given it its one terminal answer.
 */
#include "request_internal.h"

#include "log.h"

static const char internal_error[] = "Internal Server Error";

int request_push(const struct request *r, const struct response *resp, struct err *e)
{
    const struct client_ops *client = &r->gw->o.client;
    if (client->take && client->take(client->ctx, r->channel, request_text(r, r->request_id), resp))
        return BG_OK;
    struct buf *out = client->push_begin(client->ctx, r->channel);
    if (!out)
        return BG_OK;
    size_t before = out->len;
    int rc = response_put(out, request_text(r, r->request_id), resp, e);
    if (r->traced && rc == BG_OK)
        trace_send(r, resp, out->len - before);
    /* What has no result of a service is as small as it gets: without room for it the client must not be left waiting, and is
     * closed by whoever ends a frame that failed. */
    bool hopeless = !buf_ok(out) && resp->result_term.len == 0;
    client->push_end(client->ctx, r->channel, rc == BG_OK || hopeless);
    return rc;
}

void request_reply_ok(const struct request *r)
{
    const struct client_ops *client = &r->gw->o.client;
    if (r->told)
        tell_stop(r);
    client->reply(client->ctx, r->channel, request_text(r, r->ref), "ok", request_text(r, r->request_type));
}

static void reply_error(const struct request *r, struct slice text)
{
    const struct client_ops *client = &r->gw->o.client;
    struct buf json;
    buf_init(&json, 0);
    json_put_text(&json, text);
    client->reply(client->ctx, r->channel, request_text(r, r->ref), "error",
                  buf_ok(&json) ? buf_slice(&json) : SLICE_LIT("null"));
    buf_fini(&json);
}

static void push_error(const struct request *r, struct slice text, bool can_retry)
{
    const struct response resp = {.error = text, .can_retry = can_retry};
    request_push(r, &resp, NULL);
    hook_after(r, &resp);
}

void finish_not_run(struct request *r, struct slice pushed, struct slice reason)
{
    metric_inc(r->gw->o.metrics, METRIC_REQUESTS_ERROR);
    if (r->told)
        tell_exception(r, reason);
    push_error(r, pushed, false);
    reply_error(r, reason);
    request_finish(r);
}

void finish_invalid(struct request *r, struct slice reason)
{
    struct buf text;
    buf_init(&text, 0);
    buf_puts(&text, "Invalid request: ");
    buf_add_slice(&text, reason);
    finish_not_run(r, buf_slice(&text), reason);
    buf_fini(&text);
}

/* Once none has been dispatched nobody listens (E-137). */
void finish_error(struct request *r, struct slice text, bool can_retry)
{
    metric_inc(r->gw->o.metrics, METRIC_REQUESTS_ERROR);
    r->failed = true;
    if (r->told)
        tell_failed(r, text);
    if (!r->dispatched || r->fc->response_type != RESPONSE_NONE)
        push_error(r, text, can_retry);
    if (!r->dispatched)
        request_reply_ok(r);
    request_finish(r);
}

void request_log(const struct request *r, const char *msg, struct slice value)
{
    struct buf text;
    buf_init(&text, INSPECT_MAX);
    if (value.len)
        term_inspect(value, &text, INSPECT_MAX / 2);
    log_limited(LOG_WARNING, "request", msg, "service=%s request_type=%s reason=%s", log_text(r->fc->service),
                log_text(r->fc->request_type), log_text(buf_slice(&text)));
    buf_fini(&text);
}

void finish_value(struct request *r, struct slice value)
{
    struct err e;
    const struct response resp = {.result_term = value};
    if (r->fc->response_type != RESPONSE_NONE && request_push(r, &resp, &e) != BG_OK) {
        log_limited(LOG_WARNING, "request", "result cannot be sent", "service=%s request_type=%s reason=%s",
                    log_text(r->fc->service), log_text(r->fc->request_type), log_text(slice_str(e.text)));
        finish_error(r, SLICE_LIT(internal_error), false);
        return;
    }
    metric_inc(r->gw->o.metrics, METRIC_REQUESTS_OK);
    hook_after(r, &resp);
    if (!r->dispatched)
        request_reply_ok(r);
    request_finish(r);
}

/* The detail that the operator allowed, as Elixir shows it between before and after. */
static void finish_detailed(struct request *r, struct slice reason, bool from_service, const char *before, const char *after)
{
    struct slice given;
    if (from_service && r->gw->o.pass_error_reason && term_text(reason, &given)) {
        finish_error(r, given, false);
        return;
    }
    struct buf text;
    buf_init(&text, 0);
    buf_puts(&text, internal_error);
    if (r->gw->o.detail_error) {
        buf_puts(&text, before);
        if (reason.len)
            term_inspect(reason, &text, INSPECT_MAX);
        else
            buf_puts(&text, ":retry_exhausted");
        buf_puts(&text, after);
    }
    finish_error(r, buf_slice(&text), false);
    buf_fini(&text);
}

void finish_failure(struct request *r, struct slice reason, bool from_service)
{
    finish_detailed(r, reason, from_service, ": {:error, ", "}");
}

void finish_stream_failure(struct request *r, struct slice reason)
{
    finish_detailed(r, reason, true, ": ", "");
}
