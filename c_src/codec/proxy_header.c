/*
 * proxy_header.c: see proxy_header.h. Pure.
 *
 * Strict, since whoever gets a header accepted is somebody else from then on: version 1 in the one form that the
 * document allows (single blanks, no leading zeros, CR LF), version 2 with the lengths that its families need. What it
 * may add behind the addresses is walked; only "the client speaks TLS" is taken from there. Its checksum is not
 * verified.
 */
#include "proxy_header.h"

#include "buf.h"

enum {
    V1_MAX = 107,
    V2_FIXED = 16,
    V2_INET = 12, /* two addresses and two ports */
    V2_INET6 = 36,
    V2_UNIX = 216,
    V2_TLV_SSL = 0x20,
    V2_CLIENT_SSL = 0x01
};

static const char v1_start[] = "PROXY ";
static const char v2_start[] = "\r\n\r\n\0\r\nQUIT\n";

/* --- version 1 ---------------------------------------------------------------------------------------------------- */

/* The word up to the next blank, or to the end. */
static struct slice take_word(struct slice *line)
{
    const char *blank = line->len ? memchr(line->ptr, ' ', line->len) : NULL;
    struct slice word = slice_make(line->ptr, blank ? (size_t)(blank - line->ptr) : line->len);
    *line = blank ? slice_make(blank + 1, line->len - word.len - 1) : SLICE_NONE;
    return word;
}

static int take_port(struct slice *line, uint16_t *port)
{
    struct slice word = take_word(line);
    uint32_t v = 0;
    if (word.len == 0 || word.len > 5 || (word.ptr[0] == '0' && word.len > 1))
        return BG_EINVAL;
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] < '0' || word.ptr[i] > '9')
            return BG_EINVAL;
        v = v * 10 + (uint32_t)(word.ptr[i] - '0');
    }
    *port = (uint16_t)v;
    return v <= UINT16_MAX ? BG_OK : BG_EINVAL;
}

/* By its form and not by what it stands for: a proxy whose socket is for both families writes ::ffff:1.2.3.4 as
 * TCP6. */
static int take_address(struct slice *line, bool v4, struct ip_address *a)
{
    struct slice word = take_word(line);
    bool colons = word.len && memchr(word.ptr, ':', word.len);
    return colons != v4 ? ip_parse(word, a) : BG_EINVAL;
}

/* line: without its end. */
static int read_v1(struct slice line, struct proxy_header *h)
{
    struct ip_address to;
    uint16_t to_port;
    struct slice rest = slice_make(line.ptr + sizeof(v1_start) - 1, line.len - (sizeof(v1_start) - 1));
    struct slice family = take_word(&rest);
    if (slice_is(family, "UNKNOWN"))
        return BG_OK;
    bool v4 = slice_is(family, "TCP4");
    if ((!v4 && !slice_is(family, "TCP6")) || take_address(&rest, v4, &h->address) != BG_OK ||
        take_address(&rest, v4, &to) != BG_OK || take_port(&rest, &h->port) != BG_OK ||
        take_port(&rest, &to_port) != BG_OK || rest.ptr)
        return BG_EINVAL;
    h->has_address = true;
    return BG_OK;
}

static int parse_v1(struct slice bytes, struct proxy_header *h, size_t *used)
{
    size_t within = bytes.len < V1_MAX ? bytes.len : V1_MAX;
    const char *end = memchr(bytes.ptr, '\n', within);
    if (!end)
        return bytes.len < V1_MAX ? BG_EMORE : BG_ELIMIT;
    size_t n = (size_t)(end - bytes.ptr);
    if (n < sizeof(v1_start) || end[-1] != '\r')
        return BG_EINVAL;
    *used = n + 1;
    return read_v1(slice_make(bytes.ptr, n - 1), h);
}

/* --- version 2 ---------------------------------------------------------------------------------------------------- */

/* type:8 len:16 value, again and again. */
static int read_tlvs(const uint8_t *p, size_t len, struct proxy_header *h)
{
    while (len) {
        if (len < 3)
            return BG_EINVAL;
        size_t n = get_be16(p + 1);
        if (n > len - 3)
            return BG_EINVAL;
        if (p[0] == V2_TLV_SSL && n > 0)
            h->tls = (p[3] & V2_CLIENT_SSL) != 0;
        p += 3 + n;
        len -= 3 + n;
    }
    return BG_OK;
}

static void set_v4(struct ip_address *a, const uint8_t *p)
{
    *a = (struct ip_address){{0}};
    a->bytes[10] = a->bytes[11] = 0xff;
    memcpy(a->bytes + 12, p, 4);
}

/* body: len bytes behind the fixed part. Only streams over IP name a client; others are let through unnamed, as the
 * document wants it. */
static int read_v2(uint8_t family, const uint8_t *body, size_t len, struct proxy_header *h)
{
    static const size_t sizes[] = {0, V2_INET, V2_INET6, V2_UNIX};
    unsigned af = family >> 4, protocol = family & 15;
    if (af >= ARRAY_SIZE(sizes) || protocol > 2 || len < sizes[af])
        return BG_EINVAL;
    if (af == 1 && protocol == 1) {
        set_v4(&h->address, body);
        h->port = get_be16(body + 8);
        h->has_address = true;
    } else if (af == 2 && protocol == 1) {
        memcpy(h->address.bytes, body, sizeof(h->address.bytes));
        h->port = get_be16(body + 32);
        h->has_address = true;
    }
    return read_tlvs(body + sizes[af], len - sizes[af], h);
}

static int parse_v2(struct slice bytes, struct proxy_header *h, size_t *used)
{
    const uint8_t *p = (const uint8_t *)bytes.ptr;
    if (bytes.len < V2_FIXED)
        return BG_EMORE;
    unsigned version = p[12] >> 4, command = p[12] & 15;
    size_t len = get_be16(p + 14);
    if (version != 2 || command > 1)
        return BG_EINVAL;
    if (len > PROXY_HEADER_MAX - V2_FIXED)
        return BG_ELIMIT;
    if (bytes.len - V2_FIXED < len)
        return BG_EMORE;
    *used = V2_FIXED + len;
    /* LOCAL: the proxy itself; what it says of addresses counts for nothing. */
    return command == 0 ? BG_OK : read_v2(p[13], p + V2_FIXED, len, h);
}

static bool begins(struct slice bytes, const char *start, size_t n)
{
    size_t both = bytes.len < n ? bytes.len : n;
    return memcmp(bytes.ptr, start, both) == 0;
}

int proxy_header_parse(struct slice bytes, struct proxy_header *h, size_t *used)
{
    *h = (struct proxy_header){0};
    if (bytes.len == 0)
        return BG_EMORE;
    if (begins(bytes, v1_start, sizeof(v1_start) - 1))
        return parse_v1(bytes, h, used);
    if (begins(bytes, v2_start, sizeof(v2_start) - 1))
        return parse_v2(bytes, h, used);
    return BG_EINVAL;
}
