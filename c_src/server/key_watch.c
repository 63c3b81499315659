/*
 * key_watch.c: see key_watch.h.
 *
 * Invariant: a method always has keys that can be used: new ones take the place of the old in one step on the loop, and
 * a file that cannot be used changes nothing but the log and a counter. One read at a time; a change during it starts
 * another, so that the last state of the file is what counts in the end.
 */
#include "key_watch.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "log.h"

struct key_watch {
    uv_fs_poll_t poll;
    uv_work_t work;
    struct metrics *metrics;
    const struct auth_settings *from;
    struct auth_method *to;
    struct jwt_keys *loaded; /* by the thread, for the loop; NULL: it could not, and why says so */
    struct err why;
    bool reading;
    bool again;
    bool open;
};

/* In a thread: nothing but from, loaded and why is touched. */
static void read_keys(uv_work_t *work)
{
    struct key_watch *w = container_of(work, struct key_watch, work);
    w->loaded = auth_load_keys(w->from, &w->why);
    OPENSSL_thread_stop(); /* libuv's threads outlive OpenSSL at the end, which then could not free what it keeps for each */
}

static void on_read(uv_work_t *work, int status)
{
    struct key_watch *w = container_of(work, struct key_watch, work);
    const char *path = auth_keys_file(w->from);
    w->reading = false;
    if (status == 0 && w->loaded) {
        jwt_keys_free(w->to->jwt_keys);
        w->to->jwt_keys = w->loaded;
        w->loaded = NULL;
        log_info("server", "JWT keys read again", "file=%s keys=%u", log_text(slice_str(path)),
                 jwt_keys_count(w->to->jwt_keys));
    } else if (status == 0) {
        metric_inc(w->metrics, METRIC_KEY_FILE_FAILURES);
        log_error("server", "JWT keys could not be read again, those in use stay", "reason=\"%s\"", w->why.text);
    }
    if (w->again)
        key_watch_now(w);
}

void key_watch_now(struct key_watch *w)
{
    w->again = w->reading;
    if (!w->reading)
        w->reading = uv_queue_work(w->poll.loop, &w->work, read_keys, on_read) == 0;
}

/* Also called when the file goes away or comes back; a file that is gone is no news, since the next change will
 * tell. */
static void on_change(uv_fs_poll_t *poll, int status, const uv_stat_t *before, const uv_stat_t *after)
{
    struct key_watch *w = container_of(poll, struct key_watch, poll);
    (void)before;
    (void)after;
    if (status == 0)
        key_watch_now(w);
    else
        log_warning("server", "the file with JWT keys cannot be looked at", "file=%s error=\"%s\"",
                    log_text(slice_str(auth_keys_file(w->from))), uv_strerror(status));
}

struct key_watch *key_watch_new(uv_loop_t *loop, struct metrics *m, const struct auth_settings *from,
                                struct auth_method *to, uint32_t interval_ms)
{
    struct key_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->metrics = m;
    w->from = from;
    w->to = to;
    w->open = uv_fs_poll_init(loop, &w->poll) == 0;
    if (!w->open || uv_fs_poll_start(&w->poll, on_change, auth_keys_file(from), interval_ms) != 0) {
        key_watch_free(w);
        return NULL;
    }
    return w;
}

static void on_closed(uv_handle_t *handle)
{
    container_of(handle, struct key_watch, poll)->open = false;
}

void key_watch_free(struct key_watch *w)
{
    if (!w)
        return;
    if (w->open)
        uv_close((uv_handle_t *)&w->poll, on_closed);
    w->again = false;
    while (w->open || w->reading)
        uv_run(w->poll.loop, UV_RUN_ONCE);
    free(w);
}
