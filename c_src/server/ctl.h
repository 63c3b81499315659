/*
 * ctl.h: the gateway's side of `beamgate ctl`: requests, jobs, the socket.
 *
 * On the socket, one command a connection, which stays open until the answer has ended:
 *   client:  {"command":"flows","args":["a"],"options":{"version":"1.0.0"}}  and a line end
 *   gateway: {"row":{...}} or {"value":...}, any number of lines, then {"end":true} or {"error":"text"}
 */
#ifndef BEAMGATE_CTL_H
#define BEAMGATE_CTL_H

#include "ctl_table.h"
#include "server_state.h"

enum {
    CTL_REQUEST_MAX = 2 * 1024 * 1024, /* bytes of a request: a payload of requests.max_payload_bytes and what is around */
    CTL_CLIENTS_DEFAULT = 8,
    CTL_ROWS_A_STEP = 200 /* what is looked at in one turn of the loop: well under a millisecond */
};

/* ---- requests (ctl_request.c) ---- */

struct ctl_option {
    struct slice name;
    struct slice value; /* text; "" for a flag */
};

/* Slices are of text. */
struct ctl_request {
    struct buf text;
    struct slice command;
    struct slice args[CTL_ARGS_MAX];
    unsigned argc;
    struct ctl_option options[CTL_OPTIONS_MAX];
    unsigned options_count;
};

/* One line without its end, any bytes. BG_EINVAL, BG_ELIMIT, BG_ENOMEM with a text. Afterwards r is the caller's to
 * ctl_request_fini(), also on failure. */
int ctl_request_parse(struct slice line, struct ctl_request *r, struct err *e) MUST_CHECK;
void ctl_request_fini(struct ctl_request *r);
/* The value of an option; ptr NULL: not given. */
struct slice ctl_request_option(const struct ctl_request *r, const char *name);
/* The same as a number; fallback where it is not given. BG_EINVAL for what is none or is above max. */
int ctl_request_number(const struct ctl_request *r, const char *name, uint64_t fallback, uint64_t max,
                       uint64_t *value) MUST_CHECK;

/* A command that is being answered. */
struct ctl_job {
    struct server *server;
    const struct ctl_command *command;
    struct ctl_request request;
    struct err error;
    handle_t self; /* for ctl_wake() */
    /* the step function's own; all zero before the first step */
    size_t pos;
    uint64_t cursor;
    void *state;
    /* When not NULL, called before the job goes, however it ends. */
    void (*end)(struct ctl_job *job);
};

/* ---- the gateway's side (ctl_server.c) ---- */

/* Listens on path, mode 0600; a socket that a gateway left behind is replaced. NULL with a text for the operator. */
struct ctl_server *ctl_server_new(struct server *s, const char *path, uint32_t max_clients, struct err *e) MUST_CHECK;
/* Closes every connection; the loop must turn until uv has closed the handles. NULL is fine. */
void ctl_server_free(struct ctl_server *c);
/* The job waits no more. Harmless on a stale handle. */
void ctl_wake(struct ctl_server *c, handle_t job);

/* ctl_call.c */
ctl_step_fn ctl_step_call;
/* ctl_cluster.c */
ctl_step_fn ctl_step_cluster;
/* ctl_trace.c */
ctl_step_fn ctl_step_trace;

/* Lines of an answer. The first leaves the object open for `"key":value` and ctl_row_end(). */
void ctl_row_begin(struct buf *out);
void ctl_row_text(struct buf *out, const char *key, struct slice text);
void ctl_row_number(struct buf *out, const char *key, uint64_t n);
void ctl_row_flag(struct buf *out, const char *key, bool on);
void ctl_row_end(struct buf *out);

/* Appends any checked term as JSON (ctl_json.c): atoms as strings, tuples and lists as arrays, what JSON cannot hold as
 * the text that inspect gives. */
void ctl_put_term(struct slice term, struct buf *out);

/* The path to listen on: of the configuration, or ctl.sock in the directory that systemd gives. NULL: none. */
const char *ctl_socket_path(const struct server_config *c, char *dst, size_t size);

#endif
