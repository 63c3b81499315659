/*
 * rpc_table.c: the functions that other nodes may call here, by the names they have on an Elixir gateway
 * (S-008): the table, and those that are no library's. rpc_server.c finds the row and shapes the
 * answer; a row's function reads its arguments, which are checked terms of any kind, and appends one term.
 *
 * To add a function: write it in the file of its module, declare it in rpc_functions.h, add a row. A function given
 * arguments of a wrong kind answers as the BEAM does: error:function_clause. Nothing here may wait: what takes longer
 * starts it and answers ok, as ConfigPuller does.
 */
#include "rpc_functions.h"

#include <stdlib.h>

#include "diag.h"
#include "observer.h"
#include "print_page.h"
#include "telemetry_handlers.h"

enum { RPC_WAITERS_MAX = 10000 }; /* calls of other nodes that wait for their answer; more are told system_limit */

enum rpc_outcome rpc_put_atom(struct buf *out, const char *name)
{
    term_put_atom(out, name);
    return RPC_RETURN;
}

enum rpc_outcome rpc_put_count(struct buf *out, size_t n)
{
    term_put_uint(out, n);
    return RPC_RETURN;
}

void rpc_put_pair(struct buf *out, const char *a, const char *b)
{
    term_put_tuple(out, 2);
    term_put_atom(out, a);
    term_put_atom(out, b);
}

enum rpc_outcome rpc_badarg(struct buf *out)
{
    term_put_atom(out, "badarg");
    return RPC_ERROR;
}

bool rpc_option(struct slice options, const char *key, struct slice *value)
{
    struct term_reader r = term_reader(options), pair;
    struct slice item, name;
    uint32_t n, arity;
    if (options.len == 0 || term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n && term_skip(&r, &item) == BG_OK; i++) {
        pair = term_reader(item);
        if (term_read_tuple(&pair, &arity) == BG_OK && arity == 2 && term_read_atom(&pair, &name) == BG_OK &&
            slice_is(name, key))
            return term_skip(&pair, value) == BG_OK;
    }
    return false;
}

bool rpc_is_options(struct slice term)
{
    struct term_reader r = term_reader(term);
    struct slice item;
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (term_skip(&r, &item) != BG_OK)
            return false;
    return n == 0 || term_read_tail(&r) == BG_OK;
}

bool rpc_names_service(struct slice wanted, struct slice service)
{
    struct term_reader r = term_reader(wanted);
    struct slice item, text;
    uint32_t n;
    if (term_text(wanted, &text))
        return slice_eq(text, service);
    if (term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n && term_skip(&r, &item) == BG_OK; i++)
        if (term_text(item, &text) && slice_eq(text, service))
            return true;
    return false;
}

/* ---- erlang -------------------------------------------------------------------------------------------- */

static enum rpc_outcome rpc_node(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    return rpc_put_atom(out, s->self.name);
}

/* Every connected node. A BEAM leaves hidden ones out; to this node, which is hidden itself, all are equal. */
static enum rpc_outcome rpc_nodes(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct list_mark m = list_open(out);
    struct dist_link *l;
    (void)call;
    for (uint32_t pos = 0; (l = cluster_next_link(s->cluster, &pos)) != NULL; m.count++)
        term_put_atom_slice(out, dist_link_node(l));
    list_close(out, &m);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_true(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    return rpc_put_atom(out, "true");
}

static enum rpc_outcome rpc_whereis(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct term_reader r = term_reader(call->argv[0]);
    struct slice name;
    if (term_read_atom(&r, &name) != BG_OK)
        return RPC_ERROR;
    handle_t h = process_whereis(s->processes, name);
    if (h == HANDLE_NONE)
        return rpc_put_atom(out, "undefined");
    node_put_pid(&s->self, out, h);
    return RPC_RETURN;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

#define CONFIG_DB "Elixir.PhoenixGenApi.ConfigDb"
#define CONFIG_PULLER "Elixir.PhoenixGenApi.ConfigPuller"
#define CONFIG_RECEIVER "Elixir.PhoenixGenApi.ConfigReceiver"
#define CONFIG_FAILED "Elixir.PhoenixGenApi.ConfigFailed"

const struct rpc_entry rpc_entries[] = {
    {"erlang", "node", 0, rpc_node},
    {"erlang", "nodes", 0, rpc_nodes},
    {"erlang", "is_alive", 0, rpc_true},
    {"erlang", "whereis", 1, rpc_whereis},
    {CONFIG_RECEIVER, "push", 1, rpc_receiver_push},
    {CONFIG_RECEIVER, "push", 2, rpc_receiver_push},
    {CONFIG_RECEIVER, "verify", 2, rpc_receiver_verify},
    {CONFIG_RECEIVER, "get_pushed_config", 1, rpc_receiver_config},
    {CONFIG_RECEIVER, "get_all_pushed_services", 0, rpc_receiver_services},
    {CONFIG_RECEIVER, "delete_pushed_service", 1, rpc_receiver_delete},
    {CONFIG_RECEIVER, "status", 0, rpc_receiver_status},
    {CONFIG_DB, "add", 1, rpc_db_add},
    {CONFIG_DB, "batch_add", 1, rpc_db_batch_add},
    {CONFIG_DB, "update", 1, rpc_db_add},
    {CONFIG_DB, "get", 2, rpc_db_get},
    {CONFIG_DB, "get", 3, rpc_db_get},
    {CONFIG_DB, "get_fast", 2, rpc_db_get_latest},
    {CONFIG_DB, "get_latest", 2, rpc_db_get_latest},
    {CONFIG_DB, "disable", 2, rpc_db_disable},
    {CONFIG_DB, "disable", 3, rpc_db_disable},
    {CONFIG_DB, "enable", 2, rpc_db_enable},
    {CONFIG_DB, "enable", 3, rpc_db_enable},
    {CONFIG_DB, "delete", 2, rpc_db_delete},
    {CONFIG_DB, "delete", 3, rpc_db_delete},
    {CONFIG_DB, "clear", 0, rpc_db_clear},
    {CONFIG_DB, "count", 0, rpc_db_count},
    {CONFIG_DB, "get_all_services", 0, rpc_db_services},
    {CONFIG_DB, "get_all_functions", 0, rpc_db_functions},
    {CONFIG_DB, "get_functions_from_services", 1, rpc_db_functions_of},
    {CONFIG_DB, "status", 0, rpc_db_status},
    {CONFIG_PULLER, "add", 1, rpc_puller_add},
    {CONFIG_PULLER, "delete", 1, rpc_puller_delete},
    {CONFIG_PULLER, "get_services", 0, rpc_puller_services},
    {CONFIG_PULLER, "get_api_list", 1, rpc_puller_api_list},
    {CONFIG_PULLER, "get_service_version", 1, rpc_puller_version},
    {CONFIG_PULLER, "get_all_versions", 0, rpc_puller_versions},
    {CONFIG_PULLER, "status", 0, rpc_puller_status},
    {CONFIG_PULLER, "pull", 0, rpc_puller_pull},
    {CONFIG_PULLER, "force_pull", 0, rpc_puller_pull},
    {CONFIG_FAILED, "list", 0, rpc_failed_list},
    {CONFIG_FAILED, "list", 1, rpc_failed_list},
    {CONFIG_FAILED, "count", 0, rpc_failed_count},
    {CONFIG_FAILED, "summary", 0, rpc_failed_summary},
    {CONFIG_FAILED, "cleanup", 0, rpc_failed_cleanup},
    {CONFIG_FAILED, "clear", 0, rpc_failed_clear},
    {CONFIG_FAILED, "record", 3, rpc_failed_record},
    {CONFIG_FAILED, "record", 4, rpc_failed_record},
};
const size_t rpc_entries_count = ARRAY_SIZE(rpc_entries);

/* ---- one table of all files' ---------------------------------------------------------------------------- */

static const struct {
    const struct rpc_entry *entries;
    const size_t *count;
} groups_of_entries[] = {
    {rpc_entries, &rpc_entries_count},
    {module_entries, &module_entries_count},
    {executor_entries, &executor_entries_count},
    {rate_limiter_entries, &rate_limiter_entries_count},
    {print_entries, &print_entries_count},
    {rules_entries, &rules_entries_count},
    {telemetry_entries, &telemetry_entries_count},
    {json_config_entries, &json_config_entries_count},
    {observer_entries, &observer_entries_count},
    {pubsub_entries, &pubsub_entries_count},
    {diagnostics_entries, &diagnostics_entries_count},
    {shell_entries, &shell_entries_count},
};

int server_rpc_start(struct server *s)
{
    size_t count = 0, used = 0;
    list_init(&s->executor.handed_over);
    diag_start(s);
    pages_start(s);
    s->later = rpc_later_new(s->processes, s->cluster, RPC_WAITERS_MAX);
    s->telemetry_handlers = telemetry_handlers_new(s);
    for (size_t i = 0; i < ARRAY_SIZE(groups_of_entries); i++)
        count += *groups_of_entries[i].count;
    s->rpc_joined = calloc(count, sizeof(*s->rpc_joined));
    if (!s->rpc_joined || !s->later || !s->telemetry_handlers)
        return BG_ENOMEM;
    for (size_t i = 0; i < ARRAY_SIZE(groups_of_entries); i++) {
        size_t n = *groups_of_entries[i].count;
        memcpy(s->rpc_joined + used, groups_of_entries[i].entries, n * sizeof(*s->rpc_joined));
        used += n;
    }
    s->rpc = (struct rpc_table){.entries = s->rpc_joined, .count = count, .server = s, .gather = &s->gather};
    return rpc_table_index(&s->rpc);
}

void server_rpc_end(struct server *s)
{
    rpc_table_fini(&s->rpc);
    free(s->rpc_joined);
    s->rpc_joined = NULL;
    pages_end(s);
    rpc_later_free(s->later);
    s->later = NULL;
    telemetry_handlers_free(s->telemetry_handlers);
    s->telemetry_handlers = NULL;
}
