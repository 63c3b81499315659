/*
 * client_source.c: see client_source.h.
 *
 * Invariant: text is the text of address. peer never changes: what proxies are trusted by must not be what they say.
 */
#include "client_source.h"

void client_source_init(struct client_source *from, const struct sockaddr *peer, uint64_t now_us)
{
    *from = (struct client_source){.peer = ip_of_socket(peer), .accepted_us = now_us};
    client_source_set(from, &from->peer);
}

void client_source_set(struct client_source *from, const struct ip_address *address)
{
    from->address = *address;
    ip_text(address, from->text);
}
