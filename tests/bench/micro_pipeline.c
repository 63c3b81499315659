/*
 * micro_pipeline.c: the request pipeline's part of micro.c: its stages one by one, and whole requests from the payload to the
 * two frames of the answer, with a call that is answered at once. Two functions are measured: `echo`, one text and no
 * conditions, and `checked`, five arguments with limits, a permission and two rate limits. They stand in tables of 10, 100
 * and 10,000 functions.
 *
 * Knows neither sockets nor links: what those cost, run.sh tells.
 */
#include "micro.h"

#include <stdio.h>

#include "args.h"
#include "permission.h"
#include "rate_limiter.h"
#include "request.h"
#include "request_decode.h"
#include "response.h"

enum { TABLES = 3, NAME_MAX_BYTES = 24 };

static const uint32_t table_sizes[TABLES] = {10, 100, 10000};

static const char echo_text[] = "{\"service\":\"bench_service\",\"request_type\":\"echo\",\"request_id\":\"r12345678\","
                                "\"args\":{\"msg\":\"m12345678\"}}";
static const char checked_text[] =
    "{\"service\":\"bench_service\",\"request_type\":\"checked\",\"request_id\":\"r12345678\",\"args\":{"
    "\"msg\":\"m12345678\",\"n\":42,\"tags\":[\"red\",\"green\"],\"at\":\"2026-01-02T03:04:05.678+07:00\","
    "\"id\":\"550e8400-e29b-41d4-a716-446655440000\"}}";

/* A gateway with its table of functions, whose calls and frames go nowhere. */
struct world {
    struct config_db *db;
    struct gateway *gw;
    struct rate_limiter *limiter;
    struct buf call, push, reply;
    call_done_fn *done;
    void *owner;
    uint64_t tag;
};

static struct world worlds[TABLES];
static struct metrics metrics;
static struct timers timers;
static struct session session = {.user_id = {"u1", 2}};
static struct channel_rules rules = {true, true};
static struct request_list waiting, counted; /* counted: with the quotas of its socket and its user */
static struct request_quota quotas[REQUEST_QUOTAS] = {{0, LIMIT_SOCKET_IN_FLIGHT}, {0, LIMIT_USER_IN_FLIGHT}};
static struct client_limits quota_limits;
static struct buf scratch, scratch_message;
static struct slice result, value; /* {ok, value}, the end of which value is */
static uint32_t turn;

/* -- operations that keep nothing -------------------------------------------------------------------- */

static bool node_up(void *ctx, struct slice node)
{
    (void)ctx;
    return node.len > 0;
}

static struct buf *call_begin(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                              enum call_outcome *why)
{
    struct world *w = ctx;
    (void)node, (void)module, (void)function, (void)nargs, (void)why;
    buf_reset(&w->call);
    return &w->call;
}

static handle_t call_commit(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag)
{
    struct world *w = ctx;
    (void)timeout_us;
    w->done = done;
    w->owner = owner;
    w->tag = tag;
    return 1;
}

static void call_abort(void *ctx)
{
    (void)ctx;
}

static void call_cancel(void *ctx, handle_t call)
{
    (void)ctx, (void)call;
}

static uint32_t call_nodes(void *ctx, struct buf *out)
{
    (void)ctx, (void)out;
    return 0;
}

static const struct session *client_session(void *ctx, handle_t channel)
{
    (void)ctx, (void)channel;
    return &session;
}

static struct buf *push_begin(void *ctx, handle_t channel)
{
    struct world *w = ctx;
    (void)channel;
    buf_reset(&w->push);
    return &w->push;
}

static void push_end(void *ctx, handle_t channel, bool keep)
{
    (void)ctx, (void)channel;
    assert_always(keep);
}

static void client_reply(void *ctx, handle_t channel, struct slice ref, const char *status, struct slice response)
{
    struct world *w = ctx;
    (void)channel, (void)status;
    buf_reset(&w->reply);
    buf_add_slice(&w->reply, ref);
    buf_add_slice(&w->reply, response);
}

/* -- functions --------------------------------------------------------------------------------------- */

static void put_pair(struct buf *b, const char *key, const char *atom)
{
    term_put_atom(b, key);
    term_put_atom(b, atom);
}

/* name => {string, 100} */
static void put_limited(struct buf *b, const char *name, const char *type, int64_t limit)
{
    term_put_text(b, name);
    term_put_tuple(b, 2);
    term_put_atom(b, type);
    term_put_int(b, limit);
}

static void put_echo_args(struct buf *b)
{
    term_put_atom(b, "arg_types");
    term_put_map(b, 1);
    put_limited(b, "msg", "string", 100);
    term_put_atom(b, "arg_orders");
    term_put_list(b, 1);
    term_put_text(b, "msg");
    term_put_nil(b);
}

static void put_checked_args(struct buf *b)
{
    static const char *const order[] = {"msg", "n", "tags", "at", "id"};
    term_put_atom(b, "arg_types");
    term_put_map(b, 5);
    put_limited(b, "msg", "string", 100);
    put_limited(b, "tags", "list_string", 10);
    term_put_text(b, "n");
    term_put_atom(b, "num");
    term_put_text(b, "at");
    term_put_atom(b, "datetime");
    term_put_text(b, "id");
    term_put_atom(b, "uuid");
    term_put_atom(b, "arg_orders");
    term_put_list(b, ARRAY_SIZE(order));
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        term_put_text(b, order[i]);
    term_put_nil(b);
}

static void add_function(struct world *w, const char *name, void (*put_args)(struct buf *b), const char *permission)
{
    struct buf b = {0};
    struct fun_config_reasons why = {0};
    term_put_map(&b, 8);
    term_put_atom(&b, "request_type");
    term_put_text(&b, name);
    term_put_atom(&b, "service");
    term_put_text(&b, "bench_service");
    put_pair(&b, "response_type", "sync");
    put_pair(&b, "check_permission", permission);
    term_put_atom(&b, "nodes");
    term_put_list(&b, 1);
    term_put_atom(&b, "svc@localhost");
    term_put_nil(&b);
    term_put_atom(&b, "mfa");
    term_put_tuple(&b, 3);
    term_put_atom(&b, "bench");
    term_put_atom(&b, "echo");
    term_put_nil(&b);
    put_args(&b);
    struct fun_config *fc = fun_config_from_term(buf_slice(&b), SLICE_NONE, &why);
    assert_always(fc);
    assert_always(config_db_put(w->db, fc, SLICE_LIT("bench_service")) == BG_OK);
    fun_config_unref(fc);
    buf_fini(&b);
}

static const char *function_name(uint32_t i, char name[NAME_MAX_BYTES])
{
    snprintf(name, NAME_MAX_BYTES, "function_%05u", (unsigned)i);
    return name;
}

/* Two limits that hold and never refuse. */
static struct rate_limiter *limiter_new(void)
{
    static const struct rate_key user = {RATE_KEY_USER_ID, {NULL, 0}};
    const struct rate_limit global = {RATE_GLOBAL, user, 1000, 1, false};
    const struct rate_limit api = {{{"bench_service", 13}, {"checked", 7}}, user, 1000, 1, false};
    const struct rate_limiter_options o = {&metrics, 1 << 20, true};
    struct rate_limiter *rl = rate_limiter_new(&o);
    assert_always(rl);
    assert_always(rate_limiter_set_global(rl, &global, 1, NULL) == BG_OK);
    assert_always(rate_limiter_set_api(rl, &api, 1, NULL) == BG_OK);
    return rl;
}

static void world_make(struct world *w, uint32_t functions, bool limits)
{
    struct gateway_options o;
    char name[NAME_MAX_BYTES];
    gateway_options_default(&o);
    o.db = w->db = config_db_new(&metrics, 20000);
    o.timers = &timers;
    o.metrics = &metrics;
    o.limiter = w->limiter = limits ? limiter_new() : NULL;
    o.limits = &quota_limits;
    o.call = (struct call_ops){w, node_up, call_begin, call_commit, call_abort, call_cancel, call_nodes};
    o.client = (struct client_ops){w, client_session, push_begin, push_end, client_reply, NULL};
    assert_always(w->db);
    add_function(w, "echo", put_echo_args, "false");
    add_function(w, "checked", put_checked_args, "any_authenticated");
    for (uint32_t i = 2; i < functions; i++)
        add_function(w, function_name(i, name), put_echo_args, "false");
    w->gw = gateway_new(&o);
    assert_always(w->gw);
}

static struct world limited;

void pipeline_prepare(void)
{
    static struct buf answer;
    timers_init(&timers, 1000000);
    limit_init(&quota_limits, &metrics);
    request_list_init(&waiting);
    request_list_init(&counted);
    for (int i = 0; i < REQUEST_QUOTAS; i++)
        counted.quota[i] = &quotas[i];
    for (int i = 0; i < TABLES; i++)
        world_make(&worlds[i], table_sizes[i], false);
    world_make(&limited, 10, true);
    term_put_tuple(&answer, 2);
    term_put_atom(&answer, "ok");
    size_t head = answer.len;
    term_put_text(&answer, "m12345678");
    assert_always(buf_ok(&answer));
    result = buf_slice(&answer);
    value = slice_make(result.ptr + head, result.len - head);
}

static void world_forget(struct world *w)
{
    gateway_free(w->gw);
    rate_limiter_free(w->limiter);
    config_db_free(w->db);
    buf_fini(&w->call);
    buf_fini(&w->push);
    buf_fini(&w->reply);
}

void pipeline_forget(void)
{
    for (int i = 0; i < TABLES; i++)
        world_forget(&worlds[i]);
    world_forget(&limited);
    timers_fini(&timers);
    buf_fini(&scratch);
    buf_fini(&scratch_message);
}

/* -- whole requests ---------------------------------------------------------------------------------- */

static void whole_of(struct world *w, struct request_list *list, const char *text, size_t len)
{
    timers.now_us += 200; /* 5,000 requests a second */
    gateway_request(w->gw, 7, list, &session, &rules, SLICE_LIT("\"12345678\""), slice_make(text, len), NULL);
    w->done(w->owner, w->tag, CALL_RETURN, result);
    assert_always(gateway_in_flight(w->gw) == 0 && w->push.len > 0);
}

static void whole(struct world *w, const char *text, size_t len)
{
    whole_of(w, &waiting, text, len);
}

void run_pipeline_echo_in_flight(void)
{
    whole_of(&worlds[0], &counted, echo_text, sizeof(echo_text) - 1);
}

void run_pipeline_echo_10(void)
{
    whole(&worlds[0], echo_text, sizeof(echo_text) - 1);
}

void run_pipeline_echo_100(void)
{
    whole(&worlds[1], echo_text, sizeof(echo_text) - 1);
}

void run_pipeline_echo_10000(void)
{
    whole(&worlds[2], echo_text, sizeof(echo_text) - 1);
}

/* A function that was not asked for lately: its config is in no cache. */
void run_pipeline_any_of_10000(void)
{
    char text[sizeof(echo_text) + NAME_MAX_BYTES], name[NAME_MAX_BYTES];
    turn = turn * 1664525u + 1013904223u;
    int len = snprintf(text, sizeof(text),
                       "{\"service\":\"bench_service\",\"request_type\":\"%s\",\"request_id\":\"r12345678\","
                       "\"args\":{\"msg\":\"m12345678\"}}",
                       function_name(2 + (turn >> 8) % 9998, name));
    whole(&worlds[2], text, (size_t)len);
}

void run_pipeline_checked(void)
{
    whole(&worlds[0], checked_text, sizeof(checked_text) - 1);
}

void run_pipeline_checked_limited(void)
{
    whole(&limited, checked_text, sizeof(checked_text) - 1);
}

/* -- stages ------------------------------------------------------------------------------------------ */

void run_stage_decode(void)
{
    struct request_fields f;
    request_fields_read(slice_make(checked_text, sizeof(checked_text) - 1), &f);
    buf_reset(&scratch);
    assert_always(request_fields_check(&f, &scratch) == BG_OK);
}

static struct fun_config *find(struct world *w, const char *name)
{
    struct fun_config *fc;
    assert_always(config_db_find(w->db, SLICE_LIT("bench_service"), slice_str(name), SLICE_NONE, &fc) == CONFIG_FOUND);
    return fc;
}

static void find_any(struct world *w, uint32_t functions)
{
    char name[NAME_MAX_BYTES];
    turn = turn * 1664525u + 1013904223u;
    find(w, function_name(2 + (turn >> 8) % (functions - 2), name));
}

void run_stage_find_10(void)
{
    find_any(&worlds[0], 10);
}

void run_stage_find_100(void)
{
    find_any(&worlds[1], 100);
}

void run_stage_find_10000(void)
{
    find_any(&worlds[2], 10000);
}

void run_stage_permission(void)
{
    static struct fun_config *fc;
    if (!fc)
        fc = find(&worlds[0], "checked");
    assert_always(permission_check(fc, session.user_id, NULL, 0, SLICE_NONE) == PERMISSION_ALLOWED);
}

void run_stage_rate_limit(void)
{
    const struct rate_subject s = {.function = {SLICE_LIT("bench_service"), SLICE_LIT("checked")}, .user_id = session.user_id};
    struct rate_result res;
    timers.now_us += 200;
    assert_always(rate_limiter_check(limited.limiter, timers.now_us, &s, &res) == RATE_ALLOWED);
}

static void build_args(const char *name, const char *text, size_t len)
{
    static const struct args_limits lim = {3000, 1000, 1000, {64, 10000}};
    struct request_fields f;
    uint32_t count;
    request_fields_read(slice_make(text, len), &f);
    buf_reset(&scratch);
    assert_always(args_build(find(&worlds[0], name), f.args, &lim, &scratch, &count, &scratch_message) == BG_OK);
}

void run_stage_args_one(void)
{
    build_args("echo", echo_text, sizeof(echo_text) - 1);
}

void run_stage_args_five(void)
{
    build_args("checked", checked_text, sizeof(checked_text) - 1);
}

void run_stage_answer(void)
{
    const struct response resp = {.result_term = value};
    buf_reset(&scratch);
    assert_always(response_put(&scratch, SLICE_LIT("\"r12345678\""), &resp, NULL) == BG_OK);
}
