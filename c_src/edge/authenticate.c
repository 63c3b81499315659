/*
 * authenticate.c: see authenticate.h. So far a user is who the connect parameter says: right for a gateway behind
 * something that has checked it, and for development. Verified tokens come in here, and nowhere else.
 */
#include "authenticate.h"

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
