/*
 * fuzz_push.c: any checked term as a pushed PushConfig, twice. The answer is always one of the three that callers know
 * (S-012), what is shown is a good term without the token, what is refused changes nothing, and a deleted service leaves
 * no function behind.
 */
#define _GNU_SOURCE /* memmem */
#include <stdlib.h>

#include "config_receiver.h"
#include "fuzz.h"
#include "log.h"

static struct metrics metrics;

static bool no_node_up(void *ctx, struct slice node)
{
    (void)ctx;
    (void)node;
    return false;
}

static void check_whole(const struct buf *b)
{
    size_t used = 0;
    assert_always(buf_ok(b) && term_check(b->data, b->len, TERM_DEPTH_MAX, &used, NULL) == BG_OK && used == b->len);
}

/* True when it was accepted or skipped. */
static bool check_answer(const struct buf *out)
{
    struct term_reader r = term_reader(buf_slice(out));
    uint32_t arity;
    check_whole(out);
    if (term_read_tagged(&r, "error", &arity) == BG_OK) {
        assert_always(arity == 2);
        return false;
    }
    assert_always(term_read_tagged(&r, "ok", &arity) == BG_OK);
    assert_always(arity == 2 ? term_read_is_atom(&r, "accepted")
                             : arity == 3 && term_read_is_atom(&r, "skipped") && term_read_is_atom(&r, "version_matches"));
    return true;
}

static void check_shown(struct config_receiver *r, struct slice service, struct buf *out)
{
    struct slice token;
    buf_reset(out);
    config_receiver_put_config(r, service, out);
    check_whole(out);
    assert_always(term_map_get(buf_slice(out), "push_token", &token));
    assert_always(term_is_nil(token) || memmem(token.ptr, token.len, "[redacted]", 10));
    buf_reset(out);
    config_receiver_put_status(r, out);
    check_whole(out);
}

static void on_answer(void *ctx, uint64_t tag, struct slice answer)
{
    (void)tag;
    buf_add_slice(ctx, answer);
}

/* In pieces it comes to the same answer, and to the same functions. */
static void push_in_pieces(struct config_receiver *r, struct timers *timers, struct slice term, struct buf *out)
{
    buf_reset(out);
    if (config_receiver_push_later(r, term, SLICE_NONE, SLICE_LIT("n@h"), out, on_answer, out, 0))
        while (out->len == 0)
            timers_run(timers, timers->now_us + 1, 0);
}

static void push(struct config_receiver *r, struct config_db *db, struct timers *timers, struct slice term)
{
    struct buf out, pieces;
    struct slice service;
    buf_init(&out, 0);
    buf_init(&pieces, 0);
    push_in_pieces(r, timers, term, &pieces);
    size_t stored = config_db_count(db);
    if (check_answer(&pieces) && fun_config_field(term, "service", &service))
        config_receiver_delete(r, service);
    config_receiver_push(r, term, SLICE_NONE, SLICE_LIT("n@h"), &out);
    assert_always(slice_eq(buf_slice(&pieces), buf_slice(&out)) && config_db_count(db) == stored);
    buf_fini(&pieces);
    buf_reset(&out);
    config_receiver_push(r, term, term, SLICE_LIT("n@h"), &out);
    if (!check_answer(&out)) {
        assert_always(config_db_count(db) == 0);
    } else if (fun_config_field(term, "service", &service)) {
        assert_always(config_db_count(db) > 0);
        buf_reset(&out);
        config_receiver_push(r, term, SLICE_NONE, SLICE_LIT("n@h"), &out);
        assert_always(check_answer(&out));
        check_shown(r, service, &out);
        config_receiver_delete(r, service);
        assert_always(config_db_count(db) == 0);
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct timers timers;
    size_t used = 0;
    log_set_level(LOG_ERROR);
    if (term_check(data, size, TERM_DEPTH_DEFAULT, &used, NULL) != BG_OK)
        return 0;
    timers_init(&timers, 1);
    struct config_db *db = config_db_new(&metrics, 100);
    struct config_failed *failed = config_failed_new(10);
    struct config_puller_options po = {
        .call = {.node_up = no_node_up}, .timers = &timers, .metrics = &metrics, .db = db, .failed = failed};
    struct config_puller *puller = config_puller_new(&po);
    struct config_receiver_options ro = {
        .db = db, .failed = failed, .puller = puller, .metrics = &metrics, .timers = &timers};
    struct config_receiver *r = config_receiver_new(&ro);
    uint8_t *input = malloc(used);
    memcpy(input, data, used);
    push(r, db, &timers, slice_make(input, used));
    free(input);
    config_receiver_free(r);
    config_puller_free(puller);
    config_failed_free(failed);
    config_db_free(db);
    timers_fini(&timers);
    return 0;
}
