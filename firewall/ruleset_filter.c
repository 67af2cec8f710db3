#include "firewall/ruleset_builder.h"

static void refuse_headers(struct builder *b, enum ruleset_chain chain)
{
    static const enum ruleset_header v6[] = {RULESET_ROUTING, RULESET_HOP_BY_HOP,
                                             RULESET_DESTINATION_OPTIONS};

    if (b->family == RULESET_V4) {
        builder_refuse(b, chain, REASON_NOT_REDIRECTED)->header = RULESET_IPV4_OPTIONS;
        return;
    }
    for (size_t i = 0; i < sizeof(v6) / sizeof(v6[0]); i++)
        builder_refuse(b, chain, REASON_NOT_REDIRECTED)->header = v6[i];
}

/* Our own ports are reached by redirection or not at all, whatever an entry opens. */
static void refuse_own_ports(struct builder *b, enum ruleset_chain chain, uint8_t protocol)
{
    const struct ruleset_cage *cage = &b->out->cage;
    struct ruleset_rule *r = builder_refuse(b, chain, REASON_LOOPBACK_ADDRESS);

    r->protocol = protocol;
    r->dst_type = RULESET_TYPE_LOCAL;
    r->dport_count = 2;
    r->dports[0] = (struct port_range){cage->tcp_port, cage->tcp_port};
    r->dports[1] = (struct port_range){cage->dns_port, cage->dns_port};
    if (chain == RULESET_BASE) {
        r->states = RULESET_STATE_DNAT;
        r->is_not_states = true;
    }
}

/* What nat led to a port of ours, and only as the opener of the flow. */
static void pass_redirected(struct builder *b, const char *purpose, uint8_t protocol, uint16_t port,
                            uint16_t dialled)
{
    struct netprefix lo = builder_loopback(b);
    struct ruleset_rule *r = builder_pass(b, RULESET_BASE, purpose);

    builder_set_dst(r, &lo);
    builder_set_dport(r, protocol, port);
    r->states = RULESET_STATE_DNAT;
    r->direction = RULESET_ORIGINAL;
    if (dialled != 0)
        r->origdst_ports = (struct port_range){dialled, dialled};
}

/* The cage's own servers answer clients of this machine, over lo and nobody elsewhere. */
static void pass_answers(struct builder *b)
{
    struct ruleset_rule *r = builder_pass(b, RULESET_BASE, "answer");

    r->interface = RULESET_LO;
    r->protocol = RULESET_TCP;
    r->src_type = RULESET_TYPE_LOCAL;
    r->dst_type = RULESET_TYPE_LOCAL;
    r->states = RULESET_STATE_ESTABLISHED;
    r->direction = RULESET_REPLY;
}

/* TCP and DNS that reach this point were not redirected and are opened by no entry. */
static void refuse_direct(struct builder *b)
{
    struct ruleset_rule *r = builder_add(b, RULESET_BASE, RULESET_DROP);

    /* Out of window: not translated, and a reset would end a connection that is fine. */
    r->reason = REASON_NOT_REDIRECTED;
    r->protocol = RULESET_TCP;
    r->states = RULESET_STATE_INVALID;
    builder_refuse(b, RULESET_BASE, REASON_NOT_REDIRECTED)->protocol = RULESET_TCP;
    builder_set_dport(builder_refuse(b, RULESET_BASE, REASON_NOT_REDIRECTED), RULESET_UDP,
                      PORT_DNS);
    if (b->policy->mode == MODE_ALLOWLIST || policy_has_names(b->policy))
        builder_set_dport(builder_refuse(b, RULESET_BASE, REASON_QUIC_REFUSED), RULESET_UDP,
                          PORT_QUIC);
}

/*
 * What is left: neither TCP nor DNS, to an address that nothing is held against. UDP-Lite, SCTP and
 * DCCP have ports too and would pass round every rule about 53 and 443.
 */
static void default_rules(struct builder *b)
{
    if (b->policy->mode != MODE_BLOCKLIST) {
        builder_refuse(b, RULESET_BASE, REASON_NO_NAME);
        return;
    }
    builder_refuse(b, RULESET_BASE, REASON_NOT_REDIRECTED)->states = RULESET_STATE_INVALID;
    if (b->family == RULESET_V6) {
        struct ruleset_rule *r = builder_refuse(b, RULESET_BASE, REASON_NOT_REDIRECTED);
        r->has_src = true;
        r->src = builder_loopback(b);
        r->interface = RULESET_NOT_LO;
    }
    builder_pass(b, RULESET_BASE, "default")->protocol = RULESET_UDP;
    builder_pass(b, RULESET_BASE, "default")->protocol =
        b->family == RULESET_V4 ? RULESET_ICMP : RULESET_ICMPV6;
    builder_refuse(b, RULESET_BASE, REASON_NOT_REDIRECTED);
}

static void base_chain(struct builder *b)
{
    const struct ruleset_cage *cage = &b->out->cage;

    refuse_headers(b, RULESET_BASE);
    builder_refuse_mapped(b, RULESET_BASE, BY_ORIGIN);
    builder_refuse_mapped(b, RULESET_BASE, BY_PACKET);
    refuse_own_ports(b, RULESET_BASE, RULESET_TCP);
    refuse_own_ports(b, RULESET_BASE, RULESET_UDP);
    pass_redirected(b, "dns", RULESET_UDP, cage->dns_port, PORT_DNS);
    pass_redirected(b, "dns", RULESET_TCP, cage->dns_port, PORT_DNS);
    builder_allow(b, RULESET_BASE);
    pass_answers(b);
    builder_block(b, RULESET_BASE, BY_ORIGIN);
    builder_base(b, RULESET_BASE, BY_ORIGIN);
    pass_redirected(b, "proxy", RULESET_TCP, cage->tcp_port, 0);
    refuse_direct(b);
    /* Once more by the packet: in an answer to a host that asked first, the original destination is
     * our own address. */
    builder_block(b, RULESET_BASE, BY_PACKET);
    builder_base(b, RULESET_BASE, BY_PACKET);
    default_rules(b);
}

static void proxy_answer(struct builder *b, uint8_t protocol, uint16_t port)
{
    struct ruleset_rule *r = builder_pass(b, RULESET_PROXY, "answer");

    r->has_src = true;
    r->src = builder_loopback(b);
    r->interface = RULESET_LO;
    r->protocol = protocol;
    r->sport = port;
    r->states = RULESET_STATE_ESTABLISHED;
    r->direction = RULESET_REPLY;
}

static void proxy_servers(struct builder *b, bool is_refusal)
{
    for (size_t i = 0; i < b->policy->server_count; i++) {
        const struct dns_server *server = &b->policy->servers[i];
        struct netprefix prefix = netprefix_of_addr(&server->address);
        if (!builder_is_family(b, &prefix))
            continue;
        if (is_refusal) {
            builder_set_dst(builder_refuse(b, RULESET_PROXY, REASON_NOT_ALLOWED), &prefix);
            continue;
        }
        struct ruleset_rule *r = builder_pass(b, RULESET_PROXY, "resolver");
        builder_set_dst(r, &prefix);
        builder_set_dport(r, RULESET_TCP, server->port);
        if (server->is_tls)
            continue;
        r = builder_pass(b, RULESET_PROXY, "resolver");
        builder_set_dst(r, &prefix);
        builder_set_dport(r, RULESET_UDP, server->port);
    }
}

/* The proxy's user, by destination: its packets are not translated. */
static void proxy_chain(struct builder *b)
{
    const struct ruleset_cage *cage = &b->out->cage;

    refuse_headers(b, RULESET_PROXY);
    builder_refuse_mapped(b, RULESET_PROXY, BY_PACKET);
    proxy_answer(b, RULESET_TCP, cage->tcp_port);
    proxy_answer(b, RULESET_TCP, cage->dns_port);
    proxy_answer(b, RULESET_UDP, cage->dns_port);
    proxy_servers(b, false);
    refuse_own_ports(b, RULESET_PROXY, RULESET_TCP);
    struct ruleset_rule *r = builder_refuse(b, RULESET_PROXY, REASON_NOT_ALLOWED);
    r->protocol = RULESET_TCP;
    r->is_not_protocol = true;
    builder_allow(b, RULESET_PROXY);
    proxy_servers(b, true);
    builder_block(b, RULESET_PROXY, BY_PACKET);
    builder_base(b, RULESET_PROXY, BY_PACKET);
    builder_pass(b, RULESET_PROXY, "default");
}

static void refuse_chain(struct builder *b)
{
    builder_purpose(b, RULESET_REFUSE, RULESET_RESET, "refuse")->protocol = RULESET_TCP;
    builder_purpose(b, RULESET_REFUSE, RULESET_PROHIBITED, "refuse");
}

static void pass_chain(struct builder *b)
{
    uint32_t rate = b->policy->settings.limit_new_per_second;

    if (rate > 0) {
        struct ruleset_rule *r = builder_refuse(b, RULESET_PASS, REASON_LIMIT_REACHED);
        r->states = RULESET_STATE_NEW;
        r->is_unconfirmed = true;
        r->above_per_second = rate;
    }
    builder_purpose(b, RULESET_PASS, RULESET_RETURN, "pass");
}

/*
 * Packets that no open file owns and that belong to no known connection: what a closed socket sends
 * again when its connection is forgotten. Owner, nat and original destination are blind to them.
 */
static void orphan_jump(struct builder *b)
{
    struct ruleset_rule *r = builder_purpose(b, RULESET_OUTPUT, RULESET_JUMP, "orphan");

    r->protocol = RULESET_TCP;
    r->is_no_reset = true;
    r->owner = RULESET_NO_OWNER;
    r->states = RULESET_STATE_NEW | RULESET_STATE_INVALID;
    r->target_chain = RULESET_ORPHAN;
}

/*
 * What the kernel says by itself about packets of no connection that it knows, such as that a port
 * is closed. An answer of the DNS front to a socket that is gone seems to come from whatever server
 * was asked, and the zone, which is found by owner, hides its connection: untranslated, the error
 * would leave for that server and quote what the cage asked.
 */
static void orphan_error_jump(struct builder *b)
{
    struct ruleset_rule *r = builder_purpose(b, RULESET_OUTPUT, RULESET_JUMP, "orphan");

    r->protocol = b->family == RULESET_V4 ? RULESET_ICMP : RULESET_ICMPV6;
    r->owner = RULESET_NO_OWNER;
    r->states = RULESET_STATE_INVALID;
    r->target_chain = RULESET_ORPHAN;
}

/* Never refused with an answer: the packet's owner is not known. */
static void orphan_chain(struct builder *b)
{
    builder_log(b, RULESET_ORPHAN, REASON_NOT_REDIRECTED);
    builder_add(b, RULESET_ORPHAN, RULESET_DROP)->reason = REASON_NOT_REDIRECTED;
}

void ruleset_filter(struct builder *b)
{
    builder_owner_jump(b, b->out->cage.uid, RULESET_BASE, "cage");
    builder_owner_jump(b, b->out->cage.proxy_uid, RULESET_PROXY, "proxy");
    orphan_jump(b);
    orphan_error_jump(b);
    base_chain(b);
    builder_reason_chain(b, REASON_BLOCKED);
    builder_reason_chain(b, REASON_LIMIT_REACHED);
    builder_reason_chain(b, REASON_LOOPBACK_ADDRESS);
    builder_reason_chain(b, REASON_METADATA_ADDRESS);
    builder_reason_chain(b, REASON_NO_NAME);
    builder_reason_chain(b, REASON_NOT_ALLOWED);
    builder_reason_chain(b, REASON_NOT_REDIRECTED);
    orphan_chain(b);
    pass_chain(b);
    builder_reason_chain(b, REASON_PRIVATE_ADDRESS);
    proxy_chain(b);
    builder_reason_chain(b, REASON_QUIC_REFUSED);
    refuse_chain(b);
}

void ruleset_filter_closed(struct builder *b)
{
    const struct ruleset_cage *cage = &b->out->cage;

    builder_owner_jump(b, cage->uid, RULESET_NOT_ALLOWED, "cage");
    if (cage->proxy_uid != POLICY_UID_NONE)
        builder_owner_jump(b, cage->proxy_uid, RULESET_NOT_ALLOWED, "proxy");
    orphan_jump(b);
    orphan_error_jump(b);
    builder_reason_chain(b, REASON_NOT_ALLOWED);
    orphan_chain(b);
    refuse_chain(b);
}
