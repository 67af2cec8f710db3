/*
 * What the builders of the ruleset's tables share: adding rules, and the parts of a policy that
 * stand in several chains. Internal to ruleset.
 */
#ifndef FIREWALL_RULESET_BUILDER_H
#define FIREWALL_RULESET_BUILDER_H

#include "firewall/ruleset.h"

enum { RULESET_ICMP = 1, RULESET_TCP = 6, RULESET_UDP = 17, RULESET_ICMPV6 = 58 };
enum { PORT_DNS = 53, PORT_QUIC = 443 };

struct builder {
    struct ruleset *out;
    const struct policy *policy; /* NULL for the closed ruleset */
    enum ruleset_family family;
    enum ruleset_table table;
    struct ruleset_rule scratch; /* takes the rules that are only counted */
};

/* Which destination of a packet a refusal looks at. */
enum builder_by {
    BY_ORIGIN,  /* before translation */
    BY_PACKET,  /* in the packet, as filter sees it */
    BY_DIALLED, /* TCP in nat, where nothing is translated yet */
};

/* A new last rule that matches everything; valid until the next one is added. */
struct ruleset_rule *builder_add(struct builder *b, enum ruleset_chain chain,
                                 enum ruleset_target target);
struct ruleset_rule *builder_purpose(struct builder *b, enum ruleset_chain chain,
                                     enum ruleset_target target, const char *purpose);
struct ruleset_rule *builder_refuse(struct builder *b, enum ruleset_chain chain,
                                    enum reason reason);

/* Lets pass. What the cage may send (BASE) still counts against its rate of new flows. */
struct ruleset_rule *builder_pass(struct builder *b, enum ruleset_chain chain, const char *purpose);

static inline void builder_set_dst(struct ruleset_rule *r, const struct netprefix *prefix)
{
    r->has_dst = true;
    r->dst = *prefix;
}

static inline void builder_set_origdst(struct ruleset_rule *r, const struct netprefix *prefix)
{
    r->has_origdst = true;
    r->origdst = *prefix;
}

static inline void builder_set_dport(struct ruleset_rule *r, uint8_t protocol, uint16_t port)
{
    r->protocol = protocol;
    r->dport_count = 1;
    r->dports[0] = (struct port_range){port, port};
}

/* Moves as many ranges as one match holds into the rule; how many. */
size_t builder_take_dports(struct ruleset_rule *r, const struct port_range *ranges, size_t count);

/* The ports that an allow entry opens: without 53 unless it is written. */
size_t builder_open_ports(const struct port_set *ports, struct port_range out[PORT_RANGES_MAX + 1]);

/* An address entry of the family at hand. */
bool builder_is_entry(const struct builder *b, const struct rule *entry);

bool builder_is_family(const struct builder *b, const struct netprefix *prefix);

/* 127.0.0.1/32 or ::1/128. */
struct netprefix builder_loopback(const struct builder *b);

void builder_owner_jump(struct builder *b, uint32_t uid, enum ruleset_chain chain,
                        const char *purpose);

/* The NFLOG rule of a chain of refusals. */
void builder_log(struct builder *b, enum ruleset_chain chain, enum reason reason);

/* The chain of a reason: log, then refuse (filter) or lead to the proxy (nat). */
void builder_reason_chain(struct builder *b, enum reason reason);

/* The policy's address entries and its base layer, the strongest reason first. */
void builder_allow(struct builder *b, enum ruleset_chain chain);
void builder_block(struct builder *b, enum ruleset_chain chain, enum builder_by by);
void builder_base(struct builder *b, enum ruleset_chain chain, enum builder_by by);

/* No entry can mean a mapped address as IPv6, not even ::/0: before everything that lets pass. */
void builder_refuse_mapped(struct builder *b, enum ruleset_chain chain, enum builder_by by);

/* The filter table, of a policy and of the closed ruleset. */
void ruleset_filter(struct builder *b);
void ruleset_filter_closed(struct builder *b);

#endif
