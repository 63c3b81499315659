/* test_term.c: the external term format: check, readers, writers. */
#include "vectors.h"

#include "json.h"
#include "term.h"
#include "../../c_src/codec/term_tags.h"

#define TERM(...) slice_make((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static int check(struct slice t, unsigned depth)
{
    size_t used = 0;
    /* A copy of exact size shows every read beyond the end under the address sanitizer. */
    void *copy = malloc(t.len ? t.len : 1);
    if (t.len)
        memcpy(copy, t.ptr, t.len);
    int rc = term_check(copy, t.len, depth, &used, NULL);
    if (rc == 0)
        assert_int_equal(used, t.len);
    free(copy);
    return rc;
}

static void put_one_of_each(struct buf *b)
{
    struct term_pid pid = {SLICE_LIT("svc@127.0.0.1"), 7, 8, 9};
    struct term_ref ref = {SLICE_LIT("gw@h"), 5, 3, {1, 2, 3}};
    term_put_tuple(b, 3);
    term_put_list(b, 9);
    term_put_int(b, 0);
    term_put_int(b, 255);
    term_put_int(b, 256);
    term_put_int(b, -1);
    term_put_int(b, INT64_C(1) << 31);
    term_put_int(b, INT64_MIN);
    term_put_uint(b, UINT64_MAX);
    term_put_float(b, 1.5);
    term_put_atom(b, "nil");
    term_put_nil(b);
    term_put_map(b, 2);
    term_put_text(b, "key");
    term_put_pid(b, &pid);
    term_put_atom(b, "r");
    term_put_ref(b, &ref);
    term_put_binary(b, SLICE_NONE);
}

static void what_was_written_is_read_back(void **state)
{
    (void)state;
    static const int64_t ints[] = {0, 255, 256, -1, INT64_C(1) << 31, INT64_MIN};
    struct buf b;
    uint32_t n;
    int64_t v;
    double f;
    struct slice s;
    struct term_pid pid;
    struct term_ref ref;
    buf_init(&b, 0);
    put_one_of_each(&b);
    assert_true(buf_ok(&b));
    assert_int_equal(check(buf_slice(&b), 2), 0);
    assert_int_equal(check(buf_slice(&b), 1), BG_ELIMIT);
    struct term_reader r = term_reader(buf_slice(&b));
    assert_int_equal(term_read_tuple(&r, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(term_read_list(&r, &n), 0);
    assert_int_equal(n, 9);
    for (size_t i = 0; i < ARRAY_SIZE(ints); i++) {
        assert_int_equal(term_peek(&r), TERM_INT);
        assert_int_equal(term_read_int(&r, &v), 0);
        assert_int_equal(v, ints[i]);
    }
    assert_int_equal(term_peek(&r), TERM_BIG);
    assert_int_equal(term_read_int(&r, &v), BG_EINVAL);
    assert_int_equal(term_skip(&r, &s), 0);
    assert_int_equal(term_read_float(&r, &f), 0);
    assert_true(f == 1.5);
    assert_int_equal(term_read_atom(&r, &s), 0);
    assert_slice_is(s, "nil");
    assert_int_equal(term_read_tail(&r), 0);
    struct slice map = slice_make(r.p, (size_t)(r.end - r.p));
    assert_int_equal(term_read_map(&r, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(term_read_binary(&r, &s), 0);
    assert_slice_is(s, "key");
    assert_int_equal(term_read_pid(&r, &pid), 0);
    assert_slice_is(pid.node, "svc@127.0.0.1");
    assert_true(pid.id == 7 && pid.serial == 8 && pid.creation == 9);
    assert_true(term_read_is_atom(&r, "r"));
    assert_int_equal(term_read_ref(&r, &ref), 0);
    assert_slice_is(ref.node, "gw@h");
    assert_true(ref.words == 3 && ref.creation == 5 && ref.id[0] == 1 && ref.id[2] == 3 && ref.id[4] == 0);
    assert_int_equal(term_read_binary(&r, &s), 0);
    assert_true(term_at_end(&r));
    assert_true(term_map_get(map, "r", &s));
    assert_int_equal(s.ptr[0], 90);
    assert_false(term_map_get(map, "q", &s));
    buf_fini(&b);
}

static void integers_take_the_smallest_encoding(void **state)
{
    (void)state;
    static const struct {
        int64_t v;
        uint8_t tag;
        size_t len;
    } want[] = {
        {0, 97, 2},
        {255, 97, 2},
        {256, 98, 5},
        {-1, 98, 5},
        {INT32_MAX, 98, 5},
        {INT32_MIN, 98, 5},
        {INT64_C(2147483648), 110, 7},
        {INT64_C(-2147483649), 110, 7},
        {INT64_MAX, 110, 11},
        {INT64_MIN, 110, 11},
    };
    struct buf b;
    int64_t v;
    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        buf_reset(&b);
        term_put_int(&b, want[i].v);
        assert_int_equal(b.data[0], want[i].tag);
        assert_int_equal(b.len, want[i].len);
        struct term_reader r = term_reader(buf_slice(&b));
        assert_int_equal(term_read_int(&r, &v), 0);
        assert_true(v == want[i].v);
    }
    buf_fini(&b);
}

static void every_prefix_of_a_term_is_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    put_one_of_each(&b);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(check(slice_make(b.data, n), 10), BG_EINVAL);
    buf_fini(&b);
}

/* Pids and references have a short way of their own through the check; names that are not ASCII go the long one. */
static void pids_and_references_are_checked_to_their_last_byte(void **state)
{
    (void)state;
    const struct slice whole[] = {
        TERM(88, 119, 2, 'a', 'b', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3),
        TERM(88, 119, 2, 0xc3, 0xa9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3),
        TERM(90, 0, 1, 119, 1, 'a', 0, 0, 0, 3, 0, 0, 0, 1),
        TERM(90, 0, 5, 119, 2, 0xc3, 0xa9, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5),
    };
    for (size_t i = 0; i < ARRAY_SIZE(whole); i++) {
        char *copy = malloc(whole[i].len);
        assert_non_null(copy);
        assert_int_equal(check(whole[i], 0), 0);
        for (size_t n = 0; n < whole[i].len; n++) {
            memcpy(copy + whole[i].len - n, whole[i].ptr, n); /* a sanitizer sees any step past the end */
            if (check(slice_make(copy + whole[i].len - n, n), 0) != BG_EINVAL)
                fail_msg("term %zu: %zu bytes of %zu were taken", i, n, whole[i].len);
        }
        free(copy);
    }
}

/* Where the term at p ends, found by term_head() alone. */
static const uint8_t *end_of(const uint8_t *p, const uint8_t *end)
{
    uint64_t children;
    for (uint64_t pending = 1; p && pending > 0; pending--) {
        p = term_head(p, end, &children);
        pending += children;
    }
    return p;
}

static void assert_short_ways_agree(struct slice t)
{
    const struct term_reader at = term_reader(t);
    struct term_reader r = at, q = at;
    const uint8_t *next, *whole = end_of(at.p, at.end);
    uint64_t children, want;
    size_t used;
    uint32_t n, arity;
    int64_t v;
    struct slice text;
    bool open = t.len && (*at.p == TAG_SMALL_TUPLE || *at.p == TAG_MAP || *at.p == TAG_LIST);
    next = term_open(at.p, at.end, &children);
    assert_ptr_equal(next, open ? term_head(at.p, at.end, &want) : NULL);
    assert_true(!next || children == want);
    next = term_check_leaf(at.p, at.end);
    assert_true(!next || (term_check(at.p, t.len, 0, &used, NULL) == BG_OK && at.p + used == next));
    uint8_t padded[64] = {0}; /* with more behind it, texts are looked at in larger steps */
    size_t used_padded;
    int rc = term_check(at.p, t.len, 3, &used, NULL);
    memcpy(padded, t.ptr, t.len);
    if (rc == BG_OK)
        assert_true(term_check(padded, sizeof(padded), 3, &used_padded, NULL) == BG_OK && used_padded == used);
    else if (whole)
        assert_int_equal(term_check(padded, sizeof(padded), 3, &used_padded, NULL), rc);
    assert_true((term_skip(&r, &text) == BG_OK) == (whole != NULL));
    assert_true(!whole || r.p == whole);
    r = at;
    assert_true((term_read_int(&r, &v) == BG_OK) == (term_peek(&at) == TERM_INT));
    r = at;
    bool tagged = term_read_tuple(&q, &n) == BG_OK && n > 0 && term_read_atom(&q, &text) == BG_OK && slice_is(text, "ok");
    assert_true((term_read_tagged(&r, "ok", &arity) == BG_OK) == tagged);
    assert_true(!tagged || (arity == n && r.p == q.p));
    r = q = at;
    bool atom = term_read_atom(&q, &text) == BG_OK && slice_is(text, "ok");
    assert_true(term_read_is_atom(&r, "ok") == atom && r.p == (atom ? q.p : at.p));
    assert_true(term_is_atom(t, "ok") == (atom && term_at_end(&q)));
}

/* The usual encodings are read in place, others by term_head(): both must see the same, whatever the bytes. */
static void usual_terms_are_read_as_all_others(void **state)
{
    (void)state;
    const struct slice terms[] = {
        TERM(97, 7), TERM(98, 0, 0, 1, 0), TERM(110, 3, 0, 1, 2, 3), TERM(110, 8, 1, 0, 0, 0, 0, 0, 0, 0, 128),
        TERM(110, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0), TERM(70, 63, 248, 0, 0, 0, 0, 0, 0), TERM(106), TERM(119, 2, 'o', 'k'),
        TERM(118, 0, 2, 'o', 'k'), TERM(100, 0, 2, 'o', 'k'), TERM(119, 2, 0xc3, 0xa9),
        TERM(119, 17, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q'), TERM(109, 0, 0, 0, 2, 'h', 'i'),
        TERM(104, 2, 119, 2, 'o', 'k', 97, 1), TERM(104, 2, 118, 0, 2, 'o', 'k', 97, 1), TERM(104, 1, 119, 2, 'o', 'k'),
        TERM(105, 0, 0, 0, 1, 119, 2, 'o', 'k'), TERM(104, 0), TERM(104, 1, 104, 1, 104, 0),
        TERM(108, 0, 0, 0, 1, 97, 1, 106), TERM(116, 0, 0, 0, 1, 97, 1, 97, 2), TERM(107, 0, 1, 5),
        TERM(88, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3),
    };
    for (size_t i = 0; i < ARRAY_SIZE(terms); i++) {
        for (size_t len = 1; len <= terms[i].len; len++) {
            uint8_t *copy = malloc(len);
            assert_non_null(copy);
            memcpy(copy, terms[i].ptr, len);
            for (size_t at = 0; at < len; at++) {
                for (unsigned c = 0; c < 256; c++) {
                    copy[at] = (uint8_t)c;
                    assert_short_ways_agree(slice_make(copy, len));
                }
                copy[at] = (uint8_t)terms[i].ptr[at];
            }
            free(copy);
        }
    }
}

static void old_encodings_of_other_nodes_are_read(void **state)
{
    (void)state;
    struct slice s;
    struct term_pid pid;
    struct term_ref ref;
    double f;
    struct slice t = TERM(100, 0, 2, 'o', 'k');
    assert_int_equal(check(t, 0), 0);
    assert_true(term_is_atom(t, "ok"));
    assert_true(term_is_atom(TERM(115, 2, 'o', 'k'), "ok"));
    assert_true(term_is_atom(TERM(118, 0, 2, 'o', 'k'), "ok"));
    assert_false(term_is_atom(TERM(109, 0, 0, 0, 2, 'o', 'k'), "ok"));
    assert_true(term_is_nil(TERM(119, 3, 'n', 'i', 'l')));
    t = TERM(115, 1, 0xe9);
    assert_int_equal(check(t, 0), 0);
    struct term_reader r = term_reader(t);
    assert_int_equal(term_read_atom(&r, &s), BG_EINVAL);
    t = TERM(103, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2, 3);
    assert_int_equal(check(t, 0), 0);
    r = term_reader(t);
    assert_int_equal(term_read_pid(&r, &pid), 0);
    assert_true(pid.id == 1 && pid.serial == 2 && pid.creation == 3);
    t = TERM(114, 0, 2, 119, 1, 'a', 3, 0, 0, 0, 1, 0, 0, 0, 2);
    assert_int_equal(check(t, 0), 0);
    r = term_reader(t);
    assert_int_equal(term_read_ref(&r, &ref), 0);
    assert_true(ref.words == 2 && ref.creation == 3 && ref.id[0] == 1 && ref.id[1] == 2);
    t = TERM(101, 119, 1, 'a', 0, 0, 0, 1, 3);
    assert_int_equal(check(t, 0), 0);
    r = term_reader(t);
    assert_int_equal(term_read_ref(&r, &ref), 0);
    assert_true(ref.words == 1 && ref.creation == 3 && ref.id[0] == 1);
    char text[33] = "\x63"
                    "1.50000000000000000000e+00";
    r = term_reader(slice_make(text, 32));
    assert_int_equal(check(slice_make(text, 32), 0), 0);
    assert_int_equal(term_read_float(&r, &f), 0);
    assert_true(f == 1.5);
    t = TERM(107, 0, 2, 1, 2);
    r = term_reader(t);
    assert_int_equal(term_read_string(&r, &s), 0);
    assert_int_equal(s.len, 2);
    assert_int_equal(check(TERM(120, 119, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2), 0), 0);
    assert_int_equal(check(TERM(89, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2), 0), 0);
    assert_int_equal(check(TERM(102, 119, 1, 'a', 0, 0, 0, 1, 2), 0), 0);
    assert_int_equal(check(TERM(113, 119, 1, 'm', 119, 1, 'f', 97, 2), 0), 0);
    assert_int_equal(check(TERM(77, 0, 0, 0, 1, 3, 0xe0), 0), 0);
    assert_int_equal(check(TERM(111, 0, 0, 0, 1, 1, 5), 0), 0);
    assert_int_equal(check(TERM(105, 0, 0, 0, 1, 106), 1), 0);
}

/* NEW_FUN_EXT with one free variable; size counts itself. */
#define FUN(size, var)                                                                                                 \
    TERM(112, 0, 0, 0, size, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 119, 1, 'm',   \
         97, 1, 97, 2, 88, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 97, var)

static void forged_terms_are_refused(void **state)
{
    (void)state;
    assert_int_equal(check(FUN(54, 1), 1), 0);
    assert_int_equal(check(FUN(53, 1), 1), BG_EINVAL);
    assert_int_equal(check(FUN(55, 1), 1), BG_EINVAL);
    const struct slice bad[] = {
        TERM(80, 0, 0, 0, 1, 1), /* compressed */
        TERM(82, 0),             /* atom cache reference */
        TERM(131, 106),          /* a version byte is no term */
        TERM(0),
        TERM(255),
        TERM(117, 0, 0, 0, 0),                  /* unknown tags */
        TERM(108, 0xff, 0xff, 0xff, 0xff, 106), /* counts beyond the bytes left */
        TERM(105, 0xff, 0xff, 0xff, 0xff),
        TERM(116, 0x7f, 0xff, 0xff, 0xff),
        TERM(104, 2, 106),
        TERM(116, 0, 0, 0, 1, 106),
        TERM(108, 0, 0, 0, 1, 106),
        TERM(108, 0, 0, 0, 0, 106),
        TERM(109, 0, 0, 0, 3, 'a', 'b'),
        TERM(107, 0, 3, 1, 2), /* lengths beyond the bytes left */
        TERM(110, 2, 0, 1),
        TERM(111, 0xff, 0xff, 0xff, 0xff, 0),
        TERM(110, 1, 2, 1),
        TERM(119, 3, 'a'),
        TERM(119, 1, 0xff),                     /* atom that is not UTF-8 */
        TERM(70, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0), /* infinity */
        TERM(70, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0), /* NaN */
        TERM(77, 0, 0, 0, 1, 9, 0),
        TERM(77, 0, 0, 0, 0, 3), /* bits */
        TERM(90, 0, 6, 119, 1, 'a', 0, 0, 0, 1),
        TERM(90, 0, 0, 119, 1, 'a', 0, 0, 0, 1),
        TERM(88, 97, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1), /* the node of a pid is an integer */
        TERM(88, 119, 1, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1), /* the node's name is not UTF-8 */
        TERM(90, 0, 1, 119, 1, 0xff, 0, 0, 0, 1, 0, 0, 0, 1),
        TERM(113, 119, 1, 'm', 97, 1, 97, 2),
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (check(bad[i], 10) != BG_EINVAL)
            fail_msg("case %zu was not refused", i);
}

static void atoms_are_bounded_in_characters_not_bytes(void **state)
{
    (void)state;
    uint8_t t[3 + 512] = {118, 2, 0};
    for (size_t i = 3; i < sizeof(t); i += 2) {
        t[i] = 0xc3;
        t[i + 1] = 0xa9;
    }
    put_be16(t + 1, 510);
    assert_int_equal(check(slice_make(t, 3 + 510), 0), 0);
    put_be16(t + 1, 512);
    assert_int_equal(check(slice_make(t, 3 + 512), 0), BG_EINVAL);
}

static void depth_is_bounded_whatever_is_asked(void **state)
{
    (void)state;
    static uint8_t t[2 * (TERM_DEPTH_MAX + 2) + 1];
    for (size_t i = 0; i + 1 < sizeof(t); i += 2) {
        t[i] = 104;
        t[i + 1] = 1;
    }
    t[sizeof(t) - 1] = 106;
    assert_int_equal(check(slice_make(t, sizeof(t)), UINT32_MAX), BG_ELIMIT);
    assert_int_equal(check(slice_make(t + 4, sizeof(t) - 4), UINT32_MAX), 0);
}

static void a_failed_read_does_not_move(void **state)
{
    (void)state;
    struct slice t = TERM(104, 2, 119, 2, 'o', 'k', 97, 5), s;
    struct term_reader r = term_reader(t);
    const uint8_t *at = r.p;
    uint32_t n;
    int64_t v;
    double f;
    assert_int_equal(term_read_int(&r, &v), BG_EINVAL);
    assert_int_equal(term_read_list(&r, &n), BG_EINVAL);
    assert_int_equal(term_read_map(&r, &n), BG_EINVAL);
    assert_int_equal(term_read_float(&r, &f), BG_EINVAL);
    assert_int_equal(term_read_atom(&r, &s), BG_EINVAL);
    assert_int_equal(term_read_binary(&r, &s), BG_EINVAL);
    assert_int_equal(term_read_tagged(&r, "error", &n), BG_EINVAL);
    assert_ptr_equal(r.p, at);
    assert_int_equal(term_read_tagged(&r, "ok", &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(term_read_int(&r, &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(term_read_int(&r, &v), BG_EINVAL);
    assert_int_equal(term_peek(&r), TERM_INVALID);
}

/* ---- inspect ---- */

static void check_inspect(const char *dir, const char *name)
{
    size_t len;
    uint8_t *bytes = vector_hex(dir, name, &len);
    char *want = vector_text(dir, name, ".inspect");
    struct slice term = slice_make(bytes + 1, len - 1);
    struct buf b;
    buf_init(&b, 0);
    term_inspect(term, &b, SIZE_MAX / 2);
    if (want && !slice_is(buf_slice(&b), want))
        fail_msg("%s: got %.*s, want %s", name, (int)b.len, (char *)b.data, want);
    assert_true(term_equal(term, term));
    struct slice whole = buf_slice(&b);
    struct buf part;
    buf_init(&part, 0);
    for (size_t max = 0; max < whole.len && max < 400; max++) {
        buf_reset(&part);
        buf_puts(&part, "xy");
        term_inspect(term, &part, max);
        assert_true(part.len <= max + 2);
        assert_memory_equal(part.data, "xy", 2);
        assert_int_equal(utf8_valid_prefix(part.data, part.len), part.len);
    }
    buf_fini(&part);
    buf_fini(&b);
    free(want), free(bytes);
}

static void terms_are_shown_as_elixir_shows_them(void **state)
{
    (void)state;
    assert_true(vector_each("tests/data/terms", check_inspect) > 80);
}

static void assert_inspects(struct slice term, size_t max, const char *want)
{
    struct buf b;
    buf_init(&b, 0);
    term_inspect(term, &b, max);
    assert_slice_is(buf_slice(&b), want);
    buf_fini(&b);
}

static void what_has_no_text_in_elixir_is_still_shown(void **state)
{
    (void)state;
    assert_inspects(TERM(88, 119, 1, 'a', 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 1), 100, "#PID<0.7.2>");
    assert_inspects(TERM(90, 0, 2, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 6), 100, "#Reference<0.6.5>");
    assert_inspects(TERM(115, 1, 0xe9), 100, ":\"\\xE9\"");
    assert_inspects(TERM(107, 0, 2, 'o', 'k'), 100, "~c\"ok\"");
    assert_inspects(TERM(108, 0, 0, 0, 2, 97, 'o', 97, 'k', 106), 100, "~c\"ok\"");
    assert_inspects(TERM(109, 0, 0, 0, 10, '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'), 8, "\"0123...");
    assert_inspects(TERM(104, 2, 97), 100, "...");
}

/* ---- equality ---- */

static void same_values_in_other_encodings_are_equal(void **state)
{
    (void)state;
    assert_true(term_equal(TERM(100, 0, 2, 'o', 'k'), TERM(119, 2, 'o', 'k')));
    assert_true(term_equal(TERM(97, 5), TERM(98, 0, 0, 0, 5)));
    assert_true(term_equal(TERM(98, 0, 0, 0, 5), TERM(110, 2, 0, 5, 0)));
    assert_true(term_equal(TERM(110, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
                           TERM(111, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)));
    assert_true(term_equal(TERM(107, 0, 2, 1, 2), TERM(108, 0, 0, 0, 2, 97, 1, 97, 2, 106)));
    assert_true(term_equal(TERM(108, 0, 0, 0, 2, 97, 1, 97, 2, 106), TERM(107, 0, 2, 1, 2)));
    assert_true(term_equal(TERM(103, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2, 3),
                           TERM(88, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3)));
    /* %{a: 1, b: {"x"}} in both orders */
    assert_true(
        term_equal(TERM(116, 0, 0, 0, 2, 119, 1, 'a', 97, 1, 119, 1, 'b', 104, 1, 109, 0, 0, 0, 1, 'x'),
                   TERM(116, 0, 0, 0, 2, 119, 1, 'b', 104, 1, 109, 0, 0, 0, 1, 'x', 119, 1, 'a', 98, 0, 0, 0, 1)));
}

static void different_values_are_not_equal(void **state)
{
    (void)state;
    const struct slice terms[] = {
        TERM(97, 1),
        TERM(97, 2),
        TERM(98, 255, 255, 255, 255),
        TERM(110, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
        TERM(110, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1),
        TERM(110, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1),
        TERM(70, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0),
        TERM(70, 0x40, 0, 0, 0, 0, 0, 0, 0),
        TERM(119, 1, '1'),
        TERM(119, 1, '2'),
        TERM(109, 0, 0, 0, 1, '1'),
        TERM(109, 0, 0, 0, 1, '2'),
        TERM(106),
        TERM(107, 0, 1, 1),
        TERM(107, 0, 1, 2),
        TERM(107, 0, 2, 1, 2),
        TERM(108, 0, 0, 0, 1, 97, 1, 97, 1),
        TERM(108, 0, 0, 0, 1, 106, 106),
        TERM(104, 0),
        TERM(104, 1, 97, 1),
        TERM(104, 1, 97, 2),
        TERM(104, 2, 97, 1, 97, 2),
        TERM(116, 0, 0, 0, 0),
        TERM(116, 0, 0, 0, 1, 97, 1, 97, 1),
        TERM(116, 0, 0, 0, 1, 97, 1, 97, 2),
        TERM(116, 0, 0, 0, 1, 97, 2, 97, 1),
        TERM(116, 0, 0, 0, 2, 97, 1, 97, 2, 97, 2, 97, 1),
        TERM(116, 0, 0, 0, 2, 97, 2, 97, 2, 97, 1, 97, 1),
        TERM(88, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3),
        TERM(88, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4),
        TERM(90, 0, 1, 119, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 5),
        TERM(90, 0, 1, 119, 1, 'b', 0, 0, 0, 1, 0, 0, 0, 5),
        TERM(77, 0, 0, 0, 1, 3, 0xe0),
        TERM(113, 119, 1, 'm', 119, 1, 'f', 97, 2),
        TERM(113, 119, 1, 'm', 119, 1, 'f', 97, 3),
    };
    for (size_t i = 0; i < ARRAY_SIZE(terms); i++) {
        assert_int_equal(check(terms[i], 10), 0);
        for (size_t k = 0; k < ARRAY_SIZE(terms); k++)
            if (term_equal(terms[i], terms[k]) != (i == k))
                fail_msg("terms %zu and %zu", i, k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(integers_take_the_smallest_encoding),
        cmocka_unit_test(every_prefix_of_a_term_is_refused),
        cmocka_unit_test(pids_and_references_are_checked_to_their_last_byte),
        cmocka_unit_test(usual_terms_are_read_as_all_others),
        cmocka_unit_test(old_encodings_of_other_nodes_are_read),
        cmocka_unit_test(forged_terms_are_refused),
        cmocka_unit_test(atoms_are_bounded_in_characters_not_bytes),
        cmocka_unit_test(depth_is_bounded_whatever_is_asked),
        cmocka_unit_test(a_failed_read_does_not_move),
        cmocka_unit_test(terms_are_shown_as_elixir_shows_them),
        cmocka_unit_test(what_has_no_text_in_elixir_is_still_shown),
        cmocka_unit_test(same_values_in_other_encodings_are_equal),
        cmocka_unit_test(different_values_are_not_equal),
    };
    return cmocka_run_group_tests_name("term", tests, NULL, NULL);
}
