#include "config/matcher.h"

#include <stdatomic.h>
#include <stdlib.h>

enum list { LIST_ALLOW, LIST_BLOCK, LIST_COUNT };

/* One compiled entry, in a chain of entries with the same key. */
struct entry {
    struct matcher_rule shown;
    struct entry *next;
    enum rule_kind kind;
    bool is_private;
    struct port_set ports;
    struct hostname name;
    struct netprefix prefix;
};

/*
 * A chained hash table. Names are keyed by themselves or the apex of their wildcard; prefixes by
 * their bits and length, so that a look-up costs one probe for each length that occurs.
 */
struct table {
    struct entry **buckets;
    size_t mask;
};

struct matcher {
    atomic_uint refs;
    struct policy policy; /* settings and machine facts; its lists are empty */
    struct entry *entries;
    size_t entry_count;
    char *texts;
    bool has_names;
    struct table names[LIST_COUNT];
    struct table prefixes[LIST_COUNT];
    bool has_len[LIST_COUNT][2][129]; /* per list and family: the prefix lengths that occur */
};

static uint64_t hash_bytes(const void *data, size_t len, uint64_t hash)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t hash_name(struct span name)
{
    return hash_bytes(name.data, name.len, UINT64_C(0xcbf29ce484222325));
}

static uint64_t hash_prefix(const struct netprefix *prefix)
{
    uint64_t hash =
        hash_bytes(prefix->addr.bytes, sizeof(prefix->addr.bytes), UINT64_C(0xcbf29ce484222325));

    return hash_bytes(&prefix->len, 1, hash);
}

static bool table_init(struct table *table, size_t count)
{
    size_t size = 16;

    while (size < count * 2)
        size *= 2;
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): a bucket is a pointer. */
    table->buckets = calloc(size, sizeof(*table->buckets));
    table->mask = size - 1;
    return table->buckets != NULL;
}

/* At the end of the chain, so that the entry written first decides. */
static void table_add(struct table *table, uint64_t hash, struct entry *entry)
{
    struct entry **at = &table->buckets[hash & table->mask];

    while (*at != NULL)
        at = &(*at)->next;
    *at = entry;
}

/* Compile */

static void free_matcher(struct matcher *m)
{
    for (int list = 0; list < LIST_COUNT; list++) {
        free(m->names[list].buckets);
        free(m->prefixes[list].buckets);
    }
    policy_fini(&m->policy);
    free(m->entries);
    free(m->texts);
    free(m);
}

/* Settings and machine facts, without the lists. */
static bool copy_facts(struct policy *to, const struct policy *from)
{
    uint32_t index;

    policy_init(to);
    to->mode = from->mode;
    to->settings = from->settings;
    to->cage_uid = from->cage_uid;
    to->proxy_uid = from->proxy_uid;
    for (size_t i = 0; i < from->file_count; i++) {
        if (!policy_add_file(to, from->files[i], &index))
            return false;
    }
    for (size_t i = 0; i < from->server_count; i++)
        policy_add_server(to, &from->servers[i]);
    for (size_t i = 0; i < from->local_count; i++) {
        if (!policy_add_local(to, &from->locals[i]))
            return false;
    }
    return true;
}

static size_t rule_text_len(const struct rule *rule)
{
    char data[RULE_TEXT_MAX];
    struct text text = TEXT_OF(data);

    rule_print(rule, &text);
    return text.len + 1;
}

static size_t list_text_len(const struct rule_list *list)
{
    size_t len = 0;

    for (size_t i = 0; i < list->count; i++)
        len += rule_text_len(&list->rules[i]);
    return len;
}

static struct netprefix address_as_prefix(const struct netaddr *address, uint8_t len)
{
    struct netprefix prefix = {*address, len};
    unsigned wide = len + (netaddr_is_v4(address) ? 96u : 0u);

    if (wide % 8 != 0)
        prefix.addr.bytes[wide / 8] &= (uint8_t)(0xff00u >> (wide % 8));
    for (unsigned i = (wide + 7) / 8; i < sizeof(prefix.addr.bytes); i++)
        prefix.addr.bytes[i] = 0;
    return prefix;
}

static void add_list(struct matcher *m, const struct rule_list *rules, enum list list,
                     char **text_at)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->rules[i];
        struct entry *entry = &m->entries[m->entry_count++];
        struct text text = text_init(*text_at, RULE_TEXT_MAX);
        rule_print(rule, &text);
        *entry = (struct entry){
            .shown = {*text_at,
                      rule->source.file < m->policy.file_count ? m->policy.files[rule->source.file]
                                                               : "",
                      rule->source.line},
            .kind = rule->kind,
            .is_private = rule->is_private,
            .ports = rule->ports,
            .name = rule->name,
            .prefix = rule->prefix,
        };
        *text_at += text.len + 1;
        if (rule_is_name(rule)) {
            m->has_names = true;
            table_add(&m->names[list], hash_name(hostname_span(&rule->name)), entry);
        } else {
            m->has_len[list][netprefix_is_v4(&rule->prefix)][rule->prefix.len] = true;
            table_add(&m->prefixes[list], hash_prefix(&rule->prefix), entry);
        }
    }
}

struct matcher *matcher_compile(const struct policy *policy)
{
    struct matcher *m = calloc(1, sizeof(*m));
    const struct rule_list *lists[LIST_COUNT] = {&policy->allow, &policy->block};
    bool is_made = m != NULL && copy_facts(&m->policy, policy);
    size_t texts_len = list_text_len(&policy->allow) + list_text_len(&policy->block);

    for (int list = 0; is_made && list < LIST_COUNT; list++)
        is_made = table_init(&m->names[list], lists[list]->count) &&
                  table_init(&m->prefixes[list], lists[list]->count);
    if (is_made) {
        m->entries = calloc(policy->allow.count + policy->block.count + 1, sizeof(*m->entries));
        /* text_init() wants its whole capacity behind the last entry, too. */
        m->texts = malloc(texts_len + RULE_TEXT_MAX);
        is_made = m->entries != NULL && m->texts != NULL;
    }
    if (!is_made) {
        if (m != NULL)
            free_matcher(m);
        return NULL;
    }
    char *text_at = m->texts;
    for (int list = 0; list < LIST_COUNT; list++)
        add_list(m, lists[list], (enum list)list, &text_at);
    atomic_init(&m->refs, 1);
    return m;
}

struct matcher *matcher_ref(struct matcher *matcher)
{
    atomic_fetch_add_explicit(&matcher->refs, 1, memory_order_relaxed);
    return matcher;
}

void matcher_unref(struct matcher *matcher)
{
    if (matcher != NULL && atomic_fetch_sub_explicit(&matcher->refs, 1, memory_order_acq_rel) == 1)
        free_matcher(matcher);
}

enum network_mode matcher_mode(const struct matcher *matcher)
{
    return matcher->policy.mode;
}

const struct policy_settings *matcher_settings(const struct matcher *matcher)
{
    return &matcher->policy.settings;
}

/*
 * Look-up. Besides a port, PORT_ANY asks for an entry on whatever port, PORT_EVERY for one that
 * names no port.
 */
enum { PORT_ANY = -1, PORT_EVERY = -2, PORT_DNS = 53, PORT_QUIC = 443 };

enum wanted { WANT_ALL, WANT_PRIVATE };

static bool entry_has_port(const struct entry *entry, int port)
{
    if (port == PORT_EVERY)
        return entry->ports.count == 0;
    return port == PORT_ANY || port_set_has(&entry->ports, (uint16_t)port);
}

static const struct entry *find_key(const struct table *table, struct span key, bool is_whole_name,
                                    int port, enum wanted wanted)
{
    const struct entry *entry = table->buckets[hash_name(key) & table->mask];

    for (; entry != NULL; entry = entry->next) {
        bool is_kind = entry->kind == RULE_NAME_AND_BELOW ||
                       entry->kind == (is_whole_name ? RULE_NAME : RULE_BELOW);
        if (is_kind && (entry->is_private || wanted == WANT_ALL) && entry_has_port(entry, port) &&
            span_equal(hostname_span(&entry->name), key))
            return entry;
    }
    return NULL;
}

/* The most specific entry for a name on a port: the name itself, then each wildcard above it. */
static const struct entry *find_name(const struct matcher *m, enum list list,
                                     const struct hostname *name, int port, enum wanted wanted)
{
    for (size_t at = 0; at < name->len; at = hostname_next_label(name, at)) {
        const struct entry *entry =
            find_key(&m->names[list], span_from(hostname_span(name), at), at == 0, port, wanted);
        if (entry != NULL)
            return entry;
    }
    return NULL;
}

/* The entry of the longest prefix for an address on a port. */
static const struct entry *find_address(const struct matcher *m, enum list list,
                                        const struct netaddr *address, int port)
{
    bool is_v4 = netaddr_is_v4(address);

    for (int len = is_v4 ? 32 : 128; len >= 0; len--) {
        if (!m->has_len[list][is_v4][len])
            continue;
        struct netprefix key = address_as_prefix(address, (uint8_t)len);
        const struct table *table = &m->prefixes[list];
        const struct entry *entry = table->buckets[hash_prefix(&key) & table->mask];
        for (; entry != NULL; entry = entry->next) {
            /* An entry opens DNS past the front only when it writes 53. */
            bool is_open = port == PORT_DNS && list == LIST_ALLOW
                               ? port_set_writes(&entry->ports, PORT_DNS)
                               : entry_has_port(entry, port);
            if (netprefix_equal(&entry->prefix, &key) && is_open)
                return entry;
        }
    }
    return NULL;
}

/* Judgement */

static struct verdict allowed_by(const struct entry *entry)
{
    return (struct verdict){VERDICT_ALLOW, REASON_ALLOWED, true,
                            entry != NULL ? &entry->shown : NULL};
}

static struct verdict denied(enum reason reason, const struct entry *entry)
{
    return (struct verdict){VERDICT_DENY, reason, true, entry != NULL ? &entry->shown : NULL};
}

/* A denial of the name layer, which audit mode only logs. */
static struct verdict denied_by_name(const struct matcher *m, enum reason reason,
                                     const struct entry *entry)
{
    struct verdict v = denied(reason, entry);

    v.is_enforced = !m->policy.settings.audit;
    return v;
}

static bool is_resolver(const struct policy *policy, const struct netaddr *address)
{
    for (size_t i = 0; i < policy->server_count; i++) {
        if (netaddr_equal(&policy->servers[i].address, address))
            return true;
    }
    return false;
}

/* What a private name never opens, whatever it resolves to. */
static bool is_never_private(const struct policy *policy, const struct netaddr *address)
{
    unsigned closed = NETADDR_METADATA | NETADDR_LOOPBACK;

    return (netaddr_classes(address) & closed) != 0 || policy_is_local(policy, address) ||
           is_resolver(policy, address);
}

/*
 * The address's own denial, by block entry or base layer; VERDICT_ALLOW when it has none. No
 * address, no denial.
 */
static struct verdict judge_address(const struct matcher *m, const struct netaddr *address,
                                    uint16_t port)
{
    if (address == NULL)
        return allowed_by(NULL);
    if (m->policy.mode == MODE_BLOCKLIST) {
        const struct entry *block = find_address(m, LIST_BLOCK, address, port);
        if (block != NULL)
            return denied(REASON_BLOCKED, block);
    }
    enum reason reason = policy_base_reason(&m->policy, address, port);
    return reason == REASON_ALLOWED ? allowed_by(NULL) : denied(reason, NULL);
}

static bool is_quic_refused(const struct matcher *m, const struct destination *where)
{
    return where->protocol == PROTOCOL_UDP && where->port == PORT_QUIC &&
           (m->policy.mode == MODE_ALLOWLIST || m->has_names);
}

/* A name proves nothing for UDP: only an address entry opens it in allowlist mode. */
static const struct hostname *proven_name(const struct destination *where)
{
    return where->protocol == PROTOCOL_TCP ? where->name : NULL;
}

static struct verdict judge_default(const struct matcher *m, const struct destination *where)
{
    if (is_quic_refused(m, where))
        return denied(REASON_QUIC_REFUSED, NULL);
    switch (m->policy.mode) {
    case MODE_BLOCKLIST:
        return allowed_by(NULL);
    case MODE_ALLOWLIST:
        if (where->protocol == PROTOCOL_UDP)
            return denied(REASON_NO_NAME, NULL);
        return denied_by_name(m, where->name != NULL ? REASON_NOT_ALLOWED : REASON_NO_NAME, NULL);
    case MODE_DISABLED:
        return allowed_by(NULL);
    }
    return denied(REASON_INTERNAL_ERROR, NULL);
}

struct verdict matcher_judge(const struct matcher *m, const struct destination *where)
{
    const struct hostname *name = proven_name(where);
    const struct entry *entry;

    if (m->policy.mode == MODE_DISABLED)
        return allowed_by(NULL);
    if (where->address != NULL) {
        if (policy_is_own_port(&m->policy, where->address, where->port))
            return denied(REASON_LOOPBACK_ADDRESS, NULL);
        entry = find_address(m, LIST_ALLOW, where->address, where->port);
        if (entry != NULL)
            return allowed_by(entry);
    }
    struct verdict own = judge_address(m, where->address, where->port);
    const struct entry *exception = NULL;
    if (name != NULL) {
        entry = find_name(m, LIST_ALLOW, name, where->port, WANT_PRIVATE);
        if (entry != NULL && where->address != NULL &&
            !is_never_private(&m->policy, where->address))
            return allowed_by(entry);
        exception = find_name(m, LIST_ALLOW, name, where->port, WANT_ALL);
        if (exception != NULL && own.kind == VERDICT_ALLOW)
            return allowed_by(exception);
    }
    if (name != NULL && m->policy.mode == MODE_BLOCKLIST && exception == NULL) {
        entry = find_name(m, LIST_BLOCK, name, where->port, WANT_ALL);
        if (entry != NULL && own.kind == VERDICT_ALLOW)
            return denied_by_name(m, REASON_BLOCKED, entry);
        if (entry != NULL && own.reason != REASON_BLOCKED)
            return denied(REASON_BLOCKED, entry);
    }
    if (own.kind == VERDICT_DENY)
        return own;
    return judge_default(m, where);
}

struct verdict matcher_judge_nameless(const struct matcher *m, const struct netaddr *address,
                                      uint16_t port, const struct hostname *names, size_t count)
{
    struct destination where = {NULL, address, port, PROTOCOL_TCP};
    struct verdict v = matcher_judge(m, &where);
    struct verdict allowed = v;
    size_t allowed_count = 0;

    /* An address entry, a block or the base layer has decided already. */
    bool is_default = v.rule == NULL && (v.kind == VERDICT_ALLOW || v.reason == REASON_NO_NAME);
    if (!is_default)
        return v;
    for (size_t i = 0; i < count; i++) {
        struct destination named = {&names[i], address, port, PROTOCOL_TCP};
        struct verdict one = matcher_judge(m, &named);
        if (one.kind == VERDICT_ALLOW) {
            allowed = one;
            allowed_count++;
        } else if (m->policy.mode == MODE_BLOCKLIST) {
            return one;
        }
    }
    if (m->policy.mode != MODE_ALLOWLIST || allowed_count == 0)
        return v;
    return allowed_count == count ? allowed : denied_by_name(m, REASON_AMBIGUOUS_ADDRESS, NULL);
}

struct verdict matcher_judge_name(const struct matcher *m, const struct hostname *name)
{
    const struct entry *allow = find_name(m, LIST_ALLOW, name, PORT_ANY, WANT_ALL);

    if (m->policy.mode == MODE_DISABLED || allow != NULL)
        return allowed_by(allow);
    if (m->policy.mode == MODE_ALLOWLIST)
        return denied_by_name(m, REASON_NOT_ALLOWED, NULL);
    /* A block of some ports leaves the rest of them reachable, and the name with them. */
    const struct entry *block = find_name(m, LIST_BLOCK, name, PORT_EVERY, WANT_ALL);
    return block != NULL ? denied_by_name(m, REASON_BLOCKED, block) : allowed_by(NULL);
}

struct verdict matcher_judge_answer(const struct matcher *m, const struct hostname *name,
                                    const struct netaddr *address)
{
    const struct entry *entry = find_address(m, LIST_ALLOW, address, PORT_ANY);

    if (entry != NULL)
        return allowed_by(entry);
    entry = find_name(m, LIST_ALLOW, name, PORT_ANY, WANT_PRIVATE);
    if (entry != NULL && !is_never_private(&m->policy, address))
        return allowed_by(entry);
    enum reason reason = policy_base_reason(&m->policy, address, 0);
    return reason == REASON_ALLOWED ? allowed_by(NULL) : denied(reason, NULL);
}
