/*
 * request_limit.c: the stage that asks the rate limiter (E-070..E-077) and tells the client what it said. It comes
 * after permission, so that what is not allowed costs nobody's share, and before the function is called.
 *
 * What is counted is the function that was found and the user of the session: neither another spelling in the
 * payload nor, where E-002 is in force, a user_id in it gives a second share.
 */
#include "request_internal.h"

#include <stdio.h>

#include "log.h"
#include "rate_limiter.h"

static struct rate_subject subject_of(const struct request *r, const struct asked *a)
{
    return (struct rate_subject){
        .function = {r->fc->service, r->fc->request_type},
        .user_id = request_user(r->gw, a),
        .device_id = a->f.device_id,
        .ip_address = a->who->ip_address,
        .args = a->f.args,
    };
}

/* Whose share is used up, as far as a log may know: arguments may be secrets. */
static struct slice log_value(const struct rate_limit *l, const struct rate_subject *s)
{
    switch (l->key.kind) {
    case RATE_KEY_USER_ID:
        return s->user_id;
    case RATE_KEY_DEVICE_ID:
        return s->device_id;
    case RATE_KEY_IP_ADDRESS:
        return s->ip_address;
    default:
        return SLICE_LIT("(not shown)");
    }
}

static void log_finding(const struct request *r, const struct rate_subject *s, const struct rate_finding *f, bool dry)
{
    const struct rate_limit *l = f->limit;
    char key[RATE_KEY_TEXT_MAX];
    rate_key_print(&l->key, key, sizeof(key));
    log_limited(LOG_INFO, "request", "rate limit exceeded",
                "dry_run=%s scope=%s service=%s request_type=%s key=%s value=%s max_requests=%u window_ms=%u "
                "retry_after_ms=%llu",
                dry ? "true" : "false", l->scope.service.len ? "function" : "global", log_text(r->fc->service),
                log_text(r->fc->request_type), log_text(slice_str(key)), log_text(log_value(l, s)), l->max_requests,
                l->window_ms, (unsigned long long)f->retry_after_ms);
}

/* E-076. */
static void finish_limited(struct request *r, uint64_t retry_after_ms)
{
    char text[96];
    snprintf(text, sizeof(text), "Rate limit exceeded. Please retry after %llu seconds.",
             (unsigned long long)(retry_after_ms / 1000));
    metric_inc(r->gw->o.metrics, METRIC_REQUESTS_RATE_LIMITED);
    finish_error(r, slice_str(text), true);
}

bool limit_rate(struct request *r, const struct asked *a)
{
    struct gateway *gw = r->gw;
    struct rate_result res;
    const struct rate_subject s = subject_of(r, a);
    uint64_t since_us = r->told ? clock_now_us() : 0;
    enum rate_verdict verdict = rate_limiter_check(gw->o.limiter, gw->o.timers->now_us, &s, &res);
    if (r->told)
        tell_limit(r, verdict, &res, verdict == RATE_LIMITED ? log_value(res.refused.limit, &s) : SLICE_NONE, since_us);
    if (res.dry.limit) {
        metric_inc(gw->o.metrics, METRIC_REQUESTS_RATE_DRY_RUN);
        log_finding(r, &s, &res.dry, true);
    }
    if (verdict == RATE_ALLOWED)
        return true;
    if (verdict == RATE_LIMITED) {
        log_finding(r, &s, &res.refused, false);
        finish_limited(r, res.refused.retry_after_ms);
    } else { /* E-077 */
        metric_inc(gw->o.metrics, METRIC_REQUESTS_REFUSED);
        finish_error(r, SLICE_LIT("Rate limit service unavailable"), true);
    }
    return false;
}
