/*
 * test_dist_erl.c: the whole distribution against real Erlang nodes: what they do to us (D-11..D-16), and what we call
 * on them (D-18). One epmd, one gateway and one `erl` serve all tests; those that kill a node start their own.
 */
#define _GNU_SOURCE
#include "dist_dispatch.h"
#include "erl_rig.h"
#include "erlang_text.h"
#include "gen_call.h"

#undef GW
#define GW "'dgw@127.0.0.1'"
#define SVC "dsvc@127.0.0.1"

/* An actor that other nodes can do things to. */
struct actor {
    handle_t self;
    unsigned messages;
    struct buf last; /* the last message */
};

static struct rig_node *gw;
static struct process_table *pt;
static struct remote_calls *calls;
static struct dist_dispatch *dispatch;
static struct erl svc;
static struct actor actor;
static unsigned ran;
static pid_t epmd_pid;

/* A gen_call whose answer comes later than its caller waits. */
static struct {
    struct timer timer;
    handle_t self;
    struct buf pid, tag;
    unsigned sent;
} late;

/* ---- what the gateway offers ---- */

static void actor_message(void *owner, handle_t self, struct dist_link *from, struct slice msg)
{
    struct actor *a = owner;
    (void)self;
    (void)from;
    a->messages++;
    buf_reset(&a->last);
    buf_add_slice(&a->last, msg);
}

static void late_answer(struct timer *t)
{
    (void)t;
    uint8_t pid[PROCESS_PID_MAX];
    const struct gen_call c = {.pid = buf_slice(&late.pid), .tag = buf_slice(&late.tag)};
    struct dist_link *l = cluster_link(gw->cluster, SLICE_LIT(SVC));
    if (gen_reply(l, process_pid(pt, late.self, pid), &c, SLICE_LIT("w\4late")) == BG_OK)
        late.sent++;
}

static void actor_call(void *owner, handle_t self, struct dist_link *from, const struct gen_call *c)
{
    (void)owner;
    (void)from;
    late.self = self;
    late.timer.fn = late_answer;
    buf_reset(&late.pid);
    buf_reset(&late.tag);
    buf_add_slice(&late.pid, c->pid);
    buf_add_slice(&late.tag, c->tag);
    assert_int_equal(timer_arm_in(&rig.timers, &late.timer, 50 * 1000), BG_OK);
}

static const struct process_ops actor_ops = {.kind = "actor", .message = actor_message, .call = actor_call};
static const struct process_ops living_ops = {.kind = "living"};

static enum rpc_outcome fn_echo(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    ran++;
    term_put_raw(out, call->argv[0]);
    return RPC_RETURN;
}

static enum rpc_outcome fn_raise(void *server, const struct rpc_call *call, struct buf *out)
{
    fn_echo(server, call, out);
    return RPC_ERROR;
}

static enum rpc_outcome fn_throw(void *server, const struct rpc_call *call, struct buf *out)
{
    fn_echo(server, call, out);
    return RPC_THROW;
}

static enum rpc_outcome fn_exit(void *server, const struct rpc_call *call, struct buf *out)
{
    fn_echo(server, call, out);
    return RPC_EXIT;
}

static enum rpc_outcome fn_ran(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    term_put_int(out, ran);
    return RPC_RETURN;
}

static enum rpc_outcome fn_start(void *server, const struct rpc_call *call, struct buf *out)
{
    uint8_t pid[PROCESS_PID_MAX];
    (void)server;
    (void)call;
    process_end_atom(pt, actor.self, "replaced");
    actor.self = process_start(pt, &actor_ops, &actor);
    actor.messages = 0;
    assert_int_equal(process_register(pt, actor.self, SLICE_LIT("actor")), BG_OK);
    term_put_raw(out, process_pid(pt, actor.self, pid));
    return RPC_RETURN;
}

static enum rpc_outcome fn_stop(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)out;
    process_end(pt, actor.self, call->argv[0]);
    return RPC_RETURN;
}

static enum rpc_outcome fn_alive(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    term_put_atom(out, process_alive(pt, actor.self) ? "true" : "false");
    return RPC_RETURN;
}

static enum rpc_outcome fn_alias(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    process_put_alias(pt, actor.self, out);
    return RPC_RETURN;
}

/* {Count, LastMessage} of the actor. */
static enum rpc_outcome fn_got(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)call;
    term_put_tuple(out, 2);
    term_put_int(out, actor.messages);
    term_put_raw(out, buf_slice(&actor.last));
    return RPC_RETURN;
}

/* Spawned: lives on as a process of ours. */
static enum rpc_outcome fn_live(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)server;
    (void)out;
    assert_true(process_adopt(pt, call->self, &living_ops, NULL));
    return RPC_RETURN;
}

static const struct rpc_entry entries[] = {
    {"m", "echo", 1, fn_echo},   {"m", "raise", 1, fn_raise}, {"m", "throw", 1, fn_throw}, {"m", "exit", 1, fn_exit},
    {"m", "ran", 0, fn_ran},     {"m", "start", 0, fn_start}, {"m", "stop", 1, fn_stop},   {"m", "alive", 0, fn_alive},
    {"m", "alias", 0, fn_alias}, {"m", "got", 0, fn_got},     {"m", "live", 0, fn_live},
};

/* ---- the gateway ---- */

static void on_packet(void *ctx, struct dist_link *l, struct slice packet)
{
    rig_packet(ctx, l, packet);
    dist_dispatch_packet(dispatch, l, packet);
}

static void on_up(void *ctx, struct dist_link *l)
{
    rig_up(ctx, l);
    dist_dispatch_link_up(dispatch, l);
}

static void on_down(void *ctx, struct dist_link *l, const char *reason)
{
    rig_down(ctx, l, reason);
    dist_dispatch_link_down(dispatch, l);
}

static int start_all(void **state)
{
    char text[16];
    unsigned port = free_port();
    const struct rpc_table table = {.entries = entries, .count = ARRAY_SIZE(entries)};
    (void)state;
    snprintf(text, sizeof(text), "%u", port);
    setenv("ERL_EPMD_PORT", text, 1);
    epmd_pid = epmd_start(port, "127.0.0.1");
    rig_init(&rig);
    gw = rig_new_node(&rig);
    struct cluster_options o = rig_options(&rig, gw, "dgw@127.0.0.1", "secret");
    o.epmd = true;
    o.events = (struct cluster_events){on_packet, on_up, on_down, gw};
    rig_start_with(gw, &o);
    rig_until(&rig, 5000, cluster_registered(gw->cluster));
    pt = process_table_new(&gw->id, gw->cluster, &gw->metrics, 1000);
    calls = remote_calls_new(&gw->id, gw->cluster, &rig.timers, &gw->metrics, 1000);
    dispatch = dist_dispatch_new(&gw->id, pt, calls, &table, &gw->metrics);
    assert_non_null(dispatch);
    buf_init(&actor.last, 0);
    svc = erl_start(SVC, "secret", NULL, NULL);
    return 0;
}

static int stop_all(void **state)
{
    (void)state;
    erl_stop(&svc, SIGKILL);
    rig_stop(&rig, gw);
    timer_disarm(&rig.timers, &late.timer);
    dist_dispatch_free(dispatch);
    remote_calls_free(calls);
    process_table_free(pt);
    rig_fini(&rig);
    end_process(epmd_pid, SIGTERM);
    buf_fini(&actor.last);
    buf_fini(&late.pid);
    buf_fini(&late.tag);
    return 0;
}

/* What text evaluates to on the service node. */
static const char *eval(const char *text)
{
    return erl_eval(&rig, &svc, text);
}

#define expect(text, want) assert_string_equal(eval(text), want)

/* ---- they call us ---- */

/* D-01, D-13, S-007. */
static void a_real_node_pings_us(void **state)
{
    (void)state;
    expect("net_adm:ping(" GW ")", "pong");
    expect("{nodes(), nodes(hidden)}", "{[],['dgw@127.0.0.1']}");
    expect("[net_adm:ping(" GW ") || _ <- lists:seq(1, 50)] -- lists:duplicate(50, pong)", "[]");
    expect("begin code:add_patha(\"/usr/lib/elixir/lib/elixir/ebin\"), 'Elixir.Node':ping(" GW ") end", "pong");
}

/* D-15, S-001..S-003, S-122. */
static void rpc_call_returns_raises_and_is_undef_as_on_a_beam(void **state)
{
    (void)state;
    expect("rpc:call(" GW ", m, echo, [{a, [1,2|x], #{k => <<\"v\">>}, 1.5, -70000000000}])",
           "{a,[1,2|x],#{k => <<\"v\">>},1.5,-70000000000}");
    expect("rpc:call(" GW ", m, echo, [[1,2]], 5000)", "[1,2]");
    expect("rpc:call(" GW ", no, such, [1, a])", "{badrpc,{'EXIT',{undef,[{no,such,[1,a],[]}]}}}");
    expect("rpc:call(" GW ", m, raise, [badarg])", "{badrpc,{'EXIT',{badarg,[{m,raise,[badarg],[]}]}}}");
    expect("rpc:call(" GW ", m, throw, [ball])", "ball");
    expect("rpc:call(" GW ", m, exit, [bye])", "{badrpc,{'EXIT',bye}}");
    expect("rpc:call(" GW ", no, such, [1, a]) =:= rpc:call(node(), no, such, [1, a])", "true");
    expect("{length(rpc:call(" GW ", m, echo, [lists:seq(1, 100000)])), process_info(self(), messages)}",
           "{100000,{messages,[]}}");
}

static void erpc_call_keeps_the_classes_apart(void **state)
{
    (void)state;
    expect("erpc:call(" GW ", m, echo, [1])", "1");
    expect("try erpc:call(" GW ", no, such, [1]) catch C:R -> {C, R} end",
           "{error,{exception,undef,[{no,such,[1],[]}]}}");
    expect("try erpc:call(" GW ", m, throw, [1]) catch C:R -> {C, R} end", "{throw,1}");
    expect("try erpc:call(" GW ", m, exit, [1]) catch C:R -> {C, R} end", "{exit,{exception,1}}");
    expect("try erpc:call(" GW ", fun() -> 1 end) catch C:{exception, R, [{M, F, _, _}]} -> {C, R, M, F} end",
           "{error,undef,erlang,apply}");
    expect("erpc:call(" GW ", fun m:ran/0) > 0", "true");
    expect("begin R = erpc:send_request(" GW ", m, echo, [9]), erpc:wait_response(R, 5000) end", "{response,9}");
}

static void multicalls_and_casts_reach_us(void **state)
{
    (void)state;
    expect("rpc:multicall([" GW ", node()], erlang, list_to_atom, [\"a\"])",
           "{[{badrpc,{'EXIT',{undef,[{erlang,list_to_atom,[\"a\"],[]}]}}},a],[]}");
    expect("erpc:multicall([" GW ", " GW "], m, echo, [7])", "[{ok,7},{ok,7}]");
    expect("begin B = rpc:call(" GW ", m, ran, []), true = rpc:cast(" GW ", m, echo, [1]), "
           "ok = erpc:cast(" GW ", m, echo, [1]), rpc:abcast([" GW "], nobody, hello), "
           "rpc:call(" GW ", m, ran, []) - B end",
           "2");
    expect("gen_server:multi_call([" GW "], net_kernel, {is_auth, node()})", "{[{'dgw@127.0.0.1',yes}],[]}");
    expect("rpc:sbcast([" GW "], user, hello)", "{['dgw@127.0.0.1'],[]}");
    expect("rpc:sbcast([" GW "], nobody, hello)", "{[],['dgw@127.0.0.1']}");
}

/* D-13. */
static void rex_is_there_for_those_who_still_ask_it(void **state)
{
    (void)state;
    expect("rpc:block_call(" GW ", m, echo, [1])", "1");
    expect("rpc:block_call(" GW ", no, such, [])", "{badrpc,{'EXIT',{undef,[{no,such,[],[]}]}}}");
    expect("gen_server:call({rex, " GW "}, {call, m, raise, [oops], group_leader()})",
           "{badrpc,{'EXIT',{oops,[{m,raise,1,[]}]}}}");
    expect("begin {rex, " GW
           "} ! {self(), {call, m, echo, [2], user}}, receive {rex, X} -> X after 2000 -> none end end",
           "2");
    expect("begin {rex, " GW "} ! {self(), features_request}, receive X -> X after 2000 -> none end end",
           "{features_reply,'dgw@127.0.0.1',[erpc]}");
}

static void calls_to_nobody_fail_at_once_and_odd_calls_get_an_error(void **state)
{
    (void)state;
    expect("begin T = erlang:monotonic_time(millisecond), {'EXIT', {{noproc, _}, _}} = "
           "{'EXIT', try gen_server:call({nobody, " GW "}, x) catch exit:{noproc, W} -> {{noproc, W}, t} end}, "
           "erlang:monotonic_time(millisecond) - T < 1000 end",
           "true");
    expect("gen_server:call({net_kernel, " GW "}, what)", "{error,notsup}");
    expect("gen_server:call({rex, " GW "}, what)", "{error,notsup}");
    expect("maps:get(kind, sys:get_state({rex, " GW "}, 2000))", "rex");
    expect("sys:suspend({rex, " GW "}, 2000)", "{error,{unknown_system_msg,suspend}}");
    expect("{user, " GW "} ! {io_request, self(), r, getopts}, receive {io_reply, r, X} -> X after 2000 -> none end",
           "[]");
}

/* 08 §4.3: a process of ours as somebody's output device. */
static void printing_through_a_process_of_ours_does_not_hang(void **state)
{
    (void)state;
    expect("begin P = rpc:call(" GW ", m, start, []), {io:format(P, \"hello ~p~n\", [1]), io:get_line(P, \"> \"), "
           "io:put_chars(P, <<\"x\">>), io:getopts(P), io:columns(P)} end",
           "{ok,eof,ok,[],{error,enotsup}}");
    expect("begin G = group_leader(), P = rpc:call(" GW ", m, start, []), group_leader(P, self()), "
           "R = io:format(\"hello\"), group_leader(G, self()), R end",
           "ok");
}

/* D-14: nothing arrives after the caller gave up. */
static void caller_that_gave_up_finds_its_mailbox_empty(void **state)
{
    (void)state;
    eval("rpc:call(" GW ", m, start, [])");
    expect("begin R = (catch gen_server:call({actor, " GW "}, slow, 1)), {element(1, R), "
           "receive X -> X after 300 -> nothing end} end",
           "{'EXIT',nothing}");
    assert_int_equal(late.sent, 1);
    expect("gen_server:call({actor, " GW "}, slow, 2000)", "late");
}

/* ---- monitors, links, exits ---- */

/* D-11. */
static void monitors_on_us_fire_once_with_the_reason(void **state)
{
    (void)state;
    expect("begin M = monitor(process, {nobody, " GW
           "}), receive {'DOWN', M, _, O, R} -> {O, R} after 2000 -> none end end",
           "{{nobody,'dgw@127.0.0.1'},noproc}");
    expect("begin P = rpc:call(" GW ", m, start, []), M = monitor(process, P), N = monitor(process, {actor, " GW "}), "
           "D = monitor(process, P), demonitor(D), ok = rpc:call(" GW ", m, stop, [{done, 1}]), "
           "receive {'DOWN', M, process, P, R1} -> ok after 2000 -> R1 = none end, "
           "receive {'DOWN', N, process, {actor, " GW "}, R2} -> ok after 2000 -> R2 = none end, "
           "{R1, R2, receive X -> X after 50 -> nothing end} end",
           "{{done,1},{done,1},nothing}");
    expect("begin M = monitor(process, "
           "element(2, {x, rpc:call(" GW ", m, start, [])})), "
           "rpc:call(" GW ", m, stop, [normal]), receive {'DOWN', M, _, _, R} -> R after 2000 -> none end end",
           "normal");
    assert_int_equal(process_relations(pt), 0);
}

/* D-12. */
static void links_and_exits_work_in_both_directions(void **state)
{
    (void)state;
    expect("begin process_flag(trap_exit, true), P = rpc:call(" GW ", m, start, []), link(P), "
           "rpc:call(" GW ", m, stop, [why]), receive {'EXIT', P, R} -> R after 2000 -> none end end",
           "why");
    expect("begin P = rpc:call(" GW ", m, start, []), link(P), unlink(P), link(P), unlink(P), "
           "rpc:call(" GW ", m, stop, [why]), receive X -> X after 50 -> nothing end end",
           "nothing");
    expect("begin P = rpc:call(" GW ", m, start, []), rpc:call(" GW ", m, stop, [normal]), link(P), "
           "receive {'EXIT', P, R} -> R after 2000 -> none end end",
           "noproc");
    /* A process there dies: ours, linked to it, dies too. */
    expect("begin P = rpc:call(" GW ", m, start, []), {_, M} = spawn_monitor(fun() -> link(P), "
           "rpc:call(" GW ", m, alive, []), exit(boom) end), receive {'DOWN', M, _, _, _} -> ok end, "
           "rpc:call(" GW ", m, alive, []) end",
           "false");
    expect("begin P = rpc:call(" GW ", m, start, []), M = monitor(process, P), exit(P, normal), "
           "true = rpc:call(" GW ", m, alive, []), exit(P, kill), "
           "receive {'DOWN', M, _, _, R} -> R after 2000 -> none end end",
           "killed");
    expect("begin P = rpc:call(" GW ", m, start, []), group_leader(self(), P), rpc:call(" GW ", m, alive, []) end",
           "true");
    expect("process_info(self(), messages)", "{messages,[]}");
}

static void messages_reach_a_pid_a_name_and_an_alias(void **state)
{
    (void)state;
    expect("begin P = rpc:call(" GW ", m, start, []), P ! {one, self()}, {actor, " GW "} ! two, "
           "A = rpc:call(" GW ", m, alias, []), A ! three, rpc:call(" GW ", m, got, []) end",
           "{3,three}");
}

/* ---- D-15: spawn ---- */

static void spawning_on_us_runs_the_function(void **state)
{
    (void)state;
    expect("begin B = rpc:call(" GW ", m, ran, []), P = spawn(" GW ", m, echo, [1]), true = is_pid(P), "
           "'dgw@127.0.0.1' = node(P), rpc:call(" GW ", m, ran, []) - B end",
           "1");
    expect("begin process_flag(trap_exit, true), P = spawn_link(" GW ", m, echo, [1]), "
           "receive {'EXIT', P, R} -> R after 2000 -> none end end",
           "normal");
    expect("begin P = spawn_link(" GW ", no, such, [1000]), receive {'EXIT', P, R} -> R after 2000 -> none end end",
           "{undef,[{no,such,[1000],[]}]}");
    expect("begin {P, M} = spawn_monitor(" GW ", m, exit, [bye]), receive {'DOWN', M, process, P, R} -> R "
           "after 2000 -> none end end",
           "bye");
    expect("begin {P, M} = spawn_monitor(" GW ", fun() -> ok end), receive {'DOWN', M, process, P, "
           "{undef, [{erlang, apply, [_, []], []}]}} -> undef after 2000 -> none end end",
           "undef");
    expect("begin R = spawn_request(" GW ", m, live, [], [monitor, link, {priority, high}]), "
           "receive {spawn_reply, R, ok, P} -> exit(P, stop), receive {'DOWN', R, _, P, W} -> W after 2000 -> none end "
           "after 2000 -> noreply end end",
           "stop");
    expect("receive {'EXIT', P, W} when node(P) =:= " GW " -> W after 2000 -> none end", "stop");
    expect("begin B = rpc:call(" GW ", m, ran, []), 'Elixir.Node':spawn(" GW ", m, echo, [1]), "
           "rpc:call(" GW ", m, ran, []) - B end",
           "1");
    expect("process_info(self(), messages)", "{messages,[]}");
}

/* D-16. */
static void traced_messages_mean_the_same(void **state)
{
    (void)state;
    expect("begin seq_trace:set_token(label, 1), P = rpc:call(" GW ", m, start, []), R = rpc:call(" GW
           ", m, echo, [5]), "
           "pong = net_adm:ping(" GW "), S = rpc:block_call(" GW ", m, echo, [6]), link(P), M = monitor(process, P), "
           "exit(P, stop), W = receive {'DOWN', M, _, _, X} -> X after 2000 -> none end, seq_trace:set_token([]), "
           "{R, S, W} end",
           "{5,6,stop}");
    expect("receive {'EXIT', _, X} -> X after 2000 -> none end", "stop");
    assert_int_equal(gw->metrics.value[METRIC_LINK_MALFORMED], 0);
    assert_int_equal(gw->metrics.value[METRIC_LINK_UNKNOWN_CONTROL], 0);
    assert_int_equal(gw->downs, 0);
}

/* ---- we call them ---- */

struct result {
    unsigned count;
    enum call_outcome outcome;
    char value[512];
};

static void done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct result *res = owner;
    struct term_reader r = term_reader(value);
    struct buf b;
    (void)tag;
    res->count++;
    res->outcome = outcome;
    buf_init(&b, 0);
    if (value.len)
        text_print(&b, &r);
    slice_cstr(buf_slice(&b), res->value, sizeof(res->value));
    buf_fini(&b);
}

static handle_t start_call(const char *node, enum call_way way, const char *module, const char *function,
                           const char *args, unsigned timeout_ms, struct result *res)
{
    struct buf b;
    buf_init(&b, 0);
    memset(res, 0, sizeof(*res));
    put_text(&b, args);
    handle_t h =
        remote_call(calls, slice_str(node), way, module, function, buf_slice(&b), timeout_ms * 1000u, done, res, 0);
    buf_fini(&b);
    assert_true(h != HANDLE_NONE);
    return h;
}

static struct result call(enum call_way way, const char *module, const char *function, const char *args)
{
    struct result res;
    start_call(SVC, way, module, function, args, 5000, &res);
    rig_until(&rig, 6000, res.count > 0);
    return res;
}

static void expect_call(enum call_way way, const char *mf[2], const char *args, enum call_outcome outcome,
                        const char *value)
{
    struct result res = call(way, mf[0], mf[1], args);
    assert_int_equal(res.count, 1);
    assert_string_equal(res.value, value);
    assert_int_equal(res.outcome, outcome);
}

#define MF(m, f)                                                                                                       \
    (const char *[2])                                                                                                  \
    {                                                                                                                  \
        m, f                                                                                                           \
    }

static void calls_return_over(enum call_way way)
{
    expect_call(way, MF("erlang", "abs"), "[-7]", CALL_RETURN, "7");
    expect_call(way, MF("erlang", "node"), "[]", CALL_RETURN, "'" SVC "'");
    expect_call(way, MF("lists", "reverse"), "[[a,{b},<<\"c\">>]]", CALL_RETURN, "[<<\"c\">>,{b},a]");
    expect_call(way, MF("erlang", "throw"), "[ball]", CALL_RETURN, "ball"); /* E-183 */
    expect_call(way, MF("erlang", "exit"), "[bye]", CALL_EXIT, "bye");
    expect_call(way, MF("no", "such"), "[1]", CALL_EXIT, "{undef,[{no,such,\"\x01\",[]}]}");
    struct result res = call(way, "erlang", "error", "[oops]");
    assert_int_equal(res.outcome, CALL_EXIT);
    assert_non_null(strstr(res.value, "{oops,[{erlang,error,[oops],"));
    /* Printing inside the called function ends up at the peer, and nobody hangs (D-18). */
    expect_call(way, MF("io", "format"), "[\"printed by the peer\"]", CALL_RETURN, "ok");
    expect_call(way, MF("io", "put_chars"), "[<<\"and again\">>]", CALL_RETURN, "ok");
}

/* D-18, E-181..E-183. */
static void calls_over_rex_give_what_the_function_did(void **state)
{
    (void)state;
    calls_return_over(CALL_REX);
}

static void calls_over_spawn_give_the_same(void **state)
{
    (void)state;
    call(CALL_SPAWN, "erlang", "abs", "[-7]"); /* asks for the user process, and goes over rex */
    uint64_t packets = gw->packets;
    expect_call(CALL_SPAWN, MF("erlang", "abs"), "[-7]", CALL_RETURN, "7");
    assert_int_equal(gw->packets - packets, 2); /* SPAWN_REPLY and MONITOR_P_EXIT: not one message of rex */
    calls_return_over(CALL_SPAWN);
}

static void slow_function_times_out_and_its_answer_is_dropped(void **state)
{
    (void)state;
    struct result res;
    uint64_t stale = gw->metrics.value[METRIC_CALLS_STALE];
    start_call(SVC, CALL_REX, "timer", "sleep", "[200]", 50, &res);
    rig_until(&rig, 1000, res.count == 1);
    assert_int_equal(res.outcome, CALL_TIMEOUT);
    rig_until(&rig, 2000, gw->metrics.value[METRIC_CALLS_STALE] == stale + 1);
    assert_int_equal(res.count, 1);
}

/* D-18: timeout and cancel stop the remote work. The function registers itself, so that it can be looked for. */
static void abandoned_spawned_work_is_killed(void **state)
{
    (void)state;
    struct result res;
    eval("register(keeper, self())");
    start_call(SVC, CALL_SPAWN, "gen", "call", "[keeper,'$stay',x,infinity]", 100, &res);
    rig_until(&rig, 2000, res.count == 1);
    assert_int_equal(res.outcome, CALL_TIMEOUT);
    expect("receive {'$stay', {P, _}, x} -> timer:sleep(50), is_process_alive(P) after 2000 -> none end", "false");
    handle_t h = start_call(SVC, CALL_SPAWN, "gen", "call", "[keeper,'$stay',y,infinity]", 5000, &res);
    rig_run(&rig, 50);
    remote_call_cancel(calls, h);
    expect("receive {'$stay', {P, _}, y} -> timer:sleep(50), is_process_alive(P) after 2000 -> none end", "false");
    /* Cancelled in the same turn: the worker dies when it reports that it has begun. */
    h = start_call(SVC, CALL_SPAWN, "gen", "call", "[keeper,'$stay',z,infinity]", 5000, &res);
    remote_call_cancel(calls, h);
    expect("receive {'$stay', {P, _}, z} -> timer:sleep(50), is_process_alive(P) after 200 -> false end", "false");
    eval("unregister(keeper)");
    assert_int_equal(res.count, 0);
    assert_int_equal(remote_calls_in_flight(calls), 0);
}

static void killed_worker_is_seen_at_once(void **state)
{
    (void)state;
    const enum call_way ways[] = {CALL_REX, CALL_SPAWN};
    struct result res;
    eval("register(keeper, self())");
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        start_call(SVC, ways[i], "gen", "call", "[keeper,'$stay',x,infinity]", 5000, &res);
        expect("receive {'$stay', {P, _}, x} -> exit(P, kill) after 2000 -> none end", "true");
        rig_until(&rig, 2000, res.count == 1);
        assert_int_equal(res.outcome, CALL_EXIT);
        assert_string_equal(res.value, "killed");
    }
    eval("unregister(keeper)");
}

static void killed_node_ends_its_calls_at_once(void **state)
{
    (void)state;
    struct result rex, spawn, other;
    struct erl victim = erl_start("victim@127.0.0.1", "secret", NULL, NULL);
    assert_string_equal(erl_eval(&rig, &victim, "net_adm:ping(" GW ")"), "pong");
    start_call("victim@127.0.0.1", CALL_SPAWN, "erlang", "node", "[]", 5000, &spawn);
    rig_until(&rig, 2000, spawn.count == 1);
    /* Monitors and links of ours and of theirs across that link. */
    handle_t watcher = process_start(pt, &living_ops, NULL);
    struct buf name;
    buf_init(&name, 0);
    term_put_atom(&name, "init");
    assert_true(
        process_monitor(pt, watcher, cluster_link(gw->cluster, SLICE_LIT("victim@127.0.0.1")), buf_slice(&name)));
    buf_fini(&name);
    assert_string_equal(erl_eval(&rig, &victim, "is_reference(monitor(process, {rex, " GW "}))"), "true");
    rig_until(&rig, 2000, process_relations(pt) == 2);
    start_call("victim@127.0.0.1", CALL_REX, "timer", "sleep", "[60000]", 60000, &rex);
    start_call("victim@127.0.0.1", CALL_SPAWN, "timer", "sleep", "[60000]", 60000, &spawn);
    start_call(SVC, CALL_REX, "timer", "sleep", "[300]", 5000, &other);
    rig_run(&rig, 100);
    erl_stop(&victim, SIGKILL);
    rig_until(&rig, 1000, rex.count == 1 && spawn.count == 1);
    assert_int_equal(rex.outcome, CALL_NODEDOWN);
    assert_int_equal(spawn.outcome, CALL_NODEDOWN);
    assert_int_equal(process_relations(pt), 0);
    rig_until(&rig, 2000, other.count == 1);
    assert_int_equal(other.outcome, CALL_RETURN);
    process_end_atom(pt, watcher, "normal");
}

/* D-11: what we monitor there. */
static struct {
    unsigned count;
    char reason[64];
} fallen;

static void on_fallen(void *owner, handle_t self, handle_t monitor, struct slice reason)
{
    struct term_reader r = term_reader(reason);
    struct buf b;
    (void)owner;
    (void)self;
    (void)monitor;
    buf_init(&b, 0);
    text_print(&b, &r);
    slice_cstr(buf_slice(&b), fallen.reason, sizeof(fallen.reason));
    buf_fini(&b);
    fallen.count++;
}

static const struct process_ops watcher_ops = {.kind = "watcher", .down = on_fallen};

static void our_monitors_on_their_processes_fire(void **state)
{
    (void)state;
    handle_t watcher = process_start(pt, &watcher_ops, NULL);
    struct dist_link *l = cluster_link(gw->cluster, SLICE_LIT(SVC));
    struct buf name;
    buf_init(&name, 0);
    term_put_atom(&name, "nobody");
    assert_true(process_monitor(pt, watcher, l, buf_slice(&name)) != HANDLE_NONE);
    rig_until(&rig, 2000, fallen.count == 1);
    assert_string_equal(fallen.reason, "noproc");
    eval("register(shortlived, spawn(fun() -> receive R -> exit(R) end end))");
    buf_reset(&name);
    term_put_atom(&name, "shortlived");
    assert_true(process_monitor(pt, watcher, l, buf_slice(&name)) != HANDLE_NONE);
    rig_run(&rig, 50);
    eval("shortlived ! {so, long}");
    rig_until(&rig, 2000, fallen.count == 2);
    assert_string_equal(fallen.reason, "{so,long}");
    process_end_atom(pt, watcher, "normal");
    buf_fini(&name);
}

/* D-19, briefly: thousands of calls, many in flight, each answered once and with its own value. */
struct flood {
    unsigned sent, back;
    bool seen[4000];
};

static void flood_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct flood *f = owner;
    struct term_reader r = term_reader(value);
    int64_t v;
    assert_int_equal(outcome, CALL_RETURN);
    assert_int_equal(term_read_int(&r, &v), BG_OK);
    assert_int_equal(v, tag);
    assert_false(f->seen[tag]);
    f->seen[tag] = true;
    f->back++;
}

static void flood_send(struct flood *f, enum call_way way)
{
    enum call_outcome why;
    while (f->sent < ARRAY_SIZE(f->seen) && f->sent - f->back < 200) {
        struct buf *b = remote_call_begin(calls, SLICE_LIT(SVC), way, SLICE_LIT("erlang"), SLICE_LIT("abs"), 1, &why);
        assert_non_null(b);
        term_put_int(b, -(int64_t)f->sent);
        assert_true(remote_call_commit(calls, 10000000, flood_done, f, f->sent) != HANDLE_NONE);
        f->sent++;
    }
}

static bool flood_over(struct flood *f, enum call_way way)
{
    flood_send(f, way);
    return f->back == ARRAY_SIZE(f->seen);
}

static void thousands_of_calls_come_back(void **state)
{
    (void)state;
    static struct flood rex, spawn;
    rig_until(&rig, 20000, flood_over(&rex, CALL_REX));
    rig_until(&rig, 20000, flood_over(&spawn, CALL_SPAWN));
}

/* D-17; the last test, since nothing answers after it. */
static void shutdown_tells_everybody(void **state)
{
    (void)state;
    expect("begin process_flag(trap_exit, true), P = rpc:call(" GW ", m, start, []), link(P), put(p, P), "
           "put(m, monitor(process, {rex, " GW "})), ok end",
           "ok");
    rig_run(&rig, 50);
    process_end_all(pt, "shutdown");
    expect("begin P = get(p), M = get(m), {receive {'EXIT', P, A} -> A after 2000 -> none end, "
           "receive {'DOWN', M, _, _, B} -> B after 2000 -> none end} end",
           "{shutdown,shutdown}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_node_pings_us),
        cmocka_unit_test(rpc_call_returns_raises_and_is_undef_as_on_a_beam),
        cmocka_unit_test(erpc_call_keeps_the_classes_apart),
        cmocka_unit_test(multicalls_and_casts_reach_us),
        cmocka_unit_test(rex_is_there_for_those_who_still_ask_it),
        cmocka_unit_test(calls_to_nobody_fail_at_once_and_odd_calls_get_an_error),
        cmocka_unit_test(printing_through_a_process_of_ours_does_not_hang),
        cmocka_unit_test(caller_that_gave_up_finds_its_mailbox_empty),
        cmocka_unit_test(monitors_on_us_fire_once_with_the_reason),
        cmocka_unit_test(links_and_exits_work_in_both_directions),
        cmocka_unit_test(messages_reach_a_pid_a_name_and_an_alias),
        cmocka_unit_test(spawning_on_us_runs_the_function),
        cmocka_unit_test(traced_messages_mean_the_same),
        cmocka_unit_test(calls_over_rex_give_what_the_function_did),
        cmocka_unit_test(calls_over_spawn_give_the_same),
        cmocka_unit_test(slow_function_times_out_and_its_answer_is_dropped),
        cmocka_unit_test(abandoned_spawned_work_is_killed),
        cmocka_unit_test(killed_worker_is_seen_at_once),
        cmocka_unit_test(killed_node_ends_its_calls_at_once),
        cmocka_unit_test(our_monitors_on_their_processes_fire),
        cmocka_unit_test(thousands_of_calls_come_back),
        cmocka_unit_test(shutdown_tells_everybody),
    };
    return cmocka_run_group_tests_name("dist_erl", tests, start_all, stop_all);
}
