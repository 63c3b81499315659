/* test_topic.c: which topics a pattern means (P-050), and whose they are. */
#include "unit.h"

#include "topic.h"

static void patterns_match_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *topic, *user;
        enum topic_match want;
    } rows[] = {
        {"lobby", "lobby", "", TOPIC_MATCHES},
        {"lobby", "lobby2", "", TOPIC_DIFFERENT},
        {"room:*", "room:", "", TOPIC_MATCHES},
        {"room:*", "room:a:b", "", TOPIC_MATCHES},
        {"room:*", "roo", "", TOPIC_DIFFERENT},
        {"*", "", "", TOPIC_MATCHES},
        {"user:{user_id}", "user:7", "7", TOPIC_MATCHES},
        {"user:{user_id}", "user:77", "7", TOPIC_FOREIGN},
        {"user:{user_id}", "user:7", "77", TOPIC_FOREIGN},
        {"user:{user_id}", "user:7", "", TOPIC_FOREIGN},
        {"user:{user_id}", "user:", "", TOPIC_DIFFERENT},
        {"user:{user_id}", "user:", "7", TOPIC_DIFFERENT},
        {"user:{user_id}", "users:7", "7", TOPIC_DIFFERENT},
        {"user:{user_id}:notes", "user:7:notes", "7", TOPIC_MATCHES},
        {"user:{user_id}:notes", "user:7:notes2", "7", TOPIC_DIFFERENT},
        {"user:{user_id}:notes", "user:7:x:notes", "7", TOPIC_FOREIGN},
        {"user:{user_id}:notes", "user:8:notes", "7", TOPIC_FOREIGN},
        {"user:{user_id}:notes", "user::notes", "7", TOPIC_DIFFERENT},
        {"user:{user_id}:*", "user:7:", "7", TOPIC_MATCHES},
        {"user:{user_id}:*", "user:7:a", "7", TOPIC_MATCHES},
        {"user:{user_id}:*", "user:77:a", "7", TOPIC_FOREIGN},
        {"user:{user_id}:*", "user:7", "7", TOPIC_DIFFERENT},
        {"user:{user_id}:*", "user:7:a", "", TOPIC_FOREIGN},
        {"{user_id}", "7", "7", TOPIC_MATCHES},
        {"{user_id}", "", "", TOPIC_DIFFERENT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        enum topic_match got = topic_match(rows[i].pattern, slice_str(rows[i].topic), slice_str(rows[i].user));
        if (got != rows[i].want)
            fail_msg("%s, topic %s, user %s: got %d, want %d", rows[i].pattern, rows[i].topic, rows[i].user, got,
                     rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
