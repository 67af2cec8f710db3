/*
 * What names the cage may have looked up, so that they are no way to send data out: how long their
 * labels may be, and how many a minute.
 *
 * A name that was admitted may be looked up again for a minute; after that it is new again. So at
 * any moment the names that can leave the machine are as few as the limit says, whatever repeats
 * of them are asked for.
 */
#ifndef PROXY_CORE_DNS_LIMIT_H
#define PROXY_CORE_DNS_LIMIT_H

#include "config/hostname.h"

enum { DNS_LIMIT_WINDOW_MS = 60000, DNS_LIMIT_WAYS = 4, DNS_LIMIT_SETS = 1024 };

struct dns_limit_entry {
    uint64_t fingerprint;
    uint64_t until_ms; /* 0: free */
};

/* All zero is a new one, with nothing spent. A table that forgets a name early makes it new. */
struct dns_limit {
    struct dns_limit_entry entries[DNS_LIMIT_SETS][DNS_LIMIT_WAYS];
    bool is_started;
    uint64_t filled_ms; /* when `credit` was reckoned */
    uint64_t credit;    /* in names times DNS_LIMIT_WINDOW_MS */
};

/*
 * Whether the name of this fingerprint (a keyed hash: the cage must not be able to choose it) may
 * be looked up now. `now_ms` never goes back.
 */
bool dns_limit_admit(struct dns_limit *limit, uint64_t fingerprint, uint32_t per_minute,
                     uint64_t now_ms);

/* A long label carries much data out of the cage in a single question. */
bool dns_limit_has_long_label(const struct hostname *name, size_t label_max);

#endif
