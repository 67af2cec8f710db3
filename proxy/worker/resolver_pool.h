/*
 * Carries messages to the resolvers of a policy and their answers back; the only place that knows
 * c-ares (1.18).
 *
 * All questions of one c-ares channel leave from one port, for as long as one of them is in
 * flight. So there are several channels, a random one for each question, and one that has carried
 * many is left alone until it runs empty and takes another port. c-ares repeats, goes from server
 * to server and takes a truncated answer's question to TCP; which answer belongs to a question it
 * finds by id and question, ignoring the case of letters.
 */
#ifndef PROXY_WORKER_RESOLVER_POOL_H
#define PROXY_WORKER_RESOLVER_POOL_H

#include <event2/event.h>

#include "config/policy.h"

struct channel;
struct resolver_pool;

enum pool_status { POOL_ANSWER, POOL_FAILED, POOL_TIMEOUT };

/* `answer` only with POOL_ANSWER, borrowed for the call. */
typedef void pool_done(void *arg, enum pool_status status, struct span answer);

/* One message on its way; the caller's memory, which stays until `done` was called. */
struct pool_query {
    pool_done *done;
    void *arg;
    struct channel *channel; /* the pool's */
};

/*
 * Channels to the plain servers of the policy; those that are to be spoken to over TLS are not
 * spoken to. NULL when memory ran out. Opens no file when RES_OPTIONS and LOCALDOMAIN are unset.
 */
struct resolver_pool *resolver_pool_new(struct event_base *base, const struct policy *policy);

/*
 * Every query in flight is done with POOL_FAILED, inside the call. Not to be called from a `done`.
 */
void resolver_pool_free(struct resolver_pool *pool);

/* The policy names the same servers as the pool's. */
bool resolver_pool_serves(const struct resolver_pool *pool, const struct policy *policy);

enum pool_transport { POOL_UDP, POOL_TCP };

/*
 * Sends a whole DNS message with an id of the caller's. query->done is called exactly once, maybe
 * inside the call; so may those of other queries of the pool be. `random` chooses the channel.
 */
void resolver_pool_send(struct resolver_pool *pool, struct pool_query *query, struct span message,
                        enum pool_transport transport, uint32_t random);

/* How many queries are in flight. */
size_t resolver_pool_busy(const struct resolver_pool *pool);

#endif
