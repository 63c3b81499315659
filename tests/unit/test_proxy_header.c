/* test_proxy_header.c: the PROXY protocol, by its document: what is a header, and what only looks like one. */
#include "unit.h"

#include <stdio.h>

#include "buf.h"
#include "proxy_header.h"

static int parse(struct slice bytes, struct proxy_header *h, size_t *used)
{
    *used = 0;
    return proxy_header_parse(bytes, h, used);
}

static void assert_address(const struct proxy_header *h, const char *want)
{
    char text[IP_TEXT_MAX];
    assert_true(h->has_address);
    ip_text(&h->address, text);
    assert_string_equal(text, want);
}

static void version_1_names_the_client(void **state)
{
    (void)state;
    struct proxy_header h;
    size_t used;
    struct slice v4 = SLICE_LIT("PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\nGET /");
    assert_int_equal(parse(v4, &h, &used), BG_OK);
    assert_address(&h, "203.0.113.7");
    assert_int_equal(h.port, 56324);
    assert_int_equal(used, v4.len - 5);
    assert_false(h.tls);
    assert_int_equal(parse(SLICE_LIT("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n"), &h, &used), BG_OK);
    assert_address(&h, "2001:db8::7");
    /* What HAProxy writes of an IPv4 client that came to its socket for both. */
    assert_int_equal(parse(SLICE_LIT("PROXY TCP6 ::ffff:203.0.113.7 ::ffff:10.0.0.1 56324 443\r\n"), &h, &used), BG_OK);
    assert_address(&h, "203.0.113.7");
    assert_int_equal(parse(SLICE_LIT("PROXY UNKNOWN\r\n"), &h, &used), BG_OK);
    assert_false(h.has_address);
    assert_int_equal(parse(SLICE_LIT("PROXY UNKNOWN ffff::1 whatever 1 2\r\n"), &h, &used), BG_OK);
    assert_false(h.has_address);
}

static void version_1_has_one_form(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP4 ::ffff:1.2.3.4 ::ffff:1.2.3.4 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 x\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "\r\nx",
        "\n",
    };
    struct proxy_header h;
    size_t used;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (parse(slice_str(bad[i]), &h, &used) != BG_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
    char endless[200] = "PROXY TCP4 ";
    memset(endless + 11, '1', sizeof(endless) - 11);
    assert_int_equal(parse(slice_make(endless, 106), &h, &used), BG_EMORE);
    assert_int_equal(parse(slice_make(endless, 107), &h, &used), BG_ELIMIT);
    assert_int_equal(parse(slice_make(endless, sizeof(endless)), &h, &used), BG_ELIMIT);
}

/* ver_cmd, family and a body behind the signature. */
static struct slice v2(struct buf *b, unsigned ver_cmd, unsigned family, const void *body, size_t len)
{
    uint8_t head[4] = {(uint8_t)ver_cmd, (uint8_t)family};
    buf_reset(b);
    buf_add(b, "\r\n\r\n\0\r\nQUIT\n", 12);
    put_be16(head + 2, (uint16_t)len);
    buf_add(b, head, sizeof(head));
    buf_add(b, body, len);
    return buf_slice(b);
}

static const uint8_t inet[12] = {203, 0, 113, 7, 10, 0, 0, 1, 0xdc, 4, 1, 187};

static void version_2_names_the_client(void **state)
{
    (void)state;
    struct proxy_header h;
    struct buf b;
    size_t used;
    uint8_t inet6[36] = {0x20, 1, 0xd, 0xb8, [15] = 7, [32] = 0x10, [33] = 1};
    uint8_t rest[216] = {0};
    buf_init(&b, 0);
    assert_int_equal(parse(v2(&b, 0x21, 0x11, inet, sizeof(inet)), &h, &used), BG_OK);
    assert_address(&h, "203.0.113.7");
    assert_int_equal(h.port, 56324);
    assert_int_equal(used, 28);
    assert_int_equal(parse(v2(&b, 0x21, 0x21, inet6, sizeof(inet6)), &h, &used), BG_OK);
    assert_address(&h, "2001:db8::7");
    assert_int_equal(h.port, 4097);
    /* Health checks, and what is no stream over IP. */
    assert_int_equal(parse(v2(&b, 0x20, 0x00, NULL, 0), &h, &used), BG_OK);
    assert_false(h.has_address);
    assert_int_equal(parse(v2(&b, 0x20, 0x11, inet, sizeof(inet)), &h, &used), BG_OK);
    assert_false(h.has_address);
    assert_int_equal(parse(v2(&b, 0x21, 0x00, NULL, 0), &h, &used), BG_OK);
    assert_false(h.has_address);
    assert_int_equal(parse(v2(&b, 0x21, 0x31, rest, sizeof(rest)), &h, &used), BG_OK);
    assert_false(h.has_address);
    assert_int_equal(parse(v2(&b, 0x21, 0x12, inet, sizeof(inet)), &h, &used), BG_OK);
    assert_false(h.has_address);
    buf_fini(&b);
}

static void version_2_may_say_more(void **state)
{
    (void)state;
    struct proxy_header h;
    struct buf b;
    size_t used;
    uint8_t body[40] = {0};
    memcpy(body, inet, sizeof(inet));
    buf_init(&b, 0);
    /* PP2_TYPE_AUTHORITY "a", PP2_TYPE_SSL with client = 1 and verify = 0. */
    const uint8_t more[] = {0x02, 0, 1, 'a', 0x20, 0, 5, 1, 0, 0, 0, 0};
    memcpy(body + 12, more, sizeof(more));
    assert_int_equal(parse(v2(&b, 0x21, 0x11, body, 12 + sizeof(more)), &h, &used), BG_OK);
    assert_true(h.tls);
    assert_int_equal(used, 28 + sizeof(more));
    body[12 + 7] = 0;
    assert_int_equal(parse(v2(&b, 0x21, 0x11, body, 12 + sizeof(more)), &h, &used), BG_OK);
    assert_false(h.tls);
    /* Cut, or longer than there is. */
    for (size_t cut = 1; cut < sizeof(more); cut++) {
        int rc = parse(v2(&b, 0x21, 0x11, body, 12 + cut), &h, &used);
        assert_int_equal(rc, cut == 4 ? BG_OK : BG_EINVAL);
    }
    buf_fini(&b);
}

static void version_2_with_wrong_numbers_is_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned ver_cmd, family;
        size_t len;
        int rc;
    } cases[] = {
        {0x11, 0x11, 12, BG_EINVAL},   {0x31, 0x11, 12, BG_EINVAL},    {0x22, 0x11, 12, BG_EINVAL},
        {0x21, 0x41, 12, BG_EINVAL},   {0x21, 0x13, 12, BG_EINVAL},    {0x21, 0x11, 11, BG_EINVAL},
        {0x21, 0x21, 35, BG_EINVAL},   {0x21, 0x31, 215, BG_EINVAL},   {0x21, 0x11, 0, BG_EINVAL},
        {0x21, 0x11, 4081, BG_ELIMIT}, {0x21, 0x11, 65535, BG_ELIMIT},
    };
    static const uint8_t zeros[65535];
    struct proxy_header h;
    struct buf b;
    size_t used;
    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int rc = parse(v2(&b, cases[i].ver_cmd, cases[i].family, zeros, cases[i].len), &h, &used);
        if (rc != cases[i].rc)
            fail_msg("case %zu gives %d", i, rc);
    }
    buf_fini(&b);
}

static void a_header_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct proxy_header h;
    struct buf b;
    size_t used;
    buf_init(&b, 0);
    const struct slice whole[] = {SLICE_LIT("PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\n"),
                                  v2(&b, 0x21, 0x11, inet, sizeof(inet))};
    for (size_t i = 0; i < ARRAY_SIZE(whole); i++) {
        for (size_t n = 0; n < whole[i].len; n++)
            assert_int_equal(parse(slice_make(whole[i].ptr, n), &h, &used), BG_EMORE);
        assert_int_equal(parse(whole[i], &h, &used), BG_OK);
        assert_int_equal(used, whole[i].len);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_names_the_client),
        cmocka_unit_test(version_1_has_one_form),
        cmocka_unit_test(version_2_names_the_client),
        cmocka_unit_test(version_2_may_say_more),
        cmocka_unit_test(version_2_with_wrong_numbers_is_refused),
        cmocka_unit_test(a_header_may_come_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
