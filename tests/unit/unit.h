/*
 * unit.h: what every cmocka test includes, in the order cmocka wants.
 */
#ifndef BEAMGATE_UNIT_H
#define BEAMGATE_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"

/* gcc tells by a macro of its own, clang 14 only when asked. */
#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

/* Compares a slice with a C string and shows both when they differ. */
static inline void assert_slice_is(struct slice got, const char *want)
{
    if (!slice_is(got, want))
        fail_msg("got \"%.*s\", want \"%s\"", (int)got.len, got.ptr ? got.ptr : "", want);
}

#endif
