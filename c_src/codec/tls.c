/*
 * tls.c: see tls.h. OpenSSL without a socket: a BIO of our own hands it the slice that the caller has received and
 * appends to the caller's buffer, so nothing is kept per connection but what OpenSSL itself keeps between records.
 *
 * Invariants: a session reads and writes only during a call of this file (bio is empty otherwise); OpenSSL's error
 * queue is empty before each of its calls, so that an error is never somebody else's; after a failure a session is not
 * used again (OpenSSL forbids it), it only answers that it is broken.
 *
 * What it deliberately refuses: TLS below 1.2, renegotiation (a handshake costs us much more than the peer),
 * compression, ciphers without forward secrecy or authentication, and any protocol in ALPN but HTTP/1.1 where that is
 * asked for. A key with a pass phrase would be asked for on a terminal: refused, too.
 */
#include "tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

enum { TICKET_KEYS = 80, TICKET_KEYS_S = 6 * 3600, TICKET_LIFE_S = 2 * 3600, CHAIN_DEPTH = 8 };

/* 1.2 only: what Mozilla's "intermediate" has, without finite-field Diffie-Hellman. 1.3 has no bad ones. */
static const char ciphers_1_2[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char groups[] = "X25519:prime256v1:secp384r1";

struct tls_context {
    struct tls_options o;
    BIO_METHOD *method;
    SSL_CTX *ctx;
    SSL_CTX *next; /* read, but not yet in use */
    int64_t expires_s;
    int64_t tickets_since_s; /* when the keys of session tickets were made */
};

struct tls_session {
    SSL *ssl;
    bool broken;
    struct slice *in; /* during a call only */
    struct buf *out;
};

/* --- the BIO ------------------------------------------------------------------------------------------------------ */

static int bio_read(BIO *b, char *dst, int n)
{
    struct tls_session *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    if (!s->in || s->in->len == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t take = s->in->len < (size_t)n ? s->in->len : (size_t)n;
    memcpy(dst, s->in->ptr, take);
    *s->in = slice_make(s->in->ptr + take, s->in->len - take);
    return (int)take;
}

static int bio_write(BIO *b, const char *src, int n)
{
    struct tls_session *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (n <= 0)
        return 0;
    buf_add(s->out, src, (size_t)n);
    return buf_ok(s->out) ? n : -1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP ? 1 : 0;
}

static BIO_METHOD *method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "beamgate");
    if (m && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* --- contexts ----------------------------------------------------------------------------------------------------- */

/* What OpenSSL has to say, or else `otherwise`. */
static const char *why(const char *otherwise)
{
    unsigned long first = ERR_peek_error();
    const char *text =
        ERR_SYSTEM_ERROR(first) ? strerror(ERR_GET_REASON(first)) : ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : otherwise;
}

static int no_pass_phrase(char *dst, int size, int writing, void *ctx)
{
    (void)dst;
    (void)size;
    (void)writing;
    (void)ctx;
    return -1;
}

/* A client that offers only h2 is told so (RFC 7301); one that offers nothing speaks HTTP/1.1. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *ctx)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)ctx;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int load_certificate(const struct tls_options *o, SSL_CTX *ctx, struct err *e)
{
    if (!o->certificate)
        return BG_OK;
    if (SSL_CTX_use_certificate_chain_file(ctx, o->certificate) != 1)
        return err_set(e, BG_EINVAL, 0, "certificate %s: %s", o->certificate, why("not usable"));
    if (SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return err_set(e, BG_EINVAL, 0, "key %s: %s", o->key, why("not usable"));
    return BG_OK;
}

static int load_ca(const struct tls_options *o, SSL_CTX *ctx, struct err *e)
{
    if (!o->ca)
        return BG_OK;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->ca);
    if (!names || SSL_CTX_load_verify_file(ctx, o->ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return err_set(e, BG_EINVAL, 0, "CA file %s: %s", o->ca, why("not usable"));
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (o->peer_optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT), NULL);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH);
    return BG_OK;
}

/* Tickets are the only way to resume: they cost us no memory. One is enough, since a client resumes one connection. */
static bool set_policy(const struct tls_options *o, SSL_CTX *ctx)
{
    static const unsigned char id[] = "beamgate";
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ctx, TICKET_LIFE_S);
    SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
    if (o->http)
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, o->min_version == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, ciphers_1_2) == 1 && SSL_CTX_set1_groups_list(ctx, groups) == 1 &&
           SSL_CTX_set_num_tickets(ctx, 1) == 1 && SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1) == 1;
}

static int64_t end_of(SSL_CTX *ctx)
{
    const X509 *x = SSL_CTX_get0_certificate(ctx);
    struct tm tm;
    if (!x || ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) != 1)
        return INT64_MAX;
    return (int64_t)timegm(&tm);
}

int tls_context_prepare(struct tls_context *t, struct err *e)
{
    int rc;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    if (!ctx || !set_policy(&t->o, ctx))
        rc = err_set(e, BG_ENOMEM, 0, "TLS cannot be set up: %s", why("no memory"));
    else if ((rc = load_certificate(&t->o, ctx, e)) == BG_OK)
        rc = load_ca(&t->o, ctx, e);
    ERR_clear_error();
    tls_context_drop(t);
    if (rc == BG_OK)
        t->next = ctx;
    else
        SSL_CTX_free(ctx);
    return rc;
}

void tls_context_apply(struct tls_context *t)
{
    if (!t->next)
        return;
    SSL_CTX_free(t->ctx); /* its sessions hold on to it */
    t->ctx = t->next;
    t->next = NULL;
    t->expires_s = end_of(t->ctx);
    t->tickets_since_s = time(NULL);
}

void tls_context_drop(struct tls_context *t)
{
    SSL_CTX_free(t->next);
    t->next = NULL;
}

struct tls_context *tls_context_new(const struct tls_options *o, struct err *e)
{
    struct tls_context *t = calloc(1, sizeof(*t));
    if (t)
        t->method = method_new();
    if (!t || !t->method) {
        free(t);
        err_set(e, BG_ENOMEM, 0, "no memory for TLS");
        return NULL;
    }
    t->o = *o;
    if (tls_context_prepare(t, e) != BG_OK) {
        tls_context_free(t);
        return NULL;
    }
    tls_context_apply(t);
    return t;
}

void tls_context_free(struct tls_context *t)
{
    if (!t)
        return;
    tls_context_drop(t);
    SSL_CTX_free(t->ctx);
    BIO_meth_free(t->method);
    free(t);
}

int64_t tls_context_expires(const struct tls_context *t)
{
    return t->expires_s;
}

/* Who gets hold of a ticket key reads what was sent under its tickets: so no key is old. Clients with older tickets do
 * a whole handshake. */
static void renew_ticket_keys(struct tls_context *t)
{
    uint8_t keys[TICKET_KEYS];
    int64_t now = time(NULL);
    if (now - t->tickets_since_s < TICKET_KEYS_S && now >= t->tickets_since_s)
        return;
    random_bytes(keys, sizeof(keys));
    SSL_CTX_set_tlsext_ticket_keys(t->ctx, keys, sizeof(keys));
    OPENSSL_cleanse(keys, sizeof(keys));
    t->tickets_since_s = now;
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

/* A BEAM takes the address in a node's name for a DNS name, so that is how its certificate has it: as good as an IP
 * address to us. */
static int forgive_address(int ok, X509_STORE_CTX *store)
{
    if (ok || X509_STORE_CTX_get_error(store) != X509_V_ERR_IP_ADDRESS_MISMATCH)
        return ok;
    char *address = X509_VERIFY_PARAM_get1_ip_asc(X509_STORE_CTX_get0_param(store));
    ok = address && X509_check_host(X509_STORE_CTX_get0_cert(store), address, 0, 0, NULL) == 1;
    OPENSSL_free(address);
    if (ok)
        X509_STORE_CTX_set_error(store, X509_V_OK);
    return ok;
}

/* An IP address is no name: it is not sent as SNI (RFC 6066), and compared with the certificate's IP addresses. */
static bool expect(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1) {
        SSL_set_verify(ssl, SSL_get_verify_mode(ssl), forgive_address);
        return true;
    }
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

static bool session_start(struct tls_session *s, struct tls_context *t, enum tls_side side, const char *name)
{
    BIO *bio = BIO_new(t->method);
    if (!bio)
        return false;
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio);
    if (side == TLS_ACCEPTING) {
        SSL_set_accept_state(s->ssl);
        return true;
    }
    SSL_set_connect_state(s->ssl);
    return !name || expect(s->ssl, name);
}

struct tls_session *tls_session_new(struct tls_context *t, enum tls_side side, const char *name)
{
    struct tls_session *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    renew_ticket_keys(t);
    ERR_clear_error();
    s->ssl = SSL_new(t->ctx);
    if (s->ssl && session_start(s, t, side, name))
        return s;
    ERR_clear_error();
    tls_session_free(s);
    return NULL;
}

void tls_session_free(struct tls_session *s)
{
    if (!s)
        return;
    SSL_free(s->ssl);
    free(s);
}

static void enter(struct tls_session *s, struct slice *in, struct buf *out)
{
    s->in = in;
    s->out = out;
    ERR_clear_error();
}

static void leave(struct tls_session *s)
{
    s->in = NULL;
    s->out = NULL;
    ERR_clear_error();
}

/* A refused certificate is told by its own reason, everything else by OpenSSL's. */
static int broken(struct tls_session *s, struct err *e)
{
    long verdict = SSL_get_verify_result(s->ssl);
    s->broken = true;
    if (verdict != X509_V_OK && SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE)
        return err_set(e, BG_EINVAL, 0, "certificate of the peer: %s", X509_verify_cert_error_string(verdict));
    return err_set(e, BG_EINVAL, 0, "TLS: %s", why("broken off"));
}

int tls_handshake(struct tls_session *s, struct slice *in, struct buf *out, struct err *e)
{
    if (s->broken)
        return err_set(e, BG_EINVAL, 0, "TLS: broken");
    enter(s, in, out);
    int n = SSL_do_handshake(s->ssl), rc = BG_OK;
    if (n != 1)
        rc = SSL_get_error(s->ssl, n) == SSL_ERROR_WANT_READ ? BG_EMORE : broken(s, e);
    leave(s);
    return rc;
}

long tls_read(struct tls_session *s, struct slice *in, struct buf *out, void *dst, size_t size, struct err *e)
{
    size_t got = 0;
    if (s->broken)
        return err_set(e, BG_EINVAL, 0, "TLS: broken");
    enter(s, in, out);
    long rc = 0;
    if (SSL_read_ex(s->ssl, dst, size, &got) == 1) {
        rc = (long)got;
    } else {
        int kind = SSL_get_error(s->ssl, 0);
        if (kind == SSL_ERROR_ZERO_RETURN)
            rc = BG_EGONE;
        else if (kind != SSL_ERROR_WANT_READ)
            rc = broken(s, e);
    }
    leave(s);
    return rc;
}

int tls_write(struct tls_session *s, struct slice plain, struct buf *out)
{
    size_t done = 0;
    if (plain.len == 0)
        return BG_OK;
    if (s->broken)
        return BG_ENOMEM;
    enter(s, NULL, out);
    bool wrote = SSL_write_ex(s->ssl, plain.ptr, plain.len, &done) == 1 && done == plain.len;
    s->broken = !wrote;
    leave(s);
    return wrote ? BG_OK : BG_ENOMEM;
}

void tls_close(struct tls_session *s, struct buf *out)
{
    if (s->broken || !SSL_is_init_finished(s->ssl))
        return;
    enter(s, NULL, out);
    SSL_shutdown(s->ssl);
    leave(s);
}

const char *tls_version(const struct tls_session *s)
{
    return SSL_get_version(s->ssl);
}

const char *tls_cipher(const struct tls_session *s)
{
    return SSL_get_cipher_name(s->ssl);
}
