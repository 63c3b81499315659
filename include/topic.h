/*
 * topic.h: patterns of topics in the configuration (P-050): a topic, a prefix and a final *, and in either once
 * {user_id}, which stands for the user behind the socket.
 */
#ifndef BEAMGATE_TOPIC_H
#define BEAMGATE_TOPIC_H

#include "base.h"

#define TOPIC_USER_ID "{user_id}"

enum topic_match {
    TOPIC_DIFFERENT,
    TOPIC_FOREIGN, /* of the pattern's form, but another user's */
    TOPIC_MATCHES
};

/* user: as it stands in topics; empty: nobody. An empty user matches no pattern with {user_id}. */
enum topic_match topic_match(const char *pattern, struct slice topic, struct slice user);

#endif
