/*
 * loop_meter.h: how busy the event loop is and how long it keeps what is ready waiting. It knows no clock: the server
 * tells it when a turn's work begins and ends.
 *
 * What is ready while a turn works waits until that turn ends: the longest turn is the loop's lag. Wall time, so a
 * turn in which the system ran somebody else counts in full: whoever waited has waited for that, too.
 */
#ifndef BEAMGATE_LOOP_METER_H
#define BEAMGATE_LOOP_METER_H

#include "base.h"

enum { LOOP_METER_SECONDS = 64 }; /* seconds remembered; a power of two */

/* One second of the loop. */
struct loop_second {
    uint64_t number; /* of the second on the monotonic clock, so that one that is over is not taken for a new one */
    uint32_t busy_us;
    uint32_t longest_turn_us;
    uint32_t latest_timer_us; /* the most that a timer fired after its time */
    uint32_t turns;
};

struct loop_meter {
    uint64_t started_us;
    uint64_t turn_began_us; /* 0: waiting */
    uint64_t busy_us;
    uint64_t turns;
    uint64_t longest_turn_us;
    struct loop_second second[LOOP_METER_SECONDS];
};

void loop_meter_init(struct loop_meter *m, uint64_t now_us);
/* Events are there, or a timer is due: work begins. timer_due_us: the earliest timer's deadline, UINT64_MAX for none.
 */
void loop_meter_begin(struct loop_meter *m, uint64_t now_us, uint64_t timer_due_us);
/* The turn's work is done. A turn that goes over a second's end belongs to the second in which it ends; its time to
 * those in which it was spent. */
void loop_meter_end(struct loop_meter *m, uint64_t now_us);

/* What the last seconds were like. */
struct loop_load {
    uint64_t elapsed_us; /* that the numbers are of: less than asked for, when it has not run so long */
    uint64_t busy_us;    /* never more than elapsed_us */
    uint64_t turns;
    uint32_t longest_turn_us;
    uint32_t latest_timer_us;
};
/* Of the last so many whole seconds and the present one; seconds: 1..LOOP_METER_SECONDS - 2. */
struct loop_load loop_meter_load(const struct loop_meter *m, uint64_t now_us, unsigned seconds);

#endif
