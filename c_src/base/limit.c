/*
 * limit.c: see limit.h. It guards that no limit acts without being counted, and that a dry run counts and acts not.
 *
 * It does not know what a connection is, and measures nothing: who enforces a limit compares, and asks here only once
 * it is reached, so that the way of what is allowed does not lead through this file.
 */
#include "limit.h"

const struct limit_row limit_rows[LIMIT_COUNT] = {
#define X(id, option, value, answer) {option, value, METRIC_LIMIT_##id, answer},
    LIMIT_ROWS(X)
#undef X
};

void limit_init(struct client_limits *l, struct metrics *m)
{
    *l = (struct client_limits){.metrics = m};
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        l->value[i] = limit_rows[i].fallback;
    limit_ready(l);
}

void limit_ready(struct client_limits *l)
{
    static const struct {
        enum limit limit;
        uint32_t burst_s;
    } rates[] = {
        {LIMIT_ADDRESS_CONNECTS, LIMIT_ADDRESS_BURST_S},
        {LIMIT_CONNECTS, LIMIT_BURST_S},
        {LIMIT_MESSAGES, LIMIT_BURST_S},
        {LIMIT_BYTES, LIMIT_BURST_S},
        {LIMIT_JOINS, LIMIT_BURST_S},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
        uint32_t per_s = l->value[rates[i].limit];
        l->rate[rates[i].limit] = token_rate_make(per_s, (uint64_t)per_s * rates[i].burst_s);
    }
}

enum limit limit_by_option(struct slice option)
{
    unsigned i = 0;
    for (; i < LIMIT_COUNT; i++) {
        const char *name = limit_rows[i].option, *dot = strrchr(name, '.');
        if (slice_is(option, name) || slice_is(option, dot + 1))
            break;
    }
    return (enum limit)i;
}

bool limit_refuse(struct client_limits *l, enum limit which, uint32_t conn, struct slice peer)
{
    const struct limit_row *row = &limit_rows[which];
    uint64_t suppressed;
    metric_inc(l->metrics, row->counter);
    if (log_enabled(LOG_INFO) && log_limit_pass(&l->log[which], &suppressed))
        log_write(LOG_INFO, "limits", "limit reached", "limit=\"%s\" dry_run=%s answer=\"%s\" conn=%u peer=%s suppressed=%llu",
                  row->option, l->dry_run[which] ? "true" : "false", row->answer, conn, log_text(peer),
                  (unsigned long long)suppressed);
    return !l->dry_run[which];
}
