/*
 * Questions to the host's resolvers; the carried by resolver_pool.h.
 *
 * Messages are ours (core/dns_message), c-ares carries them: ids, ports and the case of letters are
 * random, and only an answer to exactly the question that was asked is taken. Who asks what is in
 * flight already waits for the same message; answers are cached (dns_cache.h). A name of the host's
 * own hosts file, and localhost, is answered from there and never asked. A callback never runs
 * inside the call that asked, and never after its query was cancelled.
 */
#ifndef PROXY_WORKER_RESOLVER_H
#define PROXY_WORKER_RESOLVER_H

#include "proxy/core/dns_message.h"

struct event_base;
struct policy;
struct resolver;
struct resolver_query;
struct worker_thread;

/* Set up for the thread's current policy (resolvers, host lines); NULL when that is impossible. */
struct resolver *resolver_new(struct worker_thread *thread);

/*
 * Takes the resolvers and settings of a new policy, which the thread has in force already; queries
 * in flight end as they were asked. 0 or a negative errno, all is then as it was.
 */
int resolver_reconfigure(struct resolver *resolver, const struct policy *policy);

/* Every query and lookup was cancelled or told before. */
void resolver_free(struct resolver *resolver);

/* The loop that it runs on. */
struct event_base *resolver_base(const struct resolver *resolver);

enum resolver_status {
    RESOLVER_OK,      /* `reply` is a resolver's answer, positive or negative */
    RESOLVER_FAILED,  /* no resolver gave a usable answer */
    RESOLVER_TIMEOUT, /* none answered in time */
};

/* `reply` only with RESOLVER_OK; borrowed for the call. */
typedef void resolver_done(void *arg, enum resolver_status status, const struct dns_reply *reply);

/*
 * Asks for the addresses of one type, A or AAAA. NULL when a limit is reached, then no callback
 * comes: of questions in flight, memory, and for what would leave the machine of the length of
 * labels and the number of new names (core/dns_limit.h).
 */
struct resolver_query *resolver_ask(struct resolver *resolver, const struct hostname *name,
                                    uint16_t type, resolver_done *done, void *arg);

/* Detaches: `done` is not called any more. NULL is nothing. */
void resolver_cancel(struct resolver_query *query);

/*
 * All addresses of a name for dialling: A and AAAA asked at once, IPv6 and IPv4 in turn, IPv6
 * first. One family that has addresses waits 50 ms for the other. `count` 0 when it has none, or
 * when no resolver answered. NULL as for resolver_ask().
 */
struct resolver_lookup;
typedef void resolver_found(void *arg, const struct netaddr *addresses, size_t count);
struct resolver_lookup *resolver_look_up(struct resolver *resolver, const struct hostname *name,
                                         resolver_found *found, void *arg);
void resolver_look_up_cancel(struct resolver_lookup *lookup);

#endif
