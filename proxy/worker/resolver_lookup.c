#include <event2/event.h>
#include <stdlib.h>

#include "proxy/worker/resolver.h"

/* RFC 8305 3: how long an answer waits for that of the other family; 50 ms is what it recommends.
 */
enum { RESOLUTION_DELAY_MS = 50 };

enum family { FAMILY_V6, FAMILY_V4, FAMILIES };

struct part {
    struct resolver_lookup *lookup;
    struct resolver_query *query; /* NULL: answered, or could not be asked */
    struct netaddr addresses[DNS_ADDRESSES_MAX];
    size_t count;
};

struct resolver_lookup {
    struct part parts[FAMILIES];
    struct event *end;
    resolver_found *found;
    void *arg;
};

void resolver_look_up_cancel(struct resolver_lookup *lookup)
{
    if (!lookup)
        return;
    for (size_t i = 0; i < FAMILIES; i++)
        resolver_cancel(lookup->parts[i].query);
    if (lookup->end)
        event_free(lookup->end);
    free(lookup);
}

/* RFC 8305 4: the families in turn, IPv6 first. */
static size_t interleave(const struct resolver_lookup *lookup, struct netaddr *out)
{
    size_t count = 0;

    for (size_t i = 0; i < DNS_ADDRESSES_MAX; i++) {
        for (size_t family = 0; family < FAMILIES; family++) {
            if (i < lookup->parts[family].count)
                out[count++] = lookup->parts[family].addresses[i];
        }
    }
    return count;
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
    struct resolver_lookup *lookup = arg;
    struct netaddr addresses[FAMILIES * DNS_ADDRESSES_MAX];
    size_t count = interleave(lookup, addresses);
    resolver_found *found = lookup->found;
    void *found_arg = lookup->arg;

    (void)fd;
    (void)what;
    resolver_look_up_cancel(lookup);
    found(found_arg, addresses, count);
}

static void on_part(void *arg, enum resolver_status status, const struct dns_reply *reply)
{
    static const struct timeval delay = {.tv_usec = RESOLUTION_DELAY_MS * 1000L};
    struct part *part = arg;
    struct resolver_lookup *lookup = part->lookup;

    part->query = NULL;
    if (status == RESOLVER_OK && reply->rcode == DNS_RCODE_NOERROR) {
        part->count = reply->count;
        memcpy(part->addresses, reply->addresses, reply->count * sizeof(reply->addresses[0]));
    }
    if (!lookup->parts[FAMILY_V6].query && !lookup->parts[FAMILY_V4].query)
        on_end(-1, 0, lookup);
    else if (part->count > 0)
        event_add(lookup->end, &delay);
}

struct resolver_lookup *resolver_look_up(struct resolver *resolver, const struct hostname *name,
                                         resolver_found *found, void *arg)
{
    static const uint16_t types[FAMILIES] = {DNS_TYPE_AAAA, DNS_TYPE_A};
    struct resolver_lookup *lookup = calloc(1, sizeof(*lookup));
    bool is_asked = false;

    if (!lookup)
        return NULL;
    lookup->found = found;
    lookup->arg = arg;
    lookup->end = evtimer_new(resolver_base(resolver), on_end, lookup);
    for (size_t i = 0; i < FAMILIES && lookup->end; i++) {
        lookup->parts[i].lookup = lookup;
        lookup->parts[i].query = resolver_ask(resolver, name, types[i], on_part, &lookup->parts[i]);
        is_asked = is_asked || lookup->parts[i].query;
    }
    if (!is_asked) {
        resolver_look_up_cancel(lookup);
        return NULL;
    }
    return lookup;
}
