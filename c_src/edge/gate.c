/*
 * gate.c: see gate.h.
 *
 * Invariants: an address with connections stays; one without stays only while it has connected too lately for its
 * bucket to be full again, on the list `resting` in the order in which they left, and at most RESTING_MAX of them:
 * beyond it the one that left longest ago is forgotten, and its bucket is full when it comes again. So the table has at
 * most max_connections + RESTING_MAX addresses, and strangers cannot fill it. A user stays exactly while he has
 * sockets.
 *
 * It decides about numbers only; whether an address may come in at all, and who a user is, is decided elsewhere.
 */
#include "gate.h"

#include <stdlib.h>

#include "list.h"
#include "map.h"

enum { RESTING_MAX = 65536, FORGET_STEP = 2 };

struct gate_address {
    struct ip_address net;
    uint32_t connections;
    struct token_bucket connects;
    struct list resting;
};

struct gate {
    struct client_limits *limits;
    struct token_bucket connects;
    struct map addresses;
    struct map users;
    struct list resting;
    uint32_t resting_count;
};

struct gate *gate_new(struct client_limits *limits)
{
    struct gate *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->limits = limits;
    map_init(&g->addresses);
    map_init(&g->users);
    list_init(&g->resting);
    return g;
}

static struct slice key_of(const struct gate_address *a)
{
    return slice_make(a->net.bytes, sizeof(a->net.bytes));
}

static void tell_counts(const struct gate *g)
{
    g->limits->metrics->value[METRIC_CLIENT_ADDRESSES] = g->addresses.count;
    g->limits->metrics->value[METRIC_CLIENT_USERS] = g->users.count;
}

static void forget(struct gate *g, struct gate_address *a)
{
    if (list_linked(&a->resting)) {
        list_remove(&a->resting);
        g->resting_count--;
    }
    map_del(&g->addresses, key_of(a));
    free(a);
    tell_counts(g);
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    while (!list_empty(&g->resting))
        forget(g, container_of(g->resting.next, struct gate_address, resting));
    assert_always(g->addresses.count == 0 && g->users.count == 0);
    map_fini(&g->addresses);
    map_fini(&g->users);
    free(g);
}

uint64_t gate_pause_us(struct gate *g, uint64_t now_us)
{
    uint64_t debt_us = token_bucket_take(&g->connects, &g->limits->rate[LIMIT_CONNECTS], now_us, 1);
    return debt_us && limit_refuse(g->limits, LIMIT_CONNECTS, 0, SLICE_NONE) ? debt_us : 0;
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

/* The bytes by which a client is known: an IPv4 address, or the network of an IPv6 address. */
static struct ip_address network_of(const struct ip_address *ip)
{
    enum { NETWORK_BYTES = 8 };
    struct ip_address net = *ip;
    if (!ip_is_v4(ip))
        memset(net.bytes + NETWORK_BYTES, 0, sizeof(net.bytes) - NETWORK_BYTES);
    return net;
}

/* Makes room: those that have rested long enough, and when there are too many the one that has rested longest. */
static void forget_some(struct gate *g, uint64_t now_us)
{
    for (int i = 0; i < FORGET_STEP && !list_empty(&g->resting); i++) {
        struct gate_address *a = container_of(g->resting.next, struct gate_address, resting);
        if (!token_bucket_is_full(&a->connects, now_us) && g->resting_count < RESTING_MAX)
            return;
        forget(g, a);
    }
}

static struct gate_address *address_get(struct gate *g, const struct ip_address *ip, uint64_t now_us)
{
    struct ip_address net = network_of(ip);
    struct gate_address *a = map_get(&g->addresses, slice_make(net.bytes, sizeof(net.bytes)));
    if (a)
        return a;
    forget_some(g, now_us);
    a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->net = net;
    list_init(&a->resting);
    if (map_put(&g->addresses, key_of(a), a) != BG_OK) {
        free(a);
        return NULL;
    }
    return a;
}

/* Nobody is here any more. */
static void rest(struct gate *g, struct gate_address *a, uint64_t now_us)
{
    if (token_bucket_is_full(&a->connects, now_us)) {
        forget(g, a);
    } else if (!list_linked(&a->resting)) {
        list_append(&g->resting, &a->resting);
        g->resting_count++;
    }
}

static bool may_enter(struct gate *g, struct gate_address *a, struct slice ip, uint64_t now_us)
{
    struct client_limits *l = g->limits;
    if (!token_bucket_try(&a->connects, &l->rate[LIMIT_ADDRESS_CONNECTS], now_us) &&
        limit_refuse(l, LIMIT_ADDRESS_CONNECTS, 0, ip))
        return false;
    return a->connections < l->value[LIMIT_ADDRESS_CONNECTIONS] || !limit_refuse(l, LIMIT_ADDRESS_CONNECTIONS, 0, ip);
}

bool gate_enter(struct gate *g, struct client_source *from, uint64_t now_us)
{
    struct gate_address *a = address_get(g, &from->address, now_us);
    if (!a)
        return false;
    if (!may_enter(g, a, slice_str(from->text), now_us)) {
        if (a->connections == 0)
            rest(g, a, now_us);
        return false;
    }
    if (list_linked(&a->resting)) {
        list_remove(&a->resting);
        g->resting_count--;
    }
    a->connections++;
    from->at = a;
    tell_counts(g);
    return true;
}

void gate_leave(struct gate *g, struct client_source *from, uint64_t now_us)
{
    struct gate_address *a = from->at;
    from->at = NULL;
    if (a && --a->connections == 0)
        rest(g, a, now_us);
}

/* --- users -------------------------------------------------------------------------------------------------------- */

static struct gate_user *user_new(struct gate *g, struct slice id)
{
    struct gate_user *u = calloc(1, sizeof(*u) + id.len);
    if (!u)
        return NULL;
    u->len = (uint32_t)id.len;
    memcpy(u->id, id.ptr, id.len);
    u->in_flight.limit = LIMIT_USER_IN_FLIGHT;
    if (map_put(&g->users, slice_make(u->id, u->len), u) != BG_OK) {
        free(u);
        return NULL;
    }
    return u;
}

struct gate_user *gate_user_enter(struct gate *g, struct slice id, struct slice ip)
{
    struct gate_user *u = map_get(&g->users, id);
    if (!u)
        u = user_new(g, id);
    else if (u->sockets >= g->limits->value[LIMIT_USER_CONNECTIONS] &&
             limit_refuse(g->limits, LIMIT_USER_CONNECTIONS, 0, ip))
        return NULL;
    if (u)
        u->sockets++;
    tell_counts(g);
    return u;
}

void gate_user_leave(struct gate *g, struct gate_user *u)
{
    if (!u || --u->sockets > 0)
        return;
    assert_always(u->in_flight.count == 0);
    map_del(&g->users, slice_make(u->id, u->len));
    free(u);
    tell_counts(g);
}
