/* test_authenticate.c: who a client is taken for (P-007, P-013..P-019; C-05, C-14..C-16). */
#include "unit.h"

#include <stdio.h>

#include "authenticate.h"
#include "log.h"

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define AT_MS 1700000060000ull
enum { ROWS_MAX = 64, ROW_GOOD = 0, ROW_OLD = 2, ROW_MAP = 5, ROW_FORGED = 28, ROW_ROLES = 32, ROW_MANY_ROLES = 33 };

static char tokens[ROWS_MAX][TOKEN_MAX + 1];
static const struct phoenix_key_rule usual;
static struct auth_method methods[3];
static struct socket_config config;
static struct metrics metrics;
static struct identity who;

static int load_tokens(void **state)
{
    (void)state;
    FILE *f = fopen("tests/data/tokens/phoenix.txt", "r");
    assert_non_null(f);
    for (int i = 0; i < ROWS_MAX && fscanf(f, "%*s %*s %*s %*u %8192s", tokens[i]) == 1;)
        i++;
    fclose(f);
    log_set_level(LOG_ERROR);
    return phoenix_token_key(SLICE_LIT(SECRET), SLICE_LIT("user socket"), &usual, &methods[0].key);
}

/* The socket's methods: a token and then as many as count says. */
static void use(uint32_t count, enum auth_type second, enum auth_type third)
{
    methods[0].type = AUTH_PHOENIX_TOKEN;
    methods[0].param = "token";
    methods[0].user_id_path = methods[0].roles_path = methods[0].device_id_path = NULL;
    methods[0].max_age_s = 0;
    methods[1] = (struct auth_method){.type = second, .param = "user_id"};
    methods[2] = (struct auth_method){.type = third, .param = "user_id"};
    config = (struct socket_config){.path = "/socket", .auth = methods, .auth_count = count};
}

/* "user" or "403"; a subprotocol that is answered is added. Valid until the next call. */
static const char *answer(const char *query, const char *headers)
{
    static char text[USER_ID_MAX + 64];
    char request[3 * TOKEN_MAX];
    struct http_head h;
    size_t used;
    int n = snprintf(request, sizeof(request), "GET /socket/websocket?%s HTTP/1.1\r\nHost: x\r\n%s\r\n", query, headers);
    assert_int_equal(http_head_parse(slice_make(request, (size_t)n), &h, &used, NULL), BG_OK);
    identity_fini(&who);
    identity_init(&who);
    if (edge_authenticate(&config, &h, AT_MS, &metrics, &who) != BG_OK)
        return "403";
    snprintf(text, sizeof(text), "%.*s%s", (int)who.user_id.len, who.user_id.data ? (char *)who.user_id.data : "",
             who.phoenix_subprotocol ? " phoenix" : "");
    return text;
}

static const char *with_param(int row)
{
    char query[TOKEN_MAX + 64];
    snprintf(query, sizeof(query), "vsn=2.0.0&token=%s", tokens[row]);
    return answer(query, "");
}

static void encode64(const char *text, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    unsigned held = 0;
    for (; *text; text++) {
        bits = bits << 8 | (uint8_t)*text;
        for (held += 8; held >= 6; held -= 6)
            *out++ = digits[bits >> (held - 6) & 63];
    }
    if (held)
        *out++ = digits[bits << (6 - held) & 63];
    *out = '\0';
}

/* %s of the header is the bearer entry with the token of the row. */
static const char *with_header(const char *format, int row)
{
    static char encoded[2 * TOKEN_MAX], entry[2 * TOKEN_MAX + 32], headers[2 * TOKEN_MAX];
    encode64(tokens[row], encoded);
    snprintf(entry, sizeof(entry), "base64url.bearer.phx.%s", encoded);
    char *at = headers;
    for (const char *p = format; *p; p++) {
        if (p[0] == '$')
            at += snprintf(at, sizeof(headers) - (size_t)(at - headers), "%s", entry);
        else
            *at++ = *p;
    }
    *at = '\0';
    return answer("vsn=2.0.0", headers);
}

/* P-019 */
static void a_token_in_the_connect_parameter_names_the_user(void **state)
{
    (void)state;
    use(1, AUTH_NONE, AUTH_NONE);
    assert_string_equal(with_param(ROW_GOOD), "u1");
    methods[0].user_id_path = "user_id";
    assert_string_equal(with_param(ROW_MAP), "u2");
    assert_string_equal(with_param(ROW_GOOD), "403"); /* names no user there */
}

static void a_client_without_a_right_token_is_refused_and_counted(void **state)
{
    (void)state;
    use(1, AUTH_NONE, AUTH_NONE);
    uint64_t before = metrics.value[METRIC_CLIENT_AUTH_REFUSED];
    assert_string_equal(answer("vsn=2.0.0", ""), "403");
    assert_string_equal(answer("token=", ""), "403");
    assert_string_equal(answer("token[]=x", ""), "403");
    assert_string_equal(answer("user_id=u1", ""), "403");
    assert_string_equal(with_param(ROW_FORGED), "403");
    methods[0].max_age_s = 59;
    assert_string_equal(with_param(ROW_OLD), "403");
    assert_int_equal(metrics.value[METRIC_CLIENT_AUTH_REFUSED], before + 6);
}

static void a_token_may_come_in_authorization(void **state)
{
    (void)state;
    char headers[TOKEN_MAX + 64];
    use(1, AUTH_NONE, AUTH_NONE);
    snprintf(headers, sizeof(headers), "Authorization: bearer %s\r\n", tokens[ROW_GOOD]);
    assert_string_equal(answer("vsn=2.0.0", headers), "u1");
    snprintf(headers, sizeof(headers), "Authorization: Basic %s\r\n", tokens[ROW_GOOD]);
    assert_string_equal(answer("vsn=2.0.0", headers), "403");
    assert_string_equal(answer("vsn=2.0.0", "Authorization: Bearer \r\n"), "403");
}

/* P-013..P-016, C-14..C-16 */
static void a_token_may_come_as_a_subprotocol(void **state)
{
    (void)state;
#define OFFER "Sec-WebSocket-Protocol: "
    use(1, AUTH_NONE, AUTH_NONE);
    assert_string_equal(with_header(OFFER "phoenix, $\r\n", ROW_GOOD), "u1 phoenix");
    assert_string_equal(with_header(OFFER "$,phoenix\r\n", ROW_GOOD), "u1 phoenix");
    assert_string_equal(with_header(OFFER "phoenix\r\n" OFFER "$\r\n", ROW_GOOD), "u1 phoenix");
    assert_string_equal(with_header(OFFER "$\r\n", ROW_GOOD), "u1");
    assert_string_equal(with_header(OFFER "phoenix, $, $\r\n", ROW_GOOD), "403"); /* then there is no token */
    assert_string_equal(with_header(OFFER "mqtt, $\r\n", ROW_GOOD), "403");
    assert_string_equal(with_header(OFFER "phoenix, $\r\n", ROW_FORGED), "403");
    assert_string_equal(answer("vsn=2.0.0", OFFER "phoenix, base64url.bearer.phx.dG9!\r\n"), "403");
    use(2, AUTH_NONE, AUTH_NONE);
    assert_string_equal(with_header(OFFER "phoenix, $, $\r\n", ROW_GOOD), " phoenix");
    assert_string_equal(answer("vsn=2.0.0", OFFER "mqtt\r\n"), "403");
    assert_string_equal(answer("vsn=2.0.0", OFFER "phoenix, base64url.bearer.phx.dG9!\r\n"), "403");
    config = (struct socket_config){.path = "/socket"};
    assert_string_equal(answer("vsn=2.0.0", OFFER "mqtt\r\n"), ""); /* P-017 */
}

static void methods_are_tried_in_order_but_a_bad_token_is_never_passed_over(void **state)
{
    (void)state;
    use(3, AUTH_PARAM, AUTH_NONE);
    assert_string_equal(with_param(ROW_GOOD), "u1");
    assert_string_equal(answer("user_id=u7", ""), "u7");
    assert_string_equal(answer("user_id=", ""), "");
    assert_string_equal(answer("vsn=2.0.0", ""), "");
    assert_string_equal(answer("user_id=a%00b", ""), "403");
    assert_string_equal(answer("user_id=u7&token=x", ""), "403");
    assert_string_equal(with_param(ROW_FORGED), "403");
    use(2, AUTH_PARAM, AUTH_NONE);
    assert_string_equal(answer("vsn=2.0.0", ""), "403");
}

/* What a method has read before it refused must not become a part of the user whom another one accepts. */
static void a_refused_parameter_leaves_nothing_of_a_user(void **state)
{
    (void)state;
    char query[TOKEN_MAX + 64];
    use(2, AUTH_PARAM, AUTH_NONE);
    const struct auth_method param_first[] = {methods[1], methods[0]};
    config.auth = param_first;
    snprintf(query, sizeof(query), "user_id=admin%%zz&token=%s", tokens[ROW_GOOD]);
    assert_string_equal(answer(query, ""), "u1");
    snprintf(query, sizeof(query), "user_id=a%%00&token=%s", tokens[ROW_GOOD]);
    assert_string_equal(answer(query, ""), "u1");
    assert_string_equal(answer("user_id=admin%zz", ""), "403");
    assert_int_equal(who.user_id.len, 0);
}

/* E-051: {role, L} looks at these. */
static void roles_come_from_the_token_and_are_bounded(void **state)
{
    (void)state;
    use(1, AUTH_NONE, AUTH_NONE);
    methods[0].user_id_path = "user_id";
    methods[0].roles_path = "roles";
    assert_string_equal(with_param(ROW_ROLES), "u9");
    assert_int_equal(who.roles.len, 15);
    assert_memory_equal(who.roles.data, "admin\0editor\0003\0", 15);
    assert_string_equal(with_param(ROW_MAP), "u2"); /* has none */
    assert_int_equal(who.roles.len, 0);
    assert_string_equal(with_param(ROW_MANY_ROLES), "403");
    methods[0].roles_path = NULL;
    assert_string_equal(with_param(ROW_ROLES), "u9");
    assert_int_equal(who.roles.len, 0);
}

/* The last word of a row that has so many. */
static const char *row_of(const char *file, unsigned words, unsigned row)
{
    static char token[TOKEN_MAX + 1];
    char path[64];
    snprintf(path, sizeof(path), "tests/data/tokens/%s", file);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (unsigned i = 0; i < (row + 1) * words; i++)
        assert_int_equal(fscanf(f, "%8191s", token), 1);
    fclose(f);
    return token;
}

/* Shows the token as the connect parameter. */
static const char *shown(const char *token)
{
    static char query[TOKEN_MAX + 64];
    snprintf(query, sizeof(query), "vsn=2.0.0&token=%s", token);
    return answer(query, "");
}

static void an_encrypted_token_names_the_user(void **state)
{
    (void)state;
    const char *token = row_of("encrypted.txt", 6, 0);
    use(1, AUTH_NONE, AUTH_NONE);
    assert_string_equal(shown(token), "403"); /* it is not signed */
    methods[0].type = AUTH_PHOENIX_ENCRYPTED;
    assert_string_equal(shown(token), "u1");
    assert_string_equal(with_param(ROW_GOOD), "403"); /* nor is that encrypted */
}

/* E-025: the device that the gateway knows, as requests will carry it. */
static void the_device_comes_from_the_token(void **state)
{
    (void)state;
    use(1, AUTH_NONE, AUTH_NONE);
    methods[0].user_id_path = "user.id";
    methods[0].device_id_path = "user.id";
    assert_string_equal(with_param(6), "u3");
    assert_slice_is(buf_slice(&who.device_id), "\"u3\"");
    methods[0].device_id_path = "user.nothing";
    assert_string_equal(with_param(6), "u3");
    assert_int_equal(who.device_id.len, 0);
    methods[0].device_id_path = "user.x"; /* a list is no device */
    assert_string_equal(with_param(6), "403");
}

static void several_token_methods_are_tried_and_each_may_accept(void **state)
{
    (void)state;
    struct err e;
    use(2, AUTH_JWT, AUTH_NONE);
    methods[1].param = "token";
    methods[1].user_id_path = "sub";
    methods[1].jwt_rules = (struct jwt_rules){.issuer = "iss", .audience = "gw"};
    methods[1].jwt_keys =
        jwt_keys_new("HS256", SLICE_LIT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), &e);
    assert_non_null(methods[1].jwt_keys);
    assert_string_equal(with_param(ROW_GOOD), "u1");
    const char *jwt = row_of("jwt.txt", 5, 0);
    assert_string_equal(shown(jwt), "u1");
    methods[1].jwt_rules.issuer = "another";
    assert_string_equal(shown(jwt), "403");
    assert_string_equal(with_param(ROW_FORGED), "403");
    jwt_keys_free(methods[1].jwt_keys);
}

static int drop_identity(void **state)
{
    (void)state;
    identity_fini(&who);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_in_the_connect_parameter_names_the_user),
        cmocka_unit_test(a_client_without_a_right_token_is_refused_and_counted),
        cmocka_unit_test(a_token_may_come_in_authorization),
        cmocka_unit_test(a_token_may_come_as_a_subprotocol),
        cmocka_unit_test(methods_are_tried_in_order_but_a_bad_token_is_never_passed_over),
        cmocka_unit_test(a_refused_parameter_leaves_nothing_of_a_user),
        cmocka_unit_test(roles_come_from_the_token_and_are_bounded),
        cmocka_unit_test(an_encrypted_token_names_the_user),
        cmocka_unit_test(the_device_comes_from_the_token),
        cmocka_unit_test(several_token_methods_are_tried_and_each_may_accept),
    };
    return cmocka_run_group_tests(tests, load_tokens, drop_identity);
}
