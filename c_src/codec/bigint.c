/*
 * bigint.c: see bigint.h. Schoolbook conversion in limbs of 64 bits, 18 decimal digits at a time: quadratic,
 * hence the bounds, which keep one number below 0.1 ms. No allocation.
 */
#include "bigint.h"

enum { CHUNK_DIGITS = 18, LIMBS_OF_NUMBER = BIG_BYTES_OF_NUMBER / 8, LIMBS_MAX = BIG_BYTES_MAX / 8 };
static const uint64_t chunk_base = UINT64_C(1000000000000000000);

__extension__ typedef unsigned __int128 wide_t;

/* limbs = limbs * factor + add. Returns the new count. */
static size_t multiply_add(uint64_t *limbs, size_t count, uint64_t factor, uint64_t add)
{
    wide_t carry = add;
    for (size_t i = 0; i < count; i++) {
        carry += (wide_t)limbs[i] * factor;
        limbs[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry)
        limbs[count++] = (uint64_t)carry;
    return count;
}

/* Horner's rule, chunk by chunk. */
size_t big_from_decimal(const char *digits, size_t n, uint8_t *bytes)
{
    uint64_t limbs[LIMBS_OF_NUMBER];
    size_t count = 0;
    assert_always(n <= JSON_NUMBER_MAX);
    for (size_t at = 0; at < n;) {
        /* The first chunk is the short one, so that all others have full length. */
        size_t take = (n - at) % CHUNK_DIGITS ? (n - at) % CHUNK_DIGITS : CHUNK_DIGITS;
        uint64_t chunk = 0;
        for (size_t stop = at + take; at < stop; at++)
            chunk = chunk * 10 + (uint64_t)(digits[at] - '0');
        count = multiply_add(limbs, count, chunk_base, chunk);
    }
    size_t len = 0, used = 0;
    for (size_t i = 0; i < count; i++) {
        for (unsigned shift = 0; shift < 64; shift += 8) {
            bytes[len++] = (uint8_t)(limbs[i] >> shift);
            if (bytes[len - 1])
                used = len;
        }
    }
    return used;
}

/* limbs = limbs / chunk_base; returns the remainder. */
static uint64_t divide(uint64_t *limbs, size_t count)
{
    wide_t rest = 0;
    for (size_t i = count; i > 0; i--) {
        rest = rest << 64 | limbs[i - 1];
        limbs[i - 1] = (uint64_t)(rest / chunk_base);
        rest %= chunk_base;
    }
    return (uint64_t)rest;
}

/* Bytes to limbs; returns their count. */
static size_t load(uint64_t *limbs, const uint8_t *bytes, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        if (i % 8 == 0)
            limbs[count++] = 0;
        limbs[count - 1] |= (uint64_t)bytes[i] << 8 * (i % 8);
    }
    return count;
}

/* Digits are made from the last to the first, at the end of text, and moved to its beginning. */
size_t big_to_decimal(const uint8_t *bytes, size_t len, char *text)
{
    uint64_t limbs[LIMBS_MAX];
    char *p = text + BIG_DIGITS_MAX;
    assert_always(len <= BIG_BYTES_MAX);
    size_t count = load(limbs, bytes, len);
    do {
        uint64_t chunk = divide(limbs, count);
        while (count > 0 && limbs[count - 1] == 0)
            count--;
        /* Inner chunks keep their leading zeros, the first one loses them. */
        for (int i = 0; i < CHUNK_DIGITS && (count > 0 || chunk > 0); i++, chunk /= 10)
            *--p = (char)('0' + chunk % 10);
    } while (count > 0);
    if (p == text + BIG_DIGITS_MAX)
        *--p = '0';
    size_t n = (size_t)(text + BIG_DIGITS_MAX - p);
    memmove(text, p, n);
    return n;
}
