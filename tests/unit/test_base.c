/* test_base.c: slices, buffers, arenas, maps, slots and timers. */
#include "unit.h"

#include <stdio.h>
#include <wchar.h>

#include "arena.h"
#include "buf.h"
#include "map.h"
#include "slots.h"
#include "timers.h"

static void slices_compare_and_copy(void **state)
{
    (void)state;
    char out[4];
    assert_true(slice_is(SLICE_LIT("abc"), "abc"));
    assert_false(slice_is(SLICE_LIT("abc"), "abcd"));
    assert_true(slice_eq(SLICE_NONE, SLICE_LIT("")));
    assert_true(slice_compare(SLICE_LIT("abc"), SLICE_LIT("abd")) < 0);
    assert_true(slice_compare(SLICE_LIT("ab"), SLICE_LIT("abc")) < 0);
    assert_true(slice_compare(SLICE_LIT("b"), SLICE_LIT("abc")) > 0);
    assert_true(slice_compare(SLICE_LIT("\xff"), SLICE_LIT("a")) > 0);
    assert_int_equal(slice_compare(SLICE_NONE, SLICE_LIT("")), 0);
    assert_string_equal(slice_cstr(SLICE_LIT("abcdef"), out, sizeof(out)), "abc");
    assert_true(slice_eq_secret(SLICE_LIT("secret"), SLICE_LIT("secret")));
    assert_false(slice_eq_secret(SLICE_LIT("secret"), SLICE_LIT("secreT")));
    assert_false(slice_eq_secret(SLICE_LIT("secret"), SLICE_NONE));
    assert_false(slice_eq_secret(SLICE_NONE, SLICE_LIT("x")));
}

static void buffer_grows_to_its_bound_and_fails_once(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    for (int i = 0; i < 100; i++)
        buf_puts(&b, "0123456789");
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, 1000);
    buf_putc(&b, 'x');
    assert_false(buf_ok(&b));
    buf_puts(&b, "");
    assert_int_equal(b.len, 1000);
    buf_truncate(&b, 990);
    assert_true(buf_ok(&b));
    buf_printf(&b, "%d", 12345);
    assert_int_equal(b.len, 995);
    buf_consume(&b, 990);
    assert_slice_is(buf_slice(&b), "12345");
    buf_fini(&b);
}

/* A text that cannot be made must fail the message of which it is a part. */
/* The memory is never larger than the bound: appends in place look at the memory only. */
static void appends_of_any_size_end_at_the_bound(void **state)
{
    (void)state;
    static const char text[700];
    for (size_t bound = 1; bound <= 600; bound += 7) {
        for (size_t n = 0; n <= bound + 2; n++) {
            struct buf b;
            buf_init(&b, bound);
            for (size_t whole = 0; n > 0 && whole + n <= bound; whole += n)
                buf_add(&b, text, n);
            assert_true(buf_ok(&b) && b.cap <= bound);
            size_t left = bound - b.len;
            assert_true(left == 0 || buf_room(&b, left) != NULL);
            assert_true(b.cap <= bound);
            buf_add(&b, text, left + 1);
            assert_true(!buf_ok(&b) && b.len == bound - left);
            buf_fini(&b);
        }
    }
}

static void a_text_that_cannot_be_printed_fails_the_buffer(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "%lc", (wint_t)0x20ac); /* no such character in the C locale */
    assert_false(buf_ok(&b));
    buf_fini(&b);
}

static void an_arena_remembers_that_a_piece_could_not_be_had(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a);
    uint8_t *small = arena_alloc(&a, 3), *large = arena_alloc(&a, 5000);
    assert_non_null(small);
    assert_non_null(large);
    assert_int_equal((uintptr_t)small % 16 + (uintptr_t)large % 16, 0);
    assert_int_equal(small[2] + large[4999], 0);
    assert_non_null(arena_array(&a, 0, 8));
    assert_slice_is(arena_copy(&a, SLICE_LIT("text")), "text");
    assert_non_null(arena_copy(&a, SLICE_NONE).ptr);
    assert_false(a.failed);
    assert_null(arena_alloc(&a, SIZE_MAX / 2));
    assert_true(a.failed);
    a.failed = false;
    assert_null(arena_array(&a, SIZE_MAX / 8, 16));
    assert_true(a.failed);
    arena_fini(&a);
}

static void map_keeps_what_was_put_and_forgets_what_was_deleted(void **state)
{
    (void)state;
    enum { N = 2000 };
    static char keys[N][16];
    struct map m;
    map_init(&m);
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "key%d", i);
        assert_int_equal(map_put(&m, slice_str(keys[i]), keys[i]), BG_OK);
    }
    for (int i = 0; i < N; i += 2)
        assert_ptr_equal(map_del(&m, slice_str(keys[i])), keys[i]);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(map_get(&m, slice_str(keys[i])), i % 2 ? keys[i] : NULL);
    assert_int_equal(m.count, N / 2);
    assert_null(map_del(&m, SLICE_LIT("key0")));
    size_t pos = 0, seen = 0;
    while (map_next(&m, &pos, NULL))
        seen++;
    assert_int_equal(seen, N / 2);
    map_fini(&m);
}

/* Against a plain table, with keys that begin and end alike, and lengths around that of a word. */
static void map_finds_what_a_plain_table_finds(void **state)
{
    (void)state;
    enum { N = 300, ROUNDS = 200000 };
    static char keys[N][40];
    static bool in[N];
    struct map m;
    size_t count = 0;
    map_init(&m);
    for (int i = 0; i < N; i++)
        snprintf(keys[i], sizeof(keys[i]), i % 3 ? "get_%d_of_the_service" : i % 2 ? "%d" : "a_long_key%d", i);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t r = random_u64();
        /* Now few keys, again and again, now all of them. */
        size_t i = (r >> 8) % (r & 64 ? N : 5);
        struct slice key = slice_str(keys[i]);
        if (r % 16 == 0) {
            assert_int_equal(map_put(&m, key, keys[i]), BG_OK);
            count += !in[i];
            in[i] = true;
        } else if (r % 16 == 1) {
            assert_ptr_equal(map_del(&m, key), in[i] ? keys[i] : NULL);
            count -= in[i];
            in[i] = false;
        } else {
            char copy[40]; /* the bytes count, not where they are */
            memcpy(copy, keys[i], sizeof(copy));
            assert_ptr_equal(map_get(&m, slice_make(copy, key.len)), in[i] ? keys[i] : NULL);
        }
        assert_int_equal(m.count, count);
    }
    map_fini(&m);
}

/* Byte by byte, as the paper has it. */
static uint64_t plain_sip13(const uint64_t k[2], const uint8_t *p, size_t len)
{
    uint64_t v[4] = {k[0] ^ 0x736f6d6570736575u, k[1] ^ 0x646f72616e646f6du, k[0] ^ 0x6c7967656e657261u,
                     k[1] ^ 0x7465646279746573u};
#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
    for (size_t at = 0, end = 0; end < 4; at += 8) {
        uint64_t word = 0;
        for (size_t i = 0; i < 8 && at + i < len; i++)
            word |= (uint64_t)p[at + i] << (8 * i);
        if (at + 8 > len)
            word |= end ? 0 : (uint64_t)len << 56;
        if (end == 1)
            v[2] ^= 0xff;
        if (end)
            word = 0;
        v[3] ^= word;
        v[0] += v[1], v[2] += v[3], v[1] = ROTL(v[1], 13) ^ v[0], v[3] = ROTL(v[3], 16) ^ v[2], v[0] = ROTL(v[0], 32);
        v[2] += v[1], v[0] += v[3], v[1] = ROTL(v[1], 17) ^ v[2], v[3] = ROTL(v[3], 21) ^ v[0], v[2] = ROTL(v[2], 32);
        v[0] ^= word;
        if (at + 8 > len)
            end++;
    }
#undef ROTL
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void the_hash_is_siphash_1_3(void **state)
{
    (void)state;
    const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    uint8_t room[80], *bytes = room + 1; /* not aligned */
    for (size_t i = 0; i < 64; i++)
        bytes[i] = (uint8_t)i;
    assert_true(hash_keyed(key, bytes, 0) == 0xabac0158050fc4dcu); /* the authors' first vector */
    for (size_t len = 0; len <= 64; len++)
        assert_true(hash_keyed(key, bytes, len) == plain_sip13(key, bytes, len));
    for (unsigned round = 0; round < 10000; round++) {
        uint64_t k[2] = {random_u64(), random_u64()};
        size_t len = random_u64() % 72;
        random_bytes(room, sizeof(room));
        assert_true(hash_keyed(k, bytes, len) == plain_sip13(k, bytes, len));
    }
    assert_true(hash_bytes("", 0) == hash_bytes(NULL, 0));
    assert_true(hash_bytes("a", 1) != hash_bytes("a\0", 2));
}

static void stale_handle_finds_nothing(void **state)
{
    (void)state;
    struct slots s;
    int a, b;
    slots_init(&s, 2);
    handle_t ha = slots_add(&s, &a);
    assert_ptr_equal(slots_get(&s, ha), &a);
    assert_ptr_equal(slots_remove(&s, ha), &a);
    assert_null(slots_get(&s, ha));
    handle_t hb = slots_add(&s, &b);
    assert_int_equal(handle_index(hb), handle_index(ha));
    assert_null(slots_get(&s, ha));
    assert_ptr_equal(slots_get(&s, hb), &b);
    assert_true(slots_add(&s, &a) != HANDLE_NONE);
    assert_true(slots_add(&s, &a) == HANDLE_NONE);
    assert_null(slots_get(&s, HANDLE_NONE));
    slots_fini(&s);
}

struct ticker {
    struct timer timer;
    unsigned id;
};
static unsigned fired[64], fired_count;

static void on_tick(struct timer *t)
{
    fired[fired_count++] = container_of(t, struct ticker, timer)->id;
}

static void timers_fire_in_order_of_their_deadline(void **state)
{
    (void)state;
    enum { N = 50 };
    struct timers ts;
    struct ticker t[N] = {0};
    timers_init(&ts, 0);
    fired_count = 0;
    for (unsigned i = 0; i < N; i++) {
        t[i].timer.fn = on_tick;
        t[i].id = i;
        assert_int_equal(timer_arm(&ts, &t[i].timer, (i * 37) % N), BG_OK);
    }
    for (unsigned i = 0; i < N; i += 5)
        timer_disarm(&ts, &t[i].timer);
    assert_int_equal(timers_run(&ts, N, 0), N - N / 5);
    for (unsigned i = 1; i < fired_count; i++)
        assert_true((fired[i - 1] * 37) % N < (fired[i] * 37) % N);
    assert_int_equal(timers_next(&ts), UINT64_MAX);
    timers_fini(&ts);
}

struct waiter {
    struct timeout timeout;
    unsigned id;
};

static void on_waited(struct timer *t)
{
    fired[fired_count++] = container_of(t, struct waiter, timeout.timer)->id;
}

static void armed_timers_are_those_of_a_plain_list(void **state)
{
    (void)state;
    enum { N = 48, ROUNDS = 40000, DELAYS = 12 };
    struct timers ts;
    struct waiter t[N] = {0};
    uint64_t due[N]; /* UINT64_MAX: unarmed */
    unsigned long ran = 0, seen_lanes = 0;
    timers_init(&ts, 1000);
    for (unsigned i = 0; i < N; i++) {
        t[i] = (struct waiter){.timeout.timer.fn = on_waited, .id = i};
        due[i] = UINT64_MAX;
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t r = random_u64(), next = UINT64_MAX;
        unsigned i = (unsigned)(r % N), what = (unsigned)(r >> 8) % 16, armed = 0;
        uint64_t delay = (r >> 16) % DELAYS * 50;
        if (what < 8) { /* also such that are armed */
            assert_int_equal(timeout_arm_in(&ts, &t[i].timeout, delay), BG_OK);
            due[i] = ts.now_us + delay;
        } else if (what < 10) {
            assert_int_equal(timer_arm_in(&ts, &t[i].timeout.timer, delay), BG_OK);
            due[i] = ts.now_us + delay;
        } else if (what < 14) {
            timer_disarm(&ts, &t[i].timeout.timer);
            due[i] = UINT64_MAX;
        } else {
            /* Once in a while the clock goes back, or not all get their turn. */
            uint64_t now = what == 14 && (r >> 32) % 32 == 0 ? ts.now_us - 100 : ts.now_us + (r >> 40) % 64;
            unsigned max = (unsigned)(r >> 48) % 4, count;
            fired_count = 0;
            count = timers_run(&ts, now, max);
            assert_int_equal(count, fired_count);
            for (unsigned f = 0; f < count; f++) {
                uint64_t at = due[fired[f]];
                assert_true(at <= now);
                due[fired[f]] = UINT64_MAX;
                for (unsigned k = 0; k < N; k++) /* nobody was due before it */
                    assert_true(due[k] >= at);
            }
            ran += count;
            for (unsigned k = 0; k < N && (max == 0 || count < max); k++)
                assert_true(due[k] > now);
        }
        for (unsigned k = 0; k < N; k++) {
            armed += due[k] != UINT64_MAX;
            next = due[k] < next ? due[k] : next;
            assert_int_equal(timer_armed(&t[k].timeout.timer), due[k] != UINT64_MAX);
        }
        assert_int_equal(ts.count, armed);
        assert_true(timers_next(&ts) == next);
        seen_lanes += armed > ts.heap_count;
    }
    assert_true(ran > ROUNDS / 20 && seen_lanes > ROUNDS / 2);
    for (unsigned i = 0; i < N; i++)
        timer_disarm(&ts, &t[i].timeout.timer);
    assert_int_equal(ts.count, 0);
    timers_fini(&ts);
}

struct stepper {
    struct timer timer;
    struct timers *ts;
    unsigned steps;
};

static void on_step(struct timer *t)
{
    struct stepper *s = container_of(t, struct stepper, timer);
    if (++s->steps < 5)
        assert_int_equal(timer_arm_in(s->ts, t, 0), BG_OK);
}

static void a_timer_armed_for_now_by_a_timer_is_run_by_the_next_call(void **state)
{
    (void)state;
    struct timers ts;
    timers_init(&ts, 10);
    struct stepper s = {.timer = {.fn = on_step}, .ts = &ts};
    assert_int_equal(timer_arm(&ts, &s.timer, 3), BG_OK);
    assert_int_equal(timers_run(&ts, 10, 0), 1);
    assert_int_equal(timers_next(&ts), 11);
    assert_int_equal(timers_run(&ts, 11, 0), 1);
    assert_int_equal(s.steps, 2);
    timer_disarm(&ts, &s.timer);
    timers_fini(&ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_and_copy),
        cmocka_unit_test(buffer_grows_to_its_bound_and_fails_once),
        cmocka_unit_test(appends_of_any_size_end_at_the_bound),
        cmocka_unit_test(a_text_that_cannot_be_printed_fails_the_buffer),
        cmocka_unit_test(an_arena_remembers_that_a_piece_could_not_be_had),
        cmocka_unit_test(map_keeps_what_was_put_and_forgets_what_was_deleted),
        cmocka_unit_test(map_finds_what_a_plain_table_finds),
        cmocka_unit_test(the_hash_is_siphash_1_3),
        cmocka_unit_test(stale_handle_finds_nothing),
        cmocka_unit_test(timers_fire_in_order_of_their_deadline),
        cmocka_unit_test(armed_timers_are_those_of_a_plain_list),
        cmocka_unit_test(a_timer_armed_for_now_by_a_timer_is_run_by_the_next_call),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
