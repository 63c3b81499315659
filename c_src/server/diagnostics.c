/*
 * diagnostics.c: what the server says about itself: the start line, the state on SIGUSR1, readiness, and the word to
 * systemd. It only reads; nothing here changes how the server works. No secret is ever part of it.
 */
#include "server_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINKS_SHOWN = 200 };

void server_log_start(const struct server *s)
{
    const struct server_config *c = s->config;
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    log_info("server", "started",
             "version=%s pid=%d node=%s node_port=%u hidden=true listen=%s:%u sockets=%u services=%u "
             "max_connections=%u max_in_flight=%u max_open_files=%llu start_ms=%.1f",
             BEAMGATE_VERSION, (int)getpid(), s->self.name, cluster_port(s->cluster), c->listen.address,
             edge_port(s->edge, 0), c->sockets_count, c->services_count, s->max_connections,
             c->requests.max_in_flight, (unsigned long long)files.rlim_cur,
             (double)(clock_now_us() - s->started_us) / 1000.0);
}

/* Bounded: a large cluster must not turn one signal into a flood. */
static void log_links(const struct server *s)
{
    struct dist_link *l;
    unsigned shown = 0;
    for (uint32_t pos = 0; (l = cluster_next_link(s->cluster, &pos)) != NULL && shown < LINKS_SHOWN; shown++)
        log_info("state", "link", "node=%s flags=%#llx", log_text(dist_link_node(l)),
                 (unsigned long long)dist_link_flags(l));
}

static void log_metrics(const struct server *s)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        if (s->metrics.value[i])
            log_info("state", "metric", "name=%s value=%llu", metric_name[i],
                     (unsigned long long)s->metrics.value[i]);
}

void server_log_state(struct server *s)
{
    char reason[128] = "";
    bool ready = server_ready(s, reason, sizeof(reason));
    log_info("state", "server",
             "node=%s uptime_s=%llu ready=%s%s%s draining=%s connections=%u processes=%u in_flight=%u calls=%u "
             "functions=%zu refused_functions=%zu timers=%u",
             s->self.name, (unsigned long long)((clock_now_us() - s->started_us) / 1000000), ready ? "true" : "false",
             ready ? "" : " reason=", ready ? "" : log_text(slice_str(reason)), s->draining ? "true" : "false",
             edge_connections(s->edge), process_count(s->processes), gateway_in_flight(s->gateway),
             remote_calls_in_flight(s->calls), config_db_count(s->db), config_failed_count(s->failed), s->timers.count);
    log_links(s);
    server_log_limits(s);
    log_metrics(s);
}

bool server_ready(void *server, char *reason, size_t size)
{
    const struct server *s = server;
    uint32_t loaded = 0, total = 0;
    reason[0] = '\0';
    if (s->draining)
        snprintf(reason, size, "draining");
    else if (!cluster_registered(s->cluster))
        snprintf(reason, size, "not registered with epmd");
    else if (!config_puller_ready(s->puller, &loaded, &total) || loaded < total)
        snprintf(reason, size, "%u of %u services loaded", loaded, total);
    return reason[0] == '\0';
}

/* The protocol of sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names; @ begins a name that is
 * no file. */
void server_notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    ssize_t sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&to,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    if (sent < 0)
        log_warning("server", "cannot tell systemd", "text=%s", log_text(slice_str(text)));
    close(fd);
}
