/* What the load generator's verdict rests on: frames, answer patterns, quantiles. */
#define _GNU_SOURCE
#include "unit.h"

#include "../bench/lg_frames.c"
#include "../bench/lg_stats.c"

static struct pattern pattern;

static size_t unmasked(const struct template *t, uint32_t n, char *dst)
{
    uint8_t *frame = malloc(t->len);
    template_put(t, n, frame);
    for (size_t i = t->body; i < t->len; i++)
        dst[i - t->body] = (char)(frame[i] ^ t->mask[(i - t->body) & 3]);
    free(frame);
    return t->len - t->body;
}

static void a_frame_holds_its_number_in_every_hole(void **state)
{
    (void)state;
    struct template t;
    char text[256];
    assert_int_equal(template_make(&t, "[\"1\",\"$ID\",\"a\",\"b\",{\"request_id\":\"r$ID\"}]"), 0);
    assert_int_equal(t.bytes[0], 0x81);
    size_t len = unmasked(&t, 12345678, text);
    assert_int_equal(t.bytes[1], 0x80 | len);
    text[len] = '\0';
    assert_string_equal(text, "[\"1\",\"12345678\",\"a\",\"b\",{\"request_id\":\"r12345678\"}]");
    free(t.bytes);
}

/* RFC 6455 §5.2: the length is written in the shortest form. */
static void the_three_forms_of_a_frame_length_are_right(void **state)
{
    (void)state;
    static const struct {
        size_t len, header;
    } cases[] = {{125, 6}, {126, 8}, {65535, 8}, {65536, 14}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct template t;
        char *text = calloc(1, cases[i].len + 1);
        memset(text, 'x', cases[i].len);
        assert_int_equal(template_make(&t, text), 0);
        assert_int_equal(t.body, cases[i].header);
        assert_int_equal(t.len, cases[i].header + cases[i].len);
        free(t.bytes);
        free(text);
    }
}

static int64_t match(const char *text)
{
    return pattern_match(&pattern, text, strlen(text));
}

static void only_the_number_may_differ_between_two_answers(void **state)
{
    (void)state;
    const char *first = "{\"result\":\"m12345678\",\"request_id\":\"r12345678\"}";
    assert_true(pattern_learn(&pattern, first, strlen(first), 12345678));
    assert_int_equal(pattern.holes, 2);
    assert_int_equal(match(first), 12345678);
    assert_int_equal(match("{\"result\":\"m00000042\",\"request_id\":\"r00000042\"}"), 42);
    assert_int_equal(match("{\"result\":\"m00000042\",\"request_id\":\"r00000043\"}"), -1);
    assert_int_equal(match("{\"result\":\"x00000042\",\"request_id\":\"r00000042\"}"), -1);
    assert_int_equal(match("{\"result\":\"m00000042\",\"request_id\":\"r00000042\"]"), -1);
    assert_int_equal(match("{\"result\":\"m0000004a\",\"request_id\":\"r0000004a\"}"), -1);
    assert_int_equal(match("{\"result\":\"m00000042\",\"request_id\":\"r00000042\"} "), -1);
}

static void an_answer_without_its_number_is_not_learned(void **state)
{
    (void)state;
    const char *text = "{\"request_id\":\"r12345679\"}";
    assert_false(pattern_learn(&pattern, text, strlen(text), 12345678));
    assert_int_equal(match(text), -1);
}

static void an_expected_text_is_found_with_its_number_only(void **state)
{
    (void)state;
    const char *text = "{\"result\":\"m00000007\"}";
    assert_true(text_has(text, strlen(text), "\"m$ID\"", 7));
    assert_false(text_has(text, strlen(text), "\"m$ID\"", 8));
    assert_int_equal(find_number(text, strlen(text), "\"m"), 7);
    assert_int_equal(find_number(text, strlen(text), "\"result\":\""), -1);
    assert_int_equal(find_number(text, strlen(text) - 4, "\"m"), -1);
}

static void quantiles_are_within_two_percent(void **state)
{
    (void)state;
    static struct histogram h;
    for (uint64_t v = 1; v <= 1000000; v++)
        histogram_add(&h, v);
    static const double q[] = {0.01, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < ARRAY_SIZE(q); i++) {
        double got = (double)histogram_quantile(&h, q[i]) / 1e6;
        assert_true(got > q[i] * 0.999 && got < q[i] * 1.02);
    }
    assert_int_equal(histogram_quantile(&h, 1), 1000000);
    histogram_add(&h, UINT64_MAX); /* beyond the last bucket: counted there */
    assert_int_equal(h.max, UINT64_MAX);
}

static void our_own_cpu_time_and_memory_are_seen(void **state)
{
    (void)state;
    struct proc_sample a, b;
    proc_sample(getpid(), &a);
    for (uint64_t end = now_ns() + 60000000; now_ns() < end;)
        ;
    proc_sample(getpid(), &b);
    assert_true(a.ok && b.ok);
    assert_true(b.cpu_ns - a.cpu_ns > 1000000); /* most of 60 ms on an idle machine; less on a busy one */
    assert_true(b.rss_kb > 500);
    proc_sample(0x7ffffff0, &a);
    assert_false(a.ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_holds_its_number_in_every_hole),
        cmocka_unit_test(the_three_forms_of_a_frame_length_are_right),
        cmocka_unit_test(only_the_number_may_differ_between_two_answers),
        cmocka_unit_test(an_answer_without_its_number_is_not_learned),
        cmocka_unit_test(an_expected_text_is_found_with_its_number_only),
        cmocka_unit_test(quantiles_are_within_two_percent),
        cmocka_unit_test(our_own_cpu_time_and_memory_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
