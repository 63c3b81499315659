/*
 * observer_workers.c: answers that are no single term: fetch_stats (a message every period until told to stop),
 * procs_info and get_table (chunks, then an end), the server of the application view (08 §5, D-22). Each is a process
 * of this node with a timer; between two steps the loop is everybody's.
 *
 * Invariant: a worker lives exactly as long as its process, and never longer than the one it works for: it ends on
 * exit, on a broken link, when its client ends (it monitors it, whoever linked what) or when the connection is gone.
 */
#include <stdlib.h>

#include "gen_call.h"
#include "observer.h"

enum {
    STEP_US = 1000, /* between two chunks: long enough for every socket to have its turn */
    RETRY_US = 20000,
    PERIOD_MIN_MS = 100,
    PERIOD_MAX_MS = 3600000,
    TREE_PERIOD_US = 2000000 /* appmon_info looks for changes every two seconds */
};

struct worker;

/* What a worker does when its timer fires. False: it is done and ends normally. */
typedef bool step_fn(struct worker *w, struct dist_link *l);

struct worker {
    struct list all;
    struct server *server;
    step_fn *step;
    handle_t process;
    handle_t link; /* to the client's node */
    struct timer timer;
    uint64_t period_us;
    uint32_t pos; /* procs_info: where the next chunk begins */
    uint32_t shown;
    const struct observer_table *table; /* get_table */
    uint64_t row;
    size_t rows_at;   /* etop_collect: where the list of rows begins in msg */
    struct busy last; /* fetch_stats: the numbers sent last */
    bool tree_wanted; /* the application view */
    struct buf tree;  /* as sent last */
    struct buf msg;
    size_t client_len;
    char client[]; /* pid term */
};

static struct slice client_of(const struct worker *w)
{
    return slice_make(w->client, w->client_len);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void worker_free(struct worker *w)
{
    timer_disarm(&w->server->timers, &w->timer);
    list_remove(&w->all);
    w->server->observer.worker_count--;
    buf_fini(&w->tree);
    buf_fini(&w->msg);
    free(w);
}

static void worker_end(struct worker *w, const char *reason)
{
    struct server *s = w->server;
    handle_t p = w->process;
    worker_free(w);
    process_end_atom(s->processes, p, reason);
}

static void on_timer(struct timer *t)
{
    struct worker *w = container_of(t, struct worker, timer);
    struct server *s = w->server;
    struct dist_link *l = cluster_link_by_handle(s->cluster, w->link);
    if (!l || !process_alive(s->processes, w->process) || !w->step(w, l))
        worker_end(w, "normal");
    else if (!timer_armed(t) && timer_arm_in(&s->timers, t, w->period_us) != BG_OK)
        worker_end(w, "system_limit");
}

/* Whoever it works for has ended, its node is gone, or somebody sent exit/2. */
static void on_exit_signal(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    (void)self;
    (void)from_pid;
    (void)reason;
    worker_end(owner, kill ? "killed" : "normal");
}

static void on_client_down(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    (void)self;
    (void)monitor;
    (void)reason;
    worker_end(owner, "normal");
}

/* fetch_stats ends at any message; Observer sends exit. */
static void on_stop_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    (void)self;
    (void)from;
    (void)msg;
    worker_end(owner, "normal");
}

static void on_app_message(void *owner, handle_t self, struct dist_link *from, struct slice msg);

static const struct process_ops stats_ops = {
    .kind = "observer_stats", .message = on_stop_message, .exit = on_exit_signal, .down = on_client_down};
static const struct process_ops answer_ops = {
    .kind = "observer_answer", .exit = on_exit_signal, .down = on_client_down};
static const struct process_ops app_ops = {
    .kind = "appmon_info", .message = on_app_message, .exit = on_exit_signal, .down = on_client_down};

/* Takes the process self over, or starts one when that is HANDLE_NONE. NULL when there are too many workers, no memory,
 * or client is no pid of the link's node. */
static struct worker *worker_new(struct server *s, const struct process_ops *ops, step_fn *step,
                                 const struct rpc_call *call, struct slice client)
{
    struct term_reader r = term_reader(client);
    struct term_pid pid;
    if (!call->link || s->observer.worker_count >= OBSERVER_WORKERS || term_read_pid(&r, &pid) != BG_OK)
        return NULL;
    struct worker *w = calloc(1, sizeof(*w) + client.len);
    if (!w)
        return NULL;
    *w = (struct worker){.server = s, .step = step, .link = dist_link_handle(call->link), .client_len = client.len};
    w->timer.fn = on_timer;
    memcpy(w->client, client.ptr, client.len);
    buf_init(&w->tree, 0);
    buf_init(&w->msg, 0);
    list_append(&s->observer.workers, &w->all);
    s->observer.worker_count++;
    w->process = call->self != HANDLE_NONE ? call->self : process_start(s->processes, ops, w);
    if (w->process == HANDLE_NONE || !process_adopt(s->processes, w->process, ops, w)) {
        worker_free(w);
        return NULL;
    }
    return w;
}

/* Watches the client and sets the first step; false when that cannot be, and then w is gone. */
static bool worker_go(struct worker *w, struct dist_link *l, uint64_t delay_us)
{
    struct server *s = w->server;
    if (process_monitor(s->processes, w->process, l, client_of(w)) != HANDLE_NONE &&
        timer_arm_in(&s->timers, &w->timer, delay_us) == BG_OK)
        return true;
    worker_end(w, "system_limit");
    return false;
}

void observer_end_workers(struct server *s)
{
    while (s->observer.workers.next && !list_empty(&s->observer.workers))
        worker_free(container_of(s->observer.workers.next, struct worker, all));
}

/* ---- sending ------------------------------------------------------------------------------------------- */

/* Begins {self(), ...} or {Tag, self(), ...} in w->msg. */
static struct buf *message_begin(struct worker *w, const char *tag, uint32_t arity)
{
    buf_reset(&w->msg);
    term_put_tuple(&w->msg, arity);
    if (tag)
        term_put_atom(&w->msg, tag);
    node_put_pid(&w->server->self, &w->msg, w->process);
    return &w->msg;
}

/* False when it could not be sent now. */
static bool message_send(struct worker *w, struct dist_link *l)
{
    return buf_ok(&w->msg) &&
           process_send_pid(w->server->processes, w->process, l, client_of(w), buf_slice(&w->msg)) == BG_OK;
}

/* ---- fetch_stats/2 ------------------------------------------------------------------------------------- */

/* Observer divides by the growth of Total: it grows with each message, and Active never more than it. */
static void next_busy(struct worker *w)
{
    struct busy now = observer_busy(w->server);
    uint64_t total = now.total_us > w->last.total_us ? now.total_us - w->last.total_us : 1;
    uint64_t active = now.active_us > w->last.active_us ? now.active_us - w->last.active_us : 0;
    w->last.total_us += total;
    w->last.active_us += active < total ? active : total;
}

/* {stats, 1, [{Scheduler, Active, Total}], {{input, _}, {output, _}}, Memory}. One that cannot be sent is left out. */
static bool stats_step(struct worker *w, struct dist_link *l)
{
    struct buf *b = &w->msg;
    next_busy(w);
    buf_reset(b);
    term_put_tuple(b, 5);
    term_put_atom(b, "stats");
    term_put_uint(b, 1);
    term_put_list(b, 1);
    term_put_tuple(b, 3);
    term_put_uint(b, 1);
    term_put_uint(b, w->last.active_us);
    term_put_uint(b, w->last.total_us);
    term_put_nil(b);
    observer_put_io(w->server, b);
    observer_put_memory(w->server, b);
    (void)message_send(w, l);
    return true;
}

/* Too many workers, or a client that is no process of that node. */
static enum rpc_outcome refuse(struct buf *out)
{
    term_put_atom(out, "system_limit");
    return RPC_EXIT;
}

OBSERVER_FN(observer_fetch_stats)
{
    struct term_reader r = term_reader(call->argv[1]);
    int64_t ms;
    if (call->self == HANDLE_NONE || term_read_int(&r, &ms) != BG_OK)
        return RPC_ERROR;
    struct worker *w = worker_new(server, &stats_ops, stats_step, call, call->argv[0]);
    if (!w)
        return refuse(out);
    ms = ms < PERIOD_MIN_MS ? PERIOD_MIN_MS : ms > PERIOD_MAX_MS ? PERIOD_MAX_MS : ms;
    w->period_us = (uint64_t)ms * 1000;
    return worker_go(w, call->link, w->period_us) ? RPC_RETURN : refuse(out);
}

/* ---- procs_info/1 -------------------------------------------------------------------------------------- */

/* {procs_info, self(), Rows}; the end of the process tells that these were all. */
static bool procs_step(struct worker *w, struct dist_link *l)
{
    uint32_t pos = w->pos;
    struct buf *b = message_begin(w, "procs_info", 3);
    bool more = observer_put_processes(w->server, b, &pos, PROCESSES_A_TURN);
    w->period_us = STEP_US;
    if (!message_send(w, l)) {
        w->period_us = RETRY_US;
        return true;
    }
    w->pos = pos;
    w->shown += PROCESSES_A_TURN;
    return more && w->shown < PROCESSES_SHOWN;
}

OBSERVER_FN(observer_procs_info)
{
    if (call->self == HANDLE_NONE)
        return RPC_ERROR;
    struct worker *w = worker_new(server, &answer_ops, procs_step, call, call->argv[0]);
    return w && worker_go(w, call->link, 0) ? RPC_RETURN : refuse(out);
}

/* ---- etop_collect/1 -------------------------------------------------------------------------------------- */

/* etop takes one message: it grows by a chunk of rows a turn and goes when the last is there. */
static bool etop_step(struct worker *w, struct dist_link *l)
{
    uint32_t max = PROCESSES_ETOP - w->shown;
    uint32_t want = max < PROCESSES_A_TURN ? max : PROCESSES_A_TURN;
    uint32_t n = observer_put_rows_of_processes(w->server, &w->msg, &w->pos, want, READER_ETOP);
    struct list_mark m = {.at = w->rows_at, .count = w->shown + n};
    w->shown += n;
    w->period_us = STEP_US;
    if (n == want && w->shown < PROCESSES_ETOP && buf_ok(&w->msg))
        return true;
    list_close(&w->msg, &m);
    (void)message_send(w, l);
    return false;
}

/* etop_collect(Collector): Collector ! {self(), Info}, then the process ends. */
OBSERVER_FN(observer_etop_collect)
{
    if (call->self == HANDLE_NONE)
        return RPC_ERROR;
    struct worker *w = worker_new(server, &answer_ops, etop_step, call, call->argv[0]);
    if (!w)
        return refuse(out);
    struct buf *b = message_begin(w, NULL, 2);
    observer_put_etop_head(w->server, b);
    w->rows_at = list_open(b).at;
    return worker_go(w, call->link, 0) ? RPC_RETURN : refuse(out);
}

/* ---- get_table/3 --------------------------------------------------------------------------------------- */

/* {self(), Objects} and in the end {self(), '$end_of_table'}. A table that changes meanwhile may show an object twice
 * or not at all, as ets:match/3 does without safe_fixtable. */
static bool table_step(struct worker *w, struct dist_link *l)
{
    uint64_t row = w->row;
    struct buf *b = message_begin(w, NULL, 2);
    uint32_t n = w->shown < TABLE_ROWS_SHOWN ? observer_put_rows(w->server, w->table, &row, b) : 0;
    if (n == 0) {
        b = message_begin(w, NULL, 2);
        term_put_atom(b, "$end_of_table");
    }
    w->period_us = STEP_US;
    if (!message_send(w, l)) {
        w->period_us = RETRY_US;
        return true;
    }
    w->row = row;
    w->shown += n;
    return n > 0;
}

/* get_table(Parent, Table, ets): the pid of a process that is linked with Parent and sends it the objects. The first
 * ones go a moment later, after the pid. */
OBSERVER_FN(observer_get_table)
{
    struct server *s = server;
    const struct observer_table *t = observer_table_of(s, call->argv[1]);
    if (!t || !term_is_atom(call->argv[2], "ets")) {
        term_put_atom(out, "badarg");
        return RPC_ERROR;
    }
    struct worker *w = worker_new(s, &answer_ops, table_step, call, call->argv[0]);
    if (!w)
        return refuse(out);
    w->table = t;
    handle_t p = w->process;
    if (process_link(s->processes, p, call->link, client_of(w)) != BG_OK) {
        worker_end(w, "normal");
        return refuse(out);
    }
    if (!worker_go(w, call->link, STEP_US))
        return refuse(out);
    node_put_pid(&s->self, out, p);
    return RPC_RETURN;
}

/* ---- appmon_info ---------------------------------------------------------------------------------------- */

/* {delivery, self(), What, About, ...: one more term completes it. */
static struct buf *delivery_begin(struct worker *w, const char *what, struct slice about)
{
    struct buf *b = message_begin(w, "delivery", 5);
    term_put_atom(b, what);
    term_put_raw(b, about);
    return b;
}

/* [{Master, App, {App, Description, Version}}] */
static void send_applications(struct worker *w, struct dist_link *l, struct slice node)
{
    struct buf *b = delivery_begin(w, "app_ctrl", node);
    term_put_list(b, 1);
    term_put_tuple(b, 3);
    node_put_pid(&w->server->self, b, observer_root(w->server));
    term_put_atom(b, "beamgate");
    term_put_tuple(b, 3);
    term_put_atom(b, "beamgate");
    put_string(b, "Phoenix channels without a BEAM");
    put_string(b, BEAMGATE_VERSION);
    term_put_nil(b);
    (void)message_send(w, l);
}

/* An application that does not run is an empty tree. */
static void send_no_tree(struct worker *w, struct dist_link *l, struct slice app)
{
    struct buf *b = delivery_begin(w, "app", app);
    term_put_tuple(b, 4);
    for (unsigned i = 0; i < 4; i++)
        term_put_nil(b);
    (void)message_send(w, l);
}

/* The tree when it is another than the one sent last. */
static bool app_step(struct worker *w, struct dist_link *l)
{
    struct buf now;
    w->period_us = TREE_PERIOD_US;
    if (!w->tree_wanted)
        return true;
    buf_init(&now, 0);
    observer_put_tree(w->server, &now);
    if (buf_ok(&now) && !slice_eq(buf_slice(&now), buf_slice(&w->tree))) {
        struct buf *b = message_begin(w, "delivery", 5);
        term_put_atom(b, "app");
        term_put_atom(b, "beamgate");
        term_put_raw(b, buf_slice(&now));
        if (message_send(w, l)) {
            struct buf old = w->tree;
            w->tree = now;
            now = old;
        }
    }
    buf_fini(&now);
    return true;
}

static void no_tree_wanted(struct worker *w)
{
    w->tree_wanted = false;
    buf_fini(&w->tree);
    buf_fini(&w->msg);
}

/* {'$gen_cast', {Client, app_ctrl | app, About, On, Options}}; an Observer whose tab is turned away from takes only the
 * list of applications back: its exit/2 goes to nodes that it sees among nodes(), which has no hidden ones. Anything
 * else is dropped, as appmon_info does. */
static void on_app_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct worker *w = owner;
    struct slice request, client, what, about;
    uint32_t arity;
    (void)self;
    if (!gen_cast_read(msg, &request))
        return;
    struct term_reader r = term_reader(request);
    if (term_read_tuple(&r, &arity) != BG_OK || arity != 5 || term_skip(&r, &client) != BG_OK ||
        term_skip(&r, &what) != BG_OK || term_skip(&r, &about) != BG_OK)
        return;
    bool on = term_read_is_atom(&r, "true");
    if (on && term_is_atom(what, "app_ctrl")) {
        send_applications(w, from, about);
    } else if (term_is_atom(what, "app_ctrl")) {
        no_tree_wanted(w);
    } else if (term_is_atom(what, "app") && !term_is_atom(about, "beamgate")) {
        if (on)
            send_no_tree(w, from, about);
    } else if (term_is_atom(what, "app")) {
        w->tree_wanted = on;
        buf_reset(&w->tree);
        (void)app_step(w, from);
    }
}

/* The view that this client has already, or NULL. */
static struct worker *view_of(const struct server *s, const struct rpc_call *call, struct slice client)
{
    handle_t link = call->link ? dist_link_handle(call->link) : HANDLE_NONE;
    const struct list *all = &s->observer.workers;
    for (struct list *it = all->next; it && it != all; it = it->next) {
        struct worker *w = container_of(it, struct worker, all);
        if (w->step == app_step && w->link == link && slice_eq(client_of(w), client))
            return w;
    }
    return NULL;
}

static enum rpc_outcome put_view(const struct worker *w, struct buf *out)
{
    put_key(out, "ok");
    node_put_pid(&w->server->self, out, w->process);
    return RPC_RETURN;
}

/* start_link2(Starter, Client, Options): {ok, Pid}, linked with the client. Who asks again gets the one that is there,
 * as from a BEAM, where there is one for all: Observer does so each time its tab is turned to. */
OBSERVER_FN(observer_start_appmon)
{
    struct server *s = server;
    struct worker *old = view_of(s, call, call->argv[1]);
    if (old) {
        no_tree_wanted(old);
        return put_view(old, out);
    }
    struct worker *w = worker_new(s, &app_ops, app_step, call, call->argv[1]);
    if (!w)
        return refuse(out);
    handle_t p = w->process;
    if (process_link(s->processes, p, call->link, client_of(w)) != BG_OK) {
        worker_end(w, "normal");
        return refuse(out);
    }
    return worker_go(w, call->link, TREE_PERIOD_US) ? put_view(w, out) : refuse(out);
}
