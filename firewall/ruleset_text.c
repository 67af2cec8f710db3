#include "firewall/ruleset_text.h"

/*
 * An address as inet_ntop() writes it, which iptables uses: as RFC 5952 does, but with an IPv4 tail
 * wherever the first 96 bits are those of a mapped or a compatible address.
 */
static void put_address(struct text *t, enum ruleset_family family, const struct netaddr *addr)
{
    static const uint8_t zero[12] = {0};
    char text[NETADDR_TEXT_MAX];

    if (family == RULESET_V6 && netaddr_is_v4(addr)) {
        text_put(t, "::ffff:");
    } else if (family == RULESET_V6 && memcmp(addr->bytes, zero, sizeof(zero)) == 0 &&
               (addr->bytes[12] != 0 || addr->bytes[13] != 0)) {
        struct netaddr tail = netaddr_v4(netaddr_v4_bytes(addr));
        text_put(t, "::");
        netaddr_print(&tail, text);
        text_put(t, text);
        return;
    }
    netaddr_print(addr, text);
    text_put(t, text);
}

static unsigned whole(enum ruleset_family family)
{
    return family == RULESET_V4 ? 32 : 128;
}

static void put_bits(struct text *t, unsigned bits)
{
    text_put(t, "/");
    text_put_number(t, bits);
}

/* A prefix that holds every address asks nothing, and is not written. */
static void put_prefix(struct text *t, const char *option, enum ruleset_family family,
                       const struct netprefix *prefix)
{
    unsigned bits = ruleset_prefix_bits(family, prefix);

    if (bits == 0)
        return;
    text_put(t, option);
    put_address(t, family, &prefix->addr);
    put_bits(t, bits);
}

static void put_protocol(struct text *t, const struct ruleset_rule *r)
{
    if (r->protocol == 0)
        return;
    text_put(t, r->is_not_protocol ? " ! -p " : " -p ");
    switch (r->protocol) {
    case 1:
        text_put(t, "icmp");
        return;
    case 6:
        text_put(t, "tcp");
        return;
    case 17:
        text_put(t, "udp");
        return;
    case 58:
        text_put(t, "ipv6-icmp");
        return;
    default:
        text_put_number(t, r->protocol);
    }
}

static void put_range(struct text *t, const struct port_range *range)
{
    text_put_number(t, range->first);
    if (!port_range_is_single(range)) {
        text_put(t, ":");
        text_put_number(t, range->last);
    }
}

static void put_ports(struct text *t, const struct ruleset_rule *r)
{
    if (r->dport_count > 1) {
        text_put(t, " -m multiport --dports ");
        for (size_t i = 0; i < r->dport_count; i++) {
            text_put(t, i > 0 ? "," : "");
            put_range(t, &r->dports[i]);
        }
        return;
    }
    if (r->dport_count == 0 && r->sport == 0 && !r->is_no_reset)
        return;
    text_put(t, r->protocol == 6 ? " -m tcp" : " -m udp");
    if (r->sport != 0) {
        text_put(t, " --sport ");
        text_put_number(t, r->sport);
    }
    if (r->dport_count == 1) {
        text_put(t, r->is_not_dports ? " ! --dport " : " --dport ");
        put_range(t, &r->dports[0]);
    }
    if (r->is_no_reset)
        text_put(t, " ! --tcp-flags RST RST");
}

static void put_header(struct text *t, enum ruleset_header header)
{
    switch (header) {
    case RULESET_NO_HEADER:
        return;
    case RULESET_IPV4_OPTIONS:
        text_put(t, " -m u32 --u32 \"0x0>>0x18&0xf=0x6:0xf\"");
        return;
    case RULESET_ROUTING:
        text_put(t, " -m rt");
        return;
    case RULESET_HOP_BY_HOP:
        text_put(t, " -m ipv6header --header hop-by-hop --soft");
        return;
    case RULESET_DESTINATION_OPTIONS:
        text_put(t, " -m ipv6header --header ipv6-opts --soft");
        return;
    }
}

static void put_owner(struct text *t, const struct ruleset_rule *r)
{
    switch (r->owner) {
    case RULESET_ANY_OWNER:
        return;
    case RULESET_OWNER:
        text_put(t, " -m owner --uid-owner ");
        text_put_number(t, r->uid);
        return;
    case RULESET_NO_OWNER:
        text_put(t, " -m owner ! --uid-owner 0-4294967294");
        return;
    }
}

static void put_type(struct text *t, const char *side, enum ruleset_address_type type)
{
    switch (type) {
    case RULESET_ANY_TYPE:
        return;
    case RULESET_TYPE_NOT_LOCAL:
        text_put(t, " !");
        break;
    case RULESET_TYPE_LOCAL:
    case RULESET_TYPE_BROADCAST:
    case RULESET_TYPE_MULTICAST:
        break;
    }
    text_put(t, side);
    text_put(t, type == RULESET_TYPE_BROADCAST   ? "BROADCAST"
                : type == RULESET_TYPE_MULTICAST ? "MULTICAST"
                                                 : "LOCAL");
}

static void put_types(struct text *t, const struct ruleset_rule *r)
{
    if (r->src_type == RULESET_ANY_TYPE && r->dst_type == RULESET_ANY_TYPE)
        return;
    text_put(t, " -m addrtype");
    put_type(t, " --src-type ", r->src_type);
    put_type(t, " --dst-type ", r->dst_type);
}

static void put_states(struct text *t, const struct ruleset_rule *r)
{
    static const struct {
        uint32_t state;
        const char *name;
    } names[] = {
        {RULESET_STATE_INVALID, "INVALID"},
        {RULESET_STATE_NEW, "NEW"},
        {RULESET_STATE_ESTABLISHED, "ESTABLISHED"},
        {RULESET_STATE_DNAT, "DNAT"},
    };
    const char *separator = "";

    if (r->states == 0)
        return;
    text_put(t, r->is_not_states ? " ! --ctstate " : " --ctstate ");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!(r->states & names[i].state))
            continue;
        text_put(t, separator);
        text_put(t, names[i].name);
        separator = ",";
    }
}

static void put_connection(struct text *t, const struct ruleset_rule *r)
{
    if (r->states == 0 && !r->is_unconfirmed && !r->has_origdst && r->origdst_ports.last == 0 &&
        r->direction == RULESET_ANY_DIRECTION)
        return;
    text_put(t, " -m conntrack");
    put_states(t, r);
    if (r->has_origdst) {
        unsigned bits = ruleset_prefix_bits(r->family, &r->origdst);
        text_put(t, " --ctorigdst ");
        put_address(t, r->family, &r->origdst.addr);
        if (bits < whole(r->family))
            put_bits(t, bits);
    }
    if (r->is_unconfirmed)
        text_put(t, " ! --ctstatus CONFIRMED");
    if (r->origdst_ports.last != 0) {
        text_put(t, " --ctorigdstport ");
        put_range(t, &r->origdst_ports);
    }
    if (r->direction != RULESET_ANY_DIRECTION)
        text_put(t, r->direction == RULESET_ORIGINAL ? " --ctdir ORIGINAL" : " --ctdir REPLY");
}

static void put_rates(struct text *t, const struct ruleset *ruleset, const struct ruleset_rule *r)
{
    if (r->above_per_second > 0) {
        char name[RULESET_RATE_NAME_MAX];
        ruleset_rate_name(ruleset, r, name);
        text_put(t, " -m hashlimit --hashlimit-above ");
        text_put_number(t, RULESET_RATE_SCALE / (RULESET_RATE_SCALE / r->above_per_second));
        text_put(t, "/sec --hashlimit-burst ");
        text_put_number(t, r->above_per_second);
        text_put(t, " --hashlimit-name ");
        text_put(t, name);
    }
    if (r->is_rated) {
        text_put(t, " -m limit --limit ");
        text_put_number(t, RULESET_LOG_PER_SECOND);
        text_put(t, "/sec --limit-burst ");
        text_put_number(t, RULESET_LOG_BURST);
    }
}

static void put_chain(struct text *t, uint32_t uid, enum ruleset_chain chain)
{
    char name[RULESET_CHAIN_TEXT_MAX];

    ruleset_chain_text(uid, chain, name);
    text_put(t, name);
}

static void put_target(struct text *t, const struct ruleset *ruleset, const struct ruleset_rule *r,
                       const char *label)
{
    const struct ruleset_cage *cage = &ruleset->cage;

    switch (r->target) {
    case RULESET_JUMP:
    case RULESET_GOTO:
        text_put(t, r->target == RULESET_JUMP ? " -j " : " -g ");
        put_chain(t, cage->uid, r->target_chain);
        return;
    case RULESET_RETURN:
        text_put(t, " -j RETURN");
        return;
    case RULESET_ACCEPT:
        text_put(t, " -j ACCEPT");
        return;
    case RULESET_DROP:
        text_put(t, " -j DROP");
        return;
    case RULESET_RESET:
        text_put(t, " -j REJECT --reject-with tcp-reset");
        return;
    case RULESET_PROHIBITED:
        text_put(t, " -j REJECT --reject-with ");
        text_put(t, r->family == RULESET_V4 ? "icmp-admin-prohibited" : "icmp6-adm-prohibited");
        return;
    case RULESET_REDIRECT:
        text_put(t, " -j REDIRECT --to-ports ");
        text_put_number(t, r->port);
        return;
    case RULESET_LOG:
        text_put(t, " -j NFLOG --nflog-prefix \"");
        text_put(t, label);
        text_put(t, "\" --nflog-group ");
        text_put_number(t, cage->log_group);
        return;
    case RULESET_ZONE:
        text_put(t, " -j CT --zone-orig ");
        text_put_number(t, cage->zone);
        return;
    }
}

void ruleset_rule_text(const struct ruleset *ruleset, const struct ruleset_rule *rule,
                       struct text *out)
{
    char label[RULESET_LABEL_TEXT_MAX];

    ruleset_label_text(ruleset, rule, label);
    if (rule->has_src)
        put_prefix(out, " -s ", rule->family, &rule->src);
    if (rule->has_dst)
        put_prefix(out, " -d ", rule->family, &rule->dst);
    if (rule->interface != RULESET_ANY_INTERFACE)
        text_put(out, rule->interface == RULESET_LO ? " -o lo" : " ! -o lo");
    put_protocol(out, rule);
    put_ports(out, rule);
    put_header(out, rule->header);
    put_owner(out, rule);
    put_types(out, rule);
    put_connection(out, rule);
    put_rates(out, ruleset, rule);
    text_put(out, " -m comment --comment \"");
    text_put(out, label);
    text_put(out, "\"");
    put_target(out, ruleset, rule, label);
}

/* Where the next rule of a chain of the kernel's goes: they follow each other in the array. */
static void put_place(struct text *t, const struct ruleset *ruleset,
                      const struct ruleset_rule *rule, unsigned place)
{
    bool is_kernels = rule->chain == RULESET_OUTPUT || rule->chain == RULESET_POSTROUTING;

    text_put(t, is_kernels ? "-I " : "-A ");
    put_chain(t, ruleset->cage.uid, rule->chain);
    if (is_kernels) {
        text_put(t, " ");
        text_put_number(t, place);
    }
}

struct output {
    void (*put)(void *context, struct span line);
    void *context;
};

static void output_line(const struct output *to, struct text *t)
{
    text_put(t, "\n");
    to->put(to->context, text_span(t));
    t->len = 0;
}

static void output_table(const struct output *to, const struct ruleset *ruleset, size_t from,
                         size_t end)
{
    char line[RULESET_LINE_MAX];
    struct text t = TEXT_OF(line);
    unsigned place = 0;

    text_put(&t, "*");
    text_put(&t, ruleset_table_text(ruleset->rules[from].table));
    output_line(to, &t);
    for (size_t i = from; i < end; i++) {
        enum ruleset_chain chain = ruleset->rules[i].chain;
        if (chain == RULESET_OUTPUT || chain == RULESET_POSTROUTING ||
            (i > from && ruleset->rules[i - 1].chain == chain))
            continue;
        text_put(&t, ":");
        put_chain(&t, ruleset->cage.uid, chain);
        text_put(&t, " - [0:0]");
        output_line(to, &t);
    }
    for (size_t i = from; i < end; i++) {
        place = i > from && ruleset->rules[i - 1].chain == ruleset->rules[i].chain ? place + 1 : 1;
        put_place(&t, ruleset, &ruleset->rules[i], place);
        ruleset_rule_text(ruleset, &ruleset->rules[i], &t);
        output_line(to, &t);
    }
    text_put(&t, "COMMIT");
    output_line(to, &t);
}

void ruleset_text(const struct ruleset *ruleset, enum ruleset_family family,
                  void (*put)(void *context, struct span line), void *context)
{
    const struct output to = {put, context};
    size_t count = ruleset->count < ruleset->cap ? ruleset->count : ruleset->cap;

    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && ruleset->rules[end].family == ruleset->rules[i].family &&
               ruleset->rules[end].table == ruleset->rules[i].table)
            end++;
        if (ruleset->rules[i].family == family)
            output_table(&to, ruleset, i, end);
        i = end;
    }
}
