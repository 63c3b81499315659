/*
 * observer_parts.c: the gateway's parts and its links to other nodes as processes, so that they stand in Observer's
 * tree and list with what they do, and can be asked for their state (08 §5, D-21).
 *
 * Invariant: a link's process lives from link_up to link_down, and ends before the dispatcher tells of the loss.
 * Whoever ends it closes the link; the parts cannot be ended.
 */
#include "observer.h"

#include <stdlib.h>

#include "log.h"
#include "process_state.h"

/* ---- parts ----------------------------------------------------------------------------------------------- */

static void metric(struct process_state *st, const struct server *s, enum metric which)
{
    process_state_uint(st, metric_name[which], s->metrics.value[which]);
}

static void root_state(void *owner, handle_t self, struct process_state *st)
{
    const struct server *s = owner;
    (void)self;
    process_state_text(st, "version", slice_str(BEAMGATE_VERSION));
    process_state_text(st, "node", slice_str(s->self.name));
    process_state_uint(st, "uptime_ms", (clock_now_us() - s->started_us) / 1000);
    process_state_uint(st, "processes", process_count(s->processes));
    process_state_atom(st, "ready", s->ready_told ? "true" : "false");
    process_state_atom(st, "draining", s->draining ? "true" : "false");
    struct loop_load now = loop_meter_load(&s->loop_meter, clock_now_us(), 1);
    struct loop_load minute = loop_meter_load(&s->loop_meter, clock_now_us(), 60);
    process_state_uint(st, "loop_busy_us_1s", now.busy_us);
    process_state_uint(st, "longest_turn_us_1s", now.longest_turn_us);
    process_state_uint(st, "longest_turn_us_60s", minute.longest_turn_us);
    metric(st, s, METRIC_REQUESTS);
    metric(st, s, METRIC_REQUESTS_IN_FLIGHT);
    metric(st, s, METRIC_REQUESTS_ERROR);
    metric(st, s, METRIC_REQUESTS_REFUSED);
}

static void clients_state(void *owner, handle_t self, struct process_state *st)
{
    const struct server *s = owner;
    (void)self;
    process_state_uint(st, "port", s->edge ? edge_port(s->edge, 0) : 0);
    process_state_uint(st, "max_connections", s->max_connections);
    metric(st, s, METRIC_CLIENT_CONNECTED);
    metric(st, s, METRIC_CHANNEL_JOINED);
    metric(st, s, METRIC_CLIENT_FRAMES_IN);
    metric(st, s, METRIC_CLIENT_FRAMES_OUT);
    metric(st, s, METRIC_CLIENT_BUFFERED_BYTES);
}

static void cluster_state(void *owner, handle_t self, struct process_state *st)
{
    const struct server *s = owner;
    (void)self;
    process_state_uint(st, "port", s->cluster ? cluster_port(s->cluster) : 0);
    process_state_atom(st, "in_epmd", s->cluster && cluster_registered(s->cluster) ? "true" : "false");
    metric(st, s, METRIC_LINKS_UP);
    metric(st, s, METRIC_CALLS);
    metric(st, s, METRIC_CALLS_TIMEOUT);
    metric(st, s, METRIC_CALLS_NODEDOWN);
    metric(st, s, METRIC_RPC_IN);
}

static void config_state(void *owner, handle_t self, struct process_state *st)
{
    const struct server *s = owner;
    (void)self;
    process_state_uint(st, "functions", s->db ? config_db_count(s->db) : 0);
    process_state_uint(st, "refused", s->failed ? config_failed_count(s->failed) : 0);
    metric(st, s, METRIC_PULL_ROUNDS);
    metric(st, s, METRIC_PULL_FAILURES);
    metric(st, s, METRIC_PUSHES);
}

static uint32_t low(uint64_t v)
{
    return (uint32_t)v; /* as the table of processes counts: modulo 2^32 */
}

static void clients_row(void *owner, handle_t self, struct process_row *row)
{
    const struct server *s = owner;
    (void)self;
    row->work = low(s->metrics.value[METRIC_CLIENT_FRAMES_IN]);
    row->waiting = low(s->metrics.value[METRIC_REQUESTS_IN_FLIGHT]);
}

static void cluster_row(void *owner, handle_t self, struct process_row *row)
{
    const struct server *s = owner;
    (void)self;
    row->work = low(s->metrics.value[METRIC_LINK_PACKETS_IN]);
}

static void config_row(void *owner, handle_t self, struct process_row *row)
{
    const struct server *s = owner;
    (void)self;
    row->work = low(s->metrics.value[METRIC_PULL_ROUNDS] + s->metrics.value[METRIC_PUSHES]);
}

static const struct process_ops part_ops[SERVER_PARTS] = {
    [PART_ROOT] = {.kind = "beamgate", .exit = process_stay, .state = root_state},
    [PART_CLIENTS] = {.kind = "clients", .exit = process_stay, .row = clients_row, .state = clients_state},
    [PART_CLUSTER] = {.kind = "cluster", .exit = process_stay, .row = cluster_row, .state = cluster_state},
    [PART_CONFIG] = {.kind = "config", .exit = process_stay, .row = config_row, .state = config_state},
};

int observer_start(struct server *s)
{
    static const char *const names[SERVER_PARTS] = {"beamgate", "beamgate_clients", "beamgate_cluster",
                                                    "beamgate_config"};
    list_init(&s->observer.workers);
    list_init(&s->observer.port_lists);
    list_init(&s->observer.links);
    for (unsigned i = 0; i < SERVER_PARTS; i++) {
        handle_t p = process_start(s->processes, &part_ops[i], s);
        int rc = p == HANDLE_NONE ? BG_ELIMIT : process_register(s->processes, p, slice_str(names[i]));
        if (rc != BG_OK)
            return rc;
        s->observer.part[i] = p;
    }
    return BG_OK;
}

/* ---- links ----------------------------------------------------------------------------------------------- */

struct link_actor {
    struct list all;
    struct server *server;
    handle_t link;
    handle_t process;
};

static struct dist_link *link_of(const struct link_actor *a)
{
    return cluster_link_by_handle(a->server->cluster, a->link);
}

/* Of a link its queue is what the kernel has not taken yet, in bytes. */
static void link_row(void *owner, handle_t self, struct process_row *row)
{
    const struct link_actor *a = owner;
    const struct dist_link *l = link_of(a);
    struct dist_link_stats st;
    (void)self;
    if (!l)
        return;
    dist_link_stats(l, &st);
    row->group = dist_link_node(l);
    row->work = low(st.packets_in);
    row->waiting = low(st.queued_bytes);
    row->bytes = sizeof(*a) + st.queued_bytes;
    process_row_about(row, dist_link_node(l));
    process_row_about(row, SLICE_LIT(" "));
    process_row_about(row, slice_str(st.address));
}

static void link_state(void *owner, handle_t self, struct process_state *state)
{
    const struct link_actor *a = owner;
    const struct dist_link *l = link_of(a);
    struct dist_link_stats st;
    (void)self;
    if (!l)
        return;
    dist_link_stats(l, &st);
    process_state_text(state, "node", dist_link_node(l));
    process_state_text(state, "address", slice_str(st.address));
    process_state_atom(state, "connected_by", st.outgoing ? "us" : "them");
    process_state_uint(state, "up_ms", (a->server->timers.now_us - st.up_since_us) / 1000);
    process_state_uint(state, "bytes_in", st.bytes_in);
    process_state_uint(state, "bytes_out", st.bytes_out);
    process_state_uint(state, "packets_in", st.packets_in);
    process_state_uint(state, "packets_out", st.packets_out);
    process_state_uint(state, "queued_bytes", st.queued_bytes);
}

/* As on a BEAM, where the end of a connection's process is the end of the connection; a configured peer is then
 * connected again. The process ends in observer_link_down(). */
static void link_exit(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    struct link_actor *a = owner;
    struct dist_link *l = link_of(a);
    (void)self;
    (void)from_pid;
    if (!l || (!kill && term_is_atom(reason, "normal")))
        return;
    log_info("cluster", "link closed by an exit signal", "node=%s", log_text(dist_link_node(l)));
    dist_link_close(l, "its process was told to exit");
}

static const struct process_ops link_ops = {.kind = "link", .exit = link_exit, .row = link_row, .state = link_state};

void observer_link_up(struct server *s, const struct dist_link *l)
{
    struct link_actor *a = calloc(1, sizeof(*a));
    if (!a)
        return;
    *a = (struct link_actor){.server = s, .link = dist_link_handle(l)};
    a->process = process_start(s->processes, &link_ops, a);
    list_append(&s->observer.links, &a->all);
}

static void actor_free(struct link_actor *a)
{
    list_remove(&a->all);
    free(a);
}

static struct link_actor *actor_of(const struct server *s, const struct dist_link *l)
{
    for (struct list *it = s->observer.links.next; it && it != &s->observer.links; it = it->next) {
        struct link_actor *a = container_of(it, struct link_actor, all);
        if (a->link == dist_link_handle(l))
            return a;
    }
    return NULL;
}

handle_t observer_link_process(const struct server *s, const struct dist_link *l)
{
    const struct link_actor *a = actor_of(s, l);
    return a ? a->process : HANDLE_NONE;
}

void observer_link_down(struct server *s, const struct dist_link *l)
{
    struct link_actor *a = actor_of(s, l);
    if (!a)
        return;
    process_end_atom(s->processes, a->process, "noconnection");
    actor_free(a);
}

void observer_end(struct server *s)
{
    observer_end_workers(s);
    observer_end_ports(s);
    while (s->observer.links.next && !list_empty(&s->observer.links))
        actor_free(container_of(s->observer.links.next, struct link_actor, all));
}
