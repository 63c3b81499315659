/*
 * test_args.c: argument names, types, conversion and order (E-100..E-131), one row a case. Each row gives
 * arg_types and arg_orders of a FunConfig, the client's args, and the resulting list or the error.
 */
#include "unit.h"

#include <stdio.h>

#include "args.h"
#include "term_text.h"

static const struct args_limits limits = {3000, 1000, 1000, {64, 0}};

static struct fun_config *config(const char *types, const char *orders)
{
    char text[2048];
    struct buf b;
    struct fun_config_reasons why = {0};
    snprintf(text, sizeof(text),
             "%%{request_type: \"rt\", service: \"svc\", nodes: [:svc@localhost], mfa: {M, :f, []}, arg_types: %s, arg_orders: %s}",
             types, orders);
    buf_init(&b, 0);
    struct fun_config *fc = fun_config_from_term(term_of(&b, text), SLICE_NONE, &why);
    if (!fc)
        fail_msg("config refused: %s (%s)", why.text[0], text);
    buf_fini(&b);
    return fc;
}

/* The built arguments as one list in Elixir's notation. */
static void inspect_list(struct slice elements, uint32_t count, struct buf *out)
{
    struct buf list;
    buf_init(&list, 0);
    term_put_list(&list, count);
    buf_add_slice(&list, elements);
    if (count)
        term_put_nil(&list);
    term_inspect(buf_slice(&list), out, 4096);
    buf_fini(&list);
}

static void check(const char *types, const char *orders, const char *args, const char *want)
{
    struct fun_config *fc = config(types, orders);
    struct buf out, message;
    uint32_t count = 0;
    buf_init(&out, 0);
    buf_init(&message, 0);
    int rc = args_build(fc, slice_str(args), &limits, &out, &count, &message);
    if (rc == BG_OK)
        inspect_list(buf_slice(&out), count, &message);
    if (!slice_is(buf_slice(&message), want))
        fail_msg("types %s orders %s args %s\n gives %.*s\n  want %s", types, orders, args, (int)message.len,
                 (const char *)message.data, want);
    buf_fini(&out);
    buf_fini(&message);
    fun_config_unref(fc);
}

struct row {
    const char *types;
    const char *orders;
    const char *args;
    const char *want;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check(rows[i].types, rows[i].orders, rows[i].args, rows[i].want);
}

static void names_and_order(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* E-100 */ {"nil", "nil", "{\"x\":1}", "[]"},
        /* E-100 */ {"%{}", "[]", "[1]", "[]"},
        /* E-023 */ {"%{\"a\" => :any}", "[\"a\"]", "[1]", "expected a map, got: [1]"},
        /* E-023 */ {"%{\"a\" => :any}", "[\"a\"]", "\"x\"", "expected a map, got: \"x\""},
        /* E-101 */ {"%{\"a\" => :any}", "[\"a\"]", "{\"z\":1,\"b\":2,\"z\":3}", "extra arguments for \"rt\", extra: [\"b\", \"z\"]"},
        /* E-102 */ {"%{\"a\" => :any}", "[\"a\"]", "{}", "missing or nil argument \"a\" in \"rt\""},
        /* E-102 */ {"%{\"a\" => :any}", "[\"a\"]", "null", "missing or nil argument \"a\" in \"rt\""},
        /* E-102 */ {"%{\"b\" => :num, \"a\" => :num}", "[\"b\", \"a\"]", "{\"b\":\"x\",\"a\":\"y\"}",
                     "invalid argument type for \"a\", expected :num, got \"y\""},
        /* E-103 */ {"%{\"a\" => [{:type, :num}, {:default_value, 18}]}", "[\"a\"]", "{}", "[18]"},
        /* E-103 */ {"%{\"a\" => [{:type, :num}, {:default_value, 18}]}", "[\"a\"]", "{\"a\":null}", "missing or nil argument \"a\" in \"rt\""},
        /* F-066 */ {"%{\"a\" => [{:type, :num}, {:default_value, \"none\"}]}", "[\"a\"]", "{}", "[\"none\"]"},
        /* F-066 */ {"%{\"a\" => [{:type, :string}, {:max_bytes, 2}, {:default_value, \"long\"}]}", "[\"a\"]", "{}", "[\"long\"]"},
        /* F-065 */ {"%{\"a\" => [{:type, :string}, {:allow_nil?, true}]}", "[\"a\"]", "{\"a\":null}", "[nil]"},
        /* F-065 */ {"%{\"a\" => [{:type, :string}, {:allow_nil?, true}]}", "[\"a\"]", "{}", "[nil]"},
        /* E-104 */ {"%{\"a\" => :num, \"b\" => :num}", "[\"b\", \"a\"]", "{\"a\":1,\"b\":2}", "[2, 1]"},
        /* E-104 */ {"%{\"a\" => :num, \"b\" => :num, \"c\" => :string}", "[\"c\", \"a\", \"b\"]", "{\"b\":2,\"a\":1,\"c\":\"x\"}", "[\"x\", 1, 2]"},
        /* E-104 */ {"%{\"a\" => :num, \"b\" => :num}", "[]", "{\"a\":1,\"b\":2}", "[]"},
        /* E-104 */ {"%{\"a\" => :num}", "[]", "{\"a\":1}", "[1]"},
        /* F-057 */ {"%{\"a\" => :num}", "nil", "{\"a\":1}", "[1]"},
        /* E-104 */ {"%{\"a\" => :num, \"b\" => [{:type, :num}, {:allow_nil?, true}]}", ":map", "{\"a\":1}", "[%{\"a\" => 1, \"b\" => nil}]"},
        /* E-234: the first of duplicate keys */ {"%{\"a\" => :any}", "[\"a\"]", "{\"a\":1,\"a\":2}", "[1]"},
        /* escaped names */ {"%{\"a\" => :any}", "[\"a\"]", "{\"\\u0061\":1}", "[1]"},
    };
    check_rows(rows, ARRAY_SIZE(rows));
}

static void scalar_types(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* E-110 */ {"%{\"v\" => :string}", "[\"v\"]", "{\"v\":\"\"}", "[\"\"]"},
        /* E-110 */ {"%{\"v\" => {:string, 8}}", "[\"v\"]", "{\"v\":\"123456789\"}", "invalid argument size for \"v\", max 8 bytes"},
        /* E-110 */ {"%{\"v\" => {:string, 8}}", "[\"v\"]", "{\"v\":\"\\u0031\\u0032\\u0033\"}", "[\"123\"]"},
        /* E-110 want */ {"%{\"v\" => :string}", "[\"v\"]", "{\"v\":5}", "invalid argument type for \"v\", expected :string, got 5"},
        /* E-111 */ {"%{\"v\" => :num}", "[\"v\"]", "{\"v\":-1.5}", "[-1.5]"},
        /* E-111 */ {"%{\"v\" => :num}", "[\"v\"]", "{\"v\":123456789012345678901234567890}", "[123456789012345678901234567890]"},
        /* E-111 */ {"%{\"v\" => :num}", "[\"v\"]", "{\"v\":\"1\"}", "invalid argument type for \"v\", expected :num, got \"1\""},
        /* E-129 */ {"%{\"v\" => :num}", "[\"v\"]", "{\"v\":true}", "invalid argument type for \"v\", expected :num, got true"},
        /* E-112 */ {"%{\"v\" => :boolean}", "[\"v\"]", "{\"v\":false}", "[false]"},
        /* E-112 */ {"%{\"v\" => :boolean}", "[\"v\"]", "{\"v\":1}", "invalid argument type for \"v\", expected :boolean, got 1"},
        /* E-113 */ {"%{\"v\" => :uuid}", "[\"v\"]", "{\"v\":\"7B9D6B2C-1A0E-4C55-9A3E-0F2F3B7A1C11\"}", "[\"7B9D6B2C-1A0E-4C55-9A3E-0F2F3B7A1C11\"]"},
        /* E-113 */ {"%{\"v\" => :uuid}", "[\"v\"]", "{\"v\":\"urn:uuid:7b9d6b2c-1a0e-4c55-9a3e-0f2f3b7a1c11\"}",
                     "[\"urn:uuid:7b9d6b2c-1a0e-4c55-9a3e-0f2f3b7a1c11\"]"},
        /* E-113 */ {"%{\"v\" => :uuid}", "[\"v\"]", "{\"v\":\"not-a-uuid\"}", "invalid argument value for \"v\", require a UUID format string"},
        /* E-113 */ {"%{\"v\" => :uuid}", "[\"v\"]", "{\"v\":5}", "invalid argument value for \"v\", require a UUID format string"},
        /* F-062 */ {"%{\"v\" => :any}", "[\"v\"]", "{\"v\":{\"a\":[1,{\"b\":null}]}}", "[%{\"a\" => [1, %{\"b\" => nil}]}]"},
    };
    check_rows(rows, ARRAY_SIZE(rows));
}

static void dates(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* E-114 want */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"2024-01-01T00:00:00Z\"}", "[~U[2024-01-01 00:00:00Z]]"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"2024-01-01T00:30:00.120+07:00\"}", "[~U[2023-12-31 17:30:00.120Z]]"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"2024-02-29T23:30:00-0100\"}", "[~U[2024-03-01 00:30:00Z]]"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"2024-01-01T00:00:00\"}", "invalid datetime format for \"v\": missing_offset"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"yesterday\"}", "invalid datetime format for \"v\": invalid_format"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"2023-02-29T00:00:00Z\"}", "invalid datetime format for \"v\": invalid_date"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"9999-12-31T23:59:59-00:01\"}", "invalid datetime format for \"v\": invalid_date"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":\"-0044-03-15T00:00:00Z\"}", "[~U[-0044-03-15 00:00:00Z]]"},
        /* E-114 */ {"%{\"v\" => :datetime}", "[\"v\"]", "{\"v\":1}",
                     "invalid argument type for \"v\", expected :datetime (ISO 8601 string), got 1"},
        /* E-115 */ {"%{\"v\" => :naive_datetime}", "[\"v\"]", "{\"v\":\"2024-01-01 00:00:00.123456+07:00\"}", "[~N[2024-01-01 00:00:00.123456]]"},
        /* E-115 */ {"%{\"v\" => :naive_datetime}", "[\"v\"]", "{\"v\":\"x\"}", "invalid naive_datetime format for \"v\": invalid_format"},
    };
    check_rows(rows, ARRAY_SIZE(rows));
}

static void lists(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* E-116 */ {"%{\"v\" => :list}", "[\"v\"]", "{\"v\":[1,\"a\",true,1.5]}", "[[1, \"a\", true, 1.5]]"},
        /* E-116 */ {"%{\"v\" => :list}", "[\"v\"]", "{\"v\":[[1]]}", "nested list is not supported yet"},
        /* E-116 */ {"%{\"v\" => :list}", "[\"v\"]", "{\"v\":[{}]}", "nested map is not supported yet"},
        /* E-116 */ {"%{\"v\" => :list}", "[\"v\"]", "{\"v\":[null]}", "unsupported type nil"},
        /* E-116: the first bad item */ {"%{\"v\" => :list}", "[\"v\"]", "{\"v\":[1,{},null,[]]}", "nested map is not supported yet"},
        /* E-116: too long comes first */ {"%{\"v\" => {:list, 2}}", "[\"v\"]", "{\"v\":[null,1,2]}", "invalid argument size for \"v\" in \"rt\", max 2 items"},
        /* E-116 */ {"%{\"v\" => {:list, 2}}", "[\"v\"]", "{\"v\":[1,null]}", "unsupported type nil"},
        /* E-116 */ {"%{\"v\" => {:list, 2}}", "[\"v\"]", "{\"v\":[]}", "[[]]"},
        /* E-117: too long comes first */ {"%{\"v\" => {:list_num, 2}}", "[\"v\"]", "{\"v\":[\"a\",1,2]}", "invalid argument size for \"v\" in \"rt\", max 2 items"},
        /* E-117: escapes do not count */ {"%{\"v\" => {:list_string, 2, 4}}", "[\"v\"]", "{\"v\":[\"\\u0061bcd\"]}", "[[\"abcd\"]]"},
        /* E-117 */ {"%{\"v\" => {:list_string, 2, 4}}", "[\"v\"]", "{\"v\":[\"\\u0061bcde\"]}", "unsupported type of \"abcde\" in list"},
        /* E-117 */ {"%{\"v\" => :list_string}", "[\"v\"]", "{\"v\":[\"a\",1]}", "unsupported type of 1 in list"},
        /* E-117 */ {"%{\"v\" => [{:type, :list_string}, {:max_items, 2}, {:max_item_bytes, 4}]}", "[\"v\"]", "{\"v\":[\"abcde\"]}", "unsupported type of \"abcde\" in list"},
        /* E-117 */ {"%{\"v\" => [{:type, :list_string}, {:max_items, 2}]}", "[\"v\"]", "{\"v\":[\"a\",\"b\",\"c\"]}",
                     "invalid argument size for \"v\" in \"rt\", max 2 items"},
        /* F-064 */ {"%{\"v\" => {:list_string, 2, 4}}", "[\"v\"]", "{\"v\":[\"abcde\"]}", "unsupported type of \"abcde\" in list"},
        /* E-117 */ {"%{\"v\" => :list_num}", "[\"v\"]", "{\"v\":[1,2.5]}", "[[1, 2.5]]"},
        /* E-117 */ {"%{\"v\" => :list_num}", "[\"v\"]", "{\"v\":[1,\"2\"]}", "unsupported type of \"2\" in list"},
        /* E-117 */ {"%{\"v\" => :list_map}", "[\"v\"]", "{\"v\":[{\"a\":{\"b\":1}}]}", "[[%{\"a\" => %{\"b\" => 1}}]]"},
        /* E-117 */ {"%{\"v\" => :list_map}", "[\"v\"]", "{\"v\":[1]}", "unsupported type of 1 in list"},
        /* F-063 */ {"%{\"v\" => {:list_uuid, 1}}", "[\"v\"]", "{\"v\":[\"x\"]}", "unsupported type of \"x\" in list"},
        /* a list wanted */ {"%{\"v\" => :list_num}", "[\"v\"]", "{\"v\":1}", "invalid argument type for \"v\", expected :list_num, got 1"},
    };
    check_rows(rows, ARRAY_SIZE(rows));
}

#define X_MAP "%{\"v\" => [{:type, :map}, {:max_items, 3}, {:required, [\"name\"]}, {:accept, [\"name\", \"age\"]}]}"

static void maps(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* E-118 */ {"%{\"v\" => :map}", "[\"v\"]", "{\"v\":{\"name\":{\"b\":1},\"n\":null}}", "[%{\"name\" => %{\"b\" => 1}, \"n\" => nil}]"},
        /* E-118 */ {"%{\"v\" => :map}", "[\"v\"]", "{\"v\":\"x\"}", "expected a map, got: \"x\""},
        /* E-118 */ {"%{\"v\" => {:map, 1}}", "[\"v\"]", "{\"v\":{\"a\":1,\"b\":2}}", "invalid argument size for \"v\" in \"rt\", max 1 items"},
        /* E-127 */ {X_MAP, "[\"v\"]", "{\"v\":{\"name\":\"x\",\"age\":3}}", "[%{\"name\" => \"x\", \"age\" => 3}]"},
        /* E-127 */ {X_MAP, "[\"v\"]", "{\"v\":{\"age\":1}}", "map argument \"v\" missing required keys: [\"name\"] in \"rt\""},
        /* E-127 */ {X_MAP, "[\"v\"]", "{\"v\":{\"name\":\"x\",\"zz\":1}}", "map argument \"v\" contains rejected keys: [\"zz\"] in \"rt\""},
        /* E-127 */ {X_MAP, "[\"v\"]", "{\"v\":{\"name\":{\"b\":1}}}", "nested map is not supported yet"},
        /* E-127 */ {X_MAP, "[\"v\"]", "{\"v\":{\"name\":null}}", "unsupported type nil in map for key \"name\""},
        /* E-127 */ {X_MAP, "[\"v\"]", "{\"v\":{\"name\":[1,2]}}", "[%{\"name\" => [1, 2]}]"},
    };
    check_rows(rows, ARRAY_SIZE(rows));
}

/* E-113: any character at any place of the four forms that are told by their characters. */
static void each_character_of_a_uuid_is_judged(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *more; /* characters that may stand beside the hexadecimal digits */
    } forms[] = {
        {"7b9d6b2c-1a0e-4c55-9a3e-0f2f3b7a1c11", ""},
        {"urn:uuid:7b9d6b2c-1a0e-4c55-9a3e-0f2f3b7a1c11", ""},
        {"7b9d6b2c1a0e4c559a3e0f2f3b7a1c11", ""},
        {"0123456789abcdefABCDEF", "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ-_"},
    };
    struct fun_config *fc = config("%{\"v\" => :uuid}", "[\"v\"]");
    struct buf out, message;
    uint32_t count;
    buf_init(&out, 0);
    buf_init(&message, 0);
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        for (size_t at = 0; at < strlen(forms[i].text); at++)
            for (char c = ' '; c < 127; c++) {
                char args[80], good = forms[i].text[at];
                if (c == '"' || c == '\\')
                    continue;
                int n = snprintf(args, sizeof(args), "{\"v\":\"%s\"}", forms[i].text);
                args[6 + at] = c;
                bool digit = strchr("0123456789abcdefABCDEF", c) || strchr(forms[i].more, c);
                bool fixed = good == '-' || (i == 1 && at < strlen("urn:uuid:"));
                int rc = args_build(fc, slice_make(args, n), &limits, &out, &count, &message);
                if ((rc == BG_OK) != (fixed ? c == good : digit))
                    fail_msg("%s is %s", args, rc == BG_OK ? "accepted" : "refused");
                buf_reset(&out);
                buf_reset(&message);
            }
    buf_fini(&out);
    buf_fini(&message);
    fun_config_unref(fc);
}

/* Few names are compared one by one, many are found by halving. */
static void any_number_of_names_is_found(void **state)
{
    (void)state;
    for (int count = 1; count <= 20; count++) {
        char types[1024] = "%{", orders[256] = "[", args[512] = "{", want[256] = "[", one[64];
        for (int i = 0; i < count; i++) {
            const char *comma = i ? ", " : "";
            snprintf(one, sizeof(one), "%s\"a%d\" => :num", comma, i);
            strcat(types, one);
            snprintf(one, sizeof(one), "%s\"a%d\"", comma, i);
            strcat(orders, one);
            snprintf(one, sizeof(one), "%s\"%s%d\":%d", comma, i % 3 ? "a" : "\\u0061", count - 1 - i, 1000 - i);
            strcat(args, one);
            snprintf(one, sizeof(one), "%s%d", comma, 1000 - (count - 1 - i));
            strcat(want, one);
        }
        check(strcat(types, "}"), strcat(orders, "]"), strcat(args, "}"), strcat(want, "]"));
        args[strlen(args) - 1] = '\0';
        strcat(args, ",\"a\":1,\"a99\":1,\"b0\":1,\"\\u0061\\u0030x\":1}");
        check(types, orders, args, "extra arguments for \"rt\", extra: [\"a\", \"a0x\", \"a99\", \"b0\"]");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_order), cmocka_unit_test(scalar_types), cmocka_unit_test(dates),
        cmocka_unit_test(lists),           cmocka_unit_test(maps),
        cmocka_unit_test(each_character_of_a_uuid_is_judged),
        cmocka_unit_test(any_number_of_names_is_found),
    };
    return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
