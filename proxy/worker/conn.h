/*
 * One connection of the cage: from accept to close.
 *
 * conn turns callbacks into events, asks core/session, and carries its one action out. It contains
 * no policy. conn_close(reason) is the only exit: it disarms, detaches what is in flight, logs one
 * line, and frees after the running callback has unwound.
 */
#ifndef PROXY_WORKER_CONN_H
#define PROXY_WORKER_CONN_H

#include "proxy/worker/thread.h"

/* Takes over a fresh client socket, whatever happens. */
void conn_accept(struct worker_thread *thread, int client_fd);

/* Judges every connection again by the policy now in force; returns how many were closed. */
uint32_t conn_rejudge_all(struct worker_thread *thread);

void conn_close_all(struct worker_thread *thread);

#endif
