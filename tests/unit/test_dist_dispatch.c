/* test_dist_dispatch.c: what our node answers to the control messages of others (08 §2.2, §3; D-10..D-16). */
#include "dist_world.h"

#include "dist_message.h"
#include "gen_call.h"

#define A "<svc@h:5.1>" /* a process of the other node */
#define REF "&svc@h:1.2.3"

/* ---- D-13, D-14: net_kernel, rex, tags ---- */

/* S-007, D-13: net_adm:ping. */
static void ping_is_answered_yes_through_the_alias(void **state)
{
    (void)state;
    feed("{6," A ",'',net_kernel}", "{'$gen_call',{" A ",[alias|" REF "]},{is_auth,svc@h}}");
    handle_t me = process_whereis(world.pt, SLICE_LIT("net_kernel"));
    expect_sent(world.l, textf("{33,%s," REF "} | {[alias|" REF "],yes}", pid_text(me)));
    expect_nothing(world.l);
}

/* D-14: a multi_call's tag wraps the alias; an old one is a bare reference; both come back untouched. */
static void tags_are_copied_and_decide_where_the_reply_goes(void **state)
{
    (void)state;
    const char *me = pid_text(process_whereis(world.pt, SLICE_LIT("net_kernel")));
    feed("{6," A ",'',net_kernel}", "{'$gen_call',{" A ",[[alias|" REF "]|&svc@h:9]},{is_auth,svc@h}}");
    expect_sent(world.l, textf("{33,%s," REF "} | {[[alias|" REF "]|&svc@h:9],yes}", me));
    feed("{6," A ",'',net_kernel}", "{'$gen_call',{" A "," REF "},{is_auth,svc@h}}");
    expect_sent(world.l, "{2,''," A "} | {" REF ",yes}");
    feed("{6," A ",'',net_kernel}", "{'$gen_call',{" A ",{odd,[\"tag\"]}},{is_auth,svc@h}}");
    expect_sent(world.l, "{2,''," A "} | {{odd,[\"tag\"]},yes}");
    feed("{6," A ",'',net_kernel}", "{'$gen_call',{" A ",&svc@h:1.2.3.4.5},{is_auth,svc@h}}");
    expect_sent(world.l, "{2,''," A "} | {&svc@h:1.2.3.4.5,yes}");
}

/* D-13: never a hang. */
static void unknown_call_to_an_existing_name_gets_an_error(void **state)
{
    (void)state;
    const char *const names[] = {"net_kernel", "rex", "user", "logger_proxy"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        feed(textf("{6," A ",'',%s}", names[i]), "{'$gen_call',{" A "," REF "},{what,is,this}}");
        expect_sent(world.l, "{2,''," A "} | {" REF ",{error,notsup}}");
    }
    feed("{6," A ",'',rex}", "{system,{" A "," REF "},suspend}");
    expect_sent(world.l, "{2,''," A "} | {" REF ",{error,{unknown_system_msg,suspend}}}");
}

static void call_to_a_process_of_ours_gets_an_error_unless_it_takes_calls(void **state)
{
    (void)state;
    static const struct process_ops silent = {.kind = "channel"};
    handle_t p = process_start(world.pt, &silent, NULL);
    feed(textf("{22," A ",%s}", pid_text(p)), "{'$gen_call',{" A ",[alias|" REF "]},hello}");
    expect_sent(world.l, textf("{33,%s," REF "} | {[alias|" REF "],{error,notsup}}", pid_text(p)));
}

/* D-13: block_call and gen_server:call({rex, Node}, ...) reach rex; failures look as from a BEAM (08 §4.1 A). */
static void rex_runs_calls_of_both_kinds(void **state)
{
    (void)state;
    feed("{6," A ",'',rex}", "{'$gen_call',{" A "," REF "},{block_call,erlang,node,[],user}}");
    expect_sent(world.l, "{2,''," A "} | {" REF ",'" GW "'}");
    feed("{6," A ",'',rex}", "{'$gen_call',{" A "," REF "},{call,m,echo,[<<\"x\">>]," A "}}");
    expect_sent(world.l, "{2,''," A "} | {" REF ",<<\"x\">>}");
    feed("{6," A ",'',rex}", "{'$gen_call',{" A "," REF "},{call,no,such,[1000],user}}");
    expect_sent(world.l, "{2,''," A "} | {" REF ",{badrpc,{'EXIT',{undef,[{no,such,[1000],[]}]}}}}");
    feed("{6," A ",'',rex}", "{'$gen_call',{" A "," REF "},{call,m,raise,[oops],user}}");
    expect_sent(world.l, "{2,''," A "} | {" REF ",{badrpc,{'EXIT',{oops,[{m,raise,1,[]}]}}}}");
    assert_int_equal(world.metrics.value[METRIC_RPC_IN], 4);
    assert_int_equal(world.metrics.value[METRIC_RPC_IN_UNDEF], 1);
}

/* 08 §4.1 B, S-007, D-13. */
static void rex_answers_the_old_form_casts_and_features(void **state)
{
    (void)state;
    feed("{6," A ",'',rex}", "{" A ",{call,m,echo,[17],user}}");
    expect_sent(world.l, "{2,''," A "} | {rex,17}");
    feed("{6," A ",'',rex}", "{" A ",{call,m,echo,[17],send_stdout_to_caller}}");
    expect_sent(world.l, "{2,''," A "} | {rex,17}");
    feed("{6," A ",'',rex}", "{'$gen_cast',{cast,m,echo,[17],user}}");
    assert_int_equal(world.ran, 3);
    feed("{6," A ",'',rex}", "{" A ",features_request}");
    expect_sent(world.l, "{2,''," A "} | {features_reply,'" GW "',[erpc]}");
    feed("{6," A ",'',rex}", "{" A ",{sbcast,nobody,hello}}");
    expect_sent(world.l, "{2,''," A "} | {rex,'" GW "',{nonexisting_name,nobody}}");
    feed("{6," A ",'',rex}", "{" A ",{sbcast,user,hello}}");
    expect_sent(world.l, "{2,''," A "} | {rex,'" GW "','" GW "'}");
    feed("{6," A ",'',rex}", "{what,ever}");
    feed("{6," A ",'',rex}", "nonsense");
    expect_nothing(world.l);
}

static void message_for_nobody_is_counted_and_dropped(void **state)
{
    (void)state;
    feed("{6," A ",'',nobody}", "{'$gen_call',{" A "," REF "},hello}");
    feed("{2,'',<" GW ":60000.1>}", "hello");
    feed("{22," A ",<other@h:1.1>}", "hello");
    feed("{33," A ",&" GW ":1.1.0}", "hello");
    expect_nothing(world.l);
    assert_false(world.l->closed);
    assert_int_equal(world.metrics.value[METRIC_LINK_UNKNOWN_NAME], 4);
}

/* 08 §4.3: nobody who prints through us hangs. */
static void io_requests_are_answered(void **state)
{
    (void)state;
    const char *const cases[][2] = {
        {"{put_chars,unicode,<<\"hi\">>}", "ok"},
        {"{put_chars,unicode,io_lib,format,[]}", "ok"},
        {"{put_chars,<<\"hi\">>}", "ok"},
        {"{requests,[{put_chars,unicode,x}]}", "ok"},
        {"{get_line,unicode,'> '}", "eof"},
        {"{get_until,unicode,p,m,f,[]}", "eof"},
        {"getopts", "[]"},
        {"{setopts,[]}", "{error,enotsup}"},
        {"{get_geometry,columns}", "{error,enotsup}"},
        {"{dance,now}", "{error,request}"},
        {"17", "{error,request}"},
        {"{}", "{error,request}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        feed("{6," A ",'',user}", textf("{io_request," A "," REF ",%s}", cases[i][0]));
        expect_sent(world.l, textf("{2,''," A "} | {io_reply," REF ",%s}", cases[i][1]));
    }
    feed("{6," A ",'',nobody}", "{io_request," A "," REF ",getopts}");
    feed("{6," A ",'',logger_proxy}", "{log,error,\"boom\",[],#{gl=>" A "}}");
    expect_nothing(world.l);
}

/* ---- D-15: SPAWN_REQUEST ---- */

/* The pid that the next spawned process will have: the slot is reused, its generation goes on. */
static const char *next_pid(void)
{
    static const struct process_ops none = {.kind = "probe"};
    handle_t p = process_start(world.pt, &none, NULL);
    process_end_atom(world.pt, p, "normal");
    return pid_text(handle_make(handle_index(p), handle_generation(p) + 1));
}

/* S-001..S-003, S-122, 08 §3.2. */
static void erpc_call_is_replied_at_once_and_reported_as_the_reason(void **state)
{
    (void)state;
    const char *const cases[][2] = {
        {"erlang,node,[]", "{&svc@h:7,return,'" GW "'}"},
        {"m,echo,[{a,[1,2|x]}]", "{&svc@h:7,return,{a,[1,2|x]}}"},
        {"m,echo,\"!\"", "{&svc@h:7,return,33}"},
        {"m,raise,[undef]", "{&svc@h:7,error,undef,[{m,raise,[undef],[]}]}"},
        {"no,such,[x]", "{&svc@h:7,error,undef,[{no,such,[x],[]}]}"},
        {"erlang,apply,[nofun,[]]", "{&svc@h:7,error,undef,[{erlang,apply,[nofun,[]],[]}]}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *pid = next_pid();
        feed("{29," REF "," A "," A ",{erpc,execute_call,4},[monitor]}", textf("[&svc@h:7,%s]", cases[i][0]));
        expect_sent(world.l, textf("{31," REF "," A ",2,%s}", pid));
        expect_sent(world.l, textf("{21,%s," A "," REF ",%s}", pid, cases[i][1]));
        expect_nothing(world.l);
    }
    assert_int_equal(process_relations(world.pt), 0);
}

static void erpc_cast_runs_and_says_no_more_than_that_it_started(void **state)
{
    (void)state;
    const char *pid = next_pid();
    feed("{29," REF "," A "," A ",{erpc,execute_cast,3},[]}", "[m,echo,[1]]");
    expect_sent(world.l, textf("{31," REF "," A ",0,%s}", pid));
    expect_nothing(world.l);
    assert_int_equal(world.ran, 1);
}

/* D-15: flags match options; spawn, spawn_link, spawn_monitor, and a spawned fun, which only a BEAM can run. */
static void spawned_functions_run_and_end_as_their_options_say(void **state)
{
    (void)state;
    const char *pid = next_pid();
    feed("{29," REF "," A "," A ",{m,echo,1},[link]}", "[1]");
    expect_sent(world.l, textf("{31," REF "," A ",1,%s}", pid));
    expect_sent(world.l, textf("{3,%s," A ",normal}", pid));
    pid = next_pid();
    feed("{29," REF "," A "," A ",{m,echo,1},[monitor]}", "[1]");
    expect_sent(world.l, textf("{31," REF "," A ",2,%s}", pid));
    expect_sent(world.l, textf("{21,%s," A "," REF ",normal}", pid));
    pid = next_pid();
    feed("{29," REF "," A "," A ",{no,such,1},[monitor,link]}", "[1]");
    expect_sent(world.l, textf("{31," REF "," A ",3,%s}", pid));
    expect_sent(world.l, textf("{21,%s," A "," REF ",{undef,[{no,such,[1],[]}]}}", pid));
    expect_sent(world.l, textf("{3,%s," A ",{undef,[{no,such,[1],[]}]}}", pid));
    pid = next_pid();
    feed("{29," REF "," A "," A ",{erlang,apply,2},[link]}", "[notafun,[]]");
    expect_sent(world.l, textf("{31," REF "," A ",1,%s}", pid));
    expect_sent(world.l, textf("{3,%s," A ",{undef,[{erlang,apply,[notafun,[]],[]}]}}", pid));
    expect_nothing(world.l);
}

static void spawn_options_are_read_as_a_beam_reads_them(void **state)
{
    (void)state;
    const char *pid = next_pid();
    feed("{29," REF "," A "," A ",{m,echo,1},[{priority,high},monitor,{message_queue_data,off_heap}]}", "[1]");
    expect_sent(world.l, textf("{31," REF "," A ",2,%s}", pid));
    expect_sent(world.l, textf("{21,%s," A "," REF ",normal}", pid));
    feed("{29," REF "," A "," A ",{m,echo,1},[{reply,error_only},monitor]}", "[1]");
    expect_sent(world.l, "{31," REF "," A ",0,badopt}");
    feed("{29," REF "," A "," A ",{m,echo,1},[dance]}", "[1]");
    expect_sent(world.l, "{31," REF "," A ",0,badopt}");
    feed("{29," REF "," A "," A ",{m,echo,1},[monitor|x]}", "[1]");
    expect_sent(world.l, "{31," REF "," A ",0,badopt}");
    expect_nothing(world.l);
    assert_int_equal(world.ran, 1);
}

static void spawn_without_room_is_refused_with_system_limit(void **state)
{
    (void)state;
    static const struct process_ops none = {.kind = "filler"};
    while (process_start(world.pt, &none, NULL) != HANDLE_NONE)
        ;
    feed("{29," REF "," A "," A ",{erpc,execute_call,4},[monitor]}", "[1,erlang,node,[]]");
    expect_sent(world.l, "{31," REF "," A ",0,system_limit}");
    expect_nothing(world.l);
}

static void spawned_process_that_is_adopted_lives_on(void **state)
{
    (void)state;
    feed("{29," REF "," A "," A ",{m,adopt,0},[link,monitor]}", "[]");
    assert_true(process_alive(world.pt, world.adopt));
    expect_sent(world.l, textf("{31," REF "," A ",3,%s}", pid_text(world.adopt)));
    expect_nothing(world.l);
    /* A link broken from the other side ends it; so its monitor fires. */
    feed(textf("{24," A ",%s}", pid_text(world.adopt)), "gone");
    assert_false(process_alive(world.pt, world.adopt));
    expect_sent(world.l, textf("{21,%s," A "," REF ",gone}", pid_text(world.adopt)));
    expect_nothing(world.l);
}

/* erpc's entry functions with arguments they do not have are functions that do not exist here. */
static void malformed_erpc_arguments_are_undef(void **state)
{
    (void)state;
    const char *const args[] = {"[1,2,3,4]", "[1,m,f]", "[1,m,f,[],x]", "[1,m,f,[]|x]"};
    for (size_t i = 0; i < ARRAY_SIZE(args); i++) {
        const char *pid = next_pid();
        feed("{29," REF "," A "," A ",{erpc,execute_call,4},[monitor]}", args[i]);
        expect_sent(world.l, textf("{31," REF "," A ",2,%s}", pid));
        char *end = fake_sent(world.l);
        assert_non_null(end);
        assert_non_null(strstr(end, i == 3 ? "{badarg,[{erpc,execute_call," : "{undef,[{erpc,execute_call,"));
        free(end);
    }
    assert_int_equal(world.ran, 0);
    assert_false(world.l->closed);
}

static void dispatch_without_room_for_its_processes_is_not_made(void **state)
{
    (void)state;
    const struct rpc_table table = {.entries = world_entries, .count = ARRAY_SIZE(world_entries), .server = &world};
    for (uint32_t room = 0; room < 5; room++) {
        struct process_table *pt = process_table_new(&fake_self, &fake_cluster, &world.metrics, room);
        assert_null(dist_dispatch_new(&fake_self, pt, world.rc, &table, &world.metrics));
        process_table_free(pt);
    }
}

/* ---- D-10: bad packets ---- */

static void malformed_packet_closes_the_link_and_is_counted(void **state)
{
    (void)state;
    const char *const controls[] = {
        "{}",
        "[]",
        "foo",
        "{foo}",
        "{1," A "}",
        "{1," A "," A "," A "}",
        "{1,foo," A "}",
        "{2,'',foo}",
        "{2,''," A "}",
        "{6," A ",'',5}",
        "{19,foo,bar," REF "}",
        "{19," A ",rex,foo}",
        "{19,<other@h:1.1>,rex," REF "}",
        "{19," A ",rex,&other@h:1}",
        "{1,<other@h:1.1>," A "}",
        "{35,foo," A "," A "}",
        "{31," REF "," A ",x," A "}",
        "{29," REF "," A ",user,{m,f,0},[]}",
        "{29," REF "," A "," A ",{m,f},[]}",
        "{21,foo,bar," REF ",normal}",
        "{-1}",
        "{3,<other@h:1.1>," A ",x}",
        "{35,1,<other@h:1.1>," A "}",
        "{20," A ",rex,&other@h:1}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
        world.l->closed = false;
        feed(controls[i], strncmp(controls[i], "{29", 3) == 0 ? "[]" : NULL);
        if (!world.l->closed)
            fail_msg("%s did not close the link", controls[i]);
    }
    assert_int_equal(world.metrics.value[METRIC_LINK_MALFORMED], ARRAY_SIZE(controls));
    expect_nothing(world.l);
}

static void bytes_that_are_no_packet_close_the_link(void **state)
{
    (void)state;
    const struct slice cases[] = {
        SLICE_LIT("p"),
        SLICE_LIT("q\x83\x6a"),
        SLICE_LIT("p\x83"),
        SLICE_LIT("p\x82\x68\x00"),
        SLICE_LIT("\x83\x68\x03"),
        SLICE_LIT("p\x83\x68\x03\x61\x02"),
        SLICE_LIT("p\x83\x6a\x83\x6a"),
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        world.l->closed = false;
        feed_bytes(world.l, cases[i]);
        assert_true(world.l->closed);
    }
}

static void every_cut_of_a_good_packet_closes_the_link_or_is_harmless(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    fake_packet(&b, "{29," REF "," A "," A ",{erpc,execute_call,4},[monitor]}", "[&svc@h:7,m,echo,[{a,<<\"b\">>}]]");
    for (size_t n = 0; n < b.len; n++) {
        world.l->closed = false;
        feed_bytes(world.l, slice_make(b.data, n));
        assert_true(world.l->closed);
    }
    assert_int_equal(world.ran, 0);
    buf_fini(&b);
}

/* D-10: logged, counted, not fatal. 37 is OTP 28's ALTACT_SIG_SEND. */
static void unknown_control_message_is_counted_and_skipped(void **state)
{
    (void)state;
    feed("{37,0," A ",rex}", "hello");
    feed("{99}", NULL);
    feed("{5,x}", NULL);
    feed("{0}", NULL);
    assert_false(world.l->closed);
    assert_int_equal(world.metrics.value[METRIC_LINK_UNKNOWN_CONTROL], 4);
    expect_nothing(world.l);
}

/* A list in a list in a list, deeper than we read. */
static void put_deep(struct buf *b, unsigned depth)
{
    term_put_version(b);
    for (unsigned i = 0; i < depth; i++)
        term_put_tuple(b, 1);
    term_put_nil(b);
}

static void message_nested_too_deep_is_dropped_but_signals_go_on(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    buf_putc(&b, 112);
    term_put_version(&b);
    put_text(&b, "{29," REF "," A "," A ",{erpc,execute_call,4},[monitor]}");
    put_deep(&b, 5000);
    feed_bytes(world.l, buf_slice(&b));
    expect_sent(world.l, "{31," REF "," A ",0,system_limit}");

    buf_reset(&b);
    buf_putc(&b, 112);
    term_put_version(&b);
    put_text(&b, "{6," A ",'',rex}");
    put_deep(&b, 5000);
    feed_bytes(world.l, buf_slice(&b));

    feed("{29," REF "," A "," A ",{m,adopt,0},[link]}", "[]");
    free(fake_sent(world.l));
    buf_reset(&b);
    buf_putc(&b, 112);
    term_put_version(&b);
    put_text(&b, textf("{24," A ",%s}", pid_text(world.adopt)));
    put_deep(&b, 5000);
    feed_bytes(world.l, buf_slice(&b));
    assert_false(process_alive(world.pt, world.adopt));
    expect_nothing(world.l);
    assert_false(world.l->closed);
    buf_fini(&b);
}

/* ---- D-16 ---- */

#define TOKEN "{1,2,3," A ",4}"

static void messages_with_a_trace_token_mean_the_same(void **state)
{
    (void)state;
    feed("{16," A ",'',"
         "rex," TOKEN "}",
         "{" A ",features_request}");
    expect_sent(world.l, "{2,''," A "} | {features_reply,'" GW "',[erpc]}");
    const char *rex = pid_text(process_whereis(world.pt, SLICE_LIT("rex")));
    feed(textf("{12,'',%s," TOKEN "}", rex), "{" A ",features_request}");
    expect_sent(world.l, "{2,''," A "} | {features_reply,'" GW "',[erpc]}");
    feed(textf("{23," A ",%s," TOKEN "}", rex), "{" A ",features_request}");
    expect_sent(world.l, "{2,''," A "} | {features_reply,'" GW "',[erpc]}");
    const char *pid = next_pid();
    feed("{30," REF "," A "," A ",{erpc,execute_call,4},[monitor]," TOKEN "}", "[1,erlang,node,[]]");
    expect_sent(world.l, textf("{31," REF "," A ",2,%s}", pid));
    expect_sent(world.l, textf("{21,%s," A "," REF ",{1,return,'" GW "'}}", pid));
    const char *const signals[][2] = {{"{13," A ",%s," TOKEN ",why}", NULL},
                                      {"{25," A ",%s," TOKEN "}", "why"},
                                      {"{18," A ",%s," TOKEN ",why}", NULL},
                                      {"{27," A ",%s," TOKEN "}", "why"}};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        feed("{29," REF "," A "," A ",{m,adopt,0},[link]}", "[]");
        free(fake_sent(world.l));
        char control[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(control, sizeof(control), signals[i][0], pid_text(world.adopt));
#pragma GCC diagnostic pop
        feed(control, signals[i][1]);
        assert_false(process_alive(world.pt, world.adopt));
        free(fake_sent(world.l));
    }
    expect_nothing(world.l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(ping_is_answered_yes_through_the_alias),
        TEST(tags_are_copied_and_decide_where_the_reply_goes),
        TEST(unknown_call_to_an_existing_name_gets_an_error),
        TEST(call_to_a_process_of_ours_gets_an_error_unless_it_takes_calls),
        TEST(rex_runs_calls_of_both_kinds),
        TEST(rex_answers_the_old_form_casts_and_features),
        TEST(message_for_nobody_is_counted_and_dropped),
        TEST(io_requests_are_answered),
        TEST(erpc_call_is_replied_at_once_and_reported_as_the_reason),
        TEST(erpc_cast_runs_and_says_no_more_than_that_it_started),
        TEST(spawned_functions_run_and_end_as_their_options_say),
        TEST(spawn_options_are_read_as_a_beam_reads_them),
        TEST(spawn_without_room_is_refused_with_system_limit),
        TEST(spawned_process_that_is_adopted_lives_on),
        TEST(malformed_erpc_arguments_are_undef),
        TEST(dispatch_without_room_for_its_processes_is_not_made),
        TEST(malformed_packet_closes_the_link_and_is_counted),
        TEST(bytes_that_are_no_packet_close_the_link),
        TEST(every_cut_of_a_good_packet_closes_the_link_or_is_harmless),
        TEST(unknown_control_message_is_counted_and_skipped),
        TEST(message_nested_too_deep_is_dropped_but_signals_go_on),
        TEST(messages_with_a_trace_token_mean_the_same),
    };
    return cmocka_run_group_tests_name("dist_dispatch", tests, NULL, NULL);
}
