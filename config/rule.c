#include "config/rule.h"

#include "config/idna.h"
#include "config/public_suffix.h"

static bool complain(struct text *fault, const char *what)
{
    text_put(fault, what);
    return false;
}

static bool parse_port(struct span text, uint16_t *out, struct text *fault)
{
    uint64_t value;

    if (text.len == 0)
        return complain(fault, "a port is empty; write a number from 1 to 65535");
    for (size_t i = 0; i < text.len; i++) {
        if (!ascii_is_digit(text.data[i])) {
            text_put(fault, "port \"");
            text_put_escaped(fault, text, 20);
            return complain(fault, "\" is not a number; write ports as 80,443 or 8000-8100");
        }
    }
    if (!span_parse_number(text, 0, UINT64_MAX, &value)) {
        text_put(fault, "port ");
        text_put_escaped(fault, text, 20);
        return complain(fault, text.len > 1 && text.data[0] == '0' ? " has a leading zero"
                                                                   : " is above 65535");
    }
    if (value == 0)
        return complain(fault, "port 0 does not exist; ports are 1 to 65535");
    if (value > UINT16_MAX) {
        text_put(fault, "port ");
        text_put_number(fault, value);
        return complain(fault, " is above 65535");
    }
    *out = (uint16_t)value;
    return true;
}

static bool parse_range(struct span text, struct port_range *out, struct text *fault)
{
    size_t dash = span_find(text, '-');
    struct port_range range;

    if (!parse_port(span_first(text, dash), &range.first, fault))
        return false;
    range.last = range.first;
    if (dash < text.len && !parse_port(span_from(text, dash + 1), &range.last, fault))
        return false;
    if (range.last < range.first) {
        text_put(fault, "port range ");
        text_put_number(fault, range.first);
        text_put_char(fault, '-');
        text_put_number(fault, range.last);
        return complain(fault, " runs backwards; write the lower port first");
    }
    *out = range;
    return true;
}

/* Keeps the ranges ordered and leaves out one that is there already; false when there is no room.
 */
static bool insert_range(struct port_set *ports, struct port_range range)
{
    uint8_t at = 0;

    while (at < ports->count &&
           (ports->ranges[at].first < range.first ||
            (ports->ranges[at].first == range.first && ports->ranges[at].last < range.last)))
        at++;
    if (at < ports->count && ports->ranges[at].first == range.first &&
        ports->ranges[at].last == range.last)
        return true;
    if (ports->count == PORT_RANGES_MAX)
        return false;
    for (uint8_t i = ports->count; i > at; i--)
        ports->ranges[i] = ports->ranges[i - 1];
    ports->ranges[at] = range;
    ports->count++;
    return true;
}

bool port_set_parse(struct span text, struct port_set *out, struct text *fault)
{
    struct port_set ports = {0};

    for (;;) {
        size_t comma = span_find(text, ',');
        struct port_range range;
        if (!parse_range(span_first(text, comma), &range, fault))
            return false;
        if (!insert_range(&ports, range))
            return complain(fault,
                            "more than 32 ports and ranges; write the rest as another entry");
        if (comma == text.len)
            break;
        text = span_from(text, comma + 1);
    }
    *out = ports;
    return true;
}

void port_set_print(const struct port_set *ports, struct text *out)
{
    for (uint8_t i = 0; i < ports->count; i++) {
        if (i > 0)
            text_put_char(out, ',');
        text_put_number(out, ports->ranges[i].first);
        if (ports->ranges[i].last != ports->ranges[i].first) {
            text_put_char(out, '-');
            text_put_number(out, ports->ranges[i].last);
        }
    }
}

bool port_set_has(const struct port_set *ports, uint16_t port)
{
    for (uint8_t i = 0; i < ports->count; i++) {
        if (ports->ranges[i].first <= port && port <= ports->ranges[i].last)
            return true;
    }
    return ports->count == 0;
}

bool port_set_writes(const struct port_set *ports, uint16_t port)
{
    for (uint8_t i = 0; i < ports->count; i++) {
        if (ports->ranges[i].first == port && ports->ranges[i].last == port)
            return true;
    }
    return false;
}

/*
 * Cuts an entry into what it names and its ports. In "[v6]:443" the brackets say where the address
 * ends, behind a prefix length the colon does; a bare IPv6 address has no ports.
 */
struct entry_parts {
    struct span host;
    struct span ports;
    bool has_ports;
};

static size_t find_ports(struct span entry)
{
    size_t slash = span_find(entry, '/');

    if (slash < entry.len)
        return slash + span_find(span_from(entry, slash), ':');
    size_t colon = span_find(entry, ':');
    bool is_v6 =
        colon < entry.len && span_find(span_from(entry, colon + 1), ':') < entry.len - colon - 1;
    return is_v6 ? entry.len : colon;
}

static bool split_entry(struct span entry, struct entry_parts *parts, struct text *fault)
{
    size_t end;

    if (entry.len == 0)
        return complain(fault, "the entry is empty");
    for (size_t i = 0; i < entry.len; i++) {
        if (entry.data[i] == ' ' || entry.data[i] == '\t')
            return complain(fault, "an entry holds no spaces; write NAME[:PORT[,PORT...]]");
    }
    if (entry.data[0] == '[') {
        size_t close = span_find(entry, ']');
        if (close == entry.len)
            return complain(fault, "'[' without ']'; write [ADDRESS]:PORT");
        parts->host = span_from(span_first(entry, close), 1);
        end = close + 1;
        if (span_find(parts->host, ':') == parts->host.len)
            return complain(fault, "only an IPv6 address stands in brackets");
        if (end < entry.len && entry.data[end] != ':')
            return complain(fault, "after ']' only :PORT may follow");
    } else {
        end = find_ports(entry);
        parts->host = span_first(entry, end);
    }
    parts->has_ports = end < entry.len;
    parts->ports = parts->has_ports ? span_from(entry, end + 1) : SPAN_NONE;
    return true;
}

static bool parse_pattern(struct span host, struct rule *rule, struct text *fault)
{
    struct netprefix prefix;
    const char *why = NULL;

    rule->kind = RULE_NAME;
    if (netprefix_parse(host, &prefix) != NETPREFIX_BAD)
        return complain(fault, "this is an address, not a name; write it under ips or networks");
    if (host.len > 0 && host.data[0] == '*') {
        bool is_double = host.len > 1 && host.data[1] == '*';
        rule->kind = is_double ? RULE_NAME_AND_BELOW : RULE_BELOW;
        host = span_from(host, is_double ? 2 : 1);
        if (host.len < 2 || host.data[0] != '.')
            return complain(fault, "a star stands for whole labels; write *.example.com, or "
                                   "**.example.com for the name itself as well");
        host = span_from(host, 1);
    }
    if (span_find(host, '*') < host.len)
        return complain(fault, "a star may only be the first label, as in *.example.com");
    if (!idna_parse(host, &rule->name, &why))
        return complain(fault, why);
    if (rule->kind != RULE_NAME && public_suffix_is(&rule->name)) {
        text_put_span(fault, hostname_span(&rule->name));
        return complain(fault, " is a public suffix: anybody may register below it; name the "
                               "hosts that are meant");
    }
    return true;
}

static bool parse_address(struct span host, struct rule *rule, struct text *fault)
{
    char text[NETPREFIX_TEXT_MAX];

    rule->kind = RULE_ADDRESS;
    switch (netprefix_parse(host, &rule->prefix)) {
    case NETPREFIX_OK:
        return true;
    case NETPREFIX_HOST_BITS:
        netprefix_print(&rule->prefix, text);
        text_put(fault, "bits are set behind the prefix length; write ");
        return complain(fault, text);
    case NETPREFIX_BAD:
        break;
    }
    return complain(fault, span_find(host, '/') < host.len
                               ? "this is not an address with a prefix length, such as 10.0.0.0/8"
                               : "this is not an address; names belong under domains");
}

bool rule_parse(struct span entry, enum rule_section section, struct rule *out, struct text *fault)
{
    struct rule rule = {0};
    struct entry_parts parts;

    if (!split_entry(entry, &parts, fault))
        return false;
    if (section == RULE_IN_DOMAINS ? !parse_pattern(parts.host, &rule, fault)
                                   : !parse_address(parts.host, &rule, fault))
        return false;
    if (parts.has_ports && !port_set_parse(parts.ports, &rule.ports, fault))
        return false;
    *out = rule;
    return true;
}

static void print_address(const struct rule *rule, struct text *out)
{
    char text[NETPREFIX_TEXT_MAX];

    if (!netprefix_is_single(&rule->prefix)) {
        netprefix_print(&rule->prefix, text);
        text_put(out, text);
        return;
    }
    netaddr_print(&rule->prefix.addr, text);
    bool is_bracketed = rule->ports.count > 0 && !netprefix_is_v4(&rule->prefix);
    text_put(out, is_bracketed ? "[" : "");
    text_put(out, text);
    text_put(out, is_bracketed ? "]" : "");
}

void rule_print(const struct rule *rule, struct text *out)
{
    switch (rule->kind) {
    case RULE_ADDRESS:
        print_address(rule, out);
        break;
    case RULE_BELOW:
        text_put(out, "*.");
        text_put_span(out, hostname_span(&rule->name));
        break;
    case RULE_NAME_AND_BELOW:
        text_put(out, "**.");
        text_put_span(out, hostname_span(&rule->name));
        break;
    case RULE_NAME:
        text_put_span(out, hostname_span(&rule->name));
        break;
    }
    if (rule->ports.count > 0) {
        text_put_char(out, ':');
        port_set_print(&rule->ports, out);
    }
}
