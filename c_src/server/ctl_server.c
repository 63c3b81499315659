/*
 * ctl_server.c: the socket that `beamgate ctl` talks to. A connection carries one request line and its answer; the
 * answer is made piece by piece, the next piece only when the one before has been written, so that a slow reader holds
 * memory for one piece and the loop is never held for long.
 *
 * Invariants: only the gateway's own user and root get past the accept (SO_PEERCRED, besides the file's mode); a
 * connection is in slots from accept to its close callback; a job's end() runs exactly once.
 *
 * What commands mean is in ctl_commands.c.
 */
#define _GNU_SOURCE /* struct ucred */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "json.h"
#include "log.h"
#include "slots.h"

enum {
    READ_CHUNK = 16 * 1024,
    OUT_KEEP_BYTES = 256 * 1024,
    OUT_MAX_BYTES = 64 * 1024 * 1024, /* one piece; a report of the rpc table comes as one */
    STEP_BYTES = 64 * 1024,           /* so much is gathered before it is written */
    REQUEST_TIMEOUT_US = 10000000,    /* to send the request */
    WRITE_TIMEOUT_US = 30000000       /* to take a piece of the answer */
};

struct ctl_server {
    struct server *s;
    uv_pipe_t listener;
    bool listening;
    uv_pipe_t refused; /* a connection for which there was no memory, being closed */
    bool refusing;
    bool waiting; /* the next one waits for that */
    struct slots conns;
    uint32_t max_clients;
};

struct ctl_conn {
    struct ctl_server *server;
    handle_t self;
    uv_pipe_t pipe;
    uv_write_t write;
    struct timer timer; /* the deadline of what is awaited; or the next step */
    struct buf in;
    struct buf out;
    struct ctl_job job;
    bool started; /* the request is there, the job runs */
    bool stepping; /* the timer means the next step, not a deadline */
    bool writing;
    bool finished; /* the last line is in out */
    bool closing;
};

/* ---- lines --------------------------------------------------------------------------------------------- */

void ctl_row_begin(struct buf *out)
{
    buf_puts(out, "{\"row\":{");
}

static void put_key(struct buf *out, const char *key)
{
    if (out->data[out->len - 1] != '{')
        buf_putc(out, ',');
    buf_printf(out, "\"%s\":", key);
}

void ctl_row_text(struct buf *out, const char *key, struct slice text)
{
    if (!buf_ok(out))
        return;
    put_key(out, key);
    if (text.ptr)
        json_put_text(out, text);
    else
        buf_puts(out, "null");
}

void ctl_row_number(struct buf *out, const char *key, uint64_t n)
{
    if (!buf_ok(out))
        return;
    put_key(out, key);
    buf_printf(out, "%llu", (unsigned long long)n);
}

void ctl_row_flag(struct buf *out, const char *key, bool on)
{
    if (!buf_ok(out))
        return;
    put_key(out, key);
    buf_puts(out, on ? "true" : "false");
}

void ctl_row_end(struct buf *out)
{
    buf_puts(out, "}}\n");
}

static void put_error(struct buf *out, const char *text)
{
    buf_puts(out, "{\"error\":");
    json_put_text(out, slice_str(text));
    buf_puts(out, "}\n");
}

/* ---- a connection's end -------------------------------------------------------------------------------- */

static void end_job(struct ctl_conn *c)
{
    if (c->job.end)
        c->job.end(&c->job);
    c->job.end = NULL;
}

static void on_closed(uv_handle_t *h)
{
    struct ctl_conn *c = h->data;
    if (c->self != HANDLE_NONE) /* else the server may be gone before this */
        slots_remove(&c->server->conns, c->self);
    ctl_request_fini(&c->job.request);
    buf_fini(&c->in);
    buf_fini(&c->out);
    free(c);
}

static void close_conn(struct ctl_conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    timer_disarm(&c->server->s->timers, &c->timer);
    end_job(c);
    uv_close((uv_handle_t *)&c->pipe, on_closed);
}

/* ---- answering ----------------------------------------------------------------------------------------- */

static void arm(struct ctl_conn *c, bool step, uint64_t us)
{
    c->stepping = step;
    if (timer_arm_in(&c->server->s->timers, &c->timer, us) != BG_OK)
        close_conn(c);
}

static void go_on(struct ctl_conn *c);

static void on_written(uv_write_t *w, int status)
{
    struct ctl_conn *c = w->data;
    c->writing = false;
    buf_shrink(&c->out, OUT_KEEP_BYTES);
    if (c->closing)
        return;
    if (status < 0 || c->finished)
        close_conn(c);
    else
        go_on(c);
}

static void write_out(struct ctl_conn *c)
{
    uv_buf_t b = uv_buf_init((char *)c->out.data, (unsigned)c->out.len);
    c->write.data = c;
    c->writing = true;
    arm(c, false, WRITE_TIMEOUT_US);
    if (!c->closing && uv_write(&c->write, (uv_stream_t *)&c->pipe, &b, 1, on_written) != 0) {
        c->writing = false;
        close_conn(c);
    }
}

static void finish(struct ctl_conn *c, const char *error)
{
    if (error) {
        c->out.failed = false; /* what did not fit goes, so that the reason does */
        if (c->out.len > STEP_BYTES)
            buf_truncate(&c->out, 0);
        put_error(&c->out, error);
    } else {
        buf_puts(&c->out, "{\"end\":true}\n");
    }
    c->finished = true;
    end_job(c);
}

/* One step a turn. What is there is written when it is worth it, or when nothing more comes for now. */
static void go_on(struct ctl_conn *c)
{
    enum ctl_step how = c->job.command->step(&c->job, &c->out);
    if (!buf_ok(&c->out))
        finish(c, "the answer is too large");
    else if (how == CTL_FAILED)
        finish(c, c->job.error.text);
    else if (how == CTL_DONE)
        finish(c, NULL);
    if (how == CTL_MORE && !c->finished && c->out.len < STEP_BYTES)
        arm(c, true, 0);
    else if (c->out.len > 0)
        write_out(c);
    else
        timer_disarm(&c->server->s->timers, &c->timer); /* CTL_WAIT, for as long as it takes */
}

void ctl_wake(struct ctl_server *server, handle_t job)
{
    struct ctl_conn *c = server ? slots_get(&server->conns, job) : NULL;
    if (c && c->started && !c->finished && !c->closing && !c->writing)
        arm(c, true, 0);
}

static void on_timer(struct timer *t)
{
    struct ctl_conn *c = container_of(t, struct ctl_conn, timer);
    if (c->stepping)
        go_on(c);
    else
        close_conn(c);
}

/* ---- the request --------------------------------------------------------------------------------------- */

static const char *check_args(const struct ctl_job *job, char *text, size_t size)
{
    const struct ctl_command *cmd = job->command;
    if (!cmd)
        snprintf(text, size, "unknown command %s", log_text(job->request.command));
    else if (job->request.argc < cmd->min_args || job->request.argc > cmd->max_args)
        snprintf(text, size, "usage: %s %s", cmd->name, cmd->usage);
    else
        return NULL;
    return text;
}

static void start(struct ctl_conn *c, struct slice line)
{
    char text[256];
    struct ctl_job *job = &c->job;
    const char *problem = NULL;
    c->started = true;
    job->server = c->server->s;
    job->self = c->self;
    if (ctl_request_parse(line, &job->request, &job->error) != BG_OK) {
        problem = job->error.text;
    } else {
        job->command = ctl_find(job->request.command);
        problem = check_args(job, text, sizeof(text));
    }
    buf_fini(&c->in);
    buf_init(&c->in, CTL_REQUEST_MAX);
    if (!problem) {
        log_debug("ctl", "command", "command=%s", job->command->name);
        go_on(c);
        return;
    }
    finish(c, problem);
    write_out(c);
}

/* Says why, as far as it can be said without waiting. */
static void turn_away(struct ctl_conn *c, const char *why)
{
    c->started = true;
    finish(c, why);
    write_out(c);
}

/* What comes after the line means nothing, and is not kept. */
static void take_bytes(struct ctl_conn *c, size_t n)
{
    if (c->started)
        return;
    const char *new = (const char *)c->in.data + c->in.len;
    const char *end = memchr(new, '\n', n);
    c->in.len += n;
    if (end)
        start(c, slice_make(c->in.data, (size_t)(end - (const char *)c->in.data)));
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    static char dropped[4096];
    struct ctl_conn *c = h->data;
    (void)suggested;
    uint8_t *room = c->started ? (uint8_t *)dropped : buf_reserve(&c->in, READ_CHUNK);
    b->base = (char *)room;
    b->len = room ? c->started ? sizeof(dropped) : READ_CHUNK : 0; /* 0: UV_ENOBUFS, and the connection goes */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct ctl_conn *c = stream->data;
    (void)b;
    if (n == UV_ENOBUFS && !c->started)
        turn_away(c, "the request is too long");
    else if (n < 0)
        close_conn(c);
    else if (n > 0 && !c->closing)
        take_bytes(c, (size_t)n);
}

/* ---- accepting ----------------------------------------------------------------------------------------- */

/* The file's mode keeps others out already; a descriptor that was handed on, or a mode that was changed, does not get
 * past this. */
static bool is_welcome(uv_pipe_t *pipe, uid_t *uid)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof(peer);
    uv_os_fd_t fd;
    *uid = (uid_t)-1;
    if (uv_fileno((uv_handle_t *)pipe, &fd) != 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return false;
    *uid = peer.uid;
    return peer.uid == geteuid() || peer.uid == 0;
}

static void admit(struct ctl_server *server, struct ctl_conn *c)
{
    uid_t uid;
    if (!is_welcome(&c->pipe, &uid)) {
        log_limited(LOG_WARNING, "ctl", "refused: not this user and not root", "uid=%u", (unsigned)uid);
        turn_away(c, "only the gateway's own user and root may use this socket");
    } else if (server->conns.count > server->max_clients) {
        log_limited(LOG_WARNING, "ctl", "refused: too many command lines at a time", "clients=%u", server->max_clients);
        turn_away(c, "too many command lines at a time");
    } else {
        arm(c, false, REQUEST_TIMEOUT_US);
    }
    if (!c->closing && uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0)
        close_conn(c);
}

static void on_connection(uv_stream_t *stream, int status);

static void on_refused(uv_handle_t *h)
{
    struct ctl_server *server = h->data;
    bool waiting = server->waiting;
    server->refusing = server->waiting = false;
    if (waiting)
        on_connection((uv_stream_t *)&server->listener, 0);
}

/* libuv listens no more until the connection is accepted, so one that cannot be served is accepted and closed. */
static void refuse(struct ctl_server *server)
{
    server->refusing = true;
    log_limited(LOG_ERROR, "ctl", "no memory for a command line", "");
    assert_always(uv_pipe_init(&server->s->loop, &server->refused, 0) == 0);
    server->refused.data = server;
    (void)uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)&server->refused);
    uv_close((uv_handle_t *)&server->refused, on_refused);
}

/* One more than max_clients has a place, to be told that there is none. */
static void on_connection(uv_stream_t *stream, int status)
{
    struct ctl_server *server = stream->data;
    if (status != 0) {
        log_limited(LOG_ERROR, "ctl", "cannot accept a connection", "reason=\"%s\"", uv_strerror(status));
        return;
    }
    if (server->refusing) {
        server->waiting = true;
        return;
    }
    struct ctl_conn *c = calloc(1, sizeof(*c));
    if (!c) {
        refuse(server);
        return;
    }
    c->server = server;
    c->timer.fn = on_timer;
    buf_init(&c->in, CTL_REQUEST_MAX);
    buf_init(&c->out, OUT_MAX_BYTES);
    assert_always(uv_pipe_init(&server->s->loop, &c->pipe, 0) == 0);
    c->pipe.data = c;
    c->self = slots_add(&server->conns, c);
    if (uv_accept(stream, (uv_stream_t *)&c->pipe) != 0 || c->self == HANDLE_NONE)
        close_conn(c);
    else
        admit(server, c);
}

/* ---- listening ----------------------------------------------------------------------------------------- */

/* A gateway that was killed leaves its socket behind: nobody answers there, so it may go. 0, or why not. */
static int clear_path(const char *path, struct err *e)
{
    struct stat st;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(to.sun_path))
        return err_set(e, BG_EINVAL, 0, "the path of the control socket is too long: %s", path);
    if (lstat(path, &st) < 0)
        return BG_OK; /* bind says what else is wrong */
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, BG_EEXIST, 0, "control.socket %s is there and is no socket", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof(to));
    int why = rc < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (why == ECONNREFUSED && unlink(path) == 0)
        return BG_OK;
    return err_set(e, BG_EEXIST, 0, "control.socket %s: %s", path,
                   why == 0 || why == EAGAIN ? "another gateway answers there" : strerror(why));
}

/* The mode is there from the first moment, not after a chmod. */
static int bind_private(uv_pipe_t *pipe, const char *path)
{
    mode_t before = umask(0177);
    int rc = uv_pipe_bind(pipe, path);
    umask(before);
    return rc;
}

static int start_listening(struct ctl_server *c, const char *path, struct err *e)
{
    int rc = clear_path(path, e);
    if (rc != BG_OK)
        return rc;
    rc = uv_pipe_init(&c->s->loop, &c->listener, 0);
    assert_always(rc == 0);
    c->listener.data = c;
    c->listening = true;
    rc = bind_private(&c->listener, path);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&c->listener, 16, on_connection);
    return rc == 0 ? BG_OK : err_set(e, BG_ESYS, 0, "cannot listen on control.socket %s: %s", path, uv_strerror(rc));
}

struct ctl_server *ctl_server_new(struct server *s, const char *path, uint32_t max_clients, struct err *e)
{
    struct ctl_server *c = calloc(1, sizeof(*c));
    if (!c) {
        err_set(e, BG_ENOMEM, 0, "no memory for the control socket");
        return NULL;
    }
    c->s = s;
    c->max_clients = max_clients ? max_clients : CTL_CLIENTS_DEFAULT;
    slots_init(&c->conns, c->max_clients + 1);
    if (start_listening(c, path, e) == BG_OK)
        return c;
    ctl_server_free(c);
    return NULL;
}

static void on_listener_closed(uv_handle_t *h)
{
    *(bool *)h->data = true;
}

/* Closing is asynchronous and everything is freed here, so the loop turns until the handles are gone. uv unlinks the
 * socket's file. */
void ctl_server_free(struct ctl_server *c)
{
    struct ctl_conn *conn;
    bool closed = false;
    if (!c)
        return;
    for (uint32_t pos = 0; (conn = slots_next(&c->conns, &pos, NULL)) != NULL;)
        close_conn(conn);
    c->waiting = false;
    if (c->listening) {
        c->listener.data = &closed;
        uv_close((uv_handle_t *)&c->listener, on_listener_closed);
    }
    while (c->conns.count > 0 || c->refusing || (c->listening && !closed))
        uv_run(&c->s->loop, UV_RUN_NOWAIT);
    slots_fini(&c->conns);
    free(c);
}

const char *ctl_socket_path(const struct server_config *c, char *dst, size_t size)
{
    const char *dir = getenv("RUNTIME_DIRECTORY"); /* systemd.exec(5): may be several, the first is ours */
    if (c->control.socket)
        snprintf(dst, size, "%s", c->control.socket);
    else if (dir && dir[0] == '/')
        snprintf(dst, size, "%.*s/ctl.sock", (int)strcspn(dir, ":"), dir);
    else
        return NULL;
    return dst;
}
