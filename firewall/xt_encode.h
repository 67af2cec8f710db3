/*
 * A rule as the kernel's xtables take it: struct ipt_entry or ip6t_entry, then the matches, then
 * the target, each aligned (linux/netfilter/x_tables.h, linux/netfilter_ipv4/ip_tables.h,
 * linux/netfilter_ipv6/ip6_tables.h).
 *
 * Every byte that is not asked for is zero, so that what the kernel gives back can be compared.
 */
#ifndef FIREWALL_XT_ENCODE_H
#define FIREWALL_XT_ENCODE_H

#include "firewall/ruleset.h"

/* Enough for every match at once; the largest, u32, takes more than half of it. */
enum { XT_ENTRY_MAX = 4096 };

struct xt_entry_bytes {
    _Alignas(16) uint8_t bytes[XT_ENTRY_MAX];
    size_t len;
};

/*
 * Encodes a rule of `ruleset`. A jump has the name of its chain as its target, which libiptc
 * resolves when it commits.
 */
void xt_encode(const struct ruleset *ruleset, const struct ruleset_rule *rule,
               struct xt_entry_bytes *out);

#endif
