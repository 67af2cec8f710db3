/*
 * Where a redirected connection was going before the kernel led it here
 * (linux/netfilter_ipv4.h SO_ORIGINAL_DST, linux/netfilter_ipv6/ip6_tables.h).
 */
#ifndef PROXY_WORKER_ORIGDST_H
#define PROXY_WORKER_ORIGDST_H

#include "config/netaddr.h"

struct sockaddr_storage;

/*
 * The original destination of an accepted socket. -ENOENT when it was not redirected, which
 * includes one whose original destination is the very listener that accepted it.
 */
int origdst_get(int fd, struct netaddr *address, uint16_t *port);

/* Between socket addresses and ours; false for a family other than IPv4 and IPv6. */
bool netaddr_of_sockaddr(const struct sockaddr_storage *from, struct netaddr *address,
                         uint16_t *port);
/* The length of what was written; an IPv4 address becomes a sockaddr_in. */
unsigned netaddr_to_sockaddr(const struct netaddr *address, uint16_t port,
                             struct sockaddr_storage *to);

#endif
