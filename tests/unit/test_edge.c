/* test_edge.c: the edge against the conformance table (C-) and the recorded transcripts, over real sockets. */
#include "edge_harness.h"

/*
 * One conversation as text, a line each:
 *   > TEXT     send a text frame            < TEXT     expect exactly this text frame
 *   >b TEXT    send a binary frame          <close N   expect a close frame with code N and no text, then the end
 *   >p TEXT    send a ping                  <pong TEXT expect a pong
 *   >P TEXT    send a pong
 *   >f TEXT    text frame without FIN       >c TEXT    continuation with FIN    >n TEXT  continuation without
 *   >x N TEXT  frame with first byte N (hex)
 *   >raw TEXT  bytes as they stand, no frame
 * TEXT may hold \xNN. A conversation that does not end with <close must still answer a heartbeat at once, which proves that
 * nothing else was sent.
 */
struct conversation {
    const char *name; /* cites the cases */
    const char *query;
    const char *script;
};

static size_t unescape(const char *s, size_t len, char *dst)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned byte;
        if (i + 3 < len && s[i] == '\\' && s[i + 1] == 'x' && sscanf(s + i + 2, "%2x", &byte) == 1) {
            dst[n++] = (char)byte;
            i += 3;
        } else {
            dst[n++] = s[i];
        }
    }
    dst[n] = '\0';
    return n;
}

static void expect_frame(struct rig *r, int fd, int first, const char *want, size_t want_len)
{
    char got[4096];
    size_t len;
    int is = ws_recv(r, fd, got, sizeof(got), &len);
    if (is != first || len != want_len || memcmp(got, want, len) != 0)
        fail_msg("got  %02x %s\nwant %02x %s", is, is < 0 ? "(end of stream)" : got, first, want);
}

static bool step_is(const char *line, size_t len, const char *word, const char **text, size_t *text_len)
{
    size_t n = strlen(word);
    if (len < n || memcmp(line, word, n) != 0 || (len > n && line[n] != ' '))
        return false;
    *text = len > n ? line + n + 1 : line + n;
    *text_len = len > n ? len - n - 1 : 0;
    return true;
}

/* Runs one line; true when it was a close. */
static bool run_step(struct rig *r, int fd, const char *line, size_t len)
{
    static const struct {
        const char *word;
        bool send;
        int first;
    } steps[] = {
        {">", true, 0x81},  {">b", true, 0x82}, {">p", true, 0x89},    {">P", true, 0x8a},    {">f", true, 0x01},
        {">c", true, 0x80}, {">n", true, 0x00}, {"<pong", false, 0x8a}, {"<", false, 0x81},
    };
    const char *text;
    size_t n;
    char bytes[2048];
    if (step_is(line, len, "<close", &text, &n)) {
        expect_close(r, fd, (unsigned)atoi(text));
        return true;
    }
    if (step_is(line, len, ">raw", &text, &n)) {
        tcp_send(r, fd, bytes, unescape(text, n, bytes));
        return false;
    }
    if (step_is(line, len, ">x", &text, &n)) {
        int first = (int)strtol(text, NULL, 16);
        ws_send(r, fd, first, bytes, n > 3 ? unescape(text + 3, n - 3, bytes) : 0);
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        if (!step_is(line, len, steps[i].word, &text, &n))
            continue;
        n = unescape(text, n, bytes);
        if (steps[i].send)
            ws_send(r, fd, steps[i].first, bytes, n);
        else
            expect_frame(r, fd, steps[i].first, bytes, n);
        return false;
    }
    fail_msg("unknown step: %.*s", (int)len, line);
    return false;
}

static void run_conversation(struct rig *r, const struct conversation *c)
{
    int fd = ws_open(r, c->query);
    bool closed = false;
    const char *line = c->script;
    if (getenv("SHOW_CASES"))
        print_message("  %s\n", c->name);
    while (*line) {
        const char *end = strchr(line, '\n');
        size_t len = end ? (size_t)(end - line) : strlen(line);
        closed = run_step(r, fd, line, len) || closed;
        line += len + (end != NULL);
    }
    if (!closed)
        expect_heartbeat(r, fd, !strstr(c->query, "vsn=2"));
    close(fd);
    WAIT_FOR(r, edge_connections(r->edge) == 0);
    assert_int_equal(r->processes.slots.count, 0);
}

static void run_all(const struct conversation *c, size_t n)
{
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    for (size_t i = 0; i < n; i++)
        run_conversation(&r, &c[i]);
    rig_stop(&r);
}

#define V2 "vsn=2.0.0&user_id=u1"
#define JOIN                                                                                                           \
    "> [\"1\",\"1\",\"room:a\",\"phx_join\",{}]\n"                                                                     \
    "< [\"1\",\"1\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]\n"
#define UNMATCHED "{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}]\n"
#define OK_EMPTY "{\"status\":\"ok\",\"response\":{}}]\n"
#define OK_DONE "{\"status\":\"ok\",\"response\":\"done\"}]\n"
#define CRASH "< [\"1\",\"1\",\"room:a\",\"phx_error\",{\"reason\":\"channel_crash\"}]\n"

static const struct conversation heartbeats[] = {
    {"C-19 heartbeat", V2, "> [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"C-20 heartbeat with a join_ref", V2,
     "> [\"9\",\"1\",\"phoenix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"P-025 integer ref", V2, "> [null,3,\"phoenix\",\"heartbeat\",{}]\n< [null,3,\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"P-041 another event on phoenix", V2,
     "> [null,\"36\",\"phoenix\",\"nope\",{}]\n< [null,\"36\",\"phoenix\",\"phx_reply\"," UNMATCHED},
    {"C-65 array of six", V2, "> [null,\"2\",\"phoenix\",\"heartbeat\",{},1]\n< [null,\"2\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"white space around everything", V2,
     "> \\x20[ null , \"2\" ,\"phoenix\", \"heartbeat\" , {} ]\\x0a\n< [null,\"2\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"C-02 C-21 without vsn it is V1", "",
     "> {\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"1\"}\n"
     "< {\"ref\":\"1\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"topic\":\"phoenix\"}\n"},
    {"C-110 V1 in a binary frame", "vsn=1.0.0",
     ">b {\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"1\"}\n"
     "< {\"ref\":\"1\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"topic\":\"phoenix\"}\n"},
    {"C-04 a later patch level is V2", "vsn=2.0.7", ""},
};

static void heartbeats_are_answered(void **state)
{
    (void)state;
    run_all(heartbeats, ARRAY_SIZE(heartbeats));
}

static const struct conversation joins[] = {
    {"C-22 join", V2, JOIN},
    {"P-050 exact topic", V2,
     "> [\"1\",\"1\",\"lobby\",\"phx_join\",{}]\n< [\"1\",\"1\",\"lobby\",\"phx_reply\"," OK_EMPTY
     "> [\"2\",\"2\",\"lobby2\",\"phx_join\",{}]\n< [null,\"2\",\"lobby2\",\"phx_reply\"," UNMATCHED},
    {"C-27 unknown topic", V2, "> [\"5\",\"5\",\"nope:a\",\"phx_join\",{}]\n< [null,\"5\",\"nope:a\",\"phx_reply\"," UNMATCHED},
    {"C-107 topic is a number", V2, "> [\"1\",\"1\",5,\"phx_join\",{}]\n< [null,\"1\",5,\"phx_reply\"," UNMATCHED},
    {"C-108 join with a string payload", V2,
     "> [\"1\",\"1\",\"room:a\",\"phx_join\",\"str\"]\n< [\"1\",\"1\",\"room:a\",\"phx_reply\"," OK_EMPTY},
    {"transcript: integer refs", V2,
     "> [1,1,\"room:a\",\"phx_join\",{}]\n< [1,1,\"room:a\",\"phx_reply\"," OK_EMPTY
     "> [1,2,\"room:a\",\"api\",{}]\n< [1,null,\"room:a\",\"api\",{\"got\":{},\"user\":\"u1\"}]\n"
     "< [1,2,\"room:a\",\"phx_reply\"," OK_DONE},
    {"C-40 C-41 duplicate join, then a message for the old one", V2,
     JOIN "> [\"11\",\"11\",\"room:a\",\"phx_join\",{}]\n"
          "< [\"11\",\"11\",\"room:a\",\"phx_reply\"," OK_EMPTY "< [\"1\",\"1\",\"room:a\",\"phx_close\",{}]\n"
          "> [\"1\",\"12\",\"room:a\",\"api\",{}]\n"
          "> [\"11\",\"13\",\"room:a\",\"api\",{}]\n< [\"11\",null,\"room:a\",\"api\",{\"got\":{},\"user\":\"u1\"}]\n"
          "< [\"11\",\"13\",\"room:a\",\"phx_reply\"," OK_DONE},
    {"P-051 duplicate join with the same join_ref", V2,
     JOIN "> [\"1\",\"10\",\"room:a\",\"phx_join\",{}]\n"
          "< [\"1\",\"10\",\"room:a\",\"phx_reply\"," OK_EMPTY "< [\"1\",\"1\",\"room:a\",\"phx_close\",{}]\n"},
    {"P-052 join_ref null: replies carry null, pushes the ref of the join, closes null", V2,
     "> [null,\"7\",\"room:a\",\"phx_join\",{}]\n< [null,\"7\",\"room:a\",\"phx_reply\"," OK_EMPTY
     "> [\"99\",\"8\",\"room:a\",\"api\",{}]\n< [\"7\",null,\"room:a\",\"api\",{\"got\":{},\"user\":\"u1\"}]\n"
     "< [\"7\",\"8\",\"room:a\",\"phx_reply\"," OK_DONE
     "> [null,\"9\",\"room:a\",\"nope\",{}]\n< [null,null,\"room:a\",\"phx_error\",{\"reason\":\"channel_crash\"}]\n"},
    {"topic with escapes is the same topic", V2,
     "> [\"1\",\"1\",\"room:\\u0061\",\"phx_join\",{}]\n< [\"1\",\"1\",\"room:a\",\"phx_reply\"," OK_EMPTY
     "> [\"1\",\"2\",\"room:a\",\"phx_leave\",{}]\n< [\"1\",\"2\",\"room:a\",\"phx_reply\"," OK_EMPTY
     "< [\"1\",\"1\",\"room:a\",\"phx_close\",{}]\n"},
    {"V1 join and close", "vsn=1.0.0&user_id=u1",
     "> {\"topic\":\"room:a\",\"event\":\"phx_join\",\"payload\":{},\"ref\":\"1\"}\n"
     "< {\"ref\":\"1\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"topic\":\"room:a\"}\n"
     "> {\"topic\":\"room:a\",\"event\":\"api\",\"payload\":[],\"ref\":\"2\"}\n"
     "< {\"ref\":null,\"event\":\"api\",\"payload\":{\"got\":[],\"user\":\"u1\"},\"topic\":\"room:a\"}\n"
     "< {\"ref\":\"2\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":\"done\"},\"topic\":\"room:a\"}\n"
     /* C-109 */
     "> {\"topic\":\"room:a\",\"event\":\"phx_leave\",\"payload\":{},\"ref\":\"5\"}\n"
     "< {\"ref\":\"5\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"topic\":\"room:a\"}\n"
     "< {\"ref\":null,\"event\":\"phx_close\",\"payload\":{},\"topic\":\"room:a\"}\n"},
};

static void joins_answer_as_recorded(void **state)
{
    (void)state;
    run_all(joins, ARRAY_SIZE(joins));
}

static const struct conversation messages[] = {
    {"C-28 not joined", V2, "> [\"1\",\"6\",\"room:a\",\"api\",{}]\n< [null,\"6\",\"room:a\",\"phx_reply\"," UNMATCHED},
    {"C-29 reply with the same ref", V2,
     JOIN "> [\"1\",\"7\",\"room:a\",\"api\",{\"v\":[1,null,\"x\"]}]\n"
          "< [\"1\",null,\"room:a\",\"api\",{\"got\":{\"v\":[1,null,\"x\"]},\"user\":\"u1\"}]\n"
          "< [\"1\",\"7\",\"room:a\",\"phx_reply\"," OK_DONE},
    {"C-30 ref null", V2,
     JOIN "> [\"1\",null,\"room:a\",\"api\",1]\n< [\"1\",null,\"room:a\",\"api\",{\"got\":1,\"user\":\"u1\"}]\n"
          "< [\"1\",null,\"room:a\",\"phx_reply\"," OK_DONE},
    {"C-31 integer ref", V2,
     JOIN "> [\"1\",7,\"room:a\",\"api\",1]\n< [\"1\",null,\"room:a\",\"api\",{\"got\":1,\"user\":\"u1\"}]\n"
          "< [\"1\",7,\"room:a\",\"phx_reply\"," OK_DONE},
    {"C-32 join_ref null is delivered", V2,
     JOIN "> [null,\"8\",\"room:a\",\"api\",1]\n< [\"1\",null,\"room:a\",\"api\",{\"got\":1,\"user\":\"u1\"}]\n"
          "< [\"1\",\"8\",\"room:a\",\"phx_reply\"," OK_DONE},
    {"C-33 stale join_ref is ignored", V2, JOIN "> [\"99\",\"9\",\"room:a\",\"api\",{}]\n"},
    {"P-0561 topic null", V2,
     JOIN "> [\"1\",\"2\",null,\"api\",{}]\n< [null,\"2\",null,\"phx_reply\"," UNMATCHED},
    {"P-0561 event is a number", V2, JOIN "> [\"1\",\"2\",\"room:a\",5,{}]\n" CRASH},
    {"C-42 C-43 C-44 P-066 event without a clause, message after it, rejoin", V2,
     JOIN "> [\"1\",\"15\",\"room:a\",\"nope\",{}]\n" CRASH
          "> [\"1\",\"16\",\"room:a\",\"api\",{}]\n< [null,\"16\",\"room:a\",\"phx_reply\"," UNMATCHED
          "> [\"17\",\"17\",\"room:a\",\"phx_join\",{}]\n< [\"17\",\"17\",\"room:a\",\"phx_reply\"," OK_EMPTY},
    {"C-48 one crashes, the other answers", V2,
     JOIN "> [\"2\",\"2\",\"room:b\",\"phx_join\",{}]\n< [\"2\",\"2\",\"room:b\",\"phx_reply\"," OK_EMPTY
          "> [\"1\",\"3\",\"room:a\",\"crash\",{}]\n" CRASH
          "> [\"2\",\"4\",\"room:b\",\"api\",1]\n< [\"2\",null,\"room:b\",\"api\",{\"got\":1,\"user\":\"u1\"}]\n"
          "< [\"2\",\"4\",\"room:b\",\"phx_reply\"," OK_DONE},
    {"C-53 binary push on the API event", V2,
     JOIN ">b \\x00\\x01\\x02\\x06\\x03\\x31" "23room:aapi\\x01\\x02\\x03\\xff\n"
          "< [\"1\",null,\"room:a\",\"api\",{\"got\":\"binary\",\"user\":\"u1\"}]\n"
          "< [\"1\",\"23\",\"room:a\",\"phx_reply\"," OK_DONE},
    {"P-030 binary push with an empty join_ref is stale", V2, JOIN ">b \\x00\\x00\\x02\\x06\\x03" "23room:aapi\\x01\n"},
    {"P-030 binary push for a topic that is not joined", V2,
     ">b \\x00\\x01\\x02\\x06\\x03\\x31" "23room:aapi\\x01\n< [null,\"23\",\"room:a\",\"phx_reply\"," UNMATCHED},
    {"a push that was taken back leaves no trace", V2, JOIN "> [\"1\",\"7\",\"room:a\",\"api\",\"taken back\"]\n"},
};

static void messages_reach_their_channel(void **state)
{
    (void)state;
    run_all(messages, ARRAY_SIZE(messages));
}

#define LEFT(ref)                                                                                                      \
    "< [\"1\",\"" ref "\",\"room:a\",\"phx_reply\"," OK_EMPTY "< [\"1\",\"1\",\"room:a\",\"phx_close\",{}]\n"

static const struct conversation leaves[] = {
    {"C-34 stale leave is ignored, still joined", V2,
     JOIN "> [\"99\",\"10\",\"room:a\",\"phx_leave\",{}]\n"
          "> [\"1\",\"11\",\"room:a\",\"api\",1]\n< [\"1\",null,\"room:a\",\"api\",{\"got\":1,\"user\":\"u1\"}]\n"
          "< [\"1\",\"11\",\"room:a\",\"phx_reply\"," OK_DONE},
    {"C-35 leave with join_ref null", V2, JOIN "> [null,\"11\",\"room:a\",\"phx_leave\",{}]\n" LEFT("11")},
    {"C-36 C-38 C-39 leave, then a message, then leave again", V2,
     JOIN "> [\"1\",\"12\",\"room:a\",\"phx_leave\",{}]\n" LEFT("12")
          "> [\"1\",\"13\",\"room:a\",\"api\",{}]\n< [null,\"13\",\"room:a\",\"phx_reply\"," UNMATCHED
          "> [\"1\",\"14\",\"room:a\",\"phx_leave\",{}]\n< [\"1\",\"14\",\"room:a\",\"phx_reply\"," OK_EMPTY},
    {"P-061 leave of a topic that was never joined", V2,
     "> [\"20\",\"14\",\"api:other\",\"phx_leave\",{}]\n< [\"20\",\"14\",\"api:other\",\"phx_reply\"," OK_EMPTY},
};

static void leaves_answer_as_recorded(void **state)
{
    (void)state;
    run_all(leaves, ARRAY_SIZE(leaves));
}

static const struct conversation malformed[] = {
    {"C-60 bad JSON", V2, JOIN "> {bad\n<close 1011\n"},
    {"C-61 object on V2", V2, "> {\"topic\":\"phoenix\"}\n<close 1011\n"},
    {"C-62 array of four", V2, "> [\"1\",\"2\",\"t\",\"e\"]\n<close 1011\n"},
    {"C-63 array on V1", "", "> [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n<close 1011\n"},
    {"C-64 V1 without ref", "", "> {\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{}}\n<close 1011\n"},
    {"P-070 empty text frame", V2, ">\n<close 1011\n"},
    {"P-070 empty binary frame", V2, ">b\n<close 1011\n"},
    {"C-59 unknown binary kind", V2, ">b \\x07\\x00\\x00\\x00\\x00\n<close 1011\n"},
    {"transcript: binary frame of three bytes", V2, ">b \\x01\\x02\\x03\n<close 1011\n"},
    {"E-2341 trailing garbage", V2, "> [null,\"1\",\"phoenix\",\"heartbeat\",{}]x\n<close 1011\n"},
    {"E-2341 leading zero", V2, "> [null,01,\"phoenix\",\"heartbeat\",{}]\n<close 1011\n"},
    {"C-66 text FF FE", V2, "> \\xff\\xfe\n<close 1007\n"},
    {"transcript: text C3 28", V2, "> \\xc3\\x28\n<close 1007\n"},
    {"P-071 bad UTF-8 inside good JSON", V2, "> [null,\"\\xc3\\x28\",\"phoenix\",\"heartbeat\",{}]\n<close 1007\n"},
    {"answers of the same read come before the close", V2,
     ">raw \\x81\\xa3\\x00\\x00\\x00\\x00[null,\"1\",\"phoenix\",\"heartbeat\",{}]\\x81\\x81\\x00\\x00\\x00\\x00x\n"
     "< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY "<close 1011\n"},
};

static void malformed_messages_close_with_the_recorded_code(void **state)
{
    (void)state;
    run_all(malformed, ARRAY_SIZE(malformed));
}

#define X10 "xxxxxxxxxx"
#define X130 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

static const struct conversation framing[] = {
    {"C-70 ping", V2, ">p abc\n<pong abc\n"},
    {"ping without payload", V2, ">p\n<pong\n"},
    {"P-081 unsolicited pong", V2, ">P abc\n"},
    {"pong that is not UTF-8 after a text message", V2,
     "> [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY ">P \\xff\\xfe\n"},
    {"C-71 fragmented with a ping between", V2,
     ">f [null,\"1\",\"phoe\n>p p\n<pong p\n>c nix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"a character split between fragments, a pong between", V2,
     ">f [null,\"\\xc3\n>P \\xff\n>c \\xa9\",\"phoenix\",\"heartbeat\",{}]\n"
     "< [null,\"\\xc3\\xa9\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"first fragment empty", V2,
     ">f\n>c [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"last fragment empty", V2,
     ">f [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n>c\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"C-68 reserved opcode 3", V2, ">x 83 x\n<close 1002\n"},
    {"P-077 reserved control opcode 11", V2, ">x 8b x\n<close 1002\n"},
    {"C-68 stray continuation", V2, ">c x\n<close 1002\n"},
    {"C-68 RSV1", V2, ">x c1 x\n<close 1002\n"},
    {"P-077 RSV2", V2, ">x a1 x\n<close 1002\n"},
    {"P-077 RSV3", V2, ">x 91 x\n<close 1002\n"},
    {"P-077 new data frame inside a fragmented message", V2, ">f a\n> b\n<close 1002\n"},
    {"P-077 fragmented ping", V2, ">x 09 x\n<close 1002\n"},
    {"P-077 ping of 130 bytes", V2, ">p " X130 "\n<close 1002\n"},
    {"P-078 empty continuation without FIN", V2, ">f a\n>n\n<close 1008\n"},
    {"length with the top bit set", V2, ">raw \\x81\\xff\\x80\\x00\\x00\\x00\\x00\\x00\\x00\\x00\n<close 1002\n"},
    {"P-075 announced length of 2^62", V2,
     ">raw \\x81\\xff\\x40\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x01\\x01\\x01x\n<close 1009\n"},
    {"C-72 close 1000", V2, JOIN ">x 88 \\x03\\xe8\n<close 1000\n"},
    {"C-72 close 4001 with a reason", V2, ">x 88 \\x0f\\xa1" "bye\n<close 1000\n"},
    {"C-72 close without a code", V2, ">x 88\n<close 1000\n"},
    {"P-077 close with one byte", V2, ">x 88 x\n<close 1002\n"},
    {"C-73 close 1005", V2, ">x 88 \\x03\\xed\n<close 1002\n"},
    {"P-080 close 2999", V2, ">x 88 \\x0b\\xb7\n<close 1002\n"},
    {"P-080 close 999", V2, ">x 88 \\x03\\xe7\n<close 1002\n"},
    {"P-080 close 5000", V2, ">x 88 \\x13\\x88\n<close 1002\n"},
    {"close reason that is not UTF-8", V2, ">x 88 \\x03\\xe8\\xff\n<close 1007\n"},
};

static void frames_are_judged_as_rfc_6455_says(void **state)
{
    (void)state;
    run_all(framing, ARRAY_SIZE(framing));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heartbeats_are_answered),
        cmocka_unit_test(joins_answer_as_recorded),
        cmocka_unit_test(messages_reach_their_channel),
        cmocka_unit_test(leaves_answer_as_recorded),
        cmocka_unit_test(malformed_messages_close_with_the_recorded_code),
        cmocka_unit_test(frames_are_judged_as_rfc_6455_says),
    };
    return cmocka_run_group_tests_name("edge", tests, NULL, NULL);
}
