/*
 * join.h: joins about which a function of the services decides, as Phoenix asks a channel's join/3. Meanwhile the
 * topic's messages wait and everything else goes on.
 */
#ifndef BEAMGATE_JOIN_H
#define BEAMGATE_JOIN_H

#include "channel_frame.h"
#include "edge.h"

struct joins;
struct pending_join;

/* What a socket waits for. Embedded in it, all zero; every idle client has one, so it is small. */
struct join_list {
    struct pending_join *first;
};

struct join_verdict {
    bool accepted;
    struct slice response; /* raw JSON for the reply */
    struct slice assigns;  /* a map term; empty: there are none */
};

/* Who wants to join, for the function. Terms may be empty. */
struct join_asker {
    void *socket;
    const struct session *session;
    struct slice assigns; /* of the connection */
    struct slice id;      /* of the socket */
};

struct join_options {
    struct call_ops call;
    struct metrics *metrics;
    /* The answer. f holds the names of the message that asked; its payload is empty. */
    void (*done)(void *socket, const struct channel_config *config, const struct channel_frame *f,
                 const struct join_verdict *v);
    /* A message that waited for it, as it came. False: the socket has ended, the rest is dropped. */
    bool (*message)(void *socket, bool binary, struct slice message);
};

/* The options are copied, what they point to is borrowed. NULL without memory. */
struct joins *joins_new(const struct join_options *o) MUST_CHECK;
/* Every list must be empty. NULL is allowed. */
void joins_free(struct joins *j);
/* Asks config->join(Topic, Payload, Socket). 0: done() will be called, never before this returns; or a negative code:
 * nobody could be asked, logged and counted. */
int joins_ask(struct joins *j, struct join_list *l, const struct join_asker *who, const struct channel_config *config,
              const struct channel_frame *f) MUST_CHECK;
/* How many joins are being decided. */
uint32_t join_count(const struct join_list *l);
/* Whether a join of the topic (raw JSON) is being decided. */
bool join_waits(const struct join_list *l, struct slice topic);
/* Keeps a message of such a topic. BG_ELIMIT: too many wait for it already. */
int join_queue(struct join_list *l, struct slice topic, bool binary, struct slice message) MUST_CHECK;
/* The socket ends: nobody waits any more. */
void joins_forget(struct joins *j, struct join_list *l);

#endif
