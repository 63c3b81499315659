/*
 * observer_processes.c: the node's processes as Observer shows them: the Processes tab, a process's own window, the tree
 * of the application, etop. A process here is an actor of the process table (08 §5, D-21): channels, streams, the
 * services every node has. It has no queue, heap or stack: a message is worked on while its packet is read.
 *
 * What is real: pid, name, kind (as initial call), messages worked on (as reductions), links, monitors, the memory of
 * its records. Never under a bound of rows: see observer.h.
 */
#include "observer.h"

#include <stdio.h>

/* process_table.h: 56 bytes plus its slot of 16, in malloc's 64-byte class; a relation about 250. */
enum { PROCESS_BYTES = 80, RELATION_BYTES = 250, RELATIONS_SHOWN = 1000, PROCESSES_LISTED = 100000 };

uint64_t observer_process_bytes(const struct process_info *info)
{
    return PROCESS_BYTES + (uint64_t)info->relations * RELATION_BYTES;
}

uint64_t observer_processes_bytes(const struct server *s)
{
    return (uint64_t)process_count(s->processes) * PROCESS_BYTES +
           (uint64_t)process_relations(s->processes) * RELATION_BYTES;
}

handle_t observer_root(const struct server *s)
{
    return s->observer.part[PART_ROOT];
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

/* The name, or what it is as {beamgate, Kind, 1}. */
static void put_name(struct buf *b, const struct process_info *info)
{
    if (info->name.len)
        term_put_atom_slice(b, info->name);
    else
        put_mfa(b, info->kind, 1);
}

/* {etop_proc_info, Pid, Memory, Reductions, Name, Runtime, CurrentFunction, MessageQueue}: observer_backend.hrl. */
static void put_row(const struct server *s, struct buf *b, handle_t p)
{
    struct process_info info = process_info(s->processes, p);
    term_put_tuple(b, 8);
    term_put_atom(b, "etop_proc_info");
    node_put_pid(&s->self, b, p);
    term_put_uint(b, observer_process_bytes(&info));
    term_put_uint(b, info.messages);
    put_name(b, &info);
    term_put_uint(b, 0);
    put_mfa(b, "wait", 1);
    term_put_uint(b, 0);
}

bool observer_put_processes(const struct server *s, struct buf *b, uint32_t *pos, uint32_t max)
{
    struct list_mark m = list_open(b);
    handle_t p = HANDLE_NONE;
    while (m.count < max && (p = process_next(s->processes, pos)) != HANDLE_NONE) {
        put_row(s, b, p);
        m.count++;
    }
    list_close(b, &m);
    return m.count == max;
}

/* {etop_info, Now, Processes, WallClock, Runtime, RunQueue, AllocAreas, Memory, Rows} in one message. */
static void put_etop_info(const struct server *s, struct buf *b)
{
    struct busy busy = observer_busy(s);
    uint32_t pos = 0;
    term_put_tuple(b, 9);
    term_put_atom(b, "etop_info");
    term_put_tuple(b, 3);
    term_put_uint(b, busy.total_us / 1000000 / 1000000);
    term_put_uint(b, busy.total_us / 1000000 % 1000000);
    term_put_uint(b, busy.total_us % 1000000);
    term_put_uint(b, process_count(s->processes));
    term_put_tuple(b, 2);
    term_put_uint(b, busy.total_us / 1000);
    term_put_uint(b, 0);
    term_put_tuple(b, 2);
    term_put_uint(b, busy.active_us / 1000);
    term_put_uint(b, 0);
    term_put_uint(b, 0);
    term_put_nil(b);
    observer_put_memory(s, b);
    observer_put_processes(s, b, &pos, PROCESSES_ETOP);
}

/* etop_collect(Collector): Collector ! {self(), Info}, then the process ends, for which spawn_server cares. */
OBSERVER_FN(observer_etop_collect)
{
    struct server *s = server;
    struct buf msg;
    if (call->self == HANDLE_NONE || !call->link)
        return RPC_ERROR;
    buf_init(&msg, 0);
    term_put_tuple(&msg, 2);
    node_put_pid(&s->self, &msg, call->self);
    put_etop_info(s, &msg);
    int rc = buf_ok(&msg) ? process_send_pid(s->processes, call->self, call->link, call->argv[0], buf_slice(&msg))
                          : BG_ENOMEM;
    buf_fini(&msg);
    term_put_atom(out, rc == BG_OK ? "ok" : "system_limit");
    return rc == BG_OK ? RPC_RETURN : RPC_EXIT;
}

OBSERVER_FN(observer_process_list)
{
    const struct server *s = server;
    struct list_mark m = list_open(out);
    uint32_t pos = 0;
    handle_t p;
    (void)call;
    for (; m.count < PROCESSES_LISTED && (p = process_next(s->processes, &pos)) != HANDLE_NONE; m.count++)
        node_put_pid(&s->self, out, p);
    list_close(out, &m);
    return RPC_RETURN;
}

/* ---- one process --------------------------------------------------------------------------------------- */

struct subject {
    const struct server *server;
    handle_t p;
    struct process_info info;
};

static void put_registered_name(const struct subject *x, struct buf *b)
{
    if (x->info.name.len)
        term_put_atom_slice(b, x->info.name);
    else
        term_put_nil(b);
}

static void put_initial_call(const struct subject *x, struct buf *b)
{
    put_mfa(b, x->info.kind, 1);
}

static void put_current_function(const struct subject *x, struct buf *b)
{
    (void)x;
    put_mfa(b, "wait", 1);
}

static void put_memory(const struct subject *x, struct buf *b)
{
    term_put_uint(b, observer_process_bytes(&x->info));
}

static void put_reductions(const struct subject *x, struct buf *b)
{
    term_put_uint(b, x->info.messages);
}

static void put_links(const struct subject *x, struct buf *b)
{
    process_put_relations(x->server->processes, x->p, PROCESS_LINKS, RELATIONS_SHOWN, b);
}

static void put_monitors(const struct subject *x, struct buf *b)
{
    process_put_relations(x->server->processes, x->p, PROCESS_MONITORS, RELATIONS_SHOWN, b);
}

static void put_monitored_by(const struct subject *x, struct buf *b)
{
    process_put_relations(x->server->processes, x->p, PROCESS_MONITORED_BY, RELATIONS_SHOWN, b);
}

static void put_trap_exit(const struct subject *x, struct buf *b)
{
    const struct process_ops *ops = process_ops(x->server->processes, x->p);
    term_put_atom(b, ops && ops->exit ? "true" : "false");
}

static void put_group_leader(const struct subject *x, struct buf *b)
{
    handle_t user = process_whereis(x->server->processes, SLICE_LIT("user"));
    node_put_pid(&x->server->self, b, user != HANDLE_NONE ? user : x->p);
}

/* There is no collector; Observer reads these two all the same. */
static void put_collection(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_list(b, 2);
    put_pair_uint(b, "min_heap_size", 0);
    put_pair_uint(b, "fullsweep_after", 0);
    term_put_nil(b);
}

static void put_waiting(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_atom(b, "waiting");
}

static void put_normal(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_atom(b, "normal");
}

static void put_error_handler(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_atom(b, "error_handler");
}

static void put_false(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_atom(b, "false");
}

static void put_undefined(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_atom(b, "undefined");
}

static void put_zero(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_uint(b, 0);
}

static void put_empty(const struct subject *x, struct buf *b)
{
    (void)x;
    term_put_nil(b);
}

/* by_default: what process_info/1 gives. */
static const struct item {
    const char *name;
    void (*put)(const struct subject *x, struct buf *b);
    bool by_default;
} items[] = {
    {"registered_name", put_registered_name, true},
    {"current_function", put_current_function, true},
    {"initial_call", put_initial_call, true},
    {"status", put_waiting, true},
    {"message_queue_len", put_zero, true},
    {"links", put_links, true},
    {"dictionary", put_empty, true},
    {"trap_exit", put_trap_exit, true},
    {"error_handler", put_error_handler, true},
    {"priority", put_normal, true},
    {"group_leader", put_group_leader, true},
    {"total_heap_size", put_zero, true},
    {"heap_size", put_zero, true},
    {"stack_size", put_zero, true},
    {"reductions", put_reductions, true},
    {"garbage_collection", put_collection, true},
    {"suspending", put_empty, true},
    {"memory", put_memory, false},
    {"monitors", put_monitors, false},
    {"monitored_by", put_monitored_by, false},
    {"messages", put_empty, false},
    {"binary", put_empty, false},
    {"catchlevel", put_zero, false},
    {"current_stacktrace", put_empty, false},
    {"last_calls", put_false, false},
    {"sequential_trace_token", put_empty, false},
    {"trace", put_zero, false},
    {"label", put_undefined, false},
    {"parent", put_undefined, false},
};

static const struct item *item_of(struct slice name)
{
    for (size_t i = 0; i < ARRAY_SIZE(items); i++)
        if (term_is_atom(name, items[i].name))
            return &items[i];
    return NULL;
}

static void put_item(const struct subject *x, const struct item *i, struct buf *b)
{
    put_key(b, i->name);
    i->put(x, b);
}

static enum rpc_outcome badarg(struct buf *out)
{
    term_put_atom(out, "badarg");
    return RPC_ERROR;
}

/* False when the term is no pid of this node; x->p is HANDLE_NONE when the process is gone. */
static bool read_subject(const struct server *s, struct slice term, struct subject *x)
{
    struct term_reader r = term_reader(term);
    struct term_pid pid;
    *x = (struct subject){.server = s};
    if (term_read_pid(&r, &pid) != BG_OK || !slice_is(pid.node, s->self.name))
        return false;
    handle_t p = node_pid_handle(&s->self, &pid);
    if (process_alive(s->processes, p)) {
        x->p = p;
        x->info = process_info(s->processes, p);
    }
    return true;
}

OBSERVER_FN(observer_process_info)
{
    struct subject x;
    if (!read_subject(server, call->argv[0], &x))
        return badarg(out);
    if (x.p == HANDLE_NONE) {
        term_put_atom(out, "undefined");
        return RPC_RETURN;
    }
    struct list_mark m = list_open(out);
    for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
        if (!items[i].by_default || (items[i].put == put_registered_name && x.info.name.len == 0))
            continue;
        put_item(&x, &items[i], out);
        m.count++;
    }
    list_close(out, &m);
    return RPC_RETURN;
}

/* [{Item, Value}] for a list of items, as many as were asked for. */
static enum rpc_outcome put_items(const struct subject *x, struct slice names, struct buf *out)
{
    struct term_reader r = term_reader(names);
    struct slice name;
    uint32_t n;
    if (term_read_list(&r, &n) != BG_OK || n > 2 * ARRAY_SIZE(items))
        return badarg(out);
    struct list_mark m = list_open(out);
    for (; m.count < n; m.count++) {
        const struct item *i = term_skip(&r, &name) == BG_OK ? item_of(name) : NULL;
        if (!i) {
            buf_truncate(out, m.at);
            return badarg(out);
        }
        put_item(x, i, out);
    }
    list_close(out, &m);
    return RPC_RETURN;
}

/* The name of a process without one is [] when it alone is asked for, and {registered_name, []} in a list. */
OBSERVER_FN(observer_process_item)
{
    struct subject x;
    const struct item *i = item_of(call->argv[1]);
    if (!read_subject(server, call->argv[0], &x))
        return badarg(out);
    if (x.p == HANDLE_NONE) {
        term_put_atom(out, "undefined");
        return RPC_RETURN;
    }
    if (!i)
        return put_items(&x, call->argv[1], out);
    if (i->put == put_registered_name && x.info.name.len == 0)
        term_put_nil(out);
    else
        put_item(&x, i, out);
    return RPC_RETURN;
}

/* True for a process that lives: it has no garbage at any time. */
OBSERVER_FN(observer_collect_garbage)
{
    struct subject x;
    if (!read_subject(server, call->argv[0], &x))
        return badarg(out);
    term_put_atom(out, x.p != HANDLE_NONE ? "true" : "false");
    return RPC_RETURN;
}

/* ---- the tree ------------------------------------------------------------------------------------------ */

enum { NODE_TEXT = 320 };

/* What stands in the tree's boxes. Names tell boxes apart, so one without a name carries its pid. */
static void node_text(handle_t p, const struct process_info *info, char text[NODE_TEXT])
{
    if (info->name.len)
        slice_cstr(info->name, text, NODE_TEXT);
    else
        snprintf(text, NODE_TEXT, "%s <0.%u.%u>", info->kind, handle_index(p), handle_generation(p));
}

static enum server_part parent_of(const struct process_info *info)
{
    static const struct {
        const char *kind;
        enum server_part part;
    } places[] = {{"channel", PART_CLIENTS},    {"stream", PART_STREAMS},        {"net_kernel", PART_CLUSTER},
                  {"rex", PART_CLUSTER},        {"remote_calls", PART_CLUSTER}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (strcmp(info->kind, places[i].kind) == 0)
            return places[i].part;
    return PART_ROOT;
}

static void put_tree_names(const struct server *s, struct buf *b)
{
    struct list_mark m = list_open(b);
    uint32_t pos = 0;
    handle_t p;
    char text[NODE_TEXT];
    for (; m.count < TREE_NODES && (p = process_next(s->processes, &pos)) != HANDLE_NONE; m.count++) {
        struct process_info info = process_info(s->processes, p);
        node_text(p, &info, text);
        term_put_tuple(b, 2);
        node_put_pid(&s->self, b, p);
        put_string(b, text);
    }
    list_close(b, &m);
}

static void put_tree_edges(const struct server *s, struct buf *b)
{
    struct list_mark m = list_open(b);
    uint32_t pos = 0;
    handle_t p;
    char text[NODE_TEXT];
    for (unsigned n = 0; n < TREE_NODES && (p = process_next(s->processes, &pos)) != HANDLE_NONE; n++) {
        struct process_info info = process_info(s->processes, p), above;
        handle_t parent = s->observer.part[parent_of(&info)];
        if (p == observer_root(s))
            continue;
        if (p == parent)
            parent = observer_root(s);
        above = process_info(s->processes, parent);
        term_put_tuple(b, 2);
        node_text(parent, &above, text);
        put_string(b, text);
        node_text(p, &info, text);
        put_string(b, text);
        m.count++;
    }
    list_close(b, &m);
}

/* The parts are the first processes of the node's life, so no number of channels keeps them, and with them the root,
 * out of the list: Observer dies of a tree whose root is not in it. */
void observer_put_tree(const struct server *s, struct buf *b)
{
    struct process_info root = process_info(s->processes, observer_root(s));
    char text[NODE_TEXT];
    node_text(observer_root(s), &root, text);
    term_put_tuple(b, 4);
    put_string(b, text);
    put_tree_names(s, b);
    put_tree_edges(s, b);
    term_put_nil(b);
}
