/*
 * token_bucket.c: see token_bucket.h. Integers only, and no division on the way of a token.
 *
 * Invariant: a bucket never owes more than DEBT_MAX, so that one huge message does not silence a client for ever.
 */
#include "token_bucket.h"

#define TICKS_PER_S UINT64_C(16000000000)
#define DEBT_MAX (60 * TICKS_PER_S)

struct token_rate token_rate_make(uint32_t per_s, uint64_t burst)
{
    uint64_t cost = TICKS_PER_S / (per_s ? per_s : 1);
    return (struct token_rate){cost, burst > UINT64_MAX / 4 / cost ? UINT64_MAX / 4 : burst * cost};
}

/* What the bucket has given out and not got back yet, in ticks. */
static uint64_t used_at(const struct token_bucket *b, uint64_t now_us)
{
    uint64_t now = now_us * TOKEN_TICKS_PER_US;
    return b->full_at > now ? b->full_at - now : 0;
}

static uint64_t debt_us(const struct token_rate *r, uint64_t used)
{
    return used > r->burst ? (used - r->burst + TOKEN_TICKS_PER_US - 1) / TOKEN_TICKS_PER_US : 0;
}

uint64_t token_bucket_take(struct token_bucket *b, const struct token_rate *r, uint64_t now_us, uint32_t n)
{
    uint64_t used = used_at(b, now_us), cost = n * r->cost, most = r->burst + DEBT_MAX;
    used = cost > most || used > most - cost ? most : used + cost;
    b->full_at = now_us * TOKEN_TICKS_PER_US + used;
    return debt_us(r, used);
}

bool token_bucket_try(struct token_bucket *b, const struct token_rate *r, uint64_t now_us)
{
    uint64_t used = used_at(b, now_us);
    if (used + r->cost > r->burst)
        return false;
    b->full_at = now_us * TOKEN_TICKS_PER_US + used + r->cost;
    return true;
}

uint64_t token_bucket_debt_us(const struct token_bucket *b, const struct token_rate *r, uint64_t now_us)
{
    return debt_us(r, used_at(b, now_us));
}

bool token_bucket_is_full(const struct token_bucket *b, uint64_t now_us)
{
    return used_at(b, now_us) == 0;
}
