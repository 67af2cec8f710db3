#include "firewall/ruleset_text.h"

#include "tests/lib/policies.h"
#include "tests/lib/unit.h"

/*
 * The texts under data/firewall were installed with iptables-legacy-restore, read back with
 * iptables-legacy-save and found equal; the end-to-end suite does that again. After a wanted change
 * "test_ruleset_text write" writes them anew.
 */
static bool is_writing;

struct golden {
    const char *name;
    enum network_mode mode; /* MODE_DISABLED: the closed ruleset */
};

static const struct golden goldens[] = {
    {"allowlist", MODE_ALLOWLIST},
    {"blocklist", MODE_BLOCKLIST},
    {"closed", MODE_DISABLED},
};

static bool build_golden(const struct golden *g, const struct policy *policy, struct ruleset *out)
{
    struct ruleset_cage cage = ruleset_cage_of(policy);

    return g->mode == MODE_DISABLED ? ruleset_build_closed(&cage, out)
                                    : ruleset_build(policy, &cage, out);
}

static void make_golden(const struct golden *g, struct policy *policy, struct ruleset *out)
{
    static const char *const allow[] = {"203.0.113.11:9000",
                                        "[2001:db8::11]:9000",
                                        "10.1.0.0/16:80,443,8000-8100",
                                        "198.51.100.8:53",
                                        "198.51.100.9",
                                        "2001:db8:9::/48",
                                        "*.example.com:443",
                                        NULL};
    static const char *const block[] = {"203.0.113.12", "2001:db8::12",
                                        "203.0.113.64/26:25,6000-6010", NULL};

    policy_for_test(policy, g->mode, allow, block);
    *out = (struct ruleset){0};
    assert_true(build_golden(g, policy, out));
    out->cap = out->count;
    out->rules = calloc(out->cap, sizeof(*out->rules));
    assert_non_null(out->rules);
    assert_true(build_golden(g, policy, out));
}

static void put_file(void *context, struct span line)
{
    assert_int_equal(fwrite(line.data, 1, line.len, context), line.len);
}

static void compare_line(void *context, struct span line)
{
    char want[RULESET_LINE_MAX];

    if (fgets(want, sizeof(want), context) == NULL)
        fail_msg("unexpected: %.*s", (int)line.len, (const char *)line.data);
    if (!span_equal(span_of_text(want), line))
        fail_msg("\nwant %shave %.*s", want, (int)line.len, (const char *)line.data);
}

static void golden_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++) {
        struct policy policy;
        struct ruleset rules;
        make_golden(&goldens[i], &policy, &rules);
        for (unsigned family = 0; family < RULESET_FAMILIES; family++) {
            char path[512];
            snprintf(path, sizeof(path), "%s/firewall/%s.v%c.rules", TEST_DATA_DIR, goldens[i].name,
                     family == RULESET_V4 ? '4' : '6');
            FILE *file = fopen(path, is_writing ? "w" : "r");
            assert_non_null(file);
            ruleset_text(&rules, (enum ruleset_family)family, is_writing ? put_file : compare_line,
                         file);
            assert_int_equal(is_writing ? EOF : fgetc(file), EOF);
            assert_int_equal(fclose(file), 0);
        }
        free(rules.rules);
        policy_fini(&policy);
    }
}

/* One rule a row: what iptables-legacy-save 1.8.9 wrote for it. */
struct row {
    struct ruleset_rule rule;
    const char *text;
};

static struct netprefix prefix_of(const char *text)
{
    struct netprefix prefix;

    assert_int_equal(netprefix_parse(span_of_text(text), &prefix), NETPREFIX_OK);
    return prefix;
}

static void check_rule(const struct ruleset_rule *rule, const char *want)
{
    static const struct ruleset rules = {
        .cage = {.uid = 7, .zone = 8, .log_group = 9, .tcp_port = 15080, .dns_port = 15053}};
    char data[RULESET_LINE_MAX];
    struct text text = TEXT_OF(data);

    ruleset_rule_text(&rules, rule, &text);
    assert_false(text.is_cut);
    assert_string_equal(data, want);
}

static void targets(void **state)
{
    static const struct row rows[] = {
        {{.target = RULESET_JUMP, .target_chain = RULESET_BASE, .purpose = "x"},
         " -m comment --comment \"cage 7 #0 x\" -j CAGE-7-BASE"},
        {{.target = RULESET_GOTO, .target_chain = RULESET_BLOCKED, .reason = REASON_BLOCKED},
         " -m comment --comment \"cage 7 #0 blocked\" -g CAGE-7-BLOCKED"},
        {{.target = RULESET_RETURN, .purpose = "x"},
         " -m comment --comment \"cage 7 #0 x\" -j RETURN"},
        {{.target = RULESET_RESET, .protocol = 6, .purpose = "x"},
         " -p tcp -m comment --comment \"cage 7 #0 x\" -j REJECT --reject-with tcp-reset"},
        {{.target = RULESET_PROHIBITED, .purpose = "x"},
         " -m comment --comment \"cage 7 #0 x\" -j REJECT --reject-with icmp-admin-prohibited"},
        {{.target = RULESET_PROHIBITED, .purpose = "x", .family = RULESET_V6},
         " -m comment --comment \"cage 7 #0 x\" -j REJECT --reject-with icmp6-adm-prohibited"},
        {{.target = RULESET_REDIRECT, .port = 15053, .protocol = 17, .purpose = "x"},
         " -p udp -m comment --comment \"cage 7 #0 x\" -j REDIRECT --to-ports 15053"},
        {{.target = RULESET_LOG, .is_rated = true, .reason = REASON_BLOCKED, .number = 3},
         " -m limit --limit 20/sec --limit-burst 50 -m comment --comment \"cage 7 #3 blocked\""
         " -j NFLOG --nflog-prefix \"cage 7 #3 blocked\" --nflog-group 9"},
        {{.target = RULESET_ZONE, .protocol = 17, .purpose = "x"},
         " -p udp -m comment --comment \"cage 7 #0 x\" -j CT --zone-orig 8"},
        {{.target = RULESET_DROP, .purpose = "x", .above_per_second = 1500},
         " -m hashlimit --hashlimit-above 1501/sec --hashlimit-burst 1500"
         " --hashlimit-name cage-7-1500 -m comment --comment \"cage 7 #0 x\" -j DROP"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_rule(&rows[i].rule, rows[i].text);
}

static void addresses(void **state)
{
    static const struct {
        enum ruleset_family family;
        const char *prefix;
        const char *dst;
        const char *origdst;
    } rows[] = {
        {RULESET_V4, "203.0.113.11/32", " -d 203.0.113.11/32", " --ctorigdst 203.0.113.11"},
        {RULESET_V4, "10.0.0.0/8", " -d 10.0.0.0/8", " --ctorigdst 10.0.0.0/8"},
        {RULESET_V4, "0.0.0.0/0", "", " --ctorigdst 0.0.0.0/0"},
        {RULESET_V6, "2001:db8::11/128", " -d 2001:db8::11/128", " --ctorigdst 2001:db8::11"},
        {RULESET_V6, "::/0", "", " --ctorigdst ::/0"},
        {RULESET_V6, "::/128", " -d ::/128", " --ctorigdst ::"},
        {RULESET_V6, "::1/128", " -d ::1/128", " --ctorigdst ::1"},
        {RULESET_V6, "::100:0/104", " -d ::1.0.0.0/104", " --ctorigdst ::1.0.0.0/104"},
        {RULESET_V6, "0.0.0.0/0", " -d ::ffff:0.0.0.0/96", " --ctorigdst ::ffff:0.0.0.0/96"},
        {RULESET_V6, "64:ff9b::/96", " -d 64:ff9b::/96", " --ctorigdst 64:ff9b::/96"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ruleset_rule r = {
            .family = rows[i].family,
            .has_dst = true,
            .dst = prefix_of(rows[i].prefix),
            .has_origdst = true,
            .origdst = prefix_of(rows[i].prefix),
            .purpose = "x",
            .target = RULESET_DROP,
        };
        char want[RULESET_LINE_MAX];
        snprintf(want, sizeof(want),
                 "%s -m conntrack%s -m comment --comment \"cage 7 #0 x\" -j DROP", rows[i].dst,
                 rows[i].origdst);
        check_rule(&r, want);
    }
}

static void the_longest_rule_fits(void **state)
{
    struct ruleset_rule r = {
        .number = UINT32_MAX,
        .family = RULESET_V6,
        .reason = REASON_NAME_UNRESOLVABLE,
        .has_src = true,
        .has_dst = true,
        .has_origdst = true,
        .interface = RULESET_NOT_LO,
        .protocol = 6,
        .dport_count = 7,
        .header = RULESET_DESTINATION_OPTIONS,
        .owner = RULESET_OWNER,
        .uid = UINT32_MAX - 1,
        .src_type = RULESET_TYPE_NOT_LOCAL,
        .dst_type = RULESET_TYPE_MULTICAST,
        .states = 15,
        .is_not_states = true,
        .is_unconfirmed = true,
        .origdst_ports = {10000, 20000},
        .direction = RULESET_ORIGINAL,
        .above_per_second = 10000,
        .is_rated = true,
        .target = RULESET_LOG,
    };
    const struct ruleset rules = {.cage = {.uid = UINT32_MAX - 1, .log_group = UINT16_MAX}};
    char data[RULESET_LINE_MAX];
    struct text text = TEXT_OF(data);

    (void)state;
    r.src = r.dst = r.origdst = prefix_of("2001:1111:2222:3333:4444:5555:6666:7776/127");
    for (size_t i = 0; i < r.dport_count; i++)
        r.dports[i] = (struct port_range){10000, 20000};
    ruleset_rule_text(&rules, &r, &text);
    assert_false(text.is_cut);
    assert_true(text.len + 40 < RULESET_LINE_MAX);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_texts),
        cmocka_unit_test(targets),
        cmocka_unit_test(addresses),
        cmocka_unit_test(the_longest_rule_fits),
    };

    is_writing = argc == 2 && strcmp(argv[1], "write") == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
