/* test_request.c: the request pipeline from a client's payload to its frames, with a cluster in memory. */
#include "unit.h"

#include "fake_world.h"
#include "mfa_rules.h"
#include "rate_limiter.h"

#define OK_PUSH(id, result)                                                                                      \
    "push 7 {\"error\":null,\"async\":false,\"success\":true,\"result\":" result ",\"request_id\":\"" id         \
    "\",\"can_retry\":false,\"has_more\":false}"
#define ACK_PUSH(id)                                                                                             \
    "push 7 {\"error\":null,\"async\":true,\"success\":true,\"result\":null,\"request_id\":\"" id                \
    "\",\"can_retry\":false,\"has_more\":false}"
#define ERROR_PUSH(id, text, retry)                                                                              \
    "push 7 {\"error\":\"" text "\",\"async\":false,\"success\":false,\"result\":null,\"request_id\":\"" id      \
    "\",\"can_retry\":" retry ",\"has_more\":false}"
#define ASK(type, id, rest) "{\"service\":\"svc\",\"request_type\":\"" type "\",\"request_id\":\"" id "\"" rest "}"
#define ONE_STRING ", arg_types: %{\"msg\" => :string}, arg_orders: [\"msg\"]"

static struct fake_world world;

static int setup(void **state)
{
    *state = &world;
    fake_world_init(&world, NULL);
    fake_function(&world, "echo", ONE_STRING);
    return 0;
}

static int teardown(void **state)
{
    fake_world_fini(*state);
    return 0;
}

/* E-001, E-004, F-112 */
static void sync_pushes_the_result_and_then_replies(void **state)
{
    struct fake_world *w = *state;
    fake_request(w, "\"9\"", ASK("echo", "r1", ",\"args\":{\"msg\":\"hi\"}"));
    assert_call_args(w, 0, "[\"hi\"]");
    assert_int_equal(w->frames, 0);
    fake_answer(w, 0, CALL_RETURN, "{:ok, \"hi\"}");
    assert_frame(w, 0, OK_PUSH("r1", "\"hi\""));
    assert_frame(w, 1, "reply 7 \"9\" ok \"echo\"");
    assert_int_equal(w->frames, 2);
}

/* E-200..E-203, E-010 want */
static void results_are_mapped(void **state)
{
    struct fake_world *w = *state;
    static const struct {
        const char *term;
        const char *push;
    } rows[] = {
        {"{:ok, nil}", OK_PUSH("r", "null")},
        {":done", OK_PUSH("r", "\"done\"")},
        {"nil", OK_PUSH("r", "null")},
        {"%{plain: true}", OK_PUSH("r", "{\"plain\":true}")},
        {"{:error, :not_found}", ERROR_PUSH("r", "Internal Server Error", "false")},
        {"{:error, :a, :b}", ERROR_PUSH("r", "Internal Server Error", "false")},
        {"{:a, :b, :c}", ERROR_PUSH("r", "Unexpected execution result", "false")},
        {"{:ok, 1, 2}", ERROR_PUSH("r", "Unexpected execution result", "false")},
        {"{}", ERROR_PUSH("r", "Unexpected execution result", "false")},
        {"{:ok, {:a, :b}}", ERROR_PUSH("r", "Internal Server Error", "false")},
        {"[{:a, 1}]", ERROR_PUSH("r", "Internal Server Error", "false")},
    };
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        fake_request(w, "1", ASK("echo", "r", ",\"args\":{\"msg\":\"x\"}"));
        fake_answer(w, i, CALL_RETURN, rows[i].term);
        assert_frame(w, i * 2, rows[i].push);
        assert_frame(w, i * 2 + 1, "reply 7 1 ok \"echo\"");
    }
}

/* E-021, E-022, E-007, E-009 */
static void what_cannot_be_decoded_is_refused_with_its_reason(void **state)
{
    struct fake_world *w = *state;
#define INVALID(id, text) ERROR_PUSH(id, "Invalid request: " text, "false"), "reply 7 \"1\" error \"" text "\""
    static const struct {
        const char *payload;
        const char *push;
        const char *reply;
    } rows[] = {
        {"{}", INVALID("unknown", "Missing required fields: request_type, request_id, service")},
        {"{\"service\":\"svc\",\"request_type\":\"echo\"}", INVALID("unknown", "Missing required fields: request_id")},
        {"{\"service\":\"\",\"request_type\":null,\"request_id\":\"r\"}", INVALID("r", "Missing required fields: request_type, service")},
        {"{\"service\":\"svc\",\"request_type\":{\"a\":1},\"request_id\":\"r\"}", INVALID("r", "request_type must be a string")},
        {"{\"service\":\"svc\",\"request_type\":\"echo\",\"request_id\":[1]}", INVALID("unknown", "request_id must be a string")},
        {"[1]", INVALID("unknown", "the payload must be a JSON object")},
        {"null", INVALID("unknown", "the payload must be a JSON object")},
        {NULL, INVALID("unknown", "the payload must be a JSON object")},
    };
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        fake_request(w, "\"1\"", rows[i].payload);
        assert_frame(w, i * 2, rows[i].push);
        assert_frame(w, i * 2 + 1, rows[i].reply);
    }
    assert_int_equal(w->calls, 0);
}

/* Recorded: a number as request_id is echoed, as service or version it finds nothing (E-022, E-026) */
static void numbers_in_fields_behave_as_recorded(void **state)
{
    struct fake_world *w = *state;
    fake_request(w, "1", "{\"service\":\"svc\",\"request_type\":\"echo\",\"request_id\":304,\"args\":{\"msg\":\"x\"}}");
    fake_answer(w, 0, CALL_RETURN, "\"x\"");
    assert_frame(w, 0,
                 "push 7 {\"error\":null,\"async\":false,\"success\":true,\"result\":\"x\",\"request_id\":304,"
                 "\"can_retry\":false,\"has_more\":false}");
    fake_request(w, "1", "{\"service\":5,\"request_type\":\"echo\",\"request_id\":\"r\"}");
    assert_frame(w, 2, ERROR_PUSH("r", "unsupported function: echo version latest", "false"));
    assert_frame(w, 3, "reply 7 1 ok \"echo\"");
    fake_request(w, "1", ASK("echo", "r", ",\"version\":1"));
    assert_frame(w, 4, ERROR_PUSH("r", "unsupported function: echo version 1", "false"));
}

/* E-030, E-031 want, E-034 */
static void versions_are_found_or_named_in_the_error(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "get", ", version: \"1.0.0\"");
    fake_function(w, "get", ", version: \"0.9.0\", disabled: true");
    fake_function(w, "old", ", disabled: true");
    static const struct {
        const char *payload;
        const char *push;
    } rows[] = {
        {ASK("nope", "r", ""), ERROR_PUSH("r", "unsupported function: nope version latest", "false")},
        {ASK("get", "r", ",\"version\":\"9.9.9\""), ERROR_PUSH("r", "unsupported function: get version 9.9.9", "false")},
        {ASK("get", "r", ",\"version\":\"0.9.0\""), ERROR_PUSH("r", "disabled function: get version 0.9.0", "false")},
        {ASK("get", "r", ",\"version\":\"\""), ERROR_PUSH("r", "unsupported function: get version ", "false")},
        {ASK("old", "r", ""), ERROR_PUSH("r", "disabled function: old version latest", "false")},
        {"{\"service\":\"other\",\"request_type\":\"get\",\"request_id\":\"r\"}", ERROR_PUSH("r", "unsupported function: get version latest", "false")},
    };
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        fake_request(w, "1", rows[i].payload);
        assert_frame(w, i * 2, rows[i].push);
    }
    assert_int_equal(w->calls, 0);
    fake_request(w, "1", ASK("get", "r", ",\"version\":\"0.0.0\""));
    fake_request(w, "1", ASK("get", "r", ""));
    assert_int_equal(w->calls, 2);
}

/* E-008: the reason is in the reply */
static void bad_arguments_of_sync_are_told_in_the_reply(void **state)
{
    struct fake_world *w = *state;
    fake_request(w, "\"4\"", ASK("echo", "r", ""));
    assert_frame(w, 0, ERROR_PUSH("r", "Request processing failed", "false"));
    assert_frame(w, 1, "reply 7 \"4\" error \"missing or nil argument \\\"msg\\\" in \\\"echo\\\"\"");
    assert_int_equal(w->waiting.count, 0);
}

/* E-136, F-113, F-114, E-140 want */
static void async_is_acknowledged_and_answered_later(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "later", ", response_type: :async" ONE_STRING);
    fake_request(w, "1", ASK("later", "r", ",\"args\":{\"msg\":\"x\"}"));
    assert_frame(w, 0, ACK_PUSH("r"));
    assert_frame(w, 1, "reply 7 1 ok \"later\"");
    fake_answer(w, 0, CALL_RETURN, "\"x\"");
    assert_frame(w, 2, OK_PUSH("r", "\"x\""));
    assert_int_equal(w->frames, 3);
    fake_request(w, "1", ASK("later", "r", ""));
    assert_frame(w, 5, ERROR_PUSH("r", "missing or nil argument \\\"msg\\\" in \\\"later\\\"", "false"));
    assert_int_equal(w->frames, 6);
}

/* E-006, E-137 */
static void none_is_only_replied_to(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "notify", ", response_type: :none");
    fake_request(w, "1", ASK("notify", "r", ""));
    assert_frame(w, 0, "reply 7 1 ok \"notify\"");
    fake_answer(w, 0, CALL_EXIT, "{:boom, []}");
    assert_int_equal(w->frames, 1);
    assert_int_equal(w->waiting.count, 0);
}

/* E-002, E-003 */
static void the_socket_proves_the_user(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "whoami", ", request_info: true");
    fake_request(w, "1", ASK("whoami", "r", ",\"user_id\":\"mallory\",\"device_id\":\"d\""));
    assert_call_args(w, 0, "[%{request_id: \"r\", user_id: \"u1\", device_id: \"d\"}]");
    w->session.user_id = SLICE_NONE;
    fake_request(w, "1", ASK("whoami", "r", ""));
    assert_frame(w, 0, ERROR_PUSH("r", "Authentication required", "false"));
    assert_frame(w, 1, "reply 7 1 error \"Authentication required\"");
    w->rules.require_verified_user_id = false;
    fake_request(w, "1", ASK("whoami", "r", ",\"user_id\":\"client\""));
    assert_call_args(w, 1, "[%{request_id: \"r\", user_id: \"client\", device_id: nil}]");
}

/* E-131 */
static void the_mfa_own_arguments_come_first(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "prefixed", ", mfa: {M, :f, [\"p1\", 2]}, request_info: true" ONE_STRING);
    fake_request(w, "1", ASK("prefixed", "r", ",\"args\":{\"msg\":\"x\"}"));
    assert_call_args(w, 0, "[\"p1\", 2, \"x\", %{request_id: \"r\", user_id: \"u1\", device_id: nil}]");
}

/* E-050..E-054; roles come from the session only (E-024 want) */
static void permissions_are_checked_before_the_call(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "own", ", check_permission: {:arg, \"user_id\"}, arg_types: %{\"user_id\" => :string}, arg_orders: [\"user_id\"]");
    fake_function(w, "admin", ", check_permission: {:role, [\"admin\"]}");
    fake_request(w, "1", ASK("own", "r", ",\"args\":{\"user_id\":\"u2\"}"));
    fake_request(w, "1", ASK("admin", "r", ",\"user_roles\":[\"admin\"]"));
    assert_frame(w, 0, ERROR_PUSH("r", "Permission denied", "false"));
    assert_frame(w, 2, ERROR_PUSH("r", "Permission denied", "false"));
    assert_int_equal(w->calls, 0);
    const struct slice roles[] = {SLICE_LIT("admin")};
    w->session.roles = roles;
    w->session.roles_count = 1;
    fake_request(w, "1", ASK("own", "r", ",\"args\":{\"user_id\":\"u1\"}"));
    fake_request(w, "1", ASK("admin", "r", ""));
    assert_int_equal(w->calls, 2);
}

/* E-182 want: only a node that is down is passed over, unless the operator says otherwise */
static void the_next_node_is_tried_when_one_is_down(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "two", ", nodes: [:a@h, :b@h], choose_node_mode: :round_robin");
    w->up[0] = "a@h";
    w->up[1] = "b@h";
    fake_request(w, "1", ASK("two", "r", ""));
    assert_string_equal(w->call[0].node, "a@h");
    fake_answer(w, 0, CALL_NODEDOWN, NULL);
    assert_string_equal(w->call[1].node, "b@h");
    fake_answer(w, 1, CALL_RETURN, "1");
    assert_frame(w, 0, OK_PUSH("r", "1"));
    assert_int_equal(w->metrics.value[METRIC_CALLS_FALLOVER], 1);

    fake_request(w, "1", ASK("two", "r", ""));
    fake_answer(w, 2, CALL_TIMEOUT, NULL);
    assert_frame(w, 2, ERROR_PUSH("r", "Internal Server Error", "false"));
    fake_request(w, "1", ASK("two", "r", ""));
    fake_answer(w, 3, CALL_EXIT, "{:undef, []}");
    assert_frame(w, 4, ERROR_PUSH("r", "Internal Server Error", "false"));
    assert_int_equal(w->calls, 4);
}

/* E-185 */
static void no_node_at_all_is_an_error(void **state)
{
    struct fake_world *w = *state;
    w->up[0] = NULL;
    fake_request(w, "1", ASK("echo", "r", ",\"args\":{\"msg\":\"x\"}"));
    assert_frame(w, 0, ERROR_PUSH("r", "Internal Server Error", "false"));
    assert_frame(w, 1, "reply 7 1 ok \"echo\"");
}

/* E-138: a full queue to the node, or too many requests in flight */
static void bounds_have_their_answer(void **state)
{
    struct fake_world *w = *state;
    w->busy = "svc@localhost";
    fake_request(w, "1", ASK("echo", "r", ",\"args\":{\"msg\":\"x\"}"));
    assert_frame(w, 0, ERROR_PUSH("r", "Service temporarily unavailable", "true"));
    assert_frame(w, 1, "reply 7 1 ok \"echo\"");
    assert_int_equal(w->waiting.count, 0);
}

static struct metrics limit_metrics;
static struct client_limits few;

static void few_in_flight(struct gateway_options *o)
{
    o->max_in_flight = 3;
    o->max_in_flight_per_channel = 2;
}

static void requests_in_flight_are_bounded(void **state)
{
    struct fake_world *w = *state;
    fake_world_fini(w);
    fake_world_init(w, few_in_flight);
    fake_function(w, "echo", "");
    for (int i = 0; i < 3; i++)
        fake_request(w, "1", ASK("echo", "r", ""));
    assert_int_equal(w->calls, 2);
    assert_frame(w, 0, ERROR_PUSH("r", "Service temporarily unavailable", "true"));
    assert_frame(w, 1, "reply 7 1 ok \"echo\"");
    struct request_list other;
    request_list_init(&other);
    for (int i = 0; i < 2; i++)
        gateway_request(w->gw, 8, &other, &w->session, &w->rules, SLICE_LIT("1"), slice_str(ASK("echo", "r", "")), NULL);
    assert_int_equal(w->calls, 3);
    assert_int_equal(w->frames, 4);
    fake_answer(w, 0, CALL_RETURN, "1");
    fake_request(w, "1", ASK("echo", "r", ""));
    assert_int_equal(w->calls, 4);
    gateway_channel_closed(w->gw, &other);
}

static void few_in_all(struct gateway_options *o)
{
    limit_init(&few, &limit_metrics);
    o->limits = &few;
    o->max_in_flight = 2;
}

static void requests_in_flight_of_all_are_counted_refused_and_let_be_in_a_dry_run(void **state)
{
    struct fake_world *w = *state;
    uint64_t before = limit_metrics.value[METRIC_LIMIT_IN_FLIGHT];
    fake_world_fini(w);
    fake_world_init(w, few_in_all);
    fake_function(w, "echo", "");
    for (int i = 0; i < 3; i++)
        fake_request(w, "1", ASK("echo", "r", ""));
    assert_int_equal(w->calls, 2);
    assert_frame(w, 0, ERROR_PUSH("r", "Service temporarily unavailable", "true"));
    assert_int_equal(limit_metrics.value[METRIC_LIMIT_IN_FLIGHT], before + 1);
    few.dry_run[LIMIT_IN_FLIGHT] = true; /* as a reload does it */
    for (int i = 0; i < 3; i++)
        fake_request(w, "1", ASK("echo", "r", ""));
    assert_int_equal(w->calls, 5);
    assert_int_equal(limit_metrics.value[METRIC_LIMIT_IN_FLIGHT], before + 4);
    few.dry_run[LIMIT_IN_FLIGHT] = false;
    fake_request(w, "1", ASK("echo", "r", ""));
    assert_int_equal(w->calls, 5);
    for (uint32_t i = 0; i < w->calls; i++)
        fake_answer(w, i, CALL_RETURN, "1");
    assert_int_equal(gateway_in_flight(w->gw), 0);
}

static void few_of_one(struct gateway_options *o)
{
    limit_init(&few, &limit_metrics);
    few.value[LIMIT_SOCKET_IN_FLIGHT] = 3;
    few.value[LIMIT_USER_IN_FLIGHT] = 4;
    o->limits = &few;
    o->max_in_flight_per_channel = 2;
}

/* Two channels of one socket, one of another, all of one user. */
static void requests_in_flight_are_bounded_for_a_socket_and_for_a_user(void **state)
{
    struct fake_world *w = *state;
    struct request_quota socket = {0, LIMIT_SOCKET_IN_FLIGHT}, second = socket, user = {0, LIMIT_USER_IN_FLIGHT};
    struct request_list list[3];
    static const enum limit refused[] = {LIMIT_CHANNEL_IN_FLIGHT, LIMIT_SOCKET_IN_FLIGHT, LIMIT_USER_IN_FLIGHT};
    fake_world_fini(w);
    fake_world_init(w, few_of_one);
    fake_function(w, "echo", "");
    for (int i = 0; i < 3; i++) {
        request_list_init(&list[i]);
        list[i].quota[0] = i < 2 ? &socket : &second;
        list[i].quota[1] = &user;
    }
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned k = 0; k < 3; k++)
            gateway_request(w->gw, 8, &list[i], &w->session, &w->rules, SLICE_LIT("1"),
                            slice_str(ASK("echo", "r", "")), NULL);
        assert_int_equal(w->calls, 2 + i);
        assert_true(limit_metrics.value[limit_rows[refused[i]].counter] > 0);
    }
    assert_int_equal(socket.count + second.count, user.count);
    assert_int_equal(user.count, 4);
    few.dry_run[LIMIT_USER_IN_FLIGHT] = true;
    gateway_request(w->gw, 8, &list[2], &w->session, &w->rules, SLICE_LIT("1"), slice_str(ASK("echo", "r", "")), NULL);
    assert_int_equal(user.count, 5);
    few.dry_run[LIMIT_CHANNEL_IN_FLIGHT] = few.dry_run[LIMIT_SOCKET_IN_FLIGHT] = true;
    gateway_request(w->gw, 8, &list[0], &w->session, &w->rules, SLICE_LIT("1"), slice_str(ASK("echo", "r", "")), NULL);
    assert_int_equal(socket.count, 4);
    assert_int_equal(list[0].count, 3);
    fake_answer(w, 0, CALL_RETURN, "1");
    assert_int_equal(socket.count, 3);
    assert_int_equal(user.count, 5);
    for (int i = 0; i < 3; i++)
        gateway_channel_closed(w->gw, &list[i]);
    assert_int_equal(socket.count + second.count + user.count, 0);
}

/* A client that left gets nothing, its calls are cancelled, a late result finds nobody */
static void a_client_that_left_is_forgotten(void **state)
{
    struct fake_world *w = *state;
    fake_request(w, "1", ASK("echo", "r", ",\"args\":{\"msg\":\"x\"}"));
    struct fake_call late = w->call[0];
    gateway_channel_closed(w->gw, &w->waiting);
    assert_int_equal(w->cancelled, 1);
    assert_int_equal(gateway_in_flight(w->gw), 0);
    late.done(late.owner, late.tag, CALL_RETURN, SLICE_LIT("\x61\x01"));
    assert_int_equal(w->frames, 0);
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_DROPPED], 1);
}

/* E-020 with the number that was recorded */
static void an_oversized_payload_is_refused_with_its_size(void **state)
{
    struct fake_world *w = *state;
    struct buf payload;
    buf_init(&payload, 0);
    buf_puts(&payload, "{\"service\":\"user_service\",\"request_type\":\"echo_big\",\"request_id\":\"req_182\",\"args\":{\"msg\":\"");
    for (int i = 0; i < 1100; i++)
        buf_printf(&payload, "%01000d", 0);
    buf_puts(&payload, "\"}}");
    gateway_request(w->gw, 7, &w->waiting, &w->session, &w->rules, SLICE_LIT("\"182\""), buf_slice(&payload), NULL);
    assert_frame(w, 1,
                 "reply 7 \"182\" error \"Request payload exceeds maximum size of 1000000 bytes (got 1100138 bytes)\"");
    buf_fini(&payload);
}

static void library_ways(struct gateway_options *o)
{
    o->detail_error = true;
    o->fallback_on_exit = true;
}

/* E-201 with its want: the service's reason is kept; E-182 by option */
static void options_give_details_and_the_library_fall_over(void **state)
{
    struct fake_world *w = *state;
    fake_world_fini(w);
    fake_world_init(w, library_ways);
    fake_function(w, "f", ", nodes: [:a@h, :b@h], choose_node_mode: :round_robin");
    w->up[0] = "a@h";
    w->up[1] = "b@h";
    fake_request(w, "1", ASK("f", "r", ""));
    fake_answer(w, 0, CALL_EXIT, "{:undef, []}");
    assert_string_equal(w->call[1].node, "b@h");
    fake_answer(w, 1, CALL_RETURN, "{:error, :not_found}");
    assert_frame(w, 0, ERROR_PUSH("r", "Internal Server Error: {:error, :not_found}", "false"));
}

static void pass_reason(struct gateway_options *o)
{
    o->pass_error_reason = true;
}

/* E-204 */
static void a_service_reason_may_reach_the_client(void **state)
{
    struct fake_world *w = *state;
    fake_world_fini(w);
    fake_world_init(w, pass_reason);
    fake_function(w, "f", "");
    fake_request(w, "1", ASK("f", "r", ""));
    fake_answer(w, 0, CALL_RETURN, "{:error, \"no such user\"}");
    assert_frame(w, 0, ERROR_PUSH("r", "no such user", "false"));
    fake_request(w, "1", ASK("f", "r", ""));
    fake_answer(w, 1, CALL_RETURN, "{:error, {:secret, 1}}");
    assert_frame(w, 2, ERROR_PUSH("r", "Internal Server Error", "false"));
}

/* E-042: the hook's Request and FunConfig take the places of the originals */
static void a_before_hook_replaces_request_and_config(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "hooked", ", before_execute: {H, :before, [1]}, request_info: true" ONE_STRING);
    fake_request(w, "1", ASK("hooked", "r", ",\"args\":{\"msg\":\"x\"}"));
    assert_int_equal(w->call[0].nargs, 3);
    assert_int_equal(w->call[0].timeout_us, 5000000);
    assert_int_equal(w->waiting.count, 1);
    fake_answer(w, 0, CALL_RETURN,
                "{:ok, %{request_type: \"hooked\", request_id: \"r\", service: \"svc\", user_id: \"u9\", args: %{\"msg\" => \"[before]x\"}},"
                " %{request_type: \"hooked\", service: \"svc\", nodes: [:svc@localhost], mfa: {M, :other, []}, request_info: true" ONE_STRING "}}");
    assert_call_args(w, 1, "[\"[before]x\", %{request_id: \"r\", user_id: \"u9\", device_id: nil}]");
    fake_answer(w, 1, CALL_RETURN, "1");
    assert_frame(w, 0, OK_PUSH("r", "1"));
}

/* E-042, E-043 */
static void a_before_hook_may_reject(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "hooked", ", before_execute: {H, :before}, hook_timeout: 700");
    static const struct {
        enum call_outcome outcome;
        const char *term;
        const char *push;
    } rows[] = {
        {CALL_RETURN, "{:error, :not_today}", ERROR_PUSH("r", "hook rejected: :not_today", "false")},
        {CALL_EXIT, "{%{__struct__: RuntimeError, __exception__: true, message: \"boom\"}, []}",
         ERROR_PUSH("r", "hook rejected: \\\"\\\\\\\"boom\\\\\\\"\\\"", "false")},
        {CALL_TIMEOUT, NULL, ERROR_PUSH("r", "hook rejected: \\\"hook timed out after 700ms\\\"", "false")},
    };
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        fake_request(w, "1", ASK("hooked", "r", ""));
        assert_int_equal(w->call[i].timeout_us, 700000);
        fake_answer(w, i, rows[i].outcome, rows[i].term);
        assert_frame(w, i * 2, rows[i].push);
        assert_frame(w, i * 2 + 1, "reply 7 1 ok \"hooked\"");
    }
    fake_request(w, "1", ASK("hooked", "r", ""));
    fake_answer(w, 3, CALL_RETURN, ":whatever");
    assert_int_equal(w->calls, 5);
}

#define HOOK_REPLY(request, config) "{:ok, " request ", " config "}"
#define HOOK_REQUEST(fields) "%{request_type: \"hooked\", request_id: \"r\", service: \"svc\", user_id: \"u1\", args: %{}" fields "}"
#define HOOK_CONFIG(fields) "%{request_type: \"hooked\", service: \"svc\", nodes: [:svc@localhost], mfa: {M, :f, []}" fields "}"
#define ADMINS_ONLY ", check_permission: {:role, [\"admin\"]}"

/* E-042, E-024 want: roles are the session's or, when the service's own hook gives some, the hook's */
static void roles_of_a_hooks_request_take_the_place_of_the_sessions(void **state)
{
    struct fake_world *w = *state;
    static const struct slice admin[] = {SLICE_LIT("admin")};
    static const struct {
        uint32_t session_roles;
        const char *given;
        bool allowed;
    } rows[] = {
        {0, ", user_roles: [\"admin\"]", true}, {0, ", user_roles: [:admin, \"\", 1, \"admin\"]", true},
        {0, ", user_roles: [:admin]", false},   {1, ", user_roles: nil", false},
        {1, ", user_roles: []", false},         {1, ", user_roles: \"admin\"", false},
        {1, "", true},                          {0, "", false},
    };
    fake_function(w, "hooked", ", before_execute: {H, :before}" ADMINS_ONLY);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[1024];
        uint32_t before = w->frames;
        w->session.roles = admin;
        w->session.roles_count = rows[i].session_roles;
        snprintf(text, sizeof(text), HOOK_REPLY("%%{request_type: \"hooked\", request_id: \"r\", service: \"svc\", args: %%{}%s}", "%s"),
                 rows[i].given, HOOK_CONFIG(", before_execute: {H, :before}" ADMINS_ONLY));
        fake_request(w, "1", ASK("hooked", "r", ""));
        fake_answer(w, w->calls - 1, CALL_RETURN, text);
        if (rows[i].allowed)
            fake_answer(w, w->calls - 1, CALL_RETURN, "1");
        assert_frame(w, before, rows[i].allowed ? OK_PUSH("r", "1") : ERROR_PUSH("r", "Permission denied", "false"));
    }
}

/* E-045 want: what a hook returns is judged as what a service pushes, and what cannot be taken ends the request: the
 * old config may allow more than the hook meant to. */
static void what_a_hook_returns_must_be_valid_and_allowed(void **state)
{
    struct fake_world *w = *state;
    static const struct {
        const char *answer;
        const char *what;
    } rows[] = {
        {HOOK_REPLY(HOOK_REQUEST(""), "%{request_type: \"hooked\", service: \"svc\", nodes: [:svc@localhost], mfa: {:os, :cmd, []}}"),
         "FunConfig that is not allowed"},
        {HOOK_REPLY(HOOK_REQUEST(""), HOOK_CONFIG(", permission_callback: {:erlang, :halt, []}")), "FunConfig that is not allowed"},
        {HOOK_REPLY(HOOK_REQUEST(""), HOOK_CONFIG(", after_execute: {:rpc, :call}")), "FunConfig that is not allowed"},
        {HOOK_REPLY(HOOK_REQUEST(""), HOOK_CONFIG(", timeout: 1")), "FunConfig that is not valid"},
        {HOOK_REPLY(HOOK_REQUEST(""), ":garbage"), "FunConfig that is not valid"},
        {HOOK_REPLY("1", HOOK_CONFIG("")), "Request that is not valid"},
        {HOOK_REPLY("%{args: %{\"a\" => {1, 2}}}", HOOK_CONFIG("")), "Request that is not valid"},
    };
    fake_function(w, "hooked", ", before_execute: {H, :before}");
    for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char push[256];
        fake_request(w, "1", ASK("hooked", "r", ""));
        fake_answer(w, i, CALL_RETURN, rows[i].answer);
        snprintf(push, sizeof(push), "hook rejected: \\\"before_execute returned a %s\\\"", rows[i].what);
        assert_non_null(strstr(w->frame[i * 2], push));
        assert_frame(w, i * 2 + 1, "reply 7 1 ok \"hooked\"");
        assert_int_equal(w->calls, i + 1);
    }
}

static void adjust_rules(struct gateway_options *o)
{
    static const struct mfa_rule allow[] = {{SLICE_LIT("Elixir.M"), SLICE_LIT("")}, {SLICE_LIT("Elixir.H"), SLICE_LIT("")}};
    static const struct mfa_rules rules = {true, allow, ARRAY_SIZE(allow)};
    o->rules = &rules;
}

static void the_allow_list_holds_for_what_a_hook_returns(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, adjust_rules);
    fake_function(&w, "hooked", ", before_execute: {H, :before}");
    fake_request(&w, "1", ASK("hooked", "r", ""));
    fake_answer(&w, 0, CALL_RETURN, HOOK_REPLY(HOOK_REQUEST(""), "%{request_type: \"hooked\", service: \"svc\", nodes: [:svc@localhost], mfa: {Other, :f, []}}"));
    assert_frame(&w, 0, ERROR_PUSH("r", "hook rejected: \\\"before_execute returned a FunConfig that is not allowed\\\"", "false"));
    fake_request(&w, "2", ASK("hooked", "r2", ""));
    fake_answer(&w, 1, CALL_RETURN, HOOK_REPLY(HOOK_REQUEST(""), HOOK_CONFIG(", timeout: 100")));
    assert_string_equal(w.call[2].function, "Elixir.M:f");
    fake_answer(&w, 2, CALL_RETURN, "1");
    fake_world_fini(&w);
}

static void adjust_hook_node(struct gateway_options *o)
{
    o->hook_node = SLICE_LIT("hooks@localhost");
}

/* E-046 want: hooks on a node of their own, and nowhere else; callbacks stay on the node of the call (E-057 want) */
static void hooks_run_on_the_companion_node(void **state)
{
    (void)state;
    struct fake_world w;
    fake_world_init(&w, adjust_hook_node);
    fake_function(&w, "hooked", ", before_execute: {H, :before}, after_execute: {H, :after}, permission_callback: {P, :ask, []}");
    fake_request(&w, "1", ASK("hooked", "r", ""));
    assert_frame(&w, 0, ERROR_PUSH("r", "hook rejected: \\\"hook could not be run\\\"", "false"));
    assert_int_equal(w.calls, 0);
    w.up[1] = "hooks@localhost";
    fake_request(&w, "2", ASK("hooked", "r", ""));
    fake_answer(&w, 0, CALL_RETURN, ":go_on");
    fake_answer(&w, 1, CALL_RETURN, "true");
    fake_answer(&w, 2, CALL_RETURN, "1");
    static const char *const want[][2] = {{"hooks@localhost", "Elixir.H:before"}, {"svc@localhost", "Elixir.P:ask"},
                                          {"svc@localhost", "Elixir.M:f"}, {"hooks@localhost", "Elixir.H:after"}};
    assert_int_equal(w.calls, ARRAY_SIZE(want));
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        assert_string_equal(w.call[i].node, want[i][0]);
        assert_string_equal(w.call[i].function, want[i][1]);
    }
    assert_frame(&w, 2, OK_PUSH("r", "1"));
    fake_world_fini(&w);
}

/* E-044: told afterwards, its value ignored */
static void an_after_hook_is_told(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "hooked", ", after_execute: {H, :after}");
    fake_request(w, "1", ASK("hooked", "r", ""));
    fake_answer(w, 0, CALL_RETURN, "1");
    assert_int_equal(w->calls, 2);
    assert_int_equal(w->call[1].nargs, 3);
    assert_frame(w, 0, OK_PUSH("r", "1"));
    assert_frame(w, 1, "reply 7 1 ok \"hooked\"");
    fake_answer(w, 1, CALL_RETURN, ":other");
    assert_int_equal(w->frames, 2);
}

/* E-055: only exactly true allows */
static void a_permission_callback_decides(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "guarded", ", permission_callback: {P, :check, []}");
    static const char *const denies[] = {":ok", "false", "{:ok, true}", "nil"};
    for (uint32_t i = 0; i < ARRAY_SIZE(denies); i++) {
        fake_request(w, "1", ASK("guarded", "r", ""));
        fake_answer(w, i, CALL_RETURN, denies[i]);
        assert_frame(w, i * 2, ERROR_PUSH("r", "Permission denied", "false"));
    }
    fake_request(w, "1", ASK("guarded", "r", ""));
    fake_answer(w, 4, CALL_EXIT, "{:undef, []}");
    assert_frame(w, 8, ERROR_PUSH("r", "Permission denied", "false"));
    fake_request(w, "1", ASK("guarded", "r", ""));
    fake_answer(w, 5, CALL_RETURN, "true");
    fake_answer(w, 6, CALL_RETURN, "1");
    assert_frame(w, 10, OK_PUSH("r", "1"));
}

/* E-190..E-192 with their wants: transport errors only, growing pauses */
static void retry_runs_further_rounds_after_growing_pauses(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "again", ", retry: {:same_node, 2}");
    fake_request(w, "1", ASK("again", "r", ""));
    fake_answer(w, 0, CALL_EXIT, "{:undef, []}");
    assert_int_equal(w->calls, 1);
    uint64_t pause = timers_next(&w->timers) - w->timers.now_us;
    assert_true(pause >= 50000 && pause <= 150000);
    timers_run(&w->timers, w->timers.now_us + 150000, 0);
    fake_answer(w, 1, CALL_TIMEOUT, NULL);
    pause = timers_next(&w->timers) - w->timers.now_us;
    assert_true(pause >= 100000 && pause <= 300000);
    timers_run(&w->timers, w->timers.now_us + 300000, 0);
    fake_answer(w, 2, CALL_TIMEOUT, NULL);
    assert_frame(w, 0, ERROR_PUSH("r", "Internal Server Error", "false"));
    assert_frame(w, 1, "reply 7 1 ok \"again\"");
    fake_request(w, "1", ASK("again", "r", ""));
    fake_answer(w, 3, CALL_RETURN, "{:error, :business}");
    assert_frame(w, 2, ERROR_PUSH("r", "Internal Server Error", "false"));
    assert_int_equal(w->calls, 4);
}

#define CHUNK(id, result, more)                                                                                  \
    "push 7 {\"error\":null,\"async\":true,\"success\":true,\"result\":" result ",\"request_id\":\"" id          \
    "\",\"can_retry\":false,\"has_more\":" more "}"
#define NESTED(id, result)                                                                                       \
    CHUNK(id, "{\"error\":null,\"async\":false,\"success\":true,\"result\":" result ",\"request_id\":\"" id      \
              "\",\"can_retry\":false,\"has_more\":false}", "true")

static void stream_say(struct fake_world *w, const char *term)
{
    struct buf b;
    buf_init(&b, 0);
    gateway_stream_message(w->gw, w->stream_tag, term_of(&b, term));
    buf_fini(&b);
}

/* E-145..E-148, E-154 */
static void a_stream_is_pushed_piece_by_piece(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "stream", ", response_type: :stream, request_info: true");
    fake_request(w, "1", ASK("stream", "r", ""));
    assert_frame(w, 0, CHUNK("r", "\"init\"", "true"));
    assert_frame(w, 1, "reply 7 1 ok \"stream\"");
    assert_call_args(w, 0, "[%{request_id: \"r\", user_id: \"u1\", device_id: nil, stream_pid: :stream_pid_of_the_test}]");
    stream_say(w, "{:result, 1}");
    assert_int_equal(w->frames, 2);
    fake_answer(w, 0, CALL_RETURN, "{:ok, \"started\"}");
    assert_frame(w, 2, NESTED("r", "\"started\""));
    assert_frame(w, 3, CHUNK("r", "1", "true"));
    stream_say(w, "{:result, 2}");
    stream_say(w, ":noise");
    stream_say(w, "{:last_result, %{done: true}}");
    stream_say(w, "{:result, 3}");
    assert_frame(w, 4, CHUNK("r", "2", "true"));
    assert_frame(w, 5, CHUNK("r", "{\"done\":true}", "false"));
    assert_int_equal(w->frames, 6);
}

/* E-147, E-148, E-149 want, E-150 want, E-152 want */
static void every_stream_ends_with_one_last_frame(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "stream", ", response_type: :stream");
    static const char *const last[] = {
        ERROR_PUSH("r", "Internal Server Error", "false"), CHUNK("r", "null", "false"), ERROR_PUSH("r", "Internal Server Error", "false"),
        ERROR_PUSH("r", "Stream timed out", "false"), ERROR_PUSH("r", "Stream producer is gone", "false"), CHUNK("r", "null", "false"),
        ERROR_PUSH("r", "Internal Server Error", "false"),
    };
    for (uint32_t i = 0; i < ARRAY_SIZE(last); i++) {
        fake_request(w, "1", ASK("stream", "r", ""));
        fake_answer(w, i, CALL_RETURN, i == 0 ? "{:error, :no}" : "1");
        switch (i) {
        case 1: stream_say(w, ":complete"); break;
        case 2: stream_say(w, "{:error, :disk_full}"); break;
        case 3: timers_run(&w->timers, w->timers.now_us + 5000000, 0); break;
        case 4: gateway_node_down(w->gw, SLICE_LIT("svc@localhost")); break;
        case 5: assert_true(gateway_stream_stop(&w->waiting, SLICE_LIT("\"r\""))); break;
        case 6: stream_say(w, "{:result, {1, 2}}"); break;
        default: break;
        }
        assert_string_equal(w->frame[w->frames - 1], last[i]);
        assert_int_equal(w->waiting.count, 0);
        assert_int_equal(w->streams, 0);
    }
    assert_false(gateway_stream_stop(&w->waiting, SLICE_LIT("\"r\"")));
}

/* E-160 with its want: asked on the node that delivered the config, and kept for a while */
static void nodes_may_be_a_question_to_the_service(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "dyn", ", nodes: {ClusterHelper, :get_nodes, [:svc]}");
    fake_request(w, "1", ASK("dyn", "r", ""));
    assert_string_equal(w->call[0].node, "svc@localhost");
    assert_call_args(w, 0, "[:svc]");
    w->up[1] = "b@h";
    fake_answer(w, 0, CALL_RETURN, "[:b@h, nil, 5]");
    assert_string_equal(w->call[1].node, "b@h");
    fake_answer(w, 1, CALL_RETURN, "1");
    assert_frame(w, 0, OK_PUSH("r", "1"));
    fake_request(w, "1", ASK("dyn", "r", ""));
    assert_string_equal(w->call[2].node, "b@h");
    fake_answer(w, 2, CALL_RETURN, "1");
    w->timers.now_us += 7000001;
    fake_request(w, "1", ASK("dyn", "r", ""));
    assert_string_equal(w->call[3].node, "svc@localhost");
    fake_answer(w, 3, CALL_RETURN, "{:error, :no}");
    assert_frame(w, 4, ERROR_PUSH("r", "Internal Server Error", "false"));
    fake_request(w, "1", ASK("dyn", "r", ""));
    fake_answer(w, 4, CALL_RETURN, "[]");
    assert_frame(w, 6, ERROR_PUSH("r", "Internal Server Error", "false"));
    fake_function(w, "all", ", nodes: {:erlang, :nodes, []}");
    fake_request(w, "1", ASK("all", "r", ""));
    assert_int_equal(w->calls, 6);
    fake_answer(w, 5, CALL_RETURN, "1");
}

/* The transport's failures open a breaker; after its cooldown one call is tried */
static void a_breaker_passes_over_a_node_that_times_out(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "f", "");
    for (uint32_t i = 0; i < 5; i++) {
        fake_request(w, "1", ASK("f", "r", ""));
        fake_answer(w, i, CALL_TIMEOUT, NULL);
    }
    fake_request(w, "1", ASK("f", "r", ""));
    assert_int_equal(w->calls, 5);
    assert_frame(w, 10, ERROR_PUSH("r", "Service temporarily unavailable", "true"));
    assert_int_equal(w->metrics.value[METRIC_BREAKERS_OPENED], 1);
    w->timers.now_us += 5000000;
    fake_request(w, "1", ASK("f", "r", ""));
    assert_int_equal(w->calls, 6);
    gateway_channel_closed(w->gw, &w->waiting);
    fake_request(w, "1", ASK("f", "r", ""));
    fake_request(w, "1", ASK("f", "r", ""));
    assert_int_equal(w->calls, 7);
    fake_answer(w, 6, CALL_EXIT, "{:undef, []}");
    fake_request(w, "1", ASK("f", "r", ""));
    fake_answer(w, 7, CALL_RETURN, "1");
    assert_int_equal(w->metrics.value[METRIC_BREAKERS_OPENED], 1);
}

static void few_async(struct gateway_options *o)
{
    o->async_limit = 2;
    o->async_queue = 1;
}

/* E-138, E-210 */
static void async_requests_wait_for_their_turn(void **state)
{
    struct fake_world *w = *state;
    fake_world_fini(w);
    fake_world_init(w, few_async);
    fake_function(w, "later", ", response_type: :async");
    for (int i = 0; i < 4; i++)
        fake_request(w, "1", ASK("later", "r", ""));
    assert_int_equal(w->calls, 2);
    assert_frame(w, 6, ERROR_PUSH("r", "Service temporarily unavailable", "true"));
    assert_frame(w, 7, "reply 7 1 ok \"later\"");
    fake_answer(w, 0, CALL_RETURN, "1");
    assert_int_equal(w->calls, 3);
    fake_answer(w, 1, CALL_RETURN, "1");
    fake_answer(w, 2, CALL_RETURN, "1");
    assert_int_equal(gateway_in_flight(w->gw), 0);
}

static struct rate_limiter *limiter;

static void limited(struct gateway_options *o)
{
    static const struct rate_limit global[] = {{RATE_GLOBAL, {RATE_KEY_USER_ID, SLICE_NONE}, 3, 90000, false},
                                               {RATE_GLOBAL, {RATE_KEY_IP_ADDRESS, SLICE_NONE}, 1, 1000, true}};
    static const struct rate_limit api[] = {
        {{{"svc", 3}, {"echo", 4}}, {RATE_KEY_ARG, {"msg", 3}}, 1, 90000, false}};
    const struct rate_limiter_options lo = {o->metrics, RATE_BYTES_MIN, false};
    limiter = rate_limiter_new(&lo);
    assert_non_null(limiter);
    assert_int_equal(rate_limiter_set_global(limiter, global, 2, NULL), BG_OK);
    assert_int_equal(rate_limiter_set_api(limiter, api, 1, NULL), BG_OK);
    o->limiter = limiter;
}

static void begin_limited(struct fake_world *w)
{
    fake_world_fini(w);
    fake_world_init(w, limited);
    fake_function(w, "echo", ONE_STRING);
    fake_function(w, "later", ", response_type: :async");
    fake_function(w, "mine", ", check_permission: {:arg, \"user_id\"}");
    w->session.ip_address = SLICE_LIT("10.0.0.1");
}

#define LIMITED(id, n) ERROR_PUSH(id, "Rate limit exceeded. Please retry after " n " seconds.", "true")

/* E-072 want, E-076 */
static void a_rate_limit_refuses_with_the_time_to_wait(void **state)
{
    struct fake_world *w = *state;
    begin_limited(w);
    fake_request(w, "1", ASK("echo", "r1", ",\"args\":{\"msg\":\"a\"}"));
    w->timers.now_us += 500000;
    fake_request(w, "2", ASK("echo", "r2", ",\"args\":{\"msg\":\"a\"}"));
    assert_frame(w, 0, LIMITED("r2", "89"));
    assert_frame(w, 1, "reply 7 2 ok \"echo\"");
    assert_int_equal(w->calls, 1);
    fake_request(w, "3", ASK("echo", "r3", ",\"args\":{\"msg\":\"b\"}"));
    fake_request(w, "4", ASK("later", "r4", ""));
    assert_frame(w, 2, ACK_PUSH("r4"));
    assert_int_equal(w->calls, 3);
    fake_request(w, "5", ASK("later", "r5", ""));
    assert_frame(w, 4, LIMITED("r5", "89"));
    assert_frame(w, 5, "reply 7 5 ok \"later\"");
    assert_int_equal(w->frames, 6); /* no acknowledgement */
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_RATE_LIMITED], 2);
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_RATE_DRY_RUN], 3); /* by the address: r2, r3, r4 */
    w->timers.now_us += 90000000;
    fake_request(w, "6", ASK("echo", "r6", ",\"args\":{\"msg\":\"a\"}"));
    assert_int_equal(w->calls, 4);
    rate_limiter_free(limiter);
}

/* E-037: what is denied or unknown is not counted; E-002: a user_id of the payload is no second share */
static void only_the_session_user_with_permission_is_counted(void **state)
{
    struct fake_world *w = *state;
    begin_limited(w);
    for (int i = 0; i < 5; i++) {
        fake_request(w, "1", ASK("mine", "r", ",\"args\":{\"user_id\":\"u2\"}"));
        fake_request(w, "1", ASK("unknown", "r", ""));
    }
    for (int i = 0; i < 3; i++)
        fake_request(w, "1", ASK("later", "r", ",\"user_id\":\"other\""));
    assert_int_equal(w->calls, 3);
    fake_request(w, "1", ASK("later", "r", ",\"user_id\":\"another\""));
    assert_int_equal(w->calls, 3);
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_RATE_LIMITED], 1);
    rate_limiter_free(limiter);
}

/* E-077 */
static void a_full_limiter_that_fails_closed_says_so(void **state)
{
    struct fake_world *w = *state;
    char user[32];
    struct rate_subject s = {.user_id = {user, 0}};
    struct rate_result res;
    begin_limited(w);
    fake_function(w, "unlimited", "");
    unsigned n = 0;
    do
        s.user_id.len = (size_t)snprintf(user, sizeof(user), "user-%u", n++);
    while (rate_limiter_check(limiter, w->timers.now_us, &s, &res) == RATE_ALLOWED);
    fake_request(w, "1", ASK("unlimited", "r", ""));
    assert_frame(w, 0, ERROR_PUSH("r", "Rate limit service unavailable", "true"));
    assert_frame(w, 1, "reply 7 1 ok \"unlimited\"");
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_REFUSED], 1);
    rate_limiter_free(limiter);
}

/* E-151 want: nothing is begun for a client that leaves, whoever gives his place to whom */
static void a_channel_that_ends_begins_no_queued_request(void **state)
{
    struct fake_world *w = *state;
    fake_world_fini(w);
    fake_world_init(w, few_async);
    fake_function(w, "later", ", response_type: :async");
    for (int i = 0; i < 3; i++)
        fake_request(w, "1", ASK("later", "r", ""));
    assert_int_equal(w->calls, 2);
    gateway_channel_closed(w->gw, &w->waiting);
    assert_int_equal(w->calls, 2);
    assert_int_equal(w->cancelled, 2);
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_DROPPED], 3);
    fake_request(w, "1", ASK("later", "r", ""));
    assert_int_equal(w->calls, 3);
    fake_answer(w, 2, CALL_RETURN, "1");
}

/* Every request is counted once at its end, also one whose client is found to have left */
static void a_client_that_left_during_a_hook_is_counted(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "hooked", ", before_execute: {H, :before}");
    fake_request(w, "1", ASK("hooked", "r", ""));
    w->gone = true;
    fake_answer(w, 0, CALL_RETURN, ":go_on");
    assert_int_equal(w->calls, 1);
    assert_int_equal(w->frames, 0);
    assert_int_equal(gateway_in_flight(w->gw), 0);
    assert_int_equal(w->metrics.value[METRIC_REQUESTS_DROPPED], 1);
}

/* E-152 want: no call is left behind by a stream that ends before it has returned */
static void a_stream_that_is_stopped_early_cancels_its_call(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "stream", ", response_type: :stream");
    fake_request(w, "1", ASK("stream", "r", ""));
    assert_true(gateway_stream_stop(&w->waiting, SLICE_LIT("\"r\"")));
    assert_frame(w, 2, CHUNK("r", "null", "false"));
    assert_int_equal(w->cancelled, 1);
    assert_int_equal(w->frames, 3);
}

/* E-154, E-182: what the lost node's producer has said does not end the next one's stream */
static void a_stream_on_the_next_node_begins_anew(void **state)
{
    struct fake_world *w = *state;
    fake_function(w, "stream", ", response_type: :stream, nodes: [:a@h, :b@h], choose_node_mode: :round_robin");
    w->up[0] = "a@h";
    w->up[1] = "b@h";
    fake_request(w, "1", ASK("stream", "r", ""));
    stream_say(w, "{:result, 1}");
    stream_say(w, ":complete");
    fake_answer(w, 0, CALL_NODEDOWN, NULL);
    assert_string_equal(w->call[1].node, "b@h");
    stream_say(w, "{:result, 2}");
    fake_answer(w, 1, CALL_RETURN, "1");
    assert_frame(w, 2, NESTED("r", "1"));
    assert_frame(w, 3, CHUNK("r", "2", "true"));
    assert_int_equal(w->frames, 4);
    stream_say(w, ":complete");
    assert_frame(w, 4, CHUNK("r", "null", "false"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(sync_pushes_the_result_and_then_replies),
        T(results_are_mapped),
        T(what_cannot_be_decoded_is_refused_with_its_reason),
        T(numbers_in_fields_behave_as_recorded),
        T(versions_are_found_or_named_in_the_error),
        T(bad_arguments_of_sync_are_told_in_the_reply),
        T(async_is_acknowledged_and_answered_later),
        T(none_is_only_replied_to),
        T(the_socket_proves_the_user),
        T(the_mfa_own_arguments_come_first),
        T(permissions_are_checked_before_the_call),
        T(the_next_node_is_tried_when_one_is_down),
        T(no_node_at_all_is_an_error),
        T(bounds_have_their_answer),
        T(requests_in_flight_are_bounded),
        T(requests_in_flight_of_all_are_counted_refused_and_let_be_in_a_dry_run),
        T(requests_in_flight_are_bounded_for_a_socket_and_for_a_user),
        T(a_client_that_left_is_forgotten),
        T(an_oversized_payload_is_refused_with_its_size),
        T(options_give_details_and_the_library_fall_over),
        T(a_service_reason_may_reach_the_client),
        T(a_before_hook_replaces_request_and_config),
        T(a_before_hook_may_reject),
        T(roles_of_a_hooks_request_take_the_place_of_the_sessions),
        T(what_a_hook_returns_must_be_valid_and_allowed),
        cmocka_unit_test(the_allow_list_holds_for_what_a_hook_returns),
        cmocka_unit_test(hooks_run_on_the_companion_node),
        T(an_after_hook_is_told),
        T(a_permission_callback_decides),
        T(retry_runs_further_rounds_after_growing_pauses),
        T(a_stream_is_pushed_piece_by_piece),
        T(every_stream_ends_with_one_last_frame),
        T(a_breaker_passes_over_a_node_that_times_out),
        T(nodes_may_be_a_question_to_the_service),
        T(async_requests_wait_for_their_turn),
        T(a_rate_limit_refuses_with_the_time_to_wait),
        T(only_the_session_user_with_permission_is_counted),
        T(a_full_limiter_that_fails_closed_says_so),
        T(a_channel_that_ends_begins_no_queued_request),
        T(a_client_that_left_during_a_hook_is_counted),
        T(a_stream_that_is_stopped_early_cancels_its_call),
        T(a_stream_on_the_next_node_begins_anew),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
