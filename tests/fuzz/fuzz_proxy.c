/* fuzz_proxy.c: headers of the PROXY protocol, whole and cut, and X-Forwarded-For as a header line of a request. */
#include "fuzz.h"

#include "client_source.h"
#include "proxy_header.h"

static void check_header(struct slice in)
{
    struct proxy_header h, again;
    size_t used = 0, used_again = 0;
    int rc = proxy_header_parse(in, &h, &used);
    if (rc != BG_OK)
        return;
    assert_always(used > 0 && used <= in.len && used <= PROXY_HEADER_MAX);
    /* Not a byte more is needed, and one less is not enough. */
    assert_always(proxy_header_parse(slice_make(in.ptr, used), &again, &used_again) == BG_OK && used == used_again);
    assert_always(h.has_address == again.has_address && ip_same(&h.address, &again.address));
    assert_always(proxy_header_parse(slice_make(in.ptr, used - 1), &again, &used_again) == BG_EMORE);
}

static void check_forwarded(struct slice in)
{
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ";
    struct ip_range trusted[2];
    struct client_source from = {.tls = false};
    struct http_head h;
    struct buf head;
    struct err e;
    size_t used;
    assert_always(ip_range_parse(SLICE_LIT("10.0.0.0/8"), &trusted[0]) == BG_OK);
    assert_always(ip_range_parse(SLICE_LIT("2001:db8::/32"), &trusted[1]) == BG_OK);
    assert_always(ip_parse(SLICE_LIT("10.0.0.1"), &from.peer) == BG_OK);
    client_source_set(&from, &from.peer);
    buf_init(&head, HTTP_HEAD_MAX);
    buf_puts(&head, start);
    buf_add_slice(&head, in);
    buf_puts(&head, "\r\n\r\n");
    if (buf_ok(&head) && http_head_parse(buf_slice(&head), &h, &used, &e) == BG_OK)
        client_source_forwarded(&from, &h, trusted, 2);
    struct ip_address shown;
    assert_always(ip_parse(slice_str(from.text), &shown) == BG_OK && ip_same(&shown, &from.address));
    assert_always(ip_same(&from.peer, &from.peer) && ip_in_range(&from.peer, &trusted[0]));
    buf_fini(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_header(slice_make(data, size));
    check_forwarded(slice_make(data, size));
    return 0;
}
