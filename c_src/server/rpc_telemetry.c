/*
 * rpc_telemetry.c: Telemetry, and attach_telemetry and detach_telemetry of PhoenixGenApi, Executor and RateLimiter, by
 * rpc (O-033). What is attached are functions of the caller's node, and they run there: see telemetry_handlers.h.
 *
 * As in the library these answer ok also where there was nothing to attach or to detach.
 */
#include "rpc_request.h"

#include "telemetry_handlers.h"

#define LIBRARY "Elixir.PhoenixGenApi"
#define TELEMETRY LIBRARY ".Telemetry"
#define EXECUTOR LIBRARY ".Executor"
#define LIMITER LIBRARY ".RateLimiter"

#define EVENTS(first, last) ((UINT32_C(2) << (last)) - (UINT32_C(1) << (first)))
#define OF_EXECUTOR EVENTS(TELEMETRY_REQUEST_START, TELEMETRY_REQUEST_EXCEPTION)
#define OF_LIMITER EVENTS(TELEMETRY_RATE_CHECK, TELEMETRY_RATE_CLEANUP)
#define ALL_EVENTS EVENTS(TELEMETRY_REQUEST_START, TELEMETRY_CONFIG_ENABLE)

/* The events that each function is about. attach_many's are its second argument. */
static const struct {
    const char *module, *function;
    bool full_names;
    uint32_t events;
} functions[] = {
    {LIBRARY, "attach_telemetry", false, OF_EXECUTOR | OF_LIMITER},
    {LIBRARY, "detach_telemetry", false, OF_EXECUTOR | OF_LIMITER},
    {EXECUTOR, "attach_telemetry", false, OF_EXECUTOR},
    {EXECUTOR, "detach_telemetry", false, OF_EXECUTOR},
    {LIMITER, "attach_telemetry", false, OF_LIMITER},
    {LIMITER, "detach_telemetry", false, OF_LIMITER},
    {TELEMETRY, "attach_all", true, ALL_EVENTS},
    {TELEMETRY, "detach_all", true, ALL_EVENTS},
    {TELEMETRY, "attach_executor", true, EVENTS(TELEMETRY_REQUEST_START, TELEMETRY_RETRY_EXHAUSTED)},
    {TELEMETRY, "attach_rate_limiter", true, OF_LIMITER},
    {TELEMETRY, "attach_hooks", true, EVENTS(TELEMETRY_HOOK_BEFORE_START, TELEMETRY_HOOK_AFTER_EXCEPTION)},
    {TELEMETRY, "attach_worker_pool", true, EVENTS(TELEMETRY_TASK_START, TELEMETRY_BREAKER_CLOSE)},
    {TELEMETRY, "attach_config", true, EVENTS(TELEMETRY_PULL_START, TELEMETRY_CONFIG_ENABLE)},
    {TELEMETRY, "attach_many", true, 0},
    {TELEMETRY, "attach_default_logger", true, ALL_EVENTS},
    {TELEMETRY, "detach_default_logger", true, ALL_EVENTS},
};

/* The row of the function that is called: every row of telemetry_entries has one. */
static struct handler_wanted wanted_by(const struct rpc_call *call)
{
    size_t i = 0;
    while (!slice_is(call->module, functions[i].module) || !slice_is(call->function, functions[i].function))
        assert_always(++i < ARRAY_SIZE(functions));
    return (struct handler_wanted){.full_names = functions[i].full_names, .events = functions[i].events};
}

static bool read_id(struct slice term, struct slice *id)
{
    struct term_reader r = term_reader(term);
    return term_read_binary(&r, id) == BG_OK;
}

/* What handlers print goes to the caller's screen, as long as it is there; a process of a third node can be nobody's
 * group leader. */
static struct slice leader_of(const struct rpc_call *call)
{
    struct term_reader r = term_reader(call->group_leader);
    struct term_pid pid;
    bool is_there = term_read_pid(&r, &pid) == BG_OK && slice_eq(pid.node, dist_link_node(call->link));
    return is_there ? call->group_leader : SLICE_NONE;
}

static enum rpc_outcome attach(struct server *s, const struct handler_wanted *w, struct buf *out)
{
    if (telemetry_attach(s->telemetry_handlers, w) == BG_OK)
        return rpc_put_atom(out, "ok");
    term_put_atom(out, "system_limit");
    return RPC_ERROR;
}

/* fun: where the function stands among the arguments; a config may follow it. */
static enum rpc_outcome attach_function(struct server *s, const struct rpc_call *call, unsigned fun,
                                        struct handler_wanted *w, struct buf *out)
{
    static const char empty[] = "t\0\0\0\0"; /* MAP_EXT */
    if (!read_id(call->argv[0], &w->id) || term_fun_arity(call->argv[fun]) != 4)
        return RPC_ERROR;
    if (!call->link)
        return rpc_badarg(out);
    w->fun = call->argv[fun];
    w->config = call->argc > fun + 1 ? call->argv[fun + 1] : slice_make(empty, sizeof(empty) - 1);
    w->leader = leader_of(call);
    w->link = call->link;
    return attach(s, w, out);
}

static enum rpc_outcome rpc_attach(void *server, const struct rpc_call *call, struct buf *out)
{
    struct handler_wanted w = wanted_by(call);
    return attach_function(server, call, 1, &w, out);
}

/* A list of names, of which those that name no event of ours never happen. False for anything else. */
static bool read_events(struct slice term, uint32_t *events)
{
    struct term_reader r = term_reader(term), words;
    struct slice name, word;
    uint32_t n, count;
    if (term_read_list(&r, &n) != BG_OK || n > TELEMETRY_EVENTS)
        return false;
    bool proper = n == 0;
    for (; n > 0; n--) {
        if (term_skip(&r, &name) != BG_OK)
            return false;
        words = term_reader(name);
        if (term_read_list(&words, &count) != BG_OK || count == 0)
            return false;
        for (; count > 0; count--)
            if (term_read_atom(&words, &word) != BG_OK)
                return false;
        enum telemetry_event event = telemetry_event_of(name);
        if (event < TELEMETRY_EVENTS)
            *events |= TELEMETRY_BIT(event);
    }
    return proper || term_read_tail(&r) == BG_OK;
}

static enum rpc_outcome rpc_attach_many(void *server, const struct rpc_call *call, struct buf *out)
{
    struct handler_wanted w = wanted_by(call);
    struct term_reader r = term_reader(call->argv[1]);
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK)
        return RPC_ERROR;
    if (!read_events(call->argv[1], &w.events))
        return rpc_badarg(out);
    return attach_function(server, call, 2, &w, out);
}

static bool read_logger_id(const struct rpc_call *call, struct slice *id)
{
    *id = SLICE_LIT("phoenix-gen-api-default-logger");
    return call->argc == 0 || read_id(call->argv[0], id);
}

/* Logs the events at debug level, here. */
static enum rpc_outcome rpc_attach_logger(void *server, const struct rpc_call *call, struct buf *out)
{
    struct handler_wanted w = wanted_by(call);
    return read_logger_id(call, &w.id) ? attach(server, &w, out) : RPC_ERROR;
}

static enum rpc_outcome rpc_detach(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct handler_wanted w = wanted_by(call);
    if (!read_logger_id(call, &w.id))
        return RPC_ERROR;
    telemetry_detach(s->telemetry_handlers, w.id, w.full_names, w.events);
    return rpc_put_atom(out, "ok");
}

/* O-033: the library's 30, in its order. */
static enum rpc_outcome rpc_list_events(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    term_put_list(out, TELEMETRY_EVENTS);
    for (unsigned e = 0; e < TELEMETRY_EVENTS; e++)
        telemetry_put_name(out, e);
    term_put_nil(out);
    return RPC_RETURN;
}

const struct rpc_entry telemetry_entries[] = {
    {LIBRARY, "attach_telemetry", 2, rpc_attach},
    {LIBRARY, "attach_telemetry", 3, rpc_attach},
    {LIBRARY, "detach_telemetry", 1, rpc_detach},
    {EXECUTOR, "attach_telemetry", 2, rpc_attach},
    {EXECUTOR, "attach_telemetry", 3, rpc_attach},
    {EXECUTOR, "detach_telemetry", 1, rpc_detach},
    {LIMITER, "attach_telemetry", 2, rpc_attach},
    {LIMITER, "attach_telemetry", 3, rpc_attach},
    {LIMITER, "detach_telemetry", 1, rpc_detach},
    {TELEMETRY, "attach_all", 2, rpc_attach},
    {TELEMETRY, "attach_all", 3, rpc_attach},
    {TELEMETRY, "detach_all", 1, rpc_detach},
    {TELEMETRY, "attach_executor", 2, rpc_attach},
    {TELEMETRY, "attach_executor", 3, rpc_attach},
    {TELEMETRY, "attach_rate_limiter", 2, rpc_attach},
    {TELEMETRY, "attach_rate_limiter", 3, rpc_attach},
    {TELEMETRY, "attach_hooks", 2, rpc_attach},
    {TELEMETRY, "attach_hooks", 3, rpc_attach},
    {TELEMETRY, "attach_worker_pool", 2, rpc_attach},
    {TELEMETRY, "attach_worker_pool", 3, rpc_attach},
    {TELEMETRY, "attach_config", 2, rpc_attach},
    {TELEMETRY, "attach_config", 3, rpc_attach},
    {TELEMETRY, "attach_many", 3, rpc_attach_many},
    {TELEMETRY, "attach_many", 4, rpc_attach_many},
    {TELEMETRY, "attach_default_logger", 0, rpc_attach_logger},
    {TELEMETRY, "attach_default_logger", 1, rpc_attach_logger},
    {TELEMETRY, "detach_default_logger", 0, rpc_detach},
    {TELEMETRY, "detach_default_logger", 1, rpc_detach},
    {TELEMETRY, "list_events", 0, rpc_list_events},
};
const size_t telemetry_entries_count = ARRAY_SIZE(telemetry_entries);
