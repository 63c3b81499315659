/*
 * diag_cluster.c: cluster_view (O-085): the cluster as this node sees it. As the library does, it asks each node for
 * its registered names and for the services of its store; service nodes keep none, and there the services are those
 * whose configs name the node.
 *
 * Whoever wants a view waits for the others' answers, ANSWER_TIMEOUT_US at most; one who asks while VIEWS_MAX wait
 * already gets what is known without asking.
 */
#include "diag.h"

#include <stdlib.h>

#include "observer.h"

enum {
    VIEWS_MAX = 8,
    NODES_ASKED = 128, /* of the connected ones; the others are shown with what is known here */
    ANSWER_TIMEOUT_US = 2000000,
    ANSWER_MAX_BYTES = 256 * 1024 /* a longer one is as good as none */
};

enum question { ASK_REGISTERED, ASK_SERVICES, QUESTIONS };

struct answer {
    struct buf value; /* a list term; empty: none */
    handle_t call;
};

struct asked_node {
    struct slice name;
    struct answer answer[QUESTIONS];
};

/* One who waits. Each answer is told apart by its tag: node * QUESTIONS + question. */
struct cluster_view {
    struct list all;
    struct server *server;
    cluster_view_fn *done;
    void *owner;
    handle_t waiter; /* whoever asked by rpc */
    uint32_t nodes;
    uint32_t open; /* questions without an answer yet */
    struct arena memory;
    struct asked_node node[NODES_ASKED];
};

/* ---- what is known here -------------------------------------------------------------------------------- */

/* The names of this node's processes. */
static void put_registered(const struct server *s, struct buf *out)
{
    struct list_mark m = list_open(out);
    uint32_t pos = 0;
    handle_t p;
    for (uint32_t n = 0; n < DIAG_PROCESSES_READ && (p = process_next(s->processes, &pos)) != HANDLE_NONE; n++) {
        struct process_info info = process_info(s->processes, p);
        if (info.name.len == 0)
            continue;
        term_put_atom_slice(out, info.name);
        m.count++;
    }
    list_close(out, &m);
}

/* The services of one node, as far as its configs tell. */
struct node_services {
    struct buf list;
    struct list_mark mark;
    struct slice last; /* put last: each once, since the configs come sorted by service */
};

/* node: what a config names, connected or not. */
static void add_service(const struct map *by_node, struct slice node, const struct fun_config *fc, struct slice service)
{
    struct node_services *of = map_get(by_node, node);
    if (!of || (of->last.ptr && slice_eq(of->last, fc->service)))
        return;
    of->last = fc->service;
    term_put_raw(&of->list, service);
    of->mark.count++;
}

/* One walk over the configs for all the nodes. */
static void add_services(const struct server *s, const struct map *by_node)
{
    struct slice service;
    size_t count = 0;
    struct fun_config **all = rpc_sorted_configs(s, SLICE_NONE, &count);
    for (size_t i = 0; i < count; i++) {
        if (!fun_config_field(all[i]->term, "service", &service))
            continue;
        for (uint32_t n = 0; n < all[i]->nodes_count; n++)
            add_service(by_node, all[i]->nodes[n], all[i], service);
        add_service(by_node, all[i]->origin, all[i], service);
    }
    free(all);
}

static uint32_t count_nodes(const struct server *s)
{
    uint32_t n = 0, pos = 0;
    while (s->cluster && n < DIAG_NODES_MAX && cluster_next_link(s->cluster, &pos))
        n++;
    return n;
}

/* The node's own answer; NULL when it was not asked or gave none. */
static const struct buf *answer_of(const struct cluster_view *v, struct slice node, enum question q)
{
    for (uint32_t i = 0; v && i < v->nodes; i++)
        if (slice_eq(v->node[i].name, node))
            return v->node[i].answer[q].value.len ? &v->node[i].answer[q].value : NULL;
    return NULL;
}

/* A list for each node, under its name. Without memory out has failed. */
static void begin_services(const struct server *s, uint32_t nodes, struct node_services *of, struct map *by_node,
                           struct buf *out)
{
    struct dist_link *l;
    uint32_t pos = 0;
    for (uint32_t i = 0; i < nodes && (l = cluster_next_link(s->cluster, &pos)) != NULL; i++) {
        buf_init(&of[i].list, 0);
        of[i].mark = list_open(&of[i].list);
        if (map_put(by_node, dist_link_node(l), &of[i]) != BG_OK)
            out->failed = true;
    }
}

/* told: the node's own answer, or NULL. One that is [] is no more than what is known here. */
static void end_services(struct node_services *of, const struct buf *told, struct buf *out)
{
    list_close(&of->list, &of->mark);
    if (!buf_ok(&of->list))
        out->failed = true;
    term_put_raw(out, buf_slice(told ? told : &of->list));
    buf_fini(&of->list);
}

/* #{Node => Services} */
static void put_services(const struct server *s, const struct cluster_view *v, uint32_t nodes, struct buf *out)
{
    struct node_services *of = calloc(nodes + 1, sizeof(*of));
    struct map by_node;
    struct dist_link *l;
    uint32_t pos = 0;
    if (!of) {
        out->failed = true;
        return;
    }
    map_init(&by_node);
    begin_services(s, nodes, of, &by_node, out);
    add_services(s, &by_node);
    term_put_map(out, nodes);
    for (uint32_t i = 0; i < nodes && (l = cluster_next_link(s->cluster, &pos)) != NULL; i++) {
        term_put_atom_slice(out, dist_link_node(l));
        end_services(&of[i], answer_of(v, dist_link_node(l), ASK_SERVICES), out);
    }
    map_fini(&by_node);
    free(of);
}

/* #{Node => Names}: of this node, and of those that have told theirs. */
static void put_names(const struct server *s, const struct cluster_view *v, struct buf *out)
{
    uint32_t told = 0;
    for (uint32_t i = 0; v && i < v->nodes; i++)
        told += v->node[i].answer[ASK_REGISTERED].value.len > 0;
    term_put_map(out, 1 + told);
    term_put_atom(out, s->self.name);
    put_registered(s, out);
    for (uint32_t i = 0; v && i < v->nodes; i++) {
        const struct buf *names = &v->node[i].answer[ASK_REGISTERED].value;
        if (names->len == 0)
            continue;
        term_put_atom_slice(out, v->node[i].name);
        term_put_raw(out, buf_slice(names));
    }
}

static void put_selection(struct buf *out)
{
    static const char *const strategies[] = {"random", "hash", "round_robin", "sticky"};
    term_put_map(out, 2);
    diag_key(out, "strategies");
    term_put_list(out, ARRAY_SIZE(strategies));
    for (size_t i = 0; i < ARRAY_SIZE(strategies); i++)
        term_put_atom(out, strategies[i]);
    term_put_nil(out);
    diag_put_string(out, "description", "Configure via FunConfig.choose_node_mode");
}

static void put_view(const struct server *s, const struct cluster_view *v, struct buf *out)
{
    uint32_t nodes = count_nodes(s);
    term_put_map(out, 6);
    diag_put_word(out, "self", s->self.name);
    diag_key(out, "connected");
    diag_put_nodes(s, out);
    diag_put_uint(out, "connected_count", nodes);
    diag_key(out, "registered_processes");
    put_names(s, v, out);
    diag_key(out, "phoenix_gen_api_services");
    put_services(s, v, nodes, out);
    diag_key(out, "node_selection");
    put_selection(out);
}

void diag_put_cluster_view(const struct server *s, struct buf *out)
{
    put_view(s, NULL, out);
}

/* ---- asking the others --------------------------------------------------------------------------------- */

void cluster_view_cancel(struct cluster_view *v)
{
    struct server *s = v->server;
    list_remove(&v->all);
    s->cluster_views_count--;
    for (uint32_t i = 0; i < v->nodes; i++) {
        for (unsigned q = 0; q < QUESTIONS; q++) {
            remote_call_cancel(s->calls, v->node[i].answer[q].call);
            buf_fini(&v->node[i].answer[q].value);
        }
    }
    arena_fini(&v->memory);
    free(v);
}

static void view_answer(struct cluster_view *v)
{
    struct buf out;
    buf_init(&out, 0);
    put_view(v->server, v, &out);
    v->done(v->owner, v, buf_ok(&out) ? buf_slice(&out) : SLICE_NONE);
    buf_fini(&out);
    cluster_view_cancel(v);
}

/* A list that is proper, of which nothing else need be known: it is passed on as it came. */
static bool is_list(struct slice value)
{
    struct term_reader r = term_reader(value);
    struct slice item;
    uint32_t n;
    if (term_peek(&r) == TERM_STRING || term_read_list(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (term_skip(&r, &item) != BG_OK)
            return false;
    return n > 0 && term_read_tail(&r) == BG_OK;
}

static void on_answer(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct cluster_view *v = owner;
    struct answer *a = &v->node[tag / QUESTIONS].answer[tag % QUESTIONS];
    a->call = HANDLE_NONE;
    if (outcome == CALL_RETURN && value.len <= ANSWER_MAX_BYTES && is_list(value))
        buf_add_slice(&a->value, value);
    if (!buf_ok(&a->value))
        buf_reset(&a->value);
    if (--v->open == 0)
        view_answer(v);
}

static void ask(struct cluster_view *v, uint32_t node, enum question q)
{
    static const struct {
        const char *module;
        const char *function;
    } functions[QUESTIONS] = {{"erlang", "registered"}, {"Elixir.PhoenixGenApi.ConfigDb", "get_all_services"}};
    static const char none[] = "\x6a"; /* NIL_EXT */
    struct answer *a = &v->node[node].answer[q];
    a->call = remote_call(v->server->calls, v->node[node].name, CALL_REX, functions[q].module, functions[q].function,
                          slice_make(none, 1), ANSWER_TIMEOUT_US, on_answer, v, node * QUESTIONS + q);
    v->open += a->call != HANDLE_NONE;
}

/* False without memory. */
static bool add_node(struct cluster_view *v, struct slice name)
{
    struct asked_node *n = &v->node[v->nodes];
    n->name = arena_copy(&v->memory, name);
    if (!n->name.ptr)
        return false;
    for (unsigned q = 0; q < QUESTIONS; q++)
        buf_init(&n->answer[q].value, 0);
    v->nodes++;
    return true;
}

struct cluster_view *cluster_view_new(struct server *s, cluster_view_fn *done)
{
    struct cluster_view *v = s->cluster && s->cluster_views_count < VIEWS_MAX ? calloc(1, sizeof(*v)) : NULL;
    struct dist_link *l;
    if (!v)
        return NULL;
    v->server = s;
    v->done = done;
    arena_init(&v->memory);
    list_append(&s->cluster_views, &v->all);
    s->cluster_views_count++;
    for (uint32_t pos = 0; v->nodes < NODES_ASKED && (l = cluster_next_link(s->cluster, &pos)) != NULL;)
        if (!add_node(v, dist_link_node(l)))
            break;
    if (v->nodes > 0)
        return v;
    cluster_view_cancel(v);
    return NULL;
}

void cluster_view_ask(struct cluster_view *v, void *owner)
{
    v->owner = owner;
    for (uint32_t i = 0; i < v->nodes; i++)
        for (enum question q = 0; q < QUESTIONS; q++)
            ask(v, i, q);
    if (v->open == 0)
        view_answer(v);
}

/* ---- by rpc -------------------------------------------------------------------------------------------- */

static void answer_rpc(void *server, struct cluster_view *v, struct slice view)
{
    static const char limit[] = "w\14system_limit";
    struct server *s = server;
    if (view.len)
        rpc_later_answer(s->later, v->waiter, RPC_RETURN, view);
    else
        rpc_later_answer(s->later, v->waiter, RPC_ERROR, slice_make(limit, sizeof(limit) - 1));
}

static void on_gone(void *owner, handle_t waiter)
{
    (void)waiter;
    cluster_view_cancel(owner);
}

/* Nobody is asked before somebody waits: an answer never comes before its question is counted. */
enum rpc_outcome rpc_cluster_view(void *server, const struct rpc_call *call, struct buf *out)
{
    static const struct rpc_waiter_ops ops = {.gone = on_gone};
    struct server *s = server;
    struct cluster_view *v = call->shape != RPC_SHAPE_NOW && s->later ? cluster_view_new(s, answer_rpc) : NULL;
    if (v)
        v->waiter = rpc_later_begin(s->later, call, &ops, v);
    if (!v || v->waiter == HANDLE_NONE) {
        if (v)
            cluster_view_cancel(v);
        diag_put_cluster_view(s, out);
        return RPC_RETURN;
    }
    cluster_view_ask(v, s);
    return RPC_LATER;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

void diag_start(struct server *s)
{
    list_init(&s->cluster_views);
}

void diag_end(struct server *s)
{
    while (s->cluster_views.next && !list_empty(&s->cluster_views))
        cluster_view_cancel(container_of(s->cluster_views.next, struct cluster_view, all));
}
