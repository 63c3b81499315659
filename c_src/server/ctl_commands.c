/*
 * ctl_commands.c: what `beamgate ctl` can do: one table, and the gateway's side of each command. A command that another
 * node can call too is a row of the rpc table and is run by its name; only what has no such row is made here, in steps
 * of CTL_ROWS_A_STEP, since there may be a hundred thousand of it.
 *
 * Lists that change while they are read may leave one out or show one twice; no step keeps a pointer across turns.
 *
 * To add a command: a row in ctl_commands[], a step function unless the rpc table has it, its place in docs/ctl.md,
 * rel/beamgate-ctl.1 and rel/beamgate.bash (test_ctl fails until all name it).
 */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>

#include "breaker.h"
#include "diag.h"
#include "json.h"
#include "log.h"
#include "rpc_functions.h"
#include "term.h"

static struct slice option(const struct ctl_job *job, const char *name)
{
    return ctl_request_option(&job->request, name);
}

/* ---- rows of the rpc table ----------------------------------------------------------------------------- */

static void put_args(struct buf *list, const struct ctl_job *job)
{
    struct slice version = option(job, "version");
    unsigned n = job->request.argc + (version.ptr != NULL);
    term_put_list(list, n);
    for (unsigned i = 0; i < job->request.argc; i++)
        term_put_binary(list, job->request.args[i]);
    if (version.ptr)
        term_put_binary(list, version);
    if (n)
        term_put_nil(list);
}

/* {error, Reason} */
static bool is_error(struct slice value, struct slice *reason)
{
    struct term_reader r = term_reader(value);
    uint32_t arity;
    return term_read_tagged(&r, "error", &arity) == BG_OK && arity == 2 && term_skip(&r, reason) == BG_OK;
}

static enum ctl_step fail_with_term(struct ctl_job *job, struct slice reason)
{
    struct buf text;
    buf_init(&text, sizeof(job->error.text));
    term_inspect(reason, &text, sizeof(job->error.text) - 1);
    slice_cstr(buf_slice(&text), job->error.text, sizeof(job->error.text));
    buf_fini(&text);
    return CTL_FAILED;
}

static enum ctl_step put_value(struct ctl_job *job, enum rpc_outcome outcome, struct slice value, struct buf *out)
{
    struct slice reason;
    if (outcome != RPC_RETURN)
        return fail_with_term(job, value);
    if (is_error(value, &reason))
        return fail_with_term(job, reason);
    buf_puts(out, "{\"value\":");
    ctl_put_term(value, out);
    buf_puts(out, "}\n");
    return CTL_DONE;
}

static enum ctl_step step_rpc(struct ctl_job *job, struct buf *out)
{
    struct server *s = job->server;
    struct rpc_call call = {.module = slice_str(job->command->module),
                            .function = slice_str(job->command->function),
                            .caller_node = slice_str(s->self.name)};
    struct buf args, value;
    bool known = false;
    buf_init(&args, 0);
    buf_init(&value, 0);
    put_args(&args, job);
    enum ctl_step how = CTL_FAILED;
    enum rpc_outcome outcome = buf_ok(&args) ? rpc_run(&s->rpc, &call, buf_slice(&args), &value, &known) : RPC_ERROR;
    if (!known)
        err_set(&job->error, BG_EINVAL, 0, "this gateway has no %s.%s", job->command->module, job->command->function);
    else if (!buf_ok(&value))
        err_set(&job->error, BG_ENOMEM, 0, "no memory for the answer");
    else
        how = put_value(job, outcome, buf_slice(&value), out);
    buf_fini(&args);
    buf_fini(&value);
    return how;
}

/* ---- flows: the functions ------------------------------------------------------------------------------ */

static void put_names(struct buf *out, const char *key, const struct slice *names, uint32_t count)
{
    enum { SHOWN = 16 };
    struct buf text;
    buf_init(&text, 0);
    for (uint32_t i = 0; i < count && i < SHOWN; i++) {
        buf_puts(&text, i ? " " : "");
        buf_add_slice(&text, names[i]);
    }
    if (count > SHOWN)
        buf_printf(&text, " and %u more", count - SHOWN);
    ctl_row_text(out, key, buf_slice(&text));
    buf_fini(&text);
}

static void put_flow(struct buf *out, const struct fun_config *fc)
{
    static const char *const kinds[] = {"sync", "async", "stream", "none"};
    ctl_row_begin(out);
    ctl_row_text(out, "service", fc->service);
    ctl_row_text(out, "request_type", fc->request_type);
    ctl_row_text(out, "version", fc->version);
    ctl_row_text(out, "response", slice_str(kinds[fc->response_type]));
    ctl_row_number(out, "timeout_ms", fc->timeout_ms);
    ctl_row_text(out, "module", fc->mfa.module);
    ctl_row_text(out, "function", fc->mfa.function);
    if (fc->nodes_kind == NODES_MFA)
        ctl_row_text(out, "nodes", SLICE_LIT("(asked when needed)"));
    else
        put_names(out, "nodes", fc->nodes, fc->nodes_count);
    ctl_row_text(out, "state", fc->disabled ? SLICE_LIT("disabled") : SLICE_LIT("enabled"));
    ctl_row_end(out);
}

/* flows [SERVICE]: every version of every function. */
static enum ctl_step step_flows(struct ctl_job *job, struct buf *out)
{
    const struct fun_config *fc = NULL;
    for (unsigned i = 0; i < CTL_ROWS_A_STEP; i++) {
        fc = config_db_next(job->server->db, &job->pos);
        if (!fc)
            return CTL_DONE;
        if (job->request.argc == 0 || slice_eq(job->request.args[0], fc->service))
            put_flow(out, fc);
    }
    return CTL_MORE;
}

static const struct ctl_column flow_columns[] = {
    {"SERVICE", "service", CELL_TEXT, true}, {"TYPE", "request_type", CELL_TEXT, true},
    {"VERSION", "version", CELL_TEXT, true}, {"RESPONSE", "response", CELL_TEXT, false},
    {"STATE", "state", CELL_TEXT, false},    {"NODES", "nodes", CELL_TEXT, true},
};

/* ---- services ------------------------------------------------------------------------------------------ */

static uint64_t age_ms(const struct server *s, uint64_t at_us)
{
    return s->timers.now_us > at_us ? (s->timers.now_us - at_us) / 1000 : 0;
}

static void put_pulled(struct buf *out, const struct server *s, const struct config_puller_status *p)
{
    static const char *const from[] = {
        [PULL_CONFIGURED] = "configured", [PULL_ADDED] = "added", [PULL_PUSHED] = "pushed, pulled"};
    ctl_row_begin(out);
    ctl_row_text(out, "service", p->config->service);
    ctl_row_text(out, "source", slice_str(from[p->config->start]));
    ctl_row_number(out, "functions", config_db_source_count(s->db, p->config->service));
    ctl_row_number(out, "refused", p->refused);
    ctl_row_number(out, "failures", p->failures);
    if (p->pulled_at_us)
        ctl_row_number(out, "pulled_ms_ago", age_ms(s, p->pulled_at_us));
    ctl_row_text(out, "node", p->node.len ? p->node : SLICE_NONE);
    put_names(out, "nodes", p->config->nodes, p->config->nodes_count);
    ctl_row_text(out, "last_error", slice_str(p->last_error));
    ctl_row_end(out);
}

static void put_pushed(struct buf *out, const struct config_receiver_status *p)
{
    ctl_row_begin(out);
    ctl_row_text(out, "service", p->service);
    ctl_row_text(out, "source", SLICE_LIT("pushed"));
    ctl_row_number(out, "functions", p->functions);
    ctl_row_text(out, "version", p->version);
    ctl_row_end(out);
}

/* Those that are pulled, then those that are only pushed. */
static enum ctl_step step_services(struct ctl_job *job, struct buf *out)
{
    const struct server *s = job->server;
    struct config_puller_status pulled;
    struct config_receiver_status pushed;
    unsigned left = CTL_ROWS_A_STEP;
    for (; left && config_puller_next(s->puller, &job->pos, &pulled); left--)
        put_pulled(out, s, &pulled);
    size_t pos = (size_t)job->cursor;
    bool more = left == 0;
    for (; left && (more = config_receiver_next(s->receiver, &pos, &pushed)); left--)
        if (!pushed.pulled)
            put_pushed(out, &pushed);
    job->cursor = pos;
    return more ? CTL_MORE : CTL_DONE;
}

static const struct ctl_column service_columns[] = {
    {"SERVICE", "service", CELL_TEXT, true},      {"SOURCE", "source", CELL_TEXT, false},
    {"FUNCTIONS", "functions", CELL_NUMBER, false}, {"REFUSED", "refused", CELL_NUMBER, false},
    {"FAILURES", "failures", CELL_NUMBER, false}, {"PULLED", "pulled_ms_ago", CELL_DURATION_MS, false},
    {"NODE", "node", CELL_TEXT, true},            {"LAST ERROR", "last_error", CELL_TEXT, true},
};

/* ---- clients ------------------------------------------------------------------------------------------- */

struct client_step {
    struct ctl_job *job;
    struct buf *out;
    struct slice user; /* ptr NULL: all */
};

static void put_client(void *ctx, const struct edge_client *c)
{
    const struct client_step *step = ctx;
    step->job->cursor = c->id;
    if (step->user.ptr && !slice_eq(step->user, c->user_id))
        return;
    ctl_row_begin(step->out);
    ctl_row_number(step->out, "id", c->id);
    ctl_row_text(step->out, "user", c->user_id.len ? c->user_id : SLICE_NONE);
    ctl_row_text(step->out, "address", c->ip_address);
    ctl_row_text(step->out, "socket", slice_str(c->path));
    ctl_row_number(step->out, "channels", c->channels);
    ctl_row_number(step->out, "unsent_bytes", c->unsent_bytes);
    ctl_row_end(step->out);
}

static enum ctl_step step_clients(struct ctl_job *job, struct buf *out)
{
    struct client_step step = {job, out, option(job, "user")};
    uint32_t n = edge_next_clients(job->server->edge, (uint32_t)job->cursor, CTL_ROWS_A_STEP, put_client, &step);
    return n == CTL_ROWS_A_STEP ? CTL_MORE : CTL_DONE;
}

static const struct ctl_column client_columns[] = {
    {"ID", "id", CELL_NUMBER, false},       {"USER", "user", CELL_TEXT, true},
    {"ADDRESS", "address", CELL_TEXT, false}, {"SOCKET", "socket", CELL_TEXT, true},
    {"CHANNELS", "channels", CELL_NUMBER, false}, {"UNSENT", "unsent_bytes", CELL_BYTES, false},
};

/* ---- limits -------------------------------------------------------------------------------------------- */

static enum ctl_step step_limits(struct ctl_job *job, struct buf *out)
{
    struct rate_limit_view v;
    char key[RATE_KEY_TEXT_MAX];
    if (!job->server->limiter) {
        err_set(&job->error, BG_EINVAL, 0, "the rate limiter is switched off");
        return CTL_FAILED;
    }
    for (unsigned i = 0; i < CTL_ROWS_A_STEP; i++) {
        if (!rate_limiter_next_limit(job->server->limiter, &job->pos, &v))
            return CTL_DONE;
        bool global = v.limit->scope.service.len == 0;
        rate_key_print(&v.limit->key, key, sizeof(key));
        ctl_row_begin(out);
        ctl_row_text(out, "service", global ? SLICE_LIT("*") : v.limit->scope.service);
        ctl_row_text(out, "request_type", global ? SLICE_LIT("*") : v.limit->scope.request_type);
        ctl_row_text(out, "key", slice_str(key));
        ctl_row_number(out, "max_requests", v.limit->max_requests);
        ctl_row_number(out, "window_ms", v.limit->window_ms);
        ctl_row_flag(out, "dry_run", v.limit->dry_run);
        ctl_row_number(out, "values", v.values);
        ctl_row_number(out, "refused", v.refused);
        ctl_row_end(out);
    }
    return CTL_MORE;
}

static const struct ctl_column limit_columns[] = {
    {"SERVICE", "service", CELL_TEXT, true},       {"TYPE", "request_type", CELL_TEXT, true},
    {"KEY", "key", CELL_TEXT, true},               {"MAX", "max_requests", CELL_NUMBER, false},
    {"WINDOW", "window_ms", CELL_DURATION_MS, false}, {"DRY RUN", "dry_run", CELL_TEXT, false},
    {"VALUES", "values", CELL_NUMBER, false},      {"REFUSED", "refused", CELL_NUMBER, false},
};

/* ---- failed: refused configs --------------------------------------------------------------------------- */

static void put_reasons(struct buf *out, const struct config_failed_entry *f)
{
    struct buf text;
    buf_init(&text, 0);
    for (uint32_t i = 0; i < f->reasons_count; i++)
        buf_printf(&text, "%s%s", i ? "; " : "", f->reasons[i]);
    ctl_row_text(out, "reasons", buf_slice(&text));
    buf_fini(&text);
}

static enum ctl_step step_failed(struct ctl_job *job, struct buf *out)
{
    struct config_failed_entry f;
    struct server *s = job->server;
    if (job->pos == 0)
        config_failed_cleanup(s->failed, rpc_now_ms());
    for (unsigned i = 0; i < CTL_ROWS_A_STEP; i++) {
        if (!config_failed_next(s->failed, &job->pos, &f))
            return CTL_DONE;
        ctl_row_begin(out);
        ctl_row_text(out, "service", f.service);
        ctl_row_text(out, "request_type", f.request_type);
        ctl_row_text(out, "version", f.version);
        ctl_row_text(out, "source", f.source == CONFIG_PULL ? SLICE_LIT("pull") : SLICE_LIT("push"));
        ctl_row_text(out, "node", f.node);
        ctl_row_number(out, "times", f.times);
        int64_t age = rpc_now_ms() - f.inserted_at_ms;
        ctl_row_number(out, "failed_ms_ago", age > 0 ? (uint64_t)age : 0);
        put_reasons(out, &f);
        ctl_row_end(out);
    }
    return CTL_MORE;
}

static const struct ctl_column failed_columns[] = {
    {"SERVICE", "service", CELL_TEXT, true}, {"TYPE", "request_type", CELL_TEXT, true},
    {"VERSION", "version", CELL_TEXT, true}, {"SOURCE", "source", CELL_TEXT, false},
    {"TIMES", "times", CELL_NUMBER, false},  {"LAST", "failed_ms_ago", CELL_DURATION_MS, false},
    {"REASONS", "reasons", CELL_TEXT, true},
};

/* ---- pools --------------------------------------------------------------------------------------------- */

static void put_breaker(struct buf *out, const struct breaker_info *b)
{
    static const char *const states[] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_TRYING] = "trying"};
    buf_puts(out, "{\"service\":");
    json_put_text(out, b->service);
    buf_puts(out, ",\"node\":");
    json_put_text(out, b->node);
    buf_printf(out, ",\"state\":\"%s\",\"failures\":%u}", states[b->state], b->failures);
}

static enum ctl_step step_pools(struct ctl_job *job, struct buf *out)
{
    enum { BREAKERS_SHOWN = 1000 };
    static const char *const names[] = {"async_pool", "stream_pool"};
    struct breaker_info b;
    struct buf term;
    buf_puts(out, "{\"value\":{");
    for (int stream = 0; stream < 2; stream++) {
        buf_init(&term, 0);
        diag_put_pool(job->server, stream, &term);
        buf_printf(out, "\"%s\":", names[stream]);
        ctl_put_term(buf_slice(&term), out);
        buf_putc(out, ',');
        buf_fini(&term);
    }
    buf_puts(out, "\"breakers\":[");
    unsigned n = 0;
    for (size_t pos = 0; n < BREAKERS_SHOWN && breakers_next(gateway_breakers(job->server->gateway), &pos, &b); n++) {
        buf_puts(out, n ? "," : "");
        put_breaker(out, &b);
    }
    buf_puts(out, "]}}\n");
    return CTL_DONE;
}

/* ---- doing things -------------------------------------------------------------------------------------- */

static void put_lines(struct buf *out, const char *key, const struct buf *lines, bool first)
{
    const char *p = (const char *)lines->data;
    buf_printf(out, "%s\"%s\":[", first ? "" : ",", key);
    for (size_t left = lines->len; left > 0;) {
        const char *nl = memchr(p, '\n', left);
        size_t n = nl ? (size_t)(nl - p) : left, step = n + (nl != NULL);
        buf_puts(out, p == (const char *)lines->data ? "" : ",");
        json_put_text(out, slice_make(p, n));
        p += step;
        left -= step;
    }
    buf_putc(out, ']');
}

/* The file's problems come also when it is refused: they are what the operator needs. */
static enum ctl_step step_reload(struct ctl_job *job, struct buf *out)
{
    struct reload_report r;
    reload_report_init(&r);
    int rc = server_reload(job->server, &r);
    buf_puts(out, "{\"value\":{");
    put_lines(out, "changed", &r.changed, true);
    put_lines(out, "needs_restart", &r.restart, false);
    put_lines(out, "messages", &r.messages.text, false);
    buf_puts(out, "}}\n");
    if (rc != BG_OK)
        err_set(&job->error, rc, 0, "the configuration is wrong; the one before stays");
    reload_report_fini(&r);
    return rc == BG_OK ? CTL_DONE : CTL_FAILED;
}

/* The connection stays until the gateway has gone, which is how the client knows. */
static enum ctl_step step_drain(struct ctl_job *job, struct buf *out)
{
    struct server *s = job->server;
    if (job->cursor++ > 0)
        return CTL_WAIT;
    if (!s->draining) {
        log_info("server", "asked to stop by the command line", "");
        server_stop(s);
    }
    ctl_row_begin(out);
    ctl_row_number(out, "connections", edge_connections(s->edge));
    ctl_row_number(out, "timeout_ms", s->live->drain.timeout_ms);
    ctl_row_end(out);
    return option(job, "wait").ptr ? CTL_WAIT : CTL_DONE;
}

static enum ctl_step step_disconnect(struct ctl_job *job, struct buf *out)
{
    uint32_t closed = edge_disconnect(job->server->edge, job->request.args[0]);
    log_info("ctl", "sockets closed by the command line", "id=%s closed=%u", log_text(job->request.args[0]), closed);
    buf_printf(out, "{\"value\":{\"closed\":%u}}\n", closed);
    return CTL_DONE;
}

static enum ctl_step step_log_level(struct ctl_job *job, struct buf *out)
{
    static const char *const words[] = {
        [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARNING] = "warning", [LOG_ERROR] = "error"};
    enum log_level before = log_level_now(), level = before;
    if (job->request.argc > 0 && log_level_parse(job->request.args[0], &level) != BG_OK) {
        err_set(&job->error, BG_EINVAL, 0, "not a level; use debug, info, warning or error");
        return CTL_FAILED;
    }
    /* While it can be seen, if it can at all. */
    log_set_level(level < before ? level : before);
    if (level != before)
        log_info("ctl", "log level changed", "from=%s to=%s", words[before], words[level]);
    log_set_level(level);
    buf_printf(out, "{\"value\":\"%s\"}\n", words[level]);
    return CTL_DONE;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

#define DIAGNOSTICS "Elixir.PhoenixGenApi.Diagnostics"
#define TABLE(columns, sort) VIEW_TABLE, columns, ARRAY_SIZE(columns), sort, false
#define TREE VIEW_TREE, NULL, 0, 0, false

static const char *const user_option[] = {"user=ID", "only the sockets of this user", NULL};
static const char *const version_option[] = {"version=V", "this version instead of the latest", NULL};
static const char *const call_options[] = {
    "user=ID", "who asks; none: nobody in particular", "roles=A,B", "his roles",
    "version=V", "this version instead of the latest", "timeout=MS", "give up after so long; none: as the function says",
    NULL};
static const char *const trace_options[] = {
    "user=ID", "requests of this user", "service=S", "of this service", "type=T", "of this request type",
    "topic=T", "of this topic", "request-id=ID", "this request", NULL};
static const char *const wait_option[] = {"wait", "until the gateway has ended", NULL};

const struct ctl_command ctl_commands[] = {
    {"health", "", "whether all parts work",
     "Exit code 6 when the status is not ok. Keys are those of PhoenixGenApi.Diagnostics.health_check/0; docs/diagnostics.md\n"
     "says what each means here.",
     0, 0, NULL, step_rpc, DIAGNOSTICS, "health_check", TREE},
    {"stats", "", "counts and sizes of all parts", NULL, 0, 0, NULL, step_rpc, DIAGNOSTICS, "statistics", TREE},
    {"flows", "[SERVICE]", "the functions that clients may call", NULL, 0, 1, NULL, step_flows, NULL, NULL,
     TABLE(flow_columns, 3)},
    {"call-flow", "SERVICE TYPE", "what happens to a request of this function, step by step", NULL, 2, 2, version_option,
     step_rpc, DIAGNOSTICS, "call_flow", TREE},
    {"cluster", "", "the connected nodes and the services on them",
     "Each node is asked for its processes and services; who does not answer in two seconds is shown without.", 0, 0, NULL,
     ctl_step_cluster, NULL, NULL, TREE},
    {"failed", "", "FunConfigs that were refused, and why", "The newest first. They are kept for 24 hours.", 0, 0, NULL,
     step_failed, NULL, NULL, TABLE(failed_columns, 0)},
    {"limits", "", "rate limits, and what each has refused", NULL, 0, 0, NULL, step_limits, NULL, NULL,
     TABLE(limit_columns, 0)},
    {"services", "", "where functions come from: services pulled and pushed", NULL, 0, 0, NULL, step_services, NULL, NULL,
     TABLE(service_columns, 1)},
    {"clients", "", "the WebSockets that are open", NULL, 0, 0, user_option, step_clients, NULL, NULL,
     TABLE(client_columns, 0)},
    {"pools", "", "requests that run beside their channel, and circuit breakers", NULL, 0, 0, NULL, step_pools, NULL, NULL,
     TREE},
    {"call", "SERVICE TYPE [JSON]", "run a request as a client would, and print the answer",
     "JSON is the object of arguments. The request goes through the whole pipeline: permission, rate limits, arguments,\n"
     "node, hooks. Results are printed as they come; an error goes to standard error and gives exit code 1.",
     2, 3, call_options, ctl_step_call, NULL, NULL, VIEW_RESPONSES, NULL, 0, 0, false},
    {"trace", "", "requests as they happen, until Ctrl-C",
     "Without options all requests are shown, at most a thousand messages a second: who asks for what, where it goes and\n"
     "how it ends, without arguments and results.",
     0, 0, trace_options, ctl_step_trace, NULL, NULL, VIEW_LINES, NULL, 0, 0, false},
    {"reload", "", "read the configuration again, as SIGHUP does",
     "Says which options were changed, which need a restart, and what is wrong with the file; a file that is wrong\n"
     "changes nothing (exit code 1).",
     0, 0, NULL, step_reload, NULL, NULL, TREE},
    {"disconnect", "ID", "close the sockets with this id, as a broadcast of \"disconnect\" does",
     "ID is what sockets[].id of the configuration makes of the user, as in users_socket:42. Clients may connect again.", 1,
     1, NULL, step_disconnect, NULL, NULL, TREE},
    {"drain", "", "close all clients with 1012 and stop, as SIGTERM does", NULL, 0, 0, wait_option, step_drain, NULL, NULL,
     VIEW_LINES, NULL, 0, 0, true},
    {"log-level", "[LEVEL]", "show or change the log level until the next start",
     "LEVEL is debug, info, warning or error. A reload of a file whose log.level has changed sets it again.", 0, 1, NULL,
     step_log_level, NULL, NULL, TREE},
};
const size_t ctl_commands_count = ARRAY_SIZE(ctl_commands);

const struct ctl_command *ctl_find(struct slice name)
{
    for (size_t i = 0; i < ctl_commands_count; i++)
        if (slice_is(name, ctl_commands[i].name))
            return &ctl_commands[i];
    return NULL;
}
