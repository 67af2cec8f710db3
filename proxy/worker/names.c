#include "proxy/worker/names.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "proxy/core/dns_limit.h"
#include "proxy/core/keyed_hash.h"

enum {
    SHARDS = 64,
    BUCKETS_MAX = 1 << 20,
    SWEEP_LEARNING = 16, /* buckets looked at for dead pairs with everything that is learned */
    SWEEP_FULL = 4096,   /* and when there is no room */
};

/* The two ways in: by name and by address. */
enum way { BY_NAME, BY_ADDRESS, WAYS };

struct link {
    struct pair *next;
    struct pair **at; /* what points here */
};

/*
 * In both tables at once. What is linked or written holds the locks of both shards, taken in the
 * order of enum way; so either lock is enough for reading.
 */
struct pair {
    struct link links[WAYS];
    uint64_t expires_ms; /* lives before that */
    struct netaddr address;
    uint8_t name_len;
    char name[];
};

struct table {
    pthread_mutex_t locks[SHARDS]; /* of the buckets whose number ends so */
    struct pair **buckets;
};

struct names {
    struct table tables[WAYS];
    size_t mask; /* buckets - 1 */
    struct hash_key key;
    size_t pairs_max;
    atomic_size_t pairs; /* linked or about to be */
    atomic_size_t sweep; /* the next bucket by name to look at */

    pthread_mutex_t limit_lock;
    struct dns_limit limit;
};

static bool table_init(struct table *table, size_t buckets)
{
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&table->locks[i], NULL);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): a bucket is a pointer. */
    table->buckets = calloc(buckets, sizeof(*table->buckets));
    return table->buckets != NULL;
}

struct names *names_new(size_t pairs_max)
{
    struct names *names = calloc(1, sizeof(*names));
    size_t buckets = SHARDS;
    bool is_whole = true;

    if (!names)
        return NULL;
    while (buckets < pairs_max && buckets < BUCKETS_MAX)
        buckets *= 2;
    names->mask = buckets - 1;
    names->pairs_max = pairs_max;
    pthread_mutex_init(&names->limit_lock, NULL);
    for (size_t i = 0; i < WAYS; i++)
        is_whole = table_init(&names->tables[i], buckets) && is_whole;
    if (!is_whole || getrandom(&names->key, sizeof(names->key), 0) != sizeof(names->key)) {
        names_free(names);
        return NULL;
    }
    return names;
}

static void free_bucket(struct pair *pair)
{
    while (pair) {
        struct pair *next = pair->links[BY_NAME].next;
        free(pair);
        pair = next;
    }
}

void names_free(struct names *names)
{
    if (!names)
        return;
    for (size_t i = 0; i <= names->mask && names->tables[BY_NAME].buckets; i++)
        free_bucket(names->tables[BY_NAME].buckets[i]);
    for (size_t i = 0; i < WAYS; i++) {
        free(names->tables[i].buckets);
        for (size_t j = 0; j < SHARDS; j++)
            pthread_mutex_destroy(&names->tables[i].locks[j]);
    }
    pthread_mutex_destroy(&names->limit_lock);
    free(names);
}

static size_t bucket_of(const struct names *names, struct span bytes)
{
    return keyed_hash(&names->key, bytes) & names->mask;
}

static struct span address_span(const struct netaddr *address)
{
    return span_of(address->bytes, sizeof(address->bytes));
}

static struct pair **lock_bucket(struct names *names, enum way way, size_t bucket)
{
    pthread_mutex_lock(&names->tables[way].locks[bucket % SHARDS]);
    return &names->tables[way].buckets[bucket];
}

static void unlock_bucket(struct names *names, enum way way, size_t bucket)
{
    pthread_mutex_unlock(&names->tables[way].locks[bucket % SHARDS]);
}

static void link_first(struct pair **bucket, enum way way, struct pair *pair)
{
    struct link *link = &pair->links[way];

    link->next = *bucket;
    link->at = bucket;
    if (link->next)
        link->next->links[way].at = &link->next;
    *bucket = pair;
}

static void unlink_pair(enum way way, struct pair *pair)
{
    struct link *link = &pair->links[way];

    *link->at = link->next;
    if (link->next)
        link->next->links[way].at = link->at;
}

static bool pair_has_name(const struct pair *pair, const struct hostname *name)
{
    return span_equal(span_of(pair->name, pair->name_len), hostname_span(name));
}

static struct pair *find(struct pair *first, const struct hostname *name,
                         const struct netaddr *address)
{
    struct pair *pair = first;

    while (pair && !(netaddr_equal(&pair->address, address) && pair_has_name(pair, name)))
        pair = pair->links[BY_NAME].next;
    return pair;
}

/* Frees the dead pairs of `count` buckets, going round. The caller holds no lock. */
static void sweep(struct names *names, size_t count, uint64_t now_ms)
{
    for (size_t i = 0; i < count && i <= names->mask; i++) {
        size_t bucket = atomic_fetch_add(&names->sweep, 1) & names->mask;
        struct pair *pair = *lock_bucket(names, BY_NAME, bucket);
        while (pair) {
            struct pair *next = pair->links[BY_NAME].next;
            if (now_ms >= pair->expires_ms) {
                size_t other = bucket_of(names, address_span(&pair->address));
                lock_bucket(names, BY_ADDRESS, other);
                unlink_pair(BY_ADDRESS, pair);
                unlock_bucket(names, BY_ADDRESS, other);
                unlink_pair(BY_NAME, pair);
                free(pair);
                atomic_fetch_sub(&names->pairs, 1);
            }
            pair = next;
        }
        unlock_bucket(names, BY_NAME, bucket);
    }
}

static bool reserve(struct names *names, size_t count)
{
    size_t pairs = atomic_fetch_add(&names->pairs, count) + count;

    if (pairs <= names->pairs_max)
        return true;
    atomic_fetch_sub(&names->pairs, count);
    return false;
}

/* How many of the addresses have no pair with the name in this bucket. */
static size_t count_missing(struct pair *first, const struct hostname *name,
                            const struct netaddr *addresses, size_t count)
{
    size_t missing = 0;

    for (size_t i = 0; i < count; i++) {
        bool is_repeated = false;
        for (size_t j = 0; j < i && !is_repeated; j++)
            is_repeated = netaddr_equal(&addresses[i], &addresses[j]);
        if (!is_repeated && !find(first, name, &addresses[i]))
            missing++;
    }
    return missing;
}

static struct pair *pair_new(const struct hostname *name, const struct netaddr *address)
{
    struct pair *pair = calloc(1, sizeof(*pair) + name->len);

    if (!pair)
        return NULL;
    pair->address = *address;
    pair->name_len = name->len;
    memcpy(pair->name, name->text, name->len);
    return pair;
}

/* A new pair, or new life for the one that is there. The bucket by name is locked. */
static bool put_pair(struct names *names, struct pair **bucket, const struct hostname *name,
                     const struct netaddr *address, uint64_t expires_ms, size_t *reserved)
{
    struct pair *known = find(*bucket, name, address);
    struct pair *pair = known ? known : pair_new(name, address);

    if (!pair)
        return false;
    size_t other = bucket_of(names, address_span(address));
    struct pair **other_bucket = lock_bucket(names, BY_ADDRESS, other);
    if (expires_ms > pair->expires_ms)
        pair->expires_ms = expires_ms;
    if (!known) {
        link_first(other_bucket, BY_ADDRESS, pair);
        (*reserved)--;
    }
    unlock_bucket(names, BY_ADDRESS, other);
    if (known)
        unlink_pair(BY_NAME, pair);
    link_first(bucket, BY_NAME, pair);
    return true;
}

static bool try_to_learn(struct names *names, const struct hostname *name,
                         const struct netaddr *addresses, size_t count, uint64_t expires_ms)
{
    size_t number = bucket_of(names, hostname_span(name));
    struct pair **bucket = lock_bucket(names, BY_NAME, number);
    size_t reserved = count_missing(*bucket, name, addresses, count);
    bool is_learned = reserve(names, reserved);

    if (is_learned) {
        for (size_t i = 0; i < count && is_learned; i++)
            is_learned = put_pair(names, bucket, name, &addresses[i], expires_ms, &reserved);
        atomic_fetch_sub(&names->pairs, reserved);
    }
    unlock_bucket(names, BY_NAME, number);
    return is_learned;
}

bool names_learn(struct names *names, const struct hostname *name, const struct netaddr *addresses,
                 size_t count, uint32_t ttl_s, uint64_t now_ms)
{
    uint64_t expires_ms = now_ms + (uint64_t)ttl_s * 1000 + NAMES_GRACE_MS;

    sweep(names, SWEEP_LEARNING, now_ms);
    if (try_to_learn(names, name, addresses, count, expires_ms))
        return true;
    sweep(names, SWEEP_FULL, now_ms);
    return try_to_learn(names, name, addresses, count, expires_ms);
}

static void name_of_pair(const struct pair *pair, struct hostname *out)
{
    *out = (struct hostname){.len = pair->name_len};
    memcpy(out->text, pair->name, pair->name_len);
}

size_t names_of_address(struct names *names, const struct netaddr *address, uint64_t now_ms,
                        struct hostname *out, size_t max)
{
    size_t bucket = bucket_of(names, address_span(address));
    const struct pair *pair = *lock_bucket(names, BY_ADDRESS, bucket);
    size_t count = 0;

    for (; pair && count <= max; pair = pair->links[BY_ADDRESS].next) {
        if (now_ms >= pair->expires_ms || !netaddr_equal(&pair->address, address))
            continue;
        if (count < max)
            name_of_pair(pair, &out[count]);
        count++;
    }
    unlock_bucket(names, BY_ADDRESS, bucket);
    return count;
}

size_t names_addresses(struct names *names, const struct hostname *name, uint64_t now_ms,
                       struct netaddr *out, size_t max)
{
    size_t bucket = bucket_of(names, hostname_span(name));
    const struct pair *pair = *lock_bucket(names, BY_NAME, bucket);
    size_t count = 0;

    for (; pair && count < max; pair = pair->links[BY_NAME].next) {
        if (now_ms < pair->expires_ms && pair_has_name(pair, name))
            out[count++] = pair->address;
    }
    unlock_bucket(names, BY_NAME, bucket);
    return count;
}

bool names_admit(struct names *names, const struct hostname *name, uint32_t per_minute,
                 uint64_t now_ms)
{
    uint64_t fingerprint = keyed_hash(&names->key, hostname_span(name));
    bool is_admitted;

    pthread_mutex_lock(&names->limit_lock);
    is_admitted = dns_limit_admit(&names->limit, fingerprint, per_minute, now_ms);
    pthread_mutex_unlock(&names->limit_lock);
    return is_admitted;
}
