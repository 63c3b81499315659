/*
 * http_routes.c: see http_routes.h. Pure: a request head in, a response out; no socket is touched here, and the only
 * file ever read is the one that the configuration names, once, at start. So no request can name a file.
 */
#include "http_routes.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "json.h"

enum { PHOENIX_JS_MAX = 4 * 1024 * 1024, REASON_MAX = 160, VSN_MAX = 64, SHOWN_VALUES = 4 };

/* Linked in from console.html and console_client.js by the Makefile. */
extern const char console_html_start[], console_html_end[];
extern const char console_client_start[], console_client_end[];

static void answer_text(struct http_response *res, unsigned status, const char *text)
{
    res->status = status;
    if (text[0])
        res->content_type = "text/plain; charset=utf-8";
    buf_puts(&res->body, text);
}

/* --- the WebSocket upgrade ---------------------------------------------------------------------------------------- */

/* Reads digits up to a dot or the end; a leading zero is no version number. */
static bool take_number(const char **p, unsigned *v)
{
    const char *start = *p;
    *v = 0;
    while (**p >= '0' && **p <= '9' && *v < 1000000)
        *v = *v * 10 + (unsigned)(*(*p)++ - '0');
    return *p > start && !(*start == '0' && *p - start > 1);
}

/* One of the parts behind - or +: dot-separated, none empty, of letters, digits and -. */
static bool take_label(const char **p)
{
    size_t run = 0;
    for (; **p && **p != '+'; (*p)++) {
        char c = **p;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
        if (!plain && (c != '.' || run == 0))
            return false;
        run = plain ? run + 1 : 0;
    }
    return run > 0;
}

/* A complete semantic version that satisfies "~> 1.0.0" or "~> 2.0.0" (P-004). */
static int vsn_match(const char *p, enum serializer *v)
{
    unsigned major, minor, patch;
    bool pre = false;
    if (!take_number(&p, &major) || *p++ != '.' || !take_number(&p, &minor) || *p++ != '.' || !take_number(&p, &patch))
        return BG_EINVAL;
    if (*p == '-') {
        pre = true;
        p++;
        if (!take_label(&p))
            return BG_EINVAL;
    }
    if (*p == '+') {
        p++;
        if (!take_label(&p))
            return BG_EINVAL;
    }
    /* 2.0.0-rc comes before 2.0.0. */
    if (*p || minor != 0 || major < 1 || major > 2 || (pre && patch == 0))
        return BG_EINVAL;
    *v = major == 1 ? SERIALIZER_V1 : SERIALIZER_V2;
    return BG_OK;
}

int vsn_serializer(struct slice query, enum serializer *v)
{
    char text[VSN_MAX];
    struct buf value;
    buf_init(&value, 0);
    int rc = http_query_get(query, "vsn", &value);
    if (rc == BG_OK && (value.len >= sizeof(text) || (value.len && memchr(value.data, '\0', value.len))))
        rc = BG_EINVAL;
    else if (rc == BG_OK)
        rc = vsn_match(slice_cstr(buf_slice(&value), text, sizeof(text)), v);
    else if (rc == BG_EGONE)
        rc = (*v = SERIALIZER_V1, BG_OK);
    buf_fini(&value);
    return rc;
}

/* The values of a header as Elixir prints a list of strings: ["a", "b"]. */
static void put_header_values(struct buf *out, const struct http_head *h, const char *name)
{
    uint32_t pos = 0;
    struct slice value;
    buf_putc(out, '[');
    for (int n = 0; n < SHOWN_VALUES && http_header_next(h, name, &pos, &value); n++) {
        if (n)
            buf_puts(out, ", ");
        json_put_text(out, value);
    }
    buf_putc(out, ']');
}

static bool has_values(const struct http_head *h, const char *name)
{
    uint32_t pos = 0;
    struct slice value;
    return http_header_next(h, name, &pos, &value);
}

/* The checks of RFC 6455 section 4.2.1 with the texts recorded from the library; res is filled when one fails. */
static bool upgrade_headers_right(const struct http_head *h, struct http_response *res, struct slice *key)
{
    uint32_t pos = 0, again = 0;
    struct slice version;
    res->status = 400;
    res->content_type = "text/plain; charset=utf-8";
    const struct {
        const char *header, *token;
    } contains[] = {{"connection", "upgrade"}, {"upgrade", "websocket"}};
    if (h->minor < 1) {
        buf_puts(&res->body, "HTTP version HTTP/1.0 unsupported");
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(contains); i++) {
        if (http_header_has(h, contains[i].header, contains[i].token))
            continue;
        buf_printf(&res->body, "'%s' header must contain '%s', got ", contains[i].header, contains[i].token);
        put_header_values(&res->body, h, contains[i].header);
        return false;
    }
    if (!has_values(h, "sec-websocket-key")) {
        buf_puts(&res->body, "'sec-websocket-key' header is absent");
        return false;
    }
    http_header_next(h, "sec-websocket-key", &again, key);
    if (http_header_next(h, "sec-websocket-key", &again, &version)) {
        buf_puts(&res->body, "'sec-websocket-key' header must come once");
        return false;
    }
    if (!http_header_next(h, "sec-websocket-version", &pos, &version) || !slice_is(version, "13") ||
        http_header_next(h, "sec-websocket-version", &pos, &version)) {
        buf_puts(&res->body, "'sec-websocket-version' header must equal '13', got ");
        put_header_values(&res->body, h, "sec-websocket-version");
        return false;
    }
    return true;
}

static uint64_t unix_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* In the order of P-008: method, origin, serializer and user, upgrade headers. A function of the services that decides
 * about the user comes last: what is no upgrade at all shall cost them nothing. One that decides about the Origin has
 * its place in the order, since what the others answer would tell a page of another host something. */
static bool answer_websocket(const struct http_routes *r, const struct http_head *h, const struct socket_config *config,
                             struct http_response *res, struct upgrade *up)
{
    if (!slice_is(h->method, "GET")) {
        answer_text(res, 400, "");
        return false;
    }
    up->config = config;
    struct slice origin;
    int rc = up->origin_allowed ? BG_OK : edge_origin_check(config, h, up->tls, r->options->metrics, &origin);
    if (rc == BG_EMORE)
        up->ask_origin = origin;
    if (rc == BG_EINVAL)
        answer_text(res, 403, "");
    if (rc != BG_OK)
        return rc == BG_EMORE;
    if (vsn_serializer(h->query, &up->serializer) != BG_OK ||
        edge_authenticate(config, h, unix_now_ms(), r->options->metrics, &up->who) == BG_EINVAL) {
        answer_text(res, 403, "");
        return false;
    }
    return upgrade_headers_right(h, res, &up->key);
}

/* The socket that serves path: its own path, /websocket, and perhaps a slash (P-002). */
static const struct socket_config *socket_for(const struct edge_options *o, struct slice path)
{
    static const char suffix[] = "/websocket";
    if (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    for (uint32_t i = 0; i < o->sockets_count; i++) {
        struct slice base = slice_str(o->sockets[i].path);
        if (base.len && base.ptr[base.len - 1] == '/')
            base.len--;
        if (path.len == base.len + sizeof(suffix) - 1 && memcmp(path.ptr, base.ptr, base.len) == 0 &&
            memcmp(path.ptr + base.len, suffix, sizeof(suffix) - 1) == 0)
            return &o->sockets[i];
    }
    return NULL;
}

/* --- the other routes --------------------------------------------------------------------------------------------- */

static void get_health(const struct http_routes *r, struct http_response *res)
{
    (void)r;
    res->content_type = "application/json";
    buf_puts(&res->body, "{\"status\":\"ok\"}");
}

static void get_ready(const struct http_routes *r, struct http_response *res)
{
    char reason[REASON_MAX] = "";
    const struct edge_options *o = r->options;
    res->content_type = "application/json";
    if (!o->ready || o->ready(o->ready_ctx, reason, sizeof(reason))) {
        buf_puts(&res->body, "{\"status\":\"ready\"}");
        return;
    }
    res->status = 503;
    buf_puts(&res->body, "{\"status\":\"not ready\",\"reason\":");
    json_put_text(&res->body, slice_str(reason));
    buf_putc(&res->body, '}');
}

static void get_console(const struct http_routes *r, struct http_response *res)
{
    (void)r;
    res->content_type = "text/html; charset=utf-8";
    buf_add(&res->body, console_html_start, (size_t)(console_html_end - console_html_start));
}

static void get_phoenix_js(const struct http_routes *r, struct http_response *res)
{
    res->content_type = "text/javascript; charset=utf-8";
    buf_add_slice(&res->body, buf_slice(&r->phoenix_js));
}

static void put_member(struct buf *out, const char *name, struct slice text)
{
    buf_printf(out, "\"%s\":", name);
    if (text.ptr)
        json_put_text(out, text);
    else
        buf_puts(out, "null");
}

static void put_args(struct buf *out, const struct fun_config *fc)
{
    for (uint32_t i = 0; i < fc->args_count; i++) {
        const struct arg_spec *arg = &fc->args[i];
        buf_puts(out, i ? ",{" : "{");
        put_member(out, "name", arg->name);
        buf_printf(out, ",\"type\":\"%s\",\"required\":%s}", arg_type_name(arg->type),
                   arg->allow_nil || arg->default_term.ptr ? "false" : "true");
    }
}

static void put_function(struct buf *out, const struct fun_config *fc)
{
    buf_putc(out, '{');
    put_member(out, "service", fc->service);
    buf_putc(out, ',');
    put_member(out, "request_type", fc->request_type);
    buf_putc(out, ',');
    put_member(out, "version", fc->version);
    buf_printf(out, ",\"response_type\":\"%s\",\"args\":[", response_type_name(fc->response_type));
    put_args(out, fc);
    buf_puts(out, "]}");
}

/* What the console page offers: every function that is not disabled, and the topics that can be joined. */
static void get_functions(const struct http_routes *r, struct http_response *res)
{
    const struct edge_options *o = r->options;
    struct buf *out = &res->body;
    struct fun_config *fc;
    size_t pos = 0;
    const char *comma = "";
    res->content_type = "application/json";
    buf_puts(out, "{\"sockets\":[");
    for (uint32_t i = 0; i < o->sockets_count; i++) {
        const struct socket_config *s = &o->sockets[i];
        buf_puts(out, i ? ",{" : "{");
        put_member(out, "path", slice_str(s->path));
        buf_putc(out, ',');
        put_member(out, "user_id_param", s->user_id_param ? slice_str(s->user_id_param) : SLICE_NONE);
        buf_puts(out, ",\"channels\":[");
        for (uint32_t k = 0; k < s->channels_count; k++) {
            buf_puts(out, k ? ",{" : "{");
            put_member(out, "topic", slice_str(s->channels[k].topic));
            buf_putc(out, ',');
            put_member(out, "event", slice_str(s->channels[k].event));
            buf_putc(out, '}');
        }
        buf_puts(out, "]}");
    }
    buf_puts(out, "],\"functions\":[");
    while (o->db && (fc = config_db_next(o->db, &pos)) != NULL) {
        if (fc->disabled)
            continue;
        buf_puts(out, comma);
        put_function(out, fc);
        comma = ",";
    }
    buf_puts(out, "]}");
}

static const struct {
    const char *path;
    bool console; /* only when the console is on */
    void (*get)(const struct http_routes *r, struct http_response *res);
} routes[] = {
    {"/health", false, get_health},
    {"/ready", false, get_ready},
    {"/", true, get_console},
    {"/phoenix.js", true, get_phoenix_js},
    {"/functions.json", true, get_functions},
};

static void answer_route(const struct http_routes *r, const struct http_head *h, struct http_response *res)
{
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        if (!slice_is(h->path, routes[i].path) || (routes[i].console && !r->options->console))
            continue;
        if (!slice_is(h->method, "GET") && !slice_is(h->method, "HEAD")) {
            answer_text(res, 405, "");
            return;
        }
        res->status = 200;
        routes[i].get(r, res);
        return;
    }
    answer_text(res, 404, "not found");
}

bool http_routes_answer(const struct http_routes *r, const struct http_head *h, struct http_response *res,
                        struct upgrade *up)
{
    const struct socket_config *config = socket_for(r->options, h->path);
    bool upgrade = config && answer_websocket(r, h, config, res, up);
    if (!config)
        answer_route(r, h, res);
    if (!upgrade && !buf_ok(&res->body)) {
        buf_reset(&res->body);
        answer_text(res, 500, "");
    }
    return upgrade;
}

static int read_file(const char *path, struct buf *out, struct err *e)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(e, BG_ESYS, 0, "cannot read %s: %s", path, strerror(errno));
    size_t n = 1;
    while (n && buf_ok(out)) {
        uint8_t *dst = buf_reserve(out, 4096);
        n = dst ? fread(dst, 1, 4096, f) : 0;
        out->len += n;
    }
    bool bad = ferror(f) || !buf_ok(out);
    fclose(f);
    return bad ? err_set(e, BG_ESYS, 0, "cannot read %s, or it is longer than %d bytes", path, PHOENIX_JS_MAX) : BG_OK;
}

int http_routes_init(struct http_routes *r, const struct edge_options *o, struct err *e)
{
    r->options = o;
    buf_init(&r->phoenix_js, PHOENIX_JS_MAX);
    if (!o->console)
        return BG_OK;
    if (o->console_phoenix_js)
        return read_file(o->console_phoenix_js, &r->phoenix_js, e);
    buf_add(&r->phoenix_js, console_client_start, (size_t)(console_client_end - console_client_start));
    return BG_OK;
}

void http_routes_fini(struct http_routes *r)
{
    buf_fini(&r->phoenix_js);
}
