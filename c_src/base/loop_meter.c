/*
 * loop_meter.c: see loop_meter.h. A ring of seconds, each known by its number, so that nothing needs a timer of its
 * own and an idle loop costs nothing; a slot whose number is another's counts as empty.
 *
 * Invariant: the busy time of a second is at most a second, whatever the clock does.
 */
#include "loop_meter.h"

enum { SECOND_US = 1000000 };

void loop_meter_init(struct loop_meter *m, uint64_t now_us)
{
    memset(m, 0, sizeof(*m));
    m->started_us = now_us;
}

static struct loop_second *second_at(struct loop_meter *m, uint64_t us)
{
    uint64_t number = us / SECOND_US;
    struct loop_second *s = &m->second[number % LOOP_METER_SECONDS];
    if (s->number != number)
        *s = (struct loop_second){.number = number};
    return s;
}

static void raise_to(uint32_t *most, uint64_t us)
{
    uint32_t v = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    if (v > *most)
        *most = v;
}

void loop_meter_begin(struct loop_meter *m, uint64_t now_us, uint64_t timer_due_us)
{
    m->turn_began_us = now_us;
    if (timer_due_us < now_us)
        raise_to(&second_at(m, now_us)->latest_timer_us, now_us - timer_due_us);
}

/* A turn of many seconds fills each; no more of them than the ring remembers. */
static void add_busy(struct loop_meter *m, uint64_t from, uint64_t to)
{
    const uint64_t ring_us = (uint64_t)LOOP_METER_SECONDS * SECOND_US;
    if (to - from > ring_us)
        from = to - ring_us;
    while (from < to) {
        uint64_t second_ends = (from / SECOND_US + 1) * SECOND_US, until = second_ends < to ? second_ends : to;
        second_at(m, from)->busy_us += (uint32_t)(until - from);
        from = until;
    }
}

void loop_meter_end(struct loop_meter *m, uint64_t now_us)
{
    uint64_t began = m->turn_began_us;
    m->turn_began_us = 0;
    if (began == 0 || now_us < began)
        return;
    uint64_t took = now_us - began;
    add_busy(m, began, now_us);
    m->busy_us += took;
    m->turns++;
    if (took > m->longest_turn_us)
        m->longest_turn_us = took;
    struct loop_second *s = second_at(m, now_us);
    s->turns++;
    raise_to(&s->longest_turn_us, took);
}

struct loop_load loop_meter_load(const struct loop_meter *m, uint64_t now_us, unsigned seconds)
{
    struct loop_load load = {0};
    uint64_t last = now_us / SECOND_US, first = last > seconds ? last - seconds : 0;
    uint64_t from = first * SECOND_US > m->started_us ? first * SECOND_US : m->started_us;
    load.elapsed_us = now_us > from ? now_us - from : 0;
    for (uint64_t n = first; n <= last; n++) {
        const struct loop_second *s = &m->second[n % LOOP_METER_SECONDS];
        if (s->number != n)
            continue;
        load.busy_us += s->busy_us;
        load.turns += s->turns;
        raise_to(&load.longest_turn_us, s->longest_turn_us);
        raise_to(&load.latest_timer_us, s->latest_timer_us);
    }
    if (m->turn_began_us && m->turn_began_us < now_us) /* whoever asks does so in a turn that has not ended */
        load.busy_us += now_us - (m->turn_began_us > from ? m->turn_began_us : from);
    if (load.busy_us > load.elapsed_us)
        load.busy_us = load.elapsed_us;
    return load;
}
