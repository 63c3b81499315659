/*
 * gen_call.c: see gen_call.h. Reads no more of a tag than it needs to find an alias in it.
 */
#include "gen_call.h"

#include "dist_send.h"

static bool read_from(struct slice from, struct gen_call *c)
{
    struct term_reader r = term_reader(from);
    uint32_t n;
    return term_read_tuple(&r, &n) == BG_OK && n == 2 && term_peek(&r) == TERM_PID && term_skip(&r, &c->pid) == BG_OK &&
           term_skip(&r, &c->tag) == BG_OK;
}

bool gen_call_read(struct slice msg, struct gen_call *c)
{
    struct term_reader r = term_reader(msg);
    struct slice from;
    uint32_t n;
    if (term_read_tuple(&r, &n) != BG_OK || n != 3)
        return false;
    c->system = term_read_is_atom(&r, "system");
    if (!c->system && !term_read_is_atom(&r, "$gen_call"))
        return false;
    return term_skip(&r, &from) == BG_OK && term_skip(&r, &c->request) == BG_OK && read_from(from, c);
}

bool gen_cast_read(struct slice msg, struct slice *request)
{
    struct term_reader r = term_reader(msg);
    uint32_t n;
    return term_read_tagged(&r, "$gen_cast", &n) == BG_OK && n == 2 && term_skip(&r, request) == BG_OK;
}

/* The alias in [alias | Ref]. */
static bool improper_alias(struct term_reader r, struct slice *ref)
{
    uint32_t n;
    return term_read_list(&r, &n) == BG_OK && n == 1 && term_read_is_atom(&r, "alias") && term_peek(&r) == TERM_REF &&
           term_skip(&r, ref) == BG_OK;
}

/* The alias in [alias | Ref] (gen_server:call) or [[alias | Ref] | _] (multi_call). */
static bool tag_alias(struct slice tag, struct slice *ref)
{
    struct term_reader r = term_reader(tag);
    uint32_t n;
    if (improper_alias(r, ref))
        return true;
    return term_read_list(&r, &n) == BG_OK && n >= 1 && improper_alias(r, ref);
}

int gen_reply(struct dist_link *l, struct slice self_pid, const struct gen_call *c, struct slice reply)
{
    struct slice ref;
    struct buf *b = l ? dist_link_begin(l, LINK_PROTOCOL) : NULL;
    if (!b)
        return BG_EGONE;
    if (tag_alias(c->tag, &ref))
        dist_put_alias_send(b, self_pid, ref);
    else
        dist_put_send(b, c->pid);
    term_put_tuple(b, 2);
    term_put_raw(b, c->tag);
    term_put_raw(b, reply);
    return dist_link_commit(l);
}

int gen_reply_notsup(struct dist_link *l, struct slice self_pid, const struct gen_call *c)
{
    /* {error, notsup} */
    static const char reply[] = "h\2w\5errorw\6notsup";
    return gen_reply(l, self_pid, c, slice_make(reply, sizeof(reply) - 1));
}
