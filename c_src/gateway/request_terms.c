/*
 * request_terms.c: the structs that a service node is shown about a request, as terms: %Request{} (F-100) and
 * %Response{} (F-110). Only writing; who is asked what, and when, is the affair of request_hook.c.
 *
 * Nothing here trusts the payload: the user is the session's where E-002 says so, and the roles always are (E-024 want),
 * or a hook's, which the service itself has given.
 */
#include "request_internal.h"

#include "transcode.h"

static void put_key(struct buf *out, const char *key)
{
    term_put_atom(out, key);
}

/* A value that a hook gave may nest deeper than a client's. The part of it that is written then must go: half a term in
 * a packet makes a node give up the whole link. Where out itself is full it stays failed, and nothing is sent. */
void put_raw_or_nil(struct buf *out, struct slice raw, const struct json_limits *lim)
{
    size_t before = out->len;
    if (raw.ptr && json_to_term(raw, out, lim, NULL) == BG_OK)
        return;
    if (buf_ok(out))
        buf_truncate(out, before);
    term_put_atom(out, "nil");
}

static void put_field(struct buf *out, const char *key, struct slice raw, const struct json_limits *lim)
{
    put_key(out, key);
    put_raw_or_nil(out, raw, lim);
}

static void put_roles(struct buf *out, const struct session *who)
{
    put_key(out, "user_roles");
    if (who->roles_count == 0) {
        term_put_atom(out, "nil");
        return;
    }
    term_put_list(out, who->roles_count);
    for (uint32_t i = 0; i < who->roles_count; i++)
        term_put_binary(out, who->roles[i]);
    term_put_nil(out);
}

void put_request(struct buf *out, const struct asked *a, const struct json_limits *lim)
{
    term_put_map(out, 9);
    put_key(out, "__struct__");
    term_put_atom(out, "Elixir.PhoenixGenApi.Structs.Request");
    put_key(out, "user_id");
    if (a->overridden)
        term_put_binary(out, a->who->user_id);
    else
        put_raw_or_nil(out, a->f.user_id, lim);
    put_field(out, "device_id", a->f.device_id, lim);
    put_field(out, "request_type", a->f.request_type, lim);
    put_field(out, "request_id", a->f.request_id, lim);
    put_field(out, "service", a->f.service, lim);
    put_field(out, "version", a->f.version, lim);
    put_key(out, "args");
    if (a->f.args.ptr)
        put_raw_or_nil(out, a->f.args, lim);
    else
        term_put_map(out, 0);
    put_roles(out, a->who);
}

static void put_flag(struct buf *out, const char *key, bool value)
{
    put_key(out, key);
    term_put_atom(out, value ? "true" : "false");
}

void put_response(struct buf *out, const struct request *r, const struct response *resp)
{
    term_put_map(out, 8);
    put_key(out, "__struct__");
    term_put_atom(out, "Elixir.PhoenixGenApi.Structs.Response");
    put_field(out, "request_id", request_text(r, r->request_id), &r->gw->o.json);
    put_key(out, "result");
    if (resp->result_term.len)
        term_put_raw(out, resp->result_term);
    else
        put_raw_or_nil(out, resp->result_json, &r->gw->o.json);
    put_flag(out, "success", !resp->error.ptr);
    put_key(out, "error");
    if (resp->error.ptr)
        term_put_binary(out, resp->error);
    else
        term_put_atom(out, "nil");
    put_flag(out, "async", resp->async);
    put_flag(out, "has_more", resp->has_more);
    put_flag(out, "can_retry", resp->can_retry);
}
