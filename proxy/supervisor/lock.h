/*
 * One supervisor for each cage user and for each proxy user of a network namespace.
 *
 * A lock is a file that is held by flock(2), so that it ends with its holder however that ends.
 * Kernel rules belong to a network namespace, hence so do locks.
 */
#ifndef PROXY_SUPERVISOR_LOCK_H
#define PROXY_SUPERVISOR_LOCK_H

#include <sys/types.h>

#define LOCK_DIRECTORY "/run/cage-proxy"

enum { LOCK_PATH_MAX = 100 };

struct lock {
    int fd;
    char path[LOCK_PATH_MAX];
};

/*
 * Takes the lock of a uid. 0; -EWOULDBLOCK when a supervisor holds it; -EACCES when the directory
 * is not root's alone; or another negative errno.
 */
int lock_take(struct lock *lock, uid_t uid);

/* Removes the file and lets go; nothing for a lock that was not taken (fd -1). */
void lock_release(struct lock *lock);

#endif
