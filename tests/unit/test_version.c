/* test_version.c: precedence of versions (E-032 want, SemVer 2.0.0 §11). */
#include "unit.h"

#include "version.h"

static int sign(int n)
{
    return (n > 0) - (n < 0);
}

static void versions_rise_in_semver_order(void **state)
{
    (void)state;
    /* each is above all before it */
    static const char *const rising[] = {"abc",
                                         "0.0.0-0",
                                         "0.0.0",
                                         "0.0.1",
                                         "0.9.9",
                                         "1.0.0-alpha",
                                         "1.0.0-alpha.1",
                                         "1.0.0-alpha.1.1",
                                         "1.0.0-alpha.beta",
                                         "1.0.0-beta",
                                         "1.0.0-beta.2",
                                         "1.0.0-beta.11",
                                         "1.0.0-rc.1",
                                         "1.0.0",
                                         "1.0.1",
                                         "1.2.0",
                                         "1.10.0",
                                         "9.0.0",
                                         "10.0.0",
                                         "18446744073709551616.0.0",
                                         "18446744073709551617.0.0"};
    for (size_t i = 0; i < ARRAY_SIZE(rising); i++)
        for (size_t j = 0; j < ARRAY_SIZE(rising); j++)
            if (sign(version_compare(slice_str(rising[i]), slice_str(rising[j]))) != sign((int)i - (int)j))
                fail_msg("%s against %s", rising[i], rising[j]);
}

static void build_metadata_does_not_count(void **state)
{
    (void)state;
    assert_int_equal(version_compare(SLICE_LIT("1.0.0+b"), SLICE_LIT("1.0.0")), 0);
    assert_int_equal(version_compare(SLICE_LIT("1.0.0-a+b.01"), SLICE_LIT("1.0.0-a")), 0);
    assert_true(version_compare(SLICE_LIT("1.0.0+zzz"), SLICE_LIT("1.0.1")) < 0);
}

static void what_is_no_version_is_below_all_that_are(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "1",          "1.0",    "1.0.0.0", "01.0.0", "1.0.0-",
                                      "1.0.0-01", "1.0.0-a..b", "1.0.0+", "v1.0.0",  "1.0.0 ", "1.0.0-\xc3\xa9",
                                      "-1.0.0",   "1..0"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (version_compare(slice_str(bad[i]), SLICE_LIT("0.0.0-0")) >= 0)
            fail_msg("\"%s\" passes as a version", bad[i]);
        assert_int_equal(version_compare(slice_str(bad[i]), SLICE_LIT("abc")), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_rise_in_semver_order),
        cmocka_unit_test(build_metadata_does_not_count),
        cmocka_unit_test(what_is_no_version_is_below_all_that_are),
    };
    return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
