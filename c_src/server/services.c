/*
 * services.c: the services that the configuration names, at the start and when a reload brings other ones: the puller
 * is told, and the cluster stays connected to their nodes.
 *
 * A service that the new file no longer names goes with its functions; one whose row has changed is pulled anew, and
 * its functions stay until then. What an operator has done by rpc meanwhile stands unless its row has changed.
 */
#include "reload.h"

#include <stdlib.h>

#include "log.h"

static struct slice optional(const char *text)
{
    return text ? slice_str(text) : SLICE_NONE;
}

/* Stays connected to the service's nodes from now on; names without their ports go to nodes. */
static int add_peers(struct server *s, const struct service_settings *from, struct slice *nodes, struct err *e)
{
    for (uint32_t i = 0; i < from->nodes_count; i++) {
        struct slice peer = slice_str(from->nodes[i]);
        nodes[i] = slice_make(peer.ptr, strcspn(peer.ptr, ":"));
        int rc = slice_is(nodes[i], s->self.name) ? BG_OK : cluster_add_peer(s->cluster, peer);
        if (rc != BG_OK)
            return err_set(e, rc, 0, "service %s: cannot stay connected to the node %s", from->service, from->nodes[i]);
    }
    return BG_OK;
}

static int add_service(struct server *s, const struct service_settings *from, enum pull_start when, struct err *e)
{
    struct slice *nodes = calloc(from->nodes_count, sizeof(*nodes));
    if (!nodes)
        return err_set(e, BG_ENOMEM, 0, "no memory for the services");
    struct service_config to = {
        .service = slice_str(from->service),
        .nodes = nodes,
        .nodes_count = from->nodes_count,
        .module = slice_str(from->module),
        .function = slice_str(from->function),
        .args = buf_slice(&from->args),
        .version_module = optional(from->version_module),
        .version_function = optional(from->version_function),
        .version_args = buf_slice(&from->version_args),
        .start = when,
    };
    int rc = add_peers(s, from, nodes, e);
    if (rc == BG_OK)
        rc = config_puller_add(s->puller, &to, e);
    free(nodes); /* the puller has its own copy */
    return rc;
}

int server_add_services(struct server *s, struct err *e)
{
    int rc = BG_OK;
    for (uint32_t i = 0; i < s->config->services_count && rc == BG_OK; i++)
        rc = add_service(s, &s->config->services[i], PULL_CONFIGURED, e);
    return rc;
}

/* ---- reload -------------------------------------------------------------------------------------------- */

static const struct service_settings *find_service(const struct server_config *c, const char *name)
{
    for (uint32_t i = 0; i < c->services_count; i++)
        if (strcmp(c->services[i].service, name) == 0)
            return &c->services[i];
    return NULL;
}

/* Those that some other service still names stay. */
static void release_nodes(struct server *s, const struct service_settings *from)
{
    for (uint32_t i = 0; i < from->nodes_count; i++) {
        struct slice peer = slice_str(from->nodes[i]);
        server_release_node(s, slice_make(peer.ptr, strcspn(peer.ptr, ":")));
    }
}

/* Its functions have the service's name as their source. */
static void remove_service(struct server *s, const struct service_settings *from)
{
    struct slice name = slice_str(from->service);
    if (config_puller_delete(s->puller, name) != BG_OK)
        return;
    config_db_mark(s->db, name);
    size_t removed = config_db_sweep(s->db, name);
    log_info("config", "service removed", "service=%s functions=%zu", log_text(name), removed);
}

static void take_service(struct server *s, const struct service_settings *from)
{
    struct err e = {0};
    /* The gateway is ready and stays so while the newcomer is pulled. */
    if (add_service(s, from, PULL_ADDED, &e) != BG_OK)
        log_error("config", "service not taken", "service=%s reason=%s", log_text(slice_str(from->service)),
                  log_text(slice_str(e.text)));
}

/* Nodes are let go last: those that a new row names, too, must not be disconnected in between. */
void services_reload(struct server *s, const struct server_config *before, const struct server_config *now)
{
    for (uint32_t i = 0; i < before->services_count; i++)
        if (!find_service(now, before->services[i].service))
            remove_service(s, &before->services[i]);
    for (uint32_t i = 0; i < now->services_count; i++) {
        const struct service_settings *old = find_service(before, now->services[i].service);
        if (!old || !config_same_service(old, &now->services[i]))
            take_service(s, &now->services[i]);
    }
    for (uint32_t i = 0; i < before->services_count; i++)
        release_nodes(s, &before->services[i]);
}
