/*
 * token_bucket.h: how much of something may happen in a time: so many a second, and so many at once after a rest. One
 * word a bucket (the generic cell rate algorithm, ITU-T I.371): when it will be full again, so that nothing has to be
 * filled up as time goes by, and a bucket of zeros is a full one. Knows no clock.
 */
#ifndef BEAMGATE_TOKEN_BUCKET_H
#define BEAMGATE_TOKEN_BUCKET_H

#include "base.h"

struct token_rate {
    uint64_t cost;  /* ticks of one token */
    uint64_t burst; /* ticks of a full bucket */
};

struct token_bucket {
    uint64_t full_at; /* in ticks */
};

/* Of the two: 16ths of a nanosecond, fine enough for 10^9 tokens a second, and enough for 36 years since the machine's
 * start. */
enum { TOKEN_TICKS_PER_US = 16000 };

/* per_s tokens a second (at least 1, at most 10^9), burst at once. */
struct token_rate token_rate_make(uint32_t per_s, uint64_t burst);
/* Takes n tokens (at most 2^30) whether they are there or not, for what has happened already. Returns the debt as
 * token_bucket_debt_us(). No more than a minute is ever owed. */
uint64_t token_bucket_take(struct token_bucket *b, const struct token_rate *r, uint64_t now_us, uint32_t n);
/* Takes a token if there is one. */
bool token_bucket_try(struct token_bucket *b, const struct token_rate *r, uint64_t now_us);
/* Microseconds until the bucket is out of its debt: 0 when it owes nothing. */
uint64_t token_bucket_debt_us(const struct token_bucket *b, const struct token_rate *r, uint64_t now_us);
/* Whether all tokens are there: then the bucket is as good as a new one. */
bool token_bucket_is_full(const struct token_bucket *b, uint64_t now_us);

#endif
