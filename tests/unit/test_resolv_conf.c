#include "config/hosts_file.h"
#include "config/resolv_conf.h"
#include "tests/lib/unit.h"

enum { SERVERS_MAX = 3 };

static const struct {
    const char *text;
    const char *servers; /* each with a space behind it */
} rows[] = {
    {"", ""},
    {"nameserver 203.0.113.53\n", "203.0.113.53 "},
    {"nameserver 203.0.113.53", "203.0.113.53 "},
    {"nameserver\t 203.0.113.53 \t\r\n", "203.0.113.53 "},
    {"# nameserver 1.1.1.1\n;nameserver 1.1.1.2\nsearch a.example\noptions ndots:2\n"
     "nameserver 2001:db8::53\nnameserver 127.0.0.53\n",
     "2001:db8::53 127.0.0.53 "},
    {"nameserver 1.1.1.1\nnameserver 1.1.1.1\nnameserver ::ffff:1.1.1.1\n", "1.1.1.1 "},
    {"nameserver 1.1.1.1 8.8.8.8\n", "1.1.1.1 "},
    {" nameserver 1.1.1.1\n", ""},
    {"nameserver1.1.1.1\nnameservers 1.1.1.1\nNAMESERVER 1.1.1.1\n", ""},
    {"nameserver\nnameserver 1.1.1\nnameserver dns.example\nnameserver fe80::1%eth0\n", ""},
    {"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n",
     "1.1.1.1 1.1.1.2 1.1.1.3 "},
    {"\n\n\nnameserver 1.1.1.1", "1.1.1.1 "},
};

static void servers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct guarded g = guarded_copy(span_of_text(rows[i].text), GUARDED_END);
        struct netaddr found[SERVERS_MAX];
        char buffer[200];
        struct text text = TEXT_OF(buffer);
        size_t count = resolv_conf_parse(g.bytes, found, SERVERS_MAX);
        for (size_t k = 0; k < count; k++) {
            char address[NETADDR_TEXT_MAX];
            netaddr_print(&found[k], address);
            text_put(&text, address);
            text_put(&text, " ");
        }
        assert_string_equal(buffer, rows[i].servers);
        guarded_free(&g);
    }
}

static void hosts(void **state)
{
    static const char text[] = "127.0.0.1\tlocalhost\n"
                               "# 10.0.0.1 commented.example\n"
                               "10.0.0.2 One.Example one # 10.0.0.3 two.example\r\n"
                               "2001:db8::1 six.example bad_[name fe80::1\n"
                               "300.0.0.1 no.example\nno-address\n\n"
                               "10.0.0.9 last.example";
    static const char *expected[] = {"127.0.0.1 localhost", "10.0.0.2 one.example", "10.0.0.2 one",
                                     "2001:db8::1 six.example", "10.0.0.9 last.example"};
    struct guarded g = guarded_copy(SPAN_LITERAL(text), GUARDED_END);
    struct policy policy;

    (void)state;
    policy_init(&policy);
    assert_true(hosts_file_parse(g.bytes, &policy));
    assert_int_equal(policy.host_count, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < policy.host_count; i++) {
        char address[NETADDR_TEXT_MAX];
        char buffer[NETADDR_TEXT_MAX + HOSTNAME_LEN_MAX + 2];
        struct text line = TEXT_OF(buffer);
        netaddr_print(&policy.hosts[i].address, address);
        text_put(&line, address);
        text_put(&line, " ");
        text_put(&line, policy.hosts[i].name.text);
        assert_string_equal(buffer, expected[i]);
    }
    policy_fini(&policy);
    guarded_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers),
        cmocka_unit_test(hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
