/*
 * limit_setup.c: the limits as the configuration wants them, put in place at the start and again whenever it has
 * changed: whoever enforces one reads it from there. What a limit means is in limit.h.
 */
#include "reload.h"

static const struct {
    enum limit limit;
    size_t offset;
} values[] = {
#define AT(which, member) {LIMIT_##which, offsetof(struct server_config, member)}
    AT(PENDING, listen.max_pending),
    AT(HANDSHAKE, listen.handshake_timeout_ms),
    AT(HEAD_BYTES, listen.max_head_bytes),
    AT(HEADERS, listen.max_headers),
    AT(ADDRESS_CONNECTIONS, limits.max_connections_per_address),
    AT(USER_CONNECTIONS, limits.max_connections_per_user),
    AT(CONNECTS, limits.connects_per_s),
    AT(ADDRESS_CONNECTS, limits.connects_per_s_per_address),
    AT(MESSAGES, limits.messages_per_s),
    AT(BYTES, limits.bytes_per_s),
    AT(FLOOD, limits.flood_ms),
    AT(JOINS, limits.joins_per_s),
    AT(SOCKET_IN_FLIGHT, requests.max_in_flight_per_socket),
    AT(USER_IN_FLIGHT, requests.max_in_flight_per_user),
#undef AT
};

void server_apply_limits(struct server *s, const struct server_config *c)
{
    struct client_limits *l = &s->limits;
    l->value[LIMIT_CONNECTIONS] = s->max_connections;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        l->value[values[i].limit] = *(const uint32_t *)(const void *)((const char *)c + values[i].offset);
    memset(l->dry_run, 0, sizeof(l->dry_run));
    for (uint32_t i = 0; i < c->limits.dry_run_count; i++)
        l->dry_run[limit_by_option(slice_str(c->limits.dry_run[i]))] = true; /* config_check() knows the name */
    limit_ready(l);
}

void limits_reload(struct server *s, const struct server_config *before, const struct server_config *now)
{
    (void)before;
    server_apply_limits(s, now);
}
