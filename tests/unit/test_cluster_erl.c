/* test_cluster_erl.c: a cluster and real Erlang nodes: who connects to whom, and what each believes. Debian's erl. */
#define _GNU_SOURCE
#include "erl_rig.h"

static unsigned epmd_test_port;
static pid_t epmd_pid;

/* Each test has an epmd of its own: names that one has left registered, because it failed, are not taken in the next.
 * The port is the same, since libei asks the environment only once. */
static int setup(void **state)
{
    char text[16];
    if (epmd_test_port == 0)
        epmd_test_port = free_port();
    snprintf(text, sizeof(text), "%u", epmd_test_port);
    setenv("ERL_EPMD_PORT", text, 1);
    epmd_pid = epmd_start(epmd_test_port, "127.0.0.1");
    return rig_setup(state);
}

static int teardown(void **state)
{
    erl_stop_all();
    int rc = rig_teardown(state);
    end_process(epmd_pid, SIGTERM);
    return rc;
}

#define ERL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static struct rig_node *start_gateway(struct rig *r, const char *name)
{
    struct rig_node *n = rig_new_node(r);
    struct cluster_options o = rig_options(r, n, name, "secret");
    o.epmd = true;
    rig_start_with(n, &o);
    rig_until(r, 5000, cluster_registered(n->cluster));
    return n;
}

/* svc@127.0.0.1, connected to gw. */
static struct erl start_connected_erl(void)
{
    struct erl e = erl_start("svc@127.0.0.1", "secret", NULL, NULL);
    assert_string_equal(erl_eval(&rig, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    return e;
}

/* A link is up here a moment before it is up there: asks until the answer is as wanted. */
static void erl_until(struct rig *r, struct erl *e, const char *text, const char *want)
{
    for (int i = 0; i < 100 && strcmp(erl_eval(r, e, text), want) != 0; i++)
        rig_run(r, 10);
    assert_string_equal(erl_eval(r, e, text), want);
}

static void erl_connects_and_sees_a_hidden_node(void **state) /* D-01 */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct erl e = start_connected_erl();
    assert_string_equal(erl_eval(&rig, &e, "{nodes(), nodes(hidden)}"), "{[],['gw@127.0.0.1']}");
    assert_non_null(cluster_link(gw->cluster, SLICE_LIT("svc@127.0.0.1")));
    assert_string_equal(erl_eval(&rig, &e, "{rex, 'gw@127.0.0.1'} ! hello"), "hello");
    rig_until(&rig, 2000, gw->packets > 0);
    assert_string_equal(erl_eval(&rig, &e, "erlang:disconnect_node('gw@127.0.0.1')"), "true");
    rig_until(&rig, 2000, gw->downs == 1);
    assert_string_equal(gw->last_reason, "closed by peer");
    erl_stop(&e, SIGKILL);
}

static void a_wrong_cookie_is_refused_on_both_sides(void **state) /* D-04 */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct erl e = erl_start("svc@127.0.0.1", "other", NULL, NULL);
    assert_string_equal(erl_eval(&rig, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "false");
    assert_int_equal(gw->metrics.value[METRIC_LINK_HANDSHAKES_REFUSED], 1);
    assert_int_equal(cluster_add_peer(gw->cluster, SLICE_LIT("svc@127.0.0.1")), BG_OK);
    rig_until(&rig, 3000, gw->metrics.value[METRIC_LINK_HANDSHAKES_REFUSED] >= 3);
    assert_int_equal(gw->ups, 0);
    erl_stop(&e, SIGKILL);
}

static void a_peer_is_found_when_it_starts_and_again_after_kill_9(void **state) /* D-08 */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    assert_int_equal(cluster_add_peer(gw->cluster, SLICE_LIT("svc@127.0.0.1")), BG_OK);
    rig_run(&rig, 200);
    for (unsigned life = 1; life <= 3; life++) {
        struct erl e = erl_start("svc@127.0.0.1", "secret", NULL, NULL);
        erl_patiently(&rig, gw->ups == life);
        erl_until(&rig, &e, "nodes(hidden)", "['gw@127.0.0.1']");
        erl_stop(&e, SIGKILL);
        rig_until(&rig, 1000, gw->downs == life);
    }
}

static void a_frozen_peer_is_given_up_after_four_ticks(void **state) /* D-06 */
{
    (void)state;
    struct rig_node *gw = rig_new_node(&rig);
    struct cluster_options o = rig_options(&rig, gw, "gw@127.0.0.1", "secret");
    o.epmd = true;
    o.tick_interval_s = 1;
    rig_start_with(gw, &o);
    struct erl e = erl_start("svc@127.0.0.1", "secret", NULL, NULL);
    rig_until(&rig, 5000, cluster_registered(gw->cluster));
    assert_string_equal(erl_eval(&rig, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    kill(e.pid, SIGSTOP);
    uint64_t began = clock_now_us();
    rig_until(&rig, 7000, gw->downs == 1);
    assert_string_equal(gw->last_reason, "net_tick_timeout");
    assert_in_range((clock_now_us() - began) / 1000, 3000, 6900);
    erl_stop(&e, SIGKILL);
}

/* The peers' net_ticktime is far shorter than ours: their ticks must be answered, idle and with one-way traffic. */
static void peers_with_a_short_ticktime_keep_us(void **state) /* D-06 */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct erl idle = erl_start("idle@127.0.0.1", "secret", "net_ticktime", "4");
    struct erl busy = erl_start("busy@127.0.0.1", "secret", "net_ticktime", "4");
    assert_string_equal(erl_eval(&rig, &idle, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    assert_string_equal(erl_eval(&rig, &busy, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    erl_eval(&rig, &busy, "spawn(fun F() -> {x, 'gw@127.0.0.1'} ! y, timer:sleep(50), F() end)");
    rig_run(&rig, 6500);
    erl_patiently(&rig, gw->packets > 80);
    assert_int_equal(gw->downs, 0);
    erl_stop(&idle, SIGKILL);
    erl_stop(&busy, SIGKILL);
}

static void the_name_is_registered_again_after_epmd_was_away(void **state) /* D-07 */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct erl e = start_connected_erl();
    end_process(epmd_pid, SIGTERM);
    rig_until(&rig, 1000, !cluster_registered(gw->cluster));
    rig_run(&rig, 700); /* some attempts fail */
    epmd_pid = epmd_start(epmd_test_port, "127.0.0.1");
    uint64_t began = clock_now_us();
    rig_until(&rig, 5000, cluster_registered(gw->cluster));
    assert_in_range(clock_now_us() - began, 0, 2000 * 1000);
    assert_int_equal(gw->downs, 0); /* links outlive their epmd */
    assert_int_equal(gw->metrics.value[METRIC_EPMD_REGISTRATIONS], 2);
    assert_string_equal(erl_eval(&rig, &e, "element(1, erl_epmd:port_please(\"gw\", \"127.0.0.1\"))"), "port");
    erl_stop(&e, SIGKILL);
}

static void a_taken_name_is_fatal_after_some_patience(void **state) /* D-07 */
{
    (void)state;
    struct err err = {0};
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct rig_node *twin = rig_new_node(&rig);
    struct cluster_options o = rig_options(&rig, twin, "gw@127.0.0.1", "secret");
    o.epmd = true;
    rig_start_with(twin, &o);
    rig_run(&rig, 1000);
    assert_false(cluster_failed(twin->cluster, NULL));
    rig_until(&rig, 4000, cluster_failed(twin->cluster, &err));
    assert_non_null(strstr(err.text, "gw@127.0.0.1 is taken"));
    assert_false(cluster_registered(twin->cluster));
    assert_false(cluster_failed(gw->cluster, NULL));
}

static void a_quick_restart_gets_its_name_back(void **state) /* D-07 */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct rig_node *next = rig_new_node(&rig);
    struct cluster_options o = rig_options(&rig, next, "gw@127.0.0.1", "secret");
    o.epmd = true;
    rig_start_with(next, &o);
    rig_run(&rig, 500);
    rig_stop(&rig, gw);
    rig_until(&rig, 2000, cluster_registered(next->cluster));
}

/* Erlang and we connect to each other in the same moment, again and again: svc > gw and asvc < gw. */
static void simultaneous_connects_with_erlang_give_one_link(void **state) /* D-03 */
{
    (void)state;
    static const char *const names[] = {"svc@127.0.0.1", "asvc@127.0.0.1"};
    for (size_t which = 0; which < ARRAY_SIZE(names); which++) {
        struct rig r;
        rig_init(&r);
        struct rig_node *gw = rig_new_node(&r);
        struct cluster_options o = rig_options(&r, gw, "gw@127.0.0.1", "secret");
        o.epmd = true;
        o.reconnect_min_ms = o.reconnect_max_ms = 2;
        rig_start_with(gw, &o);
        struct erl e = erl_start(names[which], "secret", NULL, NULL);
        rig_until(&r, 5000, cluster_registered(gw->cluster));
        assert_int_equal(cluster_add_peer(gw->cluster, slice_str(names[which])), BG_OK);
        erl_patiently(&r, gw->ups == 1);
        for (unsigned round = 0; round < 30; round++) {
            const char *got =
                erl_eval(&r, &e,
                         "begin erlang:disconnect_node('gw@127.0.0.1'), timer:sleep(rand:uniform(3) - 1), "
                         "net_kernel:connect_node('gw@127.0.0.1') end");
            assert_string_equal(got, "true");
            rig_until(&r, 5000, cluster_link(gw->cluster, slice_str(names[which])));
            rig_run(&r, 10);
            assert_int_equal(gw->metrics.value[METRIC_LINKS_UP], 1);
            unsigned packets = gw->packets;
            assert_string_equal(erl_eval(&r, &e, "begin {x, 'gw@127.0.0.1'} ! y, nodes(hidden) end"),
                                "['gw@127.0.0.1']");
            rig_until(&r, 1000, gw->packets > packets);
        }
        erl_stop(&e, SIGKILL);
        rig_fini(&r);
    }
}

/* Erlang still believes an older connection of ours up: it says alive, we insist, and it drops the old one. */
static void we_get_in_although_erlang_thinks_we_are_there(void **state) /* D-03, 08 §1.10 */
{
    (void)state;
    struct rig r, r2;
    rig_init(&r);
    rig_init(&r2); /* our former life, on a loop of its own that we stop turning */
    struct erl e = erl_start("svc@127.0.0.1", "secret", NULL, NULL);
    struct rig_node *old = start_gateway(&r2, "gw@127.0.0.1");
    assert_string_equal(erl_eval(&r2, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    struct rig_node *gw = rig_new_node(&r);
    struct cluster_options o = rig_options(&r, gw, "gw@127.0.0.1", "secret");
    o.epmd = true; /* the name is taken; looking others up works all the same */
    rig_start_with(gw, &o);
    assert_int_equal(cluster_add_peer(gw->cluster, SLICE_LIT("svc@127.0.0.1")), BG_OK);
    rig_until(&r, 5000, gw->ups == 1);
    erl_until(&r, &e, "nodes(hidden)", "['gw@127.0.0.1']");
    assert_string_equal(erl_eval(&r, &e, "begin {x, 'gw@127.0.0.1'} ! y, ok end"), "ok");
    rig_until(&r, 1000, gw->packets > 0);
    rig_until(&r2, 1000, old->downs == 1);
    assert_int_equal(old->packets, 0);
    erl_stop(&e, SIGKILL);
    rig_fini(&r2);
    rig_fini(&r);
}

static void a_nameless_erl_is_given_a_name(void **state) /* D-03 named: */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct erl e = erl_start("undefined@127.0.0.1", "secret", NULL, NULL);
    assert_string_equal(erl_eval(&rig, &e, "node()"), "nonode@nohost");
    assert_string_equal(erl_eval(&rig, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    assert_int_equal(gw->ups, 1);
    const char *name = erl_eval(&rig, &e, "atom_to_list(node())");
    char quoted[300];
    snprintf(quoted, sizeof(quoted), "\"%s\"", dist_link_node(gw->last_link).ptr);
    assert_string_equal(name, quoted);
    erl_stop(&e, SIGKILL);
}

static void a_flood_of_large_messages_never_stops_the_sender(void **state) /* D-09 */
{
    (void)state;
    struct rig_node *gw = start_gateway(&rig, "gw@127.0.0.1");
    struct erl e = start_connected_erl();
    const char *worst = erl_eval(&rig, &e,
                                 "begin B = binary:copy(<<7>>, 65536), lists:max([element(1, timer:tc(fun() -> "
                                 "{x, 'gw@127.0.0.1'} ! B end)) || _ <- lists:seq(1, 2000)]) end");
    rig_until(&rig, 5000, gw->packets == 2000);
    assert_true(gw->packet_bytes > 2000u * 65536u);
    assert_int_equal(gw->downs, 0);
    assert_in_range(strtoul(worst, NULL, 10), 0, 1000 * 1000); /* µs; other work on this machine may disturb */
    erl_stop(&e, SIGKILL);
}

/* ei_publish knows only 127.0.0.1; with ERL_EPMD_ADDRESS we speak ALIVE2 ourselves. */
static void epmd_is_reached_over_ipv6(void **state) /* D-07 */
{
    (void)state;
    unsigned port = free_port();
    char text[16];
    snprintf(text, sizeof(text), "%u", port);
    pid_t pid = epmd_start(port, "::1");
    setenv("ERL_EPMD_PORT", text, 1);
    setenv("ERL_EPMD_ADDRESS", "::1,127.0.0.1", 1);
    struct rig_node *n[2];
    for (int i = 0; i < 2; i++) {
        n[i] = rig_new_node(&rig);
        struct cluster_options o = rig_options(&rig, n[i], i ? "b@::1" : "a@::1", "secret");
        o.epmd = true;
        o.listen_address = "::1";
        rig_start_with(n[i], &o);
    }
    rig_until(&rig, 5000, cluster_registered(n[0]->cluster) && cluster_registered(n[1]->cluster));
    assert_int_equal(cluster_add_peer(n[0]->cluster, slice_str(n[1]->id.name)), BG_OK);
    rig_until(&rig, 3000, rig_link(n[0], n[1]) && rig_link(n[1], n[0]));
    struct dist_link_stats st;
    dist_link_stats(rig_link(n[0], n[1]), &st);
    assert_memory_equal(st.address, "[::1]:", 6);
    end_process(pid, SIGTERM);
    rig_until(&rig, 1000, !cluster_registered(n[0]->cluster));
    snprintf(text, sizeof(text), "%u", epmd_test_port);
    setenv("ERL_EPMD_PORT", text, 1);
    unsetenv("ERL_EPMD_ADDRESS");
}

/* An argument: only the tests whose names match it (* stands for anything). */
int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        ERL_TEST(erl_connects_and_sees_a_hidden_node),
        ERL_TEST(a_wrong_cookie_is_refused_on_both_sides),
        ERL_TEST(a_peer_is_found_when_it_starts_and_again_after_kill_9),
        ERL_TEST(a_frozen_peer_is_given_up_after_four_ticks),
        ERL_TEST(peers_with_a_short_ticktime_keep_us),
        ERL_TEST(the_name_is_registered_again_after_epmd_was_away),
        ERL_TEST(a_taken_name_is_fatal_after_some_patience),
        ERL_TEST(a_quick_restart_gets_its_name_back),
        ERL_TEST(simultaneous_connects_with_erlang_give_one_link),
        ERL_TEST(we_get_in_although_erlang_thinks_we_are_there),
        ERL_TEST(a_nameless_erl_is_given_a_name),
        ERL_TEST(a_flood_of_large_messages_never_stops_the_sender),
        ERL_TEST(epmd_is_reached_over_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
