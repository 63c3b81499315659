/*
 * fake_link.h: a cluster without sockets: links that keep what is sent on them, packet by packet, as text. Stands in
 * for cluster.c and dist_link.c.
 */
#ifndef BEAMGATE_FAKE_LINK_H
#define BEAMGATE_FAKE_LINK_H

#include "cluster.h"
#include "erlang_text.h"
#include "slots.h"

enum { FAKE_LINKS = 4, FAKE_PACKETS = 4096 };

struct dist_link {
    const char *node;
    uint64_t flags;
    handle_t handle;
    bool up;
    bool refuse;  /* as if too much waited */
    bool closed;  /* dist_link_close() was called */
    bool writing; /* between begin and commit */
    bool discard; /* for benchmarks and fuzzing: packets are dropped */
    struct buf out;
    char *sent[FAKE_PACKETS]; /* not yet looked at */
    unsigned first, count;
};

struct cluster {
    struct dist_link link[FAKE_LINKS];
};

static struct cluster fake_cluster;
static struct node_identity fake_self;

struct slice dist_link_node(const struct dist_link *l)
{
    return slice_str(l->node);
}

uint64_t dist_link_flags(const struct dist_link *l)
{
    return l->flags;
}

handle_t dist_link_handle(const struct dist_link *l)
{
    return l->handle;
}

struct buf *dist_link_begin(struct dist_link *l, enum link_urgency urgency)
{
    assert_false(l->writing);
    if (!l->up || l->closed || (l->refuse && urgency == LINK_DATA))
        return NULL;
    l->writing = true;
    buf_reset(&l->out);
    return &l->out;
}

static inline void fake_print_term(struct buf *text, struct slice *rest)
{
    size_t used;
    struct err e = {0};
    assert_true(rest->len > 1 && (uint8_t)rest->ptr[0] == TERM_VERSION);
    if (term_check(rest->ptr + 1, rest->len - 1, TERM_DEPTH_MAX, &used, &e) != 0)
        fail_msg("a term that was sent is malformed: %s", e.text);
    struct term_reader r = term_reader(slice_make(rest->ptr + 1, used));
    text_print(text, &r);
    *rest = slice_make(rest->ptr + 1 + used, rest->len - 1 - used);
}

int dist_link_commit(struct dist_link *l)
{
    assert_true(l->writing);
    l->writing = false;
    if (!buf_ok(&l->out))
        return BG_ENOMEM;
    if (l->discard)
        return BG_OK;
    struct buf text;
    struct slice rest = buf_slice(&l->out);
    buf_init(&text, 0);
    fake_print_term(&text, &rest);
    if (rest.len) {
        buf_puts(&text, " | ");
        fake_print_term(&text, &rest);
    }
    assert_int_equal(rest.len, 0);
    assert_true(l->first + l->count < FAKE_PACKETS);
    l->sent[l->first + l->count++] = slice_dup(buf_slice(&text));
    buf_fini(&text);
    return BG_OK;
}

void dist_link_abort(struct dist_link *l)
{
    assert_true(l->writing);
    l->writing = false;
}

void dist_link_close(struct dist_link *l, const char *reason)
{
    (void)reason;
    l->closed = true;
}

struct dist_link *cluster_link(const struct cluster *c, struct slice node)
{
    for (unsigned i = 0; i < FAKE_LINKS; i++)
        if (c->link[i].up && slice_is(node, c->link[i].node))
            return (struct dist_link *)(uintptr_t)&c->link[i];
    return NULL;
}

struct dist_link *cluster_link_by_handle(const struct cluster *c, handle_t h)
{
    for (unsigned i = 0; i < FAKE_LINKS; i++)
        if (c->link[i].up && c->link[i].handle == h)
            return (struct dist_link *)(uintptr_t)&c->link[i];
    return NULL;
}

struct dist_link *cluster_next_link(const struct cluster *c, uint32_t *pos)
{
    while (*pos < FAKE_LINKS) {
        unsigned i = (*pos)++;
        if (c->link[i].up)
            return (struct dist_link *)(uintptr_t)&c->link[i];
    }
    return NULL;
}

/* A link in slot i, up, under a new handle. */
static inline struct dist_link *fake_link_up(unsigned i, const char *node)
{
    static uint32_t generation;
    struct dist_link *l = &fake_cluster.link[i];
    l->node = node;
    l->flags = DIST_FLAGS_DEFAULT;
    l->handle = handle_make(i, ++generation);
    l->up = true;
    l->closed = l->refuse = false;
    return l;
}

/* The next packet that was sent on l, as "control" or "control | message"; NULL when there is none. The caller frees
 * it. */
static inline char *fake_sent(struct dist_link *l)
{
    if (l->count == 0)
        return NULL;
    l->count--;
    char *text = l->sent[l->first++];
    if (l->count == 0)
        l->first = 0;
    return text;
}

static inline void fake_cleanup(void)
{
    for (unsigned i = 0; i < FAKE_LINKS; i++) {
        struct dist_link *l = &fake_cluster.link[i];
        for (char *t; (t = fake_sent(l));)
            free(t);
        buf_fini(&l->out);
        *l = (struct dist_link){0};
    }
}

#define expect_sent(l, want)                                                                                           \
    do {                                                                                                               \
        char *got_ = fake_sent(l);                                                                                     \
        if (!got_)                                                                                                     \
            fail_msg("nothing was sent; want \"%s\"", want);                                                           \
        assert_string_equal(got_, want);                                                                               \
        free(got_);                                                                                                    \
    } while (0)

#define expect_nothing(l)                                                                                              \
    do {                                                                                                               \
        char *got_ = fake_sent(l);                                                                                     \
        if (got_)                                                                                                      \
            fail_msg("sent \"%s\"; want nothing", got_);                                                               \
    } while (0)

/* A packet: control and, unless NULL, message, from text. */
static inline void fake_packet(struct buf *b, const char *control, const char *message)
{
    buf_putc(b, 112);
    term_put_version(b);
    put_text(b, control);
    if (message) {
        term_put_version(b);
        put_text(b, message);
    }
}

static inline void fake_self_init(void)
{
    fake_self = (struct node_identity){.creation = GW_CREATION, .flags = DIST_FLAGS_DEFAULT};
    strcpy(fake_self.name, GW);
    strcpy(fake_self.alive, "gw");
    strcpy(fake_self.host, "127.0.0.1");
}

#endif
