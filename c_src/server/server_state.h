/*
 * server_state.h: what the server owns, for the files of this folder only. Members stand in the order in
 * which they start; they end in the opposite order.
 */
#ifndef BEAMGATE_SERVER_STATE_H
#define BEAMGATE_SERVER_STATE_H

#include <uv.h>

#include "config_puller.h"
#include "config_receiver.h"
#include "dist_dispatch.h"
#include "list.h"
#include "pg_scope.h"
#include "gather.h"
#include "loop_meter.h"
#include "edge.h"
#include "rate_limiter.h"
#include "rpc_later.h"
#include "server.h"
#include "telemetry.h"
#include "tracer.h"
#include "stream_process.h"

enum { SERVER_SIGNALS = 4 };

/* The parts of the gateway that Observer draws as processes, each under the first. */
enum server_part { PART_ROOT, PART_CLIENTS, PART_CLUSTER, PART_CONFIG, SERVER_PARTS };

struct observer {
    handle_t part[SERVER_PARTS];
    struct list workers; /* what is sent piece by piece: observer_workers.c */
    uint32_t worker_count;
    struct list port_lists; /* answers that are made in pieces: observer_ports.c */
    uint32_t port_list_count;
    struct list links; /* a process for each link to another node: observer_parts.c */
};

/* Totals as statistics were last asked for: the second number of a BEAM's pairs is what came since (O-044). */
struct diag_last {
    uint64_t uptime_ms;
    uint64_t runtime_ms;
    uint64_t reductions;
};

/* What the configuration allows; see access.c. */
struct access {
    struct mfa_rules rules;
    struct mfa_rule *mfa_rules_memory;
    struct push_rule *push_rules; /* NULL: any node may push any service */
    uint32_t push_rules_count;
};

/* One of the processes that an Elixir gateway registers; library_servers.c. */
enum { LIBRARY_SERVERS = 6 };
struct library_server {
    struct server *server;
    const char *name;
};

/* executor.c */
struct executor {
    struct client_ops clients; /* the edge's, for channels that are none of ours */
    struct list runs;
    uint32_t count;
    struct list handed_over; /* those of other nodes: rpc_executor.c */
};

struct certificate {
    struct tls_context *tls;
    const char *file;
};

struct server {
    const struct server_config *config;  /* of the start: for options that are not live */
    const struct server_config *live;    /* the newest: for options that are; see reload.h */
    struct server_config *reloaded;      /* the same when it is the server's own, else NULL */
    struct settings_source source;
    uv_loop_t loop;
    uv_signal_t signals[SERVER_SIGNALS];
    bool has_signals;
    struct metrics metrics;
    struct client_limits limits;
    struct timers timers;
    struct loop_meter loop_meter;
    struct gather gather;
    uint64_t waited_us;  /* when the loop last began to wait */
    struct telemetry telemetry; /* from the start; its handlers come with the functions to attach them */
    struct telemetry_handlers *telemetry_handlers;
    struct node_identity self;
    struct cluster *cluster;
    struct process_table *processes;
    struct remote_calls *calls;
    struct rpc_entry *rpc_joined; /* all arrays of functions, one after another */
    struct rpc_table rpc;
    struct rpc_later *later; /* calls of other nodes whose answer is not there yet */
    struct dist_dispatch *dispatch;
    struct library_server library[LIBRARY_SERVERS];
    struct observer observer;
    struct diag_last diag_last;
    struct list cluster_views; /* diag_cluster.c: views that wait for other nodes */
    uint32_t cluster_views_count;
    struct list pages; /* print_page.c: pages that wait to be made, or for a screen */
    struct config_db *db;
    struct config_failed *failed;
    struct access access;
    struct access next_access; /* during a reload */
    struct config_puller *puller;
    struct config_receiver *receiver;
    struct snapshot *snapshot; /* NULL: what is pushed is not written */
    struct edge *edge;
    struct rate_limiter *limiter; /* NULL: switched off */
    struct timer cleanup_timer;   /* of the limiter */
    struct stream_processes streams;
    struct executor executor;
    struct gateway *gateway;
    struct tracer *tracer;
    struct listener_config *listeners; /* the edge's view of config->listen and config->listeners */
    uint32_t listeners_count;
    struct ip_range *trusted; /* config->listen.trusted_proxies */
    struct certificate *certificates; /* see certificates.c */
    uint32_t certificates_count;
    struct timer certificate_timer;
    struct tls_context *node_tls; /* one of them; NULL: links to nodes are plain */
    struct socket_config *sockets;   /* the edge's view of config->sockets */
    struct auth_method *auth; /* of all sockets */
    uint32_t auth_count;
    struct slice *asked_nodes; /* those that remote functions of sockets and channels name, one after another */
    uint32_t asked_nodes_count;
    struct pg_scope *pubsub; /* NULL: none is configured */
    struct slice *pubsub_groups;
    uint32_t pubsub_groups_count;
    struct key_watch **key_watches; /* one for each of auth; NULL where nothing is to be watched */
    struct channel_config *channels; /* all sockets' channels, one after another */
    struct refusal *refusals;        /* likewise */
    uint32_t max_connections;        /* as configured, or fewer by the limit of open files */
    struct ctl_server *ctl; /* NULL: no command line */
    struct timer drain_timer;
    uint64_t started_us;
    bool ready_told; /* READY=1 was sent */
    bool draining;
    bool left_cluster;
    bool done;
    int exit_code;
};

/* peers.c: finds a service's node again whenever the connection to it is lost; and no more, once no service names it.
 */
void server_stay_connected(void *server, struct slice node);
void server_release_node(void *server, struct slice node);

/* rpc_table.c: the functions that other nodes may call. */
extern const struct rpc_entry rpc_entries[];
extern const size_t rpc_entries_count;
/* Fills s->rpc with these and with what other files offer: each such file has an array of its own, and a row in
 * rpc_table.c; and s->later. 0 or BG_ENOMEM. */
int server_rpc_start(struct server *s) MUST_CHECK;
void server_rpc_end(struct server *s);

/* rpc_modules.c: what can be asked about modules and functions. */
extern const struct rpc_entry module_entries[];
extern const size_t module_entries_count;

/* rpc_executor.c: requests that other nodes hand over. */
extern const struct rpc_entry executor_entries[];
extern const size_t executor_entries_count;

/* rpc_rate_limiter.c: limits and what they count. */
extern const struct rpc_entry rate_limiter_entries[];
extern const size_t rate_limiter_entries_count;

/* rpc_print.c: text for the caller's screen, and PhoenixGenApi's functions that only pass on. */
extern const struct rpc_entry print_entries[];
extern const size_t print_entries_count;

/* rpc_telemetry.c: attaching to events. */
extern const struct rpc_entry telemetry_entries[];
extern const size_t telemetry_entries_count;

/* rpc_rules.c: the library's pure functions; rpc_json_config.c: examples of requests. */
extern const struct rpc_entry rules_entries[];
extern const size_t rules_entries_count;
extern const struct rpc_entry json_config_entries[];
extern const size_t json_config_entries_count;

/* observer.c: what Observer and etop ask. */
extern const struct rpc_entry observer_entries[];
extern const size_t observer_entries_count;
/* observer_shell.c: what people ask by rpc from a shell. */
extern const struct rpc_entry shell_entries[];
extern const size_t shell_entries_count;
/* observer_parts.c. The parts as processes: BG_ELIMIT, BG_EEXIST, BG_ENOMEM when there is no room for them. */
int observer_start(struct server *s) MUST_CHECK;
/* A process stands for the link while it is up; without room for one the link is not shown. */
void observer_link_up(struct server *s, const struct dist_link *l);
void observer_link_down(struct server *s, const struct dist_link *l);
/* Before the process table goes. */
void observer_end(struct server *s);

/* access.c. init leaves what access_fini() can free also when it fails (BG_ENOMEM). */
int access_init(struct access *a, const struct server_config *c, struct err *e);
void access_fini(struct access *a);
/* S-080: whether the configuration lets other nodes do this (enable_tracing, ...; see config_schema.c). Who has a
 * shell on the machine needs no such leave: the command line does not ask. */
bool admin_allows(const struct server *s, const char *action);

/* pubsub.c: hears the broadcasts of Phoenix.PubSub, if the configuration names one. What it has made is freed by the
 * other, also when it failed. */
int server_start_pubsub(struct server *s, struct err *e) MUST_CHECK;
void server_stop_pubsub(struct server *s);
extern const struct rpc_entry pubsub_entries[];
extern const size_t pubsub_entries_count;

/* sockets.c: fills s->sockets. What it has made is freed by the other, also when it failed. */
int server_make_sockets(struct server *s, struct err *e) MUST_CHECK;
void server_free_sockets(struct server *s);

/* services.c: the services of the configuration. 0, or a negative code with the text for the operator. */
int server_add_services(struct server *s, struct err *e);

/* library_servers.c: starts and registers them; they end with the process table. BG_ELIMIT, BG_EEXIST or BG_ENOMEM. */
int library_servers_start(struct server *s) MUST_CHECK;

/* snapshot_file.c: pushed functions over a restart. A file that cannot be used is no error. BG_ENOMEM. */
int server_start_snapshot(struct server *s, struct err *e);
void server_end_snapshot(struct server *s); /* before the receiver goes */
void server_pushes_changed(void *server);

/* streams.c: the processes behind streams. */
struct stream_ops server_stream_ops(struct server *s);

/* limiter.c */
/* Makes the rate limiter with the configured limits, if it is switched on. */
int server_start_limiter(struct server *s, struct err *e);
void server_stop_limiter(struct server *s);
void server_log_limits(const struct server *s); /* a line for each limit, for SIGUSR1 */

/* limit_setup.c: at the start, and whenever the configuration has changed. max_connections stays what the limit of open
 * files allows. */
void server_apply_limits(struct server *s, const struct server_config *c);

/* diagnostics.c */
void server_log_start(const struct server *s);
void server_log_state(struct server *s); /* SIGUSR1 */
/* For /ready and for telling systemd: true, or false with the first reason. */
bool server_ready(void *server, char *reason, size_t size);
/* One datagram to systemd when it asked for it (NOTIFY_SOCKET); silent otherwise. */
void server_notify(const char *text);

#endif
