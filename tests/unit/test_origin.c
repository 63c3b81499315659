/* test_origin.c: which Origins are let in (P-009; C-08, C-11, C-12, C-13). */
#include "unit.h"

#include "origin.h"

static void only_scheme_host_and_port_are_an_origin(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scheme, *host;
        unsigned port;
    } good[] = {
        {"http://example.com", "http", "example.com", 80},     {"https://example.com", "https", "example.com", 443},
        {"https://a-b.ex:888", "https", "a-b.ex", 888},        {"HTTP://EX.com:65535", "HTTP", "EX.com", 65535},
        {"http://[::1]:4000", "http", "::1", 4000},            {"http://127.0.0.1", "http", "127.0.0.1", 80},
        {"chrome-extension://abc", "chrome-extension", "abc", 0},
    };
    static const char *const bad[] = {
        "null", "", "http", "http:", "http://", "//example.com", "example.com", "://a", "http:/a", "http://a/",
        "http://a/b", "http://a?b", "http://a#b", "http://user@a", "http://example.com:80@evil.com", "http://a:",
        "http://a:0", "http://a:65536", "http://a:123456", "http://a:8x", "http://a b", "http://a\\b", "http://a%2e",
        "http://[::1", "http://[]", "http://[::1]x", "http://[g]", "http://*.a", "http://:80", "not a uri",
        "http://a, http://b", "http://ex\xc3\xa4.com",
    };
    struct origin o;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(origin_parse(slice_str(good[i].text), &o), BG_OK);
        assert_slice_is(o.scheme, good[i].scheme);
        assert_slice_is(o.host, good[i].host);
        assert_int_equal(o.port, good[i].port);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (origin_parse(slice_str(bad[i]), &o) != BG_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
    assert_int_equal(origin_parse(SLICE_NONE, &o), BG_EINVAL);
}

static void an_endless_origin_is_refused(void **state)
{
    (void)state;
    char text[ORIGIN_MAX + 2] = "http://";
    struct origin o;
    memset(text + 7, 'a', sizeof(text) - 8);
    assert_int_equal(origin_parse(slice_make(text, ORIGIN_MAX), &o), BG_OK);
    assert_int_equal(origin_parse(slice_make(text, ORIGIN_MAX + 1), &o), BG_EINVAL);
    assert_int_equal(origin_parse_host(slice_make(text + 7, 5), &o), BG_OK);
}

static void check_pattern(const char *pattern, const char *origin, bool want)
{
    struct origin o, p;
    assert_int_equal(origin_parse_pattern(slice_str(pattern), &p), BG_OK);
    assert_int_equal(origin_parse(slice_str(origin), &o), BG_OK);
    if (origin_matches(&o, &p) != want)
        fail_msg("%s against %s should be %d", origin, pattern, want);
}

/* The cases of Phoenix's own tests, and the tricks that a lax comparison falls for. */
static void a_pattern_compares_the_parts_that_it_has(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *origin;
        bool want;
    } cases[] = {
        {"//example.com", "http://example.com", true},
        {"//example.com", "https://EXAMPLE.com:999", true},
        {"//example.com", "http://example.com.evil.org", false},
        {"//example.com", "http://evilexample.com", false},
        {"//example.com", "http://a.example.com", false},
        {"//example.com", "http://example.com.", false},
        {"https://example.com:888", "https://example.com:888", true},
        {"https://example.com:888", "https://example.com", false},
        {"https://example.com:888", "http://example.com:888", false},
        {"https://example.com", "https://example.com:443", true},
        {"https://example.com", "https://example.com:8443", false},
        {"//example.com:80", "http://example.com", true},
        {"//example.com:80", "https://example.com", false},
        {"//*.ex.com", "http://a.ex.com", true},
        {"//*.ex.com", "http://a.b.ex.com", true},
        {"//*.ex.com", "http://A.EX.COM", true},
        {"//*.ex.com", "http://ex.com", false},
        {"//*.ex.com", "http://aex.com", false},
        {"//*.ex.com", "http://a.ex.com.evil.org", false},
        {"//[::1]", "http://[::1]:4000", true},
        {"chrome-extension://abc", "chrome-extension://abc", true},
        {"chrome-extension://abc", "chrome-extension://abd", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        check_pattern(cases[i].pattern, cases[i].origin, cases[i].want);
}

static void what_is_no_pattern_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "example.com", "//", "///", "//*", "//*.", "//*..", "//*a.com", "//.a.com",
                                      "//a.*.com", "https:/a", "https://", "//a/", "//a:0", "//u@a", "a b//c",
                                      "//*.:80"};
    struct origin o;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (origin_parse_pattern(slice_str(bad[i]), &o) != BG_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
}

/* C-08, C-12 */
static void host_and_connection_are_compared_with_the_request(void **state)
{
    (void)state;
    static const struct {
        const char *origin, *host;
        bool same_host, same_connection, same_over_tls;
    } cases[] = {
        {"http://gw.ex", "gw.ex", true, true, false},        {"http://gw.ex:4000", "gw.ex:4000", true, true, false},
        {"http://GW.ex:4000", "gw.ex:4000", true, true, false}, {"http://gw.ex:4001", "gw.ex:4000", true, false, false},
        {"https://gw.ex:4000", "gw.ex:4000", true, false, true}, {"https://gw.ex", "gw.ex", true, false, true},
        {"https://gw.ex", "gw.ex:443", true, false, true}, {"https://gw.ex", "gw.ex:80", true, false, false},
        {"http://gw.ex", "gw.ex:80", true, true, false},     {"http://evil.ex", "gw.ex", false, false, false},
        {"http://gw.ex.evil", "gw.ex", false, false, false}, {"http://[::1]:4000", "[::1]:4000", true, true, false},
    };
    struct origin o, host;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(origin_parse(slice_str(cases[i].origin), &o), BG_OK);
        assert_int_equal(origin_parse_host(slice_str(cases[i].host), &host), BG_OK);
        assert_int_equal(origin_same_host(&o, &host), cases[i].same_host);
        assert_int_equal(origin_matches_connection(&o, &host, false), cases[i].same_connection);
        assert_int_equal(origin_matches_connection(&o, &host, true), cases[i].same_over_tls);
    }
    assert_int_equal(origin_parse_host(SLICE_LIT("u@gw.ex"), &host), BG_EINVAL);
    assert_int_equal(origin_parse_host(SLICE_LIT(""), &host), BG_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_scheme_host_and_port_are_an_origin),
        cmocka_unit_test(an_endless_origin_is_refused),
        cmocka_unit_test(a_pattern_compares_the_parts_that_it_has),
        cmocka_unit_test(what_is_no_pattern_is_refused),
        cmocka_unit_test(host_and_connection_are_compared_with_the_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
