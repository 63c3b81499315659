/* test_dist_message.c: every control message of 08 §2.2 as a value, and writing the ones that we send. */
#include "dist_message.h"
#include "erlang_text.h"

#define A "<svc@h:5.1>"
#define B "<gw@127.0.0.1:6.1>"
#define REF "&svc@h:1.2.3"
#define TOKEN "{1,2,3," A ",4}"

static struct buf packet;

static int setup(void **state)
{
    (void)state;
    buf_init(&packet, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&packet);
    return 0;
}

static int parse(const char *control, const char *message, struct dist_message *m)
{
    buf_reset(&packet);
    buf_putc(&packet, 112);
    term_put_version(&packet);
    put_text(&packet, control);
    if (message) {
        term_put_version(&packet);
        put_text(&packet, message);
    }
    struct err e;
    return dist_message_parse(buf_slice(&packet), m, &e);
}

static const char *show(struct slice term)
{
    static char out[8][160];
    static unsigned next;
    struct buf b;
    if (!term.len)
        return "-";
    struct term_reader r = term_reader(term);
    buf_init(&b, 0);
    text_print(&b, &r);
    assert_true(term_at_end(&r));
    char *text = slice_cstr(buf_slice(&b), out[next++ % 8], sizeof(out[0]));
    buf_fini(&b);
    return text;
}

struct sample {
    const char *control;
    const char *message;
    enum dist_op kind;
    const char *from, *to, *ref, *reason, *payload;
};

static const struct sample samples[] = {
    {"{1," A "," B "}", NULL, DIST_LINK, A, B, "-", "-", "-"},
    {"{2,''," B "}", "m", DIST_SEND, "-", B, "-", "-", "m"},
    {"{3," A "," B ",r}", NULL, DIST_EXIT, A, B, "-", "r", "-"},
    {"{4," A "," B "}", NULL, DIST_UNLINK, A, B, "-", "-", "-"},
    {"{6," A ",'',rex}", "m", DIST_REG_SEND, A, "rex", "-", "-", "m"},
    {"{7," A "," B "}", NULL, DIST_GROUP_LEADER, A, B, "-", "-", "-"},
    {"{8," A "," B ",r}", NULL, DIST_EXIT2, A, B, "-", "r", "-"},
    {"{12,''," B "," TOKEN "}", "m", DIST_SEND, "-", B, "-", "-", "m"},
    {"{13," A "," B "," TOKEN ",r}", NULL, DIST_EXIT, A, B, "-", "r", "-"},
    {"{16," A ",'',rex," TOKEN "}", "m", DIST_REG_SEND, A, "rex", "-", "-", "m"},
    {"{18," A "," B "," TOKEN ",r}", NULL, DIST_EXIT2, A, B, "-", "r", "-"},
    {"{19," A "," B "," REF "}", NULL, DIST_MONITOR_P, A, B, REF, "-", "-"},
    {"{19," A ",rex," REF "}", NULL, DIST_MONITOR_P, A, "rex", REF, "-", "-"},
    {"{20," A "," B "," REF "}", NULL, DIST_DEMONITOR_P, A, B, REF, "-", "-"},
    {"{21," A "," B "," REF ",r}", NULL, DIST_MONITOR_P_EXIT, A, B, REF, "r", "-"},
    {"{21,name," B "," REF ",r}", NULL, DIST_MONITOR_P_EXIT, "name", B, REF, "r", "-"},
    {"{22," A "," B "}", "m", DIST_SEND, A, B, "-", "-", "m"},
    {"{23," A "," B "," TOKEN "}", "m", DIST_SEND, A, B, "-", "-", "m"},
    {"{24," A "," B "}", "r", DIST_EXIT, A, B, "-", "r", "-"},
    {"{25," A "," B "," TOKEN "}", "r", DIST_EXIT, A, B, "-", "r", "-"},
    {"{26," A "," B "}", "r", DIST_EXIT2, A, B, "-", "r", "-"},
    {"{27," A "," B "," TOKEN "}", "r", DIST_EXIT2, A, B, "-", "r", "-"},
    {"{28," A "," B "," REF "}", "r", DIST_MONITOR_P_EXIT, A, B, REF, "r", "-"},
    {"{29," REF "," A "," A ",{m,f,1},[monitor]}", "[x]", DIST_SPAWN_REQUEST, A, "-", REF, "-", "[x]"},
    {"{30," REF "," A "," A ",{m,f,0},[]," TOKEN "}", "[]", DIST_SPAWN_REQUEST, A, "-", REF, "-", "[]"},
    {"{31," REF "," B ",2," A "}", NULL, DIST_SPAWN_REPLY, "-", B, REF, "-", "-"},
    {"{32," REF "," B ",2," A "," TOKEN "}", NULL, DIST_SPAWN_REPLY, "-", B, REF, "-", "-"},
    {"{33," A "," REF "}", "m", DIST_ALIAS_SEND, A, "-", REF, "-", "m"},
    {"{34," A "," REF "," TOKEN "}", "m", DIST_ALIAS_SEND, A, "-", REF, "-", "m"},
    {"{35,9," A "," B "}", NULL, DIST_UNLINK_ID, A, B, "-", "-", "-"},
    {"{36,9," A "," B "}", NULL, DIST_UNLINK_ID_ACK, A, B, "-", "-", "-"},
};

/* D-16 for those with a token; EXIT_PAYLOAD and plain forms give the same value. */
static void every_control_message_gives_its_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        const struct sample *s = &samples[i];
        struct dist_message m;
        if (parse(s->control, s->message, &m) != BG_OK)
            fail_msg("%s is refused", s->control);
        assert_int_equal(m.kind, s->kind);
        assert_string_equal(show(m.from), s->from);
        assert_string_equal(show(m.to), s->to);
        assert_string_equal(show(m.ref), s->ref);
        assert_string_equal(show(m.reason), s->reason);
        assert_string_equal(show(m.payload), s->payload);
    }
}

static void payload_must_be_there_exactly_where_it_belongs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct dist_message m;
        if (parse(samples[i].control, samples[i].message ? NULL : "extra", &m) != BG_EINVAL)
            fail_msg("%s is taken %s message", samples[i].control, samples[i].message ? "without its" : "with a");
    }
    struct dist_message m;
    assert_int_equal(parse("{2,''," B "}", "m", &m), BG_OK);
    buf_putc(&packet, 0x6a);
    struct err e;
    assert_int_equal(dist_message_parse(buf_slice(&packet), &m, &e), BG_EINVAL);
}

static void spawn_fields_are_there(void **state)
{
    (void)state;
    struct dist_message m;
    struct slice module, function;
    uint32_t arity;
    assert_int_equal(parse("{29," REF "," A "," B ",{mod,fn,300},[link]}", "[]", &m), BG_OK);
    assert_string_equal(show(m.group_leader), B);
    assert_string_equal(show(m.options), "[link]");
    assert_int_equal(dist_message_mfa(m.mfa, &module, &function, &arity), BG_OK);
    assert_slice_is(module, "mod");
    assert_slice_is(function, "fn");
    assert_int_equal(arity, 300);
    const char *const bad[] = {"{mod,fn}",    "{1,fn,0}",   "{mod,<<\"fn\">>,0}",
                               "{mod,fn,-1}", "{mod,fn,x}", "{mod,fn,0,0}"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct buf b;
        buf_init(&b, 0);
        put_text(&b, bad[i]);
        assert_int_equal(dist_message_mfa(buf_slice(&b), &module, &function, &arity), BG_EINVAL);
        buf_fini(&b);
    }
    assert_int_equal(parse("{31," REF "," B ",3,system_limit}", NULL, &m), BG_OK);
    assert_string_equal(show(m.flags), "3");
    assert_string_equal(show(m.result), "system_limit");
}

/* Unlink ids use all 64 bits: they are kept as the term they came as. */
static void unlink_id_is_kept_as_it_came(void **state)
{
    (void)state;
    struct dist_message m;
    struct err e;
    buf_reset(&packet);
    buf_putc(&packet, 112);
    term_put_version(&packet);
    term_put_tuple(&packet, 4);
    term_put_int(&packet, 35);
    size_t at = packet.len;
    term_put_uint(&packet, UINT64_MAX);
    struct buf id;
    buf_init(&id, 0);
    buf_add(&id, packet.data + at, packet.len - at);
    put_text(&packet, A);
    put_text(&packet, B);
    assert_int_equal(dist_message_parse(buf_slice(&packet), &m, &e), BG_OK);
    assert_true(slice_eq(m.id, buf_slice(&id)));
    buf_fini(&id);
}

static void unknown_operation_is_not_an_error(void **state)
{
    (void)state;
    struct dist_message m;
    assert_int_equal(parse("{37,0," A ",rex}", "m", &m), BG_OK);
    assert_int_equal(m.kind, DIST_UNKNOWN);
    assert_int_equal(m.op, 37);
    assert_int_equal(parse("{9999999}", NULL, &m), BG_OK);
    assert_int_equal(m.kind, DIST_UNKNOWN);
}

static void what_we_write_reads_back(void **state)
{
    (void)state;
    struct buf a, b, ref;
    struct dist_message m;
    struct err e;
    buf_init(&a, 0);
    buf_init(&b, 0);
    buf_init(&ref, 0);
    put_text(&a, A);
    put_text(&b, B);
    put_text(&ref, REF);
    const struct slice terms[] = {buf_slice(&b), buf_slice(&a), buf_slice(&ref)};
    buf_putc(&packet, 112);
    dist_put_control(&packet, DIST_MONITOR_P, terms, 3);
    assert_int_equal(dist_message_parse(buf_slice(&packet), &m, &e), BG_OK);
    assert_int_equal(m.kind, DIST_MONITOR_P);
    assert_string_equal(show(m.to), A);

    buf_reset(&packet);
    buf_putc(&packet, 112);
    dist_put_reg_send(&packet, buf_slice(&b), SLICE_LIT("rex"));
    term_put_nil(&packet);
    assert_int_equal(dist_message_parse(buf_slice(&packet), &m, &e), BG_OK);
    assert_string_equal(show(m.to), "rex");
    assert_string_equal(show(m.from), B);

    buf_reset(&packet);
    buf_putc(&packet, 112);
    dist_put_send(&packet, buf_slice(&a));
    term_put_nil(&packet);
    assert_int_equal(dist_message_parse(buf_slice(&packet), &m, &e), BG_OK);
    assert_string_equal(show(m.to), A);

    buf_reset(&packet);
    buf_putc(&packet, 112);
    dist_put_alias_send(&packet, buf_slice(&b), buf_slice(&ref));
    term_put_nil(&packet);
    assert_int_equal(dist_message_parse(buf_slice(&packet), &m, &e), BG_OK);
    assert_string_equal(show(m.ref), REF);
    buf_fini(&a);
    buf_fini(&b);
    buf_fini(&ref);
}

/* What dist_message_answer() takes must be what dist_message_parse() makes of the same bytes. */
static bool answer_agrees(struct slice bytes, struct slice to)
{
    struct dist_answer a;
    struct dist_message m;
    struct slice result;
    uint32_t n;
    int64_t tag;
    struct err e;
    char *copy = malloc(bytes.len ? bytes.len : 1); /* of exact size, for the sanitizer */
    assert_non_null(copy);
    if (bytes.len)
        memcpy(copy, bytes.ptr, bytes.len);
    bool taken = dist_message_answer(slice_make(copy, bytes.len), to, &a);
    if (taken) {
        assert_int_equal(dist_message_parse(slice_make(copy, bytes.len), &m, &e), BG_OK);
        assert_true(m.kind == DIST_SEND && m.op == DIST_SEND_SENDER && slice_eq(m.to, to) && slice_eq(m.from, a.from));
        struct term_reader r = term_reader(m.payload);
        assert_int_equal(term_read_tuple(&r, &n), BG_OK);
        assert_int_equal(term_read_int(&r, &tag), BG_OK);
        assert_int_equal(term_skip(&r, &result), BG_OK);
        assert_true(n == 2 && tag == a.tag && slice_eq(result, a.result) && term_at_end(&r));
    }
    free(copy);
    return taken;
}

static void put_send(const char *control, const char *message)
{
    struct dist_message m;
    assert_int_equal(parse(control, message, &m), BG_OK);
}

static void an_answer_is_what_the_whole_message_says(void **state)
{
    (void)state;
    static const struct {
        const char *control, *message;
        bool is_answer;
    } sends[] = {
        {"{22," A "," B "}", "{7,ok}", true},
        {"{22," A "," B "}", "{7000,{ok,<<\"text\">>}}", true},
        {"{22," A "," B "}", "{7,{ok,x}}", true},
        {"{22," A "," B "}", "{7,{ok,[[1],2]}}", true},
        {"{22," A "," B "}", "{7,{ok}}", true},
        {"{22," A "," B "}", "{7,{ok,1,2}}", true},
        {"{22," A "," B "}", "{1234567890123,{badrpc,{'EXIT',{undef,[{no,such,[1000],[]}]}}}}", true},
        {"{22," A "," B "}", "{9223372036854775807,#{a=>[1,2],b=>" REF "}}", true},
        {"{22," A "," B "}", "{-1,ok}", true},
        {"{22," A "," B "}", "{ok,7}", false},
        {"{22," A "," B "}", "{7,ok,1}", false},
        {"{22," A "," B "}", "{7}", false},
        {"{22," A "," B "}", "7", false},
        {"{22," A "," A "}", "{7,ok}", false},
        {"{23," A "," B "," TOKEN "}", "{7,ok}", false},
        {"{2,''," B "}", "{7,ok}", false},
    };
    struct buf to, sent;
    buf_init(&to, 0);
    buf_init(&sent, 0);
    put_text(&to, B);
    for (size_t i = 0; i < ARRAY_SIZE(sends); i++) {
        put_send(sends[i].control, sends[i].message);
        buf_reset(&sent);
        buf_add_slice(&sent, buf_slice(&packet));
        if (answer_agrees(buf_slice(&sent), buf_slice(&to)) != sends[i].is_answer)
            fail_msg("%s is taken otherwise", sends[i].message);
        for (size_t at = 0; at < sent.len; at++) {
            assert_false(answer_agrees(slice_make(sent.data, at), buf_slice(&to)));
            uint8_t was = sent.data[at];
            for (unsigned c = 0; c < 256; c++) {
                sent.data[at] = (uint8_t)c;
                (void)answer_agrees(buf_slice(&sent), buf_slice(&to));
            }
            sent.data[at] = was;
        }
        buf_putc(&sent, 106);
        assert_false(answer_agrees(buf_slice(&sent), buf_slice(&to)));
    }
    buf_fini(&to);
    buf_fini(&sent);
}

/* A result within its tuple, n tuples deep. */
static void an_answer_may_nest_as_deep_as_any_message(void **state)
{
    (void)state;
    struct buf to;
    buf_init(&to, 0);
    put_text(&to, B);
    for (int i = 0; i < 6; i++) {
        int n = TERM_DEPTH_DEFAULT - i % 3;
        bool ok = i / 3;
        struct dist_message m;
        struct err e;
        put_send("{22," A "," B "}", ok ? "{7,{ok,x}}" : "{7,x}");
        packet.len -= 3; /* x */
        for (int k = ok; k < n; k++)
            term_put_tuple(&packet, 1);
        term_put_nil(&packet);
        assert_true(answer_agrees(buf_slice(&packet), buf_slice(&to)) == (n < TERM_DEPTH_DEFAULT));
        assert_int_equal(dist_message_parse(buf_slice(&packet), &m, &e), n < TERM_DEPTH_DEFAULT ? BG_OK : BG_ELIMIT);
    }
    buf_fini(&to);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_control_message_gives_its_fields),
        TEST(payload_must_be_there_exactly_where_it_belongs),
        TEST(spawn_fields_are_there),
        TEST(unlink_id_is_kept_as_it_came),
        TEST(unknown_operation_is_not_an_error),
        TEST(what_we_write_reads_back),
        TEST(an_answer_is_what_the_whole_message_says),
        TEST(an_answer_may_nest_as_deep_as_any_message),
    };
    return cmocka_run_group_tests_name("dist_message", tests, NULL, NULL);
}
