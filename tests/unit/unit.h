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

#include "../asan.h"
#include "base.h"

/* Compares a slice with a C string and shows both when they differ. */
static inline void assert_slice_is(struct slice got, const char *want)
{
    if (!slice_is(got, want))
        fail_msg("got \"%.*s\", want \"%s\"", (int)got.len, got.ptr ? got.ptr : "", want);
}

#endif
