/*
 * sim_load.c: what the simulated world says: FunConfigs of every kind, requests right and wrong, answers of functions, hooks
 * and callbacks, words of streams. Weights are chosen so that most requests get far.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"
#include "term_text.h"

#define PICK(s, list) ((list)[sim_random(s, ARRAY_SIZE(list))])

enum { TEXT_MAX = 2048 };

static const char *fun_version(uint32_t fun)
{
    return fun % 3 == 2 ? "1.0.0" : NULL;
}

/* ---- functions ---- */

static int node_list(struct sim *s, char *text, size_t size)
{
    if (sim_chance(s, 5))
        return snprintf(text, size, "nodes: {:erlang, :nodes, []}");
    if (sim_chance(s, 10))
        return snprintf(text, size, "nodes: {C, :nodes_of, [%u]}", sim_random(s, 3));
    int n = snprintf(text, size, "nodes: [");
    uint32_t count = 1 + sim_random(s, 3), first = sim_random(s, SIM_NODES);
    for (uint32_t i = 0; i < count; i++)
        n += snprintf(text + n, size - (size_t)n, ":%s, ",
                      sim_chance(s, 4) ? "ghost@h" : sim_node_name((first + i) % SIM_NODES));
    return n + snprintf(text + n, size - (size_t)n, "]");
}

/* The text of a FunConfig in which everything but its name is chance. */
static void config_text(struct sim *s, uint32_t fun, char *text, size_t size)
{
    static const char *const rest[][6] = {
        {", choose_node_mode: :random", ", choose_node_mode: :hash", ", choose_node_mode: {:hash, \"k\"}",
         ", choose_node_mode: :round_robin", ", choose_node_mode: {:sticky, \"user_id\"}", ""},
        {", timeout: 100", ", timeout: 1000", ", timeout: 1000", ", timeout: 5000", ", timeout: 20000", ", timeout: :infinity"},
        {", response_type: :sync", "", ", response_type: :async", ", response_type: :stream", ", response_type: :stream",
         ", response_type: :none"},
        {", request_info: true", ", request_info: true", "", "", "", ""},
        {", check_permission: :any_authenticated", ", check_permission: {:arg, \"k\"}", ", check_permission: {:role, [\"admin\"]}",
         "", "", ""},
        {", permission_callback: {P, :check, []}", ", permission_callback: {P, :check, [1]}", "", "", "", ""},
        {", retry: 1", ", retry: {:same_node, 2}", ", retry: {:all_nodes, 3}", "", "", ""},
        {", before_execute: {H, :before}, hook_timeout: 300", ", before_execute: {H, :before, [:x, 1]}", "", "", "", ""},
        {", after_execute: {H, :after}, hook_timeout: 300", ", after_execute: {H, :after, [2]}", "", "", "", ""},
        {", arg_types: %{\"k\" => :string}, arg_orders: [\"k\"]", ", arg_types: %{\"k\" => :num}, arg_orders: [\"k\"]",
         ", arg_types: %{\"k\" => :string, \"l\" => :list_num}, arg_orders: :map", "", "", ""},
        {", disabled: true", "", "", "", "", ""},
    };
    int n = snprintf(text, size, "%%{request_type: \"f%u\", service: \"svc\", mfa: {M, :run, [%s]}, ", fun,
                     sim_chance(s, 20) ? "\"own\", 2" : "");
    n += node_list(s, text + n, size - (size_t)n);
    if (fun_version(fun))
        n += snprintf(text + n, size - (size_t)n, ", version: \"%s\"", fun_version(fun));
    for (size_t i = 0; i < ARRAY_SIZE(rest); i++)
        n += snprintf(text + n, size - (size_t)n, "%s", PICK(s, rest[i]));
    snprintf(text + n, size - (size_t)n, "}");
}

static struct fun_config *config_new(struct sim *s, const char *text)
{
    struct fun_config_reasons why = {0};
    struct fun_config *fc = fun_config_from_term(term_of(&s->term, text), SLICE_NONE, &why);
    sim_rule(s, fc, "the simulator's own FunConfig was refused: %s", why.text[0]);
    sim_rule(s, fun_config_set_origin(fc, slice_str(sim_node_name(sim_random(s, SIM_NODES)))) == BG_OK, "no memory");
    return fc;
}

void load_config(struct sim *s, uint32_t fun)
{
    char text[TEXT_MAX];
    config_text(s, fun, text, sizeof(text));
    struct fun_config *fc = config_new(s, text);
    sim_trace(s, "config %s", text);
    sim_rule(s, config_db_put(s->db, fc, SLICE_LIT("svc")) == BG_OK, "a FunConfig could not be stored");
    s->config = sim_grow(s->config, s->configs, sizeof(*s->config));
    s->config[s->configs++] = fc;
}

static void config_offer(struct sim *s)
{
    sim_trace(s, "the service offers half of its functions");
    config_db_mark(s->db, SLICE_LIT("svc"));
    for (uint32_t i = 0; i < SIM_FUNS; i++)
        if (sim_chance(s, 50))
            load_config(s, i);
    config_db_sweep(s->db, SLICE_LIT("svc"));
}

void load_config_event(struct sim *s)
{
    uint32_t fun = sim_random(s, SIM_FUNS);
    char name[16];
    snprintf(name, sizeof(name), "f%u", fun);
    bool disable = sim_chance(s, 40);
    switch (sim_random(s, 8)) {
    case 0:
        config_offer(s);
        break;
    case 1:
        sim_trace(s, "config %s is deleted", name);
        config_db_delete(s->db, SLICE_LIT("svc"), slice_str(name), SLICE_NONE);
        break;
    case 2:
        sim_trace(s, "config %s: disabled is %d", name, disable);
        config_db_set_disabled(s->db, SLICE_LIT("svc"), slice_str(name), SLICE_NONE, disable);
        break;
    default:
        load_config(s, fun);
    }
}

/* ---- requests ---- */

/* Payloads that must be refused as they are: %u is the request's number. */
static const struct {
    const char *payload; /* NULL: a binary frame */
    bool anonymous;
    const char *type_name;
} refused[] = {
    {NULL, true, ""},
    {"[%u]", true, ""},
    {"null", true, ""},
    {"{}", true, ""},
    {"{\"service\":\"svc\",\"request_type\":\"f0\",\"request_id\":[%u]}", true, "f0"},
    {"{\"service\":\"svc\",\"request_type\":\"f0\",\"request_id\":\"\"}", true, "f0"},
    {"{\"service\":\"svc\",\"request_id\":\"r%u\"}", false, ""},
    {"{\"service\":\"svc\",\"request_type\":{\"a\":1},\"request_id\":\"r%u\"}", false, ""},
    {"{\"service\":\"svc\",\"request_type\":\"nope\",\"request_id\":\"r%u\"}", false, "nope"},
    {"{\"service\":7,\"request_type\":\"f0\",\"request_id\":\"r%u\"}", false, "f0"},
    {"{\"service\":\"svc\",\"request_type\":\"f0\",\"request_id\":\"r%u\",\"version\":\"9.9.9\"}", false, "f0"},
    {"{\"service\":\"svc\",\"request_type\":\"f0\",\"request_id\":\"r%u\",\"version\":[]}", false, "f0"},
};

static void put_args(struct sim *s, struct buf *b)
{
    static const char *const args[] = {"{\"k\":\"u1\"}", "{\"k\":\"u1\"}", "{\"k\":\"other\"}", "{\"k\":7}", "{\"k\":7}", "{}",
                                       "{\"k\":\"u1\",\"l\":[1,2]}", "{\"k\":\"u1\",\"l\":\"no list\"}", "{\"k\":null}",
                                       "{\"k\":\"u1\",\"extra\":1}", "[1]", "null"};
    buf_printf(b, ",\"args\":%s", PICK(s, args));
}

/* A payload that may be served. */
static void put_payload(struct sim *s, struct sim_request *q, uint32_t fun, struct buf *b)
{
    static const char *const users[] = {"", "", ",\"user_id\":\"mallory\"", ",\"user_id\":null", ",\"user_id\":5"};
    bool number = sim_chance(s, 10);
    buf_printf(b, "{\"service\":\"svc\",\"request_type\":\"f%u\",\"request_id\":%s%u%s", fun, number ? "" : "\"r", q->number,
               number ? "" : "\"");
    put_args(s, b);
    if (sim_chance(s, 30))
        buf_printf(b, ",\"version\":\"%s\"", fun_version(fun) && sim_chance(s, 70) ? fun_version(fun) : "0.0.0");
    buf_printf(b, "%s,\"device_id\":\"d\"", PICK(s, users));
    if (sim_chance(s, 2))
        buf_printf(b, ",\"padding\":\"%0700d\"", 0);
    buf_puts(b, "}");
    snprintf(q->type_name, sizeof(q->type_name), "f%u", fun);
}

/* What the store holds decides what may come; the rest of the way may still refuse it. */
static int type_of_request(const struct sim *s, struct slice payload, uint32_t fun)
{
    bool exact = memmem(payload.ptr, payload.len, "\"1.0.0\"", 7) != NULL;
    struct fun_config *fc;
    char name[16];
    snprintf(name, sizeof(name), "f%u", fun);
    enum config_lookup found =
        config_db_find(s->db, SLICE_LIT("svc"), slice_str(name), exact ? SLICE_LIT("1.0.0") : SLICE_NONE, &fc);
    return found == CONFIG_FOUND ? (int)fc->response_type : -1;
}

static void send_request(struct sim *s, struct sim_client *c, struct sim_request *q, struct slice payload)
{
    char ref[16];
    snprintf(ref, sizeof(ref), sim_chance(s, 50) ? "\"%u\"" : "%u", q->number);
    sim_trace(s, "client %u asks, ref %s: %.*s", q->client, ref, payload.ptr ? (int)payload.len : 13,
              payload.ptr ? payload.ptr : "(binary frame)");
    s->current = q;
    gateway_request(s->gw, c->handle, &c->channel->waiting, &c->session, &c->rules, slice_str(ref), payload, NULL);
    s->current = NULL;
}

void load_request(struct sim *s)
{
    struct sim_client *c = sim_client_pick(s);
    if (!c)
        return;
    struct sim_request *q = sim_request_new(s, (uint32_t)(c - s->client));
    struct buf b;
    buf_init(&b, 0);
    uint32_t fun = sim_random(s, SIM_FUNS), bad = sim_random(s, ARRAY_SIZE(refused) * 12);
    q->type = -1;
    if (bad < ARRAY_SIZE(refused)) {
        q->anonymous = refused[bad].anonymous;
        snprintf(q->type_name, sizeof(q->type_name), "%s", refused[bad].type_name);
        if (refused[bad].payload) {
            const char *hole = strstr(refused[bad].payload, "%u");
            size_t head = hole ? (size_t)(hole - refused[bad].payload) : strlen(refused[bad].payload);
            buf_add(&b, refused[bad].payload, head);
            if (hole)
                buf_printf(&b, "%u%s", q->number, hole + 2);
        }
    } else {
        put_payload(s, q, fun, &b);
        q->type = type_of_request(s, buf_slice(&b), fun);
    }
    send_request(s, c, q, b.len ? buf_slice(&b) : SLICE_NONE);
    buf_fini(&b);
}

/* ---- answers ---- */

struct answer {
    uint32_t weight;
    enum call_outcome outcome;
    const char *term; /* %u is the serial, which then is what the client must see */
    bool ok;          /* main: a value for the client; else: the request may go on */
};

static const struct answer main_answers[] = {
    {30, CALL_RETURN, "{:ok, %u}", true},
    {15, CALL_RETURN, "%u", true},
    {3, CALL_RETURN, "nil", true},
    {3, CALL_RETURN, "%{list: [1, 2.5, :a], \"k\" => \"v\"}", true},
    {3, CALL_RETURN, "\"PAD\"", true},
    {6, CALL_RETURN, "{:error, :not_found}", false},
    {3, CALL_RETURN, "{:error, \"no such user\"}", false},
    {2, CALL_RETURN, "{:error, :a, :b}", false},
    {2, CALL_RETURN, "{:weird, 1, 2, 3}", false},
    {1, CALL_RETURN, "{}", false},
    {2, CALL_RETURN, "{:ok, {:a, :b}}", false},
    {2, CALL_RETURN, "[{:a, 1}]", false},
    {1, CALL_RETURN, "[1 | 2]", false},
    {1, CALL_RETURN, "%{{1} => 2}", false},
    {8, CALL_EXIT, "{:undef, []}", false},
    {4, CALL_BADRPC, ":enomem", false},
    {5, CALL_NODEDOWN, NULL, false},
    {2, CALL_TIMEOUT, NULL, false},
};

static const struct answer permit_answers[] = {
    {70, CALL_RETURN, "true", true}, {8, CALL_RETURN, "false", false},  {5, CALL_RETURN, ":ok", false},
    {5, CALL_RETURN, "{:ok, true}", false}, {5, CALL_EXIT, ":boom", false},   {5, CALL_NODEDOWN, NULL, false},
    {5, CALL_BADRPC, ":x", false},
};

static const struct answer nodes_answers[] = {
    {40, CALL_RETURN, "[:n0@h, \"n1@h\"]", true}, {20, CALL_RETURN, "[:n3@h, nil, 5, :ghost@h, :n2@h]", true},
    {5, CALL_RETURN, "[]", true},              {5, CALL_RETURN, "[5]", true},
    {5, CALL_RETURN, "'abc'", false},           {5, CALL_RETURN, "{:error, :x}", false},
    {5, CALL_EXIT, ":boom", false},             {5, CALL_NODEDOWN, NULL, false},
};

static const struct answer before_answers[] = {
    {30, CALL_RETURN, ":whatever", true},
    {8, CALL_RETURN, "{:error, :not_today}", false},
    {4, CALL_EXIT, "{%{__struct__: RuntimeError, __exception__: true, message: \"boom\"}, []}", false},
    {3, CALL_EXIT, ":boom", false},
    {3, CALL_NODEDOWN, NULL, false},
    {40, CALL_RETURN, "REPLACE", true},
    {4, CALL_RETURN, "{:ok, %{}, :garbage}", false},
    {3, CALL_RETURN, "{:ok, 1, 2}", false},
};

static const struct answer after_answers[] = {
    {80, CALL_RETURN, ":ok", false}, {10, CALL_EXIT, ":boom", false}, {10, CALL_NODEDOWN, NULL, false}};

static const struct answer *answer_pick(struct sim *s, const struct answer *list, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += list[i].weight;
    uint32_t at = sim_random(s, sum);
    for (size_t i = 0;; i++) {
        if (at < list[i].weight)
            return &list[i];
        at -= list[i].weight;
    }
}

/* {:ok, Request, FunConfig}: the function stays what it was, or becomes another (E-042). */
static struct slice replacement(struct sim *s, struct sim_call *call)
{
    static const char *const requests[] = {
        "%{request_type: \"f0\", request_id: \"another\", service: \"svc\", user_id: \"u9\", args: %{\"k\" => \"u9\"}}",
        "%{request_type: \"f0\", request_id: 1, service: \"svc\", args: %{\"k\" => 1, \"l\" => [1]}}", "%{}",
        "%{args: {1, 2}}"};
    char config[TEXT_MAX], text[2 * TEXT_MAX];
    config_text(s, sim_random(s, SIM_FUNS), config, sizeof(config));
    struct fun_config *fc = config_new(s, config);
    call->new_type = (int)fc->response_type;
    fun_config_unref(fc);
    snprintf(text, sizeof(text), "{:ok, %s, %s}", PICK(s, requests), config);
    sim_trace(s, "  (the hook's config: %s)", config);
    return term_of(&s->term, text);
}

static struct slice user_pid(struct sim *s, const struct sim_call *call)
{
    struct term_pid pid = {slice_str(sim_node_name(call->node)), 5, 0, 7};
    buf_reset(&s->term);
    if (sim_chance(s, 85))
        term_put_pid(&s->term, &pid);
    else
        term_put_atom(&s->term, "undefined");
    return buf_slice(&s->term);
}

static struct slice answer_term(struct sim *s, struct sim_call *call, const struct answer *a)
{
    char text[TEXT_MAX];
    if (call->asks == ASKS_USER)
        return user_pid(s, call);
    if (!a->term)
        return SLICE_NONE;
    if (strcmp(a->term, "REPLACE") == 0)
        return replacement(s, call);
    const char *hole = strstr(a->term, "%u");
    if (strcmp(a->term, "\"PAD\"") == 0) {
        snprintf(text, sizeof(text), "\"%01500d\"", 7);
    } else if (hole) {
        call->serial = ++s->serial;
        snprintf(text, sizeof(text), "%.*s%u%s", (int)(hole - a->term), a->term, call->serial, hole + 2);
    } else {
        snprintf(text, sizeof(text), "%s", a->term);
    }
    return term_of(&s->term, text);
}

void load_answer(struct sim *s, struct sim_call *call)
{
    static const struct {
        const struct answer *list;
        size_t count;
    } answers[] = {
        [ASKS_MAIN] = {main_answers, ARRAY_SIZE(main_answers)},       [ASKS_BEFORE] = {before_answers, ARRAY_SIZE(before_answers)},
        [ASKS_AFTER] = {after_answers, ARRAY_SIZE(after_answers)},    [ASKS_PERMIT] = {permit_answers, ARRAY_SIZE(permit_answers)},
        [ASKS_NODES] = {nodes_answers, ARRAY_SIZE(nodes_answers)},
        [ASKS_USER] = {after_answers, 1},
    };
    const struct answer *a = answer_pick(s, answers[call->asks].list, answers[call->asks].count);
    enum call_outcome outcome = a->outcome == CALL_TIMEOUT && s->way != WAY_OWN ? CALL_NODEDOWN : a->outcome;
    struct slice term = answer_term(s, call, a);
    call->ok = a->ok;
    call->unexpected = a->term && (strcmp(a->term, "{:weird, 1, 2, 3}") == 0 || strcmp(a->term, "{}") == 0);
    sim_trace(s, "answer%s to call %u: %s", call->state == CALL_OPEN ? "" : " too late", call->index, a->term ? a->term : "none");
    sim_call_answer(s, call, outcome, term);
    buf_shrink(&s->term, 65536);
}

/* ---- streams ---- */

struct sim_stream *load_stream_pick(struct sim *s, bool open)
{
    for (uint32_t tries = 0; s->streams && tries < 8; tries++) {
        uint32_t back = sim_random(s, s->streams < 16 ? s->streams : 16);
        if (s->stream[s->streams - 1 - back].open == open)
            return &s->stream[s->streams - 1 - back];
    }
    return NULL;
}

/* More than a stream may keep back before its call has returned. */
static struct slice huge_message(struct sim *s)
{
    enum { HUGE_BYTES = 1100 * 1024 };
    buf_reset(&s->term);
    term_put_tuple(&s->term, 2);
    term_put_atom(&s->term, "noise");
    char *bytes = calloc(1, HUGE_BYTES);
    term_put_binary(&s->term, slice_make(bytes, HUGE_BYTES));
    free(bytes);
    return buf_slice(&s->term);
}

void load_stream_message(struct sim *s)
{
    static const struct {
        uint32_t weight;
        enum sim_word word; /* WORD_COUNT: nothing that a stream says */
        const char *term;
    } words[] = {{60, WORD_RESULT, "{:result, %u}"},     {8, WORD_LAST, "{:last_result, %u}"}, {5, WORD_COMPLETE, ":complete"},
                 {4, WORD_ERROR, "{:error, :disk_full}"}, {2, WORD_UNSENDABLE, "{:result, {1, 2}}"},
                 {4, WORD_COUNT, ":noise"},               {3, WORD_COUNT, "{:result}"},         {3, WORD_COUNT, "{:result, 1, 2}"},
                 {3, WORD_COUNT, "{:last_result}"},       {3, WORD_COUNT, "[:complete]"},       {1, WORD_COUNT, "HUGE"}};
    struct sim_stream *st = load_stream_pick(s, sim_chance(s, 85));
    char text[64];
    if (!st || st->q->fifo_count >= SIM_FIFO - 1)
        return;
    uint32_t at = sim_random(s, 96), i = 0;
    for (; at >= words[i].weight; i++)
        at -= words[i].weight;
    const char *hole = strstr(words[i].term, "%u");
    uint32_t serial = hole ? ++s->serial : 0;
    snprintf(text, sizeof(text), "%.*s%.0u%s", hole ? (int)(hole - words[i].term) : 0, words[i].term, serial,
             hole ? hole + 2 : words[i].term);
    bool huge = strcmp(words[i].term, "HUGE") == 0;
    struct slice term = huge ? huge_message(s) : term_of(&s->term, text);
    sim_trace(s, "stream of request %u%s says %s", st->q->number, st->open ? "" : " (dead)", text);
    if (huge)
        oracle_stream_overflow(st);
    if (words[i].word != WORD_COUNT)
        oracle_stream_word(s, st, words[i].word, serial);
    gateway_stream_message(s->gw, st->tag, term);
    buf_shrink(&s->term, 65536);
}

void load_stream_stop(struct sim *s)
{
    struct sim_stream *st = load_stream_pick(s, sim_chance(s, 85));
    char id[16];
    if (!st)
        return;
    const struct sim_client *c = &s->client[st->q->client];
    if (!c->channel)
        return;
    bool there = st->open && c->handle == st->q->channel;
    snprintf(id, sizeof(id), "\"r%u\"", st->q->number);
    sim_trace(s, "client %u stops stream %s", st->q->client, id);
    st->q->stopping = there;
    bool stopped = gateway_stream_stop(&c->channel->waiting, slice_str(id));
    /* One whose id is a number has another raw text. */
    sim_rule(s, there || !stopped, "a stream was stopped that is not there");
    st->q->stopping = st->q->stopping && stopped;
}

void load_producer_down(struct sim *s, struct sim_stream *st)
{
    sim_trace(s, "the producer of request %u's stream ends", st->q->number);
    st->q->producer_gone = st->q->producer_gone || st->open;
    gateway_stream_down(s->gw, st->tag, "the producer has ended");
}

void load_stream_down(struct sim *s)
{
    struct sim_stream *st = load_stream_pick(s, sim_chance(s, 85));
    if (st)
        load_producer_down(s, st);
}
