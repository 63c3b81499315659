/* test_config_db.c: lookups, versions, operators' words, offers of sources (E-030..E-036, S-070..S-077). */
#include "unit.h"

#include "config_db.h"
#include "term_text.h"

struct fixture {
    struct config_db *db;
    struct metrics metrics;
    struct buf b;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    buf_init(&f.b, 0);
    f.db = config_db_new(&f.metrics, 100000);
    *state = &f;
    return f.db ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    config_db_free(f->db);
    buf_fini(&f->b);
    assert_int_equal(f->metrics.value[METRIC_CONFIGS], 0);
    return 0;
}

/* version as text, "" for nil; a trailing ! makes the service offer it disabled. */
static struct fun_config *make(struct fixture *f, const char *service, const char *type, const char *version)
{
    static struct fun_config_reasons why;
    char s[64], t[64], v[64];
    size_t len = strlen(version);
    bool disabled = len > 0 && version[len - 1] == '!';
    len -= disabled;
    snprintf(s, sizeof(s), service[0] == ':' ? "%s" : "\"%s\"", service);
    snprintf(t, sizeof(t), "\"%s\"", type);
    snprintf(v, sizeof(v), len ? "\"%.*s\"" : "nil", (int)len, version);
    struct fun_config *fc = fun_config_from_term(config_term(&f->b, "service", s, "request_type", t, "version", v,
                                                             "disabled", disabled ? "true" : "false", NULL),
                                                 SLICE_NONE, &why);
    assert_non_null(fc);
    return fc;
}

static void put_from(struct fixture *f, const char *source, const char *service, const char *type, const char *version)
{
    struct fun_config *fc = make(f, service, type, version);
    assert_int_equal(config_db_put(f->db, fc, slice_str(source)), BG_OK);
    fun_config_unref(fc);
}

static void put(struct fixture *f, const char *service, const char *type, const char *version)
{
    put_from(f, "user", service, type, version);
}

/* want: the version found, "nil", "none" or "disabled". version NULL asks for the latest. */
static void expect(struct fixture *f, const char *service, const char *type, const char *version, const char *want)
{
    struct fun_config *fc = NULL;
    enum config_lookup got =
        config_db_find(f->db, slice_str(service), slice_str(type), version ? slice_str(version) : SLICE_NONE, &fc);
    if (got == CONFIG_NOT_FOUND)
        assert_string_equal("none", want);
    else if (got == CONFIG_DISABLED)
        assert_string_equal("disabled", want);
    else
        assert_slice_is(fc->version.ptr ? fc->version : SLICE_LIT("nil"), want);
}

/* E-030, E-034, E-036 want. */
static void exact_version_and_service_by_text(void **state)
{
    struct fixture *f = *state;
    put(f, "user", "get", "1.0.0");
    put(f, ":chat", "get", "");
    expect(f, "user", "get", "1.0.0", "1.0.0");
    expect(f, "user", "get", "1.0.1", "none");
    expect(f, "user", "get", "", "none");
    expect(f, "chat", "get", NULL, "nil");
    expect(f, "chat", "get", "", "none");
    expect(f, "user", "", NULL, "none");
    expect(f, "userget", "", NULL, "none");
    expect(f, "use", "rget", NULL, "none");
}

/* E-031, E-032 want, F-046. */
static void lookup_without_version_finds_the_greatest(void **state)
{
    struct fixture *f = *state;
    put(f, "user", "get", "");
    expect(f, "user", "get", NULL, "nil");
    static const char *const order[] = {"abc", "1.0.0-rc.1", "1.0.0", "9.0.0", "10.0.0"};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        put(f, "user", "get", order[i]);
        expect(f, "user", "get", NULL, order[i]);
        expect(f, "user", "get", "0.0.0", order[i]);
    }
    assert_int_equal(config_db_count(f->db), 6);
    config_db_delete(f->db, SLICE_LIT("user"), SLICE_LIT("get"), SLICE_LIT("10.0.0"));
    expect(f, "user", "get", NULL, "9.0.0");
}

/* Equal precedence: whatever order they come in, the same one is chosen. */
static void equal_precedence_is_decided_by_the_text(void **state)
{
    struct fixture *f = *state;
    put(f, "user", "a", "1.0.0+a");
    put(f, "user", "a", "1.0.0+b");
    put(f, "user", "b", "1.0.0+b");
    put(f, "user", "b", "1.0.0+a");
    put(f, "user", "b", "1.0.0");
    expect(f, "user", "a", NULL, "1.0.0+b");
    expect(f, "user", "b", NULL, "1.0.0+b");
}

/* E-031 want. */
static void all_versions_disabled_is_told(void **state)
{
    struct fixture *f = *state;
    put(f, "user", "get", "1.0.0!");
    expect(f, "user", "get", NULL, "disabled");
    expect(f, "user", "get", "1.0.0", "disabled");
    expect(f, "user", "get", "2.0.0", "none");
    put(f, "user", "get", "0.9.0");
    expect(f, "user", "get", NULL, "0.9.0");
}

/* S-074 want. */
static void operators_word_survives_pulls_and_new_versions(void **state)
{
    struct fixture *f = *state;
    struct slice s = SLICE_LIT("user"), t = SLICE_LIT("get");
    put(f, "user", "get", "1.0.0");
    put(f, "user", "get", "2.0.0");
    assert_int_equal(config_db_set_disabled(f->db, s, t, SLICE_LIT("2.0.0"), true), BG_OK);
    expect(f, "user", "get", NULL, "1.0.0");
    put(f, "user", "get", "2.0.0");
    expect(f, "user", "get", "2.0.0", "disabled");
    assert_int_equal(config_db_set_disabled(f->db, s, t, SLICE_NONE, true), BG_OK);
    put(f, "user", "get", "3.0.0");
    expect(f, "user", "get", NULL, "disabled");
    /* one version may be let through while the function stays closed */
    assert_int_equal(config_db_set_disabled(f->db, s, t, SLICE_LIT("3.0.0"), false), BG_OK);
    put(f, "user", "get", "3.0.0");
    expect(f, "user", "get", NULL, "3.0.0");
    assert_int_equal(config_db_set_disabled(f->db, s, t, SLICE_NONE, false), BG_OK);
    expect(f, "user", "get", "2.0.0", "2.0.0");
    assert_int_equal(config_db_set_disabled(f->db, s, t, SLICE_LIT("9.0.0"), true), BG_EGONE);
    assert_int_equal(config_db_set_disabled(f->db, s, SLICE_LIT("x"), SLICE_NONE, true), BG_EGONE);
}

/* ... also over a function that goes and comes back. */
static void operators_word_outlives_the_function(void **state)
{
    struct fixture *f = *state;
    put(f, "user", "get", "1.0.0");
    config_db_set_disabled(f->db, SLICE_LIT("user"), SLICE_LIT("get"), SLICE_LIT("1.0.0"), true);
    config_db_mark(f->db, SLICE_LIT("user"));
    assert_int_equal(config_db_sweep(f->db, SLICE_LIT("user")), 1);
    expect(f, "user", "get", NULL, "none");
    put(f, "user", "get", "1.0.0");
    expect(f, "user", "get", NULL, "disabled");
    assert_int_equal(config_db_delete(f->db, SLICE_LIT("user"), SLICE_LIT("get"), SLICE_NONE), BG_OK);
    put(f, "user", "get", "1.0.0");
    expect(f, "user", "get", NULL, "1.0.0");
}

/* Enabling what the service itself disabled holds; enabling what it did not is no word at all. */
static void enabling_is_a_word_only_against_the_service(void **state)
{
    struct fixture *f = *state;
    struct slice s = SLICE_LIT("user"), t = SLICE_LIT("get"), v = SLICE_LIT("1.0.0");
    put(f, "user", "get", "1.0.0!");
    config_db_set_disabled(f->db, s, t, v, false);
    put(f, "user", "get", "1.0.0!");
    expect(f, "user", "get", NULL, "1.0.0");
    put(f, "user", "put", "1.0.0");
    config_db_set_disabled(f->db, s, SLICE_LIT("put"), v, true);
    config_db_set_disabled(f->db, s, SLICE_LIT("put"), v, false);
    put(f, "user", "put", "1.0.0!");
    expect(f, "user", "put", NULL, "disabled");
}

/* S-029, S-058 wants. */
static void what_a_source_no_longer_offers_disappears(void **state)
{
    struct fixture *f = *state;
    put_from(f, "user", "user", "a", "");
    put_from(f, "user", "user", "b", "");
    put_from(f, "user", "user", "c", "");
    put_from(f, "chat", "chat", "a", "");
    assert_int_equal(config_db_source_count(f->db, SLICE_LIT("user")), 3);
    config_db_mark(f->db, SLICE_LIT("user"));
    put_from(f, "user", "user", "a", "");
    put_from(f, "user", "user", "d", "");
    config_db_keep(f->db, SLICE_LIT("user"), SLICE_LIT("user"), SLICE_LIT("b"), SLICE_NONE);
    config_db_keep(f->db, SLICE_LIT("user"), SLICE_LIT("chat"), SLICE_LIT("a"), SLICE_NONE);
    assert_int_equal(config_db_sweep(f->db, SLICE_LIT("user")), 1);
    expect(f, "user", "a", NULL, "nil");
    expect(f, "user", "b", NULL, "nil");
    expect(f, "user", "c", NULL, "none");
    expect(f, "user", "d", NULL, "nil");
    expect(f, "chat", "a", NULL, "nil");
    assert_int_equal(config_db_sweep(f->db, SLICE_LIT("user")), 0);
    config_db_mark(f->db, SLICE_LIT("user"));
    assert_int_equal(config_db_sweep(f->db, SLICE_LIT("user")), 3);
    assert_int_equal(config_db_source_count(f->db, SLICE_LIT("user")), 0);
    assert_int_equal(config_db_sweep(f->db, SLICE_LIT("nobody")), 0);
}

/* The last who offers a function has it. */
static void entry_moves_to_the_source_that_offered_last(void **state)
{
    struct fixture *f = *state;
    put_from(f, "pull", "user", "a", "");
    put_from(f, "push", "user", "a", "");
    assert_int_equal(config_db_source_count(f->db, SLICE_LIT("pull")), 0);
    config_db_mark(f->db, SLICE_LIT("pull"));
    assert_int_equal(config_db_sweep(f->db, SLICE_LIT("pull")), 0);
    expect(f, "user", "a", NULL, "nil");
}

static void replaced_config_lives_while_somebody_holds_it(void **state)
{
    struct fixture *f = *state;
    struct fun_config *held = make(f, "user", "get", "1.0.0");
    assert_int_equal(config_db_put(f->db, held, SLICE_LIT("user")), BG_OK);
    assert_int_equal(held->refs, 2);
    put(f, "user", "get", "1.0.0");
    assert_int_equal(held->refs, 1);
    assert_slice_is(held->request_type, "get");
    assert_int_equal(config_db_count(f->db), 1);
    fun_config_unref(held);
}

static void bounds_hold(void **state)
{
    struct fixture *f = *state;
    struct config_db *small = config_db_new(&f->metrics, 2);
    struct fun_config *fc[3] = {make(f, "s", "a", ""), make(f, "s", "b", ""), make(f, "s", "c", "")};
    assert_int_equal(config_db_put(small, fc[0], SLICE_LIT("s")), BG_OK);
    assert_int_equal(config_db_put(small, fc[1], SLICE_LIT("s")), BG_OK);
    assert_int_equal(config_db_put(small, fc[2], SLICE_LIT("s")), BG_ELIMIT);
    assert_int_equal(config_db_put(small, fc[1], SLICE_LIT("s")), BG_OK);
    struct fun_config *found;
    assert_int_equal(config_db_find(small, SLICE_LIT("s"), SLICE_LIT("c"), SLICE_NONE, &found), CONFIG_NOT_FOUND);
    config_db_free(small);
    for (int i = 0; i < 3; i++)
        fun_config_unref(fc[i]);
    for (int i = 0; i < CONFIG_DB_VERSIONS; i++) {
        char version[32];
        snprintf(version, sizeof(version), "1.0.%d", i);
        put(f, "user", "get", version);
    }
    struct fun_config *more = make(f, "user", "get", "2.0.0");
    assert_int_equal(config_db_put(f->db, more, SLICE_LIT("user")), BG_ELIMIT);
    fun_config_unref(more);
    char longname[600];
    memset(longname, 'x', sizeof(longname));
    assert_int_equal(config_db_find(f->db, slice_make(longname, 600), SLICE_LIT("get"), SLICE_NONE, &found),
                     CONFIG_NOT_FOUND);
    assert_int_equal(config_db_find(f->db, SLICE_LIT("user"), SLICE_LIT("get"), slice_make(longname, 600), &found),
                     CONFIG_NOT_FOUND);
}

/* Many functions: all are found, all are walked, and a look-up takes the same time among many as among few. */
static void thousands_of_functions_are_found(void **state)
{
    struct fixture *f = *state;
    enum { N = 5000 };
    for (int i = 0; i < N; i++) {
        char type[32];
        snprintf(type, sizeof(type), "type%d", i);
        put(f, "user", type, i % 2 ? "1.0.0" : "");
    }
    assert_int_equal(f->metrics.value[METRIC_CONFIGS], N);
    for (int i = 0; i < N; i++) {
        char type[32];
        snprintf(type, sizeof(type), "type%d", i);
        expect(f, "user", type, NULL, i % 2 ? "1.0.0" : "nil");
    }
    size_t pos = 0, seen = 0;
    while (config_db_next(f->db, &pos))
        seen++;
    assert_int_equal(seen, N);
    config_db_clear(f->db);
    assert_int_equal(config_db_count(f->db), 0);
    expect(f, "user", "type1", NULL, "none");
}

/* A random walk against a plain model: {type, version} -> offered by which source. */
static void random_walk_agrees_with_a_plain_model(void **state)
{
    struct fixture *f = *state;
    enum { TYPES = 4, VERSIONS = 3, SOURCES = 2 };
    static const char *const types[] = {"a", "b", "c", "d"}, *const versions[] = {"", "1.0.0", "2.0.0"},
                             *const sources[] = {"x", "y"};
    int owner[TYPES][VERSIONS], fresh[TYPES][VERSIONS];
    memset(owner, -1, sizeof(owner));
    memset(fresh, 0, sizeof(fresh));
    srand(7);
    for (int step = 0; step < 4000; step++) {
        int t = rand() % TYPES, v = rand() % VERSIONS, s = rand() % SOURCES;
        switch (rand() % 5) {
        case 0:
        case 1:
            put_from(f, sources[s], "svc", types[t], versions[v]);
            owner[t][v] = s;
            fresh[t][v] = 1;
            break;
        case 2:
            if (v > 0) {
                int rc = config_db_delete(f->db, SLICE_LIT("svc"), slice_str(types[t]), slice_str(versions[v]));
                assert_int_equal(rc, owner[t][v] < 0 ? BG_EGONE : BG_OK);
                owner[t][v] = -1;
            }
            break;
        case 3:
            config_db_mark(f->db, slice_str(sources[s]));
            for (int i = 0; i < TYPES * VERSIONS; i++)
                if (owner[i / VERSIONS][i % VERSIONS] == s)
                    fresh[i / VERSIONS][i % VERSIONS] = 0;
            break;
        default:
            config_db_sweep(f->db, slice_str(sources[s]));
            for (int i = 0; i < TYPES * VERSIONS; i++)
                if (owner[i / VERSIONS][i % VERSIONS] == s && !fresh[i / VERSIONS][i % VERSIONS])
                    owner[i / VERSIONS][i % VERSIONS] = -1;
        }
        const char *best = "none";
        for (int i = 0; i < VERSIONS; i++)
            if (owner[t][i] >= 0)
                best = i ? versions[i] : "nil";
        expect(f, "svc", types[t], NULL, best);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exact_version_and_service_by_text),
        TEST(lookup_without_version_finds_the_greatest),
        TEST(equal_precedence_is_decided_by_the_text),
        TEST(all_versions_disabled_is_told),
        TEST(operators_word_survives_pulls_and_new_versions),
        TEST(operators_word_outlives_the_function),
        TEST(enabling_is_a_word_only_against_the_service),
        TEST(what_a_source_no_longer_offers_disappears),
        TEST(entry_moves_to_the_source_that_offered_last),
        TEST(replaced_config_lives_while_somebody_holds_it),
        TEST(bounds_hold),
        TEST(thousands_of_functions_are_found),
        TEST(random_walk_agrees_with_a_plain_model),
    };
    return cmocka_run_group_tests_name("config_db", tests, NULL, NULL);
}
