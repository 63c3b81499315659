/*
 * fuzz_handshake.c: any bytes of a peer to the handshake, in pieces and in both roles; and to what answers as an epmd.
 * First byte: role, our answers; second: size of the pieces. The challenge is fixed, so that the seeds can hold valid
 * proofs and the whole way is reached.
 */
#include "dist_handshake.h"
#include "epmd.h"
#include "fuzz.h"

enum { CHALLENGE = 1234567 };

static struct node_identity self;

static enum handshake_result answer(struct dist_handshake *h, enum handshake_result r, unsigned how, struct buf *out,
                                    struct err *e)
{
    if (r == HS_NAMED) {
        struct slice alive, host;
        assert_always(node_name_split(slice_str(h->peer), &alive, &host));
        assert_always(strcmp(h->peer, self.name) != 0);
        return dist_handshake_status(h, (enum handshake_status)(how % (HS_STATUS_ALIVE + 1)), out, e);
    }
    return r == HS_ALIVE ? dist_handshake_go_on(h, how & 1, out, e) : r;
}

static void run(struct slice in, enum handshake_role role, unsigned how, size_t piece)
{
    struct dist_handshake h;
    struct buf out;
    struct err e = {0};
    enum handshake_result r = HS_MORE;
    buf_init(&out, 0);
    dist_handshake_init(&h, role, how & 8 ? HS_HEAD_TLS : HS_HEAD_TCP, &self, SLICE_LIT("peer@127.0.0.1"), &out);
    h.challenge = CHALLENGE;
    while (in.len && r == HS_MORE) {
        size_t used = 0, n = in.len < piece ? in.len : piece;
        r = answer(&h, dist_handshake_feed(&h, slice_make(in.ptr, n), &used, &out, &e), how, &out, &e);
        assert_always(used <= n && (r != HS_MORE || used > 0));
        in = slice_make(in.ptr + used, in.len - used);
    }
    if (r == HS_DONE)
        assert_always((h.flags & DIST_FLAGS_MANDATORY) == DIST_FLAGS_MANDATORY && (h.flags & ~self.flags) == 0);
    if (r == HS_FAILED)
        assert_always(e.text[0] && h.step == HS_ENDED);
    assert_always(buf_ok(&out) && out.len < 2048);
    assert_always(dist_handshake_hint(&h) != NULL);
    buf_fini(&out);
}

static void run_epmd(struct slice in)
{
    struct epmd_answer a = {0};
    if (epmd_parse_port(in, &a) == BG_OK)
        assert_always(a.port != 0);
    if (epmd_parse_alive(in) == BG_OK)
        assert_always(in.len >= 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e;
    if (!self.name[0] && node_identity_init(&self, SLICE_LIT("bob@127.0.0.1"), SLICE_LIT("secret"), &e) != BG_OK)
        return 0;
    if (size < 2)
        return 0;
    run_epmd(slice_make(data, size));
    run(slice_make(data + 2, size - 2), data[0] & 1 ? HS_DIALLING : HS_ACCEPTING, data[0] >> 1, data[1] + 1u);
    return 0;
}
