/*
 * request_nodes.c: functions whose nodes are not a list but a question, {M, F, A} (E-160). The library evaluates it on
 * the gateway for each request; here it is asked by rpc on the node that delivered the config, and the answer
 * holds for nodes_cache_ms. {erlang, nodes, []} and {'Elixir.Node', list, []} are what we are connected to.
 *
 * The cache is bounded; over the bound the whole of it is forgotten, which costs questions and nothing else.
 */
#include "request_internal.h"

#include <stdlib.h>

#include "log.h"

enum { LISTS_MAX = 1024, LIST_NODES_MAX = 1024 };

/* The answer to one question. Counted: requests that chose from it hold it. */
struct node_list {
    uint32_t refs;
    uint32_t count;
    uint64_t expires_us;
    struct slice key;
    struct buf text;    /* key and names */
    struct slice *name; /* point into text */
};

void node_list_unref(struct node_list *l)
{
    if (!l || --l->refs > 0)
        return;
    buf_fini(&l->text);
    free(l->name);
    free(l);
}

void node_lists_forget(struct gateway *gw)
{
    struct node_list *l;
    for (size_t pos = 0; (l = map_next(&gw->node_lists, &pos, NULL)) != NULL;)
        node_list_unref(l);
    map_fini(&gw->node_lists);
}

/* What tells one question from another: the node that is asked and the whole MFA. */
static void put_key(const struct fun_config *fc, struct buf *out)
{
    const struct slice parts[] = {fc->origin, fc->nodes_mfa.module, fc->nodes_mfa.function, fc->nodes_mfa.args};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        buf_printf(out, "%zu:", parts[i].len);
        buf_add_slice(out, parts[i]);
    }
}

static struct node_list *find_list(struct gateway *gw, const struct fun_config *fc)
{
    buf_reset(&gw->message);
    put_key(fc, &gw->message);
    struct node_list *l = map_get(&gw->node_lists, buf_slice(&gw->message));
    return l && l->expires_us > gw->o.timers->now_us ? l : NULL;
}

/* -- reading an answer --------------------------------------------------------------------------- */

/* Names are atoms or binaries (E-161, E-162 want); other elements are passed over, and nil is no node. */
static bool read_name(struct term_reader *t, struct slice *name)
{
    struct slice item;
    return term_skip(t, &item) == BG_OK && !term_is_nil(item) && term_text(item, name);
}

static bool fill_list(struct node_list *l, struct slice value, const struct fun_config *fc)
{
    struct term_reader t = term_reader(value);
    uint32_t n;
    if (term_read_list(&t, &n) != BG_OK || n > LIST_NODES_MAX)
        return false;
    l->name = calloc(n ? n : 1, sizeof(*l->name));
    put_key(fc, &l->text);
    size_t key_len = l->text.len;
    /* No name may move once it is pointed to. */
    if (!l->name || !buf_reserve(&l->text, value.len))
        return false;
    l->key = slice_make(l->text.data, key_len);
    for (struct slice name; n > 0; n--) {
        if (!read_name(&t, &name))
            continue;
        l->name[l->count++] = slice_make(l->text.data + l->text.len, name.len);
        buf_add_slice(&l->text, name);
    }
    return buf_ok(&l->text);
}

/* Puts the answer into the cache. NULL when it is no list of nodes. */
static struct node_list *keep_list(struct gateway *gw, const struct fun_config *fc, struct slice value)
{
    struct node_list *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->refs = 1;
    buf_init(&l->text, 0);
    if (!fill_list(l, value, fc)) {
        node_list_unref(l);
        return NULL;
    }
    l->expires_us = gw->o.timers->now_us + (uint64_t)gw->o.nodes_cache_ms * 1000;
    if (gw->node_lists.count >= LISTS_MAX)
        node_lists_forget(gw);
    struct node_list *old = map_get(&gw->node_lists, l->key);
    if (map_put(&gw->node_lists, l->key, l) != BG_OK) {
        node_list_unref(l);
        return NULL;
    }
    node_list_unref(old);
    return l;
}

/* -- asking ---------------------------------------------------------------------------------------- */

static void on_nodes_done(void *owner, uint64_t tag, enum call_outcome outcome, struct slice value)
{
    struct request *r = request_find(owner, tag);
    if (!r)
        return;
    r->call = HANDLE_NONE;
    struct node_list *l = outcome == CALL_RETURN ? keep_list(r->gw, r->fc, value) : NULL;
    if (l) {
        l->refs++;
        r->nodes = l;
        request_resume(r);
        return;
    }
    request_log(r, "the function that names the nodes gave no list of nodes", value);
    finish_failure(r, SLICE_NONE, false);
}

/* False: the request waits or has been answered. */
static bool ask_nodes(struct request *r, const struct asked *a)
{
    const struct call_ops *call = &r->gw->o.call;
    const struct mfa *mfa = &r->fc->nodes_mfa;
    uint32_t timeout_ms = r->fc->timeout_ms ? r->fc->timeout_ms : TIMEOUT_INFINITY_MS;
    enum call_outcome why;
    struct buf *out = NULL;
    if (r->self != HANDLE_NONE)
        out = call->begin(call->ctx, r->fc->origin, mfa->module, mfa->function, mfa->args_count, &why);
    if (out) {
        buf_add_slice(out, mfa->args);
        r->call = call->commit(call->ctx, (uint64_t)timeout_ms * 1000, on_nodes_done, r->gw, r->self);
    }
    if (r->call == HANDLE_NONE) {
        request_log(r, "the node that would name the nodes cannot be asked", SLICE_NONE);
        finish_failure(r, SLICE_NONE, false);
        return false;
    }
    r->stage--; /* the same stage again, with the answer in the cache */
    request_wait(r, a);
    return false;
}

static bool means_connected_nodes(const struct mfa *mfa)
{
    if (mfa->args_count != 0)
        return false;
    return (slice_is(mfa->module, "erlang") && slice_is(mfa->function, "nodes")) ||
           (slice_is(mfa->module, "Elixir.Node") && slice_is(mfa->function, "list"));
}

/* The list of what we are connected to, as a term, so that it takes the way of an answer. */
static struct node_list *connected_nodes(struct gateway *gw, const struct fun_config *fc)
{
    struct buf names, list;
    buf_init(&names, 0);
    buf_init(&list, 0);
    uint32_t n = gw->o.call.nodes(gw->o.call.ctx, &names);
    term_put_list(&list, n);
    buf_add_slice(&list, buf_slice(&names));
    if (n > 0)
        term_put_nil(&list);
    struct node_list *l = buf_ok(&list) ? keep_list(gw, fc, buf_slice(&list)) : NULL;
    buf_fini(&names);
    buf_fini(&list);
    return l;
}

bool nodes_resolve(struct request *r, const struct asked *a)
{
    struct gateway *gw = r->gw;
    if (r->nodes)
        return true;
    struct node_list *l = find_list(gw, r->fc);
    if (!l && means_connected_nodes(&r->fc->nodes_mfa))
        l = connected_nodes(gw, r->fc);
    if (!l)
        return ask_nodes(r, a);
    l->refs++;
    r->nodes = l;
    return true;
}

const struct slice *request_nodes(const struct request *r, uint32_t *count)
{
    *count = r->nodes ? r->nodes->count : r->fc->nodes_count;
    return r->nodes ? r->nodes->name : r->fc->nodes;
}

const struct slice *gateway_known_nodes(struct gateway *gw, const struct fun_config *fc, uint32_t *count)
{
    const struct node_list *l = NULL;
    *count = fc->nodes_count;
    if (fc->nodes_kind != NODES_MFA)
        return fc->nodes;
    l = find_list(gw, fc);
    if (!l && means_connected_nodes(&fc->nodes_mfa))
        l = connected_nodes(gw, fc);
    *count = l ? l->count : 0;
    return l ? l->name : NULL;
}
