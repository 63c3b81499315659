/*
 * tls.h: TLS as a codec: bytes of the peer in, plaintext out, and the other way round. Who moves the bytes is the
 * caller's affair, so the clients' sockets and the links to nodes use the same code. The only file that knows OpenSSL's
 * SSL.
 *
 * A tls_context is made of files (certificate, key, CA) and may be loaded again while sessions run: those go on with
 * what they began with. A tls_session is one connection.
 */
#ifndef BEAMGATE_TLS_H
#define BEAMGATE_TLS_H

#include "buf.h"

struct tls_context;
struct tls_session;

enum tls_side { TLS_ACCEPTING, TLS_CONNECTING };
enum tls_version { TLS_1_2, TLS_1_3 };

/* Paths of PEM files. Texts are borrowed for as long as the context lives. */
struct tls_options {
    const char *certificate; /* the certificate, then those of its chain; NULL: none (only for connecting) */
    const char *key;         /* without a pass phrase */
    const char *ca;          /* who may sign the peer's certificate; NULL: the peer's is not looked at */
    bool peer_optional;      /* accepting, with ca: a peer without certificate comes in all the same */
    enum tls_version min_version;
    bool http; /* ALPN: http/1.1 or nothing */
};

enum {
    TLS_RECORD_MAX = 16 * 1024, /* bytes of plaintext in one record */
    TLS_REASON_MAX = 192
};

/* Reads the files. NULL with a text for the operator. */
struct tls_context *tls_context_new(const struct tls_options *o, struct err *e) MUST_CHECK;
/* Its sessions must be gone. NULL is allowed. */
void tls_context_free(struct tls_context *t);
/* Reads the files again and keeps what they hold beside what is in use. BG_EINVAL with a text: they are no good. */
int tls_context_prepare(struct tls_context *t, struct err *e) MUST_CHECK;
/* Sessions that begin from now on use what was prepared last. */
void tls_context_apply(struct tls_context *t);
/* Forgets what was prepared. */
void tls_context_drop(struct tls_context *t);
/* When the certificate ends, in seconds since 1970; INT64_MAX without one. */
int64_t tls_context_expires(const struct tls_context *t);

/* A session before its handshake. Accepting: name is NULL. Connecting: name is whom the peer's certificate must be for
 * (a host name or an IP address; also told to it as SNI), NULL for anybody. NULL without memory. */
struct tls_session *tls_session_new(struct tls_context *t, enum tls_side side, const char *name) MUST_CHECK;
void tls_session_free(struct tls_session *s);

/* Goes on with the handshake: takes bytes of the peer off *in and appends what goes to it to out. BG_OK: done, what is
 * left of *in is for tls_read(); BG_EMORE: more bytes are needed; BG_EINVAL: it failed, *e says why, send out and
 * close. */
int tls_handshake(struct tls_session *s, struct slice *in, struct buf *out, struct err *e) MUST_CHECK;
/* Decrypts: takes bytes off *in, and returns how many bytes of plaintext it has put into dst (at most size). 0: all of
 * *in is used up, and more is needed. BG_EGONE: the peer will send nothing more (close_notify). BG_EINVAL: broken, *e
 * says why, send out and close. Answers that TLS itself owes go to out. */
long tls_read(struct tls_session *s, struct slice *in, struct buf *out, void *dst, size_t size,
              struct err *e) MUST_CHECK;
/* Encrypts all of plain into out. BG_OK, or BG_ENOMEM: nothing more can be sent. */
int tls_write(struct tls_session *s, struct slice plain, struct buf *out) MUST_CHECK;
/* Tells the peer that nothing more follows (close_notify). */
void tls_close(struct tls_session *s, struct buf *out);
/* "TLSv1.3", and the name of the cipher suite, for logs; constants. */
const char *tls_version(const struct tls_session *s);
const char *tls_cipher(const struct tls_session *s);

#endif
