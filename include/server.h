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

/* The port for clients, when the kernel chose it. */
uint16_t server_port(const struct server *s);

#endif
