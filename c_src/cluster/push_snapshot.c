/*
 * push_snapshot.c: see push_snapshot.h. The file is this program's own, but a disk, an editor or another version may
 * have been at it: nothing is believed before the checksum fits, and what then comes is checked as if another node had
 * sent it.
 *
 * It reads and writes memory only: where the file is, and when it is written, is snapshot_file.c's affair.
 */
#include "push_snapshot.h"

#include <openssl/sha.h>

#include "term.h"

static const char magic[8] = "BGSNAP\0\1"; /* the last byte is the version */

void snapshot_put(struct buf *body, struct slice node, struct slice term)
{
    uint8_t length[4];
    put_be32(length, (uint32_t)node.len);
    buf_add(body, length, sizeof(length));
    buf_add_slice(body, node);
    put_be32(length, (uint32_t)term.len);
    buf_add(body, length, sizeof(length));
    buf_add_slice(body, term);
}

void snapshot_head(struct slice body, uint8_t head[SNAPSHOT_HEAD])
{
    memcpy(head, magic, sizeof(magic));
    put_be64(head + 8, body.len);
    SHA256((const uint8_t *)body.ptr, body.len, head + 16);
}

/* A length and so many bytes. */
static bool take(struct slice *body, struct slice *out)
{
    if (body->len < 4)
        return false;
    size_t n = get_be32((const uint8_t *)body->ptr);
    if (n > body->len - 4)
        return false;
    *out = slice_make(body->ptr + 4, n);
    *body = slice_make(body->ptr + 4 + n, body->len - 4 - n);
    return true;
}

static int check_head(struct slice file, struct err *e)
{
    uint8_t sum[32];
    if (file.len < SNAPSHOT_HEAD || memcmp(file.ptr, magic, 6) != 0)
        return err_set(e, BG_EINVAL, 0, "it is no snapshot");
    if (memcmp(file.ptr, magic, sizeof(magic)) != 0)
        return err_set(e, BG_EINVAL, 0, "it is of another version of beamgate");
    const uint8_t *head = (const uint8_t *)file.ptr;
    if (get_be64(head + 8) != file.len - SNAPSHOT_HEAD)
        return err_set(e, BG_EINVAL, 0, "it is cut short, or longer than it says");
    SHA256(head + SNAPSHOT_HEAD, file.len - SNAPSHOT_HEAD, sum);
    return memcmp(sum, head + 16, sizeof(sum)) == 0 ? BG_OK : err_set(e, BG_EINVAL, 0, "its checksum is wrong");
}

int snapshot_read(struct slice file, snapshot_fn *fn, void *ctx, struct err *e)
{
    int rc = check_head(file, e);
    if (rc != BG_OK)
        return rc;
    struct slice body = slice_make(file.ptr + SNAPSHOT_HEAD, file.len - SNAPSHOT_HEAD), node, term;
    while (body.len > 0) {
        size_t used = 0;
        if (!take(&body, &node) || !take(&body, &term))
            return err_set(e, BG_EINVAL, file.len - body.len, "a record of it is cut short");
        if (term_check(term.ptr, term.len, TERM_DEPTH_DEFAULT, &used, NULL) != BG_OK || used != term.len)
            return err_set(e, BG_EINVAL, file.len - body.len, "a record of it is no term");
        fn(ctx, node, term);
    }
    return BG_OK;
}
