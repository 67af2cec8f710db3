#include "proxy/cli/proof.h"

/* Reserved for documentation, so that nothing is there even if a probe got through. */
static const char probe_name[] = "cage-proxy-probe.invalid";

enum { PORT_DNS = 53, PORT_HTTP = 80 };

struct chosen {
    struct cage_probe *probes;
    size_t count;
};

static void add(struct chosen *chosen, const struct cage_probe *probe)
{
    if (chosen->count < CAGE_PROBE_MAX)
        chosen->probes[chosen->count++] = *probe;
}

static bool is_denied(struct verdict verdict)
{
    return verdict.kind == VERDICT_DENY && verdict.is_enforced;
}

/* A name that the policy does not look up: one that nobody has, or the first that is blocked. */
static bool find_denied_name(const struct policy *policy, const struct matcher *matcher,
                             struct hostname *out)
{
    struct hostname name;

    if (hostname_parse(SPAN_LITERAL(probe_name), &name) == HOSTNAME_OK &&
        is_denied(matcher_judge_name(matcher, &name))) {
        *out = name;
        return true;
    }
    for (size_t i = 0; i < policy->block.count; i++) {
        const struct rule *rule = &policy->block.rules[i];
        if (rule->kind != RULE_BELOW && rule_is_name(rule) &&
            is_denied(matcher_judge_name(matcher, &rule->name))) {
            *out = rule->name;
            return true;
        }
    }
    return false;
}

static void add_dns(struct chosen *chosen, const struct hostname *name)
{
    static const char *const servers[] = {"192.0.2.53", "2001:db8::53"};

    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
        struct cage_probe probe = {.kind = CAGE_PROBE_DNS, .port = PORT_DNS, .name = *name};
        if (netaddr_parse(span_of_text(servers[i]), &probe.address))
            add(chosen, &probe);
    }
}

/* A request for a denied name, to an address that the kernel leads to the proxy. */
static void add_http(struct chosen *chosen, const struct matcher *matcher,
                     const struct hostname *name)
{
    static const char *const addresses[] = {"192.0.2.1", "2001:db8::1:1"};

    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        struct cage_probe probe = {.kind = CAGE_PROBE_HTTP, .port = PORT_HTTP, .name = *name};
        struct destination named = {name, &probe.address, PORT_HTTP, PROTOCOL_TCP};
        struct destination bare = {NULL, &probe.address, PORT_HTTP, PROTOCOL_TCP};
        if (!netaddr_parse(span_of_text(addresses[i]), &probe.address) ||
            !is_denied(matcher_judge(matcher, &named)))
            continue;
        struct verdict by_address = matcher_judge(matcher, &bare);
        bool is_led_to_proxy = by_address.rule == NULL && (by_address.kind == VERDICT_ALLOW ||
                                                           by_address.reason == REASON_NO_NAME);
        if (is_led_to_proxy)
            add(chosen, &probe);
    }
}

static void add_refused(struct chosen *chosen, const struct matcher *matcher, const char *text)
{
    struct cage_probe probe = {.kind = CAGE_PROBE_TCP, .port = PORT_HTTP};
    struct destination where = {NULL, &probe.address, PORT_HTTP, PROTOCOL_TCP};

    if (!netaddr_parse(span_of_text(text), &probe.address))
        return;
    enum reason reason = matcher_judge(matcher, &where).reason;
    if (reason == REASON_METADATA_ADDRESS || reason == REASON_PRIVATE_ADDRESS ||
        reason == REASON_BLOCKED)
        add(chosen, &probe);
}

/* A blocked address of the policy's own, on a port that is blocked. */
static void add_blocked(struct chosen *chosen, const struct policy *policy,
                        const struct matcher *matcher)
{
    for (size_t i = 0; i < policy->block.count; i++) {
        const struct rule *rule = &policy->block.rules[i];
        if (rule->kind != RULE_ADDRESS)
            continue;
        struct cage_probe probe = {
            .kind = CAGE_PROBE_TCP,
            .address = rule->prefix.addr,
            .port = rule->ports.count > 0 ? rule->ports.ranges[0].first : PORT_HTTP,
        };
        struct destination where = {NULL, &probe.address, probe.port, PROTOCOL_TCP};
        if (probe.port != PORT_DNS && is_denied(matcher_judge(matcher, &where))) {
            add(chosen, &probe);
            return;
        }
    }
}

size_t proof_choose(const struct policy *policy, const struct matcher *matcher,
                    struct cage_probe out[CAGE_PROBE_MAX])
{
    static const char *const refused[] = {"169.254.169.254", "fd00:ec2::254", "10.255.255.254",
                                          "fc00::1"};
    struct chosen chosen = {out, 0};
    struct hostname name;

    if (find_denied_name(policy, matcher, &name)) {
        add_dns(&chosen, &name);
        add_http(&chosen, matcher, &name);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        add_refused(&chosen, matcher, refused[i]);
    if (matcher_mode(matcher) == MODE_BLOCKLIST)
        add_blocked(&chosen, policy, matcher);
    return chosen.count;
}

void proof_print(const struct cage_probe *probe, struct text *out)
{
    char address[NETADDR_TEXT_MAX];

    netaddr_print(&probe->address, address);
    switch (probe->kind) {
    case CAGE_PROBE_TCP:
        text_put(out, "connection to ");
        break;
    case CAGE_PROBE_HTTP:
        text_put(out, "request for ");
        text_put_span(out, hostname_span(&probe->name));
        text_put(out, " at ");
        break;
    case CAGE_PROBE_DNS:
        text_put(out, "DNS question for ");
        text_put_span(out, hostname_span(&probe->name));
        text_put(out, " to ");
        break;
    }
    text_put(out, address);
    text_put(out, " port ");
    text_put_number(out, probe->port);
}
