/*
 * auth_setup.c: see auth_setup.h. The one place where secrets of clients' tokens are read. They live on only as derived
 * keys, and no message holds a byte of them.
 */
#include "auth_setup.h"

#include <errno.h>
#include <stdio.h>

static const struct {
    const char *word;
    enum auth_type type;
    const char *param; /* where the token is looked for when the file does not say */
} types[] = {
    {"phoenix_token", AUTH_PHOENIX_TOKEN, "token"},
    {"phoenix_encrypted", AUTH_PHOENIX_ENCRYPTED, "token"},
    {"jwt", AUTH_JWT, "token"},
    {"remote", AUTH_REMOTE, NULL},
    {"param", AUTH_PARAM, NULL},
    {"none", AUTH_NONE, NULL},
};

static int read_secret(const struct auth_settings *from, struct buf *secret, struct err *e)
{
    struct config_report report;
    if (from->secret) {
        buf_puts(secret, from->secret);
        return BG_OK;
    }
    config_report_init(&report);
    int rc = config_secret_file(from->secret_file, secret, &report);
    struct slice text = buf_slice(&report.text);
    if (text.len)
        text.len--; /* its line end */
    if (rc != BG_OK)
        err_set(e, rc, 0, "%.*s", (int)text.len, text.ptr);
    else if (text.len)
        log_warning("config", "secret file", "text=%s", log_text(text));
    config_report_fini(&report);
    return rc;
}

static void wipe(struct buf *secret)
{
    if (secret->data)
        explicit_bzero(secret->data, secret->cap);
    buf_fini(secret);
}

static int make_phoenix_key(const struct auth_settings *from, struct auth_method *to, struct err *e)
{
    const struct phoenix_key_rule rule = {from->key_iterations, from->key_length, from->key_digest};
    struct buf secret;
    buf_init(&secret, 0);
    int rc = read_secret(from, &secret, e);
    if (rc == BG_OK && phoenix_token_key(buf_slice(&secret), slice_str(from->salt), &rule, &to->key) != BG_OK)
        rc = err_set(e, BG_EINVAL, 0, "no key could be derived from the secret");
    wipe(&secret);
    return rc;
}

/* A whole file, of at most JWKS_BYTES_MAX bytes. */
static int read_keys_file(const char *path, struct buf *out, struct err *e)
{
    enum { STEP = 4096 };
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(e, BG_ESYS, 0, "%s: cannot be read: %s", path, strerror(errno));
    for (size_t n = 1; n && buf_ok(out);) {
        uint8_t *dst = buf_reserve(out, STEP);
        n = dst ? fread(dst, 1, STEP, f) : 0;
        out->len += n;
    }
    bool bad = ferror(f) || !buf_ok(out);
    fclose(f);
    return bad ? err_set(e, BG_ESYS, 0, "%s: cannot be read, or is longer than %d bytes", path, JWKS_BYTES_MAX) : BG_OK;
}

const char *auth_keys_file(const struct auth_settings *from)
{
    return from->jwks_file ? from->jwks_file : from->key_file;
}

struct jwt_keys *auth_load_keys(const struct auth_settings *from, struct err *e)
{
    struct err why = {0};
    struct buf text;
    struct jwt_keys *keys = NULL;
    const char *path = auth_keys_file(from);
    buf_init(&text, JWKS_BYTES_MAX + 8192);
    int rc = path ? read_keys_file(path, &text, e) : read_secret(from, &text, e);
    if (rc == BG_OK) {
        keys = from->jwks_file ? jwt_keys_parse(buf_slice(&text), from->algorithm, &why)
                               : jwt_keys_new(from->algorithm, buf_slice(&text), &why);
        if (!keys)
            err_set(e, why.code, 0, "%s: %s", path ? path : "the JWT secret", why.text);
    }
    wipe(&text);
    return keys;
}

static int make_key(const struct auth_settings *from, struct auth_method *to, struct err *e)
{
    if (to->type == AUTH_PHOENIX_TOKEN || to->type == AUTH_PHOENIX_ENCRYPTED)
        return make_phoenix_key(from, to, e);
    if (to->type != AUTH_JWT)
        return BG_OK;
    to->jwt_keys = auth_load_keys(from, e);
    return to->jwt_keys ? BG_OK : BG_EINVAL;
}

/* Where applications usually have them. */
static void assigns_paths(struct auth_method *m)
{
    m->user_id_path = m->user_id_path ? m->user_id_path : "user_id";
    m->roles_path = m->roles_path ? m->roles_path : "roles";
    m->device_id_path = m->device_id_path ? m->device_id_path : "device_id";
}

int auth_setup(const struct auth_settings *from, struct auth_method *to, struct err *e)
{
    size_t i = 0;
    while (i < ARRAY_SIZE(types) && strcmp(from->type, types[i].word) != 0)
        i++;
    assert_always(i < ARRAY_SIZE(types)); /* config_auth.c knows the same words */
    *to = (struct auth_method){
        .type = types[i].type,
        .param = from->param ? from->param : types[i].param,
        .user_id_path = from->user_id_path,
        .roles_path = from->roles_path,
        .device_id_path = from->device_id_path,
        .max_age_s = from->max_age_s,
        .jwt_rules = {from->issuer, from->audience, from->leeway_s, from->max_age_s},
    };
    if (to->type == AUTH_JWT && !to->user_id_path)
        to->user_id_path = "sub";
    if (to->type == AUTH_REMOTE)
        assigns_paths(to);
    return make_key(from, to, e);
}

void auth_clear(struct auth_method *methods, uint32_t count)
{
    for (uint32_t i = 0; methods && i < count; i++)
        jwt_keys_free(methods[i].jwt_keys);
    if (methods)
        explicit_bzero(methods, count * sizeof(*methods));
}
