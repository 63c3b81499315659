/* test_response.c: every Response there is, key by key, and one that does not fit. */
#include "unit.h"

#include <stdio.h>

#include "response.h"

static void a_response_has_all_its_keys_in_order(void **state)
{
    (void)state; /* F-110..F-120 */
    static const char *const flag[] = {"false", "true"};
    for (unsigned i = 0; i < 32; i++) {
        bool async = i & 1, retry = i & 2, more = i & 4, error = i & 8, result = i & 16;
        struct response resp = {.async = async, .can_retry = retry, .has_more = more};
        if (error)
            resp.error = SLICE_LIT("a \"b\"");
        if (result)
            resp.result_term = SLICE_LIT("w\2ok");
        char want[256];
        int len = snprintf(want, sizeof(want),
                           "{\"error\":%s,\"async\":%s,\"success\":%s,\"result\":%s,\"request_id\":\"r1\","
                           "\"can_retry\":%s,\"has_more\":%s}",
                           error ? "\"a \\\"b\\\"\"" : "null", flag[async], flag[!error], result ? "\"ok\"" : "null",
                           flag[retry], flag[more]);
        for (int room = 1; room <= len; room++) {
            struct buf out;
            struct err e;
            buf_init(&out, (size_t)room);
            int rc = response_put(&out, SLICE_LIT("\"r1\""), &resp, &e);
            assert_int_equal(rc, room < len ? BG_ELIMIT : BG_OK);
            if (rc == BG_OK)
                assert_slice_is(buf_slice(&out), want);
            buf_fini(&out);
        }
    }
}

static void a_result_is_taken_as_json_where_it_is_json(void **state)
{
    (void)state;
    const struct response resp = {.result_json = SLICE_LIT("{\"a\":1}")};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(response_put(&out, SLICE_LIT("null"), &resp, NULL), BG_OK);
    assert_slice_is(buf_slice(&out), "{\"error\":null,\"async\":false,\"success\":true,\"result\":{\"a\":1},"
                                     "\"request_id\":null,\"can_retry\":false,\"has_more\":false}");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_has_all_its_keys_in_order),
        cmocka_unit_test(a_result_is_taken_as_json_where_it_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
