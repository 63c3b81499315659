/*
 * micro_rpc.c: the incoming calls' part of micro.c: from a whole packet, a SPAWN_REQUEST as rpc:call of OTP 25 sends it, to
 * the two packets of its answer, SPAWN_REPLY and the signal of the monitor; by a table as large as the real one.
 *
 * Knows no sockets: links and cluster are stand-ins that keep the bytes until the next call. What reading, waiting and
 * writing cost, run.sh tells.
 */
#include <stdio.h>

#include "dist_dispatch.h"
#include "dist_message.h"
#include "micro.h"

enum { MODULES = 16, FUNCTIONS = 8, NAME_BYTES = 48, CALLER_CREATION = 7 };

static const char caller_node[] = "bench_caller@127.0.0.1";
static const char gateway_node[] = "beamgate@127.0.0.1";

/* -- stand-ins for dist_link.c and cluster.c ------------------------------------------------------------ */

struct dist_link {
    struct buf out;
};

static struct dist_link link_of_caller;

struct slice dist_link_node(const struct dist_link *l)
{
    (void)l;
    return slice_make(caller_node, sizeof(caller_node) - 1);
}

uint64_t dist_link_flags(const struct dist_link *l)
{
    (void)l;
    return DIST_FLAGS_DEFAULT;
}

handle_t dist_link_handle(const struct dist_link *l)
{
    (void)l;
    return handle_make(1, 1);
}

struct buf *dist_link_begin(struct dist_link *l, enum link_urgency urgency)
{
    (void)urgency;
    return &l->out;
}

int dist_link_commit(struct dist_link *l)
{
    return buf_ok(&l->out) ? BG_OK : BG_ENOMEM;
}

void dist_link_abort(struct dist_link *l)
{
    (void)l;
}

void dist_link_close(struct dist_link *l, const char *reason)
{
    (void)l, (void)reason;
    assert_always(false);
}

struct dist_link *cluster_link(const struct cluster *c, struct slice node)
{
    (void)c, (void)node;
    return &link_of_caller;
}

struct dist_link *cluster_link_by_handle(const struct cluster *c, handle_t h)
{
    (void)c, (void)h;
    return &link_of_caller;
}

struct dist_link *cluster_next_link(const struct cluster *c, uint32_t *pos)
{
    (void)c;
    return (*pos)++ == 0 ? &link_of_caller : NULL;
}

/* -- the callee ------------------------------------------------------------------------------------------ */

static struct node_identity self;
static struct metrics metrics;
static struct timers timers;
static struct process_table *processes;
static struct remote_calls *calls;
static struct dist_dispatch *dispatch;
static char names[MODULES + FUNCTIONS][NAME_BYTES];
static struct rpc_entry entries[MODULES * FUNCTIONS + 1];
static struct buf packet;
static size_t number_at[4]; /* where the packet holds the last word of a reference that each call has anew */

static enum rpc_outcome three(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server, (void)call;
    term_put_uint(out, 3);
    return RPC_RETURN;
}

static void fill_table(void)
{
    struct rpc_entry *e = entries;
    for (int m = 0; m < MODULES; m++)
        snprintf(names[m], NAME_BYTES, "Elixir.PhoenixGenApi.Module%d", m);
    for (int f = 0; f < FUNCTIONS; f++)
        snprintf(names[MODULES + f], NAME_BYTES, "function_%d", f);
    for (int m = 0; m < MODULES; m++)
        for (int f = 0; f < FUNCTIONS; f++)
            *e++ = (struct rpc_entry){names[m], names[MODULES + f], 1, three};
    *e = (struct rpc_entry){"Elixir.PhoenixGenApi.ConfigDb", "count", 0, three};
}

static void put_ref(struct buf *b, int which)
{
    const struct term_ref ref = {
        .node = dist_link_node(NULL), .creation = CALLER_CREATION, .words = 3, .id = {95958, 187695105, 0}};
    term_put_ref(b, &ref);
    number_at[which] = b->len - 4;
}

static void put_pid(struct buf *b, uint32_t id)
{
    const struct term_pid pid = {dist_link_node(NULL), id, 0, CALLER_CREATION};
    term_put_pid(b, &pid);
}

/* {29, Ref, From, GroupLeader, {erpc, execute_call, 4}, [monitor]} and [Res, Module, Function, []]. */
static void fill_packet(struct buf *b)
{
    buf_putc(b, 112);
    dist_put_head(b, DIST_SPAWN_REQUEST, 5);
    put_ref(b, 0);
    put_pid(b, 89);
    put_pid(b, 71);
    term_put_tuple(b, 3);
    term_put_atom(b, "erpc");
    term_put_atom(b, "execute_call");
    term_put_int(b, 4);
    term_put_list(b, 1);
    term_put_atom(b, "monitor");
    term_put_nil(b);
    term_put_version(b);
    term_put_list(b, 4);
    put_ref(b, 1);
    term_put_atom(b, "Elixir.PhoenixGenApi.ConfigDb");
    term_put_atom(b, "count");
    term_put_nil(b);
    term_put_nil(b);
    assert_always(buf_ok(b));
}

void rpc_prepare(void)
{
    static struct rpc_table table = {.entries = entries, .count = ARRAY_SIZE(entries)};
    timers_init(&timers, 1000);
    self = (struct node_identity){.creation = 3, .flags = DIST_FLAGS_DEFAULT};
    snprintf(self.name, sizeof(self.name), "%s", gateway_node);
    fill_table();
    fill_packet(&packet);
    processes = process_table_new(&self, NULL, &metrics, 1000);
    calls = remote_calls_new(&self, NULL, &timers, &metrics, 1000);
    assert_always(processes && calls);
    dispatch = dist_dispatch_new(&self, processes, calls, &table, &metrics);
    assert_always(dispatch);
}

void rpc_forget(void)
{
    dist_dispatch_free(dispatch);
    remote_calls_free(calls);
    process_table_free(processes);
    timers_fini(&timers);
    buf_fini(&packet);
    buf_fini(&link_of_caller.out);
}

void run_rpc_count(void)
{
    static uint32_t number;
    struct buf *out = &link_of_caller.out;
    buf_reset(out);
    put_be32(packet.data + number_at[0], ++number);
    put_be32(packet.data + number_at[1], ++number);
    dist_dispatch_packet(dispatch, &link_of_caller, buf_slice(&packet));
    assert_always(out->len > 250 && out->data[out->len - 1] == 3);
}
