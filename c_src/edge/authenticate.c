/*
 * authenticate.c: see authenticate.h. So far a user is who the connect parameter says: right for a gateway behind
 * something that has checked it, and for development. Verified tokens come in here, and nowhere else.
 */
#include "authenticate.h"

#include "log.h"
#include "origin.h"

/* --- origin (P-009) ----------------------------------------------------------------------------------------------- */

/* The header's only value. False when there is none; *twice when there are several, which no browser sends. */
static bool only_value(const struct http_head *h, const char *name, struct slice *value, bool *twice)
{
    uint32_t pos = 0;
    struct slice other;
    bool found = http_header_next(h, name, &pos, value);
    *twice = found && http_header_next(h, name, &pos, &other);
    return found;
}

static bool in_list(const struct socket_config *config, const struct origin *o)
{
    struct origin pattern;
    for (uint32_t i = 0; i < config->origins_count; i++)
        if (origin_parse_pattern(slice_str(config->origins[i]), &pattern) == BG_OK && origin_matches(o, &pattern))
            return true;
    return false;
}

static bool origin_fits(const struct socket_config *config, const struct http_head *h, struct slice text)
{
    struct origin o, host;
    struct slice named;
    bool twice;
    if (origin_parse(text, &o) != BG_OK)
        return false;
    if (config->origin_check == ORIGIN_LIST)
        return in_list(config, &o);
    if (config->origin_check == ORIGIN_SAME_HOST && config->host)
        return origin_parse_host(slice_str(config->host), &host) == BG_OK && origin_same_host(&o, &host);
    if (!only_value(h, "host", &named, &twice) || twice || origin_parse_host(named, &host) != BG_OK)
        return false;
    return config->origin_check == ORIGIN_CONNECTION ? origin_matches_connection(&o, &host)
                                                     : origin_same_host(&o, &host);
}

bool edge_origin_allowed(const struct socket_config *config, const struct http_head *h, struct metrics *m)
{
    struct slice text;
    bool twice;
    if (config->origin_check == ORIGIN_ANY || !only_value(h, "origin", &text, &twice))
        return true;
    if (!twice && origin_fits(config, h, text))
        return true;
    metric_inc(m, METRIC_CLIENT_ORIGIN_REFUSED);
    log_limited(LOG_WARNING, "edge", "Origin is not allowed, refusing", "path=%s origin=%s hint=\"see sockets.origins\"",
                config->path, log_text(text));
    return false;
}

/* --- user --------------------------------------------------------------------------------------------------------- */

int edge_authenticate(const struct socket_config *config, const struct http_head *h, struct identity *who)
{
    if (!config->user_id_param)
        return BG_OK;
    int rc = http_query_get(h->query, config->user_id_param, &who->user_id);
    if (rc == BG_EGONE)
        return BG_OK;
    if (rc != BG_OK || who->user_id.len > USER_ID_MAX || memchr(who->user_id.data, '\0', who->user_id.len))
        return BG_EINVAL;
    return BG_OK;
}
