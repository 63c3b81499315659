/*
 * certificates.c: see certificates.h. Which files there are is settled at the start; a reload reads the same files
 * again, as renewing a certificate is putting a new one in the place of the old.
 *
 * Invariant: either all contexts have what the last reload read, or none.
 */
#include "certificates.h"

#include <stdlib.h>
#include <time.h>

#include "log.h"

enum { DAY_S = 86400, SOON_DAYS = 14 };
#define LOOK_US UINT64_C(3600000000) /* once an hour */

/* Whole days until the first one ends, negative when it has; INT64_MAX when there is none. */
static int64_t days_left(const struct server *s)
{
    int64_t first = INT64_MAX, now = (int64_t)time(NULL);
    for (uint32_t i = 0; i < s->certificates_count; i++) {
        int64_t end = tls_context_expires(s->certificates[i].tls);
        first = end < first ? end : first;
    }
    if (first == INT64_MAX)
        return first;
    return first < now ? -1 : (first - now) / DAY_S;
}

static void warn(const struct certificate *c, int64_t now)
{
    int64_t left = tls_context_expires(c->tls) - now;
    static const char hint[] = "put a new one in its place and reload (SIGHUP)";
    if (left < 0)
        log_error("server", "certificate has expired", "file=%s hint=\"%s\"", log_text(slice_str(c->file)), hint);
    else if (left < (int64_t)SOON_DAYS * DAY_S)
        log_warning("server", "certificate expires soon", "file=%s days=%lld hint=\"%s\"", log_text(slice_str(c->file)),
                    (long long)(left / DAY_S), hint);
}

/* Warns once a day, which is when the number of days changes. */
static void look(struct server *s, bool loaded)
{
    int64_t days = days_left(s);
    uint64_t shown = days == INT64_MAX || days < 0 ? 0 : (uint64_t)days;
    bool changed = s->metrics.value[METRIC_TLS_CERTIFICATE_DAYS] != shown;
    s->metrics.value[METRIC_TLS_CERTIFICATE_DAYS] = shown;
    for (uint32_t i = 0; (changed || loaded) && i < s->certificates_count; i++)
        warn(&s->certificates[i], (int64_t)time(NULL));
}

static void on_look(struct timer *t)
{
    struct server *s = container_of(t, struct server, certificate_timer);
    look(s, false);
    if (timer_arm_in(&s->timers, t, LOOK_US) != BG_OK)
        log_error("server", "no memory for a timer: nobody will be warned before a certificate ends", "");
}

static int add(struct server *s, const struct tls_options *o, struct tls_context **tls, struct err *e)
{
    struct certificate *c = &s->certificates[s->certificates_count];
    c->tls = *tls = tls_context_new(o, e);
    c->file = o->certificate;
    s->certificates_count += c->tls != NULL;
    return c->tls ? BG_OK : BG_EINVAL;
}

static enum tls_version version_of(const char *text)
{
    return strcmp(text, "1.3") == 0 ? TLS_1_3 : TLS_1_2;
}

static int add_node(struct server *s, struct err *e)
{
    const struct node_settings *n = &s->config->node;
    const struct tls_options o = {
        .certificate = n->tls_certificate,
        .key = n->tls_key,
        .ca = n->tls_ca,
        .peer_optional = !is_on(n->tls_require_certificate),
        .min_version = version_of(n->tls_min_version),
    };
    return n->tls_certificate ? add(s, &o, &s->node_tls, e) : BG_OK;
}

static int add_listener(struct server *s, uint32_t i, struct err *e)
{
    const struct listener_settings l = config_listener(s->config, i);
    const struct tls_options o = {
        .certificate = l.tls_certificate,
        .key = l.tls_key,
        .ca = l.tls_client_ca,
        .min_version = version_of(l.tls_min_version),
        .http = true,
    };
    s->listeners[i] =
        (struct listener_config){.address = l.address, .port = l.port, .proxy_protocol = is_on(l.proxy_protocol)};
    return l.tls_certificate ? add(s, &o, &s->listeners[i].tls, e) : BG_OK;
}

int certificates_start(struct server *s, struct err *e)
{
    int rc;
    s->listeners_count = s->config->listeners_count + 1;
    s->listeners = calloc(s->listeners_count, sizeof(*s->listeners));
    s->certificates = calloc(s->listeners_count + 1, sizeof(*s->certificates));
    if (!s->listeners || !s->certificates)
        return err_set(e, BG_ENOMEM, 0, "no memory for the listeners");
    rc = add_node(s, e);
    for (uint32_t i = 0; i < s->listeners_count && rc == BG_OK; i++)
        rc = add_listener(s, i, e);
    if (rc != BG_OK || s->certificates_count == 0)
        return rc;
    look(s, true);
    s->certificate_timer.fn = on_look;
    return timer_arm_in(&s->timers, &s->certificate_timer, LOOK_US);
}

void certificates_end(struct server *s)
{
    timer_disarm(&s->timers, &s->certificate_timer);
    for (uint32_t i = 0; i < s->certificates_count; i++)
        tls_context_free(s->certificates[i].tls);
    free(s->certificates);
    free(s->listeners);
}

int certificates_prepare(struct server *s, const struct server_config *now, struct config_report *report)
{
    (void)now;
    int rc = BG_OK;
    for (uint32_t i = 0; i < s->certificates_count && rc == BG_OK; i++) {
        struct err e;
        rc = tls_context_prepare(s->certificates[i].tls, &e);
        if (rc != BG_OK)
            config_note(report, true, "tls", e.text);
    }
    return rc;
}

void certificates_apply(struct server *s, const struct server_config *before, const struct server_config *now)
{
    (void)before;
    (void)now;
    for (uint32_t i = 0; i < s->certificates_count; i++)
        tls_context_apply(s->certificates[i].tls);
    if (s->certificates_count)
        look(s, true);
}

void certificates_drop(struct server *s)
{
    for (uint32_t i = 0; i < s->certificates_count; i++)
        tls_context_drop(s->certificates[i].tls);
}
