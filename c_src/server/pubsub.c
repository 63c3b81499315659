/*
 * pubsub.c: the gateway among the members of Phoenix.PubSub (K-090, K-093, K-095), for what a broadcast can mean here:
 * a "disconnect" on the id of sockets (P-010). And the same by rpc, for services without PubSub.
 *
 * All that an application broadcasts comes here, since pg knows no topics; what is not for us is dropped at its event.
 */
#include "rpc_functions.h"

#include <stdio.h>
#include <stdlib.h>

#include "log.h"

enum { GROUP_MAX = 256 };

/* #{'__struct__' := 'Elixir.Phoenix.Socket.Broadcast', event := <<"disconnect">>}. */
static bool is_disconnect(struct slice broadcast)
{
    struct slice of, event, text;
    if (!term_map_get(broadcast, "__struct__", &of) || !term_is_atom(of, "Elixir.Phoenix.Socket.Broadcast") ||
        !term_map_get(broadcast, "event", &event))
        return false;
    struct term_reader r = term_reader(event);
    return term_read_binary(&r, &text) == BG_OK && slice_is(text, "disconnect");
}

/* {forward_to_local, Topic, Message, Dispatcher}. */
static void on_broadcast(void *ctx, struct slice msg)
{
    struct server *s = ctx;
    struct term_reader r = term_reader(msg);
    struct slice topic, message;
    uint32_t arity;
    if (term_read_tagged(&r, "forward_to_local", &arity) != BG_OK || arity != 4 || term_read_binary(&r, &topic) != BG_OK ||
        term_skip(&r, &message) != BG_OK || !is_disconnect(message))
        return;
    log_info("server", "disconnected by broadcast", "id=%s sockets=%u", log_text(topic), edge_disconnect(s->edge, topic));
}

/* Phoenix.PubSub.PG2 has a group for each shard: NAME.Adapter, NAME.Adapter_2 and so on. */
static bool make_groups(struct server *s, const struct pubsub_settings *p)
{
    char name[GROUP_MAX];
    s->pubsub_groups = calloc((size_t)p->names_count * p->pool_size, sizeof(*s->pubsub_groups));
    if (!s->pubsub_groups)
        return false;
    for (uint32_t i = 0; i < p->names_count; i++) {
        for (uint32_t k = 1; k <= p->pool_size; k++) {
            char shard[16] = "";
            if (k > 1)
                snprintf(shard, sizeof(shard), "_%u", k);
            snprintf(name, sizeof(name), "Elixir.%s.Adapter%s", p->names[i], shard);
            struct slice *group = &s->pubsub_groups[s->pubsub_groups_count];
            group->ptr = slice_dup(slice_str(name));
            if (!group->ptr)
                return false;
            group->len = strlen(name);
            s->pubsub_groups_count++;
        }
    }
    return true;
}

int server_start_pubsub(struct server *s, struct err *e)
{
    const struct pubsub_settings *p = &s->config->pubsub;
    if (p->names_count == 0)
        return BG_OK;
    if (!make_groups(s, p))
        return err_set(e, BG_ENOMEM, 0, "no memory for PubSub");
    const struct pg_options o = {
        .self = &s->self,
        .cluster = s->cluster,
        .processes = s->processes,
        .timers = &s->timers,
        .scope = "Elixir.Phoenix.PubSub",
        .groups = s->pubsub_groups,
        .groups_count = s->pubsub_groups_count,
        .message = on_broadcast,
        .ctx = s,
    };
    s->pubsub = pg_scope_new(&o, e);
    return s->pubsub ? BG_OK : BG_EINVAL;
}

void server_stop_pubsub(struct server *s)
{
    pg_scope_free(s->pubsub);
    s->pubsub = NULL;
    for (uint32_t i = 0; i < s->pubsub_groups_count; i++)
        free((void *)(uintptr_t)s->pubsub_groups[i].ptr);
    free(s->pubsub_groups);
}

/* 'Elixir.Beamgate':disconnect(Id): how many sockets were closed. */
static enum rpc_outcome rpc_disconnect(void *server, const struct rpc_call *call, struct buf *out)
{
    const struct server *s = server;
    struct term_reader r = term_reader(call->argv[0]);
    struct slice id;
    if (term_read_binary(&r, &id) != BG_OK)
        return RPC_ERROR;
    uint32_t n = edge_disconnect(s->edge, id);
    log_info("server", "disconnected by rpc", "id=%s sockets=%u", log_text(id), n);
    return rpc_put_count(out, n);
}

const struct rpc_entry pubsub_entries[] = {
    {"Elixir.Beamgate", "disconnect", 1, rpc_disconnect},
};
const size_t pubsub_entries_count = ARRAY_SIZE(pubsub_entries);
