/* fuzz_snapshot.c: any bytes as a snapshot file, and any bytes as its body under a head that fits: read without harm,
 * and each record that comes out is a whole term. */
#include <stdlib.h>

#include "push_snapshot.h"
#include "term.h"

static void on_record(void *ctx, struct slice node, struct slice term)
{
    struct err e;
    size_t used = 0;
    (void)ctx;
    (void)node;
    assert_always(term_check(term.ptr, term.len, TERM_DEPTH_DEFAULT, &used, &e) == BG_OK && used == term.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    struct buf file;
    uint8_t head[SNAPSHOT_HEAD];
    int rc = snapshot_read(slice_make(data, size), on_record, NULL, &e);
    buf_init(&file, 0);
    snapshot_head(slice_make(data, size), head);
    buf_add(&file, head, sizeof(head));
    buf_add(&file, data, size);
    rc = snapshot_read(buf_slice(&file), on_record, NULL, &e);
    (void)rc;
    buf_fini(&file);
    return 0;
}
