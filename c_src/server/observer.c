/*
 * observer.c: what this node says of itself to Observer, etop and whoever asks a BEAM's questions by rpc (08 §5): the
 * System tab, Load Charts' numbers, memory, statistics. Everything is measured when it is asked for.
 *
 * Rule: what has no honest answer here is not in the table, so that the caller gets undef, as from a BEAM that lacks
 * it. Numbers that must exist for Observer to draw anything but mean nothing to this program (atoms, byte code,
 * collections) are 0, and docs/observer.md lists them.
 */
#define _GNU_SOURCE
#include "observer.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

/* ---- terms --------------------------------------------------------------------------------------------- */

enum { STRING_EXT = 107, LIST_EXT = 108, STRING_MAX = 65535 };

struct list_mark list_open(struct buf *b)
{
    static const uint8_t head[5] = {LIST_EXT};
    struct list_mark m = {.at = b->len};
    buf_add(b, head, sizeof(head));
    return m;
}

/* A list of none is []: no other form of it passes term_check(). */
void list_close(struct buf *b, const struct list_mark *m)
{
    if (!buf_ok(b))
        return;
    if (m->count)
        put_be32(b->data + m->at + 1, m->count);
    else
        buf_truncate(b, m->at);
    term_put_nil(b);
}

/* Reads one character of valid UTF-8 and returns what follows. */
static const char *next_character(const char *p, uint32_t *code)
{
    static const uint8_t more[16] = {[12] = 1, [13] = 1, [14] = 2, [15] = 3};
    static const uint8_t bits[4] = {0x7f, 0x1f, 0x0f, 0x07};
    unsigned n = more[(uint8_t)*p >> 4];
    *code = (uint8_t)*p++ & bits[n];
    for (; n > 0; n--)
        *code = *code << 6 | ((uint8_t)*p++ & 0x3f);
    return p;
}

static void put_characters(struct buf *b, const char *text)
{
    struct list_mark m = list_open(b);
    for (uint32_t code; *text; m.count++) {
        text = next_character(text, &code);
        term_put_uint(b, code);
    }
    list_close(b, &m);
}

void put_string(struct buf *b, const char *text)
{
    size_t n = strlen(text);
    uint8_t head[3] = {STRING_EXT};
    bool ascii = true;
    if (n == 0) {
        term_put_nil(b);
        return;
    }
    if (n > STRING_MAX)
        n = STRING_MAX;
    for (size_t i = 0; i < n && ascii; i++)
        ascii = (uint8_t)text[i] < 0x80;
    if (!ascii && utf8_valid_prefix(text, n) == n) {
        put_characters(b, text);
        return;
    }
    put_be16(head + 1, (uint16_t)n);
    buf_add(b, head, sizeof(head));
    buf_add(b, text, n);
}

void put_key(struct buf *b, const char *key)
{
    term_put_tuple(b, 2);
    term_put_atom(b, key);
}

void put_pair_uint(struct buf *b, const char *key, uint64_t v)
{
    put_key(b, key);
    term_put_uint(b, v);
}

void put_pair_atom(struct buf *b, const char *key, const char *v)
{
    put_key(b, key);
    term_put_atom(b, v);
}

void put_pair_nil(struct buf *b, const char *key)
{
    put_key(b, key);
    term_put_nil(b);
}

void put_mfa(struct buf *b, const char *function, unsigned arity)
{
    term_put_tuple(b, 3);
    term_put_atom(b, "beamgate");
    term_put_atom(b, function);
    term_put_uint(b, arity);
}

/* ---- measures ------------------------------------------------------------------------------------------ */

static uint64_t uptime_us(const struct server *s)
{
    uint64_t now = clock_now_us();
    return now > s->started_us ? now - s->started_us : 0;
}

/* The whole program is one thread that turns one loop: its processor time is the scheduler's. */
struct busy observer_busy(const struct server *s)
{
    struct timespec ts = {0};
    struct busy b = {.total_us = uptime_us(s)};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    b.active_us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    if (b.active_us > b.total_us)
        b.active_us = b.total_us;
    return b;
}

/* Pages of /proc/self/statm: size, resident, shared, text. 0 where it cannot be read. */
static uint64_t statm_bytes(unsigned field)
{
    unsigned long long v[4] = {0};
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    int n = fscanf(f, "%llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3]);
    fclose(f);
    return n == 4 ? v[field] * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

enum { STATM_RESIDENT = 1, STATM_TEXT = 3 };

static uint64_t processes_used(const struct server *s)
{
    return observer_processes_bytes(s);
}

/* Bytes that wait to be sent, to clients and to other nodes. */
static uint64_t binary_bytes(const struct server *s)
{
    uint64_t sum = s->metrics.value[METRIC_CLIENT_BUFFERED_BYTES];
    struct dist_link *l;
    for (uint32_t pos = 0; s->cluster && (l = cluster_next_link(s->cluster, &pos)) != NULL;)
        sum += dist_link_queued(l);
    return sum;
}

static uint64_t total_bytes(const struct server *s)
{
    (void)s;
    return statm_bytes(STATM_RESIDENT);
}

static uint64_t system_bytes(const struct server *s)
{
    uint64_t total = total_bytes(s), processes = processes_used(s);
    return total > processes ? total - processes : 0;
}

static uint64_t code_bytes(const struct server *s)
{
    (void)s;
    return statm_bytes(STATM_TEXT);
}

static uint64_t zero(const struct server *s)
{
    (void)s;
    return 0;
}

static const struct memory_kind {
    const char *name;
    uint64_t (*bytes)(const struct server *s);
} memory_kinds[] = {
    {"total", total_bytes},
    {"processes", processes_used},
    {"processes_used", processes_used},
    {"system", system_bytes},
    {"atom", zero},
    {"atom_used", zero},
    {"binary", binary_bytes},
    {"code", code_bytes},
    {"ets", observer_tables_bytes},
};

static void put_memory_pairs(const struct server *s, struct buf *b)
{
    for (size_t i = 0; i < ARRAY_SIZE(memory_kinds); i++)
        put_pair_uint(b, memory_kinds[i].name, memory_kinds[i].bytes(s));
}

void observer_put_memory(const struct server *s, struct buf *b)
{
    term_put_list(b, ARRAY_SIZE(memory_kinds));
    put_memory_pairs(s, b);
    term_put_nil(b);
}

void observer_put_memory_map(const struct server *s, struct buf *b)
{
    term_put_map(b, ARRAY_SIZE(memory_kinds));
    for (size_t i = 0; i < ARRAY_SIZE(memory_kinds); i++) {
        term_put_atom(b, memory_kinds[i].name);
        term_put_uint(b, memory_kinds[i].bytes(s));
    }
}

uint64_t observer_memory_total(const struct server *s)
{
    return total_bytes(s);
}

static uint64_t io_input(const struct server *s)
{
    return s->metrics.value[METRIC_CLIENT_BYTES_IN] + s->metrics.value[METRIC_LINK_BYTES_IN];
}

static uint64_t io_output(const struct server *s)
{
    return s->metrics.value[METRIC_CLIENT_BYTES_OUT] + s->metrics.value[METRIC_LINK_BYTES_OUT];
}

void observer_put_io(const struct server *s, struct buf *b)
{
    term_put_tuple(b, 2);
    put_pair_uint(b, "input", io_input(s));
    put_pair_uint(b, "output", io_output(s));
}

/* ---- facts --------------------------------------------------------------------------------------------- */

static void put_release(const struct server *s, struct buf *b)
{
    (void)s;
    put_string(b, "beamgate " BEAMGATE_VERSION);
}

static void put_version(const struct server *s, struct buf *b)
{
    (void)s;
    put_string(b, BEAMGATE_VERSION);
}

static void put_architecture(const struct server *s, struct buf *b)
{
    struct utsname u;
    char text[160] = "unknown";
    (void)s;
    if (uname(&u) == 0)
        snprintf(text, sizeof(text), "%.64s-%.32s", u.machine, u.sysname);
    put_string(b, text);
}

static void put_false(const struct server *s, struct buf *b)
{
    (void)s;
    term_put_atom(b, "false");
}

static void put_wordsize(const struct server *s, struct buf *b)
{
    (void)s;
    term_put_uint(b, sizeof(void *));
}

static void put_zero(const struct server *s, struct buf *b)
{
    (void)s;
    term_put_uint(b, 0);
}

static void put_one(const struct server *s, struct buf *b)
{
    (void)s;
    term_put_uint(b, 1);
}

static void put_cpus(const struct server *s, struct buf *b)
{
    long n = sysconf(_SC_NPROCESSORS_CONF);
    (void)s;
    term_put_uint(b, n > 0 ? (uint64_t)n : 1);
}

static void put_cpus_online(const struct server *s, struct buf *b)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    (void)s;
    term_put_uint(b, n > 0 ? (uint64_t)n : 1);
}

static void put_uptime(const struct server *s, struct buf *b)
{
    term_put_uint(b, uptime_us(s) / 1000);
}

static void put_input(const struct server *s, struct buf *b)
{
    term_put_uint(b, io_input(s));
}

static void put_output(const struct server *s, struct buf *b)
{
    term_put_uint(b, io_output(s));
}

static void put_processes(const struct server *s, struct buf *b)
{
    term_put_uint(b, process_count(s->processes));
}

static void put_process_limit(const struct server *s, struct buf *b)
{
    term_put_uint(b, s->config ? s->config->limits.max_processes : process_count(s->processes));
}

static void put_ports(const struct server *s, struct buf *b)
{
    term_put_uint(b, observer_port_count(s));
}

/* A port is a descriptor. */
static void put_port_limit(const struct server *s, struct buf *b)
{
    struct rlimit r = {0};
    (void)s;
    getrlimit(RLIMIT_NOFILE, &r);
    term_put_uint(b, r.rlim_cur);
}

static void put_tables(const struct server *s, struct buf *b)
{
    term_put_uint(b, observer_table_count(s));
}

static void put_busy_limit(const struct server *s, struct buf *b)
{
    term_put_uint(b, s->config ? s->config->node.max_output_bytes : 0);
}

static void put_creation(const struct server *s, struct buf *b)
{
    term_put_uint(b, s->self.creation);
}

/* One instance of one allocator: malloc. Used and held bytes are never 0, which Observer would divide by. */
static void put_allocators(const struct server *s, struct buf *b)
{
    struct mallinfo2 m = mallinfo2();
    uint64_t used = m.uordblks + m.hblkhd, held = m.arena + m.hblkhd;
    (void)s;
    held = held > used ? held : used;
    term_put_list(b, 1);
    put_key(b, "malloc");
    term_put_list(b, 1);
    term_put_tuple(b, 3);
    term_put_atom(b, "instance");
    term_put_uint(b, 0);
    term_put_list(b, 1);
    put_key(b, "mbcs");
    term_put_list(b, 2);
    put_key(b, "blocks");
    term_put_list(b, 1);
    put_key(b, "malloc");
    term_put_list(b, 1);
    term_put_tuple(b, 4);
    term_put_atom(b, "size");
    term_put_uint(b, used);
    term_put_uint(b, 0);
    term_put_uint(b, 0);
    for (unsigned i = 0; i < 2; i++)
        term_put_nil(b); /* malloc's blocks, all blocks */
    term_put_tuple(b, 4);
    term_put_atom(b, "carriers_size");
    term_put_uint(b, held ? held : 1);
    term_put_uint(b, 0);
    term_put_uint(b, 0);
    for (unsigned i = 0; i < 4; i++)
        term_put_nil(b); /* mbcs, instance, malloc's instances, allocators */
}

enum { IN_SYSTEM_INFO = 1, IN_SYS_INFO = 2, IN_BOTH = 3 };

/* What is known under which name, and to which question it belongs: erlang:system_info(Name), or a row of the System
 * tab. */
static const struct fact {
    const char *name;
    void (*put)(const struct server *s, struct buf *b);
    unsigned where;
} facts[] = {
    {"otp_release", put_release, IN_BOTH},
    {"version", put_version, IN_BOTH},
    {"system_version", put_release, IN_SYSTEM_INFO},
    {"system_architecture", put_architecture, IN_BOTH},
    {"kernel_poll", put_false, IN_BOTH},
    {"smp_support", put_false, IN_BOTH},
    {"threads", put_false, IN_BOTH},
    {"thread_pool_size", put_zero, IN_BOTH},
    {"wordsize", put_wordsize, IN_SYSTEM_INFO},
    {"wordsize_internal", put_wordsize, IN_SYS_INFO},
    {"wordsize_external", put_wordsize, IN_SYS_INFO},
    {"logical_processors", put_cpus, IN_BOTH},
    {"logical_processors_online", put_cpus_online, IN_BOTH},
    {"logical_processors_available", put_cpus_online, IN_BOTH},
    {"schedulers", put_one, IN_BOTH},
    {"schedulers_online", put_one, IN_BOTH},
    {"schedulers_available", put_one, IN_SYS_INFO},
    {"dirty_cpu_schedulers", put_zero, IN_SYSTEM_INFO},
    {"dirty_io_schedulers", put_zero, IN_SYSTEM_INFO},
    {"uptime", put_uptime, IN_SYS_INFO},
    {"run_queue", put_zero, IN_SYS_INFO},
    {"io_input", put_input, IN_SYS_INFO},
    {"io_output", put_output, IN_SYS_INFO},
    {"process_count", put_processes, IN_BOTH},
    {"process_limit", put_process_limit, IN_BOTH},
    {"port_count", put_ports, IN_BOTH},
    {"port_limit", put_port_limit, IN_BOTH},
    {"ets_count", put_tables, IN_BOTH},
    /* No limit of tables, for nobody can make one; no atoms, and no limit of them: a limit of 0 is a division by zero
     * in Observer, a missing one "Not available". */
    {"atom_count", put_zero, IN_SYSTEM_INFO},
    {"dist_buf_busy_limit", put_busy_limit, IN_BOTH},
    {"creation", put_creation, IN_SYSTEM_INFO},
    {"alloc_info", put_allocators, IN_SYS_INFO},
};

static OBSERVER_FN(rpc_sys_info)
{
    const struct server *s = server;
    struct list_mark m = list_open(out);
    (void)call;
    for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
        if (!(facts[i].where & IN_SYS_INFO))
            continue;
        put_key(out, facts[i].name);
        facts[i].put(s, out);
        m.count++;
    }
    put_memory_pairs(s, out);
    m.count += ARRAY_SIZE(memory_kinds);
    list_close(out, &m);
    return RPC_RETURN;
}

enum rpc_outcome observer_badarg(struct buf *out)
{
    term_put_atom(out, "badarg");
    return RPC_ERROR;
}

static OBSERVER_FN(rpc_system_info)
{
    for (size_t i = 0; i < ARRAY_SIZE(facts); i++) {
        if (!(facts[i].where & IN_SYSTEM_INFO) || !term_is_atom(call->argv[0], facts[i].name))
            continue;
        facts[i].put(server, out);
        return RPC_RETURN;
    }
    return observer_badarg(out);
}

static OBSERVER_FN(rpc_memory)
{
    (void)call;
    observer_put_memory(server, out);
    return RPC_RETURN;
}

static const struct memory_kind *memory_kind(struct slice name)
{
    for (size_t i = 0; i < ARRAY_SIZE(memory_kinds); i++)
        if (term_is_atom(name, memory_kinds[i].name))
            return &memory_kinds[i];
    return NULL;
}

/* One kind, or a list of kinds. */
static OBSERVER_FN(rpc_memory_of)
{
    struct term_reader r = term_reader(call->argv[0]);
    const struct memory_kind *k = memory_kind(call->argv[0]);
    struct slice name;
    uint32_t n;
    if (k) {
        term_put_uint(out, k->bytes(server));
        return RPC_RETURN;
    }
    if (term_read_list(&r, &n) != BG_OK)
        return observer_badarg(out);
    struct list_mark m = list_open(out);
    for (; m.count < n; m.count++) {
        k = term_skip(&r, &name) == BG_OK ? memory_kind(name) : NULL;
        if (!k) {
            buf_truncate(out, m.at);
            return observer_badarg(out);
        }
        put_pair_uint(out, k->name, k->bytes(server));
    }
    list_close(out, &m);
    return RPC_RETURN;
}

/* ---- statistics ---------------------------------------------------------------------------------------- */

/* {Total, SinceLastCall}: nobody's last call is remembered here, so the second is the first, as at a first call. */
static void put_since(struct buf *b, uint64_t total)
{
    term_put_tuple(b, 2);
    term_put_uint(b, total);
    term_put_uint(b, total);
}

static void put_runtime(const struct server *s, struct buf *b)
{
    put_since(b, observer_busy(s).active_us / 1000);
}

static void put_wall_clock(const struct server *s, struct buf *b)
{
    put_since(b, uptime_us(s) / 1000);
}

/* What a reduction is here: a message that a process, a client or another node sent and that was worked on. */
static void put_reductions(const struct server *s, struct buf *b)
{
    put_since(b, s->metrics.value[METRIC_LINK_PACKETS_IN] + s->metrics.value[METRIC_CLIENT_FRAMES_IN]);
}

static void put_wall_time(const struct server *s, struct buf *b)
{
    struct busy busy = observer_busy(s);
    term_put_list(b, 1);
    term_put_tuple(b, 3);
    term_put_uint(b, 1);
    term_put_uint(b, busy.active_us);
    term_put_uint(b, busy.total_us);
    term_put_nil(b);
}

static const struct statistic {
    const char *name;
    void (*put)(const struct server *s, struct buf *b);
} statistics[] = {
    {"io", observer_put_io},
    {"runtime", put_runtime},
    {"wall_clock", put_wall_clock},
    {"reductions", put_reductions},
    {"scheduler_wall_time", put_wall_time},
    {"run_queue", put_zero},
    {"total_run_queue_lengths", put_zero},
};

static OBSERVER_FN(rpc_statistics)
{
    for (size_t i = 0; i < ARRAY_SIZE(statistics); i++) {
        if (!term_is_atom(call->argv[0], statistics[i].name))
            continue;
        statistics[i].put(server, out);
        return RPC_RETURN;
    }
    return observer_badarg(out);
}

/* ---- what else they ask --------------------------------------------------------------------------------- */

/* Only its version; Observer and etop ask nothing else before they go on. Live tracing needs a BEAM: what ttb wants
 * next is undef. */
static OBSERVER_FN(rpc_vsn)
{
    (void)server;
    (void)call;
    put_key(out, "ok");
    put_string(out, "beamgate " BEAMGATE_VERSION);
    return RPC_RETURN;
}

static OBSERVER_FN(rpc_applications)
{
    (void)server;
    (void)call;
    term_put_list(out, 1);
    term_put_tuple(out, 3);
    term_put_atom(out, "beamgate");
    put_string(out, "Phoenix channels without a BEAM");
    put_string(out, BEAMGATE_VERSION);
    term_put_nil(out);
    return RPC_RETURN;
}

#define OBSERVER_BACKEND "observer_backend"

const struct rpc_entry observer_entries[] = {
    {OBSERVER_BACKEND, "sys_info", 0, rpc_sys_info},
    {OBSERVER_BACKEND, "vsn", 0, rpc_vsn},
    {OBSERVER_BACKEND, "fetch_stats", 2, observer_fetch_stats},
    {OBSERVER_BACKEND, "procs_info", 1, observer_procs_info},
    {OBSERVER_BACKEND, "etop_collect", 1, observer_etop_collect},
    {OBSERVER_BACKEND, "get_port_list", 0, observer_port_list},
    {OBSERVER_BACKEND, "socket_info", 0, observer_socket_info},
    {OBSERVER_BACKEND, "get_socket_list", 0, observer_socket_list},
    {OBSERVER_BACKEND, "get_table_list", 2, observer_table_list},
    {OBSERVER_BACKEND, "get_table", 3, observer_get_table},
    {"appmon_info", "start_link2", 3, observer_start_appmon},
    {"application", "loaded_applications", 0, rpc_applications},
    {"application", "which_applications", 0, rpc_applications},
    {"application", "which_applications", 1, rpc_applications},
    {"erlang", "system_info", 1, rpc_system_info},
    {"erlang", "memory", 0, rpc_memory},
    {"erlang", "memory", 1, rpc_memory_of},
    {"erlang", "statistics", 1, rpc_statistics},
    {"erlang", "processes", 0, observer_process_list},
    {"erlang", "process_info", 1, observer_process_info},
    {"erlang", "process_info", 2, observer_process_item},
    {"erlang", "garbage_collect", 1, observer_collect_garbage},
    {"erlang", "is_process_alive", 1, observer_is_alive},
    {"erlang", "registered", 0, observer_registered},
    {"ets", "all", 0, observer_ets_all},
    {"ets", "info", 1, observer_ets_info},
    {"ets", "info", 2, observer_ets_item},
    {"ets", "lookup", 2, observer_ets_lookup},
    {"ets", "member", 2, observer_ets_member},
    {"ets", "tab2list", 1, observer_ets_list},
    {"ets", "whereis", 1, observer_ets_whereis},
    {"proc_lib", "translate_initial_call", 1, observer_initial_call},
    {"proc_lib", "get_label", 1, observer_label},
    {"sys", "get_state", 1, observer_get_state},
    {"sys", "get_state", 2, observer_get_state},
    {"sys", "get_status", 1, observer_get_status},
    {"sys", "get_status", 2, observer_get_status},
};
const size_t observer_entries_count = ARRAY_SIZE(observer_entries);
