/*
 * rate_limiter.h: how often a client may call (E-070..E-082). A sliding log: of the calls that a limit let pass, the
 * times of the last window are kept, exactly, for each value of the limit's key; one more than max_requests of
 * them is refused. Pure: the time is passed in, nothing is written or logged.
 *
 * Two rules differ from the library on purpose: each (limit, value) has a counter of its own (E-074 want), and a
 * request counts only when all limits let it pass (E-072 want).
 */
#ifndef BEAMGATE_RATE_LIMITER_H
#define BEAMGATE_RATE_LIMITER_H

#include "base.h"
#include "metrics.h"

struct buf;

enum {
    RATE_LIMITS_MAX = 10000,           /* limits in one list */
    RATE_REQUESTS_MAX = 1000000,       /* most max_requests: one value's log then holds 4 MB */
    RATE_WINDOW_MAX_MS = 604800000,    /* a week */
    RATE_TEXT_MAX = 255,               /* bytes of service, request_type and argument name */
    RATE_BYTES_MIN = 1024 * 1024       /* least max_bytes */
};

/* E-071: what of a request is counted. */
enum rate_key_kind {
    RATE_KEY_USER_ID,
    RATE_KEY_DEVICE_ID,
    RATE_KEY_IP_ADDRESS,
    RATE_KEY_ARG,  /* a string key of the library: the argument of that name */
    RATE_KEY_NEVER /* any other atom: kept and listed, but no request has such a value */
};

struct rate_key {
    enum rate_key_kind kind;
    struct slice name; /* RATE_KEY_ARG, RATE_KEY_NEVER: its text; else ignored */
};

enum { RATE_KEY_TEXT_MAX = RATE_TEXT_MAX + 8 };

/* A key as the configuration writes it: user_id, device_id, ip_address, args.NAME. BG_EINVAL for anything else; the
 * name is a part of text. */
int rate_key_parse(struct slice text, struct rate_key *key) MUST_CHECK;
/* The same back; dst has RATE_KEY_TEXT_MAX bytes. RATE_KEY_NEVER gives its bare name. */
void rate_key_print(const struct rate_key *key, char *dst, size_t size);

/* What a limit holds for: one function, or with both ptr NULL every function ("global"). */
struct rate_scope {
    struct slice service;
    struct slice request_type;
};

#define RATE_GLOBAL ((struct rate_scope){{NULL, 0}, {NULL, 0}})

struct rate_limit {
    struct rate_scope scope;
    struct rate_key key;
    uint32_t max_requests; /* 0 refuses always (E-075 want) */
    uint32_t window_ms;    /* 1..RATE_WINDOW_MAX_MS */
    bool dry_run;          /* counts, and tells what it would refuse, but refuses nothing */
};

struct rate_limiter_options {
    struct metrics *metrics; /* RATE_LIMIT_* */
    /* For all counters together, their table and malloc's own overhead included. At least RATE_BYTES_MIN. */
    size_t max_bytes;
    /* What happens to a value that is not known yet when max_bytes is reached and nothing kept has expired. true: of
     * the limit that holds most bytes a value that was not counted lately is forgotten, and may begin anew.
     * false: the request is refused (RATE_UNAVAILABLE, E-077). */
    bool fail_open;
};

struct rate_limiter;

/* The caller frees it with rate_limiter_free(). NULL: no memory. */
struct rate_limiter *rate_limiter_new(const struct rate_limiter_options *o) MUST_CHECK;
void rate_limiter_free(struct rate_limiter *rl);

/* -- requests -------------------------------------------------------------------------------------------- */

/* What a request shows to the limits. All slices may be empty; values that are no text or "" count nowhere (E-071). */
struct rate_subject {
    struct rate_scope function;
    struct slice user_id;    /* text */
    struct slice device_id;  /* raw JSON */
    struct slice ip_address; /* text: the peer's own address */
    struct slice args;       /* a raw, checked JSON object */
};

enum rate_verdict {
    RATE_ALLOWED,    /* and counted */
    RATE_LIMITED,    /* counted nowhere */
    RATE_UNAVAILABLE /* no room and fail_open false (E-077); counted nowhere */
};

/* One limit that is exhausted for one value (E-079). limit NULL: none. Valid until the limits change. */
struct rate_finding {
    const struct rate_limit *limit;
    uint32_t current_requests;
    uint64_t retry_after_ms; /* until one request would pass; the window when max_requests is 0 */
};

struct rate_result {
    struct rate_finding refused; /* RATE_LIMITED: by which limit */
    struct rate_finding dry;     /* the first dry-run limit that would have refused */
    uint32_t dry_count;          /* how many of them would have */
};

/* There are no limits: rate_limiter_check() would allow everything and count nothing. */
bool rate_limiter_is_idle(const struct rate_limiter *rl);

/* E-072: global limits in list order, then those of the function in list order; the first that is exhausted refuses.
 * Counts the request everywhere when all pass; dry-run limits that are exhausted count it as refused. now_us: a
 * monotonic clock. */
enum rate_verdict rate_limiter_check(struct rate_limiter *rl, uint64_t now_us, const struct rate_subject *s,
                                     struct rate_result *res);

/* -- one value, by name (E-081) -------------------------------------------------------------------------- */

/* The same for a value of the caller's: only the limits of exactly this scope with this key. */
enum rate_verdict rate_limiter_check_value(struct rate_limiter *rl, uint64_t now_us, struct rate_scope scope,
                                           struct rate_key key, struct slice value, struct rate_result *res);

struct rate_status {
    const struct rate_limit *limit;
    uint32_t current_requests;
    uint32_t remaining;
};

/* The state of value in each limit of scope with key, counting nothing: start with *pos = 0; false at the end. */
bool rate_limiter_next_status(struct rate_limiter *rl, uint64_t now_us, struct rate_scope scope, struct rate_key key,
                              struct slice value, size_t *pos, struct rate_status *st);
/* Forgets what was counted for value in these limits. */
void rate_limiter_reset(struct rate_limiter *rl, struct rate_scope scope, struct rate_key key, struct slice value);
/* Forgets everything that was counted. Takes time for each value held. */
void rate_limiter_clear(struct rate_limiter *rl);

/* -- limits (E-081) -------------------------------------------------------------------------------------- */

/* Puts the list in place of the one of its kind; texts are copied. A limit that was there before with the same scope,
 * key and window keeps what it has counted. All or nothing: BG_EINVAL with e->pos = the index of the bad limit,
 * BG_ELIMIT, BG_ENOMEM; e may be NULL. For set_global the scope of each is ignored; for set_api it must be a function's. */
int rate_limiter_set_global(struct rate_limiter *rl, const struct rate_limit *limits, size_t count,
                            struct err *e) MUST_CHECK;
int rate_limiter_set_api(struct rate_limiter *rl, const struct rate_limit *limits, size_t count,
                         struct err *e) MUST_CHECK;
/* Adds a global limit at the end, in place of those with the same key. Errors as above. */
int rate_limiter_add_global(struct rate_limiter *rl, const struct rate_limit *limit, struct err *e) MUST_CHECK;
/* Removes the global limits with this key. BG_OK also when there was none. */
int rate_limiter_remove_global(struct rate_limiter *rl, struct rate_key key, struct err *e) MUST_CHECK;

/* A limit with what it holds. */
struct rate_limit_view {
    const struct rate_limit *limit; /* valid until the limits change */
    uint32_t values;                /* values with a counter now; expired ones until cleanup finds them */
    uint64_t refused;               /* requests that it refused, or as a dry-run would have */
};

/* The limits in list order, global ones first: start with *pos = 0; false at the end. */
bool rate_limiter_next_limit(const struct rate_limiter *rl, size_t *pos, struct rate_limit_view *v);

/* A value with a counter, for people. */
struct rate_value_view {
    const struct rate_limit *limit;
    struct slice value; /* valid until the next request */
    uint32_t requests;  /* counted in the window that ends now */
    uint64_t age_ms;    /* of the latest */
};

/* Walks all values of all limits, in no order: start with *pos = 0; false at the end. When counters come and go between
 * two steps, one may be shown twice or not at all. */
bool rate_limiter_next_value(const struct rate_limiter *rl, uint64_t now_us, uint64_t *pos, struct rate_value_view *v);

/* -- as terms (rate_terms.c) ----------------------------------------------------------------------------- */

/* Each appends one term. The scope: global, or {Service, RequestType}. */
void rate_put_scope(const struct rate_limit *l, struct buf *out);
/* A value as the library writes it: behind the function where the limit is one of a function's. */
void rate_put_value(const struct rate_limit *l, struct slice value, struct buf *out);
/* ok, {error, rate_limited, Details} (E-079) or {error, rate_limiter_error, Details} (E-077). value: what the limit that
 * refused has counted. */
void rate_put_verdict(enum rate_verdict verdict, const struct rate_result *res, struct slice value, struct buf *out);

/* -- upkeep ---------------------------------------------------------------------------------------------- */

/* Gives back the memory of values whose window is over, at most max of them; each limit goes by its own window
 * (E-080 want). True when it stopped at max: call again soon. */
bool rate_limiter_cleanup(struct rate_limiter *rl, uint64_t now_us, unsigned max);
/* What is held now, as max_bytes counts it. */
size_t rate_limiter_bytes(const struct rate_limiter *rl);
/* Values with a counter, over all limits. */
size_t rate_limiter_values(const struct rate_limiter *rl);

#endif
