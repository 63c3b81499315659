/* test_cluster.c: clusters against each other and against hostile sockets, on loopback, without epmd. */
#include "cluster_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>

static void two_nodes_connect_and_exchange_packets(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    struct rig_node *a = rig_start(&r, "a@127.0.0.1", "secret"), *b = rig_start(&r, "b@127.0.0.1", "secret");
    rig_add_peer(a, b);
    rig_until(&r, 2000, rig_link(a, b) && rig_link(b, a));
    assert_int_equal(rig_send(rig_link(a, b), "from a"), BG_OK);
    assert_int_equal(rig_send(rig_link(b, a), "from b"), BG_OK);
    rig_until(&r, 2000, a->packets == 1 && b->packets == 1);
    assert_string_equal(b->last_packet, "pfrom a");
    assert_string_equal(a->last_packet, "pfrom b");
    struct dist_link *l = rig_link(a, b);
    assert_slice_is(dist_link_node(l), "b@127.0.0.1");
    assert_int_equal(dist_link_flags(l), DIST_FLAGS_DEFAULT);
    assert_int_equal(dist_link_creation(l), b->id.creation);
    assert_ptr_equal(cluster_link_by_handle(a->cluster, dist_link_handle(l)), l);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_connect_and_exchange_packets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
