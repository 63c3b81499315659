/*
 * peers.c: the nodes that come and go with services while the gateway runs: those that a push or an operator names are
 * found again when their connection is lost, as long as some service names them. Without the second half a gateway
 * would look for every node of every release for ever.
 *
 * The nodes of the configuration file are the puller's, or that of hooks, from the start, and stay.
 */
#include "server_state.h"

#include "log.h"

static bool is_pulled(const struct server *s, struct slice node)
{
    struct config_puller_status status;
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);)
        for (uint32_t i = 0; i < status.config->nodes_count; i++)
            if (slice_eq(status.config->nodes[i], node))
                return true;
    return false;
}

static bool is_asked(const struct server *s, struct slice node)
{
    for (uint32_t i = 0; i < s->asked_nodes_count; i++)
        if (slice_eq(s->asked_nodes[i], node))
            return true;
    return false;
}

/* A name that cannot be kept connected (without epmd, or beyond the bound) is served as long as it stays connected by
 * itself. */
void server_stay_connected(void *server, struct slice node)
{
    struct server *s = server;
    if (!slice_is(node, s->self.name) && cluster_add_peer(s->cluster, node) != BG_OK)
        log_limited(LOG_WARNING, "server", "cannot stay connected to a service's node", "node=%s", log_text(node));
}

void server_release_node(void *server, struct slice node)
{
    struct server *s = server;
    const char *hooks = s->config ? s->config->requests.hook_node : NULL;
    if (hooks && slice_is(node, hooks))
        return;
    if (!is_pulled(s, node) && !is_asked(s, node) && !config_receiver_names_node(s->receiver, node))
        cluster_remove_peer(s->cluster, node);
}
