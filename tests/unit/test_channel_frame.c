/* test_channel_frame.c: the serializers against the vectors of P-020..P-039 and against hostile input. */
#include "unit.h"

#include <stdio.h>

#include "channel_frame.h"

static const struct text_case {
    const char *name;
    enum serializer v;
    const char *message;
    const char *want[5]; /* join_ref, ref, topic, event, payload; want[0] NULL: BG_EINVAL */
} text_cases[] = {
    {"P-020",
     SERIALIZER_V2,
     "[\"1\",\"2\",\"room:a\",\"echo\",{\"a\":[1]}]",
     {"\"1\"", "\"2\"", "\"room:a\"", "\"echo\"", "{\"a\":[1]}"}},
    {"P-020 more than five", SERIALIZER_V2, "[null,1,\"t\",\"e\",{},[{}],7]", {"null", "1", "\"t\"", "\"e\"", "{}"}},
    {"P-020 four", SERIALIZER_V2, "[\"1\",\"2\",\"t\",\"e\"]", {NULL}},
    {"empty array", SERIALIZER_V2, "[]", {NULL}},
    {"P-025 refs of any type",
     SERIALIZER_V2,
     "[{\"a\":1},[2],3,false,\"x\"]",
     {"{\"a\":1}", "[2]", "3", "false", "\"x\""}},
    {"P-025 a ref keeps its spelling",
     SERIALIZER_V2,
     "[\"\\u0031\",1.0,\"t\",\"e\",0]",
     {"\"\\u0031\"", "1.0", "\"t\"", "\"e\"", "0"}},
    {"E-2341 white space",
     SERIALIZER_V2,
     " \t\r\n[ null ,1,\"t\" , \"e\", {} ] ",
     {"null", "1", "\"t\"", "\"e\"", "{}"}},
    {"E-2341 trailing comma", SERIALIZER_V2, "[null,1,\"t\",\"e\",{},]", {NULL}},
    {"E-2341 trailing garbage", SERIALIZER_V2, "[null,1,\"t\",\"e\",{}] x", {NULL}},
    {"bad JSON behind the fifth", SERIALIZER_V2, "[null,1,\"t\",\"e\",{},{]", {NULL}},
    {"unclosed", SERIALIZER_V2, "[null,1,\"t\",\"e\",{}", {NULL}},
    {"missing comma", SERIALIZER_V2, "[null 1,\"t\",\"e\",{}]", {NULL}},
    {"closed by a brace", SERIALIZER_V2, "[null,1,\"t\",\"e\",{}}", {NULL}},
    {"empty", SERIALIZER_V2, "", {NULL}},
    {"only blanks", SERIALIZER_V2, "   ", {NULL}},
    {"C-61 object on V2", SERIALIZER_V2, "{\"topic\":\"t\"}", {NULL}},
    {"string", SERIALIZER_V2, "\"[null,1]\"", {NULL}},
    {"P-021",
     SERIALIZER_V1,
     "{\"topic\":\"t\",\"event\":\"e\",\"payload\":{},\"ref\":\"1\"}",
     {"null", "\"1\"", "\"t\"", "\"e\"", "{}"}},
    {"P-021 with join_ref and others",
     SERIALIZER_V1,
     "{\"x\":[],\"ref\":1,\"join_ref\":\"j\",\"payload\":null,\"event\":2,\"topic\":3}",
     {"\"j\"", "1", "3", "2", "null"}},
    {"P-021 escaped key",
     SERIALIZER_V1,
     "{\"\\u0074opic\":\"t\",\"event\":\"e\",\"payload\":{},\"ref\":null}",
     {"null", "null", "\"t\"", "\"e\"", "{}"}},
    {"E-234 the first of two keys wins",
     SERIALIZER_V1,
     "{\"ref\":1,\"ref\":2,\"topic\":\"t\",\"event\":\"e\",\"payload\":{}}",
     {"null", "1", "\"t\"", "\"e\"", "{}"}},
    {"C-64 without ref", SERIALIZER_V1, "{\"topic\":\"t\",\"event\":\"e\",\"payload\":{}}", {NULL}},
    {"P-021 without topic", SERIALIZER_V1, "{\"event\":\"e\",\"payload\":{},\"ref\":1}", {NULL}},
    {"P-021 without event", SERIALIZER_V1, "{\"topic\":\"t\",\"payload\":{},\"ref\":1}", {NULL}},
    {"P-021 without payload", SERIALIZER_V1, "{\"topic\":\"t\",\"event\":\"e\",\"ref\":1}", {NULL}},
    {"C-63 array on V1", SERIALIZER_V1, "[null,1,\"t\",\"e\",{}]", {NULL}},
    {"V1 empty object", SERIALIZER_V1, "{}", {NULL}},
    {"V1 key without quotes", SERIALIZER_V1, "{topic:\"t\"}", {NULL}},
    {"V1 missing colon", SERIALIZER_V1, "{\"topic\" \"t\"}", {NULL}},
    {"V1 unclosed", SERIALIZER_V1, "{\"topic\":\"t\",\"event\":\"e\",\"payload\":{},\"ref\":\"1\"", {NULL}},
};

static void text_messages_become_raw_slices(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(text_cases); i++) {
        const struct text_case *t = &text_cases[i];
        struct channel_frame f;
        struct err e = {0};
        int rc = channel_frame_parse(t->v, false, slice_str(t->message), &json_limits_default, &f, &e);
        if (rc != (t->want[0] ? BG_OK : BG_EINVAL))
            fail_msg("%s: %d %s", t->name, rc, e.text);
        if (rc != BG_OK) {
            assert_true(e.text[0] != '\0');
            continue;
        }
        const struct slice got[] = {f.join_ref, f.ref, f.topic, f.event, f.payload};
        for (size_t k = 0; k < ARRAY_SIZE(got); k++)
            assert_slice_is(got[k], t->want[k]);
        assert_false(f.binary);
    }
}

/* Every message cut short at every byte: refused, and never read beyond its end (a sanitizer watches). */
static void messages_cut_short_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(text_cases); i++) {
        const struct text_case *t = &text_cases[i];
        size_t len = strlen(t->message);
        while (t->want[0] && len && t->message[len - 1] == ' ')
            len--;
        for (size_t n = 0; t->want[0] && n < len; n++) {
            char *copy = malloc(n + 1);
            struct channel_frame f;
            memcpy(copy, t->message, n);
            assert_int_equal(channel_frame_parse(t->v, false, slice_make(copy, n), &json_limits_default, &f, NULL),
                             BG_EINVAL);
            free(copy);
        }
    }
}

static void nesting_is_limited(void **state)
{
    (void)state;
    char text[400];
    struct channel_frame f;
    const struct json_limits lim = {.max_depth = 64};
    for (int depth = 64; depth <= 65; depth++) {
        int n = snprintf(text, sizeof(text), "[null,1,\"t\",\"e\",");
        memset(text + n, '[', (size_t)depth);
        memset(text + n + depth, ']', (size_t)depth);
        strcpy(text + n + 2 * depth, "]");
        assert_int_equal(channel_frame_parse(SERIALIZER_V2, false, slice_str(text), &lim, &f, NULL),
                         depth == 64 ? BG_OK : BG_ELIMIT);
    }
}

static void keys_of_a_v1_message_are_limited(void **state)
{
    (void)state;
    struct channel_frame f;
    const struct json_limits lim = {.max_depth = 64, .max_keys = 4};
    assert_int_equal(channel_frame_parse(SERIALIZER_V1, false,
                                         SLICE_LIT("{\"topic\":1,\"event\":2,\"payload\":3,\"ref\":4}"), &lim, &f,
                                         NULL),
                     BG_OK);
    assert_int_equal(channel_frame_parse(SERIALIZER_V1, false,
                                         SLICE_LIT("{\"topic\":1,\"event\":2,\"payload\":3,\"ref\":4,\"x\":5}"), &lim,
                                         &f, NULL),
                     BG_ELIMIT);
}

/* P-037: the client's vector. */
static const char binary_push[] = "\x00\x02\x03\x05\x05"
                                  "12123topicevent"
                                  "efg";

static void binary_push_is_taken_apart(void **state)
{
    (void)state;
    struct channel_frame f;
    struct slice m = slice_make(binary_push, sizeof(binary_push) - 1);
    assert_int_equal(channel_frame_parse(SERIALIZER_V2, true, m, &json_limits_default, &f, NULL), BG_OK);
    assert_true(f.binary);
    assert_slice_is(f.join_ref, "12");
    assert_slice_is(f.ref, "123");
    assert_slice_is(f.topic, "topic");
    assert_slice_is(f.event, "event");
    assert_slice_is(f.payload, "efg");
    /* P-030: an empty join_ref is the empty string, and no data is empty data. */
    m = slice_make("\0\0\0\0\0", 5);
    assert_int_equal(channel_frame_parse(SERIALIZER_V2, true, m, &json_limits_default, &f, NULL), BG_OK);
    assert_int_equal(f.join_ref.len + f.payload.len, 0);
    assert_non_null(f.join_ref.ptr);
}

static void binary_frames_that_lie_are_refused(void **state)
{
    (void)state;
    struct channel_frame f;
    char *copy = malloc(sizeof(binary_push));
    /* P-037 cut short anywhere before its data. */
    for (size_t n = 0; n < 5 + 15; n++) {
        char *exact = malloc(n + 1);
        memcpy(exact, binary_push, n);
        assert_int_equal(channel_frame_parse(SERIALIZER_V2, true, slice_make(exact, n), &json_limits_default, &f, NULL),
                         BG_EINVAL);
        free(exact);
    }
    for (int kind = 1; kind < 256; kind++) { /* P-035 */
        memcpy(copy, binary_push, sizeof(binary_push));
        copy[0] = (char)kind;
        assert_int_equal(channel_frame_parse(SERIALIZER_V2, true, slice_make(copy, sizeof(binary_push) - 1),
                                             &json_limits_default, &f, NULL),
                         BG_EINVAL);
    }
    for (int at = 1; at < 5; at++) {
        memcpy(copy, binary_push, sizeof(binary_push));
        copy[at] = (char)0xff;
        assert_int_equal(channel_frame_parse(SERIALIZER_V2, true, slice_make(copy, sizeof(binary_push) - 1),
                                             &json_limits_default, &f, NULL),
                         BG_EINVAL);
    }
    memcpy(copy, binary_push, sizeof(binary_push));
    copy[10] = (char)0xff; /* in the topic: not UTF-8 */
    assert_int_equal(channel_frame_parse(SERIALIZER_V2, true, slice_make(copy, sizeof(binary_push) - 1),
                                         &json_limits_default, &f, NULL),
                     BG_EINVAL);
    free(copy);
}

static void v1_reads_json_from_binary_frames(void **state)
{
    (void)state; /* P-022 */
    struct channel_frame f;
    assert_int_equal(channel_frame_parse(SERIALIZER_V1, true,
                                         SLICE_LIT("{\"topic\":1,\"event\":2,\"payload\":3,\"ref\":4}"),
                                         &json_limits_default, &f, NULL),
                     BG_OK);
    assert_false(f.binary);
    assert_slice_is(f.ref, "4");
}

static void assert_written(struct buf *out, const char *want, size_t len)
{
    assert_true(buf_ok(out));
    assert_int_equal(out->len, len);
    assert_memory_equal(out->data, want, len);
    buf_reset(out);
}

#define ASSERT_WRITTEN(out, lit) assert_written(out, lit, sizeof(lit) - 1)

static void text_frames_are_written_as_recorded(void **state)
{
    (void)state; /* P-023, P-024; transcripts sections 4 and 10 */
    struct buf out;
    const struct slice jr = SLICE_LIT("\"9\""), ref = SLICE_LIT("\"12\""), topic = SLICE_LIT("\"api:lobby\""),
                       none = SLICE_LIT("null");
    buf_init(&out, 0);
    frame_put_reply(&out, SERIALIZER_V2, jr, ref, topic, "ok", SLICE_LIT("\"echo\""));
    ASSERT_WRITTEN(&out, "[\"9\",\"12\",\"api:lobby\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"echo\"}]");
    frame_put_reply(&out, SERIALIZER_V1, none, ref, topic, "error", SLICE_LIT("{}"));
    ASSERT_WRITTEN(&out, "{\"ref\":\"12\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"error\",\"response\":{}},"
                         "\"topic\":\"api:lobby\"}");
    frame_put_push_head(&out, SERIALIZER_V2, jr, none, topic, SLICE_LIT("api"));
    buf_puts(&out, "{\"a\":1}");
    frame_put_push_tail(&out, SERIALIZER_V2, topic);
    ASSERT_WRITTEN(&out, "[\"9\",null,\"api:lobby\",\"api\",{\"a\":1}]");
    frame_put_push_head(&out, SERIALIZER_V1, jr, none, topic, SLICE_LIT("a\"b"));
    buf_puts(&out, "{}");
    frame_put_push_tail(&out, SERIALIZER_V1, topic);
    ASSERT_WRITTEN(&out, "{\"ref\":null,\"event\":\"a\\\"b\",\"payload\":{},\"topic\":\"api:lobby\"}");
    frame_put_push_head(&out, SERIALIZER_V2, SLICE_NONE, SLICE_NONE, topic, SLICE_LIT("bcast"));
    buf_puts(&out, "{}");
    frame_put_push_tail(&out, SERIALIZER_V2, topic);
    ASSERT_WRITTEN(&out, "[null,null,\"api:lobby\",\"bcast\",{}]");
    buf_fini(&out);
}

/* Names of all the lengths that are copied in different ways, into a buffer that has room for exactly the frame, and into
 * one that lacks a byte. */
static void text_frames_hold_names_of_any_length(void **state)
{
    (void)state;
    static const char names[] = "\"abcdefghijklmnopqrstuvwxyz0123456789\"";
    char want[512];
    for (int n = 0; n < 38 * 3; n++) {
        int a = n % 38, b = n * 7 % 38, c = n * 11 % 38;
        struct slice jr = slice_make(names, (size_t)a), ref = slice_make(names, (size_t)b), topic = slice_make(names, (size_t)c);
        int len = snprintf(want, sizeof(want), "[%.*s,%.*s,%.*s,\"phx_reply\",{\"status\":\"ok\",\"response\":%.*s}]",
                           a ? a : 4, a ? names : "null", b ? b : 4, b ? names : "null", c ? c : 4, c ? names : "null",
                           b ? b : 4, b ? names : "null");
        for (int less = 0; less < len; less++) {
            struct buf out;
            buf_init(&out, (size_t)(len - less));
            frame_put_reply(&out, SERIALIZER_V2, jr, ref, topic, "ok", ref);
            assert_true(buf_ok(&out) == (less == 0));
            if (less == 0)
                assert_written(&out, want, (size_t)len);
            buf_fini(&out);
        }
        for (int odd = 0; odd < 2; odd++) { /* an event with a quote in front */
            struct buf out;
            len = snprintf(want, sizeof(want), "[%.*s,%.*s,%.*s,\"%s%.*s\",", a ? a : 4, a ? names : "null", b ? b : 4,
                           b ? names : "null", c ? c : 4, c ? names : "null", odd && a ? "\\\"" : "", odd && a ? a - 1 : a % 37,
                           names + 1);
            buf_init(&out, (size_t)len);
            frame_put_push_head(&out, SERIALIZER_V2, jr, ref, topic, slice_make(names + !odd, (size_t)(odd ? a : a % 37)));
            assert_written(&out, want, (size_t)len);
            buf_fini(&out);
        }
    }
}

static void binary_frames_are_written_as_in_the_vectors(void **state)
{
    (void)state; /* P-031..P-034, P-037, C-54..C-56, C-58 */
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(frame_put_binary_reply(&out, SLICE_LIT("12"), SLICE_LIT("123"), SLICE_LIT("topic"),
                                            SLICE_LIT("ok"), SLICE_LIT("efg")),
                     BG_OK);
    ASSERT_WRITTEN(&out, "\x01\x02\x03\x05\x02"
                         "12123topicok"
                         "efg");
    assert_int_equal(
        frame_put_binary_push(&out, SLICE_LIT("12"), SLICE_LIT("topic"), SLICE_LIT("event"), SLICE_LIT("efg")), BG_OK);
    ASSERT_WRITTEN(&out, "\x00\x02\x05\x05"
                         "12topicevent"
                         "efg");
    assert_int_equal(frame_put_binary_broadcast(&out, SLICE_LIT("topic"), SLICE_LIT("event"), SLICE_LIT("efg")), BG_OK);
    ASSERT_WRITTEN(&out, "\x02\x05\x05"
                         "topicevent"
                         "efg");
    assert_int_equal(frame_put_binary_push(&out, SLICE_NONE, SLICE_LIT("t\xc3\xa9"), SLICE_LIT("e"), SLICE_NONE),
                     BG_OK);
    ASSERT_WRITTEN(&out, "\x00\x00\x03\x01"
                         "t\xc3\xa9"
                         "e");
    buf_fini(&out);
}

static void names_over_255_bytes_write_nothing(void **state)
{
    (void)state; /* C-57 */
    static char long_name[256];
    memset(long_name, 'x', sizeof(long_name));
    const struct slice over = slice_make(long_name, 256), most = slice_make(long_name, 255), ok = SLICE_LIT("a");
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(frame_put_binary_push(&out, over, ok, ok, ok), BG_ELIMIT);
    assert_int_equal(frame_put_binary_push(&out, ok, over, ok, ok), BG_ELIMIT);
    assert_int_equal(frame_put_binary_push(&out, ok, ok, over, ok), BG_ELIMIT);
    assert_int_equal(frame_put_binary_reply(&out, ok, over, ok, ok, ok), BG_ELIMIT);
    assert_int_equal(frame_put_binary_reply(&out, ok, ok, ok, over, ok), BG_ELIMIT);
    assert_int_equal(frame_put_binary_broadcast(&out, over, ok, ok), BG_ELIMIT);
    assert_int_equal(out.len, 0);
    assert_int_equal(frame_put_binary_push(&out, most, most, most, over), BG_OK);
    assert_int_equal(out.len, 4 + 3 * 255 + 256);
    assert_int_equal(out.data[1], 255);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_messages_become_raw_slices),
        cmocka_unit_test(messages_cut_short_are_refused),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(keys_of_a_v1_message_are_limited),
        cmocka_unit_test(binary_push_is_taken_apart),
        cmocka_unit_test(binary_frames_that_lie_are_refused),
        cmocka_unit_test(v1_reads_json_from_binary_frames),
        cmocka_unit_test(text_frames_are_written_as_recorded),
        cmocka_unit_test(text_frames_hold_names_of_any_length),
        cmocka_unit_test(binary_frames_are_written_as_in_the_vectors),
        cmocka_unit_test(names_over_255_bytes_write_nothing),
    };
    return cmocka_run_group_tests_name("channel_frame", tests, NULL, NULL);
}
