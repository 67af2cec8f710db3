/*
 * The kernel rules of a user cage as a plain array: policy in, ordered rules of both families out.
 *
 * Nothing here talks to the kernel. ruleset_text prints the array, xt_encode turns a rule into
 * bytes, xt_commit puts them in place. The rules lie in the order in which iptables-save prints
 * them: by family, table and chain. Their meaning is docs/policy.md; each was tried against a
 * kernel, and the end-to-end suite tries them again.
 *
 *   raw     the source address is ours; the cage's UDP has a conntrack zone of its own
 *   mangle  a packet for a loopback address leaves by no other interface
 *   filter  BASE refuses and lets pass what the cage sends, PROXY what the proxy's user sends
 *   nat     leads TCP and DNS of the cage to the proxy
 *
 * A rule that lets pass returns to the machine's own rules, it never accepts for them. A rule that
 * refuses goes to the chain of its reason, which logs and answers at once.
 */
#ifndef FIREWALL_RULESET_H
#define FIREWALL_RULESET_H

#include "config/policy.h"

enum ruleset_family { RULESET_V4, RULESET_V6 };
enum ruleset_table { RULESET_FILTER, RULESET_RAW, RULESET_MANGLE, RULESET_NAT };

enum { RULESET_FAMILIES = 2, RULESET_TABLES = 4 };

/*
 * Chains: two of the kernel's, then ours in the order of their names. A chain of ours is called
 * CAGE-UID-NAME, so that several cages stand side by side.
 */
enum ruleset_chain {
    RULESET_OUTPUT,
    RULESET_POSTROUTING,
    RULESET_BASE,
    RULESET_BLOCKED,
    RULESET_LIMIT,
    RULESET_LOOPBACK,
    RULESET_METADATA,
    RULESET_NAT_OUTPUT,
    RULESET_NO_NAME,
    RULESET_NOT_ALLOWED,
    RULESET_NOT_REDIRECTED,
    RULESET_ORPHAN,
    RULESET_PASS,
    RULESET_POST,
    RULESET_PRIVATE,
    RULESET_PROXY,
    RULESET_QUIC,
    RULESET_RAW_OUTPUT,
    RULESET_REFUSE,
    RULESET_CHAINS
};

enum ruleset_target {
    RULESET_JUMP, /* to target_chain, and back */
    RULESET_GOTO, /* to target_chain, not back */
    RULESET_RETURN,
    RULESET_ACCEPT,
    RULESET_DROP,
    RULESET_RESET,      /* REJECT --reject-with tcp-reset */
    RULESET_PROHIBITED, /* REJECT, ICMP administratively prohibited */
    RULESET_REDIRECT,   /* to `port` on loopback */
    RULESET_LOG,        /* NFLOG */
    RULESET_ZONE,       /* CT --zone-orig */
};

enum ruleset_interface { RULESET_ANY_INTERFACE, RULESET_LO, RULESET_NOT_LO };
enum ruleset_owner { RULESET_ANY_OWNER, RULESET_OWNER, RULESET_NO_OWNER };
enum ruleset_direction { RULESET_ANY_DIRECTION, RULESET_ORIGINAL, RULESET_REPLY };

/* Headers that lead a packet elsewhere than its destination says. */
enum ruleset_header {
    RULESET_NO_HEADER,
    RULESET_IPV4_OPTIONS,
    RULESET_ROUTING,
    RULESET_HOP_BY_HOP,
    RULESET_DESTINATION_OPTIONS,
};

enum ruleset_address_type {
    RULESET_ANY_TYPE,
    RULESET_TYPE_LOCAL,
    RULESET_TYPE_NOT_LOCAL,
    RULESET_TYPE_BROADCAST,
    RULESET_TYPE_MULTICAST,
};

/* States of a packet's connection, a mask. */
enum {
    RULESET_STATE_INVALID = 1 << 0,
    RULESET_STATE_NEW = 1 << 1,
    RULESET_STATE_ESTABLISHED = 1 << 2,
    RULESET_STATE_DNAT = 1 << 3,
};

enum {
    RULESET_PORT_SLOTS = 15, /* a port takes one slot of a multiport match, a range two */
    RULESET_LOG_PER_SECOND = 20,
    RULESET_LOG_BURST = 50,
    RULESET_CHAIN_TEXT_MAX = 29, /* NUL included; the kernel's limit for a jump's target */
    RULESET_LABEL_TEXT_MAX = 64, /* NUL included; the kernel's limit for an NFLOG prefix */
    RULESET_RATE_NAME_MAX = 32,
    RULESET_RATE_SCALE = 1000000, /* the kernel counts a rate in millionths of a second */
};

/* In a rule of RULESET_V6 an IPv4 prefix stands for its mapped form, ::ffff:0:0/96 and longer. */
struct ruleset_rule {
    uint32_t number; /* from 1, unique in its ruleset */
    enum ruleset_family family;
    enum ruleset_table table;
    enum ruleset_chain chain;

    /* Why it refuses; REASON_ALLOWED when it does not, and `purpose` says what it does. */
    enum reason reason;
    const char *purpose;      /* static storage; NULL when it refuses */
    const struct rule *entry; /* the policy's entry that it stands for, or NULL; borrowed */

    /* What a packet must be; a field that is zero asks nothing. */
    bool has_src;
    bool has_dst;
    struct netprefix src;
    struct netprefix dst; /* after translation */
    enum ruleset_interface interface;
    uint8_t protocol;
    bool is_not_protocol;
    bool is_no_reset; /* TCP without RST */
    bool is_not_dports;
    uint8_t dport_count;
    uint16_t sport;
    struct port_range dports[RULESET_PORT_SLOTS];
    enum ruleset_header header;
    enum ruleset_owner owner;
    uint32_t uid; /* RULESET_OWNER */
    enum ruleset_address_type src_type;
    enum ruleset_address_type dst_type;
    uint32_t states;
    bool is_not_states;
    bool is_unconfirmed; /* the first packet of its connection */
    bool has_origdst;
    struct netprefix origdst;        /* before translation */
    struct port_range origdst_ports; /* last 0: any */
    enum ruleset_direction direction;
    uint32_t above_per_second; /* all matching packets of the cage together exceed this rate */
    bool is_rated;             /* at most RULESET_LOG_PER_SECOND packets match */

    enum ruleset_target target;
    enum ruleset_chain target_chain;
    uint16_t port;
};

/* What a cage is besides its policy. */
struct ruleset_cage {
    uint32_t uid;
    uint32_t proxy_uid; /* POLICY_UID_NONE: there is none (ruleset_build_closed() only) */
    uint16_t tcp_port;  /* the proxy's, on 127.0.0.1 and ::1 */
    uint16_t dns_port;  /* the DNS front's, likewise */
    uint16_t zone;      /* conntrack zone, not 0 */
    uint16_t log_group; /* NFLOG group */
};

/*
 * Rules and the room for them, both the caller's. A builder counts all rules and writes the first
 * `cap`: build with a cap of 0, make room for `count` and build again.
 */
struct ruleset {
    struct ruleset_rule *rules;
    size_t cap;
    size_t count;
    struct ruleset_cage cage;
};

/*
 * The cage that a policy describes: its uids, its ports (15080 and 15053 where it leaves them
 * open), zone and log group made from the uid.
 */
struct ruleset_cage ruleset_cage_of(const struct policy *policy);

/*
 * The rules of a cage. False, and *out is empty, when there is no such cage: mode disabled, a uid
 * that is 0, unknown or the other's, equal ports, a port or zone of 0. Rules borrow the policy's
 * entries.
 */
bool ruleset_build(const struct policy *policy, const struct ruleset_cage *cage,
                   struct ruleset *out);

/*
 * Refuses everything that the cage's user sends, and the proxy's user where one is given: while
 * processes of a cage outlive it, and when a change of rules failed half way.
 */
bool ruleset_build_closed(const struct ruleset_cage *cage, struct ruleset *out);

/* The rule of a number, or NULL. */
const struct ruleset_rule *ruleset_find(const struct ruleset *ruleset, uint32_t number);

/* "CAGE-4242-BASE", "OUTPUT"; NUL-terminated, and its length. */
size_t ruleset_chain_text(uint32_t uid, enum ruleset_chain chain, char out[RULESET_CHAIN_TEXT_MAX]);

/* "CAGE-4242-": what every chain of the cage and no other cage's begins with. */
size_t ruleset_chain_prefix(uint32_t uid, char out[RULESET_CHAIN_TEXT_MAX]);

/* "cage 4242 #17 metadata-address": a rule's comment, and the prefix of what it logs. */
size_t ruleset_label_text(const struct ruleset *ruleset, const struct ruleset_rule *rule,
                          char out[RULESET_LABEL_TEXT_MAX]);

/*
 * "cage-4242-200": the name of a rate's counters. The kernel keeps the old rate of a name that is
 * still in use, so that the rate is part of it.
 */
size_t ruleset_rate_name(const struct ruleset *ruleset, const struct ruleset_rule *rule,
                         char out[RULESET_RATE_NAME_MAX]);

const char *ruleset_table_text(enum ruleset_table table);

/* Bits of a prefix in the family's own addresses. */
unsigned ruleset_prefix_bits(enum ruleset_family family, const struct netprefix *prefix);

/* The range holds a single port. */
static inline bool port_range_is_single(const struct port_range *range)
{
    return range->first == range->last;
}

#endif
