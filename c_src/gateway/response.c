/*
 * response.c: see response.h. The key order is what clients of the library have always seen (recorded, not
 * promised by anybody): error, async, success, result, request_id, can_retry, has_more.
 */
#include "response.h"

#include "json.h"
#include "transcode.h"

static void put_bool(struct buf *out, const char *key, bool value)
{
    buf_puts(out, key);
    buf_puts(out, value ? "true" : "false");
}

static int put_result(struct buf *out, const struct response *resp, struct err *e)
{
    if (resp->result_term.len)
        return term_to_json(resp->result_term, out, NULL, e);
    buf_add_slice(out, resp->result_json.len ? resp->result_json : SLICE_LIT("null"));
    return BG_OK;
}

int response_put(struct buf *out, struct slice request_id, const struct response *resp, struct err *e)
{
    buf_puts(out, "{\"error\":");
    if (resp->error.ptr)
        json_put_text(out, resp->error);
    else
        buf_puts(out, "null");
    put_bool(out, ",\"async\":", resp->async);
    put_bool(out, ",\"success\":", !resp->error.ptr);
    buf_puts(out, ",\"result\":");
    int rc = put_result(out, resp, e);
    if (rc != BG_OK)
        return rc;
    buf_puts(out, ",\"request_id\":");
    buf_add_slice(out, request_id);
    put_bool(out, ",\"can_retry\":", resp->can_retry);
    put_bool(out, ",\"has_more\":", resp->has_more);
    buf_putc(out, '}');
    if (!buf_ok(out))
        return err_set(e, BG_ELIMIT, 0, "the answer is larger than a client may have waiting");
    return BG_OK;
}
