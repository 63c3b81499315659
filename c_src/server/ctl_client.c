/*
 * ctl_client.c: `beamgate ctl COMMAND`: reads the command line, asks the gateway over its socket, prints the answer and
 * ends with a code that a script can use. It holds no state and does not know what commands mean: the table does.
 *
 * What comes from the socket is a gateway's, but is read as if it were not: bounded, and checked by jansson.
 */
#define _GNU_SOURCE /* wcwidth's locale */
#include "ctl_print.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/beamgate/ctl.sock"

enum { LINE_MAX_BYTES = 64 * 1024 * 1024, READ_CHUNK = 64 * 1024, WIDTH_MAX = 10000 };

struct invocation {
    const char *socket;
    bool json;
    const struct ctl_command *command;
    json_t *request;
};

/* ---- help ---------------------------------------------------------------------------------------------- */

static const char head[] =
    "Usage: beamgate ctl [-s SOCKET] [--json] COMMAND [ARGUMENTS]\n"
    "Asks a gateway that runs on this machine.\n"
    "\n"
    "  -s, --socket PATH   its socket, control.socket of its configuration\n"
    "                      (the environment's BEAMGATE_SOCKET, else " DEFAULT_SOCKET ")\n"
    "      --json          answers as JSON: a value, a list, or for what goes on one document a line\n"
    "      --help          this, or after a command what that does\n"
    "\n"
    "Commands:\n";
static const char tail[] =
    "\n"
    "Exit codes: 0 done; 1 the gateway refused, or the answer is an error; 2 wrong usage; 3 no gateway answers;\n"
    "4 the socket is not for this user; 5 the answer broke off; 6 health: not ok.\n";

static int show(const struct buf *text)
{
    bool written = text->len == 0 || fwrite(text->data, 1, text->len, stdout) == text->len; /* data may be NULL */
    bool ok = buf_ok(text) && written && fflush(stdout) == 0;
    return ok ? CTL_EXIT_OK : CTL_EXIT_BROKEN;
}

static int print_help(void)
{
    struct buf b;
    buf_init(&b, 0);
    buf_puts(&b, head);
    for (size_t i = 0; i < ctl_commands_count; i++) {
        char left[64];
        snprintf(left, sizeof(left), "%s %s", ctl_commands[i].name, ctl_commands[i].usage);
        buf_printf(&b, "  %-24s %s\n", left, ctl_commands[i].summary);
    }
    buf_puts(&b, tail);
    int rc = show(&b);
    buf_fini(&b);
    return rc;
}

static int print_command_help(const struct ctl_command *c)
{
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "Usage: beamgate ctl %s%s%s%s\n%s\n", c->name, c->usage[0] ? " " : "", c->usage,
               c->options ? " [OPTIONS]" : "", c->summary);
    if (c->help)
        buf_printf(&b, "\n%s\n", c->help);
    for (size_t i = 0; c->options && c->options[i]; i += 2)
        buf_printf(&b, "%s  --%-18s %s\n", i ? "" : "\n", c->options[i], c->options[i + 1]);
    int rc = show(&b);
    buf_fini(&b);
    return rc;
}

/* ---- the command line ---------------------------------------------------------------------------------- */

static int usage_error(const char *text, const char *what)
{
    struct buf b;
    buf_init(&b, 0);
    ctl_put_safe(slice_str(what), &b);
    fprintf(stderr, "beamgate ctl: %s %.*s\nTry beamgate ctl --help\n", text, (int)b.len, b.data ? (char *)b.data : "");
    buf_fini(&b);
    return CTL_EXIT_USAGE;
}

static unsigned lesser(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, change) that turn a into b. */
static unsigned distance(const char *a, const char *b)
{
    enum { WORD_MAX = 32 };
    unsigned row[WORD_MAX + 1];
    size_t n = strlen(b);
    if (strlen(a) > WORD_MAX || n > WORD_MAX)
        return WORD_MAX;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = lesser(change, lesser(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

static int unknown_command(const char *name)
{
    const char *near = NULL;
    unsigned best = 4; /* farther is no slip */
    for (size_t i = 0; i < ctl_commands_count; i++) {
        unsigned d = distance(name, ctl_commands[i].name);
        if (d < best) {
            best = d;
            near = ctl_commands[i].name;
        }
    }
    if (near)
        fprintf(stderr, "beamgate ctl: did you mean %s?\n", near);
    return usage_error("unknown command", name);
}

/* --name=value, --name value, --flag; spec is the table's "name=V" or "flag". False when arg is another option. */
static bool take_command_option(struct invocation *in, const char *spec, const char *arg, char **next, bool *used_next)
{
    size_t n = strcspn(spec, "=");
    bool takes_value = spec[n] == '=';
    const char *value = "";
    char name[32];
    if (strncmp(arg, spec, n) != 0 || (arg[n] != '\0' && arg[n] != '='))
        return false;
    if (takes_value && arg[n] == '=')
        value = arg + n + 1;
    else if (takes_value && *next)
        value = *next;
    else if (takes_value || arg[n] == '=')
        return false;
    *used_next = takes_value && arg[n] != '=';
    snprintf(name, sizeof(name), "%.*s", (int)n, spec);
    return json_object_set_new(json_object_get(in->request, "options"), name, json_string(value)) == 0;
}

/* 0, or an exit code. */
static int take_option(struct invocation *in, const char *arg, char **next, bool *used_next)
{
    for (size_t i = 0; in->command->options && in->command->options[i]; i += 2)
        if (take_command_option(in, in->command->options[i], arg + 2, next, used_next))
            return 0;
    return usage_error("not an option here, or without its value:", arg);
}

/* What follows the command: its arguments and options, in any order; after -- arguments only. */
static int take_rest(struct invocation *in, char **argv)
{
    json_t *args = json_object_get(in->request, "args");
    bool only_args = false;
    for (; *argv; argv++) {
        bool used_next = false;
        int rc = 0;
        if (!only_args && strcmp(*argv, "--") == 0)
            only_args = true;
        else if (!only_args && strcmp(*argv, "--json") == 0)
            in->json = true;
        else if (!only_args && strncmp(*argv, "--", 2) == 0)
            rc = take_option(in, *argv, argv + 1, &used_next);
        else if (json_array_append_new(args, json_string(*argv)) != 0)
            rc = usage_error("not UTF-8:", *argv);
        if (rc)
            return rc;
        argv += used_next;
    }
    if (json_array_size(args) < in->command->min_args || json_array_size(args) > in->command->max_args)
        return usage_error("usage: beamgate ctl", in->command->usage[0] ? in->command->usage : in->command->name);
    return 0;
}

static bool asks_help(char **argv)
{
    for (; *argv && strcmp(*argv, "--") != 0; argv++)
        if (strcmp(*argv, "--help") == 0)
            return true;
    return false;
}

/* Options before the command. 0 with argv at the command, or an exit code. */
static int take_head(struct invocation *in, char ***argv)
{
    for (; **argv && (**argv)[0] == '-' && strcmp(**argv, "--help") != 0; (*argv)++) {
        const char *arg = **argv;
        bool is_socket = strcmp(arg, "-s") == 0 || strcmp(arg, "--socket") == 0;
        if (strcmp(arg, "--json") == 0)
            in->json = true;
        else if (strncmp(arg, "--socket=", 9) == 0)
            in->socket = arg + 9;
        else if (is_socket && (*argv)[1])
            in->socket = *++*argv;
        else
            return usage_error(is_socket ? "needs a path:" : "unknown option", arg);
    }
    return 0;
}

/* ---- the connection ------------------------------------------------------------------------------------ */

/* The descriptor, or minus an exit code. */
static int connect_to(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(to.sun_path))
        return -usage_error("too long a path:", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (why == EACCES || why == EPERM) {
        fprintf(stderr, "beamgate ctl: %s: %s\nThe socket is for the gateway's own user and root.\n", path, strerror(why));
        return -CTL_EXIT_PERMISSION;
    }
    fprintf(stderr, "beamgate ctl: no gateway answers on %s: %s\n"
            "Is it running, and is this control.socket of its configuration? Another one: beamgate ctl -s PATH\n",
            path, strerror(why));
    return -CTL_EXIT_NO_GATEWAY;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static bool send_request(const struct invocation *in, int fd)
{
    char *text = json_dumps(in->request, JSON_COMPACT);
    bool ok = text && write_all(fd, text, strlen(text)) && write_all(fd, "\n", 1);
    free(text);
    return ok;
}

/* ---- the answer ---------------------------------------------------------------------------------------- */

struct answer {
    const struct invocation *in;
    json_t *rows; /* of a table, until the end */
    json_t *value;
    unsigned responses;
    bool ended;
    int exit_code;
};

static size_t terminal_width(void)
{
    struct winsize w = {0};
    const char *columns = getenv("COLUMNS");
    long n = columns ? strtol(columns, NULL, 10) : 0;
    if (n > 0 && n < WIDTH_MAX)
        return (size_t)n;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
}

/* For programs; on a terminal without the characters that it could obey. */
static void put_json(const json_t *v, size_t flags, struct buf *out)
{
    char *text = json_dumps(v, flags | JSON_ENCODE_ANY | (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0));
    buf_puts(out, text ? text : "null");
    free(text);
    buf_putc(out, '\n');
}

/* For people: every line is made harmless by itself. */
static void put_json_lines(const json_t *v, struct buf *out)
{
    char *text = json_dumps(v, JSON_INDENT(2) | JSON_ENCODE_ANY), *line = text;
    for (char *nl; line; line = nl) {
        nl = strchr(line, '\n');
        size_t n = nl ? (size_t)(nl++ - line) : strlen(line);
        ctl_put_safe(slice_make(line, n), out);
        buf_putc(out, '\n');
    }
    free(text);
}

static void put_row_list(const json_t *rows, struct buf *out)
{
    size_t i;
    const json_t *row;
    buf_puts(out, "[");
    json_array_foreach (rows, i, row) {
        buf_puts(out, i ? ",\n " : "");
        put_json(row, JSON_COMPACT, out);
        out->len--; /* its line end */
    }
    buf_puts(out, "]\n");
}

static void tell_error(struct answer *a, const char *error)
{
    struct buf b;
    buf_init(&b, 0);
    ctl_put_safe(slice_str(error), &b);
    fprintf(stderr, "beamgate ctl: %.*s\n", (int)b.len, b.data ? (char *)b.data : "");
    buf_fini(&b);
    a->exit_code = CTL_EXIT_REFUSED;
}

/* The result of a Response, as JSON, since it is the service's own; what only says that more will come is left out. */
static void put_response(struct answer *a, const json_t *row, struct buf *out)
{
    const char *error = json_string_value(json_object_get(row, "error"));
    const json_t *result = json_object_get(row, "result");
    bool first = a->responses++ == 0;
    bool ack = first && json_is_true(json_object_get(row, "async")) &&
               (json_is_null(result) || (json_is_string(result) && strcmp(json_string_value(result), "init") == 0));
    if (json_is_false(json_object_get(row, "success")))
        tell_error(a, error ? error : "the request failed");
    else if (!ack)
        put_json_lines(result, out);
}

/* What goes on is shown as it comes; a table and a value when they are whole. */
static void take_row(struct answer *a, json_t *row)
{
    struct buf out;
    enum ctl_view view = a->in->command->view;
    if (view != VIEW_LINES && view != VIEW_RESPONSES) {
        json_array_append(a->rows, row);
        return;
    }
    buf_init(&out, 0);
    if (a->in->json)
        put_json(row, JSON_COMPACT, &out);
    else if (view == VIEW_RESPONSES)
        put_response(a, row, &out);
    else
        ctl_print_line(row, &out);
    if (a->in->json && json_is_false(json_object_get(row, "success")))
        a->exit_code = CTL_EXIT_REFUSED;
    if (show(&out) != CTL_EXIT_OK)
        a->exit_code = CTL_EXIT_BROKEN;
    buf_fini(&out);
}

static void take_line(struct answer *a, const char *text, size_t n)
{
    json_t *line = json_loadb(text, n, JSON_DECODE_ANY, NULL);
    json_t *row = json_object_get(line, "row"), *value = json_object_get(line, "value");
    const char *error = json_string_value(json_object_get(line, "error"));
    if (row) {
        take_row(a, row);
    } else if (value) {
        json_decref(a->value);
        a->value = json_incref(value);
    } else if (error) {
        tell_error(a, error);
        a->ended = true;
    } else {
        a->ended = json_is_true(json_object_get(line, "end"));
    }
    json_decref(line);
}

/* True until the answer has ended or cannot go on. Only what is new is searched for the line end. */
static bool read_some(struct answer *a, int fd, struct buf *in)
{
    uint8_t *room = buf_reserve(in, READ_CHUNK);
    ssize_t n = room ? read(fd, room, READ_CHUNK) : 0;
    if (n < 0 && errno == EINTR)
        return true;
    if (n <= 0)
        return false;
    size_t start = 0, from = in->len;
    in->len += (size_t)n;
    for (const uint8_t *nl; !a->ended && (nl = memchr(in->data + from, '\n', in->len - from)); start = from) {
        from = (size_t)(nl - in->data) + 1;
        take_line(a, (const char *)in->data + start, from - 1 - start);
    }
    buf_consume(in, start);
    return !a->ended && a->exit_code != CTL_EXIT_BROKEN;
}

static bool is_healthy(const json_t *value)
{
    const char *status = json_string_value(json_object_get(value, "status"));
    return status && strcmp(status, "ok") == 0;
}

static void print_answer(struct answer *a)
{
    const struct ctl_command *cmd = a->in->command;
    struct buf out;
    buf_init(&out, 0);
    if (a->value && a->in->json)
        put_json(a->value, JSON_INDENT(2), &out);
    else if (a->value)
        ctl_print_tree(a->value, &out);
    else if (cmd->view == VIEW_TABLE && a->exit_code == CTL_EXIT_OK && a->in->json)
        put_row_list(a->rows, &out);
    else if (cmd->view == VIEW_TABLE && a->exit_code == CTL_EXIT_OK)
        ctl_print_table(cmd, a->rows, terminal_width(), &out);
    if (show(&out) != CTL_EXIT_OK)
        a->exit_code = CTL_EXIT_BROKEN;
    buf_fini(&out);
    if (a->exit_code == CTL_EXIT_OK && strcmp(cmd->name, "health") == 0 && !is_healthy(a->value))
        a->exit_code = CTL_EXIT_NOT_HEALTHY;
}

static int converse(const struct invocation *in, int fd)
{
    struct answer a = {.in = in, .rows = json_array()};
    struct buf bytes;
    buf_init(&bytes, LINE_MAX_BYTES);
    bool sent = send_request(in, fd); /* if not, the gateway has said why and gone */
    while (read_some(&a, fd, &bytes))
        ;
    if (!a.ended && in->command->until_gone && sent)
        a.ended = true;
    if (!a.ended && a.exit_code == CTL_EXIT_OK) {
        fputs("beamgate ctl: the answer broke off\n", stderr);
        a.exit_code = CTL_EXIT_BROKEN;
    }
    if (a.exit_code == CTL_EXIT_OK || a.value)
        print_answer(&a);
    buf_fini(&bytes);
    json_decref(a.rows);
    json_decref(a.value);
    return a.exit_code;
}

/* ---- together ------------------------------------------------------------------------------------------ */

static int run(struct invocation *in)
{
    const char *path = in->socket ? in->socket : getenv("BEAMGATE_SOCKET");
    int fd = connect_to(path && path[0] ? path : DEFAULT_SOCKET);
    if (fd < 0)
        return -fd;
    int rc = converse(in, fd);
    close(fd);
    return rc;
}

int ctl_main(int argc, char **argv)
{
    struct invocation in = {0};
    (void)argc;
    setlocale(LC_CTYPE, "C.UTF-8"); /* for the width of characters, whatever the terminal's language */
    argv++;
    int rc = take_head(&in, &argv);
    if (rc)
        return rc;
    if (!*argv)
        return usage_error("which command?", "");
    if (strcmp(*argv, "--help") == 0 || strcmp(*argv, "help") == 0)
        return print_help();
    in.command = ctl_find(slice_str(*argv));
    if (!in.command)
        return unknown_command(*argv);
    if (asks_help(argv + 1))
        return print_command_help(in.command);
    in.request = json_pack("{s:s, s:[], s:{}}", "command", in.command->name, "args", "options");
    rc = in.request ? take_rest(&in, argv + 1) : CTL_EXIT_BROKEN;
    if (rc == 0)
        rc = run(&in);
    json_decref(in.request);
    return rc;
}
