/*
 * request_decode.c: see request_decode.h. Works on raw text that the frame parser has checked; allocates nothing
 * but error texts.
 */
#include "request_decode.h"

#include "transcode.h"

enum { FIELD_NAME_MAX = 12, ESCAPE_MAX = 6 /* characters that one of a name can take in JSON: \u0061 */ };

/* The field of that name, or NULL. */
static struct slice *field_named(struct request_fields *f, const char *name, size_t len)
{
    switch (len) {
    case 4:
        return memcmp(name, "args", 4) == 0 ? &f->args : NULL;
    case 7:
        return memcmp(name, "service", 7) == 0   ? &f->service
               : memcmp(name, "version", 7) == 0 ? &f->version
               : memcmp(name, "user_id", 7) == 0 ? &f->user_id
                                                 : NULL;
    case 9:
        return memcmp(name, "device_id", 9) == 0 ? &f->device_id : NULL;
    case 10:
        return memcmp(name, "request_id", 10) == 0 ? &f->request_id : NULL;
    case 12:
        return memcmp(name, "request_type", 12) == 0 ? &f->request_type : NULL;
    default:
        return NULL;
    }
}

/* The field of a raw key, or NULL. No name has a character that must be escaped, but any may be. */
static struct slice *field_of_key(struct request_fields *f, struct slice raw_key)
{
    struct slice text;
    uint8_t name[FIELD_NAME_MAX * ESCAPE_MAX];
    struct slice *field = field_named(f, raw_key.ptr + 1, raw_key.len - 2);
    if (field || json_string_plain(raw_key, &text) || text.len > sizeof(name))
        return field;
    return field_named(f, (const char *)name, json_unescape(text.ptr, slice_end(text), name));
}

static void no_fields(struct request_fields *f)
{
    f->request_type = f->request_id = f->service = f->version = f->user_id = f->device_id = f->args = SLICE_NONE;
}

/* seen has a bit for each field that had a key before this one. */
static inline void take_member(struct request_fields *f, unsigned *seen, struct slice key, struct slice value)
{
    struct slice *field = field_of_key(f, key);
    if (!field)
        return;
    unsigned bit = 1u << ((char *)field - (char *)f) / sizeof(*field);
    if (!(*seen & bit) && json_kind(value) != JSON_NULL)
        *field = value;
    *seen |= bit;
}

void request_fields_take(const struct json_members *m, struct request_fields *f)
{
    unsigned seen = 0;
    no_fields(f);
    for (unsigned i = 0; i < m->count; i++)
        take_member(f, &seen, m->at[i].key, m->at[i].value);
}

void request_fields_read(struct slice payload, struct request_fields *f)
{
    unsigned seen = 0;
    struct json_iter it;
    struct slice key, value;
    no_fields(f);
    json_iter_init(&it, payload);
    while (json_iter_next(&it, &key, &value))
        take_member(f, &seen, key, value);
}

static bool missing(struct slice raw)
{
    return !raw.ptr || (raw.len == 2 && json_kind(raw) == JSON_STRING);
}

bool request_id_usable(struct slice request_id)
{
    if (missing(request_id))
        return false;
    enum json_kind kind = json_kind(request_id);
    return kind == JSON_STRING || kind == JSON_NUMBER;
}

static int fail_missing(const struct request_fields *f, struct buf *message)
{
    const struct {
        const char *name;
        struct slice raw;
    } required[] = {{"request_type", f->request_type}, {"request_id", f->request_id}, {"service", f->service}};
    const char *before = "Missing required fields: ";
    buf_reset(message);
    for (size_t i = 0; i < ARRAY_SIZE(required); i++) {
        if (!missing(required[i].raw))
            continue;
        buf_puts(message, before);
        buf_puts(message, required[i].name);
        before = ", ";
    }
    return BG_EINVAL;
}

static bool is_text(struct slice raw, bool number_too)
{
    enum json_kind kind = json_kind(raw);
    return kind == JSON_STRING || (number_too && kind == JSON_NUMBER);
}

/* The name of the first field that is of a wrong type, or NULL. */
static const char *wrong_type(const struct request_fields *f)
{
    if (!is_text(f->request_type, false))
        return "request_type";
    if (!is_text(f->request_id, true))
        return "request_id";
    if (!is_text(f->service, true))
        return "service";
    return f->version.ptr && !is_text(f->version, true) ? "version" : NULL;
}

int request_fields_check(const struct request_fields *f, struct buf *message)
{
    if (missing(f->request_type) || missing(f->request_id) || missing(f->service))
        return fail_missing(f, message);
    const char *wrong = wrong_type(f);
    if (!wrong)
        return BG_OK;
    buf_reset(message);
    buf_printf(message, "%s must be a string", wrong);
    return BG_EINVAL;
}

/* The payload's size as the library counts it: after the user id was put in (E-002). */
static size_t term_size(struct slice payload, const struct request_fields *f, struct slice user,
                        const struct json_limits *lim)
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
    /* A JSON text is at most so many times larger as a term (json_term_size()), so most payloads need no count. ROOM is
     * for the version and the key and head of a user id that is put in. */
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
