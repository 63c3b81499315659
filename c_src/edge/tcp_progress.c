/*
 * tcp_progress.c: see tcp_progress.h. A file of its own, because glibc's netinet/tcp.h knows only the old, short
 * struct tcp_info, and linux/tcp.h, which has tcpi_bytes_acked (Linux 4.1), cannot be included beside it.
 */
#include "tcp_progress.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

uint64_t tcp_bytes_acked(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return info.tcpi_bytes_acked;
}
