/*
 * tcp_progress.h: how much of what was written to a TCP socket its peer has really taken.
 */
#ifndef BEAMGATE_TCP_PROGRESS_H
#define BEAMGATE_TCP_PROGRESS_H

#include "base.h"

/* Bytes that the peer has acknowledged since the connection began (RFC 4898 tcpEStatsAppHCThruOctetsAcked). 0 when the
 * kernel does not tell: then no progress is ever seen. */
uint64_t tcp_bytes_acked(int fd);

#endif
