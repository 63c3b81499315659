/*
 * rpc_request.c: see rpc_request.h. A request of another node goes the way of a client's request, so its terms become
 * JSON first; what has no JSON form (a tuple, a pid) could be no argument of any type either.
 */
#include "rpc_request.h"

#include <stdlib.h>

#include "transcode.h"

enum { ROLES_MAX = FUN_CONFIG_LIST_MAX };

bool rpc_is_struct(struct slice term, const char *module)
{
    struct slice name;
    return term_map_get(term, "__struct__", &name) && term_is_atom(name, module);
}

void rpc_put_exception(struct buf *out, const char *module, struct slice message, uint32_t more)
{
    term_put_map(out, 3 + more);
    term_put_atom(out, "__struct__");
    term_put_atom(out, module);
    term_put_atom(out, "__exception__");
    term_put_atom(out, "true");
    term_put_atom(out, "message");
    term_put_binary(out, message);
}

enum rpc_outcome rpc_argument_error(struct buf *out, struct slice message)
{
    rpc_put_exception(out, "Elixir.ArgumentError", message, 0);
    return RPC_ERROR;
}

/* The fields as one object; those that are nil or missing are left out. */
static int put_payload(struct buf *json, struct slice term, struct err *e)
{
    static const char *const fields[] = {"request_type", "request_id", "service", "version",
                                         "user_id",      "device_id",  "args"};
    struct slice value;
    bool comma = false;
    buf_putc(json, '{');
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (!fun_config_field(term, fields[i], &value) || term_is_nil(value))
            continue;
        int rc = json_put_key(json, slice_str(fields[i]), comma);
        if (rc == BG_OK)
            rc = term_to_json(value, json, NULL, e);
        if (rc != BG_OK)
            return rc;
        comma = true;
    }
    buf_putc(json, '}');
    return buf_ok(json) ? BG_OK : err_set(e, BG_ENOMEM, 0, "out of memory");
}

/* Texts of the list; what has none, and an improper tail, count as not there (E-024). */
static int read_roles(struct rpc_request *q, struct slice term)
{
    struct slice list, item, text;
    uint32_t n;
    if (!fun_config_field(term, "user_roles", &list))
        return BG_OK;
    struct term_reader r = term_reader(list);
    if (term_read_list(&r, &n) != BG_OK || n == 0)
        return BG_OK;
    if (n > ROLES_MAX)
        return BG_ELIMIT;
    q->roles = calloc(n, sizeof(*q->roles));
    if (!q->roles)
        return BG_ENOMEM;
    for (uint32_t i = 0; i < n && term_skip(&r, &item) == BG_OK; i++)
        if (term_text(item, &text) && text.len > 0 && !term_is_nil(item))
            q->roles[q->who.roles_count++] = text;
    q->who.roles = q->roles;
    return BG_OK;
}

/* Bounds of depth and of keys hold here as for clients. */
static int check_json(const struct rpc_request *q, const struct json_limits *lim, struct err *e)
{
    struct json_reader reader = json_reader(buf_slice(&q->json));
    struct slice raw;
    return json_value(&reader, lim, &raw, e);
}

int rpc_request_read(struct rpc_request *q, struct slice term, const struct json_limits *lim, struct err *e)
{
    struct term_reader r = term_reader(term);
    struct slice user;
    *q = (struct rpc_request){.who = {.roles = NULL}};
    buf_init(&q->json, 0);
    if (term_peek(&r) != TERM_MAP)
        return err_set(e, BG_EINVAL, 0, "expected a map");
    int rc = put_payload(&q->json, term, e);
    if (rc == BG_OK)
        rc = check_json(q, lim, e);
    if (rc != BG_OK)
        return rc;
    request_fields_read(buf_slice(&q->json), &q->f);
    if (fun_config_field(term, "user_id", &user)) {
        r = term_reader(user);
        if (term_read_binary(&r, &q->who.user_id) != BG_OK)
            q->who.user_id = SLICE_NONE;
    }
    rc = read_roles(q, term);
    return rc == BG_OK ? BG_OK : err_set(e, rc, 0, "user_roles cannot be read: at most %d roles", ROLES_MAX);
}

void rpc_request_fini(struct rpc_request *q)
{
    buf_fini(&q->json);
    free(q->roles);
    q->roles = NULL;
}
