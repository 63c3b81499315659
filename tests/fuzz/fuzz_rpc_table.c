/*
 * fuzz_rpc_table.c: every function of the rpc table of a whole server, called with any terms. The input: two bytes that
 * choose the function (0xffff: all in turn), one for the caller's kind, then the arguments, one term after another; what is missing is [].
 *
 * Properties: a function ends as functions end, with one term that a peer would take; nothing is left waiting but what
 * said that it would; and the server frees everything (LeakSanitizer).
 */
#include <stdlib.h>

#include "../../c_src/server/server_state.h"
#include "fuzz.h"
#include "log.h"

enum { ARGS_MAX = 4 };

static struct server_config *config;
static struct server *server;

static void stop(void)
{
    server_free(server);
    config_free(config);
}

static void start(void)
{
    static const char text[] =
        "node: {name: fuzz@127.0.0.1, listen_address: 127.0.0.1, epmd: false}\nlisten: {port: 0}\n"
        "sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\n"
        "security: {admin_actions: [update_rate_limit_config, enable_tracing, disable_tracing]}\n"
        "rate_limiter: {global_limits: [{key: user_id, max_requests: 2, window_ms: 1000}]}\n"
        "limits: {max_connections: 100, max_functions: 100, max_processes: 1000}\nlog: {level: error}\n";
    struct config_report report;
    struct err e = {0};
    log_set_level(LOG_ERROR);
    config_report_init(&report);
    config = config_parse("fuzz", SLICE_LIT(text), &report);
    config_report_fini(&report);
    server = config ? server_new(config, "cookie", false, &e) : NULL;
    assert_always(server != NULL);
    log_set_level(LOG_ERROR);
    atexit(stop);
}

/* The list of arguments, as a term of its own. False when the input holds no terms. */
static bool read_args(const uint8_t *data, size_t size, int arity, struct buf *list)
{
    assert_always(arity <= ARGS_MAX);
    if (arity > 0)
        term_put_list(list, (uint32_t)arity);
    for (int i = 0; i < arity; i++) {
        size_t used = 0;
        if (size == 0) {
            term_put_nil(list);
            continue;
        }
        if (term_check(data, size, TERM_DEPTH_DEFAULT, &used, NULL) != BG_OK)
            return false;
        term_put_raw(list, slice_make(data, used));
        data += used;
        size -= used;
    }
    term_put_nil(list);
    return buf_ok(list);
}

static void call(const struct rpc_entry *e, uint8_t kind, struct slice list)
{
    bool any = strcmp(e->module, RPC_ANY_MODULE) == 0, known = false;
    struct rpc_call c = {.module = slice_str(any ? "code" : e->module),
                         .function = slice_str(e->function),
                         .caller_node = SLICE_LIT("peer@127.0.0.1"),
                         .shape = kind % 2 ? RPC_SHAPE_CAST : RPC_SHAPE_NOW};
    struct buf out;
    size_t used = 0;
    buf_init(&out, 0);
    enum rpc_outcome outcome = rpc_run(&server->rpc, &c, list, &out, &known);
    assert_always(known && outcome <= RPC_LATER && (outcome != RPC_LATER || c.shape == RPC_SHAPE_CAST));
    if (outcome != RPC_LATER)
        assert_always(buf_ok(&out) && term_check(out.data, out.len, TERM_DEPTH_MAX, &used, NULL) == BG_OK &&
                      used == out.len);
    buf_fini(&out);
}

/* What one input leaves must not become the next one's: nor may time stand still. */
static void clean(void)
{
    config_db_clear(server->db);
    config_failed_clear(server->failed);
    server->timers.now_us += 10000;
    timers_run(&server->timers, server->timers.now_us, 1000);
}

static void call_one(const struct rpc_entry *e, uint8_t kind, const uint8_t *terms, size_t size)
{
    struct buf list;
    buf_init(&list, 0);
    if (read_args(terms, size, e->arity, &list)) {
        /* Of exact size, so that ASan sees any step past its end. */
        char *copy = slice_dup(buf_slice(&list));
        assert_always(copy != NULL);
        call(e, kind, slice_make(copy, list.len));
        free(copy);
    }
    buf_fini(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { EVERY = 0xffff };
    if (!server)
        start();
    if (size < 3)
        return 0;
    unsigned which = get_be16(data);
    for (size_t i = 0; which == EVERY && i < server->rpc.count; i++)
        call_one(&server->rpc.entries[i], data[2], data + 3, size - 3);
    call_one(&server->rpc.entries[which % server->rpc.count], data[2], data + 3, size - 3);
    clean();
    return 0;
}
