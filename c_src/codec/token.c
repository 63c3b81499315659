/*
 * token.c: see token.h. The terms have been through term_check() with TOKEN_DEPTH_MAX; nothing here decides whether a
 * token is to be trusted, only what it says.
 */
#include "token.h"

#include "json.h"

const char *token_verdict_text(enum token_verdict v)
{
    static const char *const text[] = {
        [TOKEN_OK] = "ok",
        [TOKEN_MALFORMED] = "malformed",
        [TOKEN_BAD_SIGNATURE] = "bad signature",
        [TOKEN_BAD_CONTENT] = "content not acceptable",
        [TOKEN_EXPIRED] = "expired",
        [TOKEN_NO_MEMORY] = "no memory",
        [TOKEN_NO_KEY] = "no key fits its algorithm and kid",
        [TOKEN_NOT_YET] = "not valid yet",
        [TOKEN_WRONG_ISSUER] = "issued by somebody else",
        [TOKEN_WRONG_AUDIENCE] = "meant for somebody else",
    };
    return text[v];
}

/* Keys are atoms or binaries: %{user_id: 1} and %{"user_id" => 1} are both common. */
static bool find_key(struct slice map, struct slice key, struct slice *value)
{
    struct term_reader r = term_reader(map);
    struct slice k, text;
    uint32_t n;
    if (term_read_map(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (term_skip(&r, &k) != BG_OK || term_skip(&r, value) != BG_OK)
            return false;
        if (term_text(k, &text) && slice_eq(text, key))
            return true;
    }
    return false;
}

bool token_find(struct slice term, const char *path, struct slice *value)
{
    *value = term;
    for (int i = 0; path && *path; i++) {
        size_t n = strcspn(path, ".");
        if (i == TOKEN_PATH_PARTS_MAX || !find_key(*value, slice_make(path, n), value))
            return false;
        path += path[n] ? n + 1 : n;
    }
    return true;
}

int token_put_id(struct slice term, struct buf *out)
{
    struct term_reader r = term_reader(term);
    struct slice bytes;
    int64_t v;
    if (term_read_int(&r, &v) == BG_OK) {
        buf_printf(out, "%lld", (long long)v);
    } else {
        if (term_read_binary(&r, &bytes) != BG_OK || bytes.len == 0 || memchr(bytes.ptr, '\0', bytes.len) ||
            utf8_valid_prefix(bytes.ptr, bytes.len) != bytes.len)
            return BG_EINVAL;
        buf_add_slice(out, bytes);
    }
    return buf_ok(out) ? BG_OK : BG_ENOMEM;
}
