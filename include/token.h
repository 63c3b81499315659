/*
 * token.h: what verifying a token can come to, and how a user is found in what a token holds. Whatever a token holds
 * is an external term here: a Phoenix.Token carries one, and the claims of others are turned into one.
 */
#ifndef BEAMGATE_TOKEN_H
#define BEAMGATE_TOKEN_H

#include "term.h"

enum { TOKEN_MAX = 8192, TOKEN_DEPTH_MAX = 16, TOKEN_PATH_PARTS_MAX = 8 };

enum token_verdict {
    TOKEN_OK,
    TOKEN_MALFORMED,     /* not of the expected form, or longer than TOKEN_MAX */
    TOKEN_BAD_SIGNATURE, /* of somebody who does not have the key, or changed on the way */
    TOKEN_BAD_CONTENT,   /* signed, but not readable or not acceptable inside */
    TOKEN_EXPIRED,
    TOKEN_NO_MEMORY,
    TOKEN_NO_KEY, /* none of ours is for its algorithm and kid */
    TOKEN_NOT_YET,
    TOKEN_WRONG_ISSUER,
    TOKEN_WRONG_AUDIENCE
};

/* For log lines. */
const char *token_verdict_text(enum token_verdict v);

/* The value at a path of map keys joined by dots, each an atom or a binary ("user.id"); an empty path is the term
 * itself. False when there is none. */
bool token_find(struct slice term, const char *path, struct slice *value);
/* Appends the text that a user id, or a role, is: of a binary its bytes, of an integer the decimal digits. BG_EINVAL
 * for other terms (an atom is no user), for what is empty, not UTF-8 or holds a zero byte. */
int token_put_id(struct slice term, struct buf *out) MUST_CHECK;

#endif
