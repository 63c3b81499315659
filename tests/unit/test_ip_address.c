/* test_ip_address.c: addresses and ranges, as proxies are trusted by and clients counted by. */
#include "unit.h"

#include <arpa/inet.h>

#include "ip_address.h"

static void assert_text(const char *text, const char *want)
{
    struct ip_address a;
    char got[IP_TEXT_MAX];
    assert_int_equal(ip_parse(slice_str(text), &a), BG_OK);
    ip_text(&a, got);
    assert_string_equal(got, want);
}

static void an_address_has_one_text(void **state)
{
    (void)state;
    assert_text("192.0.2.1", "192.0.2.1");
    assert_text("::ffff:192.0.2.1", "192.0.2.1");
    assert_text("2001:DB8:0:0:0:0:0:1", "2001:db8::1");
    assert_text("::1", "::1");
    assert_text("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 ", " 1.2.3.4", "[::1]", "::1%lo", "1.2.3.4:80",
        "0x7f.0.0.1", "::g", ":::", "unknown", "_hidden", "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555",
    };
    struct ip_address a;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (ip_parse(slice_str(bad[i]), &a) != BG_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
    assert_int_equal(ip_parse(slice_make("1.2.3.4\0", 8), &a), BG_EINVAL);
}

static void a_socket_for_both_families_sees_the_same_ipv4_client(void **state)
{
    (void)state;
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    const struct sockaddr other = {.sa_family = AF_UNIX};
    assert_int_equal(inet_pton(AF_INET, "192.0.2.7", &in4.sin_addr), 1);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.7", &in6.sin6_addr), 1);
    struct ip_address a = ip_of_socket((struct sockaddr *)&in4), b = ip_of_socket((struct sockaddr *)&in6);
    assert_true(ip_is_v4(&a));
    assert_true(ip_same(&a, &b));
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &in6.sin6_addr), 1);
    b = ip_of_socket((struct sockaddr *)&in6);
    assert_false(ip_is_v4(&b));
    assert_false(ip_same(&a, &b));
    a = ip_of_socket(&other);
    assert_false(ip_is_v4(&a));
}

static void a_range_holds_what_shares_its_prefix(void **state)
{
    (void)state;
    static const struct {
        const char *range, *address;
        bool in;
    } cases[] = {
        {"10.0.0.0/8", "10.255.1.2", true},          {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},     {"10.0.0.0/8", "::a00:1", false},
        {"192.0.2.4/30", "192.0.2.7", true},         {"192.0.2.4/30", "192.0.2.8", false},
        {"192.0.2.4", "192.0.2.4", true},            {"192.0.2.4", "192.0.2.5", false},
        {"0.0.0.0/0", "203.0.113.9", true},          {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},               {"::/0", "203.0.113.9", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true}, {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},                        {"::1", "::2", false},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true},   {"::ffff:10.0.0.0/104", "11.9.9.9", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct ip_range r;
        struct ip_address a;
        assert_int_equal(ip_range_parse(slice_str(cases[i].range), &r), BG_OK);
        assert_int_equal(ip_parse(slice_str(cases[i].address), &a), BG_OK);
        if (ip_in_range(&a, &r) != cases[i].in || ip_in_ranges(&a, &r, 1) != cases[i].in)
            fail_msg("%s in %s", cases[i].address, cases[i].range);
        assert_false(ip_in_ranges(&a, &r, 0));
    }
}

static void a_range_that_is_a_slip_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/8 ", "10.0.0.0/0x8",
        "10.0.0.1/8", "2001:db8::/129", "2001:db8::1/64", "::ffff:10.0.0.0/8", "localhost", "*", "10.0.0.0/1000",
    };
    struct ip_range r;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (ip_range_parse(slice_str(bad[i]), &r) != BG_EINVAL)
            fail_msg("accepted \"%s\"", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_one_text),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_socket_for_both_families_sees_the_same_ipv4_client),
        cmocka_unit_test(a_range_holds_what_shares_its_prefix),
        cmocka_unit_test(a_range_that_is_a_slip_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
