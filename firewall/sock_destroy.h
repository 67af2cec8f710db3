/*
 * Sockets of a user that no rule can end: older than the rules, or left behind by a process that is
 * gone and still sending what it had (orphans).
 *
 * They look at TCP, UDP and UDP-Lite of both families in every state, in the network namespace of
 * the calling thread, through sock_diag (linux/inet_diag.h). A kernel shows the owner of an orphan
 * as long as the socket has one; sockets in TIME_WAIT have none and send nothing but
 * acknowledgements.
 */
#ifndef FIREWALL_SOCK_DESTROY_H
#define FIREWALL_SOCK_DESTROY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Ends them all, as if their peers had reset them; *count is how many. 0 or a negative errno,
 * *count then is what was ended so far: -EOPNOTSUPP when the kernel cannot
 * (CONFIG_INET_DIAG_DESTROY), -EAGAIN when the user opens them faster than they end. Needs
 * CAP_NET_ADMIN.
 */
int sock_destroy_uid(uint32_t uid, size_t *count);

/*
 * Ends what is left of TCP connections on a local port when their process is gone: TIME_WAIT and
 * orphans. They keep the port from being bound. 0 or a negative errno.
 */
int sock_destroy_port(uint16_t port);

/* Whether the user has a socket. 0, or a negative errno and *has_any is untouched. */
int sock_has_uid(uint32_t uid, bool *has_any);

#endif
