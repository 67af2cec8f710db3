#include "proxy/worker/resolver.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "proxy/core/dns_limit.h"
#include "proxy/core/dns_write.h"
#include "proxy/worker/dns_cache.h"
#include "proxy/worker/names.h"
#include "proxy/worker/resolver_pool.h"
#include "proxy/worker/thread.h"

/*
 * Theory of operation. A question is in flight once, and queries wait for it: of all who ask
 * the same while it is there. It is WAITING until it has an outcome or its time is up, then
 * FINISHED until the loop has told those who wait. c-ares cannot forget a question, so one whose
 * time was up, or for which nobody waits any more, stays an ORPHAN until c-ares lets go of it.
 * Whatever c-ares calls back from only changes lists and wakes `deliver`.
 */
enum {
    QUESTIONS_MAX = 8192, /* some 15 MB */
    BUCKETS = 1024,
    DEADLINE_MS = 5000, /* when stub resolvers ask again */
    HOST_TTL_S = 60,    /* of lines of the hosts file */
};

enum question_state { QUESTION_WAITING, QUESTION_FINISHED, QUESTION_ORPHAN };

struct question {
    TAILQ_ENTRY(question) in_state;
    LIST_ENTRY(question) in_bucket; /* while is_joinable */
    LIST_HEAD(, resolver_query) queries;
    struct resolver *resolver;
    struct resolver_pool *pool;
    struct pool_query sent;
    struct hostname name;
    struct dns_question asked;
    enum question_state state;
    bool is_sent;       /* c-ares holds `sent` */
    bool is_joinable;   /* others may wait for it as well */
    bool is_asked_anew; /* FINISHED, but only to be sent once more */
    uint64_t deadline_ms;
    enum resolver_status status;
    struct dns_reply reply;
};

TAILQ_HEAD(question_list, question);

struct resolver_query {
    LIST_ENTRY(resolver_query) in_question;
    resolver_done *done;
    void *arg;
};

/* Channels to servers that a policy no longer names, until they are idle. */
struct retired_pool {
    LIST_ENTRY(retired_pool) in_resolver;
    struct resolver_pool *pool;
};

struct resolver {
    struct worker_thread *thread;
    struct resolver_pool *pool;
    LIST_HEAD(, retired_pool) retired;
    struct dns_cache *cache;
    size_t cache_max;
    struct hash_key key;
    LIST_HEAD(bucket, question) buckets[BUCKETS];
    struct question_list lists[QUESTION_ORPHAN + 1]; /* WAITING: earliest deadline first */
    size_t question_count;
    struct event *deliver;
    struct event *deadline;
};

static void deliver(evutil_socket_t fd, short what, void *arg);
static void on_deadline(evutil_socket_t fd, short what, void *arg);

struct resolver *resolver_new(struct worker_thread *thread)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));

    if (!resolver)
        return NULL;
    resolver->thread = thread;
    for (size_t i = 0; i <= QUESTION_ORPHAN; i++)
        TAILQ_INIT(&resolver->lists[i]);
    thread_random(&resolver->key, sizeof(resolver->key));
    resolver->cache_max = thread_settings(thread)->dns_cache;
    resolver->cache = dns_cache_new(resolver->cache_max, resolver->key);
    resolver->pool = resolver_pool_new(thread->base, thread_policy(thread));
    resolver->deliver = event_new(thread->base, -1, 0, deliver, resolver);
    resolver->deadline = evtimer_new(thread->base, on_deadline, resolver);
    if (!resolver->cache || !resolver->pool || !resolver->deliver || !resolver->deadline) {
        resolver_free(resolver);
        return NULL;
    }
    return resolver;
}

static void unjoin(struct question *q)
{
    if (q->is_joinable)
        LIST_REMOVE(q, in_bucket);
    q->is_joinable = false;
}

struct event_base *resolver_base(const struct resolver *resolver)
{
    return resolver->thread->base;
}

static void question_free(struct question *q)
{
    for (struct resolver_query *query = LIST_FIRST(&q->queries), *next; query; query = next) {
        next = LIST_NEXT(query, in_question);
        free(query);
    }
    unjoin(q);
    TAILQ_REMOVE(&q->resolver->lists[q->state], q, in_state);
    q->resolver->question_count--;
    free(q);
}

static void set_state(struct question *q, enum question_state state)
{
    TAILQ_REMOVE(&q->resolver->lists[q->state], q, in_state);
    q->state = state;
    TAILQ_INSERT_TAIL(&q->resolver->lists[state], q, in_state);
}

static void wake_deliver(struct resolver *resolver)
{
    event_active(resolver->deliver, 0, 0);
}

static void finish(struct question *q, enum resolver_status status)
{
    q->status = status;
    unjoin(q);
    set_state(q, QUESTION_FINISHED);
    wake_deliver(q->resolver);
}

/* What an answer comes to; with RESOLVER_OK in q->reply. */
static enum resolver_status take_answer(struct question *q, struct span answer)
{
    struct resolver *resolver = q->resolver;

    switch (dns_reply_parse(answer, &q->asked, &q->reply)) {
    case DNS_REPLY_OK:
        if (q->pool == resolver->pool)
            dns_cache_put(resolver->cache, &q->name, q->asked.type, &q->reply, thread_now_ms());
        return RESOLVER_OK;
    case DNS_REPLY_OTHER:
        /* c-ares has compared all but the case. It is forged, or the server folds names. */
        q->is_asked_anew = q->asked.is_case_exact;
        return RESOLVER_FAILED;
    case DNS_REPLY_BAD:
        return RESOLVER_FAILED;
    }
    return RESOLVER_FAILED;
}

/* Runs inside c-ares: nothing may be asked or freed of it from here. */
static void on_sent_done(void *arg, enum pool_status status, struct span answer)
{
    struct question *q = arg;
    enum resolver_status outcome = RESOLVER_FAILED;

    q->is_sent = false;
    /* Told already, and it may be read right now. */
    if (q->state == QUESTION_FINISHED)
        return;
    if (status == POOL_ANSWER)
        outcome = take_answer(q, answer);
    else if (status == POOL_TIMEOUT)
        outcome = RESOLVER_TIMEOUT;
    if (q->state == QUESTION_WAITING)
        finish(q, outcome);
    else
        question_free(q);
}

static void await_deadline(struct resolver *resolver)
{
    const struct question *first = TAILQ_FIRST(&resolver->lists[QUESTION_WAITING]);
    uint64_t now_ms = thread_now_ms();

    if (!first || event_pending(resolver->deadline, EV_TIMEOUT, NULL))
        return;
    uint64_t left_ms = first->deadline_ms > now_ms ? first->deadline_ms - now_ms : 0;
    const struct timeval left = {(time_t)(left_ms / 1000), (suseconds_t)(left_ms % 1000) * 1000};
    event_add(resolver->deadline, &left);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct resolver *resolver = arg;
    struct question *q;
    uint64_t now_ms = thread_now_ms();

    (void)fd;
    (void)what;
    while ((q = TAILQ_FIRST(&resolver->lists[QUESTION_WAITING])) && q->deadline_ms <= now_ms)
        finish(q, RESOLVER_TIMEOUT);
    await_deadline(resolver);
}

/* Puts the question on the wire. Its first time over UDP and with letters of random case. */
static void send_question(struct question *q, enum pool_transport transport)
{
    uint8_t packet[DNS_QUERY_LEN_MAX];
    struct {
        uint8_t case_bits[DNS_CASE_BYTES];
        uint32_t channel;
        uint16_t id;
    } random;

    thread_random(&random, sizeof(random));
    q->asked.id = random.id;
    q->asked.is_case_exact = transport == POOL_UDP;
    dns_name_from_host(&q->name, &q->asked.name);
    if (q->asked.is_case_exact)
        dns_name_mix_case(&q->asked.name, random.case_bits);
    size_t len = dns_query_write(&q->asked, packet, sizeof(packet));
    q->deadline_ms = thread_now_ms() + DEADLINE_MS;
    q->is_sent = true;
    q->sent = (struct pool_query){.done = on_sent_done, .arg = q};
    resolver_pool_send(q->pool, &q->sent, span_of(packet, len), transport, random.channel);
    await_deadline(q->resolver);
}

static void tell(struct question *q)
{
    struct resolver_query *query;

    /* A query that is told may cancel others, and they are then gone from the list. */
    while ((query = LIST_FIRST(&q->queries))) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not see that the head has changed. */
        struct resolver_query told = *query;
        resolver_cancel(query);
        told.done(told.arg, q->status, q->status == RESOLVER_OK ? &q->reply : NULL);
    }
    if (q->is_sent)
        set_state(q, QUESTION_ORPHAN);
    else
        question_free(q);
}

/*
 * Over TCP nobody can forge an answer without seeing the question, so that the case is needed no
 * more; a server that folds names, and there are some, is understood there.
 */
static void ask_anew(struct question *q)
{
    q->is_asked_anew = false;
    set_state(q, QUESTION_WAITING);
    send_question(q, POOL_TCP);
}

/* A question that is to be asked anew will need its pool. */
static void free_idle_pools(struct resolver *resolver, bool is_all)
{
    struct retired_pool *retired = LIST_FIRST(&resolver->retired);

    while (retired) {
        struct retired_pool *next = LIST_NEXT(retired, in_resolver);
        if (is_all || resolver_pool_busy(retired->pool) == 0) {
            LIST_REMOVE(retired, in_resolver);
            resolver_pool_free(retired->pool);
            free(retired);
        }
        retired = next;
    }
}

static void deliver(evutil_socket_t fd, short what, void *arg)
{
    struct resolver *resolver = arg;
    struct question *last = TAILQ_LAST(&resolver->lists[QUESTION_FINISHED], question_list);
    struct question *q;
    bool is_last = last == NULL;

    (void)fd;
    (void)what;
    /* What finishes meanwhile is for the next round of the loop. */
    while (!is_last && (q = TAILQ_FIRST(&resolver->lists[QUESTION_FINISHED]))) {
        is_last = q == last;
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): likewise. */
        if (q->is_asked_anew)
            ask_anew(q);
        else
            tell(q);
    }
    if (TAILQ_EMPTY(&resolver->lists[QUESTION_FINISHED]))
        free_idle_pools(resolver, false);
}

/* Not yet sent, and not joinable. NULL when there are too many, or no memory. */
static struct question *question_new(struct resolver *resolver, const struct hostname *name,
                                     uint16_t type)
{
    struct question *q;

    if (resolver->question_count >= QUESTIONS_MAX || !(q = calloc(1, sizeof(*q))))
        return NULL;
    LIST_INIT(&q->queries);
    q->resolver = resolver;
    q->pool = resolver->pool;
    q->name = *name;
    q->asked.type = type;
    resolver->question_count++;
    TAILQ_INSERT_TAIL(&resolver->lists[QUESTION_WAITING], q, in_state);
    return q;
}

static bool is_localhost(const struct hostname *name)
{
    static const struct hostname localhost = {.len = 9, .text = "localhost"};

    return hostname_equal(name, &localhost) || hostname_is_below(name, &localhost);
}

static void add_address(struct dns_reply *reply, uint16_t type, const struct netaddr *address)
{
    if (netaddr_is_v4(address) == (type == DNS_TYPE_A) && reply->count < DNS_ADDRESSES_MAX)
        reply->addresses[reply->count++] = *address;
}

/*
 * What the machine itself knows: the lines of its hosts file, else RFC 6761 6.3, "name resolution
 * APIs and libraries SHOULD recognize localhost names as special and SHOULD always return the IP
 * loopback address".
 */
static bool answer_from_host(const struct policy *policy, const struct hostname *name,
                             uint16_t type, struct dns_reply *reply)
{
    bool is_known = false;

    *reply = (struct dns_reply){.rcode = DNS_RCODE_NOERROR, .ttl_s = HOST_TTL_S};
    for (size_t i = 0; i < policy->host_count; i++) {
        if (hostname_equal(&policy->hosts[i].name, name)) {
            is_known = true;
            add_address(reply, type, &policy->hosts[i].address);
        }
    }
    if (!is_known && is_localhost(name)) {
        struct netaddr v4 = netaddr_v4((uint8_t[]){127, 0, 0, 1});
        struct netaddr v6 = netaddr_v6((uint8_t[16]){[15] = 1});
        is_known = true;
        add_address(reply, type, &v4);
        add_address(reply, type, &v6);
    }
    reply->has_negative_ttl = reply->count == 0;
    return is_known;
}

static struct bucket *bucket_of(struct resolver *resolver, const struct hostname *name)
{
    return &resolver->buckets[keyed_hash(&resolver->key, hostname_span(name)) % BUCKETS];
}

static struct question *find_in_flight(struct resolver *resolver, const struct hostname *name,
                                       uint16_t type)
{
    struct question *q;

    LIST_FOREACH(q, bucket_of(resolver, name), in_bucket)
    {
        if (q->asked.type == type && hostname_equal(&q->name, name))
            return q;
    }
    return NULL;
}

/* The one place that every name passes on its way out of the machine. */
static bool may_leave(const struct resolver *resolver, const struct hostname *name)
{
    const struct policy_settings *settings = thread_settings(resolver->thread);

    return !dns_limit_has_long_label(name, settings->dns_label_max) &&
           names_admit(resolver->thread->names, name, settings->dns_new_names_per_minute,
                       thread_now_ms());
}

static struct question *ask(struct resolver *resolver, const struct hostname *name, uint16_t type)
{
    struct dns_reply reply;
    bool is_known = answer_from_host(thread_policy(resolver->thread), name, type, &reply) ||
                    dns_cache_get(resolver->cache, name, type, thread_now_ms(), &reply);
    struct question *q = is_known ? NULL : find_in_flight(resolver, name, type);

    if (q)
        return q;
    if (!is_known && !may_leave(resolver, name))
        return NULL;
    q = question_new(resolver, name, type);
    if (q && is_known) {
        q->reply = reply;
        finish(q, RESOLVER_OK);
    } else if (q) {
        q->is_joinable = true;
        LIST_INSERT_HEAD(bucket_of(resolver, name), q, in_bucket);
        send_question(q, POOL_UDP);
    }
    return q;
}

struct resolver_query *resolver_ask(struct resolver *resolver, const struct hostname *name,
                                    uint16_t type, resolver_done *done, void *arg)
{
    struct resolver_query *query = malloc(sizeof(*query));
    struct question *q = query ? ask(resolver, name, type) : NULL;

    if (!q) {
        free(query);
        return NULL;
    }
    query->done = done;
    query->arg = arg;
    LIST_INSERT_HEAD(&q->queries, query, in_question);
    return query;
}

void resolver_cancel(struct resolver_query *query)
{
    if (!query)
        return;
    LIST_REMOVE(query, in_question);
    free(query);
}

/* Lets go of the servers: what they are still asked is neither joined nor cached. */
static int change_pool(struct resolver *resolver, const struct policy *policy)
{
    struct resolver_pool *pool = resolver_pool_new(resolver->thread->base, policy);
    struct retired_pool *retired = malloc(sizeof(*retired));
    struct question *q;

    if (!pool || !retired) {
        resolver_pool_free(pool);
        free(retired);
        return -ENOMEM;
    }
    retired->pool = resolver->pool;
    LIST_INSERT_HEAD(&resolver->retired, retired, in_resolver);
    resolver->pool = pool;
    TAILQ_FOREACH(q, &resolver->lists[QUESTION_WAITING], in_state)
    unjoin(q);
    wake_deliver(resolver);
    return 0;
}

int resolver_reconfigure(struct resolver *resolver, const struct policy *policy)
{
    size_t cache_max = policy->settings.dns_cache;
    bool is_same = resolver_pool_serves(resolver->pool, policy);
    struct dns_cache *cache;

    if (is_same && cache_max == resolver->cache_max)
        return 0;
    /* Other servers may say other things. */
    cache = dns_cache_new(cache_max, resolver->key);
    if (!cache || (!is_same && change_pool(resolver, policy) < 0)) {
        dns_cache_free(cache);
        return -ENOMEM;
    }
    dns_cache_free(resolver->cache);
    resolver->cache = cache;
    resolver->cache_max = cache_max;
    return 0;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    free_idle_pools(resolver, true);
    resolver_pool_free(resolver->pool);
    for (size_t i = 0; i <= QUESTION_ORPHAN; i++) {
        struct question *q = TAILQ_FIRST(&resolver->lists[i]);
        while (q) {
            struct question *next = TAILQ_NEXT(q, in_state);
            question_free(q);
            q = next;
        }
    }
    dns_cache_free(resolver->cache);
    if (resolver->deliver)
        event_free(resolver->deliver);
    if (resolver->deadline)
        event_free(resolver->deadline);
    free(resolver);
}
