/*
 * authenticate.c: see authenticate.h. Which Origins may connect (P-009), where a token is looked for, which way of
 * telling the user counts.
 *
 * Invariant: identity.user_id holds only what a method has accepted, at most USER_ID_MAX bytes. Why a client was
 * refused goes to the log and a counter, never to the client; tokens and keys go nowhere.
 */
#include "authenticate.h"

#include <strings.h>

#include "base64.h"
#include "json.h"
#include "log.h"
#include "origin.h"

/* --- origin (P-009) ----------------------------------------------------------------------------------------------- */

/* The header's only value. False when there is none; *twice when there are several, which no browser sends. */
static bool only_value(const struct http_head *h, const char *name, struct slice *value, bool *twice)
{
    uint32_t pos = 0;
    struct slice other;
    bool found = http_header_next(h, name, &pos, value);
    *twice = found && http_header_next(h, name, &pos, &other);
    return found;
}

static bool in_list(const struct socket_config *config, const struct origin *o)
{
    struct origin pattern;
    for (uint32_t i = 0; i < config->origins_count; i++)
        if (origin_parse_pattern(slice_str(config->origins[i]), &pattern) == BG_OK && origin_matches(o, &pattern))
            return true;
    return false;
}

static bool origin_fits(const struct socket_config *config, const struct http_head *h, bool tls, const struct origin *o)
{
    struct origin host;
    struct slice named;
    bool twice;
    if (config->origin_check == ORIGIN_LIST)
        return in_list(config, o);
    if (config->origin_check == ORIGIN_SAME_HOST && config->host)
        return origin_parse_host(slice_str(config->host), &host) == BG_OK && origin_same_host(o, &host);
    if (!only_value(h, "host", &named, &twice) || twice || origin_parse_host(named, &host) != BG_OK)
        return false;
    return config->origin_check == ORIGIN_CONNECTION ? origin_matches_connection(o, &host, tls)
                                                     : origin_same_host(o, &host);
}

void edge_origin_refused(const struct socket_config *config, struct metrics *m, struct slice origin, const char *reason)
{
    metric_inc(m, METRIC_CLIENT_ORIGIN_REFUSED);
    log_limited(LOG_WARNING, "edge", "Origin is not allowed, refusing", "path=%s origin=%s reason=\"%s\"", config->path,
                log_text(origin), reason);
}

int edge_origin_check(const struct socket_config *config, const struct http_head *h, bool tls, struct metrics *m,
                      struct slice *origin)
{
    struct origin o;
    bool twice;
    if (config->origin_check == ORIGIN_ANY || !only_value(h, "origin", origin, &twice))
        return BG_OK;
    if (twice || origin_parse(*origin, &o) != BG_OK) {
        edge_origin_refused(config, m, *origin, twice ? "the header is there twice" : "it is not scheme://host:port");
        return BG_EINVAL;
    }
    if (config->origin_check == ORIGIN_FUNCTION)
        return BG_EMORE;
    if (origin_fits(config, h, tls, &o))
        return BG_OK;
    edge_origin_refused(config, m, *origin, "see sockets.origins and listen.host");
    return BG_EINVAL;
}

/* --- where a token may be ------------------------------------------------------------------------------------------- */

void identity_init(struct identity *who)
{
    *who = (struct identity){0};
    buf_init(&who->user_id, HTTP_HEAD_MAX);
    buf_init(&who->roles, ROLES_BYTES_MAX);
    buf_init(&who->device_id, 8 * DEVICE_ID_MAX);
    buf_init(&who->assigns, ASSIGNS_MAX);
    buf_init(&who->token, TOKEN_MAX);
}

void identity_fini(struct identity *who)
{
    buf_fini(&who->user_id);
    buf_fini(&who->roles);
    buf_fini(&who->device_id);
    buf_fini(&who->assigns);
    buf_fini(&who->token);
}

/* Takes the first element off a comma-separated list. */
static struct slice take_element(struct slice *list)
{
    const char *comma = list->len ? memchr(list->ptr, ',', list->len) : NULL;
    struct slice element = slice_make(list->ptr, comma ? (size_t)(comma - list->ptr) : list->len);
    *list = comma ? slice_make(comma + 1, list->len - element.len - 1) : SLICE_NONE;
    return http_trim(element);
}

static bool has_prefix(struct slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && strncasecmp(s.ptr, prefix, n) == 0;
}

struct offers {
    unsigned bearers, phoenix, others;
    struct slice token; /* of the last bearer, encoded */
};

static const char bearer[] = "base64url.bearer.phx.";

static void count_offers(const struct http_head *h, struct offers *o)
{
    uint32_t pos = 0;
    struct slice list;
    while (http_header_next(h, "sec-websocket-protocol", &pos, &list)) {
        while (list.len) {
            struct slice one = take_element(&list);
            if (has_prefix(one, bearer)) {
                o->bearers++;
                o->token = slice_make(one.ptr + sizeof(bearer) - 1, one.len - (sizeof(bearer) - 1));
            } else if (slice_is(one, "phoenix")) {
                o->phoenix++;
            } else if (one.len) {
                o->others++;
            }
        }
    }
}

/* P-013..P-016. Appends the token; NULL, or why the client is refused. */
static const char *read_subprotocols(const struct http_head *h, struct identity *who, struct buf *token)
{
    struct offers o = {0};
    count_offers(h, &o);
    if (o.bearers == 1 && base64_decode(o.token, token) != BG_OK)
        return "token in the subprotocol is not base64";
    if (!o.phoenix && (o.others || o.bearers > 1))
        return "unknown subprotocol";
    who->phoenix_subprotocol = o.phoenix > 0;
    return NULL;
}

/* --- user --------------------------------------------------------------------------------------------------------- */

/* One request being judged. */
struct inquiry {
    const struct socket_config *config;
    const struct http_head *h;
    uint64_t now_ms;
    struct identity *who;
    struct buf offered; /* the token of the subprotocol */
    struct buf token;
    struct buf scratch;
    const char *refusal; /* why a method has refused; NULL: none has */
};

/* The user is what the connect parameter says. Of one that is refused nothing may stay, since a token that is tried
 * next appends its user to the same buffer. */
static int take_param(struct inquiry *q, const char *param)
{
    struct buf *user = &q->who->user_id;
    int rc = http_query_get(q->h->query, param, user);
    if (rc == BG_EGONE)
        return BG_EGONE;
    if (rc == BG_OK && user->len <= USER_ID_MAX && !(user->len && memchr(user->data, '\0', user->len)))
        return BG_OK;
    buf_reset(user);
    q->refusal = "the parameter is not acceptable";
    return BG_EINVAL;
}

/* The token that the client shows to a method: in its parameter, in Authorization, in the subprotocol. */
static bool find_token(struct inquiry *q, const char *param)
{
    struct slice value;
    bool twice;
    buf_reset(&q->token);
    if (param && http_query_get(q->h->query, param, &q->token) != BG_EGONE)
        return true;
    buf_reset(&q->token);
    if (only_value(q->h, "authorization", &value, &twice) && !twice && has_prefix(value, "Bearer "))
        buf_add_slice(&q->token, http_trim(slice_make(value.ptr + 7, value.len - 7)));
    else
        buf_add_slice(&q->token, buf_slice(&q->offered));
    return q->token.len > 0;
}

static int put_role(struct slice term, struct buf *roles)
{
    struct term_reader r = term_reader(term);
    struct slice text;
    if (term_read_atom(&r, &text) == BG_OK && text.len && !memchr(text.ptr, '\0', text.len))
        buf_add_slice(roles, text);
    else if (token_put_id(term, roles) != BG_OK)
        return BG_EINVAL;
    buf_putc(roles, '\0');
    return buf_ok(roles) ? BG_OK : BG_ELIMIT;
}

/* One role, or a list of roles. */
static int take_roles(struct slice data, const char *path, struct buf *roles)
{
    struct slice at, role;
    uint32_t n;
    if (!path || !token_find(data, path, &at))
        return BG_OK;
    struct term_reader r = term_reader(at);
    if (term_read_list(&r, &n) != BG_OK)
        return put_role(at, roles);
    if (n > ROLES_MAX)
        return BG_ELIMIT;
    for (uint32_t i = 0; i < n; i++)
        if (term_skip(&r, &role) != BG_OK || put_role(role, roles) != BG_OK)
            return BG_EINVAL;
    return BG_OK;
}

/* As requests will carry it. */
static int take_device(struct slice data, const char *path, struct identity *who)
{
    struct slice at;
    struct buf text;
    if (!path || !token_find(data, path, &at) || term_is_nil(at))
        return BG_OK;
    buf_init(&text, DEVICE_ID_MAX);
    int rc = token_put_id(at, &text);
    if (rc == BG_OK)
        rc = json_put_string(&who->device_id, buf_slice(&text));
    buf_fini(&text);
    return rc;
}

static void forget(struct identity *who)
{
    buf_reset(&who->user_id);
    buf_reset(&who->roles);
    buf_reset(&who->device_id);
    buf_reset(&who->assigns);
}

static const char *take_rest(const struct auth_method *method, struct slice data, struct identity *who)
{
    if (take_device(data, method->device_id_path, who) != BG_OK)
        return "the device is not acceptable";
    if (take_roles(data, method->roles_path, &who->roles) != BG_OK)
        return "the roles are not acceptable";
    buf_add_slice(&who->assigns, data);
    return buf_ok(&who->assigns) ? NULL : "there is too much in it";
}

static const char *take_identity(const struct auth_method *method, struct slice data, struct identity *who)
{
    struct slice at;
    bool found = token_find(data, method->user_id_path, &at) && token_put_id(at, &who->user_id) == BG_OK &&
                 who->user_id.len <= USER_ID_MAX;
    return found ? take_rest(method, data, who) : "token names no user";
}

const char *identity_take_assigns(const struct auth_method *method, struct slice assigns, struct identity *who)
{
    struct slice at;
    const char *why = NULL;
    if (term_peek(&(struct term_reader){(const uint8_t *)assigns.ptr, (const uint8_t *)slice_end(assigns)}) != TERM_MAP)
        why = "the assigns are no map";
    else if (token_find(assigns, method->user_id_path, &at) && !term_is_nil(at) &&
             (token_put_id(at, &who->user_id) != BG_OK || who->user_id.len > USER_ID_MAX))
        why = "the user is not acceptable";
    else
        why = take_rest(method, assigns, who);
    if (why)
        forget(who);
    return why;
}

static enum token_verdict verify(struct inquiry *q, const struct auth_method *m, struct slice *data)
{
    struct slice token = buf_slice(&q->token);
    if (m->type == AUTH_JWT)
        return jwt_verify(m->jwt_keys, &m->jwt_rules, token, q->now_ms, &q->scratch, data);
    return (m->type == AUTH_PHOENIX_TOKEN ? phoenix_token_verify : phoenix_token_decrypt)(
        &m->key, token, q->now_ms, m->max_age_s, &q->scratch, data);
}

static int take_token(struct inquiry *q, const struct auth_method *method)
{
    struct slice data;
    if (!find_token(q, method->param))
        return BG_EGONE;
    enum token_verdict v = verify(q, method, &data);
    const char *why = v == TOKEN_OK ? take_identity(method, data, q->who) : token_verdict_text(v);
    if (!why)
        return BG_OK;
    if (!q->refusal || v != TOKEN_MALFORMED) /* of several methods, the one whose token it was */
        q->refusal = why;
    forget(q->who);
    return BG_EINVAL;
}

/* With a parameter, the function is asked only about clients that show a token there or elsewhere. */
static int take_remote(struct inquiry *q, const struct auth_method *method)
{
    if (!find_token(q, method->param) && method->param)
        return BG_EGONE;
    find_token(q, NULL);
    buf_add_slice(&q->who->token, buf_slice(&q->token));
    q->who->ask = method;
    return buf_ok(&q->who->token) ? BG_EMORE : BG_EINVAL;
}

/* BG_OK: this is the client. BG_EMORE: a function has to be asked. BG_EGONE: it shows nothing to this method.
 * BG_EINVAL: refusal says what is wrong. */
static int try_method(struct inquiry *q, const struct auth_method *method)
{
    if (method->type == AUTH_NONE)
        return BG_OK;
    if (method->type == AUTH_REMOTE)
        return take_remote(q, method);
    if (method->type != AUTH_PARAM)
        return take_token(q, method);
    int rc = take_param(q, method->param);
    return rc == BG_OK && q->who->user_id.len == 0 ? BG_EGONE : rc;
}

static bool is_token(const struct auth_method *method)
{
    return method->type < AUTH_PARAM;
}

static int try_all(struct inquiry *q)
{
    bool wants_token = false;
    for (uint32_t i = 0; i < q->config->auth_count; i++)
        wants_token = wants_token || is_token(&q->config->auth[i]);
    if (wants_token && (q->refusal = read_subprotocols(q->h, q->who, &q->offered)) != NULL)
        return BG_EINVAL;
    for (uint32_t i = 0; i < q->config->auth_count; i++) {
        const struct auth_method *method = &q->config->auth[i];
        int rc = is_token(method) || !q->refusal ? try_method(q, method) : BG_EGONE;
        if (rc == BG_OK || rc == BG_EMORE)
            return rc;
    }
    return BG_EINVAL;
}

static int ask(struct inquiry *q)
{
    const char *param = q->config->user_id_param;
    if (q->config->auth_count)
        return try_all(q);
    return !param || take_param(q, param) != BG_EINVAL ? BG_OK : BG_EINVAL;
}

void edge_refused(const struct socket_config *config, struct metrics *m, const char *reason)
{
    metric_inc(m, METRIC_CLIENT_AUTH_REFUSED);
    log_limited(LOG_INFO, "edge", "authentication failed, refusing", "path=%s reason=%s", config->path,
                log_text(slice_str(reason)));
}

int edge_authenticate(const struct socket_config *config, const struct http_head *h, uint64_t now_ms, struct metrics *m,
                      struct identity *who)
{
    struct inquiry q = {.config = config, .h = h, .now_ms = now_ms, .who = who};
    buf_init(&q.offered, TOKEN_MAX);
    buf_init(&q.token, HTTP_HEAD_MAX);
    buf_init(&q.scratch, TOKEN_MAX);
    int rc = ask(&q);
    buf_fini(&q.offered);
    buf_fini(&q.token);
    buf_fini(&q.scratch);
    if (rc == BG_EINVAL)
        edge_refused(config, m, q.refusal ? q.refusal : "no token");
    return rc;
}
