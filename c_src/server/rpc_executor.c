/*
 * rpc_executor.c: PhoenixGenApi.Executor.execute!/1 and execute_params!/1, StreamCall.stop/1 over rpc: a request
 * that another node hands over runs through the same pipeline as a client's. What comes back is the Response struct,
 * with the result as the service's term, not by way of JSON.
 *
 * The answer is what the library's function returns: of sync the Response, of async and stream the acknowledgement, of
 * none {ok, no_response}. Later Responses go to the calling process as messages, {async_call, R} or {stream_response,
 * R}, as the library sends them to the process that executes. When that process ends, so does its request.
 *
 * User and roles are those of the Request: whoever may call this has the cluster's cookie.
 */
#include "executor.h"
#include "rpc_request.h"

#include <stdlib.h>

#include "log.h"
#include "transcode.h"

/* A request handed over by another node. */
struct handed_over {
    struct list all;
    struct server *server;
    handle_t waiter; /* HANDLE_NONE once the call is answered */
    handle_t run;    /* HANDLE_NONE until executor_run() has returned */
    handle_t link;   /* to the caller's node */
    struct buf response; /* the last one before the reply, a term */
    struct buf request_id; /* raw JSON */
    bool stream;
    bool invalid; /* refused before anything was looked up */
    size_t caller_len;
    char caller[]; /* pid term */
};

static struct slice caller_of(const struct handed_over *h)
{
    return slice_make(h->caller, h->caller_len);
}

/* ---- the Response struct ---- */

static void put_bool(struct buf *out, const char *key, bool value)
{
    term_put_atom(out, key);
    term_put_atom(out, value ? "true" : "false");
}

static void put_json(struct buf *out, struct slice raw)
{
    if (json_to_term(raw, out, &json_limits_default, NULL) != BG_OK)
        term_put_atom(out, "nil");
}

/* Up to the key of the result... */
static void put_response_head(struct buf *out, struct slice request_id)
{
    term_put_map(out, 8);
    term_put_atom(out, "__struct__");
    term_put_atom(out, "Elixir.PhoenixGenApi.Structs.Response");
    term_put_atom(out, "request_id");
    put_json(out, request_id);
    term_put_atom(out, "result");
}

/* ...and what follows the result. */
static void put_response_tail(struct buf *out, const struct response *resp)
{
    put_bool(out, "success", !resp->error.ptr);
    term_put_atom(out, "error");
    if (resp->error.ptr)
        term_put_binary(out, resp->error);
    else
        term_put_atom(out, "nil");
    put_bool(out, "async", resp->async);
    put_bool(out, "has_more", resp->has_more);
    put_bool(out, "can_retry", resp->can_retry);
}

/* F-115's "init" is an atom before it becomes JSON, and E-146's nested Response a struct. */
static void put_result(struct buf *out, struct slice request_id, const struct response *resp)
{
    static const struct response success;
    if (resp->result_term.len) {
        term_put_raw(out, resp->result_term);
    } else if (resp->nested_term.len) {
        put_response_head(out, request_id);
        term_put_raw(out, resp->nested_term);
        put_response_tail(out, &success);
    } else if (slice_is(resp->result_json, "\"init\"")) {
        term_put_atom(out, "init");
    } else if (resp->result_json.len) {
        put_json(out, resp->result_json);
    } else {
        term_put_atom(out, "nil");
    }
}

static void put_response(struct buf *out, struct slice request_id, const struct response *resp)
{
    put_response_head(out, request_id);
    put_result(out, request_id, resp);
    put_response_tail(out, resp);
}

/* ---- what the run says ---- */

/* Once; what comes later is a message or nothing. */
static void answer(struct handed_over *h, enum rpc_outcome outcome, struct slice value)
{
    handle_t waiter = h->waiter;
    h->waiter = HANDLE_NONE;
    if (waiter != HANDLE_NONE)
        rpc_later_answer(h->server->later, waiter, outcome, value);
}

/* {async_call, Response} or {stream_response, Response} to the caller. One that cannot be sent is lost, as a message to
 * a client that does not read. */
static void send_later_response(const struct handed_over *h, struct slice request_id, const struct response *resp)
{
    struct server *s = h->server;
    struct dist_link *l = cluster_link_by_handle(s->cluster, h->link);
    struct buf msg;
    buf_init(&msg, 0);
    term_put_tuple(&msg, 2);
    term_put_atom(&msg, h->stream ? "stream_response" : "async_call");
    put_response(&msg, request_id, resp);
    bool sent = l && buf_ok(&msg) && process_send_pid(s->processes, h->run, l, caller_of(h), buf_slice(&msg)) == BG_OK;
    if (!sent)
        log_limited(LOG_WARNING, "request", "a Response for another node cannot be sent", "request_id=%s",
                    log_text(request_id));
    buf_fini(&msg);
}

static void on_response(void *owner, struct slice request_id, const struct response *resp)
{
    struct handed_over *h = owner;
    if (h->waiter == HANDLE_NONE) {
        send_later_response(h, request_id, resp);
        return;
    }
    static const char refused[] = "Invalid request: ";
    h->stream = resp->has_more;
    h->invalid = resp->error.len >= sizeof(refused) - 1 && memcmp(resp->error.ptr, refused, sizeof(refused) - 1) == 0;
    buf_reset(&h->response);
    buf_reset(&h->request_id);
    buf_add_slice(&h->request_id, request_id);
    put_response(&h->response, request_id, resp);
}

static void put_decode_error(struct buf *out, const char *code, struct slice message)
{
    rpc_put_exception(out, "Elixir.PhoenixGenApi.Errors.DecodeError", message, 2);
    term_put_atom(out, "code");
    term_put_atom(out, code);
    term_put_atom(out, "details");
    term_put_atom(out, "nil");
}

/* Where the library raises (E-007, E-008): a DecodeError, else an ArgumentError, with the reason as its message. */
static void answer_raised(struct handed_over *h, struct slice text)
{
    struct buf b, message;
    buf_init(&b, 0);
    buf_init(&message, 0);
    json_string_text(text, &message);
    bool missing = message.len > 7 && memcmp(message.data, "Missing", 7) == 0;
    if (h->invalid)
        put_decode_error(&b, missing ? "missing_field" : "invalid_payload", buf_slice(&message));
    else
        (void)rpc_argument_error(&b, buf_slice(&message));
    answer(h, RPC_ERROR, buf_slice(&b));
    buf_fini(&message);
    buf_fini(&b);
}

static void on_reply(void *owner, bool ok, struct slice text)
{
    struct handed_over *h = owner;
    if (!ok) {
        answer_raised(h, text);
    } else if (h->response.len == 0) { /* E-006 */
        static const char no_response[] = "h\2w\2okw\13no_response";
        answer(h, RPC_RETURN, slice_make(no_response, sizeof(no_response) - 1));
    } else if (buf_ok(&h->response)) {
        answer(h, RPC_RETURN, buf_slice(&h->response));
    } else {
        answer(h, RPC_EXIT, SLICE_LIT("w\14system_limit"));
    }
    buf_shrink(&h->response, 0);
}

/* A call that is still waiting then was given up from outside: killed, as by exit/2. */
static void on_done(void *owner)
{
    struct handed_over *h = owner;
    answer(h, RPC_EXIT, SLICE_LIT("w\6killed"));
    list_remove(&h->all);
    buf_fini(&h->response);
    buf_fini(&h->request_id);
    free(h);
}

/* Somebody has ended the process that stood for the call. */
static void on_waiter_gone(void *owner, handle_t waiter)
{
    struct handed_over *h = owner;
    (void)waiter;
    h->waiter = HANDLE_NONE;
    executor_cancel(h->server, h->run);
    on_done(h);
}

/* ---- execute ---- */

static struct handed_over *handed_over_new(struct server *s, const struct rpc_call *call)
{
    static const struct rpc_waiter_ops ops = {.gone = on_waiter_gone};
    struct handed_over *h = calloc(1, sizeof(*h) + call->caller.len);
    if (!h)
        return NULL;
    h->server = s;
    h->caller_len = call->caller.len;
    if (h->caller_len)
        memcpy(h->caller, call->caller.ptr, h->caller_len);
    h->link = call->link ? dist_link_handle(call->link) : HANDLE_NONE;
    buf_init(&h->response, 0);
    buf_init(&h->request_id, 0);
    list_init(&h->all);
    h->waiter = rpc_later_begin(s->later, call, &ops, h);
    if (h->waiter != HANDLE_NONE) {
        list_append(&s->executor.handed_over, &h->all);
        return h;
    }
    free(h);
    return NULL;
}

/* For what cannot even begin. */
static enum rpc_outcome exit_with(struct buf *out, const char *reason)
{
    term_put_atom(out, reason);
    return RPC_EXIT;
}

static enum rpc_outcome run(struct server *s, const struct rpc_call *call, const struct rpc_request *q, struct buf *out)
{
    static const struct executor_ops ops = {on_response, on_reply, on_done};
    static const struct channel_rules rules = {false, false};
    struct handed_over *h = handed_over_new(s, call);
    if (!h)
        return exit_with(out, "system_limit");
    h->run = executor_run(s, buf_slice(&q->json), &q->who, &rules, &ops, h);
    if (h->run == HANDLE_NONE) {
        answer(h, RPC_EXIT, SLICE_LIT("w\14system_limit"));
        on_done(h);
    } else if (call->link && call->caller.len && !executor_watch(s, h->run, call->link, call->caller)) {
        executor_cancel(s, h->run);
        on_done(h);
    }
    return RPC_LATER;
}

/* What has no JSON form: as the library's decoder refuses it. */
static enum rpc_outcome decode_error(struct buf *out, const char *text)
{
    struct buf message;
    buf_init(&message, 0);
    buf_printf(&message, "Malformed request payload: %s", text);
    put_decode_error(out, "invalid_payload", buf_slice(&message));
    buf_fini(&message);
    return RPC_ERROR;
}

static enum rpc_outcome execute(struct server *s, const struct rpc_call *call, struct buf *out)
{
    struct rpc_request q;
    struct err e = {0};
    int rc = rpc_request_read(&q, call->argv[0], &json_limits_default, &e);
    enum rpc_outcome outcome = rc == BG_OK ? run(s, call, &q, out) : decode_error(out, e.text);
    rpc_request_fini(&q);
    return outcome;
}

static enum rpc_outcome rpc_execute(void *server, const struct rpc_call *call, struct buf *out)
{
    return rpc_is_struct(call->argv[0], RPC_STRUCT_REQUEST) ? execute(server, call, out) : RPC_ERROR;
}

static enum rpc_outcome rpc_execute_params(void *server, const struct rpc_call *call, struct buf *out)
{
    struct term_reader r = term_reader(call->argv[0]);
    return term_peek(&r) == TERM_MAP ? execute(server, call, out) : RPC_ERROR;
}

/* ---- StreamCall.stop ---- */

/* The stream that this caller has started under this id. */
static bool stop_own_stream(struct server *s, struct slice caller, struct slice request_id)
{
    struct list *it, *next;
    list_each_safe(it, next, &s->executor.handed_over)
    {
        struct handed_over *h = container_of(it, struct handed_over, all);
        if (h->stream && json_string_is(buf_slice(&h->request_id), request_id) && term_equal(caller_of(h), caller))
            return executor_stop_stream(s, h->run, buf_slice(&h->request_id));
    }
    return false;
}

/* By the stream's pid: GenServer.cast, which is ok whoever that is. */
static void stop_stream_process(struct server *s, struct slice pid)
{
    static const char stop[] = "h\2w\11$gen_castw\4stop";
    handle_t p = process_resolve(s->processes, pid);
    const struct process_ops *ops = process_ops(s->processes, p);
    if (ops && strcmp(ops->kind, "stream") == 0)
        ops->message(process_owner(s->processes, p), p, NULL, slice_make(stop, sizeof(stop) - 1));
}

/* E-152: by request id only what the same process has started. */
enum rpc_outcome rpc_stop_stream(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct term_reader r = term_reader(call->argv[0]);
    struct slice id;
    if (term_peek(&r) == TERM_PID)
        stop_stream_process(s, call->argv[0]);
    else if (term_read_binary(&r, &id) != BG_OK)
        return RPC_ERROR;
    else if (!stop_own_stream(s, call->caller, id)) {
        rpc_put_pair(out, "error", "not_found");
        return RPC_RETURN;
    }
    return rpc_put_atom(out, "ok");
}

#define EXECUTOR "Elixir.PhoenixGenApi.Executor"
#define STREAM_CALL "Elixir.PhoenixGenApi.StreamCall"

const struct rpc_entry executor_entries[] = {
    {EXECUTOR, "execute!", 1, rpc_execute},
    {EXECUTOR, "execute_params!", 1, rpc_execute_params},
    {STREAM_CALL, "stop", 1, rpc_stop_stream},
};
const size_t executor_entries_count = ARRAY_SIZE(executor_entries);
