/*
 * server.h: the whole gateway as one object: everything that runs belongs to it, and it alone starts and ends it.
 * There may be several in one process (tests); only the signals and the file limit belong to the process.
 */
#ifndef BEAMGATE_SERVER_H
#define BEAMGATE_SERVER_H

#include "config.h"

struct server;

/* What the process exits with; rel/beamgate.1 and docs/operations.md list them. */
enum exit_code {
    EXIT_STOPPED = 0, /* asked to stop, all was closed in order; --check: the file is good */
    EXIT_FAILED = 1,  /* could not start, or cannot go on: a port or the node name is taken, ... */
    EXIT_USAGE = 2,   /* the command line */
    EXIT_FORCED = 4,  /* stopped before all was closed: a second signal, or drain.timeout_ms was over */
    EXIT_BADCONF = 78 /* EX_CONFIG of sysexits.h */
};

/* Starts everything: listens on both ports, begins to register and to connect. config must outlive the server;
 * cookie is copied. handle_signals: SIGTERM, SIGINT, SIGHUP, SIGUSR1 belong to this server.
 * NULL with *e when it cannot start; nothing is left then. */
struct server *server_new(const struct server_config *config, const char *cookie, bool handle_signals,
                          struct err *e) MUST_CHECK;
/* Serves until it is stopped. Returns the exit code. */
int server_run(struct server *s);
/* As SIGTERM: clients are closed with 1012 in batches, then the node leaves the cluster, then server_run() returns.
 * Asked a second time, it returns at once. */
void server_stop(struct server *s);
void server_free(struct server *s);

/* Where the configuration comes from, for a reload: load() as at the start, with every secret in place. NULL: report
 * says why. It and ctx must outlive the server. Without it there is no reload. */
struct settings_source {
    struct server_config *(*load)(void *ctx, struct config_report *report);
    void *ctx;
};
void server_set_source(struct server *s, const struct settings_source *source);

/* What a reload has to say; paths of options, one a line. */
struct reload_report {
    struct config_report messages; /* as of config_load() */
    struct buf changed;            /* taken */
    struct buf restart;            /* of the file, but not taken before a restart */
    unsigned changed_count;
    unsigned restart_count;
};
void reload_report_init(struct reload_report *r);
void reload_report_fini(struct reload_report *r);
/* As SIGHUP: reads the file again. BG_OK when it was taken; else nothing has changed and messages say why. r has been
 * initialised and is the caller's; the log is told too. Not from within a callback of a part. */
int server_reload(struct server *s, struct reload_report *r);

/* The port for clients, when the kernel chose it. */
uint16_t server_port(const struct server *s);

#endif
