/*
 * trace_message.c: see trace_message.h. One table says which facts belong to which kind of event; the three forms walk
 * it, so that they cannot differ.
 */
#include "trace_message.h"

#include <time.h>

#include "json.h"
#include "log.h"
#include "term.h"

static const char *const kind_texts[] = {
    [TRACE_RECEIVE] = "receive",          [TRACE_CALL] = "call", [TRACE_RETURN] = "return_from",
    [TRACE_EXCEPTION] = "exception_from", [TRACE_SEND] = "send", [TRACE_END] = "request_end",
};

static const char *const outcome_texts[] = {
    [CALL_RETURN] = "return",   [CALL_EXIT] = "exit",         [CALL_BADRPC] = "badrpc",
    [CALL_TIMEOUT] = "timeout", [CALL_NODEDOWN] = "nodedown", [CALL_BUSY] = "busy",
};

/* ---- facts --------------------------------------------------------------------------------------------- */

enum fact_kind { FACT_TEXT, FACT_NODE, FACT_RAW, FACT_NUMBER, FACT_FLAG, FACT_WORD };

struct fact {
    enum fact_kind kind;
    struct slice text; /* FACT_RAW: a raw JSON value; ptr NULL: nil */
    uint64_t number;
    const char *word;
};

static struct fact text_fact(enum fact_kind kind, struct slice text)
{
    return (struct fact){.kind = kind, .text = text};
}

static struct fact request_id(const struct trace_event *e)
{
    return text_fact(FACT_RAW, e->request_id);
}

static struct fact service(const struct trace_event *e)
{
    return text_fact(FACT_TEXT, e->service.len ? e->service : SLICE_NONE);
}

static struct fact request_type(const struct trace_event *e)
{
    return text_fact(FACT_RAW, e->request_type);
}

static struct fact user_id(const struct trace_event *e)
{
    return text_fact(FACT_TEXT, e->user_id.len ? e->user_id : SLICE_NONE);
}

static struct fact topic(const struct trace_event *e)
{
    return text_fact(FACT_TEXT, e->topic);
}

static struct fact node(const struct trace_event *e)
{
    return text_fact(FACT_NODE, e->node);
}

static struct fact bytes(const struct trace_event *e)
{
    return (struct fact){.kind = FACT_NUMBER, .number = e->bytes};
}

static struct fact outcome(const struct trace_event *e)
{
    return (struct fact){.kind = FACT_WORD, .word = outcome_texts[e->outcome]};
}

static struct fact success(const struct trace_event *e)
{
    return (struct fact){.kind = FACT_FLAG, .number = !e->error.ptr};
}

static struct fact error(const struct trace_event *e)
{
    return text_fact(FACT_TEXT, e->error);
}

static struct fact more(const struct trace_event *e)
{
    return (struct fact){.kind = FACT_FLAG, .number = e->more};
}

#define KIND(k) (1u << TRACE_##k)
#define CALLS (KIND(CALL) | KIND(RETURN) | KIND(EXCEPTION))
#define ANY (CALLS | KIND(RECEIVE) | KIND(SEND) | KIND(END))

static const struct column {
    const char *name;
    struct fact (*get)(const struct trace_event *e);
    unsigned kinds;
} columns[] = {
    {"request_id", request_id, ANY},
    {"service", service, ANY},
    {"request_type", request_type, ANY},
    {"user_id", user_id, KIND(RECEIVE)},
    {"topic", topic, KIND(RECEIVE)},
    {"node", node, CALLS},
    {"outcome", outcome, KIND(RETURN) | KIND(EXCEPTION)},
    {"success", success, KIND(SEND)},
    {"error", error, KIND(SEND)},
    {"more", more, KIND(SEND)},
    {"bytes", bytes, CALLS | KIND(RECEIVE) | KIND(SEND)},
};

static bool belongs(const struct column *c, const struct trace_event *e)
{
    return c->kinds >> e->kind & 1;
}

static bool is_call(const struct trace_event *e)
{
    return CALLS >> e->kind & 1;
}

/* ---- terms --------------------------------------------------------------------------------------------- */

/* A raw JSON string becomes its text, escapes resolved; anything else its bytes as they are. */
static void put_raw_text(struct slice raw, struct buf *out)
{
    struct slice plain;
    struct buf text;
    if (json_kind(raw) != JSON_STRING || json_string_plain(raw, &plain)) {
        term_put_binary(out, json_kind(raw) == JSON_STRING ? plain : raw);
        return;
    }
    buf_init(&text, 0);
    json_string_text(raw, &text);
    term_put_binary(out, buf_slice(&text));
    buf_fini(&text);
}

static void put_fact_term(const struct fact *f, struct buf *out)
{
    if (f->kind == FACT_NUMBER)
        term_put_uint(out, f->number);
    else if (f->kind == FACT_FLAG)
        term_put_atom(out, f->number ? "true" : "false");
    else if (f->kind == FACT_WORD)
        term_put_atom(out, f->word);
    else if (!f->text.ptr)
        term_put_atom(out, "nil");
    else if (f->kind == FACT_NODE)
        term_put_atom_slice(out, f->text);
    else if (f->kind == FACT_RAW)
        put_raw_text(f->text, out);
    else
        term_put_binary(out, f->text);
}

static void put_facts(const struct trace_event *e, struct buf *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
        n += belongs(&columns[i], e);
    term_put_map(out, n);
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        if (!belongs(&columns[i], e))
            continue;
        struct fact f = columns[i].get(e);
        term_put_atom(out, columns[i].name);
        put_fact_term(&f, out);
    }
}

static void put_mfa_of(const struct trace_event *e, struct buf *out)
{
    term_put_tuple(out, 3);
    term_put_atom_slice(out, e->module);
    term_put_atom_slice(out, e->function);
    term_put_uint(out, e->arity);
}

static void put_timestamp(struct buf *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    term_put_tuple(out, 3);
    term_put_uint(out, (uint64_t)now.tv_sec / 1000000);
    term_put_uint(out, (uint64_t)now.tv_sec % 1000000);
    term_put_uint(out, (uint64_t)now.tv_nsec / 1000);
}

void trace_put_term(const struct node_identity *self, const struct trace_event *e, bool timestamp, struct buf *out)
{
    bool longer = is_call(e) || e->kind == TRACE_SEND;
    term_put_tuple(out, (longer ? 5 : 4) + timestamp);
    term_put_atom(out, timestamp ? "trace_ts" : "trace");
    node_put_pid(self, out, e->channel);
    term_put_atom(out, kind_texts[e->kind]);
    if (is_call(e))
        put_mfa_of(e, out);
    if (e->kind == TRACE_EXCEPTION) {
        term_put_tuple(out, 2);
        term_put_atom(out, "exit");
    }
    put_facts(e, out);
    if (e->kind == TRACE_SEND)
        term_put_atom(out, "client");
    if (timestamp)
        put_timestamp(out);
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void put_fact_json(const struct fact *f, struct buf *out)
{
    if (f->kind == FACT_NUMBER)
        buf_printf(out, "%llu", (unsigned long long)f->number);
    else if (f->kind == FACT_FLAG)
        buf_puts(out, f->number ? "true" : "false");
    else if (f->kind == FACT_WORD)
        json_put_text(out, slice_str(f->word));
    else if (!f->text.ptr)
        buf_puts(out, "null");
    else if (f->kind == FACT_RAW)
        buf_add_slice(out, f->text);
    else
        json_put_text(out, f->text);
}

void trace_put_json(const struct trace_event *e, uint32_t id, struct buf *out)
{
    buf_printf(out, "{\"trace\":%u,\"event\":\"%s\"", id, kind_texts[e->kind]);
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        if (!belongs(&columns[i], e))
            continue;
        struct fact f = columns[i].get(e);
        buf_printf(out, ",\"%s\":", columns[i].name);
        put_fact_json(&f, out);
    }
    if (is_call(e)) {
        buf_puts(out, ",\"module\":");
        json_put_text(out, e->module);
        buf_puts(out, ",\"function\":");
        json_put_text(out, e->function);
        buf_printf(out, ",\"arity\":%u", e->arity);
    }
    buf_putc(out, '}');
}

/* ---- the log ------------------------------------------------------------------------------------------- */

/* Names that clients chose are quoted and cut as everything from outside; log_text() has room for eight. */
static void add_field(const struct column *c, const struct trace_event *e, struct buf *line)
{
    struct fact f = c->get(e);
    if (f.kind == FACT_NUMBER)
        buf_printf(line, " %s=%llu", c->name, (unsigned long long)f.number);
    else if (f.kind == FACT_FLAG)
        buf_printf(line, " %s=%s", c->name, f.number ? "true" : "false");
    else if (f.kind == FACT_WORD)
        buf_printf(line, " %s=%s", c->name, f.word);
    else if (f.text.ptr)
        buf_printf(line, " %s=%s", c->name, log_text(f.text));
}

void trace_log(const struct trace_event *e, uint32_t id)
{
    struct buf line;
    buf_init(&line, 4096);
    buf_printf(&line, "trace=%u", id);
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
        if (belongs(&columns[i], e))
            add_field(&columns[i], e, &line);
    if (is_call(e))
        buf_printf(&line, " module=%s function=%s arity=%u", log_text(e->module), log_text(e->function), e->arity);
    buf_putc(&line, '\0');
    if (buf_ok(&line))
        log_info("trace", kind_texts[e->kind], "%s", (const char *)line.data);
    buf_fini(&line);
}
