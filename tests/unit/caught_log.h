/*
 * caught_log.h: what a test makes the program write to its log.
 */
#ifndef BEAMGATE_CAUGHT_LOG_H
#define BEAMGATE_CAUGHT_LOG_H

#include <fcntl.h>
#include <unistd.h>

#include "log.h"

static int log_pipe[2];

/* From here on lines of that level and above are caught, as many as a pipe holds. */
static inline void log_catch(enum log_level level)
{
    assert_int_equal(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    log_set_level(level);
    log_set_fd(log_pipe[1]);
}

/* What was written since, until the next call. The level stays as it is. */
static inline const char *log_caught(void)
{
    static char said[64 * 1024];
    log_set_fd(2);
    ssize_t n = read(log_pipe[0], said, sizeof(said) - 1);
    said[n > 0 ? n : 0] = '\0';
    close(log_pipe[0]);
    close(log_pipe[1]);
    return said;
}

#endif
