/*
 * rpc_server.c: see rpc_server.h. Takes argument lists apart without recursion and within a fixed number of slots,
 * finds the function, and writes how it ended in the three shapes that callers know.
 *
 * Invariant: a caller always gets one outcome, whatever it sent; nothing it names is ever made into an atom or
 * looked up anywhere but in the const table.
 */
#define _GNU_SOURCE /* qsort_r */
#include "rpc_server.h"

#include <stdlib.h>

#include "gather.h"

enum { SMALL_INTEGER_EXT = 97, EXPORT_EXT = 113, INT_TERM_BYTES = 2 };

/* The arguments of one call. A STRING_EXT holds bytes, not terms: its elements are written out to made. */
struct args {
    struct slice argv[RPC_ARITY_MAX];
    unsigned argc;
    uint8_t made[RPC_ARITY_MAX * INT_TERM_BYTES];
};

/* ---- the table ---- */

static int compare_text(struct slice a, const char *b)
{
    size_t n = strlen(b), both = a.len < n ? a.len : n;
    int c = both ? memcmp(a.ptr, b, both) : 0;
    return c ? c : (a.len > n) - (a.len < n);
}

/* Module, then function, then arity. */
static int compare_entry(struct slice module, struct slice function, unsigned arity, const struct rpc_entry *e)
{
    int c = compare_text(module, e->module);
    if (c == 0)
        c = compare_text(function, e->function);
    return c ? c : ((int)arity > e->arity) - ((int)arity < e->arity);
}

static int compare_positions(const void *a, const void *b, void *entries)
{
    const struct rpc_entry *all = entries, *x = &all[*(const uint16_t *)a];
    return compare_entry(slice_str(x->module), slice_str(x->function), (unsigned)x->arity, &all[*(const uint16_t *)b]);
}

int rpc_table_index(struct rpc_table *t)
{
    assert_always(t->count <= UINT16_MAX);
    t->order = malloc((t->count ? t->count : 1) * sizeof(*t->order));
    if (!t->order)
        return BG_ENOMEM;
    for (size_t i = 0; i < t->count; i++)
        t->order[i] = (uint16_t)i;
    void *entries = (void *)(uintptr_t)t->entries; /* qsort_r takes no const; the comparison reads only */
    qsort_r(t->order, t->count, sizeof(*t->order), compare_positions, entries);
    for (size_t i = 1; i < t->count; i++)
        assert_always(compare_positions(&t->order[i - 1], &t->order[i], entries) < 0);
    return BG_OK;
}

void rpc_table_fini(struct rpc_table *t)
{
    free(t->order);
    t->order = NULL;
}

/* The entry at a position of the order, or of the array where there is none yet. */
static const struct rpc_entry *entry_at(const struct rpc_table *t, size_t i)
{
    return &t->entries[t->order ? t->order[i] : i];
}

/* The first position whose entry is not below the three; only for tables that are in order. */
static size_t lower_bound(const struct rpc_table *t, struct slice module, struct slice function, unsigned arity)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare_entry(module, function, arity, entry_at(t, mid)) > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const struct rpc_entry *find_exactly(const struct rpc_table *t, struct slice module, struct slice function,
                                            unsigned arity)
{
    size_t i = t->order ? lower_bound(t, module, function, arity) : 0;
    size_t end = t->order && i < t->count ? i + 1 : t->count;
    for (; i < end; i++)
        if (compare_entry(module, function, arity, entry_at(t, i)) == 0)
            return entry_at(t, i);
    return NULL;
}

bool rpc_has_module(const struct rpc_table *t, struct slice module)
{
    size_t i = t->order ? lower_bound(t, module, SLICE_NONE, 0) : 0;
    size_t end = t->order && i < t->count ? i + 1 : t->count;
    if (slice_is(module, RPC_ANY_MODULE))
        return false;
    for (; i < end; i++)
        if (slice_is(module, entry_at(t, i)->module))
            return true;
    return false;
}

const struct rpc_entry *rpc_find(const struct rpc_table *t, struct slice module, struct slice function, unsigned arity)
{
    if (slice_is(module, RPC_ANY_MODULE))
        return NULL;
    const struct rpc_entry *e = find_exactly(t, module, function, arity);
    if (e || !rpc_has_module(t, module))
        return e;
    return find_exactly(t, SLICE_LIT(RPC_ANY_MODULE), function, arity);
}

/* ---- arguments ---- */

/* A list of small integers comes as a string of bytes (08 §2.2). */
static bool split_string(struct slice bytes, struct args *a)
{
    if (bytes.len > RPC_ARITY_MAX)
        return false;
    a->argc = (unsigned)bytes.len;
    for (unsigned i = 0; i < a->argc; i++) {
        uint8_t *term = a->made + i * INT_TERM_BYTES;
        term[0] = SMALL_INTEGER_EXT;
        term[1] = (uint8_t)bytes.ptr[i];
        a->argv[i] = slice_make(term, INT_TERM_BYTES);
    }
    return true;
}

/* False for an improper list, anything else than a list, and more than a BEAM function can take. */
static bool split_args(struct slice list, struct args *a)
{
    struct term_reader r = term_reader(list);
    struct slice bytes;
    uint32_t n;
    a->argc = 0;
    if (term_read_string(&r, &bytes) == BG_OK)
        return split_string(bytes, a);
    if (term_read_list(&r, &n) != BG_OK || n > RPC_ARITY_MAX)
        return false;
    for (; a->argc < n; a->argc++)
        if (term_skip(&r, &a->argv[a->argc]) != BG_OK)
            return false;
    return n == 0 || term_read_tail(&r) == BG_OK;
}

/* fun M:F/A: the only kind of fun that means something outside the BEAM that made it. */
static bool read_export(struct slice fun, struct slice *module, struct slice *function)
{
    if (fun.len == 0 || (uint8_t)fun.ptr[0] != EXPORT_EXT)
        return false;
    struct term_reader r = term_reader(slice_make(fun.ptr + 1, fun.len - 1));
    return term_read_atom(&r, module) == BG_OK && term_read_atom(&r, function) == BG_OK;
}

/* erlang:apply/2,3: names the function behind it and its argument list. */
static bool unwrap_apply(struct rpc_call *call, const struct args *a)
{
    struct slice module, function;
    if (!slice_is(call->module, "erlang") || !slice_is(call->function, "apply"))
        return false;
    if (a->argc == 3) {
        struct term_reader m = term_reader(a->argv[0]), f = term_reader(a->argv[1]);
        if (term_read_atom(&m, &module) != BG_OK || term_read_atom(&f, &function) != BG_OK)
            return false;
    } else if (a->argc != 2 || !read_export(a->argv[0], &module, &function)) {
        return false;
    }
    call->module = module;
    call->function = function;
    call->args = a->argv[a->argc - 1];
    return true;
}

/* ---- running ---- */

/* For what goes wrong before a function is found. */
static enum rpc_outcome fail(struct buf *out, const char *reason)
{
    term_put_atom(out, reason);
    return RPC_ERROR;
}

/* Of a pid term: id, serial and creation stand behind the node's name, four bytes each. */
enum { PID_TAIL = 12 };

static void tell_gather(const struct rpc_table *t, const struct rpc_call *call)
{
    uint64_t asker = 0;
    if (!t->gather || !call->link)
        return;
    if (call->caller.len >= PID_TAIL)
        memcpy(&asker, call->caller.ptr + call->caller.len - PID_TAIL, sizeof(asker));
    gather_asked(t->gather, asker ^ (uintptr_t)call->link);
}

enum rpc_outcome rpc_run(const struct rpc_table *t, struct rpc_call *call, struct slice args, struct buf *out,
                         bool *known)
{
    struct args a;
    *known = true;
    call->args = args;
    tell_gather(t, call);
    if (!split_args(args, &a))
        return fail(out, "badarg");
    /* One level only: an apply of an apply is not worth a loop. */
    if (unwrap_apply(call, &a) && !split_args(call->args, &a))
        return fail(out, "badarg");
    const struct rpc_entry *e = rpc_find(t, call->module, call->function, a.argc);
    *known = e != NULL;
    if (!e)
        return fail(out, "undef");
    call->argv = a.argv;
    call->argc = a.argc;
    size_t before = out->len;
    enum rpc_outcome outcome = e->fn(t->server, call, out);
    call->argv = NULL;
    /* A function that failed without a word did not like its arguments; one that returned nothing returns ok. */
    if (outcome != RPC_LATER && out->len == before && buf_ok(out))
        term_put_atom(out, outcome == RPC_RETURN ? "ok" : "function_clause");
    return outcome;
}

/* ---- how it ended ---- */

/* [{M, F, Args, []}] where a BEAM shows the arguments, [{M, F, Arity, []}] otherwise. */
static void put_stack(struct buf *b, const struct rpc_call *call, struct slice reason)
{
    bool show = call->args.len && (term_is_atom(reason, "undef") || term_is_atom(reason, "function_clause") ||
                                   term_is_atom(reason, "badarg"));
    term_put_list(b, 1);
    term_put_tuple(b, 4);
    term_put_atom_slice(b, call->module);
    term_put_atom_slice(b, call->function);
    if (show)
        term_put_raw(b, call->args);
    else
        term_put_int(b, call->argc);
    term_put_nil(b);
    term_put_nil(b);
}

void rpc_put_erpc(struct buf *b, struct slice ref, const struct rpc_call *call, enum rpc_outcome outcome,
                  struct slice value)
{
    static const char *const class[] = {
        [RPC_RETURN] = "return", [RPC_ERROR] = "error", [RPC_EXIT] = "exit", [RPC_THROW] = "throw"};
    assert_always(outcome < ARRAY_SIZE(class));
    term_put_tuple(b, outcome == RPC_ERROR ? 4 : 3);
    term_put_raw(b, ref);
    term_put_atom(b, class[outcome]);
    term_put_raw(b, value);
    if (outcome == RPC_ERROR)
        put_stack(b, call, value);
}

void rpc_put_rex(struct buf *b, const struct rpc_call *call, enum rpc_outcome outcome, struct slice value)
{
    if (outcome == RPC_RETURN || outcome == RPC_THROW) {
        term_put_raw(b, value);
        return;
    }
    term_put_tuple(b, 2);
    term_put_atom(b, "badrpc");
    term_put_tuple(b, 2);
    term_put_atom(b, "EXIT");
    if (outcome == RPC_ERROR)
        term_put_tuple(b, 2);
    term_put_raw(b, value);
    if (outcome == RPC_ERROR)
        put_stack(b, call, value);
}

void rpc_put_exit_reason(struct buf *b, const struct rpc_call *call, enum rpc_outcome outcome, struct slice value)
{
    if (outcome == RPC_RETURN) {
        term_put_atom(b, "normal");
        return;
    }
    if (outcome == RPC_EXIT) {
        term_put_raw(b, value);
        return;
    }
    term_put_tuple(b, 2);
    if (outcome == RPC_THROW) {
        term_put_tuple(b, 2);
        term_put_atom(b, "nocatch");
    }
    term_put_raw(b, value);
    put_stack(b, call, value);
}
