/*
 * epmd.c: see epmd.h. Two users of one small connection object: lookups (PORT_PLEASE2) and our registration.
 *
 * Registration goes through erl_interface's ei_publish, which blocks and therefore runs on libuv's thread pool. Its
 * descriptor is kept: the name stands as long as it is open. ei_publish reads 4 of the 6 bytes of ALIVE2_X_RESP, so
 * two bytes arrive later and are drained (08 §1.5). When epmd goes away the descriptor ends and the name is
 * registered anew, several times a second until it stands.
 *
 * ei_publish speaks only to 127.0.0.1. Where ERL_EPMD_ADDRESS names another address first, ALIVE2 is spoken here, over
 * the same connection object.
 *
 * ei_publish cannot say why it failed (a name that is taken and an epmd that is down are both EIO), so after a failure
 * our own name is looked up: if epmd has it, another node bears it. A quick restart meets its own old name for a
 * moment, hence TAKEN_PATIENCE_US before that is final.
 */
#include "epmd.h"

#include <arpa/inet.h>
#include <ei.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.h"

enum {
    ALIVE2_REQ = 120,
    PORT_PLEASE2_REQ = 122,
    ALIVE2_X_RESP = 118,
    PORT2_RESP = 119,
    ALIVE2_RESP = 121,
    NODE_HIDDEN = 72,
    VERSION = 6, /* of the distribution protocol: OTP 23 and later; the only one that OTP 25 speaks */
    PUBLISH_MS = 2000,
    AGAIN_SOON_US = 200 * 1000,
    AGAIN_US = 500 * 1000,
    TAKEN_PATIENCE_US = 2 * 1000 * 1000
};

uint16_t epmd_port(void)
{
    const char *text = getenv("ERL_EPMD_PORT");
    long port = text ? strtol(text, NULL, 10) : 0;
    return port > 0 && port <= UINT16_MAX ? (uint16_t)port : EPMD_PORT_DEFAULT;
}

void epmd_local_address(struct sockaddr_storage *addr)
{
    const char *list = getenv("ERL_EPMD_ADDRESS");
    char first[64];
    int port = epmd_port();
    slice_cstr(list ? slice_make(list, strcspn(list, ", ")) : SLICE_NONE, first, sizeof(first));
    if (uv_ip4_addr(first, port, (struct sockaddr_in *)addr) == 0 ||
        uv_ip6_addr(first, port, (struct sockaddr_in6 *)addr) == 0)
        return;
    uv_ip4_addr("127.0.0.1", port, (struct sockaddr_in *)addr);
}

/* Wire forms */

static void put_u16(struct buf *b, size_t v)
{
    uint8_t be[2];
    put_be16(be, (uint16_t)v);
    buf_add(b, be, sizeof(be));
}

void epmd_put_port_request(struct buf *b, struct slice alive)
{
    put_u16(b, 1 + alive.len);
    buf_putc(b, PORT_PLEASE2_REQ);
    buf_add_slice(b, alive);
}

void epmd_put_alive_request(struct buf *b, struct slice alive, uint16_t port)
{
    put_u16(b, 1 + 2 + 1 + 1 + 2 + 2 + 2 + alive.len + 2);
    buf_putc(b, ALIVE2_REQ);
    put_u16(b, port);
    buf_putc(b, NODE_HIDDEN);
    buf_putc(b, 0); /* TCP */
    put_u16(b, VERSION);
    put_u16(b, VERSION);
    put_u16(b, alive.len);
    buf_add_slice(b, alive);
    put_u16(b, 0); /* no extra */
}

int epmd_parse_port(struct slice in, struct epmd_answer *a)
{
    const uint8_t *b = (const uint8_t *)in.ptr;
    enum { RESULT = 1, PORT = 2, PROTOCOL = 5, HIGHEST = 6, LOWEST = 8, HEAD = 10 };
    if (in.len > 0 && b[0] != PORT2_RESP)
        return BG_EINVAL;
    if (in.len > RESULT && b[RESULT] != 0)
        return BG_EGONE;
    if (in.len < HEAD)
        return BG_EMORE;
    *a = (struct epmd_answer){get_be16(b + PORT), get_be16(b + HIGHEST), get_be16(b + LOWEST)};
    return a->port != 0 && b[PROTOCOL] == 0 ? BG_OK : BG_EINVAL;
}

int epmd_parse_alive(struct slice in)
{
    const uint8_t *b = (const uint8_t *)in.ptr;
    if (in.len > 0 && b[0] != ALIVE2_RESP && b[0] != ALIVE2_X_RESP)
        return BG_EINVAL;
    if (in.len > 1 && b[1] != 0)
        return BG_EGONE;
    if (in.len < 4 || (b[0] == ALIVE2_X_RESP && in.len < 6))
        return BG_EMORE;
    return BG_OK;
}

/* A connection to an epmd */

struct epmd_conn {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct buf request;
    uint8_t in[EPMD_ANSWER_MAX];
    size_t have;
    /* More bytes are in `in`, or status < 0: it ended. Either may close the connection. */
    void (*event)(struct epmd_conn *c, int status);
    void *owner; /* NULL once closed */
};

static void conn_freed(uv_handle_t *h)
{
    struct epmd_conn *c = h->data;
    buf_fini(&c->request);
    free(c);
}

/* The descriptor is closed at once, the memory goes when libuv lets go of it; event is not called any more. */
static void conn_close(struct epmd_conn *c)
{
    c->owner = NULL;
    uv_close((uv_handle_t *)&c->tcp, conn_freed);
}

static struct epmd_conn *conn_new(uv_loop_t *loop, void (*event)(struct epmd_conn *, int), void *owner)
{
    struct epmd_conn *c = calloc(1, sizeof(*c));
    if (!c || uv_tcp_init(loop, &c->tcp) != 0) {
        free(c);
        return NULL;
    }
    buf_init(&c->request, EPMD_ANSWER_MAX);
    c->tcp.data = c->connect.data = c->write.data = c;
    c->event = event;
    c->owner = owner;
    return c;
}

/* A full buffer starts over: a registered connection only ever gets bytes that are drained. */
static void conn_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    (void)suggested;
    struct epmd_conn *c = h->data;
    if (c->have == sizeof(c->in))
        c->have = 0;
    *b = uv_buf_init((char *)c->in + c->have, (unsigned)(sizeof(c->in) - c->have));
}

static void conn_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    (void)b;
    struct epmd_conn *c = s->data;
    if (n > 0)
        c->have += (size_t)n;
    if (n != 0)
        c->event(c, n < 0 ? (int)n : 0);
}

static int conn_listen(struct epmd_conn *c)
{
    return uv_read_start((uv_stream_t *)&c->tcp, conn_alloc, conn_read);
}

static void conn_written(uv_write_t *req, int status)
{
    struct epmd_conn *c = req->data;
    if (status < 0 && c->owner)
        c->event(c, status);
}

/* Reading begins before the request is written: an epmd that refuses closes at once, and that is heard as such. */
static void conn_connected(uv_connect_t *req, int status)
{
    struct epmd_conn *c = req->data;
    if (!c->owner)
        return;
    uv_buf_t b = uv_buf_init((char *)c->request.data, (unsigned)c->request.len);
    if (status == 0)
        status = conn_listen(c);
    if (status == 0)
        status = uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, conn_written);
    if (status < 0)
        c->event(c, status);
}

/* c->request is ready. Closes c when it fails at once. */
static int conn_open(struct epmd_conn *c, const struct sockaddr *addr)
{
    int rc = buf_ok(&c->request) ? uv_tcp_connect(&c->connect, &c->tcp, addr, conn_connected) : UV_ENOMEM;
    if (rc != 0)
        conn_close(c);
    return rc;
}

static struct slice conn_bytes(const struct epmd_conn *c)
{
    return slice_make(c->in, c->have);
}

/* Lookups */

struct epmd_lookup {
    struct epmd_conn *conn;
    epmd_lookup_fn *fn;
    void *ctx;
};

static const char *lookup_why(int rc, int status)
{
    if (rc == BG_EGONE)
        return "the node is not registered with its epmd";
    if (rc == BG_EINVAL)
        return "what answers on the epmd port is not an epmd";
    return status == UV_ECONNREFUSED ? "no epmd listens there" : "its epmd cannot be reached";
}

/* epmd closes after its answer, so an end is a failure only when no whole answer came before it. */
static void lookup_event(struct epmd_conn *c, int status)
{
    struct epmd_lookup *q = c->owner;
    struct epmd_answer a = {0};
    int rc = epmd_parse_port(conn_bytes(c), &a);
    if (rc == BG_EMORE && status == 0)
        return;
    if (rc == BG_EMORE)
        rc = BG_ESYS;
    epmd_lookup_fn *fn = q->fn;
    void *ctx = q->ctx;
    epmd_lookup_cancel(q);
    fn(ctx, rc, &a, rc == BG_OK ? "" : lookup_why(rc, status));
}

struct epmd_lookup *epmd_lookup_new(uv_loop_t *loop, const struct sockaddr *addr, struct slice alive,
                                    epmd_lookup_fn *fn, void *ctx)
{
    struct epmd_lookup *q = malloc(sizeof(*q));
    struct epmd_conn *c = q ? conn_new(loop, lookup_event, q) : NULL;
    if (!c) {
        free(q);
        return NULL;
    }
    *q = (struct epmd_lookup){c, fn, ctx};
    epmd_put_port_request(&c->request, alive);
    if (conn_open(c, addr) == 0)
        return q;
    free(q);
    return NULL;
}

void epmd_lookup_cancel(struct epmd_lookup *q)
{
    if (!q)
        return;
    conn_close(q->conn);
    free(q);
}

/* Registration */

/* Belongs to the thread pool while it runs, with a copy of what it reads: the registration may go first. */
struct publish_job {
    uv_work_t work;
    struct epmd_registration *r; /* NULL: nobody wants the result */
    ei_cnode ec;
    int port;
    int fd;
};

struct epmd_registration {
    uv_loop_t *loop;
    struct timers *timers;
    struct metrics *metrics;
    const struct node_identity *self;
    uint16_t port;
    struct timer again;
    struct publish_job *job;    /* ei_publish is under way */
    struct epmd_conn *conn;     /* holds our name, or asks for it */
    struct epmd_lookup *lookup; /* who has our name? */
    bool held;
    bool ever_held;
    bool failed;
    uint64_t taken_since_us; /* 0: not taken */
};

static void try_again(struct epmd_registration *r, uint64_t delay_us)
{
    if (timer_arm_in(r->timers, &r->again, delay_us) != BG_OK)
        log_error("cluster", "no memory for a timer", "hint=\"the node name will not be registered with epmd\"");
}

/* The timers' clock is that of before the loop waited. */
static void update_now(struct epmd_registration *r)
{
    uint64_t now = clock_now_us();
    if (now > r->timers->now_us)
        r->timers->now_us = now;
}

/* epmd has our name from somebody else. Final only if the name was never ours: a gateway that lost its name while epmd
 * restarted still serves over its links, but its operator must hear of it. */
static void name_taken(struct epmd_registration *r)
{
    if (r->taken_since_us == 0)
        r->taken_since_us = r->timers->now_us;
    bool patient = r->timers->now_us - r->taken_since_us < TAKEN_PATIENCE_US;
    if (!patient && !r->ever_held) {
        r->failed = true;
        log_error("cluster", "node name is taken", "node=%s hint=\"another node with this name runs on this host\"",
                  r->self->name);
        return;
    }
    if (!patient)
        log_limited(LOG_ERROR, "cluster", "node name is taken by another node", "node=%s hint=\"%s\"", r->self->name,
                    "nodes that connect to us now reach the other one; stop it");
    try_again(r, AGAIN_SOON_US);
}

/* Why did the registration fail? Taken, free meanwhile (then simply again), or no epmd to be reached. */
static void looked_up_own(void *ctx, int rc, const struct epmd_answer *a, const char *why)
{
    (void)a;
    struct epmd_registration *r = ctx;
    update_now(r);
    r->lookup = NULL;
    if (rc == BG_OK) {
        name_taken(r);
        return;
    }
    r->taken_since_us = 0;
    if (rc != BG_EGONE)
        log_limited(LOG_WARNING, "cluster", "cannot register with epmd", "node=%s reason=\"%s\" hint=\"%s\"",
                    r->self->name, why, "start epmd on this host; it is tried again twice a second");
    try_again(r, rc == BG_EGONE ? AGAIN_SOON_US : AGAIN_US);
}

static void registration_refused(struct epmd_registration *r)
{
    struct sockaddr_storage addr;
    epmd_local_address(&addr);
    r->lookup = epmd_lookup_new(r->loop, (struct sockaddr *)&addr, slice_str(r->self->alive), looked_up_own, r);
    if (!r->lookup)
        try_again(r, AGAIN_US);
}

static void registration_held(struct epmd_registration *r)
{
    r->held = r->ever_held = true;
    r->taken_since_us = 0;
    metric_inc(r->metrics, METRIC_EPMD_REGISTRATIONS);
    log_info("cluster", "registered with epmd", "node=%s port=%u", r->self->name, (unsigned)r->port);
}

/* While asking (ALIVE2): the answer. While held: two stray bytes, then nothing until epmd goes away. */
static void registration_event(struct epmd_conn *c, int status)
{
    struct epmd_registration *r = c->owner;
    update_now(r);
    if (status == 0 && r->held) {
        c->have = 0; /* the two bytes that ei_publish left */
        return;
    }
    int rc = r->held ? BG_EGONE : epmd_parse_alive(conn_bytes(c));
    if (rc == BG_OK) {
        registration_held(r);
        return;
    }
    if (rc == BG_EMORE && status == 0)
        return;
    conn_close(c);
    r->conn = NULL;
    if (r->held) {
        r->held = false;
        log_warning("cluster", "epmd has gone",
                    "node=%s hint=\"links stay up; the name is registered again when it is back\"", r->self->name);
        try_again(r, AGAIN_SOON_US);
    } else {
        registration_refused(r);
    }
}

/* In a thread of the pool: touches nothing but the job. */
static void publish_run(uv_work_t *work)
{
    struct publish_job *job = container_of(work, struct publish_job, work);
    job->fd = ei_publish_tmo(&job->ec, job->port, PUBLISH_MS);
}

/* ei_publish's descriptor becomes a connection of the loop, to notice when epmd ends. */
static void adopt(struct epmd_registration *r, int fd)
{
    struct epmd_conn *c = conn_new(r->loop, registration_event, r);
    bool ours = c && uv_tcp_open(&c->tcp, fd) == 0; /* then closing c closes fd */
    if (ours && conn_listen(c) == 0) {
        r->conn = c;
        registration_held(r);
        return;
    }
    if (!ours)
        close(fd);
    if (c)
        conn_close(c);
    try_again(r, AGAIN_US);
}

/* Back on the loop. The registration may have been freed meanwhile: then the name is given back. */
static void publish_done(uv_work_t *work, int status)
{
    struct publish_job *job = container_of(work, struct publish_job, work);
    struct epmd_registration *r = job->r;
    int fd = status == 0 ? job->fd : -1;
    explicit_bzero(&job->ec, sizeof(job->ec));
    free(job);
    if (!r) {
        if (fd >= 0)
            close(fd);
        return;
    }
    update_now(r);
    r->job = NULL;
    if (fd >= 0)
        adopt(r, fd);
    else
        registration_refused(r);
}

static int publish(struct epmd_registration *r)
{
    struct publish_job *job = calloc(1, sizeof(*job));
    if (!job)
        return BG_ENOMEM;
    job->r = r;
    job->ec = *r->self->ei;
    job->port = r->port;
    job->fd = -1;
    if (uv_queue_work(r->loop, &job->work, publish_run, publish_done) != 0) {
        free(job);
        return BG_ESYS;
    }
    r->job = job;
    return BG_OK;
}

/* What ei_publish does, without blocking, for addresses it cannot reach. */
static int ask_alive(struct epmd_registration *r, const struct sockaddr *addr)
{
    struct epmd_conn *c = conn_new(r->loop, registration_event, r);
    if (!c)
        return BG_ENOMEM;
    epmd_put_alive_request(&c->request, slice_str(r->self->alive), r->port);
    if (conn_open(c, addr) != 0)
        return BG_ESYS;
    r->conn = c;
    return BG_OK;
}

static bool is_ipv4_loopback(const struct sockaddr_storage *addr)
{
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)addr;
    return addr->ss_family == AF_INET && in4->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
}

static void on_again(struct timer *t)
{
    struct epmd_registration *r = container_of(t, struct epmd_registration, again);
    struct sockaddr_storage addr;
    epmd_local_address(&addr);
    int rc = is_ipv4_loopback(&addr) ? publish(r) : ask_alive(r, (struct sockaddr *)&addr);
    if (rc != BG_OK)
        try_again(r, AGAIN_US);
}

struct epmd_registration *epmd_registration_new(uv_loop_t *loop, struct timers *timers, struct metrics *m,
                                                const struct node_identity *self, uint16_t port)
{
    struct epmd_registration *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    *r = (struct epmd_registration){.loop = loop, .timers = timers, .metrics = m, .self = self, .port = port};
    r->again.fn = on_again;
    on_again(&r->again);
    return r;
}

void epmd_registration_free(struct epmd_registration *r)
{
    if (!r)
        return;
    timer_disarm(r->timers, &r->again);
    epmd_lookup_cancel(r->lookup);
    if (r->conn)
        conn_close(r->conn);
    if (r->job)
        r->job->r = NULL;
    free(r);
}

bool epmd_registered(const struct epmd_registration *r)
{
    return r->held;
}

bool epmd_registration_failed(const struct epmd_registration *r, struct err *e)
{
    if (!r->failed)
        return false;
    err_set(e, BG_EEXIST, 0, "the node name %s is taken: another node with this name runs on this host", r->self->name);
    return true;
}
