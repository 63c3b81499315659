/*
 * ip_address.c: see ip_address.h. Pure.
 *
 * Invariant: an IPv4 address has one form only, the mapped one; so an IPv4 range never holds an IPv6 address and the
 * other way round, except for ranges shorter than /96 that were written as IPv6.
 */
#include "ip_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

enum { MAPPED = 12, MAPPED_BITS = 96, ALL_BITS = 128 };

static const uint8_t mapped_prefix[MAPPED] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int ip_parse(struct slice text, struct ip_address *a)
{
    char copy[IP_TEXT_MAX];
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len))
        return BG_EINVAL;
    slice_cstr(text, copy, sizeof(copy));
    memcpy(a->bytes, mapped_prefix, MAPPED);
    if (inet_pton(AF_INET, copy, a->bytes + MAPPED) == 1 || inet_pton(AF_INET6, copy, a->bytes) == 1)
        return BG_OK;
    return BG_EINVAL;
}

struct ip_address ip_of_socket(const struct sockaddr *sa)
{
    struct ip_address a = {{0}};
    if (sa->sa_family == AF_INET) {
        memcpy(a.bytes, mapped_prefix, MAPPED);
        memcpy(a.bytes + MAPPED, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        memcpy(a.bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, sizeof(a.bytes));
    }
    return a;
}

void ip_text(const struct ip_address *a, char text[IP_TEXT_MAX])
{
    if (ip_is_v4(a))
        inet_ntop(AF_INET, a->bytes + MAPPED, text, IP_TEXT_MAX);
    else
        inet_ntop(AF_INET6, a->bytes, text, IP_TEXT_MAX);
}

bool ip_is_v4(const struct ip_address *a)
{
    return memcmp(a->bytes, mapped_prefix, MAPPED) == 0;
}

/* One to three digits, no leading zero; at most `most`. */
static int parse_bits(struct slice text, unsigned most, unsigned *bits)
{
    *bits = 0;
    if (text.len == 0 || text.len > 3 || (text.ptr[0] == '0' && text.len > 1))
        return BG_EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return BG_EINVAL;
        *bits = *bits * 10 + (unsigned)(text.ptr[i] - '0');
    }
    return *bits <= most ? BG_OK : BG_EINVAL;
}

/* The mask of byte i in a prefix of so many bits. */
static uint8_t mask_at(unsigned bits, unsigned i)
{
    if (bits >= (i + 1) * 8)
        return 0xff;
    return (uint8_t)(bits <= i * 8 ? 0 : 0xff << (8 - bits % 8));
}

int ip_range_parse(struct slice text, struct ip_range *r)
{
    const char *slash = text.len ? memchr(text.ptr, '/', text.len) : NULL;
    size_t n = slash ? (size_t)(slash - text.ptr) : text.len;
    if (ip_parse(slice_make(text.ptr, n), &r->base) != BG_OK)
        return BG_EINVAL;
    /* Dotted text only: ::ffff:0:0/96 is written, and counted, as IPv6. */
    bool dotted = ip_is_v4(&r->base) && !memchr(text.ptr, ':', n);
    unsigned most = dotted ? ALL_BITS - MAPPED_BITS : ALL_BITS, bits = most;
    if (slash && parse_bits(slice_make(slash + 1, text.len - n - 1), most, &bits) != BG_OK)
        return BG_EINVAL;
    r->bits = (uint8_t)(dotted ? bits + MAPPED_BITS : bits);
    for (unsigned i = 0; i < sizeof(r->base.bytes); i++)
        if (r->base.bytes[i] & (uint8_t)~mask_at(r->bits, i))
            return BG_EINVAL;
    return BG_OK;
}

bool ip_in_range(const struct ip_address *a, const struct ip_range *r)
{
    for (unsigned i = 0; i * 8 < r->bits; i++)
        if ((a->bytes[i] ^ r->base.bytes[i]) & mask_at(r->bits, i))
            return false;
    return true;
}

bool ip_in_ranges(const struct ip_address *a, const struct ip_range *ranges, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ip_in_range(a, &ranges[i]))
            return true;
    return false;
}
