/* test_config.c: the option table, its messages, its defaults, the cookie, and that the documents agree with it. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "request.h"
#include "term.h"

#define DATA "tests/data/config/"

static struct config_report report;

static int begin_report(void **state)
{
    (void)state;
    config_report_init(&report);
    return 0;
}

static int end_report(void **state)
{
    (void)state;
    config_report_fini(&report);
    return 0;
}

static void reset_report(void)
{
    config_report_fini(&report);
    config_report_init(&report);
}

static const char *report_text(void)
{
    buf_putc(&report.text, '\0');
    report.text.len--;
    return report.text.data ? (const char *)report.text.data : "";
}

static struct slice first_line(void)
{
    const char *text = report_text();
    return slice_make(text, strcspn(text, "\n"));
}

static char *file_text(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    out[fread(out, 1, size - 1, f)] = '\0';
    fclose(f);
    return out;
}

/* Loads a file of tests/data under the name FILE; its bytes may hold anything. */
static struct server_config *load_as_file(const char *path)
{
    static char text[65536];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    return config_parse("FILE", slice_make(text, n), &report);
}

static void each_invalid_file_gives_its_expected_first_message(void **state)
{
    (void)state;
    unsigned files = 0;
    DIR *dir = opendir(DATA "invalid");
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));) {
        char path[512], text[65536];
        if (!strstr(d->d_name, ".yml"))
            continue;
        snprintf(path, sizeof(path), DATA "invalid/%s", d->d_name);
        file_text(path, text, sizeof(text));
        assert_memory_equal(text, "# expect: ", 10);
        text[strcspn(text, "\n")] = '\0';
        reset_report();
        struct server_config *c = load_as_file(path);
        if (c || !slice_is(first_line(), text + 10))
            fail_msg("%s: %s\n got  %s\n want %s", d->d_name, c ? "accepted" : "", report_text(), text + 10);
        assert_null(strstr(report_text(), "topsecret"));
        files++;
    }
    closedir(dir);
    assert_in_range(files, 50, 1000);
}

static void all_problems_of_a_file_are_told_at_once(void **state)
{
    (void)state;
    assert_null(config_parse("F", SLICE_LIT("listen: {port: x}\nlog: {level: x}\ndrain: {bach: 1}\n"), &report));
    assert_string_equal(report_text(), "F:1: listen.port: \"x\" is not a whole number; allowed are 0 to 65535\n"
                                       "F:2: log.level: \"x\" is not a level; use debug, info, warning or error\n"
                                       "F:3: unknown key \"bach\" in drain; did you mean \"batch\"?\n"
                                       "F:1: the top level: the key \"sockets\" is missing\n");
    assert_int_equal(report.errors, 4);
}

static void a_file_of_errors_does_not_flood_the_terminal(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < 500; i++)
        buf_printf(&b, "wrong%d: 1\n", i);
    assert_null(config_parse("F", buf_slice(&b), &report));
    assert_int_equal(report.errors, 502);
    assert_non_null(strstr(report_text(), "\nF: and 482 more\n"));
    buf_fini(&b);
}

static void the_smallest_file_has_every_default(void **state)
{
    (void)state;
    struct server_config *c = load_as_file(DATA "valid/smallest.yml");
    if (!c)
        fail_msg("%s", report_text());
    assert_int_equal(report.errors + report.warnings, 0);
    assert_null(c->node.name);
    assert_true(is_on(c->node.epmd));
    assert_int_equal(c->node.tick_interval_s, 15);
    assert_int_equal(c->node.handshake_timeout_s, 7); /* D-02 */
    assert_int_equal(c->node.max_packet_bytes, 64 * 1024 * 1024);
    assert_int_equal(c->node.call_way, CALL_WAY_REX);
    assert_string_equal(c->listen.address, "127.0.0.1");
    assert_int_equal(c->listen.port, 4000);
    assert_int_equal(c->sockets_count, 1);
    assert_string_equal(c->sockets[0].check_origin, "true");    /* P-009 */
    assert_int_equal(c->sockets[0].timeout_ms, 60000);         /* P-043 */
    assert_int_equal(c->sockets[0].max_channels, 100);         /* P-012 */
    assert_int_equal(c->sockets[0].max_frame_bytes, 10000000); /* P-075 */
    assert_string_equal(c->sockets[0].channels[0].event, "phoenix_gen_api");
    assert_true(is_on(c->sockets[0].channels[0].override_user_id));         /* E-002 */
    assert_true(is_on(c->sockets[0].channels[0].require_verified_user_id)); /* E-003 */
    assert_int_equal(c->services_count, 0);
    assert_int_equal(c->pull.timeout_ms, 5000); /* O-137 */
    assert_int_equal(c->pull.interval_ms, 30000);
    assert_int_equal(c->push.max_services, 1000);
    assert_int_equal(c->push.allow_count, 0);
    assert_null(c->push.token);
    assert_int_equal(c->security.mfa_allowlist_count, 0);
    assert_int_equal(c->security.admin_actions_count, 0); /* S-080 */
    assert_int_equal(c->requests.max_payload_bytes, 1000000); /* O-135 */
    assert_int_equal(c->requests.string_max_bytes, 3000);     /* F-067 */
    assert_false(is_on(c->requests.detail_error));            /* O-131 */
    assert_true(is_on(c->rate_limiter.enabled));
    assert_true(is_on(c->rate_limiter.fail_open)); /* E-077 */
    assert_int_equal(c->rate_limiter.cleanup_interval_ms, 60000);
    assert_int_equal(c->rate_limiter.global_limits_count + c->rate_limiter.api_limits_count, 0);
    assert_false(is_on(c->console.enabled));
    assert_string_equal(c->log.level, "info");
    config_free(c);
}

static void the_files_defaults_are_those_of_the_request_pipeline(void **state)
{
    (void)state;
    struct server_config *c = load_as_file(DATA "valid/smallest.yml");
    assert_non_null(c);
    struct gateway_options o;
    gateway_options_default(&o);
    assert_int_equal(c->requests.max_in_flight, o.max_in_flight);
    assert_int_equal(c->requests.max_in_flight_per_channel, o.max_in_flight_per_channel);
    assert_int_equal(c->requests.max_payload_bytes, o.max_payload_bytes);
    assert_int_equal(c->requests.max_depth, o.json.max_depth);
    assert_int_equal(c->requests.async_limit, o.async_limit);
    assert_int_equal(c->requests.async_queue, o.async_queue);
    assert_int_equal(c->requests.breaker_threshold, o.breaker_threshold);
    assert_int_equal(c->requests.breaker_cooldown_ms, o.breaker_cooldown_ms);
    assert_int_equal(c->requests.nodes_cache_ms, o.nodes_cache_ms);
    assert_int_equal(is_on(c->requests.retry_on_error), o.retry_on_error);
    assert_int_equal(is_on(c->requests.detail_error), o.detail_error);
    assert_int_equal(is_on(c->requests.pass_error_reason), o.pass_error_reason);
    assert_int_equal(is_on(c->requests.fallback_on_exit), o.fallback_on_exit);
    assert_int_equal(c->requests.string_max_bytes, o.string_max_bytes);
    assert_int_equal(c->requests.list_max_items, o.list_max_items);
    assert_int_equal(c->requests.map_max_items, o.map_max_items);
    config_free(c);
}

static void assert_term(const struct buf *b, struct slice want)
{
    assert_int_equal(b->len, want.len);
    assert_memory_equal(b->data, want.ptr, want.len);
}

static void lists_of_values_become_terms_of_their_kind(void **state)
{
    (void)state;
    struct server_config *c = load_as_file(DATA "valid/everything.yml");
    if (!c)
        fail_msg("%s", report_text());
    struct buf b;
    buf_init(&b, 0);
    term_put_list(&b, 13);
    term_put_atom(&b, "gateway");
    term_put_int(&b, 5);
    term_put_text(&b, "5");
    term_put_int(&b, -7);
    term_put_float(&b, 1.5);
    term_put_atom(&b, "true");
    term_put_atom(&b, "nil");
    term_put_atom(&b, "nil");
    term_put_text(&b, "nil");
    term_put_text(&b, "plain text");
    term_put_text(&b, "MyApp.Mod");
    term_put_text(&b, ":text");
    term_put_atom(&b, "Elixir.MyApp.Mod");
    term_put_nil(&b);
    assert_term(&c->services[0].args, buf_slice(&b));
    buf_reset(&b);
    term_put_nil(&b);
    assert_term(&c->services[0].version_args, buf_slice(&b));
    assert_int_equal(c->services[1].args.len, 0);
    buf_reset(&b);
    term_put_list(&b, 3);
    term_put_atom(&b, "my_app");
    term_put_text(&b, "x");
    term_put_int(&b, 5);
    term_put_nil(&b);
    assert_term(&c->sockets[2].origin_args, buf_slice(&b));
    assert_int_equal(c->sockets[0].origin_args.len, 0);
    buf_fini(&b);
    config_free(c);
}

static void what_the_file_says_is_what_the_struct_holds(void **state)
{
    (void)state;
    struct server_config *c = load_as_file(DATA "valid/everything.yml");
    assert_non_null(c);
    assert_string_equal(c->node.name, "gw@127.0.0.1");
    assert_int_equal(c->node.listen_port, 9100);
    assert_true(is_on(c->node.epmd));
    assert_int_equal(c->node.call_way, CALL_WAY_SPAWN);
    assert_string_equal(c->node.tls_certificate, "/n.pem");
    assert_string_equal(c->node.tls_key, "/nk.pem");
    assert_string_equal(c->node.tls_ca, "/nca.pem");
    assert_string_equal(c->node.tls_min_version, "1.3");
    assert_false(is_on(c->node.tls_check_host));
    assert_false(is_on(c->node.tls_require_certificate));
    assert_int_equal(c->listen.port, 0);
    assert_int_equal(c->sockets_count, 3);
    assert_string_equal(c->listen.host, "gw.example.com");
    assert_int_equal(c->listeners_count, 2);
    const struct listener_settings first = config_listener(c, 0), last = config_listener(c, 2);
    assert_string_equal(first.tls_certificate, "/c.pem");
    assert_string_equal(first.tls_key, "/k.pem");
    assert_string_equal(first.tls_client_ca, "/ca.pem");
    assert_string_equal(first.tls_min_version, "1.3");
    assert_string_equal(last.address, "::");
    assert_int_equal(last.port, 4001);
    assert_string_equal(last.tls_key, "/k2.pem");
    assert_string_equal(last.tls_min_version, "1.2");
    assert_string_equal(c->listeners[0].address, "127.0.0.1");
    assert_null(c->listeners[0].tls_certificate);
    assert_int_equal(c->listen.trusted_proxies_count, 3);
    assert_string_equal(c->listen.trusted_proxies[1], "2001:db8::/32");
    assert_true(is_on(c->listeners[0].proxy_protocol));
    assert_false(is_on(last.proxy_protocol));
    assert_int_equal(c->sockets[0].origins_count, 3);
    assert_string_equal(c->sockets[0].origins[2], "//*.example.com");
    assert_string_equal(c->sockets[1].check_origin, "conn");
    assert_int_equal(c->sockets[2].refusals_count, 2);
    assert_string_equal(c->sockets[2].refusals[0].reason, "rate_limit");
    assert_int_equal(c->sockets[2].refusals[0].status, 429);
    assert_string_equal(c->sockets[2].refusals[0].body, "Too many requests");
    assert_null(c->sockets[2].refusals[1].body);
    assert_string_equal(c->sockets[2].check_origin, "remote");
    assert_string_equal(c->sockets[2].origin_module, "Elixir.MyApp.Auth");
    assert_string_equal(c->sockets[2].origin_function, "origin_allowed?");
    assert_string_equal(c->sockets[2].origin_nodes[0], "svc1@127.0.0.1");
    assert_int_equal(c->sockets[2].origin_timeout_ms, 700);
    assert_int_equal(c->sockets[2].origin_cache_ms, 800);
    assert_int_equal(c->sockets[1].auth_count, 7);
    assert_string_equal(c->sockets[1].auth[0].salt, "user socket");
    assert_int_equal(c->sockets[1].auth[0].max_age_s, 3600);
    assert_string_equal(c->sockets[1].auth[1].key_digest, "sha512");
    assert_int_equal(c->sockets[1].auth[1].key_iterations, 2000);
    assert_int_equal(c->sockets[1].auth[1].key_length, 16);
    assert_string_equal(c->sockets[1].auth[2].jwks_file, "/etc/beamgate/jwks.json");
    assert_string_equal(c->sockets[1].auth[2].algorithm, "RS256");
    assert_string_equal(c->sockets[1].auth[2].issuer, "https://id.example.com");
    assert_string_equal(c->sockets[1].auth[2].audience, "gw");
    assert_int_equal(c->sockets[1].auth[2].leeway_s, 30);
    assert_string_equal(c->sockets[1].auth[2].device_id_path, "device.id");
    assert_string_equal(c->sockets[1].auth[3].key_file, "/etc/beamgate/jwt.pem");
    assert_string_equal(c->sockets[1].auth[4].module, "Elixir.MyApp.Auth");
    assert_string_equal(c->sockets[1].auth[4].function, "connect");
    assert_int_equal(c->sockets[1].auth[4].nodes_count, 2);
    assert_int_equal(c->sockets[1].auth[4].timeout_ms, 2000);
    assert_int_equal(c->sockets[1].auth[4].cache_ms, 3000);
    assert_string_equal(c->sockets[1].auth[6].type, "none");
    assert_string_equal(c->pubsub.names[1], "Other.PubSub");
    assert_int_equal(c->pubsub.pool_size, 2);
    assert_string_equal(c->sockets[1].id, "users_socket:{user_id}");
    assert_true(is_on(c->sockets[1].channels[0].require_user));
    assert_string_equal(c->sockets[1].channels[0].roles[1], "editor");
    assert_string_equal(c->sockets[1].channels[0].join_module, "Elixir.MyApp.Auth");
    assert_string_equal(c->sockets[1].channels[0].join_function, "join");
    assert_string_equal(c->sockets[1].channels[0].join_nodes[0], "svc1@127.0.0.1");
    assert_int_equal(c->sockets[1].channels[0].join_timeout_ms, 1000);
    assert_string_equal(c->sockets[0].channels[0].topic, "room:*");
    assert_false(is_on(c->sockets[0].channels[0].override_user_id));
    assert_string_equal(c->sockets[1].channels[1].topic, "*");
    assert_null(c->sockets[1].user_id_param);
    assert_string_equal(c->services[0].module, "Elixir.MyApp.Supporter");
    assert_string_equal(c->services[0].version_module, "my_mod");
    assert_string_equal(c->services[0].version_function, "get_version");
    assert_string_equal(c->services[0].nodes[1], "svc2@127.0.0.1:9100");
    assert_string_equal(c->services[1].module, "mail_api");
    assert_true(is_on(c->requests.fallback_on_exit));
    assert_int_equal(c->requests.map_max_items, 20);
    const struct rate_limiter_settings *rl = &c->rate_limiter;
    assert_false(is_on(rl->enabled));
    assert_false(is_on(rl->fail_open));
    assert_int_equal(rl->global_limits_count, 2);
    assert_int_equal(rl->global_limits[0].max_requests, 0);
    assert_false(is_on(rl->global_limits[0].dry_run));
    assert_string_equal(rl->global_limits[1].key, "args.room");
    assert_int_equal(rl->global_limits[1].window_ms, 604800000);
    assert_true(is_on(rl->global_limits[1].dry_run));
    assert_int_equal(rl->api_limits_count, 1);
    assert_string_equal(rl->api_limits[0].request_type, "send");
    assert_string_equal(c->push.token_file, "/etc/beamgate/push_token");
    assert_int_equal(c->push.max_services, 7);
    assert_string_equal(c->push.snapshot_file, "/var/lib/beamgate/pushed");
    assert_int_equal(c->push.allow_count, 2);
    assert_string_equal(c->push.allow[0].service, "chat");
    assert_int_equal(c->push.allow[0].nodes_count, 2);
    assert_string_equal(c->push.allow[1].nodes[0], "*@10.0.0.*");
    assert_int_equal(c->security.mfa_allowlist_count, 5);
    assert_string_equal(c->security.mfa_allowlist[1], "MyApp.Chat:send");
    assert_int_equal(c->security.admin_actions_count, 2);
    assert_string_equal(c->security.admin_actions[1], "disable_tracing");
    assert_string_equal(c->log.level, "debug");
    assert_int_equal(c->drain.batch, 5);
    assert_string_equal(c->control.socket, "/run/beamgate/x.sock");
    assert_int_equal(c->control.max_clients, 3);
    config_free(c);
}

static void a_channel_that_can_serve_nobody_is_a_warning(void **state)
{
    (void)state;
    struct server_config *c =
        config_parse("F", SLICE_LIT("listen: {port: 1}\nsockets: [{path: /s, channels: [{topic: a}]}]\n"), &report);
    assert_non_null(c);
    assert_int_equal(report.warnings, 1);
    assert_non_null(strstr(report_text(), "F:2: warning: sockets[0]: without user_id_param"));
    config_free(c);
}

static void names_are_written_as_an_elixir_developer_writes_them(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"MyApp.Supporter", "Elixir.MyApp.Supporter"}, {"Elixir.MyApp", "Elixir.MyApp"}, {":my_mod", "my_mod"},
        {"my_mod", "my_mod"}, {":Elixir.X", "Elixir.X"}, {"get?", "get?"}, {"", NULL}, {":", NULL},
        {"a b", NULL}, {"a\"b", NULL}, {"a/2", NULL}};
    char atom[300], too_long[301];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int rc = config_atom(slice_str(cases[i][0]), atom, sizeof(atom));
        assert_int_equal(rc, cases[i][1] ? BG_OK : BG_EINVAL);
        if (cases[i][1])
            assert_string_equal(atom, cases[i][1]);
    }
    memset(too_long, 'a', 300);
    assert_int_equal(config_atom(slice_make(too_long, 300), atom, sizeof(atom)), BG_EINVAL);
}

static void a_missing_file_is_told_by_its_name(void **state)
{
    (void)state;
    assert_null(config_load("/nonexistent/beamgate.yml", &report));
    assert_string_equal(report_text(), "/nonexistent/beamgate.yml: cannot be read: No such file or directory\n");
    reset_report();
    assert_null(config_load("/", &report));
    assert_string_equal(report_text(), "/: cannot be read: Is a directory\n");
}

static void options_of_the_command_line_win_and_are_checked_too(void **state)
{
    (void)state;
    struct server_config *c = load_as_file(DATA "valid/everything.yml");
    struct config_overrides o = {.name = "other@host", .log_level = "error"};
    assert_int_equal(config_override(c, &o, &report), BG_OK);
    assert_string_equal(c->node.name, "other@host");
    assert_string_equal(c->log.level, "error");
    o = (struct config_overrides){.name = "nohost", .log_level = "loud"};
    assert_int_equal(config_override(c, &o, &report), BG_EINVAL);
    assert_string_equal(report_text(), "--name: \"nohost\" is not a node name; write it as name@host, e.g. "
                                       "beamgate@127.0.0.1\n"
                                       "--log-level: \"loud\" is not a level; use debug, info, warning or error\n");
    assert_string_equal(c->node.name, "other@host");
    config_free(c);
}

/* ---- cookie -------------------------------------------------------------------------------------------- */

static char cookie_path[64];

static void write_cookie(const char *text, mode_t mode)
{
    snprintf(cookie_path, sizeof(cookie_path), "/tmp/beamgate_cookie_XXXXXX");
    int fd = mkstemp(cookie_path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    fchmod(fd, mode);
    close(fd);
}

static struct server_config *minimal(void)
{
    static const char text[] = "node: {cookie: fromconfig}\nlisten: {port: 1}\n"
                               "sockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\n";
    struct server_config *c = config_parse("F", SLICE_LIT(text), &report);
    assert_non_null(c);
    reset_report();
    return c;
}

static void the_cookie_comes_from_option_environment_or_file_in_this_order(void **state)
{
    (void)state;
    char cookie[513];
    struct server_config *c = minimal();
    write_cookie("fromoption\n", 0600);
    struct config_overrides o = {.cookie_file = cookie_path, .cookie = "fromenv"};
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_OK);
    assert_string_equal(cookie, "fromoption");
    o.cookie_file = NULL;
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_OK);
    assert_string_equal(cookie, "fromenv");
    o.cookie = NULL;
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_OK);
    assert_string_equal(cookie, "fromconfig");
    assert_int_equal(report.errors + report.warnings, 0);
    unlink(cookie_path);
    config_free(c);
}

static void an_empty_cookie_file_is_refused_and_one_that_others_read_is_warned_about(void **state)
{
    (void)state;
    char cookie[513], want[200];
    struct server_config *c = minimal();
    struct config_overrides o = {.cookie_file = cookie_path};
    write_cookie("\n", 0600);
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_EINVAL);
    assert_non_null(strstr(report_text(), ": the cookie is empty; put the cluster's cookie there"));
    unlink(cookie_path);
    reset_report();
    write_cookie("topsecret", 0644);
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_OK);
    snprintf(want, sizeof(want), "%s: warning: others can read this cookie file; run: chmod 600 %s\n", cookie_path,
             cookie_path);
    assert_string_equal(report_text(), want);
    unlink(cookie_path);
    reset_report();
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_EINVAL);
    assert_non_null(strstr(report_text(), ": the cookie file cannot be read: No such file or directory\n"));
    config_free(c);
}

static void no_cookie_at_all_says_what_to_do(void **state)
{
    (void)state;
    char cookie[513];
    struct server_config *c = load_as_file(DATA "valid/smallest.yml");
    struct config_overrides o = {0};
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_EINVAL);
    assert_string_equal(report_text(),
                        "F: no cookie: set node.cookie_file to a file that holds the cluster's cookie (on an Erlang "
                        "machine ~/.erlang.cookie), or give --cookie-file FILE, or set BEAMGATE_COOKIE\n");
    config_free(c);
}

static void a_cookie_that_is_too_long_is_refused_without_being_shown(void **state)
{
    (void)state;
    char cookie[513], text[600];
    struct server_config *c = minimal();
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    struct config_overrides o = {.cookie = text};
    assert_int_equal(config_cookie(c, &o, "F", cookie, sizeof(cookie), &report), BG_EINVAL);
    assert_string_equal(report_text(), "BEAMGATE_COOKIE: is no cookie: it has 599 bytes; at most 512 are allowed, "
                                       "none of them zero\n");
    config_free(c);
}

/* ---- push token ---------------------------------------------------------------------------------------- */

static struct server_config *with_push(const char *push)
{
    char text[300];
    snprintf(text, sizeof(text), "listen: {port: 1}\nsockets: [{path: /s, user_id_param: u, channels: [{topic: a}]}]\n"
                                 "push: {%s}\n", push);
    struct server_config *c = config_parse("F", slice_str(text), &report);
    assert_non_null(c);
    return c;
}

/* S-022, S-085. */
static void the_push_token_comes_from_environment_or_file_in_this_order(void **state)
{
    (void)state;
    char push[200];
    write_cookie("fromfile\n", 0600);
    snprintf(push, sizeof(push), "token_file: %s", cookie_path);
    struct server_config *c = with_push(push);
    struct config_overrides o = {.push_token = "fromenv"};
    assert_int_equal(config_push_token(c, &o, &report), BG_OK);
    assert_string_equal(c->push.token, "fromenv");
    o.push_token = NULL;
    assert_int_equal(config_push_token(c, &o, &report), BG_OK);
    assert_string_equal(c->push.token, "fromfile");
    assert_int_equal(report.errors + report.warnings, 0);
    unlink(cookie_path);
    assert_int_equal(config_push_token(c, &o, &report), BG_EINVAL);
    assert_non_null(strstr(report_text(), ": the push token file cannot be read: No such file or directory\n"));
    config_free(c);
}

static void a_push_token_may_be_missing_but_not_empty(void **state)
{
    (void)state;
    struct server_config *c = with_push("max_services: 1");
    struct config_overrides o = {0};
    assert_int_equal(config_push_token(c, &o, &report), BG_OK);
    assert_null(c->push.token);
    o.push_token = " ";
    assert_int_equal(config_push_token(c, &o, &report), BG_EINVAL);
    assert_non_null(strstr(report_text(), "BEAMGATE_PUSH_TOKEN: the push token is empty; put there"));
    config_free(c);
    reset_report();
    c = with_push("token: topsecret");
    assert_string_equal(report_text(),
                        "F:3: warning: push.token: whoever reads this file can push functions; token_file keeps it "
                        "apart\n");
    assert_string_equal(c->push.token, "topsecret");
    config_free(c);
}

static void functions_are_allowed_by_module_or_one_by_one(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"MyApp.Users", "Elixir.MyApp.Users", ""}, {"MyApp.Users:get_user", "Elixir.MyApp.Users", "get_user"},
        {":my_mod", "my_mod", ""}, {":my_mod:get", "my_mod", "get"}, {"my_mod:get?", "my_mod", "get?"},
        {"MyApp:", NULL, NULL}, {":", NULL, NULL}, {"a b", NULL, NULL}, {"a:b:c", NULL, NULL}, {"", NULL, NULL}};
    char module[CONFIG_ATOM_SIZE], function[CONFIG_ATOM_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(config_mfa_rule(slice_str(cases[i][0]), module, function), cases[i][1] ? BG_OK : BG_EINVAL);
        if (cases[i][1]) {
            assert_string_equal(module, cases[i][1]);
            assert_string_equal(function, cases[i][2]);
        }
    }
}

/* ---- the documents ------------------------------------------------------------------------------------- */

/* fill_defaults() takes 0 for "not given": no number may have 0 as a value of its own. */
static void zero_is_a_numbers_default_wherever_it_is_allowed(void **state)
{
    (void)state;
    struct config_option o;
    for (size_t pos = 0; config_next_option(&pos, &o);)
        if (strcmp(o.kind, "number") == 0 && o.min == 0 && !o.required)
            assert_string_equal(o.fallback, "0");
}

static void every_default_is_inside_its_range(void **state)
{
    (void)state;
    struct config_option o;
    unsigned numbers = 0;
    for (size_t pos = 0; config_next_option(&pos, &o);) {
        if (strcmp(o.kind, "number") != 0 || o.required)
            continue;
        assert_in_range(strtoull(o.fallback, NULL, 10), o.min, o.max);
        numbers++;
    }
    assert_in_range(numbers, 25, 200);
}

/* | `sockets[].timeout_ms` | number, 1000 to 86400000 | 60000 | … */
static void table_row(const struct config_option *o, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "| `%s` | %s", o->path, o->kind);
    if (strcmp(o->kind, "number") == 0)
        n += (size_t)snprintf(out + n, size - n, ", %llu to %llu", (unsigned long long)o->min,
                              (unsigned long long)o->max);
    if (strcmp(o->kind, "one of") == 0)
        n += (size_t)snprintf(out + n, size - n, " `rex`, `spawn`");
    snprintf(out + n, size - n, " | %s%s%s |", o->required ? "required" : o->fallback[0] ? "`" : "none",
             o->fallback[0] ? o->fallback : "", !o->required && o->fallback[0] ? "`" : "");
}

static void the_documentation_names_every_option_with_its_range_and_default(void **state)
{
    (void)state;
    static char text[131072];
    struct config_option o;
    file_text("docs/configuration.md", text, sizeof(text));
    for (size_t pos = 0; config_next_option(&pos, &o);) {
        char row[256];
        if (strcmp(o.kind, "section") == 0 || strcmp(o.kind, "list of sections") == 0)
            continue;
        table_row(&o, row, sizeof(row));
        const char *found = strstr(text, row);
        if (!found)
            fail_msg("docs/configuration.md lacks: %s", row);
        size_t n = strcspn(found, "\n");
        if (o.live != (strncmp(found + n - strlen(" (live) |"), " (live) |", 9) == 0))
            fail_msg("docs/configuration.md: %s must%s end in (live)", o.path, o.live ? "" : " not");
    }
}

static void the_example_configuration_explains_every_option(void **state)
{
    (void)state;
    static char text[131072];
    struct config_option o;
    file_text("rel/beamgate.yml", text, sizeof(text));
    for (size_t pos = 0; config_next_option(&pos, &o);) {
        const char *dot = strrchr(o.path, '.');
        char key[112], commented[112];
        snprintf(key, sizeof(key), " %s:", dot ? dot + 1 : o.path);
        snprintf(commented, sizeof(commented), "\n%s:", dot ? dot + 1 : o.path);
        if (!strstr(text, key) && !strstr(text, commented))
            fail_msg("rel/beamgate.yml lacks %s", o.path);
    }
    struct server_config *c = config_load("rel/beamgate.yml", &report);
    if (!c || report.warnings)
        fail_msg("%s", report_text());
    config_free(c);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin_report, end_report)
    const struct CMUnitTest tests[] = {
        TEST(each_invalid_file_gives_its_expected_first_message),
        TEST(all_problems_of_a_file_are_told_at_once),
        TEST(a_file_of_errors_does_not_flood_the_terminal),
        TEST(the_smallest_file_has_every_default),
        TEST(the_files_defaults_are_those_of_the_request_pipeline),
        TEST(lists_of_values_become_terms_of_their_kind),
        TEST(what_the_file_says_is_what_the_struct_holds),
        TEST(a_channel_that_can_serve_nobody_is_a_warning),
        TEST(names_are_written_as_an_elixir_developer_writes_them),
        TEST(a_missing_file_is_told_by_its_name),
        TEST(options_of_the_command_line_win_and_are_checked_too),
        TEST(the_cookie_comes_from_option_environment_or_file_in_this_order),
        TEST(an_empty_cookie_file_is_refused_and_one_that_others_read_is_warned_about),
        TEST(no_cookie_at_all_says_what_to_do),
        TEST(a_cookie_that_is_too_long_is_refused_without_being_shown),
        TEST(the_push_token_comes_from_environment_or_file_in_this_order),
        TEST(a_push_token_may_be_missing_but_not_empty),
        TEST(functions_are_allowed_by_module_or_one_by_one),
        TEST(zero_is_a_numbers_default_wherever_it_is_allowed),
        TEST(every_default_is_inside_its_range),
        TEST(the_documentation_names_every_option_with_its_range_and_default),
        TEST(the_example_configuration_explains_every_option),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
