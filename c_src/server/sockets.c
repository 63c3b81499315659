/*
 * sockets.c: what the configuration says about sockets, in the form in which the edge wants it: one array each of
 * sockets, channels and ways to tell who a client is. Built once at start; texts stay the configuration's, which
 * outlives the server. Only keys change later, by their watches.
 */
#include <stdlib.h>

#include "auth_setup.h"
#include "key_watch.h"
#include "log.h"
#include "reload.h"
#include "term.h"

/* ---- functions that are asked -------------------------------------------------------------------------- */

/* Stays connected to the nodes, and keeps their names without ports. */
static int ask_at(struct server *s, char *const *nodes, uint32_t count, struct remote_function *fn, struct err *e)
{
    fn->nodes = s->asked_nodes + s->asked_nodes_count;
    fn->nodes_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct slice peer = slice_str(nodes[i]);
        struct slice node = slice_make(peer.ptr, strcspn(peer.ptr, ":"));
        int rc = slice_is(node, s->self.name) ? BG_OK : cluster_add_peer(s->cluster, peer);
        if (rc != BG_OK)
            return err_set(e, rc, 0, "sockets: cannot stay connected to the node %s", nodes[i]);
        s->asked_nodes[s->asked_nodes_count++] = node;
    }
    if (mfa_rules_allow(&s->access.rules, slice_str(fn->module), slice_str(fn->function)))
        return BG_OK;
    return err_set(e, BG_EINVAL, 0, "sockets: %s:%s is not among the functions that may be called", fn->module, fn->function);
}

/* The list as the configuration made it, without head and tail. */
static void origin_args(const struct buf *list, struct socket_config *to)
{
    struct term_reader r = term_reader(buf_slice(list));
    struct slice arg;
    if (!list->len)
        return;
    assert_always(term_read_list(&r, &to->origin_args_count) == BG_OK);
    const uint8_t *first = r.p;
    for (uint32_t i = 0; i < to->origin_args_count; i++)
        assert_always(term_skip(&r, &arg) == BG_OK);
    to->origin_args = slice_make(first, (size_t)(r.p - first));
}

static int ask_who(struct server *s, const struct auth_settings *from, struct auth_method *to, struct err *e)
{
    if (to->type != AUTH_REMOTE)
        return BG_OK;
    to->remote = (struct remote_function){
        .module = from->module, .function = from->function, .timeout_ms = from->timeout_ms, .cache_ms = from->cache_ms};
    return ask_at(s, from->nodes, from->nodes_count, &to->remote, e);
}

static int ask_origin(struct server *s, const struct socket_settings *from, struct socket_config *to, struct err *e)
{
    if (to->origin_check != ORIGIN_FUNCTION)
        return BG_OK;
    to->origin_function = (struct remote_function){.module = from->origin_module,
                                                   .function = from->origin_function,
                                                   .timeout_ms = from->origin_timeout_ms,
                                                   .cache_ms = from->origin_cache_ms};
    origin_args(&from->origin_args, to);
    return ask_at(s, from->origin_nodes, from->origin_nodes_count, &to->origin_function, e);
}

static int ask_join(struct server *s, const struct channel_settings *from, struct channel_config *to, struct err *e)
{
    if (!from->join_module)
        return BG_OK;
    to->join = (struct remote_function){
        .module = from->join_module, .function = from->join_function, .timeout_ms = from->join_timeout_ms};
    return ask_at(s, from->join_nodes, from->join_nodes_count, &to->join, e);
}

static uint32_t count_asked(const struct server_config *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->sockets_count; i++) {
        const struct socket_settings *socket = &c->sockets[i];
        n += socket->origin_nodes_count;
        for (uint32_t k = 0; k < socket->auth_count; k++)
            n += socket->auth[k].nodes_count;
        for (uint32_t k = 0; k < socket->channels_count; k++)
            n += socket->channels[k].join_nodes_count;
    }
    return n;
}

/* ---- sockets ------------------------------------------------------------------------------------------- */

static int edge_channels(struct server *s, const struct socket_settings *from, struct channel_config *to, struct err *e)
{
    int rc = BG_OK;
    for (uint32_t i = 0; i < from->channels_count && rc == BG_OK; i++) {
        const struct channel_settings *ch = &from->channels[i];
        to[i] = (struct channel_config){
            .topic = ch->topic,
            .event = ch->event,
            .rules = {is_on(ch->override_user_id), is_on(ch->require_verified_user_id)},
            .require_user = is_on(ch->require_user),
            .roles = ch->roles,
            .roles_count = ch->roles_count,
        };
        rc = ask_join(s, ch, &to[i], e);
    }
    return rc;
}

static void edge_refusals(const struct socket_settings *from, struct refusal *to)
{
    for (uint32_t i = 0; i < from->refusals_count; i++)
        to[i] = (struct refusal){from->refusals[i].reason, from->refusals[i].status, from->refusals[i].body};
}

static enum origin_check origin_check_of(const struct socket_settings *s)
{
    if (strcmp(s->check_origin, "false") == 0)
        return ORIGIN_ANY;
    if (strcmp(s->check_origin, "conn") == 0)
        return ORIGIN_CONNECTION;
    if (strcmp(s->check_origin, "remote") == 0)
        return ORIGIN_FUNCTION;
    return s->origins_count ? ORIGIN_LIST : ORIGIN_SAME_HOST;
}

/* The files with keys change while the gateway runs: those of a set every few weeks. */
static int watch_keys(struct server *s, const struct auth_settings *from, struct auth_method *to, struct err *e)
{
    enum { LOOK_MS = 5000 };
    if (to->type != AUTH_JWT || !auth_keys_file(from))
        return BG_OK;
    struct key_watch *w = key_watch_new(&s->loop, &s->metrics, from, to, LOOK_MS);
    s->key_watches[to - s->auth] = w;
    return w ? BG_OK : err_set(e, BG_ENOMEM, 0, "the file %s cannot be watched", auth_keys_file(from));
}

/* Every socket's methods, one after the other. */
static int make_auth(struct server *s, struct err *e)
{
    const struct server_config *c = s->config;
    for (uint32_t i = 0; i < c->sockets_count; i++)
        s->auth_count += c->sockets[i].auth_count;
    s->auth = calloc(s->auth_count + 1, sizeof(*s->auth));
    s->key_watches = calloc(s->auth_count + 1, sizeof(struct key_watch *));
    if (!s->auth || !s->key_watches)
        return err_set(e, BG_ENOMEM, 0, "no memory for the sockets");
    struct auth_method *to = s->auth;
    for (uint32_t i = 0; i < c->sockets_count; i++) {
        for (uint32_t k = 0; k < c->sockets[i].auth_count; k++) {
            int rc = auth_setup(&c->sockets[i].auth[k], to, e);
            if (rc == BG_OK)
                rc = ask_who(s, &c->sockets[i].auth[k], to, e);
            if (rc == BG_OK)
                rc = watch_keys(s, &c->sockets[i].auth[k], to++, e);
            if (rc != BG_OK)
                return rc;
        }
    }
    return BG_OK;
}

static struct socket_config edge_socket(const struct server_config *c, const struct socket_settings *from)
{
    return (struct socket_config){
        .path = from->path,
        .user_id_param = from->user_id_param,
        .auth_count = from->auth_count,
        .refusals_count = from->refusals_count,
        .id = from->id,
        .origin_check = origin_check_of(from),
        .host = c->listen.host,
        .origins = from->origins,
        .origins_count = from->origins_count,
        .timeout_ms = from->timeout_ms,
        .max_channels = from->max_channels,
        .max_frame_bytes = from->max_frame_bytes,
        .max_topic_bytes = from->max_topic_bytes,
        .channels_count = from->channels_count,
    };
}

/* Whoever runs a gateway that believes everybody should read it at each start. */
static void tell_open(const struct socket_settings *from)
{
    const char *type = from->auth_count ? from->auth[from->auth_count - 1].type : from->user_id_param ? "param" : "none";
    if (strcmp(type, "none") == 0)
        log_warning("server", "this socket lets everybody in, without a user", "path=%s hint=\"sockets.auth says who may\"",
                    from->path);
    else if (strcmp(type, "param") == 0)
        log_warning("server", "this socket believes whatever user a client names", "path=%s hint=\"sockets.auth verifies it\"",
                    from->path);
}

/* config->sockets as the edge wants them. */
int server_make_sockets(struct server *s, struct err *e)
{
    const struct server_config *c = s->config;
    uint32_t channels = 0, refusals = 0, used = 0, auth_used = 0, refusals_used = 0;
    for (uint32_t i = 0; i < c->sockets_count; i++) {
        channels += c->sockets[i].channels_count;
        refusals += c->sockets[i].refusals_count;
    }
    s->sockets = calloc(c->sockets_count, sizeof(*s->sockets));
    s->channels = calloc(channels, sizeof(*s->channels));
    s->refusals = calloc(refusals + 1, sizeof(*s->refusals));
    s->asked_nodes = calloc(count_asked(c) + 1, sizeof(*s->asked_nodes));
    if (!s->sockets || !s->channels || !s->refusals || !s->asked_nodes)
        return err_set(e, BG_ENOMEM, 0, "no memory for the sockets");
    int rc = make_auth(s, e);
    for (uint32_t i = 0; rc == BG_OK && i < c->sockets_count; i++) {
        const struct socket_settings *from = &c->sockets[i];
        rc = edge_channels(s, from, s->channels + used, e);
        tell_open(from);
        s->sockets[i] = edge_socket(c, from);
        if (rc == BG_OK)
            rc = ask_origin(s, from, &s->sockets[i], e);
        s->sockets[i].channels = s->channels + used;
        s->sockets[i].auth = s->auth + auth_used;
        edge_refusals(from, s->refusals + refusals_used);
        s->sockets[i].refusals = s->refusals + refusals_used;
        refusals_used += from->refusals_count;
        used += from->channels_count;
        auth_used += from->auth_count;
    }
    return rc;
}

void server_free_sockets(struct server *s)
{
    for (uint32_t i = 0; s->key_watches && i < s->auth_count; i++)
        key_watch_free(s->key_watches[i]);
    free(s->key_watches);
    free(s->sockets);
    auth_clear(s->auth, s->auth_count);
    free(s->auth);
    free(s->channels);
    free(s->refusals);
    free(s->asked_nodes);
}

void sockets_reload(struct server *s, const struct server_config *before, const struct server_config *now)
{
    (void)before;
    (void)now;
    for (uint32_t i = 0; i < s->auth_count; i++)
        if (s->key_watches[i])
            key_watch_now(s->key_watches[i]);
}
