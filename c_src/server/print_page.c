/*
 * print_page.c: pages of text made of terms, and their way to the screen of the one who called: the I/O protocol of
 * his group leader, {io_request, From, ReplyAs, {put_chars, unicode, Text}}, so that in IEx it appears at the prompt.
 *
 * Invariant: a caller gets its answer when the group leader has said that it printed, when that has gone, or when it
 * has kept silent for so long; nothing waits for a screen for ever.
 */
#include "print_page.h"

#include <stdlib.h>
#include <time.h>

enum { PRINT_TIMEOUT_US = 5000000, REPLY_AS = 1 };

/* ---- text ---------------------------------------------------------------------------------------------- */

void page_add(struct page *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&p->text, fmt, ap);
    va_end(ap);
}

void page_line(struct page *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&p->text, fmt, ap);
    va_end(ap);
    buf_putc(&p->text, '\n');
}

void page_inspect(struct page *p, struct slice term)
{
    if (term.len)
        term_inspect(term, &p->text, PAGE_INSPECT_MAX);
    else
        buf_puts(&p->text, "nil");
}

void page_value(struct page *p, struct slice term)
{
    struct slice text;
    if (term.len && term_text(term, &text) && !term_is_nil(term))
        buf_add_slice(&p->text, text);
    else if (!term.len || !term_is_nil(term))
        page_inspect(p, term);
}

size_t page_mark(const struct page *p)
{
    return p->text.len;
}

void page_pad(struct page *p, size_t from, unsigned width)
{
    unsigned n = 0;
    for (size_t i = from; buf_ok(&p->text) && i < p->text.len; i++)
        n += (p->text.data[i] & 0xc0) != 0x80; /* characters, not bytes */
    for (; n < width; n++)
        buf_putc(&p->text, ' ');
}

static bool read_int(struct slice term, int64_t *v)
{
    struct term_reader r = term_reader(term);
    return term.len && term_read_int(&r, v) == BG_OK;
}

void page_bytes(struct page *p, struct slice term)
{
    static const char *const units[] = {"KB", "MB", "GB"};
    int64_t n;
    if (!read_int(term, &n)) {
        buf_putc(&p->text, '?');
        return;
    }
    if (n < 1024) {
        page_add(p, "%lld B", (long long)n);
        return;
    }
    double v = (double)n / 1024;
    unsigned unit = 0;
    for (; v >= 1024 && unit < ARRAY_SIZE(units) - 1; unit++)
        v /= 1024;
    page_add(p, "%.1f %s", v, units[unit]);
}

void page_uptime(struct page *p, struct slice term)
{
    struct term_reader r = term_reader(term);
    uint32_t arity;
    int64_t ms;
    if (!term.len || term_read_tuple(&r, &arity) != BG_OK || arity != 2 || term_read_int(&r, &ms) != BG_OK) {
        buf_putc(&p->text, '?');
        return;
    }
    long long s = ms / 1000;
    page_add(p, "%lldh %lldm %llds", s / 3600, s / 60 % 60, s % 60);
}

void page_time(struct page *p, struct slice term)
{
    int64_t ms;
    struct tm tm;
    if (!read_int(term, &ms) || ms < 0)
        return;
    time_t s = (time_t)(ms / 1000);
    if (gmtime_r(&s, &tm))
        page_add(p, "%04d-%02d-%02d %02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                 tm.tm_min, tm.tm_sec, (int)(ms % 1000));
}

/* ---- terms --------------------------------------------------------------------------------------------- */

struct slice page_get(struct slice map, const char *path)
{
    char key[64];
    while (map.len) {
        size_t n = strcspn(path, ".");
        slice_cstr(slice_make(path, n), key, sizeof(key));
        if (!term_map_get(map, key, &map))
            return SLICE_NONE;
        if (path[n] == '\0')
            return map;
        path += n + 1;
    }
    return SLICE_NONE;
}

bool page_is(struct slice map, const char *path, const char *atom)
{
    struct slice v = page_get(map, path);
    return v.len && term_is_atom(v, atom);
}

struct page_list page_list(struct slice list, uint32_t *count)
{
    struct page_list l = {.r = term_reader(list)};
    if (list.len == 0 || term_read_list(&l.r, &l.left) != BG_OK)
        l.left = 0;
    if (count)
        *count = l.left;
    return l;
}

bool page_next(struct page_list *l, struct slice *item)
{
    if (l->left == 0 || term_skip(&l->r, item) != BG_OK)
        return false;
    l->left--;
    return true;
}

struct page_list page_map(struct slice map, uint32_t *count)
{
    struct page_list l = {.r = term_reader(map)};
    if (map.len == 0 || term_read_map(&l.r, &l.left) != BG_OK)
        l.left = 0;
    if (count)
        *count = l.left;
    return l;
}

bool page_next_pair(struct page_list *l, struct slice *key, struct slice *value)
{
    return page_next(l, key) && term_skip(&l->r, value) == BG_OK;
}

enum rpc_outcome page_ask(struct server *s, const struct rpc_call *call, const char *module, const char *function,
                          const struct slice *argv, unsigned argc, struct buf *out)
{
    const struct rpc_entry *e = rpc_find(&s->rpc, slice_str(module), slice_str(function), argc);
    struct rpc_call asked = {.module = slice_str(module),
                             .function = slice_str(function),
                             .argv = argv,
                             .argc = argc,
                             .caller_node = call->caller_node};
    if (e)
        return e->fn(s->rpc.server, &asked, out);
    term_put_atom(out, "undef");
    return RPC_ERROR;
}

/* ---- printing ------------------------------------------------------------------------------------------ */

/* Who waits for a page: first until it is made, then until it is on the screen. */
struct page_waiter {
    struct list all;
    struct server *server;
    handle_t waiter;
    struct timer timer;      /* while it is printed */
    struct buf group_leader; /* pid term */
    void (*gone)(void *owner);
    void *owner;
};

static void waiter_free(struct page_waiter *w)
{
    timer_disarm(&w->server->timers, &w->timer);
    list_remove(&w->all);
    buf_fini(&w->group_leader);
    free(w);
}

static void printed(struct page_waiter *w, enum rpc_outcome outcome, struct slice value)
{
    struct server *s = w->server;
    handle_t waiter = w->waiter;
    waiter_free(w);
    rpc_later_answer(s->later, waiter, outcome, value);
}

/* {io_reply, ReplyAs, ok | {error, Reason}} */
static void on_message(void *owner, handle_t waiter, struct dist_link *from, struct slice msg)
{
    struct page_waiter *w = owner;
    struct term_reader r = term_reader(msg), e;
    struct slice reply_as, result, reason;
    uint32_t arity;
    (void)waiter;
    (void)from;
    if (!timer_armed(&w->timer)) /* there is no page yet: nobody has been asked */
        return;
    if (term_read_tagged(&r, "io_reply", &arity) != BG_OK || arity != 3 || term_skip(&r, &reply_as) != BG_OK ||
        term_skip(&r, &result) != BG_OK)
        return;
    e = term_reader(result);
    if (term_read_tagged(&e, "error", &arity) == BG_OK && arity == 2 && term_skip(&e, &reason) == BG_OK)
        printed(w, RPC_ERROR, reason);
    else
        printed(w, RPC_RETURN, SLICE_LIT("w\2ok"));
}

static void on_down(void *owner, handle_t waiter, struct slice reason)
{
    (void)waiter;
    (void)reason;
    printed(owner, RPC_ERROR, SLICE_LIT("w\12terminated"));
}

static void on_timer(struct timer *t)
{
    printed(container_of(t, struct page_waiter, timer), RPC_ERROR, SLICE_LIT("w\7timeout"));
}

static void on_gone(void *owner, handle_t waiter)
{
    struct page_waiter *w = owner;
    (void)waiter;
    if (w->gone)
        w->gone(w->owner);
    waiter_free(w);
}

/* The group leader's node must be connected. */
static struct dist_link *link_to(const struct server *s, struct slice group_leader)
{
    struct term_reader r = term_reader(group_leader);
    struct term_pid pid;
    return group_leader.len && term_read_pid(&r, &pid) == BG_OK ? cluster_link(s->cluster, pid.node) : NULL;
}

static bool send_text(struct server *s, handle_t waiter, struct dist_link *l, struct slice to, struct slice text)
{
    struct buf msg;
    buf_init(&msg, 0);
    term_put_tuple(&msg, 4);
    term_put_atom(&msg, "io_request");
    node_put_pid(&s->self, &msg, waiter);
    term_put_int(&msg, REPLY_AS);
    term_put_tuple(&msg, 3);
    term_put_atom(&msg, "put_chars");
    term_put_atom(&msg, "unicode");
    term_put_binary(&msg, text);
    bool sent = buf_ok(&msg) && process_send_pid(s->processes, waiter, l, to, buf_slice(&msg)) == BG_OK;
    buf_fini(&msg);
    return sent;
}

/* Watches the group leader and sends; false when nobody is there to print. */
static bool begin_printing(struct page_waiter *w, struct slice text)
{
    struct server *s = w->server;
    struct slice leader = buf_slice(&w->group_leader);
    struct dist_link *l = link_to(s, leader);
    w->timer.fn = on_timer;
    return l && process_monitor(s->processes, w->waiter, l, leader) != HANDLE_NONE &&
           timer_arm_in(&s->timers, &w->timer, PRINT_TIMEOUT_US) == BG_OK &&
           send_text(s, w->waiter, l, leader, text);
}

struct page_waiter *page_wait(struct server *s, const struct rpc_call *call, void (*gone)(void *owner), void *owner)
{
    static const struct rpc_waiter_ops ops = {on_message, on_down, on_gone};
    struct page_waiter *w = call->shape == RPC_SHAPE_NOW ? NULL : calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    *w = (struct page_waiter){.server = s, .gone = gone, .owner = owner};
    list_append(&s->pages, &w->all);
    buf_init(&w->group_leader, 0);
    buf_add_slice(&w->group_leader, call->group_leader);
    w->waiter = rpc_later_begin(s->later, call, &ops, w);
    if (w->waiter != HANDLE_NONE)
        return w;
    waiter_free(w);
    return NULL;
}

void page_print_waiting(struct page_waiter *w, const struct page *p)
{
    w->gone = NULL;
    if (!buf_ok(&p->text))
        printed(w, RPC_ERROR, SLICE_LIT("w\14system_limit"));
    else if (!begin_printing(w, buf_slice(&p->text)))
        printed(w, RPC_ERROR, SLICE_LIT("w\12terminated"));
}

void pages_start(struct server *s)
{
    list_init(&s->pages);
}

void pages_end(struct server *s)
{
    while (s->pages.next && !list_empty(&s->pages))
        waiter_free(container_of(s->pages.next, struct page_waiter, all));
}

enum rpc_outcome page_print(struct page *p, const struct rpc_call *call, struct buf *out)
{
    if (!buf_ok(&p->text)) {
        term_put_atom(out, "system_limit");
        return RPC_ERROR;
    }
    struct page_waiter *w = page_wait(p->server, call, NULL, NULL);
    if (w) {
        page_print_waiting(w, p);
        return RPC_LATER;
    }
    term_put_binary(out, buf_slice(&p->text));
    return RPC_RETURN;
}
