/*
 * base.c: the few functions that base.h promises. No state but the seed of random_u64().
 */
#define _GNU_SOURCE
#include "base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

int err_set(struct err *e, int code, size_t pos, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof(e->text), fmt, ap);
        va_end(ap);
        e->code = code;
        e->pos = pos;
    }
    return code;
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

char *slice_cstr(struct slice s, char *dst, size_t size)
{
    size_t n = s.len < size - 1 ? s.len : size - 1;
    if (n)
        memcpy(dst, s.ptr, n);
    dst[n] = '\0';
    return dst;
}

char *slice_dup(struct slice s)
{
    char *copy = malloc(s.len + 1);
    if (copy)
        slice_cstr(s, copy, s.len + 1);
    return copy;
}

bool slice_eq_secret(struct slice a, struct slice b)
{
    unsigned diff = a.len != b.len;
    for (size_t i = 0; i < a.len; i++)
        diff |= (unsigned)(unsigned char)a.ptr[i] ^ (unsigned char)(b.len ? b.ptr[i % b.len] : 0);
    return diff == 0;
}

_Noreturn void panic_at(const char *file, int line, const char *what)
{
    fprintf(stderr, "level=fatal msg=\"broken invariant\" at=%s:%d condition=\"%s\"\n", file, line, what);
    abort();
}

uint64_t clock_now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

void random_bytes(void *dst, size_t n)
{
    char *p = dst;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR) /* a signal, while a young system still gathers entropy */
            continue;
        assert_always(got > 0);
        p += got;
        n -= (size_t)got;
    }
}

/* splitmix64: one add and three xor-shifts a number. */
uint64_t random_u64(void)
{
    static uint64_t state;
    if (state == 0)
        random_bytes(&state, sizeof(state));
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
