/* test_remote_call.c: calls on other nodes over both ways (08 §4, E-181..E-183, D-18, D-19). */
#include "dist_world.h"

struct result {
    unsigned count;
    enum call_outcome outcome;
    uint64_t tag;
    char value[256];
};

static void done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct result *res = owner;
    struct buf b;
    res->count++;
    res->outcome = outcome;
    res->tag = tag;
    res->value[0] = '\0';
    if (!value.len)
        return;
    struct term_reader r = term_reader(value);
    buf_init(&b, 0);
    text_print(&b, &r);
    assert_true(term_at_end(&r));
    slice_cstr(buf_slice(&b), res->value, sizeof(res->value));
    buf_fini(&b);
}

static struct result res;
static const char *me; /* the calls' pid */

static int setup(void **state)
{
    int rc = world_setup(state);
    memset(&res, 0, sizeof(res));
    me = calls_pid();
    return rc;
}

static handle_t call_abs(enum call_way way, uint64_t timeout_us)
{
    enum call_outcome why;
    struct buf *b =
        remote_call_begin(world.rc, SLICE_LIT("svc@h"), way, SLICE_LIT("erlang"), SLICE_LIT("abs"), 1, &why);
    assert_non_null(b);
    term_put_int(b, -7);
    return remote_call_commit(world.rc, timeout_us, done, &res, 42);
}

/* The tag of a call as it stands on the wire. */
static long long tag_of(handle_t h)
{
    return (long long)(h & INT64_MAX);
}

static void answer(handle_t h, const char *result)
{
    feed(textf("{22,<svc@h:9.0>,%s}", me), textf("{%lld,%s}", tag_of(h), result));
}

static void expect_done(enum call_outcome outcome, const char *value)
{
    assert_int_equal(res.count, 1);
    assert_int_equal(res.outcome, outcome);
    assert_string_equal(res.value, value);
    assert_int_equal(res.tag, 42);
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
    assert_int_equal(timers_next(&world.timers), UINT64_MAX);
    memset(&res, 0, sizeof(res));
}

/* ---- over rex ---- */

/* 08 §4.1 A, byte for byte. */
static void rex_call_is_a_gen_call_to_rex(void **state)
{
    (void)state;
    handle_t h = call_abs(CALL_REX, 1000000);
    expect_sent(world.l,
                textf("{6,%s,'',rex} | {'$gen_call',{%s,%lld},{call,erlang,abs,[-7],user}}", me, me, tag_of(h)));
    assert_int_equal(remote_calls_in_flight(world.rc), 1);
    answer(h, "7");
    expect_done(CALL_RETURN, "7");
    assert_int_equal(world.metrics.value[METRIC_CALLS], 1);
}

static void calls_without_arguments_and_with_a_whole_list_are_well_formed(void **state)
{
    (void)state;
    enum call_outcome why;
    struct buf args;
    assert_non_null(remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    handle_t h = remote_call_commit(world.rc, 1000, done, &res, 42);
    expect_sent(world.l, textf("{6,%s,'',rex} | {'$gen_call',{%s,%lld},{call,m,f,[],user}}", me, me, tag_of(h)));
    buf_init(&args, 0);
    put_text(&args, "[1,[2],\"3\"]");
    h = remote_call(world.rc, SLICE_LIT("svc@h"), CALL_REX, "Elixir.M", "f?", buf_slice(&args), 1000, done, &res, 42);
    expect_sent(world.l, textf("{6,%s,'',rex} | {'$gen_call',{%s,%lld},{call,'Elixir.M','f?',[1,[2],\"3\"],user}}", me,
                               me, tag_of(h)));
    buf_fini(&args);
}

/* E-181..E-183. */
static void rex_results_are_told_apart(void **state)
{
    (void)state;
    const struct {
        const char *result;
        enum call_outcome outcome;
        const char *value;
    } cases[] = {
        {"{ok,1}", CALL_RETURN, "{ok,1}"},
        {"ball", CALL_RETURN, "ball"},
        {"{badrpc,{'EXIT',{undef,[{m,f,[],[]}]}}}", CALL_EXIT, "{undef,[{m,f,[],[]}]}"},
        {"{badrpc,{'EXIT',bye}}", CALL_EXIT, "bye"},
        {"{badrpc,{'EXIT',killed}}", CALL_EXIT, "killed"},
        {"{badrpc,nodedown}", CALL_NODEDOWN, ""},
        {"{badrpc,notsup}", CALL_BADRPC, "notsup"},
        {"{badrpc,{'EXIT',a,b}}", CALL_BADRPC, "{'EXIT',a,b}"},
        {"{badrpc,1,2}", CALL_RETURN, "{badrpc,1,2}"},
        {"{error,nodedown}", CALL_RETURN, "{error,nodedown}"},
        {"[]", CALL_RETURN, "[]"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        handle_t h = call_abs(CALL_REX, 1000000);
        answer(h, cases[i].result);
        expect_done(cases[i].outcome, cases[i].value);
    }
    assert_int_equal(world.metrics.value[METRIC_CALLS_EXIT], 3);
    assert_int_equal(world.metrics.value[METRIC_CALLS_NODEDOWN], 1);
}

static void late_double_and_foreign_answers_are_counted_and_dropped(void **state)
{
    (void)state;
    struct dist_link *other = fake_link_up(1, "evil@h");
    handle_t h = call_abs(CALL_REX, 1000000);
    feed_from(other, textf("{22,<evil@h:9.0>,%s}", me), textf("{%lld,7}", tag_of(h)));
    assert_int_equal(res.count, 0);
    answer(h, "7");
    expect_done(CALL_RETURN, "7");
    answer(h, "7");
    answer(handle_make(3, 1), "7");
    answer(handle_make(2000000, 1), "7");
    feed(textf("{22,<svc@h:9.0>,%s}", me), "{-5,7}");
    /* The slot is given out again: the old answer must not end the new call. */
    handle_t again = call_abs(CALL_REX, 1000000);
    assert_int_equal(handle_index(again), handle_index(h));
    answer(h, "8");
    assert_int_equal(res.count, 0);
    answer(again, "9");
    expect_done(CALL_RETURN, "9");
    assert_int_equal(world.metrics.value[METRIC_CALLS_STALE], 6);
}

static void call_that_is_not_answered_times_out_once(void **state)
{
    (void)state;
    handle_t h = call_abs(CALL_REX, 5000);
    timers_run(&world.timers, 1000 + 4999, 0);
    assert_int_equal(res.count, 0);
    timers_run(&world.timers, 1000 + 5000, 0);
    expect_done(CALL_TIMEOUT, "");
    answer(h, "7");
    assert_int_equal(res.count, 0);
    assert_int_equal(world.metrics.value[METRIC_CALLS_TIMEOUT], 1);
}

static void lost_link_ends_its_calls_and_no_others(void **state)
{
    (void)state;
    struct dist_link *other = fake_link_up(1, "other@h");
    struct result elsewhere = {0};
    enum call_outcome why;
    for (int i = 0; i < 10; i++)
        call_abs(CALL_REX, 1000000);
    assert_non_null(
        remote_call_begin(world.rc, SLICE_LIT("other@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_true(remote_call_commit(world.rc, 1000, done, &elsewhere, 1) != HANDLE_NONE);
    link_down(world.l);
    assert_int_equal(res.count, 10);
    assert_int_equal(res.outcome, CALL_NODEDOWN);
    assert_int_equal(elsewhere.count, 0);
    assert_null(remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_int_equal(why, CALL_NODEDOWN);
    link_down(other);
    assert_int_equal(elsewhere.count, 1);
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
}

/* The link that a name was found to lead to is remembered by the name's place; the name itself decides. */
static void the_name_decides_whose_link_it_is(void **state)
{
    (void)state;
    struct dist_link *other = fake_link_up(1, "other@h"), *again;
    enum call_outcome why;
    char name[16] = "svc@h";
    for (int round = 0; round < 3; round++) {
        struct dist_link *to = round == 1 ? other : world.l;
        struct slice node = slice_str(strcpy(name, round == 1 ? "other@h" : "svc@h"));
        unsigned before = to->count;
        for (unsigned i = 0; i < 2; i++) {
            assert_non_null(remote_call_begin(world.rc, node, CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
            assert_true(remote_call_commit(world.rc, 1000000, done, &res, 42) != HANDLE_NONE);
        }
        assert_int_equal(to->count, before + 2);
    }
    link_down(world.l);
    assert_null(remote_call_begin(world.rc, slice_str(name), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_int_equal(why, CALL_NODEDOWN);
    again = fake_link_up(2, "svc@h");
    assert_non_null(remote_call_begin(world.rc, slice_str(name), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_true(remote_call_commit(world.rc, 1000000, done, &res, 42) != HANDLE_NONE);
    assert_int_equal(again->count, 1);
    link_down(other);
    link_down(again);
}

static unsigned again_count;
static void call_again(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    enum call_outcome why = CALL_RETURN;
    (void)owner;
    (void)tag;
    (void)value;
    again_count++;
    assert_int_equal(outcome, CALL_NODEDOWN);
    assert_null(remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_int_equal(why, CALL_NODEDOWN);
}

/* The link may still be listed as up while its loss is told. */
static void callback_that_calls_again_on_a_lost_link_is_refused(void **state)
{
    (void)state;
    enum call_outcome why;
    again_count = 0;
    for (int i = 0; i < 3; i++) {
        remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why);
        assert_true(remote_call_commit(world.rc, 1000, call_again, NULL, 0) != HANDLE_NONE);
    }
    dist_dispatch_link_down(world.d, world.l);
    assert_int_equal(again_count, 3);
}

static void cancelled_call_has_no_callback(void **state)
{
    (void)state;
    handle_t h = call_abs(CALL_REX, 1000);
    remote_call_cancel(world.rc, h);
    remote_call_cancel(world.rc, h);
    remote_call_cancel(world.rc, HANDLE_NONE);
    answer(h, "7");
    timers_run(&world.timers, 1000000, 0);
    assert_int_equal(res.count, 0);
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
}

static void aborted_call_leaves_no_trace(void **state)
{
    (void)state;
    enum call_outcome why;
    for (int i = 0; i < 2 * WORLD_CALLS; i++) {
        assert_non_null(
            remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 1, &why));
        remote_call_abort(world.rc);
    }
    expect_nothing(world.l);
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
}

static void full_table_and_full_link_are_busy(void **state)
{
    (void)state;
    enum call_outcome why = CALL_RETURN;
    world.l->refuse = true;
    assert_null(remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_int_equal(why, CALL_BUSY);
    world.l->refuse = false;
    for (int i = 0; i < WORLD_CALLS; i++)
        assert_true(call_abs(CALL_REX, 1000) != HANDLE_NONE);
    assert_null(remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_int_equal(why, CALL_BUSY);
    assert_null(remote_call_begin(world.rc, SLICE_LIT("nowhere@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    assert_int_equal(why, CALL_NODEDOWN);
}

static void failed_buffer_makes_commit_refuse(void **state)
{
    (void)state;
    enum call_outcome why;
    struct buf *b = remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 1, &why);
    b->failed = true;
    assert_true(remote_call_commit(world.rc, 1000, done, &res, 42) == HANDLE_NONE);
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
    assert_int_equal(timers_next(&world.timers), UINT64_MAX);
}

/* A result nested deeper than we read ends its call at once, not at its timeout. */
static void answer_nested_too_deep_ends_its_call(void **state)
{
    (void)state;
    handle_t h = call_abs(CALL_REX, 1000000);
    for (int stale = 0; stale < 2; stale++) {
        struct buf b;
        buf_init(&b, 0);
        buf_putc(&b, 112);
        term_put_version(&b);
        put_text(&b, textf("{22,<svc@h:9.0>,%s}", me));
        term_put_version(&b);
        term_put_tuple(&b, 2);
        term_put_int(&b, tag_of(h));
        for (int i = 0; i < 5000; i++)
            term_put_tuple(&b, 1);
        term_put_nil(&b);
        feed_bytes(world.l, buf_slice(&b));
        buf_fini(&b);
        if (!stale)
            expect_done(CALL_BADRPC, "system_limit");
    }
    assert_int_equal(res.count, 0);
    assert_int_equal(world.metrics.value[METRIC_CALLS_STALE], 1);
    assert_false(world.l->closed);
}

/* ---- over SPAWN_REQUEST ---- */

#define USER "<svc@h:50.0>"
#define WORKER "<svc@h:60.0>"

/* Makes the peer's user process known: the first call asks for it and goes over rex itself. */
static void learn_user(const char *pid)
{
    handle_t h = call_abs(CALL_SPAWN, 1000000);
    char *ask = fake_sent(world.l);
    long long tag;
    assert_non_null(ask);
    const char *gen_call = strstr(ask, "{'$gen_call',{");
    assert_non_null(gen_call);
    assert_non_null(strstr(ask, "{call,erlang,whereis,[user],user}"));
    tag = strtoll(strchr(gen_call + 14, ',') + 1, NULL, 10);
    free(ask);
    char *call = fake_sent(world.l);
    assert_non_null(strstr(call, "{call,erlang,abs,[-7],user}"));
    free(call);
    feed(textf("{22,<svc@h:9.0>,%s}", me), textf("{%lld,%s}", tag, pid));
    answer(h, "7");
    expect_done(CALL_RETURN, "7");
    expect_nothing(world.l);
}

static const char *ref_of(handle_t h)
{
    return textf("&" GW ":%u.%u.0", handle_index(h), handle_generation(h));
}

static handle_t spawned_call(void)
{
    handle_t h = call_abs(CALL_SPAWN, 1000000);
    expect_sent(world.l, textf("{29,%s,%s," USER ",{erpc,execute_call,4},[monitor]} | [%lld,erlang,abs,[-7]]",
                               ref_of(h), me, tag_of(h)));
    return h;
}

static void started(handle_t h)
{
    feed(textf("{31,%s,%s,2," WORKER "}", ref_of(h), me), NULL);
}

static void ended(handle_t h, const char *reason)
{
    feed(textf("{28," WORKER ",%s,%s}", me, ref_of(h)), reason);
}

/* 08 §4.1 C, D-18: throw, exit and error are kept apart, a crash is seen. */
static void spawn_results_are_told_apart(void **state)
{
    (void)state;
    learn_user(USER);
    const struct {
        const char *reason; /* T stands for the call's tag */
        enum call_outcome outcome;
        const char *value;
    } cases[] = {
        {"{T,return,7}", CALL_RETURN, "7"},
        {"{T,throw,ball}", CALL_RETURN, "ball"},
        {"{T,exit,bye}", CALL_EXIT, "bye"},
        {"{T,error,oops,[{m,f,0,[]}]}", CALL_EXIT, "{oops,[{m,f,0,[]}]}"},
        {"{T,error,{erpc,badarg}}", CALL_EXIT, "badarg"},
        {"{T,return,{badrpc,nodedown}}", CALL_NODEDOWN, ""},
        {"killed", CALL_EXIT, "killed"},
        {"noconnection", CALL_NODEDOWN, ""},
        {"{T,dance}", CALL_EXIT, "{T,dance}"},
        {"{5,return,7}", CALL_EXIT, "{5,return,7}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        handle_t h = spawned_call();
        started(h);
        assert_int_equal(res.count, 0);
        char tag[32], value[64], reason[64];
        snprintf(tag, sizeof(tag), "%lld", tag_of(h));
        const char *t = strchr(cases[i].reason, 'T'), *v = strchr(cases[i].value, 'T');
        snprintf(reason, sizeof(reason), "%.*s%s%s", t ? (int)(t - cases[i].reason) : 0, cases[i].reason, t ? tag : "",
                 t ? t + 1 : cases[i].reason);
        snprintf(value, sizeof(value), "%.*s%s%s", v ? (int)(v - cases[i].value) : 0, cases[i].value, v ? tag : "",
                 v ? v + 1 : cases[i].value);
        ended(h, reason);
        expect_done(cases[i].outcome, value);
    }
    expect_nothing(world.l);
}

static void refused_spawn_ends_the_call(void **state)
{
    (void)state;
    learn_user(USER);
    handle_t h = spawned_call();
    feed(textf("{31,%s,%s,0,system_limit}", ref_of(h), me), NULL);
    expect_done(CALL_EXIT, "system_limit");
    h = spawned_call();
    feed(textf("{31,%s,%s,0,notsup}", ref_of(h), me), NULL);
    expect_done(CALL_BADRPC, "notsup");
}

/* D-18: abandoned work is stopped, whether its worker is known by then or not. */
static void timeout_and_cancel_stop_the_remote_work(void **state)
{
    (void)state;
    learn_user(USER);
    handle_t h = spawned_call();
    started(h);
    timers_run(&world.timers, 3000000, 0);
    expect_sent(world.l, textf("{20,%s," WORKER ",%s}", me, ref_of(h)));
    expect_sent(world.l, textf("{8,%s," WORKER ",kill}", me));
    expect_done(CALL_TIMEOUT, "");
    h = spawned_call();
    remote_call_cancel(world.rc, h);
    expect_nothing(world.l);
    started(h);
    expect_sent(world.l, textf("{20,%s," WORKER ",%s}", me, ref_of(h)));
    expect_sent(world.l, textf("{8,%s," WORKER ",kill}", me));
    ended(h, "{1,return,7}");
    expect_nothing(world.l);
    assert_int_equal(res.count, 0);
}

static void node_without_spawn_or_without_user_is_called_over_rex(void **state)
{
    (void)state;
    world.l->flags &= ~(UINT64_C(1) << 32);
    handle_t h = call_abs(CALL_SPAWN, 1000);
    expect_sent(world.l,
                textf("{6,%s,'',rex} | {'$gen_call',{%s,%lld},{call,erlang,abs,[-7],user}}", me, me, tag_of(h)));
    expect_nothing(world.l);
    answer(h, "7");
    expect_done(CALL_RETURN, "7");
    world.l->flags |= UINT64_C(1) << 32;
    learn_user("undefined");
    h = call_abs(CALL_SPAWN, 1000);
    expect_sent(world.l,
                textf("{6,%s,'',rex} | {'$gen_call',{%s,%lld},{call,erlang,abs,[-7],user}}", me, me, tag_of(h)));
    expect_nothing(world.l);
}

/* A pid of another node as group leader would make the peer drop the connection. */
static void foreign_user_is_not_believed(void **state)
{
    (void)state;
    learn_user("<other@h:1.1>");
    call_abs(CALL_SPAWN, 1000);
    char *sent = fake_sent(world.l);
    assert_non_null(strstr(sent, "'$gen_call'"));
    free(sent);
}

static void next_link_is_asked_for_its_user_as_soon_as_it_is_up(void **state)
{
    (void)state;
    learn_user(USER);
    link_down(world.l);
    world.l = fake_link_up(0, "svc@h");
    dist_dispatch_link_up(world.d, world.l);
    char *ask = fake_sent(world.l);
    assert_non_null(ask);
    assert_non_null(strstr(ask, "{call,erlang,whereis,[user],user}"));
    free(ask);
}

/* ---- processes of their own ---- */

#define LEADER "<svc@h:70.0>"

static handle_t spawn_map(const char *leader, uint64_t timeout_us)
{
    struct buf args, pid;
    buf_init(&args, 0);
    buf_init(&pid, 0);
    put_text(&args, "[a,[b]]");
    if (leader)
        put_text(&pid, leader);
    handle_t h = remote_spawn(world.rc, dist_link_handle(world.l), buf_slice(&pid), "lists", "member", 2,
                              buf_slice(&args), timeout_us, done, &res, 42);
    buf_fini(&args);
    buf_fini(&pid);
    return h;
}

static void expect_spawned(handle_t h, const char *leader)
{
    assert_int_not_equal(h, HANDLE_NONE);
    expect_sent(world.l, textf("{29,%s,%s,%s,{lists,member,2},[monitor]} | [a,[b]]", ref_of(h), me, leader));
}

static void process_of_its_own_tells_how_it_ended(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        enum call_outcome outcome;
        const char *value;
    } cases[] = {
        {"normal", CALL_RETURN, ""},
        {"{badarg,[{m,f,0,[]}]}", CALL_EXIT, "{badarg,[{m,f,0,[]}]}"},
        {"{5,return,7}", CALL_EXIT, "{5,return,7}"},
        {"noconnection", CALL_NODEDOWN, ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        handle_t h = spawn_map(LEADER, 1000000);
        expect_spawned(h, LEADER);
        started(h);
        assert_int_equal(res.count, 0);
        ended(h, cases[i].reason);
        expect_done(cases[i].outcome, cases[i].value);
    }
}

static void process_that_does_not_end_is_killed(void **state)
{
    (void)state;
    handle_t h = spawn_map(LEADER, 1000000);
    expect_spawned(h, LEADER);
    started(h);
    timers_run(&world.timers, 3000000, 0);
    expect_sent(world.l, textf("{20,%s," WORKER ",%s}", me, ref_of(h)));
    expect_sent(world.l, textf("{8,%s," WORKER ",kill}", me));
    expect_done(CALL_TIMEOUT, "");
}

static void process_without_a_leader_waits_for_the_nodes_user(void **state)
{
    (void)state;
    assert_int_equal(spawn_map(NULL, 1000), HANDLE_NONE);
    char *ask = fake_sent(world.l);
    assert_non_null(strstr(ask, "{call,erlang,whereis,[user],user}"));
    const char *tag = strchr(strstr(ask, "{'$gen_call',{") + 14, ',') + 1;
    feed(textf("{22,<svc@h:9.0>,%s}", me), textf("{%lld," USER "}", strtoll(tag, NULL, 10)));
    free(ask);
    expect_spawned(spawn_map(NULL, 1000), USER);
}

static void node_without_spawn_runs_no_process(void **state)
{
    (void)state;
    world.l->flags &= ~(UINT64_C(1) << 32);
    assert_int_equal(spawn_map(LEADER, 1000), HANDLE_NONE);
    world.l->flags |= UINT64_C(1) << 32;
    world.l->refuse = true;
    assert_int_equal(spawn_map(LEADER, 1000), HANDLE_NONE);
    world.l->refuse = false;
    expect_nothing(world.l);
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
}

static void answers_over_the_wrong_way_are_stale(void **state)
{
    (void)state;
    learn_user(USER);
    handle_t h = spawned_call();
    answer(h, "7");
    assert_int_equal(res.count, 0);
    handle_t rex = call_abs(CALL_REX, 1000);
    free(fake_sent(world.l));
    ended(rex, "{1,return,7}");
    assert_int_equal(res.count, 0);
    assert_int_equal(world.metrics.value[METRIC_CALLS_STALE], 2);
}

/* D-19: many in flight, answered out of order, each ends once and as itself. */
static void many_calls_answered_backwards_find_their_callers(void **state)
{
    (void)state;
    struct result many[WORLD_CALLS] = {0};
    handle_t h[WORLD_CALLS];
    enum call_outcome why;
    for (int round = 0; round < 20; round++) {
        memset(many, 0, sizeof(many));
        for (unsigned i = 0; i < WORLD_CALLS; i++) {
            remote_call_begin(world.rc, SLICE_LIT("svc@h"), CALL_REX, SLICE_LIT("m"), SLICE_LIT("f"), 0, &why);
            h[i] = remote_call_commit(world.rc, 1000 + i, done, &many[i], i);
            free(fake_sent(world.l));
        }
        for (unsigned i = WORLD_CALLS; i-- > 0;)
            answer(h[i], textf("%u", i));
        for (unsigned i = 0; i < WORLD_CALLS; i++) {
            assert_int_equal(many[i].count, 1);
            assert_int_equal(many[i].tag, i);
            assert_string_equal(many[i].value, textf("%u", i));
        }
    }
    assert_int_equal(world.metrics.value[METRIC_CALLS_STALE], 0);
}

static void the_operations_of_the_rules_reach_the_same_calls(void **state)
{
    (void)state;
    struct call_ops ops = remote_calls_ops(world.rc, CALL_REX);
    enum call_outcome why;
    assert_true(ops.node_up(ops.ctx, SLICE_LIT("svc@h")));
    assert_false(ops.node_up(ops.ctx, SLICE_LIT("nowhere@h")));
    assert_non_null(ops.begin(ops.ctx, SLICE_LIT("svc@h"), SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    ops.abort(ops.ctx);
    assert_non_null(ops.begin(ops.ctx, SLICE_LIT("svc@h"), SLICE_LIT("m"), SLICE_LIT("f"), 0, &why));
    handle_t h = ops.commit(ops.ctx, 1000, done, &res, 42);
    answer(h, "ok");
    expect_done(CALL_RETURN, "ok");
    ops.begin(ops.ctx, SLICE_LIT("svc@h"), SLICE_LIT("m"), SLICE_LIT("f"), 0, &why);
    ops.cancel(ops.ctx, ops.commit(ops.ctx, 1000, done, &res, 42));
    assert_int_equal(remote_calls_in_flight(world.rc), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(rex_call_is_a_gen_call_to_rex),
        TEST(calls_without_arguments_and_with_a_whole_list_are_well_formed),
        TEST(rex_results_are_told_apart),
        TEST(late_double_and_foreign_answers_are_counted_and_dropped),
        TEST(call_that_is_not_answered_times_out_once),
        TEST(lost_link_ends_its_calls_and_no_others),
        TEST(the_name_decides_whose_link_it_is),
        TEST(callback_that_calls_again_on_a_lost_link_is_refused),
        TEST(cancelled_call_has_no_callback),
        TEST(aborted_call_leaves_no_trace),
        TEST(full_table_and_full_link_are_busy),
        TEST(failed_buffer_makes_commit_refuse),
        TEST(answer_nested_too_deep_ends_its_call),
        TEST(spawn_results_are_told_apart),
        TEST(refused_spawn_ends_the_call),
        TEST(timeout_and_cancel_stop_the_remote_work),
        TEST(node_without_spawn_or_without_user_is_called_over_rex),
        TEST(foreign_user_is_not_believed),
        TEST(next_link_is_asked_for_its_user_as_soon_as_it_is_up),
        TEST(process_of_its_own_tells_how_it_ended),
        TEST(process_that_does_not_end_is_killed),
        TEST(process_without_a_leader_waits_for_the_nodes_user),
        TEST(node_without_spawn_runs_no_process),
        TEST(answers_over_the_wrong_way_are_stale),
        TEST(many_calls_answered_backwards_find_their_callers),
        TEST(the_operations_of_the_rules_reach_the_same_calls),
    };
    return cmocka_run_group_tests_name("remote_call", tests, NULL, NULL);
}
