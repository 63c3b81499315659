/*
 * process_table.c: see process_table.h. A process is a small record behind a handle; a monitor or a link is a relation
 * record that stands in two lists, its process's and its link's, so that the end of either finds it.
 *
 * Invariants: a relation is in both lists or freed; each remote monitor fires at most once, since it is unlinked
 * before its signal is sent; a process is out of the table before its signals go, so a callback that comes back
 * finds it gone. Relations are found by a key of plain numbers (link, kind, reference words or pid numbers), so
 * that another encoding of the same atom makes no difference.
 *
 * Does not schedule, queue or copy messages: a message is handed to the owner while its packet is being read.
 */
#include "process_table.h"

#include <stdlib.h>

#include "dist_send.h"
#include "gen_call.h"
#include "list.h"
#include "log.h"
#include "map.h"
#include "peer_table.h"
#include "process_state.h"

/* A node that monitors more of our processes than this at once is answered system_limit. */
enum { RELATIONS_PER_LINK_MAX = 1 << 17, RELATIONS_PER_PROCESS = 4, RELATIONS_BASE = 1 << 16 };

/* One name of one process: the key of its entry in the map of names, and a link in the process's own chain. */
struct process_name {
    struct process_name *next;
    handle_t process;
    size_t len;
    char text[];
};

/* The record of a process. There may be tens of thousands, nearly all without name, monitor or link, so everything that
 * only some need hangs outside. */
struct process {
    const struct process_ops *ops;
    void *owner;
    handle_t self;
    struct list relations;
    struct process_name *names;
    uint32_t messages;
    bool aliased;
};

_Static_assert(sizeof(struct process) <= 56, "a process fits malloc's 64-byte class: there may be one per channel");

enum relation_kind {
    WATCHED_BY = 1, /* a remote process monitors ours */
    LINKED,         /* a link, whoever made it */
    WATCHING        /* our process monitors a remote one */
};

/* What finds a relation again. Cleared with memset before it is filled, since it is compared and hashed as bytes. */
struct relation_key {
    handle_t link;
    handle_t process; /* LINKED only */
    uint32_t kind;
    uint32_t creation;
    uint32_t words;
    uint32_t id[TERM_REF_WORDS];
};

/* A monitor or a link. Terms that must be sent back (the pid or name that was asked for, the remote pid, the reference)
 * are kept as they came: the other side compares them, and re-encoding could only lose something. */
struct relation {
    struct list by_process;
    struct list by_link;
    struct process *process;
    struct peer *peer;
    handle_t monitor; /* WATCHING: its own handle */
    struct relation_key key;
    struct slice target; /* WATCHED_BY, WATCHING: the pid or name as it was asked for */
    struct slice remote; /* the remote pid; empty for WATCHING */
    struct slice ref;    /* WATCHED_BY */
    char bytes[];        /* what the slices point to */
};

/* What is known of one link. */
struct peer {
    handle_t link;
    struct list relations;
    uint32_t count;
};

struct process_table {
    const struct node_identity *self;
    struct cluster *cluster;
    struct metrics *metrics;
    struct slots processes;
    struct slots monitors; /* relations of kind WATCHING */
    struct map names;
    struct map relations; /* by key; WATCHED_BY and LINKED */
    struct peer_table peers;
    uint32_t relation_count;
    uint32_t relation_limit;
    uint64_t next_unlink_id;
    struct buf pid_head; /* the part of our pids that never changes */
    struct buf scratch;
    struct slice sender; /* of the message that is being delivered */
};

/* Atoms as they stand on the wire: w, length, text. */
static const char REASON_NOPROC[] = "w\6noproc";
static const char REASON_NOCONNECTION[] = "w\14noconnection";
static const char REASON_SYSTEM_LIMIT[] = "w\14system_limit";
static const char REASON_KILLED[] = "w\6killed";
#define ATOM_TERM(bytes) slice_make(bytes, sizeof(bytes) - 1)

/* ---- the table ---- */

struct process_table *process_table_new(const struct node_identity *self, struct cluster *cluster, struct metrics *m,
                                        uint32_t max_processes)
{
    struct process_table *pt = calloc(1, sizeof(*pt));
    if (!pt)
        return NULL;
    *pt = (struct process_table){.self = self, .cluster = cluster, .metrics = m, .next_unlink_id = 1};
    pt->relation_limit =
        max_processes > UINT32_MAX / 8 ? UINT32_MAX / 2 : max_processes * RELATIONS_PER_PROCESS + RELATIONS_BASE;
    slots_init(&pt->processes, max_processes);
    slots_init(&pt->monitors, pt->relation_limit);
    map_init(&pt->names);
    map_init(&pt->relations);
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

static struct process *find(const struct process_table *pt, handle_t p)
{
    return slots_get(&pt->processes, p);
}

static void forget_relation(struct process_table *pt, struct relation *r);

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
        while (!list_empty(&p->relations))
            forget_relation(pt, container_of(p->relations.next, struct relation, by_process));
        free_names(pt, p);
        free(p);
    }
    struct peer *peer;
    for (pos = 0; (peer = peer_next(&pt->peers, &pos));)
        free(peer);
    peer_table_fini(&pt->peers);
    slots_fini(&pt->processes);
    slots_fini(&pt->monitors);
    map_fini(&pt->names);
    map_fini(&pt->relations);
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
    struct process *p = find(pt, h);
    if (!p)
        return false;
    p->ops = ops;
    p->owner = owner;
    return true;
}

const struct process_ops *process_ops(const struct process_table *pt, handle_t h)
{
    const struct process *p = find(pt, h);
    return p ? p->ops : NULL;
}

void *process_owner(const struct process_table *pt, handle_t h)
{
    const struct process *p = slots_get(&pt->processes, h);
    return p ? p->owner : NULL;
}

bool process_alive(const struct process_table *pt, handle_t p)
{
    return find(pt, p) != NULL;
}

uint32_t process_count(const struct process_table *pt)
{
    return pt->processes.count;
}

uint32_t process_relations(const struct process_table *pt)
{
    return pt->relation_count;
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
    const struct process *p = find(pt, h);
    struct process_info info = {0};
    if (!p)
        return info;
    info.kind = p->ops->kind;
    info.messages = p->messages;
    if (p->names)
        info.name = slice_make(p->names->text, p->names->len);
    for (const struct list *it = p->relations.next; it != &p->relations; it = it->next)
        info.relations++;
    return info;
}

void process_put_relations(const struct process_table *pt, handle_t h, enum process_relation which, uint32_t max,
                           struct buf *out)
{
    static const uint32_t kinds[] = {
        [PROCESS_LINKS] = LINKED, [PROCESS_MONITORED_BY] = WATCHED_BY, [PROCESS_MONITORS] = WATCHING};
    const struct process *p = find(pt, h);
    for (const struct list *it = p ? p->relations.next : NULL; p && it != &p->relations && max; it = it->next) {
        const struct relation *r = container_of(it, const struct relation, by_process);
        if (r->key.kind != kinds[which])
            continue;
        max--;
        term_put_list(out, 1); /* a list of one whose tail is the rest */
        if (which == PROCESS_MONITORS) {
            term_put_tuple(out, 2);
            term_put_atom(out, "process");
        }
        term_put_raw(out, which == PROCESS_MONITORS ? r->target : r->remote);
    }
    term_put_nil(out);
}

/* ---- names, pids, aliases ---- */

int process_register(struct process_table *pt, handle_t h, struct slice name)
{
    struct process *p = find(pt, h);
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
    struct process *p = find(pt, h);
    if (p)
        p->aliased = true;
    node_put_ref(pt->self, b, h);
}

void process_unalias(struct process_table *pt, handle_t h)
{
    struct process *p = find(pt, h);
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
        return find(pt, h) ? h : HANDLE_NONE;
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
    const struct process *p = find(pt, node_ref_handle(pt->self, &ref));
    return p && p->aliased ? p->self : HANDLE_NONE;
}

/* ---- relations ---- */

/* A pid of the link's own node: the only ones that node may speak for. */
static bool read_peer_pid(struct dist_link *l, struct slice term, struct term_pid *pid)
{
    struct term_reader r = term_reader(term);
    return term_read_pid(&r, pid) == BG_OK && slice_eq(pid->node, dist_link_node(l));
}

/* Keys are compared as bytes, so they are cleared as bytes first. */
static void link_key(struct relation_key *k, handle_t link, handle_t process, const struct term_pid *pid)
{
    memset(k, 0, sizeof(*k));
    k->link = link;
    k->process = process;
    k->kind = LINKED;
    k->creation = pid->creation;
    k->words = 2;
    k->id[0] = pid->id;
    k->id[1] = pid->serial;
}

static bool monitor_key(struct relation_key *k, struct dist_link *l, struct slice ref_term)
{
    struct term_reader r = term_reader(ref_term);
    struct term_ref ref;
    if (term_read_ref(&r, &ref) != BG_OK || !slice_eq(ref.node, dist_link_node(l)))
        return false;
    memset(k, 0, sizeof(*k));
    k->link = dist_link_handle(l);
    k->kind = WATCHED_BY;
    k->creation = ref.creation;
    k->words = ref.words;
    memcpy(k->id, ref.id, ref.words * sizeof(ref.id[0]));
    return true;
}

static struct slice key_slice(const struct relation_key *k)
{
    return slice_make(k, sizeof(*k));
}

/* Made at the first relation: most links of a gateway never have one. */
static struct peer *peer_of(struct process_table *pt, handle_t link)
{
    bool made;
    struct peer *peer = peer_need(&pt->peers, link, sizeof(*peer), &made);
    if (made) {
        peer->link = link;
        list_init(&peer->relations);
    }
    return peer;
}

/* Makes a relation with copies of the three terms and puts it in all the places where it is looked for. *made is set on
 * success. */
static int add_relation(struct process_table *pt, struct process *p, handle_t link, const struct relation_key *key,
                        const struct slice terms[3], struct relation **made)
{
    struct peer *peer = peer_of(pt, link);
    if (!peer)
        return BG_ENOMEM;
    if (pt->relation_count >= pt->relation_limit || peer->count >= RELATIONS_PER_LINK_MAX)
        return BG_ELIMIT;
    struct relation *r = malloc(sizeof(*r) + terms[0].len + terms[1].len + terms[2].len);
    if (!r)
        return BG_ENOMEM;
    char *at = r->bytes;
    *r = (struct relation){.process = p, .peer = peer, .key = *key};
    r->target = slice_keep(&at, terms[0]);
    r->remote = slice_keep(&at, terms[1]);
    r->ref = slice_keep(&at, terms[2]);
    if (key->kind != WATCHING && map_put(&pt->relations, key_slice(&r->key), r) != BG_OK) {
        free(r);
        return BG_ENOMEM;
    }
    list_append(&p->relations, &r->by_process);
    list_append(&peer->relations, &r->by_link);
    peer->count++;
    pt->relation_count++;
    *made = r;
    return BG_OK;
}

/* Takes it out of all tables; the memory stays. */
static void detach_relation(struct process_table *pt, struct relation *r)
{
    list_remove(&r->by_process);
    list_remove(&r->by_link);
    if (r->key.kind == WATCHING)
        slots_remove(&pt->monitors, r->monitor);
    else
        map_del(&pt->relations, key_slice(&r->key));
    r->peer->count--;
    pt->relation_count--;
}

/* For relations whose other end needs no word, or has had it. */
static void forget_relation(struct process_table *pt, struct relation *r)
{
    detach_relation(pt, r);
    free(r);
}

static struct dist_link *link_of(const struct process_table *pt, const struct relation *r)
{
    return cluster_link_by_handle(pt->cluster, r->peer->link);
}

/* {20, Me, Target, Ref}: takes a monitor of ours back. */
static void send_demonitor(struct process_table *pt, const struct relation *r)
{
    uint8_t pid[PROCESS_PID_MAX];
    buf_reset(&pt->scratch);
    node_put_ref(pt->self, &pt->scratch, r->monitor);
    if (!buf_ok(&pt->scratch))
        return;
    const struct slice terms[] = {process_pid(pt, r->process->self, pid), r->target, buf_slice(&pt->scratch)};
    dist_send_control(link_of(pt, r), LINK_PROTOCOL, DIST_DEMONITOR_P, terms, ARRAY_SIZE(terms));
}

static void send_monitor_exit(struct dist_link *l, struct slice target, struct slice to, struct slice ref,
                              struct slice reason)
{
    const struct slice terms[] = {target, to, ref, reason};
    dist_send_control(l, LINK_PROTOCOL, DIST_MONITOR_P_EXIT, terms, ARRAY_SIZE(terms));
}

static void send_exit(struct process_table *pt, struct dist_link *l, handle_t from, struct slice to,
                      struct slice reason)
{
    uint8_t pid[PROCESS_PID_MAX];
    const struct slice terms[] = {process_pid(pt, from, pid), to, reason};
    dist_send_control(l, LINK_PROTOCOL, DIST_EXIT, terms, ARRAY_SIZE(terms));
}

/* What the other end of a relation is told when our process ends. */
static void signal_end(struct process_table *pt, const struct relation *r, struct slice reason)
{
    switch ((enum relation_kind)r->key.kind) {
    case WATCHED_BY:
        send_monitor_exit(link_of(pt, r), r->target, r->remote, r->ref, reason);
        break;
    case LINKED:
        send_exit(pt, link_of(pt, r), r->process->self, r->remote, reason);
        break;
    case WATCHING:
        send_demonitor(pt, r);
        break;
    }
}

/* Out of the table first: what is sent below may come back as a question about this pid, and must find it gone. */
void process_end(struct process_table *pt, handle_t h, struct slice reason)
{
    struct process *p = slots_remove(&pt->processes, h);
    if (!p)
        return;
    free_names(pt, p);
    while (!list_empty(&p->relations)) {
        struct relation *r = container_of(p->relations.next, struct relation, by_process);
        detach_relation(pt, r);
        signal_end(pt, r, reason);
        free(r);
    }
    free(p);
}

void process_end_atom(struct process_table *pt, handle_t p, const char *reason)
{
    struct buf b;
    buf_init(&b, 0);
    term_put_atom(&b, reason);
    /* Without memory for the atom the end is told all the same, with a reason that is at hand. */
    process_end(pt, p, buf_ok(&b) ? buf_slice(&b) : ATOM_TERM(REASON_KILLED));
    buf_fini(&b);
}

void process_end_all(struct process_table *pt, const char *reason)
{
    uint32_t pos = 0;
    handle_t h;
    while ((h = process_next(pt, &pos)) != HANDLE_NONE)
        process_end_atom(pt, h, reason);
}

/* ---- what our processes ask of others ---- */

/* The pid or the name of a monitor's target, as MONITOR_P wants it: {Name, Node} becomes Name. */
static bool monitor_target(struct dist_link *l, struct slice term, struct slice *target)
{
    struct term_reader r = term_reader(term);
    struct term_pid pid;
    uint32_t n;
    *target = term;
    if (term_peek(&r) == TERM_PID)
        return read_peer_pid(l, term, &pid);
    if (term_peek(&r) == TERM_ATOM)
        return true;
    return term_read_tuple(&r, &n) == BG_OK && n == 2 && term_peek(&r) == TERM_ATOM && term_skip(&r, target) == BG_OK;
}

/* The relation is made before the message goes, so that an answer can never come to nothing. */
handle_t process_monitor(struct process_table *pt, handle_t h, struct dist_link *l, struct slice remote)
{
    struct process *p = find(pt, h);
    struct relation_key key = {.kind = WATCHING};
    struct relation *r;
    struct slice target;
    if (!p || !l || !monitor_target(l, remote, &target))
        return HANDLE_NONE;
    if (add_relation(pt, p, dist_link_handle(l), &key, (struct slice[3]){target}, &r) != BG_OK)
        return HANDLE_NONE;
    r->monitor = slots_add(&pt->monitors, r);
    buf_reset(&pt->scratch);
    node_put_ref(pt->self, &pt->scratch, r->monitor);
    uint8_t pid[PROCESS_PID_MAX];
    const struct slice terms[] = {process_pid(pt, h, pid), target, buf_slice(&pt->scratch)};
    if (r->monitor != HANDLE_NONE && buf_ok(&pt->scratch) &&
        dist_send_control(l, LINK_DATA, DIST_MONITOR_P, terms, ARRAY_SIZE(terms)) == BG_OK)
        return r->monitor;
    forget_relation(pt, r);
    return HANDLE_NONE;
}

/* A MONITOR_P_EXIT that is already under way finds a stale reference and is dropped. */
void process_demonitor(struct process_table *pt, handle_t monitor)
{
    struct relation *r = slots_get(&pt->monitors, monitor);
    if (!r)
        return;
    send_demonitor(pt, r);
    forget_relation(pt, r);
}

int process_link(struct process_table *pt, handle_t h, struct dist_link *l, struct slice remote)
{
    uint8_t pid[PROCESS_PID_MAX];
    int rc = l ? process_add_link(pt, h, l, remote) : BG_EGONE;
    if (rc != BG_OK)
        return rc;
    const struct slice terms[] = {process_pid(pt, h, pid), remote};
    rc = dist_send_control(l, LINK_DATA, DIST_LINK, terms, ARRAY_SIZE(terms));
    if (rc != BG_OK)
        process_unlink(pt, h, l, remote);
    return rc;
}

/* The link between a local process and a remote pid, whichever side made it. */
static struct relation *find_link(struct process_table *pt, handle_t h, struct dist_link *l, struct slice remote)
{
    struct relation_key key;
    struct term_pid pid;
    if (!read_peer_pid(l, remote, &pid))
        return NULL;
    link_key(&key, dist_link_handle(l), h, &pid);
    return map_get(&pt->relations, key_slice(&key));
}

void process_unlink(struct process_table *pt, handle_t h, struct dist_link *l, struct slice remote)
{
    struct relation *r = l ? find_link(pt, h, l, remote) : NULL;
    if (!r)
        return;
    uint8_t pid[PROCESS_PID_MAX];
    buf_reset(&pt->scratch);
    term_put_uint(&pt->scratch, pt->next_unlink_id++);
    const struct slice terms[] = {buf_slice(&pt->scratch), process_pid(pt, h, pid), r->remote};
    if (buf_ok(&pt->scratch))
        dist_send_control(l, LINK_PROTOCOL, DIST_UNLINK_ID, terms, ARRAY_SIZE(terms));
    forget_relation(pt, r);
}

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

/* ---- what comes over a link ---- */

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
    struct process *p = find(pt, to);
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

int process_add_monitor(struct process_table *pt, handle_t h, struct dist_link *l, struct slice from, struct slice to,
                        struct slice ref)
{
    struct process *p = find(pt, h);
    struct relation_key key;
    struct term_pid pid;
    struct relation *r;
    if (!read_peer_pid(l, from, &pid) || !monitor_key(&key, l, ref))
        return BG_EINVAL;
    if (!p)
        return BG_EGONE;
    if (map_get(&pt->relations, key_slice(&key)))
        return BG_EINVAL; /* a reference is used for one monitor only */
    return add_relation(pt, p, key.link, &key, (struct slice[3]){to, from, ref}, &r);
}

int process_add_link(struct process_table *pt, handle_t h, struct dist_link *l, struct slice from)
{
    struct process *p = find(pt, h);
    struct relation_key key;
    struct term_pid pid;
    struct relation *r;
    if (!read_peer_pid(l, from, &pid))
        return BG_EINVAL;
    if (!p)
        return BG_EGONE;
    link_key(&key, dist_link_handle(l), h, &pid);
    if (map_get(&pt->relations, key_slice(&key)))
        return BG_OK;
    return add_relation(pt, p, key.link, &key, (struct slice[3]){SLICE_NONE, from, SLICE_NONE}, &r);
}

/* Why a monitor or link could not be set, as the reason that the other end gets. */
static struct slice refusal(int rc)
{
    if (rc == BG_EGONE)
        return ATOM_TERM(REASON_NOPROC);
    log_limited(LOG_WARNING, "cluster", "a monitor or link of another node was refused", "error=%d", rc);
    return ATOM_TERM(REASON_SYSTEM_LIMIT);
}

int process_on_monitor(struct process_table *pt, struct dist_link *l, struct slice from, struct slice to,
                       struct slice ref)
{
    int rc = process_add_monitor(pt, process_resolve(pt, to), l, from, to, ref);
    if (rc == BG_OK || rc == BG_EINVAL)
        return rc;
    send_monitor_exit(l, to, from, ref, refusal(rc));
    return BG_OK;
}

/* Unknown references are no error: the monitor may have fired while this was on its way. */
int process_on_demonitor(struct process_table *pt, struct dist_link *l, struct slice ref)
{
    struct relation_key key;
    if (!monitor_key(&key, l, ref))
        return BG_EINVAL;
    struct relation *r = map_get(&pt->relations, key_slice(&key));
    if (r)
        forget_relation(pt, r);
    return BG_OK;
}

int process_on_link(struct process_table *pt, struct dist_link *l, struct slice from, struct slice to)
{
    int rc = process_add_link(pt, process_resolve(pt, to), l, from);
    if (rc == BG_OK || rc == BG_EINVAL)
        return rc;
    const struct slice terms[] = {to, from, refusal(rc)};
    dist_send_control(l, LINK_PROTOCOL, DIST_EXIT, terms, ARRAY_SIZE(terms));
    return BG_OK;
}

int process_on_unlink(struct process_table *pt, struct dist_link *l, struct slice id, struct slice from,
                      struct slice to)
{
    struct term_pid pid;
    if (!read_peer_pid(l, from, &pid))
        return BG_EINVAL;
    /* The ack is owed whether or not there is a link, and before any other signal to that process. */
    const struct slice terms[] = {id, to, from};
    if (id.len)
        dist_send_control(l, LINK_PROTOCOL, DIST_UNLINK_ID_ACK, terms, ARRAY_SIZE(terms));
    struct relation *r = find_link(pt, process_resolve(pt, to), l, from);
    if (r)
        forget_relation(pt, r);
    return BG_OK;
}

void process_stay(void *owner, handle_t self, struct slice from_pid, struct slice reason, bool kill)
{
    (void)owner;
    (void)self;
    (void)from_pid;
    (void)reason;
    (void)kill;
}

/* An exit signal as a BEAM process without trap_exit takes it, unless the owner has a mind of its own. */
static void signal_exit(struct process_table *pt, handle_t h, struct slice from, struct slice reason, bool kill)
{
    struct process *p = find(pt, h);
    if (!p)
        return;
    if (p->ops->exit)
        p->ops->exit(p->owner, h, from, reason, kill);
    else if (kill)
        process_end(pt, h, ATOM_TERM(REASON_KILLED));
    else if (!term_is_atom(reason, "normal"))
        process_end(pt, h, reason);
}

int process_on_exit(struct process_table *pt, struct dist_link *l, struct slice from, struct slice to,
                    struct slice reason)
{
    struct term_pid pid;
    if (!read_peer_pid(l, from, &pid))
        return BG_EINVAL;
    handle_t h = process_resolve(pt, to);
    struct relation *r = find_link(pt, h, l, from);
    if (!r)
        return BG_OK; /* the link was taken back while this was on its way */
    forget_relation(pt, r);
    signal_exit(pt, h, from, reason, false);
    return BG_OK;
}

void process_on_exit2(struct process_table *pt, struct slice from, struct slice to, struct slice reason)
{
    signal_exit(pt, process_resolve(pt, to), from, reason, term_is_atom(reason, "kill"));
}

/* Our monitor fired: the owner hears of it once, after the relation is out of the tables. */
static void fire_down(struct process_table *pt, struct relation *r, struct slice reason)
{
    struct process *p = r->process;
    detach_relation(pt, r);
    if (p->ops->down)
        p->ops->down(p->owner, p->self, r->monitor, reason);
    free(r);
}

void process_on_monitor_exit(struct process_table *pt, struct dist_link *l, struct slice ref_term, struct slice reason)
{
    struct term_reader rd = term_reader(ref_term);
    struct term_ref ref;
    if (term_read_ref(&rd, &ref) != BG_OK)
        return;
    struct relation *r = slots_get(&pt->monitors, node_ref_handle(pt->self, &ref));
    if (r && r->peer->link == dist_link_handle(l))
        fire_down(pt, r, reason);
}

void process_link_down(struct process_table *pt, struct dist_link *l)
{
    struct peer *peer = peer_get(&pt->peers, dist_link_handle(l));
    if (!peer)
        return;
    /* From the front each time: what a callback does may end processes, and with them relations further down the list.
     */
    while (!list_empty(&peer->relations)) {
        struct relation *r = container_of(peer->relations.next, struct relation, by_link);
        if (r->key.kind == WATCHING) {
            fire_down(pt, r, ATOM_TERM(REASON_NOCONNECTION));
            continue;
        }
        detach_relation(pt, r);
        if (r->key.kind == LINKED)
            signal_exit(pt, r->process->self, r->remote, ATOM_TERM(REASON_NOCONNECTION), false);
        free(r);
    }
    peer_take(&pt->peers, dist_link_handle(l));
    free(peer);
}
