/*
 * stream_process.c: see stream_process.h.
 *
 * The library's StreamHelper is a pid and a request id: the service says nowhere who will use it. So whoever sends to
 * the stream's pid becomes a producer and is monitored. While the call runs nothing is decided, for its outcome says
 * more than any monitor. Once it has returned, and no producer that we know of lives:
 *   - one of them crashed, was killed or lost its node: the stream is orphaned at once;
 *   - all ended with reason normal, or before our monitor came (noproc): a service may feed a stream from a chain of short
 *     tasks, so it has grace_us to go on.
 * The process that ran the function is no producer, although it may have sent: its end means that it returned.
 *
 * Invariant: once the call has returned, a producer in the table has a monitor that has not fired. What the messages
 * mean is the sink's affair.
 */
#include "stream_process.h"

#include <stdlib.h>

#include "process_state.h"

struct producer {
    handle_t monitor; /* HANDLE_NONE: it has ended, while the call was running */
    bool crashed;
    char *pid; /* its pid term */
    size_t pid_len;
};

struct stream {
    struct timer grace;
    struct stream_processes *sp;
    uint64_t tag;
    handle_t self;
    struct producer producer[STREAM_PRODUCERS_MAX];
    uint8_t producers;
    bool called;   /* the initial call has returned */
    bool unknown;  /* somebody feeds it whom we cannot watch */
    bool lost;     /* a producer crashed */
    bool finished; /* a producer ended in good order */
    bool told;     /* orphaned was called */
};

static struct slice pid_of(const struct producer *p)
{
    return slice_make(p->pid, p->pid_len);
}

/* A handful at most, so a walk will do. */
static struct producer *find_producer(struct stream *st, struct slice pid)
{
    for (unsigned i = 0; i < st->producers; i++)
        if (slice_eq(pid_of(&st->producer[i]), pid))
            return &st->producer[i];
    return NULL;
}

/* The last one takes its place: their order means nothing. */
static void remove_producer(struct stream *st, struct producer *p)
{
    process_demonitor(st->sp->processes, p->monitor);
    free(p->pid);
    *p = st->producer[--st->producers];
}

/* A call that is made again begins with nobody: what the first one's producers did must not end the second. */
static void forget_producers(struct stream *st)
{
    while (st->producers > 0)
        remove_producer(st, &st->producer[st->producers - 1]);
    st->unknown = st->lost = st->finished = st->told = false;
    timer_disarm(st->sp->timers, &st->grace);
}

/* Once, whatever else befalls it until the sink has closed it. */
static void tell_orphaned(struct stream *st, const char *why)
{
    if (st->told)
        return;
    st->told = true;
    st->sp->sink.orphaned(st->sp->sink.ctx, st->tag, why);
}

static void on_grace_over(struct timer *t)
{
    tell_orphaned(container_of(t, struct stream, grace), "the stream's producer ended without a last word");
}

/* Ends it when its last producer has gone; the caller must not touch it afterwards. */
static void look_for_producers(struct stream *st)
{
    if (!st->called || st->unknown || st->producers > 0)
        return;
    if (st->lost)
        tell_orphaned(st, "the stream's producer died");
    else if (st->finished && timer_arm_in(st->sp->timers, &st->grace, st->sp->grace_us) != BG_OK)
        tell_orphaned(st, "no memory to wait for another producer");
}

/* One that cannot be watched (no memory, too many, a full link) keeps the stream from ever being called orphaned. */
static void add_producer(struct stream *st, struct dist_link *from, struct slice pid)
{
    struct producer p = {.pid_len = pid.len};
    if (st->producers < STREAM_PRODUCERS_MAX && (p.pid = slice_dup(pid)) != NULL)
        p.monitor = process_monitor(st->sp->processes, st->self, from, pid);
    if (p.monitor == HANDLE_NONE) {
        free(p.pid);
        st->unknown = true;
        return;
    }
    st->producer[st->producers++] = p;
}

static void on_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct stream *st = owner;
    struct slice sender = process_sender(st->sp->processes);
    struct term_reader r = term_reader(sender);
    (void)self;
    timer_disarm(st->sp->timers, &st->grace);
    if (!sender.len || term_peek(&r) != TERM_PID)
        st->unknown = true; /* a port, or a node that names no senders */
    else if (!find_producer(st, sender))
        add_producer(st, from, sender);
    st->sp->sink.message(st->sp->sink.ctx, st->tag, msg);
}

/* Whether a process that ends so has done what it wanted to do, as far as we can know. */
static bool in_good_order(struct slice reason)
{
    return term_is_atom(reason, "normal") || term_is_atom(reason, "noproc");
}

static void on_down(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    struct stream *st = owner;
    struct producer *p = st->producer;
    (void)self;
    while (p < st->producer + st->producers && p->monitor != monitor)
        p++;
    if (p == st->producer + st->producers)
        return;
    p->monitor = HANDLE_NONE;
    p->crashed = !in_good_order(reason);
    if (!st->called)
        return; /* it may be the one that runs the function */
    *(p->crashed ? &st->lost : &st->finished) = true;
    remove_producer(st, p);
    look_for_producers(st);
}

/* exit/2 by somebody, or a link to a producer that broke. A normal end of a linked producer means nothing. */
static void on_exit_signal(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    struct stream *st = owner;
    (void)self;
    (void)from_pid;
    if (kill || !term_is_atom(reason, "normal"))
        tell_orphaned(st, "the stream's process got an exit signal");
}

static void stream_row(void *owner, handle_t self, struct process_row *row)
{
    const struct stream *st = owner;
    (void)self;
    row->bytes = sizeof(*st);
    if (st->sp->sink.row)
        st->sp->sink.row(st->sp->sink.ctx, st->tag, row);
}

static void stream_state(void *owner, handle_t self, struct process_state *state)
{
    const struct stream *st = owner;
    (void)self;
    process_state_uint(state, "producers", st->producers);
    if (st->sp->sink.state)
        st->sp->sink.state(st->sp->sink.ctx, st->tag, state);
}

static const struct process_ops stream_ops = {.kind = "stream",
                                              .message = on_message,
                                              .exit = on_exit_signal,
                                              .down = on_down,
                                              .row = stream_row,
                                              .state = stream_state};

static struct stream *stream_of(const struct stream_processes *sp, handle_t h)
{
    return process_owned(sp->processes, h, &stream_ops);
}

handle_t stream_process_open(struct stream_processes *sp, uint64_t tag)
{
    struct stream *st = calloc(1, sizeof(*st));
    if (!st)
        return HANDLE_NONE;
    st->sp = sp;
    st->tag = tag;
    st->grace.fn = on_grace_over;
    st->self = process_start(sp->processes, &stream_ops, st);
    handle_t self = st->self;
    if (self == HANDLE_NONE)
        free(st);
    return self;
}

void stream_process_calling(struct stream_processes *sp, handle_t stream)
{
    struct stream *st = stream_of(sp, stream);
    if (!st)
        return;
    forget_producers(st);
    st->called = false;
}

/* Terms are compared, not bytes: over SPAWN_REQUEST the pid was written by us. */
void stream_process_called(struct stream_processes *sp, handle_t stream, struct slice ran_by)
{
    struct stream *st = stream_of(sp, stream);
    if (!st)
        return;
    st->called = true;
    for (unsigned i = st->producers; i-- > 0;) {
        struct producer *p = &st->producer[i];
        bool returned = ran_by.len && term_equal(ran_by, pid_of(p));
        if (!returned && p->monitor != HANDLE_NONE)
            continue;
        st->lost |= !returned && p->crashed;
        st->finished |= !returned && !p->crashed;
        remove_producer(st, p);
    }
    look_for_producers(st);
}

void stream_process_close(struct stream_processes *sp, handle_t stream)
{
    struct stream *st = stream_of(sp, stream);
    if (!st)
        return;
    forget_producers(st);
    process_end_atom(sp->processes, stream, "normal");
    free(st);
}
