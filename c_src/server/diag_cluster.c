/*
 * diag_cluster.c: cluster_view (O-085): the cluster as this node sees it. Which services a node has is what their
 * configs say; the library asks each node instead, and hears nothing from service nodes, which keep no store.
 */
#include "diag.h"

#include <stdlib.h>

#include "observer.h"

/* The names of this node's processes. */
static void put_registered(const struct server *s, struct buf *out)
{
    struct list_mark m = list_open(out);
    uint32_t pos = 0;
    handle_t p;
    for (uint32_t n = 0; n < DIAG_PROCESSES_READ && (p = process_next(s->processes, &pos)) != HANDLE_NONE; n++) {
        struct process_info info = process_info(s->processes, p);
        if (info.name.len == 0)
            continue;
        term_put_atom_slice(out, info.name);
        m.count++;
    }
    list_close(out, &m);
}

static bool names_node(const struct fun_config *fc, struct slice node)
{
    for (uint32_t i = 0; i < fc->nodes_count; i++)
        if (slice_eq(fc->nodes[i], node))
            return true;
    return slice_eq(fc->origin, node);
}

/* Each service once: the configs come sorted by service. */
static void put_services_of(struct fun_config *const *all, size_t count, struct slice node, struct buf *out)
{
    struct list_mark m = list_open(out);
    struct slice last = SLICE_NONE, service;
    for (size_t i = 0; i < count; i++) {
        if ((last.ptr && slice_eq(all[i]->service, last)) || !names_node(all[i], node) ||
            !fun_config_field(all[i]->term, "service", &service))
            continue;
        last = all[i]->service;
        term_put_raw(out, service);
        m.count++;
    }
    list_close(out, &m);
}

static uint32_t count_nodes(const struct server *s)
{
    uint32_t n = 0, pos = 0;
    while (s->cluster && n < DIAG_NODES_MAX && cluster_next_link(s->cluster, &pos))
        n++;
    return n;
}

static void put_services(const struct server *s, uint32_t nodes, struct buf *out)
{
    size_t count = 0;
    struct fun_config **all = rpc_sorted_configs(s, SLICE_NONE, &count);
    struct dist_link *l;
    uint32_t pos = 0;
    term_put_map(out, nodes);
    for (uint32_t i = 0; i < nodes && (l = cluster_next_link(s->cluster, &pos)) != NULL; i++) {
        term_put_atom_slice(out, dist_link_node(l));
        put_services_of(all, count, dist_link_node(l), out);
    }
    free(all);
}

static void put_selection(struct buf *out)
{
    static const char *const strategies[] = {"random", "hash", "round_robin", "sticky"};
    term_put_map(out, 2);
    diag_key(out, "strategies");
    term_put_list(out, ARRAY_SIZE(strategies));
    for (size_t i = 0; i < ARRAY_SIZE(strategies); i++)
        term_put_atom(out, strategies[i]);
    term_put_nil(out);
    diag_put_string(out, "description", "Configure via FunConfig.choose_node_mode");
}

void diag_put_cluster_view(const struct server *s, struct buf *out)
{
    uint32_t nodes = count_nodes(s);
    term_put_map(out, 6);
    diag_put_word(out, "self", s->self.name);
    diag_key(out, "connected");
    diag_put_nodes(s, out);
    diag_put_uint(out, "connected_count", nodes);
    diag_key(out, "registered_processes");
    term_put_map(out, 1);
    term_put_atom(out, s->self.name);
    put_registered(s, out);
    diag_key(out, "phoenix_gen_api_services");
    put_services(s, nodes, out);
    diag_key(out, "node_selection");
    put_selection(out);
}
