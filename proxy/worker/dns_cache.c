#include "proxy/worker/dns_cache.h"

#include <stdlib.h>
#include <sys/queue.h>

struct entry {
    LIST_ENTRY(entry) in_bucket;
    TAILQ_ENTRY(entry) in_order;
    uint64_t expires_ms; /* holds before that */
    struct hostname name;
    uint16_t type;
    uint16_t rcode;
    uint8_t chain_len;
    bool has_negative_ttl;
    size_t count;
    struct netaddr addresses[];
};

struct dns_cache {
    LIST_HEAD(bucket, entry) * buckets;
    TAILQ_HEAD(order, entry) order; /* the one asked for last is last */
    size_t mask;                    /* buckets - 1 */
    size_t count;
    size_t max;
    struct hash_key key;
};

struct dns_cache *dns_cache_new(size_t max, struct hash_key key)
{
    struct dns_cache *cache = calloc(1, sizeof(*cache));
    size_t buckets = 1;

    if (!cache)
        return NULL;
    while (buckets < max)
        buckets *= 2;
    cache->buckets = calloc(buckets, sizeof(*cache->buckets));
    if (!cache->buckets) {
        free(cache);
        return NULL;
    }
    TAILQ_INIT(&cache->order);
    cache->mask = buckets - 1;
    cache->max = max;
    cache->key = key;
    return cache;
}

static void drop(struct dns_cache *cache, struct entry *entry)
{
    LIST_REMOVE(entry, in_bucket);
    TAILQ_REMOVE(&cache->order, entry, in_order);
    cache->count--;
    free(entry);
}

void dns_cache_free(struct dns_cache *cache)
{
    if (!cache)
        return;
    struct entry *entry = TAILQ_FIRST(&cache->order);
    while (entry) {
        struct entry *next = TAILQ_NEXT(entry, in_order);
        free(entry);
        entry = next;
    }
    free(cache->buckets);
    free(cache);
}

static struct bucket *bucket_of(struct dns_cache *cache, const struct hostname *name)
{
    return &cache->buckets[keyed_hash(&cache->key, hostname_span(name)) & cache->mask];
}

static struct entry *find(const struct bucket *bucket, const struct hostname *name, uint16_t type)
{
    struct entry *entry;

    LIST_FOREACH(entry, bucket, in_bucket)
    {
        if (entry->type == type && hostname_equal(&entry->name, name))
            return entry;
    }
    return NULL;
}

static bool is_worth_keeping(const struct dns_reply *reply)
{
    if (reply->is_truncated)
        return false;
    if (reply->rcode == DNS_RCODE_NOERROR && reply->count > 0)
        return true;
    return reply->has_negative_ttl &&
           (reply->rcode == DNS_RCODE_NOERROR || reply->rcode == DNS_RCODE_NXDOMAIN);
}

void dns_cache_put(struct dns_cache *cache, const struct hostname *name, uint16_t type,
                   const struct dns_reply *reply, uint64_t now_ms)
{
    struct bucket *bucket = bucket_of(cache, name);
    struct entry *entry = find(bucket, name, type);
    size_t addresses_len = reply->count * sizeof(reply->addresses[0]);

    if (entry)
        drop(cache, entry);
    if (cache->max == 0 || !is_worth_keeping(reply))
        return;
    entry = malloc(sizeof(*entry) + addresses_len);
    if (!entry)
        return;
    if (cache->count == cache->max)
        drop(cache, TAILQ_FIRST(&cache->order));
    *entry = (struct entry){.expires_ms = now_ms + dns_ttl_clamp(reply->ttl_s) * UINT64_C(1000),
                            .name = *name,
                            .type = type,
                            .rcode = reply->rcode,
                            .chain_len = (uint8_t)reply->chain_len,
                            .has_negative_ttl = reply->has_negative_ttl,
                            .count = reply->count};
    memcpy(entry->addresses, reply->addresses, addresses_len);
    LIST_INSERT_HEAD(bucket, entry, in_bucket);
    TAILQ_INSERT_TAIL(&cache->order, entry, in_order);
    cache->count++;
}

bool dns_cache_get(struct dns_cache *cache, const struct hostname *name, uint16_t type,
                   uint64_t now_ms, struct dns_reply *out)
{
    struct entry *entry = find(bucket_of(cache, name), name, type);

    if (!entry)
        return false;
    if (now_ms >= entry->expires_ms) {
        drop(cache, entry);
        return false;
    }
    TAILQ_REMOVE(&cache->order, entry, in_order);
    TAILQ_INSERT_TAIL(&cache->order, entry, in_order);
    *out = (struct dns_reply){.rcode = entry->rcode,
                              .count = entry->count,
                              .chain_len = entry->chain_len,
                              .has_negative_ttl = entry->has_negative_ttl,
                              .ttl_s = (uint32_t)((entry->expires_ms - now_ms + 999) / 1000)};
    memcpy(out->addresses, entry->addresses, entry->count * sizeof(entry->addresses[0]));
    return true;
}
