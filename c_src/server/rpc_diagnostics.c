/*
 * rpc_diagnostics.c: PhoenixGenApi.Diagnostics over rpc (O-040..O-098), and PhoenixGenApi's functions that only pass on
 * to it: options and arguments are read here, what is answered is made by the diag_*.c files.
 *
 * Options that are not known are passed over, as in the library; a list of options that is none is function_clause.
 */
#include "diag.h"

#define DIAG_FN(name) static enum rpc_outcome name(void *server, const struct rpc_call *call, struct buf *out)

/* ---- options ------------------------------------------------------------------------------------------- */

bool diag_option(struct slice options, const char *key, struct slice *value)
{
    struct term_reader r = term_reader(options);
    struct slice name, v;
    uint32_t n, arity;
    *value = SLICE_NONE;
    if (options.len == 0)
        return true;
    if (term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t left = n; left > 0; left--) {
        if (term_read_tuple(&r, &arity) != BG_OK || arity != 2 || term_read_atom(&r, &name) != BG_OK ||
            term_skip(&r, &v) != BG_OK)
            return false;
        if (!value->ptr && slice_is(name, key))
            *value = v;
    }
    return n == 0 || term_read_tail(&r) == BG_OK;
}

/* The options of a call that may come without them. */
static bool option(const struct rpc_call *call, unsigned at, const char *key, struct slice *value)
{
    *value = SLICE_NONE;
    return call->argc <= at || diag_option(call->argv[at], key, value);
}

static bool read_count(struct slice value, int64_t *n)
{
    struct term_reader r = term_reader(value);
    return value.ptr && term_read_int(&r, n) == BG_OK && *n >= 0;
}

/* Whatever is neither false nor nil. */
static bool is_truthy(struct slice value)
{
    return value.ptr && !term_is_nil(value) && !term_is_atom(value, "false");
}

/* ---- reports ------------------------------------------------------------------------------------------- */

/* max_memory_bytes: what is no integer is no bound (O-040). */
DIAG_FN(health_check)
{
    struct slice value;
    int64_t bytes = 0;
    if (!option(call, 0, "max_memory_bytes", &value))
        return RPC_ERROR;
    if (!read_count(value, &bytes))
        bytes = 0;
    diag_put_health(server, (uint64_t)bytes, out);
    return RPC_RETURN;
}

DIAG_FN(statistics)
{
    (void)call;
    diag_put_statistics(server, out);
    return RPC_RETURN;
}

DIAG_FN(debug_report)
{
    struct slice limit, stacktrace;
    int64_t n = DIAG_PROCESSES_DEFAULT;
    if (!option(call, 0, "process_limit", &limit) || !option(call, 0, "include_current_stacktrace", &stacktrace) ||
        (limit.ptr && !read_count(limit, &n)))
        return RPC_ERROR;
    diag_put_debug_report(server, n < DIAG_PROCESSES_MAX ? (uint32_t)n : DIAG_PROCESSES_MAX, is_truthy(stacktrace),
                          out);
    return RPC_RETURN;
}

DIAG_FN(call_flow)
{
    struct diag_function f;
    diag_function_read(&f, call->argv[0], call->argv[1], call->argc > 2 ? call->argv[2] : SLICE_NONE);
    diag_put_call_flow(server, &f, out);
    return RPC_RETURN;
}

/* {badmap, Request} for what is no map, as Map.get raises. */
DIAG_FN(inspect_request)
{
    struct term_reader r = term_reader(call->argv[0]);
    if (term_peek(&r) != TERM_MAP) {
        term_put_tuple(out, 2);
        term_put_atom(out, "badmap");
        term_put_raw(out, call->argv[0]);
        return RPC_ERROR;
    }
    diag_put_request(server, call->argv[0], out);
    return RPC_RETURN;
}

/* offset is ours: the list is bounded, and this is how to get the rest. */
DIAG_FN(list_call_flows)
{
    struct slice disabled, offset;
    int64_t from = 0;
    if (!option(call, 0, "include_disabled", &disabled) || !option(call, 0, "offset", &offset) ||
        (offset.ptr && (!read_count(offset, &from) || from > UINT32_MAX)))
        return RPC_ERROR;
    diag_put_call_flows(server, is_truthy(disabled), (uint32_t)from, out);
    return RPC_RETURN;
}

DIAG_FN(trace_status)
{
    (void)call;
    diag_put_trace_status(server, out);
    return RPC_RETURN;
}

DIAG_FN(traces)
{
    (void)call;
    diag_put_traces(server, out);
    return RPC_RETURN;
}

/* WorkerPool.status(Name), which is what its callers print. */
DIAG_FN(pool_status)
{
    bool stream = term_is_atom(call->argv[0], "stream_pool");
    if (!stream && !term_is_atom(call->argv[0], "async_pool"))
        return RPC_ERROR;
    diag_put_pool(server, stream, out);
    return RPC_RETURN;
}

#define LIBRARY "Elixir.PhoenixGenApi"
#define BOTH(function, arity, fn)                                                                                      \
    {LIBRARY ".Diagnostics", function, arity, fn},                                                                     \
    {                                                                                                                  \
        LIBRARY, function, arity, fn                                                                                   \
    }

const struct rpc_entry diagnostics_entries[] = {
    BOTH("health_check", 0, health_check),
    BOTH("health_check", 1, health_check),
    BOTH("statistics", 0, statistics),
    BOTH("statistics", 1, statistics),
    BOTH("debug_report", 0, debug_report),
    BOTH("debug_report", 1, debug_report),
    BOTH("call_flow", 2, call_flow),
    BOTH("call_flow", 3, call_flow),
    BOTH("inspect_request", 1, inspect_request),
    BOTH("list_call_flows", 0, list_call_flows),
    BOTH("list_call_flows", 1, list_call_flows),
    BOTH("cluster_view", 0, rpc_cluster_view),
    BOTH("trace_status", 0, trace_status),
    BOTH("trace_processes", 1, rpc_trace_processes),
    BOTH("trace_processes", 2, rpc_trace_processes),
    BOTH("trace_functions", 1, rpc_trace_functions),
    BOTH("trace_functions", 2, rpc_trace_functions),
    BOTH("stop_trace", 0, rpc_stop_trace),
    BOTH("stop_trace", 1, rpc_stop_trace),
    BOTH("stop_trace", 2, rpc_stop_trace),
    BOTH("stop_trace_functions", 0, rpc_stop_trace_functions),
    BOTH("stop_trace_functions", 1, rpc_stop_trace_functions),
    {LIBRARY ".Diagnostics", "traces", 0, traces}, /* ours */
    {LIBRARY ".WorkerPool", "status", 1, pool_status},
};
const size_t diagnostics_entries_count = ARRAY_SIZE(diagnostics_entries);
