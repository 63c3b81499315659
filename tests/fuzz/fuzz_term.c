/*
 * fuzz_term.c: any bytes to the term checker, and to every reader whether the check passed or not: the readers promise
 * to stay inside their slice even then.
 */
#include "fuzz.h"
#include "json.h"
#include "transcode.h"

static void read_all(const struct term_reader *at)
{
    struct term_reader r;
    struct slice s;
    struct term_pid pid;
    struct term_ref ref;
    uint32_t n;
    int64_t v;
    double f;
    int done = 0;
    /* Each must fail without moving, or move forward. */
#define READ(call)                                                                                                     \
    (r = *at, (call) == 0 ? (assert_always(r.p > at->p && r.p <= at->end), done++) : (assert_always(r.p == at->p), 0))
    READ(term_read_int(&r, &v));
    READ(term_read_float(&r, &f));
    READ(term_read_atom(&r, &s));
    READ(term_read_binary(&r, &s));
    READ(term_read_string(&r, &s));
    READ(term_read_tuple(&r, &n));
    READ(term_read_list(&r, &n));
    READ(term_read_map(&r, &n));
    READ(term_read_pid(&r, &pid));
    READ(term_read_ref(&r, &ref));
    assert_always(done <= 1);
    READ(term_read_tagged(&r, "ok", &n));
#undef READ
    term_text(slice_make(at->p, (size_t)(at->end - at->p)), &s);
    term_map_get(slice_make(at->p, (size_t)(at->end - at->p)), "__struct__", &s);
}

static void show(struct slice term)
{
    struct buf out;
    struct err e;
    buf_init(&out, 0);
    if (term_to_json(term, &out, NULL, &e) == 0) {
        struct json_limits lim = {.max_depth = TERM_DEPTH_DEFAULT};
        struct json_reader r = json_reader(buf_slice(&out));
        struct slice raw;
        assert_always(json_value(&r, &lim, &raw, &e) == 0 || e.code == BG_ELIMIT);
    }
    buf_reset(&out);
    term_inspect(term, &out, 200);
    assert_always(out.len <= 200);
    assert_always(utf8_valid_prefix(out.data, out.len) == out.len);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t used = 0;
    struct slice whole = slice_make(data, size), term;
    int rc = term_check(data, size, TERM_DEPTH_DEFAULT, &used, NULL);
    struct term_reader r = term_reader(whole);
    if (rc == 0) {
        assert_always(used <= size);
        assert_always(term_skip(&r, &term) == 0 && term.len == used);
        assert_always(term_equal(term, term));
        for (size_t cut = 0; cut < used && used < 64; cut++)
            assert_always(term_check(data, cut, TERM_DEPTH_DEFAULT, &used, NULL) != 0);
    }
    for (size_t at = 0; at < size && at < 256; at++) {
        r = term_reader(slice_make(data + at, size - at));
        read_all(&r);
    }
    show(whole);
    term_equal(slice_make(data, size / 2), slice_make(data + size / 2, size - size / 2));
    return 0;
}
