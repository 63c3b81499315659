/*
 * fuzz_http.c: any bytes as the beginning of a client connection. Whatever is accepted as a head lies inside the bytes,
 * has no control characters, and is accepted the same when more bytes follow; a refusal stands whatever follows.
 */
#include "fuzz.h"
#include "http_head.h"
#include "query_term.h"
#include "term.h"

static void check_text(struct slice bytes, struct slice s)
{
    assert_always(s.len == 0 || (s.ptr >= bytes.ptr && s.ptr + s.len <= bytes.ptr + bytes.len));
    for (size_t i = 0; i < s.len; i++)
        assert_always((unsigned char)s.ptr[i] >= ' ' || s.ptr[i] == '\t');
}

static void check_head(struct slice bytes, const struct http_head *h)
{
    static const char *const names[] = {"vsn", "user_id", "a"};
    check_text(bytes, h->method);
    check_text(bytes, h->query);
    struct buf term;
    size_t used;
    buf_init(&term, 0);
    if (query_to_term(h->query, &term) == BG_OK)
        assert_always(term_check(term.data, term.len, QUERY_DEPTH_MAX + 2, &used, NULL) == BG_OK && used == term.len);
    buf_fini(&term);
    for (uint32_t i = 0; i < h->headers_count; i++) {
        check_text(bytes, h->headers[i].name);
        check_text(bytes, h->headers[i].value);
    }
    assert_always(h->path.len > 0 && h->path.ptr[0] == '/');
    (void)http_header_has(h, "connection", "upgrade");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct buf out;
        buf_init(&out, HTTP_HEAD_MAX);
        if (http_query_get(h->query, names[i], &out) == BG_OK)
            assert_always(out.len <= h->query.len);
        buf_fini(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    struct http_head h, again;
    size_t used = 0, used_again = 0;
    int rc = http_head_parse(bytes, &h, &used, NULL);
    if (rc == BG_OK) {
        assert_always(used > 0 && used <= size);
        check_head(bytes, &h);
        assert_always(http_head_parse(slice_make(data, used), &again, &used_again, NULL) == BG_OK &&
                      used_again == used);
    }
    /* Bytes come in pieces: a shorter look may want more, but must not say the opposite. */
    int early = http_head_parse(slice_make(data, size / 2), &again, &used_again, NULL);
    if (early != BG_EMORE)
        assert_always(early == rc);
    return 0;
}
