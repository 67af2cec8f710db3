/*
 * Whether processes of a user live in this network namespace.
 */
#ifndef PROXY_SUPERVISOR_RESIDENTS_H
#define PROXY_SUPERVISOR_RESIDENTS_H

#include <stddef.h>
#include <sys/types.h>

/*
 * How many processes have the uid as one of their four uids, in any of their threads, and this
 * network namespace; zombies do not count. A process that cannot be looked at counts. SIZE_MAX when
 * /proc cannot be read.
 */
size_t residents_count(uid_t uid);

#endif
