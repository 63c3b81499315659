/*
 * process_relations.c: see process_table.h: the monitors and links between our processes and those of other nodes, and
 * the signals that they cause. Each is a relation record that stands in two lists, its process's and its link's, so
 * that the end of either finds it.
 *
 * Invariants: a relation is in both lists or freed; each remote monitor fires at most once, since it is unlinked before
 * its signal is sent. Relations are found by a key of plain numbers (link, kind, reference words or pid numbers), so
 * that another encoding of the same atom makes no difference.
 */
#include "process_internal.h"

#include <stdlib.h>

#include "dist_send.h"
#include "log.h"

/* A node that monitors more of our processes than this at once is answered system_limit. */
enum { RELATIONS_PER_LINK_MAX = 1 << 17, RELATIONS_PER_PROCESS = 4, RELATIONS_BASE = 1 << 16 };

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
    struct link_relations *peer;
    handle_t monitor; /* WATCHING: its own handle */
    struct relation_key key;
    struct slice target; /* WATCHED_BY, WATCHING: the pid or name as it was asked for */
    struct slice remote; /* the remote pid; empty for WATCHING */
    struct slice ref;    /* WATCHED_BY */
    char bytes[];        /* what the slices point to */
};

/* Those of one link. Made at the first: most links of a gateway never have one. */
struct link_relations {
    handle_t link;
    struct list relations;
    uint32_t count;
};

/* ---- the records ---- */

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

static struct link_relations *relations_of_link(struct process_table *pt, handle_t link)
{
    bool made;
    struct link_relations *peer = peer_need(&pt->peers, link, sizeof(*peer), &made);
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
    struct link_relations *peer = relations_of_link(pt, link);
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

void relations_init(struct process_table *pt, uint32_t max_processes)
{
    pt->relation_limit =
        max_processes > UINT32_MAX / 8 ? UINT32_MAX / 2 : max_processes * RELATIONS_PER_PROCESS + RELATIONS_BASE;
    pt->next_unlink_id = 1;
    slots_init(&pt->monitors, pt->relation_limit);
    map_init(&pt->relations);
}

void relations_fini(struct process_table *pt)
{
    struct link_relations *peer;
    for (uint32_t pos = 0; (peer = peer_next(&pt->peers, &pos));)
        free(peer);
    peer_table_fini(&pt->peers);
    slots_fini(&pt->monitors);
    map_fini(&pt->relations);
}

static struct relation *first_of(const struct process *p)
{
    return list_empty(&p->relations) ? NULL : container_of(p->relations.next, struct relation, by_process);
}

void relations_drop(struct process_table *pt, struct process *p)
{
    for (struct relation *r; (r = first_of(p));)
        forget_relation(pt, r);
}

uint32_t relations_count(const struct process *p)
{
    uint32_t n = 0;
    for (const struct list *it = p->relations.next; it != &p->relations; it = it->next)
        n++;
    return n;
}

uint32_t process_relations(const struct process_table *pt)
{
    return pt->relation_count;
}

/* The next relation of that kind behind *at, which moves; NULL when there is none left. */
static const struct relation *next_of_kind(const struct process *p, enum process_relation which, const struct list **at)
{
    static const uint32_t kinds[] = {
        [PROCESS_LINKS] = LINKED, [PROCESS_MONITORED_BY] = WATCHED_BY, [PROCESS_MONITORS] = WATCHING};
    while ((*at = (*at)->next) != &p->relations) {
        const struct relation *r = container_of(*at, const struct relation, by_process);
        if (r->key.kind == kinds[which])
            return r;
    }
    return NULL;
}

void process_put_relations(const struct process_table *pt, handle_t h, enum process_relation which, uint32_t max,
                           struct buf *out)
{
    const struct process *p = process_find(pt, h);
    const struct relation *r;
    uint32_t n = 0;
    for (const struct list *at = p ? &p->relations : NULL; p && n < max && next_of_kind(p, which, &at);)
        n++;
    term_put_list(out, n);
    const struct list *at = p ? &p->relations : NULL;
    for (uint32_t i = 0; i < n && (r = next_of_kind(p, which, &at)); i++) {
        if (which == PROCESS_MONITORS) {
            term_put_tuple(out, 2);
            term_put_atom(out, "process");
        }
        term_put_raw(out, which == PROCESS_MONITORS ? r->target : r->remote);
    }
    if (n > 0)
        term_put_nil(out);
}

/* ---- what others are told ---- */

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

void relations_end(struct process_table *pt, struct process *p, struct slice reason)
{
    for (struct relation *r; (r = first_of(p));) {
        detach_relation(pt, r);
        signal_end(pt, r, reason);
        free(r);
    }
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
    struct process *p = process_find(pt, h);
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

int process_link(struct process_table *pt, handle_t h, struct dist_link *l, struct slice remote)
{
    uint8_t pid[PROCESS_PID_MAX];
    if (l && find_link(pt, h, l, remote))
        return BG_OK; /* the other side knows it: it was told, or has told us */
    int rc = l ? process_add_link(pt, h, l, remote) : BG_EGONE;
    if (rc != BG_OK)
        return rc;
    const struct slice terms[] = {process_pid(pt, h, pid), remote};
    rc = dist_send_control(l, LINK_DATA, DIST_LINK, terms, ARRAY_SIZE(terms));
    if (rc != BG_OK)
        forget_relation(pt, find_link(pt, h, l, remote));
    return rc;
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

/* ---- what comes over a link ---- */

int process_add_monitor(struct process_table *pt, handle_t h, struct dist_link *l, struct slice from, struct slice to,
                        struct slice ref)
{
    struct process *p = process_find(pt, h);
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
    struct process *p = process_find(pt, h);
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
        return TERM_NOPROC;
    log_limited(LOG_WARNING, "cluster", "a monitor or link of another node was refused", "error=%d", rc);
    return TERM_SYSTEM_LIMIT;
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

/* An exit signal as a BEAM process without trap_exit takes it, unless the owner has a mind of its own. */
static void signal_exit(struct process_table *pt, handle_t h, struct slice from, struct slice reason, bool kill)
{
    struct process *p = process_find(pt, h);
    if (!p)
        return;
    if (p->ops->exit)
        p->ops->exit(p->owner, h, from, reason, kill);
    else if (kill)
        process_end(pt, h, TERM_KILLED);
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
    struct link_relations *peer = peer_get(&pt->peers, dist_link_handle(l));
    if (!peer)
        return;
    /* From the front each time: what a callback does may end processes, and with them relations further down the list.
     */
    while (!list_empty(&peer->relations)) {
        struct relation *r = container_of(peer->relations.next, struct relation, by_link);
        if (r->key.kind == WATCHING) {
            fire_down(pt, r, TERM_NOCONNECTION);
            continue;
        }
        detach_relation(pt, r);
        if (r->key.kind == LINKED)
            signal_exit(pt, r->process->self, r->remote, TERM_NOCONNECTION, false);
        free(r);
    }
    peer_take(&pt->peers, dist_link_handle(l));
    free(peer);
}
