/*
 * topic.c: see topic.h. Bytes are compared, so the topic has to be in the one form that phoenix_socket.c brings names
 * into.
 */
#include "topic.h"

static bool begins_with(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static struct slice behind(struct slice s, size_t n)
{
    return slice_make(s.ptr + n, s.len - n);
}

/* What may follow: exactly end, or with open at least end. */
static bool ends_so(struct slice rest, struct slice end, bool open)
{
    return open ? begins_with(rest, end) : slice_eq(rest, end);
}

/* Some user's: anything that is not empty, then the end. */
static bool is_of_form(struct slice rest, struct slice end, bool open)
{
    if (!open)
        return rest.len > end.len && slice_eq(behind(rest, rest.len - end.len), end);
    for (size_t i = 1; i + end.len <= rest.len; i++)
        if (begins_with(behind(rest, i), end))
            return true;
    return false;
}

enum topic_match topic_match(const char *pattern, struct slice topic, struct slice user)
{
    size_t len = strlen(pattern);
    bool open = len && pattern[len - 1] == '*';
    struct slice whole = slice_make(pattern, open ? len - 1 : len);
    const char *at = strstr(pattern, TOPIC_USER_ID);
    if (!at)
        return ends_so(topic, whole, open) ? TOPIC_MATCHES : TOPIC_DIFFERENT;
    struct slice before = slice_make(pattern, (size_t)(at - pattern));
    struct slice end = behind(whole, before.len + sizeof(TOPIC_USER_ID) - 1);
    if (!begins_with(topic, before))
        return TOPIC_DIFFERENT;
    struct slice rest = behind(topic, before.len);
    if (user.len && begins_with(rest, user) && ends_so(behind(rest, user.len), end, open))
        return TOPIC_MATCHES;
    return is_of_form(rest, end, open) ? TOPIC_FOREIGN : TOPIC_DIFFERENT;
}
