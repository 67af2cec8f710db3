#include "config/matcher.h"
#include "tests/lib/policies.h"
#include "tests/lib/unit.h"

static struct matcher *compile(enum network_mode mode, const char *const *allow,
                               const char *const *block)
{
    struct policy policy;

    policy_for_test(&policy, mode, allow, block);
    struct matcher *m = matcher_compile(&policy);
    policy_fini(&policy);
    assert_non_null(m);
    return m;
}

/* A question in one line: name or NULL, address or NULL, port. */
struct row {
    const char *name;
    const char *address;
    int port;
    enum reason reason; /* REASON_ALLOWED or the denial's */
    const char *rule;   /* the entry that decided, or NULL */
};

static struct hostname name_of(const char *text)
{
    struct hostname name;

    assert_int_equal(hostname_parse(span_of_text(text), &name), HOSTNAME_OK);
    return name;
}

static struct netaddr addr_of(const char *text)
{
    struct netaddr addr;

    assert_true(netaddr_parse(span_of_text(text), &addr));
    return addr;
}

static struct verdict ask(const struct matcher *m, const char *name, const char *address, int port,
                          enum protocol protocol)
{
    struct hostname host;
    struct netaddr addr;
    struct destination where = {NULL, NULL, (uint16_t)port, protocol};

    if (name != NULL) {
        host = name_of(name);
        where.name = &host;
    }
    if (address != NULL) {
        addr = addr_of(address);
        where.address = &addr;
    }
    return matcher_judge(m, &where);
}

static void check_verdict(const char *what, struct verdict v, enum reason reason, const char *rule)
{
    enum verdict_kind kind = reason == REASON_ALLOWED ? VERDICT_ALLOW : VERDICT_DENY;

    if (v.kind != kind || v.reason != reason)
        fail_msg("%s: %s, not %s", what, reason_token(v.reason), reason_token(reason));
    if ((v.rule == NULL) != (rule == NULL) || (rule != NULL && strcmp(v.rule->text, rule) != 0))
        fail_msg("%s: decided by %s", what, v.rule == NULL ? "no entry" : v.rule->text);
}

static void check_rows(const struct matcher *m, const struct row *rows, size_t count,
                       enum protocol protocol)
{
    for (size_t i = 0; i < count; i++) {
        char what[200];
        snprintf(what, sizeof(what), "%s %s %d", rows[i].name ? rows[i].name : "-",
                 rows[i].address ? rows[i].address : "-", rows[i].port);
        check_verdict(what, ask(m, rows[i].name, rows[i].address, rows[i].port, protocol),
                      rows[i].reason, rows[i].rule);
    }
}

#define COUNT(rows) (sizeof(rows) / sizeof(rows[0]))

static const char *const allow_entries[] = {
    "github.com:443",
    "pypi.org",
    "*.below.example:443",
    "**.both.example",
    "1.2.3.4:80,443",
    "127.0.0.1:5432",
    "[2001:db8::5]:443",
    "10.0.0.0/24:443",
    "10.0.0.0/16:22",
    "9.9.9.9",
    "9.9.9.10:53",
    "9.9.9.11:50-60",
    "!jira.corp.example:443",
    "x.xn--mnchen-3ya.de:443",
    NULL,
};

static void allowlist(void **state)
{
    static const struct row rows[] = {
        {"github.com", "8.8.8.8", 443, REASON_ALLOWED, "github.com:443"},
        {"github.com", NULL, 443, REASON_ALLOWED, "github.com:443"},
        {"github.com", "8.8.8.8", 80, REASON_NOT_ALLOWED, NULL},
        {"www.github.com", "8.8.8.8", 443, REASON_NOT_ALLOWED, NULL},
        {"evilgithub.com", "8.8.8.8", 443, REASON_NOT_ALLOWED, NULL},
        {"github.com.evil.test", "8.8.8.8", 443, REASON_NOT_ALLOWED, NULL},
        {"pypi.org", "8.8.8.8", 1, REASON_ALLOWED, "pypi.org"},
        {"a.below.example", "8.8.8.8", 443, REASON_ALLOWED, "*.below.example:443"},
        {"a.b.c.below.example", "8.8.8.8", 443, REASON_ALLOWED, "*.below.example:443"},
        {"below.example", "8.8.8.8", 443, REASON_NOT_ALLOWED, NULL},
        {"xbelow.example", "8.8.8.8", 443, REASON_NOT_ALLOWED, NULL},
        {"both.example", "8.8.8.8", 7, REASON_ALLOWED, "**.both.example"},
        {"a.both.example", "8.8.8.8", 7, REASON_ALLOWED, "**.both.example"},
        {NULL, "8.8.8.8", 443, REASON_NO_NAME, NULL},
        {NULL, "1.2.3.4", 443, REASON_ALLOWED, "1.2.3.4:80,443"},
        {NULL, "::ffff:1.2.3.4", 443, REASON_ALLOWED, "1.2.3.4:80,443"},
        {"evil.example", "1.2.3.4", 443, REASON_ALLOWED, "1.2.3.4:80,443"},
        {NULL, "1.2.3.4", 22, REASON_NO_NAME, NULL},
        {NULL, "127.0.0.1", 5432, REASON_ALLOWED, "127.0.0.1:5432"},
        {NULL, "127.0.0.1", 5433, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "::1", 80, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "203.0.113.1", 80, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "10.99.0.1", 80, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "2001:db8::5", 443, REASON_ALLOWED, "[2001:db8::5]:443"},
        {NULL, "10.0.0.9", 443, REASON_ALLOWED, "10.0.0.0/24:443"},
        {NULL, "10.0.0.9", 22, REASON_ALLOWED, "10.0.0.0/16:22"},
        {NULL, "10.0.1.9", 443, REASON_PRIVATE_ADDRESS, NULL},
        {NULL, "169.254.169.254", 80, REASON_METADATA_ADDRESS, NULL},
        {NULL, "100.100.100.200", 80, REASON_METADATA_ADDRESS, NULL},
        {NULL, "64:ff9b::169.254.169.254", 80, REASON_METADATA_ADDRESS, NULL},
        {NULL, "64:ff9b::8.8.8.8", 80, REASON_PRIVATE_ADDRESS, NULL},
        /* A name opens no private or metadata address by itself. */
        {"github.com", "10.0.1.9", 443, REASON_PRIVATE_ADDRESS, NULL},
        {"github.com", "169.254.169.254", 443, REASON_METADATA_ADDRESS, NULL},
        {"github.com", "127.0.0.1", 443, REASON_LOOPBACK_ADDRESS, NULL},
        /* A private name does, but never these. */
        {"jira.corp.example", "10.1.2.3", 443, REASON_ALLOWED, "jira.corp.example:443"},
        {"jira.corp.example", "10.1.2.3", 80, REASON_PRIVATE_ADDRESS, NULL},
        {"jira.corp.example", "169.254.169.254", 443, REASON_METADATA_ADDRESS, NULL},
        {"jira.corp.example", "100.100.100.200", 443, REASON_METADATA_ADDRESS, NULL},
        {"jira.corp.example", "127.0.0.1", 443, REASON_LOOPBACK_ADDRESS, NULL},
        {"jira.corp.example", "10.99.0.1", 443, REASON_LOOPBACK_ADDRESS, NULL},
        /* Port 53 is opened past the DNS front only where 53 is written. */
        {NULL, "9.9.9.9", 54, REASON_ALLOWED, "9.9.9.9"},
        {NULL, "9.9.9.9", 53, REASON_NO_NAME, NULL},
        {NULL, "9.9.9.10", 53, REASON_ALLOWED, "9.9.9.10:53"},
        {NULL, "9.9.9.11", 53, REASON_NO_NAME, NULL},
    };
    struct matcher *m = compile(MODE_ALLOWLIST, allow_entries, NULL);

    (void)state;
    check_rows(m, rows, COUNT(rows), PROTOCOL_TCP);
    matcher_unref(m);
}

static void allowlist_udp(void **state)
{
    static const struct row rows[] = {
        {NULL, "1.2.3.4", 443, REASON_ALLOWED, "1.2.3.4:80,443"},
        {NULL, "8.8.8.8", 443, REASON_QUIC_REFUSED, NULL},
        {"github.com", "8.8.8.8", 443, REASON_QUIC_REFUSED, NULL},
        {NULL, "8.8.8.8", 123, REASON_NO_NAME, NULL},
        {"pypi.org", "8.8.8.8", 123, REASON_NO_NAME, NULL},
        {NULL, "169.254.169.254", 443, REASON_METADATA_ADDRESS, NULL},
    };
    struct matcher *m = compile(MODE_ALLOWLIST, allow_entries, NULL);

    (void)state;
    check_rows(m, rows, COUNT(rows), PROTOCOL_UDP);
    matcher_unref(m);
}

static void empty_allowlist_denies_all(void **state)
{
    struct matcher *m = compile(MODE_ALLOWLIST, NULL, NULL);

    (void)state;
    check_verdict("name", ask(m, "a.example", "8.8.8.8", 443, PROTOCOL_TCP), REASON_NOT_ALLOWED,
                  NULL);
    check_verdict("address", ask(m, NULL, "8.8.8.8", 443, PROTOCOL_TCP), REASON_NO_NAME, NULL);
    matcher_unref(m);
}

static const char *const block_entries[] = {
    "internal.company.example",
    "vault.company.example:443",
    "*.wild.example",
    "8.8.4.4",
    "8.8.5.0/24:22",
    "127.0.0.1",
    NULL,
};
static const char *const exception_entries[] = {
    "127.0.0.1:5432",
    "ok.wild.example:443",
    "192.168.1.50:3000",
    NULL,
};

static void blocklist(void **state)
{
    static const struct row rows[] = {
        {"example.com", "8.8.8.8", 443, REASON_ALLOWED, NULL},
        {NULL, "8.8.8.8", 443, REASON_ALLOWED, NULL},
        {"internal.company.example", "8.8.8.8", 80, REASON_BLOCKED, "internal.company.example"},
        {"a.internal.company.example", "8.8.8.8", 80, REASON_ALLOWED, NULL},
        {"vault.company.example", "8.8.8.8", 443, REASON_BLOCKED, "vault.company.example:443"},
        {"vault.company.example", "8.8.8.8", 22, REASON_ALLOWED, NULL},
        {"a.wild.example", "8.8.8.8", 443, REASON_BLOCKED, "*.wild.example"},
        {"ok.wild.example", "8.8.8.8", 443, REASON_ALLOWED, "ok.wild.example:443"},
        {"ok.wild.example", "8.8.8.8", 80, REASON_BLOCKED, "*.wild.example"},
        {"ok.wild.example", "8.8.4.4", 443, REASON_BLOCKED, "8.8.4.4"},
        {"ok.wild.example", "10.0.0.1", 443, REASON_PRIVATE_ADDRESS, NULL},
        {"internal.company.example", "10.0.0.1", 80, REASON_BLOCKED, "internal.company.example"},
        {NULL, "8.8.4.4", 1, REASON_BLOCKED, "8.8.4.4"},
        {NULL, "8.8.5.7", 22, REASON_BLOCKED, "8.8.5.0/24:22"},
        {NULL, "8.8.5.7", 23, REASON_ALLOWED, NULL},
        {NULL, "127.0.0.1", 80, REASON_BLOCKED, "127.0.0.1"},
        {NULL, "127.0.0.1", 5432, REASON_ALLOWED, "127.0.0.1:5432"},
        {NULL, "127.0.0.2", 80, REASON_ALLOWED, NULL},
        {NULL, "127.0.0.2", 15080, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "::1", 15053, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "203.0.113.1", 15080, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "203.0.113.1", 80, REASON_ALLOWED, NULL},
        {NULL, "10.99.0.1", 80, REASON_PRIVATE_ADDRESS, NULL},
        {NULL, "192.168.1.50", 3000, REASON_ALLOWED, "192.168.1.50:3000"},
        {NULL, "192.168.1.50", 3001, REASON_PRIVATE_ADDRESS, NULL},
        {NULL, "169.254.169.254", 80, REASON_METADATA_ADDRESS, NULL},
        {"example.com", "169.254.169.254", 80, REASON_METADATA_ADDRESS, NULL},
    };
    struct matcher *m = compile(MODE_BLOCKLIST, exception_entries, block_entries);

    (void)state;
    check_rows(m, rows, COUNT(rows), PROTOCOL_TCP);
    check_verdict("quic", ask(m, NULL, "8.8.8.8", 443, PROTOCOL_UDP), REASON_QUIC_REFUSED, NULL);
    check_verdict("ntp", ask(m, NULL, "8.8.8.8", 123, PROTOCOL_UDP), REASON_ALLOWED, NULL);
    matcher_unref(m);
}

static void quic_without_names(void **state)
{
    static const char *const block[] = {"8.8.4.4", NULL};
    struct matcher *m = compile(MODE_BLOCKLIST, NULL, block);

    (void)state;
    check_verdict("quic", ask(m, NULL, "8.8.8.8", 443, PROTOCOL_UDP), REASON_ALLOWED, NULL);
    matcher_unref(m);
}

static void nameless(void **state)
{
    static const struct {
        const char *names[3];
        int port;
        enum reason reason;
        const char *rule;
    } rows[] = {
        {{NULL}, 22, REASON_NO_NAME, NULL},
        {{"pypi.org"}, 22, REASON_ALLOWED, "pypi.org"},
        {{"github.com"}, 22, REASON_NO_NAME, NULL},
        {{"github.com"}, 443, REASON_ALLOWED, "github.com:443"},
        {{"pypi.org", "a.both.example"}, 22, REASON_ALLOWED, "**.both.example"},
        {{"pypi.org", "evil.example"}, 22, REASON_AMBIGUOUS_ADDRESS, NULL},
        {{"pypi.org", "github.com"}, 22, REASON_AMBIGUOUS_ADDRESS, NULL},
        {{"evil.example", "other.example"}, 22, REASON_NO_NAME, NULL},
    };
    struct matcher *m = compile(MODE_ALLOWLIST, allow_entries, NULL);
    struct netaddr public_address = addr_of("8.8.8.8");
    struct netaddr private_address = addr_of("10.77.0.1");
    struct netaddr open_address = addr_of("1.2.3.4");
    struct hostname pypi = name_of("pypi.org");

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct hostname names[3];
        size_t count = 0;
        for (; count < 3 && rows[i].names[count] != NULL; count++)
            names[count] = name_of(rows[i].names[count]);
        check_verdict(
            count > 0 ? rows[i].names[0] : "none",
            matcher_judge_nameless(m, &public_address, (uint16_t)rows[i].port, names, count),
            rows[i].reason, rows[i].rule);
    }
    check_verdict("private", matcher_judge_nameless(m, &private_address, 22, &pypi, 1),
                  REASON_PRIVATE_ADDRESS, NULL);
    check_verdict("open", matcher_judge_nameless(m, &open_address, 80, NULL, 0), REASON_ALLOWED,
                  "1.2.3.4:80,443");
    matcher_unref(m);

    struct hostname names[2] = {name_of("ok.example"), name_of("vault.company.example")};
    m = compile(MODE_BLOCKLIST, exception_entries, block_entries);
    check_verdict("blocklist none", matcher_judge_nameless(m, &public_address, 22, NULL, 0),
                  REASON_ALLOWED, NULL);
    check_verdict("blocklist mixed", matcher_judge_nameless(m, &public_address, 443, names, 2),
                  REASON_BLOCKED, "vault.company.example:443");
    check_verdict("blocklist port", matcher_judge_nameless(m, &public_address, 22, names, 2),
                  REASON_ALLOWED, NULL);
    matcher_unref(m);
}

static void look_up(void **state)
{
    struct matcher *m = compile(MODE_ALLOWLIST, allow_entries, NULL);
    struct hostname allowed = name_of("github.com");
    struct hostname denied = name_of("evil.example");
    struct hostname jira = name_of("jira.corp.example");
    struct hostname blocked = name_of("internal.company.example");
    struct hostname vault = name_of("vault.company.example");
    struct hostname exempt = name_of("ok.wild.example");
    struct netaddr private_address = addr_of("10.1.2.3");
    struct netaddr opened = addr_of("10.0.0.7");
    struct netaddr metadata = addr_of("169.254.169.254");
    struct netaddr loopback = addr_of("127.0.0.2");

    (void)state;
    check_verdict("allowed", matcher_judge_name(m, &allowed), REASON_ALLOWED, "github.com:443");
    check_verdict("denied", matcher_judge_name(m, &denied), REASON_NOT_ALLOWED, NULL);
    check_verdict("answer", matcher_judge_answer(m, &allowed, &private_address),
                  REASON_PRIVATE_ADDRESS, NULL);
    check_verdict("answer opened", matcher_judge_answer(m, &allowed, &opened), REASON_ALLOWED,
                  "10.0.0.0/24:443");
    check_verdict("answer private", matcher_judge_answer(m, &jira, &private_address),
                  REASON_ALLOWED, "jira.corp.example:443");
    check_verdict("answer metadata", matcher_judge_answer(m, &jira, &metadata),
                  REASON_METADATA_ADDRESS, NULL);
    matcher_unref(m);

    m = compile(MODE_BLOCKLIST, exception_entries, block_entries);
    check_verdict("blocked", matcher_judge_name(m, &blocked), REASON_BLOCKED,
                  "internal.company.example");
    check_verdict("some ports", matcher_judge_name(m, &vault), REASON_ALLOWED, NULL);
    check_verdict("exempt", matcher_judge_name(m, &exempt), REASON_ALLOWED, "ok.wild.example:443");
    check_verdict("loopback answer", matcher_judge_answer(m, &allowed, &loopback), REASON_ALLOWED,
                  NULL);
    matcher_unref(m);
}

/* No entry opens the proxy's own ports: only redirection leads there. */
static void own_ports_stay_closed(void **state)
{
    static const char *const all[] = {"127.0.0.0/8", "203.0.113.1", "0.0.0.0/0", "own.example",
                                      NULL};
    static const struct row rows[] = {
        {NULL, "127.0.0.1", 15080, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "127.0.0.2", 15053, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "203.0.113.1", 15080, REASON_LOOPBACK_ADDRESS, NULL},
        {"own.example", "203.0.113.1", 15080, REASON_LOOPBACK_ADDRESS, NULL},
        {NULL, "127.0.0.1", 15081, REASON_ALLOWED, "127.0.0.0/8"},
        {NULL, "8.8.8.8", 15080, REASON_ALLOWED, "0.0.0.0/0"},
    };

    (void)state;
    for (int mode = MODE_ALLOWLIST; mode <= MODE_BLOCKLIST; mode++) {
        struct matcher *m = compile((enum network_mode)mode, all, NULL);
        check_rows(m, rows, COUNT(rows), PROTOCOL_TCP);
        check_rows(m, rows, COUNT(rows), PROTOCOL_UDP);
        matcher_unref(m);
    }
}

static void base_parts_off(void **state)
{
    static const char *const names[] = {"a.example", NULL};
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_BLOCKLIST, NULL, NULL);
    policy.settings.base_metadata = false;
    struct matcher *m = matcher_compile(&policy);
    check_verdict("link-local", ask(m, NULL, "169.254.169.254", 80, PROTOCOL_TCP), REASON_ALLOWED,
                  NULL);
    check_verdict("private still", ask(m, NULL, "100.100.100.200", 80, PROTOCOL_TCP),
                  REASON_PRIVATE_ADDRESS, NULL);
    check_verdict("private", ask(m, NULL, "10.0.0.1", 80, PROTOCOL_TCP), REASON_PRIVATE_ADDRESS,
                  NULL);
    matcher_unref(m);
    policy.settings.base_metadata = true;
    policy.settings.base_private = false;
    m = matcher_compile(&policy);
    check_verdict("private off", ask(m, NULL, "10.0.0.1", 80, PROTOCOL_TCP), REASON_ALLOWED, NULL);
    check_verdict("metadata still", ask(m, NULL, "100.100.100.200", 80, PROTOCOL_TCP),
                  REASON_METADATA_ADDRESS, NULL);
    check_verdict("own port", ask(m, NULL, "0.0.0.0", 15080, PROTOCOL_TCP), REASON_LOOPBACK_ADDRESS,
                  NULL);
    matcher_unref(m);
    policy_fini(&policy);

    /* Who connects to the unspecified address reaches this machine. */
    policy_for_test(&policy, MODE_ALLOWLIST, names, NULL);
    policy.settings.base_private = false;
    m = matcher_compile(&policy);
    check_verdict("private off", ask(m, "a.example", "10.0.0.1", 80, PROTOCOL_TCP), REASON_ALLOWED,
                  "a.example");
    check_verdict("v4", ask(m, "a.example", "0.0.0.0", 80, PROTOCOL_TCP), REASON_LOOPBACK_ADDRESS,
                  NULL);
    check_verdict("v6", ask(m, "a.example", "::", 80, PROTOCOL_TCP), REASON_LOOPBACK_ADDRESS, NULL);
    matcher_unref(m);
    policy_fini(&policy);
}

static void audit_only_logs_names(void **state)
{
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, NULL, NULL);
    policy.settings.audit = true;
    struct matcher *m = matcher_compile(&policy);
    struct verdict name = ask(m, "a.example", "8.8.8.8", 443, PROTOCOL_TCP);
    struct verdict base = ask(m, "a.example", "10.0.0.1", 443, PROTOCOL_TCP);
    assert_true(name.kind == VERDICT_DENY && verdict_lets_through(name));
    assert_true(base.kind == VERDICT_DENY && !verdict_lets_through(base));
    assert_false(verdict_lets_through((struct verdict){0}));
    matcher_unref(m);
    policy_fini(&policy);
}

static void source_of_a_verdict(void **state)
{
    struct matcher *m = compile(MODE_ALLOWLIST, allow_entries, NULL);
    struct verdict v = ask(m, "pypi.org", "8.8.8.8", 443, PROTOCOL_TCP);

    (void)state;
    assert_string_equal(v.rule->file, "/etc/cage.lua");
    assert_int_equal(v.rule->line, 2);
    matcher_unref(m);
}

/* Many entries: each is found, none stands in for another. */
static void many_rules(void **state)
{
    enum { RULES = 20000 };
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, NULL, NULL);
    for (int i = 0; i < RULES; i++) {
        char text[64];
        struct rule rule;
        char data[RULE_TEXT_MAX];
        struct text fault = TEXT_OF(data);
        snprintf(text, sizeof(text), "n%d.example:%d", i, i % 1000 + 1);
        assert_true(rule_parse(span_of_text(text), RULE_IN_DOMAINS, &rule, &fault));
        assert_true(policy_add_rule(&policy.allow, &rule));
    }
    struct matcher *m = matcher_compile(&policy);
    for (int i = 0; i < RULES; i += 7) {
        char text[64];
        snprintf(text, sizeof(text), "n%d.example", i);
        assert_int_equal(ask(m, text, NULL, i % 1000 + 1, PROTOCOL_TCP).kind, VERDICT_ALLOW);
        assert_int_equal(ask(m, text, NULL, i % 1000 + 2, PROTOCOL_TCP).kind, VERDICT_DENY);
    }
    matcher_unref(m);
    policy_fini(&policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowlist),
        cmocka_unit_test(allowlist_udp),
        cmocka_unit_test(empty_allowlist_denies_all),
        cmocka_unit_test(blocklist),
        cmocka_unit_test(quic_without_names),
        cmocka_unit_test(nameless),
        cmocka_unit_test(look_up),
        cmocka_unit_test(own_ports_stay_closed),
        cmocka_unit_test(base_parts_off),
        cmocka_unit_test(audit_only_logs_names),
        cmocka_unit_test(source_of_a_verdict),
        cmocka_unit_test(many_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
