/*
 * log.c: see log.h. The level and the descriptor are the process's, not a server's: two servers in
 * one test process share one stderr anyway.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LOG_BURST = 5, LOG_WINDOW_US = 10 * 1000 * 1000, LOG_TEXT_MAX = 120, LOG_LINE_MAX = 2048, LOG_TEXTS = 8 };

static enum log_level level_now = LOG_INFO;
static int log_fd = 2;
static const char *const level_name[] = {"debug", "info", "warning", "error"};

void log_set_level(enum log_level level)
{
    level_now = level;
}

enum log_level log_level_now(void)
{
    return level_now;
}

void log_set_fd(int fd)
{
    log_fd = fd;
}

int log_level_parse(struct slice name, enum log_level *level)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_name); i++) {
        if (slice_is(name, level_name[i])) {
            *level = (enum log_level)i;
            return BG_OK;
        }
    }
    return BG_EINVAL;
}

static size_t put_time(char *dst, size_t size)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(dst, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(dst + n, size - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

void log_write(enum log_level level, const char *part, const char *msg, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char line[LOG_LINE_MAX];
    size_t room = sizeof(line) - 1, n = put_time(line, room);
    n += (size_t)snprintf(line + n, room - n, " level=%s part=%s msg=\"%s\"", level_name[level], part, msg);
    if (fmt[0] != '\0' && n + 1 < room) {
        line[n++] = ' ';
        va_list ap;
        va_start(ap, fmt);
        int more = vsnprintf(line + n, room - n, fmt, ap);
        va_end(ap);
        n += more < 0 ? 0 : (size_t)more < room - n ? (size_t)more : room - n - 1;
    }
    line[n++] = '\n';
    /* A lost log line must not stop a gateway: a full pipe drops it. */
    ssize_t ignored = write(log_fd, line, n);
    (void)ignored;
}

/* Outside bytes as one quoted word: no line break, no terminal escape and no quote of a stranger reaches the log. The
 * eight texts are used in turn, enough for the fields of one line. */
const char *log_text(struct slice s)
{
    static char texts[LOG_TEXTS][LOG_TEXT_MAX * 4 + 8];
    static unsigned next;
    char *out = texts[next++ % LOG_TEXTS], *p = out;
    *p++ = '"';
    for (size_t i = 0; i < s.len; i++) {
        if (i == LOG_TEXT_MAX) {
            memcpy(p, "...", 3);
            p += 3;
            break;
        }
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (c < 0x20 || c >= 0x7f) {
            p += snprintf(p, 5, "\\x%02x", c);
        } else {
            *p++ = (char)c;
        }
    }
    *p++ = '"';
    *p = '\0';
    return out;
}

/* Five lines of a kind in ten seconds, then silence; the first of the next window says how many were not written. */
bool log_limit_pass(struct log_limit *l, uint64_t *suppressed)
{
    uint64_t now = clock_now_us();
    if (l->window_start_us == 0 || now - l->window_start_us >= LOG_WINDOW_US) {
        l->window_start_us = now;
        l->passed = 0;
    }
    if (l->passed >= LOG_BURST) {
        l->suppressed++;
        return false;
    }
    l->passed++;
    *suppressed = l->suppressed;
    l->suppressed = 0;
    return true;
}
