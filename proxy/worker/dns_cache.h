/*
 * What resolvers said of names, for as long as they said that it holds. Of one thread: no locks.
 *
 * Kept are positive answers and negative ones that carry an SOA (RFC 2308 5), for their TTL as
 * clients get to see it (1 s to 1 h); failures are not. A full cache drops what was not asked for
 * the longest.
 */
#ifndef PROXY_WORKER_DNS_CACHE_H
#define PROXY_WORKER_DNS_CACHE_H

#include "proxy/core/dns_message.h"
#include "proxy/core/keyed_hash.h"

struct dns_cache;

/* Holds at most `max` answers; 0 is legal and holds none. NULL when memory ran out. */
struct dns_cache *dns_cache_new(size_t max, struct hash_key key);
void dns_cache_free(struct dns_cache *cache);

/* Times are of one clock that never goes back. An answer for which memory ran out is not kept. */
void dns_cache_put(struct dns_cache *cache, const struct hostname *name, uint16_t type,
                   const struct dns_reply *reply, uint64_t now_ms);

/* The answer with what is left of its TTL, at least 1 s. False leaves *out untouched. */
bool dns_cache_get(struct dns_cache *cache, const struct hostname *name, uint16_t type,
                   uint64_t now_ms, struct dns_reply *out);

#endif
