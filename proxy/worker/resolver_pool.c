#include "proxy/worker/resolver_pool.h"

#include <ares.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "proxy/core/dns_message.h"

enum {
    CHANNELS = 16,
    CHANNEL_TCP = CHANNELS, /* one more, which speaks nothing but TCP */
    SENT_MAX = 1000,        /* questions from one port */
    TRY_MS = 1500,          /* and twice that in the second round: 4.5 s in all with one server */
    TRIES = 2,
    TICK_MS = 100,
    SERVERS_TEXT_MAX = POLICY_SERVERS_MAX * (NETADDR_TEXT_MAX + 10),
};

/* A socket of c-ares' that it wants to hear of. */
struct watch {
    LIST_ENTRY(watch) in_channel;
    struct channel *channel;
    struct event *event;
    int fd;
};

struct channel {
    struct resolver_pool *pool;
    ares_channel ares;
    LIST_HEAD(, watch) watches;
    size_t busy;
    size_t sent; /* since it was empty */
};

struct resolver_pool {
    struct event_base *base;
    struct event *tick; /* for c-ares' timeouts; pending while anything is in flight */
    struct channel channels[CHANNELS + 1];
    size_t busy;
    struct dns_server servers[POLICY_SERVERS_MAX];
    size_t server_count;
};

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct watch *watch = arg;

    /* The watch may be gone when this returns. */
    ares_process_fd(watch->channel->ares, what & EV_READ ? fd : ARES_SOCKET_BAD,
                    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
}

static struct watch *find_watch(const struct channel *channel, int fd)
{
    struct watch *watch;

    LIST_FOREACH(watch, &channel->watches, in_channel)
    {
        if (watch->fd == fd)
            return watch;
    }
    return NULL;
}

static void drop_watch(struct watch *watch)
{
    LIST_REMOVE(watch, in_channel);
    if (watch->event)
        event_free(watch->event);
    free(watch);
}

/* Without memory the socket is not watched, and its questions end by timeout. */
static void on_interest(void *arg, ares_socket_t fd, int is_readable, int is_writable)
{
    struct channel *channel = arg;
    struct watch *watch = find_watch(channel, fd);
    short what = (short)((is_readable ? EV_READ : 0) | (is_writable ? EV_WRITE : 0));

    if (watch)
        drop_watch(watch);
    if (what == 0)
        return;
    watch = calloc(1, sizeof(*watch));
    if (!watch)
        return;
    watch->channel = channel;
    watch->fd = fd;
    LIST_INSERT_HEAD(&channel->watches, watch, in_channel);
    watch->event = event_new(channel->pool->base, fd, (short)(what | EV_PERSIST), on_socket, watch);
    if (watch->event)
        event_add(watch->event, NULL);
}

static void tick_later(struct resolver_pool *pool)
{
    static const struct timeval interval = {.tv_usec = TICK_MS * 1000L};

    if (pool->busy > 0 && !event_pending(pool->tick, EV_TIMEOUT, NULL))
        event_add(pool->tick, &interval);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct resolver_pool *pool = arg;

    (void)fd;
    (void)what;
    for (size_t i = 0; i <= CHANNELS; i++) {
        if (pool->channels[i].busy > 0)
            ares_process_fd(pool->channels[i].ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
    tick_later(pool);
}

static void print_servers(const struct resolver_pool *pool, struct text *out)
{
    for (size_t i = 0; i < pool->server_count; i++) {
        char address[NETADDR_TEXT_MAX];
        bool is_v4 = netaddr_is_v4(&pool->servers[i].address);
        netaddr_print(&pool->servers[i].address, address);
        text_put(out, i > 0 ? "," : "");
        text_put(out, is_v4 ? "" : "[");
        text_put(out, address);
        text_put(out, is_v4 ? ":" : "]:");
        text_put_number(out, pool->servers[i].port);
    }
}

/* Everything is given, so that nothing is looked for in files. */
static int open_channel(struct channel *channel, const char *servers, int flags)
{
    char lookups[] = "b";
    struct ares_options options = {
        .flags = flags | ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = TRY_MS,
        .tries = TRIES,
        .ndots = 1,
        .lookups = lookups,
        .ednspsz = DNS_UDP_MAX,
        .sock_state_cb = on_interest,
        .sock_state_cb_data = channel,
    };
    int status = ares_init_options(&channel->ares, &options,
                                   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                       ARES_OPT_NDOTS | ARES_OPT_SERVERS | ARES_OPT_DOMAINS |
                                       ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST | ARES_OPT_NOROTATE |
                                       ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB);

    if (status != ARES_SUCCESS) {
        channel->ares = NULL;
        return status;
    }
    return ares_set_servers_ports_csv(channel->ares, servers);
}

static size_t plain_servers(const struct policy *policy, struct dns_server out[POLICY_SERVERS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < policy->server_count; i++) {
        if (!policy->servers[i].is_tls)
            out[count++] = policy->servers[i];
    }
    return count;
}

struct resolver_pool *resolver_pool_new(struct event_base *base, const struct policy *policy)
{
    struct resolver_pool *pool = calloc(1, sizeof(*pool));
    char data[SERVERS_TEXT_MAX];
    struct text servers = TEXT_OF(data);
    int status = ARES_SUCCESS;

    if (!pool)
        return NULL;
    pool->base = base;
    pool->tick = evtimer_new(base, on_tick, pool);
    pool->server_count = plain_servers(policy, pool->servers);
    print_servers(pool, &servers);
    for (size_t i = 0; i <= CHANNELS && pool->server_count > 0 && status == ARES_SUCCESS; i++) {
        pool->channels[i].pool = pool;
        status = open_channel(&pool->channels[i], data, i == CHANNEL_TCP ? ARES_FLAG_USEVC : 0);
    }
    if (!pool->tick || status != ARES_SUCCESS) {
        resolver_pool_free(pool);
        return NULL;
    }
    return pool;
}

void resolver_pool_free(struct resolver_pool *pool)
{
    if (!pool)
        return;
    for (size_t i = 0; i <= CHANNELS; i++) {
        if (pool->channels[i].ares)
            ares_destroy(pool->channels[i].ares);
        struct watch *watch = LIST_FIRST(&pool->channels[i].watches);
        while (watch != NULL) {
            struct watch *next = LIST_NEXT(watch, in_channel);
            drop_watch(watch);
            watch = next;
        }
    }
    if (pool->tick)
        event_free(pool->tick);
    free(pool);
}

static bool server_equal(const struct dns_server *a, const struct dns_server *b)
{
    return netaddr_equal(&a->address, &b->address) && a->port == b->port;
}

bool resolver_pool_serves(const struct resolver_pool *pool, const struct policy *policy)
{
    struct dns_server servers[POLICY_SERVERS_MAX];
    size_t count = plain_servers(policy, servers);

    for (size_t i = 0; i < pool->server_count && i < count; i++) {
        if (!server_equal(&pool->servers[i], &servers[i]))
            return false;
    }
    return pool->server_count == count;
}

/* A channel whose port has not been used for long; else one that is about to take a new one. */
static struct channel *choose_channel(struct resolver_pool *pool, uint32_t random)
{
    struct channel *channel = NULL;

    for (uint32_t i = 0; i < CHANNELS; i++) {
        channel = &pool->channels[(random + i) % CHANNELS];
        if (channel->sent < SENT_MAX || channel->busy == 0)
            return channel;
    }
    return channel;
}

static enum pool_status status_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return POOL_ANSWER;
    case ARES_ETIMEOUT:
        return POOL_TIMEOUT;
    default:
        return POOL_FAILED;
    }
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *bytes, int len)
{
    struct pool_query *query = arg;

    (void)timeouts;
    query->channel->busy--;
    query->channel->pool->busy--;
    query->done(query->arg, status_of(status),
                status == ARES_SUCCESS ? span_of(bytes, (size_t)len) : SPAN_NONE);
}

void resolver_pool_send(struct resolver_pool *pool, struct pool_query *query, struct span message,
                        enum pool_transport transport, uint32_t random)
{
    struct channel *channel =
        transport == POOL_TCP ? &pool->channels[CHANNEL_TCP] : choose_channel(pool, random);

    if (pool->server_count == 0) {
        query->done(query->arg, POOL_FAILED, SPAN_NONE);
        return;
    }
    if (channel->busy == 0)
        channel->sent = 0;
    channel->sent++;
    channel->busy++;
    pool->busy++;
    query->channel = channel;
    ares_send(channel->ares, message.data, (int)message.len, on_answer, query);
    tick_later(pool);
}

size_t resolver_pool_busy(const struct resolver_pool *pool)
{
    return pool->busy;
}
