/*
 * config_offer.c: see config_offer.h. Between begin and the last step the store holds a mixture of the old and the new
 * offer, each entry whole; requests go on meanwhile.
 *
 * Invariant: a config that is offered but refused does not remove the last good one of its key: a service that sends
 * something broken loses nothing that works.
 *
 * It does not log: the caller says it in one line.
 */
#include "config_offer.h"

#include <stdio.h>

bool config_offer_module(struct slice item, struct slice *module)
{
    struct slice mfa;
    uint32_t arity;
    if (!fun_config_field(item, "mfa", &mfa))
        return false;
    struct term_reader r = term_reader(mfa);
    return term_read_tuple(&r, &arity) == BG_OK && arity == 3 && term_read_atom(&r, module) == BG_OK;
}

int config_offer_begin(struct config_offer *o, struct slice list)
{
    o->r = term_reader(list);
    if (term_read_list(&o->r, &o->left) != BG_OK)
        return BG_EINVAL;
    if (o->left > CONFIG_OFFER_MAX)
        return BG_ELIMIT;
    o->stored = o->refused = o->denied = o->removed = 0;
    o->refused_hash = 0;
    o->first_type[0] = o->first_reason[0] = '\0';
    config_db_mark(o->db, o->source_key);
    return BG_OK;
}

/* By the same rules as fun_config: "" and "0.0.0" are no version (F-046). */
static void keep_last_good(struct config_offer *o, struct slice item)
{
    struct slice version = fun_config_field_text(item, "version");
    if (version.len == 0 || slice_is(version, "0.0.0"))
        version = SLICE_NONE;
    config_db_keep(o->db, o->source_key, o->service, fun_config_field_text(item, "request_type"), version);
}

/* Every way in which an item can be refused ends here, once. */
static void refuse(struct config_offer *o, struct slice item, const struct fun_config_reasons *why)
{
    struct slice type = fun_config_field_text(item, "request_type");
    for (uint32_t i = 0; i < why->count; i++)
        o->refused_hash = o->refused_hash * 31 + hash_bytes(why->text[i], strlen(why->text[i]));
    o->refused_hash += hash_bytes(type.ptr, type.len);
    if (o->refused++ == 0) {
        slice_cstr(type, o->first_type, sizeof(o->first_type));
        slice_cstr(slice_str(why->text[0]), o->first_reason, sizeof(o->first_reason));
    }
    keep_last_good(o, item);
    config_failed_record(o->failed, item, o->service, why, o->source, o->node, o->now_ms);
    metric_inc(o->metrics, METRIC_CONFIGS_FAILED);
}

/* As the library prints the error of ConfigDb.add (S-071), without the arguments, which may hold secrets. */
static void mfa_reason(struct fun_config_reasons *why, const struct mfa *m)
{
    struct buf b;
    buf_init(&b, FUN_CONFIG_REASON_MAX);
    term_put_tuple(&b, 2);
    term_put_atom_slice(&b, m->module);
    term_put_atom_slice(&b, m->function);
    struct slice term = buf_slice(&b);
    struct buf text;
    buf_init(&text, FUN_CONFIG_REASON_MAX);
    if (buf_ok(&b))
        term_inspect(term, &text, FUN_CONFIG_REASON_MAX / 2);
    fun_config_reason(why, "mfa_not_allowed: %.*s", (int)text.len, text.data ? (const char *)text.data : "");
    buf_fini(&text);
    buf_fini(&b);
}

static bool module_is_good(const struct config_offer *o, struct slice item, struct fun_config_reasons *why)
{
    struct slice module;
    return !o->module_good || !config_offer_module(item, &module) || o->module_good(o->ctx, module, why);
}

static void store(struct config_offer *o, struct slice item, struct fun_config *fc, struct fun_config_reasons *why)
{
    const struct mfa *refused = mfa_rules_refused(o->rules, fc);
    if (refused) {
        mfa_reason(why, refused);
    } else {
        int rc = config_db_put(o->db, fc, o->source_key);
        if (rc == BG_ELIMIT)
            fun_config_reason(why, "the gateway's limit of functions, or of versions of one function, is reached");
        else if (rc != BG_OK)
            fun_config_reason(why, "out of memory");
    }
    if (why->count == 0) {
        o->stored++;
        return;
    }
    o->denied++;
    refuse(o, item, why);
}

/* One item: the module first, since it is what S-057 tells first. */
static void take_item(struct config_offer *o, struct slice item)
{
    struct fun_config_reasons why = {.count = 0};
    if (!module_is_good(o, item, &why)) {
        refuse(o, item, &why);
        return;
    }
    struct fun_config *fc = fun_config_from_term(item, o->service, &why);
    if (fc && fun_config_set_origin(fc, o->node) == BG_OK)
        store(o, item, fc, &why);
    else
        refuse(o, item, &why);
    fun_config_unref(fc);
}

bool config_offer_step(struct config_offer *o, uint32_t max)
{
    struct slice item;
    for (; o->left > 0 && max > 0; o->left--, max--) {
        if (term_skip(&o->r, &item) != BG_OK) {
            o->left = 0; /* cannot be in a checked term; what was offered before stays */
            return true;
        }
        take_item(o, item);
    }
    if (o->left > 0 || max == 0)
        return false;
    if (o->stored == 0 && o->keep_if_none)
        return true;
    size_t removed = config_db_sweep_some(o->db, o->source_key, max);
    o->removed += (uint32_t)removed;
    return removed < max;
}
