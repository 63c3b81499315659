/* test_diag_cluster.c: whose services a cluster view shows (O-085), on links that are only names. */
#include "unit.h"

#include "../../c_src/server/diag.h"

enum { NODES = 6, SERVICES = 5, CONFIGS = 60 };

struct dist_link {
    struct slice name;
};

static struct dist_link links[NODES];

static struct slice link_name(const struct dist_link *l)
{
    return l->name;
}

static struct dist_link *next_link(const struct cluster *c, uint32_t *pos)
{
    (void)c;
    return *pos < NODES ? &links[(*pos)++] : NULL;
}

static void put_no_nodes(const struct server *s, struct buf *b)
{
    (void)s;
    term_put_nil(b);
}

#define dist_link_node link_name
#define cluster_next_link next_link
#define diag_put_nodes put_no_nodes
#include "../../c_src/server/diag_cluster.c"

#include "diag_rig.h"

static const char *const names[NODES + 1] = {"a@h", "b@h", "c@h", "aa@h", "svc@localhost", "z@h", "not.connected@h"};

/* names[service][node]: whether some config of the service names the node. */
static bool named[SERVICES][NODES + 1];

static unsigned chance(unsigned n)
{
    static uint32_t x = 12345;
    x = x * 1664525u + 1013904223u;
    return (x >> 16) % n;
}

/* Nodes in any number and order, also twice the same; and perhaps one that has delivered it. */
static void put_config(unsigned service, unsigned i)
{
    static struct fun_config_reasons why;
    struct buf source, b;
    buf_init(&source, 0);
    buf_init(&b, 0);
    buf_printf(&source,
               "%%{__struct__: PhoenixGenApi.Structs.FunConfig, service: :s%u, request_type: \"t%u\", "
               "mfa: {MyApp, :get, []}, nodes: [",
               service, i);
    for (unsigned n = 1 + chance(3), k = 0; k < n; k++) {
        unsigned node = chance(NODES + 1);
        named[service][node] = true;
        buf_printf(&source, "%s:\"%s\"", k ? ", " : "", names[node]);
    }
    buf_puts(&source, "]}");
    buf_putc(&source, '\0');
    struct fun_config *fc = fun_config_from_term(term_of(&b, (const char *)source.data), SLICE_NONE, &why);
    assert_non_null(fc);
    if (chance(3) == 0) {
        unsigned node = chance(NODES + 1);
        named[service][node] = true;
        assert_int_equal(fun_config_set_origin(fc, slice_str(names[node])), BG_OK);
    }
    assert_int_equal(config_db_put(server.db, fc, SLICE_LIT("source")), BG_OK);
    fun_config_unref(fc);
    buf_fini(&source);
    buf_fini(&b);
}

static struct slice services_of(const struct cluster_view *v, const char *node)
{
    struct slice all, one;
    buf_reset(&out);
    put_view(&server, v, &out);
    assert_true(buf_ok(&out));
    all = at(buf_slice(&out), "phoenix_gen_api_services");
    assert_true(term_map_get(all, node, &one));
    return one;
}

static int start(void **state)
{
    if (rig_start(state) != 0)
        return -1;
    for (unsigned i = 0; i < NODES; i++)
        links[i].name = slice_str(names[i]);
    server.cluster = (struct cluster *)&links;
    memset(named, 0, sizeof(named));
    return 0;
}

static int stop(void **state)
{
    server.cluster = NULL;
    return rig_stop(state);
}

static void a_node_has_the_services_whose_configs_name_it_or_came_from_it(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        config_db_free(server.db);
        server.db = config_db_new(&server.metrics, 20000);
        memset(named, 0, sizeof(named));
        for (unsigned i = 0; i < CONFIGS / 20 * (1 + chance(4)); i++)
            put_config(chance(SERVICES), i);
        for (unsigned n = 0; n < NODES; n++) {
            char want[128] = "[";
            for (unsigned s = 0; s < SERVICES; s++)
                if (named[s][n])
                    snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s:s%u", want[1] ? ", " : "", s);
            strcat(want, "]");
            assert_string_equal(shown(services_of(NULL, names[n])), want);
        }
    }
}

static void what_a_node_tells_itself_goes_before(void **state)
{
    (void)state;
    struct cluster_view v = {.server = &server, .nodes = 2};
    struct buf *told = &v.node[1].answer[ASK_SERVICES].value;
    rig_put(":s0", "\"t\"", "nodes: [:a@h, :b@h]");
    v.node[0].name = SLICE_LIT("a@h");
    v.node[1].name = SLICE_LIT("b@h");
    buf_init(told, 0);
    term_of(told, "[:its_own]");
    assert_string_equal(shown(services_of(&v, "a@h")), "[:s0]");
    assert_string_equal(shown(services_of(&v, "b@h")), "[:its_own]");
    assert_string_equal(shown(services_of(&v, "c@h")), "[]");
    buf_fini(told);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_has_the_services_whose_configs_name_it_or_came_from_it),
        TEST(what_a_node_tells_itself_goes_before),
    };
    return cmocka_run_group_tests_name("diag_cluster", tests, NULL, NULL);
}
