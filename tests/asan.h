/* asan.h: WITH_ASAN, for tests that look at memory: gcc tells by a macro of its own, clang 14 only when asked. */
#ifndef BEAMGATE_TESTS_ASAN_H
#define BEAMGATE_TESTS_ASAN_H

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#endif
