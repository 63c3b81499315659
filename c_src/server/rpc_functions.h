/*
 * rpc_functions.h: the functions of the rpc table, one file per module, and what they share. Each has the shape of
 * rpc_fn: server is a struct server; it returns how it ended and has appended one term (nothing: function_clause).
 */
#ifndef BEAMGATE_RPC_FUNCTIONS_H
#define BEAMGATE_RPC_FUNCTIONS_H

#include "server_state.h"

/* rpc_table.c: common values. */
enum rpc_outcome rpc_put_atom(struct buf *out, const char *name);
enum rpc_outcome rpc_put_count(struct buf *out, size_t n);
void rpc_put_pair(struct buf *out, const char *a, const char *b); /* {a, b} */
enum rpc_outcome rpc_badarg(struct buf *out);                     /* error:badarg */

/* Keyword.get(options, key): false when there is none, or options is no list. */
bool rpc_option(struct slice options, const char *key, struct slice *value);
/* True for a proper list. */
bool rpc_is_options(struct slice term);
/* True when wanted, an atom, a text or a list of both, names the service. */
bool rpc_names_service(struct slice wanted, struct slice service);

/* Wall clock in milliseconds, as failed configs are dated. */
int64_t rpc_now_ms(void);

/* rpc_config_db.c: the entries of the store by service, type and version, disabled ones too; of the one service, or
 * of all when it is SLICE_NONE. The caller frees the array. NULL when there is none, or no memory. */
struct fun_config **rpc_sorted_configs(const struct server *s, struct slice service, size_t *count);

/* rpc_config_receiver.c (S-020..S-044) */
rpc_fn rpc_receiver_push, rpc_receiver_verify, rpc_receiver_config, rpc_receiver_services, rpc_receiver_delete,
    rpc_receiver_status;
/* rpc_config_db.c (S-070..S-077) */
rpc_fn rpc_db_add, rpc_db_batch_add, rpc_db_get, rpc_db_get_latest, rpc_db_disable, rpc_db_enable, rpc_db_delete,
    rpc_db_clear, rpc_db_count, rpc_db_services, rpc_db_functions, rpc_db_functions_of, rpc_db_status;
/* rpc_config_puller.c (S-050..S-064) */
rpc_fn rpc_puller_add, rpc_puller_delete, rpc_puller_services, rpc_puller_api_list, rpc_puller_version,
    rpc_puller_versions, rpc_puller_status, rpc_puller_pull;
/* rpc_config_failed.c (S-090..S-094) */
rpc_fn rpc_failed_list, rpc_failed_count, rpc_failed_summary, rpc_failed_cleanup, rpc_failed_clear,
    rpc_failed_record;
/* rpc_executor.c (docs/protocol.md, Kinds of functions) */
rpc_fn rpc_stop_stream;

#endif
