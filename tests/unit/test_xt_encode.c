/* Before the kernel's headers, which then leave out what it defines. */
#include <net/if.h>
#include <netinet/in.h>

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#include "firewall/xt_compare.h"
#include "firewall/xt_encode.h"
#include "tests/lib/policies.h"
#include "tests/lib/unit.h"

static const char *const allow[] = {"203.0.113.11:9000",
                                    "[2001:db8::11]:9000",
                                    "10.1.0.0/16:1,3,5,7,9,11,13,15,17,19,80,443,8000-8100",
                                    "198.51.100.9",
                                    "2001:db8:9::/48",
                                    NULL};
static const char *const block[] = {"203.0.113.12", "2001:db8::12", "203.0.113.64/26:25,60-70",
                                    NULL};

static struct ruleset make_rules(enum network_mode mode)
{
    struct policy policy;
    struct ruleset out = {0};

    policy_for_test(&policy, mode, allow, block);
    struct ruleset_cage cage = ruleset_cage_of(&policy);
    assert_true(ruleset_build(&policy, &cage, &out));
    out.cap = out.count;
    out.rules = calloc(out.cap, sizeof(*out.rules));
    assert_non_null(out.rules);
    assert_true(ruleset_build(&policy, &cage, &out));
    /* What the rules borrow from the policy is not looked at here. */
    policy_fini(&policy);
    return out;
}

static size_t head_len(const struct ruleset_rule *r)
{
    return r->family == RULESET_V4 ? sizeof(struct ipt_entry) : sizeof(struct ip6t_entry);
}

static void read_offsets(const struct ruleset_rule *r, const uint8_t *bytes, uint16_t *target,
                         uint16_t *next)
{
    if (r->family == RULESET_V4) {
        const struct ipt_entry *e = (const struct ipt_entry *)bytes;
        *target = e->target_offset;
        *next = e->next_offset;
    } else {
        const struct ip6t_entry *e = (const struct ip6t_entry *)bytes;
        *target = e->target_offset;
        *next = e->next_offset;
    }
}

/* --- Shape: what the kernel checks before it looks at anything else. */

static void check_shape(const struct ruleset_rule *r, const struct xt_entry_bytes *entry)
{
    uint16_t target;
    uint16_t next;
    size_t at = head_len(r);
    bool has_comment = false;

    read_offsets(r, entry->bytes, &target, &next);
    assert_int_equal(next, entry->len);
    assert_int_equal(entry->len % 8, 0);
    while (at < target) {
        const struct xt_entry_match *m = (const struct xt_entry_match *)(entry->bytes + at);
        assert_int_equal(m->u.match_size % 8, 0);
        assert_true(m->u.match_size > sizeof(*m));
        assert_non_null(memchr(m->u.user.name, '\0', sizeof(m->u.user.name)));
        has_comment = strcmp(m->u.user.name, "comment") == 0;
        at += m->u.match_size;
    }
    assert_int_equal(at, target);
    assert_true(has_comment); /* the last one */
    const struct xt_entry_target *t = (const struct xt_entry_target *)(entry->bytes + at);
    assert_int_equal(at + t->u.target_size, entry->len);
    assert_true(t->u.user.name[0] != '\0');
}

static void every_rule_has_the_shape(void **state)
{
    static const enum network_mode modes[] = {MODE_ALLOWLIST, MODE_BLOCKLIST};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct ruleset rules = make_rules(modes[i]);
        for (size_t k = 0; k < rules.count; k++) {
            struct xt_entry_bytes entry;
            memset(&entry, 0xee, sizeof(entry));
            xt_encode(&rules, &rules.rules[k], &entry);
            check_shape(&rules.rules[k], &entry);
        }
        free(rules.rules);
    }
}

/* --- Sizes and revisions, as a kernel expects them. */

struct part_row {
    struct ruleset_rule rule;
    const char *name;
    int revision;
    size_t size;
};

static const struct part_row match_rows[] = {
    {{.dport_count = 2, .protocol = 6}, "multiport", 1, 32 + 48},
    {{.dport_count = 1, .protocol = 6}, "tcp", 0, 32 + 16},
    {{.is_no_reset = true, .protocol = 6}, "tcp", 0, 32 + 16},
    {{.sport = 1, .protocol = 17}, "udp", 0, 32 + 16},
    {{.header = RULESET_IPV4_OPTIONS}, "u32", 0, 32 + 1984},
    {{.header = RULESET_ROUTING, .family = RULESET_V6}, "rt", 0, 32 + 280},
    {{.header = RULESET_HOP_BY_HOP, .family = RULESET_V6}, "ipv6header", 0, 32 + 8},
    {{.owner = RULESET_OWNER, .uid = 1}, "owner", 1, 32 + 24},
    {{.owner = RULESET_NO_OWNER}, "owner", 1, 32 + 24},
    {{.dst_type = RULESET_TYPE_LOCAL}, "addrtype", 1, 32 + 8},
    {{.states = RULESET_STATE_NEW}, "conntrack", 3, 32 + 168},
    {{.direction = RULESET_REPLY}, "conntrack", 3, 32 + 168},
    {{.above_per_second = 10}, "hashlimit", 3, 32 + 312},
    {{.is_rated = true}, "limit", 0, 32 + 40},
};

static const struct part_row target_rows[] = {
    {{.target = RULESET_JUMP}, "OUTPUT", 0, 40},
    {{.target = RULESET_RETURN}, "RETURN", 0, 40},
    {{.target = RULESET_ACCEPT}, "ACCEPT", 0, 40},
    {{.target = RULESET_DROP}, "DROP", 0, 40},
    {{.target = RULESET_RESET}, "REJECT", 0, 40},
    {{.target = RULESET_PROHIBITED, .family = RULESET_V6}, "REJECT", 0, 40},
    {{.target = RULESET_REDIRECT}, "REDIRECT", 0, 32 + 24},
    {{.target = RULESET_REDIRECT, .family = RULESET_V6}, "REDIRECT", 0, 32 + 40},
    {{.target = RULESET_LOG}, "NFLOG", 0, 32 + 80},
    {{.target = RULESET_ZONE}, "CT", 2, 32 + 72},
};

static const struct ruleset one_cage = {.cage = {.uid = 7, .zone = 8, .log_group = 9}};

static void check_part(const struct xt_entry_bytes *entry, size_t at, const struct part_row *row)
{
    const struct xt_entry_match *m = (const struct xt_entry_match *)(entry->bytes + at);

    assert_string_equal(m->u.user.name, row->name);
    assert_int_equal(m->u.user.revision, row->revision);
    assert_int_equal(m->u.match_size, row->size);
}

static void matches_have_their_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(match_rows) / sizeof(match_rows[0]); i++) {
        struct ruleset_rule r = match_rows[i].rule;
        struct xt_entry_bytes entry;
        r.target = RULESET_DROP;
        r.purpose = "x";
        for (size_t k = 0; k < r.dport_count; k++)
            r.dports[k] = (struct port_range){80, 80};
        xt_encode(&one_cage, &r, &entry);
        check_part(&entry, head_len(&r), &match_rows[i]);
        /* Nothing else: head, this match, comment, target. */
        assert_int_equal(entry.len, head_len(&r) + match_rows[i].size + 32 + 256 + 40);
        check_shape(&r, &entry);
    }
}

static void targets_have_their_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(target_rows) / sizeof(target_rows[0]); i++) {
        struct ruleset_rule r = target_rows[i].rule;
        struct xt_entry_bytes entry;
        r.purpose = "x";
        xt_encode(&one_cage, &r, &entry);
        check_part(&entry, head_len(&r) + 32 + 256, &target_rows[i]);
        assert_int_equal(entry.len, head_len(&r) + 32 + 256 + target_rows[i].size);
        check_shape(&r, &entry);
    }
}

static void everything_at_once_fits(void **state)
{
    struct ruleset_rule r = {
        .purpose = "x",
        .protocol = 6,
        .dport_count = 7,
        .header = RULESET_IPV4_OPTIONS,
        .owner = RULESET_NO_OWNER,
        .src_type = RULESET_TYPE_NOT_LOCAL,
        .states = 15,
        .above_per_second = 10000,
        .is_rated = true,
        .target = RULESET_LOG,
    };
    struct xt_entry_bytes entry;

    (void)state;
    for (size_t i = 0; i < r.dport_count; i++)
        r.dports[i] = (struct port_range){(uint16_t)(100 * i + 1), (uint16_t)(100 * i + 50)};
    xt_encode(&one_cage, &r, &entry);
    check_shape(&r, &entry);
    assert_true(entry.len <= XT_ENTRY_MAX);
}

/* --- Comparing */

static struct span span_of_entry(const struct xt_entry_bytes *entry)
{
    return span_of(entry->bytes, entry->len);
}

/* What a kernel may give back changed: counters, what it caches, its pointers, names behind NUL. */
static bool is_kernels_own(const struct ruleset_rule *r, const struct xt_entry_bytes *entry,
                           size_t offset)
{
    bool is_v4 = r->family == RULESET_V4;
    size_t head_end =
        is_v4 ? offsetof(struct ipt_entry, nfcache) : offsetof(struct ip6t_ip6, invflags) + 1;
    size_t offsets = is_v4 ? offsetof(struct ipt_entry, target_offset)
                           : offsetof(struct ip6t_entry, target_offset);

    if (offset < head_len(r))
        return offset >= head_end && (offset < offsets || offset >= offsets + 4);
    size_t at = head_len(r);
    for (;;) {
        const struct xt_entry_match *m = (const struct xt_entry_match *)(entry->bytes + at);
        if (offset >= at + m->u.match_size) {
            at += m->u.match_size;
            continue;
        }
        size_t in_name = offset - at - 2;
        size_t in_data = offset - at - 32;
        if (offset - at >= 2 && offset - at < 31)
            return in_name > strlen(m->u.user.name);
        if (offset - at < 32)
            return false;
        return (strcmp(m->u.user.name, "limit") == 0 && in_data >= 8) ||
               (strcmp(m->u.user.name, "hashlimit") == 0 && in_data >= 304) ||
               (strcmp(m->u.user.name, "CT") == 0 && in_data >= 64);
    }
}

static void every_byte_counts(void **state)
{
    static const enum network_mode modes[] = {MODE_ALLOWLIST, MODE_BLOCKLIST};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct ruleset rules = make_rules(modes[i]);
        for (size_t k = 0; k < rules.count; k += 3) {
            const struct ruleset_rule *r = &rules.rules[k];
            struct xt_entry_bytes entry;
            xt_encode(&rules, r, &entry);
            struct xt_entry_bytes other = entry;
            assert_true(xt_entry_equal(r->family, span_of_entry(&entry), span_of_entry(&other)));
            for (size_t at = 0; at < entry.len; at++) {
                other.bytes[at] ^= 0x41;
                bool is_equal =
                    xt_entry_equal(r->family, span_of_entry(&entry), span_of_entry(&other));
                if (is_equal != is_kernels_own(r, &entry, at))
                    fail_msg("rule %u: byte %zu %s", r->number, at,
                             is_equal ? "is not compared" : "is compared");
                other.bytes[at] ^= 0x41;
            }
        }
        free(rules.rules);
    }
}

/* An entry that was cut, or whose sizes lie, is equal to nothing, and is not read behind its end.
 */
static void broken_entries(void **state)
{
    struct ruleset_rule r = {.purpose = "x", .target = RULESET_DROP, .states = 1};
    struct xt_entry_bytes entry;

    (void)state;
    xt_encode(&one_cage, &r, &entry);
    for (size_t len = 0; len < entry.len; len++) {
        struct guarded cut = guarded_copy(span_of(entry.bytes, len), GUARDED_END);
        assert_false(xt_entry_equal(RULESET_V4, cut.bytes, cut.bytes));
        assert_false(xt_entry_equal(RULESET_V4, span_of_entry(&entry), cut.bytes));
        guarded_free(&cut);
    }
}

/* A kernel gives a verdict back as a number without a name. */
static void nameless_targets_are_named(void **state)
{
    struct ruleset_rule r = {.purpose = "x", .target = RULESET_DROP};
    struct xt_entry_bytes entry;

    (void)state;
    for (unsigned family = 0; family < RULESET_FAMILIES; family++) {
        r.family = (enum ruleset_family)family;
        xt_encode(&one_cage, &r, &entry);
        struct xt_entry_bytes read = entry;
        uint8_t *target = read.bytes + read.len - 40;
        memset(target + 2, 0, 29);
        memset(target + 32, 0xff, 4);
        assert_false(xt_entry_equal(r.family, span_of_entry(&entry), span_of_entry(&read)));
        xt_entry_name_target(r.family, read.bytes, read.len, "DROP");
        assert_true(xt_entry_equal(r.family, span_of_entry(&entry), span_of_entry(&read)));
        xt_entry_name_target(r.family, read.bytes, read.len, "ACCEPT");
        assert_true(xt_entry_equal(r.family, span_of_entry(&entry), span_of_entry(&read)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_has_the_shape),   cmocka_unit_test(matches_have_their_sizes),
        cmocka_unit_test(targets_have_their_sizes),   cmocka_unit_test(everything_at_once_fits),
        cmocka_unit_test(every_byte_counts),          cmocka_unit_test(broken_entries),
        cmocka_unit_test(nameless_targets_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
