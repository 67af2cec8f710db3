#include "proxy/cli/advice.h"

enum { NAMED_MAX = 3 };

static void warn(struct faults *warnings, const struct policy *policy,
                 const struct rule_source *source, const struct text *message)
{
    const char *file =
        source == NULL || source->file >= policy->file_count ? NULL : policy->files[source->file];

    faults_add(warnings, file, source == NULL ? 0 : source->line, text_span(message));
}

static void warn_plain(struct faults *warnings, const char *message)
{
    faults_add(warnings, NULL, 0, span_of_text(message));
}

static void warn_rule(struct faults *warnings, const struct policy *policy, const struct rule *rule,
                      const char *what)
{
    char bytes[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(bytes);

    rule_print(rule, &text);
    text_put(&text, ": ");
    text_put(&text, what);
    warn(warnings, policy, &rule->source, &text);
}

/* All blocks together: in allowlist mode none of them decides anything. */
static void advise_blocks(const struct policy *policy, struct faults *warnings)
{
    char bytes[200];
    struct text text = TEXT_OF(bytes);

    if (policy->mode != MODE_ALLOWLIST || policy->block.count == 0)
        return;
    text_put_number(&text, policy->block.count);
    text_put(&text, policy->block.count == 1 ? " block entry changes" : " block entries change");
    text_put(&text, " nothing in allowlist mode, which denies what is not allowed");
    warn(warnings, policy, &policy->block.rules[0].source, &text);
}

/* Entries without a port, in one line however many there are. */
static void advise_open_ports(const struct policy *policy, struct faults *warnings)
{
    char bytes[FAULT_MESSAGE_MAX];
    struct text text = TEXT_OF(bytes);
    const struct rule *first = NULL;
    size_t count = 0;

    for (size_t i = 0; i < policy->allow.count; i++) {
        const struct rule *rule = &policy->allow.rules[i];
        if (rule->ports.count > 0)
            continue;
        if (first == NULL)
            first = rule;
        if (count < NAMED_MAX) {
            text_put(&text, count > 0 ? ", " : "");
            rule_print(rule, &text);
        }
        count++;
    }
    if (first == NULL)
        return;
    if (count > NAMED_MAX) {
        text_put(&text, " and ");
        text_put_number(&text, count - NAMED_MAX);
        text_put(&text, " more");
    }
    text_put(&text, ": no port is written, which opens every TCP port, and of an address every "
                    "UDP port but 53; write NAME:443 to open one");
    warn(warnings, policy, &first->source, &text);
}

static bool opens_metadata(const struct rule *rule)
{
    size_t count;
    const struct base_range *ranges = base_ranges(&count);

    for (size_t i = 0; i < count; i++) {
        if (ranges[i].class == NETADDR_METADATA &&
            (netprefix_covers(&ranges[i].prefix, &rule->prefix) ||
             netprefix_covers(&rule->prefix, &ranges[i].prefix)))
            return true;
    }
    return false;
}

static void advise_entries(const struct policy *policy, struct faults *warnings)
{
    for (size_t i = 0; i < policy->allow.count; i++) {
        const struct rule *rule = &policy->allow.rules[i];
        if (rule->is_private)
            warn_rule(warnings, policy, rule,
                      "private = true is not carried out by this version: the name stays closed "
                      "where it leads to a private address; allow the address under ips");
        if (rule_is_name(rule))
            continue;
        if (opens_metadata(rule))
            warn_rule(warnings, policy, rule,
                      "this opens a metadata address, where a cloud hands out credentials");
        if (port_set_writes(&rule->ports, 53))
            warn_rule(warnings, policy, rule,
                      "this opens DNS past the DNS front: what is asked there is not judged");
    }
}

static void advise_settings(const struct policy *policy, struct faults *warnings)
{
    const struct policy_settings *s = &policy->settings;

    if (!s->base_metadata)
        warn_plain(warnings, "proxy.base.metadata is false: cloud metadata addresses are refused "
                             "only where they are private addresses as well");
    if (!s->base_private)
        warn_plain(warnings, "proxy.base.private is false: the private network is within reach");
    if (s->audit)
        warn_plain(warnings, "proxy.audit is true: what domain rules deny is let through and only "
                             "logged");
}

static void advise_users(const struct policy *policy, struct faults *warnings)
{
    char bytes[300];
    struct text text = TEXT_OF(bytes);

    if (policy->cage_uid == POLICY_UID_NONE) {
        text_put(&text, "user \"");
        text_put(&text, policy->settings.user);
        text_put(&text, "\" does not exist on this machine; create it with useradd --system, or "
                        "write a uid");
        warn(warnings, policy, NULL, &text);
    }
    if (policy->proxy_uid == POLICY_UID_NONE) {
        text = TEXT_OF(bytes);
        text_put(&text, "proxy.user \"");
        text_put(&text, policy->settings.proxy_user);
        text_put(&text, "\" does not exist on this machine; create it with useradd --system, or "
                        "write a uid");
        warn(warnings, policy, NULL, &text);
    }
}

void advice_policy(const struct policy *policy, struct faults *warnings)
{
    if (policy->mode == MODE_DISABLED)
        warn_plain(warnings, "networkMode is \"disabled\": nothing would be installed or started");
    if (policy->mode == MODE_ALLOWLIST && policy->allow.count == 0)
        warn_plain(warnings, "nothing is allowed: everything is denied");
    advise_users(policy, warnings);
    advise_settings(policy, warnings);
    advise_blocks(policy, warnings);
    advise_open_ports(policy, warnings);
    advise_entries(policy, warnings);
}
