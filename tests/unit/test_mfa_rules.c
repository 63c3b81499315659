/* test_mfa_rules.c: which functions a config may name (S-081..S-083). */
#include "unit.h"

#include "mfa_rules.h"
#include "term_text.h"

/* S-081: allow-listed or not. */
static void dangerous_modules_are_never_allowed(void **state)
{
    (void)state;
    static const char *const never[] = {"os", "file", "code", "erlang", "net", "rpc", "global", "inet"};
    for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
        struct mfa_rule rule = {slice_str(never[i]), SLICE_NONE};
        struct mfa_rules rules = {true, &rule, 1};
        assert_false(mfa_rules_allow(NULL, slice_str(never[i]), SLICE_LIT("f")));
        assert_false(mfa_rules_allow(&rules, slice_str(never[i]), SLICE_LIT("f")));
    }
    assert_true(mfa_rules_allow(NULL, SLICE_LIT("Elixir.Users"), SLICE_LIT("f")));
    assert_true(mfa_rules_allow(NULL, SLICE_LIT("os_mon"), SLICE_LIT("f")));
}

/* S-082. */
static void list_restricts_to_modules_and_functions(void **state)
{
    (void)state;
    const struct mfa_rule allow[] = {{SLICE_LIT("Elixir.Users"), SLICE_NONE},
                                     {SLICE_LIT("Elixir.Chat"), SLICE_LIT("send")}};
    struct mfa_rules rules = {true, allow, 2};
    assert_true(mfa_rules_allow(&rules, SLICE_LIT("Elixir.Users"), SLICE_LIT("any")));
    assert_true(mfa_rules_allow(&rules, SLICE_LIT("Elixir.Chat"), SLICE_LIT("send")));
    assert_false(mfa_rules_allow(&rules, SLICE_LIT("Elixir.Chat"), SLICE_LIT("delete")));
    assert_false(mfa_rules_allow(&rules, SLICE_LIT("Elixir.Other"), SLICE_LIT("send")));
    rules = (struct mfa_rules){.restricted = true};
    assert_false(mfa_rules_allow(&rules, SLICE_LIT("Elixir.Users"), SLICE_LIT("any")));
    rules.restricted = false;
    assert_true(mfa_rules_allow(&rules, SLICE_LIT("Elixir.Users"), SLICE_LIT("any")));
}

/* S-083 want: hooks, callbacks and node functions are functions too. */
static void every_function_of_a_config_is_checked(void **state)
{
    (void)state;
    static struct fun_config_reasons why;
    static const struct {
        const char *key, *value;
        bool allowed;
    } configs[] = {{"mfa", "{MyApp.Users, :get, []}", true},
                   {"mfa", "{:os, :cmd, []}", false},
                   {"before_execute", "{:code, :load_binary}", false},
                   {"after_execute", "{:file, :write_file, []}", false},
                   {"permission_callback", "{:erlang, :is_atom, []}", false},
                   {"nodes", "{:inet, :gethostname, []}", false},
                   {"nodes", "{:erlang, :nodes, []}", true},
                   {"nodes", "{ClusterHelper, :get_nodes, [:user]}", true}};
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
        struct fun_config *fc =
            fun_config_from_term(config_term(&b, configs[i].key, configs[i].value, NULL), SLICE_NONE, &why);
        assert_non_null(fc);
        if ((mfa_rules_refused(NULL, fc) == NULL) != configs[i].allowed)
            fail_msg("%s: %s", configs[i].key, configs[i].value);
        fun_config_unref(fc);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dangerous_modules_are_never_allowed),
        cmocka_unit_test(list_restricts_to_modules_and_functions),
        cmocka_unit_test(every_function_of_a_config_is_checked),
    };
    return cmocka_run_group_tests_name("mfa_rules", tests, NULL, NULL);
}
