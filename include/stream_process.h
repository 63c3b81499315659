/*
 * stream_process.h: the process that stands for a stream: its pid goes to the service, whatever is sent to it is the
 * stream's. It watches who sends: a producer that dies on a node that lives is noticed at once (E-150 want).
 */
#ifndef BEAMGATE_STREAM_PROCESS_H
#define BEAMGATE_STREAM_PROCESS_H

#include "process_table.h"
#include "timers.h"

/* Where a stream's events go. tag: as given to stream_process_open(). Each may close the process. */
struct stream_sink {
    void *ctx;
    void (*message)(void *ctx, uint64_t tag, struct slice msg);
    /* Nobody feeds the stream any more. why: a constant for the log. Comes at most once between two
     * stream_process_calling(). */
    void (*orphaned)(void *ctx, uint64_t tag, const char *why);
    /* What people are told of it, as in process_ops. May be NULL. */
    void (*row)(void *ctx, uint64_t tag, struct process_row *row);
    void (*state)(void *ctx, uint64_t tag, struct process_state *st);
};

struct stream_processes {
    struct process_table *processes;
    struct timers *timers;
    struct stream_sink sink;
    uint64_t grace_us; /* how long a stream waits for another producer when its last one has ended in good order */
};

/* Producers that one stream watches at a time. When more feed it, none of their ends ends it. */
enum { STREAM_PRODUCERS_MAX = 8 };

/* HANDLE_NONE when there is no room. *sp must outlive the process. */
handle_t stream_process_open(struct stream_processes *sp, uint64_t tag) MUST_CHECK;
/* Its call goes to a node, perhaps not for the first time: who has fed it so far no longer counts. */
void stream_process_calling(struct stream_processes *sp, handle_t stream);
/* Its call has returned. ran_by: the pid term of the process that ran the function, empty when not known; that one's
 * end is no loss, since it ends by returning. */
void stream_process_called(struct stream_processes *sp, handle_t stream, struct slice ran_by);
/* Afterwards messages to its pid are dropped, and the producers' links break as with a process that ended. Harmless on
 * a stale handle. */
void stream_process_close(struct stream_processes *sp, handle_t stream);

#endif
