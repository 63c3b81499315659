/* test_cluster_erl.c: a cluster and real Erlang nodes: who connects to whom, and what each believes. Debian's erl. */
#define _GNU_SOURCE
#include "erl_rig.h"

static unsigned epmd_test_port;
static pid_t epmd_pid;

static int start_epmd(void **state)
{
    (void)state;
    char text[16];
    epmd_test_port = free_port();
    snprintf(text, sizeof(text), "%u", epmd_test_port);
    setenv("ERL_EPMD_PORT", text, 1);
    epmd_pid = epmd_start(epmd_test_port);
    return 0;
}

static int stop_epmd(void **state)
{
    (void)state;
    end_process(epmd_pid, SIGTERM);
    return 0;
}

static struct rig_node *start_gateway(struct rig *r, const char *name)
{
    struct rig_node *n = rig_new_node(r);
    struct cluster_options o = rig_options(r, n, name, "secret");
    o.epmd = true;
    rig_start_with(n, &o);
    rig_until(r, 5000, cluster_registered(n->cluster));
    return n;
}

static void erl_connects_and_sees_a_hidden_node(void **state) /* D-01 */
{
    (void)state;
    struct rig r;
    rig_init(&r);
    struct rig_node *gw = start_gateway(&r, "gw@127.0.0.1");
    struct erl e = erl_start("svc@127.0.0.1", "secret", NULL, NULL);
    assert_string_equal(erl_eval(&r, &e, "net_kernel:connect_node('gw@127.0.0.1')"), "true");
    assert_string_equal(erl_eval(&r, &e, "{nodes(), nodes(hidden)}"), "{[],['gw@127.0.0.1']}");
    assert_non_null(cluster_link(gw->cluster, SLICE_LIT("svc@127.0.0.1")));
    assert_string_equal(erl_eval(&r, &e, "{rex, 'gw@127.0.0.1'} ! hello"), "hello");
    rig_until(&r, 2000, gw->packets > 0);
    assert_string_equal(erl_eval(&r, &e, "erlang:disconnect_node('gw@127.0.0.1')"), "true");
    rig_until(&r, 2000, gw->downs == 1);
    assert_string_equal(gw->last_reason, "closed by peer");
    erl_stop(&e, SIGKILL);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(erl_connects_and_sees_a_hidden_node),
    };
    return cmocka_run_group_tests(tests, start_epmd, stop_epmd);
}
