/*
 * fuzz_fun_config.c: any checked term as a FunConfig. What is accepted must be whole: its own copy is a good term that
 * compiles to the same again, and store, permission and node choice work with it. What is refused has its reasons.
 */
#include <stdlib.h>

#include "config_db.h"
#include "fuzz.h"
#include "json.h"
#include "node_selector.h"
#include "permission.h"

static struct metrics metrics;

static void use(struct fun_config *fc)
{
    static const struct slice args = SLICE_LIT("{\"user_id\":\"u1\",\"a\":{\"user_id\":\"u1\"},\"k\":[1,{}]}");
    struct slice roles[] = {SLICE_LIT("admin"), SLICE_LIT("")};
    struct node_choice choice = {.request_id = SLICE_LIT("\"r1\""), .args = args};
    struct node_selector *s = node_selector_new();
    uint16_t order[64];
    bool seen[FUN_CONFIG_LIST_MAX] = {false};
    uint32_t n = node_selector_choose(s, fc, &choice, order, 64);
    assert_always(n == (fc->nodes_count < 64 ? fc->nodes_count : 64));
    for (uint32_t i = 0; i < n; i++) {
        assert_always(order[i] < fc->nodes_count && !seen[order[i]]);
        seen[order[i]] = true;
    }
    node_selector_free(s);
    enum permission p = permission_check(fc, SLICE_LIT("u1"), roles, 2, args);
    assert_always((p == PERMISSION_ASK) == fc->permission_callback.present);
}

static void store(struct fun_config *fc)
{
    struct config_db *db = config_db_new(&metrics, 10);
    struct fun_config *found = NULL;
    assert_always(config_db_put(db, fc, SLICE_LIT("fuzz")) == BG_OK);
    enum config_lookup got = config_db_find(db, fc->service, fc->request_type, fc->version, &found);
    assert_always(got == (fc->disabled ? CONFIG_DISABLED : CONFIG_FOUND) && (fc->disabled || found == fc));
    config_db_free(db);
}

/* Every slice must lie in memory that the config owns: reading it all shows those that do not. */
static void read_args(const struct fun_config *fc)
{
    uint32_t index, sum = 0;
    for (uint32_t i = 0; i < fc->args_count; i++) {
        const struct arg_spec *a = &fc->args[i];
        assert_always(fun_config_arg(fc, a->name, &index) == a && index == i);
        for (uint32_t k = 0; k < a->required_count; k++)
            sum += (uint32_t)hash_bytes(a->required[k].ptr, a->required[k].len);
        if (a->default_term.ptr)
            sum += (uint32_t)hash_bytes(a->default_term.ptr, a->default_term.len);
    }
    for (uint32_t i = 0; i < fc->order_count; i++)
        assert_always(fc->order[i] < fc->args_count);
    for (uint32_t i = 0; i < fc->nodes_count; i++)
        sum += (uint32_t)hash_bytes(fc->nodes[i].ptr, fc->nodes[i].len);
    (void)sum;
}

static void check_accepted(struct fun_config *fc, struct fun_config_reasons *why)
{
    struct buf out;
    size_t used = 0;
    buf_init(&out, 0);
    fun_config_put_term(fc, &out);
    assert_always(term_check(out.data, out.len, TERM_DEPTH_DEFAULT, &used, NULL) == BG_OK && used == out.len);
    struct fun_config *again = fun_config_from_term(buf_slice(&out), SLICE_NONE, why);
    assert_always(again && slice_eq(again->request_type, fc->request_type) && slice_eq(again->service, fc->service));
    assert_always(again->args_count == fc->args_count && again->disabled == fc->disabled);
    assert_always(slice_eq(again->term_head, fc->term_head));
    fun_config_unref(again);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fun_config_reasons why;
    size_t used = 0;
    if (term_check(data, size, TERM_DEPTH_DEFAULT, &used, NULL) != BG_OK)
        return 0;
    /* A copy that goes away at once, so that a slice into the input would be found. */
    uint8_t *input = malloc(used);
    memcpy(input, data, used);
    struct fun_config *fc = fun_config_from_term(slice_make(input, used), SLICE_NONE, &why);
    free(input);
    for (uint32_t i = 0; i < why.count; i++) {
        size_t len = strnlen(why.text[i], FUN_CONFIG_REASON_MAX);
        assert_always(len > 0 && len < FUN_CONFIG_REASON_MAX && utf8_valid_prefix(why.text[i], len) == len);
    }
    assert_always((fc == NULL) == (why.count > 0));
    if (!fc)
        return 0;
    read_args(fc);
    use(fc);
    store(fc);
    check_accepted(fc, &why);
    fun_config_unref(fc);
    return 0;
}
