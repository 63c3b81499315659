/*
 * fuzz_frame.c: any bytes as one client message. The first byte chooses serializer and opcode. What is accepted lies
 * inside the message, is made of whole JSON values, and reads the same again after being written by the other side's
 * rules.
 */
#include "channel_frame.h"
#include "fuzz.h"

static void check_inside(struct slice m, struct slice s)
{
    assert_always(s.ptr >= m.ptr && s.ptr + s.len <= m.ptr + m.len);
}

static void check_value(struct slice raw)
{
    struct json_reader r = json_reader(raw);
    struct slice same;
    assert_always(json_value(&r, &json_limits_default, &same, NULL) == BG_OK && slice_eq(same, raw));
    assert_always(json_finish(&r, NULL) == BG_OK);
}

/* As V2 text and back. */
static void check_text_round_trip(const struct channel_frame *f)
{
    static const char null_text[] = "null";
    struct channel_frame again;
    struct buf out;
    buf_init(&out, 0);
    frame_put_push_head(&out, SERIALIZER_V2, f->join_ref, f->ref, f->topic, SLICE_LIT("e"));
    buf_add_slice(&out, f->payload);
    frame_put_push_tail(&out, SERIALIZER_V2, f->topic);
    assert_always(channel_frame_parse(SERIALIZER_V2, false, buf_slice(&out), &json_limits_default, &again, NULL) ==
                  BG_OK);
    assert_always(slice_eq(again.join_ref, f->join_ref) && slice_eq(again.ref, f->ref));
    assert_always(slice_eq(again.topic, f->topic) && slice_eq(again.payload, f->payload));
    buf_reset(&out);
    frame_put_reply(&out, SERIALIZER_V1, SLICE_NONE, f->ref, f->topic, "ok", f->payload);
    assert_always(channel_frame_parse(SERIALIZER_V1, true, buf_slice(&out), &json_limits_default, &again, NULL) !=
                  BG_EINVAL);
    assert_always(again.join_ref.ptr == NULL || slice_is(again.join_ref, null_text));
    buf_fini(&out);
}

static void check_binary(struct slice m, const struct channel_frame *f)
{
    struct buf out;
    buf_init(&out, 0);
    assert_always(5 + f->join_ref.len + f->ref.len + f->topic.len + f->event.len + f->payload.len == m.len);
    assert_always(frame_put_binary_push(&out, f->join_ref, f->topic, f->event, f->payload) == BG_OK);
    assert_always(out.len == m.len - 1 - f->ref.len);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum serializer v = data[0] & 1 ? SERIALIZER_V2 : SERIALIZER_V1;
    bool binary = data[0] & 2;
    struct slice m = slice_make(data + 1, size - 1);
    struct channel_frame f;
    struct err e = {0};
    int rc = channel_frame_parse(v, binary, m, &json_limits_default, &f, &e);
    assert_always(rc == BG_OK || e.text[0] != '\0');
    if (rc != BG_OK)
        return 0;
    const struct slice part[] = {f.ref, f.topic, f.event, f.payload};
    assert_always(f.binary == (binary && v == SERIALIZER_V2));
    for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
        check_inside(m, part[i]);
        if (!f.binary)
            check_value(part[i]);
    }
    if (f.binary)
        check_binary(m, &f);
    else
        check_text_round_trip(&f);
    return 0;
}
