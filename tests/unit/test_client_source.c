/* test_client_source.c: who a client is behind proxies, by what they write into the request. */
#include "unit.h"

#include <stdio.h>

#include "buf.h"
#include "client_source.h"

/* The client, after a request from peer with these headers; 10.0.0.0/8 and 2001:db8:ffff::/48 are trusted. */
static struct client_source after(const char *peer, const char *headers)
{
    struct ip_range trusted[2];
    struct client_source from = {.tls = false};
    struct http_head h;
    struct err e;
    char head[1024];
    size_t used;
    snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", headers);
    assert_int_equal(ip_range_parse(SLICE_LIT("10.0.0.0/8"), &trusted[0]), BG_OK);
    assert_int_equal(ip_range_parse(SLICE_LIT("2001:db8:ffff::/48"), &trusted[1]), BG_OK);
    assert_int_equal(ip_parse(slice_str(peer), &from.peer), BG_OK);
    client_source_set(&from, &from.peer);
    assert_int_equal(http_head_parse(slice_str(head), &h, &used, &e), BG_OK);
    client_source_forwarded(&from, &h, trusted, 2);
    return from;
}

#define XFF "X-Forwarded-For: "
#define END "\r\n"

static void the_rightmost_address_that_is_no_proxy_is_the_client(void **state)
{
    (void)state;
    static const struct {
        const char *peer, *headers, *client;
    } cases[] = {
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", XFF "203.0.113.7" END, "203.0.113.7"},
        {"10.0.0.1", XFF "198.51.100.1, 203.0.113.7" END, "203.0.113.7"},
        {"10.0.0.1", XFF "198.51.100.1,203.0.113.7,10.9.9.9 , 10.8.8.8" END, "203.0.113.7"},
        {"10.0.0.1", "x-forwarded-for:203.0.113.7" END, "203.0.113.7"},
        {"10.0.0.1", XFF "203.0.113.7" END "Via: x" END XFF "10.1.1.1" END, "203.0.113.7"},
        {"10.0.0.1", XFF "198.51.100.1" END XFF "203.0.113.7" END, "203.0.113.7"},
        {"10.0.0.1", XFF "10.1.1.1, 10.2.2.2" END, "10.1.1.1"}, /* nothing but proxies: the first of them */
        {"10.0.0.1", XFF "2001:db8::7" END, "2001:db8::7"},
        {"10.0.0.1", XFF "[2001:db8::7]:4711" END, "2001:db8::7"},
        {"10.0.0.1", XFF "[2001:db8::7]" END, "2001:db8::7"},
        {"10.0.0.1", XFF "203.0.113.7:4711" END, "203.0.113.7"},
        {"10.0.0.1", XFF "::ffff:203.0.113.7" END, "203.0.113.7"},
        {"2001:db8:ffff::1", XFF "203.0.113.7, 2001:db8:ffff:1::2" END, "203.0.113.7"},
        {"::ffff:10.0.0.1", XFF "203.0.113.7" END, "203.0.113.7"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct client_source from = after(cases[i].peer, cases[i].headers);
        if (strcmp(from.text, cases[i].client) != 0)
            fail_msg("case %zu: %s, want %s", i, from.text, cases[i].client);
    }
}

static void from_others_nothing_is_believed(void **state)
{
    (void)state;
    const struct client_source from = after("203.0.113.9", XFF "198.51.100.1" END "X-Forwarded-Proto: https" END);
    assert_string_equal(from.text, "203.0.113.9");
    assert_false(from.tls);
}

static void what_is_no_address_ends_the_search(void **state)
{
    (void)state;
    static const char *const bad[] = {"unknown",     "_hidden",     "",           "1.2.3", "[::1",
                                      "\"1.2.3.4\"", "1.2.3.4:5:6", "for=1.2.3.4"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char headers[256];
        snprintf(headers, sizeof(headers), XFF "198.51.100.1, %s, 10.7.7.7" END, bad[i]);
        const struct client_source from = after("10.0.0.1", headers);
        if (strcmp(from.text, "10.7.7.7") != 0)
            fail_msg("%s gives %s", bad[i], from.text);
    }
}

static void the_scheme_is_what_the_last_proxy_says(void **state)
{
    (void)state;
    assert_true(after("10.0.0.1", "X-Forwarded-Proto: https" END).tls);
    assert_true(after("10.0.0.1", "X-Forwarded-Proto: http, HTTPS" END).tls);
    assert_false(after("10.0.0.1", "X-Forwarded-Proto: https, http" END).tls);
    assert_false(after("10.0.0.1", "X-Forwarded-Proto: https" END "X-Forwarded-Proto: http" END).tls);
    assert_false(after("10.0.0.1", "X-Forwarded-Proto: httpsx" END).tls);
    assert_false(after("10.0.0.1", "X-Forwarded-Proto:" END).tls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rightmost_address_that_is_no_proxy_is_the_client),
        cmocka_unit_test(from_others_nothing_is_believed),
        cmocka_unit_test(what_is_no_address_ends_the_search),
        cmocka_unit_test(the_scheme_is_what_the_last_proxy_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
