#include "firewall/ruleset.h"

#include <assert.h>

#include "config/text.h"
#include "firewall/ruleset_builder.h"

static const char *const chain_names[RULESET_CHAINS] = {
    [RULESET_OUTPUT] = "OUTPUT",
    [RULESET_POSTROUTING] = "POSTROUTING",
    [RULESET_BASE] = "BASE",
    [RULESET_BLOCKED] = "BLOCKED",
    [RULESET_LIMIT] = "LIMIT",
    [RULESET_LOOPBACK] = "LOOPBACK",
    [RULESET_METADATA] = "METADATA",
    [RULESET_NAT_OUTPUT] = "NAT",
    [RULESET_NO_NAME] = "NONAME",
    [RULESET_NOT_ALLOWED] = "NOTALLOWED",
    [RULESET_NOT_REDIRECTED] = "NOTREDIR",
    [RULESET_ORPHAN] = "ORPHAN",
    [RULESET_PASS] = "PASS",
    [RULESET_POST] = "POST",
    [RULESET_PRIVATE] = "PRIVATE",
    [RULESET_PROXY] = "PROXY",
    [RULESET_QUIC] = "QUIC",
    [RULESET_RAW_OUTPUT] = "RAW",
    [RULESET_REFUSE] = "REFUSE",
};

static void raw_table(struct builder *b)
{
    builder_owner_jump(b, b->out->cage.uid, RULESET_RAW_OUTPUT, "cage");
    /* A refusal would carry the packet's bytes to whatever source it names. */
    struct ruleset_rule *r = builder_add(b, RULESET_RAW_OUTPUT, RULESET_DROP);
    r->reason = REASON_NOT_REDIRECTED;
    r->src_type = RULESET_TYPE_NOT_LOCAL;
    /* UDP only: TCP that no file owns any more would miss the zone, hence its translation. */
    builder_purpose(b, RULESET_RAW_OUTPUT, RULESET_ZONE, "zone")->protocol = RULESET_UDP;
}

/* By destination, whoever sent it: bound to a device after connect(), or owned by nobody. */
static void mangle_table(struct builder *b)
{
    struct netprefix lo = builder_loopback(b);
    struct ruleset_rule *r = builder_purpose(b, RULESET_POSTROUTING, RULESET_JUMP, "loopback-only");

    if (b->family == RULESET_V4) {
        static const uint8_t network[4] = {127, 0, 0, 0};
        lo = (struct netprefix){netaddr_v4(network), 8};
    }
    builder_set_dst(r, &lo);
    r->interface = RULESET_NOT_LO;
    r->target_chain = RULESET_POST;
    builder_add(b, RULESET_POST, RULESET_DROP)->reason = REASON_NOT_REDIRECTED;
}

static void redirect_add(struct builder *b, const char *purpose, uint8_t protocol, uint16_t dialled,
                         uint16_t port)
{
    struct ruleset_rule *r = builder_purpose(b, RULESET_NAT_OUTPUT, RULESET_REDIRECT, purpose);

    r->protocol = protocol;
    r->port = port;
    if (dialled != 0)
        builder_set_dport(r, protocol, dialled);
}

static void nat_allow(struct builder *b, uint8_t protocol, const struct rule *entry)
{
    struct port_range ports[PORT_RANGES_MAX + 1];
    size_t count = builder_open_ports(&entry->ports, ports);
    size_t at = 0;

    do {
        struct ruleset_rule *r = builder_purpose(b, RULESET_NAT_OUTPUT, RULESET_ACCEPT, "allow");
        r->entry = entry;
        r->protocol = protocol;
        builder_set_dst(r, &entry->prefix);
        at += builder_take_dports(r, ports + at, count - at);
    } while (at < count);
}

/* Entries that write port 53 come before DNS is redirected, the others behind. */
static void nat_allows(struct builder *b, bool is_dns)
{
    const struct rule_list *allow = &b->policy->allow;

    for (size_t i = 0; i < allow->count; i++) {
        const struct rule *entry = &allow->rules[i];
        if (!builder_is_entry(b, entry) || port_set_writes(&entry->ports, PORT_DNS) != is_dns)
            continue;
        if (entry->ports.count == 0) {
            nat_allow(b, 0, entry);
            continue;
        }
        nat_allow(b, RULESET_TCP, entry);
        nat_allow(b, RULESET_UDP, entry);
    }
}

static struct netprefix prefix_v6(uint8_t first, uint8_t second, uint8_t len)
{
    const uint8_t bytes[16] = {first, second};

    return (struct netprefix){netaddr_v6(bytes), len};
}

static void nat_chain(struct builder *b)
{
    const struct ruleset_cage *cage = &b->out->cage;

    nat_allows(b, true);
    if (b->family == RULESET_V6) {
        /* A destination with a scope cannot be led to ::1, it would wait: filter refuses it. */
        const struct netprefix scoped[] = {prefix_v6(0xfe, 0x80, 10), prefix_v6(0xff, 0, 8)};
        for (size_t i = 0; i < sizeof(scoped) / sizeof(scoped[0]); i++) {
            builder_set_dst(builder_purpose(b, RULESET_NAT_OUTPUT, RULESET_ACCEPT, "scoped"),
                            &scoped[i]);
        }
    }
    redirect_add(b, "dns", RULESET_UDP, PORT_DNS, cage->dns_port);
    redirect_add(b, "dns", RULESET_TCP, PORT_DNS, cage->dns_port);
    nat_allows(b, false);
    /* Here the dialled address can still be seen; in filter it is our own. */
    builder_refuse_mapped(b, RULESET_NAT_OUTPUT, BY_DIALLED);
    builder_block(b, RULESET_NAT_OUTPUT, BY_DIALLED);
    builder_base(b, RULESET_NAT_OUTPUT, BY_DIALLED);
    redirect_add(b, "proxy", RULESET_TCP, 0, cage->tcp_port);
}

static void nat_table(struct builder *b)
{
    builder_owner_jump(b, b->out->cage.uid, RULESET_NAT_OUTPUT, "cage");
    builder_reason_chain(b, REASON_BLOCKED);
    builder_reason_chain(b, REASON_LOOPBACK_ADDRESS);
    builder_reason_chain(b, REASON_METADATA_ADDRESS);
    nat_chain(b);
    builder_reason_chain(b, REASON_PRIVATE_ADDRESS);
}

static bool is_uid(uint32_t uid)
{
    return uid != 0 && uid != POLICY_UID_NONE;
}

struct ruleset_cage ruleset_cage_of(const struct policy *policy)
{
    const struct policy_settings *settings = &policy->settings;
    uint16_t own = (uint16_t)(policy->cage_uid % UINT16_MAX + 1);

    return (struct ruleset_cage){
        .uid = policy->cage_uid,
        .proxy_uid = policy->proxy_uid,
        .tcp_port = settings->tcp_port != 0 ? (uint16_t)settings->tcp_port : POLICY_TCP_PORT_FIRST,
        .dns_port = settings->dns_port != 0 ? (uint16_t)settings->dns_port : POLICY_DNS_PORT_FIRST,
        .zone = own,
        .log_group = own,
    };
}

bool ruleset_build(const struct policy *policy, const struct ruleset_cage *cage,
                   struct ruleset *out)
{
    struct builder b = {.out = out, .policy = policy};

    out->count = 0;
    out->cage = *cage;
    if (policy->mode == MODE_DISABLED || !is_uid(cage->uid) || !is_uid(cage->proxy_uid) ||
        cage->uid == cage->proxy_uid || cage->tcp_port == 0 || cage->dns_port == 0 ||
        cage->tcp_port == cage->dns_port || cage->zone == 0)
        return false;
    for (unsigned family = 0; family < RULESET_FAMILIES; family++) {
        b.family = (enum ruleset_family)family;
        b.table = RULESET_FILTER;
        ruleset_filter(&b);
        b.table = RULESET_RAW;
        raw_table(&b);
        b.table = RULESET_MANGLE;
        mangle_table(&b);
        b.table = RULESET_NAT;
        nat_table(&b);
    }
    return true;
}

bool ruleset_build_closed(const struct ruleset_cage *cage, struct ruleset *out)
{
    struct builder b = {.out = out};

    out->count = 0;
    out->cage = *cage;
    if (!is_uid(cage->uid) || cage->proxy_uid == 0 || cage->uid == cage->proxy_uid ||
        cage->zone == 0)
        return false;
    for (unsigned family = 0; family < RULESET_FAMILIES; family++) {
        b.family = (enum ruleset_family)family;
        b.table = RULESET_FILTER;
        ruleset_filter_closed(&b);
        b.table = RULESET_RAW;
        raw_table(&b);
        b.table = RULESET_MANGLE;
        mangle_table(&b);
    }
    return true;
}

const struct ruleset_rule *ruleset_find(const struct ruleset *ruleset, uint32_t number)
{
    if (number == 0 || number > ruleset->count || number > ruleset->cap)
        return NULL;
    return &ruleset->rules[number - 1];
}

size_t ruleset_chain_prefix(uint32_t uid, char out[RULESET_CHAIN_TEXT_MAX])
{
    struct text t = text_init(out, RULESET_CHAIN_TEXT_MAX);

    text_put(&t, "CAGE-");
    text_put_number(&t, uid);
    text_put(&t, "-");
    return t.len;
}

size_t ruleset_chain_text(uint32_t uid, enum ruleset_chain chain, char out[RULESET_CHAIN_TEXT_MAX])
{
    struct text t = text_init(out, RULESET_CHAIN_TEXT_MAX);

    assert(chain < RULESET_CHAINS);
    if (chain != RULESET_OUTPUT && chain != RULESET_POSTROUTING)
        t.len = ruleset_chain_prefix(uid, out);
    text_put(&t, chain_names[chain]);
    assert(!t.is_cut);
    return t.len;
}

size_t ruleset_label_text(const struct ruleset *ruleset, const struct ruleset_rule *rule,
                          char out[RULESET_LABEL_TEXT_MAX])
{
    struct text t = text_init(out, RULESET_LABEL_TEXT_MAX);

    text_put(&t, "cage ");
    text_put_number(&t, ruleset->cage.uid);
    text_put(&t, " #");
    text_put_number(&t, rule->number);
    text_put(&t, " ");
    text_put(&t, rule->purpose != NULL ? rule->purpose : reason_token(rule->reason));
    assert(!t.is_cut);
    return t.len;
}

size_t ruleset_rate_name(const struct ruleset *ruleset, const struct ruleset_rule *rule,
                         char out[RULESET_RATE_NAME_MAX])
{
    struct text t = text_init(out, RULESET_RATE_NAME_MAX);

    text_put(&t, "cage-");
    text_put_number(&t, ruleset->cage.uid);
    text_put(&t, "-");
    text_put_number(&t, rule->above_per_second);
    assert(!t.is_cut);
    return t.len;
}

const char *ruleset_table_text(enum ruleset_table table)
{
    switch (table) {
    case RULESET_FILTER:
        return "filter";
    case RULESET_RAW:
        return "raw";
    case RULESET_MANGLE:
        return "mangle";
    case RULESET_NAT:
        return "nat";
    }
    return "";
}

unsigned ruleset_prefix_bits(enum ruleset_family family, const struct netprefix *prefix)
{
    return prefix->len + (family == RULESET_V6 && netprefix_is_v4(prefix) ? 96u : 0u);
}
