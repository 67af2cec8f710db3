#include "proxy/core/dns_limit.h"

/* A minute's worth at most, refilled evenly. */
static void refill(struct dns_limit *limit, uint32_t per_minute, uint64_t now_ms)
{
    uint64_t full = (uint64_t)per_minute * DNS_LIMIT_WINDOW_MS;
    uint64_t elapsed_ms = now_ms - limit->filled_ms;

    if (!limit->is_started || elapsed_ms >= DNS_LIMIT_WINDOW_MS)
        limit->credit = full;
    else
        limit->credit += elapsed_ms * per_minute;
    if (limit->credit > full)
        limit->credit = full;
    limit->is_started = true;
    limit->filled_ms = now_ms;
}

bool dns_limit_admit(struct dns_limit *limit, uint64_t fingerprint, uint32_t per_minute,
                     uint64_t now_ms)
{
    struct dns_limit_entry *set = limit->entries[fingerprint % DNS_LIMIT_SETS];
    struct dns_limit_entry *oldest = &set[0];

    for (int i = 0; i < DNS_LIMIT_WAYS; i++) {
        if (set[i].fingerprint == fingerprint && now_ms < set[i].until_ms)
            return true;
        if (set[i].until_ms < oldest->until_ms)
            oldest = &set[i];
    }
    refill(limit, per_minute, now_ms);
    if (limit->credit < DNS_LIMIT_WINDOW_MS)
        return false;
    limit->credit -= DNS_LIMIT_WINDOW_MS;
    oldest->fingerprint = fingerprint;
    oldest->until_ms = now_ms + DNS_LIMIT_WINDOW_MS;
    return true;
}

bool dns_limit_has_long_label(const struct hostname *name, size_t label_max)
{
    for (size_t at = 0; at < name->len; at = hostname_next_label(name, at)) {
        if (span_find(span_from(hostname_span(name), at), '.') > label_max)
            return true;
    }
    return false;
}
