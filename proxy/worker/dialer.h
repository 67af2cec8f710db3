/*
 * Connecting to one of several addresses (RFC 8305): each candidate in order, the next one 250 ms
 * after the one before it or at once when that failed; the first connection wins.
 */
#ifndef PROXY_WORKER_DIALER_H
#define PROXY_WORKER_DIALER_H

#include "config/netaddr.h"
#include "config/reason.h"
#include "proxy/worker/thread.h"

enum { DIALER_CANDIDATES_MAX = 16 };

struct dialer;

/*
 * With REASON_ALLOWED: a connected, non-blocking socket, now the callee's, to candidates[index].
 * Else fd is -1 and the reason is UPSTREAM_REFUSED or UPSTREAM_TIMEOUT. The dialer is gone then.
 */
typedef void dialer_done(void *arg, enum reason reason, int fd, size_t index);

/*
 * Starts; `done` never runs inside this call. Takes at most DIALER_CANDIDATES_MAX candidates, which
 * are copied. NULL when memory ran out. `within_ms` bounds all attempts together.
 */
struct dialer *dialer_start(struct worker_thread *thread, const struct netaddr *candidates,
                            size_t count, uint16_t port, uint32_t within_ms, dialer_done *done,
                            void *arg);

/* Ends it without a call. NULL is nothing. */
void dialer_cancel(struct dialer *dialer);

#endif
