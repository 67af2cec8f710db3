#include "config/policy.h"

#include <stdlib.h>

#include "config/policy_option.h"

void policy_init(struct policy *policy)
{
    memset(policy, 0, sizeof(*policy));
    policy_settings_init(&policy->settings);
    policy->cage_uid = POLICY_UID_NONE;
    policy->proxy_uid = POLICY_UID_NONE;
}

void policy_fini(struct policy *policy)
{
    for (size_t i = 0; i < policy->file_count; i++)
        free(policy->files[i]);
    free(policy->files);
    free(policy->allow.rules);
    free(policy->block.rules);
    free(policy->locals);
    free(policy->hosts);
    memset(policy, 0, sizeof(*policy));
}

/*
 * Room for one more element; arrays grow by doubling, so that the capacity of one without a stored
 * capacity is the next power of two.
 */
static void *grow(void *array, size_t count, size_t element_size)
{
    if (count > 0 && (count & (count - 1)) != 0)
        return array;
    return reallocarray(array, count == 0 ? 1 : count * 2, element_size);
}

bool policy_add_rule(struct rule_list *list, const struct rule *rule)
{
    if (list->count == list->cap) {
        size_t cap = list->cap == 0 ? 16 : list->cap * 2;
        struct rule *rules = reallocarray(list->rules, cap, sizeof(*rules));
        if (rules == NULL)
            return false;
        list->rules = rules;
        list->cap = cap;
    }
    list->rules[list->count++] = *rule;
    return true;
}

bool policy_add_file(struct policy *policy, const char *path, uint32_t *index)
{
    char *copy = strdup(path);

    if (copy == NULL)
        return false;
    char **files = grow(policy->files, policy->file_count, sizeof(*files));
    if (files == NULL) {
        free(copy);
        return false;
    }
    policy->files = files;
    *index = (uint32_t)policy->file_count;
    policy->files[policy->file_count++] = copy;
    return true;
}

bool policy_add_local(struct policy *policy, const struct netaddr *address)
{
    struct netaddr *locals = grow(policy->locals, policy->local_count, sizeof(*locals));

    if (locals == NULL)
        return false;
    policy->locals = locals;
    policy->locals[policy->local_count++] = *address;
    return true;
}

bool policy_add_host(struct policy *policy, const struct host_line *line)
{
    struct host_line *hosts = grow(policy->hosts, policy->host_count, sizeof(*hosts));

    if (hosts == NULL)
        return false;
    policy->hosts = hosts;
    policy->hosts[policy->host_count++] = *line;
    return true;
}

bool policy_add_server(struct policy *policy, const struct dns_server *server)
{
    if (policy->server_count == POLICY_SERVERS_MAX)
        return false;
    policy->servers[policy->server_count++] = *server;
    return true;
}

/* 0.0.0.0 and ::, which connect() takes for the machine itself. */
static bool is_unspecified(const struct netaddr *address)
{
    static const uint8_t zero[16];

    return netaddr_is_v4(address) ? memcmp(netaddr_v4_bytes(address), zero, 4) == 0
                                  : memcmp(address->bytes, zero, sizeof(zero)) == 0;
}

bool policy_is_local(const struct policy *policy, const struct netaddr *address)
{
    if (is_unspecified(address))
        return true;
    for (size_t i = 0; i < policy->local_count; i++) {
        if (netaddr_equal(&policy->locals[i], address))
            return true;
    }
    return false;
}

static bool has_names(const struct rule_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (rule_is_name(&list->rules[i]))
            return true;
    }
    return false;
}

bool policy_has_names(const struct policy *policy)
{
    return has_names(&policy->allow) || has_names(&policy->block);
}

static unsigned classes_of(const struct policy *policy, const struct netaddr *address)
{
    return netaddr_classes(address) |
           (policy_is_local(policy, address) ? (unsigned)NETADDR_LOOPBACK : 0);
}

bool policy_is_own_port(const struct policy *policy, const struct netaddr *address, uint16_t port)
{
    const struct policy_settings *s = &policy->settings;

    return port != 0 && (port == s->tcp_port || port == s->dns_port) &&
           (classes_of(policy, address) & NETADDR_LOOPBACK);
}

enum reason policy_base_reason(const struct policy *policy, const struct netaddr *address,
                               uint16_t port)
{
    unsigned classes = classes_of(policy, address);
    const struct policy_settings *s = &policy->settings;

    if ((classes & NETADDR_METADATA) && s->base_metadata)
        return REASON_METADATA_ADDRESS;
    if ((classes & NETADDR_LOOPBACK) &&
        (policy->mode != MODE_BLOCKLIST || policy_is_own_port(policy, address, port)))
        return REASON_LOOPBACK_ADDRESS;
    if ((classes & NETADDR_PRIVATE) && s->base_private)
        return REASON_PRIVATE_ADDRESS;
    return REASON_ALLOWED;
}

static const char *const mode_text[] = {
    [MODE_DISABLED] = "disabled",
    [MODE_ALLOWLIST] = "allowlist",
    [MODE_BLOCKLIST] = "blocklist",
};

const char *network_mode_text(enum network_mode mode)
{
    return mode_text[mode];
}

bool network_mode_parse(struct span text, enum network_mode *out)
{
    for (unsigned i = 0; i < sizeof(mode_text) / sizeof(mode_text[0]); i++) {
        if (span_equal(text, span_of_text(mode_text[i]))) {
            *out = (enum network_mode)i;
            return true;
        }
    }
    return false;
}

/* "1.2.3.4", "1.2.3.4:53", "2001:db8::1", "[2001:db8::1]:53"; *port is kept when none is written.
 */
static bool parse_endpoint(struct span text, struct netaddr *address, uint16_t *port,
                           struct text *fault)
{
    struct rule rule;

    if (!rule_parse(text, RULE_IN_ADDRESSES, &rule, fault))
        return false;
    bool is_one_port =
        rule.ports.count == 0 ||
        (rule.ports.count == 1 && rule.ports.ranges[0].first == rule.ports.ranges[0].last);
    if (!netprefix_is_single(&rule.prefix) || !is_one_port) {
        text_put(fault, "a resolver is one address with at most one port");
        return false;
    }
    *address = rule.prefix.addr;
    if (rule.ports.count == 1)
        *port = rule.ports.ranges[0].first;
    return true;
}

bool dns_server_parse(struct span text, struct dns_server *out, struct text *fault)
{
    static const char scheme[] = "tls://";
    const size_t scheme_len = sizeof(scheme) - 1;
    struct dns_server server = {.port = 53};

    if (text.len > scheme_len && memcmp(text.data, scheme, scheme_len) == 0) {
        text = span_from(text, scheme_len);
        size_t hash = span_find(text, '#');
        server.is_tls = true;
        server.port = 853;
        if (hash == text.len ||
            hostname_parse(span_from(text, hash + 1), &server.tls_name) != HOSTNAME_OK) {
            text_put(fault, "DNS over TLS needs the name that the certificate is for; write "
                            "tls://ADDRESS#NAME");
            return false;
        }
        text = span_first(text, hash);
    }
    if (!parse_endpoint(text, &server.address, &server.port, fault))
        return false;
    *out = server;
    return true;
}

void dns_server_print(const struct dns_server *server, struct text *out)
{
    struct rule rule = {.kind = RULE_ADDRESS,
                        .prefix = netprefix_of_addr(&server->address),
                        .ports = {1, {{server->port, server->port}}}};

    text_put(out, server->is_tls ? "tls://" : "");
    rule_print(&rule, out);
    if (server->is_tls) {
        text_put_char(out, '#');
        text_put_span(out, hostname_span(&server->tls_name));
    }
}
