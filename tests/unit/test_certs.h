/*
 * test_certs.h: certificates for tests, made with the openssl command in a new directory; nothing of the kind is kept
 * in the tree. Each is a pair NAME.crt, NAME.key: ca, other_ca    authorities gw              localhost, gw.test,
 * 127.0.0.1, by ca        gw2    the same again expired         the same, but its time is over              stranger
 * the same by other_ca elsewhere       elsewhere.test, by ca                       locked    gw's key behind a pass
 * phrase
 */
#ifndef BEAMGATE_TEST_CERTS_H
#define BEAMGATE_TEST_CERTS_H

#include "unit.h"

#include <stdio.h>

struct test_certs {
    char *dir;
    char path[8][128]; /* the last eight that were asked for */
    unsigned next;
};

static const char certs_script[] =
    "set -e; cd \"$0\"; exec >/dev/null 2>&1\n"
    "ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj \"/CN=$1\" -keyout "
    "$1.key"
    " -out $1.crt; }\n"
    "# name, authority, days (negative: over), alternative names\n"
    "leaf() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj \"/CN=$1\" -keyout $1.key -out"
    " $1.csr; echo \"subjectAltName=$4\" >$1.ext; openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial"
    " -days $3 -extfile $1.ext -out $1.crt; }\n"
    "here=DNS:localhost,DNS:gw.test,IP:127.0.0.1\n"
    "ca ca; ca other_ca; leaf gw ca 20 $here; leaf gw2 ca 10 $here; leaf expired ca -1 $here\n"
    "leaf stranger other_ca 20 $here; leaf elsewhere ca 20 DNS:elsewhere.test\n"
    "leaf node ca 20 DNS:127.0.0.1; leaf stranger_node other_ca 20 DNS:127.0.0.1; leaf old_node ca -1 DNS:127.0.0.1\n"
    "openssl ec -in gw.key -aes128 -passout pass:secret -out locked.key\n";

static inline void certs_make(struct test_certs *c)
{
    char command[sizeof(certs_script) + 128];
    *c = (struct test_certs){.dir = strdup("/tmp/beamgate-certs-XXXXXX")};
    assert_non_null(mkdtemp(c->dir));
    snprintf(command, sizeof(command), "sh -c '%s' %s", certs_script, c->dir);
    assert_int_equal(system(command), 0);
}

static inline void certs_remove(struct test_certs *c)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", c->dir);
    assert_int_equal(system(command), 0);
    free(c->dir);
}

/* The path of a file; good for the next seven calls. */
static inline const char *certs_path(struct test_certs *c, const char *file)
{
    char *path = c->path[c->next++ % ARRAY_SIZE(c->path)];
    snprintf(path, sizeof(c->path[0]), "%s/%s", c->dir, file);
    return path;
}

/* Puts the content of one file in the place of another. */
static inline void certs_copy(struct test_certs *c, const char *from, const char *to)
{
    char command[256];
    snprintf(command, sizeof(command), "cp %s/%s %s/%s", c->dir, from, c->dir, to);
    assert_int_equal(system(command), 0);
}

#endif
