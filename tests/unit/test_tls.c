/* test_tls.c: TLS in memory, both sides ours: what is accepted, what is refused and why, and reading files again. */
#include "unit.h"

#include <openssl/ssl.h>
#include <time.h>
#include <unistd.h>

#include "test_certs.h"
#include "tls.h"

static struct test_certs certs;

static int make_certs(void **state)
{
    (void)state;
    certs_make(&certs);
    return 0;
}

static int remove_certs(void **state)
{
    (void)state;
    certs_remove(&certs);
    return 0;
}

/* name.crt, name.key and, where ca is not NULL, ca.crt. The texts are good for a few calls: contexts copy nothing. */
static struct tls_options files(const char *name, const char *ca)
{
    char crt[64], key[64], authority[64];
    snprintf(crt, sizeof(crt), "%s.crt", name ? name : "");
    snprintf(key, sizeof(key), "%s.key", name ? name : "");
    snprintf(authority, sizeof(authority), "%s.crt", ca ? ca : "");
    return (struct tls_options){
        .certificate = name ? certs_path(&certs, crt) : NULL,
        .key = name ? certs_path(&certs, key) : NULL,
        .ca = ca ? certs_path(&certs, authority) : NULL,
    };
}

static struct tls_context *context(const struct tls_options *o)
{
    struct err e = {0};
    struct tls_context *t = tls_context_new(o, &e);
    if (!t)
        fail_msg("%s", e.text);
    return t;
}

/* A connection: what each side has sent and the other not yet read. */
struct pair {
    struct tls_session *server, *client;
    struct buf to_server, to_client;
    struct err server_error, client_error;
    int server_rc, client_rc;
};

static void pair_init(struct pair *p, struct tls_context *server, struct tls_context *client, const char *name)
{
    *p = (struct pair){.server_rc = BG_EMORE, .client_rc = BG_EMORE};
    p->server = tls_session_new(server, TLS_ACCEPTING, NULL);
    p->client = tls_session_new(client, TLS_CONNECTING, name);
    assert_non_null(p->server);
    assert_non_null(p->client);
}

static void pair_fini(struct pair *p)
{
    tls_session_free(p->server);
    tls_session_free(p->client);
    buf_fini(&p->to_server);
    buf_fini(&p->to_client);
}

/* Lets one side take what has come for it, at most `step` bytes at once. */
static int shake(struct tls_session *s, int rc, struct buf *from, struct buf *to, size_t step, struct err *e)
{
    if (rc != BG_EMORE)
        return rc;
    do {
        struct slice in = slice_make(from->data, from->len < step ? from->len : step);
        size_t had = in.len;
        rc = tls_handshake(s, &in, to, e);
        buf_consume(from, had - in.len);
    } while (rc == BG_EMORE && from->len);
    return rc;
}

static void pair_shake(struct pair *p, size_t step)
{
    for (int i = 0; i < 10; i++) {
        p->client_rc = shake(p->client, p->client_rc, &p->to_client, &p->to_server, step, &p->client_error);
        p->server_rc = shake(p->server, p->server_rc, &p->to_server, &p->to_client, step, &p->server_error);
    }
}

/* Everything that s can read from what has come. The last result that was not data. */
static long read_all(struct tls_session *s, struct buf *from, struct buf *to, struct buf *out, size_t step)
{
    uint8_t bytes[TLS_RECORD_MAX];
    struct err e;
    long n = 0;
    while (from->len && n >= 0) {
        struct slice in = slice_make(from->data, from->len < step ? from->len : step);
        size_t had = in.len;
        while ((n = tls_read(s, &in, to, bytes, sizeof(bytes), &e)) > 0)
            buf_add(out, bytes, (size_t)n);
        buf_consume(from, had - in.len);
    }
    return n;
}

static void bytes_go_both_ways_however_they_are_cut(void **state)
{
    (void)state;
    static uint8_t big[300000];
    /* Bytes at a time, and bytes in all: small steps through much would be all that valgrind does for minutes. */
    static const struct {
        size_t step, size;
    } cuts[] = {{1, 2000}, {5, 20000}, {1000, sizeof(big)}, {100000, sizeof(big)}};
    const struct tls_options so = files("gw", NULL), co = files(NULL, "ca");
    struct tls_context *server = context(&so), *client = context(&co);
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (uint8_t)(i * 31 >> 3);
    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        size_t step = cuts[i].step, size = cuts[i].size;
        struct pair p;
        struct buf got;
        buf_init(&got, 0);
        pair_init(&p, server, client, "gw.test");
        pair_shake(&p, step);
        assert_int_equal(p.server_rc, BG_OK);
        assert_int_equal(p.client_rc, BG_OK);
        assert_string_equal(tls_version(p.server), "TLSv1.3");
        assert_int_equal(tls_write(p.client, slice_make(big, size), &p.to_server), BG_OK);
        assert_int_equal(read_all(p.server, &p.to_server, &p.to_client, &got, step), 0);
        assert_int_equal(got.len, size);
        assert_memory_equal(got.data, big, size);
        buf_reset(&got);
        assert_int_equal(tls_write(p.server, SLICE_LIT("answer"), &p.to_client), BG_OK);
        tls_close(p.server, &p.to_client);
        assert_int_equal(read_all(p.client, &p.to_client, &p.to_server, &got, step), BG_EGONE);
        assert_slice_is(buf_slice(&got), "answer");
        /* The other direction is still open. */
        buf_reset(&got);
        assert_int_equal(tls_write(p.client, SLICE_LIT("late"), &p.to_server), BG_OK);
        read_all(p.server, &p.to_server, &p.to_client, &got, step);
        assert_slice_is(buf_slice(&got), "late");
        buf_fini(&got);
        pair_fini(&p);
    }
    tls_context_free(server);
    tls_context_free(client);
}

/* Shakes hands and says what came of it: the server's error, or else the client's, or NULL. */
static const char *outcome(const struct tls_options *so, const struct tls_options *co, const char *name)
{
    static char text[256];
    struct tls_context *server = context(so), *client = context(co);
    struct pair p;
    pair_init(&p, server, client, name);
    pair_shake(&p, 4096);
    /* In TLS 1.3 the client is done before the server has seen its certificate; what it then hears is an alert. */
    bool both = p.server_rc == BG_OK && p.client_rc == BG_OK;
    const struct err *e = p.client_rc == BG_EINVAL ? &p.client_error : &p.server_error;
    snprintf(text, sizeof(text), "%s", e->text);
    pair_fini(&p);
    tls_context_free(server);
    tls_context_free(client);
    return both ? NULL : text;
}

static void assert_refused(const struct tls_options *so, const struct tls_options *co, const char *name,
                           const char *why)
{
    const char *got = outcome(so, co, name);
    if (!got || !strstr(got, why))
        fail_msg("got \"%s\", want \"%s\"", got ? got : "(accepted)", why);
}

static void the_server_must_be_who_it_says(void **state)
{
    (void)state;
    const struct tls_options gw = files("gw", NULL), trusting = files(NULL, "ca"), anybody = files(NULL, NULL);
    const struct tls_options expired = files("expired", NULL), stranger = files("stranger", NULL);
    assert_null(outcome(&gw, &trusting, "gw.test"));
    assert_null(outcome(&gw, &trusting, "127.0.0.1"));
    assert_null(outcome(&gw, &trusting, NULL));
    assert_refused(&gw, &trusting, "elsewhere.test", "hostname mismatch");
    assert_refused(&gw, &trusting, "127.0.0.2", "IP address mismatch");
    assert_refused(&expired, &trusting, "gw.test", "certificate has expired");
    assert_refused(&stranger, &trusting, "gw.test", "unable to get local issuer certificate");
    assert_null(outcome(&stranger, &anybody, NULL));
    /* As a BEAM has it: the address as a DNS name. */
    const struct tls_options node = files("node", NULL), asking = files(NULL, "ca");
    assert_null(outcome(&node, &asking, "127.0.0.1"));
    assert_refused(&node, &asking, "127.0.0.2", "IP address mismatch");
}

static void the_client_must_show_a_certificate_where_it_is_asked_for(void **state)
{
    (void)state;
    struct tls_options asking = files("gw", "ca"), none = files(NULL, "ca");
    assert_refused(&asking, &none, "gw.test", "peer did not return a certificate");
    struct tls_options known = files("elsewhere", "ca");
    assert_null(outcome(&asking, &known, "gw.test")); /* as a BEAM does it: signed is enough */
    struct tls_options stranger = files("stranger", "ca");
    asking = files("gw", "ca");
    assert_refused(&asking, &stranger, "gw.test", "unable to get local issuer certificate");
    struct tls_options expired = files("expired", "ca");
    assert_refused(&asking, &expired, "gw.test", "certificate has expired");
    asking = files("gw", "ca");
    asking.peer_optional = true;
    none = files(NULL, "ca");
    assert_null(outcome(&asking, &none, "gw.test"));
    stranger = files("stranger", "ca");
    assert_refused(&asking, &stranger, "gw.test", "unable to get local issuer certificate");
}

static void what_is_no_handshake_is_told_as_what_it_is(void **state)
{
    (void)state;
    static const struct {
        struct slice bytes;
        const char *why;
    } cases[] = {
        {SLICE_LIT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "http request"},
        {SLICE_LIT("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), "TLS: "},
        {SLICE_LIT("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "TLS: "},
        {SLICE_LIT("\x16\x03\x01\xff\xff\x01\x00\xff\xff\xff\xff\xff"), "TLS: "},
        {SLICE_LIT("\x17\x03\x03\x00\x04zzzz"), "TLS: "},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), "TLS: "},
    };
    const struct tls_options so = files("gw", NULL);
    struct tls_context *server = context(&so);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct tls_session *s = tls_session_new(server, TLS_ACCEPTING, NULL);
        struct slice in = cases[i].bytes;
        struct buf out;
        struct err e = {0};
        buf_init(&out, 0);
        assert_int_equal(tls_handshake(s, &in, &out, &e), BG_EINVAL);
        if (!strstr(e.text, cases[i].why))
            fail_msg("case %zu: %s", i, e.text);
        /* Broken once is broken for good. */
        in = SLICE_NONE;
        assert_int_equal(tls_handshake(s, &in, &out, &e), BG_EINVAL);
        assert_int_equal(tls_read(s, &in, &out, &e, 1, &e), BG_EINVAL);
        assert_int_equal(tls_write(s, SLICE_LIT("x"), &out), BG_ENOMEM);
        tls_close(s, &out);
        buf_fini(&out);
        tls_session_free(s);
    }
    tls_context_free(server);
}

static void a_changed_record_breaks_the_session(void **state)
{
    (void)state;
    const struct tls_options so = files("gw", NULL), co = files(NULL, "ca");
    struct tls_context *server = context(&so), *client = context(&co);
    struct pair p;
    struct buf got;
    buf_init(&got, 0);
    pair_init(&p, server, client, "gw.test");
    pair_shake(&p, 4096);
    assert_int_equal(tls_write(p.client, SLICE_LIT("hello"), &p.to_server), BG_OK);
    p.to_server.data[p.to_server.len - 1] ^= 1;
    assert_int_equal(read_all(p.server, &p.to_server, &p.to_client, &got, 4096), BG_EINVAL);
    assert_int_equal(got.len, 0);
    buf_fini(&got);
    pair_fini(&p);
    tls_context_free(server);
    tls_context_free(client);
}

/* A client with its own ALPN, as browsers have: an OpenSSL of its own. */
static int alpn(struct tls_context *server, const char *protocols, char *chosen, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    assert_int_equal(SSL_set_alpn_protos(ssl, (const unsigned char *)protocols, (unsigned)strlen(protocols)), 0);
    struct tls_session *s = tls_session_new(server, TLS_ACCEPTING, NULL);
    struct err e;
    int rc = BG_EMORE;
    for (int i = 0; i < 4 && rc == BG_EMORE; i++) {
        char *bytes;
        struct buf answer;
        buf_init(&answer, 0);
        SSL_do_handshake(ssl);
        struct slice got = slice_make(NULL, 0);
        got.len = (size_t)BIO_get_mem_data(out, &bytes);
        got.ptr = bytes;
        rc = tls_handshake(s, &got, &answer, &e);
        BIO_reset(out);
        if (answer.len)
            BIO_write(in, answer.data, (int)answer.len);
        buf_fini(&answer);
    }
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &name, &len);
    slice_cstr(slice_make(name, len), chosen, size);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    tls_session_free(s);
    return rc;
}

static void http_2_is_never_chosen(void **state)
{
    (void)state;
    char chosen[32];
    struct tls_options so = files("gw", NULL);
    so.http = true;
    struct tls_context *server = context(&so);
    assert_int_equal(alpn(server, "\x02h2\x08http/1.1", chosen, sizeof(chosen)), BG_OK);
    assert_string_equal(chosen, "http/1.1");
    assert_int_equal(alpn(server, "\x02h2", chosen, sizeof(chosen)), BG_EINVAL);
    assert_string_equal(chosen, "");
    tls_context_free(server);
}

static void files_that_are_no_good_are_told_by_name(void **state)
{
    (void)state;
    struct err e;
    struct {
        const char *certificate, *key, *ca, *why;
    } cases[] = {
        {"none.crt", "gw.key", NULL, "none.crt: No such file or directory"},
        {"gw.crt", "none.key", NULL, "none.key: No such file or directory"},
        {"gw.crt", "gw2.key", NULL, "gw2.key: key values mismatch"},
        {"gw.key", "gw.key", NULL, "gw.key: "},
        {"gw.crt", "gw.crt", NULL, "gw.crt: "},
        {"gw.crt", "locked.key", NULL, "locked.key: "},
        {"gw.crt", "gw.key", "gw.key", "CA file "},
        {"gw.crt", "gw.key", "none.crt", "none.crt: No such file or directory"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct tls_options o = {
            .certificate = certs_path(&certs, cases[i].certificate),
            .key = certs_path(&certs, cases[i].key),
            .ca = cases[i].ca ? certs_path(&certs, cases[i].ca) : NULL,
        };
        assert_null(tls_context_new(&o, &e));
        if (!strstr(e.text, cases[i].why))
            fail_msg("case %zu: %s", i, e.text);
    }
}

static void new_sessions_get_the_new_certificate_and_old_ones_go_on(void **state)
{
    (void)state;
    char crt[128], key[128];
    struct err e = {0};
    certs_copy(&certs, "gw.crt", "live.crt");
    certs_copy(&certs, "gw.key", "live.key");
    snprintf(crt, sizeof(crt), "%s/live.crt", certs.dir);
    snprintf(key, sizeof(key), "%s/live.key", certs.dir);
    const struct tls_options so = {.certificate = crt, .key = key}, co = files(NULL, "ca");
    struct tls_context *server = context(&so), *client = context(&co);
    int64_t first = tls_context_expires(server), now = (int64_t)time(NULL);
    assert_in_range(first - now, 19 * 86400, 20 * 86400);
    struct pair old, young;
    struct buf got;
    buf_init(&got, 0);
    pair_init(&old, server, client, "gw.test");
    pair_shake(&old, 4096);
    /* Half a change is no change. */
    certs_copy(&certs, "gw2.crt", "live.crt");
    assert_int_equal(tls_context_prepare(server, &e), BG_EINVAL);
    assert_non_null(strstr(e.text, "key values mismatch"));
    tls_context_apply(server);
    assert_int_equal(tls_context_expires(server), first);
    certs_copy(&certs, "gw2.key", "live.key");
    assert_int_equal(tls_context_prepare(server, &e), BG_OK);
    assert_int_equal(tls_context_expires(server), first);
    tls_context_drop(server);
    tls_context_apply(server);
    assert_int_equal(tls_context_expires(server), first);
    assert_int_equal(tls_context_prepare(server, &e), BG_OK);
    tls_context_apply(server);
    assert_in_range(tls_context_expires(server) - now, 9 * 86400, 10 * 86400);
    pair_init(&young, server, client, "gw.test");
    pair_shake(&young, 4096);
    assert_int_equal(young.server_rc, BG_OK);
    assert_int_equal(tls_write(old.client, SLICE_LIT("still here"), &old.to_server), BG_OK);
    read_all(old.server, &old.to_server, &old.to_client, &got, 4096);
    assert_slice_is(buf_slice(&got), "still here");
    buf_fini(&got);
    pair_fini(&old);
    pair_fini(&young);
    tls_context_free(server);
    tls_context_free(client);
    assert_int_equal(unlink(crt), 0);
    assert_int_equal(unlink(key), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_however_they_are_cut),
        cmocka_unit_test(the_server_must_be_who_it_says),
        cmocka_unit_test(the_client_must_show_a_certificate_where_it_is_asked_for),
        cmocka_unit_test(what_is_no_handshake_is_told_as_what_it_is),
        cmocka_unit_test(a_changed_record_breaks_the_session),
        cmocka_unit_test(http_2_is_never_chosen),
        cmocka_unit_test(files_that_are_no_good_are_told_by_name),
        cmocka_unit_test(new_sessions_get_the_new_certificate_and_old_ones_go_on),
    };
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
