/*
 * dist_message.c: see dist_message.h. One const table gives the shape of every control message: the fields in
 * their order, what kinds of term each may be, and whether a message follows the tuple.
 *
 * Invariant: after a successful parse every slice holds exactly one checked term of an allowed kind, and
 * the packet holds nothing else. Trace tokens are stepped over: we take part in no trace (D-16).
 */
#include "dist_message.h"

/* Sets of term kinds as bits, and fields by their offset, so that the table below is all that knows a message's shape.
 */
#define KIND(k) (1u << TERM_##k)
#define FIELD(member) (uint8_t) offsetof(struct dist_message, member)

enum { KINDS_ANY = ~0u, MAX_FIELDS = 6, SKIPPED = 0 };

/* A field of a control tuple: where it goes (SKIPPED: nowhere) and what it may be. */
struct field {
    uint8_t offset;
    uint32_t kinds;
};

/* The vocabulary of the shapes. _PROC fields hold a pid or a registered name. */
enum field_name {
    FROM,
    FROM_PROC,
    TO,
    TO_NAME,
    TO_PROC,
    REF,
    REASON,
    ID,
    TOKEN,
    UNUSED,
    SENDER,
    GROUP_LEADER,
    MFA,
    OPTIONS,
    FLAGS,
    RESULT
};

/* What each word of it means. A sender may be of any kind: ports send, too. */
static const struct field fields[] = {
    [FROM] = {FIELD(from), KIND(PID)},
    [FROM_PROC] = {FIELD(from), KIND(PID) | KIND(ATOM)},
    [TO] = {FIELD(to), KIND(PID)},
    [TO_NAME] = {FIELD(to), KIND(ATOM)},
    [TO_PROC] = {FIELD(to), KIND(PID) | KIND(ATOM)},
    [REF] = {FIELD(ref), KIND(REF)},
    [REASON] = {FIELD(reason), KINDS_ANY},
    [ID] = {FIELD(id), KIND(INT) | KIND(BIG)},
    [TOKEN] = {SKIPPED, KINDS_ANY},
    [UNUSED] = {SKIPPED, KINDS_ANY},
    [SENDER] = {FIELD(from), KINDS_ANY},
    [GROUP_LEADER] = {FIELD(group_leader), KIND(PID)},
    [MFA] = {FIELD(mfa), KIND(TUPLE)},
    [OPTIONS] = {FIELD(options), KIND(LIST) | KIND(NIL)},
    [FLAGS] = {FIELD(flags), KIND(INT)},
    [RESULT] = {FIELD(result), KIND(PID) | KIND(ATOM)},
};

struct shape {
    enum dist_op kind; /* DIST_UNKNOWN marks a number that is not in use */
    uint8_t count;
    uint8_t payload; /* offset of the field that takes the message, SKIPPED when none may follow */
    uint8_t fields[MAX_FIELDS];
};

/* In the order of their elements on the wire. Where a reason comes as payload, the payload takes its place. */
static const struct shape shapes[DIST_OP_COUNT] = {
    [DIST_LINK] = {DIST_LINK, 2, SKIPPED, {FROM, TO}},
    [DIST_SEND] = {DIST_SEND, 2, FIELD(payload), {UNUSED, TO}},
    [DIST_EXIT] = {DIST_EXIT, 3, SKIPPED, {FROM, TO, REASON}},
    [DIST_UNLINK] = {DIST_UNLINK, 2, SKIPPED, {FROM, TO}},
    [DIST_REG_SEND] = {DIST_REG_SEND, 3, FIELD(payload), {FROM, UNUSED, TO_NAME}},
    [DIST_GROUP_LEADER] = {DIST_GROUP_LEADER, 2, SKIPPED, {FROM, TO}},
    [DIST_EXIT2] = {DIST_EXIT2, 3, SKIPPED, {FROM, TO, REASON}},
    [DIST_SEND_TT] = {DIST_SEND, 3, FIELD(payload), {UNUSED, TO, TOKEN}},
    [DIST_EXIT_TT] = {DIST_EXIT, 4, SKIPPED, {FROM, TO, TOKEN, REASON}},
    [DIST_REG_SEND_TT] = {DIST_REG_SEND, 4, FIELD(payload), {FROM, UNUSED, TO_NAME, TOKEN}},
    [DIST_EXIT2_TT] = {DIST_EXIT2, 4, SKIPPED, {FROM, TO, TOKEN, REASON}},
    [DIST_MONITOR_P] = {DIST_MONITOR_P, 3, SKIPPED, {FROM, TO_PROC, REF}},
    [DIST_DEMONITOR_P] = {DIST_DEMONITOR_P, 3, SKIPPED, {FROM, TO_PROC, REF}},
    [DIST_MONITOR_P_EXIT] = {DIST_MONITOR_P_EXIT, 4, SKIPPED, {FROM_PROC, TO, REF, REASON}},
    [DIST_SEND_SENDER] = {DIST_SEND, 2, FIELD(payload), {SENDER, TO}},
    [DIST_SEND_SENDER_TT] = {DIST_SEND, 3, FIELD(payload), {SENDER, TO, TOKEN}},
    [DIST_PAYLOAD_EXIT] = {DIST_EXIT, 2, FIELD(reason), {FROM, TO}},
    [DIST_PAYLOAD_EXIT_TT] = {DIST_EXIT, 3, FIELD(reason), {FROM, TO, TOKEN}},
    [DIST_PAYLOAD_EXIT2] = {DIST_EXIT2, 2, FIELD(reason), {FROM, TO}},
    [DIST_PAYLOAD_EXIT2_TT] = {DIST_EXIT2, 3, FIELD(reason), {FROM, TO, TOKEN}},
    [DIST_PAYLOAD_MONITOR_P_EXIT] = {DIST_MONITOR_P_EXIT, 3, FIELD(reason), {FROM_PROC, TO, REF}},
    [DIST_SPAWN_REQUEST] = {DIST_SPAWN_REQUEST, 5, FIELD(payload), {REF, FROM, GROUP_LEADER, MFA, OPTIONS}},
    [DIST_SPAWN_REQUEST_TT] = {DIST_SPAWN_REQUEST, 6, FIELD(payload), {REF, FROM, GROUP_LEADER, MFA, OPTIONS, TOKEN}},
    [DIST_SPAWN_REPLY] = {DIST_SPAWN_REPLY, 4, SKIPPED, {REF, TO, FLAGS, RESULT}},
    [DIST_SPAWN_REPLY_TT] = {DIST_SPAWN_REPLY, 5, SKIPPED, {REF, TO, FLAGS, RESULT, TOKEN}},
    [DIST_ALIAS_SEND] = {DIST_ALIAS_SEND, 2, FIELD(payload), {SENDER, REF}},
    [DIST_ALIAS_SEND_TT] = {DIST_ALIAS_SEND, 3, FIELD(payload), {SENDER, REF, TOKEN}},
    [DIST_UNLINK_ID] = {DIST_UNLINK_ID, 3, SKIPPED, {ID, FROM, TO}},
    [DIST_UNLINK_ID_ACK] = {DIST_UNLINK_ID_ACK, 3, SKIPPED, {ID, FROM, TO}},
};

_Static_assert(offsetof(struct dist_message, from) != SKIPPED, "offset 0 means that a field is stepped over");
_Static_assert(sizeof(struct dist_message) <= UINT8_MAX, "offsets are kept in a byte");

static struct slice *field_at(struct dist_message *m, uint8_t offset)
{
    return (struct slice *)(void *)((char *)m + offset);
}

/* One version byte and one whole term at the start of *rest; moves *rest behind it. */
static int take_term(struct slice *rest, struct slice *term, struct err *e)
{
    if (rest->len < 2 || (uint8_t)rest->ptr[0] != TERM_VERSION)
        return err_set(e, BG_EINVAL, 0, "no version byte before a term");
    size_t used;
    int rc = term_check(rest->ptr + 1, rest->len - 1, TERM_DEPTH_DEFAULT, &used, e);
    if (rc != BG_OK)
        return rc;
    *term = slice_make(rest->ptr + 1, used);
    *rest = slice_make(rest->ptr + 1 + used, rest->len - 1 - used);
    return BG_OK;
}

/* The kinds are looked at before anything is read: an element of the wrong kind is the sender's error, not ours to
 * guess. */
static int read_fields(struct term_reader *r, const struct shape *s, struct dist_message *m, struct err *e)
{
    for (unsigned i = 0; i < s->count; i++) {
        const struct field *f = &fields[s->fields[i]];
        struct slice term;
        if (term_skip(r, &term) != BG_OK)
            return err_set(e, BG_EINVAL, i + 1, "operation %u: field %u cannot be read", m->op, i + 1);
        if (!(f->kinds & 1u << term_kind(term)))
            return err_set(e, BG_EINVAL, i + 1, "operation %u: field %u is of the wrong kind", m->op, i + 1);
        if (f->offset != SKIPPED)
            *field_at(m, f->offset) = term;
    }
    return BG_OK;
}

/* Reads the control tuple; *s stays NULL for an operation that is not in the table. */
static int read_control(struct slice control, struct dist_message *m, const struct shape **s, struct err *e)
{
    struct term_reader r = term_reader(control);
    uint32_t arity;
    int64_t op;
    if (term_read_tuple(&r, &arity) != BG_OK || arity == 0 || term_read_int(&r, &op) != BG_OK || op < 0 ||
        op > UINT32_MAX)
        return err_set(e, BG_EINVAL, 0, "a control message is a tuple that begins with its operation");
    m->op = (uint32_t)op;
    if (op >= DIST_OP_COUNT || shapes[op].kind == DIST_UNKNOWN)
        return BG_OK;
    *s = &shapes[op];
    m->kind = (*s)->kind;
    if (arity != (*s)->count + 1u)
        return err_set(e, BG_EINVAL, 0, "operation %u has %u elements", m->op, arity);
    return read_fields(&r, *s, m, e);
}

/* Two terms at most: the control tuple, and the message where the shape has one. Both are checked whole before a field
 * of either is looked at. */
int dist_message_parse(struct slice packet, struct dist_message *m, struct err *e)
{
    *m = (struct dist_message){0};
    if (packet.len < 3 || (uint8_t)packet.ptr[0] != DIST_PASS_THROUGH)
        return err_set(e, BG_EINVAL, 0, "not a pass-through packet");
    struct slice rest = slice_make(packet.ptr + 1, packet.len - 1), control, message = SLICE_NONE;
    const struct shape *s = NULL;
    if (take_term(&rest, &control, e) != BG_OK)
        return BG_EINVAL;
    int rc = read_control(control, m, &s, e);
    if (rc != BG_OK || !s)
        return rc;
    if (s->payload == SKIPPED)
        return rest.len == 0 ? BG_OK : err_set(e, BG_EINVAL, 0, "operation %u: bytes after the message", m->op);
    rc = take_term(&rest, &message, e);
    if (rc == BG_ELIMIT)
        m->unread = slice_make(rest.ptr + 1, rest.len - 1);
    if (rc == BG_OK && rest.len != 0)
        return err_set(e, BG_EINVAL, 0, "operation %u: bytes after the message", m->op);
    *field_at(m, s->payload) = message;
    return rc;
}

/* The whole result, which is inside one tuple already: hence the depth. {ok, Value} is what services answer, and often
 * Value is a leaf. */
static bool check_result(const uint8_t *p, const uint8_t *end)
{
    static const char ok[] = "h\2w\2ok";
    enum { OK = sizeof(ok) - 1 };
    unsigned depth = TERM_DEPTH_DEFAULT - 1;
    if (end - p > OK && memcmp(p, ok, OK) == 0) {
        p += OK;
        depth--;
    }
    if (term_check_leaf(p, end) == end)
        return true;
    size_t used, len = (size_t)(end - p);
    return term_check(p, len, depth, &used, NULL) == BG_OK && used == len;
}

bool dist_message_answer(struct slice packet, struct slice to, struct dist_answer *a)
{
    static const char control[] = "p\203h\3a\26", message[] = "\203h\2";
    enum { CONTROL = sizeof(control) - 1, MESSAGE = sizeof(message) - 1 };
    struct term_reader r = term_reader(packet);
    if (packet.len < CONTROL || memcmp(r.p, control, CONTROL) != 0)
        return false;
    const uint8_t *from = r.p + CONTROL;
    r.p = term_check_leaf(from, r.end);
    if (!r.p || (size_t)(r.end - r.p) < to.len + MESSAGE || memcmp(r.p, to.ptr, to.len) != 0)
        return false;
    a->from = slice_make(from, (size_t)(r.p - from));
    r.p += to.len;
    if (memcmp(r.p, message, MESSAGE) != 0)
        return false;
    r.p += MESSAGE;
    if (!term_check_leaf(r.p, r.end) || term_read_int(&r, &a->tag) != BG_OK)
        return false;
    a->result = slice_make(r.p, (size_t)(r.end - r.p));
    return check_result(r.p, r.end);
}

int dist_message_mfa(struct slice mfa, struct slice *module, struct slice *function, uint32_t *arity)
{
    struct term_reader r = term_reader(mfa);
    uint32_t n;
    int64_t a;
    if (term_read_tuple(&r, &n) != BG_OK || n != 3 || term_read_atom(&r, module) != BG_OK ||
        term_read_atom(&r, function) != BG_OK || term_read_int(&r, &a) != BG_OK || a < 0 || a > UINT32_MAX)
        return BG_EINVAL;
    *arity = (uint32_t)a;
    return BG_OK;
}

void dist_put_head(struct buf *b, enum dist_op op, unsigned n)
{
    term_put_version(b);
    term_put_tuple(b, n + 1);
    term_put_int(b, op);
}

void dist_put_control(struct buf *b, enum dist_op op, const struct slice *terms, unsigned n)
{
    dist_put_head(b, op, n);
    for (unsigned i = 0; i < n; i++)
        term_put_raw(b, terms[i]);
}

void dist_put_reg_send(struct buf *b, struct slice from, struct slice name)
{
    dist_put_head(b, DIST_REG_SEND, 3);
    term_put_raw(b, from);
    term_put_atom(b, "");
    term_put_atom_slice(b, name);
    term_put_version(b);
}

void dist_put_send(struct buf *b, struct slice to)
{
    dist_put_head(b, DIST_SEND, 2);
    term_put_atom(b, "");
    term_put_raw(b, to);
    term_put_version(b);
}

void dist_put_alias_send(struct buf *b, struct slice from, struct slice ref)
{
    dist_put_head(b, DIST_ALIAS_SEND, 2);
    term_put_raw(b, from);
    term_put_raw(b, ref);
    term_put_version(b);
}
