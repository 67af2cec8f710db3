#include "firewall/ruleset.h"

#include "config/matcher.h"
#include "tests/lib/policies.h"
#include "tests/lib/unit.h"

enum { CAGE_UID = 4242, PROXY_UID = 4243, TCP_PORT = 15080, DNS_PORT = 15053 };
enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58, SCTP = 132, UDPLITE = 136 };

static struct ruleset build(const struct policy *policy)
{
    struct ruleset_cage cage = ruleset_cage_of(policy);
    struct ruleset out = {0};

    assert_true(ruleset_build(policy, &cage, &out));
    out.cap = out.count;
    out.rules = calloc(out.cap, sizeof(*out.rules));
    assert_non_null(out.rules);
    assert_true(ruleset_build(policy, &cage, &out));
    assert_int_equal(out.count, out.cap);
    return out;
}

static struct ruleset build_closed(const struct ruleset_cage *cage)
{
    struct ruleset out = {0};

    assert_true(ruleset_build_closed(cage, &out));
    out.cap = out.count;
    out.rules = calloc(out.cap, sizeof(*out.rules));
    assert_non_null(out.rules);
    assert_true(ruleset_build_closed(cage, &out));
    return out;
}

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr;

    if (!netaddr_parse(span_of_text(text), &addr))
        fail_msg("%s is no address", text);
    return addr;
}

/* --- A small interpreter of rules: what the kernel would do with one packet. */

struct packet {
    uint32_t uid;
    bool is_orphan;
    uint8_t protocol;
    struct netaddr src;
    struct netaddr dst;
    uint16_t sport;
    uint16_t dport;
    bool is_out_lo; /* by the route that the sender saw; translation does not change it in filter */
    bool is_bound;  /* to a device: it stays there */
    bool is_src_local;
    bool is_dst_local;
    bool is_reset;
    enum ruleset_header header;
    bool is_tracked;
    uint32_t states;
    bool is_confirmed;
    bool is_reply;
    struct netaddr origdst;
    uint16_t origdst_port;
    bool is_above_rate;
};

enum fate { FATE_ON, FATE_PASS, FATE_DROP, FATE_RESET, FATE_PROHIBITED };

/* What happened on the way. */
struct trace {
    const struct ruleset *rules;
    struct packet packet;
    enum reason reason; /* of the rule that sent it to its refusal */
    unsigned logged;
    enum reason log_reason;
    struct netaddr log_dst;
    bool is_redirected;
    bool is_zoned;
};

static bool is_in(const struct ruleset_rule *r, const struct netprefix *prefix,
                  const struct netaddr *addr)
{
    bool is_v4 = r->family == RULESET_V4;

    /* No packet of these tests is a mapped one on the wire. */
    return netprefix_is_v4(prefix) == is_v4 && netprefix_contains(prefix, addr);
}

static bool has_port(const struct ruleset_rule *r, uint16_t port)
{
    bool is_found = r->dport_count == 0;

    for (size_t i = 0; i < r->dport_count; i++)
        is_found = is_found || (r->dports[i].first <= port && port <= r->dports[i].last);
    return r->is_not_dports ? !is_found : is_found;
}

static bool is_type(enum ruleset_address_type type, bool is_local, const struct netaddr *addr)
{
    switch (type) {
    case RULESET_ANY_TYPE:
        return true;
    case RULESET_TYPE_LOCAL:
        return is_local;
    case RULESET_TYPE_NOT_LOCAL:
        return !is_local;
    case RULESET_TYPE_BROADCAST:
        return false;
    case RULESET_TYPE_MULTICAST:
        return !netaddr_is_v4(addr) && addr->bytes[0] == 0xff;
    }
    return false;
}

/* As xt_conntrack does it: without a connection only the state is asked. */
static bool is_connection(const struct ruleset_rule *r, const struct packet *p)
{
    uint32_t states = p->is_tracked ? p->states : RULESET_STATE_INVALID;

    if (r->states != 0 && ((states & r->states) != 0) == r->is_not_states)
        return false;
    bool is_asking = r->is_unconfirmed || r->has_origdst || r->origdst_ports.last != 0 ||
                     r->direction != RULESET_ANY_DIRECTION;
    if (!is_asking)
        return true;
    if (!p->is_tracked)
        return r->states != 0;
    return !(r->is_unconfirmed && p->is_confirmed) &&
           !(r->has_origdst && !is_in(r, &r->origdst, &p->origdst)) &&
           !(r->origdst_ports.last != 0 && (p->origdst_port < r->origdst_ports.first ||
                                            p->origdst_port > r->origdst_ports.last)) &&
           !(r->direction == RULESET_ORIGINAL && p->is_reply) &&
           !(r->direction == RULESET_REPLY && !p->is_reply);
}

static bool is_match(const struct ruleset_rule *r, const struct packet *p)
{
    if (r->has_src && !is_in(r, &r->src, &p->src))
        return false;
    if (r->has_dst && !is_in(r, &r->dst, &p->dst))
        return false;
    if (r->interface != RULESET_ANY_INTERFACE && (r->interface == RULESET_LO) != p->is_out_lo)
        return false;
    if (r->protocol != 0 && (r->protocol == p->protocol) == r->is_not_protocol)
        return false;
    if ((r->sport != 0 && r->sport != p->sport) || !has_port(r, p->dport))
        return false;
    if ((r->is_no_reset && p->is_reset) ||
        (r->header != RULESET_NO_HEADER && r->header != p->header))
        return false;
    if ((r->owner == RULESET_OWNER && (p->is_orphan || p->uid != r->uid)) ||
        (r->owner == RULESET_NO_OWNER && !p->is_orphan))
        return false;
    if (r->above_per_second > 0 && !p->is_above_rate)
        return false;
    return is_type(r->src_type, p->is_src_local, &p->src) &&
           is_type(r->dst_type, p->is_dst_local, &p->dst) && is_connection(r, p);
}

static void redirect(struct trace *t, uint16_t port)
{
    struct packet *p = &t->packet;
    struct netaddr lo = addr_of(netaddr_is_v4(&p->dst) ? "127.0.0.1" : "::1");

    if (!netaddr_equal(&lo, &p->dst) || p->dport != port)
        p->states |= RULESET_STATE_DNAT;
    p->dst = lo;
    p->dport = port;
    p->is_dst_local = true;
    t->is_redirected = true;
}

static enum fate walk(struct trace *t, enum ruleset_table table, enum ruleset_chain chain);

static enum fate apply(struct trace *t, const struct ruleset_rule *r)
{
    switch (r->target) {
    case RULESET_JUMP:
        return walk(t, r->table, r->target_chain);
    case RULESET_GOTO: {
        if (r->reason != REASON_ALLOWED)
            t->reason = r->reason;
        enum fate fate = walk(t, r->table, r->target_chain);
        return fate == FATE_ON ? FATE_PASS : fate;
    }
    case RULESET_RETURN:
    case RULESET_ACCEPT:
        return FATE_PASS;
    case RULESET_DROP:
        t->reason = r->reason;
        return FATE_DROP;
    case RULESET_RESET:
        return FATE_RESET;
    case RULESET_PROHIBITED:
        return FATE_PROHIBITED;
    case RULESET_REDIRECT:
        redirect(t, r->port);
        return FATE_PASS;
    case RULESET_LOG:
        t->logged++;
        t->log_reason = r->reason;
        t->log_dst = t->packet.dst;
        return FATE_ON;
    case RULESET_ZONE:
        t->is_zoned = true;
        return FATE_PASS;
    }
    return FATE_DROP;
}

/* One chain. A RETURN inside of a jumped-to chain goes on behind the jump: FATE_PASS ends there. */
static enum fate walk(struct trace *t, enum ruleset_table table, enum ruleset_chain chain)
{
    bool is_kernels = chain == RULESET_OUTPUT || chain == RULESET_POSTROUTING;
    enum ruleset_family family = netaddr_is_v4(&t->packet.dst) ? RULESET_V4 : RULESET_V6;

    for (size_t i = 0; i < t->rules->count; i++) {
        const struct ruleset_rule *r = &t->rules->rules[i];
        if (r->family != family || r->table != table || r->chain != chain ||
            !is_match(r, &t->packet))
            continue;
        enum fate fate = apply(t, r);
        if (fate == FATE_PASS && is_kernels && table != RULESET_NAT)
            continue;
        if (fate != FATE_ON)
            return fate;
    }
    return FATE_ON;
}

static enum fate leave(struct trace *t)
{
    if (t->is_redirected && !t->packet.is_bound)
        t->packet.is_out_lo = true;
    return walk(t, RULESET_MANGLE, RULESET_POSTROUTING) == FATE_ON ? FATE_PASS : FATE_DROP;
}

/* A new flow, through all tables in the order of the hooks. */
static enum fate send_packet(struct trace *t)
{
    static const enum ruleset_table order[] = {RULESET_RAW, RULESET_NAT, RULESET_FILTER};

    for (size_t i = 0; i < 3; i++) {
        enum fate fate = walk(t, order[i], RULESET_OUTPUT);
        if (fate != FATE_ON && fate != FATE_PASS)
            return fate;
    }
    return leave(t);
}

static struct packet new_flow(const struct policy *policy, uint32_t uid, uint8_t protocol,
                              const char *dst, uint16_t port)
{
    struct netaddr addr = addr_of(dst);
    bool is_local =
        policy_is_local(policy, &addr) || (netaddr_classes(&addr) & NETADDR_LOOPBACK) != 0;

    return (struct packet){
        .uid = uid,
        .protocol = protocol,
        .src = addr_of(netaddr_is_v4(&addr) ? "203.0.113.1" : "2001:db8::1"),
        .dst = addr,
        .sport = 40000,
        .dport = port,
        .is_out_lo = is_local,
        .is_src_local = true,
        .is_dst_local = is_local,
        .is_tracked = true,
        .states = RULESET_STATE_NEW,
        .origdst = addr,
        .origdst_port = port,
    };
}

/* --- Against the matcher, which is what everything else asks. */

static const char *const entries[] = {
    "203.0.113.11:9000",   "203.0.113.0/24:443",     "10.0.0.5:80,443,8000-8100",
    "10.0.0.0/8",          "127.0.0.1:5432",         "203.0.113.1:80",
    "198.51.100.7",        "198.51.100.8:53",        "198.51.100.9:50-60",
    "169.254.169.254:80",  "0.0.0.0/0:22",           "198.51.100.0/24",
    "[2001:db8:1::5]:443", "2001:db8:1::/48",        "fd00::/8:5000-6000",
    "[::1]:5432",          "[2001:db8:1::9]:53,443", "::/0:22",
    "[fe80::1]:80",        "203.0.113.77",
};

static const char *const addresses[] = {
    "203.0.113.11",
    "203.0.113.12",
    "10.0.0.5",
    "10.1.2.3",
    "127.0.0.1",
    "127.8.8.8",
    "203.0.113.1",
    "10.99.0.1",
    "198.51.100.7",
    "198.51.100.8",
    "198.51.100.9",
    "169.254.169.254",
    "100.100.100.200",
    "100.64.0.1",
    "192.0.0.192",
    "168.63.129.16",
    "224.0.0.251",
    "255.255.255.255",
    "8.8.8.8",
    "203.0.113.53",
    "203.0.113.77",
    "2001:db8:1::5",
    "2001:db8:1::6",
    "2001:db8:1::9",
    "fd00::5",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::fb",
    "::1",
    "2001:db8::1",
    "2606:4700::1",
    "2002:a00:1::1",
    "64:ff9b::808:808",
    "64:ff9b::a9fe:a9fe",
    "2001:0:808:808::1",
    "::8.8.8.8",
};

static const uint16_t ports[] = {22,   53,   80,   443,  5432, 8000, 8050,
                                 8100, 8101, 9000, 5353, 55,   5500, 15080};

static const char *pick(const char *const *from, size_t count, uint64_t *random)
{
    return from[test_random(random) % count];
}

static void random_policy(struct policy *policy, uint64_t *random)
{
    const char *allow[5] = {0};
    const char *block[5] = {0};
    const size_t count = sizeof(entries) / sizeof(entries[0]);

    for (size_t i = 0; i < test_random(random) % 4; i++)
        allow[i] = pick(entries, count, random);
    for (size_t i = 0; i < test_random(random) % 4; i++)
        block[i] = test_random(random) % 8 == 0 ? "evil.example" : pick(entries, count, random);
    policy_for_test(policy, test_random(random) % 2 ? MODE_ALLOWLIST : MODE_BLOCKLIST, allow,
                    block);
    policy->settings.base_metadata = test_random(random) % 4 != 0;
    policy->settings.base_private = test_random(random) % 4 != 0;
}

static bool is_hiding(const struct netaddr *addr)
{
    return !netaddr_is_v4(addr) && addr->bytes[0] < 0xfc &&
           (netaddr_classes(addr) & NETADDR_PRIVATE);
}

static bool is_address_reason(enum reason reason)
{
    return reason == REASON_BLOCKED || reason == REASON_METADATA_ADDRESS ||
           reason == REASON_LOOPBACK_ADDRESS || reason == REASON_PRIVATE_ADDRESS;
}

struct question {
    const struct policy *policy;
    const struct ruleset *rules;
    struct verdict verdict;
    const char *address;
    uint16_t port;
    const char *protocol;
};

static void wrong(const struct question *q, const struct trace *t, enum fate fate)
{
    fail_msg("%s %s %s:%u: matcher says %s, the rules: fate %d, %s%s",
             network_mode_text(q->policy->mode), q->protocol, q->address, q->port,
             reason_token(q->verdict.reason), (int)fate, reason_token(t->reason),
             t->is_redirected ? ", redirected" : "");
}

/* It was refused, at once, with this reason and exactly one line for the log that names the
 * address. */
static void expect_refusal(const struct question *q, const struct trace *t, enum fate fate,
                           enum reason reason)
{
    struct netaddr addr = addr_of(q->address);
    bool is_tcp = t->packet.protocol == TCP;

    if (fate != (is_tcp ? FATE_RESET : FATE_PROHIBITED))
        wrong(q, t, fate);
    if (is_hiding(&addr) && is_address_reason(reason) && reason != REASON_BLOCKED)
        return; /* the class of the hidden address is not seen in the kernel */
    if (t->reason != reason || t->logged != 1 || t->log_reason != reason ||
        !netaddr_equal(&t->log_dst, &addr))
        wrong(q, t, fate);
}

static void expect_pass(const struct question *q, const struct trace *t, enum fate fate,
                        bool is_redirected, uint16_t port)
{
    if (fate != FATE_PASS || t->is_redirected != is_redirected || t->logged != 0 ||
        t->packet.dport != port)
        wrong(q, t, fate);
}

static bool is_scoped(const struct netaddr *addr)
{
    return !netaddr_is_v4(addr) && (addr->bytes[0] == 0xff || (addr->bytes[0] == 0xfe));
}

static void ask_cage(struct question *q, uint8_t protocol)
{
    struct netaddr addr = addr_of(q->address);
    struct trace t = {.rules = q->rules,
                      .packet = new_flow(q->policy, CAGE_UID, protocol, q->address, q->port)};
    enum fate fate = send_packet(&t);
    bool is_allowed = q->verdict.kind == VERDICT_ALLOW;

    q->protocol = protocol == TCP ? "tcp" : "udp";
    assert_int_equal(t.is_zoned, protocol == UDP);
    if (is_allowed && q->verdict.rule != NULL) {
        expect_pass(q, &t, fate, false, q->port);
    } else if (q->port == 53 && is_scoped(&addr)) {
        if (fate == FATE_PASS)
            wrong(q, &t, fate);
    } else if (q->port == 53) {
        expect_pass(q, &t, fate, true, DNS_PORT);
    } else if (!is_allowed && is_address_reason(q->verdict.reason)) {
        expect_refusal(q, &t, fate, q->verdict.reason);
    } else if (protocol == TCP && is_scoped(&addr)) {
        expect_refusal(q, &t, fate, REASON_NOT_REDIRECTED);
    } else if (protocol == TCP) {
        expect_pass(q, &t, fate, true, TCP_PORT);
    } else if (is_allowed) {
        expect_pass(q, &t, fate, false, q->port);
    } else {
        expect_refusal(q, &t, fate, q->verdict.reason);
    }
}

static void ask_proxy(struct question *q, uint8_t protocol)
{
    struct netaddr addr = addr_of(q->address);
    struct trace t = {.rules = q->rules,
                      .packet = new_flow(q->policy, PROXY_UID, protocol, q->address, q->port)};
    enum fate fate = send_packet(&t);
    bool is_server = netaddr_equal(&addr, &q->policy->servers[0].address);

    q->protocol = protocol == TCP ? "proxy's tcp" : "proxy's udp";
    if (is_server && q->port == 53)
        expect_pass(q, &t, fate, false, 53);
    else if (protocol == UDP)
        expect_refusal(q, &t, fate, REASON_NOT_ALLOWED);
    else if (q->verdict.kind == VERDICT_ALLOW && q->verdict.rule != NULL)
        expect_pass(q, &t, fate, false, q->port);
    else if (is_server)
        expect_refusal(q, &t, fate, REASON_NOT_ALLOWED);
    else if (q->verdict.kind == VERDICT_DENY && is_address_reason(q->verdict.reason))
        expect_refusal(q, &t, fate, q->verdict.reason);
    else
        expect_pass(q, &t, fate, false, q->port);
}

static void agrees_with_the_matcher(void **state)
{
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct policy policy;
        random_policy(&policy, &random);
        struct ruleset rules = build(&policy);
        struct matcher *m = matcher_compile(&policy);
        assert_non_null(m);
        for (size_t i = 0; i < 300; i++) {
            const char *text = pick(addresses, sizeof(addresses) / sizeof(addresses[0]), &random);
            uint16_t port = ports[test_random(&random) % (sizeof(ports) / sizeof(ports[0]))];
            struct netaddr addr = addr_of(text);
            bool is_udp = test_random(&random) % 2;
            struct destination where = {NULL, &addr, port, is_udp ? PROTOCOL_UDP : PROTOCOL_TCP};
            bool is_local =
                policy_is_local(&policy, &addr) || netaddr_classes(&addr) & NETADDR_LOOPBACK;
            if (port == TCP_PORT && is_local)
                continue; /* a case of its own */
            if (is_hiding(&addr) && policy.settings.base_metadata && !policy.settings.base_private)
                continue; /* the kernel refuses what may hide a metadata address */
            struct question q = {&policy, &rules, matcher_judge(m, &where), text, port, NULL};
            ask_cage(&q, is_udp ? UDP : TCP);
            ask_proxy(&q, is_udp ? UDP : TCP);
        }
        matcher_unref(m);
        free(rules.rules);
        policy_fini(&policy);
    }
}

/* --- Single cases */

struct row {
    enum network_mode mode;
    uint8_t protocol;
    const char *address;
    uint16_t port;
    enum fate fate;
    enum reason reason;
};

static const char *const allow_some[] = {"203.0.113.11:9000", "127.0.0.1", "::/0", NULL};
static const char *const block_some[] = {"203.0.113.12", "evil.example", NULL};

static struct trace try_row(const struct row *row, const struct ruleset *rules,
                            const struct policy *policy, enum fate *fate)
{
    struct trace t = {.rules = rules,
                      .packet = new_flow(policy, CAGE_UID, row->protocol, row->address, row->port),
                      .reason = REASON_ALLOWED};

    *fate = send_packet(&t);
    return t;
}

static void other_traffic(void **state)
{
    static const struct row rows[] = {
        {MODE_ALLOWLIST, ICMP, "8.8.8.8", 0, FATE_PROHIBITED, REASON_NO_NAME},
        {MODE_ALLOWLIST, ICMP, "203.0.113.11", 0, FATE_PROHIBITED, REASON_NO_NAME},
        {MODE_BLOCKLIST, ICMP, "8.8.8.8", 0, FATE_PASS, REASON_ALLOWED},
        {MODE_BLOCKLIST, ICMP, "203.0.113.12", 0, FATE_PROHIBITED, REASON_BLOCKED},
        {MODE_BLOCKLIST, ICMP, "10.0.0.1", 0, FATE_PROHIBITED, REASON_PRIVATE_ADDRESS},
        {MODE_BLOCKLIST, UDPLITE, "8.8.8.8", 53, FATE_PROHIBITED, REASON_NOT_REDIRECTED},
        {MODE_ALLOWLIST, UDPLITE, "203.0.113.11", 9000, FATE_PROHIBITED, REASON_NO_NAME},
        {MODE_BLOCKLIST, SCTP, "8.8.8.8", 80, FATE_PROHIBITED, REASON_NOT_REDIRECTED},
        {MODE_BLOCKLIST, UDP, "8.8.8.8", 443, FATE_PROHIBITED, REASON_QUIC_REFUSED},
        {MODE_ALLOWLIST, UDP, "8.8.8.8", 443, FATE_PROHIBITED, REASON_QUIC_REFUSED},
        {MODE_BLOCKLIST, UDP, "8.8.8.8", 444, FATE_PASS, REASON_ALLOWED},
        {MODE_BLOCKLIST, UDP, "127.0.0.1", 8125, FATE_PASS, REASON_ALLOWED},
        /* Our own ports, whatever an entry opens. */
        {MODE_ALLOWLIST, TCP, "127.0.0.1", 15080, FATE_RESET, REASON_LOOPBACK_ADDRESS},
        {MODE_ALLOWLIST, UDP, "127.0.0.1", 15053, FATE_PROHIBITED, REASON_LOOPBACK_ADDRESS},
        {MODE_BLOCKLIST, UDP, "203.0.113.1", 15053, FATE_PROHIBITED, REASON_LOOPBACK_ADDRESS},
        {MODE_BLOCKLIST, TCP, "127.0.0.1", 15053, FATE_RESET, REASON_LOOPBACK_ADDRESS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct policy policy;
        enum fate fate;
        policy_for_test(&policy, row->mode, allow_some, block_some);
        struct ruleset rules = build(&policy);
        struct trace t = try_row(row, &rules, &policy, &fate);
        if (fate != row->fate || t.reason != row->reason)
            fail_msg("row %zu: fate %d, %s", i, (int)fate, reason_token(t.reason));
        free(rules.rules);
        policy_fini(&policy);
    }
}

/* A packet that is not simply a new flow, made from one by `change`. */
struct odd_row {
    const char *what;
    enum network_mode mode;
    uint8_t protocol;
    const char *address;
    uint16_t port;
    void (*change)(struct packet *p);
    enum fate fate;
    enum reason reason;
};

static void no_nat(struct packet *p)
{
    /* An entry of somebody else's: nat is not asked, the packet goes out as it is. */
    p->states = RULESET_STATE_ESTABLISHED;
}

static void invalid(struct packet *p)
{
    p->is_tracked = false;
}

static void from_asker(struct packet *p)
{
    p->is_reply = true;
    p->states = RULESET_STATE_ESTABLISHED;
    p->origdst = p->src;
    p->origdst_port = p->sport;
}

static void options(struct packet *p)
{
    p->header = netaddr_is_v4(&p->dst) ? RULESET_IPV4_OPTIONS : RULESET_ROUTING;
}

static void foreign_source(struct packet *p)
{
    p->is_src_local = false;
}

static void orphan(struct packet *p)
{
    p->is_orphan = true;
}

static void orphan_reset(struct packet *p)
{
    p->is_orphan = true;
    p->is_reset = true;
}

/* The kernel's own, about a packet whose connection lies in a zone. */
static void error_untracked(struct packet *p)
{
    p->is_orphan = true;
    p->is_tracked = false;
}

static void too_fast(struct packet *p)
{
    p->is_above_rate = true;
}

static void fast_but_known(struct packet *p)
{
    p->is_above_rate = true;
    p->is_confirmed = true;
}

static void from_loopback(struct packet *p)
{
    p->src = addr_of(netaddr_is_v4(&p->dst) ? "127.0.0.1" : "::1");
}

static void bound_to_device(struct packet *p)
{
    p->is_bound = true;
}

/* Filter only when nat has no say: `change` made the packet one of a connection that exists. */
static enum fate send_known(struct trace *t)
{
    if (t->packet.states == RULESET_STATE_NEW && t->packet.is_tracked)
        return send_packet(t);
    enum fate fate = walk(t, RULESET_RAW, RULESET_OUTPUT);
    if (fate == FATE_DROP)
        return fate;
    fate = walk(t, RULESET_FILTER, RULESET_OUTPUT);
    if (fate != FATE_ON && fate != FATE_PASS)
        return fate;
    return leave(t);
}

static void odd_packets(void **state)
{
    static const char *const allow[] = {"203.0.113.11:9000", NULL};
    static const char *const block[] = {"203.0.113.12", NULL};
    static const struct odd_row rows[] = {
        {"TCP of a foreign connection", MODE_BLOCKLIST, TCP, "8.8.8.8", 80, no_nat, FATE_RESET,
         REASON_NOT_REDIRECTED},
        {"DNS of a foreign connection", MODE_BLOCKLIST, UDP, "8.8.8.8", 53, no_nat, FATE_PROHIBITED,
         REASON_NOT_REDIRECTED},
        {"TCP out of window", MODE_ALLOWLIST, TCP, "8.8.8.8", 80, invalid, FATE_DROP,
         REASON_NOT_REDIRECTED},
        {"UDP that is not tracked", MODE_BLOCKLIST, UDP, "8.8.8.8", 80, invalid, FATE_PROHIBITED,
         REASON_NOT_REDIRECTED},
        {"UDP that is not tracked, private", MODE_BLOCKLIST, UDP, "10.0.0.5", 80, invalid,
         FATE_PROHIBITED, REASON_PRIVATE_ADDRESS},
        {"answer to a private asker", MODE_BLOCKLIST, UDP, "10.0.0.5", 80, from_asker,
         FATE_PROHIBITED, REASON_PRIVATE_ADDRESS},
        {"answer to a blocked asker", MODE_BLOCKLIST, UDP, "203.0.113.12", 80, from_asker,
         FATE_PROHIBITED, REASON_BLOCKED},
        {"answer to a metadata asker", MODE_BLOCKLIST, UDP, "169.254.169.254", 80, from_asker,
         FATE_PROHIBITED, REASON_METADATA_ADDRESS},
        {"answer to a public asker", MODE_BLOCKLIST, UDP, "8.8.8.8", 80, from_asker, FATE_PASS,
         REASON_ALLOWED},
        {"answer to an allowed asker", MODE_ALLOWLIST, UDP, "203.0.113.11", 9000, from_asker,
         FATE_PROHIBITED, REASON_NO_NAME},
        {"answer of a server to a local client", MODE_ALLOWLIST, TCP, "127.0.0.1", 40000,
         from_asker, FATE_PASS, REASON_ALLOWED},
        {"answer of a server to a local client", MODE_ALLOWLIST, TCP, "203.0.113.1", 40000,
         from_asker, FATE_PASS, REASON_ALLOWED},
        {"answer of a server to somebody elsewhere", MODE_BLOCKLIST, TCP, "8.8.8.8", 40000,
         from_asker, FATE_RESET, REASON_NOT_REDIRECTED},
        {"IP options", MODE_BLOCKLIST, UDP, "8.8.8.8", 80, options, FATE_PROHIBITED,
         REASON_NOT_REDIRECTED},
        {"IP options to an allowed address", MODE_ALLOWLIST, UDP, "203.0.113.11", 9000, options,
         FATE_PROHIBITED, REASON_NOT_REDIRECTED},
        {"routing header", MODE_BLOCKLIST, UDP, "2606:4700::1", 80, options, FATE_PROHIBITED,
         REASON_NOT_REDIRECTED},
        {"foreign source", MODE_BLOCKLIST, UDP, "2606:4700::1", 80, foreign_source, FATE_DROP,
         REASON_NOT_REDIRECTED},
        {"orphan", MODE_BLOCKLIST, TCP, "8.8.8.8", 80, orphan, FATE_DROP, REASON_NOT_REDIRECTED},
        {"orphan's reset", MODE_BLOCKLIST, TCP, "8.8.8.8", 80, orphan_reset, FATE_PASS,
         REASON_ALLOWED},
        {"ICMP error about a front's answer", MODE_BLOCKLIST, ICMP, "8.8.8.8", 0, error_untracked,
         FATE_DROP, REASON_NOT_REDIRECTED},
        {"ICMP error about a front's answer", MODE_ALLOWLIST, ICMPV6, "2606:4700::1", 0,
         error_untracked, FATE_DROP, REASON_NOT_REDIRECTED},
        {"ICMP error about a known connection", MODE_ALLOWLIST, ICMP, "8.8.8.8", 0, orphan,
         FATE_PASS, REASON_ALLOWED},
        {"too many flows", MODE_BLOCKLIST, UDP, "8.8.8.8", 80, too_fast, FATE_PROHIBITED,
         REASON_LIMIT_REACHED},
        {"too many connections", MODE_ALLOWLIST, TCP, "8.8.8.8", 80, too_fast, FATE_RESET,
         REASON_LIMIT_REACHED},
        {"many packets of one flow", MODE_BLOCKLIST, UDP, "8.8.8.8", 80, fast_but_known, FATE_PASS,
         REASON_ALLOWED},
        {"many refusals keep their reason", MODE_BLOCKLIST, UDP, "10.0.0.5", 80, too_fast,
         FATE_PROHIBITED, REASON_PRIVATE_ADDRESS},
        {"::1 as source to the outside", MODE_BLOCKLIST, UDP, "2606:4700::1", 80, from_loopback,
         FATE_PROHIBITED, REASON_NOT_REDIRECTED},
        {"redirected, but bound to a device", MODE_BLOCKLIST, TCP, "8.8.8.8", 80, bound_to_device,
         FATE_DROP, REASON_NOT_REDIRECTED},
        {"redirected, but bound to a device", MODE_BLOCKLIST, TCP, "2606:4700::1", 80,
         bound_to_device, FATE_DROP, REASON_NOT_REDIRECTED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct odd_row *row = &rows[i];
        struct policy policy;
        policy_for_test(&policy, row->mode, allow, block);
        struct ruleset rules = build(&policy);
        struct trace t = {.rules = &rules,
                          .packet =
                              new_flow(&policy, CAGE_UID, row->protocol, row->address, row->port),
                          .reason = REASON_ALLOWED};
        row->change(&t.packet);
        enum fate fate = send_known(&t);
        if (fate != row->fate || t.reason != row->reason)
            fail_msg("%s: fate %d, %s", row->what, (int)fate, reason_token(t.reason));
        free(rules.rules);
        policy_fini(&policy);
    }
}

/* The proxy answers from its two ports on loopback, and nowhere else from. */
static void proxy_answers(void **state)
{
    static const struct {
        uint8_t protocol;
        const char *src;
        uint16_t sport;
        bool is_out_lo;
        bool is_reply;
        bool is_passed;
    } rows[] = {
        {TCP, "127.0.0.1", TCP_PORT, true, true, true},
        {TCP, "127.0.0.1", DNS_PORT, true, true, true},
        {UDP, "127.0.0.1", DNS_PORT, true, true, true},
        {UDP, "127.0.0.1", TCP_PORT, true, true, false},
        {UDP, "127.0.0.1", 4000, true, true, false},
        {TCP, "127.0.0.1", 4000, true, true, false},
        {TCP, "127.0.0.2", TCP_PORT, true, true, false},
        {TCP, "127.0.0.1", TCP_PORT, false, true, false},
        {TCP, "127.0.0.1", TCP_PORT, true, false, false},
    };
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, NULL, NULL);
    struct ruleset rules = build(&policy);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct trace t = {.rules = &rules,
                          .packet =
                              new_flow(&policy, PROXY_UID, rows[i].protocol, "203.0.113.1", 40000)};
        t.packet.src = addr_of(rows[i].src);
        t.packet.sport = rows[i].sport;
        t.packet.is_out_lo = rows[i].is_out_lo;
        t.packet.is_reply = rows[i].is_reply;
        t.packet.states = RULESET_STATE_ESTABLISHED;
        if ((send_known(&t) == FATE_PASS) != rows[i].is_passed)
            fail_msg("row %zu", i);
    }
    free(rules.rules);
    policy_fini(&policy);
}

static void resolvers_over_tls_get_no_udp(void **state)
{
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, NULL, NULL);
    policy.servers[0].is_tls = true;
    policy.servers[0].port = 853;
    policy.servers[0].address = addr_of("10.0.0.2");
    struct ruleset rules = build(&policy);
    struct trace tcp = {.rules = &rules,
                        .packet = new_flow(&policy, PROXY_UID, TCP, "10.0.0.2", 853)};
    struct trace udp = {.rules = &rules,
                        .packet = new_flow(&policy, PROXY_UID, UDP, "10.0.0.2", 853)};
    struct trace other = {.rules = &rules,
                          .packet = new_flow(&policy, PROXY_UID, TCP, "10.0.0.2", 53)};
    assert_int_equal(send_packet(&tcp), FATE_PASS);
    assert_int_equal(send_packet(&udp), FATE_PROHIBITED);
    assert_int_equal(send_packet(&other), FATE_RESET);
    free(rules.rules);
    policy_fini(&policy);
}

static void other_users_pass(void **state)
{
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, NULL, NULL);
    struct ruleset rules = build(&policy);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct trace t = {.rules = &rules,
                          .packet = new_flow(&policy, 1000, i % 2 ? TCP : UDP, addresses[i], 53)};
        assert_int_equal(send_packet(&t), FATE_PASS);
        assert_false(t.is_redirected || t.is_zoned || t.logged > 0);
    }
    free(rules.rules);
    policy_fini(&policy);
}

/* --- Properties of the array itself */

static void check_order(const struct ruleset *rules)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct ruleset_rule *r = &rules->rules[i];
        assert_int_equal(r->number, i + 1);
        assert_ptr_equal(ruleset_find(rules, r->number), r);
        assert_true((r->purpose == NULL) == (r->reason != REASON_ALLOWED));
        if (i == 0)
            continue;
        const struct ruleset_rule *before = &rules->rules[i - 1];
        assert_true(before->family <= r->family);
        if (before->family == r->family)
            assert_true(before->table <= r->table);
        if (before->family == r->family && before->table == r->table && before->chain != r->chain) {
            char a[RULESET_CHAIN_TEXT_MAX];
            char b[RULESET_CHAIN_TEXT_MAX];
            ruleset_chain_text(1, before->chain, a);
            ruleset_chain_text(1, r->chain, b);
            assert_true(strncmp(a, "CAGE", 4) != 0 || strcmp(a, b) < 0);
        }
    }
}

static bool has_chain(const struct ruleset *rules, const struct ruleset_rule *from)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct ruleset_rule *r = &rules->rules[i];
        if (r->family == from->family && r->table == from->table && r->chain == from->target_chain)
            return true;
    }
    return false;
}

static void check_targets(const struct ruleset *rules)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct ruleset_rule *r = &rules->rules[i];
        bool is_jump = r->target == RULESET_JUMP || r->target == RULESET_GOTO;
        if (is_jump && !has_chain(rules, r))
            fail_msg("rule %u leads nowhere", r->number);
        /* The machine's own rules still apply to what passes. */
        assert_true(r->target != RULESET_ACCEPT || r->table == RULESET_NAT);
        assert_true(r->target != RULESET_DROP || r->reason != REASON_ALLOWED);
        assert_true((r->target != RULESET_RESET && r->target != RULESET_PROHIBITED) ||
                    (r->chain == RULESET_REFUSE && r->table == RULESET_FILTER));
        assert_true(r->target != RULESET_REDIRECT || r->table == RULESET_NAT);
        if (r->chain == RULESET_OUTPUT || r->chain == RULESET_POSTROUTING)
            assert_int_equal(r->target, RULESET_JUMP);
    }
}

static void array_is_in_order(void **state)
{
    uint64_t random = test_seed();

    (void)state;
    for (int round = 0; round < 100; round++) {
        struct policy policy;
        random_policy(&policy, &random);
        struct ruleset rules = build(&policy);
        check_order(&rules);
        check_targets(&rules);
        struct ruleset closed = build_closed(&rules.cage);
        check_order(&closed);
        check_targets(&closed);
        free(rules.rules);
        free(closed.rules);
        policy_fini(&policy);
    }
}

static void closed_refuses_everything(void **state)
{
    static const uint8_t protocols[] = {TCP, UDP, ICMP};
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_BLOCKLIST, NULL, NULL);
    struct ruleset_cage cage = ruleset_cage_of(&policy);
    for (int round = 0; round < 2; round++) {
        struct ruleset rules = build_closed(&cage);
        for (size_t i = 0; i < 3 * sizeof(addresses) / sizeof(addresses[0]); i++) {
            uint8_t protocol = protocols[i % 3];
            struct packet packet = new_flow(&policy, CAGE_UID, protocol, addresses[i / 3], 53);
            struct trace t = {.rules = &rules, .packet = packet};
            assert_int_equal(send_packet(&t), protocol == TCP ? FATE_RESET : FATE_PROHIBITED);
            assert_int_equal(t.reason, REASON_NOT_ALLOWED);
            t = (struct trace){.rules = &rules, .packet = packet};
            t.packet.uid = PROXY_UID;
            assert_true((send_packet(&t) == FATE_PASS) == (round == 1));
            t = (struct trace){.rules = &rules, .packet = packet};
            t.packet.uid = 1000;
            assert_int_equal(send_packet(&t), FATE_PASS);
        }
        free(rules.rules);
        cage.proxy_uid = POLICY_UID_NONE;
    }
    policy_fini(&policy);
}

static void impossible_cages(void **state)
{
    struct policy policy;
    struct ruleset out = {0};

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, NULL, NULL);
    const struct ruleset_cage good = ruleset_cage_of(&policy);
    struct ruleset_cage bad[8];
    for (size_t i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].uid = 0;
    bad[1].uid = POLICY_UID_NONE;
    bad[2].proxy_uid = 0;
    bad[3].proxy_uid = POLICY_UID_NONE;
    bad[4].proxy_uid = bad[4].uid;
    bad[5].tcp_port = 0;
    bad[6].dns_port = bad[6].tcp_port;
    bad[7].zone = 0;
    for (size_t i = 0; i < 8; i++) {
        assert_false(ruleset_build(&policy, &bad[i], &out));
        assert_int_equal(out.count, 0);
    }
    assert_true(ruleset_build(&policy, &good, &out));
    policy.mode = MODE_DISABLED;
    assert_false(ruleset_build(&policy, &good, &out));
    policy_fini(&policy);
}

static void names_fit_the_kernel(void **state)
{
    struct ruleset rules = {.cage = {.uid = UINT32_MAX - 1}};
    char chain[RULESET_CHAIN_TEXT_MAX];
    char label[RULESET_LABEL_TEXT_MAX];
    char rate[RULESET_RATE_NAME_MAX];

    (void)state;
    for (unsigned i = 0; i < RULESET_CHAINS; i++) {
        size_t len = ruleset_chain_text(UINT32_MAX - 1, (enum ruleset_chain)i, chain);
        assert_int_equal(len, strlen(chain));
        assert_true(len > 0 && len < RULESET_CHAIN_TEXT_MAX);
    }
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        struct ruleset_rule r = {.number = UINT32_MAX, .reason = (enum reason)i};
        size_t len = ruleset_label_text(&rules, &r, label);
        assert_int_equal(len, strlen(label));
    }
    struct ruleset_rule r = {.above_per_second = 10000};
    ruleset_rate_name(&rules, &r, rate);
    assert_string_equal(rate, "cage-4294967294-10000");
    rules.cage.uid = 4242;
    r = (struct ruleset_rule){.number = 17, .reason = REASON_METADATA_ADDRESS};
    ruleset_label_text(&rules, &r, label);
    assert_string_equal(label, "cage 4242 #17 metadata-address");
    ruleset_chain_text(4242, RULESET_BASE, chain);
    assert_string_equal(chain, "CAGE-4242-BASE");
}

/* A small room is filled, never exceeded, and the count says what is missing. */
static void room_is_kept(void **state)
{
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, allow_some, NULL);
    struct ruleset whole = build(&policy);
    for (size_t cap = 0; cap < whole.count; cap += 13) {
        struct ruleset part = {.cap = cap, .rules = calloc(cap + 1, sizeof(*part.rules))};
        assert_non_null(part.rules);
        struct ruleset_cage cage = ruleset_cage_of(&policy);
        assert_true(ruleset_build(&policy, &cage, &part));
        assert_int_equal(part.count, whole.count);
        assert_int_equal(part.rules[cap].number, 0);
        if (cap > 0)
            assert_memory_equal(part.rules, whole.rules, cap * sizeof(*part.rules));
        assert_null(ruleset_find(&part, (uint32_t)cap + 1));
        free(part.rules);
    }
    free(whole.rules);
    policy_fini(&policy);
}

static void many_ports_are_split(void **state)
{
    static const char *const allow[] = {
        "203.0.113.11:1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33-40,53-60,70-80", NULL};
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, allow, NULL);
    struct ruleset rules = build(&policy);
    for (uint16_t port = 1; port < 100; port++) {
        struct trace t = {.rules = &rules,
                          .packet = new_flow(&policy, CAGE_UID, UDP, "203.0.113.11", port)};
        bool is_open = port != 53 && port_set_has(&policy.allow.rules[0].ports, port);
        enum fate fate = send_packet(&t);
        if (port != 53)
            assert_int_equal(fate, is_open ? FATE_PASS : FATE_PROHIBITED);
        assert_int_equal(t.is_redirected, port == 53);
    }
    for (size_t i = 0; i < rules.count; i++) {
        size_t slots = 0;
        for (size_t k = 0; k < rules.rules[i].dport_count; k++)
            slots += port_range_is_single(&rules.rules[i].dports[k]) ? 1 : 2;
        assert_true(slots <= RULESET_PORT_SLOTS);
    }
    free(rules.rules);
    policy_fini(&policy);
}

static void hundred_thousand_entries(void **state)
{
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_BLOCKLIST, NULL, NULL);
    struct ruleset few = build(&policy);
    for (uint32_t i = 0; i < 100000; i++) {
        const uint8_t bytes[4] = {8, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        struct netaddr addr = netaddr_v4(bytes);
        struct rule rule = {.kind = RULE_ADDRESS, .prefix = netprefix_of_addr(&addr)};
        assert_true(policy_add_rule(&policy.block, &rule));
    }
    struct ruleset many = build(&policy);
    /* By origin, by packet, for the proxy and in nat. */
    assert_int_equal(many.count - few.count, 400000);
    assert_ptr_equal(ruleset_find(&many, (uint32_t)many.count), &many.rules[many.count - 1]);
    free(few.rules);
    free(many.rules);
    policy_fini(&policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_matcher),
        cmocka_unit_test(other_traffic),
        cmocka_unit_test(odd_packets),
        cmocka_unit_test(proxy_answers),
        cmocka_unit_test(resolvers_over_tls_get_no_udp),
        cmocka_unit_test(other_users_pass),
        cmocka_unit_test(array_is_in_order),
        cmocka_unit_test(closed_refuses_everything),
        cmocka_unit_test(impossible_cages),
        cmocka_unit_test(names_fit_the_kernel),
        cmocka_unit_test(room_is_kept),
        cmocka_unit_test(many_ports_are_split),
        cmocka_unit_test(hundred_thousand_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
