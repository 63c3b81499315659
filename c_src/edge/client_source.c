/*
 * client_source.c: see client_source.h.
 *
 * X-Forwarded-For is a list to which each proxy appends whom it got the request from. So it is read from its end, and
 * only as long as whoever wrote the element is trusted; what stands further left may be anybody's invention.
 *
 * Invariant: text is the text of address. peer never changes: what proxies are trusted by must not be what they say.
 */
#include "client_source.h"

#include <strings.h>

void client_source_init(struct client_source *from, const struct sockaddr *peer, uint64_t now_us)
{
    *from = (struct client_source){.peer = ip_of_socket(peer), .accepted_us = now_us};
    client_source_set(from, &from->peer);
}

void client_source_set(struct client_source *from, const struct ip_address *address)
{
    from->address = *address;
    ip_text(address, from->text);
}

/* An address, as some proxies write it: also with a port, and then an IPv6 one in brackets. */
static int parse_element(struct slice text, struct ip_address *a)
{
    text = http_trim(text);
    if (text.len && text.ptr[0] == '[') {
        const char *end = memchr(text.ptr, ']', text.len);
        return end ? ip_parse(slice_make(text.ptr + 1, (size_t)(end - text.ptr) - 1), a) : BG_EINVAL;
    }
    const char *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    size_t before = colon ? (size_t)(colon - text.ptr) : text.len;
    bool port = colon && !memchr(colon + 1, ':', text.len - before - 1);
    return ip_parse(slice_make(text.ptr, port ? before : text.len), a);
}

/* Takes the last element off a comma-separated list. */
static struct slice take_last(struct slice *list)
{
    size_t at = list->len;
    while (at && list->ptr[at - 1] != ',')
        at--;
    struct slice element = slice_make(list->ptr + at, list->len - at);
    list->len = at ? at - 1 : 0;
    return element;
}

/* The last value of a header; false when there is none. */
static bool last_value(const struct http_head *h, const char *name, struct slice *value)
{
    uint32_t pos = 0;
    bool found = false;
    struct slice v;
    while (http_header_next(h, name, &pos, &v)) {
        *value = v;
        found = true;
    }
    return found;
}

void client_source_forwarded(struct client_source *from, const struct http_head *h, const struct ip_range *trusted,
                             uint32_t count)
{
    struct slice list, scheme;
    struct ip_address a;
    if (!ip_in_ranges(&from->address, trusted, count))
        return;
    if (last_value(h, "x-forwarded-proto", &scheme)) {
        scheme = http_trim(take_last(&scheme));
        from->tls = scheme.len == 5 && strncasecmp(scheme.ptr, "https", 5) == 0;
    }
    for (uint32_t i = h->headers_count; i > 0; i--) {
        const struct http_header *header = &h->headers[i - 1];
        if (header->name.len != 15 || strncasecmp(header->name.ptr, "x-forwarded-for", 15) != 0)
            continue;
        for (list = header->value; list.len && ip_in_ranges(&from->address, trusted, count);) {
            if (parse_element(take_last(&list), &a) != BG_OK)
                return; /* who wrote this is trusted, but what it says means nothing */
            client_source_set(from, &a);
        }
    }
}
