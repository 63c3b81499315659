/*
 * sockets.c: what the configuration says about sockets, in the form in which the edge wants it: one array each of
 * sockets, channels and ways to tell who a client is. Built once at start; texts stay the configuration's, which outlives
 * the server. Only keys change later, by their watches.
 */
#include <stdlib.h>

#include "auth_setup.h"
#include "key_watch.h"
#include "reload.h"

/* The texts stay the configuration's, which outlives the server. */
static void edge_channels(const struct socket_settings *from, struct channel_config *to)
{
    for (uint32_t i = 0; i < from->channels_count; i++) {
        const struct channel_settings *ch = &from->channels[i];
        to[i] = (struct channel_config){
            .topic = ch->topic,
            .event = ch->event,
            .rules = {is_on(ch->override_user_id), is_on(ch->require_verified_user_id)},
        };
    }
}

static enum origin_check origin_check_of(const struct socket_settings *s)
{
    if (strcmp(s->check_origin, "false") == 0)
        return ORIGIN_ANY;
    if (strcmp(s->check_origin, "conn") == 0)
        return ORIGIN_CONNECTION;
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

/* config->sockets as the edge wants them. */
int server_make_sockets(struct server *s, struct err *e)
{
    const struct server_config *c = s->config;
    uint32_t channels = 0, used = 0, auth_used = 0;
    for (uint32_t i = 0; i < c->sockets_count; i++)
        channels += c->sockets[i].channels_count;
    s->sockets = calloc(c->sockets_count, sizeof(*s->sockets));
    s->channels = calloc(channels, sizeof(*s->channels));
    if (!s->sockets || !s->channels)
        return err_set(e, BG_ENOMEM, 0, "no memory for the sockets");
    int rc = make_auth(s, e);
    for (uint32_t i = 0; rc == BG_OK && i < c->sockets_count; i++) {
        const struct socket_settings *from = &c->sockets[i];
        edge_channels(from, s->channels + used);
        s->sockets[i] = edge_socket(c, from);
        s->sockets[i].channels = s->channels + used;
        s->sockets[i].auth = s->auth + auth_used;
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
}

void sockets_reload(struct server *s, const struct server_config *before, const struct server_config *now)
{
    (void)before;
    (void)now;
    for (uint32_t i = 0; i < s->auth_count; i++)
        if (s->key_watches[i])
            key_watch_now(s->key_watches[i]);
}
