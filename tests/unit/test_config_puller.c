/* test_config_puller.c: pulling from fake nodes, with a clock of our own (S-050..S-061). */
#define _GNU_SOURCE /* pipe2 */
#include "unit.h"

#include "caught_log.h"
#include "config_puller.h"
#include "term_text.h"

enum { CALLS_MAX = 8192 };

/* A call that the puller made. */
struct fake_call {
    char node[64];
    char what[300]; /* module:function */
    struct buf args;
    uint64_t timeout_us;
    call_done_fn *done;
    void *owner;
    uint64_t tag;
    bool open;
};

struct fixture {
    struct config_puller *p;
    struct config_db *db;
    struct config_failed *failed;
    struct metrics metrics;
    struct timers timers;
    struct fake_call calls[CALLS_MAX];
    unsigned count;    /* calls begun in all */
    unsigned answered; /* calls that the test has dealt with */
    struct buf out;
    struct fake_call next;
    const char *up; /* names of nodes that are up, blank separated */
    unsigned busy;  /* so many begins will be refused */
    struct buf b;
    struct err e;
};

static bool fake_node_up(void *ctx, struct slice node)
{
    struct fixture *f = ctx;
    char name[64];
    return strstr(f->up, slice_cstr(node, name, sizeof(name))) != NULL;
}

static struct buf *fake_begin(void *ctx, struct slice node, struct slice module, struct slice function, uint32_t nargs,
                              enum call_outcome *why)
{
    struct fixture *f = ctx;
    (void)nargs;
    *why = f->busy ? CALL_BUSY : CALL_NODEDOWN;
    if (f->busy)
        f->busy--;
    else if (fake_node_up(ctx, node)) {
        slice_cstr(node, f->next.node, sizeof(f->next.node));
        snprintf(f->next.what, sizeof(f->next.what), "%.*s:%.*s", (int)module.len, module.ptr, (int)function.len,
                 function.ptr);
        buf_reset(&f->out);
        return &f->out;
    }
    return NULL;
}

static handle_t fake_commit(void *ctx, uint64_t timeout_us, call_done_fn *done, void *owner, uint64_t tag)
{
    struct fixture *f = ctx;
    assert_true(f->count < CALLS_MAX);
    struct fake_call *c = &f->calls[f->count++];
    *c = f->next;
    c->timeout_us = timeout_us;
    c->done = done;
    c->owner = owner;
    c->tag = tag;
    c->open = true;
    buf_init(&c->args, 0);
    buf_add_slice(&c->args, buf_slice(&f->out));
    return f->count;
}

static void fake_abort(void *ctx)
{
    (void)ctx;
}

static void fake_cancel(void *ctx, handle_t call)
{
    struct fixture *f = ctx;
    assert_true(call >= 1 && call <= f->count);
    f->calls[call - 1].open = false;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    timers_init(&f->timers, 1);
    buf_init(&f->out, 0);
    buf_init(&f->b, 0);
    f->up = "";
    f->db = config_db_new(&f->metrics, 100000);
    f->failed = config_failed_new(100);
    struct config_puller_options o = {
        .call = {.ctx = f,
                 .node_up = fake_node_up,
                 .begin = fake_begin,
                 .commit = fake_commit,
                 .abort = fake_abort,
                 .cancel = fake_cancel},
        .timers = &f->timers,
        .metrics = &f->metrics,
        .db = f->db,
        .failed = f->failed,
    };
    f->p = config_puller_new(&o);
    *state = f;
    return f->p ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    config_puller_free(f->p);
    for (unsigned i = 0; i < f->count; i++) {
        assert_false(f->calls[i].open); /* answered, or cancelled when the puller went */
        buf_fini(&f->calls[i].args);
    }
    assert_int_equal(timers_next(&f->timers), UINT64_MAX);
    config_db_free(f->db);
    config_failed_free(f->failed);
    timers_fini(&f->timers);
    buf_fini(&f->out);
    buf_fini(&f->b);
    free(f);
    return 0;
}

static void add_service(struct fixture *f, const char *name, bool versioned, const char *node1, const char *node2)
{
    struct slice nodes[2] = {slice_str(node1), node2 ? slice_str(node2) : SLICE_NONE};
    struct service_config s = {
        .service = slice_str(name),
        .nodes = nodes,
        .nodes_count = node2 ? 2 : 1,
        .module = SLICE_LIT("Elixir.Sup"),
        .function = SLICE_LIT("get_config"),
    };
    if (versioned) {
        s.version_module = SLICE_LIT("Elixir.Sup");
        s.version_function = SLICE_LIT("version");
    }
    assert_int_equal(config_puller_add(f->p, &s, &f->e), BG_OK);
}

static void run_ms(struct fixture *f, uint64_t ms)
{
    timers_run(&f->timers, f->timers.now_us + ms * 1000, 0);
}

/* The oldest call not dealt with must be this one. */
static struct fake_call *expect_call(struct fixture *f, const char *node, const char *what)
{
    while (f->answered < f->count && !f->calls[f->answered].open)
        f->answered++;
    if (f->answered == f->count)
        fail_msg("no call, %s on %s expected", what, node);
    struct fake_call *c = &f->calls[f->answered++];
    assert_string_equal(c->node, node);
    assert_string_equal(c->what, what);
    c->open = false;
    return c;
}

static void expect_no_call(struct fixture *f)
{
    while (f->answered < f->count && !f->calls[f->answered].open)
        f->answered++;
    assert_int_equal(f->answered, f->count);
}

static void end_call(struct fixture *f, const char *node, const char *what, enum call_outcome outcome, const char *text)
{
    struct fake_call *c = expect_call(f, node, what);
    c->done(c->owner, c->tag, outcome, text ? term_of(&f->b, text) : SLICE_LIT(""));
}

static void answer(struct fixture *f, const char *node, const char *what, const char *text)
{
    end_call(f, node, what, CALL_RETURN, text);
}

/* {ok, [FunConfig]} of functions "type/Module" separated by blanks; a type that begins with ! is invalid. */
static const char *offer(const char *functions)
{
    static char text[65536];
    char copy[4096];
    size_t n = (size_t)snprintf(text, sizeof(text), "{:ok, [");
    snprintf(copy, sizeof(copy), "%s", functions);
    for (char *save = NULL, *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        char *module = strchr(w, '/');
        *module++ = '\0';
        n += (size_t)snprintf(
            text + n, sizeof(text) - n,
            "%%{__struct__: PhoenixGenApi.Structs.FunConfig, request_type: \"%s\", service: \"x\", nodes: "
            "[:a@h], mfa: {%s, :f, []}, timeout: %s}, ",
            w[0] == '!' ? w + 1 : w, module, w[0] == '!' ? "1" : "5000");
    }
    snprintf(text + n, sizeof(text) - n, "]}");
    return text;
}

static bool known(struct fixture *f, const char *service, const char *type)
{
    struct fun_config *fc;
    return config_db_find(f->db, slice_str(service), slice_str(type), SLICE_NONE, &fc) == CONFIG_FOUND;
}

static struct config_puller_status status(struct fixture *f)
{
    struct config_puller_status s;
    size_t pos = 0;
    assert_true(config_puller_next(f->p, &pos, &s));
    return s;
}

#define VERSION "Elixir.Sup:version"
#define CONFIGS "Elixir.Sup:get_config"
#define LOADED "Elixir.Code:ensure_loaded?"

/* A whole good round from node a@h. */
static void pull_good(struct fixture *f, const char *functions)
{
    answer(f, "a@h", CONFIGS, offer(functions));
    while (f->answered < f->count)
        answer(f, "a@h", LOADED, "true");
    run_ms(f, 0);
}

/* S-055, S-057, S-058, S-060. */
static void pull_begins_when_a_link_comes_up(void **state)
{
    struct fixture *f = *state;
    uint32_t loaded, total;
    add_service(f, "user", true, "a@h", NULL);
    expect_no_call(f);
    assert_false(config_puller_ready(f->p, &loaded, &total));
    f->up = "a@h";
    config_puller_link_up(f->p, SLICE_LIT("other@h"));
    expect_no_call(f);
    config_puller_link_up(f->p, SLICE_LIT("a@h"));
    answer(f, "a@h", VERSION, "\"1.0.0\"");
    struct fake_call *c = &f->calls[f->answered];
    assert_int_equal(c->timeout_us, 5000000);
    assert_int_equal(c->args.len, 0);
    answer(f, "a@h", CONFIGS, offer("get/MyApp.Users put/MyApp.Users del/MyApp.Other"));
    assert_int_equal(f->count - f->answered, 2); /* one check per distinct module */
    struct term_reader r = term_reader(buf_slice(&f->calls[f->answered].args));
    assert_true(term_read_is_atom(&r, "Elixir.MyApp.Users"));
    answer(f, "a@h", LOADED, "true");
    assert_false(known(f, "user", "get"));
    answer(f, "a@h", LOADED, "true");
    assert_true(known(f, "user", "get") && known(f, "user", "put") && known(f, "user", "del"));
    assert_true(config_puller_ready(f->p, &loaded, &total));
    assert_int_equal(loaded, 1);
    assert_int_equal(total, 1);
    struct config_puller_status s = status(f);
    assert_int_equal(s.stored, 3);
    assert_slice_is(s.node, "a@h");
    struct term_reader v = term_reader(s.version);
    struct slice version;
    assert_int_equal(term_read_binary(&v, &version), BG_OK);
    assert_slice_is(version, "1.0.0");
    assert_int_equal(s.next_pull_us - f->timers.now_us, 30000000);
}

/* S-050: with a node up already at once, else after a second, then given up for this round. */
static void first_pull_without_any_link(void **state)
{
    struct fixture *f = *state;
    uint32_t loaded, total;
    f->up = "a@h";
    add_service(f, "user", false, "a@h", NULL);
    run_ms(f, 0);
    pull_good(f, "get/M");
    assert_true(known(f, "user", "get"));
    add_service(f, "chat", false, "b@h", NULL);
    run_ms(f, 999);
    assert_false(config_puller_ready(f->p, &loaded, &total));
    run_ms(f, 1);
    expect_no_call(f);
    assert_true(config_puller_ready(f->p, &loaded, &total));
    assert_int_equal(loaded, 1);
    assert_int_equal(total, 2);
}

/* S-055 step 1: the same term means nothing to do; S-064: any term will do. */
static void same_version_is_skipped(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", true, "a@h", NULL);
    run_ms(f, 0);
    answer(f, "a@h", VERSION, "{:ok, \"1.0.0\"}");
    pull_good(f, "get/M");
    run_ms(f, 30000);
    answer(f, "a@h", VERSION, "{:ok, \"1.0.0\"}");
    expect_no_call(f);
    run_ms(f, 30000);
    answer(f, "a@h", VERSION, "\"1.0.0\""); /* another term */
    pull_good(f, "get/M put/M");
    assert_true(known(f, "user", "put"));
    /* force forgets it (S-053) */
    config_puller_pull(f->p, true);
    answer(f, "a@h", VERSION, "\"1.0.0\"");
    pull_good(f, "get/M");
    assert_false(known(f, "user", "put"));
    /* and without force it holds again */
    config_puller_pull(f->p, false);
    answer(f, "a@h", VERSION, "\"1.0.0\"");
    expect_no_call(f);
    /* unless the store has lost something */
    config_db_clear(f->db);
    config_puller_pull(f->p, false);
    answer(f, "a@h", VERSION, "\"1.0.0\"");
    pull_good(f, "get/M");
    assert_true(known(f, "user", "get"));
}

/* S-055 step 2. */
static void version_that_nobody_tells_means_a_full_pull(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h b@h";
    add_service(f, "user", true, "a@h", "b@h");
    run_ms(f, 0);
    end_call(f, "a@h", VERSION, CALL_EXIT, "{:undef, []}");
    end_call(f, "b@h", VERSION, CALL_TIMEOUT, NULL);
    pull_good(f, "get/M");
    assert_true(known(f, "user", "get"));
    assert_int_equal(status(f).version.len, 0);
}

/* S-055 step 3; the node that told the version is asked first. */
static void other_nodes_follow_in_order(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h b@h";
    add_service(f, "user", true, "a@h", "b@h");
    run_ms(f, 0);
    end_call(f, "a@h", VERSION, CALL_NODEDOWN, NULL);
    answer(f, "b@h", VERSION, "1");
    end_call(f, "b@h", CONFIGS, CALL_BADRPC, ":nodedown");
    answer(f, "a@h", CONFIGS, offer("get/M"));
    answer(f, "a@h", LOADED, "true");
    assert_true(known(f, "user", "get"));
    assert_slice_is(status(f).node, "a@h");
}

/* S-050 per service, S-055: what is not {ok, List} fails; what is known stays. */
static void failed_rounds_back_off_and_keep_the_functions(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", false, "a@h", NULL);
    run_ms(f, 0);
    pull_good(f, "get/M");
    static const struct {
        enum call_outcome outcome;
        const char *value, *error;
        uint64_t next_ms;
    } rounds[] = {{CALL_RETURN, "{:error, :nope}", "a@h: unexpected result: {:error, :nope}", 60000},
                  {CALL_RETURN, "[]", "a@h: unexpected result: []", 120000},
                  {CALL_EXIT, "{:undef, []}", "a@h: {:EXIT, {:undef, []}}", 240000},
                  {CALL_TIMEOUT, NULL, "a@h: :timeout", 300000},
                  {CALL_NODEDOWN, NULL, "a@h: :nodedown", 300000}};
    uint64_t wait = 30000;
    for (unsigned i = 0; i < ARRAY_SIZE(rounds); i++) {
        run_ms(f, wait - 1);
        expect_no_call(f);
        run_ms(f, 1);
        end_call(f, "a@h", CONFIGS, rounds[i].outcome, rounds[i].value);
        assert_string_equal(status(f).last_error, rounds[i].error);
        assert_int_equal(status(f).failures, i + 1);
        assert_int_equal(f->metrics.value[METRIC_PULL_FAILURES], i + 1);
        assert_true(known(f, "user", "get"));
        wait = rounds[i].next_ms;
        assert_int_equal(status(f).next_pull_us - f->timers.now_us, wait * 1000);
    }
    f->up = "";
    run_ms(f, wait);
    assert_true(known(f, "user", "get"));
    /* the link coming back ends the waiting, and success the backoff */
    f->up = "a@h";
    config_puller_link_up(f->p, SLICE_LIT("a@h"));
    pull_good(f, "put/M");
    assert_int_equal(status(f).failures, 0);
    assert_string_equal(status(f).last_error, "");
    assert_int_equal(status(f).next_pull_us - f->timers.now_us, 30000000);
    assert_true(known(f, "user", "put") && !known(f, "user", "get"));
}

/* S-057: texts; S-090: recorded; the rest is stored (partial success). */
static void modules_that_are_not_loaded_are_refused(void **state)
{
    struct fixture *f = *state;
    f->up = "svc@127.0.0.1";
    add_service(f, "user", true, "svc@127.0.0.1", NULL);
    run_ms(f, 0);
    answer(f, "svc@127.0.0.1", VERSION, "1");
    answer(f, "svc@127.0.0.1", CONFIGS, offer("a/MyApp.Gone b/:old_mod c/MyApp.Slow d/MyApp.Fine"));
    answer(f, "svc@127.0.0.1", LOADED, "false");
    end_call(f, "svc@127.0.0.1", LOADED, CALL_EXIT, ":killed");
    end_call(f, "svc@127.0.0.1", LOADED, CALL_TIMEOUT, NULL);
    answer(f, "svc@127.0.0.1", LOADED, "true");
    assert_true(known(f, "user", "d") && !known(f, "user", "a") && !known(f, "user", "b") && !known(f, "user", "c"));
    static const char *const want[] = {"cannot verify module MyApp.Slow on node :\"svc@127.0.0.1\": :timeout",
                                       "cannot verify module :old_mod on node :\"svc@127.0.0.1\": {:EXIT, :killed}",
                                       "module MyApp.Gone not loaded on node :\"svc@127.0.0.1\""};
    struct config_failed_entry e;
    size_t pos = 0;
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        assert_true(config_failed_next(f->failed, &pos, &e));
        assert_int_equal(e.reasons_count, 1);
        assert_string_equal(e.reasons[0], want[i]);
        assert_slice_is(e.service, "user");
        assert_slice_is(e.node, "svc@127.0.0.1");
        assert_int_equal(e.source, CONFIG_PULL);
    }
    assert_int_equal(f->metrics.value[METRIC_CONFIGS_FAILED], 3);
    /* the version is not taken as done with: the next round looks again */
    run_ms(f, 30000);
    answer(f, "svc@127.0.0.1", VERSION, "1");
    answer(f, "svc@127.0.0.1", CONFIGS, offer("a/MyApp.Gone"));
    answer(f, "svc@127.0.0.1", LOADED, "true");
    assert_true(known(f, "user", "a"));
    assert_int_equal(status(f).refused, 0);
}

/* S-057, S-058 want: invalid ones are told, the last good config of each stays, what is gone goes. */
static void invalid_config_does_not_remove_its_last_good_one(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", false, "a@h", NULL);
    run_ms(f, 0);
    pull_good(f, "get/M put/M del/M");
    run_ms(f, 30000);
    pull_good(f, "!get/M put/M");
    assert_true(known(f, "user", "get") && known(f, "user", "put") && !known(f, "user", "del"));
    struct config_failed_entry e;
    size_t pos = 0;
    assert_true(config_failed_next(f->failed, &pos, &e));
    assert_string_equal(e.reasons[0], "timeout must be a positive integer between 100 and 300000, or :infinity");
    /* S-093 want: the same again is one entry */
    run_ms(f, 30000);
    pull_good(f, "!get/M put/M");
    assert_int_equal(config_failed_count(f->failed), 1);
    /* odd items are refused, not fatal */
    run_ms(f, 30000);
    answer(f, "a@h", CONFIGS, "{:ok, [:what, %{mfa: 1}, 5]}");
    assert_int_equal(status(f).refused, 3);
    assert_false(known(f, "user", "put"));
    run_ms(f, 30000);
    answer(f, "a@h", CONFIGS, "{:ok, []}");
    assert_int_equal(config_db_count(f->db), 0);
}

/* S-081. */
static void dangerous_functions_are_refused(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", false, "a@h", NULL);
    run_ms(f, 0);
    pull_good(f, "get/:os");
    assert_false(known(f, "user", "get"));
    struct config_failed_entry e;
    size_t pos = 0;
    assert_true(config_failed_next(f->failed, &pos, &e));
    assert_string_equal(e.reasons[0], "mfa_not_allowed: {:os, :f}");
}

/* The same list needs neither checks nor storing, unless something was refused. */
static void same_list_is_not_processed_again(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", false, "a@h", NULL);
    run_ms(f, 0);
    pull_good(f, "get/M put/M");
    struct fun_config *before, *after;
    config_db_find(f->db, SLICE_LIT("user"), SLICE_LIT("get"), SLICE_NONE, &before);
    run_ms(f, 30000);
    answer(f, "a@h", CONFIGS, offer("get/M put/M"));
    expect_no_call(f);
    config_db_find(f->db, SLICE_LIT("user"), SLICE_LIT("get"), SLICE_NONE, &after);
    assert_ptr_equal(before, after);
    config_db_delete(f->db, SLICE_LIT("user"), SLICE_LIT("put"), SLICE_NONE);
    run_ms(f, 30000);
    pull_good(f, "get/M put/M");
    assert_true(known(f, "user", "put"));
}

/* A node that goes away during the checks says nothing about the modules. */
static void node_lost_during_the_checks_is_left_for_the_next(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h b@h";
    add_service(f, "user", false, "a@h", "b@h");
    run_ms(f, 0);
    answer(f, "a@h", CONFIGS, offer("get/M put/N"));
    end_call(f, "a@h", LOADED, CALL_NODEDOWN, NULL);
    answer(f, "b@h", CONFIGS, offer("get/M")); /* the second check on a@h was cancelled */
    answer(f, "b@h", LOADED, "true");
    assert_true(known(f, "user", "get") && !known(f, "user", "put"));
    assert_int_equal(config_failed_count(f->failed), 0);
}

/* Many modules: a window of checks; more functions than are stored at once. */
static void many_modules_are_checked_in_a_window(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", false, "a@h", NULL);
    run_ms(f, 0);
    struct buf list;
    buf_init(&list, 0);
    enum { N = 1000, MODULES = 100 };
    term_put_tuple(&list, 2);
    term_put_atom(&list, "ok");
    term_put_list(&list, N);
    for (int i = 0; i < N; i++) {
        char type[32], mfa[64];
        snprintf(type, sizeof(type), "\"t%d\"", i);
        snprintf(mfa, sizeof(mfa), "{M%d, :f, []}", i % MODULES);
        buf_add_slice(&list, config_term(&f->b, "request_type", type, "mfa", mfa, NULL));
    }
    term_put_nil(&list);
    struct fake_call *c = expect_call(f, "a@h", CONFIGS);
    f->busy = 1; /* the link is full for a moment */
    c->done(c->owner, c->tag, CALL_RETURN, buf_slice(&list));
    expect_no_call(f);
    run_ms(f, 100);
    unsigned most = 0, answered = 0;
    for (; f->answered < f->count; answered++) {
        most = f->count - f->answered > most ? f->count - f->answered : most;
        answer(f, "a@h", LOADED, "true");
    }
    assert_int_equal(answered, MODULES);
    assert_int_equal(most, 32);
    assert_in_range(config_db_count(f->db), 1, N - 1); /* not all in one turn */
    for (int i = 0; i < 10; i++)
        run_ms(f, 1);
    assert_int_equal(config_db_count(f->db), N);
    assert_int_equal(status(f).stored, N);
    buf_fini(&list);
}

/* S-053: asked for during a round, another one follows, with force if that was asked. */
static void pull_asked_for_during_a_round_follows_it(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", true, "a@h", NULL);
    run_ms(f, 0);
    answer(f, "a@h", VERSION, "1");
    config_puller_pull(f->p, true);
    config_puller_pull(f->p, false);
    pull_good(f, "get/M");
    answer(f, "a@h", VERSION, "1");
    pull_good(f, "put/M"); /* forced: version and list are not taken as known */
    assert_true(known(f, "user", "put"));
    expect_no_call(f);
    assert_int_equal(status(f).next_pull_us - f->timers.now_us, 30000000);
}

/* A node that comes up while a round fails is worth another one at once. */
static void node_that_came_up_during_a_failed_round_is_asked(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h";
    add_service(f, "user", false, "a@h", "b@h");
    run_ms(f, 0);
    f->up = "b@h";
    config_puller_link_up(f->p, SLICE_LIT("b@h"));
    end_call(f, "a@h", CONFIGS, CALL_NODEDOWN, NULL);
    answer(f, "b@h", CONFIGS, offer("get/M"));
    answer(f, "b@h", LOADED, "true");
    assert_true(known(f, "user", "get"));
    expect_no_call(f);
}

/* S-061; and a service that is replaced forgets its version. */
static void services_are_replaced_and_deleted(void **state)
{
    struct fixture *f = *state;
    f->up = "a@h b@h";
    add_service(f, "user", true, "a@h", NULL);
    run_ms(f, 0);
    answer(f, "a@h", VERSION, "1");
    pull_good(f, "get/M");
    add_service(f, "user", true, "b@h", NULL);
    run_ms(f, 0);
    answer(f, "b@h", VERSION, "1");
    unsigned open = f->count;
    assert_int_equal(config_puller_delete(f->p, SLICE_LIT("user")), BG_OK);
    assert_false(f->calls[open - 1].open); /* its call was cancelled */
    assert_true(known(f, "user", "get"));
    assert_int_equal(config_puller_delete(f->p, SLICE_LIT("user")), BG_EGONE);
    uint32_t loaded, total;
    assert_true(config_puller_ready(f->p, &loaded, &total));
    assert_int_equal(total, 0);
}

static void bad_service_configs_are_told(void **state)
{
    struct fixture *f = *state;
    struct slice node = SLICE_LIT("a@h");
    struct service_config good = {.service = SLICE_LIT("user"),
                                  .nodes = &node,
                                  .nodes_count = 1,
                                  .module = SLICE_LIT("Elixir.Sup"),
                                  .function = SLICE_LIT("get")};
    struct service_config s = good;
    s.service = SLICE_NONE;
    assert_int_equal(config_puller_add(f->p, &s, &f->e), BG_EINVAL);
    s = good;
    s.nodes_count = 0;
    assert_int_equal(config_puller_add(f->p, &s, &f->e), BG_EINVAL);
    assert_string_equal(f->e.text, "service \"user\" needs 1 to 1024 nodes");
    s = good;
    s.function = SLICE_NONE;
    assert_int_equal(config_puller_add(f->p, &s, &f->e), BG_EINVAL);
    s = good;
    s.args = term_of(&f->b, ":none");
    assert_int_equal(config_puller_add(f->p, &s, &f->e), BG_EINVAL);
    assert_string_equal(f->e.text, "service \"user\": args must be a list");
    f->up = "a@h";
    s.args = term_of(&f->b, "[:a, {1, 2}]");
    assert_int_equal(config_puller_add(f->p, &s, &f->e), BG_OK);
    memset(f->b.data, 0xff, f->b.len);
    run_ms(f, 0);
    struct fake_call *c = expect_call(f, "a@h", "Elixir.Sup:get");
    struct term_reader r = term_reader(buf_slice(&c->args));
    uint32_t arity;
    assert_true(term_read_is_atom(&r, "a"));
    assert_int_equal(term_read_tuple(&r, &arity), BG_OK);
}

/* What the operator reads: one line a pull, one warning per change, none for repetitions. */
static void log_tells_what_was_pulled_and_refused(void **state)
{
    struct fixture *f = *state;
    log_catch(LOG_INFO);
    f->up = "a@h";
    add_service(f, "user", false, "a@h", NULL);
    run_ms(f, 0);
    for (int i = 0; i < 3; i++) {
        pull_good(f, "get/M !put/M");
        run_ms(f, 30000);
    }
    end_call(f, "a@h", CONFIGS, CALL_TIMEOUT, NULL);
    log_set_level(LOG_ERROR);
    const char *text = log_caught();
    unsigned lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 3);
    assert_non_null(
        strstr(text, "msg=\"functions pulled\" service=\"user\" node=\"a@h\" count=1 refused=1 removed=0\n"));
    assert_non_null(strstr(text, "msg=\"functions refused\" service=\"user\" node=\"a@h\" refused=1 first=\"put\" "
                                 "reason=\"timeout must be"));
    assert_non_null(strstr(text,
                           "msg=\"functions not pulled\" service=\"user\" reason=\"a@h: :timeout\" failures=1 kept=1 "
                           "retry_in_ms=60000 hint="));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(pull_begins_when_a_link_comes_up),
        TEST(first_pull_without_any_link),
        TEST(same_version_is_skipped),
        TEST(version_that_nobody_tells_means_a_full_pull),
        TEST(other_nodes_follow_in_order),
        TEST(failed_rounds_back_off_and_keep_the_functions),
        TEST(modules_that_are_not_loaded_are_refused),
        TEST(invalid_config_does_not_remove_its_last_good_one),
        TEST(dangerous_functions_are_refused),
        TEST(same_list_is_not_processed_again),
        TEST(node_lost_during_the_checks_is_left_for_the_next),
        TEST(many_modules_are_checked_in_a_window),
        TEST(pull_asked_for_during_a_round_follows_it),
        TEST(node_that_came_up_during_a_failed_round_is_asked),
        TEST(services_are_replaced_and_deleted),
        TEST(bad_service_configs_are_told),
        TEST(log_tells_what_was_pulled_and_refused),
    };
    return cmocka_run_group_tests_name("config_puller", tests, NULL, NULL);
}
