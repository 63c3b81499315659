/*
 * config_schema.c: the one table of every option: key, member, range, default, check. From each row come
 * both libcyaml's field, by which the file is loaded, and the rule by which config_check.c explains
 * what is wrong with it; so the two cannot disagree.
 *
 * To add an option: a member in include/config.h, a row here, a comment block in rel/beamgate.yml and a
 * row in docs/configuration.md (test_config fails until both name it with its default and range). A row begins with
 * LIVE_ when a part listed in reload.c takes the new value at run time; its meaning in the documents then ends in
 * "(live)".
 *
 * Why rules beside libcyaml 1.3.1's schema: it knows no number ranges and no defaults, takes any
 * unknown word for true, lets the second of two equal keys win and names no near key.
 */
#include "config_schema.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>

#include "ip_address.h"
#include "http_head.h"
#include "jwt.h"
#include "limit.h"
#include "origin.h"
#include "phoenix_token.h"
#include "rate_limiter.h"
#include "request.h"
#include "topic.h"

/* ---- checks -------------------------------------------------------------------------------------------- */

static bool node_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

const char *config_check_node(const char *text)
{
    const char *at = strchr(text, '@');
    if (!at || at == text || at[1] == '\0')
        return "is not a node name; write it as name@host, e.g. beamgate@127.0.0.1";
    for (const char *p = text; *p; p++)
        if (p != at && !node_name_char(*p))
            return "is not a node name; letters, digits, - _ . and one @ are allowed";
    return NULL;
}

/* A peer may say its port, for a cluster without epmd: name@host:port. */
static const char *check_peer(const char *text)
{
    char name[512];
    const char *colon = strrchr(text, ':');
    if (!colon)
        return config_check_node(text);
    size_t digits = strspn(colon + 1, "0123456789");
    long port = digits > 0 && digits < 6 && colon[1 + digits] == '\0' ? strtol(colon + 1, NULL, 10) : 0;
    if (port < 1 || port > 65535)
        return "must end in a port of 1 to 65535 when it holds a colon";
    return config_check_node(slice_cstr(slice_make(text, (size_t)(colon - text)), name, sizeof(name)));
}

static const char *check_address(const char *text)
{
    struct in6_addr any;
    bool ok = inet_pton(AF_INET, text, &any) == 1 || inet_pton(AF_INET6, text, &any) == 1;
    return ok ? NULL : "is not an IP address; write 0.0.0.0 for all IPv4 or :: for all addresses";
}

static const char *check_range(const char *text)
{
    struct ip_range r;
    return ip_range_parse(slice_str(text), &r) == BG_OK
               ? NULL
               : "is not an address or range; write 10.0.0.1 or 10.0.0.0/8, with nothing behind the prefix";
}

static const char *check_tls_version(const char *text)
{
    return strcmp(text, "1.2") == 0 || strcmp(text, "1.3") == 0 ? NULL : "is not a version; use \"1.2\" or \"1.3\"";
}

static const char *check_path(const char *text)
{
    if (text[0] != '/')
        return "must begin with /";
    size_t n = strlen(text);
    if (n < 2 || text[n - 1] == '/')
        return "must name something and not end with /";
    return strpbrk(text, "?#% ") ? "must not hold ? # % or blanks" : NULL;
}

static const char *check_absolute(const char *text)
{
    return text[0] == '/' ? NULL : "must begin with /";
}

static const char *check_host(const char *text)
{
    struct origin o;
    bool ok = origin_parse_host(slice_str(text), &o) == BG_OK && !o.port;
    return ok ? NULL : "is not a host name; write it as in the address bar, without scheme and port";
}

static const char *check_auth_type(const char *text)
{
    return config_auth_type_known(text) ? NULL : "is not known; use phoenix_token, phoenix_encrypted, jwt, remote, param or none";
}

static const char *check_digest(const char *text)
{
    return phoenix_digest_known(text) ? NULL : "is not known; use sha256, sha384 or sha512";
}

static const char *check_algorithm(const char *text)
{
    return jwt_algorithm_known(text) ? NULL : "is not known; use HS256, HS384, HS512, RS256, PS256, ES256 or EdDSA";
}

static const char *check_origin(const char *text)
{
    static const char *const words[] = {"true", "false", "conn", "remote"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(text, words[i]) == 0)
            return NULL;
    return "is neither true, false, conn nor remote; a list of origins goes into origins";
}

static const char *check_origin_pattern(const char *text)
{
    struct origin o;
    return origin_parse_pattern(slice_str(text), &o) == BG_OK
               ? NULL
               : "is not an origin; write //example.com, //*.example.com or https://example.com:888";
}

/* P-050: a prefix ends in one *. Right behind {user_id} it would let user 1 into the topics of user 12. */
static const char *check_topic(const char *text)
{
    const char *star = strchr(text, '*'), *user = strstr(text, TOPIC_USER_ID);
    if (star && star[1] != '\0')
        return "may hold one * only, at its end";
    if (user && strstr(user + 1, TOPIC_USER_ID))
        return "may hold {user_id} only once";
    return user && user + strlen(TOPIC_USER_ID) == star ? "must have something between {user_id} and *, as in user:{user_id}:*"
                                                        : NULL;
}

static const char *check_socket_id(const char *text)
{
    const char *user = strstr(text, TOPIC_USER_ID);
    return user && !strstr(user + 1, TOPIC_USER_ID) ? NULL : "must hold {user_id} once, as in users_socket:{user_id}";
}

/* A module of Elixir, short enough for the group that is made of it. */
static const char *check_module(const char *text)
{
    bool ok = text[0] >= 'A' && text[0] <= 'Z' && strlen(text) < 200;
    for (const char *p = text; *p; p++)
        ok = ok && (isalnum((unsigned char)*p) || *p == '_' || *p == '.');
    return ok ? NULL : "is no module of Elixir; write it as MyApp.PubSub";
}

static const char *check_atom(const char *text)
{
    char atom[256 * 4];
    return config_atom(slice_str(text), atom, sizeof(atom)) == BG_OK
               ? NULL
               : "is not a name; write MyApp.Supporter, :my_mod or my_mod";
}

/* name@host with *, which need not be written twice for any node. */
static const char *check_node_pattern(const char *text)
{
    for (const char *p = text; *p; p++)
        if (*p != '@' && *p != '*' && !node_name_char(*p))
            return "is no node name with *; letters, digits, - _ . @ and * are allowed";
    return strchr(text, '@') || strchr(text, '*') ? NULL : "is not a node name; write it as name@host or *@host";
}

static const char *check_mfa_rule(const char *text)
{
    char module[CONFIG_ATOM_SIZE], function[CONFIG_ATOM_SIZE];
    return config_mfa_rule(slice_str(text), module, function) == BG_OK
               ? NULL
               : "is no module or function; write MyApp.Users, or MyApp.Users:get_user for one function";
}

/* S-080. access.c asks for them by these names. */
static const char *check_admin_action(const char *text)
{
    static const char *const actions[] = {"change_detail_error", "update_rate_limit_config", "push_config",
                                          "enable_tracing", "disable_tracing"};
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (strcmp(text, actions[i]) == 0)
            return NULL;
    return "is no admin action; use change_detail_error, update_rate_limit_config, push_config, enable_tracing or "
           "disable_tracing";
}

const char *config_check_level(const char *text)
{
    enum log_level level;
    return log_level_parse(slice_str(text), &level) == BG_OK ? NULL
                                                            : "is not a level; use debug, info, warning or error";
}

static const char *check_rate_key(const char *text)
{
    struct rate_key key;
    return rate_key_parse(slice_str(text), &key) == BG_OK ? NULL
                                                         : "is not a key; use user_id, device_id, ip_address or args.NAME";
}

static const char *check_limit(const char *text)
{
    return limit_by_option(slice_str(text)) != LIMIT_COUNT
               ? NULL
               : "is not a limit; docs/operations.md lists those that can run dry, as max_connections_per_user";
}

/* ---- from rows to tables ------------------------------------------------------------------------------- */

static const cyaml_strval_t switch_words[] = {{"false", TOGGLE_OFF}, {"true", TOGGLE_ON}};
const cyaml_strval_t config_call_way[] = {{"rex", CALL_WAY_REX}, {"spawn", CALL_WAY_SPAWN}};

enum { MiB = 1024 * 1024, TEXT_MAX = 1024, ITEMS_MAX = 10000 };
#define OPTIONAL CYAML_FLAG_OPTIONAL

/* Rows: TEXT(struct, member, required, max bytes, default, check)   NUMBER(struct, member, required, min, max, default)
 *       SWITCH(struct, member, default)   WORD(struct, member)   SECTION(struct, member, required)
 *       SECTIONS/TEXTS(struct, member, required, check)   TERMS(struct, member). The key is the member's name.
 * LIVE_TEXT, LIVE_NUMBER, ...: the same for what a reload can change; see reload.c. */
#define FIELD_TEXT(s, m, req, most, def, chk) CYAML_FIELD_STRING_PTR(#m, OPTIONAL, struct s, m, 1, most),
#define FIELD_NUMBER(s, m, req, lo, hi, def) CYAML_FIELD_UINT(#m, OPTIONAL, struct s, m),
#define FIELD_SWITCH(s, m, def) CYAML_FIELD_ENUM(#m, OPTIONAL | CYAML_FLAG_STRICT, struct s, m, switch_words, 2),
#define FIELD_WORD(s, m) \
    CYAML_FIELD_ENUM(#m, OPTIONAL | CYAML_FLAG_STRICT, struct s, m, config_call_way, CONFIG_CALL_WAYS),
#define FIELD_SECTION(s, m, req) CYAML_FIELD_MAPPING(#m, OPTIONAL, struct s, m, m##_fields),
#define FIELD_SECTIONS(s, m, req) \
    CYAML_FIELD_SEQUENCE(#m, OPTIONAL | CYAML_FLAG_POINTER, struct s, m, &m##_value, 0, ITEMS_MAX),
#define FIELD_TEXTS(s, m, req, chk) \
    CYAML_FIELD_SEQUENCE(#m, OPTIONAL | CYAML_FLAG_POINTER, struct s, m, &text_value, 0, ITEMS_MAX),
#define FIELD_TERMS(s, m) CYAML_FIELD_IGNORE(#m, OPTIONAL),

/* The same rows with LIVE_ before the kind may change at a reload; all that is inside a list that is live is live
 * too. */
#define FIELD_LIVE_TEXT(s, m, req, most, def, chk) FIELD_TEXT(s, m, req, most, def, chk)
#define FIELD_LIVE_NUMBER(s, m, req, lo, hi, def) FIELD_NUMBER(s, m, req, lo, hi, def)
#define FIELD_LIVE_SWITCH(s, m, def) FIELD_SWITCH(s, m, def)
#define FIELD_LIVE_SECTIONS(s, m, req) FIELD_SECTIONS(s, m, req)
#define FIELD_LIVE_TEXTS(s, m, req, chk) FIELD_TEXTS(s, m, req, chk)

#define AT(s, m) .key = #m, .offset = offsetof(struct s, m), .size = sizeof(((struct s *)0)->m)
#define LIST_AT(s, m) \
    .key = #m, .offset = offsetof(struct s, m), .size = sizeof(*((struct s *)0)->m), \
    .count_offset = offsetof(struct s, m##_count)
#define TEXT_RULE(s, m, rq, most, def, chk, lv) \
    {.kind = OPT_TEXT, AT(s, m), .min = 1, .max = (most), .text_fallback = (def), .check = (chk), .required = (rq), \
     .live = (lv)},
#define NUMBER_RULE(s, m, rq, lo, hi, def, lv) \
    {.kind = OPT_NUMBER, AT(s, m), .min = (lo), .max = (hi), .fallback = (def), .required = (rq), .live = (lv)},
#define SWITCH_RULE(s, m, def, lv) {.kind = OPT_SWITCH, AT(s, m), .fallback = (def), .live = (lv)},
#define SECTIONS_RULE(s, m, rq, lv) \
    {.kind = OPT_SECTIONS, LIST_AT(s, m), .min = 1, .max = ITEMS_MAX, .child = &m##_section, .required = (rq), \
     .live = (lv)},
#define TEXTS_RULE(s, m, rq, chk, lv) \
    {.kind = OPT_TEXTS, LIST_AT(s, m), .min = 1, .max = ITEMS_MAX, .check = (chk), .required = (rq), .live = (lv)},
#define RULE_TEXT(s, m, req, most, def, chk) TEXT_RULE(s, m, req, most, def, chk, false)
#define RULE_NUMBER(s, m, req, lo, hi, def) NUMBER_RULE(s, m, req, lo, hi, def, false)
#define RULE_SWITCH(s, m, def) SWITCH_RULE(s, m, def, false)
#define RULE_WORD(s, m) {.kind = OPT_WORD, AT(s, m)},
#define RULE_SECTION(s, m, req) {.kind = OPT_SECTION, AT(s, m), .child = &m##_section, .required = (req)},
#define RULE_SECTIONS(s, m, req) SECTIONS_RULE(s, m, req, false)
#define RULE_TEXTS(s, m, req, chk) TEXTS_RULE(s, m, req, chk, false)
#define RULE_TERMS(s, m) {.kind = OPT_TERMS, AT(s, m), .max = 255},
#define RULE_LIVE_TEXT(s, m, req, most, def, chk) TEXT_RULE(s, m, req, most, def, chk, true)
#define RULE_LIVE_NUMBER(s, m, req, lo, hi, def) NUMBER_RULE(s, m, req, lo, hi, def, true)
#define RULE_LIVE_SWITCH(s, m, def) SWITCH_RULE(s, m, def, true)
#define RULE_LIVE_SECTIONS(s, m, req) SECTIONS_RULE(s, m, req, true)
#define RULE_LIVE_TEXTS(s, m, req, chk) TEXTS_RULE(s, m, req, chk, true)

#define TABLES(name, ROWS) \
    static const cyaml_schema_field_t name##_fields[] = {ROWS(FIELD) CYAML_FIELD_END}; \
    static const struct option name##_options[] = {ROWS(RULE)}; \
    static const struct section name##_section = {name##_options, ARRAY_SIZE(name##_options)}

static const cyaml_schema_value_t text_value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, TEXT_MAX)};

/* ---- the options --------------------------------------------------------------------------------------- */

/* The bounds of time and size are where a value stops making sense, not what is advisable. */
#define NODE(R) \
    R##_TEXT(node_settings, name, false, 255, NULL, config_check_node) \
    R##_TEXT(node_settings, cookie, false, 512, NULL, NULL) \
    R##_TEXT(node_settings, cookie_file, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(node_settings, listen_address, false, 64, NULL, check_address) \
    R##_NUMBER(node_settings, listen_port, false, 0, 65535, 0) \
    R##_SWITCH(node_settings, epmd, TOGGLE_ON) \
    R##_NUMBER(node_settings, tick_interval_s, false, 1, 3600, 15) \
    R##_NUMBER(node_settings, handshake_timeout_s, false, 1, 600, 7) \
    R##_NUMBER(node_settings, reconnect_min_ms, false, 10, 3600000, 100) \
    R##_NUMBER(node_settings, reconnect_max_ms, false, 10, 3600000, 10000) \
    R##_NUMBER(node_settings, max_packet_bytes, false, 65536, 1024 * MiB, 64 * MiB) \
    R##_NUMBER(node_settings, max_output_bytes, false, 65536, 1024 * MiB, 64 * MiB) \
    R##_NUMBER(node_settings, max_pending, false, 1, 65535, 256) \
    R##_WORD(node_settings, call_way) \
    R##_TEXT(node_settings, tls_certificate, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(node_settings, tls_key, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(node_settings, tls_ca, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(node_settings, tls_min_version, false, 3, "1.2", check_tls_version) \
    R##_SWITCH(node_settings, tls_check_host, TOGGLE_ON) \
    R##_SWITCH(node_settings, tls_require_certificate, TOGGLE_ON)
TABLES(node, NODE);

/* Of every port. */
#define PORT(R, s) \
    R##_TEXT(s, tls_certificate, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(s, tls_key, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(s, tls_client_ca, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(s, tls_min_version, false, 3, "1.2", check_tls_version) \
    R##_SWITCH(s, proxy_protocol, TOGGLE_OFF)

#define LISTEN(R) \
    R##_TEXT(listen_settings, address, false, 64, "127.0.0.1", check_address) \
    R##_NUMBER(listen_settings, port, true, 0, 65535, 0) \
    R##_TEXT(listen_settings, host, false, 255, NULL, check_host) \
    R##_LIVE_NUMBER(listen_settings, handshake_timeout_ms, false, 100, 600000, 10000) \
    R##_LIVE_NUMBER(listen_settings, max_pending, false, 1, 1000000, 4096) \
    R##_LIVE_NUMBER(listen_settings, max_head_bytes, false, 256, HTTP_HEAD_MAX, HTTP_HEAD_MAX) \
    R##_LIVE_NUMBER(listen_settings, max_headers, false, 5, HTTP_HEADERS_MAX, HTTP_HEADERS_MAX) \
    PORT(R, listen_settings) \
    R##_TEXTS(listen_settings, trusted_proxies, false, check_range)
TABLES(listen, LISTEN);

#define LISTENERS(R) \
    R##_TEXT(listener_settings, address, false, 64, "127.0.0.1", check_address) \
    R##_NUMBER(listener_settings, port, true, 0, 65535, 0) \
    PORT(R, listener_settings)
TABLES(listeners, LISTENERS);
static const cyaml_schema_value_t listeners_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct listener_settings, listeners_fields)};

#define CHANNELS(R) \
    R##_TEXT(channel_settings, topic, true, TEXT_MAX, NULL, check_topic) \
    R##_TEXT(channel_settings, event, false, 255, "phoenix_gen_api", NULL) \
    R##_SWITCH(channel_settings, override_user_id, TOGGLE_ON) \
    R##_SWITCH(channel_settings, require_verified_user_id, TOGGLE_ON) \
    R##_SWITCH(channel_settings, require_user, TOGGLE_OFF) \
    R##_TEXTS(channel_settings, roles, false, NULL) \
    R##_TEXT(channel_settings, join_module, false, 255, NULL, check_atom) \
    R##_TEXT(channel_settings, join_function, false, 255, NULL, check_atom) \
    R##_TEXTS(channel_settings, join_nodes, false, check_peer) \
    R##_NUMBER(channel_settings, join_timeout_ms, false, 10, 60000, 5000)
TABLES(channels, CHANNELS);
static const cyaml_schema_value_t channels_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct channel_settings, channels_fields)};

#define AUTH(R) \
    R##_TEXT(auth_settings, type, true, 32, NULL, check_auth_type) \
    R##_TEXT(auth_settings, param, false, 64, NULL, NULL) \
    R##_TEXT(auth_settings, secret, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(auth_settings, secret_file, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(auth_settings, salt, false, 255, NULL, NULL) \
    R##_TEXT(auth_settings, key_digest, false, 16, NULL, check_digest) \
    R##_NUMBER(auth_settings, key_iterations, false, 0, 10000000, 0) \
    R##_NUMBER(auth_settings, key_length, false, 0, PHOENIX_TOKEN_KEY_MAX, 0) \
    R##_TEXT(auth_settings, algorithm, false, 16, NULL, check_algorithm) \
    R##_TEXT(auth_settings, key_file, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(auth_settings, jwks_file, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(auth_settings, issuer, false, TEXT_MAX, NULL, NULL) \
    R##_TEXT(auth_settings, audience, false, TEXT_MAX, NULL, NULL) \
    R##_NUMBER(auth_settings, leeway_s, false, 0, 3600, 0) \
    R##_TEXT(auth_settings, user_id_path, false, 255, NULL, NULL) \
    R##_TEXT(auth_settings, roles_path, false, 255, NULL, NULL) \
    R##_TEXT(auth_settings, device_id_path, false, 255, NULL, NULL) \
    R##_NUMBER(auth_settings, max_age_s, false, 0, 1000000000, 0) \
    R##_TEXT(auth_settings, module, false, 255, NULL, check_atom) \
    R##_TEXT(auth_settings, function, false, 255, NULL, check_atom) \
    R##_TEXTS(auth_settings, nodes, false, check_peer) \
    R##_NUMBER(auth_settings, timeout_ms, false, 10, 60000, 5000) \
    R##_NUMBER(auth_settings, cache_ms, false, 0, 3600000, 0)
TABLES(auth, AUTH);
static const cyaml_schema_value_t auth_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct auth_settings, auth_fields)};

#define REFUSALS(R) \
    R##_TEXT(refusal_settings, reason, true, 255, NULL, NULL) \
    R##_NUMBER(refusal_settings, status, true, 400, 599, 0) \
    R##_TEXT(refusal_settings, body, false, TEXT_MAX, NULL, NULL)
TABLES(refusals, REFUSALS);
static const cyaml_schema_value_t refusals_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct refusal_settings, refusals_fields)};

#define SOCKETS(R) \
    R##_TEXT(socket_settings, path, true, 255, NULL, check_path) \
    R##_TEXT(socket_settings, user_id_param, false, 64, NULL, NULL) \
    R##_SECTIONS(socket_settings, auth, false) \
    R##_SECTIONS(socket_settings, refusals, false) \
    R##_TEXT(socket_settings, id, false, 255, NULL, check_socket_id) \
    R##_TEXT(socket_settings, check_origin, false, 8, "true", check_origin) \
    R##_TEXTS(socket_settings, origins, false, check_origin_pattern) \
    R##_TEXT(socket_settings, origin_module, false, 255, NULL, check_atom) \
    R##_TEXT(socket_settings, origin_function, false, 255, NULL, check_atom) \
    R##_TERMS(socket_settings, origin_args) \
    R##_TEXTS(socket_settings, origin_nodes, false, check_peer) \
    R##_NUMBER(socket_settings, origin_timeout_ms, false, 10, 60000, 5000) \
    R##_NUMBER(socket_settings, origin_cache_ms, false, 0, 3600000, 0) \
    R##_NUMBER(socket_settings, timeout_ms, false, 1000, 86400000, 60000) \
    R##_NUMBER(socket_settings, max_channels, false, 1, 100000, 100) \
    R##_NUMBER(socket_settings, max_frame_bytes, false, 1024, 1024 * MiB, 10000000) \
    R##_NUMBER(socket_settings, max_topic_bytes, false, 16, 65535, 1024) \
    R##_SECTIONS(socket_settings, channels, true)
TABLES(sockets, SOCKETS);
static const cyaml_schema_value_t sockets_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct socket_settings, sockets_fields)};

#define SERVICES(R) \
    R##_TEXT(service_settings, service, true, 255, NULL, NULL) \
    R##_TEXTS(service_settings, nodes, true, check_peer) \
    R##_TEXT(service_settings, module, true, 255, NULL, check_atom) \
    R##_TEXT(service_settings, function, true, 255, NULL, check_atom) \
    R##_TERMS(service_settings, args) \
    R##_TEXT(service_settings, version_module, false, 255, NULL, check_atom) \
    R##_TEXT(service_settings, version_function, false, 255, NULL, check_atom) \
    R##_TERMS(service_settings, version_args)
TABLES(services, SERVICES);
static const cyaml_schema_value_t services_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct service_settings, services_fields)};

#define PULL(R) \
    R##_LIVE_NUMBER(pull_settings, timeout_ms, false, 100, 600000, 5000) \
    R##_LIVE_NUMBER(pull_settings, interval_ms, false, 1000, 86400000, 30000)
TABLES(pull, PULL);

#define ALLOW(R) \
    R##_TEXT(allow_settings, service, true, 512, NULL, NULL) \
    R##_TEXTS(allow_settings, nodes, true, check_node_pattern)
TABLES(allow, ALLOW);
static const cyaml_schema_value_t allow_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct allow_settings, allow_fields)};

#define PUSH(R) \
    R##_LIVE_TEXT(push_settings, token, false, CONFIG_TOKEN_MAX, NULL, NULL) \
    R##_LIVE_TEXT(push_settings, token_file, false, TEXT_MAX, NULL, NULL) \
    R##_LIVE_NUMBER(push_settings, max_services, false, 1, 100000, 1000) \
    R##_TEXT(push_settings, snapshot_file, false, TEXT_MAX, NULL, check_absolute) \
    R##_LIVE_SECTIONS(push_settings, allow, false)
TABLES(push, PUSH);

#define PUBSUB(R) \
    R##_TEXTS(pubsub_settings, names, true, check_module) \
    R##_NUMBER(pubsub_settings, pool_size, false, 1, 64, 1)
TABLES(pubsub, PUBSUB);

#define SECURITY(R) \
    R##_LIVE_TEXTS(security_settings, mfa_allowlist, false, check_mfa_rule) \
    R##_TEXTS(security_settings, admin_actions, false, check_admin_action)
TABLES(security, SECURITY);

#define REQUESTS(R) \
    R##_NUMBER(requests_settings, max_in_flight, false, 1, GATEWAY_IN_FLIGHT_MAX, 100000) \
    R##_NUMBER(requests_settings, max_in_flight_per_channel, false, 1, 1000000, 1000) \
    R##_LIVE_NUMBER(requests_settings, max_in_flight_per_socket, false, 1, 1000000, 1000) \
    R##_LIVE_NUMBER(requests_settings, max_in_flight_per_user, false, 1, 1000000, 2000) \
    R##_NUMBER(requests_settings, max_payload_bytes, false, 64, 1024 * MiB, 1000000) \
    R##_NUMBER(requests_settings, max_depth, false, 4, 256, 64) \
    R##_NUMBER(requests_settings, max_keys, false, 16, 1000000, 10000) \
    R##_NUMBER(requests_settings, async_limit, false, 1, 1000000, 1000) \
    R##_NUMBER(requests_settings, async_queue, false, 1, 1000000, 10000) \
    R##_NUMBER(requests_settings, breaker_threshold, false, 1, 1000000, 5) \
    R##_NUMBER(requests_settings, breaker_cooldown_ms, false, 1, 3600000, 5000) \
    R##_NUMBER(requests_settings, nodes_cache_ms, false, 1, 3600000, 7000) \
    R##_NUMBER(requests_settings, stream_grace_ms, false, 1, 86400000, 5000) \
    R##_TEXT(requests_settings, hook_node, false, 255, NULL, config_check_node) \
    R##_SWITCH(requests_settings, retry_on_error, TOGGLE_OFF) \
    R##_SWITCH(requests_settings, detail_error, TOGGLE_OFF) \
    R##_SWITCH(requests_settings, pass_error_reason, TOGGLE_OFF) \
    R##_SWITCH(requests_settings, fallback_on_exit, TOGGLE_OFF) \
    R##_NUMBER(requests_settings, string_max_bytes, false, 1, 1024 * MiB, 3000) \
    R##_NUMBER(requests_settings, list_max_items, false, 1, 10000000, 1000) \
    R##_NUMBER(requests_settings, map_max_items, false, 1, 10000000, 1000)
TABLES(requests, REQUESTS);

#define GLOBAL_LIMITS(R) \
    R##_TEXT(global_limit_settings, key, true, RATE_KEY_TEXT_MAX, NULL, check_rate_key) \
    R##_NUMBER(global_limit_settings, max_requests, true, 0, RATE_REQUESTS_MAX, 0) \
    R##_NUMBER(global_limit_settings, window_ms, true, 1, RATE_WINDOW_MAX_MS, 0) \
    R##_SWITCH(global_limit_settings, dry_run, TOGGLE_OFF)
TABLES(global_limits, GLOBAL_LIMITS);
static const cyaml_schema_value_t global_limits_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct global_limit_settings, global_limits_fields)};

#define API_LIMITS(R) \
    R##_TEXT(api_limit_settings, service, true, RATE_TEXT_MAX, NULL, NULL) \
    R##_TEXT(api_limit_settings, request_type, true, RATE_TEXT_MAX, NULL, NULL) \
    R##_TEXT(api_limit_settings, key, true, RATE_KEY_TEXT_MAX, NULL, check_rate_key) \
    R##_NUMBER(api_limit_settings, max_requests, true, 0, RATE_REQUESTS_MAX, 0) \
    R##_NUMBER(api_limit_settings, window_ms, true, 1, RATE_WINDOW_MAX_MS, 0) \
    R##_SWITCH(api_limit_settings, dry_run, TOGGLE_OFF)
TABLES(api_limits, API_LIMITS);
static const cyaml_schema_value_t api_limits_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct api_limit_settings, api_limits_fields)};

#define RATE_LIMITER(R) \
    R##_SWITCH(rate_limiter_settings, enabled, TOGGLE_ON) \
    R##_SWITCH(rate_limiter_settings, fail_open, TOGGLE_ON) \
    R##_NUMBER(rate_limiter_settings, max_bytes, false, RATE_BYTES_MIN, 2048u * MiB, 64 * MiB) \
    R##_LIVE_NUMBER(rate_limiter_settings, cleanup_interval_ms, false, 100, 86400000, 60000) \
    R##_LIVE_SECTIONS(rate_limiter_settings, global_limits, false) \
    R##_LIVE_SECTIONS(rate_limiter_settings, api_limits, false)
TABLES(rate_limiter, RATE_LIMITER);

#define LIMITS(R) \
    R##_NUMBER(limits_settings, max_connections, false, 1, 1000000, 50000) \
    R##_LIVE_NUMBER(limits_settings, max_connections_per_address, false, 1, 1000000, 1000) \
    R##_LIVE_NUMBER(limits_settings, max_connections_per_user, false, 1, 1000000, 100) \
    R##_LIVE_NUMBER(limits_settings, connects_per_s, false, 1, 1000000, 5000) \
    R##_LIVE_NUMBER(limits_settings, connects_per_s_per_address, false, 1, 1000000, 100) \
    R##_LIVE_NUMBER(limits_settings, messages_per_s, false, 1, 10000000, 500) \
    R##_LIVE_NUMBER(limits_settings, bytes_per_s, false, 1024, 1000000000, 4 * MiB) \
    R##_LIVE_NUMBER(limits_settings, flood_ms, false, 1000, 3600000, 10000) \
    R##_LIVE_NUMBER(limits_settings, joins_per_s, false, 1, 1000000, 100) \
    R##_LIVE_TEXTS(limits_settings, dry_run, false, check_limit) \
    R##_NUMBER(limits_settings, max_buffered_bytes, false, 65536, 1024 * MiB, 8 * MiB) \
    R##_NUMBER(limits_settings, max_unread_ms, false, 1000, 3600000, 30000) \
    R##_NUMBER(limits_settings, max_functions, false, 1, 1000000, 100000) \
    R##_NUMBER(limits_settings, max_processes, false, 16, 10000000, 1000000)
TABLES(limits, LIMITS);

#define CONSOLE(R) \
    R##_SWITCH(console_settings, enabled, TOGGLE_OFF) \
    R##_TEXT(console_settings, phoenix_js, false, TEXT_MAX, NULL, NULL)
TABLES(console, CONSOLE);

#define LOG(R) R##_LIVE_TEXT(log_settings, level, false, 16, "info", config_check_level)
TABLES(log, LOG);

#define DRAIN(R) \
    R##_LIVE_NUMBER(drain_settings, batch, false, 1, 100000, 200) \
    R##_LIVE_NUMBER(drain_settings, interval_ms, false, 1, 60000, 100) \
    R##_LIVE_NUMBER(drain_settings, timeout_ms, false, 100, 3600000, 25000)
TABLES(drain, DRAIN);

#define CONTROL(R) \
    R##_TEXT(control_settings, socket, false, 107, NULL, check_absolute) \
    R##_NUMBER(control_settings, max_clients, false, 1, 1000, 8)
TABLES(control, CONTROL);

#define TOP(R) \
    R##_SECTION(server_config, node, false) \
    R##_SECTION(server_config, listen, true) \
    R##_SECTIONS(server_config, listeners, false) \
    R##_SECTIONS(server_config, sockets, true) \
    R##_LIVE_SECTIONS(server_config, services, false) \
    R##_SECTION(server_config, pull, false) \
    R##_SECTION(server_config, push, false) \
    R##_SECTION(server_config, pubsub, false) \
    R##_SECTION(server_config, security, false) \
    R##_SECTION(server_config, requests, false) \
    R##_SECTION(server_config, rate_limiter, false) \
    R##_SECTION(server_config, limits, false) \
    R##_SECTION(server_config, console, false) \
    R##_SECTION(server_config, log, false) \
    R##_SECTION(server_config, drain, false) \
    R##_SECTION(server_config, control, false)
static const cyaml_schema_field_t top_fields[] = {TOP(FIELD) CYAML_FIELD_END};
static const struct option top_options[] = {TOP(RULE)};
const struct section config_section = {top_options, ARRAY_SIZE(top_options)};
const cyaml_schema_value_t config_top_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct server_config, top_fields)};
