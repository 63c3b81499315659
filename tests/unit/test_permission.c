/* test_permission.c: who may call (E-050..E-055). */
#include "unit.h"

#include "permission.h"
#include "term_text.h"

static struct fun_config *config(const char *permission, const char *types, const char *orders, const char *callback)
{
    static struct fun_config_reasons why;
    struct buf b;
    buf_init(&b, 0);
    struct fun_config *fc =
        fun_config_from_term(config_term(&b, "check_permission", permission, "arg_types", types, "arg_orders", orders,
                                         "permission_callback", callback, NULL),
                             SLICE_NONE, &why);
    if (!fc)
        fail_msg("%s", why.text[0]);
    buf_fini(&b);
    return fc;
}

/* One check of a config that is made for it. roles: one role or NULL. */
static enum permission check(const char *permission, const char *user, const char *role, const char *args,
                             const char *types, const char *orders)
{
    struct fun_config *fc = config(permission, types, orders, "nil");
    struct slice roles = role ? slice_str(role) : SLICE_NONE;
    enum permission p = permission_check(fc, slice_str(user), &roles, role ? 1 : 0, slice_str(args));
    fun_config_unref(fc);
    return p;
}

#define ALLOWED(...) assert_int_equal(check(__VA_ARGS__), PERMISSION_ALLOWED)
#define DENIED(...) assert_int_equal(check(__VA_ARGS__), PERMISSION_DENIED)

/* E-050, E-051. */
static void open_functions_and_authenticated_ones(void **state)
{
    (void)state;
    ALLOWED("false", "", NULL, "{}", "nil", "nil");
    ALLOWED(":any_authenticated", "u1", NULL, "{}", "nil", "nil");
    DENIED(":any_authenticated", "", NULL, "{}", "nil", "nil");
}

/* E-052. */
static void argument_must_equal_the_user(void **state)
{
    (void)state;
    static const char p[] = "{:arg, \"user_id\"}";
    ALLOWED(p, "u1", NULL, "{\"user_id\":\"u1\"}", "nil", "nil");
    ALLOWED(p, "u1", NULL, "{\"x\":1,\"user\\u005fid\":\"\\u0075\\u0031\"}", "nil", "nil");
    DENIED(p, "u1", NULL, "{\"user_id\":\"u2\"}", "nil", "nil");
    DENIED(p, "5", NULL, "{\"user_id\":5}", "nil", "nil");
    DENIED(p, "", NULL, "{\"user_id\":\"\"}", "nil", "nil");
    DENIED(p, "u1", NULL, "{}", "nil", "nil");
    DENIED(p, "u1", NULL, "", "nil", "nil");
    DENIED(p, "u1", NULL, "[\"u1\"]", "nil", "nil");
    DENIED(p, "u1", NULL, "{\"user_id\":null}", "nil", "nil");
    DENIED(p, "u1", NULL, "{\"user_id\":[\"u1\"]}", "nil", "nil");
    /* of a repeated key the function gets the first (E-234) */
    DENIED(p, "u1", NULL, "{\"user_id\":\"u2\",\"user_id\":\"u1\"}", "nil", "nil");
    ALLOWED(p, "u1", NULL, "{\"user_id\":\"u1\",\"user_id\":\"u2\"}", "nil", "nil");
    /* nested objects count in map mode only */
    DENIED(p, "u1", NULL, "{\"data\":{\"user_id\":\"u1\"}}", "%{\"data\" => :map}", "[\"data\"]");
}

/* E-052 in map mode. */
static void map_mode_searches_one_level_deep(void **state)
{
    (void)state;
    static const char p[] = "{:arg, \"user_id\"}", t[] = "%{\"a\" => :map, \"b\" => :map, \"user_id\" => :string}";
    ALLOWED(p, "u1", NULL, "{\"user_id\":\"u1\"}", t, ":map");
    DENIED(p, "u1", NULL, "{\"user_id\":\"u2\",\"a\":{\"user_id\":\"u1\"}}", t, ":map");
    ALLOWED(p, "u1", NULL, "{\"a\":{\"user_id\":\"u1\"}}", t, ":map");
    ALLOWED(p, "u1", NULL, "{\"user_id\":null,\"a\":{\"user_id\":\"u1\"}}", t, ":map");
    ALLOWED(p, "u1", NULL, "{\"user_id\":false,\"a\":{\"user_id\":\"u1\"}}", t, ":map");
    /* key order, not the order of writing: a goes before b */
    ALLOWED(p, "u1", NULL, "{\"b\":{\"user_id\":\"u2\"},\"a\":{\"user_id\":\"u1\"}}", t, ":map");
    DENIED(p, "u1", NULL, "{\"b\":{\"user_id\":\"u1\"},\"a\":{\"user_id\":\"u2\"}}", t, ":map");
    ALLOWED(p, "u1", NULL, "{\"b\":{\"user_id\":\"u1\"},\"a\":{\"user_id\":null}}", t, ":map");
    DENIED(p, "u1", NULL, "{\"b\":{\"user_id\":\"u1\"},\"a\":{\"user_id\":false}}", t, ":map");
    /* two levels are too deep, and what is not declared is not looked at */
    DENIED(p, "u1", NULL, "{\"a\":{\"x\":{\"user_id\":\"u1\"}}}", t, ":map");
    DENIED(p, "u1", NULL, "{\"other\":{\"user_id\":\"u1\"}}", t, ":map");
    /* the function gets the first a, which holds nobody */
    DENIED(p, "u1", NULL, "{\"a\":{},\"a\":{\"user_id\":\"u1\"}}", t, ":map");
    DENIED(p, "u1", NULL, "{\"a\":{},\"\\u0061\":{\"user_id\":\"u1\"}}", t, ":map");
}

/* E-053 want. */
static void roles_are_compared_as_text(void **state)
{
    (void)state;
    ALLOWED("{:role, [\"admin\"]}", "u1", "admin", "{}", "nil", "nil");
    ALLOWED("{:role, [:editor, :admin]}", "", "admin", "{}", "nil", "nil");
    DENIED("{:role, [:admin]}", "u1", "viewer", "{}", "nil", "nil");
    DENIED("{:role, [:admin]}", "u1", NULL, "{\"user_roles\":[\"admin\"]}", "nil", "nil");
    DENIED("{:role, []}", "u1", "admin", "{}", "nil", "nil");
    DENIED("{:role, [\"\"]}", "u1", "", "{}", "nil", "nil");
}

/* E-054, E-055: a callback goes before every kind; an unknown kind denies. */
static void callback_decides_and_unknown_kinds_deny(void **state)
{
    (void)state;
    struct fun_config *fc = config("{:role, [:admin]}", "nil", "nil", "{M, :check, []}");
    assert_int_equal(permission_check(fc, SLICE_LIT("u1"), NULL, 0, SLICE_LIT("{}")), PERMISSION_ASK);
    fun_config_unref(fc);
    fc = config("false", "nil", "nil", "nil");
    fc->permission = (enum permission_kind)99;
    assert_int_equal(permission_check(fc, SLICE_LIT("u1"), NULL, 0, SLICE_LIT("{}")), PERMISSION_DENIED);
    fun_config_unref(fc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_functions_and_authenticated_ones),   cmocka_unit_test(argument_must_equal_the_user),
        cmocka_unit_test(map_mode_searches_one_level_deep),        cmocka_unit_test(roles_are_compared_as_text),
        cmocka_unit_test(callback_decides_and_unknown_kinds_deny),
    };
    return cmocka_run_group_tests_name("permission", tests, NULL, NULL);
}
