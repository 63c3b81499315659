/*
 * micro.c: nanoseconds of the steps that every request takes through the codecs, with jansson's figure for the same
 * bytes beside them. Each case is run for a tenth of a second, five times; the fastest round counts, since
 * whatever else the machine does can only add.
 *
 * Says nothing about system calls, which are most of a request's cost: for those see run.sh.
 */
#include <stdio.h>

#include "channel_frame.h"
#include "micro.h"
#include "transcode.h"

enum { ROUNDS = 5, ROUND_US = 100000, USERS = 50 };

static const char request_text[] =
    "[\"1\",\"12345678\",\"api:lobby\",\"api\",{\"service\":\"bench_service\",\"request_type\":\"echo\","
    "\"request_id\":\"r12345678\",\"args\":{\"msg\":\"m12345678\"}}]";

static struct slice request, users_term, echo_term, users_json, payload;
static struct buf scratch;

static struct slice new_slice(struct buf *b)
{
    assert_always(buf_ok(b));
    return buf_slice(b);
}

/* {ok, [#{email => .., id => .., name => ..} * 50]} without the tuple, as list_users answers. */
static struct slice make_users_term(void)
{
    static struct buf b;
    char text[64];
    term_put_list(&b, USERS);
    for (int i = 1; i <= USERS; i++) {
        term_put_map(&b, 3);
        term_put_atom(&b, "email");
        snprintf(text, sizeof(text), "user%d@example.com", i);
        term_put_text(&b, text);
        term_put_atom(&b, "id");
        snprintf(text, sizeof(text), "%d", i);
        term_put_text(&b, text);
        term_put_atom(&b, "name");
        snprintf(text, sizeof(text), "User Number %d", i);
        term_put_text(&b, text);
    }
    term_put_nil(&b);
    return new_slice(&b);
}

static void prepare(void)
{
    static struct buf json, echo;
    struct channel_frame f;
    request = slice_make(request_text, sizeof(request_text) - 1);
    users_term = make_users_term();
    term_put_text(&echo, "m12345678");
    echo_term = new_slice(&echo);
    assert_always(term_to_json(users_term, &json, NULL, NULL) == 0);
    users_json = new_slice(&json);
    assert_always(jansson_keep(users_json.ptr, users_json.len));
    assert_always(channel_frame_parse(SERIALIZER_V2, false, request, &json_limits_default, &f, NULL) == 0);
    payload = f.payload;
}

static void run_utf8(void)
{
    assert_always(utf8_valid_prefix(request.ptr, request.len) == request.len);
}

static void run_frame(void)
{
    struct channel_frame f;
    assert_always(channel_frame_parse(SERIALIZER_V2, false, request, &json_limits_default, &f, NULL) == 0);
}

static void run_payload(void)
{
    buf_reset(&scratch);
    assert_always(json_to_term(payload, &scratch, &json_limits_default, NULL) == 0);
}

static void run_users_to_term(void)
{
    buf_reset(&scratch);
    assert_always(json_to_term(users_json, &scratch, &json_limits_default, NULL) == 0);
}

static void check_term(struct slice term)
{
    size_t used;
    assert_always(term_check(term.ptr, term.len, TERM_DEPTH_DEFAULT, &used, NULL) == 0 && used == term.len);
}

static void run_check_echo(void)
{
    check_term(echo_term);
}

static void run_check_users(void)
{
    check_term(users_term);
}

static void run_echo_to_json(void)
{
    buf_reset(&scratch);
    assert_always(term_to_json(echo_term, &scratch, NULL, NULL) == 0);
}

static void run_users_to_json(void)
{
    buf_reset(&scratch);
    assert_always(term_to_json(users_term, &scratch, NULL, NULL) == 0);
}

static void run_jansson_load(void)
{
    assert_always(jansson_load(request.ptr, request.len));
}

static void run_jansson_load_users(void)
{
    assert_always(jansson_load(users_json.ptr, users_json.len));
}

static void run_jansson_dump_users(void)
{
    assert_always(jansson_dump());
}

static const struct micro_case {
    const char *name;
    void (*run)(void);
} CASES[] = {
    {"token: Phoenix.Token", run_token_signed},
    {"token: Phoenix.Token, encrypted (XChaCha20-Poly1305)", run_token_xchacha},
    {"token: Phoenix.Token, encrypted (A128GCM)", run_token_gcm},
    {"token: JWT HS256", run_token_hs256},
    {"token: JWT RS256", run_token_rs256},
    {"token: JWT ES256", run_token_es256},
    {"token: JWT EdDSA", run_token_eddsa},
    {"UTF-8 check of the request", run_utf8},
    {"channel frame of the request, checked and cut into fields", run_frame},
    {"its payload, JSON to term", run_payload},
    {"jansson: the same frame to a tree", run_jansson_load},
    {"50 users, JSON to term", run_users_to_term},
    {"jansson: 50 users to a tree", run_jansson_load_users},
    {"term check of the echo's result", run_check_echo},
    {"the echo's result, term to JSON", run_echo_to_json},
    {"term check of 50 users", run_check_users},
    {"50 users, term to JSON", run_users_to_json},
    {"jansson: 50 users from a tree to text", run_jansson_dump_users},
    {"rate limiter without limits", run_rate_none},
    {"two rate limits, one user that is refused mostly", run_rate_refuse},
    {"two rate limits, a thousand users", run_rate_thousand},
    {"two rate limits, a million users", run_rate_million},
    {"limits: bytes and messages of one message", run_limit_message},
    {"limits: a join", run_limit_join},
    {"limits: a connection in and out, among 10,000 addresses", run_limit_gate},
    {"stage: payload to fields, checked (checked)", run_stage_decode},
    {"stage: look-up, any of 10 functions", run_stage_find_10},
    {"stage: look-up, any of 100 functions", run_stage_find_100},
    {"stage: look-up, any of 10,000 functions", run_stage_find_10000},
    {"stage: permission any_authenticated", run_stage_permission},
    {"stage: two rate limits, one user", run_stage_rate_limit},
    {"stage: fields, look-up and one argument (echo)", run_stage_args_one},
    {"stage: fields, look-up and five arguments (checked)", run_stage_args_five},
    {"stage: Response with the echo's result", run_stage_answer},
    {"whole request: echo, 10 functions", run_pipeline_echo_10},
    {"whole request: echo, 10 functions, in flight counted by socket and user", run_pipeline_echo_in_flight},
    {"whole request: echo, 100 functions", run_pipeline_echo_100},
    {"whole request: echo, 10,000 functions", run_pipeline_echo_10000},
    {"whole request: any of 10,000 functions", run_pipeline_any_of_10000},
    {"whole request: checked (five arguments, permission)", run_pipeline_checked},
    {"whole request: checked, and two rate limits", run_pipeline_checked_limited},
    {"incoming call: rpc:call of a cheap function, from its packet to the two of its answer", run_rpc_count},
};

static double round_ns(const struct micro_case *c)
{
    uint64_t runs = 0, begun = clock_now_us(), now;
    do {
        for (int i = 0; i < 100; i++)
            c->run();
        runs += 100;
        now = clock_now_us();
    } while (now - begun < ROUND_US);
    return (double)(now - begun) * 1000 / (double)runs;
}

/* micro [TEXT]: the cases with TEXT in their name, or all. */
int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : "";
    prepare();
    rate_prepare();
    limit_prepare();
    token_prepare();
    pipeline_prepare();
    rpc_prepare();
    printf("request frame %zu bytes; 50 users: %zu bytes as term, %zu as JSON\n", request.len, users_term.len,
           users_json.len);
    for (size_t i = 0; i < ARRAY_SIZE(CASES); i++) {
        if (!strstr(CASES[i].name, only))
            continue;
        double best = round_ns(&CASES[i]);
        for (int k = 1; k < ROUNDS; k++) {
            double ns = round_ns(&CASES[i]);
            best = ns < best ? ns : best;
        }
        printf("%10.0f ns  %s\n", best, CASES[i].name);
    }
    buf_fini(&scratch);
    jansson_forget();
    rate_forget();
    limit_forget();
    token_forget();
    pipeline_forget();
    rpc_forget();
    return 0;
}
