/*
 * reload.h: the seam between a changed configuration and the parts that can take it while they run.
 *
 * A part that can: begin its options' rows in config_schema.c with LIVE_, and add a row to parts[] in reload.c. Read
 * such an option from s->live, which is the newest configuration; all others from s->config, which is the one of the
 * start and so what the gateway runs with.
 */
#ifndef BEAMGATE_RELOAD_H
#define BEAMGATE_RELOAD_H

#include "server_state.h"

struct reload_part {
    /* What it is about: the beginning of the paths of its options. It is called when one of them has changed; with NULL
     * at every reload, for what lies in files that options name (certificates, keys). */
    const char *path;
    /* All that can fail: reads files, takes memory, keeps the result where apply() finds it. It changes nothing that is
     * in use. 0, or a negative code with the reason in report (config_note(), with the file's name): then nothing of
     * the new configuration is taken. NULL: nothing can fail. Not called twice without apply() or drop() between. */
    int (*prepare)(struct server *s, const struct server_config *now, struct config_report *report);
    /* Takes the new values; s->live is now already. before goes when all parts have applied: no pointer into it may be
     * kept, unless it is s->config. Does not fail. */
    void (*apply)(struct server *s, const struct server_config *before, const struct server_config *now);
    /* Forgets what prepare() made, since another part failed. Also called for a part whose own prepare() failed.
     * NULL: there is nothing to forget. */
    void (*drop)(struct server *s);
};

/* access.c */
int access_reload_prepare(struct server *s, const struct server_config *now, struct config_report *report);
void access_reload_apply(struct server *s, const struct server_config *before, const struct server_config *now);
void access_reload_drop(struct server *s);
/* limiter.c */
void limiter_reload(struct server *s, const struct server_config *before, const struct server_config *now);
/* sockets.c */
void sockets_reload(struct server *s, const struct server_config *before, const struct server_config *now);
/* limit_setup.c */
void limits_reload(struct server *s, const struct server_config *before, const struct server_config *now);
/* services.c */
void services_reload(struct server *s, const struct server_config *before, const struct server_config *now);

#endif
