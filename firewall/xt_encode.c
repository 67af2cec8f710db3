#include "firewall/xt_encode.h"

#include <assert.h>
#include <limits.h>

/* Before the kernel's headers, which then leave out what it defines. */
#include <net/if.h>
#include <netinet/in.h>

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_NFLOG.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <linux/netfilter/xt_limit.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_owner.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter/xt_u32.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv4/ipt_REJECT.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/netfilter_ipv6/ip6t_REJECT.h>
#include <linux/netfilter_ipv6/ip6t_ipv6header.h>
#include <linux/netfilter_ipv6/ip6t_rt.h>

enum { RATE_MS = 1000 };

/*
 * A new match or target of `size` bytes of data behind what stands in *out; its data, zeroed. The
 * header of both is alike: a size, a name and a revision.
 */
static void *part_add(struct xt_entry_bytes *out, const char *name, uint8_t revision, size_t size)
{
    struct xt_entry_match head = {
        .u.user.match_size = (uint16_t)XT_ALIGN(sizeof(head) + size),
        .u.user.revision = revision,
    };
    uint8_t *at = out->bytes + out->len;

    static_assert(sizeof(struct xt_entry_match) == sizeof(struct xt_entry_target), "one header");
    assert(out->len + head.u.user.match_size <= XT_ENTRY_MAX);
    assert(strlen(name) < sizeof(head.u.user.name));
    memcpy(head.u.user.name, name, strlen(name));
    memset(at, 0, head.u.user.match_size);
    memcpy(at, &head, sizeof(head));
    out->len += head.u.user.match_size;
    return at + sizeof(head);
}

/* Network byte order without a function of the C library. */
static uint16_t big_endian16(uint16_t value)
{
    const uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    uint16_t out;

    memcpy(&out, bytes, sizeof(out));
    return out;
}

/* An address and its mask in the family's own width: 4 or 16 bytes each. */
static void put_prefix(enum ruleset_family family, const struct netprefix *prefix, void *addr,
                       void *mask)
{
    size_t width = family == RULESET_V4 ? 4 : 16;
    unsigned bits = ruleset_prefix_bits(family, prefix);
    uint8_t *bytes = mask;

    memcpy(addr, prefix->addr.bytes + sizeof(prefix->addr.bytes) - width, width);
    memset(mask, 0, width);
    for (unsigned i = 0; i < bits; i++)
        bytes[i / 8] |= (uint8_t)(0x80u >> (i % 8));
}

static void put_lo(char *name, unsigned char *mask)
{
    static const char lo[] = "lo";

    memcpy(name, lo, sizeof(lo));
    memset(mask, 0xff, sizeof(lo));
}

static void head_v4(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    struct ipt_entry head = {0};

    if (r->has_src)
        put_prefix(r->family, &r->src, &head.ip.src, &head.ip.smsk);
    if (r->has_dst)
        put_prefix(r->family, &r->dst, &head.ip.dst, &head.ip.dmsk);
    if (r->interface != RULESET_ANY_INTERFACE)
        put_lo(head.ip.outiface, head.ip.outiface_mask);
    if (r->interface == RULESET_NOT_LO)
        head.ip.invflags |= IPT_INV_VIA_OUT;
    head.ip.proto = r->protocol;
    if (r->is_not_protocol)
        head.ip.invflags |= IPT_INV_PROTO;
    if (r->target == RULESET_GOTO)
        head.ip.flags |= IPT_F_GOTO;
    out->len = XT_ALIGN(sizeof(head));
    memset(out->bytes, 0, out->len);
    memcpy(out->bytes, &head, sizeof(head));
}

static void head_v6(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    struct ip6t_entry head = {0};

    if (r->has_src)
        put_prefix(r->family, &r->src, &head.ipv6.src, &head.ipv6.smsk);
    if (r->has_dst)
        put_prefix(r->family, &r->dst, &head.ipv6.dst, &head.ipv6.dmsk);
    if (r->interface != RULESET_ANY_INTERFACE)
        put_lo(head.ipv6.outiface, head.ipv6.outiface_mask);
    if (r->interface == RULESET_NOT_LO)
        head.ipv6.invflags |= IP6T_INV_VIA_OUT;
    head.ipv6.proto = r->protocol;
    if (r->protocol != 0)
        head.ipv6.flags |= IP6T_F_PROTO;
    if (r->is_not_protocol)
        head.ipv6.invflags |= IP6T_INV_PROTO;
    if (r->target == RULESET_GOTO)
        head.ipv6.flags |= IP6T_F_GOTO;
    out->len = XT_ALIGN(sizeof(head));
    memset(out->bytes, 0, out->len);
    memcpy(out->bytes, &head, sizeof(head));
}

/* --- Matches, in the order in which ruleset_text writes them. */

static void match_multiport(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    struct xt_multiport_v1 *info = part_add(out, "multiport", 1, sizeof(*info));

    info->flags = XT_MULTIPORT_DESTINATION;
    for (size_t i = 0; i < r->dport_count; i++) {
        assert(info->count + 2 <= XT_MULTI_PORTS + 1);
        info->ports[info->count++] = r->dports[i].first;
        if (port_range_is_single(&r->dports[i]))
            continue;
        info->pflags[info->count - 1] = 1;
        info->ports[info->count++] = r->dports[i].last;
    }
}

static void match_tcp(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    struct xt_tcp *info = part_add(out, "tcp", 0, sizeof(*info));

    info->spts[0] = r->sport;
    info->spts[1] = r->sport != 0 ? r->sport : UINT16_MAX;
    info->dpts[0] = r->dport_count > 0 ? r->dports[0].first : 0;
    info->dpts[1] = r->dport_count > 0 ? r->dports[0].last : UINT16_MAX;
    if (r->is_not_dports)
        info->invflags |= XT_TCP_INV_DSTPT;
    if (r->is_no_reset) {
        static const uint8_t reset = 0x04;
        info->flg_mask = reset;
        info->flg_cmp = reset;
        info->invflags |= XT_TCP_INV_FLAGS;
    }
}

static void match_udp(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    struct xt_udp *info = part_add(out, "udp", 0, sizeof(*info));

    info->spts[0] = r->sport;
    info->spts[1] = r->sport != 0 ? r->sport : UINT16_MAX;
    info->dpts[0] = r->dport_count > 0 ? r->dports[0].first : 0;
    info->dpts[1] = r->dport_count > 0 ? r->dports[0].last : UINT16_MAX;
    if (r->is_not_dports)
        info->invflags |= XT_UDP_INV_DSTPT;
}

static void match_ports(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    if (r->dport_count > 1)
        match_multiport(r, out);
    else if (r->dport_count == 0 && r->sport == 0 && !r->is_no_reset)
        return;
    else if (r->protocol == IPPROTO_TCP)
        match_tcp(r, out);
    else
        match_udp(r, out);
}

/* 0 >> 24 & 0xF = 6:15: a header of more than five words. */
static void match_u32(struct xt_entry_bytes *out)
{
    struct xt_u32 *info = part_add(out, "u32", 0, sizeof(*info));
    struct xt_u32_test *test = &info->tests[0];

    info->ntests = 1;
    test->nnums = 3;
    test->location[1] = (struct xt_u32_location_element){.number = 24, .nextop = XT_U32_RIGHTSH};
    test->location[2] = (struct xt_u32_location_element){.number = 0xf, .nextop = XT_U32_AND};
    test->nvalues = 1;
    test->value[0] = (struct xt_u32_value_element){.min = 6, .max = 15};
}

static void match_ipv6header(uint8_t flags, struct xt_entry_bytes *out)
{
    struct ip6t_ipv6header_info *info = part_add(out, "ipv6header", 0, sizeof(*info));

    info->matchflags = flags;
    info->modeflag = 1; /* other headers may stand beside it */
}

static void match_header(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    switch (r->header) {
    case RULESET_NO_HEADER:
        return;
    case RULESET_IPV4_OPTIONS:
        match_u32(out);
        return;
    case RULESET_ROUTING: {
        struct ip6t_rt *info = part_add(out, "rt", 0, sizeof(*info));
        info->segsleft[1] = UINT32_MAX;
        return;
    }
    case RULESET_HOP_BY_HOP:
        match_ipv6header(MASK_HOPOPTS, out);
        return;
    case RULESET_DESTINATION_OPTIONS:
        match_ipv6header(MASK_DSTOPTS, out);
        return;
    }
    assert(false); /* a header that cannot be matched */
}

static void match_owner(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    if (r->owner == RULESET_ANY_OWNER)
        return;
    struct xt_owner_match_info *info = part_add(out, "owner", 1, sizeof(*info));
    info->match = XT_OWNER_UID;
    info->uid_min = r->uid;
    info->uid_max = r->uid;
    if (r->owner == RULESET_NO_OWNER) {
        info->uid_min = 0;
        info->uid_max = UINT32_MAX - 1;
        info->invert = XT_OWNER_UID;
    }
}

static uint16_t type_mask(enum ruleset_address_type type)
{
    switch (type) {
    case RULESET_ANY_TYPE:
        return 0;
    case RULESET_TYPE_LOCAL:
    case RULESET_TYPE_NOT_LOCAL:
        return XT_ADDRTYPE_LOCAL;
    case RULESET_TYPE_BROADCAST:
        return XT_ADDRTYPE_BROADCAST;
    case RULESET_TYPE_MULTICAST:
        return XT_ADDRTYPE_MULTICAST;
    }
    assert(false); /* an address type that cannot be matched */
    return 0;
}

static void match_addrtype(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    if (r->src_type == RULESET_ANY_TYPE && r->dst_type == RULESET_ANY_TYPE)
        return;
    struct xt_addrtype_info_v1 *info = part_add(out, "addrtype", 1, sizeof(*info));
    info->source = type_mask(r->src_type);
    info->dest = type_mask(r->dst_type);
    if (r->src_type == RULESET_TYPE_NOT_LOCAL)
        info->flags |= XT_ADDRTYPE_INVERT_SOURCE;
    if (r->dst_type == RULESET_TYPE_NOT_LOCAL)
        info->flags |= XT_ADDRTYPE_INVERT_DEST;
}

static uint16_t state_mask(uint32_t states)
{
    unsigned mask = 0;

    if (states & RULESET_STATE_INVALID)
        mask |= XT_CONNTRACK_STATE_INVALID;
    if (states & RULESET_STATE_NEW)
        mask |= XT_CONNTRACK_STATE_BIT(IP_CT_NEW);
    if (states & RULESET_STATE_ESTABLISHED)
        mask |= XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED);
    if (states & RULESET_STATE_DNAT)
        mask |= XT_CONNTRACK_STATE_DNAT;
    return (uint16_t)mask;
}

static void match_conntrack(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    unsigned flags = (r->states != 0 ? XT_CONNTRACK_STATE : 0u) |
                     (r->is_unconfirmed ? XT_CONNTRACK_STATUS : 0u) |
                     (r->has_origdst ? XT_CONNTRACK_ORIGDST : 0u) |
                     (r->origdst_ports.last != 0 ? XT_CONNTRACK_ORIGDST_PORT : 0u) |
                     (r->direction != RULESET_ANY_DIRECTION ? XT_CONNTRACK_DIRECTION : 0u);
    unsigned inverted = (r->is_not_states ? XT_CONNTRACK_STATE : 0u) |
                        (r->is_unconfirmed ? XT_CONNTRACK_STATUS : 0u) |
                        (r->direction == RULESET_REPLY ? XT_CONNTRACK_DIRECTION : 0u);

    if (flags == 0)
        return;
    struct xt_conntrack_mtinfo3 *info = part_add(out, "conntrack", 3, sizeof(*info));
    info->match_flags = (uint16_t)flags;
    info->invert_flags = (uint16_t)inverted;
    info->state_mask = state_mask(r->states);
    if (r->is_unconfirmed)
        info->status_mask = IPS_CONFIRMED;
    if (r->has_origdst)
        put_prefix(r->family, &r->origdst, &info->origdst_addr, &info->origdst_mask);
    /* Host byte order, as everywhere in revision 3. */
    info->origdst_port = r->origdst_ports.first;
    info->origdst_port_high = r->origdst_ports.last;
}

static void match_hashlimit(const struct ruleset *ruleset, const struct ruleset_rule *r,
                            struct xt_entry_bytes *out)
{
    char name[RULESET_RATE_NAME_MAX];

    if (r->above_per_second == 0)
        return;
    ruleset_rate_name(ruleset, r, name);
    struct xt_hashlimit_mtinfo3 *info = part_add(out, "hashlimit", 3, sizeof(*info));
    memcpy(info->name, name, strlen(name));
    /* No mode: one bucket for everything that the cage opens. */
    info->cfg.mode = XT_HASHLIMIT_INVERT;
    info->cfg.avg = RULESET_RATE_SCALE / r->above_per_second;
    info->cfg.burst = r->above_per_second;
    info->cfg.gc_interval = RATE_MS;
    info->cfg.expire = RATE_MS;
    info->cfg.srcmask = r->family == RULESET_V4 ? 32 : 128;
    info->cfg.dstmask = info->cfg.srcmask;
}

static void match_limit(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    if (!r->is_rated)
        return;
    struct xt_rateinfo *info = part_add(out, "limit", 0, sizeof(*info));
    info->avg = XT_LIMIT_SCALE / RULESET_LOG_PER_SECOND;
    info->burst = RULESET_LOG_BURST;
}

static void match_comment(const char *label, struct xt_entry_bytes *out)
{
    struct xt_comment_info *info = part_add(out, "comment", 0, sizeof(*info));

    memcpy(info->comment, label, strlen(label));
}

/* --- Targets */

/* ACCEPT, DROP, RETURN and chains: the verdict is libiptc's to fill in. */
static void target_standard(const char *name, struct xt_entry_bytes *out)
{
    part_add(out, name, 0, sizeof(int));
}

static void target_redirect(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    uint16_t port = big_endian16(r->port);

    if (r->family == RULESET_V4) {
        struct nf_nat_ipv4_multi_range_compat *info = part_add(out, "REDIRECT", 0, sizeof(*info));
        info->rangesize = 1;
        info->range[0].flags = NF_NAT_RANGE_PROTO_SPECIFIED;
        info->range[0].min.all = port;
        info->range[0].max.all = port;
        return;
    }
    struct nf_nat_range *info = part_add(out, "REDIRECT", 0, sizeof(*info));
    info->flags = NF_NAT_RANGE_PROTO_SPECIFIED;
    info->min_proto.all = port;
    info->max_proto.all = port;
}

static void target_reject(const struct ruleset_rule *r, struct xt_entry_bytes *out)
{
    bool is_reset = r->target == RULESET_RESET;

    if (r->family == RULESET_V4) {
        struct ipt_reject_info *info = part_add(out, "REJECT", 0, sizeof(*info));
        info->with = is_reset ? IPT_TCP_RESET : IPT_ICMP_ADMIN_PROHIBITED;
        return;
    }
    struct ip6t_reject_info *info = part_add(out, "REJECT", 0, sizeof(*info));
    info->with = is_reset ? IP6T_TCP_RESET : IP6T_ICMP6_ADM_PROHIBITED;
}

static void target_log(const struct ruleset *ruleset, const char *label, struct xt_entry_bytes *out)
{
    struct xt_nflog_info *info = part_add(out, "NFLOG", 0, sizeof(*info));

    static_assert(sizeof(info->prefix) >= RULESET_LABEL_TEXT_MAX, "a label is a prefix");
    info->group = ruleset->cage.log_group;
    memcpy(info->prefix, label, strlen(label));
}

static void target_zone(const struct ruleset *ruleset, struct xt_entry_bytes *out)
{
    struct xt_ct_target_info_v1 *info = part_add(out, "CT", 2, sizeof(*info));

    info->flags = XT_CT_ZONE_DIR_ORIG;
    info->zone = ruleset->cage.zone;
}

static void put_target(const struct ruleset *ruleset, const struct ruleset_rule *r,
                       const char *label, struct xt_entry_bytes *out)
{
    char chain[RULESET_CHAIN_TEXT_MAX];

    switch (r->target) {
    case RULESET_JUMP:
    case RULESET_GOTO:
        ruleset_chain_text(ruleset->cage.uid, r->target_chain, chain);
        target_standard(chain, out);
        return;
    case RULESET_RETURN:
        target_standard("RETURN", out);
        return;
    case RULESET_ACCEPT:
        target_standard("ACCEPT", out);
        return;
    case RULESET_DROP:
        target_standard("DROP", out);
        return;
    case RULESET_RESET:
    case RULESET_PROHIBITED:
        target_reject(r, out);
        return;
    case RULESET_REDIRECT:
        target_redirect(r, out);
        return;
    case RULESET_LOG:
        target_log(ruleset, label, out);
        return;
    case RULESET_ZONE:
        target_zone(ruleset, out);
        return;
    }
    target_standard("DROP", out);
}

/* Where the entry says that its target begins and that it ends. */
static void put_offsets(enum ruleset_family family, size_t target, struct xt_entry_bytes *out)
{
    uint16_t offsets[2] = {(uint16_t)target, (uint16_t)out->len};
    size_t at = family == RULESET_V4 ? offsetof(struct ipt_entry, target_offset)
                                     : offsetof(struct ip6t_entry, target_offset);

    memcpy(out->bytes + at, offsets, sizeof(offsets));
}

void xt_encode(const struct ruleset *ruleset, const struct ruleset_rule *rule,
               struct xt_entry_bytes *out)
{
    char label[RULESET_LABEL_TEXT_MAX];

    ruleset_label_text(ruleset, rule, label);
    if (rule->family == RULESET_V4)
        head_v4(rule, out);
    else
        head_v6(rule, out);
    match_ports(rule, out);
    match_header(rule, out);
    match_owner(rule, out);
    match_addrtype(rule, out);
    match_conntrack(rule, out);
    match_hashlimit(ruleset, rule, out);
    match_limit(rule, out);
    match_comment(label, out);
    size_t target = out->len;
    put_target(ruleset, rule, label, out);
    put_offsets(rule->family, target, out);
}
