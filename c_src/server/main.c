/*
 * main.c: the command line: what was asked for, whether the configuration is good, then server_run(). Messages
 * about the configuration go to standard error as they are, one a line, for a person; from the start on
 * everything is the log's.
 */
#include "server.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl_table.h"
#include "node_identity.h"

#define DEFAULT_FILE "/etc/beamgate/beamgate.yml"

static const char usage[] =
    "Usage: beamgate [options] [FILE]\n"
    "       beamgate ctl COMMAND ...      ask a running gateway; beamgate ctl --help\n"
    "A gateway that joins an Erlang cluster and serves Phoenix-channel clients.\n"
    "\n"
    "  [-c, --config] FILE      the configuration (" DEFAULT_FILE ")\n"
    "      --check FILE         say whether the file is good; start nothing\n"
    "      --cookie-file FILE   the file that holds the cluster's cookie\n"
    "      --name NAME          the node's name, as in beamgate@127.0.0.1\n"
    "      --log-level LEVEL    debug, info, warning or error\n"
    "      --version            print the version\n"
    "      --help               print this\n"
    "\n"
    "An option wins over the environment, the environment over the file. The environment's BEAMGATE_COOKIE is\n"
    "the cookie itself, BEAMGATE_PUSH_TOKEN the token that pushes of functions must bring.\n"
    "\n"
    "Signals: SIGTERM and SIGINT close all clients with 1012 and leave the cluster (a second one stops at once),\n"
    "SIGHUP reads the configuration again, SIGUSR1 writes the state to the log.\n"
    "\n"
    "Exit codes: 0 stopped as asked, or the checked file is good; 1 cannot start or go on; 2 wrong usage; 4 stopped\n"
    "before everything was closed; 78 the configuration or the cookie is not usable.\n";

struct command {
    const char *file; /* NULL: not named yet */
    bool check;
    struct config_overrides with;
};

enum { OPT_CHECK = 1000, OPT_COOKIE_FILE, OPT_NAME, OPT_LOG_LEVEL, OPT_VERSION, OPT_HELP };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"check", required_argument, NULL, OPT_CHECK},
    {"cookie-file", required_argument, NULL, OPT_COOKIE_FILE},
    {"name", required_argument, NULL, OPT_NAME},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* Output that cannot be written (a closed pipe, a full disk) is a failure, not a success nobody saw. */
static int print(const char *text)
{
    return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? EXIT_FAILED : EXIT_STOPPED;
}

/* One option. -1 to go on, else what to exit with. */
static int take_option(struct command *cmd, int opt)
{
    cmd->check = cmd->check || opt == OPT_CHECK;
    switch (opt) {
    case OPT_CHECK:
    case 'c': cmd->file = optarg; return -1;
    case OPT_COOKIE_FILE: cmd->with.cookie_file = optarg; return -1;
    case OPT_NAME: cmd->with.name = optarg; return -1;
    case OPT_LOG_LEVEL: cmd->with.log_level = optarg; return -1;
    case OPT_VERSION: return print("beamgate " BEAMGATE_VERSION "\n");
    case OPT_HELP: return print(usage);
    default: fputs("Try beamgate --help\n", stderr); return EXIT_USAGE;
    }
}

/* -1 when all is understood, else what to exit with. */
static int take_options(struct command *cmd, int argc, char **argv)
{
    int opt, rc;
    while ((opt = getopt_long(argc, argv, "c:", long_options, NULL)) != -1)
        if ((rc = take_option(cmd, opt)) != -1)
            return rc;
    if (optind < argc && !cmd->file)
        cmd->file = argv[optind++];
    if (optind < argc) {
        fprintf(stderr, "beamgate: unexpected argument %s\nTry beamgate --help\n",
                log_text(slice_str(argv[optind])));
        return EXIT_USAGE;
    }
    if (!cmd->file)
        cmd->file = DEFAULT_FILE;
    return -1;
}

/* Secrets of the environment, kept for reloads. One byte more than allowed, so that what is too long is refused, not
 * cut. */
struct environment {
    char cookie[NODE_COOKIE_MAX + 2];
    char push_token[CONFIG_TOKEN_MAX + 2];
};

/* Copied, then wiped, so that neither children nor /proc show it longer than needed. NULL when it is not set. */
static const char *take_variable(const char *name, char *copy, size_t size)
{
    char *value = getenv(name);
    if (!value)
        return NULL;
    slice_cstr(slice_str(value), copy, size);
    explicit_bzero(value, strlen(value));
    unsetenv(name);
    return copy;
}

static void take_environment(struct command *cmd, struct environment *e)
{
    cmd->with.cookie = take_variable("BEAMGATE_COOKIE", e->cookie, sizeof(e->cookie));
    cmd->with.push_token = take_variable("BEAMGATE_PUSH_TOKEN", e->push_token, sizeof(e->push_token));
}

static bool has_cookie_source(const struct server_config *c, const struct command *cmd)
{
    return cmd->with.cookie_file || cmd->with.cookie || c->node.cookie_file || c->node.cookie;
}

/* Everything that must be right before a start. A file may be checked on another machine than it is for, so there a
 * missing cookie or name is a warning. */
static struct server_config *prepare(const struct command *cmd, char *cookie, size_t size, struct config_report *r)
{
    struct server_config *c = config_load(cmd->file, r);
    if (!c)
        return NULL;
    int rc = config_override(c, &cmd->with, r);
    if (!c->node.name)
        config_note(r, !cmd->check, cmd->file, "no node name: set node.name or give --name");
    if (cmd->check && !has_cookie_source(c, cmd))
        config_note(r, false, cmd->file, "names no cookie: a start needs --cookie-file or BEAMGATE_COOKIE");
    else if (config_cookie(c, &cmd->with, cmd->file, cookie, size, r) != BG_OK)
        rc = BG_EINVAL;
    if (config_push_token(c, &cmd->with, r) != BG_OK)
        rc = BG_EINVAL;
    if (rc == BG_OK && r->errors == 0)
        return c;
    config_free(c);
    return NULL;
}

/* What a reload needs to do again what prepare() did at the start. */
struct reloader {
    const struct command *cmd;
    char *cookie; /* of the start, to tell whether it has changed */
};

static struct server_config *load_again(void *ctx, struct config_report *report)
{
    const struct reloader *r = ctx;
    char cookie[NODE_COOKIE_MAX + 1] = "";
    struct server_config *c = prepare(r->cmd, cookie, sizeof(cookie), report);
    if (c && strcmp(cookie, r->cookie) != 0)
        config_note(report, false, r->cmd->file, "the cookie has changed: a restart is needed to use it");
    explicit_bzero(cookie, sizeof(cookie));
    return c;
}

/* From here on everything is said in the log. */
static int serve(const struct server_config *c, const struct command *cmd, char *cookie)
{
    struct err e = {0};
    struct reloader again = {cmd, cookie};
    enum log_level level = LOG_INFO;
    if (log_level_parse(slice_str(c->log.level), &level) == BG_OK)
        log_set_level(level);
    struct server *s = server_new(c, cookie, true, &e);
    if (!s) {
        log_error("server", "cannot start", "reason=\"%s\"", e.text);
        return EXIT_FAILED;
    }
    server_set_source(s, &(struct settings_source){load_again, &again});
    int rc = server_run(s);
    server_free(s);
    return rc;
}

int main(int argc, char **argv)
{
    char cookie[NODE_COOKIE_MAX + 1] = "";
    struct environment environment;
    struct command cmd = {0};
    struct config_report report;
    if (argc > 1 && strcmp(argv[1], "ctl") == 0)
        return ctl_main(argc - 1, argv + 1);
    int rc = take_options(&cmd, argc, argv);
    if (rc != -1)
        return rc;
    take_environment(&cmd, &environment);
    config_report_init(&report);
    struct server_config *c = prepare(&cmd, cookie, sizeof(cookie), &report);
    if (report.text.len)
        fwrite(report.text.data, 1, report.text.len, stderr);
    config_report_fini(&report);
    if (!c)
        rc = EXIT_BADCONF;
    else if (cmd.check)
        rc = printf("%s: good\n", cmd.file) < 0 ? EXIT_FAILED : EXIT_STOPPED;
    else
        rc = serve(c, &cmd, cookie);
    config_free(c);
    explicit_bzero(cookie, sizeof(cookie));
    explicit_bzero(&environment, sizeof(environment));
    return rc;
}
