/*
 * observer_ports.c: sockets as Erlang ports and as sockets, for those two tabs (08 §5, D-21): the listeners, the links
 * to other nodes, the clients' WebSockets. Addresses and byte counters of clients come from the kernel (TCP_INFO) when
 * they are asked for, so a connection pays nothing for being visible.
 */
#include "observer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tcp_bytes.h"

/* 28 bits make a port's number. A client's is what the log calls it (conn=N) and 100000. */
enum { NEW_PORT_EXT = 89, LINK_PORT_BASE = 0x10, CLIENT_PORT_BASE = 100000, CLIENT_PORTS = (1 << 28) - CLIENT_PORT_BASE };

/* One row. */
struct port {
    uint32_t id;
    int fd;           /* -1: not told */
    const char *name; /* what it is: the configuration's word or a node's name */
    const char *rest; /* or NULL: not a socket, but this text about those that have no row */
    handle_t owner;
    uint64_t input;
    uint64_t output;
    size_t queued;
    const char *local;  /* host:port, or NULL */
    const char *remote; /* or NULL */
};

static void put_port(const struct server *s, struct buf *b, uint32_t id)
{
    uint8_t number[4];
    buf_putc(b, NEW_PORT_EXT);
    term_put_atom(b, s->self.name);
    put_be32(number, id);
    buf_add(b, number, sizeof(number));
    put_be32(number, s->self.creation);
    buf_add(b, number, sizeof(number));
}

/* {Key, {A,B,C,D}} or IPv6's eight numbers, then {PortKey, Number}, from host:port or [host]:port. Returns how many. */
static uint32_t put_address(struct buf *b, const char *address_key, const char *port_key, const char *text)
{
    unsigned char ip[16];
    char host[64];
    const char *colon = text ? strrchr(text, ':') : NULL;
    if (!colon)
        return 0;
    bool v6 = text[0] == '[';
    slice_cstr(slice_make(text + v6, (size_t)(colon - text) - 2 * v6), host, sizeof(host));
    if (inet_pton(v6 ? AF_INET6 : AF_INET, host, ip) != 1)
        return 0;
    put_key(b, address_key);
    term_put_tuple(b, v6 ? 8 : 4);
    for (unsigned i = 0; i < (v6 ? 8U : 4U); i++)
        term_put_uint(b, v6 ? get_be16(ip + 2 * i) : ip[i]);
    put_pair_uint(b, port_key, strtoul(colon + 1, NULL, 10));
    return 2;
}

static void put_inet(struct buf *b, const struct port *p)
{
    put_key(b, "inet");
    struct list_mark m = list_open(b);
    put_key(b, "statistics");
    term_put_list(b, 3);
    put_pair_uint(b, "recv_oct", p->input);
    put_pair_uint(b, "send_oct", p->output);
    put_pair_uint(b, "send_pend", p->queued);
    term_put_nil(b);
    put_pair_nil(b, "options");
    m.count = 2 + put_address(b, "local_address", "local_port", p->local) +
              put_address(b, "remote_address", "remote_port", p->remote);
    list_close(b, &m);
}

/* As erlang:port_info/1 and what Observer adds to it. Only of a tcp_inet its window tells addresses and bytes, so what
 * it is goes as its registered name. */
static void put_row(const struct server *s, struct buf *b, const struct port *p)
{
    struct list_mark m = list_open(b);
    if (p->name)
        put_pair_atom(b, "registered_name", p->name);
    put_key(b, "port_id");
    put_port(s, b, p->id);
    put_pair_uint(b, "id", p->id);
    put_key(b, "name");
    put_string(b, p->rest ? p->rest : "tcp_inet");
    put_key(b, "connected");
    node_put_pid(&s->self, b, p->owner);
    put_pair_nil(b, "links");
    put_pair_uint(b, "input", p->input);
    put_pair_uint(b, "output", p->output);
    put_pair_atom(b, "os_pid", "undefined");
    put_pair_uint(b, "memory", p->queued);
    put_pair_uint(b, "queue_size", p->queued);
    put_pair_atom(b, "parallelism", "false");
    put_pair_atom(b, "locking", "false");
    put_pair_nil(b, "monitors");
    put_pair_nil(b, "monitored_by");
    put_inet(b, p);
    m.count = 15 + (p->name != NULL);
    list_close(b, &m);
}

/* ---- the sockets --------------------------------------------------------------------------------------- */

static bool is_v6(const struct port *p)
{
    const char *text = p->local && p->local[0] ? p->local : p->remote;
    return text && text[0] == '[';
}

static void put_text_pair(struct buf *b, const char *key, const char *text)
{
    term_put_atom(b, key);
    put_string(b, text);
}

static void put_atom_pair(struct buf *b, const char *key, const char *value)
{
    term_put_atom(b, key);
    term_put_atom(b, value);
}

static void put_nil_pair(struct buf *b, const char *key)
{
    term_put_atom(b, key);
    term_put_nil(b);
}

/* A row of the Sockets tab: the map that observer_backend:get_socket_list/0 makes of a socket of OTP's module socket.
 */
static void put_socket(const struct server *s, struct buf *b, const struct port *p)
{
    char id[32];
    snprintf(id, sizeof(id), "#Socket<0.%u>", p->id);
    term_put_map(b, 15);
    term_put_atom(b, "id");
    put_port(s, b, p->id);
    put_text_pair(b, "id_str", p->rest ? p->rest : id);
    put_atom_pair(b, "kind", "plain");
    term_put_atom(b, "fd");
    term_put_int(b, p->fd);
    term_put_atom(b, "owner");
    node_put_pid(&s->self, b, p->owner);
    put_atom_pair(b, "domain", is_v6(p) ? "inet6" : "inet");
    put_atom_pair(b, "type", "stream");
    put_atom_pair(b, "protocol", "tcp");
    put_nil_pair(b, "rstates");
    put_nil_pair(b, "wstates");
    put_nil_pair(b, "monitored_by");
    term_put_atom(b, "statistics");
    term_put_list(b, 2);
    put_pair_uint(b, "read_byte", p->input);
    put_pair_uint(b, "write_byte", p->output);
    term_put_nil(b);
    put_nil_pair(b, "options");
    put_text_pair(b, "laddress", p->local ? p->local : "");
    put_text_pair(b, "raddress", p->remote ? p->remote : "");
}

typedef void put_port_fn(const struct server *s, struct buf *b, const struct port *p);

/* The rows under way, which are called back for. */
struct rows {
    const struct server *server;
    struct buf *out;
    put_port_fn *put;
    struct list_mark mark;
    uint32_t clients;
    uint32_t last; /* id of the client that was added last */
    bool more;     /* and there may be others after it */
};

static void add(struct rows *r, const struct port *p)
{
    r->put(r->server, r->out, p);
    r->mark.count++;
}

static void add_listeners(struct rows *r)
{
    const struct server *s = r->server;
    char local[160];
    const char *node_address = s->config ? s->config->node.listen_address : NULL;
    snprintf(local, sizeof(local), "%s:%u", node_address ? node_address : "0.0.0.0", cluster_port(s->cluster));
    add(r, &(struct port){.id = 1, .fd = -1, .name = "nodes", .owner = s->observer.part[PART_CLUSTER], .local = local});
    if (!s->edge)
        return;
    for (uint32_t i = 0; i < s->listeners_count; i++) {
        snprintf(local, sizeof(local), "%s:%u", s->listeners[i].address, edge_port(s->edge, i));
        add(r, &(struct port){
                   .id = 2 + i, .fd = -1, .name = "clients", .owner = s->observer.part[PART_CLIENTS], .local = local});
    }
}

static handle_t owner_or_part(const struct server *s, handle_t p, enum server_part part)
{
    return p != HANDLE_NONE ? p : s->observer.part[part];
}

static void add_links(struct rows *r)
{
    const struct server *s = r->server;
    struct dist_link *l;
    for (uint32_t pos = 0; (l = cluster_next_link(s->cluster, &pos)) != NULL;) {
        struct dist_link_stats st;
        char node[NODE_NAME_MAX + 1];
        dist_link_stats(l, &st);
        add(r, &(struct port){.id = LINK_PORT_BASE + handle_index(dist_link_handle(l)),
                              .fd = -1,
                              .name = slice_cstr(dist_link_node(l), node, sizeof(node)),
                              .owner = owner_or_part(s, observer_link_process(s, l), PART_CLUSTER),
                              .input = st.bytes_in,
                              .output = st.bytes_out,
                              .queued = st.queued_bytes,
                              .remote = st.address});
    }
}

/* host:port of a socket's end; empty where there is none. */
static void address_text(int rc, const struct sockaddr_storage *a, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    text[0] = '\0';
    if (rc != 0)
        return;
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;
    if (a->ss_family == AF_INET && inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host)))
        snprintf(text, size, "%s:%u", host, ntohs(v4->sin_port));
    else if (a->ss_family == AF_INET6 && inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host)))
        snprintf(text, size, "[%s]:%u", host, ntohs(v6->sin6_port));
}

static void add_client(void *ctx, uint32_t id, handle_t process, int fd, size_t unsent_bytes)
{
    struct rows *r = ctx;
    struct tcp_bytes bytes = tcp_bytes(fd);
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);
    char local[64], remote[64];
    address_text(getsockname(fd, (struct sockaddr *)&a, &len), &a, local, sizeof(local));
    len = sizeof(a);
    address_text(getpeername(fd, (struct sockaddr *)&a, &len), &a, remote, sizeof(remote));
    add(r, &(struct port){.id = CLIENT_PORT_BASE + id % CLIENT_PORTS,
                          .fd = fd,
                          .name = "websocket",
                          .owner = owner_or_part(r->server, process, PART_CLIENTS),
                          .input = bytes.received,
                          .output = bytes.acknowledged,
                          .queued = unsent_bytes,
                          .local = local,
                          .remote = remote});
    r->last = id;
    r->clients++;
}

static void rows_begin(struct rows *r, const struct server *s, struct buf *out, put_port_fn *put)
{
    *r = (struct rows){.server = s, .out = out, .put = put, .mark = list_open(out)};
    if (s->cluster) {
        add_listeners(r);
        add_links(r);
    }
}

/* The next clients; false when there are no more of them, or enough. */
static bool rows_add_clients(struct rows *r)
{
    const struct edge *ed = r->server->edge;
    r->more = ed && edge_each_client(ed, r->last, PORTS_A_TURN, add_client, r) == PORTS_A_TURN;
    return r->more && r->clients < PORTS_SHOWN;
}

/* A list that is cut says so; by its number that row is the first. */
static void rows_end(struct rows *r)
{
    uint64_t all = r->server->metrics.value[METRIC_CLIENT_CONNECTED];
    char rest[64];
    if (r->more && all > r->clients) {
        snprintf(rest, sizeof(rest), "%llu clients more", (unsigned long long)(all - r->clients));
        add(r, &(struct port){.fd = -1, .rest = rest, .owner = r->server->observer.part[PART_CLIENTS]});
    }
    list_close(r->out, &r->mark);
}

/* ---- many clients ---------------------------------------------------------------------------------------- */

/* A list that is made in pieces. Whoever asks before it is whole gets it too: then it is handed out, to one a turn, for
 * it may be megabytes. It lives as long as somebody waits for it. */
struct port_list {
    struct list all;
    struct server *server;
    struct rows rows;
    struct buf out;
    bool whole;
    bool broken; /* no memory for it */
    struct list askers;
    struct timer timer;
};

struct asker {
    struct list all;
    handle_t waiter;
};

static void port_list_free(struct port_list *l)
{
    struct server *s = l->server;
    while (!list_empty(&l->askers))
        free(container_of(list_pop(&l->askers), struct asker, all));
    timer_disarm(&s->timers, &l->timer);
    list_remove(&l->all);
    s->observer.port_list_count--;
    buf_fini(&l->out);
    free(l);
}

void observer_end_ports(struct server *s)
{
    while (s->observer.port_lists.next && !list_empty(&s->observer.port_lists))
        port_list_free(container_of(s->observer.port_lists.next, struct port_list, all));
}

static void answer_one(struct port_list *l)
{
    struct asker *a = container_of(list_pop(&l->askers), struct asker, all);
    handle_t waiter = a->waiter;
    struct buf reason;
    free(a);
    if (!l->broken && buf_ok(&l->out)) {
        rpc_later_answer(l->server->later, waiter, RPC_RETURN, buf_slice(&l->out));
        return;
    }
    buf_init(&reason, 0);
    term_put_atom(&reason, "system_limit");
    rpc_later_answer(l->server->later, waiter, RPC_EXIT, buf_slice(&reason));
    buf_fini(&reason);
}

static void on_turn(struct timer *t)
{
    enum { STEP_US = 1000 };
    struct port_list *l = container_of(t, struct port_list, timer);
    if (l->whole && !list_empty(&l->askers)) {
        answer_one(l);
    } else if (!l->whole && !rows_add_clients(&l->rows)) {
        rows_end(&l->rows);
        l->whole = true;
    }
    if (list_empty(&l->askers)) {
        port_list_free(l);
    } else if (timer_arm_in(&l->server->timers, t, STEP_US) != BG_OK) {
        l->broken = true;
        while (!list_empty(&l->askers))
            answer_one(l);
        port_list_free(l);
    }
}

/* The list of this kind that is not yet whole; NULL when there is none and no room for one. */
static struct port_list *port_list_of(struct server *s, put_port_fn *put)
{
    for (struct list *it = s->observer.port_lists.next; it != &s->observer.port_lists; it = it->next) {
        struct port_list *l = container_of(it, struct port_list, all);
        if (!l->whole && l->rows.put == put)
            return l;
    }
    struct port_list *l = s->observer.port_list_count < PORT_LISTS ? calloc(1, sizeof(*l)) : NULL;
    if (!l)
        return NULL;
    l->server = s;
    l->timer.fn = on_turn;
    list_init(&l->askers);
    list_append(&s->observer.port_lists, &l->all);
    s->observer.port_list_count++;
    buf_init(&l->out, 0);
    rows_begin(&l->rows, s, &l->out, put);
    if (timer_arm_in(&s->timers, &l->timer, 0) == BG_OK)
        return l;
    port_list_free(l);
    return NULL;
}

/* It ended before it was answered. */
static void on_gone(void *owner, handle_t waiter)
{
    struct asker *a = owner;
    (void)waiter;
    list_remove(&a->all);
    free(a);
}

/* False when this caller cannot wait, or there is no room. */
static bool answer_later(struct server *s, const struct rpc_call *call, put_port_fn *put)
{
    static const struct rpc_waiter_ops ops = {.gone = on_gone};
    struct port_list *l = s->later && call->shape != RPC_SHAPE_NOW ? port_list_of(s, put) : NULL;
    struct asker *a = l ? calloc(1, sizeof(*a)) : NULL;
    if (!a)
        return false;
    a->waiter = rpc_later_begin(s->later, call, &ops, a);
    if (a->waiter == HANDLE_NONE) {
        free(a);
        return false;
    }
    list_append(&l->askers, &a->all);
    return true;
}

/* Few at once; many in pieces. Who cannot wait for those gets the first of them, and how many there are more. */
static enum rpc_outcome put_list(struct server *s, const struct rpc_call *call, struct buf *out, put_port_fn *put)
{
    struct rows r;
    if (s->metrics.value[METRIC_CLIENT_CONNECTED] > PORTS_A_TURN && answer_later(s, call, put))
        return RPC_LATER;
    rows_begin(&r, s, out, put);
    (void)rows_add_clients(&r);
    rows_end(&r);
    return RPC_RETURN;
}

OBSERVER_FN(observer_port_list)
{
    return put_list(server, call, out, put_row);
}

OBSERVER_FN(observer_socket_list)
{
    return put_list(server, call, out, put_socket);
}

/* All of them are TCP; by address family they are not counted. */
OBSERVER_FN(observer_socket_info)
{
    static const char *const counters[] = {"num_sockets", "num_tstreams", "num_ptcp"};
    (void)call;
    term_put_list(out, ARRAY_SIZE(counters) + 1);
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
        put_pair_uint(out, counters[i], observer_port_count(server));
    put_pair_uint(out, "num_monitors", 0);
    term_put_nil(out);
    return RPC_RETURN;
}

uint32_t observer_port_count(const struct server *s)
{
    uint32_t n = (uint32_t)s->metrics.value[METRIC_LINKS_UP] + (s->cluster != NULL) + (s->edge != NULL);
    return n + (s->edge ? edge_connections(s->edge) : 0);
}
