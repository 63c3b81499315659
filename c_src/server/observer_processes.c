/*
 * observer_processes.c: the node's processes as Observer shows them: the Processes tab, a process's own window, the
 * tree of the application, etop. A process here is an actor of the process table (08 §5, D-21): channels, streams, the
 * services every node has. It has no heap or stack: a message is worked on while its packet is read.
 *
 * What is real: pid, name, kind (as initial call), messages worked on (as reductions), what waits (as message queue),
 * links, monitors, the memory of its records, its state. Never more than a bound of rows: see observer.h.
 */
#include "observer.h"

#include <stdio.h>

#include "json.h"
#include "process_state.h"

/* process_table.h: 56 bytes plus its slot of 16, in malloc's 64-byte class; a relation about 250. */
enum { PROCESS_BYTES = 80, RELATION_BYTES = 250, RELATIONS_SHOWN = 1000, PROCESSES_LISTED = 100000 };

/* What stands for a process wherever it is shown. */
struct subject {
    const struct server *server;
    handle_t p;
    struct process_info info;
    struct process_row row;
};

static struct subject subject(const struct server *s, handle_t p)
{
    return (struct subject){
        .server = s, .p = p, .info = process_info(s->processes, p), .row = process_row(s->processes, p)};
}

static uint64_t bytes_of(const struct subject *x)
{
    return PROCESS_BYTES + (uint64_t)x->info.relations * RELATION_BYTES + x->row.bytes;
}

uint64_t observer_process_bytes(const struct server *s, handle_t p)
{
    struct subject x = subject(s, p);
    return x.info.kind ? bytes_of(&x) : 0;
}

/* Of channels and sockets it takes a round number for each: asking every one would take too long. */
uint64_t observer_processes_bytes(const struct server *s)
{
    enum { CHANNEL_BYTES = 160, SOCKET_BYTES = 320 };
    return (uint64_t)process_count(s->processes) * PROCESS_BYTES +
           (uint64_t)process_relations(s->processes) * RELATION_BYTES +
           s->metrics.value[METRIC_CHANNEL_JOINED] * CHANNEL_BYTES +
           s->metrics.value[METRIC_CLIENT_CONNECTED] * SOCKET_BYTES;
}

handle_t observer_root(const struct server *s)
{
    return s->observer.part[PART_ROOT];
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

/* An atom of at most 255 characters, whatever the configuration calls it. */
static void put_initial_call(const struct subject *x, struct buf *b)
{
    enum { GROUP_BYTES = 200 };
    char name[GROUP_BYTES + 32];
    struct slice group = x->row.group;
    size_t n = utf8_valid_prefix(group.ptr, group.len < GROUP_BYTES ? group.len : GROUP_BYTES);
    snprintf(name, sizeof(name), "%s%s%.*s", x->info.kind, n ? " " : "", (int)n, n ? group.ptr : "");
    put_mfa(b, name, 1);
}

/* A list of characters is shown as text: here, because the sort of the name's column knows atoms and functions only. */
static void put_current(const struct subject *x, struct buf *b, enum observer_reader reader)
{
    if (reader == READER_OBSERVER && x->row.about[0])
        put_string(b, x->row.about);
    else
        put_mfa(b, "wait", 1);
}

static uint64_t work_of(const struct subject *x)
{
    return (uint64_t)x->info.messages + x->row.work;
}

/* {etop_proc_info, Pid, Memory, Reductions, Name, Runtime, CurrentFunction, MessageQueue}: observer_backend.hrl. */
static void put_row(const struct server *s, struct buf *b, handle_t p, enum observer_reader reader)
{
    struct subject x = subject(s, p);
    term_put_tuple(b, 8);
    term_put_atom(b, "etop_proc_info");
    node_put_pid(&s->self, b, p);
    term_put_uint(b, bytes_of(&x));
    term_put_uint(b, work_of(&x));
    if (x.info.name.len)
        term_put_atom_slice(b, x.info.name);
    else
        put_initial_call(&x, b);
    term_put_uint(b, 0);
    put_current(&x, b, reader);
    term_put_uint(b, x.row.waiting);
}

uint32_t observer_put_rows_of_processes(const struct server *s, struct buf *b, uint32_t *pos, uint32_t max,
                                        enum observer_reader reader)
{
    handle_t p = HANDLE_NONE;
    uint32_t n = 0;
    for (; n < max && (p = process_next(s->processes, pos)) != HANDLE_NONE; n++)
        put_row(s, b, p, reader);
    return n;
}

bool observer_put_processes(const struct server *s, struct buf *b, uint32_t *pos, uint32_t max)
{
    struct list_mark m = list_open(b);
    m.count = observer_put_rows_of_processes(s, b, pos, max, READER_OBSERVER);
    list_close(b, &m);
    return m.count == max;
}

void observer_put_etop_head(const struct server *s, struct buf *b)
{
    struct busy busy = observer_busy(s);
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

OBSERVER_FN(observer_registered)
{
    const struct server *s = server;
    struct list_mark m = list_open(out);
    struct slice name;
    size_t pos = 0;
    (void)call;
    for (; process_next_name(s->processes, &pos, &name) != HANDLE_NONE; m.count++)
        term_put_atom_slice(out, name);
    list_close(out, &m);
    return RPC_RETURN;
}

/* ---- one process --------------------------------------------------------------------------------------- */

static void put_registered_name(const struct subject *x, struct buf *b)
{
    if (x->info.name.len)
        term_put_atom_slice(b, x->info.name);
    else
        term_put_nil(b);
}

static void put_current_function(const struct subject *x, struct buf *b)
{
    (void)x;
    put_mfa(b, "wait", 1);
}

static void put_memory(const struct subject *x, struct buf *b)
{
    term_put_uint(b, bytes_of(x));
}

static void put_reductions(const struct subject *x, struct buf *b)
{
    term_put_uint(b, work_of(x));
}

static void put_waiting_count(const struct subject *x, struct buf *b)
{
    term_put_uint(b, x->row.waiting);
}

static void put_label(const struct subject *x, struct buf *b)
{
    if (x->row.about[0])
        term_put_text(b, x->row.about);
    else
        term_put_atom(b, "undefined");
}

/* What OTP 27's proc_lib keeps there. */
static void put_dictionary(const struct subject *x, struct buf *b)
{
    if (x->row.about[0]) {
        term_put_list(b, 1);
        put_key(b, "$process_label");
        put_label(x, b);
    }
    term_put_nil(b);
}

/* Where a process belongs that does not say itself. */
static enum server_part part_of(const struct subject *x)
{
    static const struct {
        const char *kind;
        enum server_part part;
    } places[] = {{"socket", PART_CLIENTS},      {"channel", PART_CLIENTS},    {"stream", PART_CLIENTS},
                  {"link", PART_CLUSTER},        {"net_kernel", PART_CLUSTER}, {"rex", PART_CLUSTER},
                  {"remote_calls", PART_CLUSTER}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (strcmp(x->info.kind, places[i].kind) == 0)
            return places[i].part;
    static const struct slice library = SLICE_LIT("Elixir.PhoenixGenApi.");
    bool ours = x->info.name.len > library.len && memcmp(x->info.name.ptr, library.ptr, library.len) == 0;
    return ours ? PART_CONFIG : PART_ROOT;
}

/* The process above p in the tree of the application; HANDLE_NONE for the root and for one that has ended. */
static handle_t parent_of(const struct server *s, handle_t p)
{
    struct subject x = subject(s, p);
    if (p == observer_root(s) || !x.info.kind)
        return HANDLE_NONE;
    if (process_alive(s->processes, x.row.parent))
        return x.row.parent;
    handle_t part = s->observer.part[part_of(&x)];
    return part == p ? observer_root(s) : part;
}

static void put_parent(const struct subject *x, struct buf *b)
{
    handle_t parent = parent_of(x->server, x->p);
    if (parent != HANDLE_NONE)
        node_put_pid(&x->server->self, b, parent);
    else
        term_put_atom(b, "undefined");
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
    {"message_queue_len", put_waiting_count, true},
    {"links", put_links, true},
    {"dictionary", put_dictionary, true},
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
    {"label", put_label, false},
    {"parent", put_parent, false},
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

/* False when the term is no pid of this node; x->p is HANDLE_NONE when the process is gone. */
static bool read_subject(const struct server *s, struct slice term, struct subject *x)
{
    struct term_reader r = term_reader(term);
    struct term_pid pid;
    *x = (struct subject){.server = s};
    if (term_read_pid(&r, &pid) != BG_OK || !slice_is(pid.node, s->self.name))
        return false;
    handle_t p = node_pid_handle(&s->self, &pid);
    if (process_alive(s->processes, p))
        *x = subject(s, p);
    return true;
}

OBSERVER_FN(observer_process_info)
{
    struct subject x;
    if (!read_subject(server, call->argv[0], &x))
        return observer_badarg(out);
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
        return observer_badarg(out);
    struct list_mark m = list_open(out);
    for (; m.count < n; m.count++) {
        const struct item *i = term_skip(&r, &name) == BG_OK ? item_of(name) : NULL;
        if (!i) {
            buf_truncate(out, m.at);
            return observer_badarg(out);
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
        return observer_badarg(out);
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
        return observer_badarg(out);
    term_put_atom(out, x.p != HANDLE_NONE ? "true" : "false");
    return RPC_RETURN;
}

OBSERVER_FN(observer_is_alive)
{
    struct subject x;
    if (!read_subject(server, call->argv[0], &x))
        return observer_badarg(out);
    term_put_atom(out, x.p != HANDLE_NONE ? "true" : "false");
    return RPC_RETURN;
}

static void put_proc_lib(struct buf *b)
{
    term_put_tuple(b, 3);
    term_put_atom(b, "proc_lib");
    term_put_atom(b, "init_p");
    term_put_uint(b, 5);
}

/* Any other answer than proc_lib's own makes Observer ask for the module's attributes and sys:get_status. */
OBSERVER_FN(observer_initial_call)
{
    struct subject x;
    if (!read_subject(server, call->argv[0], &x) || x.p == HANDLE_NONE)
        put_proc_lib(out);
    else
        put_initial_call(&x, out);
    return RPC_RETURN;
}

OBSERVER_FN(observer_label)
{
    struct subject x;
    if (read_subject(server, call->argv[0], &x))
        put_label(&x, out);
    else
        term_put_atom(out, "undefined");
    return RPC_RETURN;
}

/* A pid, a name, or {Name, Node}, as sys takes them. HANDLE_NONE when there is no such process. */
static handle_t named(const struct server *s, struct slice term)
{
    struct term_reader r = term_reader(term);
    uint32_t arity;
    struct slice name;
    if (term_read_tuple(&r, &arity) != BG_OK)
        return process_resolve(s->processes, term);
    return arity == 2 && term_skip(&r, &name) == BG_OK ? process_resolve(s->processes, name) : HANDLE_NONE;
}

/* exit:{noproc, {sys, Function, [Process]}} */
static enum rpc_outcome noproc(const struct rpc_call *call, struct buf *out)
{
    term_put_tuple(out, 2);
    term_put_atom(out, "noproc");
    term_put_tuple(out, 3);
    term_put_atom(out, "sys");
    term_put_atom_slice(out, call->function);
    term_put_list(out, 1);
    term_put_raw(out, call->argv[0]);
    term_put_nil(out);
    return RPC_EXIT;
}

OBSERVER_FN(observer_get_state)
{
    const struct server *s = server;
    handle_t p = named(s, call->argv[0]);
    if (p == HANDLE_NONE)
        return noproc(call, out);
    process_put_state(s->processes, p, out);
    return RPC_RETURN;
}

OBSERVER_FN(observer_get_status)
{
    const struct server *s = server;
    handle_t p = named(s, call->argv[0]);
    if (p == HANDLE_NONE)
        return noproc(call, out);
    process_put_status(s->processes, p, out);
    return RPC_RETURN;
}

/* ---- the tree ------------------------------------------------------------------------------------------ */

enum { NODE_TEXT = 320, TREE_DEPTH = 8 };

/* The processes that are drawn, each behind the one above it. */
struct tree {
    const struct server *server;
    handle_t node[TREE_NODES];
    handle_t parent[TREE_NODES];
    unsigned count;
};

/* What stands in the tree's boxes. Names tell boxes apart, so one without a name carries its pid. */
static void node_text(const struct server *s, handle_t p, char text[NODE_TEXT])
{
    struct subject x = subject(s, p);
    if (x.info.name.len)
        slice_cstr(x.info.name, text, NODE_TEXT);
    else
        snprintf(text, NODE_TEXT, "%s %s%s<0.%u.%u>", x.info.kind ? x.info.kind : "ended", x.row.about,
                 x.row.about[0] ? " " : "", handle_index(p), handle_generation(p));
}

static bool tree_has(const struct tree *t, handle_t p)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->node[i] == p)
            return true;
    return false;
}

/* Adds p and all above it that are not yet there; nothing when they do not all fit. Observer dies of a box that hangs
 * on none. */
static void tree_add(struct tree *t, handle_t p)
{
    handle_t chain[TREE_DEPTH], parent[TREE_DEPTH];
    unsigned n = 0;
    for (; p != HANDLE_NONE && !tree_has(t, p); p = parent[n++]) {
        if (n == TREE_DEPTH)
            return;
        chain[n] = p;
        parent[n] = parent_of(t->server, p);
    }
    if (t->count + n > TREE_NODES)
        return;
    while (n-- > 0) {
        t->node[t->count] = chain[n];
        t->parent[t->count++] = parent[n];
    }
}

static void put_tree_name(const struct tree *t, struct buf *b, handle_t p, const char *text)
{
    term_put_tuple(b, 2);
    node_put_pid(&t->server->self, b, p);
    put_string(b, text);
}

/* A box is all those that have none. Their number is rounded down, for a tree that is another is drawn anew. */
static bool rest_text(const struct tree *t, char text[NODE_TEXT])
{
    uint32_t all = process_count(t->server->processes), rest = all > t->count ? all - t->count : 0, unit = 1;
    while (rest / unit >= 100)
        unit *= 10;
    snprintf(text, NODE_TEXT, "%s%u processes more", unit > 1 ? "over " : "", rest / unit * unit);
    return rest > 0;
}

static void put_tree_names(const struct tree *t, struct buf *b)
{
    struct list_mark m = list_open(b);
    char text[NODE_TEXT];
    for (; m.count < t->count; m.count++) {
        node_text(t->server, t->node[m.count], text);
        put_tree_name(t, b, t->node[m.count], text);
    }
    if (rest_text(t, text)) {
        put_tree_name(t, b, t->server->observer.part[PART_CLIENTS], text);
        m.count++;
    }
    list_close(b, &m);
}

static void put_tree_edge(struct buf *b, const char *parent, const char *child)
{
    term_put_tuple(b, 2);
    put_string(b, parent);
    put_string(b, child);
}

static void put_tree_edges(const struct tree *t, struct buf *b)
{
    struct list_mark m = list_open(b);
    char parent[NODE_TEXT], child[NODE_TEXT];
    for (unsigned i = 0; i < t->count; i++) {
        if (t->parent[i] == HANDLE_NONE)
            continue;
        node_text(t->server, t->parent[i], parent);
        node_text(t->server, t->node[i], child);
        put_tree_edge(b, parent, child);
        m.count++;
    }
    if (rest_text(t, child)) {
        node_text(t->server, t->server->observer.part[PART_CLIENTS], parent);
        put_tree_edge(b, parent, child);
        m.count++;
    }
    list_close(b, &m);
}

/* The parts come first, so no number of channels keeps them, and with them the root, out of the tree. */
void observer_put_tree(const struct server *s, struct buf *b)
{
    struct tree t = {.server = s};
    char text[NODE_TEXT];
    uint32_t pos = 0, tries = 0;
    handle_t p;
    for (unsigned i = 0; i < SERVER_PARTS; i++)
        tree_add(&t, s->observer.part[i]);
    while (t.count < TREE_NODES && tries++ < 2 * TREE_NODES && (p = process_next(s->processes, &pos)) != HANDLE_NONE)
        tree_add(&t, p);
    node_text(s, observer_root(s), text);
    term_put_tuple(b, 4);
    put_string(b, text);
    put_tree_names(&t, b);
    put_tree_edges(&t, b);
    term_put_nil(b);
}
