/*
 * fuzz_json.c: any bytes to the JSON scanner. What it accepts is walked with the unchecked functions, and
 * jansson must agree about what is JSON.
 *
 * jansson.h cannot be included: both name their kinds JSON_STRING. Hence the declarations.
 */
#define _GNU_SOURCE /* memmem */
#include "fuzz.h"
#include "json.h"

struct json_t;
struct json_t *json_loadb(const char *text, size_t len, size_t flags, void *error);
void json_delete(struct json_t *json);
enum { JANSSON_DECODE_ANY = 4, JANSSON_DECODE_INT_AS_REAL = 8, JANSSON_ALLOW_NUL = 16 };

static bool jansson_accepts(struct slice text)
{
    struct json_t *json =
        json_loadb(text.ptr, text.len, JANSSON_DECODE_ANY | JANSSON_DECODE_INT_AS_REAL | JANSSON_ALLOW_NUL, NULL);
    if (json)
        json_delete(json);
    return json != NULL;
}

static void check_string(struct slice raw)
{
    struct buf text, again;
    struct slice plain;
    buf_init(&text, 0);
    buf_init(&again, 0);
    json_string_text(raw, &text);
    assert_always(utf8_valid_prefix(text.data, text.len) == text.len);
    assert_always(json_string_is(raw, buf_slice(&text)));
    assert_always(!json_string_plain(raw, &plain) || slice_eq(plain, buf_slice(&text)));
    assert_always(json_put_string(&again, buf_slice(&text)) == 0);
    assert_always(json_string_is(buf_slice(&again), buf_slice(&text)));
    buf_fini(&text);
    buf_fini(&again);
}

/* Walks the first container in each, so deep without recursion; returns the next one to walk. */
static struct slice walk(struct slice raw)
{
    struct json_iter it;
    struct slice key, value, inner = SLICE_NONE;
    const char *last = raw.ptr;
    for (json_iter_init(&it, raw); json_iter_next(&it, &key, &value);) {
        assert_always(value.ptr > last && value.ptr + value.len < raw.ptr + raw.len);
        last = value.ptr + value.len;
        assert_always((key.len > 0) == (json_kind(raw) == JSON_OBJECT));
        struct json_reader r = json_reader(value);
        struct slice same;
        assert_always(json_value(&r, &json_limits_default, &same, NULL) == 0 && slice_eq(same, value));
        if (key.len)
            check_string(key);
        if (json_kind(value) == JSON_STRING)
            check_string(value);
        if (!inner.ptr && (json_kind(value) == JSON_ARRAY || json_kind(value) == JSON_OBJECT))
            inner = value;
    }
    return inner;
}

/* Whether members are remembered changes nothing else, and they are those that the walk finds. */
static void check_members(struct slice text, const struct json_limits *lim)
{
    struct json_reader r = json_reader(text), q = r;
    struct json_members m;
    struct json_iter it;
    struct slice raw, same, key, value;
    struct err e = {0}, f = {0};
    unsigned n = 0;
    int rc = json_value(&r, lim, &raw, &e);
    assert_always(json_value_members(&q, lim, &same, &m, &f) == rc && q.p == r.p && e.pos == f.pos &&
                  strcmp(e.text, f.text) == 0);
    assert_always(rc == 0 || !m.whole);
    if (!m.whole)
        return;
    assert_always(same.ptr == raw.ptr && same.len == raw.len);
    for (json_iter_init(&it, raw); json_iter_next(&it, &key, &value); n++)
        assert_always(n < m.count && key.ptr == m.at[n].key.ptr && key.len == m.at[n].key.len &&
                      value.ptr == m.at[n].value.ptr && value.len == m.at[n].value.len);
    assert_always(n == m.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size), raw;
    struct json_reader r = json_reader(text);
    int rc = json_value(&r, &json_limits_default, &raw, NULL);
    check_members(text, &json_limits_default);
    check_members(text, &(struct json_limits){.max_depth = size % 4, .max_keys = size % 3});
    if (rc == 0)
        rc = json_finish(&r, NULL);
    if (rc == BG_ELIMIT) /* jansson has other bounds */
        return 0;
    /* jansson stops at a raw NUL. Integers beyond a double (so longer than 300 digits) and keys that hold a
     * NUL are errors only there. */
    if (rc == BG_EINVAL)
        assert_always(memchr(data, 0, size) || !jansson_accepts(text));
    else if (size < 300 && !memmem(data, size, "\\u0000", 6))
        assert_always(jansson_accepts(text));
    for (size_t i = 0; rc == 0 && raw.len > 0 && i < 8; i++) {
        if (json_kind(raw) == JSON_STRING)
            check_string(raw);
        raw = walk(raw);
    }
    return 0;
}
