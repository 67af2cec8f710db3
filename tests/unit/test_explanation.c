#include "proxy/cli/explanation.h"
#include "tests/lib/policies.h"
#include "tests/lib/unit.h"

struct row {
    const char *destination;
    const char *name; /* --name, or NULL */
    bool is_udp;
    enum reason reason;
    const char *rule;
    enum explain_layer layer;
};

#define K EXPLAIN_KERNEL
#define D EXPLAIN_DNS
#define P EXPLAIN_PROXY

static const char *const allow[] = {"good.example:443", "any.example",    "1.2.3.4:80",
                                    "9.9.9.9:53",       "127.0.0.1:5432", NULL};
static const char *const block[] = {"bad.example", "port.example:443", "8.8.4.4", NULL};

static const struct row allowlist[] = {
    {"good.example", NULL, false, REASON_ALLOWED, "good.example:443", P},
    {"https://Good.Example/path?x=1", NULL, false, REASON_ALLOWED, "good.example:443", P},
    {"http://good.example/", NULL, false, REASON_NOT_ALLOWED, NULL, P},
    {"good.example:22", NULL, false, REASON_NOT_ALLOWED, NULL, P},
    {"evil.example", NULL, false, REASON_NOT_ALLOWED, NULL, D},
    {"evil.example:80", NULL, false, REASON_NOT_ALLOWED, NULL, D},
    {"any.example:5000", NULL, true, REASON_NO_NAME, NULL, K},
    {"1.2.3.4:80", NULL, false, REASON_ALLOWED, "1.2.3.4:80", K},
    {"1.2.3.4:80", NULL, true, REASON_ALLOWED, "1.2.3.4:80", K},
    {"1.2.3.4", NULL, false, REASON_NO_NAME, NULL, P},
    {"8.8.8.8", NULL, true, REASON_QUIC_REFUSED, NULL, K},
    {"8.8.8.8:123", NULL, true, REASON_NO_NAME, NULL, K},
    {"8.8.8.8:53", NULL, true, REASON_ALLOWED, NULL, D},
    {"9.9.9.9:53", NULL, true, REASON_ALLOWED, "9.9.9.9:53", K},
    {"169.254.169.254:80", NULL, false, REASON_METADATA_ADDRESS, NULL, K},
    {"[fd00:ec2::254]:80", NULL, false, REASON_METADATA_ADDRESS, NULL, K},
    {"::ffff:10.0.0.1", NULL, false, REASON_PRIVATE_ADDRESS, NULL, K},
    {"127.0.0.1:5432", NULL, false, REASON_ALLOWED, "127.0.0.1:5432", K},
    {"127.0.0.1:80", NULL, false, REASON_LOOPBACK_ADDRESS, NULL, K},
    {"203.0.113.10:443", "good.example", false, REASON_ALLOWED, "good.example:443", P},
    {"203.0.113.10:443", "evil.example", false, REASON_NOT_ALLOWED, NULL, P},
    {"10.0.0.1:443", "good.example", false, REASON_PRIVATE_ADDRESS, NULL, K},
};

static const struct row blocklist[] = {
    {"bad.example", NULL, false, REASON_BLOCKED, "bad.example", D},
    {"port.example", NULL, false, REASON_BLOCKED, "port.example:443", P},
    {"port.example:80", NULL, false, REASON_ALLOWED, NULL, P},
    {"8.8.4.4", NULL, false, REASON_BLOCKED, "8.8.4.4", K},
    {"8.8.4.4:53", NULL, false, REASON_ALLOWED, NULL, D},
    {"8.8.4.4:53", NULL, true, REASON_ALLOWED, NULL, D},
    {"9.9.9.9:53", NULL, true, REASON_ALLOWED, NULL, D},
    {"8.8.8.8", NULL, false, REASON_ALLOWED, NULL, P},
    {"8.8.8.8:123", NULL, true, REASON_ALLOWED, NULL, K},
    {"8.8.8.8", NULL, true, REASON_QUIC_REFUSED, NULL, K},
    {"127.0.0.1:80", NULL, false, REASON_ALLOWED, NULL, P},
};

static void check_row(const struct matcher *matcher, const struct row *row)
{
    char data[RULE_TEXT_MAX];
    struct text fault = TEXT_OF(data);
    struct explain_question q;

    if (!explain_parse(span_of_text(row->destination), &q, &fault))
        fail_msg("%s: %s", row->destination, data);
    q.protocol = row->is_udp ? PROTOCOL_UDP : PROTOCOL_TCP;
    if (row->name != NULL) {
        q.has_name = true;
        assert_int_equal(hostname_parse(span_of_text(row->name), &q.name), HOSTNAME_OK);
    }
    struct explanation e = explain_judge(matcher, &q);
    if (e.verdict.reason != row->reason || e.layer != row->layer)
        fail_msg("%s: %s by %s", row->destination, reason_token(e.verdict.reason),
                 explain_layer_text(e.layer));
    const char *rule = e.verdict.rule != NULL ? e.verdict.rule->text : NULL;
    if ((rule == NULL) != (row->rule == NULL) || (rule != NULL && strcmp(rule, row->rule) != 0))
        fail_msg("%s: decided by %s", row->destination, rule != NULL ? rule : "none");
}

static void table(void **state)
{
    struct policy policy;

    (void)state;
    policy_for_test(&policy, MODE_ALLOWLIST, allow, NULL);
    struct matcher *matcher = matcher_compile(&policy);
    for (size_t i = 0; i < sizeof(allowlist) / sizeof(allowlist[0]); i++)
        check_row(matcher, &allowlist[i]);
    matcher_unref(matcher);
    policy_fini(&policy);

    policy_for_test(&policy, MODE_BLOCKLIST, NULL, block);
    matcher = matcher_compile(&policy);
    for (size_t i = 0; i < sizeof(blocklist) / sizeof(blocklist[0]); i++)
        check_row(matcher, &blocklist[i]);
    matcher_unref(matcher);
    policy_fini(&policy);
}

static void destinations(void **state)
{
    static const struct {
        const char *text;
        const char *host; /* NULL: a fault */
        int port;
        bool has_port;
    } rows[] = {
        {"a.example", "a.example", 443, false},
        {"a.example:8080", "a.example", 8080, true},
        {"http://a.example", "a.example", 80, true},
        {"https://user@a.example:8443/x?y#z", "a.example", 8443, true},
        {"http://[2001:db8::1]:8080/", "2001:db8::1", 8080, true},
        {"2001:db8::1", "2001:db8::1", 443, false},
        {"[2001:db8::1]", "2001:db8::1", 443, false},
        {"1.2.3.4:1", "1.2.3.4", 1, true},
        {"ssh://git@a.example/repo", "a.example", 22, true},
        {"gopher://a.example", NULL, 0, false},
        {"a.example:0", NULL, 0, false},
        {"a.example:65536", NULL, 0, false},
        {"a.example:http", NULL, 0, false},
        {"[2001:db8::1", NULL, 0, false},
        {"[2001:db8::1]x", NULL, 0, false},
        {"a b", NULL, 0, false},
        {"", NULL, 0, false},
        {"127.1", NULL, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char data[RULE_TEXT_MAX];
        char host[NETADDR_TEXT_MAX];
        struct text fault = TEXT_OF(data);
        struct explain_question q;
        bool is_read = explain_parse(span_of_text(rows[i].text), &q, &fault);
        if (is_read != (rows[i].host != NULL))
            fail_msg("\"%s\": %s", rows[i].text, is_read ? "was taken" : data);
        if (!is_read) {
            assert_true(fault.len > 0);
            continue;
        }
        if (q.has_address)
            netaddr_print(&q.address, host);
        assert_string_equal(q.has_address ? host : q.name.text, rows[i].host);
        assert_int_equal(q.port, rows[i].port);
        assert_int_equal(q.has_port, rows[i].has_port);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(destinations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
