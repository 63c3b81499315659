/*
 * config.c: from a file to a struct that needs no further doubt: read, check (config_check.c), load by
 * libcyaml, fill the defaults, then what only the whole can tell (options that contradict each other, names
 * that occur twice), and the cookie.
 *
 * Invariant: whoever holds a struct server_config holds one that is complete and in range. The cookie's bytes
 * never reach a message.
 */
#include "config_schema.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"
#include "node_identity.h"

enum { FILE_MAX_BYTES = 4 * 1024 * 1024, REPORT_MAX_BYTES = 64 * 1024, SECRET_FILE_MAX_BYTES = 4096, LISTENERS_MAX = 8 };

void config_report_init(struct config_report *r)
{
    memset(r, 0, sizeof(*r));
    buf_init(&r->text, REPORT_MAX_BYTES);
}

void config_report_fini(struct config_report *r)
{
    buf_fini(&r->text);
}

void config_note(struct config_report *r, bool error, const char *name, const char *text)
{
    if (error)
        config_error(r, name, 0, "%s", text);
    else
        config_warning(r, name, 0, "%s", text);
}

/* ---- names --------------------------------------------------------------------------------------------- */

/* Names are at most 255 characters with their prefix, and of characters that need no quotes in Elixir or YAML. */
int config_atom(struct slice text, char *atom, size_t size)
{
    bool literal = text.len > 0 && text.ptr[0] == ':';
    bool module = !literal && text.len > 0 && isupper((unsigned char)text.ptr[0]);
    if (literal)
        text = slice_make(text.ptr + 1, text.len - 1);
    if (module && text.len > 7 && memcmp(text.ptr, "Elixir.", 7) == 0)
        module = false;
    if (text.len == 0 || text.len > 255 - 7 || text.len + 8 > size)
        return BG_EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c <= ' ' || c == 0x7f || strchr("\"'(){}[],;:/\\", c))
            return BG_EINVAL;
    }
    int n = snprintf(atom, size, "%s%.*s", module ? "Elixir." : "", (int)text.len, text.ptr);
    return n > 0 && (size_t)n < size ? BG_OK : BG_EINVAL;
}

/* The colon between module and function: one that is not at the beginning, where it marks an Erlang name. */
int config_mfa_rule(struct slice text, char module[CONFIG_ATOM_SIZE], char function[CONFIG_ATOM_SIZE])
{
    const char *colon = text.len > 1 ? memchr(text.ptr + 1, ':', text.len - 1) : NULL;
    size_t n = colon ? (size_t)(colon - text.ptr) : text.len;
    function[0] = '\0';
    int rc = config_atom(slice_make(text.ptr, n), module, CONFIG_ATOM_SIZE);
    if (rc == BG_OK && colon)
        rc = config_atom(slice_make(colon + 1, text.len - n - 1), function, CONFIG_ATOM_SIZE);
    return rc;
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static void PRINTF_LIKE(3, 0) on_cyaml_log(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
    (void)level;
    buf_vprintf(ctx, fmt, ap);
}

/* The same for loading and freeing: libcyaml frees by the schema it loaded by. log NULL: it says nothing. */
static cyaml_config_t cyaml_settings(struct buf *log)
{
    return (cyaml_config_t){.log_fn = log ? on_cyaml_log : NULL, .log_ctx = log, .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR};
}

/* A refusal here means that config_check() and the schema disagree: say all that libcyaml says. */
static struct server_config *load(const char *name, struct slice text, struct config_report *report)
{
    struct buf log;
    cyaml_data_t *data = NULL;
    buf_init(&log, 4096);
    cyaml_config_t settings = cyaml_settings(&log);
    cyaml_err_t rc = cyaml_load_data((const uint8_t *)text.ptr, text.len, &settings, &config_top_value, &data, NULL);
    if (rc != CYAML_OK)
        config_error(report, name, 0, "%s: %.*s", cyaml_strerror(rc), (int)log.len, log.data ? (char *)log.data : "");
    buf_fini(&log);
    return rc == CYAML_OK ? data : NULL;
}

/* Texts of the struct belong to libcyaml's allocator, as config_free() gives them back to it. */
static char *owned_text(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = cyaml_mem(NULL, NULL, n);
    assert_always(copy); /* only at start and at reload, where it is fatal */
    return memcpy(copy, text, n);
}

static void replace_text(char **where, const char *text)
{
    char *copy = owned_text(text); /* first: text may lie in *where */
    cyaml_mem(NULL, *where, 0);
    *where = copy;
}

static void default_number(const struct option *o, void *member)
{
    if (o->size == sizeof(uint16_t) && *(uint16_t *)member == 0)
        *(uint16_t *)member = (uint16_t)o->fallback;
    else if (o->size == sizeof(uint32_t) && *(uint32_t *)member == 0)
        *(uint32_t *)member = (uint32_t)o->fallback;
}

/* 0 stands for "not given" in every number: its minimum is above 0, or 0 is the default (test_config holds this). */
static void fill_option(const struct option *o, char *member)
{
    if (o->kind == OPT_NUMBER)
        default_number(o, member);
    else if (o->kind == OPT_SWITCH && *(enum toggle *)(void *)member == TOGGLE_UNSET)
        *(enum toggle *)(void *)member = (enum toggle)o->fallback;
    else if (o->kind == OPT_TEXT && o->text_fallback && !*(char **)(void *)member)
        *(char **)(void *)member = owned_text(o->text_fallback);
}

/* Depth is the table's, not the input's: three levels. */
static void fill_defaults(const struct section *s, char *object)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct option *o = &s->options[i];
        char *member = object + o->offset;
        if (o->kind == OPT_SECTION)
            fill_defaults(o->child, member);
        else if (o->kind == OPT_SECTIONS)
            for (uint32_t k = 0; k < *(uint32_t *)(void *)(object + o->count_offset); k++)
                fill_defaults(o->child, *(char **)(void *)member + k * o->size);
        else
            fill_option(o, member);
    }
}

static void resolve_atom(char **text)
{
    char atom[256 * 4];
    if (*text && config_atom(slice_str(*text), atom, sizeof(atom)) == BG_OK)
        replace_text(text, atom);
}

static void resolve_socket_names(struct socket_settings *s)
{
    resolve_atom(&s->origin_module);
    resolve_atom(&s->origin_function);
    for (uint32_t k = 0; k < s->auth_count; k++) {
        resolve_atom(&s->auth[k].module);
        resolve_atom(&s->auth[k].function);
    }
    for (uint32_t k = 0; k < s->channels_count; k++) {
        resolve_atom(&s->channels[k].join_module);
        resolve_atom(&s->channels[k].join_function);
    }
}

/* From what a person writes to what goes over the wire, once, so that nobody else needs to know the difference. */
static void resolve_names(struct server_config *c)
{
    for (uint32_t i = 0; i < c->services_count; i++) {
        struct service_settings *s = &c->services[i];
        resolve_atom(&s->module);
        resolve_atom(&s->function);
        resolve_atom(&s->version_module);
        resolve_atom(&s->version_function);
    }
    for (uint32_t i = 0; i < c->sockets_count; i++)
        resolve_socket_names(&c->sockets[i]);
}

/* The lists of values go where the table says. */
static void place_terms(struct server_config *c, struct config_terms *terms)
{
    for (uint32_t i = 0; i < terms->count; i++) {
        struct config_term *t = &terms->at[i];
        assert_always(t->item < *(uint32_t *)(void *)((char *)c + t->list->count_offset));
        char *items = *(char **)(void *)((char *)c + t->list->offset);
        *(struct buf *)(void *)(items + t->item * t->list->size + t->offset) = t->term;
        buf_init(&t->term, 0);
    }
}

/* ---- what only the whole can tell ---------------------------------------------------------------------- */

/* What the checks of the whole look at. */
struct whole {
    const char *name;
    const struct server_config *c;
    struct config_report *report;
    const struct config_lines *lines;
};

static size_t line_at(const struct whole *w, const char *list, uint32_t i, const char *key)
{
    char path[96];
    snprintf(path, sizeof(path), "%s[%u].%s", list, i, key);
    return config_line_of(w->lines, path);
}

/* Each check reports and goes on: the operator wants all of it at once. */
static void check_service(const struct whole *w, uint32_t i, struct map *seen)
{
    const struct service_settings *s = &w->c->services[i];
    if (!s->version_module != !s->version_function) {
        const char *has = s->version_module ? "version_module" : "version_function";
        config_error(w->report, w->name, line_at(w, "services", i, has),
                     "services[%u]: %s needs %s beside it", i, has,
                     s->version_module ? "version_function" : "version_module");
    }
    for (uint32_t k = 0; k < s->nodes_count && !is_on(w->c->node.epmd); k++)
        if (!strchr(s->nodes[k], ':'))
            config_error(w->report, w->name, line_at(w, "services", i, "nodes"),
                         "services[%u]: with node.epmd false the node %s needs its port, as in %s:9100", i,
                         s->nodes[k], s->nodes[k]);
    if (map_get(seen, slice_str(s->service)))
        config_error(w->report, w->name, line_at(w, "services", i, "service"),
                     "services[%u]: the service %s is listed twice", i, log_text(slice_str(s->service)));
    assert_always(map_put(seen, slice_str(s->service), w->c->services) == BG_OK);
}

static void check_services(const struct whole *w)
{
    struct map seen;
    map_init(&seen);
    for (uint32_t i = 0; i < w->c->services_count; i++)
        check_service(w, i, &seen);
    map_fini(&seen);
}

/* Pairs of sockets are compared directly: there are few. */
static void check_socket(const struct whole *w, uint32_t i)
{
    const struct socket_settings *s = &w->c->sockets[i];
    size_t line = line_at(w, "sockets", i, "path");
    for (uint32_t k = 0; k < i; k++)
        if (strcmp(s->path, w->c->sockets[k].path) == 0)
            config_error(w->report, w->name, line, "sockets[%u]: the path %s is listed twice", i, s->path);
    config_check_origin(w->c, i, w->name, line_at(w, "sockets", i, s->origins_count ? "origins" : "check_origin"), w->report);
    for (uint32_t k = 0; k < s->auth_count; k++)
        config_check_auth(w->c, i, k, w->name, line_at(w, "sockets", i, "auth"), w->report);
    config_check_refusals(w->c, i, w->name, line_at(w, "sockets", i, "refusals"), w->report);
    for (uint32_t k = 0; k < s->channels_count; k++)
        config_check_join(w->c, i, k, w->name, line_at(w, "sockets", i, "channels"), w->report);
    if (s->auth_count && s->user_id_param)
        config_error(w->report, w->name, line_at(w, "sockets", i, "user_id_param"),
                     "sockets[%u]: user_id_param and auth are both given; in auth it is {type: param, param: %s}", i,
                     log_text(slice_str(s->user_id_param)));
    bool verified = false;
    for (uint32_t k = 0; k < s->channels_count; k++)
        verified = verified || is_on(s->channels[k].require_verified_user_id);
    if (verified && !s->user_id_param && !s->auth_count)
        config_warning(w->report, w->name, line,
                       "sockets[%u]: without user_id_param no socket has a user, so a channel with "
                       "require_verified_user_id answers every request with \"Authentication required\"",
                       i);
}

static void check_node_tls(const struct whole *w)
{
    const struct node_settings *n = &w->c->node;
    size_t line = config_line_of(w->lines, n->tls_certificate ? "node.tls_certificate" : "node.tls_key");
    if (!n->tls_certificate != !n->tls_key)
        config_error(w->report, w->name, line, "node: tls_certificate and tls_key go together; %s is missing",
                     n->tls_key ? "tls_certificate" : "tls_key");
    else if (n->tls_ca && !n->tls_certificate)
        config_error(w->report, w->name, config_line_of(w->lines, "node.tls_ca"),
                     "node: tls_ca needs tls_certificate and tls_key");
    else if (n->tls_certificate && !n->tls_ca)
        config_warning(w->report, w->name, line,
                       "node: without tls_ca the certificates of other nodes are not looked at");
}

static void check_node_settings(const struct whole *w)
{
    const struct node_settings *n = &w->c->node;
    if (n->reconnect_min_ms > n->reconnect_max_ms)
        config_error(w->report, w->name, config_line_of(w->lines, "node.reconnect_min_ms"),
                     "node: reconnect_min_ms %u is above reconnect_max_ms %u", n->reconnect_min_ms,
                     n->reconnect_max_ms);
    if (n->cookie && n->cookie_file)
        config_error(w->report, w->name, config_line_of(w->lines, "node.cookie"),
                     "node: cookie and cookie_file are both given; keep cookie_file");
    else if (n->cookie)
        config_warning(w->report, w->name, config_line_of(w->lines, "node.cookie"),
                       "node.cookie: whoever reads this file can join the cluster; cookie_file keeps it apart");
}

/* Port 0 may come several times: the kernel chooses for each. */
static void check_listener(const struct whole *w, uint32_t i)
{
    const struct listener_settings l = config_listener(w->c, i);
    size_t line = i ? line_at(w, "listeners", i - 1, "port") : config_line_of(w->lines, "listen.port");
    char name[32] = "listen";
    if (i)
        snprintf(name, sizeof(name), "listeners[%u]", i - 1);
    if (!l.tls_certificate != !l.tls_key)
        config_error(w->report, w->name, line, "%s: tls_certificate and tls_key go together; %s is missing", name,
                     l.tls_key ? "tls_certificate" : "tls_key");
    if (l.tls_client_ca && !l.tls_certificate)
        config_error(w->report, w->name, line, "%s: tls_client_ca needs tls_certificate and tls_key", name);
    if (is_on(l.proxy_protocol) && !w->c->listen.trusted_proxies_count)
        config_error(w->report, w->name, line, "%s: proxy_protocol needs listen.trusted_proxies: whom to believe", name);
    for (uint32_t k = 0; k < i; k++) {
        const struct listener_settings other = config_listener(w->c, k);
        if (l.port && l.port == other.port && strcmp(l.address, other.address) == 0)
            config_error(w->report, w->name, line, "%s: %s port %u is listed twice", name, l.address, l.port);
    }
}

static void check_push_settings(const struct whole *w)
{
    const struct push_settings *p = &w->c->push;
    if (p->token && p->token_file)
        config_error(w->report, w->name, config_line_of(w->lines, "push.token"),
                     "push: token and token_file are both given; keep token_file");
    else if (p->token)
        config_warning(w->report, w->name, config_line_of(w->lines, "push.token"),
                       "push.token: whoever reads this file can push functions; token_file keeps it apart");
}

static void check_whole(const struct whole *w)
{
    check_node_settings(w);
    check_node_tls(w);
    check_push_settings(w);
    check_services(w);
    if (w->c->listeners_count > LISTENERS_MAX)
        config_error(w->report, w->name, config_line_of(w->lines, "listeners"), "listeners: more than %d", LISTENERS_MAX);
    for (uint32_t i = 0; i <= w->c->listeners_count && i <= LISTENERS_MAX; i++)
        check_listener(w, i);
    for (uint32_t i = 0; i < w->c->sockets_count; i++)
        check_socket(w, i);
}

struct listener_settings config_listener(const struct server_config *c, uint32_t i)
{
    const struct listen_settings *l = &c->listen;
    if (i)
        return c->listeners[i - 1];
    return (struct listener_settings){
        .address = l->address,
        .port = l->port,
        .tls_certificate = l->tls_certificate,
        .tls_key = l->tls_key,
        .tls_client_ca = l->tls_client_ca,
        .tls_min_version = l->tls_min_version,
        .proxy_protocol = l->proxy_protocol,
    };
}

/* ---- parse, read, free --------------------------------------------------------------------------------- */

static void free_terms(struct config_terms *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        buf_fini(&t->at[i].term);
    free(t->at);
}

struct server_config *config_parse(const char *name, struct slice text, struct config_report *report)
{
    struct config_terms terms = {0};
    struct config_lines lines = {0};
    struct server_config *c = NULL;
    if (config_check(name, text, report, &terms, &lines) && (c = load(name, text, report)) != NULL) {
        place_terms(c, &terms);
        fill_defaults(&config_section, (char *)c);
        resolve_names(c);
        unsigned before = report->errors;
        check_whole(&(struct whole){name, c, report, &lines});
        if (report->errors != before) {
            config_free(c);
            c = NULL;
        }
    }
    free_terms(&terms);
    free(lines.at);
    return c;
}

/* Whole file into b. BG_ESYS with errno, or BG_ELIMIT when it holds more than max bytes. */
static int read_file(const char *path, struct buf *b, size_t max, struct stat *st)
{
    enum { CHUNK = 4096 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return BG_ESYS;
    ssize_t n = fstat(fd, st);
    for (bool more = n == 0; more && b->len <= max;) {
        uint8_t *to = buf_reserve(b, CHUNK);
        assert_always(to);
        n = read(fd, to, CHUNK);
        b->len += n > 0 ? (size_t)n : 0;
        more = n > 0;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return n < 0 ? BG_ESYS : b->len > max ? BG_ELIMIT : BG_OK;
}

struct server_config *config_load(const char *path, struct config_report *report)
{
    struct server_config *c = NULL;
    struct stat st;
    struct buf text;
    buf_init(&text, 0);
    int rc = read_file(path, &text, FILE_MAX_BYTES, &st);
    if (rc == BG_ESYS)
        config_error(report, path, 0, "cannot be read: %s", strerror(errno));
    else if (rc != BG_OK)
        config_error(report, path, 0, "is larger than %d MiB", FILE_MAX_BYTES / 1024 / 1024);
    else
        c = config_parse(path, buf_slice(&text), report);
    buf_fini(&text);
    return c;
}

void config_free(struct server_config *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->services_count; i++) {
        buf_fini(&c->services[i].args);
        buf_fini(&c->services[i].version_args);
    }
    for (uint32_t i = 0; i < c->sockets_count; i++)
        buf_fini(&c->sockets[i].origin_args);
    cyaml_config_t settings = cyaml_settings(NULL);
    cyaml_free(&settings, &config_top_value, c, 0);
}

/* ---- command line and environment ---------------------------------------------------------------------- */

/* An option that fails its check leaves the file's value, which is good, in place. */
static void override_text(char **member, const char *option, const char *value, option_check_fn *check,
                          struct config_report *report)
{
    if (!value)
        return;
    const char *problem = check(value);
    if (problem)
        config_error(report, option, 0, "%s %s", log_text(slice_str(value)), problem);
    else
        replace_text(member, value);
}

int config_override(struct server_config *c, const struct config_overrides *o, struct config_report *report)
{
    unsigned before = report->errors;
    override_text(&c->node.name, "--name", o->name, config_check_node, report);
    override_text(&c->log.level, "--log-level", o->log_level, config_check_level, report);
    return report->errors == before ? BG_OK : BG_EINVAL;
}

/* ---- secrets ------------------------------------------------------------------------------------------- */

/* What messages call a secret, and what to do when it is empty. */
struct secret {
    const char *name;
    const char *when_empty;
};

static const struct secret cookie_secret = {
    "cookie", "put the cluster's cookie there, the text that erlang:get_cookie() gives on a node of it"};
static const struct secret token_secret = {
    "push token", "put there what the services have in phoenix_gen_api's push_token, or leave the key out for none"};

/* The one place where a secret is judged; no message may hold a byte of it. */
static int take_secret(const struct secret *what, const char *from, struct slice text, char *out, size_t size,
                       struct config_report *report)
{
    while (text.len > 0 && isspace((unsigned char)text.ptr[text.len - 1]))
        text.len--;
    if (text.len == 0) {
        config_error(report, from, 0, "the %s is empty; %s", what->name, what->when_empty);
        return BG_EINVAL;
    }
    if (text.len >= size || memchr(text.ptr, '\0', text.len)) {
        config_error(report, from, 0, "is no %s: it has %zu bytes; at most %zu are allowed, none of them zero",
                     what->name, text.len, size - 1);
        return BG_EINVAL;
    }
    slice_cstr(text, out, size);
    return BG_OK;
}

/* As Erlang, the file's text without the line end at its end. */
static int secret_from_file(const struct secret *what, const char *path, char *out, size_t size,
                            struct config_report *report)
{
    struct stat st;
    struct buf text;
    buf_init(&text, 0);
    int rc = read_file(path, &text, SECRET_FILE_MAX_BYTES, &st);
    if (rc == BG_ESYS)
        config_error(report, path, 0, "the %s file cannot be read: %s", what->name, strerror(errno));
    else if (rc != BG_OK)
        config_error(report, path, 0, "is no %s file: it is larger than 4 KiB", what->name);
    else
        rc = take_secret(what, path, buf_slice(&text), out, size, report);
    if (rc == BG_OK && (st.st_mode & (S_IRWXG | S_IRWXO)))
        config_warning(report, path, 0, "others can read this %s file; run: chmod 600 %s", what->name, path);
    if (text.data)
        explicit_bzero(text.data, text.cap);
    buf_fini(&text);
    return rc == BG_OK ? BG_OK : BG_EINVAL;
}

int config_cookie(const struct server_config *c, const struct config_overrides *o, const char *file, char *cookie,
                  size_t size, struct config_report *report)
{
    const struct secret *what = &cookie_secret;
    if (o->cookie_file)
        return secret_from_file(what, o->cookie_file, cookie, size, report);
    if (o->cookie)
        return take_secret(what, "BEAMGATE_COOKIE", slice_str(o->cookie), cookie, size, report);
    if (c->node.cookie_file)
        return secret_from_file(what, c->node.cookie_file, cookie, size, report);
    if (c->node.cookie)
        return take_secret(what, "node.cookie", slice_str(c->node.cookie), cookie, size, report);
    config_error(report, file ? file : "cookie", 0,
                 "no cookie: set node.cookie_file to a file that holds the cluster's cookie (on an Erlang machine "
                 "~/.erlang.cookie), or give --cookie-file FILE, or set BEAMGATE_COOKIE");
    return BG_EINVAL;
}

int config_secret_file(const char *path, struct buf *secret, struct config_report *report)
{
    struct stat st;
    int rc = read_file(path, secret, SECRET_FILE_MAX_BYTES, &st);
    while (rc == BG_OK && secret->len && isspace(secret->data[secret->len - 1]))
        secret->len--;
    if (rc == BG_ESYS)
        config_error(report, path, 0, "the secret file cannot be read: %s", strerror(errno));
    else if (rc != BG_OK || secret->len == 0)
        config_error(report, path, 0, "is no secret file: it is %s", rc != BG_OK ? "larger than 4 KiB" : "empty");
    else if (st.st_mode & (S_IRWXG | S_IRWXO))
        config_warning(report, path, 0, "others can read this secret file; run: chmod 600 %s", path);
    return rc == BG_OK && secret->len ? BG_OK : BG_EINVAL;
}

/* A token in the file itself is there already. */
int config_push_token(struct server_config *c, const struct config_overrides *o, struct config_report *report)
{
    char token[CONFIG_TOKEN_MAX + 1];
    int rc = BG_OK;
    if (o->push_token)
        rc = take_secret(&token_secret, "BEAMGATE_PUSH_TOKEN", slice_str(o->push_token), token, sizeof(token), report);
    else if (c->push.token_file)
        rc = secret_from_file(&token_secret, c->push.token_file, token, sizeof(token), report);
    else
        return BG_OK;
    if (rc == BG_OK)
        replace_text(&c->push.token, token);
    explicit_bzero(token, sizeof(token));
    return rc;
}

/* ---- the table, for its tests -------------------------------------------------------------------------- */

static const char *const kind_name[] = {"text", "number", "true or false", "one of", "section", "list of sections",
                                        "list of text", "list of values"};

static void describe(const struct option *o, struct config_option *out)
{
    out->kind = kind_name[o->kind];
    out->min = o->min;
    out->max = o->max;
    out->required = o->required;
    out->live = o->live;
    if (o->kind == OPT_NUMBER && !o->required)
        snprintf(out->fallback, sizeof(out->fallback), "%llu", (unsigned long long)o->fallback);
    else if (o->kind == OPT_SWITCH)
        snprintf(out->fallback, sizeof(out->fallback), "%s", o->fallback == TOGGLE_ON ? "true" : "false");
    else if (o->kind == OPT_WORD)
        snprintf(out->fallback, sizeof(out->fallback), "%s", config_call_way[0].str);
    else
        snprintf(out->fallback, sizeof(out->fallback), "%s", o->text_fallback ? o->text_fallback : "");
}

/* Counts *left options down in reading order; the table's depth bounds the recursion. */
static bool find_option(const struct section *s, size_t *left, const char *prefix, struct config_option *out)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct option *o = &s->options[i];
        char path[sizeof(out->path)];
        snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] ? "." : "", o->key);
        if ((*left)-- == 0) {
            memcpy(out->path, path, sizeof(path));
            describe(o, out);
            return true;
        }
        if (o->kind == OPT_SECTIONS)
            strncat(path, "[]", sizeof(path) - strlen(path) - 1);
        if (o->child && find_option(o->child, left, path, out)) {
            out->live = out->live || o->live;
            return true;
        }
    }
    return false;
}

bool config_next_option(size_t *pos, struct config_option *o)
{
    memset(o, 0, sizeof(*o));
    size_t left = (*pos)++;
    return find_option(&config_section, &left, "", o);
}
