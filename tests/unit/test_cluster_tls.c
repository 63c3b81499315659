/* test_cluster_tls.c: distribution over TLS, among our own clusters and with real Erlang nodes that run inet_tls_dist:
 * both ways, who is refused and why, ticks and large messages. Debian's erl. */
#define _GNU_SOURCE
#include "erl_rig.h"
#include "caught_log.h"
#include "test_certs.h"

static unsigned epmd_test_port;
static pid_t epmd_pid;
static struct test_certs certs;

static int start(void **state)
{
    (void)state;
    char text[16];
    certs_make(&certs);
    epmd_test_port = free_port();
    snprintf(text, sizeof(text), "%u", epmd_test_port);
    setenv("ERL_EPMD_PORT", text, 1);
    epmd_pid = epmd_start(epmd_test_port, "127.0.0.1");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    end_process(epmd_pid, SIGTERM);
    certs_remove(&certs);
    return 0;
}

/* name NULL: no certificate; ca NULL: anybody's is good. */
static struct tls_context *tls(const char *name, const char *ca, enum tls_version lowest)
{
    char crt[64], key[64], authority[64];
    struct err e = {0};
    snprintf(crt, sizeof(crt), "%s.crt", name ? name : "");
    snprintf(key, sizeof(key), "%s.key", name ? name : "");
    snprintf(authority, sizeof(authority), "%s.crt", ca ? ca : "");
    const struct tls_options o = {
        .certificate = name ? certs_path(&certs, crt) : NULL,
        .key = name ? certs_path(&certs, key) : NULL,
        .ca = ca ? certs_path(&certs, authority) : NULL,
        .min_version = lowest,
    };
    struct tls_context *t = tls_context_new(&o, &e);
    if (!t)
        fail_msg("%s", e.text);
    return t;
}

static struct rig_node *start_node(struct rig *r, const char *name, struct tls_context *t, bool epmd)
{
    struct rig_node *n = rig_new_node(r);
    struct cluster_options o = rig_options(r, n, name, "secret");
    o.epmd = epmd;
    o.tls = t;
    rig_start_with(n, &o);
    rig_until(r, 5000, cluster_registered(n->cluster));
    return n;
}

/* --- among ourselves ---------------------------------------------------------------------------------------------- */

struct two {
    struct rig r;
    struct tls_context *ta, *tb;
    struct rig_node *a, *b;
};

static void two_init(struct two *t, struct tls_context *ta, struct tls_context *tb)
{
    rig_init(&t->r);
    t->ta = ta;
    t->tb = tb;
    t->a = start_node(&t->r, "a@127.0.0.1", ta, false);
    t->b = start_node(&t->r, "b@127.0.0.1", tb, false);
}

static void two_fini(struct two *t)
{
    rig_fini(&t->r);
    tls_context_free(t->ta);
    tls_context_free(t->tb);
}

static void links_are_up_and_carry_packets_of_every_size(void **state)
{
    (void)state;
    static char big[3000000];
    static const size_t sizes[] = {1, 16383, 16384, 70000, sizeof(big) - 1};
    struct two t;
    two_init(&t, tls("gw", "ca", TLS_1_2), tls("gw2", "ca", TLS_1_2));
    rig_add_peer(t.a, t.b);
    rig_until(&t.r, 5000, t.a->ups == 1 && t.b->ups == 1);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t before = t.b->packet_bytes, back = t.a->packet_bytes;
        memset(big, 'x', sizes[i]);
        big[sizes[i]] = '\0';
        assert_int_equal(rig_send(rig_link(t.a, t.b), big), BG_OK);
        assert_int_equal(rig_send(rig_link(t.b, t.a), big), BG_OK);
        rig_until(&t.r, 5000, t.b->packet_bytes == before + sizes[i] + 1 && t.a->packet_bytes == back + sizes[i] + 1);
    }
    assert_int_equal(dist_link_queued(rig_link(t.a, t.b)), 0);
    two_fini(&t);
}

/* 40 MB at once: more than any socket buffer, so that most of it waits in the queue, as it is or encrypted. */
static void a_long_queue_arrives_whole_and_in_order(void **state) /* D-09 */
{
    (void)state;
    enum { COUNT = 400, SIZE = 100000 };
    static char text[SIZE + 1];
    struct two t;
    two_init(&t, tls("gw", "ca", TLS_1_2), tls("gw2", "ca", TLS_1_2));
    rig_add_peer(t.a, t.b);
    rig_until(&t.r, 5000, t.a->ups == 1 && t.b->ups == 1);
    uint64_t sum = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        memset(text, 'a' + (int)(i % 26), SIZE);
        assert_int_equal(rig_send(rig_link(t.a, t.b), text), BG_OK);
        sum += (uint64_t)('a' + i % 26) * SIZE + 112;
    }
    assert_true(dist_link_queued(rig_link(t.a, t.b)) > (size_t)COUNT * SIZE);
    rig_until(&t.r, 20000, t.b->packets == COUNT);
    assert_int_equal(t.b->packet_bytes, (uint64_t)COUNT * (SIZE + 1));
    assert_int_equal(t.b->packet_sum, sum);
    assert_int_equal(dist_link_queued(rig_link(t.a, t.b)), 0);
    struct dist_link_stats s;
    dist_link_stats(rig_link(t.a, t.b), &s);
    assert_in_range(s.bytes_out, (uint64_t)COUNT * (SIZE + 5), (uint64_t)COUNT * (SIZE + 5) + 1000);
    two_fini(&t);
}

/* Stopping says goodbye: what was sent before arrives (D-17). */
static void what_was_queued_arrives_before_the_end(void **state)
{
    (void)state;
    static char text[500001];
    struct two t;
    two_init(&t, tls("gw", "ca", TLS_1_2), tls("gw2", "ca", TLS_1_2));
    rig_add_peer(t.a, t.b);
    rig_until(&t.r, 5000, t.a->ups == 1 && t.b->ups == 1);
    memset(text, 'x', sizeof(text) - 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rig_send(rig_link(t.a, t.b), text), BG_OK);
    cluster_stop(t.a->cluster, rig_stopped, t.a);
    rig_until(&t.r, 4000, t.a->stopped && t.b->downs == 1);
    assert_int_equal(t.b->packets, 10);
    assert_string_equal(t.b->last_reason, "closed by peer");
    two_fini(&t);
}

static const char *last_log;

/* Both sides' log lines of an attempt that must fail. */
static void assert_no_link(struct tls_context *ta, struct tls_context *tb, const char *why)
{
    struct two t;
    two_init(&t, ta, tb);
    log_catch(LOG_WARNING);
    rig_add_peer(t.a, t.b);
    rig_until(&t.r, 5000,
              t.b->metrics.value[METRIC_LINK_HANDSHAKES_REFUSED] >= 1 &&
                  t.a->metrics.value[METRIC_LINK_HANDSHAKES_REFUSED] >= 1);
    last_log = log_caught();
    assert_int_equal(t.a->ups + t.b->ups, 0);
    if (!strstr(last_log, why))
        fail_msg("want \"%s\" in\n%s", why, last_log);
    two_fini(&t);
}

static void strangers_are_refused_with_a_reason(void **state)
{
    (void)state;
    assert_no_link(tls("gw", "ca", TLS_1_2), tls("stranger", "ca", TLS_1_2), "unable to get local issuer certificate");
    assert_no_link(tls("stranger", "other_ca", TLS_1_2), tls("gw", "ca", TLS_1_2), "certificate of the peer: ");
    assert_no_link(tls("gw", "ca", TLS_1_2), tls("elsewhere", "ca", TLS_1_2), "IP address mismatch");
    assert_no_link(tls("gw", "ca", TLS_1_2), tls("expired", "ca", TLS_1_2), "expired");
    assert_no_link(tls("expired", "ca", TLS_1_2), tls("gw", "ca", TLS_1_2), "expired");
    assert_no_link(tls(NULL, "ca", TLS_1_2), tls("gw", "ca", TLS_1_2), "certificate required");
}

static void tls_and_plain_do_not_meet(void **state)
{
    (void)state;
    assert_no_link(NULL, tls("gw", "ca", TLS_1_2), "do both trust the other's certificate");
    assert_non_null(strstr(last_log, "wrong version number"));
    assert_no_link(tls("gw", "ca", TLS_1_2), NULL, "packet has an impossible length");
}

/* --- with Erlang -------------------------------------------------------------------------------------------------- */

/* An Erlang node over TLS with the certificate NAME.crt, trusting ca.crt. */
static struct erl erl_tls(const char *name, const char *certificate, const char *ca, const char *versions)
{
    char file[128], flags[512];
    snprintf(file, sizeof(file), "%s/dist.conf", certs.dir);
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    for (int side = 0; side < 2; side++) {
        fprintf(f, "%s{%s, [", side ? ", " : "[", side ? "client" : "server");
        if (certificate)
            fprintf(f, "{certfile, \"%s/%s.crt\"}, {keyfile, \"%s/%s.key\"}, ", certs.dir, certificate, certs.dir,
                    certificate);
        fprintf(f, "{cacertfile, \"%s/%s.crt\"}, {verify, verify_peer}, {versions, [%s]}%s]}", certs.dir, ca, versions,
                side ? "" : ", {fail_if_no_peer_cert, true}");
    }
    fprintf(f, "].\n");
    fclose(f);
    snprintf(flags, sizeof(flags), "-proto_dist inet_tls -ssl_dist_optfile %s", file);
    setenv("ERL_FLAGS", flags, 1);
    struct erl e = erl_start(name, "secret", NULL, NULL);
    unsetenv("ERL_FLAGS");
    return e;
}

static void erl_meets_us(const char *versions)
{
    struct rig r;
    rig_init(&r);
    struct tls_context *t = tls("node", "ca", TLS_1_2);
    struct rig_node *gw = start_node(&r, "gw@127.0.0.1", t, true);
    struct erl e = erl_tls("svc@127.0.0.1", "node", "ca", versions);
    /* It calls us. */
    assert_string_equal(erl_eval(&r, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    assert_string_equal(erl_eval(&r, &e, "{nodes(), nodes(hidden)}"), "{[],['gw@127.0.0.1']}");
    assert_string_equal(erl_eval(&r, &e, "{rex, 'gw@127.0.0.1'} ! hello"), "hello");
    rig_until(&r, 2000, gw->packets > 0);
    assert_string_equal(erl_eval(&r, &e, "erlang:disconnect_node('gw@127.0.0.1')"), "true");
    rig_until(&r, 2000, gw->downs == 1);
    assert_string_equal(gw->last_reason, "closed by peer");
    /* We call it. */
    assert_int_equal(cluster_add_peer(gw->cluster, SLICE_LIT("svc@127.0.0.1")), BG_OK);
    rig_until(&r, 5000, gw->ups == 2);
    for (int i = 0; i < 100 && strcmp(erl_eval(&r, &e, "nodes(hidden)"), "['gw@127.0.0.1']") != 0; i++)
        rig_run(&r, 10);
    assert_string_equal(erl_eval(&r, &e, "nodes(hidden)"), "['gw@127.0.0.1']");
    struct dist_link_stats s;
    dist_link_stats(cluster_link(gw->cluster, SLICE_LIT("svc@127.0.0.1")), &s);
    assert_true(s.outgoing);
    erl_stop(&e, SIGKILL);
    rig_until(&r, 2000, gw->downs == 2);
    rig_fini(&r);
    tls_context_free(t);
}

static void erl_and_we_connect_both_ways_over_tls_1_2(void **state) /* D-01 */
{
    (void)state;
    erl_meets_us("'tlsv1.2'");
}

static void erl_and_we_connect_both_ways_over_tls_1_3(void **state) /* D-01 */
{
    (void)state;
    erl_meets_us("'tlsv1.3'");
}

/* Its large messages to us, and ours back to it, as fast as they go. */
static void a_flood_of_large_messages_passes(void **state) /* D-09 */
{
    (void)state;
    struct rig r;
    rig_init(&r);
    struct tls_context *t = tls("node", "ca", TLS_1_2);
    struct rig_node *gw = start_node(&r, "gw@127.0.0.1", t, true);
    struct erl e = erl_tls("svc@127.0.0.1", "node", "ca", "'tlsv1.2', 'tlsv1.3'");
    assert_string_equal(erl_eval(&r, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    assert_string_equal(erl_eval(&r, &e,
                                 "begin B = binary:copy(<<7>>, 65536), [{x, 'gw@127.0.0.1'} ! B || "
                                 "_ <- lists:seq(1, 500)], ok end"),
                        "ok");
    rig_until(&r, 15000, gw->packets == 500);
    assert_true(gw->packet_bytes > 500u * 65536u);
    assert_int_equal(gw->downs, 0);
    erl_stop(&e, SIGKILL);
    rig_fini(&r);
    tls_context_free(t);
}

/* Four ticks without a word are the end, so for as long as this lasts both sides must tick and hear the other's. */
static void an_idle_link_ticks_both_ways(void **state) /* D-06 */
{
    (void)state;
    struct rig r;
    rig_init(&r);
    struct tls_context *t = tls("node", "ca", TLS_1_2);
    struct rig_node *gw = rig_new_node(&r);
    struct cluster_options o = rig_options(&r, gw, "gw@127.0.0.1", "secret");
    o.epmd = true;
    o.tls = t;
    o.tick_interval_s = 1;
    rig_start_with(gw, &o);
    rig_until(&r, 5000, cluster_registered(gw->cluster));
    struct erl e = erl_tls("svc@127.0.0.1", "node", "ca", "'tlsv1.3'");
    assert_string_equal(erl_eval(&r, &e, "net_kernel:set_net_ticktime(4, 0)"), "change_initiated");
    assert_string_equal(erl_eval(&r, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    rig_run(&r, 7000);
    assert_int_equal(gw->downs, 0);
    assert_string_equal(erl_eval(&r, &e, "nodes(hidden)"), "['gw@127.0.0.1']");
    /* A frozen one is given up. */
    kill(e.pid, SIGSTOP);
    rig_until(&r, 9000, gw->downs == 1);
    assert_string_equal(gw->last_reason, "net_tick_timeout");
    kill(e.pid, SIGCONT);
    erl_stop(&e, SIGKILL);
    rig_fini(&r);
    tls_context_free(t);
}

/* Whichever side sees what is wrong, there is no link, and a stranger's certificate never gets in. */
static void erl_with_wrong_certificates_does_not_get_in(void **state)
{
    (void)state;
    static const struct {
        const char *certificate, *ca;
    } cases[] = {{"stranger_node", "ca"}, {"old_node", "ca"}, {"node", "other_ca"}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct rig r;
        rig_init(&r);
        log_set_level(LOG_ERROR);
        struct tls_context *t = tls("node", "ca", TLS_1_2);
        struct rig_node *gw = start_node(&r, "gw@127.0.0.1", t, true);
        struct erl e = erl_tls("svc@127.0.0.1", cases[i].certificate, cases[i].ca, "'tlsv1.2', 'tlsv1.3'");
        assert_string_equal(erl_eval(&r, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "false");
        rig_until(&r, 5000, gw->metrics.value[METRIC_LINK_HANDSHAKES_REFUSED] >= 1); /* the erl may know first */
        unsigned refused = (unsigned)gw->metrics.value[METRIC_LINK_HANDSHAKES_REFUSED];
        assert_int_equal(cluster_add_peer(gw->cluster, SLICE_LIT("svc@127.0.0.1")), BG_OK);
        rig_until(&r, 5000, gw->metrics.value[METRIC_LINK_HANDSHAKES_REFUSED] >= refused + 1);
        assert_int_equal(gw->ups, 0);
        erl_stop(&e, SIGKILL);
        rig_fini(&r);
        tls_context_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_are_up_and_carry_packets_of_every_size),
        cmocka_unit_test(a_long_queue_arrives_whole_and_in_order),
        cmocka_unit_test(what_was_queued_arrives_before_the_end),
        cmocka_unit_test(tls_and_plain_do_not_meet), /* reads lines of which the log has only so many */
        cmocka_unit_test(strangers_are_refused_with_a_reason),
        cmocka_unit_test(erl_and_we_connect_both_ways_over_tls_1_2),
        cmocka_unit_test(erl_and_we_connect_both_ways_over_tls_1_3),
        cmocka_unit_test(a_flood_of_large_messages_passes),
        cmocka_unit_test(an_idle_link_ticks_both_ways),
        cmocka_unit_test(erl_with_wrong_certificates_does_not_get_in),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
