/*
 * fuzz_transcode.c: JSON to a term and back and again: the term must pass the check, the second term must be the first,
 * and the sizes must be what json_term_size() promises.
 */
#include "fuzz.h"
#include "transcode.h"

static void to_term(struct slice raw, struct buf *out)
{
    size_t used;
    struct err e;
    buf_init(out, 0);
    assert_always(json_to_term(raw, out, &json_limits_default, &e) == 0);
    assert_always(term_check(out->data, out->len, TERM_DEPTH_DEFAULT, &used, &e) == 0);
    assert_always(used == out->len);
}

static void check_size(struct slice raw, const struct buf *term)
{
    size_t n = json_term_size(raw, &json_limits_default);
    assert_always(n <= 3 * raw.len + 1);
    assert_always(n <= term->len + 1);
}

static void check_bound(struct slice raw, size_t len)
{
    struct buf small;
    buf_init(&small, len - 1);
    if (len > 1)
        assert_always(json_to_term(raw, &small, &json_limits_default, NULL) == BG_ELIMIT);
    assert_always(small.len < len);
    buf_fini(&small);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_reader r = json_reader(slice_make(data, size));
    struct slice raw, again;
    struct buf first, second, json;
    struct err e;
    if (json_value(&r, &json_limits_default, &raw, NULL))
        return 0;
    to_term(raw, &first);
    check_size(raw, &first);
    check_bound(raw, first.len);
    buf_init(&json, 0);
    assert_always(term_to_json(buf_slice(&first), &json, NULL, &e) == 0);
    r = json_reader(buf_slice(&json));
    assert_always(json_value(&r, &json_limits_default, &again, &e) == 0);
    assert_always(json_finish(&r, &e) == 0);
    to_term(again, &second);
    assert_always(slice_eq(buf_slice(&first), buf_slice(&second)));
    assert_always(term_equal(buf_slice(&first), buf_slice(&second)));
    buf_fini(&first);
    buf_fini(&second);
    buf_fini(&json);
    return 0;
}
