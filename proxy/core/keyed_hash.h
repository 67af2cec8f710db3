/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a hash of bytes that whoever chooses the bytes, but
 * does not know the key, cannot make collide. For tables whose keys the cage chooses.
 */
#ifndef PROXY_CORE_KEYED_HASH_H
#define PROXY_CORE_KEYED_HASH_H

#include "config/span.h"

/* Random, and secret from the cage. */
struct hash_key {
    uint64_t words[2];
};

uint64_t keyed_hash(const struct hash_key *key, struct span bytes);

#endif
