/*
 * rpc_config_puller.c: PhoenixGenApi.ConfigPuller (S-050..S-064) over rpc. Services are named by text, atom or binary
 * alike. What is added or deleted here lasts until the gateway ends: the configuration file stays as it is.
 */
#include "rpc_request.h"

#include <stdlib.h>

#include "observer.h"

/* ---- ServiceConfig structs ----------------------------------------------------------------------------- */

static const char struct_name[] = "Elixir.PhoenixGenApi.Structs.ServiceConfig";

/* As a BEAM raises ArgumentError (S-060), with our own words where those of the library would be wrong. */
static enum rpc_outcome argument_error(struct buf *out, const char *text)
{
    return rpc_argument_error(out, slice_str(text));
}

static const char not_a_list[] = "nodes must be a list of ServiceConfig";

static bool is_service_config(struct slice term)
{
    struct slice name;
    return fun_config_field(term, "__struct__", &name) && term_is_atom(name, struct_name);
}

static struct slice args_of(struct slice term, const char *key)
{
    struct slice value;
    return fun_config_field(term, key, &value) && !term_is_nil(value) ? value : SLICE_NONE;
}

/* Names of nodes, atoms or texts. False when it is no such list: a function that gives the nodes cannot run here. */
static bool read_nodes(struct slice term, struct slice **nodes, uint32_t *count)
{
    struct slice list, item;
    uint32_t n;
    if (!fun_config_field(term, "nodes", &list))
        return false;
    struct term_reader r = term_reader(list);
    if (term_read_list(&r, &n) != BG_OK || n == 0 || n > FUN_CONFIG_LIST_MAX)
        return false;
    *nodes = calloc(n, sizeof(**nodes));
    for (*count = 0; *nodes && *count < n; ++*count)
        if (term_skip(&r, &item) != BG_OK || !term_text(item, &(*nodes)[*count]))
            return false;
    return *nodes != NULL;
}

static bool find_text(const struct server *s, struct slice service, struct config_puller_status *status)
{
    for (size_t pos = 0; config_puller_next(s->puller, &pos, status);)
        if (slice_eq(status->config->service, service))
            return true;
    return false;
}

/* The nodes of a service that is about to change or to go, whose names go with it. */
struct former_nodes {
    struct arena memory;
    struct slice *at;
    uint32_t count;
};

/* None for a service that is not there. BG_ENOMEM; former_release() follows in any case. */
static int former_keep(const struct server *s, struct slice service, struct former_nodes *f, struct err *e)
{
    struct config_puller_status status;
    *f = (struct former_nodes){.count = 0};
    arena_init(&f->memory);
    if (!find_text(s, service, &status))
        return BG_OK;
    f->at = arena_array(&f->memory, status.config->nodes_count, sizeof(*f->at));
    for (uint32_t i = 0; f->at && i < status.config->nodes_count; i++) {
        f->at[f->count] = arena_copy(&f->memory, status.config->nodes[i]);
        f->count += f->at[f->count].ptr != NULL;
    }
    return f->count == status.config->nodes_count ? BG_OK : err_set(e, BG_ENOMEM, 0, "out of memory");
}

/* Those that nobody names any more are not looked for any more; with changed false, all stay as they are. */
static void former_release(struct server *s, struct former_nodes *f, bool changed)
{
    for (uint32_t i = 0; changed && i < f->count; i++)
        server_release_node(s, f->at[i]);
    arena_fini(&f->memory);
}

static int add_service(struct server *s, struct slice term, struct err *e)
{
    struct slice *nodes = NULL;
    struct former_nodes former;
    struct service_config c = {
        .service = fun_config_field_text(term, "service"),
        .module = fun_config_field_text(term, "module"),
        .function = fun_config_field_text(term, "function"),
        .args = args_of(term, "args"),
        .version_module = fun_config_field_text(term, "version_module"),
        .version_function = fun_config_field_text(term, "version_function"),
        .version_args = args_of(term, "version_args"),
        .start = PULL_ADDED,
    };
    int rc = former_keep(s, c.service, &former, e);
    if (rc == BG_OK && !read_nodes(term, &nodes, &c.nodes_count))
        rc = err_set(e, BG_EINVAL, 0, "service %s: nodes must be a list of 1 to %d node names", log_text(c.service),
                     FUN_CONFIG_LIST_MAX);
    c.nodes = nodes;
    if (rc == BG_OK)
        rc = config_puller_add(s->puller, &c, e);
    for (uint32_t i = 0; rc == BG_OK && i < c.nodes_count; i++)
        server_stay_connected(s, nodes[i]);
    former_release(s, &former, rc == BG_OK);
    free(nodes);
    return rc;
}

/* S-061: gone, or was not there. */
static int delete_service(struct server *s, struct slice term, struct err *e)
{
    struct former_nodes former;
    struct slice service = fun_config_field_text(term, "service");
    int rc = former_keep(s, service, &former, e);
    bool gone = rc == BG_OK && config_puller_delete(s->puller, service) == BG_OK;
    former_release(s, &former, gone);
    return rc;
}

/* Every item is looked at before the first is taken. What then cannot be taken raises instead of being passed over. */
static enum rpc_outcome each_service(struct server *s, struct slice list, struct buf *out,
                                     int (*take)(struct server *s, struct slice term, struct err *e))
{
    struct term_reader r = term_reader(list), check;
    struct slice item;
    struct err e = {0};
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK)
        return argument_error(out, not_a_list);
    check = r;
    for (uint32_t i = 0; i < n; i++)
        if (term_skip(&check, &item) != BG_OK || !is_service_config(item))
            return argument_error(out, not_a_list);
    for (uint32_t i = 0; i < n; i++)
        if (term_skip(&r, &item) != BG_OK || take(s, item, &e) != BG_OK)
            return argument_error(out, e.text);
    return rpc_put_atom(out, "ok");
}

enum rpc_outcome rpc_puller_add(void *server, const struct rpc_call *call, struct buf *out)
{
    return each_service(server, call->argv[0], out, add_service);
}

enum rpc_outcome rpc_puller_delete(void *server, const struct rpc_call *call, struct buf *out)
{
    return each_service(server, call->argv[0], out, delete_service);
}

/* ---- showing them -------------------------------------------------------------------------------------- */

static uint32_t count_services(const struct server *s)
{
    struct config_puller_status status;
    uint32_t n = 0;
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);)
        n++;
    return n;
}

static bool find_service(const struct server *s, struct slice service, struct config_puller_status *status)
{
    struct slice text;
    return term_text(service, &text) && find_text(s, text, status);
}

static void put_name(struct buf *out, const char *key, struct slice name)
{
    term_put_atom(out, key);
    if (name.len > 0)
        term_put_atom_slice(out, name);
    else
        term_put_atom(out, "nil");
}

static void put_args(struct buf *out, const char *key, struct slice list)
{
    term_put_atom(out, key);
    if (list.len > 0)
        term_put_raw(out, list);
    else
        term_put_nil(out);
}

static void put_service_config(struct buf *out, const struct service_config *c)
{
    term_put_map(out, 9);
    term_put_atom(out, "__struct__");
    term_put_atom(out, struct_name);
    term_put_atom(out, "service");
    term_put_binary(out, c->service);
    term_put_atom(out, "nodes");
    term_put_list(out, c->nodes_count);
    for (uint32_t i = 0; i < c->nodes_count; i++)
        term_put_atom_slice(out, c->nodes[i]);
    term_put_nil(out); /* there is at least one node */
    put_name(out, "module", c->module);
    put_name(out, "function", c->function);
    put_args(out, "args", c->args);
    put_name(out, "version_module", c->version_module);
    put_name(out, "version_function", c->version_function);
    put_args(out, "version_args", c->version_args);
}

static void put_services(const struct server *s, struct buf *out)
{
    struct config_puller_status status;
    term_put_map(out, count_services(s));
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);) {
        term_put_binary(out, status.config->service);
        put_service_config(out, status.config);
    }
}

enum rpc_outcome rpc_puller_services(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    put_services(server, out);
    return RPC_RETURN;
}

/* S-059: the request types known of the service, each once, or nil when it was never pulled. */
static void put_api_list(const struct server *s, struct buf *out, const struct config_puller_status *status)
{
    size_t count = 0;
    if (status->pulled_at_us == 0) {
        term_put_atom(out, "nil");
        return;
    }
    struct fun_config **all = rpc_sorted_configs(s, status->config->service, &count);
    struct list_mark m = list_open(out);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && slice_eq(all[i]->request_type, all[i - 1]->request_type))
            continue;
        term_put_binary(out, all[i]->request_type);
        m.count++;
    }
    list_close(out, &m);
    free(all);
}

enum rpc_outcome rpc_puller_api_list(void *server, const struct rpc_call *call, struct buf *out)
{
    struct config_puller_status status;
    if (!find_service(server, call->argv[0], &status))
        return rpc_put_atom(out, "nil");
    put_api_list(server, out, &status);
    return RPC_RETURN;
}

/* The term that the version function gave last. */
static void put_version(struct buf *out, const struct config_puller_status *status)
{
    if (status->version.len > 0)
        term_put_raw(out, status->version);
    else
        term_put_atom(out, "nil");
}

enum rpc_outcome rpc_puller_version(void *server, const struct rpc_call *call, struct buf *out)
{
    struct config_puller_status status;
    if (!find_service(server, call->argv[0], &status))
        return rpc_put_atom(out, "nil");
    put_version(out, &status);
    return RPC_RETURN;
}

/* Of those that have one. */
static void put_versions(const struct server *s, struct buf *out)
{
    struct config_puller_status status;
    uint32_t n = 0;
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);)
        n += status.version.len > 0;
    term_put_map(out, n);
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);) {
        if (status.version.len == 0)
            continue;
        term_put_binary(out, status.config->service);
        put_version(out, &status);
    }
}

enum rpc_outcome rpc_puller_versions(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    put_versions(server, out);
    return RPC_RETURN;
}

static void put_api_lists(const struct server *s, struct buf *out)
{
    struct config_puller_status status;
    uint32_t n = 0;
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);)
        n += status.pulled_at_us > 0;
    term_put_map(out, n);
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);) {
        if (status.pulled_at_us == 0)
            continue;
        term_put_binary(out, status.config->service);
        put_api_list(s, out, &status);
    }
}

/* S-051: a round of the library fails when every service does; so many have, in a row. */
static uint32_t failed_rounds(const struct server *s)
{
    struct config_puller_status status;
    uint32_t least = UINT32_MAX;
    for (size_t pos = 0; config_puller_next(s->puller, &pos, &status);)
        least = status.failures < least ? status.failures : least;
    return least == UINT32_MAX ? 0 : least;
}

/* S-060. */
enum rpc_outcome rpc_puller_status(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    term_put_map(out, 5);
    term_put_atom(out, "status");
    term_put_atom(out, "ok");
    term_put_atom(out, "services");
    put_services(server, out);
    term_put_atom(out, "api_list");
    put_api_lists(server, out);
    term_put_atom(out, "service_versions");
    put_versions(server, out);
    term_put_atom(out, "failure_count");
    term_put_uint(out, failed_rounds(server));
    return RPC_RETURN;
}

/* S-053: both only start a pull. */
enum rpc_outcome rpc_puller_pull(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    config_puller_pull(s->puller, slice_is(call->function, "force_pull"));
    return rpc_put_atom(out, "ok");
}
