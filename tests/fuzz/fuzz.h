/*
 * fuzz.h: what the fuzzers share. Each fuzz_WHAT.c checks properties with assert_always(), starts from the
 * seeds in tests/data/fuzz/WHAT and is run by `make fuzz`.
 */
#ifndef BEAMGATE_FUZZ_H
#define BEAMGATE_FUZZ_H

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
