/*
 * base.h: what every module leans on: slices, error text, checked assertions, handles, clock, random bytes.
 *
 * Nothing here allocates but slice_dup(), or does I/O but random_bytes() and panic_at().
 */
#ifndef BEAMGATE_BASE_H
#define BEAMGATE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Bytes that somebody else owns. Not terminated. A slice dies with its owner: unless a function
 * says otherwise, a slice handed to a callback is valid until that callback returns. */
struct slice {
    const char *ptr;
    size_t len;
};

/* A reference to an object that may die first: slot index in the low half, generation in the high
 * half. Look it up each time (slots_get); never keep the pointer across a return to the loop. */
typedef uint64_t handle_t;
#define HANDLE_NONE ((handle_t)0)

/* Result codes, negative as in libuv. 0 is success. */
enum bg_error {
    BG_OK = 0,
    BG_EINVAL = -1,  /* malformed or not acceptable input */
    BG_ELIMIT = -2,  /* a configured bound is reached */
    BG_ENOMEM = -3,  /* no memory */
    BG_EGONE = -4,   /* the object is no longer there */
    BG_EMORE = -5,   /* input is incomplete: call again with more */
    BG_ESYS = -6,    /* a system call failed; the text says which */
    BG_EEXIST = -7   /* name or key is taken */
};

/* Filled by the lowest layer that knows why; the caller owns it and decides whether to log. */
struct err {
    int code;       /* enum bg_error */
    size_t pos;     /* byte offset in the input, or line number where the function says so */
    char text[256]; /* always terminated; no newline */
};

/* Sets *e (which may be NULL) and returns code, so that callers can `return err_set(...)`. */
int err_set(struct err *e, int code, size_t pos, const char *fmt, ...) PRINTF_LIKE(4, 5);

static inline struct slice slice_make(const void *ptr, size_t len)
{
    return (struct slice){(const char *)ptr, len};
}

static inline struct slice slice_str(const char *cstr)
{
    return (struct slice){cstr, strlen(cstr)};
}

#define SLICE_LIT(lit) ((struct slice){(lit), sizeof(lit) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})

/* One past the last byte. Adding 0 to NULL is undefined in C11, and empty slices may hold NULL. */
static inline const char *slice_end(struct slice s)
{
    return s.len ? s.ptr + s.len : s.ptr;
}

/* The same bytes; two empty slices are equal, whatever they point to. */
static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Below, at or above 0 as a stands before, with or behind b in the order of their bytes; a beginning stands before what
 * it is the beginning of. */
int slice_compare(struct slice a, struct slice b);

static inline bool slice_is(struct slice a, const char *cstr)
{
    return slice_eq(a, slice_str(cstr));
}

/* Copies s into dst as a C string, cut at size - 1 bytes; size > 0. Returns dst. */
char *slice_cstr(struct slice s, char *dst, size_t size);

/* Copies s to *at, which must have room for it, and moves *at behind it. Returns the copy: for a record whose texts
 * stand behind it in one allocation. */
static inline struct slice slice_keep(char **at, struct slice s)
{
    struct slice kept = slice_make(*at, s.len);
    if (s.len)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return kept;
}

/* malloc'd copy of s with a terminating NUL, or NULL. The caller frees it. */
char *slice_dup(struct slice s) MUST_CHECK;

/* True when both hold the same bytes; takes the same time wherever they differ. */
bool slice_eq_secret(struct slice a, struct slice b);

/* A broken invariant of our own: prints where and aborts. Never used on input. */
_Noreturn void panic_at(const char *file, int line, const char *what);
#ifdef CPPCHECK /* set by make cppcheck, which does not follow the expression */
#define assert_always(cond)                                                                                \
    do {                                                                                                   \
        if (!(cond))                                                                                       \
            panic_at(__FILE__, __LINE__, #cond);                                                           \
    } while (0)
#else
#define assert_always(cond) ((cond) ? (void)0 : panic_at(__FILE__, __LINE__, #cond))
#endif

/* Monotonic time in microseconds (CLOCK_MONOTONIC). */
uint64_t clock_now_us(void);

/* n bytes from getrandom(2); panics when the kernel has none. */
void random_bytes(void *dst, size_t n);
/* A fast generator seeded from getrandom(2): for jitter, node choice and hash seeds, never for secrets. */
uint64_t random_u64(void);

#endif
