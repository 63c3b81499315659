/*
 * log.h: one line an event, logfmt on stderr:
 *   2026-11-21T03:00:00.123Z level=warning part=cluster msg="link down" node=svc@127.0.0.1 reason="closed by peer"
 *
 * Written for the person who reads it at night: msg says what happened, the fields say to whom, and
 * where there is something to do, a field `hint` says it. Bytes that come from outside go through
 * log_text(), which escapes and cuts them.
 */
#ifndef BEAMGATE_LOG_H
#define BEAMGATE_LOG_H

#include "base.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* Lines below level are not written. Default LOG_INFO. */
void log_set_level(enum log_level level);
enum log_level log_level_now(void);
/* Parses debug|info|warning|error. Returns 0 or BG_EINVAL. */
int log_level_parse(struct slice name, enum log_level *level) MUST_CHECK;
/* Where lines go; fd 2 unless a test says otherwise. */
void log_set_fd(int fd);

/* part: the module's word (cluster, edge, config, request…); msg: a constant sentence; fmt: further
 * fields as key=value with values quoted where they can hold blanks, or "" for none. */
void log_write(enum log_level level, const char *part, const char *msg, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* A quoted, escaped copy of outside bytes, cut at 120 bytes. Valid until the 8th call after it. */
const char *log_text(struct slice s);

/* Per call site: the first LOG_BURST lines in LOG_WINDOW_US pass, the rest is counted and reported
 * as suppressed=N on the next line that passes. */
struct log_limit {
    uint64_t window_start_us;
    uint64_t suppressed;
    unsigned passed;
};
/* Whether a line may be written now; then *suppressed is how many were not since the last. */
bool log_limit_pass(struct log_limit *l, uint64_t *suppressed);

#define log_enabled(level) ((level) >= log_level_now())
#define log_debug(part, msg, ...) (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, part, msg, __VA_ARGS__) : (void)0)
#define log_info(part, msg, ...) log_write(LOG_INFO, part, msg, __VA_ARGS__)
#define log_warning(part, msg, ...) log_write(LOG_WARNING, part, msg, __VA_ARGS__)
#define log_error(part, msg, ...) log_write(LOG_ERROR, part, msg, __VA_ARGS__)

/* For whatever a client, a service or a stranger can cause at will. */
#define log_limited(level, part, msg, fmt, ...)                                                            \
    do {                                                                                                   \
        static struct log_limit limit_;                                                                    \
        uint64_t suppressed_;                                                                              \
        if (log_enabled(level) && log_limit_pass(&limit_, &suppressed_)) {                                 \
            if (suppressed_)                                                                               \
                log_write(level, part, msg, fmt " suppressed=%llu", ##__VA_ARGS__,                         \
                          (unsigned long long)suppressed_);                                                \
            else                                                                                           \
                log_write(level, part, msg, fmt, ##__VA_ARGS__);                                           \
        }                                                                                                  \
    } while (0)

#endif
