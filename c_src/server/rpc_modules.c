/*
 * rpc_modules.c: what other nodes may ask about modules and functions of this node: function_exported, module_info,
 * __info__, code:which and their kin. Everything is read off the one table of functions (rpc_table.c), so that an
 * answer and a call can never disagree: a module exists when the table has a function of it.
 *
 * A module that is here has no file and no byte code: it is `preloaded`, which is what a BEAM says of such.
 */
#include "rpc_functions.h"

#include <stdlib.h>

/* ---- the table as modules ---- */

/* Rows for any module exist in each. */
static bool in_module(const struct rpc_entry *e, struct slice module)
{
    return strcmp(e->module, RPC_ANY_MODULE) == 0 || slice_is(module, e->module);
}

static bool is_info(const struct rpc_entry *e)
{
    return strcmp(e->module, RPC_ANY_MODULE) == 0;
}

/* The functions of a module as pairs {Name, Arity}, in the order of their names. infos: module_info, __info__ too. */
static void put_functions(const struct server *s, struct slice module, bool infos, struct buf *out)
{
    const struct rpc_table *t = &s->rpc;
    uint32_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->count; i++) {
            const struct rpc_entry *e = &t->entries[t->order ? t->order[i] : i];
            if (!in_module(e, module) || (is_info(e) && !infos))
                continue;
            n += pass == 0;
            if (pass == 0)
                continue;
            term_put_tuple(out, 2);
            term_put_atom(out, e->function);
            term_put_uint(out, (uint64_t)e->arity);
        }
        if (pass == 0)
            term_put_list(out, n);
    }
    if (n > 0)
        term_put_nil(out);
}

static bool read_module(struct slice term, struct slice *module)
{
    struct term_reader r = term_reader(term);
    return term_read_atom(&r, module) == BG_OK;
}

static enum rpc_outcome put_bool(struct buf *out, bool yes)
{
    return rpc_put_atom(out, yes ? "true" : "false");
}

/* ---- one function, one module ---- */

/* erlang:function_exported/3 and Kernel.function_exported?/3. */
static enum rpc_outcome rpc_function_exported(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct term_reader f = term_reader(call->argv[1]), a = term_reader(call->argv[2]);
    struct slice module, function;
    int64_t arity;
    if (!read_module(call->argv[0], &module) || term_read_atom(&f, &function) != BG_OK ||
        term_read_int(&a, &arity) != BG_OK || arity < 0)
        return rpc_badarg(out);
    return put_bool(out, arity <= RPC_ARITY_MAX && rpc_find(&s->rpc, module, function, (unsigned)arity));
}

/* Code.ensure_loaded?/1, Code.loaded?/1, erlang:module_loaded/1. */
static enum rpc_outcome rpc_is_module(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct slice module;
    if (!read_module(call->argv[0], &module))
        return RPC_ERROR;
    return put_bool(out, rpc_has_module(&s->rpc, module));
}

/* {module, M} | {error, nofile} */
static enum rpc_outcome rpc_ensure_loaded(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct slice module;
    if (!read_module(call->argv[0], &module))
        return RPC_ERROR;
    if (!rpc_has_module(&s->rpc, module)) {
        rpc_put_pair(out, "error", "nofile");
        return RPC_RETURN;
    }
    term_put_tuple(out, 2);
    term_put_atom(out, "module");
    term_put_atom_slice(out, module);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_which(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct slice module;
    if (!read_module(call->argv[0], &module))
        return RPC_ERROR;
    return rpc_put_atom(out, rpc_has_module(&s->rpc, module) ? "preloaded" : "non_existing");
}

/* {file, preloaded} | false */
static enum rpc_outcome rpc_is_loaded(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct slice module;
    if (!read_module(call->argv[0], &module))
        return RPC_ERROR;
    if (!rpc_has_module(&s->rpc, module))
        return rpc_put_atom(out, "false");
    rpc_put_pair(out, "file", "preloaded");
    return RPC_RETURN;
}

/* ---- module_info, __info__ ---- */

/* What module_info/1 tells under one of its keys; false when it knows none of that name. */
static bool put_info(const struct server *s, const struct rpc_call *call, const char *key, struct buf *out)
{
    if (strcmp(key, "module") == 0)
        term_put_atom_slice(out, call->module);
    else if (strcmp(key, "exports") == 0 || strcmp(key, "functions") == 0)
        put_functions(s, call->module, true, out);
    else if (strcmp(key, "attributes") == 0 || strcmp(key, "compile") == 0 || strcmp(key, "nifs") == 0)
        term_put_nil(out);
    else if (strcmp(key, "native") == 0)
        term_put_atom(out, "false");
    else
        return false;
    return true;
}

static const char *const info_keys[] = {"module", "exports", "functions", "attributes", "compile", "nifs", "native"};

static const char *info_key(struct slice term)
{
    for (size_t i = 0; i < ARRAY_SIZE(info_keys); i++)
        if (term_is_atom(term, info_keys[i]))
            return info_keys[i];
    return NULL;
}

static enum rpc_outcome rpc_module_info(void *server, const struct rpc_call *call, struct buf *out)
{
    static const char *const shown[] = {"module", "exports", "attributes", "compile"};
    term_put_list(out, ARRAY_SIZE(shown));
    for (size_t i = 0; i < ARRAY_SIZE(shown); i++) {
        term_put_tuple(out, 2);
        term_put_atom(out, shown[i]);
        (void)put_info(server, call, shown[i], out);
    }
    term_put_nil(out);
    return RPC_RETURN;
}

static enum rpc_outcome rpc_module_info_of(void *server, const struct rpc_call *call, struct buf *out)
{
    const char *key = info_key(call->argv[0]);
    return key && put_info(server, call, key, out) ? RPC_RETURN : rpc_badarg(out);
}

/* Elixir's: functions without the infos; no macros, no struct. */
static enum rpc_outcome rpc_elixir_info(void *server, const struct rpc_call *call, struct buf *out)
{
    struct slice key = call->argv[0];
    if (term_is_atom(key, "functions"))
        put_functions(server, call->module, false, out);
    else if (term_is_atom(key, "macros"))
        term_put_nil(out);
    else if (term_is_atom(key, "struct"))
        term_put_atom(out, "nil");
    else if (term_is_atom(key, "module") || term_is_atom(key, "attributes") || term_is_atom(key, "compile"))
        return rpc_module_info_of(server, call, out);
    else
        return RPC_ERROR;
    return RPC_RETURN;
}

const struct rpc_entry module_entries[] = {
    {"erlang", "function_exported", 3, rpc_function_exported},
    {"erlang", "module_loaded", 1, rpc_is_module},
    {"Elixir.Kernel", "function_exported?", 3, rpc_function_exported},
    {"Elixir.Code", "ensure_loaded?", 1, rpc_is_module},
    {"Elixir.Code", "loaded?", 1, rpc_is_module},
    {"Elixir.Code", "ensure_loaded", 1, rpc_ensure_loaded},
    {"code", "ensure_loaded", 1, rpc_ensure_loaded},
    {"code", "which", 1, rpc_which},
    {"code", "is_loaded", 1, rpc_is_loaded},
    {RPC_ANY_MODULE, "module_info", 0, rpc_module_info},
    {RPC_ANY_MODULE, "module_info", 1, rpc_module_info_of},
    {RPC_ANY_MODULE, "__info__", 1, rpc_elixir_info},
};
const size_t module_entries_count = ARRAY_SIZE(module_entries);
