/*
 * sim_client.c: the clients' side of the pipeline: channels, their frames, and the ways to go: told at once, or found out
 * in the middle of a request's two frames and told later. A frame may be larger than a client has room for.
 */
#include <stdlib.h>

#include "sim.h"

static struct sim_client *client_of(struct sim *s, handle_t channel)
{
    uint32_t i = handle_index(channel);
    sim_rule(s, i < SIM_CLIENTS, "a frame for a channel that never was");
    struct sim_client *c = &s->client[i];
    return c->channel && c->handle == channel && !c->gone ? c : NULL;
}

static const struct session *op_session(void *ctx, handle_t channel)
{
    struct sim_client *c = client_of(ctx, channel);
    return c ? &c->session : NULL;
}

static struct buf *op_push_begin(void *ctx, handle_t channel)
{
    struct sim *s = ctx;
    struct sim_client *c = client_of(s, channel);
    if (!c)
        return NULL;
    sim_rule(s, !c->pushing, "a push was begun inside another");
    c->pushing = true;
    buf_fini(&c->push);
    buf_init(&c->push, c->room);
    return &c->push;
}

/* Each frame may be the last that the client takes. */
static void frame_taken(struct sim *s, struct sim_client *c)
{
    if (c->frames_until_gone == 0 || --c->frames_until_gone > 0)
        return;
    sim_trace(s, "client %u has gone", (unsigned)(c - s->client));
    c->gone = true;
    oracle_client_gone(s, c);
}

static void op_push_end(void *ctx, handle_t channel, bool keep)
{
    struct sim *s = ctx;
    struct sim_client *c = client_of(s, channel);
    sim_rule(s, c && c->pushing, "a push was ended that was not begun");
    c->pushing = false;
    if (!keep && buf_ok(&c->push)) /* a value that JSON cannot carry */
        return;
    if (keep && !buf_ok(&c->push)) { /* not even room for an error or an acknowledgement: the edge closes such a client */
        sim_trace(s, "  (client %u is closed: no room for a frame)", (unsigned)(c - s->client));
        c->gone = true;
        oracle_client_gone(s, c);
        return;
    }
    oracle_push(s, c, buf_slice(&c->push), !keep);
    frame_taken(s, c);
}

static void op_reply(void *ctx, handle_t channel, struct slice ref, const char *status, struct slice response)
{
    struct sim *s = ctx;
    struct sim_client *c = client_of(s, channel);
    if (!c)
        return;
    sim_rule(s, !c->pushing, "a reply inside a push");
    oracle_reply(s, c, ref, status, response);
    frame_taken(s, c);
}

struct client_ops sim_client_ops(struct sim *s)
{
    return (struct client_ops){s, op_session, op_push_begin, op_push_end, op_reply, NULL};
}

void sim_client_join(struct sim *s, uint32_t client)
{
    static const size_t rooms[] = {0, 0, 0, 0, 160, 400, 2000};
    struct sim_client *c = &s->client[client];
    if (c->channel)
        return;
    c->channel = calloc(1, sizeof(*c->channel));
    request_list_init(&c->channel->waiting);
    c->handle = handle_make(client, ++c->generation);
    c->gone = false;
    c->frames_until_gone = sim_chance(s, 15) ? 1 + sim_random(s, 12) : 0;
    c->room = rooms[sim_random(s, ARRAY_SIZE(rooms))];
    c->roles[0] = SLICE_LIT("admin");
    c->session = (struct session){.user_id = sim_chance(s, 80) ? SLICE_LIT("u1") : SLICE_NONE,
                                  .roles = c->roles,
                                  .roles_count = sim_random(s, SIM_ROLES + 1),
                                  .ip_address = SLICE_LIT("127.0.0.1")};
    c->rules = (struct channel_rules){.override_user_id = sim_chance(s, 80), .require_verified_user_id = sim_chance(s, 30)};
    sim_trace(s, "client %u joins: user=%.*s override=%d verified=%d room=%zu goes_after=%u", client,
              (int)c->session.user_id.len, c->session.user_id.ptr ? c->session.user_id.ptr : "", c->rules.override_user_id,
              c->rules.require_verified_user_id, c->room, c->frames_until_gone);
}

/* As the edge does it: from then on the channel's handle finds nothing. */
void sim_client_leave(struct sim *s, uint32_t client)
{
    struct sim_client *c = &s->client[client];
    if (!c->channel)
        return;
    sim_trace(s, "client %u leaves", client);
    c->gone = c->closing = true;
    oracle_client_gone(s, c);
    gateway_channel_closed(s->gw, &c->channel->waiting);
    sim_rule(s, list_empty(&c->channel->waiting.head) && c->channel->waiting.count == 0,
             "requests wait on a channel that has ended");
    free(c->channel);
    c->channel = NULL;
    c->closing = false;
}

struct sim_client *sim_client_pick(struct sim *s)
{
    struct sim_client *c = &s->client[sim_random(s, SIM_CLIENTS)];
    return c->channel && !c->gone ? c : NULL;
}

void sim_clients_fini(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_CLIENTS; i++) {
        free(s->client[i].channel);
        s->client[i].channel = NULL;
        buf_fini(&s->client[i].push);
    }
}
