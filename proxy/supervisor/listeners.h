/*
 * The sockets that the cage's TCP and DNS are redirected to, on 127.0.0.1 and ::1.
 *
 * The supervisor holds them for its whole life, so that nobody else can bind the ports while a
 * worker is away. Bound without SO_REUSEADDR: with it the kernel would let another socket bind a
 * port whose listener is shut down.
 */
#ifndef PROXY_SUPERVISOR_LISTENERS_H
#define PROXY_SUPERVISOR_LISTENERS_H

#include <sys/types.h>

#include "config/text.h"
#include "proxy/core/message.h"

struct listeners {
    int fd[SOCKET_COUNT]; /* -1: the machine has no IPv6 */
    uint16_t tcp_port;
    uint16_t dns_port;
};

void listeners_init(struct listeners *listeners);

/*
 * Binds all of them; nobody is accepted yet. A port of 0 is the first that is free for both, from
 * the two above upward. The kernel rules see `owner` as the user of the sockets. 0, or a negative
 * errno with a complaint in `fault` and nothing bound.
 */
int listeners_open(struct listeners *listeners, uid_t owner, uint32_t tcp_port, uint32_t dns_port,
                   struct text *fault);
void listeners_close(struct listeners *listeners);

/* Which are there, as message_start.sockets has them; their descriptors in that order. */
uint8_t listeners_mask(const struct listeners *listeners);
size_t listeners_descriptors(const struct listeners *listeners, int out[SOCKET_COUNT]);

/* New connections are queued for the worker. 0 or a negative errno. */
int listeners_listen(const struct listeners *listeners);

/* New connections, and those that nobody has accepted yet, are refused; the ports stay ours. */
void listeners_shut(const struct listeners *listeners);

/* Drops the datagrams that came while there was no worker: their askers have given up. */
void listeners_drain(const struct listeners *listeners);

#endif
