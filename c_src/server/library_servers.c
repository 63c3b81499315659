/*
 * library_servers.c: the processes that an Elixir gateway registers (S-101), for those who speak to them as to a
 * GenServer: each request is a function of the rpc table under another name, and is answered with its value.
 *
 * Where a request makes the function raise, the library's process would die and its caller exit; here the caller gets
 * {error, Reason} and the process stays. What no row knows is {error, notsup}, so that no caller hangs (D-13). They
 * cannot be killed from outside.
 */
#include "server_state.h"

#include "gen_call.h"

#define LIBRARY "Elixir.PhoenixGenApi"
#define CONFIG_DB LIBRARY ".ConfigDb"
#define CONFIG_PULLER LIBRARY ".ConfigPuller"
#define CONFIG_RECEIVER LIBRARY ".ConfigReceiver"
#define RATE_LIMITER LIBRARY ".RateLimiter"
#define WORKER_POOL LIBRARY ".WorkerPool"

/* How the elements of a request become arguments. */
enum request_args {
    ARGS_ELEMENTS, /* {tag, A, B}: f(A, B) */
    ARGS_TUPLE,    /* {tag, {A, B, C}}: f(A, B, C) */
    ARGS_FORCE,    /* {push, Config, Force}: push(Config, [{force, Force}]) */
    ARGS_NAME      /* tag: f(name of the process) */
};

enum { REQUEST_ARGS_MAX = 4 };

static const struct request_row {
    const char *process;
    const char *tag;
    uint32_t elements; /* beside the tag; 0: the bare atom */
    bool cast;
    enum request_args args;
    const char *module;
    const char *function;
} rows[] = {
    {CONFIG_DB, "delete", 1, false, ARGS_TUPLE, CONFIG_DB, "delete"},
    {CONFIG_DB, "disable", 1, false, ARGS_TUPLE, CONFIG_DB, "disable"},
    {CONFIG_DB, "enable", 1, false, ARGS_TUPLE, CONFIG_DB, "enable"},
    {CONFIG_DB, "clear", 0, false, ARGS_ELEMENTS, CONFIG_DB, "clear"},
    {CONFIG_PULLER, "get_services", 0, false, ARGS_ELEMENTS, CONFIG_PULLER, "get_services"},
    {CONFIG_PULLER, "get_api_list", 1, false, ARGS_ELEMENTS, CONFIG_PULLER, "get_api_list"},
    {CONFIG_PULLER, "get_service_version", 1, false, ARGS_ELEMENTS, CONFIG_PULLER, "get_service_version"},
    {CONFIG_PULLER, "get_all_versions", 0, false, ARGS_ELEMENTS, CONFIG_PULLER, "get_all_versions"},
    {CONFIG_PULLER, "status", 0, false, ARGS_ELEMENTS, CONFIG_PULLER, "status"},
    {CONFIG_PULLER, "add", 1, true, ARGS_ELEMENTS, CONFIG_PULLER, "add"},
    {CONFIG_PULLER, "delete", 1, true, ARGS_ELEMENTS, CONFIG_PULLER, "delete"},
    {CONFIG_PULLER, "pull", 0, true, ARGS_ELEMENTS, CONFIG_PULLER, "pull"},
    {CONFIG_PULLER, "force_pull", 0, true, ARGS_ELEMENTS, CONFIG_PULLER, "force_pull"},
    {CONFIG_RECEIVER, "push", 2, false, ARGS_FORCE, CONFIG_RECEIVER, "push"},
    {CONFIG_RECEIVER, "verify", 2, false, ARGS_ELEMENTS, CONFIG_RECEIVER, "verify"},
    {CONFIG_RECEIVER, "get_pushed_config", 1, false, ARGS_ELEMENTS, CONFIG_RECEIVER, "get_pushed_config"},
    {CONFIG_RECEIVER, "get_all_pushed_services", 0, false, ARGS_ELEMENTS, CONFIG_RECEIVER, "get_all_pushed_services"},
    {CONFIG_RECEIVER, "delete_pushed_service", 1, false, ARGS_ELEMENTS, CONFIG_RECEIVER, "delete_pushed_service"},
    {CONFIG_RECEIVER, "status", 0, false, ARGS_ELEMENTS, CONFIG_RECEIVER, "status"},
    {"rate_limiter_instance_0", "check_rate_limit", 1, false, ARGS_ELEMENTS, RATE_LIMITER, "check_rate_limit"},
    {"rate_limiter_instance_0", "check_rate_limit_direct", 3, false, ARGS_ELEMENTS, RATE_LIMITER, "check_rate_limit"},
    {"rate_limiter_instance_0", "reset_rate_limit", 3, false, ARGS_ELEMENTS, RATE_LIMITER, "reset_rate_limit"},
    {"rate_limiter_instance_0", "get_rate_limit_status", 3, false, ARGS_ELEMENTS, RATE_LIMITER, "get_rate_limit_status"},
    {"rate_limiter_instance_0", "get_configured_limits", 0, false, ARGS_ELEMENTS, RATE_LIMITER, "get_configured_limits"},
    {"rate_limiter_instance_0", "get_global_limits", 0, false, ARGS_ELEMENTS, RATE_LIMITER, "get_global_limits"},
    {"rate_limiter_instance_0", "set_global_limits", 1, false, ARGS_ELEMENTS, RATE_LIMITER, "set_global_limits"},
    {"rate_limiter_instance_0", "add_global_limit", 1, false, ARGS_ELEMENTS, RATE_LIMITER, "add_global_limit"},
    {"rate_limiter_instance_0", "remove_global_limit", 1, false, ARGS_ELEMENTS, RATE_LIMITER, "remove_global_limit"},
    {"rate_limiter_instance_0", "update_config", 1, false, ARGS_ELEMENTS, RATE_LIMITER, "update_config"},
    {"rate_limiter_instance_0", "clear", 0, false, ARGS_ELEMENTS, RATE_LIMITER, "clear"},
    {"rate_limiter_instance_0", "status", 0, false, ARGS_ELEMENTS, RATE_LIMITER, "status"},
    {"async_pool", "status", 0, false, ARGS_NAME, WORKER_POOL, "status"},
    {"stream_pool", "status", 0, false, ARGS_NAME, WORKER_POOL, "status"},
};

static const char *const names[LIBRARY_SERVERS] = {CONFIG_DB,                 CONFIG_PULLER, CONFIG_RECEIVER,
                                                   "rate_limiter_instance_0", "async_pool",  "stream_pool"};

/* ---- a request ---- */

/* A request taken apart: the elements behind the tag, and what had to be made of them. */
struct request_parts {
    struct slice tag;
    struct slice argv[REQUEST_ARGS_MAX];
    uint32_t argc;
    struct buf made;
};

static bool read_request(struct request_parts *p, struct slice request)
{
    struct term_reader r = term_reader(request);
    uint32_t arity;
    if (term_read_atom(&r, &p->tag) == BG_OK)
        return true;
    if (term_read_tuple(&r, &arity) != BG_OK || arity == 0 || arity > REQUEST_ARGS_MAX ||
        term_read_atom(&r, &p->tag) != BG_OK)
        return false;
    for (; p->argc < arity - 1; p->argc++)
        if (term_skip(&r, &p->argv[p->argc]) != BG_OK)
            return false;
    return true;
}

static const struct request_row *find_row(const char *process, const struct request_parts *p, bool cast)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(rows[i].process, process) == 0 && slice_is(p->tag, rows[i].tag) && rows[i].elements == p->argc &&
            rows[i].cast == cast)
            return &rows[i];
    return NULL;
}

/* {A, B, C} as the arguments. */
static bool spread_tuple(struct request_parts *p)
{
    struct term_reader r = term_reader(p->argv[0]);
    uint32_t arity;
    if (term_read_tuple(&r, &arity) != BG_OK || arity > REQUEST_ARGS_MAX)
        return false;
    for (p->argc = 0; p->argc < arity; p->argc++)
        if (term_skip(&r, &p->argv[p->argc]) != BG_OK)
            return false;
    return true;
}

static bool make_args(const struct request_row *row, struct request_parts *p)
{
    if (row->args == ARGS_TUPLE)
        return spread_tuple(p);
    if (row->args == ARGS_FORCE) {
        term_put_list(&p->made, 1);
        term_put_tuple(&p->made, 2);
        term_put_atom(&p->made, "force");
        term_put_raw(&p->made, p->argv[1]);
        term_put_nil(&p->made);
        p->argv[1] = buf_slice(&p->made);
    } else if (row->args == ARGS_NAME) {
        term_put_atom(&p->made, row->process);
        p->argv[p->argc++] = buf_slice(&p->made);
    }
    return buf_ok(&p->made);
}

/* Runs it; false when no row knows it. What it is answered with goes to out. */
static bool run(struct server *s, const char *process, struct dist_link *from, struct slice caller,
                struct slice request, bool cast, struct buf *out)
{
    struct request_parts p = {.argc = 0};
    struct buf value;
    buf_init(&p.made, 0);
    buf_init(&value, 0);
    const struct request_row *row = read_request(&p, request) ? find_row(process, &p, cast) : NULL;
    bool known = row && make_args(row, &p);
    const struct rpc_entry *e =
        known ? rpc_find(&s->rpc, slice_str(row->module), slice_str(row->function), p.argc) : NULL;
    if (e) {
        struct rpc_call call = {.module = slice_str(row->module),
                                .function = slice_str(row->function),
                                .argv = p.argv,
                                .argc = p.argc,
                                .caller_node = dist_link_node(from),
                                .caller = caller,
                                .link = from};
        enum rpc_outcome outcome = e->fn(s->rpc.server, &call, &value);
        if (value.len == 0)
            term_put_atom(&value, outcome == RPC_RETURN ? "ok" : "function_clause");
        if (outcome != RPC_RETURN) {
            term_put_tuple(out, 2);
            term_put_atom(out, "error");
        }
        term_put_raw(out, buf_slice(&value));
    }
    bool done = e && buf_ok(&value) && buf_ok(out);
    buf_fini(&value);
    buf_fini(&p.made);
    return done;
}

/* ---- the processes ---- */

static void on_call(void *owner, handle_t self, struct dist_link *from, const struct gen_call *call)
{
    const struct library_server *ls = owner;
    uint8_t pid[PROCESS_PID_MAX];
    struct slice me = process_pid(ls->server->processes, self, pid);
    struct buf out;
    buf_init(&out, 0);
    metric_inc(&ls->server->metrics, METRIC_RPC_IN);
    if (run(ls->server, ls->name, from, call->pid, call->request, false, &out))
        gen_reply(from, me, call, buf_slice(&out));
    else
        gen_reply_notsup(from, me, call);
    buf_fini(&out);
}

static void on_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    const struct library_server *ls = owner;
    struct slice request;
    struct buf out;
    (void)self;
    if (!gen_cast_read(msg, &request))
        return;
    buf_init(&out, 0);
    metric_inc(&ls->server->metrics, METRIC_RPC_IN);
    (void)run(ls->server, ls->name, from, SLICE_NONE, request, true, &out);
    buf_fini(&out);
}

int library_servers_start(struct server *s)
{
    static const struct process_ops ops = {.kind = "server", .message = on_message, .exit = process_stay, .call = on_call};
    for (unsigned i = 0; i < LIBRARY_SERVERS; i++) {
        struct library_server *ls = &s->library[i];
        *ls = (struct library_server){s, names[i]};
        handle_t p = process_start(s->processes, &ops, ls);
        int rc = p == HANDLE_NONE ? BG_ELIMIT : process_register(s->processes, p, slice_str(names[i]));
        if (rc != BG_OK)
            return rc;
    }
    return BG_OK;
}
