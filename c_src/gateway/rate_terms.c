/*
 * rate_terms.c: what the rate limiter says, as the library's terms: to those who ask by rpc, and to handlers of
 * telemetry events.
 */
#include "rate_limiter.h"
#include "term.h"

static bool is_global(const struct rate_limit *l)
{
    return l->scope.service.len == 0;
}

void rate_put_scope(const struct rate_limit *l, struct buf *out)
{
    if (is_global(l)) {
        term_put_atom(out, "global");
        return;
    }
    term_put_tuple(out, 2);
    term_put_binary(out, l->scope.service);
    term_put_binary(out, l->scope.request_type);
}

void rate_put_value(const struct rate_limit *l, struct slice value, struct buf *out)
{
    struct buf key;
    buf_init(&key, 0);
    if (!is_global(l)) {
        buf_add_slice(&key, l->scope.service);
        buf_putc(&key, ':');
        buf_add_slice(&key, l->scope.request_type);
        buf_putc(&key, ':');
    }
    buf_add_slice(&key, value);
    term_put_binary(out, buf_slice(&key));
    buf_fini(&key);
}

static void put_number(struct buf *out, const char *key, uint64_t v)
{
    term_put_atom(out, key);
    term_put_uint(out, v);
}

static void put_limited(const struct rate_finding *f, struct slice value, struct buf *out)
{
    const struct rate_limit *l = f->limit;
    term_put_tuple(out, 3);
    term_put_atom(out, "error");
    term_put_atom(out, "rate_limited");
    term_put_map(out, 6);
    term_put_atom(out, "key");
    rate_put_value(l, value, out);
    put_number(out, "max_requests", l->max_requests);
    put_number(out, "current_requests", f->current_requests);
    put_number(out, "window_ms", l->window_ms);
    put_number(out, "retry_after_ms", f->retry_after_ms);
    term_put_atom(out, "scope");
    rate_put_scope(l, out);
}

void rate_put_verdict(enum rate_verdict verdict, const struct rate_result *res, struct slice value, struct buf *out)
{
    if (verdict == RATE_ALLOWED) {
        term_put_atom(out, "ok");
    } else if (verdict == RATE_LIMITED) {
        put_limited(&res->refused, value, out);
    } else {
        term_put_tuple(out, 3);
        term_put_atom(out, "error");
        term_put_atom(out, "rate_limiter_error");
        term_put_map(out, 1);
        term_put_atom(out, "message");
        term_put_text(out, "no room to count the request");
    }
}
