#include "firewall/ruleset_builder.h"

struct ruleset_rule *builder_add(struct builder *b, enum ruleset_chain chain,
                                 enum ruleset_target target)
{
    struct ruleset *out = b->out;
    struct ruleset_rule *r = out->count < out->cap ? &out->rules[out->count] : &b->scratch;

    out->count++;
    memset(r, 0, sizeof(*r));
    r->number = (uint32_t)out->count;
    r->family = b->family;
    r->table = b->table;
    r->chain = chain;
    r->target = target;
    r->reason = REASON_ALLOWED;
    return r;
}

struct ruleset_rule *builder_purpose(struct builder *b, enum ruleset_chain chain,
                                     enum ruleset_target target, const char *purpose)
{
    struct ruleset_rule *r = builder_add(b, chain, target);

    r->purpose = purpose;
    return r;
}

static enum ruleset_chain chain_of(enum reason reason)
{
    switch ((unsigned)reason) {
    case REASON_BLOCKED:
        return RULESET_BLOCKED;
    case REASON_LIMIT_REACHED:
        return RULESET_LIMIT;
    case REASON_LOOPBACK_ADDRESS:
        return RULESET_LOOPBACK;
    case REASON_METADATA_ADDRESS:
        return RULESET_METADATA;
    case REASON_NO_NAME:
        return RULESET_NO_NAME;
    case REASON_NOT_REDIRECTED:
        return RULESET_NOT_REDIRECTED;
    case REASON_PRIVATE_ADDRESS:
        return RULESET_PRIVATE;
    case REASON_QUIC_REFUSED:
        return RULESET_QUIC;
    }
    return RULESET_NOT_ALLOWED;
}

struct ruleset_rule *builder_refuse(struct builder *b, enum ruleset_chain chain, enum reason reason)
{
    struct ruleset_rule *r = builder_add(b, chain, RULESET_GOTO);

    r->reason = reason;
    r->target_chain = chain_of(reason);
    return r;
}

/* What the cage may send still counts against its rate of new flows. */
struct ruleset_rule *builder_pass(struct builder *b, enum ruleset_chain chain, const char *purpose)
{
    bool is_cage = chain == RULESET_BASE;
    struct ruleset_rule *r =
        builder_purpose(b, chain, is_cage ? RULESET_GOTO : RULESET_RETURN, purpose);

    if (is_cage)
        r->target_chain = RULESET_PASS;
    return r;
}

/* Moves as many ranges as one match holds into the rule; how many. */
size_t builder_take_dports(struct ruleset_rule *r, const struct port_range *ranges, size_t count)
{
    size_t taken = 0;
    size_t slots = 0;

    while (taken < count) {
        slots += port_range_is_single(&ranges[taken]) ? 1 : 2;
        if (slots > RULESET_PORT_SLOTS)
            break;
        r->dports[taken] = ranges[taken];
        taken++;
    }
    r->dport_count = (uint8_t)taken;
    return taken;
}

/* The ports that an allow entry opens: without 53 unless it is written. */
size_t builder_open_ports(const struct port_set *ports, struct port_range out[PORT_RANGES_MAX + 1])
{
    bool is_dns_open = port_set_writes(ports, PORT_DNS);
    size_t count = 0;

    for (size_t i = 0; i < ports->count; i++) {
        struct port_range range = ports->ranges[i];
        if (is_dns_open || range.last < PORT_DNS || range.first > PORT_DNS) {
            out[count++] = range;
            continue;
        }
        if (range.first < PORT_DNS)
            out[count++] = (struct port_range){range.first, PORT_DNS - 1};
        if (range.last > PORT_DNS)
            out[count++] = (struct port_range){PORT_DNS + 1, range.last};
    }
    return count;
}

bool builder_is_family(const struct builder *b, const struct netprefix *prefix)
{
    return netprefix_is_v4(prefix) == (b->family == RULESET_V4);
}

bool builder_is_entry(const struct builder *b, const struct rule *entry)
{
    return !rule_is_name(entry) && builder_is_family(b, &entry->prefix);
}

struct netprefix builder_loopback(const struct builder *b)
{
    static const uint8_t v4[4] = {127, 0, 0, 1};
    static const uint8_t v6[16] = {[15] = 1};
    struct netaddr addr = b->family == RULESET_V4 ? netaddr_v4(v4) : netaddr_v6(v6);

    return netprefix_of_addr(&addr);
}

void builder_owner_jump(struct builder *b, uint32_t uid, enum ruleset_chain chain,
                        const char *purpose)
{
    struct ruleset_rule *r = builder_purpose(b, RULESET_OUTPUT, RULESET_JUMP, purpose);

    r->owner = RULESET_OWNER;
    r->uid = uid;
    r->target_chain = chain;
}

void builder_log(struct builder *b, enum ruleset_chain chain, enum reason reason)
{
    struct ruleset_rule *r = builder_add(b, chain, RULESET_LOG);

    r->reason = reason;
    r->is_rated = true;
    /* Redirected TCP was logged in nat, with the address that was dialled. */
    if (b->table == RULESET_FILTER && (chain == RULESET_BLOCKED || chain == RULESET_LOOPBACK ||
                                       chain == RULESET_METADATA || chain == RULESET_PRIVATE)) {
        r->states = RULESET_STATE_DNAT;
        r->is_not_states = true;
    }
}

void builder_reason_chain(struct builder *b, enum reason reason)
{
    enum ruleset_chain chain = chain_of(reason);

    builder_log(b, chain, reason);
    if (b->table == RULESET_NAT) {
        struct ruleset_rule *r = builder_add(b, chain, RULESET_REDIRECT);
        r->reason = reason;
        r->protocol = RULESET_TCP;
        r->port = b->out->cage.tcp_port;
        return;
    }
    struct ruleset_rule *r = builder_add(b, chain, RULESET_GOTO);
    r->reason = reason;
    r->target_chain = RULESET_REFUSE;
}

/* One allow entry in BASE or PROXY: exactly its ports, for a packet that opened its flow. */
static void allow_entry(struct builder *b, enum ruleset_chain chain, uint8_t protocol,
                        const struct rule *entry)
{
    struct port_range ports[PORT_RANGES_MAX + 1];
    size_t count = builder_open_ports(&entry->ports, ports);
    size_t at = 0;

    do {
        struct ruleset_rule *r = builder_pass(b, chain, "allow");
        r->entry = entry;
        builder_set_dst(r, &entry->prefix);
        if (entry->ports.count == 0) {
            builder_set_dport(r, protocol, PORT_DNS);
            r->is_not_dports = true;
        } else {
            r->protocol = protocol;
            at += builder_take_dports(r, ports + at, count - at);
        }
        if (chain != RULESET_BASE)
            continue;
        /* Both the packet and the original tuple: what was led elsewhere is not what was allowed.
         */
        builder_set_origdst(r, &entry->prefix);
        r->direction = RULESET_ORIGINAL;
        if (r->dport_count == 1 && !r->is_not_dports)
            r->origdst_ports = r->dports[0];
    } while (at < count);
}

void builder_allow(struct builder *b, enum ruleset_chain chain)
{
    const struct rule_list *allow = &b->policy->allow;

    for (size_t i = 0; i < allow->count; i++) {
        if (!builder_is_entry(b, &allow->rules[i]))
            continue;
        allow_entry(b, chain, RULESET_TCP, &allow->rules[i]);
        if (chain == RULESET_BASE)
            allow_entry(b, chain, RULESET_UDP, &allow->rules[i]);
    }
}

/*
 * One block entry by original destination: redirected TCP has lost its port, so that only the
 * connection still knows it. Ports are TCP's and UDP's; a type of ICMP is none.
 */
static void block_origin(struct builder *b, const struct rule *entry)
{
    static const uint8_t protocols[] = {RULESET_TCP, RULESET_UDP};

    if (entry->ports.count == 0) {
        struct ruleset_rule *r = builder_refuse(b, RULESET_BASE, REASON_BLOCKED);
        r->entry = entry;
        builder_set_origdst(r, &entry->prefix);
        return;
    }
    for (size_t p = 0; p < sizeof(protocols); p++) {
        for (size_t i = 0; i < entry->ports.count; i++) {
            struct ruleset_rule *r = builder_refuse(b, RULESET_BASE, REASON_BLOCKED);
            r->entry = entry;
            r->protocol = protocols[p];
            builder_set_origdst(r, &entry->prefix);
            r->origdst_ports = entry->ports.ranges[i];
        }
    }
}

static void block_packet(struct builder *b, enum ruleset_chain chain, uint8_t protocol,
                         const struct rule *entry)
{
    size_t at = 0;

    do {
        struct ruleset_rule *r = builder_refuse(b, chain, REASON_BLOCKED);
        r->entry = entry;
        builder_set_dst(r, &entry->prefix);
        if (entry->ports.count > 0 || chain == RULESET_NAT_OUTPUT)
            r->protocol = protocol;
        at += builder_take_dports(r, entry->ports.ranges + at, entry->ports.count - at);
    } while (at < entry->ports.count);
}

void builder_block(struct builder *b, enum ruleset_chain chain, enum builder_by by)
{
    const struct rule_list *block = &b->policy->block;

    if (b->policy->mode != MODE_BLOCKLIST)
        return;
    for (size_t i = 0; i < block->count; i++) {
        const struct rule *entry = &block->rules[i];
        if (!builder_is_entry(b, entry))
            continue;
        if (by == BY_ORIGIN)
            block_origin(b, entry);
        else
            block_packet(b, chain, chain == RULESET_BASE ? RULESET_UDP : RULESET_TCP, entry);
    }
}

static struct ruleset_rule *base_prefix(struct builder *b, enum ruleset_chain chain,
                                        enum builder_by by, enum reason reason,
                                        const struct netprefix *prefix)
{
    struct ruleset_rule *r = builder_refuse(b, chain, reason);

    if (by == BY_ORIGIN)
        builder_set_origdst(r, prefix);
    else
        builder_set_dst(r, prefix);
    if (by == BY_DIALLED)
        r->protocol = RULESET_TCP;
    return r;
}

static void base_type(struct builder *b, enum ruleset_chain chain, enum builder_by by,
                      enum reason reason, enum ruleset_address_type type)
{
    struct ruleset_rule *r = builder_refuse(b, chain, reason);

    r->dst_type = type;
    if (by == BY_DIALLED)
        r->protocol = RULESET_TCP;
}

/* A range that may hide a metadata address: all but fc00::/7, ff00::/8 and ::/128. */
static bool is_hiding(const struct netprefix *prefix)
{
    return !netprefix_is_v4(prefix) && prefix->addr.bytes[0] < 0xfc && !netprefix_is_single(prefix);
}

static bool is_base_on(const struct builder *b, const struct base_range *range)
{
    const struct policy_settings *settings = &b->policy->settings;

    switch (range->class) {
    case NETADDR_METADATA:
        return settings->base_metadata;
    case NETADDR_LOOPBACK:
        return b->policy->mode == MODE_ALLOWLIST;
    case NETADDR_PRIVATE:
        return settings->base_private || (settings->base_metadata && is_hiding(&range->prefix));
    case NETADDR_PUBLIC:
        break;
    }
    return true;
}

static enum reason reason_of(enum netaddr_class class)
{
    switch (class) {
    case NETADDR_METADATA:
        return REASON_METADATA_ADDRESS;
    case NETADDR_LOOPBACK:
        return REASON_LOOPBACK_ADDRESS;
    case NETADDR_PRIVATE:
    case NETADDR_PUBLIC:
        break;
    }
    return REASON_PRIVATE_ADDRESS;
}

static void base_class(struct builder *b, enum ruleset_chain chain, enum builder_by by,
                       enum netaddr_class class)
{
    size_t count;
    const struct base_range *ranges = base_ranges(&count);

    for (size_t i = 0; i < count; i++) {
        if (ranges[i].class == class && builder_is_family(b, &ranges[i].prefix) &&
            is_base_on(b, &ranges[i]))
            base_prefix(b, chain, by, reason_of(class), &ranges[i].prefix);
    }
}

static void base_locals(struct builder *b, enum ruleset_chain chain, enum builder_by by)
{
    if (b->policy->mode != MODE_ALLOWLIST)
        return;
    if (by != BY_ORIGIN) {
        base_type(b, chain, by, REASON_LOOPBACK_ADDRESS, RULESET_TYPE_LOCAL);
        return;
    }
    /*
     * addrtype sees the packet only, and that goes to the proxy: the addresses themselves. In an
     * answer the original destination is always ours, and says nothing.
     */
    for (size_t i = 0; i < b->policy->local_count; i++) {
        struct netprefix local = netprefix_of_addr(&b->policy->locals[i]);
        if (builder_is_family(b, &local)) {
            base_prefix(b, chain, by, REASON_LOOPBACK_ADDRESS, &local)->direction =
                RULESET_ORIGINAL;
        }
    }
}

/* The strongest reason first: the first match is the one that is given. */
void builder_base(struct builder *b, enum ruleset_chain chain, enum builder_by by)
{
    base_class(b, chain, by, NETADDR_METADATA);
    base_class(b, chain, by, NETADDR_LOOPBACK);
    base_locals(b, chain, by);
    base_class(b, chain, by, NETADDR_PRIVATE);
    if (by == BY_PACKET && b->policy->settings.base_private) {
        base_type(b, chain, by, REASON_PRIVATE_ADDRESS,
                  b->family == RULESET_V4 ? RULESET_TYPE_BROADCAST : RULESET_TYPE_MULTICAST);
    }
}

/* No entry can mean a mapped address as IPv6, not even ::/0: before everything that lets pass. */
void builder_refuse_mapped(struct builder *b, enum ruleset_chain chain, enum builder_by by)
{
    static const uint8_t zero[4] = {0};
    struct netprefix prefix = {netaddr_v4(zero), 0};

    if (b->family == RULESET_V6)
        base_prefix(b, chain, by, REASON_PRIVATE_ADDRESS, &prefix);
}
