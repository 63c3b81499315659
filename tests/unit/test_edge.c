/* test_edge.c: the edge against the conformance table (C-) and the recorded transcripts, over real sockets. */
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

/* --- limits ------------------------------------------------------------------------------------------------------- */

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

/* --- budgets ------------------------------------------------------------------------------------------------------ */

#if !defined(WITH_ASAN) && !defined(__clang__) /* which bring their own allocator */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heartbeats_are_answered),
        cmocka_unit_test(joins_answer_as_recorded),
        cmocka_unit_test(messages_reach_their_channel),
        cmocka_unit_test(leaves_answer_as_recorded),
        cmocka_unit_test(malformed_messages_close_with_the_recorded_code),
        cmocka_unit_test(frames_are_judged_as_rfc_6455_says),
        cmocka_unit_test(joined_channels_are_limited),
        cmocka_unit_test(names_that_would_be_kept_are_limited),
        cmocka_unit_test(join_without_a_process_is_refused),
        cmocka_unit_test(messages_are_limited_in_length),
        cmocka_unit_test(stream_may_be_cut_anywhere),
        cmocka_unit_test(clients_over_the_limit_get_503),
        cmocka_unit_test(out_of_descriptors_turns_away_and_recovers),
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
    return cmocka_run_group_tests_name("edge", tests, rig_quiet, NULL);
}
