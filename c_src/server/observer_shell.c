/*
 * observer_shell.c: what a person asks a node by rpc from a shell, beside what Observer asks: the time, the system
 * under it, its application and settings, its ports (08 §5.3). As everywhere here: what has no honest answer is not in
 * the table, so the caller gets undef.
 *
 * Settings are numbers and switches only. Texts stay here: among them are tokens and the paths of secrets.
 */
#include "config_schema.h"
#include "observer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define APPLICATION "beamgate"

/* ---- the system ------------------------------------------------------------------------------------------ */

static OBSERVER_FN(os_type)
{
    (void)server;
    (void)call;
    term_put_tuple(out, 2);
    term_put_atom(out, "unix");
    term_put_atom(out, "linux");
    return RPC_RETURN;
}

/* {Major, Minor, Release} of the kernel. */
static OBSERVER_FN(os_version)
{
    struct utsname u;
    unsigned v[3] = {0};
    (void)server;
    (void)call;
    if (uname(&u) == 0)
        (void)sscanf(u.release, "%u.%u.%u", &v[0], &v[1], &v[2]);
    term_put_tuple(out, 3);
    for (unsigned i = 0; i < 3; i++)
        term_put_uint(out, v[i]);
    return RPC_RETURN;
}

static OBSERVER_FN(os_getpid)
{
    char text[16];
    (void)server;
    (void)call;
    snprintf(text, sizeof(text), "%ld", (long)getpid());
    put_string(out, text);
    return RPC_RETURN;
}

static OBSERVER_FN(inet_gethostname)
{
    char name[256] = "";
    (void)server;
    (void)call;
    if (gethostname(name, sizeof(name) - 1) != 0)
        return RPC_ERROR;
    put_key(out, "ok");
    put_string(out, name);
    return RPC_RETURN;
}

/* ---- the time -------------------------------------------------------------------------------------------- */

static int64_t system_time_ns(void)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* erlang's native unit is the nanosecond where there is such a clock, as on a BEAM on Linux. */
static OBSERVER_FN(system_time)
{
    (void)server;
    (void)call;
    term_put_int(out, system_time_ns());
    return RPC_RETURN;
}

static OBSERVER_FN(system_time_in)
{
    static const struct {
        const char *unit;
        int64_t ns;
    } units[] = {{"second", 1000000000}, {"millisecond", 1000000}, {"microsecond", 1000},      {"nanosecond", 1},
                 {"native", 1},          {"seconds", 1000000000},  {"milli_seconds", 1000000}, {"micro_seconds", 1000},
                 {"nano_seconds", 1}};
    (void)server;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (!term_is_atom(call->argv[0], units[i].unit))
            continue;
        term_put_int(out, system_time_ns() / units[i].ns);
        return RPC_RETURN;
    }
    return observer_badarg(out);
}

/* {MegaSecs, Secs, MicroSecs} */
static OBSERVER_FN(timestamp)
{
    int64_t us = system_time_ns() / 1000;
    (void)server;
    (void)call;
    term_put_tuple(out, 3);
    term_put_int(out, us / 1000000 / 1000000);
    term_put_int(out, us / 1000000 % 1000000);
    term_put_int(out, us % 1000000);
    return RPC_RETURN;
}

/* {{Year, Month, Day}, {Hour, Minute, Second}} */
static void put_date_time(struct buf *b, const struct tm *t)
{
    const int parts[] = {t->tm_year + 1900, t->tm_mon + 1, t->tm_mday, t->tm_hour, t->tm_min, t->tm_sec};
    term_put_tuple(b, 2);
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        if (i % 3 == 0)
            term_put_tuple(b, 3);
        term_put_int(b, parts[i]);
    }
}

static OBSERVER_FN(localtime_now)
{
    time_t now = time(NULL);
    struct tm t = {0};
    (void)server;
    (void)call;
    put_date_time(out, localtime_r(&now, &t));
    return RPC_RETURN;
}

static OBSERVER_FN(universaltime_now)
{
    time_t now = time(NULL);
    struct tm t = {0};
    (void)server;
    (void)call;
    put_date_time(out, gmtime_r(&now, &t));
    return RPC_RETURN;
}

/* ---- the application --------------------------------------------------------------------------------------- */

static void put_option(struct buf *b, const struct option *o, const void *settings);

/* True for a kind that says nothing secret. */
static bool is_shown(const struct option *o)
{
    return o->kind == OPT_NUMBER || o->kind == OPT_SWITCH || o->kind == OPT_SECTION;
}

/* [{Key, Value}]. Sections do not nest in themselves: the table is constant and two levels deep. */
static void put_section(struct buf *b, const struct section *s, const void *settings)
{
    struct list_mark m = list_open(b);
    for (uint32_t i = 0; i < s->count; i++) {
        if (!is_shown(&s->options[i]))
            continue;
        put_key(b, s->options[i].key);
        put_option(b, &s->options[i], settings);
        m.count++;
    }
    list_close(b, &m);
}

static uint64_t number_at(const void *p, size_t size)
{
    uint16_t small;
    uint32_t large;
    if (size == sizeof(small)) {
        memcpy(&small, p, sizeof(small));
        return small;
    }
    memcpy(&large, p, sizeof(large));
    return large;
}

static void put_option(struct buf *b, const struct option *o, const void *settings)
{
    const char *at = (const char *)settings + o->offset;
    if (o->kind == OPT_SECTION) {
        put_section(b, o->child, at);
    } else if (o->kind == OPT_NUMBER) {
        term_put_uint(b, number_at(at, o->size));
    } else {
        enum toggle t;
        memcpy(&t, at, sizeof(t));
        term_put_atom(b, is_on(t) ? "true" : "false");
    }
}

static const struct option *option_of(struct slice name)
{
    for (uint32_t i = 0; i < config_section.count; i++)
        if (is_shown(&config_section.options[i]) && term_is_atom(name, config_section.options[i].key))
            return &config_section.options[i];
    return NULL;
}

static OBSERVER_FN(get_all_env)
{
    const struct server *s = server;
    if (!term_is_atom(call->argv[0], APPLICATION) || !s->config)
        term_put_nil(out);
    else
        put_section(out, &config_section, s->config);
    return RPC_RETURN;
}

/* get_env(App, Section[, Default]): {ok, Value} or undefined; with a default the bare value. */
static OBSERVER_FN(get_env)
{
    const struct server *s = server;
    const struct option *o = term_is_atom(call->argv[0], APPLICATION) && s->config ? option_of(call->argv[1]) : NULL;
    if (!o) {
        if (call->argc == 3)
            term_put_raw(out, call->argv[2]);
        else
            term_put_atom(out, "undefined");
        return RPC_RETURN;
    }
    if (call->argc == 2)
        put_key(out, "ok");
    put_option(out, o, s->config);
    return RPC_RETURN;
}

static void put_attribute(struct buf *b, const char *key, const char *value)
{
    put_key(b, key);
    term_put_list(b, 1);
    term_put_atom(b, value);
    term_put_nil(b);
}

/* module_info(attributes) of the module that this program's processes are said to run: Observer's process window asks
 * for its behaviour. It has no functions that anybody could call or trace. */
static OBSERVER_FN(module_info)
{
    (void)server;
    if (term_is_atom(call->argv[0], "attributes")) {
        term_put_list(out, 2);
        put_attribute(out, "vsn", BEAMGATE_VERSION);
        put_attribute(out, "behaviour", "beamgate_actor");
        term_put_nil(out);
        return RPC_RETURN;
    }
    if (!term_is_atom(call->argv[0], "exports") && !term_is_atom(call->argv[0], "functions"))
        return observer_badarg(out);
    term_put_nil(out);
    return RPC_RETURN;
}

/* True for the first of its module's entries. */
static bool begins_module(const struct rpc_table *t, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(t->entries[k].module, t->entries[i].module) == 0)
            return false;
    return strcmp(t->entries[i].module, RPC_ANY_MODULE) != 0;
}

/* [{Module, preloaded}]: those that code:which/1 and ensure_loaded/1 know. */
static OBSERVER_FN(all_loaded)
{
    const struct server *s = server;
    struct list_mark m = list_open(out);
    (void)call;
    for (size_t i = 0; i < s->rpc.count; i++) {
        if (!begins_module(&s->rpc, i))
            continue;
        put_pair_atom(out, s->rpc.entries[i].module, "preloaded");
        m.count++;
    }
    list_close(out, &m);
    return RPC_RETURN;
}

const struct rpc_entry shell_entries[] = {
    {"os", "type", 0, os_type},
    {"os", "version", 0, os_version},
    {"os", "getpid", 0, os_getpid},
    {"os", "system_time", 0, system_time},
    {"os", "system_time", 1, system_time_in},
    {"os", "timestamp", 0, timestamp},
    {"erlang", "system_time", 0, system_time},
    {"erlang", "system_time", 1, system_time_in},
    {"erlang", "timestamp", 0, timestamp},
    {"erlang", "localtime", 0, localtime_now},
    {"erlang", "universaltime", 0, universaltime_now},
    {"calendar", "local_time", 0, localtime_now},
    {"calendar", "universal_time", 0, universaltime_now},
    {"inet", "gethostname", 0, inet_gethostname},
    {"application", "get_all_env", 1, get_all_env},
    {"application", "get_env", 2, get_env},
    {"application", "get_env", 3, get_env},
    {"code", "all_loaded", 0, all_loaded},
    {APPLICATION, "module_info", 1, module_info},
};
const size_t shell_entries_count = ARRAY_SIZE(shell_entries);
