/*
 * rpc_config_db.c: PhoenixGenApi.ConfigDb (S-070..S-077) over rpc: looking at the store and an operator's hand in it.
 * Services are found by text, atom or binary alike (E-036 want); what is added here belongs to no service, so that no
 * pull or push takes it away.
 */
#include "rpc_functions.h"

#include <stdlib.h>

#define CONFIG_DB "Elixir.PhoenixGenApi.ConfigDb"

/* ---- showing it --------------------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
    const struct fun_config *x = *(const struct fun_config *const *)a, *y = *(const struct fun_config *const *)b;
    int c = slice_compare(x->service, y->service);
    if (c == 0)
        c = slice_compare(x->request_type, y->request_type);
    return c ? c : slice_compare(x->version, y->version);
}

struct fun_config **rpc_sorted_configs(const struct server *s, struct slice service, size_t *count)
{
    size_t n = config_db_count(s->db), used = 0;
    struct fun_config **all = n ? calloc(n, sizeof(*all)) : NULL, *fc;
    for (size_t pos = 0; all && used < n && (fc = config_db_next(s->db, &pos)) != NULL;)
        if (!service.ptr || slice_eq(fc->service, service))
            all[used++] = fc;
    if (all)
        qsort(all, used, sizeof(*all), compare_entries);
    *count = all ? used : 0;
    return all;
}

/* How many entries from the first on agree with it in the service, or in service and type. */
static size_t run_of(struct fun_config *const *at, size_t left, bool by_type)
{
    size_t n = 0;
    while (n < left && slice_eq(at[n]->service, at[0]->service) &&
           (!by_type || slice_eq(at[n]->request_type, at[0]->request_type)))
        n++;
    return n;
}

static uint32_t groups(struct fun_config *const *at, size_t count, bool by_type)
{
    uint32_t n = 0;
    for (size_t i = 0; i < count; i += run_of(at + i, count - i, by_type))
        n++;
    return n;
}

/* The service as it came, an atom or a binary. */
static void put_service(struct buf *out, const struct fun_config *fc)
{
    struct slice as_it_came;
    if (term_map_get(fc->term, "service", &as_it_came))
        term_put_raw(out, as_it_came);
    else
        term_put_binary(out, fc->service);
}

static void put_versions(struct buf *out, struct fun_config *const *at, size_t count)
{
    term_put_list(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        if (at[i]->version.ptr)
            term_put_binary(out, at[i]->version);
        else
            term_put_atom(out, "nil");
    }
    if (count)
        term_put_nil(out);
}

/* #{Type => [Version]} of one service. */
static void put_types(struct buf *out, struct fun_config *const *at, size_t count)
{
    term_put_map(out, groups(at, count, true));
    for (size_t i = 0, n; i < count; i += n) {
        n = run_of(at + i, count - i, true);
        term_put_binary(out, at[i]->request_type);
        put_versions(out, at + i, n);
    }
}

enum rpc_outcome rpc_db_count(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    return rpc_put_count(out, config_db_count(s->db));
}

static void put_services(const struct server *s, struct buf *out)
{
    size_t count;
    struct fun_config **all = rpc_sorted_configs(s, SLICE_NONE, &count);
    uint32_t n = groups(all, count, false);
    term_put_list(out, n);
    for (size_t i = 0; i < count; i += run_of(all + i, count - i, false))
        put_service(out, all[i]);
    if (n)
        term_put_nil(out);
    free(all);
}

enum rpc_outcome rpc_db_services(void *server, const struct rpc_call *call, struct buf *out)
{
    (void)call;
    put_services(server, out);
    return RPC_RETURN;
}

/* #{Service => #{Type => [Version]}} of sorted entries. */
static void put_functions(struct buf *out, struct fun_config *const *all, size_t count)
{
    term_put_map(out, groups(all, count, false));
    for (size_t i = 0, n; i < count; i += n) {
        n = run_of(all + i, count - i, false);
        put_service(out, all[i]);
        put_types(out, all + i, n);
    }
}

/* S-075. */
enum rpc_outcome rpc_db_functions(void *server, const struct rpc_call *call, struct buf *out)
{
    size_t count;
    struct fun_config **all = rpc_sorted_configs(server, SLICE_NONE, &count);
    (void)call;
    put_functions(out, all, count);
    free(all);
    return RPC_RETURN;
}

/* A list of services or the text of one; an atom is neither, as in the library. */
enum rpc_outcome rpc_db_functions_of(void *server, const struct rpc_call *call, struct buf *out)
{
    struct term_reader r = term_reader(call->argv[0]);
    enum term_kind kind = term_peek(&r);
    size_t count, kept = 0;
    uint32_t n = 0;
    if (kind != TERM_BINARY && (term_read_list(&r, &n) != BG_OK || n > FUN_CONFIG_LIST_MAX))
        return RPC_ERROR;
    struct fun_config **all = rpc_sorted_configs(server, SLICE_NONE, &count);
    for (size_t i = 0; i < count; i++)
        if (rpc_names_service(call->argv[0], all[i]->service))
            all[kept++] = all[i];
    put_functions(out, all, kept);
    free(all);
    return RPC_RETURN;
}

/* S-076. There is no ETS table here: of its info, what has a meaning. */
enum rpc_outcome rpc_db_status(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    (void)call;
    term_put_map(out, 4);
    term_put_atom(out, "status");
    term_put_atom(out, "ok");
    term_put_atom(out, "count");
    term_put_uint(out, config_db_count(s->db));
    term_put_atom(out, "services");
    put_services(s, out);
    term_put_atom(out, "ets");
    term_put_map(out, 4);
    term_put_atom(out, "exists");
    term_put_atom(out, "true");
    term_put_atom(out, "name");
    term_put_atom(out, CONFIG_DB);
    term_put_atom(out, "type");
    term_put_atom(out, "set");
    term_put_atom(out, "size");
    term_put_uint(out, config_db_count(s->db));
    return RPC_RETURN;
}

/* ---- looking one up ------------------------------------------------------------------------------------ */

/* The arguments of all that speak of one function. */
struct function_key {
    struct slice service;
    struct slice request_type;
    struct slice version; /* ptr NULL: nil, or not given */
};

/* Service, request type and, when there is a third argument, a version or nil. "" and "0.0.0" are no versions (F-046).
 * False for terms of other kinds. */
static bool read_key(const struct rpc_call *call, struct function_key *k)
{
    struct term_reader type = term_reader(call->argv[1]);
    k->version = SLICE_NONE;
    if (!term_text(call->argv[0], &k->service) || term_read_binary(&type, &k->request_type) != BG_OK)
        return false;
    if (call->argc < 3 || term_is_nil(call->argv[2]))
        return true;
    struct term_reader version = term_reader(call->argv[2]);
    if (term_read_binary(&version, &k->version) != BG_OK)
        return false;
    if (k->version.len == 0 || slice_is(k->version, "0.0.0"))
        k->version = SLICE_NONE;
    return true;
}

static enum rpc_outcome put_found(struct buf *out, const struct fun_config *fc)
{
    if (!fc || fc->disabled) {
        rpc_put_pair(out, "error", fc ? "disabled" : "not_found");
        return RPC_RETURN;
    }
    term_put_tuple(out, 2);
    term_put_atom(out, "ok");
    fun_config_put_term(fc, out);
    return RPC_RETURN;
}

/* The entry of exactly this version, or that without one. Walks: for operators, not for requests. */
static struct fun_config *find_exactly(const struct server *s, const struct function_key *k)
{
    struct fun_config *fc;
    for (size_t pos = 0; (fc = config_db_next(s->db, &pos)) != NULL;)
        if (slice_eq(fc->service, k->service) && slice_eq(fc->request_type, k->request_type) &&
            slice_eq(fc->version, k->version))
            return fc;
    return NULL;
}

/* S-073: get/2 is get/3 with the version nil. */
enum rpc_outcome rpc_db_get(void *server, const struct rpc_call *call, struct buf *out)
{
    struct function_key k;
    return read_key(call, &k) ? put_found(out, find_exactly(server, &k)) : RPC_ERROR;
}

/* get_fast and get_latest: what a request without version gets (E-031, E-032 and E-035 wants). */
enum rpc_outcome rpc_db_get_latest(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct function_key k;
    struct fun_config *fc = NULL;
    if (!read_key(call, &k))
        return RPC_ERROR;
    enum config_lookup got = config_db_find(s->db, k.service, k.request_type, SLICE_NONE, &fc);
    if (got == CONFIG_FOUND)
        return put_found(out, fc);
    rpc_put_pair(out, "error", got == CONFIG_DISABLED ? "disabled" : "not_found");
    return RPC_RETURN;
}

/* ---- changing it --------------------------------------------------------------------------------------- */

/* What becomes of one config. */
enum added { ADDED, ADD_INVALID, ADD_DENIED, ADD_NO_ROOM };

/* O-025, O-027..O-030: of an operator's hand in the store. version: ptr NULL for nil. */
static void tell_change(struct server *s, enum telemetry_event event, struct slice service, struct slice request_type,
                        struct slice version)
{
    struct buf *b = telemetry_begin(&s->telemetry, event);
    if (!b)
        return;
    telemetry_put_nothing(b);
    term_put_map(b, 3);
    telemetry_put_text(b, "service", service);
    telemetry_put_text(b, "request_type", request_type);
    if (version.ptr)
        telemetry_put_text(b, "version", version);
    else
        telemetry_put_word(b, "version", "nil");
    telemetry_end(&s->telemetry);
}

static void fail_add(const struct server *s, struct slice item, const struct fun_config_reasons *why)
{
    config_failed_record(s->failed, item, SLICE_NONE, why, CONFIG_PULL, SLICE_NONE, rpc_now_ms()); /* S-072 */
}

/* Of a config that names a function it may not, {Module, Function, Args} goes to mfa; of one that was added, itself to
 * taken, for the caller to give back. */
static enum added add(struct server *s, struct slice item, struct buf *mfa, struct fun_config **taken)
{
    struct fun_config_reasons why = {.count = 0};
    enum added result = ADDED;
    struct fun_config *fc = fun_config_from_term(item, SLICE_NONE, &why);
    const struct mfa *denied = fc ? mfa_rules_refused(&s->access.rules, fc) : NULL;
    if (!fc) {
        result = ADD_INVALID;
    } else if (denied) {
        term_put_tuple(mfa, 3);
        term_put_atom_slice(mfa, denied->module);
        term_put_atom_slice(mfa, denied->function);
        term_put_list(mfa, denied->args_count);
        term_put_raw(mfa, denied->args);
        if (denied->args_count > 0)
            term_put_nil(mfa);
        fun_config_reason(&why, "mfa_not_allowed");
        result = ADD_DENIED;
    } else if (config_db_put(s->db, fc, SLICE_LIT("")) != BG_OK) {
        fun_config_reason(&why, "the gateway's limit of functions is reached");
        result = ADD_NO_ROOM;
    }
    if (result != ADDED)
        fail_add(s, item, &why);
    *taken = result == ADDED ? fun_config_ref(fc) : NULL;
    fun_config_unref(fc);
    return result;
}

/* add/1 and update/1 (S-071). Unlike the library's, update asks the rules for functions, too. */
enum rpc_outcome rpc_db_add(void *server, const struct rpc_call *call, struct buf *out)
{
    struct term_reader r = term_reader(call->argv[0]);
    struct fun_config *fc;
    struct buf mfa;
    if (term_peek(&r) != TERM_MAP)
        return RPC_ERROR;
    buf_init(&mfa, FUN_CONFIG_TERM_MAX);
    switch (add(server, call->argv[0], &mfa, &fc)) {
    case ADDED:
        tell_change(server, TELEMETRY_CONFIG_ADD, fc->service, fc->request_type, fc->version);
        term_put_atom(out, "ok");
        break;
    case ADD_INVALID: rpc_put_pair(out, "error", "invalid_config"); break;
    case ADD_NO_ROOM: rpc_put_pair(out, "error", "limit_reached"); break;
    case ADD_DENIED:
        term_put_tuple(out, 2);
        term_put_atom(out, "error");
        term_put_tuple(out, 2);
        term_put_atom(out, "mfa_not_allowed");
        term_put_raw(out, buf_slice(&mfa));
        break;
    }
    fun_config_unref(fc);
    buf_fini(&mfa);
    return RPC_RETURN;
}

/* {ok, N} of those that could be added. */
enum rpc_outcome rpc_db_batch_add(void *server, const struct rpc_call *call, struct buf *out)
{
    struct term_reader r = term_reader(call->argv[0]);
    struct server *s = server;
    struct fun_config *first = NULL, *fc;
    struct slice item;
    struct buf mfa;
    uint32_t n, added = 0;
    if (term_read_list(&r, &n) != BG_OK || n > PUSH_FUNCTIONS_MAX)
        return RPC_ERROR;
    buf_init(&mfa, FUN_CONFIG_TERM_MAX);
    for (uint32_t i = 0; i < n && term_skip(&r, &item) == BG_OK; i++) {
        added += add(s, item, &mfa, &fc) == ADDED;
        buf_reset(&mfa);
        if (first)
            fun_config_unref(fc);
        else
            first = fc;
    }
    buf_fini(&mfa);
    telemetry_tell_stored(&s->telemetry, added, first ? first->service : SLICE_NONE);
    fun_config_unref(first);
    if (added == 0) {
        rpc_put_pair(out, "error", "all_invalid");
        return RPC_RETURN;
    }
    term_put_tuple(out, 2);
    term_put_atom(out, "ok");
    return rpc_put_count(out, added);
}

static enum rpc_outcome set_disabled(struct server *s, const struct rpc_call *call, bool disabled, struct buf *out)
{
    struct function_key k;
    if (!read_key(call, &k))
        return RPC_ERROR;
    int rc = config_db_set_disabled(s->db, k.service, k.request_type, k.version, disabled);
    if (rc == BG_OK) {
        tell_change(s, disabled ? TELEMETRY_CONFIG_DISABLE : TELEMETRY_CONFIG_ENABLE, k.service, k.request_type,
                    k.version);
        return rpc_put_atom(out, "ok");
    }
    rpc_put_pair(out, "error", rc == BG_EGONE ? "not_found" : "limit_reached");
    return RPC_RETURN;
}

/* S-074: without a version, all of them; pulls and pushes leave it so (want). */
enum rpc_outcome rpc_db_disable(void *server, const struct rpc_call *call, struct buf *out)
{
    return set_disabled(server, call, true, out);
}

enum rpc_outcome rpc_db_enable(void *server, const struct rpc_call *call, struct buf *out)
{
    return set_disabled(server, call, false, out);
}

/* S-075: ok, whether there was one or not. */
enum rpc_outcome rpc_db_delete(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct function_key k;
    if (!read_key(call, &k))
        return RPC_ERROR;
    tell_change(s, TELEMETRY_CONFIG_DELETE, k.service, k.request_type, k.version);
    (void)config_db_delete(s->db, k.service, k.request_type, k.version);
    return rpc_put_atom(out, "ok");
}

enum rpc_outcome rpc_db_clear(void *server, const struct rpc_call *call, struct buf *out)
{
    struct server *s = server;
    struct buf *b = telemetry_begin(&s->telemetry, TELEMETRY_CONFIG_CLEAR);
    (void)call;
    if (b) {
        telemetry_put_nothing(b);
        term_put_map(b, 3);
        telemetry_put_word(b, "service", "all");
        telemetry_put_word(b, "request_type", "all");
        telemetry_put_word(b, "version", "all");
        telemetry_end(&s->telemetry);
    }
    config_db_clear(s->db);
    return rpc_put_atom(out, "ok");
}
