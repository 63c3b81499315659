/* test_http_head.c: request heads and query parameters, good and hostile. */
#include "unit.h"

#include <stdio.h>

#include "http_head.h"

static int parse(const char *text, struct http_head *h, size_t *used)
{
    /* An exact copy: reading beyond its end is an error that a sanitizer sees. */
    static char *copy;
    size_t n = strlen(text);
    free(copy);
    copy = malloc(n + 1);
    memcpy(copy, text, n);
    return http_head_parse(slice_make(copy, n), h, used, NULL);
}

static void request_is_taken_apart(void **state)
{
    (void)state;
    static const char text[] = "GET /socket/websocket?a=b HTTP/1.1\r\nHost: x:80\r\nconnection:Upgrade\r\n"
                               "CONNECTION: \t keep-alive , close\t\r\nEmpty:\r\n\r\nrest";
    struct http_head h;
    struct slice value;
    size_t used;
    uint32_t pos = 0;
    assert_int_equal(parse(text, &h, &used), BG_OK);
    assert_int_equal(used, sizeof(text) - 1 - 4);
    assert_slice_is(h.method, "GET");
    assert_slice_is(h.path, "/socket/websocket");
    assert_slice_is(h.query, "a=b");
    assert_int_equal(h.minor, 1);
    assert_int_equal(h.headers_count, 4);
    assert_true(http_header_next(&h, "connection", &pos, &value));
    assert_slice_is(value, "Upgrade");
    assert_true(http_header_next(&h, "connection", &pos, &value));
    assert_slice_is(value, "keep-alive , close");
    assert_false(http_header_next(&h, "connection", &pos, &value));
    assert_true(http_header_has(&h, "Connection", "upgrade"));
    assert_true(http_header_has(&h, "Connection", "CLOSE"));
    assert_false(http_header_has(&h, "Connection", "keep"));
    assert_false(http_header_has(&h, "Connection", ""));
    assert_false(http_header_has(&h, "Absent", "close"));
}

static void every_prefix_of_a_request_wants_more(void **state)
{
    (void)state;
    static const char text[] = "GET http://host/path HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
    struct http_head h;
    size_t used;
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        char prefix[sizeof(text)];
        snprintf(prefix, sizeof(prefix), "%.*s", (int)n, text);
        assert_int_equal(parse(prefix, &h, &used), BG_EMORE);
    }
    assert_int_equal(parse(text, &h, &used), BG_OK);
    assert_slice_is(h.path, "/path");
}

static const char *const refused[] = {
    "hello\r\n",
    "\r\n\r\n",
    "GET\r\n\r\n",
    "GET /\r\n\r\n",
    "GET / HTTP/2.0\r\n\r\n",
    "GET / HTTP/1.2\r\n\r\n",
    "GET / HTTP/1.1 \r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /a\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nNoColon\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n  folded\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n",
    "GET / HTTP/1.1\nHost: x\n\n",
    "GET / HTTP/1.1\r\nHost: x\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
};

static void what_is_not_clearly_http_is_refused(void **state)
{
    (void)state;
    struct http_head h;
    size_t used;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        if (parse(refused[i], &h, &used) != BG_EINVAL)
            fail_msg("accepted: %s", refused[i]);
    }
}

static void heads_are_limited(void **state)
{
    (void)state;
    static char text[64 * 1024];
    struct http_head h;
    size_t used, n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < HTTP_HEADERS_MAX - 1; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "A: b\r\n");
    strcpy(text + n, "\r\n");
    assert_int_equal(parse(text, &h, &used), BG_OK);
    assert_int_equal(h.headers_count, HTTP_HEADERS_MAX);
    strcpy(text + n, "A: b\r\n\r\n");
    assert_int_equal(parse(text, &h, &used), BG_ELIMIT);
    memset(text, 'a', sizeof(text) - 1);
    assert_int_equal(parse(text, &h, &used), BG_ELIMIT);
    memcpy(text, "GET /", 5);
    assert_int_equal(parse(text, &h, &used), BG_ELIMIT);
    n = 10000;
    strcpy(text + n, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(parse(text, &h, &used), BG_EINVAL); /* the target alone is too long */
}

static const struct query_case {
    const char *query, *name, *want; /* want NULL: not there; "!": BG_EINVAL */
} query_cases[] = {
    {"", "a", NULL},
    {"a=1", "a", "1"},
    {"b=2&a=1", "a", "1"},
    {"a=1&a=2", "a", "2"},
    {"a", "a", ""},
    {"a=", "a", ""},
    {"&&=&a=1&", "a", "1"},
    {"aa=1", "a", NULL},
    {"a=b=c", "a", "b=c"},
    {"a=%41%2b+%26", "a", "A+ &"},
    {"%61=1", "a", "1"},
    {"a=%c3%a9", "a", "\xc3\xa9"},
    {"a=\xc3\xa9", "a", "\xc3\xa9"},
    {"a=%c3", "a", "!"},
    {"a=%", "a", "!"},
    {"a=%4", "a", "!"},
    {"a=%4g", "a", "!"},
    {"b=%zz&a=1", "a", "1"},
    {"%zz=1", "a", "!"},
    {"a[]=1", "a", "!"},
    {"a[b]=1&a=2", "a", "!"},
    {"a;b=1", "a;b", "1"},
};

static void query_parameters_are_decoded(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(query_cases); i++) {
        const struct query_case *q = &query_cases[i];
        struct buf out;
        buf_init(&out, 0);
        buf_puts(&out, "kept:");
        int rc = http_query_get(slice_str(q->query), q->name, &out);
        if (!q->want)
            assert_int_equal(rc, BG_EGONE);
        else if (q->want[0] == '!')
            assert_int_equal(rc, BG_EINVAL);
        else
            assert_int_equal(rc, BG_OK);
        if (rc == BG_OK)
            assert_slice_is(slice_make(out.data + 5, out.len - 5), q->want);
        assert_memory_equal(out.data, "kept:", 5);
        buf_fini(&out);
    }
}

/* Half a value must not pass for the value. */
static void a_parameter_without_room_is_none(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 3);
    assert_int_equal(http_query_get(SLICE_LIT("a=abc"), "a", &out), BG_OK);
    buf_reset(&out);
    assert_int_equal(http_query_get(SLICE_LIT("a=abcd"), "a", &out), BG_ENOMEM);
    buf_reset(&out);
    assert_int_equal(http_query_get(SLICE_LIT("abcd=1"), "abc", &out), BG_ENOMEM);
    assert_int_equal(http_url_decode(SLICE_LIT("%41BCD"), &out), BG_ENOMEM);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_taken_apart),
        cmocka_unit_test(every_prefix_of_a_request_wants_more),
        cmocka_unit_test(what_is_not_clearly_http_is_refused),
        cmocka_unit_test(heads_are_limited),
        cmocka_unit_test(query_parameters_are_decoded),
        cmocka_unit_test(a_parameter_without_room_is_none),
    };
    return cmocka_run_group_tests_name("http_head", tests, NULL, NULL);
}
