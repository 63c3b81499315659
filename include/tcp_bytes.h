/*
 * tcp_bytes.h: what the kernel counts of a TCP connection. Apart, because the header that knows the counters
 * (linux/tcp.h) and the one that uv.h includes (netinet/tcp.h) exclude each other.
 */
#ifndef BEAMGATE_TCP_BYTES_H
#define BEAMGATE_TCP_BYTES_H

#include <stdint.h>

/* Bytes received on fd, and bytes sent that the other side has acknowledged; 0 where the kernel does not say. */
struct tcp_bytes {
    uint64_t received;
    uint64_t acknowledged;
};
struct tcp_bytes tcp_bytes(int fd);

#endif
