/*
 * The domain model: what the operator wrote, merged over files, and what the machine adds to it.
 *
 * A policy is filled by policy_lua (from a configuration) or policy_text (from the canonical
 * text), completed by the supervisor with machine facts (uids, resolvers, own addresses, ports)
 * and then compiled by matcher and firewall/ruleset. Its meaning is docs/policy.md.
 */
#ifndef CONFIG_POLICY_H
#define CONFIG_POLICY_H

#include "config/reason.h"
#include "config/rule.h"

enum network_mode { MODE_DISABLED, MODE_ALLOWLIST, MODE_BLOCKLIST };

enum ech_mode { ECH_OUTER, ECH_DENY };
enum dns_addresses { DNS_ADDRESSES_DEFAULT, DNS_ADDRESSES_REAL, DNS_ADDRESSES_SYNTHETIC };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

enum {
    POLICY_ACCOUNT_MAX = 64,       /* account names, NUL included */
    POLICY_PATH_MAX = 4096,        /* paths, NUL included */
    POLICY_SERVERS_MAX = 8,        /* resolvers in force */
    POLICY_UPSTREAM_MAX = 300,     /* the upstream proxy's URL, NUL included */
    POLICY_TCP_PORT_FIRST = 15080, /* where the search for free ports begins */
    POLICY_DNS_PORT_FIRST = 15053,
};

/* Settings that are plain values; policy_options() describes each. */
struct policy_settings {
    char user[POLICY_ACCOUNT_MAX];       /* cage user: an account name or a uid in digits */
    char proxy_user[POLICY_ACCOUNT_MAX]; /* the proxy's own account, likewise */
    bool base_metadata;
    bool base_private;
    uint32_t ech; /* enum ech_mode */
    bool audit;
    uint32_t tcp_port; /* 0: the first free pair from POLICY_TCP_PORT_FIRST upward */
    uint32_t dns_port;
    uint32_t dns_addresses; /* enum dns_addresses */
    uint32_t dns_cache;     /* answers kept */
    uint32_t dns_label_max; /* bytes */
    uint32_t dns_new_names_per_minute;
    uint32_t limit_connections;
    uint32_t limit_sniff_ms;
    uint32_t limit_sniff_bytes;
    uint32_t limit_idle_s;
    uint32_t limit_dial_ms;
    uint32_t limit_header_bytes;
    uint32_t limit_new_per_second;
    uint32_t workers; /* 0: one per core, at most 4 */
    char upstream[POLICY_UPSTREAM_MAX];
    char log_file[POLICY_PATH_MAX];
    uint32_t log_format; /* enum log_format */
};

struct dns_server {
    struct netaddr address;
    uint16_t port;
    bool is_tls;
    struct hostname tls_name; /* checked against the certificate when is_tls */
};

/* A line of the host's /etc/hosts. */
struct host_line {
    struct hostname name;
    struct netaddr address;
};

struct rule_list {
    struct rule *rules;
    size_t count;
    size_t cap;
};

struct policy {
    enum network_mode mode;
    struct policy_settings settings;
    struct rule_list allow;
    struct rule_list block;
    char **files; /* the configuration files; struct rule_source points into it */
    size_t file_count;

    /* Resolvers: as configured, or the host's where none is configured. */
    struct dns_server servers[POLICY_SERVERS_MAX];
    size_t server_count;

    /* Machine facts. A uid of POLICY_UID_NONE is not known (yet). */
    uint32_t cage_uid;
    uint32_t proxy_uid;
    struct netaddr *locals; /* the machine's own addresses */
    size_t local_count;
    struct host_line *hosts;
    size_t host_count;
};

#define POLICY_UID_NONE UINT32_MAX

/* An empty policy with every setting at its default; mode is MODE_DISABLED. */
void policy_init(struct policy *policy);
void policy_fini(struct policy *policy);

/* These copy what they are given; false when memory ran out, the policy is then unchanged. */
bool policy_add_rule(struct rule_list *list, const struct rule *rule);
bool policy_add_file(struct policy *policy, const char *path, uint32_t *index);
bool policy_add_local(struct policy *policy, const struct netaddr *address);
bool policy_add_host(struct policy *policy, const struct host_line *line);

/* False when POLICY_SERVERS_MAX is reached. */
bool policy_add_server(struct policy *policy, const struct dns_server *server);

/* One of the machine's own addresses, or the unspecified one, which leads there. */
bool policy_is_local(const struct policy *policy, const struct netaddr *address);

/* Any domain entry in either list. */
bool policy_has_names(const struct policy *policy);

/* One of the proxy's own ports on an address of this machine: nothing opens it. */
bool policy_is_own_port(const struct policy *policy, const struct netaddr *address, uint16_t port);

/*
 * Why the base layer, as far as this policy leaves it on, refuses an address: METADATA_ADDRESS,
 * else LOOPBACK_ADDRESS (allowlist mode; in both modes on the proxy's own ports), else
 * PRIVATE_ADDRESS; ALLOWED when it does not.
 */
enum reason policy_base_reason(const struct policy *policy, const struct netaddr *address,
                               uint16_t port);

const char *network_mode_text(enum network_mode mode);
bool network_mode_parse(struct span text, enum network_mode *out);

/*
 * "9.9.9.9", "[2620:fe::fe]:53", "tls://9.9.9.9#dns.quad9.net"; the port is 53 or 853 unless
 * written. False with a complaint in `fault`.
 */
bool dns_server_parse(struct span text, struct dns_server *out, struct text *fault);
void dns_server_print(const struct dns_server *server, struct text *out);

#endif
