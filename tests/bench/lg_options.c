/*
 * lg_options.c: the load generator's command line, one table for parser and help.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loadgen.h"

enum kind { OPT_TEXT, OPT_UINT, OPT_SECONDS, OPT_MODE, OPT_FLAG, OPT_PROC, OPT_EXPECT, OPT_HELP };

struct option {
    const char *name;
    enum kind kind;
    size_t offset;
    unsigned min, max;
    const char *help;
};

#define AT(member) offsetof(struct options, member)
static const struct option OPTIONS[] = {
    {"--host", OPT_TEXT, AT(host), 0, 0, "IPv4 address of the gateway (127.0.0.1)"},
    {"--port", OPT_UINT, AT(port), 1, 65535, "its port (4000)"},
    {"--path", OPT_TEXT, AT(path), 0, 0, "path of the socket; %d is the connection's index"},
    {"--mode", OPT_MODE, AT(mode), 0, 0, "request | echo | heartbeat | idle | join | start (request)"},
    {"--connections", OPT_UINT, AT(connections), 1, 200000, "connections (64)"},
    {"--inflight", OPT_UINT, AT(inflight), 1, 1024, "outstanding requests per connection (1)"},
    {"--seconds", OPT_SECONDS, AT(seconds), 0, 600, "measured window (3)"},
    {"--warmup", OPT_SECONDS, AT(warmup), 0, 600, "load before it that does not count (1)"},
    {"--setup", OPT_UINT, AT(setup_seconds), 1, 600, "most seconds until all are connected, or a start is done (30)"},
    {"--topic", OPT_TEXT, AT(topic), 0, 0, "topic to join (api:lobby)"},
    {"--event", OPT_TEXT, AT(event), 0, 0, "event of the requests (api)"},
    {"--service", OPT_TEXT, AT(service), 0, 0, "service of the built-in payloads (user_service)"},
    {"--payload-template", OPT_TEXT, AT(payload), 0, 0, "echo | list_users | JSON with $ID as \"request_id\":\"r$ID\" (echo)"},
    {"--expect", OPT_EXPECT, 0, 0, 0, "text that the first answer must hold; may be repeated"},
    {"--pid", OPT_PROC, 0, 0, 0, "[NAME=]PID to account CPU and memory of; the first is the gateway; up to 4"},
    {"--sources", OPT_UINT, AT(sources), 0, 250, "spread over so many source addresses from 127.0.0.1 on (0: off)"},
    {"--label", OPT_TEXT, AT(label), 0, 0, "name of this run in the report"},
    {"--json", OPT_FLAG, AT(json), 0, 0, "report as one JSON object"},
    {"--help", OPT_HELP, 0, 0, 0, "this list"},
};
enum { OPTION_COUNT = sizeof(OPTIONS) / sizeof(OPTIONS[0]) };

static const char *const MODES[] = {
    [MODE_REQUEST] = "request", [MODE_ECHO] = "echo", [MODE_HEARTBEAT] = "heartbeat",
    [MODE_IDLE] = "idle",       [MODE_JOIN] = "join", [MODE_START] = "start",
};

const char *mode_name(enum mode m)
{
    return MODES[m];
}

static void usage(void)
{
    puts("usage: loadgen [option]... [-- COMMAND ARG...]\n"
         "Loads a Phoenix-channel gateway and checks every answer. With --mode start, COMMAND is the gateway to spawn.");
    for (int i = 0; i < OPTION_COUNT; i++)
        printf("  %-20s %s\n", OPTIONS[i].name, OPTIONS[i].help);
}

static int bad(const char *name, const char *value)
{
    fprintf(stderr, "loadgen: bad value for %s: %s\n", name, value);
    return -1;
}

static int set_mode(struct options *o, const char *value)
{
    for (unsigned m = 0; m < sizeof(MODES) / sizeof(MODES[0]); m++) {
        if (strcmp(value, MODES[m]) == 0) {
            o->mode = (enum mode)m;
            return 0;
        }
    }
    return bad("--mode", value);
}

static int set_uint(struct options *o, const struct option *opt, const char *value)
{
    char *end;
    unsigned long v = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || v < opt->min || v > opt->max)
        return bad(opt->name, value);
    *(unsigned *)(void *)((char *)o + opt->offset) = (unsigned)v;
    return 0;
}

static int set_seconds(struct options *o, const struct option *opt, const char *value)
{
    char *end;
    double v = strtod(value, &end);
    if (end == value || *end || !(v >= opt->min && v <= opt->max))
        return bad(opt->name, value);
    *(double *)(void *)((char *)o + opt->offset) = v;
    return 0;
}

static int add_proc(struct options *o, const char *value)
{
    const char *eq = strchr(value, '=');
    long pid = strtol(eq ? eq + 1 : value, NULL, 10);
    if (o->procs_count == MAX_PROCS || pid <= 0)
        return bad("--pid", value);
    struct proc_target *t = &o->procs[o->procs_count++];
    t->pid = (pid_t)pid;
    if (eq)
        snprintf(t->name, sizeof(t->name), "%.*s", (int)(eq - value), value);
    else
        snprintf(t->name, sizeof(t->name), "gateway");
    return 0;
}

static int add_expect(struct options *o, const char *value)
{
    if (o->expect_count == MAX_EXPECT)
        return bad("--expect", value);
    o->expect[o->expect_count++] = value;
    return 0;
}

static int set_value(struct options *o, const struct option *opt, const char *value)
{
    switch (opt->kind) {
    case OPT_TEXT:
        *(const char **)(void *)((char *)o + opt->offset) = value;
        return 0;
    case OPT_UINT:
        return set_uint(o, opt, value);
    case OPT_SECONDS:
        return set_seconds(o, opt, value);
    case OPT_MODE:
        return set_mode(o, value);
    case OPT_PROC:
        return add_proc(o, value);
    case OPT_EXPECT:
        return add_expect(o, value);
    default:
        return -1;
    }
}

static const struct option *option_named(const char *name)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (strcmp(OPTIONS[i].name, name) == 0)
            return &OPTIONS[i];
    fprintf(stderr, "loadgen: unknown option %s (--help lists them)\n", name);
    return NULL;
}

static int check(const struct options *o)
{
    if (o->mode == MODE_START && (!o->command || !*o->command)) {
        fprintf(stderr, "loadgen: --mode start needs a command after --\n");
        return -1;
    }
    if (strstr(o->payload, "request_id") && !strstr(o->payload, "\"request_id\":\"r$ID\"")) {
        fprintf(stderr, "loadgen: the payload must have \"request_id\":\"r$ID\"\n");
        return -1;
    }
    return 0;
}

int options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.host = "127.0.0.1", .port = 4000, .connections = 64, .inflight = 1, .seconds = 3, .warmup = 1,
                          .path = "/socket/websocket?vsn=2.0.0&user_id=u%d", .topic = "api:lobby", .event = "api",
                          .service = "user_service", .payload = "echo", .label = "", .setup_seconds = 30};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            o->command = argv + i + 1;
            break;
        }
        const struct option *opt = option_named(argv[i]);
        if (!opt)
            return -1;
        if (opt->kind == OPT_HELP) {
            usage();
            exit(0);
        }
        if (opt->kind == OPT_FLAG) {
            *(bool *)((char *)o + opt->offset) = true;
            continue;
        }
        if (i + 1 == argc)
            return bad(opt->name, "(missing)");
        if (set_value(o, opt, argv[++i]) != 0)
            return -1;
    }
    return check(o);
}
