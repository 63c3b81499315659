/*
 * config.h: the configuration file (YAML) as one checked struct, and the cookie from wherever it is
 * kept. The option table is in c_src/server/config_schema.c; rel/beamgate.yml explains every option.
 *
 * After config_load() every number is inside its range, every default is filled in and every text has
 * passed its check: readers of the struct check nothing again.
 */
#ifndef BEAMGATE_CONFIG_H
#define BEAMGATE_CONFIG_H

#include "buf.h"
#include "log.h"

/* A switch as it is loaded: 0 while the file says nothing. After config_load() only OFF and ON remain. */
enum toggle { TOGGLE_UNSET, TOGGLE_OFF, TOGGLE_ON };

enum call_way_setting { CALL_WAY_REX, CALL_WAY_SPAWN };

/* Texts are NULL where the file says nothing and there is no default. */
struct node_settings {
    char *name;
    char *cookie;
    char *cookie_file;
    char *listen_address; /* NULL: every address */
    uint16_t listen_port; /* 0: the kernel chooses */
    enum toggle epmd;
    uint32_t tick_interval_s;
    uint32_t handshake_timeout_s;
    uint32_t reconnect_min_ms;
    uint32_t reconnect_max_ms;
    uint32_t max_packet_bytes;
    uint32_t max_output_bytes;
    uint32_t max_pending;
    enum call_way_setting call_way;
    char *tls_certificate; /* files; NULL, and then the others too: links are plain */
    char *tls_key;
    char *tls_ca;          /* NULL: nodes are believed by the cookie alone */
    char *tls_min_version; /* 1.2 or 1.3 */
    enum toggle tls_check_host;
    enum toggle tls_require_certificate;
};

struct listen_settings {
    char *address;
    uint16_t port; /* 0: the kernel chooses */
    char *host;    /* NULL: what clients say in Host */
    uint32_t handshake_timeout_ms;
    uint32_t max_pending;
    uint32_t max_head_bytes;
    uint32_t max_headers;
    char *tls_certificate; /* files; NULL, and then the others too: no TLS */
    char *tls_key;
    char *tls_client_ca;   /* NULL: clients show no certificate */
    char *tls_min_version; /* 1.2 or 1.3 */
    enum toggle proxy_protocol;
    char **trusted_proxies; /* each for ip_range_parse() */
    uint32_t trusted_proxies_count;
};

/* One more port; the members mean what they mean in listen_settings. */
struct listener_settings {
    char *address;
    uint16_t port;
    char *tls_certificate;
    char *tls_key;
    char *tls_client_ca;
    char *tls_min_version;
    enum toggle proxy_protocol;
};

struct channel_settings {
    char *topic;
    char *event;
    enum toggle override_user_id;
    enum toggle require_verified_user_id;
    enum toggle require_user;
    char **roles;
    uint32_t roles_count;
    char *join_module;
    char *join_function;
    char **join_nodes;
    uint32_t join_nodes_count;
    uint32_t join_timeout_ms;
};

/* One way to tell who a client is; which members count depends on type. */
struct auth_settings {
    char *type; /* phoenix_token, phoenix_encrypted, jwt, remote, param or none */
    char *param;
    char *secret;
    char *secret_file;
    char *salt;
    char *key_digest; /* how a Phoenix application derives its keys; 0: as by default */
    uint32_t key_iterations;
    uint32_t key_length;
    char *algorithm; /* of JWTs; NULL: what the keys in jwks_file are for */
    char *key_file;
    char *jwks_file;
    char *issuer;
    char *audience;
    uint32_t leeway_s;
    char *user_id_path;
    char *roles_path;
    char *device_id_path;
    uint32_t max_age_s;
    char *module; /* of a remote function, as services have them */
    char *function;
    char **nodes;
    uint32_t nodes_count;
    uint32_t timeout_ms;
    uint32_t cache_ms;
};

/* What a client gets about whom a connect function has said {error, Reason}. */
struct refusal_settings {
    char *reason;
    uint32_t status;
    char *body; /* NULL: none */
};

struct socket_settings {
    char *path;
    char *user_id_param; /* NULL: sockets have no user id */
    struct auth_settings *auth; /* then there is no user_id_param */
    uint32_t auth_count;
    struct refusal_settings *refusals;
    uint32_t refusals_count;
    char *id;            /* with {user_id}; NULL: sockets have none */
    char *check_origin;  /* true, false, conn or remote */
    char **origins;      /* patterns for origin_parse_pattern(); when given, check_origin is true and they decide */
    uint32_t origins_count;
    char *origin_module; /* for check_origin remote */
    char *origin_function;
    struct buf origin_args; /* a list term; empty when not given */
    char **origin_nodes;
    uint32_t origin_nodes_count;
    uint32_t origin_timeout_ms;
    uint32_t origin_cache_ms;
    uint32_t timeout_ms;
    uint32_t max_channels;
    uint32_t max_frame_bytes;
    uint32_t max_topic_bytes;
    struct channel_settings *channels;
    uint32_t channels_count;
};

/* Modules and functions hold the atom's text: 'Elixir.MyApp.Supporter', not MyApp.Supporter. */
struct service_settings {
    char *service;
    char **nodes; /* name@host, or name@host:port */
    uint32_t nodes_count;
    char *module;
    char *function;
    char *version_module;
    char *version_function;
    struct buf args;         /* a list term; empty when not given */
    struct buf version_args; /* the same */
};

struct pull_settings {
    uint32_t timeout_ms;
    uint32_t interval_ms;
};

/* Phoenix.PubSub servers of the services, whose broadcasts are heard. */
struct pubsub_settings {
    char **names; /* as in Elixir: MyApp.PubSub */
    uint32_t names_count;
    uint32_t pool_size;
};

struct requests_settings {
    uint32_t max_in_flight;
    uint32_t max_in_flight_per_channel;
    uint32_t max_in_flight_per_socket;
    uint32_t max_in_flight_per_user;
    uint32_t max_payload_bytes;
    uint32_t max_depth;
    uint32_t max_keys;
    uint32_t async_limit;
    uint32_t async_queue;
    uint32_t breaker_threshold;
    uint32_t breaker_cooldown_ms;
    uint32_t nodes_cache_ms;
    uint32_t stream_grace_ms;
    char *hook_node; /* NULL: hooks run where the call does */
    enum toggle retry_on_error;
    enum toggle detail_error;
    enum toggle pass_error_reason;
    enum toggle fallback_on_exit;
    uint32_t string_max_bytes;
    uint32_t list_max_items;
    uint32_t map_max_items;
};

/* key: as rate_key_parse() reads it. */
struct global_limit_settings {
    char *key;
    uint32_t max_requests;
    uint32_t window_ms;
    enum toggle dry_run;
};

struct api_limit_settings {
    char *service;
    char *request_type;
    char *key;
    uint32_t max_requests;
    uint32_t window_ms;
    enum toggle dry_run;
};

struct rate_limiter_settings {
    enum toggle enabled;
    enum toggle fail_open;
    uint32_t max_bytes;
    uint32_t cleanup_interval_ms;
    struct global_limit_settings *global_limits;
    uint32_t global_limits_count;
    struct api_limit_settings *api_limits;
    uint32_t api_limits_count;
};

struct limits_settings {
    uint32_t max_connections;
    uint32_t max_connections_per_address;
    uint32_t max_connections_per_user;
    uint32_t connects_per_s;
    uint32_t connects_per_s_per_address;
    uint32_t messages_per_s;
    uint32_t bytes_per_s;
    uint32_t flood_ms;
    uint32_t joins_per_s;
    char **dry_run; /* names for limit_by_option() */
    uint32_t dry_run_count;
    uint32_t max_buffered_bytes;
    uint32_t max_unread_ms;
    uint32_t max_functions;
    uint32_t max_processes;
};

struct console_settings {
    enum toggle enabled;
    char *phoenix_js;
};

struct log_settings {
    char *level;
};

/* The socket of `beamgate ctl`. */
struct control_settings {
    char *socket; /* NULL: where systemd says, or none; see ctl_socket_path() */
    uint32_t max_clients;
};

struct drain_settings {
    uint32_t batch;
    uint32_t interval_ms;
    uint32_t timeout_ms;
};

/* One row of push.allow; * in a text stands for any characters. */
struct allow_settings {
    char *service;
    char **nodes;
    uint32_t nodes_count;
};

struct push_settings {
    char *token; /* from wherever it is kept, after config_push_token(); NULL: none asked for */
    char *token_file;
    uint32_t max_services;
    char *snapshot_file; /* NULL: none */
    struct allow_settings *allow;
    uint32_t allow_count;
};

/* Entries as in the file: MyApp.Users or MyApp.Users:get_user; see config_mfa_rule(). */
struct security_settings {
    char **mfa_allowlist;
    uint32_t mfa_allowlist_count;
    char **admin_actions; /* S-080: what other nodes may do beside asking */
    uint32_t admin_actions_count;
};

struct server_config {
    struct node_settings node;
    struct listen_settings listen;
    struct listener_settings *listeners; /* besides listen */
    uint32_t listeners_count;
    struct socket_settings *sockets;
    uint32_t sockets_count;
    struct service_settings *services;
    uint32_t services_count;
    struct pull_settings pull;
    struct push_settings push;
    struct pubsub_settings pubsub;
    struct security_settings security;
    struct requests_settings requests;
    struct rate_limiter_settings rate_limiter;
    struct limits_settings limits;
    struct console_settings console;
    struct log_settings log;
    struct drain_settings drain;
    struct control_settings control;
};

static inline bool is_on(enum toggle t)
{
    return t == TOGGLE_ON;
}

/* Port i of listeners_count + 1: listen is the first. */
struct listener_settings config_listener(const struct server_config *c, uint32_t i);

/* Every message for the operator, one a line, "FILE:LINE: text" (no line number where none applies). */
struct config_report {
    struct buf text;
    unsigned errors;
    unsigned warnings;
};

void config_report_init(struct config_report *r);
void config_report_fini(struct config_report *r);
/* Adds one message of the caller's: an error, or a warning. */
void config_note(struct config_report *r, bool error, const char *name, const char *text);

/* Reads and checks the file. NULL when it is not usable: then report says why, all problems at once up
 * to a bound. The caller frees the result with config_free(). */
struct server_config *config_load(const char *path, struct config_report *report) MUST_CHECK;
/* The same for text in memory; name stands for the file in messages. */
struct server_config *config_parse(const char *name, struct slice text, struct config_report *report) MUST_CHECK;
void config_free(struct server_config *c);

/* What the command line and the environment say; NULL where they say nothing. */
struct config_overrides {
    const char *name;        /* --name */
    const char *cookie_file; /* --cookie-file */
    const char *cookie;      /* the environment's BEAMGATE_COOKIE */
    const char *push_token;  /* the environment's BEAMGATE_PUSH_TOKEN */
    const char *log_level;   /* --log-level */
};

/* Puts them in place of what the file says. BG_OK, or BG_EINVAL with every problem reported. */
int config_override(struct server_config *c, const struct config_overrides *o, struct config_report *report) MUST_CHECK;

/* The cookie, in this order: --cookie-file, the environment, node.cookie_file, node.cookie. Never
 * written to the report or a log. BG_OK with cookie filled and terminated; BG_EINVAL when there is none
 * or its file is unusable: reported with what to do. A file that others can read is a warning.
 * file, where not NULL, is the configuration file's name for the message. */
int config_cookie(const struct server_config *c, const struct config_overrides *o, const char *file, char *cookie,
                  size_t size, struct config_report *report) MUST_CHECK;

/* The bytes of a file that holds a secret, without the line end at its end, into *secret (the caller's, initialised).
 * BG_EINVAL when it is unusable or empty: reported. A file that others can read is a warning. */
int config_secret_file(const char *path, struct buf *secret, struct config_report *report) MUST_CHECK;

enum { CONFIG_TOKEN_MAX = 512 }; /* bytes of a push token */
/* Puts the push token into c->push.token, from, in this order: the environment, push.token_file, push.token. Never
 * written to the report or a log. BG_OK also when there is none; BG_EINVAL when it is unusable: reported. */
int config_push_token(struct server_config *c, const struct config_overrides *o,
                      struct config_report *report) MUST_CHECK;

/* One option of the table, for the tests that hold the documentation against it. */
struct config_option {
    char path[96]; /* sockets[].timeout_ms */
    const char *kind; /* "text", "number", "true or false", "one of", "list of text", "list of values" */
    uint64_t min, max; /* numbers: value; texts: bytes; lists: items */
    char fallback[64]; /* the default as it would be written; empty: none */
    bool required;
    bool live; /* a reload can change it */
};

/* The options in the order of the table: start with *pos = 0; false at the end. */
bool config_next_option(size_t *pos, struct config_option *o);

/* Calls fn for each option whose value differs, in the order of the table. path: as in messages, of the list itself
 * where its length differs, valid during the call. live: a running gateway can take the new value. */
typedef void config_diff_fn(void *ctx, const char *path, bool live);
void config_diff(const struct server_config *a, const struct server_config *b, config_diff_fn *fn, void *ctx);
bool config_same_service(const struct service_settings *a, const struct service_settings *b);

/* Writes the atom a name in the file stands for: MyApp.Supporter gives Elixir.MyApp.Supporter, :my_mod and
 * my_mod give my_mod. BG_EINVAL when it names no atom or is too long. */
int config_atom(struct slice text, char *atom, size_t size) MUST_CHECK;

/* Takes an entry of security.mfa_allowlist apart: MyApp.Users is a module, MyApp.Users:get_user one function of it,
 * each as config_atom() knows it. *function is empty for a module. BG_EINVAL when it is neither. */
enum { CONFIG_ATOM_SIZE = 256 * 4 };
int config_mfa_rule(struct slice text, char module[CONFIG_ATOM_SIZE], char function[CONFIG_ATOM_SIZE]) MUST_CHECK;

#endif
