/*
 * Accepting the cage's TCP: from the listening sockets that the supervisor holds to conn_accept().
 */
#ifndef PROXY_WORKER_LISTENER_H
#define PROXY_WORKER_LISTENER_H

#include "proxy/worker/thread.h"

/* 0 or a negative errno. */
int listener_start(struct worker_thread *thread);
void listener_stop(struct worker_thread *thread);

#endif
