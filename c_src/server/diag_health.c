/*
 * diag_health.c: health_check (O-040..O-044): is this node well, in the library's words. The library looks whether its
 * processes live; here a part is no process of its own unless it has registered one, and then the process that stands
 * for all of them answers for it.
 *
 * Beside the library's three checks there is a fourth, beamgate, with what only this program can say.
 */
#include "diag.h"

#include "observer.h"

enum health { HEALTH_OK, HEALTH_DEGRADED, HEALTH_ERROR };

static const char *const words[] = {[HEALTH_OK] = "ok", [HEALTH_DEGRADED] = "degraded", [HEALTH_ERROR] = "error"};

static enum health worse(enum health a, enum health b)
{
    return a > b ? a : b;
}

/* ---- vm ------------------------------------------------------------------------------------------------ */

static uint32_t process_limit(const struct server *s)
{
    return s->config ? s->config->limits.max_processes : process_count(s->processes);
}

static enum health vm_health(const struct server *s, uint64_t max_memory_bytes)
{
    bool crowded = process_count(s->processes) >= process_limit(s) / 10 * 9;
    bool large = max_memory_bytes && observer_memory_total(s) > max_memory_bytes;
    return crowded || large ? HEALTH_DEGRADED : HEALTH_OK;
}

static uint64_t uptime_ms(const struct server *s)
{
    uint64_t now = clock_now_us();
    return now > s->started_us ? (now - s->started_us) / 1000 : 0;
}

static void put_vm(struct server *s, enum health h, struct buf *out)
{
    uint64_t up = uptime_ms(s);
    term_put_map(out, 7);
    diag_put_word(out, "status", words[h]);
    diag_put_uint(out, "process_count", process_count(s->processes));
    diag_put_uint(out, "process_limit", process_limit(s));
    diag_key(out, "memory");
    observer_put_memory_map(s, out);
    diag_put_uint(out, "schedulers", 1);
    diag_put_uint(out, "schedulers_online", 1);
    diag_put_since(out, "uptime", up, up - s->diag_last.uptime_ms);
    s->diag_last.uptime_ms = up;
}

/* ---- node ---------------------------------------------------------------------------------------------- */

static bool registered(const struct server *s)
{
    return s->cluster && cluster_registered(s->cluster);
}

/* A node whose name is not known to epmd cannot be reached by anybody new: not distributed (O-043). */
static void put_node(const struct server *s, struct buf *out)
{
    term_put_map(out, 4);
    diag_put_word(out, "status", words[registered(s) ? HEALTH_OK : HEALTH_ERROR]);
    diag_put_word(out, "node", s->self.name);
    diag_put_flag(out, "alive?", registered(s));
    diag_key(out, "connected_nodes");
    diag_put_nodes(s, out);
}

/* ---- parts --------------------------------------------------------------------------------------------- */

static bool always(const struct server *s)
{
    (void)s;
    return true;
}

static bool has_limiter(const struct server *s)
{
    return s->limiter != NULL;
}

/* Whether somebody answers the library's status call for it: what is not built yet is not in the table. */
static bool has_relay(const struct server *s)
{
    return rpc_find(&s->rpc, SLICE_LIT("Elixir.PhoenixGenApi.RelayServer"), SLICE_LIT("status"), 0) != NULL;
}

/* O-041. */
static const struct part {
    const char *key;
    const char *name; /* as registered on an Elixir gateway */
    bool (*runs)(const struct server *s);
} parts[] = {
    {"config_db", "Elixir.PhoenixGenApi.ConfigDb", always},
    {"config_puller", "Elixir.PhoenixGenApi.ConfigPuller", always},
    {"config_receiver", "Elixir.PhoenixGenApi.ConfigReceiver", always},
    {"relay_registry", "Elixir.PhoenixGenApi.RelayRegistry", has_relay},
    {"relay_server", "Elixir.PhoenixGenApi.RelayServer", has_relay},
    {"worker_pool_supervisor", "Elixir.PhoenixGenApi.WorkerPool.WorkerPoolSupervisor", always},
    {"async_pool", "async_pool", always},
    {"stream_pool", "stream_pool", always},
    {"rate_limiter_supervisor", "rate_limiter_supervisor", has_limiter},
};

/* inspect/1 of the name. */
static void put_registered_name(const char *name, struct buf *out)
{
    struct buf atom, text;
    buf_init(&atom, 0);
    buf_init(&text, 0);
    term_put_atom(&atom, name);
    term_inspect(buf_slice(&atom), &text, 256);
    diag_key(out, "registered_name");
    term_put_binary(out, buf_slice(&text));
    buf_fini(&atom);
    buf_fini(&text);
}

/* A part that is switched off, or that this version does not have, is no failure: not_available, which counts as well.
 */
static void put_part(const struct server *s, const struct part *p, struct buf *out)
{
    handle_t of_its_own = process_whereis(s->processes, slice_str(p->name));
    handle_t h = of_its_own != HANDLE_NONE ? of_its_own : observer_root(s);
    bool runs = p->runs(s);
    diag_key(out, p->key);
    term_put_map(out, 4);
    diag_put_word(out, "status", runs ? "ok" : "not_available");
    put_registered_name(p->name, out);
    diag_key(out, "pid");
    if (runs) {
        node_put_pid(&s->self, out, h);
        diag_key(out, "process");
        diag_put_process(s, h, false, out);
    } else {
        term_put_atom(out, "nil");
        diag_put_word(out, "reason", "not_registered");
    }
}

/* O-042. One limiter, when it is switched on. */
static void put_limiter_instances(const struct server *s, struct buf *out)
{
    diag_key(out, "rate_limiter_instances");
    term_put_map(out, 3);
    diag_put_word(out, "status", "ok");
    diag_put_uint(out, "instance_count", s->limiter ? 1 : 0);
    if (s->limiter)
        diag_put_uint(out, "alive_instances", 1);
    else
        diag_put_word(out, "reason", "switched_off");
}

static void put_supervision_tree(const struct server *s, struct buf *out)
{
    uint64_t children = 0;
    for (unsigned i = PART_ROOT + 1; i < SERVER_PARTS; i++)
        children += process_alive(s->processes, s->observer.part[i]);
    diag_key(out, "supervision_tree");
    term_put_map(out, 2);
    diag_put_word(out, "status", children == SERVER_PARTS - 1 ? "ok" : "degraded");
    diag_put_uint(out, "children_count", children);
}

static void put_parts(const struct server *s, struct buf *out)
{
    term_put_map(out, 3);
    diag_put_word(out, "status", "ok"); /* a part that fails takes the program with it */
    diag_put_word(out, "mode", "gateway");
    diag_key(out, "checks");
    term_put_map(out, ARRAY_SIZE(parts) + 2);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        put_part(s, &parts[i], out);
    put_limiter_instances(s, out);
    put_supervision_tree(s, out);
}

/* ---- beamgate ------------------------------------------------------------------------------------------ */

enum { REASON_MAX = 160 };

static enum health own_health(struct server *s, char reason[REASON_MAX])
{
    reason[0] = '\0';
    if (!s->cluster || !s->puller)
        return HEALTH_OK;
    return server_ready(s, reason, REASON_MAX) ? HEALTH_OK : HEALTH_DEGRADED;
}

static void put_own(const struct server *s, enum health h, const char *reason, struct buf *out)
{
    term_put_map(out, 6);
    diag_put_word(out, "status", words[h]);
    diag_put_string(out, "version", BEAMGATE_VERSION);
    diag_put_flag(out, "ready", h == HEALTH_OK);
    diag_put_string(out, "reason", reason);
    diag_put_flag(out, "draining", s->draining);
    diag_key(out, "loop");
    diag_put_loop(s, out);
}

/* ---- all ----------------------------------------------------------------------------------------------- */

void diag_put_health(struct server *s, uint64_t max_memory_bytes, struct buf *out)
{
    char reason[REASON_MAX];
    enum health vm = vm_health(s, max_memory_bytes), node = registered(s) ? HEALTH_OK : HEALTH_ERROR;
    enum health own = own_health(s, reason);
    term_put_map(out, 4);
    diag_put_word(out, "status", words[worse(worse(vm, node), own)]);
    diag_put_word(out, "node", s->self.name);
    diag_key(out, "checked_at_ms");
    term_put_int(out, rpc_now_ms());
    diag_key(out, "checks");
    term_put_map(out, 4);
    diag_key(out, "vm");
    put_vm(s, vm, out);
    diag_key(out, "node");
    put_node(s, out);
    diag_key(out, "phoenix_gen_api");
    put_parts(s, out);
    diag_key(out, "beamgate");
    put_own(s, own, reason, out);
}
