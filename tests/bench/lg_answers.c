/*
 * lg_answers.c: what this run says and what it must hear.
 *
 * A request is right only when its push comes first and then its reply (E-001), both bearing its number, with
 * success:true, error:null and what the options expect in the result. The first answer of each kind is checked in
 * meaning (the order of JSON keys is nobody's promise) and becomes the pattern; the others must repeat it exactly. A
 * wrong answer is counted, shown, and makes the run fail.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loadgen.h"

enum { FIRST_NUMBER = 12345678 }; /* digits that no result holds by chance */

static const struct named_payload {
    const char *name;
    const char *json;           /* $SERVICE is the service's name */
    const char *expect;
} PAYLOADS[] = {
    {"echo",
     "{\"service\":\"$SERVICE\",\"request_type\":\"echo\",\"request_id\":\"r$ID\",\"args\":{\"msg\":\"m$ID\"}}",
     "\"result\":\"m$ID\""},
    {"list_users",
     "{\"service\":\"$SERVICE\",\"request_type\":\"list_users\",\"request_id\":\"r$ID\",\"args\":{}}",
     "\"user50@example.com\""},
};

static const struct named_payload *payload_named(const char *name)
{
    for (size_t i = 0; i < sizeof(PAYLOADS) / sizeof(PAYLOADS[0]); i++)
        if (strcmp(PAYLOADS[i].name, name) == 0)
            return &PAYLOADS[i];
    return NULL;
}

/* Copies text, each $SERVICE replaced. The caller frees it. */
static char *with_service(const char *text, const char *service)
{
    static const char mark[] = "$SERVICE";
    const char *at = strstr(text, mark);
    size_t size = strlen(text) + strlen(service) + 1;
    char *out = malloc(size);
    if (!out)
        return NULL;
    if (!at)
        snprintf(out, size, "%s", text);
    else
        snprintf(out, size, "%.*s%s%s", (int)(at - text), text, service, at + sizeof(mark) - 1);
    return out;
}

/* The reply names the request type of the payload: what stands between the quotes after "request_type":. */
static void learn_request_type(struct run *r, const char *payload)
{
    static const char key[] = "\"request_type\":\"";
    const char *p = strstr(payload, key);
    if (!p)
        return;
    p += sizeof(key) - 1;
    snprintf(r->request_type, sizeof(r->request_type), "%.*s", (int)strcspn(p, "\""), p);
}

static int prepare_request(struct run *r)
{
    struct options *o = &r->opt;
    const struct named_payload *known = payload_named(o->payload);
    char *payload = with_service(known ? known->json : o->payload, o->service);
    if (!payload)
        return -1;
    if (known && o->expect_count < MAX_EXPECT)
        o->expect[o->expect_count++] = known->expect;
    learn_request_type(r, payload);
    size_t size = strlen(payload) + strlen(o->topic) + strlen(o->event) + 64;
    char *text = malloc(size);
    int rc = -1;
    if (text) {
        snprintf(text, size, "[\"1\",\"$ID\",\"%s\",\"%s\",%s]", o->topic, o->event, payload);
        rc = template_make(&r->request, text);
    }
    free(text);
    free(payload);
    return rc;
}

/* The echo's message has the size of a small request, so that the ceiling carries the same bytes. */
static int prepare_echo(struct run *r)
{
    static const char text[] = "[\"1\",\"$ID\",\"api:lobby\",\"api\",{\"service\":\"user_service\",\"request_type\":"
                               "\"echo\",\"request_id\":\"r$ID\",\"args\":{\"msg\":\"m$ID\"}}]";
    return template_make(&r->request, text);
}

int answers_prepare(struct run *r)
{
    char text[1024];
    snprintf(text, sizeof(text), "[\"1\",\"1\",\"%s\",\"phx_join\",{}]", r->opt.topic);
    if (template_make(&r->join, text) != 0)
        return -1;
    for (size_t i = 0; i < (size_t)r->opt.connections * r->opt.inflight; i++)
        r->slots[i].number = FIRST_NUMBER + (uint32_t)(i % r->opt.inflight);
    if (r->opt.mode == MODE_ECHO)
        return prepare_echo(r);
    if (r->opt.mode == MODE_HEARTBEAT)
        return template_make(&r->request, "[null,\"$ID\",\"phoenix\",\"heartbeat\",{}]");
    return prepare_request(r);
}

static bool starts(const char *text, size_t len, const char *head)
{
    size_t n = strlen(head);
    return len >= n && memcmp(text, head, n) == 0;
}

bool answer_join_ok(const struct run *r, const char *text, size_t len)
{
    char head[1024];
    snprintf(head, sizeof(head), "[\"1\",\"1\",\"%s\",\"phx_reply\",", r->opt.topic);
    return starts(text, len, head) && text_has(text, len, "\"status\":\"ok\"", 0);
}

static bool has_all(const char *const *part, unsigned count, const char *text, size_t len, uint32_t n)
{
    for (unsigned i = 0; i < count; i++)
        if (!text_has(text, len, part[i], n))
            return false;
    return true;
}

/* P-023 and F-112: a push carries no ref and the seven keys of a Response. */
static int64_t first_push(struct run *r, const char *text, size_t len)
{
    static const char *const must[] = {"\"success\":true",        "\"error\":null",      "\"async\":false",
                                       "\"has_more\":false",      "\"can_retry\":false", "\"result\":",
                                       "\"request_id\":\"r$ID\""};
    char head[1024];
    snprintf(head, sizeof(head), "[\"1\",null,\"%s\",\"%s\",{", r->opt.topic, r->opt.event);
    int64_t n = find_number(text, len, "\"request_id\":\"r");
    if (n < 0 || !starts(text, len, head))
        return -1;
    if (!has_all(must, sizeof(must) / sizeof(must[0]), text, len, (uint32_t)n) ||
        !has_all(r->opt.expect, r->opt.expect_count, text, len, (uint32_t)n))
        return -1;
    return pattern_learn(&r->push, text, len, (uint32_t)n) ? n : -1;
}

/* What the reply's frame must begin with, up to its number. */
static void reply_head(const struct run *r, char *dst, size_t size)
{
    if (r->opt.mode == MODE_HEARTBEAT)
        snprintf(dst, size, "[null,\"");
    else
        snprintf(dst, size, "[\"1\",\"");
}

static int64_t first_reply(struct run *r, const char *text, size_t len)
{
    char head[32], response[128], place[512];
    bool beat = r->opt.mode == MODE_HEARTBEAT;
    reply_head(r, head, sizeof(head));
    snprintf(place, sizeof(place), "\"$ID\",\"%s\",\"phx_reply\",{", beat ? "phoenix" : r->opt.topic);
    if (beat)
        snprintf(response, sizeof(response), "\"response\":{}");
    else
        snprintf(response, sizeof(response), "\"response\":\"%s\"", r->request_type);
    const char *const must[] = {place, "\"status\":\"ok\"", response};
    int64_t n = find_number(text, len, head);
    if (n < 0 || !starts(text, len, head) || !has_all(must, 3, text, len, (uint32_t)n))
        return -1;
    return pattern_learn(&r->reply, text, len, (uint32_t)n) ? n : -1;
}

/* An echo must be what was sent: the pattern is known before the first answer. */
static int64_t first_echo(struct run *r, const char *text, size_t len)
{
    const struct template *t = &r->request;
    int64_t n = find_number(text, len, "[\"1\",\"");
    uint8_t *sent = malloc(t->len);
    if (n < 0 || !sent) {
        free(sent);
        return -1;
    }
    template_put(t, (uint32_t)n, sent);
    size_t body = t->len - t->body;
    for (size_t i = 0; i < body; i++)
        sent[t->body + i] ^= t->mask[i & 3];
    bool same = body == len && memcmp(sent + t->body, text, len) == 0;
    free(sent);
    return same && pattern_learn(&r->reply, text, len, (uint32_t)n) ? n : -1;
}

static int64_t reply_number(struct run *r, const char *text, size_t len)
{
    if (r->reply.known)
        return pattern_match(&r->reply, text, len);
    return r->opt.mode == MODE_ECHO ? first_echo(r, text, len) : first_reply(r, text, len);
}

static int64_t push_number(struct run *r, const char *text, size_t len)
{
    if (r->opt.mode == MODE_ECHO || r->opt.mode == MODE_HEARTBEAT)
        return -1;
    return r->push.known ? pattern_match(&r->push, text, len) : first_push(r, text, len);
}

/* The slot that waits for this number in this state, or NULL. */
static struct slot *slot_of(struct run *r, struct conn *c, int64_t number, enum slot_state state)
{
    if (number < FIRST_NUMBER)
        return NULL;
    struct slot *s = &c->slots[(uint64_t)(number - FIRST_NUMBER) % r->opt.inflight];
    return s->number == number && s->state == state ? s : NULL;
}

static void slot_done(struct run *r, struct conn *c, struct slot *s)
{
    histogram_add(&r->latency, now_ns() - s->sent_ns);
    r->count.completed++;
    s->number += r->opt.inflight;
    s->state = SLOT_FREE;
    if (r->sending)
        conn_send_request(r, c, s);
}

bool answer_take(struct run *r, struct conn *c, const char *text, size_t len)
{
    struct slot *s = slot_of(r, c, push_number(r, text, len), SLOT_WAIT_PUSH);
    if (s) {
        s->state = SLOT_WAIT_REPLY;
        return true;
    }
    s = slot_of(r, c, reply_number(r, text, len), SLOT_WAIT_REPLY);
    if (s) {
        slot_done(r, c, s);
        return true;
    }
    r->count.wrong++;
    run_error(r, "wrong answer", text, len);
    return false;
}
