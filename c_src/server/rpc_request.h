/*
 * rpc_request.h: the structs that other nodes hand over, Request and FunConfig, as the rules of this gateway take
 * them: a request's fields as checked JSON, exactly as if a client had sent them.
 */
#ifndef BEAMGATE_RPC_REQUEST_H
#define BEAMGATE_RPC_REQUEST_H

#include "request_decode.h"
#include "rpc_functions.h"

struct rpc_request {
    struct request_fields f; /* parts of json */
    struct session who;      /* parts of the term; no address */
    struct buf json;         /* the payload: one object */
    struct slice *roles;
};

/* Reads a Request struct, or a map with the same keys as atoms or texts (F-100). A term stays the caller's and must
 * outlive *q. 0; BG_EINVAL when it is no map, or a field cannot be JSON or is too deep: e says which; BG_ENOMEM.
 * Whatever it returns, rpc_request_fini() follows. */
int rpc_request_read(struct rpc_request *q, struct slice term, const struct json_limits *lim, struct err *e) MUST_CHECK;
void rpc_request_fini(struct rpc_request *q);

/* True for a struct of that module. */
bool rpc_is_struct(struct slice term, const char *module);
#define RPC_STRUCT_REQUEST "Elixir.PhoenixGenApi.Structs.Request"
#define RPC_STRUCT_FUN_CONFIG "Elixir.PhoenixGenApi.Structs.FunConfig"

/* Appends an exception struct with its message, as Elixir raises it; more keys, if any, follow as count pairs that the
 * caller appends. */
void rpc_put_exception(struct buf *out, const char *module, struct slice message, uint32_t more);
/* ArgumentError with that text: what the function ends with. */
enum rpc_outcome rpc_argument_error(struct buf *out, struct slice message);

#endif
