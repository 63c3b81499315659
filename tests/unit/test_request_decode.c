/* test_request_decode.c: which fields a payload has, and what is wrong with them. */
#include "unit.h"

#include <stdio.h>

#include "request_decode.h"

/* The fields of one payload, which are the same from its text and from its members. */
static struct request_fields read_fields(const char *payload)
{
    struct request_fields f, g;
    struct json_reader r = json_reader(slice_str(payload));
    struct json_members m;
    struct slice raw;
    if (json_value_members(&r, &json_limits_default, &raw, &m, NULL) != BG_OK)
        fail_msg("no JSON: %s", payload);
    request_fields_read(raw, &f);
    if (m.whole) {
        request_fields_take(&m, &g);
        assert_memory_equal(&f, &g, sizeof(f));
    } else {
        assert_slice_is(raw, "{}");
    }
    return f;
}

static const struct {
    const char *name;
    size_t offset;
} fields[] = {
    {"request_type", offsetof(struct request_fields, request_type)},
    {"request_id", offsetof(struct request_fields, request_id)},
    {"service", offsetof(struct request_fields, service)},
    {"version", offsetof(struct request_fields, version)},
    {"user_id", offsetof(struct request_fields, user_id)},
    {"device_id", offsetof(struct request_fields, device_id)},
    {"args", offsetof(struct request_fields, args)},
};

/* Only the field called name has a value, which is want; none has when name is none of theirs. */
static void assert_only(const char *payload, const char *name, const char *want)
{
    struct request_fields f = read_fields(payload);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        struct slice raw = *(struct slice *)(void *)((char *)&f + fields[i].offset);
        if (strcmp(fields[i].name, name) != 0)
            assert_null(raw.ptr);
        else
            assert_slice_is(raw, want);
    }
}

static void each_field_is_found_by_its_name(void **state)
{
    (void)state;
    char payload[256];
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        snprintf(payload, sizeof(payload), "{ \"other\":{\"%s\":0}, \"%s\" : [7, \"x\"] ,\"more\":1}", fields[i].name,
                 fields[i].name);
        assert_only(payload, fields[i].name, "[7, \"x\"]");
    }
}

static void a_name_that_differs_in_one_character_is_another(void **state)
{
    (void)state;
    char payload[256], name[32];
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        for (size_t at = 0; at < strlen(fields[i].name); at++) {
            snprintf(name, sizeof(name), "%s", fields[i].name);
            name[at]++;
            snprintf(payload, sizeof(payload), "{\"%s\":1}", name);
            assert_only(payload, "", "");
        }
    assert_only("{\"\":1,\"argss\":1,\"arg\":1,\"request_type_\":1}", "", "");
}

/* Every character of a key may be written as an escape (RFC 8259 section 8.3). */
static void escapes_in_a_name_do_not_hide_it(void **state)
{
    (void)state;
    char payload[256];
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        char all[128] = "";
        for (const char *c = fields[i].name; *c; c++)
            snprintf(all + strlen(all), sizeof(all) - strlen(all), "\\u%04x", *c);
        snprintf(payload, sizeof(payload), "{\"%s\":2}", all);
        assert_only(payload, fields[i].name, "2");
        snprintf(payload, sizeof(payload), "{\"\\u%04x%s\":2}", fields[i].name[0], fields[i].name + 1);
        assert_only(payload, fields[i].name, "2");
        snprintf(payload, sizeof(payload), "{\"%s\\u0061\":2}", all);
        assert_only(payload, "", "");
    }
    assert_only("{\"arg\\\\\":1,\"ar\\n\":1,\"\\u00e4rgs\":1}", "", "");
}

/* E-234; null is as absent, and yet the first. */
static void the_first_of_repeated_keys_counts(void **state)
{
    (void)state;
    assert_only("{\"service\":\"a\",\"service\":\"b\"}", "service", "\"a\"");
    assert_only("{\"\\u0073ervice\":\"a\",\"service\":\"b\"}", "service", "\"a\"");
    assert_only("{\"service\":null,\"service\":\"b\"}", "", "");
    assert_only("{}", "", "");
}

static void what_is_wrong_is_said_in_the_recorded_words(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "Missing required fields: request_type, request_id, service"},
        {"{\"request_type\":\"\",\"request_id\":\"\",\"service\":null}",
         "Missing required fields: request_type, request_id, service"},
        {"{\"request_id\":\"1\",\"service\":\"s\"}", "Missing required fields: request_type"},
        {"{\"request_type\":\"t\",\"service\":\"s\"}", "Missing required fields: request_id"},
        {"{\"request_type\":\"t\",\"request_id\":\"1\"}", "Missing required fields: service"},
        {"{\"request_type\":1,\"request_id\":\"1\"}", "Missing required fields: service"},
        {"{\"request_type\":1,\"request_id\":[],\"service\":{}}", "request_type must be a string"},
        {"{\"request_type\":\"t\",\"request_id\":[],\"service\":{}}", "request_id must be a string"},
        {"{\"request_type\":\"t\",\"request_id\":12,\"service\":true}", "service must be a string"},
        {"{\"request_type\":\"t\",\"request_id\":12,\"service\":55,\"version\":[]}", "version must be a string"},
        {"{\"request_type\":\"t\",\"request_id\":12,\"service\":55,\"version\":1}", NULL},
        {"{\"request_type\":\"t\",\"request_id\":\"1\",\"service\":\"s\",\"version\":null}", NULL},
    };
    struct buf message;
    buf_init(&message, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct request_fields f = read_fields(cases[i][0]);
        int rc = request_fields_check(&f, &message);
        assert_int_equal(rc, cases[i][1] ? BG_EINVAL : BG_OK);
        if (cases[i][1])
            assert_slice_is(buf_slice(&message), cases[i][1]);
    }
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_is_found_by_its_name),
        cmocka_unit_test(a_name_that_differs_in_one_character_is_another),
        cmocka_unit_test(escapes_in_a_name_do_not_hide_it),
        cmocka_unit_test(the_first_of_repeated_keys_counts),
        cmocka_unit_test(what_is_wrong_is_said_in_the_recorded_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
