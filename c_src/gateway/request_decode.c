/*
 * request_decode.c: see request_decode.h. Works on raw text that the frame parser has checked; allocates nothing
 * but error texts.
 */
#include "request_decode.h"

#include "transcode.h"

static const struct {
    struct slice name;
    size_t offset;
} known_fields[] = {
    {SLICE_LIT("request_type"), offsetof(struct request_fields, request_type)},
    {SLICE_LIT("request_id"), offsetof(struct request_fields, request_id)},
    {SLICE_LIT("service"), offsetof(struct request_fields, service)},
    {SLICE_LIT("args"), offsetof(struct request_fields, args)},
    {SLICE_LIT("version"), offsetof(struct request_fields, version)},
    {SLICE_LIT("user_id"), offsetof(struct request_fields, user_id)},
    {SLICE_LIT("device_id"), offsetof(struct request_fields, device_id)},
};

static struct slice null_as_absent(struct slice raw)
{
    return json_kind(raw) == JSON_NULL ? SLICE_NONE : raw;
}

void request_fields_read(struct slice payload, struct request_fields *f)
{
    unsigned seen = 0;
    struct json_iter it;
    struct slice key, value;
    *f = (struct request_fields){0};
    json_iter_init(&it, payload);
    while (json_iter_next(&it, &key, &value)) {
        for (size_t i = 0; i < ARRAY_SIZE(known_fields); i++) {
            if (!json_string_is(key, known_fields[i].name))
                continue;
            if (!(seen & 1u << i))
                *(struct slice *)(void *)((char *)f + known_fields[i].offset) = null_as_absent(value);
            seen |= 1u << i;
            break;
        }
    }
}

static bool missing(struct slice raw)
{
    return !raw.ptr || slice_is(raw, "\"\"");
}

bool request_id_usable(struct slice request_id)
{
    if (missing(request_id))
        return false;
    enum json_kind kind = json_kind(request_id);
    return kind == JSON_STRING || kind == JSON_NUMBER;
}

static int check_missing(const struct request_fields *f, struct buf *message)
{
    const struct {
        const char *name;
        struct slice raw;
    } required[] = {{"request_type", f->request_type}, {"request_id", f->request_id}, {"service", f->service}};
    bool any = false;
    buf_reset(message);
    buf_puts(message, "Missing required fields: ");
    for (size_t i = 0; i < ARRAY_SIZE(required); i++) {
        if (!missing(required[i].raw))
            continue;
        buf_puts(message, any ? ", " : "");
        buf_puts(message, required[i].name);
        any = true;
    }
    return any ? BG_EINVAL : BG_OK;
}

static int check_types(const struct request_fields *f, struct buf *message)
{
    const struct {
        const char *name;
        struct slice raw;
        bool number_too;
    } typed[] = {{"request_type", f->request_type, false},
                 {"request_id", f->request_id, true},
                 {"service", f->service, true},
                 {"version", f->version, true}};
    for (size_t i = 0; i < ARRAY_SIZE(typed); i++) {
        enum json_kind kind = typed[i].raw.ptr ? json_kind(typed[i].raw) : JSON_STRING;
        if (kind == JSON_STRING || (kind == JSON_NUMBER && typed[i].number_too))
            continue;
        buf_reset(message);
        buf_printf(message, "%s must be a string", typed[i].name);
        return BG_EINVAL;
    }
    return BG_OK;
}

int request_fields_check(const struct request_fields *f, struct buf *message)
{
    int rc = check_missing(f, message);
    return rc == BG_OK ? check_types(f, message) : rc;
}

/* The payload's size as the library counts it: after the user id was put in (E-002). */
static size_t term_size(struct slice payload, const struct request_fields *f, struct slice user, const struct json_limits *lim)
{
    enum { BINARY_HEAD = 5, USER_ID_KEY = BINARY_HEAD + 7, VERSION_BYTE = 1 };
    size_t size = json_term_size(payload, lim);
    if (user.len == 0)
        return size;
    size += BINARY_HEAD + user.len;
    if (f->user_id.ptr)
        return size - (json_term_size(f->user_id, lim) - VERSION_BYTE);
    return size + USER_ID_KEY;
}

int request_size_check(struct slice payload, const struct request_fields *f, struct slice user, size_t max,
                       const struct json_limits *lim, struct buf *message)
{
    /* A JSON text is at most so many times larger as a term (json_term_size()), so most payloads need no count. ROOM is for
     * the version and the key and head of a user id that is put in. */
    enum { WORST_GROWTH = 3, ROOM = 64 };
    if (payload.len * WORST_GROWTH + user.len + ROOM <= max)
        return BG_OK;
    size_t size = term_size(payload, f, user, lim);
    if (size <= max)
        return BG_OK;
    buf_reset(message);
    buf_printf(message, "Request payload exceeds maximum size of %zu bytes (got %zu bytes)", max, size);
    return BG_ELIMIT;
}
