/*
 * torture.c: what happens when memory runs out, at every single allocation. Each script is run again and again, with
 * the first allocation failing, then the second, and so on until the script needs no more; once with that one alone
 * failing, once with all that follow. The layers base, codec and gateway are linked with their allocations led here
 * (see the Makefile); the tests' own are not.
 *
 * What must hold each time: no crash (build with sanitizers), nothing leaks, what is reported as done is right, and
 * each request has exactly one terminal answer, unless the frame itself found no memory: then its client is closed.
 */
#include "unit.h"

#include <stdio.h>

#include "breaker.h"
#include "channel_frame.h"
#include "config_failed.h"
#include "config_offer.h"
#include "log.h"
#include "rate_limiter.h"
#include "request.h"
#include "slots.h"
#include "term_text.h"
#include "transcode.h"

enum { ALLOCATIONS_MAX = 20000, CALLS = 64 };

/* ---- the allocator of the layers under test ------------------------------------------------------------ */

static struct {
    bool armed;
    bool persistent; /* all allocations from the failing one on */
    long countdown;
    bool failed; /* the one that was meant has come */
    long live;   /* blocks that were not given back */
} heap;

void *torture_malloc(size_t n);
void *torture_calloc(size_t n, size_t size);
void *torture_realloc(void *p, size_t n);
void torture_free(void *p);

static bool fails(void)
{
    if (!heap.armed)
        return false;
    if (heap.failed)
        return heap.persistent;
    if (heap.countdown-- > 0)
        return false;
    heap.failed = true;
    return true;
}

static void *counted(void *p)
{
    heap.live += p != NULL;
    return p;
}

void *torture_malloc(size_t n)
{
    return fails() ? NULL : counted(malloc(n));
}

void *torture_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(calloc(n, size));
}

void *torture_realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    void *q = realloc(p, n);
    heap.live += !p && q;
    return q;
}

void torture_free(void *p)
{
    heap.live -= p != NULL;
    free(p);
}

/* ---- scripts ------------------------------------------------------------------------------------------- */

/* Its own preparations and checks it makes while nothing fails: between heap_off() and heap_on(). */
struct script {
    void (*run)(void);
};

static void heap_on(void)
{
    heap.armed = true;
}

static void heap_off(void)
{
    heap.armed = false;
}

/* Runs the script once for each allocation it makes. Returns how many that were. */
static long torture(void (*run)(void), bool persistent)
{
    for (long n = 0; n < ALLOCATIONS_MAX; n++) {
        heap.persistent = persistent;
        heap.countdown = n;
        heap.failed = false;
        heap.live = 0;
        heap_off();
        run();
        heap_off();
        if (heap.live != 0)
            fail_msg("allocation %ld%s: %ld blocks were not given back", n, persistent ? " and all after it" : "",
                     heap.live);
        if (!heap.failed)
            return n;
    }
    fail_msg("more than %d allocations", ALLOCATIONS_MAX);
    return 0;
}

static void torture_both(const char *name, void (*run)(void))
{
    log_set_level(LOG_ERROR);
    long n = torture(run, false), m = torture(run, true);
    assert_true(n > 0 && m > 0); /* a script without an allocation tests nothing */
    printf("torture: %s, %ld allocations\n", name, n);
}

/* Only an error of memory is one here: all input is good. */
static void assert_memory(int rc)
{
    assert_true(rc == BG_ENOMEM || rc == BG_ELIMIT);
    assert_true(heap.failed);
}

/* ---- base ---------------------------------------------------------------------------------------------- */

static void on_timer(struct timer *t)
{
    (void)t;
}

static void run_base(void)
{
    static char keys[40][8];
    struct map m;
    struct slots s;
    struct timers ts;
    struct timer timer[40] = {{0}};
    struct arena a;
    struct buf b;
    size_t in_map = 0, in_slots = 0, armed = 0;
    map_init(&m);
    slots_init(&s, 100);
    timers_init(&ts, 0);
    arena_init(&a);
    buf_init(&b, 0);
    heap_on();
    for (unsigned i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%u", i);
        in_map += map_put(&m, slice_str(keys[i]), keys[i]) == BG_OK;
        in_slots += slots_add(&s, keys[i]) != HANDLE_NONE;
        timer[i].fn = on_timer;
        armed += timer_arm(&ts, &timer[i], i) == BG_OK;
        struct slice copy = arena_copy(&a, slice_str(keys[i]));
        assert_true(!copy.ptr || slice_is(copy, keys[i]));
        buf_puts(&b, "0123456789012345678901234567890123456789");
    }
    heap_off();
    assert_int_equal(m.count, in_map);
    assert_int_equal(s.count, in_slots);
    assert_int_equal(timers_run(&ts, 100, 0), armed);
    assert_true(buf_ok(&b) ? b.len == 1600 : heap.failed);
    map_fini(&m);
    slots_fini(&s);
    timers_fini(&ts);
    arena_fini(&a);
    buf_fini(&b);
}

static void base_survives(void **state)
{
    (void)state;
    torture_both("base", run_base);
}

/* ---- codec --------------------------------------------------------------------------------------------- */

static const char document[] =
    "{\"list\":[1,2.5,true,null,\"text with \\u00e9 and \\\"quotes\\\"\",{\"deep\":[[[[[[1]]]]]]}],"
    "\"big\":123456789012345678901234567890,\"empty\":{},\"same\":1,\"same\":2}";

static void run_json_to_term(void)
{
    struct buf term;
    struct err e;
    buf_init(&term, 0);
    heap_on();
    int rc = json_to_term(slice_str(document), &term, &json_limits_default, &e);
    size_t size = json_term_size(slice_str(document), &json_limits_default);
    heap_off();
    if (rc != BG_OK)
        assert_memory(rc);
    else
        assert_true(heap.failed || size == json_term_size(slice_str(document), &json_limits_default));
    buf_fini(&term);
}

static void run_term_to_json(void)
{
    struct buf term, json, text;
    struct err e;
    buf_init(&term, 0);
    buf_init(&json, 0);
    buf_init(&text, 0);
    struct slice t =
        term_of(&term, "%{list: [1, 2.5, true, nil, \"text\"], d: %{__struct__: Decimal, coef: 15, exp: -1, sign: 1}, "
                       "m: %{__struct__: MapSet, map: %{1 => [], 2 => []}, version: 2}}");
    heap_on();
    int rc = term_to_json(t, &json, NULL, &e);
    term_inspect(t, &text, 4096);
    heap_off();
    if (rc != BG_OK)
        assert_memory(rc);
    else
        assert_slice_is(buf_slice(&json), "{\"list\":[1,2.5,true,null,\"text\"],\"d\":\"1.5\",\"m\":[1,2]}");
    buf_fini(&term);
    buf_fini(&json);
    buf_fini(&text);
}

static void run_compare(void)
{
    struct buf a, b;
    buf_init(&a, 0);
    buf_init(&b, 0);
    struct slice x = term_of(&a, "%{a: [1, 2, {3, 4}], b: %{c: 1}}"),
                 y = term_of(&b, "%{b: %{c: 1}, a: [1, 2, {3, 4}]}");
    heap_on();
    bool same = term_equal(x, y);
    heap_off();
    assert_true(same || heap.failed);
    buf_fini(&a);
    buf_fini(&b);
}

static void codec_survives(void **state)
{
    (void)state;
    torture_both("JSON to terms", run_json_to_term);
    torture_both("terms to JSON", run_term_to_json);
    run_compare(); /* takes no memory at all */
}

/* ---- rules: the store, what was refused, limits ---------------------------------------------------------- */

#define NODES ", nodes: [:svc@localhost], mfa: {M, :f, [1]}"
static const char *const configs[] = {
    "%{request_type: \"echo\", service: \"svc\", arg_types: %{\"msg\" => :string}, arg_orders: [\"msg\"]" NODES "}",
    "%{request_type: \"five\", service: \"svc\", arg_types: %{\"a\" => {:string, 10}, \"b\" => :num, \"c\" => "
    "{:list_string, 5, 9}, "
    "\"d\" => :datetime, \"e\" => :map}, arg_orders: [\"a\", \"b\", \"c\", \"d\", \"e\"], request_info: true, "
    "check_permission: {:arg, \"a\"}" NODES "}",
    "%{request_type: \"async\", service: \"svc\", response_type: :async" NODES "}",
    "%{request_type: \"none\", service: \"svc\", response_type: :none" NODES "}",
    "%{request_type: \"stream\", service: \"svc\", response_type: :stream" NODES "}",
    "%{request_type: \"asked\", service: \"svc\", permission_callback: {P, :may, []}, before_execute: {H, :before}, "
    "after_execute: {H, :after}" NODES "}",
    "%{request_type: \"again\", service: \"svc\", retry: {:same_node, 2}" NODES "}",
    "%{request_type: \"where\", service: \"svc\", nodes: {N, :nodes, []}, mfa: {M, :f, []}, choose_node_mode: "
    "{:sticky, \"user_id\"}}",
    "%{request_type: \"roles\", service: \"svc\", version: \"1.2.0\", check_permission: {:role, [\"admin\", "
    "\"user\"]}" NODES "}",
};

static struct metrics metrics;

/* The store with what could be stored of the configs. */
static void put_configs(struct config_db *db, struct config_failed *failed)
{
    for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
        static struct fun_config_reasons why;
        struct buf term;
        bool on = heap.armed;
        heap_off();
        buf_init(&term, 0);
        struct slice t = term_of(&term, configs[i]);
        heap.armed = on;
        why.count = 0;
        struct fun_config *fc = fun_config_from_term(t, SLICE_NONE, &why);
        if (!fc)
            assert_true(heap.failed && why.broken == 0);
        else if (fun_config_set_origin(fc, SLICE_LIT("svc@localhost")) == BG_OK)
            (void)!config_db_put(db, fc, SLICE_LIT("svc"));
        if (!fc && failed)
            config_failed_record(failed, t, SLICE_LIT("svc"), &why, CONFIG_PUSH, SLICE_LIT("svc@localhost"), 1);
        fun_config_unref(fc);
        heap_off();
        buf_fini(&term);
        heap.armed = on;
    }
}

static void run_store(void)
{
    heap_on();
    struct config_db *db = config_db_new(&metrics, 100);
    struct config_failed *failed = config_failed_new(3);
    if (db && failed) {
        put_configs(db, failed);
        config_db_mark(db, SLICE_LIT("svc"));
        put_configs(db, failed);
        (void)config_db_sweep(db, SLICE_LIT("svc"));
        (void)config_db_set_disabled(db, SLICE_LIT("svc"), SLICE_LIT("echo"), SLICE_NONE, true);
        (void)config_db_delete(db, SLICE_LIT("svc"), SLICE_LIT("roles"), SLICE_NONE);
    }
    heap_off();
    size_t count = 0;
    for (size_t pos = 0; db && config_db_next(db, &pos);)
        count++;
    assert_int_equal(count, db ? config_db_count(db) : 0);
    assert_true(heap.failed || (failed && count == ARRAY_SIZE(configs) - 1));
    config_failed_free(failed);
    config_db_free(db);
}

static void run_offer(void)
{
    struct buf term;
    buf_init(&term, 0);
    struct slice list =
        term_of(&term, "[%{request_type: \"a\", nodes: [:svc@localhost], mfa: {M, :f, []}}, %{request_type: \"\"}, 7, "
                       "%{request_type: \"b\", nodes: [:svc@localhost], mfa: {:os, :cmd, []}}]");
    struct config_db *db = config_db_new(&metrics, 100);
    struct config_failed *failed = config_failed_new(10);
    assert_true(db && failed);
    struct config_offer o = {.db = db,
                             .failed = failed,
                             .metrics = &metrics,
                             .service = SLICE_LIT("svc"),
                             .source_key = SLICE_LIT("svc"),
                             .source = CONFIG_PULL};
    heap_on();
    bool begun = config_offer_begin(&o, list) == BG_OK;
    while (begun && !config_offer_step(&o, 1))
        ;
    heap_off();
    assert_true(heap.failed || (begun && o.stored == 1 && o.refused == 3));
    assert_true(config_db_count(db) <= 1);
    config_failed_free(failed);
    config_db_free(db);
    buf_fini(&term);
}

static void run_limits(void)
{
    static const struct rate_limit global = {RATE_GLOBAL, {RATE_KEY_USER_ID, SLICE_NONE}, 3, 60000, false};
    static const struct rate_limit api = {{{"svc", 3}, {"echo", 4}}, {RATE_KEY_ARG, {"msg", 3}}, 5, 1000, false};
    const struct rate_limiter_options o = {&metrics, RATE_BYTES_MIN, true};
    struct rate_result res;
    unsigned allowed = 0;
    heap_on();
    struct rate_limiter *rl = rate_limiter_new(&o);
    bool limited = rl && rate_limiter_set_global(rl, &global, 1, NULL) == BG_OK &&
                   rate_limiter_set_api(rl, &api, 1, NULL) == BG_OK;
    for (unsigned i = 0; limited && i < 8; i++) {
        struct rate_subject s = {
            .function = api.scope, .user_id = SLICE_LIT("u1"), .args = SLICE_LIT("{\"msg\":\"x\"}")};
        allowed += rate_limiter_check(rl, i, &s, &res) == RATE_ALLOWED;
    }
    heap_off();
    assert_true(allowed <= 8 && (heap.failed || allowed == 3));
    rate_limiter_free(rl);
}

static void rules_survive(void **state)
{
    (void)state;
    torture_both("the store", run_store);
    torture_both("a service's offer", run_offer);
    torture_both("rate limits", run_limits);
}

/* ---- requests ------------------------------------------------------------------------------------------ */

struct call {
    bool open;
    char module[64];
    struct buf args; /* in the link's output: appending may fail as there */
    call_done_fn *done;
    void *owner;
    uint64_t tag;
};

/* One client, its channel 7, and a node that answers when it is told to. */
static struct {
    struct timers timers;
    struct config_db *db;
    struct rate_limiter *limiter;
    struct gateway *gw;
    struct request_list waiting;
    struct buf frame;
    struct call call[CALLS];
    uint32_t calls;
    uint64_t stream;
    bool closed; /* a frame found no memory, and the client was closed for it */
    unsigned finals, pushes, replies;
} world;

static const struct session session = {
    .user_id = {"u1", 2}, .roles = (const struct slice[]){{"admin", 5}}, .roles_count = 1};

static bool node_up(void *ctx, struct slice node)
{
    (void)ctx;
    return slice_is(node, "svc@localhost");
}

static struct buf *call_begin(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                              enum call_outcome *why)
{
    struct call *c = &world.call[world.calls % CALLS];
    (void)ctx, (void)function, (void)nargs;
    *why = CALL_NODEDOWN;
    if (!node_up(NULL, node))
        return NULL;
    slice_cstr(module, c->module, sizeof(c->module));
    buf_reset(&c->args);
    return &c->args;
}

static handle_t call_commit(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag)
{
    struct call *c = &world.call[world.calls % CALLS];
    (void)ctx, (void)timeout_us;
    if (!buf_ok(&c->args))
        return HANDLE_NONE;
    c->open = true;
    c->done = done;
    c->owner = owner;
    c->tag = tag;
    return ++world.calls;
}

static void call_abort(void *ctx)
{
    (void)ctx;
}

static void call_cancel(void *ctx, handle_t call)
{
    (void)ctx;
    if (call != HANDLE_NONE)
        world.call[(call - 1) % CALLS].open = false;
}

static uint32_t call_nodes(void *ctx, struct buf *out)
{
    (void)ctx;
    term_put_atom(out, "svc@localhost");
    return 1;
}

static const struct session *client_session(void *ctx, handle_t channel)
{
    (void)ctx, (void)channel;
    return world.closed ? NULL : &session;
}

/* From the loop, as the edge does it: not while the pipeline speaks. */
static struct buf *push_begin(void *ctx, handle_t channel)
{
    (void)ctx, (void)channel;
    if (world.closed)
        return NULL;
    buf_reset(&world.frame);
    return &world.frame;
}

/* A Response ends a request when it is no acknowledgement and nothing follows. The keys come in a fixed order, and what
 * is inside result comes behind success and before request_id. */
static bool is_final(const char *json)
{
    bool success = strstr(json, "\"success\":true") != NULL;
    bool async = strncmp(strstr(json, "\"async\":"), "\"async\":true", 12) == 0;
    const char *more = json;
    for (const char *p = json; (p = strstr(p, "\"has_more\":")) != NULL; p++)
        more = p;
    if (!success)
        return true;
    return strncmp(more, "\"has_more\":true", 15) != 0 && (!async || strstr(json, "\"result\":\"last\"") != NULL);
}

static void push_end(void *ctx, handle_t channel, bool keep)
{
    char text[4096];
    (void)ctx, (void)channel;
    if (!keep)
        return;
    if (!buf_ok(&world.frame)) {
        world.closed = true;
        return;
    }
    slice_cstr(buf_slice(&world.frame), text, sizeof(text));
    world.pushes++;
    world.finals += is_final(text);
}

static void client_reply(void *ctx, handle_t channel, struct slice ref, const char *status, struct slice response)
{
    (void)ctx, (void)channel;
    if (world.closed)
        return;
    buf_reset(&world.frame);
    buf_add_slice(&world.frame, ref);
    buf_puts(&world.frame, status);
    buf_add_slice(&world.frame, response);
    if (buf_ok(&world.frame))
        world.replies++;
    else
        world.closed = true;
}

static handle_t stream_open(void *ctx, uint64_t tag)
{
    (void)ctx;
    world.stream = tag;
    return tag;
}

static void stream_put_pid(void *ctx, handle_t stream, struct buf *out)
{
    (void)ctx, (void)stream;
    term_put_atom(out, "pid");
}

static void stream_told(void *ctx, handle_t stream)
{
    (void)ctx, (void)stream;
}

static void world_up(void)
{
    static const struct rate_limit limit = {RATE_GLOBAL, {RATE_KEY_USER_ID, SLICE_NONE}, 1000, 60000, false};
    const struct rate_limiter_options ro = {&metrics, RATE_BYTES_MIN, true};
    struct gateway_options o;
    memset(&world, 0, sizeof(world));
    timers_init(&world.timers, 1000000);
    world.db = config_db_new(&metrics, 100);
    world.limiter = rate_limiter_new(&ro);
    assert_true(world.limiter && rate_limiter_set_global(world.limiter, &limit, 1, NULL) == BG_OK);
    put_configs(world.db, NULL);
    gateway_options_default(&o);
    o.db = world.db;
    o.limiter = world.limiter;
    o.timers = &world.timers;
    o.metrics = &metrics;
    o.call = (struct call_ops){NULL, node_up, call_begin, call_commit, call_abort, call_cancel, call_nodes};
    o.client = (struct client_ops){
        .session = client_session, .push_begin = push_begin, .push_end = push_end, .reply = client_reply};
    o.stream = (struct stream_ops){NULL, stream_open, stream_put_pid, stream_told, stream_told, stream_told};
    world.gw = gateway_new(&o);
    assert_non_null(world.gw);
    request_list_init(&world.waiting);
}

static void world_down(void)
{
    gateway_channel_closed(world.gw, &world.waiting);
    assert_int_equal(gateway_in_flight(world.gw), 0);
    gateway_free(world.gw);
    rate_limiter_free(world.limiter);
    config_db_free(world.db);
    timers_fini(&world.timers);
    buf_fini(&world.frame);
    for (unsigned i = 0; i < CALLS; i++)
        buf_fini(&world.call[i].args);
}

/* {ok, Request, FunConfig}: a before hook gives back what it was asked with. */
static struct slice hook_answer(const struct call *c, struct buf *b)
{
    struct term_reader r = term_reader(buf_slice(&c->args));
    struct slice request, config;
    if (term_skip(&r, &request) != BG_OK || term_skip(&r, &config) != BG_OK)
        return term_of(b, "{:ok, nil, nil}");
    term_put_tuple(b, 3);
    term_put_atom(b, "ok");
    term_put_raw(b, request);
    term_put_raw(b, config);
    return buf_slice(b);
}

static void answer(struct call *c, enum call_outcome outcome, const char *text)
{
    bool on = heap.armed;
    struct buf b;
    heap_off();
    buf_init(&b, 0);
    struct slice value = SLICE_NONE;
    if (strcmp(c->module, "Elixir.H") == 0)
        value = hook_answer(c, &b);
    else if (strcmp(c->module, "Elixir.P") == 0)
        value = term_of(&b, "true");
    else if (strcmp(c->module, "Elixir.N") == 0)
        value = term_of(&b, "[:svc@localhost, \"other@localhost\"]");
    else if (text)
        value = term_of(&b, text);
    c->open = false;
    heap.armed = on;
    c->done(c->owner, c->tag, outcome, value);
    heap_off();
    buf_fini(&b);
    heap.armed = on;
}

static bool answer_all(enum call_outcome outcome, const char *text)
{
    bool any = false;
    for (unsigned i = 0; i < CALLS; i++) {
        if (!world.call[i].open)
            continue;
        answer(&world.call[i], outcome, text);
        any = true;
    }
    return any;
}

static void stream_says(const char *text)
{
    bool on = heap.armed;
    struct buf b;
    heap_off();
    buf_init(&b, 0);
    struct slice msg = term_of(&b, text);
    heap.armed = on;
    gateway_stream_message(world.gw, world.stream, msg);
    heap_off();
    buf_fini(&b);
    heap.armed = on;
}

static const struct row {
    const char *name;
    const char *payload;
    enum call_outcome outcome;
    const char *result;
    bool silent; /* none: a success has no push */
} rows[] = {
    {"sync",
     "{\"service\":\"svc\",\"request_type\":\"echo\",\"request_id\":\"r\\n1\",\"args\":{\"msg\":\"a \\\"quoted\\\" "
     "text\"}}",
     CALL_RETURN, "{:ok, %{a: [1, 2, \"three\"], b: nil}}", false},
    {"sync, many arguments",
     "{\"service\":\"svc\",\"request_type\":\"five\",\"request_id\":\"r1\",\"args\":{\"a\":\"u1\",\"b\":1,\"c\":[\"x\","
     "\"y\"],"
     "\"d\":\"2026-01-02T03:04:05Z\",\"e\":{\"k\":[1]}}}",
     CALL_RETURN, "1", false},
    {"bad arguments", "{\"service\":\"svc\",\"request_type\":\"five\",\"request_id\":\"r1\",\"args\":{\"a\":\"u1\"}}",
     CALL_RETURN, "1", false},
    {"an error", "{\"service\":\"svc\",\"request_type\":\"echo\",\"request_id\":\"r1\",\"args\":{\"msg\":\"x\"}}",
     CALL_RETURN, "{:error, %{why: \"not\"}}", false},
    {"a result that is none",
     "{\"service\":\"svc\",\"request_type\":\"echo\",\"request_id\":\"r1\",\"args\":{\"msg\":\"x\"}}", CALL_RETURN,
     "{:ok, {:a, :tuple}}", false},
    {"a timeout", "{\"service\":\"svc\",\"request_type\":\"echo\",\"request_id\":\"r1\",\"args\":{\"msg\":\"x\"}}",
     CALL_TIMEOUT, NULL, false},
    {"retry", "{\"service\":\"svc\",\"request_type\":\"again\",\"request_id\":\"r1\",\"args\":{}}", CALL_EXIT,
     "{:boom, []}", false},
    {"async", "{\"service\":\"svc\",\"request_type\":\"async\",\"request_id\":\"r1\",\"args\":{}}", CALL_RETURN,
     "{:ok, 1}", false},
    {"none", "{\"service\":\"svc\",\"request_type\":\"none\",\"request_id\":\"r1\",\"args\":{}}", CALL_RETURN,
     "{:ok, 1}", true},
    {"stream", "{\"service\":\"svc\",\"request_type\":\"stream\",\"request_id\":\"r1\",\"args\":{}}", CALL_RETURN,
     "{:ok, 1}", false},
    {"hooks and permission",
     "{\"service\":\"svc\",\"request_type\":\"asked\",\"request_id\":\"r1\",\"user_id\":\"u1\",\"args\":{}}",
     CALL_RETURN, "{:ok, 1}", false},
    {"nodes that are asked for", "{\"service\":\"svc\",\"request_type\":\"where\",\"request_id\":\"r1\",\"args\":{}}",
     CALL_RETURN, "{:ok, 1}", false},
    {"roles", "{\"service\":\"svc\",\"request_type\":\"roles\",\"request_id\":\"r1\",\"args\":{}}", CALL_RETURN,
     "{:ok, 1}", false},
    {"unknown", "{\"service\":\"svc\",\"request_type\":\"nope\",\"request_id\":\"r1\"}", CALL_RETURN, "1", false},
    {"undecodable", "{\"service\":7}", CALL_RETURN, "1", false},
    {"no object", "[1]", CALL_RETURN, "1", false},
};

static const struct row *row;

static void run_request(void)
{
    static const struct channel_rules rules = {true, true};
    world_up();
    heap_on();
    gateway_request(world.gw, 7, &world.waiting, &session, &rules, SLICE_LIT("\"9\""), slice_str(row->payload), NULL);
    stream_says("{:result, \"early\"}");
    for (unsigned i = 0; i < 50 && (answer_all(row->outcome, row->result) || timers_next(&world.timers) != UINT64_MAX);
         i++) {
        stream_says("{:result, %{n: 1}}");
        stream_says("{:last_result, \"last\"}");
        timers_run(&world.timers, world.timers.now_us + 10000000, 0);
    }
    heap_off();
    unsigned most = world.finals;
    if (most > 1 || world.replies > 1 || (!world.closed && world.replies != 1) ||
        (!world.closed && !row->silent && world.finals != 1))
        fail_msg("%s, allocation %s: %u pushes, %u terminal, %u replies, client %s", row->name,
                 heap.failed ? "failed" : "not failed", world.pushes, world.finals, world.replies,
                 world.closed ? "closed" : "open");
    if (!world.closed)
        assert_int_equal(gateway_in_flight(world.gw), 0);
    world_down();
}

static void every_request_has_one_answer_or_its_client_is_closed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        row = &rows[i];
        torture_both(row->name, run_request);
    }
}

/* Requests that wait for one another: none may be lost when another finds no memory. */
static void run_queue(void)
{
    static const struct channel_rules rules = {true, true};
    world_up();
    heap_on();
    for (unsigned i = 0; i < 4; i++)
        gateway_request(world.gw, 7, &world.waiting, &session, &rules, SLICE_LIT("1"), slice_str(rows[7].payload), NULL);
    for (unsigned i = 0; i < 50 && answer_all(CALL_RETURN, "{:ok, 1}"); i++)
        ;
    heap_off();
    assert_true(world.replies <= 4 && world.finals <= 4);
    assert_true(world.closed || (world.replies == 4 && world.finals == 4));
    world_down();
}

static void requests_that_wait_are_not_lost(void **state)
{
    (void)state;
    torture_both("four async requests", run_queue);
}

/* A start without memory fails, and leaves nothing. */
static void run_start(void)
{
    struct gateway_options o;
    gateway_options_default(&o);
    o.metrics = &metrics;
    heap_on();
    struct gateway *gw = gateway_new(&o);
    heap_off();
    assert_true(gw || heap.failed);
    gateway_free(gw);
}

static void a_start_without_memory_leaves_nothing(void **state)
{
    (void)state;
    torture_both("the gateway's start", run_start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_survives),
        cmocka_unit_test(codec_survives),
        cmocka_unit_test(rules_survive),
        cmocka_unit_test(every_request_has_one_answer_or_its_client_is_closed),
        cmocka_unit_test(requests_that_wait_are_not_lost),
        cmocka_unit_test(a_start_without_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
