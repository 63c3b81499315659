/*
 * channel_frame.c: see channel_frame.h. Reads one client message into slices and writes server frames.
 *
 * Invariant: what channel_frame_parse() accepts is fully checked: every slice lies inside the message, text is valid
 * JSON (also the elements that are ignored, P-020), the names of a binary frame are valid UTF-8. So nobody behind it
 * has to doubt these bytes again.
 *
 * It does not interpret events, does not compare refs, and copies nothing on the way in.
 */
#include "channel_frame.h"

#include "text_scan.h"

enum { V2_ELEMENTS = 5, BINARY_NAME_MAX = 255, BINARY_PUSH_HEAD = 5 };
enum binary_kind { BINARY_PUSH = 0, BINARY_REPLY = 1, BINARY_BROADCAST = 2 };

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int frame_error(const struct json_reader *r, struct err *e, const char *what)
{
    return err_set(e, BG_EINVAL, (size_t)(r->p - r->start), "%s", what);
}

/* Skips white space and returns the next character without consuming it, 0 at the end. */
static inline char next_char(struct json_reader *r)
{
    r->p = json_skip_space(r->p, r->end);
    return r->p < r->end ? *r->p : '\0';
}

/* After one member of a container: consumes `,` (returns 1) or the closing character (returns 0). */
static inline int next_member(struct json_reader *r, char close, struct err *e)
{
    char c = next_char(r);
    if (c != ',' && c != close)
        return frame_error(r, e, "expected , or the end of the message");
    r->p++;
    return c == ',';
}

/* P-020: an array of five or more elements; what follows the fifth is checked and dropped. */
static int parse_v2(struct slice message, const struct json_limits *lim, struct channel_frame *f, struct err *e)
{
    struct json_reader r = json_reader(message);
    struct slice *const element[V2_ELEMENTS] = {&f->join_ref, &f->ref, &f->topic, &f->event, &f->payload};
    struct slice ignored = SLICE_NONE;
    size_t n = 0;
    if (next_char(&r) != '[')
        return frame_error(&r, e, "not an array");
    r.p++;
    for (int more = 1; more; n++) {
        struct slice *into = n < V2_ELEMENTS ? element[n] : &ignored;
        int rc = into == &f->payload ? json_value_members(&r, lim, into, &f->members, e) : json_value(&r, lim, into, e);
        if (rc != BG_OK)
            return rc;
        more = next_member(&r, ']', e);
        if (more < 0)
            return more;
    }
    if (n < V2_ELEMENTS)
        return frame_error(&r, e, "fewer than five elements");
    return json_finish(&r, e);
}

/* The member of f that a V1 key names; NULL for keys that mean nothing here. */
static struct slice *v1_member(struct channel_frame *f, struct slice raw_key)
{
    const struct {
        struct slice name;
        struct slice *member;
    } keys[] = {
        {SLICE_LIT("topic"), &f->topic}, {SLICE_LIT("event"), &f->event},       {SLICE_LIT("payload"), &f->payload},
        {SLICE_LIT("ref"), &f->ref},     {SLICE_LIT("join_ref"), &f->join_ref},
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (json_string_is(raw_key, keys[i].name))
            return keys[i].member;
    }
    return NULL;
}

static int parse_v1_member(struct json_reader *r, const struct json_limits *lim, struct channel_frame *f, struct err *e)
{
    struct slice key, value;
    if (next_char(r) != '"')
        return frame_error(r, e, "expected a key");
    int rc = json_value(r, lim, &key, e);
    if (rc != BG_OK)
        return rc;
    if (next_char(r) != ':')
        return frame_error(r, e, "expected :");
    r->p++;
    rc = json_value(r, lim, &value, e);
    if (rc != BG_OK)
        return rc;
    struct slice *member = v1_member(f, key);
    /* Of duplicate keys the first wins, as everywhere (E-234). */
    if (member && !member->ptr)
        *member = value;
    return BG_OK;
}

/* P-021: an object with topic, event, payload and ref; join_ref may be missing. */
static int parse_v1(struct slice message, const struct json_limits *lim, struct channel_frame *f, struct err *e)
{
    struct json_reader r = json_reader(message);
    if (next_char(&r) != '{')
        return frame_error(&r, e, "not an object");
    r.p++;
    size_t keys = 0;
    for (int more = 1; more;) {
        if (lim->max_keys && ++keys > lim->max_keys)
            return err_set(e, BG_ELIMIT, (size_t)(r.p - r.start), "%s", json_too_many_keys);
        int rc = parse_v1_member(&r, lim, f, e);
        if (rc != BG_OK)
            return rc;
        more = next_member(&r, '}', e);
        if (more < 0)
            return more;
    }
    if (!f->topic.ptr || !f->event.ptr || !f->payload.ptr || !f->ref.ptr)
        return frame_error(&r, e, "topic, event, payload or ref is missing");
    if (!f->join_ref.ptr)
        f->join_ref = SLICE_LIT("null");
    return json_finish(&r, e);
}

/* P-030: 00, four lengths, four names, data. */
static int parse_binary_push(struct slice m, struct channel_frame *f, struct err *e)
{
    struct slice *const name[] = {&f->join_ref, &f->ref, &f->topic, &f->event};
    const uint8_t *head = (const uint8_t *)m.ptr;
    size_t pos = BINARY_PUSH_HEAD;
    if (m.len < BINARY_PUSH_HEAD || head[0] != BINARY_PUSH)
        return err_set(e, BG_EINVAL, 0, "not a binary push");
    for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
        size_t len = head[1 + i];
        if (len > m.len - pos)
            return err_set(e, BG_EINVAL, 1 + i, "a length points beyond the frame");
        *name[i] = slice_make(m.ptr + pos, len);
        if (utf8_valid_prefix(name[i]->ptr, len) != len)
            return err_set(e, BG_EINVAL, pos, "a name is not UTF-8");
        pos += len;
    }
    f->payload = slice_make(m.ptr + pos, m.len - pos);
    return BG_OK;
}

int channel_frame_parse(enum serializer v, bool binary_opcode, struct slice message, const struct json_limits *lim,
                        struct channel_frame *f, struct err *e)
{
    f->binary = binary_opcode && v == SERIALIZER_V2;
    f->join_ref = f->ref = f->topic = f->event = f->payload = SLICE_NONE;
    f->members.whole = false;
    if (f->binary)
        return parse_binary_push(message, f, e);
    /* V1 reads JSON from a binary frame too (P-022). */
    return v == SERIALIZER_V2 ? parse_v2(message, lim, f, e) : parse_v1(message, lim, f, e);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Refs and topics that a frame lacks are null. */
static struct slice raw_or_null(struct slice raw)
{
    return raw.len ? raw : SLICE_LIT("null");
}

static inline uint8_t *store(uint8_t *o, struct slice text)
{
    text_copy(o, text.ptr, text.len);
    return o + text.len;
}

/* Everything of a V2 frame before its event. */
static inline uint8_t *store_head(uint8_t *o, struct slice join_ref, struct slice ref, struct slice topic)
{
    *o++ = '[';
    o = store(o, join_ref);
    *o++ = ',';
    o = store(o, ref);
    *o++ = ',';
    o = store(o, topic);
    *o++ = ',';
    return o;
}

/* Heads of V2 are written in one step, since two frames answer each request. */
static void put_head_v2(struct buf *out, struct slice join_ref, struct slice ref, struct slice topic, struct slice event)
{
    join_ref = raw_or_null(join_ref);
    ref = raw_or_null(ref);
    topic = raw_or_null(topic);
    size_t before = join_ref.len + ref.len + topic.len + strlen("[,,,"), n = before + event.len + strlen("\"\",");
    uint8_t *o = buf_room(out, n);
    if (!o)
        return;
    o = store_head(o, join_ref, ref, topic);
    if (!text_copy_plain(o + 1, event.ptr, event.len)) {
        out->len += before;
        json_put_text(out, event);
        buf_putc(out, ',');
        return;
    }
    o[0] = o[event.len + 1] = '"';
    o[event.len + 2] = ',';
    out->len += n;
}

static void put_head_v1(struct buf *out, struct slice ref, struct slice event)
{
    buf_puts(out, "{\"ref\":");
    buf_add_slice(out, raw_or_null(ref));
    buf_puts(out, ",\"event\":");
    json_put_text(out, event);
    buf_puts(out, ",\"payload\":");
}

void frame_put_push_head(struct buf *out, enum serializer v, struct slice join_ref, struct slice ref,
                         struct slice topic, struct slice event)
{
    if (v == SERIALIZER_V2)
        put_head_v2(out, join_ref, ref, topic, event);
    else
        put_head_v1(out, ref, event);
}

void frame_put_push_tail(struct buf *out, enum serializer v, struct slice topic)
{
    if (v == SERIALIZER_V2) {
        buf_putc(out, ']');
        return;
    }
    buf_puts(out, ",\"topic\":");
    buf_add_slice(out, raw_or_null(topic));
    buf_putc(out, '}');
}

#define STORE_LIT(o, lit) (memcpy(o, lit, sizeof(lit) - 1), (o) + sizeof(lit) - 1)

/* All of it in one step. */
static void put_reply_v2(struct buf *out, struct slice join_ref, struct slice ref, struct slice topic, struct slice status,
                         struct slice response)
{
    static const char frame[] = "[,,,\"phx_reply\",{\"status\":\"\",\"response\":}]";
    join_ref = raw_or_null(join_ref);
    ref = raw_or_null(ref);
    topic = raw_or_null(topic);
    response = raw_or_null(response);
    size_t n = join_ref.len + ref.len + topic.len + status.len + response.len + sizeof(frame) - 1;
    uint8_t *o = buf_room(out, n);
    if (!o)
        return;
    o = store_head(o, join_ref, ref, topic);
    o = STORE_LIT(o, "\"phx_reply\",{\"status\":\"");
    o = store(o, status);
    o = STORE_LIT(o, "\",\"response\":");
    o = store(o, response);
    o[0] = '}';
    o[1] = ']';
    out->len += n;
}

void frame_put_reply(struct buf *out, enum serializer v, struct slice join_ref, struct slice ref, struct slice topic,
                     const char *status, struct slice response)
{
    if (v == SERIALIZER_V2) {
        put_reply_v2(out, join_ref, ref, topic, slice_str(status), response);
        return;
    }
    put_head_v1(out, ref, SLICE_LIT("phx_reply"));
    buf_puts(out, "{\"status\":\"");
    buf_puts(out, status);
    buf_puts(out, "\",\"response\":");
    buf_add_slice(out, raw_or_null(response));
    buf_putc(out, '}');
    frame_put_push_tail(out, v, topic);
}

/* Writes kind, the lengths of names, the names, then data; or nothing when a name is too long (C-57). */
static int put_binary(struct buf *out, enum binary_kind kind, const struct slice *names, size_t n, struct slice data)
{
    for (size_t i = 0; i < n; i++) {
        if (names[i].len > BINARY_NAME_MAX)
            return BG_ELIMIT;
    }
    buf_putc(out, (int)kind);
    for (size_t i = 0; i < n; i++)
        buf_putc(out, (int)names[i].len);
    for (size_t i = 0; i < n; i++)
        buf_add_slice(out, names[i]);
    buf_add_slice(out, data);
    return BG_OK;
}

int frame_put_binary_push(struct buf *out, struct slice join_ref, struct slice topic, struct slice event,
                          struct slice data)
{
    const struct slice names[] = {join_ref, topic, event};
    return put_binary(out, BINARY_PUSH, names, ARRAY_SIZE(names), data);
}

int frame_put_binary_reply(struct buf *out, struct slice join_ref, struct slice ref, struct slice topic,
                           struct slice status, struct slice data)
{
    const struct slice names[] = {join_ref, ref, topic, status};
    return put_binary(out, BINARY_REPLY, names, ARRAY_SIZE(names), data);
}

int frame_put_binary_broadcast(struct buf *out, struct slice topic, struct slice event, struct slice data)
{
    const struct slice names[] = {topic, event};
    return put_binary(out, BINARY_BROADCAST, names, ARRAY_SIZE(names), data);
}
