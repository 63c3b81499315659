/*
 * response.c: see response.h. The key order is what clients of the library have always seen (recorded, not
 * promised by anybody): error, async, success, result, request_id, can_retry, has_more.
 */
#include "response.h"

#include "json.h"
#include "transcode.h"

static int put_result(struct buf *out, const struct response *resp, struct err *e)
{
    if (resp->result_term.len)
        return term_to_json(resp->result_term, out, NULL, e);
    buf_add_slice(out, resp->result_json.len ? resp->result_json : SLICE_LIT("null"));
    return BG_OK;
}

/* Everything before the result. */
static void put_head(struct buf *out, const struct response *resp)
{
    if (!resp->error.ptr && !resp->async) { /* nearly all */
        buf_puts(out, "{\"error\":null,\"async\":false,\"success\":true,\"result\":");
        return;
    }
    buf_puts(out, "{\"error\":");
    if (resp->error.ptr)
        json_put_text(out, resp->error);
    else
        buf_puts(out, "null");
    buf_puts(out, resp->async ? ",\"async\":true" : ",\"async\":false");
    buf_puts(out, resp->error.ptr ? ",\"success\":false" : ",\"success\":true");
    buf_puts(out, ",\"result\":");
}

int response_put(struct buf *out, struct slice request_id, const struct response *resp, struct err *e)
{
    put_head(out, resp);
    int rc = put_result(out, resp, e);
    if (rc != BG_OK)
        return rc;
    buf_puts(out, ",\"request_id\":");
    buf_add_slice(out, request_id);
    if (resp->can_retry)
        buf_puts(out, resp->has_more ? ",\"can_retry\":true,\"has_more\":true}" : ",\"can_retry\":true,\"has_more\":false}");
    else if (resp->has_more)
        buf_puts(out, ",\"can_retry\":false,\"has_more\":true}");
    else
        buf_puts(out, ",\"can_retry\":false,\"has_more\":false}");
    if (!buf_ok(out))
        return err_set(e, BG_ELIMIT, 0, "the answer is larger than a client may have waiting");
    return BG_OK;
}
