/*
 * The cage's DNS: questions over UDP and TCP, judged before they are asked anywhere.
 */
#ifndef PROXY_WORKER_DNS_FRONT_H
#define PROXY_WORKER_DNS_FRONT_H

#include "proxy/worker/thread.h"

/* 0 or a negative errno. */
int dns_front_start(struct worker_thread *thread);
void dns_front_stop(struct worker_thread *thread);

#endif
