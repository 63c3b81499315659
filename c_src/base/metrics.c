/*
 * metrics.c: the names of metrics.h's table.
 */
#include "metrics.h"

const char *const metric_name[METRIC_COUNT] = {
#define X(id, name, help) name,
    METRICS(X)
#undef X
};

const char *const metric_help[METRIC_COUNT] = {
#define X(id, name, help) help,
    METRICS(X)
#undef X
};
