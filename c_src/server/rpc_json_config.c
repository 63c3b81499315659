/*
 * rpc_json_config.c: PhoenixGenApi.JsonConfig over rpc (F-140..F-144): example requests of the functions that are
 * registered, as FunConfig structs, as a map, or as JSON for an API client to import.
 *
 * Options that are functions cannot run here; they are refused in the library's words for what it does not know.
 */
#include "rpc_request.h"

#include <stdlib.h>

#include "transcode.h"

struct options {
    struct slice list;
    struct slice descriptions; /* a map, or empty */
    struct slice arg_values;   /* the same */
};

static bool is_map(struct slice term)
{
    struct term_reader r = term_reader(term);
    return term.len > 0 && term_peek(&r) == TERM_MAP;
}

/* ArgumentError "WHAT: inspect(term)" (F-143). */
static enum rpc_outcome refuse(struct buf *out, const char *what, struct slice term)
{
    enum { SHOWN = 1000 };
    struct buf text;
    buf_init(&text, 0);
    buf_puts(&text, what);
    term_inspect(term, &text, SHOWN);
    enum rpc_outcome outcome = rpc_argument_error(out, buf_slice(&text));
    buf_fini(&text);
    return outcome;
}

/* RPC_RETURN, or how it ends. */
static enum rpc_outcome read_options(struct options *o, struct slice list, struct buf *out)
{
    *o = (struct options){.list = list};
    if (list.len && !rpc_is_options(list))
        return RPC_ERROR;
    if (rpc_option(list, "descriptions", &o->descriptions) && !is_map(o->descriptions)) {
        if (!term_is_nil(o->descriptions))
            return refuse(out, "invalid descriptions option: ", o->descriptions);
        o->descriptions = SLICE_NONE;
    }
    if (rpc_option(list, "arg_values", &o->arg_values) && !is_map(o->arg_values)) {
        if (!term_is_nil(o->arg_values))
            return refuse(out, "invalid arg_values option: ", o->arg_values);
        o->arg_values = SLICE_NONE;
    }
    return RPC_RETURN;
}

/* The value under a binary key of a map. */
static bool get_text_key(struct slice map, struct slice key, struct slice *value)
{
    struct term_reader r = term_reader(map), k;
    struct slice name, text;
    uint32_t n;
    if (map.len == 0 || term_read_map(&r, &n) != BG_OK)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (term_skip(&r, &name) != BG_OK || term_skip(&r, value) != BG_OK)
            return false;
        k = term_reader(name);
        if (term_read_binary(&k, &text) == BG_OK && slice_eq(text, key))
            return true;
    }
    return false;
}

/* ---- one example ---- */

/* Its default value if that is neither nil nor false, else "". */
static void put_default(struct buf *out, const struct arg_spec *a)
{
    struct slice d = a->default_term;
    if (d.ptr && !term_is_nil(d) && !term_is_atom(d, "false"))
        term_put_raw(out, d);
    else
        term_put_text(out, "");
}

/* F-141: every declared argument; none when there is no order in which to pass several (F-054). */
static void put_args(struct buf *out, const struct fun_config *fc, const struct options *o)
{
    struct slice given;
    if (get_text_key(o->arg_values, fc->request_type, &given)) {
        term_put_raw(out, given);
        return;
    }
    bool ordered = fc->order_map || fc->order_count > 0 || fc->args_count == 1;
    term_put_map(out, ordered ? fc->args_count : 0);
    for (uint32_t i = 0; ordered && i < fc->args_count; i++) {
        term_put_binary(out, fc->args[i].name);
        put_default(out, &fc->args[i]);
    }
}

static void put_option(struct buf *out, const struct options *o, const char *key, const char *otherwise)
{
    struct slice value;
    if (rpc_option(o->list, key, &value))
        term_put_raw(out, value);
    else
        term_put_text(out, otherwise);
}

/* "get_user - Description" */
static void put_key(struct buf *out, const struct fun_config *fc, const struct options *o)
{
    struct slice description = fc->request_type, given, text;
    struct buf key;
    if (get_text_key(o->descriptions, fc->request_type, &given) && term_text(given, &text))
        description = text;
    buf_init(&key, 0);
    buf_add_slice(&key, fc->request_type);
    buf_puts(&key, " - ");
    buf_add_slice(&key, description);
    term_put_binary(out, buf_slice(&key));
    buf_fini(&key);
}

static void put_data(struct buf *out, const struct fun_config *fc, const struct options *o)
{
    term_put_map(out, 7);
    term_put_text(out, "user_id");
    put_option(out, o, "user_id", "user_1");
    term_put_text(out, "device_id");
    put_option(out, o, "device_id", "device_1");
    term_put_text(out, "request_type");
    term_put_binary(out, fc->request_type);
    term_put_text(out, "request_id");
    put_option(out, o, "request_id", "request_1");
    term_put_text(out, "service");
    term_put_binary(out, fc->service);
    term_put_text(out, "version");
    if (fc->version.ptr)
        term_put_binary(out, fc->version);
    else
        term_put_atom(out, "nil");
    term_put_text(out, "args");
    put_args(out, fc, o);
}

static void put_value(struct buf *out, const struct fun_config *fc, const struct options *o)
{
    term_put_map(out, 2);
    term_put_text(out, "event");
    put_option(out, o, "event", "phoenix_gen_api");
    term_put_text(out, "data");
    put_data(out, fc, o);
}

static enum rpc_outcome rpc_export_single(void *server, const struct rpc_call *call, struct buf *out)
{
    struct fun_config_reasons why = {.count = 0};
    struct options o;
    (void)server;
    if (!rpc_is_struct(call->argv[0], RPC_STRUCT_FUN_CONFIG))
        return RPC_ERROR;
    enum rpc_outcome outcome = read_options(&o, call->argc > 1 ? call->argv[1] : SLICE_NONE, out);
    if (outcome != RPC_RETURN)
        return outcome;
    struct fun_config *fc = fun_config_from_term(call->argv[0], SLICE_NONE, &why);
    if (!fc)
        return rpc_argument_error(out, slice_str(why.count ? why.text[0] : "no memory"));
    term_put_tuple(out, 2);
    put_key(out, fc, &o);
    put_value(out, fc, &o);
    fun_config_unref(fc);
    return RPC_RETURN;
}

/* ---- many ---- */

/* Configs are in order by service, type and version: of each type the last version is kept (F-142), if it is
 * enabled. */
static size_t keep_last_versions(struct fun_config **all, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        bool last = i + 1 == count || !slice_eq(all[i]->service, all[i + 1]->service) ||
                    !slice_eq(all[i]->request_type, all[i + 1]->request_type);
        if (last && !all[i]->disabled)
            all[n++] = all[i];
    }
    return n;
}

/* Two services may have types of one name: a map has the later one, so the earlier ones are left out. */
static size_t drop_shadowed(struct fun_config **all, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        bool shadowed = false;
        for (size_t k = i + 1; k < count && !shadowed; k++)
            shadowed = slice_eq(all[i]->request_type, all[k]->request_type);
        if (!shadowed)
            all[n++] = all[i];
    }
    return n;
}

static void put_structs(struct buf *out, struct fun_config **all, size_t count)
{
    term_put_list(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        fun_config_put_term(all[i], out);
    if (count > 0)
        term_put_nil(out);
}

static void put_map(struct buf *out, struct fun_config **all, size_t count, const struct options *o)
{
    count = drop_shadowed(all, count);
    term_put_map(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        put_key(out, all[i], o);
        put_value(out, all[i], o);
    }
}

static enum rpc_outcome put_json(struct buf *out, struct fun_config **all, size_t count, const struct options *o)
{
    struct buf map, json;
    struct err e = {0};
    buf_init(&map, 0);
    buf_init(&json, 0);
    put_map(&map, all, count, o);
    int rc = buf_ok(&map) ? term_to_json(buf_slice(&map), &json, NULL, &e) : BG_ENOMEM;
    enum rpc_outcome outcome = RPC_RETURN;
    if (rc == BG_OK)
        term_put_binary(out, buf_slice(&json));
    else
        outcome = rpc_argument_error(out, slice_str(e.text[0] ? e.text : "out of memory"));
    buf_fini(&map);
    buf_fini(&json);
    return outcome;
}

/* wanted ptr NULL: all services. */
static enum rpc_outcome generate(struct server *s, struct slice wanted, struct slice list, struct buf *out)
{
    enum { MANY = 2000 }; /* of more, finding equal names two by two would hold the loop too long */
    struct options o;
    struct slice format = SLICE_NONE;
    size_t count, n = 0;
    enum rpc_outcome outcome = read_options(&o, list, out);
    if (outcome != RPC_RETURN)
        return outcome;
    (void)rpc_option(list, "format", &format);
    struct fun_config **all = rpc_sorted_configs(s, SLICE_NONE, &count);
    for (size_t i = 0; i < count; i++)
        if (!wanted.ptr || rpc_names_service(wanted, all[i]->service))
            all[n++] = all[i];
    n = keep_last_versions(all, n);
    if (!format.ptr || term_is_atom(format, "structs"))
        put_structs(out, all, n);
    else if (n > MANY)
        outcome = rpc_argument_error(out, SLICE_LIT("more than 2000 functions: ask for one service at a time"));
    else if (term_is_atom(format, "map"))
        put_map(out, all, n, &o);
    else if (term_is_atom(format, "json"))
        outcome = put_json(out, all, n, &o);
    else
        outcome = refuse(out, "invalid format: ", format);
    free(all);
    return outcome;
}

static enum rpc_outcome rpc_generate(void *server, const struct rpc_call *call, struct buf *out)
{
    struct slice text;
    if (!term_text(call->argv[0], &text) && !rpc_is_options(call->argv[0]))
        return RPC_ERROR;
    return generate(server, call->argv[0], call->argc > 1 ? call->argv[1] : SLICE_NONE, out);
}

static enum rpc_outcome rpc_export_service(void *server, const struct rpc_call *call, struct buf *out)
{
    struct slice text;
    if (!term_text(call->argv[0], &text))
        return RPC_ERROR;
    return generate(server, call->argv[0], call->argc > 1 ? call->argv[1] : SLICE_NONE, out);
}

static enum rpc_outcome rpc_export_all(void *server, const struct rpc_call *call, struct buf *out)
{
    return generate(server, SLICE_NONE, call->argc > 0 ? call->argv[0] : SLICE_NONE, out);
}

#define JSON_CONFIG "Elixir.PhoenixGenApi.JsonConfig"

const struct rpc_entry json_config_entries[] = {
    {JSON_CONFIG, "generate", 1, rpc_generate},
    {JSON_CONFIG, "generate", 2, rpc_generate},
    {JSON_CONFIG, "export_single", 1, rpc_export_single},
    {JSON_CONFIG, "export_single", 2, rpc_export_single},
    {JSON_CONFIG, "export_service", 1, rpc_export_service},
    {JSON_CONFIG, "export_service", 2, rpc_export_service},
    {JSON_CONFIG, "export_all", 0, rpc_export_all},
    {JSON_CONFIG, "export_all", 1, rpc_export_all},
};
const size_t json_config_entries_count = ARRAY_SIZE(json_config_entries);
