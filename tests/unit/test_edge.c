/* test_edge.c: the edge against the conformance table (C-) and the recorded transcripts, over real sockets. */
#define _GNU_SOURCE 1 /* strcasestr */
#include "edge_harness.h"

#include "process_state.h"

#include <malloc.h>
#include <sys/resource.h>

#include "log.h"

/*
 * One conversation as text, a line each:
 *   > TEXT     send a text frame            < TEXT     expect exactly this text frame
 *   >b TEXT    send a binary frame          <close N   expect a close frame with code N and no text, then the end
 *   >p TEXT    send a ping                  <pong TEXT expect a pong
 *   >P TEXT    send a pong
 *   >f TEXT    text frame without FIN       >c TEXT    continuation with FIN    >n TEXT  continuation without
 *   >x N TEXT  frame with first byte N (hex)
 *   >raw TEXT  bytes as they stand, no frame      >turn   lets the edge read what was sent so far
 * TEXT may hold \xNN. A conversation that does not end with <close must still answer a heartbeat at once, which proves
 * that nothing else was sent.
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
        {">", true, 0x81},  {">b", true, 0x82}, {">p", true, 0x89},     {">P", true, 0x8a}, {">f", true, 0x01},
        {">c", true, 0x80}, {">n", true, 0x00}, {"<pong", false, 0x8a}, {"<", false, 0x81},
    };
    const char *text;
    size_t n;
    char bytes[2048];
    if (step_is(line, len, "<close", &text, &n)) {
        expect_close(r, fd, (unsigned)atoi(text));
        return true;
    }
    if (step_is(line, len, ">turn", &text, &n)) {
        for (int i = 0; i < 10; i++)
            rig_turn(r);
        return false;
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
    {"C-19 heartbeat", V2,
     "> [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"C-20 heartbeat with a join_ref", V2,
     "> [\"9\",\"1\",\"phoenix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"P-025 integer ref", V2, "> [null,3,\"phoenix\",\"heartbeat\",{}]\n< [null,3,\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"P-041 another event on phoenix", V2,
     "> [null,\"36\",\"phoenix\",\"nope\",{}]\n< [null,\"36\",\"phoenix\",\"phx_reply\"," UNMATCHED},
    {"C-65 array of six", V2,
     "> [null,\"2\",\"phoenix\",\"heartbeat\",{},1]\n< [null,\"2\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"white space around everything", V2,
     "> \\x20[ null , \"2\" ,\"phoenix\", \"heartbeat\" , {} ]\\x0a\n< "
     "[null,\"2\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"C-02 C-21 without vsn it is V1", "",
     "> {\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"1\"}\n"
     "< "
     "{\"ref\":\"1\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"topic\":\"phoenix\"}\n"},
    {"C-110 V1 in a binary frame", "vsn=1.0.0",
     ">b {\"topic\":\"phoenix\",\"event\":\"heartbeat\",\"payload\":{},\"ref\":\"1\"}\n"
     "< "
     "{\"ref\":\"1\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":{}},\"topic\":\"phoenix\"}\n"},
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
    {"C-27 unknown topic", V2,
     "> [\"5\",\"5\",\"nope:a\",\"phx_join\",{}]\n< [null,\"5\",\"nope:a\",\"phx_reply\"," UNMATCHED},
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
     "< "
     "{\"ref\":\"2\",\"event\":\"phx_reply\",\"payload\":{\"status\":\"ok\",\"response\":\"done\"},\"topic\":\"room:"
     "a\"}\n"
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
    {"P-0561 topic null", V2, JOIN "> [\"1\",\"2\",null,\"api\",{}]\n< [null,\"2\",null,\"phx_reply\"," UNMATCHED},
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
     JOIN ">b \\x00\\x01\\x02\\x06\\x03\\x31"
          "23room:aapi\\x01\\x02\\x03\\xff\n"
          "< [\"1\",null,\"room:a\",\"api\",{\"got\":\"binary\",\"user\":\"u1\"}]\n"
          "< [\"1\",\"23\",\"room:a\",\"phx_reply\"," OK_DONE},
    {"P-030 binary push with an empty join_ref is stale", V2,
     JOIN ">b \\x00\\x00\\x02\\x06\\x03"
          "23room:aapi\\x01\n"},
    {"P-030 binary push for a topic that is not joined", V2,
     ">b \\x00\\x01\\x02\\x06\\x03\\x31"
     "23room:aapi\\x01\n< [null,\"23\",\"room:a\",\"phx_reply\"," UNMATCHED},
    {"E-152 want: the client stops a stream", V2,
     JOIN "> [\"1\",\"7\",\"room:a\",\"api:stop\",{\"request_id\":\"s\"}]\n< [\"1\",\"7\",\"room:a\",\"phx_reply\"," OK_EMPTY
          "> [\"1\",\"8\",\"room:a\",\"api:stop\",{\"request_id\":\"t\"}]\n"
          "< [\"1\",\"8\",\"room:a\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"no such stream\"}}]\n"
          "> [\"1\",\"9\",\"room:a\",\"api:stop\",5]\n"
          "< [\"1\",\"9\",\"room:a\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"no such stream\"}}]\n"},
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
     JOIN "> [\"1\",\"12\",\"room:a\",\"phx_leave\",{}]\n" LEFT(
         "12") "> [\"1\",\"13\",\"room:a\",\"api\",{}]\n< [null,\"13\",\"room:a\",\"phx_reply\"," UNMATCHED
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
     "> [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY
     ">P \\xff\\xfe\n"},
    {"C-71 fragmented with a ping between", V2,
     ">f [null,\"1\",\"phoe\n>p p\n<pong p\n>c nix\",\"heartbeat\",{}]\n< "
     "[null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
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
    {"C-67 unmasked frame", V2, ">raw \\x81\\x23[null,\"1\",\"phoenix\",\"heartbeat\",{}]\n<close 1002\n"},
    {"unmasked frame with a long length", V2, ">raw \\x81\\x7e\\x00\\x82" X130 "\n<close 1002\n"},
    {"unmasked frame behind a masked one", V2,
     ">raw \\x81\\xa3\\x00\\x00\\x00\\x00[null,\"1\",\"phoenix\",\"heartbeat\",{}]\\x81\\x01x\n"
     "< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY "<close 1002\n"},
    {"masked frames with longer lengths than needed", V2,
     ">raw \\x81\\xfe\\x00\\x23\\x00\\x00\\x00\\x00[null,\"1\",\"phoenix\",\"heartbeat\",{}]\n"
     "< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY
     ">raw "
     "\\x81\\xff\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x23\\x00\\x00\\x00\\x00[null,\"1\",\"phoenix\",\"heartbeat\",{}]\n"
     "< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"a header and its payload in two reads", V2,
     ">raw \\x81\\xa3\\x00\\x00\\x00\\x00\n>turn\n>raw [null,\"1\",\"phoenix\",\"heartbeat\",{}]\n"
     "< [null,\"1\",\"phoenix\",\"phx_reply\"," OK_EMPTY},
    {"C-72 close 1000", V2, JOIN ">x 88 \\x03\\xe8\n<close 1000\n"},
    {"C-72 close 4001 with a reason", V2,
     ">x 88 \\x0f\\xa1"
     "bye\n<close 1000\n"},
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

/* --- HTTP --------------------------------------------------------------------------------------------------------- */

#define HOST "Host: 127.0.0.1:4000\r\n"
#define UPGRADE_WITHOUT_KEY "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
#define UPGRADE UPGRADE_WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define GET_WS(query, headers) "GET /socket/websocket" query " HTTP/1.1\r\n" headers "\r\n"
#define BAD_REQUEST_LINE "HTTP/1.0 400 Bad Request\r\nconnection: close\r\n\r\n"

static const struct exchange {
    const char *name;
    const char *request;
    const char *status; /* how the answer begins */
    const char *body;   /* how it ends, behind the empty line; NULL: empty */
} exchanges[] = {
    {"C-03 vsn 3.0.0", GET_WS("?vsn=3.0.0", HOST UPGRADE), "HTTP/1.1 403 Forbidden\r\n", NULL},
    {"C-03 vsn 123.1.1", GET_WS("?vsn=123.1.1", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn 2.0", GET_WS("?vsn=2.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn 2.1.0", GET_WS("?vsn=2.1.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn[]=2", GET_WS("?vsn[]=2", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"C-03 vsn%5b%5d=2", GET_WS("?vsn%5b%5d=2", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"transcript: vsn abc", GET_WS("?vsn=abc", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"vsn 02.0.0 is no version", GET_WS("?vsn=02.0.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"vsn 2.0.0-rc.1 comes before 2.0.0", GET_WS("?vsn=2.0.0-rc.1", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"vsn empty", GET_WS("?vsn=", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"the last of two vsn counts", GET_WS("?vsn=2.0.0&vsn=3.0.0", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"user id that is not UTF-8", GET_WS("?vsn=2.0.0&user_id=%ff", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"user id with a NUL", GET_WS("?vsn=2.0.0&user_id=a%00", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"broken percent sign", GET_WS("?vsn=2.0.0&user_id=%4", HOST UPGRADE), "HTTP/1.1 403 ", NULL},
    {"upgrade in HTTP/1.0, which has none (RFC 6455 4.2.1)",
     "GET /socket/websocket?vsn=2.0.0 HTTP/1.0\r\n" HOST UPGRADE "\r\n", "HTTP/1.1 400 ", "HTTP version HTTP/1.0 unsupported"},
    {"two keys (RFC 6455 11.3.1)", GET_WS("?vsn=2.0.0", HOST UPGRADE "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
     "HTTP/1.1 400 ", "'sec-websocket-key' header must come once"},
    {"C-17 plain GET", GET_WS("?vsn=2.0.0", "Host: x\r\n"), "HTTP/1.1 400 Bad Request\r\n",
     "'connection' header must contain 'upgrade', got []"},
    {"connection without upgrade", GET_WS("?vsn=2.0.0", "Host: x\r\nConnection: keep-alive\r\nConnection: a\"b\r\n"),
     "HTTP/1.1 400 ", "'connection' header must contain 'upgrade', got [\"keep-alive\", \"a\\\"b\"]"},
    {"h2c is refused",
     GET_WS("?vsn=2.0.0", "Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                          "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
     "HTTP/1.1 400 ", "'upgrade' header must contain 'websocket', got [\"h2c\"]"},
    {"transcript: no key", GET_WS("?vsn=2.0.0", "Host: x\r\n" UPGRADE_WITHOUT_KEY), "HTTP/1.1 400 ",
     "'sec-websocket-key' header is absent"},
    {"transcript: version 8",
     GET_WS("?vsn=2.0.0", "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
     "HTTP/1.1 400 ", "'sec-websocket-version' header must equal '13', got [\"8\"]"},
    {"P-008 vsn is judged before the headers", GET_WS("?vsn=3.0.0", "Host: x\r\n"), "HTTP/1.1 403 ", NULL},
    {"C-18 POST", "POST /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ",
     NULL},
    {"P-008 the method is judged before vsn", "PUT /socket/websocket?vsn=9 HTTP/1.1\r\nHost: x\r\n\r\n",
     "HTTP/1.1 400 ", NULL},
    {"POST with a body", "POST /socket/websocket HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
     "HTTP/1.1 400 ", NULL},
    {"transcript: wrong path", "GET /socket/websocketx?vsn=2.0.0 HTTP/1.1\r\n" HOST UPGRADE "\r\n",
     "HTTP/1.1 404 Not Found\r\n", "not found"},
    {"P-002 bare socket path", "GET /socket HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 ", "not found"},
    {"transcript: longpoll", "GET /socket/longpoll?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ",
     "not found"},
    {"transcript: no Host", GET_WS("?vsn=2.0.0", UPGRADE), BAD_REQUEST_LINE, NULL},
    {"two Hosts", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"transcript: not HTTP at all", "hello\r\n", BAD_REQUEST_LINE, NULL},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"folded header", "GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"blank before the colon", "GET /health HTTP/1.1\r\nHost : x\r\n\r\n", BAD_REQUEST_LINE, NULL},
    {"bare line feeds", "GET /health HTTP/1.1\nHost: x\n\n", BAD_REQUEST_LINE, NULL},
    {"C-07 another host", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: https://example.com\r\n" UPGRADE), "HTTP/1.1 403 ",
     NULL},
    {"C-13 Origin null", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: null\r\n" UPGRADE), "HTTP/1.1 403 ", NULL},
    {"Origin twice", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: http://x\r\nOrigin: http://x\r\n" UPGRADE),
     "HTTP/1.1 403 ", NULL},
    {"P-008 a bad Origin wins over bad upgrade headers", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: http://y\r\n"),
     "HTTP/1.1 403 ", NULL},
    {"C-08 the Origin passes, the missing headers do not", GET_WS("?vsn=2.0.0", "Host: x\r\nOrigin: http://x:81\r\n"),
     "HTTP/1.1 400 ", "'connection' header must contain 'upgrade', got []"},
    {"P-008 the method is judged before the Origin",
     "POST /socket/websocket HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ", NULL},
    {"health", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "{\"status\":\"ok\"}"},
    {"health of a probe that speaks 1.0", "GET /health HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "{\"status\":\"ok\"}"},
    {"health asked with HEAD", "HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", NULL},
    {"health asked with DELETE", "DELETE /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", NULL},
    {"absolute form", "GET http://x/health?a=b HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "{\"status\":\"ok\"}"},
    {"no console, no page", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "not found"},
    {"no console, no functions", "GET /functions.json HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "not found"},
    {"path traversal", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ", "not found"},
    {"path traversal, encoded", "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ",
     "not found"},
};

static void check_exchange(struct rig *r, const struct exchange *x)
{
    char answer[4096];
    if (getenv("SHOW_CASES"))
        print_message("  %s\n", x->name);
    http_exchange(r, x->request, answer, sizeof(answer));
    const char *body = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, x->status, strlen(x->status)) != 0 || !body || strcmp(body + 4, x->body ? x->body : "") != 0)
        fail_msg("%s: got\n%s", x->name, answer);
}

static void http_answers_as_recorded(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    for (size_t i = 0; i < ARRAY_SIZE(exchanges); i++)
        check_exchange(&r, &exchanges[i]);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_CONNECTED], 0);
    rig_stop(&r);
}

static void upgrade_answer_offers_nothing_that_was_not_meant(void **state)
{
    (void)state;
    static const char request[] =
        "GET /socket/websocket/?vsn=2.0.0 HTTP/1.1\r\n" HOST UPGRADE
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        /* P-017: any subprotocol is accepted and none is answered; tokens are longer than lws could take */
        "Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx." X130 X130 "\r\n\r\n";
    struct rig r;
    char answer[1024] = "";
    size_t n = 0;
    rig_init(&r);
    rig_start(&r);
    int fd = tcp_open(&r);
    tcp_send(&r, fd, request, strlen(request));
    while (!strstr(answer, "\r\n\r\n") && tcp_recv(&r, fd, answer + n, 1))
        answer[++n] = '\0';
    assert_int_equal(strncmp(answer, "HTTP/1.1 101 Switching Protocols\r\n", 34), 0);
    /* The accept value of RFC 6455 section 1.3. */
    assert_non_null(strstr(answer, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_null(strcasestr(answer, "extensions"));
    assert_null(strcasestr(answer, "protocol:"));
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

static void frames_right_behind_the_request_are_read(void **state)
{
    (void)state;
    struct rig r;
    char bytes[1024], answer[512] = "";
    static const char beat[] = "[null,\"1\",\"phoenix\",\"heartbeat\",{}]";
    rig_init(&r);
    rig_start(&r);
    int fd = tcp_open(&r);
    size_t n = (size_t)snprintf(bytes, sizeof(bytes), "%s", GET_WS("?vsn=2.0.0", HOST UPGRADE)), got = 0;
    n += frame_make((uint8_t *)bytes + n, 0x81, beat, strlen(beat));
    tcp_send(&r, fd, bytes, n);
    while (!strstr(answer, "\r\n\r\n") && tcp_recv(&r, fd, answer + got, 1))
        answer[++got] = '\0';
    expect_text(&r, fd, "[null,\"1\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    close(fd);
    rig_stop(&r);
}

static void request_head_may_come_byte_by_byte(void **state)
{
    (void)state;
    static const char request[] = GET_WS("?vsn=2.0.0", HOST UPGRADE);
    struct rig r;
    char answer[512] = "";
    size_t got = 0;
    rig_init(&r);
    rig_start(&r);
    int fd = tcp_open(&r);
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        tcp_send(&r, fd, request + i, 1);
        rig_turn(&r);
    }
    while (!strstr(answer, "\r\n\r\n") && tcp_recv(&r, fd, answer + got, 1))
        answer[++got] = '\0';
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

static void endless_head_is_refused(void **state)
{
    (void)state;
    struct rig r;
    char answer[256];
    static char request[64 * 1024];
    rig_init(&r);
    rig_start(&r);
    size_t n = (size_t)snprintf(request, sizeof(request), "GET /health HTTP/1.1\r\nHost: x\r\nA: ");
    memset(request + n, 'a', sizeof(request) - 1 - n);
    http_exchange(&r, request, answer, sizeof(answer));
    assert_int_equal(strncmp(answer, "HTTP/1.1 431 ", 13), 0);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_HEAD_BYTES], 1);
    rig_stop(&r);
}

static bool is_ready(void *ctx, char *reason, size_t size)
{
    const bool *ready = ctx;
    if (!*ready)
        snprintf(reason, size, "no link to \"svc@host\"");
    return *ready;
}

static void readiness_says_why_not(void **state)
{
    (void)state;
    static const char ask[] = "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n";
    struct rig r;
    bool ready = false;
    rig_init(&r);
    r.options.ready = is_ready;
    r.options.ready_ctx = &ready;
    rig_start(&r);
    check_exchange(&r, &(struct exchange){"not ready", ask, "HTTP/1.1 503 Service Unavailable\r\n",
                                          "{\"status\":\"not ready\",\"reason\":\"no link to \\\"svc@host\\\"\"}"});
    ready = true;
    check_exchange(&r, &(struct exchange){"ready", ask, "HTTP/1.1 200 ", "{\"status\":\"ready\"}"});
    rig_stop(&r);
}

static void console_lists_the_functions(void **state)
{
    (void)state;
    static const char want[] = "{\"sockets\":[{\"path\":\"/socket\",\"user_id_param\":\"user_id\",\"channels\":["
                               "{\"topic\":\"room:*\",\"event\":\"api\"},{\"topic\":\"lobby\",\"event\":\"api\"}]}],"
                               "\"functions\":[{\"service\":\"user_service\",\"request_type\":\"add\",\"version\":null,"
                               "\"response_type\":\"async\","
                               "\"args\":[{\"name\":\"a\",\"type\":\"num\",\"required\":true},{\"name\":\"note\","
                               "\"type\":\"string\",\"required\":false}]}]}";
    struct arg_spec args[] = {{.name = SLICE_LIT("a"), .type = ARG_NUM},
                              {.name = SLICE_LIT("note"), .type = ARG_STRING, .allow_nil = true}};
    struct fun_config add = {.service = SLICE_LIT("user_service"),
                             .request_type = SLICE_LIT("add"),
                             .args = args,
                             .args_count = 2,
                             .response_type = RESPONSE_ASYNC};
    struct fun_config off = add;
    off.disabled = true;
    struct fun_config *const list[] = {&off, &add, NULL};
    struct rig r;
    static char answer[65536];
    rig_init(&r);
    r.options.console = true;
    r.options.db = (void *)(uintptr_t)list;
    rig_start(&r);
    check_exchange(
        &r, &(struct exchange){"functions", "GET /functions.json HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", want});
    http_exchange(&r, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, "content-type: text/html; charset=utf-8\r\n"));
    assert_non_null(strstr(answer, "data-testid=\"frames\""));
    assert_non_null(strstr(answer, "</html>\n"));
    http_exchange(&r, "GET /phoenix.js HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
    assert_non_null(strstr(answer, "content-type: text/javascript"));
    assert_non_null(strstr(answer, "var Phoenix"));
    rig_stop(&r);
}

static void phoenix_js_is_the_file_that_was_named(void **state)
{
    (void)state;
    struct rig r;
    char path[] = "/tmp/beamgate-test-XXXXXX";
    int file = mkstemp(path);
    assert_int_equal(write(file, "var Phoenix = 7;", 16), 16);
    close(file);
    rig_init(&r);
    r.options.console = true;
    r.options.console_phoenix_js = path;
    rig_start(&r);
    unlink(path); /* read at start, never again */
    check_exchange(&r, &(struct exchange){"phoenix.js", "GET /phoenix.js HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ",
                                          "var Phoenix = 7;"});
    rig_stop(&r);
    struct err e;
    rig_init(&r);
    r.options.console = true;
    r.options.console_phoenix_js = path;
    assert_null(edge_new(&r.options, &e));
    assert_non_null(strstr(e.text, path));
    rig_stop(&r);
}

static void address_that_cannot_be_had_is_told(void **state)
{
    (void)state;
    struct rig r, second;
    struct err e;
    rig_init(&r);
    rig_start(&r);
    rig_init(&second);
    struct listener_config listener = {.address = "127.0.0.1", .port = edge_port(r.edge, 0)};
    second.options.listeners = &listener;
    assert_null(edge_new(&second.options, &e));
    assert_non_null(strstr(e.text, "Address already in use"));
    listener.address = "nowhere";
    assert_null(edge_new(&second.options, &e));
    assert_string_equal(e.text, "\"nowhere\" is no IP address");
    rig_stop(&second);
    rig_stop(&r);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static void join_as(struct rig *r, int fd, const char *topic, const char *ref, const char *answer)
{
    char text[512];
    snprintf(text, sizeof(text), "[\"%s\",\"%s\",\"%s\",\"phx_join\",{}]", ref, ref, topic);
    ws_text(r, fd, text);
    snprintf(text, sizeof(text), "[\"%s\",\"%s\",\"%s\",\"phx_reply\",%s]", ref, ref, topic, answer);
    expect_text(r, fd, text);
}

#define OK_REPLY "{\"status\":\"ok\",\"response\":{}}"
#define TOO_MANY "{\"status\":\"error\",\"response\":{\"reason\":\"too many channels joined\"}}"

static void joined_channels_are_limited(void **state)
{
    (void)state; /* C-49, C-50 */
    struct rig r;
    char topic[32];
    rig_init(&r);
    r.socket.max_channels = 100;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    for (int i = 0; i < 100; i++) {
        snprintf(topic, sizeof(topic), "room:%d", i);
        join_as(&r, fd, topic, "1", OK_REPLY);
    }
    join_as(&r, fd, "room:more", "1", TOO_MANY);
    assert_int_equal(r.metrics.value[METRIC_CHANNEL_JOINED], 100);
    /* A duplicate join takes the place of the old channel. */
    join_as(&r, fd, "room:7", "2", OK_REPLY);
    expect_text(&r, fd, "[\"1\",\"1\",\"room:7\",\"phx_close\",{}]");
    ws_text(&r, fd, "[\"1\",\"3\",\"room:0\",\"phx_leave\",{}]");
    expect_text(&r, fd, "[\"1\",\"3\",\"room:0\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:0\",\"phx_close\",{}]");
    join_as(&r, fd, "room:more", "4", OK_REPLY);
    close(fd);
    WAIT_FOR(&r, r.processes.slots.count == 0);
    assert_int_equal(r.metrics.value[METRIC_CHANNEL_JOINED], 0);
    rig_stop(&r);
}

static void names_that_would_be_kept_are_limited(void **state)
{
    (void)state; /* P-151 */
    struct rig r;
    rig_init(&r);
    r.socket.max_topic_bytes = 10;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:56789", "1", OK_REPLY);
    join_as(&r, fd, "room:567890", "1", "{\"status\":\"error\",\"response\":{\"reason\":\"topic too long\"}}");
    join_as(&r, fd, "room:a", "1234567890", "{\"status\":\"error\",\"response\":{\"reason\":\"join_ref too long\"}}");
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

static void join_without_a_process_is_refused(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    slots_init(&r.processes.slots, 2); /* the socket has one of its own */
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    join_as(&r, fd, "room:b", "2", "{\"status\":\"error\",\"response\":{\"reason\":\"gateway is full\"}}");
    expect_heartbeat(&r, fd, false);
    close(fd);
    rig_stop(&r);
}

/* A heartbeat whose payload is a string of n bytes. */
static char *big_heartbeat(size_t n, size_t *len)
{
    static const char head[] = "[null,\"9\",\"phoenix\",\"heartbeat\",\"", tail[] = "\"]";
    char *text = malloc(n + sizeof(head) + sizeof(tail));
    *len = n + sizeof(head) + sizeof(tail) - 2;
    memcpy(text, head, sizeof(head) - 1);
    memset(text + sizeof(head) - 1, 'x', n);
    memcpy(text + sizeof(head) - 1 + n, tail, sizeof(tail));
    return text;
}

static void messages_are_limited_in_length(void **state)
{
    (void)state; /* C-69, P-075, P-076; the transcript's 1 MB heartbeat */
    struct rig r;
    size_t len;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    char *text = big_heartbeat(1000000, &len);
    ws_send(&r, fd, 0x81, text, len);
    expect_text(&r, fd, "[null,\"9\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    close(fd);
    /* Refused as soon as its length is known: only the beginning is ever sent. */
    static const char big[] = "\x81\xff\0\0\0\0\0\x98\x96\x81\0\0\0\0[null";
    fd = ws_open(&r, V2);
    tcp_send(&r, fd, big, sizeof(big) - 1);
    expect_close(&r, fd, 1009);
    close(fd);
    /* And over all fragments of a message. */
    fd = ws_open(&r, V2);
    ws_send(&r, fd, 0x01, text, len);
    for (int i = 0; i < 8; i++)
        ws_send(&r, fd, 0x00, text, len);
    ws_send(&r, fd, 0x80, text, len);
    expect_close(&r, fd, 1009);
    close(fd);
    free(text);
    rig_stop(&r);
}

/* Frames of all sizes, masked at random, cut anywhere: every one is understood and none taken for unmasked. */
static void stream_may_be_cut_anywhere(void **state)
{
    (void)state;
    enum { MESSAGES = 400, LONGEST = 3000 };
    struct rig r;
    size_t len, n = 0, sent = 0;
    uint8_t *stream = malloc(MESSAGES * (LONGEST + 100));
    unsigned seed = 7;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    for (int i = 0; i < MESSAGES; i++) {
        char *text = big_heartbeat((size_t)rand_r(&seed) % (i % 4 ? 100 : LONGEST), &len);
        size_t frame = frame_make(stream + n, 0x81, text, len);
        uint8_t *mask = stream + n + frame - len - 4, again[4];
        for (int k = 0; k < 4; k++)
            again[k] = (uint8_t)rand_r(&seed);
        for (size_t k = 0; k < len; k++)
            mask[4 + k] ^= mask[k & 3] ^ again[k & 3];
        memcpy(mask, again, 4);
        n += frame;
        free(text);
    }
    while (sent < n) {
        size_t piece = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 3 ? 50 : 2500);
        piece = piece < n - sent ? piece : n - sent;
        tcp_send(&r, fd, stream + sent, piece);
        sent += piece;
        rig_turn(&r);
    }
    for (int i = 0; i < MESSAGES; i++)
        expect_text(&r, fd, "[null,\"9\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    expect_heartbeat(&r, fd, false);
    free(stream);
    close(fd);
    rig_stop(&r);
}

static void clients_over_the_limit_get_503(void **state)
{
    (void)state;
    struct rig r;
    char answer[512];
    rig_init(&r);
    r.limits.value[LIMIT_CONNECTIONS] = 2;
    rig_start(&r);
    int first = ws_open(&r, V2), second = ws_open(&r, V2);
    http_exchange(&r, GET_WS("?vsn=2.0.0", HOST UPGRADE), answer, sizeof(answer));
    assert_int_equal(strncmp(answer, "HTTP/1.1 503 Service Unavailable\r\n", 34), 0);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_REFUSED], 1);
    expect_heartbeat(&r, first, false);
    close(first);
    WAIT_FOR(&r, edge_connections(r.edge) == 1);
    first = ws_open(&r, V2);
    expect_heartbeat(&r, first, false);
    expect_heartbeat(&r, second, false);
    close(first);
    close(second);
    rig_stop(&r);
}

static void out_of_descriptors_turns_away_and_recovers(void **state)
{
    (void)state;
    if (getenv("UNDER_VALGRIND"))
        skip(); /* valgrind closes what is accepted over the limit by itself, so nobody can turn it away */
    enum { FILL = 4096 };
    static int fill[FILL];
    struct rig r;
    char byte;
    struct rlimit was, few;
    rig_init(&r);
    rig_start(&r);
    int alive = ws_open(&r, V2), fd = socket(AF_INET, SOCK_STREAM, 0), n = 0;
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    few.rlim_cur = FILL;
    setrlimit(RLIMIT_NOFILE, &few);
    while (n < FILL && (fill[n] = dup(0)) >= 0)
        n++;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(edge_port(r.edge, 0))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    /* Turned away with the spare descriptor, not left hanging; the others go on. */
    assert_true(tcp_recv(&r, fd, &byte, 1));
    assert_int_equal(byte, 'H');
    expect_heartbeat(&r, alive, false);
    close(fd);
    /* While accepting pauses the loop has nothing to do for the listener. */
    uint64_t accepted = r.metrics.value[METRIC_CLIENT_REFUSED];
    assert_int_equal(accepted, 1);
    while (n)
        close(fill[--n]);
    setrlimit(RLIMIT_NOFILE, &was);
    fd = ws_open(&r, V2);
    expect_heartbeat(&r, fd, false);
    close(fd);
    close(alive);
    rig_stop(&r);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void silent_strangers_are_dropped(void **state)
{
    (void)state;
    struct rig r;
    char byte;
    rig_init(&r);
    rig_start(&r);
    int quiet = tcp_open(&r), half = tcp_open(&r);
    tcp_send(&r, half, "GET /", 5);
    WAIT_FOR(&r, edge_connections(r.edge) == 2);
    r.skew_us += 9 * UINT64_C(1000000);
    rig_turn(&r);
    assert_int_equal(edge_connections(r.edge), 2);
    r.skew_us += 1100000;
    assert_false(tcp_recv(&r, quiet, &byte, 1));
    assert_false(tcp_recv(&r, half, &byte, 1));
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    close(quiet);
    close(half);
    rig_stop(&r);
}

/* Lets real time pass: the kernel's own record of the last data cannot be skewed. */
static void sleep_turning(struct rig *r, uint64_t ms)
{
    for (uint64_t until = clock_now_us() + ms * 1000; clock_now_us() < until; usleep(1000))
        rig_turn(r);
}

static void idle_sockets_are_closed_but_not_with_1000(void **state)
{
    (void)state; /* C-74, P-043, P-079 */
    struct rig r;
    rig_init(&r);
    r.socket.timeout_ms = 400;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    sleep_turning(&r, 300);
    expect_heartbeat(&r, fd, false); /* resets it */
    sleep_turning(&r, 300);
    /* A ping counts too, though lws tells nobody of it. */
    ws_send(&r, fd, 0x89, "p", 1);
    expect_frame(&r, fd, 0x8a, "p", 1);
    sleep_turning(&r, 300);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_IDLE_CLOSED], 0);
    expect_close(&r, fd, 1002);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_IDLE_CLOSED], 1);
    assert_int_equal(r.processes.slots.count, 0);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void peer_that_ignores_our_close_is_cut_off(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    ws_text(&r, fd, "{bad");
    expect_close(&r, fd, 1011); /* the end of the stream as well: our side sends FIN */
    rig_turn(&r);
    assert_int_equal(edge_connections(r.edge), 1);
    ws_text(&r, fd, "[null,\"1\",\"phoenix\",\"heartbeat\",{}]");
    rig_turn(&r);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_FRAMES_IN], 1); /* the bad one: what follows is not looked at */
    r.skew_us += 4 * UINT64_C(1000000);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    close(fd);
    rig_stop(&r);
}

/* --- slow readers ------------------------------------------------------------------------------------------------- */

static int ws_open_narrow(struct rig *r)
{
    int fd = ws_open(r, V2), small = 128 * 1024;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    join_as(r, fd, "room:a", "1", OK_REPLY);
    return fd;
}

static void frames_for_a_stalled_reader_arrive_whole_and_in_order(void **state)
{
    (void)state; /* 400 x 60 KB, pings between: leans on lws keeping raw bytes in order */
    enum { PUSHES = 400, BYTES = 60 * 1024, PING_EVERY = 40 };
    static char got[BYTES + 100];
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 64 * 1024 * 1024;
    rig_start(&r);
    int fd = ws_open_narrow(&r);
    r.gateway.push_bytes = BYTES;
    for (int i = 0; i < PUSHES; i++) {
        if (i % PING_EVERY == 0)
            ws_send(&r, fd, 0x89, "ping", 4);
        ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        rig_turn(&r);
    }
    WAIT_FOR(&r, r.gateway.requests == PUSHES);
    int pushes = 0, replies = 0, pongs = 0;
    while (pushes + replies < 2 * PUSHES) {
        size_t len;
        int first = ws_recv(&r, fd, got, sizeof(got), &len);
        if (first == 0x8a) {
            assert_string_equal(got, "ping");
            pongs++;
        } else if (len > BYTES) {
            assert_int_equal(len, BYTES + strlen("[\"1\",null,\"room:a\",\"api\",\"\"]"));
            assert_int_equal(strspn(got + 26, "x"), BYTES);
            assert_int_equal(pushes++, replies); /* push, then its reply */
        } else {
            assert_string_equal(got,
                                "[\"1\",\"7\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
            assert_int_equal(++replies, pushes);
        }
    }
    assert_true(pongs > 0);
    expect_heartbeat(&r, fd, false);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    close(fd);
    rig_stop(&r);
}

static void push_until_slow(struct rig *r, int fd)
{
    for (int i = 0; i < 400; i++)
        ws_text(r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
    WAIT_FOR(r, r->metrics.value[METRIC_CLIENT_SLOW_CLOSED] == 1);
}

static void reader_that_is_too_slow_is_closed_with_1008(void **state)
{
    (void)state;
    enum { BYTES = 60 * 1024, MAX = 1024 * 1024 };
    static char got[BYTES + 100];
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = MAX;
    rig_start(&r);
    int fd = ws_open_narrow(&r), other = ws_open(&r, V2);
    size_t len;
    r.gateway.push_bytes = BYTES;
    push_until_slow(&r, fd);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_BUFFERED], 1);
    rig_turn(&r);
    assert_null(fake_find(&r.processes, "channel")); /* its channels have ended */
    assert_int_equal(r.processes.slots.count, 1);    /* and so has its own process; this is the other's */
    expect_heartbeat(&r, other, false);
    /* When it reads after all: whole frames, then the close. */
    int first;
    while ((first = ws_recv(&r, fd, got, sizeof(got), &len)) == 0x81)
        ;
    assert_int_equal(first, 0x88);
    assert_int_equal(get_be16((uint8_t *)got), 1008);
    close(fd);
    close(other);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void reader_that_never_reads_is_cut_off(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 1024 * 1024;
    rig_start(&r);
    int fd = ws_open_narrow(&r);
    r.gateway.push_bytes = 60 * 1024;
    push_until_slow(&r, fd);
    r.skew_us += 4 * UINT64_C(1000000);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    close(fd);
    rig_stop(&r);
}

/* Leaves the client with megabytes to read, far below the bound in bytes. */
static int start_unread(struct rig *r)
{
    enum { PUSHES = 300 };
    rig_init(r);
    r->options.max_buffered_bytes = 64 * 1024 * 1024;
    rig_start(r);
    int fd = ws_open_narrow(r);
    r->gateway.push_bytes = 60 * 1024;
    for (int i = 0; i < PUSHES; i++) {
        ws_text(r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        rig_turn(r);
    }
    WAIT_FOR(r, r->gateway.requests == PUSHES);
    return fd;
}

static void pass_seconds(struct rig *r, unsigned seconds)
{
    r->skew_us += seconds * UINT64_C(1000000);
    for (int i = 0; i < 5; i++)
        rig_turn(r);
}

static void reader_that_takes_too_long_is_closed_with_1008(void **state)
{
    static char got[64 * 1024];
    (void)state;
    struct rig r;
    int first, fd = start_unread(&r);
    size_t len;
    pass_seconds(&r, 25);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    pass_seconds(&r, 6); /* no byte was taken in max_unread_ms, 30000 */
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 1);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_UNREAD], 1);
    assert_int_equal(r.processes.slots.count, 0);
    while ((first = ws_recv(&r, fd, got, sizeof(got), &len)) == 0x81)
        ;
    assert_int_equal(first, 0x88);
    assert_int_equal(get_be16((uint8_t *)got), 1008);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void slow_readers_are_counted_and_let_be_in_a_dry_run(void **state)
{
    (void)state;
    enum { BYTES = 60 * 1024, PUSHES = 300 };
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 1024 * 1024;
    r.limits.dry_run[LIMIT_BUFFERED] = r.limits.dry_run[LIMIT_UNREAD] = true;
    rig_start(&r);
    int fd = ws_open_narrow(&r);
    r.gateway.push_bytes = BYTES;
    for (int i = 0; i < PUSHES; i++) {
        ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        rig_turn(&r);
    }
    WAIT_FOR(&r, r.gateway.requests == PUSHES);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_BUFFERED], 1); /* once, not once a frame */
    pass_seconds(&r, 31);
    assert_int_equal(r.metrics.value[METRIC_LIMIT_UNREAD], 1);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    static char got[BYTES + 100];
    size_t len;
    for (int i = 0; i < 2 * PUSHES; i++) /* nothing is lost */
        assert_int_equal(ws_recv(&r, fd, got, sizeof(got), &len), 0x81);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void reader_that_takes_its_share_in_time_stays(void **state)
{
    enum { FRAMES = 16 }; /* of a megabyte, so that the kernel's own buffers do not hide what is read */
    static char got[64 * 1024];
    (void)state;
    struct rig r;
    int fd = start_unread(&r);
    size_t len;
    for (int round = 0; round < 4; round++) {
        pass_seconds(&r, 25);
        ws_text(&r, fd, "[null,\"9\",\"phoenix\",\"heartbeat\",{}]"); /* or it is closed as idle */
        for (int i = 0; i < 2 * FRAMES; i++)
            assert_int_equal(ws_recv(&r, fd, got, sizeof(got), &len), 0x81);
        pass_seconds(&r, 0);
        assert_int_equal(r.metrics.value[METRIC_CLIENT_SLOW_CLOSED], 0);
    }
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void result_larger_than_the_bound_closes_and_nothing_else(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 100 * 1024;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    r.gateway.push_bytes = 1024 * 1024;
    ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
    expect_close(&r, fd, 1008);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void lengths_around_the_header_sizes_are_framed_right(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     90,    95,    96,    97,    98,    99,    100,  101,
                                   65500, 65505, 65508, 65509, 65510, 65511, 65512, 70000};
    static char got[80000];
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t len;
        r.gateway.push_bytes = sizes[i];
        ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        assert_int_equal(ws_recv(&r, fd, got, sizeof(got), &len), 0x81);
        assert_int_equal(len, sizes[i] + strlen("[\"1\",null,\"room:a\",\"api\",\"\"]"));
        assert_int_equal(strspn(got + 26, "x"), sizes[i]);
        expect_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
    }
    close(fd);
    rig_stop(&r);
}

static void unfinished_messages_of_all_are_limited(void **state)
{
    (void)state;
    enum { CLIENTS = 4, MAX = 3000200 };
    struct rig r;
    int fd[CLIENTS];
    size_t len;
    char *text = big_heartbeat(1000000, &len);
    rig_init(&r);
    r.options.max_held_bytes = MAX;
    rig_start(&r);
    for (int i = 0; i < CLIENTS; i++)
        fd[i] = ws_open(&r, V2);
    for (int i = 0; i < CLIENTS - 1; i++) {
        ws_send(&r, fd[i], 0x01, text, len);
        WAIT_FOR(&r, r.metrics.value[METRIC_CLIENT_BUFFERED_BYTES] == (size_t)(i + 1) * len);
    }
    ws_send(&r, fd[CLIENTS - 1], 0x01, text, len);
    expect_close(&r, fd[CLIENTS - 1], 1013);
    close(fd[CLIENTS - 1]);
    /* Room again when one is done. */
    ws_send(&r, fd[0], 0x80, "", 0);
    expect_text(&r, fd[0], "[null,\"9\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    assert_int_equal(r.metrics.value[METRIC_CLIENT_BUFFERED_BYTES], 2 * len);
    ws_send(&r, fd[0], 0x81, text, len);
    expect_text(&r, fd[0], "[null,\"9\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    for (int i = 0; i < CLIENTS - 1; i++)
        close(fd[i]);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_BUFFERED_BYTES], 0);
    free(text);
    rig_stop(&r);
}

static void unsent_bytes_of_all_are_limited(void **state)
{
    (void)state; /* the one that does not keep up goes, the one that reads stays */
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 64 * 1024 * 1024;
    r.options.max_held_bytes = 1024 * 1024;
    rig_start(&r);
    int slow = ws_open_narrow(&r), reads = ws_open(&r, V2);
    r.gateway.push_bytes = 60 * 1024;
    push_until_slow(&r, slow);
    r.gateway.push_bytes = 100;
    join_as(&r, reads, "room:a", "1", OK_REPLY);
    expect_heartbeat(&r, reads, false);
    close(slow);
    WAIT_FOR(&r, edge_connections(r.edge) == 1);
    close(reads);
    rig_stop(&r);
}

/* --- budgets ------------------------------------------------------------------------------------------------------ */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__) /* which bring their own allocator */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
static unsigned allocations;

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    allocations++;
    return __libc_realloc(p, size);
}

static void path_of_a_message_allocates_nothing(void **state)
{
    (void)state;
    static const char request[] = "[\"1\",\"7\",\"room:a\",\"api\",{\"a\":[1,2,3]}]",
                      beat[] = "[null,\"1\",\"phoenix\",\"heartbeat\",{}]";
    struct rig r;
    uint8_t frames[300];
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    size_t n = frame_make(frames, 0x81, request, strlen(request));
    n += frame_make(frames + n, 0x81, beat, strlen(beat));
    unsigned before = 0;
    for (int i = 0; i < 100; i++) {
        if (i == 10) /* buffers have found their size */
            before = allocations;
        tcp_send(&r, fd, frames, n);
        expect_text(&r, fd, "[\"1\",null,\"room:a\",\"api\",{\"got\":{\"a\":[1,2,3]},\"user\":\"u1\"}]");
        expect_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
        expect_text(&r, fd, "[null,\"1\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    }
    assert_int_equal(allocations, before);
    close(fd);
    rig_stop(&r);
}

static void idle_joined_connection_fits_its_budget(void **state)
{
    (void)state;
    enum { CLIENTS = 2000, BUDGET = 2900 }; /* of 3 KB in all, which the process's own entry shares */
    static int fd[CLIENTS];
    static const enum limit raised[] = {LIMIT_ADDRESS_CONNECTIONS, LIMIT_ADDRESS_CONNECTS, LIMIT_USER_CONNECTIONS};
    struct rig r;
    rig_init(&r);
    for (size_t i = 0; i < ARRAY_SIZE(raised); i++)
        r.limits.value[raised[i]] = 2 * CLIENTS;
    limit_ready(&r.limits);
    rig_start(&r);
    close(ws_open(&r, V2));
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = ws_open(&r, V2);
        join_as(&r, fd[i], "room:lobby", "3", OK_REPLY);
    }
    rig_turn(&r);
    size_t each = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / CLIENTS;
    print_message("  %zu bytes of heap per idle joined connection\n", each);
    assert_true(each <= BUDGET);
    for (int i = 0; i < CLIENTS; i++)
        close(fd[i]);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    rig_stop(&r);
}

static void one_huge_name_does_not_keep_its_memory(void **state)
{
    (void)state;
    enum { TOPIC = 1000000, KEPT = 100000 };
    static const char head[] = "[null,\"9\",\"\\n", tail[] = "\",\"event\",{}]";
    struct rig r;
    size_t len = sizeof(head) - 1 + TOPIC + sizeof(tail) - 1, got;
    char *text = malloc(len), *answer = malloc(2 * len);
    memcpy(text, head, sizeof(head) - 1);
    memset(text + sizeof(head) - 1, 'x', TOPIC);
    memcpy(text + len - sizeof(tail) + 1, tail, sizeof(tail) - 1);
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    expect_heartbeat(&r, fd, false);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    ws_send(&r, fd, 0x81, text, len);
    assert_int_equal(ws_recv(&r, fd, answer, 2 * len, &got), 0x81);
    expect_heartbeat(&r, fd, false);
    assert_in_range(mallinfo2().uordblks + mallinfo2().hblkhd, 0, before + KEPT);
    close(fd);
    rig_stop(&r);
    free(text);
    free(answer);
}

#else

static void path_of_a_message_allocates_nothing(void **state)
{
    (void)state;
    skip();
}

static void one_huge_name_does_not_keep_its_memory(void **state)
{
    (void)state;
    skip();
}

static void idle_joined_connection_fits_its_budget(void **state)
{
    (void)state;
    skip();
}

#endif

/* --- channels as processes ---------------------------------------------------------------------------------------- */

static const struct exit_case {
    const char *name;
    struct slice reason;
    bool kill;
    const char *frame;
} exit_cases[] = {
    {"C-45 normal", SLICE_LIT("\x77\x06normal"), false, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]"},
    {"P-063 shutdown", SLICE_LIT("\x77\x08shutdown"), false, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]"},
    {"P-063 {shutdown, a}",
     SLICE_LIT("\x68\x02\x77\x08shutdown\x77\x01"
               "a"),
     false, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]"},
    {"C-47 another reason", SLICE_LIT("\x77\x04oops"), false,
     "[\"1\",\"1\",\"room:a\",\"phx_error\",{\"reason\":\"channel_crash\"}]"},
    {"kill", SLICE_LIT("\x77\x06killed"), true,
     "[\"1\",\"1\",\"room:a\",\"phx_error\",{\"reason\":\"channel_crash\"}]"},
};

static void exit_signals_end_the_channel(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    for (size_t i = 0; i < ARRAY_SIZE(exit_cases); i++) {
        join_as(&r, fd, "room:a", "1", OK_REPLY);
        fake_message(&r.processes, SLICE_LIT("\x77\x02hi"));
        assert_int_equal(r.metrics.value[METRIC_CHANNEL_UNKNOWN_MESSAGES], i + 1);
        fake_exit(&r.processes, exit_cases[i].reason, exit_cases[i].kill);
        expect_text(&r, fd, exit_cases[i].frame);
        assert_memory_equal(r.processes.ended, exit_cases[i].reason.ptr, exit_cases[i].reason.len);
        expect_heartbeat(&r, fd, false);
        assert_int_equal(r.gateway.closed, i + 1);
    }
    close(fd);
    rig_stop(&r);
}

/* D-21: the client's own process. Whoever kills it closes the connection, and its channels end with it. */
static void exit_signals_to_the_socket_close_the_client(void **state)
{
    static const struct {
        struct slice reason;
        bool kill;
        int code;
    } cases[] = {{SLICE_LIT("\x77\x04kill"), true, 1011}, {SLICE_LIT("\x77\x08shutdown"), false, 1001}};
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int fd = ws_open(&r, V2);
        join_as(&r, fd, "room:a", "1", OK_REPLY);
        struct fake_process *p = fake_find(&r.processes, "socket");
        p->ops->exit(p->owner, p->self, SLICE_NONE, SLICE_LIT("\x77\x06normal"), false);
        p->ops->message(p->owner, p->self, NULL, SLICE_LIT("\x77\x02hi"));
        assert_int_equal(r.metrics.value[METRIC_CHANNEL_UNKNOWN_MESSAGES], i + 1);
        expect_heartbeat(&r, fd, false);
        p->ops->exit(p->owner, p->self, SLICE_NONE, cases[i].reason, cases[i].kill);
        expect_close(&r, fd, cases[i].code);
        WAIT_FOR(&r, r.processes.slots.count == 0);
        close(fd);
    }
    rig_stop(&r);
}

/* D-21: what Observer shows of them: who, what, how much. */
static void sockets_and_channels_say_what_they_are(void **state)
{
    (void)state;
    struct rig r;
    struct process_row row;
    struct buf out;
    struct process_state st = {.out = &out};
    buf_init(&out, 0);
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    struct fake_process *socket = fake_find(&r.processes, "socket"), *channel = fake_find(&r.processes, "channel");
    memset(&row, 0, sizeof(row));
    channel->ops->row(channel->owner, channel->self, &row);
    assert_true(row.parent == socket->self);
    assert_true(strcmp(row.about, "room:a user u1") == 0);
    assert_true(row.bytes > 6);
    channel->ops->state(channel->owner, channel->self, &st);
    socket->ops->state(socket->owner, socket->self, &st);
    assert_true(buf_ok(&out) && st.pairs > 15);
    memset(&row, 0, sizeof(row));
    socket->ops->row(socket->owner, socket->self, &row);
    assert_string_equal(row.about, "127.0.0.1 user u1");
    assert_int_equal(row.work, 1);
    assert_int_equal(row.waiting, 0);
    buf_fini(&out);
    close(fd);
    rig_stop(&r);
}

static void channels_end_with_the_librarys_reasons(void **state)
{
    (void)state; /* P-051, P-060, C-76 */
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    join_as(&r, fd, "room:a", "2", OK_REPLY);
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_close\",{}]");
    assert_true(fake_ended(&r.processes, "shutdown", "duplicate_join"));
    ws_text(&r, fd, "[\"2\",\"3\",\"room:a\",\"phx_leave\",{}]");
    WAIT_FOR(&r, r.processes.slots.count == 1); /* the socket's */
    assert_true(fake_ended(&r.processes, "shutdown", "left"));
    expect_text(&r, fd, "[\"2\",\"3\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
    expect_text(&r, fd, "[\"2\",\"2\",\"room:a\",\"phx_close\",{}]");
    join_as(&r, fd, "room:a", "4", OK_REPLY);
    join_as(&r, fd, "room:b", "5", OK_REPLY);
    close(fd);
    WAIT_FOR(&r, r.processes.slots.count == 0);
    assert_true(fake_ended(&r.processes, "shutdown", "closed"));
    assert_int_equal(r.gateway.closed, 4);
    rig_stop(&r);
}

static void late_answers_reach_only_a_living_channel(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    ws_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"api\",\"later\"]");
    WAIT_FOR(&r, r.gateway.waiting != HANDLE_NONE);
    fake_answer(&r.gateway);
    expect_text(&r, fd, "[\"1\",null,\"room:a\",\"api\",{\"got\":\"late\",\"user\":\"\"}]");
    expect_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"phx_reply\",{\"status\":\"ok\",\"response\":\"done\"}]");
    /* The channel goes; another takes its slot. The old handle must not find it. */
    ws_text(&r, fd, "[\"1\",\"3\",\"room:a\",\"nope\",{}]");
    expect_text(&r, fd, "[\"1\",\"1\",\"room:a\",\"phx_error\",{\"reason\":\"channel_crash\"}]");
    join_as(&r, fd, "room:a", "4", OK_REPLY);
    fake_answer(&r.gateway);
    expect_heartbeat(&r, fd, false);
    close(fd);
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    fake_answer(&r.gateway);
    rig_stop(&r);
}

static void requests_before_the_gateway_is_there_are_answered(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.options.gateway = NULL;
    rig_start(&r);
    int fd = ws_open(&r, V2);
    join_as(&r, fd, "room:a", "1", OK_REPLY);
    ws_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"api\",{}]");
    expect_text(&r, fd,
                "[\"1\",\"2\",\"room:a\",\"phx_reply\","
                "{\"status\":\"error\",\"response\":\"Service temporarily unavailable\"}]");
    edge_set_gateway(r.edge, &r.gateway);
    ws_text(&r, fd, "[\"1\",\"3\",\"room:a\",\"api\",{}]");
    expect_text(&r, fd, "[\"1\",null,\"room:a\",\"api\",{\"got\":{},\"user\":\"u1\"}]");
    close(fd);
    rig_stop(&r);
}

static void user_id_comes_from_the_connect_parameter(void **state)
{
    (void)state;
    static const struct {
        const char *query, *user;
    } cases[] = {
        {"vsn=2.0.0", ""},
        {"user_id=a%26b%3Dc+d&vsn=2.0.0", "a&b=c d"},
        {"user_id=x&user_id=%C3%A9&vsn=2.0.0", "\xc3\xa9"},
        {"user%5Fid=x&vsn=2.0.0", "x"},
        {"user_id&vsn=2.0.0", ""},
    };
    struct rig r;
    char want[200];
    rig_init(&r);
    rig_start(&r);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int fd = ws_open(&r, cases[i].query);
        join_as(&r, fd, "room:a", "1", OK_REPLY);
        ws_text(&r, fd, "[\"1\",\"2\",\"room:a\",\"api\",1]");
        snprintf(want, sizeof(want), "[\"1\",null,\"room:a\",\"api\",{\"got\":1,\"user\":\"%s\"}]", cases[i].user);
        expect_text(&r, fd, want);
        close(fd);
    }
    rig_stop(&r);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void count_done(void *ctx)
{
    ++*(int *)ctx;
}

static void drain_closes_in_batches_with_1012(void **state)
{
    (void)state; /* P-073, P-083, C-94 */
    enum { CLIENTS = 7, BATCH = 3 };
    struct rig r;
    int fd[CLIENTS], done = 0;
    rig_init(&r);
    rig_start(&r);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = ws_open(&r, V2);
        if (i % 2)
            join_as(&r, fd[i], "room:a", "1", OK_REPLY);
    }
    edge_drain(r.edge, BATCH, 2000, count_done, &done);
    WAIT_FOR(&r, edge_connections(r.edge) == CLIENTS);
    for (int i = 0; i < BATCH; i++)
        expect_close(&r, fd[i], 1012);
    expect_heartbeat(&r, fd[BATCH], false);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(edge_port(r.edge, 0))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof(to)), -1);
    close(late);
    r.skew_us += 2 * UINT64_C(1000000);
    for (int i = BATCH; i < 2 * BATCH; i++)
        expect_close(&r, fd[i], 1012);
    assert_int_equal(done, 0);
    r.skew_us += 2 * UINT64_C(1000000);
    expect_close(&r, fd[CLIENTS - 1], 1012);
    for (int i = 0; i < CLIENTS; i++)
        close(fd[i]);
    WAIT_FOR(&r, done == 1);
    assert_int_equal(edge_connections(r.edge), 0);
    rig_stop(&r);
}

static void everything_can_be_dropped_at_any_moment(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.options.max_buffered_bytes = 64 * 1024 * 1024;
    rig_start(&r);
    int stranger = tcp_open(&r), idle = ws_open(&r, V2), stalled = ws_open_narrow(&r), closing = ws_open(&r, V2),
        halfway = ws_open(&r, V2), broken = ws_open(&r, V2);
    r.gateway.push_bytes = 60 * 1024;
    for (int i = 0; i < 200; i++)
        ws_text(&r, stalled, "[\"1\",\"7\",\"room:a\",\"api\",1]");
    ws_text(&r, closing, "{bad");
    ws_send(&r, halfway, 0x01, "[null,", 6);
    ws_send(&r, broken, 0x83, "x", 1);
    WAIT_FOR(&r, r.gateway.requests == 200);
    rig_stop(&r);
    close(stranger);
    close(idle);
    close(stalled);
    close(closing);
    close(halfway);
    close(broken);
}

static void clients_that_vanish_leave_nothing(void **state)
{
    (void)state; /* FIN, and reset with unread answers */
    struct rig r;
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    rig_init(&r);
    rig_start(&r);
    for (int i = 0; i < 50; i++) {
        int fd = ws_open(&r, V2);
        join_as(&r, fd, "room:a", "1", OK_REPLY);
        ws_text(&r, fd, "[\"1\",\"7\",\"room:a\",\"api\",1]");
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        if (i % 3 == 0)
            rig_turn(&r);
        close(fd);
    }
    WAIT_FOR(&r, edge_connections(r.edge) == 0);
    assert_int_equal(r.processes.slots.count, 0);
    assert_int_equal(r.metrics.value[METRIC_CLIENT_CONNECTED], 0);
    rig_stop(&r);
}

static int quiet(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR + (getenv("SHOW_LOG") ? LOG_DEBUG - LOG_ERROR : 0));
    return 0;
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
        cmocka_unit_test(http_answers_as_recorded),
        cmocka_unit_test(upgrade_answer_offers_nothing_that_was_not_meant),
        cmocka_unit_test(frames_right_behind_the_request_are_read),
        cmocka_unit_test(request_head_may_come_byte_by_byte),
        cmocka_unit_test(endless_head_is_refused),
        cmocka_unit_test(readiness_says_why_not),
        cmocka_unit_test(console_lists_the_functions),
        cmocka_unit_test(phoenix_js_is_the_file_that_was_named),
        cmocka_unit_test(address_that_cannot_be_had_is_told),
        cmocka_unit_test(joined_channels_are_limited),
        cmocka_unit_test(names_that_would_be_kept_are_limited),
        cmocka_unit_test(join_without_a_process_is_refused),
        cmocka_unit_test(messages_are_limited_in_length),
        cmocka_unit_test(stream_may_be_cut_anywhere),
        cmocka_unit_test(clients_over_the_limit_get_503),
        cmocka_unit_test(out_of_descriptors_turns_away_and_recovers),
        cmocka_unit_test(silent_strangers_are_dropped),
        cmocka_unit_test(idle_sockets_are_closed_but_not_with_1000),
        cmocka_unit_test(peer_that_ignores_our_close_is_cut_off),
        cmocka_unit_test(frames_for_a_stalled_reader_arrive_whole_and_in_order),
        cmocka_unit_test(reader_that_is_too_slow_is_closed_with_1008),
        cmocka_unit_test(reader_that_never_reads_is_cut_off),
        cmocka_unit_test(reader_that_takes_too_long_is_closed_with_1008),
        cmocka_unit_test(slow_readers_are_counted_and_let_be_in_a_dry_run),
        cmocka_unit_test(reader_that_takes_its_share_in_time_stays),
        cmocka_unit_test(result_larger_than_the_bound_closes_and_nothing_else),
        cmocka_unit_test(lengths_around_the_header_sizes_are_framed_right),
        cmocka_unit_test(unfinished_messages_of_all_are_limited),
        cmocka_unit_test(unsent_bytes_of_all_are_limited),
        cmocka_unit_test(path_of_a_message_allocates_nothing),
        cmocka_unit_test(idle_joined_connection_fits_its_budget),
        cmocka_unit_test(one_huge_name_does_not_keep_its_memory),
        cmocka_unit_test(exit_signals_end_the_channel),
        cmocka_unit_test(exit_signals_to_the_socket_close_the_client),
        cmocka_unit_test(sockets_and_channels_say_what_they_are),
        cmocka_unit_test(channels_end_with_the_librarys_reasons),
        cmocka_unit_test(late_answers_reach_only_a_living_channel),
        cmocka_unit_test(requests_before_the_gateway_is_there_are_answered),
        cmocka_unit_test(user_id_comes_from_the_connect_parameter),
        cmocka_unit_test(drain_closes_in_batches_with_1012),
        cmocka_unit_test(everything_can_be_dropped_at_any_moment),
        cmocka_unit_test(clients_that_vanish_leave_nothing),
    };
    return cmocka_run_group_tests_name("edge", tests, quiet, NULL);
}
