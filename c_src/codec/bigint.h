/*
 * bigint.h: integers that fit no machine word, between decimal digits and the bytes of the external
 * term format (magnitude, least byte first). Private to the codec layer.
 */
#ifndef BEAMGATE_BIGINT_H
#define BEAMGATE_BIGINT_H

#include "json.h"

enum {
    BIG_BYTES_MAX = 2048,                     /* magnitudes longer than this are refused; both ways cost the square */
    BIG_DIGITS_MAX = 4936,                    /* what 2048 bytes can need: 2048 * 8 * log10(2), and some */
    BIG_BYTES_OF_NUMBER = JSON_NUMBER_MAX / 2 /* more than JSON_NUMBER_MAX digits take */
};

/* The magnitude of n decimal digits (n <= JSON_NUMBER_MAX, leading zeros allowed) to bytes, which holds
 * BIG_BYTES_OF_NUMBER. Returns its length without leading zero bytes. */
size_t big_from_decimal(const char *digits, size_t n, uint8_t *bytes);

/* The digits of a magnitude of len <= BIG_BYTES_MAX bytes to text, which holds BIG_DIGITS_MAX. Returns how many
 * (1 for zero); not terminated. */
size_t big_to_decimal(const uint8_t *bytes, size_t len, char *text);

#endif
