/*
 * node_services.c: see node_services.h. What a BEAM spreads over several servers and what its callers rely on:
 * net_kernel says yes to a ping, rex runs calls, user takes output. Only what has been seen to be asked of a node is
 * answered in kind; every other call gets {error, notsup}, so that nobody hangs (D-13).
 *
 * Invariant: these processes cannot be killed from outside.
 */
#include "node_services.h"

#include "dist_send.h"
#include "gen_call.h"
#include "log.h"

enum { KEEP_BYTES = 64 * 1024 };

/* Short constant answers as they stand on the wire: w and a length begin an atom, h and an arity a tuple, j is []. */
#define TERM_LIT(lit) slice_make(lit, sizeof(lit) - 1)
#define ATOM_YES "w\3yes"
#define ATOM_OK "w\2ok"
#define ATOM_EOF "w\3eof"
#define ERROR_ENOTSUP "h\2w\5errorw\7enotsup"
#define ERROR_REQUEST "h\2w\5errorw\7request"
#define EMPTY_LIST "j"

/* ---- net_kernel ---- */

/* A ping (net_adm:ping, Node.ping). Anything but yes makes the caller disconnect (08 §3.3). */
static void net_kernel_call(void *owner, handle_t self, struct dist_link *from, const struct gen_call *call)
{
    struct node_services *s = owner;
    uint8_t pid[PROCESS_PID_MAX];
    struct term_reader r = term_reader(call->request);
    uint32_t n;
    struct slice me = process_pid(s->processes, self, pid);
    if (term_read_tagged(&r, "is_auth", &n) == BG_OK && n == 2)
        gen_reply(from, me, call, TERM_LIT(ATOM_YES));
    else
        gen_reply_notsup(from, me, call);
}

/* ---- rex ---- */

/* How a request to rex went. */
enum rex_result { REX_NOT_UNDERSTOOD, REX_ANSWERED, REX_LATER };

/* {call | block_call | cast, M, F, Args, GroupLeader}: runs it and leaves rex's answer in s->reply. *call says who asks
 * and how he waits. */
static enum rex_result rex_run(struct node_services *s, struct rpc_call *call, struct slice request)
{
    struct term_reader r = term_reader(request);
    struct slice args;
    uint32_t n;
    bool known;
    if (term_read_tuple(&r, &n) != BG_OK || n != 5)
        return REX_NOT_UNDERSTOOD;
    if (!term_read_is_atom(&r, "call") && !term_read_is_atom(&r, "block_call") && !term_read_is_atom(&r, "cast"))
        return REX_NOT_UNDERSTOOD;
    if (term_read_atom(&r, &call->module) != BG_OK || term_read_atom(&r, &call->function) != BG_OK ||
        term_skip(&r, &args) != BG_OK)
        return REX_NOT_UNDERSTOOD;
    if (term_peek(&r) == TERM_PID && term_skip(&r, &call->group_leader) != BG_OK)
        return REX_NOT_UNDERSTOOD;
    metric_inc(s->metrics, METRIC_RPC_IN);
    buf_shrink(&s->value, KEEP_BYTES);
    buf_shrink(&s->reply, KEEP_BYTES);
    enum rpc_outcome outcome = rpc_run(s->rpc, call, args, &s->value, &known);
    if (!known)
        metric_inc(s->metrics, METRIC_RPC_IN_UNDEF);
    if (outcome == RPC_LATER)
        return REX_LATER;
    rpc_put_rex(&s->reply, call, outcome, buf_slice(&s->value));
    return buf_ok(&s->value) && buf_ok(&s->reply) ? REX_ANSWERED : REX_NOT_UNDERSTOOD;
}

/* rpc:block_call and whoever calls rex by name; rpc:call has gone over SPAWN_REQUEST since OTP 23. */
static void rex_call(void *owner, handle_t self, struct dist_link *from, const struct gen_call *c)
{
    struct node_services *s = owner;
    struct rpc_call call = {
        .caller_node = dist_link_node(from), .caller = c->pid, .link = from, .shape = RPC_SHAPE_REX, .ref = c->tag};
    uint8_t pid[PROCESS_PID_MAX];
    struct slice me = process_pid(s->processes, self, pid);
    enum rex_result result = rex_run(s, &call, c->request);
    if (result == REX_ANSWERED)
        gen_reply(from, me, c, buf_slice(&s->reply));
    else if (result == REX_NOT_UNDERSTOOD)
        gen_reply_notsup(from, me, c);
}

/* {rex, Result}: the answer to a call that carries no tag. */
static void rex_plain_call(struct node_services *s, struct dist_link *from, struct slice pid, struct slice request)
{
    struct rpc_call call = {.caller_node = dist_link_node(from), .caller = pid, .link = from};
    if (rex_run(s, &call, request) != REX_ANSWERED)
        return;
    struct buf *b = dist_link_begin(from, LINK_PROTOCOL);
    if (!b)
        return;
    dist_put_send(b, pid);
    term_put_tuple(b, 2);
    term_put_atom(b, "rex");
    term_put_raw(b, buf_slice(&s->reply));
    dist_link_commit(from);
}

/* {features_reply, Node, [erpc]} */
static void rex_features(struct node_services *s, struct dist_link *from, struct slice pid)
{
    struct buf *b = dist_link_begin(from, LINK_PROTOCOL);
    if (!b)
        return;
    dist_put_send(b, pid);
    term_put_tuple(b, 3);
    term_put_atom(b, "features_reply");
    term_put_atom(b, s->self->name);
    term_put_list(b, 1);
    term_put_atom(b, "erpc");
    term_put_nil(b);
    dist_link_commit(from);
}

/* rpc:sbcast: {rex, Node, Node} when the name exists and got the message, {rex, Node, {nonexisting_name, Name}}
 * otherwise. */
static void rex_sbcast(struct node_services *s, struct dist_link *from, struct slice pid, struct term_reader *r)
{
    struct slice name, msg;
    if (term_read_atom(r, &name) != BG_OK || term_skip(r, &msg) != BG_OK)
        return;
    handle_t to = process_whereis(s->processes, name);
    struct buf *b = dist_link_begin(from, LINK_PROTOCOL);
    if (b) {
        dist_put_send(b, pid);
        term_put_tuple(b, 3);
        term_put_atom(b, "rex");
        term_put_atom(b, s->self->name);
        if (to == HANDLE_NONE) {
            term_put_tuple(b, 2);
            term_put_atom(b, "nonexisting_name");
            term_put_atom_slice(b, name);
        } else {
            term_put_atom(b, s->self->name);
        }
        dist_link_commit(from);
    }
    process_deliver(s->processes, from, SLICE_NONE, to, msg);
}

/* What reaches rex without being a gen_call: casts, and the requests of code older than gen_server. */
static void rex_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct node_services *s = owner;
    struct slice request, pid;
    uint32_t n;
    (void)self;
    if (gen_cast_read(msg, &request)) {
        struct rpc_call call = {.caller_node = dist_link_node(from), .link = from, .shape = RPC_SHAPE_CAST};
        (void)rex_run(s, &call, request);
        return;
    }
    struct term_reader r = term_reader(msg);
    if (term_read_tuple(&r, &n) != BG_OK || n != 2 || term_peek(&r) != TERM_PID || term_skip(&r, &pid) != BG_OK ||
        term_skip(&r, &request) != BG_OK)
        return;
    r = term_reader(request);
    if (term_is_atom(request, "features_request"))
        rex_features(s, from, pid);
    else if (term_read_tagged(&r, "sbcast", &n) == BG_OK && n == 3)
        rex_sbcast(s, from, pid, &r);
    else
        rex_plain_call(s, from, pid, request);
}

/* ---- logger_proxy ---- */

/* {log, Level, ...}: code that we run on other nodes with us as its group leader sends its crash reports here. */
static void log_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct term_reader r = term_reader(msg);
    struct slice level, text;
    uint32_t n;
    (void)owner;
    (void)self;
    if (term_read_tagged(&r, "log", &n) != BG_OK || n < 3 || term_read_atom(&r, &level) != BG_OK ||
        term_skip(&r, &text) != BG_OK)
        return;
    log_limited(LOG_DEBUG, "cluster", "log event from another node", "node=%s severity=%s term=%s",
                log_text(dist_link_node(from)), log_text(level), log_text(text));
}

/* ---- the I/O protocol ---- */

/* The answers hold no zero byte, so they can stand as strings. */
static const struct io_rule {
    const char *request;
    const char *answer;
} io_rules[] = {
    {"put_chars", ATOM_OK},  {"requests", ATOM_OK},      {"get_line", ATOM_EOF},
    {"get_chars", ATOM_EOF}, {"get_until", ATOM_EOF},    {"get_password", ATOM_EOF},
    {"getopts", EMPTY_LIST}, {"setopts", ERROR_ENOTSUP}, {"get_geometry", ERROR_ENOTSUP},
};

/* Requests are {Name, ...} or a bare atom; the name decides. */
static struct slice io_answer(struct slice request)
{
    struct term_reader r = term_reader(request);
    struct slice name;
    uint32_t n;
    if (term_peek(&r) == TERM_TUPLE && term_read_tuple(&r, &n) != BG_OK)
        return TERM_LIT(ERROR_REQUEST);
    if (term_read_atom(&r, &name) != BG_OK)
        return TERM_LIT(ERROR_REQUEST);
    for (size_t i = 0; i < ARRAY_SIZE(io_rules); i++)
        if (slice_is(name, io_rules[i].request))
            return slice_str(io_rules[i].answer);
    return TERM_LIT(ERROR_REQUEST);
}

bool node_services_io(struct dist_link *l, struct slice msg)
{
    struct term_reader r = term_reader(msg);
    struct slice from, reply_as, request;
    uint32_t n;
    if (term_read_tagged(&r, "io_request", &n) != BG_OK || n != 4)
        return false;
    if (term_peek(&r) != TERM_PID || term_skip(&r, &from) != BG_OK || term_skip(&r, &reply_as) != BG_OK ||
        term_skip(&r, &request) != BG_OK)
        return false;
    log_limited(LOG_DEBUG, "cluster", "output of another node", "node=%s term=%s", log_text(dist_link_node(l)),
                log_text(request));
    struct buf *b = dist_link_begin(l, LINK_PROTOCOL);
    if (!b)
        return true;
    dist_put_send(b, from);
    term_put_tuple(b, 3);
    term_put_atom(b, "io_reply");
    term_put_raw(b, reply_as);
    term_put_raw(b, io_answer(request));
    dist_link_commit(l);
    return true;
}

/* ---- start ---- */

static const struct process_ops net_kernel_ops = {.kind = "net_kernel", .exit = process_stay, .call = net_kernel_call};
static const struct process_ops rex_ops = {.kind = "rex", .exit = process_stay, .call = rex_call, .message = rex_message};
static const struct process_ops user_ops = {.kind = "user", .exit = process_stay};
static const struct process_ops logger_ops = {.kind = "logger", .exit = process_stay, .message = log_message};

/* Who is there from the start. Monitors on them are accepted, so their clients see us as a node that is alive. */
static const struct {
    const char *name;
    const struct process_ops *ops;
} services[] = {
    {"net_kernel", &net_kernel_ops},
    {"rex", &rex_ops},
    {"user", &user_ops},
    {"logger_proxy", &logger_ops},
};

int node_services_init(struct node_services *s, const struct node_identity *self, struct process_table *pt,
                       const struct rpc_table *rpc, struct metrics *m)
{
    *s = (struct node_services){.self = self, .processes = pt, .rpc = rpc, .metrics = m};
    buf_init(&s->value, 0);
    buf_init(&s->reply, 0);
    for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
        handle_t p = process_start(pt, services[i].ops, s);
        if (p == HANDLE_NONE)
            return BG_ELIMIT;
        int rc = process_register(pt, p, slice_str(services[i].name));
        if (rc != BG_OK)
            return rc;
    }
    return BG_OK;
}

void node_services_fini(struct node_services *s)
{
    buf_fini(&s->value);
    buf_fini(&s->reply);
}
