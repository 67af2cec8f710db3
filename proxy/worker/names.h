/*
 * Which address the DNS front gave out for which name, and until when.
 *
 * Shared by all threads of the worker (64 shards, a lock each). It serves three questions: does a
 * name have the address that a client dialled, which addresses has a name, and which names stand
 * behind the address of a connection that carries none. An entry lives for its TTL plus a grace of
 * at most 60 s, because clients hold on to addresses; it survives a reload, since it states a fact,
 * and is filtered by the policy when it is asked. A full table learns nothing new and forgets
 * nothing that lives.
 *
 * It also holds the cage's limit of new names, which is one for all threads as well.
 */
#ifndef PROXY_WORKER_NAMES_H
#define PROXY_WORKER_NAMES_H

#include "config/hostname.h"
#include "config/netaddr.h"

struct names;

enum {
    NAMES_GRACE_MS = 60000,
    NAMES_PER_ADDRESS_MAX = 32,
    NAMES_ADDRESSES_MAX = 64,
    NAMES_PAIRS_MAX = 1 << 17, /* what a worker holds, some 20 MB */
};

/* `pairs_max`: how many (name, address) pairs it holds. NULL when memory ran out. */
struct names *names_new(size_t pairs_max);
void names_free(struct names *names);

/*
 * Learns that `name` was given out with these addresses for `ttl_s` seconds from now_ms (of
 * thread_now_ms()). False when one of them found no room: the answer must then not be given.
 */
bool names_learn(struct names *names, const struct hostname *name, const struct netaddr *addresses,
                 size_t count, uint32_t ttl_s, uint64_t now_ms);

/*
 * The names that live for an address, at most `max` written. Returns how many there are, or
 * max + 1 when there are more: who needs all of them treats that as a denial.
 */
size_t names_of_address(struct names *names, const struct netaddr *address, uint64_t now_ms,
                        struct hostname *out, size_t max);

/* The addresses that live for a name, latest first, at most `max`; returns how many were written.
 */
size_t names_addresses(struct names *names, const struct hostname *name, uint64_t now_ms,
                       struct netaddr *out, size_t max);

/* Whether a name may be looked up: dns_limit_admit() for all threads together. */
bool names_admit(struct names *names, const struct hostname *name, uint32_t per_minute,
                 uint64_t now_ms);

#endif
