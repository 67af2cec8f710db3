/*
 * Turns a root process into one that can do nothing but talk over the descriptors that it holds or
 * is sent. Called once, by a process with a single thread that has read no byte of anybody.
 *
 * Theory of operation. Each stage is named, has one reason, and is checked again at the end by
 * looking at the process as the kernel sees it. The first stage that fails ends the attempt; the
 * caller must then exit, since it may be half isolated.
 */
#ifndef PROXY_WORKER_ISOLATE_H
#define PROXY_WORKER_ISOLATE_H

#include <sys/types.h>

struct isolation {
    uid_t uid;          /* not 0 */
    gid_t gid;          /* not 0 */
    int keep_below;     /* descriptors from here on are closed */
    unsigned files_max; /* RLIMIT_NOFILE, soft and hard */
};

/* 0, or a negative errno with the name of the stage that failed in *stage (static storage). */
int isolate(const struct isolation *isolation, const char **stage);

#endif
