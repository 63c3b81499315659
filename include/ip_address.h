/*
 * ip_address.h: IP addresses as sixteen bytes, and ranges of them: what proxies are trusted by, and what clients are
 * counted by. An IPv4 address is its mapped form ::ffff:a.b.c.d, so that one client is one address however it came.
 */
#ifndef BEAMGATE_IP_ADDRESS_H
#define BEAMGATE_IP_ADDRESS_H

#include "base.h"

enum { IP_TEXT_MAX = 46 }; /* the longest text with its zero */

struct sockaddr;

struct ip_address {
    uint8_t bytes[16];
};

/* Every address whose first `bits` of 128 are those of base. */
struct ip_range {
    struct ip_address base;
    uint8_t bits;
};

/* Reads 192.0.2.1 or 2001:db8::1: no brackets, zone or port. 0 or BG_EINVAL. */
int ip_parse(struct slice text, struct ip_address *a) MUST_CHECK;
/* The address of an AF_INET or AF_INET6 socket. All zero for other families. */
struct ip_address ip_of_socket(const struct sockaddr *sa);
/* Writes the usual text: dotted for IPv4 (also mapped), RFC 5952 for IPv6. */
void ip_text(const struct ip_address *a, char text[IP_TEXT_MAX]);
bool ip_is_v4(const struct ip_address *a);
static inline bool ip_same(const struct ip_address *a, const struct ip_address *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Reads address or address/bits. 0, or BG_EINVAL: also when bits behind the prefix are set, which is a slip. */
int ip_range_parse(struct slice text, struct ip_range *r) MUST_CHECK;
bool ip_in_range(const struct ip_address *a, const struct ip_range *r);
bool ip_in_ranges(const struct ip_address *a, const struct ip_range *ranges, uint32_t count);

#endif
