/*
 * rpc_table.c: the functions that other nodes may call here, by the names they have on an Elixir gateway
 * (S-008, 04 §5-§8). rpc_server.c finds the row and shapes the answer; a row's function reads its arguments,
 * which are checked terms of any kind, and appends one term.
 *
 * To add a function: write it, add a row. A function given arguments of a wrong kind answers as the BEAM does:
 * error:function_clause. Nothing here may wait: what takes longer starts it and answers ok, as ConfigPuller does.
 */
#include "server_state.h"

#include <stdlib.h>

/* ---- erlang, Code -------------------------------------------------------------------------------------- */

static enum rpc_outcome put_atom(struct buf *out, const char *name)
{
    term_put_atom(out, name);
    return RPC_RETURN;
}

static enum rpc_outcome put_count(struct buf *out, size_t n)
{
    term_put_uint(out, n);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_node(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    return put_atom(out, s->self.name);
}

/* Every connected node. A BEAM leaves hidden ones out; to this node, which is hidden itself, all are equal. */
static enum rpc_outcome rpc_nodes(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct dist_link *l;
    (void)call;
    for (uint32_t pos = 0; (l = cluster_next_link(s->cluster, &pos)) != NULL;) {
        term_put_list(out, 1);
        term_put_atom_slice(out, dist_link_node(l));
    }
    term_put_nil(out);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_true(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    return put_atom(out, "true");
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
        return put_atom(out, "undefined");
    node_put_pid(&s->self, out, h);
    return RPC_RETURN;
}

/* No module is ever loaded here: whatever a caller wants to run must run elsewhere. */
static enum rpc_outcome rpc_not_loaded(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    return put_atom(out, "false");
}

static enum rpc_outcome rpc_nofile(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    term_put_tuple(out, 2);
    term_put_atom(out, "error");
    return put_atom(out, "nofile");
}

/* ---- PhoenixGenApi.ConfigDb ---------------------------------------------------------------------------- */

static enum rpc_outcome rpc_db_count(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    return put_count(out, config_db_count(s->db));
}

static int compare_slices(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

static int compare_entries(const void *a, const void *b)
{
    const struct fun_config *x = *(const struct fun_config *const *)a, *y = *(const struct fun_config *const *)b;
    int c = compare_slices(x->service, y->service);
    if (c == 0)
        c = compare_slices(x->request_type, y->request_type);
    return c ? c : compare_slices(x->version, y->version);
}

/* Every entry by service, type, version; the caller frees it. NULL when there is none, or no memory. */
static struct fun_config **sorted_entries(const struct server *s, size_t *count)
{
    size_t n = config_db_count(s->db), used = 0;
    struct fun_config **all = n ? calloc(n, sizeof(*all)) : NULL, *fc;
    for (size_t pos = 0; all && used < n && (fc = config_db_next(s->db, &pos)) != NULL;)
        all[used++] = fc;
    if (all)
        qsort(all, used, sizeof(*all), compare_entries);
    *count = all ? used : 0;
    return all;
}

/* How many entries from the first on agree with it in the service, or in service and type. */
static size_t run_of(struct fun_config *const *at, size_t left, bool by_type)
{
    size_t n = 0;
    while (n < left && slice_eq(at[n]->service, at[0]->service) &&
           (!by_type || slice_eq(at[n]->request_type, at[0]->request_type)))
        n++;
    return n;
}

static uint32_t groups(struct fun_config *const *at, size_t count, bool by_type)
{
    uint32_t n = 0;
    for (size_t i = 0; i < count; i += run_of(at + i, count - i, by_type))
        n++;
    return n;
}

/* The service as it came, an atom or a binary. */
static void put_service(struct buf *out, const struct fun_config *fc)
{
    struct slice as_it_came;
    if (term_map_get(fc->term, "service", &as_it_came))
        term_put_raw(out, as_it_came);
    else
        term_put_binary(out, fc->service);
}

static void put_versions(struct buf *out, struct fun_config *const *at, size_t count)
{
    term_put_list(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        if (at[i]->version.ptr)
            term_put_binary(out, at[i]->version);
        else
            term_put_atom(out, "nil");
    }
    if (count)
        term_put_nil(out);
}

/* #{Type => [Version]} of one service. */
static void put_types(struct buf *out, struct fun_config *const *at, size_t count)
{
    term_put_map(out, groups(at, count, true));
    for (size_t i = 0, n; i < count; i += n) {
        n = run_of(at + i, count - i, true);
        term_put_binary(out, at[i]->request_type);
        put_versions(out, at + i, n);
    }
}

static enum rpc_outcome rpc_db_services(void *server, const struct rpc_call *call, struct buf *out)
{
    size_t count;
    struct fun_config **all = sorted_entries(server, &count);
    (void)call;
    uint32_t n = groups(all, count, false);
    term_put_list(out, n);
    for (size_t i = 0; i < count; i += run_of(all + i, count - i, false))
        put_service(out, all[i]);
    if (n)
        term_put_nil(out);
    free(all);
    return RPC_RETURN;
}

/* S-075: #{Service => #{Type => [Version]}}. */
static enum rpc_outcome rpc_db_functions(void *server, const struct rpc_call *call, struct buf *out)
{
    size_t count;
    struct fun_config **all = sorted_entries(server, &count);
    (void)call;
    term_put_map(out, groups(all, count, false));
    for (size_t i = 0, n; i < count; i += n) {
        n = run_of(all + i, count - i, false);
        put_service(out, all[i]);
        put_types(out, all + i, n);
    }
    free(all);
    return RPC_RETURN;
}

/* ---- PhoenixGenApi.ConfigPuller, .ConfigFailed --------------------------------------------------------- */

/* S-053: both only start a pull. */
static enum rpc_outcome rpc_pull(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    config_puller_pull(s->puller, slice_is(call->function, "force_pull"));
    return put_atom(out, "ok");
}

static enum rpc_outcome rpc_failed_count(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    return put_count(out, config_failed_count(s->failed));
}

/* ---- the table ----------------------------------------------------------------------------------------- */

#define CONFIG_DB "Elixir.PhoenixGenApi.ConfigDb"
#define CONFIG_PULLER "Elixir.PhoenixGenApi.ConfigPuller"
#define CONFIG_FAILED "Elixir.PhoenixGenApi.ConfigFailed"

const struct rpc_entry rpc_entries[] = {
    {"erlang", "node", 0, rpc_node},
    {"erlang", "nodes", 0, rpc_nodes},
    {"erlang", "is_alive", 0, rpc_true},
    {"erlang", "whereis", 1, rpc_whereis},
    {"Elixir.Code", "ensure_loaded?", 1, rpc_not_loaded},
    {"Elixir.Code", "ensure_loaded", 1, rpc_nofile},
    {CONFIG_DB, "count", 0, rpc_db_count},
    {CONFIG_DB, "get_all_services", 0, rpc_db_services},
    {CONFIG_DB, "get_all_functions", 0, rpc_db_functions},
    {CONFIG_PULLER, "pull", 0, rpc_pull},
    {CONFIG_PULLER, "force_pull", 0, rpc_pull},
    {CONFIG_FAILED, "count", 0, rpc_failed_count},
};
const size_t rpc_entries_count = ARRAY_SIZE(rpc_entries);

/* ---- one table of all files' ---------------------------------------------------------------------------- */

static const struct {
    const struct rpc_entry *entries;
    const size_t *count;
} groups_of_entries[] = {
    {rpc_entries, &rpc_entries_count},
    {observer_entries, &observer_entries_count},
};

int server_rpc_start(struct server *s)
{
    size_t count = 0, used = 0;
    for (size_t i = 0; i < ARRAY_SIZE(groups_of_entries); i++)
        count += *groups_of_entries[i].count;
    s->rpc_joined = calloc(count, sizeof(*s->rpc_joined));
    if (!s->rpc_joined)
        return BG_ENOMEM;
    for (size_t i = 0; i < ARRAY_SIZE(groups_of_entries); i++) {
        size_t n = *groups_of_entries[i].count;
        memcpy(s->rpc_joined + used, groups_of_entries[i].entries, n * sizeof(*s->rpc_joined));
        used += n;
    }
    s->rpc = (struct rpc_table){.entries = s->rpc_joined, .count = count, .server = s};
    return rpc_table_index(&s->rpc);
}

void server_rpc_end(struct server *s)
{
    rpc_table_fini(&s->rpc);
    free(s->rpc_joined);
    s->rpc_joined = NULL;
}
