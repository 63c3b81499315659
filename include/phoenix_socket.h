/*
 * phoenix_socket.h: the channel protocol of one client connection (P-020..P-066): joins, leaves, heartbeats, events,
 * and the frames that go back. A channel is a process of this node; its handle is what everybody else knows it by.
 */
#ifndef BEAMGATE_PHOENIX_SOCKET_H
#define BEAMGATE_PHOENIX_SOCKET_H

#include "authenticate.h"
#include "channel_frame.h"
#include "edge.h"
#include "gate.h"
#include "join.h"
#include "map.h"
#include "ws_server.h"

/* What the sockets of one edge share. */
struct phoenix {
    struct gateway *gateway; /* NULL until it is there: requests are answered with an error */
    struct process_table *processes;
    struct metrics *metrics;
    struct timers *timers;
    struct client_limits *limits;
    struct gate *gate;
    const struct json_limits *json;
    struct joins *joins; /* of topics about which a function of the services decides */
    struct map ids;      /* sockets by their id (P-010) */
    struct slice roles[ROLES_MAX];
    struct session session; /* of the socket whose request is being worked on */
    struct buf scratch;     /* names of the message at hand, when they had to be rewritten */
    struct buf event;       /* the text of its event, when that had escapes */
};

/* call: for the functions that decide about joins. 0 or BG_ENOMEM; phoenix_fini() in either case. */
int phoenix_init(struct phoenix *px, struct process_table *processes, const struct call_ops *call, struct metrics *m)
    MUST_CHECK;
/* Every socket must be gone. */
void phoenix_fini(struct phoenix *px);
/* How the gateway reaches the channels. */
struct client_ops phoenix_client_ops(struct phoenix *px);
/* The callbacks that make a ws_conn a phoenix socket. */
struct ws_handlers phoenix_handlers(void);

/* A socket for ws_adopt(), or NULL without memory. config is borrowed for as long as the socket lives; who and
 * ip are copied. If it is never adopted, phoenix_socket_free(). */
struct ws_conn *phoenix_socket_new(struct phoenix *px, const struct socket_config *config, enum serializer v,
                                   const struct identity *who, struct slice ip) MUST_CHECK;
/* Hands the socket the place at the gate, and the user (or NULL): it gives them back when it is freed. */
void phoenix_socket_seat(struct ws_conn *c, struct client_source *from, struct gate_user *user);
void phoenix_socket_free(struct ws_conn *c);
/* The process that stands for it; HANDLE_NONE when there was no room for one. */
handle_t phoenix_socket_process(const struct ws_conn *c);
/* Fills what the socket knows: user, address, path, channels. */
void phoenix_socket_show(const struct ws_conn *c, struct edge_client *to);
/* P-010: closes the sockets of that id with 1001. Returns how many that were. */
uint32_t phoenix_disconnect(struct phoenix *px, struct slice id);

#endif
