/*
 * auth_setup.c: see auth_setup.h. The one place where secrets of clients' tokens are read. They live on only as derived
 * keys, and no message holds a byte of them.
 */
#include "auth_setup.h"

static const struct {
    const char *word;
    enum auth_type type;
    const char *param; /* where the token is looked for when the file does not say */
} types[] = {
    {"phoenix_token", AUTH_PHOENIX_TOKEN, "token"},
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

static int make_key(const struct auth_settings *from, struct auth_method *to, struct err *e)
{
    struct buf secret;
    buf_init(&secret, 0);
    int rc = read_secret(from, &secret, e);
    if (rc == BG_OK && phoenix_token_key(buf_slice(&secret), slice_str(from->salt), to->key) != BG_OK)
        rc = err_set(e, BG_EINVAL, 0, "no key could be derived from the secret");
    if (secret.data)
        explicit_bzero(secret.data, secret.cap);
    buf_fini(&secret);
    return rc;
}

int auth_setup(const struct auth_settings *from, struct auth_method *to, struct err *e)
{
    size_t i = 0;
    while (i < ARRAY_SIZE(types) && strcmp(from->type, types[i].word) != 0)
        i++;
    assert_always(i < ARRAY_SIZE(types)); /* config_schema.c knows the same words */
    *to = (struct auth_method){
        .type = types[i].type,
        .param = from->param ? from->param : types[i].param,
        .user_id_path = from->user_id_path,
        .roles_path = from->roles_path,
        .max_age_s = from->max_age_s,
    };
    return to->type == AUTH_PHOENIX_TOKEN ? make_key(from, to, e) : BG_OK;
}

void auth_clear(struct auth_method *methods, uint32_t count)
{
    if (methods)
        explicit_bzero(methods, count * sizeof(*methods));
}
