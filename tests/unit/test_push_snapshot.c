/* test_push_snapshot.c: the file in which pushed functions are kept: what was written is read, what is broken is not
 * believed. */
#include "unit.h"

#include <stdio.h>

#include "push_snapshot.h"
#include "term.h"

static struct buf seen;

static void note(void *ctx, struct slice node, struct slice term)
{
    (void)ctx;
    buf_add_slice(&seen, node);
    buf_putc(&seen, ' ');
    term_inspect(term, &seen, 100);
    buf_putc(&seen, '\n');
}

static int setup(void **state)
{
    (void)state;
    buf_init(&seen, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&seen);
    return 0;
}

/* A file with the body, and a head that fits. */
static struct buf file_of(struct slice body)
{
    uint8_t head[SNAPSHOT_HEAD];
    struct buf file;
    snapshot_head(body, head);
    buf_init(&file, 0);
    buf_add(&file, head, sizeof(head));
    buf_add_slice(&file, body);
    return file;
}

static struct buf two_records(void)
{
    struct buf body, term;
    buf_init(&body, 0);
    buf_init(&term, 0);
    term_put_atom(&term, "a");
    snapshot_put(&body, SLICE_LIT("n@h"), buf_slice(&term));
    buf_reset(&term);
    term_put_int(&term, 7);
    snapshot_put(&body, SLICE_LIT(""), buf_slice(&term));
    buf_fini(&term);
    struct buf file = file_of(buf_slice(&body));
    buf_fini(&body);
    return file;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct err e = {.text = ""};
    struct buf file = two_records();
    assert_int_equal(snapshot_read(buf_slice(&file), note, NULL, &e), BG_OK);
    assert_true(slice_is(buf_slice(&seen), "n@h :a\n 7\n"));
    buf_fini(&file);
}

static void an_empty_body_is_a_snapshot_of_nothing(void **state)
{
    (void)state;
    struct err e;
    struct buf file = file_of(SLICE_NONE);
    assert_int_equal(snapshot_read(buf_slice(&file), note, NULL, &e), BG_OK);
    assert_int_equal(seen.len, 0);
    buf_fini(&file);
}

static void every_cut_and_every_changed_byte_is_noticed(void **state)
{
    (void)state;
    struct buf file = two_records();
    for (size_t n = 0; n < file.len; n++) {
        struct err e = {.text = ""};
        assert_int_equal(snapshot_read(slice_make(file.data, n), note, NULL, &e), BG_EINVAL);
        assert_true(e.text[0] != '\0');
        file.data[n] ^= 0x20;
        assert_int_equal(snapshot_read(buf_slice(&file), note, NULL, &e), BG_EINVAL);
        file.data[n] ^= 0x20;
    }
    assert_int_equal(seen.len, 0);
    buf_fini(&file);
}

static void expect_refused(struct slice body, const char *why)
{
    struct err e = {.text = ""};
    struct buf file = file_of(body);
    assert_int_equal(snapshot_read(buf_slice(&file), note, NULL, &e), BG_EINVAL);
    if (!strstr(e.text, why))
        fail_msg("%s", e.text);
    buf_fini(&file);
}

static void a_body_that_is_no_list_of_records_is_refused_though_its_checksum_fits(void **state)
{
    (void)state;
    expect_refused(SLICE_LIT("abc"), "cut short");
    expect_refused(SLICE_LIT("\xff\xff\xff\xff"), "cut short");
    expect_refused(SLICE_LIT("\0\0\0\1n\0\0\0\2a"), "cut short");
    expect_refused(SLICE_LIT("\0\0\0\1n\0\0\0\1a"), "no term");
    expect_refused(SLICE_LIT("\0\0\0\1n\0\0\0\3a\1a"), "no term");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_body_is_a_snapshot_of_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(every_cut_and_every_changed_byte_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_that_is_no_list_of_records_is_refused_though_its_checksum_fits, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("push_snapshot", tests, NULL, NULL);
}
