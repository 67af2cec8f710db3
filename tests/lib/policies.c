#include "tests/lib/policies.h"

#include <stdio.h>
#include <stdlib.h>

static void add_entries(struct policy *policy, struct rule_list *list, const char *const *entries,
                        uint32_t first_line)
{
    (void)policy;
    for (uint32_t i = 0; entries != NULL && entries[i] != NULL; i++) {
        char data[RULE_TEXT_MAX];
        struct text fault = TEXT_OF(data);
        struct rule rule;
        bool is_private = entries[i][0] == '!';
        struct span entry = span_of_text(entries[i] + (is_private ? 1 : 0));
        if (!rule_parse(entry, RULE_IN_ADDRESSES, &rule, &fault) &&
            !rule_parse(entry, RULE_IN_DOMAINS, &rule, &fault)) {
            fprintf(stderr, "%s: %s\n", entries[i], data);
            abort();
        }
        rule.is_private = is_private;
        rule.source = (struct rule_source){0, first_line + i};
        if (!policy_add_rule(list, &rule))
            abort();
    }
}

void policy_for_test(struct policy *policy, enum network_mode mode, const char *const *allow,
                     const char *const *block)
{
    static const char *const locals[] = {"203.0.113.1", "10.99.0.1", "2001:db8::1"};
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    struct dns_server server;
    uint32_t file;

    policy_init(policy);
    policy->mode = mode;
    policy->cage_uid = 4242;
    policy->proxy_uid = 4243;
    policy->settings.tcp_port = 15080;
    policy->settings.dns_port = 15053;
    if (!policy_add_file(policy, "/etc/cage.lua", &file) ||
        !dns_server_parse(SPAN_LITERAL("203.0.113.53"), &server, &fault) ||
        !policy_add_server(policy, &server))
        abort();
    for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++) {
        struct netaddr address;
        if (!netaddr_parse(span_of_text(locals[i]), &address) ||
            !policy_add_local(policy, &address))
            abort();
    }
    add_entries(policy, &policy->allow, allow, 1);
    add_entries(policy, &policy->block, block, 101);
}
