#include "proxy/worker/origdst.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Both families use the number of their first netfilter socket option. */
enum { ORIGINAL_DESTINATION = 80 };

bool netaddr_of_sockaddr(const struct sockaddr_storage *from, struct netaddr *address,
                         uint16_t *port)
{
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)from;
        *address = netaddr_v4((const uint8_t *)&v4->sin_addr);
        *port = ntohs(v4->sin_port);
        return true;
    }
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)from;
        *address = netaddr_v6(v6->sin6_addr.s6_addr);
        *port = ntohs(v6->sin6_port);
        return true;
    }
    return false;
}

unsigned netaddr_to_sockaddr(const struct netaddr *address, uint16_t port,
                             struct sockaddr_storage *to)
{
    memset(to, 0, sizeof(*to));
    if (netaddr_is_v4(address)) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)to;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, netaddr_v4_bytes(address), 4);
        return sizeof(*v4);
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)to;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    memcpy(v6->sin6_addr.s6_addr, address->bytes, sizeof(address->bytes));
    return sizeof(*v6);
}

int origdst_get(int fd, struct netaddr *address, uint16_t *port)
{
    struct sockaddr_storage own = {0};
    struct sockaddr_storage original = {0};
    socklen_t own_len = sizeof(own);
    socklen_t original_len = sizeof(original);
    struct netaddr own_address;
    uint16_t own_port;

    if (getsockname(fd, (struct sockaddr *)&own, &own_len) != 0)
        return -errno;
    int level = own.ss_family == AF_INET6 ? SOL_IPV6 : SOL_IP;
    if (getsockopt(fd, level, ORIGINAL_DESTINATION, &original, &original_len) != 0)
        return -errno;
    if (!netaddr_of_sockaddr(&own, &own_address, &own_port) ||
        !netaddr_of_sockaddr(&original, address, port))
        return -EAFNOSUPPORT;
    return *port == own_port && netaddr_equal(address, &own_address) ? -ENOENT : 0;
}
