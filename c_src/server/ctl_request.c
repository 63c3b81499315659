/*
 * ctl_request.c: a line from the command line's socket taken apart. Only the gateway's own user and root can write
 * there, but what they write may be anything.
 *
 * Invariant: every slice of a request lies in its text, which is at most as long as the line.
 */
#include "ctl.h"

#include "json.h"

/* Decoded text is never longer than its JSON, so the buffer never moves under the slices. */
static bool take_text(struct ctl_request *r, struct slice raw, struct slice *text)
{
    if (json_kind(raw) != JSON_STRING)
        return false;
    size_t start = r->text.len;
    json_string_text(raw, &r->text);
    *text = slice_make(r->text.data + start, r->text.len - start);
    return buf_ok(&r->text);
}

static int take_args(struct ctl_request *r, struct slice raw, struct err *e)
{
    struct json_iter it;
    struct slice key, value;
    if (json_kind(raw) != JSON_ARRAY)
        return err_set(e, BG_EINVAL, 0, "args must be a list of texts");
    json_iter_init(&it, raw);
    while (json_iter_next(&it, &key, &value)) {
        if (r->argc == CTL_ARGS_MAX)
            return err_set(e, BG_ELIMIT, 0, "more than %d arguments", CTL_ARGS_MAX);
        if (!take_text(r, value, &r->args[r->argc]))
            return err_set(e, BG_EINVAL, 0, "args must be a list of texts");
        r->argc++;
    }
    return BG_OK;
}

static int take_options(struct ctl_request *r, struct slice raw, struct err *e)
{
    struct json_iter it;
    struct slice key, value;
    if (json_kind(raw) != JSON_OBJECT)
        return err_set(e, BG_EINVAL, 0, "options must be an object of texts");
    json_iter_init(&it, raw);
    while (json_iter_next(&it, &key, &value)) {
        struct ctl_option *o = &r->options[r->options_count];
        if (r->options_count == CTL_OPTIONS_MAX)
            return err_set(e, BG_ELIMIT, 0, "more than %d options", CTL_OPTIONS_MAX);
        if (!take_text(r, key, &o->name) || !take_text(r, value, &o->value))
            return err_set(e, BG_EINVAL, 0, "options must be an object of texts");
        r->options_count++;
    }
    return BG_OK;
}

static int take_member(struct ctl_request *r, struct slice key, struct slice value, struct err *e)
{
    if (json_string_is(key, SLICE_LIT("command")))
        return take_text(r, value, &r->command) ? BG_OK : err_set(e, BG_EINVAL, 0, "command must be a text");
    if (json_string_is(key, SLICE_LIT("args")))
        return take_args(r, value, e);
    if (json_string_is(key, SLICE_LIT("options")))
        return take_options(r, value, e);
    return err_set(e, BG_EINVAL, 0, "a request has the keys command, args and options");
}

int ctl_request_parse(struct slice line, struct ctl_request *r, struct err *e)
{
    static const struct json_limits limits = {.max_depth = 3, .max_keys = 16};
    struct json_reader reader = json_reader(line);
    struct json_iter it;
    struct slice raw, key, value;
    int rc;
    memset(r, 0, sizeof(*r));
    buf_init(&r->text, 0);
    if (line.len > CTL_REQUEST_MAX)
        return err_set(e, BG_ELIMIT, 0, "the request is longer than %d bytes", CTL_REQUEST_MAX);
    if ((rc = json_value(&reader, &limits, &raw, e)) != BG_OK || (rc = json_finish(&reader, e)) != BG_OK)
        return rc;
    if (json_kind(raw) != JSON_OBJECT)
        return err_set(e, BG_EINVAL, 0, "a request is a JSON object");
    if (!buf_reserve(&r->text, line.len))
        return err_set(e, BG_ENOMEM, 0, "no memory for the request");
    json_iter_init(&it, raw);
    while (json_iter_next(&it, &key, &value)) {
        rc = take_member(r, key, value, e);
        if (rc != BG_OK)
            return rc;
    }
    return r->command.ptr ? BG_OK : err_set(e, BG_EINVAL, 0, "the request names no command");
}

void ctl_request_fini(struct ctl_request *r)
{
    buf_fini(&r->text);
    memset(r, 0, sizeof(*r));
}

struct slice ctl_request_option(const struct ctl_request *r, const char *name)
{
    for (unsigned i = 0; i < r->options_count; i++)
        if (slice_is(r->options[i].name, name))
            return r->options[i].value;
    return SLICE_NONE;
}

int ctl_request_number(const struct ctl_request *r, const char *name, uint64_t fallback, uint64_t max, uint64_t *value)
{
    struct slice text = ctl_request_option(r, name);
    *value = fallback;
    if (!text.ptr)
        return BG_OK;
    *value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9' || *value > max)
            return BG_EINVAL;
        *value = *value * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    return text.len > 0 && *value <= max ? BG_OK : BG_EINVAL;
}
