/*
 * rpc_print.c: PhoenixGenApi's functions for the shell (O-110..O-118): what Diagnostics and the other modules answer,
 * as text. Each page asks the same functions of the rpc table that anybody may call, so that a page cannot say
 * anything else than the data.
 *
 * The lines are the library's. Where the library's text comes from a mistake, the page has what was meant: amounts of
 * bytes have units (O-118), inspect_print works.
 */
#include "diag.h"
#include "print_page.h"

#define LIBRARY "Elixir.PhoenixGenApi"
#define DIAGNOSTICS LIBRARY ".Diagnostics"
#define RATE_LIMITER LIBRARY ".RateLimiter"
#define CONFIG_DB LIBRARY ".ConfigDb"
#define CONFIG_FAILED LIBRARY ".ConfigFailed"
#define CONFIG_RECEIVER LIBRARY ".ConfigReceiver"
#define WORKER_POOL LIBRARY ".WorkerPool"

static const char *icon(struct slice status)
{
    return status.len && term_is_atom(status, "ok")         ? "✅"
           : status.len && term_is_atom(status, "degraded") ? "⚠️ "
                                                            : "❌";
}

/* "NAME" and the value at path, on one line. */
static void field(struct page *p, const char *name, struct slice map, const char *path)
{
    buf_puts(&p->text, name);
    page_value(p, page_get(map, path));
    buf_putc(&p->text, '\n');
}

static void inspected(struct page *p, const char *name, struct slice map, const char *path)
{
    buf_puts(&p->text, name);
    page_inspect(p, page_get(map, path));
    buf_putc(&p->text, '\n');
}

static void bytes(struct page *p, const char *name, struct slice map, const char *path, const char *after)
{
    buf_puts(&p->text, name);
    page_bytes(p, page_get(map, path));
    page_line(p, "%s", after);
}

/* "NAME a / b" */
static void pair(struct page *p, const char *name, struct slice map, const char *a, const char *b)
{
    buf_puts(&p->text, name);
    page_value(p, page_get(map, a));
    buf_puts(&p->text, " / ");
    page_value(p, page_get(map, b));
    buf_putc(&p->text, '\n');
}

static void status(struct page *p, const char *name, struct slice map, const char *path)
{
    struct slice s = page_get(map, path);
    page_add(p, "%s%s ", name, icon(s));
    page_value(p, s);
    buf_putc(&p->text, '\n');
}

static void moment(struct page *p, const char *name, struct slice map, const char *path)
{
    buf_puts(&p->text, name);
    page_time(p, page_get(map, path));
    buf_putc(&p->text, '\n');
}

static void rule(struct page *p, unsigned n)
{
    while (n-- > 0)
        buf_putc(&p->text, '-');
    buf_putc(&p->text, '\n');
}

/* ---- health_print (O-116) ------------------------------------------------------------------------------ */

static void health_process(struct page *p, struct slice name, struct slice check)
{
    struct slice pid = page_get(check, "pid");
    page_add(p, "    %s ", icon(page_get(check, "status")));
    page_value(p, name);
    buf_puts(&p->text, "  pid=");
    if (pid.len)
        page_inspect(p, pid);
    else
        buf_puts(&p->text, "N/A");
    if (page_get(check, "alive_instances").len) {
        buf_puts(&p->text, "  alive=");
        page_value(p, page_get(check, "alive_instances"));
        buf_putc(&p->text, '/');
        page_value(p, page_get(check, "instance_count"));
    } else if (page_get(check, "reason").len) {
        buf_puts(&p->text, "  reason=");
        page_value(p, page_get(check, "reason"));
    }
    buf_putc(&p->text, '\n');
}

static void print_health(struct page *p, const struct rpc_call *call, struct slice d)
{
    struct slice name, check;
    (void)call;
    page_line(p, "\n=== PhoenixGenApi Health Check ===");
    field(p, "Node: ", d, "node");
    status(p, "Status: ", d, "status");
    moment(p, "Checked at: ", d, "checked_at_ms");
    page_line(p, "\n--- VM ---");
    status(p, "  Status:      ", d, "checks.vm.status");
    pair(p, "  Processes:   ", d, "checks.vm.process_count", "checks.vm.process_limit");
    pair(p, "  Schedulers:  ", d, "checks.vm.schedulers_online", "checks.vm.schedulers");
    bytes(p, "  Memory:      ", d, "checks.vm.memory.total", " total");
    bytes(p, "    Processes: ", d, "checks.vm.memory.processes", "");
    bytes(p, "    System:    ", d, "checks.vm.memory.system", "");
    buf_puts(&p->text, "  Uptime:      ");
    page_uptime(p, page_get(d, "checks.vm.uptime"));
    page_line(p, "\n\n--- Node ---");
    field(p, "  Self:        ", d, "checks.node.node");
    field(p, "  Alive:       ", d, "checks.node.alive?");
    inspected(p, "  Connected:   ", d, "checks.node.connected_nodes");
    page_line(p, "\n--- PhoenixGenApi ---");
    status(p, "  Status:      ", d, "checks.phoenix_gen_api.status");
    field(p, "  Mode:        ", d, "checks.phoenix_gen_api.mode");
    page_line(p, "  Processes:");
    struct page_list l = page_map(page_get(d, "checks.phoenix_gen_api.checks"), NULL);
    while (page_next_pair(&l, &name, &check))
        health_process(p, name, check);
    page_line(p, "%s", "");
}

/* ---- stats_print (O-117) ------------------------------------------------------------------------------- */

static void tuple_field(struct page *p, struct slice tuple, unsigned index)
{
    struct term_reader r = term_reader(tuple);
    struct slice item = SLICE_NONE;
    uint32_t arity;
    if (!tuple.len || term_read_tuple(&r, &arity) != BG_OK || index >= arity)
        return;
    for (unsigned i = 0; i <= index; i++)
        if (term_skip(&r, &item) != BG_OK)
            return;
    page_value(p, item);
}

static void stats_vm(struct page *p, struct slice vm)
{
    page_line(p, "\n--- VM ---");
    pair(p, "  Processes:     ", vm, "process_count", "process_limit");
    field(p, "  Ports:         ", vm, "port_count");
    field(p, "  ETS tables:    ", vm, "ets_count");
    pair(p, "  Schedulers:    ", vm, "schedulers_online", "schedulers");
    bytes(p, "  Memory:        ", vm, "memory.total", " total");
    bytes(p, "    Processes:   ", vm, "memory.processes", "");
    bytes(p, "    System:      ", vm, "memory.system", "");
    bytes(p, "    Atoms:       ", vm, "memory.atom", "");
    bytes(p, "    Binary:      ", vm, "memory.binary", "");
    bytes(p, "    Code:        ", vm, "memory.code", "");
    bytes(p, "    ETS:         ", vm, "memory.ets", "");
    buf_puts(&p->text, "  Reductions:    ");
    tuple_field(p, page_get(vm, "reductions"), 0);
    buf_puts(&p->text, " total, ");
    tuple_field(p, page_get(vm, "reductions"), 1);
    buf_puts(&p->text, " since last call\n  Context sw:    ");
    tuple_field(p, page_get(vm, "context_switches"), 0);
    buf_puts(&p->text, "\n  Uptime:        ");
    page_uptime(p, page_get(vm, "uptime"));
    buf_putc(&p->text, '\n');
}

static void stats_pool(struct page *p, struct slice pools, const char *name)
{
    struct slice pool = page_get(pools, name), d = page_get(pool, "data");
    page_line(p, "    %s:", name);
    field(p, "      Status:   ", pool, "status");
    buf_puts(&p->text, "      Idle: ");
    page_value(p, page_get(d, "idle_workers"));
    buf_puts(&p->text, "  Busy: ");
    page_value(p, page_get(d, "busy_workers"));
    field(p, "  Queued: ", d, "queued_tasks");
    buf_puts(&p->text, "      Circuit: ");
    page_value(p, page_get(d, "circuit_open"));
    buf_puts(&p->text, "  Executed: ");
    page_value(p, page_get(d, "total_tasks_executed"));
    field(p, "  Failed: ", d, "total_tasks_failed");
}

static void print_stats(struct page *p, const struct rpc_call *call, struct slice d)
{
    struct slice pga = page_get(d, "phoenix_gen_api");
    uint32_t instances = 0;
    (void)call;
    page_line(p, "\n=== PhoenixGenApi Statistics ===");
    field(p, "Node: ", d, "node");
    moment(p, "Collected at: ", d, "collected_at_ms");
    stats_vm(p, page_get(d, "vm"));
    page_line(p, "\n--- PhoenixGenApi ---");
    field(p, "  Client mode:   ", pga, "client_mode");
    field(p, "  Telemetry events: ", pga, "telemetry_events");
    page_line(p, "\n  ConfigDb:");
    field(p, "    Status:    ", pga, "config_db.status");
    field(p, "    Count:     ", pga, "config_db.count");
    inspected(p, "    Services:  ", pga, "config_db.services");
    page_line(p, "\n  Rate Limiter:");
    field(p, "    Status:    ", pga, "rate_limiter.status");
    (void)page_list(page_get(pga, "rate_limiter.data.instances"), &instances);
    page_line(p, "    Instances: %u", instances);
    page_line(p, "\n  Worker Pools:");
    stats_pool(p, page_get(pga, "worker_pool"), "async_pool");
    stats_pool(p, page_get(pga, "worker_pool"), "stream_pool");
    if (page_get(pga, "relay.data").len) {
        page_line(p, "\n  Relay:");
        field(p, "    Status:  ", pga, "relay.status");
        field(p, "    Groups:  ", pga, "relay.data.group_count");
        field(p, "    Monitored memberships: ", pga, "relay.data.monitored_memberships");
    }
    page_line(p, "%s", "");
}

/* ---- debug_print --------------------------------------------------------------------------------------- */

static void debug_process(struct page *p, struct slice process)
{
    struct slice name = page_get(process, "registered_name");
    size_t at = page_mark(p);
    page_inspect(p, page_get(process, "pid"));
    page_pad(p, at, 15);
    at = page_mark(p);
    if (name.len && !term_is_nil(name))
        page_inspect(p, name);
    else
        buf_puts(&p->text, ":unnamed");
    page_pad(p, at, 30);
    at = page_mark(p);
    page_bytes(p, page_get(process, "memory"));
    page_pad(p, at, 12);
    inspected(p, "", process, "status");
}

static void debug_table(struct page *p, struct slice name, struct slice info)
{
    struct slice size = page_get(info, "size"), memory = page_get(info, "memory");
    buf_puts(&p->text, "  ");
    page_value(p, name);
    if (!page_is(info, "exists", "true")) {
        page_line(p, ": (not found)");
        return;
    }
    buf_puts(&p->text, ": size=");
    if (size.len)
        page_value(p, size);
    else
        buf_putc(&p->text, '?');
    buf_puts(&p->text, " memory=");
    if (memory.len)
        page_value(p, memory);
    else
        buf_putc(&p->text, '?');
    page_line(p, " words");
}

static void print_debug(struct page *p, const struct rpc_call *call, struct slice d)
{
    struct slice item, name;
    uint32_t n;
    (void)call;
    struct page_list l = page_list(page_get(d, "processes"), &n);
    page_line(p, "\n=== Debug Report ===");
    field(p, "Node: ", d, "node");
    moment(p, "Collected at: ", d, "collected_at_ms");
    page_line(p, "\n--- Top %u Processes by Memory ---", n);
    page_line(p, "%-15s%-30s%-12s%s", "PID", "Name", "Memory", "Status");
    rule(p, 70);
    while (page_next(&l, &item))
        debug_process(p, item);
    page_line(p, "\n--- ETS Tables ---");
    l = page_map(page_get(d, "ets_tables"), NULL);
    while (page_next_pair(&l, &name, &item))
        debug_table(p, name, item);
    page_line(p, "\n--- Trace ---");
    field(p, "  Control word: ", d, "trace.trace_control_word");
    page_line(p, "%s", "");
}

/* ---- call_flow_print, inspect_print -------------------------------------------------------------------- */

static void steps(struct page *p, struct slice flow)
{
    struct slice step;
    struct page_list l = page_list(page_get(flow, "steps"), NULL);
    for (unsigned i = 1; page_next(&l, &step); i++) {
        page_add(p, "  %u. [", i);
        page_value(p, page_get(step, "phase"));
        buf_puts(&p->text, "] ");
        field(p, "", step, "desc");
    }
}

static void flow_limits(struct page *p, const char *title, struct slice limits)
{
    struct slice limit;
    uint32_t n;
    struct page_list l = page_list(limits, &n);
    page_line(p, n ? "  %s:" : "  %s: (none)", title);
    while (page_next(&l, &limit)) {
        buf_puts(&p->text, "    ");
        page_value(p, page_get(limit, "key"));
        buf_puts(&p->text, ": ");
        page_value(p, page_get(limit, "max_requests"));
        buf_puts(&p->text, " req / ");
        page_value(p, page_get(limit, "window_ms"));
        page_line(p, "ms");
    }
}

static void flow_nodes(struct page *p, struct slice flow)
{
    uint32_t unreachable = 0;
    page_line(p, "\n--- Nodes ---");
    inspected(p, "  All:         ", flow, "nodes");
    inspected(p, "  Reachable:   ", flow, "reachable_nodes");
    (void)page_list(page_get(flow, "unreachable_nodes"), &unreachable);
    if (unreachable)
        inspected(p, "  ❌ Unreachable: ", flow, "unreachable_nodes");
}

static void flow_head(struct page *p, struct slice flow)
{
    field(p, "Service:      ", flow, "service");
    field(p, "Request Type: ", flow, "request_type");
    inspected(p, "Version:      ", flow, "version");
    field(p, "Response:     ", flow, "response_type");
    field(p, "Local:        ", flow, "local?");
    field(p, "Node Mode:    ", flow, "choose_node_mode");
    buf_puts(&p->text, "Timeout:      ");
    page_value(p, page_get(flow, "timeout"));
    page_line(p, page_is(flow, "timeout", "infinity") ? "" : "ms");
    inspected(p, "MFA:          ", flow, "mfa");
}

static void print_flow(struct page *p, const struct rpc_call *call, struct slice flow)
{
    buf_puts(&p->text, "\n=== Call Flow: ");
    page_value(p, call->argv[0]);
    buf_putc(&p->text, '/');
    page_value(p, call->argv[1]);
    page_line(p, " ===");
    if (page_get(flow, "error").len) {
        inspected(p, "❌ Config not found: ", flow, "error");
        page_line(p, "%s", "");
        return;
    }
    flow_head(p, flow);
    flow_nodes(p, flow);
    page_line(p, "\n--- Rate Limits ---");
    flow_limits(p, "Global", page_get(flow, "rate_limit.global"));
    flow_limits(p, "API", page_get(flow, "rate_limit.api"));
    page_line(p, "\n--- Permission ---");
    field(p, "  ", flow, "permission.description");
    page_line(p, "\n--- Hooks ---");
    field(p, "  Before: ", flow, "hooks.before_execute.description");
    field(p, "  After:  ", flow, "hooks.after_execute.description");
    page_line(p, "\n--- Retry ---");
    field(p, "  ", flow, "retry.description");
    page_line(p, "\n--- Execution Steps ---");
    steps(p, flow);
    page_line(p, "%s", "");
}

static void print_inspected(struct page *p, const struct rpc_call *call, struct slice plan)
{
    (void)call;
    page_line(p, "\n=== Request Inspection ===");
    inspected(p, "Service:      ", plan, "request.service");
    inspected(p, "Request Type: ", plan, "request.request_type");
    inspected(p, "Version:      ", plan, "request.version");
    inspected(p, "User ID:      ", plan, "request.user_id");
    inspected(p, "Device ID:    ", plan, "request.device_id");
    inspected(p, "Request ID:   ", plan, "request.request_id");
    if (page_get(plan, "error").len) {
        inspected(p, "\n❌ Config not found: ", plan, "error");
    } else {
        page_line(p, "\n--- Execution Plan ---");
        steps(p, plan);
    }
    page_line(p, "%s", "");
}

/* ---- flows_print, cluster_print ------------------------------------------------------------------------ */

static void column(struct page *p, struct slice flow, const char *key, unsigned width)
{
    size_t at = page_mark(p);
    page_inspect(p, page_get(flow, key));
    page_pad(p, at, width);
}

static void print_flows(struct page *p, const struct rpc_call *call, struct slice flows)
{
    struct slice flow;
    uint32_t n;
    (void)call;
    struct page_list l = page_list(flows, &n);
    page_line(p, "\n=== Registered Call Flows ===\nTotal: %u", n);
    if (n == 0)
        page_line(p, "  (no registered configs)");
    else
        page_line(p, "\n%-25s%-25s%-12s%-8s%s", "Service", "Request Type", "Version", "Local", "Nodes");
    if (n > 0)
        rule(p, 90);
    while (page_next(&l, &flow)) {
        column(p, flow, "service", 25);
        column(p, flow, "request_type", 25);
        column(p, flow, "version", 12);
        column(p, flow, "local?", 8);
        page_inspect(p, page_get(flow, "nodes"));
        page_line(p, page_is(flow, "disabled", "true") ? " [DISABLED]" : "");
    }
    page_line(p, "%s", "");
}

static void cluster_names(struct page *p, struct slice by_node)
{
    struct slice node, names, name;
    struct page_list l = page_map(by_node, NULL);
    while (page_next_pair(&l, &node, &names)) {
        uint32_t n;
        struct page_list each = page_list(names, &n);
        buf_puts(&p->text, "  ");
        page_value(p, node);
        page_line(p, ": %u processes", n);
        while (page_next(&each, &name)) {
            buf_puts(&p->text, "    - ");
            page_value(p, name);
            buf_putc(&p->text, '\n');
        }
    }
}

static void print_cluster(struct page *p, const struct rpc_call *call, struct slice view)
{
    struct slice node, services;
    (void)call;
    page_line(p, "\n=== Cluster View ===");
    field(p, "Self: ", view, "self");
    buf_puts(&p->text, "Connected nodes (");
    page_value(p, page_get(view, "connected_count"));
    inspected(p, "): ", view, "connected");
    page_line(p, "\n--- Registered Processes ---");
    cluster_names(p, page_get(view, "registered_processes"));
    page_line(p, "\n--- PhoenixGenApi Services by Node ---");
    struct page_list l = page_map(page_get(view, "phoenix_gen_api_services"), NULL);
    while (page_next_pair(&l, &node, &services)) {
        buf_puts(&p->text, "  ");
        page_value(p, node);
        buf_puts(&p->text, ": ");
        page_inspect(p, services);
        buf_putc(&p->text, '\n');
    }
    page_line(p, "\n--- Node Selection Strategies ---");
    buf_puts(&p->text, "  ");
    l = page_list(page_get(view, "node_selection.strategies"), NULL);
    for (bool first = true; page_next(&l, &node); first = false) {
        buf_puts(&p->text, first ? "" : ", ");
        page_inspect(p, node);
    }
    field(p, "\n  ", view, "node_selection.description");
    page_line(p, "%s", "");
}

/* ---- failed configs ------------------------------------------------------------------------------------ */

static void reasons(struct page *p, struct slice list)
{
    struct slice reason;
    struct page_list l = page_list(list, NULL);
    for (bool first = true; page_next(&l, &reason); first = false) {
        buf_puts(&p->text, first ? "" : "; ");
        page_value(p, reason);
    }
    buf_putc(&p->text, '\n');
}

static void failed_entry(struct page *p, struct slice e)
{
    size_t at = page_mark(p);
    page_value(p, page_get(e, "id"));
    page_pad(p, at, 8);
    column(p, e, "service", 20);
    column(p, e, "request_type", 22);
    column(p, e, "version", 10);
    column(p, e, "source", 8);
    reasons(p, page_get(e, "reason"));
}

static void print_failed(struct page *p, const struct rpc_call *call, struct slice entries)
{
    struct slice options = call->argc > 0 ? call->argv[0] : SLICE_NONE, source, limit, entry;
    bool has_source = rpc_option(options, "source", &source), has_limit = rpc_option(options, "limit", &limit);
    uint32_t n;
    struct page_list l = page_list(entries, &n);
    page_line(p, "\n=== Failed FunConfig Entries ===");
    if (has_source && !term_is_nil(source)) {
        buf_puts(&p->text, "Source: ");
        page_value(p, source);
        buf_putc(&p->text, '\n');
    }
    page_add(p, "Showing: %u entries (limit: ", n);
    if (has_limit)
        page_value(p, limit);
    else
        buf_puts(&p->text, "100");
    page_line(p, ")");
    if (n == 0)
        page_line(p, "  (no failed entries)");
    else
        page_line(p, "\n%-8s%-20s%-22s%-10s%-8s%s", "ID", "Service", "Request Type", "Version", "Source", "Reason");
    if (n > 0)
        rule(p, 90);
    while (page_next(&l, &entry))
        failed_entry(p, entry);
    page_line(p, "%s", "");
}

static void print_summary(struct page *p, const struct rpc_call *call, struct slice d)
{
    struct slice service, entries, newest = page_get(d, "newest");
    uint32_t n;
    (void)call;
    page_line(p, "\n=== Failed Configs Summary ===");
    field(p, "Total:  ", d, "total");
    field(p, "Pull:   ", d, "pull");
    field(p, "Push:   ", d, "push");
    struct page_list l = page_map(page_get(d, "by_service"), &n);
    if (n > 0)
        page_line(p, "\n--- By Service ---");
    while (page_next_pair(&l, &service, &entries)) {
        (void)page_list(entries, &n);
        buf_puts(&p->text, "  ");
        page_inspect(p, service);
        page_line(p, ": %u failed", n);
    }
    if (newest.len && !term_is_nil(newest)) {
        buf_puts(&p->text, "\n--- Newest ---\n  #");
        page_value(p, page_get(newest, "id"));
        buf_putc(&p->text, ' ');
        page_inspect(p, page_get(newest, "service"));
        buf_putc(&p->text, '/');
        page_inspect(p, page_get(newest, "request_type"));
        buf_puts(&p->text, " [");
        page_value(p, page_get(newest, "source"));
        buf_puts(&p->text, "] ");
        reasons(p, page_get(newest, "reason"));
    }
    page_line(p, "%s", "");
}

/* ---- rate limits (O-110..O-112) ------------------------------------------------------------------------ */

static void limit_line(struct page *p, struct slice limit)
{
    buf_puts(&p->text, "Key: ");
    page_inspect(p, page_get(limit, "key"));
    buf_puts(&p->text, " | Max: ");
    page_value(p, page_get(limit, "max_requests"));
    buf_puts(&p->text, " | Window: ");
    page_value(p, page_get(limit, "window_ms"));
    page_line(p, "ms");
}

static void function_name(struct page *p, struct slice limit)
{
    page_value(p, page_get(limit, "service"));
    buf_putc(&p->text, '/');
    page_value(p, page_get(limit, "request_type"));
    buf_puts(&p->text, " | ");
}

static void global_limits(struct page *p, struct slice limits)
{
    struct slice limit;
    struct page_list l = page_list(limits, NULL);
    while (page_next(&l, &limit)) {
        buf_puts(&p->text, "  ");
        limit_line(p, limit);
    }
}

static void print_rate_config(struct page *p, const struct rpc_call *call, struct slice d)
{
    struct slice limit;
    (void)call;
    page_line(p, "\n=== Rate Limit Configuration ===\n\nGlobal Limits:");
    global_limits(p, page_get(d, "global"));
    page_line(p, "\nAPI Limits:");
    struct page_list l = page_list(page_get(d, "api"), NULL);
    while (page_next(&l, &limit)) {
        buf_puts(&p->text, "  ");
        function_name(p, limit);
        limit_line(p, limit);
    }
}

static void used(struct page *p, struct slice info)
{
    buf_puts(&p->text, "Used: ");
    page_value(p, page_get(info, "current_requests"));
    buf_putc(&p->text, '/');
    page_value(p, page_get(info, "max_requests"));
    field(p, " | Remaining: ", info, "remaining");
}

/* What a user has used of the limits of one scope. function: an api limit; empty: global. */
static void user_limits(struct page *p, const struct rpc_call *call, struct slice scope, struct slice function)
{
    const struct slice args[] = {call->argv[0], scope, SLICE_LIT("w\7user_id")};
    struct buf d;
    struct slice info;
    buf_init(&d, 0);
    if (page_ask(p->server, call, RATE_LIMITER, "get_rate_limit_status", args, 3, &d) == RPC_RETURN) {
        struct page_list l = page_list(buf_slice(&d), NULL);
        while (page_next(&l, &info)) {
            buf_puts(&p->text, "  ");
            if (function.len)
                function_name(p, function);
            else
                buf_puts(&p->text, "Scope: :global | ");
            used(p, info);
        }
    }
    buf_fini(&d);
}

static void print_rate_status(struct page *p, const struct rpc_call *call, struct slice d)
{
    struct slice limit;
    struct page_list l = page_list(page_get(d, "api"), NULL);
    buf_puts(&p->text, "\n=== Rate Limit Status for ");
    page_value(p, call->argv[0]);
    page_line(p, " ===\n\nGlobal Limits:");
    user_limits(p, call, SLICE_LIT("w\6global"), SLICE_NONE);
    page_line(p, "\nAPI Limits:");
    while (page_next(&l, &limit)) {
        struct buf scope;
        if (!page_is(limit, "key", "user_id"))
            continue;
        buf_init(&scope, 0);
        term_put_tuple(&scope, 2);
        term_put_raw(&scope, page_get(limit, "service"));
        term_put_raw(&scope, page_get(limit, "request_type"));
        if (buf_ok(&scope))
            user_limits(p, call, buf_slice(&scope), limit);
        buf_fini(&scope);
    }
}

/* The change that rl_global/1,2 make first; a line says how it went. */
static enum rpc_outcome change_limits(struct page *p, const struct rpc_call *call, const char *function,
                                      struct slice arg, struct buf *answer, const char *done)
{
    enum rpc_outcome outcome = page_ask(p->server, call, RATE_LIMITER, function, &arg, 1, answer);
    bool changed = outcome == RPC_RETURN && term_is_atom(buf_slice(answer), "ok");
    if (outcome == RPC_RETURN && !changed)
        page_line(p, "\nGlobal rate limits not changed: security.admin_actions lacks update_rate_limit_config.\n");
    else if (outcome == RPC_RETURN)
        page_add(p, "\n%s", done);
    if (changed && call->argc == 2)
        page_inspect(p, arg);
    if (changed)
        page_line(p, "\n");
    return outcome;
}

static enum rpc_outcome change_before(struct page *p, const struct rpc_call *call, struct buf *answer)
{
    if (call->argc == 1)
        return change_limits(p, call, "set_global_limits", call->argv[0], answer, "Global rate limits updated.");
    if (term_is_atom(call->argv[0], "add"))
        return change_limits(p, call, "add_global_limit", call->argv[1], answer, "Global rate limit added/updated: ");
    if (term_is_atom(call->argv[0], "remove"))
        return change_limits(p, call, "remove_global_limit", call->argv[1], answer,
                             "Global rate limit removed for key: ");
    return RPC_ERROR;
}

static void print_global(struct page *p, const struct rpc_call *call, struct slice limits)
{
    (void)call;
    page_line(p, "\n=== Global Rate Limits ===\n");
    global_limits(p, limits);
}

/* ---- store, pools, pushed services (O-113..O-115) ------------------------------------------------------- */

static void print_cache(struct page *p, const struct rpc_call *call, struct slice d)
{
    (void)call;
    page_line(p, "\n=== ConfigDb Cache Status ===\n");
    field(p, "Total cached configs: ", d, "count");
    inspected(p, "Services: ", d, "services");
}

static void pool(struct page *p, const struct rpc_call *call, const char *title, struct slice name)
{
    struct buf d;
    buf_init(&d, 0);
    page_line(p, "%s", title);
    if (page_ask(p->server, call, WORKER_POOL, "status", &name, 1, &d) == RPC_RETURN) {
        buf_puts(&p->text, "  Idle: ");
        page_value(p, page_get(buf_slice(&d), "idle_workers"));
        buf_puts(&p->text, " | Busy: ");
        page_value(p, page_get(buf_slice(&d), "busy_workers"));
        field(p, " | Queued: ", buf_slice(&d), "queued_tasks");
        field(p, "  Circuit Open: ", buf_slice(&d), "circuit_open");
    }
    buf_fini(&d);
}

static void print_pools(struct page *p, const struct rpc_call *call, struct slice d)
{
    (void)d;
    page_line(p, "\n=== Worker Pool Status ===\n");
    pool(p, call, "Async Pool:", SLICE_LIT("w\12async_pool"));
    pool(p, call, "\nStream Pool:", SLICE_LIT("w\13stream_pool"));
}

static bool is_set(struct slice map, const char *key)
{
    struct slice v = page_get(map, key);
    return v.len && !term_is_nil(v);
}

static void print_pushed(struct page *p, const struct rpc_call *call, struct slice d)
{
    struct slice service, config;
    uint32_t n;
    (void)call;
    struct page_list l = page_map(page_get(d, "pushed_configs"), &n);
    page_line(p, "\n=== Pushed Services Status ===\n");
    if (n == 0)
        page_line(p, "No pushed services registered.");
    while (page_next_pair(&l, &service, &config)) {
        buf_puts(&p->text, "  ");
        page_inspect(p, service);
        buf_puts(&p->text, ": version=");
        page_inspect(p, page_get(config, "config_version"));
        bool pulled = is_set(config, "module") && is_set(config, "function");
        page_line(p, ", auto_pull=%s", pulled ? "true" : "false");
    }
    page_line(p, "%s", "");
}

/* ---- the functions ------------------------------------------------------------------------------------- */

/* A page: the function of the table whose answer it shows, with the caller's arguments or without. */
static const struct printer {
    const char *name;
    int arity;
    const char *module;
    const char *function; /* NULL: needs no data */
    bool pass_args;
    void (*print)(struct page *p, const struct rpc_call *call, struct slice data);
} printers[] = {
    {"health_print", 0, DIAGNOSTICS, "health_check", true, print_health},
    {"health_print", 1, DIAGNOSTICS, "health_check", true, print_health},
    {"stats_print", 0, DIAGNOSTICS, "statistics", false, print_stats},
    {"debug_print", 0, DIAGNOSTICS, "debug_report", true, print_debug},
    {"debug_print", 1, DIAGNOSTICS, "debug_report", true, print_debug},
    {"call_flow_print", 2, DIAGNOSTICS, "call_flow", true, print_flow},
    {"call_flow_print", 3, DIAGNOSTICS, "call_flow", true, print_flow},
    {"inspect_print", 1, DIAGNOSTICS, "inspect_request", true, print_inspected},
    {"flows_print", 0, DIAGNOSTICS, "list_call_flows", true, print_flows},
    {"flows_print", 1, DIAGNOSTICS, "list_call_flows", true, print_flows},
    {"cluster_print", 0, DIAGNOSTICS, "cluster_view", false, print_cluster},
    {"failed_configs_print", 0, CONFIG_FAILED, "list", true, print_failed},
    {"failed_configs_print", 1, CONFIG_FAILED, "list", true, print_failed},
    {"failed_configs_summary", 0, CONFIG_FAILED, "summary", false, print_summary},
    {"rl_status", 1, RATE_LIMITER, "get_configured_limits", false, print_rate_status},
    {"rl_config", 0, RATE_LIMITER, "get_configured_limits", false, print_rate_config},
    {"rl_global", 0, RATE_LIMITER, "get_global_limits", false, print_global},
    {"rl_global", 1, RATE_LIMITER, "get_global_limits", false, print_global},
    {"rl_global", 2, RATE_LIMITER, "get_global_limits", false, print_global},
    {"cache_status", 0, CONFIG_DB, "status", false, print_cache},
    {"pool_status", 0, NULL, NULL, false, print_pools},
    {"pushed_services_status", 0, CONFIG_RECEIVER, "status", false, print_pushed},
};

static const struct printer *printer_of(const struct rpc_call *call)
{
    for (size_t i = 0; i < ARRAY_SIZE(printers); i++)
        if (slice_is(call->function, printers[i].name) && (unsigned)printers[i].arity == call->argc)
            return &printers[i];
    return NULL;
}

/* rl_status takes a text only, as its guard says; rl_global changes something before it shows. */
static enum rpc_outcome before(struct page *p, const struct rpc_call *call, struct buf *d)
{
    struct term_reader r = term_reader(call->argc > 0 ? call->argv[0] : SLICE_NONE);
    if (slice_is(call->function, "rl_status"))
        return term_peek(&r) == TERM_BINARY ? RPC_RETURN : RPC_ERROR;
    if (slice_is(call->function, "rl_global") && call->argc > 0)
        return change_before(p, call, d);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_print(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct printer *pr = printer_of(call);
    struct page p = {.server = server};
    struct buf d;
    if (!pr)
        return RPC_ERROR;
    buf_init(&p.text, PAGE_BYTES_MAX);
    buf_init(&d, 0);
    enum rpc_outcome outcome = before(&p, call, &d);
    if (outcome == RPC_RETURN && pr->function) {
        buf_reset(&d);
        unsigned argc = pr->pass_args ? call->argc : 0;
        outcome = page_ask(server, call, pr->module, pr->function, call->argv, argc, &d);
    }
    if (outcome == RPC_RETURN) {
        pr->print(&p, call, buf_slice(&d));
        outcome = page_print(&p, call, out);
    } else {
        term_put_raw(out, buf_slice(&d));
    }
    buf_fini(&d);
    buf_fini(&p.text);
    return outcome;
}

static void on_cluster_view(void *owner, struct cluster_view *v, struct slice view)
{
    struct page p = {.server = NULL};
    (void)v;
    buf_init(&p.text, view.len ? PAGE_BYTES_MAX : 1);
    print_cluster(&p, NULL, view);
    page_print_waiting(owner, &p);
    buf_fini(&p.text);
}

static void on_cluster_gone(void *owner)
{
    cluster_view_cancel(owner);
}

/* The other nodes are asked first. Who cannot wait, or has nobody to ask, sees what is known here. */
static enum rpc_outcome rpc_print_cluster(void *server, const struct rpc_call *call, struct buf *out)
{
    struct cluster_view *v = call->shape != RPC_SHAPE_NOW ? cluster_view_new(server, on_cluster_view) : NULL;
    struct page_waiter *w = v ? page_wait(server, call, on_cluster_gone, v) : NULL;
    if (w) {
        cluster_view_ask(v, w);
        return RPC_LATER;
    }
    if (v)
        cluster_view_cancel(v);
    return rpc_print(server, call, out);
}

const struct rpc_entry print_entries[] = {
    {LIBRARY, "health_print", 0, rpc_print},
    {LIBRARY, "health_print", 1, rpc_print},
    {LIBRARY, "stats_print", 0, rpc_print},
    {LIBRARY, "debug_print", 0, rpc_print},
    {LIBRARY, "debug_print", 1, rpc_print},
    {LIBRARY, "call_flow_print", 2, rpc_print},
    {LIBRARY, "call_flow_print", 3, rpc_print},
    {LIBRARY, "inspect_print", 1, rpc_print},
    {LIBRARY, "flows_print", 0, rpc_print},
    {LIBRARY, "flows_print", 1, rpc_print},
    {LIBRARY, "cluster_print", 0, rpc_print_cluster},
    {LIBRARY, "failed_configs_print", 0, rpc_print},
    {LIBRARY, "failed_configs_print", 1, rpc_print},
    {LIBRARY, "failed_configs_summary", 0, rpc_print},
    {LIBRARY, "rl_status", 1, rpc_print},
    {LIBRARY, "rl_config", 0, rpc_print},
    {LIBRARY, "rl_global", 0, rpc_print},
    {LIBRARY, "rl_global", 1, rpc_print},
    {LIBRARY, "rl_global", 2, rpc_print},
    {LIBRARY, "cache_status", 0, rpc_print},
    {LIBRARY, "pool_status", 0, rpc_print},
    {LIBRARY, "pushed_services_status", 0, rpc_print},
    /* What only passes on. */
    {LIBRARY, "failed_configs", 0, rpc_failed_list},
    {LIBRARY, "failed_configs", 1, rpc_failed_list},
    {LIBRARY, "cleanup_failed_configs", 0, rpc_failed_cleanup},
    {LIBRARY, "clear_failed_configs", 0, rpc_failed_clear},
    {LIBRARY, "push_config", 1, rpc_receiver_push},
    {LIBRARY, "push_config", 2, rpc_receiver_push},
    {LIBRARY, "verify_config", 2, rpc_receiver_verify},
    {LIBRARY, "stop_stream", 1, rpc_stop_stream},
};
const size_t print_entries_count = ARRAY_SIZE(print_entries);
