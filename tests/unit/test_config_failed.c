/* test_config_failed.c: refused configs: kept 24 h, without repetition, with a cap (S-090..S-093). */
#include "unit.h"

#include "config_failed.h"
#include "term_text.h"

enum { DAY_MS = 86400000 };

static struct fun_config_reasons reasons(const char *first, const char *second)
{
    struct fun_config_reasons why = {0};
    fun_config_reason(&why, "%s", first);
    if (second)
        fun_config_reason(&why, "%s", second);
    return why;
}

/* S-090, S-091. */
static void entry_tells_what_failed_where_and_why(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    struct config_failed *f = config_failed_new(10);
    struct fun_config_reasons why = reasons("service must not be nil", "hook_timeout must be a positive integer");
    config_failed_record(f, config_term(&b, "version", "\"1.0.0\"", "service", "nil", NULL), SLICE_NONE, &why,
                         CONFIG_PUSH, SLICE_NONE, 1000);
    config_failed_record(f, term_of(&b, "[:odd]"), SLICE_LIT("chat"), &why, CONFIG_PULL, SLICE_LIT("a@h"), 2000);
    memset(b.data, 0xff, b.len);
    struct config_failed_entry e;
    size_t pos = 0;
    assert_true(config_failed_next(f, &pos, &e)); /* newest first */
    assert_int_equal(e.id, 2);
    assert_slice_is(e.service, "chat");
    assert_null(e.request_type.ptr);
    assert_slice_is(e.node, "a@h");
    assert_int_equal(e.source, CONFIG_PULL);
    assert_true(config_failed_next(f, &pos, &e));
    assert_int_equal(e.id, 1);
    assert_null(e.service.ptr);
    assert_slice_is(e.request_type, "get_user");
    assert_slice_is(e.version, "1.0.0");
    assert_null(e.node.ptr);
    assert_int_equal(e.reasons_count, 2);
    assert_string_equal(e.reasons[1], "hook_timeout must be a positive integer");
    assert_int_equal(e.inserted_at_ms, 1000);
    assert_int_equal(e.expires_at_ms, 1000 + DAY_MS);
    struct slice v;
    assert_true(term_map_get(e.term, "request_type", &v));
    assert_false(config_failed_next(f, &pos, &e));
    config_failed_free(f);
    buf_fini(&b);
}

/* want of S-093. */
static void same_config_failing_again_is_one_entry(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    struct config_failed *f = config_failed_new(10);
    struct fun_config_reasons why = reasons("first", NULL), later = reasons("later", NULL);
    config_failed_record(f, config_term(&b, NULL), SLICE_NONE, &why, CONFIG_PULL, SLICE_LIT("a@h"), 1);
    config_failed_record(f, config_term(&b, "request_type", "\"other\"", NULL), SLICE_NONE, &why, CONFIG_PULL,
                         SLICE_LIT("a@h"), 2);
    for (int i = 0; i < 50; i++)
        config_failed_record(f, config_term(&b, "timeout", "1", NULL), SLICE_NONE, &later, CONFIG_PULL,
                             SLICE_LIT("b@h"), 3 + i);
    assert_int_equal(config_failed_count(f), 2);
    struct config_failed_entry e;
    size_t pos = 0;
    assert_true(config_failed_next(f, &pos, &e));
    assert_int_equal(e.id, 1);
    assert_int_equal(e.times, 51);
    assert_slice_is(e.node, "b@h");
    assert_string_equal(e.reasons[0], "later");
    assert_int_equal(e.inserted_at_ms, 52);
    /* another version, another source: entries of their own */
    config_failed_record(f, config_term(&b, "version", "\"2.0.0\"", NULL), SLICE_NONE, &why, CONFIG_PULL, SLICE_NONE,
                         60);
    config_failed_record(f, config_term(&b, NULL), SLICE_NONE, &why, CONFIG_PUSH, SLICE_NONE, 61);
    assert_int_equal(config_failed_count(f), 4);
    config_failed_free(f);
    buf_fini(&b);
}

static void oldest_entry_makes_room_at_the_cap(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    struct config_failed *f = config_failed_new(3);
    struct fun_config_reasons why = reasons("x", NULL);
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof(name), "\"type%d\"", i);
        config_failed_record(f, config_term(&b, "request_type", name, NULL), SLICE_NONE, &why, CONFIG_PULL, SLICE_NONE,
                             i);
    }
    assert_int_equal(config_failed_count(f), 3);
    struct config_failed_entry e;
    size_t pos = 2;
    assert_true(config_failed_next(f, &pos, &e));
    assert_slice_is(e.request_type, "type2");
    config_failed_clear(f);
    assert_int_equal(config_failed_count(f), 0);
    config_failed_free(f);
    buf_fini(&b);
}

/* S-091. */
static void entries_expire_after_a_day(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    struct config_failed *f = config_failed_new(3);
    struct fun_config_reasons why = reasons("x", NULL);
    config_failed_record(f, config_term(&b, NULL), SLICE_NONE, &why, CONFIG_PULL, SLICE_NONE, 0);
    config_failed_record(f, config_term(&b, "version", "\"1.0.0\"", NULL), SLICE_NONE, &why, CONFIG_PULL, SLICE_NONE,
                         10);
    assert_int_equal(config_failed_cleanup(f, DAY_MS - 1), 0);
    assert_int_equal(config_failed_cleanup(f, DAY_MS), 1);
    assert_int_equal(config_failed_cleanup(f, DAY_MS + 10), 1);
    assert_int_equal(config_failed_count(f), 0);
    config_failed_free(f);
    buf_fini(&b);
}

/* JSON and Elixir take no half characters; bytes that are no text at all are kept as many as fit. */
static void long_names_are_cut_between_characters(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    struct config_failed *f = config_failed_new(10);
    struct fun_config_reasons why = reasons("x", NULL);
    struct config_failed_entry e;
    char name[301] = "\"", bytes[200];
    for (int i = 0; i < 99; i++)
        memcpy(name + 1 + 3 * i, i == 50 ? "abc" : "\xe1\xbb\x87", 3);
    name[1 + 3 * 99] = '"';
    memset(bytes, 0x80, sizeof(bytes));
    config_failed_record(f, config_term(&b, "request_type", name, "version", name, NULL), slice_make(name + 1, 297), &why,
                         CONFIG_PULL, SLICE_NONE, 0);
    size_t pos = 0;
    assert_true(config_failed_next(f, &pos, &e));
    const struct slice kept[] = {e.service, e.request_type, e.version};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        assert_true(slice_eq(kept[i], slice_make(name + 1, 126)));
    config_failed_record(f, config_term(&b, NULL), slice_make(bytes, sizeof(bytes)), &why, CONFIG_PULL, SLICE_NONE, 1);
    pos = 0;
    assert_true(config_failed_next(f, &pos, &e));
    assert_true(e.service.len > 120);
    config_failed_free(f);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_tells_what_failed_where_and_why),
        cmocka_unit_test(same_config_failing_again_is_one_entry),
        cmocka_unit_test(oldest_entry_makes_room_at_the_cap),
        cmocka_unit_test(entries_expire_after_a_day),
        cmocka_unit_test(long_names_are_cut_between_characters),
    };
    return cmocka_run_group_tests_name("config_failed", tests, NULL, NULL);
}
