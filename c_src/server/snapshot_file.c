/*
 * snapshot_file.c: when the snapshot of pushed functions is written and read. A second after a push or a delete the
 * PushConfigs are gathered, one service a turn of the loop, and a thread writes them: a new file, fsync, rename, so
 * that there is always a whole one, the old or the new.
 *
 * Invariants: at most one write is under way; what changes meanwhile is written after it. The file holds no token.
 *
 * A gateway that cannot write serves all the same: it is said in the log, and tried again with the next change.
 */
#include "server_state.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "push_snapshot.h"

enum { DEBOUNCE_US = 1000000 };

struct snapshot {
    struct server *s;
    const char *path; /* the configuration's */
    struct timer timer;
    struct buf body;
    size_t pos;      /* in the receiver's services */
    bool gathering;
    bool changed;    /* since what is being gathered or written was begun */
    bool writing;
    uv_work_t work;
    struct err error; /* of the last write */
};

/* ---- writing: in a thread ------------------------------------------------------------------------------ */

/* write() may take less than it was given, and a signal none of it. */
static bool write_all(int fd, const void *data, size_t n)
{
    for (const uint8_t *p = data; n > 0;) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

/* The new name is on disk only when the directory is. */
static bool sync_directory(const char *path)
{
    char dir[1024];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* fsync before rename: a power cut must not leave the new name on an empty file. Mode 0600, since PushConfigs name
 * nodes and functions that are nobody else's affair. */
static bool write_file(const char *temporary, const char *path, struct slice body)
{
    uint8_t head[SNAPSHOT_HEAD];
    snapshot_head(body, head);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_all(fd, head, sizeof(head)) && write_all(fd, body.ptr, body.len) && fsync(fd) == 0;
    if (fd >= 0)
        ok = close(fd) == 0 && ok;
    return ok && rename(temporary, path) == 0 && sync_directory(path);
}

static void write_snapshot(struct snapshot *n)
{
    char temporary[1100];
    n->error.text[0] = '\0';
    snprintf(temporary, sizeof(temporary), "%s.tmp", n->path);
    if (!write_file(temporary, n->path, buf_slice(&n->body)))
        err_set(&n->error, BG_ESYS, 0, "%s", strerror(errno));
}

static void on_work(uv_work_t *w)
{
    write_snapshot(container_of(w, struct snapshot, work));
    OPENSSL_thread_stop(); /* as in key_watch.c: the checksum left something in this thread */
}

/* ---- gathering: in the loop ---------------------------------------------------------------------------- */

static void arm(struct snapshot *n, uint64_t us)
{
    if (timer_arm_in(&n->s->timers, &n->timer, us) != BG_OK)
        log_error("config", "no memory for a timer: pushed functions are not written", "");
}

static void say(const struct snapshot *n)
{
    if (n->error.text[0])
        log_limited(LOG_WARNING, "config", "pushed functions not written", "file=%s reason=\"%s\"",
                    log_text(slice_str(n->path)), n->error.text);
    else
        log_debug("config", "pushed functions written", "file=%s bytes=%zu", log_text(slice_str(n->path)), n->body.len);
}

static void on_written(uv_work_t *w, int status)
{
    struct snapshot *n = container_of(w, struct snapshot, work);
    (void)status;
    n->writing = false;
    say(n);
    buf_shrink(&n->body, 0);
    if (n->changed)
        arm(n, DEBOUNCE_US);
}

/* One service. False when there is none left. */
static bool gather(struct snapshot *n)
{
    struct slice node, term;
    if (!config_receiver_next_stored(n->s->receiver, &n->pos, &node, &term))
        return false;
    snapshot_put(&n->body, node, term);
    return true;
}

static void begin_gathering(struct snapshot *n)
{
    buf_reset(&n->body);
    n->pos = 0;
    n->gathering = true;
    n->changed = false;
}

/* What changes during the gathering makes it begin anew: positions may have moved. */
static void on_timer(struct timer *t)
{
    struct snapshot *n = container_of(t, struct snapshot, timer);
    if (!n->gathering || n->changed)
        begin_gathering(n);
    if (gather(n)) {
        arm(n, 0);
        return;
    }
    n->gathering = false;
    if (!buf_ok(&n->body)) {
        err_set(&n->error, BG_ELIMIT, 0, "more than %d MiB", SNAPSHOT_BODY_MAX / 1024 / 1024);
        say(n);
        return;
    }
    n->writing = uv_queue_work(&n->s->loop, &n->work, on_work, on_written) == 0;
}

/* The second runs from the first change: pushes that never pause must not put the writing off for ever. */
void server_pushes_changed(void *server)
{
    struct snapshot *n = ((struct server *)server)->snapshot;
    if (!n)
        return;
    n->changed = true;
    if (!n->writing && !timer_armed(&n->timer))
        arm(n, DEBOUNCE_US);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

struct restored {
    struct server *s;
    unsigned taken, refused;
};

/* Each by itself: one that the configuration does not allow any more keeps no other out. */
static void restore(void *ctx, struct slice node, struct slice term)
{
    struct restored *r = ctx;
    if (config_receiver_restore(r->s->receiver, term, node))
        r->taken++;
    else
        r->refused++;
}

/* BG_EGONE when there is no file. */
static int read_file(const char *path, struct buf *b, struct err *e)
{
    enum { CHUNK = 65536 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? BG_EGONE : BG_ESYS, 0, "%s", strerror(errno));
    ssize_t n = 1;
    for (uint8_t *to; n > 0 && (to = buf_reserve(b, CHUNK)) != NULL; b->len += n > 0 ? (size_t)n : 0)
        n = read(fd, to, CHUNK);
    close(fd);
    if (n < 0)
        return err_set(e, BG_ESYS, 0, "%s", strerror(errno));
    return buf_ok(b) ? BG_OK : err_set(e, BG_ELIMIT, 0, "it is too large");
}

/* A file that cannot be used is said and left: the start goes on, and the next push replaces it. */
static void read_snapshot(struct snapshot *n)
{
    struct restored r = {.s = n->s};
    struct err e = {.text = ""};
    struct buf file;
    buf_init(&file, SNAPSHOT_HEAD + SNAPSHOT_BODY_MAX);
    int rc = read_file(n->path, &file, &e);
    if (rc == BG_OK)
        rc = snapshot_read(buf_slice(&file), restore, &r, &e);
    buf_fini(&file);
    if (rc != BG_OK && rc != BG_EGONE)
        log_error("config", "pushed functions not read", "file=%s reason=\"%s\" hint=\"services must push again\"",
                  log_text(slice_str(n->path)), e.text);
    if (r.taken || r.refused)
        log_info("config", "pushed functions read", "file=%s services=%u refused=%u", log_text(slice_str(n->path)),
                 r.taken, r.refused);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int server_start_snapshot(struct server *s, struct err *e)
{
    const char *path = s->config->push.snapshot_file;
    if (!path)
        return BG_OK;
    struct snapshot *n = calloc(1, sizeof(*n));
    if (!n)
        return err_set(e, BG_ENOMEM, 0, "no memory for the snapshot");
    n->s = s;
    n->path = path;
    n->timer.fn = on_timer;
    buf_init(&n->body, SNAPSHOT_BODY_MAX);
    read_snapshot(n); /* before the server knows it: what is read needs not be written */
    s->snapshot = n;
    return BG_OK;
}

/* What has not been written yet is written now; nobody is served any more. The receiver must still be there. */
void server_end_snapshot(struct server *s)
{
    struct snapshot *n = s->snapshot;
    if (!n)
        return;
    timer_disarm(&s->timers, &n->timer);
    s->snapshot = NULL;
    while (n->writing)
        uv_run(&s->loop, UV_RUN_ONCE);
    timer_disarm(&s->timers, &n->timer);
    if (n->changed || n->gathering) {
        begin_gathering(n);
        while (gather(n))
            ;
        if (buf_ok(&n->body))
            write_snapshot(n);
        say(n);
    }
    buf_fini(&n->body);
    free(n);
}
