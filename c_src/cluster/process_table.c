/*
 * process_table.c: see process_table.h. Who there is: a process is a small record behind a handle, with its names
 * beside it; what reaches it is handed to its owner. Its monitors and links are process_relations.c's.
 *
 * Invariant: a process is out of the table, and its names are free, before its signals go, so a callback that comes
 * back finds it gone.
 *
 * Does not schedule, queue or copy messages: a message is handed to the owner while its packet is being read.
 */
#include "process_internal.h"

#include <stdlib.h>

#include "dist_send.h"
#include "gen_call.h"
#include "process_state.h"

/* One name of one process: the key of its entry in the map of names, and a link in the process's own chain. */
struct process_name {
    struct process_name *next;
    handle_t process;
    size_t len;
    char text[];
};

/* ---- the table ---- */

struct process_table *process_table_new(const struct node_identity *self, struct cluster *cluster, struct metrics *m,
                                        uint32_t max_processes)
{
    struct process_table *pt = calloc(1, sizeof(*pt));
    if (!pt)
        return NULL;
    *pt = (struct process_table){.self = self, .cluster = cluster, .metrics = m};
    slots_init(&pt->processes, max_processes);
    map_init(&pt->names);
    relations_init(pt, max_processes);
    buf_init(&pt->pid_head, 0);
    buf_init(&pt->scratch, 0);
    node_put_pid(self, &pt->pid_head, HANDLE_NONE);
    if (!buf_ok(&pt->pid_head)) {
        process_table_free(pt);
        return NULL;
    }
    /* Twelve bytes of numbers end a pid: id, serial, creation. */
    assert_always(pt->pid_head.len > 12 && pt->pid_head.len <= PROCESS_PID_MAX);
    return pt;
}

/* Names end with their process, before anybody hears of its end: whoever reacts can take the name at once. */
static void free_names(struct process_table *pt, struct process *p)
{
    while (p->names) {
        struct process_name *n = p->names;
        p->names = n->next;
        map_del(&pt->names, slice_make(n->text, n->len));
        free(n);
    }
}

void process_table_free(struct process_table *pt)
{
    if (!pt)
        return;
    uint32_t pos = 0;
    handle_t h;
    struct process *p;
    while ((p = slots_next(&pt->processes, &pos, &h))) {
        relations_drop(pt, p);
        free_names(pt, p);
        free(p);
    }
    relations_fini(pt);
    slots_fini(&pt->processes);
    map_fini(&pt->names);
    buf_fini(&pt->pid_head);
    buf_fini(&pt->scratch);
    free(pt);
}

/* The handle is the pid: index as id, generation as serial. A slot that is used again gives another pid. */
handle_t process_start(struct process_table *pt, const struct process_ops *ops, void *owner)
{
    struct process *p = malloc(sizeof(*p)); /* not calloc(): the C library has no short way for that */
    if (!p)
        return HANDLE_NONE;
    *p = (struct process){.ops = ops, .owner = owner};
    list_init(&p->relations);
    p->self = slots_add(&pt->processes, p);
    if (p->self != HANDLE_NONE)
        return p->self;
    free(p);
    return HANDLE_NONE;
}

bool process_adopt(struct process_table *pt, handle_t h, const struct process_ops *ops, void *owner)
{
    struct process *p = process_find(pt, h);
    if (!p)
        return false;
    p->ops = ops;
    p->owner = owner;
    return true;
}

const struct process_ops *process_ops(const struct process_table *pt, handle_t h)
{
    const struct process *p = process_find(pt, h);
    return p ? p->ops : NULL;
}

void *process_owner(const struct process_table *pt, handle_t h)
{
    const struct process *p = slots_get(&pt->processes, h);
    return p ? p->owner : NULL;
}

void *process_owned(const struct process_table *pt, handle_t h, const struct process_ops *ops)
{
    const struct process *p = process_find(pt, h);
    return p && p->ops == ops ? p->owner : NULL;
}

bool process_alive(const struct process_table *pt, handle_t p)
{
    return process_find(pt, p) != NULL;
}

uint32_t process_count(const struct process_table *pt)
{
    return pt->processes.count;
}

handle_t process_next(const struct process_table *pt, uint32_t *pos)
{
    handle_t h;
    return slots_next(&pt->processes, pos, &h) ? h : HANDLE_NONE;
}

handle_t process_next_name(const struct process_table *pt, size_t *pos, struct slice *name)
{
    const struct process_name *n = map_next(&pt->names, pos, name);
    return n ? n->process : HANDLE_NONE;
}

struct process_info process_info(const struct process_table *pt, handle_t h)
{
    const struct process *p = process_find(pt, h);
    struct process_info info = {0};
    if (!p)
        return info;
    info.kind = p->ops->kind;
    info.messages = p->messages;
    if (p->names)
        info.name = slice_make(p->names->text, p->names->len);
    info.relations = relations_count(p);
    return info;
}

/* Out of the table first: what is sent to others may come back as a question about this pid, and must find it gone. */
void process_end(struct process_table *pt, handle_t h, struct slice reason)
{
    struct process *p = slots_remove(&pt->processes, h);
    if (!p)
        return;
    free_names(pt, p);
    relations_end(pt, p, reason);
    free(p);
}

void process_end_atom(struct process_table *pt, handle_t p, const char *reason)
{
    struct buf b;
    buf_init(&b, 0);
    term_put_atom(&b, reason);
    /* Without memory for the atom the end is told all the same, with a reason that is at hand. */
    process_end(pt, p, buf_ok(&b) ? buf_slice(&b) : TERM_KILLED);
    buf_fini(&b);
}

void process_end_all(struct process_table *pt, const char *reason)
{
    uint32_t pos = 0;
    handle_t h;
    while ((h = process_next(pt, &pos)) != HANDLE_NONE)
        process_end_atom(pt, h, reason);
}

void process_stay(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    (void)owner;
    (void)self;
    (void)from_pid;
    (void)reason;
    (void)kill;
}

/* ---- names, pids, aliases ---- */

int process_register(struct process_table *pt, handle_t h, struct slice name)
{
    struct process *p = process_find(pt, h);
    if (!p)
        return BG_EGONE;
    if (name.len == 0 || name.len > 255)
        return BG_EINVAL;
    if (map_get(&pt->names, name))
        return BG_EEXIST;
    struct process_name *n = malloc(sizeof(*n) + name.len);
    if (!n)
        return BG_ENOMEM;
    n->process = h;
    n->len = name.len;
    memcpy(n->text, name.ptr, name.len);
    if (map_put(&pt->names, slice_make(n->text, n->len), n) != BG_OK) {
        free(n);
        return BG_ENOMEM;
    }
    n->next = p->names;
    p->names = n;
    return BG_OK;
}

handle_t process_whereis(const struct process_table *pt, struct slice name)
{
    const struct process_name *n = map_get(&pt->names, name);
    return n ? n->process : HANDLE_NONE;
}

struct slice process_pid(const struct process_table *pt, handle_t h, uint8_t out[PROCESS_PID_MAX])
{
    size_t len = pt->pid_head.len;
    memcpy(out, pt->pid_head.data, len);
    put_be32(out + len - 12, handle_index(h));
    put_be32(out + len - 8, handle_generation(h));
    return slice_make(out, len);
}

void process_put_alias(struct process_table *pt, handle_t h, struct buf *b)
{
    struct process *p = process_find(pt, h);
    if (p)
        p->aliased = true;
    node_put_ref(pt->self, b, h);
}

void process_unalias(struct process_table *pt, handle_t h)
{
    struct process *p = process_find(pt, h);
    if (p)
        p->aliased = false;
}

/* A pid of an earlier start of this node has another creation, so it resolves to nothing, as it should. */
handle_t process_resolve(const struct process_table *pt, struct slice term)
{
    struct term_reader r = term_reader(term);
    struct term_pid pid;
    struct slice name;
    if (term_read_pid(&r, &pid) == BG_OK) {
        handle_t h = node_pid_handle(pt->self, &pid);
        return process_find(pt, h) ? h : HANDLE_NONE;
    }
    return term_read_atom(&r, &name) == BG_OK ? process_whereis(pt, name) : HANDLE_NONE;
}

/* Alias references carry the handle of their process; only one that has asked for an alias is reached by it. */
handle_t process_resolve_alias(const struct process_table *pt, struct slice term)
{
    struct term_reader r = term_reader(term);
    struct term_ref ref;
    if (term_read_ref(&r, &ref) != BG_OK)
        return HANDLE_NONE;
    const struct process *p = process_find(pt, node_ref_handle(pt->self, &ref));
    return p && p->aliased ? p->self : HANDLE_NONE;
}

/* ---- messages ---- */

int process_send_pid(struct process_table *pt, handle_t p, struct dist_link *l, struct slice pid, struct slice msg)
{
    (void)pt;
    (void)p; /* {2, '', To} names no sender */
    return dist_send_pid(l, LINK_DATA, pid, msg);
}

int process_send_name(struct process_table *pt, handle_t p, struct dist_link *l, struct slice name, struct slice msg)
{
    uint8_t pid[PROCESS_PID_MAX];
    return dist_send_name(l, LINK_DATA, process_pid(pt, p, pid), name, msg);
}

static void on_call(struct process_table *pt, struct process *p, struct dist_link *from, const struct gen_call *call)
{
    uint8_t pid[PROCESS_PID_MAX];
    if (call->system)
        process_answer_system(pt, p->self, from, call);
    else if (p->ops->call)
        p->ops->call(p->owner, p->self, from, call);
    else
        gen_reply_notsup(from, process_pid(pt, p->self, pid), call);
}

/* gen_server calls are told apart here, once, so that no owner can leave a caller hanging by not knowing them. */
void process_deliver(struct process_table *pt, struct dist_link *from, struct slice sender, handle_t to,
                     struct slice msg)
{
    struct process *p = process_find(pt, to);
    struct gen_call call;
    if (!p) {
        metric_inc(pt->metrics, METRIC_LINK_UNKNOWN_NAME);
        return;
    }
    p->messages++;
    if (gen_call_read(msg, &call)) {
        on_call(pt, p, from, &call);
    } else if (p->ops->message) {
        pt->sender = sender;
        p->ops->message(p->owner, to, from, msg);
        pt->sender = SLICE_NONE;
    }
}

struct slice process_sender(const struct process_table *pt)
{
    return pt->sender;
}
