/*
 * certificates.h: the certificates that the gateway shows and trusts: read at the start and at each reload, and watched
 * for their end.
 */
#ifndef BEAMGATE_CERTIFICATES_H
#define BEAMGATE_CERTIFICATES_H

#include "server_state.h"

/* Fills s->listeners, with their TLS, and s->node_tls. On failure *e says which file is no good; certificates_end() all
 * the same. */
int certificates_start(struct server *s, struct err *e) MUST_CHECK;
void certificates_end(struct server *s);

/* For reload.c: the files are read again, whatever has changed. */
int certificates_prepare(struct server *s, const struct server_config *now, struct config_report *report);
void certificates_apply(struct server *s, const struct server_config *before, const struct server_config *now);
void certificates_drop(struct server *s);

#endif
