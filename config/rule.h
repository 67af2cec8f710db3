/*
 * One entry of a list: a name pattern or an address prefix, with ports.
 *
 * The written form is NAME[:PORT[,PORT...]], see docs/policy.md.
 */
#ifndef CONFIG_RULE_H
#define CONFIG_RULE_H

#include "config/hostname.h"
#include "config/netaddr.h"
#include "config/text.h"

enum { PORT_RANGES_MAX = 32, RULE_TEXT_MAX = 700 };

/* Inclusive, 1..65535, first <= last. */
struct port_range {
    uint16_t first;
    uint16_t last;
};

/* TCP and UDP alike; no range means every port. In the order of the ports, without repetition. */
struct port_set {
    uint8_t count;
    struct port_range ranges[PORT_RANGES_MAX];
};

enum rule_kind {
    RULE_NAME,           /* example.com: that name */
    RULE_BELOW,          /* *.example.com: every name below it, not the apex */
    RULE_NAME_AND_BELOW, /* **.example.com: both */
    RULE_ADDRESS,        /* an address or a prefix */
};

/* Where an entry was written: an index into the policy's files, and a line from 1. */
struct rule_source {
    uint32_t file;
    uint32_t line;
};

struct rule {
    enum rule_kind kind;
    bool is_private; /* RULE_NAME only: the name may open private addresses */
    struct hostname name;
    struct netprefix prefix;
    struct port_set ports;
    struct rule_source source;
};

/* Which list of the configuration an entry stands in: it says what an entry may be. */
enum rule_section { RULE_IN_DOMAINS, RULE_IN_ADDRESSES };

/*
 * Reads a whole entry. False with a complaint in `fault` ("port 99999 is above 65535") that tells
 * what to write instead where that is known; *out is then untouched. The source is left zero.
 */
bool rule_parse(struct span entry, enum rule_section section, struct rule *out, struct text *fault);

/* The canonical form of the entry, without source and is_private; rule_parse() reads it back. */
void rule_print(const struct rule *rule, struct text *out);

static inline bool rule_is_name(const struct rule *rule)
{
    return rule->kind != RULE_ADDRESS;
}

bool port_set_has(const struct port_set *ports, uint16_t port);

/*
 * The set has `port` as a port of its own, not as one of many in a range. Port 53 needs this: an
 * entry opens DNS past the DNS front only when it writes 53.
 */
bool port_set_writes(const struct port_set *ports, uint16_t port);

/*
 * Reads "80", "80,443", "8000-8100,9000" into *out, sorted and without repetition; false with a
 * complaint in `fault` otherwise.
 */
bool port_set_parse(struct span text, struct port_set *out, struct text *fault);
void port_set_print(const struct port_set *ports, struct text *out);

#endif
